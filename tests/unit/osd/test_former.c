/* Aim: of what lies in slots that moved away exactly that is deleted which a command granted, not
 * before the retention, and nothing if the slot came back before the answer. Method: one OSD on a
 * spy store, maps in which its slots moved to others, a coordinator in a thread that grants, or
 * gives the OSD a newer map first; fragments counted. */
#include "osd/former.h"

#include "tests/unit/osd/fake_coordinator.h"

#include "base/banned.h"

enum { STRIPES = 3, ROWS = 30, HOUR_MS = 3600000 };

struct fixture {
    struct proto_context *context;
    struct fake fake;
    struct parts osd;
    struct osd_worker worker;
    struct osd_former former;
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

static void moved(struct fixture *f, struct parts_move move)
{
    osd_node_map_set(f->osd.node, parts_map_moved(&move));
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
    moved(&f, (struct parts_move){.epoch = 6, .fills = true});
    round_of(&f, true);
    round_of(&f, true);
    moved(&f, (struct parts_move){.epoch = 7, .others_fill = true});
    round_of(&f, true);
    assert_int_equal(asked(&f), 0);
    moved(&f, (struct parts_move){.epoch = 9});
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

/* One of six OSDs is down, or not proven, and every partition has it: nothing would be granted. */
static void nobody_is_asked_while_an_osd_is_away(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 0);
    moved(&f, (struct parts_move){
                  .epoch = 6, .away = 3, .away_state = PROTO_OSD_DOWN, .away_complete = true});
    round_of(&f, true);
    moved(&f, (struct parts_move){.epoch = 7, .away = 3, .away_state = PROTO_OSD_UP});
    round_of(&f, true);
    assert_int_equal(asked(&f), 0);
    moved(&f, (struct parts_move){
                  .epoch = 8, .away = 3, .away_state = PROTO_OSD_SUSPECT, .away_complete = true});
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
    moved(&f, (struct parts_move){.epoch = 6});
    round_of(&f, false);
    round_of(&f, false);
    assert_int_equal(asked(&f), 0);
    f.former.retention_ms = 0; /* as if it were over; what moved later waits anew */
    moved(&f, (struct parts_move){.epoch = 9});
    round_of(&f, false);
    assert_int_equal(asked(&f), 0);
    round_of(&f, false);
    assert_int_equal(here(&f), 0);
    fixture_release(&f);
}

static void each_at_is(struct fixture *f, uint32_t shift, enum osd_former_why why)
{
    struct proto_map_ref *map = osd_node_map_take(f->osd.node);
    for (uint64_t i = 1; i <= ROWS; i++)
        for (uint32_t stripe = 0; stripe < STRIPES; stripe++) {
            struct base_oid oid = base_oid_make(0, 7, i);
            uint32_t index = (own_index(oid, stripe) + shift) % PARTS_OSDS;
            struct base_fragment_key key = parts_key(oid, stripe, index);
            assert_int_equal(osd_former_why(&f->former, proto_map_ref_get(map), &key), why);
        }
    proto_map_ref_drop(&map);
}

/* All fragments here are of osd.0's slots; others were never to be here. */
static void each_is(struct fixture *f, enum osd_former_why why)
{
    each_at_is(f, 0, why);
    each_at_is(f, 1, OSD_FORMER_NONE);
}

static void why_they_are_here_is_told(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, HOUR_MS);
    each_is(&f, OSD_FORMER_NONE);
    moved(&f, (struct parts_move){.epoch = 6, .fills = true});
    each_is(&f, OSD_FORMER_FILLS);
    moved(&f, (struct parts_move){.epoch = 7, .others_fill = true});
    each_at_is(&f, 0, OSD_FORMER_FILLS);
    struct parts_move away = {.epoch = 9, .fills = true, .away = 3, .away_state = PROTO_OSD_DOWN};
    moved(&f, away);
    each_is(&f, OSD_FORMER_FILLS);
    away.fills = false;
    moved(&f, away);
    each_is(&f, OSD_FORMER_AWAY);
    away.away_state = PROTO_OSD_UP; /* and not proven */
    moved(&f, away);
    each_is(&f, OSD_FORMER_AWAY);
    moved(&f, (struct parts_move){.epoch = 9});
    each_is(&f, OSD_FORMER_FRESH);
    round_of(&f, false);
    each_is(&f, OSD_FORMER_FRESH);
    f.former.retention_ms = 0; /* as if it were over */
    each_is(&f, OSD_FORMER_DUE);
    moved(&f, (struct parts_move){.epoch = 10}); /* what moved later waits anew */
    each_is(&f, OSD_FORMER_FRESH);
    round_of(&f, false);
    assert_int_equal(here(&f), ROWS * STRIPES);
    each_is(&f, OSD_FORMER_DUE);
    round_of(&f, false);
    assert_int_equal(here(&f), 0);
    assert_int_equal(f.former.swept, ROWS * STRIPES);
    assert_true(f.former.swept_bytes > 0);
    moved(&f, (struct parts_move){.epoch = 11, .back = true});
    each_is(&f, OSD_FORMER_NONE);
    fixture_release(&f);
}

static void comes_back(void *context)
{
    moved(context, (struct parts_move){.epoch = 7, .back = true});
}

static void slot_that_came_back_keeps_all(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 0);
    moved(&f, (struct parts_move){.epoch = 6});
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
