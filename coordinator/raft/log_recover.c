/* Opening: what do the files hold, and is that everything that was durable?
 *
 *  1. Headers. The newest segment may be without one: it was never born. The log starts at the last
 *     segment that says so (a reset), else at the oldest; what is older is removed.
 *  2. Batches are read in order, each must carry the next number. A place without the next batch
 *     ends a segment if a later segment begins with it, else it ends the log.
 *  3. Was it the end? Batch n is written only when n - 1 is durable, and a mark n only when n is.
 * So any header of a batch behind the next number, and any mark behind the last one, proves that
 *     something that was durable is not readable any more: CORRUPT. Otherwise what is there of the
 *     next batch was torn, and nobody was told about it.
 *  4. What was read has to be durable from now on, also if the last sync of the process before
 *     failed and the bytes come from a cache. The last batch, unless a mark proves it, is written
 *     once more, with the same number, to a new segment: not in place, a crash could tear it. An
 *     empty segment at the end gets its header once more.
 */
#include "coordinator/raft/log_priv.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/banned.h"

enum { WINDOW = 1 << 20 };

enum verdict { BATCH_WHOLE, BATCH_TORN, BATCH_NONE };

struct recovery {
    struct raft_log *log;
    size_t start; /* of the log, in the list of segments */
    struct log_header *headers;
    uint64_t marked; /* the highest mark that verifies */
    const struct log_segment *window_of;
    uint64_t window_at, window_size;
    bool any;                     /* a batch was found */
    struct log_batch_header last; /* the last one, */
    uint64_t last_at;             /* and where it begins, in the active segment */
};

static struct log_segment *segment_of(const struct recovery *recovery, size_t at)
{
    return recovery->log->segments.list[at];
}

/* ---- reading ---- */

/* Brings `size` bytes at offset, as far as the file has them, into the window. Offsets are those of
 * blocks. */
static enum lilio_err see(struct recovery *recovery, const struct log_segment *segment,
                          uint64_t offset, uint64_t size, const uint8_t **ret_bytes,
                          uint64_t *ret_size, struct lilio_errinfo *info)
{
    struct log_buffer *buffer = &recovery->log->read;
    bool inside = recovery->window_of == segment && offset >= recovery->window_at &&
                  offset + size <= recovery->window_at + recovery->window_size;
    if (!inside) {
        size_t wanted =
            size > WINDOW ? (size_t)((size + LOG_BLOCK - 1) / LOG_BLOCK * LOG_BLOCK) : WINDOW;
        size_t got;
        recovery->window_of = NULL;
        if (log_buffer_reserve(buffer, wanted))
            return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
        enum lilio_err err =
            segment->file->ops->read(segment->file, buffer->data, wanted, offset, &got, info);
        if (err)
            return err;
        recovery->window_of = segment;
        recovery->window_at = offset;
        recovery->window_size = got;
    }
    uint64_t end = recovery->window_at + recovery->window_size;
    *ret_bytes = buffer->data + (offset - recovery->window_at);
    *ret_size = end < offset ? 0 : end - offset;
    return LILIO_OK;
}

/* The header of a batch of this segment's at offset; NONE or TORN, as if its body were bad. */
static enum lilio_err header_at(struct recovery *recovery, const struct log_segment *segment,
                                uint64_t offset, struct log_batch_header *ret,
                                enum verdict *ret_verdict, struct lilio_errinfo *info)
{
    const uint8_t *bytes = NULL;
    uint64_t size = 0;
    *ret_verdict = BATCH_NONE;
    enum lilio_err err = see(recovery, segment, offset, LOG_BLOCK, &bytes, &size, info);
    if (err || size < LOG_BATCH_HEADER)
        return err;
    struct log_batch_header header;
    err = log_batch_decode(bytes, offset, &header);
    if (err == LILIO_E_FORMAT)
        return lilio_fail(info, err, "segment %" PRIx64 " offset %" PRIu64 ": of a newer program",
                          segment->sequence, offset);
    if (err || header.nonce != segment->nonce || header.sequence != segment->sequence)
        return LILIO_OK;
    *ret = header;
    *ret_verdict = BATCH_TORN;
    return LILIO_OK;
}

