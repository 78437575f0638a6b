/* Aim: the slots of an OSD that is out go to others and are filled once, by who has them; a commit
 * of somebody who did not know enters them as missing, a report or a fill that is too old changes
 * nothing; what has nowhere to go is counted; a new leader goes on. Method: entries by hand against
 * the state machine, then a service on virtual time with OSDs that the test plays. */
#include "coord_svc.h"

#include "coord_audit.h"
#include "proto/moves.h"

#include "base/banned.h"

enum { KIND_GOOD = 0, KIND_MISSING = 1, WIDTH = 3, GONE = 2, OUT_MS = 600000 };

/* ---- entries by hand ---- */

static const struct proto_placement *placement_of(struct fx *fx, const struct proto_bucket *bucket)
{
    return coord_state_placement(fx->state, bucket->placement);
}

static uint32_t partition_of(struct fx *fx, const struct proto_bucket *bucket, uint64_t counter)
{
    return proto_partition(placement_of(fx, bucket)->partition_bits,
                           base_oid_make(0, fx->session, counter), 0);
}

/* An OSD that has no slot of the partition. */
static uint32_t stranger(const struct proto_placement *placement, uint32_t partition)
{
    for (uint32_t osd = 0; osd < FX_OSDS; osd++) {
        bool there = false;
        for (uint32_t i = 0; i < placement->width; i++)
            there |= proto_slot_osd(placement, partition, i) == osd;
        if (!there)
            return osd;
    }
    return PROTO_OSD_NONE;
}

static struct proto_slot_step step(uint32_t placement, uint32_t partition, uint8_t slot,
                                   uint32_t from, uint32_t to)
{
    return (struct proto_slot_step){
        .placement = placement, .partition = partition, .slot = slot, .from = from, .to = to};
}

static enum lilio_err move(struct fx *fx, struct proto_slot_step step)
{
    struct proto_slots_move entry = {.steps = &step, .steps_count = 1};
    return fx_internal(fx, &proto_type_slots_move, &entry);
}

/* Moves a slot of the object's partition; returns who has it now. */
static uint32_t move_slot(struct fx *fx, const struct proto_bucket *bucket, uint64_t counter,
                          uint8_t slot)
{
    uint32_t partition = partition_of(fx, bucket, counter);
    uint32_t from = proto_slot_osd(placement_of(fx, bucket), partition, slot);
    uint32_t to = stranger(placement_of(fx, bucket), partition);
    uint64_t epoch = fx_row(fx)->epoch;
    assert_int_equal(move(fx, step(bucket->placement, partition, slot, from, to)), LILIO_OK);
    assert_int_equal(fx_row(fx)->epoch, epoch + 1);
    assert_int_equal(proto_slot_osd(placement_of(fx, bucket), partition, slot), to);
    assert_int_equal(proto_slot_previous(placement_of(fx, bucket), partition, slot), from);
    return to;
}

static struct proto_slots_filled filled_by(struct fx *fx, const struct proto_bucket *bucket,
                                           uint32_t osd, struct proto_filled_slot *slot)
{
    return (struct proto_slots_filled){
        .osd = osd,
        .incarnation =
            coord_state_osd_at(fx->state, coord_state_osd_find(fx->state, osd))->incarnation,
        .placement = bucket->placement,
        .slots = slot,
        .slots_count = 1,
        .index = fx_row(fx)->applied_index,
        .epoch = fx_row(fx)->epoch,
    };
}

static uint64_t filling(struct fx *fx, const struct proto_bucket *bucket, uint64_t counter)
{
    return proto_slots_filling(placement_of(fx, bucket), partition_of(fx, bucket, counter));
}

/* The exceptions of the object's run, as a mask. */
static uint64_t missing(struct fx *fx, uint64_t counter)
{
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    struct proto_data_row row;
    assert_int_equal(coord_read_data(&view, base_oid_make(0, fx->session, counter), &row, NULL),
                     LILIO_OK);
    return proto_row_missing(&row, 0);
}

static void report(struct fx *fx, uint64_t counter, uint8_t index, uint8_t kind, uint32_t osd)
{
    struct proto_fragment_report item = {
        .oid = base_oid_make(0, fx->session, counter), .index = index, .kind = kind, .osd = osd};
    struct proto_report report = {.items = &item, .items_count = 1};
    assert_int_equal(fx_internal(fx, &proto_type_report, &report), LILIO_OK);
}

static enum lilio_err put_at(struct fx *fx, const struct proto_bucket *bucket, const char *key,
                             uint64_t counter, uint64_t epoch, uint8_t quorum)
{
    struct proto_commit commit = fx_commit(fx, bucket, key, counter, 4000);
    commit.lowest_epoch = epoch;
    commit.quorum = quorum;
    return fx_do(fx, &proto_type_commit, &commit);
}

static void osd_is(struct fx *fx, uint32_t osd, uint8_t state)
{
    struct proto_osd_step change = {.osd = osd, .incarnation = 1, .state = state};
    struct proto_osd_change entry = {.steps = &change, .steps_count = 1};
    assert_int_equal(fx_internal(fx, &proto_type_osd_change, &entry), LILIO_OK);
}

static void moves_only_what_may_move(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_narrow_bucket(fx, "b");
    const struct proto_placement *placement = placement_of(fx, &bucket);
    uint32_t from = proto_slot_osd(placement, 7, 1), to = stranger(placement, 7);
    const struct proto_slot_step bad[] = {
        step(bucket.placement, 7, 1, to, from),                              /* has it not */
        step(bucket.placement, 7, 1, from, from),                            /* has it already */
        step(bucket.placement, 7, 1, from, proto_slot_osd(placement, 7, 0)), /* twice in it */
        step(bucket.placement, 7, 1, from, 77),                              /* no such OSD */
        step(bucket.placement, 7, WIDTH, from, to),
        step(bucket.placement, 1u << PROTO_PARTITION_BITS, 1, from, to),
        step(bucket.placement + 1, 7, 1, from, to),
    };
    uint64_t epoch = fx_row(fx)->epoch;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(move(fx, bad[i]), LILIO_OK);
    assert_int_equal(fx_row(fx)->epoch, epoch);
    assert_int_equal(placement_of(fx, &bucket)->filling.size, 0);
    assert_int_equal(move(fx, step(bucket.placement, 7, 1, from, to)), LILIO_OK);
    assert_int_equal(fx_row(fx)->epoch, epoch + 1);
    if (rocksdb)
        fx_reopen(fx);
    assert_int_equal(proto_slots_filling(placement_of(fx, &bucket), 7), 2);
    assert_int_equal(proto_slot_previous(placement_of(fx, &bucket), 7, 1), from);
    assert_int_equal(proto_slots_moved(placement_of(fx, &bucket), 7, epoch), 2);
    coord_audit(fx);
    fx_free(fx);
}
FX_BOTH(moves_only_what_may_move)

static void commits_of_the_past_are_missing_there(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_narrow_bucket(fx, "b");
    uint64_t before = fx_row(fx)->epoch;
    uint32_t from = proto_slot_osd(placement_of(fx, &bucket), partition_of(fx, &bucket, 1), 1);
    uint32_t to = move_slot(fx, &bucket, 1, 1);
    osd_is(fx, from, PROTO_OSD_DOWN);
    /* Not with all three: then it is refused, and written again. */
    assert_int_equal(put_at(fx, &bucket, "three", 1, before, 3), LILIO_E_NO_QUORUM);
    assert_int_equal(put_at(fx, &bucket, "old", 1, before, 2), LILIO_OK);
    assert_int_equal(missing(fx, 1), 1 << 1);
    assert_int_equal(fx_row(fx)->repair_count, 1);
    /* A partition where nothing moved, and the same one with the new map. */
    uint64_t other = 2, same = 3;
    while (partition_of(fx, &bucket, other) == partition_of(fx, &bucket, 1))
        other++;
    assert_int_equal(put_at(fx, &bucket, "elsewhere", other, before, 3), LILIO_OK);
    assert_int_equal(missing(fx, other), 0);
    for (same = other + 1; partition_of(fx, &bucket, same) != partition_of(fx, &bucket, 1);)
        same++;
    assert_int_equal(put_at(fx, &bucket, "new", same, fx_row(fx)->epoch, 3), LILIO_OK);
    assert_int_equal(missing(fx, same), 0);
    /* Also when it is filled since: it was filled with what was there. */
    struct proto_filled_slot slot = {.partition = partition_of(fx, &bucket, 1), .slot = 1};
    struct proto_slots_filled filled = filled_by(fx, &bucket, to, &slot);
    assert_int_equal(fx_internal(fx, &proto_type_slots_filled, &filled), LILIO_OK);
    assert_int_equal(filling(fx, &bucket, 1), 0);
    uint64_t late = same + 1;
    while (partition_of(fx, &bucket, late) != partition_of(fx, &bucket, 1))
        late++;
    assert_int_equal(put_at(fx, &bucket, "late", late, before, 2), LILIO_OK);
    assert_int_equal(missing(fx, late), 1 << 1);
    coord_audit(fx);
    fx_free(fx);
}
FX_BOTH(commits_of_the_past_are_missing_there)

