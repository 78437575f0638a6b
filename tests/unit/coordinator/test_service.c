/* Aim: the service answers each request once, nothing before it is durable, keeps sessions alive
 * and ends them in time, keeps deletes possible on a full disk, pins walks, and bounds what it
 * keeps. Method: a service on virtual time; several requests in one round; limits reached and left
 * again. */
#include "coord_svc.h"

#include "coord_audit.h"

#include "base/banned.h"

static uint64_t open_session(struct svc *svc, uint32_t timeout_ms)
{
    struct proto_session_open open = {.timeout_ms = timeout_ms};
    struct proto_session session;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_session_open, &open), LILIO_OK);
    svc_reply(svc, &proto_type_session, &session);
    assert_true(base_uuid_equal(session.cluster_id, fx_uuid(1000)));
    return session.id;
}

static enum lilio_err renew(struct svc *svc, uint64_t session)
{
    struct proto_session_renew renew = {0};
    return svc_call(svc, session, 0, &proto_type_session_renew, &renew);
}

static enum lilio_err make_bucket(struct svc *svc, uint64_t session, uint64_t sequence,
                                  const char *name)
{
    struct proto_bucket_create create = {.name = fx_text(name)};
    return svc_call(svc, session, sequence, &proto_type_bucket_create, &create);
}

/* ---- sessions ---- */

static void sessions_live_by_renewal(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    uint64_t kept = open_session(svc, 5000), left = open_session(svc, 5000),
             busy = open_session(svc, 5000);
    for (uint64_t i = 1; i <= 10; i++) {
        svc_pass(svc, 4000);
        assert_int_equal(renew(svc, kept), LILIO_OK);
        char name[16];
        (void)snprintf(name, sizeof name, "b%llu", (unsigned long long)i);
        assert_int_equal(make_bucket(svc, busy, i, name),
                         LILIO_OK); /* any request keeps it alive */
    }
    assert_int_equal(renew(svc, left), LILIO_E_SESSION_CLOSED);
    assert_int_equal(make_bucket(svc, left, 1, "late"), LILIO_E_SESSION_CLOSED);
    assert_int_equal(fx_row(svc->fx)->session_count, 2); /* the fixture's own is gone, too */
    svc_free(svc);
}
FX_BOTH(sessions_live_by_renewal)

static void restart_gives_sessions_their_full_time(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    uint64_t session = open_session(svc, 10000);
    svc_pass(svc, 9000);
    svc_restart(svc);
    svc_pass(svc, 9000);
    assert_int_equal(make_bucket(svc, session, 1, "b"), LILIO_OK);
    svc_restart(svc);
    assert_int_equal(make_bucket(svc, session, 1, "b"),
                     LILIO_OK); /* remembered across the restart */
    assert_int_equal(fx_row(svc->fx)->bucket_count, 1);
    svc_pass(svc, 11000);
    assert_int_equal(make_bucket(svc, session, 2, "c"), LILIO_E_SESSION_CLOSED);
    svc_free(svc);
}
FX_BOTH(restart_gives_sessions_their_full_time)

/* The process is stopped for a day and goes on: nobody was silent, it was not listening. */
static void stalled_process_takes_nobody_for_silent(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    uint64_t session = open_session(svc, 10000);
    for (int i = 0; i < FX_OSDS; i++)
        svc->alive[i] = true;
    svc_pass(svc, 3000);
    svc->now_ms += 86400000;
    svc_pass(svc, 3000);
    for (uint32_t i = 0; i < FX_OSDS; i++)
        assert_int_equal(svc_row(svc, i), PROTO_OSD_UP);
    assert_int_equal(renew(svc, session), LILIO_OK);
    svc_free(svc);
}
FX_BOTH(stalled_process_takes_nobody_for_silent)

static void close_is_at_once(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    uint64_t session = open_session(svc, 0);
    struct proto_session_close end = {0};
    assert_int_equal(svc_call(svc, session, 0, &proto_type_session_close, &end), LILIO_OK);
    assert_int_equal(renew(svc, session), LILIO_E_SESSION_CLOSED);
    assert_int_equal(svc_call(svc, session, 0, &proto_type_session_close, &end), LILIO_OK);
    svc_free(svc);
}
FX_BOTH(close_is_at_once)

