/* Field-by-field serialisation, little endian for payload formats and big endian where memcmp order
 * matters, plus overflow-checked sizes and a growing byte buffer. Any thread; no state. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include "base/err.h"
#include "base/types.h"

static inline void base_le16_put(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8);
}
static inline void base_le32_put(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline void base_le64_put(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}
static inline uint16_t base_le16_get(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t base_le32_get(const uint8_t *p)
{
    uint32_t v = 0;
    for (int i = 3; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}
static inline uint64_t base_le64_get(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}
static inline void base_be32_put(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}
static inline void base_be64_put(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}
static inline uint32_t base_be32_get(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline uint64_t base_be64_get(const uint8_t *p)
{
    return (uint64_t)base_be32_get(p) << 32 | base_be32_get(p + 4);
}

/* value rounded up to a multiple of unit (a power of two or not); false on overflow or unit 0. */
static inline bool base_round_up(uint64_t value, uint64_t unit, uint64_t *ret)
{
    uint64_t sum;
    if (unit == 0 || __builtin_add_overflow(value, unit - 1, &sum))
        return false;
    *ret = sum / unit * unit;
    return true;
}

/* A growing byte buffer. Zero-initialise it; release() frees it; data may move on append. */
struct base_buffer {
    uint8_t *data;
    size_t size, capacity;
};
/* NOMEM leaves the buffer as it was. */
LILIO_MUST_USE enum lilio_err base_buffer_reserve(struct base_buffer *buffer, size_t more);
LILIO_MUST_USE enum lilio_err base_buffer_append(struct base_buffer *buffer, const void *data,
                                                 size_t size);
void base_buffer_clear(struct base_buffer *buffer);
void base_buffer_release(struct base_buffer *buffer);
static inline struct base_slice base_buffer_slice(const struct base_buffer *buffer)
{
    return (struct base_slice){buffer->data, buffer->size};
}

#endif
