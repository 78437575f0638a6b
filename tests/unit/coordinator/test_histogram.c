/* Aim: the histogram of redundancy says of every stripe what its fragments and OSDs are, also in
 * maps that had no counters before, and page by page; nothing that was committed after a
 * verification counts as verified. Method: random workloads, OSDs in random states; the histogram
 * against a walk over every fragment of every run that knows none of its code. */
#include "coord_svc.h"

#include <stdlib.h>

#include "coord_audit.h"
#include "coord_workload.h"
#include "coordinator/histogram.h"

#include "base/banned.h"

enum { TOTAL = 6, DATA = 4, BUCKETS = 64 };

struct tally {
    uint64_t levels[BUCKETS][PROTO_LEVELS], lost[BUCKETS], osds[FX_OSDS][PROTO_LEVELS];
};

/* ---- by hand ---- */

/* 0 gone, 1 away, 2 at a disk that failed, 3 good: in the words of the rows. */
static int fragment_state(struct fx *fx, const struct proto_data_row *row, uint32_t stripe,
                          uint32_t index, uint32_t *ret_osd)
{
    const struct proto_placement *placement = coord_state_placement(fx->state, row->placement);
    uint32_t partition = proto_partition(placement->partition_bits, row->oid, stripe);
    *ret_osd = base_le16_get(placement->slots.data + 2 * (partition * TOTAL + index));
    const struct proto_osd *osd =
        coord_state_osd_at(fx->state, coord_state_osd_find(fx->state, *ret_osd));
    for (size_t i = 0; i < row->exceptions_count; i++)
        if (row->exceptions[i].index == index && row->exceptions[i].first_stripe <= stripe &&
            row->exceptions[i].first_stripe + row->exceptions[i].stripe_count > stripe)
            return 0;
    if (osd->state == PROTO_OSD_BLANK || osd->state == PROTO_OSD_NEW)
        return 0;
    if (!osd->complete)
        return 1;
    return osd->state == PROTO_OSD_UP || osd->state == PROTO_OSD_SUSPECT ? 3
           : osd->state == PROTO_OSD_FAILED                              ? 2
                                                                         : 1;
}

static void stripe_tally(struct fx *fx, const struct proto_data_row *row, uint32_t stripe,
                         struct tally *tally)
{
    uint32_t osds[TOTAL];
    int good = 0, readable = 0, kept = 0;
    for (uint32_t index = 0; index < TOTAL; index++) {
        int state = fragment_state(fx, row, stripe, index, &osds[index]);
        good += state == 3;
        readable += state >= 2;
        kept += state >= 1;
    }
    if (good < DATA) /* what failed disks have is no redundancy, but it can be read */
        good = readable < DATA ? readable : DATA;
    size_t level = good >= DATA ? (size_t)(good - DATA) : PROTO_LEVELS - 1;
    assert_true(row->bucket_id < BUCKETS);
    tally->levels[row->bucket_id][level]++;
    tally->lost[row->bucket_id] += kept < DATA;
    for (uint32_t index = 0; index < TOTAL; index++)
        tally->osds[osds[index]][level]++;
}

static void by_hand(struct fx *fx, struct tally *tally)
{
    struct proto_scan_page page = {.more = true};
    struct base_oid after = {0};
    while (page.more) {
        struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
        assert_int_equal(coord_read_scan(&view, 0, after, &page, NULL), LILIO_OK);
        for (size_t i = 0; i < page.rows_count; i++) {
            for (uint32_t s = 0; s < coord_run_stripes(&page.rows[i].data); s++)
                stripe_tally(fx, &page.rows[i].data, s, tally);
            after = page.rows[i].data.oid;
        }
    }
}

/* ---- by counters ---- */

static void lines_tally(const struct coord_histogram *histogram, struct tally *tally)
{
    for (size_t i = 0; i < histogram->line_count; i++) {
        const struct proto_redundancy_line *line = &histogram->lines[i];
        assert_int_equal(line->data_count * 100 + line->total_count, 100 * DATA + TOTAL);
        for (size_t level = 0; level < PROTO_LEVELS; level++)
            tally->levels[line->bucket_id][level] += line->levels[level];
        tally->lost[line->bucket_id] += line->lost;
    }
    assert_int_equal(histogram->osd_count, FX_OSDS);
    for (size_t i = 0; i < FX_OSDS; i++)
        for (size_t level = 0; level < PROTO_LEVELS; level++)
            tally->osds[i][level] += histogram->osds[i].levels[level];
}

