/* A small workload that shows that the machinery works. */
#ifndef TESTS_SIM_SMOKE_H
#define TESTS_SIM_SMOKE_H

#include "tests/sim/scenario.h"

void sim_smoke_start(const struct sim_arguments *arguments);
void sim_pace_start(const struct sim_arguments *arguments);

#endif
