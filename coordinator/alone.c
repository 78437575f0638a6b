/* A configuration with one voter is appended to the log in a new term, as a leader would have done
 * it. So at its next start the member elects itself and commits all that its log holds. It says
 * that the state went back, because OSDs hold runs of sessions that it knows nothing of: no session
 * of the same id may write others under the same names.
 *
 * The term is one that nobody of the old quorum can have come to: two logs that agree about the
 * index and the term of an entry hold the same one, and those of the others may have gone on.
 *
 * In this order, so that a crash leaves the folder as refused as it was: the term is saved, the
 * entry is durable, then the folder is no older copy any more.
 */
#include "coordinator/alone.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "coordinator/home.h"

#include "base/banned.h"

/* Elections that the others may have held since. A new member believes terms up to 2^32. */
static const uint64_t TERMS_LOST_MAX = (uint64_t)1 << 20;

/* Two of the others, started by mistake, would elect a leader of the old quorum. */
static enum lilio_err others_check(const struct proto_cluster_file *file, uint32_t id,
                                   struct lilio_errinfo *info)
{
    for (size_t i = 0; i < file->coordinator_count; i++) {
        const struct proto_cluster_node *node = &file->coordinators[i];
        if (node->id == id || !node->dir)
            continue;
        char *path = NULL;
        if (asprintf(&path, "%s/identity", node->dir) < 0)
            return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
        bool there = access(path, F_OK) == 0;
        free(path);
        if (there)
            return lilio_fail(info, LILIO_E_PRECONDITION,
                              "%s is still there: stop all coordinators and move the folders of "
                              "the others away, so that they cannot go on without this one",
                              node->dir);
    }
    return LILIO_OK;
}

static enum lilio_err vote_save(struct coord_home *home, struct lilio_errinfo *info)
{
    return raft_vote_save(home->disk, home->cluster_id, home->member, &home->vote, info);
}

/* A leader whose maps are empty makes the cluster. Of a member that was never told anything, or had
 * not yet what the first leader proposed, that would be an empty one, whose OSDs take all they have
 * for orphans. The first commands in a log are those that make the cluster. */
static enum lilio_err check_made(const struct coord_home *home, struct lilio_errinfo *info)
{
    struct raft_log_view view = raft_log_view(home->log);
    uint64_t index = coord_state_row(home->state)->applied_index + 1,
             last = view.last(view.context);
    while (home->fresh && index <= last) {
        struct raft_entry entry;
        size_t count = 0;
        enum lilio_err err =
            view.read(view.context, index++, 1, RAFT_SEND_BYTES_MAX, &entry, &count);
        if (err)
            return lilio_fail(info, err, "the log of %s: %s", home->path, lilio_err_text(err));
        if (entry.type == RAFT_ENTRY_COMMANDS)
            return LILIO_OK;
    }
    return home->fresh ? lilio_fail(info, LILIO_E_PRECONDITION,
                                    "%s knows nothing of the cluster: this coordinator was never "
                                    "brought up to date. Take the folder of another one",
                                    home->path)
                       : LILIO_OK;
}

static enum lilio_err append_config(struct coord_home *home, const struct proto_cluster_node *node,
                                    uint64_t index, struct lilio_errinfo *info)
{
    struct proto_raft_member member = {
        .id = home->member,
        .kind = RAFT_VOTER,
        .address = base_slice_str(node->endpoint),
        .peer = base_slice_str(node->peer ? node->peer : ""),
    };
    const struct proto_raft_config config = {
        .members = &member, .members_count = 1, .restored = true};
    struct base_buffer content = {0};
    enum lilio_err err = proto_raft_config_pack(&config, &content);
    const struct raft_entry entry = {
        .index = index,
        .term = home->vote.term,
        .type = RAFT_ENTRY_CONFIG,
        .data = base_buffer_slice(&content),
    };
    if (err)
        err = lilio_fail(info, err, "the configuration cannot be packed");
    else
        err = raft_log_append(home->log, &entry, 1, info);
    if (!err)
        err = raft_log_write(home->log, info);
    base_buffer_release(&content);
    return err;
}

static enum lilio_err make_alone(struct coord_home *home, const struct proto_cluster_node *node,
                                 struct base_log *log, struct lilio_errinfo *info)
{
    struct raft_log_view view = raft_log_view(home->log);
    uint64_t index = view.last(view.context) + 1;
    home->vote.term += TERMS_LOST_MAX; /* it was not below the log's last */
    home->vote.vote = 0;
    enum lilio_err err = vote_save(home, info);
    if (!err)
        err = append_config(home, node, index, info);
    home->vote.stale = 0;
    if (!err)
        err = vote_save(home, info);
    if (!err)
        base_log_write(log, BASE_LOG_WARN, "alone", "votes_alone",
                       "member=%llx term=%llu index=%llu", (unsigned long long)home->member,
                       (unsigned long long)home->vote.term, (unsigned long long)index);
    return err;
}

enum lilio_err coord_alone(const struct proto_cluster_file *file, uint32_t id, struct base_log *log,
                           struct lilio_errinfo *info)
{
    const struct proto_cluster_node *node = NULL;
    for (size_t i = 0; i < file->coordinator_count; i++)
        if (file->coordinators[i].id == id)
            node = &file->coordinators[i];
    if (!node || !node->dir)
        return lilio_fail(info, LILIO_E_CONFIG, "%s names no folder of coordinator %u", file->path,
                          id);
    enum lilio_err err = others_check(file, id, info);
    if (err)
        return err;
    const struct coord_home_options options = {
        .path = node->dir,
        .file = file,
        .id = id,
        .alone = true,
        .log = log,
    };
    struct coord_home home = {0};
    err = coord_home_open(&options, &home, info);
    if (err)
        return err;
    err = check_made(&home, info);
    if (!err)
        err = make_alone(&home, node, log, info);
    coord_home_release(&home);
    return err;
}
