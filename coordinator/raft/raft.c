/* The life of the core: how it starts, where events enter, how actions are found. */
#include "coordinator/raft/raft.h"

#include <stdlib.h>

#include "base/mark.h"
#include "base/planted.h"
#include "coordinator/raft/raft_priv.h"

#include "base/banned.h"

enum { ELECTION_MS = 300, HEARTBEAT_MS = 50 };

/* No member ever counts that far: terms and indexes beyond are forged or damaged. */
static const uint64_t NUMBER_MAX = (uint64_t)1 << 62;
/* Nor is one ever so many elections behind. Taken over, a forged term near the end of the numbers
 * would be the last one: it is saved, and nobody could be elected in the next. Who is no member
 * here is believed less, for it may be nobody. */
static const uint64_t TERM_STEP_MAX = (uint64_t)1 << 32, STRANGE_STEP_MAX = (uint64_t)1 << 16;

/* ---- life ---- */

static enum lilio_err check_log(struct raft *raft, struct lilio_errinfo *info)
{
    uint64_t first = raft->log.first(raft->log.context);
    raft->last = raft->persisted = raft->log.last(raft->log.context);
    if (raft->last < raft->commit)
        return lilio_fail(info, LILIO_E_CORRUPT,
                          "the log ends at %llu, but entry %llu was committed",
                          (unsigned long long)raft->last, (unsigned long long)raft->commit);
    if (first > raft->commit + 1)
        return lilio_fail(info, LILIO_E_CORRUPT,
                          "the log begins at %llu, but only entry %llu was applied",
                          (unsigned long long)first, (unsigned long long)raft->commit);
    enum lilio_err err = LILIO_OK;
    if (raft->last)
        err = raft->log.term(raft->log.context, raft->last, &raft->last_term);
    if (!err)
        err = raft_config_scan(raft);
    if (err)
        return lilio_fail(info, err, "the log cannot be read");
    if (raft->last_term > raft->term)
        return lilio_fail(info, LILIO_E_CORRUPT, "the log is of term %llu, the vote of term %llu",
                          (unsigned long long)raft->last_term, (unsigned long long)raft->term);
    return LILIO_OK;
}

enum lilio_err raft_new(const struct raft_options *options, struct raft **ret_raft,
                        struct lilio_errinfo *info)
{
    const struct raft_vote never = {0}, *saved = options->saved ? options->saved : &never;
    struct raft *raft = calloc(1, sizeof *raft);
    if (!raft)
        return lilio_fail(info, LILIO_E_NOMEM, "consensus");
    raft->id = options->id;
    raft->log = options->log;
    raft->election_ms = options->election_ms ? options->election_ms : ELECTION_MS;
    raft->heartbeat_ms = options->heartbeat_ms ? options->heartbeat_ms : HEARTBEAT_MS;
    raft->random = options->seed;
    raft->now_ms = options->now_ms;
    raft->term = raft->told_term = saved->term;
    raft->vote = saved->vote;
    raft->commit = raft->verified = raft->told_commit = options->commit;
    raft->role = raft->told_role = RAFT_FOLLOWER;
    raft->reads = calloc(RAFT_PENDING_MAX, sizeof *raft->reads);
    enum lilio_err err = raft->reads ? LILIO_OK : LILIO_E_NOMEM;
    if (!err)
        err = proto_arena_new(&raft->arena);
    if (err) {
        lilio_fail(info, err, "consensus");
        goto out;
    }
    const struct proto_raft_config none = {0};
    const struct proto_raft_config *config = options->config ? options->config : &none;
    if (!raft->id ||
        (config->members_count &&
         !raft_members_set(&raft->newest, config, options->config_index)) ||
        options->config_index > options->commit || saved->term >= NUMBER_MAX) {
        err = lilio_fail(info, LILIO_E_INVALID, "not a configuration of consensus");
        goto out;
    }
    raft_members_set(&raft->previous, &raft->newest.config, raft->newest.index);
    err = check_log(raft, info);
    if (err)
        goto out;
    raft_peers_rebuild(raft);
    raft->learn_due = false;
    raft_timer_reset(raft);
    raft_start_begin(raft, saved);
    /* A reply from before a restart must not answer a batch of now: batches begin anywhere. */
    raft->batch = raft->batch_done = raft_draw(raft) >> 2;
    *ret_raft = raft;
    return LILIO_OK;
out:
    raft_free(&raft);
    return err;
}

