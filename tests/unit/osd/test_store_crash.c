/* Aim: what was acknowledged survives the loss of power at any moment; what was not is whole or
 * absent; what was deleted stays deleted; honest crashes are not reported as damage. Method: a
 * random user on a disk that keeps, drops, tears and garbles unsynced sectors; the power fails in
 * the middle of the n-th change, or a sync fails, n and everything else drawn from the seed; some
 * starts are cut off, too; the store is opened again and compared with a model, several lives per
 * seed. The power then fails once more at once: what was seen must be there still. Index in memory
 * (every start replays everything), in RocksDB, and in a RocksDB that lost its latest writes
 * (restored from a copy). */
#include "kill_disk.h"
#include "store_model.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/banned.h"

enum {
    SEEDS = LILIO_SANITIZED ? 120 : 250,
    ROCKS_SEEDS = LILIO_SANITIZED ? 5 : 12,
    LIVES = 5,
    STEPS = 80
};

enum index_kind { INDEX_MEMORY, INDEX_KEPT, INDEX_STALE };

static uint64_t torn_seen, compactions_seen, no_space_seen, starts_broken;

/* ---- copies of the index folder (flat) ---- */

static void copy_file(const char *from, const char *to)
{
    static char bytes[1 << 16];
    FILE *in = fopen(from, "rb");
    if (!in)
        return; /* RocksDB tidied up meanwhile */
    FILE *out = fopen(to, "wb");
    assert_non_null(out);
    for (size_t size; (size = fread(bytes, 1, sizeof bytes, in)) > 0;)
        assert_int_equal(fwrite(bytes, 1, size, out), size);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static void clear_folder(const char *path)
{
    char name[1024];
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        (void)snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        (void)remove(name); /* "." and ".." stay */
    }
    if (dir)
        closedir(dir);
}

static void copy_folder(const char *from, const char *to)
{
    char in[1024], out[1024];
    clear_folder(to);
    (void)mkdir(to, 0700); /* may be there */
    DIR *dir = opendir(from);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(in, sizeof in, "%s/%s", from, entry->d_name);
        (void)snprintf(out, sizeof out, "%s/%s", to, entry->d_name);
        copy_file(in, out);
    }
    closedir(dir);
}

/* ---- one seed ---- */

struct run {
    struct model model;
    enum index_kind index;
    char *dir;
    char *saved; /* a copy of the index */
    bool full;   /* the disk is small: what a failed sync left readable may find no room */
};

static void open_checked(struct run *run)
{
    struct fixture *fixture = run->model.fixture;
    fixture_open(fixture);
    struct osd_store_stats stats = fixture_stats(fixture);
    torn_seen += stats.torn_tail_bytes > 0;
    assert_int_equal(stats.corrupt_record_count, 0);
    if (run->index == INDEX_KEPT) {
        assert_false(stats.incomplete);
        assert_false(stats.index_rebuilt);
    }
    if (run->index == INDEX_STALE)
        assert_true(!stats.incomplete || stats.index_rebuilt);
    assert_int_equal(fixture->store->ops->set_complete(fixture->store, NULL), LILIO_OK);
}

/* Starts that are cut off, one after another: by a sync that fails, or by the power. */
static void broken_starts(struct run *run, uint64_t *random)
{
    struct fixture *fixture = run->model.fixture;
    for (uint64_t left = fixture_random(random) % 4; left > 0; left--) {
        bool power = run->full || fixture_random(random) % 2;
        if (power)
            crash_disk_power_off_at(fixture->disk, 1 + fixture_random(random) % 24);
        else
            crash_disk_fail(fixture->disk, CRASH_SYNC, 1 + fixture_random(random) % 10, false,
                            LILIO_E_IO);
        if (fixture_try_open(fixture) != LILIO_OK)
            starts_broken++;
        else
            assert_int_equal(fixture_stats(fixture).corrupt_record_count, 0);
        if (power)
            crash_disk_power_off(fixture->disk);
        crash_disk_fail(fixture->disk, CRASH_SYNC, 0, false, LILIO_OK);
        fixture_close(fixture);
        if (power)
            crash_disk_power_on(fixture->disk);
    }
}

/* A process that is killed, and what the next one sees of it. */
static void killed_life(struct run *run, uint64_t *random)
{
    struct fixture *fixture = run->model.fixture;
    struct base_disk *disk = kill_disk_new(fixture->disk);
    fixture->options.disk = disk;
    open_checked(run);
    model_check(&run->model);
    kill_disk_at(disk, 1 + fixture_random(random) % 160);
    run->model.failing = true;
    for (int i = 0; i < STEPS && model_step(&run->model); i++)
        continue;
    run->model.failing = false;
    kill_disk_at(disk, 1); /* no clean end */
    fixture_close(fixture);
    base_disk_free(&disk);
    fixture->options.disk = fixture->disk;
    broken_starts(run, random);
}

