/* The parts of the segment store among themselves. For osd/segment_*.c and their tests.
 *
 * The log: segments in order of their ids, records in order of their offsets. Replaying it from the
 * start gives the index; replaying what lies behind the index's marks brings an index of any age up
 * to date. Everything rests on that:
 *  - records are only ever appended to the newest segment, so log order is the order of events;
 *  - the index learns of a record after the record's segment was synced;
 *  - a segment's file goes only after the index is durable up to now, and a tombstone only after
 *    the records it buries.
 */
#ifndef OSD_SEGMENT_PRIV_H
#define OSD_SEGMENT_PRIV_H

#include <pthread.h>

#include "base/bytes.h"
#include "base/kv.h"
#include "osd/record.h"
#include "osd/store_priv.h"

enum {
    OSD_FOLDER_NAME_MAX = 40,    /* "segments/0123456789abcdef.seg" */
    OSD_STAGING_BYTES = 1 << 20, /* what is copied on its way to disk */
    OSD_WRITE_VECTORS = 256,     /* of one write call */
    OSD_SCAN_WINDOW = 32 * 1024, /* read for a header while records follow each other */
    OSD_SEARCH_WINDOW = 1 << 20, /* read while looking for one behind a bad place */
    OSD_OPEN_FILES_MAX = 256,    /* segment files held open */
    OSD_RECOVERY_COMMIT = 512,   /* records per index batch while replaying */
    OSD_RECOVERY_HELD = 1 << 17, /* the same while some of it is not known to be durable */
    OSD_INDEX_CACHE_BYTES = 16 << 20,
    OSD_INDEX_WRITE_BYTES = 8 << 20,
    /* Any record, from the block it starts in. */
    OSD_SCRATCH_BYTES = CODEC_FRAGMENT_MAX + 4 * BASE_DISK_BLOCK,
};
#define OSD_ALLOCATE_STEP (UINT64_C(8) << 20)  /* reserved ahead of the log's end */
#define OSD_IDLE_NS       UINT64_C(1000000000) /* without a write: given back */

/* Why a segment must not go, whatever the index says. */
enum osd_keep {
    OSD_KEEP_SEAL = 1,    /* records that only later versions understand */
    OSD_KEEP_DAMAGED = 2, /* what could not be read: kept until set_complete */
};

/* One segment file. Persistent in the index: what stands in the first group (the "segment row"). */
struct osd_segment {
    uint64_t id, nonce;
    uint64_t end;       /* of the records: all below is durable and indexed */
    uint64_t acked_end; /* what lies below was acknowledged; from here on unverified is torn */
    uint64_t live_bytes, live_count; /* records the index names, extents included */
    uint64_t punched_bytes;
    uint64_t tombstone_bytes;
    uint64_t tombstone_first, tombstone_last; /* segments that any tombstone in here refers to */
    uint64_t last_sequence;
    uint8_t keep;    /* enum osd_keep */
    bool has_header; /* the nonce is known; false: nothing in here can be read */
    bool dropped;    /* the file may go, or is gone */

    bool in_index;      /* has a row */
    bool pinned;        /* not compacted for now: something in it cannot be moved */
    bool end_known;     /* the next segment's header says what was acknowledged in this one */
    uint64_t limit;     /* recovery: what is to be replayed ends here */
    uint64_t allocated; /* blocks are reserved up to here; the newest segment only */
    struct base_file *file;
    uint64_t used_at; /* for closing the file that was idle longest */
    bool dirty;       /* its row changed; linked through next_dirty */
    struct osd_segment *next_dirty;
};

/* Where the index says a fragment is, and enough of the record to tell another one in its place. */
struct osd_entry {
    uint64_t segment, offset;
    uint64_t sequence;
    uint64_t first_segment; /* older records of the key may lie in first_segment .. segment */
    uint32_t header_length, payload_length;
    uint32_t checksum; /* codec_fragment_checksum */
};

/* Collects a batch: vectors point into staging or at the caller's payloads. */
struct osd_writer {
    uint8_t *staging;
    size_t staged;
    struct iovec vectors[OSD_WRITE_VECTORS];
    int vector_count;
    uint64_t flushed, position; /* file offsets: of the first vector, of the next byte */
    enum lilio_err err;         /* sticky */
};

