/* The leader's side of replication (Ongaro 3.5, 10.2.1): what each member is sent next, what its
 * answers mean, and what is committed by them.
 *
 * Nothing is resent on a timer of its own: a heartbeat names the entry before the next one, so a
 * member that misses something refuses it, and says where to go on.
 */
#include "coordinator/raft/raft.h"

#include "base/mark.h"
#include "base/planted.h"
#include "coordinator/raft/raft_priv.h"

#include "base/banned.h"

/* ---- what is under way ---- */

static void flights_clear(struct raft_peer *peer)
{
    peer->flight_first = peer->flight_count = peer->flight_bytes = 0;
}

static bool flight_room(const struct raft_peer *peer)
{
    return peer->flight_count < RAFT_FLIGHT_MESSAGES_MAX &&
           peer->flight_bytes < RAFT_FLIGHT_BYTES_MAX;
}

static void flight_add(struct raft_peer *peer, uint64_t last, size_t bytes)
{
    size_t at = (peer->flight_first + peer->flight_count++) % RAFT_FLIGHT_MESSAGES_MAX;
    peer->flights[at] = (struct raft_flight){last, bytes};
    peer->flight_bytes += bytes;
}

static void flights_landed(struct raft_peer *peer, uint64_t match)
{
    while (peer->flight_count && peer->flights[peer->flight_first].last <= match) {
        peer->flight_bytes -= peer->flights[peer->flight_first].bytes;
        peer->flight_first = (peer->flight_first + 1) % RAFT_FLIGHT_MESSAGES_MAX;
        peer->flight_count--;
    }
}

static void probe_from(struct raft_peer *peer, uint64_t next)
{
    peer->mode = RAFT_MODE_PROBE;
    peer->next = next;
    peer->waiting = false;
    flights_clear(peer);
}

void raft_peer_start(struct raft *raft, struct raft_peer *peer)
{
    peer->match = peer->counted = peer->sequence = 0;
    peer->heartbeat_due = peer->uncounted = peer->heard = false;
    peer->heard_ms = raft->now_ms;
    probe_from(peer, raft->last + 1);
}

/* ---- sending ---- */

/* What it misses is cut off: offers the state, again at each heartbeat. */
static bool make_offer(struct raft *raft, struct raft_peer *peer, struct raft_message *ret)
{
    if (peer->mode != RAFT_MODE_SNAPSHOT) {
        LILIO_MARK("raft/snapshot_offered");
        peer->mode = RAFT_MODE_SNAPSHOT;
        peer->heartbeat_due = true;
        flights_clear(peer);
    }
    if (!peer->heartbeat_due)
        return false;
    peer->heartbeat_due = false;
    ret->type = RAFT_SNAPSHOT;
    ret->index = raft->log.first(raft->log.context) - 1;
    if (raft_log_term(raft, ret->index, &ret->log_term)) {
        raft_fail(raft);
        return false;
    }
    return true;
}

/* Entries from next on, as many as may be under way; none if there are none. */
static enum lilio_err make_append(struct raft *raft, struct raft_peer *peer, bool with_entries,
                                  struct raft_message *ret)
{
    ret->type = RAFT_APPEND;
    ret->index = peer->next - 1;
    enum lilio_err err = raft_log_term(raft, ret->index, &ret->log_term);
    if (err || !with_entries || peer->next > raft->last)
        return err;
    size_t room = RAFT_FLIGHT_BYTES_MAX - peer->flight_bytes;
    err = raft->log.read(raft->log.context, peer->next, RAFT_SEND_ENTRIES_MAX,
                         room < RAFT_SEND_BYTES_MAX ? room : RAFT_SEND_BYTES_MAX, raft->scratch,
                         &ret->count);
    if (err) {
        if (err != LILIO_E_NOT_FOUND)
            raft_fail(raft);
        return err;
    }
    ret->entries = raft->scratch;
    size_t bytes = 0;
    for (size_t i = 0; i < ret->count; i++)
        bytes += raft->scratch[i].data.size;
    peer->next += ret->count;
    flight_add(peer, peer->next - 1, bytes);
    return LILIO_OK;
}

static bool make_for(struct raft *raft, struct raft_peer *peer, struct raft_message *ret)
{
    bool entries = false;
    switch (peer->mode) {
    case RAFT_MODE_SNAPSHOT: return make_offer(raft, peer, ret);
    case RAFT_MODE_PROBE:
        if (peer->waiting && !peer->heartbeat_due)
            return false;
        entries = !peer->waiting;
        /* An unanswered question is asked again, without its entries. */
        if (peer->waiting) {
            LILIO_MARK("raft/probe_repeated");
            probe_from(peer, peer->probe + 1);
        }
        peer->probe = peer->next - 1;
        peer->waiting = true;
        break;
    case RAFT_MODE_REPLICATE:
        entries = peer->next <= raft->last && flight_room(peer);
        if (!entries && !peer->heartbeat_due)
            return false;
        break;
    }
    enum lilio_err err = make_append(raft, peer, entries, ret);
    if (err == LILIO_E_NOT_FOUND)
        return make_offer(raft, peer, ret);
    peer->heartbeat_due = false;
    return !err;
}

