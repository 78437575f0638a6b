/* put: one file, standard input, or with -r a folder. */
#include "tools/cmd.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/file_io.h"

#include "base/banned.h"

enum { ATTRIBUTES_MAX = 64 };

struct put {
    const char *file;
    const char *target;
    struct tools_name name;
    bool recursive;
    struct lilio_put_options options;
    struct lilio_attribute attributes[ATTRIBUTES_MAX];
    char *meta_names[ATTRIBUTES_MAX]; /* ours, freed at the end */
};

static const struct argp_option options[] = {
    {"if-absent", 'a', NULL, 0, "Only if there is no such object yet (else exit code 4)", 0},
    {"if-version", 'v', "V", 0, "Only if the object is this version, as stat prints it", 0},
    {"type", 't', "T", 0, "Content type, such as image/jpeg", 0},
    {"meta", 'm', "K=V", 0, "Keep K = V beside the object; may be repeated", 0},
    {"no-inline", 'n', NULL, 0,
     "Into fragments on OSDs, even if it is small enough for the coordinators to keep", 0},
    {"recursive", 'r', NULL, 0, "FILE is a folder: store every file below it under KEY/...", 0},
    {0},
};

static void attribute_add(struct put *put, const char *name, const char *value,
                          const struct argp_state *state)
{
    if (put->options.attribute_count == ATTRIBUTES_MAX)
        tools_args_fail(state, "more than %d attributes", ATTRIBUTES_MAX);
    put->attributes[put->options.attribute_count++] =
        (struct lilio_attribute){.name = name, .value = value};
}

static void meta_add(struct put *put, const char *text, const struct argp_state *state)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        tools_args_fail(state, "--meta %s is not NAME=VALUE", text);
    char *name = NULL;
    if (asprintf(&name, "meta:%.*s", (int)(equals - text), text) < 0)
        tools_args_fail(state, "out of memory");
    put->meta_names[put->options.attribute_count % ATTRIBUTES_MAX] = name;
    attribute_add(put, name, equals + 1, state);
}

static void target_check(struct put *put, const struct argp_state *state)
{
    struct lilio_errinfo info = {0};
    if (!put->file || !put->target)
        tools_args_fail(state, "%s is missing", put->file ? "BUCKET/KEY" : "FILE");
    if (put->recursive && strcmp(put->file, "-") == 0)
        tools_args_fail(state, "-r wants a folder, not standard input");
    if (put->recursive && put->options.if_version.index)
        tools_args_fail(state, "--if-version names one object's version; it does not go with -r");
    if (put->options.if_absent && put->options.if_version.index)
        tools_args_fail(state, "--if-absent and --if-version exclude each other");
    tools_args_check(state,
                     put->recursive ? tools_parse_prefix(put->target, &put->name, &info)
                                    : tools_parse_object(put->target, &put->name, &info),
                     &info);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct put *put = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case 'a': put->options.if_absent = true; return 0;
    case 'v':
        tools_args_check(state, tools_parse_version(arg, &put->options.if_version, &info), &info);
        return 0;
    case 't': attribute_add(put, "content-type", arg, state); return 0;
    case 'm': meta_add(put, arg, state); return 0;
    case 'n': put->options.no_inline = true; return 0;
    case 'r': put->recursive = true; return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            put->file = arg;
        else if (state->arg_num == 1)
            put->target = arg;
        else
            return ARGP_ERR_UNKNOWN;
        return 0;
    case ARGP_KEY_END: target_check(put, state); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "FILE|- BUCKET/KEY",
    .doc = "Stores a file, or standard input. When it returns, every byte is durable on as many "
           "OSDs as it says (\"durable 6/6\"), or for a small object on a majority of the "
           "coordinators (\"durable on 2/3 coordinators\"); the object appears whole or not at all."
           "\vExamples:\n"
           "  lilio-ec put cat.jpg photos/cat.jpg --type image/jpeg\n"
           "  tar c src | lilio-ec put - backup/src.tar\n"
           "  lilio-ec put -r album photos/2026\n"
           "  lilio-ec put lock jobs/lock --if-absent\n",
};

