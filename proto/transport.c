/* Contexts, sockets and frames: all that is said to ZeroMQ (this is the only file that includes
 * zmq.h).
 *
 * A server is a ROUTER in mandatory mode, a channel a DEALER with ZMQ_IMMEDIATE: messages are
 * queued only for a peer that is connected, so "writable" means "a connection stands". Nothing here
 * blocks.
 *
 * Bytes that are not even ZeroMQ's protocol end in libzmq. It bounds a frame, but not the number of
 * frames of a message that is not finished, which is why servers listen only where this user's own
 * programs can reach them, unless told otherwise.
 *
 * No heartbeats below ten seconds: a server that lets requests queue up stops reading, answers no
 * heartbeat, and would lose its clients when it is busiest. */
#include "proto/transport_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <zmq.h>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#include "base/banned.h"

/* inproc hands the very bytes from the thread that sends to the one that receives. How libzmq
 * orders that is nothing TSan sees, so it is told. */
#ifdef __SANITIZE_THREAD__
#define HAND_OVER(frame) __tsan_release(zmq_msg_data(frame))
#define TAKE_OVER(frame) __tsan_acquire(zmq_msg_data(frame))
#else
#define HAND_OVER(frame) ((void)(frame))
#define TAKE_OVER(frame) ((void)(frame))
#endif

enum {
    PEER_REPLIES_MAX = PROTO_CHANNEL_QUEUE_MAX, /* per peer; beyond it they are dropped */
    SOCKETS_MAX = 8192,
    FRAME_BYTES_MAX = PROTO_BODY_BYTES_MAX > PROTO_PAYLOAD_BYTES_MAX ? PROTO_BODY_BYTES_MAX
                                                                     : PROTO_PAYLOAD_BYTES_MAX,
};
_Static_assert(sizeof(struct proto_frame) == sizeof(zmq_msg_t), "a frame has room for ZeroMQ's");

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
static const struct option common_options[] = {{ZMQ_LINGER, 0}, {ZMQ_HANDSHAKE_IVL, 5000}};
static const struct option server_options[] = {
    {ZMQ_ROUTER_MANDATORY, 1},   {ZMQ_SNDHWM, PEER_REPLIES_MAX}, {ZMQ_TCP_KEEPALIVE, 1},
    {ZMQ_TCP_KEEPALIVE_IDLE, 5}, {ZMQ_TCP_KEEPALIVE_INTVL, 2},   {ZMQ_TCP_KEEPALIVE_CNT, 3},
};
static const struct option channel_options[] = {
    {ZMQ_IMMEDIATE, 1},
    {ZMQ_SNDHWM, PROTO_CHANNEL_QUEUE_MAX},
    {ZMQ_RCVHWM, PROTO_CHANNEL_QUEUE_MAX},
    {ZMQ_RECONNECT_IVL, 50},
    {ZMQ_RECONNECT_IVL_MAX, 1000},
    {ZMQ_CONNECT_TIMEOUT, 3000},
};
/* The kernel looks whether the peer's machine is there. Not ZMTP's heartbeats: libzmq aborts the
 * process when it answers a ping, or sends one, on a connection that broke while its input was held
 * back by a full queue (its issue 4364, open in 4.3.4 and later). */
static const struct option vanish_options[] = {
    {ZMQ_TCP_KEEPALIVE, 1},     {ZMQ_TCP_KEEPALIVE_IDLE, 5}, {ZMQ_TCP_KEEPALIVE_INTVL, 2},
    {ZMQ_TCP_KEEPALIVE_CNT, 3}, {ZMQ_TCP_MAXRT, 10000},
};

/* What TCP got no acknowledgement for it sends again after 0.2, 0.6, 1.4, 3, 6.2 s: behind a link
 * that was down for seconds both ends stay deaf for as long again. A new connection is quicker. */
static const struct option hasty_options[] = {
    {ZMQ_TCP_MAXRT, 1000}, {ZMQ_CONNECT_TIMEOUT, 500}, {ZMQ_RECONNECT_IVL_MAX, 200}};

static bool set_options(void *zmq, const struct option *options, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (zmq_setsockopt(zmq, options[i].name, &options[i].value, sizeof options[i].value))
            return false;
    return true;
}
#define SET_OPTIONS(zmq, options) \
    set_options((zmq), (options), sizeof(options) / sizeof(options)[0])

