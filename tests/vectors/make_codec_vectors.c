/* Writes the codec's golden vectors as JSON, or compares them with the committed files byte for
 * byte:
 *
 *   make_codec_vectors DIR            writes DIR/codec_*.json
 *   make_codec_vectors --check DIR    exit 1 and the name of each file that differs
 *
 * Everything in the files comes out of codec/; test_codec_vectors compares the files with a
 * reference of its own. docs/formats/codec.md says what the fields mean. A change of a committed
 * vector is a change of the format. */
#include "codec/codec.h"
#include "codec/self_test_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

static const char *const PROFILES[] = {"1+0", "1+2", "2+1", "3+2",  "4+2",  "5+0",
                                       "6+3", "8+3", "8+4", "10+4", "12+4", "32+16"};
enum { PROFILE_COUNT = sizeof PROFILES / sizeof PROFILES[0], SIZE_MAX_SMALL = 128 };

static void must(enum lilio_err err)
{
    if (err == LILIO_OK)
        return;
    fprintf(stderr, "%s\n", lilio_err_text(err));
    exit(1);
}

static struct codec_coder *coder_of(const char *text)
{
    struct codec_profile profile;
    struct codec_coder *coder;
    must(codec_profile_parse(text, &profile, NULL));
    must(codec_coder_new(&profile, &coder, NULL));
    return coder;
}

static const char *comma(size_t i)
{
    return i == 0 ? "" : ",";
}

static void put_hex(FILE *out, const uint8_t *data, size_t size)
{
    fputc('"', out);
    for (size_t i = 0; i < size; i++)
        fprintf(out, "%02x", data[i]);
    fputc('"', out);
}

static void put_hex_list(FILE *out, uint8_t *const *item, uint32_t count, size_t size)
{
    fputc('[', out);
    for (uint32_t i = 0; i < count; i++) {
        fprintf(out, "%s\n        ", comma(i));
        put_hex(out, item[i], size);
    }
    fputs("]", out);
}

static void put_checksums(FILE *out, const uint32_t *checksum, uint32_t count)
{
    fputc('[', out);
    for (uint32_t i = 0; i < count; i++)
        fprintf(out, "%s\"%08" PRIx32 "\"", i == 0 ? "" : ", ", checksum[i]);
    fputc(']', out);
}

static void put_indexes(FILE *out, const uint8_t *index, uint32_t count)
{
    fputc('[', out);
    for (uint32_t i = 0; i < count; i++)
        fprintf(out, "%s%d", i == 0 ? "" : ", ", index[i]);
    fputc(']', out);
}

/* ---- codec_crc32c.json ---- */

static void put_pattern_checksums(FILE *out)
{
    static const uint32_t sizes[] = {1,    2,    3,    7,     8,     63,    64,    65,
                                     1023, 4096, 4097, 65535, 65536, 65537, 131136};
    uint8_t *bytes = malloc(131136);
    if (bytes == NULL)
        must(LILIO_E_NOMEM);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint32_t state = 1;
        codec_golden_fill(&state, bytes, sizes[i]);
        fprintf(out, "%s\n    {\"seed\": 1, \"size\": %" PRIu32 ", \"crc\": \"%08" PRIx32 "\"}",
                comma(i), sizes[i], codec_crc32c(0, bytes, sizes[i]));
    }
    free(bytes);
}