void raft_free(struct raft **raft)
{
    if (!*raft)
        return;
    proto_arena_free(&(*raft)->arena);
    base_buffer_release(&(*raft)->packed);
    free((*raft)->reads);
    free(*raft);
    *raft = NULL;
}

/* ---- what the parts share ---- */

void raft_push(struct raft *raft, struct raft_message message)
{
    if (raft->out_count == RAFT_OUT_MAX)
        return;
    message.from = raft->id;
    message.uncounted = message.type == RAFT_APPEND_REPLY && !raft->announced &&
                        !LILIO_PLANTED("ack_before_announced");
    if (!message.term)
        message.term = raft->term;
    raft->out[(raft->out_first + raft->out_count++) % RAFT_OUT_MAX] = message;
}

enum lilio_err raft_log_term(struct raft *raft, uint64_t index, uint64_t *ret_term)
{
    if (index == 0 || index == raft->last) {
        *ret_term = index ? raft->last_term : 0;
        return LILIO_OK;
    }
    enum lilio_err err = raft->log.term(raft->log.context, index, ret_term);
    if (err && err != LILIO_E_NOT_FOUND)
        raft_fail(raft);
    return err;
}

static void stage(struct raft *raft, const struct raft_entry *entries, size_t count)
{
    LILIO_ASSERT(!raft->staged_count);
    raft->staged = entries;
    raft->staged_count = count;
    raft->last = entries[count - 1].index;
    raft->last_term = entries[count - 1].term;
}

void raft_stage_own(struct raft *raft, enum raft_entry_type type, struct base_slice data)
{
    raft->own = (struct raft_entry){
        .index = raft->last + 1, .term = raft->term, .type = (uint8_t)type, .data = data};
    stage(raft, &raft->own, 1);
}

void raft_stage_received(struct raft *raft, const struct raft_entry *entries, size_t count)
{
    if (entries[0].index <= raft->last) {
        LILIO_MARK("raft/truncated");
        raft_config_truncated(raft, entries[0].index);
        if (raft->persisted >= entries[0].index)
            raft->persisted = entries[0].index - 1;
    }
    stage(raft, entries, count);
    for (size_t i = 0; i < count; i++)
        if (entries[i].type == RAFT_ENTRY_CONFIG)
            raft_config_appended(raft, &entries[i]);
}

struct raft_peer *raft_peer_find(struct raft *raft, uint64_t id)
{
    for (size_t i = 0; i < raft->peer_count; i++)
        if (raft->peers[i].id == id)
            return &raft->peers[i];
    return NULL;
}

bool raft_is_voter(const struct raft *raft)
{
    for (size_t i = 0; i < raft->peer_count; i++)
        if (raft->peers[i].id == raft->id)
            return raft->peers[i].voter;
    return false;
}

