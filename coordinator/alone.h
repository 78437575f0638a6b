/* The last resort when a majority of the coordinators is lost for good, or only older copies of
 * their folders are left, which do not believe each other: one folder becomes a quorum of one, with
 * what it has. What the others had acknowledged beyond that is lost. So is what came after a backup
 * that is put back, also of a coordinator that never had others.
 *
 * Threads: one owner.
 */
#ifndef COORDINATOR_ALONE_H
#define COORDINATOR_ALONE_H

#include "base/log.h"
#include "proto/cluster_file.h"

/* Makes the member in the folder of coordinator `id` the only one that votes, durably; nothing else
 * may use the folder. To be repeated when it failed. Errors: PRECONDITION (another coordinator's
 * folder is still in its place: those would go on without this one; or this one was never told of
 * the cluster), CONFIG, those of coord_home_open but FOREIGN of an older copy. */
LILIO_MUST_USE enum lilio_err coord_alone(const struct proto_cluster_file *file, uint32_t id,
                                          struct base_log *log, struct lilio_errinfo *info);

#endif
