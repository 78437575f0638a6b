/* Carrying out: what raft wants is done in its order, and a failure of the disk ends it all.
 *
 * A step is one turn of the loop: time, outcomes of the workers, messages, requests' rounds, then a
 * piece of what is committed. Each event of raft is followed by its actions at once, because what
 * an event borrowed lives until then.
 *
 * An entry is appended and sent, then written: here while the disk is quick, else by the writer's
 * thread while the next one gathers. It counts as durable when that is done. Should the process die
 * in between, the entry is in the log or not, and nobody was told anything about it.
 */
#include "coordinator/replica.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "base/planted.h"
#include "coordinator/replica_priv.h"

#include "base/banned.h"

enum {
    MESSAGES_PER_STEP = 256,
    LOG_WAITING_BYTES_MAX = 16 << 20, /* appended and not durable: no more is proposed */
    QUICK_WRITE_NS = 1000000,         /* a write of the log that takes less needs no thread */
    MARK_AFTER_MS = 20,               /* without a write, then the mark of the last one */
    APPLIED_TWICE = 64,
};

/* ---- life ---- */

/* Called by the owner, or in the writer's thread while the owner leaves these fields alone. */
static enum lilio_err write_log(void *context, struct lilio_errinfo *info)
{
    struct coord_replica *replica = context;
    bool entries = raft_log_waiting_bytes(replica->home->log) > 0;
    uint64_t began_ns = base_now_ns(replica->clock);
    enum lilio_err err = raft_log_write(replica->home->log, info);
    if (entries)
        replica->write_ns = base_now_ns(replica->clock) - began_ns;
    return err;
}

static enum lilio_err flush_maps(void *context, struct lilio_errinfo *info)
{
    return base_kv_flush(((struct coord_replica *)context)->home->kv, info);
}

static enum lilio_err make_raft(struct coord_replica *replica, struct lilio_errinfo *info)
{
    struct coord_home *home = replica->home;
    uint64_t config_index;
    const struct proto_raft_config *config = coord_state_config(home->state, &config_index);
    struct raft_options options = {
        .id = home->member,
        .log = replica->view,
        .saved = &home->vote,
        .commit = replica->commit,
        .config = config,
        .config_index = config_index,
        .election_ms = replica->options.election_ms,
        .heartbeat_ms = replica->options.heartbeat_ms,
        .seed = base_random_u64(replica->options.service.random),
        .now_ms = replica->now_ms,
    };
    enum lilio_err err = raft_new(&options, &replica->raft, info);
    if (err)
        return err;
    uint64_t index;
    bool committed;
    coord_peers_learn(replica->peers, raft_config(replica->raft, &index, &committed));
    return LILIO_OK;
}

static enum lilio_err make_service(struct coord_replica *replica, struct lilio_errinfo *info)
{
    struct coord_service_options options = replica->options.service;
    uint64_t index;
    bool committed;
    options.kv = replica->home->kv;
    options.state = replica->home->state;
    /* Alone, nobody else can have led before. */
    options.fresh =
        replica->home->fresh && raft_config(replica->raft, &index, &committed)->members_count == 1;
    return coord_service_new(&options, &replica->service, info);
}

static enum lilio_err make_snapshots(struct coord_replica *replica, struct lilio_errinfo *info)
{
    const struct coord_snapshots_options options = {
        .path = replica->home->path,
        .disk = replica->home->disk,
        .cluster_id = replica->home->cluster_id,
        .clock = replica->clock,
        .random = replica->options.service.random,
    };
    return coord_snapshots_new(&options, &replica->snapshots, info);
}

enum lilio_err coord_replica_new(const struct coord_replica_options *options,
                                 struct coord_replica **ret_replica, struct lilio_errinfo *info)
{
    struct coord_replica *replica = calloc(1, sizeof *replica);
    if (!replica)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    replica->options = *options;
    replica->home = options->home;
    replica->peers = options->peers;
    replica->log = options->service.log;
    replica->clock = options->service.clock;
    replica->now_ms = replica->started_ms = replica->flush_begun_ms = base_now_ms(replica->clock);
    replica->write_ns = UINT64_MAX;
    replica->view = raft_log_view(replica->home->log);
    replica->applied = replica->commit = replica->flushed =
        coord_state_row(replica->home->state)->applied_index;
    if (LILIO_PLANTED("apply_twice")) {
        uint64_t first = replica->view.first(replica->view.context);
        uint64_t back = replica->applied > APPLIED_TWICE ? replica->applied - APPLIED_TWICE : 0;
        replica->applied = back + 1 < first ? first - 1 : back;
    }
    enum lilio_err err = proto_arena_new(&replica->arena);
    if (err)
        (void)lilio_fail(info, err, "out of memory"); /* err goes on below */
    if (!err)
        err = make_raft(replica, info);
    if (!err)
        err = make_service(replica, info);
    if (!err)
        err = make_snapshots(replica, info);
    if (!err)
        err = coord_worker_new(write_log, replica, &replica->writer, info);
    if (!err)
        err = coord_worker_new(flush_maps, replica, &replica->flusher, info);
    if (err)
        coord_replica_free(&replica);
    else
        *ret_replica = replica;
    return err;
}

