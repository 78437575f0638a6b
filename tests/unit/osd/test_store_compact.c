/* Aim: space comes back, and compaction neither loses nor revives anything. Method: stores with
 * small segments on the crash disk, with hand-made situations that a random user rarely meets, each
 * followed by a start without an index; and a store in a real folder whose allocated blocks are
 * counted. */
#include "store_fixture.h"

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "osd/segment_priv.h"

#include "base/banned.h"

enum { LENGTH = 65536, PER_SEGMENT = 4 };

static struct fixture *small_segments(void)
{
    struct fixture *fixture = fixture_new(STORE_CRASH, 8);
    fixture->options.segment_bytes = OSD_SEGMENT_HEADER + PER_SEGMENT * (LENGTH + BASE_DISK_BLOCK);
    fixture_open(fixture);
    return fixture;
}

static struct osd_segment_store *inside(struct fixture *fixture)
{
    return (struct osd_segment_store *)fixture->store;
}

static bool segment_there(struct fixture *fixture, uint64_t id)
{
    return osd_segment_find(inside(fixture), id) != NULL;
}

static void put_range(struct fixture *fixture, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        assert_int_equal(fixture_put(fixture, i, 0, LENGTH), LILIO_OK);
}

static void dead_segments_go(void **state)
{
    (void)state;
    struct fixture *fixture = small_segments();
    put_range(fixture, 0, 5 * PER_SEGMENT);
    for (uint32_t i = 0; i < 2 * PER_SEGMENT; i++)
        assert_int_equal(fixture_remove(fixture, i), LILIO_OK);
    fixture_tick(fixture, 2);
    assert_false(segment_there(fixture, 1));
    assert_false(segment_there(fixture, 2));
    assert_true(segment_there(fixture, 3));
    assert_int_equal(fixture_stats(fixture).segment_count, 3); /* the tombstones are gone, too */
    fixture_reopen(fixture);
    for (uint32_t i = 0; i < 5 * PER_SEGMENT; i++)
        assert_int_equal(fixture_get(fixture, i, 0, LENGTH, true),
                         i < 2 * PER_SEGMENT ? LILIO_E_MISSING : LILIO_OK);
    /* In the end nothing is left, not even the tombstones. */
    for (uint32_t i = 0; i < 5 * PER_SEGMENT; i++)
        assert_int_equal(fixture_remove(fixture, i), LILIO_OK);
    fixture_tick(fixture, 2);
    assert_int_equal(inside(fixture)->segment_count, 0);
    assert_int_equal(fixture_stats(fixture).segment_count, 0);
    fixture_free(fixture);
}

/* Small fragments cannot be punched; a segment of which most is dead is moved. */
static void mostly_dead_segments_are_compacted(void **state)
{
    (void)state;
    enum { COUNT = 200, SMALL = 3008 };
    struct fixture *fixture = small_segments();
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(fixture_put(fixture, i, 0, SMALL), LILIO_OK);
    size_t before = inside(fixture)->segment_count;
    for (uint32_t i = 0; i < COUNT; i++)
        if (i % 4)
            assert_int_equal(fixture_remove(fixture, i), LILIO_OK);
    fixture_tick(fixture, 2);
    assert_true(fixture_stats(fixture).compaction_count > 0);
    assert_true(inside(fixture)->segment_count < before);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < COUNT; i++)
            assert_int_equal(fixture_get(fixture, i, 0, SMALL, true),
                             i % 4 ? LILIO_E_MISSING : LILIO_OK);
        assert_int_equal(fixture_space(fixture).fragment_count, COUNT / 4);
        fixture_reopen(fixture);
    }
    fixture_free(fixture);
}

/* A fragment was moved out of a segment that then could not be finished. Its tombstone must outlive
 * that segment, not only the one the fragment was moved to. */
