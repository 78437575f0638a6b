/* A header proves three things about itself: its bytes are whole (CRC32C), it belongs to this
 * segment (the nonce, which nobody who writes payload can know) and it was written for this offset
 * (part of the checksum's seed). So payload that looks like a record, and a record that lies
 * elsewhere, are never taken for one.
 */
#include "osd/record.h"

#include <assert.h>

#include "base/bytes.h"

#include "base/banned.h"

enum {
    RECORD_MAGIC = 0x4345524c, /* "LREC" */
    CHECKSUM_CRC32C = 1,
    HEADER_COPY = 2048, /* the second copy of a segment header */
    HEADER_COVERED = 128,
    SUPERBLOCK_COVERED = 128,
    CRC_AT = 32,           /* of a record */
    CRC_AT_IN_BLOCKS = 16, /* of a segment header and a superblock */
};
static const uint8_t segment_magic[8] = {'L', 'I', 'L', 'I', 'O', 'S', 'E', 'G'};
static const uint8_t superblock_magic[8] = {'L', 'I', 'L', 'I', 'O', 'O', 'S', 'D'};

static_assert(OSD_RECORD_COVERED_MAX <= OSD_RECORD_COVERED_LIMIT, "any header of ours can be read");
static_assert(OSD_RECORD_COVERED_LIMIT + BASE_DISK_BLOCK <= OSD_RECORD_HEADER_MAX,
              "a header and its padding fit");

/* CRC32C over seed and bytes, the checksum's own four bytes taken as zeros. */
static uint32_t checksum(const uint8_t *bytes, size_t covered, size_t crc_at,
                         struct base_slice seed)
{
    static const uint8_t zeros[4];
    uint32_t crc = codec_crc32c(0, seed.data, seed.size);
    crc = codec_crc32c(crc, bytes, crc_at);
    crc = codec_crc32c(crc, zeros, sizeof zeros);
    return codec_crc32c(crc, bytes + crc_at + sizeof zeros, covered - crc_at - sizeof zeros);
}

/* ---- records ---- */

static uint32_t record_checksum(const uint8_t *bytes, size_t covered, uint64_t nonce,
                                uint64_t offset)
{
    uint8_t seed[16];
    base_le64_put(seed, nonce);
    base_le64_put(seed + 8, offset);
    return checksum(bytes, covered, CRC_AT, base_slice(seed, sizeof seed));
}

static uint32_t key_room(size_t key_size)
{
    return (uint32_t)osd_round_up(key_size, 4);
}

uint32_t osd_record_covered(const struct osd_record *record)
{
    if (record->type != OSD_RECORD_DATA)
        return OSD_RECORD_FIXED;
    return OSD_RECORD_FIXED + key_room(record->fragment.object_key.size) +
           4 * record->fragment.block_count;
}

uint64_t osd_record_place(uint64_t position, uint32_t covered, uint32_t payload_length,
                          uint32_t *ret_gap, uint32_t *ret_header_length)
{
    uint64_t start = position;
    uint32_t in_block = (uint32_t)(start % BASE_DISK_BLOCK);
    uint32_t header_length = (uint32_t)osd_round_up(covered, OSD_RECORD_ALIGN);
    if (payload_length >= OSD_RECORD_LARGE) {
        /* The header of a large payload lies in the one block before it. */
        if (in_block + covered > BASE_DISK_BLOCK) {
            start += BASE_DISK_BLOCK - in_block;
            in_block = 0;
        }
        header_length = BASE_DISK_BLOCK - in_block;
    }
    *ret_gap = (uint32_t)(start - position);
    *ret_header_length = header_length;
    return start + osd_record_extent(header_length, payload_length);
}

static void put_fragment(const struct osd_fragment *fragment, uint8_t *bytes)
{
    base_le16_put(bytes + 38, (uint16_t)fragment->object_key.size);
    base_le64_put(bytes + 56, fragment->bucket_id);
    base_le32_put(bytes + 116, fragment->block_count);
    base_le16_put(bytes + 120, (uint16_t)fragment->profile.data_count);
    base_le16_put(bytes + 122, (uint16_t)fragment->profile.parity_count);
    base_le32_put(bytes + 124, fragment->profile.generator);
    base_le32_put(bytes + 128, fragment->profile.fragment_size);
    base_le32_put(bytes + 132,
                  codec_fragment_checksum(fragment->block_checksums, fragment->block_count));
    base_le64_put(bytes + 136, fragment->stripe_length);
    uint8_t *at = bytes + OSD_RECORD_FIXED;
    if (fragment->object_key.size)
        memcpy(at, fragment->object_key.data, fragment->object_key.size);
    at += key_room(fragment->object_key.size);
    for (uint32_t i = 0; i < fragment->block_count; i++)
        base_le32_put(at + 4 * i, fragment->block_checksums[i]);
}

