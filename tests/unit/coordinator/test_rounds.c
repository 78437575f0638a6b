/* Aim: with rounds in flight and roles that change each request is answered exactly once: a change
 * when its entry is applied, a read not before it is confirmed, everything else with NOT_LEADER;
 * cluster time never goes back; what was only proposed is not taken for done. Method: a service
 * whose log is played by the test: single cases, then seeded random orders of requests, closings,
 * applies, confirmations and changes of role, compared with the rows. */
#include "coord_svc.h"

#include <stdlib.h>

#include "coord_audit.h"

#include "base/banned.h"

static void send_create(struct svc *svc, struct svc_call *call, uint64_t sequence, const char *name)
{
    struct proto_bucket_create create = {.name = fx_text(name)};
    svc_send(svc, call, svc->fx->session, sequence, &proto_type_bucket_create, &create);
}

static void send_get(struct svc *svc, struct svc_call *call, const char *name)
{
    struct proto_bucket_get get = {.name = fx_text(name)};
    svc_send(svc, call, 0, 0, &proto_type_bucket_get, &get);
}

static void send_renew(struct svc *svc, struct svc_call *call, uint64_t session)
{
    struct proto_session_renew renew = {0};
    svc_send(svc, call, session, 0, &proto_type_session_renew, &renew);
}

static struct coord_round close_round(struct svc *svc)
{
    struct coord_round round;
    assert_true(coord_service_round(svc->service, &round));
    return round;
}

static void assert_answer(const struct svc_call *call, enum lilio_err err)
{
    assert_int_equal(call->answers, 1);
    assert_int_equal(call->err, err);
}

static void clear(struct svc_call *calls, size_t count)
{
    for (size_t i = 0; i < count; i++)
        svc_call_clear(&calls[i]);
}

static uint64_t open_session(struct svc *svc, uint32_t timeout_ms)
{
    struct proto_session_open open = {.timeout_ms = timeout_ms};
    struct proto_session session;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_session_open, &open), LILIO_OK);
    svc_reply(svc, &proto_type_session, &session);
    return session.id;
}

/* ---- in flight ---- */

static void two_rounds_are_under_way(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    struct svc_call calls[5] = {0};
    struct coord_round none;
    assert_false(coord_service_round(svc->service, &none));
    send_create(svc, &calls[0], 50, "a");
    struct coord_round first = close_round(svc);
    send_create(svc, &calls[1], 51, "b");
    send_get(svc, &calls[2], "a");
    struct coord_round second = close_round(svc);
    assert_true(second.count == 1 && second.reads && !first.reads && second.id > first.id);
    send_create(svc, &calls[3], 52, "c");
    assert_false(coord_service_round(svc->service, &none)); /* two are under way */
    send_get(svc, &calls[4], "b");
    struct coord_round third = close_round(svc); /* reads go on */
    assert_true(third.count == 0 && third.reads);
    svc_apply(svc, &first);
    assert_answer(&calls[0], LILIO_OK);
    assert_int_equal(calls[1].answers + calls[2].answers + calls[3].answers + calls[4].answers, 0);
    struct coord_round fourth = close_round(svc);
    assert_true(fourth.count == 1 && !fourth.reads);
    svc_apply(svc, &second);
    assert_answer(&calls[1], LILIO_OK);
    assert_int_equal(calls[2].answers, 0); /* applied is not confirmed */
    coord_service_confirmed(svc->service, first.id);
    assert_int_equal(calls[2].answers, 0); /* asked after that */
    coord_service_confirmed(svc->service, third.id);
    assert_answer(&calls[2], LILIO_OK);
    assert_answer(&calls[4], LILIO_OK);
    svc_apply(svc, &fourth);
    assert_answer(&calls[3], LILIO_OK);
    coord_service_applied(svc->service, second.id, svc->results); /* again: ignored */
    assert_false(coord_service_round(svc->service, &none));
    clear(calls, 5);
    svc_free(svc);
}

