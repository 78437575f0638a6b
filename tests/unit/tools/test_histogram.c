/* Aim: percentiles are at most 3 % too high and never above the largest value. Method: known rows
 * of values, compared with the exact answer; values at the edges of the buckets. */
#include "tools/histogram.h"

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static struct tools_histogram histogram, other;

static int clear(void **state)
{
    (void)state;
    histogram = other = (struct tools_histogram){0};
    return 0;
}

static void test_empty(void **state)
{
    (void)state;
    assert_true(tools_histogram_at(&histogram, 500) == 0);
}

static void test_percentiles(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 100000; i++)
        tools_histogram_add(&histogram, i);
    static const unsigned marks[] = {1, 10, 250, 500, 900, 990, 999, 1000};
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        uint64_t exact = 100 * marks[i], got = tools_histogram_at(&histogram, marks[i]);
        assert_true(got >= exact && got <= exact + exact / 31 + 1);
    }
    assert_true(tools_histogram_at(&histogram, 1000) == 100000);
    assert_true(histogram.count == 100000 && histogram.sum == 5000050000);
}

static void test_every_size_of_value(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t value = 1ull << bit;
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t v = value + (uint64_t)(int64_t)delta;
            (void)clear(NULL);
            tools_histogram_add(&histogram, v);
            tools_histogram_add(&histogram, UINT64_MAX);
            uint64_t got = tools_histogram_at(&histogram, 500);
            assert_true(got >= v && got - v <= v / 32);
        }
    }
}

static void test_merge(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        tools_histogram_add(i % 2 ? &histogram : &other, i);
    tools_histogram_merge(&histogram, &other);
    assert_true(histogram.count == 1000 && histogram.max == 999 && histogram.sum == 499500);
    uint64_t middle = tools_histogram_at(&histogram, 500);
    assert_true(middle >= 499 && middle <= 516);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_empty, clear),
        cmocka_unit_test_setup(test_percentiles, clear),
        cmocka_unit_test_setup(test_every_size_of_value, clear),
        cmocka_unit_test_setup(test_merge, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