static void tombstone_outlives_the_old_copy(void **state)
{
    (void)state;
    struct fixture *fixture = small_segments();
    struct osd_segment_store *store = inside(fixture);
    put_range(fixture, 0, PER_SEGMENT); /* segment 1 */
    struct base_fragment_key last = fixture_key(PER_SEGMENT - 1), first = fixture_key(0);
    struct osd_entry entry;
    assert_int_equal(osd_index_get(store, &last, &entry, NULL), LILIO_OK);
    assert_true(crash_disk_flip(fixture->disk, "segments/0000000000000001.seg",
                                entry.offset + entry.header_length + LENGTH - 1, 1));
    /* The first three fill segment 2 when they are moved by hand; the last one is stuck. */
    for (uint32_t i = 0; i < PER_SEGMENT - 1; i++) {
        struct base_fragment_key key = fixture_key(i);
        assert_int_equal(osd_index_get(store, &key, &entry, NULL), LILIO_OK);
        assert_true(crash_disk_flip(fixture->disk, "segments/0000000000000001.seg",
                                    entry.offset + entry.header_length, 1));
        assert_int_equal(fixture_put(fixture, i, 0, LENGTH),
                         LILIO_OK); /* mended: the old copy stays in segment 1 */
        assert_true(crash_disk_flip(fixture->disk, "segments/0000000000000001.seg",
                                    entry.offset + entry.header_length, 1));
    }
    assert_int_equal(osd_index_get(store, &first, &entry, NULL), LILIO_OK);
    assert_int_equal(entry.segment, 2);
    assert_int_equal(entry.first_segment, 1);
    put_range(fixture, 10, 1); /* fills segment 2 */
    put_range(fixture, 20, 1); /* in segment 3, as the tombstones will be */
    for (uint32_t i = 0; i < PER_SEGMENT - 1; i++)
        assert_int_equal(fixture_remove(fixture, i), LILIO_OK);
    assert_int_equal(fixture_remove(fixture, 10), LILIO_OK);
    fixture_tick(fixture, 2);
    assert_false(segment_there(fixture, 2));
    put_range(fixture, 30, 2 * PER_SEGMENT);
    assert_int_equal(fixture_remove(fixture, 20), LILIO_OK);
    fixture_tick(fixture, 2);
    assert_true(segment_there(fixture, 1)); /* the last one is still in it, and does not verify */
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < PER_SEGMENT - 1; i++)
            assert_int_equal(fixture_get(fixture, i, 0, LENGTH, true), LILIO_E_MISSING);
        fixture_tick(fixture, 2);
        fixture_reopen(fixture);
    }
    /* Once the last one is mended, segment 1 can go, and with it the need for the tombstones. */
    assert_int_equal(fixture_put(fixture, PER_SEGMENT - 1, 0, LENGTH), LILIO_OK);
    fixture_tick(fixture, 2);
    assert_false(segment_there(fixture, 1));
    fixture_reopen(fixture);
    for (uint32_t i = 0; i < PER_SEGMENT - 1; i++)
        assert_int_equal(fixture_get(fixture, i, 0, LENGTH, true), LILIO_E_MISSING);
    assert_int_equal(fixture_get(fixture, PER_SEGMENT - 1, 0, LENGTH, true), LILIO_OK);
    fixture_free(fixture);
}

/* Deleted and stored again with other bytes: the old tombstone, moved, must not bury the new
 * fragment. */
static void moved_tombstone_spares_the_new_fragment(void **state)
{
    (void)state;
    struct fixture *fixture = small_segments();
    put_range(fixture, 0, PER_SEGMENT); /* segment 1 */
    put_range(fixture, 10, PER_SEGMENT - 1);
    assert_int_equal(fixture_remove(fixture, 0), LILIO_OK); /* tombstone in segment 2 */
    put_range(fixture, 20, 1);
    assert_int_equal(fixture_put(fixture, 0, 7, LENGTH), LILIO_OK); /* in segment 3 */
    put_range(fixture, 30, PER_SEGMENT);
    /* Segment 2 becomes waste and is compacted while segment 1, which the tombstone is needed for,
     * lives on. */
    for (uint32_t i = 10; i < 10 + PER_SEGMENT - 1; i++) {
        struct base_fragment_key key = fixture_key(i);
        struct osd_entry entry;
        assert_int_equal(osd_index_get(inside(fixture), &key, &entry, NULL), LILIO_OK);
        if (entry.segment == 2)
            osd_segment_find(inside(fixture), 2)->punched_bytes =
                0; /* as if punching had been refused */
        assert_int_equal(fixture_remove(fixture, i), LILIO_OK);
        osd_segment_find(inside(fixture), 2)->punched_bytes = 0;
    }
    fixture_tick(fixture, 2);
    assert_false(segment_there(fixture, 2));
    assert_true(segment_there(fixture, 1));
    for (int round = 0; round < 2; round++) {
        assert_int_equal(fixture_get(fixture, 0, 7, LENGTH, true), LILIO_OK);
        fixture_reopen(fixture);
    }
    assert_int_equal(fixture_remove(fixture, 0), LILIO_OK);
    fixture_reopen(fixture);
    assert_int_equal(fixture_get(fixture, 0, 7, LENGTH, true), LILIO_E_MISSING);
    fixture_free(fixture);
}

