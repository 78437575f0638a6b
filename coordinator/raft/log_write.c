/* The writer: batches to the disk, and chores in between.
 *
 * A batch is everything that waits (up to a bound): one write, one sync, into blocks that were
 * written before, so that the sync has nothing but data to write. Batch n is written only when
 * batch n - 1 is durable: whoever finds n has proof of everything before it.
 *
 * Chores are done by a call that finds nothing to write, one at a time:
 *  - the mark, which proves the last batch when no further one follows. It is not synced: it may
 *    get lost, but where it is read, what it says was durable before it was written;
 *  - zeros ahead of the end;
 *  - the next segment, once this one is three quarters full;
 *  - segments beyond the pool removed.
 * Under constant load the first comes by itself with the next batch, and the others are done when
 * they cannot wait any longer.
 */
#include "coordinator/raft/log_priv.h"

#include <stdlib.h>

#include "base/planted.h"
#include "codec/codec.h"

#include "base/banned.h"

static struct log_segment *active_of(const struct raft_log *log)
{
    return log->segments.list[log->segments.active];
}

/* ---- batches ---- */

static enum lilio_err next_segment(struct raft_log *log, struct lilio_errinfo *info)
{
    if (log->segments.active + 1 == log->segments.count) {
        enum lilio_err err = log_segment_add(log, NULL, info);
        if (err)
            return err;
    }
    pthread_mutex_lock(&log->lock);
    log->segments.active++;
    pthread_mutex_unlock(&log->lock);
    return LILIO_OK;
}

enum lilio_err log_write_batch(struct raft_log *log, struct log_batch_header *header,
                               struct log_place *ret_place, struct lilio_errinfo *info)
{
    uint64_t size = log_batch_size(header->length);
    struct log_segment *segment = active_of(log);
    enum lilio_err err = LILIO_OK;
    if (header->number == LOG_NUMBER_END)
        return lilio_fail(info, LILIO_E_TOO_BIG, "the numbers of batches are used up");
    if (segment->end > LOG_DATA_AT && segment->end + size > log->segment_bytes) {
        err = next_segment(log, info);
        segment = active_of(log);
    }
    if (!err && segment->written < segment->end + size)
        err = log_segment_zero(log, segment, segment->end + size, info);
    if (err)
        return err;
    uint8_t *bytes = log->staging.data;
    header->sequence = segment->sequence;
    header->nonce = segment->nonce;
    header->body_checksum = codec_crc32c(0, bytes + LOG_BATCH_HEADER, header->length);
    log_batch_encode(header, segment->end, bytes);
    size_t used = LOG_BATCH_HEADER + header->length;
    memset(bytes + used, 0, size - used);
    err = segment->file->ops->write(segment->file, &(struct iovec){bytes, size}, 1, segment->end,
                                    info);
    err = err ? err : segment->file->ops->sync(segment->file, info);
    if (err)
        return err;
    *ret_place = (struct log_place){header->first, header->count, header->length, segment->sequence,
                                    segment->end};
    pthread_mutex_lock(&log->lock);
    segment->end += size;
    pthread_mutex_unlock(&log->lock);
    log->number = header->number;
    return LILIO_OK;
}

/* Takes what waits into the staging buffer; a count of 0 if there is nothing. */
static enum lilio_err take(struct raft_log *log, struct log_batch_header *ret)
{
    const struct log_table *table = &log->table;
    enum lilio_err err = LILIO_OK;
    *ret = (struct log_batch_header){.number = log->number + 1, .first = log->unwritten};
    uint64_t end = log->unwritten;
    for (; end <= table->last && (ret->count == 0 || ret->length < LOG_BATCH_FILL); end++) {
        const struct raft_entry *entry = &log->cache[end & (log->cache_room - 1)];
        if (ret->count > 0 && ret->length + LOG_ENTRY_HEADER + entry->data.size > LOG_BATCH_MAX)
            break;
        ret->length += (uint32_t)(LOG_ENTRY_HEADER + entry->data.size);
        ret->count++;
    }
    if (ret->count == 0)
        return LILIO_OK;
    err = log_table_reserve(&log->table, 0, 1);
    err = err ? err : log_buffer_reserve(&log->staging, log_batch_size(ret->length));
    if (err)
        return err;
    ret->previous_term = log_table_term(table, ret->first - 1);
    uint8_t *to = log->staging.data + LOG_BATCH_HEADER;
    for (uint64_t index = ret->first; index < end; index++) {
        const struct raft_entry *entry = &log->cache[index & (log->cache_room - 1)];
        log_entry_encode(entry, to);
        memcpy(to + LOG_ENTRY_HEADER, entry->data.data, entry->data.size);
        to += LOG_ENTRY_HEADER + entry->data.size;
    }
    log->unwritten = log->flight_end = end;
    log->mark_due = false;
    return LILIO_OK;
}

