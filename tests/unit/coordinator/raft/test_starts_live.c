/* Aim: whoever is a majority of the newest committed configuration elects a leader, whatever each
 * of them missed. Method: random changes and absences; then only a majority lives, restarted. */
#include "raft_net.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

static struct net net;

static bool is_up(uint64_t id)
{
    return net_node(&net, id)->up;
}

static bool one(uint64_t seed)
{
    uint64_t first = 1 + seed % 5, next = first + 1;
    net_start(&net, first, seed);
    net.delay_ms = 3;
    for (int step = 0; step < 25; step++) {
        uint64_t leader = net_elect(&net);
        if (!leader)
            break;
        const struct proto_raft_config *config =
            raft_config(net_node(&net, leader)->raft, NULL, NULL);
        uint64_t id = config->members[net_random(&net, config->members_count)].id;
        size_t up = 0, voters = 0;
        for (size_t i = 0; i < config->members_count; i++)
            if (config->members[i].kind == RAFT_VOTER) {
                voters++;
                up += is_up(config->members[i].id);
            }
        switch (net_random(&net, 7)) {
        case 0:
        case 1:
            if (is_up(id) && 2 * (up - 1) > voters)
                net_crash(net_node(&net, id), 0);
            break;
        case 2: net_restart(net_node(&net, id)); break;
        case 3:
            if (next <= NET_NODES_MAX &&
                !net_change(net_node(&net, leader), RAFT_ADD_LEARNER, next))
                net_start_blank(&net, next++);
            break;
        case 4:
        case 5: (void)net_change(net_node(&net, leader), RAFT_PROMOTE, id); break;
        case 6:
            if (id != leader && (up > voters / 2 + 1 || !is_up(id)) && voters > 2) {
                (void)net_change(net_node(&net, leader), RAFT_REMOVE, id);
                net_run(&net, 200);
                net_crash(net_node(&net, id), 0);
            }
            break;
        }
        net_run(&net, 50 + net_random(&net, 300));
        if (net_random(&net, 2) && net_leader(&net))
            net_flush(net_node(&net, net_leader(&net)));
    }
    /* A majority of now. */
    uint64_t leader = net_elect(&net), index;
    bool committed = false;
    net_run(&net, 500);
    if (leader && net_leader(&net) == leader)
        (void)raft_config(net_node(&net, leader)->raft, &index, &committed);
    bool ok = true;
    if (committed) {
        const struct proto_raft_config *config =
            raft_config(net_node(&net, leader)->raft, NULL, NULL);
        uint64_t list[NET_NODES_MAX];
        size_t voters = 0;
        for (size_t i = 0; i < config->members_count; i++)
            if (config->members[i].kind == RAFT_VOTER)
                list[voters++] = config->members[i].id;
        for (uint64_t id = 1; id <= NET_NODES_MAX; id++)
            net_crash(net_node(&net, id), 0);
        net_run(&net, 1000);
        for (size_t i = voters; i > 1; i--) {
            size_t j = net_random(&net, i);
            uint64_t t = list[i - 1];
            list[i - 1] = list[j];
            list[j] = t;
        }
        for (size_t i = 0; i <= voters / 2; i++)
            net_restart(net_node(&net, list[i]));
        ok = net_elect(&net) != 0;
        if (!ok) {
            printf("seed %lu: no leader; voters %zu alive", seed, voters);
            for (size_t i = 0; i <= voters / 2; i++) {
                const struct proto_raft_config *c =
                    raft_config(net_node(&net, list[i])->raft, NULL, NULL);
                printf(" %lu(ann %d, members %zu, last %lu)", list[i],
                       raft_announced(net_node(&net, list[i])->raft), c->members_count,
                       net_log_last(&net_node(&net, list[i])->log));
            }
            printf("\n");
        }
    }
    if (net.violation[0]) {
        printf("seed %lu: %s\n", seed, net.violation);
        ok = false;
    }
    net_stop(&net);
    return ok;
}

static void all(void **unused)
{
    (void)unused;
    size_t bad = 0, seeds = getenv("SEEDS") ? strtoul(getenv("SEEDS"), NULL, 10) : 300;
    for (uint64_t seed = 1; seed <= seeds; seed++)
        bad += !one(seed);
    printf("bad %zu of %zu\n", bad, seeds);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
