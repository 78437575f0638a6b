/* Aim: a scrub finds every fragment of this OSD that is missing or not what the maps say, and
 * parity that does not fit its data, reports what can be mended and nothing else; what it counts is
 * in the maps; a round goes on after a restart. Method: six whole OSDs on spy stores that hold
 * coded stripes and lie on demand, a coordinator in a thread; rounds of osd.0 are ordered and
 * awaited, and the reports are compared with the lies. */
#include "osd/scrub.h"

#include <stdio.h>

#include "base/bytes.h"
#include "proto/moves.h"
#include "tests/unit/osd/fake_coordinator.h"

#include "base/banned.h"

enum { MISSING = 1, CORRUPT = 3, PARITY = 4, STRIPES = 3, ROWS = 8, ALL = ROWS * STRIPES };

struct fixture {
    struct proto_context *context;
    struct fake fake;
    struct parts osds[PARTS_OSDS];          /* osd.0 scrubs */
    struct osd_scrub *scrub, *later, *last; /* other processes on the same disk, as it were */
    struct proto_arena *arena;
    uint64_t saved_index;
};

static uint32_t own_index(struct base_oid oid, uint32_t stripe)
{
    uint32_t index = 0;
    while (parts_owner(oid, stripe, index) != 0)
        index++;
    return index;
}

static void put_stripe(void *context, const struct parts_stripe *stripe)
{
    struct fixture *f = context;
    for (uint32_t index = 0; index < PARTS_OSDS; index++)
        parts_store_put(f->osds[parts_owner(stripe->oid, stripe->stripe, index)].store, stripe,
                        index);
}

static void fixture_init(struct fixture *f)
{
    *f = (struct fixture){0};
    assert_int_equal(proto_context_new(1, &f->context), LILIO_OK);
    assert_int_equal(proto_arena_new(&f->arena), LILIO_OK);
    fake_start(&f->fake, f->context);
    for (uint32_t i = 0; i < PARTS_OSDS; i++)
        parts_init_member(&f->osds[i], i, f->context);
    for (uint64_t i = 0; i < ROWS; i++)
        (void)fake_row_add(&f->fake, i + 1, STRIPES, put_stripe, f);
}

static void scrub_start(struct fixture *f, uint64_t light_ms, struct osd_scrub **ret)
{
    struct osd_scrub_options options = {
        .node = f->osds[0].node,
        .home = f->osds[0].home,
        .context = f->context,
        .coordinators = fake_endpoints(),
        .coordinator_count = 1,
        .period_ms = {light_ms, 0},
    };
    assert_int_equal(osd_scrub_start(&options, ret), LILIO_OK);
}

/* The rows and the lies are in. */
static void fixture_run(struct fixture *f, uint64_t light_ms)
{
    FAKE_LOCKED(&f->fake, f->fake.page_rows = 3; f->fake.index = 100);
    for (uint32_t i = 0; i < PARTS_OSDS; i++)
        parts_run(&f->osds[i]);
    scrub_start(f, light_ms, &f->scrub);
}

static void fixture_release(struct fixture *f)
{
    osd_node_stop(f->osds[0].node);
    osd_scrub_stop(&f->scrub);
    osd_scrub_stop(&f->later);
    osd_scrub_stop(&f->last);
    for (uint32_t i = 0; i < PARTS_OSDS; i++)
        parts_release(&f->osds[i]);
    fake_stop(&f->fake);
    proto_arena_free(&f->arena);
    proto_context_free(&f->context);
    for (uint32_t i = 0; i < PARTS_OSDS; i++)
        parts_release_context(&f->osds[i]);
}

static struct proto_scrub_line line_of(struct osd_scrub *scrub, enum osd_scrub_kind kind)
{
    struct proto_scrub_line lines[OSD_SCRUB_KINDS];
    osd_scrub_lines(scrub, lines);
    return lines[kind];
}

