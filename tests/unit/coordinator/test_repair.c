/* Aim: what is damaged most is leased first and to those who can mend it; a lease ends with its
 * result, with its OSD, with silence or with the leader; a run that fails waits and holds up
 * nobody; nothing that is damaged is ever forgotten. Method: a service on virtual time with OSDs
 * that the test plays, beat by beat; the queue's rows and counters are compared with the runs. */
#include "coord_svc.h"

#include "coord_audit.h"
#include "coordinator/dial.h"

#include "base/banned.h"

enum { KIND_GOOD = 0, KIND_MISSING = 1, BUCKET_TOTAL = 6, STRIPE = 4 * 4096 };
/* As an OSD tells it that tried all sources; it is kept whole. */
static const char reason[] =
    "fragment 0 at osd.4: a fragment is missing; fragment 1 at osd.2: a fragment is missing; "
    "fragment 2 at osd.0: checksum mismatch; fragment 5 at osd.1: not reachable or not ready";

/* What the test plays of each OSD's repair. */
struct osd {
    struct proto_repair_job jobs[256];
    size_t count;
    uint64_t bytes;
    bool clients;
};

struct fixture {
    struct svc *svc;
    struct fx *fx;
    struct proto_bucket bucket;
    struct osd osds[FX_OSDS];
    size_t handed; /* in the last beat */
};

static void fixture_init(struct fixture *f, bool rocksdb)
{
    *f = (struct fixture){.svc = svc_new(rocksdb, 60000, true)};
    f->fx = f->svc->fx;
    f->bucket = fx_bucket(f->fx, "b");
    for (int i = 0; i < FX_OSDS; i++)
        f->svc->alive[i] = true;
    svc_pass(f->svc, 2000);
    memset(f->svc->alive, 0, sizeof f->svc->alive); /* from here on beats are the test's */
}

static void fixture_release(struct fixture *f)
{
    coord_audit(f->fx);
    svc_free(f->svc);
}

/* ---- runs and their faults ---- */

static struct base_oid oid_of(const struct fixture *f, uint64_t counter)
{
    return base_oid_make(0, f->fx->session, counter);
}

static void report_at(struct fixture *f, uint64_t counter, uint32_t stripe, uint8_t index,
                      uint8_t kind)
{
    struct proto_fragment_report item = {
        .oid = oid_of(f, counter), .stripe = stripe, .index = index, .kind = kind};
    struct proto_report report = {.items = &item, .items_count = 1};
    assert_int_equal(svc_call(f->svc, 0, 0, &proto_type_report, &report), LILIO_OK);
}

static void report(struct fixture *f, uint64_t counter, uint8_t index, uint8_t kind)
{
    report_at(f, counter, 0, index, kind);
}

/* An object of one stripe whose first `missing` fragments are. */
static void damaged(struct fixture *f, uint64_t counter, unsigned missing)
{
    char key[32];
    (void)snprintf(key, sizeof key, "k%llu", (unsigned long long)counter);
    (void)fx_put(f->fx, &f->bucket, key, counter, 16384);
    for (uint8_t index = 0; index < missing; index++)
        report(f, counter, index, KIND_MISSING);
}

static uint32_t owner(struct fixture *f, uint64_t counter, uint32_t index)
{
    const struct proto_placement *placement =
        coord_state_placement(f->fx->state, f->bucket.placement);
    return proto_slot_osd(placement,
                          proto_partition(placement->partition_bits, oid_of(f, counter), 0), index);
}

/* ---- OSDs ---- */

/* One heartbeat of the OSD, with what it has and what became of `results`. */
static void beat_with(struct fixture *f, uint32_t osd, struct proto_repair_result *results,
                      size_t count)
{
    struct osd *mine = &f->osds[osd];
    const struct proto_osd *row =
        coord_state_osd_at(f->fx->state, coord_state_osd_find(f->fx->state, osd));
    uint64_t ids[256];
    for (size_t i = 0; i < mine->count; i++)
        ids[i] = mine->jobs[i].id;
    struct proto_osd_heartbeat beat = {
        .osd = osd,
        .state = PROTO_OSD_UP,
        .incarnation = row->incarnation,
        .disk_uuid = row->disk_uuid,
        .known_epoch = fx_row(f->fx)->epoch,
        .repairing = ids,
        .repairing_count = mine->count,
        .repaired = results,
        .repaired_count = count,
        .repair_bytes = mine->bytes,
        .clients = mine->clients,
    };
    struct proto_osd_orders orders;
    assert_int_equal(svc_call(f->svc, 0, 0, &proto_type_osd_heartbeat, &beat), LILIO_OK);
    svc_reply(f->svc, &proto_type_osd_orders, &orders);
    f->handed = orders.repair_count;
    for (size_t i = 0; i < orders.repair_count; i++)
        mine->jobs[mine->count++] = orders.repair[i];
}

