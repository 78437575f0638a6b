/* Aim: a deadline that can be kept is kept at no greater share than it needs, one that cannot is
 * said to fail, and without one the priority alone counts. Method: turns with chosen numbers; then
 * whole runs of work on virtual time, whose rate follows the share as that of an OSD beside
 * clients. */
#include "coordinator/dial.h"

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static struct base_eta_told told(uint64_t ms)
{
    return (struct base_eta_told){true, ms, ms * 10 / 11, ms * 10 / 9, ms, 1};
}

static void priority_alone(void **unused)
{
    (void)unused;
    struct coord_dial_seen seen = {.least = 15, .work = true, .held = true, .eta = told(1000000)};
    struct coord_dial dial = coord_dial_turn((struct coord_dial){0}, &seen);
    assert_int_equal(dial.share, 15);
    assert_int_equal(dial.deadline, COORD_DEADLINE_NONE);
    dial.share = 80; /* there was one until now */
    assert_int_equal(coord_dial_turn(dial, &seen).share, 15);
}

static void kept_without_doing_anything(void **unused)
{
    (void)unused;
    struct coord_dial_seen seen = {.least = 15,
                                   .has_deadline = true,
                                   .left_ms = 100000,
                                   .work = true,
                                   .held = true,
                                   .eta = told(50000)};
    struct coord_dial dial = coord_dial_turn((struct coord_dial){0}, &seen);
    assert_int_equal(dial.share, 15);
    assert_int_equal(dial.deadline, COORD_DEADLINE_KEPT);
    seen.eta.known = false;
    dial = coord_dial_turn(dial, &seen);
    assert_int_equal(dial.share, 15);
    assert_int_equal(dial.deadline, COORD_DEADLINE_OPEN);
    seen.work = false;
    assert_int_equal(coord_dial_turn(dial, &seen).deadline, COORD_DEADLINE_KEPT);
}

static void raised_by_what_is_short(void **unused)
{
    (void)unused;
    struct coord_dial_seen seen = {.least = 15,
                                   .has_deadline = true,
                                   .left_ms = 100000,
                                   .work = true,
                                   .held = true,
                                   .eta = told(200000)};
    struct coord_dial dial = coord_dial_turn((struct coord_dial){0}, &seen);
    assert_in_range(dial.share, 30, 42);
    assert_int_equal(dial.deadline, COORD_DEADLINE_RAISED);
    seen.eta = (struct base_eta_told){0}; /* measured anew */
    uint32_t share = dial.share;
    dial = coord_dial_turn(dial, &seen);
    assert_int_equal(dial.share, share);
    assert_int_equal(dial.deadline, COORD_DEADLINE_RAISED);
    seen.eta = told(80000);
    dial = coord_dial_turn(dial, &seen);
    assert_int_equal(dial.share, share);
    assert_int_equal(dial.deadline, COORD_DEADLINE_KEPT);
    seen.eta = told(10000); /* the clients went home */
    dial = coord_dial_turn(dial, &seen);
    assert_int_equal(dial.share, 15);
    assert_int_equal(dial.deadline, COORD_DEADLINE_KEPT);
}

static void cannot_be_kept(void **unused)
{
    (void)unused;
    struct coord_dial_seen seen = {.least = 5,
                                   .has_deadline = true,
                                   .left_ms = 1000,
                                   .work = true,
                                   .held = true,
                                   .eta = told(1000000)};
    struct coord_dial dial = {0};
    int turns = 0;
    for (; dial.share < 100 && turns < 10; turns++)
        dial = coord_dial_turn(dial, &seen);
    assert_int_equal(turns, 3); /* four times as much at once, no more */
    dial = coord_dial_turn(dial, &seen);
    assert_int_equal(dial.share, 100);
    assert_int_equal(dial.deadline, COORD_DEADLINE_FAILS);
    seen.left_ms = 0;
    dial = coord_dial_turn(dial, &seen);
    assert_int_equal(dial.share, 5);
    assert_int_equal(dial.deadline, COORD_DEADLINE_PASSED);
}

