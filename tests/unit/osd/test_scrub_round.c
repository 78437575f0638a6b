/* Aim: what scrubs remember survives any crash, and nothing else is taken for it; coverage never
 * says more than was looked at; the pace makes the period and keeps to what was ordered. Method:
 * the pure parts with made-up numbers and times; every byte of the file changed, every length of
 * it; power lost at every change of a crash disk. */
#include "osd/scrub_round.h"

#include "codec/codec.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/crash_disk.h"

#include "base/banned.h"

static const uint64_t day_ms = 86400000;

static struct osd_scrub_state state_new(void)
{
    return (struct osd_scrub_state){.cluster_id = {{1, 2}}, .disk_uuid = {{3, 4}}};
}

/* A light round that ended and a deep one under way. */
static struct osd_scrub_state state_busy(void)
{
    struct osd_scrub_state state = state_new();
    struct osd_scrub_round *light = &state.rounds[OSD_SCRUB_LIGHT];
    struct osd_scrub_round *deep = &state.rounds[OSD_SCRUB_DEEP];
    osd_scrub_round_begin(light, 100, 5000, 10, 1000);
    osd_scrub_round_pinned(light, 44, 7, 30);
    osd_scrub_round_pinned(light, 50, 8, 31); /* a later page */
    light->counts = (struct osd_scrub_counts){.good = 90, .bad = 3, .unread = 2, .gone = 1};
    osd_scrub_round_end(light, 1700);
    osd_scrub_round_begin(deep, 100, 5000, 800, 2000);
    osd_scrub_round_pinned(deep, 60, 9, 40);
    deep->ordered = true;
    deep->rate = 123456;
    deep->cursor = (struct base_oid){7, 8};
    deep->counts = (struct osd_scrub_counts){
        .good = 20, .bytes = 1000, .stripes = 5, .stripes_bad = 1, .stripes_unread = 2};
    state.ran_ms = 900;
    return state;
}

static bool same(const struct osd_scrub_state *a, const struct osd_scrub_state *b)
{
    uint8_t left[OSD_SCRUB_FILE_BYTES], right[OSD_SCRUB_FILE_BYTES];
    osd_scrub_encode(a, left);
    osd_scrub_encode(b, right);
    return memcmp(left, right, sizeof left) == 0;
}

/* ---- the file ---- */

static void what_was_written_is_read(void **state)
{
    (void)state;
    struct osd_scrub_state made = state_busy(), back = state_new();
    uint8_t bytes[OSD_SCRUB_FILE_BYTES];
    osd_scrub_encode(&made, bytes);
    assert_int_equal(osd_scrub_decode(&back, base_slice(bytes, sizeof bytes)), LILIO_OK);
    const struct osd_scrub_round *light = &back.rounds[OSD_SCRUB_LIGHT];
    const struct osd_scrub_round *deep = &back.rounds[OSD_SCRUB_DEEP];
    assert_int_equal(back.ran_ms, 900);
    assert_false(light->running);
    assert_int_equal(light->rounds, 1);
    assert_int_equal(light->last_started_ms, 10);
    assert_int_equal(light->last_started_wall_ms, 1000);
    assert_int_equal(light->last_ended_wall_ms, 1700);
    assert_int_equal(light->last_index, 44);
    assert_int_equal(light->last_epoch, 7);
    assert_int_equal(light->last_stripes_ever, 30);
    assert_int_equal(light->last.good, 90);
    assert_int_equal(light->last.bad, 3);
    assert_int_equal(light->last.unread, 2);
    assert_true(deep->running && deep->ordered);
    assert_int_equal(deep->rate, 123456);
    assert_true(base_oid_equal(deep->cursor, (struct base_oid){7, 8}));
    assert_int_equal(deep->started_ms, 800);
    assert_int_equal(deep->started_wall_ms, 2000);
    assert_int_equal(deep->expected, 100);
    assert_int_equal(deep->expected_bytes, 5000);
    assert_int_equal(deep->counts.good, 20);
    assert_int_equal(deep->counts.bytes, 1000);
    assert_int_equal(deep->counts.stripes, 5);
    assert_int_equal(deep->counts.stripes_bad, 1);
    assert_int_equal(deep->counts.stripes_unread, 2);
    assert_int_equal(deep->rounds, 0);
    assert_int_equal(deep->epoch, 9);
    assert_int_equal(deep->stripes_ever, 40);
}

