/* What coordinator/main.c does with its arguments. */
#include "tests/sim/coordinator.h"

#include <stdio.h>

#include "base/daemon.h"
#include "coordinator/daemon.h"
#include "tests/sim/nodes.h"
#include "tests/sim/world.h"

#include "base/banned.h"

static bool signalled(void *context)
{
    return base_daemon_signal(context);
}

/* A process does not end at once: its other threads work on, and the stack is used for other
 * things.
 */
static void linger(void)
{
    volatile uint8_t other[4096];
    for (size_t i = 0; i < sizeof other; i++)
        other[i] = 0x5a;
    sim_sleep(5 * SIM_MS);
}

enum lilio_err sim_coordinator_run(const struct sim_coordinator_options *options,
                                   struct lilio_errinfo *info)
{
    char node[64];
    struct proto_cluster_file file = {0};
    struct base_daemon daemon = {0};
    bool failed = false; /* nothing more is closed then, and the process ends */
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
        .log_cache_bytes = options->log_cache_bytes,
        .flush_ms = options->flush_ms,
        .log = daemon.log,
        .stop_fd = daemon.signal_fd,
        .stop = signalled,
        .stop_context = &daemon,
    };
    err = coord_daemon_run(&daemon_options, &failed, info);
    if (failed)
        linger();
    return err;
}