static void put_combinations(FILE *out)
{
    static const struct {
        uint32_t a, b;
        uint64_t length_b;
    } cases[] = {
        {0xe3069283, 0x00000000, 0},
        {0x12345678, 0x9abcdef0, 1},
        {0xffffffff, 0x00000000, 64},
        {0x00000000, 0xffffffff, 65536},
        {0xe3069283, 0xe3069283, 1048576},
        {0x89abcdef, 0x01234567, 4294967297},
        {0x0f1e2d3c, 0x4b5a6978, 1099511627779},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        fprintf(out,
                "%s\n    {\"crc_a\": \"%08" PRIx32 "\", \"crc_b\": \"%08" PRIx32
                "\", \"length_b\": %" PRIu64 ", \"crc\": \"%08" PRIx32 "\"}",
                comma(i), cases[i].a, cases[i].b, cases[i].length_b,
                codec_crc32c_combine(cases[i].a, cases[i].b, cases[i].length_b));
}

static void write_crc32c(FILE *out)
{
    static const char *const texts[] = {"", "a", "abc", "123456789", "The quick brown fox jumps"};
    fputs("{\n  \"about\": \"standard CRC32C; pattern bytes: see docs/formats/codec.md\",\n", out);
    fputs("  \"text\": [", out);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        fprintf(out, "%s\n    {\"input\": \"%s\", \"crc\": \"%08" PRIx32 "\"}", comma(i), texts[i],
                codec_crc32c(0, texts[i], strlen(texts[i])));
    fputs("],\n  \"pattern\": [", out);
    put_pattern_checksums(out);
    fputs("],\n  \"combine\": [", out);
    put_combinations(out);
    fputs("]\n}\n", out);
}

/* ---- codec_generators.json ---- */

/* Coefficients are read off the code itself: a source byte of 1 among zeros yields its column. */
static void put_parity_rows(FILE *out, const struct codec_coder *coder)
{
    const struct codec_profile *profile = codec_coder_profile(coder);
    static uint8_t memory[CODEC_TOTAL_MAX][64] __attribute__((aligned(64)));
    uint8_t rows[CODEC_PARITY_MAX][CODEC_DATA_MAX], *row[CODEC_PARITY_MAX], *at[CODEC_TOTAL_MAX];
    for (uint32_t i = 0; i < CODEC_TOTAL_MAX; i++)
        at[i] = memory[i];
    for (uint32_t column = 0; column < profile->data_count; column++) {
        memset(memory, 0, sizeof memory);
        memory[column][0] = 1;
        codec_encode(coder, 64, at, at + profile->data_count);
        for (uint32_t i = 0; i < profile->parity_count; i++)
            rows[i][column] = memory[profile->data_count + i][0];
    }
    for (uint32_t i = 0; i < profile->parity_count; i++)
        row[i] = rows[i];
    put_hex_list(out, row, profile->parity_count, profile->data_count);
}

static void write_generators(FILE *out)
{
    fputs("{\n  \"about\": \"rows of the parity fragments, one byte for each data fragment\",\n"
          "  \"field_polynomial\": \"11d\",\n  \"profiles\": [",
          out);
    for (size_t i = 0; i < PROFILE_COUNT; i++) {
        struct codec_coder *coder = coder_of(PROFILES[i]);
        fprintf(out, "%s\n    {\"profile\": \"%s\", \"generator\": %" PRIu32 ", \"parity_rows\": ",
                comma(i), PROFILES[i], codec_coder_profile(coder)->generator);
        put_parity_rows(out, coder);
        fputs("}", out);
        codec_coder_free(&coder);
    }
    fputs("]\n}\n", out);
}

/* ---- codec_geometry.json ---- */

static void put_layouts(FILE *out, struct codec_profile profile)
{
    const uint64_t size = profile.fragment_size, width = profile.data_count * size;
    const uint64_t lengths[] = {0,
                                1,
                                63,
                                64,
                                65,
                                size - 1,
                                size,
                                size + 1,
                                width - 1,
                                width,
                                width + 1,
                                2 * width,
                                2 * width + size,
                                1000 * width + 12345,
                                (uint64_t)5 << 40};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint64_t count = codec_stripe_count(&profile, lengths[i]);
        uint64_t last = count == 0 ? 0 : codec_stripe_length(&profile, lengths[i], count - 1);
        fprintf(out,
                "%s\n    {\"data_count\": %" PRIu32 ", \"fragment_size\": %" PRIu64
                ", \"stored_length\": %" PRIu64 ", \"stripe_count\": %" PRIu64
                ", \"last_stripe_length\": %" PRIu64 ", \"last_fragment_size\": %" PRIu32 "}",
                comma(i), profile.data_count, size, lengths[i], count, last,
                codec_fragment_size(&profile, last));
    }
}

