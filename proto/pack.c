/* Values to and from msgpack by descriptor (this is the only file that includes msgpack.h).
 *
 * A value is an array [version, field, field, ...]. Unpacking goes in three steps: the pre-scan
 * (proto/scan.c) bounds everything the bytes claim, msgpack-c makes a tree of them whose strings
 * and binaries point into the bytes, and the walk below copies the tree into the C struct while it
 * checks kinds, ranges and maxima. Nothing is asserted about bytes. */
#include "proto/pack.h"

#include <msgpack.h>

#include "proto/scan_priv.h"

#include "base/banned.h"

enum { BODY_VERSION = 1, MUST_UNDERSTAND = 0x80 };

/* ---- packing ---- */

struct sink {
    struct base_buffer *out;
    size_t start; /* size of out before the value */
    uint32_t object_count;
    enum lilio_err err; /* the first failure; nothing is appended after it */
};

static int sink_write(void *context, const char *bytes, size_t size)
{
    struct sink *sink = context;
    if (sink->err)
        return -1;
    if (size > PROTO_BODY_BYTES_MAX - (sink->out->size - sink->start))
        sink->err = LILIO_E_TOO_BIG;
    else
        sink->err = base_buffer_append(sink->out, bytes, size);
    return sink->err ? -1 : 0;
}

/* Every object is counted, so that what is packed can be unpacked. */
static void count_object(struct sink *sink)
{
    if (++sink->object_count > PROTO_ELEMENTS_MAX && !sink->err)
        sink->err = LILIO_E_TOO_BIG;
}

/* The results of msgpack_pack_* are ignored throughout: they only repeat what sink->err keeps. */
static void pack_bytes(struct sink *sink, msgpack_packer *packer, const struct proto_field *field,
                       struct base_slice bytes)
{
    if (sink->err)
        return;
    if (bytes.size > field->max) {
        sink->err = LILIO_E_TOO_BIG;
    } else if (field->kind == PROTO_BIN) {
        (void)msgpack_pack_bin(packer, bytes.size);
        (void)msgpack_pack_bin_body(packer, bytes.data, bytes.size);
    } else if (!proto_utf8_valid(bytes)) {
        sink->err = LILIO_E_INVALID;
    } else {
        (void)msgpack_pack_str(packer, bytes.size);
        (void)msgpack_pack_str_body(packer, bytes.data, bytes.size);
    }
}

static void pack_value(struct sink *sink, msgpack_packer *packer, const struct proto_type *type,
                       const uint8_t *value);

static void pack_list(struct sink *sink, msgpack_packer *packer, const struct proto_field *field,
                      const uint8_t *value)
{
    size_t count = *(const size_t *)(value + field->count_offset);
    const void *elements = *(void *const *)(value + field->offset);
    if (count > field->max) {
        if (!sink->err)
            sink->err = LILIO_E_TOO_BIG;
        return;
    }
    (void)msgpack_pack_array(packer, count);
    for (size_t i = 0; i < count && !sink->err; i++) {
        if (field->kind == PROTO_LIST) {
            pack_value(sink, packer, field->type,
                       (const uint8_t *)elements + i * field->type->size);
        } else {
            count_object(sink);
            (void)msgpack_pack_uint64(packer, ((const uint64_t *)elements)[i]);
        }
    }
}

static void pack_field(struct sink *sink, msgpack_packer *packer, const struct proto_field *field,
                       const uint8_t *value)
{
    const uint8_t *at = value + field->offset;
    if (field->kind != PROTO_SUB)
        count_object(sink);
    switch (field->kind) {
    case PROTO_U8: (void)msgpack_pack_uint8(packer, *at); break;
    case PROTO_U16: (void)msgpack_pack_uint16(packer, *(const uint16_t *)at); break;
    case PROTO_U32: (void)msgpack_pack_uint32(packer, *(const uint32_t *)at); break;
    case PROTO_U64: (void)msgpack_pack_uint64(packer, *(const uint64_t *)at); break;
    case PROTO_I32: (void)msgpack_pack_int32(packer, *(const int32_t *)at); break;
    case PROTO_BOOL:
        if (*(const bool *)at)
            (void)msgpack_pack_true(packer);
        else
            (void)msgpack_pack_false(packer);
        break;
    case PROTO_STR:
    case PROTO_BIN: pack_bytes(sink, packer, field, *(const struct base_slice *)at); break;
    case PROTO_OID: {
        uint8_t bytes[16];
        base_be64_put(bytes, ((const struct base_oid *)at)->high);
        base_be64_put(bytes + 8, ((const struct base_oid *)at)->low);
        (void)msgpack_pack_bin(packer, sizeof bytes);
        (void)msgpack_pack_bin_body(packer, bytes, sizeof bytes);
        break;
    }
    case PROTO_UUID:
        (void)msgpack_pack_bin(packer, 16);
        (void)msgpack_pack_bin_body(packer, ((const struct base_uuid *)at)->bytes, 16);
        break;
    case PROTO_SUB: pack_value(sink, packer, field->type, at); break;
    case PROTO_LIST:
    case PROTO_U64S: pack_list(sink, packer, field, value); break;
    }
}