static enum lilio_err open_socket(struct proto_context *context, int type, const char *endpoint,
                                  struct proto_socket *ret)
{
    *ret = (struct proto_socket){.zmq = zmq_socket(context->zmq, type), .fd = -1};
    const struct option ipv6 = {ZMQ_IPV6, strstr(endpoint, "://[") != NULL};
    int64_t frame_max = FRAME_BYTES_MAX;
    size_t size = sizeof ret->fd;
    if (ret->zmq && SET_OPTIONS(ret->zmq, common_options) && set_options(ret->zmq, &ipv6, 1) &&
        zmq_setsockopt(ret->zmq, ZMQ_MAXMSGSIZE, &frame_max, sizeof frame_max) == 0 &&
        zmq_getsockopt(ret->zmq, ZMQ_FD, &ret->fd, &size) == 0)
        return LILIO_OK;
    proto_socket_close(ret);
    return LILIO_E_NOMEM;
}

enum lilio_err proto_socket_server(struct proto_context *context, const char *endpoint,
                                   unsigned peer_messages, struct proto_socket *ret)
{
    const struct option queue = {ZMQ_RCVHWM, (int)peer_messages};
    enum lilio_err err = open_socket(context, ZMQ_ROUTER, endpoint, ret);
    if (!err && (!SET_OPTIONS(ret->zmq, server_options) || !set_options(ret->zmq, &queue, 1))) {
        proto_socket_close(ret);
        err = LILIO_E_NOMEM;
    }
    return err;
}

enum lilio_err proto_socket_channel(struct proto_context *context, const char *endpoint,
                                    struct proto_socket *ret)
{
    bool is_tcp = strncmp(endpoint, "tcp:", 4) ==
                  0; /* other peers cannot vanish without the kernel telling */
    enum lilio_err err = open_socket(context, ZMQ_DEALER, endpoint, ret);
    if (!err && (!SET_OPTIONS(ret->zmq, channel_options) ||
                 (is_tcp && !SET_OPTIONS(ret->zmq, vanish_options)))) {
        proto_socket_close(ret);
        err = LILIO_E_NOMEM;
    }
    return err;
}

void proto_socket_close(struct proto_socket *socket)
{
    if (socket->zmq)
        (void)zmq_close(socket->zmq); /* fails only for what is no socket */
    *socket = (struct proto_socket){.fd = -1};
}

enum lilio_err proto_socket_bind(struct proto_socket *socket, const char *endpoint, int fd,
                                 struct lilio_errinfo *info)
{
    if ((fd < 0 || zmq_setsockopt(socket->zmq, ZMQ_USE_FD, &fd, sizeof fd) == 0) &&
        zmq_bind(socket->zmq, endpoint) == 0)
        return LILIO_OK;
    return lilio_fail(info, LILIO_E_ADDRESS, "%.200s: %s", endpoint,
                      errno == EADDRINUSE ? "in use by another process" : zmq_strerror(errno));
}

void proto_socket_unbind(struct proto_socket *socket, const char *endpoint)
{
    (void)zmq_unbind(socket->zmq, endpoint); /* closing the socket would do it, too, but later */
}

enum lilio_err proto_socket_endpoint(struct proto_socket *socket, char *ret, size_t room,
                                     struct lilio_errinfo *info)
{
    if (zmq_getsockopt(socket->zmq, ZMQ_LAST_ENDPOINT, ret, &room))
        return lilio_fail(info, LILIO_E_ADDRESS, "address too long");
    return LILIO_OK;
}

enum lilio_err proto_socket_connect(struct proto_socket *socket, const char *endpoint,
                                    struct lilio_errinfo *info)
{
    socket->drained = false;
    if (zmq_connect(socket->zmq, endpoint))
        return lilio_fail(info, LILIO_E_ADDRESS, "%.200s: %s", endpoint, zmq_strerror(errno));
    return LILIO_OK;
}

void proto_socket_disconnect(struct proto_socket *socket, const char *endpoint)
{
    socket->drained = false;
    (void)zmq_disconnect(socket->zmq, endpoint); /* fails when the connection is gone already */
}

enum lilio_err proto_socket_hurry(struct proto_socket *socket, const char *endpoint)
{
    proto_socket_disconnect(socket, endpoint); /* options are for connections begun after them */
    if (!SET_OPTIONS(socket->zmq, hasty_options))
        return LILIO_E_NOMEM;
    return proto_socket_connect(socket, endpoint, NULL);
}

