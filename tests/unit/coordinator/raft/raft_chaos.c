/* One seed: the seed draws the size of the group and how much of each fault there is; some seconds
 * of proposals, reads, transfers, changes of membership, compaction and faults follow; then all is
 * healed, and the group has to come together. */
#include "raft_net.h"

#include "base/banned.h"

enum { CHAOS_MS = 8000, NODES = 7 };

/* Chances of 10000 per step. */
struct mix {
    unsigned propose, read, transfer, change, crash, pause, cut, one_way, depose, heal, flush,
        persist;
    bool whole_log; /* what is flushed is cut off at once */
};

static bool chance(struct net *net, unsigned of_10000)
{
    return net_random(net, 10000) < of_10000;
}

static struct mix draw(struct net *net)
{
    net->drop_percent = net_random(net, 2) ? (unsigned)net_random(net, 25) : 0;
    net->dup_percent = net_random(net, 2) ? (unsigned)net_random(net, 20) : 0;
    static const unsigned delays[] = {0, 5, 20, 80, 250};
    net->delay_ms = delays[net_random(net, 5)];
    static const size_t reads[] = {0, 1, 3, 20};
    net->read_max = reads[net_random(net, 4)];
    net->lazy_disk = net_random(net, 4) != 0;
    static const unsigned persist[] = {200, 1000, 4000, 9000};
    return (struct mix){
        .propose = 200 + (unsigned)net_random(net, 3000),
        .read = 500,
        .transfer = net_random(net, 2) ? 30 : 0,
        .change = net_random(net, 2) ? 100 : 0,
        .crash = net_random(net, 3) ? (unsigned)net_random(net, 60) : 0,
        .pause = net_random(net, 2) ? 15 : 0,
        .cut = net_random(net, 3) ? (unsigned)net_random(net, 50) : 0,
        .one_way = net_random(net, 2) ? (unsigned)net_random(net, 60) : 0,
        .depose = net_random(net, 2) ? (unsigned)net_random(net, 40) : 0,
        .heal = 10 + (unsigned)net_random(net, 60),
        .flush = (unsigned)net_random(net, 200),
        .persist = persist[net_random(net, 4)],
        .whole_log = net_random(net, 2),
    };
}

static struct net_node *any(struct net *net)
{
    return &net->nodes[net_random(net, NODES)];
}

static void heal_links(struct net *net)
{
    memset(net->cut, 0, sizeof net->cut);
}

/* Two sides that do not hear each other. */
static void split(struct net *net)
{
    bool left[NODES];
    for (size_t i = 0; i < NODES; i++)
        left[i] = net_random(net, 2);
    for (size_t i = 0; i < NODES; i++)
        for (size_t j = 0; j < NODES; j++)
            net->cut[i + 1][j + 1] = left[i] != left[j];
}

/* The leader goes on alone, hears nothing, or is not heard. */
static void cut_leader(struct net *net)
{
    uint64_t leader = net_leader(net), how = net_random(net, 3);
    for (uint64_t other = 1; leader && other <= NODES; other++) {
        net->cut[leader][other] |= how != 1;
        net->cut[other][leader] |= how != 2;
    }
}

static void change(struct net *net, struct net_node *node)
{
    uint64_t id = 1 + net_random(net, NODES);
    const struct proto_raft_config *config = raft_config(node->raft, NULL, NULL);
    size_t voters = 0;
    for (size_t i = 0; i < config->members_count; i++)
        voters += config->members[i].kind == RAFT_VOTER;
    enum raft_change what = RAFT_ADD_LEARNER;
    for (size_t i = 0; i < config->members_count; i++)
        if (config->members[i].id == id)
            what = config->members[i].kind == RAFT_LEARNER ? RAFT_PROMOTE : RAFT_REMOVE;
    if (what == RAFT_REMOVE && voters <= 2)
        return;
    if (!net_change(node, what, id) && what == RAFT_ADD_LEARNER && !net_node(net, id)->up)
        net_start_blank(net, id);
}

static void fault(struct net *net, const struct mix *mix)
{
    struct net_node *node = any(net);
    if (chance(net, mix->crash)) {
        if (node->started && (!node->up || node->log_error))
            net_restart(node);
        else if (net_random(net, 2))
            net_crash(node, net_random(net, node->waiting.count + 1));
        else
            node->crash_in = 1 + (unsigned)net_random(net, 20);
    }
    if (chance(net, mix->crash) && !node->up && node->started)
        net_restart(node);
    if (chance(net, mix->crash / 8))
        node->log_error = LILIO_E_IO;
    if (chance(net, mix->pause))
        node->paused_until_ms = net->now_ms + net_random(net, 1500);
    if (chance(net, mix->cut))
        split(net);
    if (chance(net, mix->one_way))
        net->cut[1 + net_random(net, NODES)][1 + net_random(net, NODES)] = true;
    if (chance(net, mix->depose))
        cut_leader(net);
    if (chance(net, mix->heal))
        heal_links(net);
}

