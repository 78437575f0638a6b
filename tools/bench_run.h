/* One stretch of a benchmark: threads that put, get or delete numbered objects, or one that puts
 * small ones, until a count is reached or the time is over. Everything goes through the public
 * client library. */
#ifndef TOOLS_BENCH_RUN_H
#define TOOLS_BENCH_RUN_H

#include "client/lilio.h"
#include "tools/bench_data.h"
#include "tools/histogram.h"

enum tools_bench_op { TOOLS_BENCH_PUT, TOOLS_BENCH_GET, TOOLS_BENCH_MIXED, TOOLS_BENCH_DELETE };

/* Objects that are there to be got. */
struct tools_bench_set {
    struct tools_bench_member {
        uint64_t object, size;
    } * members;
    size_t count;
};
struct tools_bench_plan {
    enum tools_bench_op op;
    struct lilio_client *client;
    const char *bucket;
    const struct tools_bench_data *data;
    const struct tools_bench_set *set; /* for gets */
    uint64_t size;                     /* of each put */
    uint64_t first_object;             /* number of the first put or delete */
    uint64_t count;                    /* operations; UINT64_MAX = until the time is over */
    uint64_t duration_ms;              /* UINT64_MAX = until the count is reached */
    unsigned concurrency;
};
struct tools_bench_result {
    struct tools_histogram latency_us;
    uint64_t operations, bytes, put_bytes, get_bytes;
    uint64_t puts; /* also those that failed: numbers that were used */
    uint64_t errors, degraded_stripes, bad_fragments;
    uint64_t elapsed_us;
    double cpu_s; /* of this process, meanwhile */
    struct lilio_errinfo first_error;
};
/* Errors: NOMEM, CANCELLED. What fails in single operations is counted, not returned; a worker that
 * only meets errors gives up. */
LILIO_MUST_USE enum lilio_err tools_bench_run(const struct tools_bench_plan *plan,
                                              struct tools_bench_result *ret,
                                              struct lilio_errinfo *info);
/* The key of an object: "SEED-NUMBER", 16 and 12 digits. */
enum { TOOLS_BENCH_KEY = 48 };
void tools_bench_key(uint64_t seed, uint64_t object, char ret_key[TOOLS_BENCH_KEY]);
bool tools_bench_key_read(const char *key, uint64_t *ret_seed, uint64_t *ret_object);

#endif
