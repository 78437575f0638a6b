/* Aim: the table finds what was added and not what was removed, whatever the order.
 * Method: seeded random additions and removals of few keys against an array; a walk that removes.
 */
#include "coord_fixture.h"

#include "coordinator/table.h"

#include "base/banned.h"

enum { KEYS = 500 };

static void agrees_with_model(void **unused)
{
    (void)unused;
    struct coord_table table = {.value_size = sizeof(uint64_t), .limit = 1000};
    uint64_t model[KEYS] = {0}, seed = 42;
    for (uint64_t step = 1; step <= 20000; step++) {
        uint64_t k = fx_random(&seed, KEYS);
        struct coord_table_key key = {k, k % 3};
        if (fx_random(&seed, 3)) {
            uint64_t *value = coord_table_add(&table, key);
            assert_non_null(value);
            assert_int_equal(*value, model[k]);
            *value = model[k] = step;
        } else {
            coord_table_remove(&table, key);
            model[k] = 0;
        }
    }
    size_t there = 0;
    for (uint64_t k = 0; k < KEYS; k++) {
        const uint64_t *value = coord_table_find(&table, (struct coord_table_key){k, k % 3});
        assert_int_equal(value ? *value : 0, model[k]);
        there += value != NULL;
    }
    assert_int_equal(table.count, there);
    coord_table_release(&table);
}

static void limit_holds(void **unused)
{
    (void)unused;
    struct coord_table table = {.value_size = 1, .limit = 10};
    for (uint64_t k = 0; k < 10; k++)
        assert_non_null(coord_table_add(&table, (struct coord_table_key){k, 0}));
    assert_null(coord_table_add(&table, (struct coord_table_key){10, 0}));
    assert_non_null(coord_table_add(&table, (struct coord_table_key){9, 0}));
    coord_table_remove(&table, (struct coord_table_key){0, 0});
    assert_non_null(coord_table_add(&table, (struct coord_table_key){10, 0}));
    coord_table_release(&table);
}

static void walk_removes_all_in_a_few_rounds(void **unused)
{
    (void)unused;
    struct coord_table table = {.value_size = 8, .limit = 1000};
    for (uint64_t k = 0; k < 777; k++)
        assert_non_null(coord_table_add(&table, (struct coord_table_key){k * k, k}));
    for (int round = 0; round < 3; round++) {
        struct coord_table_key key;
        for (size_t cursor = 0; coord_table_next(&table, &cursor, &key); cursor--)
            coord_table_remove(&table, key);
    }
    assert_int_equal(table.count, 0);
    coord_table_release(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_model),
        cmocka_unit_test(limit_holds),
        cmocka_unit_test(walk_removes_all_in_a_few_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
