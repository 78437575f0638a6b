/* Aim: a flipped bit anywhere in a segment gives right bytes or an error, never other bytes and
 * never another fragment; it takes nothing else with it; and a put mends it. Method: a small store
 * with every kind of record is built anew for each flip; one byte of each byte class is flipped
 * (all bytes of headers, samples of payloads), behind the back of a running store and between two
 * runs without an index, and everything is read back. */
#include "store_fixture.h"

#include <stdlib.h>

#include "osd/segment_priv.h"

#include "base/banned.h"

enum {
    FRAGMENTS = 9,
    GONE = 3,
    RECORDS_MAX = 32,
    SEGMENT_ROOM = 1 << 20,
    SPARSE = LILIO_SANITIZED ? 5 : 1
};
static const uint32_t lengths[FRAGMENTS] = {64, 1024, 65536, 4096, 448, 131072, 8192, 64, 65600};
#define SEGMENT "segments/0000000000000001.seg"

/* What lies where in the segment. */
struct layout {
    uint8_t *bytes;
    size_t size;
    uint64_t nonce;
    struct place {
        uint64_t offset;
        struct osd_record record;
        uint32_t covered;
    } places[RECORDS_MAX];
    size_t place_count;
};

/* Three batches of three (the last one is the last in the segment), then one removal in the middle.
 */
static struct fixture *store_new(void)
{
    struct fixture *fixture = fixture_new(STORE_CRASH, 77);
    fixture_open(fixture);
    for (uint32_t i = 0; i < FRAGMENTS; i++) {
        assert_int_equal(fixture_put(fixture, i, 0, lengths[i]), LILIO_OK);
        if (i == 5)
            assert_int_equal(fixture_remove(fixture, GONE), LILIO_OK);
    }
    return fixture;
}

static void layout_read(struct fixture *fixture, struct layout *ret)
{
    struct base_file *file;
    *ret = (struct layout){.bytes = aligned_alloc(BASE_DISK_BLOCK, SEGMENT_ROOM)};
    assert_non_null(ret->bytes);
    assert_int_equal(
        fixture->disk->ops->open(fixture->disk, SEGMENT, BASE_OPEN_READ_ONLY, &file, NULL),
        LILIO_OK);
    assert_int_equal(file->ops->read(file, ret->bytes, SEGMENT_ROOM, 0, &ret->size, NULL),
                     LILIO_OK);
    base_file_close(&file);
    struct osd_segment_header header;
    assert_int_equal(osd_segment_header_decode(ret->bytes, ret->size, &header), LILIO_OK);
    ret->nonce = header.nonce;
    for (uint64_t at = OSD_SEGMENT_HEADER; at < ret->size;) {
        struct place *place = &ret->places[ret->place_count++];
        place->offset = at;
        assert_int_equal(
            osd_record_decode(ret->bytes + at, ret->size - at, header.nonce, at, &place->record),
            LILIO_OK);
        place->covered = osd_record_covered(&place->record);
        at += osd_record_extent(place->record.header_length, place->record.payload_length);
    }
}

static void layout_free(struct layout *layout)
{
    free(layout->bytes);
}

/* The fragment a place belongs to; FRAGMENTS if none. */
static uint32_t owner_of(const struct place *place)
{
    for (uint32_t i = 0; i < FRAGMENTS; i++) {
        struct base_fragment_key key = fixture_key(i);
        if (place->record.type == OSD_RECORD_DATA &&
            memcmp(&key, &place->record.fragment.key, sizeof key) == 0)
            return i;
    }
    return FRAGMENTS;
}

static void flip(struct fixture *fixture, uint64_t offset)
{
    assert_true(crash_disk_flip(fixture->disk, SEGMENT, offset, (uint8_t)(1u << offset % 8)));
}

/* Everything but `hit` is as it was; hit has its bytes or an error. Returns hit's outcome. */
static enum lilio_err read_all(struct fixture *fixture, uint32_t hit, bool gone_may_return)
{
    enum lilio_err outcome = LILIO_OK;
    for (uint32_t i = 0; i < FRAGMENTS; i++) {
        enum lilio_err err = fixture_get(fixture, i, 0, lengths[i], true);
        if (i == hit)
            outcome = err;
        else if (i == GONE)
            assert_true(err == LILIO_E_MISSING ||
                        (gone_may_return && (err == LILIO_OK || err == LILIO_E_CORRUPT)));
        else
            assert_int_equal(err, LILIO_OK);
    }
    return outcome;
}