/* Counts it for all three, and calls missing what is not where it belongs. */
static void counts_handed(struct fx *fx, const struct proto_bucket *bucket, uint64_t counter,
                          uint64_t epoch, uint64_t wanted)
{
    char key[24];
    (void)snprintf(key, sizeof key, "h%llu", (unsigned long long)counter);
    assert_int_equal(put_at(fx, bucket, key, counter, epoch, WIDTH), LILIO_OK);
    assert_int_equal(missing(fx, counter), wanted);
}

/* The next object of the same partition. */
static uint64_t next_like(struct fx *fx, const struct proto_bucket *bucket, uint64_t counter)
{
    uint32_t partition = partition_of(fx, bucket, counter++);
    while (partition_of(fx, bucket, counter) != partition)
        counter++;
    return counter;
}

/* What was acknowledged with an older map is durable where the slot was, as long as it is sure who
 * that is, and that one is there. */
static void commits_of_the_past_count_where_they_are(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_narrow_bucket(fx, "b");
    uint64_t before = fx_row(fx)->epoch, at = 1;
    uint32_t partition = partition_of(fx, &bucket, 1);
    uint32_t first = proto_slot_osd(placement_of(fx, &bucket), partition, 1);
    uint32_t second = move_slot(fx, &bucket, 1, 1);
    counts_handed(fx, &bucket, at, before, 1 << 1);
    /* A fragment the writer itself misses is nowhere. */
    at = next_like(fx, &bucket, at);
    struct proto_exception lacks = {.stripe_count = 1, .index = 1, .kind = KIND_MISSING};
    struct proto_commit commit = fx_commit(fx, &bucket, "lacks", at, 5000);
    commit.lowest_epoch = before;
    commit.quorum = WIDTH;
    commit.data[0].exceptions = &lacks;
    commit.data[0].exceptions_count = 1;
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_E_NO_QUORUM);
    const uint32_t owners[] = {first, second};
    for (size_t i = 0; i < 2; i++) {
        osd_is(fx, owners[i], PROTO_OSD_DOWN);
        assert_int_equal(put_at(fx, &bucket, "away", at, before, WIDTH), LILIO_E_NO_QUORUM);
        osd_is(fx, owners[i], PROTO_OSD_UP);
    }
    counts_handed(fx, &bucket, at, before, 1 << 1);
    /* Staged before or after the move, committed after it. */
    at = next_like(fx, &bucket, at);
    struct proto_stage stage = {.data = *fx_commit(fx, &bucket, "staged", at, 5000).data,
                                .lowest_epoch = before,
                                .quorum = WIDTH};
    assert_int_equal(fx_do(fx, &proto_type_stage, &stage), LILIO_OK);
    struct proto_commit staged = fx_commit(fx, &bucket, "staged", at, 5000);
    staged.data_count = 0;
    staged.quorum = WIDTH;
    assert_int_equal(fx_do(fx, &proto_type_commit, &staged), LILIO_OK);
    assert_int_equal(missing(fx, at), 1 << 1);
    /* Another slot of the partition moves: two changes, but each slot changed hands once. */
    uint64_t between = fx_row(fx)->epoch;
    (void)move_slot(fx, &bucket, 1, 0);
    at = next_like(fx, &bucket, at);
    counts_handed(fx, &bucket, at, between, 1 << 0); /* slot 1 moved before that */
    assert_int_equal(put_at(fx, &bucket, "twice", next_like(fx, &bucket, at), before, WIDTH),
                     LILIO_E_NO_QUORUM);
    /* A slot that moves on while it fills has a predecessor nobody knows. */
    between = fx_row(fx)->epoch;
    uint32_t third = stranger(placement_of(fx, &bucket), partition);
    assert_int_equal(move(fx, step(bucket.placement, partition, 1, second, third)), LILIO_OK);
    assert_int_equal(proto_slot_previous(placement_of(fx, &bucket), partition, 1), first);
    assert_int_equal(put_at(fx, &bucket, "twice", next_like(fx, &bucket, at), between, WIDTH),
                     LILIO_E_NO_QUORUM);
    coord_audit(fx);
    fx_free(fx);
}
FX_BOTH(commits_of_the_past_count_where_they_are)

static void filled_by_who_has_it_since_then(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_narrow_bucket(fx, "b");
    (void)fx_put(fx, &bucket, "o", 1, 5000);
    uint32_t partition = partition_of(fx, &bucket, 1);
    uint32_t from = proto_slot_osd(placement_of(fx, &bucket), partition, 0);
    uint64_t before = fx_row(fx)->epoch;
    uint32_t to = move_slot(fx, &bucket, 1, 0);
    struct proto_filled_slot slot = {.partition = partition};
    struct proto_slots_filled filled = filled_by(fx, &bucket, to, &slot);
    filled.incarnation++;
    assert_int_equal(fx_internal(fx, &proto_type_slots_filled, &filled), LILIO_E_FOREIGN);
    filled.incarnation--;
    filled.osd = 99;
    assert_int_equal(fx_internal(fx, &proto_type_slots_filled, &filled), LILIO_E_NOT_FOUND);
    filled.osd = to;
    filled.index += 100;
    assert_int_equal(fx_internal(fx, &proto_type_slots_filled, &filled), LILIO_E_INVALID);
    filled.index -= 100;
    filled.epoch = before; /* pinned before the slot was its own */
    assert_int_equal(fx_internal(fx, &proto_type_slots_filled, &filled), LILIO_OK);
    assert_int_equal(filling(fx, &bucket, 1), 1);
    struct proto_slots_filled others = filled_by(fx, &bucket, from, &slot); /* has it no more */
    assert_int_equal(fx_internal(fx, &proto_type_slots_filled, &others), LILIO_OK);
    assert_int_equal(filling(fx, &bucket, 1), 1);
    /* Who had it stays known: it may have what is called missing. */
    filled.epoch = fx_row(fx)->epoch;
    assert_int_equal(fx_internal(fx, &proto_type_slots_filled, &filled), LILIO_OK);
    assert_int_equal(filling(fx, &bucket, 1), 0);
    assert_int_equal(proto_slot_previous(placement_of(fx, &bucket), partition, 0), from);
    uint64_t epoch = fx_row(fx)->epoch;
    assert_int_equal(fx_internal(fx, &proto_type_slots_filled, &filled), LILIO_OK); /* again */
    assert_int_equal(fx_row(fx)->epoch, epoch);
    coord_audit(fx);
    fx_free(fx);
}
FX_BOTH(filled_by_who_has_it_since_then)

static void good_news_of_who_had_it_counts_no_more(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_narrow_bucket(fx, "b");
    (void)fx_put(fx, &bucket, "o", 1, 5000);
    uint32_t from = proto_slot_osd(placement_of(fx, &bucket), partition_of(fx, &bucket, 1), 2);
    report(fx, 1, 2, KIND_MISSING, from);
    uint32_t to = move_slot(fx, &bucket, 1, 2);
    report(fx, 1, 2, KIND_GOOD, from); /* mended where it does not belong any more */
    assert_int_equal(missing(fx, 1), 1 << 2);
    report(fx, 1, 2, KIND_GOOD, to);
    assert_int_equal(missing(fx, 1), 0);
    coord_audit(fx);
    fx_free(fx);
}
FX_BOTH(good_news_of_who_had_it_counts_no_more)

/* ---- a service and OSDs ---- */

struct fixture {
    struct svc *svc;
    struct fx *fx;
    struct proto_bucket narrow, wide; /* 2+1 has somewhere to go, 4+2 has not */
};

static void fixture_init(struct fixture *f, bool rocksdb)
{
    *f = (struct fixture){.svc = svc_new(rocksdb, 60000, true)};
    f->fx = f->svc->fx;
    f->narrow = fx_narrow_bucket(f->fx, "narrow");
    f->wide = fx_bucket(f->fx, "wide");
    for (uint64_t i = 1; i <= 20; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%llu", (unsigned long long)i);
        (void)fx_put(f->fx, i <= 15 ? &f->narrow : &f->wide, key, i, 4000);
    }
    for (int i = 0; i < FX_OSDS; i++)
        f->svc->alive[i] = true;
    svc_pass(f->svc, 12000); /* everybody had its time to be heard */
    f->svc->alive[GONE] = false;
}

/* Of the narrow bucket alone: the wide one has a stripe on every OSD. */
static void narrow_fixture_init(struct fixture *f, bool rocksdb)
{
    *f = (struct fixture){.svc = svc_new(rocksdb, 60000, true)};
    f->fx = f->svc->fx;
    f->narrow = fx_narrow_bucket(f->fx, "narrow");
    for (uint64_t i = 1; i <= 15; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%llu", (unsigned long long)i);
        (void)fx_put(f->fx, &f->narrow, key, i, 4000);
    }
    for (int i = 0; i < FX_OSDS; i++)
        f->svc->alive[i] = true;
    svc_pass(f->svc, 12000);
}

static void fixture_release(struct fixture *f)
{
    coord_audit(f->fx);
    svc_free(f->svc);
}

static size_t slots_of(struct fixture *f, const struct proto_bucket *bucket, uint32_t osd,
                       bool only_filling)
{
    const struct proto_placement *placement = placement_of(f->fx, bucket);
    size_t count = 0;
    for (uint32_t p = 0; p >> placement->partition_bits == 0; p++)
        for (uint32_t i = 0; i < placement->width; i++)
            count += proto_slot_osd(placement, p, i) == osd &&
                     (!only_filling || proto_slots_filling(placement, p) >> i & 1);
    return count;
}

