/* Aim: a rebuild ends with everything here that the maps say, proven, or with names and reasons;
 * wrong bytes never get in. Method: six whole OSDs over inproc, five of them on spy stores that
 * hold coded stripes and lie on demand, a coordinator in a thread with rows and a pinned walk; the
 * sixth is rebuilt, and its store is compared with what was coded. */
#include "osd/rebuild_run.h"

#include <stdlib.h>

#include "osd/member.h"
#include "tests/unit/osd/fake_coordinator.h"

#include "base/banned.h"

enum { PHASE_PROVEN = 4, PHASE_FAILURES = 5, PHASE_STOPPED = 6, PHASE_ERROR = 7 };
enum { GOOD = 0, MISSING = 1, CORRUPT = 3 };

struct fixture {
    struct proto_context *context;
    struct fake fake;
    struct parts osds[PARTS_OSDS]; /* osd.0 is the one that is rebuilt */
    struct osd_member *member;
    struct proto_channel *channel;
    struct proto_arena *arena;
    char own_endpoint[128];
    struct proto_reply *reply; /* of the last state */
    struct proto_rebuild state;
};

/* Each fragment to its OSD, but for osd.0. */
static void put_at_peers(void *context, const struct parts_stripe *stripe)
{
    struct fixture *f = context;
    for (uint32_t index = 0; index < PARTS_OSDS; index++) {
        uint32_t osd = parts_owner(stripe->oid, stripe->stripe, index);
        if (osd != 0)
            parts_store_put(f->osds[osd].store, stripe, index);
    }
}

static void member_start(struct fixture *f)
{
    struct osd_member_options options = {
        .node = f->osds[0].node,
        .home = f->osds[0].home,
        .collector = f->osds[0].collector,
        .context = f->context,
        .coordinators = fake_endpoints(),
        .coordinator_count = 1,
        .address = "tcp://127.0.0.1:1",
    };
    assert_int_equal(osd_member_start(&options, &f->member), LILIO_OK);
}

/* Blank osd.0 of an id that had a disk; five peers with `rows` rows of three stripes. */
static void fixture_init(struct fixture *f, uint64_t rows)
{
    *f = (struct fixture){0};
    assert_int_equal(proto_context_new(1, &f->context), LILIO_OK);
    assert_int_equal(proto_arena_new(&f->arena), LILIO_OK);
    fake_start(&f->fake, f->context);
    FAKE_LOCKED(&f->fake, f->fake.had_disk = true);
    for (uint32_t i = 1; i < PARTS_OSDS; i++)
        parts_init_member(&f->osds[i], i, f->context);
    for (uint64_t i = 1; i <= rows; i++)
        (void)fake_row_add(&f->fake, i, 3, put_at_peers, f);
    parts_init(&f->osds[0], 0, f->context);
    parts_endpoint("own", 0, f->own_endpoint);
    struct osd_rebuild_options options = {
        .node = f->osds[0].node,
        .home = f->osds[0].home,
        .context = f->context,
        .coordinators = fake_endpoints(),
        .coordinator_count = 1,
        .own_endpoint = f->own_endpoint,
    };
    assert_int_equal(osd_rebuild_new(&options, &f->osds[0].rebuild), LILIO_OK);
    parts_serve(&f->osds[0]);
}

/* The OSDs of the mask do not run: they hold their connections and say nothing, unless their
 * servers are gone. */
static void fixture_run_but(struct fixture *f, unsigned away)
{
    struct proto_wait_item item = {.want_ready = true};
    FAKE_LOCKED(&f->fake, ); /* it sees what the test set up */
    for (uint32_t i = 0; i < PARTS_OSDS; i++)
        if (!(away >> i & 1))
            parts_run(&f->osds[i]);
    member_start(f);
    char endpoint[128];
    parts_endpoint("osd", 0, endpoint);
    assert_int_equal(proto_channel_new(f->context, endpoint, &f->channel, NULL), LILIO_OK);
    item.channel = f->channel;
    assert_int_equal(proto_wait(&item, 1, PARTS_PATIENCE_MS), 1);
}

