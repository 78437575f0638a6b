/* Aim: a run is called an orphan exactly when no row names it and its session is over, however old
 * it is; what the maps never handed out is kept; maps that are behind, or OSDs they do not know,
 * get no verdict; cluster time goes on for what waits in quarantine. Method: each kind of row made
 * by the commands that make it in production, asked about by the read and by the command, on both
 * key-value stores. */
#include "coord_svc.h"

#include "base/banned.h"

enum { RETENTION = 20000, ASKER = 2 };

struct asked {
    enum lilio_err err;
    struct proto_orphans_answer answer;
};

/* The incarnation of every OSD of the fixture is 1. */
static struct asked sweep_as(struct svc *svc, struct base_oid oid, uint32_t osd,
                             uint32_t incarnation, uint64_t index)
{
    struct proto_orphan_run run = {.oid = oid};
    struct proto_orphans_sweep sweep = {
        .osd = osd, .incarnation = incarnation, .index = index, .runs = &run, .runs_count = 1};
    struct asked asked = {.err = svc_call(svc, 0, 0, &proto_type_orphans_sweep, &sweep)};
    if (!asked.err)
        svc_reply(svc, &proto_type_orphans_answer, &asked.answer);
    return asked;
}

static struct asked look_as(struct svc *svc, struct base_oid oid, uint32_t osd,
                            uint32_t incarnation, uint64_t index)
{
    struct proto_orphan_run run = {.oid = oid};
    struct proto_orphans_ask ask = {
        .osd = osd, .incarnation = incarnation, .index = index, .runs = &run, .runs_count = 1};
    struct asked asked = {.err = svc_call(svc, 0, 0, &proto_type_orphans_ask, &ask)};
    if (!asked.err)
        svc_reply(svc, &proto_type_orphans_answer, &asked.answer);
    return asked;
}

/* Both ways; they have to agree. */
static uint8_t verdict(struct svc *svc, struct base_oid oid)
{
    struct asked look = look_as(svc, oid, ASKER, 1, 0);
    assert_int_equal(look.err, LILIO_OK);
    assert_int_equal(look.answer.verdicts.size, 1);
    uint8_t seen = look.answer.verdicts.data[0];
    struct asked sweep = sweep_as(svc, oid, ASKER, 1, look.answer.index);
    assert_int_equal(sweep.err, LILIO_OK);
    assert_int_equal(sweep.answer.verdicts.size, 1);
    assert_int_equal(sweep.answer.verdicts.data[0], seen);
    assert_int_equal(sweep.answer.index, fx_row(svc->fx)->applied_index);
    assert_int_equal(sweep.answer.cluster_ms, fx_row(svc->fx)->cluster_ms);
    assert_true(
        base_uuid_equal(sweep.answer.cluster_id, coord_state_cluster(svc->fx->state)->cluster_id));
    return seen;
}

static struct base_oid own(struct svc *svc, uint64_t counter)
{
    return base_oid_make(0, svc->fx->session, counter);
}

static void session_end(struct svc *svc, uint64_t session)
{
    struct proto_session_close end = {0};
    assert_int_equal(svc_call(svc, session, 0, &proto_type_session_close, &end), LILIO_OK);
}

/* Time alone makes no orphan, the end of the session does, and nothing takes that back. */
static void session_decides_and_not_age(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, RETENTION, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    assert_int_equal(verdict(svc, own(svc, 1)), COORD_ORPHAN_OPEN);
    for (int i = 0; i < 200; i++) { /* 50 minutes of a put that is alive */
        struct proto_session_renew renew = {0};
        assert_int_equal(svc_call(svc, svc->fx->session, 0, &proto_type_session_renew, &renew),
                         LILIO_OK);
        svc_pass(svc, 15000);
    }
    assert_int_equal(verdict(svc, own(svc, 1)), COORD_ORPHAN_OPEN);
    session_end(svc, svc->fx->session);
    assert_int_equal(verdict(svc, own(svc, 1)), COORD_ORPHAN_YES);
    struct proto_commit late = fx_commit(svc->fx, &bucket, "k", 1, 50000);
    assert_int_equal(svc_call(svc, svc->fx->session, 99, &proto_type_commit, &late),
                     LILIO_E_SESSION_CLOSED);
    assert_int_equal(verdict(svc, own(svc, 1)), COORD_ORPHAN_YES);
    svc_free(svc);
}
FX_BOTH(session_decides_and_not_age)

/* A session nobody keeps alive ends as well. */
static void expired_session(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, RETENTION, true);
    svc_pass(svc, 25000);
    assert_int_equal(verdict(svc, own(svc, 1)), COORD_ORPHAN_OPEN);
    svc_pass(svc, 10000);
    assert_int_equal(verdict(svc, own(svc, 1)), COORD_ORPHAN_YES);
    svc_free(svc);
}
FX_BOTH(expired_session)

