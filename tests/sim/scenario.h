/* What lilio-sim can run: each scenario draws what it wants from the seed, says so, makes the
 * cluster, and starts the driver that plays the plot and calls sim_end(). */
#ifndef TESTS_SIM_SCENARIO_H
#define TESTS_SIM_SCENARIO_H

#include "base/types.h"

struct sim_arguments {
    uint64_t seed;
    uint64_t minutes;            /* virtual, of faults; 0: the scenario's own default */
    const char *const *settings; /* "name=value" of the swarm */
    size_t setting_count;
};
struct sim_scenario {
    const char *name, *about;
    void (*start)(const struct sim_arguments *arguments);
};
/* The first one is the default; a name of NULL ends the list (scenarios.c). */
extern const struct sim_scenario sim_scenarios[];

#endif
