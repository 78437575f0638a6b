/* The follower's side of replication (Ongaro 3.5): compares what a leader sent with its own log,
 * and acknowledges what is both checked against this leader and durable, nothing else. As long as
 * its start is not announced (starts.c) it follows all the same, and its answers say that they do
 * not count.
 */
#include "coordinator/raft/raft.h"

#include "base/mark.h"
#include "base/planted.h"
#include "coordinator/raft/raft_priv.h"

#include "base/banned.h"

uint64_t raft_ackable(const struct raft *raft)
{
    if (LILIO_PLANTED("ack_stale_suffix"))
        return raft->persisted;
    if (raft->verified < raft->persisted || LILIO_PLANTED("ack_before_sync"))
        return raft->verified;
    return raft->persisted;
}

void raft_ack(struct raft *raft)
{
    raft->acked = raft_ackable(raft);
    raft_push(raft, (struct raft_message){.type = RAFT_APPEND_REPLY,
                                          .to = raft->leader,
                                          .index = raft->acked,
                                          .sequence = raft->echo,
                                          .ok = true});
}

/* Does this log hold (index, term)? What is committed agrees with every later leader's. */
static enum lilio_err agrees(struct raft *raft, uint64_t index, uint64_t term, bool *ret_agrees)
{
    uint64_t there = 0;
    *ret_agrees = index <= raft->commit;
    if (index <= raft->commit || index > raft->last)
        return LILIO_OK;
    enum lilio_err err = raft_log_term(raft, index, &there);
    if (err)
        raft_fail(raft);
    else
        *ret_agrees = there == term;
    return err;
}

static bool differs(struct raft *raft, uint64_t index, uint64_t term)
{
    uint64_t there;
    return index <= raft->commit && !raft_log_term(raft, index, &there) && there != term;
}

/* No leader has anything else where this log is committed, unless members came back with older
 * copies of their disks and elected it, or the message is forged. Who follows it would give wrong
 * answers. */
static bool contradicts(struct raft *raft, const struct raft_message *message)
{
    bool found = differs(raft, message->index, message->log_term);
    for (size_t i = 0; i < message->count && !found; i++)
        found = differs(raft, message->entries[i].index, message->entries[i].term);
    return found;
}

/* Says where the logs may agree: behind everything here that is newer than what was asked for. */
static void refuse(struct raft *raft, const struct raft_message *message)
{
    uint64_t hint = message->index > raft->last ? raft->last : message->index - 1;
    uint64_t term = 0;
    for (;; hint--) {
        if (raft_log_term(raft, hint, &term)) {
            raft_fail(raft);
            return;
        }
        if (hint <= raft->commit || term <= message->log_term)
            break;
    }
    LILIO_MARK("raft/append_refused");
    raft_push(raft, (struct raft_message){.type = RAFT_APPEND_REPLY,
                                          .to = message->from,
                                          .index = hint,
                                          .log_term = term,
                                          .commit = message->index,
                                          .sequence = raft->echo});
}

static void pull(struct raft *raft, const struct raft_message *message)
{
    if (!raft->pulling) {
        raft->pulling = raft->pull_due = true;
        raft->pull_from = message->from;
    }
    raft_ack(raft);
}

/* The first entry that is not in this log yet: message->count if all are. */
static enum lilio_err find_news(struct raft *raft, const struct raft_message *message, size_t *ret)
{
    size_t i = 0;
    for (bool there = true; i < message->count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        enum lilio_err err = agrees(raft, entry->index, entry->term, &there);
        if (err)
            return err;
        if (!there)
            break;
    }
    *ret = i;
    return LILIO_OK;
}

static bool refuse_old_term(struct raft *raft, const struct raft_message *message)
{
    LILIO_MARK("raft/append_of_deposed");
    raft_push(raft, (struct raft_message){.type = RAFT_APPEND_REPLY, .to = message->from});
    return true;
}

bool raft_on_append(struct raft *raft, const struct raft_message *message)
{
    if (message->term < raft->term)
        return refuse_old_term(raft, message);
    if ((message->term == raft->term && raft->role == RAFT_LEADER) || contradicts(raft, message) ||
        raft->failed)
        return false;
    raft_follow(raft, message->term, message->from);
    bool asked = message->sequence > raft->echo;
    if (asked)
        raft->echo = message->sequence;

    bool agree = false;
    if (agrees(raft, message->index, message->log_term, &agree))
        return true;
    if (!agree) {
        if (message->type == RAFT_SNAPSHOT)
            pull(raft, message);
        else
            refuse(raft, message);
        return true;
    }
    size_t news = 0;
    if (find_news(raft, message, &news))
        return true;
    if (news < message->count) {
        /* No leader replaces what it sent before, nor what was before the newest configuration,
         * which is committed (4.1). */
        if (message->entries[news].index <= raft->verified ||
            message->entries[news].index <= raft->previous.index)
            return false;
        raft_stage_received(raft, message->entries + news, message->count - news);
    }
    uint64_t checked = message->index + message->count;
    if (raft->verified < checked)
        raft->verified = checked;
    uint64_t commit = message->commit < raft->verified ? message->commit : raft->verified;
    if (commit > raft->commit)
        raft_commit_to(raft, commit);
    /* What was appended is acknowledged when it is durable. */
    if (!raft->staged_count || asked)
        raft_ack(raft);
    return true;
}
