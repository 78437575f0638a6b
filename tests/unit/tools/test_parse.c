/* Aim: what users write is understood exactly or refused with a sentence, and a refusal leaves the
 * result alone. Method: tables of texts at the edges of each form. */
#include "tools/parse.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static void refused(enum lilio_err err, const struct lilio_errinfo *info, const char *text)
{
    if (err != LILIO_E_INVALID || !info->text[0])
        fail_msg("'%s' was not refused with a reason: %d", text, err);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {
        {"0", 0},
        {"1", 1},
        {"4096", 4096},
        {"4096B", 4096},
        {"64KiB", 65536},
        {"4MiB", 4194304},
        {"3GiB", 3221225472},
        {"1TiB", 1099511627776},
        {"5MB", 5000000},
        {"2GB", 2000000000},
        {"18446744073709551615", UINT64_MAX},
    };
    static const char *const bad[] = {"",
                                      "x",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "4M",
                                      "4mib",
                                      "4 MiB",
                                      "4.5MiB",
                                      "MiB",
                                      "0x10",
                                      "1KiBx",
                                      "18446744073709551616",
                                      "17179869184GiB"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t value = 77;
        assert_int_equal(tools_parse_size(good[i].text, &value, NULL), LILIO_OK);
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct lilio_errinfo info = {0};
        uint64_t value = 77;
        refused(tools_parse_size(bad[i], &value, &info), &info, bad[i]);
        assert_true(value == 77);
    }
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"0", 0},       {"10", 10000},    {"250ms", 250},  {"3s", 3000},
                {"5m", 300000}, {"5min", 300000}, {"1h", 3600000}, {"2d", 172800000}};
    static const char *const bad[] = {"", "s", "-3s", "3 s", "1.5s", "3sec", "99999999999999999d"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t ms = 77;
        assert_int_equal(tools_parse_duration(good[i].text, &ms, NULL), LILIO_OK);
        assert_true(ms == good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct lilio_errinfo info = {0};
        uint64_t ms = 77;
        refused(tools_parse_duration(bad[i], &ms, &info), &info, bad[i]);
        assert_true(ms == 77);
    }
}

static void test_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct lilio_range range;
    } good[] = {
        {"0-0", {LILIO_RANGE_FROM_TO, 0, 0}},
        {"5-99", {LILIO_RANGE_FROM_TO, 5, 99}},
        {"7-", {LILIO_RANGE_FROM, 7, 0}},
        {"-500", {LILIO_RANGE_LAST, 0, 500}},
    };
    static const char *const bad[] = {"",
                                      "-",
                                      "5",
                                      "5-2",
                                      "-0",
                                      "--5",
                                      "1-2-3",
                                      "a-b",
                                      "1-x",
                                      "x-1",
                                      "1 -2",
                                      "1-2 ",
                                      "99999999999999999999-"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct lilio_range range = {0};
        assert_int_equal(tools_parse_range(good[i].text, &range, NULL), LILIO_OK);
        assert_int_equal(range.kind, good[i].range.kind);
        assert_true(range.first == good[i].range.first && range.last == good[i].range.last);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct lilio_errinfo info = {0};
        struct lilio_range range = {.first = 77};
        refused(tools_parse_range(bad[i], &range, &info), &info, bad[i]);
        assert_true(range.first == 77 && range.kind == LILIO_RANGE_ALL);
    }
}

static void test_versions(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      "1",    "1.",  ".1",   "0.0",
                                      "1.2.3", "v1.0", "1.x", "-1.0", "1.4294967296"};
    struct lilio_version version = {0};
    assert_int_equal(tools_parse_version("123.4", &version, NULL), LILIO_OK);
    assert_true(version.index == 123 && version.ordinal == 4);
    assert_int_equal(tools_parse_version("1.4294967295", &version, NULL), LILIO_OK);
    assert_true(version.ordinal == UINT32_MAX);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct lilio_errinfo info = {0};
        refused(tools_parse_version(bad[i], &version, &info), &info, bad[i]);
    }
    assert_true(version.index == 1);
}

static void test_osds_and_numbers(void **state)
{
    (void)state;
    static const char *const bad[] = {"",   "osd.", "osd.x",         "osd",
                                      "3x", "-1",   "coordinator.0", "4294967296"};
    uint32_t osd = 77;
    uint64_t number = 77;
    assert_int_equal(tools_parse_osd("3", &osd, NULL), LILIO_OK);
    assert_int_equal(osd, 3);
    assert_int_equal(tools_parse_osd("osd.12", &osd, NULL), LILIO_OK);
    assert_int_equal(osd, 12);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct lilio_errinfo info = {0};
        refused(tools_parse_osd(bad[i], &osd, &info), &info, bad[i]);
    }
    assert_int_equal(osd, 12);
    assert_int_equal(tools_parse_number("5", "a number", 5, 9, &number, NULL), LILIO_OK);
    assert_int_equal(tools_parse_number("9", "a number", 5, 9, &number, NULL), LILIO_OK);
    assert_int_equal(tools_parse_number("4", "a number", 5, 9, &number, NULL), LILIO_E_INVALID);
    assert_int_equal(tools_parse_number("10", "a number", 5, 9, &number, NULL), LILIO_E_INVALID);
    assert_int_equal(tools_parse_number("", "a number", 0, 9, &number, NULL), LILIO_E_INVALID);
    assert_true(number == 9);
}

