#include "tests/unit/proto/sample.h"

#include <stdlib.h>

#include "base/banned.h"

enum { TEXT_BYTES_MAX = 48, LIST_COUNT_MAX = 3 };

void *sample_take(const struct proto_type *type, struct proto_arena *arena)
{
    void *value = proto_arena_take(arena, type->size);
    LILIO_ASSERT(value);
    return value;
}

/* ---- random values ---- */

static uint64_t random_number(const struct base_random *random, unsigned bits)
{
    uint64_t most = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    uint64_t v = base_random_u64(random);
    switch (v % 4) {
    case 0: return 0;
    case 1: return most;
    case 2: return (v >> 8) & most >> (v >> 2) % bits; /* every length of encoding */
    default: return (v >> 2) & most;
    }
}

static struct base_slice random_text(const struct base_random *random, struct proto_arena *arena,
                                     uint32_t max, bool utf8)
{
    static const char *const letters[] = {
        "a", "/", "\x01", "\x7f", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\xa6\x94"};
    size_t room = max < TEXT_BYTES_MAX ? max : TEXT_BYTES_MAX;
    size_t size = base_random_u64(random) % 4 ? base_random_u64(random) % (room + 1) : 0;
    if (size == 0)
        return (struct base_slice){0};
    uint8_t *bytes = proto_arena_take(arena, size);
    LILIO_ASSERT(bytes);
    if (!utf8)
        random->fill(random->context, bytes, size);
    for (size_t at = 0; utf8 && at < size;) {
        const char *letter =
            letters[base_random_u64(random) % (sizeof letters / sizeof letters[0])];
        if (strlen(letter) > size - at)
            letter = "z";
        memcpy(bytes + at, letter, strlen(letter));
        at += strlen(letter);
    }
    return base_slice(bytes, size);
}

static void fill_list(const struct proto_field *field, const struct base_random *random,
                      struct proto_arena *arena, uint8_t *value)
{
    size_t room = field->max < LIST_COUNT_MAX ? field->max : LIST_COUNT_MAX;
    size_t count = base_random_u64(random) % (room + 1);
    size_t size = field->type ? field->type->size : sizeof(uint64_t);
    uint8_t *elements = count ? proto_arena_take(arena, count * size) : NULL;
    for (size_t i = 0; i < count; i++)
        if (field->type)
            sample_fill(field->type, random, arena, elements + i * size);
        else
            ((uint64_t *)elements)[i] = random_number(random, 64);
    *(void **)(value + field->offset) = elements;
    *(size_t *)(value + field->count_offset) = count;
}

void sample_fill(const struct proto_type *type, const struct base_random *random,
                 struct proto_arena *arena, void *ret)
{
    memset(ret, 0, type->size);
    for (size_t i = 0; i < type->field_count; i++) {
        const struct proto_field *field = &type->fields[i];
        uint8_t *at = (uint8_t *)ret + field->offset;
        switch (field->kind) {
        case PROTO_U8: *at = (uint8_t)random_number(random, 8); break;
        case PROTO_U16: *(uint16_t *)at = (uint16_t)random_number(random, 16); break;
        case PROTO_U32: *(uint32_t *)at = (uint32_t)random_number(random, 32); break;
        case PROTO_U64: *(uint64_t *)at = random_number(random, 64); break;
        case PROTO_BOOL: *(bool *)at = random_number(random, 1); break;
        case PROTO_I32: *(int32_t *)at = (int32_t)(uint32_t)random_number(random, 32); break;
        case PROTO_STR:
        case PROTO_BIN:
            *(struct base_slice *)at =
                random_text(random, arena, field->max, field->kind == PROTO_STR);
            break;
        case PROTO_OID:
            *(struct base_oid *)at =
                (struct base_oid){random_number(random, 64), random_number(random, 64)};
            break;
        case PROTO_UUID: *(struct base_uuid *)at = base_uuid_new(random); break;
        case PROTO_SUB: sample_fill(field->type, random, arena, at); break;
        case PROTO_LIST:
        case PROTO_U64S: fill_list(field, random, arena, ret); break;
        }
    }
}

static size_t plain_size(const struct proto_field *field)
{
    switch (field->kind) {
    case PROTO_U8: return 1;
    case PROTO_BOOL: return sizeof(bool);
    case PROTO_U16: return 2;
    case PROTO_U32:
    case PROTO_I32: return 4;
    case PROTO_U64: return 8;
    default: return 16;
    }
}

static bool list_equal(const struct proto_field *field, const uint8_t *a, const uint8_t *b)
{
    size_t count = *(const size_t *)(a + field->count_offset);
    if (count != *(const size_t *)(b + field->count_offset))
        return false;
    const uint8_t *x = *(uint8_t *const *)(a + field->offset),
                  *y = *(uint8_t *const *)(b + field->offset);
    size_t size = field->type ? field->type->size : sizeof(uint64_t);
    for (size_t i = 0; i < count; i++)
        if (field->type ? !sample_equal(field->type, x + i * size, y + i * size)
                        : memcmp(x + i * size, y + i * size, size) != 0)
            return false;
    return true;
}

bool sample_equal(const struct proto_type *type, const void *a, const void *b)
{
    bool equal = true;
    for (size_t i = 0; i < type->field_count && equal; i++) {
        const struct proto_field *field = &type->fields[i];
        const uint8_t *x = (const uint8_t *)a + field->offset,
                      *y = (const uint8_t *)b + field->offset;
        if (field->kind == PROTO_STR || field->kind == PROTO_BIN)
            equal = base_slice_equal(*(const struct base_slice *)x, *(const struct base_slice *)y);
        else if (field->kind == PROTO_SUB)
            equal = sample_equal(field->type, x, y);
        else if (field->kind == PROTO_LIST || field->kind == PROTO_U64S)
            equal = list_equal(field, a, b);
        else
            equal = memcmp(x, y, plain_size(field)) == 0;
    }
    return equal;
}

/* ---- bytes by hand ---- */

static void append(struct base_buffer *out, const void *bytes, size_t size)
{
    LILIO_ASSERT(base_buffer_append(out, bytes, size) == LILIO_OK);
}

static void append_head(struct base_buffer *out, uint8_t first, uint64_t number, unsigned width)
{
    uint8_t bytes[9] = {first}, big[8];
    base_be64_put(big, number);
    memcpy(bytes + 1, big + 8 - width, width);
    append(out, bytes, 1 + width);
}

void sample_array(struct base_buffer *out, uint32_t count)
{
    append_head(out, 0xdd, count, 4);
}

void sample_unsigned(struct base_buffer *out, uint64_t value)
{
    append_head(out, 0xcf, value, 8);
}

void sample_signed(struct base_buffer *out, int64_t value)
{
    append_head(out, 0xd3, (uint64_t)value, 8);
}

void sample_string(struct base_buffer *out, const void *text, uint32_t size)
{
    append_head(out, 0xdb, size, 4);
    append(out, text, size);
}

void sample_binary(struct base_buffer *out, const void *bytes, uint32_t size)
{
    append_head(out, 0xc6, size, 4);
    append(out, bytes, size);
}

void sample_default(struct base_buffer *out, const struct proto_field *field)
{
    static const uint8_t zeros[16];
    switch (field->kind) {
    case PROTO_U8:
    case PROTO_U16:
    case PROTO_U32:
    case PROTO_U64:
    case PROTO_I32: sample_unsigned(out, 0); break;
    case PROTO_BOOL: append(out, "\xc2", 1); break;
    case PROTO_STR: sample_string(out, "", 0); break;
    case PROTO_BIN: sample_binary(out, "", 0); break;
    case PROTO_OID:
    case PROTO_UUID: sample_binary(out, zeros, 16); break;
    case PROTO_SUB: sample_before(out, field->type, 0, 0); break;
    case PROTO_LIST:
    case PROTO_U64S: sample_array(out, 0); break;
    }
}

void sample_before(struct base_buffer *out, const struct proto_type *type, size_t index,
                   size_t count)
{
    sample_array(out, (uint32_t)count + 1);
    sample_unsigned(out, 1);
    for (size_t i = 0; i < index; i++)
        sample_default(out, &type->fields[i]);
}

struct base_slice sample_exact(const void *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    LILIO_ASSERT(copy);
    memcpy(copy, bytes, size);
    return base_slice(copy, size);
}
