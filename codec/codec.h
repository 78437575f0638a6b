/* Erasure coding and checksums: what a profile is, where each byte of an object lies, encode,
 * decode.
 *
 * Pure code over ISA-L (codec/isal.c is the only file that includes it). No I/O, no clock, no
 * thread, no allocation on the encode and decode paths; all functions may run on any thread, coders
 * are immutable after creation.
 *
 *   object ──split──> extents (oid) ──split──> stripes of data_count x fragment_size bytes
 *   stripe:  | data 0 | data 1 | ... | data D-1 | parity D | ... | parity T-1 |
 *            D = data_count, T = total_count; the number is the fragment's index
 *
 *   byte B of an extent lies in stripe B / (D F), fragment (B % (D F)) / F, at offset B % F,
 *   where F = fragment_size.
 *   The last stripe, of length L, has F' = ceil(L / D) rounded up to 64 and is padded with zeros;
 *   its data fragment i holds the bytes [i F', (i+1) F') of the stripe.
 *
 * docs/formats/codec.md is the format, with the generators.
 */
#ifndef CODEC_CODEC_H
#define CODEC_CODEC_H

#include "base/err.h"
#include "base/types.h"

enum {
    CODEC_DATA_MAX = 32,
    CODEC_PARITY_MAX = 16,
    CODEC_TOTAL_MAX = 48,
    CODEC_ALIGN = 64,          /* fragment sizes are multiples of this */
    CODEC_BLOCK = 64 * 1024,   /* checksum unit inside a fragment; the last one may be short */
    CODEC_FRAGMENT_MIN = 4096, /* smallest fragment_size of a profile; a last stripe goes below */
    CODEC_FRAGMENT_MAX = 4 * 1024 * 1024, /* largest */
    CODEC_FRAGMENT_DEFAULT = 1024 * 1024,
    CODEC_BLOCKS_MAX = CODEC_FRAGMENT_MAX / CODEC_BLOCK, /* checksums of one fragment */
};
enum codec_generator {
    CODEC_COPY1 = 1,   /* data_count 1: every row is 1 */
    CODEC_CAUCHY1 = 2, /* data_count > 1: ISA-L gf_gen_cauchy1_matrix */
};

struct codec_profile {
    uint32_t data_count, parity_count; /* 1..32, 0..16 */
    uint32_t fragment_size;            /* bytes, multiple of 4096 within MIN..MAX */
    uint32_t generator;                /* enum codec_generator, must fit data_count */
};

/* "4+2" -> profile with the default fragment size and the generator that fits. Errors: INVALID,
 * with what is allowed. */
LILIO_MUST_USE enum lilio_err codec_profile_parse(const char *text, struct codec_profile *ret,
                                                  struct lilio_errinfo *info);
/* Errors: INVALID (says which rule), UNSUPPORTED (generator id). */
LILIO_MUST_USE enum lilio_err codec_profile_check(const struct codec_profile *profile,
                                                  struct lilio_errinfo *info);
static inline uint32_t codec_profile_total(const struct codec_profile *profile)
{
    return profile->data_count + profile->parity_count;
}

/* ---- geometry (pure arithmetic) ---- */

/* Stripes of an extent of stored_length bytes; 0 for 0. */
uint64_t codec_stripe_count(const struct codec_profile *profile, uint64_t stored_length);
/* Bytes of user data in stripe; full stripes hold data_count * fragment_size. */
uint64_t codec_stripe_length(const struct codec_profile *profile, uint64_t stored_length,
                             uint64_t stripe);
/* Fragment size F of a stripe that holds length bytes (1 .. data_count * fragment_size; more reads
 * as a full stripe). */
uint32_t codec_fragment_size(const struct codec_profile *profile, uint64_t length);
static inline uint32_t codec_block_count(uint32_t fragment_size)
{
    return (fragment_size + CODEC_BLOCK - 1) / CODEC_BLOCK;
}

