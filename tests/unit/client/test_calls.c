/* Aim: the calls of liblilio over real sockets do what lilio.h says when the other side misbehaves:
 * answers to COMMIT that are lost, redirects, busy and silent daemons, sessions that end, versions
 * that are collected under a reader, fragments that are missing, flipped or late; and two threads
 * may use one client. Method: a fake cluster in a thread of the test with knobs for each of these;
 * contents are compared byte by byte. */
#include "client/lilio.h"
#include "base/env.h"
#include "codec/codec.h"
#include "tests/support/cmocka_all.h"
#include "tests/unit/client/agenda.h"
#include "tests/unit/client/fake_cluster.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

enum {
    STRIPE = 4 * 65536, /* of bucket "wide" */
    WINDOW = 2 << 20,   /* 5 of them */
    PATIENT_MS = 30000, /* whatever the sanitizers cost */
    IMPATIENT_MS = 2000,
};

/* ---- bytes in memory as source and sink ---- */

struct bytes {
    uint8_t *data;
    size_t size, at, step; /* step: at most so much per read; 0 = any */
    size_t fail_at;        /* reading fails there; 0 = never */
    uint32_t restarts;
};

static struct bytes bytes_make(size_t size, uint64_t seed)
{
    struct bytes bytes = {.data = malloc(size + 1), .size = size};
    assert_non_null(bytes.data);
    for (size_t i = 0; i < size; i++)
        bytes.data[i] = (uint8_t)agenda_random(&seed);
    return bytes;
}

static enum lilio_err bytes_read(void *context, void *buffer, size_t size, size_t *ret_size,
                                 struct lilio_errinfo *info)
{
    struct bytes *bytes = context;
    size_t left = bytes->size - bytes->at;
    size_t step = left < size ? left : size;
    if (bytes->fail_at && bytes->at >= bytes->fail_at)
        return lilio_fail(info, LILIO_E_IO, "the source broke");
    if (bytes->step && step > bytes->step)
        step = bytes->step;
    memcpy(buffer, bytes->data + bytes->at, step);
    bytes->at += step;
    *ret_size = step;
    return LILIO_OK;
}

static enum lilio_err bytes_write(void *context, const void *data, size_t size,
                                  struct lilio_errinfo *info)
{
    struct bytes *bytes = context;
    if (size > bytes->size - bytes->at)
        return lilio_fail(info, LILIO_E_TOO_BIG, "more than expected");
    memcpy(bytes->data + bytes->at, data, size);
    bytes->at += size;
    return LILIO_OK;
}

static enum lilio_err bytes_restart(void *context, struct lilio_errinfo *info)
{
    struct bytes *bytes = context;
    (void)info;
    bytes->at = 0;
    bytes->restarts++;
    return LILIO_OK;
}

static enum lilio_err put(struct lilio_client *client, const char *bucket, const char *key,
                          struct bytes *bytes, bool known_size, bool if_absent,
                          struct lilio_put_result *ret_result, struct lilio_errinfo *info)
{
    struct lilio_source source = {
        .read = bytes_read, .context = bytes, .size = known_size ? bytes->size : UINT64_MAX};
    struct lilio_attribute attribute = {"content-type", "text/plain"};
    struct lilio_put_options options = {
        .if_absent = if_absent, .attributes = &attribute, .attribute_count = 1};
    bytes->at = 0;
    return lilio_put(client, bucket, key, &source, &options, ret_result, info);
}

/* Gets the whole object and compares. */
static void expect(struct lilio_client *client, const char *bucket, const char *key,
                   const struct bytes *bytes, struct lilio_get_result *ret_result)
{
    struct bytes got = {.data = malloc(bytes->size + 1), .size = bytes->size};
    struct lilio_sink sink = {.write = bytes_write, .context = &got};
    struct lilio_errinfo info = {0};
    if (lilio_get(client, bucket, key, &sink, NULL, ret_result, &info) != LILIO_OK)
        fail_msg("%s", info.text);
    assert_int_equal(got.at, bytes->size);
    assert_memory_equal(got.data, bytes->data, bytes->size);
    free(got.data);
}

static void store(struct lilio_client *client, const char *bucket, const char *key,
                  struct bytes *bytes)
{
    struct lilio_put_result result;
    struct lilio_errinfo info = {0};
    if (put(client, bucket, key, bytes, true, false, &result, &info) != LILIO_OK)
        fail_msg("%s", info.text);
    assert_int_equal(result.crc32c, codec_crc32c(0, bytes->data, bytes->size));
}

/* ---- fixture ---- */

struct fixture {
    struct fake_cluster *cluster;
    struct lilio_client *client;
    struct bytes bytes; /* a bit more than two windows */
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->cluster = fake_cluster_new();
    fixture->client = fake_cluster_open(fixture->cluster, PATIENT_MS, WINDOW);
    fixture->bytes = bytes_make(11 * STRIPE + 12345, 1);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    lilio_close(&fixture->client);
    assert_null(fixture->client);
    fake_cluster_free(&fixture->cluster);
    free(fixture->bytes.data);
    free(fixture);
    return 0;
}

/* For tests of silence: another client that does not wait as long. */
static void be_impatient(struct fixture *fixture)
{
    lilio_close(&fixture->client);
    fixture->client = fake_cluster_open(fixture->cluster, IMPATIENT_MS, WINDOW);
}

/* ---- tests ---- */

static void all_sizes(void **state)
{
    struct fixture *fixture = *state;
    const size_t sizes[] = {0,
                            1,
                            63,
                            64,
                            65,
                            4 * 64,
                            4 * 64 + 1,
                            65535,
                            65536,
                            65537,
                            STRIPE - 1,
                            STRIPE,
                            STRIPE + 1,
                            2 * STRIPE - 1,
                            3 * STRIPE + 100,
                            11 * STRIPE};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int way = 0; way < 3; way++) { /* size known; unknown; unknown and in small steps */
            struct lilio_put_result result;
            struct bytes bytes = fixture->bytes;
            bytes.size = sizes[i];
            bytes.step = way == 2 ? 50001 : 0;
            assert_int_equal(
                put(fixture->client, "wide", "k", &bytes, way == 0, false, &result, NULL),
                LILIO_OK);
            assert_int_equal(result.size, sizes[i]);
            assert_int_equal(result.crc32c, codec_crc32c(0, bytes.data, bytes.size));
            assert_int_equal(result.durable, 6);
            expect(fixture->client, "wide", "k", &bytes, NULL);
        }
    assert_int_equal(atomic_load(&fixture->cluster->counters.sessions), 1);
}

