/* bench: what the cluster does, measured from outside, through the public client library only.
 *
 * A run has a bucket of its own, which is removed afterwards. For gets a set of objects is stored
 * first, untimed. Every get is checked byte by byte. With --keep the bucket stays and `--bucket
 * NAME' gets from it later, for instance after OSDs were killed. */
#include "tools/cmd.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/env.h"
#include "tools/bench_run.h"
#include "tools/walk.h"

#include "base/banned.h"

enum {
    CONCURRENCY_MAX = 256,
    SET_OBJECTS_DEFAULT_MAX =
        4096, /* what --set-bytes gives is cut here unless --objects says more */
    SET_OBJECTS_MAX = 10000000,
};

struct bench {
    bool has_op, has_profile, has_bucket, keep, drop_caches;
    enum tools_bench_op op;
    uint64_t size, concurrency, duration_ms, set_bytes, objects, seed;
    struct lilio_profile profile;
    struct tools_name bucket;
    struct tools_bench_data data;
    struct tools_bench_set set;
    uint64_t used; /* object numbers below this may exist */
    bool caches_dropped;
};

enum { OPTION_SET_BYTES = 0x300, OPTION_OBJECTS, OPTION_DROP, OPTION_SEED };
static const struct argp_option options[] = {
    {"size", 's', "SIZE", 0, "Size of each object (default 4MiB)", 0},
    {"concurrency", 'c', "N", 0, "Operations under way at once (default 4)", 0},
    {"seconds", 't', "T", 0, "How long (default 10)", 0},
    {"keep", 'k', NULL, 0, "Leave the bucket and its objects, and print its name", 0},
    {"bucket", 'b', "BUCKET", 0, "get: from this bucket, which an earlier run kept", 0},
    {"profile", 'p', "K+M", 0, "Profile of the run's bucket (default: the cluster's)", 0},
    {"set-bytes", OPTION_SET_BYTES, "SIZE", 0,
     "get, mixed: store about so much before (default 4GiB, at most 4096 objects)", 0},
    {"objects", OPTION_OBJECTS, "N", 0, "get, mixed: store so many objects before", 0},
    {"drop-caches", OPTION_DROP, NULL, 0,
     "get: drop the kernel's caches of this machine before the clock starts (needs root)", 0},
    {"seed", OPTION_SEED, "N", 0, "Make the same bytes again (default: random)", 0},
    {0},
};

