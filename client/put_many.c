/* Many small objects by one caller: their COMMITs go to the leader one behind the other over one
 * connection, up to in_flight of them under way, and are answered in any order.
 *
 * This way knows good news only. When anything goes wrong (the connection breaks, another one
 * leads, nothing is heard, BUSY) it is given up: what is under way is asked for over the lane's
 * line, request by request with the ids it was sent with, and then a new connection goes to whom
 * the line found. What the coordinators do not keep is put like any other object.
 */
#include "client/put.h"

#include <stdlib.h>

#include "base/mark.h"
#include "client/lane.h"
#include "client/session.h"
#include "proto/leader.h"

#include "base/banned.h"

enum { KIND_OBJECT = 1 };

struct slot {
    struct lilio_small object;
    struct client_ticket ticket;
    uint32_t crc;
    bool used, posted;
    uint64_t posted_ms;
};
struct many {
    struct lilio_client *client;
    const char *bucket_name;
    const struct lilio_put_stream *stream;
    struct client_bucket bucket;
    struct client_lane *lane;
    struct client_session *session;
    bool session_closed;           /* another one is taken when nothing of it is under way */
    struct proto_channel *channel; /* NULL: none; what is next goes over the line */
    uint64_t epoch, looked_ms;
    struct slot *slots;
    size_t room, under_way;
    bool dry; /* nothing more comes */
};

static void tell(struct many *many, const struct lilio_small *object, enum lilio_err err,
                 const struct lilio_put_result *result, const struct lilio_errinfo *info)
{
    many->stream->done(many->stream->context, object, err, result, info);
}

/* ---- one object ---- */

static struct proto_commit make_commit(const struct many *many, const struct slot *slot)
{
    const struct lilio_small *object = &slot->object;
    return (struct proto_commit){
        .bucket_id = many->bucket.id,
        .key = base_slice_str(object->key),
        .row = {.kind = KIND_OBJECT,
                .logical_size = object->size,
                .inline_bytes = base_slice(object->data, object->size),
                .crc32c = slot->crc,
                .has_crc32c = true},
        .lowest_epoch = many->epoch,
        .quorum = (uint8_t)client_quorum(&many->bucket.profile, many->bucket.quorum),
    };
}

/* The slot is free and its caller told. */
static void finish(struct many *many, struct slot *slot, enum lilio_err err,
                   const struct proto_committed *committed, const struct lilio_errinfo *info)
{
    struct lilio_put_result result = {0};
    if (err == LILIO_OK)
        result = (struct lilio_put_result){
            .version = client_version_public(committed->version),
            .size = slot->object.size,
            .modified_ms = committed->modified_ms,
            .crc32c = slot->crc,
            .durable = committed->durable,
            .total = committed->total,
            .coordinators = committed->coordinators,
            .coordinators_total = committed->coordinators_total,
        };
    else if (err == LILIO_E_NO_BUCKET)
        client_bucket_forget(many->client, many->bucket.name);
    client_session_ticket_done(many->session, &slot->ticket);
    slot->used = false;
    many->under_way--;
    tell(many, &slot->object, err, &result, info);
}

struct memory {
    const uint8_t *data;
    size_t left;
};

static enum lilio_err memory_read(void *context, void *buffer, size_t size, size_t *ret_size,
                                  struct lilio_errinfo *info)
{
    struct memory *memory = context;
    (void)info;
    *ret_size = size < memory->left ? size : memory->left;
    if (*ret_size > 0)
        memcpy(buffer, memory->data, *ret_size);
    memory->data += *ret_size;
    memory->left -= *ret_size;
    return LILIO_OK;
}

static void put_whole(struct many *many, const struct lilio_small *object)
{
    struct memory memory = {object->data, object->size};
    struct lilio_source source = {.read = memory_read, .context = &memory, .size = object->size};
    struct lilio_put_result result = {0};
    struct lilio_errinfo info = {0};
    enum lilio_err err =
        lilio_put(many->client, many->bucket_name, object->key, &source, NULL, &result, &info);
    tell(many, object, err, &result, &info);
}

/* Nothing was stored, that is certain: once more, in a new session or in fragments. */
static void begin_again(struct many *many, struct slot *slot)
{
    client_session_ticket_done(many->session, &slot->ticket);
    slot->used = false;
    many->under_way--;
    put_whole(many, &slot->object);
}

/* True: the first answer to this object says that it has to be put another way. */
static bool other_way(struct many *many, const struct slot *slot, enum lilio_err err)
{
    if (err == LILIO_E_SESSION_CLOSED) {
        client_session_closed(many->client, many->session);
        many->session_closed = true;
        return true;
    }
    if (err != LILIO_E_INVALID || slot->object.size == 0)
        return false;
    LILIO_MARK("client/inline_refused");
    client_session_inline_refused(many->session);
    return true;
}

