/* An ordered key-value store with columns, atomic batches and snapshots; keys compare by memcmp.
 *
 * Implementations: base/kv_rocksdb.c (the only file that includes rocksdb/c.h) and base/kv_memory.c
 * (a sorted map for tests and the simulation). One conformance suite runs on both
 * (tests/unit/base/test_kv.c). Threads: a store may be used from several threads; a batch or an
 * iterator from one at a time.
 */
#ifndef BASE_KV_H
#define BASE_KV_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/types.h"

struct base_kv;
struct base_kv_batch;
struct base_kv_snapshot;
struct base_kv_iter;

struct base_kv_options {
    const char *const *columns; /* names; a column is addressed by its place in this list */
    size_t column_count;        /* <= 32 */
    size_t cache_bytes;         /* block cache; 0 = 16 MiB */
    size_t write_buffer_bytes;  /* memtable budget over all columns; 0 = 16 MiB */
    bool must_exist;            /* NOT_FOUND instead of creating an empty store */
    bool must_not_exist;        /* EXISTS if there is one */
    /* Damage inside the write-ahead log is CORRUPT, only an unfinished end is cut off. Without it
     * all before the damage is kept and the rest forgotten: only for a store that can be rebuilt.
     */
    bool log_is_truth;
    /* No write-ahead log: somebody else's log is the truth and is replayed. What is committed is
     * durable after the next base_kv_flush; until then a power cut takes back a suffix of the
     * commits, never a part of one, over all columns together. sync of a commit is ignored. */
    bool no_log;
    uint32_t blob_columns; /* bit per column: values of blob_min_bytes and more lie in blob files */
    size_t blob_min_bytes; /* 0 = 1024 */
};

/* Errors: IO, CORRUPT (the files do not verify), FORMAT, LOCKED, NO_SPACE, NOT_FOUND, EXISTS,
 * NOMEM. */
LILIO_MUST_USE enum lilio_err base_kv_open_rocksdb(const char *path,
                                                   const struct base_kv_options *options,
                                                   struct base_kv **ret_kv,
                                                   struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err base_kv_open_memory(const struct base_kv_options *options,
                                                  struct base_kv **ret_kv,
                                                  struct lilio_errinfo *info);
void base_kv_free(struct base_kv **kv);
/* Removes a closed store's files; OK if there are none. */
LILIO_MUST_USE enum lilio_err base_kv_destroy_rocksdb(const char *path, struct lilio_errinfo *info);

/* Replaces *ret_value's content (the caller owns the buffer). NOT_FOUND leaves it empty. snapshot
 * may be NULL (latest). Errors: NOT_FOUND, CORRUPT, IO, NOMEM. */
LILIO_MUST_USE enum lilio_err base_kv_get(struct base_kv *kv,
                                          const struct base_kv_snapshot *snapshot, unsigned column,
                                          struct base_slice key, struct base_buffer *ret_value,
                                          struct lilio_errinfo *info);

/* OK, or what the first read that failed said (IO, CORRUPT), with the name of its column. A store
 * that said so once has damaged files; other reads of it may well go on. Any thread. */
LILIO_MUST_USE enum lilio_err base_kv_damage(const struct base_kv *kv, struct lilio_errinfo *info);

/* A batch collects changes; its own reads see them over the store ("read your writes"). */
LILIO_MUST_USE enum lilio_err base_kv_batch_new(struct base_kv *kv,
                                                struct base_kv_batch **ret_batch);
void base_kv_batch_free(struct base_kv_batch **batch);
void base_kv_batch_clear(struct base_kv_batch *batch);
size_t base_kv_batch_count(const struct base_kv_batch *batch);
void base_kv_batch_put(struct base_kv_batch *batch, unsigned column, struct base_slice key,
                       struct base_slice value);
void base_kv_batch_delete(struct base_kv_batch *batch, unsigned column, struct base_slice key);
LILIO_MUST_USE enum lilio_err base_kv_batch_get(struct base_kv_batch *batch, unsigned column,
                                                struct base_slice key,
                                                struct base_buffer *ret_value,
                                                struct lilio_errinfo *info);
/* Marks this point (instead of an earlier one); rollback undoes what came after the mark and takes
 * the mark away. */
void base_kv_batch_mark(struct base_kv_batch *batch);
void base_kv_batch_rollback(struct base_kv_batch *batch);
/* Applies all or nothing and empties the batch, also when it fails; a batch whose commit failed may
 * be there, whole, after the next opening. sync: durable when it returns OK. Errors: IO, NO_SPACE,
 * READ_ONLY, CORRUPT, NOMEM. */
LILIO_MUST_USE enum lilio_err base_kv_batch_commit(struct base_kv_batch *batch, bool sync,
                                                   struct lilio_errinfo *info);

/* Everything committed before the call is durable when it returns. Any thread. Errors: IO,
 * NO_SPACE, CORRUPT: the store has to be closed. */
LILIO_MUST_USE enum lilio_err base_kv_flush(struct base_kv *kv, struct lilio_errinfo *info);
/* Makes a consistent, durable copy of the store as of some moment during the call, openable like
 * the store itself: a directory of flat files, hard links where they can be. The path must not
 * exist, its parent must, on the same filesystem. Any thread. Errors: IO, NO_SPACE, EXISTS,
 * UNSUPPORTED (a store in memory). */
LILIO_MUST_USE enum lilio_err base_kv_checkpoint(struct base_kv *kv, const char *path,
                                                 struct lilio_errinfo *info);

LILIO_MUST_USE enum lilio_err base_kv_snapshot_new(struct base_kv *kv,
                                                   struct base_kv_snapshot **ret_snapshot);
void base_kv_snapshot_free(struct base_kv_snapshot **snapshot);

/* Iterates the store (snapshot and batch NULL), a snapshot, or a batch over the store. Key and
 * value are borrowed until the next move. After the last key valid() is false; error() then tells
 * whether it was the end or a failure. */
LILIO_MUST_USE enum lilio_err base_kv_iter_new(struct base_kv *kv,
                                               const struct base_kv_snapshot *snapshot,
                                               struct base_kv_batch *batch, unsigned column,
                                               struct base_kv_iter **ret_iter);
void base_kv_iter_free(struct base_kv_iter **iter);
void base_kv_iter_seek(struct base_kv_iter *iter, struct base_slice key);      /* first key >= */
void base_kv_iter_seek_last(struct base_kv_iter *iter, struct base_slice key); /* last key <= */
void base_kv_iter_next(struct base_kv_iter *iter);
void base_kv_iter_prev(struct base_kv_iter *iter);
bool base_kv_iter_valid(const struct base_kv_iter *iter);
struct base_slice base_kv_iter_key(const struct base_kv_iter *iter);
struct base_slice base_kv_iter_value(const struct base_kv_iter *iter);
LILIO_MUST_USE enum lilio_err base_kv_iter_error(const struct base_kv_iter *iter,
                                                 struct lilio_errinfo *info);

#endif
