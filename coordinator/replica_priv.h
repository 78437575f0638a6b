/* Inside a replica. For coordinator/replica*.c only. */
#ifndef COORDINATOR_REPLICA_PRIV_H
#define COORDINATOR_REPLICA_PRIV_H

#include "coordinator/entry.h"
#include "coordinator/replica.h"
#include "coordinator/snapshot_pull.h"
#include "coordinator/snapshot_serve.h"
#include "coordinator/worker.h"

enum {
    REPLICA_CHANGES_MAX = 4, /* of the members, under way or waiting */
    REPLICA_READS_MAX = 64,  /* confirmed and not yet applied; more join the last one */
};

/* A round whose entry is in the log. */
struct replica_round {
    uint64_t id, index, term;
};
/* Reads that may be answered once an index is applied. */
struct replica_read {
    uint64_t token, index;
};
/* A request to change the members, or to hand over. */
struct replica_change {
    bool used;
    struct coord_request request;
    uint64_t member, until_ms;
    uint64_t index, term;     /* of its entry; 0: not in the log yet */
    bool handing_over;        /* a transfer that raft accepted */
    struct lilio_errinfo why; /* why it still waits */
};

struct coord_replica {
    struct coord_replica_options options;
    struct coord_home *home;
    struct coord_peers *peers;
    struct coord_service *service;
    struct raft *raft;
    struct raft_log_view view;
    struct base_log *log;
    const struct base_clock *clock;
    struct coord_worker *writer, *flusher;
    uint64_t write_ns, written_ms; /* how long the last write of entries took; when the last was */

    uint64_t now_ms, started_ms;
    uint64_t applied, commit; /* of raft: what may be applied */
    uint64_t flushed, flush_target, flush_begun_ms;
    uint64_t unflushed_bytes;

    bool leads;        /* the service was told so */
    uint64_t led_term; /* when it was */
    uint64_t first_command_term;
    struct replica_round rounds[COORD_ROUNDS_MAX];
    size_t round_count;
    bool holds; /* a round that raft does not take yet */
    struct coord_round held;
    struct replica_read reads[REPLICA_READS_MAX];
    size_t read_count;
    struct replica_change changes[REPLICA_CHANGES_MAX];

    struct coord_snapshots *snapshots;
    struct coord_pull *pull;                 /* under way */
    uint64_t pull_from, progress_ms;         /* whose it is; when it was last logged */
    uint64_t damaged_from, damaged_until_ms; /* who sent a damaged one; not asked again before */
    bool pulled;                             /* a state is in DIR/pull/, of this position */
    struct coord_position position;

    size_t ways_given; /* others that were to lead since the disk became full */

    char trouble[256]; /* what is wrong with the maps, said in the log; "" = nothing */

    struct base_buffer packed; /* of the entry being proposed */
    struct proto_arena *arena; /* of a configuration being applied */
    struct coord_entry entry;  /* being applied */
    struct coord_result results[COORD_ENTRY_COMMANDS_MAX];
    struct raft_entry entries[RAFT_SEND_ENTRIES_MAX];
    char addresses[RAFT_MEMBERS_MAX][2][256]; /* of the last status */
};

/* ---- replica.c ---- */

/* Carries out all that raft wants. Errors: the disk's; raft takes part in nothing any more. */
LILIO_MUST_USE enum lilio_err replica_carry_out(struct coord_replica *replica,
                                                struct lilio_errinfo *info);

/* Not the leader, or not any more: whoever waits is told who is, as far as that is known. */
void replica_follow(struct coord_replica *replica);

/* ---- replica_apply.c ---- */

/* A bounded piece of what is committed. Errors: the log's, the state's. */
LILIO_MUST_USE enum lilio_err replica_apply(struct coord_replica *replica,
                                            struct lilio_errinfo *info);
/* Raft decided about the reads of a round. */
void replica_read_decided(struct coord_replica *replica, uint64_t token, uint64_t index, bool ok);
/* Answers reads whose index is applied. */
void replica_reads_answer(struct coord_replica *replica);
/* Looks whether a read of the maps failed. Errors: IO, CORRUPT, where others can serve instead. */
LILIO_MUST_USE enum lilio_err replica_damage(struct coord_replica *replica,
                                             struct lilio_errinfo *info);
/* Flushes when it is time; cuts the log. */
LILIO_MUST_USE enum lilio_err replica_flush(struct coord_replica *replica,
                                            struct lilio_errinfo *info);

/* ---- replica_snapshot.c ---- */

/* A request on the peers' socket that is no message of raft: answers it, now or later. */
void replica_snapshot_request(struct coord_replica *replica, struct proto_request *request);
/* Pulls the state of a member. Errors: NOMEM, IO (no thread). */
LILIO_MUST_USE enum lilio_err replica_snapshot_pull(struct coord_replica *replica, uint64_t from,
                                                    struct lilio_errinfo *info);
/* Installs what was pulled when nothing else is being written. Errors: the disk's. */
LILIO_MUST_USE enum lilio_err replica_snapshot_step(struct coord_replica *replica,
                                                    struct lilio_errinfo *info);

/* ---- replica_members.c ---- */

/* Tries what waits, gives up what is late. Errors: of carrying out. */
LILIO_MUST_USE enum lilio_err replica_members_step(struct coord_replica *replica,
                                                   struct lilio_errinfo *info);
/* Hands over from a full disk. Errors: of carrying out. */
LILIO_MUST_USE enum lilio_err replica_give_way(struct coord_replica *replica,
                                               struct lilio_errinfo *info);
/* The entry at an index was applied. */
void replica_members_applied(struct coord_replica *replica, uint64_t index, uint64_t term);
/* The member's address for clients, "" if it is not known. */
void replica_address(const struct coord_replica *replica, uint64_t member, char ret[256]);

#endif
