#include "osd/service.h"

#include <stdio.h>
#include <stdlib.h>

#include "osd/check.h"
#include "osd/orphans.h"
#include "osd/rebuild_run.h"
#include "osd/scrub.h"

#include "base/banned.h"

enum { SECOND_MS = 1000, TICK_MS = 1000, STARVED_WAIT_MS = 1 };

/* A request taken in. */
struct work {
    struct work *next;
    struct proto_server *server;
    struct proto_request *request;
    uint64_t since_ms;
    uint64_t epoch; /* of the map it was checked against */
    union {
        struct osd_put put; /* its payload and key lie in the request */
        struct proto_fragment_get get;
        struct {
            struct base_fragment_key keys[OSD_VERIFY_KEYS_MAX];
            struct proto_fragment_state states[OSD_VERIFY_KEYS_MAX];
            size_t count, done;
        } verify;
    };
};

struct queue {
    struct work *first, **last;
};

struct osd_service {
    struct osd_service_options options;
    struct work *all, *free; /* OSD_REQUESTS_MAX of them */
    struct queue put_queue, get_queue, verify_queue;
    size_t received_bytes; /* payloads of all works */
    bool starved;          /* the first get waits for a buffer */

    struct proto_map_ref *map; /* of this round; NULL while there is none */
    uint64_t now_ms, started_ms;
    uint64_t second_ms, tick_ms, collect_ms; /* when the next one is due */
    bool tick_more, collect_more, collected;
    bool told_corrupt; /* one line a second */

    struct proto_arena *arena; /* of the request being looked at */
    struct osd_put batch[OSD_BATCH_MAX];
    struct work *batch_works[OSD_BATCH_MAX];
    uint8_t *verify_buffer;
    uint8_t key_room[OSD_OBJECT_KEY_MAX];
    struct osd_service_counters counters;
};

static const size_t verify_room = CODEC_FRAGMENT_MAX + 2 * BASE_DISK_BLOCK;

/* ---- queues ---- */

static void queue_init(struct queue *queue)
{
    queue->first = NULL;
    queue->last = &queue->first;
}

static void queue_push(struct queue *queue, struct work *work)
{
    work->next = NULL;
    *queue->last = work;
    queue->last = &work->next;
}

static struct work *queue_pop(struct queue *queue)
{
    struct work *work = queue->first;
    if (work) {
        queue->first = work->next;
        if (!queue->first)
            queue->last = &queue->first;
    }
    return work;
}

/* NULL when too much was taken in already. */
static struct work *work_take(struct osd_service *service, struct proto_server *server,
                              struct proto_request *request)
{
    struct work *work = service->free;
    if (!work || service->received_bytes + request->payload.size > OSD_RECEIVED_BYTES_MAX)
        return NULL;
    service->free = work->next;
    work->server = server;
    work->request = request;
    work->since_ms = service->now_ms;
    service->received_bytes += request->payload.size;
    return work;
}

static void work_give(struct osd_service *service, struct work *work)
{
    work->next = service->free;
    service->free = work;
}

/* ---- answers ---- */

static uint64_t epoch_of(const struct osd_service *service)
{
    return service->map ? proto_map_ref_get(service->map)->epoch : 0;
}

static void refuse(struct osd_service *service, struct proto_server *server,
                   struct proto_request **request, enum lilio_err err, const char *text)
{
    if (err == LILIO_E_BUSY)
        service->counters.busy_count++;
    proto_server_reply_error(server, request, err, text, epoch_of(service));
}

static void answer(struct osd_service *service, struct work *work, const struct proto_type *type,
                   const void *value, const struct proto_payload *payload)
{
    service->received_bytes -= work->request->payload.size;
    proto_server_reply(work->server, &work->request, type, value, payload, epoch_of(service));
    work_give(service, work);
}

static void answer_error(struct osd_service *service, struct work *work, enum lilio_err err,
                         const char *text)
{
    service->received_bytes -= work->request->payload.size;
    refuse(service, work->server, &work->request, err, text);
    work_give(service, work);
}

