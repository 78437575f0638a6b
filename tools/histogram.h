/* Latencies in buckets that are 3 % wide, so that percentiles need no list of all of them. */
#ifndef TOOLS_HISTOGRAM_H
#define TOOLS_HISTOGRAM_H

#include "base/types.h"

enum {
    TOOLS_HISTOGRAM_STEPS = 32, /* buckets per power of two */
    TOOLS_HISTOGRAM_BUCKETS = 60 * TOOLS_HISTOGRAM_STEPS,
};
struct tools_histogram {
    uint64_t counts[TOOLS_HISTOGRAM_BUCKETS];
    uint64_t count, sum, max;
};
void tools_histogram_add(struct tools_histogram *histogram, uint64_t value);
void tools_histogram_merge(struct tools_histogram *into, const struct tools_histogram *from);
/* The value below which per_mille of 1000 lie, at most 3 % too high; 0 when there is none. */
uint64_t tools_histogram_at(const struct tools_histogram *histogram, unsigned per_mille);

#endif