struct osd_segment_store {
    struct osd_store head;
    struct base_disk *disk;
    char *index_path; /* NULL: in memory */
    struct base_uuid cluster_id, disk_uuid;
    uint64_t segment_bytes, reserve_bytes;
    const struct base_clock *clock;
    const struct base_random *random;
    struct base_log *log;

    struct osd_segment **segments; /* by id */
    size_t segment_count, segment_room;
    struct osd_segment *active; /* the newest, if this process made it; NULL: the next write will */
    uint64_t next_id, next_sequence;
    size_t open_files;
    uint64_t use_counter;
    uint64_t last_write_ns;

    struct base_kv *kv; /* NULL: lost at run time and not rebuilt */
    struct base_kv_batch *batch;
    struct base_buffer value;
    struct osd_segment *dirty; /* list */
    bool index_fresh;          /* it knew nothing when it was opened */
    bool rebuilt_at_run_time;
    uint64_t replayed; /* recovery: records since the last commit */
    bool unsettled;    /* recovery: the batch names records behind an acked_end */

    struct osd_writer writer;
    uint8_t *scratch;
    uint64_t victim, victim_at; /* compaction: segment and place; victim 0 = none */
    bool failed;

    pthread_mutex_t lock; /* guards what follows: any thread may read it */
    struct osd_store_stats stats;
    uint64_t used_bytes, fragment_count;
};

/* ---- segment_file.c: the table of segments and their files ---- */

struct osd_segment *osd_segment_find(const struct osd_segment_store *store, uint64_t id);
/* True if a segment other than `except` has an id in first .. last. */
bool osd_segment_any(const struct osd_segment_store *store, uint64_t first, uint64_t last,
                     uint64_t except);
/* NULL if it is the first. */
struct osd_segment *osd_segment_before(const struct osd_segment_store *store,
                                       const struct osd_segment *segment);
/* The least id of a segment that is there and not before first; `otherwise` if there is none up to
 * it. */
uint64_t osd_segment_least(const struct osd_segment_store *store, uint64_t first,
                           uint64_t otherwise);
LILIO_MUST_USE enum lilio_err osd_segment_add(struct osd_segment_store *store, uint64_t id,
                                              struct osd_segment **ret_segment);
/* Adds every file of the folder to the table; does not read them. */
LILIO_MUST_USE enum lilio_err osd_segment_list(struct osd_segment_store *store,
                                               struct lilio_errinfo *info);
/* Reads the header block, or makes do without it; previous_* of *ret are 0 then. */
LILIO_MUST_USE enum lilio_err osd_segment_load(struct osd_segment_store *store,
                                               struct osd_segment *segment,
                                               struct osd_segment_header *ret,
                                               struct lilio_errinfo *info);
/* Borrows the open file; the next call may close it. */
LILIO_MUST_USE enum lilio_err osd_segment_file(struct osd_segment_store *store,
                                               struct osd_segment *segment,
                                               struct base_file **ret_file,
                                               struct lilio_errinfo *info);
/* Reads the blocks that hold [offset, offset + size) into buffer; offset is a block's. A file that
 * was cut may end inside its last block. CORRUPT if it ends before offset + size. */
LILIO_MUST_USE enum lilio_err osd_segment_read(struct osd_segment_store *store,
                                               struct osd_segment *segment, void *buffer,
                                               size_t size, uint64_t offset,
                                               struct lilio_errinfo *info);
/* A new active segment, durable with its directory entry. NO_SPACE leaves everything as it was. */
LILIO_MUST_USE enum lilio_err osd_segment_create(struct osd_segment_store *store,
                                                 struct lilio_errinfo *info);
/* Ends the active segment and gives its reserved blocks back. */
void osd_segment_close_active(struct osd_segment_store *store);
/* Gives the reserved blocks of the active segment back. */
void osd_segment_trim(struct osd_segment_store *store);
/* Removes a dead segment for good: index durable, mark, unlink, directory synced, mark gone. */
LILIO_MUST_USE enum lilio_err osd_segment_drop(struct osd_segment_store *store,
                                               struct osd_segment *segment,
                                               struct lilio_errinfo *info);