/* ---- taking requests in ---- */

static struct osd_check check_of(const struct osd_service *service,
                                 const struct proto_request *request)
{
    return (struct osd_check){
        .map = proto_map_ref_get(service->map),
        .osd = osd_node_id(service->options.node),
        .sender_epoch = request->header.epoch,
    };
}

/* Whether fragments may be asked for at all. */
static enum lilio_err open_for_service(struct osd_service *service, struct lilio_errinfo *info)
{
    if (osd_home_store(service->options.home) && service->map)
        return LILIO_OK;
    struct osd_node_view view;
    osd_node_view(service->options.node, &view);
    enum lilio_err err = view.state == OSD_NODE_BLANK ? LILIO_E_BLANK : LILIO_E_UNAVAILABLE;
    return lilio_fail(info, err, "osd.%u is %s: %s", osd_node_id(service->options.node),
                      osd_node_state_name(view.state),
                      view.detail[0] ? view.detail : "it has no cluster map yet");
}

static enum lilio_err intake_put(struct osd_service *service, const struct proto_request *request,
                                 struct work *work, struct lilio_errinfo *info)
{
    struct proto_fragment_put put;
    enum lilio_err err = proto_fragment_put_unpack(request->body, service->arena, &put, info);
    if (err)
        return err;
    struct osd_check check = check_of(service, request);
    work->epoch = epoch_of(service);
    work->put = (struct osd_put){.payload = request->payload.data};
    err = osd_check_put(&check, &put, request->payload.size, &work->put.fragment, info);
    if (!err && osd_collector_knows(service->options.collector, put.key.oid))
        err = lilio_fail(info, LILIO_E_VERSION_GONE, "this run was collected already");
    if (!err)
        queue_push(&service->put_queue, work);
    return err;
}

static enum lilio_err intake_get(struct osd_service *service, const struct proto_request *request,
                                 struct work *work, struct lilio_errinfo *info)
{
    enum lilio_err err = proto_fragment_get_unpack(request->body, service->arena, &work->get, info);
    if (err)
        return err;
    struct osd_check check = check_of(service, request);
    struct base_fragment_key key = osd_check_key_of(&work->get.key);
    err = osd_check_key(&check, &key, info);
    if (!err &&
        (work->get.first_block >= CODEC_BLOCKS_MAX || work->get.block_count > CODEC_BLOCKS_MAX))
        err = lilio_fail(info, LILIO_E_INVALID, "blocks %u + %u of at most %u",
                         work->get.first_block, work->get.block_count, CODEC_BLOCKS_MAX);
    if (!err)
        queue_push(&service->get_queue, work);
    return err;
}

static enum lilio_err intake_verify(struct osd_service *service,
                                    const struct proto_request *request, struct work *work,
                                    struct lilio_errinfo *info)
{
    struct proto_fragment_verify verify;
    enum lilio_err err = proto_fragment_verify_unpack(request->body, service->arena, &verify, info);
    if (err)
        return err;
    struct osd_check check = check_of(service, request);
    work->verify.count = verify.keys_count;
    work->verify.done = 0;
    for (size_t i = 0; !err && i < verify.keys_count; i++) {
        work->verify.keys[i] = osd_check_key_of(&verify.keys[i]);
        err = osd_check_key(&check, &work->verify.keys[i], info);
    }
    if (!err)
        queue_push(&service->verify_queue, work);
    return err;
}

/* A client's, not our own worker's or a peer's that mends. */
static bool is_clients(const struct osd_service *service, const struct work *work)
{
    if (work->request->type->number == PROTO_MSG_fragment_get)
        return !work->get.repair;
    return work->request->type->number == PROTO_MSG_fragment_put &&
           work->server == service->options.servers[0];
}

