/* ZeroMQ sockets as servers and channels (this is the only file that includes zmq.h).
 *
 * How it works:
 *  - A server is a ROUTER in mandatory mode, a channel a DEALER with ZMQ_IMMEDIATE: messages are
 * queued only for a peer that is connected, so "writable" means "a connection stands". Nothing ever
 * blocks but proto_wait.
 *  - A message is two or three frames. Frames are taken in whole before they are looked at; surplus
 * ones are drained.
 *  - Whether a channel's connection broke is seen each time its events are read. A break with
 * requests under way is remembered until proto_channel_ready has reported it, even if the
 * connection stands again by then.
 *  - Sockets in the filesystem are bound here and handed to ZeroMQ (ZMQ_USE_FD), because ZeroMQ
 * unlinks whatever has the name, and unlinks it again some time after the socket was closed.
 *
 * What can go wrong: a peer dies (replies to it are counted as unroutable, requests of ours are
 * reported as lost), a peer sends rubbish (refused, counted), memory runs out (the message is
 * dropped as if the network had lost it). Bytes that are not even ZeroMQ's protocol end in libzmq.
 * libzmq does not bound the number of frames of a message that is not finished, which is why
 * servers listen only where this user's own programs can reach them, unless told otherwise.
 *
 * No ZeroMQ heartbeats below ten seconds: a server that lets requests queue up stops reading,
 * answers no heartbeat, and would lose its clients when it is busiest. */
#include "proto/transport.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>

#include "base/env.h"
#include "proto/endpoint_priv.h"
#include "proto/inproc_priv.h"

#include "base/banned.h"

enum {
    FRAMES_MAX = 4, /* routing id, header, body, payload */
    PEER_MESSAGES_DEFAULT = 16,
    PEER_REPLIES_MAX = 256,   /* replies queued per peer before they are dropped */
    CHANNEL_QUEUE_MAX = 1000, /* requests queued on a channel before it is busy */
    REFUSED_PER_CALL_MAX = 64,
    SOCKETS_MAX = 8192,
    ENDPOINT_BYTES_MAX = 512,
    WAIT_ITEMS_MAX = 1024,
    INPROC_POLL_MS = 5, /* how often a wait looks whether an inproc name is served by now */
    FRAME_BYTES_MAX = PROTO_BODY_BYTES_MAX > PROTO_PAYLOAD_BYTES_MAX ? PROTO_BODY_BYTES_MAX
                                                                     : PROTO_PAYLOAD_BYTES_MAX,
};

struct proto_context {
    void *zmq;
    struct proto_inproc inproc;
};

enum lilio_err proto_context_new(unsigned io_threads, struct proto_context **ret_context)
{
    struct proto_context *context = calloc(1, sizeof *context);
    if (!context)
        return LILIO_E_NOMEM;
    context->zmq = zmq_ctx_new();
    if (!context->zmq || zmq_ctx_set(context->zmq, ZMQ_IO_THREADS, (int)io_threads) ||
        zmq_ctx_set(context->zmq, ZMQ_MAX_SOCKETS, SOCKETS_MAX)) {
        if (context->zmq)
            (void)zmq_ctx_term(context->zmq); /* no socket was made */
        free(context);
        return LILIO_E_NOMEM;
    }
    proto_inproc_init(&context->inproc);
    *ret_context = context;
    return LILIO_OK;
}

void proto_context_free(struct proto_context **context)
{
    if (!*context)
        return;
    while (zmq_ctx_term((*context)->zmq) && errno == EINTR)
        ;
    proto_inproc_release(&(*context)->inproc);
    free(*context);
    *context = NULL;
}

/* ---- sockets ---- */

struct option {
    int name, value;
};

static bool set_options(void *socket, const struct option *options, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (zmq_setsockopt(socket, options[i].name, &options[i].value, sizeof options[i].value))
            return false;
    int64_t frame_max = FRAME_BYTES_MAX;
    return zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &frame_max, sizeof frame_max) == 0;
}

/* The descriptor is readable when the socket has something to tell: then read its events. */
static int socket_fd(void *socket)
{
    int fd = -1;
    size_t size = sizeof fd;
    return zmq_getsockopt(socket, ZMQ_FD, &fd, &size) ? -1 : fd;
}

static int socket_events(void *socket)
{
    int events = 0;
    size_t size = sizeof events;
    int rc;
    do {
        rc = zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size);
    } while (rc && errno == EINTR);
    return rc ? 0 : events;
}

