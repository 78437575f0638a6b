/* Start-up: from segments and whatever is left of the index to an index that is right.
 *
 *  1. List the segment files. Open the index; one that cannot be opened or does not fit the files
 *     is thrown away: the segments are the truth.
 *  2. Replay, in log order, what lies behind each segment's mark (everything, if the index is new).
 *     The file is synced first: what an unclean stop left unsynced must not be acknowledged later
 *     on the strength of having been seen.
 *  3. Below acked_end everything was acknowledged. It is the maximum of the mark, of what later
 *     batches state about the past, and of what the next segment's header says; in a segment that
 *     is not the newest and has lost that neighbour it is the end (segment_tick.c sees to that).
 *     A place without a valid record below acked_end is damage: counted, skipped, the store is
 *     incomplete and the segment is kept.
 *  4. Behind acked_end lies a last batch that may be torn: a record is believed only if its payload
 *     verifies. What is not believed is skipped, or cut off at the end of its segment. After the
 *     loss of the index it may have been acknowledged without a trace: incomplete, too.
 *  5. That it verifies does not make it durable: a disk that failed to sync it may have lost it for
 *     good and serve it from a cache until the power goes. So what was believed behind acked_end is
 *     appended to the log again and synced, before anybody hears of it; the old ones are cut off.
 *     Without room for that they stay, and the next start tries again.
 *     The index on disk learns of them only then: it must not forget what they replaced, which may
 *     be durable, for what may be gone. And nothing is cut before all is moved: what is read behind
 *     the acked_end of one segment may be a copy of what lies there in an older one, made by a
 *     start that was cut off.
 *  6. Nothing is ever appended to a segment of an earlier process, so no offset is used twice under
 *     one nonce.
 *
 * A crash during recovery leaves an index that knows a prefix of the log; the next start goes on
 * from there.
 */
#include "osd/segment_priv.h"

#include <inttypes.h>

#include "base/banned.h"

struct replay {
    struct osd_segment_store *store;
    struct osd_segment *segment;
    struct osd_scan scan;
    uint64_t good_end; /* of the last record that was believed */
    bool torn_inside;  /* a place behind acked_end was skipped and stays */
};

static bool is_newest(const struct osd_segment_store *store, const struct osd_segment *segment)
{
    return segment == store->segments[store->segment_count - 1];
}

/* Not while the batch names what may not be durable. */
static enum lilio_err commit(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    return store->unsettled ? LILIO_OK : osd_index_commit(store, false, info);
}

/* ---- one record ---- */

static enum lilio_err apply_data(struct replay *replay, const struct osd_record *record,
                                 uint64_t offset, struct lilio_errinfo *info)
{
    struct osd_segment_store *store = replay->store;
    const struct osd_fragment *fragment = &record->fragment;
    struct osd_entry old,
        entry = {
            .segment = replay->segment->id,
            .offset = offset,
            .sequence = record->sequence,
            .first_segment = replay->segment->id,
            .header_length = record->header_length,
            .payload_length = record->payload_length,
            .checksum = codec_fragment_checksum(fragment->block_checksums, fragment->block_count),
        };
    enum lilio_err err = osd_index_get(store, &fragment->key, &old, info);
    if (err && err != LILIO_E_MISSING)
        return err;
    if (!err) {
        if (old.sequence >= record->sequence)
            return LILIO_OK; /* known already */
        osd_account_dead(store, &old);
        if (old.first_segment < entry.first_segment)
            entry.first_segment = osd_segment_least(store, old.first_segment, entry.segment);
    }
    osd_account_live(store, &entry);
    osd_index_put(store, &fragment->key, &entry);
    return LILIO_OK;
}

static enum lilio_err apply_tombstone(struct replay *replay, const struct osd_record *record,
                                      uint64_t offset, struct lilio_errinfo *info)
{
    struct osd_segment_store *store = replay->store;
    struct osd_entry entry;
    osd_account_tombstone(store, replay->segment, record->first_segment, record->last_segment);
    enum lilio_err err = osd_index_get(store, &record->fragment.key, &entry, info);
    if (err == LILIO_E_MISSING)
        return LILIO_OK;
    if (err || entry.sequence > record->target_sequence)
        return err; /* stored anew after the delete */
    osd_account_dead(store, &entry);
    if (offset < replay->segment->acked_end)
        osd_entry_punch(store, &entry);
    osd_index_delete(store, &record->fragment.key);
    return LILIO_OK;
}