static void intake_fragment(struct osd_service *service, struct proto_server *server,
                            struct proto_request **request)
{
    struct lilio_errinfo info = {0};
    struct work *work = NULL;
    enum lilio_err err = open_for_service(service, &info);
    if (!err) {
        work = work_take(service, server, *request);
        if (!work)
            err = lilio_fail(&info, LILIO_E_BUSY, "too many requests wait");
    }
    if (!err) {
        uint16_t number = (*request)->type->number;
        err = number == PROTO_MSG_fragment_put   ? intake_put(service, *request, work, &info)
              : number == PROTO_MSG_fragment_get ? intake_get(service, *request, work, &info)
                                                 : intake_verify(service, *request, work, &info);
    }
    if (service->map && (*request)->header.epoch > epoch_of(service))
        osd_node_member_wake(service->options.node, false); /* there is a newer map: fetch it */
    if (!err && is_clients(service, work))
        osd_node_note_served(service->options.node);
    if (!err)
        *request = NULL;
    else if (work)
        answer_error(service, work, err, info.text), *request = NULL;
    else
        refuse(service, server, request, err, info.text);
}

static void answer_ping(struct osd_service *service, struct proto_server *server,
                        struct proto_request **request)
{
    struct osd_node_view view;
    char name[32], detail[sizeof view.detail];
    osd_node_view(service->options.node, &view);
    (void)snprintf(name, sizeof name, "osd.%u", osd_node_id(service->options.node));
    struct proto_pong pong = {
        .node = base_slice_str(name),
        .software = base_slice_str(LILIO_VERSION),
        .cluster_id = osd_node_cluster(service->options.node),
        .state = base_slice_str(osd_node_state_name(view.state)),
        .detail = base_slice(detail, proto_utf8_clean(view.detail, detail, sizeof detail)),
        .uptime_ms = service->now_ms - service->started_ms,
    };
    proto_server_reply(server, request, &proto_type_pong, &pong, NULL, epoch_of(service));
}

static void answer_status(struct osd_service *service, struct proto_server *server,
                          struct proto_request **request)
{
    struct osd_node_view view;
    struct osd_store_stats stats;
    uint64_t refused = 0;
    osd_node_view(service->options.node, &view);
    osd_home_stats(service->options.home, &stats);
    for (size_t i = 0; i < service->options.server_count; i++) {
        struct proto_server_counters counters;
        proto_server_counters_get(service->options.servers[i], &counters);
        refused += counters.refused;
    }
    struct proto_osd_status status = {
        .osd = osd_node_id(service->options.node),
        .state = base_slice_str(osd_node_state_name(view.state)),
        .fragment_count = view.space.fragment_count,
        .used_bytes = view.space.used_bytes,
        .free_bytes = view.space.free_bytes,
        .put_count = service->counters.put_count,
        .get_count = service->counters.get_count,
        .sync_count = stats.sync_count,
        .refused_messages = refused,
        .busy_count = service->counters.busy_count,
        .incomplete = stats.incomplete,
        .corrupt_record_count = stats.corrupt_record_count,
        .torn_tail_bytes = stats.torn_tail_bytes,
        .index_rebuilt = stats.index_rebuilt,
    };
    proto_server_reply(server, request, &proto_type_osd_status, &status, NULL, epoch_of(service));
}

static void answer_rebuild(struct osd_service *service, struct proto_server *server,
                           struct proto_request **request)
{
    struct osd_rebuild *rebuild = service->options.rebuild;
    struct proto_rebuild_get get = {0};
    struct proto_rebuild state;
    struct lilio_errinfo info = {0};
    uint16_t number = (*request)->type->number;
    enum lilio_err err = LILIO_OK;
    if (!rebuild)
        err = lilio_fail(&info, LILIO_E_UNSUPPORTED, "this OSD does not rebuild");
    else if (number == PROTO_MSG_rebuild_get)
        err = proto_rebuild_get_unpack((*request)->body, service->arena, &get, &info);
    else if (number == PROTO_MSG_rebuild_start)
        err = osd_rebuild_start(rebuild, &info);
    else
        osd_rebuild_cancel(rebuild);
    if (!err && (err = osd_rebuild_get(rebuild, get.failures_from, service->arena, &state)))
        (void)lilio_fail(&info, err, "no memory for the state");
    if (err)
        refuse(service, server, request, err, info.text);
    else
        proto_server_reply(server, request, &proto_type_rebuild, &state, NULL, epoch_of(service));
}

