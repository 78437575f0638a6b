/* Aim: the sums of what OSDs have to have are those of the rows at every index, also behind a
 * restart between two folds, in maps that had none, and while runs wait for collection; an OSD is
 * told of each slot whether it has all of it; one that goes down again and again is held. Method:
 * random workloads audited against the rows (coord_audit.c); the service on virtual time, asked as
 * an OSD asks it. */
#include "coord_svc.h"

#include "coord_audit.h"
#include "coord_workload.h"

#include "base/banned.h"

enum { TOTAL = 6, OSD = 2, SAME = 1, DIFFERS = 2, NOT_YOURS = 3 };

static void reopen(struct fx *fx)
{
    assert_int_equal(coord_state_commit(fx->state, false, NULL), LILIO_OK);
    coord_state_free(&fx->state);
    assert_int_equal(coord_state_open(fx->kv, &fx->state, NULL), LILIO_OK);
}

static void report(struct fx *fx, struct base_oid oid, uint32_t stripe, uint8_t index, uint8_t kind)
{
    struct proto_fragment_report item = {
        .oid = oid, .stripe = stripe, .index = index, .kind = kind};
    struct proto_report message = {.items = &item, .items_count = 1};
    assert_int_equal(fx_internal(fx, &proto_type_report, &message), LILIO_OK);
}

static void random_report(struct fx *fx, uint64_t *seed)
{
    static const uint8_t kinds[] = {0, 1, 1, 3};
    struct proto_scan_page page;
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    assert_int_equal(coord_read_scan(&view, 0, (struct base_oid){0}, &page, NULL), LILIO_OK);
    if (page.rows_count == 0)
        return;
    const struct proto_data_row *row = &page.rows[fx_random(seed, page.rows_count)].data;
    report(fx, row->oid, (uint32_t)fx_random(seed, coord_run_stripes(row)),
           (uint8_t)fx_random(seed, TOTAL), kinds[fx_random(seed, 4)]);
}

/* Restarts at any place between two folds. */
static void sums_are_those_of_the_rows(bool rocksdb)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        uint64_t random = seed;
        struct fx *fx = fx_cluster(rocksdb);
        struct workload workload;
        workload_start(&workload, fx, seed);
        for (int round = 0; round < 60; round++) {
            for (uint64_t step = fx_random(&random, 30); step > 0; step--)
                workload_step(&workload);
            random_report(fx, &random);
            reopen(fx);
            coord_audit(fx);
        }
        fx_free(fx);
    }
}
FX_BOTH(sums_are_those_of_the_rows)

/* An entry that changes more than is kept of one. */
static void large_entry(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    (void)fx_put(fx, &bucket, "small", 1, 16384);
    (void)fx_put(fx, &bucket, "large", 2, 16384 * 700);
    reopen(fx);
    coord_audit(fx);
    assert_int_equal(fx_delete(fx, &bucket, "large"), LILIO_OK);
    reopen(fx);
    coord_audit(fx);
    fx_free(fx);
}
FX_BOTH(large_entry)

/* As if an older program had written them. */
static void sums_forget(struct fx *fx)
{
    struct base_kv_batch *batch = NULL;
    struct base_kv_iter *iter = NULL;
    struct base_buffer packed = {0};
    struct proto_state_row row = *coord_state_row(fx->state);
    struct coord_key key = coord_key_text(fx_text("state"));
    assert_int_equal(coord_state_commit(fx->state, false, NULL), LILIO_OK);
    assert_int_equal(base_kv_batch_new(fx->kv, &batch), LILIO_OK);
    assert_int_equal(base_kv_iter_new(fx->kv, NULL, NULL, COORD_INVENTORY, &iter), LILIO_OK);
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
         base_kv_iter_next(iter))
        base_kv_batch_delete(batch, COORD_INVENTORY, base_kv_iter_key(iter));
    base_kv_iter_free(&iter);
    row.inventory_counted = false;
    row.inventory_index = 0;
    assert_int_equal(proto_state_row_pack(&row, &packed), LILIO_OK);
    base_kv_batch_put(batch, COORD_META, coord_key_slice(&key), base_buffer_slice(&packed));
    assert_int_equal(base_kv_batch_commit(batch, false, NULL), LILIO_OK);
    base_kv_batch_free(&batch);
    base_buffer_release(&packed);
    reopen(fx);
}

