/* Hands each call to the implementation. The column is checked here, once: a wrong one is our own
 * bug. */
#include "base/kv.h"

#include <stdio.h>

#include "base/kv_priv.h"

#include "base/banned.h"

void base_kv_head_init(struct base_kv *kv, const struct base_kv_ops *ops,
                       const struct base_kv_options *options)
{
    *kv = (struct base_kv){.ops = ops,
                           .column_count = (unsigned)options->column_count,
                           .damage_claimed = ATOMIC_FLAG_INIT};
    for (size_t i = 0; i < options->column_count; i++)
        (void)snprintf(kv->columns[i], sizeof kv->columns[i], "%s",
                       options->columns[i]); /* a long name is only cut in messages */
}

/* Names the column of a read that failed; the first one is kept. */
static enum lilio_err read_failed(struct base_kv *kv, unsigned column, enum lilio_err err,
                                  struct lilio_errinfo *info)
{
    if (err != LILIO_E_CORRUPT && err != LILIO_E_IO)
        return err;
    (void)lilio_prefix(info, err, "column %s", kv->columns[column]); /* err is returned below */
    if (!atomic_flag_test_and_set(&kv->damage_claimed)) {
        kv->damage = *info;
        atomic_store(&kv->damaged, true);
    }
    return err;
}

/* Those who read may not want to know why it failed, base_kv_damage() does. */
static void tell(const struct lilio_errinfo *mine, enum lilio_err err, struct lilio_errinfo *info)
{
    if (err && info)
        *info = *mine;
}

enum lilio_err base_kv_damage(const struct base_kv *kv, struct lilio_errinfo *info)
{
    if (!atomic_load(&kv->damaged))
        return LILIO_OK;
    if (info)
        *info = kv->damage;
    return kv->damage.err;
}

void base_kv_free(struct base_kv **kv)
{
    if (*kv)
        (*kv)->ops->free(*kv);
    *kv = NULL;
}

enum lilio_err base_kv_get(struct base_kv *kv, const struct base_kv_snapshot *snapshot,
                           unsigned column, struct base_slice key, struct base_buffer *ret_value,
                           struct lilio_errinfo *info)
{
    LILIO_ASSERT(column < kv->column_count);
    base_buffer_clear(ret_value);
    struct lilio_errinfo mine = {0};
    enum lilio_err err = kv->ops->get(kv, snapshot, column, key, ret_value, &mine);
    err = read_failed(kv, column, err, &mine);
    tell(&mine, err, info);
    return err;
}

enum lilio_err base_kv_batch_new(struct base_kv *kv, struct base_kv_batch **ret_batch)
{
    return kv->ops->batch_new(kv, ret_batch);
}

void base_kv_batch_free(struct base_kv_batch **batch)
{
    if (*batch)
        (*batch)->kv->ops->batch_free(*batch);
    *batch = NULL;
}

void base_kv_batch_clear(struct base_kv_batch *batch)
{
    batch->kv->ops->batch_clear(batch);
}

size_t base_kv_batch_count(const struct base_kv_batch *batch)
{
    return batch->kv->ops->batch_count(batch);
}

void base_kv_batch_put(struct base_kv_batch *batch, unsigned column, struct base_slice key,
                       struct base_slice value)
{
    LILIO_ASSERT(column < batch->kv->column_count);
    batch->kv->ops->batch_put(batch, column, key, value);
}

void base_kv_batch_delete(struct base_kv_batch *batch, unsigned column, struct base_slice key)
{
    LILIO_ASSERT(column < batch->kv->column_count);
    batch->kv->ops->batch_delete(batch, column, key);
}

enum lilio_err base_kv_batch_get(struct base_kv_batch *batch, unsigned column,
                                 struct base_slice key, struct base_buffer *ret_value,
                                 struct lilio_errinfo *info)
{
    LILIO_ASSERT(column < batch->kv->column_count);
    base_buffer_clear(ret_value);
    struct lilio_errinfo mine = {0};
    enum lilio_err err = batch->kv->ops->batch_get(batch, column, key, ret_value, &mine);
    err = read_failed(batch->kv, column, err, &mine);
    tell(&mine, err, info);
    return err;
}

void base_kv_batch_mark(struct base_kv_batch *batch)
{
    batch->kv->ops->batch_mark(batch);
}

void base_kv_batch_rollback(struct base_kv_batch *batch)
{
    batch->kv->ops->batch_rollback(batch);
}

enum lilio_err base_kv_batch_commit(struct base_kv_batch *batch, bool sync,
                                    struct lilio_errinfo *info)
{
    return batch->kv->ops->batch_commit(batch, sync, info);
}

enum lilio_err base_kv_flush(struct base_kv *kv, struct lilio_errinfo *info)
{
    return kv->ops->flush(kv, info);
}

enum lilio_err base_kv_checkpoint(struct base_kv *kv, const char *path, struct lilio_errinfo *info)
{
    return kv->ops->checkpoint(kv, path, info);
}

enum lilio_err base_kv_snapshot_new(struct base_kv *kv, struct base_kv_snapshot **ret_snapshot)
{
    return kv->ops->snapshot_new(kv, ret_snapshot);
}

void base_kv_snapshot_free(struct base_kv_snapshot **snapshot)
{
    if (*snapshot)
        (*snapshot)->kv->ops->snapshot_free(*snapshot);
    *snapshot = NULL;
}

enum lilio_err base_kv_iter_new(struct base_kv *kv, const struct base_kv_snapshot *snapshot,
                                struct base_kv_batch *batch, unsigned column,
                                struct base_kv_iter **ret_iter)
{
    LILIO_ASSERT(column < kv->column_count);
    enum lilio_err err = kv->ops->iter_new(kv, snapshot, batch, column, ret_iter);
    if (!err)
        (*ret_iter)->column = column;
    return err;
}

void base_kv_iter_free(struct base_kv_iter **iter)
{
    if (*iter)
        (*iter)->kv->ops->iter_free(*iter);
    *iter = NULL;
}

void base_kv_iter_seek(struct base_kv_iter *iter, struct base_slice key)
{
    iter->kv->ops->iter_seek(iter, key);
}

void base_kv_iter_seek_last(struct base_kv_iter *iter, struct base_slice key)
{
    iter->kv->ops->iter_seek_last(iter, key);
}

void base_kv_iter_next(struct base_kv_iter *iter)
{
    LILIO_ASSERT(iter->kv->ops->iter_valid(iter));
    iter->kv->ops->iter_next(iter);
}

void base_kv_iter_prev(struct base_kv_iter *iter)
{
    LILIO_ASSERT(iter->kv->ops->iter_valid(iter));
    iter->kv->ops->iter_prev(iter);
}

bool base_kv_iter_valid(const struct base_kv_iter *iter)
{
    return iter->kv->ops->iter_valid(iter);
}

struct base_slice base_kv_iter_key(const struct base_kv_iter *iter)
{
    LILIO_ASSERT(iter->kv->ops->iter_valid(iter));
    return iter->kv->ops->iter_key(iter);
}

struct base_slice base_kv_iter_value(const struct base_kv_iter *iter)
{
    LILIO_ASSERT(iter->kv->ops->iter_valid(iter));
    return iter->kv->ops->iter_value(iter);
}

enum lilio_err base_kv_iter_error(const struct base_kv_iter *iter, struct lilio_errinfo *info)
{
    struct lilio_errinfo mine = {0};
    enum lilio_err err = iter->kv->ops->iter_error(iter, &mine);
    err = read_failed(iter->kv, iter->column, err, &mine);
    tell(&mine, err, info);
    return err;
}
