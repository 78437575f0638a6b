/* The coordinator's process: arguments, log, signals; the rest is daemon.c. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/daemon.h"
#include "coordinator/alone.h"
#include "coordinator/daemon.h"

#include "base/banned.h"

enum {
    OPTION_INIT = 256,
    OPTION_SUSPECT,
    OPTION_DOWN,
    OPTION_OUT,
    OPTION_JOIN,
    OPTION_ALONE,
    OPTION_ELECTION,
    OPTION_HEARTBEAT,
    DAY_MS = 86400000,
    EXIT_USAGE = 2,
};

struct arguments {
    const char *config;
    uint64_t id, join, suspect_ms, down_ms, out_ms, election_ms, heartbeat_ms;
    bool has_id, init, alone;
};

/* ---- arguments ---- */

const char *argp_program_version = "lilio-coordinator " LILIO_VERSION;

static const char description[] =
    "Keeps the object maps of a lilio-ec cluster: buckets, objects, OSDs.\v"
    "Usually `lilio-ec up` starts this daemon. By itself: `lilio-coordinator --config lilio.yaml "
    "--id 0`; the first time, and "
    "only then, with --init. SIGTERM ends it cleanly, SIGHUP opens its log anew (after "
    "rotation).\n\n"
    "Exit status: 0 ended by a signal, 1 could not start or go on (standard error and the log say "
    "why), 2 bad arguments.";

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "lilio.yaml of the cluster", 0},
    {"id", 'i', "N", 0, "number of this coordinator in the file, from 0", 0},
    {"init", OPTION_INIT, NULL, 0,
     "make the maps of a new cluster; maps that are there are kept, and none are made where a "
     "cluster was made before (`initialised' beside lilio.yaml)",
     0},
    {"join", OPTION_JOIN, "MEMBER", 0,
     "make an empty member of this id, as `lilio-ec coordinator add` was told it, and wait to be "
     "brought up to date",
     0},
    {"alone", OPTION_ALONE, NULL, 0,
     "last resort when a majority is lost for good: make the coordinator in this folder the only "
     "one that votes, with what it has, and end. The others have to be stopped and their folders "
     "moved away",
     0},
    {"suspect-ms", OPTION_SUSPECT, "MS", 0, "an OSD silent for so long is suspect (default 3000)",
     1},
    {"down-ms", OPTION_DOWN, "MS", 0, "an OSD silent for so long is down (default 10000)", 1},
    {"out-ms", OPTION_OUT, "MS", 0, "an OSD silent for so long is out (default 600000)", 1},
    {"election-ms", OPTION_ELECTION, "MS", 0,
     "silence of the leader after which another one is elected, at least (default 300)", 2},
    {"heartbeat-ms", OPTION_HEARTBEAT, "MS", 0, "how often the leader is heard (default 50)", 2},
    {0},
};

static uint64_t number(struct argp_state *state, const char *name, const char *text, uint64_t most)
{
    char *end = NULL;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || value > most)
        argp_error(state, "--%s takes a number from 0 to %llu, not \"%s\"", name,
                   (unsigned long long)most, text);
    return value;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'c': arguments->config = text; break;
    case 'i':
        arguments->id = number(state, "id", text, 1000);
        arguments->has_id = true;
        break;
    case OPTION_INIT: arguments->init = true; break;
    case OPTION_ALONE: arguments->alone = true; break;
    case OPTION_JOIN: arguments->join = number(state, "join", text, UINT64_MAX); break;
    case OPTION_SUSPECT: arguments->suspect_ms = number(state, "suspect-ms", text, DAY_MS); break;
    case OPTION_DOWN: arguments->down_ms = number(state, "down-ms", text, DAY_MS); break;
    case OPTION_OUT: arguments->out_ms = number(state, "out-ms", text, DAY_MS); break;
    case OPTION_ELECTION:
        arguments->election_ms = number(state, "election-ms", text, DAY_MS);
        break;
    case OPTION_HEARTBEAT:
        arguments->heartbeat_ms = number(state, "heartbeat-ms", text, DAY_MS);
        break;
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument \"%s\"", text); break;
    case ARGP_KEY_END:
        if (!arguments->config || !arguments->has_id)
            argp_error(state, "--config and --id are needed");
        if (arguments->init && arguments->join)
            argp_error(state, "--init makes a cluster, --join a member of one that is there");
        if (arguments->alone && (arguments->init || arguments->join))
            argp_error(state, "--alone takes a coordinator that is there");
        if (arguments->election_ms && arguments->heartbeat_ms * 2 > arguments->election_ms)
            argp_error(state, "--election-ms is at least twice --heartbeat-ms");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- the process ---- */

