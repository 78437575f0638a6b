/* Makes what others need to speak our protocol, from the descriptors of proto/schema.def, or
 * compares it with the committed files:
 *
 *   lilio-proto-reference ROOT            writes ROOT/tests/vectors/wire.json and the tables of
 * ROOT/docs/formats/wire.md lilio-proto-reference --check ROOT    exit 1 and the name of each file
 * that differs
 *
 * The text of wire.md above its marker line is written by hand and kept. test_wire_vectors.py reads
 * wire.json with a decoder of its own. A change of a committed vector is a change of the format. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "proto/placement.h"
#include "tests/unit/proto/sample.h"

#include "base/banned.h"

enum { SAMPLES = 2, FILE_MAX = 4 << 20 };
static const char marker[] =
    "<!-- made by lilio-proto-reference from proto/schema.def: do not edit below -->\n";

static const char *const kind_names[] = {
    [PROTO_U8] = "u8",     [PROTO_U16] = "u16",   [PROTO_U32] = "u32", [PROTO_U64] = "u64",
    [PROTO_BOOL] = "bool", [PROTO_I32] = "i32",   [PROTO_STR] = "str", [PROTO_BIN] = "bin",
    [PROTO_OID] = "oid",   [PROTO_UUID] = "uuid", [PROTO_SUB] = "sub", [PROTO_LIST] = "list",
    [PROTO_U64S] = "u64s",
};

static void must(enum lilio_err err)
{
    if (err == LILIO_OK)
        return;
    fprintf(stderr, "lilio-proto-reference: %s\n", lilio_err_text(err));
    exit(2);
}

/* ---- vectors ---- */

static void write_hex(FILE *out, struct base_slice bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        fprintf(out, "%02x", bytes.data[i]);
}

static void write_text(FILE *out, struct base_slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] == '"' || text.data[i] == '\\' || text.data[i] < 0x20)
            fprintf(out, "\\u%04x", text.data[i]);
        else
            fputc(text.data[i], out);
}

static void write_fields(FILE *out, const struct proto_type *type, const uint8_t *value);

static void write_list(FILE *out, const struct proto_field *field, const uint8_t *value)
{
    size_t count = *(const size_t *)(value + field->count_offset);
    const uint8_t *elements = *(uint8_t *const *)(value + field->offset);
    fputc('[', out);
    for (size_t i = 0; i < count; i++) {
        fputs(i ? ", " : "", out);
        if (field->kind == PROTO_LIST)
            write_fields(out, field->type, elements + i * field->type->size);
        else
            fprintf(out, "\"%" PRIu64 "\"", ((const uint64_t *)elements)[i]);
    }
    fputc(']', out);
}

/* Numbers of 64 bits are strings, since many readers of JSON cannot hold them. */
static void write_value(FILE *out, const struct proto_field *field, const uint8_t *value)
{
    const uint8_t *at = value + field->offset;
    switch (field->kind) {
    case PROTO_U8: fprintf(out, "%u", *at); break;
    case PROTO_U16: fprintf(out, "%u", *(const uint16_t *)at); break;
    case PROTO_U32: fprintf(out, "%" PRIu32, *(const uint32_t *)at); break;
    case PROTO_U64: fprintf(out, "\"%" PRIu64 "\"", *(const uint64_t *)at); break;
    case PROTO_I32: fprintf(out, "%" PRId32, *(const int32_t *)at); break;
    case PROTO_BOOL: fputs(*(const bool *)at ? "true" : "false", out); break;
    case PROTO_STR:
        fputc('"', out);
        write_text(out, *(const struct base_slice *)at);
        fputc('"', out);
        break;
    case PROTO_BIN:
        fputc('"', out);
        write_hex(out, *(const struct base_slice *)at);
        fputc('"', out);
        break;
    case PROTO_OID:
        fprintf(out, "\"%016" PRIx64 "%016" PRIx64 "\"", ((const struct base_oid *)at)->high,
                ((const struct base_oid *)at)->low);
        break;
    case PROTO_UUID:
        fputc('"', out);
        write_hex(out, base_slice(at, 16));
        fputc('"', out);
        break;
    case PROTO_SUB: write_fields(out, field->type, at); break;
    case PROTO_LIST:
    case PROTO_U64S: write_list(out, field, value); break;
    }
}

