/* Aim: -r takes a folder and what is below it, never a neighbour that begins alike; it decides what
 * rm deletes. Method: pairs of name and key. */
#include "tools/walk.h"

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static void test_within(void **state)
{
    (void)state;
    assert_true(tools_walk_within("a", "a"));
    assert_true(tools_walk_within("a", "a/b"));
    assert_true(tools_walk_within("a/b", "a/b/c/d"));
    assert_false(tools_walk_within("a", "ab"));
    assert_false(tools_walk_within("a", "a.b"));
    assert_false(tools_walk_within("a/b", "a"));
    assert_true(tools_walk_within("a/", "a/b"));
    assert_true(tools_walk_within("a/", "a/"));
    assert_false(tools_walk_within("a/", "a"));
    assert_true(tools_walk_within("", "anything"));
    assert_true(tools_walk_within("", "/"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_within)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