static void attributes_and_stat(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_object object;
    store(fixture->client, "wide", "k", &fixture->bytes);
    assert_int_equal(lilio_stat(fixture->client, "wide", "k", &object, NULL), LILIO_OK);
    assert_int_equal(object.size, fixture->bytes.size);
    assert_int_equal(object.attribute_count, 1);
    assert_string_equal(object.attribute_names[0], "content-type");
    assert_string_equal(object.attribute_values[0], "text/plain");
    assert_int_equal(object.profile.data_count, 4);
    lilio_object_release(&object);
    assert_int_equal(lilio_stat(fixture->client, "wide", "no", &object, NULL), LILIO_E_NO_KEY);
    assert_int_equal(lilio_stat(fixture->client, "other", "k", &object, NULL), LILIO_E_NO_BUCKET);
}

static void ranges(void **state)
{
    struct fixture *fixture = *state;
    store(fixture->client, "wide", "k", &fixture->bytes);
    uint64_t size = fixture->bytes.size;
    const struct {
        struct lilio_range range;
        uint64_t first, length; /* length 0: refused */
    } cases[] = {
        {{LILIO_RANGE_FROM_TO, 0, 0}, 0, 1},
        {{LILIO_RANGE_FROM_TO, 100, STRIPE + 5}, 100, STRIPE - 94},
        {{LILIO_RANGE_FROM_TO, size - 1, UINT64_MAX}, size - 1, 1},
        {{LILIO_RANGE_FROM, size - 7, 0}, size - 7, 7},
        {{LILIO_RANGE_LAST, 0, 100000}, size - 100000, 100000},
        {{LILIO_RANGE_LAST, 0, UINT64_MAX}, 0, size},
        {{LILIO_RANGE_LAST, 0, 0}, 0, 0},
        {{LILIO_RANGE_FROM, size, 0}, 0, 0},
        {{LILIO_RANGE_FROM_TO, 5, 4}, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes got = {.data = malloc(size), .size = size};
        struct lilio_sink sink = {.write = bytes_write, .context = &got};
        struct lilio_get_options options = {.range = cases[i].range};
        struct lilio_get_result result;
        enum lilio_err err =
            lilio_get(fixture->client, "wide", "k", &sink, &options, &result, NULL);
        assert_int_equal(err, cases[i].length ? LILIO_OK : LILIO_E_INVALID);
        assert_int_equal(got.at, cases[i].length);
        assert_memory_equal(got.data, fixture->bytes.data + cases[i].first, cases[i].length);
        free(got.data);
    }
}

static void bad_names(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    char *huge = malloc(1 << 20);
    memset(huge, 'x', 1 << 20);
    huge[(1 << 20) - 1] = 0;
    const char *keys[] = {"", huge, "\xff\xfe", NULL};
    for (size_t i = 0; keys[i]; i++)
        assert_int_equal(
            put(fixture->client, "wide", keys[i], &fixture->bytes, true, false, &result, NULL),
            LILIO_E_INVALID);
    assert_int_equal(
        put(fixture->client, "Bad Name", "k", &fixture->bytes, true, false, &result, NULL),
        LILIO_E_INVALID);
    assert_int_equal(
        put(fixture->client, "other", "k", &fixture->bytes, true, false, &result, NULL),
        LILIO_E_NO_BUCKET);
    assert_int_equal(fixture->bytes.at, 0); /* nothing was read */
    free(huge);
}

static void conditions_are_tried_first(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    store(fixture->client, "wide", "k", &fixture->bytes);
    assert_int_equal(put(fixture->client, "wide", "k", &fixture->bytes, true, true, &result, NULL),
                     LILIO_E_EXISTS);
    assert_int_equal(fixture->bytes.at, 0);
    assert_int_equal(
        put(fixture->client, "wide", "new", &fixture->bytes, true, true, &result, NULL), LILIO_OK);
}

static void source_fails(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    struct lilio_errinfo info;
    fixture->bytes.fail_at = 3 * STRIPE + 10;
    assert_int_equal(
        put(fixture->client, "wide", "k", &fixture->bytes, true, false, &result, &info),
        LILIO_E_IO);
    assert_string_equal(info.text, "the source broke");
    fixture->bytes.fail_at = 0;
    struct lilio_source source = {
        .read = bytes_read, .context = &fixture->bytes, .size = fixture->bytes.size + 1};
    fixture->bytes.at = 0;
    assert_int_equal(lilio_put(fixture->client, "wide", "k", &source, NULL, &result, NULL),
                     LILIO_E_INVALID); /* ends early */
    assert_int_equal(atomic_load(&fixture->cluster->counters.discards), 2);
    assert_int_equal(atomic_load(&fixture->cluster->counters.commits), 0);
}

static void lost_commit_answer_is_asked_again(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    struct bytes small = fixture->bytes;
    small.size = 1000;
    store(fixture->client, "wide", "k", &small);
    atomic_store(&fixture->cluster->knobs.lose_answers, 1);
    assert_int_equal(put(fixture->client, "wide", "k", &small, true, false, &result, NULL),
                     LILIO_OK); /* the second coordinator answers the repetition */
    assert_int_equal(atomic_load(&fixture->cluster->counters.commits), 2);
    assert_int_equal(result.version.index, 2);
}

static void unknown_outcome_is_said(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    struct bytes small = fixture->bytes;
    small.size = 1000;
    be_impatient(fixture);
    atomic_store(&fixture->cluster->knobs.lose_answers, 100);
    assert_int_equal(put(fixture->client, "wide", "k", &small, true, false, &result, NULL),
                     LILIO_E_OUTCOME_UNKNOWN);
    atomic_store(&fixture->cluster->knobs.lose_answers, 0);
    assert_int_equal(atomic_load(&fixture->cluster->counters.discards), 0);
    expect(fixture->client, "wide", "k", &small, NULL); /* it had been done */
}

static void busy_after_a_lost_answer_decides_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    struct lilio_errinfo info;
    struct bytes small = fixture->bytes;
    small.size = 500;
    atomic_store(&fixture->cluster->knobs.inline_max, 1000);
    be_impatient(fixture);
    store(fixture->client, "wide", "k", &small);
    atomic_store(&fixture->cluster->knobs.busy_when_lost, 1000000);
    atomic_store(&fixture->cluster->knobs.lose_answers, 1);
    assert_int_equal(put(fixture->client, "wide", "k2", &small, true, false, &result, &info),
                     LILIO_E_OUTCOME_UNKNOWN);
    assert_non_null(strstr(info.text, "may have been done or not; look before repeating it"));
    atomic_store(&fixture->cluster->knobs.busy, 0);
    expect(fixture->client, "wide", "k2", &small, NULL); /* it had been done */
}

