/* What the threads of one OSD share: what the OSD is at the moment, the cluster map, and calls into
 * the owner thread.
 *
 * The owner thread alone touches the disk directory and the store, and publishes what others need
 * to know as a view. The heartbeat and the rebuild worker read the view, hand in maps, and ask the
 * owner to run something for them with osd_node_call. One lock, held for copies only.
 *
 * Threads: any, unless said otherwise.
 */
#ifndef OSD_NODE_H
#define OSD_NODE_H

#include "osd/store.h"
#include "proto/placement.h"

/* What the OSD may do. It follows from the disk, the coordinator's verdict and the store's health
 * (osd/home.c); nobody sets it by hand. */
enum osd_node_state {
    OSD_NODE_WAITING, /* has a disk, no coordinator has welcomed it yet: serves nothing */
    OSD_NODE_SERVING,
    OSD_NODE_FAILED,  /* the store is read-only: gets are served, puts are not */
    OSD_NODE_BLANK,   /* no disk identity: waits for a rebuild */
    OSD_NODE_REFUSED, /* must not serve; detail says why */
};
const char *osd_node_state_name(enum osd_node_state state);

struct osd_node_view {
    enum osd_node_state state;
    char detail[512];           /* why it does not serve; "" when it does */
    enum osd_disk_state disk;   /* what the superblock says */
    struct base_uuid disk_uuid; /* zero without a superblock */
    uint32_t incarnation;       /* 0: not bound */
    bool gone;                  /* the directory was taken away under the running daemon */
    bool broken;                /* refused for a reason that no coordinator can change */
    bool incomplete;
    struct osd_store_space space; /* zero without a store */
};

struct osd_node;

LILIO_MUST_USE enum lilio_err osd_node_new(uint32_t id, struct base_uuid cluster_id,
                                           const struct base_clock *clock, struct base_log *log,
                                           struct osd_node **ret_node);
void osd_node_free(struct osd_node **node);

/* Fixed for the node's life. */
uint32_t osd_node_id(const struct osd_node *node);
struct base_uuid osd_node_cluster(const struct osd_node *node);
const struct base_clock *osd_node_clock(const struct osd_node *node);
struct base_log *osd_node_log(const struct osd_node *node);

/* Owner thread. Wakes who waits for a change of state. */
void osd_node_publish(struct osd_node *node, const struct osd_node_view *view);
void osd_node_view(struct osd_node *node, struct osd_node_view *ret);

/* Takes over a reference; an older map than the one there is dropped. */
void osd_node_map_set(struct osd_node *node, struct proto_map_ref *map);
/* A reference to drop, or NULL while there is no map. */
struct proto_map_ref *osd_node_map_take(struct osd_node *node);
/* 0 while there is no map. Cheap. */
uint64_t osd_node_epoch(struct osd_node *node);

/* A client's fragment was read or written here; how many there were. Cheap. */
void osd_node_note_served(struct osd_node *node);
uint64_t osd_node_served(struct osd_node *node);

/* Runs fn on the owner thread and returns what it returned. Errors: CANCELLED (the owner stopped;
 * fn did not and will not run), and fn's. Never from the owner thread. */
typedef enum lilio_err (*osd_node_fn)(void *context, struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err osd_node_call(struct osd_node *node, osd_node_fn fn, void *context,
                                            struct lilio_errinfo *info);
/* Owner thread: readable when a call or another wake-up waits. */
int osd_node_owner_fd(const struct osd_node *node);
/* Owner thread: runs what waits and resets the descriptor. */
void osd_node_calls_run(struct osd_node *node);
void osd_node_owner_wake(struct osd_node *node);

/* The heartbeat thread's wake-up: a heartbeat at once, with again = true an introduction first. */
void osd_node_member_wake(struct osd_node *node, bool again);
int osd_node_member_fd(const struct osd_node *node);
/* Resets the descriptor; *ret_again tells whether an introduction was asked for. */
void osd_node_member_woken(struct osd_node *node, bool *ret_again);

/* Waits until the state is one of the bits (1 << state), at most timeout_ms; false if it is not. */
bool osd_node_wait(struct osd_node *node, unsigned states, uint32_t timeout_ms);

/* Ends all calls with CANCELLED and makes the stop descriptor readable for good. */
void osd_node_stop(struct osd_node *node);
int osd_node_stop_fd(const struct osd_node *node);

#endif
