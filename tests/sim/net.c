/* Links, connections, faults.
 *
 * A connection begins when a channel's attempt reaches a bound server and its answer comes back.
 * Each direction is a queue of messages with the times at which they are due; what is due while the
 * direction is blocked waits and is tried again, as TCP does. A connection ends by a sign from the
 * other side (closed, killed), by a break (both sides are told a moment later) or by silence: a
 * direction that was blocked, or a peer that was paused or without power, for SILENCE_NS. */
#include "tests/sim/net_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/mark.h"
#include "proto/messages.h"
#include "tests/sim/nodes_priv.h"

#include "base/banned.h"

enum { LOAD_MAX = 1016 }; /* PROTO_CHANNEL_QUEUE_MAX and what a server takes from a peer */

static const uint64_t silence_ns = 10 * SIM_S, look_ns = SIM_S / 2, again_ns = 40 * SIM_MS,
                      backoff_min_ns = 50 * SIM_MS, backoff_max_ns = SIM_S, local_ns = 2 * SIM_US,
                      notice_ns = 2 * SIM_MS;

struct direction {
    struct sim_link link;
    bool has_own, blocked;
    uint64_t clogged_until;
};

static struct {
    struct sim_link usual;
    struct direction directions[SIM_NODES_MAX][SIM_NODES_MAX];
    struct sim_connection *connections;
    struct sim_stream stream;
    struct sim_timer look;
    struct sim_net_counts counts;
    uint64_t last_id;
    void (*watch)(void *context, const struct sim_sight *sight);
    void *watch_context;
} net;

/* ---- links ---- */

static struct direction *direction(const struct sim_node *from, const struct sim_node *to)
{
    return &net.directions[sim_node_index(from)][sim_node_index(to)];
}

static const struct sim_link *link_of(const struct direction *direction)
{
    return direction->has_own ? &direction->link : &net.usual;
}

void sim_net_default(const struct sim_link *link)
{
    net.usual = *link;
}

void sim_net_link(const struct sim_node *from, const struct sim_node *to,
                  const struct sim_link *link)
{
    direction(from, to)->link = *link;
    direction(from, to)->has_own = true;
}

void sim_net_link_reset(const struct sim_node *from, const struct sim_node *to)
{
    direction(from, to)->has_own = false;
}

void sim_net_block(const struct sim_node *from, const struct sim_node *to, bool blocked)
{
    if (blocked)
        LILIO_MARK("fault/net_block");
    direction(from, to)->blocked = blocked;
}

void sim_net_isolate(const struct sim_node *node, bool blocked)
{
    for (unsigned i = 0; i < sim_node_count(); i++) {
        if (sim_node_at(i) == node)
            continue;
        sim_net_block(node, sim_node_at(i), blocked);
        sim_net_block(sim_node_at(i), node, blocked);
    }
}

void sim_net_split(const uint8_t *group)
{
    for (unsigned i = 0; i < sim_node_count(); i++)
        for (unsigned j = 0; j < sim_node_count(); j++)
            sim_net_block(sim_node_at(i), sim_node_at(j), group[i] != group[j]);
}

void sim_net_clog(const struct sim_node *from, const struct sim_node *to, uint64_t until_ns)
{
    LILIO_MARK("fault/net_clog");
    direction(from, to)->clogged_until = until_ns;
}

void sim_net_heal(void)
{
    memset(net.directions, 0, sizeof net.directions);
}

void sim_net_counts(struct sim_net_counts *ret)
{
    *ret = net.counts;
}

void sim_net_watch(void (*fn)(void *context, const struct sim_sight *sight), void *context)
{
    net.watch = fn;
    net.watch_context = context;
}

/* ---- the direction of a connection that leads to a side ---- */

static enum sim_side other(enum sim_side side)
{
    return side == SIM_CLIENT_SIDE ? SIM_SERVER_SIDE : SIM_CLIENT_SIDE;
}

/* NULL: within a process, or of a stranger; nothing happens to it. */
static struct direction *leading_to(const struct sim_connection *connection, enum sim_side side)
{
    if (connection->is_local || !connection->nodes[0])
        return NULL;
    return direction(connection->nodes[other(side)], connection->nodes[side]);
}

