/* Aim: whatever a peer sends, a server or channel refuses it, says so where it can, counts it, and
 * serves the others on. Method: raw ZeroMQ sockets send messages of every wrong shape; plain
 * sockets send bytes that are not even ZeroMQ's protocol; after each of them a well-behaved channel
 * gets its answer. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "base/env.h"
#include "tests/support/cmocka_all.h"
#include "tests/unit/proto/sample.h"
#include "tests/unit/proto/wire.h"

#include "base/banned.h"

enum { FRAMES_MAX = 8, BIG = PROTO_PAYLOAD_BYTES_MAX + 1 };

struct message {
    const char *name;
    struct base_slice frames[FRAMES_MAX];
    int count;
    enum lilio_err err;   /* of the error reply */
    uint64_t sequence;    /* that it echoes */
    bool cuts_connection; /* over a network nothing arrives and the peer is dropped instead */
};
struct shapes {
    struct base_buffer header, strange_type, new_header, long_header, body;
    uint8_t *big;
    struct message at[32];
    size_t count;
};

static void add(struct shapes *shapes, struct message message)
{
    assert_true(shapes->count < sizeof shapes->at / sizeof shapes->at[0]);
    while (message.count < FRAMES_MAX && message.frames[message.count].data)
        message.count++;
    shapes->at[shapes->count++] = message;
}

static void shapes_init(struct shapes *s)
{
    *s = (struct shapes){.big = calloc(1, BIG)};
    const struct proto_ping ping = {0};
    const struct proto_header good = {.type = PROTO_MSG_ping, .sequence = 42},
                              strange = {.type = 9999, .sequence = 43};
    assert_int_equal(proto_header_pack(&good, &s->header), LILIO_OK);
    assert_int_equal(proto_header_pack(&strange, &s->strange_type), LILIO_OK);
    assert_int_equal(proto_header_pack(&good, &s->new_header), LILIO_OK);
    s->new_header.data[1] = 0x7f;
    s->new_header.data[0] = 0x91; /* only a version, and below one that must be understood */
    s->new_header.size = 2;
    sample_before(&s->long_header, &proto_type_header, 9, 10);
    sample_binary(&s->long_header, s->big, PROTO_HEADER_BYTES_MAX);
    assert_int_equal(proto_ping_pack(&ping, &s->body), LILIO_OK);
    struct base_slice h = base_buffer_slice(&s->header), b = base_buffer_slice(&s->body),
                      e = base_slice("", 0), big = base_slice(s->big, BIG),
                      junk = base_slice_str("junk");
    add(s, (struct message){"one frame", {h}, .err = LILIO_E_MALFORMED});
    add(s, (struct message){"one empty frame", {e}, .err = LILIO_E_MALFORMED});
    add(s, (struct message){"two empty frames", {e, e}, .err = LILIO_E_MALFORMED});
    add(s, (struct message){"as a REQ socket sends it", {e, h, b}, .err = LILIO_E_MALFORMED});
    add(s, (struct message){"a frame too many", {h, b, b, b}, .err = LILIO_E_MALFORMED});
    add(s,
        (struct message){"four frames too many", {h, b, b, b, b, b, b}, .err = LILIO_E_MALFORMED});
    add(s, (struct message){"header is junk", {junk, b}, .err = LILIO_E_MALFORMED});
    add(s, (struct message){"header is a bomb",
                            {base_slice_str("\xdd\xff\xff\xff\xff"), b},
                            .err = LILIO_E_MALFORMED});
    add(s, (struct message){
               "header is cut", {base_slice(h.data, h.size - 1), b}, .err = LILIO_E_MALFORMED});
    add(s, (struct message){"header and body swapped", {b, h}, .err = LILIO_E_UNSUPPORTED});
    add(s, (struct message){"header without a type",
                            {base_buffer_slice(&s->new_header), b},
                            .err = LILIO_E_UNSUPPORTED});
    add(s, (struct message){"header of an unknown version",
                            {base_slice_str("\x91\xcc\x81"), b},
                            .err = LILIO_E_UNSUPPORTED});
    add(s, (struct message){"unknown type",
                            {base_buffer_slice(&s->strange_type), b},
                            .err = LILIO_E_UNSUPPORTED,
                            .sequence = 43});
    add(s, (struct message){
               "header too long", {base_buffer_slice(&s->long_header), b}, .err = LILIO_E_TOO_BIG});
    add(s, (struct message){
               "body too long", {h, big}, .err = LILIO_E_TOO_BIG, .cuts_connection = true});
    add(s, (struct message){
               "payload too long", {h, b, big}, .err = LILIO_E_TOO_BIG, .cuts_connection = true});
}

