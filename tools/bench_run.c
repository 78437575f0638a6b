#include "tools/bench_run.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/env.h"
#include "tools/cmd.h"

#include "base/banned.h"

enum { ERRORS_IN_A_ROW_MAX = 10 };

void tools_bench_key(uint64_t seed, uint64_t object, char ret_key[TOOLS_BENCH_KEY])
{
    (void)snprintf(ret_key, TOOLS_BENCH_KEY, "%016llx-%012llu", (unsigned long long)seed,
                   (unsigned long long)object);
}

bool tools_bench_key_read(const char *key, uint64_t *ret_seed, uint64_t *ret_object)
{
    unsigned long long seed, object;
    int used = 0;
    if (sscanf(key, "%16llx-%12llu%n", &seed, &object, &used) != 2 || used != 29 || key[used])
        return false;
    *ret_seed = seed;
    *ret_object = object;
    return true;
}

/* What the workers share; next and puts are the only words that change. */
struct shared {
    const struct tools_bench_plan *plan;
    uint64_t end_ns;
    _Atomic uint64_t next; /* operation */
    _Atomic uint64_t puts;
    _Atomic bool cancelled;
};
struct worker {
    struct shared *shared;
    struct tools_bench_result result;
    pthread_t thread;
};
/* One object under way. */
struct stream {
    const struct tools_bench_data *data;
    uint64_t object, position, size;
};

static enum lilio_err stream_read(void *context, void *buffer, size_t size, size_t *ret_size,
                                  struct lilio_errinfo *info)
{
    struct stream *stream = context;
    uint64_t left = stream->size - stream->position;
    size_t part = size < left ? size : (size_t)left;
    (void)info;
    tools_bench_data_fill(stream->data, stream->object, stream->position, buffer, part);
    stream->position += part;
    *ret_size = part;
    return LILIO_OK;
}

static enum lilio_err stream_write(void *context, const void *data, size_t size,
                                   struct lilio_errinfo *info)
{
    struct stream *stream = context;
    if (!tools_bench_data_check(stream->data, stream->object, stream->position, data, size))
        return lilio_fail(
            info, LILIO_E_CORRUPT, "object %llu: wrong bytes within %zu bytes from %llu on",
            (unsigned long long)stream->object, size, (unsigned long long)stream->position);
    stream->position += size;
    return LILIO_OK;
}

static enum lilio_err stream_restart(void *context, struct lilio_errinfo *info)
{
    struct stream *stream = context;
    (void)info;
    stream->position = 0;
    return LILIO_OK;
}

static enum lilio_err one_put(const struct tools_bench_plan *plan, uint64_t object,
                              struct tools_bench_result *result, struct lilio_errinfo *info)
{
    char key[TOOLS_BENCH_KEY];
    struct stream stream = {.data = plan->data, .object = object, .size = plan->size};
    struct lilio_source source = {.read = stream_read, .context = &stream, .size = plan->size};
    struct lilio_put_result stored;
    tools_bench_key(plan->data->seed, object, key);
    enum lilio_err err = lilio_put(plan->client, plan->bucket, key, &source, NULL, &stored, info);
    if (!err)
        result->put_bytes += plan->size;
    return err;
}

static enum lilio_err one_get(const struct tools_bench_plan *plan, uint64_t number,
                              struct tools_bench_result *result, struct lilio_errinfo *info)
{
    char key[TOOLS_BENCH_KEY];
    const struct tools_bench_member *member = &plan->set->members[number % plan->set->count];
    struct stream stream = {.data = plan->data, .object = member->object, .size = member->size};
    struct lilio_sink sink = {.write = stream_write, .restart = stream_restart, .context = &stream};
    struct lilio_get_result got;
    tools_bench_key(plan->data->seed, member->object, key);
    enum lilio_err err = lilio_get(plan->client, plan->bucket, key, &sink, NULL, &got, info);
    if (err)
        return err;
    if (stream.position != member->size)
        return lilio_fail(info, LILIO_E_CORRUPT, "object %llu: %llu bytes came, not %llu",
                          (unsigned long long)member->object, (unsigned long long)stream.position,
                          (unsigned long long)member->size);
    result->get_bytes += member->size;
    result->degraded_stripes += got.degraded_stripes;
    result->bad_fragments += got.bad_fragments;
    return LILIO_OK;
}

