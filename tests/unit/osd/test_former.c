/* Aim: of what lies in slots that moved away exactly that is deleted which a command granted, not
 * before the retention, and nothing if the slot came back before the answer. Method: one OSD on a
 * spy store, maps in which its slots moved to others, a coordinator in a thread that grants, or
 * gives the OSD a newer map first; fragments counted. */
#include "osd/former.h"

#include "proto/moves.h"
#include "tests/unit/osd/fake_coordinator.h"

#include "base/banned.h"

enum { STRIPES = 3, ROWS = 30, HOUR_MS = 3600000 };

struct fixture {
    struct proto_context *context;
    struct fake fake;
    struct parts osd;
    struct osd_worker worker;
    struct osd_former former;
    uint32_t away; /* this OSD is down in the maps; 0: none is */
};

static uint32_t own_index(struct base_oid oid, uint32_t stripe)
{
    uint32_t index = 0;
    while (parts_owner(oid, stripe, index) != 0)
        index++;
    return index;
}

static void put_own(void *context, const struct parts_stripe *stripe)
{
    struct fixture *f = context;
    parts_store_put(f->osd.store, stripe, own_index(stripe->oid, stripe->stripe));
}

static void fixture_init(struct fixture *f, uint64_t retention_ms)
{
    *f = (struct fixture){0};
    assert_int_equal(proto_context_new(1, &f->context), LILIO_OK);
    fake_start(&f->fake, f->context);
    parts_init_member(&f->osd, 0, f->context);
    for (uint64_t i = 1; i <= ROWS; i++)
        (void)fake_row_add(&f->fake, i, STRIPES, put_own, f);
    FAKE_LOCKED(&f->fake, ); /* it sees what the test set up */
    parts_run(&f->osd);
    struct osd_link_options link = {
        .context = f->context,
        .endpoints = fake_endpoints(),
        .endpoint_count = 1,
        .stop_fds = {osd_node_stop_fd(f->osd.node), -1},
    };
    assert_int_equal(osd_worker_init(&f->worker, f->osd.node, "former", &link), LILIO_OK);
    f->former = (struct osd_former){
        .home = f->osd.home, .worker = &f->worker, .retention_ms = retention_ms};
}

static void fixture_release(struct fixture *f)
{
    osd_node_stop(f->osd.node);
    osd_worker_release(&f->worker);
    parts_release(&f->osd);
    fake_stop(&f->fake);
    proto_context_free(&f->context);
    parts_release_context(&f->osd);
}

/* All slots of osd.0 went to osd.5 at this epoch, and are filled or not, or came back at the next.
 */
static void slots_moved(struct fixture *f, uint64_t epoch, bool filled, bool back)
{
    struct proto_map_ref *plain = parts_map(epoch + back), *made;
    struct proto_cluster_map map = *proto_map_ref_get(plain);
    struct proto_placement placement;
    struct proto_arena *arena;
    assert_int_equal(proto_arena_new(&arena), LILIO_OK);
    assert_true(proto_placement_unfold(&map.placements[0], arena, &placement));
    for (uint32_t partition = 0; partition < 1 << PARTS_BITS; partition++)
        for (uint32_t slot = 0; slot < PARTS_OSDS; slot++) {
            if (proto_slot_osd(&placement, partition, slot) != 0)
                continue;
            proto_placement_move(&placement, partition, slot, 5, epoch);
            if (filled)
                proto_placement_filled(&placement, partition, slot, true);
            if (back)
                proto_placement_move(&placement, partition, slot, 0, epoch + 1);
        }
    proto_placement_fold(&placement);
    map.placements = &placement;
    for (size_t i = 0; i < map.osds_count; i++)
        if (f->away && map.osds[i].id == f->away)
            map.osds[i].state = PROTO_OSD_DOWN;
    assert_int_equal(proto_map_ref_new(&map, &made), LILIO_OK);
    osd_node_map_set(f->osd.node, made);
    proto_map_ref_drop(&plain);
    proto_arena_free(&arena);
}

static enum lilio_err count_on_owner(void *context, struct lilio_errinfo *info)
{
    struct fixture *f = context;
    (void)info;
    struct osd_store_space space;
    f->osd.store->ops->space(f->osd.store, &space);
    return (enum lilio_err)space.fragment_count;
}

static int here(struct fixture *f)
{
    return (int)osd_node_call(f->osd.node, count_on_owner, f, NULL);
}

