/* From the source to coded stripes in memory: a stripe is read straight into fragment buffers, from
 * which ZeroMQ sends, too; encoded and checksummed. */
#include "client/put_priv.h"

#include <stdlib.h>

#include "base/banned.h"

/* ---- memory ---- */

void client_putter_drop(struct client_putter *put, struct client_stripe *stripe)
{
    for (uint32_t i = 0; i < put->total_count; i++) {
        if (stripe->fragments[i])
            client_frags_drop(put->lane->frags, stripe->fragments[i]);
        stripe->fragments[i] = NULL;
    }
}

/* Buffers for all fragments of a stripe, or none while too many are on their way. */
static bool take_fragments(struct client_putter *put, struct client_stripe *stripe)
{
    for (uint32_t i = 0; i < put->total_count; i++) {
        stripe->fragments[i] = client_frags_take(put->lane->frags);
        if (!stripe->fragments[i]) {
            client_putter_drop(put, stripe);
            return false;
        }
    }
    return true;
}

static struct client_stripe *free_stripe(struct client_putter *put)
{
    for (uint32_t s = 0; s <= put->window; s++)
        if (!put->stripes[s].fragments[0])
            return &put->stripes[s];
    return NULL;
}

/* Window, fragment buffers (kept by the lane) and stripe descriptions. */
enum lilio_err client_putter_reserve(struct client_putter *put)
{
    const struct codec_profile *profile = &put->bucket.profile;
    uint64_t stripe_bytes = (uint64_t)put->total_count * profile->fragment_size;
    uint64_t window = put->client->window_bytes / stripe_bytes;
    uint64_t stripe_count =
        put->source->size == UINT64_MAX ? window : codec_stripe_count(profile, put->source->size);
    window = stripe_count < window ? stripe_count : window;
    window = window > CLIENT_WINDOW_STRIPES_MAX ? CLIENT_WINDOW_STRIPES_MAX : window;
    put->window = window ? (uint32_t)window : 1;

    /* One stripe more is read at the end of a run; slow OSDs may owe a window of fragments each. */
    size_t buffer_count = (size_t)(put->window + 1) * put->total_count +
                          (size_t)put->window * (put->total_count - put->required);
    if (!client_frags_fit(put->lane->frags, profile->fragment_size, buffer_count)) {
        client_frags_free(&put->lane->frags);
        if (client_frags_new(profile->fragment_size, buffer_count, &put->lane->frags) != LILIO_OK)
            return lilio_fail(put->info, LILIO_E_NOMEM, "no memory for %zu fragments",
                              buffer_count);
    }
    uint32_t block_count = codec_block_count(profile->fragment_size);
    put->stripes = calloc(put->window + 1, sizeof *put->stripes);
    put->slots = calloc(put->window, sizeof *put->slots);
    put->sums =
        calloc((size_t)(put->window + 1) * put->total_count * block_count, sizeof *put->sums);
    if (!put->stripes || !put->slots || !put->sums)
        return lilio_fail(put->info, LILIO_E_NOMEM, "no memory for the window");
    for (uint32_t s = 0; s <= put->window; s++)
        for (uint32_t i = 0; i < put->total_count; i++)
            put->stripes[s].sums[i] = put->sums + ((size_t)s * put->total_count + i) * block_count;
    return LILIO_OK;
}

/* ---- reading and encoding ---- */

enum lilio_err client_putter_read(struct client_putter *put, void *buffer, size_t size,
                                  size_t *ret_size)
{
    *ret_size = 0;
    if (put->head_at < put->head_size) {
        size_t left = put->head_size - put->head_at;
        *ret_size = left < size ? left : size;
        memcpy(buffer, put->head + put->head_at, *ret_size);
        put->head_at += *ret_size;
    }
    put->ended |= put->dry && put->head_at == put->head_size;
    while (*ret_size < size && !put->ended) {
        if (client_cancelled(put->client))
            return lilio_fail(put->info, LILIO_E_CANCELLED, "cancelled");
        size_t got = 0;
        enum lilio_err err = put->source->read(put->source->context, (uint8_t *)buffer + *ret_size,
                                               size - *ret_size, &got, put->info);
        if (err != LILIO_OK)
            return err;
        if (got > size - *ret_size)
            return lilio_fail(put->info, LILIO_E_INVALID, "the source returned more than asked");
        put->ended = put->dry = got == 0;
        *ret_size += got;
    }
    return LILIO_OK;
}

