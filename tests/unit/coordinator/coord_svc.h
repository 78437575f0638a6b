/* A service on virtual time: calls are answered at once, time goes on in steps of a tick, OSDs beat
 * when they are told to. */
#ifndef TESTS_COORD_SVC_H
#define TESTS_COORD_SVC_H

#include "coord_fixture.h"

#include "coordinator/service.h"

/* A request that is sent and answered apart. */
struct svc_call {
    struct base_buffer body, reply;
    unsigned answers; /* 1 in the end, or something is wrong */
    uint16_t type;    /* of the answer */
    enum lilio_err err;
    char leader[64]; /* of NOT_LEADER */
    bool taken;      /* likewise */
};

struct svc {
    struct fx *fx;
    struct svc_call *quorum; /* the last one that was handed to the port */
    struct coord_service *service;
    struct coord_service_options options;
    struct base_clock clock;
    struct base_random random;
    uint64_t now_ms, random_state;
    struct base_disk_space space;
    uint64_t answers; /* ever given */
    uint16_t type;    /* of the last answer */
    uint64_t epoch;
    struct base_buffer reply;
    struct coord_result results[COORD_ENTRY_COMMANDS_MAX];
    bool alive[FX_OSDS];                               /* beats each second while time goes on */
    uint8_t says[FX_OSDS];                             /* the state it tells then; 0: up */
    uint64_t used_bytes[FX_OSDS], free_bytes[FX_OSDS]; /* told by each heartbeat; 0: no use, half */
    bool collects[FX_OSDS];                            /* confirms what it is asked to collect */
    struct proto_collect_job todo[FX_OSDS][256];
    size_t todo_count[FX_OSDS];
    uint64_t collected[FX_OSDS]; /* jobs ever handed to it */
};

/* Leads. gc_grace_ms as given; a fresh cluster (no reader can hold anything) or one that was there
 * before.
 */
struct svc *svc_new(bool rocksdb, uint64_t gc_grace_ms, bool fresh);
void svc_free(struct svc *svc);
/* The process ends and starts again on the same store. */
void svc_restart(struct svc *svc);
/* The error of the answer (OK for anything but proto_error). */
enum lilio_err svc_call(struct svc *svc, uint64_t session, uint64_t sequence,
                        const struct proto_type *type, const void *value);
/* The same without waiting. */
void svc_send(struct svc *svc, struct svc_call *call, uint64_t session, uint64_t sequence,
              const struct proto_type *type, const void *value);
void svc_call_clear(struct svc_call *call);
/* Unpacks the answer into the fixture's arena. */
void svc_call_reply(struct svc *svc, const struct svc_call *call, const struct proto_type *type,
                    void *ret);
void svc_reply(struct svc *svc, const struct proto_type *type, void *ret);
/* Time goes on: ticks, heartbeats of the OSDs that are alive. */
void svc_pass(struct svc *svc, uint64_t ms);
/* All rounds that wait, applied and confirmed. */
void svc_pump(struct svc *svc);
/* The next entry of the log: applied and committed; the service is told, or not. */
void svc_apply(struct svc *svc, const struct coord_round *round);
void svc_apply_only(struct svc *svc, const struct base_slice *commands, size_t count);
struct proto_osd_orders svc_beat(struct svc *svc, uint32_t osd, uint8_t state);
uint8_t svc_state(struct svc *svc, uint32_t osd); /* as the map shows it */
uint8_t svc_row(struct svc *svc, uint32_t osd);   /* as the row says */

#endif