static size_t filling_all(struct fixture *f)
{
    size_t count = 0;
    for (uint32_t osd = 0; osd < FX_OSDS; osd++)
        count += slots_of(f, &f->narrow, osd, true) + slots_of(f, &f->wide, osd, true);
    return count;
}

/* A heartbeat that says what became of a job; the job it brings, if any. */
static struct proto_fill_job beat(struct fixture *f, uint32_t osd, struct proto_fill_report *said)
{
    const struct proto_osd *row =
        coord_state_osd_at(f->fx->state, coord_state_osd_find(f->fx->state, osd));
    struct proto_osd_heartbeat heartbeat = {
        .osd = osd,
        .state = PROTO_OSD_UP,
        .incarnation = row->incarnation,
        .disk_uuid = row->disk_uuid,
        .known_epoch = fx_row(f->fx)->epoch,
        .capacity_bytes = UINT64_C(1) << 40,
        .free_bytes = f->svc->free_bytes[osd] ? f->svc->free_bytes[osd] : UINT64_C(1) << 39,
        .fills = said,
        .fills_count = said != NULL,
    };
    struct proto_osd_orders orders;
    assert_int_equal(svc_call(f->svc, 0, 0, &proto_type_osd_heartbeat, &heartbeat), LILIO_OK);
    svc_reply(f->svc, &proto_type_osd_orders, &orders);
    return orders.fills_count ? orders.fills[0] : (struct proto_fill_job){0};
}

/* The OSD says that it has filled what the job names. */
static void fill(struct fixture *f, uint32_t osd, const struct proto_fill_job *job)
{
    const struct proto_placement *placement = coord_state_placement(f->fx->state, job->placement);
    struct proto_filled_slot slots[COORD_FILL_MAX];
    for (size_t i = 0; i < job->partitions_count; i++) {
        uint32_t partition = (uint32_t)job->partitions[i], slot = 0;
        while (proto_slot_osd(placement, partition, slot) != osd)
            slot++;
        assert_true(proto_slots_filling(placement, partition) >> slot & 1);
        slots[i] = (struct proto_filled_slot){.partition = partition, .slot = (uint8_t)slot};
    }
    struct proto_slots_filled filled = filled_by(f->fx, &f->narrow, osd, slots);
    filled.slots_count = job->partitions_count;
    assert_int_equal(svc_call(f->svc, 0, 0, &proto_type_slots_filled, &filled), LILIO_OK);
}

static struct proto_redundancy redundancy(struct fixture *f)
{
    struct proto_redundancy_get get = {0};
    struct proto_redundancy ret;
    assert_int_equal(svc_call(f->svc, 0, 0, &proto_type_redundancy_get, &get), LILIO_OK);
    svc_reply(f->svc, &proto_type_redundancy, &ret);
    return ret;
}

static uint64_t whole(const struct proto_redundancy *redundancy, uint8_t total)
{
    uint64_t count = 0;
    for (size_t i = 0; i < redundancy->lines_count; i++)
        if (redundancy->lines[i].total_count == total)
            count += redundancy->lines[i].levels[total - redundancy->lines[i].data_count];
    return count;
}

static void out_moves_and_fills(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    size_t had = slots_of(&f, &f.narrow, GONE, false);
    assert_true(had > 100);
    svc_pass(f.svc, OUT_MS - 30000);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), had); /* it is down, it may come back */
    svc_pass(f.svc, 60000);
    assert_int_equal(svc_row(f.svc, GONE), PROTO_OSD_OUT);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), 0);
    assert_int_equal(slots_of(&f, &f.wide, GONE, false), 1u << PROTO_PARTITION_BITS);
    assert_int_equal(filling_all(&f), had);
    struct proto_redundancy counted = redundancy(&f);
    assert_int_equal(counted.stranded, 5);
    assert_true(whole(&counted, 3) < 15);
    uint64_t stripes = 0;
    for (size_t i = 0; i < counted.osds_count; i++)
        stripes += counted.osds[i].filling;
    assert_int_equal(whole(&counted, 3) + stripes, 15);
    /* svc_pass beats for them and drops what it is told: the jobs are handed out again. */
    for (uint32_t osd = 0; osd < FX_OSDS; osd++) {
        if (osd == GONE)
            continue;
        struct proto_fill_job job = beat(&f, osd, NULL);
        assert_int_equal(job.partitions_count, slots_of(&f, &f.narrow, osd, true));
        struct proto_fill_report said = {.id = job.id, .rows = 20, .rows_done = 5};
        assert_int_equal(beat(&f, osd, &said).id, 0);     /* it has one */
        assert_int_equal(beat(&f, osd, NULL).id, job.id); /* it forgot it */
        fill(&f, osd, &job);
        said.ended = true;
        assert_int_equal(beat(&f, osd, &said).id, 0);
        assert_int_equal(slots_of(&f, &f.narrow, osd, true), 0);
    }
    counted = redundancy(&f);
    assert_int_equal(whole(&counted, 3), 15);
    assert_int_equal(placement_of(f.fx, &f.narrow)->filling.size, 0);
    /* It comes back and owns nothing of that. */
    f.svc->alive[GONE] = true;
    svc_pass(f.svc, 5000);
    assert_int_equal(svc_row(f.svc, GONE), PROTO_OSD_UP);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), 0);
    assert_int_equal(redundancy(&f).stranded, 0);
    assert_int_equal(beat(&f, GONE, NULL).id, 0);
    fixture_release(&f);
}
FX_BOTH(out_moves_and_fills)

static void fill_everything(struct fixture *f)
{
    for (uint32_t osd = 0; osd < FX_OSDS; osd++) {
        if (!f->svc->alive[osd] || f->svc->says[osd])
            continue;
        for (struct proto_fill_job job = beat(f, osd, NULL); job.id != 0;) {
            struct proto_fill_report said = {.id = job.id, .ended = true};
            fill(f, osd, &job);
            job = beat(f, osd, &said);
        }
    }
}

/* One at a time, but one after the other, although those before never come back. */
static void the_next_one_goes_out_when_all_is_filled(bool rocksdb)
{
    enum { NEXT = 4 };
    struct fixture f;
    fixture_init(&f, rocksdb);
    svc_pass(f.svc, OUT_MS + 30000);
    assert_int_equal(svc_row(f.svc, GONE), PROTO_OSD_OUT);
    f.svc->alive[NEXT] = false;
    svc_pass(f.svc, OUT_MS + 30000);
    assert_int_equal(svc_row(f.svc, NEXT), PROTO_OSD_DOWN); /* slots fill yet */
    fill_everything(&f);
    svc_pass(f.svc, 5000);
    assert_int_equal(svc_row(f.svc, NEXT), PROTO_OSD_OUT);
    assert_int_equal(slots_of(&f, &f.narrow, NEXT, false), 0);
    fixture_release(&f);
}
FX_BOTH(the_next_one_goes_out_when_all_is_filled)

/* As long as what they had has somewhere to go: then they count for nothing any more. */
static void all_but_three_go_one_after_the_other(bool rocksdb)
{
    struct fixture f = {.svc = svc_new(rocksdb, 60000, true)};
    struct proto_status_get get = {0};
    struct proto_status status;
    f.fx = f.svc->fx;
    f.narrow = fx_narrow_bucket(f.fx, "narrow");
    for (int i = 0; i < FX_OSDS; i++)
        f.svc->alive[i] = true;
    svc_pass(f.svc, 12000);
    for (uint32_t osd = FX_OSDS - 1; osd > 2; osd--) {
        f.svc->alive[osd] = false;
        svc_pass(f.svc, OUT_MS + 30000);
        assert_int_equal(svc_row(f.svc, osd), PROTO_OSD_OUT);
        fill_everything(&f);
        svc_pass(f.svc, 1000);
        assert_int_equal(slots_of(&f, &f.narrow, osd, false), 0);
    }
    assert_int_equal(svc_call(f.svc, 0, 0, &proto_type_status_get, &get), LILIO_OK);
    svc_reply(f.svc, &proto_type_status, &status);
    assert_false(status.many_away);
    fixture_release(&f);
}
FX_BOTH(all_but_three_go_one_after_the_other)

/* ---- blank and failed ---- */

static struct proto_status status_of(struct fixture *f)
{
    struct proto_status_get get = {0};
    struct proto_status status;
    assert_int_equal(svc_call(f->svc, 0, 0, &proto_type_status_get, &get), LILIO_OK);
    svc_reply(f->svc, &proto_type_status, &status);
    return status;
}

/* GONE beats with this state from now on, until its row says it. */
static void hurt_fixture_init(struct fixture *f, bool rocksdb, uint8_t state)
{
    fixture_init(f, rocksdb);
    f->svc->alive[GONE] = true;
    f->svc->says[GONE] = state;
    svc_pass(f->svc, 5000);
    assert_int_equal(svc_row(f->svc, GONE), state);
}

static void bind_another(struct fixture *f)
{
    struct proto_osd_bind bind = {
        .osd = GONE, .disk_uuid = fx_uuid(77), .rebuild = true, .afresh = true};
    assert_int_equal(svc_call(f->svc, 0, 0, &proto_type_osd_bind, &bind), LILIO_OK);
    f->svc->says[GONE] = 0;
    svc_pass(f->svc, 2000);
    assert_int_equal(svc_row(f->svc, GONE), PROTO_OSD_UP);
}

