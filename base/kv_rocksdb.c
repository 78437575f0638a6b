/* The store on disk. RocksDB's options, errors and memory are known here and nowhere else.
 *
 * Memory: one block cache (index and filter blocks in it) and one memtable budget for all columns.
 * Disk: nothing is preallocated, and the log is cut early, so that an almost empty store stays
 * almost empty. A crash leaves the committed batches up to some point that is not before the last
 * synced one; half a batch never shows.
 *
 * Without a log (no_log) that point is a flush, RocksDB's own or one that was asked for. Both flush
 * all columns as one (atomic_flush). RocksDB 7.8's flush of one column does not take the others
 * along even then, and a flush of several is not in the C interface; but making a checkpoint
 * flushes all of them, durably, before it names the files. So a flush is a checkpoint that is
 * removed at once; a crash leaves its folder inside the store's until the next opening.
 */
#include "base/kv_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/banned.h"

enum {
    CACHE_BYTES = 16 << 20,
    WRITE_BUFFER_BYTES = 16 << 20,
    WRITE_BUFFER_MIN_BYTES = 1 << 20,
    OPEN_FILES_MAX = 256,
    INFO_LOG_BYTES = 256 << 10,
    INFO_LOG_HEADER = 5, /* what it says at opening, nothing later */
    MANIFEST_BYTES = 1 << 20,
    TABLE_BYTES = 16 << 20,
    BLOOM_BITS_PER_KEY = 10,
    BLOB_MIN_BYTES = 1024,
    BLOB_FILE_BYTES = 16 << 20,
    NO_LOG_LEVEL0_FILES = 8, /* merged at once: flushes of all columns make many small files */
};
#define FLUSH_FOLDER          "flush"
#define MEMTABLE_FILTER_RATIO 0.02 /* of a memtable's size */

struct rocks_kv {
    struct base_kv head;
    rocksdb_t *db;
    rocksdb_options_t *options, *blob_options; /* blob_options: of columns with blob files */
    char *path;
    bool no_log;
    pthread_mutex_t flush_lock; /* one flush at a time: they share a folder */
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read_options;
    rocksdb_writeoptions_t *write_options, *sync_options;
    rocksdb_column_family_handle_t *handles[BASE_KV_COLUMNS_MAX + 1]; /* the first is "default" */
};

struct rocks_batch {
    struct base_kv_batch head;
    rocksdb_writebatch_wi_t *batch;
    bool marked;
};

struct rocks_snapshot {
    struct base_kv_snapshot head;
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *read_options;
};

struct rocks_iter {
    struct base_kv_iter head;
    rocksdb_iterator_t *iter;
};

static const struct base_kv_ops rocks_ops;

static rocksdb_column_family_handle_t *handle_of(const struct base_kv *kv, unsigned column)
{
    return ((const struct rocks_kv *)kv)->handles[column + 1];
}

static const char *bytes_of(struct base_slice slice)
{
    return slice.size ? (const char *)slice.data : "";
}

/* ---- errors ---- */

/* RocksDB's C interface reports text only; the first match decides. */
static enum lilio_err err_of_text(const char *text)
{
    static const struct {
        const char *part;
        enum lilio_err err;
    } table[] = {
        {"No space left", LILIO_E_NO_SPACE},
        {"Disk quota exceeded", LILIO_E_NO_SPACE},
        {"Space limit reached", LILIO_E_NO_SPACE},
        {"Read-only file system", LILIO_E_READ_ONLY},
        {"LOCK: Resource temporarily unavailable", LILIO_E_LOCKED},
        {"lock hold by current process", LILIO_E_LOCKED},
        {"While mkdir", LILIO_E_NOT_FOUND},
        {"unknown WriteBatch tag", LILIO_E_CORRUPT},
        {"Corruption", LILIO_E_CORRUPT},
        {"No such file or directory", LILIO_E_CORRUPT}, /* a file the manifest names is gone */
        {"Not implemented", LILIO_E_FORMAT},
        {"Not supported", LILIO_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strstr(text, table[i].part))
            return table[i].err;
    return LILIO_E_IO;
}

/* Translates and frees RocksDB's error text; NULL is OK. */
static enum lilio_err take_error(char *text, const char *what, struct lilio_errinfo *info)
{
    if (!text)
        return LILIO_OK;
    enum lilio_err err = lilio_fail(info, err_of_text(text), "%s: %s", what, text);
    rocksdb_free(text);
    return err;
}

/* ---- opening ---- */

static void set_tables(rocksdb_options_t *options, rocksdb_cache_t *cache)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    rocksdb_block_based_options_set_block_size(table, 4096);
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_block_based_options_set_filter_policy(
        table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS_PER_KEY));
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
}