static enum lilio_err batch_at(struct recovery *recovery, const struct log_segment *segment,
                               uint64_t offset, struct log_batch_header *ret,
                               const uint8_t **ret_body, enum verdict *ret_verdict,
                               struct lilio_errinfo *info)
{
    uint64_t size;
    const uint8_t *bytes;
    enum lilio_err err = header_at(recovery, segment, offset, ret, ret_verdict, info);
    if (err || *ret_verdict == BATCH_NONE)
        return err;
    uint64_t used = LOG_BATCH_HEADER + (uint64_t)ret->length;
    err = see(recovery, segment, offset, used, &bytes, &size, info);
    if (err || size < used)
        return err;
    *ret_body = bytes + LOG_BATCH_HEADER;
    if (log_body_valid(ret, *ret_body))
        *ret_verdict = BATCH_WHOLE;
    return LILIO_OK;
}

/* ---- 1: headers ---- */

static enum lilio_err read_header(struct recovery *recovery, size_t at, bool *ret_valid,
                                  struct lilio_errinfo *info)
{
    struct log_segment *segment = segment_of(recovery, at);
    const uint8_t *bytes;
    uint64_t size;
    *ret_valid = false;
    enum lilio_err err =
        see(recovery, segment, 0, LOG_HEADER_COPIES * LOG_BLOCK, &bytes, &size, info);
    for (size_t i = 0; i < LOG_HEADER_COPIES && !err && !*ret_valid; i++) {
        if ((i + 1) * LOG_BLOCK > size)
            break;
        struct log_header header;
        err = log_header_decode(bytes + i * LOG_BLOCK, &header);
        if (err == LILIO_E_FORMAT)
            return lilio_fail(info, err, "segment %" PRIx64 ": of a newer program",
                              segment->sequence);
        *ret_valid = !err && header.sequence == segment->sequence;
        if (*ret_valid)
            recovery->headers[at] = header;
        err = LILIO_OK;
    }
    if (err || !*ret_valid)
        return err;
    const struct log_owner *owner = &recovery->headers[at].owner;
    if (!base_uuid_equal(owner->cluster_id, recovery->log->owner.cluster_id) ||
        owner->member != recovery->log->owner.member)
        return lilio_fail(info, LILIO_E_FOREIGN,
                          "segment %" PRIx64 ": of another cluster or member", segment->sequence);
    segment->nonce = recovery->headers[at].nonce;
    return LILIO_OK;
}

/* The newest segment has no header. If its first batch names it, it was born and is damaged. */
static enum lilio_err drop_unborn(struct recovery *recovery, struct lilio_errinfo *info)
{
    struct raft_log *log = recovery->log;
    struct log_segment *segment = segment_of(recovery, log->segments.count - 1);
    const uint8_t *bytes;
    uint64_t size;
    struct log_batch_header header;
    enum lilio_err err = see(recovery, segment, LOG_DATA_AT, LOG_BLOCK, &bytes, &size, info);
    if (err)
        return err;
    if (size >= LOG_BATCH_HEADER && !log_batch_decode(bytes, LOG_DATA_AT, &header) &&
        header.sequence == segment->sequence)
        return lilio_fail(info, LILIO_E_CORRUPT, "segment %" PRIx64 ": neither header verifies",
                          segment->sequence);
    recovery->window_of = NULL;
    return log_segment_drop_last(log, info);
}

