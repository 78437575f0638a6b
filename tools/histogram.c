#include "tools/histogram.h"

#include "base/banned.h"

/* Values below 64 have a bucket each; above, the top six bits name it. */
static size_t bucket_of(uint64_t value)
{
    if (value < 2 * TOOLS_HISTOGRAM_STEPS)
        return (size_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - 5u;
    return (size_t)shift * TOOLS_HISTOGRAM_STEPS + (size_t)(value >> shift);
}

/* The largest value of a bucket. */
static uint64_t bucket_top(size_t bucket)
{
    if (bucket < 2 * TOOLS_HISTOGRAM_STEPS)
        return bucket;
    unsigned shift = (unsigned)(bucket / TOOLS_HISTOGRAM_STEPS) - 1;
    uint64_t step = bucket % TOOLS_HISTOGRAM_STEPS + TOOLS_HISTOGRAM_STEPS;
    return ((step + 1) << shift) - 1;
}

void tools_histogram_add(struct tools_histogram *histogram, uint64_t value)
{
    histogram->counts[bucket_of(value)]++;
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
}

void tools_histogram_merge(struct tools_histogram *into, const struct tools_histogram *from)
{
    for (size_t i = 0; i < TOOLS_HISTOGRAM_BUCKETS; i++)
        into->counts[i] += from->counts[i];
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max)
        into->max = from->max;
}

uint64_t tools_histogram_at(const struct tools_histogram *histogram, unsigned per_mille)
{
    uint64_t wanted = (histogram->count * per_mille + 999) / 1000, seen = 0;
    for (size_t i = 0; i < TOOLS_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen >= wanted && histogram->counts[i] > 0)
            return bucket_top(i) < histogram->max ? bucket_top(i) : histogram->max;
    }
    return histogram->max;
}
