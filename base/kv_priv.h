/* What an implementation of base/kv.h fills in. For base/kv*.c only. */
#ifndef BASE_KV_PRIV_H
#define BASE_KV_PRIV_H

#include <stdatomic.h>

#include "base/kv.h"

enum { BASE_KV_COLUMNS_MAX = 32, BASE_KV_COLUMN_NAME_MAX = 64 };

struct base_kv_ops {
    void (*free)(struct base_kv *kv);
    enum lilio_err (*get)(struct base_kv *kv, const struct base_kv_snapshot *snapshot,
                          unsigned column, struct base_slice key, struct base_buffer *ret_value,
                          struct lilio_errinfo *info);

    enum lilio_err (*batch_new)(struct base_kv *kv, struct base_kv_batch **ret_batch);
    void (*batch_free)(struct base_kv_batch *batch);
    void (*batch_clear)(struct base_kv_batch *batch);
    size_t (*batch_count)(const struct base_kv_batch *batch);
    void (*batch_put)(struct base_kv_batch *batch, unsigned column, struct base_slice key,
                      struct base_slice value);
    void (*batch_delete)(struct base_kv_batch *batch, unsigned column, struct base_slice key);
    enum lilio_err (*batch_get)(struct base_kv_batch *batch, unsigned column, struct base_slice key,
                                struct base_buffer *ret_value, struct lilio_errinfo *info);
    void (*batch_mark)(struct base_kv_batch *batch);
    void (*batch_rollback)(struct base_kv_batch *batch);
    enum lilio_err (*batch_commit)(struct base_kv_batch *batch, bool sync,
                                   struct lilio_errinfo *info);

    enum lilio_err (*flush)(struct base_kv *kv, struct lilio_errinfo *info);
    enum lilio_err (*checkpoint)(struct base_kv *kv, const char *path, struct lilio_errinfo *info);

    enum lilio_err (*snapshot_new)(struct base_kv *kv, struct base_kv_snapshot **ret_snapshot);
    void (*snapshot_free)(struct base_kv_snapshot *snapshot);

    enum lilio_err (*iter_new)(struct base_kv *kv, const struct base_kv_snapshot *snapshot,
                               struct base_kv_batch *batch, unsigned column,
                               struct base_kv_iter **ret_iter);
    void (*iter_free)(struct base_kv_iter *iter);
    void (*iter_seek)(struct base_kv_iter *iter, struct base_slice key);
    void (*iter_seek_last)(struct base_kv_iter *iter, struct base_slice key);
    void (*iter_next)(struct base_kv_iter *iter);
    void (*iter_prev)(struct base_kv_iter *iter);
    bool (*iter_valid)(const struct base_kv_iter *iter);
    struct base_slice (*iter_key)(const struct base_kv_iter *iter);
    struct base_slice (*iter_value)(const struct base_kv_iter *iter);
    enum lilio_err (*iter_error)(const struct base_kv_iter *iter, struct lilio_errinfo *info);
};

/* Back to a snapshot of a store in memory: the simulation's power losses. No batch may be under
 * way. */
void base_kv_memory_restore(struct base_kv *kv, const struct base_kv_snapshot *snapshot);

/* The heads of every implementation's own structs. */
struct base_kv {
    const struct base_kv_ops *ops;
    unsigned column_count;
    char columns[BASE_KV_COLUMNS_MAX][BASE_KV_COLUMN_NAME_MAX + 1];
    atomic_flag damage_claimed; /* by the first read that failed, which then fills in the others */
    struct lilio_errinfo damage;
    _Atomic bool damaged;
};
void base_kv_head_init(struct base_kv *kv, const struct base_kv_ops *ops,
                       const struct base_kv_options *options);
struct base_kv_batch {
    struct base_kv *kv;
};
struct base_kv_snapshot {
    struct base_kv *kv;
};
struct base_kv_iter {
    struct base_kv *kv;
    unsigned column;
};

#endif
