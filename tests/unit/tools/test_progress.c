/* Aim: bar, rate and time to go are right and never overflow their line, whatever the numbers.
 * Method: the pure functions with chosen numbers. */
#include "tools/progress.h"

#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

/* Two seconds at so many bytes a second. */
static struct base_eta at_rate(uint64_t per_s)
{
    struct base_eta eta = {0};
    for (uint64_t ms = 0; ms <= 2000; ms += 250)
        base_eta_note(&eta, ms, per_s / 4 * (ms / 250));
    return eta;
}

static void test_lines(void **state)
{
    (void)state;
    char line[TOOLS_PROGRESS_LINE];
    struct base_eta eta = at_rate(250000000), none = {0};
    tools_progress_line("put", 250000000, 1000000000, &eta, line);
    assert_non_null(strstr(line, "put [======>"));
    assert_non_null(strstr(line, " 25 %"));
    assert_non_null(strstr(line, "250.0 MB"));
    assert_non_null(strstr(line, "250 MB/s"));
    assert_non_null(strstr(line, "  2-4 s to go"));
    tools_progress_line("put", 250000000, 1000000000000, &eta, line);
    assert_non_null(strstr(line, "  1 h 6 min to go"));
    tools_progress_line("put", 1000, 1000, &eta, line);
    assert_non_null(strstr(line, "100 %"));
    assert_null(strchr(line, '>'));
    eta = at_rate(5000000);
    tools_progress_line("put", 5000000, UINT64_MAX, &eta, line);
    assert_string_equal(line, "put  5.0 MB  5.00 MB/s");
    tools_progress_line("put", 0, 1000, &none, line);
    assert_non_null(strstr(line, "  0 %"));
    assert_non_null(strstr(line, "? to go"));
}

static void test_a_long_label_is_cut(void **state)
{
    (void)state;
    char label[1100], line[TOOLS_PROGRESS_LINE];
    struct base_eta eta = at_rate(1000);
    memset(label, 'k', sizeof label - 1);
    label[sizeof label - 1] = '\0';
    tools_progress_line(label, UINT64_MAX - 1, UINT64_MAX - 1, &eta, line);
    assert_true(strlen(line) < TOOLS_PROGRESS_LINE);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_a_long_label_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
