/* Aim: while clients are served, repair keeps to its share of the rate it has without them, and to
 * nothing else. Method: the pure throttle on made-up time; a worker that always has work is played
 * in steps, and what it got done in ten seconds is counted. */
#include "osd/throttle.h"

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

enum { FRAGMENT = 64 * 1024 };
static const uint64_t ms_ns = 1000000;

struct worker {
    struct osd_throttle throttle;
    uint64_t now_ns, bytes;
};

/* Works for so many ms; one fragment takes so long. Clients ask all the time, or never. */
static void work(struct worker *worker, uint64_t ms, uint64_t fragment_us, bool clients)
{
    for (uint64_t end = worker->now_ns + ms * ms_ns; worker->now_ns < end;) {
        if (clients)
            osd_throttle_served(&worker->throttle, worker->now_ns);
        uint64_t wait_ns = osd_throttle_wait_ns(&worker->throttle, worker->now_ns);
        if (wait_ns > 0) {
            worker->now_ns += wait_ns < 10 * ms_ns ? wait_ns : 10 * ms_ns;
            continue;
        }
        osd_throttle_begin(&worker->throttle, FRAGMENT, worker->now_ns);
        worker->now_ns += fragment_us * 1000;
        osd_throttle_done(&worker->throttle, FRAGMENT, worker->now_ns);
        worker->bytes += FRAGMENT;
    }
}

static void assert_about(uint64_t value, uint64_t wanted, unsigned percent)
{
    assert_in_range(value, wanted * (100 - percent) / 100, wanted * (100 + percent) / 100);
}

static struct worker made(uint32_t share)
{
    return (struct worker){.throttle = {.share = share}, .now_ns = 77000 * ms_ns};
}

static void share_of_the_idle_rate(void **unused)
{
    static const uint32_t shares[] = {5, 15, 50};
    (void)unused;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        struct worker worker = made(shares[i]);
        work(&worker, 10000, 1000, /* clients */ false); /* 64 MB a second */
        uint64_t idle = worker.bytes;
        assert_about(worker.throttle.idle_rate, (uint64_t)FRAGMENT * 1000, 2);
        worker.bytes = 0;
        work(&worker, 10000, 1000, /* clients */ true);
        assert_about(worker.bytes, idle * shares[i] / 100, 3);
    }
}

static void max_is_never_held_back(void **unused)
{
    (void)unused;
    struct worker worker = made(100);
    work(&worker, 2000, 100, /* clients */ true); /* ten times what an idle one is taken for */
    assert_about(worker.bytes, (uint64_t)FRAGMENT * 20000, 1);
}

static void no_orders_yet_means_normal(void **unused)
{
    (void)unused;
    struct worker none = made(0), normal = made(OSD_THROTTLE_SHARE);
    work(&none, 5000, 100, /* clients */ true);
    work(&normal, 5000, 100, /* clients */ true);
    assert_int_equal(none.bytes, normal.bytes);
    assert_about(none.bytes, 5ull * OSD_THROTTLE_IDLE_DEFAULT * OSD_THROTTLE_SHARE / 100, 3);
}

/* A second after the last request it goes at full speed, and measures again. */
static void clients_that_leave(void **unused)
{
    (void)unused;
    struct worker worker = made(5);
    work(&worker, 3000, 1000, /* clients */ true);
    assert_true(osd_throttle_clients(&worker.throttle, worker.now_ns));
    assert_int_equal(worker.throttle.idle_rate, 0); /* nothing measured beside clients */
    worker.now_ns += OSD_THROTTLE_CLIENTS_MS * ms_ns;
    assert_false(osd_throttle_clients(&worker.throttle, worker.now_ns));
    worker.bytes = 0;
    work(&worker, 3000, 1000, /* clients */ false);
    assert_about(worker.bytes, (uint64_t)FRAGMENT * 3000, 1);
    assert_about(worker.throttle.idle_rate, (uint64_t)FRAGMENT * 1000, 2);
}

/* What is held back for clients is no rate, also while they say nothing for a moment; and no window
 * spans them. */
static void beside_clients_nothing_is_measured(void **unused)
{
    (void)unused;
    struct worker worker = made(15);
    work(&worker, 100, 1000, /* clients */ false);
    for (int i = 0; i < 20; i++) {
        osd_throttle_served(&worker.throttle, worker.now_ns);
        work(&worker, 800, 1000, /* clients */ false);
    }
    assert_int_equal(worker.throttle.idle_rate, 0);
    work(&worker, 300, 1000, /* clients */ false);
    work(&worker, 100, 1000, /* clients */ false);
    osd_throttle_served(&worker.throttle, worker.now_ns);
    worker.now_ns += 2 * OSD_THROTTLE_CLIENTS_MS * ms_ns;
    work(&worker, 400, 1000, /* clients */ false);
    assert_int_equal(worker.throttle.idle_rate, 0);
    work(&worker, 200, 1000, /* clients */ false);
    assert_about(worker.throttle.idle_rate, (uint64_t)FRAGMENT * 1000, 2);
}

