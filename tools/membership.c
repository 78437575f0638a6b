#include "tools/membership.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "tools/config_path.h"
#include "tools/file_io.h"
#include "tools/local.h"
#include "tools/quorum.h"

#include "base/banned.h"

enum {
    LOCK_MS = 30000,
    POLL_MS = 100,
    PATIENCE_MS =
        30000,        /* of a change that the leader does not take, or a learner that is silent */
    SETTLE_MS = 5000, /* of one that leaves no majority: a new leader may not have heard all */
    LAG_MAX = 256,    /* so close, the leader lets a learner catch up for good */
};

/* ---- opening ---- */

enum lilio_err tools_membership_open(struct tools_context *context, struct tools_membership *ret)
{
    struct lilio_errinfo *info = &context->info;
    bool local = false, made;
    *ret = (struct tools_membership){.context = context, .lock = -1};
    enum lilio_err err = proto_cluster_file_load(tools_config_path(context), &ret->file, info);
    /* A copy of lilio.yaml on another machine has no such mark beside it: change nothing there. */
    if (!err)
        err = tools_local_initialised(&ret->file, &local, info);
    if (!err && !local)
        err = lilio_fail(info, LILIO_E_INVALID,
                         "this works on the machine of the cluster's folder, which is not %s",
                         ret->file.folder);
    if (!err)
        err = tools_local_lock(ret->file.folder, false, LOCK_MS, &ret->lock, &made, info);
    if (!err) { /* again, now that nobody else can change it */
        proto_cluster_file_release(&ret->file);
        err = proto_cluster_file_load(tools_config_path(context), &ret->file, info);
    }
    if (!err)
        err = tools_local_folders_make(&ret->file, info);
    if (!err)
        err = tools_daemons_init(&ret->file, &ret->daemons, info);
    if (!err)
        err = tools_daemons_find(&ret->daemons, info);
    if (err)
        tools_membership_release(ret);
    return err;
}

void tools_membership_release(struct tools_membership *membership)
{
    tools_daemons_release(&membership->daemons);
    proto_cluster_file_release(&membership->file);
    free(membership->aside);
    if (membership->lock >= 0)
        close(membership->lock);
    *membership = (struct tools_membership){.lock = -1};
}

enum lilio_err tools_membership_save(struct tools_membership *membership)
{
    struct lilio_errinfo *info = &membership->context->info;
    enum lilio_err err = proto_cluster_file_save(&membership->file, info);
    if (err)
        return err;
    tools_daemons_release(&membership->daemons);
    err = tools_daemons_init(&membership->file, &membership->daemons, info);
    return err ? err : tools_daemons_find(&membership->daemons, info);
}

struct tools_daemon *tools_membership_daemon(struct tools_membership *membership)
{
    for (size_t i = 0; i < membership->daemons.count; i++)
        if (membership->daemons.list[i].is_coordinator &&
            membership->daemons.list[i].id == membership->id)
            return &membership->daemons.list[i];
    return NULL;
}

/* ---- asking ---- */

static enum lilio_err pause_or_cancel(struct lilio_errinfo *info)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    return tools_cancelled() ? lilio_fail(info, LILIO_E_CANCELLED,
                                          "interrupted; the same command goes on from here")
                             : LILIO_OK;
}

enum lilio_err tools_membership_status(struct tools_membership *membership,
                                       struct lilio_status *ret)
{
    struct tools_context *context = membership->context;
    uint64_t end_ms = base_now_ms(base_clock_system()) +
                      (context->timeout_ms ? context->timeout_ms : PATIENCE_MS / 3);
    for (;;) {
        enum lilio_err err = lilio_status_get(context->client, ret, &context->info);
        if (!err && tools_quorum_leader(ret))
            return LILIO_OK;
        if (!err)
            lilio_status_release(ret);
        if (err && lilio_err_class(err) != LILIO_CLASS_RETRY)
            return err;
        if (base_now_ms(base_clock_system()) >= end_ms)
            return lilio_fail(&context->info, LILIO_E_UNAVAILABLE,
                              "the coordinators have no leader; without a majority nothing of them "
                              "can be changed");
        err = pause_or_cancel(&context->info);
        if (err)
            return err;
    }
}