static void fixture_run(struct fixture *f)
{
    fixture_run_but(f, 0);
}

static void fixture_release(struct fixture *f)
{
    proto_reply_free(&f->reply);
    proto_channel_free(&f->channel);
    osd_node_stop(f->osds[0].node);
    osd_member_stop(&f->member);
    for (uint32_t i = 0; i < PARTS_OSDS; i++)
        parts_release(&f->osds[i]);
    fake_stop(&f->fake);
    proto_context_free(&f->context);
    for (uint32_t i = 0; i < PARTS_OSDS; i++)
        parts_release_context(&f->osds[i]);
    proto_arena_free(&f->arena);
}

/* Asks osd.0 something about its rebuild; the state is in f->state. */
static void ask(struct fixture *f, const struct proto_type *type, const void *value)
{
    proto_reply_free(&f->reply);
    f->reply = parts_ask(&f->osds[0], f->channel, 5, type, value, (struct base_slice){0});
    assert_int_equal(parts_code(f->reply, &proto_type_rebuild), LILIO_OK);
    proto_arena_clear(f->arena);
    assert_int_equal(proto_rebuild_unpack(f->reply->body, f->arena, &f->state, NULL), LILIO_OK);
}

static void start(struct fixture *f)
{
    struct proto_rebuild_start start = {0};
    FAKE_LOCKED(&f->fake, ); /* it sees what the test set up */
    ask(f, &proto_type_rebuild_start, &start);
}

static void await_end(struct fixture *f)
{
    struct proto_rebuild_get get = {0};
    struct proto_wait_item never = {.fd = -1};
    uint64_t until = base_now_ms(base_clock_system()) + 3 * PARTS_PATIENCE_MS;
    for (ask(f, &proto_type_rebuild_get, &get); f->state.phase < PHASE_PROVEN;
         ask(f, &proto_type_rebuild_get, &get)) {
        assert_true(base_now_ms(base_clock_system()) < until);
        (void)proto_wait(&never, 1, 2);
    }
    struct osd_node_view view;
    FAKE_LOCKED(&f->fake, );               /* the test sees what it heard, */
    osd_node_view(f->osds[0].node, &view); /* and which store the owner opened */
}

static void rebuild(struct fixture *f)
{
    start(f);
    await_end(f);
}

/* The fragment of a stripe that belongs to osd.0. */
static uint32_t own_index(struct base_oid oid, uint32_t stripe)
{
    uint32_t index = 0;
    while (parts_owner(oid, stripe, index) != 0)
        index++;
    return index;
}

struct look {
    struct osd_store *store;
    struct base_oid oid;
    uint32_t stripes;
    bool wrong, missing;
};

/* On the owner thread: are the fragments of a row there, byte by byte? */
static enum lilio_err look(void *context, struct lilio_errinfo *info)
{
    struct look *look = context;
    uint8_t room[OSD_OBJECT_KEY_MAX];
    size_t size = PARTS_FRAGMENT + 8192;
    uint8_t *buffer = aligned_alloc(4096, size);
    for (uint32_t i = 0; i < look->stripes; i++) {
        struct parts_stripe stripe;
        struct osd_fragment fragment;
        uint8_t *payload;
        uint32_t got;
        uint64_t full = (uint64_t)PARTS_DATA * PARTS_FRAGMENT;
        uint32_t index = own_index(look->oid, i);
        struct base_fragment_key key = parts_key(look->oid, i, index);
        parts_stripe_make(&stripe, look->oid, i, i + 1 < look->stripes ? full : full - 1000);
        enum lilio_err err =
            look->store->ops->get(look->store, &key, 0, CODEC_BLOCKS_MAX, true, buffer, size,
                                  &fragment, room, &payload, &got, info);
        look->missing |= err == LILIO_E_MISSING;
        look->wrong |= (err && err != LILIO_E_MISSING) ||
                       (!err && (got != stripe.fragment_size ||
                                 memcmp(payload, stripe.bytes[index], got) != 0));
        parts_stripe_release(&stripe);
    }
    free(buffer);
    return LILIO_OK;
}