/* ---- frames ---- */

struct frames {
    zmq_msg_t at[FRAMES_MAX];
    int count; /* frames the message had; those beyond FRAMES_MAX are not kept */
};

static void frames_close(struct frames *frames)
{
    for (int i = 0; i < frames->count && i < FRAMES_MAX; i++)
        (void)zmq_msg_close(&frames->at[i]); /* fails only for what is no message */
    frames->count = 0;
}

static struct base_slice frame_bytes(struct frames *frames, int i)
{
    if (i >= frames->count || i >= FRAMES_MAX)
        return (struct base_slice){0};
    return base_slice(zmq_msg_data(&frames->at[i]), zmq_msg_size(&frames->at[i]));
}

static bool receive_frame(void *socket, zmq_msg_t *frame)
{
    (void)zmq_msg_init(frame); /* never fails */
    int rc;
    do {
        rc = zmq_msg_recv(frame, socket, ZMQ_DONTWAIT);
    } while (rc < 0 && errno == EINTR);
    if (rc < 0)
        (void)zmq_msg_close(frame); /* it is empty */
    return rc >= 0;
}

/* A message as a whole, or false if none waits. ZeroMQ hands out messages only when all their
 * frames are there. */
static bool frames_receive(void *socket, struct frames *ret)
{
    ret->count = 0;
    zmq_msg_t surplus;
    bool more = true;
    while (more) {
        zmq_msg_t *frame = ret->count < FRAMES_MAX ? &ret->at[ret->count] : &surplus;
        if (!receive_frame(socket, frame))
            break;
        more = zmq_msg_more(frame);
        if (frame == &surplus)
            (void)zmq_msg_close(&surplus); /* fails only for what is no message */
        ret->count++;
    }
    return ret->count > 0;
}

static bool frame_copy(zmq_msg_t *frame, struct base_slice bytes)
{
    if (zmq_msg_init_size(frame, bytes.size))
        return false;
    if (bytes.size > 0)
        memcpy(zmq_msg_data(frame), bytes.data, bytes.size);
    return true;
}

static void payload_release(const struct proto_payload *payload)
{
    if (payload && payload->release)
        payload->release(payload->data, payload->hint);
}

/* Appends header, body and payload to frames. The payload is released in every case, now or by
 * ZeroMQ later. */
static enum lilio_err frames_build(struct frames *frames, struct base_slice header,
                                   struct base_slice body, const struct proto_payload *payload)
{
    if (payload && payload->size > PROTO_PAYLOAD_BYTES_MAX) {
        payload_release(payload);
        return LILIO_E_TOO_BIG;
    }
    if (!frame_copy(&frames->at[frames->count], header))
        goto nomem;
    frames->count++;
    if (!frame_copy(&frames->at[frames->count], body))
        goto nomem;
    frames->count++;
    if (!payload || payload->size == 0) {
        payload_release(payload);
        return LILIO_OK;
    }
    if (zmq_msg_init_data(&frames->at[frames->count], payload->data, payload->size,
                          payload->release, payload->hint))
        goto nomem;
    frames->count++;
    return LILIO_OK;
nomem:
    payload_release(payload);
    return LILIO_E_NOMEM;
}

/* Sends all frames or none; they are gone afterwards. 0 or an errno: EAGAIN and EHOSTUNREACH when
 * the first frame found no peer with room. When a connection breaks between two frames the rest
 * still has to go: ZeroMQ drops it. */
static int frames_send(void *socket, struct frames *frames)
{
    int failure = 0;
    for (int i = 0; i < frames->count; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < frames->count ? ZMQ_SNDMORE : 0);
        int rc;
        do {
            rc = zmq_msg_send(&frames->at[i], socket, flags);
        } while (rc < 0 && errno == EINTR);
        if (rc >= 0)
            continue;
        failure = errno;
        if (i == 0) {
            frames_close(frames);
            return failure;
        }
        (void)zmq_msg_close(&frames->at[i]); /* ours again, since it was not sent */
    }
    frames->count = 0;
    return failure;
}

/* ---- server ---- */

