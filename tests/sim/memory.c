/* A hash table of the blocks that are charged, by their address: a pointer of somebody else's is
 * not in it, and its free() passes through.
 *
 * All of it holds with the address sanitizer, too: the C library's functions are the sanitizer's
 * then. Addresses stand inverted in the table, so that it hides no leak from anybody who looks. */
#include "tests/sim/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"
#include "tests/sim/wrap.h"

#include "base/banned.h"

enum { ROOM_MIN = 1 << 14 };

struct block {
    uintptr_t key; /* ~address; 0 = free */
    uint32_t size;
    uint8_t node;
    uint16_t life; /* of the account when it was charged */
};
_Static_assert(SIM_NODES_MAX <= UINT8_MAX, "a block has room for its node");

static struct {
    struct block *blocks;
    size_t room, count; /* a power of two */
} table;

static struct account {
    size_t live;
    uint16_t life;
} accounts[SIM_NODES_MAX];
static size_t bounds[SIM_CLIENT + 1], peaks[SIM_CLIENT + 1];

/* ---- the table ---- */

static size_t home_of(uintptr_t key)
{
    return (size_t)((key >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (table.room - 1);
}

static size_t find(uintptr_t key)
{
    size_t at = home_of(key);
    while (table.blocks[at].key != 0 && table.blocks[at].key != key)
        at = (at + 1) & (table.room - 1);
    return at;
}

static void grow(void)
{
    struct block *old = table.blocks;
    size_t room = table.room;
    table.room = room ? 2 * room : ROOM_MIN;
    table.blocks = __real_calloc(table.room, sizeof *table.blocks);
    SIM_ASSERT(table.blocks);
    for (size_t i = 0; i < room; i++)
        if (old[i].key != 0)
            table.blocks[find(old[i].key)] = old[i];
    __real_free(old);
}

/* Closes the gap, so that what lies behind it is found. */
static void take_out(size_t gap)
{
    size_t mask = table.room - 1;
    for (size_t at = (gap + 1) & mask; table.blocks[at].key != 0; at = (at + 1) & mask) {
        size_t home = home_of(table.blocks[at].key);
        if (((at - home) & mask) < ((at - gap) & mask))
            continue;
        table.blocks[gap] = table.blocks[at];
        gap = at;
    }
    table.blocks[gap].key = 0;
    table.count--;
}

/* ---- charging ---- */

static void discharge(const void *address)
{
    uintptr_t key = ~(uintptr_t)address;
    if (!address || table.count == 0)
        return;
    size_t at = find(key);
    const struct block *block = &table.blocks[at];
    if (block->key == 0)
        return;
    struct account *account = &accounts[block->node];
    if (account->life == block->life)
        account->live -= block->size;
    take_out(at);
}

static void *charge(void *address, size_t size)
{
    if (!address)
        return NULL;
    discharge(address); /* it was given back where we do not see it, in a library */
    if (2 * (table.count + 1) > table.room)
        grow();
    SIM_ASSERT(size <= UINT32_MAX);
    unsigned node = sim_node_index(sim_node_self());
    struct account *account = &accounts[node];
    uintptr_t key = ~(uintptr_t)address;
    table.blocks[find(key)] = (struct block){key, (uint32_t)size, (uint8_t)node, account->life};
    table.count++;
    account->live += size;
    return address;
}

void sim_memory_bound(enum sim_kind kind, size_t bytes)
{
    bounds[kind] = bytes;
}

void sim_memory_check(const struct sim_node *node)
{
    size_t live = accounts[sim_node_index(node)].live;
    enum sim_kind kind = sim_node_kind(node);
    if (live <= peaks[kind])
        return;
    peaks[kind] = live;
    if (bounds[kind] != 0 && live > bounds[kind])
        sim_fail(SIM_WRONG, "%s holds %zu KiB of memory, more than the %zu KiB it may",
                 sim_node_name(node), live >> 10, bounds[kind] >> 10);
}

void sim_memory_ended(const struct sim_node *node)
{
    struct account *account = &accounts[sim_node_index(node)];
    account->live = 0;
    account->life++;
}

size_t sim_memory_peak(enum sim_kind kind)
{
    return peaks[kind];
}

/* ---- in place of the C library's ---- */

void *__wrap_malloc(size_t size)
{
    return charge(__real_malloc(size), size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return charge(__real_calloc(count, size), count * size);
}

void *__wrap_realloc(void *old, size_t size)
{
    void *made = __real_realloc(old, size);
    if (!made && size > 0)
        return NULL;
    discharge(old);
    return charge(made, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (!__builtin_mul_overflow(count, size, &bytes))
        return __wrap_realloc(old, bytes);
    errno = ENOMEM;
    return NULL;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return charge(__real_aligned_alloc(alignment, size), size);
}

char *__wrap_strdup(const char *text)
{
    return __wrap_strndup(text, strlen(text));
}

char *__wrap_strndup(const char *text, size_t size)
{
    size_t length = strnlen(text, size);
    char *copy = __wrap_malloc(length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

void __wrap_free(void *address)
{
    discharge(address);
    __real_free(address);
}
