/* verify-cert: does a certificate of `osd rebuild' or `osd drain' still hold? Its content against
 * its digest, its subject against the cluster, and every fragment it speaks for and that still
 * exists is read again.
 */
#include "tools/cmd.h"

#include <stdio.h>
#include <string.h>

#include "tools/certificate.h"

#include "base/banned.h"

struct check {
    const char *path;
    struct tools_context *context;
    struct tools_progress progress;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct check *check = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (check->path)
            return ARGP_ERR_UNKNOWN;
        check->path = arg;
        return 0;
    case ARGP_KEY_END:
        if (!check->path)
            tools_args_fail(state, "which certificate? Its file is missing");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .parser = parse,
    .args_doc = "FILE",
    .doc =
        "Checks a certificate of `osd rebuild' or `osd drain' against the cluster as it is now: "
        "that the file was not changed, that it speaks of this cluster (a rebuild's also of the "
        "disk this OSD has), and that every fragment it speaks for and that is still there can be "
        "read and verified: on this OSD, or on those that have now what was drained. What was "
        "deleted since, and what is in slots that other OSDs have now, is counted apart. "
        "Exit codes: 0 it holds, 3 there is no such file, 4 it is about another cluster or disk, "
        "the maps are older than it, nothing it speaks for is left to look at, or not all of that "
        "is known any more, 7 it was "
        "changed, proved nothing when it was made, or fragments are not good or not readable now."
        "\vExamples:\n"
        "  lilio-ec verify-cert ~/lilio/certificates/osd.3-1812.json\n",
};

static const struct lilio_osd *osd_find(const struct lilio_status *status, uint32_t id)
{
    for (size_t i = 0; i < status->osd_count; i++)
        if (status->osds[i].id == id)
            return &status->osds[i];
    return NULL;
}

/* Is it about this cluster, and about the disk that the OSD has now? */
static enum lilio_err subject_check(const struct lilio_status *status,
                                    const struct tools_certificate *certificate,
                                    struct lilio_errinfo *info)
{
    const struct lilio_osd *osd = osd_find(status, certificate->osd);
    if (strcmp(status->cluster_id, certificate->cluster_id) != 0)
        return lilio_fail(info, LILIO_E_PRECONDITION,
                          "the certificate is of cluster %s, this one is %s",
                          certificate->cluster_id, status->cluster_id);
    if (!osd)
        return lilio_fail(info, LILIO_E_PRECONDITION, "this cluster has no osd.%u",
                          certificate->osd);
    if (certificate->drain)
        return LILIO_OK; /* its disk may be gone, which is what drains are for */
    if (osd->incarnation != certificate->incarnation ||
        strcmp(osd->disk_uuid, certificate->disk_uuid) != 0)
        return lilio_fail(info, LILIO_E_PRECONDITION,
                          "the certificate is of disk %s (incarnation %u), osd.%u has %s "
                          "(incarnation %u) now",
                          certificate->disk_uuid, certificate->incarnation, osd->id, osd->disk_uuid,
                          osd->incarnation);
    return LILIO_OK;
}

static void object_note(void *context, const struct lilio_verify_object *object)
{
    struct check *check = context;
    tools_progress_end(&check->progress);
    cJSON *element = tools_json_new();
    tools_json_text(element, "bucket", object->bucket);
    tools_json_text(element, "key", object->key);
    tools_json_u64(element, "fragments", object->fragments);
    tools_json_u64(element, "fragments_good", object->good);
    tools_out_line(&check->context->out, "%s/%s: %llu of %llu fragments there are good",
                   tools_text_name(object->bucket, 0), tools_text_name(object->key, 1),
                   (unsigned long long)object->good, (unsigned long long)object->fragments);
    tools_out_list_add(&check->context->out, element);
}

/* What became of the fragments that are not looked at. */
static void rest_print(struct tools_out *out, const struct tools_certificate *certificate,
                       const struct lilio_verify_osd_result *result)
{
    if (result->elsewhere)
        tools_out_line(out,
                       "%llu are in slots that other OSDs have now, or that fill again: it says "
                       "nothing of these any more",
                       (unsigned long long)result->elsewhere);
    if (certificate->slots.unsure && !certificate->drain)
        tools_out_line(
            out,
            "%llu partitions changed more than once while it was made: which slots it is "
            "about there is not known, and nothing there was looked at",
            (unsigned long long)certificate->slots.unsure);
    if (!certificate->has_slots)
        tools_out_line(out,
                       "it does not say which slots it is about (an older version made it): %s was "
                       "looked at, which may be more or less",
                       certificate->drain ? "what others have of what this OSD had last"
                                          : "what this OSD has now");
}

