/* Pulling the state of another coordinator into DIR/pull/, in a thread of its own over a connection
 * of its own.
 *
 * A few chunks are under way at a time, each is checked and written before it is forgotten, so
 * memory is bounded. When the connection breaks, chunks under way are asked for again. In the end
 * files and folder are synced, the state is opened once and read through: what is handed over is
 * whole, durable, undamaged, and stands where it says. A pull that fails leaves the folder, which
 * the next one removes.
 *
 * Threads: one owner; the pull is its own.
 */
#ifndef COORDINATOR_SNAPSHOT_PULL_H
#define COORDINATOR_SNAPSHOT_PULL_H

#include "coordinator/snapshot.h"
#include "proto/transport.h"

#define COORD_PULL_FOLDER "pull"

struct coord_pull;

struct coord_pull_options {
    const char *path;              /* of the coordinator's directory; copied */
    struct base_disk *disk;        /* the same directory; borrowed, used from the thread */
    struct proto_context *context; /* borrowed */
    const char *endpoint;          /* peer socket of the one who has the state; copied */
    struct base_uuid cluster_id;
    uint64_t member;    /* who asks */
    uint32_t silent_ms; /* gives up when nothing comes for so long; 0 = 30 s */
};
/* Starts at once. Errors: NOMEM, IO (no thread or descriptor). */
LILIO_MUST_USE enum lilio_err coord_pull_new(const struct coord_pull_options *options,
                                             struct coord_pull **ret_pull,
                                             struct lilio_errinfo *info);
/* Readable when it is over. */
int coord_pull_fd(const struct coord_pull *pull);
/* False: it is still under way. Outcome: OK (ret_position is set, and the state is in DIR/pull/),
 * UNAVAILABLE, TIMEOUT, CORRUPT, CANCELLED, IO, NO_SPACE, or what the other side answered. */
bool coord_pull_take(struct coord_pull *pull, enum lilio_err *ret_err,
                     struct coord_position *ret_position, struct lilio_errinfo *info);
/* Bytes so far, and of how many (0 = not known yet); bytes of rows read through afterwards. */
void coord_pull_progress(const struct coord_pull *pull, uint64_t *ret_bytes, uint64_t *ret_total,
                         uint64_t *ret_checked);
/* It ends soon, with CANCELLED. */
void coord_pull_cancel(struct coord_pull *pull);
/* Cancels, and waits for the end. */
void coord_pull_free(struct coord_pull **pull);

#endif
