/* Requests and replies over ZeroMQ: ROUTER (mandatory) at servers, DEALER at clients
 * (proto/transport.c is the only file that includes zmq.h). A message is [header][body] or
 * [header][body][payload]; the payload frame is never copied.
 *
 * Threads: a context is shared; a server or a channel belongs to one thread at a time.
 * Bounds: frames larger than the declared maxima never arrive (ZMQ_MAXMSGSIZE); each peer's queue
 * is bounded; a message that is malformed, too long, of unknown version or type or with surplus
 * frames is answered with an error reply where a reply is possible, counted, and forgotten.
 */
#ifndef PROTO_TRANSPORT_H
#define PROTO_TRANSPORT_H

#include "proto/messages.h"

struct proto_context;
struct proto_server;
struct proto_channel;

/* io_threads >= 1. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err proto_context_new(unsigned io_threads,
                                                struct proto_context **ret_context);
/* All servers and channels must be gone. */
void proto_context_free(struct proto_context **context);

/* Bytes that travel behind the body. release(data, hint) is called exactly once, from any thread,
 * also on failure. */
struct proto_payload {
    void *data;
    size_t size;
    void (*release)(void *data,
                    void *hint); /* NULL: data is borrowed for the life of the process */
    void *hint;
};

/* ---- server ---- */

struct proto_server_options {
    const char
        *endpoint; /* "ipc:///path", "tcp://host:port" (port * or 0 = any), "inproc://name" */
    bool insecure; /* allow a tcp address that is not loopback */
    unsigned peer_messages; /* receive queue per peer; 0 = 16 */
};
struct proto_server_counters {
    uint64_t received, refused, unroutable; /* unroutable: replies whose peer was gone or full */
};
struct proto_request {
    struct proto_header header;
    const struct proto_type *type; /* of the body, never NULL */
    struct base_slice body;        /* packed; unpack with proto_NAME_unpack */
    struct base_slice
        payload; /* size 0 if there was none; alive until the request is answered or dropped */
};
/* Errors: ADDRESS (in use, unusable, path too long; says which), DENIED (not loopback without
 * insecure), NOMEM. */
LILIO_MUST_USE enum lilio_err proto_server_new(struct proto_context *context,
                                               const struct proto_server_options *options,
                                               struct proto_server **ret_server,
                                               struct lilio_errinfo *info);
void proto_server_free(struct proto_server **server);
/* The endpoint clients connect to, with the real port. Borrowed. */
const char *proto_server_endpoint(const struct proto_server *server);
void proto_server_counters_get(const struct proto_server *server,
                               struct proto_server_counters *ret);
/* The next well-formed request, or NULL when none waits. Never blocks. The caller answers or drops
 * it. */
struct proto_request *proto_server_receive(struct proto_server *server);
/* Answers with a value of type; epoch goes into the header. Frees the request and sets it to NULL.
 * payload may be NULL. A peer that is gone is no error of ours: it is counted. */
void proto_server_reply(struct proto_server *server, struct proto_request **request,
                        const struct proto_type *type, const void *value,
                        const struct proto_payload *payload, uint64_t epoch);
/* Answers with body bytes that are packed already (a remembered result). */
void proto_server_reply_packed(struct proto_server *server, struct proto_request **request,
                               uint16_t number, struct base_slice body, uint64_t epoch);
void proto_server_reply_error(struct proto_server *server, struct proto_request **request,
                              enum lilio_err err, const char *text, uint64_t epoch);
void proto_server_reply_error_full(struct proto_server *server, struct proto_request **request,
                                   const struct proto_error *error, uint64_t epoch);
void proto_request_drop(struct proto_request **request);

/* ---- channel: one DEALER to one server ---- */

struct proto_reply {
    struct proto_header header;
    const struct proto_type *type;
    struct base_slice body, payload; /* alive until the reply is freed; payload.data is page-aligned
                                        when base_frag_malloc works */
};
/* Connects in the background and reconnects by itself. Errors: ADDRESS, NOMEM. */
LILIO_MUST_USE enum lilio_err proto_channel_new(struct proto_context *context, const char *endpoint,
                                                struct proto_channel **ret_channel,
                                                struct lilio_errinfo *info);
/* Drops what is queued. */
void proto_channel_free(struct proto_channel **channel);
/* True while a connection stands and takes messages. Turns false at once when the peer process
 * dies: requests without an answer are then lost and may be sent again. A break that was seen with
 * requests under way is reported by one false even if the connection stands again by now. */
bool proto_channel_ready(struct proto_channel *channel);
/* Replies that were malformed and dropped. */
uint64_t proto_channel_refused(const struct proto_channel *channel);
/* Sends; header.type is set from type. Errors: UNAVAILABLE (not connected; nothing was sent), BUSY
 * (queue full), TOO_BIG, INVALID, NOMEM. The payload's release is called in every case. */
LILIO_MUST_USE enum lilio_err proto_channel_send(struct proto_channel *channel,
                                                 const struct proto_header *header,
                                                 const struct proto_type *type, const void *value,
                                                 const struct proto_payload *payload);
/* For messages that are never answered and may be lost: none counts as under way, so that a break
 * loses nothing anybody waits for, and a full queue is UNAVAILABLE. A connection that takes nothing
 * for a second is given up for a new one. For a channel on which nothing was sent yet. */
void proto_channel_one_way(struct proto_channel *channel);
/* The next reply, or NULL when none waits; malformed ones are dropped and counted. */
struct proto_reply *proto_channel_receive(struct proto_channel *channel);
void proto_reply_free(struct proto_reply **reply);

/* Waits until one of the items has something to receive (or, with want_ready, is ready to send), at
 * most timeout_ms
 * (-1 = for ever). Sets ret_readable / ret_ready. fd items: server and channel NULL. Returns the
 * number of items that are set; 0 on timeout, on a signal, or when the connection of a channel
 * broke under requests (ask proto_channel_ready). At most 1024 items. */
struct proto_wait_item {
    struct proto_server *server;
    struct proto_channel *channel;
    int fd;
    bool want_ready;
    bool ret_readable, ret_ready;
};
int proto_wait(struct proto_wait_item *items, size_t count, int timeout_ms);

/* One request, one reply, on a channel with nothing else under way: waits for the connection,
 * sends, waits for the answer with header.sequence, and unpacks it. An error reply becomes its code
 * and text. Replies to older sequences are dropped. Errors: UNAVAILABLE (never connected),
 * OUTCOME_UNKNOWN (sent, then the connection broke or timeout_ms passed), and whatever the server
 * answered. *ret_reply (free it) keeps the memory of the unpacked value, lists are in arena. */
LILIO_MUST_USE enum lilio_err
proto_call(struct proto_channel *channel, const struct proto_header *header,
           const struct proto_type *type, const void *value, const struct proto_type *reply_type,
           struct proto_arena *arena, void *ret_value, struct proto_reply **ret_reply,
           int timeout_ms, struct lilio_errinfo *info);

#endif