static void set_memory(rocksdb_options_t *options, const struct base_kv_options *wanted)
{
    size_t budget = wanted->write_buffer_bytes ? wanted->write_buffer_bytes : WRITE_BUFFER_BYTES;
    size_t one = budget / 4 < WRITE_BUFFER_MIN_BYTES ? WRITE_BUFFER_MIN_BYTES : budget / 4;
    rocksdb_options_set_db_write_buffer_size(options, budget);
    rocksdb_options_set_write_buffer_size(options, one);
    rocksdb_options_set_max_write_buffer_number(options, 2);
    rocksdb_options_set_arena_block_size(options, 64 << 10);
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(options, MEMTABLE_FILTER_RATIO);
    rocksdb_options_set_max_total_wal_size(options, one);
    rocksdb_options_set_max_open_files(options, OPEN_FILES_MAX);
    rocksdb_options_set_max_background_jobs(options, 2);
}

static void set_files(rocksdb_options_t *options)
{
    rocksdb_options_set_compression(options, rocksdb_no_compression);
    rocksdb_options_set_target_file_size_base(options, TABLE_BYTES);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
    rocksdb_options_set_paranoid_checks(options, 1);
    rocksdb_options_set_manual_wal_flush(options, 0);
    rocksdb_options_set_use_fsync(options, 0);
    rocksdb_options_set_manifest_preallocation_size(options, 4096);
    rocksdb_options_set_max_manifest_file_size(options, MANIFEST_BYTES);
    rocksdb_options_set_keep_log_file_num(options, 2);
    rocksdb_options_set_max_log_file_size(options, INFO_LOG_BYTES);
    /* On a full disk Debian's build aborts at the second line that cannot be written to LOG. */
    rocksdb_options_set_info_log_level(options, INFO_LOG_HEADER);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_stats_persist_period_sec(options, 0);
    rocksdb_options_set_skip_stats_update_on_db_open(options, 1);
}

/* Values that are large for a row lie in files of their own, which compactions do not copy. */
static void set_blobs(rocksdb_options_t *options, const struct base_kv_options *wanted)
{
    rocksdb_options_set_enable_blob_files(options, 1);
    rocksdb_options_set_min_blob_size(options, wanted->blob_min_bytes ? wanted->blob_min_bytes
                                                                      : BLOB_MIN_BYTES);
    rocksdb_options_set_blob_file_size(options, BLOB_FILE_BYTES);
    rocksdb_options_set_enable_blob_gc(options, 1);
    rocksdb_options_set_blob_gc_age_cutoff(options, 0.25);
    rocksdb_options_set_blob_gc_force_threshold(options, 0.5);
}

