/* mb and rb. */
#include "tools/cmd.h"

#include <string.h>

#include "tools/walk.h"

#include "base/banned.h"

/* ---- mb ---- */

struct mb {
    struct tools_name name;
    bool has_name, has_profile;
    struct lilio_profile profile;
    uint64_t quorum;
};

static const struct argp_option mb_options[] = {
    {"profile", 'p', "K+M", 0, "Data and parity fragments of each stripe (default: the cluster's)",
     0},
    {"quorum", 'q', "W", 0,
     "Fragments that must be durable before a put is acknowledged (default: all, but after a short "
     "grace K+1)",
     0},
    {"fragment", 'f', "SIZE", 0, "Fragment size, a multiple of 4KiB up to 4MiB (default 1MiB)", 0},
    {0},
};

static error_t mb_parse(int key, char *arg, struct argp_state *state)
{
    struct mb *mb = state->input;
    struct lilio_errinfo info = {0};
    uint64_t size;
    switch (key) {
    case 'p': {
        uint32_t fragment_size = mb->profile.fragment_size;
        tools_args_check(state, tools_parse_profile(arg, &mb->profile, &info), &info);
        mb->profile.fragment_size = fragment_size;
        mb->has_profile = true;
        return 0;
    }
    case 'q':
        tools_args_check(
            state, tools_parse_number(arg, "a write quorum", 1, 48, &mb->quorum, &info), &info);
        return 0;
    case 'f':
        tools_args_check(state, tools_parse_size(arg, &size, &info), &info);
        if (size == 0 || size > UINT32_MAX)
            tools_args_fail(state, "--fragment %s is out of range", arg);
        mb->profile.fragment_size = (uint32_t)size;
        return 0;
    case ARGP_KEY_ARG:
        if (mb->has_name)
            return ARGP_ERR_UNKNOWN;
        tools_args_check(state, tools_parse_bucket(arg, &mb->name, &info), &info);
        mb->has_name = true;
        return 0;
    case ARGP_KEY_END:
        if (!mb->has_name)
            tools_args_fail(state, "the bucket's name is missing");
        if (mb->profile.fragment_size && !mb->has_profile)
            tools_args_fail(state, "--fragment needs --profile");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp mb_argp = {
    .options = mb_options,
    .parser = mb_parse,
    .args_doc = "BUCKET",
    .doc = "Makes a bucket. Its name is 1 to 63 characters of a-z, 0-9, '.' and '-'."
           "\vExamples:\n"
           "  lilio-ec mb photos\n"
           "  lilio-ec mb archive --profile 3+2\n",
};

int tools_cmd_mb(struct tools_context *context, int argc, char **argv)
{
    struct mb mb = {0};
    tools_args_parse(context, &mb_argp, argc, argv, &mb);
    int code = tools_open(context);
    if (code)
        return code;
    struct lilio_bucket bucket;
    enum lilio_err err =
        lilio_bucket_create(context->client, mb.name.bucket, mb.has_profile ? &mb.profile : NULL,
                            (uint32_t)mb.quorum, &bucket, &context->info);
    if (err)
        return tools_fail(context, err);
    tools_out_line(&context->out, "made bucket %s (profile %u+%u)", bucket.name,
                   bucket.profile.data_count, bucket.profile.parity_count);
    cJSON *object = tools_json_new();
    tools_json_text(object, "bucket", bucket.name);
    tools_json_u64(object, "id", bucket.id);
    tools_json_profile(object, "profile", bucket.profile);
    tools_json_u64(object, "fragment_size", bucket.profile.fragment_size);
    tools_json_u64(object, "quorum", bucket.quorum);
    tools_out_object(&context->out, object);
    return TOOLS_EXIT_OK;
}

/* ---- rb ---- */

struct rb {
    struct tools_name name;
    bool has_name, force;
};

static const struct argp_option rb_options[] = {
    {"force", 'f', NULL, 0, "Delete every object in it first", 0},
    {0},
};

static error_t rb_parse(int key, char *arg, struct argp_state *state)
{
    struct rb *rb = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case 'f': rb->force = true; return 0;
    case ARGP_KEY_ARG:
        if (rb->has_name)
            return ARGP_ERR_UNKNOWN;
        tools_args_check(state, tools_parse_bucket(arg, &rb->name, &info), &info);
        rb->has_name = true;
        return 0;
    case ARGP_KEY_END:
        if (!rb->has_name)
            tools_args_fail(state, "the bucket's name is missing");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp rb_argp = {
    .options = rb_options,
    .parser = rb_parse,
    .args_doc = "BUCKET",
    .doc = "Removes a bucket. Refused (exit code 4) unless it is empty."
           "\vExamples:\n"
           "  lilio-ec rb photos\n"
           "  lilio-ec rb photos --force      deletes what is in it, too\n",
};

static enum lilio_err object_delete(struct tools_context *context, const char *bucket,
                                    const struct lilio_list_entry *entry, void *unused)
{
    (void)unused;
    enum lilio_err err = lilio_delete(context->client, bucket, entry->key,
                                      (struct lilio_version){0}, &context->info);
    if (err == LILIO_E_NO_KEY)
        return LILIO_OK; /* somebody else was faster */
    return err && err != LILIO_E_CANCELLED
               ? lilio_prefix(&context->info, err, "%s/%s", bucket, tools_text_name(entry->key, 0))
               : err;
}

int tools_cmd_rb(struct tools_context *context, int argc, char **argv)
{
    struct rb rb = {0};
    tools_args_parse(context, &rb_argp, argc, argv, &rb);
    int code = tools_open(context);
    if (code)
        return code;
    uint64_t deleted = 0;
    enum lilio_err err = LILIO_OK;
    if (rb.force)
        err = tools_walk(context, rb.name.bucket, "", object_delete, NULL, &deleted);
    if (!err)
        err = lilio_bucket_delete(context->client, rb.name.bucket, &context->info);
    if (err == LILIO_E_NOT_EMPTY)
        return tools_fail_with(context, err,
                               "bucket %s is not empty; --force deletes its objects, too",
                               rb.name.bucket);
    if (err)
        return tools_fail(context, err);
    tools_out_line(&context->out, "removed bucket %s", rb.name.bucket);
    cJSON *object = tools_json_new();
    tools_json_text(object, "bucket", rb.name.bucket);
    tools_json_u64(object, "deleted_objects", deleted);
    tools_out_object(&context->out, object);
    return TOOLS_EXIT_OK;
}
