/* Aim: ids have one text form and nothing else is taken for one; seeded bytes are the same
 * everywhere. Method: texts that are almost right; the published first numbers of splitmix64. */
#include "base/env.h"

#include "base/bytes.h"
#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static void test_uuid_text(void **state)
{
    (void)state;
    const char *text = "00112233-4455-6677-8899-aabbccddeeff";
    struct base_uuid uuid;
    assert_true(base_uuid_parse(text, &uuid));
    assert_memory_equal(uuid.bytes,
                        "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16);
    char back[37];
    base_uuid_format(uuid, back);
    assert_string_equal(back, text);
    struct base_uuid upper;
    assert_true(base_uuid_parse("00112233-4455-6677-8899-AABBCCDDEEFF", &upper));
    assert_true(base_uuid_equal(uuid, upper));
}

static void test_uuid_refuses(void **state)
{
    (void)state;
    const char *const wrong[] = {
        "",
        "0",
        "-",
        "00112233",
        "00112233-4455-6677-8899-aabbccddeef",
        "00112233-4455-6677-8899-aabbccddeeff0",
        "00112233-4455-6677-8899-aabbccddeeff ",
        " 00112233-4455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-aabbccddeefg",
        "00112233-4455-6677-8899-aabbccddee-f",
        "001122334455-6677-8899-aabbccddeeff",
        "0011223-34455-6677-8899-aabbccddeeff",
        "00112233445566778899aabbccddeeff",
        "{0112233-4455-6677-8899-aabbccddeeff",
    };
    struct base_uuid uuid = {{7}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(base_uuid_parse(wrong[i], &uuid));
    assert_int_equal(uuid.bytes[0], 7);
}

static void test_uuid_new(void **state)
{
    (void)state;
    struct base_uuid a = base_uuid_new(base_random_system());
    struct base_uuid b = base_uuid_new(base_random_system());
    assert_false(base_uuid_equal(a, b));
    assert_false(base_uuid_is_zero(a));
    assert_int_equal(a.bytes[6] >> 4, 4); /* version */
    assert_int_equal(a.bytes[8] >> 6, 2); /* variant */
    assert_true(base_uuid_is_zero((struct base_uuid){{0}}));
}

static void test_seeded(void **state)
{
    (void)state;
    uint64_t seed = 0;
    struct base_random random = base_random_seeded(&seed);
    uint8_t bytes[24];
    random.fill(random.context, bytes, 20);
    assert_true(base_le64_get(bytes) == 0xe220a8397b1dcdaf);
    assert_true(base_le64_get(bytes + 8) == 0x6e789e6aa1b965f4);
    assert_int_equal(base_le32_get(bytes + 16), 0x8009454f);
    uint64_t same = 0;
    struct base_random again = base_random_seeded(&same);
    assert_true(base_random_u64(&again) == 0xe220a8397b1dcdaf);
}

static void test_system_clock(void **state)
{
    (void)state;
    const struct base_clock *clock = base_clock_system();
    uint64_t before = base_now_ns(clock);
    for (int i = 0; i < 1000; i++) {
        uint64_t now = base_now_ns(clock);
        assert_true(now >= before);
        before = now;
    }
    assert_true(base_now_ms(clock) >= before / 1000000);
    assert_true(clock->wall_ms(clock->context) > 1600000000000); /* after 2020, in milliseconds */
}

static void test_system_random(void **state)
{
    (void)state;
    uint8_t bytes[1 << 16], zeros = 0;
    base_random_system()->fill(NULL, bytes, sizeof bytes);
    size_t zero_count = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        zero_count += bytes[i] == zeros;
    assert_in_range(zero_count, 100,
                    500); /* 256 expected, standard deviation 16: all of it was filled */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uuid_text),    cmocka_unit_test(test_uuid_refuses),
        cmocka_unit_test(test_uuid_new),     cmocka_unit_test(test_seeded),
        cmocka_unit_test(test_system_clock), cmocka_unit_test(test_system_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
