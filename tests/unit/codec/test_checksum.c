/* Aim: checksums are standard CRC32C at every size, alignment, split and concatenation.
 * Method: published values (check value, RFC 3720 B.4), a bit-by-bit reference, and algebra:
 * chaining and combining the parts must give the whole at every split. */
#include "codec/codec.h"
#include "tests/unit/codec/cmocka_all.h"
#include "tests/unit/codec/reference.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/banned.h"

static void test_published_values(void **state)
{
    (void)state;
    uint8_t bytes[32];
    assert_int_equal(codec_crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(codec_crc32c(0, NULL, 0), 0);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(codec_crc32c(0, bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(codec_crc32c(0, bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(codec_crc32c(0, bytes, 32), 0x46dd794eu);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    assert_int_equal(codec_crc32c(0, bytes, 32), 0x113fdb5cu);
}

static void test_every_size_and_alignment(void **state)
{
    (void)state;
    static uint8_t bytes[2200];
    uint64_t random = 11;
    reference_random_fill(&random, bytes, sizeof bytes);
    for (size_t start = 0; start < 16; start++)
        for (size_t size = 0; size <= 600; size++)
            assert_int_equal(codec_crc32c(0, bytes + start, size),
                             reference_crc32c(bytes + start, size));
    for (size_t size = 601; size <= sizeof bytes; size++)
        assert_int_equal(codec_crc32c(0, bytes, size), reference_crc32c(bytes, size));
}

static void test_chain_and_combine_at_every_split(void **state)
{
    (void)state;
    static uint8_t bytes[1500];
    uint64_t random = 12;
    reference_random_fill(&random, bytes, sizeof bytes);
    uint32_t whole = reference_crc32c(bytes, sizeof bytes);
    for (size_t split = 0; split <= sizeof bytes; split++) {
        uint32_t a = codec_crc32c(0, bytes, split);
        uint32_t b = codec_crc32c(0, bytes + split, sizeof bytes - split);
        assert_int_equal(codec_crc32c(a, bytes + split, sizeof bytes - split), whole);
        assert_int_equal(codec_crc32c_combine(a, b, sizeof bytes - split), whole);
    }
}

/* The loop that feeds ISA-L's int-sized calls, and powers beyond 32 bits. The zeros are pages that
 * are only read, so they cost no memory; their CRC is known by doubling. */
static void test_lengths_beyond_an_int(void **state)
{
    (void)state;
    static const char tail[] = "behind the first gibibyte";
    const size_t zeros = (size_t)1 << 30, size = zeros + sizeof tail;
    uint32_t doubled = reference_crc32c("", 1);
    for (int i = 0; i < 30; i++)
        doubled = codec_crc32c_combine(doubled, doubled, (uint64_t)1 << i);
    uint32_t expected =
        codec_crc32c_combine(doubled, reference_crc32c(tail, sizeof tail), sizeof tail);
    uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    memcpy(map + zeros, tail, sizeof tail);
    assert_int_equal(codec_crc32c(0, map, size), expected);
    munmap(map, size);

    uint32_t a = 0x12345678, b = 0x9abcdef0, c = 0x0f1e2d3c;
    uint64_t length_b = ((uint64_t)5 << 40) + 3, length_c = ((uint64_t)7 << 37) + 1;
    assert_int_equal(
        codec_crc32c_combine(codec_crc32c_combine(a, b, length_b), c, length_c),
        codec_crc32c_combine(a, codec_crc32c_combine(b, c, length_c), length_b + length_c));
}

static void test_blocks_and_fragments(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {64,     65472,  65536,  65600,      131008,
                                     131072, 131136, 262144, 1024 * 1024};
    uint64_t random = 13;
    uint8_t *bytes = malloc(1024 * 1024);
    assert_non_null(bytes);
    reference_random_fill(&random, bytes, 1024 * 1024);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint32_t got[CODEC_BLOCKS_MAX + 1], count = (sizes[i] + 65535) / 65536;
        uint8_t words[4 * CODEC_BLOCKS_MAX];
        memset(got, 0x77, sizeof got);
        assert_int_equal(codec_block_count(sizes[i]), count);
        codec_block_checksums(bytes, sizes[i], got);
        for (uint32_t block = 0; block < count; block++) {
            uint32_t start = block * 65536;
            uint32_t size = sizes[i] - start < 65536 ? sizes[i] - start : 65536;
            assert_int_equal(got[block], reference_crc32c(bytes + start, size));
            for (int byte = 0; byte < 4; byte++)
                words[4 * block + (uint32_t)byte] = (uint8_t)(got[block] >> (8 * byte));
        }
        assert_int_equal(got[count], 0x77777777);
        assert_int_equal(codec_fragment_checksum(got, count), reference_crc32c(words, 4 * count));
    }
    assert_int_equal(codec_block_count(0), 0);
    assert_int_equal(codec_block_count(CODEC_FRAGMENT_MAX), CODEC_BLOCKS_MAX);
    free(bytes);
}

static void test_every_flipped_bit_shows(void **state)
{
    (void)state;
    uint8_t bytes[512];
    uint64_t random = 14;
    reference_random_fill(&random, bytes, sizeof bytes);
    uint32_t good = codec_crc32c(0, bytes, sizeof bytes);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(codec_crc32c(0, bytes, sizeof bytes), good);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_values),
        cmocka_unit_test(test_every_size_and_alignment),
        cmocka_unit_test(test_chain_and_combine_at_every_split),
        cmocka_unit_test(test_lengths_beyond_an_int),
        cmocka_unit_test(test_blocks_and_fragments),
        cmocka_unit_test(test_every_flipped_bit_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
