/* Aim: what deep scrubs read counts as verified, and nothing else does: not before all OSDs that
 * have slots told of a complete round, never more than the first of them met, nothing that came to
 * an OSD behind its round. Method: a placement of three OSDs, their lines changed one by one. */
#include "coordinator/scrubbed.h"

#include <string.h>

#include "proto/moves.h"
#include "tests/support/cmocka_all.h"

#include "base/banned.h"

enum { OSDS = 4, WIDTH = 3, BITS = 2 }; /* the last OSD has no slots */

struct made {
    struct proto_arena *arena;
    struct proto_osd osds[OSDS];
    struct proto_scrub_line lines[OSDS];
    bool told[OSDS];
    uint8_t slots[2 * WIDTH << BITS];
    struct proto_placement placement;
    struct proto_state_row state;
};

/* All three were read; osd.1 began first, osd.2 is the oldest. */
static int made_new(void **state)
{
    static struct made made;
    made = (struct made){
        .state = {.epoch = 50, .applied_index = 1000, .stripes = 80, .stripes_ever = 100}};
    if (proto_arena_new(&made.arena))
        return -1;
    for (uint32_t i = 0; i < OSDS; i++) {
        made.osds[i] = (struct proto_osd){
            .id = i, .state = PROTO_OSD_UP, .complete = true, .weight = 1000, .since_epoch = 3};
        made.lines[i] = (struct proto_scrub_line){.kind = COORD_SCRUB_DEEP,
                                                  .rounds = 1,
                                                  .oldest_ms = 5000 + 100 * i,
                                                  .last_index = i == 1 ? 700 : 800,
                                                  .last_epoch = 20,
                                                  .last_stripes_ever = i == 1 ? 90 : 95};
        made.told[i] = true;
    }
    for (size_t at = 0; at < sizeof made.slots / 2; at++)
        base_le16_put(made.slots + 2 * at, (uint16_t)(at % WIDTH));
    made.placement = (struct proto_placement){.id = 1,
                                              .width = WIDTH,
                                              .rule = base_slice_str("osd:1"),
                                              .partition_bits = BITS,
                                              .slots = base_slice(made.slots, sizeof made.slots)};
    *state = &made;
    return 0;
}

static int made_free(void **state)
{
    struct made *made = *state;
    proto_arena_free(&made->arena);
    return 0;
}

static struct proto_scrubbed sum(const struct made *made)
{
    static struct coord_scrubbed scrubbed;
    scrubbed = (struct coord_scrubbed){0};
    for (size_t i = 0; i < OSDS; i++)
        coord_scrubbed_osd(&scrubbed, &made->osds[i], made->told[i] ? &made->lines[i] : NULL);
    coord_scrubbed_placement(&scrubbed, &made->placement);
    return coord_scrubbed_sum(&scrubbed, &made->state);
}

static void assert_not_read(const struct made *made, uint32_t not_read, uint32_t not_told)
{
    struct proto_scrubbed told = sum(made);
    assert_int_equal(told.osds, WIDTH);
    assert_int_equal(told.not_read, not_read);
    assert_int_equal(told.not_told, not_told);
    assert_int_equal(told.index + told.unverified + told.oldest_ms + told.oldest_osd, 0);
}

static void assert_read(const struct made *made, uint64_t unverified)
{
    struct proto_scrubbed told = sum(made);
    assert_int_equal(told.osds, WIDTH);
    assert_int_equal(told.not_read + told.not_told, 0);
    assert_int_equal(told.unverified, unverified);
}

static void the_first_round_decides(void **state)
{
    struct made *made = *state;
    struct proto_scrubbed told = sum(made);
    assert_read(made, 10);
    assert_int_equal(told.index, 700);
    assert_int_equal(told.oldest_ms, 5200);
    assert_int_equal(told.oldest_osd, 2);
    made->lines[1].last_stripes_ever = 0; /* there was nothing yet */
    assert_read(made, 80);                /* not more than there are */
    for (size_t i = 0; i < OSDS; i++)
        made->lines[i].last_stripes_ever = 100;
    assert_read(made, 0);
}

static void all_have_to_be_read(void **state)
{
    struct made *made = *state;
    made->told[3] = false; /* it has no slots */
    assert_read(made, 10);
    made->told[0] = false;
    assert_not_read(made, 0, 1);
    made->lines[2].rounds = 0;
    assert_not_read(made, 1, 1);
    made->told[0] = true;
    assert_not_read(made, 1, 0);
    made->lines[2].rounds = 1;
    made->lines[2].state = 1; /* the next round runs: the last one is what it was */
    assert_read(made, 10);
}

/* An older program, or a round that met slots that filled. */
static void what_is_not_known_is_not_verified(void **state)
{
    struct made *made = *state;
    made->lines[0].last_epoch = 0;
    made->osds[0].since_epoch = 0;
    assert_not_read(made, 1, 0);
}

static void another_disk_was_not_read(void **state)
{
    struct made *made = *state;
    made->osds[1].since_epoch = 21; /* bound or rebuilt behind the round */
    assert_not_read(made, 1, 0);
    made->lines[1].last_epoch = 21;
    assert_read(made, 10);
    made->osds[1].complete = false;
    assert_not_read(made, 1, 0);
    made->osds[1].complete = true;
    made->osds[1].state = PROTO_OSD_BLANK;
    assert_not_read(made, 1, 0);
    made->osds[1].state = PROTO_OSD_DOWN; /* what it has was read; that it is away is told anyway */
    assert_read(made, 10);
}

