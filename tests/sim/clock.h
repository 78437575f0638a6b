/* The clocks and the randomness of the nodes: clock_gettime(), nanosleep(), getrandom(). */
#ifndef TESTS_SIM_CLOCK_H
#define TESTS_SIM_CLOCK_H

#include "tests/sim/world.h"

/* Part of each node. */
struct sim_clock {
    uint64_t local_ns, since_ns; /* what the monotonic clock showed at a true time */
    int32_t ppm;                 /* how much too fast it has been since then */
    int64_t wall_ms;             /* the wall clock minus the true time */
    struct sim_stream random;
};
void sim_clock_init(struct sim_clock *clock, const char *node);
void sim_clock_drift(struct sim_clock *clock, int32_t ppm);
/* A new process draws other numbers. */
void sim_clock_life(struct sim_clock *clock, const char *node, unsigned life);
/* The true time at which the running node's monotonic clock will show so much more, or this. */
uint64_t sim_clock_after_ms(uint64_t ms);
uint64_t sim_clock_true(const struct sim_clock *clock, uint64_t local_ns);

#endif