static void beat(struct fixture *f, uint32_t osd)
{
    beat_with(f, osd, NULL, 0);
}

/* All OSDs beat, a second passes. */
static void second(struct fixture *f)
{
    for (uint32_t osd = 0; osd < FX_OSDS; osd++)
        beat(f, osd);
    svc_pass(f->svc, 1000);
    proto_arena_clear(f->fx->arena);
}

static void seconds(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        second(f);
}

static size_t jobs_of(const struct fixture *f, uint64_t counter)
{
    size_t count = 0;
    for (size_t osd = 0; osd < FX_OSDS; osd++)
        for (size_t i = 0; i < f->osds[osd].count; i++)
            count += base_oid_equal(f->osds[osd].jobs[i].oid, oid_of(f, counter));
    return count;
}

static size_t jobs_all(const struct fixture *f)
{
    size_t count = 0;
    for (size_t osd = 0; osd < FX_OSDS; osd++)
        count += f->osds[osd].count;
    return count;
}

/* Ends the OSD's job at a place, with its result in the next heartbeat. */
static void end_job(struct fixture *f, uint32_t osd, size_t at, enum lilio_err err)
{
    struct osd *mine = &f->osds[osd];
    struct proto_repair_result result = {
        .id = mine->jobs[at].id,
        .oid = mine->jobs[at].oid,
        .err = err,
        .mended = err ? 0 : 1,
        .bytes = err ? 0 : 4096,
        .failed = err ? 1 : 0,
        .reason = base_slice_str(err ? reason : ""),
    };
    mine->jobs[at] = mine->jobs[--mine->count];
    mine->bytes += result.bytes;
    beat_with(f, osd, &result, 1);
}

/* Mends so many of the runs that everybody has. */
static void mend_some(struct fixture *f, size_t count)
{
    for (uint32_t osd = 0; osd < FX_OSDS; osd++) {
        for (; f->osds[osd].count > 0 && count > 0; count--) {
            uint64_t counter = f->osds[osd].jobs[0].oid.low;
            for (uint8_t index = 0; index < BUCKET_TOTAL; index++)
                if (owner(f, counter, index) == osd)
                    report(f, counter, index, KIND_GOOD);
            end_job(f, osd, 0, LILIO_OK);
        }
    }
}

static void mend_all(struct fixture *f)
{
    mend_some(f, SIZE_MAX);
}

static struct proto_repair told(struct fixture *f)
{
    struct proto_repair_get get = {0};
    struct proto_repair ret;
    assert_int_equal(svc_call(f->svc, 0, 0, &proto_type_repair_get, &get), LILIO_OK);
    svc_reply(f->svc, &proto_type_repair, &ret);
    return ret;
}

/* ---- tests ---- */

static void leased_to_whoever_owns_it(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    damaged(&f, 1, 2);
    second(&f);
    second(&f);
    assert_int_equal(jobs_all(&f), 2);
    for (uint32_t index = 0; index < 2; index++) {
        assert_int_equal(f.osds[owner(&f, 1, index)].count, 1);
        assert_int_equal(f.osds[owner(&f, 1, index)].jobs[0].margin, 0);
    }
    seconds(&f, 5); /* named in each beat: nothing is handed twice */
    assert_int_equal(jobs_all(&f), 2);
    struct proto_repair repair = told(&f);
    assert_int_equal(repair.rows, 1);
    assert_int_equal(repair.running, 1);
    assert_int_equal(repair.levels[0], 1);
    mend_all(&f);
    assert_int_equal(fx_row(f.fx)->repair_count, 0);
    seconds(&f, 3);
    assert_int_equal(jobs_all(&f), 0);
    repair = told(&f);
    assert_int_equal(repair.runs_done, 1);
    assert_int_equal(repair.mended, 2);
    assert_int_equal(repair.mended_bytes, 2 * 4096);
    assert_int_equal(repair.running, 0);
    assert_int_equal(repair.held, 0);
    f.osds[0].clients = f.osds[3].clients = true;
    f.osds[3].bytes = 100; /* began anew and mended already */
    second(&f);
    repair = told(&f);
    assert_int_equal(repair.held, 2);
    assert_in_range(repair.mended_bytes, 2 * 4096 + 1, 2 * 4096 + 100);
    fixture_release(&f);
}
FX_BOTH(leased_to_whoever_owns_it)

