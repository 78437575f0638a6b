/* What both fragment stores share. */
#ifndef OSD_STORE_PRIV_H
#define OSD_STORE_PRIV_H

#include "osd/store.h"

/* A put as it came: description possible, payload as its checksums say. Errors: INVALID, CORRUPT.
 */
LILIO_MUST_USE enum lilio_err osd_put_check(const struct osd_put *put);
/* True if size bytes from first_block on have the checksums the fragment states. */
bool osd_blocks_good(const struct osd_fragment *fragment, uint32_t first_block,
                     const uint8_t *bytes, uint32_t size);
bool osd_key_equal(const struct base_fragment_key *a, const struct base_fragment_key *b);
/* The bytes of blocks [first_block, first_block + block_count) of a payload; blocks beyond its end
 * are cut. Errors: INVALID (no such block, room too small for them rounded up to 4096 plus 4096).
 */
struct osd_range {
    uint32_t offset, size;
};
LILIO_MUST_USE enum lilio_err osd_range_cut(uint32_t payload_length, uint32_t first_block,
                                            uint32_t block_count, size_t room,
                                            struct osd_range *ret, struct lilio_errinfo *info);

#endif
