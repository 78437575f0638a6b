/* Aim: values name themselves, and versions alone prove doubled writes and reads that go back.
 * Method: every offset and size of some values, one flipped byte each; small histories by hand.
 */
#include "tests/support/cmocka_all.h"

#include <string.h>

#include "tests/sim/history.h"

#include "base/banned.h"

static struct sim_history history;

static int setup(void **unused)
{
    (void)unused;
    sim_history_release(&history);
    return 0;
}

static void any_word_names_its_value(void **unused)
{
    (void)unused;
    uint64_t id = sim_value_id(0x1234, 0x56, 789, false);
    uint8_t whole[200], part[200];
    sim_value_fill(id, 0, whole, sizeof whole);
    for (size_t from = 0; from < 100; from++)
        for (size_t size = 0; size < 90; size++) {
            sim_value_fill(id, from, part, size);
            assert_memory_equal(part, whole + from, size);
            uint64_t named = sim_value_identify(from, part, size);
            assert_true(named == id || (named == 0 && size < 15));
            assert_true(sim_value_matches(id, from, part, size, NULL));
            assert_true(size == 0 || !sim_value_matches(id, from + 1, part, size, NULL));
        }
}

static void one_wrong_bit_is_seen(void **unused)
{
    (void)unused;
    uint64_t id = sim_value_id(1, 2, 3, false);
    uint8_t bytes[64];
    sim_value_fill(id, 5, bytes, sizeof bytes);
    for (size_t i = 0; i < 8 * sizeof bytes; i++) {
        size_t at = SIZE_MAX;
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_false(sim_value_matches(id, 5, bytes, sizeof bytes, &at));
        assert_int_equal(at, i / 8);
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
}

static size_t add(enum sim_op_kind kind, uint64_t value, uint64_t version, bool ends)
{
    size_t place = sim_history_begin(
        &history,
        (struct sim_op){.kind = (uint8_t)kind, .key = 1, .value = value, .version = {version, 0}},
        0);
    if (ends)
        sim_history_end(&history, place, SIM_DONE, 0);
    return place;
}

static void expect_good(bool good)
{
    char text[1024] = "";
    bool found = sim_history_versions_good(&history, text);
    if (found != good)
        print_error("%s\n", text);
    assert_int_equal(found, good);
}

static void right_histories_pass(void **unused)
{
    (void)unused;
    add(SIM_PUT, 10, 1, true);
    size_t late = add(SIM_GET, 10, 1, false);
    add(SIM_PUT, 11, 2, true);
    add(SIM_GET, 11, 2, true);
    add(SIM_GET, 0, 0, true); /* nothing there: no version */
    sim_history_end(&history, late, SIM_DONE, 0);
    expect_good(true);
}

static void written_twice_is_seen(void **unused)
{
    (void)unused;
    add(SIM_PUT, 10, 1, true);
    add(SIM_GET, 10, 2, true);
    expect_good(false);
}

static void one_version_of_two_values_is_seen(void **unused)
{
    (void)unused;
    add(SIM_PUT, 10, 1, true);
    add(SIM_GET, 11, 1, true);
    expect_good(false);
}

static void older_version_is_seen(void **unused)
{
    (void)unused;
    add(SIM_PUT, 10, 5, true);
    add(SIM_PUT, 11, 4, true);
    expect_good(false);
    setup(NULL);
    add(SIM_PUT, 10, 4, true);
    add(SIM_PUT, 11, 5, true);
    add(SIM_GET, 10, 4, true);
    expect_good(false);
}

static void empty_values_are_resolved(void **unused)
{
    (void)unused;
    uint64_t empty = sim_value_id(1, 1, 1, true);
    add(SIM_PUT, empty, 5, true);
    size_t get = add(SIM_GET, SIM_ANY_EMPTY, 5, true);
    size_t other = add(SIM_GET, SIM_ANY_EMPTY, 6, true);
    sim_history_resolve(&history);
    assert_true(history.ops[get].value == empty);
    assert_true(history.ops[other].value == SIM_ANY_EMPTY);
    expect_good(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_word_names_its_value),
        cmocka_unit_test(one_wrong_bit_is_seen),
        cmocka_unit_test_setup(right_histories_pass, setup),
        cmocka_unit_test_setup(written_twice_is_seen, setup),
        cmocka_unit_test_setup(one_version_of_two_values_is_seen, setup),
        cmocka_unit_test_setup(older_version_is_seen, setup),
        cmocka_unit_test_setup(empty_values_are_resolved, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sim_history_release(&history);
    return failed;
}
