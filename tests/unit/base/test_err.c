/* Aim: an error's number, name and class never change; texts for humans are cut, never overrun.
 * Method: a second, hand-kept copy of the table; texts longer than the room. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static const struct {
    int number;
    const char *name;
    enum lilio_err_class class;
} pinned[] = {
    {0, "OK", LILIO_CLASS_OK},
    {-1, "INTERNAL", LILIO_CLASS_FATAL},
    {-2, "NOMEM", LILIO_CLASS_RETRY},
    {-3, "INVALID", LILIO_CLASS_CALLER},
    {-4, "TOO_BIG", LILIO_CLASS_CALLER},
    {-5, "NOT_FOUND", LILIO_CLASS_CALLER},
    {-6, "NO_BUCKET", LILIO_CLASS_CALLER},
    {-7, "NO_KEY", LILIO_CLASS_CALLER},
    {-8, "EXISTS", LILIO_CLASS_CALLER},
    {-9, "PRECONDITION", LILIO_CLASS_CALLER},
    {-10, "NOT_EMPTY", LILIO_CLASS_CALLER},
    {-11, "UNSUPPORTED", LILIO_CLASS_CALLER},
    {-12, "MALFORMED", LILIO_CLASS_CALLER},
    {-13, "TIMEOUT", LILIO_CLASS_RETRY},
    {-14, "UNAVAILABLE", LILIO_CLASS_RETRY},
    {-15, "BUSY", LILIO_CLASS_RETRY},
    {-16, "NO_SPACE", LILIO_CLASS_RETRY},
    {-17, "OUTCOME_UNKNOWN", LILIO_CLASS_RETRY},
    {-18, "VERSION_GONE", LILIO_CLASS_RETRY},
    {-19, "NOT_LEADER", LILIO_CLASS_REDIRECT},
    {-20, "STALE_EPOCH", LILIO_CLASS_REDIRECT},
    {-21, "WRONG_OSD", LILIO_CLASS_REDIRECT},
    {-22, "MISSING", LILIO_CLASS_REPAIR},
    {-23, "CORRUPT", LILIO_CLASS_REPAIR},
    {-24, "DAMAGED", LILIO_CLASS_REPAIR},
    {-25, "LOST", LILIO_CLASS_REPAIR},
    {-26, "CONFLICT", LILIO_CLASS_FATAL},
    {-27, "SESSION_CLOSED", LILIO_CLASS_CALLER},
    {-28, "IO", LILIO_CLASS_FATAL},
    {-29, "READ_ONLY", LILIO_CLASS_FATAL},
    {-30, "BLANK", LILIO_CLASS_RETRY},
    {-31, "FOREIGN", LILIO_CLASS_FATAL},
    {-32, "LOCKED", LILIO_CLASS_FATAL},
    {-33, "FORMAT", LILIO_CLASS_FATAL},
    {-34, "CANCELLED", LILIO_CLASS_CALLER},
    {-35, "EXHAUSTED", LILIO_CLASS_RETRY},
    {-36, "NO_QUORUM", LILIO_CLASS_RETRY},
    {-37, "ADDRESS", LILIO_CLASS_FATAL},
    {-38, "CONFIG", LILIO_CLASS_CALLER},
    {-39, "SINGULAR", LILIO_CLASS_FATAL},
    {-40, "DENIED", LILIO_CLASS_CALLER},
};
enum { PINNED_COUNT = sizeof pinned / sizeof *pinned };

static void test_numbers_are_pinned(void **state)
{
    (void)state;
    for (size_t i = 0; i < PINNED_COUNT; i++) {
        enum lilio_err err = (enum lilio_err)pinned[i].number;
        assert_string_equal(lilio_err_name(err), pinned[i].name);
        assert_int_equal(lilio_err_class(err), pinned[i].class);
        assert_string_not_equal(lilio_err_text(err), "unknown error");
    }
#define X(name, number, class, text) +1
    assert_int_equal(0 LILIO_ERR_TABLE(X), PINNED_COUNT); /* a new code is pinned, too */
#undef X
}

static void test_classes_are_pinned(void **state)
{
    (void)state;
    assert_int_equal(LILIO_CLASS_OK, 0);
    assert_int_equal(LILIO_CLASS_RETRY, 1);
    assert_int_equal(LILIO_CLASS_REDIRECT, 2);
    assert_int_equal(LILIO_CLASS_REPAIR, 3);
    assert_int_equal(LILIO_CLASS_CALLER, 4);
    assert_int_equal(LILIO_CLASS_FATAL, 5);
}