static enum lilio_err make_options(struct rocks_kv *kv, const struct base_kv_options *wanted,
                                   struct lilio_errinfo *info)
{
    char *text = NULL;
    rocksdb_options_t *plain = rocksdb_options_create();
    kv->options = rocksdb_options_create();
    /* Have no functions of their own. With fallocate the log alone would reserve the whole memtable
     * budget on disk; a filter over whole keys spares most searches of a memtable for new keys. */
    rocksdb_get_options_from_string(
        plain, "allow_fallocate=false;memtable_whole_key_filtering=true", kv->options, &text);
    rocksdb_options_destroy(plain);
    enum lilio_err err = take_error(text, "RocksDB options", info);
    if (err)
        return err;
    kv->cache = rocksdb_cache_create_lru(wanted->cache_bytes ? wanted->cache_bytes : CACHE_BYTES);
    set_tables(kv->options, kv->cache);
    set_memory(kv->options, wanted);
    set_files(kv->options);
    rocksdb_options_set_wal_recovery_mode(
        kv->options, wanted->log_is_truth ? rocksdb_tolerate_corrupted_tail_records_recovery
                                          : rocksdb_point_in_time_recovery);
    rocksdb_options_set_create_if_missing(kv->options, !wanted->must_exist);
    rocksdb_options_set_error_if_exists(kv->options, wanted->must_not_exist);
    rocksdb_options_set_create_missing_column_families(kv->options, 1);
    kv->read_options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(kv->read_options, 1);
    kv->write_options = rocksdb_writeoptions_create();
    kv->sync_options = rocksdb_writeoptions_create();
    if (wanted->no_log) {
        rocksdb_options_set_atomic_flush(kv->options, 1);
        rocksdb_options_set_level0_file_num_compaction_trigger(kv->options, NO_LOG_LEVEL0_FILES);
        rocksdb_writeoptions_disable_WAL(kv->write_options, 1);
        rocksdb_writeoptions_disable_WAL(kv->sync_options, 1);
    } else {
        rocksdb_writeoptions_set_sync(kv->sync_options, 1);
    }
    kv->blob_options = rocksdb_options_create_copy(kv->options);
    set_blobs(kv->blob_options, wanted);
    return LILIO_OK;
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* RocksDB would start afresh where CURRENT is gone. That is right only if no table or log is there:
 * a crash during the first opening leaves neither. */
static enum lilio_err find_store(const char *path, bool *ret_exists, struct lilio_errinfo *info)
{
    DIR *dir = opendir(path);
    if (!dir && errno != ENOENT)
        return lilio_fail(info, LILIO_E_IO, "%s: %s", path, strerror(errno));
    bool current = false, content = false;
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        current |= strcmp(entry->d_name, "CURRENT") == 0;
        content |= ends_with(entry->d_name, ".sst") || ends_with(entry->d_name, ".log") ||
                   ends_with(entry->d_name, ".blob");
    }
    if (dir)
        closedir(dir);
    if (content && !current)
        return lilio_fail(info, LILIO_E_CORRUPT, "%s: the file CURRENT is missing", path);
    *ret_exists = current;
    return LILIO_OK;
}

static enum lilio_err check_presence(const char *path, const struct base_kv_options *wanted,
                                     bool *ret_exists, struct lilio_errinfo *info)
{
    enum lilio_err err = find_store(path, ret_exists, info);
    if (err)
        return err;
    if (wanted->must_exist && !*ret_exists)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "%s: no store here", path);
    if (wanted->must_not_exist && *ret_exists)
        return lilio_fail(info, LILIO_E_EXISTS, "%s: there is a store already", path);
    return LILIO_OK;
}

static bool column_wanted(const struct base_kv_options *wanted, const char *name)
{
    bool found = strcmp(name, "default") == 0;
    for (size_t i = 0; i < wanted->column_count && !found; i++)
        found = strcmp(name, wanted->columns[i]) == 0;
    return found;
}

/* A column that this program does not know was written by a newer one. */
static enum lilio_err check_columns(const struct rocks_kv *kv, const char *path,
                                    const struct base_kv_options *wanted,
                                    struct lilio_errinfo *info)
{
    char *text = NULL;
    size_t count = 0;
    char **names = rocksdb_list_column_families(kv->options, path, &count, &text);
    enum lilio_err err = take_error(text, "list columns", info);
    for (size_t i = 0; i < count && !err; i++)
        if (!column_wanted(wanted, names[i]))
            err = lilio_fail(info, LILIO_E_FORMAT, "%s: unknown column \"%.64s\"", path, names[i]);
    rocksdb_list_column_families_destroy(names, count); /* a list of none even after a failure */
    return err;
}

static enum lilio_err open_columns(struct rocks_kv *kv, const char *path,
                                   const struct base_kv_options *wanted, struct lilio_errinfo *info)
{
    const char *names[BASE_KV_COLUMNS_MAX + 1] = {"default"};
    const rocksdb_options_t *options[BASE_KV_COLUMNS_MAX + 1] = {kv->options};
    for (size_t i = 0; i < wanted->column_count; i++) {
        names[i + 1] = wanted->columns[i];
        options[i + 1] = wanted->blob_columns >> i & 1 ? kv->blob_options : kv->options;
    }
    char *text = NULL;
    kv->db = rocksdb_open_column_families(kv->options, path, (int)wanted->column_count + 1, names,
                                          options, kv->handles, &text);
    return take_error(text, path, info);
}

