/* The descriptor tables of proto/schema.def. */
#include "proto/messages.h"

#include "base/banned.h"

#define AT(s, f)            offsetof(struct proto_##s, f)
#define FIELD(s, f, k, ...) {.name = #f, .kind = (k), .offset = AT(s, f), __VA_ARGS__},

/* Field tables; entry 0 stands for the version every struct starts with, so that no table is
 * empty. */
#define STRUCT(n, d)          static const struct proto_field fields_##n[] = {{.name = "version"},
#define MESSAGE(n, number, d) STRUCT(n, d)
#define END(n) \
    }          \
    ;
#define U8(s, f, d)     FIELD(s, f, PROTO_U8, .doc = d)
#define U16(s, f, d)    FIELD(s, f, PROTO_U16, .doc = d)
#define U32(s, f, d)    FIELD(s, f, PROTO_U32, .doc = d)
#define U64(s, f, d)    FIELD(s, f, PROTO_U64, .doc = d)
#define BOOL(s, f, d)   FIELD(s, f, PROTO_BOOL, .doc = d)
#define I32(s, f, d)    FIELD(s, f, PROTO_I32, .doc = d)
#define STR(s, f, m, d) FIELD(s, f, PROTO_STR, .doc = d, .max = m)
#define BIN(s, f, m, d) FIELD(s, f, PROTO_BIN, .doc = d, .max = m)
#define OID(s, f, d)    FIELD(s, f, PROTO_OID, .doc = d, .max = 16)
#define UUID(s, f, d)   FIELD(s, f, PROTO_UUID, .doc = d, .max = 16)
#define SUB(s, f, t, d) FIELD(s, f, PROTO_SUB, .doc = d, .type = &proto_type_##t)
#define LIST(s, f, t, m, d)                                              \
    FIELD(s, f, PROTO_LIST, .doc = d, .max = m, .type = &proto_type_##t, \
          .count_offset = AT(s, f##_count))
#define U64S(s, f, m, d) \
    FIELD(s, f, PROTO_U64S, .doc = d, .max = m, .count_offset = AT(s, f##_count))
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

/* The types themselves, then the list of all and the lookup by number. */
#define DEFINE(n, num, d)                                            \
    const struct proto_type proto_type_##n = {                       \
        .name = #n,                                                  \
        .doc = d,                                                    \
        .number = num,                                               \
        .size = sizeof(struct proto_##n),                            \
        .fields = fields_##n + 1,                                    \
        .field_count = sizeof fields_##n / sizeof fields_##n[0] - 1, \
    };
#define STRUCT(n, d)          DEFINE(n, 0, d)
#define MESSAGE(n, number, d) DEFINE(n, number, d)
#define END(n)
#define U8(s, f, d)
#define U16(s, f, d)
#define U32(s, f, d)
#define U64(s, f, d)
#define BOOL(s, f, d)
#define I32(s, f, d)
#define STR(s, f, m, d)
#define BIN(s, f, m, d)
#define OID(s, f, d)
#define UUID(s, f, d)
#define SUB(s, f, t, d)
#define LIST(s, f, t, m, d)
#define U64S(s, f, m, d)
#include "proto/schema.def"
#undef STRUCT
#undef MESSAGE

const struct proto_type *const proto_types[] = {
#define STRUCT(n, d)          &proto_type_##n,
#define MESSAGE(n, number, d) &proto_type_##n,
#include "proto/schema.def"
    NULL,
};
#undef STRUCT
#undef MESSAGE

/* clang-format takes the include for a part of the macro. */
/* clang-format off */
const struct proto_type *proto_type_find(uint16_t number)
{
    switch (number) {
#define STRUCT(n, d)
#define MESSAGE(n, num, d)                                                                         \
    case num:                                                                                      \
        return &proto_type_##n;
#include "proto/schema.def"
    default:
        return NULL;
    }
}
/* clang-format on */