static bool is_blocked(const struct sim_connection *connection, enum sim_side side)
{
    const struct direction *way = leading_to(connection, side);
    return way && way->blocked;
}

static uint64_t latency(const struct sim_connection *connection, enum sim_side side, size_t size)
{
    const struct direction *way = leading_to(connection, side);
    if (!way)
        return local_ns;
    const struct sim_link *link = link_of(way);
    uint64_t ns = link->latency_ns + sim_about(&net.stream, link->spread_ns);
    return link->bytes_per_s ? ns + size * SIM_S / link->bytes_per_s : ns;
}

/* ---- ends ---- */

/* Nobody knows it any more and nothing is on its way. */
static void free_if_over(struct sim_connection *connection)
{
    if (connection->ends[0] || connection->ends[1] || connection->to[0].load ||
        connection->to[1].load || connection->notices[0].place || connection->notices[1].place)
        return;
    struct sim_connection **at = &net.connections;
    while (*at != connection)
        at = &(*at)->next;
    *at = connection->next;
    free(connection);
}

static void drop_all(struct sim_connection *connection, enum sim_side side)
{
    struct sim_stream_of *way = &connection->to[side];
    sim_timer_cancel(&way->timer);
    while (way->first) {
        struct sim_message *message = way->first;
        way->first = message->next;
        way->load--;
        net.counts.lost += message->packet != NULL;
        sim_packet_unref(message->packet);
        free(message);
    }
}

static void connect_later(struct sim_socket *socket, uint64_t ns);

/* A side learns that the connection is over. */
static void side_ends(struct sim_connection *connection, enum sim_side side)
{
    struct sim_socket *socket = connection->ends[side];
    if (!socket)
        return;
    connection->ends[side] = NULL;
    connection->stands[side] = false;
    sim_hash(connection->id);
    if (side == SIM_CLIENT_SIDE) {
        socket->connection = NULL;
        socket->backoff_ns = backoff_min_ns;
        connect_later(socket, backoff_min_ns + sim_below(&net.stream, backoff_min_ns));
    }
    sim_socket_signal(socket);
}

static void notice(struct sim_timer *timer)
{
    struct sim_connection *connection = timer->context;
    enum sim_side side =
        timer == &connection->notices[SIM_SERVER_SIDE] ? SIM_SERVER_SIDE : SIM_CLIENT_SIDE;
    side_ends(connection, side);
    free_if_over(connection);
}

/* What is on its way is lost; both sides are told soon. */
static void connection_break(struct sim_connection *connection)
{
    if (connection->broken)
        return;
    connection->broken = true;
    net.counts.broken++;
    for (int side = 0; side < 2; side++) {
        drop_all(connection, (enum sim_side)side);
        sim_timer_set(&connection->notices[side], sim_now() + sim_below(&net.stream, notice_ns) + 1,
                      notice, connection);
    }
}

void sim_net_break(const struct sim_node *a, const struct sim_node *b)
{
    LILIO_MARK("fault/net_break");
    for (struct sim_connection *c = net.connections; c; c = c->next)
        if ((c->nodes[0] == a && c->nodes[1] == b) || (c->nodes[0] == b && c->nodes[1] == a))
            connection_break(c);
}

/* ---- delivery ---- */

static void trace_message(const struct sim_connection *connection, enum sim_side side,
                          const struct sim_packet *packet)
{
    struct proto_header header = {0};
    const struct proto_type *type = NULL;
    if (packet->count > 0 && !proto_header_unpack(packet->frames[0], NULL, &header, NULL))
        type = proto_type_find(header.type);
    const struct sim_node *from = connection->nodes[other(side)], *to = connection->nodes[side];
    sim_event("net: %s -> %s %s #%llu %zu bytes", from ? sim_node_name(from) : "?",
              sim_node_name(to), type ? type->name : "?", (unsigned long long)header.sequence,
              packet->total);
}