struct proto_server {
    struct proto_context *context;
    void *socket;
    int fd;
    char endpoint[ENDPOINT_BYTES_MAX];
    bool is_inproc; /* listed in the context's table */
    struct proto_ipc_listener ipc;
    struct proto_server_counters counters;
    struct base_buffer header, body; /* of the reply being made */
};
struct request {
    struct proto_request public; /* first: what callers hold */
    struct frames frames;        /* routing id, header, body, payload */
};

static enum lilio_err bind_failure(const char *endpoint, struct lilio_errinfo *info)
{
    if (errno == EADDRINUSE)
        return lilio_fail(info, LILIO_E_ADDRESS, "%.200s: in use by another process", endpoint);
    return lilio_fail(info, LILIO_E_ADDRESS, "%.200s: %s", endpoint, zmq_strerror(errno));
}

static enum lilio_err bind_ipc(struct proto_server *server,
                               const struct proto_server_options *options,
                               struct lilio_errinfo *info)
{
    enum lilio_err err = proto_ipc_listen(proto_endpoint_rest(options->endpoint), options->insecure,
                                          &server->ipc, info);
    if (err)
        return err;
    int fd = server->ipc.fd;
    if (zmq_setsockopt(server->socket, ZMQ_USE_FD, &fd, sizeof fd) ||
        zmq_bind(server->socket, options->endpoint)) {
        err = bind_failure(options->endpoint, info);
        (void)close(fd); /* ZeroMQ did not take it */
    }
    return err;
}

static enum lilio_err bind_tcp(struct proto_server *server,
                               const struct proto_server_options *options,
                               struct lilio_errinfo *info)
{
    if (!options->insecure && !proto_endpoint_is_loopback(options->endpoint))
        return lilio_fail(
            info, LILIO_E_DENIED,
            "%.200s: not a loopback address, and messages are neither encrypted nor authenticated "
            "(insecure allows it)",
            options->endpoint);
    return zmq_bind(server->socket, options->endpoint) ? bind_failure(options->endpoint, info)
                                                       : LILIO_OK;
}

static enum lilio_err bind_inproc(struct proto_server *server, const char *endpoint,
                                  struct lilio_errinfo *info)
{
    struct proto_inproc *table = &server->context->inproc;
    (void)pthread_mutex_lock(&table->lock); /* a plain mutex that is never destroyed while locked */
    enum lilio_err err = LILIO_OK;
    if (zmq_bind(server->socket, endpoint)) {
        err = bind_failure(endpoint, info);
    } else if (proto_inproc_add(table, endpoint)) {
        (void)zmq_unbind(server->socket, endpoint); /* bound a line above */
        err = lilio_fail(info, LILIO_E_NOMEM, "%.200s: out of memory", endpoint);
    }
    server->is_inproc = !err;
    (void)pthread_mutex_unlock(&table->lock); /* locked above */
    return err;
}

static enum lilio_err bind_endpoint(struct proto_server *server,
                                    const struct proto_server_options *options,
                                    struct lilio_errinfo *info)
{
    enum proto_endpoint_kind kind;
    enum lilio_err err = proto_endpoint_parse(options->endpoint, &kind, info);
    if (err)
        return err;
    switch (kind) {
    case PROTO_ENDPOINT_IPC: err = bind_ipc(server, options, info); break;
    case PROTO_ENDPOINT_TCP: err = bind_tcp(server, options, info); break;
    case PROTO_ENDPOINT_INPROC: err = bind_inproc(server, options->endpoint, info); break;
    }
    if (err)
        return err;
    size_t size = sizeof server->endpoint;
    if (zmq_getsockopt(server->socket, ZMQ_LAST_ENDPOINT, server->endpoint, &size))
        return lilio_fail(info, LILIO_E_ADDRESS, "%.200s: address too long", options->endpoint);
    return LILIO_OK;
}

