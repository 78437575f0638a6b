/* osd drain: an OSD that is to go gives what it has to others, and a certificate says that they
 * have it. The work is the cluster's, told to the coordinators once: this command follows it, and
 * reads at its end every fragment where it is now. */
#include "tools/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/env.h"
#include "proto/cluster_file.h"
#include "tools/certificate.h"
#include "tools/config_path.h"
#include "tools/local.h"

#include "base/banned.h"

enum { POLL_MS = 200, QUIET_MS = 60000, SETTLE_MS = 10000 };

struct drain {
    bool has_osd, cancel;
    uint32_t osd;
    struct tools_context *context;
    struct tools_progress progress;
    struct tools_drain made;
};

static const struct argp_option options[] = {
    {"cancel", 'c', NULL, 0, "Stop: what has not gone stays, what has gone does not come back", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct drain *drain = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case 'c': drain->cancel = true; return 0;
    case ARGP_KEY_ARG:
        if (drain->has_osd)
            return ARGP_ERR_UNKNOWN;
        tools_args_check(state, tools_parse_osd(arg, &drain->osd, &info), &info);
        drain->has_osd = true;
        return 0;
    case ARGP_KEY_END:
        if (!drain->has_osd)
            tools_args_fail(state, "which OSD? Its number or osd.NUMBER is missing");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "ID",
    .doc =
        "Gives what an OSD has to others, so that it can be taken away: its slots move, their "
        "fragments are copied (decoded where the copy is bad) and verified, and it gets nothing "
        "new. It serves until then. Ends when no stripe needs it any more and what others have now "
        "of what it had last was read there, with a certificate; `lilio-ec verify-cert' tells "
        "whether that still holds. How fast it goes is `lilio-ec repair --priority'. Interrupted, "
        "the cluster goes on; the same command follows it again. Exit codes: 0 proven, 3 there is "
        "no such OSD, 4 there are too few other OSDs for it or they have too little room, another "
        "one drains, or somebody cancelled it, 5 it waits for OSDs that are away, or some went "
        "away meanwhile, or for slots that could not be filled, 7 some stripes could not be mended "
        "and may need it, or not all was good where it is now."
        "\vExamples:\n"
        "  lilio-ec osd drain 3\n"
        "  lilio-ec osd drain osd.3 --cancel\n",
};

/* ---- following it ---- */

/* What there is to say of it now. */
struct state {
    uint64_t left;  /* stripes */
    uint64_t index; /* of the maps that say so */
    bool stands_still;
    bool waits_for_osds;
    bool failed; /* something could not be mended */
    /* An OSD that could not fill its slots; empty: there is none. */
    uint32_t fills;
    char fill_reason[256];
};

/* Whether stripes wait for it: it may come back, or be out and lose its slots to others. */
static bool is_waited_for(const struct lilio_osd *osd)
{
    bool serves = strcmp(osd->state, "up") == 0 || strcmp(osd->state, "suspect") == 0;
    return !osd->drained && strcmp(osd->state, "out") != 0 && !(serves && osd->complete);
}

/* Who is waited for, and whether somebody's slots fill no further, and why. */
static void others_note(const struct lilio_status *status, struct state *ret)
{
    for (size_t i = 0; i < status->osd_count; i++) {
        const struct lilio_osd *osd = &status->osds[i];
        ret->waits_for_osds |= is_waited_for(osd);
        if (osd->filling == 0 || osd->fill_tries == 0 || strcmp(osd->state, "up") != 0)
            continue;
        ret->fills = osd->id;
        memcpy(ret->fill_reason, osd->fill_reason, sizeof ret->fill_reason);
    }
}

/* It is the cluster's to say whether the OSD is draining: somebody else may have stopped it. */
static enum lilio_err status_note(struct drain *drain, struct state *ret)
{
    struct tools_context *context = drain->context;
    struct lilio_status status;
    enum lilio_err err = lilio_status_get(context->client, &status, &context->info);
    if (err)
        return err;
    const struct lilio_osd *osd = NULL;
    for (size_t i = 0; i < status.osd_count; i++)
        if (status.osds[i].id == drain->osd)
            osd = &status.osds[i];
    if (!osd || !osd->draining) {
        err = lilio_fail(&context->info, LILIO_E_PRECONDITION, "osd.%u does not drain any more",
                         drain->osd);
    } else {
        drain->made.osd = drain->osd;
        drain->made.incarnation = osd->incarnation;
        drain->made.epoch = osd->drain_epoch;
        memcpy(drain->made.disk_uuid, osd->disk_uuid, sizeof osd->disk_uuid);
        memcpy(drain->made.cluster_id, status.cluster_id, sizeof status.cluster_id);
    }
    ret->waits_for_osds = status.many_away;
    others_note(&status, ret);
    lilio_status_release(&status);
    return err;
}

static enum lilio_err state_get(struct drain *drain, struct state *ret)
{
    struct tools_context *context = drain->context;
    struct lilio_redundancy redundancy;
    struct lilio_repair repair;
    *ret = (struct state){0};
    enum lilio_err err = status_note(drain, ret);
    if (!err)
        err = lilio_redundancy_get(context->client, &redundancy, &context->info);
    if (err)
        return err;
    ret->index = redundancy.index;
    for (size_t i = 0; i < redundancy.osd_count; i++)
        if (redundancy.osds[i].id == drain->osd)
            ret->left = redundancy.osds[i].drain_left;
    lilio_redundancy_release(&redundancy);
    err = lilio_repair_get(context->client, &repair, &context->info);
    if (err)
        return err;
    ret->stands_still = repair.running == 0 && repair.rows <= repair.failed + repair.away &&
                        repair.fill_slots <= repair.fill_waiting;
    ret->waits_for_osds = ret->waits_for_osds || repair.away > 0;
    ret->failed = repair.failed > 0;
    lilio_repair_release(&repair);
    return LILIO_OK;
}

/* Slots fill in large pieces, so what is left is counted in the fragments that are on their way. */
static void show(struct drain *drain, uint64_t left, uint64_t *most)
{
    if (left > *most)
        *most = left;
    tools_progress_show(&drain->progress, *most - left, *most ? *most : UINT64_MAX);
}

static enum lilio_err not_done(struct drain *drain, const struct state *state)
{
    struct lilio_errinfo *info = &drain->context->info;
    if (state->fill_reason[0])
        return lilio_fail(info, LILIO_E_UNAVAILABLE,
                          "%llu stripes may still need osd.%u, and nothing goes on: osd.%u could "
                          "not fill its slots: %s. It tries again by itself",
                          (unsigned long long)state->left, drain->osd, state->fills,
                          tools_text_name(state->fill_reason, 0));
    if (state->waits_for_osds)
        return lilio_fail(info, LILIO_E_UNAVAILABLE,
                          "%llu stripes may still need osd.%u, and nothing goes on: OSDs are away "
                          "(`lilio-ec status'). It goes on by itself when they are back",
                          (unsigned long long)state->left, drain->osd);
    if (state->failed)
        return lilio_fail(info, LILIO_E_CORRUPT,
                          "%llu stripes could not be mended and may need osd.%u: leave it where it "
                          "is; `lilio-ec repair' says why, `lilio-ec damage' names the objects",
                          (unsigned long long)state->left, drain->osd);
    return lilio_fail(info, LILIO_E_UNAVAILABLE,
                      "%llu stripes still need osd.%u, and its slots have nowhere to go now: every "
                      "stripe needs an OSD of its own for each fragment",
                      (unsigned long long)state->left, drain->osd);
}

static void poll_wait(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
}

/* Until nothing needs the OSD, twice in a row: large histograms are read in pieces. Or until
 * nothing goes on any more. */
static enum lilio_err follow(struct drain *drain)
{
    struct state state = {0};
    uint64_t most = 0, moved_ms = base_now_ms(base_clock_system()), last = UINT64_MAX;
    unsigned nothing = 0;
    enum lilio_err err;
    tools_progress_start(&drain->progress, "drain (stripes)", drain->context->out.json);
    for (;;) {
        err = state_get(drain, &state);
        uint64_t now_ms = base_now_ms(base_clock_system());
        if (err && lilio_err_class(err) != LILIO_CLASS_RETRY)
            break;
        if (!err && (state.left != last || !state.stands_still))
            moved_ms = now_ms;
        nothing = !err && state.left == 0 ? nothing + 1 : 0;
        last = err ? last : state.left;
        if (nothing == 2)
            break;
        if (!err)
            show(drain, state.left, &most);
        if (now_ms - moved_ms > QUIET_MS) {
            err = err ? err : not_done(drain, &state);
            break;
        }
        if (tools_cancelled()) {
            err = LILIO_E_CANCELLED;
            break;
        }
        poll_wait();
    }
    tools_progress_end(&drain->progress);
    drain->made.index = err ? 0 : state.index;
    return err;
}

/* Slots with no stripes in them go, too, before it may end. */
static enum lilio_err end(struct drain *drain)
{
    struct tools_context *context = drain->context;
    uint64_t began_ms = base_now_ms(base_clock_system());
    for (;;) {
        enum lilio_err err = follow(drain);
        if (err)
            return err;
        err = lilio_drain(context->client, drain->osd, LILIO_DRAIN_END, &context->info);
        if (!err)
            return follow(drain); /* what was put with it meanwhile */
        if (err != LILIO_E_PRECONDITION || base_now_ms(base_clock_system()) - began_ms >= QUIET_MS)
            return err;
    }
}

/* ---- the proof ---- */

static void object_note(void *context, const struct lilio_verify_object *object)
{
    struct drain *drain = context;
    tools_progress_end(&drain->progress);
    cJSON *element = tools_json_new();
    tools_json_text(element, "bucket", object->bucket);
    tools_json_text(element, "key", object->key);
    tools_json_u64(element, "fragments", object->fragments);
    tools_json_u64(element, "fragments_good", object->good);
    tools_json_add(drain->made.bad, element);
    tools_out_line(&drain->context->out, "%s/%s: %llu of %llu fragments are good where they are",
                   tools_text_name(object->bucket, 0), tools_text_name(object->key, 1),
                   (unsigned long long)object->good, (unsigned long long)object->fragments);
}

static enum lilio_err prove(struct drain *drain)
{
    struct tools_context *context = drain->context;
    struct tools_drain *made = &drain->made;
    made->bad = cJSON_CreateArray();
    tools_progress_start(&drain->progress, "verify", context->out.json);
    struct lilio_progress callback = tools_progress_callback(&drain->progress);
    struct lilio_verify_osd_ask ask = {
        .osd = drain->osd, .had = true, .index = made->index, .slots = &made->slots};
    enum lilio_err err = lilio_slots_had(context->client, drain->osd, made->epoch, /* maybe */ true,
                                         &made->slots, &context->info);
    if (!err)
        err = lilio_verify_osd(context->client, &ask, object_note, drain, &callback, &made->held,
                               &context->info);
    tools_progress_end(&drain->progress);
    const struct base_clock *clock = base_clock_system();
    made->made_ms = clock->wall_ms(clock->context);
    return err;
}

/* Stripes that may need it after the proof: an OSD that was read may have gone away since. What a
 * put misses for a moment is waited for. */
static enum lilio_err left_get(struct drain *drain)
{
    unsigned nothing = 0;
    uint64_t end_ms = base_now_ms(base_clock_system()) + SETTLE_MS;
    for (;;) {
        struct state state;
        enum lilio_err err = state_get(drain, &state);
        if (err)
            return err;
        drain->made.left = state.left;
        nothing = state.left == 0 ? nothing + 1 : 0;
        if (nothing == 2 || tools_cancelled() || base_now_ms(base_clock_system()) >= end_ms)
            return LILIO_OK;
        poll_wait();
    }
}

/* Beside the lilio.yaml of a cluster of this machine. */
static void keep(struct drain *drain, const cJSON *certificate)
{
    struct tools_context *context = drain->context;
    struct proto_cluster_file file = {0};
    struct lilio_errinfo info = {0};
    char *path = NULL, name[64];
    bool local = false;
    enum lilio_err err = proto_cluster_file_load(tools_config_path(context), &file, &info);
    if (!err)
        err = tools_local_initialised(&file, &local, &info);
    (void)snprintf(name, sizeof name, "osd.%u-drained-%llu", drain->osd,
                   (unsigned long long)drain->made.index);
    if (!err && local)
        err = tools_certificate_save(file.folder, name, certificate, &path, &info);
    if (err)
        (void)fprintf(stderr, "lilio-ec: the certificate was not kept: %s\n",
                      tools_text_name(info.text, 0));
    else if (local)
        tools_out_line(&context->out, "kept as %s", path);
    free(path);
    proto_cluster_file_release(&file);
}

/* left: stripes that may need it now, whatever was read before. */
static int certify(struct drain *drain)
{
    struct tools_out *out = &drain->context->out;
    cJSON *certificate = tools_drain_json(&drain->made);
    bool proven = tools_drain_proven(&drain->made);
    tools_drain_print(out, &drain->made);
    keep(drain, certificate);
    uint64_t left = drain->made.left;
    if (proven)
        tools_out_line(out, "osd.%u can be taken away: nothing needs it", drain->osd);
    else if (left > 0)
        tools_out_line(out,
                       "leave osd.%u where it is until `lilio-ec status' says that nothing needs "
                       "it: others went away meanwhile, and %llu stripes may want what it has",
                       drain->osd, (unsigned long long)left);
    else
        tools_out_line(out,
                       "leave osd.%u where it is, and run this again when `lilio-ec repair' "
                       "has mended that",
                       drain->osd);
    tools_out_object(out, certificate);
    return proven ? TOOLS_EXIT_OK : left > 0 ? TOOLS_EXIT_UNAVAILABLE : TOOLS_EXIT_DAMAGED;
}

static int cancel(struct drain *drain)
{
    struct tools_context *context = drain->context;
    enum lilio_err err = lilio_drain(context->client, drain->osd, LILIO_DRAIN_STOP, &context->info);
    if (err)
        return tools_fail(context, err);
    tools_out_line(&context->out, "osd.%u drains no more: what it has yet stays", drain->osd);
    cJSON *json = tools_json_new();
    tools_json_u64(json, "osd", drain->osd);
    tools_json_bool(json, "draining", false);
    tools_out_object(&context->out, json);
    return TOOLS_EXIT_OK;
}

int tools_cmd_osd_drain(struct tools_context *context, int argc, char **argv)
{
    struct drain drain = {.context = context};
    tools_args_parse(context, &argp, argc, argv, &drain);
    int code = tools_open(context);
    if (code)
        return code;
    if (drain.cancel)
        return cancel(&drain);
    tools_cancel_catch();
    enum lilio_err err = lilio_drain(context->client, drain.osd, LILIO_DRAIN_BEGIN, &context->info);
    if (!err)
        err = end(&drain);
    if (!err)
        err = prove(&drain);
    if (!err)
        err = left_get(&drain);
    if (err == LILIO_E_CANCELLED)
        code = tools_fail_with(context, err,
                               "interrupted; osd.%u drains on, and the same command follows it "
                               "(`lilio-ec osd drain %u --cancel' stops it)",
                               drain.osd, drain.osd);
    else
        code = err ? tools_fail(context, err) : certify(&drain);
    tools_drain_release(&drain.made);
    return code;
}
