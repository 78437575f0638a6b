/* Aim: slots only go where the failure-domain rule lets them, loads stay even, the same input gives
 * the same plan, and the tables say who has a slot, who had it and whether it is filled. Method:
 * plans over seeded clusters, checked partition by partition against domains told apart by text;
 * every way a slot can go through the tables; a map with tables of every wrong size. */
#include "proto/moves.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "tests/support/cmocka_all.h"

#include "base/banned.h"

enum { OSDS_MAX = 24, BITS = 7, PARTITIONS = 1 << BITS, WIDTH_MAX = 12 };

struct cluster {
    struct proto_osd osds[OSDS_MAX];
    char domains[OSDS_MAX][16];
    size_t count;
    struct proto_placement placement;
    uint8_t slots[2 * WIDTH_MAX * PARTITIONS];
    struct proto_move moves[WIDTH_MAX * PARTITIONS];
};

/* per_host OSDs on each host. */
static struct cluster *cluster_new(size_t count, size_t per_host, uint8_t width, const char *rule)
{
    struct cluster *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->count = count;
    for (size_t i = 0; i < count; i++) {
        int size = snprintf(c->domains[i], sizeof c->domains[i], "z/r/h%zu", i / per_host);
        c->osds[i] = (struct proto_osd){.id = (uint32_t)(3 * i),
                                        .incarnation = 1,
                                        .state = PROTO_OSD_UP,
                                        .complete = true,
                                        .weight = 1000,
                                        .domain = base_slice(c->domains[i], (size_t)size)};
    }
    c->placement = (struct proto_placement){
        .id = 1,
        .width = width,
        .rule = base_slice_str(rule),
        .partition_bits = BITS,
        .slots = base_slice(c->slots, (size_t)2 * width * PARTITIONS),
    };
    assert_int_equal(
        proto_placement_compute(c->osds, count, width, c->placement.rule, BITS, c->slots, NULL),
        LILIO_OK);
    return c;
}

static struct proto_moves plan(struct cluster *c, uint32_t from, uint64_t *stuck)
{
    struct proto_moves ret = {
        .moves = c->moves, .room = sizeof c->moves / sizeof *c->moves, .stuck = stuck};
    assert_int_equal(proto_moves_plan(c->osds, c->count, &c->placement, from, &ret, NULL),
                     LILIO_OK);
    return ret;
}

static size_t held(const struct cluster *c, uint32_t osd)
{
    size_t count = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++)
        for (uint32_t i = 0; i < c->placement.width; i++)
            count += proto_slot_osd(&c->placement, p, i) == osd;
    return count;
}

static void make(struct cluster *c, const struct proto_moves *moves)
{
    for (size_t i = 0; i < moves->count; i++) {
        const struct proto_move *move = &moves->moves[i];
        assert_int_equal(proto_slot_osd(&c->placement, move->partition, move->slot), move->from);
        assert_true(proto_move_allowed(c->osds, c->count, &c->placement, move->partition,
                                       move->slot, move->to));
        base_le16_put(c->slots + 2 * ((size_t)move->partition * c->placement.width + move->slot),
                      (uint16_t)move->to);
    }
}

/* No OSD twice in a partition, no host more than `most`. */
static void check(const struct cluster *c, unsigned most)
{
    for (uint32_t p = 0; p < PARTITIONS; p++)
        for (uint32_t i = 0; i < c->placement.width; i++) {
            uint32_t osd = proto_slot_osd(&c->placement, p, i);
            unsigned same = 0;
            for (uint32_t j = 0; j < c->placement.width; j++) {
                uint32_t other = proto_slot_osd(&c->placement, p, j);
                assert_true(i == j || osd != other);
                same += strcmp(c->domains[osd / 3], c->domains[other / 3]) == 0;
            }
            assert_true(same <= most);
        }
}

static void test_never_two_in_a_domain(void **state)
{
    static const struct {
        size_t count, per_host;
        uint8_t width;
        const char *rule;
        unsigned most;
    } cases[] = {{5, 1, 3, "osd:1", 1},   {7, 1, 6, "osd:1", 1},   {12, 2, 3, "host:1", 1},
                 {12, 2, 5, "host:1", 1}, {12, 3, 6, "host:2", 2}, {24, 4, 12, "host:3", 3}};
    (void)state;
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct cluster *c =
            cluster_new(cases[n].count, cases[n].per_host, cases[n].width, cases[n].rule);
        /* One after the other, as long as there is somewhere to go. */
        for (uint32_t gone = 0; gone < 2; gone++) {
            c->osds[gone].state = PROTO_OSD_OUT;
            size_t had = held(c, 3 * gone);
            struct proto_moves moves = plan(c, 3 * gone, NULL);
            assert_int_equal(moves.count + moves.stuck_count, had);
            make(c, &moves);
            assert_int_equal(held(c, 3 * gone), moves.stuck_count);
            check(c, cases[n].most);
        }
        free(c);
    }
}

