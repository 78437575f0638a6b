/* Daemons as /proc shows them: which process is the daemon N of the cluster that this lilio.yaml
 * describes. A pid file may be gone, or copied from elsewhere; the command line of a living process
 * is neither. One thread. */
#ifndef TOOLS_PROCESSES_H
#define TOOLS_PROCESSES_H

#include "base/err.h"
#include "base/types.h"

struct tools_process {
    int pid;
    bool is_coordinator;
    uint32_t id;
};
/* The words of a command line, as in /proc/PID/cmdline (each ends with a NUL byte). False if it is
 * no daemon of ours. *ret_config is borrowed from text. Pure. */
bool tools_process_parse(const char *text, size_t size, struct tools_process *ret,
                         const char **ret_config);
/* Is this process a daemon of that cluster? */
bool tools_process_look(int pid, const char *config_path, struct tools_process *ret);
/* All of them; *ret is freed with free(). Errors: IO, NOMEM. */
LILIO_MUST_USE enum lilio_err tools_processes_list(const char *config_path,
                                                   struct tools_process **ret, size_t *ret_count,
                                                   struct lilio_errinfo *info);

#endif
