/* Aim: superseded and deleted runs are collected after the grace and never while somebody reads
 * them; what a writer gave up goes at once; an OSD that is away keeps its part until it is back and
 * stands in nobody's way; none of it is forgotten by a restart or done by a jump of the clock
 * (design rules 3, 4, 5). Method: a service on virtual time with OSDs that collect or not; rows
 * counted at the moments around each deadline. */
#include "coord_svc.h"

#include "coord_audit.h"

#include "base/banned.h"

enum { GRACE = 20000 };

static struct svc *cluster(bool rocksdb, uint64_t grace, bool fresh)
{
    struct svc *svc = svc_new(rocksdb, grace, fresh);
    for (int i = 0; i < FX_OSDS; i++)
        svc->alive[i] = svc->collects[i] = true;
    svc_pass(svc, 2000);
    return svc;
}

/* Through the service, so that cluster time is what it is. */
static void rm(struct svc *svc, const struct proto_bucket *bucket, const char *key)
{
    struct proto_delete ask = {.bucket_id = bucket->id, .key = fx_text(key)};
    assert_int_equal(svc_call(svc, svc->fx->session, ++svc->fx->sequence, &proto_type_delete, &ask),
                     LILIO_OK);
}

static void deleted_run_goes_after_the_grace(bool rocksdb)
{
    struct svc *svc = cluster(rocksdb, GRACE, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    (void)fx_put(svc->fx, &bucket, "k", 1, 50000);
    (void)fx_put(svc->fx, &bucket, "k", 2, 60000); /* supersedes */
    rm(svc, &bucket, "k");
    assert_int_equal(fx_row(svc->fx)->gc_count, 2);
    svc_pass(svc, GRACE - 1000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 2);
    for (uint32_t i = 0; i < FX_OSDS; i++)
        assert_int_equal(svc->collected[i], 0);
    svc_pass(svc, 12000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 0);
    assert_int_equal(fx_row(svc->fx)->gc_bytes, 0);
    assert_int_equal(fx_row(svc->fx)->data_count, 0);
    for (uint32_t i = 0; i < FX_OSDS; i++)
        assert_int_equal(svc->collected[i], 2);
    coord_audit(svc->fx);
    svc_free(svc);
}
FX_BOTH(deleted_run_goes_after_the_grace)

static void discarded_run_goes_at_once(bool rocksdb)
{
    struct svc *svc = cluster(rocksdb, 3600000, false /* also right after a restart */);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    struct proto_collect_job job = {.oid = base_oid_make(0, svc->fx->session, 9),
                                    .placement = bucket.placement,
                                    .stripe_count = 3};
    struct proto_discard discard = {.jobs = &job, .jobs_count = 1};
    assert_int_equal(fx_do(svc->fx, &proto_type_discard, &discard), LILIO_OK);
    svc_pass(svc, 5000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 0);
    assert_int_equal(svc->todo[0][0].stripe_count, 3);
    svc_free(svc);
}
FX_BOTH(discarded_run_goes_at_once)

static void renew(struct svc *svc, uint64_t session, uint64_t sequence,
                  struct proto_version *versions, size_t count)
{
    struct proto_session_renew ask = {.reading = versions, .reading_count = count};
    assert_int_equal(svc_call(svc, session, sequence, &proto_type_session_renew, &ask), LILIO_OK);
}

static void lease(struct svc *svc, uint64_t session, struct proto_version version)
{
    renew(svc, session, 0, &version, 1);
}

static uint64_t open_session(struct svc *svc, uint32_t timeout_ms)
{
    struct proto_session_open open = {.timeout_ms = timeout_ms};
    struct proto_session session;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_session_open, &open), LILIO_OK);
    svc_reply(svc, &proto_type_session, &session);
    return session.id;
}

