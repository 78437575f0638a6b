#include "coord_quorum.h"

#include <stdlib.h>

#include "coordinator/replica_priv.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

enum {
    ELECTION_MS = 150,
    HEARTBEAT_MS = 30,
    PATIENCE_MS = 30000,
    LEAP_MS = 10,   /* of the clock, at most */
    IDLE_MS = 1,    /* really: nothing came for so long, so nothing is on its way */
    WORKER_MS = 20, /* really: looked at again even so */
};
#define NS_PER_MS UINT64_C(1000000)

static uint64_t monotonic_ns(void *context)
{
    return ((struct quorum *)context)->now_ns;
}

static uint64_t wall_ms(void *context)
{
    return FX_WALL_MS + ((struct quorum *)context)->now_ns / NS_PER_MS;
}

/* ---- life ---- */

struct quorum *quorum_new(uint32_t first)
{
    static char osd[] = "inproc://osd", yaml[] = "lilio.yaml";
    struct quorum *quorum = calloc(1, sizeof *quorum);
    assert_non_null(quorum);
    quorum->folder = temp_dir_new();
    quorum->first = first;
    quorum->now_ns = PATIENCE_MS * NS_PER_MS;
    quorum->clock = (struct base_clock){monotonic_ns, wall_ms, quorum};
    assert_int_equal(proto_context_new(1, &quorum->context), LILIO_OK);
    assert_int_equal(proto_arena_new(&quorum->arena), LILIO_OK);
    for (uint32_t i = 0; i < QUORUM_MAX; i++) {
        struct quorum_node *node = &quorum->nodes[i];
        node->quorum = quorum;
        node->id = i;
        (void)snprintf(node->endpoint, sizeof node->endpoint, "inproc://coordinator.%u", i);
        (void)snprintf(node->peer, sizeof node->peer, "inproc://peer.%u", i);
        (void)snprintf(node->dir, sizeof node->dir, "%s/coordinator.%u", quorum->folder, i);
        quorum->coordinators[i] = (struct proto_cluster_node){
            .id = i, .endpoint = node->endpoint, .peer = node->peer, .dir = node->dir};
    }
    for (uint32_t i = 0; i < 2; i++)
        quorum->osds[i] = (struct proto_cluster_node){.id = i, .endpoint = osd};
    quorum->file = (struct proto_cluster_file){
        .path = yaml,
        .cluster_id = fx_uuid(1),
        .default_profile = {.data_count = 1,
                            .parity_count = 1,
                            .fragment_size = 4096,
                            .generator = CODEC_COPY1},
        .coordinators = quorum->coordinators,
        .coordinator_count = first,
        .osds = quorum->osds,
        .osd_count = 2,
    };
    return quorum;
}

void quorum_free(struct quorum *quorum)
{
    for (uint32_t i = 0; i < QUORUM_MAX; i++)
        quorum_kill(quorum, i);
    proto_context_free(&quorum->context);
    proto_arena_free(&quorum->arena);
    temp_dir_free(quorum->folder);
    free(quorum);
}

/* ---- one node ---- */

static void port_reply_packed(void *context, void *token, uint16_t number, struct base_slice body,
                              uint64_t epoch)
{
    struct quorum_call *call = token;
    (void)context, (void)epoch;
    assert_false(call->done); /* exactly once */
    call->done = true;
    call->type = number;
    assert_int_equal(base_buffer_append(&call->reply, body.data, body.size), LILIO_OK);
}

static void port_reply(void *context, void *token, const struct proto_type *type, const void *value,
                       uint64_t epoch)
{
    struct base_buffer body = {0};
    assert_int_equal(proto_pack(type, value, &body), LILIO_OK);
    port_reply_packed(context, token, type->number, base_buffer_slice(&body), epoch);
    base_buffer_release(&body);
}

static uint64_t port_map_bytes(void *context)
{
    (void)context;
    return 1;
}

static bool port_space(void *context, struct base_disk_space *ret)
{
    const struct quorum_node *node = context;
    *ret = (struct base_disk_space){.total_bytes = 1 << 30, .free_bytes = node->full ? 0 : 1 << 30};
    return true;
}