/* The store's own folder is an entry of the folder above it, which RocksDB does not sync. */
static enum lilio_err sync_parent(const char *path, struct lilio_errinfo *info)
{
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return lilio_fail(info, LILIO_E_INVALID, "path too long");
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : fsync(fd);
    int code = errno;
    if (fd >= 0)
        close(fd);
    return rc == 0 ? LILIO_OK
                   : lilio_fail(info, LILIO_E_IO, "sync parent of %s: %s", path, strerror(code));
}

static void rocks_free(struct base_kv *base)
{
    struct rocks_kv *kv = (struct rocks_kv *)base;
    for (size_t i = 0; kv->db && i <= kv->head.column_count; i++)
        rocksdb_column_family_handle_destroy(kv->handles[i]);
    if (kv->db)
        rocksdb_close(kv->db);
    if (kv->read_options)
        rocksdb_readoptions_destroy(kv->read_options);
    if (kv->write_options)
        rocksdb_writeoptions_destroy(kv->write_options);
    if (kv->sync_options)
        rocksdb_writeoptions_destroy(kv->sync_options);
    if (kv->options)
        rocksdb_options_destroy(kv->options);
    if (kv->blob_options)
        rocksdb_options_destroy(kv->blob_options);
    if (kv->cache)
        rocksdb_cache_destroy(kv->cache);
    pthread_mutex_destroy(&kv->flush_lock);
    free(kv->path);
    free(kv);
}

/* Removes a folder and the files in it; OK if there is none. */
static enum lilio_err remove_folder(const char *path, struct lilio_errinfo *info)
{
    DIR *dir = opendir(path);
    if (!dir && errno == ENOENT)
        return LILIO_OK;
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        (void)unlinkat(dirfd(dir), entry->d_name, 0); /* what stays is noticed below */
    if (dir)
        closedir(dir);
    if (rmdir(path) < 0)
        return lilio_fail(info, lilio_err_from_errno(errno), "remove %s: %s", path,
                          strerror(errno));
    return LILIO_OK;
}

/* What a crash during a flush left behind. */
static enum lilio_err remove_flush_folders(const char *path, struct lilio_errinfo *info)
{
    static const char *const names[] = {FLUSH_FOLDER, FLUSH_FOLDER ".tmp"};
    enum lilio_err err = LILIO_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && !err; i++) {
        char folder[PATH_MAX];
        if (snprintf(folder, sizeof folder, "%s/%s", path, names[i]) >= (int)sizeof folder)
            return lilio_fail(info, LILIO_E_INVALID, "path too long");
        err = remove_folder(folder, info);
    }
    return err;
}

enum lilio_err base_kv_open_rocksdb(const char *path, const struct base_kv_options *options,
                                    struct base_kv **ret_kv, struct lilio_errinfo *info)
{
    LILIO_ASSERT(options->column_count <= BASE_KV_COLUMNS_MAX);
    bool exists = false;
    enum lilio_err err = check_presence(path, options, &exists, info);
    if (err)
        return err;
    struct rocks_kv *kv = calloc(1, sizeof *kv);
    if (!kv)
        return lilio_fail(info, LILIO_E_NOMEM, "%s: out of memory", path);
    base_kv_head_init(&kv->head, &rocks_ops, options);
    kv->no_log = options->no_log;
    pthread_mutex_init(&kv->flush_lock, NULL);
    kv->path = strdup(path);
    err = kv->path ? make_options(kv, options, info)
                   : lilio_fail(info, LILIO_E_NOMEM, "%s: out of memory", path);
    if (!err && exists)
        err = check_columns(kv, path, options, info);
    if (!err)
        err = open_columns(kv, path, options, info);
    if (!err && !exists)
        err = sync_parent(path, info);
    if (!err) /* the lock is held now: nobody is flushing */
        err = remove_flush_folders(path, info);
    if (err)
        rocks_free(&kv->head);
    else
        *ret_kv = &kv->head;
    return err;
}

