/* Aim: every profile the format allows encodes as the format says and comes back; checksums of the
 * joint pass are those of the bytes; plans rest on rank, not on counting. Method: all 32 x 17
 * profiles against the reference with sampled losses of a fixed seed; sizes around block edges; a
 * coder with dependent rows made by hand. */
#include "codec/codec.h"
#include "codec/coder_priv.h"
#include "tests/unit/codec/cmocka_all.h"
#include "tests/unit/codec/reference.h"

#include <stdlib.h>

#include "base/banned.h"

static struct codec_coder *coder_of(uint32_t data_count, uint32_t parity_count)
{
    struct codec_profile profile = reference_profile(data_count, parity_count, 0);
    struct codec_coder *coder = NULL;
    assert_int_equal(codec_coder_new(&profile, &coder, NULL), LILIO_OK);
    assert_memory_equal(codec_coder_profile(coder), &profile, sizeof profile);
    return coder;
}

static void check_rows(const struct codec_coder *coder)
{
    const struct codec_profile *profile = codec_coder_profile(coder);
    for (uint32_t i = 0; i < codec_profile_total(profile); i++)
        for (uint32_t j = 0; j < profile->data_count; j++)
            assert_int_equal(codec_coder_row(coder, i)[j],
                             reference_coefficient(profile->data_count, i, j));
}

/* Loses count random fragments and makes them again. */
static void check_random_loss(const struct codec_coder *coder,
                              const struct reference_fragments *good, uint32_t count,
                              uint64_t *random, struct codec_plan *plan)
{
    uint64_t all = ((uint64_t)1 << good->count) - 1, lost = 0;
    uint8_t *source[CODEC_TOTAL_MAX];
    struct reference_fragments rebuilt = reference_fragments_new(count, good->size);
    while (__builtin_popcountll(lost) < (int)count)
        lost |= (uint64_t)1 << reference_random(random) % good->count;
    assert_int_equal(codec_plan_make(coder, all & ~lost, lost, plan, NULL), LILIO_OK);
    for (uint32_t i = 0; i < plan->source_count; i++)
        source[i] = good->at[plan->source[i]];
    codec_plan_run(plan, good->size, source, rebuilt.at);
    for (uint32_t i = 0; i < count; i++)
        assert_memory_equal(rebuilt.at[i], good->at[plan->target[i]], good->size);
    assert_true(reference_fragments_intact(&rebuilt));
    reference_fragments_free(&rebuilt);
}

static void check_profile(uint32_t data_count, uint32_t parity_count, uint64_t *random,
                          struct codec_plan *plan)
{
    uint32_t total_count = data_count + parity_count;
    uint32_t size = 64 * (1 + (uint32_t)(reference_random(random) % 5));
    struct codec_coder *coder = coder_of(data_count, parity_count);
    struct reference_fragments good = reference_fragments_new(total_count, size);
    struct reference_fragments coded = reference_fragments_new(parity_count, size);

    check_rows(coder);
    for (uint32_t i = 0; i < data_count; i++)
        reference_random_fill(random, good.at[i], size);
    reference_encode(data_count, parity_count, size, good.at);
    codec_encode(coder, size, good.at, coded.at);
    for (uint32_t i = 0; i < parity_count; i++)
        assert_memory_equal(coded.at[i], good.at[data_count + i], size);
    assert_true(reference_fragments_intact(&coded));
    for (uint32_t lost_count = 1; lost_count <= parity_count; lost_count++)
        check_random_loss(coder, &good, lost_count, random, plan);
    for (uint32_t i = 0; parity_count > 0 && i < 8; i++)
        check_random_loss(coder, &good, parity_count, random, plan);

    reference_fragments_free(&coded);
    reference_fragments_free(&good);
    codec_coder_free(&coder);
    assert_null(coder);
}

static void test_every_profile_of_the_format(void **state)
{
    (void)state;
    uint64_t random = 20260101;
    struct codec_plan *plan = malloc(sizeof *plan);
    assert_non_null(plan);
    for (uint32_t data_count = 1; data_count <= CODEC_DATA_MAX; data_count++)
        for (uint32_t parity_count = 0; parity_count <= CODEC_PARITY_MAX; parity_count++)
            check_profile(data_count, parity_count, &random, plan);
    free(plan);
}

/* Adding parity later must not change what is stored: a row does not depend on how many there are.
 */
static void test_rows_do_not_depend_on_the_parity_count(void **state)
{
    (void)state;
    for (uint32_t data_count = 1; data_count <= CODEC_DATA_MAX; data_count++) {
        struct codec_coder *widest = coder_of(data_count, CODEC_PARITY_MAX);
        for (uint32_t parity_count = 0; parity_count < CODEC_PARITY_MAX; parity_count++) {
            struct codec_coder *coder = coder_of(data_count, parity_count);
            assert_memory_equal(coder->rows, widest->rows,
                                (size_t)(data_count + parity_count) * data_count);
            codec_coder_free(&coder);
        }
        codec_coder_free(&widest);
    }
}