static cJSON *result_json(const struct tools_name *name, const struct lilio_put_result *result,
                          uint64_t elapsed_ms)
{
    char crc[16];
    cJSON *object = tools_json_new();
    (void)snprintf(crc, sizeof crc, "%08x", result->crc32c);
    tools_json_text(object, "bucket", name->bucket);
    tools_json_text(object, "key", name->key);
    tools_json_version(object, "version", result->version);
    tools_json_u64(object, "size", result->size);
    tools_json_text(object, "crc32c", crc);
    tools_json_time(object, "modified", result->modified_ms);
    tools_json_u64(object, "durable", result->durable);
    tools_json_u64(object, "total", result->total);
    tools_json_u64(object, "coordinators", result->coordinators);
    tools_json_u64(object, "coordinators_total", result->coordinators_total);
    tools_json_u64(object, "elapsed_ms", elapsed_ms);
    return object;
}

/* "durable 6/6", or where the coordinators keep the content. */
static const char *durable_text(const struct lilio_put_result *result, char ret[TOOLS_TEXT])
{
    if (result->coordinators_total > 0)
        (void)snprintf(ret, TOOLS_TEXT, "durable on %u/%u coordinators", result->coordinators,
                       result->coordinators_total);
    else
        (void)snprintf(ret, TOOLS_TEXT, "durable %u/%u", result->durable, result->total);
    return ret;
}

/* Stores one file and prints its line; JSON goes to the list of -r or is the answer. */
static enum lilio_err file_put(struct tools_context *context, struct put *put, const char *path,
                               const struct tools_name *name, uint64_t *ret_size)
{
    struct tools_source source;
    enum lilio_err err = tools_source_open(path, &source, &context->info);
    if (err)
        return err;
    struct tools_progress progress;
    struct lilio_put_result result;
    tools_progress_start(&progress, tools_text_name(name->key, 1), context->out.json);
    put->options.progress = tools_progress_callback(&progress);
    put->options.attributes = put->attributes;
    struct lilio_source callback = tools_source_callback(&source);
    err = lilio_put(context->client, name->bucket, name->key, &callback, &put->options, &result,
                    &context->info);
    uint64_t elapsed_ms = tools_progress_elapsed_ms(&progress);
    tools_progress_end(&progress);
    tools_source_close(&source);
    if (err)
        return err;
    char bytes[TOOLS_TEXT], rate[TOOLS_TEXT], time[TOOLS_TEXT], durable[TOOLS_TEXT];
    tools_out_line(&context->out, "put %s/%s: %s in %s (%s), %s, version %llu.%u", name->bucket,
                   tools_text_name(name->key, 1), tools_text_bytes(result.size, bytes),
                   tools_text_duration(elapsed_ms, time),
                   tools_text_rate(result.size, elapsed_ms, rate), durable_text(&result, durable),
                   (unsigned long long)result.version.index, result.version.ordinal);
    cJSON *object = result_json(name, &result, elapsed_ms);
    if (put->recursive)
        tools_out_list_add(&context->out, object);
    else
        tools_out_object(&context->out, object);
    *ret_size = result.size;
    return LILIO_OK;
}

/* ---- folders ---- */

struct folder_state {
    uint64_t stored, bytes, failed, skipped;
    enum lilio_err first;
    struct lilio_errinfo first_info;
};

/* One file of the folder failed: said at once, the rest goes on unless the cluster is gone. */
static bool failure_note(struct tools_context *context, struct folder_state *state,
                         const char *path, enum lilio_err err)
{
    if (!context->info.text[0])
        (void)lilio_fail(&context->info, err, "%s", lilio_err_text(err));
    if (!context->out.json)
        (void)fprintf(stderr, "lilio-ec: %s: %s\n", tools_text_name(path, 2),
                      tools_text_name(context->info.text, 3));
    if (!state->first) {
        state->first = err;
        (void)lilio_prefix(&context->info, err, "%s", tools_text_name(path, 2));
        state->first_info = context->info;
    }
    state->failed++;
    return err == LILIO_E_CANCELLED || err == LILIO_E_OUTCOME_UNKNOWN ||
           lilio_err_class(err) == LILIO_CLASS_RETRY || err == LILIO_E_NO_BUCKET;
}

