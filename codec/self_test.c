/* What a daemon proves about its machine and its ISA-L before it touches a fragment: the checksum
 * has its check value, golden stripes encode to the bytes that every lilio-ec must produce, and
 * what is lost of them comes back.
 *
 * Only runs of consecutive fragments are lost here, one start after the other, to be done in
 * milliseconds; the unit tests go through every pattern. */
#include "codec/codec.h"
#include "codec/self_test_priv.h"

#include <stdlib.h>

#include "base/banned.h"

const struct codec_golden codec_golden[CODEC_GOLDEN_COUNT] = {
    {1, 0, 64, 0xfddd89cdu},    {1, 2, 4160, 0xb02eea00u},   {2, 1, 64, 0xe1024c87u},
    {3, 2, 128, 0x4cfc4f72u},   {4, 2, 131136, 0xf99fbf8fu}, {6, 3, 4160, 0xd5729501u},
    {8, 3, 4096, 0xa5eeebd6u},  {8, 4, 4160, 0x51bc9784u},   {10, 4, 320, 0x1a0a2861u},
    {12, 4, 4160, 0x016445c1u}, {5, 0, 192, 0xb8460113u},    {32, 16, 4160, 0xcb0183c5u},
};

void codec_golden_fill(uint32_t *state, uint8_t *ret, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        *state = *state * 1664525u + 1013904223u;
        ret[i] = (uint8_t)(*state >> 24);
    }
}

/* A golden stripe in memory: its fragments, and room for those that are made again. */
struct stripe {
    const struct codec_golden *golden;
    struct codec_coder *coder;
    uint8_t *memory;
    uint8_t *fragment[CODEC_TOTAL_MAX], *rebuilt[CODEC_PARITY_MAX];
};

static enum lilio_err stripe_init(struct stripe *stripe, const struct codec_golden *golden,
                                  struct lilio_errinfo *info)
{
    uint32_t total_count = golden->data_count + golden->parity_count;
    struct codec_profile profile = {
        .data_count = golden->data_count,
        .parity_count = golden->parity_count,
        .fragment_size = CODEC_FRAGMENT_DEFAULT,
        .generator = golden->data_count == 1 ? CODEC_COPY1 : CODEC_CAUCHY1,
    };
    *stripe = (struct stripe){.golden = golden};
    enum lilio_err err = codec_coder_new(&profile, &stripe->coder, info);
    if (err != LILIO_OK)
        return err;
    stripe->memory =
        aligned_alloc(CODEC_ALIGN, (size_t)(total_count + golden->parity_count) * golden->size);
    if (stripe->memory == NULL)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for the self-test");
    for (uint32_t i = 0; i < total_count; i++)
        stripe->fragment[i] = stripe->memory + (size_t)i * golden->size;
    for (uint32_t i = 0; i < golden->parity_count; i++)
        stripe->rebuilt[i] = stripe->memory + (size_t)(total_count + i) * golden->size;
    return LILIO_OK;
}

static void stripe_release(struct stripe *stripe)
{
    free(stripe->memory);
    codec_coder_free(&stripe->coder);
}

static enum lilio_err check_encode(struct stripe *stripe, struct lilio_errinfo *info)
{
    const struct codec_golden *golden = stripe->golden;
    uint32_t total_count = golden->data_count + golden->parity_count;
    uint32_t block_checksums[CODEC_TOTAL_MAX][CODEC_GOLDEN_BLOCKS_MAX];
    uint32_t checksums[CODEC_TOTAL_MAX];
    uint32_t *block_checksum[CODEC_TOTAL_MAX];
    uint32_t state = codec_golden_seed(golden);

    for (uint32_t i = 0; i < golden->data_count; i++)
        codec_golden_fill(&state, stripe->fragment[i], golden->size);
    for (uint32_t i = 0; i < total_count; i++)
        block_checksum[i] = block_checksums[i];
    codec_encode_checksum(stripe->coder, golden->size, stripe->fragment,
                          stripe->fragment + golden->data_count, block_checksum);
    for (uint32_t i = 0; i < total_count; i++)
        checksums[i] = codec_fragment_checksum(block_checksum[i], codec_block_count(golden->size));
    if (codec_fragment_checksum(checksums, total_count) != golden->checksum)
        return lilio_fail(info, LILIO_E_CORRUPT, "self-test: %u+%u encodes to wrong bytes",
                          golden->data_count, golden->parity_count);
    return LILIO_OK;
}

static enum lilio_err check_decode(struct stripe *stripe, uint64_t lost, struct codec_plan *plan,
                                   struct lilio_errinfo *info)
{
    const struct codec_golden *golden = stripe->golden;
    uint64_t all = ((uint64_t)1 << (golden->data_count + golden->parity_count)) - 1;
    uint8_t *source[CODEC_TOTAL_MAX];

    enum lilio_err err = codec_plan_make(stripe->coder, all & ~lost, lost, plan, info);
    if (err != LILIO_OK)
        return lilio_prefix(info, err, "self-test");
    for (uint32_t i = 0; i < plan->source_count; i++)
        source[i] = stripe->fragment[plan->source[i]];
    codec_plan_run(plan, golden->size, source, stripe->rebuilt);
    for (uint32_t i = 0; i < plan->target_count; i++)
        if (memcmp(stripe->rebuilt[i], stripe->fragment[plan->target[i]], golden->size) != 0)
            return lilio_fail(info, LILIO_E_CORRUPT, "self-test: %u+%u decodes to wrong bytes",
                              golden->data_count, golden->parity_count);
    return LILIO_OK;
}

enum lilio_err codec_golden_check(const struct codec_golden *golden, struct lilio_errinfo *info)
{
    uint32_t total_count = golden->data_count + golden->parity_count;
    struct codec_plan plan;
    struct stripe stripe;

    enum lilio_err err = stripe_init(&stripe, golden, info);
    if (err == LILIO_OK)
        err = check_encode(&stripe, info);
    for (uint32_t first = 0; first < total_count && err == LILIO_OK; first++) {
        uint64_t lost = 0;
        for (uint32_t i = 0; i < golden->parity_count; i++)
            lost |= (uint64_t)1 << (first + i) % total_count;
        err = check_decode(&stripe, lost, &plan, info);
    }
    stripe_release(&stripe);
    return err;
}

static enum lilio_err check_crc32c(struct lilio_errinfo *info)
{
    const uint32_t check_value = 0xe3069283u;
    uint32_t start = codec_crc32c(0, "1234", 4), end = codec_crc32c(0, "56789", 5);
    if (codec_crc32c(0, "123456789", 9) != check_value ||
        codec_crc32c(start, "56789", 5) != check_value ||
        codec_crc32c_combine(start, end, 5) != check_value)
        return lilio_fail(info, LILIO_E_CORRUPT, "self-test: CRC32C misses its check value");
    return LILIO_OK;
}

enum lilio_err codec_self_test(struct lilio_errinfo *info)
{
    enum lilio_err err = check_crc32c(info);
    for (size_t i = 0; i < CODEC_GOLDEN_COUNT && err == LILIO_OK; i++)
        err = codec_golden_check(&codec_golden[i], info);
    return err;
}