static void busy_and_redirects(void **state)
{
    struct fixture *fixture = *state;
    atomic_store(&fixture->cluster->knobs.busy, 5);
    store(fixture->client, "wide", "k", &fixture->bytes);
    atomic_store(&fixture->cluster->knobs.redirect, true);
    store(fixture->client, "wide", "k2", &fixture->bytes);
    expect(fixture->client, "wide", "k2", &fixture->bytes, NULL);
}

static void silent_coordinators(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_object object;
    struct lilio_errinfo info;
    be_impatient(fixture);
    atomic_store(&fixture->cluster->knobs.silent, true);
    assert_int_equal(lilio_stat(fixture->client, "wide", "k", &object, &info), LILIO_E_TIMEOUT);
    assert_non_null(strstr(info.text, "no coordinator answered within 2.0 s (ipc://"));
    assert_non_null(strstr(info.text, "coordinator.0: no answer"));
    assert_non_null(strstr(info.text, "coordinator.1: no answer"));
}

static void *ask_for_a_session(void *context)
{
    uint32_t bytes;
    LILIO_ASSERT(lilio_inline_max(context, &bytes, NULL) != LILIO_OK);
    return NULL;
}

/* All of them need a session and one opens it: each waits its own timeout, not one after another.
 */
static void many_wait_for_a_session_at_once(void **state)
{
    enum { CALLERS = 8 };
    struct fixture *fixture = *state;
    pthread_t threads[CALLERS];
    be_impatient(fixture);
    atomic_store(&fixture->cluster->knobs.silent, true);
    uint64_t start_ms = base_now_ms(base_clock_system());
    for (size_t i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_for_a_session, fixture->client), 0);
    for (size_t i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
    assert_true(base_now_ms(base_clock_system()) - start_ms < CALLERS / 2 * IMPATIENT_MS);
}

static void session_that_ended_is_opened_anew(void **state)
{
    struct fixture *fixture = *state;
    struct bytes small = fixture->bytes;
    small.size = 1000;
    store(fixture->client, "wide", "k", &small);
    atomic_store(&fixture->cluster->knobs.end_sessions, true);
    struct lilio_put_result result;
    enum lilio_err err = put(fixture->client, "wide", "k", &small, true, false, &result, NULL);
    /* Refused at COMMIT, unless the keeper noticed first. */
    assert_true(err == LILIO_OK || err == LILIO_E_UNAVAILABLE);
    store(fixture->client, "wide", "k", &small);
    atomic_store(&fixture->cluster->knobs.end_sessions, true);
    assert_int_equal(lilio_delete(fixture->client, "wide", "k", (struct lilio_version){0}, NULL),
                     LILIO_OK);
    assert_int_equal(atomic_load(&fixture->cluster->counters.sessions), 3);
}

static void keeper_renews(void **state)
{
    struct fixture *fixture = *state;
    uint64_t start_ms = base_now_ms(base_clock_system());
    store(fixture->client, "wide", "k", &fixture->bytes);
    while (atomic_load(&fixture->cluster->counters.renewals) < 3) {
        expect(fixture->client, "wide", "k", &fixture->bytes, NULL);
        assert_true(base_now_ms(base_clock_system()) < start_ms + 20000);
    }
}

static void bad_fragments_are_decoded_and_reported(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_get_result result;
    store(fixture->client, "wide", "k", &fixture->bytes);
    atomic_store(&fixture->cluster->knobs.osd_forgets[1], true);
    atomic_store(&fixture->cluster->knobs.osd_flips[4], true);
    expect(fixture->client, "wide", "k", &fixture->bytes, &result);
    assert_true(result.degraded_stripes > 0);
    assert_true(result.bad_fragments >= result.degraded_stripes);
    assert_int_equal(result.bad_fragments, atomic_load(&fixture->cluster->counters.reports));
    atomic_store(&fixture->cluster->knobs.osd_flips[2], true);
    struct bytes got = {.data = malloc(fixture->bytes.size), .size = fixture->bytes.size};
    struct lilio_sink sink = {.write = bytes_write, .context = &got};
    struct lilio_errinfo info;
    assert_int_equal(lilio_get(fixture->client, "wide", "k", &sink, NULL, NULL, &info),
                     LILIO_E_LOST);
    assert_non_null(strstr(info.text, "osd.1: fragment missing"));
    assert_non_null(strstr(info.text, "osd.2: checksum mismatch"));
    assert_memory_equal(got.data, fixture->bytes.data, got.at);
    free(got.data);
}

static void silent_osds(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_get_result result;
    struct lilio_put_result put_result;
    store(fixture->client, "wide", "k", &fixture->bytes);
    be_impatient(fixture);
    atomic_store(&fixture->cluster->knobs.osd_silent[3], true);
    expect(fixture->client, "wide", "k", &fixture->bytes, &result);
    assert_true(result.slow_fragments > 0);
    assert_int_equal(
        put(fixture->client, "wide", "k2", &fixture->bytes, true, false, &put_result, NULL),
        LILIO_OK);
    assert_int_equal(put_result.durable, 5);
    atomic_store(&fixture->cluster->knobs.osd_silent[0], true);
    struct lilio_errinfo info;
    assert_int_equal(
        put(fixture->client, "wide", "k3", &fixture->bytes, true, false, &put_result, &info),
        LILIO_E_NO_QUORUM);
    assert_non_null(strstr(info.text, "osd.0: timed out"));
    assert_int_equal(atomic_load(&fixture->cluster->counters.discards), 1);
    atomic_store(&fixture->cluster->knobs.osd_silent[3], false);
    atomic_store(&fixture->cluster->knobs.osd_silent[0], false);
    expect(fixture->client, "wide", "k2", &fixture->bytes, &result);
}

