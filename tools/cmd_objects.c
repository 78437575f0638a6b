/* stat, rm, cp and mv: what is done to objects without moving their bytes through here. */
#include "tools/cmd.h"

#include <stdio.h>
#include <string.h>

#include "tools/walk.h"

#include "base/banned.h"

/* ---- stat ---- */

struct one {
    bool has_name, recursive;
    const char *text;
    struct tools_name name;
};

static error_t one_parse(int key, char *arg, struct argp_state *state)
{
    struct one *one = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case 'r': one->recursive = true; return 0;
    case ARGP_KEY_ARG:
        if (one->has_name)
            return ARGP_ERR_UNKNOWN;
        one->text = arg;
        one->has_name = true;
        return 0;
    case ARGP_KEY_END:
        if (!one->has_name)
            tools_args_fail(state, "BUCKET/KEY is missing");
        tools_args_check(state,
                         one->recursive ? tools_parse_prefix(one->text, &one->name, &info)
                                        : tools_parse_object(one->text, &one->name, &info),
                         &info);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp stat_argp = {
    .parser = one_parse,
    .args_doc = "BUCKET/KEY",
    .doc = "Tells what the cluster knows about an object, without reading it."
           "\vExamples:\n"
           "  lilio-ec stat photos/cat.jpg\n"
           "  lilio-ec stat photos/cat.jpg --json\n",
};

/* "meta:NAME" without what the library puts before it. */
static const char *meta_name(const char *name)
{
    return strncmp(name, "meta:", 5) == 0 ? name + 5 : name;
}

static void stat_print(struct tools_context *context, const struct lilio_object *object)
{
    struct tools_out *out = &context->out;
    char bytes[TOOLS_TEXT], time[TOOLS_TEXT];
    tools_out_line(out, "object    %s/%s", object->bucket, tools_text_name(object->key, 0));
    tools_out_line(out, "size      %llu (%s)", (unsigned long long)object->size,
                   tools_text_bytes(object->size, bytes));
    tools_out_line(out, "version   %llu.%u", (unsigned long long)object->version.index,
                   object->version.ordinal);
    tools_out_line(out, "modified  %s", tools_text_time(object->modified_ms, time));
    if (object->has_crc32c)
        tools_out_line(out, "crc32c    %08x", object->crc32c);
    if (object->is_inline)
        tools_out_line(out, "content   inline, on the coordinators");
    else
        tools_out_line(out, "profile   %u+%u, %u durable fragments per stripe when it was stored",
                       object->profile.data_count, object->profile.parity_count,
                       object->durable_at_commit);
    for (size_t i = 0; i < object->attribute_count; i++) {
        const char *name = object->attribute_names[i];
        const char *value = tools_text_name(object->attribute_values[i], 1);
        if (strcmp(name, "content-type") == 0)
            tools_out_line(out, "type      %s", value);
        else
            tools_out_line(out, "meta      %s=%s", tools_text_name(meta_name(name), 0), value);
    }
}

static cJSON *stat_json(const struct lilio_object *object)
{
    char crc[16];
    cJSON *json = tools_json_new();
    (void)snprintf(crc, sizeof crc, "%08x", object->crc32c);
    tools_json_text(json, "bucket", object->bucket);
    tools_json_text(json, "key", object->key);
    tools_json_u64(json, "size", object->size);
    tools_json_version(json, "version", object->version);
    tools_json_time(json, "modified", object->modified_ms);
    tools_json_text(json, "crc32c", object->has_crc32c ? crc : NULL);
    tools_json_profile(json, "profile", object->profile);
    tools_json_u64(json, "fragment_size", object->profile.fragment_size);
    tools_json_u64(json, "durable_at_commit", object->durable_at_commit);
    tools_json_bool(json, "inline", object->is_inline);
    const char *type = NULL;
    cJSON *meta = tools_json_object(json, "meta");
    for (size_t i = 0; i < object->attribute_count; i++) {
        const char *name = object->attribute_names[i];
        if (strcmp(name, "content-type") == 0)
            type = object->attribute_values[i];
        else
            tools_json_text(meta, meta_name(name), object->attribute_values[i]);
    }
    tools_json_text(json, "type", type);
    return json;
}

int tools_cmd_stat(struct tools_context *context, int argc, char **argv)
{
    struct one one = {0};
    tools_args_parse(context, &stat_argp, argc, argv, &one);
    int code = tools_open(context);
    if (code)
        return code;
    struct lilio_object object;
    enum lilio_err err =
        lilio_stat(context->client, one.name.bucket, one.name.key, &object, &context->info);
    if (err)
        return tools_fail_name(context, err, &one.name);
    stat_print(context, &object);
    tools_out_object(&context->out, stat_json(&object));
    lilio_object_release(&object);
    return TOOLS_EXIT_OK;
}

/* ---- rm ---- */

static const struct argp_option rm_options[] = {
    {"recursive", 'r', NULL, 0,
     "Delete the object and everything under KEY/ (without KEY: everything)", 0},
    {0},
};

static const struct argp rm_argp = {
    .options = rm_options,
    .parser = one_parse,
    .args_doc = "BUCKET/KEY",
    .doc = "Deletes an object. Its space comes back after the cluster's grace for readers."
           "\vExamples:\n"
           "  lilio-ec rm photos/cat.jpg\n"
           "  lilio-ec rm photos/2026 --recursive\n",
};

struct rm_state {
    const char *folder;
    uint64_t deleted;
};

static enum lilio_err rm_visit(struct tools_context *context, const char *bucket,
                               const struct lilio_list_entry *entry, void *argument)
{
    struct rm_state *state = argument;
    if (!tools_walk_within(state->folder, entry->key))
        return LILIO_OK;
    enum lilio_err err = lilio_delete(context->client, bucket, entry->key,
                                      (struct lilio_version){0}, &context->info);
    if (err == LILIO_E_NO_KEY)
        return LILIO_OK; /* somebody else was faster */
    state->deleted += err == LILIO_OK;
    return err && err != LILIO_E_CANCELLED
               ? lilio_prefix(&context->info, err, "%s", tools_text_name(entry->key, 0))
               : err;
}

static enum lilio_err rm_do(struct tools_context *context, const struct one *one,
                            struct rm_state *state)
{
    enum lilio_err err;
    if (!one->recursive) {
        err = lilio_delete(context->client, one->name.bucket, one->name.key,
                           (struct lilio_version){0}, &context->info);
        state->deleted = err == LILIO_OK;
        return err;
    }
    err = tools_walk(context, one->name.bucket, one->name.key, rm_visit, state, NULL);
    if (err && state->deleted)
        return lilio_prefix(&context->info, err, "after %llu deletions",
                            (unsigned long long)state->deleted);
    if (!err && state->deleted == 0 && one->name.key[0])
        return lilio_fail(&context->info, LILIO_E_NO_KEY, "there is no object under this name");
    return err;
}

int tools_cmd_rm(struct tools_context *context, int argc, char **argv)
{
    struct one one = {0};
    tools_args_parse(context, &rm_argp, argc, argv, &one);
    int code = tools_open(context);
    if (code)
        return code;
    struct rm_state state = {.folder = one.name.key};
    enum lilio_err err = rm_do(context, &one, &state);
    if (err)
        return tools_fail_name(context, err, &one.name);
    if (one.recursive)
        tools_out_line(&context->out, "deleted %llu objects", (unsigned long long)state.deleted);
    else
        tools_out_line(&context->out, "deleted %s/%s", one.name.bucket,
                       tools_text_name(one.name.key, 0));
    cJSON *json = tools_json_new();
    tools_json_text(json, "bucket", one.name.bucket);
    tools_json_text(json, "key", one.name.key);
    tools_json_u64(json, "deleted", state.deleted);
    tools_out_object(&context->out, json);
    return TOOLS_EXIT_OK;
}

/* ---- cp, mv ---- */

struct cp {
    int count;
    struct tools_name from, to;
    bool if_absent;
};

static const struct argp_option cp_options[] = {
    {"if-absent", 'a', NULL, 0, "Only if the target is not there yet (else exit code 4)", 0},
    {0},
};

static error_t cp_parse(int key, char *arg, struct argp_state *state)
{
    struct cp *cp = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case 'a': cp->if_absent = true; return 0;
    case ARGP_KEY_ARG:
        if (cp->count == 2)
            return ARGP_ERR_UNKNOWN;
        tools_args_check(state, tools_parse_object(arg, cp->count ? &cp->to : &cp->from, &info),
                         &info);
        cp->count++;
        return 0;
    case ARGP_KEY_END:
        if (cp->count < 2)
            tools_args_fail(state, "source and target are wanted, each as BUCKET/KEY");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp cp_argp = {
    .options = cp_options,
    .parser = cp_parse,
    .args_doc = "BUCKET/KEY BUCKET/KEY",
    .doc = "Copies an object inside the cluster. Between buckets of one profile no bytes move."
           "\vExamples:\n"
           "  lilio-ec cp photos/cat.jpg photos/best/cat.jpg\n",
};
static const struct argp mv_argp = {
    .options = cp_options,
    .parser = cp_parse,
    .args_doc = "BUCKET/KEY BUCKET/KEY",
    .doc = "Renames an object inside the cluster, in one step between buckets of one profile."
           "\vExamples:\n"
           "  lilio-ec mv inbox/cat.jpg photos/cat.jpg\n",
};

/* The one of the two names that an error is about; NULL: it is about neither, or says it itself. */
static const struct tools_name *name_meant(const struct cp *cp, enum lilio_err err)
{
    return err == LILIO_E_NO_KEY                                  ? &cp->from
           : err == LILIO_E_EXISTS || err == LILIO_E_PRECONDITION ? &cp->to
                                                                  : NULL;
}

static int copy_run(struct tools_context *context, const struct argp *argp, int argc, char **argv,
                    bool move)
{
    struct cp cp = {0};
    tools_args_parse(context, argp, argc, argv, &cp);
    int code = tools_open(context);
    if (code)
        return code;
    struct lilio_put_result result;
    enum lilio_err err = lilio_copy(context->client, cp.from.bucket, cp.from.key, cp.to.bucket,
                                    cp.to.key, cp.if_absent, move, &result, &context->info);
    const struct tools_name *name = name_meant(&cp, err);
    if (err)
        return name ? tools_fail_name(context, err, name) : tools_fail(context, err);
    tools_out_line(&context->out, "%s %s/%s to %s/%s, version %llu.%u", move ? "moved" : "copied",
                   cp.from.bucket, tools_text_name(cp.from.key, 0), cp.to.bucket,
                   tools_text_name(cp.to.key, 1), (unsigned long long)result.version.index,
                   result.version.ordinal);
    cJSON *json = tools_json_new();
    tools_json_text(json, "bucket", cp.to.bucket);
    tools_json_text(json, "key", cp.to.key);
    tools_json_version(json, "version", result.version);
    tools_json_u64(json, "size", result.size);
    tools_json_u64(json, "durable", result.durable);
    tools_json_u64(json, "total", result.total);
    tools_json_u64(json, "coordinators", result.coordinators);
    tools_json_u64(json, "coordinators_total", result.coordinators_total);
    tools_out_object(&context->out, json);
    return TOOLS_EXIT_OK;
}

int tools_cmd_cp(struct tools_context *context, int argc, char **argv)
{
    return copy_run(context, &cp_argp, argc, argv, false);
}

int tools_cmd_mv(struct tools_context *context, int argc, char **argv)
{
    return copy_run(context, &mv_argp, argc, argv, true);
}
