/* Channels: one DEALER to one server.
 *
 * Whether the connection broke is seen each time the socket's events are read. A break with
 * requests under way is remembered until proto_channel_ready has reported it, even if the
 * connection stands again by then: those requests are lost, and their sender has to know. */
#include "proto/transport_priv.h"

#include <stdlib.h>

#include "base/env.h"

#include "base/banned.h"

enum {
    INPROC_NAP_MS = 5, /* how often a wait looks whether an inproc name is served by now */
    REVIVE_MS = 2000,  /* how long a channel stays down before it connects anew */
};

struct proto_channel {
    struct proto_context *context;
    struct proto_socket socket;
    char endpoint[PROTO_ENDPOINT_BYTES_MAX];
    bool is_inproc;
    uint64_t inproc_generation; /* of the server the socket is connected to; 0 = none */
    bool stood;                 /* the connection stood when last looked at */
    bool lost; /* it broke with requests under way, and proto_channel_ready has not said so yet */
    uint64_t begun_ms;  /* when connecting began, as long as there is no connection */
    uint64_t under_way; /* requests sent over this connection minus replies */
    bool one_way;       /* nothing is ever under way */
    uint64_t refused;
    struct base_buffer header, body; /* of the request being made */
};
struct reply {
    struct proto_reply public;  /* first: what callers hold */
    struct proto_frames frames; /* header, body, payload */
};

/* Connects an inproc channel to the server of its name that there is now. */
static void follow_inproc(struct proto_channel *channel)
{
    struct proto_inproc *table = &channel->context->inproc;
    (void)pthread_mutex_lock(&table->lock); /* a plain mutex that is never destroyed while locked */
    uint64_t generation = proto_inproc_find(table, channel->endpoint);
    if (generation != channel->inproc_generation) {
        if (channel->inproc_generation)
            proto_socket_disconnect(&channel->socket, channel->endpoint);
        if (generation && proto_socket_connect(&channel->socket, channel->endpoint, NULL))
            generation = 0; /* no memory: tried again at the next look */
        channel->inproc_generation = generation;
    }
    (void)pthread_mutex_unlock(&table->lock); /* locked above */
}

/* ZeroMQ gives a connection up for good when the peer breaks its protocol. What listens there may
 * be replaced by what should, so a channel that has been down for a while begins anew. */
static void revive(struct proto_channel *channel)
{
    uint64_t now = base_now_ms(base_clock_system());
    if (now - channel->begun_ms < REVIVE_MS)
        return;
    proto_socket_disconnect(&channel->socket, channel->endpoint);
    if (proto_socket_connect(&channel->socket, channel->endpoint, NULL) == LILIO_OK)
        channel->begun_ms = now; /* otherwise no memory: tried again at the next look */
}

/* Fewer than half a queue under way cannot have filled the queue: then a socket that takes nothing
 * has no peer. */
static bool may_be_full(const struct proto_channel *channel)
{
    return channel->under_way >= PROTO_CHANNEL_QUEUE_MAX / 2;
}

unsigned proto_channel_events(struct proto_channel *channel, bool *ret_broke, int *ret_nap_ms)
{
    uint64_t generation = channel->inproc_generation;
    if (channel->is_inproc)
        follow_inproc(channel);
    unsigned events = proto_socket_events(&channel->socket);
    bool stands = events & PROTO_WRITABLE, down = !stands && !may_be_full(channel);
    if (channel->stood && (down || generation != channel->inproc_generation)) {
        *ret_broke |= channel->under_way > 0 && !channel->lost;
        channel->lost |= channel->under_way > 0;
        channel->under_way = 0;
        channel->begun_ms = base_now_ms(base_clock_system());
    }
    channel->stood = stands;
    if (!down)
        return events;
    if (!channel->is_inproc)
        revive(channel);
    int nap_ms = channel->is_inproc ? INPROC_NAP_MS : REVIVE_MS;
    if (*ret_nap_ms < 0 || *ret_nap_ms > nap_ms)
        *ret_nap_ms = nap_ms;
    return events;
}

/* For callers that are not waiting. */
static unsigned look(struct proto_channel *channel)
{
    bool broke = false;
    int nap_ms = -1;
    return proto_channel_events(channel, &broke, &nap_ms);
}