static error_t number_parse(int key, char *arg, struct argp_state *state)
{
    struct bench *bench = state->input;
    struct lilio_errinfo info = {0};
    enum lilio_err err;
    switch (key) {
    case 's': err = tools_parse_size(arg, &bench->size, &info); break;
    case 'c':
        err = tools_parse_number(arg, "a concurrency", 1, CONCURRENCY_MAX, &bench->concurrency,
                                 &info);
        break;
    case 't': err = tools_parse_duration(arg, &bench->duration_ms, &info); break;
    case OPTION_SET_BYTES: err = tools_parse_size(arg, &bench->set_bytes, &info); break;
    case OPTION_OBJECTS:
        err = tools_parse_number(arg, "a number of objects", 1, SET_OBJECTS_MAX, &bench->objects,
                                 &info);
        break;
    case OPTION_SEED:
        err = tools_parse_number(arg, "a seed", 0, UINT64_MAX, &bench->seed, &info);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    tools_args_check(state, err, &info);
    return 0;
}

static void op_parse(struct bench *bench, const char *word, struct argp_state *state)
{
    if (strcmp(word, "put") == 0)
        bench->op = TOOLS_BENCH_PUT;
    else if (strcmp(word, "get") == 0)
        bench->op = TOOLS_BENCH_GET;
    else if (strcmp(word, "mixed") == 0)
        bench->op = TOOLS_BENCH_MIXED;
    else
        tools_args_fail(state, "'%s' is not put, get or mixed", word);
    bench->has_op = true;
}

static void wish_check(const struct bench *bench, struct argp_state *state)
{
    if (!bench->has_op)
        tools_args_fail(state, "put, get or mixed is missing");
    if (bench->has_bucket && bench->op != TOOLS_BENCH_GET)
        tools_args_fail(state, "--bucket goes with get");
    if (bench->has_bucket && (bench->has_profile || bench->objects))
        tools_args_fail(state, "with --bucket the objects are there already");
    if (bench->duration_ms == 0)
        tools_args_fail(state, "--seconds must be more than 0");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct bench *bench = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case 'k': bench->keep = true; return 0;
    case OPTION_DROP: bench->drop_caches = true; return 0;
    case 'b':
        tools_args_check(state, tools_parse_bucket(arg, &bench->bucket, &info), &info);
        bench->has_bucket = bench->keep = true;
        return 0;
    case 'p':
        tools_args_check(state, tools_parse_profile(arg, &bench->profile, &info), &info);
        bench->has_profile = true;
        return 0;
    case ARGP_KEY_ARG:
        if (bench->has_op)
            return ARGP_ERR_UNKNOWN;
        op_parse(bench, arg, state);
        return 0;
    case ARGP_KEY_END: wish_check(bench, state); return 0;
    default: return number_parse(key, arg, state);
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "put|get|mixed",
    .doc = "Measures the cluster: MB/s (10^6 bytes), operations/s, latencies, this client's CPU. "
           "Data is "
           "unique and every byte that is got is checked."
           "\vExamples:\n"
           "  lilio-ec bench put --size 64MiB --concurrency 4 --seconds 10\n"
           "  lilio-ec bench get --size 64MiB --concurrency 4 --seconds 10 --drop-caches --keep\n"
           "  lilio-ec bench get --bucket bench-1f2e3d4c --seconds 10    (what --keep left)\n"
           "  lilio-ec bench mixed --size 4KiB --concurrency 32 --seconds 10 --json\n",
};

/* ---- the bucket and the set ---- */

static enum lilio_err bucket_make(struct tools_context *context, struct bench *bench)
{
    struct lilio_bucket bucket;
    (void)snprintf(bench->bucket.bucket, sizeof bench->bucket.bucket, "bench-%08llx",
                   (unsigned long long)(base_random_u64(base_random_system()) & 0xffffffffu));
    return lilio_bucket_create(context->client, bench->bucket.bucket,
                               bench->has_profile ? &bench->profile : NULL, 0, &bucket,
                               &context->info);
}

/* A run of plan->op over the run's objects. */
static struct tools_bench_plan plan_of(struct tools_context *context, const struct bench *bench,
                                       enum tools_bench_op op)
{
    return (struct tools_bench_plan){
        .op = op,
        .client = context->client,
        .bucket = bench->bucket.bucket,
        .data = &bench->data,
        .set = &bench->set,
        .size = bench->size,
        .first_object = bench->used,
        .count = UINT64_MAX,
        .duration_ms = UINT64_MAX,
        .concurrency = (unsigned)bench->concurrency,
    };
}

static enum lilio_err set_fill(struct tools_context *context, struct bench *bench)
{
    uint64_t count = bench->objects;
    if (count == 0)
        count = bench->size ? (bench->set_bytes + bench->size - 1) / bench->size
                            : SET_OBJECTS_DEFAULT_MAX;
    if (bench->objects == 0 && count > SET_OBJECTS_DEFAULT_MAX)
        count = SET_OBJECTS_DEFAULT_MAX;
    if (count == 0)
        count = 1;
    bench->set.members = calloc(count, sizeof *bench->set.members);
    if (!bench->set.members)
        return tools_no_memory(&context->info);
    for (; bench->set.count < count; bench->set.count++)
        bench->set.members[bench->set.count] =
            (struct tools_bench_member){.object = bench->set.count, .size = bench->size};
    struct tools_bench_plan plan = plan_of(context, bench, TOOLS_BENCH_PUT);
    struct tools_bench_result *result = calloc(1, sizeof *result);
    plan.count = count;
    enum lilio_err err = result ? tools_bench_run(&plan, result, &context->info) : LILIO_E_NOMEM;
    bench->used = count;
    if (!err && result->errors > 0) {
        err = result->first_error.err;
        context->info = result->first_error;
        err = lilio_prefix(&context->info, err, "storing what is to be got");
    }
    free(result);
    return err;
}

/* One object of a bucket that an earlier run kept. */
static enum lilio_err member_visit(struct tools_context *context, const char *bucket,
                                   const struct lilio_list_entry *entry, void *argument)
{
    struct bench *bench = argument;
    uint64_t seed, object;
    (void)bucket;
    if (!tools_bench_key_read(entry->key, &seed, &object))
        return LILIO_OK;
    if (bench->set.count == 0)
        tools_bench_data_init(&bench->data, seed);
    if (seed != bench->data.seed || bench->set.count == SET_OBJECTS_MAX)
        return LILIO_OK;
    if ((bench->set.count & (bench->set.count - 1)) == 0) { /* full at each power of two */
        size_t room = bench->set.count ? 2 * bench->set.count : 1;
        struct tools_bench_member *members =
            reallocarray(bench->set.members, room, sizeof *members);
        if (!members)
            return tools_no_memory(&context->info);
        bench->set.members = members;
    }
    bench->set.members[bench->set.count++] =
        (struct tools_bench_member){.object = object, .size = entry->size};
    return LILIO_OK;
}

static enum lilio_err set_find(struct tools_context *context, struct bench *bench)
{
    enum lilio_err err = tools_walk(context, bench->bucket.bucket, "", member_visit, bench, NULL);
    if (!err && bench->set.count == 0)
        err = lilio_fail(&context->info, LILIO_E_NO_KEY, "bucket %s holds nothing of a benchmark",
                         bench->bucket.bucket);
    if (!err)
        bench->size = bench->set.members[0].size;
    return err;
}

static void caches_drop(struct tools_context *context, struct bench *bench)
{
    sync();
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    bench->caches_dropped = fd >= 0 && write(fd, "3\n", 2) == 2;
    if (fd >= 0)
        close(fd);
    if (!bench->caches_dropped && !context->out.json)
        (void)fprintf(stderr, "lilio-ec: the caches could not be dropped (not root?)\n");
}

/* ---- the result ---- */

static const char *op_name(enum tools_bench_op op)
{
    return op == TOOLS_BENCH_PUT ? "put" : op == TOOLS_BENCH_GET ? "get" : "mixed";
}

static void result_json(struct tools_context *context, const struct bench *bench,
                        const struct tools_bench_result *result)
{
    double seconds = (double)result->elapsed_us / 1e6;
    struct rusage usage;
    cJSON *json = tools_json_new();
    tools_json_text(json, "op", op_name(bench->op));
    tools_json_u64(json, "size", bench->size);
    tools_json_u64(json, "concurrency", bench->concurrency);
    tools_json_real(json, "elapsed_s", seconds);
    tools_json_u64(json, "operations", result->operations);
    tools_json_u64(json, "bytes", result->bytes);
    tools_json_u64(json, "put_bytes", result->put_bytes);
    tools_json_u64(json, "get_bytes", result->get_bytes);
    tools_json_real(json, "mb_per_s", (double)result->bytes / 1e6 / seconds);
    tools_json_real(json, "ops_per_s", (double)result->operations / seconds);
    tools_json_real(json, "p50_ms", (double)tools_histogram_at(&result->latency_us, 500) / 1e3);
    tools_json_real(json, "p99_ms", (double)tools_histogram_at(&result->latency_us, 990) / 1e3);
    tools_json_real(json, "max_ms", (double)result->latency_us.max / 1e3);
    tools_json_u64(json, "errors", result->errors);
    tools_json_text(json, "first_error", result->errors ? result->first_error.text : NULL);
    tools_json_u64(json, "degraded_stripes", result->degraded_stripes);
    tools_json_u64(json, "bad_fragments", result->bad_fragments);
    tools_json_real(json, "client_cpu_s", result->cpu_s);
    tools_json_real(json, "client_cpu_s_per_gb",
                    result->bytes ? result->cpu_s / ((double)result->bytes / 1e9) : 0);
    (void)getrusage(RUSAGE_SELF, &usage); /* cannot fail with these arguments */
    tools_json_u64(json, "client_peak_rss_bytes", (uint64_t)usage.ru_maxrss * 1024);
    tools_json_u64(json, "set_objects", bench->set.count);
    tools_json_u64(json, "seed", bench->data.seed);
    tools_json_bool(json, "caches_dropped", bench->caches_dropped);
    tools_json_text(json, "bucket", bench->bucket.bucket);
    tools_json_bool(json, "kept", bench->keep);
    tools_out_object(&context->out, json);
}

static void result_print(struct tools_context *context, const struct bench *bench,
                         const struct tools_bench_result *result)
{
    struct tools_out *out = &context->out;
    double seconds = (double)result->elapsed_us / 1e6;
    char size[TOOLS_TEXT], bytes[TOOLS_TEXT];
    tools_out_line(
        out, "%s of %s objects, %llu at once: %.1f MB/s, %.1f operations/s (%s in %.1f s)",
        op_name(bench->op), tools_text_bytes(bench->size, size),
        (unsigned long long)bench->concurrency, (double)result->bytes / 1e6 / seconds,
        (double)result->operations / seconds, tools_text_bytes(result->bytes, bytes), seconds);
    tools_out_line(out, "latency p50 %.2f ms, p99 %.2f ms, most %.2f ms; client CPU %.2f s per GB",
                   (double)tools_histogram_at(&result->latency_us, 500) / 1e3,
                   (double)tools_histogram_at(&result->latency_us, 990) / 1e3,
                   (double)result->latency_us.max / 1e3,
                   result->bytes ? result->cpu_s / ((double)result->bytes / 1e9) : 0);
    if (result->degraded_stripes)
        tools_out_line(out, "%llu stripes were decoded around missing fragments",
                       (unsigned long long)result->degraded_stripes);
    if (result->errors)
        tools_out_line(out, "%llu errors, the first: %s", (unsigned long long)result->errors,
                       tools_text_name(result->first_error.text, 0));
    if (bench->keep)
        tools_out_line(out, "kept in bucket %s", bench->bucket.bucket);
    result_json(context, bench, result);
}

/* ---- the run ---- */

static enum lilio_err bench_do(struct tools_context *context, struct bench *bench,
                               struct tools_bench_result *result)
{
    enum lilio_err err = LILIO_OK;
    if (bench->has_bucket)
        err = set_find(context, bench);
    else if (bench->op != TOOLS_BENCH_PUT)
        err = set_fill(context, bench);
    if (err)
        return err;
    if (bench->drop_caches)
        caches_drop(context, bench);
    struct tools_bench_plan plan = plan_of(context, bench, bench->op);
    plan.duration_ms = bench->duration_ms;
    err = tools_bench_run(&plan, result, &context->info);
    bench->used += result->puts;
    return err;
}

/* Removes what the run stored, also after an interruption. */
static void clean_up(struct tools_context *context, struct bench *bench)
{
    struct lilio_errinfo info = {0};
    struct tools_bench_result *result = calloc(1, sizeof *result);
    struct tools_bench_plan plan = plan_of(context, bench, TOOLS_BENCH_DELETE);
    plan.first_object = 0;
    plan.count = bench->used;
    tools_cancel_reset();
    enum lilio_err err = result ? tools_bench_run(&plan, result, &info) : LILIO_E_NOMEM;
    if (!err && result->errors == 0)
        err = lilio_bucket_delete(context->client, bench->bucket.bucket, &info);
    if (err || (result && result->errors > 0))
        (void)fprintf(stderr, "lilio-ec: bucket %s was not removed: %s\n", bench->bucket.bucket,
                      tools_text_name(err ? info.text : result->first_error.text, 0));
    free(result);
}

int tools_cmd_bench(struct tools_context *context, int argc, char **argv)
{
    struct bench bench = {
        .size = 4 << 20,
        .concurrency = 4,
        .duration_ms = 10000,
        .set_bytes = 4ull << 30,
        .seed = base_random_u64(base_random_system()),
    };
    tools_args_parse(context, &argp, argc, argv, &bench);
    tools_bench_data_init(&bench.data, bench.seed);
    int code = tools_open(context);
    if (code)
        return code;
    struct tools_bench_result *result = calloc(1, sizeof *result);
    if (!result)
        return tools_fail(context, LILIO_E_NOMEM);
    enum lilio_err err = bench.has_bucket ? LILIO_OK : bucket_make(context, &bench);
    if (err) {
        code = tools_fail(context, err);
        goto out;
    }
    err = bench_do(context, &bench, result);
    if (!bench.keep)
        clean_up(context, &bench);
    if (err) {
        code = tools_fail(context, err);
    } else {
        result_print(context, &bench, result);
        code = !result->errors      ? TOOLS_EXIT_OK
               : result->operations ? TOOLS_EXIT_FAILURE
                                    : tools_exit_code(result->first_error.err);
    }
out:
    free(result);
    free(bench.set.members);
    return code;
}