/* Over the line, until it is answered (then true) or the patience is over. */
static bool ask(struct many *many, struct slot *slot)
{
    struct proto_commit request = make_commit(many, slot);
    struct client_call call = {.type = &proto_type_commit,
                               .value = &request,
                               .reply_type = &proto_type_committed,
                               .ticket = &slot->ticket,
                               .sent_before = slot->posted};
    struct proto_committed committed;
    struct client_answer answer = {0};
    struct lilio_errinfo info = {0};
    enum lilio_err err =
        client_control_call(&many->lane->control, &call, &committed, &answer, &info);
    bool heard = answer.reply;
    client_answer_release(&answer);
    if (other_way(many, slot, err))
        begin_again(many, slot);
    else
        finish(many, slot, err, &committed, &info);
    return heard;
}

/* ---- the connection ---- */

/* Gives the connection up; everything under way is asked for. One silence is waited for, not one
 * for each. */
static void fall_back(struct many *many)
{
    struct client_control *control = &many->lane->control;
    LILIO_MARK("client/many_fell_back");
    proto_channel_free(&many->channel);
    client_control_patience(control);
    for (size_t i = 0; i < many->room; i++)
        if (many->slots[i].used && ask(many, &many->slots[i]))
            client_control_patience(control);
    client_control_patience_end(control);
}

/* To whom the line asked last. Without one, the line does it all. */
static void connect(struct many *many)
{
    if (many->channel || !many->lane->control.line.channel)
        return;
    enum lilio_err err = proto_channel_new(many->client->context, many->lane->control.line.endpoint,
                                           &many->channel, NULL);
    (void)err; /* tried again with the next object */
}

static void post(struct many *many, struct slot *slot)
{
    struct proto_commit request = make_commit(many, slot);
    struct proto_header header = client_control_header(&many->lane->control, &slot->ticket);
    header.deadline_ms = many->client->timeout_ms;
    enum lilio_err err = LILIO_E_UNAVAILABLE;
    if (many->channel)
        err = proto_channel_send(many->channel, &header, &proto_type_commit, &request, NULL);
    slot->posted = err == LILIO_OK;
    if (slot->posted)
        slot->posted_ms = client_now_ms(many->client);
    else
        (void)ask(many, slot); /* its caller was told */
}

static struct slot *find(struct many *many, const struct proto_header *header)
{
    if (header->session != client_session_id(many->session))
        return NULL;
    for (size_t i = 0; i < many->room; i++)
        if (many->slots[i].used && many->slots[i].ticket.sequence == header->sequence)
            return &many->slots[i];
    return NULL;
}

/* False: an answer that is no good news for anybody. */
static bool take_error(struct many *many, struct slot *slot, const struct proto_error *error)
{
    enum lilio_err err = error->code < 0 ? (enum lilio_err)error->code : LILIO_E_MALFORMED;
    struct lilio_errinfo info = {0};
    if (err == LILIO_E_NOT_LEADER || err == LILIO_E_UNAVAILABLE || err == LILIO_E_BUSY ||
        err == LILIO_E_EXHAUSTED || err == LILIO_E_MALFORMED) {
        slot->posted = err == LILIO_E_MALFORMED || error->taken; /* else it was not taken */
        return false;
    }
    if (other_way(many, slot, err)) {
        begin_again(many, slot);
        return true;
    }
    (void)lilio_fail(&info, err, "%.*s", (int)error->text.size, (const char *)error->text.data);
    finish(many, slot, err, NULL, &info);
    return true;
}

static bool take(struct many *many, const struct proto_reply *reply)
{
    struct slot *slot = find(many, &reply->header);
    struct proto_committed committed;
    struct proto_error error;
    client_note_epoch(many->client, reply->header.epoch);
    if (!slot)
        return true; /* nobody waits for it any more */
    proto_arena_clear(many->lane->arena);
    if (reply->type == &proto_type_error)
        return !proto_error_unpack(reply->body, many->lane->arena, &error, NULL) &&
               take_error(many, slot, &error);
    if (reply->type != &proto_type_committed ||
        proto_committed_unpack(reply->body, many->lane->arena, &committed, NULL))
        return false;
    finish(many, slot, LILIO_OK, &committed, NULL);
    return true;
}

/* Has anything been silent for longer than a leader may be? Looked at now and then. */
static bool silent(struct many *many)
{
    uint64_t now = client_now_ms(many->client);
    if (now - many->looked_ms < CLIENT_TICK_MS)
        return false;
    many->looked_ms = now;
    for (size_t i = 0; i < many->room; i++)
        if (many->slots[i].used && now - many->slots[i].posted_ms >= PROTO_LEADER_ATTEMPT_MS)
            return true;
    return false;
}