static void pack_value(struct sink *sink, msgpack_packer *packer, const struct proto_type *type,
                       const uint8_t *value)
{
    count_object(sink);
    (void)msgpack_pack_array(packer, type->field_count + 1);
    count_object(sink);
    (void)msgpack_pack_uint8(packer, BODY_VERSION);
    for (size_t i = 0; i < type->field_count && !sink->err; i++)
        pack_field(sink, packer, &type->fields[i], value);
}

enum lilio_err proto_pack(const struct proto_type *type, const void *value, struct base_buffer *out)
{
    struct sink sink = {.out = out, .start = out->size};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &sink, sink_write);
    pack_value(&sink, &packer, type, value);
    if (sink.err)
        out->size = sink.start;
    return sink.err;
}

/* ---- unpacking ---- */

struct source {
    const struct proto_type *type; /* that field belongs to, for the error text */
    const struct proto_field *field;
    struct proto_arena *arena;
    struct lilio_errinfo *info;
};

static enum lilio_err refuse(const struct source *source, enum lilio_err err, const char *what)
{
    return lilio_fail(source->info, err, "%s.%s: %s", source->type->name, source->field->name,
                      what);
}

static enum lilio_err unpack_unsigned(const struct source *source, const msgpack_object *object,
                                      uint64_t max, uint64_t *ret)
{
    if (object->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return refuse(source, LILIO_E_MALFORMED, "not an unsigned number");
    if (object->via.u64 > max)
        return refuse(source, LILIO_E_MALFORMED, "number out of range");
    *ret = object->via.u64;
    return LILIO_OK;
}

static enum lilio_err unpack_i32(const struct source *source, const msgpack_object *object,
                                 int32_t *ret)
{
    if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER && object->via.u64 <= INT32_MAX)
        *ret = (int32_t)object->via.u64;
    else if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER && object->via.i64 >= INT32_MIN)
        *ret = (int32_t)object->via.i64;
    else
        return refuse(source, LILIO_E_MALFORMED, "not a number of 32 bits");
    return LILIO_OK;
}

static enum lilio_err unpack_bytes(const struct source *source, const msgpack_object *object,
                                   struct base_slice *ret)
{
    const struct proto_field *field = source->field;
    if (field->kind == PROTO_STR) {
        if (object->type != MSGPACK_OBJECT_STR)
            return refuse(source, LILIO_E_MALFORMED, "not a string");
        *ret = base_slice(object->via.str.ptr, object->via.str.size);
    } else {
        if (object->type != MSGPACK_OBJECT_BIN)
            return refuse(source, LILIO_E_MALFORMED, "not a binary");
        *ret = base_slice(object->via.bin.ptr, object->via.bin.size);
    }
    if (ret->size > field->max)
        return refuse(source, LILIO_E_TOO_BIG, "too long");
    if (field->kind == PROTO_STR && !proto_utf8_valid(*ret))
        return refuse(source, LILIO_E_MALFORMED, "not UTF-8, or holds NUL");
    return LILIO_OK;
}

static enum lilio_err unpack_16(const struct source *source, const msgpack_object *object,
                                const uint8_t **ret)
{
    if (object->type != MSGPACK_OBJECT_BIN || object->via.bin.size != 16)
        return refuse(source, LILIO_E_MALFORMED, "not a binary of 16 bytes");
    *ret = (const uint8_t *)object->via.bin.ptr;
    return LILIO_OK;
}

static enum lilio_err unpack_value(const struct proto_type *type, const msgpack_object *object,
                                   struct proto_arena *arena, uint8_t *ret,
                                   struct lilio_errinfo *info);

static enum lilio_err unpack_list(const struct source *source, const msgpack_object *object,
                                  uint8_t *ret)
{
    const struct proto_field *field = source->field;
    if (object->type != MSGPACK_OBJECT_ARRAY)
        return refuse(source, LILIO_E_MALFORMED, "not an array");
    size_t count = object->via.array.size;
    if (count > field->max)
        return refuse(source, LILIO_E_TOO_BIG, "too many elements");
    if (count == 0)
        return LILIO_OK;
    size_t size = field->kind == PROTO_LIST ? field->type->size : sizeof(uint64_t);
    uint8_t *elements = source->arena ? proto_arena_take(source->arena, count * size) : NULL;
    if (!elements)
        return refuse(source, LILIO_E_NOMEM, "no memory for a list");
    for (size_t i = 0; i < count; i++) {
        const msgpack_object *element = &object->via.array.ptr[i];
        enum lilio_err err =
            field->kind == PROTO_LIST
                ? unpack_value(field->type, element, source->arena, elements + i * size,
                               source->info)
                : unpack_unsigned(source, element, UINT64_MAX, (uint64_t *)elements + i);
        if (err)
            return err;
    }
    *(void **)(ret + field->offset) = elements;
    *(size_t *)(ret + field->count_offset) = count;
    return LILIO_OK;
}

