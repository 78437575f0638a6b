/* Servers: binding, taking requests apart, answering.
 *
 * What can go wrong: a peer sends rubbish (an error reply, counted), a peer dies or does not read
 * (replies to it are counted as unroutable), memory runs out (the message is dropped as if the
 * network had lost it). */
#include "proto/transport_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/banned.h"

enum { PEER_MESSAGES_DEFAULT = 16 };

struct proto_server {
    struct proto_context *context;
    struct proto_socket socket;
    char endpoint[PROTO_ENDPOINT_BYTES_MAX];
    bool is_inproc; /* listed in the context's table */
    struct proto_ipc_listener ipc;
    struct proto_server_counters counters;
    struct base_buffer header, body; /* of the reply being made */
};
struct request {
    struct proto_request public; /* first: what callers hold */
    struct proto_frames frames;  /* routing id, header, body, payload */
};

/* Sockets in the filesystem are bound here and handed to ZeroMQ, because ZeroMQ unlinks whatever
 * has the name, and unlinks it again some time after the socket was closed. */
static enum lilio_err bind_ipc(struct proto_server *server,
                               const struct proto_server_options *options,
                               struct lilio_errinfo *info)
{
    enum lilio_err err = proto_ipc_listen(proto_endpoint_rest(options->endpoint), options->insecure,
                                          &server->ipc, info);
    if (err)
        return err;
    err = proto_socket_bind(&server->socket, options->endpoint, server->ipc.fd, info);
    if (err)
        (void)close(server->ipc.fd); /* nothing was written to it */
    return err;
}

static enum lilio_err bind_tcp(struct proto_server *server,
                               const struct proto_server_options *options,
                               struct lilio_errinfo *info)
{
    char numeric[PROTO_ENDPOINT_BYTES_MAX];
    if (!options->insecure && !proto_endpoint_is_loopback(options->endpoint))
        return lilio_fail(
            info, LILIO_E_DENIED,
            "%.200s: not a loopback address, and messages are neither encrypted nor authenticated "
            "(insecure allows it)",
            options->endpoint);
    if (strncmp(proto_endpoint_rest(options->endpoint), "localhost:", strlen("localhost:")) != 0)
        return proto_socket_bind(&server->socket, options->endpoint, -1, info);
    /* ZeroMQ looks names to listen on up among the interfaces, not among the hosts. */
    (void)snprintf(numeric, sizeof numeric, "tcp://127.0.0.1%s", strrchr(options->endpoint, ':'));
    return proto_socket_bind(&server->socket, numeric, -1, info);
}

static enum lilio_err bind_inproc(struct proto_server *server, const char *endpoint,
                                  struct lilio_errinfo *info)
{
    struct proto_inproc *table = &server->context->inproc;
    (void)pthread_mutex_lock(&table->lock); /* a plain mutex that is never destroyed while locked */
    enum lilio_err err = proto_socket_bind(&server->socket, endpoint, -1, info);
    if (!err && proto_inproc_add(table, endpoint)) {
        proto_socket_unbind(&server->socket, endpoint);
        err = lilio_fail(info, LILIO_E_NOMEM, "%.200s: out of memory", endpoint);
    }
    server->is_inproc = !err;
    (void)pthread_mutex_unlock(&table->lock); /* locked above */
    return err;
}

static enum lilio_err bind_endpoint(struct proto_server *server,
                                    const struct proto_server_options *options,
                                    struct lilio_errinfo *info)
{
    enum proto_endpoint_kind kind;
    enum lilio_err err = proto_endpoint_parse(options->endpoint, &kind, info);
    if (err)
        return err;
    switch (kind) {
    case PROTO_ENDPOINT_IPC: err = bind_ipc(server, options, info); break;
    case PROTO_ENDPOINT_TCP: err = bind_tcp(server, options, info); break;
    case PROTO_ENDPOINT_INPROC: err = bind_inproc(server, options->endpoint, info); break;
    }
    if (err)
        return err;
    return proto_socket_endpoint(&server->socket, server->endpoint, sizeof server->endpoint, info);
}

