/* Aim: the committed vectors are right, not only stable: an implementation that follows them
 * follows the format. Method: read the JSON and recompute every value with the bit-by-bit
 * reference, never with codec/ (that codec/ makes the same files is the other ctest,
 * make_codec_vectors --check). Entries are counted, so that an empty file cannot pass. */
#include "tests/unit/codec/cmocka_all.h"
#include "tests/unit/codec/reference.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

static cJSON *load(const char *name)
{
    char path[4096];
    static char text[1 << 20];
    snprintf(path, sizeof path, VECTORS_DIR "/%s", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    assert_true(feof(file));
    fclose(file);
    text[size] = '\0';
    cJSON *json = cJSON_Parse(text);
    assert_non_null(json);
    return json;
}

static const cJSON *list_of(const cJSON *object, const char *name, int count)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(object, name);
    assert_true(cJSON_IsArray(list));
    if (count >= 0)
        assert_int_equal(cJSON_GetArraySize(list), count);
    return list;
}

static uint64_t number_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    assert_true(cJSON_IsNumber(item));
    return (uint64_t)item->valuedouble;
}

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    assert_true(cJSON_IsString(item));
    return item->valuestring;
}

static uint32_t word_of(const char *hex)
{
    assert_int_equal(strlen(hex), 8);
    return (uint32_t)strtoul(hex, NULL, 16);
}

