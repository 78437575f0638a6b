/* Fibers: the threads of all simulated processes, run one at a time. One that runs goes on until it
 * blocks, yields or ends; what runs next is drawn from the seed. Only pthreads (threads.c),
 * descriptors (fds.c) and disks (disk.c) deal with fibers; code under test calls those.
 */
#ifndef TESTS_SIM_FIBER_H
#define TESTS_SIM_FIBER_H

#include "tests/sim/world.h"

struct sim_node;
struct sim_fiber;

/* Ready to run. The stack is from a pool and goes back to it. */
struct sim_fiber *sim_fiber_new(struct sim_node *node, void *(*fn)(void *argument), void *argument);
/* The one that runs, NULL outside of fibers. */
struct sim_fiber *sim_fiber_self(void);
struct sim_node *sim_fiber_node(const struct sim_fiber *fiber);
uint32_t sim_fiber_number(const struct sim_fiber *fiber);
struct sim_fiber *sim_fiber_find(uint32_t number); /* NULL if there is none (any more) */

/* Blocks the one that runs until it is woken. */
void sim_fiber_block(void);
/* Until it is woken (true) or the time has come (false). */
bool sim_fiber_block_until(uint64_t at_ns);
/* Nothing if it is not blocked. */
void sim_fiber_wake(struct sim_fiber *fiber);
/* Lets others run. */
void sim_fiber_yield(void);
/* Yields sometimes, as drawn: where a thread could be interrupted. */
void sim_fiber_interrupt(void);

/* Waits for the end of another fiber of the same process and gives its memory back. False if
 * somebody else does or it was let go. */
bool sim_fiber_join(struct sim_fiber *fiber, void **ret_result);
/* Nobody will wait for it. */
void sim_fiber_let_go(struct sim_fiber *fiber);
/* Ends the one that runs. */
_Noreturn void sim_fiber_exit(void *result);

/* Ends all fibers of a node where they are. If the one that runs is among them, this does not
 * return. */
void sim_fibers_kill(struct sim_node *node);
/* The fibers of a node do not run while it is paused. */
void sim_fibers_pause(struct sim_node *node, bool paused);
size_t sim_fibers_count(const struct sim_node *node);

/* For world.c: runs one of those that are ready, or answers false if none is. */
bool sim_fibers_step(struct sim_stream *stream, struct sim_node **ret_node);
void sim_fibers_init(void);
/* Prints where everybody is, for a run that is stuck. */
void sim_fibers_print(void);

#endif