enum lilio_err proto_server_new(struct proto_context *context,
                                const struct proto_server_options *options,
                                struct proto_server **ret_server, struct lilio_errinfo *info)
{
    struct proto_server *server = calloc(1, sizeof *server);
    if (!server)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a server");
    server->context = context;
    server->ipc.fd = -1;
    unsigned peer_messages =
        options->peer_messages ? options->peer_messages : PEER_MESSAGES_DEFAULT;
    enum lilio_err err =
        proto_socket_server(context, options->endpoint, peer_messages, &server->socket);
    if (err)
        err = lilio_fail(info, err, "no memory or descriptor for a server");
    else
        err = bind_endpoint(server, options, info);
    if (err)
        proto_server_free(&server);
    else
        *ret_server = server;
    return err;
}

void proto_server_free(struct proto_server **server)
{
    struct proto_server *mine = *server;
    *server = NULL;
    if (!mine)
        return;
    if (mine->is_inproc) {
        struct proto_inproc *table = &mine->context->inproc;
        (void)pthread_mutex_lock(&table->lock); /* as in bind_inproc */
        proto_inproc_remove(table, mine->endpoint);
        proto_socket_unbind(&mine->socket, mine->endpoint);
        (void)pthread_mutex_unlock(&table->lock); /* locked above */
    }
    proto_ipc_release(&mine->ipc);
    proto_socket_close(&mine->socket);
    base_buffer_release(&mine->header);
    base_buffer_release(&mine->body);
    free(mine);
}

struct proto_socket *proto_server_socket(struct proto_server *server)
{
    return &server->socket;
}

const char *proto_server_endpoint(const struct proto_server *server)
{
    return server->endpoint;
}

void proto_server_counters_get(const struct proto_server *server, struct proto_server_counters *ret)
{
    *ret = server->counters;
}

/* Sends what server->body holds. The payload is released in every case. */
static void send_reply(struct proto_server *server, struct request *request, uint16_t number,
                       uint64_t epoch, const struct proto_payload *payload)
{
    const struct proto_header *asked = &request->public.header;
    const struct proto_header header = {.type = number,
                                        .session = asked->session,
                                        .sequence = asked->sequence,
                                        .group = asked->group,
                                        .epoch = epoch,
                                        .trace = asked->trace};
    base_buffer_clear(&server->header);
    struct proto_frames frames;
    proto_frames_take_first(&frames, &request->frames); /* the routing id */
    enum lilio_err err = proto_header_pack(&header, &server->header);
    if (err)
        proto_payload_release(payload);
    else
        err = proto_frames_build(&frames, base_buffer_slice(&server->header),
                                 base_buffer_slice(&server->body), payload);
    if (err)
        proto_frames_close(&frames);
    if (err || proto_frames_send(&server->socket, &frames))
        server->counters.unroutable++;
    base_buffer_clear(&server->body);
}

static void pack_error(struct proto_server *server, enum lilio_err code, const char *text,
                       uint64_t epoch)
{
    char clean[512];
    const struct proto_error error = {
        .code = code,
        .text = base_slice(clean, proto_utf8_clean(text, clean, sizeof clean)),
        .epoch = epoch};
    base_buffer_clear(&server->body);
    if (proto_error_pack(&error, &server->body))
        base_buffer_clear(
            &server->body); /* no memory: an empty body is malformed, which says as much */
}

/* Takes the message apart. Errors: MALFORMED, TOO_BIG, UNSUPPORTED; what is known of the header is
 * in the request. */