static unsigned asked(struct fixture *f)
{
    unsigned count;
    FAKE_LOCKED(&f->fake, count = f->fake.formers_asked);
    return count;
}

static void round_of(struct fixture *f, bool now)
{
    assert_int_equal(osd_former_round(&f->former, now, NULL), LILIO_OK);
}

static void only_what_moved_away_and_was_granted(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 0);
    round_of(&f, true); /* nothing moved */
    slots_moved(&f, 6, /* filled */ false, false);
    round_of(&f, true);
    round_of(&f, true);
    assert_int_equal(asked(&f), 0);
    slots_moved(&f, 7, true, false);
    FAKE_LOCKED(&f.fake, f.fake.formers_keep = true);
    round_of(&f, true);
    assert_int_equal(asked(&f), ROWS * STRIPES);
    assert_int_equal(here(&f), ROWS);
    assert_int_equal(f.former.swept, ROWS * (STRIPES - 1));
    FAKE_LOCKED(&f.fake, f.fake.formers_keep = false);
    round_of(&f, true);
    assert_int_equal(here(&f), 0);
    fixture_release(&f);
}

/* One of six OSDs is down, and every partition has it: nothing would be granted. */
static void nobody_is_asked_while_an_osd_is_away(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 0);
    f.away = 3;
    slots_moved(&f, 6, true, false);
    round_of(&f, true);
    assert_int_equal(asked(&f), 0);
    f.away = 0;
    slots_moved(&f, 7, true, false);
    round_of(&f, true);
    assert_int_equal(asked(&f), ROWS * STRIPES);
    assert_int_equal(here(&f), 0);
    fixture_release(&f);
}

static void not_before_the_retention(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, HOUR_MS);
    slots_moved(&f, 6, true, false);
    round_of(&f, false);
    round_of(&f, false);
    assert_int_equal(asked(&f), 0);
    f.former.retention_ms = 0; /* as if it were over; what moved later waits anew */
    slots_moved(&f, 9, true, false);
    round_of(&f, false);
    assert_int_equal(asked(&f), 0);
    round_of(&f, false);
    assert_int_equal(here(&f), 0);
    fixture_release(&f);
}

/* All fragments here are of osd.0's slots. */
static void each_is(struct fixture *f, enum osd_former_why why)
{
    struct proto_map_ref *map = osd_node_map_take(f->osd.node);
    for (uint64_t i = 1; i <= ROWS; i++)
        for (uint32_t stripe = 0; stripe < STRIPES; stripe++) {
            struct base_oid oid = base_oid_make(0, 7, i);
            struct base_fragment_key key = parts_key(oid, stripe, own_index(oid, stripe));
            assert_int_equal(osd_former_why(&f->former, proto_map_ref_get(map), &key), why);
        }
    proto_map_ref_drop(&map);
}

static void why_they_are_here_is_told(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, HOUR_MS);
    each_is(&f, OSD_FORMER_NONE);
    slots_moved(&f, 6, /* filled */ false, false);
    each_is(&f, OSD_FORMER_FILLS);
    f.away = 3;
    slots_moved(&f, 7, true, false);
    each_is(&f, OSD_FORMER_AWAY);
    f.away = 0;
    slots_moved(&f, 8, true, false);
    each_is(&f, OSD_FORMER_FRESH);
    round_of(&f, false);
    each_is(&f, OSD_FORMER_FRESH);
    f.former.retention_ms = 0; /* as if it were over */
    each_is(&f, OSD_FORMER_DUE);
    round_of(&f, false);
    assert_int_equal(here(&f), 0);
    assert_int_equal(f.former.swept, ROWS * STRIPES);
    assert_true(f.former.swept_bytes > 0);
    slots_moved(&f, 9, true, true);
    each_is(&f, OSD_FORMER_NONE);
    fixture_release(&f);
}

static void comes_back(void *context)
{
    slots_moved(context, 7, true, true);
}

static void slot_that_came_back_keeps_all(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 0);
    slots_moved(&f, 6, true, false);
    FAKE_LOCKED(&f.fake, f.fake.formers_hook = comes_back; f.fake.formers_context = &f);
    round_of(&f, true);
    assert_true(asked(&f) > 0);
    assert_int_equal(here(&f), ROWS * STRIPES);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_moved_away_and_was_granted),
        cmocka_unit_test(nobody_is_asked_while_an_osd_is_away),
        cmocka_unit_test(not_before_the_retention),
        cmocka_unit_test(why_they_are_here_is_told),
        cmocka_unit_test(slot_that_came_back_keeps_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
