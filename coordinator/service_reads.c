/* Requests that change nothing: answered from committed rows. */
#include "coordinator/raft/raft.h"
#include "coordinator/service_priv.h"

#include "base/banned.h"

enum { STATUS_COORDINATORS = 16 }; /* as many as the message takes */

/* A request's body, its answer and how one comes from the other. Bodies and answers are small
 * structs; lists are in the arena. */
static void answer_or_refuse(struct coord_service *service, const struct coord_request *request,
                             enum lilio_err err, const struct lilio_errinfo *info,
                             const struct proto_type *type, const void *value)
{
    if (err == LILIO_E_CORRUPT || err == LILIO_E_IO)
        base_log_write(service->options.log, BASE_LOG_ERROR, "reads", "rows_not_read",
                       "request=%s err=%s text=%s", request->type->name, lilio_err_name(err),
                       info->text);
    if (err)
        service_refuse(service, request, err, info->text);
    else
        service_reply(service, request, type, value);
}

static void read_map(struct coord_service *service, const struct coord_request *request)
{
    struct proto_map_get ask;
    if (!service_body(service, request, &ask))
        return;
    struct proto_map reply = {.changed = coord_state_row(service->state)->epoch > ask.known_epoch};
    bool made = !reply.changed || service_map(service, true /* with slots */, &reply.map);
    answer_or_refuse(service, request, made ? LILIO_OK : LILIO_E_NOMEM, &(struct lilio_errinfo){0},
                     &proto_type_map, &reply);
}

static void read_bucket(struct coord_service *service, const struct coord_request *request)
{
    struct proto_bucket_get ask;
    struct proto_bucket_reply reply = {0};
    struct lilio_errinfo info = {0};
    if (!service_body(service, request, &ask))
        return;
    struct coord_view view = service_view(service, NULL);
    enum lilio_err err = coord_read_bucket(&view, ask.name, &reply.bucket, &info);
    answer_or_refuse(service, request, err, &info, &proto_type_bucket_reply, &reply);
}

static void read_buckets(struct coord_service *service, const struct coord_request *request)
{
    struct proto_bucket_list ask;
    struct proto_buckets reply = {0};
    struct lilio_errinfo info = {0};
    if (!service_body(service, request, &ask))
        return;
    struct coord_view view = service_view(service, NULL);
    enum lilio_err err = coord_read_buckets(&view, &ask, &reply, &info);
    answer_or_refuse(service, request, err, &info, &proto_type_buckets, &reply);
}

static void read_object(struct coord_service *service, const struct coord_request *request)
{
    struct proto_lookup ask;
    struct proto_object reply = {0};
    struct lilio_errinfo info = {0};
    if (!service_body(service, request, &ask))
        return;
    struct coord_view view = service_view(service, NULL);
    enum lilio_err err = coord_read_object(&view, &ask, &reply, &info);
    reply.epoch = coord_state_row(service->state)->epoch;
    answer_or_refuse(service, request, err, &info, &proto_type_object, &reply);
}

static void read_data(struct coord_service *service, const struct coord_request *request)
{
    struct proto_data_get ask;
    struct proto_data reply = {0};
    struct lilio_errinfo info = {0};
    if (!service_body(service, request, &ask))
        return;
    struct coord_view view = service_view(service, NULL);
    enum lilio_err err = coord_read_data(&view, ask.oid, &reply.data, &info);
    if (!err && ask.names)
        err = coord_read_names(&view, ask.oid, &reply.names, &reply.names_count, &info);
    answer_or_refuse(service, request, err, &info, &proto_type_data, &reply);
}

static void read_listing(struct coord_service *service, const struct coord_request *request)
{
    struct proto_list ask;
    struct proto_listing reply = {0};
    struct lilio_errinfo info = {0};
    if (!service_body(service, request, &ask))
        return;
    struct coord_view view = service_view(service, NULL);
    enum lilio_err err = coord_read_listing(&view, &ask, &reply, &info);
    answer_or_refuse(service, request, err, &info, &proto_type_listing, &reply);
}

/* One that stands alone has nobody to ask. */
static size_t coordinators_list(const struct coord_service *service, struct proto_coordinator *ret)
{
    const struct coord_port *port = &service->options.port;
    const struct proto_state_row *row = coord_state_row(service->state);
    size_t count =
        port->coordinators ? port->coordinators(port->context, ret, STATUS_COORDINATORS) : 0;
    if (count > 0)
        return count;
    *ret = (struct proto_coordinator){
        .id = service->options.id,
        .address = base_slice_str(service->options.address),
        .role = base_slice_str(service->leads ? "leader" : "follower"),
        .applied_index = row->applied_index,
        .commit_index = row->applied_index,
        .term = row->applied_term,
        .kind = RAFT_VOTER,
        .uptime_ms = service_now_ms(service) - service->started_ms,
    };
    return 1;
}

