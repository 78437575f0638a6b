/* Aim: of what an OSD lost exactly that is reported; what the maps call missing, what nobody names,
 * and what differs for a moment only is not; an OSD with everything is done without a walk; errors
 * are told and tried again. Method: one whole OSD on a spy store, a coordinator in a thread that
 * sums up its rows, lies, or fails on demand; the walks and reports it heard are counted. */
#include "osd/inventory.h"

#include <stdlib.h>

#include "tests/unit/osd/fake_coordinator.h"

#include "base/banned.h"

enum { STRIPES = 3, ROWS = 20, MISSING = 1 };

struct fixture {
    struct proto_context *context;
    struct fake fake;
    struct parts osd;
    struct osd_inventory *inventory;
    uint64_t lose; /* rows from this one on have no fragment here */
    char reason[256];
};

static uint32_t own_index(struct base_oid oid, uint32_t stripe)
{
    uint32_t index = 0;
    while (parts_owner(oid, stripe, index) != 0)
        index++;
    return index;
}

static void put_own(void *context, const struct parts_stripe *stripe)
{
    struct fixture *f = context;
    if (stripe->oid.low < f->lose)
        parts_store_put(f->osd.store, stripe, own_index(stripe->oid, stripe->stripe));
}

static void rows_add(struct fixture *f)
{
    for (uint64_t i = 1; i <= ROWS; i++)
        (void)fake_row_add(&f->fake, i, STRIPES, put_own, f);
}

/* Rows 1..ROWS; those from `lose' on are not here. */
static void fixture_init(struct fixture *f, uint64_t lose)
{
    *f = (struct fixture){.lose = lose};
    assert_int_equal(proto_context_new(1, &f->context), LILIO_OK);
    fake_start(&f->fake, f->context);
    parts_init_member(&f->osd, 0, f->context);
    FAKE_LOCKED(&f->fake, rows_add(f));
}

static void fixture_run(struct fixture *f)
{
    struct osd_inventory_options options = {
        .node = f->osd.node,
        .home = f->osd.home,
        .context = f->context,
        .coordinators = fake_endpoints(),
        .coordinator_count = 1,
    };
    parts_run(&f->osd);
    assert_int_equal(osd_inventory_start(&options, &f->inventory), LILIO_OK);
}

static void fixture_release(struct fixture *f)
{
    osd_node_stop(f->osd.node);
    osd_inventory_stop(&f->inventory);
    parts_release(&f->osd);
    fake_stop(&f->fake);
    proto_context_free(&f->context);
    parts_release_context(&f->osd);
}

/* Until a round more has ended well, or one failed. */
static struct proto_inventory_report await(struct fixture *f, uint64_t rounds, bool fails)
{
    struct proto_wait_item never = {.fd = -1};
    struct proto_inventory_report report;
    uint64_t until = base_now_ms(base_clock_system()) + PARTS_PATIENCE_MS;
    do {
        assert_true(base_now_ms(base_clock_system()) < until);
        (void)proto_wait(&never, 1, 5);
        osd_inventory_get(f->inventory, &report, f->reason);
    } while (fails ? report.err == LILIO_OK : report.rounds < rounds);
    return report;
}

static struct proto_inventory_report compared(struct fixture *f, uint64_t rounds)
{
    osd_inventory_order(f->inventory);
    return await(f, rounds, false);
}

static size_t reports(struct fixture *f)
{
    size_t count;
    FAKE_LOCKED(&f->fake, count = f->fake.report_count);
    return count;
}

static unsigned pages(struct fixture *f)
{
    unsigned count;
    FAKE_LOCKED(&f->fake, count = f->fake.pages);
    return count;
}

static void everything_is_here(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, ROWS + 1);
    fixture_run(&f);
    struct proto_inventory_report report = compared(&f, 1);
    assert_int_equal(report.slots, 1 << PARTS_BITS); /* one in each partition */
    assert_int_equal(report.differed + report.missing, 0);
    assert_int_equal(pages(&f), 0);
    report = compared(&f, 2);
    assert_int_equal(report.differed + report.missing, 0);
    assert_int_equal(reports(&f), 0);
    fixture_release(&f);
}

