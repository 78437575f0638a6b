/* up: a whole cluster on this machine.
 *
 * Lock DIR; make or load lilio.yaml; start the coordinators that do not run, wait until each says
 * what it is and one of them leads, note durably that they were initialised; start the OSDs that do
 * not run, wait until each says what it is. Only after that note is an OSD started, so nothing can
 * be stored in a cluster that a later up would initialise again. What fails on the very first up
 * stops all that it started; later a daemon that does not start is named, and the others serve as
 * long as a majority of the coordinators is there. */
#include "tools/cmd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "tools/daemons.h"
#include "tools/file_io.h"
#include "tools/local.h"
#include "tools/ports.h"
#include "tools/quorum.h"

#include "base/banned.h"

enum {
    START_MS = 60000,
    LOCK_MS = 30000,
    LEADER_POLL_MS = 20,
    HOPELESS_MS = 3000,
    SETTLE_MS = 5000
};

struct up {
    struct tools_local_wish wish;
    bool detach;
    bool first; /* nothing was ever initialised here */
    struct proto_cluster_file file;
    struct tools_daemons daemons;
    uint64_t end_ms;
};

enum { OPTION_COORDINATORS = 0x300, OPTION_GC_GRACE, OPTION_ORPHAN_RETENTION, OPTION_INSECURE };
static const struct argp_option up_options[] = {
    {"dir", 'd', "DIR", 0, "The cluster's folder; made if it is not there", 0},
    {"osds", 'n', "N", 0, "How many OSDs (default 6)", 0},
    {"coordinators", OPTION_COORDINATORS, "N", 0,
     "How many coordinators: 1, 3 or 5 (default 1); of 3 one, of 5 two may be lost", 0},
    {"profile", 'p', "K+M", 0, "Default profile of buckets (default 4+2)", 0},
    {"listen", 'l', "HOST:PORT", 0,
     "TCP instead of sockets in DIR/run: coordinator N at PORT+N and for its peers at PORT+50+N, "
     "OSD "
     "N at PORT+100+N; port 0 takes free ones",
     0},
    {"insecure", OPTION_INSECURE, NULL, 0,
     "Allow --listen beyond loopback, although nobody is asked who they are", 0},
    {"gc-grace", OPTION_GC_GRACE, "TIME", 0,
     "How long deleted and overwritten bytes are kept for readers (default 1h)", 0},
    {"orphan-retention", OPTION_ORPHAN_RETENTION, "TIME", 0,
     "How long fragments of puts that died stay in quarantine (default 24h)", 0},
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
                         tools_parse_number(arg, "a number of coordinators", 1, 5, &number, &info),
                         &info);
        if (number % 2 == 0)
            tools_args_fail(state,
                            "--coordinators %s: 1, 3 or 5; an even number survives no more losses "
                            "than one less",
                            arg);
        wish->coordinator_count = (uint32_t)number;
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
    case OPTION_ORPHAN_RETENTION:
        tools_args_check(state, tools_parse_duration(arg, &wish->orphan_retention_ms, &info),
                         &info);
        if (wish->orphan_retention_ms > UINT32_MAX)
            tools_args_fail(state, "--orphan-retention %s is longer than 49 days", arg);
        wish->has_orphan_retention = true;
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
        "DIR with lilio.yaml, coordinators and OSDs. It stays until Ctrl-C, which stops the "
        "cluster, "
        "or returns with --detach when a coordinator leads and every daemon that can start serves. "
        "Exit code 1: something did not start; it is named, and the rest serves."
        "\vExamples:\n"
        "  lilio-ec up --dir ~/lilio --detach\n"
        "  lilio-ec up --dir ~/lilio --coordinators 3 --detach\n"
        "  lilio-ec up --dir /srv/lilio --osds 9 --profile 6+3 --listen 127.0.0.1:7100 --detach\n"
        "  export LILIO_CONFIG=~/lilio/lilio.yaml     how the other commands find it\n",
};

/* ---- starting ---- */

/* Which daemons run already; and ports of the others that somebody else has are found before
 * anything is started. */
static enum lilio_err daemons_look(struct tools_context *context, struct up *up)
{
    struct lilio_errinfo *info = &context->info;
    enum lilio_err err = tools_daemons_find(&up->daemons, info);
    for (size_t i = 0; !err && i < up->daemons.count; i++) {
        struct tools_daemon *daemon = &up->daemons.list[i];
        if (daemon->pidfd >= 0)
            continue;
        err = tools_port_check(daemon->endpoint, daemon->name, info);
        if (!err && daemon->peer)
            err = tools_port_check(daemon->peer, daemon->name, info);
    }
    return err;
}

