/* The daemons of a cluster on this machine as processes: start, wait until they serve, stop.
 *
 * A daemon runs in a session of its own, so that Ctrl-C reaches only lilio-ec; what it says before
 * it has a log goes to log/NAME.err. Processes are held by pidfd, so that a number that was given
 * to somebody else is never signalled. One thread. */
#ifndef TOOLS_DAEMONS_H
#define TOOLS_DAEMONS_H

#include "client/lilio.h"
#include "proto/cluster_file.h"

struct tools_daemon {
    char name[32]; /* "osd.3" */
    bool is_coordinator;
    uint32_t id;
    const char *endpoint, *peer, *dir; /* borrowed from the cluster file; NULL when only stopped */
    int pid, pidfd;                    /* 0 and -1: not running */
    bool started;                      /* by us, just now */
    long words_start;                  /* where its last words begin in log/NAME.err */
    char state[32];                    /* as it answers: serving, blank, refused, failed; "ended" */
    char detail[512];                  /* why not serving */
};
struct tools_daemons {
    struct tools_daemon *list; /* coordinators first */
    size_t count;
    char *run_dir, *log_dir, *config_path;
};
/* All daemons of file that have a folder on this machine. file must outlive it. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err tools_daemons_init(const struct proto_cluster_file *file,
                                                 struct tools_daemons *ret,
                                                 struct lilio_errinfo *info);
/* Whatever runs with this lilio.yaml, with a pid file in run_dir or without: for stopping. Errors:
 * IO, NOMEM. */
LILIO_MUST_USE enum lilio_err tools_daemons_init_running(const char *run_dir,
                                                         const char *config_path,
                                                         struct tools_daemons *ret,
                                                         struct lilio_errinfo *info);
void tools_daemons_release(struct tools_daemons *daemons);

/* Is it running? Takes hold of it if so. */
bool tools_daemon_find(const struct tools_daemons *daemons, struct tools_daemon *daemon);
/* The same for all that nobody holds yet. Errors: IO, NOMEM. */
LILIO_MUST_USE enum lilio_err tools_daemons_find(struct tools_daemons *daemons,
                                                 struct lilio_errinfo *info);
/* Of a coordinator that starts: it may make the maps of a new cluster, or become this member. */
struct tools_daemon_start {
    bool init; /* also: an OSD may initialise an empty folder */
    uint64_t join;
};
/* Starts the program beside this one. Errors: IO (no such program), NOMEM. */
LILIO_MUST_USE enum lilio_err tools_daemon_start(const struct tools_daemons *daemons,
                                                 struct tools_daemon *daemon,
                                                 struct tools_daemon_start how,
                                                 struct lilio_errinfo *info);
/* SIGTERM to this one, as below. */
void tools_daemon_stop(struct tools_daemon *daemon);
/* Has it ended? detail gets its last words then, state "ended". */
bool tools_daemon_ended(const struct tools_daemons *daemons, struct tools_daemon *daemon);
/* Asks until it says serving, blank, refused or failed (state, detail) or has ended (state
 * "ended"). Errors: TIMEOUT, CANCELLED; info names it. */
LILIO_MUST_USE enum lilio_err tools_daemon_wait(const struct tools_daemons *daemons,
                                                struct tools_daemon *daemon,
                                                struct lilio_client *client, uint64_t end_ms,
                                                struct lilio_errinfo *info);
/* The same, and a coordinator that knows no leader yet is enough: whether there can be one is not
 * up to it. */
LILIO_MUST_USE enum lilio_err tools_daemon_wait_leaderless(const struct tools_daemons *daemons,
                                                           struct tools_daemon *daemon,
                                                           struct lilio_client *client,
                                                           uint64_t end_ms,
                                                           struct lilio_errinfo *info);
/* SIGTERM to each that runs (only_started: that we started), first the OSDs, then the coordinators;
 * SIGKILL to those that have not ended after ten seconds; waits for all. *ret_killed (may be NULL)
 * counts the latter. */
void tools_daemons_stop(struct tools_daemons *daemons, bool only_started, size_t *ret_killed);

#endif
