/* Aim: what an earlier request of a lane left behind does not wake the waits of the next one, and
 * is not taken for its answer. Method: a real server whose answer nobody reads; without care a wait
 * for other connections would find it readable, again and again. */
#include "client/lane.h"

#include <stdio.h>
#include <string.h>

#include "client/client_priv.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/client/fake_cluster.h"

#include "base/banned.h"

enum { PATIENCE_MS = 30000 };

struct fixture {
    struct fake_cluster *cluster;
    struct lilio_client *client;
    struct client_lane *lane;
    struct client_link *link;
    struct proto_context *context;
    struct proto_server *server;
    char *folder, endpoint[256];
};

static void serve(struct fixture *f)
{
    struct proto_server_options options = {.endpoint = f->endpoint, .peer_messages = 16};
    assert_int_equal(proto_server_new(f->context, &options, &f->server, NULL), LILIO_OK);
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.cluster = fake_cluster_new(), .folder = temp_dir_new()};
    f.client = fake_cluster_open(f.cluster, PATIENCE_MS, 1 << 20);
    (void)snprintf(f.endpoint, sizeof f.endpoint, "ipc://%s/osd", f.folder);
    assert_int_equal(proto_context_new(1, &f.context), LILIO_OK);
    serve(&f);
    struct proto_osd osd = {
        .id = 0, .incarnation = 1, .state = PROTO_OSD_UP, .address = base_slice_str(f.endpoint)};
    struct proto_cluster_map map = {.epoch = 1, .osds = &osd, .osds_count = 1};
    assert_int_equal(client_lane_take(f.client, &f.lane, NULL), LILIO_OK);
    assert_int_equal(client_lane_link(f.lane, &map, 0, &f.link, NULL), LILIO_OK);
    client_lane_settle(f.lane);
    assert_true(f.link->ready);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    client_lane_give(&f->lane);
    lilio_close(&f->client);
    proto_server_free(&f->server);
    proto_context_free(&f->context);
    fake_cluster_free(&f->cluster);
    temp_dir_free(f->folder);
    return 0;
}

/* Asks, and waits until the answer is there to be read. */
static void ask(struct fixture *f, const char *answer)
{
    struct proto_ping ping = {0};
    struct proto_pong pong = {.node = base_slice_str(answer)};
    struct client_fragment_id id = {.attempt = 1};
    assert_int_equal(
        client_lane_send(f->lane, f->link, id, 1, PATIENCE_MS, &proto_type_ping, &ping, NULL),
        LILIO_OK);
    struct proto_wait_item item = {.server = f->server, .fd = -1};
    assert_int_equal(proto_wait(&item, 1, PATIENCE_MS), 1);
    struct proto_request *request = proto_server_receive(f->server);
    assert_non_null(request);
    proto_server_reply(f->server, &request, &proto_type_pong, &pong, NULL, 1);
    item = (struct proto_wait_item){.channel = f->link->channel, .fd = -1};
    assert_int_equal(proto_wait(&item, 1, PATIENCE_MS), 1);
}

/* A new call waits for connections, not for what an earlier one asked. */
static void earlier_requests_are_forgotten(void **state)
{
    struct fixture *f = *state;
    ask(f, "first");
    assert_int_equal(f->link->under_way, 1);
    client_lane_settle(f->lane);
    assert_int_equal(f->link->under_way, 0);
    (void)client_lane_wait(f->lane, 0);
    assert_false(f->link->readable);
}

/* The next run of a call asks for the same stripe, index and attempt, and means another fragment.
 */
static void late_answers_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct client_fragment_id id;
    struct proto_pong pong;
    ask(f, "first");
    client_lane_settle(f->lane);
    ask(f, "second");
    struct proto_wait_item item = {.channel = f->link->channel, .fd = -1};
    struct proto_reply *reply;
    while (!(reply = client_lane_receive(f->lane, f->link, &id)))
        assert_int_equal(proto_wait(&item, 1, PATIENCE_MS), 1);
    assert_int_equal(proto_pong_unpack(reply->body, f->lane->arena, &pong, NULL), LILIO_OK);
    assert_true(base_slice_equal(pong.node, base_slice_str("second")));
    assert_int_equal(id.attempt, 1);
    assert_int_equal(f->link->under_way, 0);
    proto_reply_free(&reply);
    assert_null(client_lane_receive(f->lane, f->link, &id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(earlier_requests_are_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(late_answers_are_dropped, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