/* Waits for answers and takes all that are there. */
static void gather(struct many *many)
{
    struct proto_wait_item item = {.channel = many->channel, .fd = -1};
    struct proto_reply *reply;
    bool good = true;
    (void)proto_wait(&item, 1, CLIENT_TICK_MS); /* what came is looked at */
    while (good && (reply = proto_channel_receive(many->channel)) != NULL) {
        good = take(many, reply);
        proto_reply_free(&reply);
    }
    if (!good || (!item.ret_readable && !proto_channel_ready(many->channel)) || silent(many))
        fall_back(many);
}

/* ---- all of them ---- */

static void begin(struct many *many, struct slot *slot, const struct lilio_small *object)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = client_key_check(object->key, &info);
    if (err == LILIO_OK && object->size > client_session_inline_max(many->session)) {
        put_whole(many, object);
        return;
    }
    if (err == LILIO_OK && client_session_ticket(many->session, &slot->ticket) != LILIO_OK)
        err = lilio_fail(&info, LILIO_E_NOMEM, "no memory for a request");
    if (err != LILIO_OK) {
        tell(many, object, err, NULL, &info);
        return;
    }
    slot->object = *object;
    slot->crc = codec_crc32c(0, object->data, object->size);
    slot->used = true;
    slot->posted = false;
    many->under_way++;
    post(many, slot);
}

static enum lilio_err take_session(struct many *many, struct lilio_errinfo *info)
{
    client_session_drop(&many->session);
    many->session_closed = false;
    return client_session_take(many->client, &many->lane->control, &many->session, info);
}

/* As many as may be under way. */
static void fill(struct many *many)
{
    struct lilio_small object;
    for (size_t i = 0; i < many->room && !many->session_closed; i++) {
        if (many->slots[i].used)
            continue;
        many->dry = !many->stream->next(many->stream->context, &object);
        if (many->dry)
            break;
        connect(many);
        begin(many, &many->slots[i], &object);
    }
}

static enum lilio_err run(struct many *many, struct lilio_errinfo *info)
{
    while (!many->dry || many->under_way > 0) {
        if (client_cancelled(many->client)) {
            fall_back(many); /* the line knows at once that nobody waits */
            return lilio_fail(info, LILIO_E_CANCELLED, "cancelled");
        }
        enum lilio_err err = LILIO_OK;
        if (many->session_closed && many->under_way == 0)
            err = take_session(many, info);
        if (err != LILIO_OK)
            return err;
        if (!many->dry)
            fill(many);
        if (many->under_way > 0)
            gather(many);
    }
    return LILIO_OK;
}

static enum lilio_err prepare(struct many *many, struct lilio_errinfo *info)
{
    struct client_control *control = &many->lane->control;
    struct proto_map_ref *map;
    enum lilio_err err = client_bucket_find(many->client, control, many->bucket_name,
                                            /* cached */ true, &many->bucket, info);
    if (err == LILIO_OK)
        err = client_map_get(many->client, control, /* min_epoch */ 0, &map, info);
    if (err != LILIO_OK)
        return err;
    many->epoch = proto_map_ref_get(map)->epoch;
    proto_map_ref_drop(&map);
    return take_session(many, info);
}

enum lilio_err lilio_put_many(struct lilio_client *client, const char *bucket,
                              const struct lilio_put_stream *stream, struct lilio_errinfo *info)
{
    if (stream->in_flight == 0 || stream->in_flight > LILIO_IN_FLIGHT_MAX)
        return lilio_fail(info, LILIO_E_INVALID, "%u in flight: 1 to %d are possible",
                          stream->in_flight, LILIO_IN_FLIGHT_MAX);
    struct many many = {.client = client,
                        .bucket_name = bucket,
                        .stream = stream,
                        .room = stream->in_flight,
                        .slots = calloc(stream->in_flight, sizeof *many.slots)};
    if (!many.slots)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for %u puts", stream->in_flight);
    enum lilio_err err = client_lane_take(client, &many.lane, info);
    if (err == LILIO_OK)
        err = prepare(&many, info);
    if (err == LILIO_OK)
        err = run(&many, info);
    proto_channel_free(&many.channel);
    client_session_drop(&many.session);
    client_lane_give(&many.lane);
    free(many.slots);
    return err;
}

enum lilio_err lilio_inline_max(struct lilio_client *client, uint32_t *ret_bytes,
                                struct lilio_errinfo *info)
{
    struct client_lane *lane = NULL;
    struct client_session *session = NULL;
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err == LILIO_OK)
        err = client_session_take(client, &lane->control, &session, info);
    if (err == LILIO_OK)
        *ret_bytes = client_session_inline_max(session);
    client_session_drop(&session);
    client_lane_give(&lane);
    return err;
}