enum lilio_err proto_server_new(struct proto_context *context,
                                const struct proto_server_options *options,
                                struct proto_server **ret_server, struct lilio_errinfo *info)
{
    struct proto_server *server = calloc(1, sizeof *server);
    if (!server)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a server");
    server->context = context;
    server->ipc.fd = -1;
    enum lilio_err err = LILIO_OK;
    const struct option settings[] = {
        {ZMQ_ROUTER_MANDATORY, 1},
        {ZMQ_LINGER, 0},
        {ZMQ_RCVHWM, options->peer_messages ? (int)options->peer_messages : PEER_MESSAGES_DEFAULT},
        {ZMQ_SNDHWM, PEER_REPLIES_MAX},
        {ZMQ_HANDSHAKE_IVL, 5000},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_TCP_KEEPALIVE_IDLE, 5},
        {ZMQ_TCP_KEEPALIVE_INTVL, 2},
        {ZMQ_TCP_KEEPALIVE_CNT, 3},
        {ZMQ_IPV6, strstr(options->endpoint, "://[") != NULL},
    };
    server->socket = zmq_socket(context->zmq, ZMQ_ROUTER);
    if (!server->socket ||
        !set_options(server->socket, settings, sizeof settings / sizeof settings[0]) ||
        (server->fd = socket_fd(server->socket)) < 0)
        err = lilio_fail(info, LILIO_E_NOMEM, "no memory or descriptor for a server");
    else
        err = bind_endpoint(server, options, info);
    if (err)
        proto_server_free(&server);
    else
        *ret_server = server;
    return err;
}

void proto_server_free(struct proto_server **server)
{
    struct proto_server *mine = *server;
    *server = NULL;
    if (!mine)
        return;
    if (mine->is_inproc) {
        struct proto_inproc *table = &mine->context->inproc;
        (void)pthread_mutex_lock(&table->lock); /* as in bind_inproc */
        proto_inproc_remove(table, mine->endpoint);
        (void)zmq_unbind(mine->socket,
                         mine->endpoint);         /* closing the socket would do it, but later */
        (void)pthread_mutex_unlock(&table->lock); /* locked above */
    }
    proto_ipc_release(&mine->ipc);
    if (mine->socket)
        (void)zmq_close(mine->socket); /* fails only for what is no socket */
    base_buffer_release(&mine->header);
    base_buffer_release(&mine->body);
    free(mine);
}

const char *proto_server_endpoint(const struct proto_server *server)
{
    return server->endpoint;
}

void proto_server_counters_get(const struct proto_server *server, struct proto_server_counters *ret)
{
    *ret = server->counters;
}

/* Sends what server->body holds. The payload is released in every case. */
static void send_reply(struct proto_server *server, struct request *request, uint16_t number,
                       uint64_t epoch, const struct proto_payload *payload)
{
    const struct proto_header *asked = &request->public.header;
    const struct proto_header header = {.type = number,
                                        .session = asked->session,
                                        .sequence = asked->sequence,
                                        .group = asked->group,
                                        .epoch = epoch,
                                        .trace = asked->trace};
    base_buffer_clear(&server->header);
    struct frames frames = {.count = 1};
    (void)zmq_msg_init(&frames.at[0]); /* never fails */
    (void)zmq_msg_move(
        &frames.at[0],
        &request->frames.at[0]); /* the routing id; fails only for what is no message */
    enum lilio_err err = proto_header_pack(&header, &server->header);
    if (err)
        payload_release(payload);
    else
        err = frames_build(&frames, base_buffer_slice(&server->header),
                           base_buffer_slice(&server->body), payload);
    if (err)
        frames_close(&frames);
    if (err || frames_send(server->socket, &frames))
        server->counters.unroutable++;
    base_buffer_clear(&server->body);
}

static void pack_error(struct proto_server *server, enum lilio_err code, const char *text,
                       uint64_t epoch)
{
    char clean[512];
    const struct proto_error error = {
        .code = code,
        .text = base_slice(clean, proto_utf8_clean(text, clean, sizeof clean)),
        .epoch = epoch};
    base_buffer_clear(&server->body);
    if (proto_error_pack(&error, &server->body))
        base_buffer_clear(
            &server->body); /* no memory: an empty body is malformed, which says as much */
}

/* Takes the message apart. Errors: MALFORMED, TOO_BIG, UNSUPPORTED; what is known of the header is
 * in the request. */
static enum lilio_err request_decode(struct request *request, struct lilio_errinfo *info)
{
    struct proto_request *public = &request->public;
    struct frames *frames = &request->frames;
    if (frames->count < 3 || frames->count > FRAMES_MAX)
        return lilio_fail(info, LILIO_E_MALFORMED,
                          "want header, body and at most one payload, not %d frames",
                          frames->count - 1);
    struct base_slice header = frame_bytes(frames, 1);
    public->body = frame_bytes(frames, 2);
    public->payload = frame_bytes(frames, 3);
    if (header.size > PROTO_HEADER_BYTES_MAX || public->body.size > PROTO_BODY_BYTES_MAX ||
        public->payload.size > PROTO_PAYLOAD_BYTES_MAX)
        return lilio_fail(info, LILIO_E_TOO_BIG, "frames of %zu, %zu and %zu bytes", header.size,
                          public->body.size, public->payload.size);
    enum lilio_err err = proto_header_unpack(header, NULL, &public->header, info);
    if (err)
        return err;
    public->type = proto_type_find(public->header.type);
    if (!public->type)
        return lilio_fail(info, LILIO_E_UNSUPPORTED, "message number %u is not known",
                          public->header.type);
    return LILIO_OK;
}