/* One flip under a running store, one put that mends. */
static void flip_running(uint64_t offset, uint32_t hit, enum lilio_err want)
{
    struct fixture *fixture = store_new();
    flip(fixture, offset);
    assert_int_equal(read_all(fixture, hit, false), want);
    if (hit < FRAGMENTS && hit != GONE) {
        assert_int_equal(fixture_put(fixture, hit, 0, lengths[hit]), LILIO_OK);
        assert_int_equal(read_all(fixture, FRAGMENTS, false), LILIO_OK);
        fixture_reopen(fixture);
        assert_int_equal(fixture_get(fixture, hit, 0, lengths[hit], true), LILIO_OK);
    }
    fixture_free(fixture);
}

/* One flip, then a start that has nothing but the segment. */
static void flip_at_rest(uint64_t offset, uint32_t hit, bool header, bool gone_may_return)
{
    struct fixture *fixture = store_new();
    fixture_close(fixture);
    flip(fixture, offset);
    fixture_open(fixture);
    enum lilio_err outcome = read_all(fixture, hit, gone_may_return);
    assert_true(hit == FRAGMENTS || hit == GONE || outcome != LILIO_OK);
    if (header)
        assert_true(fixture_stats(fixture).incomplete);
    if (hit < FRAGMENTS && hit != GONE)
        assert_int_equal(fixture_put(fixture, hit, 0, lengths[hit]), LILIO_OK);
    fixture_reopen(fixture);
    read_all(fixture, GONE, gone_may_return);
    assert_int_equal(fixture_stats(fixture).incomplete,
                     header || fixture_stats(fixture).incomplete);
    fixture_free(fixture);
}

static struct layout layout_of_a_new_store(void)
{
    struct layout layout;
    struct fixture *fixture = store_new();
    fixture_close(fixture);
    layout_read(fixture, &layout);
    fixture_free(fixture);
    assert_true(layout.place_count >= FRAGMENTS + 1);
    return layout;
}

static void record_headers(void **state)
{
    (void)state;
    struct layout layout = layout_of_a_new_store();
    for (size_t i = 0; i < layout.place_count; i++) {
        const struct place *place = &layout.places[i];
        bool tombstone = place->record.type == OSD_RECORD_TOMBSTONE;
        uint32_t hit = owner_of(place);
        /* All of the fixed part and the checksums, some of long object keys. */
        for (uint32_t at = 0; at < place->covered;
             at += at < OSD_RECORD_FIXED || at + 64 > place->covered ? SPARSE : 29) {
            flip_at_rest(place->offset + at, hit, true, tombstone);
            if (hit < FRAGMENTS && hit != GONE)
                flip_running(place->offset + at, hit, LILIO_E_CORRUPT);
        }
    }
    layout_free(&layout);
}

static void payloads(void **state)
{
    (void)state;
    struct layout layout = layout_of_a_new_store();
    for (size_t i = 0; i < layout.place_count; i++) {
        const struct place *place = &layout.places[i];
        uint32_t hit = owner_of(place);
        if (hit == FRAGMENTS || hit == GONE)
            continue;
        uint32_t length = place->record.payload_length;
        for (uint32_t at = 0; at < length; at = at + 1 == length     ? length
                                                : at + 9973 < length ? at + 9973
                                                                     : length - 1) {
            flip_running(place->offset + place->record.header_length + at, hit, LILIO_E_CORRUPT);
            flip_at_rest(place->offset + place->record.header_length + at, hit, false, false);
        }
    }
    layout_free(&layout);
}

/* Padding behind headers and payloads, and inside pad records, carries nothing. */
static void padding(void **state)
{
    (void)state;
    struct layout layout = layout_of_a_new_store();
    for (size_t i = 0; i < layout.place_count; i++) {
        const struct place *place = &layout.places[i];
        const struct osd_record *record = &place->record;
        uint64_t end = osd_record_extent(record->header_length, record->payload_length);
        if (place->covered < record->header_length)
            flip_running(place->offset + place->covered, FRAGMENTS, LILIO_OK);
        if (place->covered < record->header_length)
            flip_at_rest(place->offset + record->header_length - 1, FRAGMENTS, false, false);
        if (record->header_length + record->payload_length < end)
            flip_at_rest(place->offset + end - 1, FRAGMENTS, false, false);
        if (record->type == OSD_RECORD_PAD && record->payload_length)
            flip_at_rest(place->offset + record->header_length, FRAGMENTS, false, false);
    }
    layout_free(&layout);
}

