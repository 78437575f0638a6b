/* Reading: the index says where, the record says what. A header that is not the very one the index
 * promised (key, place, sequence, lengths, checksum) is an error, never somebody's bytes.
 *
 * A payload that starts on a page has its header in the block before: one read brings both straight
 * into the caller's buffer when its first block is wanted, two otherwise. The others are small and
 * come through scratch.
 */
#include "osd/segment_priv.h"

#include <assert.h>
#include <inttypes.h>

#include "base/banned.h"

enum { VERIFY_STEP = 1 << 20 };
static_assert(OSD_RECORD_HEADER_MAX + CODEC_FRAGMENT_MAX + 2 * BASE_DISK_BLOCK <= OSD_SCRATCH_BYTES,
              "read_packed");
static_assert(VERIFY_STEP % CODEC_BLOCK == 0 && CODEC_BLOCK % BASE_DISK_BLOCK == 0,
              "blocks are read whole");

static enum lilio_err bad_record(struct lilio_errinfo *info, const struct osd_entry *entry,
                                 const char *what)
{
    return lilio_fail(info, LILIO_E_CORRUPT, "segment %" PRIx64 " offset %" PRIu64 ": %s",
                      entry->segment, entry->offset, what);
}

/* bytes: from the start of the record. */
static enum lilio_err check_header(const struct osd_segment *segment,
                                   const struct base_fragment_key *key,
                                   const struct osd_entry *entry, const uint8_t *bytes, size_t size,
                                   struct osd_fragment *ret, struct lilio_errinfo *info)
{
    struct osd_record record;
    enum lilio_err err = osd_record_decode(bytes, size, segment->nonce, entry->offset, &record);
    if (err)
        return lilio_fail(info, err,
                          "segment %" PRIx64 " offset %" PRIu64
                          ": the record's header does not verify",
                          entry->segment, entry->offset);
    if (record.type != OSD_RECORD_DATA || !osd_key_equal(&record.fragment.key, key))
        return bad_record(info, entry, "another record than the index says");
    if (record.sequence != entry->sequence || record.header_length != entry->header_length ||
        record.payload_length != entry->payload_length ||
        codec_fragment_checksum(record.fragment.block_checksums, record.fragment.block_count) !=
            entry->checksum)
        return bad_record(info, entry, "index and record disagree");
    *ret = record.fragment;
    return LILIO_OK;
}

static enum lilio_err segment_of(const struct osd_segment_store *store,
                                 const struct osd_entry *entry, struct osd_segment **ret_segment,
                                 struct lilio_errinfo *info)
{
    struct osd_segment *segment = osd_segment_find(store, entry->segment);
    if (!segment)
        return lilio_fail(info, LILIO_E_MISSING, "segment %" PRIx64 " is gone", entry->segment);
    if (!segment->has_header)
        return lilio_fail(info, LILIO_E_CORRUPT, "segment %" PRIx64 " has no valid header",
                          entry->segment);
    *ret_segment = segment;
    return LILIO_OK;
}

/* Reads [offset, offset + size) of the segment into scratch; *ret points at the byte of offset. */
static enum lilio_err read_scratch(struct osd_segment_store *store, struct osd_segment *segment,
                                   uint64_t offset, uint64_t size, uint8_t **ret,
                                   struct lilio_errinfo *info)
{
    uint64_t start = osd_round_down(offset, BASE_DISK_BLOCK);
    LILIO_ASSERT(osd_round_up(offset - start + size, BASE_DISK_BLOCK) <= OSD_SCRATCH_BYTES);
    *ret = store->scratch + (offset - start);
    return osd_segment_read(store, segment, store->scratch, offset - start + size, start, info);
}

enum lilio_err osd_entry_stat(struct osd_segment_store *store, const struct base_fragment_key *key,
                              const struct osd_entry *entry, struct osd_fragment *ret,
                              struct lilio_errinfo *info)
{
    struct osd_segment *segment = NULL;
    uint8_t *bytes;
    uint32_t size = entry->header_length < OSD_RECORD_COVERED_LIMIT ? entry->header_length
                                                                    : OSD_RECORD_COVERED_LIMIT;
    enum lilio_err err = segment_of(store, entry, &segment, info);
    if (!err)
        err = read_scratch(store, segment, entry->offset, size, &bytes, info);
    if (!err)
        err = check_header(segment, key, entry, bytes, size, ret, info);
    return err;
}

enum lilio_err osd_entry_verify(struct osd_segment_store *store,
                                const struct base_fragment_key *key, const struct osd_entry *entry,
                                struct lilio_errinfo *info)
{
    struct osd_fragment fragment;
    struct osd_segment *segment = NULL;
    enum lilio_err err = osd_entry_stat(store, key, entry, &fragment, info);
    if (!err)
        err = segment_of(store, entry, &segment, info);
    for (uint32_t at = 0; !err && at < entry->payload_length; at += VERIFY_STEP) {
        uint32_t part =
            entry->payload_length - at < VERIFY_STEP ? entry->payload_length - at : VERIFY_STEP;
        uint8_t *bytes;
        err = read_scratch(store, segment, entry->offset + entry->header_length + at, part, &bytes,
                           info);
        if (!err && !osd_blocks_good(&fragment, at / CODEC_BLOCK, bytes, part))
            err = bad_record(info, entry, "the payload does not verify");
    }
    return err;
}

/* ---- get ---- */