enum lilio_err base_kv_destroy_rocksdb(const char *path, struct lilio_errinfo *info)
{
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return LILIO_OK;
    enum lilio_err err = remove_flush_folders(path, info);
    if (err)
        return err;
    char *text = NULL;
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_destroy_db(options, path, &text);
    rocksdb_options_destroy(options);
    return take_error(text, path, info);
}

/* ---- reading ---- */

static const rocksdb_readoptions_t *read_options_of(const struct base_kv *kv,
                                                    const struct base_kv_snapshot *snapshot)
{
    return snapshot ? ((const struct rocks_snapshot *)snapshot)->read_options
                    : ((const struct rocks_kv *)kv)->read_options;
}

static enum lilio_err rocks_get(struct base_kv *base, const struct base_kv_snapshot *snapshot,
                                unsigned column, struct base_slice key,
                                struct base_buffer *ret_value, struct lilio_errinfo *info)
{
    struct rocks_kv *kv = (struct rocks_kv *)base;
    char *text = NULL;
    rocksdb_pinnableslice_t *found =
        rocksdb_get_pinned_cf(kv->db, read_options_of(base, snapshot), handle_of(base, column),
                              bytes_of(key), key.size, &text);
    enum lilio_err err = take_error(text, "get", info);
    if (err)
        return err;
    if (!found)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "no such row");
    size_t size;
    const char *value = rocksdb_pinnableslice_value(found, &size);
    err = base_buffer_append(ret_value, value, size);
    rocksdb_pinnableslice_destroy(found);
    return err ? lilio_fail(info, err, "get: out of memory") : LILIO_OK;
}

/* ---- batches ---- */

static enum lilio_err rocks_batch_new(struct base_kv *kv, struct base_kv_batch **ret_batch)
{
    struct rocks_batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return LILIO_E_NOMEM;
    /* Overwriting keys in the index gives each key one entry, the newest: what iteration needs. */
    *batch = (struct rocks_batch){{kv}, rocksdb_writebatch_wi_create(0, 1), false};
    *ret_batch = &batch->head;
    return LILIO_OK;
}

static void rocks_batch_free(struct base_kv_batch *base)
{
    struct rocks_batch *batch = (struct rocks_batch *)base;
    rocksdb_writebatch_wi_destroy(batch->batch);
    free(batch);
}

static void rocks_batch_clear(struct base_kv_batch *base)
{
    struct rocks_batch *batch = (struct rocks_batch *)base;
    rocksdb_writebatch_wi_clear(batch->batch);
    batch->marked = false;
}

static size_t rocks_batch_count(const struct base_kv_batch *base)
{
    return (size_t)rocksdb_writebatch_wi_count(((const struct rocks_batch *)base)->batch);
}

static void rocks_batch_put(struct base_kv_batch *base, unsigned column, struct base_slice key,
                            struct base_slice value)
{
    struct rocks_batch *batch = (struct rocks_batch *)base;
    rocksdb_writebatch_wi_put_cf(batch->batch, handle_of(base->kv, column), bytes_of(key), key.size,
                                 bytes_of(value), value.size);
}

static void rocks_batch_delete(struct base_kv_batch *base, unsigned column, struct base_slice key)
{
    struct rocks_batch *batch = (struct rocks_batch *)base;
    rocksdb_writebatch_wi_delete_cf(batch->batch, handle_of(base->kv, column), bytes_of(key),
                                    key.size);
}

static enum lilio_err rocks_batch_get(struct base_kv_batch *base, unsigned column,
                                      struct base_slice key, struct base_buffer *ret_value,
                                      struct lilio_errinfo *info)
{
    struct rocks_batch *batch = (struct rocks_batch *)base;
    struct rocks_kv *kv = (struct rocks_kv *)base->kv;
    char *text = NULL;
    size_t size = 0;
    char *value = rocksdb_writebatch_wi_get_from_batch_and_db_cf(
        batch->batch, kv->db, kv->read_options, handle_of(base->kv, column), bytes_of(key),
        key.size, &size, &text);
    enum lilio_err err = take_error(text, "get", info);
    if (err)
        return err;
    if (!value)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "no such row");
    err = base_buffer_append(ret_value, value, size);
    rocksdb_free(value);
    return err ? lilio_fail(info, err, "get: out of memory") : LILIO_OK;
}

