/* Aim: what is packed unpacks to the same value, and no bytes at all make unpacking crash, read
 * beyond them or ask for more memory than the limits allow. Method: every type of the schema goes
 * through the same walks, driven by the descriptors: seeded round trips, every truncation, every
 * wrong kind in every field, every maximum and one more. Bombs are listed by hand; malloc is
 * watched while they are unpacked. */
#include "proto/pack.h"

#include <stdlib.h>

#include "proto/scan_priv.h"
#include "tests/support/cmocka_all.h"
#include "tests/unit/proto/sample.h"

#include "base/banned.h"

static size_t largest_malloc;

#if !LILIO_SANITIZED
void *__libc_malloc(size_t size);
void *malloc(size_t size)
{
    if (size > largest_malloc)
        largest_malloc = size;
    return __libc_malloc(size);
}
#endif

struct fixture {
    struct proto_arena *arena, *other; /* of the values made, and of the values unpacked */
    uint64_t seed;
    struct base_random random;
    struct base_buffer packed;
    struct lilio_errinfo info;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->seed = 20240607;
    f->random = base_random_seeded(&f->seed);
    assert_int_equal(proto_arena_new(&f->arena), LILIO_OK);
    assert_int_equal(proto_arena_new(&f->other), LILIO_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    proto_arena_free(&f->arena);
    proto_arena_free(&f->other);
    base_buffer_release(&f->packed);
    free(f);
    return 0;
}

static bool all_zero(const void *value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((const uint8_t *)value)[i])
            return false;
    return true;
}

/* Unpacks from an exact copy. A failure must leave nothing but zeros behind and say something. */
static enum lilio_err unpack(struct fixture *f, const struct proto_type *type, const void *bytes,
                             size_t size, void *ret)
{
    struct base_slice copy = sample_exact(bytes, size);
    memset(ret, 0xa5, type->size);
    f->info = (struct lilio_errinfo){0};
    enum lilio_err err = proto_unpack(type, copy, f->other, ret, &f->info);
    if (err) {
        assert_true(all_zero(ret, type->size));
        assert_true(f->info.err == err && f->info.text[0]);
    }
    free((void *)copy.data);
    return err;
}

static enum lilio_err unpack_packed(struct fixture *f, const struct proto_type *type)
{
    void *value = sample_take(type, f->other);
    enum lilio_err err = unpack(f, type, f->packed.data, f->packed.size, value);
    proto_arena_clear(f->other);
    return err;
}

static void forget(struct fixture *f)
{
    base_buffer_clear(&f->packed);
    proto_arena_clear(f->arena);
    proto_arena_clear(f->other);
}

/* ---- walks over every type ---- */

static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    for (const struct proto_type *const *type = proto_types; *type; type++)
        for (int round = 0; round < 100; round++) {
            void *value = sample_take(*type, f->arena), *back = sample_take(*type, f->other);
            struct base_buffer again = {0};
            sample_fill(*type, &f->random, f->arena, value);
            assert_int_equal(proto_pack(*type, value, &f->packed), LILIO_OK);
            assert_int_equal(
                proto_unpack(*type, base_buffer_slice(&f->packed), f->other, back, &f->info),
                LILIO_OK);
            assert_true(sample_equal(*type, value, back));
            assert_int_equal(*(uint8_t *)back, 1);
            assert_int_equal(proto_pack(*type, back, &again), LILIO_OK);
            assert_true(base_slice_equal(base_buffer_slice(&f->packed), base_buffer_slice(&again)));
            base_buffer_release(&again);
            forget(f);
        }
}

static void test_truncation_and_surplus(void **state)
{
    struct fixture *f = *state;
    for (const struct proto_type *const *type = proto_types; *type; type++) {
        void *value = sample_take(*type, f->arena), *back = sample_take(*type, f->arena);
        sample_fill(*type, &f->random, f->arena, value);
        assert_int_equal(proto_pack(*type, value, &f->packed), LILIO_OK);
        for (size_t size = 0; size < f->packed.size; size++)
            assert_int_equal(unpack(f, *type, f->packed.data, size, back), LILIO_E_MALFORMED);
        assert_int_equal(base_buffer_append(&f->packed, "\0", 1), LILIO_OK);
        assert_int_equal(unpack(f, *type, f->packed.data, f->packed.size, back), LILIO_E_MALFORMED);
        forget(f);
    }
}