static void check_encode_checksum(uint32_t data_count, uint32_t parity_count, uint32_t size)
{
    uint64_t random = 7 + size;
    uint32_t total_count = data_count + parity_count, block_count = (size + 65535) / 65536;
    struct codec_coder *coder = coder_of(data_count, parity_count);
    struct reference_fragments good = reference_fragments_new(total_count, size);
    struct reference_fragments coded = reference_fragments_new(parity_count, size);
    uint32_t checksums[CODEC_TOTAL_MAX][8], *checksum[CODEC_TOTAL_MAX];
    memset(checksums, 0x77, sizeof checksums);
    for (uint32_t i = 0; i < total_count; i++)
        checksum[i] = checksums[i];
    for (uint32_t i = 0; i < data_count; i++)
        reference_random_fill(&random, good.at[i], size);
    reference_encode(data_count, parity_count, size, good.at);

    codec_encode_checksum(coder, size, good.at, coded.at, checksum);
    for (uint32_t i = 0; i < parity_count; i++)
        assert_memory_equal(coded.at[i], good.at[data_count + i], size);
    assert_true(reference_fragments_intact(&coded));
    for (uint32_t i = 0; i < total_count; i++) {
        for (uint32_t block = 0; block < block_count; block++) {
            uint32_t start = block * 65536, rest = size - start;
            assert_int_equal(checksums[i][block],
                             reference_crc32c(good.at[i] + start, rest < 65536 ? rest : 65536));
        }
        assert_int_equal(checksums[i][block_count], 0x77777777);
    }
    reference_fragments_free(&coded);
    reference_fragments_free(&good);
    codec_coder_free(&coder);
}

static void test_encode_checksum_around_block_edges(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {64, 4096, 65472, 65536, 65600, 131072, 131136, 262144};
    static const uint32_t profiles[][2] = {{4, 2}, {1, 0}, {1, 2}, {5, 0}, {12, 4}};
    for (size_t p = 0; p < sizeof profiles / sizeof profiles[0]; p++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            check_encode_checksum(profiles[p][0], profiles[p][1], sizes[i]);
}

/* The code acts byte by byte: working on parts of the fragments gives the same as working on the
 * whole. */
static void test_parts_make_the_whole(void **state)
{
    (void)state;
    enum { SIZE = 3 * 65536, STEP = 65536 };
    uint64_t random = 9;
    struct codec_coder *coder = coder_of(4, 2);
    struct reference_fragments whole = reference_fragments_new(6, SIZE);
    struct reference_fragments parts = reference_fragments_new(2, SIZE);
    uint32_t whole_sums[6][3], part_sums[6][3];
    uint32_t *sums[6];
    for (uint32_t i = 0; i < 4; i++)
        reference_random_fill(&random, whole.at[i], SIZE);
    for (uint32_t i = 0; i < 6; i++)
        sums[i] = whole_sums[i];
    codec_encode_checksum(coder, SIZE, whole.at, whole.at + 4, sums);
    for (uint32_t block = 0; block < 3; block++) {
        uint8_t *data[4], *parity[2];
        for (uint32_t i = 0; i < 4; i++)
            data[i] = whole.at[i] + block * STEP;
        for (uint32_t i = 0; i < 2; i++)
            parity[i] = parts.at[i] + block * STEP;
        for (uint32_t i = 0; i < 6; i++)
            sums[i] = part_sums[i] + block;
        codec_encode_checksum(coder, STEP, data, parity, sums);
    }
    assert_memory_equal(part_sums, whole_sums, sizeof whole_sums);
    assert_memory_equal(parts.at[0], whole.at[4], SIZE);
    assert_memory_equal(parts.at[1], whole.at[5], SIZE);

    struct codec_plan *plan = malloc(sizeof *plan);
    assert_non_null(plan);
    assert_int_equal(codec_plan_make(coder, 0x3c, 0x03, plan, NULL), LILIO_OK);
    for (uint32_t offset = 0; offset < SIZE; offset += 192) {
        uint8_t *source[4], *target[2] = {parts.at[0] + offset, parts.at[1] + offset};
        for (uint32_t i = 0; i < 4; i++)
            source[i] = whole.at[2 + i] + offset;
        codec_plan_run(plan, 192, source, target);
    }
    assert_memory_equal(parts.at[0], whole.at[0], SIZE);
    assert_memory_equal(parts.at[1], whole.at[1], SIZE);
    assert_true(reference_fragments_intact(&parts));
    free(plan);
    reference_fragments_free(&whole);
    reference_fragments_free(&parts);
    codec_coder_free(&coder);
}

static void test_nothing_to_do_is_done(void **state)
{
    (void)state;
    struct codec_plan *plan = malloc(sizeof *plan);
    struct codec_coder *coder = coder_of(1, 0);
    struct reference_fragments one = reference_fragments_new(1, 64);
    assert_non_null(plan);
    codec_encode(coder, 64, one.at, NULL);
    codec_encode_checksum(coder, 0, one.at, NULL, NULL);
    assert_int_equal(codec_plan_make(coder, 1, 0, plan, NULL), LILIO_OK);
    assert_int_equal(plan->source_count, 1);
    assert_int_equal(plan->target_count, 0);
    codec_plan_run(plan, 64, one.at, NULL);
    assert_true(reference_fragments_intact(&one));
    assert_false(codec_can_decode(coder, 0));
    assert_int_equal(codec_plan_make(coder, 0, 1, plan, NULL), LILIO_E_LOST);
    codec_coder_free(&coder);
    codec_coder_free(&coder);

    coder = coder_of(4, 2);
    codec_encode(coder, 0, one.at, one.at);
    assert_int_equal(codec_plan_make(coder, 0x3f, 0, plan, NULL), LILIO_OK);
    assert_int_equal(plan->target_count, 0);
    assert_memory_equal(plan->source, ((uint8_t[]){0, 1, 2, 3}), 4);
    codec_coder_free(&coder);
    reference_fragments_free(&one);
    free(plan);
}

static void test_foreign_masks_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t have, wanted;
        enum lilio_err err;
    } cases[] = {
        {0x0f, 0x30, LILIO_OK},
        {0x0f, 0x08, LILIO_E_INVALID},
        {0x3f, 0x20, LILIO_E_INVALID},
        {0x0f, 0x40, LILIO_E_INVALID},
        {0x4f, 0x10, LILIO_E_INVALID},
        {0x0f | (uint64_t)1 << 63, 0x10, LILIO_E_INVALID},
        {0x0f, (uint64_t)1 << 63, LILIO_E_INVALID},
        {0x07, 0x30, LILIO_E_LOST},
        {0, 0x3f, LILIO_E_LOST},
        {0, 0, LILIO_E_LOST},
    };
    struct codec_coder *coder = coder_of(4, 2);
    struct codec_plan *plan = malloc(sizeof *plan);
    assert_non_null(plan);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(codec_plan_make(coder, cases[i].have, cases[i].wanted, plan, NULL),
                         cases[i].err);
    assert_false(codec_can_decode(coder, 0x07 | (uint64_t)1 << 40));
    free(plan);
    codec_coder_free(&coder);
}

