/* A disk that went back to an older copy forgot what the member promised since. So each start is
 * announced before the member promises anything, and the others remember it:
 *
 *     start, id, !told saved ---> HELLO (no cookie) to all:   is anything newer known of me?
 *     a majority says no: told saved -> HELLO (cookie):       remember this start; saved there
 *     a majority remembers: announced. The rest is told, too, however long that takes.
 *
 * An older copy has an older number, or the same number with other random bits, and whoever
 * remembers says so: it stops, and that is saved. A number is used up when somebody may remember
 * it (told), so a copy that is started over and over again without being believed never overtakes.
 * Who replies sends along what it remembers of all: whoever was away learns it before it counts.
 *
 * A start that goes on for long gets a new number now and then, at once remembered by all: a copy
 * made before that, from the running member, is older, too.
 *
 * A member that was away while others were replaced knows only who is gone. Whoever asks something
 * of it and is no member of its own configuration, may be one of a later one: it is asked, too, and
 * its answer counts like a member's. How many are enough is said by the newest configuration that
 * anybody who answered has.
 *
 * Only who receives at the member's address can have it remembered: the cookie went there.
 */
#include "coordinator/raft/raft.h"

#include "base/mark.h"
#include "coordinator/raft/raft_priv.h"

#include "base/banned.h"

enum { HELLO_EVERY_MS_MAX = 1000, START_AGE_MS = 60000 };
/* No member is started so often between two talks. A number beyond it is forged. */
static const uint64_t START_STEP_MAX = (uint64_t)1 << 32;

/* ---- the one that starts ---- */

static uint64_t draw_id(struct raft *raft)
{
    return raft_draw(raft) | 1; /* never 0 */
}

void raft_start_begin(struct raft *raft, const struct raft_vote *saved)
{
    raft->start = saved->start + (saved->told || saved->start == 0);
    raft->start_id = draw_id(raft);
    raft->known_count = saved->known_count;
    memcpy(raft->known, saved->known, sizeof raft->known);
    raft->cookie_seed = raft_draw(raft);
    raft->hello_every_ms = raft->heartbeat_ms;
    raft->start_ms = raft->hello_at_ms = raft->now_ms;
    raft->save_due = true;
    raft_start_check(raft);
}

/* How many vote in the newest configuration, with `member`, whatever it is there. */
static size_t voters_with(const struct raft *raft, uint64_t member)
{
    size_t voters = 0;
    bool listed = false;
    for (size_t i = 0; i < raft->peer_count; i++) {
        voters += raft->peers[i].voter || raft->peers[i].id == member;
        listed |= raft->peers[i].id == member;
    }
    return voters ? voters + !listed : 0;
}

/* As many as a majority of the voters, in the newest configuration that anybody who answered has:
 * without a leader nobody teaches it, and it may need fewer or more than the own one. Learners,
 * this member among them, and strangers speak for a voter, too, because they may be ones in a
 * configuration that this log does not have yet. */
static bool enough(const struct raft *raft, bool (*says)(const struct raft_witness *))
{
    size_t voters = voters_with(raft, raft->id), count = 1;
    uint64_t config = raft->newest.index;
    for (size_t i = 0; i < raft->peer_count + raft->stranger_count; i++) {
        const struct raft_witness *witness = i < raft->peer_count
                                                 ? &raft->peers[i].witness
                                                 : &raft->strangers[i - raft->peer_count].witness;
        count += says(witness);
        if (witness->config > config) {
            config = witness->config;
            voters = witness->voters;
        }
    }
    return voters && count > voters / 2;
}

static bool is_fresh(const struct raft_witness *witness)
{
    return witness->fresh;
}

static bool remembers(const struct raft_witness *witness)
{
    return witness->remembers;
}

static void announced(struct raft *raft)
{
    raft->announced = true;
    raft_strangers_forget(raft);
    raft->start_ms = raft->now_ms;
    /* All of a cluster that starts come to this point together: not all shall campaign at once. */
    if (!raft->leader && raft->now_ms >= raft->election_at_ms)
        raft->election_at_ms = raft->now_ms + raft_draw(raft) % (raft->election_ms / 2 + 1);
    if (raft->leader)
        raft_ack(raft);
}

