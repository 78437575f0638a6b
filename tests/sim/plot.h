/* The plot of a run: a cluster is made, clients work, faults come and go, all is healed, and then
 * everything has to be as it was acknowledged.
 *
 *   make      coordinators and OSDs start, the operator makes the bucket
 *   faults    clients work while faults strike; the operator rebuilds what is hurt, replaces
 *             coordinators, moves leadership
 *   heal      no more faults, everything runs; clients work on for some seconds and must succeed
 *   converge  all coordinators have applied the same and have the same maps; all is readable; hurt
 *             OSDs are rebuilt; verify finds every fragment; what was deleted is collected
 *   judge     histories are linear, nothing was written twice
 *
 * What does not come to an end in time is SIM_STUCK, what is wrong SIM_WRONG.
 */
#ifndef TESTS_SIM_PLOT_H
#define TESTS_SIM_PLOT_H

#include "tests/sim/scenario.h"

void sim_plot_start(const struct sim_arguments *arguments);

#endif