/* ---- one round ---- */

/* Requests of a round are answered only when it is applied and confirmed, each once. */
static void nothing_is_answered_before_it_is_durable(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_bucket_create create = {.name = fx_text("b")};
    struct proto_bucket_get get = {.name = fx_text("b")};
    struct base_buffer bodies[2] = {0};
    assert_int_equal(proto_bucket_get_pack(&get, &bodies[0]), LILIO_OK);
    assert_int_equal(proto_bucket_create_pack(&create, &bodies[1]), LILIO_OK);
    struct coord_request requests[] = {
        {.token = svc, .type = &proto_type_bucket_get, .body = base_buffer_slice(&bodies[0])},
        {.token = svc,
         .header = {.session = svc->fx->session, .sequence = 70},
         .type = &proto_type_bucket_create,
         .body = base_buffer_slice(&bodies[1])},
    };
    for (size_t i = 0; i < 2; i++)
        coord_service_receive(svc->service, &requests[i]);
    coord_service_receive(svc->service,
                          &requests[1]); /* the same again: sent twice by an impatient client */
    coord_service_tick(svc->service);
    assert_int_equal(svc->answers, 0);
    struct coord_round round;
    assert_true(coord_service_round(svc->service, &round));
    assert_int_equal(round.count, 2);
    assert_true(round.reads);
    assert_int_equal(svc->answers, 0);
    svc_apply_only(svc, round.commands, round.count);
    assert_int_equal(svc->answers, 0);
    coord_service_applied(svc->service, round.id, svc->results);
    assert_int_equal(svc->answers, 2);
    coord_service_confirmed(svc->service, round.id);
    assert_int_equal(svc->answers, 3);
    struct proto_bucket_reply reply;
    svc_reply(svc, &proto_type_bucket_reply, &reply); /* the read came last and saw it */
    assert_int_equal(fx_row(svc->fx)->bucket_count, 1);
    for (size_t i = 0; i < 2; i++)
        base_buffer_release(&bodies[i]);
    svc_free(svc);
}
FX_BOTH(nothing_is_answered_before_it_is_durable)

static void full_round_says_so(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_session_open open = {0};
    struct base_buffer body = {0};
    assert_int_equal(proto_session_open_pack(&open, &body), LILIO_OK);
    struct coord_request request = {
        .token = svc, .type = &proto_type_session_open, .body = base_buffer_slice(&body)};
    size_t taken = 0;
    while (!coord_service_full(svc->service)) {
        coord_service_receive(svc->service, &request);
        taken++;
    }
    assert_in_range(taken, 100, COORD_ENTRY_COMMANDS_MAX);
    svc_pump(svc);
    assert_int_equal(svc->answers, taken);
    assert_false(coord_service_full(svc->service));
    base_buffer_release(&body);
    svc_free(svc);
}
FX_BOTH(full_round_says_so)

static void strange_requests_are_refused(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_cluster_init init = {.cluster_id = fx_uuid(3)};
    struct proto_gc_done done = {0};
    struct proto_fragment_put put = {0};
    struct proto_ok ok = {0};
    uint64_t index = fx_row(svc->fx)->applied_index;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_cluster_init, &init), LILIO_E_UNSUPPORTED);
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_gc_done, &done), LILIO_E_UNSUPPORTED);
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_fragment_put, &put), LILIO_E_UNSUPPORTED);
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_ok, &ok), LILIO_E_UNSUPPORTED);
    assert_int_equal(fx_row(svc->fx)->applied_index, index);
    static const uint16_t reads[] = {
        PROTO_MSG_lookup,    PROTO_MSG_map_get,       PROTO_MSG_list,     PROTO_MSG_scan_next,
        PROTO_MSG_osd_hello, PROTO_MSG_osd_heartbeat, PROTO_MSG_osd_bind, PROTO_MSG_session_renew};
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        struct coord_request garbage = {
            .token = svc, .type = proto_type_find(reads[i]), .body = base_slice("\xc1\xc1", 2)};
        uint64_t before = svc->answers;
        coord_service_receive(svc->service, &garbage);
        svc_pump(svc);
        assert_int_equal(svc->answers, before + 1);
        assert_int_equal(svc->type, PROTO_MSG_error);
    }
    svc_free(svc);
}
FX_BOTH(strange_requests_are_refused)

