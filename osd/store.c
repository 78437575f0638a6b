#include "osd/store_priv.h"

#include "base/bytes.h"

#include "base/banned.h"

void osd_store_free(struct osd_store **store)
{
    if (*store)
        (*store)->ops->free(*store);
    *store = NULL;
}

enum lilio_err osd_put_check(const struct osd_put *put)
{
    const struct osd_fragment *fragment = &put->fragment;
    if (codec_profile_check(&fragment->profile, NULL) != LILIO_OK || !put->payload)
        return LILIO_E_INVALID;
    if (fragment->payload_length == 0 || fragment->payload_length % CODEC_ALIGN ||
        fragment->payload_length > fragment->profile.fragment_size ||
        fragment->block_count != codec_block_count(fragment->payload_length) ||
        fragment->object_key.size > OSD_OBJECT_KEY_MAX ||
        fragment->key.index >= codec_profile_total(&fragment->profile))
        return LILIO_E_INVALID;
    if (!put->trusted && !osd_blocks_good(fragment, 0, put->payload, fragment->payload_length))
        return LILIO_E_CORRUPT;
    return LILIO_OK;
}

bool osd_blocks_good(const struct osd_fragment *fragment, uint32_t first_block,
                     const uint8_t *bytes, uint32_t size)
{
    for (uint32_t at = 0; at < size; at += CODEC_BLOCK) {
        uint32_t part = size - at < CODEC_BLOCK ? size - at : CODEC_BLOCK;
        if (codec_crc32c(0, bytes + at, part) !=
            fragment->block_checksums[first_block + at / CODEC_BLOCK])
            return false;
    }
    return true;
}

bool osd_key_equal(const struct base_fragment_key *a, const struct base_fragment_key *b)
{
    return base_oid_equal(a->oid, b->oid) && a->stripe == b->stripe && a->index == b->index &&
           a->generation == b->generation && a->placement == b->placement &&
           a->partition == b->partition;
}

enum lilio_err osd_range_cut(uint32_t payload_length, uint32_t first_block, uint32_t block_count,
                             size_t room, struct osd_range *ret, struct lilio_errinfo *info)
{
    uint32_t blocks = codec_block_count(payload_length);
    if (first_block >= blocks || block_count == 0)
        return lilio_fail(info, LILIO_E_INVALID, "blocks %u + %u of a fragment of %u", first_block,
                          block_count, blocks);
    if (block_count > blocks - first_block)
        block_count = blocks - first_block;
    struct osd_range range = {first_block * CODEC_BLOCK, block_count * CODEC_BLOCK};
    if (range.size > payload_length - range.offset)
        range.size = payload_length - range.offset;
    uint64_t need;
    if (!base_round_up(range.size, BASE_DISK_BLOCK, &need) || room < need + BASE_DISK_BLOCK)
        return lilio_fail(info, LILIO_E_INVALID, "a buffer of %zu bytes for %u", room, range.size);
    *ret = range;
    return LILIO_OK;
}