static enum lilio_err start_daemon(const struct arguments *arguments,
                                   const struct proto_cluster_file *file,
                                   struct base_daemon *daemon, struct lilio_errinfo *info)
{
    char node[64];
    (void)snprintf(node, sizeof node, "coordinator.%u", (unsigned)arguments->id);
    struct base_daemon_options wish = {
        .node = node,
        .run_dir = file->run_dir,
        .log_dir = file->log_dir,
    };
    return base_daemon_init(&wish, daemon, info);
}

static enum lilio_err make_alone(const struct arguments *arguments,
                                 const struct proto_cluster_file *file, struct base_log *log,
                                 struct lilio_errinfo *info)
{
    enum lilio_err err = coord_alone(file, (uint32_t)arguments->id, log, info);
    if (!err)
        printf("coordinator.%u is the only one that votes: start it, then bring the others back "
               "with `lilio-ec coordinator add'\n",
               (unsigned)arguments->id);
    return err;
}

static bool signalled(void *context)
{
    return base_daemon_signal(context);
}

static enum lilio_err run(const struct arguments *arguments, const struct proto_cluster_file *file,
                          struct base_daemon *daemon, bool *ret_failed, struct lilio_errinfo *info)
{
    const struct coord_daemon_options wish = {
        .file = file,
        .id = (uint32_t)arguments->id,
        .init = arguments->init,
        .join = arguments->join,
        .suspect_ms = (uint32_t)arguments->suspect_ms,
        .down_ms = (uint32_t)arguments->down_ms,
        .out_ms = (uint32_t)arguments->out_ms,
        .election_ms = (uint32_t)arguments->election_ms,
        .heartbeat_ms = (uint32_t)arguments->heartbeat_ms,
        .log = daemon->log,
        .stop_fd = daemon->signal_fd,
        .stop = signalled,
        .stop_context = daemon,
    };
    return coord_daemon_run(&wish, ret_failed, info);
}

/* Says why, once to whoever started the daemon and once to its log. */
static void complain(struct base_log *log, enum lilio_err err, const struct lilio_errinfo *info)
{
    const char *text = info->text[0] ? info->text : lilio_err_text(err);
    fprintf(stderr, "lilio-coordinator: %s\n", text);
    base_log_write(log, BASE_LOG_ERROR, "main", "stopped", "err=%s text=%s", lilio_err_name(err),
                   text);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse, NULL, description, NULL, NULL, NULL};
    struct arguments arguments = {0};
    struct proto_cluster_file file = {0};
    struct base_daemon daemon = {0};
    struct lilio_errinfo info = {0};
    bool failed = false;
    argp_err_exit_status = EXIT_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &arguments))
        return EXIT_USAGE;
    enum lilio_err err = proto_cluster_file_load(arguments.config, &file, &info);
    if (!err)
        err = start_daemon(&arguments, &file, &daemon, &info);
    if (!err && arguments.alone)
        err = make_alone(&arguments, &file, daemon.log, &info);
    else if (!err)
        err = run(&arguments, &file, &daemon, &failed, &info);
    if (err)
        complain(daemon.log, err, &info);
    else
        base_log_write(daemon.log, BASE_LOG_INFO, "main", "stopped", "");
    if (daemon.log)
        base_daemon_release(&daemon);
    if (failed)
        _exit(EXIT_FAILURE); /* a store that failed is not closed: closing writes to it once more */
    proto_cluster_file_release(&file);
    return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