/* Every bit of a packed value flipped: the answer may be anything, but it is an answer. */
static void test_flipped_bits(void **state)
{
    struct fixture *f = *state;
    for (const struct proto_type *const *type = proto_types; *type; type++) {
        void *value = sample_take(*type, f->arena), *back = sample_take(*type, f->arena);
        sample_fill(*type, &f->random, f->arena, value);
        assert_int_equal(proto_pack(*type, value, &f->packed), LILIO_OK);
        for (size_t bit = 0; bit < 8 * f->packed.size; bit++) {
            f->packed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            (void)unpack(f, *type, f->packed.data, f->packed.size, back);
            f->packed.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            proto_arena_clear(f->other);
        }
        forget(f);
    }
}

enum probe {
    PROBE_UNSIGNED,
    PROBE_NEGATIVE,
    PROBE_BOOL,
    PROBE_STRING,
    PROBE_BINARY,
    PROBE_BINARY_16,
    PROBE_ARRAY,
    PROBE_COUNT
};

static void append_probe(struct base_buffer *out, enum probe probe)
{
    static const uint8_t zeros[16];
    switch (probe) {
    case PROBE_UNSIGNED: sample_unsigned(out, 1); break;
    case PROBE_NEGATIVE: sample_signed(out, -1); break;
    case PROBE_BOOL: assert_int_equal(base_buffer_append(out, "\xc3", 1), LILIO_OK); break;
    case PROBE_STRING: sample_string(out, "x", 1); break;
    case PROBE_BINARY: sample_binary(out, "x", 1); break;
    case PROBE_BINARY_16: sample_binary(out, zeros, 16); break;
    default: /* an array that begins with a version, and a list of numbers at once */
        sample_array(out, 1);
        sample_unsigned(out, 1);
    }
}

static bool probe_fits(const struct proto_field *field, enum probe probe)
{
    switch (field->kind) {
    case PROTO_BOOL: return probe == PROBE_BOOL;
    case PROTO_I32: return probe == PROBE_UNSIGNED || probe == PROBE_NEGATIVE;
    case PROTO_STR: return probe == PROBE_STRING;
    case PROTO_BIN: return probe == PROBE_BINARY || probe == PROBE_BINARY_16;
    case PROTO_OID:
    case PROTO_UUID: return probe == PROBE_BINARY_16;
    case PROTO_SUB:
    case PROTO_U64S: return probe == PROBE_ARRAY;
    case PROTO_LIST: return false; /* the element of the probe's array is a number, not a struct */
    default: return probe == PROBE_UNSIGNED;
    }
}

static void test_wrong_kinds(void **state)
{
    struct fixture *f = *state;
    for (const struct proto_type *const *type = proto_types; *type; type++)
        for (size_t i = 0; i < (*type)->field_count; i++)
            for (enum probe probe = 0; probe < PROBE_COUNT; probe++) {
                sample_before(&f->packed, *type, i, i + 1);
                append_probe(&f->packed, probe);
                const struct proto_field *field = &(*type)->fields[i];
                bool fits =
                    probe_fits(field, probe) &&
                    (field->max >= 16 || probe != PROBE_BINARY_16 || field->kind != PROTO_BIN);
                if (fits) {
                    assert_int_equal(unpack_packed(f, *type), LILIO_OK);
                } else {
                    enum lilio_err err = unpack_packed(f, *type);
                    assert_true(err == LILIO_E_MALFORMED ||
                                (err == LILIO_E_TOO_BIG && field->kind == PROTO_BIN));
                    assert_true(strstr(f->info.text, (*type)->name) ||
                                (field->type && strstr(f->info.text, field->type->name)));
                }
                forget(f);
            }
}

