/* Aim: both stores behave as base/kv.h says. Method: one suite run on RocksDB and on memory; random
 * operations, batches and iterations compared with a sorted array that is too simple to be wrong.
 */
#include "base/kv.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

static const char *const columns[] = {"alpha", "beta", "gamma"};
enum { COLUMNS = 3 };

struct fixture {
    char *dir;
    struct base_kv *kv;
};

static int set_up_rocksdb(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = temp_dir_new();
    struct base_kv_options options = {.columns = columns, .column_count = COLUMNS};
    struct lilio_errinfo info = {0};
    if (base_kv_open_rocksdb(temp_dir_path(f->dir, "kv"), &options, &f->kv, &info))
        fail_msg("%s", info.text);
    *state = f;
    return 0;
}

static int set_up_no_log(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = temp_dir_new();
    struct base_kv_options options = {.columns = columns,
                                      .column_count = COLUMNS,
                                      .no_log = true,
                                      .blob_columns = 2,
                                      .blob_min_bytes = 8};
    struct lilio_errinfo info = {0};
    if (base_kv_open_rocksdb(temp_dir_path(f->dir, "kv"), &options, &f->kv, &info))
        fail_msg("%s", info.text);
    *state = f;
    return 0;
}

static int set_up_memory(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    struct base_kv_options options = {.columns = columns, .column_count = COLUMNS};
    assert_int_equal(base_kv_open_memory(&options, &f->kv, NULL), LILIO_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    base_kv_free(&f->kv);
    assert_null(f->kv);
    base_kv_free(&f->kv);
    if (f->dir)
        temp_dir_free(f->dir);
    free(f);
    return 0;
}

/* ---- shorthands ---- */

static struct base_kv_batch *new_batch(struct fixture *f)
{
    struct base_kv_batch *batch = NULL;
    assert_int_equal(base_kv_batch_new(f->kv, &batch), LILIO_OK);
    return batch;
}

static void put(struct base_kv_batch *batch, unsigned column, const char *key, const char *value)
{
    base_kv_batch_put(batch, column, base_slice_str(key), base_slice_str(value));
}

static void delete (struct base_kv_batch *batch, unsigned column, const char *key)
{
    base_kv_batch_delete(batch, column, base_slice_str(key));
}

static void commit(struct base_kv_batch *batch)
{
    assert_int_equal(base_kv_batch_commit(batch, false, NULL), LILIO_OK);
    assert_int_equal(base_kv_batch_count(batch), 0);
}

/* One key, at once. value NULL deletes. */
static void set(struct fixture *f, unsigned column, const char *key, const char *value)
{
    struct base_kv_batch *batch = new_batch(f);
    if (value)
        put(batch, column, key, value);
    else
        delete (batch, column, key);
    commit(batch);
    base_kv_batch_free(&batch);
    assert_null(batch);
}

/* value NULL: there is none. The batch's view if there is a batch. */
static void expect_view(struct fixture *f, struct base_kv_batch *batch,
                        struct base_kv_snapshot *snapshot, unsigned column, const char *key,
                        const char *value)
{
    struct base_buffer got = {0};
    struct lilio_errinfo info = {0};
    assert_int_equal(base_buffer_append(&got, "before", 6), LILIO_OK);
    struct base_slice name = base_slice_str(key);
    enum lilio_err err = batch ? base_kv_batch_get(batch, column, name, &got, &info)
                               : base_kv_get(f->kv, snapshot, column, name, &got, &info);
    assert_int_equal(err, value ? LILIO_OK : LILIO_E_NOT_FOUND);
    assert_int_equal(got.size, value ? strlen(value) : 0);
    if (value)
        assert_memory_equal(got.data, value, got.size);
    base_buffer_release(&got);
}

static void expect(struct fixture *f, unsigned column, const char *key, const char *value)
{
    expect_view(f, NULL, NULL, column, key, value);
}

static struct base_kv_iter *new_iter(struct fixture *f, struct base_kv_snapshot *snapshot,
                                     struct base_kv_batch *batch, unsigned column)
{
    struct base_kv_iter *iter = NULL;
    assert_int_equal(base_kv_iter_new(f->kv, snapshot, batch, column, &iter), LILIO_OK);
    return iter;
}

static void expect_at(struct base_kv_iter *iter, const char *key, const char *value)
{
    if (!key) {
        assert_false(base_kv_iter_valid(iter));
        assert_int_equal(base_kv_iter_error(iter, NULL), LILIO_OK);
        return;
    }
    assert_true(base_kv_iter_valid(iter));
    assert_true(base_slice_equal(base_kv_iter_key(iter), base_slice_str(key)));
    assert_true(base_slice_equal(base_kv_iter_value(iter), base_slice_str(value)));
}

/* "a=1 b=2": every row in order, forwards and backwards. */
static void expect_rows(struct fixture *f, struct base_kv_snapshot *snapshot,
                        struct base_kv_batch *batch, unsigned column, const char *rows)
{
    struct base_kv_iter *iter = new_iter(f, snapshot, batch, column);
    char text[1000] = "", back[1000] = "", both[1000];
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
         base_kv_iter_next(iter)) {
        struct base_slice key = base_kv_iter_key(iter), value = base_kv_iter_value(iter);
        size_t used = strlen(text);
        (void)snprintf(text + used, sizeof text - used, "%s%.*s=%.*s", used ? " " : "",
                       (int)key.size, key.data, (int)value.size, value.data);
    }
    for (base_kv_iter_seek_last(iter, base_slice_str("~~")); base_kv_iter_valid(iter);
         base_kv_iter_prev(iter)) {
        struct base_slice key = base_kv_iter_key(iter), value = base_kv_iter_value(iter);
        (void)snprintf(both, sizeof both, "%.*s=%.*s%s%.900s", (int)key.size, key.data,
                       (int)value.size, value.data, back[0] ? " " : "", back);
        memcpy(back, both, sizeof back);
    }
    assert_int_equal(base_kv_iter_error(iter, NULL), LILIO_OK);
    base_kv_iter_free(&iter);
    assert_string_equal(text, rows);
    assert_string_equal(back, rows);
}

