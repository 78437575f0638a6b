/* C structs, message numbers and typed pack/unpack functions of every STRUCT and MESSAGE in
 * proto/schema.def.
 *
 * struct proto_NAME holds decoded fields; slices and lists are borrowed: when unpacked, slices
 * point into the packed bytes and lists into the arena, and both must outlive the struct.
 * body_version is set by unpack and ignored by pack.
 */
#ifndef PROTO_MESSAGES_H
#define PROTO_MESSAGES_H

#include "proto/pack.h"

/* ---- message numbers: PROTO_MSG_commit == 40 ---- */
#define STRUCT(name, doc)
#define MESSAGE(name, number, doc) PROTO_MSG_##name = number,
#define END(name)
#define U8(s, f, doc)
#define U16(s, f, doc)
#define U32(s, f, doc)
#define U64(s, f, doc)
#define BOOL(s, f, doc)
#define I32(s, f, doc)
#define STR(s, f, max, doc)
#define BIN(s, f, max, doc)
#define OID(s, f, doc)
#define UUID(s, f, doc)
#define SUB(s, f, type, doc)
#define LIST(s, f, type, max, doc)
#define U64S(s, f, max, doc)
enum proto_message_number {
#include "proto/schema.def"
};
#undef STRUCT
#undef MESSAGE
#undef END
#undef U8
#undef U16
#undef U32
#undef U64
#undef BOOL
#undef I32
#undef STR
#undef BIN
#undef OID
#undef UUID
#undef SUB
#undef LIST
#undef U64S

/* ---- structs ---- */
#define STRUCT(name, doc) \
    struct proto_##name { \
        uint8_t body_version;
#define MESSAGE(name, number, doc) STRUCT(name, doc)
#define END(name) \
    }             \
    ;
#define U8(s, f, doc)        uint8_t f;
#define U16(s, f, doc)       uint16_t f;
#define U32(s, f, doc)       uint32_t f;
#define U64(s, f, doc)       uint64_t f;
#define BOOL(s, f, doc)      bool f;
#define I32(s, f, doc)       int32_t f;
#define STR(s, f, max, doc)  struct base_slice f;
#define BIN(s, f, max, doc)  struct base_slice f;
#define OID(s, f, doc)       struct base_oid f;
#define UUID(s, f, doc)      struct base_uuid f;
#define SUB(s, f, type, doc) struct proto_##type f;
#define LIST(s, f, type, max, doc) \
    struct proto_##type *f;        \
    size_t f##_count;
#define U64S(s, f, max, doc) \
    uint64_t *f;             \
    size_t f##_count;
#include "proto/schema.def"
#undef STRUCT
#undef MESSAGE
#undef END
#undef U8
#undef U16
#undef U32
#undef U64
#undef BOOL
#undef I32
#undef STR
#undef BIN
#undef OID
#undef UUID
#undef SUB
#undef LIST
#undef U64S

/* ---- proto_type_commit, proto_commit_pack, proto_commit_unpack ---- */
#define STRUCT(name, doc)                                                             \
    extern const struct proto_type proto_type_##name;                                 \
    LILIO_MUST_USE static inline enum lilio_err proto_##name##_pack(                  \
        const struct proto_##name *value, struct base_buffer *out)                    \
    {                                                                                 \
        return proto_pack(&proto_type_##name, value, out);                            \
    }                                                                                 \
    LILIO_MUST_USE static inline enum lilio_err proto_##name##_unpack(                \
        struct base_slice bytes, struct proto_arena *arena, struct proto_##name *ret, \
        struct lilio_errinfo *info)                                                   \
    {                                                                                 \
        return proto_unpack(&proto_type_##name, bytes, arena, ret, info);             \
    }
#define MESSAGE(name, number, doc) STRUCT(name, doc)
#define END(name)
#define U8(s, f, doc)
#define U16(s, f, doc)
#define U32(s, f, doc)
#define U64(s, f, doc)
#define BOOL(s, f, doc)
#define I32(s, f, doc)
#define STR(s, f, max, doc)
#define BIN(s, f, max, doc)
#define OID(s, f, doc)
#define UUID(s, f, doc)
#define SUB(s, f, type, doc)
#define LIST(s, f, type, max, doc)
#define U64S(s, f, max, doc)
#include "proto/schema.def"
#undef STRUCT
#undef MESSAGE
#undef END
#undef U8
#undef U16
#undef U32
#undef U64
#undef BOOL
#undef I32
#undef STR
#undef BIN
#undef OID
#undef UUID
#undef SUB
#undef LIST
#undef U64S

/* The descriptor of a message number, NULL for unknown ones. proto_types lists all,
 * NULL-terminated. */
const struct proto_type *proto_type_find(uint16_t number);
extern const struct proto_type *const proto_types[];

#endif
