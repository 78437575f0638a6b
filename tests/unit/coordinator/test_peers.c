/* Aim: what one coordinator sends reaches the other as it was, and of what strangers send nothing
 * reaches raft: garbage, another cluster's, for somebody else, from no member, an earlier
 * incarnation's. Method: two real ends over inproc sockets, and a stranger's channel that may send
 * any message; every refusal is counted. */
#include "coord_fixture.h"

#include <stdlib.h>

#include "coordinator/peers.h"
#include "coordinator/replays.h"

#include "base/banned.h"

enum { WAIT_MS = 10000, ONE = 1, TWO = 2 };
#define MEMBER(incarnation, number) ((uint64_t)(incarnation) << 32 | (number))

struct pair {
    struct proto_context *context;
    struct coord_peers *one, *two;
    struct proto_channel *stranger; /* to one */
    struct raft_message got;
    struct proto_request *request;
};

static const char *find(void *context, uint32_t number)
{
    (void)context;
    return number == 5 ? "inproc://five" : NULL; /* lilio.yaml names a fifth one, not a member */
}

static struct coord_peers *peers_new(struct pair *pair, const char *endpoint, uint64_t member)
{
    const struct coord_peers_options options = {
        .context = pair->context,
        .endpoint = endpoint,
        .cluster_id = fx_uuid(1),
        .member = member,
        .clock = base_clock_system(),
        .find = find,
    };
    struct proto_raft_member members[] = {
        {.id = MEMBER(2, ONE),
         .kind = RAFT_VOTER,
         .address = fx_text("inproc://a"),
         .peer = fx_text("inproc://one")},
        {.id = MEMBER(2, TWO),
         .kind = RAFT_VOTER,
         .address = fx_text("inproc://b"),
         .peer = fx_text("inproc://two")},
    };
    const struct proto_raft_config config = {.members = members, .members_count = 2};
    struct coord_peers *peers = NULL;
    assert_int_equal(coord_peers_new(&options, &peers, NULL), LILIO_OK);
    coord_peers_learn(peers, &config);
    return peers;
}

static void pair_init(struct pair *pair)
{
    memset(pair, 0, sizeof *pair);
    assert_int_equal(proto_context_new(1, &pair->context), LILIO_OK);
    pair->one = peers_new(pair, "inproc://one", MEMBER(2, ONE));
    pair->two = peers_new(pair, "inproc://two", MEMBER(2, TWO));
    assert_int_equal(proto_channel_new(pair->context, "inproc://one", &pair->stranger, NULL),
                     LILIO_OK);
    proto_channel_one_way(pair->stranger);
}

static void pair_release(struct pair *pair)
{
    proto_channel_free(&pair->stranger);
    coord_peers_free(&pair->one);
    coord_peers_free(&pair->two);
    proto_context_free(&pair->context);
}

/* Waits until one has taken or refused something. */
static enum coord_peers_got take(struct pair *pair)
{
    uint64_t refused = coord_peers_refused(pair->one);
    for (;;) {
        enum coord_peers_got got = coord_peers_receive(pair->one, &pair->got, &pair->request);
        if (got != COORD_PEERS_NOTHING || coord_peers_refused(pair->one) != refused)
            return got;
        struct proto_wait_item item = {.server = coord_peers_server(pair->one), .fd = -1};
        assert_true(proto_wait(&item, 1, WAIT_MS) > 0);
    }
}

static struct proto_raft good(void)
{
    return (struct proto_raft){
        .cluster_id = fx_uuid(1),
        .kind = RAFT_VOTE,
        .from = MEMBER(2, TWO),
        .to = MEMBER(2, ONE),
        .term = 7,
        .index = 11,
        .log_term = 6,
    };
}

static void send_as_stranger(struct pair *pair, const struct proto_raft *wire, void *payload,
                             size_t size)
{
    struct proto_header header = {0};
    struct proto_payload bytes = {.data = payload, .size = size};
    assert_int_equal(
        proto_channel_send(pair->stranger, &header, &proto_type_raft, wire, size ? &bytes : NULL),
        LILIO_OK);
}

