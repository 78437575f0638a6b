/* Room set aside on the coordinator's disk: DIR/reserve, a file of preallocated bytes. Others may
 * fill the disk to its last byte; then the file goes, and deletes and the ends of sessions find
 * room for their entries. It is made again once there is plenty. A filesystem that cannot
 * preallocate has none. Threads: one owner.
 */
#ifndef COORDINATOR_RESERVE_H
#define COORDINATOR_RESERVE_H

#include "base/disk.h"
#include "base/log.h"

enum {
    COORD_RESERVE_MIN_BYTES = 8 << 20, /* a sixteenth of the disk, between these two */
    COORD_RESERVE_MAX_BYTES = 32 << 20,
    COORD_RESERVE_NEAR_BYTES = 1 << 30, /* set aside when less than this is free: a disk with
                                           plenty of room needs none, and the maps stay small */
    COORD_RESERVE_LOW_BYTES = 4 << 20,  /* given up when less than this is free */
};

struct coord_reserve {
    struct base_disk *disk; /* borrowed */
    struct base_log *log;   /* may be NULL */
    bool kept;              /* the file is there */
};

/* Before the maps are opened, which needs room, too: only gives up. */
void coord_reserve_init(struct coord_reserve *reserve, struct base_disk *disk,
                        struct base_log *log);
/* Gives the room up or sets it aside anew, as the disk is now. */
void coord_reserve_look(struct coord_reserve *reserve);

#endif