/* Who votes alone asks nobody, but may be an older copy from before the others came: gives them
 * the time to be heard, which passes anyhow before it campaigns. */
static bool waits_alone(const struct raft *raft)
{
    return voters_with(raft, raft->id) == 1 && raft->now_ms - raft->start_ms < raft->election_ms;
}

void raft_start_check(struct raft *raft)
{
    if (raft->failed)
        return;
    if (!raft->told && enough(raft, is_fresh) && !waits_alone(raft)) {
        raft->told = raft->save_due = true;
        for (size_t i = 0; i < raft->peer_count; i++)
            raft->peers[i].witness.hello_due |= raft->peers[i].witness.cookie != 0;
        for (size_t i = 0; i < raft->stranger_count; i++)
            raft->strangers[i].witness.hello_due |= raft->strangers[i].witness.cookie != 0;
    }
    if (raft->told && !raft->announced && enough(raft, remembers))
        announced(raft);
}

static void renew(struct raft *raft)
{
    LILIO_MARK("raft/start_renewed");
    raft->start++;
    raft->start_id = draw_id(raft);
    raft->save_due = true;
    raft->start_ms = raft->hello_at_ms = raft->now_ms;
    raft->hello_every_ms = raft->heartbeat_ms;
    raft_strangers_forget(raft);
    for (size_t i = 0; i < raft->peer_count; i++)
        raft->peers[i].witness.remembers = false;
}

void raft_start_tick(struct raft *raft)
{
    if (raft->announced && raft->now_ms - raft->start_ms >= START_AGE_MS)
        renew(raft);
    if (!raft->announced)
        raft_start_check(raft);
    if (raft->now_ms < raft->hello_at_ms)
        return;
    if (raft->announced && raft->hello_every_ms < HELLO_EVERY_MS_MAX)
        raft->hello_every_ms *= 2;
    raft->hello_at_ms = raft->now_ms + raft->hello_every_ms;
    for (size_t i = 0; i < raft->peer_count; i++)
        raft->peers[i].witness.hello_due |= raft->peers[i].id != raft->id &&
                                            (!raft->announced || !raft->peers[i].witness.remembers);
    for (size_t i = 0; i < raft->stranger_count; i++)
        raft->strangers[i].witness.hello_due |=
            !raft->announced || !raft->strangers[i].witness.remembers;
}

void raft_start_meet(struct raft *raft, uint64_t member)
{
    if (raft_peer_find(raft, member))
        return;
    for (size_t i = 0; i < raft->stranger_count; i++)
        if (raft->strangers[i].id == member)
            return;
    if (raft->stranger_count == RAFT_MEMBERS_MAX)
        return;
    LILIO_MARK("raft/stranger_met");
    raft->strangers[raft->stranger_count++] =
        (struct raft_stranger){.id = member, .witness = {.hello_due = true}};
}

void raft_strangers_forget(struct raft *raft)
{
    raft->stranger_count = 0;
}

static bool hello(const struct raft *raft, uint64_t to, struct raft_witness *witness,
                  struct raft_message *ret)
{
    if (!witness->hello_due)
        return false;
    witness->hello_due = false;
    *ret = (struct raft_message){
        .type = RAFT_HELLO,
        .from = raft->id,
        .to = to,
        .term = raft->term,
        .index = raft->start,
        .sequence = raft->start_id,
        .commit = raft->told ? witness->cookie : 0,
    };
    return true;
}

bool raft_hello_next(struct raft *raft, struct raft_message *ret)
{
    for (size_t i = 0; i < raft->peer_count; i++)
        if (hello(raft, raft->peers[i].id, &raft->peers[i].witness, ret))
            return true;
    for (size_t i = 0; i < raft->stranger_count; i++)
        if (hello(raft, raft->strangers[i].id, &raft->strangers[i].witness, ret))
            return true;
    return false;
}

/* ---- the one that remembers ---- */

static struct proto_raft_start *find(struct raft *raft, uint64_t member)
{
    for (size_t i = 0; i < raft->known_count; i++)
        if (raft->known[i].member == member)
            return &raft->known[i];
    return NULL;
}

static bool is_listed(const struct raft_members *members, uint64_t id)
{
    for (size_t i = 0; i < members->config.members_count; i++)
        if (members->config.members[i].id == id)
            return true;
    return false;
}

