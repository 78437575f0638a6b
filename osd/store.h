/* The fragment store of one OSD: immutable fragments by key, durable before acknowledged, verified
 * before believed.
 *
 * Implementations: osd/segment_store.c (segments on a disk + RocksDB index) and osd/memory_store.c
 * (tests, simulation). One conformance suite runs on both. Threads: one owner thread calls
 * everything except osd_store_space/osd_store_stats, which any thread may call.
 */
#ifndef OSD_STORE_H
#define OSD_STORE_H

#include "base/disk.h"
#include "base/env.h"
#include "base/err.h"
#include "base/log.h"
#include "base/types.h"
#include "codec/codec.h"

enum { OSD_OBJECT_KEY_MAX = 1024, OSD_BATCH_MAX = 64 };

/* What a fragment says about itself on disk, besides its bytes. Slices are borrowed. */
struct osd_fragment {
    struct base_fragment_key key;
    uint64_t bucket_id;
    struct base_slice object_key; /* 0..1024 bytes */
    struct codec_profile profile;
    uint64_t stripe_length;  /* user bytes of the stripe, informational */
    uint32_t payload_length; /* fragment bytes, multiple of 64, 64..CODEC_FRAGMENT_MAX */
    uint32_t block_count;    /* codec_block_count(payload_length) */
    uint32_t block_checksums[CODEC_BLOCKS_MAX];
};

struct osd_put {
    struct osd_fragment fragment;
    const uint8_t
        *payload; /* borrowed during the call; page-aligned ones go to disk without a copy */
    bool trusted; /* the caller has checked the payload against the checksums itself */
    enum lilio_err
        ret_err; /* OK (also when the same bytes are there already), CONFLICT, NO_SPACE, CORRUPT
                    (payload does not match the checksums), READ_ONLY, IO, INVALID, NOMEM */
};

struct osd_store_space {
    uint64_t total_bytes, free_bytes; /* of the filesystem */
    uint64_t used_bytes;              /* by live fragments, payload + headers */
    uint64_t reserve_bytes;           /* kept for tombstones, index and log (design rule 7) */
    uint64_t fragment_count;
};
/* What start-up found; counters since then. */
struct osd_store_stats {
    bool incomplete; /* acknowledged records may be missing: a torn or corrupt place was cut or
                        skipped. Kept over restarts (file `incomplete`) until set_complete */
    uint64_t torn_tail_bytes;      /* unacknowledged bytes cut from the end of the last segment */
    uint64_t corrupt_record_count; /* records whose header or payload did not verify */
    bool index_rebuilt;
    uint64_t put_count, sync_count, delete_count, segment_count, compaction_count;
};

struct osd_store;

