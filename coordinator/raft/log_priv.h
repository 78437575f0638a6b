/* What the files of the log share: coordinator/raft/log*.c only. */
#ifndef COORDINATOR_RAFT_LOG_PRIV_H
#define COORDINATOR_RAFT_LOG_PRIV_H

#include <pthread.h>

#include "base/env.h"
#include "coordinator/raft/log_format.h"

#define LOG_FOLDER "log"
enum {
    LOG_NAME_MAX = 32,
    LOG_ZERO_STEP = 4 << 20,  /* written with zeros at a time */
    LOG_READ_BYTES = 2 << 20, /* read back at a time; a larger batch alone */
    LOG_POOL_MAX = 2,         /* segments that wait for being used again */
    LOG_SEGMENT_MIN = LOG_DATA_AT + 16 * LOG_BLOCK,
};

/* ---- log_table.c: which entries there are, and where ---- */

/* Entries of one batch that count. */
struct log_place {
    uint64_t first;
    uint32_t count;  /* fewer than the batch has when a suffix was replaced */
    uint32_t length; /* of the batch's body */
    uint64_t sequence, offset;
};
/* Entries from index on have this term, up to the next run. */
struct log_run {
    uint64_t index, term;
};
struct log_table {
    uint64_t base_index, base_term; /* in front of the first entry that is kept */
    uint64_t last;
    struct log_run *runs;
    size_t run_count, run_room;
    struct log_place *places; /* of what is on disk: a prefix of the entries */
    size_t place_count, place_room;
};
void log_table_release(struct log_table *table);
void log_table_reset(struct log_table *table, uint64_t index, uint64_t term);
/* Room for so many more: adding them cannot fail afterwards. */
LILIO_MUST_USE enum lilio_err log_table_reserve(struct log_table *table, size_t runs,
                                                size_t places);
/* The entry last + 1. */
void log_table_add(struct log_table *table, uint64_t term);
/* Forgets the entries from index on. */
void log_table_truncate(struct log_table *table, uint64_t index);
void log_table_place(struct log_table *table, struct log_place place);
/* Of an entry that is kept, or of the base. */
uint64_t log_table_term(const struct log_table *table, uint64_t index);
/* The place that holds index; NULL if it is not on disk. */
const struct log_place *log_table_find(const struct log_table *table, uint64_t index);
/* Forgets what lies in segments up to this one. */
void log_table_cut(struct log_table *table, uint64_t sequence);

/* ---- log_segment.c: the files ---- */

struct log_segment {
    uint64_t sequence, nonce;
    struct base_file *file;
    uint64_t end;     /* where the next batch goes */
    uint64_t written; /* every block before it was written once, so a sync there is cheap */
};
/* Sequences are consecutive. [0, pool) wait for being used again; the log is [pool, active]; behind
 * it there is at most one that is ready for the next batches. */
struct log_segments {
    struct log_segment **list;
    size_t count, pool, active;
};

struct raft_log;

/* The segment of this sequence; it is there. */
struct log_segment *log_segment_get(const struct raft_log *log, uint64_t sequence);
void log_segments_release(struct raft_log *log);
/* Opens what is there, in order; headers are not read yet. */
LILIO_MUST_USE enum lilio_err log_segments_open(struct raft_log *log, struct lilio_errinfo *info);
/* Adds a segment with the next sequence, out of the pool or new, its header durable. start: where
 * the log starts anew with it (its reset, base and number); NULL: it goes on. */
LILIO_MUST_USE enum lilio_err log_segment_add(struct raft_log *log, const struct log_header *start,
                                              struct lilio_errinfo *info);
/* Gives an empty segment a header (again). */
LILIO_MUST_USE enum lilio_err log_segment_birth(struct raft_log *log, struct log_segment *segment,
                                                const struct log_header *start,
                                                struct lilio_errinfo *info);
/* Removes the segment with the lowest sequence. */
LILIO_MUST_USE enum lilio_err log_segment_drop_first(struct raft_log *log,
                                                     struct lilio_errinfo *info);
/* Removes the one with the highest. */
LILIO_MUST_USE enum lilio_err log_segment_drop_last(struct raft_log *log,
                                                    struct lilio_errinfo *info);
/* Zeros the next step ahead, at least up to `until`. Not synced. */
LILIO_MUST_USE enum lilio_err log_segment_zero(struct raft_log *log, struct log_segment *segment,
                                               uint64_t until, struct lilio_errinfo *info);

/* ---- log_recover.c ---- */

/* Finds out what the files hold, and makes it certain. Errors: as raft_log_open. */
LILIO_MUST_USE enum lilio_err log_recover(struct raft_log *log, bool create,
                                          struct raft_log_recovery *ret,
                                          struct lilio_errinfo *info);

/* ---- log_write.c: the writer ---- */

/* Brings one batch to the disk, synced, in a segment that has room for it; the body is in the
 * staging buffer, behind room for the header. Fills in what the header lacks: where, nonce,
 * checksum. */
LILIO_MUST_USE enum lilio_err log_write_batch(struct raft_log *log, struct log_batch_header *header,
                                              struct log_place *ret_place,
                                              struct lilio_errinfo *info);
/* Other than the mark. Under the lock. */
bool log_chores_due(const struct raft_log *log);

/* ---- log.c ---- */

/* An aligned buffer that grows; what was in it is lost then. */
struct log_buffer {
    uint8_t *data;
    size_t size;
};
LILIO_MUST_USE enum lilio_err log_buffer_reserve(struct log_buffer *buffer, size_t size);
/* Forgets cached entries from index on; under the lock. */
void log_cache_truncate(struct raft_log *log, uint64_t index);

struct raft_log {
    struct base_disk *disk;
    struct log_owner owner;
    const struct base_random *random;
    uint64_t segment_bytes;
    size_t cache_bytes;

    pthread_mutex_t lock; /* guards everything down to the next comment */
    struct log_table table;
    struct log_segments segments; /* changed by the writer only; it reads them without the lock */
    struct raft_entry *cache;     /* ring of the newest entries, by index; a power of two */
    size_t cache_room;
    uint64_t cache_first, cache_end; /* entries [cache_first, cache_end) are in it */
    size_t cached_bytes;
    uint64_t durable;      /* entries up to it are on disk, synced */
    uint64_t unwritten;    /* entries from it on were not taken by the writer yet */
    uint64_t flight_end;   /* entries [unwritten's former value, flight_end) are being written */
    size_t waiting_bytes;  /* of entries behind `durable` */
    bool mark_due;         /* the last batch is synced, and nothing on disk proves it */
    bool full;             /* the disk had no room for zeros; appends stay within what is written */
    enum lilio_err failed; /* the first failure of a write or sync: final */

    /* The writer's. */
    struct log_buffer staging;
    uint64_t number; /* of the last batch */
    unsigned mark_turn;

    /* The owner's. */
    struct log_buffer read;
};

/* Notes the first failure; answers err. */
enum lilio_err log_fail(struct raft_log *log, enum lilio_err err);

#endif