static void committed_run_is_named(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, RETENTION, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    for (int i = 0; i < FX_OSDS; i++)
        svc->alive[i] = svc->collects[i] = true;
    (void)fx_put(svc->fx, &bucket, "k", 1, 50000);
    struct proto_copy copy = {.bucket = fx_text("b"),
                              .key = fx_text("k"),
                              .to_bucket_id = bucket.id,
                              .to_key = fx_text("copy")};
    assert_int_equal(fx_do(svc->fx, &proto_type_copy, &copy), LILIO_OK);
    struct base_oid oid = own(svc, 1);
    session_end(svc, svc->fx->session);
    assert_int_equal(verdict(svc, oid), COORD_ORPHAN_NAMED);

    /* Others delete it: as long as one name, or a gc row, is left it is named. */
    svc->fx->session = fx_session(svc->fx);
    svc_restart(svc);
    assert_int_equal(fx_delete(svc->fx, &bucket, "k"), LILIO_OK);
    assert_int_equal(verdict(svc, oid), COORD_ORPHAN_NAMED);
    assert_int_equal(fx_delete(svc->fx, &bucket, "copy"), LILIO_OK);
    assert_int_equal(fx_row(svc->fx)->gc_count, 1);
    assert_int_equal(verdict(svc, oid), COORD_ORPHAN_NAMED);
    svc_pass(svc, 120000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 0);
    assert_int_equal(verdict(svc, oid), COORD_ORPHAN_YES); /* what a late put left of it */
    svc_free(svc);
}
FX_BOTH(committed_run_is_named)

/* Staged runs are named; their session's end hands them to collection, which names them, too. */
static void staged_and_discarded_runs(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, RETENTION, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    struct proto_stage stage = {.data = fx_run(svc->fx, &bucket, 1, 50000),
                                .lowest_epoch = fx_row(svc->fx)->epoch};
    stage.data.state = COORD_RUN_STAGED;
    assert_int_equal(fx_do(svc->fx, &proto_type_stage, &stage), LILIO_OK);
    struct proto_collect_job job = {
        .oid = own(svc, 2), .placement = bucket.placement, .stripe_count = 3};
    struct proto_discard discard = {.jobs = &job, .jobs_count = 1};
    assert_int_equal(fx_do(svc->fx, &proto_type_discard, &discard), LILIO_OK);
    assert_int_equal(verdict(svc, own(svc, 1)), COORD_ORPHAN_NAMED);
    assert_int_equal(verdict(svc, own(svc, 2)), COORD_ORPHAN_NAMED);
    session_end(svc, svc->fx->session);
    assert_int_equal(fx_row(svc->fx)->gc_count, 2);
    assert_int_equal(verdict(svc, own(svc, 1)), COORD_ORPHAN_NAMED);
    assert_int_equal(verdict(svc, own(svc, 2)), COORD_ORPHAN_NAMED);

    /* The asking OSD is away: the rows are filed under it. */
    for (int i = 0; i < FX_OSDS; i++)
        svc->alive[i] = svc->collects[i] = i != ASKER;
    svc_pass(svc, 60000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 2);
    assert_int_equal(verdict(svc, own(svc, 1)), COORD_ORPHAN_NAMED);
    svc->alive[ASKER] = svc->collects[ASKER] = true;
    svc_pass(svc, 60000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 0);
    assert_int_equal(verdict(svc, own(svc, 1)), COORD_ORPHAN_YES);
    assert_int_equal(verdict(svc, own(svc, 2)), COORD_ORPHAN_YES);
    svc_free(svc);
}
FX_BOTH(staged_and_discarded_runs)

/* Maps that were put back from an earlier time know less than the disks. */
static void unknown_sessions_are_kept(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, RETENTION, true);
    uint64_t next = fx_row(svc->fx)->next_session_id;
    assert_int_equal(verdict(svc, base_oid_make(0, next, 1)), COORD_ORPHAN_UNKNOWN);
    assert_int_equal(verdict(svc, base_oid_make(0, next + 1000, 1)), COORD_ORPHAN_UNKNOWN);
    assert_int_equal(verdict(svc, base_oid_make(0, 0, 1)), COORD_ORPHAN_UNKNOWN);
    assert_int_equal(verdict(svc, base_oid_make(1, svc->fx->session, 1)), COORD_ORPHAN_UNKNOWN);
    struct base_oid last = {UINT64_MAX, UINT64_MAX};
    assert_int_equal(verdict(svc, last), COORD_ORPHAN_UNKNOWN);
    svc_free(svc);
}
FX_BOTH(unknown_sessions_are_kept)