/* Removes file and table row of a segment without a word to the index. */
LILIO_MUST_USE enum lilio_err osd_segment_unlink(struct osd_segment_store *store,
                                                 struct osd_segment *segment,
                                                 struct lilio_errinfo *info);
void osd_segment_forget(struct osd_segment_store *store, struct osd_segment *segment);

/* ---- segment_index.c: rows in the key-value store ---- */

LILIO_MUST_USE enum lilio_err osd_index_open(struct osd_segment_store *store,
                                             struct lilio_errinfo *info);
void osd_index_close(struct osd_segment_store *store);
/* Closes, deletes and opens an empty one. */
LILIO_MUST_USE enum lilio_err osd_index_reset(struct osd_segment_store *store,
                                              struct lilio_errinfo *info);
/* Fills the table from the rows. *ret_consistent: rows and files fit each other. */
LILIO_MUST_USE enum lilio_err osd_index_load(struct osd_segment_store *store, bool *ret_consistent,
                                             struct lilio_errinfo *info);
/* Errors: MISSING, and those of the key-value store. Sees the changes of the batch. */
LILIO_MUST_USE enum lilio_err osd_index_get(struct osd_segment_store *store,
                                            const struct base_fragment_key *key,
                                            struct osd_entry *ret, struct lilio_errinfo *info);
/* Into the batch. */
void osd_index_put(struct osd_segment_store *store, const struct base_fragment_key *key,
                   const struct osd_entry *entry);
void osd_index_delete(struct osd_segment_store *store, const struct base_fragment_key *key);
void osd_index_touch(struct osd_segment_store *store,
                     struct osd_segment *segment); /* its row goes with the commit */
