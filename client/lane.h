/* A lane: the connections of one call, one to a coordinator and one per OSD it talks to, and what
 * is worth keeping from one call to the next (fragment buffers, decode plans). Taken from the
 * client's pool for the length of a call, so that no lock is held over I/O; belongs to one thread
 * at a time. This is where the machines meet the sockets.
 */
#ifndef CLIENT_LANE_H
#define CLIENT_LANE_H

#include "client/control.h"
#include "client/frags.h"
#include "client/plans.h"

struct client_link {
    uint32_t osd;
    char endpoint[256];
    struct proto_channel *channel;
    bool ready;         /* as last seen */
    uint64_t since_ms;  /* of the connection, or since when there is none */
    uint32_t under_way; /* requests without an answer */
    bool readable;      /* as last seen */
    bool silent;   /* did not answer a verification in time; false again with its next answer */
    bool expected; /* the map says that the OSD is there */
};
struct client_lane {
    struct lilio_client *client;
    struct client_control control;
    struct client_link *links; /* by OSD id */
    size_t link_count, link_capacity;
    struct proto_wait_item *items;
    uint64_t looked_ms; /* when the links were last looked at */
    uint64_t tag;       /* of what the call at hand asks now; part of every sequence */
    struct proto_arena *arena;
    struct client_plans plans;
    struct codec_coder *coder; /* for the profile last used */
    struct client_frags *frags;
    struct client_lane *next; /* in the pool */
};

/* Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_lane_take(struct lilio_client *client,
                                               struct client_lane **ret_lane,
                                               struct lilio_errinfo *info);
/* Back into the pool. Connections with something under way are closed, so that nothing of this call
 * reaches the next. */
void client_lane_give(struct client_lane **lane);
void client_lane_free(struct client_lane **lane);

/* The coder for a profile, kept until another one is asked for. */
LILIO_MUST_USE enum lilio_err client_lane_coder(struct client_lane *lane,
                                                const struct codec_profile *profile,
                                                const struct codec_coder **ret_coder,
                                                struct lilio_errinfo *info);
/* The link to an OSD at the address the map has; made when there is none. The pointer holds until
 * the next such call. Errors: NOT_FOUND (not in the map), ADDRESS, NOMEM. */
LILIO_MUST_USE enum lilio_err client_lane_link(struct client_lane *lane,
                                               const struct proto_cluster_map *map, uint32_t osd,
                                               struct client_link **ret_link,
                                               struct lilio_errinfo *info);
struct client_link *client_lane_find(struct client_lane *lane, uint32_t osd);
/* What comes now has nothing to do with what was asked before, by this call or an earlier one:
 * answers to that are dropped. Between two runs the same stripe, index and attempt name other
 * fragments. */
void client_lane_forget(struct client_lane *lane);
/* Waits until every link to an OSD that should be there stands, or to any OSD if everybody is
 * wanted; at most until CLIENT_CONNECT_MS after the youngest was made. */
void client_lane_await(struct client_lane *lane, bool everybody);
/* Forgets and awaits who should be there. */
void client_lane_settle(struct client_lane *lane);
/* Closes a connection and drops what is queued on it; it is made anew at once. */
void client_lane_reset(struct client_lane *lane, struct client_link *link);
/* Waits until a link with something under way has an answer, a link that did not stand stands, or
 * timeout_ms passed. Then client_link.readable tells where to read, and true says that links are to
 * be looked at, after reading: one may have come or gone, or it is time to. */
bool client_lane_wait(struct client_lane *lane, int timeout_ms);
/* Looks whether a link stands. Returns true if that changed: false -> true, or true -> false, in
 * which case whatever was under way is lost, answers that were not read too. */
bool client_lane_look(struct client_lane *lane, struct client_link *link);

/* Fragment requests: stripe, index and attempt travel in the sequence and come back with the
 * answer. */
struct client_fragment_id {
    uint32_t stripe, index, attempt;
};
LILIO_MUST_USE enum lilio_err client_lane_send(struct client_lane *lane, struct client_link *link,
                                               struct client_fragment_id id, uint64_t epoch,
                                               uint32_t deadline_ms, const struct proto_type *type,
                                               const void *value,
                                               const struct proto_payload *payload);
/* The next answer to a request of this call, or NULL. */
struct proto_reply *client_lane_receive(struct client_lane *lane, struct client_link *link,
                                        struct client_fragment_id *ret_id);
/* An error reply's code; anything that is none of ours is MALFORMED. */
enum lilio_err client_reply_error(struct client_lane *lane, const struct proto_reply *reply);

#endif
