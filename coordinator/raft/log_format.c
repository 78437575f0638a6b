#include "coordinator/raft/log_format.h"

#include "base/bytes.h"
#include "codec/codec.h"

#include "base/banned.h"

/* Header, mark and vote begin alike:
 *   0 magic 8, 8 version 2, 10 covered 2, 12 must-understand flags 4, 16 checksum 4, 20 zero 4
 * The checksum covers bytes 0 .. covered-1 with itself as zeros. */
enum {
    VERSION = 1,
    VOTE_VERSION = 2,
    COVERED = 128,
    VOTE_COVERED = 512,
    VOTE_STARTS_AT = 120, /* 24 bytes each */
    AT_VERSION = 8,
    AT_COVERED = 10,
    AT_FLAGS = 12,
    AT_CHECKSUM = 16,
    AT_FIELDS = 24,
    HEADER_RESET = 1,
};

static const uint8_t HEADER_MAGIC[8] = "LILIORLG", MARK_MAGIC[8] = "LILIORMK",
                     VOTE_MAGIC[8] = "LILIORVT";

/* ---- blocks ---- */

static uint32_t block_checksum(const uint8_t *block, size_t covered)
{
    static const uint8_t zeros[4];
    uint32_t crc = codec_crc32c(0, block, AT_CHECKSUM);
    crc = codec_crc32c(crc, zeros, sizeof zeros);
    return codec_crc32c(crc, block + AT_CHECKSUM + 4, covered - AT_CHECKSUM - 4);
}

static void block_begin(uint8_t *block, const uint8_t magic[8])
{
    memset(block, 0, LOG_BLOCK);
    memcpy(block, magic, 8);
    base_le16_put(block + AT_VERSION, VERSION);
    base_le16_put(block + AT_COVERED, COVERED);
}

static void block_seal(uint8_t *block)
{
    size_t covered = base_le16_get(block + AT_COVERED);
    base_le32_put(block + AT_CHECKSUM, block_checksum(block, covered));
}

static enum lilio_err block_check(const uint8_t *block, const uint8_t magic[8],
                                  uint16_t newest_version)
{
    size_t covered = base_le16_get(block + AT_COVERED);
    if (memcmp(block, magic, 8) != 0 || covered < COVERED || covered > LOG_BLOCK ||
        base_le32_get(block + AT_CHECKSUM) != block_checksum(block, covered))
        return LILIO_E_CORRUPT;
    uint16_t version = base_le16_get(block + AT_VERSION);
    bool known =
        version >= VERSION && version <= newest_version && base_le32_get(block + AT_FLAGS) == 0;
    return known ? LILIO_OK : LILIO_E_FORMAT;
}

static void put_owner(uint8_t *at, const struct log_owner *owner)
{
    memcpy(at, owner->cluster_id.bytes, 16);
    base_le64_put(at + 16, owner->member);
}

static struct log_owner get_owner(const uint8_t *at)
{
    struct log_owner owner = {.member = base_le64_get(at + 16)};
    memcpy(owner.cluster_id.bytes, at, 16);
    return owner;
}

void log_header_encode(const struct log_header *header, uint8_t ret_block[LOG_BLOCK])
{
    block_begin(ret_block, HEADER_MAGIC);
    uint8_t *at = ret_block + AT_FIELDS;
    put_owner(at, &header->owner);
    base_le64_put(at + 24, header->sequence);
    base_le64_put(at + 32, header->nonce);
    base_le64_put(at + 40, header->base_index);
    base_le64_put(at + 48, header->base_term);
    base_le64_put(at + 64, header->number);
    at[56] = header->reset ? HEADER_RESET : 0;
    block_seal(ret_block);
}

enum lilio_err log_header_decode(const uint8_t block[LOG_BLOCK], struct log_header *ret)
{
    enum lilio_err err = block_check(block, HEADER_MAGIC, VERSION);
    if (err)
        return err;
    const uint8_t *at = block + AT_FIELDS;
    *ret = (struct log_header){
        .owner = get_owner(at),
        .sequence = base_le64_get(at + 24),
        .nonce = base_le64_get(at + 32),
        .reset = at[56] & HEADER_RESET,
        .base_index = base_le64_get(at + 40),
        .base_term = base_le64_get(at + 48),
        .number = base_le64_get(at + 64),
    };
    bool is_last = ret->base_index == UINT64_MAX || ret->number == LOG_NUMBER_END;
    return is_last ? LILIO_E_CORRUPT : LILIO_OK; /* nothing can follow it */
}