static void read_status(struct coord_service *service, const struct coord_request *request)
{
    const struct proto_state_row *row = coord_state_row(service->state);
    size_t osds = service->leads ? coord_state_osd_count(service->state) : 0;
    struct proto_coordinator coordinators[STATUS_COORDINATORS];
    struct proto_status reply = {
        .coordinators = coordinators,
        .coordinators_count = coordinators_list(service, coordinators),
        .bucket_count = row->bucket_count,
        .object_count = row->object_count,
        .object_bytes = row->object_bytes,
        .repair_rows = row->repair_count,
        .gc_rows = row->gc_count,
        .gc_bytes = row->gc_bytes,
        .session_count = row->session_count,
        .last_verify = *coord_state_verify_mark(service->state),
        .map_bytes = service->options.port.map_bytes(service->options.port.context),
        .osd_silent_ms = proto_arena_take(service->arena, (osds + 1) * sizeof(uint64_t)),
        .osd_silent_ms_count = osds,
    };
    service_repair_status(service, &reply);
    bool made = reply.osd_silent_ms && service_map(service, false /* without slots */, &reply.map);
    for (size_t i = 0; i < osds && made; i++)
        reply.osd_silent_ms[i] = service_osd_silent_ms(service, i);
    answer_or_refuse(service, request, made ? LILIO_OK : LILIO_E_NOMEM, &(struct lilio_errinfo){0},
                     &proto_type_status, &reply);
}

/* ---- pinned walks ---- */

static struct walk_pin *pin_find(struct coord_service *service, uint64_t id)
{
    for (size_t i = 0; i < COORD_SCANS_MAX; i++)
        if (service->walks[i].id == id)
            return &service->walks[i];
    return NULL;
}

static void pin_end(struct walk_pin *pin)
{
    base_kv_snapshot_free(&pin->snapshot);
    *pin = (struct walk_pin){0};
}

/* Ids start at random, so that one from before a restart is not taken for a new one. */
static uint64_t pin_id(struct coord_service *service)
{
    uint64_t id;
    do
        id = base_random_u64(service->options.random);
    while (id == 0 || pin_find(service, id));
    return id;
}

static void walk_open(struct coord_service *service, const struct coord_request *request)
{
    struct proto_scan_open ask;
    if (!service_body(service, request, &ask))
        return;
    struct walk_pin *pin = pin_find(service, 0 /* a free one */);
    if (!pin) {
        service_refuse(service, request, LILIO_E_BUSY,
                       "too many walks over the maps are under way");
        return;
    }
    enum lilio_err err = coord_state_commit(service->state, false, NULL);
    if (!err)
        err = base_kv_snapshot_new(service->options.kv, &pin->snapshot);
    if (err) {
        service_refuse(service, request, err, NULL);
        return;
    }
    const struct proto_state_row *row = coord_state_row(service->state);
    pin->id = pin_id(service);
    pin->index = row->applied_index;
    pin->bucket_id = ask.bucket_id;
    pin->used_ms = service_now_ms(service);
    struct proto_scan reply = {
        .id = pin->id, .index = pin->index, .epoch = row->epoch, .row_count = row->data_count};
    service_reply(service, request, &proto_type_scan, &reply);
}

static void walk_next(struct coord_service *service, const struct coord_request *request)
{
    struct proto_scan_next ask;
    struct proto_scan_page reply = {0};
    struct lilio_errinfo info = {0};
    if (!service_body(service, request, &ask))
        return;
    struct walk_pin *pin = ask.id ? pin_find(service, ask.id) : NULL;
    if (!pin) {
        service_refuse(service, request, LILIO_E_NOT_FOUND,
                       "no such walk: it was closed, was idle too long, or another "
                       "coordinator leads since");
        return;
    }
    pin->used_ms = service_now_ms(service);
    struct coord_view view = service_view(service, pin->snapshot);
    enum lilio_err err = coord_read_scan(&view, pin->bucket_id, ask.after, &reply, &info);
    answer_or_refuse(service, request, err, &info, &proto_type_scan_page, &reply);
}

static void walk_close(struct coord_service *service, const struct coord_request *request)
{
    struct proto_scan_close ask;
    if (!service_body(service, request, &ask))
        return;
    struct walk_pin *pin = ask.id ? pin_find(service, ask.id) : NULL;
    if (pin)
        pin_end(pin);
    struct proto_ok ok = {.index = coord_state_row(service->state)->applied_index};
    service_reply(service, request, &proto_type_ok, &ok);
}

void service_walks_tick(struct coord_service *service)
{
    uint64_t now = service_now_ms(service);
    for (size_t i = 0; i < COORD_SCANS_MAX; i++)
        if (service->walks[i].id && now - service->walks[i].used_ms >= COORD_SCAN_IDLE_MS)
            pin_end(&service->walks[i]);
}

void service_walks_drop(struct coord_service *service)
{
    for (size_t i = 0; i < COORD_SCANS_MAX; i++)
        if (service->walks[i].id)
            pin_end(&service->walks[i]);
}

void service_read(struct coord_service *service, const struct coord_request *request)
{
    switch (request->type->number) {
    case PROTO_MSG_map_get: read_map(service, request); break;
    case PROTO_MSG_bucket_get: read_bucket(service, request); break;
    case PROTO_MSG_bucket_list: read_buckets(service, request); break;
    case PROTO_MSG_lookup: read_object(service, request); break;
    case PROTO_MSG_data_get: read_data(service, request); break;
    case PROTO_MSG_list: read_listing(service, request); break;
    case PROTO_MSG_scan_open: walk_open(service, request); break;
    case PROTO_MSG_scan_next: walk_next(service, request); break;
    case PROTO_MSG_scan_close: walk_close(service, request); break;
    case PROTO_MSG_status_get: read_status(service, request); break;
    case PROTO_MSG_repair_get: service_repair_read(service, request); break;
    default: service_refuse(service, request, LILIO_E_UNSUPPORTED, NULL); break;
    }
}
