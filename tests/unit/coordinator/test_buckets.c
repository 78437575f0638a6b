/* Aim: buckets are made with valid names and profiles only, are refused deletion unless empty, and
 * never share an id. Method: tables of good and bad arguments on both stores; counters against what
 * was put. */
#include "coord_fixture.h"

#include "base/banned.h"

static enum lilio_err create(struct fx *fx, const char *name, uint8_t data, uint8_t parity,
                             uint8_t quorum)
{
    struct proto_bucket_create ask = {.name = fx_text(name),
                                      .profile = {.data_count = data, .parity_count = parity},
                                      .quorum = quorum};
    return fx_do(fx, &proto_type_bucket_create, &ask);
}

static void error_says(struct fx *fx, const char *part)
{
    struct proto_error error;
    char text[600];
    fx_reply(fx, &proto_type_error, &error);
    (void)snprintf(text, sizeof text, "%.*s", (int)error.text.size, (const char *)error.text.data);
    if (!strstr(text, part))
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

static void names_are_checked(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    char longest[64] = {0}, longer[65] = {0};
    memset(longest, 'a', 63);
    memset(longer, 'a', 64);
    const char *const good[] = {"a", "0", "photos.2024-01", "-", longest};
    const char *const bad[] = {"", "A", "a b", "a_b", "\xc3\xa4", "a/b", ".", "..", ".lilio"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(create(fx, good[i], 0, 0, 0), LILIO_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(create(fx, bad[i], 0, 0, 0), LILIO_E_INVALID);
    error_says(fx, "names that begin with a dot are reserved");
    struct base_buffer body = {0};
    struct proto_bucket_create ask = {.name = fx_text(longer)};
    assert_int_equal(proto_bucket_create_pack(&ask, &body),
                     LILIO_E_TOO_BIG); /* does not even pack */
    base_buffer_release(&body);
    assert_int_equal(fx_row(fx)->bucket_count, sizeof good / sizeof *good);
    fx_free(fx);
}
FX_BOTH(names_are_checked)

static void profiles_are_checked(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    assert_int_equal(create(fx, "bad", 0, 2, 0), LILIO_E_INVALID);
    assert_int_equal(create(fx, "bad", 4, 20, 0), LILIO_E_INVALID);
    assert_int_equal(create(fx, "bad", 33, 1, 0), LILIO_E_INVALID);
    assert_int_equal(create(fx, "bad", 4, 3, 0), LILIO_E_INVALID);
    error_says(fx, "4+3 needs 7 OSDs, the cluster has 6");
    assert_int_equal(create(fx, "bad", 4, 2, 3), LILIO_E_INVALID);
    assert_int_equal(create(fx, "bad", 4, 2, 7), LILIO_E_INVALID);
    assert_int_equal(fx_row(fx)->bucket_count, 0);
    assert_int_equal(coord_state_placement_count(fx->state), 0);
    assert_int_equal(create(fx, "k", 4, 2, 4), LILIO_OK);
    assert_int_equal(create(fx, "all", 4, 2, 6), LILIO_OK);
    assert_int_equal(create(fx, "copy", 1, 2, 0), LILIO_OK);
    assert_int_equal(create(fx, "plain", 1, 0, 0), LILIO_OK);
    fx_free(fx);
}
FX_BOTH(profiles_are_checked)

/* OSDs that never had a disk do not count. */
static void width_counts_bound_osds(bool rocksdb)
{
    struct fx *fx = fx_new(rocksdb);
    struct proto_osd osds[6] = {0};
    for (uint32_t i = 0; i < 6; i++)
        osds[i].id = 2 * i;
    struct proto_cluster_init init = {
        .cluster_id = fx_uuid(1),
        .default_profile = {.data_count = 4,
                            .parity_count = 2,
                            .fragment_size = 4096,
                            .generator = CODEC_CAUCHY1},
        .osds = osds,
        .osds_count = 6,
    };
    assert_int_equal(fx_internal(fx, &proto_type_cluster_init, &init), LILIO_OK);
    for (uint32_t i = 0; i < 5; i++) {
        struct proto_osd_bind bind = {.osd = 2 * i, .disk_uuid = fx_uuid(i)};
        assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind), LILIO_OK);
    }
    fx->session = fx_session(fx);
    assert_int_equal(create(fx, "b", 0, 0, 0), LILIO_E_INVALID);
    error_says(fx, "4+2 needs 6 OSDs, the cluster has 5");
    assert_int_equal(create(fx, "b", 3, 2, 0), LILIO_OK);
    fx_free(fx);
}
FX_BOTH(width_counts_bound_osds)

/* One slot table per width; it is data from then on, whatever becomes of the OSDs. */
static void placement_is_shared_and_stays(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    assert_int_equal(create(fx, "a", 4, 2, 0), LILIO_OK);
    uint64_t epoch = fx_row(fx)->epoch;
    assert_int_equal(create(fx, "b", 3, 3, 0), LILIO_OK);
    assert_int_equal(coord_state_placement_count(fx->state), 1);
    assert_int_equal(fx_row(fx)->epoch, epoch);
    assert_int_equal(create(fx, "c", 2, 1, 0), LILIO_OK);
    assert_int_equal(coord_state_placement_count(fx->state), 2);
    assert_int_equal(fx_row(fx)->epoch, epoch + 1);
    const struct proto_placement *placement = coord_state_placement(fx->state, 1);
    assert_non_null(placement);
    uint8_t *before = proto_arena_take(fx->arena, placement->slots.size);
    memcpy(before, placement->slots.data, placement->slots.size);
    fx_rebind(fx, 3);
    if (rocksdb)
        fx_reopen(fx);
    placement = coord_state_placement(fx->state, 1);
    assert_memory_equal(before, placement->slots.data, placement->slots.size);
    fx_free(fx);
}
FX_BOTH(placement_is_shared_and_stays)

static void only_empty_buckets_go(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_bucket_delete ask = {.name = fx_text("b")};
    (void)fx_put(fx, &bucket, "k", 1, 5000);
    (void)fx_put(fx, &bucket, "zero", 2, 0);
    assert_int_equal(fx_do(fx, &proto_type_bucket_delete, &ask), LILIO_E_NOT_EMPTY);
    assert_int_equal(fx_delete(fx, &bucket, "k"), LILIO_OK);
    assert_int_equal(fx_do(fx, &proto_type_bucket_delete, &ask), LILIO_E_NOT_EMPTY);
    assert_int_equal(fx_delete(fx, &bucket, "zero"), LILIO_OK);
    assert_int_equal(fx_do(fx, &proto_type_bucket_delete, &ask), LILIO_OK);
    assert_int_equal(fx_do(fx, &proto_type_bucket_delete, &ask), LILIO_E_NO_BUCKET);
    struct proto_bucket again = fx_bucket(fx, "b");
    assert_int_not_equal(again.id, bucket.id);
    struct proto_commit late = fx_commit(fx, &bucket, "k", 3, 10); /* to the id that is gone */
    assert_int_equal(fx_do(fx, &proto_type_commit, &late), LILIO_E_NO_BUCKET);
    fx_free(fx);
}
FX_BOTH(only_empty_buckets_go)

static void counters_follow(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b"), row;
    (void)fx_put(fx, &bucket, "a", 1, 5000);
    (void)fx_put(fx, &bucket, "b", 2, 300);
    (void)fx_put(fx, &bucket, "a", 3, 70); /* overwrites */
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    assert_int_equal(coord_read_bucket(&view, fx_text("b"), &row, NULL), LILIO_OK);
    assert_int_equal(row.object_count, 2);
    assert_int_equal(row.object_bytes, 370);
    assert_int_equal(fx_row(fx)->object_count, 2);
    assert_int_equal(fx_row(fx)->object_bytes, 370);
    assert_int_equal(fx_row(fx)->gc_count, 1);
    assert_int_equal(fx_row(fx)->gc_bytes, 5000);
    fx_free(fx);
}
FX_BOTH(counters_follow)

static void buckets_are_listed_in_pages(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    char name[8];
    for (int i = 0; i < 25; i++) {
        (void)snprintf(name, sizeof name, "b%02d", (i * 7) % 25);
        assert_int_equal(create(fx, name, 0, 0, 0), LILIO_OK);
    }
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    struct proto_bucket_list ask = {.limit = 10};
    struct proto_buckets page;
    int seen = 0;
    do {
        assert_int_equal(coord_read_buckets(&view, &ask, &page, NULL), LILIO_OK);
        for (size_t i = 0; i < page.buckets_count; i++) {
            (void)snprintf(name, sizeof name, "b%02d", seen++);
            assert_true(base_slice_equal(page.buckets[i].name, fx_text(name)));
            ask.after = page.buckets[i].name;
        }
    } while (page.more);
    assert_int_equal(seen, 25);
    fx_free(fx);
}
FX_BOTH(buckets_are_listed_in_pages)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(names_are_checked),           FX_TESTS(profiles_are_checked),
        FX_TESTS(width_counts_bound_osds),     FX_TESTS(placement_is_shared_and_stays),
        FX_TESTS(only_empty_buckets_go),       FX_TESTS(counters_follow),
        FX_TESTS(buckets_are_listed_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