static enum lilio_err request_decode(struct request *request, struct lilio_errinfo *info)
{
    struct proto_request *public = &request->public;
    struct proto_frames *frames = &request->frames;
    if (frames->count < 3 || frames->count > PROTO_FRAMES_MAX)
        return lilio_fail(info, LILIO_E_MALFORMED,
                          "want header, body and at most one payload, not %d frames",
                          frames->count - 1);
    struct base_slice header = proto_frames_bytes(frames, 1);
    public->body = proto_frames_bytes(frames, 2);
    public->payload = proto_frames_bytes(frames, 3);
    if (header.size > PROTO_HEADER_BYTES_MAX || public->body.size > PROTO_BODY_BYTES_MAX ||
        public->payload.size > PROTO_PAYLOAD_BYTES_MAX)
        return lilio_fail(info, LILIO_E_TOO_BIG, "frames of %zu, %zu and %zu bytes", header.size,
                          public->body.size, public->payload.size);
    enum lilio_err err = proto_header_unpack(header, NULL, &public->header, info);
    if (err)
        return err;
    public->type = proto_type_find(public->header.type);
    if (!public->type)
        return lilio_fail(info, LILIO_E_UNSUPPORTED, "message number %u is not known",
                          public->header.type);
    return LILIO_OK;
}

static void request_free(struct request *request)
{
    proto_frames_close(&request->frames);
    free(request);
}

struct proto_request *proto_server_receive(struct proto_server *server)
{
    for (int refused = 0; refused < PROTO_REFUSED_PER_CALL_MAX; refused++) {
        struct request *request = malloc(sizeof *request);
        if (!request)
            return NULL;
        request->public = (struct proto_request){0};
        if (!proto_frames_receive(&server->socket, &request->frames)) {
            free(request);
            return NULL;
        }
        struct lilio_errinfo info = {0};
        enum lilio_err err = request_decode(request, &info);
        if (!err) {
            server->counters.received++;
            return &request->public;
        }
        server->counters.refused++;
        pack_error(server, err, info.text, 0);
        send_reply(server, request, PROTO_MSG_error, 0, NULL);
        request_free(request);
    }
    return NULL;
}

void proto_request_drop(struct proto_request **request)
{
    if (*request)
        request_free((struct request *)*request);
    *request = NULL;
}

void proto_server_reply(struct proto_server *server, struct proto_request **request,
                        const struct proto_type *type, const void *value,
                        const struct proto_payload *payload, uint64_t epoch)
{
    base_buffer_clear(&server->body);
    enum lilio_err err = proto_pack(type, value, &server->body);
    if (err) {
        proto_payload_release(payload);
        proto_server_reply_error(server, request, err, "the reply cannot be packed", epoch);
        return;
    }
    send_reply(server, (struct request *)*request, type->number, epoch, payload);
    proto_request_drop(request);
}

void proto_server_reply_packed(struct proto_server *server, struct proto_request **request,
                               uint16_t number, struct base_slice body, uint64_t epoch)
{
    base_buffer_clear(&server->body);
    if (body.size > PROTO_BODY_BYTES_MAX ||
        base_buffer_append(&server->body, body.data, body.size)) {
        proto_server_reply_error(server, request, LILIO_E_NOMEM, "no memory for the reply", epoch);
        return;
    }
    send_reply(server, (struct request *)*request, number, epoch, NULL);
    proto_request_drop(request);
}

void proto_server_reply_error(struct proto_server *server, struct proto_request **request,
                              enum lilio_err err, const char *text, uint64_t epoch)
{
    pack_error(server, err, text, epoch);
    send_reply(server, (struct request *)*request, PROTO_MSG_error, epoch, NULL);
    proto_request_drop(request);
}

void proto_server_reply_error_full(struct proto_server *server, struct proto_request **request,
                                   const struct proto_error *error, uint64_t epoch)
{
    base_buffer_clear(&server->body);
    if (proto_error_pack(error, &server->body)) /* its text may have been cut inside a character */
        pack_error(server, error->code, "", error->epoch);
    send_reply(server, (struct request *)*request, PROTO_MSG_error, epoch, NULL);
    proto_request_drop(request);
}