static void full_osds(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    atomic_store(&fixture->cluster->knobs.osd_full[0], true);
    assert_int_equal(put(fixture->client, "wide", "k", &fixture->bytes, true, false, &result, NULL),
                     LILIO_OK);
    assert_int_equal(result.durable, 5);
    expect(fixture->client, "wide", "k", &fixture->bytes, NULL);
    atomic_store(&fixture->cluster->knobs.osd_full[1], true);
    assert_int_equal(put(fixture->client, "wide", "k", &fixture->bytes, true, false, &result, NULL),
                     LILIO_E_NO_SPACE);
}

static void busy_and_stale_osds(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    atomic_store(&fixture->cluster->knobs.osd_busy, 10);
    atomic_store(&fixture->cluster->knobs.osd_stale, 3);
    assert_int_equal(put(fixture->client, "wide", "k", &fixture->bytes, true, false, &result, NULL),
                     LILIO_OK);
    assert_int_equal(result.durable, 6);
    atomic_store(&fixture->cluster->knobs.osd_busy, 10);
    atomic_store(&fixture->cluster->knobs.osd_stale, 3);
    expect(fixture->client, "wide", "k", &fixture->bytes, NULL);
}

/* Slots move under a put and under a get: whoever lost a slot says so, and the new map is fetched.
 */
static void slots_move(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    struct bytes one = fixture->bytes;
    one.size = STRIPE;
    store(fixture->client, "wide", "before", &one); /* the client has a map */
    atomic_store(&fixture->cluster->knobs.swap_slots, true);
    atomic_store(&fixture->cluster->knobs.osd_stale, 1);
    assert_int_equal(put(fixture->client, "wide", "k", &one, true, false, &result, NULL), LILIO_OK);
    assert_int_equal(result.durable, 6);
    assert_true(atomic_load(&fixture->cluster->counters.misplaced) >= 1);
    struct lilio_get_result got;
    expect(fixture->client, "wide", "k", &one, &got);
    assert_int_equal(got.bad_fragments, 0);
    atomic_store(&fixture->cluster->knobs.swap_slots, true);
    atomic_store(&fixture->cluster->knobs.osd_stale, 1);
    expect(fixture->client, "wide", "k", &one, &got); /* two fragments are not where the map says */
    assert_int_equal(got.degraded_stripes, 1);
}

/* The first OSD answers later than the grace: the put does not wait for it stripe by stripe. */
static void slow_osd(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    atomic_store(&fixture->cluster->knobs.slow_osd_ms, 400);
    uint64_t start_ms = base_now_ms(base_clock_system());
    assert_int_equal(put(fixture->client, "wide", "k", &fixture->bytes, true, false, &result, NULL),
                     LILIO_OK);
    assert_true(base_now_ms(base_clock_system()) - start_ms < 2000);
    assert_true(result.durable >= 5);
    expect(fixture->client, "wide", "k", &fixture->bytes, NULL);
}

static void version_collected_under_the_reader(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_get_result result;
    struct bytes got = {.data = malloc(fixture->bytes.size), .size = fixture->bytes.size};
    struct lilio_sink sink = {.write = bytes_write, .context = &got};
    struct lilio_errinfo info;
    store(fixture->client, "wide", "k", &fixture->bytes);
    atomic_store(&fixture->cluster->knobs.collect_on_get, 30); /* after the first stripes */
    assert_int_equal(lilio_get(fixture->client, "wide", "k", &sink, NULL, &result, &info),
                     LILIO_E_VERSION_GONE);
    store(fixture->client, "wide", "k", &fixture->bytes);
    atomic_store(&fixture->cluster->knobs.collect_on_get, 30);
    got.at = 0;
    sink.restart = bytes_restart;
    assert_int_equal(lilio_get(fixture->client, "wide", "k", &sink, NULL, &result, &info),
                     LILIO_OK);
    assert_int_equal(got.restarts, 1);
    assert_int_equal(got.at, 3);
    assert_memory_equal(got.data, "new", 3);
    assert_int_equal(atomic_load(&fixture->cluster->counters.reports), 0);
    free(got.data);
}

/* Nobody said MISSING before everybody was asked for what is left of it. */
static void version_collected_while_it_is_searched(void **state)
{
    struct fixture *fixture = *state;
    struct bytes got = {.data = malloc(fixture->bytes.size), .size = fixture->bytes.size};
    struct lilio_sink sink = {.write = bytes_write, .context = &got, .restart = bytes_restart};
    struct lilio_get_result result;
    struct lilio_errinfo info;
    struct bytes small = {.data = fixture->bytes.data, .size = 5000};
    store(fixture->client, "wide", "k", &small);
    atomic_store(&fixture->cluster->knobs.osd_unready, 2 * FAKE_OSDS);
    atomic_store(&fixture->cluster->knobs.collect_on_get, 2 * FAKE_OSDS);
    assert_int_equal(lilio_get(fixture->client, "wide", "k", &sink, NULL, &result, &info),
                     LILIO_OK);
    assert_int_equal(got.at, 3);
    assert_memory_equal(got.data, "new", 3);
    free(got.data);
}

static void long_reads_hold_a_lease(void **state)
{
    struct fixture *fixture = *state;
    store(fixture->client, "wide", "k", &fixture->bytes);
    atomic_store(&fixture->cluster->knobs.slow_osd_ms, 50);
    for (int i = 0; i < 100 && atomic_load(&fixture->cluster->counters.leases) == 0; i++)
        expect(fixture->client, "wide", "k", &fixture->bytes, NULL);
    assert_true(atomic_load(&fixture->cluster->counters.leases) > 0);
}