static enum lilio_err read_headers(struct recovery *recovery, struct lilio_errinfo *info)
{
    const struct log_segments *segments = &recovery->log->segments;
    bool valid = true;
    size_t bad = SIZE_MAX; /* the newest one that does not verify */
    recovery->headers = calloc(segments->count + 1, sizeof *recovery->headers);
    if (!recovery->headers)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    enum lilio_err err = LILIO_OK;
    if (segments->count > 0)
        err = read_header(recovery, segments->count - 1, &valid, info);
    if (!err && !valid)
        err = drop_unborn(recovery, info);
    for (size_t at = segments->count; at-- > 0 && !err;) {
        err = read_header(recovery, at, &valid, info);
        if (!err && !valid && bad == SIZE_MAX)
            bad = at;
        recovery->start = at;
        if (!err && valid && recovery->headers[at].reset)
            break; /* what is older does not matter any more */
    }
    if (!err && bad != SIZE_MAX)
        return lilio_fail(info, LILIO_E_CORRUPT, "segment %" PRIx64 ": neither header verifies",
                          segment_of(recovery, bad)->sequence);
    return err;
}

/* Removes what is older than the log, and demands that the rest is without a gap. */
static enum lilio_err settle_start(struct recovery *recovery, struct lilio_errinfo *info)
{
    struct raft_log *log = recovery->log;
    const struct log_segments *segments = &log->segments;
    for (size_t at = recovery->start + 1; at < segments->count; at++)
        if (segment_of(recovery, at)->sequence != segment_of(recovery, at - 1)->sequence + 1)
            return lilio_fail(info, LILIO_E_CORRUPT, "segment %" PRIx64 " is missing",
                              segment_of(recovery, at - 1)->sequence + 1);
    enum lilio_err err = LILIO_OK;
    size_t gone = recovery->start;
    for (size_t i = 0; i < gone && !err; i++)
        err = log_segment_drop_first(log, info);
    if (err)
        return err;
    memmove(recovery->headers, recovery->headers + gone,
            segments->count * sizeof *recovery->headers);
    recovery->start = 0;
    return LILIO_OK;
}

/* ---- 2: batches ---- */

static enum lilio_err adopt(struct recovery *recovery, const struct log_segment *segment,
                            const struct log_batch_header *header, const uint8_t *body,
                            struct lilio_errinfo *info)
{
    struct log_table *table = &recovery->log->table;
    bool first = !recovery->any && !recovery->headers[0].reset;
    if (first || header->first <= table->base_index)
        log_table_reset(table, header->first - 1, header->previous_term);
    if (header->first > table->last + 1 ||
        log_table_term(table, header->first - 1) != header->previous_term)
        return lilio_fail(info, LILIO_E_CORRUPT,
                          "segment %" PRIx64 " offset %" PRIu64 ": entry %" PRIu64
                          " does not follow what is before it",
                          segment->sequence, segment->end, header->first);
    if (log_table_reserve(table, header->count, 1))
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    log_table_truncate(table, header->first);
    uint32_t position = 0;
    for (uint32_t i = 0; i < header->count; i++) {
        struct raft_entry entry;
        bool there = log_entry_next(body, header->length, &position, &entry);
        LILIO_ASSERT(there); /* the body was checked */
        log_table_add(table, entry.term);
    }
    log_table_place(table, (struct log_place){header->first, header->count, header->length,
                                              segment->sequence, segment->end});
    return LILIO_OK;
}

/* A segment begins with the next batch, or with the last one once more (step 4). */
static bool follows(const struct recovery *recovery, const struct log_segment *segment,
                    const struct log_batch_header *header)
{
    uint64_t number = recovery->log->number;
    bool unknown = !recovery->any && !recovery->headers[0].reset;
    return unknown || header->number == number + 1 ||
           (segment->end == LOG_DATA_AT && recovery->any && header->number == number);
}

/* Takes one batch in at the end of a segment. *ret_took: it was the one that follows. */
static enum lilio_err take_batch(struct recovery *recovery, struct log_segment *segment,
                                 bool *ret_took, struct lilio_errinfo *info)
{
    struct log_batch_header header;
    const uint8_t *body = NULL;
    enum verdict verdict;
    *ret_took = false;
    enum lilio_err err = batch_at(recovery, segment, segment->end, &header, &body, &verdict, info);
    if (err || verdict != BATCH_WHOLE || !follows(recovery, segment, &header))
        return err;
    err = adopt(recovery, segment, &header, body, info);
    if (err)
        return err;
    recovery->any = true;
    recovery->last = header;
    recovery->last_at = segment->end;
    recovery->log->number = header.number;
    segment->end += log_batch_size(header.length);
    *ret_took = true;
    return LILIO_OK;
}