static enum lilio_err apply(struct replay *replay, const struct osd_record *record, uint64_t offset,
                            struct lilio_errinfo *info)
{
    struct osd_segment_store *store = replay->store;
    struct osd_segment *segment = replay->segment;
    enum lilio_err err = LILIO_OK;
    if (record->type == OSD_RECORD_DATA)
        err = apply_data(replay, record, offset, info);
    else if (record->type == OSD_RECORD_TOMBSTONE)
        err = apply_tombstone(replay, record, offset, info);
    else if (record->type == OSD_RECORD_SEAL)
        segment->keep |= OSD_KEEP_SEAL;
    if (record->sequence > segment->last_sequence)
        segment->last_sequence = record->sequence;
    segment->end = replay->good_end =
        offset + osd_record_extent(record->header_length, record->payload_length);
    osd_index_touch(store, segment);
    store->unsettled |= offset >= segment->acked_end;
    if (err || ++store->replayed < (store->unsettled ? OSD_RECOVERY_HELD : OSD_RECOVERY_COMMIT))
        return err;
    store->replayed = 0;
    return osd_index_commit(store, false, info);
}

/* ---- bad places ---- */

static enum lilio_err note_damage(struct replay *replay, uint64_t from, uint64_t to,
                                  struct lilio_errinfo *info)
{
    struct osd_segment_store *store = replay->store;
    base_log_write(store->log, BASE_LOG_WARN, "store", "damage",
                   "segment=%016" PRIx64 " from=%" PRIu64 " to=%" PRIu64 " action=skip",
                   replay->segment->id, from, to);
    osd_segment_store_count(store, &store->stats.corrupt_record_count, 1);
    replay->segment->keep |= OSD_KEEP_DAMAGED;
    return osd_segment_store_incomplete(store, info);
}

/* A place from `from` to `to` in which no record was believed. */
static enum lilio_err note_bad(struct replay *replay, uint64_t from, uint64_t to,
                               struct lilio_errinfo *info)
{
    struct osd_segment_store *store = replay->store;
    const struct osd_segment *segment = replay->segment;
    if (from < segment->acked_end)
        return note_damage(replay, from, to, info);
    replay->torn_inside |= to < segment->limit;
    base_log_write(store->log, BASE_LOG_WARN, "store", "torn",
                   "segment=%016" PRIx64 " from=%" PRIu64 " to=%" PRIu64 " acknowledged=%s",
                   segment->id, from, to,
                   store->index_fresh && !segment->end_known ? "unknown" : "no");
    osd_segment_store_count(store, &store->stats.torn_tail_bytes, to - from);
    return store->index_fresh && !segment->end_known ? osd_segment_store_incomplete(store, info)
                                                     : LILIO_OK;
}

/* Exactly behind the last good record: a torn one must not become readable by what follows it. */
static enum lilio_err cut(struct osd_segment_store *store, struct osd_segment *segment,
                          uint64_t size, struct lilio_errinfo *info)
{
    struct base_file *file;
    enum lilio_err err = osd_segment_file(store, segment, &file, info);
    if (!err)
        err = file->ops->truncate(file, size, info);
    if (!err)
        err = file->ops->sync(file, info);
    segment->end = segment->limit = size;
    return err;
}

/* What follows the last record that was believed. */
static enum lilio_err finish_tail(struct replay *replay, struct lilio_errinfo *info)
{
    struct osd_segment_store *store = replay->store;
    struct osd_segment *segment = replay->segment;
    uint64_t tail = replay->good_end;
    enum lilio_err err = LILIO_OK;
    segment->end = segment->limit;
    if (segment->acked_end > segment->limit)
        err = note_damage(replay, segment->limit, segment->acked_end, info);
    if (!err && tail < segment->limit)
        err = note_bad(replay, tail, segment->limit, info);
    if (!err && tail < segment->limit && tail >= segment->acked_end && segment != store->active)
        err = cut(store, segment, tail, info);
    if (!replay->torn_inside && tail <= segment->acked_end)
        segment->acked_end = segment->end; /* all of it has been verified by now */
    osd_index_touch(store, segment);
    return err ? err : commit(store, info);
}

/* ---- one segment ---- */

/* A record behind acked_end proves nothing but itself. */
static enum lilio_err believe(struct replay *replay, const struct osd_record *record,
                              uint64_t offset, bool *ret, struct lilio_errinfo *info)
{
    struct osd_segment *segment = replay->segment;
    uint64_t end = offset + osd_record_extent(record->header_length, record->payload_length);
    *ret = end <= segment->limit;
    if (!*ret || offset < segment->acked_end || record->type != OSD_RECORD_DATA)
        return LILIO_OK;
    uint64_t start = osd_round_down(offset + record->header_length, BASE_DISK_BLOCK);
    replay->scan.window_size = 0; /* scratch is needed for the payload */
    enum lilio_err err =
        osd_segment_read(replay->store, segment, replay->store->scratch, end - start, start, info);
    if (err == LILIO_E_CORRUPT) {
        *ret = false;
        return LILIO_OK;
    }
    if (!err)
        *ret = osd_blocks_good(&record->fragment, 0,
                               replay->store->scratch + (offset + record->header_length - start),
                               record->payload_length);
    return err;
}