static struct look look_at(struct fixture *f, const struct fake_row *row)
{
    struct look found = {f->osds[0].store, row->oid, row->stripes, false, false};
    assert_int_equal(osd_node_call(f->osds[0].node, look, &found, NULL), LILIO_OK);
    return found;
}

static void expect_all_here(struct fixture *f)
{
    for (size_t i = 0; i < f->fake.row_count; i++) {
        struct look found = look_at(f, &f->fake.rows[i]);
        assert_false(found.wrong || found.missing);
    }
}

/* ---- all goes well ---- */

static void test_blank_disk(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 7);
    fixture_run(&f);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    assert_int_equal(f.state.index, 100);
    assert_int_equal(f.state.incarnation, 1);
    assert_int_equal(f.state.expected, 21);
    assert_int_equal(f.state.rebuilt, 21);
    assert_int_equal(f.state.verified, 21);
    assert_int_equal(f.state.present + f.state.gone + f.state.failed + f.state.newer, 0);
    assert_int_equal(f.state.text.size, 0); /* a proof has nothing to excuse */
    assert_int_equal(f.state.done_bytes, f.state.expected_bytes);
    assert_int_equal(f.state.rebuilt_bytes, f.state.expected_bytes);
    assert_int_equal(f.state.source_bytes, PARTS_DATA * f.state.rebuilt_bytes);
    assert_int_equal(f.state.bad_sources, 0);
    assert_int_equal(f.fake.completes, 1);
    assert_int_equal(f.fake.complete.fragments, 21);
    assert_int_equal(f.fake.complete.index, 100);
    assert_int_equal(f.fake.complete.incarnation, 1);
    assert_int_equal(f.fake.afresh, 0); /* a new disk is that by itself */
    expect_all_here(&f);

    rebuild(&f); /* once more: nothing is left to do */
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    assert_int_equal(f.fake.afresh, 1); /* before it looks at what is committed */
    assert_int_equal(f.fake.pinned_afresh, 1);
    assert_int_equal(f.state.present, 21);
    assert_int_equal(f.state.rebuilt, 0);
    assert_int_equal(f.state.source_bytes, 0);
    fixture_release(&f);
}

static void test_nothing_to_hold(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 0);
    fixture_run(&f);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    assert_int_equal(f.state.expected, 0);
    fixture_release(&f);
}

/* A live OSD: what is good stays, what is damaged or missing is mended, the maps are told. */
static void test_live_disk(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 4);
    fixture_run(&f);
    rebuild(&f);
    struct base_oid damaged = f.fake.rows[1].oid;
    struct osd_store_stats stats;
    spy_store_incomplete(f.osds[0].store);
    for (uint32_t stripe = 0; stripe < 3; stripe++)
        spy_store_lie(f.osds[0].store, damaged, own_index(damaged, stripe), SPY_CORRUPT);
    start(&f); /* the lies are told for ever, so what is mended cannot be proven */
    await_end(&f);
    assert_int_equal(f.state.phase, PHASE_FAILURES);
    assert_int_equal(f.state.present, 9);
    assert_int_equal(f.state.failed, 3);
    assert_int_equal(f.fake.completes, 2); /* the maps know what is not here */
    f.osds[0].store->ops->stats(f.osds[0].store, &stats);
    assert_false(stats.incomplete);
    for (uint32_t stripe = 0; stripe < 3; stripe++)
        assert_int_equal(
            fake_reports(&f.fake, damaged, stripe, own_index(damaged, stripe), MISSING), 1);
    spy_store_honest(f.osds[0].store);
    pthread_mutex_lock(&f.fake.lock);
    for (uint32_t stripe = 0; stripe < 3; stripe++) /* as the reports made it */
        f.fake.rows[1].exceptions[f.fake.rows[1].exception_count++] =
            (struct proto_exception){.first_stripe = stripe,
                                     .stripe_count = 1,
                                     .index = (uint8_t)own_index(damaged, stripe),
                                     .kind = 1};
    pthread_mutex_unlock(&f.fake.lock);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    for (uint32_t stripe = 0; stripe < 3; stripe++)
        assert_int_equal(fake_reports(&f.fake, damaged, stripe, own_index(damaged, stripe), GOOD),
                         1);
    assert_int_equal(f.fake.completes, 3);
    expect_all_here(&f);
    fixture_release(&f);
}