void coord_replica_free(struct coord_replica **replica)
{
    struct coord_replica *mine = *replica;
    *replica = NULL;
    if (!mine)
        return;
    coord_pull_free(&mine->pull);
    coord_snapshots_free(&mine->snapshots);
    coord_worker_free(&mine->writer);
    coord_worker_free(&mine->flusher);
    coord_service_free(&mine->service);
    raft_free(&mine->raft);
    for (size_t i = 0; i < COORD_ENTRY_COMMANDS_MAX; i++)
        coord_result_release(&mine->results[i]);
    base_buffer_release(&mine->packed);
    proto_arena_free(&mine->arena);
    free(mine);
}

struct coord_service *coord_replica_service(struct coord_replica *replica)
{
    return replica->service;
}

struct raft *coord_replica_raft(struct coord_replica *replica)
{
    return replica->raft;
}

uint64_t coord_replica_applied(const struct coord_replica *replica)
{
    return replica->applied;
}

bool coord_replica_leads(const struct coord_replica *replica)
{
    return replica->leads;
}

/* ---- the role ---- */

void replica_follow(struct coord_replica *replica)
{
    char address[256] = "";
    uint64_t leader = raft_leader(replica->raft);
    /* What may be an older copy sends nobody anywhere. */
    if (leader && leader != replica->home->member && raft_announced(replica->raft))
        replica_address(replica, leader, address);
    if (replica->leads)
        base_log_write(replica->log, BASE_LOG_WARN, "replica", "deposed", "term=%llu leader=%llx",
                       (unsigned long long)replica->led_term, (unsigned long long)leader);
    replica->leads = replica->holds = false;
    replica->round_count = replica->read_count = 0;
    coord_service_follow(replica->service, address[0] ? address : NULL);
}

static void role_changed(struct coord_replica *replica)
{
    struct raft *raft = replica->raft;
    base_log_write(replica->log, BASE_LOG_INFO, "replica", "role", "role=%s term=%llu leader=%llx",
                   raft_role(raft) == RAFT_LEADER      ? "leader"
                   : raft_role(raft) == RAFT_CANDIDATE ? "candidate"
                                                       : "follower",
                   (unsigned long long)raft_term(raft), (unsigned long long)raft_leader(raft));
    if (raft_role(raft) != RAFT_LEADER || !replica->leads || replica->led_term != raft_term(raft))
        replica_follow(replica);
}

/* The first leader of all makes the cluster. */
static enum lilio_err make_cluster(struct coord_replica *replica, struct lilio_errinfo *info)
{
    if (replica->first_command_term == raft_term(replica->raft))
        return LILIO_OK;
    struct base_buffer command = {0};
    uint64_t index;
    enum lilio_err err = coord_home_first_command(replica->options.file, replica->clock, &command);
    struct base_slice slice = base_buffer_slice(&command);
    if (!err)
        err = coord_entry_pack(&slice, 1, &replica->packed);
    base_buffer_release(&command);
    if (err)
        return lilio_fail(info, err, "the first command cannot be made: %s", lilio_err_text(err));
    if (raft_propose(replica->raft, base_buffer_slice(&replica->packed), &index))
        return LILIO_OK; /* tried again as long as it leads */
    replica->first_command_term = raft_term(replica->raft);
    return replica_carry_out(replica, info);
}