static enum lilio_err unpack_field(const struct source *source, const msgpack_object *object,
                                   uint8_t *ret)
{
    uint8_t *at = ret + source->field->offset;
    enum lilio_err err = LILIO_OK;
    uint64_t number = 0;
    const uint8_t *bytes = NULL;
    switch (source->field->kind) {
    case PROTO_U8:
        err = unpack_unsigned(source, object, UINT8_MAX, &number);
        *at = (uint8_t)number;
        break;
    case PROTO_U16:
        err = unpack_unsigned(source, object, UINT16_MAX, &number);
        *(uint16_t *)at = (uint16_t)number;
        break;
    case PROTO_U32:
        err = unpack_unsigned(source, object, UINT32_MAX, &number);
        *(uint32_t *)at = (uint32_t)number;
        break;
    case PROTO_U64: err = unpack_unsigned(source, object, UINT64_MAX, (uint64_t *)at); break;
    case PROTO_I32: err = unpack_i32(source, object, (int32_t *)at); break;
    case PROTO_BOOL:
        if (object->type != MSGPACK_OBJECT_BOOLEAN)
            return refuse(source, LILIO_E_MALFORMED, "not a boolean");
        *(bool *)at = object->via.boolean;
        break;
    case PROTO_STR:
    case PROTO_BIN: err = unpack_bytes(source, object, (struct base_slice *)at); break;
    case PROTO_OID:
        err = unpack_16(source, object, &bytes);
        if (!err)
            *(struct base_oid *)at =
                (struct base_oid){base_be64_get(bytes), base_be64_get(bytes + 8)};
        break;
    case PROTO_UUID:
        err = unpack_16(source, object, &bytes);
        if (!err)
            memcpy(((struct base_uuid *)at)->bytes, bytes, 16);
        break;
    case PROTO_SUB:
        err = unpack_value(source->field->type, object, source->arena, at, source->info);
        break;
    case PROTO_LIST:
    case PROTO_U64S: err = unpack_list(source, object, ret); break;
    }
    return err;
}

/* Fields beyond those we know are from a newer writer and ignored; fields that are not there keep
 * their zeros. */
static enum lilio_err unpack_value(const struct proto_type *type, const msgpack_object *object,
                                   struct proto_arena *arena, uint8_t *ret,
                                   struct lilio_errinfo *info)
{
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size == 0)
        return lilio_fail(info, LILIO_E_MALFORMED, "%s: not an array that begins with a version",
                          type->name);
    const msgpack_object *elements = object->via.array.ptr;
    size_t count = object->via.array.size - 1;
    if (elements[0].type != MSGPACK_OBJECT_POSITIVE_INTEGER || elements[0].via.u64 > UINT8_MAX)
        return lilio_fail(info, LILIO_E_MALFORMED, "%s: version is no small number", type->name);
    if (elements[0].via.u64 & MUST_UNDERSTAND)
        return lilio_fail(info, LILIO_E_UNSUPPORTED,
                          "%s: version %u must be understood and is not known", type->name,
                          (unsigned)elements[0].via.u64);
    *ret = (uint8_t)elements[0].via.u64; /* body_version is the first member of every struct */
    if (count > type->field_count)
        count = type->field_count;
    for (size_t i = 0; i < count; i++) {
        struct source source = {type, &type->fields[i], arena, info};
        enum lilio_err err = unpack_field(&source, &elements[i + 1], ret);
        if (err)
            return err;
    }
    return LILIO_OK;
}

enum lilio_err proto_unpack(const struct proto_type *type, struct base_slice bytes,
                            struct proto_arena *arena, void *ret, struct lilio_errinfo *info)
{
    memset(ret, 0, type->size);
    if (bytes.size > PROTO_BODY_BYTES_MAX)
        return lilio_fail(info, LILIO_E_TOO_BIG, "%s: %zu bytes are too many", type->name,
                          bytes.size);
    enum lilio_err err = proto_scan(bytes, info);
    if (err)
        return lilio_prefix(info, err, "%s", type->name);
    msgpack_unpacked tree;
    msgpack_unpacked_init(&tree);
    size_t used = 0;
    switch (msgpack_unpack_next(&tree, (const char *)bytes.data, bytes.size, &used)) {
    case MSGPACK_UNPACK_SUCCESS: err = unpack_value(type, &tree.data, arena, ret, info); break;
    case MSGPACK_UNPACK_NOMEM_ERROR:
        err = lilio_fail(info, LILIO_E_NOMEM, "%s: out of memory", type->name);
        break;
    default: err = lilio_fail(info, LILIO_E_MALFORMED, "%s: not msgpack", type->name); break;
    }
    msgpack_unpacked_destroy(&tree);
    if (err)
        memset(ret, 0, type->size);
    return err;
}