void log_mark_encode(const struct log_mark *mark, uint8_t ret_block[LOG_BLOCK])
{
    block_begin(ret_block, MARK_MAGIC);
    base_le64_put(ret_block + AT_FIELDS, mark->sequence);
    base_le64_put(ret_block + AT_FIELDS + 8, mark->nonce);
    base_le64_put(ret_block + AT_FIELDS + 16, mark->number);
    block_seal(ret_block);
}

bool log_mark_decode(const uint8_t block[LOG_BLOCK], struct log_mark *ret)
{
    if (block_check(block, MARK_MAGIC, VERSION))
        return false;
    *ret = (struct log_mark){
        .sequence = base_le64_get(block + AT_FIELDS),
        .nonce = base_le64_get(block + AT_FIELDS + 8),
        .number = base_le64_get(block + AT_FIELDS + 16),
    };
    return true;
}

/* 24 owner 24, 48 term, 56 vote, 64 saves, 72 start, 80 its id, 88 told 1, 89 count of starts 1, 96
 * stale, 120 starts: member, start, id. */
void log_vote_encode(const struct log_owner *owner, const struct raft_vote *vote,
                     uint8_t ret_block[LOG_BLOCK])
{
    block_begin(ret_block, VOTE_MAGIC);
    base_le16_put(ret_block + AT_VERSION, VOTE_VERSION);
    base_le16_put(ret_block + AT_COVERED, VOTE_COVERED);
    uint8_t *at = ret_block + AT_FIELDS;
    put_owner(at, owner);
    base_le64_put(at + 24, vote->term);
    base_le64_put(at + 32, vote->vote);
    base_le64_put(at + 40, vote->saves);
    base_le64_put(at + 48, vote->start);
    base_le64_put(at + 56, vote->start_id);
    at[64] = vote->told;
    at[65] = (uint8_t)vote->known_count;
    base_le64_put(at + 72, vote->stale);
    at = ret_block + VOTE_STARTS_AT;
    for (size_t i = 0; i < vote->known_count; i++, at += 24) {
        base_le64_put(at, vote->known[i].member);
        base_le64_put(at + 8, vote->known[i].start);
        base_le64_put(at + 16, vote->known[i].id);
    }
    block_seal(ret_block);
}
_Static_assert(VOTE_STARTS_AT + RAFT_KNOWN_MAX * 24 <= VOTE_COVERED, "all starts are covered");

enum lilio_err log_vote_decode(const uint8_t block[LOG_BLOCK], struct log_owner *ret_owner,
                               struct raft_vote *ret)
{
    enum lilio_err err = block_check(block, VOTE_MAGIC, VOTE_VERSION);
    if (err)
        return err;
    const uint8_t *at = block + AT_FIELDS;
    *ret_owner = get_owner(at);
    *ret = (struct raft_vote){.term = base_le64_get(at + 24), .vote = base_le64_get(at + 32)};
    if (base_le16_get(block + AT_VERSION) == VERSION)
        return LILIO_OK;
    if (base_le16_get(block + AT_COVERED) < VOTE_COVERED || at[65] > RAFT_KNOWN_MAX)
        return LILIO_E_CORRUPT;
    ret->saves = base_le64_get(at + 40);
    ret->start = base_le64_get(at + 48);
    ret->start_id = base_le64_get(at + 56);
    ret->told = at[64];
    ret->known_count = at[65];
    ret->stale = base_le64_get(at + 72);
    at = block + VOTE_STARTS_AT;
    for (size_t i = 0; i < ret->known_count; i++, at += 24)
        ret->known[i] = (struct proto_raft_start){.member = base_le64_get(at),
                                                  .start = base_le64_get(at + 8),
                                                  .id = base_le64_get(at + 16)};
    return LILIO_OK;
}

/* ---- batches ---- */

/* 0 magic 4, 4 version 2, 6 flags 2, 8 header checksum 4, 12 body checksum 4, 16 nonce, 24
 * sequence, 32 number, 40 first, 48 previous term, 56 count 4, 60 length 4. */
static const uint8_t BATCH_MAGIC[4] = "LBAT";

