/* Messages of strangers: bytes without sense, and Raft messages of a high term from somebody who is
 * no member, of this cluster or of another. All of them have to be refused and do no harm. */
#ifndef TESTS_SIM_INTRUDER_H
#define TESTS_SIM_INTRUDER_H

#include "tests/sim/world.h"

struct sim_node;
void sim_intrude(struct sim_stream *random, const struct sim_node *node);

#endif
