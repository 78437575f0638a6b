/* The service's frame: what each request becomes, the next entry, the answers.
 *
 * A round: requests are received until none waits or the entry is full; what changes the maps
 * becomes a command, everything else waits. The entry is applied and made durable as one (group
 * commit), then every command is answered, then the reads, from rows that are durable. So nothing
 * is ever answered that a power cut could take back, and a read sees every change that was answered
 * before it was asked.
 */
#include "coordinator/service.h"

#include <stdio.h>
#include <stdlib.h>

#include "coordinator/service_priv.h"

#include "base/banned.h"

enum {
    READS_MAX = 4096,
    BUFFER_KEPT_BYTES = 64 << 10,
    SPACE_MS = 100,
    RESERVE_MIN_BYTES = 8 << 20,
    RESERVE_MAX_BYTES = 64 << 20,
    ROUND_BYTES_MAX = 8 << 20,
    STALL_MS = 2000, /* a step of the clock that took longer was no service */
    HEARTBEAT_MS = 1000,
    SUSPECT_MS = 3000,
    DOWN_MS = 10000,
    OUT_MS = 600000,
};

/* The clock's steps, each capped: a process that was stopped for a while takes nobody for silent.
 */
static void clock_read(struct coord_service *service)
{
    uint64_t now = base_now_ms(service->options.clock), step = now - service->clock_ms;
    service->clock_ms = now;
    service->now_ms += step < STALL_MS ? step : STALL_MS;
}

uint64_t service_now_ms(const struct coord_service *service)
{
    return service->now_ms;
}

struct coord_view service_view(const struct coord_service *service,
                               const struct base_kv_snapshot *snapshot)
{
    return coord_state_view(service->state, snapshot, service->arena);
}

/* ---- life ---- */

static void set_defaults(struct coord_service_options *options)
{
    options->heartbeat_ms = options->heartbeat_ms ? options->heartbeat_ms : HEARTBEAT_MS;
    options->suspect_ms = options->suspect_ms ? options->suspect_ms : SUSPECT_MS;
    options->down_ms = options->down_ms ? options->down_ms : DOWN_MS;
    options->out_ms = options->out_ms ? options->out_ms : OUT_MS;
}

static enum lilio_err make_parts(struct coord_service *service)
{
    size_t osds = coord_state_osd_count(service->state);
    service->reads = calloc(READS_MAX, sizeof *service->reads);
    service->osds = calloc(osds + 1, sizeof *service->osds);
    if (!service->reads || !service->osds || proto_arena_new(&service->arena))
        return LILIO_E_NOMEM;
    service->read_room = READS_MAX;
    for (size_t i = 0; i < osds; i++)
        service->osds[i] = (struct live_osd){
            .heard_ms = service->started_ms,
            .blank_ms = service->started_ms,
            .parked = true,
        };
    service->sessions = (struct coord_table){.value_size = sizeof(struct live_session),
                                             .limit = COORD_SESSIONS_MAX};
    service->leases = (struct coord_table){.value_size = sizeof(uint32_t),
                                           .limit = 2 * COORD_LEASES_MAX}; /* old and new ones */
    return service_gc_init(service);
}

enum lilio_err coord_service_new(const struct coord_service_options *options,
                                 struct coord_service **ret_service, struct lilio_errinfo *info)
{
    struct coord_service *service = calloc(1, sizeof *service);
    if (!service)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    service->options = *options;
    set_defaults(&service->options);
    service->state = options->state;
    service->clock_ms = service->now_ms = base_now_ms(options->clock);
    service->started_ms = service->time_base_ms = service->now_ms;
    service->space_left = true;
    enum lilio_err err = make_parts(service);
    if (err)
        (void)lilio_fail(info, err, "%s", lilio_err_text(err)); /* err goes on below */
    else
        err = service_sessions_load(service, info);
    if (err) {
        coord_service_free(&service);
        return err;
    }
    service_gc_hold(service);
    *ret_service = service;
    return LILIO_OK;
}