/* Stores the file at entry; true when it makes no sense to go on. */
static bool entry_put(struct tools_context *context, struct put *put, const FTSENT *entry,
                      size_t root_size, struct folder_state *state)
{
    const char *relative = entry->fts_path + root_size;
    while (*relative == '/')
        relative++;
    const char *prefix = put->name.key;
    size_t prefix_size = strlen(prefix);
    bool slash = prefix_size > 0 && prefix[prefix_size - 1] != '/';
    char *target = NULL;
    context->info = (struct lilio_errinfo){0};
    if (asprintf(&target, "%s/%s%s%s", put->name.bucket, prefix, slash ? "/" : "", relative) < 0)
        return failure_note(context, state, entry->fts_path, LILIO_E_NOMEM);
    struct tools_name name;
    uint64_t size = 0;
    enum lilio_err err = tools_parse_object(target, &name, &context->info);
    if (!err)
        err = file_put(context, put, entry->fts_accpath, &name, &size);
    free(target);
    if (err)
        return failure_note(context, state, entry->fts_path, err);
    state->stored++;
    state->bytes += size;
    return tools_cancelled() &&
           failure_note(context, state, entry->fts_path,
                        lilio_fail(&context->info, LILIO_E_CANCELLED, "interrupted"));
}

static void folder_walk(struct tools_context *context, struct put *put, FTS *walk, size_t root_size,
                        struct folder_state *state)
{
    bool stop = false;
    for (FTSENT *entry; !stop && (entry = fts_read(walk));) {
        switch (entry->fts_info) {
        case FTS_F: stop = entry_put(context, put, entry, root_size, state); break;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
            errno = entry->fts_errno;
            stop = failure_note(context, state, entry->fts_path,
                                tools_file_fail(&context->info, "cannot read", entry->fts_path));
            break;
        case FTS_SL:
        case FTS_SLNONE:
        case FTS_DEFAULT:
            state->skipped++;
            if (!context->out.json)
                (void)fprintf(stderr, "lilio-ec: %s is no regular file: skipped\n",
                              tools_text_name(entry->fts_path, 2));
            break;
        default: break;
        }
    }
}

static int folder_put(struct tools_context *context, struct put *put)
{
    struct stat stat_buffer;
    if (stat(put->file, &stat_buffer) != 0)
        return tools_fail(context, tools_file_fail(&context->info, "cannot read", put->file));
    if (!S_ISDIR(stat_buffer.st_mode))
        return tools_fail_with(context, LILIO_E_INVALID, "%s is no folder: leave out -r",
                               put->file);
    char *roots[] = {(char *)(uintptr_t)put->file, NULL}; /* fts does not change it */
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, NULL);
    if (!walk)
        return tools_fail(context, tools_file_fail(&context->info, "cannot read", put->file));
    struct folder_state state = {0};
    tools_out_list_begin(&context->out, "objects");
    folder_walk(context, put, walk, strlen(put->file), &state);
    (void)fts_close(walk); /* only read from */
    cJSON *object = tools_json_new();
    tools_json_u64(object, "stored", state.stored);
    tools_json_u64(object, "bytes", state.bytes);
    tools_json_u64(object, "failed", state.failed);
    tools_json_u64(object, "skipped", state.skipped);
    if (state.first) {
        cJSON_Delete(object);
        context->info = state.first_info;
        (void)lilio_prefix(&context->info, state.first, "%llu stored, %llu failed, the first",
                           (unsigned long long)state.stored, (unsigned long long)state.failed);
        return tools_fail(context, state.first);
    }
    char bytes[TOOLS_TEXT];
    tools_out_line(&context->out, "stored %llu files, %s", (unsigned long long)state.stored,
                   tools_text_bytes(state.bytes, bytes));
    tools_out_object(&context->out, object);
    return TOOLS_EXIT_OK;
}

static int put_run(struct tools_context *context, struct put *put)
{
    int code = tools_open(context);
    if (code)
        return code;
    if (put->recursive)
        return folder_put(context, put);
    uint64_t size;
    enum lilio_err err = file_put(context, put, put->file, &put->name, &size);
    return err ? tools_fail_name(context, err, &put->name) : TOOLS_EXIT_OK;
}

int tools_cmd_put(struct tools_context *context, int argc, char **argv)
{
    struct put put = {0};
    tools_args_parse(context, &argp, argc, argv, &put);
    put.options.attributes = put.attributes;
    int code = put_run(context, &put);
    for (size_t i = 0; i < ATTRIBUTES_MAX; i++)
        free(put.meta_names[i]);
    return code;
}