/* Rebuilt afterwards, it has what had nowhere to go, and nothing of what moved. */
static void blank_for_long_is_given_up(bool rocksdb)
{
    struct fixture f;
    hurt_fixture_init(&f, rocksdb, PROTO_OSD_BLANK);
    size_t had = slots_of(&f, &f.narrow, GONE, false);
    assert_int_equal(redundancy(&f).stranded, 5); /* at once: the wide ones */
    svc_pass(f.svc, OUT_MS - 30000);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), had);
    struct proto_status status = status_of(&f);
    assert_int_equal(status.leaving_count, 1);
    assert_int_equal(status.leaving[0].osd, GONE);
    assert_in_range(status.leaving[0].in_ms, 20000, 35000);
    svc_pass(f.svc, 60000);
    assert_int_equal(svc_row(f.svc, GONE), PROTO_OSD_BLANK);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), 0);
    assert_int_equal(filling_all(&f), had);
    assert_int_equal(redundancy(&f).stranded, 5);
    assert_int_equal(status_of(&f).leaving_count, 0);
    bind_another(&f);
    svc_pass(f.svc, OUT_MS + 60000);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), 0);
    assert_int_equal(slots_of(&f, &f.wide, GONE, false), 1u << PROTO_PARTITION_BITS);
    assert_int_equal(redundancy(&f).stranded, 0);
    fixture_release(&f);
}
FX_BOTH(blank_for_long_is_given_up)

static void a_rebuild_that_was_ordered_keeps_slots(bool rocksdb)
{
    struct fixture f;
    hurt_fixture_init(&f, rocksdb, PROTO_OSD_BLANK);
    size_t had = slots_of(&f, &f.narrow, GONE, false);
    svc_pass(f.svc, OUT_MS - 30000);
    bind_another(&f);
    svc_pass(f.svc, OUT_MS + 60000);
    assert_false(coord_state_osd_at(f.fx->state, GONE)->complete);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), had);
    fixture_release(&f);
}
FX_BOTH(a_rebuild_that_was_ordered_keeps_slots)

/* What it has is a source; what it has yet it keeps when it is well again. */
static void failed_for_long_is_given_up(bool rocksdb)
{
    struct fixture f;
    hurt_fixture_init(&f, rocksdb, PROTO_OSD_FAILED);
    size_t had = slots_of(&f, &f.narrow, GONE, false);
    svc_pass(f.svc, OUT_MS - 30000);
    f.svc->says[GONE] = 0; /* well for a moment: from the beginning */
    svc_pass(f.svc, 2000);
    f.svc->says[GONE] = PROTO_OSD_FAILED;
    svc_pass(f.svc, OUT_MS - 30000);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), had);
    svc_pass(f.svc, 60000);
    assert_int_equal(svc_row(f.svc, GONE), PROTO_OSD_FAILED);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), 0);
    size_t sources = 0;
    const struct proto_placement *placement = placement_of(f.fx, &f.narrow);
    for (uint32_t p = 0; p >> placement->partition_bits == 0; p++)
        for (uint32_t i = 0; i < WIDTH; i++)
            sources += proto_slot_previous(placement, p, i) == GONE;
    assert_int_equal(sources, had);
    assert_int_equal(redundancy(&f).stranded, 5);
    f.svc->says[GONE] = 0;
    svc_pass(f.svc, 60000);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), 0);
    assert_int_equal(slots_of(&f, &f.wide, GONE, false), 1u << PROTO_PARTITION_BITS);
    assert_int_equal(redundancy(&f).stranded, 0);
    fixture_release(&f);
}
FX_BOTH(failed_for_long_is_given_up)

static void a_new_leader_waits_as_long_again(bool rocksdb)
{
    struct fixture f;
    hurt_fixture_init(&f, rocksdb, PROTO_OSD_FAILED);
    size_t had = slots_of(&f, &f.narrow, GONE, false);
    svc_pass(f.svc, OUT_MS - 30000);
    svc_restart(f.svc);
    svc_pass(f.svc, OUT_MS - 30000);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), had);
    svc_pass(f.svc, 60000);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), 0);
    fixture_release(&f);
}
FX_BOTH(a_new_leader_waits_as_long_again)

/* Out, then an empty disk: what had nowhere to go is not forgotten, and goes when somebody comes.
 */
static void out_stays_given_up_when_it_is_blank(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    f.svc->alive[5] = false; /* two of six */
    svc_pass(f.svc, OUT_MS + 30000);
    uint32_t out = svc_row(f.svc, GONE) == PROTO_OSD_OUT ? GONE : 5;
    assert_int_equal(svc_row(f.svc, out), PROTO_OSD_OUT);
    assert_int_equal(slots_of(&f, &f.narrow, out, false), 0);
    f.svc->alive[out] = true;
    f.svc->says[out] = PROTO_OSD_BLANK;
    svc_pass(f.svc, 2000);
    assert_int_equal(svc_row(f.svc, out), PROTO_OSD_BLANK);
    struct proto_status status = status_of(&f);
    assert_int_equal(status.leaving_count, 1); /* the other one */
    assert_int_not_equal(status.leaving[0].osd, out);
    fill_everything(&f);
    svc_pass(f.svc, 2000);
    assert_int_equal(redundancy(&f).stranded, 5);
    fixture_release(&f);
}
FX_BOTH(out_stays_given_up_when_it_is_blank)

/* As for those that are out: one after the other, though nobody replaces them. */
static void all_but_three_are_blank_one_after_the_other(bool rocksdb)
{
    struct fixture f;
    narrow_fixture_init(&f, rocksdb);
    for (uint32_t osd = FX_OSDS - 1; osd > 2; osd--) {
        f.svc->says[osd] = PROTO_OSD_BLANK;
        svc_pass(f.svc, OUT_MS + 30000);
        assert_int_equal(svc_row(f.svc, osd), PROTO_OSD_BLANK);
        fill_everything(&f);
        svc_pass(f.svc, 1000);
        assert_int_equal(slots_of(&f, &f.narrow, osd, false), 0);
    }
    assert_false(status_of(&f).many_away);
    fixture_release(&f);
}
FX_BOTH(all_but_three_are_blank_one_after_the_other)

/* Rule 9: who is blank is away like who is down. */
static void many_blank_are_many_away(bool rocksdb)
{
    struct fixture f;
    hurt_fixture_init(&f, rocksdb, PROTO_OSD_BLANK);
    size_t had = slots_of(&f, &f.narrow, GONE, false);
    assert_false(status_of(&f).many_away);
    f.svc->says[4] = PROTO_OSD_BLANK;
    svc_pass(f.svc, 2000);
    assert_false(status_of(&f).many_away);
    f.svc->says[5] = PROTO_OSD_BLANK;
    svc_pass(f.svc, OUT_MS + 60000);
    assert_true(status_of(&f).many_away);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), had);
    assert_int_equal(filling_all(&f), 0);
    f.svc->says[4] = f.svc->says[5] = 0;
    svc_pass(f.svc, 3000);
    assert_false(status_of(&f).many_away);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), 0);
    fixture_release(&f);
}
FX_BOTH(many_blank_are_many_away)

/* Disks that failed serve what they have. Many that failed together are left alone, but another
 * one's slots move beside them. */
static void many_failed_hold_up_themselves_alone(bool rocksdb)
{
    struct fixture f;
    hurt_fixture_init(&f, rocksdb, PROTO_OSD_BLANK);
    f.svc->says[4] = f.svc->says[5] = PROTO_OSD_FAILED;
    size_t had = slots_of(&f, &f.narrow, 4, false) + slots_of(&f, &f.narrow, 5, false);
    svc_pass(f.svc, OUT_MS + 60000);
    assert_false(status_of(&f).many_away);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), 0);
    fill_everything(&f);
    svc_pass(f.svc, OUT_MS + 60000);
    assert_int_equal(slots_of(&f, &f.narrow, 4, false) + slots_of(&f, &f.narrow, 5, false), had);
    fixture_release(&f);
}
FX_BOTH(many_failed_hold_up_themselves_alone)

/* A bad disk that ends its daemon now and then is not well in between. */
static void failed_and_down_in_turn_is_given_up(bool rocksdb)
{
    struct fixture f;
    hurt_fixture_init(&f, rocksdb, PROTO_OSD_FAILED);
    svc_pass(f.svc, OUT_MS / 2);
    f.svc->alive[GONE] = false;
    svc_pass(f.svc, 30000);
    assert_int_equal(svc_row(f.svc, GONE), PROTO_OSD_DOWN);
    f.svc->alive[GONE] = true;
    svc_pass(f.svc, OUT_MS / 2);
    assert_int_equal(svc_row(f.svc, GONE), PROTO_OSD_FAILED);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), 0);
    fixture_release(&f);
}
FX_BOTH(failed_and_down_in_turn_is_given_up)

