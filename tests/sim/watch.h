/* Looks at every coordinator after every step and at everything its log, its Raft and its maps are
 * told, and gives it to the checkers (check_raft.h). The linker puts it in between (--wrap), so the
 * code under test knows nothing of it. What is wrong ends the run with SIM_WRONG.
 */
#ifndef TESTS_SIM_WATCH_H
#define TESTS_SIM_WATCH_H

#include "base/types.h"

/* After sim_cluster_new. */
void sim_watch_start(void);
/* Number of the coordinator that leads the highest term, -1 = none. */
int sim_watch_leader(void *unused);
/* All coordinators run, one leads, all have applied the same index; their maps are compared then.
 */
bool sim_watch_converged(void);
/* Terms that had a leader. */
uint64_t sim_watch_terms(void);
/* This coordinator's disk was harmed: what it forgets is not held against it. */
void sim_watch_damaged(unsigned coordinator);
/* Its disk went back: it must not promise anything any more. */
void sim_watch_older(unsigned coordinator);
/* Whether messages that came before reach raft all the same (coordinator/replays.h). */
void sim_watch_replays_pass(bool pass);
/* All others but these remember its newest start, which was in a later life of its node. */
bool sim_watch_start_remembered(unsigned coordinator, unsigned after_life, const bool *but);

/* Called when a leader has appended an entry of its own (members: a configuration) and before
 * anything of it is sent. */
struct sim_node;
void sim_watch_on_append(void (*fn)(void *context, struct sim_node *node, bool members),
                         void *context);

#endif