static void shapes_release(struct shapes *s)
{
    base_buffer_release(&s->header);
    base_buffer_release(&s->strange_type);
    base_buffer_release(&s->new_header);
    base_buffer_release(&s->long_header);
    base_buffer_release(&s->body);
    free(s->big);
}

static void send_raw(void *socket, const struct message *message)
{
    for (int i = 0; i < message->count; i++) {
        int flags = i + 1 < message->count ? ZMQ_SNDMORE : 0;
        assert_true(zmq_send(socket, message->frames[i].data, message->frames[i].size, flags) >= 0);
    }
}

static void *raw_socket(void *zmq, int type)
{
    void *socket = zmq_socket(zmq, type);
    int zero = 0, patience = WIRE_PATIENCE_MS;
    assert_non_null(socket);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero), 0);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience, sizeof patience), 0);
    return socket;
}

/* The error reply at a raw DEALER: header, body, nothing else. */
static void check_raw_error(void *socket, const struct message *message)
{
    uint8_t header_bytes[PROTO_HEADER_BYTES_MAX], body_bytes[2048];
    int more = 0;
    size_t size = sizeof more;
    struct proto_header header;
    struct proto_error error;
    int header_size = zmq_recv(socket, header_bytes, sizeof header_bytes, 0);
    int body_size = zmq_recv(socket, body_bytes, sizeof body_bytes, 0);
    assert_true(header_size > 0 && body_size > 0);
    assert_int_equal(zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size), 0);
    assert_int_equal(more, 0);
    assert_int_equal(
        proto_header_unpack(base_slice(header_bytes, (size_t)header_size), NULL, &header, NULL),
        LILIO_OK);
    assert_int_equal(
        proto_error_unpack(base_slice(body_bytes, (size_t)body_size), NULL, &error, NULL),
        LILIO_OK);
    assert_int_equal(header.type, PROTO_MSG_error);
    assert_int_equal(header.sequence, message->sequence);
    assert_int_equal(error.code, message->err);
    assert_true(error.text.size > 0);
}

static uint64_t refused(const struct proto_server *server)
{
    struct proto_server_counters counters;
    proto_server_counters_get(server, &counters);
    return counters.refused;
}

static void test_malformed_requests(void **state)
{
    (void)state;
    struct shapes shapes;
    shapes_init(&shapes);
    for (enum wire_kind kind = WIRE_IPC; kind < WIRE_KIND_COUNT; kind++) {
        struct wire w;
        uint64_t expected = 0;
        wire_init_pair(&w, kind);
        void *zmq = zmq_ctx_new();
        for (size_t i = 0; i < shapes.count; i++) {
            const struct message *message = &shapes.at[i];
            void *raw = raw_socket(zmq, ZMQ_DEALER);
            assert_int_equal(zmq_connect(raw, proto_server_endpoint(w.server)), 0);
            send_raw(raw, message);
            if (!message->cuts_connection) {
                while (refused(w.server) == expected) {
                    struct proto_wait_item item = {.server = w.server};
                    assert_null(proto_server_receive(w.server));
                    if (refused(w.server) == expected)
                        assert_int_equal(proto_wait(&item, 1, WIRE_PATIENCE_MS), 1);
                }
                check_raw_error(raw, message);
                expected++;
            }
            wire_check_alive(w.server, w.channel, 100 + i);
            assert_int_equal(refused(w.server), expected);
            assert_int_equal(zmq_close(raw), 0);
        }
        assert_int_equal(zmq_ctx_term(zmq), 0);
        wire_release(&w);
    }
    shapes_release(&shapes);
}

