/* Aim: an OSD's identity and state go the ways the design allows: first disk, serve, blank,
 * refused, rebound; up, suspect, down, out, failed; and every change moves the epoch. Method:
 * hellos of every kind against the state; a service on virtual time with OSDs that beat or fall
 * silent. */
#include "coord_svc.h"

#include "base/banned.h"

enum { UP = 1, SUSPECT = 2, DOWN = 3, OUT = 4, FAILED = 5, BLANK = 7 };

static void all_alive(struct svc *svc, bool alive)
{
    for (int i = 0; i < FX_OSDS; i++)
        svc->alive[i] = alive;
}

static uint8_t hello(struct svc *svc, uint32_t osd, struct base_uuid disk, struct base_uuid cluster,
                     const char *address, bool incomplete, struct proto_osd_welcome *ret)
{
    struct proto_osd_hello ask = {.osd = osd,
                                  .disk_uuid = disk,
                                  .cluster_id = cluster,
                                  .address = fx_text(address),
                                  .incomplete = incomplete};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_osd_hello, &ask), LILIO_OK);
    svc_reply(svc, &proto_type_osd_welcome, ret);
    return ret->verdict;
}

static void hello_tells_who_may_serve(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct base_uuid none = {0}, ours = fx_uuid(1000);
    struct proto_osd_welcome welcome;
    assert_int_equal(hello(svc, 2, fx_uuid(2), ours, "inproc://2", false, &welcome),
                     COORD_VERDICT_SERVE);
    assert_int_equal(welcome.incarnation, 1);
    assert_int_equal(welcome.map.osds_count, FX_OSDS);
    assert_true(base_uuid_equal(welcome.cluster_id, ours));
    assert_int_equal(hello(svc, 2, none, none, "inproc://2", false, &welcome), COORD_VERDICT_BLANK);
    assert_true(welcome.reason.size > 0);
    assert_int_equal(hello(svc, 2, fx_uuid(2), fx_uuid(7), "inproc://2", false, &welcome),
                     COORD_VERDICT_REFUSED);
    assert_int_equal(hello(svc, 2, fx_uuid(3), ours, "inproc://2", false, &welcome),
                     COORD_VERDICT_REFUSED);
    assert_int_equal(hello(svc, 99, fx_uuid(2), ours, "inproc://2", false, &welcome),
                     COORD_VERDICT_REFUSED);
    svc_free(svc);
}
FX_BOTH(hello_tells_who_may_serve)

static void first_disk_binds_once(bool rocksdb)
{
    struct fx *fx = fx_new(rocksdb);
    struct proto_osd osd = {.id = 4};
    struct proto_cluster_init init = {
        .cluster_id = fx_uuid(1),
        .default_profile = {.data_count = 1, .fragment_size = 4096, .generator = CODEC_COPY1},
        .osds = &osd,
        .osds_count = 1,
    };
    assert_int_equal(fx_internal(fx, &proto_type_cluster_init, &init), LILIO_OK);
    struct proto_osd_hello ask = {.osd = 4};
    uint8_t verdict;
    struct lilio_errinfo reason;
    coord_state_hello(fx->state, &ask, &verdict, &reason);
    assert_int_equal(verdict, COORD_VERDICT_FIRST);
    ask.disk_uuid = fx_uuid(44); /* chosen, its bind was lost */
    coord_state_hello(fx->state, &ask, &verdict, &reason);
    assert_int_equal(verdict, COORD_VERDICT_FIRST);
    struct proto_osd_bind bind = {.osd = 4};
    assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind), LILIO_E_INVALID);
    bind.disk_uuid = fx_uuid(44);
    assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind), LILIO_OK);
    const struct proto_osd *row = coord_state_osd_at(fx->state, 0);
    assert_int_equal(row->incarnation, 1);
    assert_int_equal(row->state, UP);
    assert_int_equal(row->since_epoch, fx_row(fx)->epoch);
    assert_true(row->complete);
    uint64_t epoch = fx_row(fx)->epoch;
    assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind),
                     LILIO_OK); /* the answer was lost */
    assert_int_equal(fx_row(fx)->epoch, epoch);
    bind.disk_uuid = fx_uuid(45);
    assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind), LILIO_E_FOREIGN);
    bind.rebuild = true;
    assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind), LILIO_OK);
    if (rocksdb)
        fx_reopen(fx);
    row = coord_state_osd_at(fx->state, 0);
    assert_int_equal(row->incarnation, 2);
    assert_int_equal(row->since_epoch, epoch + 1);
    assert_false(row->complete);
    bind.osd = 5;
    assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind), LILIO_E_NOT_FOUND);
    fx_free(fx);
}
FX_BOTH(first_disk_binds_once)

