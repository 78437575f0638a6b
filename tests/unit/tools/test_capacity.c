/* Aim: what df calls "room for" can really be filled and no more. Method: cases worked out by hand,
 * and a greedy filler that must get exactly as far. */
#include "tools/capacity.h"

#include "base/env.h"
#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static void test_by_hand(void **state)
{
    (void)state;
    assert_true(tools_capacity_per_slot((uint64_t[]){10, 10, 10}, 3, 3) == 10);
    assert_true(tools_capacity_per_slot((uint64_t[]){10, 20, 30}, 3, 3) == 10);
    assert_true(tools_capacity_per_slot((uint64_t[]){10, 10, 10, 10}, 4, 2) == 20);
    assert_true(tools_capacity_per_slot((uint64_t[]){100, 1, 1}, 3, 2) == 2);
    assert_true(tools_capacity_per_slot((uint64_t[]){5, 5}, 2, 3) == 0);
    assert_true(tools_capacity_per_slot((uint64_t[]){5, 5}, 2, 0) == 0);
    assert_true(tools_capacity_per_slot(NULL, 0, 3) == 0);
    assert_true(tools_capacity_per_slot((uint64_t[]){UINT64_MAX, UINT64_MAX}, 2, 2) <= UINT64_MAX);
}

/* One stripe after the other on the width emptiest OSDs: the best one can do. */
static uint64_t greedy(uint64_t *left, size_t count, uint32_t width)
{
    for (uint64_t stripes = 0;; stripes++) {
        bool used[8] = {false};
        for (uint32_t slot = 0; slot < width; slot++) {
            size_t best = count;
            for (size_t i = 0; i < count; i++)
                if (!used[i] && left[i] > 0 && (best == count || left[i] > left[best]))
                    best = i;
            if (best == count)
                return stripes;
            used[best] = true;
            left[best]--;
        }
    }
}

static void test_against_a_filler(void **state)
{
    (void)state;
    uint64_t seed = 1;
    struct base_random random = base_random_seeded(&seed);
    for (int round = 0; round < 500; round++) {
        uint64_t left[8];
        size_t count = 1 + base_random_u64(&random) % 8;
        uint32_t width = 1 + (uint32_t)(base_random_u64(&random) % count);
        for (size_t i = 0; i < count; i++)
            left[i] = base_random_u64(&random) % 50;
        uint64_t answer = tools_capacity_per_slot(left, count, width);
        assert_true(answer == greedy(left, count, width));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_against_a_filler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