/* Raises acked_end to what the records behind `from` state. */
static enum lilio_err survey(struct replay *replay, uint64_t from, struct lilio_errinfo *info)
{
    struct osd_segment *segment = replay->segment;
    struct osd_record record;
    uint64_t offset;
    enum lilio_err err;
    while ((err = osd_scan_next(&replay->scan, from, &record, &offset, info)) == LILIO_OK) {
        if (record.synced > segment->acked_end)
            segment->acked_end = record.synced;
        from = offset + osd_record_extent(record.header_length, record.payload_length);
    }
    return err == LILIO_E_NOT_FOUND ? LILIO_OK : err;
}

static enum lilio_err replay_records(struct replay *replay, uint64_t from,
                                     struct lilio_errinfo *info)
{
    struct osd_record record;
    uint64_t offset;
    enum lilio_err err;
    replay->good_end = from;
    while ((err = osd_scan_next(&replay->scan, from, &record, &offset, info)) == LILIO_OK) {
        bool good;
        from = offset + osd_record_extent(record.header_length, record.payload_length);
        err = believe(replay, &record, offset, &good, info);
        if (!err && good && offset > replay->good_end)
            err = note_bad(replay, replay->good_end, offset, info);
        if (!err && good)
            err = apply(replay, &record, offset, info);
        if (err)
            return err;
    }
    return err == LILIO_E_NOT_FOUND ? finish_tail(replay, info) : err;
}

static enum lilio_err replay_segment(struct osd_segment_store *store, struct osd_segment *segment,
                                     struct lilio_errinfo *info)
{
    struct replay replay = {.store = store, .segment = segment};
    uint64_t from = segment->end;
    struct base_file *file;
    if (from >= segment->limit && segment->acked_end <= segment->limit && segment->in_index)
        return LILIO_OK;
    if (!segment->end_known && !is_newest(store, segment) && segment->acked_end < segment->limit)
        segment->acked_end = segment->limit;
    osd_scan_init(&replay.scan, store, segment, segment->limit);
    enum lilio_err err = osd_segment_file(store, segment, &file, info);
    if (!err && segment != store->active)
        err = file->ops->sync(file, info);
    if (!err && segment->acked_end < segment->limit)
        err = survey(&replay, from, info);
    return err ? err : replay_records(&replay, from, info);
}

/* ---- all segments ---- */

/* Files without a header that a crash left behind at their birth never held a record. They go
 * before anything is concluded from their being there. */
static enum lilio_err drop_stillborn(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    for (size_t i = 0; i < store->segment_count && !err;) {
        struct osd_segment *segment = store->segments[i];
        if (segment->has_header || segment->in_index || segment->limit > OSD_SEGMENT_HEADER)
            i++;
        else
            err = osd_segment_unlink(store, segment, info);
    }
    return err;
}

/* A segment whose nonce nobody knows any more. */
static enum lilio_err keep_unreadable(struct osd_segment_store *store, struct osd_segment *segment,
                                      struct lilio_errinfo *info)
{
    struct replay replay = {.store = store, .segment = segment};
    if (segment->in_index)
        return LILIO_OK; /* noted before */
    segment->end = segment->limit;
    osd_index_touch(store, segment);
    return note_damage(&replay, 0, segment->limit, info);
}

/* Replays all; fills in the sums. */
static enum lilio_err replay_all(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    bool records = false;
    for (size_t i = 0; i < store->segment_count && !err; i++) {
        struct osd_segment *segment = store->segments[i];
        records |= segment->limit > OSD_SEGMENT_HEADER;
        err = segment->has_header ? replay_segment(store, segment, info)
                                  : keep_unreadable(store, segment, info);
    }
    if (!err)
        err = commit(store, info);
    for (size_t i = 0; i < store->segment_count; i++)
        if (store->segments[i]->last_sequence >= store->next_sequence)
            store->next_sequence = store->segments[i]->last_sequence + 1;
    pthread_mutex_lock(&store->lock);
    store->stats.index_rebuilt |= store->index_fresh && records && store->index_path;
    pthread_mutex_unlock(&store->lock);
    return err;
}

/* What was believed behind acked_end is appended again, the old ones are cut off. The newest first:
 * of an older one nothing is cut while what may be a copy of it has no room to go. */