/* The rebuild of a disk that is bound: nothing about it changes but since when it counts. */
static void a_rebuild_begins_afresh(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_osd was = *coord_state_osd_at(fx->state, 2);
    uint64_t epoch = fx_row(fx)->epoch;
    struct proto_osd_bind bind = {.osd = 2, .disk_uuid = was.disk_uuid, .afresh = true};
    for (uint64_t n = 1; n <= 2; n++) {
        assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind), LILIO_OK);
        assert_int_equal(coord_state_osd_at(fx->state, 2)->since_epoch, epoch + n);
        assert_int_equal(fx_row(fx)->epoch, epoch + n);
    }
    if (rocksdb)
        fx_reopen(fx);
    const struct proto_osd *row = coord_state_osd_at(fx->state, 2);
    assert_int_equal(row->since_epoch, epoch + 2);
    assert_int_equal(row->incarnation, was.incarnation);
    assert_int_equal(row->state, was.state);
    assert_int_equal(row->complete, was.complete);
    bind.disk_uuid = fx_uuid(77); /* it came in the place of this one meanwhile */
    assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind), LILIO_E_FOREIGN);
    assert_int_equal(fx_row(fx)->epoch, epoch + 2);
    fx_free(fx);
}
FX_BOTH(a_rebuild_begins_afresh)

static void one_disk_is_one_osd(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_osd_bind bind = {.osd = 0, .disk_uuid = fx_uuid(1), .rebuild = true};
    assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind), LILIO_E_FOREIGN);
    fx_free(fx);
}
FX_BOTH(one_disk_is_one_osd)

static void a_rebuild_makes_complete(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    fx_rebind(fx, 1);
    struct proto_osd_complete complete = {.osd = 1, .incarnation = 1, .index = 1};
    assert_int_equal(fx_internal(fx, &proto_type_osd_complete, &complete),
                     LILIO_E_FOREIGN); /* of the old disk */
    complete.incarnation = 2;
    complete.index = 10000;
    assert_int_equal(fx_internal(fx, &proto_type_osd_complete, &complete), LILIO_E_INVALID);
    complete.index = 1;
    uint64_t epoch = fx_row(fx)->epoch;
    assert_int_equal(fx_internal(fx, &proto_type_osd_complete, &complete), LILIO_OK);
    assert_int_equal(fx_internal(fx, &proto_type_osd_complete, &complete), LILIO_OK);
    assert_true(coord_state_osd_at(fx->state, 1)->complete);
    assert_int_equal(fx_row(fx)->epoch, epoch + 1);
    fx_free(fx);
}
FX_BOTH(a_rebuild_makes_complete)

static void hello_changes_address_and_completeness(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_osd_welcome welcome;
    uint64_t epoch = fx_row(svc->fx)->epoch;
    (void)hello(svc, 2, fx_uuid(2), fx_uuid(1000), "inproc://2", false, &welcome);
    assert_int_equal(fx_row(svc->fx)->epoch, epoch); /* nothing new */
    (void)hello(svc, 2, fx_uuid(2), fx_uuid(1000), "inproc://moved", true, &welcome);
    assert_int_equal(fx_row(svc->fx)->epoch, epoch + 1);
    const struct proto_osd *row = coord_state_osd_at(svc->fx->state, 2);
    assert_true(base_slice_equal(row->address, fx_text("inproc://moved")));
    assert_false(row->complete);
    assert_true(base_slice_equal(welcome.map.osds[2].address, fx_text("inproc://moved")));
    assert_int_equal(svc->epoch, epoch + 1);
    svc_free(svc);
}
FX_BOTH(hello_changes_address_and_completeness)

