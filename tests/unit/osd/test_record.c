/* Aim: the disk format stays what docs/formats/disk.md says, and no damaged, misplaced or newer
 * header passes. Method: golden bytes, every single-bit flip of a header, other nonces and offsets,
 * and headers with a right checksum over wrong content. */
#include "osd/record.h"
#include "tests/support/cmocka_all.h"

#include <stdlib.h>

#include "base/bytes.h"

#include "base/banned.h"

#define NONCE  UINT64_C(0x1122334455667788)
#define OFFSET UINT64_C(4096)

static struct osd_record data_record(void)
{
    struct osd_record record = {
        .type = OSD_RECORD_DATA,
        .header_length = 320,
        .payload_length = 65536 + 64,
        .sequence = 42,
        .synced = 4096,
        .cluster_id = {{0xc1, 0xc2}},
        .fragment =
            {
                .key = {3, 5, {0x0001000000000007, 9}, 11, 4, 13},
                .bucket_id = 17,
                .object_key = base_slice_str("photos/cat.jpg"),
                .profile = {4, 2, 1 << 20, CODEC_CAUCHY1},
                .stripe_length = 262400,
                .payload_length = 65536 + 64,
                .block_count = 2,
                .block_checksums = {0xaabbccdd, 0x01020304},
            },
    };
    return record;
}

static uint32_t encode(const struct osd_record *record, uint8_t *ret)
{
    osd_record_encode(record, NONCE, OFFSET, ret);
    return osd_record_covered(record);
}

/* Every field, whatever the compiler leaves between them. */
static void assert_same(const struct osd_record *a, const struct osd_record *b)
{
    uint8_t bytes_a[OSD_RECORD_COVERED_MAX], bytes_b[OSD_RECORD_COVERED_MAX];
    uint32_t size = encode(a, bytes_a);
    assert_int_equal(encode(b, bytes_b), size);
    assert_memory_equal(bytes_a, bytes_b, size);
}

static void data_comes_back(void **state)
{
    (void)state;
    uint8_t bytes[OSD_RECORD_COVERED_MAX];
    struct osd_record record = data_record(), found;
    uint32_t size = encode(&record, bytes);
    assert_int_equal(size, 200 + 16 + 8);
    assert_int_equal(osd_record_decode(bytes, size, NONCE, OFFSET, &found), LILIO_OK);
    assert_true(base_slice_equal(found.fragment.object_key, record.fragment.object_key));
    assert_same(&found, &record);
    assert_int_equal(found.sequence, 42);
    assert_int_equal(found.fragment.key.generation, 13);
    assert_int_equal(found.fragment.block_checksums[1], 0x01020304);
    assert_int_equal(osd_record_claimed_nonce(bytes), NONCE);
}

/* Offsets and checksum cover, byte by byte. */
static void golden_bytes(void **state)
{
    (void)state;
    uint8_t bytes[OSD_RECORD_COVERED_MAX];
    struct osd_record record = data_record();
    uint32_t size = encode(&record, bytes);
    static const uint8_t start[] = {'L', 'R', 'E', 'C', 1, 0, 1,    1, 0, 0,
                                    0,   0,   224, 0,   0, 0, 0x40, 1, 0, 0};
    assert_memory_equal(bytes, start, sizeof start);
    assert_int_equal(base_le32_get(bytes + 20), 65600);
    assert_int_equal(base_le64_get(bytes + 24), NONCE);
    assert_int_equal(base_le16_get(bytes + 36), 1);
    assert_int_equal(base_le16_get(bytes + 38), 14);
    assert_int_equal(base_le64_get(bytes + 40), 42);
    assert_int_equal(base_le64_get(bytes + 48), 4096);
    assert_int_equal(base_le64_get(bytes + 56), 17);
    assert_int_equal(bytes[64], 0xc1);
    assert_int_equal(base_le64_get(bytes + 80), 0x0001000000000007);
    assert_int_equal(base_le64_get(bytes + 88), 9);
    static const uint32_t key[] = {3, 5, 11, 4, 13};
    for (int i = 0; i < 5; i++)
        assert_int_equal(base_le32_get(bytes + 96 + 4 * i), key[i]);
    assert_int_equal(base_le32_get(bytes + 116), 2);
    assert_int_equal(base_le16_get(bytes + 120), 4);
    assert_int_equal(base_le16_get(bytes + 122), 2);
    assert_int_equal(base_le32_get(bytes + 124), CODEC_CAUCHY1);
    assert_int_equal(base_le32_get(bytes + 128), 1 << 20);
    assert_int_equal(base_le64_get(bytes + 136), 262400);
    for (int i = 168; i < 200; i++)
        assert_int_equal(bytes[i], 0);
    assert_memory_equal(bytes + 200, "photos/cat.jpg\0\0", 16);
    assert_int_equal(base_le32_get(bytes + 216), 0xaabbccdd);
    assert_int_equal(base_le32_get(bytes + 220), 0x01020304);
    /* Changing this number is changing the format. */
    assert_int_equal(codec_crc32c(0, bytes, size), 0xa76c6475);
}