static enum lilio_err settle_all(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    bool moved = true, any = false;
    for (size_t i = store->segment_count; i-- > 0 && !err && moved;) {
        struct osd_segment *segment = store->segments[i];
        if (!segment->has_header || segment->acked_end >= segment->end)
            continue;
        err = osd_segment_move_tail(store, segment, segment->acked_end, &moved, info);
        if (err || !moved)
            break;
        any = true;
        segment->end = segment->acked_end; /* the index has to say so before the file does */
        osd_index_touch(store, segment);
    }
    store->unsettled = false;
    if (!err)
        err = osd_index_commit(store, /* sync */ any, info);
    for (size_t i = 0; i < store->segment_count && !err && any; i++)
        if (store->segments[i]->end < store->segments[i]->limit)
            err = cut(store, store->segments[i], store->segments[i]->end, info);
    return err;
}

/* The table as before anything was indexed. What is known about nonces and acknowledgements stays.
 */
static void unload(struct osd_segment_store *store)
{
    for (size_t i = 0; i < store->segment_count; i++) {
        struct osd_segment *segment = store->segments[i];
        segment->end = OSD_SEGMENT_HEADER;
        segment->live_bytes = segment->live_count = segment->punched_bytes = 0;
        segment->tombstone_bytes = segment->tombstone_first = segment->tombstone_last = 0;
        segment->in_index = segment->dirty = segment->pinned = false;
        segment->keep = 0;
    }
    store->dirty = NULL;
    store->victim = 0;
    pthread_mutex_lock(&store->lock);
    store->used_bytes = store->fragment_count = 0;
    pthread_mutex_unlock(&store->lock);
}

/* Sizes and header blocks. A segment whose nonce is not the index's is not the one the index knows.
 */
static enum lilio_err load_headers(struct osd_segment_store *store, bool *consistent,
                                   struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    for (size_t i = 0; i < store->segment_count && !err; i++) {
        struct osd_segment *segment = store->segments[i];
        struct osd_segment_header header;
        struct base_file *file;
        uint64_t known_nonce = segment->nonce;
        err = osd_segment_file(store, segment, &file, info);
        if (!err)
            err = file->ops->size(file, &segment->limit, info);
        if (!err)
            err = osd_segment_load(store, segment, &header, info);
        if (err)
            break;
        *consistent &= !segment->in_index || segment->nonce == known_nonce;
        struct osd_segment *previous = i ? store->segments[i - 1] : NULL;
        if (previous && header.previous_id == previous->id) {
            previous->end_known = true;
            if (header.previous_end > previous->acked_end)
                previous->acked_end = header.previous_end;
        }
    }
    return err;
}

/* What the index already knew is part of the sums. */
static void add_up(struct osd_segment_store *store)
{
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < store->segment_count; i++) {
        store->used_bytes += store->segments[i]->live_bytes;
        store->fragment_count += store->segments[i]->live_count;
    }
    pthread_mutex_unlock(&store->lock);
}

enum lilio_err osd_recover(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    bool consistent = true;
    struct lilio_errinfo why = {0};
    enum lilio_err err = osd_segment_list(store, info);
    if (!err)
        err = osd_index_open(store, info);
    if (err)
        return err;
    err = osd_index_load(store, &consistent, &why);
    if (err == LILIO_E_CORRUPT || err == LILIO_E_IO) {
        consistent = false;
        err = LILIO_OK;
    } else if (err) {
        return lilio_fail(info, err, "%s", why.text);
    }
    err = load_headers(store, &consistent, info);
    if (!err && !consistent) {
        base_log_write(store->log, BASE_LOG_WARN, "store", "index_does_not_fit", "action=rebuild");
        unload(store);
        err = osd_index_reset(store, info);
    }
    if (!err)
        err = drop_stillborn(store, info);
    if (err)
        return err;
    add_up(store);
    err = replay_all(store, info);
    return err ? err : settle_all(store, info);
}

enum lilio_err osd_recover_index(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    if (store->rebuilt_at_run_time || store->failed)
        return LILIO_E_IO; /* an index that breaks again and again is the disk's fault */
    store->rebuilt_at_run_time = true;
    base_log_write(store->log, BASE_LOG_ERROR, "store", "index_damaged", "action=rebuild");
    for (size_t i = 0; i < store->segment_count; i++)
        store->segments[i]->limit = store->segments[i]->end;
    unload(store);
    enum lilio_err err = osd_index_reset(store, info);
    if (!err)
        err = replay_all(store, info);
    store->unsettled = false; /* what is so still had no room at the start */
    if (!err)
        err = osd_index_commit(store, false, info);
    if (err)
        osd_index_close(store);
    return err ? osd_segment_store_fail(store, err, "rebuild the index", info) : LILIO_OK;
}
