/* What a coordinator does with requests and time. Sans-I/O: requests, time and results go in;
 * rounds of commands for the log and answers come out, through the interfaces passed in.
 *
 *   receive()   --> reads wait; changes become commands of the round that gathers
 *   tick()      --> what time brings (silent OSDs, expired sessions, runs to collect) becomes
 *                   commands, too
 *   round()     --> closes a round: its commands are one entry of the log, its reads wait for a
 *                   confirmation. Up to COORD_ROUNDS_MAX with commands are under way while the next
 *                   one gathers
 *   applied()   --> the caller applied a round's entry: its commands are answered
 *   confirmed() --> who leads is known to have led since, and the rows are new enough: the reads of
 *                   a round, and of those before it, are answered from the rows
 *   lead(), follow() --> the role, as Raft decides it
 *
 * Follows until told to lead. A follower answers reads of the maps; what changes them, and what
 * concerns live state, gets NOT_LEADER with the leader's address.
 *
 * In memory only, and made anew from the rows at each lead(): when OSDs and sessions were last
 * heard, leases of readers, walks, which OSD was asked to collect what. Every OSD and session then
 * has its full time, and nothing that a reader might still hold is collected before every session
 * has renewed or expired.
 *
 * Threads: one owner.
 */
#ifndef COORDINATOR_SERVICE_H
#define COORDINATOR_SERVICE_H

#include "base/disk.h"
#include "base/env.h"
#include "base/log.h"
#include "coordinator/state.h"

struct coord_service;

/* A request: body and token are borrowed until it is answered. Each is answered exactly once. */
struct coord_request {
    void *token;
    struct proto_header header;
    const struct proto_type *type;
    struct base_slice body;
};

/* Where answers go and what the machine tells. */
struct coord_port {
    void (*reply)(void *context, void *token, const struct proto_type *type, const void *value,
                  uint64_t epoch);
    void (*reply_packed)(void *context, void *token, uint16_t number, struct base_slice body,
                         uint64_t epoch);
    uint64_t (*map_bytes)(void *context);                      /* disk use of the maps */
    bool (*space)(void *context, struct base_disk_space *ret); /* false: cannot be told */
    /* The coordinators as a status shows them, at most room; texts are borrowed until the next
     * call. 0, or NULL: this one stands alone and answers for itself. */
    size_t (*coordinators)(void *context, struct proto_coordinator *ret, size_t room);
    /* A coordinator_change or coordinator_transfer at the leader: whoever takes it answers it
     * through its token, once. NULL: UNSUPPORTED. */
    void (*quorum)(void *context, const struct coord_request *request);
    void *context;
};

struct coord_service_options {
    struct base_kv *kv;        /* the one of the state, for snapshots */
    struct coord_state *state; /* borrowed; may be without a cluster yet */
    struct coord_port port;
    const struct base_clock *clock;
    const struct base_random *random;
    struct base_log *log; /* may be NULL */
    uint32_t id;          /* of this coordinator */
    const char *address;
    const char *software;
    uint64_t gc_grace_ms;
    bool fresh;            /* the cluster was made by this process, which has led ever since */
    uint32_t heartbeat_ms; /* 0 = 1000 */
    uint32_t suspect_ms;   /* 0 = 3000 */
    uint32_t down_ms;      /* 0 = 10000 */
    uint32_t out_ms;       /* 0 = 600000 */
};
/* Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err coord_service_new(const struct coord_service_options *options,
                                                struct coord_service **ret_service,
                                                struct lilio_errinfo *info);
/* Requests that were not answered are forgotten with their tokens. */
void coord_service_free(struct coord_service **service);

/* ---- roles ---- */

/* This coordinator leads: everything in the log up to its own term's no-op is applied. Live state
 * is made from the rows; reads that wait become reads of the round that gathers. Leading already:
 * nothing. Errors: IO, CORRUPT, NOMEM: it still follows, the process has to stop. */
LILIO_MUST_USE enum lilio_err coord_service_lead(struct coord_service *service,
                                                 struct lilio_errinfo *info);
/* It does not, or somebody else does now (leader's address; NULL = not known): all that gathers or
 * is under way is answered NOT_LEADER, the rounds are forgotten, so is live state. May be said as
 * often as the leader changes, or when reads cannot be confirmed. */
void coord_service_follow(struct coord_service *service, const char *leader);
/* The maps were replaced by a pulled state. Followers only. */
void coord_service_use(struct coord_service *service, struct base_kv *kv,
                       struct coord_state *state);

/* Whether so much of the disk is free that changes which add to the maps are taken. Looked at ten
 * times a second at most, as long as there is room. */
bool coord_service_space_left(struct coord_service *service);

/* ---- requests and time ---- */

/* True when round() or applied() have to come before the next receive(). */
bool coord_service_full(const struct coord_service *service);
void coord_service_receive(struct coord_service *service, const struct coord_request *request);
void coord_service_tick(struct coord_service *service);
/* Milliseconds until tick() has something to do. */
int coord_service_wait_ms(const struct coord_service *service);

/* ---- rounds ---- */

struct coord_round {
    uint64_t id;                       /* grows, never comes back */
    const struct base_slice *commands; /* borrowed until applied() or follow() */
    size_t count; /* at most COORD_ENTRY_COMMANDS_MAX; fewer than 2 * COORD_ENTRY_BYTES_MAX bytes */
    bool reads;   /* some wait for confirmed() */
};
/* Closes the round that gathered; false when nothing waits or nothing may go: while
 * COORD_ROUNDS_MAX rounds with commands are under way the next commands wait (reads go on). A round
 * that the log does not take yet is offered to it again by the caller. */
bool coord_service_round(struct coord_service *service, struct coord_round *ret);
/* The entry of a round with commands was applied, in the order of rounds; results as
 * coord_state_apply() gave them. Rounds that follow() forgot are ignored. */
void coord_service_applied(struct coord_service *service, uint64_t round,
                           const struct coord_result *results);
/* Reads of rounds up to this one may be answered from the rows as they are now. */
void coord_service_confirmed(struct coord_service *service, uint64_t round);

#endif
