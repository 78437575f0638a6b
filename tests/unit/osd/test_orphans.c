/* Aim: an OSD deletes exactly the fragments that a command called orphans after the retention;
 * named ones, those of open sessions and of unknown sessions stay; a dry round changes nothing; a
 * void round marks nothing; what was marked survives a restart. Method: one whole OSD on a spy
 * store, a coordinator in a thread that judges by its rows and sessions or fails on demand, rounds
 * in lockstep; fragments in the store counted by run after each. */
#include "osd/orphans.h"

#include <stdio.h>
#include <stdlib.h>

#include "osd/quarantine.h"
#include "tests/unit/osd/fake_coordinator.h"

#include "base/banned.h"

enum { STRIPES = 3, OPEN_SESSION = 40, NEXT_SESSION = 50, RETENTION = 86400000 };

struct fixture {
    struct proto_context *context;
    struct fake fake;
    struct parts osd;
    struct osd_orphans *orphans, *later; /* later: another process on the same disk, as it were */
    struct proto_arena *arena;
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

/* Fragments of a run that no row names. Before any thread runs. */
static struct base_oid put_nameless(struct fixture *f, uint64_t session, uint64_t counter)
{
    struct base_oid oid = base_oid_make(0, session, counter);
    for (uint32_t i = 0; i < STRIPES; i++) {
        struct parts_stripe stripe;
        parts_stripe_make(&stripe, oid, i, (uint64_t)PARTS_DATA * PARTS_FRAGMENT);
        put_own(f, &stripe);
        parts_stripe_release(&stripe);
    }
    return oid;
}

static void orphans_start(struct fixture *f, struct osd_orphans **ret)
{
    struct osd_orphans_options options = {
        .node = f->osd.node,
        .home = f->osd.home,
        .collector = f->osd.collector,
        .context = f->context,
        .coordinators = fake_endpoints(),
        .coordinator_count = 1,
        .retention_ms = RETENTION,
    };
    assert_int_equal(osd_orphans_start(&options, ret), LILIO_OK);
}

static void fixture_init(struct fixture *f)
{
    *f = (struct fixture){0};
    assert_int_equal(proto_context_new(1, &f->context), LILIO_OK);
    assert_int_equal(proto_arena_new(&f->arena), LILIO_OK);
    fake_start(&f->fake, f->context);
    parts_init_member(&f->osd, 0, f->context);
}

/* The rows are in. */
static void fixture_run(struct fixture *f)
{
    FAKE_LOCKED(&f->fake, f->fake.open_session = OPEN_SESSION; f->fake.next_session = NEXT_SESSION;
                f->fake.cluster_ms = 1000);
    parts_run(&f->osd);
    orphans_start(f, &f->orphans);
}

static void fixture_release(struct fixture *f)
{
    osd_node_stop(f->osd.node);
    osd_orphans_stop(&f->orphans);
    osd_orphans_stop(&f->later);
    parts_release(&f->osd);
    fake_stop(&f->fake);
    proto_arena_free(&f->arena);
    proto_context_free(&f->context);
    parts_release_context(&f->osd);
}

/* A round from its order to its end. */
static struct proto_orphans round_of(struct fixture *f, struct osd_orphans *orphans, bool dry,
                                     bool now)
{
    struct proto_wait_item never = {.fd = -1};
    struct proto_orphans state;
    uint64_t until = base_now_ms(base_clock_system()) + 3 * PARTS_PATIENCE_MS;
    osd_orphans_order(orphans, dry, now);
    do {
        assert_true(base_now_ms(base_clock_system()) < until);
        (void)proto_wait(&never, 1, 5);
        assert_int_equal(osd_orphans_get(orphans, f->arena, &state), LILIO_OK);
    } while (state.ended < state.asked);
    return state;
}

struct count {
    struct osd_store *store;
    struct base_oid oid;
    size_t found;
};

static enum lilio_err count_on_owner(void *context, struct lilio_errinfo *info)
{
    struct count *count = context;
    struct base_fragment_key keys[512];
    size_t listed = 0;
    enum lilio_err err = count->store->ops->list(count->store, NULL, keys, 512, &listed, info);
    for (size_t i = 0; i < listed; i++)
        count->found += base_oid_equal(keys[i].oid, count->oid);
    return err;
}

static size_t here(struct fixture *f, struct base_oid oid)
{
    struct count count = {.store = f->osd.store, .oid = oid};
    assert_int_equal(osd_node_call(f->osd.node, count_on_owner, &count, NULL), LILIO_OK);
    return count.found;
}

static void time_passes(struct fixture *f, uint64_t ms)
{
    FAKE_LOCKED(&f->fake, f->fake.cluster_ms += ms; f->fake.index++);
}

static unsigned sweeps(struct fixture *f)
{
    unsigned count;
    FAKE_LOCKED(&f->fake, count = f->fake.orphan_sweeps);
    return count;
}

/* ---- tests ---- */

static void only_orphans_go_after_the_retention(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    struct base_oid named = fake_row_add(&f.fake, 1, STRIPES, put_own, &f)->oid;
    struct base_oid open = put_nameless(&f, OPEN_SESSION, 5);
    struct base_oid dead = put_nameless(&f, 8, 5), dead_too = put_nameless(&f, 9, 6);
    struct base_oid unknown = put_nameless(&f, NEXT_SESSION, 1);
    fixture_run(&f);

    struct proto_orphans found = round_of(&f, f.orphans, false, false);
    assert_int_equal(found.err, LILIO_OK);
    assert_int_equal(found.fragments, 5 * STRIPES);
    assert_int_equal(found.runs, 2);
    assert_int_equal(found.run_fragments, 2 * STRIPES);
    assert_int_equal(found.run_bytes, 2 * STRIPES * PARTS_FRAGMENT);
    assert_int_equal(found.open, STRIPES);
    assert_int_equal(found.unknown_runs, 1);
    assert_int_equal(found.unknown_fragments, STRIPES);
    assert_int_equal(found.due, 0);
    assert_int_equal(found.first_count, 3);
    assert_int_equal(osd_orphans_waiting(f.orphans), 2);
    assert_int_equal(sweeps(&f), 0);

    time_passes(&f, RETENTION - 1);
    found = round_of(&f, f.orphans, false, false);
    assert_int_equal(found.runs, 2);
    assert_int_equal(sweeps(&f), 0);
    assert_int_equal(here(&f, dead), STRIPES);

    time_passes(&f, 1);
    found = round_of(&f, f.orphans, false, false);
    assert_int_equal(found.err, LILIO_OK);
    assert_int_equal(sweeps(&f), 1);
    assert_int_equal(found.runs, 0);
    assert_int_equal(found.swept_runs, 2);
    assert_int_equal(found.swept_fragments, 2 * STRIPES);
    assert_int_equal(found.swept_bytes, 2 * STRIPES * PARTS_FRAGMENT);
    assert_int_equal(found.unknown_runs, 1);
    assert_int_equal(osd_orphans_waiting(f.orphans), 0);
    assert_int_equal(here(&f, dead) + here(&f, dead_too), 0);
    assert_int_equal(here(&f, named), STRIPES);
    assert_int_equal(here(&f, open), STRIPES);
    assert_int_equal(here(&f, unknown), STRIPES);
    assert_true(osd_collector_knows(f.osd.collector, dead)); /* a late put does not bring it back */
    fixture_release(&f);
}

static void dry_round_changes_nothing(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    struct base_oid dead = put_nameless(&f, 8, 5);
    fixture_run(&f);
    struct proto_orphans found = round_of(&f, f.orphans, true, true);
    assert_int_equal(found.runs, 1);
    assert_int_equal(found.first_count, 1);
    assert_true(base_oid_equal(found.first[0].oid, dead));
    assert_int_equal(osd_orphans_waiting(f.orphans), 0);
    assert_int_equal(sweeps(&f), 0);
    assert_int_equal(crash_disk_number(f.osd.disk, "orphans"), 0);
    time_passes(&f, RETENTION);
    found = round_of(&f, f.orphans, false, false); /* it was not marked by the dry one */
    assert_int_equal(found.runs, 1);
    assert_int_equal(found.due, 0);
    assert_int_equal(here(&f, dead), STRIPES);
    assert_int_not_equal(crash_disk_number(f.osd.disk, "orphans"), 0);
    fixture_release(&f);
}

static void now_does_not_wait(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    struct base_oid dead = put_nameless(&f, 8, 5), open = put_nameless(&f, OPEN_SESSION, 5);
    fixture_run(&f);
    struct proto_orphans found = round_of(&f, f.orphans, false, true);
    assert_int_equal(found.swept_runs, 1);
    assert_int_equal(here(&f, dead), 0);
    assert_int_equal(here(&f, open), STRIPES);
    fixture_release(&f);
}

/* The command has the last word: what it does not grant stays, and leaves the quarantine. */
static void what_is_named_after_all_stays(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    struct fake_row *row = fake_row_add(&f.fake, 1, STRIPES, put_own, &f);
    row->deleted = true; /* the coordinator does not say any more that a row names it */
    struct base_oid dead = put_nameless(&f, 8, 5);
    fixture_run(&f);
    struct proto_orphans found = round_of(&f, f.orphans, false, false);
    assert_int_equal(found.runs, 2);
    FAKE_LOCKED(&f.fake, row->deleted = false);
    time_passes(&f, RETENTION);
    found = round_of(&f, f.orphans, false, false);
    assert_int_equal(found.swept_runs, 1);
    assert_int_equal(found.runs, 0);
    assert_int_equal(here(&f, dead), 0);
    assert_int_equal(here(&f, row->oid), STRIPES);
    assert_int_equal(osd_orphans_waiting(f.orphans), 0);
    fixture_release(&f);
}

static struct proto_orphans round_with(struct fixture *f, struct parts_move move)
{
    osd_node_map_set(f->osd.node, parts_map_moved(&move));
    return round_of(f, f->orphans, true, false);
}

/* Of what lies in slots that others have now it is told why, and what goes is not told any more. */
static void what_others_have_now_is_told(void **state)
{
    enum { ROWS = 4, ALL = ROWS * STRIPES };
    struct fixture f;
    (void)state;
    fixture_init(&f);
    for (uint64_t i = 1; i <= ROWS; i++)
        (void)fake_row_add(&f.fake, i, STRIPES, put_own, &f);
    (void)put_nameless(&f, OPEN_SESSION, 5); /* in a slot of others as well, and no row's */
    fixture_run(&f);
    struct proto_orphans found = round_of(&f, f.orphans, true, false);
    assert_int_equal(found.former_fragments + found.former_bytes, 0);
    found = round_with(&f, (struct parts_move){.epoch = 6, .fills = true});
    assert_int_equal(found.former_fragments, ALL);
    assert_in_range(found.former_bytes, (ALL - 1) * PARTS_FRAGMENT, ALL * PARTS_FRAGMENT);
    assert_int_equal(found.former_fills, ALL);
    assert_int_equal(found.former_away + found.former_fresh, 0);
    found =
        round_with(&f, (struct parts_move){.epoch = 7, .away = 3, .away_state = PROTO_OSD_DOWN});
    assert_int_equal(found.former_away, ALL);
    assert_int_equal(found.former_fills + found.former_fresh, 0);
    found = round_with(&f, (struct parts_move){.epoch = 8});
    assert_int_equal(found.former_fresh, ALL);
    assert_int_equal(found.former_fills + found.former_away, 0);
    assert_int_equal(found.formers, 0);
    FAKE_LOCKED(&f.fake, f.fake.formers_keep = true); /* the first stripe of each */
    found = round_of(&f, f.orphans, false, true);
    assert_int_equal(found.formers, ALL - ROWS);
    assert_int_equal(found.former_fragments, ROWS);
    assert_int_equal(found.former_bytes, ROWS * PARTS_FRAGMENT);
    assert_int_equal(found.former_fresh, ROWS);
    fixture_release(&f);
}

/* A file with one mark, written as the OSD would. */
static size_t marks_on_disk(struct fixture *f)
{
    struct osd_node_view view;
    struct osd_quarantine quarantine = {.cluster_id = parts_cluster()};
    osd_node_view(f->osd.node, &view);
    quarantine.disk_uuid = view.disk_uuid;
    enum lilio_err err = osd_quarantine_load(&quarantine, f->osd.disk, NULL);
    assert_true(err == LILIO_OK || err == LILIO_E_NOT_FOUND);
    size_t count = quarantine.count;
    osd_quarantine_release(&quarantine);
    return count;
}

static void void_rounds_mark_nothing(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    struct base_oid dead = put_nameless(&f, 8, 5);
    fixture_run(&f);

    /* The first page is answered, the end of the round is not. */
    FAKE_LOCKED(&f.fake, f.fake.orphans_fail = LILIO_E_INVALID; f.fake.orphans_fail_at = 2);
    struct proto_orphans found = round_of(&f, f.orphans, false, true);
    assert_int_equal(found.err, LILIO_E_INVALID);
    assert_true(found.text.size > 0);
    FAKE_LOCKED(&f.fake, f.fake.orphans_fail = LILIO_OK);
    assert_int_equal(osd_orphans_waiting(f.orphans), 0);

    FAKE_LOCKED(&f.fake, f.fake.orphans_foreign = true);
    found = round_of(&f, f.orphans, false, true);
    assert_int_equal(found.err, LILIO_E_FOREIGN);
    FAKE_LOCKED(&f.fake, f.fake.orphans_foreign = false);

    FAKE_LOCKED(&f.fake, f.fake.orphans_verdict = 7);
    found = round_of(&f, f.orphans, false, true);
    assert_int_equal(found.err, LILIO_E_MALFORMED);
    FAKE_LOCKED(&f.fake, f.fake.orphans_verdict = 0);

    /* Maps that are behind what was answered before. */
    FAKE_LOCKED(&f.fake, f.fake.index = 500);
    found = round_of(&f, f.orphans, true, false);
    assert_int_equal(found.err, LILIO_OK);
    assert_int_equal(found.index, 500);
    FAKE_LOCKED(&f.fake, f.fake.index = 499);
    found = round_of(&f, f.orphans, false, true);
    assert_int_equal(found.err, LILIO_E_STALE_EPOCH);
    FAKE_LOCKED(&f.fake, f.fake.index = 501; assert_int_equal(f.fake.orphans_index_seen, 500));

    /* The quarantine cannot be written. */
    crash_disk_fail(f.osd.disk, CRASH_WRITE, 1, true, LILIO_E_IO);
    found = round_of(&f, f.orphans, false, true);
    assert_int_equal(found.err, LILIO_E_IO);
    crash_disk_fail(f.osd.disk, CRASH_WRITE, 0, false, LILIO_OK);

    assert_int_equal(sweeps(&f), 0);
    assert_int_equal(marks_on_disk(&f), 0);
    assert_int_equal(here(&f, dead), STRIPES);

    found = round_of(&f, f.orphans, false, true);
    assert_int_equal(found.err, LILIO_OK);
    assert_int_equal(here(&f, dead), 0);
    fixture_release(&f);
}

static void marks_survive_a_restart(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    struct base_oid dead = put_nameless(&f, 8, 5);
    fixture_run(&f);
    assert_int_equal(round_of(&f, f.orphans, false, false).runs, 1);
    assert_int_equal(marks_on_disk(&f), 1);
    orphans_start(&f, &f.later);
    time_passes(&f, RETENTION);
    struct proto_orphans found = round_of(&f, f.later, false, false);
    assert_int_equal(found.swept_runs, 1);
    assert_int_equal(here(&f, dead), 0);
    assert_int_equal(marks_on_disk(&f), 0);
    fixture_release(&f);
}

/* An OSD that may not serve judges nothing. */
static void refused_osd_looks_at_nothing(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    (void)put_nameless(&f, 8, 5);
    osd_home_turn_away(f.osd.home, false, "not now");
    fixture_run(&f);
    struct proto_orphans found = round_of(&f, f.orphans, false, true);
    assert_int_equal(found.err, LILIO_E_UNAVAILABLE);
    FAKE_LOCKED(&f.fake, assert_int_equal(f.fake.orphan_asks, 0));
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_orphans_go_after_the_retention),
        cmocka_unit_test(dry_round_changes_nothing),
        cmocka_unit_test(now_does_not_wait),
        cmocka_unit_test(what_is_named_after_all_stays),
        cmocka_unit_test(what_others_have_now_is_told),
        cmocka_unit_test(void_rounds_mark_nothing),
        cmocka_unit_test(marks_survive_a_restart),
        cmocka_unit_test(refused_osd_looks_at_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