/* Rows as a generator with local parity has them: fragment 4 is data 0 + data 1, fragment 5 data 2
 * + data 3, fragment 6 a global parity. Four fragments of rank three must be refused, and a
 * dependent one skipped where others do. */
static void test_rank_decides_not_the_number(void **state)
{
    (void)state;
    static const uint8_t local[3][4] = {{1, 1, 0, 0}, {0, 0, 1, 1}, {1, 2, 3, 4}};
    struct codec_coder *coder = coder_of(4, 3);
    struct codec_plan *plan = malloc(sizeof *plan);
    struct reference_fragments stripe = reference_fragments_new(7, 64);
    struct reference_fragments rebuilt = reference_fragments_new(2, 64);
    uint64_t random = 5;
    assert_non_null(plan);
    memcpy(coder->rows + 16, local, sizeof local);
    codec_isal_tables(4, 3, coder->rows + 16, coder->parity_tables);
    for (uint32_t i = 0; i < 4; i++)
        reference_random_fill(&random, stripe.at[i], 64);
    codec_encode(coder, 64, stripe.at, stripe.at + 4);

    assert_false(codec_can_decode(coder, 0x17)); /* 0, 1, 2 and 0 + 1 */
    assert_int_equal(codec_plan_make(coder, 0x17, 0x08, plan, NULL), LILIO_E_LOST);
    assert_false(codec_can_decode(coder, 0x3c & ~0x04u)); /* 3, 0 + 1, 2 + 3 */
    assert_true(codec_can_decode(coder, 0x57));
    assert_int_equal(codec_plan_make(coder, 0x57, 0x28, plan, NULL), LILIO_OK);
    assert_int_equal(plan->source_count, 4);
    assert_memory_equal(plan->source, ((uint8_t[]){0, 1, 2, 6}), 4);
    uint8_t *source[] = {stripe.at[0], stripe.at[1], stripe.at[2], stripe.at[6]};
    codec_plan_run(plan, 64, source, rebuilt.at);
    assert_memory_equal(rebuilt.at[0], stripe.at[3], 64);
    assert_memory_equal(rebuilt.at[1], stripe.at[5], 64);

    reference_fragments_free(&rebuilt);
    reference_fragments_free(&stripe);
    free(plan);
    codec_coder_free(&coder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_profile_of_the_format),
        cmocka_unit_test(test_rows_do_not_depend_on_the_parity_count),
        cmocka_unit_test(test_encode_checksum_around_block_edges),
        cmocka_unit_test(test_parts_make_the_whole),
        cmocka_unit_test(test_nothing_to_do_is_done),
        cmocka_unit_test(test_foreign_masks_are_refused),
        cmocka_unit_test(test_rank_decides_not_the_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