static void request_free(struct request *request)
{
    frames_close(&request->frames);
    free(request);
}

struct proto_request *proto_server_receive(struct proto_server *server)
{
    for (int refused = 0; refused < REFUSED_PER_CALL_MAX; refused++) {
        struct request *request = malloc(sizeof *request);
        if (!request)
            return NULL;
        request->public = (struct proto_request){0};
        if (!frames_receive(server->socket, &request->frames)) {
            free(request);
            return NULL;
        }
        struct lilio_errinfo info = {0};
        enum lilio_err err = request_decode(request, &info);
        if (!err) {
            server->counters.received++;
            return &request->public;
        }
        server->counters.refused++;
        pack_error(server, err, info.text, 0);
        send_reply(server, request, PROTO_MSG_error, 0, NULL);
        request_free(request);
    }
    return NULL;
}

void proto_request_drop(struct proto_request **request)
{
    if (*request)
        request_free((struct request *)*request);
    *request = NULL;
}

void proto_server_reply(struct proto_server *server, struct proto_request **request,
                        const struct proto_type *type, const void *value,
                        const struct proto_payload *payload, uint64_t epoch)
{
    base_buffer_clear(&server->body);
    enum lilio_err err = proto_pack(type, value, &server->body);
    if (err) {
        payload_release(payload);
        proto_server_reply_error(server, request, err, "the reply cannot be packed", epoch);
        return;
    }
    send_reply(server, (struct request *)*request, type->number, epoch, payload);
    proto_request_drop(request);
}

void proto_server_reply_packed(struct proto_server *server, struct proto_request **request,
                               uint16_t number, struct base_slice body, uint64_t epoch)
{
    base_buffer_clear(&server->body);
    if (body.size > PROTO_BODY_BYTES_MAX ||
        base_buffer_append(&server->body, body.data, body.size)) {
        proto_server_reply_error(server, request, LILIO_E_NOMEM, "no memory for the reply", epoch);
        return;
    }
    send_reply(server, (struct request *)*request, number, epoch, NULL);
    proto_request_drop(request);
}

void proto_server_reply_error(struct proto_server *server, struct proto_request **request,
                              enum lilio_err err, const char *text, uint64_t epoch)
{
    pack_error(server, err, text, epoch);
    send_reply(server, (struct request *)*request, PROTO_MSG_error, epoch, NULL);
    proto_request_drop(request);
}

void proto_server_reply_error_full(struct proto_server *server, struct proto_request **request,
                                   const struct proto_error *error, uint64_t epoch)
{
    base_buffer_clear(&server->body);
    if (proto_error_pack(error, &server->body)) /* its text may have been cut inside a character */
        pack_error(server, error->code, "", error->epoch);
    send_reply(server, (struct request *)*request, PROTO_MSG_error, epoch, NULL);
    proto_request_drop(request);
}

/* ---- channel ---- */

struct proto_channel {
    struct proto_context *context;
    void *socket;
    int fd;
    char endpoint[ENDPOINT_BYTES_MAX];
    bool is_inproc;
    uint64_t inproc_generation; /* of the server the socket is connected to; 0 = none */
    bool stood;                 /* the connection stood when last looked at */
    bool lost; /* it broke with requests under way, and proto_channel_ready has not said so yet */
    uint64_t under_way; /* requests sent over this connection minus replies */
    uint64_t refused;
    struct base_buffer header, body; /* of the request being made */
};
struct reply {
    struct proto_reply public; /* first: what callers hold */
    struct frames frames;      /* header, body, payload */
};