void osd_record_encode(const struct osd_record *record, uint64_t nonce, uint64_t offset,
                       uint8_t ret_bytes[OSD_RECORD_COVERED_MAX])
{
    uint32_t covered = osd_record_covered(record);
    const struct base_fragment_key *key = &record->fragment.key;
    uint8_t *bytes = ret_bytes;
    LILIO_ASSERT(covered <= OSD_RECORD_COVERED_MAX && covered <= record->header_length);
    memset(bytes, 0, covered);
    base_le32_put(bytes, RECORD_MAGIC);
    base_le16_put(bytes + 4, OSD_RECORD_VERSION);
    bytes[6] = record->type;
    bytes[7] = CHECKSUM_CRC32C;
    /* 8: must-understand flags, none yet */
    base_le32_put(bytes + 12, covered);
    base_le32_put(bytes + 16, record->header_length);
    base_le32_put(bytes + 20, record->payload_length);
    base_le64_put(bytes + 24, nonce);
    base_le64_put(bytes + 40, record->sequence);
    base_le64_put(bytes + 48, record->synced);
    memcpy(bytes + 64, record->cluster_id.bytes, 16);
    if (record->type != OSD_RECORD_PAD) {
        base_le16_put(bytes + 36, base_oid_group(key->oid));
        base_le64_put(bytes + 80, key->oid.high);
        base_le64_put(bytes + 88, key->oid.low);
        base_le32_put(bytes + 96, key->placement);
        base_le32_put(bytes + 100, key->partition);
        base_le32_put(bytes + 104, key->stripe);
        base_le32_put(bytes + 108, key->index);
        base_le32_put(bytes + 112, key->generation);
    }
    if (record->type == OSD_RECORD_DATA)
        put_fragment(&record->fragment, bytes);
    base_le64_put(bytes + 144, record->first_segment);
    base_le64_put(bytes + 152, record->last_segment);
    base_le64_put(bytes + 160, record->target_sequence);
    /* 168: 32 reserved zero bytes */
    osd_record_seal(bytes, covered, nonce, offset);
}

void osd_record_seal(uint8_t *bytes, size_t covered, uint64_t nonce, uint64_t offset)
{
    base_le32_put(bytes + CRC_AT, record_checksum(bytes, covered, nonce, offset));
}

uint64_t osd_record_claimed_nonce(const uint8_t *bytes)
{
    return base_le64_get(bytes + 24);
}

/* The part of a data header that only data has. The checksum held, so what does not fit is a bug of
 * the writer's; it is refused all the same. */
static enum lilio_err get_fragment(const uint8_t *bytes, uint32_t covered, uint32_t payload_length,
                                   struct osd_fragment *ret)
{
    uint32_t key_size = base_le16_get(bytes + 38);
    if (key_size > OSD_OBJECT_KEY_MAX || payload_length == 0 ||
        payload_length > CODEC_FRAGMENT_MAX || payload_length % CODEC_ALIGN)
        return LILIO_E_CORRUPT;
    ret->payload_length = payload_length;
    ret->block_count = base_le32_get(bytes + 116);
    if (ret->block_count != codec_block_count(payload_length) ||
        OSD_RECORD_FIXED + key_room(key_size) + 4 * ret->block_count > covered)
        return LILIO_E_CORRUPT;
    ret->bucket_id = base_le64_get(bytes + 56);
    ret->profile.data_count = base_le16_get(bytes + 120);
    ret->profile.parity_count = base_le16_get(bytes + 122);
    ret->profile.generator = base_le32_get(bytes + 124);
    ret->profile.fragment_size = base_le32_get(bytes + 128);
    ret->stripe_length = base_le64_get(bytes + 136);
    ret->object_key = base_slice(bytes + OSD_RECORD_FIXED, key_size);
    const uint8_t *at = bytes + OSD_RECORD_FIXED + key_room(key_size);
    for (uint32_t i = 0; i < ret->block_count; i++)
        ret->block_checksums[i] = base_le32_get(at + 4 * i);
    if (codec_fragment_checksum(ret->block_checksums, ret->block_count) !=
        base_le32_get(bytes + 132))
        return LILIO_E_CORRUPT;
    return LILIO_OK;
}