/* The maps know that the row's fragments are not here. */
static void row_known(struct fake_row *row)
{
    for (uint32_t stripe = 0; stripe < STRIPES; stripe++)
        row->exceptions[row->exception_count++] =
            (struct proto_exception){.first_stripe = stripe,
                                     .stripe_count = 1,
                                     .index = (uint8_t)own_index(row->oid, stripe),
                                     .kind = MISSING};
}

static void what_is_lost_is_reported(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 16);
    FAKE_LOCKED(&f.fake, row_known(&f.fake.rows[ROWS - 1]));
    fixture_run(&f);
    struct proto_inventory_report report = compared(&f, 1);
    assert_int_equal(report.missing, 4 * STRIPES); /* rows 16 to 19 */
    assert_in_range(report.differed, 1, 4 * STRIPES);
    assert_int_equal(reports(&f), 4 * STRIPES);
    for (size_t row = 15; row < 19; row++)
        for (uint32_t stripe = 0; stripe < STRIPES; stripe++)
            assert_int_equal(fake_reports(&f.fake, f.fake.rows[row].oid, stripe,
                                          own_index(f.fake.rows[row].oid, stripe), MISSING),
                             1);
    fixture_release(&f);
}

/* Fragments nobody names make slots differ, and nothing else of it. */
static void more_than_is_named(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, ROWS + 1);
    FAKE_LOCKED(&f.fake, f.fake.rows[3].deleted = true);
    struct parts_stripe stripe;
    parts_stripe_make(&stripe, base_oid_make(0, 9, 9), 0, (uint64_t)PARTS_DATA * PARTS_FRAGMENT);
    parts_store_put(f.osd.store, &stripe, own_index(stripe.oid, 0));
    parts_stripe_release(&stripe);
    FAKE_LOCKED(&f.fake, f.fake.page_rows = 2);
    fixture_run(&f);
    struct proto_inventory_report report = compared(&f, 1);
    assert_in_range(report.differed, 1, 1 + STRIPES);
    assert_true(pages(&f) > 0);
    /* The walk of this coordinator still hands out the deleted row; it is here. */
    assert_int_equal(report.missing + reports(&f), 0);
    fixture_release(&f);
}

/* What is under way makes a difference for a moment: the same once is enough. */
static void a_moment_is_no_difference(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, ROWS + 1);
    FAKE_LOCKED(&f.fake, f.fake.inventory_differs = 2);
    fixture_run(&f);
    struct proto_inventory_report report = compared(&f, 1);
    assert_int_equal(report.differed + report.missing, 0);
    assert_int_equal(pages(&f), 0);
    FAKE_LOCKED(&f.fake, assert_int_equal(f.fake.inventory_asks, 3));
    fixture_release(&f);
}

static void failures_are_told_and_tried_again(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 20);
    FAKE_LOCKED(&f.fake, f.fake.inventory_short = true);
    fixture_run(&f);
    osd_inventory_order(f.inventory);
    struct proto_inventory_report report = await(&f, 0, true);
    assert_int_equal(report.err, LILIO_E_MALFORMED);
    assert_true(report.reason.size > 0);
    assert_int_equal(report.rounds, 0);
    FAKE_LOCKED(&f.fake, f.fake.inventory_short = false; f.fake.refuse_reports = true);
    while (report.err != LILIO_E_UNAVAILABLE) /* what was found could not be told */
        report = await(&f, 0, true);
    FAKE_LOCKED(&f.fake, f.fake.refuse_reports = false; f.fake.lost_scans = 1);
    report = await(&f, 1, false);
    assert_int_equal(report.err, LILIO_OK);
    assert_int_equal(report.missing, STRIPES);
    assert_int_equal(reports(&f), STRIPES);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_here),
        cmocka_unit_test(what_is_lost_is_reported),
        cmocka_unit_test(more_than_is_named),
        cmocka_unit_test(a_moment_is_no_difference),
        cmocka_unit_test(failures_are_told_and_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