static void every_flip_is_found(void **state)
{
    (void)state;
    uint8_t bytes[OSD_RECORD_COVERED_MAX];
    struct osd_record record = data_record(), found;
    uint32_t size = encode(&record, bytes);
    for (uint32_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(osd_record_decode(bytes, size, NONCE, OFFSET, &found), LILIO_E_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (uint32_t cut = 0; cut < size; cut++)
        assert_int_equal(osd_record_decode(bytes, cut, NONCE, OFFSET, &found), LILIO_E_CORRUPT);
    assert_int_equal(osd_record_decode(bytes, size, NONCE, OFFSET, &found), LILIO_OK);
}

static void only_here_and_in_this_segment(void **state)
{
    (void)state;
    uint8_t bytes[OSD_RECORD_COVERED_MAX];
    struct osd_record record = data_record(), found;
    uint32_t size = encode(&record, bytes);
    assert_int_equal(osd_record_decode(bytes, size, NONCE, OFFSET + 512, &found), LILIO_E_CORRUPT);
    assert_int_equal(osd_record_decode(bytes, size, NONCE + 1, OFFSET, &found), LILIO_E_CORRUPT);
    /* Knowing the nonce's place in the header does not help without the seed. */
    base_le64_put(bytes + 24, NONCE + 1);
    assert_int_equal(osd_record_decode(bytes, size, NONCE + 1, OFFSET, &found), LILIO_E_CORRUPT);
}

/* A header whose checksum is right although its content is not. */
static enum lilio_err decode_changed(size_t at, uint32_t value, unsigned width)
{
    uint8_t bytes[OSD_RECORD_COVERED_MAX];
    struct osd_record record = data_record(), found;
    uint32_t size = encode(&record, bytes);
    for (unsigned i = 0; i < width; i++)
        bytes[at + i] = (uint8_t)(value >> 8 * i);
    osd_record_seal(bytes, size, NONCE, OFFSET);
    return osd_record_decode(bytes, size, NONCE, OFFSET, &found);
}

static void newer_ones_are_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_changed(4, 2, 2), LILIO_E_FORMAT);      /* version */
    assert_int_equal(decode_changed(6, 5, 1), LILIO_E_FORMAT);      /* type */
    assert_int_equal(decode_changed(7, 2, 1), LILIO_E_FORMAT);      /* checksum algorithm */
    assert_int_equal(decode_changed(8, 1, 4), LILIO_E_FORMAT);      /* must-understand flag */
    assert_int_equal(decode_changed(180, 0xffffffff, 4), LILIO_OK); /* reserved: ignored */
}

static void impossible_ones_are_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_changed(16, 192, 4),
                     LILIO_E_CORRUPT); /* header shorter than what it covers */
    assert_int_equal(decode_changed(16, 321, 4), LILIO_E_CORRUPT);
    assert_int_equal(decode_changed(16, 1u << 31, 4), LILIO_E_CORRUPT);
    assert_int_equal(decode_changed(20, 0, 4), LILIO_E_CORRUPT); /* payload */
    assert_int_equal(decode_changed(20, 65, 4), LILIO_E_CORRUPT);
    assert_int_equal(decode_changed(20, 0xffffffc0, 4), LILIO_E_CORRUPT);
    assert_int_equal(decode_changed(38, 1025, 2), LILIO_E_CORRUPT); /* object key */
    assert_int_equal(decode_changed(38, 500, 2), LILIO_E_CORRUPT);
    assert_int_equal(decode_changed(116, 3, 4), LILIO_E_CORRUPT); /* blocks */
    assert_int_equal(decode_changed(116, 0xffffffff, 4), LILIO_E_CORRUPT);
    assert_int_equal(decode_changed(132, 0, 4), LILIO_E_CORRUPT); /* checksum of checksums */
}