static void segment_header(void **state)
{
    (void)state;
    /* One copy. */
    for (uint64_t at = 0; at < 128; at += SPARSE)
        for (uint64_t copy = 0; copy <= 2048; copy += 2048)
            flip_at_rest(copy + at, FRAGMENTS, false, false);
    /* Both: the first record knows the nonce. */
    for (uint64_t at = 0; at < 128; at += SPARSE) {
        struct fixture *fixture = store_new();
        fixture_close(fixture);
        flip(fixture, at);
        flip(fixture, 2048 + at);
        fixture_open(fixture);
        assert_int_equal(read_all(fixture, FRAGMENTS, false), LILIO_OK);
        fixture_free(fixture);
    }
}

/* Nothing is readable any more; nothing is deleted for it either, until the maps were consulted. */
static void unreadable_segment_is_kept(void **state)
{
    (void)state;
    struct fixture *fixture = store_new();
    struct base_file *file;
    fixture_close(fixture);
    flip(fixture, 0);
    flip(fixture, 2048);
    flip(fixture, OSD_SEGMENT_HEADER);
    for (int i = 0; i < 3; i++) {
        fixture_open(fixture);
        for (uint32_t j = 0; j < FRAGMENTS; j++)
            assert_int_equal(fixture_get(fixture, j, 0, lengths[j], true), LILIO_E_MISSING);
        assert_true(fixture_stats(fixture).incomplete);
        assert_true(fixture_stats(fixture).corrupt_record_count > 0);
        fixture_tick(fixture, 10);
        assert_int_equal(fixture->disk->ops->open(fixture->disk, SEGMENT, 0, &file, NULL),
                         LILIO_OK);
        base_file_close(&file);
        fixture_close(fixture);
    }
    fixture_open(fixture);
    for (uint32_t j = 0; j < FRAGMENTS; j++)
        assert_int_equal(fixture_put(fixture, j, 0, lengths[j]), LILIO_OK);
    assert_int_equal(fixture->store->ops->set_complete(fixture->store, NULL), LILIO_OK);
    fixture_tick(fixture, 10);
    assert_int_equal(fixture->disk->ops->open(fixture->disk, SEGMENT, 0, &file, NULL),
                     LILIO_E_NOT_FOUND);
    fixture_reopen(fixture);
    assert_false(fixture_stats(fixture).incomplete);
    for (uint32_t j = 0; j < FRAGMENTS; j++)
        assert_int_equal(fixture_get(fixture, j, 0, lengths[j], true), LILIO_OK);
    fixture_free(fixture);
}

/* A payload full of the segment's own valid records, at record boundaries; the header above it is
 * then destroyed, so that the scan walks through the payload. */
static void payload_that_looks_like_records(void **state)
{
    (void)state;
    enum { LENGTH = 65536 };
    struct layout layout;
    struct fixture *fixture = store_new();
    layout_read(fixture, &layout);
    uint8_t *payload = aligned_alloc(BASE_DISK_BLOCK, LENGTH);
    assert_non_null(payload);
    memcpy(payload, layout.bytes + OSD_SEGMENT_HEADER, LENGTH);
    struct osd_put put;
    fixture_put_make(&put, 50, 0, LENGTH, fixture->payload);
    put.payload = payload;
    codec_block_checksums(payload, LENGTH, put.fragment.block_checksums);
    fixture->store->ops->put(fixture->store, &put, 1);
    assert_int_equal(put.ret_err, LILIO_OK);
    assert_int_equal(fixture_put(fixture, 51, 0, 4096), LILIO_OK);
    assert_int_equal(fixture_remove(fixture, 0), LILIO_OK);
    fixture_close(fixture);
    flip(fixture, layout.size + 100);
    fixture_open(fixture);
    assert_true(fixture_stats(fixture).incomplete);
    assert_int_equal(fixture_stats(fixture).corrupt_record_count, 1);
    assert_int_equal(fixture_get(fixture, 0, 0, lengths[0], true), LILIO_E_MISSING);
    assert_int_equal(fixture_get(fixture, 50, 0, LENGTH, true), LILIO_E_MISSING);
    assert_int_equal(fixture_get(fixture, 51, 0, 4096, true), LILIO_OK);
    assert_int_equal(fixture_get(fixture, 2, 0, lengths[2], true), LILIO_OK);
    free(payload);
    layout_free(&layout);
    fixture_free(fixture);
}