static void put_range(FILE *out, struct codec_profile profile, uint64_t stored_length,
                      uint64_t offset, uint64_t length)
{
    struct codec_piece piece;
    uint64_t cursor = 0;
    fprintf(out,
            "    {\"data_count\": %" PRIu32 ", \"fragment_size\": %" PRIu32
            ", \"stored_length\": %" PRIu64 ", \"offset\": %" PRIu64 ", \"length\": %" PRIu64
            ",\n     \"pieces\": [",
            profile.data_count, profile.fragment_size, stored_length, offset, length);
    while (codec_range_next(&profile, stored_length, offset, length, &cursor, &piece))
        fprintf(out,
                "%s\n      {\"stripe\": %" PRIu64 ", \"index\": %" PRIu32 ", \"offset\": %" PRIu32
                ", \"length\": %" PRIu32 ", \"first_block\": %" PRIu32 ", \"block_count\": %" PRIu32
                ", \"position\": %" PRIu64 "}",
                comma(piece.position), piece.stripe, piece.index, piece.offset, piece.length,
                piece.first_block, piece.block_count, piece.position);
    fputs("]}", out);
}

static void write_geometry(FILE *out)
{
    struct codec_profile wide, small;
    must(codec_profile_parse("4+2", &wide, NULL));
    must(codec_profile_parse("3+2", &small, NULL));
    small.fragment_size = 4096;
    fputs("{\n  \"layouts\": [", out);
    put_layouts(out, wide);
    fputs(",", out);
    put_layouts(out, small);
    fputs("],\n  \"ranges\": [\n", out);
    put_range(out, wide, 10000000, 0, 10000000);
    fputs(",\n", out);
    put_range(out, wide, 10000000, 1048570, 20);
    fputs(",\n", out);
    put_range(out, wide, 10000000, 8388600, 500000);
    fputs(",\n", out);
    put_range(out, wide, 10000000, 9999999, 1);
    fputs(",\n", out);
    put_range(out, small, 200, 60, 10);
    fputs(",\n", out);
    put_range(out, small, 12289, 12280, 9);
    fputs(",\n", out);
    put_range(out, small, 12288, 4095, 4098);
    fputs("\n  ]\n}\n", out);
}

/* ---- codec_stripes.json ---- */

struct small_stripe {
    struct codec_coder *coder;
    uint32_t size;
    uint8_t *at[CODEC_TOTAL_MAX];
    uint8_t memory[CODEC_TOTAL_MAX][SIZE_MAX_SMALL] __attribute__((aligned(64)));
};

static void put_decodings(FILE *out, struct small_stripe *stripe)
{
    const struct codec_profile *profile = codec_coder_profile(stripe->coder);
    static struct codec_plan plan;
    static uint8_t memory[2 * CODEC_TOTAL_MAX][64] __attribute__((aligned(64)));
    uint64_t all = ((uint64_t)1 << codec_profile_total(profile)) - 1;
    const char *between = "";
    for (uint64_t lost = 1; lost <= all; lost++) {
        uint8_t rows[CODEC_PARITY_MAX][CODEC_DATA_MAX], *row[CODEC_PARITY_MAX];
        uint8_t *source[CODEC_TOTAL_MAX], *target[CODEC_TOTAL_MAX];
        if (__builtin_popcountll(lost) > (int)profile->parity_count)
            continue;
        must(codec_plan_make(stripe->coder, all & ~lost, lost, &plan, NULL));
        for (uint32_t i = 0; i < CODEC_TOTAL_MAX; i++)
            source[i] = memory[i], target[i] = memory[CODEC_TOTAL_MAX + i];
        for (uint32_t column = 0; column < plan.source_count; column++) {
            memset(memory, 0, sizeof memory);
            source[column][0] = 1;
            codec_plan_run(&plan, 64, source, target);
            for (uint32_t i = 0; i < plan.target_count; i++)
                rows[i][column] = target[i][0];
        }
        for (uint32_t i = 0; i < plan.target_count; i++)
            row[i] = rows[i];
        fprintf(out, "%s\n       {\"lost\": ", between);
        put_indexes(out, plan.target, plan.target_count);
        fputs(", \"sources\": ", out);
        put_indexes(out, plan.source, plan.source_count);
        fputs(", \"rows\": ", out);
        put_hex_list(out, row, plan.target_count, plan.source_count);
        fputs("}", out);
        between = ",";
    }
}