/* ---- tests ---- */

static void test_get_put_delete(void **state)
{
    struct fixture *f = *state;
    expect(f, 0, "k", NULL);
    set(f, 0, "k", "one");
    expect(f, 0, "k", "one");
    expect(f, 1, "k", NULL); /* columns are apart */
    set(f, 0, "k", "two");
    expect(f, 0, "k", "two");
    set(f, 0, "k", "");
    expect(f, 0, "k", ""); /* empty is not absent */
    set(f, 0, "k", NULL);
    expect(f, 0, "k", NULL);
    set(f, 0, "k", NULL); /* deleting what is not there is fine */
    set(f, 2, "", "of the empty key");
    expect(f, 2, "", "of the empty key");
}

static void test_any_bytes(void **state)
{
    struct fixture *f = *state;
    struct base_kv_batch *batch = new_batch(f);
    uint8_t key[3] = {0}, *large = malloc(300000);
    assert_non_null(large);
    memset(large, 0xa5, 300000);
    for (unsigned i = 0; i < 256; i++) {
        key[1] = (uint8_t)i;
        base_kv_batch_put(batch, 1, base_slice(key, 3), base_slice(large, i * 1000));
    }
    commit(batch);
    base_kv_batch_free(&batch);
    struct base_kv_iter *iter = new_iter(f, NULL, NULL, 1);
    base_kv_iter_seek(iter, base_slice(NULL, 0));
    for (unsigned i = 0; i < 256; i++, base_kv_iter_next(iter)) {
        key[1] = (uint8_t)i; /* memcmp order: unsigned bytes, NUL like any other */
        assert_true(base_slice_equal(base_kv_iter_key(iter), base_slice(key, 3)));
        assert_true(base_slice_equal(base_kv_iter_value(iter), base_slice(large, i * 1000)));
    }
    assert_false(base_kv_iter_valid(iter));
    base_kv_iter_free(&iter);
    free(large);
}

