/* get: one object to a file or standard output, or with -r everything under a name into a folder.
 */
#include "tools/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/file_io.h"
#include "tools/walk.h"

#include "base/banned.h"

struct get {
    const char *target, *file;
    struct tools_name name;
    bool recursive;
    struct lilio_get_options options;
};

static const struct argp_option options[] = {
    {"range", 'R', "RANGE", 0,
     "Only these bytes: FIRST-LAST (from 0, both included), FIRST- or -COUNT", 0},
    {"recursive", 'r', NULL, 0, "FILE is a folder: write every object under KEY/ into it", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct get *get = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case 'R':
        tools_args_check(state, tools_parse_range(arg, &get->options.range, &info), &info);
        return 0;
    case 'r': get->recursive = true; return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            get->target = arg;
        else if (state->arg_num == 1)
            get->file = arg;
        else
            return ARGP_ERR_UNKNOWN;
        return 0;
    case ARGP_KEY_END:
        if (!get->target || !get->file)
            tools_args_fail(state, "%s is missing", get->target ? "FILE" : "BUCKET/KEY");
        if (get->recursive && (strcmp(get->file, "-") == 0 || get->options.range.kind))
            tools_args_fail(state, "-r writes whole objects into a folder");
        tools_args_check(state,
                         get->recursive ? tools_parse_prefix(get->target, &get->name, &info)
                                        : tools_parse_object(get->target, &get->name, &info),
                         &info);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "BUCKET/KEY FILE|-",
    .doc = "Reads one version of an object, every block verified. A file appears whole or not at "
           "all; `-' is standard output (with --json what was done is then said on standard error)."
           "\vExamples:\n"
           "  lilio-ec get photos/cat.jpg cat.jpg\n"
           "  lilio-ec get backup/src.tar - | tar x\n"
           "  lilio-ec get logs/today - --range -4096      the last 4096 bytes\n"
           "  lilio-ec get -r photos/2026 album\n",
};

static cJSON *result_json(const char *bucket, const char *key, const char *file,
                          const struct lilio_get_result *result, uint64_t elapsed_ms)
{
    cJSON *object = tools_json_new();
    tools_json_text(object, "bucket", bucket);
    tools_json_text(object, "key", key);
    tools_json_text(object, "file", file);
    tools_json_version(object, "version", result->version);
    tools_json_u64(object, "size", result->size);
    tools_json_u64(object, "first", result->first);
    tools_json_u64(object, "length", result->length);
    tools_json_u64(object, "degraded_stripes", result->degraded_stripes);
    tools_json_u64(object, "bad_fragments", result->bad_fragments);
    tools_json_u64(object, "slow_fragments", result->slow_fragments);
    tools_json_u64(object, "elapsed_ms", elapsed_ms);
    return object;
}

static void line_print(FILE *stream, const char *bucket, const char *key,
                       const struct lilio_get_result *result, uint64_t elapsed_ms)
{
    char bytes[TOOLS_TEXT], time[TOOLS_TEXT], rate[TOOLS_TEXT];
    (void)fprintf(stream, "got %s/%s: %s in %s (%s)", bucket, tools_text_name(key, 1),
                  tools_text_bytes(result->length, bytes), tools_text_duration(elapsed_ms, time),
                  tools_text_rate(result->length, elapsed_ms, rate));
    if (result->degraded_stripes)
        (void)fprintf(stream, ", %u stripes decoded around missing fragments",
                      result->degraded_stripes);
    if (result->bad_fragments)
        (void)fprintf(stream, ", %u bad fragments reported for repair", result->bad_fragments);
    (void)fputc('\n', stream);
}

/* Says what was done: where standard output carries the bytes, on standard error, and there only to
 * somebody who looks (a terminal) or asked for JSON. */
static void result_say(struct tools_context *context, const struct get *get, cJSON *object,
                       const char *bucket, const char *key, const struct lilio_get_result *result,
                       uint64_t elapsed_ms)
{
    if (!context->bytes_on_stdout) {
        if (!context->out.json)
            line_print(stdout, bucket, key, result, elapsed_ms);
        if (get->recursive)
            tools_out_list_add(&context->out, object);
        else
            tools_out_object(&context->out, object);
        return;
    }
    if (context->out.json) {
        char *text = cJSON_PrintUnformatted(object);
        (void)fprintf(stderr, "%s\n", text ? text : "{}");
        cJSON_free(text);
    } else if (isatty(STDERR_FILENO) == 1) {
        line_print(stderr, bucket, key, result, elapsed_ms);
    }
    cJSON_Delete(object);
}

static enum lilio_err object_get(struct tools_context *context, struct get *get, const char *bucket,
                                 const char *key, const char *file, uint64_t *ret_size)
{
    struct tools_sink sink;
    enum lilio_err err = tools_sink_open(file, &sink, &context->info);
    if (err)
        return err;
    struct tools_progress progress;
    struct lilio_get_result result;
    tools_progress_start(&progress, tools_text_name(key, 1),
                         context->out.json || (context->bytes_on_stdout && isatty(STDOUT_FILENO)));
    get->options.progress = tools_progress_callback(&progress);
    struct lilio_sink callback = tools_sink_callback(&sink);
    err =
        lilio_get(context->client, bucket, key, &callback, &get->options, &result, &context->info);
    tools_progress_end(&progress);
    if (!err)
        err = tools_sink_commit(&sink, &context->info);
    tools_sink_close(&sink);
    if (err)
        return err;
    uint64_t elapsed_ms = tools_progress_elapsed_ms(&progress);
    result_say(context, get, result_json(bucket, key, file, &result, elapsed_ms), bucket, key,
               &result, elapsed_ms);
    *ret_size = result.length;
    return LILIO_OK;
}

/* ---- folders ---- */

struct folder_state {
    struct get *get;
    uint64_t written, bytes, failed;
    bool made; /* the folder, with the first object that goes into it */
    enum lilio_err first;
    struct lilio_errinfo first_info;
};

/* A key may say anything, also "../../etc/passwd". Only one whose parts are plain names becomes a
 * path below the folder. */
static bool path_is_plain(const char *path)
{
    for (const char *part = path;; part++) {
        size_t size = strcspn(part, "/");
        if (size == 0 || (size == 1 && part[0] == '.') ||
            (size == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part += size;
        if (*part == '\0')
            return true;
    }
}

/* The part of key that becomes the path below the folder. */
static const char *key_relative(const char *prefix, const char *key)
{
    size_t size = strlen(prefix);
    if (key[size] == '\0' && size > 0) { /* the object of that very name: its last part */
        const char *slash = strrchr(key, '/');
        return slash ? slash + 1 : key;
    }
    return key + size + (size > 0 && prefix[size - 1] != '/' ? 1 : 0);
}

static enum lilio_err entry_get(struct tools_context *context, const char *bucket,
                                const struct lilio_list_entry *entry, struct folder_state *state)
{
    const char *relative = key_relative(state->get->name.key, entry->key);
    if (!path_is_plain(relative))
        return lilio_fail(&context->info, LILIO_E_INVALID,
                          "the key '%.200s' makes no path below a folder; get it by its name",
                          entry->key);
    char *path = NULL, *folder = NULL;
    uint64_t size = 0;
    enum lilio_err err = LILIO_E_NOMEM;
    if (asprintf(&path, "%s/%s", state->get->file, relative) >= 0 &&
        (folder = strndup(path, (size_t)(strrchr(path, '/') - path))) != NULL)
        err = tools_folder_make(folder, &context->info);
    if (!err)
        err = object_get(context, state->get, bucket, entry->key, path, &size);
    free(folder);
    free(path);
    state->bytes += size;
    return err;
}

/* Whether a failure is of more than the object: nobody can even tell what it is. Two OSDs that are
 * down make some objects unavailable, and the others are wanted all the same. */
static bool is_end(struct tools_context *context, const char *bucket, const char *key,
                   enum lilio_err err)
{
    if (err == LILIO_E_CANCELLED || lilio_err_class(err) != LILIO_CLASS_RETRY)
        return err == LILIO_E_CANCELLED;
    struct lilio_object object = {0};
    err = lilio_stat(context->client, bucket, key, &object, NULL);
    lilio_object_release(&object);
    return lilio_err_class(err) == LILIO_CLASS_RETRY;
}

static enum lilio_err entry_visit(struct tools_context *context, const char *bucket,
                                  const struct lilio_list_entry *entry, void *argument)
{
    struct folder_state *state = argument;
    if (!tools_walk_within(state->get->name.key, entry->key))
        return LILIO_OK;
    context->info = (struct lilio_errinfo){0};
    enum lilio_err err =
        state->made ? LILIO_OK : tools_folder_make(state->get->file, &context->info);
    if (err)
        return err;
    state->made = true;
    err = entry_get(context, bucket, entry, state);
    if (!err) {
        state->written++;
        return LILIO_OK;
    }
    state->failed++;
    if (!context->info.text[0])
        (void)lilio_fail(&context->info, err, "%s", lilio_err_text(err));
    if (!context->out.json)
        (void)fprintf(stderr, "lilio-ec: %s/%s: %s\n", bucket, tools_text_name(entry->key, 2),
                      tools_text_name(context->info.text, 3));
    if (!state->first) {
        state->first = err;
        (void)lilio_prefix(&context->info, err, "%s/%s", bucket, tools_text_name(entry->key, 2));
        state->first_info = context->info;
    }
    /* One bad object does not stop the others; a cluster or a user that is gone does. */
    return is_end(context, bucket, entry->key, err) ? err : LILIO_OK;
}

static int folder_get(struct tools_context *context, struct get *get)
{
    struct folder_state state = {.get = get};
    tools_out_list_begin(&context->out, "objects");
    enum lilio_err err =
        tools_walk(context, get->name.bucket, get->name.key, entry_visit, &state, NULL);
    if (!err && state.first) {
        err = state.first;
        context->info = state.first_info;
    }
    if (!err && state.written == 0 && get->name.key[0])
        err =
            lilio_fail(&context->info, LILIO_E_NO_KEY, "there is no object under %s", get->target);
    if (err && state.failed > 0)
        (void)lilio_prefix(&context->info, err, "%llu written, %llu failed, the first",
                           (unsigned long long)state.written, (unsigned long long)state.failed);
    if (err)
        return tools_fail(context, err);
    char bytes[TOOLS_TEXT];
    tools_out_line(&context->out, "wrote %llu files, %s", (unsigned long long)state.written,
                   tools_text_bytes(state.bytes, bytes));
    cJSON *object = tools_json_new();
    tools_json_u64(object, "written", state.written);
    tools_json_u64(object, "bytes", state.bytes);
    tools_out_object(&context->out, object);
    return TOOLS_EXIT_OK;
}

int tools_cmd_get(struct tools_context *context, int argc, char **argv)
{
    struct get get = {0};
    tools_args_parse(context, &argp, argc, argv, &get);
    context->bytes_on_stdout = strcmp(get.file, "-") == 0;
    int code = tools_open(context);
    if (code)
        return code;
    if (get.recursive)
        return folder_get(context, &get);
    uint64_t size;
    enum lilio_err err = object_get(context, &get, get.name.bucket, get.name.key, get.file, &size);
    return err ? tools_fail_name(context, err, &get.name) : TOOLS_EXIT_OK;
}
