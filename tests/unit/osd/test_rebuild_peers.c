/* Aim: nobody waits for an OSD that is down by the map and was waited for in vain; one that is up
 * is waited for, and one that comes back is asked. Method: two OSDs that do not run, asked for some
 * seconds; then one of them runs. */
#include "osd/rebuild_peers.h"

#include "tests/unit/osd/osd_parts.h"

#include "base/banned.h"

enum { DOWN = 2, UP = 3, AWAY_MS_MOST = 6000, STEP_MS = 10 };

struct fixture {
    struct proto_context *context;
    struct parts own, other;
    struct osd_peers *peers;
};

static void fixture_init(struct fixture *f)
{
    struct proto_osd osds[PARTS_OSDS];
    struct proto_map_ref *plain = parts_map(5), *ref;
    struct proto_cluster_map map = *proto_map_ref_get(plain);
    *f = (struct fixture){0};
    assert_int_equal(proto_context_new(1, &f->context), LILIO_OK);
    memcpy(osds, map.osds, sizeof osds);
    osds[DOWN].state = PROTO_OSD_DOWN;
    map.osds = osds;
    assert_int_equal(proto_map_ref_new(&map, &ref), LILIO_OK);
    proto_map_ref_drop(&plain);
    parts_init(&f->own, 0, f->context);
    osd_node_map_set(f->own.node, ref);
    assert_int_equal(osd_peers_new(f->own.node, f->context, &f->peers), LILIO_OK);
}

static void pause_ms(int ms)
{
    struct proto_wait_item never = {.fd = -1};
    (void)proto_wait(&never, 1, ms);
}

static enum lilio_err ask(struct fixture *f, uint32_t osd)
{
    struct proto_header header = {.sequence = 1, .epoch = 5, .deadline_ms = 1000};
    struct proto_fragment_get get = {.block_count = 1};
    return osd_peers_ask(f->peers, osd, &header, &proto_type_fragment_get, &get);
}

static void test_away(void **state)
{
    struct fixture f;
    uint64_t begin = base_now_ms(base_clock_system()), passed = 0;
    (void)state;
    fixture_init(&f);
    assert_int_equal(ask(&f, UP), LILIO_E_BUSY); /* connecting */
    assert_int_equal(ask(&f, DOWN), LILIO_E_BUSY);
    assert_false(osd_peers_away(f.peers, DOWN));
    for (; passed < AWAY_MS_MOST && !osd_peers_away(f.peers, DOWN); pause_ms(STEP_MS)) {
        assert_int_not_equal(ask(&f, UP), LILIO_OK);
        assert_int_not_equal(ask(&f, DOWN), LILIO_OK);
        passed = base_now_ms(base_clock_system()) - begin;
    }
    assert_in_range(passed, 2000, AWAY_MS_MOST - 1); /* it was waited for */
    assert_int_equal(ask(&f, DOWN), LILIO_E_UNAVAILABLE);
    assert_true(osd_peers_away(f.peers, DOWN));
    assert_false(osd_peers_away(f.peers, UP));

    parts_init_member(&f.other, DOWN, f.context); /* it comes back, the map does not know yet */
    parts_run(&f.other);
    for (passed = 0; passed < PARTS_PATIENCE_MS && ask(&f, DOWN) != LILIO_OK; passed += STEP_MS)
        pause_ms(STEP_MS);
    assert_true(passed < PARTS_PATIENCE_MS);
    assert_false(osd_peers_away(f.peers, DOWN));
    osd_peers_silent(f.peers, DOWN); /* it takes questions and does not answer */
    assert_true(osd_peers_away(f.peers, DOWN));

    osd_peers_free(&f.peers);
    parts_release(&f.own);
    parts_release(&f.other);
    proto_context_free(&f.context);
    parts_release_context(&f.own);
    parts_release_context(&f.other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