/* A daemon that does not come up: fatal on the very first up, otherwise only named. */
static enum lilio_err trouble(struct tools_context *context, const struct up *up,
                              struct tools_daemon *daemon, enum lilio_err err)
{
    if (up->first || err == LILIO_E_CANCELLED)
        return err;
    (void)snprintf(daemon->state, sizeof daemon->state, "ended");
    (void)snprintf(daemon->detail, sizeof daemon->detail, "%s", context->info.text);
    return LILIO_OK;
}

/* May this coordinator be started? One whose folder is gone has forgotten whom it voted for and
 * what it acknowledged: it must never go on under its old name. */
static enum lilio_err coordinator_check(const struct up *up, const struct tools_daemon *daemon,
                                        struct lilio_errinfo *info)
{
    if (up->first || !tools_local_folder_empty(daemon->dir))
        return LILIO_OK;
    if (up->file.coordinator_count == 1)
        return lilio_fail(info, LILIO_E_FOREIGN,
                          "%s is gone: it held the names of all objects, and a new one would know "
                          "none of them. Put it back from a copy",
                          daemon->dir);
    return lilio_fail(info, LILIO_E_FOREIGN,
                      "its folder %s is gone or empty: `lilio-ec coordinator replace %u' makes it "
                      "anew from the others",
                      daemon->dir, daemon->id);
}

static enum lilio_err daemon_start(struct tools_context *context, struct up *up,
                                   struct tools_daemon *daemon)
{
    /* An OSD may initialise an empty folder only if the coordinator has never seen a disk of it; a
     * coordinator only on the very first up. */
    struct tools_daemon_start how = {.init = up->first || !daemon->is_coordinator};
    enum lilio_err err = LILIO_OK;
    if (daemon->is_coordinator)
        err = coordinator_check(up, daemon, &context->info);
    if (!err)
        err = tools_folder_make(daemon->dir, &context->info);
    if (!err)
        err = tools_daemon_start(&up->daemons, daemon, how, &context->info);
    return err ? trouble(context, up, daemon, err) : LILIO_OK;
}

/* Coordinators look for a leader together, so none of them is waited for until it has one. */
static enum lilio_err answer_wait(struct tools_context *context, const struct up *up,
                                  struct tools_daemon *daemon)
{
    return daemon->is_coordinator
               ? tools_daemon_wait_leaderless(&up->daemons, daemon, context->client, up->end_ms,
                                              &context->info)
               : tools_daemon_wait(&up->daemons, daemon, context->client, up->end_ms,
                                   &context->info);
}

/* One that ran when we came and has ended since was being killed: it is started after all. */
static enum lilio_err daemon_wait(struct tools_context *context, struct up *up,
                                  struct tools_daemon *daemon)
{
    bool ran = !daemon->started;
    enum lilio_err err = answer_wait(context, up, daemon);
    if (err || !ran || daemon->pidfd >= 0)
        return err;
    err = daemon_start(context, up, daemon);
    if (err || daemon->pidfd < 0)
        return err;
    return answer_wait(context, up, daemon);
}

/* Starts those of one kind that do not run, all at once, and waits until each says what it is. */
static enum lilio_err kind_start(struct tools_context *context, struct up *up, bool coordinators)
{
    enum lilio_err err = LILIO_OK, late = LILIO_OK;
    struct tools_daemon *list = up->daemons.list;
    for (size_t i = 0; !err && i < up->daemons.count; i++)
        if (list[i].is_coordinator == coordinators && list[i].pidfd < 0)
            err = daemon_start(context, up, &list[i]);
    for (size_t i = 0; !err && i < up->daemons.count; i++) {
        if (list[i].is_coordinator != coordinators || list[i].pidfd < 0)
            continue;
        err = daemon_wait(context, up, &list[i]);
        if (err == LILIO_E_TIMEOUT && !up->first) {
            late = err; /* it may have much to read: leave it at that, but say so */
            err = LILIO_OK;
        } else if (!err && up->first && strcmp(list[i].state, "serving") != 0 &&
                   strcmp(list[i].state, "no leader") != 0) {
            err = lilio_fail(&context->info, LILIO_E_IO, "%s does not serve (%s): %.300s",
                             list[i].name, list[i].state, list[i].detail);
        }
    }
    return err ? err : late;
}

