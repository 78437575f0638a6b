/* Aim: maps and data rows from outside are believed only when they hold together, and are read
 * right. Method: one good map and row, then each rule broken once; references shared between
 * threads. */
#include <pthread.h>
#include <stdlib.h>

#include "proto/placement.h"
#include "tests/support/cmocka_all.h"
#include "tests/unit/proto/sample.h"

#include "base/banned.h"

enum { WIDTH = 3, BITS = 4, SLOTS = WIDTH << BITS };

struct fixture {
    struct proto_osd osds[4];
    struct proto_placement placements[2];
    uint8_t slots[2][2 * SLOTS];
    struct proto_cluster_map map;
    struct proto_exception exceptions[3];
    uint8_t checksums[4 * 3 * 5];
    struct proto_data_row row;
    struct lilio_errinfo info;
};

static struct fixture good(void)
{
    struct fixture f = {0};
    for (uint32_t i = 0; i < 4; i++)
        f.osds[i] = (struct proto_osd){
            .id = 2 * i + 1, .state = (uint8_t)(PROTO_OSD_UP + i), .weight = 1000};
    for (uint32_t i = 0; i < 2; i++)
        f.placements[i] = (struct proto_placement){
            .id = 10 + i, .width = WIDTH, .partition_bits = BITS, .rule = base_slice_str("osd:1")};
    f.row = (struct proto_data_row){
        .oid = base_oid_make(0, 3, 4),
        .profile = {.data_count = 2, .parity_count = 1, .fragment_size = 4096, .generator = 2},
        .placement = 11,
        .stored_length = 4 * 8192 + 1}; /* five stripes */
    f.exceptions[0] =
        (struct proto_exception){.first_stripe = 0, .stripe_count = 2, .index = 0, .kind = 1};
    f.exceptions[1] =
        (struct proto_exception){.first_stripe = 1, .stripe_count = 1, .index = 2, .kind = 3};
    f.exceptions[2] = (struct proto_exception){
        .first_stripe = 4, .stripe_count = 1, .index = 1, .kind = 2, .osd = 77};
    for (uint32_t i = 0; i < 15; i++)
        base_le32_put(f.checksums + 4 * i, 1000 + i);
    return f;
}

/* The pointers inside, once the struct is where it stays. */
static void tie(struct fixture *f)
{
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t at = 0; at < SLOTS; at++)
            base_le16_put(f->slots[i] + 2 * at, (uint16_t)(2 * ((at + i) % 4) + 1));
        f->placements[i].slots = base_slice(f->slots[i], sizeof f->slots[i]);
    }
    f->map = (struct proto_cluster_map){
        .osds = f->osds, .osds_count = 4, .placements = f->placements, .placements_count = 2};
    f->row.checksums = base_slice(f->checksums, sizeof f->checksums);
    f->row.exceptions = f->exceptions;
    f->row.exceptions_count = 3;
}

/* The good fixture in f, with one change. */
#define WITH(change, check)                         \
    do {                                            \
        f = good();                                 \
        tie(&f);                                    \
        change;                                     \
        assert_int_equal(check, LILIO_E_MALFORMED); \
        assert_true(f.info.text[0]);                \
    } while (0)

static void test_map_check(void **state)
{
    (void)state;
    struct fixture f = good();
    tie(&f);
    assert_int_equal(proto_map_check(&f.map, &f.info), LILIO_OK);
    base_le16_put(f.slots[0], PROTO_OSD_NONE);
    assert_int_equal(proto_map_check(&f.map, &f.info), LILIO_OK);
    f.map.default_profile = f.row.profile;
    assert_int_equal(proto_map_check(&f.map, &f.info), LILIO_OK);
    struct proto_cluster_map empty = {0};
    assert_int_equal(proto_map_check(&empty, &f.info), LILIO_OK);
    WITH(f.osds[1].id = 1, proto_map_check(&f.map, &f.info));
    WITH(f.osds[1].id = 6, proto_map_check(&f.map, &f.info));
    WITH(f.osds[3].id = PROTO_OSD_NONE, proto_map_check(&f.map, &f.info));
    WITH(f.osds[2].state = 0, proto_map_check(&f.map, &f.info));
    WITH(f.osds[2].state = 8, proto_map_check(&f.map, &f.info));
    WITH(f.placements[1].id = 10, proto_map_check(&f.map, &f.info));
    WITH(f.placements[0].id = 12, proto_map_check(&f.map, &f.info));
    WITH(f.placements[0].width = 0, proto_map_check(&f.map, &f.info));
    WITH(f.placements[0].width = 49, proto_map_check(&f.map, &f.info));
    WITH(f.placements[0].partition_bits = 17, proto_map_check(&f.map, &f.info));
    WITH(f.placements[0].partition_bits = 255, proto_map_check(&f.map, &f.info));
    WITH(f.placements[1].slots.size--, proto_map_check(&f.map, &f.info));
    WITH(f.placements[1].slots.size = 0, proto_map_check(&f.map, &f.info));
    WITH(base_le16_put(f.slots[1] + 2 * SLOTS - 2, 2), proto_map_check(&f.map, &f.info));
    WITH(f.map.default_profile.data_count = 33, proto_map_check(&f.map, &f.info));
}

