/* Applying: committed entries go from the log into the maps, in order, a bounded piece at a time so
 * that messages are not kept waiting. What is waited for is answered by the index it was at.
 *
 * A crash leaves maps as of some earlier entry, never half of one; at the start apply goes on from
 * there. An entry that does not unpack ends the process: going on without it would make these maps
 * differ from the others.
 */
#include <stdio.h>

#include "base/mark.h"
#include "coordinator/replica_priv.h"

#include "base/banned.h"

enum {
    APPLY_ENTRIES_MAX = 64,
    APPLY_BYTES_MAX = 1 << 20,
    COMMIT_BYTES = 256 << 10, /* of commands whose rows are written in one batch */
    FLUSH_BYTES = 64 << 20,
    FLUSH_MS = 30000,
    RESULT_KEPT_BYTES = 64 << 10,
    KEEP_BYTES = 256 << 20, /* of log for members that lag */
    KEEP_SILENT_MS = 10000, /* and that were heard so lately */
    VOTERS_TO_SPARE_ONE = 3,
};

/* ---- rounds and reads ---- */

static void answer_round(struct coord_replica *replica, const struct raft_entry *entry,
                         size_t count)
{
    struct replica_round *round = &replica->rounds[0];
    if (replica->round_count == 0 || round->index != entry->index)
        return;
    LILIO_ASSERT(round->term == entry->term); /* else this leader was deposed in between */
    uint64_t id = round->id;
    replica->round_count--;
    for (size_t i = 0; i < replica->round_count; i++)
        replica->rounds[i] = replica->rounds[i + 1];
    coord_service_applied(replica->service, id, replica->results);
    coord_service_confirmed(replica->service, id);
    for (size_t i = 0; i < count; i++)
        if (replica->results[i].reply.capacity > RESULT_KEPT_BYTES)
            coord_result_release(&replica->results[i]);
}

void replica_read_decided(struct coord_replica *replica, uint64_t token, uint64_t index, bool ok)
{
    if (!ok) {
        LILIO_MARK("replica/read_refused");
        replica_follow(replica);
        return;
    }
    if (replica->read_count < REPLICA_READS_MAX) {
        replica->reads[replica->read_count++] =
            (struct replica_read){.token = token, .index = index};
        return;
    }
    struct replica_read *last = &replica->reads[REPLICA_READS_MAX - 1];
    last->token = token;
    last->index = last->index > index ? last->index : index;
}

void replica_reads_answer(struct coord_replica *replica)
{
    size_t done = 0;
    while (done < replica->read_count && replica->reads[done].index <= replica->applied)
        coord_service_confirmed(replica->service, replica->reads[done++].token);
    replica->read_count -= done;
    for (size_t i = 0; i < replica->read_count; i++)
        replica->reads[i] = replica->reads[done + i];
}

/* ---- entries ---- */

static enum lilio_err apply_commands(struct coord_replica *replica, const struct raft_entry *entry,
                                     struct lilio_errinfo *info)
{
    struct coord_state *state = replica->home->state;
    struct coord_entry *content = &replica->entry;
    enum lilio_err err = coord_entry_unpack(entry->data, content, info);
    if (err)
        return lilio_prefix(info, LILIO_E_CORRUPT, "entry %llu of the log",
                            (unsigned long long)entry->index);
    err = coord_state_apply(state, entry->index, entry->term, content->commands, content->count,
                            replica->results, info);
    if (!err)
        answer_round(replica, entry, content->count);
    return err;
}

static enum lilio_err apply_entry(struct coord_replica *replica, const struct raft_entry *entry,
                                  struct lilio_errinfo *info)
{
    if (entry->type == RAFT_ENTRY_COMMANDS)
        return apply_commands(replica, entry, info);
    struct proto_raft_config config;
    bool is_config = entry->type == RAFT_ENTRY_CONFIG;
    enum lilio_err err = LILIO_OK;
    proto_arena_clear(replica->arena);
    if (is_config)
        err = proto_raft_config_unpack(entry->data, replica->arena, &config, info);
    if (err)
        return lilio_prefix(info, LILIO_E_CORRUPT, "entry %llu of the log",
                            (unsigned long long)entry->index);
    err = coord_state_advance(replica->home->state, entry->index, entry->term,
                              is_config ? &config : NULL, info);
    if (!err && is_config)
        replica_members_applied(replica, entry->index, entry->term);
    return err;
}

static enum lilio_err apply_piece(struct coord_replica *replica, struct lilio_errinfo *info)
{
    size_t count = 0;
    uint64_t left = replica->commit - replica->applied;
    enum lilio_err err =
        replica->view.read(replica->view.context, replica->applied + 1,
                           left < APPLY_ENTRIES_MAX ? (size_t)left : APPLY_ENTRIES_MAX,
                           APPLY_BYTES_MAX, replica->entries, &count);
    if (err)
        return lilio_fail(info, err, "entry %llu cannot be read back from the log: %s",
                          (unsigned long long)replica->applied + 1, lilio_err_text(err));
    for (size_t i = 0; !err && i < count; i++) {
        const struct raft_entry *entry = &replica->entries[i];
        err = apply_entry(replica, entry, info);
        if (err)
            break;
        replica->applied = entry->index;
        replica->unflushed_bytes += entry->data.size;
    }
    return err;
}