/* ---- bad sources ---- */

/* One source of each stripe is bad, in each of the ways, and another set serves. */
static void test_bad_source_is_replaced(void **state)
{
    const enum spy_lie lies[] = {SPY_MISSING, SPY_FLIPPED, SPY_OTHER_BYTES, SPY_CORRUPT};
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++)
        for (uint32_t index = 0; index < PARTS_OSDS; index++) {
            struct fixture f;
            fixture_init(&f, 1);
            for (uint32_t osd = 1; osd < PARTS_OSDS; osd++)
                spy_store_lie(f.osds[osd].store, f.fake.rows[0].oid, index, lies[i]);
            fixture_run(&f);
            rebuild(&f);
            assert_int_equal(f.state.phase, PHASE_PROVEN);
            assert_int_equal(f.state.rebuilt, 3);
            expect_all_here(&f);
            uint64_t told = 0;
            for (uint32_t stripe = 0; stripe < 3; stripe++)
                told += fake_reports(&f.fake, f.fake.rows[0].oid, stripe, index,
                                     lies[i] == SPY_MISSING ? MISSING : CORRUPT);
            assert_int_equal(told, f.state.bad_sources);
            fixture_release(&f);
        }
}

/* Two bad ones of each stripe and ours make three: more than the parity. Named, and the rest goes
 * on. */
static void test_too_few_sources(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 3);
    struct fake_row *row = &f.fake.rows[1];
    for (uint32_t osd = 1; osd < PARTS_OSDS; osd++)
        for (uint32_t stripe = 0; stripe < row->stripes; stripe++) {
            uint32_t own = own_index(row->oid, stripe);
            spy_store_lie(f.osds[osd].store, row->oid, (own + 1) % PARTS_OSDS, SPY_FLIPPED);
            spy_store_lie(f.osds[osd].store, row->oid, (own + 2) % PARTS_OSDS, SPY_MISSING);
        }
    fixture_run(&f);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_FAILURES);
    assert_int_equal(f.state.rebuilt, 6);
    assert_int_equal(f.state.failed, 3);
    assert_int_equal(f.state.verified, 6);
    assert_int_equal(f.fake.completes, 1);
    assert_int_equal(f.fake.complete.fragments, 6);
    for (uint32_t stripe = 0; stripe < row->stripes; stripe++)
        assert_int_equal(
            fake_reports(&f.fake, row->oid, stripe, own_index(row->oid, stripe), MISSING), 1);
    assert_int_equal(f.state.failures_count, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct proto_rebuild_failure *failure = &f.state.failures[i];
        char reason[513] = "";
        memcpy(reason, failure->reason.data, failure->reason.size);
        assert_true(base_oid_equal(failure->oid, row->oid));
        assert_int_equal(failure->index, own_index(row->oid, failure->stripe));
        assert_int_equal(failure->err, LILIO_E_LOST);
        assert_true(base_slice_equal(failure->names[0].key, base_slice_str(row->key)));
        assert_non_null(strstr(reason, "checksum mismatch"));
        /* busy: not connected yet, and of no use whatever it has */
        assert_true(strstr(reason, "fragment missing") || strstr(reason, "busy"));
    }
    for (size_t i = 0; i < f.fake.row_count; i++) {
        struct look found = look_at(&f, &f.fake.rows[i]);
        assert_false(found.wrong);
        assert_int_equal(found.missing, i == 1);
    }
    for (uint32_t osd = 1; osd < PARTS_OSDS; osd++) /* the OSDs come to their senses */
        spy_store_honest(f.osds[osd].store);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    assert_int_equal(f.state.present, 6);
    assert_int_equal(f.state.rebuilt, 3);
    expect_all_here(&f);
    fixture_release(&f);
}