/* Until the line is as wanted. */
static struct proto_scrub_line await(struct osd_scrub *scrub, enum osd_scrub_kind kind,
                                     uint64_t rounds, uint8_t state, uint64_t met)
{
    struct proto_wait_item never = {.fd = -1};
    uint64_t until = base_now_ms(base_clock_system()) + 3 * PARTS_PATIENCE_MS;
    struct proto_scrub_line line = line_of(scrub, kind);
    while (line.rounds < rounds || line.state != state ||
           line.good + line.bad + line.unread < met) {
        assert_true(base_now_ms(base_clock_system()) < until);
        (void)proto_wait(&never, 1, 5);
        line = line_of(scrub, kind);
    }
    return line;
}

/* A round from its order to its end. */
static struct proto_scrub_line round_of(struct fixture *f, enum osd_scrub_kind kind)
{
    uint64_t rounds = line_of(f->scrub, kind).rounds;
    osd_scrub_order(f->scrub, kind, 0);
    return await(f->scrub, kind, rounds + 1, OSD_SCRUB_RESTS, 0);
}

static struct base_oid oid_of(const struct fixture *f, size_t row)
{
    return f->fake.rows[row].oid;
}

/* Lies about our fragment of the stripe, and about all others of the run with the same index;
 * returns how many of these are ours. */
static size_t lie(struct fixture *f, size_t row, uint32_t stripe, enum spy_lie what)
{
    size_t count = 0;
    struct base_oid oid = oid_of(f, row);
    uint32_t index = own_index(oid, stripe);
    spy_store_lie(f->osds[0].store, oid, index, what);
    for (uint32_t i = 0; i < STRIPES; i++)
        count += own_index(oid, i) == index;
    return count;
}

static size_t reports(struct fixture *f)
{
    size_t count;
    FAKE_LOCKED(&f->fake, count = f->fake.report_count);
    return count;
}

static size_t reported(struct fixture *f, size_t row, uint32_t stripe, uint8_t kind)
{
    struct base_oid oid = oid_of(f, row);
    return fake_reports(&f->fake, oid, stripe, own_index(oid, stripe), kind);
}

/* ---- tests ---- */

static void all_is_well(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fixture_run(&f, 0);
    assert_int_equal(line_of(f.scrub, OSD_SCRUB_DEEP).rounds, 0);
    struct proto_scrub_line line = round_of(&f, OSD_SCRUB_LIGHT);
    assert_int_equal(line.last_good, ALL);
    assert_int_equal(line.last_bad + line.last_unread, 0);
    assert_int_equal(line.last_index, 100);
    line = round_of(&f, OSD_SCRUB_DEEP);
    assert_int_equal(line.last_good, ALL);
    assert_int_equal(line.last_bad + line.last_unread + line.last_stripes_bad, 0);
    assert_int_equal(line.last_epoch, 5);
    assert_int_equal(line.last_stripes_ever, 50);
    assert_int_equal(reports(&f), 0);
    fixture_release(&f);
}

static void light_finds_what_is_not_there(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    size_t lost = lie(&f, 2, 1, SPY_MISSING) + lie(&f, 7, 2, SPY_MISSING);
    (void)lie(&f, 4, 0, SPY_CORRUPT); /* that takes reading */
    fixture_run(&f, 0);
    struct proto_scrub_line line = round_of(&f, OSD_SCRUB_LIGHT);
    assert_int_equal(line.last_bad, lost);
    assert_int_equal(line.last_good, ALL - lost);
    assert_int_equal(reports(&f), lost);
    assert_int_equal(reported(&f, 2, 1, MISSING), 1);
    assert_int_equal(reported(&f, 7, 2, MISSING), 1);
    struct proto_scrub found;
    assert_int_equal(osd_scrub_get(f.scrub, f.arena, &found), LILIO_OK);
    assert_int_equal(found.findings_count, lost);
    assert_true(base_oid_equal(found.findings[0].oid, oid_of(&f, 2)));
    assert_int_equal(found.findings[0].kind, MISSING);
    assert_int_equal(found.findings[0].names_count, 1);
    /* Mended: the next round forgets it. */
    spy_store_honest(f.osds[0].store);
    line = round_of(&f, OSD_SCRUB_LIGHT);
    assert_int_equal(line.last_bad, 0);
    assert_int_equal(osd_scrub_get(f.scrub, f.arena, &found), LILIO_OK);
    assert_int_equal(found.findings_count, 0);
    fixture_release(&f);
}

