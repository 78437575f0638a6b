/* The golden stripes of the start-up test; the tests spoil one to see it refused, the vectors
 * publish them. */
#ifndef CODEC_SELF_TEST_PRIV_H
#define CODEC_SELF_TEST_PRIV_H

#include "codec/codec.h"

enum { CODEC_GOLDEN_COUNT = 12, CODEC_GOLDEN_BLOCKS_MAX = 3 };

struct codec_golden {
    uint32_t data_count, parity_count, size; /* size of each fragment */
    uint32_t checksum; /* codec_fragment_checksum over the fragment checksums of all fragments, by
                          index */
};
extern const struct codec_golden codec_golden[CODEC_GOLDEN_COUNT];

/* The bytes of golden stripes: state = state * 1664525 + 1013904223 (mod 2^32) for each byte, which
 * is its top 8 bits. */
void codec_golden_fill(uint32_t *state, uint8_t *ret, size_t size);
/* The state a golden stripe starts from; data fragments are filled in order, one after the other.
 */
static inline uint32_t codec_golden_seed(const struct codec_golden *golden)
{
    return golden->data_count << 8 | golden->parity_count;
}
/* Errors: as codec_self_test. */
LILIO_MUST_USE enum lilio_err codec_golden_check(const struct codec_golden *golden,
                                                 struct lilio_errinfo *info);

#endif
