/* Aim: an OSD that goes down again and again is held longer each time, at most so long, and what is
 * long ago is forgotten. Method: times given by hand, in units of 10. */
#include "coordinator/damping.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/banned.h"

enum { UNIT = 10 };

static uint64_t down_and_up(struct coord_damping *damping, uint64_t *now)
{
    coord_damping_down(damping, *now, UNIT);
    *now += UNIT;
    coord_damping_up(damping, *now, UNIT);
    return coord_damping_held_ms(damping, *now);
}

static void each_down_doubles(void **unused)
{
    (void)unused;
    static const uint64_t units[] = {0, 1, 2, 4, 8, 12, 12, 12};
    struct coord_damping damping = {0};
    uint64_t now = 1000;
    assert_int_equal(coord_damping_held_ms(&damping, now), 0);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        assert_int_equal(down_and_up(&damping, &now), units[i] * UNIT);
}

static void it_ends(void **unused)
{
    (void)unused;
    struct coord_damping damping = {0};
    uint64_t now = 0;
    for (int i = 0; i < 3; i++)
        (void)down_and_up(&damping, &now);
    assert_int_equal(coord_damping_held_ms(&damping, now + 2 * UNIT - 1), 1);
    assert_int_equal(coord_damping_held_ms(&damping, now + 2 * UNIT), 0);
}

static void long_ago_is_forgotten(void **unused)
{
    (void)unused;
    struct coord_damping damping = {0};
    uint64_t now = 0;
    for (int i = 0; i < 5; i++)
        (void)down_and_up(&damping, &now);
    now += COORD_DAMPING_WINDOW * UNIT - UNIT - 1; /* just inside */
    assert_int_equal(down_and_up(&damping, &now), COORD_DAMPING_HOLD_MAX * UNIT);
    now += COORD_DAMPING_WINDOW * UNIT;
    assert_int_equal(down_and_up(&damping, &now), 0);
    assert_int_equal(down_and_up(&damping, &now), UNIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_down_doubles),
        cmocka_unit_test(it_ends),
        cmocka_unit_test(long_ago_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