static void answer_orphans(struct osd_service *service, struct proto_server *server,
                           struct proto_request **request)
{
    struct osd_orphans *orphans = service->options.orphans;
    struct proto_orphans_run order;
    struct proto_orphans state;
    struct lilio_errinfo info = {0};
    enum lilio_err err = LILIO_OK;
    if (!orphans)
        err = lilio_fail(&info, LILIO_E_UNSUPPORTED, "this OSD looks for no orphans");
    else if ((*request)->type->number == PROTO_MSG_orphans_run &&
             !(err = proto_orphans_run_unpack((*request)->body, service->arena, &order, &info)))
        osd_orphans_order(orphans, order.dry, order.now);
    if (!err && (err = osd_orphans_get(orphans, service->arena, &state)))
        (void)lilio_fail(&info, err, "no memory for the state");
    if (err)
        refuse(service, server, request, err, info.text);
    else
        proto_server_reply(server, request, &proto_type_orphans, &state, NULL, epoch_of(service));
}

static enum lilio_err scrub_order(struct osd_service *service, const struct proto_request *request,
                                  struct lilio_errinfo *info)
{
    struct proto_scrub_start start;
    enum lilio_err err = proto_scrub_start_unpack(request->body, service->arena, &start, info);
    if (err)
        return err;
    if (start.kind < 1 || start.kind > OSD_SCRUB_KINDS)
        return lilio_fail(info, LILIO_E_INVALID, "%u is no kind of scrub", start.kind);
    osd_scrub_order(service->options.scrub, (enum osd_scrub_kind)(start.kind - 1), start.rate);
    return LILIO_OK;
}

static void answer_scrub(struct osd_service *service, struct proto_server *server,
                         struct proto_request **request)
{
    struct proto_scrub state;
    struct lilio_errinfo info = {0};
    enum lilio_err err = LILIO_OK;
    if (!service->options.scrub)
        err = lilio_fail(&info, LILIO_E_UNSUPPORTED, "this OSD does not scrub");
    else if ((*request)->type->number == PROTO_MSG_scrub_start)
        err = scrub_order(service, *request, &info);
    if (!err && (err = osd_scrub_get(service->options.scrub, service->arena, &state)))
        (void)lilio_fail(&info, err, "no memory for the state");
    if (err)
        refuse(service, server, request, err, info.text);
    else
        proto_server_reply(server, request, &proto_type_scrub, &state, NULL, epoch_of(service));
}

/* Answers or queues one request. */
static void dispatch(struct osd_service *service, struct proto_server *server,
                     struct proto_request *request)
{
    proto_arena_clear(service->arena);
    switch (request->type->number) {
    case PROTO_MSG_fragment_put:
    case PROTO_MSG_fragment_get:
    case PROTO_MSG_fragment_verify: intake_fragment(service, server, &request); break;
    case PROTO_MSG_ping: answer_ping(service, server, &request); break;
    case PROTO_MSG_osd_status_get: answer_status(service, server, &request); break;
    case PROTO_MSG_rebuild_start:
    case PROTO_MSG_rebuild_get:
    case PROTO_MSG_rebuild_cancel: answer_rebuild(service, server, &request); break;
    case PROTO_MSG_orphans_run:
    case PROTO_MSG_orphans_get: answer_orphans(service, server, &request); break;
    case PROTO_MSG_scrub_start:
    case PROTO_MSG_scrub_get: answer_scrub(service, server, &request); break;
    default:
        refuse(service, server, &request, LILIO_E_UNSUPPORTED, "an OSD does not answer this");
        break;
    }
}

