/* Bugs that seeds of the swarm found, each played in short. */
#ifndef TESTS_SIM_FOUND_H
#define TESTS_SIM_FOUND_H

#include "tests/sim/scenario.h"

/* A put that waits for a quorum while an OSD that it does not need comes back did not wait: it
 * turned its loop for up to three seconds. */
void sim_found_waiting_put_start(const struct sim_arguments *arguments);

/* A rebuild named what it could not have of slots that had just moved, their fill left these to
 * repair, and who had the slots before was forgotten: when that one came back with the only copies,
 * readers were told LOST until repair came by. */
void sim_found_left_behind_start(const struct sim_arguments *arguments);

/* A slot moved twice: the maps name only the last former owner, and an OSD of before had the only
 * copies. Readers were told LOST without anybody asking it. */
void sim_found_left_behind_twice_start(const struct sim_arguments *arguments);

#endif