static void ping_is_answered_at_once(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_ping ping = {0};
    struct proto_pong pong;
    svc_pass(svc, 5000);
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_ping, &ping), LILIO_OK);
    svc_reply(svc, &proto_type_pong, &pong);
    assert_true(base_slice_equal(pong.node, fx_text("coordinator.0")));
    assert_int_equal(pong.uptime_ms, 5000);
    svc_free(svc);
}
FX_BOTH(ping_is_answered_at_once)

/* ---- space ---- */

static void full_disk_takes_deletes_only(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    (void)fx_put(svc->fx, &bucket, "k", 1, 1000);
    struct proto_commit commit = fx_commit(svc->fx, &bucket, "k2", 2, 1000);
    struct proto_delete rm = {.bucket_id = bucket.id, .key = fx_text("k")};
    struct proto_bucket_delete rb = {.name = fx_text("b")};
    uint64_t session = svc->fx->session;
    svc->space.free_bytes = (64 << 20) - 1;
    svc_pass(svc, 250);
    assert_int_equal(svc_call(svc, session, 50, &proto_type_commit, &commit), LILIO_E_NO_SPACE);
    assert_int_equal(make_bucket(svc, session, 51, "c"), LILIO_E_NO_SPACE);
    assert_int_equal(svc_call(svc, session, 52, &proto_type_delete, &rm), LILIO_OK);
    assert_int_equal(svc_call(svc, session, 53, &proto_type_bucket_delete, &rb), LILIO_OK);
    (void)open_session(svc, 0); /* who deletes needs one */
    svc->space = (struct base_disk_space){.total_bytes = 100 << 20,
                                          .free_bytes = 13 << 20}; /* a small disk: an eighth */
    svc_pass(svc, 250);
    assert_int_equal(make_bucket(svc, session, 54, "c"), LILIO_OK);
    svc->space.free_bytes = 12 << 20;
    svc_pass(svc, 250);
    assert_int_equal(make_bucket(svc, session, 55, "d"), LILIO_E_NO_SPACE);
    svc->space.free_bytes = 50 << 20;
    svc_pass(svc, 250);
    assert_int_equal(make_bucket(svc, session, 55, "d"),
                     LILIO_OK); /* was not executed, so not remembered */
    svc_free(svc);
}
FX_BOTH(full_disk_takes_deletes_only)

/* ---- walks ---- */

static struct proto_scan walk_open(struct svc *svc, uint64_t bucket_id)
{
    struct proto_scan_open open = {.bucket_id = bucket_id};
    struct proto_scan scan;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_open, &open), LILIO_OK);
    svc_reply(svc, &proto_type_scan, &scan);
    return scan;
}

/* Walks to the end; returns how many runs there were, all in order. */
static size_t walk_all(struct svc *svc, uint64_t id, uint64_t *ret_names)
{
    struct proto_scan_next next = {.id = id};
    struct proto_scan_page page;
    size_t count = 0;
    *ret_names = 0;
    do {
        proto_arena_clear(svc->fx->arena);
        assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_next, &next), LILIO_OK);
        svc_reply(svc, &proto_type_scan_page, &page);
        assert_true(!page.more || page.rows_count > 0);
        for (size_t i = 0; i < page.rows_count; i++) {
            struct base_oid oid = page.rows[i].data.oid;
            assert_true(oid.high > next.after.high ||
                        (oid.high == next.after.high && oid.low > next.after.low));
            assert_true(page.rows[i].names_count > 0 && page.rows[i].names_count <= 4);
            assert_true(page.rows[i].name_count >= page.rows[i].names_count);
            assert_true(page.rows[i].commit_index > 0);
            *ret_names += page.rows[i].name_count;
            next.after = oid;
            count++;
        }
    } while (page.more);
    return count;
}

