/* coordinator add, rm and replace: tools/membership.h has the steps and what a crash leaves behind;
 * here is what is asked for, and when it is refused. */
#include "tools/cmd.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "tools/file_io.h"
#include "tools/local.h"
#include "tools/membership.h"
#include "tools/quorum.h"

#include "base/banned.h"

enum { START_MS = 60000, LEADERS_MAX = 5 };

struct wish {
    bool has_id, force;
    uint32_t id;
    const char *dir;
};

enum { OPTION_FORCE = 0x400 };

static error_t id_parse(int key, char *arg, struct argp_state *state)
{
    struct wish *wish = state->input;
    struct lilio_errinfo info = {0};
    switch (key) {
    case 'd': wish->dir = arg; return 0;
    case OPTION_FORCE: wish->force = true; return 0;
    case ARGP_KEY_ARG:
        if (wish->has_id)
            return ARGP_ERR_UNKNOWN;
        tools_args_check(state, tools_parse_coordinator(arg, &wish->id, &info), &info);
        wish->has_id = true;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t id_needed_parse(int key, char *arg, struct argp_state *state)
{
    const struct wish *wish = state->input;
    if (key == ARGP_KEY_END && !wish->has_id)
        tools_args_fail(state, "which coordinator? Its number or coordinator.NUMBER is missing");
    return id_parse(key, arg, state);
}

/* ---- shared ---- */

static struct proto_cluster_node *node_of(struct tools_membership *membership)
{
    for (size_t i = 0; i < membership->file.coordinator_count; i++)
        if (membership->file.coordinators[i].id == membership->id)
            return &membership->file.coordinators[i];
    return NULL;
}

/* --dir: the folder itself is made, its parents have to be there; it must be empty. */
static enum lilio_err dir_check(const char *dir, bool *ret_made, struct lilio_errinfo *info)
{
    *ret_made = mkdir(dir, 0700) == 0;
    if (!*ret_made && errno != EEXIST)
        return tools_file_fail(info, "cannot make folder", dir);
    if (!tools_local_folder_empty(dir))
        return lilio_fail(info, LILIO_E_INVALID, "--dir %s is not an empty folder", dir);
    return LILIO_OK;
}

/* Whether dir is the folder that lilio.yaml has for it already. */
static bool is_its_dir(const struct proto_cluster_node *node, const char *dir)
{
    char *path = realpath(dir, NULL);
    bool same = path && strcmp(path, node->dir) == 0;
    free(path);
    return same;
}

/* The others must have a peer endpoint, or they cannot be reached by one more. */
static enum lilio_err peers_check(const struct proto_cluster_file *file, struct lilio_errinfo *info)
{
    for (size_t i = 0; i < file->coordinator_count; i++)
        if (!file->coordinators[i].peer)
            return lilio_fail(info, LILIO_E_CONFIG,
                              "%s gives coordinator.%u no `peer' endpoint for other coordinators: "
                              "add `peer: tcp://HOST:PORT' to its entry and restart it",
                              file->path, file->coordinators[i].id);
    return LILIO_OK;
}

static void even_warn(struct tools_membership *membership)
{
    struct lilio_status status;
    if (tools_membership_status(membership, &status) != LILIO_OK)
        return;
    struct tools_quorum quorum = tools_quorum_count(&status, UINT32_MAX);
    if (quorum.voters % 2 == 0)
        tools_out_line(&membership->context->out,
                       "%zu coordinators survive no more losses than %zu: an odd number is better",
                       quorum.voters, quorum.voters - 1);
    tools_quorum_warn(&membership->context->out, &status);
    lilio_status_release(&status);
}

static int brought(struct tools_membership *membership, uint64_t member, const char *what)
{
    struct tools_out *out = &membership->context->out;
    const struct proto_cluster_node *node = node_of(membership);
    if (membership->aside)
        tools_out_line(out, "its old folder is kept as %s", membership->aside);
    tools_out_line(out, "coordinator.%u %s and votes (folder %s)", node->id, what, node->dir);
    even_warn(membership);
    cJSON *object = tools_json_new();
    tools_json_u64(object, "id", node->id);
    tools_json_u64(object, "member", member);
    tools_json_text(object, "role", "voter");
    tools_json_text(object, "address", node->endpoint);
    tools_json_text(object, "peer", node->peer);
    tools_json_text(object, "dir", node->dir);
    tools_json_text(object, "put_aside", membership->aside);
    tools_out_object(out, object);
    return TOOLS_EXIT_OK;
}

/* Opens all there is to open, runs what was asked for, says how it failed. */
static int with_membership(struct tools_context *context, const struct wish *wish,
                           enum lilio_err (*run)(struct tools_membership *, const struct wish *,
                                                 uint64_t *),
                           int (*say)(struct tools_membership *, uint64_t))
{
    struct tools_membership membership;
    uint64_t member = 0;
    int code = tools_open(context);
    if (code)
        return code;
    enum lilio_err err = tools_membership_open(context, &membership);
    if (err)
        return tools_fail(context, err);
    membership.id = wish->id;
    err = run(&membership, wish, &member);
    code = err ? tools_fail(context, err) : say(&membership, member);
    tools_membership_release(&membership);
    return code;
}

/* ---- add ---- */

static const struct argp_option add_options[] = {
    {"dir", 'd', "DIR", 0, "Its folder, empty (default: coordinator.ID beside lilio.yaml)", 0},
    {0},
};
static const struct argp add_argp = {
    .options = add_options,
    .parser = id_parse,
    .args_doc = "[ID]",
    .doc =
        "Makes one more coordinator on this machine, with the next free number or as ID: it joins "
        "as a learner, catches up with the others, and then votes. Interrupted, it goes on when it "
        "is run again. Three survive the loss of one, five of two; an even number survives no more "
        "than one less. Clients and OSDs that run already learn of it from the others."
        "\vExamples:\n"
        "  lilio-ec coordinator add\n"
        "  lilio-ec coordinator add 2 --dir /mnt/disk2/coordinator\n",
};

/* `rm' leaves a folder where it is: its number is not given again by itself. */
static bool folder_left(const struct proto_cluster_file *file, uint32_t id)
{
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/coordinator.%u", file->folder, id) < (int)sizeof path &&
           !tools_local_folder_empty(path);
}

/* The number nobody has; or one that lilio.yaml has and the quorum has not: a command that did not
 * get to its end. */
static uint32_t id_choose(const struct tools_membership *membership,
                          const struct lilio_status *status)
{
    const struct proto_cluster_file *file = &membership->file;
    for (size_t i = 0; i < file->coordinator_count; i++)
        if (!tools_quorum_voter(status, file->coordinators[i].id))
            return file->coordinators[i].id;
    uint32_t id = 0;
    while (proto_cluster_coordinator(file, id) || tools_quorum_voter(status, id) ||
           tools_quorum_learner(status, id) || folder_left(file, id))
        id++;
    return id;
}

/* What was begun for a coordinator that the leader does not take: `up' would start it for ever. */
static void add_undo(struct tools_membership *membership, const char *made)
{
    struct lilio_errinfo why = membership->context->info;
    tools_local_coordinator_remove(&membership->file, membership->id);
    if (tools_membership_save(membership) == LILIO_OK)
        membership->context->info = why; /* what is said is why it was refused */
    if (made)
        (void)rmdir(made); /* it is empty */
}

/* May this number be added? Then lilio.yaml has it when this returns. */
static enum lilio_err add_prepare(struct tools_membership *membership, const struct wish *wish,
                                  const struct lilio_status *status, bool *ret_dir_made)
{
    struct lilio_errinfo *info = &membership->context->info;
    if (tools_quorum_voter(status, membership->id))
        return lilio_fail(info, LILIO_E_EXISTS, "coordinator.%u votes already", membership->id);
    enum lilio_err err = peers_check(&membership->file, info);
    if (err)
        return err;
    const struct proto_cluster_node *node = node_of(membership);
    bool begun = tools_quorum_learner(status, membership->id) != NULL;
    if (node && !node->dir)
        return lilio_fail(info, LILIO_E_CONFIG, "%s gives coordinator.%u no folder here",
                          membership->file.path, node->id);
    if (node && wish->dir && !is_its_dir(node, wish->dir))
        return lilio_fail(info, LILIO_E_INVALID, "coordinator.%u is being added in %s", node->id,
                          node->dir);
    if (!node && wish->dir)
        err = dir_check(wish->dir, ret_dir_made, info);
    if (!err && !node)
        err = tools_local_coordinator_add(&membership->file, membership->id, wish->dir, info);
    if (!err && !begun && !tools_local_folder_empty(node_of(membership)->dir))
        err = lilio_fail(info, LILIO_E_INVALID,
                         "%s is not empty: move it away, or name another folder with --dir",
                         node_of(membership)->dir);
    if (!err)
        err = tools_local_folders_make(&membership->file, info);
    return err || node ? err : tools_membership_save(membership);
}

static enum lilio_err add_run(struct tools_membership *membership, const struct wish *wish,
                              uint64_t *ret_member)
{
    struct lilio_status status;
    enum lilio_err err = tools_membership_status(membership, &status);
    if (err)
        return err;
    if (!wish->has_id)
        membership->id = id_choose(membership, &status);
    bool is_new = !node_of(membership), dir_made = false;
    err = add_prepare(membership, wish, &status, &dir_made);
    lilio_status_release(&status);
    if (!err)
        err = tools_membership_bring(membership, ret_member);
    /* Without a clear answer it may be a member by now: the same command goes on. */
    if (is_new && !*ret_member && err && lilio_err_class(err) != LILIO_CLASS_RETRY &&
        err != LILIO_E_CANCELLED && err != LILIO_E_OUTCOME_UNKNOWN)
        add_undo(membership, dir_made ? wish->dir : NULL);
    return err;
}

static int add_say(struct tools_membership *membership, uint64_t member)
{
    return brought(membership, member, "joined");
}

int tools_cmd_coordinator_add(struct tools_context *context, int argc, char **argv)
{
    struct wish wish = {0};
    tools_args_parse(context, &add_argp, argc, argv, &wish);
    return with_membership(context, &wish, add_run, add_say);
}

/* ---- rm ---- */

static const struct argp_option rm_options[] = {
    {"force", OPTION_FORCE, NULL, 0,
     "Do not wait for the others to answer: ask the leader, which refuses all the same what leaves "
     "no majority",
     0},
    {0},
};
static const struct argp rm_argp = {
    .options = rm_options,
    .parser = id_needed_parse,
    .args_doc = "ID",
    .doc = "Takes a coordinator out of the quorum, stops it, and takes it out of lilio.yaml. Its "
           "folder stays where it is; nothing needs it any more. Refused when a majority of those "
           "that are left does not answer, by the leader, too, whatever was asked for."
           "\vExample:\n"
           "  lilio-ec coordinator rm 4\n",
};

static enum lilio_err rm_check(struct tools_membership *membership, const struct wish *wish,
                               const struct lilio_status *status)
{
    struct lilio_errinfo *info = &membership->context->info;
    bool voter = tools_quorum_voter(status, membership->id) != NULL;
    bool known = voter || tools_quorum_learner(status, membership->id) ||
                 proto_cluster_coordinator(&membership->file, membership->id);
    struct tools_quorum after = tools_quorum_count(status, membership->id);
    if (!known)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "there is no coordinator.%u", membership->id);
    if (after.voters == 0 || (membership->file.coordinator_count == 1 &&
                              proto_cluster_coordinator(&membership->file, membership->id)))
        return lilio_fail(info, LILIO_E_PRECONDITION,
                          "coordinator.%u is the last one: it holds the names of all objects",
                          membership->id);
    return voter && !wish->force ? tools_membership_majority(membership, /* removed */ true)
                                 : LILIO_OK;
}

static enum lilio_err rm_run(struct tools_membership *membership, const struct wish *wish,
                             uint64_t *ret_member)
{
    struct lilio_status status;
    enum lilio_err err = tools_membership_status(membership, &status);
    if (err)
        return err;
    err = rm_check(membership, wish, &status);
    *ret_member = 0;
    lilio_status_release(&status);
    if (!err)
        err = tools_membership_drop(membership);
    if (err)
        return err;
    struct tools_daemon *daemon = tools_membership_daemon(membership);
    if (daemon && daemon->pidfd >= 0)
        tools_daemon_stop(daemon);
    tools_local_coordinator_remove(&membership->file, membership->id);
    return tools_membership_save(membership);
}

static int rm_say(struct tools_membership *membership, uint64_t member)
{
    (void)member;
    tools_out_line(&membership->context->out, "coordinator.%u is removed", membership->id);
    even_warn(membership);
    cJSON *object = tools_json_new();
    tools_json_u64(object, "id", membership->id);
    tools_json_bool(object, "removed", true);
    tools_out_object(&membership->context->out, object);
    return TOOLS_EXIT_OK;
}

int tools_cmd_coordinator_rm(struct tools_context *context, int argc, char **argv)
{
    struct wish wish = {0};
    tools_args_parse(context, &rm_argp, argc, argv, &wish);
    return with_membership(context, &wish, rm_run, rm_say);
}

/* ---- replace ---- */

static const struct argp_option replace_options[] = {
    {"dir", 'd', "DIR", 0, "Its new folder, empty (default: the same place)", 0},
    {"force", OPTION_FORCE, NULL, 0, "Also when it works", 0},
    {0},
};
static const struct argp replace_argp = {
    .options = replace_options,
    .parser = id_needed_parse,
    .args_doc = "ID",
    .doc =
        "Gives a coordinator that lost its disk a new folder and all that the others know: a new "
        "member with the same number catches up while the cluster works, takes the place of the "
        "old one, and votes. An old folder that is still there is renamed, never deleted. "
        "Interrupted, it goes on when it is run again. Refused while the coordinator works."
        "\vExamples:\n"
        "  lilio-ec coordinator replace 1\n"
        "  lilio-ec coordinator replace 1 --dir /mnt/new/coordinator\n",
};

/* A daemon that does not run although its folder holds something may only need to be started: found
 * out by starting it. */
static enum lilio_err try_start(struct tools_membership *membership, struct tools_daemon *daemon)
{
    struct tools_context *context = membership->context;
    uint64_t end_ms = base_now_ms(base_clock_system()) + START_MS;
    if (daemon->pidfd >= 0 || tools_local_folder_empty(daemon->dir))
        return LILIO_OK;
    enum lilio_err err = tools_daemon_start(&membership->daemons, daemon,
                                            (struct tools_daemon_start){0}, &context->info);
    if (!err)
        err = tools_daemon_wait(&membership->daemons, daemon, context->client, end_ms,
                                &context->info);
    if (!err && strcmp(daemon->state, "serving") == 0)
        err = lilio_fail(&context->info, LILIO_E_PRECONDITION,
                         "%s was only stopped; it runs again and needs no replacement (--force "
                         "replaces it anyway)",
                         daemon->name);
    return err;
}

/* Does it go on living, as the leader sees it? One that just ended is heard of for some time, and
 * a new leader has to hear it first. */
static enum lilio_err life_look(struct tools_membership *membership, uint64_t member, bool *ret)
{
    uint64_t term = 0, end_ms = 0;
    int leaders = 0;
    bool runs = tools_membership_daemon(membership)->pidfd >= 0;
    *ret = true;
    while (*ret) {
        struct lilio_status status;
        enum lilio_err err = tools_membership_status(membership, &status);
        if (err)
            return err;
        const struct lilio_coordinator *at = tools_quorum_voter(&status, membership->id);
        bool known = at && at->member == member;
        bool lives = known && tools_quorum_lives(at);
        *ret = lives || (known && tools_quorum_unheard(at));
        bool is_new = at && at->term != term && leaders < LEADERS_MAX;
        uint64_t now_ms = base_now_ms(base_clock_system());
        if (is_new) {
            term = at->term;
            leaders++;
            end_ms = now_ms + TOOLS_QUORUM_SILENT_MS + 1000;
        }
        lilio_status_release(&status);
        if (now_ms >= end_ms || (lives && runs)) {
            *ret = lives;
            break;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000000L}, NULL);
    }
    return LILIO_OK;
}

