/* Raft's messages between coordinators: one socket that takes them, one channel to each other
 * member. They are never answered on their connection and may be lost, so nothing here waits:
 * what does not fit is dropped.
 *
 * What comes in is checked before raft sees it: shape and bounds, this cluster, this member as the
 * receiver, and a sender that is a member or may become one (a later incarnation of a coordinator
 * than we know, named in lilio.yaml: a configuration that has it may not have reached us), and that
 * it did not come before (replays.h). All else is counted and forgotten. Pulls of the state come to
 * the same socket and are handed to the owner.
 *
 * Threads: one owner.
 */
#ifndef COORDINATOR_PEERS_H
#define COORDINATOR_PEERS_H

#include "base/log.h"
#include "coordinator/raft/raft.h"
#include "proto/transport.h"

struct coord_peers;

enum {
    COORD_PEERS_QUEUED_MAX = 16 << 20, /* bytes on their way to one member; more is dropped */
};

struct coord_peers_options {
    struct proto_context *context;
    const char *endpoint; /* to listen on; NULL: this coordinator stands alone */
    bool insecure;
    struct base_uuid cluster_id;
    uint64_t member; /* this one */
    const struct base_clock *clock;
    struct base_log *log; /* may be NULL */
    /* Where lilio.yaml says that a coordinator is reached, NULL if it does not; may be NULL. */
    const char *(*find)(void *context, uint32_t number);
    void *find_context;
};
/* Errors: ADDRESS, DENIED, NOMEM. */
LILIO_MUST_USE enum lilio_err coord_peers_new(const struct coord_peers_options *options,
                                              struct coord_peers **ret_peers,
                                              struct lilio_errinfo *info);
void coord_peers_free(struct coord_peers **peers);
/* The members from now on: connects and disconnects. Copied. */
void coord_peers_learn(struct coord_peers *peers, const struct proto_raft_config *config);
/* The message is copied. */
void coord_peers_send(struct coord_peers *peers, const struct raft_message *message);

enum coord_peers_got { COORD_PEERS_NOTHING, COORD_PEERS_MESSAGE, COORD_PEERS_REQUEST };
/* The next one. A message is borrowed until the next call; a request (of another kind, for the
 * snapshots) is answered or dropped by the caller on coord_peers_server(). */
enum coord_peers_got coord_peers_receive(struct coord_peers *peers, struct raft_message *ret,
                                         struct proto_request **ret_request);
/* The message received last was refused further in. */
void coord_peers_refuse(struct coord_peers *peers, const char *why);
/* NULL for one that stands alone. */
struct proto_server *coord_peers_server(struct coord_peers *peers);
uint64_t coord_peers_refused(const struct coord_peers *peers);
/* Where a member is reached; NULL if that is not known. Borrowed until the next learn. */
const char *coord_peers_endpoint(const struct coord_peers *peers, uint64_t member);
/* Now and then: forgets what peers answered to what they did not understand. */
void coord_peers_tick(struct coord_peers *peers);

/* For tests: a request as a message. Errors: MALFORMED, FOREIGN (cluster), INVALID (receiver,
 * sender). entries: room for RAFT_SEND_ENTRIES_MAX. */
LILIO_MUST_USE enum lilio_err coord_peers_unpack(const struct proto_raft *wire,
                                                 struct base_slice payload,
                                                 struct raft_entry *entries,
                                                 struct raft_message *ret,
                                                 struct lilio_errinfo *info);

#endif
