#include "base/pool.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/slots_priv.h"

#include "base/banned.h"

enum { PAGE_BYTES = 4096, HUGE_PAGE_BYTES = 2 << 20 };

struct base_pool {
    struct base_slots slots;
    uint8_t *first; /* of the buffers; on a huge page boundary */
    size_t buffer_bytes, buffer_count;
    void *mapping;
    size_t mapping_bytes;
    _Atomic bool *taken; /* per buffer; catches what is given twice */
};

/* Reserves address space; pages come with the first use. */
static enum lilio_err map_buffers(struct base_pool *pool)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(pool->buffer_bytes, pool->buffer_count, &bytes) ||
        !base_round_up(bytes, HUGE_PAGE_BYTES, &bytes) || bytes > SIZE_MAX - HUGE_PAGE_BYTES)
        return LILIO_E_NOMEM;
    pool->mapping_bytes =
        bytes + HUGE_PAGE_BYTES; /* the rest of a huge page before the first buffer */
    pool->mapping = mmap(NULL, pool->mapping_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool->mapping == MAP_FAILED) {
        pool->mapping = NULL;
        return LILIO_E_NOMEM;
    }
    uintptr_t start = (uintptr_t)pool->mapping;
    pool->first = (uint8_t *)pool->mapping + (HUGE_PAGE_BYTES - start % HUGE_PAGE_BYTES);
    (void)madvise(pool->first, bytes, MADV_HUGEPAGE); /* small pages do as well */
    return LILIO_OK;
}

enum lilio_err base_pool_new(size_t buffer_bytes, size_t buffer_count, struct base_pool **ret_pool)
{
    uint64_t rounded;
    if (!base_round_up(buffer_bytes, PAGE_BYTES, &rounded) || rounded == 0 ||
        buffer_count >= UINT32_MAX)
        return LILIO_E_NOMEM;
    struct base_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return LILIO_E_NOMEM;
    pool->buffer_bytes = rounded;
    pool->buffer_count = buffer_count;
    pool->taken = calloc(buffer_count + 1, sizeof *pool->taken);
    _Atomic uint32_t *next = calloc(buffer_count + 1, sizeof *next);
    enum lilio_err err = pool->taken && next ? map_buffers(pool) : LILIO_E_NOMEM;
    if (err) {
        free(next);
        free(pool->taken);
        free(pool);
        return err;
    }
    base_slots_init(&pool->slots, next, (uint32_t)buffer_count);
    *ret_pool = pool;
    return LILIO_OK;
}

void base_pool_free(struct base_pool **pool)
{
    if (!*pool)
        return;
    LILIO_ASSERT(base_pool_available(*pool) == (*pool)->buffer_count);
    munmap((*pool)->mapping, (*pool)->mapping_bytes);
    free((*pool)->slots.next);
    free((*pool)->taken);
    free(*pool);
    *pool = NULL;
}

void *base_pool_take(struct base_pool *pool)
{
    uint32_t slot = base_slots_take(&pool->slots);
    if (slot == BASE_SLOT_NONE)
        return NULL;
    pool->taken[slot] = true;
    return pool->first + slot * pool->buffer_bytes;
}

void base_pool_give(struct base_pool *pool, void *buffer)
{
    size_t inside = (size_t)((uint8_t *)buffer - pool->first);
    LILIO_ASSERT(inside < pool->buffer_bytes * pool->buffer_count);
    LILIO_ASSERT(inside % pool->buffer_bytes == 0);
    uint32_t slot = (uint32_t)(inside / pool->buffer_bytes);
    bool was_taken = atomic_exchange(&pool->taken[slot], false);
    LILIO_ASSERT(was_taken);
    base_slots_give(&pool->slots, slot);
}

size_t base_pool_buffer_bytes(const struct base_pool *pool)
{
    return pool->buffer_bytes;
}

size_t base_pool_available(const struct base_pool *pool)
{
    return pool->slots.free_count;
}