static void expect_refused(struct pair *pair, const struct proto_raft *wire, size_t payload)
{
    static uint8_t bytes[4096];
    uint64_t refused = coord_peers_refused(pair->one);
    send_as_stranger(pair, wire, bytes, payload);
    assert_int_equal(take(pair), COORD_PEERS_NOTHING);
    assert_int_equal(coord_peers_refused(pair->one), refused + 1);
}

static void entries_arrive_as_they_were(void **unused)
{
    (void)unused;
    struct pair pair;
    pair_init(&pair);
    struct raft_entry entries[3] = {
        {.index = 12, .term = 6, .type = RAFT_ENTRY_NOOP},
        {.index = 13, .term = 7, .type = RAFT_ENTRY_COMMANDS, .data = fx_text("some commands")},
        {.index = 14, .term = 7, .type = RAFT_ENTRY_CONFIG, .data = fx_text("members")},
    };
    struct raft_message message = {
        .type = RAFT_APPEND,
        .from = MEMBER(2, TWO),
        .to = MEMBER(2, ONE),
        .term = 7,
        .index = 11,
        .log_term = 6,
        .commit = 10,
        .sequence = 99,
        .entries = entries,
        .count = 3,
    };
    coord_peers_send(pair.two, &message);
    assert_int_equal(take(&pair), COORD_PEERS_MESSAGE);
    assert_int_equal(pair.got.type, RAFT_APPEND);
    assert_int_equal(pair.got.from, message.from);
    assert_int_equal(pair.got.to, message.to);
    assert_int_equal(pair.got.term, 7);
    assert_int_equal(pair.got.index, 11);
    assert_int_equal(pair.got.log_term, 6);
    assert_int_equal(pair.got.commit, 10);
    assert_int_equal(pair.got.sequence, 99);
    assert_int_equal(pair.got.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pair.got.entries[i].index, entries[i].index);
        assert_int_equal(pair.got.entries[i].term, entries[i].term);
        assert_int_equal(pair.got.entries[i].type, entries[i].type);
        assert_true(base_slice_equal(pair.got.entries[i].data, entries[i].data));
    }
    message = (struct raft_message){.type = RAFT_VOTE,
                                    .from = MEMBER(2, TWO),
                                    .to = MEMBER(2, ONE),
                                    .term = 8,
                                    .transfer = true};
    coord_peers_send(pair.two, &message);
    assert_int_equal(take(&pair), COORD_PEERS_MESSAGE);
    assert_true(pair.got.transfer);
    assert_int_equal(pair.got.count, 0);
    assert_int_equal(coord_peers_refused(pair.one), 0);
    pair_release(&pair);
}

/* Late ones and those in another order are taken, once each. */
static void what_came_before_is_refused(void **unused)
{
    (void)unused;
    struct pair pair;
    pair_init(&pair);
    struct proto_raft wire = good();
    wire.run = 5;
    static const uint64_t fresh[] = {70, 72, 71, 69, 1500, 1499, 477, 1501};
    static const uint64_t again[] = {70, 1500, 477, 476, 71, 1, 1501};
    for (size_t i = 0; i < sizeof fresh / sizeof *fresh; i++) {
        wire.number = fresh[i];
        send_as_stranger(&pair, &wire, NULL, 0);
        assert_int_equal(take(&pair), COORD_PEERS_MESSAGE);
    }
    for (size_t i = 0; i < sizeof again / sizeof *again; i++) {
        wire.number = again[i];
        expect_refused(&pair, &wire, 0);
    }
    for (int i = 0; i < 2; i++) { /* after a restart, and what was recorded before it */
        wire.run = 6;
        wire.number = 1 + (uint64_t)i;
        send_as_stranger(&pair, &wire, NULL, 0);
        assert_int_equal(take(&pair), COORD_PEERS_MESSAGE);
        wire.run = 5;
        wire.number = 1500;
        expect_refused(&pair, &wire, 0);
    }
    wire.run = wire.number = 0; /* of a version that does not number */
    for (int i = 0; i < 3; i++) {
        send_as_stranger(&pair, &wire, NULL, 0);
        assert_int_equal(take(&pair), COORD_PEERS_MESSAGE);
    }
    pair_release(&pair);
}

