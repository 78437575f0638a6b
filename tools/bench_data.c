#include "tools/bench_data.h"

#include "base/env.h"

#include "base/banned.h"

/* 16 bytes at any address: what every processor we run on has registers for. Wider ones would be
 * taken apart again, at half the speed. */
typedef uint64_t wide __attribute__((vector_size(16), aligned(1), may_alias));
enum { WIDES = TOOLS_BENCH_BLOCK / 16 };

void tools_bench_data_init(struct tools_bench_data *data, uint64_t seed)
{
    uint64_t state = seed;
    struct base_random random = base_random_seeded(&state);
    data->seed = seed;
    random.fill(random.context, data->words, sizeof data->words);
}

/* The word of a block: the finisher of splitmix64 over its name. */
static uint64_t block_word(const struct tools_bench_data *data, uint64_t object, uint64_t block)
{
    uint64_t x = data->seed ^ (object * 0x9e3779b97f4a7c15u) ^ (block * 0xd1342543de82ef95u);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void block_fill(const struct tools_bench_data *data, uint64_t word, void *bytes)
{
    const wide *from = (const wide *)data->words;
    wide *to = bytes;
    for (size_t i = 0; i < WIDES; i++)
        to[i] = from[i] ^ word;
}

static bool block_check(const struct tools_bench_data *data, uint64_t word, const void *bytes)
{
    const wide *want = (const wide *)data->words, *has = bytes;
    wide difference = {0};
    for (size_t i = 0; i < WIDES; i++)
        difference |= want[i] ^ word ^ has[i];
    return (difference[0] | difference[1]) == 0;
}

/* The part of [offset, offset + size) that lies in one block. */
static size_t part_size(uint64_t offset, size_t size)
{
    size_t left = TOOLS_BENCH_BLOCK - (size_t)(offset % TOOLS_BENCH_BLOCK);
    return size < left ? size : left;
}

void tools_bench_data_fill(const struct tools_bench_data *data, uint64_t object, uint64_t offset,
                           void *ret_bytes, size_t size)
{
    uint8_t *to = ret_bytes, scratch[TOOLS_BENCH_BLOCK];
    while (size > 0) {
        size_t part = part_size(offset, size);
        uint64_t word = block_word(data, object, offset / TOOLS_BENCH_BLOCK);
        if (part == TOOLS_BENCH_BLOCK) {
            block_fill(data, word, to);
        } else {
            block_fill(data, word, scratch);
            memcpy(to, scratch + offset % TOOLS_BENCH_BLOCK, part);
        }
        to += part;
        offset += part;
        size -= part;
    }
}

bool tools_bench_data_check(const struct tools_bench_data *data, uint64_t object, uint64_t offset,
                            const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    uint8_t scratch[TOOLS_BENCH_BLOCK];
    while (size > 0) {
        size_t part = part_size(offset, size);
        uint64_t word = block_word(data, object, offset / TOOLS_BENCH_BLOCK);
        if (part == TOOLS_BENCH_BLOCK) {
            if (!block_check(data, word, from))
                return false;
        } else {
            block_fill(data, word, scratch);
            if (memcmp(from, scratch + offset % TOOLS_BENCH_BLOCK, part) != 0)
                return false;
        }
        from += part;
        offset += part;
        size -= part;
    }
    return true;
}