/* It begins when it is as large as the one under way, or when nothing is under way. */
static void second_round_is_not_smaller(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    struct svc_call calls[8] = {0};
    struct coord_round none;
    for (size_t i = 0; i < 3; i++)
        send_create(svc, &calls[i], 50 + i, "a");
    struct coord_round first = close_round(svc);
    for (size_t i = 3; i < 6; i++) {
        assert_false(coord_service_round(svc->service, &none));
        send_create(svc, &calls[i], 50 + i, "b");
    }
    struct coord_round second = close_round(svc);
    assert_true(first.count == 3 && second.count == 3);
    send_create(svc, &calls[6], 56, "c");
    svc_apply(svc, &first);
    assert_false(coord_service_round(svc->service, &none));
    send_get(svc, &calls[7], "a");
    struct coord_round reads = close_round(svc); /* reads do not wait for that */
    assert_true(reads.count == 0 && reads.reads);
    svc_apply(svc, &second);
    struct coord_round third = close_round(svc);
    assert_int_equal(third.count, 1);
    svc_apply(svc, &third);
    coord_service_confirmed(svc->service, third.id);
    for (size_t i = 0; i < 8; i++)
        assert_answer(&calls[i], i == 1 || i == 2 || i == 4 || i == 5 ? LILIO_E_EXISTS : LILIO_OK);
    clear(calls, 8);
    svc_free(svc);
}

/* The bodies of all requests that wait are bounded, over all rounds. */
static void what_waits_is_bounded(void **unused)
{
    (void)unused;
    enum { CALLS = 3000 };
    struct svc *svc = svc_new(false, 1000, true);
    static struct svc_call calls[CALLS];
    size_t sent = 0;
    struct coord_round round, rounds[2] = {0};
    for (size_t i = 0; i < 3; i++) {
        while (!coord_service_full(svc->service)) {
            send_create(svc, &calls[sent], 100 + sent, "same");
            sent++;
        }
        assert_int_equal(coord_service_round(svc->service, &round), i < 2);
        if (i < 2)
            rounds[i] = round;
        assert_int_equal(coord_service_full(svc->service), i == 2);
    }
    for (size_t i = 0; i < 2; i++)
        svc_apply(svc, &rounds[i]);
    svc_pump(svc);
    for (size_t i = 0; i < sent; i++)
        assert_answer(&calls[i], i ? LILIO_E_EXISTS : LILIO_OK);
    clear(calls, sent);
    svc_free(svc);
}

/* However a request is answered, its bytes make room for the next one. */
static void what_is_answered_is_let_go(void **unused)
{
    (void)unused;
    enum { EACH = 3000 }; /* half of them reads, half commands; either more than may wait */
    struct svc *svc = svc_new(false, 1000, true);
    struct svc_call call = {0};
    struct proto_collect_job jobs[256];
    for (size_t i = 0; i < 256; i++)
        jobs[i] = (struct proto_collect_job){.oid = base_oid_make(0, 9, i)};
    struct proto_osd_heartbeat beat = {.osd = 99, .collected = jobs, .collected_count = 256};
    struct proto_commit commit =
        fx_commit_inline(svc->fx, &(struct proto_bucket){.id = 1}, "k", COORD_INLINE_MAX, 1);
    for (uint64_t i = 0; i < 4 * EACH; i++) {
        assert_false(coord_service_full(svc->service));
        if (i % 2)
            svc_send(svc, &call, 0, 0, &proto_type_osd_heartbeat, &beat);
        else
            svc_send(svc, &call, svc->fx->session, 100 + i, &proto_type_commit, &commit);
        if (i < 2 * EACH) {
            svc_pump(svc);
        } else {
            coord_service_follow(svc->service, NULL);
            assert_int_equal(coord_service_lead(svc->service, NULL), LILIO_OK);
        }
        assert_int_equal(call.answers, 1);
    }
    svc_call_clear(&call);
    svc_free(svc);
}

/* ---- cluster time ---- */

static uint64_t entry_time(struct svc *svc, struct base_slice command)
{
    struct proto_entry entry;
    assert_int_equal(proto_entry_unpack(command, svc->fx->arena, &entry, NULL), LILIO_OK);
    return entry.cluster_ms;
}

