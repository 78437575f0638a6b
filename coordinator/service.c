/* The service's frame: its life and role, what each request becomes, time.
 *
 * What changes the maps becomes a command of the round that gathers, everything else waits for a
 * round's confirmation; service_rounds.c has what happens to them from there. Only the leader has
 * live state, and only it takes changes.
 */
#include "coordinator/service.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "coordinator/service_priv.h"
#include "proto/cluster_file.h"

#include "base/banned.h"

enum {
    SPACE_MS = 100,
    RESERVE_MIN_BYTES = 8 << 20,
    RESERVE_MAX_BYTES = 64 << 20,
    STALL_MS = 2000, /* a step of the clock that took longer was no service */
    HEARTBEAT_MS = 1000,
};

/* The clock's steps, each capped: a process that was stopped for a while takes nobody for silent.
 */
void service_clock_read(struct coord_service *service)
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
    options->down_ms = options->down_ms ? options->down_ms : PROTO_DOWN_MS;
    options->out_ms = options->out_ms ? options->out_ms : PROTO_OUT_MS;
    if (options->suspect_ms == 0)
        options->suspect_ms =
            options->down_ms < PROTO_SUSPECT_MS ? options->down_ms : PROTO_SUSPECT_MS;
}

static enum lilio_err make_parts(struct coord_service *service)
{
    service->osds = calloc(COORD_OSDS_MAX, sizeof *service->osds);
    service->sessions = (struct coord_table){.value_size = sizeof(struct live_session),
                                             .limit = COORD_SESSIONS_MAX};
    service->leases = (struct coord_table){.value_size = sizeof(uint32_t),
                                           .limit = 2 * COORD_LEASES_MAX}; /* old and new ones */
    if (!service->osds || proto_arena_new(&service->arena) || service_gc_init(service) ||
        service_repair_init(service) || service_fill_init(service))
        return LILIO_E_NOMEM;
    return service_rounds_init(service);
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
    service->started_ms = service->now_ms;
    service->space_left = true;
    enum lilio_err err = make_parts(service);
    if (err) {
        coord_service_free(&service);
        return lilio_fail(info, err, "%s", lilio_err_text(err));
    }
    *ret_service = service;
    return LILIO_OK;
}

/* What only the leader has. */
static void live_drop(struct coord_service *service)
{
    service_walks_drop(service);
    service_sessions_drop(service);
    if (service->gc.jobs)
        service_gc_drop(service);
    service_repair_drop(service);
}

void coord_service_free(struct coord_service **service)
{
    struct coord_service *it = *service;
    if (!it)
        return;
    live_drop(it);
    service_gc_release(it);
    service_repair_release(it);
    service_fill_release(it);
    service_rounds_release(it);
    proto_arena_free(&it->arena);
    free(it->osds);
    free(it);
    *service = NULL;
}

/* ---- roles ---- */

enum lilio_err coord_service_lead(struct coord_service *service, struct lilio_errinfo *info)
{
    if (service->leads)
        return LILIO_OK;
    service_clock_read(service);
    service->led_ms = service_now_ms(service);
    service->leader[0] = '\0';
    enum lilio_err err = service_sessions_load(service, info);
    if (err) {
        live_drop(service);
        return err;
    }
    service_osds_lead(service);
    service_gc_lead(service);
    service_repair_lead(service);
    service_moves_lead(service);
    service_fill_lead(service);
    service_rounds_lead(service);
    service->options.fresh = false;
    service->leads = true;
    base_log_write(service->options.log, BASE_LOG_INFO, "service", "leads", "applied=%llu",
                   (unsigned long long)coord_state_row(service->state)->applied_index);
    return LILIO_OK;
}

void coord_service_follow(struct coord_service *service, const char *leader)
{
    service_clock_read(service);
    leader = leader && strlen(leader) < sizeof service->leader ? leader : "";
    if (service->leads)
        LILIO_MARK("coordinator/deposed");
    if (service->leads || strcmp(leader, service->leader) != 0)
        base_log_write(service->options.log, BASE_LOG_INFO, "service", "follows", "leader=%s",
                       leader);
    (void)snprintf(service->leader, sizeof service->leader, "%s", leader); /* fits */
    service->leads = service->options.fresh = false;
    service_rounds_redirect(service);
    live_drop(service);
}

