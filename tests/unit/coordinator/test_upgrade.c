/* Aim: maps of format 1 open as maps of this format with every version, also when a crash had
 * interrupted the change; maps of other formats are left alone. Method: rows of this format are
 * rewritten by hand as format 1 had them, all or some; digests of all columns before and after. */
#include "coord_audit.h"
#include "coord_workload.h"
#include "coordinator/keys.h"
#include "coordinator/upgrade.h"

#include "base/banned.h"

enum { ROWS = 1000 }; /* several batches */

static void cluster_put(struct base_kv *kv, uint32_t format)
{
    struct coord_key key = coord_key_text(fx_text("cluster"));
    struct base_buffer value = {0};
    struct proto_cluster_row row;
    struct base_kv_batch *batch = NULL;
    if (base_kv_get(kv, NULL, COORD_META, coord_key_slice(&key), &value, NULL))
        row = (struct proto_cluster_row){.cluster_id = fx_uuid(1)};
    else
        assert_int_equal(proto_cluster_row_unpack(base_buffer_slice(&value), NULL, &row, NULL),
                         LILIO_OK);
    row.format = format;
    base_buffer_clear(&value);
    assert_int_equal(proto_cluster_row_pack(&row, &value), LILIO_OK);
    assert_int_equal(base_kv_batch_new(kv, &batch), LILIO_OK);
    base_kv_batch_put(batch, COORD_META, coord_key_slice(&key), base_buffer_slice(&value));
    assert_int_equal(base_kv_batch_commit(batch, false, NULL), LILIO_OK);
    base_kv_batch_free(&batch);
    base_buffer_release(&value);
}

static struct base_kv *maps_new(void)
{
    struct base_kv_options options = coord_kv_options();
    struct base_kv *kv = NULL;
    assert_int_equal(base_kv_open_memory(&options, &kv, NULL), LILIO_OK);
    return kv;
}

/* Every n-th version gets the key it had in format 1. */
static size_t make_old(struct base_kv *kv, size_t n)
{
    struct base_kv_iter *iter = NULL;
    struct base_kv_batch *batch = NULL;
    size_t at = 0, made = 0;
    assert_int_equal(base_kv_iter_new(kv, NULL, NULL, COORD_VERSIONS, &iter), LILIO_OK);
    assert_int_equal(base_kv_batch_new(kv, &batch), LILIO_OK);
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
         base_kv_iter_next(iter)) {
        if (at++ % n != 0)
            continue;
        struct base_slice key = base_kv_iter_key(iter);
        uint8_t old[1100];
        memcpy(old, key.data, key.size);
        base_be64_put(old + key.size, ~(uint64_t)(1000 + at)); /* version 1000 + at, ordinal 2 */
        base_be32_put(old + key.size + 8, ~UINT32_C(2));
        base_kv_batch_put(batch, COORD_VERSIONS, base_slice(old, key.size + 12),
                          base_kv_iter_value(iter));
        base_kv_batch_delete(batch, COORD_VERSIONS, key);
        made++;
    }
    base_kv_iter_free(&iter);
    assert_int_equal(base_kv_batch_commit(batch, false, NULL), LILIO_OK);
    base_kv_batch_free(&batch);
    cluster_put(kv, 1);
    return made;
}

static void all_versions_come_over(void **unused)
{
    (void)unused;
    for (size_t n = 1; n <= 3; n++) { /* all of them, or what an interruption left */
        struct fx *fx = fx_cluster(n == 2 /* RocksDB */);
        struct workload workload;
        workload_start(&workload, fx, n);
        for (int step = 0; step < 200; step++)
            workload_step(&workload);
        uint64_t digest = fx_digest(fx);
        assert_true(make_old(fx->kv, n) > 3);
        assert_int_not_equal(fx_digest(fx), digest);
        assert_int_equal(coord_upgrade(fx->kv, NULL), LILIO_OK);
        assert_int_equal(fx_digest(fx), digest);
        coord_audit(fx);
        assert_int_equal(coord_upgrade(fx->kv, NULL), LILIO_OK); /* nothing to do */
        assert_int_equal(fx_digest(fx), digest);
        if (n == 2)
            fx_reopen(fx);
        fx_free(fx);
    }
}

static void many_rows_in_several_batches(void **unused)
{
    (void)unused;
    struct base_kv *kv = maps_new();
    struct base_kv_batch *batch = NULL;
    struct base_buffer value = {0};
    char name[32];
    assert_int_equal(base_kv_batch_new(kv, &batch), LILIO_OK);
    for (unsigned i = 0; i < ROWS; i++) { /* names that are the beginnings of others, too */
        (void)snprintf(name, sizeof name, "%.*s%u", (int)(i % 7), "\x01\x01\x01\x01\x01\x01", i);
        struct coord_key key = coord_key_version(i % 3, fx_text(name));
        base_kv_batch_put(batch, COORD_VERSIONS, coord_key_slice(&key), fx_text(name));
    }
    assert_int_equal(base_kv_batch_commit(batch, false, NULL), LILIO_OK);
    base_kv_batch_free(&batch);
    assert_int_equal(make_old(kv, 1), ROWS);
    assert_int_equal(coord_upgrade(kv, NULL), LILIO_OK);
    for (unsigned i = 0; i < ROWS; i++) {
        (void)snprintf(name, sizeof name, "%.*s%u", (int)(i % 7), "\x01\x01\x01\x01\x01\x01", i);
        struct coord_key key = coord_key_version(i % 3, fx_text(name));
        assert_int_equal(base_kv_get(kv, NULL, COORD_VERSIONS, coord_key_slice(&key), &value, NULL),
                         LILIO_OK);
        assert_true(base_slice_equal(base_buffer_slice(&value), fx_text(name)));
    }
    struct base_kv_iter *iter = NULL;
    size_t count = 0;
    assert_int_equal(base_kv_iter_new(kv, NULL, NULL, COORD_VERSIONS, &iter), LILIO_OK);
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
         base_kv_iter_next(iter))
        count++;
    base_kv_iter_free(&iter);
    assert_int_equal(count, ROWS);
    base_buffer_release(&value);
    base_kv_free(&kv);
}

static void other_formats_are_left_alone(void **unused)
{
    (void)unused;
    struct base_kv *kv = maps_new();
    struct coord_state *state = NULL;
    struct lilio_errinfo info = {0};
    assert_int_equal(coord_upgrade(kv, NULL), LILIO_OK); /* empty */
    cluster_put(kv, COORD_FORMAT + 1);
    assert_int_equal(coord_upgrade(kv, NULL), LILIO_OK);
    assert_int_equal(coord_state_open(kv, &state, &info), LILIO_E_FORMAT);
    base_kv_free(&kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_versions_come_over),
        cmocka_unit_test(many_rows_in_several_batches),
        cmocka_unit_test(other_formats_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