static void time_never_goes_back(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    struct svc_call *calls = calloc(2000, sizeof *calls);
    assert_non_null(calls);
    uint64_t seed = 7, last = fx_row(svc->fx)->cluster_ms, sequence = 100;
    struct coord_round rounds[2];
    size_t under_way = 0;
    for (int step = 0; step < 2000; step++) {
        svc->now_ms += fx_random(&seed, 10) ? fx_random(&seed, 50) : fx_random(&seed, 20000);
        for (int idle = fx_random(&seed, 40) ? 0 : 20; idle > 0; idle--) {
            svc->now_ms += 1000;
            coord_service_tick(svc->service);
        }
        send_create(svc, &calls[step], sequence++, "x");
        struct coord_round round;
        if (coord_service_round(svc->service, &round)) {
            uint64_t first = entry_time(svc, round.commands[0]),
                     newest = entry_time(svc, round.commands[round.count - 1]);
            assert_true(first >= last && newest >= first);
            assert_true(newest - last <= COORD_STEP_MS_MAX);
            last = newest;
            rounds[under_way++] = round;
        }
        if (under_way == 2 || fx_random(&seed, 3) == 0) {
            for (size_t i = 0; i < under_way; i++)
                svc_apply(svc, &rounds[i]);
            under_way = 0;
            assert_int_equal(fx_row(svc->fx)->cluster_ms, last);
        }
        if (fx_random(&seed, 50) == 0) { /* what was not applied never was */
            coord_service_follow(svc->service, NULL);
            under_way = 0;
            last = fx_row(svc->fx)->cluster_ms;
            assert_int_equal(coord_service_lead(svc->service, NULL), LILIO_OK);
        }
        proto_arena_clear(svc->fx->arena);
    }
    coord_service_follow(svc->service, NULL);
    for (int step = 0; step < 2000; step++)
        assert_int_equal(calls[step].answers, 1);
    clear(calls, 2000);
    free(calls);
    svc_free(svc);
}

/* ---- sessions and OSDs while entries are under way ---- */

/* The end of a session is under way: what it asks for is decided behind it, and nothing is
 * promised; a leader that is deposed before has not ended it. */
static void expiry_counts_when_it_is_applied(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    struct svc_call calls[4] = {0};
    uint64_t session = open_session(svc, 1000);
    svc->now_ms += 1250;
    coord_service_tick(svc->service);
    struct coord_round end = close_round(svc);
    assert_int_equal(end.count, 1);
    for (int i = 0; i < 8; i++) { /* proposed once, not with each tick */
        svc->now_ms += 250;
        coord_service_tick(svc->service);
    }
    send_renew(svc, &calls[0], session);
    struct proto_bucket_create create = {.name = fx_text("b")};
    svc_send(svc, &calls[1], session, 1, &proto_type_bucket_create, &create);
    struct coord_round round = close_round(svc);
    assert_int_equal(round.count, 1);
    coord_service_confirmed(svc->service, round.id);
    assert_answer(&calls[0], LILIO_E_BUSY);
    assert_int_equal(calls[1].answers, 0);
    coord_service_follow(svc->service, "inproc://d");
    assert_answer(&calls[1], LILIO_E_NOT_LEADER);
    assert_int_equal(coord_service_lead(svc->service, NULL), LILIO_OK);
    send_renew(svc, &calls[2], session); /* it never ended */
    svc_pump(svc);
    assert_answer(&calls[2], LILIO_OK);
    svc->now_ms += 1250;
    coord_service_tick(svc->service);
    end = close_round(svc);
    svc_send(svc, &calls[3], session, 1, &proto_type_bucket_create, &create);
    round = close_round(svc);
    svc_apply(svc, &end);
    svc_apply(svc, &round);
    assert_answer(&calls[3], LILIO_E_SESSION_CLOSED);
    clear(calls, 4);
    svc_free(svc);
}

/* Two renewals change places with a role: the lease of a leader that was deposed is none. */
static void lease_needs_confirmation(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    struct svc_call call = {0};
    uint64_t session = open_session(svc, 600000);
    struct proto_version version = {.index = 3};
    struct proto_session_renew renew = {.reading = &version, .reading_count = 1};
    svc_send(svc, &call, session, 1, &proto_type_session_renew, &renew);
    struct coord_round round = close_round(svc);
    assert_true(round.reads);
    svc_pump(svc);
    assert_int_equal(call.answers, 0);
    coord_service_follow(svc->service, "inproc://d");
    assert_answer(&call, LILIO_E_NOT_LEADER);
    coord_service_confirmed(svc->service, round.id);
    assert_int_equal(call.answers, 1);
    svc_call_clear(&call);
    svc_free(svc);
}