/* A fragment whose checksums fit its bytes, and are not those of the row, too. */
static void deep_finds_what_is_not_right(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    size_t bad =
        lie(&f, 0, 0, SPY_CORRUPT) + lie(&f, 3, 1, SPY_OTHER_BYTES) + lie(&f, 6, 2, SPY_MISSING);
    fixture_run(&f, 0);
    struct proto_scrub_line line = round_of(&f, OSD_SCRUB_DEEP);
    assert_int_equal(line.last_bad, bad);
    assert_int_equal(line.last_good, ALL - bad);
    assert_int_equal(line.last_stripes_bad, 0);
    assert_int_equal(reports(&f), bad);
    assert_int_equal(reported(&f, 0, 0, CORRUPT), 1);
    assert_int_equal(reported(&f, 3, 1, CORRUPT), 1);
    assert_int_equal(reported(&f, 6, 2, MISSING), 1);
    fixture_release(&f);
}

/* A stripe of which osd.0 has fragment 0. */
static void parity_place(const struct fixture *f, size_t *ret_row, uint32_t *ret_stripe)
{
    for (*ret_row = 0; *ret_row < ROWS; (*ret_row)++)
        for (*ret_stripe = 0; *ret_stripe < STRIPES; (*ret_stripe)++)
            if (own_index(oid_of(f, *ret_row), *ret_stripe) == 0)
                return;
    fail_msg("osd.0 has no fragment 0");
}

/* What a writer with bad memory leaves: the row says of the parity what is on the disks. */
static void parity_that_never_fitted(void **state)
{
    struct fixture f;
    size_t row, firsts = 0;
    uint32_t stripe;
    (void)state;
    fixture_init(&f);
    parity_place(&f, &row, &stripe);
    f.fake.rows[row].checksums[4 * (stripe * PARTS_OSDS + PARTS_DATA + 1)] ^= 1;
    for (size_t i = 0; i < ROWS; i++)
        for (uint32_t s = 0; s < STRIPES; s++)
            firsts += own_index(oid_of(&f, i), s) == 0;
    fixture_run(&f, 0);
    osd_scrub_order(f.scrub, OSD_SCRUB_DEEP, 0);
    struct proto_scrub_line line = await(f.scrub, OSD_SCRUB_DEEP, 1, OSD_SCRUB_RESTS, 0);
    assert_int_equal(line.last_good, ALL);
    assert_int_equal(line.last_bad, 0);
    assert_int_equal(line.last_stripes_bad, 1);
    assert_true(firsts > 1);
    assert_int_equal(reports(&f), 0); /* nobody could mend it */
    struct proto_scrub found;
    assert_int_equal(osd_scrub_get(f.scrub, f.arena, &found), LILIO_OK);
    assert_int_equal(found.findings_count, 1);
    assert_int_equal(found.findings[0].kind, PARITY);
    assert_int_equal(found.findings[0].index, PARTS_DATA + 1);
    assert_int_equal(found.findings[0].stripe, stripe);
    assert_true(base_oid_equal(found.findings[0].oid, oid_of(&f, row)));

    /* The next round is not there yet: it is told as before. Then it was looked at again. */
    osd_scrub_order(f.scrub, OSD_SCRUB_DEEP, 1);
    (void)await(f.scrub, OSD_SCRUB_DEEP, 1, OSD_SCRUB_RUNS, 1);
    assert_int_equal(osd_scrub_get(f.scrub, f.arena, &found), LILIO_OK);
    assert_int_equal(found.findings_count, 1);
    osd_scrub_order(f.scrub, OSD_SCRUB_DEEP, 0);
    (void)await(f.scrub, OSD_SCRUB_DEEP, 2, OSD_SCRUB_RESTS, 0);
    assert_int_equal(osd_scrub_get(f.scrub, f.arena, &found), LILIO_OK);
    assert_int_equal(found.findings_count, 1);
    FAKE_LOCKED(&f.fake,
                f.fake.rows[row].checksums[4 * (stripe * PARTS_OSDS + PARTS_DATA + 1)] ^= 1);
    (void)round_of(&f, OSD_SCRUB_DEEP);
    assert_int_equal(osd_scrub_get(f.scrub, f.arena, &found), LILIO_OK);
    assert_int_equal(found.findings_count, 0);
    fixture_release(&f);
}