static void reader_keeps_its_version(bool rocksdb)
{
    struct svc *svc = cluster(rocksdb, GRACE, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    uint64_t reader = open_session(svc, 60000);
    struct proto_version read = fx_put(svc->fx, &bucket, "read", 1, 50000);
    (void)fx_put(svc->fx, &bucket, "other", 2, 50000);
    rm(svc, &bucket, "read");
    rm(svc, &bucket, "other");
    for (int i = 0; i < 20; i++) { /* 300 s, fifteen graces */
        lease(svc, reader, read);
        svc_pass(svc, 15000);
    }
    assert_int_equal(fx_row(svc->fx)->gc_count, 1);
    struct coord_view view = coord_state_view(svc->fx->state, NULL, svc->fx->arena);
    struct proto_data_row row; /* and its run can be looked up all the time */
    assert_int_equal(coord_read_data(&view, base_oid_make(0, svc->fx->session, 1), &row, NULL),
                     LILIO_OK);
    svc_pass(svc, 60000 - 15000 - 1000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 1);
    svc_pass(svc, 8000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 0);
    svc_free(svc);
}
FX_BOTH(reader_keeps_its_version)

/* The space comes back when the reader is done, however long its session might be silent. */
static void lease_ends_with_the_reader(bool rocksdb)
{
    struct svc *svc = cluster(rocksdb, 1000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    uint64_t closes = open_session(svc, 600000), stays = open_session(svc, 600000);
    struct proto_version both[2] = {fx_put(svc->fx, &bucket, "one", 1, 50000),
                                    fx_put(svc->fx, &bucket, "two", 2, 50000)};
    renew(svc, closes, 1, both, 2);
    renew(svc, stays, 1, both, 2);
    rm(svc, &bucket, "one");
    rm(svc, &bucket, "two");
    svc_pass(svc, 10000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 2);
    struct proto_session_close end = {0};
    assert_int_equal(svc_call(svc, closes, 0, &proto_type_session_close, &end), LILIO_OK);
    svc_pass(svc, 10000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 2); /* the other one reads both */
    renew(svc, stays, 3, &both[1], 1);
    svc_pass(svc, 5000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 1);
    renew(svc, stays, 2, NULL, 0); /* overtaken by the one before */
    svc_pass(svc, 5000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 1);
    renew(svc, stays, 4, NULL, 0);
    svc_pass(svc, 5000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 0);
    svc_free(svc);
}
FX_BOTH(lease_ends_with_the_reader)

/* Time goes on until an entry of this type is proposed, and not further. */
static void await_entry(struct svc *svc, const struct proto_type *type,
                        struct coord_round *ret_round)
{
    for (;; svc->now_ms += 250) {
        coord_service_tick(svc->service);
        while (coord_service_round(svc->service, ret_round)) {
            for (size_t i = 0; i < ret_round->count; i++) {
                struct proto_entry entry;
                assert_int_equal(proto_unpack(&proto_type_entry, ret_round->commands[i],
                                              svc->fx->arena, &entry, NULL),
                                 LILIO_OK);
                if (entry.type == type->number)
                    return;
            }
            svc_apply(svc, ret_round);
            coord_service_confirmed(svc->service, ret_round->id);
        }
    }
}

/* Between the proposal of a session's end and the entry nobody can say whether it lives on. */
static void renewal_of_a_session_that_ends_is_put_off(bool rocksdb)
{
    struct svc *svc = cluster(rocksdb, GRACE, true);
    uint64_t session = open_session(svc, 5000);
    struct proto_session_renew ask = {0};
    struct coord_round expiry, read;
    await_entry(svc, &proto_type_session_expire, &expiry);
    struct svc_call call = {0};
    svc_send(svc, &call, session, 1, &proto_type_session_renew, &ask);
    assert_true(coord_service_round(svc->service, &read));
    coord_service_confirmed(svc->service, read.id);
    assert_int_equal(call.answers, 1);
    assert_int_equal(call.err, LILIO_E_BUSY);
    svc_apply(svc, &expiry);
    assert_int_equal(svc_call(svc, session, 2, &proto_type_session_renew, &ask),
                     LILIO_E_SESSION_CLOSED);
    svc_call_clear(&call);
    svc_free(svc);
}
FX_BOTH(renewal_of_a_session_that_ends_is_put_off)

/* Leases are in memory only: after a restart nobody's version goes before every session that was
 * open has renewed or expired. */
static void restart_waits_for_its_readers(bool rocksdb)
{
    struct svc *svc = cluster(rocksdb, GRACE, true);
    (void)open_session(svc, 90000);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    (void)fx_put(svc->fx, &bucket, "k", 1, 50000);
    rm(svc, &bucket, "k");
    svc_pass(svc, GRACE - 5000);
    svc_restart(svc);
    svc_pass(svc, 90000 - 2000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 1);
    svc_pass(svc, 10000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 0);
    svc_free(svc);
}
FX_BOTH(restart_waits_for_its_readers)

/* The clock leaps by a day in one step: cluster time goes on by its cap, nothing is collected
 * early. */
static void clock_jump_deletes_nothing(bool rocksdb)
{
    struct svc *svc = cluster(rocksdb, 3600000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    (void)fx_put(svc->fx, &bucket, "k", 1, 50000);
    rm(svc, &bucket, "k");
    uint64_t before = fx_row(svc->fx)->cluster_ms;
    svc_pass(svc, 10000);
    svc->now_ms += 86400000;
    svc_pass(svc, 10000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 1);
    assert_true(fx_row(svc->fx)->cluster_ms - before <= 40000);
    svc_free(svc);
}
FX_BOTH(clock_jump_deletes_nothing)

static void osd_that_is_away_keeps_its_part(bool rocksdb)
{
    struct svc *svc = cluster(rocksdb, GRACE, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    for (uint64_t i = 1; i <= 3; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k%llu", (unsigned long long)i);
        (void)fx_put(svc->fx, &bucket, key, i, 50000);
        rm(svc, &bucket, key);
    }
    svc->alive[2] = svc->alive[4] = false;
    svc_pass(svc, GRACE + 30000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 3);
    for (uint32_t i = 0; i < FX_OSDS; i++)
        assert_int_equal(svc->collected[i], i == 2 || i == 4 ? 0 : 3);
    coord_audit(svc->fx);
    svc_restart(svc);
    svc_pass(svc, 90000);
    for (uint32_t i = 0; i < FX_OSDS; i++) /* the others are not asked over and over */
        assert_int_equal(svc->collected[i], i == 2 || i == 4 ? 0 : 3);
    svc->alive[2] = true;
    svc_pass(svc, 10000);
    assert_int_equal(svc->collected[2], 3);
    assert_int_equal(fx_row(svc->fx)->gc_count, 3); /* osd.4 is still away */
    assert_int_equal(fx_row(svc->fx)->data_count, 3);
    svc->alive[4] = true;
    svc_pass(svc, 10000);
    assert_int_equal(svc->collected[4], 3);
    assert_int_equal(fx_row(svc->fx)->gc_count, 0);
    assert_int_equal(fx_row(svc->fx)->data_count, 0);
    coord_audit(svc->fx);
    svc_free(svc);
}
FX_BOTH(osd_that_is_away_keeps_its_part)

/* An OSD goes away, its row is about to be filed under it, and then its confirmation comes. */
static void confirmed_while_it_is_filed(bool rocksdb)
{
    struct svc *svc = cluster(rocksdb, GRACE, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    (void)fx_put(svc->fx, &bucket, "k", 1, 50000);
    rm(svc, &bucket, "k");
    svc->collects[4] = false;
    svc_pass(svc, GRACE + 3000);
    assert_int_equal(svc->todo_count[4], 1);
    svc->alive[4] = false;
    while (svc_row(svc, 4) == PROTO_OSD_UP)
        svc_pass(svc, 250);
    struct coord_round filed;
    await_entry(svc, &proto_type_gc_done, &filed);

    const struct proto_osd *row =
        coord_state_osd_at(svc->fx->state, coord_state_osd_find(svc->fx->state, 4));
    struct proto_osd_heartbeat beat = {.osd = 4,
                                       .state = PROTO_OSD_UP,
                                       .incarnation = row->incarnation,
                                       .disk_uuid = row->disk_uuid,
                                       .known_epoch = fx_row(svc->fx)->epoch,
                                       .collected = svc->todo[4],
                                       .collected_count = 1};
    struct svc_call call = {0};
    svc_send(svc, &call, 0, 0, &proto_type_osd_heartbeat, &beat);
    svc_apply(svc, &filed);
    coord_service_confirmed(svc->service, filed.id);
    svc_pump(svc);
    assert_int_equal(call.answers, 1);
    assert_int_equal(fx_row(svc->fx)->gc_count, 1);

    svc->alive[4] = svc->collects[4] = true;
    svc_pass(svc, 10000);
    assert_int_equal(svc_row(svc, 4), PROTO_OSD_UP);
    assert_int_equal(fx_row(svc->fx)->gc_count, 0);
    assert_int_equal(fx_row(svc->fx)->data_count, 0);
    coord_audit(svc->fx);
    svc_call_clear(&call);
    svc_free(svc);
}
FX_BOTH(confirmed_while_it_is_filed)

/* More rows wait for a dead OSD than jobs are kept: the others are collected all the same. */
static void dead_osd_stands_in_nobodys_way(bool rocksdb)
{
    struct svc *svc = cluster(rocksdb, 1000, true);
    struct fx *fx = svc->fx;
    struct proto_bucket bucket = fx_bucket(fx, "b");
    uint64_t total = COORD_COLLECTING_MAX + 500;
    svc->alive[5] = false;
    svc_pass(svc, 11000);
    for (uint64_t i = 1; i <= total; i++) {
        struct proto_collect_job job = {.oid = base_oid_make(0, fx->session, i),
                                        .placement = bucket.placement,
                                        .stripe_count = 2};
        struct proto_discard discard = {.jobs = &job, .jobs_count = 1};
        assert_int_equal(fx_do(fx, &proto_type_discard, &discard), LILIO_OK);
        proto_arena_clear(fx->arena);
    }
    svc_pass(svc, 1000 * (total / COORD_COLLECT_MAX * 2 + 20));
    assert_int_equal(svc->collected[0], total);
    assert_int_equal(fx_row(fx)->gc_count, total);
    svc->alive[5] = true;
    svc_pass(svc, 1000 * (total / COORD_COLLECT_MAX * 3 + 20));
    assert_int_equal(svc->collected[5], total);
    assert_int_equal(svc->collected[0], total);
    assert_int_equal(fx_row(fx)->gc_count, 0);
    svc_free(svc);
}
FX_BOTH(dead_osd_stands_in_nobodys_way)

/* An OSD that takes the job and forgets it is asked again; one that does not confirm keeps the row.
 */
static void forgotten_jobs_are_asked_again(bool rocksdb)
{
    struct svc *svc = cluster(rocksdb, 1000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    (void)fx_put(svc->fx, &bucket, "k", 1, 50000);
    rm(svc, &bucket, "k");
    svc->collects[3] = false;
    svc_pass(svc, 10000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 1);
    assert_int_equal(svc->collected[3], 1);
    svc_pass(svc, 15000);
    assert_int_equal(svc->collected[3], 1); /* not with every heartbeat */
    svc_pass(svc, 30000);
    assert_int_equal(svc->collected[3], 2);
    svc->collects[3] = true;
    svc_pass(svc, 3000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 0);
    svc_free(svc);
}
FX_BOTH(forgotten_jobs_are_asked_again)

static void no_entries_when_nothing_happens(bool rocksdb)
{
    struct svc *svc = cluster(rocksdb, GRACE, true);
    uint64_t before = fx_row(svc->fx)->applied_index;
    svc_pass(svc, 25000); /* less than the session's timeout */
    assert_int_equal(fx_row(svc->fx)->applied_index, before);
    svc_free(svc);
}
FX_BOTH(no_entries_when_nothing_happens)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(deleted_run_goes_after_the_grace),
        FX_TESTS(discarded_run_goes_at_once),
        FX_TESTS(reader_keeps_its_version),
        FX_TESTS(restart_waits_for_its_readers),
        FX_TESTS(lease_ends_with_the_reader),
        FX_TESTS(clock_jump_deletes_nothing),
        FX_TESTS(osd_that_is_away_keeps_its_part),
        FX_TESTS(confirmed_while_it_is_filed),
        FX_TESTS(dead_osd_stands_in_nobodys_way),
        FX_TESTS(renewal_of_a_session_that_ends_is_put_off),
        FX_TESTS(forgotten_jobs_are_asked_again),
        FX_TESTS(no_entries_when_nothing_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