/* What could not be had, and what the maps were not told, keeps the OSD from being complete; so
 * does a row that says nothing usable. */
static void test_not_told(void **state)
{
    struct fixture f;
    (void)state;
    for (int unusable = 0; unusable < 2; unusable++) {
        fixture_init(&f, 3);
        for (uint32_t osd = 1; osd < PARTS_OSDS && !unusable; osd++)
            for (uint32_t index = 0; index < PARTS_OSDS; index++)
                spy_store_lie(f.osds[osd].store, f.fake.rows[1].oid, index, SPY_MISSING);
        f.fake.refuse_reports = !unusable;
        f.fake.rows[1].stored_length *= unusable ? 1000 : 1;
        fixture_run(&f);
        rebuild(&f);
        assert_int_equal(f.state.phase, PHASE_FAILURES);
        assert_int_equal(f.state.verified, 6);
        assert_int_equal(f.state.failed, unusable ? 1 : 3);
        assert_int_equal(f.fake.completes, 0);
        fixture_release(&f);
    }
}

/* What could not be had is tried again by the last walk, since the maps say by then that it is
 * missing; it is counted and named once all the same. */
static void test_failed_twice(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 3);
    struct fake_row *row = &f.fake.rows[1];
    for (uint32_t osd = 1; osd < PARTS_OSDS; osd++)
        for (uint32_t index = 0; index < PARTS_OSDS; index++)
            spy_store_lie(f.osds[osd].store, row->oid, index, SPY_MISSING);
    for (uint32_t stripe = 0; stripe < row->stripes; stripe++)
        row->exceptions[row->exception_count++] =
            (struct proto_exception){.first_stripe = stripe,
                                     .stripe_count = 1,
                                     .index = (uint8_t)own_index(row->oid, stripe),
                                     .kind = 1};
    row->reported_later = true;
    fixture_run(&f);
    f.fake.later_index = 102;
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_FAILURES);
    assert_int_equal(fake_reports(&f.fake, row->oid, 0, own_index(row->oid, 0), MISSING), 2);
    assert_int_equal(f.state.failed, 3);
    assert_int_equal(f.state.failures_count, 3);
    assert_int_equal(f.state.expected, f.state.verified + f.state.failed);
    assert_int_equal(f.fake.completes, 1);
    fixture_release(&f);
}

/* The maps hold a checksum that the sources do not decode to: nothing is written. */
static void test_decoded_is_compared_with_the_maps(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 1);
    uint32_t index = own_index(f.fake.rows[0].oid, 1);
    f.fake.rows[0].checksums[4 * (PARTS_OSDS + index)] ^= 1;
    fixture_run(&f);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_FAILURES);
    assert_int_equal(f.state.rebuilt, 2);
    assert_int_equal(f.state.failed, 1);
    assert_int_equal(f.state.failures[0].stripe, 1);
    assert_int_equal(f.state.failures[0].err, LILIO_E_CORRUPT);
    assert_true(look_at(&f, &f.fake.rows[0]).missing);
    fixture_release(&f);
}

