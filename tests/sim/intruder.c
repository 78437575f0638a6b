#include "tests/sim/intruder.h"

#include "coordinator/raft/raft.h"
#include "tests/sim/net.h"
#include "tests/sim/nodes.h"

#include "base/banned.h"

enum { FRAMES_MAX = 4, FRAME_BYTES_MAX = 200 };

static void send_noise(struct sim_stream *random, const char *endpoint)
{
    uint8_t bytes[FRAMES_MAX][FRAME_BYTES_MAX];
    struct sim_frame frames[FRAMES_MAX];
    int count = (int)sim_between(random, 1, FRAMES_MAX);
    for (int i = 0; i < count; i++) {
        frames[i] = (struct sim_frame){bytes[i], sim_below(random, FRAME_BYTES_MAX + 1)};
        for (size_t at = 0; at < frames[i].size; at++)
            bytes[i][at] = (uint8_t)sim_u64(random);
    }
    sim_net_inject(endpoint, frames, count);
}

/* What would make the receiver follow, vote or step down, if it came from a member. */
static struct proto_raft forged(struct sim_stream *random)
{
    static const uint8_t kinds[] = {RAFT_PRE_VOTE, RAFT_VOTE,  RAFT_APPEND,     RAFT_TIMEOUT_NOW,
                                    RAFT_SNAPSHOT, RAFT_HELLO, RAFT_HELLO_REPLY};
    struct proto_raft raft = {
        .cluster_id = sim_cluster_id(),
        .kind = kinds[sim_below(random, sizeof kinds)],
        .from = UINT64_C(1000) << 32 | sim_below(random, 9),
        .to = UINT64_C(1) << 32 | sim_below(random, sim_cluster_options()->coordinator_count),
        .term = sim_between(random, 1, 1000000),
        .index = sim_below(random, 10000),
        .transfer = sim_below(random, 2),
    };
    if (sim_below(random, 2))
        raft.cluster_id.bytes[0] ^= 1;
    raft.log_term = raft.index ? raft.term : 0;
    return raft;
}

static void send_forged(struct sim_stream *random, const char *endpoint)
{
    struct base_buffer head = {0}, body = {0};
    struct proto_raft raft = forged(random);
    struct proto_header header = {.type = PROTO_MSG_raft, .epoch = sim_below(random, 100)};
    if (proto_header_pack(&header, &head) == LILIO_OK &&
        proto_raft_pack(&raft, &body) == LILIO_OK) {
        const struct sim_frame frames[] = {{head.data, head.size}, {body.data, body.size}};
        sim_net_inject(endpoint, frames, 2);
    }
    base_buffer_release(&head);
    base_buffer_release(&body);
}

void sim_intrude(struct sim_stream *random, const struct sim_node *node)
{
    char endpoint[SIM_ENDPOINT_ROOM];
    bool peer = sim_node_kind(node) == SIM_COORDINATOR && sim_below(random, 4) != 0;
    sim_node_endpoint(node, peer, endpoint);
    if (peer && sim_below(random, 3))
        send_forged(random, endpoint);
    else
        send_noise(random, endpoint);
}
