/* States on their way: serving one to a member whose entries are cut off here, pulling one when
 * ours are cut off there, and putting it in the place of the maps.
 *
 * The installation happens in one step of the loop, when neither the log nor the maps are being
 * written and only if raft still wants the state: the log may have caught up meanwhile. From its
 * intent on there is no way back, a crash goes on from it at the next start; a failure ends the
 * process like any other of the disk.
 */
#include "base/mark.h"
#include "coordinator/install.h"
#include "coordinator/replica_priv.h"

#include "base/banned.h"

enum {
    DAMAGED_PAUSE_MS = 30000, /* before the state of the same one is pulled once more */
    PROGRESS_MS = 10000,      /* between two log lines */
};

/* ---- serving ---- */

static bool may_pull(const struct coord_replica *replica, const struct proto_request *request)
{
    struct proto_snapshot_open open;
    uint64_t index;
    bool committed;
    if (request->type != &proto_type_snapshot_open)
        return true; /* names a checkpoint by an id that only members were told */
    if (proto_snapshot_open_unpack(request->body, NULL, &open, NULL))
        return true; /* answered where it is looked at */
    const struct proto_raft_config *config = raft_config(replica->raft, &index, &committed);
    for (size_t i = 0; i < config->members_count; i++)
        if (config->members[i].id == open.member)
            return true;
    return false;
}

void replica_snapshot_request(struct coord_replica *replica, struct proto_request *request)
{
    struct proto_server *server = coord_peers_server(replica->peers);
    if (!may_pull(replica, request)) {
        coord_peers_refuse(replica->peers, "the state asked for by no member");
        proto_server_reply_error(server, &request, LILIO_E_DENIED, "not a member of the quorum", 0);
        return;
    }
    struct lilio_errinfo info = {0};
    enum lilio_err err = LILIO_OK;
    if (request->type == &proto_type_snapshot_open) /* what is copied holds all that was applied */
        err = coord_state_commit(replica->home->state, false, &info);
    if (err)
        proto_server_reply_error(server, &request, err, info.text, 0);
    else if (!coord_snapshots_request(replica->snapshots, server, &request, replica->home->kv,
                                      replica->applied)) {
        coord_peers_refuse(replica->peers, "a request that is not for other coordinators");
        proto_server_reply_error(server, &request, LILIO_E_UNSUPPORTED,
                                 "only coordinators talk here", 0);
    }
}

/* ---- pulling ---- */

enum lilio_err replica_snapshot_pull(struct coord_replica *replica, uint64_t from,
                                     struct lilio_errinfo *info)
{
    const struct coord_pull_options options = {
        .path = replica->home->path,
        .disk = replica->home->disk,
        .context = replica->options.context,
        .endpoint = coord_peers_endpoint(replica->peers, from),
        .cluster_id = replica->home->cluster_id,
        .member = replica->home->member,
    };
    bool pause = from == replica->damaged_from && replica->now_ms < replica->damaged_until_ms;
    if (replica->pull || replica->pulled || !options.endpoint || pause) {
        raft_not_installed(replica->raft); /* offered again */
        return LILIO_OK;
    }
    base_log_write(replica->log, BASE_LOG_INFO, "replica", "pull", "from=%llx",
                   (unsigned long long)from);
    replica->pull_from = from;
    replica->progress_ms = replica->now_ms;
    return coord_pull_new(&options, &replica->pull, info);
}

static void log_progress(struct coord_replica *replica)
{
    uint64_t bytes, total, checked;
    if (replica->now_ms - replica->progress_ms < PROGRESS_MS)
        return;
    replica->progress_ms = replica->now_ms;
    coord_pull_progress(replica->pull, &bytes, &total, &checked);
    base_log_write(replica->log, BASE_LOG_INFO, "replica", "pull_progress",
                   "pulled_bytes=%llu of_bytes=%llu checked_bytes=%llu", (unsigned long long)bytes,
                   (unsigned long long)total, (unsigned long long)checked);
}

static void pull_over(struct coord_replica *replica, enum lilio_err err,
                      const struct lilio_errinfo *info)
{
    char text[256];
    coord_pull_free(&replica->pull);
    replica->pulled = err == LILIO_OK;
    if (!err) {
        base_log_write(replica->log, BASE_LOG_INFO, "replica", "pulled", "index=%llu term=%llu",
                       (unsigned long long)replica->position.index,
                       (unsigned long long)replica->position.term);
        return;
    }
    LILIO_MARK("replica/pull_failed");
    if (err == LILIO_E_CORRUPT) {
        replica->damaged_from = replica->pull_from;
        replica->damaged_until_ms = replica->now_ms + DAMAGED_PAUSE_MS;
    }
    base_log_write(replica->log, err == LILIO_E_CORRUPT ? BASE_LOG_ERROR : BASE_LOG_WARN, "replica",
                   "pull_failed", "err=%s text=%s", lilio_err_name(err),
                   base_log_quote(info->text, strlen(info->text), text, sizeof text));
    raft_not_installed(replica->raft);
}

/* ---- installing ---- */

static enum lilio_err install(struct coord_replica *replica, struct lilio_errinfo *info)
{
    struct coord_home *home = replica->home;
    const struct coord_position *position = &replica->position;
    replica_follow(replica);
    coord_snapshots_stop(replica->snapshots);
    coord_home_maps_close(home);
    enum lilio_err err = coord_install(home->disk, home->log, position, info);
    if (!err)
        err = coord_home_maps_open(home, info);
    if (err)
        return err;
    coord_service_use(replica->service, home->kv, home->state);
    replica->applied = replica->commit = replica->flushed = position->index;
    replica->unflushed_bytes = 0;
    uint64_t config_index;
    const struct proto_raft_config *config = coord_state_config(home->state, &config_index);
    err =
        raft_installed(replica->raft, position->index, position->term, config, config_index, info);
    if (!err)
        base_log_write(replica->log, BASE_LOG_INFO, "replica", "installed", "index=%llu",
                       (unsigned long long)position->index);
    return err ? err : replica_carry_out(replica, info);
}

enum lilio_err replica_snapshot_step(struct coord_replica *replica, struct lilio_errinfo *info)
{
    struct lilio_errinfo why = {0};
    enum lilio_err err;
    coord_snapshots_step(replica->snapshots);
    if (replica->pull && coord_pull_take(replica->pull, &err, &replica->position, &why))
        pull_over(replica, err, &why);
    if (replica->pull)
        log_progress(replica);
    if (!replica->pulled || coord_worker_busy(replica->writer) ||
        coord_worker_busy(replica->flusher) || raft_log_waiting(replica->home->log))
        return LILIO_OK;
    replica->pulled = false;
    if (!raft_install_wanted(replica->raft, replica->position.index, replica->position.term)) {
        LILIO_MARK("replica/pulled_in_vain");
        raft_not_installed(replica->raft);
        return LILIO_OK;
    }
    err = install(replica, info);
    if (err)
        raft_fail(replica->raft);
    return err;
}
