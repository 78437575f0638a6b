/* What nodes.c offers to the other parts of the machinery. */
#ifndef TESTS_SIM_NODES_PRIV_H
#define TESTS_SIM_NODES_PRIV_H

#include "tests/sim/clock.h"
#include "tests/sim/nodes.h"

struct sim_clock *sim_node_clock(struct sim_node *node);
/* Whose process listens at an endpoint of lilio.yaml; NULL if it is in none. */
struct sim_node *sim_node_of_endpoint(const char *endpoint);

/* net.c: the sockets of a process that died. With power_lost nobody is told. */
void sim_net_process_died(const struct sim_node *node, bool power_lost);
void sim_net_init(void);

#endif