static void write_fields(FILE *out, const struct proto_type *type, const uint8_t *value)
{
    fputc('[', out);
    for (size_t i = 0; i < type->field_count; i++) {
        const struct proto_field *field = &type->fields[i];
        fprintf(out, "%s[\"%s\", \"%s\", ", i ? ", " : "", field->name, kind_names[field->kind]);
        write_value(out, field, value);
        fputc(']', out);
    }
    fputc(']', out);
}

static void write_samples(FILE *out, const struct proto_type *type, struct proto_arena *arena)
{
    uint64_t seed =
        0; /* from the name, so that a new type leaves the vectors of the others alone */
    for (const char *p = type->name; *p; p++)
        seed = seed * 31 + (uint8_t)*p;
    struct base_random random = base_random_seeded(&seed);
    for (int i = 0; i < SAMPLES; i++) {
        struct base_buffer packed = {0};
        void *value = sample_take(type, arena);
        sample_fill(type, &random, arena, value);
        must(proto_pack(type, value, &packed));
        fprintf(out, "%s  {\"type\": \"%s\", \"number\": %u,\n   \"packed\": \"",
                type == proto_types[0] && i == 0 ? "" : ",\n", type->name, type->number);
        write_hex(out, base_buffer_slice(&packed));
        fprintf(out, "\",\n   \"fields\": ");
        write_fields(out, type, value);
        fputc('}', out);
        base_buffer_release(&packed);
    }
}

static void write_partitions(FILE *out)
{
    uint64_t seed = 1;
    struct base_random random = base_random_seeded(&seed);
    for (int i = 0; i < 16; i++) {
        struct base_oid oid = {base_random_u64(&random), base_random_u64(&random)};
        uint32_t stripe = i % 2 ? (uint32_t)base_random_u64(&random) : (uint32_t)i;
        uint8_t bits = (uint8_t)(i % 4 ? PROTO_PARTITION_BITS : i);
        fprintf(out,
                "  {\"oid\": \"%016" PRIx64 "%016" PRIx64 "\", \"stripe\": %" PRIu32
                ", \"bits\": %u, \"partition\": %" PRIu32 "}%s\n",
                oid.high, oid.low, stripe, bits, proto_partition(bits, oid, stripe),
                i < 15 ? "," : "");
    }
}

static void write_vectors(FILE *out)
{
    struct proto_arena *arena;
    must(proto_arena_new(&arena));
    fprintf(out, "{\"protocol\": %d,\n \"packed\": [\n", PROTO_VERSION);
    for (const struct proto_type *const *type = proto_types; *type; type++)
        write_samples(out, *type, arena);
    fprintf(out, "\n ],\n \"partitions\": [\n");
    write_partitions(out);
    fprintf(out, " ]\n}\n");
    proto_arena_free(&arena);
}

/* ---- tables ---- */

static const char *const class_names[] = {
    [LILIO_CLASS_OK] = "",
    [LILIO_CLASS_RETRY] = "retry",
    [LILIO_CLASS_REDIRECT] = "redirect",
    [LILIO_CLASS_REPAIR] = "repair",
    [LILIO_CLASS_CALLER] = "caller",
    [LILIO_CLASS_FATAL] = "fatal",
};

static void write_kind(FILE *out, const struct proto_field *field)
{
    switch (field->kind) {
    case PROTO_STR:
    case PROTO_BIN:
        fprintf(out, "%s, at most %" PRIu32 " bytes", kind_names[field->kind], field->max);
        break;
    case PROTO_SUB: fprintf(out, "[%s](#%s)", field->type->name, field->type->name); break;
    case PROTO_LIST:
        fprintf(out, "array of at most %" PRIu32 " [%s](#%s)", field->max, field->type->name,
                field->type->name);
        break;
    case PROTO_U64S: fprintf(out, "array of at most %" PRIu32 " u64", field->max); break;
    default: fputs(kind_names[field->kind], out); break;
    }
}