/* Whatever else is sent, who speaks again is heard: what is forgotten is taken as new. */
static void many_runs_lock_nobody_out(void **unused)
{
    (void)unused;
    static struct coord_replays replays;
    for (uint64_t n = 1; n < 5000; n++) {
        assert_false(coord_replays_enter(&replays, MEMBER(1, 1), 7, n));
        assert_true(coord_replays_enter(&replays, MEMBER(1, 1), 7, n));
        assert_false(coord_replays_enter(&replays, MEMBER(1, 2), 7, n)); /* another's */
        for (uint64_t other = 0; other < 50; other++)
            assert_false(coord_replays_enter(&replays, MEMBER(1, 1), 1000 * n + other, 3));
    }
}

static void strangers_are_refused(void **unused)
{
    (void)unused;
    struct pair pair;
    pair_init(&pair);
    struct proto_raft wire = good();
    send_as_stranger(&pair, &wire, NULL, 0); /* well-formed: who sends is not proven */
    assert_int_equal(take(&pair), COORD_PEERS_MESSAGE);
    wire = good(), wire.cluster_id = fx_uuid(2);
    expect_refused(&pair, &wire, 0);
    wire = good(), wire.to = MEMBER(1, ONE); /* an earlier life of ours */
    expect_refused(&pair, &wire, 0);
    wire = good(), wire.from = MEMBER(2, ONE); /* ourselves */
    expect_refused(&pair, &wire, 0);
    static const uint64_t forged[] = {MEMBER(2, 9), MEMBER(1, TWO), MEMBER(3, TWO), 0,
                                      UINT64_MAX,   MEMBER(1, 4)};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        wire = good(), wire.from = forged[i], wire.term = UINT64_MAX >> 3;
        expect_refused(&pair, &wire, 0);
    }
    wire = good(), wire.from = MEMBER(3, 5); /* may be a member of a configuration to come */
    send_as_stranger(&pair, &wire, NULL, 0);
    assert_int_equal(take(&pair), COORD_PEERS_MESSAGE);
    assert_string_equal(coord_peers_endpoint(pair.one, MEMBER(3, 5)), "inproc://five");
    pair_release(&pair);
}

static void malformed_messages_are_refused(void **unused)
{
    (void)unused;
    struct pair pair;
    pair_init(&pair);
    struct proto_raft_entry heads[2] = {{.term = 6, .type = RAFT_ENTRY_COMMANDS, .size = 10},
                                        {.term = 6, .type = RAFT_ENTRY_COMMANDS, .size = 20}};
    struct proto_raft wire = good();
    expect_refused(&pair, &wire, 1); /* bytes, and no entry they belong to */
    wire.kind = 0;
    expect_refused(&pair, &wire, 0);
    wire.kind = RAFT_HELLO_REPLY + 1;
    expect_refused(&pair, &wire, 0);
    struct proto_raft_start starts[RAFT_KNOWN_MAX] = {{.member = 3, .start = 4, .id = 5}};
    wire = good(), wire.starts = starts, wire.starts_count = 1; /* of a VOTE */
    expect_refused(&pair, &wire, 0);
    wire = good(), wire.entries = heads, wire.entries_count = 2; /* of a VOTE */
    expect_refused(&pair, &wire, 30);
    wire.kind = RAFT_APPEND;
    expect_refused(&pair, &wire, 29);
    expect_refused(&pair, &wire, 31);
    expect_refused(&pair, &wire, 0);
    heads[1].size = UINT32_MAX;
    expect_refused(&pair, &wire, 30);
    heads[1].size = 20, heads[0].type = 0;
    expect_refused(&pair, &wire, 30);
    heads[0].type = 4;
    expect_refused(&pair, &wire, 30);
    heads[0].type = RAFT_ENTRY_COMMANDS, wire.index = UINT64_MAX;
    expect_refused(&pair, &wire, 30);
    wire.index = 11;
    uint8_t payload[30] = {1};
    send_as_stranger(&pair, &wire, payload, sizeof payload);
    assert_int_equal(take(&pair), COORD_PEERS_MESSAGE);
    assert_int_equal(pair.got.count, 2);
    wire = good(), wire.kind = RAFT_HELLO_REPLY;
    wire.starts = starts, wire.starts_count = RAFT_KNOWN_MAX;
    send_as_stranger(&pair, &wire, NULL, 0);
    assert_int_equal(take(&pair), COORD_PEERS_MESSAGE);
    assert_int_equal(pair.got.start_count, RAFT_KNOWN_MAX);
    assert_int_equal(pair.got.starts[0].id, 5);
    pair_release(&pair);
}