/* Version 1 had the first 30 numbers of each round. What it did not say is not known. */
static void an_older_file_is_read(void **state)
{
    (void)state;
    enum { OLD = 56 + 2 * 240 + 4 };
    struct osd_scrub_state made = state_busy(), back = state_new();
    uint8_t bytes[OSD_SCRUB_FILE_BYTES], old[OLD];
    osd_scrub_encode(&made, bytes);
    memcpy(old, bytes, 56);
    base_le32_put(old + 8, 1);
    memcpy(old + 56, bytes + 56, 240);
    memcpy(old + 296, bytes + 56 + 272, 240);
    base_le32_put(old + OLD - 4, codec_crc32c(0, old, OLD - 4));
    assert_int_equal(osd_scrub_decode(&back, base_slice(old, OLD)), LILIO_OK);
    assert_int_equal(back.rounds[OSD_SCRUB_LIGHT].last_index, 44);
    assert_int_equal(back.rounds[OSD_SCRUB_LIGHT].last_epoch, 0);
    assert_int_equal(back.rounds[OSD_SCRUB_LIGHT].last_stripes_ever, 0);
    struct osd_scrub_round *deep = &back.rounds[OSD_SCRUB_DEEP];
    assert_int_equal(deep->counts.good, 20);
    osd_scrub_round_pinned(deep, 99, 10, 50); /* it began before */
    osd_scrub_round_end(deep, 9000);
    assert_int_equal(deep->last_index, 60);
    assert_int_equal(deep->last_epoch, 0);
    old[8] = 2; /* as long as it says */
    base_le32_put(old + OLD - 4, codec_crc32c(0, old, OLD - 4));
    assert_int_equal(osd_scrub_decode(&back, base_slice(old, OLD)), LILIO_E_CORRUPT);
}

/* Changes a byte and makes the sum fit again, as somebody who means it would. */
static enum lilio_err decode_forged(const struct osd_scrub_state *made, size_t at, uint8_t value)
{
    struct osd_scrub_state back = state_new(), before = back;
    uint8_t bytes[OSD_SCRUB_FILE_BYTES];
    size_t covered = sizeof bytes - 4;
    osd_scrub_encode(made, bytes);
    bytes[at] = value;
    base_le32_put(bytes + covered, codec_crc32c(0, bytes, covered));
    enum lilio_err err = osd_scrub_decode(&back, base_slice(bytes, sizeof bytes));
    assert_true(!err || same(&back, &before));
    return err;
}

static void hostile_bytes(void **state)
{
    (void)state;
    struct osd_scrub_state made = state_busy(), back = state_new(), before = back;
    uint8_t bytes[OSD_SCRUB_FILE_BYTES + 8] = {0};
    osd_scrub_encode(&made, bytes);
    for (size_t i = 0; i < OSD_SCRUB_FILE_BYTES; i++) {
        bytes[i] ^= 0x10;
        assert_int_equal(osd_scrub_decode(&back, base_slice(bytes, OSD_SCRUB_FILE_BYTES)),
                         LILIO_E_CORRUPT);
        bytes[i] ^= 0x10;
        assert_int_equal(osd_scrub_decode(&back, base_slice(bytes, i)), LILIO_E_CORRUPT);
    }
    assert_int_equal(osd_scrub_decode(&back, base_slice(bytes, sizeof bytes)), LILIO_E_CORRUPT);
    assert_true(same(&back, &before));

    assert_int_equal(decode_forged(&made, 8, 3), LILIO_E_FORMAT);
    assert_int_equal(decode_forged(&made, 8, 0), LILIO_E_FORMAT);
    assert_int_equal(decode_forged(&made, 8, 1), LILIO_E_CORRUPT);
    assert_int_equal(decode_forged(&made, 16, 99), LILIO_E_FOREIGN); /* cluster */
    assert_int_equal(decode_forged(&made, 32, 99), LILIO_E_FOREIGN); /* disk */
    assert_int_equal(decode_forged(&made, 56, 2), LILIO_E_CORRUPT);  /* ordered, not running */
    assert_int_equal(decode_forged(&made, 56, 4), LILIO_E_CORRUPT);  /* no such flag */
    /* Numbers that would overflow sums: the highest byte of each; of an oid any will do. */
    assert_int_equal(decode_forged(&made, 55, 0x10), LILIO_E_CORRUPT);
    for (size_t round = 0; round < OSD_SCRUB_KINDS; round++)
        for (size_t number = 1; number < 34; number++) {
            size_t at = 56 + round * 272 + number * 8 + 7;
            assert_int_equal(decode_forged(&made, at, 0xff),
                             number < 3 ? LILIO_OK : LILIO_E_CORRUPT);
        }
}