static void most_endangered_first(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    for (uint64_t i = 1; i <= 3; i++)
        damaged(&f, i, 1);
    damaged(&f, 4, 3); /* below k: last */
    damaged(&f, 5, 2);
    svc_pass(f.svc, 1000);
    damaged(&f, 6, 1);
    struct coord_view view = coord_state_view(f.fx->state, NULL, f.fx->arena);
    struct coord_repair_key keys[8], from = {0};
    size_t count;
    assert_int_equal(coord_read_repair(&view, &from, keys, 8, &count, NULL), LILIO_OK);
    static const uint64_t order[] = {5, 1, 2, 3, 6, 4};
    static const uint8_t margins[] = {0, 1, 1, 1, 1, COORD_MARGIN_BELOW};
    assert_int_equal(count, 6);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(keys[i].oid.low, order[i]);
        assert_int_equal(keys[i].margin, margins[i]);
    }
    const struct proto_state_row *row = fx_row(f.fx);
    assert_int_equal(row->repair_levels[0], 1);
    assert_int_equal(row->repair_levels[1], 4);
    assert_int_equal(row->repair_levels[COORD_REPAIR_LEVELS - 1], 1);
    report(&f, 5, 0, KIND_GOOD); /* moves in the queue, keeps its age */
    assert_int_equal(coord_read_repair(&view, &from, keys, 8, &count, NULL), LILIO_OK);
    assert_int_equal(count, 6);
    assert_int_equal(keys[0].margin, 1);
    assert_int_equal(keys[4].oid.low, 6);
    assert_int_equal(row->repair_levels[0], 0);
    fixture_release(&f);
}
FX_BOTH(most_endangered_first)

/* The queue's one key. */
static struct coord_repair_key only_key(struct fixture *f)
{
    struct coord_view view = coord_state_view(f->fx->state, NULL, f->fx->arena);
    struct coord_repair_key keys[2], from = {0};
    size_t count;
    assert_int_equal(coord_read_repair(&view, &from, keys, 2, &count, NULL), LILIO_OK);
    assert_int_equal(count, 1);
    return keys[0];
}

/* A stripe that is lost does not keep those behind it in the queue. */
static void a_run_counts_by_what_can_be_mended(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    (void)fx_put(f.fx, &f.bucket, "long", 1, (uint64_t)3 * STRIPE);
    for (uint8_t index = 0; index < 3; index++)
        report_at(&f, 1, 0, index, KIND_MISSING);
    assert_int_equal(only_key(&f).margin, COORD_MARGIN_BELOW);
    report_at(&f, 1, 1, 0, KIND_MISSING);
    assert_int_equal(only_key(&f).margin, 1);
    report_at(&f, 1, 2, 5, KIND_MISSING);
    report_at(&f, 1, 2, 4, KIND_MISSING);
    assert_int_equal(only_key(&f).margin, 0);
    assert_int_equal(fx_row(f.fx)->repair_levels[0], 1);
    report_at(&f, 1, 2, 5, KIND_GOOD);
    report_at(&f, 1, 2, 4, KIND_GOOD);
    report_at(&f, 1, 1, 0, KIND_GOOD);
    assert_int_equal(only_key(&f).margin, COORD_MARGIN_BELOW);
    report_at(&f, 1, 0, 0, KIND_GOOD);
    assert_int_equal(only_key(&f).margin, 0);
    fixture_release(&f);
}
FX_BOTH(a_run_counts_by_what_can_be_mended)

/* More than its OSD takes: the urgent ones go first, also those that come later. */
static void more_than_there_is_room(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    uint64_t counter = 1, queued = 0;
    for (; queued < 3 * COORD_REPAIR_OPEN_MAX; counter++) {
        if (owner(&f, counter, 0) != 2)
            continue;
        damaged(&f, counter, 1);
        queued++;
    }
    second(&f);
    second(&f);
    assert_int_equal(f.osds[2].count, COORD_REPAIR_OPEN_MAX);
    mend_all(&f);
    svc_pass(f.svc, 250); /* sooner than the next walk: on from where there was no room */
    beat(&f, 2);
    assert_int_equal(f.osds[2].count, COORD_REPAIR_OPEN_MAX);
    while (owner(&f, counter, 0) != 2)
        counter++;
    damaged(&f, counter, 2);
    seconds(&f, 2);
    assert_int_equal(jobs_of(&f, counter), 1); /* its other fragment's OSD has it */
    uint64_t done = f.osds[2].jobs[0].oid.low;
    report(&f, done, 0, KIND_GOOD);
    end_job(&f, 2, 0, LILIO_OK);
    seconds(&f, 2);
    assert_int_equal(f.osds[2].count, COORD_REPAIR_OPEN_MAX);
    assert_int_equal(jobs_of(&f, counter), 2);
    for (int i = 0; i < 20 && fx_row(f.fx)->repair_count > 0; i++) {
        mend_all(&f);
        second(&f);
    }
    assert_int_equal(fx_row(f.fx)->repair_count, 0);
    fixture_release(&f);
}
FX_BOTH(more_than_there_is_room)

