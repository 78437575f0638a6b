/* The disk format of a segment: its header block and the records in it (docs/formats/disk.md has
 * the offsets). Pure code: bytes in, structs out. Any thread. */
#ifndef OSD_RECORD_H
#define OSD_RECORD_H

#include "osd/store.h"

enum {
    OSD_RECORD_VERSION = 1,
    OSD_RECORD_UNIT = 512,  /* records start on multiples of this */
    OSD_RECORD_ALIGN = 64,  /* header lengths are multiples of this */
    OSD_RECORD_FIXED = 200, /* bytes before the object key */
    OSD_RECORD_COVERED_MAX = OSD_RECORD_FIXED + OSD_OBJECT_KEY_MAX + 4 * CODEC_BLOCKS_MAX,
    OSD_RECORD_COVERED_LIMIT = 4096, /* of any version: a header is read as at most two blocks */
    OSD_RECORD_HEADER_MAX = 8192,
    OSD_RECORD_LARGE = 65536,  /* payloads from here on start on a 4096 boundary */
    OSD_SEGMENT_HEADER = 4096, /* bytes before the first record */
};

enum osd_record_type {
    OSD_RECORD_DATA = 1,
    OSD_RECORD_TOMBSTONE = 2,
    OSD_RECORD_SEAL = 3, /* reserved: written by later versions, kept by this one */
    OSD_RECORD_PAD = 4,
};

struct osd_record {
    uint8_t type;                           /* enum osd_record_type */
    uint32_t header_length, payload_length; /* the payload follows the header */
    uint64_t sequence;                      /* grows with every record this OSD writes */
    uint64_t synced; /* end of what was durable in this segment before the record's batch */
    struct base_uuid cluster_id;
    struct osd_fragment fragment; /* data: all of it; tombstone: the key */
    /* Tombstone: records of the key up to target_sequence, in these segments, are dead. */
    uint64_t target_sequence, first_segment, last_segment;
};

static inline uint64_t osd_round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}
static inline uint64_t osd_round_down(uint64_t value, uint64_t unit)
{
    return value / unit * unit;
}

/* Bytes of the header that carry something and are covered by its checksum. */
uint32_t osd_record_covered(const struct osd_record *record);
/* Where a record goes when the log stands at position (a multiple of OSD_RECORD_UNIT): *ret_gap
 * bytes are to be filled by a pad record first. Returns the end of the record. */
uint64_t osd_record_place(uint64_t position, uint32_t covered, uint32_t payload_length,
                          uint32_t *ret_gap, uint32_t *ret_header_length);
/* Bytes from the start of a record to the start of the next one. */
static inline uint64_t osd_record_extent(uint32_t header_length, uint32_t payload_length)
{
    return osd_round_up((uint64_t)header_length + payload_length, OSD_RECORD_UNIT);
}

/* Writes osd_record_covered() bytes. nonce and offset are the segment's and the record's; they seed
 * the checksum. */
void osd_record_encode(const struct osd_record *record, uint64_t nonce, uint64_t offset,
                       uint8_t ret_bytes[OSD_RECORD_COVERED_MAX]);
/* bytes: size bytes from the start of the record on; object_key of the result points into them.
 * Errors: CORRUPT (no valid header of this segment and offset), FORMAT (valid, but from a newer
 * program). */
LILIO_MUST_USE enum lilio_err osd_record_decode(const uint8_t *bytes, size_t size, uint64_t nonce,
                                                uint64_t offset, struct osd_record *ret);
/* Sets the checksum of a header whose other bytes are there: the last step of encoding, and a help
 * for the fuzzer. */
void osd_record_seal(uint8_t *bytes, size_t covered, uint64_t nonce, uint64_t offset);
/* The nonce a record claims: lets a segment be read whose header block is gone. size >=
 * OSD_RECORD_FIXED. */
uint64_t osd_record_claimed_nonce(const uint8_t *bytes);

struct osd_segment_header {
    struct base_uuid cluster_id, disk_uuid;
    uint64_t id, nonce;
    uint64_t previous_id,
        previous_end; /* the segment before, and the end of what was acknowledged in it; 0 = none */
};
void osd_segment_header_encode(const struct osd_segment_header *header,
                               uint8_t ret_block[OSD_SEGMENT_HEADER]);
/* Errors: CORRUPT (neither copy verifies), FORMAT. */
LILIO_MUST_USE enum lilio_err osd_segment_header_decode(const uint8_t *block, size_t size,
                                                        struct osd_segment_header *ret);

/* The superblock file's bytes (osd/superblock.c). Errors: CORRUPT, FORMAT. */
enum { OSD_SUPERBLOCK_BYTES = 1024, OSD_SUPERBLOCK_COPY = 512 };
void osd_superblock_encode(const struct osd_superblock *superblock,
                           uint8_t ret_bytes[OSD_SUPERBLOCK_BYTES]);
LILIO_MUST_USE enum lilio_err osd_superblock_decode(const uint8_t *bytes, size_t size,
                                                    struct osd_superblock *ret);

#endif