/* Fragments so small that an object has several runs: they are staged and committed together. */
static void object_of_several_runs(void **state)
{
    struct fixture *fixture = *state;
#ifdef __SANITIZE_THREAD__
    skip(); /* forty thousand messages take minutes; the copy across profiles shows the rest */
#endif
    size_t run_size = (size_t)4096 * 2 * 4096; /* stripes, data fragments, bytes */
    struct bytes bytes = bytes_make(run_size + 5, 9);
    store(fixture->client, "narrow", "k", &bytes);
    expect(fixture->client, "narrow", "k", &bytes, NULL);
    assert_int_equal(atomic_load(&fixture->cluster->counters.stages), 2);
    bytes.size = run_size;
    struct lilio_put_result result;
    assert_int_equal(put(fixture->client, "narrow", "k", &bytes, false, false, &result, NULL),
                     LILIO_OK);
    expect(fixture->client, "narrow", "k", &bytes, NULL);
    assert_int_equal(atomic_load(&fixture->cluster->counters.stages), 2);
    free(bytes.data);
}

static void verify_and_explain(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_verify_result result;
    struct lilio_explain explain;
    struct bytes small = fixture->bytes;
    small.size = 1000;
    store(fixture->client, "wide", "a", &small);
    store(fixture->client, "wide", "b", &fixture->bytes);
    struct lilio_errinfo info = {0};
    if (lilio_verify(fixture->client, NULL, NULL, false, NULL, NULL, NULL, &result, &info) !=
        LILIO_OK)
        fail_msg("%s", info.text);
    assert_int_equal(result.objects, 2);
    assert_int_equal(result.fragments, 6 + 12 * 6);
    assert_int_equal(result.fragments_good, result.fragments);
    assert_int_equal(atomic_load(&fixture->cluster->counters.verified), 1);

    atomic_store(&fixture->cluster->knobs.lose_scans, 2); /* the leader changed, twice */
    assert_int_equal(
        lilio_verify(fixture->client, NULL, NULL, false, NULL, NULL, NULL, &result, NULL),
        LILIO_OK);
    assert_int_equal(result.fragments_good, 6 + 12 * 6);
    atomic_store(&fixture->cluster->counters.verified, 1);

    be_impatient(fixture);
    atomic_store(&fixture->cluster->knobs.osd_forgets[0], true);
    atomic_store(&fixture->cluster->knobs.osd_flips[1], true);
    atomic_store(&fixture->cluster->knobs.osd_silent[2], true);
    assert_int_equal(
        lilio_verify(fixture->client, "wide", NULL, false, NULL, NULL, NULL, &result, NULL),
        LILIO_OK);
    assert_int_equal(result.fragments_missing, 13);
    assert_int_equal(result.fragments_corrupt, 13);
    assert_int_equal(result.fragments_unread, 13);
    assert_int_equal(result.objects_damaged, 2);
    assert_int_equal(result.objects_unread, 2);
    assert_int_equal(result.objects_lost, 0); /* the silent one may be good */
    assert_int_equal(atomic_load(&fixture->cluster->counters.reports), 26);
    assert_int_equal(atomic_load(&fixture->cluster->counters.verified), 1); /* not all was read */

    atomic_store(&fixture->cluster->knobs.osd_silent[2], false);
    atomic_store(&fixture->cluster->knobs.osd_flips[3], true);
    assert_int_equal(
        lilio_verify(fixture->client, "wide", "b", false, NULL, NULL, NULL, &result, NULL),
        LILIO_OK);
    assert_int_equal(result.objects_lost, 1);
    assert_int_equal(lilio_explain_get(fixture->client, "wide", "b", true, &explain, NULL),
                     LILIO_OK);
    assert_int_equal(explain.stripe_count, 12);
    assert_int_equal(explain.fragment_count, 72);
    assert_true(explain.lost && !explain.readable_now);
    lilio_explain_release(&explain);
    assert_int_equal(lilio_explain_get(fixture->client, "wide", "b", false, &explain, NULL),
                     LILIO_OK);
    assert_int_equal(explain.survives, 2);
    assert_true(explain.readable_now);
    lilio_explain_release(&explain);
}

/* ---- small objects ---- */

static int count(_Atomic int *counter)
{
    return atomic_load(counter);
}

static void small_objects_travel_in_commit(void **state)
{
    struct fixture *fixture = *state;
    struct fake_counters *counters = &fixture->cluster->counters;
    struct lilio_put_result result;
    const size_t sizes[] = {1, 200, 999, 1000};
    atomic_store(&fixture->cluster->knobs.inline_max, 1000);
    for (uint32_t i = 0; i < FAKE_OSDS; i++) /* with no OSD there at all */
        atomic_store(&fixture->cluster->knobs.osd_silent[i], true);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int way = 0; way < 3; way++) {
            struct bytes bytes = fixture->bytes;
            bytes.size = sizes[i];
            bytes.step = way == 2 ? 7 : 0;
            assert_int_equal(
                put(fixture->client, "wide", "k", &bytes, way == 0, false, &result, NULL),
                LILIO_OK);
            assert_int_equal(result.size, sizes[i]);
            assert_int_equal(result.crc32c, codec_crc32c(0, bytes.data, bytes.size));
            assert_int_equal(result.coordinators, 2);
            assert_int_equal(result.coordinators_total, 3);
            assert_int_equal(result.total, 0);
            expect(fixture->client, "wide", "k", &bytes, NULL);
        }
    assert_int_equal(count(&counters->inlines), 12);
    assert_int_equal(count(&counters->fragments), 0);
    assert_int_equal(put(fixture->client, "wide", "k", &fixture->bytes, true, true, &result, NULL),
                     LILIO_E_EXISTS);
}