/* Many entries in one batch cost the store less; a read that comes earlier commits by itself. */
static enum lilio_err commit_piece(struct coord_replica *replica, struct lilio_errinfo *info)
{
    struct coord_state *state = replica->home->state;
    return coord_state_pending(state) < COMMIT_BYTES
               ? LILIO_OK
               : coord_state_commit(state, false /* the log is the truth */, info);
}

enum lilio_err replica_apply(struct coord_replica *replica, struct lilio_errinfo *info)
{
    if (replica->applied == replica->commit)
        return LILIO_OK;
    enum lilio_err err = apply_piece(replica, info);
    if (!err)
        err = commit_piece(replica, info);
    if (err) {
        LILIO_MARK("replica/apply_failed");
        raft_fail(replica->raft);
        return lilio_prefix(info, err, "the maps cannot go on");
    }
    raft_applied(replica->raft, replica->applied);
    return LILIO_OK;
}

/* ---- damage ---- */

/* Files of the maps that cannot be read: where others can go on, this one makes room for them.
 * Alone it goes on with what can be read: ending would take that away, too. */
enum lilio_err replica_damage(struct coord_replica *replica, struct lilio_errinfo *info)
{
    struct lilio_errinfo why;
    enum lilio_err err = base_kv_damage(replica->home->kv, &why);
    if (!err)
        return LILIO_OK;
    if (coord_state_voters(replica->home->state) >= VOTERS_TO_SPARE_ONE) {
        raft_fail(replica->raft);
        *info = why;
        return lilio_prefix(info, err,
                            "the maps are damaged: this coordinator ends, so that another one "
                            "serves; \"lilio-ec coordinator replace %u\" mends it",
                            (uint32_t)replica->home->member);
    }
    if (replica->trouble[0])
        return LILIO_OK;
    char text[sizeof why.text];
    struct lilio_errinfo told = {0};
    (void)lilio_fail(&told, err, "its maps are damaged: %s", why.text);
    (void)lilio_text_fit(told.text, strlen(told.text), replica->trouble, sizeof replica->trouble);
    base_log_write(replica->log, BASE_LOG_ERROR, "replica", "maps_damaged",
                   "err=%s goes_on=1 text=%s", lilio_err_name(err),
                   base_log_quote(why.text, strlen(why.text), text, sizeof text));
    return LILIO_OK;
}

/* ---- flush and cut ---- */

/* What every member that answers has, as long as that is little. */
static uint64_t needed_by_others(const struct coord_replica *replica)
{
    uint64_t least = UINT64_MAX, index;
    bool committed;
    if (raft_log_bytes(replica->home->log) > KEEP_BYTES) {
        LILIO_MARK("replica/cut_before_laggard");
        return least;
    }
    const struct proto_raft_config *config = raft_config(replica->raft, &index, &committed);
    for (size_t i = 0; i < config->members_count; i++) {
        struct raft_progress progress;
        if (config->members[i].id != replica->home->member &&
            raft_progress_get(replica->raft, config->members[i].id, &progress) &&
            progress.silent_ms < KEEP_SILENT_MS && progress.match < least)
            least = progress.match;
    }
    return least;
}

static void cut(struct coord_replica *replica)
{
    uint64_t index = needed_by_others(replica);
    uint64_t pinned = coord_snapshots_pinned(replica->snapshots);
    index = pinned < index ? pinned : index;
    raft_log_cut(replica->home->log, index < replica->flushed ? index : replica->flushed);
}

static enum lilio_err maps_failed(struct coord_replica *replica, enum lilio_err err,
                                  struct lilio_errinfo *info)
{
    raft_fail(replica->raft);
    return lilio_prefix(info, err, "the maps cannot be written");
}

enum lilio_err replica_flush(struct coord_replica *replica, struct lilio_errinfo *info)
{
    enum lilio_err err = coord_state_failed(replica->home->state, info); /* when it was read */
    if (err)
        return maps_failed(replica, err, info);
    if (coord_worker_take(replica->flusher, &err, info)) {
        if (err) {
            raft_fail(replica->raft);
            return lilio_prefix(info, err, "the maps cannot be flushed");
        }
        replica->flushed = replica->flush_target;
        cut(replica);
    }
    uint64_t bytes = replica->options.flush_bytes ? replica->options.flush_bytes : FLUSH_BYTES;
    uint64_t ms = replica->options.flush_ms ? replica->options.flush_ms : FLUSH_MS;
    if (coord_worker_busy(replica->flusher) || replica->pulled ||
        replica->applied == replica->flushed ||
        (replica->unflushed_bytes < bytes && replica->now_ms - replica->flush_begun_ms < ms))
        return LILIO_OK;
    err = coord_state_commit(replica->home->state, false, info);
    if (err)
        return maps_failed(replica, err, info);
    replica->flush_target = replica->applied;
    replica->flush_begun_ms = replica->now_ms;
    replica->unflushed_bytes = 0;
    coord_worker_start(replica->flusher);
    return LILIO_OK;
}