static void osd_states_are_proposed_once(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    for (int i = 0; i < 41; i++) {
        svc->now_ms += 250;
        coord_service_tick(svc->service);
    }
    struct coord_round down = close_round(svc);
    assert_int_equal(down.count, 1); /* all that went silent, in one command */
    struct coord_round none;
    for (int i = 0; i < 8; i++) {
        svc->now_ms += 250;
        coord_service_tick(svc->service);
        assert_false(coord_service_round(svc->service, &none));
    }
    svc_apply(svc, &down);
    for (uint32_t i = 0; i < FX_OSDS; i++)
        assert_int_equal(svc_row(svc, i), PROTO_OSD_DOWN);
    struct proto_osd_bind bind = {.osd = 2, .disk_uuid = fx_uuid(77), .rebuild = true};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_osd_bind, &bind), LILIO_OK);
    svc_pass(svc, 9000);
    assert_int_equal(svc_row(svc, 2), PROTO_OSD_UP);
    svc_pass(svc, 2000); /* to the same state as before, by another entry */
    assert_int_equal(svc_row(svc, 2), PROTO_OSD_DOWN);
    svc_free(svc);
}

/* ---- roles ---- */

static void deposed_leader_answers_everything_once(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    struct fx *fx = svc->fx;
    struct svc_call calls[7] = {0};
    struct proto_osd_heartbeat beat = {.osd = 1, .incarnation = 1, .disk_uuid = fx_uuid(1)};
    struct proto_scan_open walk = {0};
    send_create(svc, &calls[0], 60, "a");
    struct coord_round first = close_round(svc);
    send_create(svc, &calls[1], 61, "b");
    svc_send(svc, &calls[2], 0, 0, &proto_type_osd_heartbeat, &beat);
    struct coord_round second = close_round(svc);
    send_create(svc, &calls[3], 62, "c");
    send_get(svc, &calls[4], "a");
    svc_send(svc, &calls[5], 0, 0, &proto_type_scan_open, &walk);
    svc_apply_only(svc, first.commands, first.count); /* it is committed, and not answered yet */
    coord_service_follow(svc->service, "inproc://other");
    for (size_t i = 0; i < 6; i++) {
        assert_answer(&calls[i], LILIO_E_NOT_LEADER);
        assert_string_equal(calls[i].leader, "inproc://other");
        assert_int_equal(calls[i].taken, i < 2); /* what was in no entry was not done */
    }
    coord_service_applied(svc->service, first.id, svc->results);
    coord_service_applied(svc->service, second.id, svc->results);
    coord_service_confirmed(svc->service, second.id);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(calls[i].answers, 1);
    assert_int_equal(coord_service_lead(svc->service, NULL), LILIO_OK);
    send_create(svc, &calls[6], 60, "a"); /* the client asks again: the request id decides */
    svc_pump(svc);
    assert_answer(&calls[6], LILIO_OK);
    assert_int_equal(fx_row(fx)->bucket_count, 1);
    clear(calls, 7);
    svc_free(svc);
}

static void pinned_walks_end_with_the_role(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(true, 1000, true);
    struct proto_scan_open open = {0};
    struct proto_scan scan;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_open, &open), LILIO_OK);
    svc_reply(svc, &proto_type_scan, &scan);
    coord_service_follow(svc->service, "inproc://d");
    assert_int_equal(coord_service_lead(svc->service, NULL), LILIO_OK);
    struct proto_scan_next next = {.id = scan.id};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_next, &next), LILIO_E_NOT_FOUND);
    svc_free(svc);
}

/* A leader that was another coordinator meanwhile knows nothing of before: full time for all, no
 * lease is taken for gone before its session has said so. */