/* Those that have nothing any more may be taken away, and nobody has to wait for that. */
static void emptied_ones_that_are_down_count_for_nothing(bool rocksdb)
{
    struct fixture f;
    narrow_fixture_init(&f, rocksdb);
    for (uint32_t osd = 5; osd >= 4; osd--) {
        f.svc->says[osd] = PROTO_OSD_FAILED;
        svc_pass(f.svc, OUT_MS + 30000);
        fill_everything(&f);
        svc_pass(f.svc, 1000);
        assert_int_equal(slots_of(&f, &f.narrow, osd, false), 0);
    }
    f.svc->alive[4] = f.svc->alive[5] = f.svc->alive[3] = false;
    svc_pass(f.svc, 30000);
    assert_int_equal(svc_row(f.svc, 5), PROTO_OSD_DOWN);
    assert_false(status_of(&f).many_away);
    svc_pass(f.svc, OUT_MS + 30000);
    assert_int_equal(svc_row(f.svc, 3), PROTO_OSD_OUT);
    assert_int_equal(slots_of(&f, &f.narrow, 3, false), 0);
    fixture_release(&f);
}
FX_BOTH(emptied_ones_that_are_down_count_for_nothing)

/* One failure domain at a time, whether its OSD is out or not. */
static void hurt_ones_go_one_after_the_other(bool rocksdb)
{
    enum { NEXT = 4 };
    struct fixture f;
    hurt_fixture_init(&f, rocksdb, PROTO_OSD_BLANK);
    f.svc->says[NEXT] = PROTO_OSD_FAILED;
    size_t had = slots_of(&f, &f.narrow, NEXT, false);
    svc_pass(f.svc, OUT_MS + 60000);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), 0);
    assert_int_equal(slots_of(&f, &f.narrow, NEXT, false), had);
    struct proto_status status = status_of(&f);
    assert_int_equal(status.leaving_count, 1);
    assert_true(status.leaving[0].waits && status.leaving[0].behind == GONE);
    fill_everything(&f);
    svc_pass(f.svc, 3000);
    assert_int_equal(slots_of(&f, &f.narrow, NEXT, false), 0);
    fixture_release(&f);
}
FX_BOTH(hurt_ones_go_one_after_the_other)

/* Of two OSDs one is more than a third, but there is nothing to wait for with more of them. */
static void one_alone_is_never_too_many(bool rocksdb)
{
    struct fixture f = {.svc = svc_new(rocksdb, 60000, true)};
    f.fx = f.svc->fx;
    f.narrow = fx_coded_bucket(f.fx, "single", 1, 0);
    for (int i = 0; i < FX_OSDS; i++)
        f.svc->alive[i] = true;
    svc_pass(f.svc, 12000);
    for (uint32_t osd = FX_OSDS - 1; osd > 0; osd--) {
        f.svc->alive[osd] = false;
        svc_pass(f.svc, OUT_MS + 30000);
        assert_int_equal(svc_row(f.svc, osd), PROTO_OSD_OUT);
        assert_false(status_of(&f).many_away);
        fill_everything(&f);
        svc_pass(f.svc, 1000);
        assert_int_equal(slots_of(&f, &f.narrow, osd, false), 0);
    }
    fixture_release(&f);
}
FX_BOTH(one_alone_is_never_too_many)

/* ---- a new leader ---- */

static void a_new_leader_goes_on(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    svc_pass(f.svc, OUT_MS + 30000);
    struct proto_fill_job first = beat(&f, 0, NULL);
    assert_true(first.id != 0);
    svc_restart(f.svc);
    struct proto_fill_report said = {.id = first.id};
    struct proto_fill_job again = beat(&f, 0, &said);
    assert_true(again.id != 0 && again.id != first.id);
    assert_int_equal(again.partitions_count, slots_of(&f, &f.narrow, 0, true));
    size_t left = filling_all(&f);
    fill(&f, 0, &again);
    said = (struct proto_fill_report){.id = first.id, .ended = true}; /* nobody knows it */
    (void)beat(&f, 0, &said);
    assert_int_equal(filling_all(&f), left - again.partitions_count);
    fixture_release(&f);
}
FX_BOTH(a_new_leader_goes_on)

/* So quickly that nobody saw it go. */
static void an_osd_that_restarts_goes_on(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    svc_pass(f.svc, OUT_MS + 30000);
    struct proto_fill_job first = beat(&f, 0, NULL);
    const struct proto_osd *row = coord_state_osd_at(f.fx->state, 0);
    struct proto_osd_hello hello = {
        .osd = row->id,
        .disk_uuid = row->disk_uuid,
        .address = row->address,
    };
    assert_int_equal(row->id, 0);
    assert_true(first.id != 0);
    assert_int_equal(svc_call(f.svc, 0, 0, &proto_type_osd_hello, &hello), LILIO_OK);
    struct proto_fill_job again = beat(&f, 0, NULL);
    assert_true(again.id != 0 && again.id != first.id);
    assert_int_equal(again.partitions_count, first.partitions_count);
    fixture_release(&f);
}
FX_BOTH(an_osd_that_restarts_goes_on)

static void a_job_that_failed_waits(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    svc_pass(f.svc, OUT_MS + 30000);
    memset(f.svc->alive, 0,
           sizeof f.svc->alive); /* the beats are ours, sooner than they are missed */
    struct proto_fill_job job = beat(&f, 0, NULL);
    struct proto_fill_report said = {
        .id = job.id, .ended = true, .err = LILIO_E_UNAVAILABLE, .reason = fx_text("no sources")};
    assert_int_equal(beat(&f, 0, &said).id, 0);
    struct proto_status_get get = {0};
    struct proto_status status;
    assert_int_equal(svc_call(f.svc, 0, 0, &proto_type_status_get, &get), LILIO_OK);
    svc_reply(f.svc, &proto_type_status, &status);
    assert_true(status.fills_count > 0);
    assert_int_equal(status.fills[0].osd, 0);
    assert_int_equal(status.fills[0].tries, 1);
    assert_int_equal(status.fills[0].slots, slots_of(&f, &f.narrow, 0, true));
    assert_true(base_slice_equal(status.fills[0].reason, base_slice_str("no sources")));
    unsigned beats = 0;
    for (job.id = 0; job.id == 0 && beats < 100; beats++) {
        svc_pass(f.svc, 1000);
        for (uint32_t osd = 1; osd < FX_OSDS; osd++)
            if (osd != GONE)
                (void)svc_beat(f.svc, osd, PROTO_OSD_UP);
        job = beat(&f, 0, NULL);
    }
    assert_in_range(beats, 28, 40);
    fixture_release(&f);
}
FX_BOTH(a_job_that_failed_waits)

/* ---- what is left at who had a slot before ---- */

static uint8_t former_verdict(struct fx *fx, uint32_t osd, uint64_t counter, uint8_t index)
{
    struct proto_former former = {.oid = base_oid_make(0, fx->session, counter), .index = index};
    struct proto_formers_sweep sweep = {
        .osd = osd, .incarnation = 1, .fragments = &former, .fragments_count = 1};
    struct proto_formers_answer answer;
    assert_int_equal(fx_internal(fx, &proto_type_formers_sweep, &sweep), LILIO_OK);
    fx_reply(fx, &proto_type_formers_answer, &answer);
    assert_int_equal(answer.verdicts.size, 1);
    return answer.verdicts.data[0];
}

static void former_fragment_goes_when_its_stripe_is_full(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_narrow_bucket(fx, "b");
    assert_int_equal(put_at(fx, &bucket, "k", 1, fx_row(fx)->epoch, WIDTH), LILIO_OK);
    uint32_t partition = partition_of(fx, &bucket, 1);
    uint32_t before = proto_slot_osd(placement_of(fx, &bucket), partition, 1);
    uint32_t other = proto_slot_osd(placement_of(fx, &bucket), partition, 0);
    assert_int_equal(former_verdict(fx, before, 1, 1), COORD_FORMER_STAYS); /* it has the slot */
    uint32_t after = move_slot(fx, &bucket, 1, 1);
    assert_int_equal(former_verdict(fx, before, 1, 1), COORD_FORMER_STAYS); /* a source */
    struct proto_filled_slot slot = {.partition = partition, .slot = 1};
    struct proto_slots_filled filled = filled_by(fx, &bucket, after, &slot);
    assert_int_equal(fx_internal(fx, &proto_type_slots_filled, &filled), LILIO_OK);
    assert_int_equal(former_verdict(fx, before, 1, 1), COORD_FORMER_MAY_GO);
    assert_int_equal(former_verdict(fx, after, 1, 1), COORD_FORMER_STAYS);
    assert_int_equal(former_verdict(fx, before, 2, 1), COORD_FORMER_STAYS); /* nobody's */
    assert_int_equal(former_verdict(fx, before, 1, 60), COORD_FORMER_STAYS);

    report(fx, 1, 0, KIND_MISSING, other); /* another fragment is needed: all are */
    assert_int_equal(missing(fx, 1), 1);
    assert_int_equal(former_verdict(fx, before, 1, 1), COORD_FORMER_STAYS);
    report(fx, 1, 0, KIND_GOOD, other);
    assert_int_equal(former_verdict(fx, before, 1, 1), COORD_FORMER_MAY_GO);
    osd_is(fx, other, PROTO_OSD_DOWN);
    assert_int_equal(former_verdict(fx, before, 1, 1), COORD_FORMER_STAYS);
    osd_is(fx, other, PROTO_OSD_UP);
    assert_int_equal(former_verdict(fx, before, 1, 1), COORD_FORMER_MAY_GO);
    report(fx, 1, 1, KIND_MISSING, before); /* a reader with an old map: that says nothing */
    assert_int_equal(missing(fx, 1), 0);
    struct proto_formers_sweep stranger_asks = {.osd = before, .incarnation = 2};
    assert_int_equal(fx_internal(fx, &proto_type_formers_sweep, &stranger_asks), LILIO_E_INVALID);
    fx_free(fx);
}
FX_BOTH(former_fragment_goes_when_its_stripe_is_full)