static void silence_makes_suspect_down_and_out(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    all_alive(svc, true);
    svc_pass(svc, 20000);
    for (uint32_t i = 0; i < FX_OSDS; i++)
        assert_int_equal(svc_state(svc, i), UP);
    uint64_t epoch = fx_row(svc->fx)->epoch;
    svc->alive[3] = false;
    svc_pass(svc, 2000);
    assert_int_equal(svc_state(svc, 3), UP);
    svc_pass(svc, 2000);
    assert_int_equal(svc_state(svc, 3), SUSPECT);
    assert_int_equal(svc_row(svc, 3), UP); /* shown, not decided */
    assert_int_equal(fx_row(svc->fx)->epoch, epoch);
    svc_pass(svc, 7000);
    assert_int_equal(svc_state(svc, 3), DOWN);
    assert_int_equal(fx_row(svc->fx)->epoch, epoch + 1);
    svc_pass(svc, 580000);
    assert_int_equal(svc_state(svc, 3), DOWN);
    svc_pass(svc, 15000);
    assert_int_equal(svc_state(svc, 3), OUT);
    svc->alive[3] = true;
    svc_pass(svc, 1000);
    assert_int_equal(svc_state(svc, 3), UP);
    assert_int_equal(fx_row(svc->fx)->epoch, epoch + 3);
    svc_free(svc);
}
FX_BOTH(silence_makes_suspect_down_and_out)

/* Design rule 9. */
static void mass_failure_marks_little_out(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    (void)fx_narrow_bucket(svc->fx, "b");
    all_alive(svc, true);
    svc_pass(svc, 3000);
    svc->alive[1] = svc->alive[2] = false;
    svc_pass(svc, 700000);
    int out = (svc_row(svc, 1) == OUT) + (svc_row(svc, 2) == OUT);
    assert_int_equal(out, 1); /* one domain at a time: nobody fills its slots here */
    svc->alive[1] = svc->alive[2] = true;
    svc_pass(svc, 3000);
    svc->alive[0] = svc->alive[1] = svc->alive[2] = false;
    svc_pass(svc, 700000);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(svc_row(svc, i), DOWN); /* over a third: none */
    svc_free(svc);
}
FX_BOTH(mass_failure_marks_little_out)

static void restart_gives_a_full_interval(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    all_alive(svc, true);
    svc_pass(svc, 5000);
    all_alive(svc, false);
    svc_pass(svc, 8000);
    svc_restart(svc);
    svc_pass(svc, 9000);
    for (uint32_t i = 0; i < FX_OSDS; i++)
        assert_int_equal(svc_row(svc, i), UP);
    svc_pass(svc, 2000);
    for (uint32_t i = 0; i < FX_OSDS; i++)
        assert_int_equal(svc_row(svc, i), DOWN);
    assert_true(svc_beat(svc, 0, UP).known); /* comes back without an introduction */
    assert_int_equal(svc_row(svc, 0), UP);
    svc_free(svc);
}
FX_BOTH(restart_gives_a_full_interval)

static void heartbeats_of_strangers_are_not_known(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_osd_orders orders;
    struct proto_osd_heartbeat beats[] = {
        {.osd = 50, .state = UP},
        {.osd = 1, .state = UP, .incarnation = 2, .disk_uuid = fx_uuid(1)},
        {.osd = 1, .state = UP, .incarnation = 1, .disk_uuid = fx_uuid(2)},
        {.osd = 1, .state = UP},
    };
    svc_pass(svc, 11000);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(svc_call(svc, 0, 0, &proto_type_osd_heartbeat, &beats[i]), LILIO_OK);
        svc_reply(svc, &proto_type_osd_orders, &orders);
        assert_false(orders.known);
        assert_true(orders.changed); /* it knows epoch 0 */
        assert_int_equal(orders.index, fx_row(svc->fx)->applied_index);
    }
    assert_int_equal(svc_row(svc, 1), DOWN);
    svc_free(svc);
}
FX_BOTH(heartbeats_of_strangers_are_not_known)

static void failed_and_back(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    assert_true(svc_beat(svc, 1, FAILED).known);
    assert_int_equal(svc_state(svc, 1), FAILED);
    (void)svc_beat(svc, 1, UP);
    assert_int_equal(svc_state(svc, 1), UP);
    (void)svc_beat(svc, 1, FAILED);
    svc_pass(svc, 11000);
    assert_int_equal(svc_state(svc, 1), DOWN);
    svc_free(svc);
}
FX_BOTH(failed_and_back)

/* An empty disk in an OSD's place: blank once the bound one is silent, rebound by a rebuild, and
 * never beside it. */