static void new_leader_gives_full_time(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    uint64_t session = open_session(svc, 5000);
    svc_pass(svc, 4500);
    for (int i = 0; i < 5; i++) {
        coord_service_follow(svc->service, "inproc://d");
        svc_pass(svc, 9000); /* ticks of a follower do nothing */
        assert_int_equal(coord_service_lead(svc->service, NULL), LILIO_OK);
        svc_pass(svc, 4500);
    }
    assert_int_equal(fx_row(svc->fx)->session_count, 2);
    for (uint32_t i = 0; i < FX_OSDS; i++)
        assert_int_equal(svc_row(svc, i), PROTO_OSD_UP);
    struct svc_call call = {0};
    svc_pass(svc, 1000);
    send_renew(svc, &call, session);
    svc_pump(svc);
    assert_answer(&call, LILIO_E_SESSION_CLOSED);
    svc_call_clear(&call);
    svc_free(svc);
}

/* Superseded while the reader's lease is known to the old leader only. */
static void new_leader_holds_what_may_be_read(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    for (int i = 0; i < FX_OSDS; i++)
        svc->alive[i] = svc->collects[i] = true;
    (void)open_session(svc, 60000);
    (void)fx_put(svc->fx, &bucket, "k", 1, 50000);
    struct proto_delete ask = {.bucket_id = bucket.id, .key = fx_text("k")};
    assert_int_equal(svc_call(svc, svc->fx->session, 90, &proto_type_delete, &ask), LILIO_OK);
    coord_service_follow(svc->service, NULL);
    assert_int_equal(coord_service_lead(svc->service, NULL), LILIO_OK);
    svc_pass(svc, 58000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 1);
    svc_pass(svc, 8000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 0);
    svc_free(svc);
}

/* ---- followers ---- */

static enum lilio_err ask_follower(struct svc *svc, const struct proto_type *type,
                                   const void *value, struct svc_call *call)
{
    struct coord_round round;
    svc_send(svc, call, svc->fx->session, 900, type, value);
    if (call->answers == 0) {
        round = close_round(svc);
        assert_true(round.count == 0 && round.reads);
        assert_int_equal(call->answers, 0);
        coord_service_confirmed(svc->service, round.id);
    }
    assert_int_equal(call->answers, 1);
    return call->err;
}

static void follower_answers_reads_of_the_maps(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 1000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    coord_service_follow(svc->service, "inproc://leader");
    svc_pass(svc, 60000);
    (void)fx_put(svc->fx, &bucket, "k", 1, 100); /* from the log */
    struct svc_call call = {0};
    struct proto_lookup lookup = {.bucket = fx_text("b"), .key = fx_text("k")};
    struct proto_object object;
    assert_int_equal(ask_follower(svc, &proto_type_lookup, &lookup, &call), LILIO_OK);
    svc_call_reply(svc, &call, &proto_type_object, &object);
    assert_int_equal(object.row.logical_size, 100);
    struct proto_bucket_get get = {.name = fx_text("b")};
    struct proto_bucket_list buckets = {0};
    struct proto_data_get data = {.oid = object.row.extents[0].oid};
    struct proto_list list = {.bucket = fx_text("b")};
    assert_int_equal(ask_follower(svc, &proto_type_bucket_get, &get, &call), LILIO_OK);
    assert_int_equal(ask_follower(svc, &proto_type_bucket_list, &buckets, &call), LILIO_OK);
    assert_int_equal(ask_follower(svc, &proto_type_data_get, &data, &call), LILIO_OK);
    assert_int_equal(ask_follower(svc, &proto_type_list, &list, &call), LILIO_OK);
    struct proto_map_get map_get = {0};
    struct proto_map map;
    assert_int_equal(ask_follower(svc, &proto_type_map_get, &map_get, &call), LILIO_OK);
    svc_call_reply(svc, &call, &proto_type_map, &map);
    assert_int_equal(map.map.osds[0].state, PROTO_OSD_UP); /* it hears nobody: as the row says */
    struct proto_status_get status_get = {0};
    struct proto_status status;
    assert_int_equal(ask_follower(svc, &proto_type_status_get, &status_get, &call), LILIO_OK);
    svc_call_reply(svc, &call, &proto_type_status, &status);
    assert_int_equal(status.coordinators_count, 1);
    assert_true(base_slice_equal(status.coordinators[0].role, fx_text("follower")));
    assert_int_equal(status.coordinators[0].term, FX_TERM);
    assert_int_equal(status.osd_silent_ms_count, 0);
    assert_int_equal(status.object_count, 1);
    svc_call_clear(&call);
    svc_free(svc);
}
FX_BOTH(follower_answers_reads_of_the_maps)

