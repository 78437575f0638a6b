/* Page-aligned buffers for fragments, taken from huge pages mapped once, so that the data path
 * neither faults pages in nor calls malloc. Any thread. A pool that runs out answers NULL: the
 * caller says BUSY or waits. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/err.h"

struct base_pool;

/* buffer_bytes is rounded up to 4096. Memory is reserved now and used as buffers are first taken.
 * Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err base_pool_new(size_t buffer_bytes, size_t buffer_count,
                                            struct base_pool **ret_pool);
/* All buffers must be back. */
void base_pool_free(struct base_pool **pool);
/* 4096-aligned, not zeroed; NULL if none is free. */
void *base_pool_take(struct base_pool *pool);
void base_pool_give(struct base_pool *pool, void *buffer);
size_t base_pool_buffer_bytes(const struct base_pool *pool);
size_t base_pool_available(const struct base_pool *pool);

/* Programs that link the target frag_malloc (base/frag_malloc.c) answer libzmq's malloc of a
 * received fragment from huge pages so that its bytes start on a page boundary (bench: put 1.27x,
 * get 1.25x). Without it, or in sanitizer builds, reserve does nothing, take is aligned_alloc, and
 * receivers copy where alignment is needed.
 *
 * reserve: call once at start, before sockets and threads exist. count buffers of the largest size
 * that will be received or taken, and as many of a quarter of it; they cost memory only as far as
 * they are in use at the same time. */
void base_frag_malloc_reserve(size_t payload_bytes_max, size_t count);
/* At least size bytes on a page boundary, from the same huge pages while they last; freed with
 * free(). NULL without memory. Any thread. */
void *base_frag_malloc_take(size_t size);

#endif
