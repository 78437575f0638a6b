/* verify and explain: what the fragments on the disks are like, read just now. */
#include "tools/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

/* Why a fragment is not good, in the words of the design. */
static const char *fragment_word(const struct lilio_fragment *fragment)
{
    switch (fragment->err) {
    case LILIO_E_OK: return "good";
    case LILIO_E_MISSING: return fragment->filling ? "filling" : "missing";
    case LILIO_E_CORRUPT: return "corrupt";
    case LILIO_E_UNAVAILABLE:
    case LILIO_E_TIMEOUT: return "not read";
    default: return lilio_err_text(fragment->err);
    }
}

static cJSON *fragment_json(const struct lilio_fragment *fragment)
{
    cJSON *object = tools_json_new();
    tools_json_u64(object, "stripe", fragment->stripe);
    tools_json_u64(object, "index", fragment->index);
    tools_json_u64(object, "osd", fragment->osd);
    tools_json_text(object, "state", fragment_word(fragment));
    tools_json_bool(object, "known_missing", fragment->known_missing);
    tools_json_bool(object, "filling", fragment->filling);
    if (fragment->has_previous)
        tools_json_u64(object, "previous_osd", fragment->previous);
    return object;
}

/* ---- verify ---- */

struct verify {
    bool has_name;
    struct tools_name name;
    struct tools_context *context;
    struct tools_progress progress;
};

static error_t verify_parse(int key, char *arg, struct argp_state *state)
{
    struct verify *verify = state->input;
    struct lilio_errinfo info = {0};
    if (key != ARGP_KEY_ARG)
        return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
    if (verify->has_name)
        return ARGP_ERR_UNKNOWN;
    tools_args_check(state, tools_parse_prefix(arg, &verify->name, &info), &info);
    verify->has_name = true;
    return 0;
}

static const struct argp verify_argp = {
    .parser = verify_parse,
    .args_doc = "[BUCKET[/KEY]]",
    .doc =
        "Reads every fragment of everything, a bucket or an object on the OSDs' disks and checks "
        "every block. Damaged objects are named and reported for repair. Exit codes: 0 every "
        "fragment is good, 7 something is damaged, missing or could not be read but no object is "
        "lost, 8 an object is lost."
        "\vExamples:\n"
        "  lilio-ec verify\n"
        "  lilio-ec verify photos/cat.jpg\n"
        "  lilio-ec verify --json\n",
};

enum { BAD_SHOWN = 6 };

static void object_note(void *context, const struct lilio_verify_object *object)
{
    struct verify *verify = context;
    struct tools_out *out = &verify->context->out;
    tools_progress_end(&verify->progress);
    cJSON *element = tools_json_new();
    tools_json_text(element, "bucket", object->bucket);
    tools_json_text(element, "key", object->key);
    tools_json_text(element, "state",
                    object->lost     ? "lost"
                    : object->unread ? "not fully read"
                                     : "damaged");
    tools_json_u64(element, "fragments", object->fragments);
    tools_json_u64(element, "fragments_good", object->good);
    tools_json_u64(element, "survives", object->survives);
    cJSON *list = tools_json_list(element, "bad");
    char survives[64] = "";
    if (!object->lost)
        (void)snprintf(survives, sizeof survives, ", survives %u more %s", object->survives,
                       object->survives == 1 ? "loss" : "losses");
    tools_out_line(out, "%s/%s: %s, %llu of %llu fragments good%s", object->bucket,
                   tools_text_name(object->key, 0),
                   object->lost     ? "LOST"
                   : object->unread ? "not fully read"
                                    : "damaged",
                   (unsigned long long)object->good, (unsigned long long)object->fragments,
                   survives);
    for (size_t i = 0; i < object->bad_count; i++) {
        const struct lilio_fragment *bad = &object->bad[i];
        if (i < BAD_SHOWN)
            tools_out_line(out, "  stripe %llu fragment %u on osd.%u: %s",
                           (unsigned long long)bad->stripe, bad->index, bad->osd,
                           fragment_word(bad));
        tools_json_add(list, fragment_json(bad));
    }
    if (object->bad_count > BAD_SHOWN)
        tools_out_line(out, "  and %zu more", object->bad_count - BAD_SHOWN);
    tools_out_list_add(out, element);
}

static int verify_code(const struct lilio_verify_result *result)
{
    if (result->objects_lost)
        return TOOLS_EXIT_LOST;
    bool clean = result->fragments_good == result->fragments && !result->objects_damaged &&
                 !result->objects_unread;
    return clean ? TOOLS_EXIT_OK : TOOLS_EXIT_DAMAGED;
}

