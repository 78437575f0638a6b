/* The codec once more, as slow and plain as the format page reads: multiplication by shifts,
 * inverses by search, CRC bit by bit. The tests and the vectors compare ISA-L with it; it shares no
 * code with codec/. */
#ifndef TESTS_CODEC_REFERENCE_H
#define TESTS_CODEC_REFERENCE_H

#include "codec/codec.h"

/* The profiles that are shipped: every erasure pattern of them is tested. */
enum { REFERENCE_SHIPPED_COUNT = 8 };
extern const char *const reference_shipped[REFERENCE_SHIPPED_COUNT];

uint8_t reference_multiply(uint8_t a, uint8_t b);
/* Coefficient of data fragment j in fragment i. */
uint8_t reference_coefficient(uint32_t data_count, uint32_t i, uint32_t j);
/* fragment: data_count + parity_count pointers to size bytes; the parity is written. */
void reference_encode(uint32_t data_count, uint32_t parity_count, size_t size,
                      uint8_t *const *fragment);
uint32_t reference_crc32c(const void *data, size_t size);
/* Smallest F that is a multiple of 64 and holds length bytes in data_count fragments, found by
 * counting up. */
uint32_t reference_fragment_size(uint32_t data_count, uint64_t length);

/* A deterministic stream for sampled tests (xorshift); the seed must not be 0. */
uint64_t reference_random(uint64_t *state);
void reference_random_fill(uint64_t *state, void *ret, size_t size);

/* A profile that must be valid, of the given counts; fragment_size 0 is the default. */
struct codec_profile reference_profile(uint32_t data_count, uint32_t parity_count,
                                       uint32_t fragment_size);

/* count fragments of size bytes, 64-byte aligned, each followed by guard bytes. Freed with one
 * call. */
struct reference_fragments {
    uint32_t count, size;
    uint8_t *memory;
    uint8_t *at[CODEC_TOTAL_MAX];
};
struct reference_fragments reference_fragments_new(uint32_t count, uint32_t size);
/* False if a byte behind a fragment was touched. */
bool reference_fragments_intact(const struct reference_fragments *fragments);
void reference_fragments_free(struct reference_fragments *fragments);

#endif
