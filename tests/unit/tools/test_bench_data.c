/* Aim: bench's bytes do not depend on how they are cut, differ everywhere, and a single wrong bit
 * anywhere is noticed. Method: ranges at odd places against one whole; every byte of a stretch
 * flipped once. */
#include "tools/bench_data.h"

#include "tests/support/cmocka_all.h"
#include "tools/bench_run.h"

#include "base/banned.h"

enum { SIZE = 3 * TOOLS_BENCH_BLOCK + 777 };
static struct tools_bench_data data;
static uint8_t whole[SIZE], part[SIZE + 1];

static int setup(void **state)
{
    (void)state;
    tools_bench_data_init(&data, 42);
    tools_bench_data_fill(&data, 7, 0, whole, SIZE);
    return 0;
}

static void test_any_cut_gives_the_same_bytes(void **state)
{
    (void)state;
    static const size_t offsets[] = {0,    1,    7,    8,    511,   4095,
                                     4096, 4097, 8191, 8192, 12288, SIZE - 1};
    static const size_t sizes[] = {1, 2, 63, 64, 4095, 4096, 4097, 8192, SIZE};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            size_t size = sizes[j] < SIZE - offsets[i] ? sizes[j] : SIZE - offsets[i];
            /* An odd address: the library's buffers are aligned, a sink's need not be. */
            tools_bench_data_fill(&data, 7, offsets[i], part + 1, size);
            assert_memory_equal(part + 1, whole + offsets[i], size);
            assert_true(tools_bench_data_check(&data, 7, offsets[i], part + 1, size));
        }
    }
}

static void test_every_wrong_bit_is_noticed(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZE; i++) {
        whole[i] ^= (uint8_t)(1u << (i % 8));
        assert_false(tools_bench_data_check(&data, 7, 0, whole, SIZE));
        whole[i] ^= (uint8_t)(1u << (i % 8));
    }
    assert_true(tools_bench_data_check(&data, 7, 0, whole, SIZE));
}

static void test_other_places_objects_and_seeds_differ(void **state)
{
    (void)state;
    struct tools_bench_data other;
    tools_bench_data_init(&other, 43);
    assert_false(tools_bench_data_check(&data, 8, 0, whole, SIZE));
    assert_false(tools_bench_data_check(&other, 7, 0, whole, SIZE));
    for (size_t shift = 512; shift < SIZE - 64; shift += 512)
        assert_false(tools_bench_data_check(&data, 7, shift, whole, 64));
}

static void test_keys(void **state)
{
    (void)state;
    char key[TOOLS_BENCH_KEY];
    uint64_t seed = 0, object = 0;
    tools_bench_key(0xfeedfacecafebeefu, 123456, key);
    assert_string_equal(key, "feedfacecafebeef-000000123456");
    assert_true(tools_bench_key_read(key, &seed, &object));
    assert_true(seed == 0xfeedfacecafebeefu && object == 123456);
    assert_false(tools_bench_key_read("feedfacecafebeef-00000012345", &seed, &object));
    assert_false(tools_bench_key_read("feedfacecafebeef-000000123456x", &seed, &object));
    assert_false(tools_bench_key_read("something else", &seed, &object));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cut_gives_the_same_bytes),
        cmocka_unit_test(test_every_wrong_bit_is_noticed),
        cmocka_unit_test(test_other_places_objects_and_seeds_differ),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