static void lease_runs_out(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    damaged(&f, 1, 1);
    uint32_t osd = owner(&f, 1, 0);
    seconds(&f, 2);
    assert_int_equal(f.osds[osd].count, 1);
    uint64_t first = f.osds[osd].jobs[0].id;
    f.osds[osd].count = 0; /* it began anew without a word: told again, then anew */
    second(&f);
    assert_int_equal(f.osds[osd].count, 1);
    assert_int_equal(f.osds[osd].jobs[0].id, first);
    for (int i = 0; i < 62; i++) {
        f.osds[osd].count = 0;
        second(&f);
    }
    f.osds[osd].count = 0;
    seconds(&f, 3);
    assert_int_equal(f.osds[osd].count, 1);
    assert_true(f.osds[osd].jobs[0].id != first);
    /* what the old one came to is of no interest */
    struct proto_repair_result late = {
        .id = first, .oid = oid_of(&f, 1), .err = LILIO_E_LOST, .reason = base_slice_str("late")};
    beat_with(&f, osd, &late, 1);
    assert_int_equal(told(&f).failed, 0);
    assert_int_equal(told(&f).running, 1);
    fixture_release(&f);
}
FX_BOTH(lease_runs_out)

/* An OSD that is away gets nothing; its leases end, and it has them again when it is back. */
static void osd_goes_away(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    damaged(&f, 1, 1);
    uint32_t osd = owner(&f, 1, 0);
    seconds(&f, 2);
    assert_int_equal(told(&f).running, 1);
    for (int s = 0; s < 15; s++) {
        for (uint32_t i = 0; i < FX_OSDS; i++)
            if (i != osd)
                beat(&f, i);
        svc_pass(f.svc, 1000);
    }
    assert_int_equal(svc_row(f.svc, osd), PROTO_OSD_DOWN);
    assert_int_equal(told(&f).running, 0);
    assert_int_equal(told(&f).away, 1);
    f.osds[osd].count = 0;
    seconds(&f, 3);
    assert_int_equal(told(&f).away, 0);
    assert_int_equal(f.osds[osd].count, 1);
    mend_all(&f);
    assert_int_equal(fx_row(f.fx)->repair_count, 0);
    fixture_release(&f);
}
FX_BOTH(osd_goes_away)

static void leader_changes(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    damaged(&f, 1, 1);
    uint32_t osd = owner(&f, 1, 0);
    seconds(&f, 2);
    uint64_t first = f.osds[osd].jobs[0].id;
    coord_service_follow(f.svc->service, "elsewhere");
    assert_int_equal(coord_service_lead(f.svc->service, NULL), LILIO_OK);
    seconds(&f, 3);
    assert_int_equal(f.osds[osd].count, 2); /* the same run under a new lease */
    assert_true(base_oid_equal(f.osds[osd].jobs[0].oid, f.osds[osd].jobs[1].oid));
    assert_true(f.osds[osd].jobs[1].id != first);
    end_job(&f, osd, 0, LILIO_E_LOST); /* of the former leader's: nobody waits for it */
    assert_int_equal(told(&f).failed, 0);
    mend_all(&f);
    assert_int_equal(fx_row(f.fx)->repair_count, 0);
    fixture_release(&f);
}
FX_BOTH(leader_changes)

/* A new leader's first walk knows of those that it has heard; the others do not wait half a minute
 * for the next one. */
static void leader_hears_one_after_the_other(void **unused)
{
    (void)unused;
    struct fixture f;
    fixture_init(&f, true);
    uint64_t counter = 1;
    while (owner(&f, counter, 0) != FX_OSDS - 1)
        counter++;
    damaged(&f, counter, 1);
    svc_restart(f.svc);
    seconds(&f, 4);
    assert_int_equal(jobs_of(&f, counter), 1);
    fixture_release(&f);
}

/* Seconds until the OSD has a job of that run. */
static unsigned seconds_until(struct fixture *f, uint64_t counter, unsigned most)
{
    unsigned passed = 0;
    for (; passed < most && jobs_of(f, counter) == 0; passed++)
        second(f);
    return passed;
}

static void failed_runs_wait(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    damaged(&f, 1, 1);
    uint32_t osd = owner(&f, 1, 0);
    static const unsigned waits[] = {30, 60, 120, 240, 480, 960, 1800, 1800};
    (void)seconds_until(&f, 1, 5);
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        assert_int_equal(f.osds[osd].count, 1);
        end_job(&f, osd, 0, LILIO_E_LOST);
        struct proto_repair repair = told(&f);
        assert_int_equal(repair.failed, 1);
        assert_int_equal(repair.failures_count, 1);
        assert_int_equal(repair.failures[0].err, LILIO_E_LOST);
        assert_int_equal(repair.failures[0].osd, osd);
        assert_int_equal(repair.failures[0].tries, i + 1);
        assert_true(base_slice_equal(repair.failures[0].reason, base_slice_str(reason)));
        assert_int_equal(repair.failures[0].names_count, 1);
        assert_true(base_slice_equal(repair.failures[0].names[0].key, base_slice_str("k1")));
        proto_arena_clear(f.fx->arena);
        unsigned passed = seconds_until(&f, 1, 2000);
        assert_in_range(passed, waits[i] - 1, waits[i] + 32); /* the idle walk's step */
        repair = told(&f);
        assert_int_equal(repair.running, 1); /* it is tried again, and counted once */
        assert_int_equal(repair.failed + repair.failures_count, 0);
    }
    mend_all(&f);
    seconds(&f, 2);
    assert_int_equal(told(&f).failed, 0);
    fixture_release(&f);
}
FX_BOTH(failed_runs_wait)

