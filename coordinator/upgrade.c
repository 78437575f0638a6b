/* Format 1 had the id of the version in the keys of the column of versions: bucket, name, 00,
 * inverted index (8), inverted ordinal (4). Each name had one version, so the id is left away.
 *
 * Rows are moved some at a time, and the format is changed with the last ones. A crash takes back a
 * suffix of that: the maps still say 1 and hold keys of both kinds, and the next opening goes on.
 */
#include "coordinator/upgrade.h"

#include "coordinator/keys.h"

#include "base/banned.h"

enum { ROWS_AT_ONCE = 256, BYTES_AT_ONCE = 4 << 20, VERSION_ID_BYTES = 12 };

/* The row that tells the format. Errors: NOT_FOUND, and those of the store. */
static enum lilio_err read_cluster(struct base_kv *kv, struct base_slice key,
                                   struct proto_cluster_row *ret, struct lilio_errinfo *info)
{
    struct base_buffer value = {0};
    enum lilio_err err = base_kv_get(kv, NULL, COORD_META, key, &value, info);
    if (!err)
        err = proto_cluster_row_unpack(base_buffer_slice(&value), NULL, ret, info);
    base_buffer_release(&value);
    return err;
}

static enum lilio_err put_cluster(struct base_kv_batch *batch, struct base_slice key,
                                  const struct proto_cluster_row *row, struct lilio_errinfo *info)
{
    struct base_buffer value = {0};
    enum lilio_err err = proto_cluster_row_pack(row, &value);
    if (!err)
        base_kv_batch_put(batch, COORD_META, key, base_buffer_slice(&value));
    else
        (void)lilio_fail(info, err, "out of memory"); /* err goes on below */
    base_buffer_release(&value);
    return err;
}

/* Whether a key is one of format 1, and what is left of it. */
static bool is_old(struct base_slice key, struct base_slice *ret_new)
{
    const uint8_t *end = key.size > 8 ? memchr(key.data + 8, 0, key.size - 8) : NULL;
    size_t size = end ? (size_t)(end - key.data) + 1 : 0;
    *ret_new = base_slice(key.data, size);
    return end && key.size == size + VERSION_ID_BYTES;
}

/* Looks at some rows, from a key on. *from becomes the key to go on with; empty: there are no more.
 */
static enum lilio_err move_some(struct base_kv *kv, struct base_kv_batch *batch,
                                struct base_buffer *from, struct lilio_errinfo *info)
{
    struct base_kv_iter *iter = NULL;
    struct base_slice key, new_key;
    size_t bytes = 0;
    enum lilio_err err = base_kv_iter_new(kv, NULL, NULL, COORD_VERSIONS, &iter);
    if (err)
        return lilio_fail(info, err, "%s", lilio_err_text(err));
    base_kv_iter_seek(iter, base_buffer_slice(from));
    for (int i = 0; i < ROWS_AT_ONCE && bytes < BYTES_AT_ONCE && base_kv_iter_valid(iter); i++) {
        key = base_kv_iter_key(iter);
        if (is_old(key, &new_key)) {
            struct base_slice value = base_kv_iter_value(iter);
            base_kv_batch_put(batch, COORD_VERSIONS, new_key, value);
            base_kv_batch_delete(batch, COORD_VERSIONS, key);
            bytes += value.size;
        }
        base_kv_iter_next(iter);
    }
    base_buffer_clear(from);
    err = base_kv_iter_error(iter, info);
    if (!err && base_kv_iter_valid(iter)) {
        key = base_kv_iter_key(iter);
        err = base_buffer_append(from, key.data, key.size);
    }
    base_kv_iter_free(&iter);
    return err;
}

static enum lilio_err move_all(struct base_kv *kv, struct base_slice key,
                               const struct proto_cluster_row *row, struct lilio_errinfo *info)
{
    struct base_kv_batch *batch = NULL;
    struct base_buffer from = {0};
    enum lilio_err err = base_kv_batch_new(kv, &batch);
    if (err)
        return lilio_fail(info, err, "%s", lilio_err_text(err));
    do {
        err = move_some(kv, batch, &from, info);
        if (!err && from.size == 0)
            err = put_cluster(batch, key, row, info);
        if (!err)
            err = base_kv_batch_commit(batch, false /* sync */, info);
    } while (!err && from.size > 0);
    base_kv_batch_free(&batch);
    base_buffer_release(&from);
    return err;
}

enum lilio_err coord_upgrade(struct base_kv *kv, struct lilio_errinfo *info)
{
    struct coord_key key = coord_key_text(base_slice_str("cluster"));
    struct proto_cluster_row row;
    enum lilio_err err = read_cluster(kv, coord_key_slice(&key), &row, info);
    if (err == LILIO_E_NOT_FOUND || (!err && row.format != 1))
        return LILIO_OK;
    row.format = COORD_FORMAT;
    if (!err)
        err = move_all(kv, coord_key_slice(&key), &row, info);
    return err ? lilio_prefix(info, err, "bringing the object maps to format %d", COORD_FORMAT)
               : LILIO_OK;
}