static void power_fails_at_every_change(void **state)
{
    (void)state;
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct base_disk *disk;
        assert_int_equal(crash_disk_new(n, &disk), LILIO_OK);
        struct osd_scrub_state first = state_busy(), second = first, found = state_new();
        second.rounds[OSD_SCRUB_DEEP].cursor.low = 99;
        assert_int_equal(osd_scrub_load(&found, disk, NULL), LILIO_E_NOT_FOUND);
        assert_int_equal(osd_scrub_save(&first, disk, NULL), LILIO_OK);
        crash_disk_power_off_at(disk, n);
        done = osd_scrub_save(&second, disk, NULL) == LILIO_OK && crash_disk_powered(disk);
        crash_disk_power_off(disk);
        crash_disk_power_on(disk);
        assert_int_equal(osd_scrub_load(&found, disk, NULL), LILIO_OK);
        assert_true(same(&found, &second) || (!done && same(&found, &first)));
        assert_int_equal(crash_disk_misuse_count(disk), 0);
        base_disk_free(&disk);
    }
}

/* ---- rounds and coverage ---- */

static void rounds_come_once_in_a_period(void **state)
{
    (void)state;
    struct osd_scrub_round round = {0};
    assert_false(osd_scrub_round_due(&round, 0, 1000));
    assert_true(osd_scrub_round_due(&round, day_ms, 1000));
    osd_scrub_round_begin(&round, 10, 100, 1000, 5);
    assert_false(osd_scrub_round_due(&round, day_ms, 1000 + 2 * day_ms)); /* it runs */
    osd_scrub_round_end(&round, 6);
    assert_false(osd_scrub_round_due(&round, day_ms, 1000 + day_ms - 1));
    assert_true(osd_scrub_round_due(&round, day_ms, 1000 + day_ms));
    assert_false(osd_scrub_round_due(&round, 0, 1000 + day_ms));
    /* The next one begins with nothing, and the last one stays what it was. */
    round.last.good = 7;
    osd_scrub_round_begin(&round, 10, 100, 2000, 9);
    assert_int_equal(osd_scrub_met(&round.counts), 0);
    assert_int_equal(round.last.good, 7);
    assert_int_equal(round.rounds, 1);
}

static void coverage_is_what_was_looked_at(void **state)
{
    (void)state;
    struct osd_scrub_round round = {0};
    osd_scrub_round_begin(&round, 1000, 1000000, 0, 0);
    round.counts = (struct osd_scrub_counts){.good = 360, .bad = 10, .unread = 30, .gone = 500};
    assert_int_equal(osd_scrub_met(&round.counts), 400); /* what is gone is nobody's */
    assert_int_equal(osd_scrub_expected(&round), 1000);
    assert_int_equal(osd_scrub_permille(370, 1000), 370);
    assert_int_equal(osd_scrub_permille(0, 0), 1000);
    assert_int_equal(osd_scrub_permille(999999, 1000000), 999);
    assert_int_equal(osd_scrub_permille((UINT64_C(1) << 60) - 1, UINT64_C(1) << 60), 999);
    /* More was met than the disk had when it began. */
    round.counts.good = 2000;
    assert_int_equal(osd_scrub_expected(&round), 2041);    /* who knows what comes */
    assert_int_equal(osd_scrub_permille(2010, 2041), 984); /* what was not read stays not read */
    /* 600 of 1000 in a minute: 40 s are left for the rest. */
    round.counts = (struct osd_scrub_counts){.good = 600};
    assert_in_range(osd_scrub_eta_ms(&round, 0, 60000), 39000, 41000);
    assert_in_range(osd_scrub_eta_ms(&round, 300, 60000), 79000, 81000);
    assert_int_equal(osd_scrub_eta_ms(&round, 600, 60000), 0);
    assert_int_equal(osd_scrub_eta_ms(&round, 0, 0), 0);
}

static void lines_tell_ages(void **state)
{
    (void)state;
    struct osd_scrub_state busy = state_busy();
    struct proto_scrub_line line;
    osd_scrub_line(&busy.rounds[OSD_SCRUB_LIGHT], OSD_SCRUB_LIGHT, 2700, 900, &line);
    assert_int_equal(line.kind, 1);
    assert_int_equal(line.state, OSD_SCRUB_RESTS);
    assert_int_equal(line.ended_ms, 1000);
    assert_int_equal(line.oldest_ms, 1700);
    assert_int_equal(line.last_bad, 3);
    assert_int_equal(line.last_epoch, 7);
    assert_int_equal(line.last_stripes_ever, 30);
    assert_int_equal(line.good, 0);
    osd_scrub_line(&busy.rounds[OSD_SCRUB_DEEP], OSD_SCRUB_DEEP, 1500, 900, &line);
    assert_int_equal(line.state, OSD_SCRUB_RUNS);
    assert_int_equal(line.round_ms, 0); /* the wall clock went back */
    assert_int_equal(line.rounds, 0);
    assert_int_equal(line.oldest_ms, 0);
}