static size_t port_coordinators(void *context, struct proto_coordinator *ret, size_t room)
{
    return coord_replica_coordinators(((struct quorum_node *)context)->replica, ret, room);
}

static void port_quorum(void *context, const struct coord_request *request)
{
    coord_replica_quorum(((struct quorum_node *)context)->replica, request);
}

static const char *find_peer(void *context, uint32_t number)
{
    struct quorum_node *node = context;
    return number < QUORUM_MAX ? node->quorum->nodes[number].peer : NULL;
}

static void start_replica(struct quorum_node *node)
{
    struct quorum *quorum = node->quorum;
    const struct coord_peers_options peers = {
        .context = quorum->context,
        .endpoint = node->peer,
        .cluster_id = quorum->file.cluster_id,
        .member = node->home.member,
        .clock = &quorum->clock,
        .find = find_peer,
        .find_context = node,
    };
    assert_int_equal(coord_peers_new(&peers, &node->peers, NULL), LILIO_OK);
    const struct coord_replica_options replica = {
        .home = &node->home,
        .peers = node->peers,
        .context = quorum->context,
        .file = &quorum->file,
        .service =
            {
                .port = {port_reply, port_reply_packed, port_map_bytes, port_space,
                         port_coordinators, port_quorum, node},
                .clock = &quorum->clock,
                .random = base_random_system(),
                .id = node->id,
                .address = node->endpoint,
                .software = "test",
            },
        .election_ms = ELECTION_MS,
        .heartbeat_ms = HEARTBEAT_MS,
        .flush_bytes = quorum->flush_bytes,
        .flush_ms = quorum->flush_bytes ? 1 : 0,
    };
    assert_int_equal(coord_replica_new(&replica, &node->replica, NULL), LILIO_OK);
}

enum lilio_err quorum_start(struct quorum *quorum, uint32_t id, bool init,
                            struct lilio_errinfo *info)
{
    struct quorum_node *node = &quorum->nodes[id];
    const struct coord_home_options home = {
        .path = node->dir,
        .file = &quorum->file,
        .id = id,
        .init = init,
        .join = node->join,
        .log_segment_bytes = quorum->log_segment_bytes,
    };
    enum lilio_err err = coord_home_open(&home, &node->home, info);
    if (err)
        return err;
    start_replica(node);
    node->up = true;
    return LILIO_OK;
}

void quorum_kill(struct quorum *quorum, uint32_t id)
{
    struct quorum_node *node = &quorum->nodes[id];
    if (!node->up)
        return;
    node->up = false;
    coord_replica_free(&node->replica);
    coord_peers_free(&node->peers);
    coord_home_release(&node->home);
}

/* ---- all of them ---- */

/* Its threads will have something to say, however long that takes. */
static bool works(const struct coord_replica *replica)
{
    return coord_worker_busy(replica->writer) || coord_worker_busy(replica->flusher) ||
           replica->pull;
}

/* One step of each. Time goes on only if nothing is under way: to the next thing somebody wants to
 * do by itself. */
static void turn(struct quorum *quorum)
{
    struct proto_wait_item items[QUORUM_MAX * COORD_REPLICA_ITEMS];
    size_t count = 0;
    int leap_ms = LEAP_MS;
    bool busy = false;
    for (uint32_t i = 0; i < QUORUM_MAX; i++) {
        struct quorum_node *node = &quorum->nodes[i];
        if (!node->up)
            continue;
        struct lilio_errinfo info = {0};
        if (coord_replica_step(node->replica, &info))
            fail_msg("coordinator.%u: %s", i, info.text);
        count += coord_replica_items(node->replica, items + count);
        int node_ms = coord_replica_wait_ms(node->replica);
        leap_ms = node_ms < leap_ms ? node_ms : leap_ms;
        busy = busy || works(node->replica);
    }
    if (leap_ms > 0 && proto_wait(items, count, busy ? WORKER_MS : IDLE_MS) == 0 && !busy)
        quorum->now_ns += (uint64_t)leap_ms * NS_PER_MS;
}

