/* The log of one coordinator, and its vote: files of our own beside the maps.
 *
 *   DIR/log/<16 hex digits>.log   segments: zeroed ahead, written by aligned direct writes, used
 *                                 again under a new name
 *   DIR/vote                      term, vote, starts: two copies, each in a block of its own
 *
 * The layout, its checksums and what each crash leaves behind: docs/formats/log.md.
 *
 * An append goes into memory; raft_log_write() brings everything that waits to the disk with one
 * write and one sync (group commit), so batches gather while one is under way. A replaced suffix is
 * not erased: the batch that is written later wins, and a torn end is overwritten. Damage before
 * the end is CORRUPT, never cut: the log is the truth. A batch is begun only when the one before is
 * durable, and a mark says so of the last one, so that a flipped bit even there is told from a torn
 * write wherever that can be told (docs/formats/log.md says where).
 *
 * Threads: one owner; raft_log_write may run in one other thread at the same time. Durability rules
 * are those of base/disk.h; the first failed write or sync is final (design rule 6): every later
 * call fails.
 */
#ifndef COORDINATOR_RAFT_LOG_H
#define COORDINATOR_RAFT_LOG_H

#include "base/disk.h"
#include "base/env.h"
#include "coordinator/raft/raft.h"

struct raft_log;

struct raft_log_options {
    struct base_disk *disk;           /* the coordinator's directory; borrowed */
    struct base_uuid cluster_id;      /* in every segment's header: another cluster's is FOREIGN */
    uint64_t member;                  /* likewise the member's id */
    bool create;                      /* make an empty log; EXISTS if there is one */
    uint64_t segment_bytes;           /* 0 = 64 MiB */
    size_t cache_bytes;               /* newest entries kept in memory for readers; 0 = 16 MiB */
    const struct base_random *random; /* of the nonces; NULL = the kernel's */
};
struct raft_log_recovery {
    bool torn; /* an unfinished end was cut */
    uint64_t torn_bytes;
};
/* Errors: NOT_FOUND, EXISTS, FOREIGN, FORMAT, CORRUPT, IO, NO_SPACE, NOMEM. */
LILIO_MUST_USE enum lilio_err raft_log_open(const struct raft_log_options *options,
                                            struct raft_log **ret_log,
                                            struct raft_log_recovery *ret_recovery,
                                            struct lilio_errinfo *info);
/* What was not written is lost. */
void raft_log_free(struct raft_log **log);

/* ---- owner ---- */

struct raft_log_view raft_log_view(struct raft_log *log);
/* Adds entries, consecutive, the first at most one behind the last; from its index on they replace
 * what is there. Copies. Errors: NOMEM, NO_SPACE (before anything changed), IO after a failed
 * write. */
LILIO_MUST_USE enum lilio_err raft_log_append(struct raft_log *log,
                                              const struct raft_entry *entries, size_t count,
                                              struct lilio_errinfo *info);
/* The last entry known durable; (0, 0) when there is none. */
void raft_log_durable(struct raft_log *log, uint64_t *ret_index, uint64_t *ret_term);
/* Something waits for raft_log_write: entries, or chores (log_write.c) that a call does one at a
 * time when it finds no entries. */
bool raft_log_waiting(struct raft_log *log);
/* Something waits that is due now: anything but the mark, which is for a log that rests. */
bool raft_log_due(struct raft_log *log);
/* Bytes that are appended and not durable: the caller stops proposing above its bound. */
size_t raft_log_waiting_bytes(struct raft_log *log);
/* Entries up to index are not needed any more (they are in the flushed state, and nobody pulls from
 * before it): whole segments go back into the pool. Never fails; what stays is cut next time. */
void raft_log_cut(struct raft_log *log, uint64_t index);
/* After the installation of a state: empty, durably, behind (index, term). No write may be under
 * way. */
LILIO_MUST_USE enum lilio_err raft_log_reset(struct raft_log *log, uint64_t index, uint64_t term,
                                             struct lilio_errinfo *info);
uint64_t raft_log_bytes(struct raft_log *log); /* on disk */

/* ---- the writer's thread, or the owner where there is none ---- */

/* Writes and syncs what waits. Errors: IO, NO_SPACE: final. */
LILIO_MUST_USE enum lilio_err raft_log_write(struct raft_log *log, struct lilio_errinfo *info);

/* ---- the vote ---- */

/* Zeros when it was never saved and create is set. Errors: NOT_FOUND, FOREIGN, CORRUPT (no copy
 * verifies), IO. */
LILIO_MUST_USE enum lilio_err raft_vote_load(struct base_disk *disk, struct base_uuid cluster_id,
                                             uint64_t member, bool create, struct raft_vote *ret,
                                             struct lilio_errinfo *info);
/* Durable when it returns; counts vote->saves, which has to be that of the last save or load.
 * Errors: IO, NO_SPACE: final for the process. */
LILIO_MUST_USE enum lilio_err raft_vote_save(struct base_disk *disk, struct base_uuid cluster_id,
                                             uint64_t member, struct raft_vote *vote,
                                             struct lilio_errinfo *info);

#endif
