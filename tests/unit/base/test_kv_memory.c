/* Aim: the store in memory survives the end of memory: an error, no leak, the old rows as they
 * were. Method: the n-th allocation fails, for n = 1, 2, ... until a run meets no failure (the leak
 * checker watches). */
#include "base/kv.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static uint64_t fail_in; /* allocations until one fails; 0 = never */
static bool failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);

static bool strikes(void)
{
    bool now = fail_in > 0 && --fail_in == 0;
    failed |= now;
    return now;
}

void *__wrap_malloc(size_t size)
{
    return strikes() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return strikes() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return strikes() ? NULL : __real_realloc(p, size);
}

static const char *const columns[] = {"one", "two"};

static struct base_slice key(unsigned i, char room[8])
{
    (void)snprintf(room, 8, "k%02u", i);
    return base_slice_str(room);
}

/* Twenty rows "k00" .. "k19" whose values are their keys. */
static struct base_kv *filled_store(void)
{
    struct base_kv *kv = NULL;
    struct base_kv_batch *batch = NULL;
    struct base_kv_options options = {.columns = columns, .column_count = 2};
    assert_int_equal(base_kv_open_memory(&options, &kv, NULL), LILIO_OK);
    assert_int_equal(base_kv_batch_new(kv, &batch), LILIO_OK);
    for (unsigned i = 0; i < 20; i++) {
        char room[8];
        base_kv_batch_put(batch, 0, key(i, room), key(i, room));
    }
    assert_int_equal(base_kv_batch_commit(batch, true, NULL), LILIO_OK);
    base_kv_batch_free(&batch);
    return kv;
}

/* Reads and changes of every kind; the first error ends it. */
static enum lilio_err work(struct base_kv *kv)
{
    char room[8];
    struct base_kv_batch *batch = NULL;
    struct base_kv_iter *iter = NULL;
    struct base_kv_snapshot *snapshot = NULL;
    struct base_buffer value = {0};
    enum lilio_err err = base_kv_batch_new(kv, &batch);
    if (err)
        goto out;
    for (unsigned i = 0; i < 10; i++) {
        base_kv_batch_put(batch, 0, key(2 * i, room), base_slice_str("changed"));
        base_kv_batch_delete(batch, 0, key(2 * i + 1, room));
        base_kv_batch_put(batch, 1, key(i, room), base_slice_str("new"));
        if (i == 5)
            base_kv_batch_mark(batch);
    }
    base_kv_batch_rollback(batch);
    base_kv_batch_delete(batch, 0, key(19, room));
    err = base_kv_snapshot_new(kv, &snapshot);
    err = err ? err : base_kv_get(kv, snapshot, 0, key(3, room), &value, NULL);
    err = err ? err : base_kv_batch_get(batch, 0, key(0, room), &value, NULL);
    err = err ? err : base_kv_iter_new(kv, NULL, batch, 0, &iter);
    if (err)
        goto out;
    unsigned count = 0;
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
         base_kv_iter_next(iter))
        count++;
    assert_int_equal(count, 13);
    err = base_kv_batch_commit(batch, true, NULL);
out:
    base_buffer_release(&value);
    base_kv_iter_free(&iter);
    base_kv_snapshot_free(&snapshot);
    base_kv_batch_free(&batch);
    return err;
}

static unsigned count_rows(struct base_kv *kv, const char *value)
{
    struct base_kv_iter *iter = NULL;
    assert_int_equal(base_kv_iter_new(kv, NULL, NULL, 0, &iter), LILIO_OK);
    unsigned count = 0;
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
         base_kv_iter_next(iter)) {
        struct base_slice expected = value ? base_slice_str(value) : base_kv_iter_key(iter);
        count += base_slice_equal(base_kv_iter_value(iter), expected);
    }
    base_kv_iter_free(&iter);
    return count;
}

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    uint64_t n = 0;
    for (bool again = true; again;) {
        struct base_kv *kv = filled_store();
        failed = false;
        fail_in = ++n;
        enum lilio_err err = work(kv);
        fail_in = 0;
        again = failed;
        assert_int_equal(err, failed ? LILIO_E_NOMEM : LILIO_OK);
        assert_int_equal(count_rows(kv, NULL), failed ? 20 : 7);
        assert_int_equal(count_rows(kv, "changed"), failed ? 0 : 6);
        base_kv_free(&kv);
    }
    assert_true(n > 50);
}

static void test_open_fails(void **state)
{
    (void)state;
    struct base_kv *kv = NULL;
    struct base_kv_options options = {.columns = columns, .column_count = 2};
    fail_in = 1;
    assert_int_equal(base_kv_open_memory(&options, &kv, NULL), LILIO_E_NOMEM);
    options.must_exist = true;
    assert_int_equal(base_kv_open_memory(&options, &kv, NULL), LILIO_E_NOT_FOUND);
    assert_null(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_fails_once),
        cmocka_unit_test(test_open_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