/* What is known of one member; *ret_found false: it is none (any more). */
static enum lilio_err member_look(struct tools_membership *membership, uint64_t member,
                                  bool *ret_found, struct lilio_coordinator *ret)
{
    struct lilio_status status;
    enum lilio_err err = tools_membership_status(membership, &status);
    if (err)
        return err;
    *ret_found = false;
    for (size_t i = 0; i < status.coordinator_count; i++)
        if (status.coordinators[i].member == member) {
            *ret = status.coordinators[i];
            *ret_found = true;
        }
    lilio_status_release(&status);
    return LILIO_OK;
}

/* Is it so already? Removed: no member; promoted: a voter. */
static enum lilio_err is_done(struct tools_membership *membership,
                              enum lilio_coordinator_change_kind change, uint64_t member,
                              bool *ret_done)
{
    struct lilio_coordinator at;
    bool found;
    enum lilio_err err = member_look(membership, member, &found, &at);
    if (err)
        return err;
    if (change == LILIO_COORDINATOR_PROMOTE && !found)
        return lilio_fail(&membership->context->info, LILIO_E_NOT_FOUND,
                          "coordinator.%u was removed meanwhile", membership->id);
    *ret_done = change == LILIO_COORDINATOR_REMOVE ? !found : tools_quorum_votes(&at);
    return LILIO_OK;
}

static bool may_repeat(enum lilio_err err)
{
    return lilio_err_class(err) == LILIO_CLASS_RETRY || err == LILIO_E_NOT_LEADER ||
           err == LILIO_E_OUTCOME_UNKNOWN;
}

/* Removes or promotes a member. A leader that changes or is busy is asked again; the status says
 * whether an attempt without an answer succeeded. */
static enum lilio_err change_member(struct tools_membership *membership,
                                    enum lilio_coordinator_change_kind change, uint64_t member)
{
    struct tools_context *context = membership->context;
    uint64_t began_ms = base_now_ms(base_clock_system()), same;
    for (;;) {
        bool done = false;
        enum lilio_err err = is_done(membership, change, member, &done);
        if (err || done)
            return err;
        err = lilio_coordinator_change(context->client, change, membership->id, member, NULL, NULL,
                                       &same, &context->info);
        bool again = may_repeat(err) || err == LILIO_E_NOT_FOUND; /* asked of a new leader */
        uint64_t patience_ms = again ? PATIENCE_MS : err == LILIO_E_PRECONDITION ? SETTLE_MS : 0;
        if (base_now_ms(base_clock_system()) - began_ms >= patience_ms)
            return err;
        err = pause_or_cancel(&context->info);
        if (err)
            return err;
    }
}

/* ---- the steps ---- */

/* Asked again until it is answered: the leader makes no second learner beside one that has the same
 * addresses. */
static enum lilio_err learner_add(struct tools_membership *membership, uint64_t *ret_member)
{
    struct tools_context *context = membership->context;
    const struct proto_cluster_node *node =
        proto_cluster_coordinator(&membership->file, membership->id);
    uint64_t end_ms = base_now_ms(base_clock_system()) + PATIENCE_MS;
    for (;;) {
        enum lilio_err err = lilio_coordinator_change(
            context->client, LILIO_COORDINATOR_ADD, membership->id, 0 /* the next one */,
            node->endpoint, node->peer, ret_member, &context->info);
        if (!may_repeat(err) || base_now_ms(base_clock_system()) >= end_ms)
            return err;
        err = pause_or_cancel(&context->info);
        if (err)
            return err;
    }
}

