/* Aim: the owner loop stores, reads and verifies what it is asked, acknowledges nothing before its
 * batch is stored, keeps its bounds, and answers hostile requests. Method: one OSD on a spy store,
 * asked over inproc by a channel of the same thread, so that each round is the test's. */
#include "osd/service.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "osd/limits.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/osd/osd_parts.h"

#include "base/banned.h"

static const struct base_oid run = {7, 1};
static const struct base_slice nothing = {0};

struct fixture {
    struct parts parts;
    struct proto_channel *channel;
    struct parts_stripe stripe;
    uint32_t index; /* the fragment of the stripe that belongs here */
    uint8_t checksums[4 * CODEC_BLOCKS_MAX];
    struct proto_fragment_put put;
    struct proto_arena *arena;
};

/* The fragment of a stripe that osd.0 holds. */
static uint32_t own_index(struct base_oid oid, uint32_t stripe)
{
    uint32_t index = 0;
    while (parts_owner(oid, stripe, index) != 0)
        index++;
    return index;
}

static struct base_slice own_bytes(const struct fixture *f)
{
    return base_slice(f->stripe.bytes[f->index], f->stripe.fragment_size);
}

static void connect(struct fixture *f)
{
    struct proto_wait_item item = {.want_ready = true};
    assert_int_equal(proto_channel_new(f->parts.context, "inproc://osd.0", &f->channel, NULL),
                     LILIO_OK);
    item.channel = f->channel;
    assert_int_equal(proto_wait(&item, 1, PARTS_PATIENCE_MS), 1);
}

static void fixture_init(struct fixture *f, bool member)
{
    *f = (struct fixture){0};
    if (member) {
        parts_init_member(&f->parts, 0, NULL);
    } else {
        parts_init(&f->parts, 0, NULL);
        parts_serve(&f->parts);
    }
    connect(f);
    parts_stripe_make(&f->stripe, run, 0, PARTS_DATA * PARTS_FRAGMENT);
    f->index = own_index(run, 0);
    f->put = parts_put(&f->stripe, f->index, f->checksums);
    assert_int_equal(proto_arena_new(&f->arena), LILIO_OK);
}

static void fixture_release(struct fixture *f)
{
    proto_arena_free(&f->arena);
    proto_channel_free(&f->channel);
    parts_stripe_release(&f->stripe);
    parts_release(&f->parts);
}

static struct proto_reply *ask(struct fixture *f, const struct proto_type *type, const void *value,
                               struct base_slice payload)
{
    return parts_ask(&f->parts, f->channel, 5, type, value, payload);
}

/* Asks and expects an answer of that type or, with type error, that code. */
static void expect(struct fixture *f, const struct proto_type *type, const void *value,
                   struct base_slice payload, const struct proto_type *reply_type,
                   enum lilio_err code)
{
    struct proto_reply *reply = ask(f, type, value, payload);
    assert_int_equal(parts_code(reply, reply_type), code);
    proto_reply_free(&reply);
}

static void put_own(struct fixture *f, enum lilio_err code)
{
    expect(f, &proto_type_fragment_put, &f->put, own_bytes(f), &proto_type_fragment_stored, code);
}

static struct proto_fragment_get get_own(const struct fixture *f)
{
    return (struct proto_fragment_get){.key = parts_wire_key(run, 0, f->index)};
}

static void expect_pong(struct fixture *f, const char *state)
{
    struct proto_ping ping = {0};
    struct proto_pong pong;
    struct proto_reply *reply = ask(f, &proto_type_ping, &ping, nothing);
    assert_int_equal(parts_code(reply, &proto_type_pong), LILIO_OK);
    assert_int_equal(proto_pong_unpack(reply->body, f->arena, &pong, NULL), LILIO_OK);
    assert_true(base_slice_equal(pong.node, base_slice_str("osd.0")));
    assert_true(base_slice_equal(pong.state, base_slice_str(state)));
    assert_true(base_uuid_equal(pong.cluster_id, parts_cluster()));
    assert_int_equal(pong.detail.size == 0, strcmp(state, "serving") == 0);
    proto_reply_free(&reply);
}

/* ---- the ordinary way ---- */

