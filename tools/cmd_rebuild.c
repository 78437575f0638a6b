/* osd rebuild: has an OSD's daemon bring back everything it should hold, shows how far it is, and
 * ends with a certificate. On this machine it also starts the daemon, and moves the OSD to another
 * disk: stop, note the new folder in lilio.yaml (durably; from here on a crash is mended by running
 * the command again), start, rebuild. The old disk is left as it is. */
#include "tools/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "tools/certificate.h"
#include "tools/config_path.h"
#include "tools/daemons.h"
#include "tools/file_io.h"
#include "tools/local.h"

#include "base/banned.h"

enum { POLL_MS = 100, SILENCE_MS = 15000, START_MS = 60000, LOCK_MS = 30000 };

struct rebuild {
    bool has_osd;
    uint32_t osd;
    const char *disk;
    struct proto_cluster_file file;
    bool local; /* lilio.yaml lies in the folder of a cluster of this machine */
};

static const struct argp_option options[] = {
    {"disk", 'd', "DIR", 0,
     "Move the OSD to this empty folder first (a new disk); the old one stays as it is", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct rebuild *rebuild = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case 'd': rebuild->disk = arg; return 0;
    case ARGP_KEY_ARG:
        if (rebuild->has_osd)
            return ARGP_ERR_UNKNOWN;
        tools_args_check(state, tools_parse_osd(arg, &rebuild->osd, &info), &info);
        rebuild->has_osd = true;
        return 0;
    case ARGP_KEY_END:
        if (!rebuild->has_osd)
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
        "Makes an OSD hold every fragment it should, on a blank, a damaged or a living disk, and "
        "proves it: exit code 0 only when all that the object map expects was read back and "
        "verified, 8 with names and reasons where fragments could not be had. Where it ended "
        "before it was done nothing is said to be lost: 5 when the disk is full, somebody stopped "
        "it or who it needs did not answer, 1 for other reasons. What verifies is never touched; "
        "an interrupted rebuild goes on when it is run again. The certificate is kept under "
        "certificates/ beside the lilio.yaml of `lilio-ec up', elsewhere it is what --json "
        "answers; `lilio-ec verify-cert' tells whether it still holds."
        "\vExamples:\n"
        "  lilio-ec osd rebuild 3\n"
        "  lilio-ec osd rebuild osd.3 --disk /mnt/new\n",
};

/* ---- the daemon ---- */

/* A folder that no OSD lives in: absent, or empty but for what mkfs leaves. Only the folder itself
 * is made: where its parent is missing, a disk is not mounted or a letter is wrong. */
static enum lilio_err disk_check(const char *path, struct lilio_errinfo *info)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return tools_file_fail(info, "cannot make folder", path);
    if (!tools_local_folder_empty(path))
        return lilio_fail(info, LILIO_E_INVALID, "--disk %s is not an empty folder", path);
    return LILIO_OK;
}

static struct tools_daemon *daemon_of(struct tools_daemons *daemons, uint32_t osd)
{
    for (size_t i = 0; i < daemons->count; i++)
        if (!daemons->list[i].is_coordinator && daemons->list[i].id == osd)
            return &daemons->list[i];
    return NULL;
}

/* Did an earlier run of the same command come as far as lilio.yaml? */
static bool disk_is_there(const struct rebuild *rebuild, const struct tools_daemon *daemon)
{
    char *path = realpath(rebuild->disk, NULL);
    bool there = path && strcmp(path, daemon->dir) == 0;
    free(path);
    return there;
}

static enum lilio_err disk_move(struct rebuild *rebuild, struct tools_daemon *daemon,
                                struct lilio_errinfo *info)
{
    enum lilio_err err = disk_check(rebuild->disk, info);
    if (err)
        return err;
    char *path = realpath(rebuild->disk, NULL);
    if (!path)
        return tools_file_fail(info, "cannot resolve", rebuild->disk);
    struct proto_cluster_node *node = rebuild->file.osds;
    while (node->id != rebuild->osd) /* it is there: file_find looked */
        node++;
    if (daemon->pidfd >= 0)
        tools_daemon_stop(daemon);
    free(node->dir);
    node->dir = path;
    daemon->dir = path;
    return proto_cluster_file_save(&rebuild->file, info);
}