bool raft_append_next(struct raft *raft, struct raft_message *ret)
{
    for (size_t i = 0; i < raft->peer_count && !raft->failed; i++) {
        struct raft_peer *peer = &raft->peers[i];
        if (peer->id == raft->id)
            continue;
        *ret = (struct raft_message){.from = raft->id,
                                     .to = peer->id,
                                     .term = raft->term,
                                     .commit = raft->commit,
                                     .sequence = raft->round};
        if (make_for(raft, peer, ret))
            return true;
    }
    return false;
}

/* ---- answers ---- */

static void accepted(struct raft *raft, struct raft_peer *peer, uint64_t match)
{
    bool more = match > peer->match;
    if (more) {
        peer->match = match;
        flights_landed(peer, match);
    }
    if (peer->next <= peer->match)
        peer->next = peer->match + 1;
    switch (peer->mode) {
    case RAFT_MODE_PROBE:
        if (peer->waiting && peer->match >= peer->probe) {
            peer->mode = RAFT_MODE_REPLICATE;
            peer->waiting = false;
        }
        break;
    case RAFT_MODE_SNAPSHOT:
        if (peer->match + 1 >= raft->log.first(raft->log.context)) {
            LILIO_MARK("raft/snapshot_done");
            probe_from(peer, peer->match + 1);
        }
        break;
    case RAFT_MODE_REPLICATE: break;
    }
    if (more)
        raft_transfer_check(raft);
}

/* The member has nothing, or something else, at `refused`; its log is of `hint_term` at `hint`.
 * Entries of ours that are newer than that are not there: skips them in one step (5.3). */
static void refused(struct raft *raft, struct raft_peer *peer, uint64_t refused, uint64_t hint,
                    uint64_t hint_term)
{
    if (peer->mode == RAFT_MODE_SNAPSHOT || !refused || refused < peer->match ||
        (peer->mode == RAFT_MODE_PROBE && (!peer->waiting || refused != peer->probe)) ||
        (peer->mode == RAFT_MODE_REPLICATE && refused >= peer->next)) {
        LILIO_MARK("raft/refusal_late");
        return;
    }
    /* Asked for just what it acknowledged, and refused: it came back with an older copy of its
     * disk. It is not counted until it has it again, and asked by the next heartbeat. */
    if (refused == peer->match && peer->mode == RAFT_MODE_PROBE) {
        peer->match = peer->counted = 0;
        return;
    }
    if (hint >= refused)
        hint = refused - 1;
    for (; hint > peer->match; hint--) {
        uint64_t term;
        enum lilio_err err = raft_log_term(raft, hint, &term);
        if (err == LILIO_E_NOT_FOUND || (!err && term <= hint_term))
            break;
        if (err)
            return;
    }
    if (hint < peer->match)
        hint = peer->match;
    LILIO_MARK("raft/backed_off");
    probe_from(peer, hint + 1);
}

bool raft_on_append_reply(struct raft *raft, const struct raft_message *message)
{
    struct raft_peer *peer = raft_peer_find(raft, message->from);
    if (!peer)
        return false;
    if (!raft_same_term(raft, message) || raft->role != RAFT_LEADER)
        return true;
    if (message->ok && message->index > raft->last)
        return false;
    peer->heard_ms = raft->now_ms;
    peer->heard = true;
    peer->uncounted = message->uncounted;
    if (message->sequence > peer->sequence && message->sequence <= raft->round &&
        !message->uncounted) {
        peer->sequence = message->sequence;
        raft_reads_confirm(raft);
    }
    /* An answer from before its crash may come late: it makes no later one count. */
    if (message->ok && !message->uncounted && message->index > peer->counted)
        peer->counted = message->index;
    if (message->ok)
        accepted(raft, peer, message->index);
    else
        refused(raft, peer, message->commit, message->index, message->log_term);
    if (raft->role == RAFT_LEADER)
        raft_commit_check(raft);
    return true;
}

/* ---- commitment ---- */

static uint64_t durable_at(const struct raft *raft, const struct raft_peer *peer)
{
    return peer->id == raft->id ? raft->persisted : peer->uncounted ? 0 : peer->counted;
}

void raft_commit_check(struct raft *raft)
{
    uint64_t agreed = raft_majority(raft, durable_at);
    if (agreed <= raft->commit)
        return;
    /* Only entries of its own term are counted (3.6.2); from the no-op on all are. */
    if (agreed < raft->term_start && !LILIO_PLANTED("commit_old_term")) {
        LILIO_MARK("raft/old_term_not_counted");
        return;
    }
    raft_commit_to(raft, agreed);
}
