/* Aim: the index is worth nothing but time: lost, foreign, stale or damaged, before a start or
 * under a running store, the segments give back the same fragments and no deleted one. Method: a
 * store in a real folder with RocksDB; its index is deleted, exchanged, or flipped byte by byte in
 * every file of it, and everything is read back. */
#include "store_model.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

enum { FRAGMENTS = 60, GONE_EVERY = 5, FLIPS_PER_FILE = LILIO_SANITIZED ? 4 : 12 };

static uint32_t length_of(uint32_t i)
{
    static const uint32_t lengths[] = {64, 4096, 65536, 1024, 131072};
    return lengths[i % 5];
}

static bool gone(uint32_t i)
{
    return i % GONE_EVERY == 1;
}

static struct fixture *store_new(uint64_t seed)
{
    struct fixture *fixture = fixture_new(STORE_POSIX, seed);
    fixture->options.segment_bytes = 600 * 1024;
    fixture_open(fixture);
    for (uint32_t i = 0; i < FRAGMENTS; i++)
        assert_int_equal(fixture_put(fixture, i, 0, length_of(i)), LILIO_OK);
    for (uint32_t i = 0; i < FRAGMENTS; i++)
        if (gone(i))
            assert_int_equal(fixture_remove(fixture, i), LILIO_OK);
    return fixture;
}

static void check_all(struct fixture *fixture)
{
    struct base_fragment_key keys[FRAGMENTS + 1];
    size_t count, expected = 0;
    for (uint32_t i = 0; i < FRAGMENTS; i++) {
        assert_int_equal(fixture_get(fixture, i, 0, length_of(i), true),
                         gone(i) ? LILIO_E_MISSING : LILIO_OK);
        expected += !gone(i);
    }
    assert_int_equal(
        fixture->store->ops->list(fixture->store, NULL, keys, FRAGMENTS + 1, &count, NULL),
        LILIO_OK);
    assert_int_equal(count, expected);
    assert_int_equal(fixture_space(fixture).fragment_count, expected);
}

/* Calls back for each file of the index. */
static void each_index_file(const struct fixture *fixture,
                            void (*each)(const char *path, void *context), void *context)
{
    char path[4096];
    DIR *dir = opendir(fixture->index_path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        (void)snprintf(path, sizeof path, "%s/%s", fixture->index_path, entry->d_name);
        if (entry->d_name[0] != '.')
            each(path, context);
    }
    closedir(dir);
}

static void remove_file(const char *path, void *context)
{
    (void)context;
    assert_int_equal(remove(path), 0);
}

static void lost_index_is_rebuilt(void **state)
{
    (void)state;
    struct fixture *fixture = store_new(1);
    struct osd_store_space before = fixture_space(fixture);
    fixture_close(fixture);
    each_index_file(fixture, remove_file, NULL);
    fixture_open(fixture);
    assert_true(fixture_stats(fixture).index_rebuilt);
    assert_false(fixture_stats(fixture).incomplete);
    check_all(fixture);
    assert_int_equal(fixture_space(fixture).used_bytes, before.used_bytes);
    fixture_reopen(fixture);
    assert_false(fixture_stats(fixture).index_rebuilt);
    check_all(fixture);
    fixture_free(fixture);
}

/* Some deleted and stored again, some compacted: the order of events must come out right. */
static void lost_index_after_a_long_life(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct model model;
        struct fixture *fixture = fixture_new(STORE_POSIX, seed);
        fixture->options.segment_bytes = 200 * 1024;
        fixture_open(fixture);
        model_init(&model, fixture, seed);
        for (int round = 0; round < 4; round++) {
            for (int i = 0; i < 150; i++)
                assert_true(model_step(&model));
            uint64_t used = fixture_space(fixture).used_bytes;
            fixture_close(fixture);
            if (round % 2)
                each_index_file(fixture, remove_file, NULL);
            fixture_open(fixture);
            assert_int_equal(fixture_stats(fixture).index_rebuilt, round % 2);
            assert_false(fixture_stats(fixture).incomplete);
            assert_int_equal(fixture_space(fixture).used_bytes, used);
            model_check(&model);
        }
        fixture_free(fixture);
    }
}