static void get_key(const uint8_t *bytes, struct base_fragment_key *ret)
{
    ret->oid.high = base_le64_get(bytes + 80);
    ret->oid.low = base_le64_get(bytes + 88);
    ret->placement = base_le32_get(bytes + 96);
    ret->partition = base_le32_get(bytes + 100);
    ret->stripe = base_le32_get(bytes + 104);
    ret->index = base_le32_get(bytes + 108);
    ret->generation = base_le32_get(bytes + 112);
}

/* What every version keeps: magic, covered length, nonce and checksum. */
static bool header_whole(const uint8_t *bytes, size_t size, uint64_t nonce, uint64_t offset,
                         uint32_t *ret_covered)
{
    if (size < OSD_RECORD_FIXED || base_le32_get(bytes) != RECORD_MAGIC ||
        base_le64_get(bytes + 24) != nonce)
        return false;
    uint32_t covered = base_le32_get(bytes + 12);
    *ret_covered = covered;
    return covered >= OSD_RECORD_FIXED && covered <= OSD_RECORD_COVERED_LIMIT && covered <= size &&
           record_checksum(bytes, covered, nonce, offset) == base_le32_get(bytes + CRC_AT);
}

enum lilio_err osd_record_decode(const uint8_t *bytes, size_t size, uint64_t nonce, uint64_t offset,
                                 struct osd_record *ret)
{
    uint32_t covered;
    if (!header_whole(bytes, size, nonce, offset, &covered))
        return LILIO_E_CORRUPT;
    if (base_le16_get(bytes + 4) != OSD_RECORD_VERSION || base_le32_get(bytes + 8) != 0 ||
        bytes[6] == 0 || bytes[6] > OSD_RECORD_PAD || bytes[7] != CHECKSUM_CRC32C)
        return LILIO_E_FORMAT;
    struct osd_record record = {.type = bytes[6]};
    record.header_length = base_le32_get(bytes + 16);
    record.payload_length = base_le32_get(bytes + 20);
    if (record.header_length < covered || record.header_length > OSD_RECORD_HEADER_MAX ||
        record.header_length % OSD_RECORD_ALIGN || record.payload_length > CODEC_FRAGMENT_MAX)
        return LILIO_E_CORRUPT;
    record.sequence = base_le64_get(bytes + 40);
    record.synced = base_le64_get(bytes + 48);
    memcpy(record.cluster_id.bytes, bytes + 64, 16);
    get_key(bytes, &record.fragment.key);
    record.first_segment = base_le64_get(bytes + 144);
    record.last_segment = base_le64_get(bytes + 152);
    record.target_sequence = base_le64_get(bytes + 160);
    if (record.type == OSD_RECORD_DATA &&
        get_fragment(bytes, covered, record.payload_length, &record.fragment) != LILIO_OK)
        return LILIO_E_CORRUPT;
    *ret = record;
    return LILIO_OK;
}

/* ---- segment header ---- */

/* Magic, version, covered length, flags and checksum stand at the same place in segment headers and
 * superblocks. */
static void seal_copy(uint8_t *copy, const uint8_t magic[8], uint16_t version, uint16_t covered)
{
    memcpy(copy, magic, 8);
    base_le16_put(copy + 8, version);
    base_le16_put(copy + 10, covered);
    base_le32_put(copy + CRC_AT_IN_BLOCKS,
                  checksum(copy, covered, CRC_AT_IN_BLOCKS, base_slice(NULL, 0)));
}

