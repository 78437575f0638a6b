/* Housekeeping, one small step a call.
 *
 *  - A second after the last write the blocks reserved ahead are given back.
 *  - A segment in which nothing lives and whose tombstones bury nothing any more is removed.
 *  - A segment of which a quarter or more is waste (dead and not punched) is compacted: its live
 *    records and the tombstones that are still needed are appended to the log again, a few MiB per
 *    step, each verified first; then it is removed. What does not verify is never moved nor
 *    removed: the segment stays as it is until the fragment is mended or deleted.
 *
 * A crash during compaction leaves some records twice; the later copy counts, and both hold the
 * same bytes.
 */
#include "osd/segment_priv.h"

#include <inttypes.h>

#include "base/banned.h"

enum { MOVE_MAX = 256, WASTE_SHARE = 4 };
#define WASTE_LEAST (UINT64_C(1) << 20)

/* ---- what is worth doing ---- */

static bool tombstones_needed(const struct osd_segment_store *store,
                              const struct osd_segment *segment)
{
    return segment->tombstone_bytes &&
           osd_segment_any(store, segment->tombstone_first, segment->tombstone_last, segment->id);
}

/* The header of a segment behind one with a torn place inside says so; nothing else does. */
static bool header_needed(const struct osd_segment_store *store, const struct osd_segment *segment)
{
    const struct osd_segment *previous = osd_segment_before(store, segment);
    return previous && previous->acked_end < previous->end;
}

static bool disposable(const struct osd_segment_store *store, const struct osd_segment *segment)
{
    return segment->live_count == 0 && !segment->keep && !tombstones_needed(store, segment) &&
           !header_needed(store, segment);
}

/* Bytes that compaction would give back. */
static uint64_t waste(const struct osd_segment_store *store, const struct osd_segment *segment)
{
    uint64_t used = OSD_SEGMENT_HEADER + segment->punched_bytes + segment->live_bytes;
    if (tombstones_needed(store, segment))
        used += segment->tombstone_bytes;
    return segment->end > used ? segment->end - used : 0;
}

static bool worth_compacting(const struct osd_segment_store *store,
                             const struct osd_segment *segment)
{
    uint64_t bytes = waste(store, segment), least = store->segment_bytes / 8;
    if (least > WASTE_LEAST)
        least = WASTE_LEAST;
    return segment != store->active && segment->has_header && !segment->pinned && !segment->keep &&
           !header_needed(store, segment) && bytes >= least &&
           bytes >= (segment->end - segment->punched_bytes) / WASTE_SHARE;
}

/* Compaction may use the reserve, down to a quarter: it gives more back than it takes. */
static bool room_to_move(struct osd_segment_store *store, uint64_t bytes)
{
    return osd_free_bytes(store) >= bytes + store->reserve_bytes / 4;
}

/* ---- compaction ---- */

/* A record of the victim that is to be appended again. */
struct move {
    uint64_t offset;
    struct osd_entry old, placed; /* of a data record */
};
struct step {
    struct osd_segment *victim;
    bool tail;     /* what lies in front of it stays */
    uint64_t base; /* file offset of scratch */
    uint64_t end;  /* of what was read */
    uint64_t next; /* where the next step goes on */
    struct move moves[MOVE_MAX];
    size_t move_count;
    uint64_t need; /* bytes the moves take */
    bool stuck;    /* something cannot be moved */
};

static enum lilio_err decode_at(const struct osd_segment_store *store, const struct step *step,
                                uint64_t offset, struct osd_record *ret)
{
    return osd_record_decode(store->scratch + (offset - step->base), step->end - offset,
                             step->victim->nonce, offset, ret);
}

static void plan_move(struct step *step, const struct osd_record *record, uint64_t offset,
                      const struct osd_entry *entry)
{
    uint32_t gap, header_length;
    step->moves[step->move_count++] = (struct move){.offset = offset, .old = *entry};
    step->need = osd_record_place(step->need, osd_record_covered(record), record->payload_length,
                                  &gap, &header_length);
}

