/* What transport.c, which knows ZeroMQ, offers to server.c, channel.c and wait.c, which do not. For
 * these four. */
#ifndef PROTO_TRANSPORT_PRIV_H
#define PROTO_TRANSPORT_PRIV_H

#include "proto/endpoint_priv.h"
#include "proto/inproc_priv.h"
#include "proto/transport.h"

enum {
    PROTO_FRAMES_MAX = 4,           /* routing id, header, body, payload */
    PROTO_CHANNEL_QUEUE_MAX = 1000, /* requests queued on a channel before it is busy */
    PROTO_REFUSED_PER_CALL_MAX =
        64, /* malformed messages looked at before the caller gets a turn */
    PROTO_ENDPOINT_BYTES_MAX = 512,
};

struct proto_context {
    void *zmq;
    struct proto_inproc inproc;
};

/* ---- sockets ---- */

struct proto_socket {
    void *zmq;
    int fd; /* readable when there is something new: then read the events */
    /* Nothing waited when last asked, and nothing was done with it since: the descriptor tells. */
    bool drained;
};
enum proto_socket_events { PROTO_READABLE = 1, PROTO_WRITABLE = 2 };

/* A ROUTER. peer_messages: receive queue per peer. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err proto_socket_server(struct proto_context *context,
                                                  const char *endpoint, unsigned peer_messages,
                                                  struct proto_socket *ret);
/* A DEALER that queues only for a peer that is connected. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err proto_socket_channel(struct proto_context *context,
                                                   const char *endpoint, struct proto_socket *ret);
void proto_socket_close(struct proto_socket *socket);
/* fd -1, or a listening descriptor that ZeroMQ takes over unless this fails. Errors: ADDRESS. */
LILIO_MUST_USE enum lilio_err proto_socket_bind(struct proto_socket *socket, const char *endpoint,
                                                int fd, struct lilio_errinfo *info);
void proto_socket_unbind(struct proto_socket *socket, const char *endpoint);
/* The endpoint bound last, with its real port. Errors: ADDRESS. */
LILIO_MUST_USE enum lilio_err proto_socket_endpoint(struct proto_socket *socket, char *ret,
                                                    size_t room, struct lilio_errinfo *info);
/* Errors: ADDRESS. */
LILIO_MUST_USE enum lilio_err
proto_socket_connect(struct proto_socket *socket, const char *endpoint, struct lilio_errinfo *info);
void proto_socket_disconnect(struct proto_socket *socket, const char *endpoint);
/* Connects anew, and from now on gives a connection that is silent up after a second. Errors:
 * NOMEM, ADDRESS. */
LILIO_MUST_USE enum lilio_err proto_socket_hurry(struct proto_socket *socket, const char *endpoint);
unsigned proto_socket_events(struct proto_socket *socket);

/* ---- messages ---- */

/* One frame of ZeroMQ's (zmq_msg_t), which is not known here. */
struct proto_frame {
    _Alignas(8) unsigned char bytes[64];
};
struct proto_frames {
    struct proto_frame at[PROTO_FRAMES_MAX];
    int count; /* frames the message had; those beyond PROTO_FRAMES_MAX are not kept */
};
/* A message as a whole, or false if none waits. */
bool proto_frames_receive(struct proto_socket *socket, struct proto_frames *ret);
/* Empty if the message has no such frame. Borrowed. */
struct base_slice proto_frames_bytes(struct proto_frames *frames, int i);
/* Begins a message with the first frame of another, which loses it. */
void proto_frames_take_first(struct proto_frames *frames, struct proto_frames *from);
/* Appends header, body and payload. The payload is released in every case, now or by ZeroMQ later.
 * Errors: TOO_BIG, NOMEM. */
LILIO_MUST_USE enum lilio_err proto_frames_build(struct proto_frames *frames,
                                                 struct base_slice header, struct base_slice body,
                                                 const struct proto_payload *payload);
/* Sends all frames or none; they are gone afterwards. Errors: UNAVAILABLE (no peer, or its queue is
 * full), NOMEM. */
LILIO_MUST_USE enum lilio_err proto_frames_send(struct proto_socket *socket,
                                                struct proto_frames *frames);
void proto_frames_close(struct proto_frames *frames);
void proto_payload_release(const struct proto_payload *payload);

/* ---- servers and channels ---- */

/* The socket, for waiting. */
struct proto_socket *proto_server_socket(struct proto_server *server);
struct proto_socket *proto_channel_socket(struct proto_channel *channel);
/* The events of the channel, with the fate of its connection noted on the way. *ret_broke is set
 * when it turns out to have broken with requests under way; *ret_nap_ms is lowered to the time
 * after which the channel wants to be asked again because nothing would wake it (-1 = never). */
unsigned proto_channel_events(struct proto_channel *channel, bool *ret_broke, int *ret_nap_ms);

#endif