/* A record type that this version does not write is carried along, and its segment with it. */
static void seal_records_are_kept(void **state)
{
    (void)state;
    struct fixture *fixture = small_segments();
    struct osd_segment_store *store = inside(fixture);
    struct osd_record seal = {.type = OSD_RECORD_SEAL, .payload_length = 640};
    put_range(fixture, 0, 1);
    assert_int_equal(osd_writer_begin(store, 2 * BASE_DISK_BLOCK, NULL), LILIO_OK);
    osd_writer_append(store, &seal, fixture->payload);
    assert_int_equal(osd_writer_finish(store, NULL), LILIO_OK);
    fixture_reopen(fixture);
    assert_int_equal(fixture_remove(fixture, 0), LILIO_OK);
    fixture_tick(fixture, 2);
    assert_true(segment_there(fixture, 1));
    fixture_reopen(fixture);
    fixture_tick(fixture, 2);
    assert_true(segment_there(fixture, 1));
    assert_false(fixture_stats(fixture).incomplete);
    fixture_free(fixture);
}

/* More segments than files are held open. */
static void many_segments(void **state)
{
    (void)state;
    enum { COUNT = OSD_OPEN_FILES_MAX + 60 };
    struct fixture *fixture = fixture_new(STORE_CRASH, 8);
    fixture->options.segment_bytes = 2 * BASE_DISK_BLOCK;
    fixture_open(fixture);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(fixture_put(fixture, i, 0, 1024), LILIO_OK);
    assert_true(inside(fixture)->segment_count >= COUNT);
    assert_true(inside(fixture)->open_files <= OSD_OPEN_FILES_MAX);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < COUNT; i++)
            assert_int_equal(fixture_get(fixture, i, 0, 1024, true), LILIO_OK);
        assert_true(inside(fixture)->open_files <= OSD_OPEN_FILES_MAX);
        fixture_reopen(fixture);
    }
    fixture_free(fixture);
}

/* ---- blocks on a real filesystem ---- */

static uint64_t allocated_bytes;

static int add_blocks(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path, (void)ftw;
    allocated_bytes += type == FTW_F ? (uint64_t)st->st_blocks * 512 : 0;
    return 0;
}

static uint64_t folder_bytes(const struct fixture *fixture)
{
    allocated_bytes = 0;
    assert_int_equal(nftw(fixture->dir, add_blocks, 16, FTW_PHYS), 0);
    return allocated_bytes;
}

static void folder_holds_payload_and_little_else(void **state)
{
    (void)state;
    enum { COUNT = 48, MIB = 1 << 20, SLACK = 3 * MIB / 2 };
    struct fixture *fixture = fixture_new(STORE_POSIX, 8);
    fixture->options.segment_bytes = 20 * MIB;
    fixture_open(fixture);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(fixture_put(fixture, i, 0, MIB), LILIO_OK);
    fixture_tick(fixture, 2);
    uint64_t full = folder_bytes(fixture);
    print_message("%d MiB take %.2f MiB\n", COUNT, (double)full / MIB);
    assert_true(full >= (uint64_t)COUNT * MIB && full < (uint64_t)COUNT * MIB * 101 / 100 + SLACK);
    for (uint32_t i = 0; i < COUNT; i += 2)
        assert_int_equal(fixture_remove(fixture, i), LILIO_OK);
    fixture_tick(fixture, 2);
    uint64_t half = folder_bytes(fixture);
    print_message("half of it %.2f MiB\n", (double)half / MIB);
    assert_true(half < (uint64_t)COUNT / 2 * MIB * 102 / 100 + SLACK);
    for (uint32_t i = 1; i < COUNT; i += 2) {
        assert_int_equal(fixture_get(fixture, i, 0, MIB, true), LILIO_OK);
        assert_int_equal(fixture_remove(fixture, i), LILIO_OK);
    }
    fixture_tick(fixture, 2);
    uint64_t none = folder_bytes(fixture);
    print_message("nothing %.2f MiB\n", (double)none / MIB);
    assert_true(none < SLACK);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dead_segments_go),
        cmocka_unit_test(mostly_dead_segments_are_compacted),
        cmocka_unit_test(tombstone_outlives_the_old_copy),
        cmocka_unit_test(moved_tombstone_spares_the_new_fragment),
        cmocka_unit_test(seal_records_are_kept),
        cmocka_unit_test(many_segments),
        cmocka_unit_test(folder_holds_payload_and_little_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
