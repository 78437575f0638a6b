/* In place of proto/transport.c, the file that knows ZeroMQ: contexts, sockets and frames for
 * proto/server.c, channel.c and wait.c, over the simulated network. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/transport_priv.h"
#include "tests/sim/net_priv.h"
#include "tests/sim/nodes_priv.h"

#include "base/banned.h"

/* What is in a proto_frame. */
struct frame {
    struct sim_packet *packet; /* NULL: a routing id */
    struct base_slice bytes;
    uint64_t id;
};
_Static_assert(sizeof(struct frame) <= sizeof(struct proto_frame), "a frame has room for ours");

static struct sim_socket *sockets;

struct sim_socket *sim_sockets(void)
{
    return sockets;
}

enum lilio_err proto_context_new(unsigned io_threads, struct proto_context **ret_context)
{
    (void)io_threads;
    struct proto_context *context = calloc(1, sizeof *context);
    if (!context)
        return LILIO_E_NOMEM;
    proto_inproc_init(&context->inproc);
    *ret_context = context;
    return LILIO_OK;
}

void proto_context_free(struct proto_context **context)
{
    if (!*context)
        return;
    proto_inproc_release(&(*context)->inproc);
    free(*context);
    *context = NULL;
}

/* ---- sockets ---- */

static struct sim_socket *socket_of(const struct proto_socket *socket)
{
    return socket->zmq;
}

static enum lilio_err socket_new(bool is_server, struct proto_socket *ret)
{
    struct sim_socket *socket = calloc(1, sizeof *socket);
    if (!socket)
        return LILIO_E_NOMEM;
    socket->is_server = is_server;
    socket->node = sim_node_self();
    socket->life = sim_node_life(socket->node);
    socket->fd = sim_fd_new();
    socket->last = &socket->first;
    socket->next = sockets;
    sockets = socket;
    *ret = (struct proto_socket){.zmq = socket, .fd = sim_fd_number(socket->fd)};
    return LILIO_OK;
}

enum lilio_err proto_socket_server(struct proto_context *context, const char *endpoint,
                                   unsigned peer_messages, struct proto_socket *ret)
{
    (void)context, (void)endpoint, (void)peer_messages;
    return socket_new(true, ret);
}

enum lilio_err proto_socket_channel(struct proto_context *context, const char *endpoint,
                                    struct proto_socket *ret)
{
    (void)context, (void)endpoint;
    return socket_new(false, ret);
}

static void message_free(struct sim_message *message)
{
    sim_packet_unref(message->packet);
    free(message);
}

/* Without its descriptor, which may be gone already. */
static void socket_free(struct sim_socket *socket, bool silently)
{
    struct sim_socket **at = &sockets;
    while (*at != socket)
        at = &(*at)->next;
    *at = socket->next;
    enum sim_side side = socket->is_server ? SIM_SERVER_SIDE : SIM_CLIENT_SIDE;
    sim_net_disconnect(socket, silently);
    while (socket->first) {
        struct sim_message *message = socket->first;
        socket->first = message->next;
        sim_net_taken(message->connection, side);
        message_free(message);
    }
    free(socket);
}

void proto_socket_close(struct proto_socket *socket)
{
    if (socket->zmq) {
        sim_fd_close(socket_of(socket)->fd);
        socket_free(socket_of(socket), false);
    }
    *socket = (struct proto_socket){.fd = -1};
}

/* The descriptors go with sim_fds_drop. */
void sim_sockets_drop(const struct sim_node *node, bool silently)
{
    for (struct sim_socket *socket = sockets, *next; socket; socket = next) {
        next = socket->next;
        if (socket->node == node)
            socket_free(socket, silently);
    }
}

static bool is_inproc(const char *endpoint)
{
    return strncmp(endpoint, "inproc:", 7) == 0;
}

struct sim_socket *sim_socket_bound(const char *endpoint, const struct sim_node *node)
{
    for (struct sim_socket *socket = sockets; socket; socket = socket->next)
        if (socket->is_server && strcmp(socket->endpoint, endpoint) == 0 &&
            (socket->node == node || !is_inproc(endpoint)))
            return socket;
    return NULL;
}

enum lilio_err proto_socket_bind(struct proto_socket *socket, const char *endpoint, int fd,
                                 struct lilio_errinfo *info)
{
    SIM_ASSERT(fd < 0); /* no sockets in the filesystem here */
    struct sim_socket *mine = socket_of(socket);
    if (sim_socket_bound(endpoint, mine->node) || strlen(endpoint) >= sizeof mine->endpoint)
        return lilio_fail(info, LILIO_E_ADDRESS, "%.200s: in use", endpoint);
    memcpy(mine->endpoint, endpoint, strlen(endpoint) + 1);
    return LILIO_OK;
}

void proto_socket_unbind(struct proto_socket *socket, const char *endpoint)
{
    (void)endpoint;
    socket_of(socket)->endpoint[0] = '\0';
}

enum lilio_err proto_socket_endpoint(struct proto_socket *socket, char *ret, size_t room,
                                     struct lilio_errinfo *info)
{
    if (strlen(socket_of(socket)->endpoint) >= room)
        return lilio_fail(info, LILIO_E_ADDRESS, "address too long");
    memcpy(ret, socket_of(socket)->endpoint, strlen(socket_of(socket)->endpoint) + 1);
    return LILIO_OK;
}

