/* What coordinator/main.c does with its arguments. */
#include "tests/sim/coordinator.h"

#include <stdio.h>

#include "base/daemon.h"
#include "coordinator/daemon.h"

#include "base/banned.h"

static bool signalled(void *context)
{
    return base_daemon_signal(context);
}

enum lilio_err sim_coordinator_run(const struct sim_coordinator_options *options,
                                   struct lilio_errinfo *info)
{
    char node[64];
    struct proto_cluster_file file = {0};
    struct base_daemon daemon = {0};
    bool failed = false; /* the process ends either way; nothing more is closed here */
    (void)snprintf(node, sizeof node, "coordinator.%u", options->id);
    const struct base_daemon_options wish = {.node = node};
    enum lilio_err err = proto_cluster_file_load(options->config, &file, info);
    if (!err)
        err = base_daemon_init(&wish, &daemon, info);
    if (err)
        return err;
    const struct coord_daemon_options daemon_options = {
        .file = &file,
        .id = options->id,
        .init = options->init,
        .join = options->join,
        .suspect_ms = (uint32_t)options->suspect_ms,
        .down_ms = (uint32_t)options->down_ms,
        .out_ms = (uint32_t)options->out_ms,
        .election_ms = (uint32_t)options->election_ms,
        .heartbeat_ms = (uint32_t)options->heartbeat_ms,
        .log_segment_bytes = options->log_segment_bytes,
        .flush_ms = options->flush_ms,
        .log = daemon.log,
        .stop_fd = daemon.signal_fd,
        .stop = signalled,
        .stop_context = &daemon,
    };
    return coord_daemon_run(&daemon_options, &failed, info);
}
