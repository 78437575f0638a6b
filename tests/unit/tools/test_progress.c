/* Aim: bar, rate and time to go are right and never overflow their line, whatever the numbers.
 * Method: the pure functions with chosen numbers. */
#include "tools/progress.h"

#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static void test_remaining(void **state)
{
    (void)state;
    assert_true(tools_progress_remaining_ms(25, 100, 1000) == 3000);
    assert_true(tools_progress_remaining_ms(100, 100, 1000) == 0);
    assert_true(tools_progress_remaining_ms(0, 100, 1000) == UINT64_MAX);
    assert_true(tools_progress_remaining_ms(5, UINT64_MAX, 1000) == UINT64_MAX);
    assert_true(tools_progress_remaining_ms(101, 100, 1000) == UINT64_MAX);
    assert_true(tools_progress_remaining_ms(1, UINT64_MAX - 1, UINT64_MAX) == UINT64_MAX);
}

static void test_lines(void **state)
{
    (void)state;
    char line[TOOLS_PROGRESS_LINE];
    tools_progress_line("put", 250000000, 1000000000, 1000, line);
    assert_non_null(strstr(line, "put [======>"));
    assert_non_null(strstr(line, " 25 %"));
    assert_non_null(strstr(line, "250.0 MB"));
    assert_non_null(strstr(line, "250 MB/s"));
    assert_non_null(strstr(line, "  3 s to go"));
    tools_progress_line("put", 1000, 1000, 1000, line);
    assert_non_null(strstr(line, "100 %"));
    assert_null(strchr(line, '>'));
    tools_progress_line("put", 5000000, UINT64_MAX, 1000, line);
    assert_string_equal(line, "put  5.0 MB  5.00 MB/s");
    tools_progress_line("put", 0, 1000, 0, line);
    assert_non_null(strstr(line, "  0 %"));
    assert_non_null(strstr(line, "? to go"));
}

static void test_a_long_label_is_cut(void **state)
{
    (void)state;
    char label[1100], line[TOOLS_PROGRESS_LINE];
    memset(label, 'k', sizeof label - 1);
    label[sizeof label - 1] = '\0';
    tools_progress_line(label, UINT64_MAX - 1, UINT64_MAX - 1, UINT64_MAX, line);
    assert_true(strlen(line) < TOOLS_PROGRESS_LINE);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remaining),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_a_long_label_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