static void walk_sees_one_moment(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct fx *fx = svc->fx;
    struct proto_bucket b = fx_bucket(fx, "b"), c = fx_bucket(fx, "c");
    char key[16];
    for (uint64_t i = 1; i <= 2500; i++) {
        (void)snprintf(key, sizeof key, "k%llu", (unsigned long long)i);
        (void)fx_put(fx, i % 5 ? &b : &c, key, i, i % 7 ? 20000 : 0);
        proto_arena_clear(fx->arena);
    }
    for (int i = 0; i < 6; i++) { /* seven names for the run of k1 */
        (void)snprintf(key, sizeof key, "copy%d", i);
        struct proto_copy copy = {.bucket = fx_text("b"),
                                  .key = fx_text("k1"),
                                  .to_bucket_id = c.id,
                                  .to_key = fx_text(key)};
        assert_int_equal(fx_do(fx, &proto_type_copy, &copy), LILIO_OK);
    }
    struct proto_stage stage = {.data = fx_run(fx, &b, 9999, 100),
                                .lowest_epoch = fx_row(fx)->epoch};
    assert_int_equal(fx_do(fx, &proto_type_stage, &stage), LILIO_OK); /* not committed: not in it */
    assert_int_equal(fx_delete(fx, &b, "k2"), LILIO_OK); /* waits for collection: not in it */
    uint64_t names, runs = 2500 - 2500 / 7 - 1;
    struct proto_scan all = walk_open(svc, 0), of_c = walk_open(svc, c.id);
    assert_int_equal(all.index, fx_row(fx)->applied_index);
    assert_int_equal(fx_delete(fx, &b, "k3"), LILIO_OK);
    (void)fx_put(fx, &b, "new", 5000, 20000);
    assert_int_equal(walk_all(svc, all.id, &names), runs); /* k3 still, new not yet */
    assert_int_equal(names, runs + 6);
    assert_int_equal(walk_all(svc, of_c.id, &names), 500 - 2500 / 35 + 1);
    struct proto_scan now = walk_open(svc, 0);
    assert_int_equal(walk_all(svc, now.id, &names), runs);
    struct proto_scan_close end = {.id = all.id};
    struct proto_scan_next next = {.id = all.id};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_close, &end), LILIO_OK);
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_next, &next), LILIO_E_NOT_FOUND);
    next.id = 0;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_next, &next), LILIO_E_NOT_FOUND);
    coord_audit(fx);
    svc_free(svc);
}
FX_BOTH(walk_sees_one_moment)

/* One that nobody else has to wait for: a page ends behind so many runs of others. */
static void walk_of_a_small_bucket(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct fx *fx = svc->fx;
    struct proto_bucket many = fx_bucket(fx, "many"), few = fx_bucket(fx, "few");
    const uint64_t runs = 2 * COORD_SCAN_LOOKED_MAX + 10;
    char key[16];
    for (uint64_t i = 1; i <= runs; i++) {
        bool is_few = i == 5 || i == runs;
        (void)snprintf(key, sizeof key, "k%llu", (unsigned long long)i);
        (void)fx_put(fx, is_few ? &few : &many, key, i, 20000);
        proto_arena_clear(fx->arena);
    }
    struct proto_scan_next next = {.id = walk_open(svc, few.id).id};
    struct proto_scan_page page = {.more = true};
    size_t pages = 0, rows = 0;
    for (; page.more; next.after = page.next, pages++) {
        assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_next, &next), LILIO_OK);
        svc_reply(svc, &proto_type_scan_page, &page);
        rows += page.rows_count;
    }
    assert_int_equal(rows, 2);
    assert_int_equal(pages, 3);
    svc_free(svc);
}
FX_BOTH(walk_of_a_small_bucket)

static void walks_are_few_and_lapse(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_scan walks[COORD_SCANS_MAX];
    for (size_t i = 0; i < COORD_SCANS_MAX; i++)
        walks[i] = walk_open(svc, 0);
    struct proto_scan_open open = {0};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_open, &open), LILIO_E_BUSY);
    svc_pass(svc, COORD_SCAN_IDLE_MS - 1000);
    uint64_t names;
    (void)walk_all(svc, walks[3].id, &names); /* this one is used */
    svc_pass(svc, 2000);
    struct proto_scan_next next = {.id = walks[4].id};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_next, &next), LILIO_E_NOT_FOUND);
    next.id = walks[3].id;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_next, &next), LILIO_OK);
    (void)walk_open(svc, 0);
    svc_free(svc);
}
FX_BOTH(walks_are_few_and_lapse)