/* Its old member is still in the quorum and no new one was begun: may it be replaced, and what of
 * its daemon and its folder? */
static enum lilio_err old_retire(struct tools_membership *membership, bool force, bool moves,
                                 const struct lilio_coordinator *old)
{
    struct lilio_errinfo *info = &membership->context->info;
    struct tools_daemon *daemon = tools_membership_daemon(membership);
    bool gone = tools_local_folder_empty(daemon->dir);
    enum lilio_err err = tools_membership_majority(membership, /* removed */ false);
    if (err)
        return err;
    /* One that runs and is not heard hangs, or its folder is not this member's. */
    bool unsure = daemon->pidfd < 0 || tools_quorum_unheard(old);
    bool lives = !gone && !force && (unsure || tools_quorum_lives(old));
    if (lives && unsure)
        err = life_look(membership, old->member, &lives);
    if (err)
        return err;
    if (lives)
        return lilio_fail(info, LILIO_E_PRECONDITION,
                          "coordinator.%u works; there is nothing to replace (--force does it "
                          "anyway)",
                          membership->id);
    err = force ? LILIO_OK : try_start(membership, daemon);
    if (err)
        return err;
    if (tools_quorum_leads(old))
        tools_membership_hand_over(membership);
    if (daemon->pidfd >= 0)
        tools_daemon_stop(daemon);
    return moves ? LILIO_OK : tools_membership_aside(membership, old->member);
}

