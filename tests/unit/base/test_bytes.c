/* Aim: numbers have one fixed place for each of their bytes; sizes do not wrap; buffers keep what
 * they hold. Method: byte patterns written out by hand; sizes at the edge of overflow. */
#include "base/bytes.h"

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static void test_little_endian(void **state)
{
    (void)state;
    uint8_t p[8];
    base_le16_put(p, 0xf1e2);
    assert_memory_equal(p, "\xe2\xf1", 2);
    assert_int_equal(base_le16_get(p), 0xf1e2);
    base_le32_put(p, 0xf1e2d3c4);
    assert_memory_equal(p, "\xc4\xd3\xe2\xf1", 4);
    assert_int_equal(base_le32_get(p), 0xf1e2d3c4);
    base_le64_put(p, 0xf1e2d3c4b5a69788);
    assert_memory_equal(p, "\x88\x97\xa6\xb5\xc4\xd3\xe2\xf1", 8);
    assert_true(base_le64_get(p) == 0xf1e2d3c4b5a69788);
}

static void test_big_endian(void **state)
{
    (void)state;
    uint8_t p[8], q[8];
    base_be32_put(p, 0xf1e2d3c4);
    assert_memory_equal(p, "\xf1\xe2\xd3\xc4", 4);
    assert_int_equal(base_be32_get(p), 0xf1e2d3c4);
    base_be64_put(p, 0xf1e2d3c4b5a69788);
    assert_memory_equal(p, "\xf1\xe2\xd3\xc4\xb5\xa6\x97\x88", 8);
    assert_true(base_be64_get(p) == 0xf1e2d3c4b5a69788);
    base_be64_put(q, 0xf1e2d3c4b5a69789);
    assert_true(memcmp(p, q, 8) < 0);
}

static void test_round_up(void **state)
{
    (void)state;
    uint64_t value = 77;
    assert_true(base_round_up(0, 64, &value) && value == 0);
    assert_true(base_round_up(1, 64, &value) && value == 64);
    assert_true(base_round_up(64, 64, &value) && value == 64);
    assert_true(base_round_up(65, 3, &value) && value == 66);
    assert_true(base_round_up(UINT64_MAX - 4095, 4096, &value) && value == UINT64_MAX - 4095);
    value = 77;
    assert_false(base_round_up(UINT64_MAX - 4094, 4096, &value));
    assert_false(base_round_up(5, 0, &value));
    assert_true(value == 77);
}

static void test_buffer_grows_and_keeps(void **state)
{
    (void)state;
    struct base_buffer buffer = {0};
    for (unsigned i = 0; i < 5000; i++) {
        uint8_t pair[2] = {(uint8_t)i, (uint8_t)(i >> 8)};
        assert_int_equal(base_buffer_append(&buffer, pair, 2), LILIO_OK);
        assert_true(buffer.size <= buffer.capacity);
    }
    assert_int_equal(buffer.size, 10000);
    for (unsigned i = 0; i < 5000; i++)
        assert_int_equal(base_le16_get(buffer.data + (size_t)2 * i), i);
    while (buffer.size < buffer.capacity)
        assert_int_equal(base_buffer_append(&buffer, "x", 1), LILIO_OK);
    assert_int_equal(base_buffer_append(&buffer, "y", 1), LILIO_OK); /* one more than fits */
    assert_true(buffer.size <= buffer.capacity);
    buffer.size = 10000;
    assert_int_equal(base_buffer_append(&buffer, NULL, 0), LILIO_OK);
    assert_int_equal(base_buffer_slice(&buffer).size, 10000);
    size_t capacity = buffer.capacity;
    base_buffer_clear(&buffer);
    assert_int_equal(buffer.size, 0);
    assert_int_equal(buffer.capacity, capacity);
    base_buffer_release(&buffer);
    assert_null(buffer.data);
}

static void test_buffer_refuses_the_impossible(void **state)
{
    (void)state;
    struct base_buffer buffer = {0};
    assert_int_equal(base_buffer_append(&buffer, "abc", 3), LILIO_OK);
    assert_int_equal(base_buffer_reserve(&buffer, SIZE_MAX - 1), LILIO_E_NOMEM);
    assert_int_equal(base_buffer_reserve(&buffer, SIZE_MAX), LILIO_E_NOMEM);
    assert_int_equal(buffer.size, 3);
    assert_memory_equal(buffer.data, "abc", 3);
    base_buffer_release(&buffer);
}

static void test_slices(void **state)
{
    (void)state;
    assert_true(base_slice_equal(base_slice(NULL, 0), base_slice("x", 0)));
    assert_true(base_slice_equal(base_slice_str("ab"), base_slice("abc", 2)));
    assert_false(base_slice_equal(base_slice_str("ab"), base_slice_str("abc")));
    assert_false(base_slice_equal(base_slice_str("ab"), base_slice_str("ac")));
    struct base_oid oid = base_oid_make(0xabcd, 0xffff123456789abc, 9);
    assert_int_equal(base_oid_group(oid), 0xabcd);
    assert_true(base_oid_session(oid) == 0x123456789abc); /* 48 bits; the group is not touched */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_little_endian),
        cmocka_unit_test(test_big_endian),
        cmocka_unit_test(test_round_up),
        cmocka_unit_test(test_buffer_grows_and_keeps),
        cmocka_unit_test(test_buffer_refuses_the_impossible),
        cmocka_unit_test(test_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
