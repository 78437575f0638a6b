/* The coordinator without its arguments: opens the directory, listens, and turns the loop until it
 * is told to stop. What main.c calls, and the simulation, several times in one process: all state
 * is in one struct; time, randomness, disk, store, threads and waiting are those of base, proto and
 * pthread.
 */
#ifndef COORDINATOR_DAEMON_H
#define COORDINATOR_DAEMON_H

#include "base/log.h"
#include "proto/cluster_file.h"

struct coord_daemon_options {
    const struct proto_cluster_file *file; /* borrowed */
    uint32_t id;                           /* of this coordinator */
    bool init;
    uint64_t join;                                     /* member id; 0 = none */
    uint32_t suspect_ms, down_ms, out_ms;              /* 0 = defaults */
    uint32_t election_ms, heartbeat_ms;                /* 0 = 300, 50 */
    uint64_t log_segment_bytes, flush_bytes, flush_ms; /* 0 = 64 MiB, 64 MiB, 30 s */
    size_t log_cache_bytes;                            /* 0 = 16 MiB */
    struct base_log *log;                              /* borrowed */
    int stop_fd;                                       /* readable: ask stop() */
    bool (*stop)(void *context);                       /* NULL: any byte stops it */
    void *stop_context;
};
/* Returns OK when it was stopped, all closed. Errors: those of the start, and FOREIGN when the
 * others say that the folder is an older copy, all closed; with
 * *ret_failed set, the disk failed while it ran: nothing was closed, because closing a store writes
 * to it once more, and the process has to end. */
LILIO_MUST_USE enum lilio_err coord_daemon_run(const struct coord_daemon_options *options,
                                               bool *ret_failed, struct lilio_errinfo *info);

#endif
