/* Raft: the consensus core of one coordinator (Ongaro 2014; chapters named where they are
 * followed).
 *
 * A pure step function. Events go in (time, messages, proposals, "this is durable", "this is
 * applied"); actions come out, one by one, in the order in which they have to be carried out. No
 * clock, no randomness but the seed, no I/O, no threads. It holds no entries: what it sends it
 * reads back through struct raft_log_view, so its memory is bounded by the members and by
 * RAFT_PENDING_MAX.
 *
 * What the owner does after every event:
 *
 *     while (raft_action_next(raft, &action)) carry_out(&action);
 *
 * Everything an action points to is borrowed until the next call of any function here, and what an
 * event was given (a message's entries, a proposal's data) until its actions were carried out. The
 * owner answers for this much:
 *  - RAFT_DO_SAVE is durable before the next action is taken.
 *  - RAFT_DO_APPEND is in the log (readable through the view) before the next action is taken; it
 *    may become durable later, in order, and raft_persisted() says so. A log that cannot be written
 *    is final: raft_fail(), and the process ends. A leader never writes an index twice in one term;
 *    a follower may be given an entry again that was replaced in between, so what was appended last
 *    wins, whatever its term (Raft's figure 8).
 *  - RAFT_DO_SEND may be lost, repeated, delayed, reordered.
 *  - RAFT_DO_STOP is final, as raft_fail() is.
 *  - Nothing is applied beyond RAFT_DO_COMMIT's index. It never exceeds what is durable here, so
 *    the state machine is never ahead of its own log.
 *  - raft_tick() goes before other events that arrive at a later time: it alone moves the clock.
 *
 * Threads: one owner.
 */
#ifndef COORDINATOR_RAFT_RAFT_H
#define COORDINATOR_RAFT_RAFT_H

#include "base/err.h"
#include "base/types.h"
#include "proto/messages.h"

enum {
    RAFT_MEMBERS_MAX = 9,          /* voters and learners */
    RAFT_SEND_ENTRIES_MAX = 512,   /* entries of one message */
    RAFT_SEND_BYTES_MAX = 2 << 20, /* their bytes; one entry alone may be larger */
    RAFT_FLIGHT_MESSAGES_MAX = 8,  /* unacknowledged appends per member (pipelined) */
    RAFT_FLIGHT_BYTES_MAX = 8 << 20,
    RAFT_PENDING_MAX = 4096, /* reads that wait for their majority */
    RAFT_KNOWN_MAX = 16,     /* starts of others that a member remembers */
};

/* ---- what goes through the log ---- */

enum raft_entry_type {
    RAFT_ENTRY_NOOP = 1,     /* a leader's first */
    RAFT_ENTRY_COMMANDS = 2, /* a batch for the state machine; opaque here */
    RAFT_ENTRY_CONFIG = 3,   /* a packed proto_raft_config: the members from this entry on */
};
struct raft_entry {
    uint64_t index, term;
    uint8_t type;
    struct base_slice data;
};

/* The log as the core reads it: what was appended, durable or not. */
struct raft_log_view {
    uint64_t (*first)(void *context); /* index of the first entry that is kept; last + 1 if empty */
    uint64_t (*last)(void *context);  /* 0 when nothing ever was */
    /* Also known at first() - 1, where a snapshot ends. Errors: NOT_FOUND (cut off, or beyond the
     * last), IO, CORRUPT. */
    enum lilio_err (*term)(void *context, uint64_t index, uint64_t *ret_term);
    /* Entries from an index on, at least one, at most count_max and bytes_max (but one always).
     * Data is borrowed until the next read or append. Errors: NOT_FOUND, IO, CORRUPT. */
    enum lilio_err (*read)(void *context, uint64_t index, size_t count_max, size_t bytes_max,
                           struct raft_entry *ret_entries, size_t *ret_count);
    void *context;
};

/* ---- members ---- */

/* A member id is (incarnation << 32 | coordinator number): a coordinator that lost its disk comes
 * back as another member. Members are voters or learners (replicated to, not counted). */
enum raft_member_kind { RAFT_VOTER = 1, RAFT_LEARNER = 2 };

/* ---- starts ---- */

/* Each start of a member has a number, and random bits that tell it from the same number of a copy
 * of its disk. The others remember the newest one; a member promises nothing (no vote, no
 * acknowledgement) before a majority remembers its start. So a disk that went back to an older copy
 * is found out before it is relied on (starts.c).
 *
 * What has to survive besides the log: saved together, given back at the next start. All zeros when
 * it was never saved. */
struct raft_vote {
    uint64_t saves; /* counted by who writes it */
    uint64_t term, vote;
    uint64_t start, start_id; /* of this member; 0 = never started */
    bool told;                /* others may remember it already */
    uint64_t stale;           /* this is an older copy: the others remember this start; 0 = no */
    struct proto_raft_start known[RAFT_KNOWN_MAX];
    size_t known_count;
};