/* Fills data fragments of fragment_size each until want bytes were read or the source ended. */
static enum lilio_err read_fragments(struct client_putter *put, struct client_stripe *stripe,
                                     uint64_t want)
{
    stripe->length = 0;
    for (uint32_t i = 0; stripe->length < want && !put->ended; i++) {
        uint64_t left = want - stripe->length;
        size_t size = left < stripe->fragment_size ? (size_t)left : stripe->fragment_size, got;
        enum lilio_err err = client_putter_read(put, stripe->fragments[i], size, &got);
        if (err != LILIO_OK)
            return err;
        stripe->length += got;
    }
    return LILIO_OK;
}

/* A short last stripe that was read into full fragments is laid out again in smaller ones. From the
 * end, so that no byte is overwritten before it was moved. */
static void lay_out_again(struct client_stripe *stripe, uint32_t fragment_size)
{
    uint32_t full = stripe->fragment_size;
    for (uint64_t end = stripe->length; end > fragment_size;) {
        uint64_t last = end - 1, start = last - last % fragment_size;
        if (last - last % full > start)
            start = last - last % full;
        memmove((uint8_t *)stripe->fragments[start / fragment_size] + start % fragment_size,
                (uint8_t *)stripe->fragments[start / full] + start % full, end - start);
        end = start;
    }
    stripe->fragment_size = fragment_size;
}

static void pad(const struct client_putter *put, struct client_stripe *stripe)
{
    for (uint32_t i = 0; i < put->bucket.profile.data_count; i++) {
        uint64_t start = (uint64_t)i * stripe->fragment_size;
        uint64_t used = stripe->length > start ? stripe->length - start : 0;
        if (used < stripe->fragment_size)
            memset((uint8_t *)stripe->fragments[i] + used, 0, stripe->fragment_size - used);
    }
}

/* The checksum of the content goes on by this stripe's user bytes, from the block checksums where
 * whole blocks are user bytes. */
static void add_to_crc(struct client_putter *put, const struct client_stripe *stripe)
{
    for (uint64_t at = 0; at < stripe->length;) {
        uint32_t index = (uint32_t)(at / stripe->fragment_size);
        uint32_t offset = (uint32_t)(at % stripe->fragment_size);
        uint32_t room = stripe->fragment_size - offset;
        uint32_t block = room < CODEC_BLOCK ? room : CODEC_BLOCK;
        uint64_t left = stripe->length - at;
        if (left >= block) {
            uint32_t sum = stripe->sums[index][offset / CODEC_BLOCK];
            put->crc = codec_crc32c_combine(put->crc, sum, block);
        } else {
            block = (uint32_t)left;
            put->crc = codec_crc32c(put->crc, (uint8_t *)stripe->fragments[index] + offset, block);
        }
        at += block;
    }
}

static void encode(struct client_putter *put, struct client_stripe *stripe)
{
    uint8_t *fragments[CODEC_TOTAL_MAX];
    for (uint32_t i = 0; i < put->total_count; i++)
        fragments[i] = stripe->fragments[i];
    codec_encode_checksum(put->coder, stripe->fragment_size, fragments,
                          fragments + put->bucket.profile.data_count, stripe->sums);
    add_to_crc(put, stripe);
    put->size += stripe->length;
}

/* Reads and encodes the next stripe into put->next; leaves it NULL at the end of the source, or
 * while there is no buffer. */
enum lilio_err client_putter_fill(struct client_putter *put)
{
    const struct codec_profile *profile = &put->bucket.profile;
    struct client_stripe *stripe = free_stripe(put);
    put->starved = !stripe || !take_fragments(put, stripe);
    if (put->starved)
        return LILIO_OK;
    uint64_t want = (uint64_t)profile->data_count * profile->fragment_size;
    if (put->source->size != UINT64_MAX && put->source->size - put->size < want)
        want = put->source->size - put->size;
    stripe->fragment_size = codec_fragment_size(profile, want);
    enum lilio_err err = read_fragments(put, stripe, want);
    if (err == LILIO_OK && put->source->size != UINT64_MAX && stripe->length < want)
        err = lilio_fail(put->info, LILIO_E_INVALID, "the source ended after %llu of %llu bytes",
                         (unsigned long long)(put->size + stripe->length),
                         (unsigned long long)put->source->size);
    if (err != LILIO_OK || stripe->length == 0) {
        client_putter_drop(put, stripe);
        return err;
    }
    uint32_t fragment_size = codec_fragment_size(profile, stripe->length);
    if (fragment_size != stripe->fragment_size)
        lay_out_again(stripe, fragment_size);
    pad(put, stripe);
    encode(put, stripe);
    put->next = stripe;
    put->ended |= put->size == put->source->size;
    put->moved_ms = client_now_ms(put->client);
    return LILIO_OK;
}