static void test_put_get_verify(void **state)
{
    struct fixture f;
    struct proto_fragment_stored stored;
    struct proto_fragment fragment;
    (void)state;
    fixture_init(&f, /* member */ true);
    struct proto_reply *reply = ask(&f, &proto_type_fragment_put, &f.put, own_bytes(&f));
    assert_int_equal(parts_code(reply, &proto_type_fragment_stored), LILIO_OK);
    assert_int_equal(proto_fragment_stored_unpack(reply->body, f.arena, &stored, NULL), LILIO_OK);
    assert_int_equal(stored.incarnation, 1);
    assert_int_equal(stored.epoch, 5);
    assert_int_equal(reply->header.epoch, 5);
    proto_reply_free(&reply);

    struct proto_fragment_get get = get_own(&f);
    for (int verify = 0; verify < 2; verify++) {
        get.verify = verify;
        reply = ask(&f, &proto_type_fragment_get, &get, nothing);
        assert_int_equal(parts_code(reply, &proto_type_fragment), LILIO_OK);
        assert_int_equal(proto_fragment_unpack(reply->body, f.arena, &fragment, NULL), LILIO_OK);
        assert_int_equal(fragment.payload_length, f.stripe.fragment_size);
        assert_true(base_slice_equal(fragment.block_checksums,
                                     base_slice(f.checksums, fragment.block_checksums.size)));
        assert_true(base_slice_equal(reply->payload, own_bytes(&f)));
        proto_reply_free(&reply);
    }
    struct proto_fragment_key keys[] = {parts_wire_key(run, 0, f.index),
                                        parts_wire_key(run, 0, (f.index + 1) % PARTS_OSDS)};
    struct proto_fragment_verify verify = {.keys = keys, .keys_count = 2};
    struct proto_fragment_states states;
    reply = ask(&f, &proto_type_fragment_verify, &verify, nothing);
    assert_int_equal(parts_code(reply, &proto_type_fragment_states), LILIO_OK);
    assert_int_equal(proto_fragment_states_unpack(reply->body, f.arena, &states, NULL), LILIO_OK);
    assert_int_equal(states.states_count, 2);
    assert_int_equal(states.states[0].err, LILIO_OK);
    assert_int_equal(states.states[0].checksum, f.stripe.checksums[f.index]);
    assert_int_equal(states.states[0].payload_length, f.stripe.fragment_size);
    assert_int_equal(states.states[1].err, LILIO_E_MISSING);
    proto_reply_free(&reply);
    fixture_release(&f);
}