/* Pauses for want of work are no measure of the rate. */
static void dry_times_do_not_count(void **unused)
{
    (void)unused;
    struct worker worker = made(15);
    for (int i = 0; i < 50; i++) {
        work(&worker, 100, 1000, /* clients */ false);
        osd_throttle_dry(&worker.throttle);
        worker.now_ns += 900 * ms_ns;
    }
    for (int i = 0; i < 50; i++) { /* nobody says so, but the only task has ended */
        work(&worker, 1, 1000, /* clients */ false);
        osd_throttle_end(&worker.throttle, worker.throttle.open_bytes);
        worker.now_ns += 900 * ms_ns;
    }
    assert_int_equal(worker.throttle.idle_rate, 0);
    work(&worker, 2000, 1000, /* clients */ false);
    assert_about(worker.throttle.idle_rate, (uint64_t)FRAGMENT * 1000, 2);
}

/* One task that ends leaves the engine to the others, and the window goes on. */
static void many_under_way_are_measured(void **unused)
{
    (void)unused;
    struct osd_throttle throttle = {.share = 15};
    uint64_t now = 1000 * ms_ns;
    osd_throttle_begin(&throttle, FRAGMENT, now);
    for (int i = 0; i < 1000; i++) {
        osd_throttle_begin(&throttle, FRAGMENT, now);
        now += ms_ns;
        osd_throttle_done(&throttle, FRAGMENT, now);
        osd_throttle_end(&throttle, FRAGMENT);
    }
    assert_about(throttle.idle_rate, (uint64_t)FRAGMENT * 1000, 2);
}

/* A disk that seems nearly dead must not stop repair for good once clients come. */
static void a_tiny_rate_is_not_believed(void **unused)
{
    (void)unused;
    struct worker worker = made(5);
    work(&worker, 20000, 4000000, /* clients */ false);
    assert_int_equal(worker.throttle.idle_rate, OSD_THROTTLE_IDLE_MIN);
    worker.bytes = 0;
    work(&worker, 20000, 1000, /* clients */ true);
    assert_true(worker.bytes >= 15 * FRAGMENT);
}

/* The first seconds are slow, and few. */
static void getting_going_is_soon_forgotten(void **unused)
{
    (void)unused;
    struct worker worker = made(15);
    work(&worker, 2000, 4000, /* clients */ false);
    work(&worker, 2500, 1000, /* clients */ false);
    assert_about(worker.throttle.idle_rate, (uint64_t)FRAGMENT * 1000, 10);
}

/* A disk that became slow is found to be, in a while. */
static void getting_slow_is_noticed(void **unused)
{
    (void)unused;
    struct worker worker = made(15);
    work(&worker, 2000, 1000, /* clients */ false);
    work(&worker, 600, 4000, /* clients */ false);
    assert_true(worker.throttle.idle_rate > (uint64_t)FRAGMENT * 500);
    work(&worker, 10000, 4000, /* clients */ false);
    assert_about(worker.throttle.idle_rate, (uint64_t)FRAGMENT * 250, 10);
}

/* A worker that wakes up late makes up for it, but not for a pause. */
static void lateness_is_made_up_for(void **unused)
{
    (void)unused;
    enum { MIB = 1 << 20, LATE_MS = 100 };
    struct osd_throttle throttle = {.share = 10, .idle_rate = 50 * MIB}; /* one in 200 ms */
    uint64_t now = 1000 * ms_ns;
    for (int i = 0; i < 50; i++) {
        osd_throttle_served(&throttle, now);
        osd_throttle_begin(&throttle, MIB, now);
        now += osd_throttle_wait_ns(&throttle, now) + LATE_MS * ms_ns;
    }
    assert_about(now, (1000 + 50 * 200 + LATE_MS) * ms_ns, 1);
    now += 60000 * ms_ns;
    osd_throttle_served(&throttle, now);
    osd_throttle_begin(&throttle, MIB, now);
    assert_int_equal(osd_throttle_wait_ns(&throttle, now), 200 * ms_ns);
}

/* What has begun cannot be held back any more: it is little, whatever the engine would take. */
static void little_is_under_way(void **unused)
{
    (void)unused;
    struct osd_throttle throttle = {.share = 100};
    assert_true(osd_throttle_has_room(&throttle, 100 << 20)); /* else it would never be mended */
    uint64_t count = 0;
    for (; osd_throttle_has_room(&throttle, 1 << 20); count++)
        osd_throttle_begin(&throttle, 1 << 20, 0);
    assert_int_equal(count << 20, OSD_THROTTLE_OPEN_BYTES);
    assert_false(osd_throttle_has_room(&throttle, 1));
    osd_throttle_end(&throttle, 1 << 20);
    assert_true(osd_throttle_has_room(&throttle, 1 << 20));
    assert_false(osd_throttle_has_room(&throttle, (1 << 20) + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lateness_is_made_up_for),
        cmocka_unit_test(little_is_under_way),
        cmocka_unit_test(share_of_the_idle_rate),
        cmocka_unit_test(max_is_never_held_back),
        cmocka_unit_test(no_orders_yet_means_normal),
        cmocka_unit_test(clients_that_leave),
        cmocka_unit_test(dry_times_do_not_count),
        cmocka_unit_test(a_tiny_rate_is_not_believed),
        cmocka_unit_test(getting_going_is_soon_forgotten),
        cmocka_unit_test(getting_slow_is_noticed),
        cmocka_unit_test(beside_clients_nothing_is_measured),
        cmocka_unit_test(many_under_way_are_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