static enum lilio_err read_batches(struct recovery *recovery, struct lilio_errinfo *info)
{
    struct raft_log *log = recovery->log;
    struct log_segments *segments = &log->segments;
    const struct log_header *start = &recovery->headers[0];
    if (start->reset) {
        log_table_reset(&log->table, start->base_index, start->base_term);
        log->number = start->number;
    }
    enum lilio_err err = LILIO_OK;
    bool took = true;
    while (!err && took) {
        err = take_batch(recovery, segment_of(recovery, segments->active), &took, info);
        /* A segment in between may have lost what was written once more behind it. */
        for (size_t at = segments->active + 1; at < segments->count && !err && !took; at++) {
            err = take_batch(recovery, segment_of(recovery, at), &took, info);
            if (took)
                segments->active = at;
        }
    }
    if (!err && !recovery->any && !start->reset)
        return lilio_fail(info, LILIO_E_CORRUPT, "segment %" PRIx64 " does not begin with a batch",
                          segment_of(recovery, 0)->sequence);
    return err;
}

/* ---- 3: was it the end? ---- */

static enum lilio_err lost(const struct recovery *recovery, uint64_t number,
                           struct lilio_errinfo *info)
{
    const struct log_segment *segment = segment_of(recovery, recovery->log->segments.active);
    return lilio_fail(info, LILIO_E_CORRUPT,
                      "segment %" PRIx64 " offset %" PRIu64 ": batch %" PRIu64
                      " is damaged; it was durable once, as is proven by batch %" PRIu64,
                      segment->sequence, segment->end, recovery->log->number + 1, number);
}

static enum lilio_err read_marks(struct recovery *recovery, struct lilio_errinfo *info)
{
    for (size_t at = 0; at < recovery->log->segments.count; at++) {
        const struct log_segment *segment = segment_of(recovery, at);
        const uint8_t *bytes;
        uint64_t size;
        enum lilio_err err =
            see(recovery, segment, LOG_MARK_AT, LOG_MARK_COUNT * LOG_BLOCK, &bytes, &size, info);
        if (err)
            return err;
        for (size_t i = 0; (i + 1) * LOG_BLOCK <= size && i < LOG_MARK_COUNT; i++) {
            struct log_mark mark;
            if (log_mark_decode(bytes + i * LOG_BLOCK, &mark) &&
                mark.sequence == segment->sequence && mark.nonce == segment->nonce &&
                mark.number > recovery->marked)
                recovery->marked = mark.number;
        }
    }
    return LILIO_OK;
}

/* Looks for headers of later batches in what a segment holds from offset on. */
static enum lilio_err search_later(struct recovery *recovery, const struct log_segment *segment,
                                   uint64_t offset, struct lilio_errinfo *info)
{
    for (; offset < segment->written; offset += LOG_BLOCK) {
        struct log_batch_header header;
        enum verdict verdict;
        enum lilio_err err = header_at(recovery, segment, offset, &header, &verdict, info);
        if (err)
            return err;
        if (verdict != BATCH_NONE && header.number > recovery->log->number + 1)
            return lost(recovery, header.number, info);
    }
    return LILIO_OK;
}

static enum lilio_err check_end(struct recovery *recovery, struct raft_log_recovery *ret,
                                struct lilio_errinfo *info)
{
    const struct raft_log *log = recovery->log;
    const struct log_segments *segments = &log->segments;
    enum lilio_err err = read_marks(recovery, info);
    if (!err && recovery->marked > log->number)
        return lost(recovery, recovery->marked, info);
    for (size_t at = segments->active; at < segments->count && !err; at++) {
        const struct log_segment *segment = segment_of(recovery, at);
        struct log_batch_header header;
        enum verdict verdict;
        err = search_later(recovery, segment, segment->end, info);
        err = err ? err : header_at(recovery, segment, segment->end, &header, &verdict, info);
        if (!err && verdict != BATCH_NONE) {
            ret->torn = true;
            ret->torn_bytes += log_batch_size(header.length);
        }
    }
    return err;
}