/* A leader serves once all that was acknowledged before it is in its maps. */
static enum lilio_err settle(struct coord_replica *replica, struct lilio_errinfo *info)
{
    struct raft *raft = replica->raft;
    if (replica->leads || !raft_ready(raft) || replica->applied < raft_commit(raft))
        return LILIO_OK;
    if (!coord_state_initialised(replica->home->state))
        return make_cluster(replica, info);
    enum lilio_err err = coord_service_lead(replica->service, info);
    if (err)
        return err;
    replica->leads = true;
    replica->led_term = raft_term(raft);
    base_log_write(replica->log, BASE_LOG_INFO, "replica", "leads", "term=%llu applied=%llu",
                   (unsigned long long)replica->led_term, (unsigned long long)replica->applied);
    return LILIO_OK;
}

/* ---- actions ---- */

static void learn(struct coord_replica *replica)
{
    uint64_t index;
    bool committed;
    const struct proto_raft_config *config = raft_config(replica->raft, &index, &committed);
    base_log_write(replica->log, BASE_LOG_INFO, "replica", "members", "index=%llu count=%zu",
                   (unsigned long long)index, config->members_count);
    coord_peers_learn(replica->peers, config);
}

static enum lilio_err save(struct coord_replica *replica, const struct raft_vote *vote,
                           struct lilio_errinfo *info)
{
    struct coord_home *home = replica->home;
    struct raft_vote saved = *vote;
    saved.saves = home->vote.saves;
    enum lilio_err err = raft_vote_save(home->disk, home->cluster_id, home->member, &saved, info);
    if (err)
        return lilio_prefix(info, err, "the vote cannot be written");
    home->vote = saved;
    return LILIO_OK;
}

static enum lilio_err carry_out(struct coord_replica *replica, const struct raft_action *action,
                                struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    switch (action->type) {
    case RAFT_DO_SAVE: return save(replica, action->save, info);
    case RAFT_DO_APPEND:
        err = raft_log_append(replica->home->log, action->entries, action->count, info);
        return err ? lilio_prefix(info, err, "the log cannot be written") : LILIO_OK;
    case RAFT_DO_SEND: coord_peers_send(replica->peers, &action->message); break;
    case RAFT_DO_COMMIT: replica->commit = action->index; break;
    case RAFT_DO_READ:
        replica_read_decided(replica, action->token, action->index, action->ok);
        break;
    case RAFT_DO_ROLE: role_changed(replica); break;
    case RAFT_DO_SNAPSHOT: return replica_snapshot_pull(replica, action->from, info);
    case RAFT_DO_LEARN: learn(replica); break;
    case RAFT_DO_STOP: return coord_home_older_copy(replica->home, info);
    }
    return err;
}

enum lilio_err replica_carry_out(struct coord_replica *replica, struct lilio_errinfo *info)
{
    struct raft_action action;
    while (raft_action_next(replica->raft, &action)) {
        enum lilio_err err = carry_out(replica, &action, info);
        if (err) {
            if (action.type != RAFT_DO_STOP)
                LILIO_MARK("replica/disk_failed");
            raft_fail(replica->raft);
            return err;
        }
    }
    return LILIO_OK;
}

/* ---- the log ---- */

static enum lilio_err written(struct coord_replica *replica, enum lilio_err err,
                              struct lilio_errinfo *info)
{
    replica->written_ms = replica->now_ms;
    if (err) {
        LILIO_MARK("replica/disk_failed");
        raft_fail(replica->raft);
        return lilio_prefix(info, err, "the log cannot be written");
    }
    uint64_t index, term;
    raft_log_durable(replica->home->log, &index, &term);
    raft_persisted(replica->raft, index, term);
    return replica_carry_out(replica, info);
}

static enum lilio_err take_written(struct coord_replica *replica, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    return coord_worker_take(replica->writer, &err, info) ? written(replica, err, info) : LILIO_OK;
}

/* As long as the disk is quick, entries are written right here: the way to a thread and back costs
 * more than the write. One slow write, and the thread does it until one is quick again. */
static enum lilio_err write_waiting(struct coord_replica *replica, struct lilio_errinfo *info)
{
    struct raft_log *log = replica->home->log;
    if (coord_worker_busy(replica->writer))
        return LILIO_OK;
    if (raft_log_waiting_bytes(log) > 0 && replica->write_ns < QUICK_WRITE_NS) {
        LILIO_MARK("replica/written_inline");
        return written(replica, write_log(replica, info), info);
    }
    bool quiet = replica->now_ms - replica->written_ms >= MARK_AFTER_MS;
    if (raft_log_due(log) || (quiet && raft_log_waiting(log)))
        coord_worker_start(replica->writer);
    return LILIO_OK;
}

/* ---- events ---- */