static void receive_waiting(struct osd_service *service)
{
    for (size_t i = 0; i < service->options.server_count; i++) {
        struct proto_server *server = service->options.servers[i];
        for (int count = 0; count < OSD_RECEIVE_ROUND; count++) {
            struct proto_request *request = proto_server_receive(server);
            if (!request)
                break;
            dispatch(service, server, request);
        }
    }
}

/* ---- puts ---- */

static size_t batch_collect(struct osd_service *service)
{
    size_t count = 0, bytes = 0;
    while (service->put_queue.first && count < OSD_BATCH_MAX) {
        size_t more = service->put_queue.first->put.fragment.payload_length;
        if (count > 0 && bytes + more > OSD_BATCH_BYTES)
            break;
        struct work *work = queue_pop(&service->put_queue);
        service->batch_works[count] = work;
        service->batch[count++] = work->put;
        bytes += more;
    }
    return count;
}

static void batch_answer(struct osd_service *service, size_t i, enum lilio_err err)
{
    struct work *work = service->batch_works[i];
    if (err) {
        answer_error(service, work, err, lilio_err_text(err));
        return;
    }
    struct proto_fragment_stored stored = {
        .incarnation = osd_home_incarnation(service->options.home),
        .epoch = work->epoch, /* whose slots are others' by now: COMMIT looks */
    };
    service->counters.put_count++;
    answer(service, work, &proto_type_fragment_stored, &stored, NULL);
}

/* One batch, one sync; answers after it. */
static void puts_store(struct osd_service *service)
{
    struct lilio_errinfo info = {0};
    size_t count = batch_collect(service);
    if (count == 0)
        return;
    enum lilio_err err = open_for_service(service, &info);
    struct osd_store *store = osd_home_store(service->options.home);
    bool failed = false;
    if (!err)
        store->ops->put(store, service->batch, count);
    if (!err && !osd_home_intact(service->options.home, /* full */ false))
        err = open_for_service(service, &info);
    for (size_t i = 0; i < count; i++) {
        enum lilio_err one = err ? err : service->batch[i].ret_err;
        failed |= one == LILIO_E_IO || one == LILIO_E_READ_ONLY;
        if (err)
            answer_error(service, service->batch_works[i], err, info.text);
        else
            batch_answer(service, i, one);
    }
    if (failed)
        osd_home_publish(service->options.home);
}

/* ---- gets ---- */

static void tell_corrupt(struct osd_service *service, const struct base_fragment_key *key,
                         const char *text)
{
    if (service->told_corrupt)
        return;
    service->told_corrupt = true;
    base_log_write(osd_node_log(service->options.node), BASE_LOG_WARN, "store", "corrupt_fragment",
                   "oid=%016llx%016llx stripe=%u index=%u reason=%s",
                   (unsigned long long)key->oid.high, (unsigned long long)key->oid.low, key->stripe,
                   key->index, text);
}

/* A missing fragment of a slot that is not ours is a matter of maps, not of repair. */
static enum lilio_err missing_or_moved(struct osd_service *service,
                                       const struct proto_request *request,
                                       const struct base_fragment_key *key,
                                       struct lilio_errinfo *info)
{
    struct osd_check check = check_of(service, request);
    struct lilio_errinfo slot = {0};
    enum lilio_err err = osd_check_slot(&check, key, &slot);
    if (err && info)
        *info = slot;
    return err ? err : LILIO_E_MISSING;
}

/* Bytes of payload to make room for: what is asked for, or a default fragment when that is "all",
 * or what the fragment really has when that was too little. */
static size_t get_bytes(const struct proto_fragment_get *get, uint32_t payload_length)
{
    size_t whole = payload_length     ? payload_length
                   : get->block_count ? CODEC_FRAGMENT_MAX
                                      : CODEC_FRAGMENT_DEFAULT;
    size_t asked = get->block_count ? (size_t)get->block_count * CODEC_BLOCK : whole;
    return asked < whole ? asked : whole;
}