/* An older writer sends fewer fields, a newer one more. */
static void test_missing_and_extra_fields(void **state)
{
    struct fixture *f = *state;
    for (const struct proto_type *const *type = proto_types; *type; type++) {
        void *value = sample_take(*type, f->arena);
        for (size_t count = 0; count <= (*type)->field_count; count++) {
            base_buffer_clear(&f->packed);
            sample_before(&f->packed, *type, count, count);
            assert_int_equal(unpack(f, *type, f->packed.data, f->packed.size, value), LILIO_OK);
            assert_int_equal(*(uint8_t *)value, 1);
            *(uint8_t *)value = 0;
            if (count == 0)
                assert_true(all_zero(value, (*type)->size));
        }
        base_buffer_clear(&f->packed);
        sample_before(&f->packed, *type, (*type)->field_count, (*type)->field_count + 3);
        sample_unsigned(&f->packed, 7);
        sample_string(&f->packed, "\xff",
                      1); /* we know nothing about it, so it need not be UTF-8 */
        sample_array(&f->packed, 1);
        sample_array(&f->packed, 0);
        assert_int_equal(unpack_packed(f, *type), LILIO_OK);
        base_buffer_clear(&f->packed);
        sample_before(&f->packed, *type, (*type)->field_count, (*type)->field_count + 1);
        assert_int_equal(base_buffer_append(&f->packed, "\xc0", 1),
                         LILIO_OK); /* nil is in no schema, ever */
        assert_int_equal(unpack_packed(f, *type), LILIO_E_MALFORMED);
        forget(f);
    }
}

static void append_version(struct base_buffer *out, uint64_t version)
{
    sample_array(out, 1);
    sample_unsigned(out, version);
}

static void test_versions(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t version;
        enum lilio_err err;
    } cases[] = {{0, LILIO_OK},
                 {1, LILIO_OK},
                 {2, LILIO_OK},
                 {0x7f, LILIO_OK},
                 {0x80, LILIO_E_UNSUPPORTED},
                 {0x81, LILIO_E_UNSUPPORTED},
                 {0xff, LILIO_E_UNSUPPORTED},
                 {0x100, LILIO_E_MALFORMED},
                 {UINT64_MAX, LILIO_E_MALFORMED}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (const struct proto_type *const *type = proto_types; *type; type++) {
            append_version(&f->packed, cases[i].version);
            assert_int_equal(unpack_packed(f, *type), cases[i].err);
            forget(f);
        }
        /* Inside another value, as a part and as an element. */
        sample_before(&f->packed, &proto_type_fragment_get, 0, 1);
        append_version(&f->packed, cases[i].version);
        assert_int_equal(unpack_packed(f, &proto_type_fragment_get), cases[i].err);
        forget(f);
        sample_before(&f->packed, &proto_type_fragment_verify, 0, 1);
        sample_array(&f->packed, 2);
        append_version(&f->packed, 1);
        append_version(&f->packed, cases[i].version);
        assert_int_equal(unpack_packed(f, &proto_type_fragment_verify), cases[i].err);
        forget(f);
    }
    struct proto_ping ping;
    append_version(&f->packed, 9);
    assert_int_equal(proto_ping_unpack(base_buffer_slice(&f->packed), NULL, &ping, NULL), LILIO_OK);
    assert_int_equal(ping.body_version, 9);
    static const char *const no_version[] = {"\x90",     "\x01",     "\x91\xa1x", "\x91\xff",
                                             "\x91\xc3", "\x91\x90", "\xa1\x01"};
    for (size_t i = 0; i < sizeof no_version / sizeof no_version[0]; i++) {
        base_buffer_clear(&f->packed);
        assert_int_equal(base_buffer_append(&f->packed, no_version[i], strlen(no_version[i])),
                         LILIO_OK);
        assert_int_equal(unpack_packed(f, &proto_type_ping), LILIO_E_MALFORMED);
    }
}

