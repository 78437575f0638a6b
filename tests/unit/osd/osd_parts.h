/* What the tests of the OSD daemon share: a cluster map, coded stripes, and one whole OSD (node,
 * home, service) over inproc with a spy store on a crash disk, pumped by the test or by a thread of
 * its own. */
#ifndef TESTS_OSD_PARTS_H
#define TESTS_OSD_PARTS_H

#include "osd/rebuild_run.h"
#include "osd/service.h"
#include "proto/placement.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/crash_disk.h"
#include "tests/unit/osd/kill_disk.h"
#include "tests/unit/osd/spy_store.h"

enum { PARTS_OSDS = 6, PARTS_DATA = 4, PARTS_PARITY = 2, PARTS_FRAGMENT = 128 * 1024 };
enum { PARTS_PLACEMENT = 1, PARTS_BITS = 4, PARTS_PATIENCE_MS = 20000 };

/* ---- map and data ---- */

/* Where osd.N listens, in a folder of this process, and with name "own" for itself. Over ipc, since
 * ThreadSanitizer cannot see what orders the two ends of an inproc message. */
void parts_endpoint(const char *name, uint32_t id, char ret[128]);
/* PARTS_OSDS OSDs at parts_endpoint("osd", N), all up, one placement of 4+2. */
struct proto_map_ref *parts_map(uint64_t epoch);
/* The same, but all slots of osd.0 went to osd.5 at this epoch, and are filled. */
struct parts_move {
    uint64_t epoch;
    bool fills;         /* they are not yet */
    bool others_fill;   /* slots of osd.1 went there, too, and are not filled */
    bool back;          /* they came back at the next epoch */
    uint32_t away;      /* this OSD is not as it should be; 0: all are */
    uint8_t away_state; /* this, */
    bool away_complete; /* and that */
};
struct proto_map_ref *parts_map_moved(const struct parts_move *move);
struct codec_profile parts_profile(void);
/* A coded stripe of length bytes that follow from the seed. */
struct parts_stripe {
    struct base_oid oid;
    uint32_t stripe, fragment_size;
    uint64_t length;
    uint8_t *bytes[PARTS_OSDS]; /* of each fragment */
    uint32_t block_checksums[PARTS_OSDS][CODEC_BLOCKS_MAX];
    uint32_t checksums[PARTS_OSDS]; /* as in the data row */
};
void parts_stripe_make(struct parts_stripe *ret, struct base_oid oid, uint32_t stripe,
                       uint64_t length);
void parts_stripe_release(struct parts_stripe *stripe);
struct base_fragment_key parts_key(struct base_oid oid, uint32_t stripe, uint32_t index);
struct proto_fragment_key parts_wire_key(struct base_oid oid, uint32_t stripe, uint32_t index);
/* The OSD that holds it. */
uint32_t parts_owner(struct base_oid oid, uint32_t stripe, uint32_t index);
/* The put request of one fragment; checksums has room for 4 * CODEC_BLOCKS_MAX bytes. */
struct proto_fragment_put parts_put(const struct parts_stripe *stripe, uint32_t index,
                                    uint8_t *checksums);
/* Straight into a store, without a message. */
void parts_store_put(struct osd_store *store, const struct parts_stripe *stripe, uint32_t index);

/* ---- an OSD ---- */

struct parts {
    uint32_t id;
    struct base_disk *disk;      /* outlives home */
    struct base_disk *kill_disk; /* between home and disk */
    struct osd_store *store;     /* of home, when it is open */
    struct base_uuid opened_uuid;
    uint64_t random_state;
    struct base_random random;
    struct proto_context *context;
    bool own_context;
    struct osd_node *node;
    struct osd_home *home;
    struct osd_collector *collector;
    struct osd_buffers *buffers;
    struct proto_server *server, *own_server;
    struct osd_rebuild *rebuild; /* NULL unless parts_rebuild was called before parts_serve */
    struct osd_service *service;
    pthread_t thread;
    bool has_thread;
};

struct base_uuid parts_cluster(void);
/* A disk, a node and a home on it; nothing serves yet. context NULL: one of its own. */
void parts_init(struct parts *parts, uint32_t id, struct proto_context *context);
/* Service at inproc://osd.N or, with a shared context, at parts_endpoint("osd", N). */
void parts_serve(struct parts *parts);
/* Its second half: a service on the servers that are there. */
void parts_service(struct parts *parts);
/* parts_init, joined and welcomed as incarnation 1, the map of epoch 5 set, serving. */
void parts_init_member(struct parts *parts, uint32_t id, struct proto_context *context);
/* Runs the owner's rounds in a thread until parts_release. */
void parts_run(struct parts *parts);
/* Stops everything. With a shared context: parts_release_context after the context is gone. */
void parts_release(struct parts *parts);
void parts_release_context(struct parts *parts);

/* Options for a home on parts->disk with a spy store. */
struct osd_home_options parts_home_options(struct parts *parts);
/* One request to the OSD over channel and its answer; pumps the service unless it has a thread.
 * payload may be empty; it is copied. */
struct proto_reply *parts_ask(struct parts *parts, struct proto_channel *channel, uint64_t epoch,
                              const struct proto_type *type, const void *value,
                              struct base_slice payload);
void parts_send(struct proto_channel *channel, uint64_t sequence, uint64_t epoch,
                const struct proto_type *type, const void *value, struct base_slice payload);
struct proto_reply *parts_await(struct parts *parts, struct proto_channel *channel);
/* 0 if the reply is of that type, else the error's code. */
enum lilio_err parts_code(const struct proto_reply *reply, const struct proto_type *type);

#endif