static void test_batch_is_atomic_and_private(void **state)
{
    struct fixture *f = *state;
    set(f, 0, "a", "1");
    struct base_kv_batch *batch = new_batch(f);
    put(batch, 0, "b", "2");
    delete (batch, 0, "a");
    put(batch, 1, "c", "3");
    put(batch, 1, "c", "4");
    assert_int_equal(base_kv_batch_count(batch), 4);
    expect(f, 0, "a", "1");
    expect(f, 0, "b", NULL);
    expect_view(f, batch, NULL, 0, "a", NULL);
    expect_view(f, batch, NULL, 0, "b", "2");
    expect_view(f, batch, NULL, 1, "c", "4");
    expect_view(f, batch, NULL, 2, "c", NULL);
    set(f, 0, "z", "from elsewhere"); /* the batch lies over the store as it is now */
    expect_view(f, batch, NULL, 0, "z", "from elsewhere");
    base_kv_batch_clear(batch);
    assert_int_equal(base_kv_batch_count(batch), 0);
    expect_view(f, batch, NULL, 0, "a", "1");
    put(batch, 0, "b", "5");
    delete (batch, 0, "z");
    assert_int_equal(base_kv_batch_commit(batch, true, NULL), LILIO_OK);
    expect(f, 0, "a", "1");
    expect(f, 0, "b", "5");
    expect(f, 0, "z", NULL);
    expect(f, 1, "c", NULL);
    commit(batch); /* an empty one */
    base_kv_batch_free(&batch);
    base_kv_batch_free(&batch);
}

static void test_batch_iteration(void **state)
{
    struct fixture *f = *state;
    const char *const keys[] = {"b", "d", "f", "h"};
    for (int i = 0; i < 4; i++)
        set(f, 0, keys[i], "old");
    struct base_kv_batch *batch = new_batch(f);
    expect_rows(f, NULL, batch, 0, "b=old d=old f=old h=old");
    put(batch, 0, "a", "new");
    put(batch, 0, "d", "new");
    put(batch, 0, "e", "new");
    delete (batch, 0, "f");
    delete (batch, 0, "g"); /* not there */
    put(batch, 0, "i", "new");
    put(batch, 1, "c", "another column");
    expect_rows(f, NULL, batch, 0, "a=new b=old d=new e=new h=old i=new");
    expect_rows(f, NULL, NULL, 0, "b=old d=old f=old h=old");
    expect_rows(f, NULL, batch, 2, "");
    put(batch, 0, "f", "again");
    delete (batch, 0, "a");
    delete (batch, 0, "h");
    delete (batch, 0, "i");
    expect_rows(f, NULL, batch, 0, "b=old d=new e=new f=again");
    struct base_kv_iter *iter = new_iter(f, NULL, batch, 0);
    base_kv_iter_seek(iter, base_slice_str("e"));
    expect_at(iter, "e", "new");
    base_kv_iter_prev(iter); /* turning round between the two sides */
    expect_at(iter, "d", "new");
    base_kv_iter_prev(iter);
    expect_at(iter, "b", "old");
    base_kv_iter_next(iter);
    expect_at(iter, "d", "new");
    base_kv_iter_seek_last(iter, base_slice_str("zz"));
    expect_at(iter, "f", "again");
    base_kv_iter_next(iter);
    expect_at(iter, NULL, NULL);
    base_kv_iter_free(&iter);
    commit(batch);
    base_kv_batch_free(&batch);
    expect_rows(f, NULL, NULL, 0, "b=old d=new e=new f=again");
}

static void test_mark_and_rollback(void **state)
{
    struct fixture *f = *state;
    set(f, 0, "a", "1");
    struct base_kv_batch *batch = new_batch(f);
    base_kv_batch_mark(batch); /* of an empty batch */
    put(batch, 0, "x", "gone");
    base_kv_batch_rollback(batch);
    assert_int_equal(base_kv_batch_count(batch), 0);
    expect_rows(f, NULL, batch, 0, "a=1");
    put(batch, 0, "b", "2");
    base_kv_batch_mark(batch);
    put(batch, 0, "b", "changed");
    put(batch, 0, "c", "gone");
    put(batch, 1, "c", "gone");
    delete (batch, 0, "a");
    expect_rows(f, NULL, batch, 0, "b=changed c=gone");
    base_kv_batch_rollback(batch);
    assert_int_equal(base_kv_batch_count(batch), 1);
    expect_rows(f, NULL, batch, 0, "a=1 b=2");
    expect_rows(f, NULL, batch, 1, "");
    expect_view(f, batch, NULL, 0, "b", "2");
    base_kv_batch_mark(batch);
    put(batch, 0, "d", "4");
    base_kv_batch_mark(batch); /* replaces the one before */
    put(batch, 0, "e", "gone");
    base_kv_batch_rollback(batch);
    expect_rows(f, NULL, batch, 0, "a=1 b=2 d=4");
    commit(batch);
    base_kv_batch_free(&batch);
    expect_rows(f, NULL, NULL, 0, "a=1 b=2 d=4");
    expect_rows(f, NULL, NULL, 1, "");
}

