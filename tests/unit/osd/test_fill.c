/* Aim: what belongs into slots that are new to this OSD gets there, from who had them or from the
 * other fragments; what cannot be had is reported missing and keeps nothing else from being told;
 * the maps are told after everything is there. Method: six whole OSDs, five of them on spy stores
 * that hold coded stripes and lie on demand, a coordinator in a thread; all slots of the sixth
 * fill, and its store is compared with what was coded. */
#include "osd/repair.h"

#include <stdlib.h>

#include "osd/member.h"
#include "proto/moves.h"
#include "tests/unit/osd/fake_coordinator.h"

#include "base/banned.h"

enum { MISSING = 1, STRIPES = 3, ROWS = 5, PARTITIONS = 1 << PARTS_BITS, JOB = 500 };

struct fixture {
    struct proto_context *context;
    struct fake fake;
    struct parts osds[PARTS_OSDS]; /* osd.0 is the one whose slots fill */
    struct osd_member *member;
    struct osd_repair *repair;
    char own_endpoint[128];
    uint64_t partitions[PARTITIONS];
    bool copies; /* osd.1 had the slots, and has what was in them */
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
        if (osd != 0 || f->copies)
            parts_store_put(f->osds[osd ? osd : 1].store, stripe, index);
    }
}

/* The map of parts with all slots of osd.0 filling; osd.1 had them, if it has copies. */
static struct proto_map_ref *filling_map(uint64_t epoch, bool copies)
{
    struct proto_map_ref *plain = parts_map(epoch), *made;
    struct proto_cluster_map map = *proto_map_ref_get(plain);
    struct proto_placement placement;
    struct proto_arena *arena;
    assert_int_equal(proto_arena_new(&arena), LILIO_OK);
    assert_true(proto_placement_unfold(&map.placements[0], arena, &placement));
    for (uint32_t partition = 0; partition < PARTITIONS; partition++)
        for (uint32_t slot = 0; slot < PARTS_OSDS; slot++) {
            if (proto_slot_osd(&placement, partition, slot) != 0)
                continue;
            proto_placement_move(&placement, partition, slot, 1, epoch);
            proto_placement_filled(&placement, partition, slot);
            proto_placement_move(&placement, partition, slot, 0, epoch); /* from osd.1 */
            if (!copies) {
                proto_placement_filled(&placement, partition, slot);
                base_le16_put((uint8_t *)(uintptr_t)placement.slots.data +
                                  2 * ((size_t)partition * PARTS_OSDS + slot),
                              5);
                proto_placement_move(&placement, partition, slot, 0, epoch); /* from osd.5 */
            }
        }
    proto_placement_fold(&placement);
    map.placements = &placement;
    assert_int_equal(proto_map_check(&map, NULL), LILIO_OK);
    assert_int_equal(proto_map_ref_new(&map, &made), LILIO_OK);
    proto_map_ref_drop(&plain);
    proto_arena_free(&arena);
    return made;
}

static void fixture_init(struct fixture *f, bool copies)
{
    *f = (struct fixture){.copies = copies};
    assert_int_equal(proto_context_new(1, &f->context), LILIO_OK);
    fake_start(&f->fake, f->context);
    FAKE_LOCKED(&f->fake, proto_map_ref_drop(&f->fake.map); f->fake.map = filling_map(5, copies));
    for (uint32_t i = 1; i < PARTS_OSDS; i++)
        parts_init_member(&f->osds[i], i, f->context);
    parts_endpoint("own", 0, f->own_endpoint);
    parts_init(&f->osds[0], 0, f->context);
    struct base_uuid uuid;
    assert_int_equal(osd_home_join(f->osds[0].home, &uuid, NULL), LILIO_OK);
    FAKE_LOCKED(&f->fake, f->fake.incarnation = 1; f->fake.disk_uuid = uuid);
    for (uint64_t i = 0; i < ROWS; i++)
        (void)fake_row_add(&f->fake, i + 1, STRIPES, put_stripe, f);
    for (uint64_t i = 0; i < PARTITIONS; i++)
        f->partitions[i] = i;
    f->fake.fill = (struct proto_fill_job){.id = JOB,
                                           .placement = PARTS_PLACEMENT,
                                           .partitions = f->partitions,
                                           .partitions_count = PARTITIONS,
                                           .lease_ms = 60000};
}

static void threads_start(struct fixture *f)
{
    struct osd_rebuild_options rebuild = {
        .node = f->osds[0].node,
        .home = f->osds[0].home,
        .context = f->context,
        .coordinators = fake_endpoints(),
        .coordinator_count = 1,
        .own_endpoint = f->own_endpoint,
    };
    assert_int_equal(osd_rebuild_new(&rebuild, &f->osds[0].rebuild), LILIO_OK);
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

static void await_end(struct fixture *f)
{
    struct proto_wait_item never = {.fd = -1};
    uint64_t until = base_now_ms(base_clock_system()) + 3 * PARTS_PATIENCE_MS;
    for (bool ended = false; !ended;) {
        assert_true(base_now_ms(base_clock_system()) < until);
        FAKE_LOCKED(&f->fake, ended = f->fake.fill_ended > 0);
        if (!ended)
            (void)proto_wait(&never, 1, 10);
    }
    FAKE_LOCKED(&f->fake, assert_int_equal(f->fake.fill_ended, 1));
}

/* ---- what is there ---- */

struct look {
    struct osd_store *store;
    struct base_oid oid;
    size_t right;
};

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
        look->right +=
            !err && got == stripe.fragment_size && memcmp(payload, stripe.bytes[index], got) == 0;
        parts_stripe_release(&stripe);
    }
    free(buffer);
    return LILIO_OK;
}

