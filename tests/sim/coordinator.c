/* The loop of coordinator/main.c, which keeps it in its main(). */
#include "tests/sim/coordinator.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/daemon.h"
#include "coordinator/home.h"
#include "coordinator/reserve.h"
#include "coordinator/service.h"
#include "proto/transport.h"

#include "base/banned.h"

struct process {
    const struct sim_coordinator_options *options;
    struct proto_cluster_file file;
    struct base_daemon daemon;
    struct coord_home home;
    struct coord_reserve reserve;
    struct coord_service *service;
    struct proto_context *context;
    struct proto_server *server;
    struct coord_result results[COORD_ENTRY_COMMANDS_MAX];
};

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
    return coord_home_map_bytes(&((struct process *)context)->home);
}

static bool port_space(void *context, struct base_disk_space *ret)
{
    return coord_home_space(&((struct process *)context)->home, ret);
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
        .suspect_ms = (uint32_t)process->options->suspect_ms,
        .down_ms = (uint32_t)process->options->down_ms,
        .out_ms = (uint32_t)process->options->out_ms,
    };
    enum lilio_err err = coord_service_new(&service, &process->service, info);
    return err ? err : coord_service_lead(process->service, info);
}

static enum lilio_err start(struct process *process, struct lilio_errinfo *info)
{
    enum lilio_err err = proto_cluster_file_load(process->options->config, &process->file, info);
    if (err)
        return err;
    const struct proto_cluster_node *node =
        proto_cluster_coordinator(&process->file, process->options->id);
    struct base_daemon_options daemon = {.node = "coordinator"};
    err = base_daemon_init(&daemon, &process->daemon, info);
    struct coord_home_options home = {
        .path = node->dir,
        .file = &process->file,
        .init = process->options->init,
        .clock = base_clock_system(),
    };
    if (!err)
        err = coord_home_open(&home, &process->home, info);
    if (!err)
        coord_reserve_init(&process->reserve, process->home.disk, process->daemon.log);
    if (!err)
        err = start_service(process, node, info);
    struct proto_server_options server = {.endpoint = node->endpoint, .peer_messages = 64};
    if (!err)
        err = proto_context_new(1, &process->context);
    return err ? err : proto_server_new(process->context, &server, &process->server, info);
}

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
        (void)proto_wait(items, 2, coord_service_wait_ms(process->service)); /* the items tell */
        if (items[1].ret_readable && base_daemon_signal(&process->daemon))
            return LILIO_OK;
        struct proto_request *request;
        while (!coord_service_full(process->service) &&
               (request = proto_server_receive(process->server))) {
            struct coord_request ask = {request, request->header, request->type, request->body};
            coord_service_receive(process->service, &ask);
        }
        coord_service_tick(process->service);
        coord_reserve_look(&process->reserve);
        enum lilio_err err = finish_rounds(process, info);
        if (err)
            return err;
    }
}

enum lilio_err sim_coordinator_run(const struct sim_coordinator_options *options,
                                   struct lilio_errinfo *info)
{
    struct process *process = calloc(1, sizeof *process);
    if (!process)
        return LILIO_E_NOMEM;
    process->options = options;
    enum lilio_err err = start(process, info);
    return err ? err : serve(process, info); /* the process ends: nothing is given back */
}
