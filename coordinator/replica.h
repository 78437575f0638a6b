/* One member of the quorum: owns raft and the service, uses the directory's log, vote and maps, and
 * carries out what raft decides.
 *
 *   requests --> service --rounds--> raft --entries--> log (synced in a thread of its own)
 *                   ^                 |  \--messages--> peers
 *                   |                 v
 *                   +----results--- apply: entries that are committed, read back from the log
 *
 * What a majority has durably is committed; committed entries are applied to the maps in order,
 * unsynced; a flush in another thread makes the maps durable now and then, and only what is flushed
 * is cut from the log. So maps are never ahead of their log, and what a crash takes from them is
 * applied again.
 *
 * Threads: one owner; workers of its own for the log's syncs and the flushes.
 */
#ifndef COORDINATOR_REPLICA_H
#define COORDINATOR_REPLICA_H

#include "coordinator/home.h"
#include "coordinator/peers.h"
#include "coordinator/service.h"

struct coord_replica;

struct coord_replica_options {
    struct coord_home *home;               /* borrowed, open */
    struct coord_peers *peers;             /* borrowed */
    struct proto_context *context;         /* borrowed: of connections to pull a state over */
    const struct proto_cluster_file *file; /* borrowed: what the first command makes */
    /* As coord_service_new() takes it; kv, state, fresh are filled in here. Its port passes
     * `coordinators` and `quorum` on to the functions below. */
    struct coord_service_options service;
    uint32_t election_ms, heartbeat_ms; /* 0 = raft's own */
    uint64_t flush_bytes;               /* of entries applied between two flushes; 0 = 64 MiB */
    uint64_t flush_ms;                  /* 0 = 30 s */
};
/* Errors: NOMEM, IO, CORRUPT, INVALID. */
LILIO_MUST_USE enum lilio_err coord_replica_new(const struct coord_replica_options *options,
                                                struct coord_replica **ret_replica,
                                                struct lilio_errinfo *info);
/* Waits for its threads. What was not answered stays unanswered. */
void coord_replica_free(struct coord_replica **replica);

/* Where requests go. */
struct coord_service *coord_replica_service(struct coord_replica *replica);
/* Does everything there is to do now, without waiting. Errors: the disk failed or the log cannot be
 * read: nothing more is answered, the process has to end without closing its stores. */
LILIO_MUST_USE enum lilio_err coord_replica_step(struct coord_replica *replica,
                                                 struct lilio_errinfo *info);
/* What to wait for besides requests: fills at most COORD_REPLICA_ITEMS items. */
enum { COORD_REPLICA_ITEMS = 5 };
size_t coord_replica_items(struct coord_replica *replica, struct proto_wait_item *items);
/* Milliseconds until step() has something to do by itself. */
int coord_replica_wait_ms(const struct coord_replica *replica);

/* For the service's port. */
size_t coord_replica_coordinators(struct coord_replica *replica, struct proto_coordinator *ret,
                                  size_t room);
void coord_replica_quorum(struct coord_replica *replica, const struct coord_request *request);

/* Where it stands. */
struct raft *coord_replica_raft(struct coord_replica *replica);
uint64_t coord_replica_applied(const struct coord_replica *replica);
bool coord_replica_leads(const struct coord_replica *replica); /* and serves */

#endif