/* Any change of an OSD's state is news for what failed. */
static void failed_runs_begin_anew(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    damaged(&f, 1, 1);
    uint32_t osd = owner(&f, 1, 0);
    (void)seconds_until(&f, 1, 5);
    for (int i = 0; i < 4; i++) {
        end_job(&f, osd, 0, LILIO_E_LOST);
        (void)seconds_until(&f, 1, 600);
    }
    end_job(&f, osd, 0, LILIO_E_LOST); /* waits eight minutes */
    uint32_t other = owner(&f, 1, 5);
    for (int s = 0; s < 12; s++) {
        for (uint32_t i = 0; i < FX_OSDS; i++)
            if (i != other)
                beat(&f, i);
        svc_pass(f.svc, 1000);
    }
    assert_int_equal(f.osds[osd].count, 1);
    end_job(&f, osd, 0, LILIO_E_LOST);
    assert_int_equal(told(&f).failures[0].tries, 1);
    fixture_release(&f);
}
FX_BOTH(failed_runs_begin_anew)

/* Fails at whatever anybody has of the run, so often that it waits for minutes. */
static void fail_often(struct fixture *f, uint64_t counter)
{
    for (int tries = 0; tries < 5; tries++) {
        (void)seconds_until(f, counter, 600);
        for (uint32_t osd = 0; osd < FX_OSDS; osd++)
            for (size_t i = 0; i < f->osds[osd].count; i++)
                if (f->osds[osd].jobs[i].oid.low == counter)
                    end_job(f, osd, i--, LILIO_E_LOST);
    }
    assert_int_equal(told(f).failed, 1);
    assert_true(told(f).failures[0].wait_ms > 4 * 60 * 1000);
}

/* One stripe of a run is lost; others of it are hurt while it waits: those are not made to wait,
 * and what failed and has not changed is. */
static void new_faults_of_a_failed_run(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    (void)fx_put(f.fx, &f.bucket, "long", 1, (uint64_t)3 * STRIPE);
    for (uint8_t index = 0; index < 3; index++)
        report_at(&f, 1, 0, index, KIND_MISSING);
    fail_often(&f, 1);
    report_at(&f, 1, 0, 0, KIND_MISSING); /* known */
    report_at(&f, 1, 0, 2, KIND_GOOD);    /* better */
    assert_in_range(seconds_until(&f, 1, 60), 60, 60);
    report_at(&f, 1, 1, 3, KIND_MISSING);
    assert_in_range(seconds_until(&f, 1, 60), 1, 4);
    assert_int_equal(told(&f).failed, 0);
    for (int again = 0; again < 2; again++) { /* while somebody is at it: once more at once */
        if (again == 0)
            report_at(&f, 1, 2, 3, KIND_MISSING);
        for (uint32_t osd = 0; osd < FX_OSDS; osd++)
            while (f.osds[osd].count > 0)
                end_job(&f, osd, 0, LILIO_E_LOST);
        assert_int_equal(told(&f).failed, again);
        assert_in_range(seconds_until(&f, 1, 20), again ? 20 : 1, again ? 20 : 4);
    }
    assert_int_equal(told(&f).failures[0].tries, 1);
    report_at(&f, 1, 1, 4, KIND_MISSING); /* no more urgent than what the run has */
    assert_int_equal(only_key(&f).margin, 0);
    assert_in_range(seconds_until(&f, 1, 20), 1, 4);
    fixture_release(&f);
}
FX_BOTH(new_faults_of_a_failed_run)

/* OSDs come back while a job is under way that has given them up: it says so behind their return.
 */