void coord_service_free(struct coord_service **service)
{
    struct coord_service *it = *service;
    if (!it)
        return;
    for (size_t i = 0; i < COORD_ENTRY_COMMANDS_MAX; i++) {
        base_buffer_release(&it->proposals[i].bytes);
        coord_result_release(&it->results[i]);
    }
    service_walks_release(it);
    service_gc_release(it);
    service_sessions_release(it);
    proto_arena_free(&it->arena);
    free(it->reads);
    free(it->osds);
    free(it);
    *service = NULL;
}

/* ---- answers ---- */

void service_reply(struct coord_service *service, const struct coord_request *request,
                   const struct proto_type *type, const void *value)
{
    const struct coord_port *port = &service->options.port;
    port->reply(port->context, request->token, type, value, coord_state_row(service->state)->epoch);
}

void service_refuse(struct coord_service *service, const struct coord_request *request,
                    enum lilio_err err, const char *text)
{
    struct proto_error error = {
        .code = err,
        .text = base_slice_str(text && text[0] ? text : lilio_err_text(err)),
        .epoch = coord_state_row(service->state)->epoch,
    };
    if (!proto_utf8_valid(error.text))
        error.text = base_slice_str(lilio_err_text(err));
    service_reply(service, request, &proto_type_error, &error);
}

bool service_body(struct coord_service *service, const struct coord_request *request, void *ret)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = proto_unpack(request->type, request->body, service->arena, ret, &info);
    if (err)
        service_refuse(service, request, err, info.text);
    return !err;
}

/* ---- proposing ---- */

/* Cluster time as the next entry has it: the clock's steps, each capped (design rule 5). */
static uint64_t next_cluster_ms(const struct coord_service *service)
{
    uint64_t step = service_now_ms(service) - service->time_base_ms;
    return coord_state_row(service->state)->cluster_ms +
           (step > COORD_STEP_MS_MAX ? COORD_STEP_MS_MAX : step);
}

static enum lilio_err propose(struct coord_service *service, const struct coord_request *request,
                              uint16_t type, struct base_slice body)
{
    struct proposal *proposal = &service->proposals[service->proposal_count];
    struct proto_entry entry = {
        .cluster_ms = next_cluster_ms(service),
        .wall_ms = service->options.clock->wall_ms(service->options.clock->context),
        .session = request ? request->header.session : 0,
        .sequence = request ? request->header.sequence : 0,
        .answered_below = request ? request->header.answered_below : 0,
        .type = type,
        .body = body,
    };
    base_buffer_clear(&proposal->bytes);
    enum lilio_err err = proto_entry_pack(&entry, &proposal->bytes);
    if (err)
        return err;
    proposal->request = request ? *request : (struct coord_request){0};
    proposal->type = type;
    service->proposal_count++;
    service->proposal_bytes += proposal->bytes.size;
    return LILIO_OK;
}

bool service_propose(struct coord_service *service, const struct proto_type *type,
                     const void *value)
{
    if (service->proposal_count == COORD_ENTRY_COMMANDS_MAX)
        return false;
    struct base_buffer body = {0};
    enum lilio_err err = proto_pack(type, value, &body);
    if (!err)
        err = propose(service, NULL, type->number, base_buffer_slice(&body));
    base_buffer_release(&body);
    if (err)
        base_log_write(service->options.log, BASE_LOG_WARN, "service", "command_not_made",
                       "type=%s err=%s", type->name, lilio_err_name(err));
    return !err;
}

void service_propose_request(struct coord_service *service, const struct coord_request *request)
{
    enum lilio_err err = propose(service, request, request->type->number, request->body);
    if (err)
        service_refuse(service, request, err, NULL);
}

void service_defer(struct coord_service *service, const struct coord_request *request)
{
    LILIO_ASSERT(service->read_count < service->read_room); /* full() was asked before */
    service->reads[service->read_count++] = *request;
}

bool coord_service_full(const struct coord_service *service)
{
    return service->proposal_count >= COORD_ENTRY_COMMANDS_MAX - PROPOSALS_KEPT ||
           service->proposal_bytes >= COORD_ENTRY_BYTES_MAX ||
           service->round_bytes >= ROUND_BYTES_MAX || service->read_count == service->read_room;
}