struct osd_store_ops {
    /* count <= OSD_BATCH_MAX. One sync for the batch; when it returns, each put with ret_err OK is
     * durable and indexed. Checks payloads against their checksums unless trusted. After a failed
     * write or sync every put of the batch has READ_ONLY or IO and the store is failed (design rule
     * 6). */
    void (*put)(struct osd_store *store, struct osd_put *puts, size_t count);
    /* The description of a fragment from its disk record. object_key points into *ret_key_room (>=
     * 1024 bytes). Errors: MISSING, CORRUPT, IO. */
    enum lilio_err (*stat)(struct osd_store *store, const struct base_fragment_key *key,
                           struct osd_fragment *ret, uint8_t *ret_key_room,
                           struct lilio_errinfo *info);
    /* Length and checksum (as in the data row) of a fragment as the index has them, without reading
     * it. Errors: MISSING, CORRUPT, IO. */
    enum lilio_err (*look)(struct osd_store *store, const struct base_fragment_key *key,
                           uint32_t *ret_length, uint32_t *ret_checksum,
                           struct lilio_errinfo *info);
    /* stat + the bytes of blocks [first_block, first_block + block_count) into buffer
     * (4096-aligned, room for the blocks rounded up to 4096 plus 4096). *ret_payload points into
     * buffer at the first byte of first_block, *ret_size is the byte count. Blocks beyond the end
     * are cut. The record header is verified; payload blocks are NOT (the reader does, against the
     * data row) unless verify is true. Errors: MISSING, CORRUPT, IO, INVALID. */
    enum lilio_err (*get)(struct osd_store *store, const struct base_fragment_key *key,
                          uint32_t first_block, uint32_t block_count, bool verify, uint8_t *buffer,
                          size_t room, struct osd_fragment *ret, uint8_t *ret_key_room,
                          uint8_t **ret_payload, uint32_t *ret_size, struct lilio_errinfo *info);
    /* Appends tombstones with one sync and gives the space back; keys that are not there are fine.
     * Works inside the reserve of a full disk. count <= OSD_BATCH_MAX. */
    enum lilio_err (*remove)(struct osd_store *store, const struct base_fragment_key *keys,
                             size_t count, struct lilio_errinfo *info);
    /* Indexes of the fragments stored of one stripe (all generations), as a bit mask of fragment
     * indexes. */
    enum lilio_err (*find)(struct osd_store *store, uint32_t placement, uint32_t partition,
                           struct base_oid oid, uint32_t stripe, uint64_t *ret_mask,
                           struct lilio_errinfo *info);
    /* Up to room keys in index order, strictly after *after (NULL: from the start). */
    enum lilio_err (*list)(struct osd_store *store, const struct base_fragment_key *after,
                           struct base_fragment_key *ret_keys, size_t room, size_t *ret_count,
                           struct lilio_errinfo *info);
    /* Housekeeping in small steps when the owner is idle: trims preallocation (after a second
     * without a write), compacts, removes empty segments. Call it about once a second; *ret_more:
     * at once again. */
    enum lilio_err (*tick)(struct osd_store *store, bool *ret_more, struct lilio_errinfo *info);
    void (*space)(struct osd_store *store, struct osd_store_space *ret);
    void (*stats)(struct osd_store *store, struct osd_store_stats *ret);
    /* The fragments were compared with the maps and what was missing is back: forgets
     * stats.incomplete, durably. */
    enum lilio_err (*set_complete)(struct osd_store *store, struct lilio_errinfo *info);
    /* OK while writes are accepted, READ_ONLY after a failed write or sync. */
    enum lilio_err (*health)(struct osd_store *store);
    /* NOT_FOUND when a file the store holds open was removed or replaced under it; the quick form
     * looks only at the one that puts go to. NULL: no files. */
    enum lilio_err (*still_there)(struct osd_store *store, bool full, struct lilio_errinfo *info);
    void (*free)(struct osd_store *store);
};
struct osd_store {
    const struct osd_store_ops *ops;
};

struct osd_store_options {
    struct base_disk *disk; /* borrowed; the OSD's directory */
    const char *index_path; /* RocksDB folder; NULL = index in memory (tests on the crash disk) */
    struct base_uuid cluster_id, disk_uuid;
    uint64_t
        segment_bytes; /* 0 = 256 MiB, less on disks below 64 GiB (1/256 of it, at least 2 MiB) */
    uint64_t reserve_bytes; /* 0 = max(64 MiB, 1 %) of a filesystem from 512 MiB on, max(8 MiB, 1/8)
                               below */
    const struct base_clock *clock;
    const struct base_random *random;
    struct base_log *log; /* may be NULL */
};
/* Opens (and recovers) or creates the segment store. Errors: FOREIGN, FORMAT, IO, NO_SPACE, NOMEM,
 * READ_ONLY (the filesystem), LOCKED (the index is open elsewhere). */
LILIO_MUST_USE enum lilio_err osd_segment_store_open(const struct osd_store_options *options,
                                                     struct osd_store **ret_store,
                                                     struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err osd_memory_store_new(struct osd_store **ret_store);
void osd_store_free(struct osd_store **store);

/* ---- superblock: who this disk is (file `superblock`, two checksummed copies, replaced
 * atomically) ---- */

enum osd_disk_state {
    OSD_DISK_BLANK = 0,   /* no superblock */
    OSD_DISK_JOINING = 1, /* uuid chosen, not yet committed by the coordinators */
    OSD_DISK_MEMBER = 2,
};
struct osd_superblock {
    struct base_uuid cluster_id, disk_uuid;
    uint32_t osd_id;
    uint32_t incarnation;
    uint32_t state; /* enum osd_disk_state */
};
/* BLANK state when there is no superblock file. Errors: CORRUPT (both copies), FORMAT, IO. */
LILIO_MUST_USE enum lilio_err
osd_superblock_read(struct base_disk *disk, struct osd_superblock *ret, struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err osd_superblock_write(struct base_disk *disk,
                                                   const struct osd_superblock *superblock,
                                                   struct lilio_errinfo *info);

#endif