static void life(struct run *run, uint64_t *random)
{
    struct fixture *fixture = run->model.fixture;
    bool saved = false;
    if (fixture_random(random) % 3 == 0) {
        killed_life(run, random);
        return;
    }
    open_checked(run);
    model_check(&run->model);
    if (fixture_random(random) % 5 != 0)
        crash_disk_power_off_at(fixture->disk, 1 + fixture_random(random) % 160);
    if (fixture_random(random) % 3 == 0)
        crash_disk_fail(fixture->disk, CRASH_WRITE, 1 + fixture_random(random) % 20, false,
                        LILIO_E_NO_SPACE);
    if (fixture_random(random) % 3 == 0 && !run->full)
        crash_disk_fail(fixture->disk, CRASH_SYNC, 1 + fixture_random(random) % 40, false,
                        LILIO_E_IO);
    run->model.failing = true;
    for (int i = 0; i < STEPS && model_step(&run->model); i++) {
        if (run->index == INDEX_STALE && fixture_random(random) % 40 == 0) {
            copy_folder(fixture->index_path, run->saved);
            saved = true;
        }
    }
    run->model.failing = false;
    crash_disk_fail(fixture->disk, CRASH_WRITE, 0, false, LILIO_OK);
    crash_disk_fail(fixture->disk, CRASH_SYNC, 0, false, LILIO_OK);
    struct osd_store_stats stats = fixture_stats(fixture);
    compactions_seen += stats.compaction_count;
    if (fixture_random(random) % 3 == 0)
        crash_disk_power_off(fixture->disk);
    fixture_close(fixture); /* a clean end if the power is still on */
    crash_disk_power_off_at(fixture->disk, 0);
    if (!crash_disk_powered(fixture->disk) || fixture_random(random) % 2) {
        crash_disk_power_off(fixture->disk);
        crash_disk_power_on(fixture->disk);
    }
    broken_starts(run, random);
    if (saved)
        copy_folder(run->saved, fixture->index_path);
}

static void run_seed(uint64_t seed, enum index_kind index)
{
    uint64_t random = seed;
    struct run run = {.index = index};
    struct fixture *fixture = fixture_new(STORE_CRASH, seed);
    model_init(&run.model, fixture, seed ^ 0x5eed);
    fixture->options.segment_bytes = 64 * 1024 + 4096 * (fixture_random(&random) % 128);
    run.full = fixture_random(&random) % 4 == 0;
    if (run.full)
        crash_disk_set_capacity(fixture->disk, (512 + fixture_random(&random) % 1500) * 1024);
    if (index != INDEX_MEMORY) {
        run.dir = temp_dir_new();
        run.saved = strdup(temp_dir_path(run.dir, "saved"));
        fixture->options.index_path = fixture->index_path = strdup(temp_dir_path(run.dir, "index"));
    }
    print_message("seed %llu index %d\n", (unsigned long long)seed, (int)index);
    for (int i = 0; i < LIVES; i++) {
        life(&run, &random);
        /* What is seen now has to be there after another loss of power, though nobody writes in
         * between. */
        open_checked(&run);
        model_check(&run.model);
        crash_disk_power_off(fixture->disk);
        fixture_close(fixture);
        crash_disk_power_on(fixture->disk);
    }
    open_checked(&run);
    model_check(&run.model);
    no_space_seen += run.model.no_space_count;
    fixture_free(fixture);
    free(run.saved);
    if (run.dir)
        temp_dir_free(run.dir);
}

static uint64_t seed_base(void)
{
    const char *text = getenv("LILIO_SEED");
    return text ? strtoull(text, NULL, 0) : 1;
}

static void crashes_with_index_in_memory(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < SEEDS; i++)
        run_seed(seed_base() + i, INDEX_MEMORY);
    /* The seeds reach what they are for. */
    assert_true(torn_seen > 20);
    assert_true(compactions_seen > 20);
    assert_true(no_space_seen > 20);
    assert_true(starts_broken > 20);
}

static void crashes_with_index_in_rocksdb(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < ROCKS_SEEDS; i++)
        run_seed(seed_base() + 1000 + i, INDEX_KEPT);
}

static void crashes_with_index_that_lost_writes(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < ROCKS_SEEDS; i++)
        run_seed(seed_base() + 2000 + i, INDEX_STALE);
}

/* Each single change of a short history as the last one. */
static void every_point_of_a_short_history(void **state)
{
    (void)state;
    for (uint64_t point = 1; point < 60; point++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            struct fixture *fixture = fixture_new(STORE_CRASH, seed);
            enum lilio_err puts[3], removed = LILIO_E_IO;
            crash_disk_power_off_at(fixture->disk, point);
            fixture->options.segment_bytes = 128 * 1024;
            if (fixture_try_open(fixture) == LILIO_OK) {
                for (uint32_t i = 0; i < 3; i++)
                    puts[i] = fixture_put(fixture, i, 0, 65536);
                removed = fixture_remove(fixture, 1);
                fixture_close(fixture);
            } else {
                puts[0] = puts[1] = puts[2] = LILIO_E_IO;
            }
            crash_disk_power_off(fixture->disk);
            crash_disk_power_on(fixture->disk);
            fixture_open(fixture);
            assert_int_equal(fixture_stats(fixture).corrupt_record_count, 0);
            for (uint32_t i = 0; i < 3; i++) {
                enum lilio_err err = fixture_get(fixture, i, 0, 65536, true);
                bool there = puts[i] == LILIO_OK && (i != 1 || puts[1] != LILIO_OK);
                assert_true(err == LILIO_OK || err == LILIO_E_MISSING);
                assert_true(!there || err == LILIO_OK);
                assert_true(i != 1 || removed != LILIO_OK || err == LILIO_E_MISSING);
            }
            assert_int_equal(fixture_put(fixture, 7, 0, 4096), LILIO_OK);
            fixture_free(fixture);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_point_of_a_short_history),
        cmocka_unit_test(crashes_with_index_in_memory),
        cmocka_unit_test(crashes_with_index_in_rocksdb),
        cmocka_unit_test(crashes_with_index_that_lost_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