static void foreign_index_is_replaced(void **state)
{
    (void)state;
    struct fixture *fixture = store_new(1), *other = fixture_new(STORE_POSIX, 2);
    other->options.disk_uuid.bytes[0] ^= 1;
    fixture_open(other);
    assert_int_equal(fixture_put(other, 1, 9, 4096), LILIO_OK);
    fixture_close(other);
    fixture_close(fixture);
    fixture->options.index_path = other->index_path;
    fixture_open(fixture);
    assert_true(fixture_stats(fixture).index_rebuilt);
    check_all(fixture);
    fixture_free(fixture);
    fixture_free(other);
}

struct flipping {
    uint64_t random;
    char *paths[64];
    size_t count;
};

static void collect_path(const char *path, void *context)
{
    struct flipping *flipping = context;
    if (flipping->count < 64)
        flipping->paths[flipping->count++] = strdup(path);
}

static bool flip_file(const char *path, uint64_t *random)
{
    FILE *file = fopen(path, "r+b");
    if (!file)
        return false;
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    if (size > 0) {
        long at = (long)(fixture_random(random) % (uint64_t)size);
        assert_int_equal(fseek(file, at, SEEK_SET), 0);
        int byte = fgetc(file);
        assert_int_equal(fseek(file, at, SEEK_SET), 0);
        assert_true(fputc(byte ^ 1 << fixture_random(random) % 8, file) != EOF);
    }
    assert_int_equal(fclose(file), 0);
    return size > 0;
}

/* After flips in any file of the index all fragments come back: it is repaired, replayed or
 * rebuilt. */
static void flips_in_the_index(void **state)
{
    (void)state;
    struct fixture *fixture = store_new(3);
    struct flipping flipping = {.random = 11};
    bool rebuilt = false;
    for (int round = 0; round < FLIPS_PER_FILE; round++) {
        fixture_reopen(fixture); /* twice: the log of the first becomes a table */
        fixture_reopen(fixture);
        check_all(fixture);
        fixture_close(fixture);
        flipping.count = 0;
        each_index_file(fixture, collect_path, &flipping);
        for (size_t i = 0; i < flipping.count; i++) {
            if (flip_file(flipping.paths[i], &flipping.random)) {
                fixture_open(fixture);
                check_all(fixture);
                rebuilt |= fixture_stats(fixture).index_rebuilt;
                fixture_close(fixture);
            }
            free(flipping.paths[i]);
        }
        fixture_open(fixture);
    }
    assert_true(rebuilt);
    fixture_free(fixture);
}

/* Tables are damaged while the store is open and has not read them yet. */
static void flips_under_a_running_store(void **state)
{
    (void)state;
    struct flipping flipping = {.random = 12};
    bool rebuilt = false;
    for (int round = 0; round < 10; round++) {
        struct fixture *fixture = store_new((uint64_t)round);
        fixture_reopen(fixture);
        fixture_reopen(fixture);
        flipping.count = 0;
        each_index_file(fixture, collect_path, &flipping);
        for (size_t i = 0; i < flipping.count; i++) {
            for (int j = 0; j < 20; j++)
                if (strstr(flipping.paths[i], ".sst"))
                    (void)flip_file(flipping.paths[i], &flipping.random);
            free(flipping.paths[i]);
        }
        check_all(fixture);
        assert_int_equal(fixture_put(fixture, 100, 0, 4096), LILIO_OK);
        assert_int_equal(fixture_get(fixture, 100, 0, 4096, true), LILIO_OK);
        rebuilt |= fixture_stats(fixture).index_rebuilt;
        fixture_reopen(fixture);
        assert_int_equal(fixture_remove(fixture, 100), LILIO_OK);
        check_all(fixture);
        fixture_free(fixture);
    }
    assert_true(rebuilt);
}