enum lilio_err proto_channel_new(struct proto_context *context, const char *endpoint,
                                 struct proto_channel **ret_channel, struct lilio_errinfo *info)
{
    enum proto_endpoint_kind kind;
    enum lilio_err err = proto_endpoint_parse(endpoint, &kind, info);
    if (err)
        return err;
    if (strlen(endpoint) >= PROTO_ENDPOINT_BYTES_MAX)
        return lilio_fail(info, LILIO_E_ADDRESS, "%.200s...: address too long", endpoint);
    struct proto_channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a channel");
    channel->context = context;
    channel->is_inproc = kind == PROTO_ENDPOINT_INPROC;
    channel->begun_ms = base_now_ms(base_clock_system());
    memcpy(channel->endpoint, endpoint, strlen(endpoint) + 1);
    err = proto_socket_channel(context, endpoint, &channel->socket);
    if (err)
        err = lilio_fail(info, err, "no memory or descriptor for a channel");
    else if (!channel->is_inproc)
        err = proto_socket_connect(&channel->socket, endpoint, info);
    if (err)
        proto_channel_free(&channel);
    else
        *ret_channel = channel;
    return err;
}

void proto_channel_free(struct proto_channel **channel)
{
    struct proto_channel *mine = *channel;
    *channel = NULL;
    if (!mine)
        return;
    proto_socket_close(&mine->socket);
    base_buffer_release(&mine->header);
    base_buffer_release(&mine->body);
    free(mine);
}

struct proto_socket *proto_channel_socket(struct proto_channel *channel)
{
    return &channel->socket;
}

bool proto_channel_ready(struct proto_channel *channel)
{
    bool stands = look(channel) & PROTO_WRITABLE;
    bool lost = channel->lost;
    channel->lost = false;
    return stands && !lost;
}

void proto_channel_one_way(struct proto_channel *channel)
{
    channel->one_way = true;
    if (!channel->is_inproc)
        (void)!proto_socket_hurry(&channel->socket, channel->endpoint); /* down: it is revived */
}

uint64_t proto_channel_refused(const struct proto_channel *channel)
{
    return channel->refused;
}

enum lilio_err proto_channel_send(struct proto_channel *channel, const struct proto_header *header,
                                  const struct proto_type *type, const void *value,
                                  const struct proto_payload *payload)
{
    struct proto_header full = *header;
    full.type = type->number;
    base_buffer_clear(&channel->header);
    base_buffer_clear(&channel->body);
    enum lilio_err err = proto_header_pack(&full, &channel->header);
    if (!err)
        err = proto_pack(type, value, &channel->body);
    if (err) {
        proto_payload_release(payload);
        return err;
    }
    struct proto_frames frames = {0};
    err = proto_frames_build(&frames, base_buffer_slice(&channel->header),
                             base_buffer_slice(&channel->body), payload);
    if (err) {
        proto_frames_close(&frames);
        return err;
    }
    if (channel->is_inproc)
        (void)look(channel); /* connects to a server that has appeared */
    err = proto_frames_send(&channel->socket, &frames);
    if (err == LILIO_E_UNAVAILABLE && may_be_full(channel))
        return LILIO_E_BUSY;
    if (err)
        return err;
    channel->under_way += !channel->one_way;
    channel->stood = true;
    return LILIO_OK;
}

static enum lilio_err reply_decode(struct reply *reply)
{
    struct proto_reply *public = &reply->public;
    struct proto_frames *frames = &reply->frames;
    if (frames->count < 2 || frames->count > 3)
        return LILIO_E_MALFORMED;
    struct base_slice header = proto_frames_bytes(frames, 0);
    public->body = proto_frames_bytes(frames, 1);
    public->payload = proto_frames_bytes(frames, 2);
    if (header.size > PROTO_HEADER_BYTES_MAX || public->body.size > PROTO_BODY_BYTES_MAX ||
        public->payload.size > PROTO_PAYLOAD_BYTES_MAX)
        return LILIO_E_TOO_BIG;
    enum lilio_err err = proto_header_unpack(header, NULL, &public->header, NULL);
    if (err)
        return err;
    public->type = proto_type_find(public->header.type);
    return public->type ? LILIO_OK : LILIO_E_UNSUPPORTED;
}

static void reply_free(struct reply *reply)
{
    proto_frames_close(&reply->frames);
    free(reply);
}

struct proto_reply *proto_channel_receive(struct proto_channel *channel)
{
    for (int refused = 0; refused < PROTO_REFUSED_PER_CALL_MAX; refused++) {
        struct reply *reply = malloc(sizeof *reply);
        if (!reply)
            return NULL;
        reply->public = (struct proto_reply){0};
        if (!proto_frames_receive(&channel->socket, &reply->frames)) {
            free(reply);
            return NULL;
        }
        if (channel->under_way > 0)
            channel->under_way--;
        if (!reply_decode(reply))
            return &reply->public;
        channel->refused++;
        reply_free(reply);
    }
    return NULL;
}

void proto_reply_free(struct proto_reply **reply)
{
    if (*reply)
        reply_free((struct reply *)*reply);
    *reply = NULL;
}