/* ---- 4: what was read stays ---- */

static enum lilio_err write_once_more(struct recovery *recovery, struct lilio_errinfo *info)
{
    struct raft_log *log = recovery->log;
    const struct log_segment *segment = segment_of(recovery, log->segments.active);
    struct log_batch_header header = recovery->last;
    struct log_table *table = &log->table;
    const uint8_t *bytes;
    uint64_t size, used = LOG_BATCH_HEADER + (uint64_t)header.length;
    enum lilio_err err = see(recovery, segment, recovery->last_at, used, &bytes, &size, info);
    if (!err && size < used)
        err = lilio_fail(info, LILIO_E_IO, "the last batch cannot be read again");
    if (!err && log_buffer_reserve(&log->staging, log_batch_size(header.length)))
        err = lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    if (err)
        return err;
    memcpy(log->staging.data, bytes, used);
    if (log->segments.active + 1 == log->segments.count)
        err = log_segment_add(log, NULL, info);
    if (err)
        return err;
    log->segments.active++;
    err = log_write_batch(log, &header, &table->places[table->place_count - 1], info);
    log->mark_due = !err;
    return err;
}

static enum lilio_err make_certain(struct recovery *recovery, struct lilio_errinfo *info)
{
    struct raft_log *log = recovery->log;
    struct log_segments *segments = &log->segments;
    enum lilio_err err = LILIO_OK;
    for (size_t at = 0; at < segments->count && !err; at++) {
        struct log_segment *segment = segment_of(recovery, at);
        bool empty = at > segments->active;
        err = empty ? log_segment_birth(log, segment, NULL, info)
                    : segment->file->ops->sync(segment->file, info);
    }
    err = err ? err : log->disk->ops->sync_dir(log->disk, LOG_FOLDER, info);
    if (!err && recovery->any && recovery->marked < log->number)
        err = write_once_more(recovery, info);
    return err;
}

static enum lilio_err make_new(struct recovery *recovery, struct lilio_errinfo *info)
{
    struct raft_log *log = recovery->log;
    const struct log_header start = {.reset = true};
    if (log->segments.count == 0)
        return log_segment_add(log, &start, info);
    const struct log_header *found = &recovery->headers[0];
    if (log->segments.count > 1 || recovery->any || !found->reset || found->base_index > 0)
        return lilio_fail(info, LILIO_E_EXISTS, "there is a log already");
    return log_segment_birth(log, segment_of(recovery, 0), &start, info);
}

static enum lilio_err open_folder(struct raft_log *log, bool create, struct lilio_errinfo *info)
{
    struct base_disk *disk = log->disk;
    enum lilio_err err = create ? disk->ops->make_dir(disk, LOG_FOLDER, info) : LILIO_OK;
    if (err == LILIO_E_EXISTS)
        err = LILIO_OK;
    return err ? err : disk->ops->sync_dir(disk, "", info);
}

enum lilio_err log_recover(struct raft_log *log, bool create, struct raft_log_recovery *ret,
                           struct lilio_errinfo *info)
{
    struct recovery recovery = {.log = log};
    enum lilio_err err = open_folder(log, create, info);
    err = err ? err : log_segments_open(log, info);
    err = err ? err : read_headers(&recovery, info);
    if (err)
        goto out;
    if (log->segments.count > 0) {
        err = settle_start(&recovery, info);
        err = err ? err : read_batches(&recovery, info);
        err = err ? err : check_end(&recovery, ret, info);
    } else if (!create) {
        err = lilio_fail(info, LILIO_E_NOT_FOUND, "there is none");
    }
    if (!err)
        err = create ? make_new(&recovery, info) : make_certain(&recovery, info);
out:
    free(recovery.headers);
    return err;
}
