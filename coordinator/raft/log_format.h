/* The bytes of the log and of the vote (docs/formats/log.md). Pure; any thread. For
 * coordinator/raft/log*.c. */
#ifndef COORDINATOR_RAFT_LOG_FORMAT_H
#define COORDINATOR_RAFT_LOG_FORMAT_H

#include "base/disk.h"
#include "coordinator/raft/log.h"

enum {
    LOG_BLOCK = BASE_DISK_BLOCK,
    LOG_HEADER_COPIES = 2, /* blocks 0 and 1 */
    LOG_MARK_AT = 2 * LOG_BLOCK,
    LOG_MARK_COUNT = 2, /* blocks 2 and 3, written in turn */
    LOG_DATA_AT = 4 * LOG_BLOCK,
    LOG_BATCH_HEADER = 64,
    LOG_ENTRY_HEADER = 16,
    LOG_ENTRY_MAX = 32 << 20, /* bytes of one entry's data */
    LOG_BATCH_FILL = 1 << 20, /* a batch takes entries until it has this much; one always */
    LOG_BATCH_MAX = LOG_ENTRY_MAX + LOG_BATCH_FILL, /* of a body */
    LOG_VOTE_COPIES = 2,                            /* blocks 0 and 1 of the vote */
};

#define LOG_NUMBER_END UINT64_MAX /* numbers of batches are less; only a forged file comes near */

/* Whose it is. */
struct log_owner {
    struct base_uuid cluster_id;
    uint64_t member;
};

struct log_header {
    struct log_owner owner;
    uint64_t sequence; /* grows with every use of a file; its name */
    uint64_t nonce;    /* drawn for every use: what an earlier one left behind never verifies */
    bool reset;        /* the log starts here, behind (base_index, base_term) */
    uint64_t base_index, base_term;
    uint64_t number; /* of the last batch before it, where it is reset */
};

/* Everything up to batch `number` was durable before this was written. */
struct log_mark {
    uint64_t sequence, nonce, number;
};

struct log_batch_header {
    uint64_t sequence, nonce; /* of the segment */
    uint64_t number;          /* counted up by one; n is written only when n - 1 is durable */
    uint64_t first;         /* index of the first entry; what the log held from it on is replaced */
    uint64_t previous_term; /* of entry first - 1 */
    uint32_t count, length; /* of entries; of the body in bytes */
    uint32_t body_checksum;
};

/* One block each; the rest of it is zeros. */
void log_header_encode(const struct log_header *header, uint8_t ret_block[LOG_BLOCK]);
/* Errors: CORRUPT (does not verify), FORMAT (verifies, but written by a newer program). */
LILIO_MUST_USE enum lilio_err log_header_decode(const uint8_t block[LOG_BLOCK],
                                                struct log_header *ret);
void log_mark_encode(const struct log_mark *mark, uint8_t ret_block[LOG_BLOCK]);
bool log_mark_decode(const uint8_t block[LOG_BLOCK], struct log_mark *ret);
void log_vote_encode(const struct log_owner *owner, const struct raft_vote *vote,
                     uint8_t ret_block[LOG_BLOCK]);
/* Also version 1, which knew term and vote only. Errors: as of the header. */
LILIO_MUST_USE enum lilio_err log_vote_decode(const uint8_t block[LOG_BLOCK],
                                              struct log_owner *ret_owner, struct raft_vote *ret);

/* The header's checksum is seeded with the offset in the file. */
void log_batch_encode(const struct log_batch_header *header, uint64_t offset,
                      uint8_t ret_bytes[LOG_BATCH_HEADER]);
/* True if these bytes are a batch's header at this offset; count and length are within their
 * bounds. Errors: CORRUPT, FORMAT. */
LILIO_MUST_USE enum lilio_err log_batch_decode(const uint8_t bytes[LOG_BATCH_HEADER],
                                               uint64_t offset, struct log_batch_header *ret);
/* The body matches its checksum and holds exactly `count` entries. */
bool log_body_valid(const struct log_batch_header *header, const uint8_t *body);

void log_entry_encode(const struct raft_entry *entry, uint8_t ret_bytes[LOG_ENTRY_HEADER]);
/* Reads the entry at *position of a body that is `length` long and moves behind it; its data
 * borrows the body. False: it does not fit. */
bool log_entry_next(const uint8_t *body, uint32_t length, uint32_t *position,
                    struct raft_entry *ret);

/* Bytes of a batch in the file. */
uint64_t log_batch_size(uint32_t length);

#endif