static void rocks_batch_mark(struct base_kv_batch *base)
{
    struct rocks_batch *batch = (struct rocks_batch *)base;
    rocksdb_writebatch_wi_set_save_point(batch->batch);
    batch->marked = true;
}

static void rocks_batch_rollback(struct base_kv_batch *base)
{
    struct rocks_batch *batch = (struct rocks_batch *)base;
    LILIO_ASSERT(batch->marked);
    char *text = NULL;
    rocksdb_writebatch_wi_rollback_to_save_point(batch->batch, &text);
    LILIO_ASSERT(!text); /* fails only without a save point */
    batch->marked = false;
}

static enum lilio_err rocks_batch_commit(struct base_kv_batch *base, bool sync,
                                         struct lilio_errinfo *info)
{
    struct rocks_batch *batch = (struct rocks_batch *)base;
    struct rocks_kv *kv = (struct rocks_kv *)base->kv;
    char *text = NULL;
    rocksdb_write_writebatch_wi(kv->db, sync ? kv->sync_options : kv->write_options, batch->batch,
                                &text);
    rocks_batch_clear(base);
    return take_error(text, "commit", info);
}

/* ---- flushes and checkpoints ---- */

static enum lilio_err make_checkpoint(struct rocks_kv *kv, const char *path,
                                      struct lilio_errinfo *info)
{
    char *text = NULL;
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(kv->db, &text);
    if (!text)
        rocksdb_checkpoint_create(checkpoint, path, /* flush whatever the log's size */ 0, &text);
    if (checkpoint)
        rocksdb_checkpoint_object_destroy(checkpoint);
    return take_error(text, "checkpoint", info);
}

static enum lilio_err flush_columns(struct rocks_kv *kv, struct lilio_errinfo *info)
{
    char folder[PATH_MAX];
    if (snprintf(folder, sizeof folder, "%s/" FLUSH_FOLDER, kv->path) >= (int)sizeof folder)
        return lilio_fail(info, LILIO_E_INVALID, "path too long");
    pthread_mutex_lock(&kv->flush_lock);
    enum lilio_err err = make_checkpoint(kv, folder, info);
    err = err ? err : remove_folder(folder, info);
    pthread_mutex_unlock(&kv->flush_lock);
    return err;
}

static enum lilio_err rocks_flush(struct base_kv *base, struct lilio_errinfo *info)
{
    struct rocks_kv *kv = (struct rocks_kv *)base;
    char *text = NULL;
    if (kv->no_log)
        return flush_columns(kv, info);
    rocksdb_flush_wal(kv->db, /* sync */ 1, &text);
    return take_error(text, "flush", info);
}

static enum lilio_err rocks_checkpoint(struct base_kv *base, const char *path,
                                       struct lilio_errinfo *info)
{
    if (access(path, F_OK) == 0)
        return lilio_fail(info, LILIO_E_EXISTS, "checkpoint: %s exists", path);
    enum lilio_err err = make_checkpoint((struct rocks_kv *)base, path, info);
    return err ? err : sync_parent(path, info);
}

/* ---- snapshots and iterators ---- */

static enum lilio_err rocks_snapshot_new(struct base_kv *base,
                                         struct base_kv_snapshot **ret_snapshot)
{
    struct rocks_kv *kv = (struct rocks_kv *)base;
    struct rocks_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (!snapshot)
        return LILIO_E_NOMEM;
    *snapshot = (struct rocks_snapshot){
        {base}, rocksdb_create_snapshot(kv->db), rocksdb_readoptions_create()};
    rocksdb_readoptions_set_verify_checksums(snapshot->read_options, 1);
    rocksdb_readoptions_set_snapshot(snapshot->read_options, snapshot->snapshot);
    *ret_snapshot = &snapshot->head;
    return LILIO_OK;
}

static void rocks_snapshot_free(struct base_kv_snapshot *base)
{
    struct rocks_snapshot *snapshot = (struct rocks_snapshot *)base;
    rocksdb_readoptions_destroy(snapshot->read_options);
    rocksdb_release_snapshot(((struct rocks_kv *)base->kv)->db, snapshot->snapshot);
    free(snapshot);
}

