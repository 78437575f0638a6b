/* Who leads (Ongaro chapter 3.4), with the parts that keep a good leader in its place:
 *
 *  - Before a member raises its term it asks whether it would win (pre-vote, 9.6).
 *  - A member that hears a leader refuses votes, and takes no term from who asks for them (4.2.3).
 *  - A leader that a majority did not answer for an election timeout steps down (6.2).
 *  - A leader may tell another member to campaign at once (3.10); that one's votes are marked, and
 *    are granted in spite of the leader.
 *  - A member whose start is not announced (starts.c) neither votes nor campaigns.
 *  - Who is no member here may be one of a configuration that is still to come (4.1), or nobody: it
 *    is listened to only when there is no leader who would have told of it.
 */
#include "coordinator/raft/raft.h"

#include "base/mark.h"
#include "base/planted.h"
#include "coordinator/raft/raft_priv.h"

#include "base/banned.h"

/* splitmix64 */
uint64_t raft_draw(struct raft *raft)
{
    uint64_t z = raft->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void raft_timer_reset(struct raft *raft)
{
    raft->election_at_ms = raft->now_ms + raft->election_ms + raft_draw(raft) % raft->election_ms;
}

static void set_term(struct raft *raft, uint64_t term, uint64_t vote)
{
    raft->term = term;
    raft->vote = vote;
    raft->save_due = true;
    /* What this term's leader will hold is not known beyond what is committed. */
    raft->verified = raft->commit;
    raft->acked = 0;
    raft->echo = 0;
}

void raft_follow(struct raft *raft, uint64_t term, uint64_t leader)
{
    if (term > raft->term)
        set_term(raft, term, 0 /* vote */);
    if (raft->leader != leader)
        raft_reads_refuse(raft);
    if (raft->role == RAFT_LEADER) {
        LILIO_MARK("raft/deposed");
        raft_timer_reset(raft);
    }
    raft->role = RAFT_FOLLOWER;
    raft->pre = raft->transfer = false;
    raft->transfer_to = 0;
    raft->leader = leader;
    if (leader) {
        raft->leader_heard_ms = raft->now_ms;
        raft_timer_reset(raft);
    }
}

bool raft_hears_leader(const struct raft *raft)
{
    return raft->role == RAFT_LEADER ||
           (raft->leader && raft->now_ms - raft->leader_heard_ms < raft->election_ms);
}

bool raft_is_known(const struct raft *raft, uint64_t from)
{
    bool known = from == raft->leader || !raft->newest.config.members_count;
    for (size_t i = 0; i < raft->peer_count && !known; i++)
        known = raft->peers[i].id == from;
    return known;
}

bool raft_listens_to(const struct raft *raft, uint64_t from)
{
    return raft_is_known(raft, from) || !raft_hears_leader(raft);
}

/* The election restriction (3.6.1). */
static bool up_to_date(const struct raft *raft, const struct raft_message *message)
{
    return message->log_term > raft->last_term ||
           (message->log_term == raft->last_term && message->index >= raft->last);
}

/* ---- the candidate ---- */

static void lead(struct raft *raft)
{
    raft->role = RAFT_LEADER;
    raft->pre = raft->transfer = false;
    raft->leader = raft->id;
    raft->transfer_to = 0;
    raft->round = raft->round_done = 0;
    raft->heartbeat_at_ms = raft->now_ms + raft->heartbeat_ms;
    raft->term_start = raft->last + 1;
    for (size_t i = 0; i < raft->peer_count; i++)
        raft_peer_start(raft, &raft->peers[i]);
    /* Entries of earlier terms are committed by it, never by counting them (3.6.2). */
    raft_stage_own(raft, RAFT_ENTRY_NOOP, base_slice(NULL, 0));
}

static uint64_t granted(const struct raft *raft, const struct raft_peer *peer)
{
    return peer->id == raft->id || peer->granted;
}

static void campaign(struct raft *raft, bool pre, bool transfer)
{
    if (raft->leader)
        raft_reads_refuse(raft);
    raft->leader = 0;
    raft_timer_reset(raft);
    if (!raft_is_voter(raft))
        return;
    raft->role = RAFT_CANDIDATE;
    raft->pre = pre;
    raft->transfer = transfer;
    if (!pre)
        set_term(raft, raft->term + 1, raft->id);
    for (size_t i = 0; i < raft->peer_count; i++) {
        struct raft_peer *peer = &raft->peers[i];
        peer->granted = peer->answered = false;
        peer->ask_due = peer->voter && peer->id != raft->id;
    }
    raft->heartbeat_at_ms = raft->now_ms + raft->heartbeat_ms;
    if (!raft_majority(raft, granted))
        return;
    if (pre)
        campaign(raft, false /* pre */, false /* transfer */);
    else
        lead(raft);
}

void raft_election_tick(struct raft *raft)
{
    if (raft->now_ms >= raft->election_at_ms && raft->announced) {
        campaign(raft, true /* pre */, false /* transfer */);
    } else if (raft->now_ms >= raft->election_at_ms && raft->leader) {
        raft_follow(raft, raft->term, 0 /* leader */);
    } else if (raft->now_ms >= raft->heartbeat_at_ms) {
        raft->heartbeat_at_ms = raft->now_ms + raft->heartbeat_ms;
        if (raft->role == RAFT_FOLLOWER)
            raft_reads_tick(raft);
        for (size_t i = 0; i < raft->peer_count && raft->role == RAFT_CANDIDATE; i++) {
            struct raft_peer *peer = &raft->peers[i];
            peer->ask_due = peer->voter && peer->id != raft->id && !peer->answered;
        }
    }
}

bool raft_vote_next(struct raft *raft, struct raft_message *ret)
{
    for (size_t i = 0; i < raft->peer_count; i++) {
        struct raft_peer *peer = &raft->peers[i];
        if (!peer->ask_due)
            continue;
        peer->ask_due = false;
        *ret = (struct raft_message){
            .type = raft->pre ? RAFT_PRE_VOTE : RAFT_VOTE,
            .from = raft->id,
            .to = peer->id,
            .term = raft->term + raft->pre,
            .index = raft->last,
            .log_term = raft->last_term,
            .transfer = raft->transfer,
        };
        return true;
    }
    return false;
}

static void count_vote(struct raft *raft, const struct raft_message *message)
{
    struct raft_peer *peer = raft_peer_find(raft, message->from);
    peer->answered = true;
    peer->granted |= message->ok;
    if (!raft_majority(raft, granted))
        return;
    if (raft->pre)
        campaign(raft, false /* pre */, false /* transfer */);
    else
        lead(raft);
}

bool raft_on_pre_vote_reply(struct raft *raft, const struct raft_message *message)
{
    if (!raft_peer_find(raft, message->from))
        return false;
    if (!message->ok && message->term > raft->term) {
        LILIO_MARK("raft/pre_vote_taught_term");
        raft_follow(raft, message->term, 0 /* leader */);
    } else if (raft->role == RAFT_CANDIDATE && raft->pre &&
               (!message->ok || message->term == raft->term + 1)) {
        count_vote(raft, message);
    }
    return true;
}

bool raft_on_vote_reply(struct raft *raft, const struct raft_message *message)
{
    if (!raft_peer_find(raft, message->from))
        return false;
    if (raft_same_term(raft, message) && raft->role == RAFT_CANDIDATE && !raft->pre)
        count_vote(raft, message);
    return true;
}

bool raft_same_term(struct raft *raft, const struct raft_message *message)
{
    if (message->term > raft->term)
        raft_follow(raft, message->term, 0 /* leader */);
    else if (message->term == raft->term)
        return true;
    return false;
}

/* ---- the voter: also for candidates and as a member its own configuration does not name (4.1),
 * because that may be an old one ---- */

/* It says nothing instead of no: who asks will ask again, and may be answered in a moment. */
static bool may_vote(const struct raft *raft)
{
    if (raft->announced || LILIO_PLANTED("vote_before_announced"))
        return true;
    LILIO_MARK("raft/vote_asked_before_announced");
    return false;
}

bool raft_on_pre_vote(struct raft *raft, const struct raft_message *message)
{
    if (!may_vote(raft))
        return true;
    bool ok = message->term > raft->term && !raft_hears_leader(raft) && up_to_date(raft, message);
    raft_push(raft, (struct raft_message){.type = RAFT_PRE_VOTE_REPLY,
                                          .to = message->from,
                                          .term = ok ? message->term : raft->term,
                                          .ok = ok});
    return true;
}

bool raft_on_vote(struct raft *raft, const struct raft_message *message)
{
    if (!may_vote(raft))
        return true;
    if (message->term > raft->term) {
        if (raft_hears_leader(raft) && !message->transfer) {
            LILIO_MARK("raft/vote_refused_for_leader");
            return true;
        }
        raft_follow(raft, message->term, 0 /* leader */);
    }
    bool ok = message->term == raft->term && (!raft->vote || raft->vote == message->from) &&
              up_to_date(raft, message);
    if (ok) {
        raft->save_due |= raft->vote != message->from;
        raft->vote = message->from;
        raft_timer_reset(raft);
    }
    raft_push(raft, (struct raft_message){.type = RAFT_VOTE_REPLY, .to = message->from, .ok = ok});
    return true;
}

/* ---- the leader ---- */

static uint64_t heard(const struct raft *raft, const struct raft_peer *peer)
{
    return peer->id == raft->id ? raft->now_ms : peer->heard_ms;
}

void raft_leader_tick(struct raft *raft)
{
    if (raft->now_ms - raft_majority(raft, heard) >= raft->election_ms) {
        LILIO_MARK("raft/quorum_silent");
        raft_follow(raft, raft->term, 0 /* leader */);
        return;
    }
    if (raft->transfer_to && raft->now_ms >= raft->transfer_until_ms) {
        LILIO_MARK("raft/transfer_given_up");
        raft->transfer_to = 0;
    }
    if (raft->now_ms < raft->heartbeat_at_ms)
        return;
    raft->heartbeat_at_ms = raft->now_ms + raft->heartbeat_ms;
    for (size_t i = 0; i < raft->peer_count; i++)
        raft->peers[i].heartbeat_due = true;
    raft_transfer_check(raft);
}

/* ---- leadership transfer (3.10) ---- */

static bool answers(const struct raft *raft, const struct raft_peer *peer)
{
    return raft->now_ms - peer->heard_ms < raft->election_ms && !peer->uncounted;
}

struct raft_peer *raft_furthest(struct raft *raft)
{
    struct raft_peer *best = NULL;
    for (size_t i = 0; i < raft->peer_count; i++) {
        struct raft_peer *peer = &raft->peers[i];
        if (!peer->voter || peer->id == raft->id)
            continue;
        bool same = best && answers(raft, peer) == answers(raft, best);
        if (!best || (same ? peer->match > best->match : answers(raft, peer)))
            best = peer;
    }
    return best;
}

enum lilio_err raft_transfer(struct raft *raft, uint64_t to)
{
    if (raft->role != RAFT_LEADER)
        return LILIO_E_NOT_LEADER;
    if (raft->transfer_to)
        return LILIO_E_BUSY;
    if (to == raft->id)
        return LILIO_OK;
    struct raft_peer *peer = to ? raft_peer_find(raft, to) : raft_furthest(raft);
    if (!peer || !peer->voter)
        return LILIO_E_NOT_FOUND;
    if (!answers(raft, peer))
        return LILIO_E_PRECONDITION; /* proposals would wait for it in vain */
    raft->transfer_to = peer->id;
    raft->transfer_until_ms = raft->now_ms + raft->election_ms;
    raft_transfer_check(raft);
    return LILIO_OK;
}

void raft_transfer_check(struct raft *raft)
{
    struct raft_peer *peer = raft->transfer_to ? raft_peer_find(raft, raft->transfer_to) : NULL;
    if (peer && peer->match == raft->last)
        raft_push(raft, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .to = peer->id});
}

bool raft_on_timeout_now(struct raft *raft, const struct raft_message *message)
{
    if (message->term != raft->term || message->from != raft->leader ||
        raft->role != RAFT_FOLLOWER || !raft_is_voter(raft) || !raft->announced) {
        LILIO_MARK("raft/timeout_now_late");
        return true;
    }
    campaign(raft, false /* pre */, true /* transfer */);
    return true;
}
