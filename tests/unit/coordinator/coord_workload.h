/* A seeded random workload over every command and configurations of the quorum, with a model of
 * which run, or which bytes, each name has. */
#ifndef TESTS_COORD_WORKLOAD_H
#define TESTS_COORD_WORKLOAD_H

#include "coord_fixture.h"

enum { WORKLOAD_BUCKETS = 3, WORKLOAD_KEYS = 12, WORKLOAD_SESSIONS = 3 };

struct workload {
    struct fx *fx;
    uint64_t seed, counter;
    struct proto_bucket buckets[WORKLOAD_BUCKETS];
    uint64_t sessions[WORKLOAD_SESSIONS], sequences[WORKLOAD_SESSIONS];
    struct base_oid names[WORKLOAD_BUCKETS][WORKLOAD_KEYS]; /* the run of a name, or the number of
                                                               its bytes; zero = no such object */
    uint32_t voters;
    uint64_t refused, granted;
};

void workload_start(struct workload *workload, struct fx *fx, uint64_t seed);
void workload_step(struct workload *workload);
/* Compares every name with the model. */
void workload_check(struct workload *workload);

#endif
