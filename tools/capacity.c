#include "tools/capacity.h"

#include "base/banned.h"

static bool fits(const uint64_t *free_bytes, size_t count, uint32_t width, uint64_t per_slot)
{
    uint64_t wanted, sum = 0;
    if (__builtin_mul_overflow(per_slot, width, &wanted))
        return false; /* more than anybody has */
    for (size_t i = 0; i < count && sum < wanted; i++)
        sum += free_bytes[i] < per_slot ? free_bytes[i] : per_slot;
    return sum >= wanted;
}

uint64_t tools_capacity_per_slot(const uint64_t *free_bytes, size_t count, uint32_t width)
{
    if (width == 0 || count < width)
        return 0;
    uint64_t low = 0, high = 0;
    for (size_t i = 0; i < count; i++)
        if (__builtin_add_overflow(high, free_bytes[i], &high))
            high = UINT64_MAX;
    high /= width;
    while (low < high) { /* low fits, nothing above high does */
        uint64_t middle = high - (high - low) / 2;
        if (fits(free_bytes, count, width, middle))
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}