/* Where data cannot be had parity cannot be checked, and that is said while it runs. */
static void parity_needs_all_data(void **state)
{
    struct fixture f;
    size_t row;
    uint32_t stripe;
    (void)state;
    fixture_init(&f);
    parity_place(&f, &row, &stripe);
    for (uint32_t osd = 1; osd < PARTS_OSDS; osd++)
        spy_store_lie(f.osds[osd].store, oid_of(&f, row), 2, SPY_OTHER_BYTES);
    f.fake.rows[row].checksums[4 * (stripe * PARTS_OSDS + PARTS_DATA)] ^= 1;
    fixture_run(&f, 0);
    struct proto_scrub_line line = round_of(&f, OSD_SCRUB_DEEP);
    assert_int_equal(line.last_good, ALL);
    assert_int_equal(line.last_stripes_bad, 0);
    assert_true(line.last_stripes_unread > 0);
    /* Deleted behind the page: it is nobody's. */
    FAKE_LOCKED(&f.fake, f.fake.rows[row].deleted = true);
    assert_int_equal(round_of(&f, OSD_SCRUB_DEEP).last_stripes_unread, 0);
    fixture_release(&f);
}

static void what_is_known_or_gone_is_no_news(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    struct fake_row *known = &f.fake.rows[1];
    known->exceptions[0] = (struct proto_exception){.first_stripe = 2,
                                                    .stripe_count = 1,
                                                    .index = (uint8_t)own_index(known->oid, 2),
                                                    .kind = MISSING};
    known->exception_count = 1;
    size_t bad = lie(&f, 1, 2, SPY_MISSING) - 1; /* those of the index that are not known */
    size_t gone = lie(&f, 5, 0, SPY_MISSING);
    f.fake.rows[5].deleted = true; /* after the page was read */
    fixture_run(&f, 0);
    struct proto_scrub_line line = round_of(&f, OSD_SCRUB_LIGHT);
    assert_int_equal(line.last_bad, bad);
    assert_int_equal(line.last_unread, 1);
    assert_int_equal(line.last_epoch, 5); /* it is good again only once it was written anew */
    assert_int_equal(line.last_good, ALL - 1 - bad - gone);
    assert_int_equal(reports(&f), bad);
    fixture_release(&f);
}

/* Somebody met it, and told, between the page and the look. */
static void what_became_known_meanwhile(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    struct fake_row *row = &f.fake.rows[1];
    size_t bad = lie(&f, 1, 1, SPY_CORRUPT);
    row->exceptions[0] = (struct proto_exception){.first_stripe = 1,
                                                  .stripe_count = 1,
                                                  .index = (uint8_t)own_index(row->oid, 1),
                                                  .kind = CORRUPT};
    row->exception_count = 1;
    row->reported_later = true;
    f.fake.later_index = 300; /* the first page is pinned before */
    fixture_run(&f, 0);
    struct proto_scrub_line line = round_of(&f, OSD_SCRUB_DEEP);
    assert_int_equal(line.last_bad, bad - 1);
    assert_int_equal(line.last_unread, 1);
    assert_int_equal(reports(&f), bad - 1);
    fixture_release(&f);
}

