/* The files of the log: DIR/log/<sequence>.log.
 *
 * A segment is born in this order, so that the only one without a valid header that a crash can
 * leave is the newest, and nothing was ever in it:
 *  1. the name: the oldest segment that is not needed is renamed, or a file is created; folder
 *     synced;
 *  2. the header, with a fresh nonce, and (where the blocks were never written) zeros ahead; file
 *     synced.
 * Only then a batch may go into it. Segments go one by one from the oldest on, the folder synced
 * after each, so the sequences that are left are always consecutive.
 */
#include "coordinator/raft/log_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

enum { ZERO_BYTES = 64 << 10, ZERO_VECTORS = 16 };

static _Alignas(LOG_BLOCK) uint8_t zeros[ZERO_BYTES];

static const char *file_name(uint64_t sequence, char ret_name[LOG_NAME_MAX])
{
    (void)snprintf(ret_name, LOG_NAME_MAX, LOG_FOLDER "/%016" PRIx64 ".log", sequence); /* fits */
    return ret_name;
}

/* ---- the list ---- */

struct log_segment *log_segment_get(const struct raft_log *log, uint64_t sequence)
{
    const struct log_segments *segments = &log->segments;
    uint64_t at = sequence - segments->list[0]->sequence;
    LILIO_ASSERT(at < segments->count);
    return segments->list[at];
}

static void segment_free(struct log_segment *segment)
{
    base_file_close(&segment->file);
    free(segment);
}

void log_segments_release(struct raft_log *log)
{
    for (size_t i = 0; i < log->segments.count; i++)
        segment_free(log->segments.list[i]);
    free(log->segments.list);
    log->segments = (struct log_segments){0};
}

static enum lilio_err list_push(struct log_segments *segments, struct log_segment *segment)
{
    struct log_segment **list =
        reallocarray(segments->list, segments->count + 1, sizeof *segments->list);
    if (!list)
        return LILIO_E_NOMEM;
    segments->list = list;
    segments->list[segments->count++] = segment;
    return LILIO_OK;
}

static void list_shift(struct log_segments *segments)
{
    segments->count--;
    segments->pool -= segments->pool > 0;
    segments->active -= segments->active > 0;
    memmove(segments->list, segments->list + 1, segments->count * sizeof *segments->list);
}

/* ---- what is there ---- */

struct listing {
    struct log_segments *segments;
    enum lilio_err err;
};

static void list_each(void *context, const char *name)
{
    struct listing *listing = context;
    uint64_t sequence;
    if (listing->err || !base_disk_number_parse(name, ".log", &sequence))
        return;
    struct log_segment *segment = calloc(1, sizeof *segment);
    if (segment)
        segment->sequence = sequence;
    listing->err = segment ? list_push(listing->segments, segment) : LILIO_E_NOMEM;
    if (listing->err)
        free(segment);
}

static int by_sequence(const void *a, const void *b)
{
    uint64_t left = (*(struct log_segment *const *)a)->sequence;
    uint64_t right = (*(struct log_segment *const *)b)->sequence;
    return (left > right) - (left < right);
}

enum lilio_err log_segments_open(struct raft_log *log, struct lilio_errinfo *info)
{
    struct base_disk *disk = log->disk;
    struct listing listing = {.segments = &log->segments};
    enum lilio_err err = disk->ops->list(disk, LOG_FOLDER, list_each, &listing, info);
    if (!err && listing.err)
        err = lilio_fail(info, listing.err, "out of memory");
    if (log->segments.count > 0)
        qsort(log->segments.list, log->segments.count, sizeof *log->segments.list, by_sequence);
    for (size_t i = 0; i < log->segments.count && !err; i++) {
        struct log_segment *segment = log->segments.list[i];
        char name[LOG_NAME_MAX];
        err = disk->ops->open(disk, file_name(segment->sequence, name), BASE_OPEN_DIRECT,
                              &segment->file, info);
        err = err ? err : segment->file->ops->size(segment->file, &segment->written, info);
        segment->written -= segment->written % LOG_BLOCK;
        segment->end = LOG_DATA_AT;
    }
    return err;
}

/* ---- birth ---- */

static void set_written(struct raft_log *log, struct log_segment *segment, uint64_t written)
{
    pthread_mutex_lock(&log->lock);
    if (segment->written < written)
        segment->written = written;
    pthread_mutex_unlock(&log->lock);
}

enum lilio_err log_segment_zero(struct raft_log *log, struct log_segment *segment, uint64_t until,
                                struct lilio_errinfo *info)
{
    uint64_t target = segment->written + LOG_ZERO_STEP;
    if (target > log->segment_bytes)
        target = log->segment_bytes;
    if (target < until)
        target = until;
    while (segment->written < target) {
        struct iovec vectors[ZERO_VECTORS];
        uint64_t left = target - segment->written;
        int count = 0;
        uint64_t size = 0;
        for (; count < ZERO_VECTORS && size < left; count++) {
            uint64_t part = left - size < ZERO_BYTES ? left - size : ZERO_BYTES;
            vectors[count] = (struct iovec){zeros, part};
            size += part;
        }
        enum lilio_err err =
            segment->file->ops->write(segment->file, vectors, count, segment->written, info);
        if (err)
            return err;
        set_written(log, segment, segment->written + size);
    }
    return LILIO_OK;
}