/* Garbage behind a good header, and a request of another kind, which is the owner's. */
static void other_requests_are_handed_on(void **unused)
{
    (void)unused;
    struct pair pair;
    pair_init(&pair);
    struct proto_header header = {0};
    struct proto_ping ping = {0};
    assert_int_equal(proto_channel_send(pair.stranger, &header, &proto_type_ping, &ping, NULL),
                     LILIO_OK);
    assert_int_equal(take(&pair), COORD_PEERS_REQUEST);
    assert_ptr_equal(pair.request->type, &proto_type_ping);
    proto_request_drop(&pair.request);
    struct proto_raft none = {0};
    expect_refused(&pair, &none, 0);
    pair_release(&pair);
}

/* A member that takes nothing costs a bounded amount of memory. */
static void what_nobody_takes_is_dropped(void **unused)
{
    (void)unused;
    struct pair pair;
    pair_init(&pair);
    enum { BYTES = 1 << 20 };
    uint8_t *bytes = calloc(1, BYTES);
    assert_non_null(bytes);
    struct raft_entry entry = {
        .index = 1, .term = 1, .type = RAFT_ENTRY_COMMANDS, .data = base_slice(bytes, BYTES)};
    struct raft_message message = {.type = RAFT_APPEND,
                                   .from = MEMBER(2, TWO),
                                   .to = MEMBER(2, ONE),
                                   .term = 1,
                                   .entries = &entry,
                                   .count = 1};
    size_t taken = 0;
    for (int i = 0; i < 200; i++) /* one does not read meanwhile */
        coord_peers_send(pair.two, &message);
    while (taken < 200) {
        enum coord_peers_got got = coord_peers_receive(pair.one, &pair.got, &pair.request);
        struct proto_wait_item item = {.server = coord_peers_server(pair.one), .fd = -1};
        if (got == COORD_PEERS_MESSAGE)
            taken++;
        else if (proto_wait(&item, 1, 100) == 0)
            break;
    }
    assert_in_range(taken, 1, COORD_PEERS_QUEUED_MAX / BYTES);
    coord_peers_send(pair.two, &message); /* there is room again */
    assert_int_equal(take(&pair), COORD_PEERS_MESSAGE);
    free(bytes);
    pair_release(&pair);
}

static void those_who_left_are_refused(void **unused)
{
    (void)unused;
    struct pair pair;
    pair_init(&pair);
    struct proto_raft_member alone = {
        .id = MEMBER(2, ONE), .kind = RAFT_VOTER, .peer = fx_text("inproc://one")};
    const struct proto_raft_config config = {.members = &alone, .members_count = 1};
    coord_peers_learn(pair.one, &config);
    struct proto_raft wire = good();
    expect_refused(&pair, &wire, 0);
    assert_null(coord_peers_endpoint(pair.one, MEMBER(2, TWO)));
    pair_release(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_arrive_as_they_were),
        cmocka_unit_test(what_came_before_is_refused),
        cmocka_unit_test(many_runs_lock_nobody_out),
        cmocka_unit_test(strangers_are_refused),
        cmocka_unit_test(malformed_messages_are_refused),
        cmocka_unit_test(other_requests_are_handed_on),
        cmocka_unit_test(what_nobody_takes_is_dropped),
        cmocka_unit_test(those_who_left_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
