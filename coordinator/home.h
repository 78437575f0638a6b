/* The data directory of a coordinator: its lock, the maps in it, whose they are.
 *
 *   DIR/maps/   RocksDB; the rows are docs/formats/maps.md
 *   DIR/lock    held for the life of the process
 *
 * An empty directory is never taken for an empty cluster: only with init are maps made, by the
 * first entry, which carries the cluster's id and its OSDs. Threads: one owner; coord_home_space
 * from any.
 */
#ifndef COORDINATOR_HOME_H
#define COORDINATOR_HOME_H

#include "base/disk.h"
#include "base/env.h"
#include "coordinator/state.h"
#include "proto/cluster_file.h"

struct coord_home {
    char *path;
    struct base_disk *disk;
    struct base_kv *kv;
    struct coord_state *state;
    bool fresh; /* the cluster was made now */
};

struct coord_home_options {
    const char *path;                      /* made when init is set and it is not there */
    const struct proto_cluster_file *file; /* cluster id; with init also default profile and OSDs */
    bool init;
    const struct base_clock *clock;
};
/* Errors: LOCKED, NOT_FOUND (no maps here and init is not set), FOREIGN (another cluster's),
 * CORRUPT, FORMAT, IO, NO_SPACE, NOMEM. */
LILIO_MUST_USE enum lilio_err coord_home_open(const struct coord_home_options *options,
                                              struct coord_home *ret, struct lilio_errinfo *info);
void coord_home_release(struct coord_home *home);
/* Bytes the maps take on disk. */
uint64_t coord_home_map_bytes(const struct coord_home *home);
bool coord_home_space(const struct coord_home *home, struct base_disk_space *ret);

#endif