static void older_maps_get_sums(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct workload workload;
    uint64_t random = 7;
    workload_start(&workload, fx, 5);
    for (int round = 0; round < 4; round++) {
        for (int step = 0; step < 100; step++)
            workload_step(&workload);
        random_report(fx, &random);
        sums_forget(fx);
        coord_audit(fx);
    }
    fx_free(fx);
}
FX_BOTH(older_maps_get_sums)

/* ---- the service ---- */

/* What an OSD is told that has these stripes of a run (bits) and nothing else in the slot of the
 * first of them. */
static uint8_t verdict(struct svc *svc, struct base_oid oid, uint32_t osd, uint32_t index,
                       uint64_t has)
{
    const struct proto_placement *placement = coord_state_placement_at(svc->fx->state, 0);
    uint32_t partition = proto_partition(placement->partition_bits, oid, 0);
    struct proto_inventory_item item = {.partition = partition, .slot = (uint8_t)index};
    for (uint32_t stripe = 0; stripe < 64; stripe++)
        if (has >> stripe & 1 &&
            proto_partition(placement->partition_bits, oid, stripe) == partition)
            item.sum += proto_stripe_hash(oid, stripe);
    struct proto_inventory_ask ask = {
        .osd = osd, .incarnation = 1, .placement = placement->id, .items = &item, .items_count = 1};
    struct proto_inventory_answer answer;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_inventory_ask, &ask), LILIO_OK);
    svc_reply(svc, &proto_type_inventory_answer, &answer);
    assert_int_equal(answer.verdicts.size, 1);
    assert_int_equal(answer.index, fx_row(svc->fx)->applied_index);
    return answer.verdicts.data[0];
}

static uint32_t index_of(struct svc *svc, struct base_oid oid, uint32_t osd)
{
    const struct proto_placement *placement = coord_state_placement_at(svc->fx->state, 0);
    uint32_t index = 0;
    while (proto_slot_osd(placement, proto_partition(placement->partition_bits, oid, 0), index) !=
           osd)
        index++;
    return index;
}

static void what_is_missing_is_not_asked_for(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 20000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    (void)fx_put(svc->fx, &bucket, "k", 1, 16384 * 3);
    struct base_oid oid = base_oid_make(0, svc->fx->session, 1);
    uint32_t index = index_of(svc, oid, OSD);
    assert_int_equal(verdict(svc, oid, OSD, index, 7), SAME);
    assert_int_equal(verdict(svc, oid, OSD, index, 0), DIFFERS);
    assert_int_equal(verdict(svc, oid, (OSD + 1) % FX_OSDS, index, 7), NOT_YOURS);
    assert_int_equal(verdict(svc, oid, OSD, 47, 7), NOT_YOURS);
    report(svc->fx, oid, 0, (uint8_t)index, 1);
    assert_int_equal(verdict(svc, oid, OSD, index, 7), DIFFERS);
    assert_int_equal(verdict(svc, oid, OSD, index, 6), SAME);
    report(svc->fx, oid, 0, (uint8_t)index, 3); /* corrupt: it is there */
    assert_int_equal(verdict(svc, oid, OSD, index, 7), SAME);
    report(svc->fx, oid, 0, (uint8_t)index, 0);
    assert_int_equal(verdict(svc, oid, OSD, index, 7), SAME);
    struct proto_inventory_ask stranger = {.osd = OSD, .incarnation = 2, .placement = 1};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_inventory_ask, &stranger), LILIO_E_INVALID);
    svc_free(svc);
}
FX_BOTH(what_is_missing_is_not_asked_for)

/* Through the grace the fragments are everywhere, and counted; parked for one that is away they are
 * nowhere else. */