static void verify_print(struct tools_context *context, const struct lilio_verify_result *result,
                         uint64_t elapsed_ms)
{
    static const char *const words[] = {
        [TOOLS_EXIT_OK] = "good",
        [TOOLS_EXIT_DAMAGED] = "damaged but mendable",
        [TOOLS_EXIT_LOST] = "lost",
    };
    struct tools_out *out = &context->out;
    char bytes[TOOLS_TEXT], time[TOOLS_TEXT], rate[TOOLS_TEXT];
    int code = verify_code(result);
    bool only_unread = code == TOOLS_EXIT_DAMAGED && !result->objects_damaged &&
                       !result->fragments_missing && !result->fragments_corrupt;
    const char *word = only_unread ? "not fully read" : words[code];
    tools_out_line(out,
                   "verified %llu objects at index %llu: %llu of %llu fragments good (%s read in "
                   "%s, %s)",
                   (unsigned long long)result->objects, (unsigned long long)result->index,
                   (unsigned long long)result->fragments_good,
                   (unsigned long long)result->fragments, tools_text_bytes(result->bytes, bytes),
                   tools_text_duration(elapsed_ms, time),
                   tools_text_rate(result->bytes, elapsed_ms, rate));
    if (result->objects_inline + result->objects_empty > 0)
        tools_out_line(out, "%llu of them inline on the coordinators, %llu empty: nothing on OSDs",
                       (unsigned long long)result->objects_inline,
                       (unsigned long long)result->objects_empty);
    if (code)
        tools_out_line(out,
                       "%s: %llu fragments missing, %llu corrupt, %llu not read; %llu objects "
                       "damaged, %llu not fully read, %llu lost",
                       word, (unsigned long long)result->fragments_missing,
                       (unsigned long long)result->fragments_corrupt,
                       (unsigned long long)result->fragments_unread,
                       (unsigned long long)result->objects_damaged,
                       (unsigned long long)result->objects_unread,
                       (unsigned long long)result->objects_lost);
    cJSON *object = tools_json_new();
    tools_json_text(object, "state", word);
    tools_json_u64(object, "index", result->index);
    tools_json_u64(object, "objects_checked", result->objects);
    tools_json_u64(object, "objects_inline", result->objects_inline);
    tools_json_u64(object, "objects_empty", result->objects_empty);
    tools_json_u64(object, "objects_damaged", result->objects_damaged);
    tools_json_u64(object, "objects_unread", result->objects_unread);
    tools_json_u64(object, "objects_lost", result->objects_lost);
    tools_json_u64(object, "fragments", result->fragments);
    tools_json_u64(object, "fragments_good", result->fragments_good);
    tools_json_u64(object, "fragments_missing", result->fragments_missing);
    tools_json_u64(object, "fragments_corrupt", result->fragments_corrupt);
    tools_json_u64(object, "fragments_unread", result->fragments_unread);
    tools_json_u64(object, "bytes", result->bytes);
    tools_json_u64(object, "elapsed_ms", elapsed_ms);
    tools_out_object(out, object);
}

int tools_cmd_verify(struct tools_context *context, int argc, char **argv)
{
    struct verify verify = {.context = context};
    tools_args_parse(context, &verify_argp, argc, argv, &verify);
    int code = tools_open(context);
    if (code)
        return code;
    struct lilio_verify_result result;
    tools_progress_start(&verify.progress, "verify", context->out.json);
    struct lilio_progress callback = tools_progress_callback(&verify.progress);
    tools_out_list_begin(&context->out, "objects");
    enum lilio_err err =
        lilio_verify(context->client, verify.has_name ? verify.name.bucket : NULL,
                     verify.has_name && verify.name.key[0] ? verify.name.key : NULL, false,
                     object_note, &verify, &callback, &result, &context->info);
    tools_progress_end(&verify.progress);
    if (err && verify.has_name)
        return tools_fail_name(context, err, &verify.name);
    if (err)
        return tools_fail(context, err);
    verify_print(context, &result, tools_progress_elapsed_ms(&verify.progress));
    return verify_code(&result);
}

/* ---- explain ---- */

struct explain {
    bool has_name, maps_only;
    struct tools_name name;
};

static const struct argp_option explain_options[] = {
    {"maps-only", 'm', NULL, 0, "Do not read the fragments, only say what the maps know", 0},
    {0},
};

