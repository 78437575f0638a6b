/* Requests that change nothing: answered from committed rows. */
#include "coordinator/histogram.h"
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

bool service_tells_of_itself(struct coord_service *service, const struct coord_request *request)
{
    struct proto_status_get ask;
    struct proto_coordinator coordinators[STATUS_COORDINATORS];
    if (proto_status_get_unpack(request->body, service->arena, &ask, NULL) || !ask.self)
        return false;
    struct proto_status reply = {
        .coordinators = coordinators,
        .coordinators_count = coordinators_list(service, coordinators),
    };
    service_reply(service, request, &proto_type_status, &reply);
    return true;
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
    bool made = reply.osd_silent_ms && service_fill_status(service, &reply) &&
                service_inventory_status(service, &reply) &&
                service_scrubs_status(service, &reply) && service_leaving_status(service, &reply) &&
                service_map(service, false /* without slots */, &reply.map);
    for (size_t i = 0; i < osds && made; i++)
        reply.osd_silent_ms[i] = service_osd_silent_ms(service, i);
    answer_or_refuse(service, request, made ? LILIO_OK : LILIO_E_NOMEM, &(struct lilio_errinfo){0},
                     &proto_type_status, &reply);
}

/* ---- the histogram of redundancy ---- */

static uint64_t since_verify(const struct coord_service *service)
{
    const struct proto_state_row *row = coord_state_row(service->state);
    const struct proto_verify_mark *mark = coord_state_verify_mark(service->state);
    uint64_t since = row->stripes_ever - (mark->index ? mark->stripes_ever : 0);
    return since < row->stripes ? since : row->stripes;
}

/* By a verification, or by deep scrubs: each covers what was committed up to an index, so the one
 * that covers more covers all that either does, but for parity: a verification computes none, so
 * what scrubs found not to fit stays so. */
static uint64_t unverified(const struct proto_redundancy *reply)
{
    const struct proto_scrubbed *scrubbed = &reply->scrubbed;
    bool read = scrubbed->osds > 0 && scrubbed->not_read == 0 && scrubbed->not_told == 0;
    uint64_t verify = reply->since_verify + (read ? scrubbed->stripes_bad : 0);
    if (read && scrubbed->unverified < verify)
        return scrubbed->unverified;
    return verify < reply->stripes ? verify : reply->stripes;
}

/* Names of the buckets of the lines; a bucket that is gone has none. */
static enum lilio_err lines_name(const struct coord_view *view, struct coord_histogram *histogram,
                                 struct lilio_errinfo *info)
{
    for (size_t i = 0; i < histogram->line_count; i++) {
        struct proto_bucket bucket = {0};
        struct coord_key key = coord_key_u64(histogram->lines[i].bucket_id);
        enum lilio_err err =
            coord_view_get(view, COORD_BUCKETS, &key, &proto_type_bucket, &bucket, info);
        if (err && err != LILIO_E_NOT_FOUND)
            return err;
        histogram->lines[i].bucket = bucket.name;
    }
    return LILIO_OK;
}

/* Adds up a page of counters; what is left over begins the next one. */
/* Of a placement, found once. NULL: nothing is, or there is no memory. */
struct stranded {
    uint32_t placement;
    bool found;
    uint64_t *bits;
};

static const uint64_t *stranded_of(struct coord_service *service, struct stranded *last,
                                   const struct proto_placement *placement)
{
    if (!last->found || last->placement != placement->id)
        *last = (struct stranded){placement->id, true, service_moves_stranded(service, placement)};
    return last->bits;
}

static enum lilio_err histogram_fill(struct coord_service *service, struct base_slice after,
                                     struct coord_histogram *histogram,
                                     struct proto_redundancy *reply, struct lilio_errinfo *info)
{
    struct coord_view view = service_view(service, NULL);
    struct coord_stripes_item *items =
        proto_arena_take(service->arena, COORD_STRIPES_PAGE * sizeof *items);
    struct coord_key *last = proto_arena_take(service->arena, sizeof *last);
    size_t count = 0, done = 0;
    struct stranded stranded = {0};
    if (!items || !last)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    enum lilio_err err = coord_read_stripes(&view, after, items, COORD_STRIPES_PAGE, &count, info);
    for (bool room = true; !err && room && done < count; done += room) {
        const struct proto_placement *placement =
            coord_state_placement(service->state, items[done].key.placement);
        if (!placement)
            return lilio_fail(info, LILIO_E_CORRUPT, "a counter of stripes has no placement");
        room = coord_histogram_add(histogram, &items[done].key, placement,
                                   stranded_of(service, &stranded, placement), items[done].counts);
    }
    reply->more = done < count || count == COORD_STRIPES_PAGE;
    if (!err && reply->more) {
        *last = coord_key_stripes(&items[done - 1].key);
        reply->next = coord_key_slice(last);
    }
    return err ? err : lines_name(&view, histogram, info);
}

static void read_redundancy(struct coord_service *service, const struct coord_request *request)
{
    struct proto_redundancy_get ask;
    struct lilio_errinfo info = {0};
    if (!service_body(service, request, &ask))
        return;
    const struct proto_state_row *row = coord_state_row(service->state);
    struct proto_redundancy reply = {
        .index = row->applied_index,
        .epoch = row->epoch,
        .stripes = row->stripes,
        .since_verify = since_verify(service),
        .last_verify = *coord_state_verify_mark(service->state),
    };
    struct coord_histogram *histogram = proto_arena_take(service->arena, sizeof *histogram);
    bool made = histogram && service_scrubbed(service, &reply.scrubbed);
    enum lilio_err err = made ? LILIO_OK : LILIO_E_NOMEM;
    reply.unverified = unverified(&reply);
    for (size_t i = 0; !err && i < coord_state_osd_count(service->state); i++)
        coord_histogram_osd(histogram, coord_state_osd_at(service->state, i));
    if (!err)
        err = histogram_fill(service, ask.after, histogram, &reply, &info);
    if (!err) {
        reply.lines = histogram->lines;
        reply.lines_count = histogram->line_count;
        reply.osds = histogram->osds;
        reply.osds_count = histogram->osd_count;
        reply.stranded = histogram->stranded;
    }
    answer_or_refuse(service, request, err, &info, &proto_type_redundancy, &reply);
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

/* A free pin, or that of the walk nobody asked about for longest: who opened it may be dead, or its
 * answer was lost. */
static struct walk_pin *pin_take(struct coord_service *service)
{
    struct walk_pin *idle = pin_find(service, 0);
    if (idle)
        return idle;
    idle = &service->walks[0];
    for (size_t i = 1; i < COORD_SCANS_MAX; i++)
        if (service->walks[i].used_ms < idle->used_ms)
            idle = &service->walks[i];
    if (service_now_ms(service) - idle->used_ms < COORD_SCAN_YIELD_MS)
        return NULL;
    pin_end(idle);
    return idle;
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
    struct walk_pin *pin = pin_take(service);
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
        .id = pin->id,
        .index = pin->index,
        .epoch = row->epoch,
        .row_count = row->data_count,
        .stripes_ever = row->stripes_ever,
        .stored_bytes = row->stored_bytes,
    };
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
    case PROTO_MSG_redundancy_get: read_redundancy(service, request); break;
    case PROTO_MSG_orphans_ask: service_orphans_read(service, request); break;
    case PROTO_MSG_inventory_ask: service_inventory_read(service, request); break;
    case PROTO_MSG_repair_get: service_repair_read(service, request); break;
    default: service_refuse(service, request, LILIO_E_UNSUPPORTED, NULL); break;
    }
}
