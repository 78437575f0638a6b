/* The inside of the consensus core: state of one member and what its parts call of each other.
 *
 * An event changes this state; raft_action_next() looks at it and finds what has to be done. So
 * there is no queue of actions: flags say what is due, and appends are made when they are taken.
 * Only short answers wait in a small ring (out).
 */
#ifndef COORDINATOR_RAFT_RAFT_PRIV_H
#define COORDINATOR_RAFT_RAFT_PRIV_H

#include "base/bytes.h"
#include "coordinator/raft/raft.h"

enum {
    RAFT_OUT_MAX = 32, /* short messages of one event */
    RAFT_ADDRESS_MAX = 255,
};

/* A configuration with its own memory. */
struct raft_members {
    uint64_t index; /* of its entry */
    struct proto_raft_config config;
    struct proto_raft_member list[RAFT_MEMBERS_MAX];
    uint8_t text[RAFT_MEMBERS_MAX][2][RAFT_ADDRESS_MAX];
};

/* How a leader sends to a member:
 *
 *     PROBE ----- accepted -----> REPLICATE      PROBE: one message, until it is known where both
 *       ^ <------ refused -----------'           logs agree. REPLICATE: pipelined, next runs ahead
 *       |                                        of match. SNAPSHOT: what it needs is cut off; it
 *       '-- match is in the log -- SNAPSHOT      is offered the state at every heartbeat.
 *
 * PROBE and REPLICATE go to SNAPSHOT when the log answers NOT_FOUND.
 */
enum raft_mode { RAFT_MODE_PROBE = 1, RAFT_MODE_REPLICATE, RAFT_MODE_SNAPSHOT };

struct raft_flight {
    uint64_t last; /* index */
    size_t bytes;
};
/* What somebody says of this member's start (starts.c). */
struct raft_witness {
    bool hello_due, fresh, remembers;
    uint64_t config; /* index of its newest configuration, and how many vote in it */
    uint8_t voters;
    uint64_t cookie; /* that it gave for this member's hello; 0 = none yet */
};
struct raft_stranger {
    uint64_t id;
    struct raft_witness witness;
};
struct raft_peer {
    uint64_t id;
    bool voter;
    struct raft_witness witness;
    /* What a candidate knows of it. */
    bool ask_due, answered, granted;
    /* What a leader knows of it. */
    enum raft_mode mode;
    uint64_t match;   /* durable there, checked against this leader's log */
    uint64_t next;    /* to be sent next */
    uint64_t probe;   /* PROBE: where agreement was asked for ... */
    bool waiting;     /* ... and the answer is not here yet */
    bool uncounted;   /* says that its start is not announced: nothing of it counts until then */
    uint64_t counted; /* like match, but acknowledged by a start that was announced */
    bool heartbeat_due;
    uint64_t sequence; /* of reads: highest echo */
    uint64_t heard_ms; /* or when it began to lead, of one that has not answered it yet */
    bool heard;        /* it has */
    struct raft_flight flights[RAFT_FLIGHT_MESSAGES_MAX]; /* a ring */
    size_t flight_first, flight_count, flight_bytes;
};

/* A read that waits: on a leader until a majority echoed its sequence, on a follower until the
 * leader answered its batch. Reads are decided in their order. */
struct raft_waiting_read {
    uint64_t token;
    uint64_t from;     /* member that asked; 0 = our owner */
    uint64_t sequence; /* leader: round; follower: batch */
    uint64_t index;
    bool ok;
};

struct raft {
    uint64_t id;
    struct raft_log_view log;
    uint32_t election_ms, heartbeat_ms;
    uint64_t random;
    uint64_t now_ms;
    bool failed;

    /* Saved before anything that depends on it goes out. */
    uint64_t term, vote;
    bool save_due;

    /* This start, and what others said of theirs. Saved likewise. */
    uint64_t start, start_id, stale;
    bool told; /* the others are being told to remember it */
    struct proto_raft_start known[RAFT_KNOWN_MAX];
    size_t known_count;
    struct raft_vote saving;

    bool announced, stop_due;
    struct raft_stranger strangers[RAFT_MEMBERS_MAX]; /* until it is announced */
    size_t stranger_count;
    uint64_t cookie_seed;
    uint64_t start_ms, hello_at_ms;
    uint32_t hello_every_ms;

    enum raft_role role;
    bool pre;      /* candidate: still asking whether it may ask (9.6) */
    bool transfer; /* candidate: the leader told it to */
    uint64_t leader;
    uint64_t election_at_ms, heartbeat_at_ms;
    uint64_t leader_heard_ms;

    /* The log, entries that are staged included. */
    uint64_t last, last_term;
    uint64_t persisted; /* durable here */
    uint64_t verified;  /* agrees with the log of this term's leader up to here (B1) */
    uint64_t commit;
    const struct raft_entry *staged; /* borrowed from the event, until RAFT_DO_APPEND */
    size_t staged_count;

    /* The newest configuration in the log counts, committed or not (4.1). The one before it is
     * always committed: no leader appends a second one earlier. */
    struct raft_members newest, previous;
    struct raft_peer peers[RAFT_MEMBERS_MAX]; /* of newest, this member included */
    size_t peer_count;

    /* Leader. */
    uint64_t term_start; /* index of its no-op */
    uint64_t transfer_to, transfer_until_ms;
    uint64_t round, round_done; /* of reads: sent last, confirmed last */

    /* Follower. */
    uint64_t acked; /* highest index acknowledged to this leader */
    uint64_t echo;  /* highest sequence it sent */
    bool pulling, pull_due;
    uint64_t pull_from;
    uint64_t batch, batch_done; /* of reads: asked last, answered last */
    bool ask_due;

