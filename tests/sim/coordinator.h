/* The coordinator's daemon as the simulation calls it. */
#ifndef TESTS_SIM_COORDINATOR_H
#define TESTS_SIM_COORDINATOR_H

#include "base/err.h"
#include "base/types.h"

struct sim_coordinator_options {
    const char *config;
    uint32_t id;
    bool init;
    uint64_t join; /* member id; 0: none */
    uint64_t suspect_ms, down_ms, out_ms, election_ms, heartbeat_ms;
    uint64_t log_segment_bytes, log_cache_bytes, flush_ms;
};
/* Serves until it is asked to end or a disk error ends it. */
LILIO_MUST_USE enum lilio_err sim_coordinator_run(const struct sim_coordinator_options *options,
                                                  struct lilio_errinfo *info);

#endif