/* Starts the daemon if it does not run here. */
static enum lilio_err daemon_ensure(struct tools_context *context, struct rebuild *rebuild)
{
    struct lilio_errinfo *info = &context->info;
    struct tools_daemons daemons = {0};
    int lock = -1;
    bool made;
    enum lilio_err err = tools_local_lock(rebuild->file.folder, false, LOCK_MS, &lock, &made, info);
    if (!err)
        err = tools_daemons_init(&rebuild->file, &daemons, info);
    if (err)
        goto out;
    struct tools_daemon *daemon = daemon_of(&daemons, rebuild->osd);
    if (!daemon)
        goto out; /* it lives on another machine */
    bool runs = tools_daemon_find(&daemons, daemon);
    if (rebuild->disk && !disk_is_there(rebuild, daemon)) {
        err = disk_move(rebuild, daemon, info);
        runs = false;
    }
    if (err || runs)
        goto out;
    uint64_t end_ms = base_now_ms(base_clock_system()) + START_MS;
    err = tools_local_folders_make(&rebuild->file, info);
    if (!err)
        err = tools_folder_make(daemon->dir, info);
    if (!err)
        err = tools_daemon_start(&daemons, daemon, (struct tools_daemon_start){.init = true}, info);
    if (!err)
        err = tools_daemon_wait(&daemons, daemon, context->client, end_ms, info);
    if (!err && strcmp(daemon->state, "serving") != 0 && strcmp(daemon->state, "blank") != 0)
        err = lilio_fail(info, LILIO_E_UNAVAILABLE, "%s does not serve (%s): %.300s", daemon->name,
                         daemon->state, daemon->detail);
out:
    tools_daemons_release(&daemons);
    if (lock >= 0)
        close(lock);
    return err;
}

static enum lilio_err file_find(struct tools_context *context, struct rebuild *rebuild)
{
    struct lilio_errinfo *info = &context->info;
    enum lilio_err err = proto_cluster_file_load(tools_config_path(context), &rebuild->file, info);
    if (err)
        return err;
    if (!proto_cluster_osd(&rebuild->file, rebuild->osd))
        return lilio_fail(info, LILIO_E_NOT_FOUND, "there is no osd.%u: %s names %zu OSDs",
                          rebuild->osd, rebuild->file.path, rebuild->file.osd_count);
    /* A copy of lilio.yaml on another machine has no such mark beside it: start nothing there. */
    err = tools_local_initialised(&rebuild->file, &rebuild->local, info);
    if (!err && rebuild->disk && !rebuild->local)
        err = lilio_fail(info, LILIO_E_INVALID,
                         "--disk works on the machine of the cluster's folder, which is not %s",
                         rebuild->file.folder);
    return err;
}

/* ---- following it ---- */

static bool is_over(enum lilio_rebuild_phase phase)
{
    return phase == LILIO_REBUILD_PROVEN || phase == LILIO_REBUILD_FAILURES ||
           phase == LILIO_REBUILD_STOPPED || phase == LILIO_REBUILD_ERROR ||
           phase == LILIO_REBUILD_NONE;
}

static void show(struct tools_progress *progress, const struct lilio_rebuild *state)
{
    switch (state->phase) {
    case LILIO_REBUILD_COUNTING: progress->label = "counting"; break;
    case LILIO_REBUILD_VERIFYING: progress->label = "verifying"; break;
    default: progress->label = "rebuilding"; break;
    }
    bool known = state->expected_bytes > 0 && state->phase != LILIO_REBUILD_COUNTING;
    tools_progress_show(progress, state->done_bytes, known ? state->expected_bytes : UINT64_MAX);
}

/* Asks until it is over. *ret is to be released on success. An OSD that stays silent for a while is
 * an error; the rebuild itself goes on in its daemon, if that lives. */