unsigned proto_socket_events(struct proto_socket *socket)
{
    int events = 0;
    size_t size = sizeof events;
    int rc;
    do {
        rc = zmq_getsockopt(socket->zmq, ZMQ_EVENTS, &events, &size);
    } while (rc && errno == EINTR);
    socket->drained = !rc && !(events & ZMQ_POLLIN);
    if (rc)
        return 0;
    return (events & ZMQ_POLLIN ? PROTO_READABLE : 0) | (events & ZMQ_POLLOUT ? PROTO_WRITABLE : 0);
}

/* ---- frames ---- */

static zmq_msg_t *frame_at(struct proto_frames *frames, int i)
{
    return (zmq_msg_t *)frames->at[i].bytes;
}

void proto_frames_close(struct proto_frames *frames)
{
    for (int i = 0; i < frames->count && i < PROTO_FRAMES_MAX; i++)
        (void)zmq_msg_close(frame_at(frames, i)); /* fails only for what is no message */
    frames->count = 0;
}

struct base_slice proto_frames_bytes(struct proto_frames *frames, int i)
{
    if (i >= frames->count || i >= PROTO_FRAMES_MAX)
        return (struct base_slice){0};
    return base_slice(zmq_msg_data(frame_at(frames, i)), zmq_msg_size(frame_at(frames, i)));
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
    else
        TAKE_OVER(frame);
    return rc >= 0;
}

/* ZeroMQ hands out messages only when all their frames are there. */
bool proto_frames_receive(struct proto_socket *socket, struct proto_frames *ret)
{
    ret->count = 0;
    zmq_msg_t surplus;
    bool more = true;
    while (more) {
        zmq_msg_t *frame = ret->count < PROTO_FRAMES_MAX ? frame_at(ret, ret->count) : &surplus;
        if (!receive_frame(socket->zmq, frame))
            break;
        more = zmq_msg_more(frame);
        if (frame == &surplus)
            (void)zmq_msg_close(&surplus); /* fails only for what is no message */
        ret->count++;
    }
    socket->drained = ret->count == 0;
    return ret->count > 0;
}

void proto_frames_take_first(struct proto_frames *frames, struct proto_frames *from)
{
    (void)zmq_msg_init(frame_at(frames, 0)); /* never fails */
    (void)zmq_msg_move(frame_at(frames, 0),
                       frame_at(from, 0)); /* fails only for what is no message */
    frames->count = 1;
}

static bool append_copy(struct proto_frames *frames, struct base_slice bytes)
{
    zmq_msg_t *frame = frame_at(frames, frames->count);
    if (zmq_msg_init_size(frame, bytes.size))
        return false;
    if (bytes.size > 0)
        memcpy(zmq_msg_data(frame), bytes.data, bytes.size);
    frames->count++;
    return true;
}

void proto_payload_release(const struct proto_payload *payload)
{
    if (payload && payload->release)
        payload->release(payload->data, payload->hint);
}

enum lilio_err proto_frames_build(struct proto_frames *frames, struct base_slice header,
                                  struct base_slice body, const struct proto_payload *payload)
{
    enum lilio_err err = LILIO_OK;
    bool has_payload = payload && payload->size > 0;
    if (has_payload && payload->size > PROTO_PAYLOAD_BYTES_MAX)
        err = LILIO_E_TOO_BIG;
    else if (!append_copy(frames, header) || !append_copy(frames, body))
        err = LILIO_E_NOMEM;
    else if (has_payload && zmq_msg_init_data(frame_at(frames, frames->count), payload->data,
                                              payload->size, payload->release, payload->hint))
        err = LILIO_E_NOMEM;
    else if (has_payload)
        frames->count++;
    if (err || !has_payload)
        proto_payload_release(payload);
    return err;
}

/* When a connection breaks between two frames the rest still has to go: ZeroMQ drops it. */
enum lilio_err proto_frames_send(struct proto_socket *socket, struct proto_frames *frames)
{
    int failure = 0;
    socket->drained = false;
    for (int i = 0; i < frames->count; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < frames->count ? ZMQ_SNDMORE : 0);
        int rc;
        HAND_OVER(frame_at(frames, i));
        do {
            rc = zmq_msg_send(frame_at(frames, i), socket->zmq, flags);
        } while (rc < 0 && errno == EINTR);
        if (rc >= 0)
            continue;
        failure = errno;
        if (i == 0) {
            proto_frames_close(frames);
            break;
        }
        (void)zmq_msg_close(frame_at(frames, i)); /* ours again, since it was not sent */
    }
    frames->count = 0;
    return failure == 0 ? LILIO_OK : failure == ENOMEM ? LILIO_E_NOMEM : LILIO_E_UNAVAILABLE;
}
