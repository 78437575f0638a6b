/* Aim: the start-up test passes on a sound machine and cannot pass on an unsound one.
 * Method: run it; then put a wrong library under it, one defect at a time: the linker sends the
 * codec's calls to ISA-L (and its allocations) through the wrappers below. */
#include "codec/codec.h"
#include "codec/isal_priv.h"
#include "codec/self_test_priv.h"
#include "tests/unit/codec/cmocka_all.h"
#include "tests/unit/codec/reference.h"

#include <stdlib.h>

#include "base/banned.h"

static enum defect {
    SOUND,
    CRC_WRONG,
    CRC_WRONG_IF_LONG,
    GENERATOR_WRONG,
    INVERT_FAILS,
    INVERT_WRONG,
    RUN_WRONG,
    RUN_WRONG_LAST_ROW,
} defect;
static int allocations_until_failure = -1;

uint32_t __real_codec_isal_crc32c(uint32_t crc, const uint8_t *data, size_t size);
uint32_t __wrap_codec_isal_crc32c(uint32_t crc, const uint8_t *data, size_t size);
void __real_codec_isal_cauchy1(uint32_t data_count, uint32_t total_count, uint8_t *ret_rows);
void __wrap_codec_isal_cauchy1(uint32_t data_count, uint32_t total_count, uint8_t *ret_rows);
bool __real_codec_isal_invert(uint32_t size, uint8_t *matrix, uint8_t *ret_inverse);
bool __wrap_codec_isal_invert(uint32_t size, uint8_t *matrix, uint8_t *ret_inverse);
void __real_codec_isal_run(uint32_t size, uint32_t source_count, uint32_t target_count,
                           const uint8_t *tables, uint8_t *const *source, uint8_t *const *target);
void __wrap_codec_isal_run(uint32_t size, uint32_t source_count, uint32_t target_count,
                           const uint8_t *tables, uint8_t *const *source, uint8_t *const *target);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

uint32_t __wrap_codec_isal_crc32c(uint32_t crc, const uint8_t *data, size_t size)
{
    bool wrong = defect == CRC_WRONG || (defect == CRC_WRONG_IF_LONG && size > 1024);
    return __real_codec_isal_crc32c(crc, data, size) ^ wrong;
}

void __wrap_codec_isal_cauchy1(uint32_t data_count, uint32_t total_count, uint8_t *ret_rows)
{
    __real_codec_isal_cauchy1(data_count, total_count, ret_rows);
    if (defect == GENERATOR_WRONG)
        ret_rows[(size_t)data_count * total_count - 1] ^= 0x40;
}

bool __wrap_codec_isal_invert(uint32_t size, uint8_t *matrix, uint8_t *ret_inverse)
{
    bool done = __real_codec_isal_invert(size, matrix, ret_inverse);
    if (defect == INVERT_WRONG)
        ret_inverse[size * size - 1] ^= 1;
    return done && defect != INVERT_FAILS;
}

void __wrap_codec_isal_run(uint32_t size, uint32_t source_count, uint32_t target_count,
                           const uint8_t *tables, uint8_t *const *source, uint8_t *const *target)
{
    __real_codec_isal_run(size, source_count, target_count, tables, source, target);
    if (target_count > 0 && defect == RUN_WRONG)
        target[0][0] ^= 1;
    if (target_count > 0 && defect == RUN_WRONG_LAST_ROW)
        target[target_count - 1][size - 1] ^= 0x80;
}

static bool allocation_fails(void)
{
    return allocations_until_failure >= 0 && allocations_until_failure-- == 0;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return allocation_fails() ? NULL : __real_aligned_alloc(alignment, size);
}

static void test_sound_machine_passes(void **state)
{
    (void)state;
    struct lilio_errinfo info = {0};
    assert_int_equal(codec_self_test(&info), LILIO_OK);
    assert_string_equal(info.text, "");
    assert_int_equal(codec_self_test(NULL), LILIO_OK);
}

static void test_spoiled_golden_is_seen(void **state)
{
    (void)state;
    for (size_t i = 0; i < CODEC_GOLDEN_COUNT; i++) {
        struct codec_golden golden = codec_golden[i];
        struct lilio_errinfo info = {0};
        assert_int_equal(codec_golden_check(&golden, &info), LILIO_OK);
        golden.checksum ^= 1u << i;
        assert_int_equal(codec_golden_check(&golden, &info), LILIO_E_CORRUPT);
        assert_non_null(strstr(info.text, "encodes to wrong bytes"));
    }
}