static void test_snapshots(void **state)
{
    struct fixture *f = *state;
    struct base_kv_snapshot *early = NULL, *late = NULL;
    set(f, 0, "a", "1");
    assert_int_equal(base_kv_snapshot_new(f->kv, &early), LILIO_OK);
    set(f, 0, "a", "2");
    set(f, 0, "b", "2");
    assert_int_equal(base_kv_snapshot_new(f->kv, &late), LILIO_OK);
    set(f, 0, "a", NULL);
    expect_view(f, NULL, early, 0, "a", "1");
    expect_view(f, NULL, early, 0, "b", NULL);
    expect_view(f, NULL, late, 0, "a", "2");
    expect(f, 0, "a", NULL);
    expect_rows(f, early, NULL, 0, "a=1");
    expect_rows(f, late, NULL, 0, "a=2 b=2");
    base_kv_snapshot_free(&early);
    assert_null(early);
    base_kv_snapshot_free(&early);
    expect_rows(f, late, NULL, 0, "a=2 b=2");
    base_kv_snapshot_free(&late);
}

/* An iterator goes on over what was there when it was made. */
static void test_iterator_is_a_view(void **state)
{
    struct fixture *f = *state;
    set(f, 0, "a", "1");
    set(f, 0, "c", "3");
    struct base_kv_iter *iter = new_iter(f, NULL, NULL, 0);
    base_kv_iter_seek(iter, base_slice_str("a"));
    set(f, 0, "b", "2");
    set(f, 0, "c", NULL);
    base_kv_iter_next(iter);
    expect_at(iter, "c", "3");
    base_kv_iter_next(iter);
    expect_at(iter, NULL, NULL);
    base_kv_iter_free(&iter);
    base_kv_iter_free(&iter);
}

static void test_seeks(void **state)
{
    struct fixture *f = *state;
    struct base_kv_iter *iter = new_iter(f, NULL, NULL, 0);
    base_kv_iter_seek(iter, base_slice_str("a"));
    expect_at(iter, NULL, NULL);
    base_kv_iter_seek_last(iter, base_slice_str("a"));
    expect_at(iter, NULL, NULL);
    base_kv_iter_free(&iter);
    set(f, 0, "b", "1");
    set(f, 0, "bb", "2");
    set(f, 0, "d", "3");
    set(f, 1, "c", "other");
    static const struct {
        const char *key, *first, *first_value, *last, *last_value;
    } cases[] = {
        {"", "b", "1", NULL, NULL},  {"a", "b", "1", NULL, NULL},  {"b", "b", "1", "b", "1"},
        {"ba", "bb", "2", "b", "1"}, {"bb", "bb", "2", "bb", "2"}, {"c", "d", "3", "bb", "2"},
        {"d", "d", "3", "d", "3"},   {"e", NULL, NULL, "d", "3"},
    };
    iter = new_iter(f, NULL, NULL, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        base_kv_iter_seek(iter, base_slice_str(cases[i].key));
        expect_at(iter, cases[i].first, cases[i].first_value);
        base_kv_iter_seek_last(iter, base_slice_str(cases[i].key));
        expect_at(iter, cases[i].last, cases[i].last_value);
    }
    base_kv_iter_free(&iter);
}

/* ---- against a model ---- */

enum { KEYS = 60 };

/* Of each key its value, 0 = absent. */
struct model {
    uint32_t values[KEYS];
};

static struct base_slice key_of(unsigned i, uint8_t room[2])
{
    room[0] = (uint8_t)(i * 4), room[1] = (uint8_t)(i % 3);
    return base_slice(room, 1 + i % 2);
}

