/* Between net.c (links, connections, faults) and socket.c (what proto/transport_priv.h wants). */
#ifndef TESTS_SIM_NET_PRIV_H
#define TESTS_SIM_NET_PRIV_H

#include "tests/sim/fds.h"
#include "tests/sim/net.h"
#include "tests/sim/packet.h"
#include "tests/sim/world.h"

enum sim_side { SIM_CLIENT_SIDE, SIM_SERVER_SIDE };

/* A message that travels or waits to be received. */
struct sim_message {
    struct sim_message *next;
    struct sim_packet *packet; /* NULL: a sign of the connection's own */
    bool is_end;               /* of those: the other side is gone; else: the connection stands */
    uint64_t due_ns;
    struct sim_connection *connection;
};
/* One direction: first come first served, the head has the timer. */
struct sim_stream_of {
    struct sim_message *first;
    uint64_t last_ns; /* due time of the last one that keeps the order */
    struct sim_timer timer;
    size_t load; /* messages on the way or not yet received */
};
struct sim_connection {
    uint64_t id;                 /* the routing id at the server */
    struct sim_socket *ends[2];  /* NULL: this side knows that it is over, or is no more */
    struct sim_node *nodes[2];   /* NULL: a stranger */
    unsigned lives[2];           /* of the nodes when it was made */
    struct sim_stream_of to[2];  /* to the client, to the server */
    bool stands[2], broken;      /* what each side thinks; broken: nothing arrives any more */
    bool is_local;               /* within one process */
    uint64_t silent_since;       /* 0: both directions work */
    struct sim_timer notices[2]; /* of a break */
    struct sim_connection *next; /* of all */
};

struct sim_socket {
    bool is_server, closed;
    struct sim_node *node;
    unsigned life;
    struct sim_fd *fd;
    char endpoint[256];                /* bound to or connected to; "" = neither */
    struct sim_connection *connection; /* of a channel */
    struct sim_timer connect;          /* of a channel: the next attempt */
    uint64_t backoff_ns;
    struct sim_message *first, **last; /* received */
    size_t count;
    struct sim_socket *next; /* of all */
};

/* All sockets, newest first. */
struct sim_socket *sim_sockets(void);

/* A channel's socket begins to connect. */
void sim_net_connect(struct sim_socket *socket);
/* False if the connection does not stand or is full. Takes the reference in every case. */
bool sim_net_send(struct sim_connection *connection, enum sim_side from, struct sim_packet *packet);
/* A connection of a server's socket by its routing id, NULL if it is gone. */
struct sim_connection *sim_net_find(const struct sim_socket *server, uint64_t id);
bool sim_net_writable(const struct sim_socket *channel);
/* One message of it was received. */
void sim_net_taken(struct sim_connection *connection, enum sim_side by);
/* The socket closes: the others are told. */
void sim_net_disconnect(struct sim_socket *socket, bool silently);

/* socket.c: something happened that its owner will want to look at. */
void sim_socket_signal(struct sim_socket *socket);
void sim_socket_receive(struct sim_socket *socket, struct sim_message *message);
struct sim_socket *sim_socket_bound(const char *endpoint, const struct sim_node *node);
void sim_sockets_drop(const struct sim_node *node, bool silently);

#endif
