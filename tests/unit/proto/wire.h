/* What the transport tests share: endpoints of each kind, waiting without sleeping, payloads that
 * count their releases. */
#ifndef TESTS_PROTO_WIRE_H
#define TESTS_PROTO_WIRE_H

#include <stdatomic.h>

#include "proto/transport.h"

enum { WIRE_PATIENCE_MS = 20000 };
enum wire_kind { WIRE_INPROC, WIRE_IPC, WIRE_TCP, WIRE_KIND_COUNT };

struct wire {
    struct proto_context *context;
    struct proto_server *server;
    struct proto_channel *channel;
    struct proto_arena *arena;
    char *folder;
    char endpoint[300]; /* as given to the server */
    struct lilio_errinfo info;
};
/* A context and a folder; no server, no channel. */
void wire_init(struct wire *wire, enum wire_kind kind);
void wire_release(struct wire *wire);
/* The same with a server and a channel that is connected to it. */
void wire_init_pair(struct wire *wire, enum wire_kind kind);
void wire_serve(struct wire *wire);
void wire_connect(struct wire *wire);

/* Each fails the test when what it waits for does not come. */
void wire_await_ready(struct proto_channel *channel);
void wire_await_gone(struct proto_channel *channel);
struct proto_request *wire_await_request(struct proto_server *server);
struct proto_reply *wire_await_reply(struct proto_channel *channel);

/* Sends a ping with this sequence, which must be taken. */
void wire_ping(struct proto_channel *channel, uint64_t sequence);
/* Ping and pong, to show that both ends still work. A ping that is lost with its connection is sent
 * again. */
void wire_check_alive(struct proto_server *server, struct proto_channel *channel,
                      uint64_t sequence);
/* The code of an error reply; fails the test if it is none. */
enum lilio_err wire_error_code(const struct proto_reply *reply);

/* A payload of size bytes of this letter, which adds one to *released and frees itself. */
struct proto_payload wire_payload(size_t size, char letter, atomic_int *released);
bool wire_payload_is(struct base_slice payload, size_t size, char letter);

#endif
