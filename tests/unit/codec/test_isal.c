/* Aim: what isal.c hands out is what the rest takes it for: the field's arithmetic, an inversion
 * that says when it failed, coding and checksums of empty input. Method: all products and inverses
 * against the reference; inverses multiplied back; matrices that are singular by design. */
#include "codec/isal_priv.h"
#include "tests/unit/codec/cmocka_all.h"
#include "tests/unit/codec/reference.h"

#include "base/banned.h"

static void test_field(void **state)
{
    (void)state;
    for (uint32_t a = 0; a < 256; a++)
        for (uint32_t b = 0; b < 256; b++)
            assert_int_equal(codec_isal_multiply((uint8_t)a, (uint8_t)b),
                             reference_multiply((uint8_t)a, (uint8_t)b));
    assert_int_equal(codec_isal_inverse(0), 0);
    for (uint32_t a = 1; a < 256; a++)
        assert_int_equal(reference_multiply((uint8_t)a, codec_isal_inverse((uint8_t)a)), 1);
}

static void test_inverse_multiplies_to_the_identity(void **state)
{
    (void)state;
    uint64_t random = 3;
    uint32_t inverted = 0;
    for (uint32_t size = 1; size <= CODEC_DATA_MAX; size++)
        for (int round = 0; round < 10; round++) {
            uint8_t matrix[CODEC_DATA_MAX * CODEC_DATA_MAX], inverse[sizeof matrix];
            uint8_t destroyed[sizeof matrix];
            reference_random_fill(&random, matrix, size * size);
            memcpy(destroyed, matrix, sizeof matrix);
            if (!codec_isal_invert(size, destroyed, inverse))
                continue;
            inverted++;
            for (uint32_t i = 0; i < size; i++)
                for (uint32_t j = 0; j < size; j++) {
                    uint8_t sum = 0;
                    for (uint32_t c = 0; c < size; c++)
                        sum ^= reference_multiply(matrix[i * size + c], inverse[c * size + j]);
                    assert_int_equal(sum, i == j);
                }
        }
    assert_in_range(inverted, 300, 320); /* a random matrix is singular once in 255 */
}

static void test_singular_is_said(void **state)
{
    (void)state;
    uint64_t random = 4;
    for (uint32_t size = 1; size <= CODEC_DATA_MAX; size++) {
        uint8_t matrix[CODEC_DATA_MAX * CODEC_DATA_MAX], inverse[sizeof matrix];
        /* The last row is three times the first; of one row, zero. */
        reference_random_fill(&random, matrix, size * size);
        for (uint32_t j = 0; j < size; j++)
            matrix[(size - 1) * size + j] = size == 1 ? 0 : reference_multiply(3, matrix[j]);
        assert_false(codec_isal_invert(size, matrix, inverse));
    }
}

static void test_nothing_is_touched_without_work(void **state)
{
    (void)state;
    uint8_t tables[CODEC_ISAL_TABLE] = {0x55};
    codec_isal_tables(1, 0, NULL, tables);
    assert_int_equal(tables[0], 0x55);
    codec_isal_run(64, 1, 0, tables, NULL, NULL);
    codec_isal_run(0, 1, 1, tables, NULL, NULL);
    assert_int_equal(codec_isal_crc32c(0x1234, NULL, 0), 0x1234);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_field),
        cmocka_unit_test(test_inverse_multiplies_to_the_identity),
        cmocka_unit_test(test_singular_is_said),
        cmocka_unit_test(test_nothing_is_touched_without_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