static void test_foreign_numbers(void **state)
{
    (void)state;
    const int foreign[] = {1, -9999, 28, -PINNED_COUNT};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        enum lilio_err err = (enum lilio_err)foreign[i];
        assert_string_equal(lilio_err_name(err), "UNKNOWN");
        assert_string_equal(lilio_err_text(err), "unknown error");
        assert_int_equal(lilio_err_class(err), LILIO_CLASS_FATAL);
    }
}

static void test_errno(void **state)
{
    (void)state;
    assert_int_equal(lilio_err_from_errno(ENOSPC), LILIO_E_NO_SPACE);
    assert_int_equal(lilio_err_from_errno(EDQUOT), LILIO_E_NO_SPACE);
    assert_int_equal(lilio_err_from_errno(EROFS), LILIO_E_READ_ONLY);
    assert_int_equal(lilio_err_from_errno(ENOENT), LILIO_E_NOT_FOUND);
    assert_int_equal(lilio_err_from_errno(EEXIST), LILIO_E_EXISTS);
    assert_int_equal(lilio_err_from_errno(ENOMEM), LILIO_E_NOMEM);
    assert_int_equal(lilio_err_from_errno(EIO), LILIO_E_IO);
    assert_int_equal(lilio_err_from_errno(EACCES), LILIO_E_IO);
    assert_int_equal(lilio_err_from_errno(0), LILIO_E_IO); /* an unexplained failure is one */
}

static void test_fail_and_prefix(void **state)
{
    (void)state;
    struct lilio_errinfo info = {0};
    assert_int_equal(lilio_fail(&info, LILIO_E_IO, "disk %d", 3), LILIO_E_IO);
    assert_int_equal(info.err, LILIO_E_IO);
    assert_string_equal(info.text, "disk 3");
    assert_int_equal(lilio_prefix(&info, LILIO_E_IO, "osd.%d", 1), LILIO_E_IO);
    assert_string_equal(info.text, "osd.1: disk 3");
    /* Another error's text is not kept under a new number. */
    assert_int_equal(lilio_prefix(&info, LILIO_E_BUSY, "put"), LILIO_E_BUSY);
    assert_string_equal(info.text, "put: busy");
    assert_int_equal(lilio_fail(NULL, LILIO_E_IO, "nobody listens"), LILIO_E_IO);
    assert_int_equal(lilio_prefix(NULL, LILIO_E_IO, "nobody listens"), LILIO_E_IO);
}

static void fits(const char *text, size_t room, const char *expected)
{
    char ret[64];
    memset(ret, '#', sizeof ret);
    assert_int_equal(lilio_text_fit(text, strlen(text), ret, room), strlen(expected));
    assert_string_equal(ret, expected);
    assert_int_equal(ret[room], '#');
}

static void test_texts_are_cut_behind_a_word(void **state)
{
    (void)state;
    fits("", 8, "");
    fits("seven 7", 8, "seven 7");
    fits("fragment 1 at osd.2", 20, "fragment 1 at osd.2");
    fits("fragment 1 at osd.2", 19, "fragment 1 at ...");
    fits("fragment 1 at osd.2", 18, "fragment 1 at ...");
    fits("fragment 1 at osd.2", 17, "fragment 1 ...");
    fits("missing; fragment 2", 15, "missing ...");
    fits("a_key_of_one_word_only", 12, "a_key_of...");
    fits("a key_of_one_word_only", 12, "a key_of..."); /* the one word would be most of it */
    fits("\u00e4\u00e4\u00e4\u00e4\u00e4", 9, "\u00e4\u00e4...");
    struct lilio_errinfo info = {0};
    char words[700];
    for (size_t i = 0; i < sizeof words; i++)
        words[i] = i % 7 == 6 ? ' ' : 'w';
    words[sizeof words - 1] = '\0';
    lilio_fail(&info, LILIO_E_IO, "%s", words);
    assert_string_equal(info.text + strlen(info.text) - 10, "wwwwww ...");
}

static void test_long_texts_are_cut(void **state)
{
    (void)state;
    struct lilio_errinfo info = {0};
    char text[2000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    lilio_fail(&info, LILIO_E_IO, "%s", text);
    assert_int_equal(strlen(info.text), sizeof info.text - 1);
    for (int i = 0; i < 3; i++)
        lilio_prefix(&info, LILIO_E_IO, "layer %d", i);
    assert_int_equal(strlen(info.text), sizeof info.text - 1);
    assert_memory_equal(info.text, "layer 2: layer 1: layer 0: xxx", 30);
    lilio_prefix(&info, LILIO_E_IO, "%s", text);
    assert_int_equal(strlen(info.text), sizeof info.text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_pinned),
        cmocka_unit_test(test_classes_are_pinned),
        cmocka_unit_test(test_foreign_numbers),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_fail_and_prefix),
        cmocka_unit_test(test_texts_are_cut_behind_a_word),
        cmocka_unit_test(test_long_texts_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
