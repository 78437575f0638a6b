/* A disk that stands between a process and its disk, for SIGKILL: after the n-th change every call
 * fails without any effect, while what was done stays where it was, synced or not. The next process
 * takes the disk behind it. */
#ifndef TESTS_KILL_DISK_H
#define TESTS_KILL_DISK_H

#include "base/disk.h"

/* inner is borrowed. Freed with base_disk_free after all its files are closed. */
struct base_disk *kill_disk_new(struct base_disk *inner);
/* The n-th write, sync or change of names from now (1 = the next) still happens; its answer is
 * lost. 0: never. */
void kill_disk_at(struct base_disk *disk, unsigned long n);

#endif