static void test_row_check(void **state)
{
    (void)state;
    struct fixture f = good();
    tie(&f);
    assert_int_equal(proto_row_check(&f.row, &f.info), LILIO_OK);
    WITH(f.row.profile.data_count = 0, proto_row_check(&f.row, &f.info));
    WITH(f.row.profile.parity_count = 17, proto_row_check(&f.row, &f.info));
    WITH(f.row.profile.fragment_size = 4097, proto_row_check(&f.row, &f.info));
    WITH(f.row.profile.fragment_size = 0, proto_row_check(&f.row, &f.info));
    WITH(f.row.profile.generator = 1, proto_row_check(&f.row, &f.info));
    WITH(f.row.stored_length = 0, proto_row_check(&f.row, &f.info));
    WITH(f.row.stored_length += 8192, proto_row_check(&f.row, &f.info));
    WITH(f.row.stored_length = UINT64_MAX, proto_row_check(&f.row, &f.info));
    WITH(f.row.checksums.size -= 4, proto_row_check(&f.row, &f.info));
    WITH(f.row.checksums.size -= 1, proto_row_check(&f.row, &f.info));
    WITH(f.exceptions[0].kind = 0, proto_row_check(&f.row, &f.info));
    WITH(f.exceptions[0].kind = 4, proto_row_check(&f.row, &f.info));
    WITH(f.exceptions[1].index = 3, proto_row_check(&f.row, &f.info));
    WITH(f.exceptions[1].stripe_count = 0, proto_row_check(&f.row, &f.info));
    WITH(f.exceptions[1].stripe_count = 5, proto_row_check(&f.row, &f.info));
    WITH(f.exceptions[1].first_stripe = UINT32_MAX, proto_row_check(&f.row, &f.info));
    WITH((f.exceptions[1].first_stripe = 5, f.exceptions[1].stripe_count = UINT32_MAX),
         proto_row_check(&f.row, &f.info));
    WITH(f.exceptions[2].osd = PROTO_OSD_NONE, proto_row_check(&f.row, &f.info));
}

static void test_reading(void **state)
{
    (void)state;
    struct fixture f = good();
    tie(&f);
    for (uint32_t id = 0; id < 9; id++) {
        const struct proto_osd *osd = proto_map_osd(&f.map, id);
        assert_ptr_equal(osd, id % 2 && id < 8 ? &f.osds[id / 2] : NULL);
    }
    assert_null(proto_map_osd(&(struct proto_cluster_map){0}, 0));
    assert_ptr_equal(proto_map_placement(&f.map, 11), &f.placements[1]);
    assert_null(proto_map_placement(&f.map, 12));

    assert_int_equal(proto_row_missing(&f.row, 0), 1);
    assert_int_equal(proto_row_missing(&f.row, 1), 1 | 4);
    assert_int_equal(proto_row_missing(&f.row, 2), 0);
    assert_int_equal(proto_row_missing(&f.row, 4), 0); /* elsewhere is not missing */
    f.exceptions[0].index = 64;
    assert_int_equal(proto_row_missing(&f.row, 0), 0);

    uint32_t checksum = 0;
    assert_true(proto_row_checksum(&f.row, 4, 2, &checksum) && checksum == 1014);
    assert_true(proto_row_checksum(&f.row, 0, 1, &checksum) && checksum == 1001);
    assert_false(proto_row_checksum(&f.row, 5, 0, &checksum));
    assert_false(proto_row_checksum(&f.row, 0, 3, &checksum));
    assert_false(proto_row_checksum(&f.row, UINT32_MAX, UINT32_MAX, &checksum));

    for (uint32_t stripe = 0; stripe < 5; stripe++)
        for (uint32_t index = 0; index < 3; index++) {
            uint32_t expected =
                proto_slot_osd(&f.placements[1], proto_partition(BITS, f.row.oid, stripe), index);
            if (stripe == 4 && index == 1)
                expected = 77;
            assert_int_equal(proto_fragment_osd(&f.map, &f.row, stripe, index), expected);
        }
    assert_int_equal(proto_fragment_osd(&f.map, &f.row, 0, 3), PROTO_OSD_NONE);
    f.row.placement = 12;
    assert_int_equal(proto_fragment_osd(&f.map, &f.row, 0, 0), PROTO_OSD_NONE);
}

/* ---- references ---- */

static void *hold(void *context)
{
    struct proto_map_ref *mine = context;
    for (int i = 0; i < 1000; i++) {
        struct proto_map_ref *more = proto_map_ref_take(mine);
        assert_int_equal(proto_map_ref_get(more)->osds_count, 4);
        proto_map_ref_drop(&more);
        assert_null(more);
    }
    proto_map_ref_drop(&mine);
    return NULL;
}

static void test_map_ref(void **state)
{
    (void)state;
    struct proto_map_ref *ref;
    pthread_t threads[4];
    struct fixture *f = malloc(sizeof *f);
    *f = good();
    tie(f);
    assert_int_equal(proto_map_ref_new(&f->map, &ref), LILIO_OK);
    assert_true(sample_equal(&proto_type_cluster_map, &f->map, proto_map_ref_get(ref)));
    memset(f, 0xff, sizeof *f); /* the copy must not lean on it */
    free(f);
    assert_int_equal(proto_map_check(proto_map_ref_get(ref), NULL), LILIO_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold, proto_map_ref_take(ref)), 0);
    proto_map_ref_drop(&ref);
    proto_map_ref_drop(&ref);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_check),
        cmocka_unit_test(test_row_check),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_map_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