/* Connects an inproc channel to the server of its name that there is now. */
static void follow_inproc(struct proto_channel *channel)
{
    struct proto_inproc *table = &channel->context->inproc;
    (void)pthread_mutex_lock(&table->lock); /* as in bind_inproc */
    uint64_t generation = proto_inproc_find(table, channel->endpoint);
    if (generation != channel->inproc_generation) {
        if (channel->inproc_generation)
            (void)zmq_disconnect(channel->socket,
                                 channel->endpoint); /* fails when the peer is gone already */
        if (generation && zmq_connect(channel->socket, channel->endpoint))
            generation = 0; /* no memory: tried again at the next look */
        channel->inproc_generation = generation;
    }
    (void)pthread_mutex_unlock(&table->lock); /* locked above */
}

/* Fewer than half a queue under way cannot have filled the queue: then a socket that takes nothing
 * has no peer. */
static bool may_be_full(const struct proto_channel *channel)
{
    return channel->under_way >= CHANNEL_QUEUE_MAX / 2;
}

/* The events of the socket, with the connection's fate noted on the way. */
static int channel_events(struct proto_channel *channel)
{
    uint64_t generation = channel->inproc_generation;
    if (channel->is_inproc)
        follow_inproc(channel);
    int events = socket_events(channel->socket);
    bool stands = events & ZMQ_POLLOUT;
    bool broke = channel->stood &&
                 ((!stands && !may_be_full(channel)) || generation != channel->inproc_generation);
    if (broke) {
        channel->lost |= channel->under_way > 0;
        channel->under_way = 0;
    }
    channel->stood = stands;
    return events;
}

enum lilio_err proto_channel_new(struct proto_context *context, const char *endpoint,
                                 struct proto_channel **ret_channel, struct lilio_errinfo *info)
{
    enum proto_endpoint_kind kind;
    enum lilio_err err = proto_endpoint_parse(endpoint, &kind, info);
    if (err)
        return err;
    if (strlen(endpoint) >= ENDPOINT_BYTES_MAX)
        return lilio_fail(info, LILIO_E_ADDRESS, "%.200s...: address too long", endpoint);
    struct proto_channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a channel");
    channel->context = context;
    channel->is_inproc = kind == PROTO_ENDPOINT_INPROC;
    memcpy(channel->endpoint, endpoint, strlen(endpoint) + 1);
    const struct option settings[] = {
        {ZMQ_IMMEDIATE, 1},
        {ZMQ_LINGER, 0},
        {ZMQ_SNDHWM, CHANNEL_QUEUE_MAX},
        {ZMQ_RCVHWM, CHANNEL_QUEUE_MAX},
        {ZMQ_HANDSHAKE_IVL, 5000},
        {ZMQ_RECONNECT_IVL, 50},
        {ZMQ_RECONNECT_IVL_MAX, 1000},
        {ZMQ_CONNECT_TIMEOUT, 3000},
        {ZMQ_HEARTBEAT_IVL, kind == PROTO_ENDPOINT_TCP ? 2000 : 0},
        {ZMQ_HEARTBEAT_TIMEOUT, 10000},
        {ZMQ_IPV6, strstr(endpoint, "://[") != NULL},
    };
    channel->socket = zmq_socket(context->zmq, ZMQ_DEALER);
    if (!channel->socket ||
        !set_options(channel->socket, settings, sizeof settings / sizeof settings[0]) ||
        (channel->fd = socket_fd(channel->socket)) < 0)
        err = lilio_fail(info, LILIO_E_NOMEM, "no memory or descriptor for a channel");
    else if (!channel->is_inproc && zmq_connect(channel->socket, endpoint))
        err = lilio_fail(info, LILIO_E_ADDRESS, "%.200s: %s", endpoint, zmq_strerror(errno));
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
    if (mine->socket)
        (void)zmq_close(mine->socket); /* fails only for what is no socket */
    base_buffer_release(&mine->header);
    base_buffer_release(&mine->body);
    free(mine);
}

bool proto_channel_ready(struct proto_channel *channel)
{
    bool stands = channel_events(channel) & ZMQ_POLLOUT;
    bool lost = channel->lost;
    channel->lost = false;
    return stands && !lost;
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
        payload_release(payload);
        return err;
    }
    struct frames frames = {0};
    err = frames_build(&frames, base_buffer_slice(&channel->header),
                       base_buffer_slice(&channel->body), payload);
    if (err) {
        frames_close(&frames);
        return err;
    }
    if (channel->is_inproc)
        (void)channel_events(
            channel); /* for its side effect: connects to a server that has appeared */
    int failure = frames_send(channel->socket, &frames);
    if (!failure) {
        channel->under_way++;
        channel->stood = true;
        return LILIO_OK;
    }
    if (failure == ENOMEM)
        return LILIO_E_NOMEM;
    return may_be_full(channel) ? LILIO_E_BUSY : LILIO_E_UNAVAILABLE;
}