/* ---- maxima ---- */

/* The field of value, filled to count bytes or elements. */
static void fill_to(struct fixture *f, const struct proto_field *field, void *value, size_t count)
{
    size_t size = field->kind == PROTO_LIST   ? field->type->size
                  : field->kind == PROTO_U64S ? sizeof(uint64_t)
                                              : 1;
    uint8_t *memory = proto_arena_take(f->arena, count * size);
    uint8_t *at = (uint8_t *)value + field->offset;
    assert_non_null(memory);
    if (size == 1) {
        memset(memory, 'm', count);
        *(struct base_slice *)at = base_slice(memory, count);
    } else {
        *(void **)at = memory;
        *(size_t *)((uint8_t *)value + field->count_offset) = count;
    }
}

static void append_filled(struct fixture *f, const struct proto_field *field, uint32_t count)
{
    if (field->kind == PROTO_LIST || field->kind == PROTO_U64S) {
        sample_array(&f->packed, count);
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(field->kind == PROTO_LIST
                                 ? base_buffer_append(&f->packed, "\x91\x01", 2)
                                 : base_buffer_append(&f->packed, "\x01", 1),
                             LILIO_OK);
        return;
    }
    uint8_t *bytes = proto_arena_take(f->arena, count);
    memset(bytes, 'm', count);
    if (field->kind == PROTO_STR)
        sample_string(&f->packed, bytes, count);
    else
        sample_binary(&f->packed, bytes, count);
}

static void test_maxima(void **state)
{
    struct fixture *f = *state;
    for (const struct proto_type *const *type = proto_types; *type; type++)
        for (size_t i = 0; i < (*type)->field_count; i++) {
            const struct proto_field *field = &(*type)->fields[i];
            bool has_max = field->kind == PROTO_STR || field->kind == PROTO_BIN ||
                           field->kind == PROTO_LIST || field->kind == PROTO_U64S;
            if (!has_max)
                continue;
            void *value = sample_take(*type, f->arena), *back = sample_take(*type, f->arena);
            fill_to(f, field, value, field->max);
            assert_int_equal(proto_pack(*type, value, &f->packed), LILIO_OK);
            assert_int_equal(unpack(f, *type, f->packed.data, f->packed.size, back), LILIO_OK);
            base_buffer_clear(&f->packed);
            assert_int_equal(base_buffer_append(&f->packed, "kept", 4), LILIO_OK);
            fill_to(f, field, value, field->max + 1);
            assert_int_equal(proto_pack(*type, value, &f->packed), LILIO_E_TOO_BIG);
            assert_true(base_slice_equal(base_buffer_slice(&f->packed), base_slice_str("kept")));
            base_buffer_clear(&f->packed);
            sample_before(&f->packed, *type, i, i + 1);
            append_filled(f, field, field->max + 1);
            assert_int_equal(unpack_packed(f, *type), LILIO_E_TOO_BIG);
            forget(f);
        }
}

/* Every field within its maximum, but the whole is too long, or of too many objects. */
static void test_whole_too_big(void **state)
{
    struct fixture *f = *state;
    struct proto_scan_row *rows = proto_arena_take(f->arena, 17 * sizeof *rows);
    for (int i = 0; i < 17; i++)
        fill_to(f, &proto_type_data_row.fields[6], &rows[i].data, 262144);
    struct proto_scan_page page = {.rows = rows, .rows_count = 15};
    assert_string_equal(proto_type_data_row.fields[6].name, "checksums");
    assert_int_equal(proto_scan_page_pack(&page, &f->packed), LILIO_OK);
    assert_int_equal(unpack_packed(f, &proto_type_scan_page), LILIO_OK);
    base_buffer_clear(&f->packed);
    page.rows_count = 17;
    assert_int_equal(proto_scan_page_pack(&page, &f->packed), LILIO_E_TOO_BIG);
    assert_int_equal(f->packed.size, 0);
    fill_to(f, &proto_type_data_row.fields[7], &rows[0].data, 65536);
    fill_to(f, &proto_type_data_row.fields[7], &rows[1].data, 65536);
    page.rows_count = 2;
    assert_string_equal(proto_type_data_row.fields[7].name, "exceptions");
    assert_int_equal(proto_scan_page_pack(&page, &f->packed), LILIO_E_TOO_BIG);
    assert_int_equal(f->packed.size, 0);
}