static enum lilio_err daemon_run(struct tools_membership *membership, struct tools_daemon *daemon,
                                 uint64_t member)
{
    struct lilio_errinfo *info = &membership->context->info;
    if (daemon->pidfd >= 0)
        return LILIO_OK;
    if (mkdir(daemon->dir, 0700) != 0 && errno != EEXIST)
        return tools_file_fail(info, "cannot make folder", daemon->dir);
    return tools_daemon_start(&membership->daemons, daemon,
                              (struct tools_daemon_start){.join = member}, info);
}

/* Until it lacks little of the leader's log. It may take as long as it needs while the leader hears
 * it. */
static enum lilio_err catch_up_wait(struct tools_membership *membership,
                                    struct tools_daemon *daemon, uint64_t member)
{
    struct lilio_errinfo *info = &membership->context->info;
    uint64_t heard_ms = base_now_ms(base_clock_system());
    for (;;) {
        struct lilio_coordinator at;
        bool found;
        enum lilio_err err = member_look(membership, member, &found, &at);
        if (err)
            return err;
        if (!found)
            return lilio_fail(info, LILIO_E_NOT_FOUND, "%s was removed meanwhile", daemon->name);
        uint64_t now_ms = base_now_ms(base_clock_system());
        if (tools_quorum_lives(&at))
            heard_ms = now_ms;
        /* It answers as the one it shall be: so the leader has really heard it. */
        if (tools_quorum_lives(&at) && at.lag <= LAG_MAX &&
            tools_quorum_ask(membership->context->client, &at))
            return LILIO_OK;
        if (tools_daemon_ended(&membership->daemons, daemon))
            return lilio_fail(info, LILIO_E_IO, "%s did not stay up: %.300s (its log is in %s)",
                              daemon->name, daemon->detail, membership->daemons.log_dir);
        if (now_ms - heard_ms > PATIENCE_MS)
            return lilio_fail(info, LILIO_E_TIMEOUT,
                              "the leader does not hear %s (its log is in %s); the same command "
                              "goes on from here",
                              daemon->name, membership->daemons.log_dir);
        err = pause_or_cancel(info);
        if (err)
            return err;
    }
}

/* Which members of this number there are: the newest learner (0 = none) and the voter. Older
 * learners, and one that cannot go on because its folder is empty, are removed. */
static enum lilio_err members_settle(struct tools_membership *membership,
                                     struct tools_daemon *daemon, uint64_t *ret_learner,
                                     uint64_t *ret_voter)
{
    struct lilio_status status;
    enum lilio_err err = tools_membership_status(membership, &status);
    if (err)
        return err;
    const struct lilio_coordinator *voter = tools_quorum_voter(&status, membership->id);
    const struct lilio_coordinator *learner = tools_quorum_learner(&status, membership->id);
    if (tools_local_folder_empty(daemon->dir) && daemon->pidfd >= 0)
        tools_daemon_stop(daemon); /* its folder is gone, or it was about to make it */
    bool blank = tools_local_folder_empty(daemon->dir);
    *ret_voter = voter ? voter->member : 0;
    *ret_learner = learner && !blank ? learner->member : 0;
    for (size_t i = 0; !err && i < status.coordinator_count; i++) {
        const struct lilio_coordinator *at = &status.coordinators[i];
        if (at->id == membership->id && !tools_quorum_votes(at) && at->member != *ret_learner)
            err = change_member(membership, LILIO_COORDINATOR_REMOVE, at->member);
    }
    lilio_status_release(&status);
    return err;
}

enum lilio_err tools_membership_bring(struct tools_membership *membership, uint64_t *ret_member)
{
    struct tools_daemon *daemon = tools_membership_daemon(membership);
    uint64_t learner = 0, voter = 0;
    enum lilio_err err = members_settle(membership, daemon, &learner, &voter);
    if (!err && !learner)
        err = learner_add(membership, &learner);
    if (!err)
        *ret_member = learner;
    if (!err)
        err = daemon_run(membership, daemon, learner);
    if (!err)
        err = catch_up_wait(membership, daemon, learner);
    if (!err && voter)
        err = change_member(membership, LILIO_COORDINATOR_REMOVE, voter);
    if (!err)
        err = change_member(membership, LILIO_COORDINATOR_PROMOTE, learner);
    return err;
}