/* How many coordinators may run: those that are not ours to start, too. */
static size_t coordinators_alive(struct up *up)
{
    size_t alive = up->file.coordinator_count;
    for (size_t i = 0; i < up->daemons.count; i++) {
        struct tools_daemon *daemon = &up->daemons.list[i];
        alive -= daemon->is_coordinator && tools_daemon_ended(&up->daemons, daemon);
    }
    return alive;
}

static void ended_print(const struct up *up, const struct tools_daemon *daemon)
{
    (void)fprintf(stderr, "lilio-ec: %s does not run%s%s (its log is in %s)\n", daemon->name,
                  daemon->detail[0] ? ": " : "", tools_text_name(daemon->detail, 0),
                  tools_text_name(up->file.log_dir, 1));
}

/* Says it with what each coordinator says; those that ended said how to go on. */
static enum lilio_err no_leader(struct tools_context *context, const struct up *up,
                                enum lilio_err err)
{
    char text[sizeof context->info.text];
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < up->daemons.count; i++) {
        const struct tools_daemon *daemon = &up->daemons.list[i];
        if (!daemon->is_coordinator || used >= sizeof text)
            continue;
        int more = snprintf(text + used, sizeof text - used, "%s%s %s%s%.130s", used ? "; " : "",
                            daemon->name, daemon->state[0] ? daemon->state : "does not answer",
                            daemon->detail[0] ? ": " : "", daemon->detail);
        used += more > 0 ? (size_t)more : 0;
        if (strcmp(daemon->state, "ended") == 0)
            ended_print(up, daemon);
    }
    return lilio_fail(&context->info, err, "the coordinators have no leader (%s)", text);
}

/* Until one of the coordinators leads and knows all that was acknowledged. Where fewer than half
 * of them run, that is soon found to be in vain. */
static enum lilio_err leader_wait(struct tools_context *context, struct up *up)
{
    uint64_t began_ms = base_now_ms(base_clock_system());
    for (;;) {
        struct lilio_status status;
        enum lilio_err err = lilio_status_get(context->client, &status, &context->info);
        bool led = !err && tools_quorum_leader(&status);
        if (!err)
            lilio_status_release(&status);
        if (led)
            return LILIO_OK;
        if (!err)
            err = lilio_fail(&context->info, LILIO_E_UNAVAILABLE, "too few of them answer");
        if (lilio_err_class(err) == LILIO_CLASS_CALLER || tools_cancelled())
            return err;
        uint64_t now_ms = base_now_ms(base_clock_system());
        if (now_ms - began_ms >= HOPELESS_MS &&
            2 * coordinators_alive(up) < up->file.coordinator_count)
            return no_leader(context, up, LILIO_E_IO);
        if (now_ms >= up->end_ms)
            return no_leader(context, up, LILIO_E_TIMEOUT);
        (void)nanosleep(&(struct timespec){.tv_nsec = LEADER_POLL_MS * 1000000L}, NULL);
    }
}

/* Which command brings one back that the leader does not talk to. */
static void lost_explain(struct tools_context *context, struct tools_daemon *daemon)
{
    struct lilio_status status;
    if (lilio_status_get(context->client, &status, NULL) != LILIO_OK)
        return;
    bool member =
        tools_quorum_voter(&status, daemon->id) || tools_quorum_learner(&status, daemon->id);
    lilio_status_release(&status);
    if (member)
        (void)snprintf(daemon->detail, sizeof daemon->detail,
                       "no leader talks to it; its folder may be one of an earlier "
                       "incarnation: `lilio-ec coordinator replace %u' makes it anew",
                       daemon->id);
    else
        (void)snprintf(daemon->detail, sizeof daemon->detail,
                       "it is no member of the quorum: `lilio-ec coordinator rm %u' takes it out "
                       "of lilio.yaml; after its folder was moved away `lilio-ec coordinator add "
                       "%u' makes it one",
                       daemon->id, daemon->id);
}