/* A stripe in full: length bytes of text, its fragments, checksums and what decodes it. */
static void put_small_stripe(FILE *out, const char *profile_text, uint32_t length)
{
    static const char text[] = "Erasure coding keeps what was promised: any data_count fragments "
                               "of a stripe bring back all of it, byte for byte, or say so. ";
    static struct small_stripe stripe;
    stripe = (struct small_stripe){.coder = coder_of(profile_text)};
    const struct codec_profile *profile = codec_coder_profile(stripe.coder);
    uint32_t total_count = codec_profile_total(profile);
    uint32_t checksums[CODEC_TOTAL_MAX], fragment_checksums[CODEC_TOTAL_MAX];
    uint32_t *checksum[CODEC_TOTAL_MAX];
    stripe.size = codec_fragment_size(profile, length);
    for (uint32_t i = 0; i < total_count; i++)
        stripe.at[i] = stripe.memory[i], checksum[i] = &checksums[i];
    for (uint32_t i = 0; i < length; i++)
        stripe.memory[i / stripe.size][i % stripe.size] = (uint8_t)text[i % (sizeof text - 1)];
    codec_encode_checksum(stripe.coder, stripe.size, stripe.at, stripe.at + profile->data_count,
                          checksum);
    for (uint32_t i = 0; i < total_count; i++)
        fragment_checksums[i] = codec_fragment_checksum(checksum[i], 1);

    fprintf(out,
            "    {\"profile\": \"%s\", \"length\": %" PRIu32 ", \"fragment_size\": %" PRIu32
            ",\n     \"fragments\": ",
            profile_text, length, stripe.size);
    put_hex_list(out, stripe.at, total_count, stripe.size);
    fputs(",\n     \"block_checksums\": ", out);
    put_checksums(out, checksums, total_count);
    fputs(",\n     \"fragment_checksums\": ", out);
    put_checksums(out, fragment_checksums, total_count);
    fputs(",\n     \"decode\": [", out);
    put_decodings(out, &stripe);
    fputs("]}", out);
    codec_coder_free(&stripe.coder);
}

static void put_golden(FILE *out)
{
    for (size_t i = 0; i < CODEC_GOLDEN_COUNT; i++)
        fprintf(out,
                "%s\n    {\"profile\": \"%" PRIu32 "+%" PRIu32 "\", \"fragment_size\": %" PRIu32
                ", \"seed\": %" PRIu32 ", \"checksum\": \"%08" PRIx32 "\"}",
                comma(i), codec_golden[i].data_count, codec_golden[i].parity_count,
                codec_golden[i].size, codec_golden_seed(&codec_golden[i]),
                codec_golden[i].checksum);
}

static void write_stripes(FILE *out)
{
    static const struct {
        const char *profile;
        uint32_t length;
    } small[] = {{"4+2", 256}, {"4+2", 65}, {"3+2", 200}, {"1+2", 1}, {"2+1", 130}, {"5+0", 1}};
    fputs("{\n  \"stripes\": [\n", out);
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++) {
        fputs(i == 0 ? "" : ",\n", out);
        put_small_stripe(out, small[i].profile, small[i].length);
    }
    fputs("\n  ],\n  \"golden\": [", out);
    put_golden(out);
    fputs("]\n}\n", out);
}

/* ---- files ---- */

static bool write_file(const char *path, const char *text, size_t size)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return false;
    bool written = fwrite(text, 1, size, file) == size;
    return fclose(file) == 0 && written;
}

static bool file_is(const char *path, const char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    size_t at = 0;
    int byte = EOF;
    if (file == NULL)
        return false;
    while (at < size && (byte = fgetc(file)) == (unsigned char)text[at])
        at++;
    bool same = at == size && fgetc(file) == EOF;
    fclose(file);
    return same;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*write)(FILE *out);
    } files[] = {
        {"codec_crc32c.json", write_crc32c},
        {"codec_generators.json", write_generators},
        {"codec_geometry.json", write_geometry},
        {"codec_stripes.json", write_stripes},
    };
    bool check = argc == 3 && strcmp(argv[1], "--check") == 0;
    int failed = 0;
    if (argc != 2 && !check) {
        fprintf(stderr, "usage: make_codec_vectors [--check] DIR\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[4096], *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        if (out == NULL)
            must(LILIO_E_NOMEM);
        files[i].write(out);
        if (fclose(out) != 0)
            must(LILIO_E_NOMEM);
        snprintf(path, sizeof path, "%s/%s", argv[argc - 1], files[i].name);
        if (!(check ? file_is(path, text, size) : write_file(path, text, size))) {
            fprintf(stderr, "%s: %s\n", path,
                    check ? "is not what the codec makes" : "not written");
            failed = 1;
        }
        free(text);
    }
    return failed;
}
