/* Aim: the time that work takes on is told within 20 % once a tenth of it is done, within the band
 * that is told with it, again so after the rate changed, and not at all while nobody can know.
 * Method: synthetic rates on virtual time: even, noisy, in lumps, with steps and stalls. */
#include "base/eta.h"

#include <string.h>

#include "base/env.h"
#include "tests/support/cmocka_all.h"

#include "base/banned.h"

enum { NOTE_MS = 250, SEEDS = 200 };

struct work {
    struct base_eta eta;
    uint64_t seed, now_ms, done;
};

/* A quarter second at a rate per second that is off by up to noise percent. */
static void quarter(struct work *work, uint64_t per_s, uint64_t noise)
{
    struct base_random random = base_random_seeded(&work->seed);
    uint64_t off = noise ? base_random_u64(&random) % (2 * noise + 1) : 0;
    work->now_ms += NOTE_MS;
    work->done += per_s * (100 - noise + off) / 100 / 4;
    base_eta_note(&work->eta, work->now_ms, work->done);
}

static struct work begin(uint64_t seed)
{
    struct work work = {.seed = seed, .now_ms = 5000};
    base_eta_note(&work.eta, work.now_ms, 0);
    return work;
}

static void near(uint64_t told, uint64_t is, unsigned percent)
{
    assert_in_range(told, is - is * percent / 100, is + is * percent / 100);
}

static void even_work(void **unused)
{
    (void)unused;
    struct work work = begin(1);
    for (int i = 0; i < 40; i++) { /* ten of a hundred seconds */
        struct base_eta_told told = base_eta_tell(&work.eta, 100000 - work.done);
        assert_true(told.known == (i >= 1 + BASE_ETA_LEAST));
        quarter(&work, 1000, 0);
    }
    struct base_eta_told told = base_eta_tell(&work.eta, 100000 - work.done);
    near(told.ms, 90000, 1);
    assert_in_range(told.low_ms, 70000, 85000);
    assert_in_range(told.high_ms, 95000, 110000);
    near(told.per_s, 1000, 1);
    told = base_eta_tell(&work.eta, 0);
    assert_true(told.known && told.ms == 0 && told.high_ms == 0);
}

/* What is told after a tenth is within 20 %, and what comes is in the band. */
static void noisy_work(void **unused)
{
    (void)unused;
    enum { TOTAL = 1000000, RATE = 10000 };
    unsigned outside = 0, far = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct work work = begin(seed);
        struct base_eta_told told = {0};
        uint64_t at_ms = 0;
        while (work.done < TOTAL) {
            quarter(&work, RATE, 80);
            if (!told.known && work.done >= TOTAL / 10) {
                told = base_eta_tell(&work.eta, TOTAL - work.done);
                at_ms = work.now_ms;
                assert_true(told.known);
            }
        }
        uint64_t was = work.now_ms - at_ms;
        outside += was < told.low_ms || was > told.high_ms;
        far += told.ms < was * 4 / 5 || told.ms > was * 6 / 5;
    }
    assert_in_range(far, 0, SEEDS / 50);
    assert_in_range(outside, 0, SEEDS / 50);
}

/* Long runs end one at a time: many intervals see nothing, some see a lot. */
static void work_in_lumps(void **unused)
{
    (void)unused;
    struct work work = begin(1);
    for (int i = 1; i <= 400; i++)
        quarter(&work, i % 8 == 0 ? 8000 : 0, 0);
    struct base_eta_told told = base_eta_tell(&work.eta, 900000);
    assert_true(told.known);
    near(told.ms, 900000, 10);
    assert_true(told.low_ms < 900000 && told.high_ms > 900000);
}

/* Preparation is not counted, however long. */
static void slow_to_begin(void **unused)
{
    (void)unused;
    struct work work = begin(1);
    for (int i = 0; i < 200; i++) {
        quarter(&work, 0, 0);
        assert_false(base_eta_tell(&work.eta, 1000).known);
    }
    for (int i = 0; i < 8; i++)
        quarter(&work, 1000, 10);
    near(base_eta_tell(&work.eta, 10000).ms, 10000, 10);
}