/* What the maps do not have does not count. */
static void reports_that_are_refused(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    size_t bad = lie(&f, 3, 0, SPY_CORRUPT);
    f.fake.refuse_reports = true;
    fixture_run(&f, 0);
    osd_scrub_order(f.scrub, OSD_SCRUB_DEEP, 0);
    struct proto_scrub_line line = await(f.scrub, OSD_SCRUB_DEEP, 0, OSD_SCRUB_STUCK, 0);
    assert_int_equal(line.bad, 0);
    assert_int_equal(line.good, 3 * STRIPES);
    struct proto_scrub found;
    assert_int_equal(osd_scrub_get(f.scrub, f.arena, &found), LILIO_OK);
    assert_true(found.text.size > 0);
    FAKE_LOCKED(&f.fake, f.fake.refuse_reports = false);
    line = await(f.scrub, OSD_SCRUB_DEEP, 1, OSD_SCRUB_RESTS, 0);
    assert_int_equal(line.last_bad, bad);
    assert_int_equal(line.last_good, ALL - bad);
    assert_int_equal(reports(&f), bad);
    assert_int_equal(osd_scrub_get(f.scrub, f.arena, &found), LILIO_OK);
    assert_int_equal(found.findings_count, bad);
    fixture_release(&f);
}

/* The coordinator is lost behind the first page; another process finds how far it was. */
static void a_round_goes_on_after_a_restart(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    f.fake.lost_page = 2;
    fixture_run(&f, 0);
    osd_scrub_order(f.scrub, OSD_SCRUB_DEEP, 12345678);
    struct proto_scrub_line line = await(f.scrub, OSD_SCRUB_DEEP, 0, OSD_SCRUB_STUCK, 0);
    assert_int_equal(line.good, 3 * STRIPES);
    FAKE_LOCKED(&f.fake, f.fake.lose_scans = true; f.fake.index = 200);
    scrub_start(&f, 0, &f.later);
    line = await(f.later, OSD_SCRUB_DEEP, 0, OSD_SCRUB_STUCK, STRIPES);
    assert_true(line.ordered);
    assert_in_range(line.good, STRIPES, 3 * STRIPES); /* at least what the first save had */
    FAKE_LOCKED(&f.fake, f.fake.lose_scans = false);
    line = await(f.later, OSD_SCRUB_DEEP, 1, OSD_SCRUB_RESTS, 0);
    assert_int_equal(line.last_good, ALL);
    assert_int_equal(line.last_index, 100); /* of the first page of all */
    assert_int_equal(line.last_stripes_ever, 50);
    fixture_release(&f);
}

static void maps_are(struct osd_scrub *scrub, uint64_t index)
{
    osd_scrub_maps_are(scrub, osd_scrub_maps_index(scrub), index);
}

/* Another process finds the state of the disk; how the round counts there. */
static uint64_t epoch_at(struct fixture *f, struct osd_scrub **later)
{
    scrub_start(f, 0, later);
    return await(*later, OSD_SCRUB_DEEP, 1, OSD_SCRUB_RESTS, 0).last_epoch;
}

/* On the owner's thread. */
static enum lilio_err index_load(void *context, struct lilio_errinfo *info)
{
    struct fixture *f = context;
    struct osd_node_view view;
    osd_node_view(f->osds[0].node, &view);
    struct osd_scrub_state found = {.cluster_id = osd_node_cluster(f->osds[0].node),
                                    .disk_uuid = view.disk_uuid};
    enum lilio_err err = osd_scrub_load(&found, osd_home_disk(f->osds[0].home), info);
    f->saved_index = osd_scrub_index(&found);
    return err;
}