/* ---- messages ---- */

enum raft_message_type {
    RAFT_PRE_VOTE = 1, /* would you vote for me in `term`? changes nothing (section 9.6) */
    RAFT_PRE_VOTE_REPLY,
    RAFT_VOTE,
    RAFT_VOTE_REPLY,
    RAFT_APPEND, /* entries behind (index, log_term); none: a heartbeat */
    RAFT_APPEND_REPLY,
    RAFT_READ,        /* a follower asks for a read index */
    RAFT_READ_REPLY,  /* index: may be read once applied */
    RAFT_TIMEOUT_NOW, /* leadership transfer (section 3.10) */
    RAFT_SNAPSHOT,    /* what you miss is cut off here: pull my state */
    RAFT_HELLO,       /* this is my start; remember it (once you gave me a cookie) */
    RAFT_HELLO_REPLY, /* ok: nothing newer is known here */
};
struct raft_message {
    uint8_t type;
    uint64_t from, to, term;
    /* APPEND: previous; VOTE: last; APPEND_REPLY: match, or where to probe; HELLO: number of the
     * start; HELLO_REPLY: the one that is remembered here, 0 = none */
    uint64_t index;
    uint64_t log_term; /* term at index */
    /* Of a refused APPEND_REPLY: the index that was refused; HELLO_REPLY: a cookie, which comes
     * back in the HELLO that is to be remembered (0 in one that only asks) */
    uint64_t commit;
    /* Of reads: echoed, so that a majority can be counted; of READ: its batch; HELLO: the start's
     * random bits, echoed */
    uint64_t sequence;
    bool ok;        /* of replies */
    bool transfer;  /* VOTE: asked for by the leader, so check-quorum does not refuse it */
    bool uncounted; /* APPEND_REPLY: its start is not announced yet, so this promises nothing */
    const struct raft_entry *entries;
    size_t count;
    const struct proto_raft_start *starts; /* HELLO_REPLY: what is remembered of all */
    size_t start_count;
    uint64_t config; /* HELLO_REPLY: index of the newest configuration there ... */
    uint8_t voters;  /* ... and how many vote in it, whoever asked included */
};

/* ---- life ---- */

struct raft;

struct raft_options {
    uint64_t id;                   /* of this member */
    struct raft_log_view log;      /* borrowed for life */
    const struct raft_vote *saved; /* as saved last; NULL = never; borrowed during the call */
    uint64_t commit;               /* known committed: the state machine's applied index */
    /* Newest configuration at or below `commit` (the state machine keeps it), and its index. The
     * core finds newer ones in the log itself, uncommitted until proven (B5). No members: this is
     * a new member that waits to be told. Borrowed during the call. */
    const struct proto_raft_config *config;
    uint64_t config_index;
    uint32_t election_ms;  /* 0 = 300; each timeout is drawn from [election, 2 election) */
    uint32_t heartbeat_ms; /* 0 = 50 */
    uint64_t seed; /* of timeouts, read batches and the start's id: another one at each start */
    uint64_t now_ms;
};
/* What the log holds now counts as durable. Errors: NOMEM, INVALID (a configuration that is none),
 * CORRUPT (the log does not reach `commit`, or begins behind it), and those of the log. */
LILIO_MUST_USE enum lilio_err raft_new(const struct raft_options *options, struct raft **ret_raft,
                                       struct lilio_errinfo *info);
void raft_free(struct raft **raft);

/* ---- events ---- */

void raft_tick(struct raft *raft, uint64_t now_ms);
/* Milliseconds until raft_tick has something to do; at most heartbeat_ms. */
uint32_t raft_wait_ms(const struct raft *raft);
/* A message, bounds already checked by whoever unpacked it. False: refused (not a member, not for
 * us, entries out of order, ...), nothing changed; the caller counts it. */
bool raft_receive(struct raft *raft, const struct raft_message *message);
/* Everything appended up to (index, term) is durable here, also where it replaced something. An
 * index that was overwritten since (another term is there now) is ignored. */
void raft_persisted(struct raft *raft, uint64_t index, uint64_t term);
/* The state machine has applied everything up to index. */
void raft_applied(struct raft *raft, uint64_t index);
/* The log or the vote cannot be written: steps down, takes part in nothing any more. */
void raft_fail(struct raft *raft);

/* Appends an entry as leader; RAFT_COMMIT (or the loss of leadership) decides it. Errors:
 * NOT_LEADER; BUSY while leadership is being transferred. */
LILIO_MUST_USE enum lilio_err raft_propose(struct raft *raft, struct base_slice data,
                                           uint64_t *ret_index);
