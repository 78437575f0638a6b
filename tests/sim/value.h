/* The bytes that clients write: every aligned word of eight bytes says whose it is and where.
 *
 * A value id is never given twice. Word i of a value is an invertible function of (id, i), so that
 * any word that comes back names the value it belongs to, and a byte at the wrong place, of another
 * version or of another key is noticed at once. Values are empty or have at least eight bytes; the
 * empty ones can only be told apart by their versions.
 */
#ifndef TESTS_SIM_VALUE_H
#define TESTS_SIM_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIM_VALUE_BYTES_MIN = 8 };
#define SIM_NOTHING   UINT64_C(0)         /* what a key holds that is not there */
#define SIM_ANY_EMPTY (UINT64_C(1) << 63) /* an empty value, nobody knows which */

/* An id; counters start at 1. empty: the value has no bytes. */
static inline uint64_t sim_value_id(uint32_t key, uint32_t client, uint32_t counter, bool empty)
{
    return (empty ? SIM_ANY_EMPTY : 0) | (uint64_t)(key & 0xffff) << 44 |
           (uint64_t)(client & 0xfff) << 32 | counter;
}
static inline bool sim_value_is_empty(uint64_t id)
{
    return id >> 63 != 0;
}
static inline uint32_t sim_value_key(uint64_t id)
{
    return (uint32_t)(id >> 44 & 0xffff);
}

/* Bytes [offset, offset + size) of a value. */
void sim_value_fill(uint64_t id, uint64_t offset, void *ret_bytes, size_t size);
/* Whether bytes are those of a value. *ret_at (may be NULL): the first that is not. */
bool sim_value_matches(uint64_t id, uint64_t offset, const void *bytes, size_t size,
                       size_t *ret_at);
/* The id that the first whole word among bytes names (any number if it is no value's); 0 when there
 * is no whole word. */
uint64_t sim_value_identify(uint64_t offset, const void *bytes, size_t size);

#endif