void osd_index_drop_row(struct osd_segment_store *store, uint64_t segment_id);
/* Commits the batch with the rows of touched segments. */
LILIO_MUST_USE enum lilio_err osd_index_commit(struct osd_segment_store *store, bool sync,
                                               struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err osd_index_find(struct osd_segment_store *store, uint32_t placement,
                                             uint32_t partition, struct base_oid oid,
                                             uint32_t stripe, uint64_t *ret_mask,
                                             struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err osd_index_list(struct osd_segment_store *store,
                                             const struct base_fragment_key *after,
                                             struct base_fragment_key *ret_keys, size_t room,
                                             size_t *ret_count, struct lilio_errinfo *info);

/* ---- segment_writer.c: appending records ---- */

/* Makes room for need bytes at the end of the log: a segment, reserved blocks. NO_SPACE leaves
 * everything as it was; any other failure is final for the store. */
LILIO_MUST_USE enum lilio_err osd_writer_begin(struct osd_segment_store *store, uint64_t need,
                                               struct lilio_errinfo *info);
/* Fills in lengths, sequence and synced of the record; returns its offset. payload may be NULL
 * (zeros). */
uint64_t osd_writer_append(struct osd_segment_store *store, struct osd_record *record,
                           const uint8_t *payload);
/* Pads, writes and syncs. NO_SPACE: cut back, the store goes on. Anything else: the store is
 * failed. */
LILIO_MUST_USE enum lilio_err osd_writer_finish(struct osd_segment_store *store,
                                                struct lilio_errinfo *info);

/* ---- segment_read.c ---- */

/* Reads and checks the record an entry names: header, key and what the index says about it. Errors:
 * MISSING (its segment is gone), CORRUPT, IO, FORMAT. Uses scratch; object_key of *ret points into
 * it. */
LILIO_MUST_USE enum lilio_err osd_entry_stat(struct osd_segment_store *store,
                                             const struct base_fragment_key *key,
                                             const struct osd_entry *entry,
                                             struct osd_fragment *ret, struct lilio_errinfo *info);
/* The same and every block of the payload. */
LILIO_MUST_USE enum lilio_err osd_entry_verify(struct osd_segment_store *store,
                                               const struct base_fragment_key *key,
                                               const struct osd_entry *entry,
                                               struct lilio_errinfo *info);

enum lilio_err osd_segment_store_get(struct osd_store *store, const struct base_fragment_key *key,
                                     uint32_t first_block, uint32_t block_count, bool verify,
                                     uint8_t *buffer, size_t room, struct osd_fragment *ret,
                                     uint8_t *ret_key_room, uint8_t **ret_payload,
                                     uint32_t *ret_size, struct lilio_errinfo *info);
enum lilio_err osd_segment_store_stat(struct osd_store *store, const struct base_fragment_key *key,
                                      struct osd_fragment *ret, uint8_t *ret_key_room,
                                      struct lilio_errinfo *info);
enum lilio_err osd_segment_store_look(struct osd_store *store, const struct base_fragment_key *key,
                                      uint32_t *ret_length, uint32_t *ret_checksum,
                                      struct lilio_errinfo *info);

/* ---- segment_put.c ---- */

void osd_segment_store_put(struct osd_store *store, struct osd_put *puts, size_t count);
enum lilio_err osd_segment_store_remove(struct osd_store *store,
                                        const struct base_fragment_key *keys, size_t count,
                                        struct lilio_errinfo *info);

/* ---- segment_scan.c: finding records ---- */

struct osd_scan {
    struct osd_segment_store *store;
    struct osd_segment *segment;
    uint64_t size; /* of the file, or where to stop */
    uint64_t window_at;
    size_t window_size;
    size_t stride; /* bytes to read at once */
};
/* Uses scratch as its window. */
void osd_scan_init(struct osd_scan *scan, struct osd_segment_store *store,
                   struct osd_segment *segment, uint64_t size);
/* The first record that starts at or after from. NOT_FOUND at the end. Errors: FORMAT, IO. */
LILIO_MUST_USE enum lilio_err osd_scan_next(struct osd_scan *scan, uint64_t from,
                                            struct osd_record *ret, uint64_t *ret_offset,
                                            struct lilio_errinfo *info);

/* ---- segment_recover.c: replaying the log ---- */

/* Opens index and segments and brings the index up to date. */
LILIO_MUST_USE enum lilio_err osd_recover(struct osd_segment_store *store,
                                          struct lilio_errinfo *info);
/* Throws the index away while the store runs, and replays everything. */
LILIO_MUST_USE enum lilio_err osd_recover_index(struct osd_segment_store *store,
                                                struct lilio_errinfo *info);

/* ---- segment_tick.c ---- */

/* Appends what the index names behind `from`, and the tombstones there that are needed, to the log
 * again and syncs it; the index is changed in the batch alone. *ret_moved is false if there is no
 * room, or something cannot be moved. */
LILIO_MUST_USE enum lilio_err osd_segment_move_tail(struct osd_segment_store *store,
                                                    struct osd_segment *segment, uint64_t from,
                                                    bool *ret_moved, struct lilio_errinfo *info);
enum lilio_err osd_segment_store_tick(struct osd_store *store, bool *ret_more,
                                      struct lilio_errinfo *info);

/* ---- segment_store.c: what all use ---- */

/* The store writes no more. Returns err. */
enum lilio_err osd_segment_store_fail(struct osd_segment_store *store, enum lilio_err err,
                                      const char *what, const struct lilio_errinfo *info);
/* Bytes the store may write: what the filesystem has left and what is reserved ahead. */
uint64_t osd_free_bytes(struct osd_segment_store *store);
/* Adds to a counter of stats. */
void osd_segment_store_count(struct osd_segment_store *store, uint64_t *counter, uint64_t more);
/* stats.incomplete, remembered on disk. */
LILIO_MUST_USE enum lilio_err osd_segment_store_incomplete(struct osd_segment_store *store,
                                                           struct lilio_errinfo *info);
#define OSD_INCOMPLETE_NAME "incomplete"
/* Accounting: a record becomes live, or dead. punch gives the blocks of its payload back. */
void osd_account_live(struct osd_segment_store *store, const struct osd_entry *entry);
void osd_account_dead(struct osd_segment_store *store, const struct osd_entry *entry);
void osd_account_tombstone(struct osd_segment_store *store, struct osd_segment *segment,
                           uint64_t first, uint64_t last);
void osd_entry_punch(struct osd_segment_store *store, const struct osd_entry *entry);

#endif
