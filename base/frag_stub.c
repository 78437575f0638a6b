/* What programs get that do not link frag_malloc (and sanitizer builds): no pool, plain aligned
 * memory. Weak, so that base/frag_malloc.c takes their place where it is linked. */
#include "base/pool.h"

#include <stdlib.h>

#include "base/bytes.h"

#include "base/banned.h"

enum { PAGE_BYTES = 4096 };

__attribute__((weak)) void base_frag_malloc_reserve(size_t payload_bytes_max, size_t count)
{
    (void)payload_bytes_max, (void)count;
}

__attribute__((weak)) void *base_frag_malloc_take(size_t size)
{
    uint64_t rounded;
    if (!base_round_up(size, PAGE_BYTES, &rounded))
        return NULL;
    return aligned_alloc(PAGE_BYTES, rounded ? rounded : PAGE_BYTES);
}