uint64_t raft_majority(const struct raft *raft,
                       uint64_t (*value)(const struct raft *, const struct raft_peer *))
{
    uint64_t sorted[RAFT_MEMBERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < raft->peer_count; i++) {
        if (!raft->peers[i].voter)
            continue;
        uint64_t v = value(raft, &raft->peers[i]);
        size_t at = count++;
        for (; at > 0 && sorted[at - 1] < v; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = v;
    }
    return count ? sorted[count / 2] : 0;
}

void raft_commit_to(struct raft *raft, uint64_t index)
{
    bool was_ready = raft_ready(raft);
    raft->commit = index;
    if (raft->verified < index)
        raft->verified = index;
    if (raft->role != RAFT_LEADER)
        return;
    if (!was_ready)
        raft_reads_ready(raft);
    raft_removed_check(raft);
}

/* ---- events ---- */

void raft_tick(struct raft *raft, uint64_t now_ms)
{
    uint64_t gap = now_ms > raft->now_ms ? now_ms - raft->now_ms : 0;
    raft->now_ms += gap;
    if (raft->failed)
        return;
    /* Whoever was not called for so long has answers waiting that it could not hear. */
    if (gap >= raft->election_ms / 2) {
        LILIO_MARK("raft/stalled");
        for (size_t i = 0; i < raft->peer_count; i++)
            raft->peers[i].heard_ms += gap;
    }
    raft_start_tick(raft);
    if (raft->role == RAFT_LEADER)
        raft_leader_tick(raft);
    else
        raft_election_tick(raft);
}

uint32_t raft_wait_ms(const struct raft *raft)
{
    if (raft->failed)
        return raft->heartbeat_ms;
    uint64_t at = raft->now_ms + raft->heartbeat_ms;
    if ((raft->role != RAFT_FOLLOWER || raft->read_count) && raft->heartbeat_at_ms < at)
        at = raft->heartbeat_at_ms;
    if (raft->role != RAFT_LEADER && raft->announced && raft->election_at_ms < at)
        at = raft->election_at_ms;
    return at > raft->now_ms ? (uint32_t)(at - raft->now_ms) : 0;
}

static bool entries_well_formed(struct raft *raft, const struct raft_message *message)
{
    uint64_t term = message->log_term;
    if (message->count > RAFT_SEND_ENTRIES_MAX || message->index >= NUMBER_MAX ||
        term > message->term)
        return false;
    for (size_t i = 0; i < message->count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        if (entry->index != message->index + 1 + i || entry->term < term ||
            entry->term > message->term)
            return false;
        if (entry->type != RAFT_ENTRY_NOOP && entry->type != RAFT_ENTRY_COMMANDS &&
            !(entry->type == RAFT_ENTRY_CONFIG && raft_config_entry_valid(raft, entry)))
            return false;
        term = entry->term;
    }
    return true;
}

static bool term_believable(const struct raft *raft, const struct raft_message *message)
{
    if (message->type == RAFT_HELLO || message->type == RAFT_HELLO_REPLY)
        return true; /* theirs says nothing */
    uint64_t step = raft_is_known(raft, message->from) ? TERM_STEP_MAX : STRANGE_STEP_MAX;
    return message->term && message->term < NUMBER_MAX && message->term <= raft->term + step;
}

/* Forged terms may have taken members further apart than any of them believes. Then they come
 * nearer step by step, or they would never again elect anybody. */
static void term_approach(struct raft *raft, const struct raft_message *message)
{
    if (raft_hears_leader(raft) || !raft_is_known(raft, message->from) ||
        message->term >= NUMBER_MAX || message->term <= raft->term)
        return;
    LILIO_MARK("raft/term_approached");
    raft_follow(raft, raft->term + TERM_STEP_MAX, 0 /* leader */);
}

bool raft_receive(struct raft *raft, const struct raft_message *message)
{
    if (raft->failed || message->to != raft->id || message->from == raft->id || !message->from ||
        !entries_well_formed(raft, message) || (message->count && message->type != RAFT_APPEND))
        return false;
    if (!term_believable(raft, message)) {
        term_approach(raft, message);
        return false;
    }
    bool listens = raft_listens_to(raft, message->from);
    if ((listens || raft->announced) && message->type != RAFT_HELLO_REPLY)
        raft_start_meet(raft, message->from);
    if (!listens && message->type != RAFT_HELLO && message->type != RAFT_HELLO_REPLY)
        return false;
    switch ((enum raft_message_type)message->type) {
    case RAFT_PRE_VOTE: return raft_on_pre_vote(raft, message);
    case RAFT_PRE_VOTE_REPLY: return raft_on_pre_vote_reply(raft, message);
    case RAFT_VOTE: return raft_on_vote(raft, message);
    case RAFT_VOTE_REPLY: return raft_on_vote_reply(raft, message);
    case RAFT_APPEND:
    case RAFT_SNAPSHOT: return raft_on_append(raft, message);
    case RAFT_APPEND_REPLY: return raft_on_append_reply(raft, message);
    case RAFT_READ: return raft_on_read(raft, message);
    case RAFT_READ_REPLY: return raft_on_read_reply(raft, message);
    case RAFT_TIMEOUT_NOW: return raft_on_timeout_now(raft, message);
    case RAFT_HELLO: return raft_on_hello(raft, message);
    case RAFT_HELLO_REPLY: return raft_on_hello_reply(raft, message);
    }
    return false;
}

void raft_persisted(struct raft *raft, uint64_t index, uint64_t term)
{
    uint64_t there;
    if (raft->failed || index <= raft->persisted || index > raft->last ||
        (raft->staged_count && index >= raft->staged[0].index))
        return;
    if (raft_log_term(raft, index, &there))
        return;
    if (there != term)
        return;
    raft->persisted = index;
    if (raft->role == RAFT_LEADER)
        raft_commit_check(raft);
    else if (raft->leader && raft_ackable(raft) > raft->acked)
        raft_ack(raft);
}

void raft_applied(struct raft *raft, uint64_t index)
{
    LILIO_ASSERT(index <= raft->told_commit);
}

void raft_fail(struct raft *raft)
{
    if (raft->failed)
        return;
    LILIO_MARK("raft/failed");
    raft_follow(raft, raft->term, 0 /* leader */);
    raft->failed = true;
    raft->out_count = 0;
    raft->staged_count = 0;
}

enum lilio_err raft_propose(struct raft *raft, struct base_slice data, uint64_t *ret_index)
{
    if (raft->role != RAFT_LEADER)
        return LILIO_E_NOT_LEADER;
    if (raft->transfer_to)
        return LILIO_E_BUSY;
    raft_stage_own(raft, RAFT_ENTRY_COMMANDS, data);
    *ret_index = raft->last;
    return LILIO_OK;
}

bool raft_install_wanted(struct raft *raft, uint64_t index, uint64_t term)
{
    uint64_t there;
    if (raft->failed || raft->role == RAFT_LEADER || index <= raft->commit || index >= NUMBER_MAX ||
        term > raft->term)
        return false;
    if (index <= raft->last && !raft_log_term(raft, index, &there) && there == term) {
        LILIO_MARK("raft/install_overtaken");
        return false;
    }
    return !raft->failed;
}

enum lilio_err raft_installed(struct raft *raft, uint64_t index, uint64_t term,
                              const struct proto_raft_config *config, uint64_t config_index,
                              struct lilio_errinfo *info)
{
    if (raft->failed || raft->role == RAFT_LEADER || index <= raft->commit || config_index > index)
        return lilio_fail(info, LILIO_E_INVALID, "the state at %llu is not wanted",
                          (unsigned long long)index);
    if (!raft_members_set(&raft->newest, config, config_index))
        return lilio_fail(info, LILIO_E_INVALID, "the state has no members");
    LILIO_MARK("raft/installed");
    raft_members_set(&raft->previous, config, config_index);
    raft_peers_rebuild(raft);
    raft->last = raft->persisted = raft->verified = index;
    raft->last_term = term;
    raft->commit = raft->told_commit = index;
    raft->pulling = raft->pull_due = false;
    if (raft->leader)
        raft_ack(raft);
    return LILIO_OK;
}

void raft_not_installed(struct raft *raft)
{
    raft->pulling = raft->pull_due = false;
}

/* ---- actions ---- */

static bool save_next(struct raft *raft, struct raft_action *ret)
{
    if (!raft->save_due)
        return false;
    raft->save_due = false;
    raft->saving = (struct raft_vote){
        .term = raft->term,
        .vote = raft->vote,
        .start = raft->start,
        .start_id = raft->start_id,
        .told = raft->told,
        .stale = raft->stale,
        .known_count = raft->known_count,
    };
    memcpy(raft->saving.known, raft->known, sizeof raft->known);
    ret->type = RAFT_DO_SAVE;
    ret->save = &raft->saving;
    return true;
}

static bool stop_next(struct raft *raft, struct raft_action *ret)
{
    if (!raft->stop_due)
        return false;
    raft->stop_due = false;
    ret->type = RAFT_DO_STOP;
    return true;
}

static bool append_next(struct raft *raft, struct raft_action *ret)
{
    if (!raft->staged_count)
        return false;
    ret->type = RAFT_DO_APPEND;
    ret->entries = raft->staged;
    ret->count = raft->staged_count;
    raft->staged = NULL;
    raft->staged_count = 0;
    return true;
}

static bool learn_next(struct raft *raft, struct raft_action *ret)
{
    if (!raft->learn_due)
        return false;
    raft->learn_due = false;
    ret->type = RAFT_DO_LEARN;
    return true;
}

static bool role_next(struct raft *raft, struct raft_action *ret)
{
    if (raft->role == raft->told_role && raft->term == raft->told_term &&
        raft->leader == raft->told_leader && raft->announced == raft->told_announced)
        return false;
    raft->told_announced = raft->announced;
    raft->told_role = raft->role;
    raft->told_term = raft->term;
    raft->told_leader = raft->leader;
    ret->type = RAFT_DO_ROLE;
    return true;
}

static bool send_next(struct raft *raft, struct raft_action *ret)
{
    ret->type = RAFT_DO_SEND;
    if (raft->out_count) {
        ret->message = raft->out[raft->out_first];
        raft->out_first = (raft->out_first + 1) % RAFT_OUT_MAX;
        raft->out_count--;
        return true;
    }
    if (raft_hello_next(raft, &ret->message))
        return true;
    switch (raft->role) {
    case RAFT_LEADER: raft_reads_round(raft); return raft_append_next(raft, &ret->message);
    case RAFT_CANDIDATE: return raft_vote_next(raft, &ret->message);
    case RAFT_FOLLOWER: return raft_read_send_next(raft, &ret->message);
    }
    return false;
}

/* Only what is durable here may be applied: the state machine writes on its own account, and must
 * never be ahead of this log after a crash. */
static bool commit_next(struct raft *raft, struct raft_action *ret)
{
    uint64_t index = raft->commit < raft->persisted ? raft->commit : raft->persisted;
    if (index <= raft->told_commit)
        return false;
    raft->told_commit = index;
    ret->type = RAFT_DO_COMMIT;
    ret->index = index;
    return true;
}

static bool snapshot_next(struct raft *raft, struct raft_action *ret)
{
    if (!raft->pull_due)
        return false;
    raft->pull_due = false;
    ret->type = RAFT_DO_SNAPSHOT;
    ret->from = raft->pull_from;
    return true;
}

static bool action_next(struct raft *raft, struct raft_action *ret)
{
    *ret = (struct raft_action){0};
    if (raft->failed)
        return (raft->stop_due && save_next(raft, ret)) || stop_next(raft, ret) ||
               role_next(raft, ret) || raft_read_next(raft, ret);
    return save_next(raft, ret) || append_next(raft, ret) || learn_next(raft, ret) ||
           role_next(raft, ret) || send_next(raft, ret) || commit_next(raft, ret) ||
           raft_read_next(raft, ret) || snapshot_next(raft, ret);
}

bool raft_action_next(struct raft *raft, struct raft_action *ret)
{
    bool failed = raft->failed;
    bool found = action_next(raft, ret);
    /* Making an append may have met a log that cannot be read. */
    if (!found && raft->failed && !failed)
        found = action_next(raft, ret);
    return found;
}

/* ---- where it stands ---- */

enum raft_role raft_role(const struct raft *raft)
{
    return raft->role;
}

uint64_t raft_id(const struct raft *raft)
{
    return raft->id;
}

uint64_t raft_term(const struct raft *raft)
{
    return raft->term;
}

uint64_t raft_commit(const struct raft *raft)
{
    return raft->commit;
}

uint64_t raft_leader(const struct raft *raft)
{
    return raft->leader;
}

bool raft_announced(const struct raft *raft)
{
    return raft->announced;
}

bool raft_ready(const struct raft *raft)
{
    return raft->role == RAFT_LEADER && raft->commit >= raft->term_start;
}

const struct proto_raft_config *raft_config(const struct raft *raft, uint64_t *ret_index,
                                            bool *ret_committed)
{
    if (ret_index)
        *ret_index = raft->newest.index;
    if (ret_committed)
        *ret_committed = raft->newest.index <= raft->commit;
    return &raft->newest.config;
}

bool raft_progress_get(const struct raft *raft, uint64_t id, struct raft_progress *ret)
{
    if (raft->role != RAFT_LEADER)
        return false;
    for (size_t i = 0; i < raft->peer_count; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        if (peer->id != id)
            continue;
        bool self = id == raft->id;
        *ret = (struct raft_progress){
            .match = self ? raft->persisted : peer->match,
            .silent_ms = self ? 0 : (uint32_t)(raft->now_ms - peer->heard_ms),
            .heard = self || peer->heard,
            .snapshot = !self && peer->mode == RAFT_MODE_SNAPSHOT,
        };
        return true;
    }
    return false;
}