struct reading {
    uint8_t *buffer, *payload;
    void *hint;
    uint32_t size;
    struct osd_fragment fragment;
};

/* EXHAUSTED: no buffer is free. */
static enum lilio_err fragment_read(struct osd_service *service,
                                    const struct proto_fragment_get *get, size_t bytes,
                                    struct reading *ret, struct lilio_errinfo *info)
{
    struct osd_store *store = osd_home_store(service->options.home);
    struct base_fragment_key key = osd_check_key_of(&get->key);
    uint32_t blocks = get->block_count ? get->block_count : CODEC_BLOCKS_MAX;
    size_t room;
    ret->buffer = osd_buffers_take(service->options.buffers, bytes, &room, &ret->hint);
    if (!ret->buffer)
        return LILIO_E_EXHAUSTED;
    enum lilio_err err =
        store->ops->get(store, &key, get->first_block, blocks, get->verify, ret->buffer, room,
                        &ret->fragment, service->key_room, &ret->payload, &ret->size, info);
    if (err)
        osd_buffers_release(NULL, ret->hint);
    return err;
}

/* Reads into a buffer that is large enough, whatever size the fragment has. */
static enum lilio_err fragment_read_any(struct osd_service *service,
                                        const struct proto_fragment_get *get, struct reading *ret,
                                        struct lilio_errinfo *info)
{
    struct osd_store *store = osd_home_store(service->options.home);
    struct base_fragment_key key = osd_check_key_of(&get->key);
    size_t first = get_bytes(get, 0);
    enum lilio_err err = fragment_read(service, get, first, ret, info);
    if (err != LILIO_E_INVALID)
        return err;
    if (store->ops->stat(store, &key, &ret->fragment, service->key_room, NULL))
        return err;
    size_t second = get_bytes(get, ret->fragment.payload_length);
    return second > first ? fragment_read(service, get, second, ret, info) : err;
}

static void get_answer(struct osd_service *service, struct work *work, struct reading *reading)
{
    uint8_t checksums[4 * CODEC_BLOCKS_MAX];
    for (uint32_t i = 0; i < reading->fragment.block_count; i++)
        base_le32_put(checksums + 4 * (size_t)i, reading->fragment.block_checksums[i]);
    struct proto_fragment reply = {
        .payload_length = reading->fragment.payload_length,
        .first_block = work->get.first_block,
        .block_checksums = base_slice(checksums, 4 * (size_t)reading->fragment.block_count),
    };
    struct proto_payload payload = {
        .data = reading->payload,
        .size = reading->size,
        .release = osd_buffers_release,
        .hint = reading->hint,
    };
    service->counters.get_count++;
    answer(service, work, &proto_type_fragment, &reply, &payload);
}

/* False if the get has to wait for a buffer. */
static bool get_serve(struct osd_service *service, struct work *work)
{
    struct lilio_errinfo info = {0};
    struct reading reading;
    struct base_fragment_key key = osd_check_key_of(&work->get.key);
    enum lilio_err err = open_for_service(service, &info);
    if (!err)
        err = fragment_read_any(service, &work->get, &reading, &info);
    if (err == LILIO_E_EXHAUSTED) {
        if (service->now_ms - work->since_ms < OSD_BUFFER_WAIT_MS)
            return false;
        err = lilio_fail(&info, LILIO_E_BUSY, "all reply buffers are in use");
    }
    if (err == LILIO_E_MISSING && !work->get.elsewhere)
        err = missing_or_moved(service, work->request, &key, &info);
    if (err == LILIO_E_CORRUPT)
        tell_corrupt(service, &key, info.text);
    (void)queue_pop(&service->get_queue);
    if (err)
        answer_error(service, work, err, info.text[0] ? info.text : lilio_err_text(err));
    else
        get_answer(service, work, &reading);
    return true;
}

static void gets_serve(struct osd_service *service)
{
    service->starved = false;
    for (int i = 0; i < OSD_GETS_ROUND && service->get_queue.first && !service->starved; i++)
        service->starved = !get_serve(service, service->get_queue.first);
}

