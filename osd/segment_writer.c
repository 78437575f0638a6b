/* Appending to the log: one batch is one or a few vector writes and one sync.
 *
 *   | header, gap | payload, from the caller's memory | header + small payload | ... | pad |
 *   ^ block boundary                                                                    ^ another
 *
 *  1. begin: a segment with room; blocks are reserved ahead, so that a full disk shows before
 *     anything is written.
 *  2. append: headers, small payloads and the odd ends of large ones are copied to staging; whole
 *     blocks of large, page-aligned payloads are pointed at.
 *  3. finish: a pad record fills the last block; the vectors are written; one sync.
 *
 * A crash in between leaves any mixture of old and new sectors behind the segment's end; the scan
 * tells whole records from torn ones. A write that met a full disk after all is cut off again and
 * the cut synced, so no offset that ever held a record's bytes is used again without a durable cut
 * between. Any other failure is final (design rule 6).
 */
#include "osd/segment_priv.h"

#include <inttypes.h>

#include "base/planted.h"

#include "base/banned.h"

/* ---- the stream ---- */

static void flush(struct osd_segment_store *store)
{
    struct osd_writer *writer = &store->writer;
    struct lilio_errinfo info = {0};
    if (!writer->err && writer->vector_count)
        writer->err = store->active->file->ops->write(store->active->file, writer->vectors,
                                                      writer->vector_count, writer->flushed, &info);
    if (writer->err && writer->err != LILIO_E_NO_SPACE)
        (void)osd_segment_store_fail(store, writer->err, "write", &info);
    writer->flushed = writer->position;
    writer->vector_count = 0;
    writer->staged = 0;
}

/* Copies bytes (zeros if data is NULL). */
static void copy(struct osd_segment_store *store, const uint8_t *data, size_t size)
{
    struct osd_writer *writer = &store->writer;
    while (size) {
        if (writer->staged == OSD_STAGING_BYTES)
            flush(store);
        uint8_t *to = writer->staging + writer->staged;
        size_t part =
            OSD_STAGING_BYTES - writer->staged < size ? OSD_STAGING_BYTES - writer->staged : size;
        struct iovec *last =
            writer->vector_count ? &writer->vectors[writer->vector_count - 1] : NULL;
        if (last && (uint8_t *)last->iov_base + last->iov_len == to)
            last->iov_len += part;
        else
            writer->vectors[writer->vector_count++] = (struct iovec){to, part};
        if (data) {
            memcpy(to, data, part);
            data += part;
        } else {
            memset(to, 0, part);
        }
        writer->staged += part;
        writer->position += part;
        size -= part;
    }
}

/* Points at whole blocks of the caller's. */
static void borrow(struct osd_segment_store *store, const uint8_t *data, size_t size)
{
    struct osd_writer *writer = &store->writer;
    if (writer->vector_count + 2 > OSD_WRITE_VECTORS)
        flush(store);
    writer->vectors[writer->vector_count++] = (struct iovec){(void *)(uintptr_t)data, size};
    writer->position += size;
}

static void put_payload(struct osd_segment_store *store, const uint8_t *payload, uint32_t length)
{
    size_t whole = 0;
    if (length >= OSD_RECORD_LARGE && (uintptr_t)payload % BASE_DISK_BLOCK == 0) {
        LILIO_ASSERT(store->writer.position % BASE_DISK_BLOCK == 0);
        whole = osd_round_down(length, BASE_DISK_BLOCK);
        borrow(store, payload, whole);
    }
    copy(store, payload ? payload + whole : NULL, length - whole);
}

/* ---- records ---- */

static void put_record(struct osd_segment_store *store, struct osd_record *record,
                       const uint8_t *payload)
{
    uint8_t bytes[OSD_RECORD_COVERED_MAX];
    struct osd_writer *writer = &store->writer;
    uint32_t covered = osd_record_covered(record);
    record->cluster_id = store->cluster_id;
    record->sequence = store->next_sequence++;
    record->synced = store->active->end;
    osd_record_encode(record, store->active->nonce, writer->position, bytes);
    copy(store, bytes, covered);
    copy(store, NULL, record->header_length - covered);
    put_payload(store, payload, record->payload_length);
    copy(store, NULL, osd_round_up(writer->position, OSD_RECORD_UNIT) - writer->position);
}

static void put_pad(struct osd_segment_store *store, uint64_t size)
{
    if (size == 0)
        return;
    struct osd_record pad = {.type = OSD_RECORD_PAD};
    pad.header_length = (uint32_t)osd_round_up(OSD_RECORD_FIXED, OSD_RECORD_ALIGN);
    pad.payload_length = (uint32_t)size - pad.header_length;
    put_record(store, &pad, NULL);
}

