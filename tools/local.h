/* The folder of a cluster on this machine: making it, checking it, finding its parts.
 *
 * DIR holds lilio.yaml, `initialised`, coordinator.N/, osd.N/, log/ and run/ (pid files and, where
 * the path fits into a socket's name, the sockets). What a crash leaves behind:
 *
 *   before lilio.yaml is there     nothing that matters; the next `up` starts anew
 *   before `initialised` is there  the next `up` goes on where this one stopped; no OSD was ever
 *                                  started, so no byte can be stored
 *   later                          a cluster: the coordinator is never initialised again, and one
 *                                  whose folder is gone is refused
 *
 * One thread. */
#ifndef TOOLS_LOCAL_H
#define TOOLS_LOCAL_H

#include "proto/cluster_file.h"

/* What `up` was asked for; a zero or false has_ means that it was not. */
struct tools_local_wish {
    const char *dir;
    uint32_t osd_count, coordinator_count;
    bool has_profile, has_listen, has_gc_grace, has_orphan_retention, insecure;
    struct codec_profile profile;
    char host[256];
    uint32_t port;
    uint64_t gc_grace_ms, orphan_retention_ms;
};
enum {
    TOOLS_LOCAL_OSDS_DEFAULT = 6,
    /* Coordinator N listens at PORT + N for clients and at PORT + 50 + N for the others, OSD N at
     * PORT + 100 + N. */
    TOOLS_LOCAL_PEER_PORT = 50,
    TOOLS_LOCAL_OSD_PORT = 100,
};

/* Opens DIR and takes its lock, which `up` and `down` hold while they start and stop: waits for
 * another one up to timeout_ms. make: creates DIR. *ret_made: it was not there before. The lock
 * goes with the descriptor. Errors: NOT_FOUND, LOCKED, DENIED, IO. */
LILIO_MUST_USE enum lilio_err tools_local_lock(const char *dir, bool make, uint64_t timeout_ms,
                                               int *ret_fd, bool *ret_made,
                                               struct lilio_errinfo *info);
/* Loads DIR/lilio.yaml, or makes it for a new cluster. Errors: INVALID (the wish contradicts
 * what is there, or itself), CONFIG, ADDRESS (a port is taken), DENIED (not loopback, not
 * insecure), FOREIGN (daemons' folders without lilio.yaml), IO. */
LILIO_MUST_USE enum lilio_err tools_local_open(const struct tools_local_wish *wish,
                                               struct proto_cluster_file *ret,
                                               struct lilio_errinfo *info);

/* Were the coordinators ever initialised? Errors: FOREIGN (for another cluster), IO. */
LILIO_MUST_USE enum lilio_err tools_local_initialised(const struct proto_cluster_file *file,
                                                      bool *ret, struct lilio_errinfo *info);
/* From now on they were; durable when it returns. */
LILIO_MUST_USE enum lilio_err tools_local_initialised_set(const struct proto_cluster_file *file,
                                                          struct lilio_errinfo *info);

/* Makes run/ and the private folder of the sockets if they live elsewhere. */
LILIO_MUST_USE enum lilio_err tools_local_folders_make(const struct proto_cluster_file *file,
                                                       struct lilio_errinfo *info);
/* Absent, or empty but for what mkfs leaves: disks are mounted before they are used. One that
 * cannot be read is not empty. */
bool tools_local_folder_empty(const char *path);
/* Another coordinator in file, not saved yet: its endpoints beside those of the others, dir NULL =
 * coordinator.ID beside lilio.yaml. Errors: ADDRESS, NOT_FOUND (dir), NOMEM. */
LILIO_MUST_USE enum lilio_err tools_local_coordinator_add(struct proto_cluster_file *file,
                                                          uint32_t id, const char *dir,
                                                          struct lilio_errinfo *info);
/* Takes it out of file; not saved yet. */
void tools_local_coordinator_remove(struct proto_cluster_file *file, uint32_t id);
/* The folder for sockets whose path below run_dir would be too long: pure.
 * runtime_dir ($XDG_RUNTIME_DIR) may be NULL. NULL when out of memory. */
char *tools_local_socket_folder(const char *run_dir, const char *runtime_dir, unsigned user);

#endif