/* A piece of a byte range that lies in one data fragment. */
struct codec_piece {
    uint64_t stripe;
    uint32_t index;                    /* data fragment */
    uint32_t offset, length;           /* bytes inside the fragment that are wanted */
    uint32_t first_block, block_count; /* blocks that cover them */
    uint64_t position;                 /* of the piece's start, from the start of the range */
};
/* Walks a range piece by piece in byte order: start with *cursor = 0; returns false at the end. The
 * range must lie within stored_length (asserted by the caller's own check; a range beyond it yields
 * only what exists). */
bool codec_range_next(const struct codec_profile *profile, uint64_t stored_length, uint64_t offset,
                      uint64_t length, uint64_t *cursor, struct codec_piece *ret);

/* ---- coder ---- */

struct codec_coder;
/* Tables for one profile. Errors: INVALID, UNSUPPORTED, SINGULAR, NOMEM. */
LILIO_MUST_USE enum lilio_err codec_coder_new(const struct codec_profile *profile,
                                              struct codec_coder **ret_coder,
                                              struct lilio_errinfo *info);
void codec_coder_free(struct codec_coder **coder);
const struct codec_profile *codec_coder_profile(const struct codec_coder *coder);

/* data: data_count pointers, parity: parity_count pointers, each to size bytes, 64-byte aligned,
 * size a multiple of 64. */
void codec_encode(const struct codec_coder *coder, uint32_t size, uint8_t *const *data,
                  uint8_t *const *parity);
/* The same, and the CRC32C of every 64 KiB block of every fragment in the same pass through the
 * cache. ret_checksums: total_count arrays of codec_block_count(size) values each. A part of a
 * stripe that begins on a block boundary may be encoded by itself, so a caller who copies bytes
 * into fragments can do both while they are in cache. */
void codec_encode_checksum(const struct codec_coder *coder, uint32_t size, uint8_t *const *data,
                           uint8_t *const *parity, uint32_t *const *ret_checksums);

/* A plan that makes `wanted` fragments out of the `have` ones. Bit i of a mask = fragment i. */
struct codec_plan {
    uint32_t source_count, target_count;
    uint8_t source[CODEC_TOTAL_MAX], target[CODEC_TOTAL_MAX]; /* fragment indexes, ascending */
    uint8_t tables[32 * CODEC_DATA_MAX * CODEC_PARITY_MAX];   /* for codec_plan_run; 16 KiB */
};
/* True if the rows of the fragments in have span all data (rank data_count). */
bool codec_can_decode(const struct codec_coder *coder, uint64_t have);
/* Chooses data_count sources of full rank from have (data fragments first). wanted must not overlap
 * have. Errors: LOST (have has no full rank), SINGULAR (an inversion failed: never trusted
 * silently), INVALID (the masks overlap or name fragments beyond the profile's total). */
LILIO_MUST_USE enum lilio_err codec_plan_make(const struct codec_coder *coder, uint64_t have,
                                              uint64_t wanted, struct codec_plan *ret_plan,
                                              struct lilio_errinfo *info);
/* source: plan->source_count pointers in the order of plan->source; target likewise. Any size that
 * is a multiple of 64; works on any sub-range of the fragments, since the code acts byte by byte.
 */
void codec_plan_run(const struct codec_plan *plan, uint32_t size, uint8_t *const *source,
                    uint8_t *const *target);

/* ---- checksums ---- */

/* Standard CRC32C (init and xorout all ones): of "123456789" it is e3069283. Chain with the
 * previous result; start 0. */
uint32_t codec_crc32c(uint32_t crc, const void *data, size_t size);
/* Checksums of the blocks of a fragment; ret has codec_block_count(size) values. */
void codec_block_checksums(const void *fragment, uint32_t size, uint32_t *ret_checksums);
/* The 32-bit checksum of a fragment in the data row: CRC32C of its block checksums as little-endian
 * words. */
uint32_t codec_fragment_checksum(const uint32_t *block_checksums, uint32_t block_count);
/* CRC32C of the concatenation of A and B from those of A and B, length_b bytes in B. */
uint32_t codec_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b);

/* Golden stripes encode to the known bytes and decode again; the daemons refuse to start otherwise.
 * Errors: SINGULAR, CORRUPT, NOMEM. */
LILIO_MUST_USE enum lilio_err codec_self_test(struct lilio_errinfo *info);

#endif
