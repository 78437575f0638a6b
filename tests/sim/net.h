/* The simulated network: connections between the nodes' sockets as TCP and ZeroMQ would have them,
 * below proto/server.c and proto/channel.c, which run for real (net.c stands in for
 * proto/transport.c).
 *
 * A connection keeps order and loses nothing, or it breaks: then what was under way is gone, both
 * sides notice, and the channel connects anew. A blocked direction delays everything (TCP sends
 * again); a connection on which a direction stayed blocked for about ten seconds breaks. On top of
 * that a link can be told to lose, repeat or reorder single messages without breaking, which no
 * TCP does: for messages that are said to survive it (Raft's).
 *
 * Nodes are named by struct sim_node; each direction is a link of its own.
 */
#ifndef TESTS_SIM_NET_H
#define TESTS_SIM_NET_H

#include "base/types.h"

struct sim_node;

struct sim_link {
    uint64_t latency_ns, spread_ns; /* least, and mean of what is added (exponential) */
    uint64_t bytes_per_s;           /* 0: no limit */
    /* Millionths, per message: */
    uint32_t break_ppm;     /* it is lost, and the connection breaks */
    uint32_t drop_ppm;      /* it is lost, and nobody is told */
    uint32_t duplicate_ppm; /* it arrives twice */
    uint32_t reorder_ppm;   /* it is overtaken by later ones */
};
/* What all links are like that were not set one by one. At first: 100 us + 50 us, no faults. */
void sim_net_default(const struct sim_link *link);
void sim_net_link(const struct sim_node *from, const struct sim_node *to,
                  const struct sim_link *link);
/* Back to the default. */
void sim_net_link_reset(const struct sim_node *from, const struct sim_node *to);

/* One direction; both for a two-way cut. Blocks do not nest. */
void sim_net_block(const struct sim_node *from, const struct sim_node *to, bool blocked);
/* Both directions between the node and everybody else. */
void sim_net_isolate(const struct sim_node *node, bool blocked);
/* Both directions between nodes of different groups: group[i] is that of sim_node_at(i). */
void sim_net_split(const uint8_t *group);
/* Nothing that is sent in this direction arrives before the time: a clogged link. */
void sim_net_clog(const struct sim_node *from, const struct sim_node *to, uint64_t until_ns);
/* All connections between two nodes break now; they may connect anew at once. */
void sim_net_break(const struct sim_node *a, const struct sim_node *b);
/* No block, no clog, every link the default; the default itself stays. */
void sim_net_heal(void);

/* A stranger: opens a connection to an endpoint of lilio.yaml, sends one message of these frames,
 * and keeps the connection open. Answers are dropped. */
struct sim_frame {
    const void *data;
    size_t size;
};
void sim_net_inject(const char *endpoint, const struct sim_frame *frames, int count);

struct sim_net_counts {
    uint64_t sent, delivered, bytes, lost, broken, duplicated, reordered, connected;
};
void sim_net_counts(struct sim_net_counts *ret);

/* Sees every message as it is delivered, outside of fibers; may not send. One; NULL = none. */
struct sim_sight {
    const struct sim_node *from, *to;
    bool is_reply; /* from the server's side */
    struct sim_frame header, body, payload;
};
void sim_net_watch(void (*fn)(void *context, const struct sim_sight *sight), void *context);

#endif
