/* Shared by workload.c (processes and schedule) and workload_ops.c (the calls). */
#ifndef TESTS_SIM_WORKLOAD_PRIV_H
#define TESTS_SIM_WORKLOAD_PRIV_H

#include "tests/sim/nodes.h"
#include "tests/sim/workload.h"

/* A value that was ever handed to a put; its place is the counter in its id. */
struct workload_value {
    uint64_t id, size;
};
struct workload_copy {
    uint32_t key;
    size_t from, to; /* places in the history: the get and the put it stands for */
};
struct sim_workload {
    uint64_t mended_ns; /* when an OSD that had been hurt was last as good as any */
    const struct sim_swarm *swarm;
    struct sim_history history;
    struct sim_stream random;
    struct workload_value *values;
    size_t value_count, value_room;
    struct workload_copy *copies;
    size_t copy_count, copy_room;
    uint32_t copy_key; /* the next one */
    uint32_t writers;  /* lives of clients so far */
    bool stopped;
    struct sim_workload_counts counts;
};

/* What one life of a client knows of a key. */
struct workload_known {
    struct sim_version version;
    uint64_t value;
};
struct workload_life {
    struct sim_workload *workload;
    unsigned client;
    uint32_t writer;
    struct sim_stream random;
    struct lilio_client *lilio;
    uint64_t under_way;
    struct workload_known known[1024];
};

/* Chooses a call and makes it. */
void workload_call(struct workload_life *life);

#endif