/* Named before the fill, which left it to repair, or by it: who had the slot may still have it. */
static void former_fragment_stays_while_its_like_is_missing(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_narrow_bucket(fx, "b");
    assert_int_equal(put_at(fx, &bucket, "k", 1, fx_row(fx)->epoch, WIDTH), LILIO_OK);
    uint32_t partition = partition_of(fx, &bucket, 1);
    uint32_t before = proto_slot_osd(placement_of(fx, &bucket), partition, 1);
    uint32_t after = move_slot(fx, &bucket, 1, 1);
    report(fx, 1, 1, KIND_MISSING, after);
    struct proto_filled_slot slot = {.partition = partition, .slot = 1};
    struct proto_slots_filled filled = filled_by(fx, &bucket, after, &slot);
    assert_int_equal(fx_internal(fx, &proto_type_slots_filled, &filled), LILIO_OK);
    assert_int_equal(filling(fx, &bucket, 1), 0);
    assert_int_equal(proto_slot_previous(placement_of(fx, &bucket), partition, 1), before);
    assert_int_equal(former_verdict(fx, before, 1, 1), COORD_FORMER_STAYS);
    report(fx, 1, 1, KIND_GOOD, after);
    assert_int_equal(former_verdict(fx, before, 1, 1), COORD_FORMER_MAY_GO);
    fx_free(fx);
}
FX_BOTH(former_fragment_stays_while_its_like_is_missing)

/* A heartbeat that tells how its comparison with the maps is. */
static void tells(struct fixture *f, uint32_t osd, uint8_t phase)
{
    const struct proto_osd *row =
        coord_state_osd_at(f->fx->state, coord_state_osd_find(f->fx->state, osd));
    struct proto_inventory_report report = {.phase = phase};
    struct proto_osd_heartbeat heartbeat = {
        .osd = osd,
        .state = PROTO_OSD_UP,
        .incarnation = row->incarnation,
        .disk_uuid = row->disk_uuid,
        .known_epoch = fx_row(f->fx)->epoch,
        .inventory = &report,
        .inventory_count = 1,
    };
    assert_int_equal(svc_call(f->svc, 0, 0, &proto_type_osd_heartbeat, &heartbeat), LILIO_OK);
}

static uint8_t verdict_of_leader(struct fixture *f, uint32_t osd)
{
    struct proto_former former = {.oid = base_oid_make(0, f->fx->session, 1), .index = 1};
    struct proto_formers_sweep sweep = {
        .osd = osd, .incarnation = 1, .fragments = &former, .fragments_count = 1};
    struct proto_formers_answer answer;
    assert_int_equal(svc_call(f->svc, 0, 0, &proto_type_formers_sweep, &sweep), LILIO_OK);
    svc_reply(f->svc, &proto_type_formers_answer, &answer);
    assert_int_equal(answer.verdicts.size, 1);
    return answer.verdicts.data[0];
}

/* Who has the slot now may have come back with an older copy of its disk: what the maps think of it
 * counts when it has compared. */
static void former_fragment_stays_while_somebody_compares(bool rocksdb)
{
    enum { WANTED = 1, WALK = 3, DONE = 4 };
    struct fixture f;
    fixture_init(&f, rocksdb);
    f.svc->alive[GONE] = true;
    uint32_t partition = partition_of(f.fx, &f.narrow, 1);
    uint32_t before = proto_slot_osd(placement_of(f.fx, &f.narrow), partition, 1);
    uint32_t after = move_slot(f.fx, &f.narrow, 1, 1);
    struct proto_filled_slot slot = {.partition = partition, .slot = 1};
    struct proto_slots_filled filled = filled_by(f.fx, &f.narrow, after, &slot);
    assert_int_equal(fx_internal(f.fx, &proto_type_slots_filled, &filled), LILIO_OK);
    assert_int_equal(verdict_of_leader(&f, before), COORD_FORMER_MAY_GO);
    tells(&f, after, WANTED);
    assert_int_equal(verdict_of_leader(&f, before), COORD_FORMER_STAYS);
    tells(&f, after, WALK);
    assert_int_equal(verdict_of_leader(&f, before), COORD_FORMER_STAYS);
    tells(&f, after, DONE);
    assert_int_equal(verdict_of_leader(&f, before), COORD_FORMER_MAY_GO);
    svc_restart(f.svc); /* it has heard nobody */
    assert_int_equal(verdict_of_leader(&f, before), COORD_FORMER_STAYS);
    svc_pass(f.svc, 12000);
    assert_int_equal(verdict_of_leader(&f, before), COORD_FORMER_MAY_GO);
    fixture_release(&f);
}
FX_BOTH(former_fragment_stays_while_somebody_compares)

/* ---- draining ---- */

enum { BEGIN = 1, END, STOP };

static enum lilio_err drain(struct fixture *f, uint32_t osd, uint8_t step)
{
    struct proto_osd_drain request = {.osd = osd, .step = step};
    return (enum lilio_err)svc_call(f->svc, 0, 0, &proto_type_osd_drain, &request);
}

static uint64_t drain_left(struct fixture *f, uint32_t osd)
{
    struct proto_redundancy counted = redundancy(f);
    for (size_t i = 0; i < counted.osds_count; i++)
        if (counted.osds[i].osd == osd)
            return counted.osds[i].drain_left;
    return UINT64_MAX;
}

static size_t filling_narrow(struct fixture *f)
{
    size_t count = 0;
    for (uint32_t osd = 0; osd < FX_OSDS; osd++)
        count += slots_of(f, &f->narrow, osd, true);
    return count;
}

static void drain_needs_somewhere_to_go(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb); /* six OSDs, one of them down, and stripes of six */
    assert_int_equal(drain(&f, 99, BEGIN), LILIO_E_NOT_FOUND);
    uint64_t epoch = fx_row(f.fx)->epoch;
    assert_int_equal(drain(&f, 4, BEGIN), LILIO_E_PRECONDITION);
    assert_int_equal(drain(&f, 4, STOP), LILIO_OK); /* it does not */
    assert_int_equal(fx_row(f.fx)->epoch, epoch);
    assert_int_equal(drain_left(&f, 4), 0);
    fixture_release(&f);
}
FX_BOTH(drain_needs_somewhere_to_go)

/* What the others have room for, all together, has to be as much as the OSD holds. */
static void drain_needs_room(bool rocksdb)
{
    const uint64_t gib = UINT64_C(1) << 30, reserve = (UINT64_C(1) << 40) / 100;
    struct fixture f;
    struct proto_error error;
    narrow_fixture_init(&f, rocksdb);
    f.svc->used_bytes[4] = 10 * gib;
    for (uint32_t osd = 0; osd < FX_OSDS; osd++)
        f.svc->free_bytes[osd] = reserve + gib; /* 4 has as much, which is not for it */
    f.svc->free_bytes[0] = reserve / 2;         /* none */
    svc_pass(f.svc, 2000);
    uint64_t epoch = fx_row(f.fx)->epoch;
    assert_int_equal(drain(&f, 4, BEGIN), LILIO_E_PRECONDITION);
    svc_reply(f.svc, &proto_type_error, &error);
    assert_true(base_slice_equal(
        error.text,
        base_slice_str("osd.4 holds 10240 MiB, and the OSDs that may take its slots have room for "
                       "4096 MiB: 6144 MiB are missing")));
    assert_int_equal(fx_row(f.fx)->epoch, epoch);
    assert_int_equal(drain(&f, 4, STOP), LILIO_OK);
    f.svc->free_bytes[0] = reserve + 6 * gib - 1;
    svc_pass(f.svc, 2000);
    assert_int_equal(drain(&f, 4, BEGIN), LILIO_E_PRECONDITION);
    f.svc->free_bytes[0]++;
    svc_pass(f.svc, 2000);
    assert_int_equal(drain(&f, 4, BEGIN), LILIO_OK);
    f.svc->free_bytes[0] = 1;
    svc_pass(f.svc, 2000);
    assert_int_equal(drain(&f, 4, BEGIN), LILIO_OK); /* it drains already */
    fixture_release(&f);
}
FX_BOTH(drain_needs_room)

/* Slots go where there is room, as long as somebody has some. */
static void full_ones_get_no_slots(bool rocksdb)
{
    struct fixture f;
    narrow_fixture_init(&f, rocksdb);
    f.svc->free_bytes[0] = f.svc->free_bytes[1] = 26 << 20;
    svc_pass(f.svc, 2000);
    size_t zero = slots_of(&f, &f.narrow, 0, false), one = slots_of(&f, &f.narrow, 1, false),
           had = slots_of(&f, &f.narrow, 4, false);
    assert_int_equal(drain(&f, 4, BEGIN), LILIO_OK);
    svc_pass(f.svc, 2000);
    assert_int_equal(slots_of(&f, &f.narrow, 4, false), 0);
    assert_int_equal(filling_narrow(&f), had);
    assert_int_equal(slots_of(&f, &f.narrow, 0, false), zero);
    assert_int_equal(slots_of(&f, &f.narrow, 1, false), one);
    fixture_release(&f);
}
FX_BOTH(full_ones_get_no_slots)