static void show(const struct sim_connection *connection, enum sim_side side,
                 const struct sim_packet *packet)
{
    const struct base_slice *at = packet->frames;
    struct sim_sight sight = {
        .from = connection->nodes[other(side)],
        .to = connection->nodes[side],
        .is_reply = side == SIM_CLIENT_SIDE,
    };
    if (packet->count > 0)
        sight.header = (struct sim_frame){at[0].data, at[0].size};
    if (packet->count > 1)
        sight.body = (struct sim_frame){at[1].data, at[1].size};
    if (packet->count > 2)
        sight.payload = (struct sim_frame){at[2].data, at[2].size};
    net.watch(net.watch_context, &sight);
}

static void deliver_packet(struct sim_connection *connection, enum sim_side side,
                           struct sim_message *message)
{
    const struct sim_packet *packet = message->packet;
    net.counts.delivered++;
    net.counts.bytes += packet->total;
    sim_hash(connection->id << 1 | side);
    for (int i = 0; i < packet->count && i < 2; i++)
        sim_hash(XXH3_64bits(packet->frames[i].data, packet->frames[i].size));
    if (sim_tracing())
        trace_message(connection, side, packet);
    if (net.watch)
        show(connection, side, packet);
    sim_socket_receive(connection->ends[side], message);
}

static void deliver(struct sim_connection *connection, enum sim_side side,
                    struct sim_message *message)
{
    struct sim_socket *socket = connection->ends[side];
    if (message->packet && socket) {
        deliver_packet(connection, side, message); /* stays in the load until it is taken */
        return;
    }
    connection->to[side].load--;
    if (!message->packet && socket && message->is_end) {
        side_ends(connection, side);
    } else if (!message->packet && socket) {
        connection->stands[side] = true;
        socket->backoff_ns = backoff_min_ns;
        sim_socket_signal(socket);
    }
    sim_packet_unref(message->packet);
    free(message);
}

static void set_timer(struct sim_connection *connection, enum sim_side side, uint64_t not_before);

static void arrive(struct sim_timer *timer)
{
    struct sim_connection *connection = timer->context;
    enum sim_side side =
        timer == &connection->to[SIM_SERVER_SIDE].timer ? SIM_SERVER_SIDE : SIM_CLIENT_SIDE;
    struct sim_stream_of *way = &connection->to[side];
    const struct direction *direction = leading_to(connection, side);
    if (direction && (direction->blocked || direction->clogged_until > sim_now())) {
        uint64_t clog = direction->clogged_until;
        bool only_clogged = !direction->blocked && clog != UINT64_MAX;
        set_timer(connection, side, only_clogged ? clog : sim_now() + again_ns);
        return;
    }
    while (way->first && way->first->due_ns <= sim_now()) {
        struct sim_message *message = way->first;
        way->first = message->next;
        deliver(connection, side, message);
    }
    if (way->first)
        set_timer(connection, side, 0);
    free_if_over(connection);
}

static void set_timer(struct sim_connection *connection, enum sim_side side, uint64_t not_before)
{
    struct sim_stream_of *way = &connection->to[side];
    uint64_t due = way->first->due_ns;
    sim_timer_set(&way->timer, due > not_before ? due : not_before, arrive, connection);
}

/* Puts a message on its way; extra_ns lets it be overtaken. */
static void post(struct sim_connection *connection, enum sim_side side, struct sim_packet *packet,
                 bool is_end, uint64_t extra_ns)
{
    struct sim_stream_of *way = &connection->to[side];
    struct sim_message *message = calloc(1, sizeof *message);
    SIM_ASSERT(message);
    uint64_t due = sim_now() + latency(connection, side, packet ? packet->total : 0) + extra_ns;
    if (due <= way->last_ns)
        due = way->last_ns + 1;
    if (!extra_ns)
        way->last_ns = due;
    *message = (struct sim_message){
        .packet = packet, .is_end = is_end, .due_ns = due, .connection = connection};
    struct sim_message **at = &way->first;
    while (*at && (*at)->due_ns <= due)
        at = &(*at)->next;
    message->next = *at;
    *at = message;
    way->load++;
    if (at == &way->first)
        set_timer(connection, side, 0);
}

/* ---- connecting ---- */