static void blank_disk_takes_over_only_when_the_other_is_gone(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct base_uuid none = {0};
    struct proto_osd_welcome welcome;
    struct proto_osd_bind bind = {.osd = 1, .disk_uuid = fx_uuid(500), .rebuild = true};
    (void)svc_beat(svc, 1, UP);
    assert_int_equal(hello(svc, 1, none, none, "inproc://elsewhere", false, &welcome),
                     COORD_VERDICT_BLANK);
    assert_true(
        base_slice_equal(coord_state_osd_at(svc->fx->state, 1)->address, fx_text("inproc://1")));
    assert_true(svc_beat(svc, 1, BLANK).known);
    assert_int_equal(svc_row(svc, 1), UP); /* the bound one was heard just now */
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_osd_bind, &bind), LILIO_E_BUSY);
    svc_pass(svc, 4000);
    (void)svc_beat(svc, 1, BLANK);
    assert_int_equal(svc_row(svc, 1), BLANK);
    for (int i = 0; i < 30; i++) {
        svc_pass(svc, 1000);
        (void)svc_beat(svc, 1, BLANK);
    }
    assert_int_equal(svc_row(svc, 1), BLANK); /* its own heartbeats count */
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_osd_bind, &bind), LILIO_OK);
    svc_reply(svc, &proto_type_osd_welcome, &welcome);
    assert_int_equal(welcome.verdict, COORD_VERDICT_SERVE);
    assert_int_equal(welcome.incarnation, 2);
    assert_int_equal(svc_row(svc, 1), UP);
    assert_true(svc_beat(svc, 1, UP).known);
    svc_free(svc);
}
FX_BOTH(blank_disk_takes_over_only_when_the_other_is_gone)

/* The same, at the same address: two processes cannot listen there, so the bound disk is gone and
 * nobody has to wait. */
static void wiped_disk_at_the_same_address_is_blank_at_once(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct base_uuid none = {0};
    struct proto_osd_welcome welcome;
    struct proto_osd_bind bind = {.osd = 1, .disk_uuid = fx_uuid(500), .rebuild = true};
    (void)svc_beat(svc, 1, UP);
    assert_int_equal(hello(svc, 1, none, none, "inproc://1", false, &welcome), COORD_VERDICT_BLANK);
    (void)svc_beat(svc, 1, BLANK);
    assert_int_equal(svc_row(svc, 1), BLANK);
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_osd_bind, &bind), LILIO_OK);
    svc_free(svc);
}
FX_BOTH(wiped_disk_at_the_same_address_is_blank_at_once)

static void map_travels_when_it_is_newer(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    struct proto_map_get ask = {.known_epoch = fx_row(svc->fx)->epoch};
    struct proto_map map;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_map_get, &ask), LILIO_OK);
    svc_reply(svc, &proto_type_map, &map);
    assert_false(map.changed);
    assert_int_equal(svc->epoch, ask.known_epoch);
    ask.known_epoch--;
    (void)svc_beat(svc, 4, UP);
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_map_get, &ask), LILIO_OK);
    svc_reply(svc, &proto_type_map, &map);
    assert_true(map.changed);
    assert_int_equal(proto_map_check(&map.map, NULL), LILIO_OK);
    assert_non_null(proto_map_placement(&map.map, bucket.placement));
    assert_int_equal(map.map.osds[4].used_bytes, 4); /* what heartbeats tell is in it */
    assert_int_equal(map.map.gc_grace_ms, 1000);
    assert_int_equal(map.map.default_profile.data_count, 4);
    svc_free(svc);
}
FX_BOTH(map_travels_when_it_is_newer)

static struct proto_status status_of(struct svc *svc)
{
    struct proto_status_get get = {0};
    struct proto_status status;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_status_get, &get), LILIO_OK);
    svc_reply(svc, &proto_type_status, &status);
    return status;
}

static const struct proto_osd_leaving *leaving_of(const struct proto_status *status, uint32_t osd)
{
    for (size_t i = 0; i < status->leaving_count; i++)
        if (status->leaving[i].osd == osd)
            return &status->leaving[i];
    return NULL;
}