/* With a leader they all serve soon, but one that is no member any more. */
static enum lilio_err followers_wait(struct tools_context *context, struct up *up)
{
    uint64_t end_ms = base_now_ms(base_clock_system()) + SETTLE_MS;
    for (size_t i = 0; i < up->daemons.count; i++) {
        struct tools_daemon *daemon = &up->daemons.list[i];
        if (!daemon->is_coordinator || daemon->pidfd < 0)
            continue;
        enum lilio_err err =
            tools_daemon_wait(&up->daemons, daemon, context->client, end_ms, &context->info);
        if (err == LILIO_E_TIMEOUT)
            lost_explain(context, daemon);
        else if (err)
            return err;
    }
    return LILIO_OK;
}

static size_t serving_count(const struct up *up, bool coordinators, size_t *ret_total)
{
    size_t serving = 0;
    *ret_total = 0;
    for (size_t i = 0; i < up->daemons.count; i++) {
        const struct tools_daemon *daemon = &up->daemons.list[i];
        if (daemon->is_coordinator != coordinators)
            continue;
        serving += strcmp(daemon->state, "serving") == 0;
        ++*ret_total;
    }
    return serving;
}

static enum lilio_err coordinators_start(struct tools_context *context, struct up *up)
{
    struct lilio_errinfo *info = &context->info;
    size_t total;
    enum lilio_err err = kind_start(context, up, true);
    if (err)
        return err;
    (void)serving_count(up, true, &total); /* here it is all of them that counts */
    if (total == 0)
        return lilio_fail(info, LILIO_E_CONFIG, "%s names no coordinator with a folder here",
                          up->file.path);
    for (size_t i = 0; total == 1 && i < up->daemons.count; i++) {
        const struct tools_daemon *only = &up->daemons.list[i];
        if (only->is_coordinator && only->pidfd < 0)
            return lilio_fail(info, LILIO_E_IO, "%s does not serve (%s): %.300s", only->name,
                              only->state, only->detail);
    }
    err = leader_wait(context, up);
    if (!err)
        err = followers_wait(context, up);
    return !err && up->first ? tools_local_initialised_set(&up->file, info) : err;
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

/* What does not serve: for people; and to standard error what ended although we started it.
 * Returns false if there is such a one. */
static bool trouble_print(struct tools_context *context, const struct up *up)
{
    bool good = true;
    for (size_t i = 0; i < up->daemons.count; i++) {
        const struct tools_daemon *daemon = &up->daemons.list[i];
        const char *colon = daemon->detail[0] ? ": " : "";
        if (strcmp(daemon->state, "ended") == 0) {
            good = false;
            ended_print(up, daemon);
        } else if (strcmp(daemon->state, "serving") != 0) {
            tools_out_line(&context->out, "%s does not serve: %s%s%s", daemon->name, daemon->state,
                           colon, tools_text_name(daemon->detail, 0));
        }
    }
    return good;
}

/* False if something that should run does not. */
static bool result_print(struct tools_context *context, const struct up *up)
{
    char id[37];
    size_t started = 0, coordinators, osds;
    cJSON *object = tools_json_new();
    base_uuid_format(up->file.cluster_id, id);
    tools_json_text(object, "cluster_id", id);
    tools_json_text(object, "config", up->file.path);
    tools_json_bool(object, "first", up->first);
    cJSON *list = tools_json_list(object, "daemons");
    for (size_t i = 0; i < up->daemons.count; i++) {
        tools_json_add(list, daemon_json(&up->daemons.list[i]));
        started += up->daemons.list[i].started;
    }
    bool good = trouble_print(context, up);
    size_t deciding = serving_count(up, true, &coordinators);
    size_t serving = serving_count(up, false, &osds);
    tools_out_line(&context->out, "%s: %zu of %zu coordinators and %zu of %zu OSDs serve%s",
                   up->file.folder, deciding, coordinators, serving, osds,
                   started ? "" : " (they ran already)");
    tools_out_line(&context->out, "export LILIO_CONFIG=%s", up->file.path);
    tools_out_object(&context->out, object);
    return good;
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
    if (tools_daemons_init_running(up->file.run_dir, up->file.path, &running, &info) == LILIO_OK) {
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

static bool interrupted(void *unused)
{
    (void)unused;
    return tools_cancelled();
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
    struct lilio_options options = {
        .config_path = up->file.path, .label = "lilio-ec up", .cancelled = interrupted};
    err = lilio_open(&options, &context->client, &context->info);
    if (!err)
        err = daemons_look(context, up);
    if (!err)
        err = coordinators_start(context, up);
    if (!err)
        err = kind_start(context, up, false);
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
        code = result_print(context, &up) ? TOOLS_EXIT_OK : TOOLS_EXIT_FAILURE;
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