enum lilio_err proto_socket_connect(struct proto_socket *socket, const char *endpoint,
                                    struct lilio_errinfo *info)
{
    struct sim_socket *mine = socket_of(socket);
    if (strlen(endpoint) >= sizeof mine->endpoint)
        return lilio_fail(info, LILIO_E_ADDRESS, "%.200s: address too long", endpoint);
    memcpy(mine->endpoint, endpoint, strlen(endpoint) + 1);
    socket->drained = false;
    sim_net_connect(mine);
    return LILIO_OK;
}

void proto_socket_disconnect(struct proto_socket *socket, const char *endpoint)
{
    (void)endpoint;
    socket->drained = false;
    sim_net_disconnect(socket_of(socket), false);
}

void sim_socket_signal(struct sim_socket *socket)
{
    sim_fd_readable(socket->fd, true);
}

/* Links that are cut have no retransmissions here. */
enum lilio_err proto_socket_hurry(struct proto_socket *socket, const char *endpoint)
{
    (void)socket, (void)endpoint;
    return LILIO_OK;
}

/* Reading the events takes the signal away, as with ZeroMQ's descriptor. */
unsigned proto_socket_events(struct proto_socket *socket)
{
    const struct sim_socket *mine = socket_of(socket);
    sim_fd_readable(mine->fd, false);
    unsigned events = mine->first ? PROTO_READABLE : 0;
    socket->drained = !mine->first;
    if (mine->is_server || sim_net_writable(mine))
        events |= PROTO_WRITABLE;
    return events;
}

/* ---- frames ---- */

static struct frame *frame_at(struct proto_frames *frames, int i)
{
    return (struct frame *)(void *)frames->at[i].bytes;
}

void proto_frames_close(struct proto_frames *frames)
{
    for (int i = 0; i < frames->count && i < PROTO_FRAMES_MAX; i++)
        sim_packet_unref(frame_at(frames, i)->packet);
    frames->count = 0;
}

struct base_slice proto_frames_bytes(struct proto_frames *frames, int i)
{
    if (i >= frames->count || i >= PROTO_FRAMES_MAX)
        return (struct base_slice){0};
    const struct frame *frame = frame_at(frames, i);
    return frame->packet ? frame->bytes : base_slice(&frame->id, sizeof frame->id);
}

void proto_frames_take_first(struct proto_frames *frames, struct proto_frames *from)
{
    *frame_at(frames, 0) = *frame_at(from, 0);
    *frame_at(from, 0) = (struct frame){0};
    frames->count = 1;
}

void proto_payload_release(const struct proto_payload *payload)
{
    if (payload && payload->release)
        payload->release(payload->data, payload->hint);
}

/* The payload is copied at once, as the kernel does a moment later. */
enum lilio_err proto_frames_build(struct proto_frames *frames, struct base_slice header,
                                  struct base_slice body, const struct proto_payload *payload)
{
    bool has_payload = payload && payload->size > 0;
    if (has_payload && payload->size > PROTO_PAYLOAD_BYTES_MAX) {
        proto_payload_release(payload);
        return LILIO_E_TOO_BIG;
    }
    const struct base_slice slices[] = {
        header, body, has_payload ? base_slice(payload->data, payload->size) : header};
    struct sim_packet *packet = sim_packet_new(slices, has_payload ? 3 : 2);
    proto_payload_release(payload);
    if (!packet)
        return LILIO_E_NOMEM;
    for (int i = 0; i < packet->count; i++)
        *frame_at(frames, frames->count++) =
            (struct frame){i == 0 ? packet : sim_packet_ref(packet), packet->frames[i], 0};
    return LILIO_OK;
}

enum lilio_err proto_frames_send(struct proto_socket *socket, struct proto_frames *frames)
{
    struct sim_socket *mine = socket_of(socket);
    struct sim_connection *connection = mine->connection;
    int first = mine->is_server ? 1 : 0;
    if (mine->is_server)
        connection = sim_net_find(mine, frame_at(frames, 0)->id);
    bool sent = false;
    socket->drained = false;
    if (connection && (mine->is_server || sim_net_writable(mine)))
        sent = sim_net_send(connection, mine->is_server ? SIM_SERVER_SIDE : SIM_CLIENT_SIDE,
                            sim_packet_ref(frame_at(frames, first)->packet));
    proto_frames_close(frames);
    return sent ? LILIO_OK : LILIO_E_UNAVAILABLE;
}

void sim_socket_receive(struct sim_socket *socket, struct sim_message *message)
{
    message->next = NULL;
    *socket->last = message;
    socket->last = &message->next;
    sim_socket_signal(socket);
}

bool proto_frames_receive(struct proto_socket *socket, struct proto_frames *ret)
{
    struct sim_socket *mine = socket_of(socket);
    struct sim_message *message = mine->first;
    ret->count = 0;
    socket->drained = !message;
    if (!message)
        return false;
    mine->first = message->next;
    if (!mine->first)
        mine->last = &mine->first;
    if (mine->is_server)
        *frame_at(ret, ret->count++) = (struct frame){.id = message->connection->id};
    for (int i = 0; i < message->packet->count; i++, ret->count++)
        if (ret->count < PROTO_FRAMES_MAX)
            *frame_at(ret, ret->count) =
                (struct frame){sim_packet_ref(message->packet), message->packet->frames[i], 0};
    sim_net_taken(message->connection, mine->is_server ? SIM_SERVER_SIDE : SIM_CLIENT_SIDE);
    message_free(message);
    return true;
}