/* A store that acknowledges and forgets is found out by reading again. */
static void test_lost_writes_are_found(void **state)
{
    struct fixture f;
    struct base_uuid uuid;
    (void)state;
    fixture_init(&f, 2);
    assert_int_equal(osd_home_join(f.osds[0].home, &uuid, NULL), LILIO_OK);
    for (uint32_t index = 0; index < PARTS_OSDS; index++)
        spy_store_lie(f.osds[0].store, f.fake.rows[0].oid, index, SPY_LOSES_PUTS);
    fixture_run(&f);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_FAILURES);
    assert_int_equal(f.state.failed, 3);
    assert_int_equal(f.state.rebuilt, 3);
    assert_int_equal(f.state.failures[0].err, LILIO_E_MISSING);
    fixture_release(&f);
}

/* ---- while the world goes on ---- */

static void forget(struct fixture *f, struct base_oid oid)
{
    for (uint32_t osd = 1; osd < PARTS_OSDS; osd++)
        for (uint32_t index = 0; index < PARTS_OSDS; index++)
            spy_store_lie(f->osds[osd].store, oid, index, SPY_MISSING);
}

static void test_deleted_meanwhile(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 3);
    f.fake.delete_after = f.fake.rows[1].oid; /* after the pinned walk handed it out */
    forget(&f, f.fake.rows[1].oid);
    fixture_run(&f);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    assert_int_equal(f.state.expected, 9);
    assert_int_equal(f.state.verified, 6);
    assert_int_equal(f.state.gone, 3);
    fixture_release(&f);
}

/* What was committed after the pinned index is counted apart; what a put under way missed here is
 * mended. */
static void test_newer_rows(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 3);
    struct fake_row *newer = &f.fake.rows[2];
    newer->commit_index = 101;
    newer->exceptions[0] = (struct proto_exception){.first_stripe = 1,
                                                    .stripe_count = 1,
                                                    .index = (uint8_t)own_index(newer->oid, 1),
                                                    .kind = 1};
    newer->exception_count = 1;
    fixture_run(&f);
    /* The first walk hands the row out, too: this coordinator has no real pins, so the expected
     * ones include it. What is looked at here is the second walk. */
    f.fake.later_index = 102;
    start(&f);
    await_end(&f);
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    assert_int_equal(f.state.index, 100);
    assert_int_equal(f.state.newer, 3);
    assert_true(fake_reports(&f.fake, newer->oid, 1, own_index(newer->oid, 1), GOOD) >= 1);
    expect_all_here(&f);
    fixture_release(&f);
}

/* What readers reported missing after the maps were pinned, before it was rebuilt: the maps are
 * told that it is here. */
static void test_reported_meanwhile(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 3);
    struct fake_row *row = &f.fake.rows[1];
    row->exceptions[0] = (struct proto_exception){
        .first_stripe = 1, .stripe_count = 1, .index = (uint8_t)own_index(row->oid, 1), .kind = 1};
    row->exception_count = 1;
    row->reported_later = true;
    fixture_run(&f);
    f.fake.later_index = 102;
    start(&f);
    await_end(&f);
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    assert_int_equal(f.state.verified, 9);
    assert_int_equal(f.state.newer, 0);
    assert_int_equal(fake_reports(&f.fake, row->oid, 1, own_index(row->oid, 1), GOOD), 1);
    fixture_release(&f);
}

/* One OSD is dead and parity covers it; with a second one every stripe lacks a source. */
static void test_dead_peers(void **state)
{
    struct fixture f;
    (void)state;
    for (unsigned dead = 1; dead <= 2; dead++) {
        fixture_init(&f, 2);
        for (uint32_t osd = 2; osd < 2 + dead; osd++)
            proto_server_free(&f.osds[osd].server);
        fixture_run_but(&f, dead == 1 ? 0x04 : 0x0c);
        rebuild(&f);
        assert_int_equal(f.state.phase, dead == 1 ? PHASE_PROVEN : PHASE_FAILURES);
        assert_int_equal(f.state.failed, dead == 1 ? 0 : 6);
        assert_int_equal(f.state.bad_sources, 0); /* unreachable is not missing */
        if (dead == 2)
            assert_int_equal(f.state.failures[0].err, LILIO_E_LOST);
        fixture_release(&f);
    }
}

