/* Aim: a repair job makes good what the maps call bad in this OSD's slots, and nothing else; what
 * was found is in the maps before the job is called done; a job that cannot be done says why and
 * holds up none. Method: six whole OSDs, five of them on spy stores that hold coded stripes and lie
 * on demand, a coordinator in a thread that orders jobs with its heartbeats; the sixth mends, and
 * its store is compared with what was coded. */
#include "osd/repair.h"

#include <stdio.h>
#include <stdlib.h>

#include "osd/member.h"
#include "tests/unit/osd/fake_coordinator.h"

#include "base/banned.h"

enum { GOOD = 0, MISSING = 1, STRIPES = 3 };

struct fixture {
    struct proto_context *context;
    struct fake fake;
    struct parts osds[PARTS_OSDS]; /* osd.0 is the one that mends */
    struct osd_member *member;
    struct osd_repair *repair;
    char own_endpoint[128];
};

/* The fragment of a stripe that belongs to osd.0. */
static uint32_t own_index(struct base_oid oid, uint32_t stripe)
{
    uint32_t index = 0;
    while (parts_owner(oid, stripe, index) != 0)
        index++;
    return index;
}

static void put_stripe(void *context, const struct parts_stripe *stripe)
{
    struct fixture *f = context;
    for (uint32_t index = 0; index < PARTS_OSDS; index++) {
        uint32_t osd = parts_owner(stripe->oid, stripe->stripe, index);
        if (osd != 0)
            parts_store_put(f->osds[osd].store, stripe, index);
    }
}

/* A job for a row, or another one. */
static void order(struct fixture *f, size_t row, uint64_t id, uint8_t margin)
{
    f->fake.repairs[row] = (struct fake_repair){
        .job = {.id = id, .oid = f->fake.rows[row].oid, .margin = margin, .lease_ms = 60000}};
    f->fake.repair_count = row < f->fake.repair_count ? f->fake.repair_count : row + 1;
}

/* A row whose fragments of osd.0 are missing, as the maps know. Before any thread runs. */
static void add_row(struct fixture *f, uint64_t counter)
{
    struct fake_row *row = fake_row_add(&f->fake, counter, STRIPES, put_stripe, f);
    for (uint32_t stripe = 0; stripe < STRIPES; stripe++)
        row->exceptions[row->exception_count++] = (struct proto_exception){
            .first_stripe = stripe,
            .stripe_count = 1,
            .index = (uint8_t)own_index(row->oid, stripe),
            .kind = 1,
        };
}

static void add_rows_and_jobs(struct fixture *f, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        add_row(f, i + 1);
        order(f, i, 1000 + i, i == 0 ? 0 : 1); /* the first one is the most urgent */
    }
}

static void fixture_init(struct fixture *f, bool member)
{
    *f = (struct fixture){0};
    assert_int_equal(proto_context_new(1, &f->context), LILIO_OK);
    fake_start(&f->fake, f->context);
    for (uint32_t i = 1; i < PARTS_OSDS; i++)
        parts_init_member(&f->osds[i], i, f->context);
    parts_endpoint("own", 0, f->own_endpoint);
    parts_init(&f->osds[0], 0, f->context);
    struct osd_rebuild_options options = {
        .node = f->osds[0].node,
        .home = f->osds[0].home,
        .context = f->context,
        .coordinators = fake_endpoints(),
        .coordinator_count = 1,
        .own_endpoint = f->own_endpoint,
    };
    assert_int_equal(osd_rebuild_new(&options, &f->osds[0].rebuild), LILIO_OK);
    FAKE_LOCKED(&f->fake, f->fake.had_disk = !member);
    if (!member)
        return;
    struct base_uuid uuid;
    assert_int_equal(osd_home_join(f->osds[0].home, &uuid, NULL), LILIO_OK);
    FAKE_LOCKED(&f->fake, f->fake.incarnation = 1; f->fake.disk_uuid = uuid);
}