static enum lilio_err one_delete(const struct tools_bench_plan *plan, uint64_t number,
                                 struct lilio_errinfo *info)
{
    char key[TOOLS_BENCH_KEY];
    tools_bench_key(plan->data->seed, plan->first_object + number, key);
    enum lilio_err err =
        lilio_delete(plan->client, plan->bucket, key, (struct lilio_version){0}, info);
    return err == LILIO_E_NO_KEY ? LILIO_OK : err; /* that put had failed */
}

static enum lilio_err one_operation(struct shared *shared, uint64_t number,
                                    struct tools_bench_result *result, struct lilio_errinfo *info)
{
    const struct tools_bench_plan *plan = shared->plan;
    bool put = plan->op == TOOLS_BENCH_PUT || (plan->op == TOOLS_BENCH_MIXED && number % 2 == 0);
    if (plan->op == TOOLS_BENCH_DELETE)
        return one_delete(plan, number, info);
    if (put)
        return one_put(plan, plan->first_object + atomic_fetch_add(&shared->puts, 1), result, info);
    return one_get(plan, plan->op == TOOLS_BENCH_MIXED ? number / 2 : number, result, info);
}

static void note_error(struct tools_bench_result *result, enum lilio_err err,
                       const struct lilio_errinfo *info)
{
    if (result->errors++ == 0)
        result->first_error = info->text[0] ? *info : (struct lilio_errinfo){.err = err};
}

static void *work(void *context)
{
    struct worker *worker = context;
    struct shared *shared = worker->shared;
    struct tools_bench_result *result = &worker->result;
    const struct base_clock *clock = base_clock_system();
    unsigned in_a_row = 0;
    while (in_a_row < ERRORS_IN_A_ROW_MAX && !atomic_load(&shared->cancelled)) {
        uint64_t began_ns = base_now_ns(clock);
        uint64_t number = atomic_fetch_add(&shared->next, 1);
        struct lilio_errinfo info = {0};
        if (began_ns >= shared->end_ns || number >= shared->plan->count)
            break;
        enum lilio_err err = one_operation(shared, number, result, &info);
        if (err == LILIO_E_CANCELLED) {
            atomic_store(&shared->cancelled, true);
        } else if (err) {
            in_a_row++;
            note_error(result, err, &info);
        } else {
            in_a_row = 0;
            result->operations++;
            tools_histogram_add(&result->latency_us, (base_now_ns(clock) - began_ns) / 1000);
        }
    }
    return NULL;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage); /* cannot fail with these arguments */
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

/* ---- small puts: one thread, many under way ---- */

struct small_put {
    char key[TOOLS_BENCH_KEY];
    uint8_t *data;
    uint64_t began_ns;
    struct small_put *next_idle;
};
struct small_puts {
    struct shared *shared;
    struct tools_bench_result *result;
    struct small_put *idle;
    unsigned in_a_row; /* errors */
};

static bool small_next(void *context, struct lilio_small *ret)
{
    struct small_puts *puts = context;
    const struct tools_bench_plan *plan = puts->shared->plan;
    uint64_t now_ns = base_now_ns(base_clock_system());
    uint64_t number = atomic_load(&puts->shared->next);
    if (now_ns >= puts->shared->end_ns || number >= plan->count ||
        puts->in_a_row >= ERRORS_IN_A_ROW_MAX)
        return false;
    atomic_store(&puts->shared->next, number + 1);
    atomic_store(&puts->shared->puts, number + 1);
    struct small_put *put = puts->idle;
    puts->idle = put->next_idle;
    put->began_ns = now_ns;
    tools_bench_key(plan->data->seed, plan->first_object + number, put->key);
    tools_bench_data_fill(plan->data, plan->first_object + number, 0, put->data,
                          (size_t)plan->size);
    *ret = (struct lilio_small){
        .key = put->key, .data = put->data, .size = (size_t)plan->size, .tag = put};
    return true;
}

static void small_done(void *context, const struct lilio_small *object, enum lilio_err err,
                       const struct lilio_put_result *stored, const struct lilio_errinfo *info)
{
    struct small_puts *puts = context;
    struct small_put *put = object->tag;
    (void)stored;
    if (err == LILIO_E_CANCELLED) {
        atomic_store(&puts->shared->cancelled, true);
    } else if (err) {
        puts->in_a_row++;
        note_error(puts->result, err, info);
    } else {
        puts->in_a_row = 0;
        puts->result->operations++;
        puts->result->put_bytes += object->size;
        tools_histogram_add(&puts->result->latency_us,
                            (base_now_ns(base_clock_system()) - put->began_ns) / 1000);
    }
    put->next_idle = puts->idle;
    puts->idle = put;
}