/* Until no round on the disk proves anything. */
static void await_void(struct fixture *f)
{
    struct proto_wait_item never = {.fd = -1};
    uint64_t until = base_now_ms(base_clock_system()) + 3 * PARTS_PATIENCE_MS;
    do {
        assert_true(base_now_ms(base_clock_system()) < until);
        (void)proto_wait(&never, 1, 5);
    } while (osd_node_call(f->osds[0].node, index_load, f, NULL) || f->saved_index > 0);
}

/* A heartbeat says it; what was asked for before a page was read says nothing. */
static void maps_that_went_back(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fixture_run(&f, 0);
    maps_are(f.scrub, 70);
    uint64_t before = osd_scrub_maps_index(f.scrub);
    assert_int_equal(before, 70);
    assert_int_equal(round_of(&f, OSD_SCRUB_DEEP).last_epoch, 5);
    osd_scrub_maps_are(f.scrub, before, 99); /* on its way while the round began */
    maps_are(f.scrub, 0);                    /* an older coordinator */
    maps_are(f.scrub, 100);
    assert_int_equal(line_of(f.scrub, OSD_SCRUB_DEEP).last_epoch, 5);
    maps_are(f.scrub, 99);
    struct proto_scrub_line line = line_of(f.scrub, OSD_SCRUB_DEEP);
    assert_int_equal(line.last_epoch, 0);
    assert_int_equal(line.last_good, ALL);
    maps_are(f.scrub, 300); /* as far as before */
    await_void(&f);
    assert_int_equal(line_of(f.scrub, OSD_SCRUB_DEEP).last_epoch, 0);
    FAKE_LOCKED(&f.fake, f.fake.index = 300);
    assert_int_equal(round_of(&f, OSD_SCRUB_DEEP).last_epoch, 5);
    maps_are(f.scrub, 300);
    assert_int_equal(line_of(f.scrub, OSD_SCRUB_DEEP).last_epoch, 5);
    /* What only heartbeats had seen is a mark as well. */
    maps_are(f.scrub, 900);
    maps_are(f.scrub, 899);
    assert_int_equal(line_of(f.scrub, OSD_SCRUB_DEEP).last_epoch, 0);
    fixture_release(&f);
}

/* A round that runs began in the time that is gone, too. */
static void maps_that_went_back_under_a_round(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fixture_run(&f, 0);
    osd_scrub_order(f.scrub, OSD_SCRUB_DEEP, 1);
    (void)await(f.scrub, OSD_SCRUB_DEEP, 0, OSD_SCRUB_RUNS, 1);
    maps_are(f.scrub, 99);
    await_void(&f);                              /* while it waits for its next bytes */
    osd_scrub_order(f.scrub, OSD_SCRUB_DEEP, 0); /* another one: that one proves nothing */
    assert_int_equal(await(f.scrub, OSD_SCRUB_DEEP, 1, OSD_SCRUB_RESTS, 0).last_epoch, 5);
    fixture_release(&f);
}

/* The walk of a light round shows it, and that round itself is of now. */
static void a_walk_shows_that_maps_went_back(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fixture_run(&f, 0);
    assert_int_equal(round_of(&f, OSD_SCRUB_DEEP).last_epoch, 5);
    FAKE_LOCKED(&f.fake, f.fake.index = 60);
    assert_int_equal(round_of(&f, OSD_SCRUB_LIGHT).last_epoch, 5);
    assert_int_equal(line_of(f.scrub, OSD_SCRUB_LIGHT).last_index, 60);
    assert_int_equal(line_of(f.scrub, OSD_SCRUB_DEEP).last_epoch, 0);
    fixture_release(&f);
}

/* All were restarted: the first heartbeat is answered before the file was read. */
static void maps_that_went_back_before_the_file_was_read(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fixture_run(&f, 0);
    assert_int_equal(round_of(&f, OSD_SCRUB_DEEP).last_epoch, 5);
    scrub_start(&f, 0, &f.later);
    maps_are(f.later, 99);
    assert_int_equal(await(f.later, OSD_SCRUB_DEEP, 1, OSD_SCRUB_RESTS, 0).last_good, ALL);
    maps_are(f.later, 300); /* as far as before */
    assert_int_equal(line_of(f.later, OSD_SCRUB_DEEP).last_epoch, 0);
    await_void(&f);
    fixture_release(&f);
}