/* Every shipped profile is among the golden stripes, and one spans several blocks. */
static void test_golden_covers_what_is_shipped(void **state)
{
    (void)state;
    uint32_t block_count_max = 0;
    for (size_t i = 0; i < REFERENCE_SHIPPED_COUNT; i++) {
        struct codec_profile profile;
        bool found = false;
        assert_int_equal(codec_profile_parse(reference_shipped[i], &profile, NULL), LILIO_OK);
        for (size_t j = 0; j < CODEC_GOLDEN_COUNT; j++)
            found |= codec_golden[j].data_count == profile.data_count &&
                     codec_golden[j].parity_count == profile.parity_count;
        assert_true(found);
    }
    for (size_t j = 0; j < CODEC_GOLDEN_COUNT; j++)
        if (codec_block_count(codec_golden[j].size) > block_count_max)
            block_count_max = codec_block_count(codec_golden[j].size);
    assert_int_equal(block_count_max, CODEC_GOLDEN_BLOCKS_MAX);
}

static void test_every_defect_is_seen(void **state)
{
    (void)state;
    static const struct {
        enum defect defect;
        enum lilio_err err;
        const char *text;
    } cases[] = {
        {CRC_WRONG, LILIO_E_CORRUPT, "check value"},
        {CRC_WRONG_IF_LONG, LILIO_E_CORRUPT, "encodes to wrong bytes"},
        {GENERATOR_WRONG, LILIO_E_SINGULAR, "another generator"},
        {INVERT_FAILS, LILIO_E_SINGULAR, "not inverted"},
        {INVERT_WRONG, LILIO_E_SINGULAR, "not inverted"},
        {RUN_WRONG, LILIO_E_CORRUPT, "encodes to wrong bytes"},
        {RUN_WRONG_LAST_ROW, LILIO_E_CORRUPT, "encodes to wrong bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct lilio_errinfo info = {0};
        defect = cases[i].defect;
        assert_int_equal(codec_self_test(&info), cases[i].err);
        defect = SOUND;
        assert_int_equal(info.err, cases[i].err);
        assert_non_null(strstr(info.text, cases[i].text));
    }
}

static void test_failed_inversion_is_never_a_plan(void **state)
{
    (void)state;
    static const enum defect defects[] = {INVERT_FAILS, INVERT_WRONG};
    struct codec_profile profile = reference_profile(4, 2, 0);
    struct codec_coder *coder;
    struct codec_plan *plan = malloc(sizeof *plan), *before = malloc(sizeof *before);
    assert_non_null(plan);
    assert_non_null(before);
    assert_int_equal(codec_coder_new(&profile, &coder, NULL), LILIO_OK);
    memset(plan, 0x3c, sizeof *plan);
    memcpy(before, plan, sizeof *before);
    for (size_t i = 0; i < 2; i++) {
        defect = defects[i];
        assert_int_equal(codec_plan_make(coder, 0x3c, 0x03, plan, NULL), LILIO_E_SINGULAR);
        defect = SOUND;
        assert_memory_equal(plan, before, sizeof *plan);
    }
    codec_coder_free(&coder);
    free(plan);
    free(before);
}

/* Each allocation fails once, until a run meets no failure; what was allocated is freed (the leak
 * check of the sanitizer build sees to that). */
static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    enum lilio_err err = LILIO_E_NOMEM;
    int failed = 0;
    for (; err != LILIO_OK; failed++) {
        allocations_until_failure = failed;
        err = codec_self_test(NULL);
        bool met = allocations_until_failure < 0;
        allocations_until_failure = -1;
        assert_int_equal(err, met ? LILIO_E_NOMEM : LILIO_OK);
    }
    assert_int_equal(failed - 1, 2 * CODEC_GOLDEN_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound_machine_passes),
        cmocka_unit_test(test_spoiled_golden_is_seen),
        cmocka_unit_test(test_golden_covers_what_is_shipped),
        cmocka_unit_test(test_every_defect_is_seen),
        cmocka_unit_test(test_failed_inversion_is_never_a_plan),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
