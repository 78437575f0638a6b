/* The segment store as a whole: opening and closing, accounting, and what any thread may ask. */
#include "osd/segment_priv.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/banned.h"

#define SEGMENT_BYTES_MAX (UINT64_C(256) << 20)
#define SEGMENT_BYTES_MIN (UINT64_C(2) << 20)
enum { SEGMENTS_OF_A_DISK = 256 };

/* ---- state that all parts use ---- */

enum lilio_err osd_segment_store_fail(struct osd_segment_store *store, enum lilio_err err,
                                      const char *what, const struct lilio_errinfo *info)
{
    if (!store->failed)
        base_log_write(store->log, BASE_LOG_ERROR, "store", "failed",
                       "what=%s err=%s why=%s action=read-only", what, lilio_err_name(err),
                       info ? info->text : "");
    store->failed = true;
    return err;
}

void osd_segment_store_count(struct osd_segment_store *store, uint64_t *counter, uint64_t more)
{
    pthread_mutex_lock(&store->lock);
    *counter += more;
    pthread_mutex_unlock(&store->lock);
}

static void set_incomplete(struct osd_segment_store *store, bool incomplete)
{
    pthread_mutex_lock(&store->lock);
    store->stats.incomplete = incomplete;
    pthread_mutex_unlock(&store->lock);
}

enum lilio_err osd_segment_store_incomplete(struct osd_segment_store *store,
                                            struct lilio_errinfo *info)
{
    struct base_file *file = NULL;
    if (store->stats.incomplete)
        return LILIO_OK;
    enum lilio_err err =
        store->disk->ops->open(store->disk, OSD_INCOMPLETE_NAME, BASE_OPEN_CREATE, &file, info);
    base_file_close(&file);
    if (!err)
        err = store->disk->ops->sync_dir(store->disk, "", info);
    if (!err)
        set_incomplete(store, true);
    return err;
}

static enum lilio_err segment_store_set_complete(struct osd_store *head, struct lilio_errinfo *info)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    if (store->failed)
        return lilio_fail(info, LILIO_E_READ_ONLY, "the store is read-only after a failed write");
    enum lilio_err err = store->disk->ops->unlink(store->disk, OSD_INCOMPLETE_NAME, info);
    if (err == LILIO_E_NOT_FOUND)
        err = LILIO_OK;
    if (!err)
        err = store->disk->ops->sync_dir(store->disk, "", info);
    if (err)
        return err;
    set_incomplete(store, false);
    for (size_t i = 0; i < store->segment_count; i++) {
        if (!(store->segments[i]->keep & OSD_KEEP_DAMAGED))
            continue;
        store->segments[i]->keep &= (uint8_t)~OSD_KEEP_DAMAGED;
        osd_index_touch(store, store->segments[i]);
    }
    return osd_index_commit(store, false, info);
}

/* ---- accounting ---- */

uint64_t osd_free_bytes(struct osd_segment_store *store)
{
    struct base_disk_space space;
    if (store->disk->ops->space(store->disk, &space, NULL) != LILIO_OK)
        return UINT64_MAX; /* unknown: reserving blocks will tell */
    uint64_t ahead = store->active ? store->active->allocated - store->active->end : 0;
    return space.free_bytes + ahead;
}

static void account(struct osd_segment_store *store, const struct osd_entry *entry, bool live)
{
    struct osd_segment *segment = osd_segment_find(store, entry->segment);
    uint64_t extent = osd_record_extent(entry->header_length, entry->payload_length);
    uint64_t bytes = live ? extent : -extent, one = live ? 1 : (uint64_t)-1;
    if (!segment) /* its bytes went out of the sums with it */
        return;
    segment->live_bytes += bytes;
    segment->live_count += one;
    segment->pinned &= live; /* what could not be moved may be dead now */
    osd_index_touch(store, segment);
    pthread_mutex_lock(&store->lock);
    store->used_bytes += bytes;
    store->fragment_count += one;
    pthread_mutex_unlock(&store->lock);
}

void osd_account_live(struct osd_segment_store *store, const struct osd_entry *entry)
{
    account(store, entry, true);
}