/* Those that nobody closed must not keep everybody out for minutes. */
static void idle_walks_make_room(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_scan walks[COORD_SCANS_MAX];
    struct proto_scan_open open = {0};
    struct proto_scan_next next = {0};
    for (size_t i = 0; i < COORD_SCANS_MAX; i++) {
        walks[i] = walk_open(svc, 0);
        svc_pass(svc, 1000);
    }
    next.id = walks[0].id; /* the oldest, but used */
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_next, &next), LILIO_OK);
    svc_pass(svc, COORD_SCAN_YIELD_MS - 16000);
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_open, &open), LILIO_E_BUSY);
    svc_pass(svc, 2000);
    (void)walk_open(svc, 0);
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_next, &next), LILIO_OK);
    next.id = walks[1].id;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_next, &next), LILIO_E_NOT_FOUND);
    svc_free(svc);
}
FX_BOTH(idle_walks_make_room)

/* ---- status ---- */

static void status_counts(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 3600000, true);
    struct fx *fx = svc->fx;
    struct proto_bucket bucket = fx_bucket(fx, "b");
    (void)fx_put(fx, &bucket, "a", 1, 5000);
    (void)fx_put(fx, &bucket, "b", 2, 6000);
    assert_int_equal(fx_delete(fx, &bucket, "b"), LILIO_OK);
    svc->alive[0] = true;
    svc_pass(svc, 4000);
    struct proto_status_get ask = {0};
    struct proto_status status;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_status_get, &ask), LILIO_OK);
    svc_reply(svc, &proto_type_status, &status);
    assert_int_equal(status.bucket_count, 1);
    assert_int_equal(status.object_count, 1);
    assert_int_equal(status.object_bytes, 5000);
    assert_int_equal(status.gc_rows, 1);
    assert_int_equal(status.gc_bytes, 6000);
    assert_int_equal(status.session_count, 1);
    assert_int_equal(status.map_bytes, 4242);
    assert_int_equal(status.coordinators_count, 1);
    assert_int_equal(status.coordinators[0].applied_index, fx_row(fx)->applied_index);
    assert_int_equal(status.osd_silent_ms_count, FX_OSDS);
    assert_true(status.osd_silent_ms[0] <= 1000);
    assert_int_equal(status.osd_silent_ms[1], 4000);
    assert_int_equal(status.map.osds[1].state, PROTO_OSD_SUSPECT);
    assert_int_equal(status.map.placements[0].slots.size, 0);
    svc_free(svc);
}
FX_BOTH(status_counts)

static void leases_are_bounded(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_version versions[256];
    struct proto_session_renew renew = {.reading = versions, .reading_count = 256};
    uint64_t first = 0, last = 0;
    enum lilio_err err = LILIO_OK;
    for (uint64_t page = 0; page <= COORD_LEASES_MAX / 256; page++) {
        for (uint64_t i = 0; i < 256; i++)
            versions[i] = (struct proto_version){.index = page * 256 + i + 1};
        last = open_session(svc, 600000);
        first = first ? first : last;
        err = svc_call(svc, last, 0, &proto_type_session_renew, &renew);
        if (err)
            break;
    }
    assert_int_equal(err, LILIO_E_BUSY);
    assert_int_equal(svc_call(svc, first, 0, &proto_type_session_renew, &renew), LILIO_OK);
    struct proto_session_close end = {0};
    assert_int_equal(svc_call(svc, first, 0, &proto_type_session_close, &end), LILIO_OK);
    assert_int_equal(svc_call(svc, last, 0, &proto_type_session_renew, &renew), LILIO_OK);
    svc_free(svc);
}
FX_BOTH(leases_are_bounded)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(sessions_live_by_renewal),
        FX_TESTS(restart_gives_sessions_their_full_time),
        FX_TESTS(stalled_process_takes_nobody_for_silent),
        FX_TESTS(close_is_at_once),
        FX_TESTS(nothing_is_answered_before_it_is_durable),
        FX_TESTS(full_round_says_so),
        FX_TESTS(strange_requests_are_refused),
        FX_TESTS(ping_is_answered_at_once),
        FX_TESTS(full_disk_takes_deletes_only),
        FX_TESTS(walk_sees_one_moment),
        FX_TESTS(walk_of_a_small_bucket),
        FX_TESTS(walks_are_few_and_lapse),
        FX_TESTS(idle_walks_make_room),
        FX_TESTS(status_counts),
        FX_TESTS(leases_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