static void test_get_of_some_blocks(void **state)
{
    struct fixture f;
    struct proto_fragment fragment;
    (void)state;
    fixture_init(&f, true);
    put_own(&f, LILIO_OK);
    struct proto_fragment_get get = get_own(&f);
    get.first_block = 1;
    get.block_count = 9; /* cut at the end */
    struct proto_reply *reply = ask(&f, &proto_type_fragment_get, &get, nothing);
    assert_int_equal(parts_code(reply, &proto_type_fragment), LILIO_OK);
    assert_int_equal(proto_fragment_unpack(reply->body, f.arena, &fragment, NULL), LILIO_OK);
    assert_int_equal(fragment.first_block, 1);
    assert_int_equal(reply->payload.size, PARTS_FRAGMENT - CODEC_BLOCK);
    assert_memory_equal(reply->payload.data, f.stripe.bytes[f.index] + CODEC_BLOCK,
                        reply->payload.size);
    proto_reply_free(&reply);
    const struct {
        uint32_t first, count;
    } bad[] = {{2, 1}, {CODEC_BLOCKS_MAX, 1}, {UINT32_MAX, 1}, {0, UINT32_MAX}, {UINT32_MAX, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        get.first_block = bad[i].first;
        get.block_count = bad[i].count;
        expect(&f, &proto_type_fragment_get, &get, nothing, &proto_type_fragment, LILIO_E_INVALID);
    }
    fixture_release(&f);
}

/* Makes f->put that of the largest fragment there can be; returns its bytes. */
static uint8_t *large_put(struct fixture *f, uint8_t checksums[4 * CODEC_BLOCKS_MAX])
{
    uint32_t list[CODEC_BLOCKS_MAX];
    uint8_t *bytes = aligned_alloc(4096, CODEC_FRAGMENT_MAX);
    memset(bytes, 0x5a, CODEC_FRAGMENT_MAX);
    codec_block_checksums(bytes, CODEC_FRAGMENT_MAX, list);
    for (size_t i = 0; i < CODEC_BLOCKS_MAX; i++)
        base_le32_put(checksums + 4 * i, list[i]);
    f->put.profile.fragment_size = f->put.payload_length = CODEC_FRAGMENT_MAX;
    f->put.stripe_length = (uint64_t)PARTS_DATA * CODEC_FRAGMENT_MAX;
    f->put.block_checksums = base_slice(checksums, 4 * CODEC_BLOCKS_MAX);
    return bytes;
}

/* It is larger than the buffer that a get of "all" begins with. */
static void test_largest_fragment(void **state)
{
    struct fixture f;
    uint8_t checksums[4 * CODEC_BLOCKS_MAX];
    (void)state;
    fixture_init(&f, true);
    uint8_t *bytes = large_put(&f, checksums);
    expect(&f, &proto_type_fragment_put, &f.put, base_slice(bytes, CODEC_FRAGMENT_MAX),
           &proto_type_fragment_stored, LILIO_OK);
    struct proto_fragment_get get = get_own(&f);
    struct proto_reply *reply = ask(&f, &proto_type_fragment_get, &get, nothing);
    assert_int_equal(parts_code(reply, &proto_type_fragment), LILIO_OK);
    assert_true(base_slice_equal(reply->payload, base_slice(bytes, CODEC_FRAGMENT_MAX)));
    proto_reply_free(&reply);
    free(bytes);
    fixture_release(&f);
}

/* ---- batches ---- */

static void nothing_answered(void *context)
{
    struct fixture *f = context;
    assert_null(proto_channel_receive(f->channel));
}

static void test_batch_is_stored_before_it_is_answered(void **state)
{
    enum { COUNT = 20 };
    struct fixture f;
    unsigned sizes[SPY_BATCHES_MAX];
    bool answered[COUNT] = {false};
    (void)state;
    fixture_init(&f, true);
    spy_store_on_put(f.parts.store, nothing_answered, &f);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct parts_stripe stripe;
        uint8_t checksums[4 * CODEC_BLOCKS_MAX];
        struct base_oid oid = {7, 100 + i};
        uint32_t index = own_index(oid, 0);
        parts_stripe_make(&stripe, oid, 0, 1000);
        struct proto_fragment_put put = parts_put(&stripe, index, checksums);
        parts_send(f.channel, i, 5, &proto_type_fragment_put, &put,
                   base_slice(stripe.bytes[index], stripe.fragment_size));
        parts_stripe_release(&stripe);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        struct proto_reply *reply = parts_await(&f.parts, f.channel);
        assert_int_equal(parts_code(reply, &proto_type_fragment_stored), LILIO_OK);
        assert_true(reply->header.sequence < COUNT && !answered[reply->header.sequence]);
        answered[reply->header.sequence] = true;
        proto_reply_free(&reply);
    }
    unsigned batches = spy_store_batches(f.parts.store, sizes), together = 0;
    for (unsigned i = 0; i < batches; i++)
        together += sizes[i];
    assert_int_equal(together, COUNT);
    assert_true(batches < COUNT); /* they shared syncs */
    fixture_release(&f);
}

static void test_failed_store_turns_read_only(void **state)
{
    struct fixture f;
    struct osd_node_view view;
    (void)state;
    fixture_init(&f, true);
    put_own(&f, LILIO_OK);
    spy_store_fail(f.parts.store, LILIO_E_IO);
    put_own(&f, LILIO_E_IO);
    osd_node_view(f.parts.node, &view);
    assert_int_equal(view.state, OSD_NODE_FAILED);
    struct proto_fragment_get get = get_own(&f); /* what was durable before is still read */
    expect(&f, &proto_type_fragment_get, &get, nothing, &proto_type_fragment, LILIO_OK);
    fixture_release(&f);
}

/* ---- the directory is taken away ---- */

static enum lilio_err open_spy(void *context, struct base_disk *disk, struct base_uuid uuid,
                               struct osd_store **ret_store, struct lilio_errinfo *info)
{
    (void)disk, (void)uuid, (void)info;
    *ret_store = *(struct osd_store **)context = spy_store_new();
    return LILIO_OK;
}

static void remove_folder(void *context)
{
    char command[400];
    (void)snprintf(command, sizeof command, "rm -rf '%s/osd.0'", (const char *)context);
    assert_int_equal(system(command), 0);
}