static enum lilio_err check_copy(const uint8_t *copy, size_t room, const uint8_t magic[8],
                                 uint16_t version, uint16_t least)
{
    uint16_t covered = base_le16_get(copy + 10);
    if (memcmp(copy, magic, 8) != 0 || covered < least || covered > room ||
        checksum(copy, covered, CRC_AT_IN_BLOCKS, base_slice(NULL, 0)) !=
            base_le32_get(copy + CRC_AT_IN_BLOCKS))
        return LILIO_E_CORRUPT;
    if (base_le16_get(copy + 8) != version || base_le32_get(copy + 12) != 0)
        return LILIO_E_FORMAT;
    return LILIO_OK;
}

void osd_segment_header_encode(const struct osd_segment_header *header,
                               uint8_t ret_block[OSD_SEGMENT_HEADER])
{
    uint8_t *copy = ret_block;
    memset(ret_block, 0, OSD_SEGMENT_HEADER);
    memcpy(copy + 24, header->cluster_id.bytes, 16);
    memcpy(copy + 40, header->disk_uuid.bytes, 16);
    base_le64_put(copy + 56, header->id);
    base_le64_put(copy + 64, header->nonce);
    base_le64_put(copy + 72, header->previous_id);
    base_le64_put(copy + 80, header->previous_end);
    seal_copy(copy, segment_magic, OSD_RECORD_VERSION, HEADER_COVERED);
    memcpy(ret_block + HEADER_COPY, copy, HEADER_COVERED);
}

enum lilio_err osd_segment_header_decode(const uint8_t *block, size_t size,
                                         struct osd_segment_header *ret)
{
    enum lilio_err err = LILIO_E_CORRUPT;
    for (size_t at = 0; at + HEADER_COPY <= size && at <= HEADER_COPY && err == LILIO_E_CORRUPT;
         at += HEADER_COPY) {
        const uint8_t *copy = block + at;
        err = check_copy(copy, HEADER_COPY, segment_magic, OSD_RECORD_VERSION, HEADER_COVERED);
        if (err)
            continue;
        memcpy(ret->cluster_id.bytes, copy + 24, 16);
        memcpy(ret->disk_uuid.bytes, copy + 40, 16);
        ret->id = base_le64_get(copy + 56);
        ret->nonce = base_le64_get(copy + 64);
        ret->previous_id = base_le64_get(copy + 72);
        ret->previous_end = base_le64_get(copy + 80);
    }
    return err;
}

/* ---- superblock ---- */

void osd_superblock_encode(const struct osd_superblock *superblock,
                           uint8_t ret_bytes[OSD_SUPERBLOCK_BYTES])
{
    uint8_t *copy = ret_bytes;
    memset(ret_bytes, 0, OSD_SUPERBLOCK_BYTES);
    memcpy(copy + 24, superblock->cluster_id.bytes, 16);
    memcpy(copy + 40, superblock->disk_uuid.bytes, 16);
    base_le32_put(copy + 56, superblock->osd_id);
    base_le32_put(copy + 60, superblock->incarnation);
    base_le32_put(copy + 64, superblock->state);
    seal_copy(copy, superblock_magic, OSD_RECORD_VERSION, SUPERBLOCK_COVERED);
    memcpy(ret_bytes + OSD_SUPERBLOCK_COPY, copy, SUPERBLOCK_COVERED);
}

enum lilio_err osd_superblock_decode(const uint8_t *bytes, size_t size, struct osd_superblock *ret)
{
    enum lilio_err err = LILIO_E_CORRUPT;
    for (size_t at = 0;
         at < OSD_SUPERBLOCK_BYTES && at + OSD_SUPERBLOCK_COPY <= size && err == LILIO_E_CORRUPT;
         at += OSD_SUPERBLOCK_COPY) {
        const uint8_t *copy = bytes + at;
        err = check_copy(copy, OSD_SUPERBLOCK_COPY, superblock_magic, OSD_RECORD_VERSION,
                         SUPERBLOCK_COVERED);
        if (!err && (base_le32_get(copy + 64) == OSD_DISK_BLANK ||
                     base_le32_get(copy + 64) > OSD_DISK_MEMBER))
            err = LILIO_E_FORMAT;
        if (err)
            continue;
        memcpy(ret->cluster_id.bytes, copy + 24, 16);
        memcpy(ret->disk_uuid.bytes, copy + 40, 16);
        ret->osd_id = base_le32_get(copy + 56);
        ret->incarnation = base_le32_get(copy + 60);
        ret->state = base_le32_get(copy + 64);
    }
    return err;
}