static void leased_before_they_came_back(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    damaged(&f, 1, 1);
    uint32_t osd = owner(&f, 1, 0), other = owner(&f, 1, 5);
    for (int s = 0; s < 15; s++) {
        for (uint32_t i = 0; i < FX_OSDS; i++)
            if (i != other)
                beat(&f, i);
        svc_pass(f.svc, 1000);
    }
    assert_int_equal(svc_row(f.svc, other), PROTO_OSD_DOWN);
    assert_int_equal(f.osds[osd].count, 1);
    seconds(&f, 5);
    assert_int_equal(svc_row(f.svc, other), PROTO_OSD_UP);
    assert_int_equal(f.osds[osd].count, 1);
    end_job(&f, osd, 0, LILIO_E_LOST);
    assert_int_equal(told(&f).failed, 0);
    assert_in_range(seconds_until(&f, 1, 30), 1, 4);
    end_job(&f, osd, 0, LILIO_E_LOST); /* this one had them */
    assert_int_equal(told(&f).failed, 1);
    assert_in_range(seconds_until(&f, 1, 20), 20, 20);
    fixture_release(&f);
}
FX_BOTH(leased_before_they_came_back)

static void bad_run_holds_up_nobody(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    damaged(&f, 1, 2); /* the most urgent one cannot be mended */
    for (uint64_t i = 2; i <= 40; i++)
        damaged(&f, i, 1);
    for (int round = 0; round < 10; round++) {
        second(&f);
        for (uint32_t osd = 0; osd < FX_OSDS; osd++)
            for (size_t i = 0; i < f.osds[osd].count; i++)
                if (f.osds[osd].jobs[i].oid.low == 1)
                    end_job(&f, osd, i--, LILIO_E_LOST);
        mend_all(&f);
    }
    assert_int_equal(fx_row(f.fx)->repair_count, 1);
    assert_int_equal(told(&f).failed, 1);
    assert_int_equal(told(&f).failures[0].tries, 1); /* both its OSDs failed at one attempt */
    assert_int_equal(fx_delete(f.fx, &f.bucket, "k1"), LILIO_OK);
    assert_int_equal(told(&f).failed, 0); /* deleted: nothing to tell */
    fixture_release(&f);
}
FX_BOTH(bad_run_holds_up_nobody)

/* What came before repair had something to do does not count, nor what only waits. */
static void time_to_go_is_told(bool rocksdb)
{
    enum { RUNS = 60, EACH_SECOND = 4, SECONDS = 7 };
    struct fixture f;
    fixture_init(&f, rocksdb);
    for (uint64_t i = 1; i <= RUNS + 1; i++)
        damaged(&f, i, 0);
    seconds(&f, 40);
    for (uint64_t i = 1; i <= RUNS; i++)
        report(&f, i, 0, KIND_MISSING);
    seconds(&f, 2);
    for (int s = 0; s < 2; s++) {
        mend_some(&f, EACH_SECOND);
        second(&f);
        assert_int_equal(told(&f).eta_ms, 0); /* too early to tell */
    }
    for (int s = 2; s < SECONDS; s++) {
        mend_some(&f, EACH_SECOND);
        second(&f);
    }
    uint64_t left = fx_row(f.fx)->repair_count, expected = left * 1000 / EACH_SECOND;
    assert_int_equal(left, RUNS - SECONDS * EACH_SECOND);
    assert_in_range(told(&f).eta_ms, expected * 9 / 10, expected * 11 / 10);
    assert_in_range(told(&f).eta_low_ms, expected * 3 / 4, expected);
    assert_in_range(told(&f).eta_high_ms, expected, expected * 4 / 3);
    assert_in_range(told(&f).bytes_per_s, EACH_SECOND * 4096 / 2, EACH_SECOND * 4096);
    mend_all(&f);
    seconds(&f, 2);
    assert_int_equal(told(&f).bytes_per_s + told(&f).eta_ms, 0);
    report(&f, RUNS + 1, 0, KIND_MISSING);
    second(&f);
    assert_int_equal(told(&f).eta_ms, 0); /* nothing was mended since: nobody knows */
    fixture_release(&f);
}
FX_BOTH(time_to_go_is_told)

/* How long the rest takes follows from the time in which there was work, not from the idle time
 * before. */
static void time_to_go(bool rocksdb)
{
    enum { RUNS = 120, SECONDS = 8 };
    struct fixture f;
    fixture_init(&f, rocksdb);
    seconds(&f, 20);
    for (uint64_t i = 1; i <= RUNS; i++)
        damaged(&f, i, 1);
    assert_int_equal(told(&f).eta_ms, 0); /* nobody knows yet */
    for (int s = 0; s < SECONDS; s++) {
        second(&f);
        for (uint32_t osd = 0; osd < FX_OSDS; osd++) {
            if (f.osds[osd].count == 0)
                continue;
            report(&f, f.osds[osd].jobs[0].oid.low, 0, KIND_GOOD);
            end_job(&f, osd, 0, LILIO_OK);
        }
    }
    uint64_t left = fx_row(f.fx)->repair_count, done = RUNS - left;
    assert_in_range(left, 1, RUNS - SECONDS);
    uint64_t eta_ms = left * SECONDS * 1000 / done;
    assert_in_range(told(&f).eta_ms, eta_ms * 4 / 5, eta_ms * 6 / 5);
    fixture_release(&f);
}
FX_BOTH(time_to_go)

