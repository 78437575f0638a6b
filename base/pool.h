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

/* Programs that link base_frag_malloc (base/frag_malloc.c) answer libzmq's malloc of a received
 * fragment from huge pages so that its bytes start on a page boundary (bench: put 1.27x,
 * get 1.25x). Without it, or in sanitizer builds, the functions below answer false / do nothing and
 * receivers copy when alignment is needed. reserve: call once at start, before sockets exist. */
void base_frag_malloc_reserve(size_t payload_bytes_max, size_t count);
/* A page-aligned block from the same huge pages (falls back to aligned_alloc); freed with free().
 */
void *base_frag_malloc_take(size_t size);

#endif
