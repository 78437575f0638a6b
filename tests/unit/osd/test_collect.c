/* Aim: what the coordinators decided to delete is deleted once, confirmed only after that, and
 * never comes back. Method: a collector on a spy store with coded stripes, stepped by the test;
 * bounds and failures in turn. */
#include "osd/collect.h"

#include "tests/unit/osd/osd_parts.h"

#include "base/banned.h"

struct fixture {
    struct osd_collector *collector;
    struct osd_store *store;
    struct proto_map_ref *map;
    struct proto_collect_job done[OSD_COLLECT_REPORT_MAX];
};

static void fixture_init(struct fixture *f)
{
    assert_int_equal(osd_collector_new(&f->collector), LILIO_OK);
    f->store = spy_store_new();
    f->map = parts_map(5);
}

static void fixture_release(struct fixture *f)
{
    osd_collector_free(&f->collector);
    osd_store_free(&f->store);
    proto_map_ref_drop(&f->map);
}

static enum osd_collect_result step(struct fixture *f)
{
    return osd_collector_step(f->collector, f->store, proto_map_ref_get(f->map), NULL);
}

static uint64_t stored(struct fixture *f)
{
    struct osd_store_space space;
    f->store->ops->space(f->store, &space);
    return space.fragment_count;
}

/* Fragments `indexes` of each of the first `stripes` stripes. */
static void store_run(struct fixture *f, struct base_oid oid, uint32_t stripes, uint32_t indexes)
{
    for (uint32_t i = 0; i < stripes; i++) {
        struct parts_stripe stripe;
        parts_stripe_make(&stripe, oid, i, 640);
        for (uint32_t index = 0; index < PARTS_OSDS; index++)
            if (indexes >> index & 1)
                parts_store_put(f->store, &stripe, index);
        parts_stripe_release(&stripe);
    }
}

static struct proto_collect_job job_of(struct base_oid oid, uint32_t stripes)
{
    return (struct proto_collect_job){
        .oid = oid, .placement = PARTS_PLACEMENT, .stripe_count = stripes};
}

static void test_a_long_run_in_steps(void **state)
{
    enum { STRIPES = 3 * OSD_COLLECT_STRIPES_STEP + 1 };
    struct fixture f;
    struct base_oid oid = {7, 1}, other = {7, 2};
    (void)state;
    fixture_init(&f);
    store_run(&f, oid, STRIPES, 0x25); /* several of a stripe: more keys than a batch takes */
    store_run(&f, other, 2, 1);
    struct proto_collect_job job = job_of(oid, STRIPES);
    assert_int_equal(step(&f), OSD_COLLECT_IDLE);
    osd_collector_add(f.collector, &job);
    osd_collector_add(f.collector, &job); /* the coordinator repeats itself */
    unsigned steps = 1;
    assert_false(osd_collector_knows(f.collector, oid));
    while (step(&f) == OSD_COLLECT_MORE) {
        assert_true(osd_collector_knows(f.collector, oid));
        assert_int_equal(osd_collector_done(f.collector, f.done), 0);
        steps++;
    }
    assert_true(steps >= 4);
    assert_int_equal(stored(&f), 2);
    assert_int_equal(osd_collector_done(f.collector, f.done), 1);
    assert_true(base_oid_equal(f.done[0].oid, oid));
    assert_false(osd_collector_knows(f.collector, other));

    osd_collector_add(f.collector, &job); /* heard again before it was confirmed */
    assert_int_equal(step(&f), OSD_COLLECT_IDLE);
    osd_collector_confirmed(f.collector, f.done, 1);
    assert_int_equal(osd_collector_done(f.collector, f.done), 0);
    fixture_release(&f);
}

static void test_failed_remove_is_not_confirmed(void **state)
{
    struct fixture f;
    struct base_oid oid = {7, 1};
    (void)state;
    fixture_init(&f);
    store_run(&f, oid, 2, 1);
    struct proto_collect_job job = job_of(oid, 2);
    osd_collector_add(f.collector, &job);
    spy_store_fail(f.store, LILIO_E_IO);
    assert_int_equal(step(&f), OSD_COLLECT_FAILED);
    assert_int_equal(osd_collector_done(f.collector, f.done), 0);
    assert_int_equal(stored(&f), 2);
    spy_store_fail(f.store, LILIO_OK);
    assert_int_equal(step(&f), OSD_COLLECT_DONE);
    assert_int_equal(stored(&f), 0);
    assert_int_equal(osd_collector_done(f.collector, f.done), 1);
    fixture_release(&f);
}

/* One job that cannot be done does not hold up the others. */
static void test_unknown_placement_waits(void **state)
{
    struct fixture f;
    struct base_oid strange = {7, 1}, oid = {7, 2};
    (void)state;
    fixture_init(&f);
    store_run(&f, oid, 1, 1);
    struct proto_collect_job first = job_of(strange, 1), second = job_of(oid, 1);
    first.placement = 99;
    osd_collector_add(f.collector, &first);
    osd_collector_add(f.collector, &second);
    assert_int_equal(step(&f), OSD_COLLECT_FAILED);
    assert_int_equal(step(&f), OSD_COLLECT_DONE);
    assert_int_equal(osd_collector_done(f.collector, f.done), 1);
    assert_true(base_oid_equal(f.done[0].oid, oid));
    assert_int_equal(stored(&f), 0);
    fixture_release(&f);
}

static void test_more_jobs_than_are_kept(void **state)
{
    struct fixture f;
    size_t done = 0;
    (void)state;
    fixture_init(&f);
    for (uint64_t i = 0; i < OSD_COLLECT_JOBS_MAX + 100; i++) {
        struct proto_collect_job job = job_of((struct base_oid){7, i}, 1);
        osd_collector_add(f.collector, &job);
    }
    while (step(&f) != OSD_COLLECT_IDLE)
        ;
    for (size_t count; (count = osd_collector_done(f.collector, f.done)) > 0; done += count) {
        assert_true(count <= OSD_COLLECT_REPORT_MAX);
        osd_collector_confirmed(f.collector, f.done, count);
    }
    assert_int_equal(done, OSD_COLLECT_JOBS_MAX);
    for (uint64_t i = 0; i < OSD_COLLECT_JOBS_MAX;
         i++) /* a session's runs do not displace each other */
        assert_true(osd_collector_knows(f.collector, (struct base_oid){7, i}));
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_long_run_in_steps),
        cmocka_unit_test(test_failed_remove_is_not_confirmed),
        cmocka_unit_test(test_unknown_placement_waits),
        cmocka_unit_test(test_more_jobs_than_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