static enum lilio_err follow(struct tools_context *context, uint32_t osd, struct lilio_rebuild *ret)
{
    struct tools_progress progress;
    uint64_t answered_ms = base_now_ms(base_clock_system());
    enum lilio_err err;
    tools_progress_start(&progress, "rebuild", context->out.json);
    for (;;) {
        struct lilio_rebuild state = {0};
        err = lilio_rebuild_get(context->client, osd, &state, &context->info);
        uint64_t now_ms = base_now_ms(base_clock_system());
        if (!err) {
            answered_ms = now_ms;
            show(&progress, &state);
            if (is_over(state.phase)) {
                *ret = state;
                break;
            }
            lilio_rebuild_release(&state);
        } else if (lilio_err_class(err) != LILIO_CLASS_RETRY || now_ms - answered_ms > SILENCE_MS) {
            break;
        }
        if (tools_cancelled()) {
            err = lilio_fail(&context->info, LILIO_E_CANCELLED, "interrupted");
            break;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
    tools_progress_end(&progress);
    return err;
}

static int interrupted(struct tools_context *context, uint32_t osd)
{
    struct lilio_errinfo info = {0};
    tools_cancel_reset();
    enum lilio_err err = lilio_rebuild_cancel(context->client, osd, &info);
    if (err)
        return tools_fail_with(context, LILIO_E_CANCELLED,
                               "interrupted; osd.%u could not be told and may go on: %.300s", osd,
                               info.text);
    return tools_fail_with(
        context, LILIO_E_CANCELLED,
        "stopped; what is verified stays, and the same command goes on from there");
}

/* The certificate with the slots it is about; without them when they cannot be learnt. */
static cJSON *certificate_make(struct tools_context *context, const struct lilio_rebuild *state)
{
    struct lilio_slot_set slots = {0};
    struct lilio_errinfo info = {0};
    enum lilio_err err = state->epoch ? lilio_slots_had(context->client, state->osd, state->epoch,
                                                        /* maybe */ false, &slots, &info)
                                      : LILIO_E_UNSUPPORTED;
    if (err && state->epoch)
        (void)fprintf(stderr,
                      "lilio-ec: the certificate does not say which slots it is about: %s\n",
                      tools_text_name(info.text, 0));
    cJSON *certificate = tools_certificate_json(state, err ? NULL : &slots);
    lilio_slot_set_release(&slots);
    return certificate;
}

/* It could not go on: nothing is said of what is lost. */
static int stopped(struct tools_context *context, const struct lilio_rebuild *state)
{
    if (state->phase != LILIO_REBUILD_ERROR)
        return tools_fail_with(context, LILIO_E_UNAVAILABLE,
                               "osd.%u: the rebuild was stopped; run it again to go on",
                               state->osd);
    if (state->err == LILIO_E_NO_SPACE)
        return tools_fail_with(context, state->err,
                               "the disk of osd.%u is full before everything is there: nothing is "
                               "lost by that; make room on it and run this again, or move to a "
                               "larger one (`lilio-ec osd rebuild %u --disk DIR')",
                               state->osd, state->osd);
    return tools_fail_with(context, state->err, "osd.%u: %.400s; run it again to go on from there",
                           state->osd, state->text);
}

static int certify(struct tools_context *context, const struct rebuild *rebuild,
                   const struct lilio_rebuild *state)
{
    char *path = NULL, name[64];
    cJSON *certificate = certificate_make(context, state);
    tools_certificate_print(&context->out, state);
    if (rebuild->local && state->index > 0) {
        (void)snprintf(name, sizeof name, "osd.%u-%llu", state->osd,
                       (unsigned long long)state->index);
        enum lilio_err err =
            tools_certificate_save(rebuild->file.folder, name, certificate, &path, &context->info);
        if (err)
            (void)fprintf(stderr, "lilio-ec: the certificate was not kept: %s\n",
                          tools_text_name(context->info.text, 0));
        else
            tools_out_line(&context->out, "kept as %s", path);
        free(path);
    }
    tools_out_object(&context->out, certificate);
    if (state->phase != LILIO_REBUILD_PROVEN && state->phase != LILIO_REBUILD_FAILURES)
        return stopped(context, state);
    return tools_certificate_proven(state) ? TOOLS_EXIT_OK : TOOLS_EXIT_LOST;
}

int tools_cmd_osd_rebuild(struct tools_context *context, int argc, char **argv)
{
    struct rebuild rebuild = {0};
    struct lilio_rebuild state = {0};
    tools_args_parse(context, &argp, argc, argv, &rebuild);
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = file_find(context, &rebuild);
    if (!err && rebuild.local)
        err = daemon_ensure(context, &rebuild);
    if (!err)
        err = lilio_rebuild_start(context->client, rebuild.osd, &context->info);
    if (err) {
        code = tools_fail(context, err);
    } else {
        err = follow(context, rebuild.osd, &state);
        code = err == LILIO_E_CANCELLED ? interrupted(context, rebuild.osd)
               : err                    ? tools_fail(context, err)
                                        : certify(context, &rebuild, &state);
        lilio_rebuild_release(&state);
    }
    proto_cluster_file_release(&rebuild.file);
    return code;
}