static enum lilio_err rocks_iter_new(struct base_kv *base, const struct base_kv_snapshot *snapshot,
                                     struct base_kv_batch *batch, unsigned column,
                                     struct base_kv_iter **ret_iter)
{
    struct rocks_kv *kv = (struct rocks_kv *)base;
    struct rocks_iter *iter = calloc(1, sizeof *iter);
    if (!iter)
        return LILIO_E_NOMEM;
    rocksdb_column_family_handle_t *handle = handle_of(base, column);
    rocksdb_iterator_t *rows =
        rocksdb_create_iterator_cf(kv->db, read_options_of(base, snapshot), handle);
    if (batch)
        rows = rocksdb_writebatch_wi_create_iterator_with_base_cf(
            ((struct rocks_batch *)batch)->batch, rows, handle);
    *iter = (struct rocks_iter){{.kv = base}, rows};
    *ret_iter = &iter->head;
    return LILIO_OK;
}

static void rocks_iter_free(struct base_kv_iter *base)
{
    struct rocks_iter *iter = (struct rocks_iter *)base;
    rocksdb_iter_destroy(iter->iter);
    free(iter);
}

static void rocks_iter_seek(struct base_kv_iter *iter, struct base_slice key)
{
    rocksdb_iter_seek(((struct rocks_iter *)iter)->iter, bytes_of(key), key.size);
}

static void rocks_iter_seek_last(struct base_kv_iter *iter, struct base_slice key)
{
    rocksdb_iter_seek_for_prev(((struct rocks_iter *)iter)->iter, bytes_of(key), key.size);
}

static void rocks_iter_next(struct base_kv_iter *iter)
{
    rocksdb_iter_next(((struct rocks_iter *)iter)->iter);
}

static void rocks_iter_prev(struct base_kv_iter *iter)
{
    rocksdb_iter_prev(((struct rocks_iter *)iter)->iter);
}

static bool rocks_iter_valid(const struct base_kv_iter *iter)
{
    return rocksdb_iter_valid(((const struct rocks_iter *)iter)->iter);
}

static struct base_slice rocks_iter_key(const struct base_kv_iter *iter)
{
    size_t size;
    const char *key = rocksdb_iter_key(((const struct rocks_iter *)iter)->iter, &size);
    return base_slice(key, size);
}

static struct base_slice rocks_iter_value(const struct base_kv_iter *iter)
{
    size_t size;
    const char *value = rocksdb_iter_value(((const struct rocks_iter *)iter)->iter, &size);
    return base_slice(value, size);
}

static enum lilio_err rocks_iter_error(const struct base_kv_iter *iter, struct lilio_errinfo *info)
{
    char *text = NULL;
    rocksdb_iter_get_error(((const struct rocks_iter *)iter)->iter, &text);
    return take_error(text, "iterate", info);
}

static const struct base_kv_ops rocks_ops = {
    .free = rocks_free,
    .get = rocks_get,
    .batch_new = rocks_batch_new,
    .batch_free = rocks_batch_free,
    .batch_clear = rocks_batch_clear,
    .batch_count = rocks_batch_count,
    .batch_put = rocks_batch_put,
    .batch_delete = rocks_batch_delete,
    .batch_get = rocks_batch_get,
    .batch_mark = rocks_batch_mark,
    .batch_rollback = rocks_batch_rollback,
    .batch_commit = rocks_batch_commit,
    .flush = rocks_flush,
    .checkpoint = rocks_checkpoint,
    .snapshot_new = rocks_snapshot_new,
    .snapshot_free = rocks_snapshot_free,
    .iter_new = rocks_iter_new,
    .iter_free = rocks_iter_free,
    .iter_seek = rocks_iter_seek,
    .iter_seek_last = rocks_iter_seek_last,
    .iter_next = rocks_iter_next,
    .iter_prev = rocks_iter_prev,
    .iter_valid = rocks_iter_valid,
    .iter_key = rocks_iter_key,
    .iter_value = rocks_iter_value,
    .iter_error = rocks_iter_error,
};
