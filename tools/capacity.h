/* How much still fits. Pure code. */
#ifndef TOOLS_CAPACITY_H
#define TOOLS_CAPACITY_H

#include "base/types.h"

/* The most bytes x that each of width slots can take when every stripe needs width different OSDs
 * and OSD i has free_bytes[i]: no OSD takes more than x, together they take width * x. 0 when there
 * are fewer OSDs than slots. */
uint64_t tools_capacity_per_slot(const uint64_t *free_bytes, size_t count, uint32_t width);

#endif