static error_t explain_parse(int key, char *arg, struct argp_state *state)
{
    struct explain *explain = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case 'm': explain->maps_only = true; return 0;
    case ARGP_KEY_ARG:
        if (explain->has_name)
            return ARGP_ERR_UNKNOWN;
        tools_args_check(state, tools_parse_object(arg, &explain->name, &info), &info);
        explain->has_name = true;
        return 0;
    case ARGP_KEY_END:
        if (!explain->has_name)
            tools_args_fail(state, "BUCKET/KEY is missing");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp explain_argp = {
    .options = explain_options,
    .parser = explain_parse,
    .args_doc = "BUCKET/KEY",
    .doc = "Shows where each fragment of an object is, reads and checks each one, and says which "
           "further losses the object survives. Exit codes: 0 it can be read, 7 it cannot until "
           "OSDs come back, 8 it is lost."
           "\vExamples:\n"
           "  lilio-ec explain photos/cat.jpg\n"
           "  lilio-ec explain photos/cat.jpg --json\n",
};

static void explain_stripes_print(struct tools_out *out, const struct lilio_explain *explain,
                                  bool checked)
{
    uint32_t data_count = explain->object.profile.data_count;
    uint64_t stripe = UINT64_MAX;
    char line[4096];
    size_t used = 0;
    for (size_t i = 0; i < explain->fragment_count; i++) {
        const struct lilio_fragment *fragment = &explain->fragments[i];
        if (fragment->stripe != stripe) {
            if (used)
                tools_out_line(out, "%s", line);
            stripe = fragment->stripe;
            used = (size_t)snprintf(line, sizeof line, "stripe %llu:", (unsigned long long)stripe);
        }
        const char *word = fragment->err != LILIO_OK ? fragment_word(fragment)
                           : checked                 ? "good"
                                                     : "";
        if (used < sizeof line)
            used += (size_t)snprintf(line + used, sizeof line - used, "  %c%u osd.%u%s%s",
                                     fragment->index < data_count ? 'd' : 'p', fragment->index,
                                     fragment->osd, word[0] ? " " : "", word);
        if (fragment->has_previous && used < sizeof line)
            used += (size_t)snprintf(line + used, sizeof line - used, " (before osd.%u)",
                                     fragment->previous);
    }
    if (used)
        tools_out_line(out, "%s", line);
}

static void explain_print(struct tools_context *context, const struct lilio_explain *explain,
                          bool checked)
{
    struct tools_out *out = &context->out;
    const struct lilio_object *object = &explain->object;
    char bytes[TOOLS_TEXT];
    size_t good = 0;
    for (size_t i = 0; i < explain->fragment_count; i++)
        good += explain->fragments[i].err == LILIO_OK;
    tools_out_line(out, "%s/%s: %s, version %llu.%u, %u+%u, %llu stripes", object->bucket,
                   tools_text_name(object->key, 0), tools_text_bytes(object->size, bytes),
                   (unsigned long long)object->version.index, object->version.ordinal,
                   object->profile.data_count, object->profile.parity_count,
                   (unsigned long long)explain->stripe_count);
    explain_stripes_print(out, explain, checked);
    if (explain->fragment_count > 0 && checked)
        tools_out_line(out, "%zu of %zu fragments were read and verified just now", good,
                       explain->fragment_count);
    else if (explain->fragment_count > 0)
        tools_out_line(out, "%zu of %zu fragments are there as far as the maps know; none was read",
                       good, explain->fragment_count);
    if (explain->lost)
        tools_out_line(out, "LOST: a stripe has %u of %u needed fragments", explain->worst_kept,
                       object->profile.data_count);
    else if (explain->fragment_count == 0)
        tools_out_line(out, "%s: it survives whatever a majority of the coordinators survives",
                       object->is_inline ? "inline, on the coordinators"
                                         : "it has no bytes on any OSD");
    else if (!explain->readable_now)
        tools_out_line(out,
                       "cannot be read now: a stripe has %u of %u needed fragments within reach, "
                       "%u more may come back",
                       explain->worst_good, object->profile.data_count,
                       explain->worst_kept - explain->worst_good);
    else
        tools_out_line(out, "survives the loss of any %u more of these OSDs", explain->survives);
}

static cJSON *explain_json(const struct lilio_explain *explain, bool checked)
{
    cJSON *json = tools_json_new();
    tools_json_text(json, "bucket", explain->object.bucket);
    tools_json_text(json, "key", explain->object.key);
    tools_json_u64(json, "size", explain->object.size);
    tools_json_version(json, "version", explain->object.version);
    tools_json_profile(json, "profile", explain->object.profile);
    tools_json_u64(json, "fragment_size", explain->object.profile.fragment_size);
    tools_json_u64(json, "stripes", explain->stripe_count);
    tools_json_bool(json, "verified_now", checked);
    tools_json_u64(json, "survives", explain->survives);
    tools_json_bool(json, "lost", explain->lost);
    tools_json_bool(json, "readable_now", explain->readable_now);
    tools_json_u64(json, "worst_good", explain->worst_good);
    tools_json_u64(json, "worst_kept", explain->worst_kept);
    tools_json_bool(json, "inline", explain->object.is_inline);
    cJSON *list = tools_json_list(json, "fragments");
    for (size_t i = 0; i < explain->fragment_count; i++)
        tools_json_add(list, fragment_json(&explain->fragments[i]));
    return json;
}

/* The judgement of `damage'. */
static int explain_code(const struct lilio_explain *explain)
{
    return explain->lost           ? TOOLS_EXIT_LOST
           : explain->readable_now ? TOOLS_EXIT_OK
                                   : TOOLS_EXIT_DAMAGED;
}

int tools_cmd_explain(struct tools_context *context, int argc, char **argv)
{
    struct explain wish = {0};
    tools_args_parse(context, &explain_argp, argc, argv, &wish);
    int code = tools_open(context);
    if (code)
        return code;
    struct lilio_explain explain;
    enum lilio_err err = lilio_explain_get(context->client, wish.name.bucket, wish.name.key,
                                           !wish.maps_only, &explain, &context->info);
    if (err)
        return tools_fail_name(context, err, &wish.name);
    explain_print(context, &explain, !wish.maps_only);
    if (context->out.json)
        tools_out_object(&context->out, explain_json(&explain, !wish.maps_only));
    code = explain_code(&explain);
    lilio_explain_release(&explain);
    return code;
}