/* Asked of itself it answers at once, whether anybody leads or not; that is nobody's word for the
 * maps, so there are none in it. */
static void each_tells_of_itself_without_a_leader(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    (void)fx_put(svc->fx, &bucket, "k", 1, 100);
    struct svc_call call = {0};
    struct proto_status status;
    static const char *const leaders[] = {"inproc://leader", NULL};
    for (size_t i = 0; i < 2; i++) {
        struct proto_status_get ask = {.self = true};
        coord_service_follow(svc->service, leaders[i]);
        svc_send(svc, &call, 0, 0, &proto_type_status_get, &ask);
        assert_int_equal(call.answers, 1);
        svc_call_reply(svc, &call, &proto_type_status, &status);
        assert_int_equal(status.coordinators_count, 1);
        assert_true(status.coordinators[0].applied_index > 0);
        assert_int_equal(status.object_count, 0);
        assert_int_equal(status.map.osds_count, 0);
    }
    struct proto_status_get ask = {0};
    svc_send(svc, &call, 0, 0, &proto_type_status_get, &ask);
    assert_int_equal(call.err, LILIO_E_NOT_LEADER);
    svc_call_clear(&call);
    svc_free(svc);
}

static void follower_sends_the_rest_to_the_leader(void **unused)
{
    (void)unused;
    static const uint16_t leaders[] = {PROTO_MSG_commit,
                                       PROTO_MSG_stage,
                                       PROTO_MSG_copy,
                                       PROTO_MSG_delete,
                                       PROTO_MSG_discard,
                                       PROTO_MSG_bucket_create,
                                       PROTO_MSG_bucket_delete,
                                       PROTO_MSG_session_open,
                                       PROTO_MSG_session_renew,
                                       PROTO_MSG_session_close,
                                       PROTO_MSG_report,
                                       PROTO_MSG_verified,
                                       PROTO_MSG_scan_open,
                                       PROTO_MSG_scan_next,
                                       PROTO_MSG_scan_close,
                                       PROTO_MSG_osd_hello,
                                       PROTO_MSG_osd_bind,
                                       PROTO_MSG_osd_heartbeat,
                                       PROTO_MSG_osd_complete,
                                       PROTO_MSG_osd_drain,
                                       PROTO_MSG_coordinator_change,
                                       PROTO_MSG_coordinator_transfer};
    struct svc *svc = svc_new(false, 1000, true);
    struct svc_call call = {0};
    struct coord_round none;
    for (int known = 0; known < 2; known++) {
        const char *leader = known ? "inproc://leader" : "";
        coord_service_follow(svc->service, leader);
        for (size_t i = 0; i < sizeof leaders / sizeof *leaders; i++) {
            struct coord_request request = {.token = &call, .type = proto_type_find(leaders[i])};
            svc_call_clear(&call);
            coord_service_receive(svc->service, &request);
            assert_answer(&call, LILIO_E_NOT_LEADER);
            assert_string_equal(call.leader, leader);
        }
        struct proto_ping ping = {0};
        struct proto_pong pong;
        svc_send(svc, &call, 0, 0, &proto_type_ping, &ping);
        svc_call_reply(svc, &call, &proto_type_pong, &pong);
        assert_true(base_slice_equal(pong.state, fx_text(known ? "serving" : "no leader")));
        send_get(svc, &call, "b"); /* nobody could confirm it */
        assert_int_equal(call.answers, known ? 0 : 1);
        assert_int_equal(coord_service_round(svc->service, &none), known);
    }
    coord_service_follow(svc->service, "inproc://next");
    assert_answer(&call, LILIO_E_NOT_LEADER);
    assert_null(svc->quorum);
    svc_call_clear(&call);
    svc_free(svc);
}

/* Reads of a follower that becomes the leader are asked again, of itself. */
static void reads_outlive_an_election_that_is_won(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    struct svc_call call = {0};
    coord_service_follow(svc->service, "inproc://leader");
    send_get(svc, &call, "b");
    struct coord_round lost = close_round(svc);
    assert_int_equal(coord_service_lead(svc->service, NULL), LILIO_OK);
    coord_service_confirmed(svc->service, lost.id); /* of the term before */
    assert_int_equal(call.answers, 0);
    struct coord_round round = close_round(svc);
    coord_service_confirmed(svc->service, round.id);
    assert_answer(&call, LILIO_E_NO_BUCKET);
    svc_call_clear(&call);
    svc_free(svc);
}

