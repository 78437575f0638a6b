#include "tests/unit/proto/wire.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

void wire_init(struct wire *wire, enum wire_kind kind)
{
    *wire = (struct wire){.folder = temp_dir_new()};
    assert_int_equal(proto_context_new(1, &wire->context), LILIO_OK);
    assert_int_equal(proto_arena_new(&wire->arena), LILIO_OK);
    if (kind == WIRE_INPROC)
        (void)snprintf(wire->endpoint, sizeof wire->endpoint, "inproc://wire");
    else if (kind == WIRE_IPC)
        (void)snprintf(wire->endpoint, sizeof wire->endpoint, "ipc://%s/s", wire->folder);
    else
        (void)snprintf(wire->endpoint, sizeof wire->endpoint, "tcp://127.0.0.1:0");
}

void wire_serve(struct wire *wire)
{
    const struct proto_server_options options = {.endpoint = wire->endpoint};
    assert_int_equal(proto_server_new(wire->context, &options, &wire->server, &wire->info),
                     LILIO_OK);
}

void wire_connect(struct wire *wire)
{
    const char *endpoint = proto_server_endpoint(wire->server);
    assert_int_equal(proto_channel_new(wire->context, endpoint, &wire->channel, &wire->info),
                     LILIO_OK);
    wire_await_ready(wire->channel);
}

void wire_init_pair(struct wire *wire, enum wire_kind kind)
{
    wire_init(wire, kind);
    wire_serve(wire);
    wire_connect(wire);
}

void wire_release(struct wire *wire)
{
    proto_channel_free(&wire->channel);
    proto_server_free(&wire->server);
    proto_context_free(&wire->context);
    proto_arena_free(&wire->arena);
    temp_dir_free(wire->folder);
}

/* ---- waiting ---- */

static uint64_t now_ms(void)
{
    return base_now_ms(base_clock_system());
}

static int left_ms(uint64_t start_ms)
{
    uint64_t gone = now_ms() - start_ms;
    assert_true(gone < WIRE_PATIENCE_MS);
    return WIRE_PATIENCE_MS - (int)gone;
}

void wire_await_ready(struct proto_channel *channel)
{
    for (uint64_t start = now_ms(); !proto_channel_ready(channel);) {
        struct proto_wait_item item = {.channel = channel, .want_ready = true};
        (void)proto_wait(&item, 1, left_ms(start));
    }
}

void wire_await_gone(struct proto_channel *channel)
{
    for (uint64_t start = now_ms(); proto_channel_ready(channel);) {
        struct proto_wait_item item = {.channel = channel};
        (void)proto_wait(&item, 1, left_ms(start) < 20 ? left_ms(start) : 20);
    }
}

struct proto_request *wire_await_request(struct proto_server *server)
{
    for (uint64_t start = now_ms();;) {
        struct proto_request *request = proto_server_receive(server);
        if (request)
            return request;
        struct proto_wait_item item = {.server = server};
        (void)proto_wait(&item, 1, left_ms(start));
    }
}

struct proto_reply *wire_await_reply(struct proto_channel *channel)
{
    for (uint64_t start = now_ms();;) {
        struct proto_reply *reply = proto_channel_receive(channel);
        if (reply)
            return reply;
        struct proto_wait_item item = {.channel = channel};
        (void)proto_wait(&item, 1, left_ms(start));
    }
}

/* ---- messages ---- */

void wire_ping(struct proto_channel *channel, uint64_t sequence)
{
    const struct proto_header header = {.sequence = sequence};
    const struct proto_ping ping = {0};
    assert_int_equal(proto_channel_send(channel, &header, &proto_type_ping, &ping, NULL), LILIO_OK);
}

void wire_check_alive(struct proto_server *server, struct proto_channel *channel, uint64_t sequence)
{
    struct proto_request *request = NULL;
    for (uint64_t start = now_ms(); !request;) {
        const struct proto_header header = {.sequence = sequence};
        const struct proto_ping ping = {0};
        wire_await_ready(channel);
        if (proto_channel_send(channel, &header, &proto_type_ping, &ping, NULL))
            continue; /* it broke just now */
        while (!(request = proto_server_receive(server)) && proto_channel_ready(channel)) {
            struct proto_wait_item items[] = {{.server = server}, {.channel = channel}};
            (void)proto_wait(items, 2, left_ms(start));
        }
    }
    assert_ptr_equal(request->type, &proto_type_ping);
    assert_int_equal(request->header.sequence, sequence);
    const struct proto_pong pong = {.node = base_slice_str("osd.0")};
    proto_server_reply(server, &request, &proto_type_pong, &pong, NULL, 1);
    assert_null(request);
    struct proto_reply *reply = wire_await_reply(channel);
    assert_ptr_equal(reply->type, &proto_type_pong);
    assert_int_equal(reply->header.sequence, sequence);
    proto_reply_free(&reply);
}

enum lilio_err wire_error_code(const struct proto_reply *reply)
{
    struct proto_error error;
    assert_ptr_equal(reply->type, &proto_type_error);
    assert_int_equal(proto_error_unpack(reply->body, NULL, &error, NULL), LILIO_OK);
    return error.code;
}

static void count_release(void *data, void *hint)
{
    free(data);
    atomic_fetch_add((atomic_int *)hint, 1);
}

struct proto_payload wire_payload(size_t size, char letter, atomic_int *released)
{
    char *data = malloc(size ? size : 1);
    assert_non_null(data);
    memset(data, letter, size);
    return (struct proto_payload){data, size, count_release, released};
}

bool wire_payload_is(struct base_slice payload, size_t size, char letter)
{
    for (size_t i = 0; i < payload.size; i++)
        if (payload.data[i] != letter)
            return false;
    return payload.size == size;
}
