/* Reads without the log (Ongaro 6.4): a leader remembers its commit index, proves that it still
 * leads, and answers with that index.
 *
 * The proof is a number, `sequence`, that every append carries and every answer echoes: when a
 * majority echoed the number of a round, everything asked before the round was sent is proven. One
 * round is under way; what is asked meanwhile waits for the next. A lost round is repeated by the
 * heartbeats. Followers gather reads in batches and ask the leader for each batch in the same way.
 */
#include "coordinator/raft/raft.h"

#include "base/mark.h"
#include "base/planted.h"
#include "coordinator/raft/raft_priv.h"

#include "base/banned.h"

/* The round of a read that came before the leader's no-op was committed. */
static const uint64_t NO_ROUND = UINT64_MAX;

static struct raft_waiting_read *read_at(const struct raft *raft, size_t i)
{
    return &raft->reads[(raft->read_first + i) % RAFT_PENDING_MAX];
}

static bool add(struct raft *raft, struct raft_waiting_read read)
{
    if (raft->read_count == RAFT_PENDING_MAX)
        return false;
    *read_at(raft, raft->read_count++) = read;
    return true;
}

static bool add_to_leader(struct raft *raft, uint64_t token, uint64_t from)
{
    bool ready = raft_ready(raft);
    return add(raft, (struct raft_waiting_read){.token = token,
                                                .from = from,
                                                .sequence = ready ? raft->round + 1 : NO_ROUND,
                                                .index = raft->commit});
}

enum lilio_err raft_read(struct raft *raft, uint64_t token)
{
    if (!raft->leader || raft->failed)
        return LILIO_E_NOT_LEADER;
    if (raft->role == RAFT_LEADER)
        return add_to_leader(raft, token, 0 /* from */) ? LILIO_OK : LILIO_E_BUSY;
    if (!add(raft, (struct raft_waiting_read){.token = token, .sequence = raft->batch + 1}))
        return LILIO_E_BUSY;
    raft->ask_due |= raft->batch_done == raft->batch;
    return LILIO_OK;
}

void raft_reads_refuse(struct raft *raft)
{
    raft->reads_decided = raft->read_count;
    raft->ask_due = false;
    raft->batch_done = raft->batch;
}

/* ---- the leader ---- */

/* The no-op is committed: now the commit index says everything. */
void raft_reads_ready(struct raft *raft)
{
    for (size_t i = raft->reads_decided; i < raft->read_count; i++) {
        LILIO_MARK("raft/read_waited_for_noop");
        struct raft_waiting_read *read = read_at(raft, i);
        read->sequence = raft->round + 1;
        read->index = raft->commit;
    }
}

void raft_reads_round(struct raft *raft)
{
    if (raft->reads_decided == raft->read_count || raft->round_done < raft->round ||
        read_at(raft, raft->reads_decided)->sequence == NO_ROUND)
        return;
    raft->round++;
    for (size_t i = 0; i < raft->peer_count; i++)
        raft->peers[i].heartbeat_due |= raft->peers[i].voter;
    raft_reads_confirm(raft);
}

static uint64_t echoed(const struct raft *raft, const struct raft_peer *peer)
{
    return peer->id == raft->id ? raft->round : peer->sequence;
}

static void decide(struct raft *raft, struct raft_waiting_read *read, bool ok, uint64_t index)
{
    read->ok = ok;
    read->index = index;
    raft->reads_decided++;
}

void raft_reads_confirm(struct raft *raft)
{
    uint64_t done = raft_majority(raft, echoed);
    if (LILIO_PLANTED("stale_read_deposed"))
        done = raft->round;
    if (done > raft->round_done)
        raft->round_done = done;
    while (raft->reads_decided < raft->read_count) {
        struct raft_waiting_read *read = read_at(raft, raft->reads_decided);
        if (read->sequence > raft->round_done)
            break;
        decide(raft, read, true, read->index);
    }
}

bool raft_on_read(struct raft *raft, const struct raft_message *message)
{
    if (!raft_peer_find(raft, message->from))
        return false;
    if (!raft_same_term(raft, message))
        return true;
    if (raft->role != RAFT_LEADER || !add_to_leader(raft, message->sequence, message->from))
        raft_push(raft, (struct raft_message){.type = RAFT_READ_REPLY,
                                              .to = message->from,
                                              .sequence = message->sequence});
    return true;
}

/* ---- the follower ---- */

bool raft_read_send_next(struct raft *raft, struct raft_message *ret)
{
    if (!raft->ask_due || !raft->leader)
        return false;
    raft->ask_due = false;
    raft->batch++;
    raft->heartbeat_at_ms = raft->now_ms + raft->heartbeat_ms;
    *ret = (struct raft_message){.type = RAFT_READ,
                                 .from = raft->id,
                                 .to = raft->leader,
                                 .term = raft->term,
                                 .sequence = raft->batch};
    return true;
}

/* The question or its answer was lost: asks again, in a batch with what came since. */
void raft_reads_tick(struct raft *raft)
{
    if (raft->batch_done == raft->batch || raft->reads_decided == raft->read_count)
        return;
    LILIO_MARK("raft/read_asked_again");
    raft->ask_due = true;
}

bool raft_on_read_reply(struct raft *raft, const struct raft_message *message)
{
    if (!raft_peer_find(raft, message->from))
        return false;
    if (!raft_same_term(raft, message) || raft->role != RAFT_FOLLOWER ||
        message->sequence <= raft->batch_done || message->sequence > raft->batch) {
        LILIO_MARK("raft/read_reply_late");
        return true;
    }
    raft->batch_done = message->sequence;
    while (raft->reads_decided < raft->read_count) {
        struct raft_waiting_read *read = read_at(raft, raft->reads_decided);
        if (read->sequence > message->sequence)
            break;
        decide(raft, read, message->ok, message->index);
    }
    raft->ask_due = raft->reads_decided < raft->read_count;
    /* The leader's commit index, earlier than by the next append. */
    uint64_t commit = message->index < raft->verified ? message->index : raft->verified;
    if (message->ok && message->from == raft->leader && commit > raft->commit)
        raft_commit_to(raft, commit);
    return true;
}

/* ---- what was decided ---- */

bool raft_read_next(struct raft *raft, struct raft_action *ret)
{
    if (!raft->reads_decided)
        return false;
    struct raft_waiting_read *read = read_at(raft, 0);
    raft->read_first = (raft->read_first + 1) % RAFT_PENDING_MAX;
    raft->read_count--;
    raft->reads_decided--;
    if (!read->from) {
        ret->type = RAFT_DO_READ;
        ret->token = read->token;
        ret->index = read->index;
        ret->ok = read->ok;
        return true;
    }
    ret->type = RAFT_DO_SEND;
    ret->message = (struct raft_message){.type = RAFT_READ_REPLY,
                                         .from = raft->id,
                                         .to = read->from,
                                         .term = raft->term,
                                         .index = read->index,
                                         .sequence = read->token,
                                         .ok = read->ok};
    return true;
}