/* It vanishes while a batch is written: the store saw no error, yet nothing is acknowledged. */
static void test_nothing_is_acknowledged_onto_removed_files(void **state)
{
    struct fixture f;
    struct osd_store *store;
    struct base_uuid uuid;
    char *folder = temp_dir_new();
    (void)state;
    fixture_init(&f, true);
    struct osd_home_options options = {
        .node = f.parts.node,
        .path = temp_dir_path(folder, "osd.0"),
        .random = &f.parts.random,
        .open_store = open_spy,
        .context = &store,
    };
    struct osd_home *home;
    assert_int_equal(osd_home_open(&options, &home, NULL), LILIO_OK);
    assert_int_equal(osd_home_join(home, &uuid, NULL), LILIO_OK);
    assert_int_equal(osd_home_welcome(home, 1, NULL), LILIO_OK);
    osd_service_free(&f.parts.service);
    struct osd_home *first = f.parts.home;
    f.parts.home = home;
    parts_service(&f.parts);

    put_own(&f, LILIO_OK);
    spy_store_on_put(store, remove_folder, folder);
    put_own(&f, LILIO_E_UNAVAILABLE);
    expect_pong(&f, "refused");
    spy_store_on_put(store, NULL, NULL);
    put_own(&f, LILIO_E_UNAVAILABLE);
    struct proto_fragment_get get = get_own(&f);
    expect(&f, &proto_type_fragment_get, &get, nothing, &proto_type_fragment, LILIO_E_UNAVAILABLE);
    osd_home_free(&first);
    fixture_release(&f);
    temp_dir_free(folder);
}

/* ---- who is asked ---- */

static void test_slots_of_others(void **state)
{
    struct fixture f;
    uint8_t checksums[4 * CODEC_BLOCKS_MAX];
    (void)state;
    fixture_init(&f, true);
    uint32_t other = (f.index + 1) % PARTS_OSDS;
    struct proto_fragment_put put = parts_put(&f.stripe, other, checksums);
    struct base_slice bytes = base_slice(f.stripe.bytes[other], f.stripe.fragment_size);
    expect(&f, &proto_type_fragment_put, &put, bytes, &proto_type_fragment_stored,
           LILIO_E_WRONG_OSD);
    struct proto_reply *reply =
        parts_ask(&f.parts, f.channel, 4, &proto_type_fragment_put, &put, bytes);
    assert_int_equal(parts_code(reply, &proto_type_fragment_stored), LILIO_E_STALE_EPOCH);
    assert_int_equal(reply->header.epoch, 5);
    proto_reply_free(&reply);
    struct proto_fragment_get get = {.key = parts_wire_key(run, 0, other)};
    expect(&f, &proto_type_fragment_get, &get, nothing, &proto_type_fragment, LILIO_E_WRONG_OSD);
    get.key = parts_wire_key(run, 0, f.index);
    expect(&f, &proto_type_fragment_get, &get, nothing, &proto_type_fragment, LILIO_E_MISSING);
    get.key.partition ^= 1;
    expect(&f, &proto_type_fragment_get, &get, nothing, &proto_type_fragment, LILIO_E_INVALID);
    unsigned sizes[SPY_BATCHES_MAX];
    assert_int_equal(spy_store_batches(f.parts.store, sizes), 0);
    fixture_release(&f);
}

/* A sender with a newer map makes us ask for it, and is served meanwhile. */
static void test_newer_map_of_the_sender(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    struct proto_wait_item woken = {.fd = osd_node_member_fd(f.parts.node)};
    assert_int_equal(proto_wait(&woken, 1, 0), 0);
    struct proto_reply *reply =
        parts_ask(&f.parts, f.channel, 6, &proto_type_fragment_put, &f.put, own_bytes(&f));
    assert_int_equal(parts_code(reply, &proto_type_fragment_stored), LILIO_OK);
    proto_reply_free(&reply);
    assert_int_equal(proto_wait(&woken, 1, 0), 1);
    fixture_release(&f);
}