static void test_loads_stay_even(void **state)
{
    (void)state;
    struct cluster *c = cluster_new(10, 1, 4, "osd:1");
    c->osds[4].weight = 500; /* takes half */
    c->osds[5].weight = 0;   /* these take nothing */
    c->osds[6].state = PROTO_OSD_DOWN;
    c->osds[7].incarnation = 0;
    c->osds[8].state = PROTO_OSD_BLANK;
    size_t before[10];
    for (uint32_t i = 0; i < 10; i++)
        before[i] = held(c, 3 * i);
    c->osds[0].state = PROTO_OSD_OUT;
    struct proto_moves moves = plan(c, 0, NULL);
    assert_int_equal(moves.stuck_count, 0);
    make(c, &moves);
    size_t least = SIZE_MAX, most = 0;
    for (uint32_t i = 1; i < 10; i++) {
        size_t now = held(c, 3 * i);
        if (i >= 5 && i <= 8)
            assert_int_equal(now, before[i]);
        if (i == 4 || (i >= 5 && i <= 8))
            continue;
        least = now < least ? now : least;
        most = now > most ? now : most;
    }
    assert_true(most - least <= 12);          /* of more than 50 */
    assert_int_equal(held(c, 12), before[4]); /* has more per weight than the others anyway */
    free(c);
}

/* Nearly full: less than twice the reserve of 10 GiB is free. */
static void test_full_ones_take_what_nobody_else_may(void **state)
{
    (void)state;
    const uint64_t reserve = (UINT64_C(10) << 30) / 100;
    struct cluster *c = cluster_new(6, 1, 3, "osd:1");
    size_t before[6];
    for (size_t i = 0; i < 6; i++) {
        before[i] = held(c, (uint32_t)(3 * i));
        c->osds[i].capacity_bytes = i == 5 ? 0 : UINT64_C(10) << 30; /* it has not told */
        c->osds[i].free_bytes = i == 5 ? 0 : 2 * reserve;
    }
    c->osds[1].free_bytes = 2 * reserve - 1;
    c->osds[2].free_bytes = reserve / 2;
    assert_true(proto_osd_room(&c->osds[5]) == UINT64_MAX);
    assert_int_equal(proto_osd_room(&c->osds[1]), reserve - 1);
    assert_int_equal(proto_osd_room(&c->osds[2]), 0);
    struct proto_moves moves = plan(c, 0, NULL);
    assert_int_equal(moves.count, before[0]);
    make(c, &moves);
    assert_int_equal(held(c, 3), before[1]);
    assert_int_equal(held(c, 6), before[2]);
    assert_true(held(c, 9) > before[3] && held(c, 15) > before[5]);
    check(c, 1);
    free(c);
    c = cluster_new(4, 1, 3, "osd:1"); /* of each partition only one OSD is missing */
    c->osds[1].capacity_bytes = UINT64_C(10) << 30;
    size_t had = held(c, 3), gone = held(c, 0);
    moves = plan(c, 0, NULL);
    assert_true(moves.count == gone && moves.stuck_count == 0);
    make(c, &moves);
    assert_true(held(c, 3) > had);
    free(c);
}

static void test_nothing_moves_where_nothing_is_allowed(void **state)
{
    (void)state;
    uint64_t stuck[PARTITIONS / 64] = {0};
    struct cluster *c = cluster_new(5, 1, 5, "osd:1");
    struct proto_moves moves = plan(c, 6, stuck);
    assert_int_equal(moves.count, 0);
    assert_int_equal(moves.stuck_count, PARTITIONS);
    assert_true(stuck[0] == UINT64_MAX && stuck[1] == UINT64_MAX);
    assert_int_equal(plan(c, 999, NULL).stuck_count, 0); /* has none */
    free(c);
    c = cluster_new(6, 2, 3, "host:1"); /* only its own host has room */
    moves = plan(c, 0, NULL);
    assert_true(moves.count > 0 && moves.stuck_count == 0);
    for (size_t i = 0; i < moves.count; i++)
        assert_int_equal(moves.moves[i].to, 3);
    c->osds[1].state = PROTO_OSD_DOWN;
    moves = plan(c, 0, NULL);
    assert_int_equal(moves.count, 0);
    c->placement.rule = base_slice_str("shelf:1");
    struct lilio_errinfo info = {0};
    assert_int_equal(proto_moves_plan(c->osds, c->count, &c->placement, 0, &moves, &info),
                     LILIO_E_INVALID);
    free(c);
}