static enum lilio_err reply_decode(struct reply *reply)
{
    struct proto_reply *public = &reply->public;
    struct frames *frames = &reply->frames;
    if (frames->count < 2 || frames->count > 3)
        return LILIO_E_MALFORMED;
    struct base_slice header = frame_bytes(frames, 0);
    public->body = frame_bytes(frames, 1);
    public->payload = frame_bytes(frames, 2);
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
    frames_close(&reply->frames);
    free(reply);
}

struct proto_reply *proto_channel_receive(struct proto_channel *channel)
{
    for (int refused = 0; refused < REFUSED_PER_CALL_MAX; refused++) {
        struct reply *reply = malloc(sizeof *reply);
        if (!reply)
            return NULL;
        reply->public = (struct proto_reply){0};
        if (!frames_receive(channel->socket, &reply->frames)) {
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

/* ---- waiting ---- */

/* Reads the events of all sockets. Returns how many items are set; *ret_broke when a connection
 * broke under requests. */
static int look_at_sockets(struct proto_wait_item *items, size_t count, bool *ret_broke,
                           bool *ret_inproc)
{
    int set = 0;
    *ret_broke = *ret_inproc = false;
    for (size_t i = 0; i < count; i++) {
        struct proto_wait_item *item = &items[i];
        int events = 0;
        if (item->channel) {
            bool was_lost = item->channel->lost;
            events = channel_events(item->channel);
            *ret_broke |= item->channel->lost && !was_lost;
            *ret_inproc |= item->channel->is_inproc && !item->channel->inproc_generation;
        } else if (item->server) {
            events = socket_events(item->server->socket);
        } else {
            continue; /* a plain descriptor: poll tells */
        }
        item->ret_readable = events & ZMQ_POLLIN;
        item->ret_ready = item->want_ready && (events & ZMQ_POLLOUT);
        set += item->ret_readable || item->ret_ready;
    }
    return set;
}

static int look_at_descriptors(struct proto_wait_item *items, size_t count,
                               const struct pollfd *fds)
{
    int set = 0;
    for (size_t i = 0; i < count; i++) {
        if (items[i].server || items[i].channel)
            continue;
        items[i].ret_readable = fds[i].revents & (POLLIN | POLLHUP | POLLERR);
        items[i].ret_ready = fds[i].revents & POLLOUT;
        set += items[i].ret_readable || items[i].ret_ready;
    }
    return set;
}

static int left_ms(uint64_t start_ms, int timeout_ms)
{
    if (timeout_ms < 0)
        return -1;
    uint64_t gone = base_now_ms(base_clock_system()) - start_ms;
    return gone >= (uint64_t)timeout_ms ? 0 : timeout_ms - (int)gone;
}

/* poll(2) on the sockets' descriptors rather than zmq_poll, which sleeps on when a connection
 * breaks. */
int proto_wait(struct proto_wait_item *items, size_t count, int timeout_ms)
{
    LILIO_ASSERT(count <= WAIT_ITEMS_MAX);
    struct pollfd fds[WAIT_ITEMS_MAX];
    for (size_t i = 0; i < count; i++) {
        struct proto_wait_item *item = &items[i];
        bool plain = !item->server && !item->channel;
        fds[i].fd = item->server ? item->server->fd : item->channel ? item->channel->fd : item->fd;
        fds[i].events = plain && item->want_ready ? POLLIN | POLLOUT : POLLIN;
        item->ret_readable = item->ret_ready = false;
    }
    uint64_t start_ms = base_now_ms(base_clock_system());
    while (true) {
        bool broke, inproc;
        int set = look_at_sockets(items, count, &broke, &inproc);
        int left = left_ms(start_ms, timeout_ms);
        int nap = set > 0 || broke                                ? 0
                  : inproc && (left < 0 || left > INPROC_POLL_MS) ? INPROC_POLL_MS
                                                                  : left;
        int rc = poll(fds, count, nap);
        if (rc > 0)
            set += look_at_descriptors(items, count, fds);
        if (set > 0 || broke || left == 0 || (rc < 0 && errno == EINTR))
            return set;
    }
}
