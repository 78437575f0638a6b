/* What a run is like, drawn from its seed: topology, profile, workload, faults, times. Every number
 * has a name, is printed, and can be set on the command line, so that a failing run can be made
 * smaller (--set NAME=VALUE). Setting one leaves the others as they were drawn.
 *
 * Faults have a mean distance in time (X_ms, over the whole cluster; 0 = never) and a mean duration
 * where they last; rates are in millionths of messages or calls.
 */
#ifndef TESTS_SIM_SWARM_H
#define TESTS_SIM_SWARM_H

#include <stdio.h>

#include "tests/sim/world.h"

/* X(name, least, most): the bounds of what may be set. */
#define SIM_SWARM_TABLE(X)                                                                     \
    /* topology */                                                                             \
    X(coordinators, 1, 9)                                                                      \
    X(osds, 1, 24)                                                                             \
    X(clients, 1, 16)                                                                          \
    X(workers, 1, 64) /* calls under way per client */                                         \
    X(data, 1, 16)                                                                             \
    X(parity, 0, 8)                                                                            \
    X(quorum, 0, 24) /* of the bucket; 0 = default */                                          \
    X(fragment_bytes, 4096, 1048576)                                                           \
    /* times */                                                                                \
    X(faults_s, 0, 100000) /* how long the faults go on */                                     \
    X(heal_s, 1, 10000)    /* within what everything has to be well again */                   \
    X(gc_grace_ms, 0, 3600000)                                                                 \
    X(orphan_ms, 1, 86400000)      /* retention of orphans */                                  \
    X(scrub_light_ms, 0, 86400000) /* periods; 0 = never by itself */                          \
    X(scrub_deep_ms, 0, 86400000)                                                              \
    X(scrub_percent, 0, 100) /* of the operator's rounds, twice a second, ask for one */       \
    X(suspect_ms, 100, 1000000)                                                                \
    X(down_ms, 100, 1000000)                                                                   \
    X(out_ms, 100, 100000000)                                                                  \
    X(log_kib, 0, 1000000)       /* a segment of the coordinators' log; 0 = default */         \
    X(log_cache_kib, 0, 1000000) /* entries of it they keep in memory; 0 = default */          \
    X(flush_ms, 0, 1000000)      /* of the coordinators' maps; 0 = default */                  \
    X(timeout_ms, 200, 60000)    /* of the clients' calls */                                   \
    X(latency_us, 0, 1000000)                                                                  \
    X(spread_us, 0, 1000000)                                                                   \
    X(disk_us, 0, 1000000) /* of a write */                                                    \
    X(sync_us, 0, 1000000)                                                                     \
    X(preempt_ppm, 0, 1000000)                                                                 \
    X(drift_ppm, 0, 50000) /* how wrong the monotonic clocks run at most */                    \
    /* workload */                                                                             \
    X(rate, 1, 10000) /* calls per second that are tried, all clients together */              \
    X(keys, 1, 900)                                                                            \
    X(hot_percent, 0, 100) /* of the calls that go to one of three keys */                     \
    X(put, 0, 1000)        /* weights */                                                       \
    X(put_absent, 0, 1000)                                                                     \
    X(put_version, 0, 1000)                                                                    \
    X(get, 0, 1000)                                                                            \
    X(range, 0, 1000)                                                                          \
    X(stat, 0, 1000)                                                                           \
    X(list, 0, 1000)                                                                           \
    X(delete, 0, 1000)                                                                         \
    X(delete_version, 0, 1000)                                                                 \
    X(put_many, 0, 1000) /* up to 48 over one connection */                                    \
    X(copy, 0, 1000)                                                                           \
    X(size_empty, 0, 1000) /* weights */                                                       \
    X(size_tiny, 0, 1000)                                                                      \
    X(size_edge, 0, 1000)    /* around fragments, stripes, blocks and the inline limit */      \
    X(size_stripes, 0, 1000) /* up to stripes_max of them */                                   \
    X(stripes_max, 1, 200)                                                                     \
    /* faults of the network */                                                                \
    X(net_break_ppm, 0, 100000)                                                                \
    X(net_drop_ppm, 0, 100000) /* these three between coordinators only */                     \
    X(net_duplicate_ppm, 0, 100000)                                                            \
    X(replays_pass, 0, 1) /* what a coordinator refuses to take twice reaches raft */          \
    X(net_reorder_ppm, 0, 500000)                                                              \
    X(partition_ms, 0, 100000000) /* two groups */                                             \
    X(one_way_ms, 0, 100000000)                                                                \
    X(isolate_ms, 0, 100000000)                                                                \
    X(clog_ms, 0, 100000000)                                                                   \
    X(cut_for_ms, 1, 1000000)                                                                  \
    X(cut_append_ppm, 0, 1000000)  /* leaders that are cut off with an entry nobody has */     \
    X(cut_members_ppm, 0, 1000000) /* likewise a change of members */                          \
    X(turn_percent, 0, 100)        /* of them come back to the next leader alone */            \
    X(break_ms, 0, 100000000)      /* connections of two nodes break */                        \
    X(intruder_ms, 0, 100000000)   /* messages from strangers */                               \
    /* faults of processes */                                                                  \
    X(kill_ms, 0, 100000000)                                                                   \
    X(power_ms, 0, 100000000)                                                                  \
    X(power_in_write_ms, 0, 100000000)                                                         \
    X(blackout_ms, 0, 100000000) /* power loss of all at once */                               \
    X(terminate_ms, 0, 100000000)                                                              \
    X(away_ms, 0, 100000000) /* an OSD is down for longer */                                   \
    X(away_for_ms, 0, 1000000)                                                                 \
    X(client_kill_ms, 0, 100000000)                                                            \
    X(down_for_ms, 1, 1000000)                                                                 \
    X(pause_ms, 0, 100000000)                                                                  \
    X(pause_for_ms, 1, 1000000)                                                                \
    X(wall_jump_ms, 0, 100000000)                                                              \
    X(leader_percent, 0, 100) /* of the faults of coordinators that hit the leader */          \
    X(transfer_ms, 0, 100000000)                                                               \
    X(member_ms, 0, 100000000) /* a coordinator is replaced though it is well */               \
    /* faults of disks */                                                                      \
    X(disk_error_ms, 0, 100000000) /* a call fails */                                          \
    X(disk_full_ms, 0, 100000000)                                                              \
    X(disk_slow_ms, 0, 100000000)                                                              \
    X(disk_stall_ppm, 0, 100000)                                                               \
    X(disk_for_ms, 1, 1000000)                                                                 \
    X(flip_ms, 0, 100000000)                /* a stored byte rots; these harm data: counted */ \
    X(read_flip_ms, 0, 100000000)           /* reads are wrong for a while */                  \
    X(write_flip_ms, 0, 100000000)          /* writes are wrong for a while */                 \
    X(misdirect_ms, 0, 100000000)           /* writes go astray for a while */                 \
    X(disk_replace_ms, 0, 100000000)        /* an OSD's disk is lost */                        \
    X(old_copy_ms, 0, 100000000)            /* an OSD's disk is as it was once */              \
    X(freeze_percent, 0, 100)               /* of that while all clients stand still */        \
    X(coordinator_replace_ms, 0, 100000000) /* a coordinator's disk is lost */                 \
    X(disk_older_ms, 0, 1000000)            /* coordinators: copied, or back to the copy */    \
    X(rebuild_percent, 0, 100)              /* of the hurt OSDs, before the faults end */      \
    X(rebuild_well_percent, 0, 100)         /* likewise of those that lack nothing */          \
    X(verify_percent, 0, 100)               /* of the operator's rounds, twice a second */     \
    X(drain_percent, 0, 100)                /* likewise: an OSD is drained and taken away */   \
    X(beyond, 0, 1)                         /* more is hurt than there is redundancy */

enum { SIM_NEVER_OUT_MS = 600000 }; /* out_ms with which no run sees an OSD out */

struct sim_swarm {
#define X(name, least, most) uint64_t name;
    SIM_SWARM_TABLE(X)
#undef X
};

/* Draws from the stream "swarm" of the world's seed. */
void sim_swarm_draw(struct sim_swarm *ret);
/* "name=value". False: no such name, not a number, out of its bounds. */
bool sim_swarm_set(struct sim_swarm *swarm, const char *assignment);
/* After the settings: false with the reason when it cannot be run (more fragments than OSDs). */
bool sim_swarm_valid(const struct sim_swarm *swarm, char ret_reason[128]);
/* Fragments of a stripe that may be hurt after it was written with its quorum. */
uint64_t sim_swarm_budget(const struct sim_swarm *swarm);
/* Lines of at most 100 columns, "name value name value ...". */
void sim_swarm_print(const struct sim_swarm *swarm, FILE *to);

#endif