/* Met is what was kept when nothing was left to do, whatever comes afterwards. */
static void met_or_passed(void **unused)
{
    (void)unused;
    struct coord_dial_seen seen = {
        .least = 15, .has_deadline = true, .left_ms = 100000, .held = true, .eta = told(50000)};
    struct coord_dial idle = coord_dial_turn((struct coord_dial){0}, &seen);
    seen.work = true;
    struct coord_dial busy = coord_dial_turn((struct coord_dial){0}, &seen);
    assert_int_equal(busy.deadline, COORD_DEADLINE_KEPT);
    seen.left_ms = 0;
    busy = coord_dial_turn(busy, &seen); /* it would have been, and was not done in time */
    assert_int_equal(busy.deadline, COORD_DEADLINE_PASSED);
    idle = coord_dial_turn(idle, &seen);
    assert_int_equal(idle.deadline, COORD_DEADLINE_MET);
    idle = coord_dial_turn(idle, &seen);
    assert_int_equal(idle.deadline, COORD_DEADLINE_MET);
    seen.work = false;
    busy = coord_dial_turn(coord_dial_turn(busy, &seen), &seen);
    assert_int_equal(busy.deadline, COORD_DEADLINE_PASSED);
}

/* Nothing is held back, so no share makes it faster. */
static void cannot_be_kept_without_clients(void **unused)
{
    (void)unused;
    struct coord_dial_seen seen = {
        .least = 15, .has_deadline = true, .left_ms = 1000, .work = true, .eta = told(2000)};
    struct coord_dial dial = coord_dial_turn((struct coord_dial){0}, &seen);
    assert_int_equal(dial.share, 100);
    assert_int_equal(dial.deadline, COORD_DEADLINE_FAILS);
}

static void too_close_to_call(void **unused)
{
    (void)unused;
    struct coord_dial_seen seen = {.least = 100,
                                   .has_deadline = true,
                                   .left_ms = 100000,
                                   .work = true,
                                   .held = true,
                                   .eta = told(98000)};
    assert_int_equal(coord_dial_turn((struct coord_dial){0}, &seen).deadline, COORD_DEADLINE_OPEN);
}

/* Work that goes at a hundredth of `full` for each percent of share. Returns when it is done; in
 * *ret_mean what share it took. */
static uint64_t work(uint64_t full, uint64_t amount, uint64_t deadline_ms, uint32_t *ret_mean)
{
    enum { STEP_MS = 250 };
    struct coord_dial dial = {.share = 15};
    struct base_eta eta = {0};
    uint64_t now = 0, done = 0, shares = 0;
    for (; done < amount && now < 10 * deadline_ms; now += STEP_MS) {
        struct coord_dial_seen seen = {
            .least = 15,
            .has_deadline = true,
            .left_ms = deadline_ms > now ? deadline_ms - now : 0,
            .work = true,
            .held = true,
            .eta = base_eta_tell(&eta, amount - done),
        };
        uint32_t before = dial.share;
        dial = coord_dial_turn(dial, &seen);
        if (dial.share != before)
            eta = (struct base_eta){0};
        shares += dial.share;
        done += full * dial.share / 100 * STEP_MS / 1000;
        base_eta_note(&eta, now, done);
    }
    *ret_mean = (uint32_t)(shares * STEP_MS / now);
    return now;
}

static void whole_runs(void **unused)
{
    (void)unused;
    uint32_t mean;
    uint64_t took = work(100000, 1000000, 200000, &mean); /* 67 s at 15 percent: it need not be */
    assert_int_equal(mean, 15);
    took = work(100000, 10000000, 400000, &mean); /* 667 s at 15, so 25 is needed */
    assert_in_range(took, 300000, 400000);
    assert_in_range(mean, 25, 34);
    took = work(100000, 10000000, 105000, &mean); /* nearly all of it is needed */
    assert_in_range(mean, 85, 100);
    took = work(100000, 10000000, 50000, &mean); /* it passes; what is left goes at 15 */
    assert_true(took > 50000);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(priority_alone),          cmocka_unit_test(kept_without_doing_anything),
        cmocka_unit_test(raised_by_what_is_short), cmocka_unit_test(cannot_be_kept),
        cmocka_unit_test(met_or_passed),           cmocka_unit_test(cannot_be_kept_without_clients),
        cmocka_unit_test(too_close_to_call),       cmocka_unit_test(whole_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
