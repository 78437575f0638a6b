/* Aim: every buffer belongs to one taker, running out is an answer, memory is used only where it
 * was taken. Method: all buffers at once with a pattern each; threads that take and give and check
 * their pattern. */
#include "base/pool.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/types.h"
#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static void test_exhaustion(void **state)
{
    (void)state;
    enum { COUNT = 37, BYTES = 5000 };
    struct base_pool *pool = NULL;
    assert_int_equal(base_pool_new(BYTES, COUNT, &pool), LILIO_OK);
    assert_int_equal(base_pool_buffer_bytes(pool), 8192);
    uint8_t *buffers[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(base_pool_available(pool), COUNT - i);
        buffers[i] = base_pool_take(pool);
        assert_non_null(buffers[i]);
        assert_int_equal((uintptr_t)buffers[i] % 4096, 0);
        memset(buffers[i], (int)i, 8192);
    }
    assert_null(base_pool_take(pool));
    for (unsigned i = 0; i < COUNT; i++)
        for (unsigned j = 0; j < 8192; j++)
            assert_int_equal(buffers[i][j], i);
    base_pool_give(pool, buffers[9]);
    base_pool_give(pool, buffers[20]);
    assert_ptr_equal(base_pool_take(pool), buffers[20]); /* last given, first taken */
    assert_ptr_equal(base_pool_take(pool), buffers[9]);
    assert_null(base_pool_take(pool));
    for (unsigned i = 0; i < COUNT; i++)
        base_pool_give(pool, buffers[i]);
    base_pool_free(&pool);
    assert_null(pool);
    base_pool_free(&pool);
}

static void test_impossible_sizes(void **state)
{
    (void)state;
    struct base_pool *pool = NULL;
    assert_int_equal(base_pool_new(SIZE_MAX, 1, &pool), LILIO_E_NOMEM);
    assert_int_equal(base_pool_new((size_t)1 << 40, 1 << 30, &pool), LILIO_E_NOMEM);
    assert_int_equal(base_pool_new(0, 4, &pool), LILIO_E_NOMEM);
    assert_null(pool);
    assert_int_equal(base_pool_new(4096, 0, &pool), LILIO_OK);
    assert_null(base_pool_take(pool));
    base_pool_free(&pool);
}

static size_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %lu", &pages), 1);
    (void)fclose(file);
    return pages * 4096;
}

/* A gigabyte is reserved, one buffer used over and over: a few huge pages at most. */
static void test_untouched_costs_nothing(void **state)
{
    (void)state;
    struct base_pool *pool = NULL;
    size_t before = resident_bytes();
    assert_int_equal(base_pool_new(1 << 20, 1024, &pool), LILIO_OK);
    for (int i = 0; i < 1000; i++) {
        uint8_t *buffer = base_pool_take(pool);
        buffer[i] = 1;
        base_pool_give(pool, buffer);
    }
    assert_true(resident_bytes() < before + (8 << 20));
    base_pool_free(&pool);
}

enum { THREADS = 4, ROUNDS = 20000, SHARED = 6 };

static void *take_and_give(void *context)
{
    struct base_pool *pool = context;
    uint64_t mark = (uint64_t)(uintptr_t)&mark; /* differs between threads */
    size_t failures = 0;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t *a = base_pool_take(pool), *b = base_pool_take(pool);
        if (a)
            a[0] = a[511] = mark;
        if (b)
            b[0] = b[511] = mark + 1;
        failures += a && (a[0] != mark || a[511] != mark);
        failures += b && (b[0] != mark + 1 || b[511] != mark + 1);
        if (a)
            base_pool_give(pool, a);
        if (b)
            base_pool_give(pool, b);
    }
    return (void *)failures;
}

static void test_threads(void **state)
{
    (void)state;
    struct base_pool *pool = NULL;
    assert_int_equal(base_pool_new(4096, SHARED, &pool), LILIO_OK);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, pool), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failures;
        assert_int_equal(pthread_join(threads[i], &failures), 0);
        assert_null(failures);
    }
    assert_int_equal(base_pool_available(pool), SHARED);
    base_pool_free(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exhaustion),
        cmocka_unit_test(test_impossible_sizes),
        cmocka_unit_test(test_untouched_costs_nothing),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