/* What was replaced while it was written does not count. */
static void settle(struct raft_log *log, struct log_place place)
{
    uint64_t end = log->flight_end;
    if (end > place.first) {
        place.count = (uint32_t)(end - place.first);
        log_table_place(&log->table, place);
        for (uint64_t index = place.first; index < end; index++)
            log->waiting_bytes -=
                LOG_ENTRY_HEADER + log->cache[index & (log->cache_room - 1)].data.size;
        log->durable = end - 1;
    }
    log->mark_due = true;
}

/* The planted bug: as if the entries that could not be written had never been appended. */
static enum lilio_err forget_failure(struct raft_log *log)
{
    pthread_mutex_lock(&log->lock);
    log_table_truncate(&log->table, log->durable + 1);
    log_cache_truncate(log, log->durable + 1);
    log->unwritten = log->flight_end = log->durable + 1;
    log->waiting_bytes = 0;
    pthread_mutex_unlock(&log->lock);
    return LILIO_OK;
}

/* One batch. *ret_wrote: there was something. */
static enum lilio_err write_waiting(struct raft_log *log, bool *ret_wrote,
                                    struct lilio_errinfo *info)
{
    struct log_batch_header header;
    struct log_place place;
    pthread_mutex_lock(&log->lock);
    enum lilio_err err = log->failed;
    if (err)
        err = lilio_fail(info, err, "an earlier write of the log failed");
    else if ((err = take(log, &header)))
        err = lilio_fail(info, err, "log: out of memory");
    pthread_mutex_unlock(&log->lock);
    *ret_wrote = !err && header.count > 0;
    if (!*ret_wrote)
        return err;
    err = log_write_batch(log, &header, &place, info);
    if (err && LILIO_PLANTED("index_reused_after_failed_append"))
        return forget_failure(log);
    if (err)
        return log_fail(log, lilio_prefix(info, err, "log"));
    pthread_mutex_lock(&log->lock);
    settle(log, place);
    pthread_mutex_unlock(&log->lock);
    return LILIO_OK;
}

/* ---- chores ---- */

static bool zeros_due(const struct raft_log *log)
{
    const struct log_segment *segment = active_of(log);
    return !log->full && segment->written < log->segment_bytes &&
           segment->written - segment->end < LOG_ZERO_STEP / 2;
}

static bool segment_due(const struct raft_log *log)
{
    return !log->full && log->segments.active + 1 == log->segments.count &&
           active_of(log)->end > log->segment_bytes / 4 * 3;
}

bool log_chores_due(const struct raft_log *log)
{
    return zeros_due(log) || segment_due(log) || log->segments.pool > LOG_POOL_MAX;
}

static enum lilio_err write_mark(struct raft_log *log, struct lilio_errinfo *info)
{
    _Alignas(LOG_BLOCK) uint8_t block[LOG_BLOCK];
    struct log_segment *segment = active_of(log);
    log_mark_encode(&(struct log_mark){segment->sequence, segment->nonce, log->number}, block);
    uint64_t at = LOG_MARK_AT + (uint64_t)(log->mark_turn++ % LOG_MARK_COUNT) * LOG_BLOCK;
    return segment->file->ops->write(segment->file, &(struct iovec){block, sizeof block}, 1, at,
                                     info);
}

static enum lilio_err zero_ahead(struct raft_log *log, struct lilio_errinfo *info)
{
    struct log_segment *segment = active_of(log);
    enum lilio_err err = log_segment_zero(log, segment, 0, info);
    return err ? err : segment->file->ops->sync(segment->file, info);
}

static enum lilio_err prepare_segment(struct raft_log *log, struct lilio_errinfo *info)
{
    size_t count = log->segments.count;
    enum lilio_err err = log_segment_add(log, NULL, info);
    if (err != LILIO_E_NO_SPACE || log->segments.count == count)
        return err;
    enum lilio_err dropped = log_segment_drop_last(log, info);
    return dropped ? dropped : LILIO_E_NO_SPACE;
}

static enum lilio_err chore(struct raft_log *log, struct lilio_errinfo *info)
{
    pthread_mutex_lock(&log->lock);
    bool mark = log->mark_due, zero = zeros_due(log), segment = segment_due(log);
    bool drop = log->segments.pool > LOG_POOL_MAX;
    log->mark_due = false;
    pthread_mutex_unlock(&log->lock);
    if (mark)
        return write_mark(log, info);
    if (drop)
        return log_segment_drop_first(log, info);
    enum lilio_err err = LILIO_OK;
    if (segment)
        err = prepare_segment(log, info);
    else if (zero)
        err = zero_ahead(log, info);
    if (err != LILIO_E_NO_SPACE)
        return err;
    pthread_mutex_lock(&log->lock);
    log->full = true; /* nothing is lost: what was promised fits into blocks that are there */
    pthread_mutex_unlock(&log->lock);
    return LILIO_OK;
}

enum lilio_err raft_log_write(struct raft_log *log, struct lilio_errinfo *info)
{
    bool wrote = false, more = true;
    enum lilio_err err = LILIO_OK;
    while (!err && more) {
        err = write_waiting(log, &more, info);
        wrote |= more;
    }
    if (err || wrote)
        return err;
    err = chore(log, info);
    return err ? log_fail(log, lilio_prefix(info, err, "log")) : LILIO_OK;
}
