/* Aim: only profiles of the format are accepted, and a refusal says which rule was broken.
 * Method: tables of texts and of profiles with the answer that each must get; a refusal must leave
 * the result alone. */
#include "codec/codec.h"
#include "tests/unit/codec/cmocka_all.h"
#include "tests/unit/codec/reference.h"

#include <stdio.h>

#include "base/banned.h"

static void test_every_profile_parses(void **state)
{
    (void)state;
    for (uint32_t data = 1; data <= CODEC_DATA_MAX; data++)
        for (uint32_t parity = 0; parity <= CODEC_PARITY_MAX; parity++) {
            char text[16];
            struct codec_profile profile;
            snprintf(text, sizeof text, "%u+%u", data, parity);
            assert_int_equal(codec_profile_parse(text, &profile, NULL), LILIO_OK);
            assert_int_equal(profile.data_count, data);
            assert_int_equal(profile.parity_count, parity);
            assert_int_equal(profile.fragment_size, 1024 * 1024);
            assert_int_equal(profile.generator, data == 1 ? CODEC_COPY1 : CODEC_CAUCHY1);
            assert_int_equal(codec_profile_total(&profile), data + parity);
            assert_int_equal(codec_profile_check(&profile, NULL), LILIO_OK);
        }
}

static void test_bad_texts_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"", "4+2"},
        {"4", "4+2"},
        {"+", "4+2"},
        {"4+", "4+2"},
        {"+2", "4+2"},
        {"4-2", "4+2"},
        {"4+2 ", "4+2"},
        {" 4+2", "4+2"},
        {"4 +2", "4+2"},
        {"4+ 2", "4+2"},
        {"4++2", "4+2"},
        {"-4+2", "4+2"},
        {"4+-2", "4+2"},
        {"04+2", "4+2"},
        {"4+02", "4+2"},
        {"4+2+1", "4+2"},
        {"4+2x", "4+2"},
        {"0x4+2", "4+2"},
        {"4.0+2", "4+2"},
        {"\xc3\xa9+2", "4+2"},
        {"0+2", "data count 0 is not within 1 to 32"},
        {"33+1", "data count 33 is not within 1 to 32"},
        {"4+20", "parity count 20 is not within 0 to 16"},
        {"4+17", "parity count 17 is not within 0 to 16"},
        {"4294967300+2", "data count 9999 is not within 1 to 32"},
        {"4+18446744073709551618", "parity count 9999 is not within 0 to 16"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct codec_profile profile, before;
        struct lilio_errinfo info = {0};
        memset(&profile, 0x5a, sizeof profile);
        before = profile;
        assert_int_equal(codec_profile_parse(bad[i].text, &profile, &info), LILIO_E_INVALID);
        assert_int_equal(info.err, LILIO_E_INVALID);
        assert_non_null(strstr(info.text, bad[i].reason));
        assert_memory_equal(&profile, &before, sizeof profile);
    }
}

static void test_check_names_the_rule(void **state)
{
    (void)state;
    static const struct {
        struct codec_profile profile;
        enum lilio_err err;
        const char *reason;
    } cases[] = {
        {{4, 2, 4096, CODEC_CAUCHY1}, LILIO_OK, ""},
        {{4, 2, 4 * 1024 * 1024, CODEC_CAUCHY1}, LILIO_OK, ""},
        {{1, 0, 4096, CODEC_COPY1}, LILIO_OK, ""},
        {{32, 16, 8192, CODEC_CAUCHY1}, LILIO_OK, ""},
        {{0, 2, 4096, CODEC_CAUCHY1}, LILIO_E_INVALID, "data count"},
        {{33, 2, 4096, CODEC_CAUCHY1}, LILIO_E_INVALID, "data count"},
        {{UINT32_MAX, 2, 4096, CODEC_CAUCHY1}, LILIO_E_INVALID, "data count"},
        {{4, 17, 4096, CODEC_CAUCHY1}, LILIO_E_INVALID, "parity count"},
        {{4, UINT32_MAX, 4096, CODEC_CAUCHY1}, LILIO_E_INVALID, "parity count"},
        {{4, 2, 0, CODEC_CAUCHY1}, LILIO_E_INVALID, "fragment size"},
        {{4, 2, 4032, CODEC_CAUCHY1}, LILIO_E_INVALID, "fragment size"},
        {{4, 2, 4160, CODEC_CAUCHY1}, LILIO_E_INVALID, "fragment size"},
        {{4, 2, 4 * 1024 * 1024 + 4096, CODEC_CAUCHY1}, LILIO_E_INVALID, "fragment size"},
        {{4, 2, 4096, 0}, LILIO_E_UNSUPPORTED, "generator 0"},
        {{4, 2, 4096, 3}, LILIO_E_UNSUPPORTED, "generator 3"},
        {{4, 2, 4096, CODEC_COPY1}, LILIO_E_INVALID, "does not fit"},
        {{1, 2, 4096, CODEC_CAUCHY1}, LILIO_E_INVALID, "does not fit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct lilio_errinfo info = {0};
        struct codec_coder *coder = NULL;
        assert_int_equal(codec_profile_check(&cases[i].profile, &info), cases[i].err);
        assert_non_null(strstr(info.text, cases[i].reason));
        /* The coder refuses the same profiles, and leaves its result alone then. */
        assert_int_equal(codec_coder_new(&cases[i].profile, &coder, NULL), cases[i].err);
        assert_int_equal(coder != NULL, cases[i].err == LILIO_OK);
        codec_coder_free(&coder);
    }
}

/* These numbers are in stored rows and records. */
static void test_format_numbers_are_pinned(void **state)
{
    (void)state;
    assert_int_equal(CODEC_COPY1, 1);
    assert_int_equal(CODEC_CAUCHY1, 2);
    assert_int_equal(CODEC_DATA_MAX, 32);
    assert_int_equal(CODEC_PARITY_MAX, 16);
    assert_int_equal(CODEC_TOTAL_MAX, 48);
    assert_int_equal(CODEC_ALIGN, 64);
    assert_int_equal(CODEC_BLOCK, 65536);
    assert_int_equal(CODEC_FRAGMENT_MIN, 4096);
    assert_int_equal(CODEC_FRAGMENT_MAX, 4194304);
    assert_int_equal(CODEC_FRAGMENT_DEFAULT, 1048576);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_profile_parses),
        cmocka_unit_test(test_bad_texts_are_refused),
        cmocka_unit_test(test_check_names_the_rule),
        cmocka_unit_test(test_format_numbers_are_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