/* Somebody set the clock back, or far back: it ran for 890 ms since. */
static void no_age_is_too_low(void **state)
{
    (void)state;
    struct osd_scrub_state busy = state_busy();
    struct proto_scrub_line line;
    for (uint64_t wall = 0; wall <= 1890; wall += 10) {
        osd_scrub_line(&busy.rounds[OSD_SCRUB_LIGHT], OSD_SCRUB_LIGHT, wall, 900, &line);
        assert_int_equal(line.oldest_ms, 890);
    }
    osd_scrub_line(&busy.rounds[OSD_SCRUB_LIGHT], OSD_SCRUB_LIGHT, 5000, 900, &line);
    assert_int_equal(line.oldest_ms, 4000); /* it did not run all the time */
}

static void of_the_time_that_is_gone(void **state)
{
    (void)state;
    struct osd_scrub_state busy = state_busy();
    assert_int_equal(osd_scrub_index(&busy), 60);
    busy.rounds[OSD_SCRUB_LIGHT].last_index = 70;
    assert_int_equal(osd_scrub_index(&busy), 70);
    osd_scrub_void_all(&busy);
    assert_int_equal(osd_scrub_index(&busy), 0);
    struct osd_scrub_round *deep = &busy.rounds[OSD_SCRUB_DEEP];
    osd_scrub_round_pinned(deep, 71, 10, 50); /* a later page */
    osd_scrub_round_end(deep, 3000);
    assert_int_equal(deep->last_epoch, 0);
    assert_int_equal(busy.rounds[OSD_SCRUB_LIGHT].last_epoch, 0);
    assert_int_equal(deep->last.good, 20); /* what it met is told all the same */
    /* The next one is of the maps of now, and its first page is not read yet. */
    osd_scrub_round_begin(deep, 10, 100, 1000, 5);
    osd_scrub_void_all(&busy);
    osd_scrub_round_pinned(deep, 80, 11, 60);
    assert_int_equal(osd_scrub_index(&busy), 80);
}

/* The light round met what was bad; the deep one did not, so far. */
static void a_copy_may_have_what_was_mended(void **state)
{
    (void)state;
    struct osd_scrub_state busy = state_busy();
    struct osd_scrub_round *light = &busy.rounds[OSD_SCRUB_LIGHT];
    struct osd_scrub_round *deep = &busy.rounds[OSD_SCRUB_DEEP];
    osd_scrub_void_hurt(&busy);
    assert_int_equal(light->last_epoch, 0);
    assert_int_equal(deep->epoch, 9);
    light->last_epoch = 7;
    light->last.bad = 0; /* two were not read: the maps called them bad */
    deep->counts.bad = 1;
    osd_scrub_void_hurt(&busy);
    assert_int_equal(light->last_epoch, 0);
    assert_int_equal(deep->epoch, 0);
    light->last_epoch = 7;
    light->last.unread = 0;
    osd_scrub_void_hurt(&busy);
    assert_int_equal(light->last_epoch, 7);
}

/* What could not be looked at, and may be called good later, takes the round its proof: also on
 * later pages, and until the next round. */
static void a_void_round_proves_nothing(void **state)
{
    (void)state;
    struct osd_scrub_round round = {0};
    struct proto_scrub_line line;
    osd_scrub_round_begin(&round, 10, 100, 1000, 5);
    osd_scrub_round_pinned(&round, 70, 8, 9);
    osd_scrub_round_void(&round);
    osd_scrub_round_pinned(&round, 71, 9, 9);
    osd_scrub_round_end(&round, 6);
    osd_scrub_line(&round, OSD_SCRUB_DEEP, 10, 1005, &line);
    assert_int_equal(line.last_epoch, 0);
    assert_int_equal(line.last_index, 70);
    osd_scrub_round_begin(&round, 10, 100, 2000, 15);
    osd_scrub_round_pinned(&round, 80, 10, 9);
    osd_scrub_round_end(&round, 16);
    assert_int_equal(round.last_epoch, 10);
}

/* ---- pace ---- */

