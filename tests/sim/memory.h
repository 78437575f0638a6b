/* What production code has allocated, node by node, and how much of it is too much.
 *
 * The linker's --wrap brings every allocation of production code here; it is charged to the process
 * that runs then, until it is freed, by whomever, or that process ends. The simulation's own
 * sources, its disks, and the store in memory that stands for RocksDB call the C library directly
 * (CMakeLists.txt), so what they keep is charged to nobody. Not seen either: what base/pool.h
 * reserves (mapped, of a fixed size, at the start), stacks, and what libraries allocate within.
 */
#ifndef TESTS_SIM_MEMORY_H
#define TESTS_SIM_MEMORY_H

#include "tests/sim/nodes.h"

/* Processes of this kind may hold so many bytes after a step; 0 = any number, as before the call.
 */
void sim_memory_bound(enum sim_kind kind, size_t bytes);
/* After a step of the node: more than its bound ends the run. */
void sim_memory_check(const struct sim_node *node);
/* The process is gone. What it left stays allocated, as its stacks do, and counts no more. */
void sim_memory_ended(const struct sim_node *node);
/* The most that a process of this kind held after a step. */
size_t sim_memory_peak(enum sim_kind kind);

#endif