static void larger_ones_and_those_who_want_it_go_into_fragments(void **state)
{
    struct fixture *fixture = *state;
    struct fake_counters *counters = &fixture->cluster->counters;
    struct lilio_put_result result;
    const size_t sizes[] = {1001, 1002, 50000, 3 * STRIPE + 100};
    atomic_store(&fixture->cluster->knobs.inline_max, 1000);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int way = 0; way < 3; way++) { /* size known; unknown; unknown and in small steps */
            struct bytes bytes = fixture->bytes;
            bytes.size = sizes[i];
            bytes.step = way == 2 ? 501 : 0;
            assert_int_equal(
                put(fixture->client, "wide", "k", &bytes, way == 0, false, &result, NULL),
                LILIO_OK);
            assert_int_equal(result.size, sizes[i]);
            assert_int_equal(result.crc32c, codec_crc32c(0, bytes.data, bytes.size));
            assert_int_equal(result.coordinators_total, 0);
            assert_int_equal(result.total, 6);
            expect(fixture->client, "wide", "k", &bytes, NULL);
        }
    struct bytes small = fixture->bytes;
    small.at = 0;
    small.size = 10;
    struct lilio_source source = {.read = bytes_read, .context = &small, .size = UINT64_MAX};
    struct lilio_put_options options = {.no_inline = true};
    assert_int_equal(lilio_put(fixture->client, "wide", "k", &source, &options, &result, NULL),
                     LILIO_OK);
    assert_int_equal(result.durable, 6);
    expect(fixture->client, "wide", "k", &small, NULL);
    assert_int_equal(count(&counters->inlines), 0);
}

/* The quorum shrank since the session was opened. */
static void refused_small_objects_go_into_fragments(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    struct bytes small = fixture->bytes;
    small.size = 500;
    atomic_store(&fixture->cluster->knobs.inline_max, 1000);
    atomic_store(&fixture->cluster->knobs.inline_refused, true);
    for (int known = 0; known < 2; known++) {
        assert_int_equal(put(fixture->client, "wide", "k", &small, known, false, &result, NULL),
                         LILIO_OK);
        assert_int_equal(result.durable, 6);
        assert_int_equal(result.crc32c, codec_crc32c(0, small.data, small.size));
        expect(fixture->client, "wide", "k", &small, NULL);
    }
    assert_int_equal(count(&fixture->cluster->counters.inlines), 0);
}

static void small_objects_and_answers_that_are_lost(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    struct bytes small = fixture->bytes;
    small.size = 500;
    atomic_store(&fixture->cluster->knobs.inline_max, 1000);
    atomic_store(&fixture->cluster->knobs.lose_answers, 1);
    assert_int_equal(put(fixture->client, "wide", "k", &small, false, true, &result, NULL),
                     LILIO_OK); /* if_absent: done twice it would say EXISTS */
    assert_int_equal(count(&fixture->cluster->counters.commits), 1);
    atomic_store(&fixture->cluster->knobs.end_sessions, true);
    assert_int_equal(put(fixture->client, "wide", "k", &small, false, false, &result, NULL),
                     LILIO_OK); /* nothing of the old session is needed */
    assert_int_equal(count(&fixture->cluster->counters.inlines), 2);
    small.fail_at = 100;
    small.step = 100;
    assert_int_equal(put(fixture->client, "wide", "k", &small, true, false, &result, NULL),
                     LILIO_E_IO);
    small.fail_at = 0;
    struct lilio_source source = {.read = bytes_read, .context = &small, .size = small.size + 1};
    small.at = 0;
    assert_int_equal(lilio_put(fixture->client, "wide", "k", &source, NULL, &result, NULL),
                     LILIO_E_INVALID); /* ends early */
    assert_int_equal(count(&fixture->cluster->counters.commits), 2);
}

static void small_objects_are_read_checked_and_explained(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_object object;
    struct lilio_verify_result verified;
    struct lilio_explain explain;
    struct bytes small = fixture->bytes;
    small.size = 500;
    atomic_store(&fixture->cluster->knobs.inline_max, 1000);
    store(fixture->client, "wide", "small", &small);
    store(fixture->client, "wide", "large", &fixture->bytes);
    small.size = 0;
    store(fixture->client, "narrow", "empty", &small);
    small.size = 500;

    struct bytes got = {.data = malloc(100), .size = 100};
    struct lilio_sink sink = {.write = bytes_write, .context = &got};
    struct lilio_get_options options = {.range = {LILIO_RANGE_FROM_TO, 450, 600}};
    assert_int_equal(lilio_get(fixture->client, "wide", "small", &sink, &options, NULL, NULL),
                     LILIO_OK);
    assert_int_equal(got.at, 50);
    assert_memory_equal(got.data, small.data + 450, 50);

    assert_int_equal(lilio_stat(fixture->client, "wide", "small", &object, NULL), LILIO_OK);
    assert_true(object.is_inline);
    lilio_object_release(&object);
    assert_int_equal(lilio_explain_get(fixture->client, "wide", "small", true, &explain, NULL),
                     LILIO_OK);
    assert_true(explain.object.is_inline && explain.readable_now && !explain.lost);
    assert_int_equal(explain.fragment_count, 0);
    lilio_explain_release(&explain);

    assert_int_equal(
        lilio_verify(fixture->client, NULL, NULL, false, NULL, NULL, NULL, &verified, NULL),
        LILIO_OK);
    assert_int_equal(verified.objects, 3);
    assert_int_equal(verified.objects_inline, 1);
    assert_int_equal(verified.objects_empty, 1);
    assert_int_equal(verified.fragments, 12 * 6);
    assert_int_equal(
        lilio_verify(fixture->client, "wide", "small", false, NULL, NULL, NULL, &verified, NULL),
        LILIO_OK);
    assert_int_equal(verified.objects + verified.objects_inline, 2);
    assert_int_equal(verified.objects_damaged, 0);

    atomic_store(&fixture->cluster->knobs.inline_flips, true);
    got.at = 0;
    assert_int_equal(lilio_get(fixture->client, "wide", "small", &sink, &options, NULL, NULL),
                     LILIO_E_CORRUPT);
    assert_int_equal(got.at, 0);
    assert_int_equal(
        lilio_verify(fixture->client, "wide", "small", false, NULL, NULL, NULL, &verified, NULL),
        LILIO_OK);
    assert_int_equal(verified.objects_lost, 1);
    free(got.data);
}

static void small_objects_are_copied_across_profiles(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    struct bytes small = fixture->bytes;
    small.size = 500;
    atomic_store(&fixture->cluster->knobs.inline_max, 1000);
    store(fixture->client, "wide", "k", &small);
    assert_int_equal(
        lilio_copy(fixture->client, "wide", "k", "narrow", "copy", false, false, &result, NULL),
        LILIO_OK);
    assert_int_equal(result.coordinators, 2);
    expect(fixture->client, "narrow", "copy", &small, NULL);
    assert_int_equal(count(&fixture->cluster->counters.fragments), 0);
}