enum lilio_err log_segment_birth(struct raft_log *log, struct log_segment *segment,
                                 const struct log_header *start, struct lilio_errinfo *info)
{
    _Alignas(LOG_BLOCK) uint8_t copies[LOG_HEADER_COPIES * LOG_BLOCK];
    struct log_header header = start ? *start : (struct log_header){0};
    header.owner = log->owner;
    header.sequence = segment->sequence;
    header.nonce = base_random_u64(log->random);
    for (size_t i = 0; i < LOG_HEADER_COPIES; i++)
        log_header_encode(&header, copies + i * LOG_BLOCK);
    struct base_file *file = segment->file;
    enum lilio_err err = file->ops->write(file, &(struct iovec){copies, sizeof copies}, 1, 0, info);
    if (err)
        return err;
    set_written(log, segment, sizeof copies);
    if (segment->written < LOG_DATA_AT + LOG_BLOCK)
        err = log_segment_zero(log, segment, 0, info);
    err = err ? err : file->ops->sync(file, info);
    if (err)
        return err;
    pthread_mutex_lock(&log->lock);
    segment->nonce = header.nonce;
    segment->end = LOG_DATA_AT;
    pthread_mutex_unlock(&log->lock);
    return LILIO_OK;
}

static enum lilio_err take_from_pool(struct raft_log *log, uint64_t sequence,
                                     struct lilio_errinfo *info)
{
    char from[LOG_NAME_MAX], to[LOG_NAME_MAX];
    struct log_segment *segment = log->segments.list[0];
    enum lilio_err err = log->disk->ops->rename(log->disk, file_name(segment->sequence, from),
                                                file_name(sequence, to), info);
    if (err)
        return err;
    pthread_mutex_lock(&log->lock);
    list_shift(&log->segments);
    segment->sequence = sequence;
    log->segments.list[log->segments.count++] = segment; /* where the first one made room */
    pthread_mutex_unlock(&log->lock);
    return LILIO_OK;
}

static enum lilio_err make_file(struct raft_log *log, uint64_t sequence, struct lilio_errinfo *info)
{
    char name[LOG_NAME_MAX];
    struct log_segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    segment->sequence = sequence;
    segment->end = LOG_DATA_AT;
    enum lilio_err err =
        log->disk->ops->open(log->disk, file_name(sequence, name),
                             BASE_OPEN_CREATE | BASE_OPEN_DIRECT, &segment->file, info);
    if (!err) {
        pthread_mutex_lock(&log->lock);
        err = list_push(&log->segments, segment);
        pthread_mutex_unlock(&log->lock);
    }
    if (err)
        segment_free(segment);
    return err;
}

enum lilio_err log_segment_add(struct raft_log *log, const struct log_header *start,
                               struct lilio_errinfo *info)
{
    struct log_segments *segments = &log->segments;
    uint64_t sequence = segments->count ? segments->list[segments->count - 1]->sequence + 1 : 1;
    pthread_mutex_lock(&log->lock);
    bool pooled = segments->pool > 0;
    pthread_mutex_unlock(&log->lock);
    enum lilio_err err =
        pooled ? take_from_pool(log, sequence, info) : make_file(log, sequence, info);
    err = err ? err : log->disk->ops->sync_dir(log->disk, LOG_FOLDER, info);
    return err ? err : log_segment_birth(log, segments->list[segments->count - 1], start, info);
}

/* ---- death ---- */

static enum lilio_err remove_file(struct raft_log *log, const struct log_segment *segment,
                                  struct lilio_errinfo *info)
{
    char name[LOG_NAME_MAX];
    enum lilio_err err =
        log->disk->ops->unlink(log->disk, file_name(segment->sequence, name), info);
    return err ? err : log->disk->ops->sync_dir(log->disk, LOG_FOLDER, info);
}

enum lilio_err log_segment_drop_first(struct raft_log *log, struct lilio_errinfo *info)
{
    struct log_segment *segment = log->segments.list[0];
    enum lilio_err err = remove_file(log, segment, info);
    if (err)
        return err;
    pthread_mutex_lock(&log->lock);
    list_shift(&log->segments);
    pthread_mutex_unlock(&log->lock);
    segment_free(segment);
    return LILIO_OK;
}

enum lilio_err log_segment_drop_last(struct raft_log *log, struct lilio_errinfo *info)
{
    struct log_segment *segment = log->segments.list[log->segments.count - 1];
    enum lilio_err err = remove_file(log, segment, info);
    if (err)
        return err;
    pthread_mutex_lock(&log->lock);
    log->segments.count--;
    pthread_mutex_unlock(&log->lock);
    segment_free(segment);
    return LILIO_OK;
}