/* The file may be of an older copy of the disk, and what was bad is mended since. */
static void what_was_bad_is_not_sworn_by_after_a_restart(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    (void)lie(&f, 3, 0, SPY_CORRUPT);
    fixture_run(&f, 0);
    assert_int_equal(round_of(&f, OSD_SCRUB_DEEP).last_epoch, 5);
    assert_int_equal(epoch_at(&f, &f.later), 0);
    spy_store_honest(f.osds[0].store);
    assert_int_equal(round_of(&f, OSD_SCRUB_DEEP).last_epoch, 5);
    assert_int_equal(epoch_at(&f, &f.last), 5);
    fixture_release(&f);
}

/* Our slot of the partition of a row's first stripe fills, from the copy that osd.1 has. */
static void fill_one(struct fixture *f, size_t row)
{
    struct proto_cluster_map map = *proto_map_ref_get(f->fake.map);
    struct proto_placement placement;
    struct base_oid oid = oid_of(f, row);
    uint32_t partition = proto_partition(map.placements[0].partition_bits, oid, 0);
    uint32_t slot = own_index(oid, 0);
    assert_true(proto_placement_unfold(&map.placements[0], f->arena, &placement));
    proto_placement_move(&placement, partition, slot, 1, map.epoch);
    proto_placement_filled(&placement, partition, slot);
    proto_placement_move(&placement, partition, slot, 0, map.epoch);
    proto_placement_fold(&placement);
    map.placements = &placement;
    struct proto_map_ref *made;
    assert_int_equal(proto_map_ref_new(&map, &made), LILIO_OK);
    osd_node_map_set(f->osds[0].node, made);
}

/* When its slot is filled it is good, and this round has not read it. */
static void what_fills_is_not_read(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fill_one(&f, 1);
    fixture_run(&f, 0);
    struct proto_scrub_line line = round_of(&f, OSD_SCRUB_DEEP);
    assert_true(line.last_unread > 0);
    assert_int_equal(line.last_good + line.last_unread, ALL);
    assert_int_equal(line.last_epoch, 0);
    assert_int_equal(line.last_index, 100);
    fixture_release(&f);
}

/* A fragment takes two minutes at that rate. */
static void orders_do_not_wait(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fixture_run(&f, 0);
    osd_scrub_order(f.scrub, OSD_SCRUB_DEEP, 1000);
    (void)await(f.scrub, OSD_SCRUB_DEEP, 0, OSD_SCRUB_RUNS, 1);
    assert_int_equal(line_of(f.scrub, OSD_SCRUB_LIGHT).state, OSD_SCRUB_RESTS); /* never due */
    osd_scrub_order(f.scrub, OSD_SCRUB_LIGHT, 0);
    struct proto_scrub_line line = await(f.scrub, OSD_SCRUB_LIGHT, 1, OSD_SCRUB_RESTS, 0);
    assert_int_equal(line.last_good, ALL);
    line = line_of(f.scrub, OSD_SCRUB_DEEP);
    assert_int_equal(line.state, OSD_SCRUB_RUNS);
    assert_in_range(line.good, 0, 2);
    osd_scrub_order(f.scrub, OSD_SCRUB_DEEP, 0);
    line = await(f.scrub, OSD_SCRUB_DEEP, 1, OSD_SCRUB_RESTS, 0);
    assert_int_equal(line.last_good, ALL);
    assert_int_equal(line.rounds, 1);
    fixture_release(&f);
}

/* A fragment takes two minutes, and a row has several: the light round that is due says it waits,
 * and comes when the row is over. It is the only one: no other says later that nothing waits. */