/* A disk that was read at the needed rate from the start, or after a pause; when it was done. */
static uint64_t played(uint64_t bytes, uint64_t pause_ms)
{
    struct osd_scrub_round round = {0};
    const uint64_t period = 14 * day_ms, step = 600000;
    osd_scrub_round_begin(&round, 1000, bytes, 0, 0);
    uint64_t now = pause_ms;
    for (; round.counts.bytes < bytes; now += step) {
        assert_true(now < 2 * period);
        round.counts.bytes += osd_scrub_needed(&round, period, now) * (step / 1000);
    }
    return now;
}

/* A disk that is nearly empty when the round begins, and fills during its first day: what is
 * written lies behind the cursor. */
static uint64_t played_while_it_fills(uint64_t bytes)
{
    struct osd_scrub_round round = {0};
    const uint64_t period = 14 * day_ms, step = 600000;
    uint64_t now = 0, there = 1 << 30;
    osd_scrub_round_begin(&round, 1, there, 0, 0);
    for (; round.counts.bytes < bytes; now += step) {
        assert_true(now < 2 * period);
        uint64_t read = osd_scrub_needed(&round, period, now) * (step / 1000);
        round.counts.bytes =
            round.counts.bytes + read < there ? round.counts.bytes + read : there - 1;
        there = now < day_ms ? bytes / (day_ms / step) * (now / step) + (1 << 30) : bytes + 1;
        osd_scrub_round_grow(&round, there >> 20, there);
    }
    assert_int_equal(round.expected_bytes, bytes + 1);
    osd_scrub_round_grow(&round, 0, 0); /* what was deleted was met, or is gone */
    assert_int_equal(osd_scrub_expected(&round), (bytes + 1) >> 20);
    return now;
}

static void the_period_is_made(void **state)
{
    (void)state;
    const uint64_t period = 14 * day_ms, tera = UINT64_C(1) << 40;
    assert_in_range(played(8 * tera, 0), period * 3 / 4, period);
    assert_in_range(played(8 * tera, 6 * day_ms), period * 3 / 4, period);
    assert_in_range(played(8 * tera, 12 * day_ms), 12 * day_ms, period);
    assert_in_range(played_while_it_fills(8 * tera), period * 3 / 4, period);
    assert_in_range(played(1 << 30, 0), 0, 3600000); /* little is not drawn out for days */
    struct osd_scrub_round round = {0};
    osd_scrub_round_begin(&round, 0, 0, 0, 0);
    assert_int_equal(osd_scrub_needed(&round, 0, 5), 0);
    assert_int_equal(osd_scrub_needed(&round, period, 5), OSD_SCRUB_RATE_MIN);
    assert_int_equal(osd_scrub_needed(&round, 1, 5), OSD_SCRUB_RATE_MIN);
}

static void orders_and_clients_are_kept_to(void **state)
{
    (void)state;
    struct osd_scrub_round round = {.running = true};
    assert_int_equal(osd_scrub_limit(&round, 700, false, 100000), 700); /* by itself: as needed */
    assert_int_equal(osd_scrub_limit(&round, 700, true, 100000), 700);
    round.ordered = true;
    assert_int_equal(osd_scrub_limit(&round, 700, false, 100000), 0); /* as fast as it can */
    assert_int_equal(osd_scrub_limit(&round, 700, true, 100000), 5000);
    assert_int_equal(osd_scrub_limit(&round, 9000, true, 100000), 9000);
    round.rate = 2000;
    assert_int_equal(osd_scrub_limit(&round, 700, false, 100000), 2000);
    assert_int_equal(osd_scrub_limit(&round, 700, true, 100000), 2000);
    assert_int_equal(osd_scrub_limit(&round, 9000, true, 100000), 2000);
    round.rate = 8000;
    assert_int_equal(osd_scrub_limit(&round, 700, true, 100000), 5000);
    assert_int_equal(osd_scrub_cost(&round, 4096, 0), 4096);
    assert_int_equal(osd_scrub_cost(&round, 4096, 3), 4 * 4096); /* others are read, too */
    round.ordered = false;
    assert_int_equal(osd_scrub_cost(&round, 4096, 3), 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(an_older_file_is_read),
        cmocka_unit_test(hostile_bytes),
        cmocka_unit_test(power_fails_at_every_change),
        cmocka_unit_test(rounds_come_once_in_a_period),
        cmocka_unit_test(coverage_is_what_was_looked_at),
        cmocka_unit_test(lines_tell_ages),
        cmocka_unit_test(no_age_is_too_low),
        cmocka_unit_test(of_the_time_that_is_gone),
        cmocka_unit_test(a_copy_may_have_what_was_mended),
        cmocka_unit_test(a_void_round_proves_nothing),
        cmocka_unit_test(the_period_is_made),
        cmocka_unit_test(orders_and_clients_are_kept_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
