/* damage: the objects at risk by name, the worst first, as the maps know it. */
#include "tools/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct damage {
    struct lilio_damage_ask ask;
    struct tools_name bucket;
    uint32_t if_lost[TOOLS_OSDS_MAX];
};

static const struct argp_option options[] = {
    {"if-lost", 'i', "OSD,...", 0, "As if these OSDs were lost on top", 0},
    {"bucket", 'b', "BUCKET", 0, "Only objects of this bucket", 0},
    {"limit", 'n', "N", 0, "List at most N objects, the worst; the others are counted (10000)", 0},
    {0},
};

static void osds_parse(struct argp_state *state, struct damage *damage, const char *text)
{
    struct lilio_errinfo info = {0};
    char word[32];
    for (;;) {
        size_t size = strcspn(text, ",");
        if (damage->ask.if_lost_count == TOOLS_OSDS_MAX || size >= sizeof word)
            tools_args_fail(state, "--if-lost takes OSDs like osd.3,osd.5, not '%s'", text);
        memcpy(word, text, size);
        word[size] = 0;
        tools_args_check(state,
                         tools_parse_osd(word, &damage->if_lost[damage->ask.if_lost_count], &info),
                         &info);
        damage->ask.if_lost_count++;
        if (!text[size])
            return;
        text += size + 1;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct damage *damage = state->input;
    struct lilio_errinfo info = {0};
    uint64_t number;
    switch (key) {
    case 'i': osds_parse(state, damage, arg); return 0;
    case 'b':
        tools_args_check(state, tools_parse_bucket(arg, &damage->bucket, &info), &info);
        damage->ask.bucket = damage->bucket.bucket;
        return 0;
    case 'n':
        tools_args_check(state, tools_parse_number(arg, "--limit", 1, UINT32_MAX, &number, &info),
                         &info);
        damage->ask.limit = number;
        return 0;
    default: return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .doc = "Lists the objects that have fewer than all of their fragments, the worst first: lost, "
           "not readable now, and those that survive so many more losses. It says what the maps "
           "know and reads nothing from OSDs: `lilio-ec verify' looks for damage that nobody has "
           "met. Exit codes: 0 every object can be read, 7 some cannot be read until OSDs come "
           "back, 8 some are lost."
           "\vExamples:\n"
           "  lilio-ec damage\n"
           "  lilio-ec damage --if-lost osd.3,osd.5\n"
           "  lilio-ec damage --bucket photos --limit 100 --json\n",
};

static const char *state_word(const struct lilio_damage_object *object)
{
    return object->lost ? "lost" : object->readable ? "degraded" : "unreadable";
}

static void object_print(struct tools_out *out, const struct lilio_damage_object *object)
{
    char what[256], others[64] = "";
    if (object->lost)
        (void)snprintf(what, sizeof what, "LOST: %u of %u needed fragments", object->kept,
                       object->data_count);
    else if (!object->readable)
        (void)snprintf(what, sizeof what,
                       "cannot be read now: %u of %u needed fragments, %u more may come back",
                       object->good, object->data_count, object->kept - object->good);
    else
        (void)snprintf(what, sizeof what, "survives %u more %s: %u/%u fragments good",
                       object->survives, object->survives == 1 ? "loss" : "losses", object->good,
                       object->total_count);
    if (object->more_names)
        (void)snprintf(others, sizeof others, "; %llu more names share its bytes",
                       (unsigned long long)object->more_names);
    tools_out_line(out, "%s/%s: %s, %llu of %llu stripes hurt%s",
                   tools_text_name(object->bucket, 0), tools_text_name(object->key, 1), what,
                   (unsigned long long)object->hurt, (unsigned long long)object->stripes, others);
}

static cJSON *object_json(const struct lilio_damage_object *object)
{
    cJSON *json = tools_json_new();
    tools_json_text(json, "bucket", object->bucket);
    tools_json_text(json, "key", object->key);
    tools_json_text(json, "state", state_word(object));
    tools_json_u64(json, "survives", object->survives);
    tools_json_u64(json, "good", object->good);
    tools_json_u64(json, "kept", object->kept);
    tools_json_u64(json, "data_count", object->data_count);
    tools_json_u64(json, "total_count", object->total_count);
    tools_json_u64(json, "stripes", object->stripes);
    tools_json_u64(json, "stripes_hurt", object->hurt);
    tools_json_u64(json, "more_names", object->more_names);
    return json;
}

static void summary_print(struct tools_out *out, const struct damage *damage,
                          const struct lilio_damage *found)
{
    const char *as_if = damage->ask.if_lost_count ? "if these OSDs were lost: " : "";
    if (found->omitted)
        tools_out_line(out, "and %llu more, none of them worse (--limit)",
                       (unsigned long long)found->omitted);
    if (found->objects == 0)
        tools_out_line(out,
                       "%sno object is at risk: every stripe has all of its fragments, as far as "
                       "the maps know at index %llu",
                       as_if, (unsigned long long)found->index);
    else
        tools_out_line(out,
                       "%s%llu objects have fewer than all of their fragments: %llu lost, %llu "
                       "cannot be read now, at index %llu",
                       as_if, (unsigned long long)found->objects, (unsigned long long)found->lost,
                       (unsigned long long)(found->unreadable - found->lost),
                       (unsigned long long)found->index);
    cJSON *json = tools_json_new();
    tools_json_u64(json, "index", found->index);
    tools_json_bool(json, "walked", found->walked);
    tools_json_u64(json, "objects_hurt", found->objects);
    tools_json_u64(json, "objects_unreadable", found->unreadable - found->lost);
    tools_json_u64(json, "objects_lost", found->lost);
    tools_json_u64(json, "omitted", found->omitted);
    tools_out_object(out, json);
}

int tools_cmd_damage(struct tools_context *context, int argc, char **argv)
{
    struct damage damage = {0};
    struct lilio_damage found;
    struct tools_progress progress;
    damage.ask.if_lost = damage.if_lost;
    tools_args_parse(context, &argp, argc, argv, &damage);
    int code = tools_open(context);
    if (code)
        return code;
    tools_progress_start(&progress, "damage", context->out.json);
    struct lilio_progress callback = tools_progress_callback(&progress);
    enum lilio_err err = lilio_damage_get(
        context->client, &damage.ask, progress.enabled ? &callback : NULL, &found, &context->info);
    tools_progress_end(&progress);
    if (err)
        return tools_fail(context, err);
    tools_out_list_begin(&context->out, "objects");
    for (size_t i = 0; i < found.count; i++) {
        object_print(&context->out, &found.list[i]);
        if (context->out.json)
            tools_out_list_add(&context->out, object_json(&found.list[i]));
    }
    summary_print(&context->out, &damage, &found);
    code = found.lost ? TOOLS_EXIT_LOST : found.unreadable ? TOOLS_EXIT_DAMAGED : TOOLS_EXIT_OK;
    lilio_damage_release(&found);
    return code;
}