/* As in mass_failure_marks_little_out. What was told is what happens. */
static void who_goes_out_is_told(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    (void)fx_narrow_bucket(svc->fx, "b");
    all_alive(svc, true);
    svc_pass(svc, 3000);
    svc->alive[1] = svc->alive[2] = false;
    svc_pass(svc, 9000);
    assert_int_equal(status_of(svc).leaving_count, 0);
    svc_pass(svc, 91000);
    struct proto_status status = status_of(svc);
    assert_int_equal(status.leaving_count, 2);
    uint64_t in_ms = leaving_of(&status, 2)->in_ms;
    assert_in_range(in_ms, 499000, 501000);
    assert_false(leaving_of(&status, 2)->waits);
    assert_false(status.many_away);
    svc_pass(svc, (uint32_t)in_ms - 1000);
    assert_int_equal(svc_row(svc, 1), DOWN);
    svc_pass(svc, 2000);
    uint32_t out = svc_row(svc, 1) == OUT ? 1 : 2, other = 3 - out;
    assert_int_equal(svc_row(svc, out), OUT);
    status = status_of(svc);
    assert_null(leaving_of(&status, out));
    assert_int_equal(leaving_of(&status, other)->in_ms, 0);
    assert_true(leaving_of(&status, other)->waits);
    assert_int_equal(leaving_of(&status, other)->behind, out);
    svc->alive[0] = false;
    svc_pass(svc, 15000);
    status = status_of(svc);
    assert_true(status.many_away);
    assert_non_null(leaving_of(&status, 0));
    all_alive(svc, true);
    svc_pass(svc, 3000);
    status = status_of(svc);
    assert_int_equal(status.leaving_count, 0);
    assert_false(status.many_away);
    svc_free(svc);
}
FX_BOTH(who_goes_out_is_told)

/* What an OSD told of its scrubs is kept and gets older; another disk has nothing of it. */
static void scrubs_are_told(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_scrub_line lines[] = {
        {.osd = 99, .kind = 1, .rounds = 3, .ended_ms = 500, .oldest_ms = 900, .last_bad = 2},
        {.osd = 99, .kind = 2, .state = 1, .round_ms = 70, .good = 5},
    };
    struct proto_osd_heartbeat beat = {.osd = 1,
                                       .state = UP,
                                       .incarnation = 1,
                                       .disk_uuid = fx_uuid(1),
                                       .scrubs = lines,
                                       .scrubs_count = 2};
    assert_int_equal(status_of(svc).scrubs_count, 0);
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_osd_heartbeat, &beat), LILIO_OK);
    svc->now_ms += 2000;
    struct proto_status status = status_of(svc);
    assert_int_equal(status.scrubs_count, 2);
    assert_int_equal(status.scrubs[0].osd, 1); /* whoever it says it is */
    assert_int_equal(status.scrubs[0].last_bad, 2);
    assert_int_equal(status.scrubs[0].ended_ms, 2500);
    assert_int_equal(status.scrubs[0].oldest_ms, 2900);
    assert_int_equal(status.scrubs[1].round_ms, 2070);
    assert_int_equal(status.scrubs[1].ended_ms, 0); /* there was none */
    assert_int_equal(status.scrubs[1].good, 5);
    svc_pass(svc, 60000);
    struct proto_osd_bind bind = {.osd = 1, .disk_uuid = fx_uuid(77), .rebuild = true};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_osd_bind, &bind), LILIO_OK);
    assert_int_equal(status_of(svc).scrubs_count, 0);
    svc_free(svc);
}
FX_BOTH(scrubs_are_told)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(hello_tells_who_may_serve),
        FX_TESTS(first_disk_binds_once),
        FX_TESTS(a_rebuild_begins_afresh),
        FX_TESTS(one_disk_is_one_osd),
        FX_TESTS(a_rebuild_makes_complete),
        FX_TESTS(hello_changes_address_and_completeness),
        FX_TESTS(silence_makes_suspect_down_and_out),
        FX_TESTS(mass_failure_marks_little_out),
        FX_TESTS(restart_gives_a_full_interval),
        FX_TESTS(heartbeats_of_strangers_are_not_known),
        FX_TESTS(failed_and_back),
        FX_TESTS(blank_disk_takes_over_only_when_the_other_is_gone),
        FX_TESTS(wiped_disk_at_the_same_address_is_blank_at_once),
        FX_TESTS(map_travels_when_it_is_newer),
        FX_TESTS(who_goes_out_is_told),
        FX_TESTS(scrubs_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
