/* What a coordinator does with requests and time. Sans-I/O: requests, time and results go in;
 * entries to put into the log and answers come out, through the interfaces passed in.
 *
 *   receive() --> reads wait; changes become commands of the next entry
 *   tick()    --> what time brings (silent OSDs, expired sessions, runs to collect) becomes
 * commands, too entry()   --> the commands of the next entry, for the log applied() --> applies
 * that entry, makes it durable, answers what it decided, then the reads that waited
 *
 * The daemon calls the four in turn. With several coordinators Raft stands between entry() and
 * applied().
 *
 * In memory only, and rebuilt after a restart: when OSDs and sessions were last heard, leases of
 * readers, walks, which OSD was asked to collect what. After a restart every OSD and session has
 * its full time, and nothing that a reader might still hold is collected before every session has
 * renewed or expired.
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
    void *context;
};

struct coord_service_options {
    struct base_kv *kv;        /* the one of the state, for snapshots */
    struct coord_state *state; /* initialised; borrowed */
    struct coord_port port;
    const struct base_clock *clock;
    const struct base_random *random;
    struct base_log *log; /* may be NULL */
    uint32_t id;          /* of this coordinator */
    const char *address;
    const char *software;
    uint64_t gc_grace_ms;
    bool fresh;            /* the cluster was made by this process: no reader can hold anything */
    uint32_t heartbeat_ms; /* 0 = 1000 */
    uint32_t suspect_ms;   /* 0 = 3000 */
    uint32_t down_ms;      /* 0 = 10000 */
    uint32_t out_ms;       /* 0 = 600000 */
};
/* Errors: NOMEM, IO, CORRUPT. */
LILIO_MUST_USE enum lilio_err coord_service_new(const struct coord_service_options *options,
                                                struct coord_service **ret_service,
                                                struct lilio_errinfo *info);
/* All requests must be answered. */
void coord_service_free(struct coord_service **service);

/* True when entry() and applied() have to come before the next receive(). */
bool coord_service_full(const struct coord_service *service);
void coord_service_receive(struct coord_service *service, const struct coord_request *request);
void coord_service_tick(struct coord_service *service);
/* Milliseconds until tick() has something to do. */
int coord_service_wait_ms(const struct coord_service *service);

/* The commands that wait, in order; 0 when there is none. Borrowed until applied(). */
size_t coord_service_entry(struct coord_service *service, const struct base_slice **ret_commands);
/* The entry returned last is at this index of the log (above the applied one); without commands
 * only the reads are answered. Errors: IO, NO_SPACE, CORRUPT, NOMEM: nothing was answered, the
 * process has to stop. */
LILIO_MUST_USE enum lilio_err coord_service_applied(struct coord_service *service, uint64_t index,
                                                    struct lilio_errinfo *info);

#endif