static void test_states_that_do_not_serve(void **state)
{
    struct fixture f;
    struct base_uuid uuid;
    (void)state;
    fixture_init(&f, /* member */ false);
    expect_pong(&f, "waiting"); /* it may be a first disk: the coordinator says */
    put_own(&f, LILIO_E_UNAVAILABLE);
    osd_home_turn_away(f.parts.home, /* blank */ true, "had another disk");
    expect_pong(&f, "blank");
    put_own(&f, LILIO_E_BLANK);
    assert_int_equal(osd_home_join(f.parts.home, &uuid, NULL), LILIO_OK);
    expect_pong(&f, "waiting");
    put_own(&f, LILIO_E_UNAVAILABLE);
    osd_home_turn_away(f.parts.home, /* blank */ false, "not yours");
    expect_pong(&f, "refused");
    put_own(&f, LILIO_E_UNAVAILABLE);
    assert_int_equal(osd_home_welcome(f.parts.home, 3, NULL), LILIO_OK);
    expect_pong(&f, "serving");
    put_own(&f, LILIO_E_UNAVAILABLE); /* without a map nothing can be checked */
    osd_node_map_set(f.parts.node, parts_map(5));
    put_own(&f, LILIO_OK);
    fixture_release(&f);
}

/* ---- bounds ---- */

static void test_more_gets_than_buffers(void **state)
{
    enum { COUNT = 3 * OSD_BUFFERS_MEDIUM };
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    put_own(&f, LILIO_OK);
    struct proto_fragment_get get = get_own(&f);
    struct proto_reply *replies[COUNT];
    for (uint64_t i = 0; i < COUNT; i++)
        parts_send(f.channel, i, 5, &proto_type_fragment_get, &get, nothing);
    unsigned busy = 0;
    for (size_t i = 0; i < COUNT; i++) { /* held, so that their buffers do not come back */
        replies[i] = parts_await(&f.parts, f.channel);
        enum lilio_err err = parts_code(replies[i], &proto_type_fragment);
        assert_true(err == LILIO_OK || err == LILIO_E_BUSY);
        busy += err == LILIO_E_BUSY;
    }
    assert_int_equal(busy, COUNT - OSD_BUFFERS_MEDIUM);
    for (size_t i = 0; i < COUNT; i++)
        proto_reply_free(&replies[i]);
    expect(&f, &proto_type_fragment_get, &get, nothing, &proto_type_fragment, LILIO_OK);
    fixture_release(&f);
}

/* More bytes than may be taken in at once: what fits is stored, the rest is told to come again. */
static void test_flood_of_bytes(void **state)
{
    enum { FIT = OSD_RECEIVED_BYTES_MAX / CODEC_FRAGMENT_MAX, COUNT = FIT + 5 };
    struct fixture f;
    uint8_t checksums[4 * CODEC_BLOCKS_MAX];
    unsigned busy = 0;
    (void)state;
    fixture_init(&f, true);
    uint8_t *bytes = large_put(&f, checksums);
    for (uint64_t i = 0; i < COUNT; i++)
        parts_send(f.channel, i, 5, &proto_type_fragment_put, &f.put,
                   base_slice(bytes, CODEC_FRAGMENT_MAX));
    for (uint64_t i = 0; i < COUNT; i++) {
        struct proto_reply *reply = parts_await(&f.parts, f.channel);
        enum lilio_err err = parts_code(reply, &proto_type_fragment_stored);
        assert_true(err == LILIO_OK || err == LILIO_E_BUSY);
        busy += err == LILIO_E_BUSY;
        proto_reply_free(&reply);
    }
    assert_int_equal(busy, COUNT - FIT);
    expect(&f, &proto_type_fragment_put, &f.put, base_slice(bytes, CODEC_FRAGMENT_MAX),
           &proto_type_fragment_stored, LILIO_OK);
    free(bytes);
    fixture_release(&f);
}

/* Far more requests than may be taken in at once: each is answered, OK or BUSY, and nothing is
 * lost. */