/* The OSD ends its job: its disk is full. */
static void says_full(struct fixture *f, uint32_t osd)
{
    struct proto_fill_job job = beat(f, osd, NULL);
    struct proto_fill_report said = {
        .id = job.id, .ended = true, .err = LILIO_E_NO_SPACE, .reason = fx_text("full")};
    assert_true(job.id != 0);
    assert_int_equal(beat(f, osd, &said).id, 0);
}

static void everybody_says_full(struct fixture *f)
{
    for (uint32_t osd = 0; osd < FX_OSDS; osd++)
        if (osd != GONE)
            says_full(f, osd);
}

/* One goes out for good while nobody has more than a little room. */
static void out_with_little_room(struct fixture *f)
{
    for (uint32_t osd = 0; osd < FX_OSDS; osd++)
        f->svc->free_bytes[osd] = 26 << 20;
    svc_pass(f->svc, OUT_MS + 30000);
}

/* What cannot be filled for want of room goes on to where there is some, and nothing else does. */
static void a_full_one_passes_on_what_it_cannot_fill(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    size_t had = slots_of(&f, &f.narrow, 0, false);
    svc_pass(f.svc, OUT_MS + 30000);
    size_t fills = slots_of(&f, &f.narrow, 0, true), all = filling_all(&f);
    assert_true(fills > 0);
    f.svc->free_bytes[0] = 26 << 20;
    says_full(&f, 0);
    svc_pass(f.svc, 1000);
    assert_int_equal(slots_of(&f, &f.narrow, 0, true), 0);
    assert_int_equal(slots_of(&f, &f.narrow, 0, false), had);
    assert_int_equal(filling_all(&f), all);
    fill_everything(&f);
    assert_int_equal(filling_all(&f), 0);
    fixture_release(&f);
}
FX_BOTH(a_full_one_passes_on_what_it_cannot_fill)

/* Where nobody has room, slots stay as they are, the next domain does not wait for them, and they
 * are filled as soon as there is room. */
static void full_ones_keep_nobody_waiting(bool rocksdb)
{
    enum { NEXT = 4 };
    struct fixture f;
    fixture_init(&f, rocksdb);
    out_with_little_room(&f);
    everybody_says_full(&f);
    size_t fills = slots_of(&f, &f.narrow, 0, true);
    f.svc->alive[NEXT] = false;
    svc_pass(f.svc, OUT_MS - 30000);
    assert_int_equal(slots_of(&f, &f.narrow, 0, true), fills);
    assert_int_equal(svc_row(f.svc, NEXT), PROTO_OSD_DOWN);
    svc_pass(f.svc, 60000);
    assert_int_equal(svc_row(f.svc, NEXT), PROTO_OSD_OUT);
    assert_int_equal(slots_of(&f, &f.narrow, NEXT, false), 0);
    for (uint32_t osd = 0; osd < FX_OSDS; osd++)
        f.svc->free_bytes[osd] = 0; /* half of the disk */
    fill_everything(&f);
    assert_int_equal(filling_all(&f), 0);
    fixture_release(&f);
}
FX_BOTH(full_ones_keep_nobody_waiting)

/* It is tried again as soon as there is more room. One that has as much as before is not. */
static void a_full_one_goes_on_when_there_is_room(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    out_with_little_room(&f);
    for (int i = 0; i < 6; i++) {
        while (beat(&f, 0, NULL).id == 0)
            svc_pass(f.svc, 30000);
        says_full(&f, 0);
    }
    svc_pass(f.svc, 120000);
    assert_int_equal(beat(&f, 0, NULL).id, 0);
    f.svc->free_bytes[0] = 0; /* half of the disk */
    svc_pass(f.svc, 3000);
    says_full(&f, 0); /* all the same: a quota */
    svc_pass(f.svc, 120000);
    assert_int_equal(beat(&f, 0, NULL).id, 0);
    fixture_release(&f);
}
FX_BOTH(a_full_one_goes_on_when_there_is_room)

/* Who fills again since there is room keeps its slots, whatever becomes of the others. */
static void what_fills_again_stays(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    out_with_little_room(&f);
    everybody_says_full(&f);
    for (uint32_t osd = 0; osd < FX_OSDS; osd++)
        f.svc->free_bytes[osd] = 0; /* half of the disk */
    svc_pass(f.svc, 20000);
    assert_int_equal(beat(&f, 0, NULL).id, 0); /* half a minute */
    svc_pass(f.svc, 20000);
    struct proto_fill_job job = beat(&f, 0, NULL), other = beat(&f, 1, NULL);
    assert_true(job.id != 0 && other.id != 0);
    size_t fills = slots_of(&f, &f.narrow, 1, true);
    fill(&f, 0, &job);
    uint64_t epoch = fx_row(f.fx)->epoch;
    struct proto_fill_report said = {.id = job.id, .ended = true};
    (void)beat(&f, 0, &said);
    for (uint64_t s = 0; s < 60; s++) {
        said = (struct proto_fill_report){.id = other.id, .rows = 20, .rows_done = s % 20};
        (void)beat(&f, 1, &said);
        svc_pass(f.svc, 1000);
    }
    assert_int_equal(slots_of(&f, &f.narrow, 1, true), fills);
    assert_int_equal(fx_row(f.fx)->epoch, epoch);
    fixture_release(&f);
}
FX_BOTH(what_fills_again_stays)

/* Who tries again without more room keeps its slots while it does; who waits gives them away. */
static void what_is_tried_again_stays(bool rocksdb)
{
    struct fixture f;
    fixture_init(&f, rocksdb);
    out_with_little_room(&f);
    everybody_says_full(&f);
    svc_pass(f.svc, 35000);
    assert_true(beat(&f, 0, NULL).id != 0);
    says_full(&f, 3);
    size_t tries = slots_of(&f, &f.narrow, 0, true), waits = slots_of(&f, &f.narrow, 3, true);
    f.svc->free_bytes[1] = 0; /* half of the disk */
    svc_pass(f.svc, 3000);
    assert_int_equal(slots_of(&f, &f.narrow, 0, true), tries);
    assert_true(slots_of(&f, &f.narrow, 3, true) < waits);
    fixture_release(&f);
}
FX_BOTH(what_is_tried_again_stays)

/* Disks that tell of room and have none, by a quota: slots do not go round and round. */
static void what_nobody_can_fill_does_not_go_round(bool rocksdb)
{
    struct fixture f;
    unsigned jobs = 0;
    fixture_init(&f, rocksdb);
    svc_pass(f.svc, OUT_MS + 30000);
    uint64_t epoch = fx_row(f.fx)->epoch;
    for (uint32_t s = 0; s < 3600; s++, svc_pass(f.svc, 1000)) {
        uint32_t osd = s % FX_OSDS;
        struct proto_fill_job job = {0};
        if (osd != GONE)
            job = beat(&f, osd, NULL);
        struct proto_fill_report said = {
            .id = job.id, .ended = true, .err = LILIO_E_NO_SPACE, .reason = fx_text("quota")};
        if (job.id == 0)
            continue;
        jobs++;
        (void)beat(&f, osd, &said);
    }
    assert_in_range(jobs, 5, 200);
    assert_in_range(fx_row(f.fx)->epoch - epoch, 0, 60);
    fixture_release(&f);
}
FX_BOTH(what_nobody_can_fill_does_not_go_round)

