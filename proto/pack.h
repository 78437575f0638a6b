/* Packing and unpacking by descriptor, with bounds (proto/pack.c is the only file that includes
 * msgpack.h).
 *
 * Unpacking never allocates more than the declared limits and never trusts a length: a pre-scan
 * checks depth, counts and lengths against the bytes that are there before msgpack-c sees them.
 */
#ifndef PROTO_PACK_H
#define PROTO_PACK_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/types.h"

enum {
    PROTO_VERSION = 1,
    PROTO_HEADER_BYTES_MAX = 2048,
    PROTO_BODY_BYTES_MAX = 4 * 1024 * 1024,
    PROTO_PAYLOAD_BYTES_MAX = 4 * 1024 * 1024, /* one fragment */
    PROTO_DEPTH_MAX = 8,
    PROTO_ELEMENTS_MAX = 524288, /* msgpack objects in one body */
};

enum proto_kind {
    PROTO_U8,
    PROTO_U16,
    PROTO_U32,
    PROTO_U64,
    PROTO_BOOL,
    PROTO_I32,
    PROTO_STR,
    PROTO_BIN,
    PROTO_OID,
    PROTO_UUID,
    PROTO_SUB,
    PROTO_LIST,
    PROTO_U64S,
};
struct proto_type;
struct proto_field {
    const char *name, *doc;
    enum proto_kind kind;
    uint32_t offset;               /* of the member in the C struct */
    uint32_t count_offset;         /* LIST, U64S: of the member f_count */
    uint32_t max;                  /* bytes or elements */
    const struct proto_type *type; /* SUB, LIST */
};
struct proto_type {
    const char *name, *doc;
    uint16_t number; /* 0: a part, not a message */
    size_t size;     /* of the C struct */
    const struct proto_field *fields;
    size_t field_count;
};

/* Memory of unpacked lists: grows, freed as a whole. Not shared between threads. */
struct proto_arena;
LILIO_MUST_USE enum lilio_err proto_arena_new(struct proto_arena **ret_arena);
void proto_arena_clear(struct proto_arena *arena);
void proto_arena_free(struct proto_arena **arena);
/* 16-byte aligned, zeroed, NULL when out of memory. */
void *proto_arena_take(struct proto_arena *arena, size_t size);

/* Appends the packed value. Errors: TOO_BIG (a field beyond its maximum: nothing is appended),
 * INVALID (STR that is not UTF-8 or holds NUL), NOMEM. */
LILIO_MUST_USE enum lilio_err proto_pack(const struct proto_type *type, const void *value,
                                         struct base_buffer *out);
/* The whole of bytes must be one value. arena may be NULL for a type without lists. Errors:
 * MALFORMED (says where), TOO_BIG, UNSUPPORTED (version), NOMEM. *ret is zeroed on failure. */
LILIO_MUST_USE enum lilio_err proto_unpack(const struct proto_type *type, struct base_slice bytes,
                                           struct proto_arena *arena, void *ret,
                                           struct lilio_errinfo *info);
/* A deep copy of a value into the arena (slices, lists and all). */
LILIO_MUST_USE enum lilio_err proto_copy(const struct proto_type *type, const void *value,
                                         struct proto_arena *arena, void *ret);
/* True for well-formed UTF-8 without NUL (what STR takes). */
bool proto_utf8_valid(struct base_slice text);
/* Copies text up to room bytes, with '?' in the place of what is not UTF-8; no NUL at the end.
 * Returns the bytes written. */
size_t proto_utf8_clean(const char *text, char *ret, size_t room);

#endif