static void test_the_order_of_osds_does_not_matter(void **state)
{
    (void)state;
    static struct proto_move first[WIDTH_MAX * PARTITIONS];
    struct cluster *c = cluster_new(12, 2, 4, "host:1");
    c->osds[3].state = PROTO_OSD_OUT;
    struct proto_moves moves = plan(c, 9, NULL);
    size_t count = moves.count;
    assert_true(count > 0);
    memcpy(first, c->moves, count * sizeof *first);
    uint64_t seed = 7;
    for (int turn = 0; turn < 20; turn++) {
        for (size_t i = c->count; i-- > 1;) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            size_t j = (size_t)(seed >> 33) % (i + 1);
            struct proto_osd swap = c->osds[i];
            c->osds[i] = c->osds[j];
            c->osds[j] = swap;
        }
        moves = plan(c, 9, NULL);
        assert_int_equal(moves.count, count);
        assert_memory_equal(c->moves, first, count * sizeof *first);
    }
    /* Less room: the same ones, as far as it goes. */
    struct proto_moves few = {.moves = c->moves, .room = 3};
    memset(c->moves, 0, sizeof c->moves);
    assert_int_equal(proto_moves_plan(c->osds, c->count, &c->placement, 9, &few, NULL), LILIO_OK);
    assert_int_equal(few.count, 3);
    assert_memory_equal(c->moves, first, 3 * sizeof *first);
    free(c);
}

static void test_what_is_allowed(void **state)
{
    (void)state;
    struct cluster *c = cluster_new(6, 1, 3, "osd:1");
    for (uint32_t osd = 0; osd < 6; osd++) {
        bool there = false;
        for (uint32_t i = 0; i < 3; i++)
            there |= proto_slot_osd(&c->placement, 5, i) == 3 * osd;
        assert_int_equal(proto_move_allowed(c->osds, 6, &c->placement, 5, 1, 3 * osd), !there);
    }
    assert_false(proto_move_allowed(c->osds, 6, &c->placement, 5, 1, 1)); /* there is none */
    assert_false(proto_move_allowed(c->osds, 6, &c->placement, PARTITIONS, 1, 0));
    assert_false(proto_move_allowed(c->osds, 6, &c->placement, 5, 3, 0));
    free(c);
}

static void test_draining_ones_get_nothing(void **state)
{
    (void)state;
    struct cluster *c = cluster_new(6, 1, 3, "osd:1");
    c->osds[1].draining = true;
    size_t had = held(c, 0);
    struct proto_moves moves = plan(c, 0, NULL);
    assert_true(had > 0);
    assert_int_equal(moves.count, had);
    for (size_t i = 0; i < moves.count; i++)
        assert_int_not_equal(moves.moves[i].to, 3);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        assert_false(proto_move_allowed(c->osds, c->count, &c->placement, p, 0, 3));
    moves = plan(c, 3, NULL); /* its own ones go */
    assert_int_equal(moves.count, held(c, 3));
    for (uint32_t i = 1; i < 6; i++)
        c->osds[i].draining = true;
    moves = plan(c, 0, NULL);
    assert_int_equal(moves.stuck_count, had);
    free(c);
}

/* ---- the tables ---- */

