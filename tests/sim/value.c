#include "tests/sim/value.h"

#include <string.h>

#include "base/banned.h"

#define FACTOR  UINT64_C(0x9e3779b97f4a7c15)
#define INVERSE UINT64_C(0xf1de83e19937733d) /* FACTOR * INVERSE = 1 modulo 2^64 */

static uint64_t mask_at(uint64_t i)
{
    i = (i + 1) * UINT64_C(0xbf58476d1ce4e5b9);
    return i ^ i >> 29;
}

static uint64_t word_at(uint64_t id, uint64_t i)
{
    uint64_t v = (id ^ mask_at(i)) * FACTOR;
    return v << 31 | v >> 33;
}

static uint64_t id_of(uint64_t word, uint64_t i)
{
    return (word << 33 | word >> 31) * INVERSE ^ mask_at(i);
}

void sim_value_fill(uint64_t id, uint64_t offset, void *ret_bytes, size_t size)
{
    uint8_t *to = ret_bytes;
    while (size) {
        uint64_t word = word_at(id, offset / 8);
        size_t from = offset % 8, n = 8 - from < size ? 8 - from : size;
        if (n == 8)
            memcpy(to, &word, 8); /* a move instead of a call */
        else
            memcpy(to, (const uint8_t *)&word + from, n);
        to += n, offset += n, size -= n;
    }
}

static bool same(const uint8_t *bytes, const uint8_t *want, size_t size)
{
    uint64_t a, b;
    if (size != 8)
        return memcmp(bytes, want, size) == 0;
    memcpy(&a, bytes, 8); /* moves instead of a call */
    memcpy(&b, want, 8);
    return a == b;
}

bool sim_value_matches(uint64_t id, uint64_t offset, const void *bytes, size_t size, size_t *ret_at)
{
    const uint8_t *at = bytes;
    for (size_t done = 0; done < size;) {
        uint64_t word = word_at(id, (offset + done) / 8);
        size_t from = (offset + done) % 8, n = 8 - from < size - done ? 8 - from : size - done;
        const uint8_t *want = (const uint8_t *)&word + from;
        if (!same(at + done, want, n)) {
            for (size_t i = 0; ret_at && i < n; i++)
                if (at[done + i] != want[i]) {
                    *ret_at = done + i;
                    break;
                }
            return false;
        }
        done += n;
    }
    return true;
}

uint64_t sim_value_identify(uint64_t offset, const void *bytes, size_t size)
{
    size_t skip = (8 - offset % 8) % 8;
    if (size < skip + 8)
        return 0;
    uint64_t word;
    memcpy(&word, (const uint8_t *)bytes + skip, 8);
    return id_of(word, (offset + skip) / 8);
}
