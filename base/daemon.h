/* What every daemon does before its own work: log file, pid file, signals. Daemons log through the
 * returned log; SIGHUP reopens it; SIGTERM and SIGINT ask for a clean stop. One per process; main
 * thread. */
#ifndef BASE_DAEMON_H
#define BASE_DAEMON_H

#include <stdbool.h>

#include "base/log.h"

struct base_daemon {
    struct base_log *log;
    int signal_fd; /* readable when a signal waits: call base_daemon_signal */
    char *pid_path;
};
struct base_daemon_options {
    const char *node;    /* "osd.3" */
    const char *run_dir; /* holds NODE.pid: "PID START-TIME\n"; NULL = no pid file */
    const char *log_dir; /* holds NODE.log; NULL = standard error */
};
/* Blocks the signals in all threads started later, ignores SIGPIPE. The pid file is written last; a
 * stale one is replaced, after waiting (10 s at most) until a killed process has let go of its
 * sockets and locks. Errors: LOCKED (the pid file names a living process of the same name), IO,
 * NOMEM. */
LILIO_MUST_USE enum lilio_err base_daemon_init(const struct base_daemon_options *options,
                                               struct base_daemon *ret, struct lilio_errinfo *info);
/* Handles what waits on signal_fd; true when the daemon shall stop. */
bool base_daemon_signal(struct base_daemon *daemon);
/* Removes the pid file if it still names this process. */
void base_daemon_release(struct base_daemon *daemon);
/* The living process a pid file names: false if there is no file, it is stale, or the pid now
 * belongs to somebody else (the start time of /proc/PID/stat differs). */
bool base_pid_file_alive(const char *path, int *ret_pid);

#endif