/* ---- verifies ---- */

static void verify_one(struct osd_service *service, const struct base_fragment_key *key,
                       struct proto_fragment_state *ret)
{
    struct osd_store *store = osd_home_store(service->options.home);
    struct lilio_errinfo info = {0};
    struct osd_fragment fragment;
    uint8_t *payload;
    uint32_t size;
    *ret = (struct proto_fragment_state){0};
    ret->err =
        store->ops->get(store, key, 0, CODEC_BLOCKS_MAX, /* verify */ true, service->verify_buffer,
                        verify_room, &fragment, service->key_room, &payload, &size, &info);
    if (ret->err == LILIO_E_CORRUPT)
        tell_corrupt(service, key, info.text);
    if (ret->err)
        return;
    ret->checksum = codec_fragment_checksum(fragment.block_checksums, fragment.block_count);
    ret->payload_length = fragment.payload_length;
}

static void verifies_serve(struct osd_service *service)
{
    for (int i = 0; i < OSD_VERIFIES_ROUND && service->verify_queue.first;) {
        struct work *work = service->verify_queue.first;
        struct lilio_errinfo info = {0};
        enum lilio_err err = open_for_service(service, &info);
        for (; !err && i < OSD_VERIFIES_ROUND && work->verify.done < work->verify.count; i++) {
            size_t at = work->verify.done++;
            verify_one(service, &work->verify.keys[at], &work->verify.states[at]);
        }
        if (!err && work->verify.done < work->verify.count)
            return;
        (void)queue_pop(&service->verify_queue);
        struct proto_fragment_states reply = {
            .states = work->verify.states,
            .states_count = work->verify.count,
        };
        if (err)
            answer_error(service, work, err, info.text);
        else
            answer(service, work, &proto_type_fragment_states, &reply, NULL);
    }
}

/* ---- housekeeping ---- */

static bool idle(const struct osd_service *service)
{
    return !service->put_queue.first && !service->get_queue.first && !service->verify_queue.first;
}

/* NULL: there is none that can be written. */
static struct osd_store *healthy_store(const struct osd_service *service)
{
    struct osd_store *store = osd_home_store(service->options.home);
    return store && !store->ops->health(store) ? store : NULL;
}

static void collect(struct osd_service *service)
{
    struct osd_store *store = healthy_store(service);
    if (!store || !service->map)
        service->collect_more = false; /* nothing that could be gone on with */
    if (!store || !service->map ||
        (!service->collect_more && service->now_ms < service->collect_ms))
        return;
    struct lilio_errinfo info = {0};
    enum osd_collect_result result = osd_collector_step(service->options.collector, store,
                                                        proto_map_ref_get(service->map), &info);
    service->collect_more = result == OSD_COLLECT_MORE || result == OSD_COLLECT_DONE;
    service->collect_ms = service->now_ms + (result == OSD_COLLECT_FAILED ? SECOND_MS : 0);
    if (result == OSD_COLLECT_FAILED)
        base_log_write(osd_node_log(service->options.node), BASE_LOG_WARN, "store",
                       "collect_failed", "reason=%s retry_ms=%d", info.text, SECOND_MS);
    service->collected |= result == OSD_COLLECT_DONE;
    if (service->collected && !service->collect_more) {
        service->collected = false;
        osd_home_publish(service->options.home); /* what is left is told with what was deleted */
        osd_node_member_wake(service->options.node, /* again */ false); /* to confirm them */
    }
}