static enum lilio_err plan_data(struct osd_segment_store *store, struct step *step,
                                const struct osd_record *record, uint64_t offset,
                                struct lilio_errinfo *info)
{
    struct osd_entry entry;
    enum lilio_err err = osd_index_get(store, &record->fragment.key, &entry, info);
    if (err == LILIO_E_MISSING)
        return LILIO_OK;
    if (err || entry.segment != step->victim->id || entry.offset != offset)
        return err;
    const uint8_t *payload = store->scratch + (offset - step->base) + record->header_length;
    if (osd_blocks_good(&record->fragment, 0, payload, record->payload_length))
        plan_move(step, record, offset, &entry);
    else
        step->stuck = true;
    return LILIO_OK;
}

/* Decides about the records in scratch from step->next on; leaves step->next at the first that was
 * not looked at. */
static enum lilio_err plan(struct osd_segment_store *store, struct step *step,
                           struct lilio_errinfo *info)
{
    struct osd_record record;
    enum lilio_err err = LILIO_OK;
    while (!err && !step->stuck && step->move_count < MOVE_MAX && step->next < step->end &&
           decode_at(store, step, step->next, &record) == LILIO_OK) {
        uint64_t offset = step->next;
        uint64_t end = offset + osd_record_extent(record.header_length, record.payload_length);
        if (end > step->end)
            break;
        if (record.type == OSD_RECORD_DATA)
            err = plan_data(store, step, &record, offset, info);
        else if (record.type == OSD_RECORD_TOMBSTONE &&
                 osd_segment_any(store, record.first_segment, record.last_segment,
                                 step->tail ? 0 : step->victim->id))
            plan_move(step, &record, offset, &(struct osd_entry){0});
        else if (record.type == OSD_RECORD_SEAL)
            step->stuck = true;
        step->next = end;
    }
    return err;
}

/* Behind a place without a valid header (of a dead record, or damage) the next one is looked for.
 */
static enum lilio_err skip_bad_place(struct osd_segment_store *store, struct step *step,
                                     struct lilio_errinfo *info)
{
    struct osd_scan scan;
    struct osd_record record;
    osd_scan_init(&scan, store, step->victim, step->victim->end);
    enum lilio_err err =
        osd_scan_next(&scan, step->next + OSD_RECORD_UNIT, &record, &step->next, info);
    if (err == LILIO_E_NOT_FOUND) {
        step->next = step->victim->end;
        err = LILIO_OK;
    }
    return err;
}

static void append_move(struct osd_segment_store *store, const struct step *step, struct move *move)
{
    struct osd_record record;
    enum lilio_err err = decode_at(store, step, move->offset, &record);
    LILIO_ASSERT(err == LILIO_OK); /* as it did a moment ago, in the same memory */
    const uint8_t *payload = store->scratch + (move->offset - step->base) + record.header_length;
    move->placed = move->old;
    move->placed.offset = osd_writer_append(store, &record, payload);
    move->placed.segment = store->active->id;
    move->placed.first_segment =
        osd_segment_least(store, move->old.first_segment, step->victim->id);
    move->placed.sequence = record.sequence;
    move->placed.header_length = record.header_length;
}

static void index_move(struct osd_segment_store *store, const struct step *step,
                       const struct move *move)
{
    struct osd_record record;
    enum lilio_err err = decode_at(store, step, move->offset, &record);
    LILIO_ASSERT(err == LILIO_OK);
    if (record.type == OSD_RECORD_TOMBSTONE) {
        osd_account_tombstone(store, store->active, record.first_segment, record.last_segment);
        return;
    }
    osd_account_dead(store, &move->old);
    osd_account_live(store, &move->placed);
    osd_index_put(store, &record.fragment.key, &move->placed);
}

static enum lilio_err write_moves(struct osd_segment_store *store, struct step *step,
                                  struct lilio_errinfo *info)
{
    enum lilio_err err = osd_writer_begin(store, step->need, info);
    if (err)
        return err;
    for (size_t i = 0; i < step->move_count; i++)
        append_move(store, step, &step->moves[i]);
    err = osd_writer_finish(store, info);
    if (err)
        return err;
    for (size_t i = 0; i < step->move_count; i++)
        index_move(store, step, &step->moves[i]);
    return step->tail ? LILIO_OK : osd_index_commit(store, false, info);
}