/* Room for one more: members always have it, who is none makes way. */
static struct proto_raft_start *make_room(struct raft *raft)
{
    if (raft->known_count < RAFT_KNOWN_MAX)
        return &raft->known[raft->known_count++];
    for (size_t i = 0; i < raft->known_count; i++)
        if (!is_listed(&raft->newest, raft->known[i].member) &&
            !is_listed(&raft->previous, raft->known[i].member))
            return &raft->known[i];
    return NULL;
}

static bool believable(const struct proto_raft_start *known, uint64_t start)
{
    uint64_t before = known ? known->start : 0;
    return start != 0 && (start <= before || start - before <= START_STEP_MAX);
}

/* False if it is older than what is known. */
static bool is_news(const struct proto_raft_start *known, uint64_t start, uint64_t id)
{
    return !known || start > known->start || (start == known->start && id == known->id);
}

static void remember(struct raft *raft, struct proto_raft_start start)
{
    struct proto_raft_start *known = find(raft, start.member);
    if (known && known->start >= start.start)
        return;
    if (!known)
        known = make_room(raft);
    if (!known)
        return;
    *known = start;
    raft->save_due = true;
}

static uint64_t cookie_for(const struct raft *raft, uint64_t member)
{
    uint64_t z = (raft->cookie_seed ^ member) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 32) * 0xbf58476d1ce4e5b9u;
    return (z ^ z >> 29 ^ raft->cookie_seed) | 1;
}

bool raft_on_hello(struct raft *raft, const struct raft_message *message)
{
    const struct proto_raft_start *known = find(raft, message->from);
    if (!believable(known, message->index))
        return false;
    uint64_t cookie = cookie_for(raft, message->from);
    bool ok = is_news(known, message->index, message->sequence);
    if (!ok)
        LILIO_MARK("raft/hello_of_older_copy");
    if (ok && message->commit == cookie) {
        remember(raft, (struct proto_raft_start){.member = message->from,
                                                 .start = message->index,
                                                 .id = message->sequence});
        known = find(raft, message->from);
    }
    raft_push(raft, (struct raft_message){.type = RAFT_HELLO_REPLY,
                                          .to = message->from,
                                          .index = known ? known->start : 0,
                                          .commit = cookie,
                                          .sequence = message->sequence,
                                          .ok = ok,
                                          .starts = raft->known,
                                          .start_count = raft->known_count,
                                          .config = raft->newest.index,
                                          .voters = (uint8_t)voters_with(raft, message->from)});
    return true;
}

/* ---- answers ---- */

static void stop(struct raft *raft, uint64_t start)
{
    LILIO_MARK("raft/older_copy_stops");
    raft_fail(raft);
    raft->stale = start;
    raft->save_due = raft->stop_due = true;
}

static struct raft_witness *witness_find(struct raft *raft, uint64_t member)
{
    struct raft_peer *peer = raft_peer_find(raft, member);
    if (peer)
        return &peer->witness;
    for (size_t i = 0; i < raft->stranger_count; i++)
        if (raft->strangers[i].id == member)
            return &raft->strangers[i].witness;
    return NULL;
}

bool raft_on_hello_reply(struct raft *raft, const struct raft_message *message)
{
    struct raft_witness *witness = witness_find(raft, message->from);
    if (!witness || message->start_count > RAFT_KNOWN_MAX || message->voters > RAFT_MEMBERS_MAX + 1)
        return false;
    if (message->sequence != raft->start_id) {
        LILIO_MARK("raft/hello_reply_late");
        return true;
    }
    if (!message->ok) {
        if (message->index < raft->start || message->index - raft->start > START_STEP_MAX)
            return false;
        stop(raft, message->index);
        return true;
    }
    for (size_t i = 0; i < message->start_count; i++) {
        const struct proto_raft_start *start = &message->starts[i];
        if (start->member != raft->id && believable(find(raft, start->member), start->start))
            remember(raft, *start);
    }
    witness->fresh = true;
    witness->cookie = message->commit;
    witness->config = message->config;
    witness->voters = message->voters;
    witness->remembers |= raft->told && message->index == raft->start;
    witness->hello_due |= raft->told && !witness->remembers;
    raft_start_check(raft);
    return true;
}