static void test_tables(void **state)
{
    (void)state;
    struct cluster *c = cluster_new(6, 1, 3, "osd:1");
    struct proto_arena *arena;
    struct proto_placement p;
    assert_int_equal(proto_arena_new(&arena), LILIO_OK);
    assert_true(proto_placement_unfold(&c->placement, arena, &p));
    assert_true(proto_placement_sized(&p));
    uint32_t a = proto_slot_osd(&p, 9, 2), b = 100, d = 200;
    assert_int_equal(proto_slots_filling(&p, 9), 0);
    assert_int_equal(proto_slots_moved(&p, 9, 0), 0);
    proto_placement_move(&p, 9, 2, b, 41);
    assert_int_equal(proto_slot_osd(&p, 9, 2), b);
    assert_int_equal(proto_slot_previous(&p, 9, 2), a);
    assert_int_equal(proto_slots_filling(&p, 9), 4);
    assert_int_equal(proto_slots_moved(&p, 9, 40), 4);
    assert_int_equal(proto_slots_moved(&p, 9, 41), 0);
    for (uint32_t other = 0; other < PARTITIONS; other++)
        if (other != 9)
            assert_int_equal(proto_slots_filling(&p, other) | proto_slots_moved(&p, other, 0), 0);
    assert_int_equal(proto_slots_handed(&p, 9, 0), 4);
    assert_int_equal(proto_slots_handed(&p, 9, 40), 4);
    assert_int_equal(proto_slots_handed(&p, 9, 41), 0); /* it did not move since */
    /* Tables of a version that did not keep the change before. */
    struct proto_placement old = p;
    old.changed_before = base_slice(NULL, 0);
    assert_int_equal(proto_slots_handed(&old, 9, 40), 0);
    assert_true(proto_placement_unfold(&old, arena, &old));
    assert_int_equal(proto_slots_handed(&old, 9, 40), 0);
    /* Moved on before it was filled: the first one has more. */
    proto_placement_move(&p, 9, 2, d, 50);
    assert_int_equal(proto_slot_previous(&p, 9, 2), a);
    assert_int_equal(proto_slots_handed(&p, 9, 49), 0); /* b may have what a has not */
    /* Home again: nobody else has anything. */
    proto_placement_move(&p, 9, 2, a, 51);
    assert_int_equal(proto_slot_previous(&p, 9, 2), PROTO_OSD_NONE);
    assert_int_equal(proto_slots_filling(&p, 9), 4);
    proto_placement_move(&p, 9, 2, b, 52);
    assert_int_equal(proto_slot_previous(&p, 9, 2), a);
    /* Filled: who had it stays known, until it moves on. */
    proto_placement_filled(&p, 9, 2);
    assert_int_equal(proto_slots_filling(&p, 9), 0);
    assert_int_equal(proto_slot_previous(&p, 9, 2), a);
    proto_placement_move(&p, 9, 2, d, 53);
    assert_int_equal(proto_slots_handed(&p, 9, 52), 4);
    assert_int_equal(proto_slots_handed(&p, 9, 51), 0); /* twice */
    proto_placement_filled(&p, 9, 2);
    assert_int_equal(proto_slot_previous(&p, 9, 2), b);
    assert_int_equal(proto_slots_moved(&p, 9, 52), 4); /* that it moved stays known */
    proto_placement_fold(&p);
    assert_int_equal(p.filling.size, 0);
    assert_int_equal(p.moved.size, (3 * PARTITIONS + 7) / 8);
    assert_int_equal(p.changed.size, 8 * PARTITIONS);
    assert_true(proto_placement_sized(&p));
    proto_arena_free(&arena);
    free(c);
}

static void test_maps_with_wrong_tables(void **state)
{
    (void)state;
    struct cluster *c = cluster_new(6, 1, 3, "osd:1");
    struct proto_arena *arena;
    struct proto_placement p;
    assert_int_equal(proto_arena_new(&arena), LILIO_OK);
    assert_true(proto_placement_unfold(&c->placement, arena, &p));
    struct proto_cluster_map map = {
        .osds = c->osds, .osds_count = 6, .placements = &p, .placements_count = 1};
    assert_int_equal(proto_map_check(&map, NULL), LILIO_OK);
    struct base_slice *tables[] = {&p.filling, &p.previous,       &p.moved,
                                   &p.changed, &p.changed_before, &p.moved_last};
    for (size_t i = 0; i < 6; i++) {
        struct base_slice whole = *tables[i];
        for (size_t size = 0; size < whole.size; size += size < 9 ? 1 : 7) {
            tables[i]->size = size;
            assert_int_equal(proto_map_check(&map, NULL), size == 0 ? LILIO_OK : LILIO_E_MALFORMED);
            /* And nobody who asks reads behind the end. */
            for (uint32_t at = 0; at < PARTITIONS + 1; at += 32) {
                (void)proto_slots_filling(&p, at);
                (void)proto_slots_moved(&p, at, 0);
                (void)proto_slot_previous(&p, at, 2);
            }
        }
        *tables[i] = whole;
    }
    proto_placement_move(&p, 3, 1, 77, 5); /* there is no such OSD */
    assert_int_equal(proto_map_check(&map, NULL), LILIO_E_MALFORMED);
    proto_placement_move(&p, 3, 1, 15, 6);
    assert_int_equal(proto_map_check(&map, NULL), LILIO_OK);
    proto_arena_free(&arena);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_two_in_a_domain),
        cmocka_unit_test(test_loads_stay_even),
        cmocka_unit_test(test_full_ones_take_what_nobody_else_may),
        cmocka_unit_test(test_draining_ones_get_nothing),
        cmocka_unit_test(test_nothing_moves_where_nothing_is_allowed),
        cmocka_unit_test(test_the_order_of_osds_does_not_matter),
        cmocka_unit_test(test_what_is_allowed),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_maps_with_wrong_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