/* A segment file disappears between two runs: what was in it is missing, said so, and can be stored
 * again. */
static void lost_segment(void **state)
{
    (void)state;
    struct fixture *fixture = store_new(4);
    fixture_close(fixture);
    assert_int_equal(
        fixture->disk->ops->unlink(fixture->disk, "segments/0000000000000002.seg", NULL), LILIO_OK);
    fixture_open(fixture);
    assert_true(fixture_stats(fixture).incomplete);
    assert_true(fixture_stats(fixture).index_rebuilt);
    int missing = 0;
    for (uint32_t i = 0; i < FRAGMENTS; i++) {
        enum lilio_err err = fixture_get(fixture, i, 0, length_of(i), true);
        assert_true(err == LILIO_OK || err == LILIO_E_MISSING);
        missing += err == LILIO_E_MISSING && !gone(i);
        if (!gone(i))
            assert_int_equal(fixture_put(fixture, i, 0, length_of(i)), LILIO_OK);
    }
    assert_true(missing > 0);
    fixture_reopen(fixture);
    assert_true(fixture_stats(fixture).incomplete);
    assert_int_equal(fixture->store->ops->set_complete(fixture->store, NULL), LILIO_OK);
    fixture_reopen(fixture);
    assert_false(fixture_stats(fixture).incomplete);
    for (uint32_t i = 0; i < FRAGMENTS; i++)
        if (!gone(i))
            assert_int_equal(fixture_get(fixture, i, 0, length_of(i), true), LILIO_OK);
    fixture_free(fixture);
}

/* A segment that lost its end is damage, too, also when the index knows nothing. */
static void cut_segment(void **state)
{
    (void)state;
    for (int with_index = 0; with_index < 2; with_index++) {
        struct fixture *fixture = store_new(5);
        struct base_file *file;
        fixture_close(fixture);
        assert_int_equal(fixture->disk->ops->open(fixture->disk, "segments/0000000000000001.seg", 0,
                                                  &file, NULL),
                         LILIO_OK);
        assert_int_equal(file->ops->truncate(file, 200 * 1024, NULL), LILIO_OK);
        base_file_close(&file);
        if (!with_index)
            each_index_file(fixture, remove_file, NULL);
        fixture_open(fixture);
        assert_true(fixture_stats(fixture).incomplete);
        for (uint32_t i = 0; i < FRAGMENTS; i++) {
            enum lilio_err err = fixture_get(fixture, i, 0, length_of(i), true);
            assert_true(err == LILIO_E_MISSING || (err == LILIO_OK && !gone(i)));
        }
        fixture_free(fixture);
    }
}

/* Segments of another disk are not touched. */
static void foreign_segments(void **state)
{
    (void)state;
    struct fixture *fixture = store_new(6);
    fixture_close(fixture);
    fixture->options.disk_uuid.bytes[3] ^= 1;
    assert_int_equal(fixture_try_open(fixture), LILIO_E_FOREIGN);
    fixture->options.disk_uuid.bytes[3] ^= 1;
    fixture->options.cluster_id.bytes[3] ^= 1;
    assert_int_equal(fixture_try_open(fixture), LILIO_E_FOREIGN);
    fixture->options.cluster_id.bytes[3] ^= 1;
    fixture_open(fixture);
    check_all(fixture);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_index_is_rebuilt),
        cmocka_unit_test(lost_index_after_a_long_life),
        cmocka_unit_test(foreign_index_is_replaced),
        cmocka_unit_test(flips_in_the_index),
        cmocka_unit_test(flips_under_a_running_store),
        cmocka_unit_test(lost_segment),
        cmocka_unit_test(cut_segment),
        cmocka_unit_test(foreign_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
