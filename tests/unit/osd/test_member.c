/* Aim: an OSD finds its place with the coordinators: first disk, known disk, replaced disk, crash
 * in the middle of joining, coordinator gone and back, jobs and maps. Method: the table of verdicts
 * by itself; then the heartbeat thread of one OSD against a coordinator made of a thread, over
 * inproc, waiting for what must come and never for time. */
#include "osd/member.h"

#include <pthread.h>

#include "tests/unit/osd/fake_coordinator.h"

#include "base/banned.h"

/* ---- the decision ---- */

static void test_every_verdict(void **state)
{
    const struct {
        struct osd_member_case facts;
        enum osd_member_action action;
    } cases[] = {
        {{OSD_DISK_BLANK, false, false, true, 1}, OSD_MEMBER_REFUSE},
        {{OSD_DISK_JOINING, false, false, true, 1}, OSD_MEMBER_SERVE},
        {{OSD_DISK_MEMBER, false, false, true, 1}, OSD_MEMBER_SERVE},
        {{OSD_DISK_BLANK, false, true, true, 2}, OSD_MEMBER_STAY_BLANK},
        {{OSD_DISK_JOINING, true, false, true, 2}, OSD_MEMBER_STAY_BLANK},
        {{OSD_DISK_MEMBER, false, false, true, 2}, OSD_MEMBER_REFUSE},
        {{OSD_DISK_BLANK, false, true, true, 3}, OSD_MEMBER_REFUSE},
        {{OSD_DISK_JOINING, false, false, true, 3}, OSD_MEMBER_ANNOUNCE_BLANK},
        {{OSD_DISK_JOINING, true, false, true, 3}, OSD_MEMBER_REFUSE},
        {{OSD_DISK_MEMBER, false, true, true, 3}, OSD_MEMBER_REFUSE},
        {{OSD_DISK_BLANK, false, true, true, 4}, OSD_MEMBER_BIND},
        {{OSD_DISK_BLANK, false, false, true, 4}, OSD_MEMBER_STAY_BLANK},
        {{OSD_DISK_JOINING, false, false, true, 4}, OSD_MEMBER_BIND},
        {{OSD_DISK_MEMBER, false, true, true, 4}, OSD_MEMBER_REFUSE},
        {{OSD_DISK_MEMBER, false, true, false, 1}, OSD_MEMBER_REFUSE},
        {{OSD_DISK_BLANK, false, true, false, 4}, OSD_MEMBER_REFUSE},
        {{OSD_DISK_MEMBER, false, false, true, 0}, OSD_MEMBER_REFUSE},
        {{OSD_DISK_MEMBER, false, false, true, 255}, OSD_MEMBER_REFUSE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *reason;
        assert_int_equal(osd_member_decide(&cases[i].facts, &reason), cases[i].action);
    }
}

/* ---- the thread ---- */

struct fixture {
    struct proto_context *context;
    struct fake fake;
    struct parts parts;
    struct osd_member *member;
};

static void member_start_with(struct fixture *f, bool init, const char *const *coordinators,
                              size_t coordinator_count)
{
    struct osd_member_options options = {
        .node = f->parts.node,
        .home = f->parts.home,
        .collector = f->parts.collector,
        .context = f->context,
        .coordinators = coordinators,
        .coordinator_count = coordinator_count,
        .address = "tcp://127.0.0.1:1",
        .init = init,
    };
    assert_int_equal(osd_member_start(&options, &f->member), LILIO_OK);
}

static void member_start(struct fixture *f, bool init)
{
    member_start_with(f, init, fake_endpoints(), 1);
}

static void fixture_init(struct fixture *f)
{
    assert_int_equal(proto_context_new(1, &f->context), LILIO_OK);
    fake_start(&f->fake, f->context);
    parts_init(&f->parts, 0, f->context);
    parts_serve(&f->parts);
}

static void fixture_run(struct fixture *f, bool init)
{
    parts_run(&f->parts);
    member_start(f, init);
}

static void fixture_release(struct fixture *f)
{
    osd_node_stop(f->parts.node);
    osd_member_stop(&f->member);
    parts_release(&f->parts);
    fake_stop(&f->fake);
    proto_context_free(&f->context);
    parts_release_context(&f->parts);
}

static struct osd_node_view await_state(struct fixture *f, enum osd_node_state state)
{
    struct osd_node_view view;
    assert_true(osd_node_wait(f->parts.node, 1u << state, PARTS_PATIENCE_MS));
    osd_node_view(f->parts.node, &view);
    return view;
}

/* Waits until the number under the coordinator's lock has reached least. */
static void await_count(struct fixture *f, const unsigned *number, unsigned least)
{
    struct proto_wait_item never = {.fd = -1};
    uint64_t until = base_now_ms(base_clock_system()) + PARTS_PATIENCE_MS;
    for (bool reached = false; !reached; (void)proto_wait(&never, 1, 5)) {
        pthread_mutex_lock(&f->fake.lock);
        reached = *number >= least;
        pthread_mutex_unlock(&f->fake.lock);
        assert_true(base_now_ms(base_clock_system()) < until);
    }
}

static unsigned count_now(struct fixture *f, const unsigned *number)
{
    pthread_mutex_lock(&f->fake.lock);
    unsigned now = *number;
    pthread_mutex_unlock(&f->fake.lock);
    return now;
}

static void await_beat_state(struct fixture *f, uint8_t state)
{
    for (uint8_t seen = 255; seen != state;) {
        await_count(f, &f->fake.beats, count_now(f, &f->fake.beats) + 1);
        pthread_mutex_lock(&f->fake.lock);
        seen = f->fake.last_state;
        pthread_mutex_unlock(&f->fake.lock);
    }
}

static void test_first_disk_with_init(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fixture_run(&f, /* init */ true);
    struct osd_node_view view = await_state(&f, OSD_NODE_SERVING);
    assert_int_equal(view.incarnation, 1);
    assert_int_equal(view.disk, OSD_DISK_MEMBER);
    assert_int_equal(osd_node_epoch(f.parts.node), 5);
    await_beat_state(&f, 1);
    assert_int_equal(count_now(&f, &f.fake.binds), 1);
    fixture_release(&f);
}

/* A coordinator that follows, and says so to everybody. */
struct follower {
    struct proto_server *server;
    pthread_t thread;
    atomic_bool stop;
    atomic_uint asked;
};

static void *follow(void *context)
{
    struct follower *follower = context;
    struct proto_error error = {.code = LILIO_E_NOT_LEADER,
                                .leader = base_slice_str(fake_endpoints()[0])};
    while (!atomic_load(&follower->stop)) {
        struct proto_wait_item item = {.server = follower->server};
        struct proto_request *request;
        (void)proto_wait(&item, 1, 10);
        while ((request = proto_server_receive(follower->server)) != NULL) {
            atomic_fetch_add(&follower->asked, 1);
            proto_server_reply_error_full(follower->server, &request, &error, 5);
        }
    }
    return NULL;
}

static void test_the_leader_is_found(void **state)
{
    struct fixture f;
    struct follower follower = {0};
    char nobody[128], other[128];
    (void)state;
    fixture_init(&f);
    parts_endpoint("nobody", 0, nobody);
    parts_endpoint("follower", 0, other);
    struct proto_server_options options = {.endpoint = other};
    assert_int_equal(proto_server_new(f.context, &options, &follower.server, NULL), LILIO_OK);
    assert_int_equal(pthread_create(&follower.thread, NULL, follow, &follower), 0);
    const char *const coordinators[] = {nobody, other}; /* the leader is in neither's place */
    parts_run(&f.parts);
    member_start_with(&f, /* init */ true, coordinators, 2);
    (void)await_state(&f, OSD_NODE_SERVING);
    await_count(&f, &f.fake.beats, 5);
    assert_int_equal(atomic_load(&follower.asked), 1); /* then the leader is known */
    osd_node_stop(f.parts.node);
    atomic_store(&follower.stop, true);
    pthread_join(follower.thread, NULL);
    proto_server_free(&follower.server);
    fixture_release(&f);
}

static void test_first_disk_without_init(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fixture_run(&f, /* init */ false);
    struct osd_node_view view = await_state(&f, OSD_NODE_BLANK);
    assert_non_null(strstr(view.detail, "--init"));
    await_beat_state(&f, 7);
    assert_int_equal(count_now(&f, &f.fake.binds), 0);
    fixture_release(&f);
}

/* A crash between bind and the MEMBER superblock: the coordinator knows the disk already. And one
 * before bind: it does not. */
static void test_joining_disk_goes_on(void **state)
{
    (void)state;
    for (int bound = 0; bound < 2; bound++) {
        struct fixture f;
        struct base_uuid uuid;
        fixture_init(&f);
        assert_int_equal(osd_home_join(f.parts.home, &uuid, NULL), LILIO_OK);
        if (bound)
            FAKE_LOCKED(&f.fake, f.fake.disk_uuid = uuid, f.fake.incarnation = 1);
        fixture_run(&f, /* init */ false);
        struct osd_node_view view = await_state(&f, OSD_NODE_SERVING);
        assert_memory_equal(&view.disk_uuid, &uuid, sizeof uuid);
        assert_int_equal(view.incarnation, 1);
        assert_int_equal(count_now(&f, &f.fake.binds), bound ? 0 : 1);
        fixture_release(&f);
    }
}

/* A rebuild that crashed before bind: the id has another disk, so this one is as good as blank. */
static void test_joining_disk_of_a_rebuild(void **state)
{
    struct fixture f;
    struct base_uuid uuid, zero = {{0}};
    (void)state;
    fixture_init(&f);
    FAKE_LOCKED(&f.fake, f.fake.had_disk = true);
    assert_int_equal(osd_home_join(f.parts.home, &uuid, NULL), LILIO_OK);
    fixture_run(&f, /* init */ true);
    (void)await_state(&f, OSD_NODE_BLANK);
    await_beat_state(&f, 7);
    pthread_mutex_lock(&f.fake.lock);
    assert_memory_equal(&f.fake.last_hello_uuid, &zero, sizeof zero);
    pthread_mutex_unlock(&f.fake.lock);
    assert_int_equal(count_now(&f, &f.fake.binds), 0);
    fixture_release(&f);
}

static void test_refused_disk(void **state)
{
    struct fixture f;
    struct base_uuid uuid;
    (void)state;
    fixture_init(&f);
    FAKE_LOCKED(&f.fake, f.fake.had_disk = true);
    assert_int_equal(osd_home_join(f.parts.home, &uuid, NULL), LILIO_OK);
    assert_int_equal(osd_home_welcome(f.parts.home, 1, NULL), LILIO_OK); /* served once */
    fixture_run(&f, /* init */ true);
    struct osd_node_view view = await_state(&f, OSD_NODE_REFUSED);
    assert_string_equal(view.detail, "because");
    fixture_release(&f);
}

static void test_coordinator_of_another_cluster(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    FAKE_LOCKED(&f.fake, f.fake.cluster.bytes[0] ^= 1);
    fixture_run(&f, /* init */ true);
    struct osd_node_view view = await_state(&f, OSD_NODE_REFUSED);
    assert_non_null(strstr(view.detail, "another cluster"));
    assert_int_equal(count_now(&f, &f.fake.binds), 0);
    fixture_release(&f);
}

static void test_coordinator_forgets_and_goes_and_comes_back(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fixture_run(&f, /* init */ true);
    (void)await_state(&f, OSD_NODE_SERVING);
    unsigned hellos = count_now(&f, &f.fake.hellos);
    FAKE_LOCKED(&f.fake, f.fake.forget = true);
    await_count(&f, &f.fake.hellos, hellos + 1);

    fake_silence(&f.fake);
    hellos = f.fake.hellos;
    f.fake.forget = true; /* as a restarted one does */
    struct osd_node_view view;
    osd_node_view(f.parts.node, &view);
    assert_int_equal(view.state, OSD_NODE_SERVING); /* with the last map */
    fake_serve(&f.fake);
    await_count(&f, &f.fake.hellos, hellos + 1);
    (void)await_state(&f, OSD_NODE_SERVING);
    fixture_release(&f);
}

static void test_new_map_and_jobs(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fixture_run(&f, /* init */ true);
    (void)await_state(&f, OSD_NODE_SERVING);
    pthread_mutex_lock(&f.fake.lock);
    proto_map_ref_drop(&f.fake.map);
    f.fake.map = parts_map(6);
    f.fake.jobs[0] =
        (struct proto_collect_job){.oid = {7, 1}, .placement = PARTS_PLACEMENT, .stripe_count = 3};
    f.fake.job_count = 1;
    pthread_mutex_unlock(&f.fake.lock);
    struct proto_wait_item never = {.fd = -1};
    for (size_t collected = 0; collected == 0; (void)proto_wait(&never, 1, 5)) {
        pthread_mutex_lock(&f.fake.lock);
        collected = f.fake.collected;
        pthread_mutex_unlock(&f.fake.lock);
    }
    assert_int_equal(osd_node_epoch(f.parts.node), 6);
    fixture_release(&f);
}

/* A failed store is told; so is a directory that was taken away. */
static void test_failed_store_is_told(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fixture_run(&f, /* init */ true);
    (void)await_state(&f, OSD_NODE_SERVING);
    spy_store_fail(f.parts.store, LILIO_E_IO);
    (void)await_state(&f, OSD_NODE_FAILED); /* noticed within a second, even without a put */
    await_beat_state(&f, 5);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_verdict),
        cmocka_unit_test(test_first_disk_with_init),
        cmocka_unit_test(test_the_leader_is_found),
        cmocka_unit_test(test_first_disk_without_init),
        cmocka_unit_test(test_joining_disk_goes_on),
        cmocka_unit_test(test_joining_disk_of_a_rebuild),
        cmocka_unit_test(test_refused_disk),
        cmocka_unit_test(test_coordinator_of_another_cluster),
        cmocka_unit_test(test_coordinator_forgets_and_goes_and_comes_back),
        cmocka_unit_test(test_new_map_and_jobs),
        cmocka_unit_test(test_failed_store_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