static void dial(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    static const uint32_t shares[] = {15, 5, 15, 50, 100};
    for (uint8_t priority = 0; priority <= 4; priority++) {
        struct proto_repair_set set = {.priority = priority};
        assert_int_equal(svc_call(f.svc, 0, 0, &proto_type_repair_set, &set),
                         priority ? LILIO_OK : LILIO_E_INVALID);
        struct proto_osd_orders orders = svc_beat(f.svc, 0, PROTO_OSD_UP);
        assert_int_equal(orders.repair_share, shares[priority]);
        assert_int_equal(told(&f).priority, priority ? priority : 2);
    }
    struct proto_repair_set set = {.priority = 5};
    assert_int_equal(svc_call(f.svc, 0, 0, &proto_type_repair_set, &set), LILIO_E_INVALID);
    if (rocksdb) {
        svc_restart(f.svc);
        assert_int_equal(told(&f).priority, 4);
    }
    fixture_release(&f);
}
FX_BOTH(dial)

static enum lilio_err dial_set(struct fixture *f, uint8_t priority, uint64_t deadline_ms)
{
    struct proto_repair_set set = {
        .priority = priority, .set_deadline = true, .deadline_ms = deadline_ms};
    return (enum lilio_err)svc_call(f->svc, 0, 0, &proto_type_repair_set, &set);
}

/* A run is mended in a second, or as many more as the share is greater than 15 percent. */
static void deadline_seconds(struct fixture *f, int count)
{
    for (int s = 0; s < count; s++) {
        for (uint32_t osd = 0; osd < FX_OSDS; osd++)
            f->osds[osd].clients = true;
        uint32_t share = told(f).share;
        mend_some(f, share / 15);
        second(f);
    }
}

/* It is kept in the maps, raises what an OSD may take, and what is said of it is true. */
static void deadline(bool rocksdb)
{
    enum { RUNS = 400 };
    struct fixture f;
    fixture_init(&f, rocksdb);
    for (uint64_t i = 1; i <= RUNS; i++)
        damaged(&f, i, 1);
    assert_int_equal(told(&f).fragments, RUNS);
    assert_int_equal(told(&f).bytes, RUNS * 4096);
    assert_int_equal(dial_set(&f, 0, COORD_DEADLINE_MS_MAX + 1), LILIO_E_INVALID);
    assert_int_equal(told(&f).deadline, COORD_DEADLINE_NONE);
    assert_int_equal(dial_set(&f, 0, 4 * 3600000), LILIO_OK);
    deadline_seconds(&f, 15);
    assert_int_equal(told(&f).deadline, COORD_DEADLINE_KEPT);
    assert_int_equal(told(&f).share, 15);
    assert_int_equal(told(&f).priority, COORD_PRIORITY_NORMAL);
    assert_in_range(told(&f).deadline_ms, 4 * 3600000 - 20000, 4 * 3600000 - 10000);
    uint64_t left = fx_row(f.fx)->repair_count; /* one a second */
    assert_int_equal(dial_set(&f, 0, left * 1000 / 3), LILIO_OK);
    deadline_seconds(&f, 40);
    assert_in_range(told(&f).share, 45, 90);
    assert_int_equal(told(&f).deadline, COORD_DEADLINE_KEPT);
    assert_int_equal(svc_beat(f.svc, 0, PROTO_OSD_UP).repair_share, told(&f).share);
    if (rocksdb) {
        svc_restart(f.svc);
        for (uint32_t osd = 0; osd < FX_OSDS; osd++)
            f.osds[osd].count = 0; /* they go on under the new leader's leases */
        assert_in_range(told(&f).deadline_ms, 1, left * 1000 / 3 - 20000);
    }
    assert_int_equal(dial_set(&f, 0, 0), LILIO_OK);
    svc_pass(f.svc, 500);
    assert_int_equal(told(&f).deadline, COORD_DEADLINE_NONE);
    assert_int_equal(told(&f).share, 15);
    assert_int_equal(svc_beat(f.svc, 0, PROTO_OSD_UP).repair_share, 15);
    assert_int_equal(dial_set(&f, COORD_PRIORITY_HIGH, 3000), LILIO_OK);
    seconds(&f, 5); /* while nobody mends */
    assert_int_equal(told(&f).deadline, COORD_DEADLINE_PASSED);
    assert_int_equal(told(&f).deadline_ms, 0);
    assert_int_equal(told(&f).share, 50);
    fixture_release(&f);
}
FX_BOTH(deadline)

/* When it comes with nothing left it was kept; it is spoken of for an hour, and no longer than
 * until something else is to be mended. */