static void garbage(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 20000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    for (uint32_t i = 0; i < FX_OSDS; i++)
        svc->alive[i] = svc->collects[i] = i != OSD + 1;
    (void)fx_put(svc->fx, &bucket, "k", 1, 16384);
    struct base_oid oid = base_oid_make(0, svc->fx->session, 1);
    uint32_t index = index_of(svc, oid, OSD);
    assert_int_equal(fx_delete(svc->fx, &bucket, "k"), LILIO_OK);
    assert_int_equal(verdict(svc, oid, OSD, index, 1), SAME);
    svc_pass(svc, 120000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 1); /* parked */
    assert_int_equal(verdict(svc, oid, OSD, index, 0), SAME);
    coord_audit(svc->fx);
    svc->alive[OSD + 1] = svc->collects[OSD + 1] = true;
    svc_pass(svc, 120000);
    assert_int_equal(fx_row(svc->fx)->gc_count, 0);
    assert_int_equal(verdict(svc, oid, OSD, index, 0), SAME);
    coord_audit(svc->fx);
    svc_free(svc);
}
FX_BOTH(garbage)

/* ---- OSDs that go down again and again ---- */

static uint64_t held_ms(struct svc *svc, uint32_t osd)
{
    struct proto_status_get get = {0};
    struct proto_status status;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_status_get, &get), LILIO_OK);
    svc_reply(svc, &proto_type_status, &status);
    assert_int_equal(status.osd_held_ms_count, FX_OSDS);
    return status.osd_held_ms[osd];
}

static void down_and_up(struct svc *svc, uint32_t osd)
{
    svc->alive[osd] = false;
    svc_pass(svc, 12000);
    assert_int_equal(svc_row(svc, osd), PROTO_OSD_DOWN);
    svc->alive[osd] = true;
    svc_pass(svc, 1500);
    assert_int_equal(svc_row(svc, osd), PROTO_OSD_UP);
}

static void flapping_is_damped(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 20000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    (void)fx_put(svc->fx, &bucket, "k", 1, 16384);
    struct base_oid oid = base_oid_make(0, svc->fx->session, 1);
    for (uint32_t i = 0; i < FX_OSDS; i++)
        svc->alive[i] = true;
    svc_pass(svc, 2000);
    down_and_up(svc, OSD);
    assert_int_equal(svc_state(svc, OSD), PROTO_OSD_UP); /* once is nothing */
    assert_int_equal(held_ms(svc, OSD), 0);
    down_and_up(svc, OSD);
    report(svc->fx, oid, 0, (uint8_t)index_of(svc, oid, OSD), 1);
    assert_int_equal(svc_state(svc, OSD), PROTO_OSD_SUSPECT); /* read and written, no more */
    assert_in_range(held_ms(svc, OSD), 1, 10000);
    for (int i = 0; i < 5; i++) {
        svc_pass(svc, 1000);
        assert_int_equal(svc_beat(svc, OSD, PROTO_OSD_UP).repair_count, 0);
    }
    svc_pass(svc, 6000);
    assert_int_equal(svc_state(svc, OSD), PROTO_OSD_UP);
    size_t handed = 0;
    for (int i = 0; i < 60 && handed == 0; i++) {
        handed = svc_beat(svc, OSD, PROTO_OSD_UP).repair_count;
        svc_pass(svc, 1000);
    }
    assert_int_equal(held_ms(svc, OSD), 0);
    for (int i = 0; i < 8; i++)
        down_and_up(svc, OSD);
    assert_in_range(held_ms(svc, OSD), 100000, 120000); /* not for ever */
    assert_int_equal(held_ms(svc, OSD + 1), 0);
    svc_free(svc);
}
FX_BOTH(flapping_is_damped)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(sums_are_those_of_the_rows),
        FX_TESTS(large_entry),
        FX_TESTS(older_maps_get_sums),
        FX_TESTS(what_is_missing_is_not_asked_for),
        FX_TESTS(garbage),
        FX_TESTS(flapping_is_damped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