static void by_counters(struct fx *fx, struct tally *tally, size_t page)
{
    struct coord_stripes_item items[64];
    struct coord_key after = {0};
    for (size_t count = page; count == page;) {
        struct coord_histogram *histogram = calloc(1, sizeof *histogram);
        struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
        assert_non_null(histogram);
        for (size_t i = 0; i < FX_OSDS; i++)
            coord_histogram_osd(histogram, coord_state_osd_at(fx->state, i));
        assert_int_equal(
            coord_read_stripes(&view, coord_key_slice(&after), items, page, &count, NULL),
            LILIO_OK);
        for (size_t i = 0; i < count; i++)
            assert_true(coord_histogram_add(
                histogram, &items[i].key, coord_state_placement(fx->state, items[i].key.placement),
                NULL, items[i].counts));
        if (count > 0)
            after = coord_key_stripes(&items[count - 1].key);
        lines_tally(histogram, tally);
        free(histogram);
    }
}

static void compare(struct fx *fx)
{
    static const size_t pages[] = {1, 7, 64};
    struct tally hand = {0};
    by_hand(fx, &hand);
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        struct tally counted = {0};
        by_counters(fx, &counted, pages[i]);
        assert_memory_equal(&hand, &counted, sizeof hand);
    }
}

/* ---- random states ---- */

static void osd_becomes(struct fx *fx, uint32_t id, uint8_t state)
{
    const struct proto_osd *row =
        coord_state_osd_at(fx->state, coord_state_osd_find(fx->state, id));
    struct proto_osd_step step = {.osd = id, .incarnation = row->incarnation, .state = state};
    struct proto_osd_change change = {.steps = &step, .steps_count = 1};
    assert_int_equal(fx_internal(fx, &proto_type_osd_change, &change), LILIO_OK);
}

static void random_reports(struct fx *fx, uint64_t *seed)
{
    static const uint8_t kinds[] = {0, 1, 3};
    struct proto_scan_page page;
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    assert_int_equal(coord_read_scan(&view, 0, (struct base_oid){0}, &page, NULL), LILIO_OK);
    struct proto_fragment_report items[32];
    size_t count = 0;
    for (; page.rows_count > 0 && count < 32; count++) {
        const struct proto_data_row *row = &page.rows[fx_random(seed, page.rows_count)].data;
        items[count] = (struct proto_fragment_report){
            .oid = row->oid,
            .stripe = (uint32_t)fx_random(seed, coord_run_stripes(row)),
            .index = (uint8_t)fx_random(seed, TOTAL),
            .kind = kinds[fx_random(seed, 3)],
        };
    }
    struct proto_report report = {.items = items, .items_count = count};
    assert_int_equal(fx_internal(fx, &proto_type_report, &report), LILIO_OK);
}

static void equals_a_walk(bool rocksdb)
{
    static const uint8_t states[] = {PROTO_OSD_UP,  PROTO_OSD_UP,     PROTO_OSD_DOWN,
                                     PROTO_OSD_OUT, PROTO_OSD_FAILED, PROTO_OSD_BLANK};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        uint64_t random = seed;
        struct fx *fx = fx_cluster(rocksdb);
        struct workload workload;
        workload_start(&workload, fx, seed);
        for (int round = 0; round < 30; round++) {
            for (int step = 0; step < 20; step++)
                workload_step(&workload);
            random_reports(fx, &random);
            osd_becomes(fx, (uint32_t)fx_random(&random, FX_OSDS),
                        states[fx_random(&random, sizeof states)]);
            compare(fx);
            coord_audit(fx);
        }
        assert_true(fx_column_count(fx, COORD_STRIPES) > 64); /* several pages */
        fx_free(fx);
    }
}
FX_BOTH(equals_a_walk)

/* ---- maps without counters ---- */

/* As if an older program had written them; rubbish of a count that a crash ended may be left. */
static void counters_forget(struct fx *fx, bool rubbish)
{
    struct base_kv_batch *batch = NULL;
    struct base_kv_iter *iter = NULL;
    struct base_buffer packed = {0};
    struct proto_state_row row = *coord_state_row(fx->state);
    struct coord_key key = coord_key_text(fx_text("state"));
    assert_int_equal(coord_state_commit(fx->state, false, NULL), LILIO_OK);
    assert_int_equal(base_kv_batch_new(fx->kv, &batch), LILIO_OK);
    assert_int_equal(base_kv_iter_new(fx->kv, NULL, NULL, COORD_STRIPES, &iter), LILIO_OK);
    base_kv_iter_seek(iter, base_slice(NULL, 0));
    for (; !rubbish && base_kv_iter_valid(iter); base_kv_iter_next(iter))
        base_kv_batch_delete(batch, COORD_STRIPES, base_kv_iter_key(iter));
    base_kv_iter_free(&iter);
    row.stripes = row.stripes_ever = 0;
    row.stripes_counted = false;
    assert_int_equal(proto_state_row_pack(&row, &packed), LILIO_OK);
    base_kv_batch_put(batch, COORD_META, coord_key_slice(&key), base_buffer_slice(&packed));
    assert_int_equal(base_kv_batch_commit(batch, false, NULL), LILIO_OK);
    base_kv_batch_free(&batch);
    base_buffer_release(&packed);
    coord_state_free(&fx->state);
    assert_int_equal(coord_state_open(fx->kv, &fx->state, NULL), LILIO_OK);
}