static void test_number_ranges(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const struct proto_type *type;
        size_t index;
        enum proto_kind kind;
        uint64_t most;
    } fields[] = {{&proto_type_profile, 0, PROTO_U8, UINT8_MAX},
                  {&proto_type_header, 0, PROTO_U16, UINT16_MAX},
                  {&proto_type_profile, 2, PROTO_U32, UINT32_MAX},
                  {&proto_type_error, 0, PROTO_I32, INT32_MAX}};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        for (uint64_t beyond = 0; beyond < 2; beyond++) {
            assert_int_equal(fields[i].type->fields[fields[i].index].kind, fields[i].kind);
            sample_before(&f->packed, fields[i].type, fields[i].index, fields[i].index + 1);
            sample_unsigned(&f->packed, fields[i].most + beyond);
            assert_int_equal(unpack_packed(f, fields[i].type),
                             beyond ? LILIO_E_MALFORMED : LILIO_OK);
            forget(f);
        }
    for (int64_t beyond = 0; beyond < 2; beyond++) {
        sample_before(&f->packed, &proto_type_error, 0, 1);
        sample_signed(&f->packed, INT32_MIN - beyond);
        assert_int_equal(unpack_packed(f, &proto_type_error),
                         beyond ? LILIO_E_MALFORMED : LILIO_OK);
        forget(f);
    }
    struct proto_error lowest = {.code = INT32_MIN}, back;
    assert_int_equal(proto_error_pack(&lowest, &f->packed), LILIO_OK);
    assert_int_equal(proto_error_unpack(base_buffer_slice(&f->packed), NULL, &back, NULL),
                     LILIO_OK);
    assert_int_equal(back.code, INT32_MIN);
}

/* ---- hostile bytes ---- */

#define BOMB(text)            \
    {                         \
        text, sizeof text - 1 \
    }

static void test_bombs(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *bytes;
        size_t size;
    } bombs[] = {
        BOMB(""),
        BOMB("\xdd\xff\xff\xff\xff"),
        BOMB("\xdc\xff\xff"),
        BOMB("\xdb\xff\xff\xff\xff"),
        BOMB("\xc6\xff\xff\xff\xff"),
        BOMB("\xd9\xff"),
        BOMB("\xda\xff\xff"),
        BOMB("\xc4\x01"),
        BOMB("\xc5\xff\xff"),
        BOMB("\x92\x01\xdd\xff\xff\xff\xff"),
        BOMB("\x92\x01\xc6\xff\xff\xff\xff"),
        BOMB("\x9f\x01"),
        BOMB("\xdf\xff\xff\xff\xff"),
        BOMB("\xde\xff\xff"),
        BOMB("\x80"),
        BOMB("\x8f"),
        BOMB("\x92\x01\x81\x01\x01"),
        BOMB("\xc7\x01\x01\x01"),
        BOMB("\xc8\xff\xff\x01"),
        BOMB("\xc9\xff\xff\xff\xff\x01"),
        BOMB("\xd4\x01\x01"),
        BOMB("\xd5\x01\x01\x01"),
        BOMB("\xd6\x01\x01\x01\x01\x01"),
        BOMB("\x92\x01\xca\x01\x01\x01\x01"),
        BOMB("\x92\x01\xcb\x01\x01\x01\x01\x01\x01\x01\x01"),
        BOMB("\x92\x01\xc0"),
        BOMB("\xc1"),
        BOMB("\x92\x01\xc1"),
        BOMB("\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01"),
        BOMB("\x92\x01\x91\x91\x91\x91\x91\x91\x91\x91\x01"),
        BOMB("\xdd"),
        BOMB("\xdd\x01\x01\x01"),
        BOMB("\xdc\x01"),
        BOMB("\xcd\x01"),
        BOMB("\xcf\x01\x01\x01"),
        BOMB("\xd3"),
    };
    largest_malloc = 0;
    for (size_t i = 0; i < sizeof bombs / sizeof bombs[0]; i++)
        for (const struct proto_type *const *type = proto_types; *type; type++) {
            void *value = sample_take(*type, f->arena);
            assert_int_equal(unpack(f, *type, bombs[i].bytes, bombs[i].size, value),
                             LILIO_E_MALFORMED);
            forget(f);
        }
    assert_true(largest_malloc < 1 << 20);
}