    struct raft_waiting_read *reads; /* a ring of RAFT_PENDING_MAX; the first `decided` are over */
    size_t read_first, read_count, reads_decided;

    /* What the owner was told. */
    uint64_t told_commit, told_term, told_leader;
    enum raft_role told_role;
    bool told_announced, learn_due;

    struct raft_message out[RAFT_OUT_MAX];
    size_t out_first, out_count;

    struct raft_entry own; /* proposed last */
    struct base_buffer packed;
    struct proto_arena *arena;
    struct raft_entry scratch[RAFT_SEND_ENTRIES_MAX];
};

/* ---- raft.c ---- */

/* Sends a message without entries; `from` is filled in, `term` too where it is 0. */
void raft_push(struct raft *raft, struct raft_message message);
/* The term of an entry at or below last that is not staged. Errors: NOT_FOUND (cut off), or the
 * log's, after raft_fail(). */
LILIO_MUST_USE enum lilio_err raft_log_term(struct raft *raft, uint64_t index, uint64_t *ret_term);
/* Appends an entry of this leader. */
void raft_stage_own(struct raft *raft, enum raft_entry_type type, struct base_slice data);
struct raft_peer *raft_peer_find(struct raft *raft, uint64_t id);
bool raft_is_voter(const struct raft *raft);
/* The highest value that a majority of the voters has or exceeds; 0 without voters. */
uint64_t raft_majority(const struct raft *raft,
                       uint64_t (*value)(const struct raft *, const struct raft_peer *));
/* Appends what a leader sent, in the place of what the log holds from there on. */
void raft_stage_received(struct raft *raft, const struct raft_entry *entries, size_t count);
void raft_commit_to(struct raft *raft, uint64_t index);

/* ---- election.c ---- */

uint64_t raft_draw(struct raft *raft);
void raft_timer_reset(struct raft *raft);
/* Becomes or stays a follower of a term; leader 0 = not known. */
void raft_follow(struct raft *raft, uint64_t term, uint64_t leader);
/* It leads, or heard the leader lately. */
bool raft_hears_leader(const struct raft *raft);
/* It is a member here, or we do not know any. */
bool raft_is_known(const struct raft *raft, uint64_t from);
/* Its messages count: it is known, or no leader is heard. */
bool raft_listens_to(const struct raft *raft, uint64_t from);
/* The sender of a reply is a member and both are in the same term; a higher one is taken over. */
bool raft_same_term(struct raft *raft, const struct raft_message *message);
void raft_election_tick(struct raft *raft);
void raft_leader_tick(struct raft *raft);
bool raft_vote_next(struct raft *raft, struct raft_message *ret);
bool raft_on_pre_vote(struct raft *raft, const struct raft_message *message);
bool raft_on_pre_vote_reply(struct raft *raft, const struct raft_message *message);
bool raft_on_vote(struct raft *raft, const struct raft_message *message);
bool raft_on_vote_reply(struct raft *raft, const struct raft_message *message);
bool raft_on_timeout_now(struct raft *raft, const struct raft_message *message);
/* The voter that is furthest, one that answers if any does, never this member; NULL if there is
 * none. */
struct raft_peer *raft_furthest(struct raft *raft);
void raft_transfer_check(struct raft *raft);

/* ---- starts.c ---- */

void raft_start_begin(struct raft *raft, const struct raft_vote *saved);
/* After who counts, or what they say, changed. */
void raft_start_check(struct raft *raft);
void raft_start_tick(struct raft *raft);
/* A message came from a member. One that is not in the newest configuration may be of a later one.
 */
void raft_start_meet(struct raft *raft, uint64_t member);
void raft_strangers_forget(struct raft *raft);
bool raft_hello_next(struct raft *raft, struct raft_message *ret);
bool raft_on_hello(struct raft *raft, const struct raft_message *message);
bool raft_on_hello_reply(struct raft *raft, const struct raft_message *message);

/* ---- replication.c: the leader's side ---- */

void raft_peer_start(struct raft *raft, struct raft_peer *peer);
bool raft_append_next(struct raft *raft, struct raft_message *ret);
bool raft_on_append_reply(struct raft *raft, const struct raft_message *message);
void raft_commit_check(struct raft *raft);

/* ---- follower.c: the other side ---- */

bool raft_on_append(struct raft *raft, const struct raft_message *message);
/* Acknowledges what is checked and durable. */
void raft_ack(struct raft *raft);
uint64_t raft_ackable(const struct raft *raft);

/* ---- reads.c ---- */

void raft_reads_refuse(struct raft *raft);
void raft_reads_ready(struct raft *raft);
void raft_reads_round(struct raft *raft);
void raft_reads_confirm(struct raft *raft);
void raft_reads_tick(struct raft *raft);
bool raft_read_send_next(struct raft *raft, struct raft_message *ret);
bool raft_read_next(struct raft *raft, struct raft_action *ret);
bool raft_on_read(struct raft *raft, const struct raft_message *message);
bool raft_on_read_reply(struct raft *raft, const struct raft_message *message);

/* ---- members.c ---- */

/* False when it is no configuration: nothing changed then. */
bool raft_members_set(struct raft_members *members, const struct proto_raft_config *config,
                      uint64_t index);
void raft_peers_rebuild(struct raft *raft);
bool raft_config_entry_valid(struct raft *raft, const struct raft_entry *entry);
/* A configuration entry was appended; checked before. */
void raft_config_appended(struct raft *raft, const struct raft_entry *entry);
/* Everything from index on was replaced. */
void raft_config_truncated(struct raft *raft, uint64_t index);
LILIO_MUST_USE enum lilio_err raft_config_scan(struct raft *raft);
/* This leader's removal is committed: hands over. */
void raft_removed_check(struct raft *raft);

#endif