/* ---- what a request becomes ---- */

/* Less than this is kept free, so that deletes always find room (design rule 7). */
static bool space_left(struct coord_service *service)
{
    uint64_t now = service_now_ms(service);
    struct base_disk_space space;
    if (service->space_ms + SPACE_MS > now && service->space_ms != 0)
        return service->space_left;
    service->space_ms = now;
    if (!service->options.port.space(service->options.port.context, &space))
        return service->space_left;
    uint64_t reserve = space.total_bytes / 8;
    reserve = reserve > RESERVE_MAX_BYTES ? RESERVE_MAX_BYTES : reserve;
    reserve = reserve < RESERVE_MIN_BYTES ? RESERVE_MIN_BYTES : reserve;
    bool left = space.free_bytes >= reserve;
    if (left != service->space_left)
        base_log_write(service->options.log, left ? BASE_LOG_INFO : BASE_LOG_WARN, "service",
                       left ? "space_again" : "no_space", "free=%llu reserve=%llu",
                       (unsigned long long)space.free_bytes, (unsigned long long)reserve);
    service->space_left = left;
    return left;
}

static void pong(struct coord_service *service, const struct coord_request *request)
{
    char node[64];
    (void)snprintf(node, sizeof node, "coordinator.%u", service->options.id);
    struct proto_pong reply = {
        .node = base_slice_str(node),
        .software = base_slice_str(service->options.software),
        .cluster_id = coord_state_cluster(service->state)->cluster_id,
        .state = base_slice_str("serving"),
        .uptime_ms = service_now_ms(service) - service->started_ms,
    };
    service_reply(service, request, &proto_type_pong, &reply);
}

/* A change by a session, or one that adds to the maps. */
static void change(struct coord_service *service, const struct coord_request *request, bool session,
                   bool adds)
{
    if (session &&
        !coord_table_find(&service->sessions, (struct coord_table_key){request->header.session, 0}))
        service_refuse(service, request, LILIO_E_SESSION_CLOSED, NULL);
    else if (adds && !space_left(service))
        service_refuse(service, request, LILIO_E_NO_SPACE,
                       "the coordinator's disk is nearly full: only deletes are taken");
    else
        service_propose_request(service, request);
}

void coord_service_receive(struct coord_service *service, const struct coord_request *request)
{
    clock_read(service);
    proto_arena_clear(service->arena);
    service->round_bytes += request->body.size;
    if (request->header.group != 0) {
        service_refuse(service, request, LILIO_E_UNSUPPORTED, "there is only group 0");
        return;
    }
    if (request->header.session != 0)
        (void)service_session_touch(
            service, request->header.session); /* a closed one is told where it matters */
    switch (request->type->number) {
    case PROTO_MSG_ping: pong(service, request); break;
    case PROTO_MSG_commit:
    case PROTO_MSG_stage:
    case PROTO_MSG_copy:
    case PROTO_MSG_bucket_create:
        change(service, request, true /* session */, true /* adds */);
        break;
    case PROTO_MSG_delete:
    case PROTO_MSG_discard:
    case PROTO_MSG_bucket_delete:
        change(service, request, true /* session */, false /* adds */);
        break;
    case PROTO_MSG_session_open:
    case PROTO_MSG_session_close:
    case PROTO_MSG_verified:
    case PROTO_MSG_osd_complete:
        change(service, request, false /* session */, false /* adds */);
        break;
    case PROTO_MSG_report: change(service, request, false /* session */, true /* adds */); break;
    case PROTO_MSG_osd_hello: service_hello(service, request); break;
    case PROTO_MSG_osd_bind: service_bind(service, request); break;
    case PROTO_MSG_osd_heartbeat: service_heartbeat(service, request); break;
    case PROTO_MSG_session_renew:
    case PROTO_MSG_map_get:
    case PROTO_MSG_bucket_get:
    case PROTO_MSG_bucket_list:
    case PROTO_MSG_lookup:
    case PROTO_MSG_data_get:
    case PROTO_MSG_list:
    case PROTO_MSG_scan_open:
    case PROTO_MSG_scan_next:
    case PROTO_MSG_scan_close:
    case PROTO_MSG_status_get: service_defer(service, request); break;
    default:
        service_refuse(service, request, LILIO_E_UNSUPPORTED,
                       "a coordinator does not know this request");
        break;
    }
}