static void test_bombs_of_full_size(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[PROTO_BODY_BYTES_MAX + 1];
    struct proto_ok value;
    memset(bytes, 0x91, sizeof bytes); /* four million arrays, each inside the last */
    assert_int_equal(unpack(f, &proto_type_ok, bytes, PROTO_BODY_BYTES_MAX, &value),
                     LILIO_E_MALFORMED);
    assert_int_equal(unpack(f, &proto_type_ok, bytes, sizeof bytes, &value), LILIO_E_TOO_BIG);
    memset(bytes, 0,
           sizeof bytes); /* an array of as many numbers as there may be, and of one more */
    base_be32_put(bytes + 1, PROTO_ELEMENTS_MAX - 1);
    bytes[0] = 0xdd;
    assert_int_equal(unpack(f, &proto_type_ok, bytes, 5 + PROTO_ELEMENTS_MAX - 1, &value),
                     LILIO_OK);
    base_be32_put(bytes + 1, PROTO_ELEMENTS_MAX);
    assert_int_equal(unpack(f, &proto_type_ok, bytes, 5 + PROTO_ELEMENTS_MAX, &value),
                     LILIO_E_TOO_BIG);
    assert_true(largest_malloc <= 32u << 20);
}

static void test_random_bytes(void **state)
{
    struct fixture *f = *state;
    size_t type_count = 0;
    while (proto_types[type_count])
        type_count++;
    for (int i = 0; i < 100000; i++) {
        uint8_t bytes[64];
        size_t size = base_random_u64(&f->random) % sizeof bytes;
        f->random.fill(f->random.context, bytes, size);
        if (size > 2 && i % 2) { /* half of them get past the first check */
            bytes[0] = (uint8_t)(0x90 + size / 4);
            bytes[1] = 1;
        }
        const struct proto_type *type = proto_types[base_random_u64(&f->random) % type_count];
        (void)unpack(f, type, bytes, size, sample_take(type, f->arena));
        forget(f);
    }
}

/* Anything the scan lets pass has the promised shape; the longest forms of numbers and lengths are
 * as good as the shortest. */
static void test_scan(void **state)
{
    struct fixture *f = *state;
    static const char good[] = "\x9a\x01\xcc\x01\xcd\x01\x01\xce\x01\x01\x01\x01\xd0\x01\xd1\x01"
                               "\x01\xe0\xd9\x01x\xc4\x01x\xdc\x00\x01\x07";
    assert_int_equal(proto_scan(base_slice(good, sizeof good - 1), &f->info), LILIO_OK);
    assert_int_equal(proto_scan(base_slice(good, sizeof good - 2), &f->info), LILIO_E_MALFORMED);
    assert_int_equal(proto_scan(base_slice_str("\x91\x91\x91\x91\x91\x91\x91\x91"), &f->info),
                     LILIO_E_MALFORMED);
    assert_int_equal(proto_scan(base_slice_str("\x91\x91\x91\x91\x91\x91\x91\x91\x01"), &f->info),
                     LILIO_OK);
    assert_int_equal(proto_scan(base_slice_str("\x01\x01"), &f->info), LILIO_E_MALFORMED);
    /* A promise that cannot be kept is refused where it is made, not where the bytes end. */
    assert_int_equal(proto_scan(base_slice_str("\x92\x01\xdd\x01\x01\x01\x01\x01\x01"), &f->info),
                     LILIO_E_MALFORMED);
    assert_non_null(strstr(f->info.text, "promises"));
    assert_int_equal(proto_scan(base_slice_str("\x92\x90\x90"), &f->info), LILIO_OK);
    assert_int_equal(proto_scan(base_slice_str("\x92\x90\x90\x90"), &f->info), LILIO_E_MALFORMED);
}