static void tombstone_and_pad(void **state)
{
    (void)state;
    uint8_t bytes[OSD_RECORD_COVERED_MAX];
    struct osd_record found, tombstone = {.type = OSD_RECORD_TOMBSTONE,
                                          .header_length = 256,
                                          .sequence = 9,
                                          .fragment.key = {1, 2, {3, 4}, 5, 6, 7},
                                          .target_sequence = 8,
                                          .first_segment = 1,
                                          .last_segment = 3};
    uint32_t size = encode(&tombstone, bytes);
    assert_int_equal(size, OSD_RECORD_FIXED);
    assert_int_equal(osd_record_decode(bytes, size, NONCE, OFFSET, &found), LILIO_OK);
    assert_same(&found, &tombstone);
    assert_int_equal(found.target_sequence, 8);
    assert_int_equal(found.first_segment, 1);
    assert_int_equal(found.last_segment, 3);
    struct osd_record pad = {.type = OSD_RECORD_PAD, .header_length = 256, .payload_length = 256};
    size = encode(&pad, bytes);
    assert_int_equal(osd_record_decode(bytes, size, NONCE, OFFSET, &found), LILIO_OK);
    assert_int_equal(found.type, OSD_RECORD_PAD);
}

static void places(void **state)
{
    (void)state;
    uint32_t gap, header_length;
    for (uint64_t position = 0; position < 2 * BASE_DISK_BLOCK; position += OSD_RECORD_UNIT) {
        for (uint32_t covered = OSD_RECORD_FIXED; covered <= OSD_RECORD_COVERED_MAX; covered += 4) {
            uint64_t end =
                osd_record_place(position, covered, OSD_RECORD_LARGE, &gap, &header_length);
            uint64_t start = position + gap;
            assert_true(header_length >= covered && header_length % OSD_RECORD_ALIGN == 0);
            assert_int_equal((start + header_length) % BASE_DISK_BLOCK, 0);
            assert_int_equal(start / BASE_DISK_BLOCK,
                             (start + header_length - 1) / BASE_DISK_BLOCK);
            assert_int_equal(end, start + header_length + OSD_RECORD_LARGE);
            end = osd_record_place(position, covered, 64, &gap, &header_length);
            assert_int_equal(gap, 0);
            assert_true(header_length >= covered && end % OSD_RECORD_UNIT == 0 &&
                        end >= position + header_length + 64);
        }
    }
}

static void segment_header(void **state)
{
    (void)state;
    uint8_t block[OSD_SEGMENT_HEADER];
    struct osd_segment_header found, header = {{{1}}, {{2}}, 3, NONCE, 5, 6};
    osd_segment_header_encode(&header, block);
    assert_int_equal(codec_crc32c(0, block, sizeof block), 0x3e1d0b36);
    for (uint32_t bit = 0; bit < 8 * 128; bit++) {
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(osd_segment_header_decode(block, sizeof block, &found), LILIO_OK);
        assert_memory_equal(&found, &header, sizeof found);
        block[2048 + bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(osd_segment_header_decode(block, sizeof block, &found), LILIO_E_CORRUPT);
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        block[2048 + bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(osd_segment_header_decode(block, 2000, &found), LILIO_E_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_comes_back),        cmocka_unit_test(golden_bytes),
        cmocka_unit_test(every_flip_is_found),    cmocka_unit_test(only_here_and_in_this_segment),
        cmocka_unit_test(newer_ones_are_refused), cmocka_unit_test(impossible_ones_are_refused),
        cmocka_unit_test(tombstone_and_pad),      cmocka_unit_test(places),
        cmocka_unit_test(segment_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