static void put_nowhere(void *context, const struct parts_stripe *stripe)
{
    (void)context, (void)stripe;
}

/* A rebuild of which all fails; how long it took. */
static uint64_t nothing_in_reach(struct fixture *f, uint64_t fragments)
{
    rebuild(f);
    assert_int_equal(f->state.phase, PHASE_FAILURES);
    assert_int_equal(f->state.failed, fragments);
    assert_int_equal(f->state.failures[0].err, LILIO_E_LOST);
    assert_int_equal(f->state.bad_sources, 0);
    return f->state.elapsed_ms;
}

/* The maps say who is down; with nobody in reach, five windows of fragments fail in the time that
 * one takes to be sure of it. */
static void test_waits_once_for_those_that_are_down(void **state)
{
    enum { ROWS = 8, STRIPES = 64 };
    struct fixture f;
    struct proto_osd osds[PARTS_OSDS];
    (void)state;
    fixture_init(&f, 0);
    struct proto_cluster_map map = *proto_map_ref_get(f.fake.map);
    memcpy(osds, map.osds, sizeof osds);
    for (uint32_t osd = 1; osd < PARTS_OSDS; osd++) {
        proto_server_free(&f.osds[osd].server);
        osds[osd].state = osd % 2 ? PROTO_OSD_DOWN : PROTO_OSD_OUT;
    }
    map.osds = osds;
    struct proto_map_ref *plain = f.fake.map;
    assert_int_equal(proto_map_ref_new(&map, &f.fake.map), LILIO_OK);
    proto_map_ref_drop(&plain);
    (void)fake_row_add(&f.fake, 1, STRIPES, put_nowhere, NULL);
    fixture_run_but(&f, 0x3e);
    uint64_t one_ms = nothing_in_reach(&f, STRIPES);
    for (uint64_t i = 2; i <= ROWS; i++)
        FAKE_LOCKED(&f.fake, (void)fake_row_add(&f.fake, i, STRIPES, put_nowhere, NULL));
    uint64_t all_ms = UINT64_MAX;
    for (int i = 0; i < 3 && all_ms > 2 * one_ms; i++) /* the machine may have stood still */
        all_ms = nothing_in_reach(&f, ROWS * STRIPES);
    assert_in_range(all_ms, 0, 2 * one_ms); /* above 3 if each of them waits */
    fixture_release(&f);
}

/* It takes questions and says nothing, like a stopped process. */
static void test_silent_peer(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 8);
    fixture_run_but(&f, 0x04);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    assert_int_equal(f.state.rebuilt, 24);
    expect_all_here(&f);
    fixture_release(&f);
}

static void test_coordinator_loses_the_walk(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 2);
    f.fake.lose_scans = true;
    fixture_run(&f);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_ERROR);
    assert_int_equal(f.state.err, LILIO_E_NOT_FOUND);
    assert_true(f.state.text.size > 0);
    pthread_mutex_lock(&f.fake.lock);
    f.fake.lose_scans = false;
    pthread_mutex_unlock(&f.fake.lock);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    fixture_release(&f);
}

/* Another coordinator leads since: whichever page is the first it is asked for, the walk is begun
 * anew, and nothing is counted twice. */
static void test_leader_changes(void **state)
{
    enum { ROWS = 3, PAGES = 3 * ROWS }; /* count, mend, look at what is newer */
    (void)state;
    for (unsigned page = 1; page <= PAGES; page++) {
        struct fixture f;
        fixture_init(&f, ROWS);
        forget(&f, f.fake.rows[1].oid);
        f.fake.page_rows = 1;
        f.fake.later_index = 102;
        f.fake.lost_page = page;
        fixture_run(&f);
        rebuild(&f);
        assert_int_equal(f.state.phase, PHASE_FAILURES);
        assert_int_equal(f.state.expected, 3 * ROWS);
        assert_int_equal(f.state.present + f.state.rebuilt, 3 * (ROWS - 1));
        assert_int_equal(f.state.verified, 3 * (ROWS - 1));
        assert_int_equal(f.state.failed, 3);
        assert_int_equal(f.state.failures_count, 3);
        assert_int_equal(f.fake.completes, 1);
        assert_true(f.fake.pages > page);
        fixture_release(&f);
    }
}