static unsigned key_number(struct base_slice key)
{
    return key.data[0] / 4;
}

static void change(struct base_kv_batch *batch, struct model *model, struct base_random *random)
{
    uint8_t room[2], bytes[4];
    unsigned i = (unsigned)(base_random_u64(random) % KEYS);
    struct base_slice key = key_of(i, room);
    if (base_random_u64(random) % 3 == 0) {
        base_kv_batch_delete(batch, 0, key);
        model->values[i] = 0;
        return;
    }
    model->values[i] = 1 + (uint32_t)(base_random_u64(random) % 1000);
    base_le32_put(bytes, model->values[i]);
    base_kv_batch_put(batch, 0, key, base_slice(bytes, 4));
}

static unsigned next_present(const struct model *model, unsigned i)
{
    while (i < KEYS && !model->values[i])
        i++;
    return i;
}

static int last_present(const struct model *model, int i)
{
    while (i >= 0 && !model->values[i])
        i--;
    return i;
}

static void check_at(struct base_kv_iter *iter, const struct model *model, int i)
{
    bool there = i >= 0 && i < KEYS;
    assert_int_equal(base_kv_iter_valid(iter), there);
    if (!there)
        return;
    assert_int_equal(key_number(base_kv_iter_key(iter)), i);
    assert_int_equal(base_kv_iter_value(iter).size, 4);
    assert_int_equal(base_le32_get(base_kv_iter_value(iter).data), model->values[i]);
}

/* A random walk over the rows, with turns. */
static void walk(struct base_kv_iter *iter, const struct model *model, struct base_random *random)
{
    for (int round = 0; round < 5; round++) {
        uint8_t room[2];
        int i = (int)(base_random_u64(random) % KEYS);
        if (base_random_u64(random) % 2) {
            base_kv_iter_seek(iter, key_of((unsigned)i, room));
            i = (int)next_present(model, (unsigned)i);
        } else {
            base_kv_iter_seek_last(iter, key_of((unsigned)i, room));
            i = last_present(model, i);
        }
        check_at(iter, model, i);
        for (int step = 0; step < 12 && i >= 0 && i < KEYS; step++) {
            if (base_random_u64(random) % 3) {
                base_kv_iter_next(iter);
                i = (int)next_present(model, (unsigned)i + 1);
            } else {
                base_kv_iter_prev(iter);
                i = last_present(model, i - 1);
            }
            check_at(iter, model, i);
        }
    }
    assert_int_equal(base_kv_iter_error(iter, NULL), LILIO_OK);
}

static void check_view(struct fixture *f, struct base_kv_snapshot *snapshot,
                       struct base_kv_batch *batch, const struct model *model,
                       struct base_random *random)
{
    struct base_kv_iter *iter = new_iter(f, snapshot, batch, 0);
    walk(iter, model, random);
    base_kv_iter_free(&iter);
}

static void test_against_a_model(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 11;
    struct base_random random = base_random_seeded(&seed);
    struct model stored = {0}, pending, marked, pinned = {0};
    struct base_kv_batch *batch = new_batch(f);
    struct base_kv_snapshot *snapshot = NULL;
    assert_int_equal(base_kv_snapshot_new(f->kv, &snapshot), LILIO_OK);
    for (int round = 0; round < 150; round++) {
        pending = stored;
        for (uint64_t n = base_random_u64(&random) % 12; n > 0; n--)
            change(batch, &pending, &random);
        if (round % 2) {
            base_kv_batch_mark(batch);
            marked = pending;
            for (uint64_t n = base_random_u64(&random) % 12; n > 0; n--)
                change(batch, &pending, &random);
            check_view(f, NULL, batch, &pending, &random);
            if (round % 4 == 1) {
                base_kv_batch_rollback(batch);
                pending = marked;
            }
        }
        check_view(f, NULL, batch, &pending, &random);
        check_view(f, NULL, NULL, &stored, &random);
        check_view(f, snapshot, NULL, &pinned, &random);
        if (round % 5) {
            commit(batch);
            stored = pending;
        } else {
            base_kv_batch_clear(batch);
        }
        if (round % 7 == 0) {
            base_kv_snapshot_free(&snapshot);
            assert_int_equal(base_kv_snapshot_new(f->kv, &snapshot), LILIO_OK);
            pinned = stored;
        }
    }
    base_kv_snapshot_free(&snapshot);
    base_kv_batch_free(&batch);
}

