#include "tests/sim/scenario.h"

#include <stddef.h>

#include "tests/sim/found.h"
#include "tests/sim/plot.h"
#include "tests/sim/smoke.h"

#include "base/banned.h"

const struct sim_scenario sim_scenarios[] = {
    {"swarm", "everything is drawn: topology, workload, faults; checked in every way",
     sim_plot_start},
    {"smoke", "a few clients put and get without and with faults", sim_smoke_start},
    {"pace", "the same without faults, for measuring", sim_pace_start},
    {"waiting-put", "found by a seed: a put that waits for its quorum does not burn its core",
     sim_found_waiting_put_start},
    {"left-behind", "found by a seed: readers find what only a slot's former owner has",
     sim_found_left_behind_start},
    {"left-behind-twice", "found by a seed: they find what the maps name nobody for, too",
     sim_found_left_behind_twice_start},
    {NULL, NULL, NULL},
};