/* lilio.yaml has the new folder when this returns. A learner that was begun elsewhere finds its own
 * folder empty and is begun anew. */
static enum lilio_err dir_move(struct tools_membership *membership, const char *dir)
{
    struct lilio_errinfo *info = &membership->context->info;
    struct proto_cluster_node *node = node_of(membership);
    struct tools_daemon *daemon = tools_membership_daemon(membership);
    char *path = realpath(dir, NULL);
    if (!path)
        return tools_file_fail(info, "cannot resolve", dir);
    if (daemon->pidfd >= 0)
        tools_daemon_stop(daemon);
    free(node->dir);
    node->dir = path;
    return tools_membership_save(membership);
}

static enum lilio_err replace_prepare(struct tools_membership *membership, const struct wish *wish,
                                      const struct lilio_status *status)
{
    struct lilio_errinfo *info = &membership->context->info;
    const struct proto_cluster_node *node = node_of(membership);
    if (!node || !node->dir)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "%s names no coordinator.%u with a folder here",
                          membership->file.path, membership->id);
    const struct lilio_coordinator *voter = tools_quorum_voter(status, membership->id);
    const struct lilio_coordinator *learner = tools_quorum_learner(status, membership->id);
    bool gone = tools_local_folder_empty(node->dir);
    if (!voter && !learner)
        return lilio_fail(
            info, LILIO_E_NOT_FOUND,
            "coordinator.%u is no member of the quorum: %s%s%s`lilio-ec coordinator add %u' makes "
            "it one, `lilio-ec coordinator rm %u' takes it out of lilio.yaml",
            membership->id, gone ? "" : "after its old folder ", gone ? "" : node->dir,
            gone ? "" : " was moved away ", membership->id, membership->id);
    enum lilio_err err = peers_check(&membership->file, info);
    bool moves = wish->dir && !is_its_dir(node, wish->dir), made = false;
    if (!err && moves)
        err = dir_check(wish->dir, &made, info); /* before anything is stopped */
    if (!err && voter && !learner)
        err = old_retire(membership, wish->force, moves, voter);
    if (!err && moves)
        err = dir_move(membership, wish->dir);
    if (err && made)
        (void)rmdir(wish->dir); /* it is empty */
    return err;
}

static enum lilio_err replace_run(struct tools_membership *membership, const struct wish *wish,
                                  uint64_t *ret_member)
{
    struct lilio_status status;
    enum lilio_err err = tools_membership_status(membership, &status);
    if (err)
        return err;
    err = replace_prepare(membership, wish, &status);
    lilio_status_release(&status);
    return err ? err : tools_membership_bring(membership, ret_member);
}

static int replace_say(struct tools_membership *membership, uint64_t member)
{
    return brought(membership, member, "is replaced");
}

int tools_cmd_coordinator_replace(struct tools_context *context, int argc, char **argv)
{
    struct wish wish = {0};
    tools_args_parse(context, &replace_argp, argc, argv, &wish);
    return with_membership(context, &wish, replace_run, replace_say);
}