static void threads_start(struct fixture *f)
{
    parts_serve(&f->osds[0]);
    FAKE_LOCKED(&f->fake, ); /* it sees what the test set up */
    for (uint32_t i = 0; i < PARTS_OSDS; i++)
        parts_run(&f->osds[i]);
    struct osd_repair_options repair = {
        .node = f->osds[0].node,
        .rebuild = f->osds[0].rebuild,
        .context = f->context,
        .coordinators = fake_endpoints(),
        .coordinator_count = 1,
        .own_endpoint = f->own_endpoint,
    };
    assert_int_equal(osd_repair_start(&repair, &f->repair), LILIO_OK);
    struct osd_member_options member = {
        .node = f->osds[0].node,
        .home = f->osds[0].home,
        .collector = f->osds[0].collector,
        .repair = f->repair,
        .context = f->context,
        .coordinators = fake_endpoints(),
        .coordinator_count = 1,
        .address = "tcp://127.0.0.1:1",
    };
    assert_int_equal(osd_member_start(&member, &f->member), LILIO_OK);
}

static void fixture_release(struct fixture *f)
{
    osd_node_stop(f->osds[0].node);
    osd_member_stop(&f->member);
    osd_repair_stop(&f->repair);
    for (uint32_t i = 0; i < PARTS_OSDS; i++)
        parts_release(&f->osds[i]);
    fake_stop(&f->fake);
    proto_context_free(&f->context);
    for (uint32_t i = 0; i < PARTS_OSDS; i++)
        parts_release_context(&f->osds[i]);
}

/* ---- waiting and looking ---- */

static void await(struct fixture *f, bool (*is_so)(struct fixture *f))
{
    struct proto_wait_item never = {.fd = -1};
    uint64_t until = base_now_ms(base_clock_system()) + 3 * PARTS_PATIENCE_MS;
    bool so = false;
    while (!so) {
        assert_true(base_now_ms(base_clock_system()) < until);
        FAKE_LOCKED(&f->fake, so = is_so(f));
        if (!so)
            (void)proto_wait(&never, 1, 10);
    }
}

static bool all_ended(struct fixture *f)
{
    bool all = true;
    for (size_t i = 0; i < f->fake.repair_count; i++)
        all &= f->fake.repairs[i].ended > 0;
    return all;
}

static bool all_named(struct fixture *f)
{
    bool all = true;
    for (size_t i = 0; i < f->fake.repair_count; i++)
        all &= f->fake.repairs[i].named;
    return all;
}

static bool many_beats(struct fixture *f)
{
    return f->fake.beats >= 20;
}

struct look {
    struct osd_store *store;
    struct base_oid oid;
    size_t right, wrong;
};

/* On the owner thread: are the fragments of a row there, byte by byte? */
static enum lilio_err look(void *context, struct lilio_errinfo *info)
{
    struct look *look = context;
    uint8_t room[OSD_OBJECT_KEY_MAX];
    size_t size = PARTS_FRAGMENT + 8192;
    uint8_t *buffer = aligned_alloc(4096, size);
    for (uint32_t i = 0; i < STRIPES; i++) {
        struct parts_stripe stripe;
        struct osd_fragment fragment;
        uint8_t *payload;
        uint32_t got, index = own_index(look->oid, i);
        uint64_t full = (uint64_t)PARTS_DATA * PARTS_FRAGMENT;
        struct base_fragment_key key = parts_key(look->oid, i, index);
        parts_stripe_make(&stripe, look->oid, i, i + 1 < STRIPES ? full : full - 1000);
        enum lilio_err err =
            look->store->ops->get(look->store, &key, 0, CODEC_BLOCKS_MAX, true, buffer, size,
                                  &fragment, room, &payload, &got, info);
        bool right =
            !err && got == stripe.fragment_size && memcmp(payload, stripe.bytes[index], got) == 0;
        look->right += right;
        look->wrong += !right && err != LILIO_E_MISSING;
        parts_stripe_release(&stripe);
    }
    free(buffer);
    return LILIO_OK;
}

