/* A group of raft cores in memory: logs that lose what is not persisted, a network that loses,
 * repeats, delays, reorders and cuts, virtual time. Everything is drawn from one seed. What happens
 * is held against Raft's properties after every event (raft_check.c); the first that is broken is
 * kept as text.
 */
#ifndef TESTS_RAFT_NET_H
#define TESTS_RAFT_NET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/raft/raft.h"

enum {
    NET_NODES_MAX = 9, /* their ids are 1 to 9 */
    NET_DATA_MAX = 200,
    NET_TERMS_MAX = 8192,
};

struct net_entry {
    uint64_t index, term, chain; /* chain: digest of this entry and everything before it */
    uint8_t type;
    uint16_t size;
    uint8_t data[NET_DATA_MAX];
};
struct net_log {
    uint64_t base, base_term, base_chain; /* what is before the first entry */
    struct net_entry *entries;
    size_t count, room;
};
/* The state machine: a digest of what was applied. */
struct net_state {
    uint64_t applied, term, chain;
    uint64_t config_index;
    uint16_t config_size;
    uint8_t config[NET_DATA_MAX];
};
struct net_pull {
    bool under_way;
    uint64_t at_ms;
    struct net_state state;
};
struct net;
struct net_node {
    struct net *net;
    uint64_t id;
    bool started, up;
    struct raft *raft;
    /* What a crash leaves. */
    struct raft_vote saved;
    struct net_log disk;
    struct net_state flushed;
    /* What a crash takes. */
    struct net_log log;
    struct net_log waiting; /* appended, not persisted, in this order; base is not used */
    struct net_state state;
    struct net_pull pull;
    uint64_t paused_until_ms;
    unsigned crash_in; /* actions until it crashes; 0 = does not */
    uint64_t checked_commit, leader_term;
    bool older;               /* its disk went back: it must not promise anything any more */
    bool stopped;             /* it was told so */
    enum lilio_err log_error; /* what the log answers to a read, if not OK */
    unsigned appends, sends, learns;
};
struct net_message {
    struct net_message *next;
    uint64_t at_ms;
    struct raft_message m;
    struct raft_entry *entries;
    struct proto_raft_start starts[RAFT_KNOWN_MAX];
};
struct net_read {
    uint64_t committed; /* when it was asked */
    uint64_t index;
    uint64_t node;
    uint8_t answer; /* 0 none yet, 1 ok, 2 refused, 3 gone with a crash */
};
struct net_truth {
    uint64_t term, chain, commit_term;
};
struct net_known {
    uint64_t index, term, chain;
};

struct net {
    uint64_t now_ms, seed;
    struct net_node nodes[NET_NODES_MAX];
    struct net_message *messages; /* by time */
    size_t message_count;
    bool cut[NET_NODES_MAX + 1][NET_NODES_MAX + 1]; /* from, to */
    bool far_terms; /* the test wants them beyond NET_TERMS_MAX, where leaders are not checked */
    bool hold;      /* nothing is delivered */
    unsigned drop_percent, dup_percent, delay_ms; /* delay: up to */
    bool lazy_disk;  /* persisted only by net_persist; otherwise at once */
    size_t read_max; /* entries the log answers at once; 0 = all */
    struct proto_arena *arena;
    /* What the checker knows. */
    struct net_truth *truth;
    size_t truth_room;
    uint64_t truth_last;
    struct net_known *known;
    uint64_t leaders[NET_TERMS_MAX];
    struct net_read *reads;
    size_t read_count, read_room;
    uint64_t proposed;
    unsigned snapshots, truncations, elections, refused;
    size_t entries_most; /* of one message */
    char violation[256];
};

/* The first `voters` nodes are members from the start, run, and know of each other's start. */
void net_start(struct net *net, size_t voters, uint64_t seed);
void net_stop(struct net *net);
uint64_t net_random(struct net *net, uint64_t below);
struct net_node *net_node(struct net *net, uint64_t id);

/* Time, ticks, and every message that is due. */
void net_step(struct net *net, uint64_t ms);
void net_run(struct net *net, uint64_t ms);
/* Until one leader is ready and every running voter knows it; 0 when that takes more than 10 s. */
uint64_t net_elect(struct net *net);
uint64_t net_leader(struct net *net); /* a leader of the highest term, 0 = none */

/* Persists up to `count` of what waits. */
void net_persist(struct net_node *node, size_t count);
/* `kept`: how many waiting entries reached the disk all the same. */
void net_crash(struct net_node *node, size_t kept);
void net_restart(struct net_node *node);
/* The test says for the other members that its start is remembered, if it may promise nothing yet.
 */
void net_announce(struct net_node *node);
/* What a crash leaves, as a copy, and a node that is down goes back to it. */
struct net_copy {
    struct raft_vote saved;
    struct net_log disk;
    struct net_state flushed;
};
void net_copy_make(const struct net_node *node, struct net_copy *ret);
void net_copy_put_back(struct net_node *node, const struct net_copy *copy);
void net_copy_free(struct net_copy *copy);
/* As a member that waits to be told. */
void net_start_blank(struct net *net, uint64_t id);
void net_flush(struct net_node *node);
void net_cut_log(struct net_node *node, uint64_t index);
void net_isolate(struct net *net, uint64_t id, bool isolated);

/* Events, with what follows from them. */
enum lilio_err net_propose(struct net_node *node);
size_t net_read(struct net_node *node); /* place in net->reads, SIZE_MAX if refused at once */
enum lilio_err net_change(struct net_node *node, enum raft_change change, uint64_t id);
enum lilio_err net_transfer(struct net_node *node, uint64_t to);
bool net_receive(struct net_node *node, struct raft_message message);
/* Takes a message that waits in the network out of it; entries are dropped. */
bool net_take(struct net *net, enum raft_message_type type, uint64_t from, uint64_t to,
              struct raft_message *ret);
void net_forget(struct net *net); /* all messages */

/* Entries as a log holds them. */
const struct net_entry *net_log_at(const struct net_log *log, uint64_t index);
uint64_t net_log_last(const struct net_log *log);
bool net_log_chain(const struct net_log *log, uint64_t index, uint64_t *ret_chain);

/* raft_check.c */
void net_violate(struct net *net, const char *format, ...) LILIO_PRINTF(2, 3);
void net_check_append(struct net_node *node, const struct net_entry *entry, bool replaces);
void net_check_send(struct net_node *node, const struct raft_message *message);
void net_check_apply(struct net_node *node, const struct net_entry *entry);
void net_check_read(struct net_node *node, const struct raft_action *action);
void net_check_node(struct net_node *node);

/* raft_chaos.c: one seed of everything at once; the violation, "" if there is none. */
const char *chaos_run(struct net *net, uint64_t seed);

#endif
