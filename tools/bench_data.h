/* The bytes that bench stores: unique, reproducible from a seed, checkable everywhere, and cheap.
 *
 * An object is a row of 4 KiB blocks. Block b of object o is a fixed random template of 512 words,
 * each xor-ed with one word that depends on (seed, o, b). So no two blocks of a run are alike, and
 * any range of any object can be made or checked by itself at memory speed. Immutable after init;
 * any thread. */
#ifndef TOOLS_BENCH_DATA_H
#define TOOLS_BENCH_DATA_H

#include "base/types.h"

enum { TOOLS_BENCH_BLOCK = 4096, TOOLS_BENCH_WORDS = TOOLS_BENCH_BLOCK / 8 };
struct tools_bench_data {
    uint64_t seed;
    uint64_t words[TOOLS_BENCH_WORDS];
};
void tools_bench_data_init(struct tools_bench_data *data, uint64_t seed);
/* Bytes offset .. offset + size of object. */
void tools_bench_data_fill(const struct tools_bench_data *data, uint64_t object, uint64_t offset,
                           void *ret_bytes, size_t size);
bool tools_bench_data_check(const struct tools_bench_data *data, uint64_t object, uint64_t offset,
                            const void *bytes, size_t size);

#endif