static size_t here(struct fixture *f, size_t row)
{
    struct look found = {.store = f->osds[0].store, .oid = f->fake.rows[row].oid};
    assert_int_equal(osd_node_call(f->osds[0].node, look, &found, NULL), LILIO_OK);
    return found.right;
}

/* All slots were told, once, and are osd.0's. */
static void all_told(struct fixture *f)
{
    const struct proto_placement *placement = &proto_map_ref_get(f->fake.map)->placements[0];
    assert_int_equal(f->fake.fills, 1);
    assert_int_equal(f->fake.filled.slots_count, PARTITIONS);
    assert_int_equal(f->fake.filled.osd, 0);
    assert_int_equal(f->fake.filled.incarnation, 1);
    assert_int_equal(f->fake.filled.index, 100);
    assert_int_equal(f->fake.filled.epoch, 5);
    for (size_t i = 0; i < PARTITIONS; i++) {
        const struct proto_filled_slot *slot = &f->fake.filled_slots[i];
        assert_int_equal(proto_slot_osd(placement, slot->partition, slot->slot), 0);
    }
}

/* Three of the five others say that they have nothing of the row. */
static struct base_oid lose(struct fixture *f, size_t row)
{
    for (uint32_t osd = 2; osd <= 4; osd++)
        for (uint32_t index = 0; index < PARTS_OSDS; index++)
            spy_store_lie(f->osds[osd].store, f->fake.rows[row].oid, index, SPY_MISSING);
    return f->fake.rows[row].oid;
}

/* ---- tests ---- */

static void test_decoded(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, false);
    threads_start(&f);
    await_end(&f);
    assert_int_equal(f.fake.filled_report.err, LILIO_OK);
    assert_int_equal(f.fake.filled_report.fragments, ROWS * STRIPES);
    all_told(&f);
    for (size_t row = 0; row < ROWS; row++)
        assert_int_equal(here(&f, row), STRIPES);
    assert_int_equal(f.fake.report_count, 0); /* nothing of this is news */
    fixture_release(&f);
}

/* The others cannot make it: only who had the slots can. */
static void test_copied(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    (void)lose(&f, 2);
    threads_start(&f);
    await_end(&f);
    all_told(&f);
    for (size_t row = 0; row < ROWS; row++)
        assert_int_equal(here(&f, row), STRIPES);
    fixture_release(&f);
}

static void test_what_cannot_be_had_is_reported(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, false);
    struct base_oid lost = lose(&f, 1);
    /* This one the maps know to be missing: it is repair's. */
    struct fake_row *known = &f.fake.rows[3];
    known->exceptions[0] = (struct proto_exception){.first_stripe = 1,
                                                    .stripe_count = 1,
                                                    .index = (uint8_t)own_index(known->oid, 1),
                                                    .kind = 1};
    known->exception_count = 1;
    threads_start(&f);
    await_end(&f);
    assert_int_equal(f.fake.filled_report.err, LILIO_OK);
    assert_int_equal(f.fake.filled_report.failed, STRIPES);
    for (uint32_t stripe = 0; stripe < STRIPES; stripe++) {
        assert_int_equal(fake_reports(&f.fake, lost, stripe, own_index(lost, stripe), MISSING), 1);
    }
    all_told(&f);
    for (size_t row = 0; row < ROWS; row++)
        assert_int_equal(here(&f, row), row == 1 ? 0 : row == 3 ? STRIPES - 1 : STRIPES);
    fixture_release(&f);
}

/* A walk that lapses goes on; one that always does ends the job. */
static void test_walks_that_lapse(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, false);
    f.fake.lost_scans = 2;
    threads_start(&f);
    await_end(&f);
    all_told(&f);
    assert_int_equal(here(&f, ROWS - 1), STRIPES);
    FAKE_LOCKED(&f.fake, f.fake.lose_scans = true; f.fake.fill_ended = 0; f.fake.fill.id++);
    await_end(&f);
    assert_int_equal(f.fake.filled_report.err, LILIO_E_NOT_FOUND);
    assert_int_equal(f.fake.fills, 1);
    FAKE_LOCKED(&f.fake, f.fake.lose_scans = false; f.fake.fill_ended = f.fake.fills = 0;
                f.fake.fill.id++; f.fake.refuse_reports = true);
    await_end(&f); /* everything is there: nothing to report */
    assert_int_equal(f.fake.filled_report.err, LILIO_OK);
    all_told(&f);
    fixture_release(&f);
}

/* What is not in the maps is not done. The next job has nothing to do with that. */
static void test_reports_refused(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, false);
    (void)lose(&f, 0);
    f.fake.refuse_reports = true;
    threads_start(&f);
    await_end(&f);
    assert_int_equal(f.fake.filled_report.err, LILIO_E_UNAVAILABLE);
    assert_int_equal(f.fake.fills, 0);
    FAKE_LOCKED(&f.fake, f.fake.refuse_reports = false; f.fake.fill_ended = 0; f.fake.fill.id++);
    await_end(&f);
    assert_int_equal(f.fake.filled_report.err, LILIO_OK);
    all_told(&f);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoded),
        cmocka_unit_test(test_copied),
        cmocka_unit_test(test_what_cannot_be_had_is_reported),
        cmocka_unit_test(test_walks_that_lapse),
        cmocka_unit_test(test_reports_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