static bool is_reachable(const struct sim_socket *from, const struct sim_socket *to)
{
    return from->node == to->node ||
           (!direction(from->node, to->node)->blocked &&
            !direction(to->node, from->node)->blocked && !sim_node_paused(to->node));
}

static void attempt(struct sim_timer *timer)
{
    struct sim_socket *socket = timer->context;
    struct sim_socket *server = sim_socket_bound(socket->endpoint, socket->node);
    if (!server || !is_reachable(socket, server)) {
        uint64_t wait = socket->backoff_ns + sim_below(&net.stream, socket->backoff_ns);
        socket->backoff_ns =
            socket->backoff_ns * 2 > backoff_max_ns ? backoff_max_ns : socket->backoff_ns * 2;
        connect_later(socket, wait);
        return;
    }
    struct sim_connection *connection = calloc(1, sizeof *connection);
    SIM_ASSERT(connection);
    *connection = (struct sim_connection){
        .id = ++net.last_id,
        .ends = {socket, server},
        .nodes = {socket->node, server->node},
        .lives = {socket->life, server->life},
        .stands = {false, true},
        .is_local = socket->node == server->node,
        .next = net.connections,
    };
    net.connections = connection;
    net.counts.connected++;
    socket->connection = connection;
    sim_hash(connection->id);
    post(connection, SIM_CLIENT_SIDE, NULL, false, 0);
}

static void connect_later(struct sim_socket *socket, uint64_t ns)
{
    sim_timer_set(&socket->connect, sim_now() + ns, attempt, socket);
}

void sim_net_connect(struct sim_socket *socket)
{
    const struct sim_node *to = sim_node_of_endpoint(socket->endpoint);
    uint64_t ns = local_ns;
    if (to && to != socket->node) {
        const struct sim_link *link = link_of(direction(socket->node, to));
        ns = link->latency_ns + sim_about(&net.stream, link->spread_ns);
    }
    socket->backoff_ns = backoff_min_ns;
    connect_later(socket, ns);
}

void sim_net_disconnect(struct sim_socket *socket, bool silently)
{
    sim_timer_cancel(&socket->connect);
    for (struct sim_connection *c = net.connections, *next; c; c = next) {
        next = c->next;
        for (int side = 0; side < 2; side++) {
            if (c->ends[side] != socket)
                continue;
            c->ends[side] = NULL;
            c->stands[side] = false;
            if (!silently && !c->broken)
                post(c, other((enum sim_side)side), NULL, true, 0);
            free_if_over(c);
            break;
        }
    }
    socket->connection = NULL;
}

/* ---- sending ---- */

bool sim_net_writable(const struct sim_socket *channel)
{
    const struct sim_connection *connection = channel->connection;
    return connection && connection->stands[SIM_CLIENT_SIDE] &&
           connection->to[SIM_SERVER_SIDE].load < LOAD_MAX;
}

/* Draws what happens to a message. Returns false if it does not travel. */
static bool draw_fate(struct sim_connection *connection, enum sim_side to,
                      struct sim_packet *packet, uint64_t *ret_extra_ns)
{
    const struct direction *way = leading_to(connection, to);
    *ret_extra_ns = 0;
    if (!way)
        return true;
    const struct sim_link *link = link_of(way);
    if (sim_chance(&net.stream, link->break_ppm)) {
        LILIO_MARK("fault/net_lost_with_connection");
        connection_break(connection);
        return false;
    }
    if (sim_chance(&net.stream, link->drop_ppm)) {
        LILIO_MARK("fault/net_lost");
        return false;
    }
    if (sim_chance(&net.stream, link->duplicate_ppm)) {
        LILIO_MARK("fault/net_duplicated");
        net.counts.duplicated++;
        post(connection, to, sim_packet_ref(packet), false,
             1 + sim_about(&net.stream, 4 * (link->latency_ns + link->spread_ns)));
    }
    if (sim_chance(&net.stream, link->reorder_ppm)) {
        LILIO_MARK("fault/net_reordered");
        net.counts.reordered++;
        *ret_extra_ns = 1 + sim_about(&net.stream, 4 * (link->latency_ns + link->spread_ns));
    }
    return true;
}