/* ---- threads ---- */

enum { ROUNDS = 300 };

struct writer {
    struct fixture *f;
    enum lilio_err err;
};

/* Each batch writes one number to two columns. */
static void *write_pairs(void *context)
{
    struct writer *writer = context;
    struct base_kv_batch *batch = NULL;
    writer->err = base_kv_batch_new(writer->f->kv, &batch);
    for (unsigned i = 1; i <= ROUNDS && !writer->err; i++) {
        uint8_t bytes[4];
        base_le32_put(bytes, i);
        base_kv_batch_put(batch, 0, base_slice_str("n"), base_slice(bytes, 4));
        base_kv_batch_put(batch, 1, base_slice_str("n"), base_slice(bytes, 4));
        writer->err = base_kv_batch_commit(batch, false, NULL);
    }
    base_kv_batch_free(&batch);
    return NULL;
}

static void test_readers_see_whole_batches(void **state)
{
    struct fixture *f = *state;
    struct writer writer = {f, LILIO_OK};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_pairs, &writer), 0);
    struct base_buffer a = {0}, b = {0};
    uint32_t last = 0;
    while (last < ROUNDS) {
        struct base_kv_snapshot *snapshot = NULL;
        assert_int_equal(base_kv_snapshot_new(f->kv, &snapshot), LILIO_OK);
        enum lilio_err err = base_kv_get(f->kv, snapshot, 0, base_slice_str("n"), &a, NULL);
        enum lilio_err other = base_kv_get(f->kv, snapshot, 1, base_slice_str("n"), &b, NULL);
        base_kv_snapshot_free(&snapshot);
        assert_int_equal(err, other);
        if (err)
            continue;
        uint32_t now = base_le32_get(a.data);
        assert_int_equal(now, base_le32_get(b.data));
        assert_true(now >= last);
        last = now;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(writer.err, LILIO_OK);
    base_buffer_release(&a);
    base_buffer_release(&b);
}

/* Flushing changes nothing that can be seen; a checkpoint is made by those that have files. */
static void test_flush(void **state)
{
    struct fixture *f = *state;
    struct lilio_errinfo info = {0};
    set(f, 0, "a", "1");
    assert_int_equal(base_kv_flush(f->kv, &info), LILIO_OK);
    assert_int_equal(base_kv_flush(f->kv, &info), LILIO_OK);
    expect(f, 0, "a", "1");
    enum lilio_err err =
        base_kv_checkpoint(f->kv, f->dir ? temp_dir_path(f->dir, "copy") : "copy", &info);
    assert_int_equal(err, f->dir ? LILIO_OK : LILIO_E_UNSUPPORTED);
    set(f, 0, "a", NULL);
    expect(f, 0, "a", NULL);
}

#define SUITE(set)                                                                         \
    cmocka_unit_test_setup_teardown(test_get_put_delete, set, tear_down),                  \
        cmocka_unit_test_setup_teardown(test_any_bytes, set, tear_down),                   \
        cmocka_unit_test_setup_teardown(test_batch_is_atomic_and_private, set, tear_down), \
        cmocka_unit_test_setup_teardown(test_batch_iteration, set, tear_down),             \
        cmocka_unit_test_setup_teardown(test_mark_and_rollback, set, tear_down),           \
        cmocka_unit_test_setup_teardown(test_snapshots, set, tear_down),                   \
        cmocka_unit_test_setup_teardown(test_iterator_is_a_view, set, tear_down),          \
        cmocka_unit_test_setup_teardown(test_seeks, set, tear_down),                       \
        cmocka_unit_test_setup_teardown(test_against_a_model, set, tear_down),             \
        cmocka_unit_test_setup_teardown(test_flush, set, tear_down),                       \
        cmocka_unit_test_setup_teardown(test_readers_see_whole_batches, set, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {SUITE(set_up_rocksdb), SUITE(set_up_no_log),
                                       SUITE(set_up_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
