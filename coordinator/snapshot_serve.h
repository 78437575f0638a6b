/* Serving the state to a coordinator that pulls it: a checkpoint of the maps, in chunks.
 *
 *   snapshot_open  -> a checkpoint in DIR/checkpoint/, made in a thread of its own, shared by
 *                     all who pull at the time; answered when it is there
 *   snapshot_read  -> a part of one of its files, with its CRC32C
 *   snapshot_close -> when the last one closes, or all are silent for a minute, it is removed
 *
 * What is asked is checked: id, name (only those that were listed), offset, size. One checkpoint at
 * a time; at most COORD_SNAPSHOT_PULLS_MAX share it, more are BUSY. What a crash leaves behind is
 * removed at the next start.
 *
 * Threads: one owner; a worker of its own makes and removes checkpoints.
 */
#ifndef COORDINATOR_SNAPSHOT_SERVE_H
#define COORDINATOR_SNAPSHOT_SERVE_H

#include "base/env.h"
#include "base/kv.h"
#include "coordinator/snapshot.h"
#include "proto/transport.h"

struct coord_snapshots;

enum { COORD_SNAPSHOT_PULLS_MAX = 8, COORD_SNAPSHOT_SILENT_MS = 60000 };

struct coord_snapshots_options {
    const char *path;       /* of the coordinator's directory; copied */
    struct base_disk *disk; /* the same directory; borrowed */
    struct base_uuid cluster_id;
    const struct base_clock *clock;
    const struct base_random *random; /* of ids; NULL = the kernel's */
};
/* Removes what an earlier process left. Errors: IO, NOMEM. */
LILIO_MUST_USE enum lilio_err coord_snapshots_new(const struct coord_snapshots_options *options,
                                                  struct coord_snapshots **ret_snapshots,
                                                  struct lilio_errinfo *info);
/* Waits for the worker. */
void coord_snapshots_free(struct coord_snapshots **snapshots);

/* Takes a request of type snapshot_open, snapshot_read or snapshot_close and answers it, at once or
 * in a step; false: it is of another type, and stays the caller's. Whether the one who asks may is
 * the caller's to know, but for the cluster. kv: the maps, borrowed until coord_snapshots_stop();
 * applied: the index they have at least. */
bool coord_snapshots_request(struct coord_snapshots *snapshots, struct proto_server *server,
                             struct proto_request **request, struct base_kv *kv, uint64_t applied);
/* Readable when a step has something to do. */
int coord_snapshots_fd(const struct coord_snapshots *snapshots);
/* Answers who waits, removes what nobody asks for any more. Also every second or so. */
void coord_snapshots_step(struct coord_snapshots *snapshots);
/* The log must keep everything behind this index; UINT64_MAX: nobody pulls. Taken before the
 * checkpoint is made. */
uint64_t coord_snapshots_pinned(const struct coord_snapshots *snapshots);
/* Before the maps are closed: waits for the worker, drops everything, answers who waits with
 * UNAVAILABLE. */
void coord_snapshots_stop(struct coord_snapshots *snapshots);

#endif