/* Header and payload in one read, into the caller's buffer. */
static enum lilio_err read_together(struct osd_segment_store *store,
                                    const struct base_fragment_key *key,
                                    const struct osd_entry *entry, struct osd_segment *segment,
                                    struct osd_range range, uint8_t *buffer,
                                    struct osd_fragment *ret, struct lilio_errinfo *info)
{
    uint64_t start = osd_round_down(entry->offset, BASE_DISK_BLOCK);
    enum lilio_err err =
        osd_segment_read(store, segment, buffer, BASE_DISK_BLOCK + range.size, start, info);
    if (err)
        return err;
    /* The description outlives the buffer's use by the caller: it is taken from a copy. */
    memcpy(store->scratch, buffer, BASE_DISK_BLOCK);
    return check_header(segment, key, entry, store->scratch + (entry->offset - start),
                        BASE_DISK_BLOCK - (entry->offset - start), ret, info);
}

static enum lilio_err read_aligned(struct osd_segment_store *store,
                                   const struct base_fragment_key *key,
                                   const struct osd_entry *entry, struct osd_segment *segment,
                                   struct osd_range range, uint8_t *buffer,
                                   struct osd_fragment *ret, uint8_t **ret_payload,
                                   struct lilio_errinfo *info)
{
    enum lilio_err err;
    if (range.offset == 0) {
        *ret_payload = buffer + BASE_DISK_BLOCK;
        return read_together(store, key, entry, segment, range, buffer, ret, info);
    }
    *ret_payload = buffer;
    err = osd_entry_stat(store, key, entry, ret, info);
    if (!err)
        err = osd_segment_read(store, segment, buffer, range.size,
                               entry->offset + entry->header_length + range.offset, info);
    return err;
}

/* Header and payload through scratch, in one read: any record fits. */
static enum lilio_err read_packed(struct osd_segment_store *store,
                                  const struct base_fragment_key *key,
                                  const struct osd_entry *entry, struct osd_segment *segment,
                                  struct osd_range range, uint8_t *buffer, struct osd_fragment *ret,
                                  uint8_t **ret_payload, struct lilio_errinfo *info)
{
    uint8_t *bytes;
    uint64_t end = (uint64_t)entry->header_length + range.offset + range.size;
    enum lilio_err err = read_scratch(store, segment, entry->offset, end, &bytes, info);
    if (!err)
        err = check_header(segment, key, entry, bytes, entry->header_length, ret, info);
    if (err)
        return err;
    memcpy(buffer, bytes + entry->header_length + range.offset, range.size);
    *ret_payload = buffer;
    return LILIO_OK;
}

/* The index on behalf of a reader: one that turns out damaged is rebuilt, once, and asked again. */
static enum lilio_err lookup(struct osd_segment_store *store, const struct base_fragment_key *key,
                             struct osd_entry *ret, struct lilio_errinfo *info)
{
    enum lilio_err err = osd_index_get(store, key, ret, info);
    if ((err == LILIO_E_CORRUPT || err == LILIO_E_IO) && osd_recover_index(store, info) == LILIO_OK)
        err = osd_index_get(store, key, ret, info);
    return err;
}

/* Moves the object key out of scratch. */
static void keep_object_key(struct osd_fragment *fragment, uint8_t *key_room)
{
    if (fragment->object_key.size)
        memcpy(key_room, fragment->object_key.data, fragment->object_key.size);
    fragment->object_key.data = key_room;
}

enum lilio_err osd_segment_store_get(struct osd_store *head, const struct base_fragment_key *key,
                                     uint32_t first_block, uint32_t block_count, bool verify,
                                     uint8_t *buffer, size_t room, struct osd_fragment *ret,
                                     uint8_t *ret_key_room, uint8_t **ret_payload,
                                     uint32_t *ret_size, struct lilio_errinfo *info)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    struct osd_segment *segment = NULL;
    struct osd_entry entry;
    struct osd_range range;
    struct osd_fragment fragment;
    uint8_t *payload;
    enum lilio_err err = lookup(store, key, &entry, info);
    if (!err)
        err = osd_range_cut(entry.payload_length, first_block, block_count, room, &range, info);
    if (!err)
        err = segment_of(store, &entry, &segment, info);
    if (err)
        return err;
    bool aligned = osd_round_down(entry.offset, BASE_DISK_BLOCK) + BASE_DISK_BLOCK ==
                   entry.offset + entry.header_length;
    err = (aligned ? read_aligned : read_packed)(store, key, &entry, segment, range, buffer,
                                                 &fragment, &payload, info);
    if (!err && verify && !osd_blocks_good(&fragment, first_block, payload, range.size))
        err = bad_record(info, &entry, "the payload does not verify");
    if (err)
        return err;
    keep_object_key(&fragment, ret_key_room);
    *ret = fragment;
    *ret_payload = payload;
    *ret_size = range.size;
    return LILIO_OK;
}

enum lilio_err osd_segment_store_stat(struct osd_store *head, const struct base_fragment_key *key,
                                      struct osd_fragment *ret, uint8_t *ret_key_room,
                                      struct lilio_errinfo *info)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    struct osd_fragment fragment;
    struct osd_entry entry;
    enum lilio_err err = lookup(store, key, &entry, info);
    if (!err)
        err = osd_entry_stat(store, key, &entry, &fragment, info);
    if (err)
        return err;
    keep_object_key(&fragment, ret_key_room);
    *ret = fragment;
    return LILIO_OK;
}

enum lilio_err osd_segment_store_look(struct osd_store *head, const struct base_fragment_key *key,
                                      uint32_t *ret_length, uint32_t *ret_checksum,
                                      struct lilio_errinfo *info)
{
    struct osd_segment_store *store = (struct osd_segment_store *)head;
    struct osd_segment *segment = NULL;
    struct osd_entry entry;
    enum lilio_err err = lookup(store, key, &entry, info);
    if (!err)
        err = segment_of(store, &entry, &segment, info);
    if (err)
        return err;
    *ret_length = entry.payload_length;
    *ret_checksum = entry.checksum;
    return LILIO_OK;
}