/* How many fragments of the row are here; wrong ones never are. */
static size_t here(struct fixture *f, size_t row)
{
    struct look found = {.store = f->osds[0].store, .oid = f->fake.rows[row].oid};
    assert_int_equal(osd_node_call(f->osds[0].node, look, &found, NULL), LILIO_OK);
    assert_int_equal(found.wrong, 0);
    return found.right;
}

static void expect_reported(struct fixture *f, size_t row)
{
    struct base_oid oid = f->fake.rows[row].oid;
    for (uint32_t stripe = 0; stripe < STRIPES; stripe++)
        assert_int_equal(fake_reports(&f->fake, oid, stripe, own_index(oid, stripe), GOOD), 1);
}

static const struct fake_repair *ended(struct fixture *f, size_t at)
{
    assert_int_equal(f->fake.repairs[at].ended, 1); /* told once, as it was answered */
    return &f->fake.repairs[at];
}

/* ---- tests ---- */

static void test_missing_fragments(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    add_rows_and_jobs(&f, 7);
    threads_start(&f);
    await(&f, all_ended);
    for (size_t i = 0; i < 7; i++) {
        const struct fake_repair *repair = ended(&f, i);
        assert_int_equal(repair->result.err, LILIO_OK);
        assert_int_equal(repair->result.mended, STRIPES);
        assert_int_equal(repair->result.present + repair->result.failed, 0);
        assert_in_range(repair->result.bytes, 2 * PARTS_FRAGMENT, STRIPES * PARTS_FRAGMENT);
        assert_int_equal(here(&f, i), STRIPES);
        expect_reported(&f, i);
    }
    fixture_release(&f);
}

/* What a client called missing and is not: only the maps are mended. */
static void test_present_fragments(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    add_rows_and_jobs(&f, 1);
    threads_start(&f);
    await(&f, all_ended);
    assert_int_equal(here(&f, 0), STRIPES); /* mended, and from now on good */
    FAKE_LOCKED(&f.fake, f.fake.report_count = 0; order(&f, 0, 77, 1));
    await(&f, all_ended);
    assert_int_equal(ended(&f, 0)->result.err, LILIO_OK);
    assert_int_equal(ended(&f, 0)->result.present, STRIPES);
    assert_int_equal(ended(&f, 0)->result.mended, 0);
    expect_reported(&f, 0);
    fixture_release(&f);
}

static void test_lost_run_among_others(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    add_rows_and_jobs(&f, 5);
    struct base_oid lost = f.fake.rows[0].oid;
    for (uint32_t osd = 1; osd <= 3; osd++)
        for (uint32_t index = 0; index < PARTS_OSDS; index++)
            spy_store_lie(f.osds[osd].store, lost, index, SPY_MISSING);
    threads_start(&f);
    await(&f, all_ended);
    assert_int_equal(ended(&f, 0)->result.err, LILIO_E_LOST);
    assert_int_equal(ended(&f, 0)->result.failed, STRIPES);
    assert_non_null(strstr(ended(&f, 0)->reason, "osd.2: "));
    assert_int_equal(here(&f, 0), 0);
    for (uint32_t stripe = 0; stripe < STRIPES; stripe++) {
        assert_int_equal(fake_reports(&f.fake, lost, stripe, own_index(lost, stripe), GOOD), 0);
        for (uint32_t index = 0; index < PARTS_OSDS; index++) {
            uint32_t osd = parts_owner(lost, stripe, index);
            if (osd >= 1 && osd <= 3) /* and the maps know now what the sources lack */
                assert_int_equal(fake_reports(&f.fake, lost, stripe, index, MISSING), 1);
        }
    }
    for (size_t i = 1; i < 5; i++) {
        assert_int_equal(ended(&f, i)->result.mended, STRIPES);
        assert_int_equal(here(&f, i), STRIPES);
    }
    fixture_release(&f);
}