static uint32_t batch_checksum(const uint8_t *bytes, uint64_t offset)
{
    static const uint8_t zeros[4];
    uint8_t seed[8];
    base_le64_put(seed, offset);
    uint32_t crc = codec_crc32c(0, seed, sizeof seed);
    crc = codec_crc32c(crc, bytes, 8);
    crc = codec_crc32c(crc, zeros, sizeof zeros);
    return codec_crc32c(crc, bytes + 12, LOG_BATCH_HEADER - 12);
}

void log_batch_encode(const struct log_batch_header *header, uint64_t offset,
                      uint8_t ret_bytes[LOG_BATCH_HEADER])
{
    memcpy(ret_bytes, BATCH_MAGIC, 4);
    base_le16_put(ret_bytes + 4, VERSION);
    base_le16_put(ret_bytes + 6, 0);
    base_le32_put(ret_bytes + 12, header->body_checksum);
    base_le64_put(ret_bytes + 16, header->nonce);
    base_le64_put(ret_bytes + 24, header->sequence);
    base_le64_put(ret_bytes + 32, header->number);
    base_le64_put(ret_bytes + 40, header->first);
    base_le64_put(ret_bytes + 48, header->previous_term);
    base_le32_put(ret_bytes + 56, header->count);
    base_le32_put(ret_bytes + 60, header->length);
    base_le32_put(ret_bytes + 8, batch_checksum(ret_bytes, offset));
}

enum lilio_err log_batch_decode(const uint8_t bytes[LOG_BATCH_HEADER], uint64_t offset,
                                struct log_batch_header *ret)
{
    if (memcmp(bytes, BATCH_MAGIC, 4) != 0 ||
        base_le32_get(bytes + 8) != batch_checksum(bytes, offset))
        return LILIO_E_CORRUPT;
    if (base_le16_get(bytes + 4) != VERSION || base_le16_get(bytes + 6) != 0)
        return LILIO_E_FORMAT;
    *ret = (struct log_batch_header){
        .nonce = base_le64_get(bytes + 16),
        .sequence = base_le64_get(bytes + 24),
        .number = base_le64_get(bytes + 32),
        .first = base_le64_get(bytes + 40),
        .previous_term = base_le64_get(bytes + 48),
        .count = base_le32_get(bytes + 56),
        .length = base_le32_get(bytes + 60),
        .body_checksum = base_le32_get(bytes + 12),
    };
    bool bounded = ret->count > 0 && ret->first > 0 && ret->length <= LOG_BATCH_MAX &&
                   ret->count <= ret->length / LOG_ENTRY_HEADER &&
                   ret->first <= UINT64_MAX - ret->count && ret->number > 0 &&
                   ret->number < LOG_NUMBER_END;
    return bounded ? LILIO_OK : LILIO_E_CORRUPT;
}

void log_entry_encode(const struct raft_entry *entry, uint8_t ret_bytes[LOG_ENTRY_HEADER])
{
    base_le64_put(ret_bytes, entry->term);
    base_le32_put(ret_bytes + 8, (uint32_t)entry->data.size);
    base_le32_put(ret_bytes + 12, entry->type);
}

bool log_entry_next(const uint8_t *body, uint32_t length, uint32_t *position,
                    struct raft_entry *ret)
{
    if (length - *position < LOG_ENTRY_HEADER)
        return false;
    const uint8_t *at = body + *position;
    uint32_t size = base_le32_get(at + 8), type = base_le32_get(at + 12);
    if (size > length - *position - LOG_ENTRY_HEADER || type > UINT8_MAX)
        return false;
    *ret = (struct raft_entry){
        .term = base_le64_get(at),
        .type = (uint8_t)type,
        .data = base_slice(at + LOG_ENTRY_HEADER, size),
    };
    *position += LOG_ENTRY_HEADER + size;
    return true;
}

bool log_body_valid(const struct log_batch_header *header, const uint8_t *body)
{
    struct raft_entry entry;
    uint32_t position = 0;
    if (codec_crc32c(0, body, header->length) != header->body_checksum)
        return false;
    for (uint32_t i = 0; i < header->count; i++)
        if (!log_entry_next(body, header->length, &position, &entry))
            return false;
    return position == header->length;
}

uint64_t log_batch_size(uint32_t length)
{
    return ((uint64_t)LOG_BATCH_HEADER + length + LOG_BLOCK - 1) / LOG_BLOCK * LOG_BLOCK;
}