static void who_gets_no_verdict(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, RETENTION, true);
    struct base_oid oid = own(svc, 1);
    uint64_t ahead = fx_row(svc->fx)->applied_index + 100;
    assert_int_equal(look_as(svc, oid, ASKER, 1, ahead).err, LILIO_E_INVALID);
    assert_int_equal(sweep_as(svc, oid, ASKER, 1, ahead).err, LILIO_E_INVALID);
    assert_int_equal(look_as(svc, oid, ASKER, 2, 0).err, LILIO_E_INVALID);
    assert_int_equal(sweep_as(svc, oid, ASKER, 2, 0).err, LILIO_E_INVALID);
    assert_int_equal(look_as(svc, oid, 77, 1, 0).err, LILIO_E_INVALID);
    assert_int_equal(sweep_as(svc, oid, 77, 1, 0).err, LILIO_E_INVALID);
    uint64_t now = fx_row(svc->fx)->applied_index; /* the newest there is */
    assert_int_equal(look_as(svc, oid, ASKER, 1, now).err, LILIO_OK);
    assert_int_equal(sweep_as(svc, oid, ASKER, 1, now).err, LILIO_OK);
    coord_service_follow(svc->service, "inproc://other");
    assert_int_equal(look_as(svc, oid, ASKER, 1, 0).err, LILIO_E_NOT_LEADER);
    assert_int_equal(sweep_as(svc, oid, ASKER, 1, 0).err, LILIO_E_NOT_LEADER);
    svc_free(svc);
}
FX_BOTH(who_gets_no_verdict)

/* The command decides and changes nothing. */
static void sweep_writes_no_row(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_orphan_run runs[3] = {{.oid = base_oid_make(0, fx->session, 1)},
                                       {.oid = base_oid_make(0, fx->session + 50, 1)},
                                       {.oid = base_oid_make(0, fx->session, 2)}};
    struct proto_orphans_sweep sweep = {.osd = 0, .incarnation = 1, .runs = runs, .runs_count = 3};
    struct proto_orphans_answer answer;
    size_t columns = 0, after = 0;
    for (unsigned c = 0; c < COORD_COLUMN_COUNT; c++)
        columns += fx_column_count(fx, c);
    assert_int_equal(fx_internal(fx, &proto_type_orphans_sweep, &sweep), LILIO_OK);
    fx_reply(fx, &proto_type_orphans_answer, &answer);
    assert_int_equal(answer.verdicts.size, 3);
    assert_int_equal(answer.verdicts.data[0], COORD_ORPHAN_OPEN);
    assert_int_equal(answer.verdicts.data[1], COORD_ORPHAN_UNKNOWN);
    assert_int_equal(answer.verdicts.data[2], COORD_ORPHAN_OPEN);
    for (unsigned c = 0; c < COORD_COLUMN_COUNT; c++)
        after += fx_column_count(fx, c);
    assert_int_equal(columns, after);
    fx_free(fx);
}
FX_BOTH(sweep_writes_no_row)

/* Nothing happens in the cluster, and the quarantine of an OSD comes to its end all the same. */
static void time_goes_on_for_a_quarantine(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, RETENTION, true);
    svc_pass(svc, 60000); /* the fixture's session is gone, nothing waits */
    coord_service_free(&svc->service);
    svc->options.orphan_retention_ms = RETENTION;
    assert_int_equal(coord_service_new(&svc->options, &svc->service, NULL), LILIO_OK);
    assert_int_equal(coord_service_lead(svc->service, NULL), LILIO_OK);
    const struct proto_osd *osd = coord_state_osd_at(svc->fx->state, ASKER);
    struct proto_osd_heartbeat beat = {.osd = osd->id,
                                       .incarnation = osd->incarnation,
                                       .disk_uuid = osd->disk_uuid,
                                       .known_epoch = fx_row(svc->fx)->epoch,
                                       .state = PROTO_OSD_UP};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_osd_heartbeat, &beat), LILIO_OK);
    uint64_t before = fx_row(svc->fx)->cluster_ms;
    svc_pass(svc, 5000);
    assert_int_equal(fx_row(svc->fx)->cluster_ms, before);
    beat.orphans = 1;
    for (int i = 0; i < 40; i++) {
        assert_int_equal(svc_call(svc, 0, 0, &proto_type_osd_heartbeat, &beat), LILIO_OK);
        svc_pass(svc, 1000);
    }
    assert_true(fx_row(svc->fx)->cluster_ms >= before + 30000);
    svc_free(svc);
}
FX_BOTH(time_goes_on_for_a_quarantine)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(session_decides_and_not_age), FX_TESTS(expired_session),
        FX_TESTS(committed_run_is_named),      FX_TESTS(staged_and_discarded_runs),
        FX_TESTS(unknown_sessions_are_kept),   FX_TESTS(who_gets_no_verdict),
        FX_TESTS(sweep_writes_no_row),         FX_TESTS(time_goes_on_for_a_quarantine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