/* ---- texts ---- */

static void test_utf8(void **state)
{
    (void)state;
    for (uint32_t point = 1; point <= 0x10ffff; point++) {
        uint8_t text[4];
        size_t size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
        for (size_t i = size; i-- > 1;)
            text[i] = (uint8_t)(0x80 | (point >> 6 * (size - 1 - i) & 0x3f));
        static const uint8_t marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
        text[0] = (uint8_t)(marks[size] | point >> 6 * (size - 1));
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        assert_int_equal(proto_utf8_valid(base_slice(text, size)), !surrogate);
        if (size > 1)
            assert_false(proto_utf8_valid(base_slice(text, size - 1)));
    }
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xfe",
                                      "a\xc3",
                                      "\xc3(",
                                      "\xe2\x82(",
                                      "\xe2(\xac",
                                      "\xf0\x9f\xa6(",
                                      "\xed\xa0\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(proto_utf8_valid(base_slice_str(bad[i])));
    assert_false(proto_utf8_valid(base_slice("a\0b", 3)));
    assert_true(proto_utf8_valid(base_slice(NULL, 0)));
}

static void test_bad_texts(void **state)
{
    struct fixture *f = *state;
    static const struct base_slice bad[] = {{(const uint8_t *)"a\xff", 2},
                                            {(const uint8_t *)"a\0", 2}};
    for (size_t i = 0; i < 2; i++) {
        struct proto_bucket_get value = {.name = bad[i]};
        assert_int_equal(proto_bucket_get_pack(&value, &f->packed), LILIO_E_INVALID);
        assert_int_equal(f->packed.size, 0);
        sample_before(&f->packed, &proto_type_bucket_get, 0, 1);
        sample_string(&f->packed, bad[i].data, (uint32_t)bad[i].size);
        assert_int_equal(unpack_packed(f, &proto_type_bucket_get), LILIO_E_MALFORMED);
        forget(f);
    }
}

static void test_clean(void **state)
{
    (void)state;
    static const struct {
        const char *text, *clean;
    } cases[] = {{"", ""},
                 {"plain", "plain"},
                 {"caf\xc3\xa9", "caf\xc3\xa9"},
                 {"cut \xc3", "cut ?"},
                 {"\xff\xfe", "??"},
                 {"a\xe2\x82 b", "a?? b"},
                 {"12345678", "12345678"},
                 {"1234567\xc3\xa9", "1234567"},
                 {"123456789", "12345678"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char clean[8];
        size_t size = proto_utf8_clean(cases[i].text, clean, sizeof clean);
        assert_true(base_slice_equal(base_slice(clean, size), base_slice_str(cases[i].clean)));
        assert_true(proto_utf8_valid(base_slice(clean, size)));
    }
}

/* ---- memory ---- */

static void test_copy(void **state)
{
    struct fixture *f = *state;
    for (const struct proto_type *const *type = proto_types; *type; type++)
        for (int round = 0; round < 20; round++) {
            void *value = sample_take(*type, f->arena), *copy = sample_take(*type, f->other);
            sample_fill(*type, &f->random, f->arena, value);
            assert_int_equal(proto_pack(*type, value, &f->packed), LILIO_OK);
            assert_int_equal(proto_copy(*type, value, f->other, copy), LILIO_OK);
            proto_arena_free(&f->arena); /* the copy must not lean on it */
            assert_int_equal(proto_arena_new(&f->arena), LILIO_OK);
            struct base_buffer again = {0};
            assert_int_equal(proto_pack(*type, copy, &again), LILIO_OK);
            assert_true(base_slice_equal(base_buffer_slice(&f->packed), base_buffer_slice(&again)));
            base_buffer_release(&again);
            forget(f);
        }
}

static void test_arena(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 3; round++) {
        static const size_t sizes[] = {0, 1, 15, 16, 17, 4096, 1, 300000, 8, 2000000, 40};
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            uint8_t *memory = proto_arena_take(f->arena, sizes[i]);
            assert_non_null(memory);
            assert_int_equal((uintptr_t)memory % 16, 0);
            assert_true(all_zero(memory, sizes[i]));
            memset(memory, 0xff, sizes[i]);
        }
        proto_arena_clear(f->arena);
    }
    assert_null(proto_arena_take(f->arena, SIZE_MAX));
    assert_null(proto_arena_take(f->arena, SIZE_MAX - 64));
    struct proto_arena *none = NULL;
    proto_arena_free(&none);
}