/* ---- several coordinators ---- */

static void a_dead_coordinator_is_no_loss(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    struct bytes small = fixture->bytes;
    small.size = 500;
    for (int round = 0; round < 4; round++) {
        atomic_store(&fixture->cluster->knobs.dead[round % 2], true);
        assert_int_equal(put(fixture->client, "wide", "k", &small, true, false, &result, NULL),
                         LILIO_OK);
        assert_int_equal(count(&fixture->cluster->counters.commits), round + 1);
        atomic_store(&fixture->cluster->knobs.dead[round % 2], false);
    }
}

static void status_shows_every_coordinator(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_status status;
    assert_int_equal(lilio_status_get(fixture->client, &status, NULL), LILIO_OK);
    assert_int_equal(status.coordinator_count, 2);
    const struct lilio_coordinator *one = &status.coordinators[1];
    assert_int_equal(one->id, 1);
    assert_string_equal(one->role, "leader");
    assert_string_equal(one->kind, "voter");
    assert_string_equal(status.coordinators[0].kind, "learner");
    assert_string_equal(one->peer, "ipc:///peer");
    assert_true(one->member == ((uint64_t)2 << 32 | 1));
    assert_int_equal(one->term, 7);
    assert_int_equal(one->commit_index, 91);
    assert_int_equal(one->applied_index, 91);
    assert_int_equal(one->lag, 3);
    assert_int_equal(one->silent_ms, 40);
    assert_int_equal(one->log_bytes, 1000);
    assert_int_equal(one->refused_messages, 5);
    lilio_status_release(&status);
}

static void status_shows_who_goes_out(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_status status;
    assert_int_equal(lilio_status_get(fixture->client, &status, NULL), LILIO_OK);
    assert_true(status.many_away);
    assert_int_equal(status.osd_count, 4);
    assert_false(status.osds[0].goes_out || status.osds[1].goes_out);
    const struct lilio_osd *soon = &status.osds[2], *later = &status.osds[3];
    assert_int_equal(soon->id, 7);
    assert_true(soon->goes_out && !soon->out_waits);
    assert_int_equal(soon->out_in_ms, 300);
    assert_int_equal(later->id, 9);
    assert_true(later->goes_out && later->out_waits);
    assert_int_equal(later->out_behind, 4);
    assert_int_equal(later->out_in_ms, 0);
    lilio_status_release(&status);
}

static void coordinators_are_changed_once(void **state)
{
    struct fixture *fixture = *state;
    uint64_t member = 0;
    be_impatient(fixture);
    assert_int_equal(lilio_coordinator_change(fixture->client, LILIO_COORDINATOR_ADD, 4, 0,
                                              "ipc:///a", "ipc:///b", &member, NULL),
                     LILIO_OK);
    assert_true(member == ((uint64_t)3 << 32 | 4));
    atomic_store(&fixture->cluster->knobs.lose_answers, 1);
    assert_int_equal(lilio_coordinator_change(fixture->client, LILIO_COORDINATOR_REMOVE, 4, member,
                                              NULL, NULL, NULL, NULL),
                     LILIO_E_OUTCOME_UNKNOWN);
    assert_int_equal(count(&fixture->cluster->counters.changes), 2);
    assert_int_equal(lilio_coordinator_change(fixture->client, LILIO_COORDINATOR_ADD, 4, 0, NULL,
                                              NULL, NULL, NULL),
                     LILIO_E_INVALID);
    assert_int_equal(lilio_coordinator_transfer(fixture->client, LILIO_COORDINATOR_ANY, NULL),
                     LILIO_OK);
}

static void bad_attributes_are_refused_before_anything_is_read(void **state)
{
    struct fixture *fixture = *state;
    char *large = malloc(5000);
    memset(large, 'x', 4999);
    large[4999] = '\0';
    struct lilio_put_result result;
    struct lilio_attribute three[3] = {
        {"meta:a", large + 1000}, {"meta:b", large + 1000}, {"meta:c", large + 1000}};
    const struct {
        struct lilio_attribute attributes[2];
        enum lilio_err err;
    } cases[] = {
        {{{"meta:a", "1"}, {"meta:a", "2"}}, LILIO_E_INVALID},
        {{{"meta:a", "1"}, {"meta:\xff", "2"}}, LILIO_E_INVALID},
        {{{"meta:a", "1"}, {"meta:b", "\xc3\x28"}}, LILIO_E_INVALID},
        {{{"meta:a", "1"}, {"", "2"}}, LILIO_E_INVALID},
        {{{"meta:a", "1"}, {large, "2"}}, LILIO_E_INVALID},
        {{{"meta:a", large}, {"meta:b", "2"}}, LILIO_E_TOO_BIG},
    };
    struct lilio_source source = {.read = bytes_read, .context = &fixture->bytes, .size = 10};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct lilio_put_options options = {.attributes = cases[i].attributes,
                                            .attribute_count = 2};
        assert_int_equal(lilio_put(fixture->client, "wide", "k", &source, &options, &result, NULL),
                         cases[i].err);
    }
    struct lilio_put_options options = {.attributes = three, .attribute_count = 3};
    assert_int_equal(lilio_put(fixture->client, "wide", "k", &source, &options, &result, NULL),
                     LILIO_E_TOO_BIG);
    assert_int_equal(fixture->bytes.at, 0);
    free(large);
}

static void copy_across_profiles(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_result result;
    struct lilio_object object;
    store(fixture->client, "wide", "k", &fixture->bytes);
    assert_int_equal(
        lilio_copy(fixture->client, "wide", "k", "narrow", "copy", false, false, &result, NULL),
        LILIO_OK);
    expect(fixture->client, "narrow", "copy", &fixture->bytes, NULL);
    assert_int_equal(lilio_stat(fixture->client, "narrow", "copy", &object, NULL), LILIO_OK);
    assert_int_equal(object.attribute_count, 1);
    lilio_object_release(&object);
    assert_int_equal(
        lilio_copy(fixture->client, "wide", "k", "narrow", "moved", true, true, &result, NULL),
        LILIO_OK);
    expect(fixture->client, "narrow", "moved", &fixture->bytes, NULL);
    assert_int_equal(lilio_stat(fixture->client, "wide", "k", &object, NULL), LILIO_E_NO_KEY);
    assert_int_equal(
        lilio_copy(fixture->client, "narrow", "no", "wide", "k", true, true, &result, NULL),
        LILIO_E_NO_KEY);
}