/* Clients come, and the rate falls to a fifth; they go, and it is back. */
static void rate_changes(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct work work = begin(seed);
        for (int i = 0; i < 400; i++)
            quarter(&work, 10000, 30);
        near(base_eta_tell(&work.eta, 1000000).ms, 100000, 15);
        for (int i = 0; i < 200; i++)
            quarter(&work, 2000, 30);
        near(base_eta_tell(&work.eta, 1000000).ms, 500000, 15);
        for (int i = 0; i < 200; i++)
            quarter(&work, 10000, 30);
        near(base_eta_tell(&work.eta, 1000000).ms, 100000, 15);
    }
}

/* What stands still has no end that anybody could tell. */
static void work_stands_still(void **unused)
{
    (void)unused;
    struct work work = begin(1);
    for (int i = 0; i < 100; i++)
        quarter(&work, 10000, 30);
    assert_true(base_eta_tell(&work.eta, 10000).known);
    for (int i = 0; i < 60; i++)
        quarter(&work, 0, 0);
    struct base_eta_told told = base_eta_tell(&work.eta, 10000);
    assert_false(told.known);
    assert_int_equal(told.per_s, 0);
    for (int i = 0; i < 60; i++)
        quarter(&work, 10000, 30);
    near(base_eta_tell(&work.eta, 10000).ms, 1000, 20);
}

/* Rates that say nothing: after a tenth of the work that is said with a wide band. */
static void wild_work(void **unused)
{
    (void)unused;
    struct work work = begin(1);
    for (int i = 0; i < 6; i++)
        quarter(&work, i == 4 ? 1000000 : 4, 0);
    assert_false(base_eta_tell(&work.eta, work.done * 10).known);
    struct base_eta_told told = base_eta_tell(&work.eta, work.done * 8);
    assert_true(told.known && told.high_ms > told.low_ms * 5);
}

static void days_of_work(void **unused)
{
    (void)unused;
    struct work work = begin(1);
    for (int i = 0; i < 2 * 24 * 3600 * 4; i++)
        quarter(&work, 1000, 50);
    assert_in_range(work.eta.count, BASE_ETA_INTERVALS / 2, BASE_ETA_INTERVALS);
    near(base_eta_tell(&work.eta, 86400000).ms, 86400000, 2);
}

/* Notes as rare or as often as they come. */
static void other_rhythms(void **unused)
{
    (void)unused;
    static const uint64_t rhythms[] = {1, 7, 1000, 60000};
    for (size_t r = 0; r < sizeof rhythms / sizeof *rhythms; r++) {
        struct base_eta eta = {0};
        uint64_t now = 0;
        for (unsigned i = 0; i < 3000; i++, now += rhythms[r])
            base_eta_note(&eta, now, now * 3);
        near(base_eta_tell(&eta, 3000000).ms, 1000000, 1);
    }
}

static void begun_anew(void **unused)
{
    (void)unused;
    struct work work = begin(1);
    for (int i = 0; i < 100; i++)
        quarter(&work, 10000, 0);
    base_eta_note(&work.eta, work.now_ms + 250, 5);
    assert_false(base_eta_tell(&work.eta, 1000).known);
    base_eta_note(&work.eta, work.now_ms - 250, 5); /* a clock that goes back */
    assert_false(base_eta_tell(&work.eta, 1000).known);
}

static void never_out_of_range(void **unused)
{
    (void)unused;
    struct base_eta eta = {0};
    for (uint64_t i = 0; i < 100; i++)
        base_eta_note(&eta, i * 1000, i);
    struct base_eta_told told = base_eta_tell(&eta, UINT64_MAX);
    assert_true(!told.known || told.ms == UINT64_MAX);
    memset(&eta, 0, sizeof eta);
    for (uint64_t i = 0; i < 100; i++)
        base_eta_note(&eta, i * 1000, i * (UINT64_MAX / 100));
    assert_true(base_eta_tell(&eta, 1).known);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(even_work),          cmocka_unit_test(noisy_work),
        cmocka_unit_test(work_in_lumps),      cmocka_unit_test(slow_to_begin),
        cmocka_unit_test(rate_changes),       cmocka_unit_test(work_stands_still),
        cmocka_unit_test(wild_work),          cmocka_unit_test(days_of_work),
        cmocka_unit_test(other_rhythms),      cmocka_unit_test(begun_anew),
        cmocka_unit_test(never_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