enum lilio_err tools_membership_majority(struct tools_membership *membership, bool removed)
{
    struct tools_context *context = membership->context;
    uint64_t end_ms = base_now_ms(base_clock_system()) + SETTLE_MS;
    for (;;) {
        char silent[TOOLS_QUORUM_NAMES];
        struct lilio_status status;
        enum lilio_err err = tools_membership_status(membership, &status);
        if (err)
            return err;
        struct tools_quorum quorum =
            tools_quorum_count_asked(context->client, &status, membership->id, silent);
        quorum.voters += !removed && tools_quorum_voter(&status, membership->id);
        lilio_status_release(&status);
        if (tools_quorum_decides(quorum))
            return LILIO_OK;
        if (base_now_ms(base_clock_system()) >= end_ms)
            return lilio_fail(&context->info, LILIO_E_PRECONDITION,
                              "without coordinator.%u only %zu of %zu coordinators live, which is "
                              "no majority (silent: %s): start or replace the others first",
                              membership->id, quorum.living, quorum.voters, silent);
        err = pause_or_cancel(&context->info);
        if (err)
            return err;
    }
}

void tools_membership_hand_over(struct tools_membership *membership)
{
    enum lilio_err err =
        lilio_coordinator_transfer(membership->context->client, LILIO_COORDINATOR_ANY, NULL);
    (void)err; /* the others have an election then */
}

enum lilio_err tools_membership_drop(struct tools_membership *membership)
{
    struct lilio_status status;
    enum lilio_err err = tools_membership_status(membership, &status);
    if (err)
        return err;
    const struct lilio_coordinator *leader = tools_quorum_leader(&status);
    if (leader->id == membership->id && tools_quorum_count(&status, membership->id).living > 0)
        tools_membership_hand_over(membership);
    for (size_t i = 0; !err && i < status.coordinator_count; i++)
        if (status.coordinators[i].id == membership->id)
            err =
                change_member(membership, LILIO_COORDINATOR_REMOVE, status.coordinators[i].member);
    lilio_status_release(&status);
    return err;
}

/* ---- folders ---- */

static enum lilio_err folder_sync(const char *path, struct lilio_errinfo *info)
{
    const char *slash = strrchr(path, '/');
    char *parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (!parent)
        return tools_no_memory(info);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum lilio_err err =
        fd < 0 || fsync(fd) != 0 ? tools_file_fail(info, "cannot sync", parent) : LILIO_OK;
    if (fd >= 0)
        close(fd);
    free(parent);
    return err;
}

enum lilio_err tools_membership_aside(struct tools_membership *membership, uint64_t member)
{
    struct lilio_errinfo *info = &membership->context->info;
    const char *dir = tools_membership_daemon(membership)->dir;
    struct stat stat_buffer;
    if (tools_local_folder_empty(dir))
        return LILIO_OK;
    for (unsigned attempt = 0;; attempt++) {
        char *aside = NULL;
        int size = attempt
                       ? asprintf(&aside, "%s.old-%llu-%u", dir, (unsigned long long)(member >> 32),
                                  attempt)
                       : asprintf(&aside, "%s.old-%llu", dir, (unsigned long long)(member >> 32));
        if (size < 0)
            return tools_no_memory(info);
        if (lstat(aside, &stat_buffer) == 0) {
            free(aside);
            continue;
        }
        if (rename(dir, aside) != 0) {
            enum lilio_err err =
                tools_file_fail(info, "cannot put aside (name another folder with --dir)", dir);
            free(aside);
            return err;
        }
        free(membership->aside);
        membership->aside = aside;
        return folder_sync(dir, info);
    }
}