static int result_print(struct tools_out *out, const struct tools_certificate *certificate,
                        const struct lilio_verify_osd_result *result)
{
    uint64_t there = result->expected + result->elsewhere;
    uint64_t deleted = certificate->expected > there ? certificate->expected - there : 0;
    bool sure = certificate->drain || certificate->slots.unsure == 0;
    bool good = certificate->proven && result->good == result->expected, holds = good && sure;
    tools_out_line(out, "osd.%u at index %llu: the certificate speaks for %llu fragments",
                   certificate->osd, (unsigned long long)certificate->index,
                   (unsigned long long)certificate->expected);
    tools_out_line(
        out,
        "now, index %llu: %llu of them are there (%llu were deleted%s since), %llu verified, "
        "%llu missing, %llu corrupt, %llu not read; %llu newer ones were not looked at",
        (unsigned long long)result->index, (unsigned long long)result->expected,
        (unsigned long long)deleted, certificate->has_slots && sure ? "" : " or went further",
        (unsigned long long)result->good, (unsigned long long)result->missing,
        (unsigned long long)result->corrupt, (unsigned long long)result->unread,
        (unsigned long long)result->newer);
    rest_print(out, certificate, result);
    tools_out_line(out, "%s",
                   holds                 ? "IT HOLDS"
                   : good                ? "WHAT WAS LOOKED AT HOLDS; nobody can tell of the rest"
                   : certificate->proven ? "IT DOES NOT HOLD ANY MORE"
                                         : "it proved nothing when it was made");
    cJSON *json = tools_json_new();
    tools_json_bool(json, "holds", holds);
    tools_json_bool(json, "proven", certificate->proven);
    tools_json_text(json, "of", certificate->drain ? "osd drain" : "osd rebuild");
    tools_json_u64(json, "osd", certificate->osd);
    tools_json_u64(json, "certificate_index", certificate->index);
    tools_json_u64(json, "certificate_expected", certificate->expected);
    tools_json_u64(json, "index", result->index);
    tools_json_u64(json, "expected", result->expected);
    tools_json_bool(json, "slots_known", certificate->has_slots);
    tools_json_u64(json, "deleted", deleted);
    tools_json_u64(json, "elsewhere", result->elsewhere);
    tools_json_u64(json, "verified", result->good);
    tools_json_u64(json, "missing", result->missing);
    tools_json_u64(json, "corrupt", result->corrupt);
    tools_json_u64(json, "unread", result->unread);
    tools_json_u64(json, "newer", result->newer);
    tools_out_object(out, json);
    return holds ? TOOLS_EXIT_OK : good ? TOOLS_EXIT_CONDITION : TOOLS_EXIT_DAMAGED;
}

/* Reads what it speaks for. */
static int certificate_check(struct check *check, const struct tools_certificate *certificate)
{
    struct tools_context *context = check->context;
    struct lilio_verify_osd_result result;
    struct lilio_verify_osd_ask ask = {.osd = certificate->osd,
                                       .had = certificate->drain,
                                       .index = certificate->index,
                                       .slots =
                                           certificate->has_slots ? &certificate->slots : NULL};
    tools_progress_start(&check->progress, "verify", context->out.json);
    struct lilio_progress callback = tools_progress_callback(&check->progress);
    tools_out_list_begin(&context->out, "objects");
    enum lilio_err err = lilio_verify_osd(context->client, &ask, object_note, check, &callback,
                                          &result, &context->info);
    tools_progress_end(&check->progress);
    if (!err && result.index < certificate->index)
        err = lilio_fail(&context->info, LILIO_E_PRECONDITION,
                         "the maps are at index %llu, before the certificate's %llu",
                         (unsigned long long)result.index, (unsigned long long)certificate->index);
    if (!err && certificate->proven && result.expected == 0 && certificate->expected > 0)
        err = lilio_fail(&context->info, LILIO_E_PRECONDITION,
                         "nothing it speaks for is left to look at: all was deleted, or went on to "
                         "other OSDs");
    return err ? tools_fail(context, err) : result_print(&context->out, certificate, &result);
}

/* Is it about what is here? 0 or the exit code. */
static int subject_ask(struct tools_context *context, const struct tools_certificate *certificate)
{
    struct lilio_status status;
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = lilio_status_get(context->client, &status, &context->info);
    if (err)
        return tools_fail(context, err);
    err = subject_check(&status, certificate, &context->info);
    lilio_status_release(&status);
    return err ? tools_fail(context, err) : TOOLS_EXIT_OK;
}

int tools_cmd_verify_cert(struct tools_context *context, int argc, char **argv)
{
    struct check check = {.context = context};
    struct tools_certificate certificate;
    tools_args_parse(context, &argp, argc, argv, &check);
    enum lilio_err err = tools_certificate_load(check.path, &certificate, &context->info);
    if (err)
        return tools_fail(context, err);
    int code = subject_ask(context, &certificate);
    if (code == TOOLS_EXIT_OK)
        code = certificate_check(&check, &certificate);
    tools_certificate_release(&certificate);
    return code;
}
