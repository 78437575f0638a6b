/* Aim: what is good, and what is kept, of a stripe is what the states of its OSDs allow to say,
 * also in slots that fill. Method: one stripe of three, by hand. */
#include "proto/redundancy.h"
#include "base/bytes.h"
#include "tests/support/cmocka_all.h"

#include "base/banned.h"

enum { WIDTH = 3, DATA = 2, BEFORE = 5 };

/* Slot 2 fills from osd.5. State 0: the OSD is none, or taken for lost. */
static struct proto_standing standing(uint8_t one, uint8_t two, uint8_t before, uint64_t bad)
{
    static struct proto_trusts trusts;
    uint8_t slots[2 * WIDTH], previous[2 * WIDTH], filling = 4;
    const struct proto_osd osds[] = {
        {.id = 0, .state = PROTO_OSD_UP, .complete = true},
        {.id = 1, .state = one, .complete = true},
        {.id = 2, .state = two, .complete = true},
        {.id = BEFORE, .state = before, .complete = true},
    };
    memset(&trusts, 0, sizeof trusts);
    for (size_t i = 0; i < sizeof osds / sizeof *osds; i++)
        if (osds[i].state)
            proto_trusts_set(&trusts, &osds[i]);
    for (uint16_t i = 0; i < WIDTH; i++) {
        base_le16_put(slots + 2 * i, i);
        base_le16_put(previous + 2 * i, i == 2 ? BEFORE : PROTO_OSD_NONE);
    }
    const struct proto_placement placement = {
        .id = 1,
        .width = WIDTH,
        .slots = base_slice(slots, sizeof slots),
        .filling = base_slice(&filling, 1),
        .previous = base_slice(previous, sizeof previous),
    };
    return proto_stripe_standing(&trusts, &placement, 0, DATA, bad);
}

static void is(struct proto_standing standing, uint64_t good, uint64_t kept)
{
    assert_int_equal(standing.good, good);
    assert_int_equal(standing.kept, kept);
}

static void slots_that_fill(void **state)
{
    const uint8_t up = PROTO_OSD_UP, blank = PROTO_OSD_BLANK, down = PROTO_OSD_DOWN;
    (void)state;
    is(standing(up, up, up, 0), 3, 7);
    is(standing(up, up, PROTO_OSD_OUT, 0), 3, 7);
    is(standing(up, down, up, 0), 3, 7);
    is(standing(up, up, up, 4), 3, 3); /* named missing */
    /* What moved away from an empty disk may be there already, made anew or stored since. */
    is(standing(up, up, blank, 0), 3, 7);
    is(standing(down, up, blank, 2), 1, 5);
    is(standing(up, blank, up, 0), 3, 3);
    is(standing(up, up, 0, 0), 3, 3); /* osd.5 is taken for lost */
}

static void disks_that_failed(void **state)
{
    const uint8_t up = PROTO_OSD_UP, failed = PROTO_OSD_FAILED;
    (void)state;
    is(standing(failed, up, up, 0), 3, 7); /* needed for reading */
    is(standing(failed, up, up, 2), 1, 5);
    is(standing(PROTO_OSD_DOWN, up, up, 0), 1, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_that_fill),
        cmocka_unit_test(disks_that_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