/* Asks whether reads may be answered (section 6.4, batched): RAFT_READ with this token follows,
 * with the index that must have been applied, or refused. On a follower the leader is asked.
 * Tokens are the caller's, never 0. Errors: NOT_LEADER (no leader known), BUSY (RAFT_PENDING_MAX).
 */
LILIO_MUST_USE enum lilio_err raft_read(struct raft *raft, uint64_t token);

/* One change of membership at a time (chapter 4). Errors: NOT_LEADER, BUSY (a change or a transfer
 * is under way, this term's no-op is not committed yet, or a new leader has yet to hear those who
 * would vote), EXISTS, NOT_FOUND, INVALID (the last voter; promotion of a learner that has not
 * caught up), PRECONDITION (no majority of those who would vote answers; the text names who does
 * not). */
enum raft_change {
    RAFT_ADD_LEARNER = 1, /* member as given */
    RAFT_PROMOTE,         /* learner -> voter; member->id only */
    RAFT_REMOVE,          /* member->id only; a leader that removes itself leads until committed */
};
LILIO_MUST_USE enum lilio_err raft_change(struct raft *raft, enum raft_change change,
                                          const struct proto_raft_member *member,
                                          uint64_t *ret_index, struct lilio_errinfo *info);
/* Hands leadership to a voter (0 = the furthest that answers; itself: nothing to do). Given up
 * after one election timeout. Errors: NOT_LEADER, BUSY, NOT_FOUND, PRECONDITION (it does not
 * answer). */
LILIO_MUST_USE enum lilio_err raft_transfer(struct raft *raft, uint64_t to);

/* Is a pulled state at (index, term) still news? Not when the log caught up in the meantime: what
 * was acknowledged since would be lost. Asked before the installation begins; until raft_installed
 * no other event comes in between. */
bool raft_install_wanted(struct raft *raft, uint64_t index, uint64_t term);
/* A pulled state was installed: the log is empty behind (index, term) now, config is that of the
 * state. Errors: INVALID (an older state, or no configuration). */
LILIO_MUST_USE enum lilio_err raft_installed(struct raft *raft, uint64_t index, uint64_t term,
                                             const struct proto_raft_config *config,
                                             uint64_t config_index, struct lilio_errinfo *info);
/* The pull failed or is not wanted any more: the leader may offer again. */
void raft_not_installed(struct raft *raft);

/* ---- actions ---- */

enum raft_action_type {
    RAFT_DO_SAVE = 1, /* save: durable, as a whole */
    RAFT_DO_APPEND,   /* entries; what the log holds from the first one's index on is replaced */
    RAFT_DO_SEND,     /* message */
    RAFT_DO_COMMIT,   /* everything up to index may be applied */
    RAFT_DO_READ,     /* token: ok = answer once index is applied; not ok = redirect or retry */
    RAFT_DO_ROLE,     /* role, term, leader, or whether it is announced changed: ask below */
    RAFT_DO_SNAPSHOT, /* pull the state of member `from` */
    RAFT_DO_LEARN,    /* the configuration changed (appended, rolled back or installed) */
    RAFT_DO_STOP,     /* this disk is an older copy of the member's, as was just saved: the end */
};
struct raft_action {
    enum raft_action_type type;
    const struct raft_vote *save;
    const struct raft_entry *entries;
    size_t count;
    struct raft_message message;
    uint64_t index, token, from;
    bool ok;
};
bool raft_action_next(struct raft *raft, struct raft_action *ret);

/* ---- where it stands ---- */

enum raft_role { RAFT_FOLLOWER = 1, RAFT_CANDIDATE, RAFT_LEADER };
enum raft_role raft_role(const struct raft *raft);
uint64_t raft_id(const struct raft *raft);
uint64_t raft_term(const struct raft *raft);
uint64_t raft_commit(const struct raft *raft);
uint64_t raft_leader(const struct raft *raft); /* member id, 0 = not known */
/* A majority remembers this start: votes and acknowledgements are given. */
bool raft_announced(const struct raft *raft);
/* Leader, and an entry of its own term is committed: it knows everything that was acknowledged. */
bool raft_ready(const struct raft *raft);
/* The newest configuration in the log, and whether it is committed. Borrowed until the next event.
 */
const struct proto_raft_config *raft_config(const struct raft *raft, uint64_t *ret_index,
                                            bool *ret_committed);
/* What the leader knows of a member; false for those it does not know, or when it does not lead. */
struct raft_progress {
    uint64_t match;     /* durable there */
    uint32_t silent_ms; /* since it was heard last, or since this leader began */
    bool heard;         /* it has answered this leader */
    bool snapshot;      /* it is pulling the state */
};
bool raft_progress_get(const struct raft *raft, uint64_t id, struct raft_progress *ret);

#endif
