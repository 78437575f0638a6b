/* Aim: no bytes on disk make a parser of the store read out of bounds, loop, or believe what it
 * should not. Method: the input is fed to the parsers as it is and once more with the checksums put
 * right, so that the fuzzer gets behind them; what a parser accepts must be within its bounds, and
 * a record must encode to bytes that decode to the same again. */
#include <stdlib.h>
#include <string.h>

#include "osd/record.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NONCE  UINT64_C(0x0123456789abcdef)
#define OFFSET UINT64_C(8192)
#define CHECK(expr)  \
    do {             \
        if (!(expr)) \
            abort(); \
    } while (0)

enum { NONCE_AT = 24, COVERED_AT = 12, BLOCK_CRC_AT = 16, BLOCK_COVERED_AT = 10 };

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static void check_record(const struct osd_record *record)
{
    CHECK(record->header_length <= OSD_RECORD_HEADER_MAX);
    CHECK(record->payload_length <= CODEC_FRAGMENT_MAX);
    if (record->type != OSD_RECORD_DATA)
        return;
    const struct osd_fragment *fragment = &record->fragment;
    CHECK(fragment->block_count <= CODEC_BLOCKS_MAX);
    CHECK(fragment->object_key.size <= OSD_OBJECT_KEY_MAX);
    uint8_t bytes[OSD_RECORD_COVERED_MAX], twice[OSD_RECORD_COVERED_MAX];
    struct osd_record again;
    uint32_t covered = osd_record_covered(record);
    osd_record_encode(record, NONCE, OFFSET, bytes);
    CHECK(osd_record_decode(bytes, covered, NONCE, OFFSET, &again) == LILIO_OK);
    CHECK(osd_record_covered(&again) == covered);
    osd_record_encode(&again, NONCE, OFFSET, twice);
    CHECK(memcmp(bytes, twice, covered) == 0);
}

static void try_record(const uint8_t *data, size_t size)
{
    struct osd_record record;
    if (osd_record_decode(data, size, NONCE, OFFSET, &record) == LILIO_OK)
        check_record(&record);
}

static void record_put_right(uint8_t *copy, size_t size)
{
    if (size < OSD_RECORD_FIXED)
        return;
    for (int i = 0; i < 8; i++)
        copy[NONCE_AT + i] = (uint8_t)(NONCE >> (8 * i));
    uint32_t covered = copy[COVERED_AT] | (uint32_t)copy[COVERED_AT + 1] << 8;
    if (covered < OSD_RECORD_FIXED || covered > size)
        put32(copy + COVERED_AT, covered = (uint32_t)(size < 4096 ? size : 4096));
    osd_record_seal(copy, covered, NONCE, OFFSET);
}

static void block_put_right(uint8_t *copy, size_t size, const char *magic)
{
    if (size < 512)
        return;
    memcpy(copy, magic, 8);
    uint32_t covered = copy[BLOCK_COVERED_AT] | (uint32_t)copy[BLOCK_COVERED_AT + 1] << 8;
    if (covered < 128 || covered > 512)
        return;
    put32(copy + BLOCK_CRC_AT, 0);
    put32(copy + BLOCK_CRC_AT, codec_crc32c(0, copy, covered));
}

static void try_blocks(const uint8_t *data, size_t size)
{
    struct osd_segment_header header;
    struct osd_superblock superblock;
    if (osd_segment_header_decode(data, size, &header) == LILIO_OK)
        CHECK(size >= 2048); /* one copy at least; any id and nonce will do */
    if (osd_superblock_decode(data, size, &superblock) == LILIO_OK)
        CHECK(superblock.state == OSD_DISK_JOINING || superblock.state == OSD_DISK_MEMBER);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_record(data, size);
    try_blocks(data, size);
    uint8_t *copy = malloc(size ? size : 1); /* of the exact size: reading beyond is seen */
    if (!copy)
        return 0;
    if (size)
        memcpy(copy, data, size);
    record_put_right(copy, size);
    try_record(copy, size);
    static const char *const magics[] = {"LILIOSEG", "LILIOOSD"};
    for (int i = 0; i < 2; i++) {
        if (size)
            memcpy(copy, data, size);
        block_put_right(copy, size, magics[i]);
        try_blocks(copy, size);
    }
    free(copy);
    return 0;
}