static void hex_to(const cJSON *item, uint8_t *ret, size_t size)
{
    assert_true(cJSON_IsString(item));
    assert_int_equal(strlen(item->valuestring), 2 * size);
    for (size_t i = 0; i < size; i++) {
        char digits[3] = {item->valuestring[2 * i], item->valuestring[2 * i + 1], '\0'};
        ret[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
}

static void counts_of(const cJSON *object, uint32_t *ret_data, uint32_t *ret_parity)
{
    assert_int_equal(sscanf(text_of(object, "profile"), "%u+%u", ret_data, ret_parity), 2);
    assert_true(*ret_data >= 1 && *ret_data <= 32 && *ret_parity <= 16);
}

/* The pattern of docs/formats/codec.md. */
static void fill(uint32_t *state, uint8_t *ret, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        *state = *state * 1664525u + 1013904223u;
        ret[i] = (uint8_t)(*state >> 24);
    }
}

/* The CRC of A continued over length_b zero bytes, without the ones at both ends, by shifting one
 * bit at a time. */
static uint32_t shift_by_zeros(uint32_t crc, uint64_t length_b)
{
    for (uint64_t bit = 0; bit < 8 * length_b; bit++)
        crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    return crc;
}

static void test_crc32c(void **state)
{
    (void)state;
    cJSON *json = load("codec_crc32c.json");
    const cJSON *entry;
    uint8_t *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    cJSON_ArrayForEach(entry, list_of(json, "text", 5))
    {
        const char *input = text_of(entry, "input");
        assert_int_equal(reference_crc32c(input, strlen(input)), word_of(text_of(entry, "crc")));
    }
    cJSON_ArrayForEach(entry, list_of(json, "pattern", 15))
    {
        uint32_t seed = (uint32_t)number_of(entry, "seed");
        uint64_t size = number_of(entry, "size");
        assert_true(size <= 1 << 20);
        fill(&seed, bytes, size);
        assert_int_equal(reference_crc32c(bytes, size), word_of(text_of(entry, "crc")));
    }
    int checked = 0;
    cJSON_ArrayForEach(entry, list_of(json, "combine", 7))
    {
        uint64_t length_b = number_of(entry, "length_b");
        if (length_b >
            1 << 24) /* bit by bit this would take hours; test_checksum proves the algebra */
            continue;
        assert_int_equal(shift_by_zeros(word_of(text_of(entry, "crc_a")), length_b) ^
                             word_of(text_of(entry, "crc_b")),
                         word_of(text_of(entry, "crc")));
        checked++;
    }
    assert_int_equal(checked, 5);
    free(bytes);
    cJSON_Delete(json);
}

static void test_generators(void **state)
{
    (void)state;
    cJSON *json = load("codec_generators.json");
    const cJSON *entry;
    assert_string_equal(text_of(json, "field_polynomial"), "11d");
    cJSON_ArrayForEach(entry, list_of(json, "profiles", 12))
    {
        uint32_t data_count, parity_count;
        counts_of(entry, &data_count, &parity_count);
        assert_int_equal(number_of(entry, "generator"), data_count == 1 ? 1 : 2);
        const cJSON *rows = list_of(entry, "parity_rows", (int)parity_count);
        for (uint32_t i = 0; i < parity_count; i++) {
            uint8_t row[CODEC_DATA_MAX];
            hex_to(cJSON_GetArrayItem(rows, (int)i), row, data_count);
            for (uint32_t j = 0; j < data_count; j++)
                assert_int_equal(row[j], reference_coefficient(data_count, data_count + i, j));
        }
    }
    cJSON_Delete(json);
}

/* Where byte at of an extent lies, by the drawing in the format page. */
static void check_place(const cJSON *entry, const cJSON *piece, uint64_t step)
{
    uint64_t data_count = number_of(entry, "data_count"), size = number_of(entry, "fragment_size");
    uint64_t stored_length = number_of(entry, "stored_length"), width = data_count * size;
    uint64_t at = number_of(entry, "offset") + number_of(piece, "position") + step;
    uint64_t stripe = 0;
    while (at >= width)
        at -= width, stored_length -= width, stripe++;
    size = reference_fragment_size((uint32_t)data_count,
                                   stored_length < width ? stored_length : width);
    assert_int_equal(number_of(piece, "stripe"), stripe);
    assert_int_equal(number_of(piece, "index"), at / size);
    assert_int_equal(number_of(piece, "offset") + step, at % size);
}

static void check_pieces(const cJSON *entry)
{
    const cJSON *piece;
    uint64_t done = 0;
    cJSON_ArrayForEach(piece, list_of(entry, "pieces", -1))
    {
        uint64_t offset = number_of(piece, "offset"), length = number_of(piece, "length");
        assert_int_equal(number_of(piece, "position"), done);
        check_place(entry, piece, 0);
        check_place(entry, piece, length - 1);
        assert_int_equal(number_of(piece, "first_block"), offset / 65536);
        assert_int_equal(number_of(piece, "first_block") + number_of(piece, "block_count") - 1,
                         (offset + length - 1) / 65536);
        done += length;
    }
    assert_int_equal(done, number_of(entry, "length"));
}

static void test_geometry(void **state)
{
    (void)state;
    cJSON *json = load("codec_geometry.json");
    const cJSON *entry;
    cJSON_ArrayForEach(entry, list_of(json, "layouts", 30))
    {
        uint64_t data_count = number_of(entry, "data_count");
        uint64_t width = data_count * number_of(entry, "fragment_size");
        uint64_t stored_length = number_of(entry, "stored_length");
        uint64_t count = number_of(entry, "stripe_count");
        uint64_t last = number_of(entry, "last_stripe_length");
        assert_true(count == 0 ? stored_length == 0 && last == 0 : last > 0 && last <= width);
        assert_int_equal(count == 0 ? 0 : (count - 1) * width + last, stored_length);
        assert_int_equal(number_of(entry, "last_fragment_size"),
                         reference_fragment_size((uint32_t)data_count, last));
    }
    cJSON_ArrayForEach(entry, list_of(json, "ranges", 7)) check_pieces(entry);
    cJSON_Delete(json);
}

static void check_decodings(const cJSON *entry, uint32_t data_count,
                            const struct reference_fragments *good)
{
    const cJSON *decoding;
    cJSON_ArrayForEach(decoding, list_of(entry, "decode", -1))
    {
        const cJSON *lost = list_of(decoding, "lost", -1);
        const cJSON *sources = list_of(decoding, "sources", (int)data_count);
        const cJSON *rows = list_of(decoding, "rows", cJSON_GetArraySize(lost));
        for (int t = 0; t < cJSON_GetArraySize(lost); t++) {
            uint8_t row[CODEC_DATA_MAX], made[128] = {0};
            hex_to(cJSON_GetArrayItem(rows, t), row, data_count);
            for (uint32_t j = 0; j < data_count; j++) {
                int source = cJSON_GetArrayItem(sources, (int)j)->valueint;
                assert_in_range(source, 0, good->count - 1);
                for (uint32_t i = 0; i < good->size; i++)
                    made[i] ^= reference_multiply(row[j], good->at[source][i]);
            }
            int target = cJSON_GetArrayItem(lost, t)->valueint;
            assert_in_range(target, 0, good->count - 1);
            assert_memory_equal(made, good->at[target], good->size);
        }
    }
}

static uint32_t checksum_of_words(const uint32_t *words, uint32_t count)
{
    uint8_t bytes[4 * CODEC_TOTAL_MAX];
    assert_true(count <= CODEC_TOTAL_MAX);
    for (uint32_t i = 0; i < 4 * count; i++)
        bytes[i] = (uint8_t)(words[i / 4] >> (8 * (i % 4)));
    return reference_crc32c(bytes, 4 * count);
}

static void check_small_stripe(const cJSON *entry)
{
    uint32_t data_count, parity_count;
    counts_of(entry, &data_count, &parity_count);
    uint32_t total_count = data_count + parity_count;
    uint32_t size = (uint32_t)number_of(entry, "fragment_size");
    assert_int_equal(size, reference_fragment_size(data_count, number_of(entry, "length")));
    assert_true(size <= 128);
    const cJSON *fragments = list_of(entry, "fragments", (int)total_count);
    const cJSON *blocks = list_of(entry, "block_checksums", (int)total_count);
    const cJSON *sums = list_of(entry, "fragment_checksums", (int)total_count);
    struct reference_fragments stored = reference_fragments_new(total_count, size);
    struct reference_fragments good = reference_fragments_new(total_count, size);
    for (uint32_t i = 0; i < total_count; i++) {
        hex_to(cJSON_GetArrayItem(fragments, (int)i), stored.at[i], size);
        if (i < data_count)
            memcpy(good.at[i], stored.at[i], size);
        uint32_t block = reference_crc32c(stored.at[i], size);
        assert_int_equal(block, word_of(cJSON_GetArrayItem(blocks, (int)i)->valuestring));
        assert_int_equal(checksum_of_words(&block, 1),
                         word_of(cJSON_GetArrayItem(sums, (int)i)->valuestring));
    }
    for (uint64_t at = number_of(entry, "length"); at < (uint64_t)data_count * size; at++)
        assert_int_equal(stored.at[at / size][at % size], 0);
    reference_encode(data_count, parity_count, size, good.at);
    for (uint32_t i = data_count; i < total_count; i++)
        assert_memory_equal(stored.at[i], good.at[i], size);
    check_decodings(entry, data_count, &good);
    reference_fragments_free(&stored);
    reference_fragments_free(&good);
}

static void check_golden_stripe(const cJSON *entry)
{
    uint32_t data_count, parity_count, sums[CODEC_TOTAL_MAX];
    counts_of(entry, &data_count, &parity_count);
    uint32_t total_count = data_count + parity_count;
    uint32_t size = (uint32_t)number_of(entry, "fragment_size");
    uint32_t state = (uint32_t)number_of(entry, "seed");
    assert_true(size <= 3 * 65536);
    struct reference_fragments stripe = reference_fragments_new(total_count, size);
    for (uint32_t i = 0; i < data_count; i++)
        fill(&state, stripe.at[i], size);
    reference_encode(data_count, parity_count, size, stripe.at);
    for (uint32_t i = 0; i < total_count; i++) {
        uint32_t block_count = 0, blocks[3];
        for (uint32_t at = 0; at < size; at += 65536)
            blocks[block_count++] =
                reference_crc32c(stripe.at[i] + at, size - at < 65536 ? size - at : 65536);
        sums[i] = checksum_of_words(blocks, block_count);
    }
    assert_int_equal(checksum_of_words(sums, total_count), word_of(text_of(entry, "checksum")));
    reference_fragments_free(&stripe);
}

static void test_stripes(void **state)
{
    (void)state;
    cJSON *json = load("codec_stripes.json");
    const cJSON *entry, *small = list_of(json, "stripes", 6);
    cJSON_ArrayForEach(entry, small) check_small_stripe(entry);
    /* all 21 patterns of the first, which is 4+2 */
    (void)list_of(cJSON_GetArrayItem(small, 0), "decode", 21);
    cJSON_ArrayForEach(entry, list_of(json, "golden", 12)) check_golden_stripe(entry);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c),
        cmocka_unit_test(test_generators),
        cmocka_unit_test(test_geometry),
        cmocka_unit_test(test_stripes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
