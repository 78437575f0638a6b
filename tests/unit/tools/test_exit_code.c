/* Aim: exit codes are what scripts were promised, and every error of the one table has one.
 * Method: the promised pairs written out; the whole table walked. */
#include "tools/exit_code.h"

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static void test_promises(void **state)
{
    (void)state;
    static const struct {
        enum lilio_err err;
        int code;
    } pairs[] = {
        {LILIO_OK, 0},
        {LILIO_E_IO, 1},
        {LILIO_E_ADDRESS, 1},
        {LILIO_E_LOCKED, 1},
        {LILIO_E_FOREIGN, 1},
        {LILIO_E_INVALID, 2},
        {LILIO_E_CONFIG, 2},
        {LILIO_E_TOO_BIG, 2},
        {LILIO_E_NOT_FOUND, 3},
        {LILIO_E_NO_BUCKET, 3},
        {LILIO_E_NO_KEY, 3},
        {LILIO_E_EXISTS, 4},
        {LILIO_E_PRECONDITION, 4},
        {LILIO_E_NOT_EMPTY, 4},
        {LILIO_E_TIMEOUT, 5},
        {LILIO_E_UNAVAILABLE, 5},
        {LILIO_E_NO_QUORUM, 5},
        {LILIO_E_NO_SPACE, 5},
        {LILIO_E_BUSY, 5},
        {LILIO_E_OUTCOME_UNKNOWN, 6},
        {LILIO_E_DAMAGED, 7},
        {LILIO_E_CORRUPT, 7},
        {LILIO_E_MISSING, 7},
        {LILIO_E_LOST, 8},
        {LILIO_E_CANCELLED, 130},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        assert_int_equal(tools_exit_code(pairs[i].err), pairs[i].code);
}

static void test_only_success_is_zero(void **state)
{
    (void)state;
    static const enum lilio_err all[] = {
#define X(name, number, class, text) LILIO_E_##name,
        LILIO_ERR_TABLE(X)
#undef X
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        int code = tools_exit_code(all[i]);
        assert_true(all[i] == LILIO_OK ? code == 0 : (code >= 1 && code <= 8) || code == 130);
    }
    assert_int_equal(tools_exit_code((enum lilio_err)(-9999)), TOOLS_EXIT_FAILURE);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_promises),
        cmocka_unit_test(test_only_success_is_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