static void older_maps_are_counted(bool rocksdb)
{
    for (int rubbish = 0; rubbish < 2; rubbish++) {
        struct fx *fx = fx_cluster(rocksdb);
        struct workload workload;
        uint64_t random = 7;
        workload_start(&workload, fx, 5);
        for (int step = 0; step < 300; step++)
            workload_step(&workload);
        random_reports(fx, &random);
        uint64_t stripes = fx_row(fx)->stripes;
        counters_forget(fx, rubbish);
        assert_int_equal(fx_row(fx)->stripes, stripes);
        compare(fx);
        for (int step = 0; step < 100; step++)
            workload_step(&workload);
        compare(fx);
        coord_audit(fx);
        fx_free(fx);
    }
}
FX_BOTH(older_maps_are_counted)

/* ---- what the service answers ---- */

static struct proto_redundancy ask(struct svc *svc)
{
    struct proto_redundancy_get get = {0};
    struct proto_redundancy reply;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_redundancy_get, &get), LILIO_OK);
    svc_reply(svc, &proto_type_redundancy, &reply);
    assert_false(reply.more);
    return reply;
}

static void service_tells(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 60000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    assert_int_equal(ask(svc).lines_count, 0);
    (void)fx_put(svc->fx, &bucket, "one", 1, 16384 * 3); /* three stripes */
    struct proto_redundancy told = ask(svc);
    assert_int_equal(told.lines_count, 1);
    assert_int_equal(told.lines[0].levels[TOTAL - DATA], 3);
    assert_true(base_slice_equal(told.lines[0].bucket, fx_text("b")));
    assert_int_equal(told.stripes, 3);
    assert_int_equal(told.unverified, 3);

    struct proto_scan_open open = {0};
    struct proto_scan scan;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_scan_open, &open), LILIO_OK);
    svc_reply(svc, &proto_type_scan, &scan);
    (void)fx_put(svc->fx, &bucket, "two", 2, 16384);
    struct proto_verified verified = {.index = scan.index, .stripes_ever = scan.stripes_ever};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_verified, &verified), LILIO_OK);
    told = ask(svc);
    assert_int_equal(told.stripes, 4);
    assert_int_equal(told.unverified, 1); /* while the verification ran */
    verified.stripes_ever = 1000;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_verified, &verified), LILIO_E_INVALID);

    struct proto_fragment_report bad[3];
    for (uint8_t i = 0; i < 3; i++)
        bad[i] = (struct proto_fragment_report){
            .oid = base_oid_make(0, svc->fx->session, 2), .index = i, .kind = 1};
    struct proto_report report = {.items = bad, .items_count = 3};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_report, &report), LILIO_OK);
    told = ask(svc);
    assert_int_equal(told.lines[0].levels[TOTAL - DATA], 3);
    assert_int_equal(told.lines[0].levels[PROTO_LEVEL_BELOW], 1);
    assert_int_equal(told.lines[0].lost, 1);
    assert_int_equal(fx_delete(svc->fx, &bucket, "two"), LILIO_OK);
    told = ask(svc);
    assert_int_equal(told.lines[0].levels[PROTO_LEVEL_BELOW] + told.lines[0].lost, 0);
    assert_int_equal(told.stripes, 3);
    svc_free(svc);
}
FX_BOTH(service_tells)

static void tell(struct svc *svc, uint32_t osd, struct proto_scrub_line *line)
{
    struct proto_osd_heartbeat beat = {.osd = osd,
                                       .state = 1,
                                       .incarnation = 1,
                                       .disk_uuid = fx_uuid(osd),
                                       .scrubs = line,
                                       .scrubs_count = 1};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_osd_heartbeat, &beat), LILIO_OK);
}

static struct proto_scrub_line deep_now(const struct svc *svc, uint32_t osd)
{
    const struct proto_state_row *row = coord_state_row(svc->fx->state);
    return (struct proto_scrub_line){.kind = 2,
                                     .rounds = 1,
                                     .oldest_ms = 100 * osd,
                                     .last_index = row->applied_index,
                                     .last_epoch = row->epoch,
                                     .last_stripes_ever = row->stripes_ever};
}

/* A heartbeat of an OSD whose last complete deep round began now. */
static void tell_read(struct svc *svc, uint32_t osd, uint64_t stripes_bad)
{
    struct proto_scrub_line line = deep_now(svc, osd);
    line.last_stripes_bad = stripes_bad;
    tell(svc, osd, &line);
}

