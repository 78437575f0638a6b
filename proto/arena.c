/* Blocks in a list, the newest first; take() cuts from the newest. clear() keeps one block, so that
 * a loop that unpacks message after message into one arena stops calling malloc. */
#include "proto/pack.h"

#include <stdlib.h>

#include "base/banned.h"

enum { BLOCK_BYTES_MIN = 4096, BLOCK_BYTES_KEPT = 256 * 1024, ARENA_ALIGN = 16 };

struct block {
    struct block *older;
    size_t capacity, used;
    _Alignas(ARENA_ALIGN) uint8_t bytes[];
};
struct proto_arena {
    struct block *newest;
};

enum lilio_err proto_arena_new(struct proto_arena **ret_arena)
{
    struct proto_arena *arena = calloc(1, sizeof *arena);
    if (!arena)
        return LILIO_E_NOMEM;
    *ret_arena = arena;
    return LILIO_OK;
}

void proto_arena_clear(struct proto_arena *arena)
{
    struct block *keep = NULL;
    while (arena->newest) {
        struct block *block = arena->newest;
        arena->newest = block->older;
        if (!keep && block->capacity <= BLOCK_BYTES_KEPT)
            keep = block;
        else
            free(block);
    }
    if (keep) {
        keep->older = NULL;
        keep->used = 0;
        arena->newest = keep;
    }
}

void proto_arena_free(struct proto_arena **arena)
{
    if (!*arena)
        return;
    while ((*arena)->newest) {
        struct block *block = (*arena)->newest;
        (*arena)->newest = block->older;
        free(block);
    }
    free(*arena);
    *arena = NULL;
}

void *proto_arena_take(struct proto_arena *arena, size_t size)
{
    uint64_t need;
    if (size > PTRDIFF_MAX || !base_round_up(size ? size : 1, ARENA_ALIGN, &need))
        return NULL;
    struct block *block = arena->newest;
    if (!block || block->capacity - block->used < need) {
        size_t capacity = block ? 2 * block->capacity : BLOCK_BYTES_MIN;
        if (capacity > BLOCK_BYTES_KEPT)
            capacity = BLOCK_BYTES_KEPT;
        if (capacity < need)
            capacity = need;
        block = malloc(sizeof *block + capacity);
        if (!block)
            return NULL;
        *block = (struct block){.older = arena->newest, .capacity = capacity};
        arena->newest = block;
    }
    void *ret = block->bytes + block->used;
    block->used += need;
    return memset(ret, 0, size);
}