/* Over inproc there is no limit of ZeroMQ's: the sizes are checked here. */
static void test_oversized_inside_a_process(void **state)
{
    (void)state;
    struct wire w;
    atomic_int released = 0;
    wire_init_pair(&w, WIRE_INPROC);
    struct proto_scan_row rows[15] = {0};
    uint8_t *checksums = calloc(1, 262144);
    for (int i = 0; i < 15; i++)
        rows[i].data.checksums = base_slice(checksums, 262144);
    const struct proto_header header = {.sequence = 5};
    const struct proto_scan_page page = {.rows = rows, .rows_count = 15};
    struct proto_payload payload = wire_payload(PROTO_PAYLOAD_BYTES_MAX, 'x', &released);
    assert_int_equal(proto_channel_send(w.channel, &header, &proto_type_scan_page, &page, &payload),
                     LILIO_OK);
    struct proto_request *request = wire_await_request(w.server); /* the largest that may be */
    assert_true(request->payload.size == PROTO_PAYLOAD_BYTES_MAX &&
                request->body.size > 15 * 262144);
    proto_request_drop(&request);
    wire_release(&w);
    free(checksums);
    assert_int_equal(released, 1);
}

/* A flood of bad messages does not keep the server from returning. */
static void test_flood(void **state)
{
    (void)state;
    enum { BAD = 500 };
    struct wire w;
    wire_init_pair(&w, WIRE_IPC);
    void *zmq = zmq_ctx_new(), *raw = raw_socket(zmq, ZMQ_DEALER);
    assert_int_equal(zmq_connect(raw, w.endpoint), 0);
    for (int i = 0; i < BAD; i++)
        assert_int_equal(zmq_send(raw, "junk", 4, 0), 4);
    while (refused(w.server) < BAD) {
        uint64_t before = refused(w.server);
        assert_null(proto_server_receive(w.server));
        assert_true(refused(w.server) - before <= 64);
        struct proto_wait_item item = {.server = w.server};
        if (refused(w.server) < BAD)
            (void)proto_wait(&item, 1, WIRE_PATIENCE_MS);
    }
    wire_check_alive(w.server, w.channel, 1);
    assert_int_equal(zmq_close(raw), 0);
    assert_int_equal(zmq_ctx_term(zmq), 0);
    wire_release(&w);
}

/* ---- a hostile server ---- */

static void test_malformed_replies(void **state)
{
    (void)state;
    struct shapes shapes;
    shapes_init(&shapes);
    struct wire w;
    wire_init(&w, WIRE_IPC);
    void *zmq = zmq_ctx_new(), *raw = raw_socket(zmq, ZMQ_ROUTER);
    assert_int_equal(zmq_bind(raw, w.endpoint), 0);
    assert_int_equal(proto_channel_new(w.context, w.endpoint, &w.channel, &w.info), LILIO_OK);
    wire_await_ready(w.channel);
    wire_ping(w.channel, 1);
    uint8_t peer[256], skipped[4096];
    int peer_size = zmq_recv(raw, peer, sizeof peer, 0);
    assert_true(peer_size > 0);
    assert_true(zmq_recv(raw, skipped, sizeof skipped, 0) > 0 &&
                zmq_recv(raw, skipped, sizeof skipped, 0) > 0);
    uint64_t sent = 0;
    for (size_t i = 0; i < shapes.count; i++) {
        if (shapes.at[i].cuts_connection)
            continue;
        assert_true(zmq_send(raw, peer, (size_t)peer_size, ZMQ_SNDMORE) >= 0);
        send_raw(raw, &shapes.at[i]);
        sent++;
    }
    const struct message good = {
        .frames = {base_buffer_slice(&shapes.header), base_buffer_slice(&shapes.body)}, .count = 2};
    assert_true(zmq_send(raw, peer, (size_t)peer_size, ZMQ_SNDMORE) >= 0);
    send_raw(raw, &good);
    struct proto_reply *reply = wire_await_reply(w.channel);
    assert_int_equal(reply->header.sequence, 42);
    assert_int_equal(proto_channel_refused(w.channel), sent);
    proto_reply_free(&reply);
    /* A frame beyond the limit ends the connection, not the program; then it stands again. */
    struct proto_wait_item item = {.channel = w.channel};
    wire_ping(w.channel, 2);
    const struct message big = {
        .frames = {base_buffer_slice(&shapes.header), base_slice(shapes.big, BIG)}, .count = 2};
    assert_true(zmq_send(raw, peer, (size_t)peer_size, ZMQ_SNDMORE) >= 0);
    send_raw(raw, &big);
    assert_int_equal(proto_wait(&item, 1, WIRE_PATIENCE_MS), 0);
    assert_false(proto_channel_ready(w.channel));
    wire_await_ready(w.channel);
    assert_null(proto_channel_receive(w.channel));
    assert_int_equal(zmq_close(raw), 0);
    assert_int_equal(zmq_ctx_term(zmq), 0);
    wire_release(&w);
    shapes_release(&shapes);
}

