/* The data directory of a coordinator: its lock, whose it is, the vote, the log, the maps, and
 * whether they fit together.
 *
 *   DIR/identity   cluster and member id; written last when a member is made, so that its presence
 *                  says that the rest is whole (docs/formats/identity.md)
 *   DIR/vote, DIR/log/   coordinator/raft/log.h
 *   DIR/maps/      RocksDB without a log of its own; the rows are docs/formats/maps.md
 *   DIR/lock       held for the life of the process
 *
 * An empty directory is never taken for an empty cluster. With init a first member is made: the
 * log begins with the configuration of lilio.yaml's coordinators, the same on each of them, as if
 * committed by all; what makes the cluster is the first leader's first command. With join a member
 * is made that knows nobody and waits to be told. What a version without quorum left (maps, no
 * identity) becomes a quorum of one: the log begins behind the maps, with the configuration.
 *
 * Threads: one owner; coord_home_space from any.
 */
#ifndef COORDINATOR_HOME_H
#define COORDINATOR_HOME_H

#include "base/disk.h"
#include "base/env.h"
#include "base/log.h"
#include "coordinator/raft/log.h"
#include "coordinator/state.h"
#include "proto/cluster_file.h"

struct coord_home {
    char *path;
    struct base_disk *disk;
    struct base_uuid cluster_id;
    uint64_t member; /* incarnation << 32 | coordinator number */
    struct raft_vote vote;
    struct raft_log *log;
    struct base_kv *kv;
    struct coord_state *state;
    bool fresh; /* the cluster was never made as far as the maps know */
};

struct coord_home_options {
    const char *path;                      /* made when init or join is set and it is not there */
    const struct proto_cluster_file *file; /* cluster id; with init also the coordinators */
    uint32_t id;                           /* number of this coordinator */
    bool init;
    uint64_t join;              /* member id given by the cluster; 0 = none */
    bool alone;                 /* an older copy is opened all the same (alone.h) */
    struct base_log *log;       /* may be NULL */
    uint64_t log_segment_bytes; /* 0 = the log's default */
    size_t log_cache_bytes;     /* likewise */
};
/* Errors: LOCKED, NOT_FOUND (no maps here, and neither init nor join), FOREIGN (another cluster's
 * or member's, or an older copy of this one's), CORRUPT (damaged, or parts that do not fit
 * together), FORMAT, CONFIG, IO, NO_SPACE, NOMEM. */
LILIO_MUST_USE enum lilio_err coord_home_open(const struct coord_home_options *options,
                                              struct coord_home *ret, struct lilio_errinfo *info);
void coord_home_release(struct coord_home *home);
/* Says that the others know of a newer start than this folder. */
LILIO_MUST_USE enum lilio_err coord_home_older_copy(const struct coord_home *home,
                                                    struct lilio_errinfo *info);
/* Closes the maps, and opens what is in their place now, while a pulled state is installed. */
void coord_home_maps_close(struct coord_home *home);
LILIO_MUST_USE enum lilio_err coord_home_maps_open(struct coord_home *home,
                                                   struct lilio_errinfo *info);
/* The command that makes the cluster, with the OSDs and the default profile of lilio.yaml, appended
 * to ret. */
LILIO_MUST_USE enum lilio_err coord_home_first_command(const struct proto_cluster_file *file,
                                                       const struct base_clock *clock,
                                                       struct base_buffer *ret);
/* Bytes the maps take on disk. */
uint64_t coord_home_map_bytes(const struct coord_home *home);
bool coord_home_space(const struct coord_home *home, struct base_disk_space *ret);

#endif