/* A list needs an arena; without one it is an error, not a crash. */
static void test_no_arena(void **state)
{
    struct fixture *f = *state;
    struct proto_fragment_key keys[1] = {{.index = 3}};
    struct proto_fragment_verify value = {.keys = keys, .keys_count = 1}, back;
    assert_int_equal(proto_fragment_verify_pack(&value, &f->packed), LILIO_OK);
    assert_int_equal(proto_fragment_verify_unpack(base_buffer_slice(&f->packed), NULL, &back, NULL),
                     LILIO_E_NOMEM);
    base_buffer_clear(&f->packed);
    value.keys_count = 0;
    assert_int_equal(proto_fragment_verify_pack(&value, &f->packed), LILIO_OK);
    assert_int_equal(proto_fragment_verify_unpack(base_buffer_slice(&f->packed), NULL, &back, NULL),
                     LILIO_OK);
}

/* ---- the schema itself ---- */

static unsigned depth_of(const struct proto_type *type)
{
    unsigned deepest = 0;
    for (size_t i = 0; i < type->field_count; i++) {
        const struct proto_field *field = &type->fields[i];
        unsigned depth = field->kind == PROTO_U64S ? 1
                         : field->type ? depth_of(field->type) + (field->kind == PROTO_LIST)
                                       : 0;
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

static void test_schema(void **state)
{
    (void)state;
    for (const struct proto_type *const *type = proto_types; *type; type++) {
        assert_true(depth_of(*type) <= PROTO_DEPTH_MAX);
        assert_true((*type)->name[0] && (*type)->doc[0]);
        if ((*type)->number)
            assert_ptr_equal(proto_type_find((*type)->number), *type);
        for (const struct proto_type *const *other = proto_types; other < type; other++) {
            assert_true((*type)->number == 0 || (*type)->number != (*other)->number);
            assert_string_not_equal((*type)->name, (*other)->name);
        }
    }
    assert_null(proto_type_find(0));
    assert_null(proto_type_find(UINT16_MAX));
    struct proto_header header = {.token = {(const uint8_t[512]){0}, 512}};
    memset((uint8_t *)&header + offsetof(struct proto_header, session), 0xff,
           sizeof header.session);
    struct base_buffer packed = {0};
    assert_int_equal(proto_header_pack(&header, &packed), LILIO_OK);
    assert_true(packed.size < PROTO_HEADER_BYTES_MAX);
    base_buffer_release(&packed);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncation_and_surplus, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flipped_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_and_extra_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_maxima, setup, teardown),
        cmocka_unit_test_setup_teardown(test_whole_too_big, setup, teardown),
        cmocka_unit_test_setup_teardown(test_number_ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bombs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bombs_of_full_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scan, setup, teardown),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test_setup_teardown(test_bad_texts, setup, teardown),
        cmocka_unit_test(test_clean),
        cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_arena, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_arena, setup, teardown),
        cmocka_unit_test(test_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