static void work(struct net *net, const struct mix *mix)
{
    for (size_t i = 0; i < NODES; i++) {
        struct net_node *node = &net->nodes[i];
        if (chance(net, mix->persist))
            net_persist(node, net_random(net, 3) ? SIZE_MAX : 1 + (size_t)net_random(net, 5));
        if (!node->up || node->paused_until_ms > net->now_ms)
            continue;
        if (chance(net, mix->propose))
            (void)net_propose(node);
        if (node->up && chance(net, mix->read))
            (void)net_read(node);
        if (node->up && chance(net, mix->flush)) {
            net_flush(node);
            if (mix->whole_log || net_random(net, 2))
                net_cut_log(node, node->flushed.applied -
                                      net_random(net, 2) * (node->flushed.applied / 2));
        }
        if (node->up && raft_role(node->raft) == RAFT_LEADER) {
            if (chance(net, mix->transfer)) {
                (void)net_transfer(node, net_random(net, 2) ? 1 + net_random(net, NODES) : 0);
                if (net_random(net, 2))
                    cut_leader(net);
            }
            if (node->up && chance(net, mix->change))
                change(net, node);
        }
    }
}

static bool together(struct net *net, uint64_t leader, uint64_t index)
{
    const struct proto_raft_config *config = raft_config(net_node(net, leader)->raft, NULL, NULL);
    for (size_t i = 0; i < config->members_count; i++)
        if (net_node(net, config->members[i].id)->state.applied < index)
            return false;
    return true;
}

/* The core of the group is healed: one leader that stays, and everybody applies everything. */
static void converge(struct net *net)
{
    heal_links(net);
    net->drop_percent = net->dup_percent = net->delay_ms = 0;
    net->lazy_disk = false;
    for (size_t i = 0; i < NODES; i++) {
        struct net_node *node = &net->nodes[i];
        node->paused_until_ms = 0;
        node->crash_in = 0;
        if (node->started && (!node->up || node->log_error))
            net_restart(node);
        net_persist(node, SIZE_MAX);
    }
    for (int i = 0; i < 2000 && !net->violation[0]; i++)
        net_step(net, 1);
    uint64_t leader = net_elect(net);
    if (net->violation[0])
        return;
    if (!leader || net_propose(net_node(net, leader))) {
        net_violate(net, "no leader after healing");
        return;
    }
    struct net_node *node = net_node(net, leader);
    uint64_t index = net_log_last(&node->log), term = raft_term(node->raft);
    for (int i = 0; i < 5000 && raft_role(node->raft) == RAFT_LEADER; i++) {
        if (together(net, leader, index))
            break;
        net_step(net, 1);
    }
    const struct proto_raft_config *config = raft_config(node->raft, NULL, NULL);
    size_t asked[NODES] = {0}, count = 0;
    for (size_t i = 0; i < config->members_count; i++)
        asked[count++] = net_read(net_node(net, config->members[i].id));
    net_run(net, 2000);
    if (net_leader(net) != leader || raft_term(node->raft) != term)
        net_violate(net, "the leader does not stay after healing");
    if (!together(net, leader, index))
        net_violate(net, "not everything is applied after healing");
    for (size_t i = 0; i < count; i++)
        if (asked[i] == SIZE_MAX || net->reads[asked[i]].answer != 1)
            net_violate(net, "a read is not answered after healing");
    for (size_t i = 0; i < net->read_count; i++)
        if (!net->reads[i].answer)
            net_violate(net, "a read of %lu is never answered", net->reads[i].node);
}

const char *chaos_run(struct net *net, uint64_t seed)
{
    net_start(net, 0, seed);
    size_t voters = 3 + (size_t)net_random(net, 3);
    uint64_t drawn = net->seed;
    net_stop(net);
    net_start(net, voters, drawn);
    struct mix mix = draw(net);
    uint64_t end_ms = net->now_ms + CHAOS_MS;
    while (net->now_ms < end_ms && !net->violation[0]) {
        net_step(net, 1 + net_random(net, 5));
        fault(net, &mix);
        work(net, &mix);
    }
    if (!net->violation[0])
        converge(net);
    return net->violation;
}