static void daemons_are_pinged(void **state)
{
    struct fixture *fixture = *state;
    char node[64], daemon_state[32], detail[512], endpoint[300];
    snprintf(endpoint, sizeof endpoint, "ipc://%.*scoordinator.1",
             (int)(strrchr(fixture->cluster->config_path, '/') - fixture->cluster->config_path + 1),
             fixture->cluster->config_path);
    assert_int_equal(lilio_ping(fixture->client, endpoint, 1000, node, daemon_state, detail, NULL),
                     LILIO_OK);
    assert_string_equal(daemon_state, "serving");
    assert_int_equal(
        lilio_ping(fixture->client, "ipc:///nowhere/at.all", 100, node, daemon_state, detail, NULL),
        LILIO_E_UNAVAILABLE);
}

/* ---- two threads, one client ---- */

struct worker {
    struct fixture *fixture;
    uint32_t number;
    char failure[600]; /* empty = none */
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct lilio_client *client = worker->fixture->client;
    struct bytes bytes = worker->fixture->bytes, got = {0};
    char key[16];
    snprintf(key, sizeof key, "k%u", worker->number);
    got.data = malloc(bytes.size);
    for (uint32_t round = 0; round < 8 && !worker->failure[0]; round++) {
        struct lilio_put_result result;
        struct lilio_errinfo info = {.text = "other bytes"};
        struct lilio_sink sink = {.write = bytes_write, .context = &got};
        bytes.size = worker->fixture->bytes.size - 1000 * round;
        got.size = bytes.size;
        got.at = 0;
        if (put(client, "wide", key, &bytes, round % 2, false, &result, &info) != LILIO_OK ||
            lilio_get(client, "wide", key, &sink, NULL, NULL, &info) != LILIO_OK ||
            got.at != bytes.size || memcmp(got.data, bytes.data, bytes.size) != 0)
            snprintf(worker->failure, sizeof worker->failure, "round %u: %s", round, info.text);
    }
    free(got.data);
    return NULL;
}

static void two_threads(void **state)
{
    struct fixture *fixture = *state;
    struct worker workers[3];
    pthread_t threads[3];
    for (uint32_t i = 0; i < 3; i++) {
        workers[i] = (struct worker){.fixture = fixture, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < 3; i++)
        assert_string_equal(workers[i].failure, "");
    assert_int_equal(atomic_load(&fixture->cluster->counters.sessions), 1);
}

/* ---- cancelling ---- */

/* True from the given question on. */
static bool cancelled(void *context)
{
    return atomic_fetch_sub((_Atomic int *)context, 1) <= 0;
}

static void cancelled_calls_end_soon(void **state)
{
    struct fixture *fixture = *state;
    _Atomic int patience = 30; /* asked for each read and each wait: all is sent by then */
    struct lilio_client *client;
    struct lilio_put_result result;
    struct lilio_options options = {.config_path = fixture->cluster->config_path,
                                    .window_bytes = WINDOW,
                                    .cancelled = cancelled,
                                    .cancelled_context = &patience};
    store(fixture->client, "wide", "k", &fixture->bytes);
    assert_int_equal(lilio_open(&options, &client, NULL), LILIO_OK);
    for (uint32_t i = 0; i < FAKE_OSDS; i++)
        atomic_store(&fixture->cluster->knobs.osd_silent[i], true);
    uint64_t start_ms = base_now_ms(base_clock_system());
    assert_int_equal(put(client, "wide", "k2", &fixture->bytes, true, false, &result, NULL),
                     LILIO_E_CANCELLED);
    assert_true(base_now_ms(base_clock_system()) - start_ms < 4000);
    assert_int_equal(atomic_load(&fixture->cluster->counters.discards), 1);
    lilio_close(&client);
}

static void no_configuration(void **state)
{
    (void)state;
    struct lilio_client *client = NULL;
    struct lilio_options options = {.config_path = "/nowhere/lilio.yaml"};
    assert_int_equal(lilio_open(&options, &client, NULL), LILIO_E_NOT_FOUND);
    assert_null(client);
    lilio_close(&client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_sizes),
        TEST(attributes_and_stat),
        TEST(ranges),
        TEST(bad_names),
        TEST(conditions_are_tried_first),
        TEST(source_fails),
        TEST(lost_commit_answer_is_asked_again),
        TEST(unknown_outcome_is_said),
        TEST(busy_after_a_lost_answer_decides_nothing),
        TEST(busy_and_redirects),
        TEST(silent_coordinators),
        TEST(many_wait_for_a_session_at_once),
        TEST(session_that_ended_is_opened_anew),
        TEST(keeper_renews),
        TEST(bad_fragments_are_decoded_and_reported),
        TEST(silent_osds),
        TEST(full_osds),
        TEST(busy_and_stale_osds),
        TEST(slots_move),
        TEST(slow_osd),
        TEST(version_collected_under_the_reader),
        TEST(version_collected_while_it_is_searched),
        TEST(long_reads_hold_a_lease),
        TEST(object_of_several_runs),
        TEST(verify_and_explain),
        TEST(small_objects_travel_in_commit),
        TEST(larger_ones_and_those_who_want_it_go_into_fragments),
        TEST(refused_small_objects_go_into_fragments),
        TEST(small_objects_and_answers_that_are_lost),
        TEST(small_objects_are_read_checked_and_explained),
        TEST(small_objects_are_copied_across_profiles),
        TEST(a_dead_coordinator_is_no_loss),
        TEST(status_shows_every_coordinator),
        TEST(status_shows_who_goes_out),
        TEST(coordinators_are_changed_once),
        TEST(bad_attributes_are_refused_before_anything_is_read),
        TEST(copy_across_profiles),
        TEST(daemons_are_pinged),
        TEST(two_threads),
        TEST(cancelled_calls_end_soon),
        cmocka_unit_test(no_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