void coord_service_use(struct coord_service *service, struct base_kv *kv, struct coord_state *state)
{
    LILIO_ASSERT(!service->leads);
    service->options.kv = kv;
    service->options.state = service->state = state;
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

void service_redirect(struct coord_service *service, const struct coord_request *request,
                      bool taken)
{
    struct proto_error error = {
        .code = LILIO_E_NOT_LEADER,
        .text = base_slice_str(service->leader[0] ? "another coordinator leads"
                                                  : "no coordinator is known to lead now"),
        .epoch = coord_state_row(service->state)->epoch,
        .leader = base_slice_str(service->leader),
        .taken = taken,
    };
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

/* ---- what a request becomes ---- */

/* Some of the disk is kept free, so that deletes always find room (design rule 7). */
bool coord_service_space_left(struct coord_service *service)
{
    uint64_t now = service_now_ms(service);
    struct base_disk_space space;
    if (service->space_left && service->space_ms + SPACE_MS > now && service->space_ms != 0)
        return true; /* a full disk is looked at again each time: nobody is refused in vain */
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
    bool serves = service->leads || service->leader[0];
    (void)snprintf(node, sizeof node, "coordinator.%u", service->options.id);
    struct proto_pong reply = {
        .node = base_slice_str(node),
        .software = base_slice_str(service->options.software),
        .cluster_id = coord_state_cluster(service->state)->cluster_id,
        .state = base_slice_str(serves ? "serving" : "no leader"),
        .detail = base_slice_str(serves ? "" : "no coordinator is known to lead now"),
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
    else if (adds && !coord_service_space_left(service))
        service_refuse(service, request, LILIO_E_NO_SPACE,
                       "the coordinator's disk is nearly full: only deletes are taken");
    else
        service_propose_request(service, request);
}

/* Who may answer it. */
enum place { PLACE_NOWHERE, PLACE_LEADER, PLACE_ANY };

static enum place place_of(uint16_t number)
{
    switch (number) {
    case PROTO_MSG_map_get:
    case PROTO_MSG_bucket_get:
    case PROTO_MSG_bucket_list:
    case PROTO_MSG_lookup:
    case PROTO_MSG_data_get:
    case PROTO_MSG_list:
    case PROTO_MSG_status_get: return PLACE_ANY;
    case PROTO_MSG_commit:
    case PROTO_MSG_stage:
    case PROTO_MSG_copy:
    case PROTO_MSG_delete:
    case PROTO_MSG_discard:
    case PROTO_MSG_bucket_create:
    case PROTO_MSG_bucket_delete:
    case PROTO_MSG_session_open:
    case PROTO_MSG_session_renew:
    case PROTO_MSG_session_close:
    case PROTO_MSG_report:
    case PROTO_MSG_verified:
    case PROTO_MSG_scan_open:
    case PROTO_MSG_scan_next:
    case PROTO_MSG_scan_close:
    case PROTO_MSG_osd_hello:
    case PROTO_MSG_osd_bind:
    case PROTO_MSG_osd_heartbeat:
    case PROTO_MSG_osd_complete:
    case PROTO_MSG_osd_drain:
    case PROTO_MSG_slots_filled:
    case PROTO_MSG_redundancy_get: /* only the leader hears what OSDs read */
    case PROTO_MSG_repair_get:
    case PROTO_MSG_repair_set:
    case PROTO_MSG_orphans_ask:
    case PROTO_MSG_orphans_sweep:
    case PROTO_MSG_formers_sweep:
    case PROTO_MSG_inventory_ask:
    case PROTO_MSG_coordinator_change:
    case PROTO_MSG_coordinator_transfer: return PLACE_LEADER;
    default: return PLACE_NOWHERE;
    }
}

/* Members change through their own door; all else of a leader needs a cluster. */
static void quorum_request(struct coord_service *service, const struct coord_request *request)
{
    const struct coord_port *port = &service->options.port;
    if (port->quorum)
        port->quorum(port->context, request);
    else
        service_refuse(service, request, LILIO_E_UNSUPPORTED, "this coordinator stands alone");
}

static void leader_request(struct coord_service *service, const struct coord_request *request)
{
    if (request->header.session != 0)
        (void)service_session_touch(
            service, request->header.session); /* a closed one is told where it matters */
    switch (request->type->number) {
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
    case PROTO_MSG_slots_filled:
    case PROTO_MSG_repair_set:
    case PROTO_MSG_orphans_sweep:
        change(service, request, false /* session */, false /* adds */);
        break;
    case PROTO_MSG_report: change(service, request, false /* session */, true /* adds */); break;
    case PROTO_MSG_formers_sweep: service_formers(service, request); break;
    case PROTO_MSG_osd_drain: service_drain(service, request); break;
    case PROTO_MSG_osd_hello: service_hello(service, request); break;
    case PROTO_MSG_osd_bind: service_bind(service, request); break;
    case PROTO_MSG_osd_heartbeat: service_heartbeat(service, request); break;
    default: service_defer(service, request); break;
    }
}

void coord_service_receive(struct coord_service *service, const struct coord_request *request)
{
    service_clock_read(service);
    proto_arena_clear(service->arena);
    uint16_t number = request->type->number;
    enum place place = place_of(number);
    if (number == PROTO_MSG_ping && request->header.group == 0)
        pong(service, request);
    else if (request->header.group != 0)
        service_refuse(service, request, LILIO_E_UNSUPPORTED, "there is only group 0");
    else if (place == PLACE_NOWHERE)
        service_refuse(service, request, LILIO_E_UNSUPPORTED,
                       "a coordinator does not know this request");
    else if (number == PROTO_MSG_status_get && service_tells_of_itself(service, request))
        return;
    else if (!service->leads && (place == PLACE_LEADER || !service->leader[0]))
        service_redirect(service, request, /* taken */ false);
    else if (number == PROTO_MSG_coordinator_change || number == PROTO_MSG_coordinator_transfer)
        quorum_request(service, request);
    else if (!coord_state_initialised(service->state))
        service_refuse(service, request, LILIO_E_UNAVAILABLE, "the cluster is not made yet");
    else if (service->leads)
        leader_request(service, request);
    else
        service_defer(service, request);
}

/* ---- time ---- */

void coord_service_tick(struct coord_service *service)
{
    service_clock_read(service);
    if (service->now_ms < service->tick_ms)
        return;
    service->tick_ms = service->now_ms + TICK_MS;
    if (!service->leads)
        return;
    proto_arena_clear(service->arena);
    service_sessions_tick(service);
    service_osds_tick(service);
    service_gc_tick(service);
    service_orphans_tick(service);
    service_repair_tick(service);
    service_fill_tick(service);
    service_repair_dial(service);
    service_moves_tick(service);
    service_walks_tick(service);
}

int coord_service_wait_ms(const struct coord_service *service)
{
    uint64_t now = service_now_ms(service);
    return now >= service->tick_ms ? 0 : (int)(service->tick_ms - now);
}