static void test_flood_of_requests(void **state)
{
    enum { COUNT = OSD_REQUESTS_MAX + 500, CHANNELS = 4 };
    struct fixture f;
    struct proto_channel *channels[CHANNELS];
    struct proto_fragment_key keys[OSD_VERIFY_KEYS_MAX];
    unsigned answers = 0, busy = 0;
    (void)state;
    fixture_init(&f, true);
    for (size_t i = 0; i < OSD_VERIFY_KEYS_MAX; i++)
        keys[i] = parts_wire_key(run, 0, f.index);
    struct proto_fragment_verify verify = {.keys = keys, .keys_count = OSD_VERIFY_KEYS_MAX};
    for (size_t i = 0; i < CHANNELS; i++)
        assert_int_equal(proto_channel_new(f.parts.context, "inproc://osd.0", &channels[i], NULL),
                         LILIO_OK);
    for (unsigned sent = 0; answers < COUNT;) {
        for (size_t i = 0; i < CHANNELS; i++) {
            struct proto_header header = {.sequence = sent, .epoch = 5};
            if (sent < COUNT &&
                proto_channel_send(channels[i], &header, &proto_type_fragment_verify, &verify,
                                   NULL) == LILIO_OK)
                sent++;
        }
        if (sent % 64 == 0 || sent == COUNT)
            osd_service_round(f.parts.service, 0);
        for (size_t i = 0; i < CHANNELS; i++) {
            struct proto_reply *reply = proto_channel_receive(channels[i]);
            if (!reply)
                continue;
            enum lilio_err err = parts_code(reply, &proto_type_fragment_states);
            assert_true(err == LILIO_OK || err == LILIO_E_BUSY);
            busy += err == LILIO_E_BUSY;
            answers++;
            proto_reply_free(&reply);
        }
    }
    struct osd_service_counters counters;
    osd_service_counters_get(f.parts.service, &counters);
    assert_int_equal(counters.busy_count, busy);
    for (size_t i = 0; i < CHANNELS; i++)
        proto_channel_free(&channels[i]);
    put_own(&f, LILIO_OK);
    fixture_release(&f);
}

/* ---- hostile ---- */

static void test_requests_that_are_not_for_an_osd(void **state)
{
    struct fixture f;
    struct proto_status_get status = {0};
    struct proto_ok ok = {0};
    struct proto_fragment_put empty = {0};
    struct proto_fragment_verify none = {0};
    struct proto_rebuild_start start = {0};
    (void)state;
    fixture_init(&f, true);
    expect(&f, &proto_type_status_get, &status, nothing, &proto_type_status, LILIO_E_UNSUPPORTED);
    expect(&f, &proto_type_ok, &ok, own_bytes(&f), &proto_type_pong, LILIO_E_UNSUPPORTED);
    expect(&f, &proto_type_rebuild_start, &start, nothing, &proto_type_rebuild,
           LILIO_E_UNSUPPORTED); /* this one was made without a rebuild */
    expect(&f, &proto_type_fragment_put, &empty, nothing, &proto_type_fragment_stored,
           LILIO_E_INVALID);
    expect(&f, &proto_type_fragment_verify, &none, nothing, &proto_type_fragment_states, LILIO_OK);
    put_own(&f, LILIO_OK);
    fixture_release(&f);
}

/* A body of one type under the number of another. */
static void test_bodies_of_another_type(void **state)
{
    struct fixture f;
    struct proto_type lie = proto_type_osd_status;
    struct proto_osd_status body = {.state = base_slice_str("rubbish")};
    const struct proto_type *victims[] = {&proto_type_fragment_put, &proto_type_fragment_get,
                                          &proto_type_fragment_verify};
    (void)state;
    fixture_init(&f, true);
    for (size_t i = 0; i < 3; i++) {
        lie.number = victims[i]->number;
        struct proto_reply *reply = ask(&f, &lie, &body, own_bytes(&f));
        assert_true(parts_code(reply, &proto_type_pong) < 0);
        proto_reply_free(&reply);
    }
    put_own(&f, LILIO_OK);
    fixture_release(&f);
}

static void test_payload_that_does_not_match(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    f.stripe.bytes[f.index][17] ^= 4;
    put_own(&f, LILIO_E_CORRUPT);
    f.stripe.bytes[f.index][17] ^= 4;
    put_own(&f, LILIO_OK);
    put_own(&f, LILIO_OK); /* the same once more is no conflict */
    fixture_release(&f);
}

static void test_put_of_a_collected_run(void **state)
{
    struct fixture f;
    struct proto_collect_job job = {.oid = run, .placement = PARTS_PLACEMENT, .stripe_count = 1};
    struct proto_collect_job done[OSD_COLLECT_REPORT_MAX];
    (void)state;
    fixture_init(&f, true);
    put_own(&f, LILIO_OK);
    osd_collector_add(f.parts.collector, &job);
    for (int i = 0; i < 100 && osd_collector_done(f.parts.collector, done) == 0; i++)
        osd_service_round(f.parts.service, 0);
    assert_int_equal(osd_collector_done(f.parts.collector, done), 1);
    struct proto_fragment_get get = get_own(&f);
    expect(&f, &proto_type_fragment_get, &get, nothing, &proto_type_fragment, LILIO_E_MISSING);
    put_own(&f, LILIO_E_VERSION_GONE);
    fixture_release(&f);
}