static void test_cancelled_and_continued(void **state)
{
    struct fixture f;
    struct proto_rebuild_cancel cancel = {0};
    (void)state;
    fixture_init(&f, 8);
    fixture_run(&f);
    start(&f);
    start(&f); /* joins it */
    ask(&f, &proto_type_rebuild_cancel, &cancel);
    await_end(&f);
    assert_true(f.state.phase == PHASE_STOPPED || f.state.phase == PHASE_PROVEN);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    assert_int_equal(f.state.present + f.state.rebuilt, 24);
    expect_all_here(&f);
    fixture_release(&f);
}

/* Who asks for a rebuild while a stopped one still ends does not end with it. */
static void test_one_that_ends_is_not_joined(void **state)
{
    struct fixture f;
    struct proto_rebuild_cancel cancel = {0};
    struct proto_rebuild_start again = {0};
    struct proto_wait_item never = {.fd = -1};
    (void)state;
    fixture_init(&f, 8);
    fixture_run(&f);
    start(&f);
    ask(&f, &proto_type_rebuild_cancel, &cancel);
    for (;;) {
        proto_reply_free(&f.reply);
        f.reply = parts_ask(&f.osds[0], f.channel, 5, &proto_type_rebuild_start, &again,
                            (struct base_slice){0});
        if (parts_code(f.reply, &proto_type_rebuild) == LILIO_OK)
            break;
        assert_int_equal(parts_code(f.reply, &proto_type_rebuild), LILIO_E_BUSY);
        (void)proto_wait(&never, 1, 2);
    }
    await_end(&f);
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    expect_all_here(&f);
    fixture_release(&f);
}

static void test_store_that_fails_ends_it(void **state)
{
    struct fixture f;
    struct base_uuid uuid;
    (void)state;
    fixture_init(&f, 2);
    assert_int_equal(osd_home_join(f.osds[0].home, &uuid, NULL), LILIO_OK);
    fixture_run(&f);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_PROVEN);
    spy_store_fail(f.osds[0].store, LILIO_E_IO);
    for (uint32_t index = 0; index < PARTS_OSDS; index++)
        spy_store_lie(f.osds[0].store, f.fake.rows[0].oid, index, SPY_MISSING);
    rebuild(&f);
    assert_int_equal(f.state.phase, PHASE_ERROR);
    assert_true(f.state.err == LILIO_E_IO || f.state.err == LILIO_E_READ_ONLY);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blank_disk),
        cmocka_unit_test(test_nothing_to_hold),
        cmocka_unit_test(test_live_disk),
        cmocka_unit_test(test_bad_source_is_replaced),
        cmocka_unit_test(test_too_few_sources),
        cmocka_unit_test(test_not_told),
        cmocka_unit_test(test_failed_twice),
        cmocka_unit_test(test_decoded_is_compared_with_the_maps),
        cmocka_unit_test(test_lost_writes_are_found),
        cmocka_unit_test(test_deleted_meanwhile),
        cmocka_unit_test(test_newer_rows),
        cmocka_unit_test(test_reported_meanwhile),
        cmocka_unit_test(test_dead_peers),
        cmocka_unit_test(test_waits_once_for_those_that_are_down),
        cmocka_unit_test(test_silent_peer),
        cmocka_unit_test(test_coordinator_loses_the_walk),
        cmocka_unit_test(test_leader_changes),
        cmocka_unit_test(test_cancelled_and_continued),
        cmocka_unit_test(test_one_that_ends_is_not_joined),
        cmocka_unit_test(test_store_that_fails_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
