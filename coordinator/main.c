/* The coordinator's process: arguments, start, the loop between sockets and service, end.
 *
 * The loop: wait, take all requests that are there, let time do its part, make what came of it one
 * synced entry, answer. A disk error ends the process with nothing answered for that entry: what
 * the maps hold is then found out by the next start.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/daemon.h"
#include "coordinator/home.h"
#include "coordinator/reserve.h"
#include "coordinator/service.h"
#include "proto/transport.h"

#include "base/banned.h"

enum {
    OPTION_INIT = 256,
    OPTION_SUSPECT,
    OPTION_DOWN,
    OPTION_OUT,
    PEER_MESSAGES = 64,
    MAP_BYTES_MS = 5000,
    EXIT_USAGE = 2,
};

struct arguments {
    const char *config;
    uint64_t id, suspect_ms, down_ms, out_ms;
    bool has_id, init;
};

struct process {
    struct arguments arguments;
    struct proto_cluster_file file;
    struct base_daemon daemon;
    struct coord_home home;
    struct coord_reserve reserve;
    struct coord_service *service;
    struct coord_result results[COORD_ENTRY_COMMANDS_MAX];
    struct proto_context *context;
    struct proto_server *server;
    uint64_t map_bytes, map_bytes_ms;
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
    {"init", OPTION_INIT, NULL, 0, "make the maps of a new cluster; maps that are there are kept",
     0},
    {"suspect-ms", OPTION_SUSPECT, "MS", 0, "an OSD silent for so long is suspect (default 3000)",
     1},
    {"down-ms", OPTION_DOWN, "MS", 0, "an OSD silent for so long is down (default 10000)", 1},
    {"out-ms", OPTION_OUT, "MS", 0, "an OSD silent for so long is out (default 600000)", 1},
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
    case OPTION_SUSPECT: arguments->suspect_ms = number(state, "suspect-ms", text, 86400000); break;
    case OPTION_DOWN: arguments->down_ms = number(state, "down-ms", text, 86400000); break;
    case OPTION_OUT: arguments->out_ms = number(state, "out-ms", text, 86400000); break;
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument \"%s\"", text); break;
    case ARGP_KEY_END:
        if (!arguments->config || !arguments->has_id)
            argp_error(state, "--config and --id are needed");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- the service's port ---- */

static void port_reply(void *context, void *token, const struct proto_type *type, const void *value,
                       uint64_t epoch)
{
    struct process *process = context;
    struct proto_request *request = token;
    proto_server_reply(process->server, &request, type, value, NULL /* no payload */, epoch);
}

static void port_reply_packed(void *context, void *token, uint16_t type, struct base_slice body,
                              uint64_t epoch)
{
    struct process *process = context;
    struct proto_request *request = token;
    proto_server_reply_packed(process->server, &request, type, body, epoch);
}

static uint64_t port_map_bytes(void *context)
{
    struct process *process = context;
    uint64_t now = base_now_ms(base_clock_system());
    if (process->map_bytes_ms == 0 || now - process->map_bytes_ms >= MAP_BYTES_MS) {
        process->map_bytes = coord_home_map_bytes(&process->home);
        process->map_bytes_ms = now;
    }
    return process->map_bytes;
}

static bool port_space(void *context, struct base_disk_space *ret)
{
    return coord_home_space(&((struct process *)context)->home, ret);
}

/* ---- start ---- */

static enum lilio_err find_node(struct process *process, const struct proto_cluster_node **ret,
                                struct lilio_errinfo *info)
{
    const struct proto_cluster_node *node =
        proto_cluster_coordinator(&process->file, (uint32_t)process->arguments.id);
    if (!node)
        return lilio_fail(info, LILIO_E_CONFIG, "%s names no coordinator %u", process->file.path,
                          (unsigned)process->arguments.id);
    if (!node->dir)
        return lilio_fail(info, LILIO_E_CONFIG, "%s names no dir for coordinator %u",
                          process->file.path, node->id);
    *ret = node;
    return LILIO_OK;
}

static enum lilio_err start_daemon(struct process *process, struct lilio_errinfo *info)
{
    char node[64];
    (void)snprintf(node, sizeof node, "coordinator.%u", (unsigned)process->arguments.id);
    struct base_daemon_options daemon = {
        .node = node,
        .run_dir = process->file.run_dir,
        .log_dir = process->file.log_dir,
    };
    return base_daemon_init(&daemon, &process->daemon, info);
}

static enum lilio_err start_service(struct process *process, const struct proto_cluster_node *node,
                                    struct lilio_errinfo *info)
{
    struct coord_service_options service = {
        .kv = process->home.kv,
        .state = process->home.state,
        .port = {.reply = port_reply,
                 .reply_packed = port_reply_packed,
                 .map_bytes = port_map_bytes,
                 .space = port_space,
                 .context = process},
        .clock = base_clock_system(),
        .random = base_random_system(),
        .log = process->daemon.log,
        .id = node->id,
        .address = node->endpoint,
        .software = LILIO_VERSION,
        .gc_grace_ms = process->file.gc_grace_ms,
        .fresh = process->home.fresh,
        .suspect_ms = (uint32_t)process->arguments.suspect_ms,
        .down_ms = (uint32_t)process->arguments.down_ms,
        .out_ms = (uint32_t)process->arguments.out_ms,
    };
    enum lilio_err err = coord_service_new(&service, &process->service, info);
    return err ? err : coord_service_lead(process->service, info);
}

