/* Aim: lilio_put_many stores each object once and tells the caller about each one once, whatever
 * happens to the connection, the leader or the session meanwhile.
 *
 * Method: a stream of numbered objects to the fake cluster, which is disturbed by its knobs in the
 * middle of it; then every object is read back and the commits are counted.
 */
#include "client/lilio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/env.h"
#include "tests/unit/client/fake_cluster.h"

#include "base/banned.h"

enum { OBJECTS = 60, OBJECT_BYTES = 300, INLINE_MAX = 1000, PATIENT_MS = 30000 };

struct object {
    char key[16];
    char text[INLINE_MAX + 600];
    size_t size;
    int told;
    enum lilio_err err;
};
struct fixture {
    struct fake_cluster *cluster;
    struct lilio_client *client;
    struct object objects[OBJECTS];
    size_t next, told, disturb_at;
    void (*disturb)(struct fake_cluster *cluster);
    size_t under_way, most_under_way;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->cluster = fake_cluster_new();
    atomic_store(&fixture->cluster->knobs.inline_max, INLINE_MAX);
    fixture->client = fake_cluster_open(fixture->cluster, PATIENT_MS, 2 << 20);
    for (size_t i = 0; i < OBJECTS; i++) {
        struct object *object = &fixture->objects[i];
        (void)snprintf(object->key, sizeof object->key, "object-%zu", i);
        memset(object->text, 'a' + (int)(i % 26), sizeof object->text);
        object->size = OBJECT_BYTES;
    }
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    lilio_close(&fixture->client);
    fake_cluster_free(&fixture->cluster);
    free(fixture);
    return 0;
}

static bool next(void *context, struct lilio_small *ret)
{
    struct fixture *fixture = context;
    if (fixture->next == OBJECTS)
        return false;
    if (fixture->next == fixture->disturb_at && fixture->disturb)
        fixture->disturb(fixture->cluster);
    struct object *object = &fixture->objects[fixture->next++];
    *ret = (struct lilio_small){
        .key = object->key, .data = object->text, .size = object->size, .tag = object};
    fixture->under_way++;
    if (fixture->under_way > fixture->most_under_way)
        fixture->most_under_way = fixture->under_way;
    return true;
}

static void done(void *context, const struct lilio_small *small, enum lilio_err err,
                 const struct lilio_put_result *result, const struct lilio_errinfo *info)
{
    struct fixture *fixture = context;
    struct object *object = small->tag;
    object->told++;
    object->err = err;
    fixture->told++;
    fixture->under_way--;
    if (err)
        assert_true(info->text[0]);
    else
        assert_int_equal(result->size, object->size);
}

static void put_all(struct fixture *fixture, uint32_t in_flight)
{
    struct lilio_put_stream stream = {
        .next = next, .done = done, .context = fixture, .in_flight = in_flight};
    struct lilio_errinfo info = {0};
    if (lilio_put_many(fixture->client, "wide", &stream, &info))
        fail_msg("%s", info.text);
    assert_int_equal(fixture->told, OBJECTS);
    assert_true(fixture->most_under_way <= in_flight);
}

struct memory {
    char bytes[INLINE_MAX + 600];
    size_t size;
};

static enum lilio_err memory_write(void *context, const void *data, size_t size,
                                   struct lilio_errinfo *info)
{
    struct memory *memory = context;
    (void)info;
    assert_true(size <= sizeof memory->bytes - memory->size);
    memcpy(memory->bytes + memory->size, data, size);
    memory->size += size;
    return LILIO_OK;
}

static void expect_all(struct fixture *fixture)
{
    for (size_t i = 0; i < OBJECTS; i++) {
        struct object *object = &fixture->objects[i];
        struct memory memory = {.size = 0};
        struct lilio_sink sink = {.write = memory_write, .context = &memory};
        struct lilio_get_result got;
        struct lilio_errinfo info = {0};
        assert_int_equal(object->told, 1);
        assert_int_equal(object->err, LILIO_OK);
        if (lilio_get(fixture->client, "wide", object->key, &sink, NULL, &got, &info))
            fail_msg("%s: %s", object->key, info.text);
        assert_int_equal(memory.size, object->size);
        assert_memory_equal(memory.bytes, object->text, object->size);
    }
}

static int commits(struct fixture *fixture)
{
    return atomic_load(&fixture->cluster->counters.commits);
}

static void many_at_once(void **state)
{
    struct fixture *fixture = *state;
    put_all(fixture, 32);
    assert_true(fixture->most_under_way > 1);
    assert_int_equal(commits(fixture), OBJECTS);
    expect_all(fixture);
}

static void one_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    put_all(fixture, 1);
    assert_int_equal(commits(fixture), OBJECTS);
    expect_all(fixture);
}

static void lose_answers(struct fake_cluster *cluster)
{
    atomic_store(&cluster->knobs.lose_answers, 3);
}

static void lost_answers_are_asked_for_again(void **state)
{
    struct fixture *fixture = *state;
    fixture->disturb = lose_answers;
    fixture->disturb_at = 30;
    put_all(fixture, 16);
    assert_int_equal(commits(fixture), OBJECTS); /* done twice there would be more */
    expect_all(fixture);
}

static void be_silent(struct fake_cluster *cluster)
{
    atomic_store(&cluster->knobs.silent, true);
}

