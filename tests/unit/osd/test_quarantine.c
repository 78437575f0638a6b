/* Aim: what was marked is there after a crash, whole or not at all, and never another disk's; the
 * table finds what it has, however full it is. Method: thousands of oids against a plain list; a
 * flip of every byte, cuts, foreign heads; and the power failing at every change of a rewrite. */
#include "osd/quarantine.h"

#include "tests/support/cmocka_all.h"
#include "tests/support/crash_disk.h"

#include "base/banned.h"

#define NAME "orphans"

enum { MANY = 5000 };

static struct osd_quarantine quarantine_new(void)
{
    return (struct osd_quarantine){.cluster_id = {{1, 2}}, .disk_uuid = {{3, 4}}};
}

static struct base_oid oid(uint64_t i)
{
    return base_oid_make(0, 1 + i % 7, i / 7); /* as sessions count */
}

static void fill(struct osd_quarantine *quarantine, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct osd_orphan *orphan = osd_quarantine_add(quarantine, oid(i));
        assert_non_null(orphan);
        orphan->index = 10 * i;
        orphan->cluster_ms = 1000 + i;
    }
    quarantine->index = 77;
}

static bool is_even(const struct osd_orphan *orphan)
{
    return orphan->index / 10 % 2 == 0;
}

static void finds_what_it_has(void **state)
{
    (void)state;
    struct osd_quarantine quarantine = quarantine_new();
    assert_null(osd_quarantine_find(&quarantine, oid(0)));
    fill(&quarantine, MANY);
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(osd_quarantine_find(&quarantine, oid(i))->index, 10 * i);
    assert_null(osd_quarantine_find(&quarantine, oid(MANY)));
    osd_quarantine_sift(&quarantine, is_even);
    assert_int_equal(quarantine.count, MANY / 2);
    for (uint64_t i = 0; i < MANY; i++) {
        const struct osd_orphan *found = osd_quarantine_find(&quarantine, oid(i));
        assert_true(i % 2 == 0 ? found && found->index == 10 * i : !found);
    }
    osd_quarantine_release(&quarantine);
}

static void is_bounded(void **state)
{
    (void)state;
    struct osd_quarantine quarantine = quarantine_new();
    fill(&quarantine, OSD_ORPHANS_MAX);
    assert_null(osd_quarantine_add(&quarantine, oid(OSD_ORPHANS_MAX)));
    assert_non_null(osd_quarantine_find(&quarantine, oid(OSD_ORPHANS_MAX - 1)));
    struct base_buffer bytes = {0};
    assert_int_equal(osd_quarantine_encode(&quarantine, &bytes), LILIO_OK);
    struct osd_quarantine back = quarantine_new();
    assert_int_equal(osd_quarantine_decode(&back, base_buffer_slice(&bytes)), LILIO_OK);
    assert_int_equal(back.count, OSD_ORPHANS_MAX);
    osd_quarantine_release(&back);
    osd_quarantine_release(&quarantine);
    base_buffer_release(&bytes);
}

/* What a coordinator never heard of is looked at anew in each round. */
static void unknown_runs_are_not_written(void **state)
{
    (void)state;
    struct osd_quarantine quarantine = quarantine_new(), back = quarantine_new();
    struct base_buffer bytes = {0};
    fill(&quarantine, 3);
    osd_quarantine_find(&quarantine, oid(1))->unknown = true;
    assert_int_equal(osd_quarantine_encode(&quarantine, &bytes), LILIO_OK);
    assert_int_equal(osd_quarantine_decode(&back, base_buffer_slice(&bytes)), LILIO_OK);
    assert_int_equal(back.count, 2);
    assert_int_equal(back.index, 77);
    assert_null(osd_quarantine_find(&back, oid(1)));
    assert_int_equal(osd_quarantine_find(&back, oid(2))->cluster_ms, 1002);
    osd_quarantine_release(&back);
    osd_quarantine_release(&quarantine);
    base_buffer_release(&bytes);
}

static void damaged_and_foreign_bytes(void **state)
{
    (void)state;
    struct osd_quarantine quarantine = quarantine_new();
    struct base_buffer bytes = {0};
    fill(&quarantine, 3);
    assert_int_equal(osd_quarantine_encode(&quarantine, &bytes), LILIO_OK);
    for (size_t i = 0; i < bytes.size; i++) {
        struct osd_quarantine back = quarantine_new();
        bytes.data[i] ^= 0x10;
        assert_int_equal(osd_quarantine_decode(&back, base_buffer_slice(&bytes)), LILIO_E_CORRUPT);
        bytes.data[i] ^= 0x10;
        assert_int_equal(osd_quarantine_decode(&back, base_slice(bytes.data, i)), LILIO_E_CORRUPT);
        assert_int_equal(back.count, 0);
        osd_quarantine_release(&back);
    }
    struct osd_quarantine other = {.cluster_id = {{1, 2}}, .disk_uuid = {{3, 5}}};
    assert_int_equal(osd_quarantine_decode(&other, base_buffer_slice(&bytes)), LILIO_E_FOREIGN);
    other = (struct osd_quarantine){.cluster_id = {{1, 3}}, .disk_uuid = {{3, 4}}};
    assert_int_equal(osd_quarantine_decode(&other, base_buffer_slice(&bytes)), LILIO_E_FOREIGN);
    osd_quarantine_release(&quarantine);
    base_buffer_release(&bytes);
}

static void power_fails_at_every_change(void **state)
{
    (void)state;
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct base_disk *disk;
        assert_int_equal(crash_disk_new(n, &disk), LILIO_OK);
        struct osd_quarantine first = quarantine_new(), second = quarantine_new();
        struct osd_quarantine found = quarantine_new();
        assert_int_equal(osd_quarantine_load(&found, disk, NULL), LILIO_E_NOT_FOUND);
        fill(&first, 2);
        fill(&second, 300);
        assert_int_equal(osd_quarantine_save(&first, disk, NULL), LILIO_OK);
        crash_disk_power_off_at(disk, n);
        done = osd_quarantine_save(&second, disk, NULL) == LILIO_OK && crash_disk_powered(disk);
        crash_disk_power_off(disk);
        crash_disk_power_on(disk);
        assert_int_equal(osd_quarantine_load(&found, disk, NULL), LILIO_OK);
        assert_true(found.count == 300 || (found.count == 2 && !done));
        for (size_t i = 0; i < found.count; i++)
            assert_int_equal(osd_quarantine_find(&found, oid(i))->index, 10 * i);
        assert_int_equal(crash_disk_misuse_count(disk), 0);
        assert_true(crash_disk_flip(disk, NAME, 60, 1));
        assert_int_equal(osd_quarantine_load(&found, disk, NULL), LILIO_E_CORRUPT);
        assert_int_equal(found.count, 0);
        assert_true(base_uuid_equal(found.disk_uuid, first.disk_uuid));
        osd_quarantine_release(&first);
        osd_quarantine_release(&second);
        osd_quarantine_release(&found);
        base_disk_free(&disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_it_has),
        cmocka_unit_test(is_bounded),
        cmocka_unit_test(unknown_runs_are_not_written),
        cmocka_unit_test(damaged_and_foreign_bytes),
        cmocka_unit_test(power_fails_at_every_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