uint64_t osd_writer_append(struct osd_segment_store *store, struct osd_record *record,
                           const uint8_t *payload)
{
    uint32_t gap;
    (void)osd_record_place(store->writer.position, osd_record_covered(record),
                           record->payload_length, &gap, &record->header_length);
    put_pad(store, gap);
    uint64_t offset = store->writer.position;
    put_record(store, record, payload);
    return offset;
}

/* ---- begin and finish ---- */

/* How far blocks may be reserved ahead: a step, within the segment, and never out of the reserve.
 */
static uint64_t ahead_of(struct osd_segment_store *store)
{
    const struct osd_segment *segment = store->active;
    struct base_disk_space space;
    if (store->disk->ops->space(store->disk, &space, NULL) != LILIO_OK ||
        space.free_bytes <= store->reserve_bytes)
        return 0;
    uint64_t ahead = segment->end + OSD_ALLOCATE_STEP;
    uint64_t spare = segment->allocated + (space.free_bytes - store->reserve_bytes);
    if (ahead > spare)
        ahead = osd_round_down(spare, BASE_DISK_BLOCK);
    return ahead < store->segment_bytes ? ahead : store->segment_bytes;
}

/* Reserves blocks for need bytes at the end of the log; more if there is plenty. */
static enum lilio_err reserve(struct osd_segment_store *store, uint64_t need,
                              struct lilio_errinfo *info)
{
    struct osd_segment *segment = store->active;
    uint64_t target = segment->end + need;
    if (target <= segment->allocated)
        return LILIO_OK;
    uint64_t ahead = ahead_of(store);
    if (ahead > target)
        target = ahead;
    enum lilio_err err = segment->file->ops->allocate(segment->file, segment->allocated,
                                                      target - segment->allocated, info);
    if (err == LILIO_E_NO_SPACE && target > segment->end + need) {
        target = segment->end + need;
        err = segment->file->ops->allocate(segment->file, segment->allocated,
                                           target - segment->allocated, info);
    }
    if (!err)
        segment->allocated = target;
    return err;
}

enum lilio_err osd_writer_begin(struct osd_segment_store *store, uint64_t need,
                                struct lilio_errinfo *info)
{
    need = osd_round_up(need, BASE_DISK_BLOCK);
    const struct osd_segment *active = store->active;
    bool full =
        active && active->end > OSD_SEGMENT_HEADER && active->end + need > store->segment_bytes;
    enum lilio_err err = LILIO_OK;
    if (!active || full) {
        err = osd_segment_create(store, info);
        if (err == LILIO_E_NO_SPACE && full)
            err = LILIO_OK; /* better a segment that is too long than a delete that fails */
    }
    if (!err)
        err = reserve(store, need, info);
    if (err == LILIO_E_NO_SPACE || store->failed)
        return err;
    if (err)
        return osd_segment_store_fail(store, err, "reserve blocks", info);
    struct osd_writer *writer = &store->writer;
    writer->err = LILIO_OK;
    writer->staged = 0;
    writer->vector_count = 0;
    writer->flushed = writer->position = store->active->end;
    return LILIO_OK;
}

/* The disk was full in the middle of the batch: nothing of it may stay. */
static enum lilio_err cut_back(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    struct osd_segment *segment = store->active;
    enum lilio_err err = segment->file->ops->truncate(segment->file, segment->end, info);
    if (!err)
        err = segment->file->ops->sync(segment->file, info);
    if (err)
        return osd_segment_store_fail(store, err, "cut back after a full disk", info);
    segment->allocated = segment->end;
    return lilio_fail(info, LILIO_E_NO_SPACE, "the disk is full");
}

enum lilio_err osd_writer_finish(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    struct osd_writer *writer = &store->writer;
    struct osd_segment *segment = store->active;
    put_pad(store, osd_round_up(writer->position, BASE_DISK_BLOCK) - writer->position);
    flush(store);
    if (writer->err == LILIO_E_NO_SPACE)
        return cut_back(store, info);
    if (writer->err)
        return lilio_fail(info, writer->err, "write to segment %" PRIx64 " failed", segment->id);
    enum lilio_err err = LILIO_OK;
    if (!LILIO_PLANTED("osd_ack_before_sync"))
        err = segment->file->ops->sync(segment->file, info);
    if (err)
        return osd_segment_store_fail(store, err, "sync", info);
    segment->end = segment->acked_end = writer->position;
    if (segment->allocated < segment->end)
        segment->allocated = segment->end;
    segment->last_sequence = store->next_sequence - 1;
    store->last_write_ns = base_now_ns(store->clock);
    osd_index_touch(store, segment);
    osd_segment_store_count(store, &store->stats.sync_count, 1);
    return LILIO_OK;
}
