/* ls: buckets, or the keys of one. */
#include "tools/cmd.h"

#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

enum { PAGE = 1000 };

struct ls {
    bool has_name, recursive;
    struct tools_name name;
};

static const struct argp_option options[] = {
    {"recursive", 'r', NULL, 0, "Every key; without it, keys stop at the next slash", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct ls *ls = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case 'r': ls->recursive = true; return 0;
    case ARGP_KEY_ARG:
        if (ls->has_name)
            return ARGP_ERR_UNKNOWN;
        tools_args_check(state, tools_parse_prefix(arg, &ls->name, &info), &info);
        ls->has_name = true;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "[BUCKET[/PREFIX]]",
    .doc = "Lists the buckets, or the keys of a bucket that begin with PREFIX."
           "\vExamples:\n"
           "  lilio-ec ls\n"
           "  lilio-ec ls photos\n"
           "  lilio-ec ls photos/2026/ --recursive --json\n",
};

static int buckets_list(struct tools_context *context)
{
    struct lilio_bucket *buckets = NULL;
    size_t count = 0;
    enum lilio_err err = lilio_bucket_list(context->client, &buckets, &count, &context->info);
    if (err)
        return tools_fail(context, err);
    static const char *const columns[] = {"BUCKET", "PROFILE", ">OBJECTS", ">BYTES", "MADE", NULL};
    struct tools_table *table = tools_table_new(columns);
    tools_out_list_begin(&context->out, "buckets");
    for (size_t i = 0; i < count; i++) {
        const struct lilio_bucket *bucket = &buckets[i];
        char bytes[TOOLS_TEXT], time[TOOLS_TEXT];
        tools_table_add(table, "%s", bucket->name);
        tools_table_add(table, "%u+%u", bucket->profile.data_count, bucket->profile.parity_count);
        tools_table_add(table, "%llu", (unsigned long long)bucket->object_count);
        tools_table_add(table, "%s", tools_text_bytes(bucket->object_bytes, bytes));
        tools_table_add(table, "%s", tools_text_time(bucket->created_ms, time));
        cJSON *element = tools_json_new();
        tools_json_text(element, "bucket", bucket->name);
        tools_json_profile(element, "profile", bucket->profile);
        tools_json_u64(element, "fragment_size", bucket->profile.fragment_size);
        tools_json_u64(element, "quorum", bucket->quorum);
        tools_json_u64(element, "objects", bucket->object_count);
        tools_json_u64(element, "bytes", bucket->object_bytes);
        tools_json_time(element, "created", bucket->created_ms);
        tools_out_list_add(&context->out, element);
    }
    free(buckets);
    tools_table_print(&table, &context->out);
    tools_out_object(&context->out, tools_json_new());
    return TOOLS_EXIT_OK;
}

static void entry_print(struct tools_context *context, const struct lilio_list_entry *entry)
{
    char time[TOOLS_TEXT], crc[16];
    cJSON *element = tools_json_new();
    if (entry->is_prefix) {
        tools_out_line(&context->out, "%20s  %15s  %s", "", "", tools_text_name(entry->key, 0));
        tools_json_text(element, "key", entry->key);
    } else {
        tools_out_line(&context->out, "%20s  %15llu  %s", tools_text_time(entry->modified_ms, time),
                       (unsigned long long)entry->size, tools_text_name(entry->key, 0));
        (void)snprintf(crc, sizeof crc, "%08x", entry->crc32c);
        tools_json_text(element, "key", entry->key);
        tools_json_u64(element, "size", entry->size);
        tools_json_time(element, "modified", entry->modified_ms);
        tools_json_version(element, "version", entry->version);
        tools_json_text(element, "crc32c", crc);
        const char *type = entry->content_type;
        tools_json_text(element, "type", type && type[0] ? type : NULL);
    }
    tools_json_bool(element, "is_prefix", entry->is_prefix);
    tools_out_list_add(&context->out, element);
}

static int keys_list(struct tools_context *context, const struct ls *ls)
{
    struct lilio_listing page = {0};
    uint64_t count = 0;
    enum lilio_err err = LILIO_OK;
    bool begun =
        false; /* the list; not before there is one: else it would stand beside the error */
    do {
        struct lilio_listing next = {0};
        err = lilio_list(context->client, ls->name.bucket, ls->name.key, ls->recursive ? "" : "/",
                         page.token, page.token_size, PAGE, &next, &context->info);
        lilio_listing_release(&page);
        page = next;
        if (!err && !begun)
            tools_out_list_begin(&context->out, "entries");
        begun = begun || !err;
        for (size_t i = 0; !err && i < page.count; i++)
            entry_print(context, &page.entries[i]);
        count += page.count;
        if (!err && tools_cancelled())
            err = lilio_fail(&context->info, LILIO_E_CANCELLED, "interrupted");
    } while (!err && page.more && !context->out.failed);
    lilio_listing_release(&page);
    if (err)
        return tools_fail_name(context, err, &ls->name);
    cJSON *object = tools_json_new();
    tools_json_text(object, "bucket", ls->name.bucket);
    tools_json_text(object, "prefix", ls->name.key);
    tools_json_u64(object, "count", count);
    tools_out_object(&context->out, object);
    return TOOLS_EXIT_OK;
}

int tools_cmd_ls(struct tools_context *context, int argc, char **argv)
{
    struct ls ls = {0};
    tools_args_parse(context, &argp, argc, argv, &ls);
    int code = tools_open(context);
    if (code)
        return code;
    return ls.has_name ? keys_list(context, &ls) : buckets_list(context);
}