static enum lilio_err drop(struct osd_segment_store *store, struct osd_segment *segment,
                           struct lilio_errinfo *info)
{
    if (segment->id == store->victim) {
        store->victim = 0;
        osd_segment_store_count(store, &store->stats.compaction_count, 1);
    }
    return osd_segment_drop(store, segment, info);
}

static enum lilio_err finish_victim(struct osd_segment_store *store, struct osd_segment *victim,
                                    struct lilio_errinfo *info)
{
    if (victim->live_count) { /* the index names records that the walk did not find */
        victim->pinned = true;
        store->victim = 0;
        return LILIO_OK;
    }
    return drop(store, victim, info);
}

static enum lilio_err move_step(struct osd_segment_store *store, struct osd_segment *victim,
                                bool tail, bool *ret_more, struct lilio_errinfo *info)
{
    struct step step = {.victim = victim, .tail = tail, .next = store->victim_at};
    *ret_more = true;
    step.base = osd_round_down(step.next, BASE_DISK_BLOCK);
    step.end =
        victim->end - step.base < OSD_SCRATCH_BYTES ? victim->end : step.base + OSD_SCRATCH_BYTES;
    enum lilio_err err =
        osd_segment_read(store, victim, store->scratch, step.end - step.base, step.base, info);
    if (!err)
        err = plan(store, &step, info);
    if (!err && step.next == store->victim_at)
        err = skip_bad_place(store, &step, info);
    else if (!err && !step.stuck && step.move_count)
        err = room_to_move(store, step.need) ? write_moves(store, &step, info) : LILIO_E_NO_SPACE;
    if (err == LILIO_E_NO_SPACE) {
        *ret_more = false;
        store->victim = 0;
        return LILIO_OK;
    }
    if (err == LILIO_OK && !step.stuck) {
        store->victim_at = step.next;
        return LILIO_OK;
    }
    victim->pinned = true; /* until something in it is mended or removed */
    store->victim = 0;
    base_log_write(store->log, BASE_LOG_WARN, "store", "compaction_stuck",
                   "segment=%016" PRIx64 " offset=%" PRIu64, victim->id, step.next);
    return err;
}

static enum lilio_err compact_step(struct osd_segment_store *store, struct osd_segment *victim,
                                   bool *ret_more, struct lilio_errinfo *info)
{
    *ret_more = true;
    return store->victim_at >= victim->end
               ? finish_victim(store, victim, info)
               : move_step(store, victim, /* tail */ false, ret_more, info);
}

enum lilio_err osd_segment_move_tail(struct osd_segment_store *store, struct osd_segment *segment,
                                     uint64_t from, bool *ret_moved, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    bool more;
    store->victim = segment->id;
    store->victim_at = from;
    while (!err && store->victim && store->victim_at < segment->end)
        err = move_step(store, segment, /* tail */ true, &more, info);
    *ret_moved = store->victim != 0;
    store->victim = 0;
    return err;
}

/* ---- tick ---- */

static void tidy_active(struct osd_segment_store *store)
{
    if (!store->active || base_now_ns(store->clock) - store->last_write_ns < OSD_IDLE_NS)
        return;
    osd_segment_trim(store);
    if (store->active->end > OSD_SEGMENT_HEADER && disposable(store, store->active))
        osd_segment_close_active(store);
}

enum lilio_err osd_segment_store_tick(struct osd_store *head, bool *ret_more,
                                      struct lilio_errinfo *info)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    *ret_more = false;
    if (store->failed)
        return LILIO_OK;
    tidy_active(store);
    for (size_t i = 0; i < store->segment_count; i++) {
        struct osd_segment *segment = store->segments[i];
        if (segment == store->active || !disposable(store, segment))
            continue;
        *ret_more = true;
        return drop(store, segment, info);
    }
    for (size_t i = 0; i < store->segment_count && !store->victim; i++) {
        if (!worth_compacting(store, store->segments[i]) ||
            !room_to_move(store, store->segments[i]->live_bytes))
            continue;
        store->victim = store->segments[i]->id;
        store->victim_at = OSD_SEGMENT_HEADER;
    }
    struct osd_segment *victim = osd_segment_find(store, store->victim);
    if (!victim) {
        store->victim = 0;
        return LILIO_OK;
    }
    return compact_step(store, victim, ret_more, info);
}
