/* A lock-free stack of free slot numbers: the slot given back last is taken first, so that a pool's
 * hot part stays small.
 *
 * The top is {tag, number + 1} in one word; the tag changes with each take, so a number that left
 * and came back meanwhile is noticed. No lock also means: safe in a child after fork and wherever
 * malloc may be called. Any thread.
 */
#ifndef BASE_SLOTS_PRIV_H
#define BASE_SLOTS_PRIV_H

#include <stdatomic.h>

#include "base/types.h"

#define BASE_SLOT_NONE UINT32_MAX

struct base_slots {
    _Atomic uint64_t top;
    _Atomic uint32_t free_count; /* for reports; may lag behind */
    _Atomic uint32_t *next; /* per free slot: number + 1 of the one below it, 0 at the bottom */
};

/* next has room for count numbers, belongs to the caller and outlives the stack. Slot 0 is taken
 * first. */
static inline void base_slots_init(struct base_slots *slots, _Atomic uint32_t *next, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        atomic_init(&next[i], i + 1 < count ? i + 2 : 0);
    slots->next = next;
    atomic_init(&slots->free_count, count);
    atomic_init(&slots->top, count > 0 ? 1 : 0);
}

/* BASE_SLOT_NONE if all are in use. */
static inline uint32_t base_slots_take(struct base_slots *slots)
{
    uint64_t top = atomic_load_explicit(&slots->top, memory_order_acquire);
    for (;;) {
        uint32_t number = (uint32_t)top;
        if (number == 0)
            return BASE_SLOT_NONE;
        uint64_t tag = (top >> 32) + 1;
        uint32_t below = atomic_load_explicit(&slots->next[number - 1], memory_order_relaxed);
        if (atomic_compare_exchange_weak_explicit(&slots->top, &top, tag << 32 | below,
                                                  memory_order_acquire, memory_order_acquire)) {
            atomic_fetch_sub_explicit(&slots->free_count, 1, memory_order_relaxed);
            return number - 1;
        }
    }
}

static inline void base_slots_give(struct base_slots *slots, uint32_t slot)
{
    atomic_fetch_add_explicit(&slots->free_count, 1, memory_order_relaxed);
    uint64_t top = atomic_load_explicit(&slots->top, memory_order_relaxed);
    do
        atomic_store_explicit(&slots->next[slot], (uint32_t)top, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&slots->top, &top,
                                                  (top & ~(uint64_t)0xffffffff) | (slot + 1),
                                                  memory_order_release, memory_order_relaxed));
}

#endif