static void write_type(FILE *out, const struct proto_type *type)
{
    fprintf(out, "### %s\n\n", type->name);
    if (type->number)
        fprintf(out, "Message %u. ", type->number);
    fprintf(out, "%s.\n\n", type->doc);
    if (type->field_count == 0) {
        fprintf(out, "No fields: `[version]`.\n\n");
        return;
    }
    fprintf(out, "| at | field | kind | meaning |\n| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < type->field_count; i++) {
        fprintf(out, "| %zu | %s | ", i + 1, type->fields[i].name);
        write_kind(out, &type->fields[i]);
        fprintf(out, " | %s |\n", type->fields[i].doc);
    }
    fputc('\n', out);
}

static void write_errors(FILE *out)
{
    fprintf(out, "## Errors\n\n| code | name | class | text |\n| --- | --- | --- | --- |\n");
#define X(name, number, class, text)                                                             \
    if (number)                                                                                  \
        fprintf(out, "| %d | %s | %s | %s |\n", number, #name, class_names[LILIO_CLASS_##class], \
                text);
    LILIO_ERR_TABLE(X)
#undef X
    fputc('\n', out);
}

static void write_tables(FILE *out)
{
    fprintf(out,
            "\n## Limits\n\n| what | most |\n| --- | --- |\n| header | %d bytes |\n| body | %d "
            "bytes |\n| payload | %d bytes |\n"
            "| nesting | %d arrays |\n| values in a body | %d |\n\n",
            PROTO_HEADER_BYTES_MAX, PROTO_BODY_BYTES_MAX, PROTO_PAYLOAD_BYTES_MAX, PROTO_DEPTH_MAX,
            PROTO_ELEMENTS_MAX);
    write_errors(out);
    fprintf(out, "## Messages\n\n| number | name | meaning |\n| --- | --- | --- |\n");
    for (const struct proto_type *const *type = proto_types; *type; type++)
        if ((*type)->number)
            fprintf(out, "| %u | [%s](#%s) | %s |\n", (*type)->number, (*type)->name, (*type)->name,
                    (*type)->doc);
    fputc('\n', out);
    for (const struct proto_type *const *type = proto_types; *type; type++)
        if ((*type)->number)
            write_type(out, *type);
    fprintf(out, "## Parts and rows\n\n");
    for (const struct proto_type *const *type = proto_types; *type; type++)
        if (!(*type)->number)
            write_type(out, *type);
}

/* ---- files ---- */

/* The whole file, NUL-terminated. */
static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, FILE_MAX);
    if (!text)
        must(LILIO_E_NOMEM);
    if (file) {
        (void)fread(text, 1, FILE_MAX - 1, file); /* what cannot be read differs */
        (void)fclose(file);                       /* only read from */
    }
    return text;
}

/* Compares or replaces what stands after the marker, or the whole file when marker is NULL. */
static bool handle(const char *root, const char *name, const char *after, void (*write)(FILE *out),
                   bool check)
{
    char path[4096], *made = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *out = open_memstream(&made, &size);
    if (!out)
        must(LILIO_E_NOMEM);
    write(out);
    if (fclose(out))
        must(LILIO_E_NOMEM);
    while (after && size > 1 && made[size - 2] == '\n')
        made[--size] = '\0';
    char *there = read_file(path), *rest = there;
    if (after) {
        rest = strstr(there, after);
        rest = rest ? rest + strlen(after) : there + strlen(there);
    }
    bool good = strcmp(rest, made) == 0;
    if (!good && !check) {
        FILE *file = fopen(path, "wb");
        good = file && fwrite(there, 1, (size_t)(rest - there), file) == (size_t)(rest - there) &&
               fwrite(made, 1, size, file) == size;
        good = file && fclose(file) == 0 && good;
    }
    if (!good)
        fprintf(stderr, "%s: %s\n", path,
                check ? "is not what the schema makes (run lilio-proto-reference ROOT)"
                      : "not written");
    free(there);
    free(made);
    return good;
}

int main(int argc, char **argv)
{
    bool check = argc == 3 && strcmp(argv[1], "--check") == 0;
    if (argc != 2 && !check) {
        fprintf(stderr, "usage: lilio-proto-reference [--check] ROOT\n");
        return 2;
    }
    const char *root = argv[argc - 1];
    bool vectors = handle(root, "tests/vectors/wire.json", NULL, write_vectors, check);
    bool tables = handle(root, "docs/formats/wire.md", marker, write_tables, check);
    return vectors && tables ? 0 : 1;
}