static void maps_that_went_back_know_nothing_of_it(void **state)
{
    struct made *made = *state;
    made->lines[0].last_stripes_ever = 101;
    assert_not_read(made, 1, 0);
    made->lines[0].last_stripes_ever = 95;
    made->lines[0].last_index = 1001;
    assert_not_read(made, 1, 0);
    made->lines[0].last_index = 800;
    made->lines[0].last_epoch = 51;
    assert_not_read(made, 1, 0);
}

/* One coordinator goes on alone, and is as far as the lost ones were. */
static void rounds_of_a_lost_history_do_not_count(void **state)
{
    struct made *made = *state;
    made->state.epoch += COORD_EPOCHS_LOST_MAX;
    assert_not_read(made, 3, 0);
    for (size_t i = 0; i < OSDS; i++)
        made->lines[i].last_epoch = made->state.epoch - 30;
    assert_read(made, 10);
    made->state.epoch += COORD_EPOCHS_LOST_MAX; /* once more */
    assert_not_read(made, 3, 0);
}

static void it_is_said_whose_rounds_count(void **state)
{
    struct made *made = *state;
    static struct coord_scrubbed scrubbed;
    scrubbed = (struct coord_scrubbed){0};
    made->lines[1].last_epoch = 0;
    made->told[2] = false;
    made->lines[3].rounds = 0;
    for (size_t i = 0; i < OSDS; i++)
        coord_scrubbed_osd(&scrubbed, &made->osds[i], made->told[i] ? &made->lines[i] : NULL);
    coord_scrubbed_placement(&scrubbed, &made->placement);
    assert_true(coord_scrubbed_counts(&scrubbed, 0, &made->state));
    assert_false(coord_scrubbed_counts(&scrubbed, 1, &made->state));
    assert_false(coord_scrubbed_counts(&scrubbed, 2, &made->state));
    assert_true(coord_scrubbed_counts(&scrubbed, 3, &made->state)); /* it has no slots */
    assert_false(coord_scrubbed_counts(&scrubbed, 77, &made->state));
    assert_false(coord_scrubbed_counts(&scrubbed, UINT32_MAX, &made->state));
}

/* Slot 1 of partition 2 goes to the fourth OSD, whose round was before or behind that. */
static void slots_that_came_later_were_not_met(void **state)
{
    struct made *made = *state;
    struct proto_placement moved;
    assert_true(proto_placement_unfold(&made->placement, made->arena, &moved));
    proto_placement_move(&moved, 2, 1, 3, 30);
    made->placement = moved;
    made->lines[3].last_epoch = 30;
    struct proto_scrubbed told = sum(made);
    assert_int_equal(told.osds, 4);
    assert_int_equal(told.not_read, 1); /* it fills */
    proto_placement_filled(&moved, 2, 1);
    made->placement = moved;
    told = sum(made);
    assert_int_equal(told.not_read, 0);
    assert_int_equal(told.unverified, 10);
    made->lines[3].last_epoch = 29;
    told = sum(made);
    assert_int_equal(told.not_read, 1);
}

static void parity_that_does_not_fit_is_not_verified(void **state)
{
    struct made *made = *state;
    made->lines[0].last_stripes_bad = 2;
    made->lines[2].last_stripes_bad = 3;
    made->lines[3].last_stripes_bad = 50; /* it has no slots */
    assert_read(made, 15);
    assert_int_equal(sum(made).stripes_bad, 5);
    made->lines[2].last_stripes_bad = UINT64_MAX;
    assert_read(made, 80);
    assert_int_equal(sum(made).stripes_bad, 80);
}

/* Its data could not be had. */
static void parity_that_was_not_computed_is_not_verified(void **state)
{
    struct made *made = *state;
    made->lines[0].last_stripes_unread = 2;
    made->lines[2].last_stripes_unread = 3;
    made->lines[2].last_stripes_bad = 1;
    made->lines[3].last_stripes_unread = 50; /* it has no slots */
    assert_read(made, 16);
    assert_int_equal(sum(made).stripes_bad, 1);
    made->lines[0].last_stripes_unread = made->lines[2].last_stripes_unread = UINT64_MAX;
    assert_read(made, 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_round_decides, made_new, made_free),
        cmocka_unit_test_setup_teardown(all_have_to_be_read, made_new, made_free),
        cmocka_unit_test_setup_teardown(what_is_not_known_is_not_verified, made_new, made_free),
        cmocka_unit_test_setup_teardown(another_disk_was_not_read, made_new, made_free),
        cmocka_unit_test_setup_teardown(maps_that_went_back_know_nothing_of_it, made_new,
                                        made_free),
        cmocka_unit_test_setup_teardown(slots_that_came_later_were_not_met, made_new, made_free),
        cmocka_unit_test_setup_teardown(rounds_of_a_lost_history_do_not_count, made_new, made_free),
        cmocka_unit_test_setup_teardown(it_is_said_whose_rounds_count, made_new, made_free),
        cmocka_unit_test_setup_teardown(parity_that_was_not_computed_is_not_verified, made_new,
                                        made_free),
        cmocka_unit_test_setup_teardown(parity_that_does_not_fit_is_not_verified, made_new,
                                        made_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