static enum lilio_err start_server(struct process *process, const struct proto_cluster_node *node,
                                   struct lilio_errinfo *info)
{
    struct proto_server_options server = {
        .endpoint = node->endpoint,
        .insecure = process->file.insecure,
        .peer_messages = PEER_MESSAGES,
    };
    enum lilio_err err = proto_context_new(1, &process->context);
    return err ? lilio_fail(info, err, "out of memory")
               : proto_server_new(process->context, &server, &process->server, info);
}

/* Opening the maps writes, too. */
static void make_room(const char *path, struct base_log *log)
{
    struct base_disk *disk;
    struct coord_reserve reserve;
    if (base_disk_posix_new(path, &disk, NULL))
        return; /* opening the home says why */
    coord_reserve_init(&reserve, disk, log);
    base_disk_free(&disk);
}

static enum lilio_err start(struct process *process, struct lilio_errinfo *info)
{
    const struct proto_cluster_node *node = NULL;
    enum lilio_err err = proto_cluster_file_load(process->arguments.config, &process->file, info);
    if (!err)
        err = find_node(process, &node, info);
    if (!err)
        err = start_daemon(process, info);
    struct coord_home_options home = {
        .path = node ? node->dir : NULL,
        .file = &process->file,
        .init = process->arguments.init,
        .clock = base_clock_system(),
    };
    if (!err) {
        make_room(node->dir, process->daemon.log);
        err = coord_home_open(&home, &process->home, info);
    }
    if (!err)
        coord_reserve_init(&process->reserve, process->home.disk, process->daemon.log);
    if (!err)
        err = start_service(process, node, info);
    if (!err)
        err = start_server(process, node, info);
    if (!err)
        base_log_write(process->daemon.log, BASE_LOG_INFO, "main", "serving",
                       "version=%s endpoint=%s applied=%llu", LILIO_VERSION,
                       proto_server_endpoint(process->server),
                       (unsigned long long)coord_state_row(process->home.state)->applied_index);
    return err;
}

/* ---- the loop ---- */

static void take_requests(struct process *process)
{
    struct proto_request *request;
    while (!coord_service_full(process->service) &&
           (request = proto_server_receive(process->server))) {
        struct coord_request ask = {
            .token = request,
            .header = request->header,
            .type = request->type,
            .body = request->body,
        };
        coord_service_receive(process->service, &ask);
    }
}

/* A coordinator alone: what a round holds is applied at once, durably, and is confirmed by that. */
static enum lilio_err finish_rounds(struct process *process, struct lilio_errinfo *info)
{
    struct coord_state *state = process->home.state;
    struct coord_round round;
    enum lilio_err err = LILIO_OK;
    while (!err && coord_service_round(process->service, &round)) {
        if (round.count > 0) {
            err = coord_state_apply(state, coord_state_row(state)->applied_index + 1, 1 /* term */,
                                    round.commands, round.count, process->results, info);
            if (!err)
                err = coord_state_commit(state, true /* sync */, info);
            if (!err)
                coord_service_applied(process->service, round.id, process->results);
        }
        if (!err)
            coord_service_confirmed(process->service, round.id);
    }
    return err;
}

static enum lilio_err serve(struct process *process, struct lilio_errinfo *info)
{
    struct proto_wait_item items[] = {
        {.server = process->server, .fd = -1},
        {.fd = process->daemon.signal_fd},
    };
    for (;;) {
        (void)proto_wait(items, 2,
                         coord_service_wait_ms(process->service)); /* the items say what came */
        if (items[1].ret_readable && base_daemon_signal(&process->daemon))
            return LILIO_OK;
        take_requests(process);
        coord_service_tick(process->service);
        coord_reserve_look(&process->reserve);
        enum lilio_err err = finish_rounds(process, info);
        if (err)
            return lilio_prefix(
                info, err,
                "the maps could not be written: nothing of the last requests was answered");
    }
}

static void stop(struct process *process)
{
    coord_service_free(&process->service);
    for (size_t i = 0; i < COORD_ENTRY_COMMANDS_MAX; i++)
        coord_result_release(&process->results[i]);
    proto_server_free(&process->server);
    proto_context_free(&process->context);
    coord_home_release(&process->home);
    if (process->daemon.log)
        base_daemon_release(&process->daemon);
    proto_cluster_file_release(&process->file);
}

/* Says why, once to whoever started the daemon and once to its log. */
static void complain(const struct process *process, enum lilio_err err,
                     const struct lilio_errinfo *info)
{
    const char *text = info->text[0] ? info->text : lilio_err_text(err);
    fprintf(stderr, "lilio-coordinator: %s\n", text);
    base_log_write(process->daemon.log, BASE_LOG_ERROR, "main", "stopped", "err=%s text=%s",
                   lilio_err_name(err), text);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse, NULL, description, NULL, NULL, NULL};
    struct process process = {0};
    struct lilio_errinfo info = {0};
    argp_err_exit_status = EXIT_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &process.arguments))
        return EXIT_USAGE;
    enum lilio_err err = start(&process, &info);
    if (err) {
        complain(&process, err, &info);
        stop(&process);
        return EXIT_FAILURE;
    }
    err = serve(&process, &info);
    if (err) {
        complain(&process, err, &info);
        base_daemon_release(&process.daemon);
        _exit(EXIT_FAILURE); /* a store that failed is not closed: closing writes to it once more */
    }
    base_log_write(process.daemon.log, BASE_LOG_INFO, "main", "stopped", "");
    stop(&process);
    return EXIT_SUCCESS;
}