static void quorum_requests_go_to_the_port(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    struct svc_call call = {0};
    struct proto_coordinator_change change = {.change = 3, .id = 1};
    svc_send(svc, &call, 0, 0, &proto_type_coordinator_change, &change);
    assert_ptr_equal(svc->quorum, &call);
    assert_int_equal(call.answers, 0);
    svc_call_clear(&call);
    svc_free(svc);
}

/* A member without maps: it leads so that the cluster can be made. */
static void cluster_that_is_not_made_yet(void **unused)
{
    (void)unused;
    struct svc *svc = svc_new(false, 1000, true);
    struct fx *made = svc->fx, *empty = fx_new(false);
    struct svc_call call = {0};
    coord_service_follow(svc->service, "inproc://leader");
    coord_service_use(svc->service, empty->kv, empty->state);
    send_get(svc, &call, "b");
    assert_answer(&call, LILIO_E_UNAVAILABLE);
    assert_int_equal(coord_state_advance(empty->state, 1, 1, NULL, NULL), LILIO_OK);
    assert_int_equal(coord_state_commit(empty->state, false, NULL), LILIO_OK);
    assert_int_equal(coord_service_lead(svc->service, NULL), LILIO_OK);
    send_create(svc, &call, 1, "b");
    assert_answer(&call, LILIO_E_UNAVAILABLE);
    struct base_slice first = base_buffer_slice(&made->history[0].commands[0]);
    svc->fx = empty;
    svc_apply_only(svc, &first, 1);
    send_get(svc, &call, "b");
    svc_pump(svc);
    assert_answer(&call, LILIO_E_NO_BUCKET);
    coord_service_follow(svc->service, NULL);
    coord_service_use(svc->service, made->kv, made->state);
    svc->fx = made;
    svc_call_clear(&call);
    fx_free(empty);
    svc_free(svc);
}

/* ---- any order ---- */

enum { CALLS = 4000, NAMES = 400 };

struct storm {
    struct svc *svc;
    uint64_t seed, sequence;
    struct svc_call *calls;
    uint64_t *names; /* of a create; 0 = another request */
    size_t sent;
    bool leads;
    struct coord_round rounds[COORD_ROUNDS_MAX]; /* with commands, not applied */
    size_t under_way;
    uint64_t closed; /* newest round */
};

static void storm_send(struct storm *storm)
{
    struct svc_call *call = &storm->calls[storm->sent];
    uint64_t session = storm->svc->fx->session, number = 1 + fx_random(&storm->seed, NAMES);
    char name[16];
    (void)snprintf(name, sizeof name, "n%llu", (unsigned long long)number);
    struct proto_osd_heartbeat beat = {.osd = 2, .incarnation = 1, .disk_uuid = fx_uuid(2)};
    struct proto_session_renew renew = {0};
    switch (fx_random(&storm->seed, 4)) {
    case 0: send_get(storm->svc, call, name); break;
    case 1: svc_send(storm->svc, call, 0, 0, &proto_type_osd_heartbeat, &beat); break;
    case 2: svc_send(storm->svc, call, session, 0, &proto_type_session_renew, &renew); break;
    default:
        storm->names[storm->sent] = number;
        send_create(storm->svc, call, ++storm->sequence, name);
        break;
    }
    storm->sent++;
}

static void storm_close(struct storm *storm)
{
    struct coord_round round;
    if (!coord_service_round(storm->svc->service, &round))
        return;
    assert_true(round.id > storm->closed);
    storm->closed = round.id;
    if (round.count > 0)
        storm->rounds[storm->under_way++] = round;
}

static void storm_apply(struct storm *storm, bool tell)
{
    if (storm->under_way == 0)
        return;
    struct coord_round round = storm->rounds[0];
    memmove(storm->rounds, storm->rounds + 1, sizeof storm->rounds - sizeof *storm->rounds);
    storm->under_way--;
    if (tell)
        svc_apply(storm->svc, &round);
    else
        svc_apply_only(storm->svc, round.commands, round.count);
}

