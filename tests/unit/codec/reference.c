#include "tests/unit/codec/reference.h"

#include <stdlib.h>

#include "base/banned.h"

enum { GUARD_SIZE = 64, GUARD_BYTE = 0xa5 };

const char *const reference_shipped[REFERENCE_SHIPPED_COUNT] = {"2+1", "3+2", "4+2",  "6+3",
                                                                "8+3", "8+4", "10+4", "12+4"};

uint8_t reference_multiply(uint8_t a, uint8_t b)
{
    uint32_t product = 0, shifted = a;
    for (uint32_t rest = b; rest != 0; rest >>= 1) {
        if (rest & 1)
            product ^= shifted;
        shifted <<= 1;
        if (shifted & 0x100)
            shifted ^= 0x11d;
    }
    return (uint8_t)product;
}

static uint8_t inverse(uint8_t a)
{
    uint32_t b = 1;
    LILIO_ASSERT(a != 0);
    while (reference_multiply(a, (uint8_t)b) != 1)
        b++;
    return (uint8_t)b;
}

uint8_t reference_coefficient(uint32_t data_count, uint32_t i, uint32_t j)
{
    if (i < data_count)
        return i == j;
    return data_count == 1 ? 1 : inverse((uint8_t)(i ^ j));
}

void reference_encode(uint32_t data_count, uint32_t parity_count, size_t size,
                      uint8_t *const *fragment)
{
    for (uint32_t i = data_count; i < data_count + parity_count; i++) {
        memset(fragment[i], 0, size);
        for (uint32_t j = 0; j < data_count; j++) {
            uint8_t coefficient = reference_coefficient(data_count, i, j);
            uint8_t product[256];
            for (uint32_t value = 0; value < 256; value++)
                product[value] = reference_multiply(coefficient, (uint8_t)value);
            for (size_t at = 0; at < size; at++)
                fragment[i][at] ^= product[fragment[j][at]];
        }
    }
}

uint32_t reference_crc32c(const void *data, size_t size)
{
    const uint8_t *at = data;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

uint32_t reference_fragment_size(uint32_t data_count, uint64_t length)
{
    uint32_t size = 0;
    while ((uint64_t)size * data_count < length)
        size += 64;
    return size;
}

uint64_t reference_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * 0x2545f4914f6cdd1du;
}

void reference_random_fill(uint64_t *state, void *ret, size_t size)
{
    uint8_t *at = ret;
    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)(reference_random(state) >> 56);
}

struct codec_profile reference_profile(uint32_t data_count, uint32_t parity_count,
                                       uint32_t fragment_size)
{
    struct codec_profile profile = {
        .data_count = data_count,
        .parity_count = parity_count,
        .fragment_size = fragment_size == 0 ? CODEC_FRAGMENT_DEFAULT : fragment_size,
        .generator = data_count == 1 ? CODEC_COPY1 : CODEC_CAUCHY1,
    };
    LILIO_ASSERT(codec_profile_check(&profile, NULL) == LILIO_OK);
    return profile;
}

struct reference_fragments reference_fragments_new(uint32_t count, uint32_t size)
{
    struct reference_fragments fragments = {.count = count, .size = size};
    size_t stride = (size_t)size + GUARD_SIZE;
    LILIO_ASSERT(count <= CODEC_TOTAL_MAX && size % CODEC_ALIGN == 0);
    fragments.memory = aligned_alloc(CODEC_ALIGN, (count + (count == 0)) * stride);
    LILIO_ASSERT(fragments.memory != NULL);
    memset(fragments.memory, GUARD_BYTE, (count + (count == 0)) * stride);
    for (uint32_t i = 0; i < count; i++)
        fragments.at[i] = fragments.memory + i * stride;
    return fragments;
}

bool reference_fragments_intact(const struct reference_fragments *fragments)
{
    for (uint32_t i = 0; i < fragments->count; i++)
        for (uint32_t j = 0; j < GUARD_SIZE; j++)
            if (fragments->at[i][fragments->size + j] != GUARD_BYTE)
                return false;
    return true;
}

void reference_fragments_free(struct reference_fragments *fragments)
{
    free(fragments->memory);
    *fragments = (struct reference_fragments){0};
}