static bool next_until_silent(void *context, struct lilio_small *ret)
{
    struct fixture *fixture = context;
    return !atomic_load(&fixture->cluster->knobs.silent) && next(context, ret);
}

/* What is under way is given up after one timeout, not after one for each. */
static void silence_is_waited_for_once(void **state)
{
    enum { IN_FLIGHT = 16, SHORT_MS = 1000 };
    struct fixture *fixture = *state;
    struct lilio_put_stream stream = {
        .next = next_until_silent, .done = done, .context = fixture, .in_flight = IN_FLIGHT};
    struct lilio_errinfo info = {0};
    size_t unknown = 0;
    lilio_close(&fixture->client);
    fixture->client = fake_cluster_open(fixture->cluster, SHORT_MS, 2 << 20);
    fixture->disturb = be_silent;
    fixture->disturb_at = IN_FLIGHT - 1;
    atomic_store(&fixture->cluster->knobs.lose_answers, OBJECTS);
    uint64_t start_ms = base_now_ms(base_clock_system());
    assert_int_equal(lilio_put_many(fixture->client, "wide", &stream, &info), LILIO_OK);
    assert_true(base_now_ms(base_clock_system()) - start_ms < IN_FLIGHT / 2 * SHORT_MS);
    for (size_t i = 0; i < fixture->next; i++) {
        assert_int_equal(fixture->objects[i].told, 1);
        unknown += fixture->objects[i].err == LILIO_E_OUTCOME_UNKNOWN;
    }
    assert_int_equal(fixture->told, IN_FLIGHT);
    assert_int_equal(unknown, IN_FLIGHT);
}

static void be_busy(struct fake_cluster *cluster)
{
    atomic_store(&cluster->knobs.busy, 5);
}

static void busy_is_waited_for(void **state)
{
    struct fixture *fixture = *state;
    fixture->disturb = be_busy;
    fixture->disturb_at = 20;
    put_all(fixture, 16);
    assert_int_equal(commits(fixture), OBJECTS);
    expect_all(fixture);
}

static void redirect(struct fake_cluster *cluster)
{
    atomic_store(&cluster->knobs.redirect, true);
}

static void another_leader_is_followed(void **state)
{
    struct fixture *fixture = *state;
    fixture->disturb = redirect;
    fixture->disturb_at = 25;
    put_all(fixture, 16);
    assert_int_equal(commits(fixture), OBJECTS);
    expect_all(fixture);
}

static void end_sessions(struct fake_cluster *cluster)
{
    atomic_store(&cluster->knobs.end_sessions, true);
}

static void another_session_is_opened(void **state)
{
    struct fixture *fixture = *state;
    fixture->disturb = end_sessions;
    fixture->disturb_at = 40;
    put_all(fixture, 16);
    assert_int_equal(commits(fixture), OBJECTS);
    assert_true(atomic_load(&fixture->cluster->counters.sessions) >= 2);
    expect_all(fixture);
}

static void refuse_inline(struct fake_cluster *cluster)
{
    atomic_store(&cluster->knobs.inline_refused, true);
}

static void what_the_coordinators_do_not_keep_goes_into_fragments(void **state)
{
    struct fixture *fixture = *state;
    uint32_t most = 0;
    assert_int_equal(lilio_inline_max(fixture->client, &most, NULL), LILIO_OK);
    assert_int_equal(most, INLINE_MAX);
    fixture->objects[3].size = INLINE_MAX + 1;
    fixture->objects[4].size = 0;
    fixture->disturb = refuse_inline;
    fixture->disturb_at = 50;
    put_all(fixture, 8);
    assert_int_equal(commits(fixture), OBJECTS);
    assert_in_range(atomic_load(&fixture->cluster->counters.inlines), 40, 50);
    expect_all(fixture);
}

static void bad_keys_harm_nobody_else(void **state)
{
    struct fixture *fixture = *state;
    fixture->objects[7].key[0] = '\0';
    put_all(fixture, 8);
    assert_int_equal(fixture->objects[7].err, LILIO_E_INVALID);
    assert_int_equal(fixture->objects[8].err, LILIO_OK);
    assert_int_equal(commits(fixture), OBJECTS - 1);
}

static void bounds_and_buckets_are_checked(void **state)
{
    struct fixture *fixture = *state;
    struct lilio_put_stream stream = {.next = next, .done = done, .context = fixture};
    assert_int_equal(lilio_put_many(fixture->client, "wide", &stream, NULL), LILIO_E_INVALID);
    stream.in_flight = LILIO_IN_FLIGHT_MAX + 1;
    assert_int_equal(lilio_put_many(fixture->client, "wide", &stream, NULL), LILIO_E_INVALID);
    stream.in_flight = 1;
    assert_int_equal(lilio_put_many(fixture->client, "nowhere", &stream, NULL), LILIO_E_NO_BUCKET);
    assert_int_equal(fixture->next, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_at_once),
        TEST(one_at_a_time),
        TEST(lost_answers_are_asked_for_again),
        TEST(silence_is_waited_for_once),
        TEST(busy_is_waited_for),
        TEST(another_leader_is_followed),
        TEST(another_session_is_opened),
        TEST(what_the_coordinators_do_not_keep_goes_into_fragments),
        TEST(bad_keys_harm_nobody_else),
        TEST(bounds_and_buckets_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
