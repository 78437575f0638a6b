#include "codec/codec.h"

#include "base/banned.h"

static uint64_t stripe_width(const struct codec_profile *profile)
{
    return (uint64_t)profile->data_count * profile->fragment_size;
}

uint64_t codec_stripe_count(const struct codec_profile *profile, uint64_t stored_length)
{
    uint64_t width = stripe_width(profile);
    return stored_length / width + (stored_length % width != 0);
}

uint64_t codec_stripe_length(const struct codec_profile *profile, uint64_t stored_length,
                             uint64_t stripe)
{
    uint64_t width = stripe_width(profile), full_count = stored_length / width;
    if (stripe > full_count)
        return 0;
    return stripe < full_count ? width : stored_length % width;
}

uint32_t codec_fragment_size(const struct codec_profile *profile, uint64_t length)
{
    if (length >= stripe_width(profile))
        return profile->fragment_size;
    uint64_t share = (length + profile->data_count - 1) / profile->data_count;
    return (uint32_t)((share + CODEC_ALIGN - 1) / CODEC_ALIGN * CODEC_ALIGN);
}

/* The cursor counts the bytes of the range that were walked. */
bool codec_range_next(const struct codec_profile *profile, uint64_t stored_length, uint64_t offset,
                      uint64_t length, uint64_t *cursor, struct codec_piece *ret)
{
    if (offset >= stored_length)
        return false;
    if (length > stored_length - offset)
        length = stored_length - offset;
    if (*cursor >= length)
        return false;

    uint64_t left = length - *cursor;
    uint64_t stripe = (offset + *cursor) / stripe_width(profile);
    uint64_t within = (offset + *cursor) % stripe_width(profile);
    uint32_t fragment_size =
        codec_fragment_size(profile, codec_stripe_length(profile, stored_length, stripe));
    struct codec_piece piece = {
        .stripe = stripe,
        .index = (uint32_t)(within / fragment_size),
        .offset = (uint32_t)(within % fragment_size),
        .position = *cursor,
    };
    uint32_t room = fragment_size - piece.offset;
    piece.length = left < room ? (uint32_t)left : room;
    piece.first_block = piece.offset / CODEC_BLOCK;
    piece.block_count = (piece.offset + piece.length - 1) / CODEC_BLOCK - piece.first_block + 1;
    *cursor += piece.length;
    *ret = piece;
    return true;
}