void osd_account_dead(struct osd_segment_store *store, const struct osd_entry *entry)
{
    account(store, entry, false);
}

void osd_account_tombstone(struct osd_segment_store *store, struct osd_segment *segment,
                           uint64_t first, uint64_t last)
{
    if (segment->tombstone_bytes == 0 || first < segment->tombstone_first)
        segment->tombstone_first = first;
    if (last > segment->tombstone_last)
        segment->tombstone_last = last;
    segment->tombstone_bytes += OSD_RECORD_UNIT;
    osd_index_touch(store, segment);
}

void osd_entry_punch(struct osd_segment_store *store, const struct osd_entry *entry)
{
    struct osd_segment *segment = osd_segment_find(store, entry->segment);
    struct base_file *file;
    uint64_t start = osd_round_up(entry->offset + entry->header_length, BASE_DISK_BLOCK);
    uint64_t end = osd_round_down(entry->offset + entry->header_length + entry->payload_length,
                                  BASE_DISK_BLOCK);
    if (!segment || start >= end)
        return;
    /* Best effort: what is not given back now counts as waste and is compacted. */
    if (osd_segment_file(store, segment, &file, NULL) != LILIO_OK ||
        file->ops->punch(file, start, end - start, NULL) != LILIO_OK)
        return;
    segment->punched_bytes += end - start;
    osd_index_touch(store, segment);
}

/* ---- the plain operations ---- */

static enum lilio_err segment_store_find(struct osd_store *head, uint32_t placement,
                                         uint32_t partition, struct base_oid oid, uint32_t stripe,
                                         uint64_t *ret_mask, struct lilio_errinfo *info)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    enum lilio_err err = osd_index_find(store, placement, partition, oid, stripe, ret_mask, info);
    if ((err == LILIO_E_CORRUPT || err == LILIO_E_IO) && osd_recover_index(store, info) == LILIO_OK)
        err = osd_index_find(store, placement, partition, oid, stripe, ret_mask, info);
    return err;
}

static enum lilio_err segment_store_list(struct osd_store *head,
                                         const struct base_fragment_key *after,
                                         struct base_fragment_key *ret_keys, size_t room,
                                         size_t *ret_count, struct lilio_errinfo *info)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    enum lilio_err err = osd_index_list(store, after, ret_keys, room, ret_count, info);
    if ((err == LILIO_E_CORRUPT || err == LILIO_E_IO) && osd_recover_index(store, info) == LILIO_OK)
        err = osd_index_list(store, after, ret_keys, room, ret_count, info);
    return err;
}

static void segment_store_space(struct osd_store *head, struct osd_store_space *ret)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    struct base_disk_space space = {0};
    (void)store->disk->ops->space(store->disk, &space, NULL); /* a disk that cannot say has none */
    ret->total_bytes = space.total_bytes;
    ret->free_bytes = space.free_bytes;
    ret->reserve_bytes = store->reserve_bytes;
    pthread_mutex_lock(&store->lock);
    ret->used_bytes = store->used_bytes;
    ret->fragment_count = store->fragment_count;
    pthread_mutex_unlock(&store->lock);
}

static void segment_store_stats(struct osd_store *head, struct osd_store_stats *ret)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    pthread_mutex_lock(&store->lock);
    *ret = store->stats;
    pthread_mutex_unlock(&store->lock);
}

static enum lilio_err segment_store_health(struct osd_store *head)
{
    return ((struct osd_segment_store *)head)->failed ? LILIO_E_READ_ONLY : LILIO_OK;
}

/* What a handle still reads and writes, but no restart will find. */
static enum lilio_err segment_store_still_there(struct osd_store *head, bool full,
                                                struct lilio_errinfo *info)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    for (size_t i = 0; i < store->segment_count; i++) {
        struct osd_segment *segment = store->segments[i];
        struct base_file *file = full || segment == store->active ? segment->file : NULL;
        enum lilio_err err =
            file && file->ops->still_named ? file->ops->still_named(file, info) : LILIO_OK;
        if (err)
            return err;
    }
    return LILIO_OK;
}