/* The next leader has some prefix of what was under way. */
static void storm_role(struct storm *storm)
{
    if (!storm->leads) {
        assert_int_equal(coord_service_lead(storm->svc->service, NULL), LILIO_OK);
        storm->leads = true;
        return;
    }
    while (storm->under_way > 0 && fx_random(&storm->seed, 2))
        storm_apply(storm, false /* nobody is told */);
    coord_service_follow(storm->svc->service, fx_random(&storm->seed, 2) ? "inproc://x" : NULL);
    storm->under_way = 0;
    storm->leads = false;
}

static void storm_step(struct storm *storm)
{
    storm->svc->now_ms += fx_random(&storm->seed, 30);
    switch (fx_random(&storm->seed, 16)) {
    case 0:
    case 1:
    case 2: storm_close(storm); break;
    case 3:
    case 4:
    case 5: storm_apply(storm, true); break;
    case 6:
    case 7: coord_service_confirmed(storm->svc->service, storm->closed); break;
    case 8: coord_service_tick(storm->svc->service); break;
    case 9:
        if (fx_random(&storm->seed, 6) == 0)
            storm_role(storm);
        break;
    default:
        if (storm->sent < CALLS && !coord_service_full(storm->svc->service))
            storm_send(storm);
        break;
    }
}

/* Whether a bucket is there now. */
static bool is_there(struct svc *svc, uint64_t number)
{
    struct coord_view view = coord_state_view(svc->fx->state, NULL, svc->fx->arena);
    struct proto_bucket bucket;
    char name[16];
    (void)snprintf(name, sizeof name, "n%llu", (unsigned long long)number);
    return coord_read_bucket(&view, fx_text(name), &bucket, NULL) == LILIO_OK;
}

static void any_order_answers_each_once(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct svc *svc = svc_new(false, 1000, true);
        struct storm storm = {.svc = svc, .seed = seed, .sequence = 100, .leads = true};
        storm.calls = calloc(CALLS, sizeof *storm.calls);
        storm.names = calloc(CALLS, sizeof *storm.names);
        assert_true(storm.calls && storm.names);
        for (int step = 0; step < 6000; step++)
            storm_step(&storm);
        if (storm.leads)
            storm_role(&storm);
        coord_service_follow(svc->service, NULL);
        size_t granted = 0, redirected = 0;
        bool made[NAMES + 1] = {false};
        for (size_t i = 0; i < storm.sent; i++) {
            const struct svc_call *call = &storm.calls[i];
            assert_int_equal(call->answers, 1);
            redirected += call->err == LILIO_E_NOT_LEADER;
            if (!storm.names[i] || call->err)
                continue;
            assert_false(made[storm.names[i]]); /* granted once */
            assert_true(is_there(svc, storm.names[i]));
            made[storm.names[i]] = true;
            granted++;
            proto_arena_clear(svc->fx->arena);
        }
        assert_true(granted > 20 && redirected > 20);
        coord_audit(svc->fx);
        clear(storm.calls, storm.sent);
        free(storm.calls);
        free(storm.names);
        svc_free(svc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_rounds_are_under_way),
        cmocka_unit_test(second_round_is_not_smaller),
        cmocka_unit_test(what_waits_is_bounded),
        cmocka_unit_test(what_is_answered_is_let_go),
        cmocka_unit_test(time_never_goes_back),
        cmocka_unit_test(expiry_counts_when_it_is_applied),
        cmocka_unit_test(lease_needs_confirmation),
        cmocka_unit_test(osd_states_are_proposed_once),
        cmocka_unit_test(deposed_leader_answers_everything_once),
        cmocka_unit_test(pinned_walks_end_with_the_role),
        cmocka_unit_test(new_leader_gives_full_time),
        cmocka_unit_test(new_leader_holds_what_may_be_read),
        FX_TESTS(follower_answers_reads_of_the_maps),
        cmocka_unit_test(each_tells_of_itself_without_a_leader),
        cmocka_unit_test(follower_sends_the_rest_to_the_leader),
        cmocka_unit_test(reads_outlive_an_election_that_is_won),
        cmocka_unit_test(quorum_requests_go_to_the_port),
        cmocka_unit_test(cluster_that_is_not_made_yet),
        cmocka_unit_test(any_order_answers_each_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