/* ---- time ---- */

void coord_service_tick(struct coord_service *service)
{
    clock_read(service);
    if (service->now_ms < service->tick_ms)
        return;
    service->tick_ms = service->now_ms + TICK_MS;
    proto_arena_clear(service->arena);
    service_sessions_tick(service);
    service_osds_tick(service);
    service_gc_tick(service);
    service_walks_tick(service);
}

int coord_service_wait_ms(const struct coord_service *service)
{
    uint64_t now = service_now_ms(service);
    return now >= service->tick_ms ? 0 : (int)(service->tick_ms - now);
}

/* ---- the entry and its answers ---- */

size_t coord_service_entry(struct coord_service *service, const struct base_slice **ret_commands)
{
    for (size_t i = 0; i < service->proposal_count; i++)
        service->commands[i] = base_buffer_slice(&service->proposals[i].bytes);
    *ret_commands = service->commands;
    return service->proposal_count;
}

/* What the service itself has to know of an applied command. */
static void learn(struct coord_service *service, const struct proposal *proposal,
                  const struct coord_result *result)
{
    switch (proposal->type) {
    case PROTO_MSG_session_open: service_session_opened(service, result); break;
    case PROTO_MSG_session_close:
        service_session_closed(service, proposal->request.header.session);
        break;
    case PROTO_MSG_gc_done: service_gc_applied(service); break;
    default: break;
    }
}

static void answer(struct coord_service *service, const struct proposal *proposal,
                   const struct coord_result *result)
{
    const struct coord_port *port = &service->options.port;
    const struct coord_request *request = &proposal->request;
    proto_arena_clear(service->arena);
    if (!request->type)
        return;
    if (proposal->type == PROTO_MSG_osd_hello && !result->err)
        service_welcome(service, request);
    else if (proposal->type == PROTO_MSG_osd_bind && !result->err)
        service_bound(service, request);
    else
        port->reply_packed(port->context, request->token, result->type,
                           base_buffer_slice(&result->reply),
                           coord_state_row(service->state)->epoch);
}

static void read_answer(struct coord_service *service, const struct coord_request *request)
{
    proto_arena_clear(service->arena);
    switch (request->type->number) {
    case PROTO_MSG_session_renew: service_renew(service, request); break;
    case PROTO_MSG_osd_hello: service_welcome(service, request); break;
    case PROTO_MSG_osd_heartbeat: service_orders(service, request); break;
    default: service_read(service, request); break;
    }
}

static void shrink(struct base_buffer *buffer)
{
    if (buffer->capacity > BUFFER_KEPT_BYTES)
        base_buffer_release(buffer);
}

enum lilio_err coord_service_applied(struct coord_service *service, uint64_t index,
                                     struct lilio_errinfo *info)
{
    size_t count = service->proposal_count;
    if (count > 0) {
        enum lilio_err err = coord_state_apply(service->state, index, service->commands, count,
                                               service->results, info);
        if (!err)
            err = coord_state_commit(service->state, true /* sync */, info);
        if (err)
            return err;
        clock_read(service);
        service->time_base_ms = service->now_ms;
    }
    for (size_t i = 0; i < count; i++)
        learn(service, &service->proposals[i], &service->results[i]);
    for (size_t i = 0; i < count; i++) {
        answer(service, &service->proposals[i], &service->results[i]);
        shrink(&service->proposals[i].bytes);
        shrink(&service->results[i].reply);
    }
    for (size_t i = 0; i < service->read_count; i++)
        read_answer(service, &service->reads[i]);
    service->proposal_count = service->proposal_bytes = 0;
    service->round_bytes = service->read_count = 0;
    return LILIO_OK;
}