static void deep_scrubs_verify(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 60000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    (void)fx_put(svc->fx, &bucket, "one", 1, 16384 * 3);
    struct proto_redundancy told = ask(svc);
    assert_int_equal(told.scrubbed.osds, FX_OSDS);
    assert_int_equal(told.scrubbed.not_told, FX_OSDS);
    for (uint32_t osd = 0; osd < FX_OSDS; osd++) {
        assert_int_equal(ask(svc).unverified, 3);
        tell_read(svc, osd, 0);
    }
    (void)fx_put(svc->fx, &bucket, "two", 2, 16384);
    svc->now_ms += 1000;
    told = ask(svc);
    assert_int_equal(told.unverified, 1);
    assert_int_equal(told.since_verify, 4);
    assert_int_equal(told.scrubbed.unverified, 1);
    assert_int_equal(told.scrubbed.oldest_osd, FX_OSDS - 1);
    assert_int_equal(told.scrubbed.oldest_ms, 1000 + 100 * (FX_OSDS - 1));
    coord_service_follow(svc->service, "inproc://other"); /* who leads hears the OSDs */
    struct proto_redundancy_get get = {0};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_redundancy_get, &get), LILIO_E_NOT_LEADER);
    assert_int_equal(coord_service_lead(svc->service, NULL), LILIO_OK); /* what it heard is old */
    told = ask(svc);
    assert_int_equal(told.scrubbed.not_told, FX_OSDS);
    assert_int_equal(told.unverified, 4);
    for (uint32_t osd = 0; osd < FX_OSDS; osd++)
        tell_read(svc, osd, 0);
    assert_int_equal(ask(svc).unverified, 0);
    svc_free(svc);
}
FX_BOTH(deep_scrubs_verify)

static void verify_all(struct svc *svc)
{
    const struct proto_state_row *row = coord_state_row(svc->fx->state);
    struct proto_verified verified = {.index = row->applied_index,
                                      .stripes_ever = row->stripes_ever};
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_verified, &verified), LILIO_OK);
}

/* It reads everything and computes no parity. */
static void a_verification_hides_no_parity(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 60000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    (void)fx_put(svc->fx, &bucket, "one", 1, 16384 * 3);
    for (uint32_t osd = 0; osd < FX_OSDS; osd++)
        tell_read(svc, osd, osd == 2 ? 2 : 0);
    assert_int_equal(ask(svc).unverified, 2);
    verify_all(svc);
    struct proto_redundancy told = ask(svc);
    assert_int_equal(told.since_verify, 0);
    assert_int_equal(told.scrubbed.stripes_bad, 2);
    assert_int_equal(told.unverified, 2);
    (void)fx_put(svc->fx, &bucket, "two", 2, 16384);
    assert_int_equal(ask(svc).unverified, 3);
    (void)fx_put(svc->fx, &bucket, "three", 3, 16384 * 5);
    verify_all(svc);
    assert_int_equal(ask(svc).unverified, 2);
    for (uint32_t osd = 0; osd < FX_OSDS; osd++)
        tell_read(svc, osd, 0);
    assert_int_equal(ask(svc).unverified, 0);
    svc_free(svc);
}
FX_BOTH(a_verification_hides_no_parity)

/* Who has to be scrubbed for everything to be read. */
static void a_status_says_whose_rounds_count(bool rocksdb)
{
    struct svc *svc = svc_new(rocksdb, 60000, true);
    struct proto_bucket bucket = fx_bucket(svc->fx, "b");
    (void)fx_put(svc->fx, &bucket, "one", 1, 16384); /* so there are slots */
    for (uint32_t osd = 0; osd < 3; osd++)
        tell_read(svc, osd, 0);
    struct proto_scrub_line line = deep_now(svc, 1);
    line.last_epoch = 0; /* it met slots that filled */
    line.counts = true;  /* that is not its to say */
    tell(svc, 1, &line);
    line = deep_now(svc, 2);
    line.kind = 1;
    tell(svc, 2, &line);
    struct proto_status_get get = {0};
    struct proto_status status;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_status_get, &get), LILIO_OK);
    svc_reply(svc, &proto_type_status, &status);
    assert_int_equal(status.scrubs_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(status.scrubs[i].counts, status.scrubs[i].osd == 0);
    svc_free(svc);
}
FX_BOTH(a_status_says_whose_rounds_count)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(equals_a_walk),
        FX_TESTS(older_maps_are_counted),
        FX_TESTS(service_tells),
        FX_TESTS(deep_scrubs_verify),
        FX_TESTS(a_verification_hides_no_parity),
        FX_TESTS(a_status_says_whose_rounds_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
