/* An own malloc() for one caller: libzmq, when it receives a fragment.
 *
 * libzmq allocates a large message with malloc(40 + size) and puts the bytes behind the 40
 * [libzmq 4.3.4, msg.cpp init_size]. Answered 40 bytes before a page boundary, the bytes arrive
 * where a direct write can take them as they are, in pages that were faulted in long ago. Should a
 * libzmq differ, its messages are not aligned and receivers copy.
 *
 * Such a pointer is aligned to 8 bytes only, less than malloc promises. libzmq needs no more,
 * others might: so the calls are told apart by their return address, which must lie in libzmq's
 * code. Everything else goes to the C library, which also serves calloc, aligned_alloc and their
 * kin directly (their memory comes back through free() below).
 *
 * Pools: two classes of slots, whole payloads and quarters, because with huge pages a small message
 * in a large slot costs as much memory as a large one. Each slot is one page (its end holds the 40
 * bytes) and the payload. Untouched slots cost nothing; the slot freed last is used first, so what
 * was touched stays near what was in use at once. Empty pools and other sizes: the C library. No
 * locks: any thread, also in a child after fork.
 */
#include "base/pool.h"

#if !LILIO_SANITIZED

#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/slots_priv.h"

#include "base/banned.h"

enum {
    PAGE_BYTES = 4096,
    HUGE_PAGE_BYTES = 2 << 20,
    MESSAGE_HEAD_BYTES = 40,
    PAYLOAD_MIN_BYTES = 32 << 10, /* smaller messages are cheap to copy */
    SMALL_PER_LARGE = 4,          /* a small slot has this part of a large one's payload */
    COUNT_MAX = 65536,
};

extern void *__libc_malloc(size_t size);
extern void __libc_free(void *p);
extern void *__libc_realloc(void *p, size_t size);

struct pool {
    uint8_t *first; /* slot; NULL until reserved */
    size_t bytes, slot_bytes, payload_max;
    struct base_slots slots;
};

/* Written by reserve() before other threads exist, then read only (but for the stacks of free
 * slots). */
static struct pool pools[2]; /* quarters, whole payloads */
static uintptr_t zmq_start, zmq_end;

/* ---- slots ---- */

static struct pool *pool_of(const void *p)
{
    for (size_t i = 0; i < 2; i++)
        if ((uintptr_t)p - (uintptr_t)pools[i].first < pools[i].bytes)
            return &pools[i];
    return NULL;
}

/* The payload part of a slot: on a page boundary, with a page before it. NULL if no slot fits or is
 * free. */
static uint8_t *take_payload(size_t size)
{
    if (size < PAYLOAD_MIN_BYTES)
        return NULL;
    struct pool *pool = size <= pools[0].payload_max ? &pools[0] : &pools[1];
    if (size > pool->payload_max)
        return NULL;
    uint32_t slot = base_slots_take(&pool->slots);
    return slot == BASE_SLOT_NONE ? NULL : pool->first + slot * pool->slot_bytes + PAGE_BYTES;
}

static void give(struct pool *pool, const void *p)
{
    size_t inside = (size_t)((uintptr_t)p - (uintptr_t)pool->first);
    base_slots_give(&pool->slots, (uint32_t)(inside / pool->slot_bytes));
}

/* From p to the end of its slot. */
static size_t room_at(const struct pool *pool, const void *p)
{
    size_t inside = (size_t)((uintptr_t)p - (uintptr_t)pool->first);
    return pool->slot_bytes - inside % pool->slot_bytes;
}

/* ---- what replaces the C library's ---- */

void *malloc(size_t size)
{
    uintptr_t caller = (uintptr_t)__builtin_return_address(0);
    if (size >= PAYLOAD_MIN_BYTES + MESSAGE_HEAD_BYTES &&
        caller - zmq_start < zmq_end - zmq_start) {
        uint8_t *payload = take_payload(size - MESSAGE_HEAD_BYTES);
        if (payload)
            return payload - MESSAGE_HEAD_BYTES;
    }
    return __libc_malloc(size);
}

void free(void *p)
{
    struct pool *pool = pool_of(p);
    if (pool)
        give(pool, p);
    else
        __libc_free(p);
}

void *realloc(void *p, size_t size)
{
    struct pool *pool = pool_of(p);
    if (!pool)
        return __libc_realloc(p, size);
    size_t room = room_at(pool, p);
    if (size > 0 && size <= room)
        return p;
    void *moved = size > 0 ? __libc_malloc(size) : NULL;
    if (size > 0 && !moved)
        return NULL;
    if (moved)
        memcpy(moved, p, room);
    give(pool, p);
    return moved;
}

size_t malloc_usable_size(void *p)
{
    const struct pool *pool = pool_of(p);
    if (pool)
        return room_at(pool, p);
    size_t (*usable_size)(void *);
    void *symbol = dlsym(RTLD_NEXT, "malloc_usable_size");
    memcpy(&usable_size, &symbol, sizeof usable_size); /* C has no cast between the two */
    return symbol ? usable_size(p) : 0;
}

/* ---- reserving ---- */

static int find_zmq(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size, (void)context;
    if (!info->dlpi_name || !strstr(info->dlpi_name, "/libzmq.so"))
        return 0;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && part->p_flags & PF_X) {
            zmq_start = info->dlpi_addr + part->p_vaddr;
            zmq_end = zmq_start + part->p_memsz;
        }
    }
    return 1;
}

/* Without memory the pool stays empty and the C library does its work. */
static void reserve_pool(struct pool *pool, size_t payload_max, uint32_t count)
{
    uint64_t bytes;
    size_t slot_bytes = payload_max + PAGE_BYTES;
    if (__builtin_mul_overflow((uint64_t)slot_bytes, count, &bytes) ||
        !base_round_up(bytes, HUGE_PAGE_BYTES, &bytes) || bytes > SIZE_MAX / 2)
        return;
    _Atomic uint32_t *next = calloc(count, sizeof *next); /* lives as long as the process */
    uint8_t *mapping = mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!next || mapping == MAP_FAILED) {
        free(next);
        return;
    }
    uint8_t *first = mapping + (HUGE_PAGE_BYTES - (uintptr_t)mapping % HUGE_PAGE_BYTES);
    (void)madvise(first, bytes, MADV_HUGEPAGE); /* small pages do as well */
    base_slots_init(&pool->slots, next, count);
    pool->slot_bytes = slot_bytes;
    pool->payload_max = payload_max;
    pool->bytes = bytes;
    pool->first = first;
}

void base_frag_malloc_reserve(size_t payload_bytes_max, size_t count)
{
    uint64_t large, small;
    if (pools[1].first || count == 0 || count > COUNT_MAX ||
        !base_round_up(payload_bytes_max, PAGE_BYTES, &large) ||
        !base_round_up(large / SMALL_PER_LARGE, PAGE_BYTES, &small) || large < PAYLOAD_MIN_BYTES)
        return;
    dl_iterate_phdr(find_zmq, NULL);
    reserve_pool(&pools[1], large, (uint32_t)count);
    if (small >= PAYLOAD_MIN_BYTES)
        reserve_pool(&pools[0], small, (uint32_t)count);
}

void *base_frag_malloc_take(size_t size)
{
    uint64_t rounded;
    void *payload = take_payload(size);
    if (payload)
        return payload;
    if (!base_round_up(size, PAGE_BYTES, &rounded))
        return NULL;
    return aligned_alloc(PAGE_BYTES, rounded ? rounded : PAGE_BYTES);
}

#endif