/* ---- not even ZeroMQ ---- */

static int plain_socket(const struct wire *w, enum wire_kind kind)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *endpoint = proto_server_endpoint(w->server);
    int fd = socket(kind == WIRE_IPC ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (kind == WIRE_IPC) {
        (void)snprintf(un.sun_path, sizeof un.sun_path, "%s", endpoint + strlen("ipc://"));
        assert_int_equal(connect(fd, (const struct sockaddr *)&un, sizeof un), 0);
    } else {
        in.sin_port = htons((uint16_t)strtoul(strrchr(endpoint, ':') + 1, NULL, 10));
        assert_int_equal(connect(fd, (const struct sockaddr *)&in, sizeof in), 0);
    }
    return fd;
}

#define RAW(text)                                \
    {                                            \
        (const uint8_t *)(text), sizeof text - 1 \
    }
/* The greeting and the READY command of a peer that speaks ZMTP 3.0 without security. */
#define GREETING                                                                                   \
    "\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" \
    "\0\0\0\0\0\0\0\0\0"
#define READY "\4\x1c\5READY\13Socket-Type\0\0\0\6DEALER"

static void test_foreign_bytes(void **state)
{
    (void)state;
    static const struct base_slice streams[] = {
        RAW(""),
        RAW("\0"),
        RAW("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        RAW("\xff"),
        RAW("\xff\0\0\0\0\0\0\0\1\x7f"),
        RAW(GREETING),
        RAW(GREETING READY),
        RAW(GREETING "\4\xff"),
        RAW(GREETING "\6\x7f\xff\xff\xff\xff\xff\xff\xff"
                     "READY"),
        RAW(GREETING READY "\2\xff\xff\xff\xff\xff\xff\xff\xff"
                           "huge frame"),
        RAW(GREETING READY "\2\x7f\xff\xff\xff\xff\xff\xff\xff"
                           "huge frame"),
        RAW(GREETING READY "\1\3abc\1\3def"), /* an unfinished message of three parts */
        RAW(GREETING READY "\0\3abc\0\0\1\0\0\0"),
        RAW(GREETING READY "\xf8\3abc"),
        RAW(GREETING "\4\x1c\5READY\13Socket-Type\0\0\0\6PUBSUB"),
        RAW("\1\0\1\3abc\0\3def"), /* as the oldest protocol had it */
    };
    for (enum wire_kind kind = WIRE_IPC; kind < WIRE_KIND_COUNT; kind++) {
        struct wire w;
        wire_init_pair(&w, kind);
        int fds[sizeof streams / sizeof streams[0]];
        for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
            fds[i] = plain_socket(&w, kind);
            (void)send(fds[i], streams[i].data, streams[i].size,
                       MSG_NOSIGNAL); /* it may hang up on us */
            wire_check_alive(w.server, w.channel, i);
        }
        uint64_t seed = 77;
        struct base_random random = base_random_seeded(&seed);
        for (uint64_t i = 0; i < 100; i++) {
            uint8_t bytes[700];
            int fd = plain_socket(&w, kind);
            random.fill(random.context, bytes, sizeof bytes);
            size_t lead = i % 3 == 0   ? 0
                          : i % 3 == 1 ? sizeof GREETING - 1
                                       : sizeof(GREETING READY) - 1;
            memcpy(bytes, GREETING READY, lead);
            (void)send(fd, bytes, sizeof bytes, MSG_NOSIGNAL); /* it may hang up on us */
            wire_check_alive(w.server, w.channel, i);
            (void)close(fd);
        }
        for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++)
            (void)close(fds[i]);
        wire_check_alive(w.server, w.channel, 1);
        wire_release(&w);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed_requests),
        cmocka_unit_test(test_oversized_inside_a_process),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_malformed_replies),
        cmocka_unit_test(test_foreign_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
