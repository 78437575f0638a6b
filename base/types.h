/* Ids and byte views that every room shares. */
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes: who owns them and until when is said where a slice is handed over. */
struct base_slice {
    const uint8_t *data;
    size_t size;
};

static inline struct base_slice base_slice(const void *data, size_t size)
{
    return (struct base_slice){(const uint8_t *)data, size};
}
static inline struct base_slice base_slice_str(const char *text)
{
    return base_slice(text, strlen(text));
}
static inline bool base_slice_equal(struct base_slice a, struct base_slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* 128-bit id of one stored run: group 16 bits, session 48, counter 64 (design: "oid"). */
struct base_oid {
    uint64_t high; /* group << 48 | session */
    uint64_t low;  /* counter */
};
static inline struct base_oid base_oid_make(uint16_t group, uint64_t session, uint64_t counter)
{
    return (struct base_oid){(uint64_t)group << 48 | (session & 0xffffffffffffu), counter};
}
static inline uint16_t base_oid_group(struct base_oid oid)
{
    return (uint16_t)(oid.high >> 48);
}
static inline uint64_t base_oid_session(struct base_oid oid)
{
    return oid.high & 0xffffffffffffu;
}
static inline bool base_oid_equal(struct base_oid a, struct base_oid b)
{
    return a.high == b.high && a.low == b.low;
}

struct base_uuid {
    uint8_t bytes[16];
};
static inline bool base_uuid_equal(struct base_uuid a, struct base_uuid b)
{
    return memcmp(a.bytes, b.bytes, 16) == 0;
}
static inline bool base_uuid_is_zero(struct base_uuid a)
{
    return base_uuid_equal(a, (struct base_uuid){{0}});
}

/* One fragment of one stripe; immutable under this key. Index order on disk is the field order. */
struct base_fragment_key {
    uint32_t placement;
    uint32_t partition;
    struct base_oid oid;
    uint32_t stripe;
    uint32_t index; /* 0 .. data_count + parity_count - 1 */
    uint32_t generation;
};

#endif