static void segment_store_free(struct osd_store *head)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    osd_segment_close_active(store);
    osd_index_close(store);
    for (size_t i = 0; i < store->segment_count; i++) {
        base_file_close(&store->segments[i]->file);
        free(store->segments[i]);
    }
    free(store->segments);
    base_buffer_release(&store->value);
    free(store->writer.staging);
    free(store->scratch);
    free(store->index_path);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

static const struct osd_store_ops segment_store_ops = {
    .put = osd_segment_store_put,
    .stat = osd_segment_store_stat,
    .look = osd_segment_store_look,
    .get = osd_segment_store_get,
    .remove = osd_segment_store_remove,
    .find = segment_store_find,
    .list = segment_store_list,
    .tick = osd_segment_store_tick,
    .space = segment_store_space,
    .stats = segment_store_stats,
    .set_complete = segment_store_set_complete,
    .health = segment_store_health,
    .still_there = segment_store_still_there,
    .free = segment_store_free,
};

/* ---- opening ---- */

/* Small disks get a small reserve and small segments: compaction needs room for what lives in one
 * segment, and has to find it inside the reserve. */
static enum lilio_err set_sizes(struct osd_segment_store *store,
                                const struct osd_store_options *options, struct lilio_errinfo *info)
{
    struct base_disk_space space;
    enum lilio_err err = store->disk->ops->space(store->disk, &space, info);
    if (err)
        return err;
    store->reserve_bytes = options->reserve_bytes ? options->reserve_bytes
                                                  : base_disk_reserve_bytes(space.total_bytes);
    uint64_t part = space.total_bytes / SEGMENTS_OF_A_DISK;
    store->segment_bytes = part < SEGMENT_BYTES_MAX ? part : SEGMENT_BYTES_MAX;
    if (store->segment_bytes < SEGMENT_BYTES_MIN)
        store->segment_bytes = SEGMENT_BYTES_MIN;
    if (options->segment_bytes)
        store->segment_bytes = options->segment_bytes;
    return LILIO_OK;
}

/* An unclean mark of an earlier process. */
static enum lilio_err load_incomplete(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    struct base_file *file = NULL;
    enum lilio_err err =
        store->disk->ops->open(store->disk, OSD_INCOMPLETE_NAME, BASE_OPEN_READ_ONLY, &file, info);
    store->stats.incomplete = err == LILIO_OK;
    base_file_close(&file);
    return err == LILIO_E_NOT_FOUND ? LILIO_OK : err;
}

static struct osd_segment_store *store_new(const struct osd_store_options *options)
{
    struct osd_segment_store *store = calloc(1, sizeof *store);
    if (!store)
        return NULL;
    store->head.ops = &segment_store_ops;
    store->disk = options->disk;
    store->cluster_id = options->cluster_id;
    store->disk_uuid = options->disk_uuid;
    store->clock = options->clock ? options->clock : base_clock_system();
    store->random = options->random ? options->random : base_random_system();
    store->log = options->log;
    store->next_id = store->next_sequence = 1;
    pthread_mutex_init(&store->lock, NULL);
    store->writer.staging = aligned_alloc(BASE_DISK_BLOCK, OSD_STAGING_BYTES);
    store->scratch = aligned_alloc(BASE_DISK_BLOCK, OSD_SCRATCH_BYTES);
    store->index_path = options->index_path ? strdup(options->index_path) : NULL;
    if (!store->writer.staging || !store->scratch || (options->index_path && !store->index_path)) {
        segment_store_free(&store->head);
        return NULL;
    }
    return store;
}

enum lilio_err osd_segment_store_open(const struct osd_store_options *options,
                                      struct osd_store **ret_store, struct lilio_errinfo *info)
{
    struct osd_segment_store *store = store_new(options);
    if (!store)
        return lilio_fail(info, LILIO_E_NOMEM, "fragment store: out of memory");
    enum lilio_err err = set_sizes(store, options, info);
    if (!err)
        err = load_incomplete(store, info);
    if (!err)
        err = osd_recover(store, info);
    if (err) {
        store->failed = true; /* nothing is to be trimmed on the way out */
        segment_store_free(&store->head);
        return lilio_prefix(info, err, "fragment store");
    }
    *ret_store = &store->head;
    return LILIO_OK;
}