static bool member_is_woken(const struct fixture *f)
{
    struct pollfd item = {.fd = osd_node_member_fd(f->parts.node), .events = POLLIN};
    return poll(&item, 1, 0) == 1;
}

/* The heartbeat that a collection asks for tells what is left. */
static void test_collected_is_not_counted(void **state)
{
    struct fixture f;
    struct osd_node_view view;
    struct proto_collect_job job = {.oid = run, .placement = PARTS_PLACEMENT, .stripe_count = 1};
    bool again;
    (void)state;
    fixture_init(&f, true);
    put_own(&f, LILIO_OK);
    osd_home_publish(f.parts.home);
    osd_node_view(f.parts.node, &view);
    assert_int_equal(view.space.fragment_count, 1);
    osd_node_member_woken(f.parts.node, &again);
    osd_collector_add(f.parts.collector, &job);
    for (int i = 0; i < 100 && !member_is_woken(&f); i++)
        osd_service_round(f.parts.service, 0);
    assert_true(member_is_woken(&f));
    osd_node_view(f.parts.node, &view);
    assert_int_equal(view.space.fragment_count, 0);
    assert_int_equal(view.space.used_bytes, 0);
    fixture_release(&f);
}

/* ---- housekeeping that fails ---- */

/* Runs rounds until the store was asked to tidy up once more. */
static void until_tick(struct fixture *f, struct osd_store *store)
{
    for (unsigned before = spy_store_ticks(store); spy_store_ticks(store) == before;)
        osd_service_round(f->parts.service, 50);
}

static void test_failed_tick_is_not_repeated_at_once(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    struct osd_store *store = osd_home_store(f.parts.home);
    spy_store_restless(store, LILIO_E_IO);
    until_tick(&f, store);
    unsigned before = spy_store_ticks(store);
    for (int i = 0; i < 100; i++)
        osd_service_round(f.parts.service, 0);
    assert_in_range(spy_store_ticks(store) - before, 0, 50);
    fixture_release(&f);
}

static void test_failed_store_lets_the_loop_wait(void **state)
{
    enum { ROUNDS = 20, WAIT_MS = 10 };
    struct fixture f;
    (void)state;
    fixture_init(&f, true);
    struct osd_store *store = osd_home_store(f.parts.home);
    spy_store_restless(store, LILIO_OK);
    until_tick(&f, store); /* and there is more to do */
    spy_store_fail(store, LILIO_E_IO);
    uint64_t began_ms = base_now_ms(base_clock_system());
    for (int i = 0; i < ROUNDS; i++)
        osd_service_round(f.parts.service, WAIT_MS);
    assert_true(base_now_ms(base_clock_system()) - began_ms >= ROUNDS * WAIT_MS / 2);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_get_verify),
        cmocka_unit_test(test_get_of_some_blocks),
        cmocka_unit_test(test_largest_fragment),
        cmocka_unit_test(test_batch_is_stored_before_it_is_answered),
        cmocka_unit_test(test_failed_store_turns_read_only),
        cmocka_unit_test(test_nothing_is_acknowledged_onto_removed_files),
        cmocka_unit_test(test_slots_of_others),
        cmocka_unit_test(test_newer_map_of_the_sender),
        cmocka_unit_test(test_states_that_do_not_serve),
        cmocka_unit_test(test_more_gets_than_buffers),
        cmocka_unit_test(test_flood_of_bytes),
        cmocka_unit_test(test_flood_of_requests),
        cmocka_unit_test(test_requests_that_are_not_for_an_osd),
        cmocka_unit_test(test_bodies_of_another_type),
        cmocka_unit_test(test_payload_that_does_not_match),
        cmocka_unit_test(test_put_of_a_collected_run),
        cmocka_unit_test(test_collected_is_not_counted),
        cmocka_unit_test(test_failed_tick_is_not_repeated_at_once),
        cmocka_unit_test(test_failed_store_lets_the_loop_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