static void test_deleted_run(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    add_rows_and_jobs(&f, 1);
    f.fake.rows[0].deleted = true;
    threads_start(&f);
    await(&f, all_ended);
    assert_int_equal(ended(&f, 0)->result.err, LILIO_OK);
    assert_int_equal(ended(&f, 0)->result.mended, 0);
    assert_int_equal(here(&f, 0), 0);
    fixture_release(&f);
}

/* What is not in the maps is not done. */
static void test_reports_refused(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    add_rows_and_jobs(&f, 1);
    f.fake.refuse_reports = true;
    threads_start(&f);
    await(&f, all_ended);
    assert_int_equal(ended(&f, 0)->result.err, LILIO_E_UNAVAILABLE);
    FAKE_LOCKED(&f.fake, f.fake.refuse_reports = false; order(&f, 0, 78, 1));
    await(&f, all_ended);
    assert_int_equal(ended(&f, 0)->result.err, LILIO_OK);
    assert_int_equal(ended(&f, 0)->result.present, STRIPES);
    expect_reported(&f, 0);
    fixture_release(&f);
}

static void test_blank_osd_takes_none(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, false);
    add_rows_and_jobs(&f, 1);
    threads_start(&f);
    await(&f, many_beats);
    FAKE_LOCKED(&f.fake, assert_true(f.fake.repair_orders >= 10);
                assert_false(f.fake.repairs[0].named));
    assert_int_equal(f.fake.repairs[0].ended, 0);
    fixture_release(&f);
}

static bool renamed_named(struct fixture *f)
{
    return f->fake.repairs[0].named && f->fake.repairs[0].job.id == 99;
}

/* While a rebuild runs jobs wait, named in each heartbeat; a new leader's lease takes the place of
 * the former one's. */
static void test_rebuild_goes_first(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    add_rows_and_jobs(&f, 1);
    threads_start(&f);
    await(&f, all_ended);
    FAKE_LOCKED(&f.fake, f.fake.busy_scans = true); /* a rebuild that cannot begin its walk */
    assert_int_equal(osd_rebuild_start(f.osds[0].rebuild, NULL), LILIO_OK);
    FAKE_LOCKED(&f.fake, order(&f, 0, 98, 1));
    await(&f, all_named);
    FAKE_LOCKED(&f.fake, f.fake.repairs[0].job.id = 99);
    await(&f, renamed_named);
    FAKE_LOCKED(&f.fake, f.fake.beats = 0);
    await(&f, many_beats);
    assert_true(osd_rebuild_runs(f.osds[0].rebuild));
    FAKE_LOCKED(&f.fake, assert_int_equal(f.fake.repairs[0].ended, 0));
    osd_rebuild_cancel(f.osds[0].rebuild);
    await(&f, all_ended);
    assert_int_equal(ended(&f, 0)->result.present, STRIPES);
    fixture_release(&f);
}

/* After a change of the map the engine works with the new one. */
static void test_map_changes(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    add_rows_and_jobs(&f, 1);
    add_row(&f, 2);
    threads_start(&f);
    await(&f, all_ended);
    FAKE_LOCKED(&f.fake, proto_map_ref_drop(&f.fake.map); f.fake.map = parts_map(6);
                order(&f, 1, 1001, 1));
    await(&f, all_ended);
    assert_int_equal(osd_node_epoch(f.osds[0].node), 6);
    assert_int_equal(ended(&f, 1)->result.mended, STRIPES);
    assert_int_equal(here(&f, 1), STRIPES);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_fragments),     cmocka_unit_test(test_present_fragments),
        cmocka_unit_test(test_lost_run_among_others), cmocka_unit_test(test_deleted_run),
        cmocka_unit_test(test_reports_refused),       cmocka_unit_test(test_blank_osd_takes_none),
        cmocka_unit_test(test_rebuild_goes_first),    cmocka_unit_test(test_map_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