static void drained_when_nothing_needs_it(bool rocksdb)
{
    struct fixture f;
    narrow_fixture_init(&f, rocksdb);
    size_t had = slots_of(&f, &f.narrow, 4, false);
    assert_true(had > 0);
    assert_int_equal(drain(&f, 4, BEGIN), LILIO_OK);
    uint64_t epoch = fx_row(f.fx)->epoch;
    assert_int_equal(drain(&f, 4, BEGIN), LILIO_OK); /* again: nothing new */
    assert_int_equal(fx_row(f.fx)->epoch, epoch);
    assert_int_equal(coord_state_osd_at(f.fx->state, 4)->drain_epoch, epoch - 1);
    assert_true(drain_left(&f, 4) > 0);
    assert_int_equal(drain(&f, 4, END), LILIO_E_PRECONDITION); /* it has slots */
    assert_int_equal(drain(&f, 3, END), LILIO_E_PRECONDITION);
    assert_int_equal(drain(&f, 4, 4), LILIO_E_INVALID);
    assert_int_equal(drain(&f, 3, BEGIN), LILIO_E_PRECONDITION); /* one after the other */
    svc_pass(f.svc, 2000);
    assert_int_equal(drain(&f, 3, BEGIN), LILIO_E_PRECONDITION); /* it is what they fill from */
    assert_int_equal(svc_row(f.svc, 4), PROTO_OSD_UP);           /* it serves */
    assert_int_equal(slots_of(&f, &f.narrow, 4, false), 0);
    assert_int_equal(filling_narrow(&f), had);
    /* What fills needs it; nobody else does. */
    uint64_t left = drain_left(&f, 4);
    assert_true(left > 0);
    assert_int_equal(drain_left(&f, 3), 0);
    uint64_t counter = 1;
    while (!(
        proto_slots_filling(placement_of(f.fx, &f.narrow), partition_of(f.fx, &f.narrow, counter))))
        counter++;
    uint32_t partition = partition_of(f.fx, &f.narrow, counter);
    uint8_t slot =
        (uint8_t)__builtin_ctzll(proto_slots_filling(placement_of(f.fx, &f.narrow), partition));
    uint32_t after = proto_slot_osd(placement_of(f.fx, &f.narrow), partition, slot);
    for (uint32_t osd = 0; osd < FX_OSDS; osd++) {
        struct proto_fill_job job = beat(&f, osd, NULL);
        if (job.id)
            fill(&f, osd, &job);
        assert_true(drain_left(&f, 4) <= left);
        left = drain_left(&f, 4);
        struct proto_fill_report said = {.id = job.id, .ended = true};
        (void)beat(&f, osd, &said);
    }
    assert_int_equal(filling_narrow(&f), 0);
    assert_int_equal(drain_left(&f, 4), 0);
    assert_int_equal(drain(&f, 3, BEGIN), LILIO_OK);
    assert_int_equal(drain(&f, 3, STOP), LILIO_OK);
    /* What is missing where it went may be there yet. */
    report(f.fx, counter, slot, KIND_MISSING, after);
    assert_int_equal(drain_left(&f, 4), 1);
    report(f.fx, counter, slot, KIND_GOOD, after);
    assert_int_equal(drain_left(&f, 4), 0);
    uint8_t other = (uint8_t)((slot + 1) % WIDTH);
    report(f.fx, counter, other, KIND_MISSING,
           proto_slot_osd(placement_of(f.fx, &f.narrow), partition, other));
    assert_int_equal(drain_left(&f, 4), 0); /* nobody else ever had that */
    /* A put with the map of before counts on it, until the drain ends. */
    uint64_t at = counter;
    while (at <= 15) /* those are taken */
        at = next_like(f.fx, &f.narrow, at);
    assert_int_equal(put_at(f.fx, &f.narrow, "under way", at, epoch, WIDTH), LILIO_OK);
    assert_true(drain_left(&f, 4) > 0);
    report(f.fx, at, slot, KIND_GOOD, after);
    assert_int_equal(drain_left(&f, 4), 0);
    assert_int_equal(drain(&f, 4, END), LILIO_OK);
    at = next_like(f.fx, &f.narrow, at);
    assert_int_equal(put_at(f.fx, &f.narrow, "too late", at, epoch, WIDTH), LILIO_E_NO_QUORUM);
    /* Who has now what it had is away: its copy may be wanted, also after the drain ended. */
    f.svc->alive[after] = false;
    svc_pass(f.svc, 12000);
    assert_int_equal(svc_row(f.svc, after), PROTO_OSD_DOWN);
    assert_true(drain_left(&f, 4) > 0);
    f.svc->alive[after] = true;
    svc_pass(f.svc, 12000);
    assert_int_equal(drain_left(&f, 4), 0);
    /* It gets nothing, also of an OSD that goes out, and of a new width. */
    f.svc->alive[GONE] = false;
    svc_pass(f.svc, OUT_MS + 30000);
    assert_int_equal(svc_row(f.svc, GONE), PROTO_OSD_OUT);
    assert_int_equal(slots_of(&f, &f.narrow, GONE, false), 0);
    assert_int_equal(slots_of(&f, &f.narrow, 4, false), 0);
    assert_int_equal(drain(&f, 4, STOP), LILIO_OK);
    assert_int_equal(coord_state_osd_at(f.fx->state, 4)->draining, false);
    assert_int_equal(coord_state_osd_at(f.fx->state, 4)->drain_epoch, 0);
    svc_pass(f.svc, 2000);
    assert_int_equal(slots_of(&f, &f.narrow, 4, false), 0); /* nothing comes back by itself */
    fixture_release(&f);
}
FX_BOTH(drained_when_nothing_needs_it)

/* A slot the OSD had for a while only is not known to have been its own. */
static void drained_is_not_who_had_a_slot_for_a_while(bool rocksdb)
{
    struct fixture f;
    narrow_fixture_init(&f, rocksdb);
    uint32_t partition = 0, slot = 0;
    const struct proto_placement *placement = placement_of(f.fx, &f.narrow);
    /* A slot of osd.5 in a partition without osd.4 goes to that one and back. */
    for (bool found = false; !found; partition += !found) {
        bool others = true;
        for (uint32_t i = 0; i < WIDTH; i++) {
            others &= proto_slot_osd(placement, partition, i) != 4;
            if (proto_slot_osd(placement, partition, i) == 5)
                slot = i, found = true;
        }
        found &= others;
    }
    assert_int_equal(move(f.fx, step(f.narrow.placement, partition, (uint8_t)slot, 5, 4)),
                     LILIO_OK);
    uint64_t counter = 16;
    while (partition_of(f.fx, &f.narrow, counter) != partition)
        counter++;
    assert_int_equal(put_at(f.fx, &f.narrow, "while", counter, fx_row(f.fx)->epoch, WIDTH),
                     LILIO_OK);
    assert_int_equal(move(f.fx, step(f.narrow.placement, partition, (uint8_t)slot, 4, 5)),
                     LILIO_OK);
    report(f.fx, counter, (uint8_t)slot, KIND_MISSING, 5);
    struct proto_filled_slot filled_slot = {.partition = partition, .slot = (uint8_t)slot};
    struct proto_slots_filled filled = filled_by(f.fx, &f.narrow, 5, &filled_slot);
    assert_int_equal(fx_internal(f.fx, &proto_type_slots_filled, &filled), LILIO_OK);
    assert_int_equal(filling_narrow(&f), 0);
    assert_int_equal(drain(&f, 4, BEGIN), LILIO_OK);
    svc_pass(f.svc, 2000);
    for (uint32_t osd = 0; osd < FX_OSDS; osd++) {
        struct proto_fill_job job = beat(&f, osd, NULL);
        if (job.id)
            fill(&f, osd, &job);
    }
    assert_int_equal(slots_of(&f, &f.narrow, 4, false), 0);
    assert_int_equal(filling_narrow(&f), 0);
    assert_int_equal(drain_left(&f, 4), 1); /* it may have that fragment */
    report(f.fx, counter, (uint8_t)slot, KIND_GOOD, 5);
    assert_int_equal(drain_left(&f, 4), 0);
    fixture_release(&f);
}
FX_BOTH(drained_is_not_who_had_a_slot_for_a_while)

/* A bucket of a new width is made for those that stay. */
static void draining_gets_no_new_placement(bool rocksdb)
{
    struct fixture f;
    narrow_fixture_init(&f, rocksdb);
    assert_int_equal(drain(&f, 4, BEGIN), LILIO_OK);
    struct proto_bucket_create create = {.name = base_slice_str("wide")}; /* 4+2 of six OSDs */
    assert_int_equal(svc_call(f.svc, f.fx->session, 900, &proto_type_bucket_create, &create),
                     LILIO_E_INVALID);
    assert_int_equal(drain(&f, 4, STOP), LILIO_OK);
    assert_int_equal(svc_call(f.svc, f.fx->session, 901, &proto_type_bucket_create, &create),
                     LILIO_OK);
    fixture_release(&f);
}
FX_BOTH(draining_gets_no_new_placement)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(blank_for_long_is_given_up),
        FX_TESTS(a_rebuild_that_was_ordered_keeps_slots),
        FX_TESTS(failed_for_long_is_given_up),
        FX_TESTS(a_new_leader_waits_as_long_again),
        FX_TESTS(out_stays_given_up_when_it_is_blank),
        FX_TESTS(all_but_three_are_blank_one_after_the_other),
        FX_TESTS(many_blank_are_many_away),
        FX_TESTS(many_failed_hold_up_themselves_alone),
        FX_TESTS(failed_and_down_in_turn_is_given_up),
        FX_TESTS(emptied_ones_that_are_down_count_for_nothing),
        FX_TESTS(hurt_ones_go_one_after_the_other),
        FX_TESTS(one_alone_is_never_too_many),
        FX_TESTS(drain_needs_room),
        FX_TESTS(full_ones_get_no_slots),
        FX_TESTS(a_full_one_passes_on_what_it_cannot_fill),
        FX_TESTS(full_ones_keep_nobody_waiting),
        FX_TESTS(a_full_one_goes_on_when_there_is_room),
        FX_TESTS(what_fills_again_stays),
        FX_TESTS(what_is_tried_again_stays),
        FX_TESTS(what_nobody_can_fill_does_not_go_round),
        FX_TESTS(drain_needs_somewhere_to_go),
        FX_TESTS(drained_when_nothing_needs_it),
        FX_TESTS(draining_gets_no_new_placement),
        FX_TESTS(drained_is_not_who_had_a_slot_for_a_while),
        FX_TESTS(former_fragment_stays_while_somebody_compares),
        FX_TESTS(former_fragment_goes_when_its_stripe_is_full),
        FX_TESTS(former_fragment_stays_while_its_like_is_missing),
        FX_TESTS(moves_only_what_may_move),
        FX_TESTS(commits_of_the_past_are_missing_there),
        FX_TESTS(commits_of_the_past_count_where_they_are),
        FX_TESTS(filled_by_who_has_it_since_then),
        FX_TESTS(good_news_of_who_had_it_counts_no_more),
        FX_TESTS(out_moves_and_fills),
        FX_TESTS(the_next_one_goes_out_when_all_is_filled),
        FX_TESTS(all_but_three_go_one_after_the_other),
        FX_TESTS(a_new_leader_goes_on),
        FX_TESTS(an_osd_that_restarts_goes_on),
        FX_TESTS(a_job_that_failed_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
