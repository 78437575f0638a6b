/* up and down: a whole cluster on this machine.
 *
 * up: lock DIR; make or load lilio.yaml; start the coordinator if it does not run, wait until it
 * serves, note durably that it was initialised; start the OSDs that do not run, wait until each
 * says what it is. Only after that note is an OSD started, so nothing can be stored in a cluster
 * that a later up would initialise again. What fails on the very first up stops all that it
 * started; later an OSD that cannot start is named and the others serve. */
#include "tools/cmd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "tools/daemons.h"
#include "tools/file_io.h"
#include "tools/local.h"

#include "base/banned.h"

enum { START_MS = 60000, LOCK_MS = 30000 };

struct up {
    struct tools_local_wish wish;
    bool detach;
    bool first; /* nothing was ever initialised here */
    struct proto_cluster_file file;
    struct tools_daemons daemons;
    uint64_t end_ms;
};

enum { OPTION_COORDINATORS = 0x300, OPTION_GC_GRACE, OPTION_INSECURE };
static const struct argp_option up_options[] = {
    {"dir", 'd', "DIR", 0, "The cluster's folder; made if it is not there", 0},
    {"osds", 'n', "N", 0, "How many OSDs (default 6)", 0},
    {"coordinators", OPTION_COORDINATORS, "N", 0, "How many coordinators (only 1 is built so far)",
     0},
    {"profile", 'p', "K+M", 0, "Default profile of buckets (default 4+2)", 0},
    {"listen", 'l', "HOST:PORT", 0,
     "TCP instead of sockets in DIR/run: coordinator N at PORT+N, OSD N at PORT+100+N; port 0 "
     "takes "
     "free ones",
     0},
    {"insecure", OPTION_INSECURE, NULL, 0,
     "Allow --listen beyond loopback, although nobody is asked who they are", 0},
    {"gc-grace", OPTION_GC_GRACE, "TIME", 0,
     "How long deleted and overwritten bytes are kept for readers (default 1h)", 0},
    {"detach", 'D', NULL, 0, "Return once everything serves, instead of staying until Ctrl-C", 0},
    {0},
};

