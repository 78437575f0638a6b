/* Aim: listings show exactly the keys of a bucket under a prefix, in byte order, folded at the
 * delimiter, whatever the page size, and a delimiter skips what it folds. Method: seeded random key
 * sets from a small alphabet, several prefixes, delimiters and page sizes, against a listing made
 * by brute force; a bucket with many keys under one common prefix, counted in rows read. */
#include "coord_fixture.h"

#include <stdlib.h>

#include "base/banned.h"

enum { KEYS_MAX = 150, LINES_MAX = 200 };

struct model {
    char keys[KEYS_MAX][16];
    size_t count;
};

struct lines {
    char text[LINES_MAX][20]; /* "P key" or "K key" */
    size_t count;
};

static int by_bytes(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void make_keys(struct fx *fx, const struct proto_bucket *bucket, uint64_t *seed,
                      struct model *model)
{
    static const char *const letters[] = {"a", "b", "/", "-", "\xc3\xa9", "\xef\xbf\xbf"};
    size_t wanted = 1 + fx_random(seed, KEYS_MAX - 1);
    model->count = 0;
    while (model->count < wanted) {
        char key[16] = "";
        size_t length = 1 + fx_random(seed, 5);
        for (size_t i = 0; i < length; i++) {
            size_t at = strlen(key);
            (void)snprintf(key + at, sizeof key - at, "%s", letters[fx_random(seed, 6)]);
        }
        bool known = false;
        for (size_t i = 0; i < model->count; i++)
            known |= strcmp(model->keys[i], key) == 0;
        if (known) {
            wanted--;
            continue;
        }
        (void)snprintf(model->keys[model->count++], 16, "%s", key);
        (void)fx_put(fx, bucket, key, 0, 0);
    }
    qsort(model->keys, model->count, sizeof model->keys[0], by_bytes);
}

static void model_list(const struct model *model, const char *prefix, const char *delimiter,
                       struct lines *ret)
{
    ret->count = 0;
    for (size_t i = 0; i < model->count; i++) {
        const char *key = model->keys[i];
        if (strncmp(key, prefix, strlen(prefix)) != 0)
            continue;
        const char *cut = delimiter[0] ? strstr(key + strlen(prefix), delimiter) : NULL;
        char line[20];
        if (cut)
            (void)snprintf(line, sizeof line, "P %.*s", (int)(cut - key) + (int)strlen(delimiter),
                           key);
        else
            (void)snprintf(line, sizeof line, "K %s", key);
        if (ret->count == 0 || strcmp(ret->text[ret->count - 1], line) != 0)
            (void)snprintf(ret->text[ret->count++], 20, "%s", line);
    }
}

static void state_list(struct fx *fx, const char *bucket, const char *prefix, const char *delimiter,
                       uint32_t limit, struct lines *ret)
{
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    struct proto_list ask = {.bucket = fx_text(bucket),
                             .prefix = fx_text(prefix),
                             .delimiter = fx_text(delimiter),
                             .limit = limit};
    struct proto_listing page;
    ret->count = 0;
    do {
        assert_int_equal(coord_read_listing(&view, &ask, &page, NULL), LILIO_OK);
        assert_true(page.entries_count <= limit);
        assert_true(!page.more || page.entries_count == limit);
        for (size_t i = 0; i < page.entries_count; i++)
            (void)snprintf(ret->text[ret->count++], 20, "%c %.*s",
                           page.entries[i].is_prefix ? 'P' : 'K', (int)page.entries[i].key.size,
                           (const char *)page.entries[i].key.data);
        ask.token = page.token;
    } while (page.more);
}

static void agrees_with_brute_force(bool rocksdb)
{
    uint64_t seed = 20240607;
    for (int round = 0; round < (rocksdb ? 4 : 12); round++) {
        struct fx *fx = fx_cluster(rocksdb);
        struct proto_bucket other = fx_bucket(fx, "a"), bucket = fx_bucket(fx, "b"),
                            next = fx_bucket(fx, "c");
        struct model model;
        (void)fx_put(fx, &other, "zzz", 0, 0);
        (void)fx_put(fx, &next, "a", 0, 0);
        make_keys(fx, &bucket, &seed, &model);
        static const char *const prefixes[] = {"", "a", "a/", "/", "b-", "\xc3\xa9", "nothing"};
        static const char *const delimiters[] = {"", "/", "-", "/a", "\xef\xbf\xbf"};
        static const uint32_t limits[] = {1, 2, 7, 1000};
        for (size_t p = 0; p < 7; p++)
            for (size_t d = 0; d < 5; d++)
                for (size_t l = 0; l < 4; l++) {
                    struct lines want, got;
                    model_list(&model, prefixes[p], delimiters[d], &want);
                    state_list(fx, "b", prefixes[p], delimiters[d], limits[l], &got);
                    assert_int_equal(got.count, want.count);
                    for (size_t i = 0; i < want.count; i++)
                        assert_string_equal(got.text[i], want.text[i]);
                }
        fx_free(fx);
    }
}
FX_BOTH(agrees_with_brute_force)

static void tokens_are_bound_and_checked(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket b = fx_bucket(fx, "b"), c = fx_bucket(fx, "c");
    (void)fx_put(fx, &b, "k1", 0, 0);
    (void)fx_put(fx, &b, "k2", 0, 0);
    (void)fx_put(fx, &c, "k1", 0, 0);
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    struct proto_list ask = {.bucket = fx_text("b"), .limit = 1};
    struct proto_listing page;
    assert_int_equal(coord_read_listing(&view, &ask, &page, NULL), LILIO_OK);
    assert_true(page.more);
    struct base_slice token = page.token;
    assert_int_equal(token.size, 11);
    ask.token = token;
    ask.bucket = fx_text("c");
    assert_int_equal(coord_read_listing(&view, &ask, &page, NULL), LILIO_E_INVALID);
    ask.bucket = fx_text("b");
    for (ask.token.size = 1; ask.token.size < 10; ask.token.size++)
        assert_int_equal(coord_read_listing(&view, &ask, &page, NULL), LILIO_E_INVALID);
    /* A key deleted between two pages is no trouble, nor is a token that lies before the prefix. */
    ask = (struct proto_list){.bucket = fx_text("b"), .limit = 1};
    assert_int_equal(coord_read_listing(&view, &ask, &page, NULL), LILIO_OK);
    assert_int_equal(fx_delete(fx, &b, "k1"), LILIO_OK);
    ask.token = page.token;
    assert_int_equal(coord_read_listing(&view, &ask, &page, NULL), LILIO_OK);
    assert_int_equal(page.entries_count, 1);
    ask.prefix = fx_text("k2");
    assert_int_equal(coord_read_listing(&view, &ask, &page, NULL), LILIO_OK);
    assert_int_equal(page.entries_count, 1);
    ask = (struct proto_list){.bucket = fx_text("none")};
    assert_int_equal(coord_read_listing(&view, &ask, &page, NULL), LILIO_E_NO_BUCKET);
    fx_free(fx);
}
FX_BOTH(tokens_are_bound_and_checked)

/* Rows whose key says so but whose value is garbage: a walk that read them would fail. */
static void folded_keys_are_not_read(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    (void)fx_put(fx, &bucket, "dir/first", 0, 0);
    (void)fx_put(fx, &bucket, "last", 0, 0);
    for (uint64_t i = 0; i < 2000; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "dir/n%06llu", (unsigned long long)i);
        struct coord_key key = coord_key_version(bucket.id, fx_text(name));
        base_kv_batch_put(fx->state->batch, COORD_VERSIONS, coord_key_slice(&key),
                          fx_text("garbage"));
    }
    assert_int_equal(base_kv_batch_commit(fx->state->batch, false, NULL), LILIO_OK);
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    struct proto_list ask = {.bucket = fx_text("b"), .delimiter = fx_text("/")};
    struct proto_listing page;
    assert_int_equal(coord_read_listing(&view, &ask, &page, NULL), LILIO_OK);
    assert_int_equal(page.entries_count, 2);
    assert_true(page.entries[0].is_prefix);
    ask.delimiter = fx_text("");
    assert_int_equal(coord_read_listing(&view, &ask, &page, NULL),
                     LILIO_E_CORRUPT); /* the control: this one reads them */
    fx_free(fx);
}
FX_BOTH(folded_keys_are_not_read)

static void lines_tell_what_is_there(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_commit commit = fx_commit(fx, &bucket, "k", 1, 4321);
    struct proto_attribute attributes[] = {
        {.name = fx_text("content-type"), .value = fx_text("image/png")},
        {.name = fx_text("meta:a"), .value = fx_text("b")}};
    commit.row.attributes = attributes;
    commit.row.attributes_count = 2;
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    struct proto_list ask = {.bucket = fx_text("b")};
    struct proto_listing page;
    assert_int_equal(coord_read_listing(&view, &ask, &page, NULL), LILIO_OK);
    assert_int_equal(page.entries_count, 1);
    assert_int_equal(page.entries[0].size, 4321);
    assert_int_equal(page.entries[0].crc32c, 7);
    assert_int_equal(page.entries[0].modified_ms, fx->wall_ms);
    assert_true(base_slice_equal(page.entries[0].content_type, fx_text("image/png")));
    fx_free(fx);
}
FX_BOTH(lines_tell_what_is_there)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(agrees_with_brute_force),
        FX_TESTS(tokens_are_bound_and_checked),
        FX_TESTS(folded_keys_are_not_read),
        FX_TESTS(lines_tell_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
