/* Whom of several coordinators to ask: what is known of them, and the way of one request through
 * them. Pure: no clock, socket, lock or randomness of its own, so that a simulated client decides
 * as a real one does. proto/line.h carries it out.
 *
 *   1. First asked is whoever led when last heard of; else the one whose turn it is. Any
 * coordinator answers reads, so an answer to a read makes its sender the first one, too: a change
 * that meets a follower there is sent on to the leader by its answer.
 *   2. NOT_LEADER with an address: that one next, at once. Its address is remembered, also when
 *      lilio.yaml does not have it.
 *   3. NOT_LEADER without: an election. The next one after a short pause, longer with each time.
 *   4. The connection broke, or none came about: the next one at once, whoever failed last of all.
 *   5. Silence for the length of an attempt: likewise; each silence doubles it, so that a leader
 * who is only slow gets to answer.
 *   6. BUSY: the same one after a pause.
 *   7. Its maps cannot be read (CORRUPT, IO): the next one at once, as if it were gone.
 *
 * Whoever failed is not asked again for PROTO_LEADER_SHUN_MS, even if others still call it the
 * leader, as long as there is somebody else to ask. One coordinator alone is waited for until the
 * end.
 *
 * Does not guarantee: that two coordinators that name each other are ever left; each turn costs a
 * pause.
 */
#ifndef PROTO_LEADER_H
#define PROTO_LEADER_H

#include "base/err.h"
#include "base/types.h"

enum {
    PROTO_LEADER_COORDINATORS_MAX = 16, /* further ones take the place of the oldest learnt one */
    PROTO_LEADER_ENDPOINT_BYTES = 256,
    PROTO_LEADER_ATTEMPT_MS = 500, /* silence after which the next one is asked; doubles ... */
    PROTO_LEADER_ATTEMPT_MS_MAX = 8000,
    PROTO_LEADER_CONNECT_MS = 200, /* without a connection, likewise */
    PROTO_LEADER_PAUSE_MS = 40,    /* without a leader; doubles every other time */
    PROTO_LEADER_PAUSE_MS_MAX = 200,
    PROTO_LEADER_BUSY_MS = 10, /* doubles */
    PROTO_LEADER_BUSY_MS_MAX = 500,
    PROTO_LEADER_REDIRECTS_MAX = 4, /* followed at once; after a pause from there on */
    PROTO_LEADER_SHUN_MS = 500,
};

/* What is known of the coordinators. Shared by those who ask; guarded by its owner. */
struct proto_leader {
    char endpoints[PROTO_LEADER_COORDINATORS_MAX][PROTO_LEADER_ENDPOINT_BYTES];
    uint64_t
        failed_ms[PROTO_LEADER_COORDINATORS_MAX]; /* when it last failed; 0 = it answered since */
    size_t count, configured;                     /* configured: those of lilio.yaml come first */
    size_t first;                                 /* whom to ask first */
    size_t replaced;                              /* how many learnt ones gave up their place */
};
/* At least one endpoint; those beyond the bound, or too long, are left out. */
void proto_leader_init(struct proto_leader *leader, const char *const *endpoints, size_t count);
/* Remembers an endpoint the cluster named and returns its index; SIZE_MAX if it is no endpoint. */
size_t proto_leader_learn(struct proto_leader *leader, struct base_slice endpoint);

/* What became of asking somebody. */
enum proto_ask_event {
    PROTO_ASK_NOT_LEADER,
    PROTO_ASK_BUSY,
    PROTO_ASK_BROKEN,      /* the connection broke with the request under way */
    PROTO_ASK_UNREACHABLE, /* no connection in time */
    PROTO_ASK_SILENT,      /* no answer in time */
    PROTO_ASK_DAMAGED,     /* it cannot read its maps */
};
#define PROTO_ASK_EVENTS 6

/* One request's way. */
struct proto_ask {
    uint64_t end_ms;                 /* of its patience */
    uint64_t not_before_ms;          /* when to send it to the one whose turn it is */
    uint32_t connect_ms, attempt_ms; /* patience with that one: for a connection, for an answer */
    size_t at;                       /* whose turn it is */
    char endpoint[PROTO_LEADER_ENDPOINT_BYTES]; /* of that one */
    uint64_t jitter;
    uint32_t silences, unreachables, pauses, redirects, busies;
    bool several;
    struct {
        char endpoint[PROTO_LEADER_ENDPOINT_BYTES];
        enum proto_ask_event event;
    } tried[4]; /* the last ones, for humans */
    size_t tried_count;
};
/* Begins with whom to ask first. seed: of the jitter. */
void proto_ask_begin(struct proto_ask *ask, const struct proto_leader *leader, uint32_t timeout_ms,
                     uint64_t seed, uint64_t now_ms);
/* Somebody failed to answer for good; named: the leader's address with NOT_LEADER, else empty. Sets
 * whose turn it is now, and when. */
void proto_ask_failed(struct proto_ask *ask, struct proto_leader *leader,
                      enum proto_ask_event event, struct base_slice named, uint64_t now_ms);
/* The one asked gave the answer. */
void proto_ask_answered(struct proto_ask *ask, struct proto_leader *leader);
/* "ipc:///a: no answer; ipc:///b: not the leader": whom the request met, the last one last. */
void proto_ask_describe(const struct proto_ask *ask, char *ret, size_t room);

/* first_ms, doubled so many times, at most max_ms; from it a random value between half and all. */
uint64_t proto_ask_pause_ms(uint64_t first_ms, uint64_t max_ms, uint32_t times, uint64_t *jitter);

#endif