static void housekeeping(struct osd_service *service)
{
    if (service->now_ms >= service->second_ms) {
        service->second_ms = service->now_ms + SECOND_MS;
        service->told_corrupt = false;
        if (osd_home_intact(service->options.home, /* full */ true))
            osd_home_publish(service->options.home);
    }
    struct osd_store *store = healthy_store(service);
    bool more = service->tick_more && idle(service);
    if (!store)
        service->tick_more = false;
    if (!store || (!more && service->now_ms < service->tick_ms))
        return;
    struct lilio_errinfo info = {0};
    service->tick_ms = service->now_ms + TICK_MS;
    service->tick_more = false;
    enum lilio_err err = store->ops->tick(store, &service->tick_more, &info);
    if (!err)
        return;
    service->tick_more = false; /* not at once: it would fail again */
    base_log_write(osd_node_log(service->options.node), BASE_LOG_WARN, "store",
                   "housekeeping_failed", "reason=%s", info.text);
}

/* ---- rounds ---- */

static int wait_ms(const struct osd_service *service, int timeout_ms)
{
    if (service->starved && !service->put_queue.first && !service->verify_queue.first)
        return STARVED_WAIT_MS;
    if (!idle(service) || service->collect_more || service->tick_more)
        return 0;
    return timeout_ms < TICK_MS ? timeout_ms : TICK_MS;
}

static void wait_for_work(struct osd_service *service, int timeout_ms)
{
    struct proto_wait_item items[OSD_SERVERS_MAX + 2] = {0};
    size_t count = 0;
    for (size_t i = 0; i < service->options.server_count; i++)
        items[count++].server = service->options.servers[i];
    items[count++].fd = osd_node_owner_fd(service->options.node);
    if (service->options.signal_fd >= 0)
        items[count++].fd = service->options.signal_fd;
    (void)proto_wait(items, count, wait_ms(service, timeout_ms)); /* all sources are looked at */
}

static void map_refresh(struct osd_service *service)
{
    if (osd_node_epoch(service->options.node) == epoch_of(service))
        return;
    proto_map_ref_drop(&service->map);
    service->map = osd_node_map_take(service->options.node);
}

void osd_service_round(struct osd_service *service, int timeout_ms)
{
    wait_for_work(service, timeout_ms);
    service->now_ms = base_now_ms(osd_node_clock(service->options.node));
    osd_node_calls_run(service->options.node);
    map_refresh(service);
    receive_waiting(service);
    puts_store(service);
    gets_serve(service);
    verifies_serve(service);
    collect(service);
    housekeeping(service);
}

void osd_service_counters_get(const struct osd_service *service, struct osd_service_counters *ret)
{
    *ret = service->counters;
}

/* ---- life ---- */

enum lilio_err osd_service_new(const struct osd_service_options *options,
                               struct osd_service **ret_service)
{
    struct osd_service *service = calloc(1, sizeof *service);
    if (!service)
        return LILIO_E_NOMEM;
    service->options = *options;
    queue_init(&service->put_queue);
    queue_init(&service->get_queue);
    queue_init(&service->verify_queue);
    service->started_ms = service->now_ms = base_now_ms(osd_node_clock(options->node));
    service->all = calloc(OSD_REQUESTS_MAX, sizeof *service->all);
    service->verify_buffer = aligned_alloc(BASE_DISK_BLOCK, verify_room);
    if (!service->all || !service->verify_buffer || proto_arena_new(&service->arena)) {
        osd_service_free(&service);
        return LILIO_E_NOMEM;
    }
    for (size_t i = 0; i < OSD_REQUESTS_MAX; i++)
        work_give(service, &service->all[i]);
    *ret_service = service;
    return LILIO_OK;
}

static void queue_drop(struct queue *queue)
{
    for (struct work *work; (work = queue_pop(queue)) != NULL;)
        proto_request_drop(&work->request);
}

void osd_service_free(struct osd_service **service)
{
    struct osd_service *mine = *service;
    *service = NULL;
    if (!mine)
        return;
    if (mine->all) {
        queue_drop(&mine->put_queue);
        queue_drop(&mine->get_queue);
        queue_drop(&mine->verify_queue);
    }
    proto_map_ref_drop(&mine->map);
    proto_arena_free(&mine->arena);
    free(mine->verify_buffer);
    free(mine->all);
    free(mine);
}
