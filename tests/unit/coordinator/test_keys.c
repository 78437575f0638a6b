/* Aim: row keys sort as the maps rely on and come apart as they were put together.
 * Method: names that are prefixes of each other, names of every length, prefixes that end in
 * ff. */
#include "coord_fixture.h"

#include "base/banned.h"

static int order(const struct coord_key *a, const struct coord_key *b)
{
    size_t least = a->size < b->size ? a->size : b->size;
    int at = memcmp(a->bytes, b->bytes, least);
    return at ? at : (a->size > b->size) - (a->size < b->size);
}

static void names_sort_like_memcmp(void **unused)
{
    (void)unused;
    static const char *const names[] = {
        "a", "a!", "a/", "a/b", "aa", "ab", "b", "\xc3\xa4", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i + 1 < sizeof names / sizeof *names; i++) {
        struct coord_key a = coord_key_version(1, fx_text(names[i]));
        struct coord_key b = coord_key_version(1, fx_text(names[i + 1]));
        assert_true(order(&a, &b) < 0);
    }
    struct coord_key last = coord_key_version(1, fx_text("\xf0\x9f\x98\x80"));
    struct coord_key next = coord_key_version(2, fx_text("a"));
    assert_true(order(&last, &next) < 0);
}

static void version_comes_apart(void **unused)
{
    (void)unused;
    char name[COORD_KEY_MAX];
    memset(name, 'x', sizeof name);
    for (size_t size = 1; size <= sizeof name; size += 341) {
        struct coord_key key = coord_key_version(7, base_slice(name, size));
        uint64_t bucket;
        struct base_slice text;
        assert_true(coord_key_version_parse(coord_key_slice(&key), &bucket, &text));
        assert_int_equal(bucket, 7);
        assert_int_equal(text.size, size);
    }
    uint64_t bucket;
    struct base_slice text;
    assert_false(coord_key_version_parse(base_slice("short", 5), &bucket, &text));
    assert_false(coord_key_version_parse(base_slice("\0\0\0\0\0\0\0\7ab", 10), &bucket, &text));
    assert_false(coord_key_version_parse(base_slice("\0\0\0\0\0\0\0\7a\0b\0", 12), &bucket, &text));
}

static void after_prefix_skips_all_that_begin_with_it(void **unused)
{
    (void)unused;
    struct coord_key key = coord_key_text(base_slice("a\xff\xff", 3)),
                     longer = coord_key_text(base_slice("a\xff\xff\xffz", 5));
    struct coord_key after = key;
    assert_true(coord_key_after_prefix(&after));
    assert_true(order(&longer, &after) < 0);
    assert_int_equal(after.size, 1);
    assert_int_equal(after.bytes[0], 'b');
    struct coord_key none = coord_key_text(base_slice("\xff\xff", 2));
    assert_false(coord_key_after_prefix(&none));
}

static void gc_and_refs_come_apart(void **unused)
{
    (void)unused;
    struct proto_gc_key gc = {.osd = 5, .order_ms = 77, .oid = {1, 2}}, back;
    struct coord_key key = coord_key_gc(&gc);
    assert_true(coord_key_gc_parse(coord_key_slice(&key), &back));
    assert_int_equal(back.osd, 5);
    assert_int_equal(back.order_ms, 77);
    assert_true(base_oid_equal(back.oid, gc.oid));
    assert_false(coord_key_gc_parse(base_slice(key.bytes, key.size - 1), &back));
    struct base_oid oid;
    uint64_t bucket;
    struct base_slice name;
    key = coord_key_ref(gc.oid, 9, fx_text("n"));
    assert_true(coord_key_ref_parse(coord_key_slice(&key), &oid, &bucket, &name));
    assert_true(base_oid_equal(oid, gc.oid) && bucket == 9 && base_slice_equal(name, fx_text("n")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_sort_like_memcmp),
        cmocka_unit_test(version_comes_apart),
        cmocka_unit_test(after_prefix_skips_all_that_begin_with_it),
        cmocka_unit_test(gc_and_refs_come_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
