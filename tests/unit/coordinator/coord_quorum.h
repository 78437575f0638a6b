/* Several replicas in one process: real directories, logs and stores, messages over inproc sockets.
 * One thread turns all their loops. The clock is the quorum's own: it stands still while there is
 * anything to do and then leaps on, so nobody is deposed because a disk or the machine is slow, and
 * nothing waits for time to go by. */
#ifndef TESTS_COORD_QUORUM_H
#define TESTS_COORD_QUORUM_H

#include "coord_fixture.h"
#include "coordinator/replica.h"

enum { QUORUM_MAX = 5 };

struct quorum;
struct quorum_node {
    struct quorum *quorum;
    uint32_t id;
    uint64_t join; /* member id to be made with */
    bool up, full; /* runs; its disk has no room */
    struct coord_home home;
    struct coord_peers *peers;
    struct coord_replica *replica;
    struct proto_cluster_node node;
    char endpoint[48], peer[100], dir[160];
};
struct quorum {
    char *folder;
    struct proto_context *context;
    uint64_t now_ns;
    struct base_clock clock; /* reads now_ns */
    struct proto_cluster_file file;
    struct proto_cluster_node coordinators[QUORUM_MAX], osds[2];
    struct quorum_node nodes[QUORUM_MAX];
    struct proto_arena *arena;
    uint64_t flush_bytes, log_segment_bytes; /* small: flushed and cut all the time */
    uint32_t first;                          /* voters at the start */
};

/* A request under way, or answered. */
struct quorum_call {
    bool done;
    uint16_t type;
    struct base_buffer body, reply;
};

/* `first` voters; the other nodes are in lilio.yaml and not members yet. Nothing runs. */
struct quorum *quorum_new(uint32_t first);
void quorum_free(struct quorum *quorum);
/* Opens the directory (init: makes it) and lets it run. */
enum lilio_err quorum_start(struct quorum *quorum, uint32_t id, bool init,
                            struct lilio_errinfo *info);
/* Lets go of everything at once: nothing is flushed or answered. */
void quorum_kill(struct quorum *quorum, uint32_t id);
/* Turns all loops for so long on the quorum's clock, or until done() says so (then true). */
bool quorum_run(struct quorum *quorum, int ms, bool (*done)(void *context), void *context);
/* The one that leads and serves; waits for it. */
struct quorum_node *quorum_leader(struct quorum *quorum);
/* Waits until all that run have applied what the leader has, and compares their rows. */
void quorum_agree(struct quorum *quorum);

void quorum_ask(struct quorum_node *node, struct quorum_call *call, uint64_t session,
                uint64_t sequence, const struct proto_type *type, const void *value);
/* Asks and waits for the answer. Returns the error of an error reply. */
enum lilio_err quorum_call(struct quorum_node *node, struct quorum_call *call, uint64_t session,
                           uint64_t sequence, const struct proto_type *type, const void *value);
/* Unpacked into the quorum's arena. */
void quorum_reply(struct quorum *quorum, const struct quorum_call *call,
                  const struct proto_type *type, void *ret);
void quorum_call_release(struct quorum_call *call);

#endif