static void a_deadline_goes_by_itself(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    damaged(&f, 1, 0); /* whole */
    assert_int_equal(dial_set(&f, 0, 10000), LILIO_OK);
    seconds(&f, 5);
    assert_int_equal(told(&f).deadline, COORD_DEADLINE_KEPT);
    seconds(&f, 60);
    assert_int_equal(told(&f).deadline, COORD_DEADLINE_MET);
    assert_in_range(told(&f).deadline_ago_ms, 50000, 60000);
    if (rocksdb) {
        svc_restart(f.svc); /* the next leader has not seen it, and says no more than that */
        seconds(&f, 5);
        assert_int_equal(told(&f).deadline, COORD_DEADLINE_PASSED);
    }
    for (unsigned i = 0; i < COORD_DEADLINE_TOLD_MS / 1000 - 120; i++)
        second(&f);
    assert_int_not_equal(told(&f).deadline, COORD_DEADLINE_NONE);
    seconds(&f, 90);
    assert_int_equal(told(&f).deadline, COORD_DEADLINE_NONE);
    assert_int_equal(coord_state_dial(f.fx->state)->deadline_ms, 0);
    assert_int_equal(dial_set(&f, 0, 2000), LILIO_OK);
    seconds(&f, 5);
    assert_int_equal(told(&f).deadline, COORD_DEADLINE_MET);
    report(&f, 1, 0, KIND_MISSING);
    seconds(&f, 2);
    assert_int_equal(told(&f).deadline, COORD_DEADLINE_NONE);
    /* One that passed stays while what it was meant for is not mended, however long. */
    assert_int_equal(dial_set(&f, 0, 2000), LILIO_OK);
    for (unsigned i = 0; i < COORD_DEADLINE_TOLD_MS / 1000 + 60; i++)
        second(&f);
    assert_int_equal(told(&f).deadline, COORD_DEADLINE_PASSED);
    /* And it takes back none but the one it means. */
    struct proto_repair_set other = {.set_deadline = true, .deadline_was_ms = 1};
    assert_int_equal(svc_call(f.svc, 0, 0, &proto_type_repair_set, &other), LILIO_OK);
    assert_int_not_equal(coord_state_dial(f.fx->state)->deadline_ms, 0);
    fixture_release(&f);
}
FX_BOTH(a_deadline_goes_by_itself)

/* Maps from before there was a queue. */
static void older_maps_get_a_queue(void **unused)
{
    (void)unused;
    struct fixture f;
    fixture_init(&f, true);
    for (uint64_t i = 1; i <= 5; i++)
        damaged(&f, i, 1 + (unsigned)i % 3);
    uint64_t digest = fx_digest(f.fx);
    struct base_kv_batch *batch = NULL;
    struct base_kv_iter *iter = NULL;
    assert_int_equal(base_kv_batch_new(f.fx->kv, &batch), LILIO_OK);
    assert_int_equal(base_kv_iter_new(f.fx->kv, NULL, NULL, COORD_REPAIR_QUEUE, &iter), LILIO_OK);
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
         base_kv_iter_next(iter))
        base_kv_batch_delete(batch, COORD_REPAIR_QUEUE, base_kv_iter_key(iter));
    base_kv_iter_free(&iter);
    struct proto_state_row row = *fx_row(f.fx);
    row.repair_levels_count = 0;
    row.repair_fragments = row.repair_bytes = 7;
    struct base_buffer packed = {0};
    assert_int_equal(proto_pack(&proto_type_state_row, &row, &packed), LILIO_OK);
    base_kv_batch_put(batch, COORD_META, base_slice_str("state"), base_buffer_slice(&packed));
    assert_int_equal(base_kv_batch_commit(batch, true, NULL), LILIO_OK);
    base_kv_batch_free(&batch);
    base_buffer_release(&packed);
    assert_int_equal(fx_column_count(f.fx, COORD_REPAIR_QUEUE), 0);
    svc_restart(f.svc);
    assert_int_equal(fx_digest(f.fx), digest);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(leased_to_whoever_owns_it),
        FX_TESTS(most_endangered_first),
        FX_TESTS(a_run_counts_by_what_can_be_mended),
        FX_TESTS(more_than_there_is_room),
        FX_TESTS(lease_runs_out),
        FX_TESTS(osd_goes_away),
        FX_TESTS(leader_changes),
        cmocka_unit_test(leader_hears_one_after_the_other),
        FX_TESTS(failed_runs_wait),
        FX_TESTS(failed_runs_begin_anew),
        FX_TESTS(new_faults_of_a_failed_run),
        FX_TESTS(leased_before_they_came_back),
        FX_TESTS(bad_run_holds_up_nobody),
        FX_TESTS(time_to_go_is_told),
        FX_TESTS(time_to_go),
        FX_TESTS(dial),
        FX_TESTS(deadline),
        FX_TESTS(a_deadline_goes_by_itself),
        cmocka_unit_test(older_maps_get_a_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
