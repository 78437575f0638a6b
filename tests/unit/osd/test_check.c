/* Aim: a fragment request reaches the store only if every field of it makes sense; maps that differ
 * lead to the answer that helps the sender. Method: one good put, then each field spoilt by itself;
 * epochs older, equal and newer against slots that are ours and not ours. */
#include "osd/check.h"

#include "tests/unit/osd/osd_parts.h"

#include "base/banned.h"

struct fixture {
    struct proto_map_ref *map;
    struct parts_stripe stripe;
    uint8_t checksums[4 * CODEC_BLOCKS_MAX];
    struct proto_fragment_put put;
    struct osd_check check;
};

static void fixture_init(struct fixture *f)
{
    struct base_oid oid = base_oid_make(0, 7, 1);
    f->map = parts_map(5);
    parts_stripe_make(&f->stripe, oid, 3, PARTS_DATA * PARTS_FRAGMENT - 100);
    f->put = parts_put(&f->stripe, 2, f->checksums);
    f->check = (struct osd_check){
        .map = proto_map_ref_get(f->map), .osd = parts_owner(oid, 3, 2), .sender_epoch = 5};
}

static void fixture_release(struct fixture *f)
{
    parts_stripe_release(&f->stripe);
    proto_map_ref_drop(&f->map);
}

static enum lilio_err check_put(const struct fixture *f, const struct proto_fragment_put *put)
{
    struct osd_fragment fragment;
    struct lilio_errinfo info = {0};
    enum lilio_err err = osd_check_put(&f->check, put, f->stripe.fragment_size, &fragment, &info);
    assert_true(err == LILIO_OK || info.text[0]); /* a refusal says why */
    return err;
}

static void test_good_put_is_described(void **state)
{
    struct fixture f;
    struct osd_fragment fragment;
    (void)state;
    fixture_init(&f);
    assert_int_equal(osd_check_put(&f.check, &f.put, f.stripe.fragment_size, &fragment, NULL),
                     LILIO_OK);
    assert_int_equal(fragment.key.index, 2);
    assert_int_equal(fragment.key.stripe, 3);
    assert_int_equal(fragment.payload_length, f.stripe.fragment_size);
    assert_int_equal(fragment.block_count, codec_block_count(f.stripe.fragment_size));
    assert_memory_equal(fragment.block_checksums, f.stripe.block_checksums[2],
                        4 * (size_t)fragment.block_count);
    assert_true(base_slice_equal(fragment.object_key, base_slice_str("a key")));
    fixture_release(&f);
}

#define SPOIL(f, expected, ...)                            \
    do {                                                   \
        struct proto_fragment_put put = (f).put;           \
        __VA_ARGS__;                                       \
        assert_int_equal(check_put(&(f), &put), expected); \
    } while (0)

static void test_each_field_spoilt(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    SPOIL(f, LILIO_OK, put.bucket_id = 0);
    SPOIL(f, LILIO_E_INVALID, put.key.placement = 9);
    SPOIL(f, LILIO_E_INVALID, put.key.partition ^= 1);
    SPOIL(f, LILIO_E_INVALID, put.key.partition = UINT32_MAX);
    SPOIL(f, LILIO_E_INVALID, put.key.index = PARTS_OSDS);
    SPOIL(f, LILIO_E_INVALID, put.key.index = 255);
    SPOIL(f, LILIO_E_INVALID, put.profile.data_count = 0);
    SPOIL(f, LILIO_E_INVALID, put.profile.data_count = 33);
    SPOIL(f, LILIO_E_INVALID, put.profile.parity_count = 17);
    SPOIL(f, LILIO_E_INVALID, put.profile.parity_count = 1); /* no placement of that width */
    SPOIL(f, LILIO_E_INVALID, put.profile.fragment_size = 0);
    SPOIL(f, LILIO_E_INVALID, put.profile.fragment_size = UINT32_MAX);
    SPOIL(f, LILIO_E_INVALID, put.profile.generator = 77);
    SPOIL(f, LILIO_E_INVALID, put.stripe_length = 0);
    SPOIL(f, LILIO_E_INVALID, put.stripe_length = UINT64_MAX);
    SPOIL(f, LILIO_E_INVALID, put.stripe_length = 1000);
    SPOIL(f, LILIO_E_INVALID, put.payload_length = 0);
    SPOIL(f, LILIO_E_INVALID, put.payload_length -= 64);
    SPOIL(f, LILIO_E_INVALID, put.payload_length = UINT32_MAX);
    SPOIL(f, LILIO_E_INVALID, put.block_checksums.size = 0);
    SPOIL(f, LILIO_E_INVALID, put.block_checksums.size += 4);
    SPOIL(f, LILIO_E_INVALID, put.block_checksums.size -= 1);
    fixture_release(&f);
}

static void test_payload_shorter_or_longer(void **state)
{
    struct fixture f;
    struct osd_fragment fragment;
    (void)state;
    fixture_init(&f);
    const size_t sizes[] = {0, f.stripe.fragment_size - 1, f.stripe.fragment_size + 1};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(osd_check_put(&f.check, &f.put, sizes[i], &fragment, NULL),
                         LILIO_E_INVALID);
    fixture_release(&f);
}

static void test_slots_and_epochs(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f);
    f.check.sender_epoch = 1; /* old, but the slot is still ours */
    assert_int_equal(check_put(&f, &f.put), LILIO_OK);
    f.check.sender_epoch = 99; /* it knows more than we do, and we still hold the slot */
    assert_int_equal(check_put(&f, &f.put), LILIO_OK);

    f.check.osd = (f.check.osd + 1) % PARTS_OSDS; /* somebody else's slot */
    f.check.sender_epoch = 5;
    assert_int_equal(check_put(&f, &f.put), LILIO_E_WRONG_OSD);
    f.check.sender_epoch = 4;
    assert_int_equal(check_put(&f, &f.put), LILIO_E_STALE_EPOCH);
    f.check.sender_epoch = 6;
    assert_int_equal(check_put(&f, &f.put), LILIO_E_BUSY);

    struct proto_fragment_put put = f.put; /* a placement that only the sender knows yet */
    put.key.placement = 9;
    assert_int_equal(check_put(&f, &put), LILIO_E_BUSY);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_put_is_described),
        cmocka_unit_test(test_each_field_spoilt),
        cmocka_unit_test(test_payload_shorter_or_longer),
        cmocka_unit_test(test_slots_and_epochs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