static enum lilio_err take_messages(struct coord_replica *replica, struct lilio_errinfo *info)
{
    struct raft_message message;
    struct proto_request *request;
    for (int i = 0; i < MESSAGES_PER_STEP; i++) {
        enum coord_peers_got got = coord_peers_receive(replica->peers, &message, &request);
        if (got == COORD_PEERS_NOTHING)
            break;
        if (got == COORD_PEERS_REQUEST) {
            replica_snapshot_request(replica, request);
            continue;
        }
        if (!raft_receive(replica->raft, &message))
            coord_peers_refuse(replica->peers, "not for consensus as it stands");
        enum lilio_err err = replica_carry_out(replica, info);
        if (err)
            return err;
    }
    return LILIO_OK;
}

/* False: raft does not take it yet, or the service was told to follow. */
static bool propose(struct coord_replica *replica, const struct coord_round *round)
{
    uint64_t index;
    enum lilio_err err = coord_entry_pack(round->commands, round->count, &replica->packed);
    if (!err)
        err = raft_propose(replica->raft, base_buffer_slice(&replica->packed), &index);
    if (err == LILIO_E_BUSY || err == LILIO_E_NOMEM) { /* handing over: it may fail, or succeed */
        LILIO_MARK("replica/round_held");
        replica->holds = true;
        replica->held = *round;
        return false;
    }
    if (err) {
        replica_follow(replica);
        return false;
    }
    replica->holds = false;
    replica->rounds[replica->round_count++] =
        (struct replica_round){.id = round->id, .index = index, .term = raft_term(replica->raft)};
    return true;
}

static enum lilio_err take_rounds(struct coord_replica *replica, struct lilio_errinfo *info)
{
    struct coord_round round;
    enum lilio_err err = LILIO_OK;
    if (replica->holds && propose(replica, &replica->held))
        err = replica_carry_out(replica, info);
    while (!err && !replica->holds &&
           raft_log_waiting_bytes(replica->home->log) < LOG_WAITING_BYTES_MAX &&
           coord_service_round(replica->service, &round)) {
        if (round.count == 0 && raft_read(replica->raft, round.id))
            replica_follow(replica); /* nobody leads: they are told */
        else if (round.count > 0)
            (void)propose(replica, &round); /* held, or told to follow */
        err = replica_carry_out(replica, info);
    }
    return err;
}

enum lilio_err coord_replica_step(struct coord_replica *replica, struct lilio_errinfo *info)
{
    replica->now_ms = base_now_ms(replica->clock);
    raft_tick(replica->raft, replica->now_ms);
    enum lilio_err err = replica_carry_out(replica, info);
    if (!err)
        err = take_written(replica, info);
    if (!err)
        err = take_messages(replica, info);
    if (!err)
        err = write_waiting(replica, info); /* who waits for it should not wait for apply, too */
    if (!err)
        err = replica_snapshot_step(replica, info);
    if (!err)
        err = replica_apply(replica, info);
    if (!err)
        err = settle(replica, info);
    if (!err)
        err = replica_members_step(replica, info);
    if (!err)
        err = replica_give_way(replica, info);
    coord_service_tick(replica->service);
    if (!err)
        err = take_rounds(replica, info);
    if (!err)
        err = write_waiting(replica, info);
    replica_reads_answer(replica);
    if (!err)
        err = replica_damage(replica, info);
    if (!err)
        err = replica_flush(replica, info);
    coord_peers_tick(replica->peers);
    return err;
}

/* ---- waiting ---- */

size_t coord_replica_items(struct coord_replica *replica, struct proto_wait_item *items)
{
    size_t count = 0;
    items[count++] = (struct proto_wait_item){.fd = coord_worker_fd(replica->writer)};
    items[count++] = (struct proto_wait_item){.fd = coord_worker_fd(replica->flusher)};
    items[count++] = (struct proto_wait_item){.fd = coord_snapshots_fd(replica->snapshots)};
    if (replica->pull)
        items[count++] = (struct proto_wait_item){.fd = coord_pull_fd(replica->pull)};
    if (coord_peers_server(replica->peers))
        items[count++] =
            (struct proto_wait_item){.server = coord_peers_server(replica->peers), .fd = -1};
    return count;
}

int coord_replica_wait_ms(const struct coord_replica *replica)
{
    int service = coord_service_wait_ms(replica->service);
    int raft = (int)raft_wait_ms(replica->raft);
    if (replica->applied < replica->commit)
        return 0;
    return service < raft ? service : raft;
}
