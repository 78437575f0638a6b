/* Aim: whatever is lost, repeated, delayed, reordered, cut off, crashed, paused, moved or
 * compacted, Raft's properties hold after every event, reads are never stale, and a healed group
 * goes on. Method: raft_chaos.c, some hundred seeds; LILIO_RAFT_SEEDS asks for more,
 * LILIO_RAFT_SEED for one.
 */
#include "raft_net.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void properties_hold(void **unused)
{
    (void)unused;
    static struct net net;
    uint64_t first = number("LILIO_RAFT_SEED", 1);
    uint64_t last = first + number("LILIO_RAFT_SEEDS", getenv("LILIO_RAFT_SEED") ? 1 : 400);
    uint64_t entries = 0, elections = 0, truncations = 0, snapshots = 0, reads = 0, bad = 0;
    for (uint64_t seed = first; seed < last; seed++) {
        const char *violation = chaos_run(&net, seed);
        if (violation[0]) {
            print_message("seed %lu: %s (at %lu ms)\n", seed, violation, net.now_ms);
            bad++;
        }
        entries += net.truth_last;
        elections += net.elections;
        truncations += net.truncations;
        snapshots += net.snapshots;
        for (size_t i = 0; i < net.read_count; i++)
            reads += net.reads[i].answer == 1;
        net_stop(&net);
    }
    print_message("%lu seeds: %lu entries committed, %lu leaders, %lu entries replaced, %lu states "
                  "installed, %lu reads\n",
                  last - first, entries, elections, truncations, snapshots, reads);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(properties_hold)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