static error_t up_parse(int key, char *arg, struct argp_state *state)
{
    struct up *up = state->input;
    struct tools_local_wish *wish = &up->wish;
    struct lilio_errinfo info = {0};
    uint64_t number;
    switch (key) {
    case 'd': wish->dir = arg; return 0;
    case 'n':
        tools_args_check(
            state, tools_parse_number(arg, "a number of OSDs", 1, TOOLS_OSDS_MAX, &number, &info),
            &info);
        wish->osd_count = (uint32_t)number;
        return 0;
    case OPTION_COORDINATORS:
        tools_args_check(state,
                         tools_parse_number(arg, "a number of coordinators", 1, 16, &number, &info),
                         &info);
        if (number != 1)
            tools_args_fail(state,
                            "--coordinators %s: a quorum of coordinators is not built yet, "
                            "only 1 works",
                            arg);
        return 0;
    case 'p':
        tools_args_check(state, codec_profile_parse(arg, &wish->profile, &info), &info);
        wish->has_profile = true;
        return 0;
    case 'l':
        tools_args_check(state, tools_parse_listen(arg, wish->host, &wish->port, &info), &info);
        wish->has_listen = true;
        return 0;
    case OPTION_INSECURE: wish->insecure = true; return 0;
    case OPTION_GC_GRACE:
        tools_args_check(state, tools_parse_duration(arg, &wish->gc_grace_ms, &info), &info);
        if (wish->gc_grace_ms > UINT32_MAX)
            tools_args_fail(state, "--gc-grace %s is longer than 49 days", arg);
        wish->has_gc_grace = true;
        return 0;
    case 'D': up->detach = true; return 0;
    case ARGP_KEY_END:
        if (!wish->dir || !wish->dir[0])
            tools_args_fail(state, "--dir DIR is missing");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp up_argp = {
    .options = up_options,
    .parser = up_parse,
    .args_doc = "--dir DIR",
    .doc =
        "Starts a cluster on this machine, or what is missing of one. The first time it makes "
        "DIR with lilio.yaml, a coordinator and the OSDs. It stays until Ctrl-C, which stops the "
        "cluster, or returns with --detach when the coordinator and every OSD that can start "
        "serve."
        "\vExamples:\n"
        "  lilio-ec up --dir ~/lilio --detach\n"
        "  lilio-ec up --dir /srv/lilio --osds 9 --profile 6+3 --listen 127.0.0.1:7100 --detach\n"
        "  export LILIO_CONFIG=~/lilio/lilio.yaml     how the other commands find it\n",
};

/* ---- starting ---- */

static struct tools_daemon *coordinator_of(const struct up *up)
{
    return up->daemons.count && up->daemons.list[0].is_coordinator ? &up->daemons.list[0] : NULL;
}

/* Which daemons run already; and ports of the others that somebody else has are found before
 * anything is started. */
static enum lilio_err daemons_look(struct tools_context *context, struct up *up)
{
    for (size_t i = 0; i < up->daemons.count; i++) {
        struct tools_daemon *daemon = &up->daemons.list[i];
        if (tools_daemon_find(&up->daemons, daemon))
            continue;
        enum lilio_err err = tools_local_port_check(daemon->endpoint, daemon->name, &context->info);
        if (err)
            return err;
    }
    return LILIO_OK;
}

static enum lilio_err coordinator_start(struct tools_context *context, struct up *up)
{
    struct tools_daemon *daemon = coordinator_of(up);
    struct stat stat_buffer;
    struct lilio_errinfo *info = &context->info;
    if (!daemon)
        return lilio_fail(info, LILIO_E_CONFIG, "%s names no coordinator with a folder here",
                          up->file.path);
    if (daemon->pidfd < 0) {
        if (!up->first && stat(daemon->dir, &stat_buffer) != 0)
            return lilio_fail(info, LILIO_E_FOREIGN,
                              "%s is gone: it held the names of all objects, and a new one would "
                              "know none of them. Put it back from a copy",
                              daemon->dir);
        enum lilio_err err = tools_folder_make(daemon->dir, info);
        if (!err)
            err = tools_daemon_start(&up->daemons, daemon, up->first, info);
        if (err)
            return err;
    }
    enum lilio_err err = tools_daemon_wait(&up->daemons, daemon, context->client, up->end_ms, info);
    if (err)
        return err;
    if (strcmp(daemon->state, "serving") != 0)
        return lilio_fail(info, LILIO_E_IO, "%s does not serve (%s): %.300s", daemon->name,
                          daemon->state, daemon->detail);
    return up->first ? tools_local_initialised_set(&up->file, info) : LILIO_OK;
}

/* An OSD that does not come up: fatal on the very first up, otherwise only named. */
static enum lilio_err osd_trouble(struct tools_context *context, const struct up *up,
                                  struct tools_daemon *daemon, enum lilio_err err)
{
    if (up->first || err == LILIO_E_CANCELLED)
        return err;
    (void)snprintf(daemon->state, sizeof daemon->state, "ended");
    (void)snprintf(daemon->detail, sizeof daemon->detail, "%s", context->info.text);
    return LILIO_OK;
}

static enum lilio_err osds_start(struct tools_context *context, struct up *up)
{
    for (size_t i = 0; i < up->daemons.count; i++) {
        struct tools_daemon *daemon = &up->daemons.list[i];
        if (daemon->is_coordinator || daemon->pidfd >= 0)
            continue;
        enum lilio_err err = tools_folder_make(daemon->dir, &context->info);
        /* It may initialise an empty folder only if the coordinator has never seen a disk of it. */
        if (!err)
            err = tools_daemon_start(&up->daemons, daemon, true, &context->info);
        if (err)
            err = osd_trouble(context, up, daemon, err);
        if (err)
            return err;
    }
    enum lilio_err late = LILIO_OK;
    for (size_t i = 0; i < up->daemons.count; i++) {
        struct tools_daemon *daemon = &up->daemons.list[i];
        if (daemon->is_coordinator || daemon->pidfd < 0)
            continue;
        enum lilio_err err =
            tools_daemon_wait(&up->daemons, daemon, context->client, up->end_ms, &context->info);
        if (err == LILIO_E_TIMEOUT && !up->first)
            late = err; /* it may have much to scan: leave it at that, but say so */
        else if (err)
            return err;
        else if (up->first && strcmp(daemon->state, "serving") != 0)
            return lilio_fail(&context->info, LILIO_E_IO, "%s does not serve (%s): %.300s",
                              daemon->name, daemon->state, daemon->detail);
    }
    return late;
}

/* ---- saying what came of it ---- */

static cJSON *daemon_json(const struct tools_daemon *daemon)
{
    cJSON *object = tools_json_new();
    tools_json_text(object, "name", daemon->name);
    tools_json_text(object, "state", daemon->state);
    tools_json_text(object, "detail", daemon->detail);
    tools_json_text(object, "address", daemon->endpoint);
    tools_json_u64(object, "pid", daemon->pidfd >= 0 ? (uint64_t)daemon->pid : 0);
    tools_json_bool(object, "started", daemon->started);
    return object;
}

static void result_print(struct tools_context *context, const struct up *up)
{
    char id[37];
    size_t serving = 0, started = 0, osds = 0;
    cJSON *object = tools_json_new();
    base_uuid_format(up->file.cluster_id, id);
    tools_json_text(object, "cluster_id", id);
    tools_json_text(object, "config", up->file.path);
    tools_json_bool(object, "first", up->first);
    cJSON *list = tools_json_list(object, "daemons");
    for (size_t i = 0; i < up->daemons.count; i++) {
        const struct tools_daemon *daemon = &up->daemons.list[i];
        bool serves = strcmp(daemon->state, "serving") == 0;
        tools_json_add(list, daemon_json(daemon));
        started += daemon->started;
        osds += !daemon->is_coordinator;
        serving += !daemon->is_coordinator && serves;
        if (!serves)
            tools_out_line(&context->out, "%s does not serve: %s%s%s", daemon->name, daemon->state,
                           daemon->detail[0] ? ": " : "", tools_text_name(daemon->detail, 0));
    }
    tools_out_line(&context->out, "%s: coordinator and %zu of %zu OSDs serve%s", up->file.folder,
                   serving, osds, started ? "" : " (they ran already)");
    tools_out_line(&context->out, "export LILIO_CONFIG=%s", up->file.path);
    tools_out_object(&context->out, object);
}

/* ---- staying ---- */

/* Until a signal comes or nothing is left; says who ends. False if a daemon ended by itself. */
static bool foreground_wait(struct tools_context *context, struct up *up)
{
    bool clean = true;
    while (!tools_cancelled()) {
        struct pollfd fds[TOOLS_OSDS_MAX + 16];
        size_t count = 0;
        for (size_t i = 0; i < up->daemons.count; i++)
            if (up->daemons.list[i].pidfd >= 0 && count < sizeof fds / sizeof fds[0])
                fds[count++] = (struct pollfd){.fd = up->daemons.list[i].pidfd, .events = POLLIN};
        if (count == 0)
            return clean;
        if (poll(fds, (nfds_t)count, 1000) <= 0)
            continue; /* nothing ended, or a signal came */
        for (size_t i = 0; i < up->daemons.count; i++) {
            struct tools_daemon *daemon = &up->daemons.list[i];
            if (daemon->pidfd < 0 || !tools_daemon_ended(&up->daemons, daemon))
                continue;
            bool normal = strcmp(daemon->detail, "ended with exit code 0") == 0;
            clean = clean && normal;
            tools_out_line(&context->out, "%s: %s", daemon->name,
                           daemon->detail[0] ? daemon->detail : "ended");
            (void)fflush(stdout);
        }
    }
    return true;
}

/* Those that somebody restarted meanwhile are found, too. */
static void everything_stop(struct up *up, size_t *ret_killed)
{
    struct tools_daemons running;
    struct lilio_errinfo info;
    tools_daemons_stop(&up->daemons, false, ret_killed);
    if (tools_daemons_init_running(up->file.run_dir, &running, &info) == LILIO_OK) {
        tools_daemons_stop(&running, false, NULL);
        tools_daemons_release(&running);
    }
}

static int foreground(struct tools_context *context, struct up *up)
{
    size_t killed = 0;
    tools_out_line(&context->out, "Ctrl-C stops the cluster");
    (void)fflush(stdout);
    bool clean = foreground_wait(context, up);
    everything_stop(up, &killed);
    if (killed)
        tools_out_line(&context->out, "stopped; %zu daemons had to be killed", killed);
    else
        tools_out_line(&context->out, "stopped");
    return clean ? TOOLS_EXIT_OK : TOOLS_EXIT_FAILURE;
}

static enum lilio_err up_start(struct tools_context *context, struct up *up)
{
    enum lilio_err err = tools_local_open(&up->wish, &up->file, &context->info);
    bool initialised = false;
    if (!err)
        err = tools_local_initialised(&up->file, &initialised, &context->info);
    if (!err)
        err = tools_local_folders_make(&up->file, &context->info);
    if (!err)
        err = tools_daemons_init(&up->file, &up->daemons, &context->info);
    if (err)
        return err;
    up->first = !initialised;
    context->config_path = up->file.path;
    struct lilio_options options = {.config_path = up->file.path, .label = "lilio-ec up"};
    err = lilio_open(&options, &context->client, &context->info);
    if (!err)
        err = daemons_look(context, up);
    if (!err)
        err = coordinator_start(context, up);
    if (!err)
        err = osds_start(context, up);
    return err;
}

int tools_cmd_up(struct tools_context *context, int argc, char **argv)
{
    struct up up = {0};
    int lock = -1, code;
    bool made = false;
    tools_args_parse(context, &up_argp, argc, argv, &up);
    tools_cancel_catch();
    up.end_ms =
        base_now_ms(base_clock_system()) + (context->timeout_ms ? context->timeout_ms : START_MS);
    enum lilio_err err = tools_local_lock(up.wish.dir, true, LOCK_MS, &lock, &made, &context->info);
    if (!err)
        err = up_start(context, &up);
    if (err == LILIO_E_TIMEOUT && !up.first) {
        code = tools_fail(context, err); /* what runs goes on running */
    } else if (err) {
        tools_daemons_stop(&up.daemons, true, NULL);
        if (made)
            (void)rmdir(up.wish.dir); /* only if nothing is in it */
        code = tools_fail(context, err);
    } else {
        result_print(context, &up);
        code = TOOLS_EXIT_OK;
    }
    if (lock >= 0)
        close(lock);
    if (!err && !up.detach)
        code = foreground(context, &up);
    tools_daemons_release(&up.daemons);
    lilio_close(&context->client);
    proto_cluster_file_release(&up.file);
    return code;
}

/* ---- down ---- */

static const struct argp_option down_options[] = {
    {"dir", 'd', "DIR", 0, "The cluster's folder", 0},
    {0},
};

static error_t down_parse(int key, char *arg, struct argp_state *state)
{
    const char **dir = state->input;
    switch (key) {
    case 'd': *dir = arg; return 0;
    case ARGP_KEY_END:
        if (!*dir || !(*dir)[0])
            tools_args_fail(state, "--dir DIR is missing");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp down_argp = {
    .options = down_options,
    .parser = down_parse,
    .args_doc = "--dir DIR",
    .doc = "Stops the daemons of a local cluster. Nothing stored is lost by it."
           "\vExample:\n"
           "  lilio-ec down --dir ~/lilio\n",
};

/* The folder of the pid files; a lilio.yaml that cannot be read must not keep daemons alive. */
static enum lilio_err run_dir_find(struct tools_context *context, const char *dir, char **ret)
{
    char *path = NULL;
    struct stat stat_buffer;
    struct proto_cluster_file file;
    if (asprintf(&path, "%s/lilio.yaml", dir) < 0)
        return LILIO_E_NOMEM;
    enum lilio_err err = LILIO_OK;
    if (stat(path, &stat_buffer) != 0)
        err = tools_file_fail(&context->info, "there is no cluster:", path);
    else if (proto_cluster_file_load(path, &file, &context->info) == LILIO_OK) {
        *ret = strdup(file.run_dir);
        proto_cluster_file_release(&file);
    } else if (asprintf(ret, "%s/run", dir) < 0) {
        *ret = NULL;
    }
    free(path);
    return !err && !*ret ? LILIO_E_NOMEM : err;
}

static enum lilio_err down_do(struct tools_context *context, const char *dir,
                              struct tools_daemons *daemons, size_t *ret_killed)
{
    int lock = -1;
    bool made;
    char *run_dir = NULL;
    enum lilio_err err = tools_local_lock(dir, false, LOCK_MS, &lock, &made, &context->info);
    if (!err)
        err = run_dir_find(context, dir, &run_dir);
    if (!err)
        err = tools_daemons_init_running(run_dir, daemons, &context->info);
    if (!err)
        tools_daemons_stop(daemons, false, ret_killed);
    free(run_dir);
    if (lock >= 0)
        close(lock);
    return err;
}

int tools_cmd_down(struct tools_context *context, int argc, char **argv)
{
    const char *dir = NULL;
    struct tools_daemons daemons = {0};
    size_t killed = 0;
    tools_args_parse(context, &down_argp, argc, argv, &dir);
    enum lilio_err err = down_do(context, dir, &daemons, &killed);
    if (err) {
        tools_daemons_release(&daemons);
        return tools_fail(context, err);
    }
    if (daemons.count)
        tools_out_line(&context->out, "stopped %zu daemons", daemons.count);
    else
        tools_out_line(&context->out, "nothing was running");
    if (killed)
        tools_out_line(&context->out, "%zu of them did not end by themselves and were killed",
                       killed);
    cJSON *object = tools_json_new();
    cJSON *list = tools_json_list(object, "stopped");
    for (size_t i = 0; i < daemons.count; i++)
        tools_json_add(list, cJSON_CreateString(daemons.list[i].name));
    tools_json_u64(object, "killed", killed);
    tools_out_object(&context->out, object);
    tools_daemons_release(&daemons);
    return TOOLS_EXIT_OK;
}