/* The index names the place of another fragment of the same lengths: an error, whatever lies there.
 */
static void index_that_lies(void **state)
{
    (void)state;
    struct fixture *fixture = store_new();
    struct osd_segment_store *store = (struct osd_segment_store *)fixture->store;
    struct base_fragment_key keys[2] = {fixture_key(0), fixture_key(7)};
    struct osd_entry entries[2], lie;
    for (int i = 0; i < 2; i++)
        assert_int_equal(osd_index_get(store, &keys[i], &entries[i], NULL), LILIO_OK);
    assert_int_equal(lengths[0], lengths[7]);
    osd_index_put(store, &keys[0], &entries[1]);
    assert_int_equal(fixture_get(fixture, 0, 0, lengths[0], true), LILIO_E_CORRUPT);
    lie = entries[0];
    lie.sequence++;
    osd_index_put(store, &keys[0], &lie);
    assert_int_equal(fixture_get(fixture, 0, 0, lengths[0], true), LILIO_E_CORRUPT);
    lie = entries[0];
    lie.segment = 99;
    osd_index_put(store, &keys[0], &lie);
    assert_int_equal(fixture_get(fixture, 0, 0, lengths[0], true), LILIO_E_MISSING);
    osd_index_put(store, &keys[0], &entries[0]);
    assert_int_equal(fixture_get(fixture, 0, 0, lengths[0], true), LILIO_OK);
    fixture_free(fixture);
}

/* A stored copy that does not verify gives way, also to other bytes. */
static void put_over_a_corrupt_copy(void **state)
{
    (void)state;
    struct layout layout = layout_of_a_new_store();
    const struct place *place = NULL;
    for (size_t i = 0; i < layout.place_count; i++)
        if (owner_of(&layout.places[i]) == 2)
            place = &layout.places[i];
    assert_non_null(place);
    struct fixture *fixture = store_new();
    assert_int_equal(fixture_put(fixture, 2, 1, lengths[2]), LILIO_E_CONFLICT);
    flip(fixture, place->offset + place->record.header_length + 5);
    assert_int_equal(fixture_put(fixture, 2, 1, lengths[2]), LILIO_OK);
    assert_int_equal(fixture_get(fixture, 2, 1, lengths[2], true), LILIO_OK);
    fixture_reopen(fixture);
    assert_int_equal(fixture_get(fixture, 2, 1, lengths[2], true), LILIO_OK);
    assert_int_equal(fixture_remove(fixture, 2), LILIO_OK);
    fixture_reopen(fixture);
    assert_int_equal(fixture_get(fixture, 2, 1, lengths[2], true), LILIO_E_MISSING);
    layout_free(&layout);
    fixture_free(fixture);
}

/* A read that fails is not proof that the stored copy is bad: other bytes do not replace it. */
static void unreadable_copy(void **state)
{
    (void)state;
    struct fixture *fixture = store_new();
    crash_disk_fail(fixture->disk, CRASH_READ, 1, false, LILIO_E_IO);
    assert_int_equal(fixture_put(fixture, 2, 1, lengths[2]), LILIO_E_IO);
    assert_int_equal(fixture_get(fixture, 2, 0, lengths[2], true), LILIO_OK);
    crash_disk_fail(fixture->disk, CRASH_READ, 1, false, LILIO_E_IO);
    assert_int_equal(fixture_get(fixture, 2, 0, lengths[2], true), LILIO_E_IO);
    crash_disk_fail(fixture->disk, CRASH_READ, 1, false, LILIO_E_IO);
    assert_int_equal(fixture_put(fixture, 2, 0, lengths[2]),
                     LILIO_OK); /* the same bytes may be written again */
    assert_int_equal(read_all(fixture, FRAGMENTS, false), LILIO_OK);
    fixture_reopen(fixture);
    assert_int_equal(read_all(fixture, FRAGMENTS, false), LILIO_OK);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_headers),
        cmocka_unit_test(payloads),
        cmocka_unit_test(padding),
        cmocka_unit_test(segment_header),
        cmocka_unit_test(unreadable_segment_is_kept),
        cmocka_unit_test(payload_that_looks_like_records),
        cmocka_unit_test(index_that_lies),
        cmocka_unit_test(put_over_a_corrupt_copy),
        cmocka_unit_test(unreadable_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