static enum lilio_err run_small(struct shared *shared, struct tools_bench_result *result,
                                struct lilio_errinfo *info)
{
    const struct tools_bench_plan *plan = shared->plan;
    struct small_put *all = calloc(plan->concurrency, sizeof *all);
    uint8_t *data = malloc(plan->concurrency * (size_t)plan->size + 1);
    struct small_puts puts = {.shared = shared, .result = result};
    enum lilio_err err = all && data ? LILIO_OK : tools_no_memory(info);
    for (unsigned i = 0; !err && i < plan->concurrency; i++) {
        all[i].data = data + i * (size_t)plan->size;
        all[i].next_idle = puts.idle;
        puts.idle = &all[i];
    }
    struct lilio_put_stream stream = {
        .next = small_next, .done = small_done, .context = &puts, .in_flight = plan->concurrency};
    if (!err)
        err = lilio_put_many(plan->client, plan->bucket, &stream, info);
    if (err && err != LILIO_E_CANCELLED && err != LILIO_E_NOMEM) {
        note_error(result, err, info);
        err = LILIO_OK;
    }
    free(data);
    free(all);
    return err;
}

/* Objects that the coordinators keep. */
static bool all_small(const struct tools_bench_plan *plan)
{
    uint32_t most = 0;
    return plan->op == TOOLS_BENCH_PUT && plan->concurrency <= LILIO_IN_FLIGHT_MAX &&
           !lilio_inline_max(plan->client, &most, NULL) && most > 0 && plan->size <= most;
}

/* ---- a run ---- */

static void result_merge(struct tools_bench_result *into, const struct tools_bench_result *from)
{
    tools_histogram_merge(&into->latency_us, &from->latency_us);
    into->operations += from->operations;
    into->put_bytes += from->put_bytes;
    into->get_bytes += from->get_bytes;
    into->degraded_stripes += from->degraded_stripes;
    into->bad_fragments += from->bad_fragments;
    if (into->errors == 0 && from->errors > 0)
        into->first_error = from->first_error;
    into->errors += from->errors;
}

static enum lilio_err run_threads(struct shared *shared, struct tools_bench_result *result,
                                  struct lilio_errinfo *info)
{
    unsigned count = shared->plan->concurrency, started = 0;
    struct worker *workers = calloc(count, sizeof *workers);
    if (!workers)
        return tools_no_memory(info);
    for (; started < count; started++) {
        workers[started].shared = shared;
        if (pthread_create(&workers[started].thread, NULL, work, &workers[started]) != 0)
            break;
    }
    if (started < count)
        atomic_store(&shared->cancelled, true);
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(workers[i].thread, NULL); /* fails only for threads that are not ours */
        result_merge(result, &workers[i].result);
    }
    free(workers);
    return started < count ? lilio_fail(info, LILIO_E_NOMEM, "cannot start %u threads", count)
                           : LILIO_OK;
}

enum lilio_err tools_bench_run(const struct tools_bench_plan *plan, struct tools_bench_result *ret,
                               struct lilio_errinfo *info)
{
    const struct base_clock *clock = base_clock_system();
    bool small = all_small(plan);
    uint64_t began_ns = base_now_ns(clock);
    double cpu_began = cpu_seconds();
    struct shared shared = {
        .plan = plan,
        .end_ns =
            plan->duration_ms == UINT64_MAX ? UINT64_MAX : began_ns + plan->duration_ms * 1000000u,
    };
    *ret = (struct tools_bench_result){0};
    enum lilio_err err = small ? run_small(&shared, ret, info) : run_threads(&shared, ret, info);
    ret->bytes = ret->put_bytes + ret->get_bytes;
    ret->puts = atomic_load(&shared.puts);
    ret->elapsed_us = (base_now_ns(clock) - began_ns) / 1000;
    ret->cpu_s = cpu_seconds() - cpu_began;
    if (!err && atomic_load(&shared.cancelled))
        err = lilio_fail(info, LILIO_E_CANCELLED, "interrupted");
    return err;
}