bool sim_net_send(struct sim_connection *connection, enum sim_side from, struct sim_packet *packet)
{
    enum sim_side to = other(from);
    uint64_t extra_ns;
    if (!connection->stands[from] || connection->to[to].load >= LOAD_MAX * 2) {
        sim_packet_unref(packet);
        return false;
    }
    net.counts.sent++;
    if (connection->broken || !draw_fate(connection, to, packet, &extra_ns)) {
        net.counts.lost++;
        sim_packet_unref(packet);
        return true; /* the sender does not know yet, or never will */
    }
    post(connection, to, packet, false, extra_ns);
    return true;
}

struct sim_connection *sim_net_find(const struct sim_socket *server, uint64_t id)
{
    for (struct sim_connection *c = net.connections; c; c = c->next)
        if (c->id == id)
            return c->ends[SIM_SERVER_SIDE] == server ? c : NULL;
    return NULL;
}

void sim_net_taken(struct sim_connection *connection, enum sim_side by)
{
    size_t load = connection->to[by].load--;
    struct sim_socket *sender = connection->ends[other(by)];
    if (by == SIM_SERVER_SIDE && load == LOAD_MAX && sender)
        sim_socket_signal(sender); /* there is room again */
    free_if_over(connection);
}

/* ---- silence ---- */

/* Heartbeats and keepalives do not come through. */
static bool is_silent(const struct sim_connection *connection)
{
    for (int side = 0; side < 2; side++) {
        struct sim_node *node = connection->nodes[side];
        if (is_blocked(connection, (enum sim_side)side) || !connection->ends[side] ||
            (node && sim_node_paused(node)))
            return true;
    }
    return false;
}

/* The machine is up again and answers a message it knows nothing of. */
static bool is_forgotten(const struct sim_connection *connection)
{
    for (int side = 0; side < 2; side++)
        if (connection->nodes[side] && !connection->ends[side] &&
            sim_node_life(connection->nodes[side]) != connection->lives[side])
            return true;
    return false;
}

static void look(struct sim_timer *timer)
{
    for (struct sim_connection *c = net.connections; c; c = c->next) {
        if (c->broken || c->is_local)
            continue;
        if (!is_silent(c))
            c->silent_since = 0;
        else if (c->silent_since == 0)
            c->silent_since = sim_now();
        else if (is_forgotten(c) || sim_now() - c->silent_since > silence_ns)
            connection_break(c);
    }
    sim_timer_set(timer, sim_now() + look_ns, look, NULL);
}

void sim_net_init(void)
{
    memset(&net, 0, sizeof net);
    net.stream = sim_stream_new("net");
    net.usual = (struct sim_link){.latency_ns = 100 * SIM_US, .spread_ns = 50 * SIM_US};
    sim_timer_set(&net.look, sim_now() + look_ns, look, NULL);
}

void sim_net_process_died(const struct sim_node *node, bool power_lost)
{
    sim_sockets_drop(node, power_lost);
}

void sim_net_inject(const char *endpoint, const struct sim_frame *frames, int count)
{
    struct sim_node *node = sim_node_of_endpoint(endpoint);
    struct sim_socket *server = node ? sim_socket_bound(endpoint, node) : NULL;
    struct base_slice slices[SIM_PACKET_FRAMES_MAX];
    if (!server || count > SIM_PACKET_FRAMES_MAX)
        return;
    for (int i = 0; i < count; i++)
        slices[i] = base_slice(frames[i].data, frames[i].size);
    struct sim_packet *packet = sim_packet_new(slices, count);
    struct sim_connection *connection = calloc(1, sizeof *connection);
    SIM_ASSERT(packet && connection);
    *connection = (struct sim_connection){
        .id = ++net.last_id,
        .ends = {NULL, server},
        .nodes = {NULL, node},
        .lives = {0, server->life},
        .stands = {true, true},
        .is_local = true,
        .next = net.connections,
    };
    net.connections = connection;
    post(connection, SIM_SERVER_SIDE, packet, false, 0);
    LILIO_MARK("fault/net_stranger");
}