static void test_profiles(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "4", "4+", "+2", "0+2", "4+20", "33+1", "4+2+1", "four"};
    struct lilio_profile profile = {0};
    assert_int_equal(tools_parse_profile("6+3", &profile, NULL), LILIO_OK);
    assert_true(profile.data_count == 6 && profile.parity_count == 3 && profile.fragment_size == 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct lilio_errinfo info = {0};
        refused(tools_parse_profile(bad[i], &profile, &info), &info, bad[i]);
    }
}

static void test_listen(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         "host",    "host:",      ":7100",
                                      "host:x",   "host:-1", "host:65536", "[]:7100",
                                      "::1:7100", "[::1]",   "[::1:7100",  "[[::1]]:7100"};
    char host[256] = "untouched";
    uint32_t port = 77;
    assert_int_equal(tools_parse_listen("127.0.0.1:7100", host, &port, NULL), LILIO_OK);
    assert_string_equal(host, "127.0.0.1");
    assert_int_equal(port, 7100);
    assert_int_equal(tools_parse_listen("[::1]:7101", host, &port, NULL), LILIO_OK);
    assert_string_equal(host, "::1");
    assert_int_equal(port, 7101);
    assert_int_equal(tools_parse_listen("localhost:0", host, &port, NULL), LILIO_OK);
    assert_int_equal(port, 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct lilio_errinfo info = {0};
        refused(tools_parse_listen(bad[i], host, &port, &info), &info, bad[i]);
    }
    assert_string_equal(host, "localhost");
}

static void test_coordinator(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "coordinator.", "osd.1", "-1", "1024", "1x"};
    uint32_t id = 77;
    assert_int_equal(tools_parse_coordinator("0", &id, NULL), LILIO_OK);
    assert_int_equal(id, 0);
    assert_int_equal(tools_parse_coordinator("coordinator.1023", &id, NULL), LILIO_OK);
    assert_int_equal(id, 1023);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct lilio_errinfo info = {0};
        refused(tools_parse_coordinator(bad[i], &id, &info), &info, bad[i]);
    }
}

static void test_names(void **state)
{
    (void)state;
    struct tools_name name;
    assert_int_equal(tools_parse_object("b/k", &name, NULL), LILIO_OK);
    assert_string_equal(name.bucket, "b");
    assert_string_equal(name.key, "k");
    assert_int_equal(tools_parse_object("my.bucket-1/../../etc//passwd/", &name, NULL), LILIO_OK);
    assert_string_equal(name.bucket, "my.bucket-1");
    assert_string_equal(name.key, "../../etc//passwd/");
    assert_int_equal(tools_parse_object("b//x", &name, NULL), LILIO_OK);
    assert_string_equal(name.key, "/x");
    assert_int_equal(tools_parse_prefix("b", &name, NULL), LILIO_OK);
    assert_string_equal(name.key, "");
    assert_int_equal(tools_parse_prefix("b/", &name, NULL), LILIO_OK);
    assert_string_equal(name.key, "");
    assert_int_equal(tools_parse_bucket("b/", &name, NULL), LILIO_OK);
    assert_string_equal(name.bucket, "b");
}

static void test_bad_names(void **state)
{
    (void)state;
    static const char *const objects[] = {
        "",         "b",       "b/",         "/k",         "UPPER/k",        "under_score/k",
        "sp ace/k", "b\xff/k", "b/\xff\xfe", "b/\xc0\xaf", "b/\xed\xa0\x80", "b/\xf4\x90\x80\x80",
        "b/x\x80",
    };
    struct tools_name name;
    char text[2048];
    for (size_t i = 0; i < sizeof objects / sizeof objects[0]; i++) {
        struct lilio_errinfo info = {0};
        refused(tools_parse_object(objects[i], &name, &info), &info, objects[i]);
    }
    assert_int_equal(tools_parse_bucket("a/b", &name, NULL), LILIO_E_INVALID);
    memset(text, 'x', sizeof text);
    text[TOOLS_BUCKET_MAX] = '\0';
    assert_int_equal(tools_parse_bucket(text, &name, NULL), LILIO_OK);
    text[TOOLS_BUCKET_MAX] = 'x';
    text[TOOLS_BUCKET_MAX + 1] = '\0';
    assert_int_equal(tools_parse_bucket(text, &name, NULL), LILIO_E_INVALID);
    memset(text, 'x', sizeof text);
    text[1] = '/';
    text[2 + TOOLS_KEY_MAX] = '\0';
    assert_int_equal(tools_parse_object(text, &name, NULL), LILIO_OK);
    text[2 + TOOLS_KEY_MAX] = 'x';
    text[2 + TOOLS_KEY_MAX + 1] = '\0';
    assert_int_equal(tools_parse_object(text, &name, NULL), LILIO_E_INVALID);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_osds_and_numbers),
        cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_coordinator),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_bad_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