static void what_is_due_says_that_it_waits(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    f.fake.row_count = 1;
    fixture_run(&f, 500);
    osd_scrub_order(f.scrub, OSD_SCRUB_DEEP, 1000);
    (void)await(f.scrub, OSD_SCRUB_DEEP, 0, OSD_SCRUB_RUNS, 1);
    struct proto_scrub_line line = await(f.scrub, OSD_SCRUB_LIGHT, 0, OSD_SCRUB_WAITS, 0);
    assert_false(line.ordered);
    assert_int_equal(line_of(f.scrub, OSD_SCRUB_DEEP).state, OSD_SCRUB_RUNS);
    osd_scrub_order(f.scrub, OSD_SCRUB_DEEP, 0);
    line = await(f.scrub, OSD_SCRUB_LIGHT, line.rounds + 1, OSD_SCRUB_RESTS, 0);
    assert_int_equal(line.last_good, STRIPES);
    (void)await(f.scrub, OSD_SCRUB_DEEP, 1, OSD_SCRUB_RESTS, 0);
    fixture_release(&f);
}

static void rounds_come_by_themselves(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    fixture_run(&f, 200);
    struct proto_scrub_line line = await(f.scrub, OSD_SCRUB_LIGHT, 2, OSD_SCRUB_RESTS, 0);
    assert_int_equal(line.last_good, ALL);
    assert_int_equal(line_of(f.scrub, OSD_SCRUB_DEEP).rounds, 0);
    fixture_release(&f);
}

/* All of it would be missing on a disk that is to be rebuilt. */
static void a_disk_that_is_not_proven_is_let_be(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    struct proto_map_ref *plain = parts_map(6), *made;
    struct proto_cluster_map map = *proto_map_ref_get(plain);
    struct proto_osd osds[PARTS_OSDS];
    memcpy(osds, map.osds, sizeof osds);
    osds[0].complete = false;
    map.osds = osds;
    assert_int_equal(proto_map_ref_new(&map, &made), LILIO_OK);
    proto_map_ref_drop(&plain);
    osd_node_map_set(f.osds[0].node, made);
    (void)lie(&f, 0, 0, SPY_MISSING);
    fixture_run(&f, 0);
    osd_scrub_order(f.scrub, OSD_SCRUB_LIGHT, 0);
    (void)await(f.scrub, OSD_SCRUB_LIGHT, 0, OSD_SCRUB_STUCK, 0);
    assert_int_equal(reports(&f), 0);
    osd_node_map_set(f.osds[0].node, parts_map(7));
    struct proto_scrub_line line = await(f.scrub, OSD_SCRUB_LIGHT, 1, OSD_SCRUB_RESTS, 0);
    assert_true(line.last_bad > 0);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_well),
        cmocka_unit_test(light_finds_what_is_not_there),
        cmocka_unit_test(deep_finds_what_is_not_right),
        cmocka_unit_test(parity_that_never_fitted),
        cmocka_unit_test(parity_needs_all_data),
        cmocka_unit_test(what_is_known_or_gone_is_no_news),
        cmocka_unit_test(what_became_known_meanwhile),
        cmocka_unit_test(reports_that_are_refused),
        cmocka_unit_test(a_round_goes_on_after_a_restart),
        cmocka_unit_test(maps_that_went_back),
        cmocka_unit_test(maps_that_went_back_under_a_round),
        cmocka_unit_test(a_walk_shows_that_maps_went_back),
        cmocka_unit_test(maps_that_went_back_before_the_file_was_read),
        cmocka_unit_test(what_was_bad_is_not_sworn_by_after_a_restart),
        cmocka_unit_test(what_fills_is_not_read),
        cmocka_unit_test(orders_do_not_wait),
        cmocka_unit_test(what_is_due_says_that_it_waits),
        cmocka_unit_test(rounds_come_by_themselves),
        cmocka_unit_test(a_disk_that_is_not_proven_is_let_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