bool quorum_run(struct quorum *quorum, int ms, bool (*done)(void *context), void *context)
{
    uint64_t until = base_now_ms(&quorum->clock) + (uint64_t)ms;
    do {
        turn(quorum);
        if (done && done(context))
            return true;
    } while (base_now_ms(&quorum->clock) < until);
    return false;
}

static struct quorum_node *leads(struct quorum *quorum)
{
    struct quorum_node *leader = NULL;
    for (uint32_t i = 0; i < QUORUM_MAX; i++) {
        struct quorum_node *node = &quorum->nodes[i];
        if (!node->up || !coord_replica_leads(node->replica))
            continue;
        uint64_t term = raft_term(coord_replica_raft(node->replica));
        if (leader) /* one of an older term may not know yet */
            assert_int_not_equal(term, raft_term(coord_replica_raft(leader->replica)));
        if (!leader || term > raft_term(coord_replica_raft(leader->replica)))
            leader = node;
    }
    return leader;
}

static bool somebody_leads(void *context)
{
    return leads(context) != NULL;
}

struct quorum_node *quorum_leader(struct quorum *quorum)
{
    assert_true(quorum_run(quorum, PATIENCE_MS, somebody_leads, quorum));
    return leads(quorum);
}

static bool all_equal(void *context)
{
    struct quorum *quorum = context;
    struct quorum_node *leader = leads(quorum);
    for (uint32_t i = 0; leader && i < QUORUM_MAX; i++)
        if (quorum->nodes[i].up && coord_replica_applied(quorum->nodes[i].replica) !=
                                       coord_replica_applied(leader->replica))
            return false;
    return leader != NULL;
}

void quorum_agree(struct quorum *quorum)
{
    uint64_t first = 0;
    bool seen = false;
    assert_true(quorum_run(quorum, PATIENCE_MS, all_equal, quorum));
    for (uint32_t i = 0; i < QUORUM_MAX; i++) {
        uint64_t digest;
        if (!quorum->nodes[i].up)
            continue;
        assert_int_equal(coord_state_digest(quorum->nodes[i].home.state, &digest, NULL), LILIO_OK);
        if (seen)
            assert_int_equal(digest, first);
        first = digest;
        seen = true;
    }
}

/* ---- requests ---- */

void quorum_ask(struct quorum_node *node, struct quorum_call *call, uint64_t session,
                uint64_t sequence, const struct proto_type *type, const void *value)
{
    quorum_call_release(call);
    assert_int_equal(proto_pack(type, value, &call->body), LILIO_OK);
    const struct coord_request request = {
        .token = call,
        .header = {.type = type->number,
                   .session = session,
                   .sequence = sequence,
                   .deadline_ms = PATIENCE_MS / 3},
        .type = type,
        .body = base_buffer_slice(&call->body),
    };
    coord_service_receive(coord_replica_service(node->replica), &request);
}

static bool is_done(void *context)
{
    return ((struct quorum_call *)context)->done;
}

enum lilio_err quorum_call(struct quorum_node *node, struct quorum_call *call, uint64_t session,
                           uint64_t sequence, const struct proto_type *type, const void *value)
{
    quorum_ask(node, call, session, sequence, type, value);
    assert_true(quorum_run(node->quorum, PATIENCE_MS, is_done, call));
    if (call->type != PROTO_MSG_error)
        return LILIO_OK;
    struct proto_error error;
    quorum_reply(node->quorum, call, &proto_type_error, &error);
    return error.code;
}

void quorum_reply(struct quorum *quorum, const struct quorum_call *call,
                  const struct proto_type *type, void *ret)
{
    assert_int_equal(call->type, type->number);
    assert_int_equal(proto_unpack(type, base_buffer_slice(&call->reply), quorum->arena, ret, NULL),
                     LILIO_OK);
}

void quorum_call_release(struct quorum_call *call)
{
    base_buffer_release(&call->body);
    base_buffer_release(&call->reply);
    *call = (struct quorum_call){0};
}
