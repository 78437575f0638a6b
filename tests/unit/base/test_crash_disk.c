/* Aim: the crash disk loses what may be lost and nothing else; otherwise the tests that stand on it
 * prove nothing. Method: many seeds; what was synced must always be there, and each permitted loss
 * must be seen at least once. */
#include "tests/support/crash_disk.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

enum { BLOCK = BASE_DISK_BLOCK, SECTOR = 512, SEEDS = 300 };

static struct base_disk *new_disk(uint64_t seed)
{
    struct base_disk *disk = NULL;
    assert_int_equal(crash_disk_new(seed, &disk), LILIO_OK);
    return disk;
}

static enum lilio_err try_open(struct base_disk *disk, const char *name, unsigned flags,
                               struct base_file **ret)
{
    *ret = NULL;
    return disk->ops->open(disk, name, flags, ret, NULL);
}

static struct base_file *must_open(struct base_disk *disk, const char *name, unsigned flags)
{
    struct base_file *file;
    assert_int_equal(try_open(disk, name, flags, &file), LILIO_OK);
    return file;
}

static bool exists(struct base_disk *disk, const char *name)
{
    struct base_file *file;
    enum lilio_err err = try_open(disk, name, BASE_OPEN_READ_ONLY, &file);
    assert_true(err == LILIO_OK || err == LILIO_E_NOT_FOUND);
    base_file_close(&file);
    return !err;
}

static enum lilio_err fill(struct base_file *file, uint8_t byte, size_t size, uint64_t offset)
{
    uint8_t data[8 * BLOCK];
    assert_true(size <= sizeof data);
    memset(data, byte, size);
    return file->ops->write(file, &(struct iovec){data, size}, 1, offset, NULL);
}

static void must_fill(struct base_file *file, uint8_t byte, size_t size, uint64_t offset)
{
    assert_int_equal(fill(file, byte, size, offset), LILIO_OK);
}

static void must_sync(struct base_file *file)
{
    assert_int_equal(file->ops->sync(file, NULL), LILIO_OK);
}

static void must_sync_dir(struct base_disk *disk, const char *name)
{
    assert_int_equal(disk->ops->sync_dir(disk, name, NULL), LILIO_OK);
}

static size_t read_back(struct base_disk *disk, const char *name, uint8_t *data, size_t size)
{
    size_t got = 0;
    struct base_file *file = must_open(disk, name, BASE_OPEN_READ_ONLY);
    assert_int_equal(file->ops->read(file, data, size, 0, &got, NULL), LILIO_OK);
    base_file_close(&file);
    return got;
}

static void crash(struct base_disk *disk)
{
    crash_disk_power_off(disk);
    crash_disk_power_on(disk);
}

/* A durable file of four blocks of `byte`. */
static struct base_file *durable_file(struct base_disk *disk, const char *name, uint8_t byte)
{
    struct base_file *file = must_open(disk, name, BASE_OPEN_CREATE);
    must_fill(file, byte, 4 * BLOCK, 0);
    must_sync(file);
    must_sync_dir(disk, "");
    return file;
}

/* ---- bytes ---- */

static void test_synced_is_there(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct base_disk *disk = new_disk(seed);
        struct base_file *file = durable_file(disk, "f", 1);
        must_fill(file, 2, BLOCK, BLOCK); /* not synced: may be anything, the rest may not */
        crash(disk);
        base_file_close(&file);
        uint8_t data[5 * BLOCK];
        assert_int_equal(read_back(disk, "f", data, sizeof data), 4 * BLOCK);
        for (size_t i = 0; i < 4 * BLOCK; i++)
            if (i < BLOCK || i >= 2 * BLOCK)
                assert_int_equal(data[i], 1);
        base_disk_free(&disk);
    }
}

static bool all(const uint8_t *data, size_t size, uint8_t byte)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != byte)
            return false;
    return true;
}

static void test_unsynced_is_old_new_torn_or_garbage(void **state)
{
    (void)state;
    unsigned old = 0, new = 0, torn = 0, garbage = 0, whole_old = 0, whole_new = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct base_disk *disk = new_disk(seed);
        struct base_file *file = durable_file(disk, "f", 1);
        must_fill(file, 2, 2 * BLOCK, BLOCK);
        crash(disk);
        base_file_close(&file);
        uint8_t data[4 * BLOCK];
        assert_int_equal(read_back(disk, "f", data, sizeof data), sizeof data);
        whole_old += all(data, sizeof data, 1);
        whole_new += all(data + BLOCK, 2 * BLOCK, 2);
        for (size_t i = BLOCK; i < 3 * BLOCK; i += SECTOR) {
            size_t twos = 0, ones = 0;
            for (size_t j = i; j < i + SECTOR; j++)
                twos += data[j] == 2, ones += data[j] == 1;
            old += ones == SECTOR;
            new += twos == SECTOR;
            torn += ones && twos && ones + twos == SECTOR;
            garbage += ones + twos < SECTOR;
        }
        base_disk_free(&disk);
    }
    assert_true(old > 100 && new > 100 && torn > 20 && garbage > 20);
    assert_true(whole_old > 20 && whole_new > 20);
}

static void test_sizes(void **state)
{
    (void)state;
    unsigned grown[3] = {0}, cut[2] = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct base_disk *disk = new_disk(seed);
        struct base_file *a = durable_file(disk, "a", 1), *b = durable_file(disk, "b", 1);
        must_fill(a, 2, 2 * BLOCK, 4 * BLOCK);
        assert_int_equal(b->ops->truncate(b, BLOCK, NULL), LILIO_OK);
        crash(disk);
        base_file_close(&a);
        base_file_close(&b);
        uint8_t data[8 * BLOCK];
        size_t size = read_back(disk, "a", data, sizeof data);
        assert_true(size >= 4 * BLOCK && size <= 6 * BLOCK && all(data, 4 * BLOCK, 1));
        grown[size == 4 * BLOCK ? 0 : size == 6 * BLOCK ? 1 : 2]++;
        size = read_back(disk, "b", data, sizeof data);
        assert_true((size == BLOCK || size == 4 * BLOCK) && all(data, size, 1));
        cut[size == BLOCK]++;
        base_disk_free(&disk);
    }
    assert_true(grown[0] > 20 && grown[1] > 20 && grown[2] > 20 && cut[0] > 20 && cut[1] > 20);
}

static void test_holes(void **state)
{
    (void)state;
    unsigned undone = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct base_disk *disk = new_disk(seed);
        struct base_file *file = durable_file(disk, "f", 1);
        assert_int_equal(file->ops->punch(file, BLOCK, 2 * BLOCK, NULL), LILIO_OK);
        bool synced = seed % 2;
        if (synced)
            must_sync(file);
        crash(disk);
        base_file_close(&file);
        uint8_t data[4 * BLOCK];
        assert_int_equal(read_back(disk, "f", data, sizeof data), sizeof data);
        assert_true(all(data, BLOCK, 1) && all(data + 3 * BLOCK, BLOCK, 1));
        assert_true(data[BLOCK] == 0 || (data[BLOCK] == 1 && !synced));
        assert_true(all(data + BLOCK, 2 * BLOCK, data[BLOCK]));
        undone += data[BLOCK] == 1;
        base_disk_free(&disk);
    }
    assert_in_range(undone, 20, SEEDS / 2 - 20);
}

/* After a failed sync a good one does not mean that everything is there. */
static void test_failed_sync_loses_for_good(void **state)
{
    (void)state;
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct base_disk *disk = new_disk(seed);
        struct base_file *file = durable_file(disk, "f", 1);
        must_fill(file, 2, 2 * BLOCK, 0);
        crash_disk_fail(disk, CRASH_SYNC, 1, false, LILIO_E_IO);
        assert_int_equal(file->ops->sync(file, NULL), LILIO_E_IO);
        bool again = seed % 2;
        if (again)
            must_fill(file, 3, 2 * BLOCK, 0);
        must_sync(file);
        crash(disk);
        base_file_close(&file);
        uint8_t data[4 * BLOCK];
        read_back(disk, "f", data, sizeof data);
        assert_true(all(data + 2 * BLOCK, 2 * BLOCK, 1));
        if (again)
            assert_true(all(data, 2 * BLOCK, 3)); /* what was written anew is good */
        else
            lost += !all(data, 2 * BLOCK, 2);
        base_disk_free(&disk);
    }
    assert_true(lost > SEEDS / 2 - 10);
}

/* ---- names ---- */

static void test_names(void **state)
{
    (void)state;
    unsigned created = 0, removed = 0, renamed = 0, differing = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct base_disk *disk = new_disk(seed);
        const char *const names[] = {"stays", "goes", "from"};
        for (int i = 0; i < 3; i++) {
            struct base_file *file = durable_file(disk, names[i], (uint8_t)(i + 1));
            base_file_close(&file);
        }
        struct base_file *file = must_open(disk, "new", BASE_OPEN_CREATE);
        must_fill(file, 9, BLOCK, 0);
        must_sync(file); /* the bytes, not the name */
        base_file_close(&file);
        assert_int_equal(disk->ops->unlink(disk, "goes", NULL), LILIO_OK);
        assert_int_equal(disk->ops->rename(disk, "from", "to", NULL), LILIO_OK);
        bool synced = seed % 2;
        if (synced)
            must_sync_dir(disk, "");
        crash(disk);
        bool is_new = exists(disk, "new"), is_gone = !exists(disk, "goes");
        bool is_to = exists(disk, "to");
        assert_true(exists(disk, "stays"));
        assert_true(exists(disk, "from") != is_to); /* a rename is whole */
        if (synced)
            assert_true(is_new && is_gone && is_to);
        uint8_t data[4 * BLOCK];
        assert_int_equal(read_back(disk, is_to ? "to" : "from", data, sizeof data), 4 * BLOCK);
        assert_true(all(data, sizeof data, 3));
        if (is_new)
            assert_true(read_back(disk, "new", data, sizeof data) == BLOCK && all(data, BLOCK, 9));
        created += is_new, removed += is_gone, renamed += is_to;
        differing += is_new != is_gone;
        base_disk_free(&disk);
    }
    const unsigned low = SEEDS / 2 + 20, high = SEEDS - 20;
    assert_in_range(created, low, high);
    assert_in_range(removed, low, high);
    assert_in_range(renamed, low, high);
    assert_true(differing > 20);
}

static void test_replaced_file(void **state)
{
    (void)state;
    unsigned old = 0, new = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct base_disk *disk = new_disk(seed);
        struct base_file *file = durable_file(disk, "f", 1);
        base_file_close(&file);
        file = must_open(disk, "f.tmp", BASE_OPEN_CREATE);
        must_fill(file, 2, 4 * BLOCK, 0);
        must_sync(file);
        base_file_close(&file);
        assert_int_equal(disk->ops->rename(disk, "f.tmp", "f", NULL), LILIO_OK);
        crash(disk);
        uint8_t data[4 * BLOCK];
        assert_int_equal(read_back(disk, "f", data, sizeof data), 4 * BLOCK);
        assert_true(all(data, sizeof data, data[0]) && (data[0] == 1 || data[0] == 2));
        old += data[0] == 1, new += data[0] == 2;
        base_disk_free(&disk);
    }
    assert_true(old > 50 && new > 50);
}

static void test_folders(void **state)
{
    (void)state;
    unsigned gone = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct base_disk *disk = new_disk(seed);
        assert_int_equal(disk->ops->make_dir(disk, "d", NULL), LILIO_OK);
        bool synced = seed % 2;
        if (synced)
            must_sync_dir(disk, "");
        struct base_file *file = must_open(disk, "d/f", BASE_OPEN_CREATE);
        must_sync(file);
        base_file_close(&file);
        must_sync_dir(disk, "d");
        crash(disk);
        bool there = exists(disk, "d/f");
        assert_true(there || !synced);
        gone += !there;
        if (!there)
            assert_int_equal(disk->ops->make_dir(disk, "d", NULL), LILIO_OK);
        base_disk_free(&disk);
    }
    assert_in_range(gone, 20, SEEDS / 2 - 20);
}

/* ---- power ---- */

static void test_power_off(void **state)
{
    (void)state;
    struct base_disk *disk = new_disk(1);
    struct base_file *file = durable_file(disk, "f", 1), *other;
    uint8_t data[BLOCK];
    size_t got;
    uint64_t size;
    crash_disk_power_off(disk);
    assert_false(crash_disk_powered(disk));
    for (int after = 0; after < 2; after++) {
        assert_int_equal(fill(file, 1, BLOCK, 0), LILIO_E_IO);
        assert_int_equal(file->ops->read(file, data, BLOCK, 0, &got, NULL), LILIO_E_IO);
        assert_int_equal(file->ops->sync(file, NULL), LILIO_E_IO);
        assert_int_equal(file->ops->size(file, &size, NULL), LILIO_E_IO);
        assert_int_equal(file->ops->truncate(file, 0, NULL), LILIO_E_IO);
        if (after)
            break;
        struct base_disk_space space;
        assert_int_equal(try_open(disk, "f", 0, &other), LILIO_E_IO);
        assert_int_equal(disk->ops->unlink(disk, "f", NULL), LILIO_E_IO);
        assert_int_equal(disk->ops->sync_dir(disk, "", NULL), LILIO_E_IO);
        assert_int_equal(disk->ops->space(disk, &space, NULL), LILIO_E_IO);
        crash_disk_power_on(disk); /* files that were open are dead */
    }
    assert_true(crash_disk_powered(disk));
    base_file_close(&file);
    assert_int_equal(read_back(disk, "f", data, sizeof data), BLOCK);
    assert_true(all(data, BLOCK, 1));
    base_disk_free(&disk);
}

/* One small job, cut at each of its steps: the bound is found by running until nothing is cut. */
static enum lilio_err job(struct base_disk *disk)
{
    struct base_file *file = NULL;
    enum lilio_err err = try_open(disk, "f.tmp", BASE_OPEN_CREATE, &file);
    err = err ? err : fill(file, 2, BLOCK, 0);
    err = err ? err : file->ops->sync(file, NULL);
    base_file_close(&file);
    err = err ? err : disk->ops->rename(disk, "f.tmp", "f", NULL);
    return err ? err : disk->ops->sync_dir(disk, "", NULL);
}

static void test_power_off_at(void **state)
{
    (void)state;
    unsigned steps = 0;
    for (uint64_t n = 1;; n++) {
        unsigned done = 0;
        enum lilio_err err = LILIO_OK;
        for (uint64_t seed = 0; seed < 40; seed++) {
            struct base_disk *disk = new_disk(seed);
            crash_disk_power_off_at(disk, n);
            err = job(disk);
            assert_true(err == LILIO_OK || err == LILIO_E_IO);
            assert_int_equal(crash_disk_powered(disk), !err);
            crash(disk);
            uint8_t data[BLOCK];
            bool there = exists(disk, "f");
            assert_true(there || err); /* acknowledged is there */
            if (there)                 /* and whole whenever it is there */
                assert_true(read_back(disk, "f", data, BLOCK) == BLOCK && all(data, BLOCK, 2));
            done += there;
            base_disk_free(&disk);
        }
        if (!err)
            break;
        steps++;
        if (n >= 4)
            assert_true(done > 0 && done < 40);
        else
            assert_int_equal(done, 0);
    }
    assert_int_equal(steps, 5);
}

/* ---- faults ---- */

static void test_faults(void **state)
{
    (void)state;
    struct base_disk *disk = new_disk(1);
    struct base_file *file = durable_file(disk, "f", 1);
    uint64_t before = crash_disk_calls(disk, CRASH_WRITE);
    crash_disk_fail(disk, CRASH_WRITE, 2, false, LILIO_E_NO_SPACE);
    assert_int_equal(fill(file, 2, BLOCK, 0), LILIO_OK);
    assert_int_equal(fill(file, 2, BLOCK, 0), LILIO_E_NO_SPACE);
    assert_int_equal(fill(file, 2, BLOCK, 0), LILIO_OK);
    assert_int_equal(crash_disk_calls(disk, CRASH_WRITE), before + 3);
    uint8_t data[BLOCK];
    size_t got;
    crash_disk_fail(disk, CRASH_READ, 1, true, LILIO_E_IO);
    for (int i = 0; i < 3; i++)
        assert_int_equal(file->ops->read(file, data, BLOCK, 0, &got, NULL), LILIO_E_IO);
    crash_disk_fail(disk, CRASH_READ, 0, false, LILIO_OK);
    assert_int_equal(file->ops->read(file, data, BLOCK, 0, &got, NULL), LILIO_OK);
    crash_disk_fail(disk, CRASH_META, 1, false, LILIO_E_READ_ONLY);
    assert_int_equal(disk->ops->unlink(disk, "f", NULL), LILIO_E_READ_ONLY);
    assert_true(exists(disk, "f"));
    base_file_close(&file);
    base_disk_free(&disk);
}

static void test_failed_write_does_some_of_it(void **state)
{
    (void)state;
    bool seen[9] = {false};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct base_disk *disk = new_disk(seed);
        struct base_file *file = durable_file(disk, "f", 1);
        crash_disk_fail(disk, CRASH_WRITE, 1, false, LILIO_E_IO);
        assert_int_equal(fill(file, 2, BLOCK, 0), LILIO_E_IO);
        base_file_close(&file);
        uint8_t data[BLOCK];
        read_back(disk, "f", data, sizeof data);
        size_t twos = 0;
        while (twos < BLOCK && data[twos] == 2)
            twos++;
        assert_true(twos % SECTOR == 0 && all(data + twos, BLOCK - twos, 1));
        seen[twos / SECTOR] = true;
        base_disk_free(&disk);
    }
    for (int i = 0; i <= 8; i++)
        assert_true(seen[i]);
}

static void test_capacity(void **state)
{
    (void)state;
    struct base_disk *disk = new_disk(1);
    struct base_file *file = durable_file(disk, "f", 1);
    struct base_disk_space space;
    crash_disk_set_capacity(disk, 10 * BLOCK + 1);
    assert_int_equal(disk->ops->space(disk, &space, NULL), LILIO_OK);
    assert_int_equal(space.total_bytes, 10 * BLOCK);
    assert_int_equal(space.free_bytes, 6 * BLOCK);
    assert_int_equal(fill(file, 2, 7 * BLOCK, 4 * BLOCK), LILIO_E_NO_SPACE);
    assert_int_equal(file->ops->allocate(file, 4 * BLOCK, 5 * BLOCK, NULL), LILIO_OK);
    assert_int_equal(file->ops->allocate(file, 4 * BLOCK, 7 * BLOCK, NULL), LILIO_E_NO_SPACE);
    assert_int_equal(fill(file, 2, 5 * BLOCK, 4 * BLOCK), LILIO_OK); /* was reserved */
    assert_int_equal(fill(file, 2, BLOCK, 9 * BLOCK), LILIO_OK);
    assert_int_equal(fill(file, 2, BLOCK, 10 * BLOCK), LILIO_E_NO_SPACE);
    assert_int_equal(fill(file, 3, 4 * BLOCK, 0), LILIO_OK); /* over what is there */
    assert_int_equal(file->ops->punch(file, 0, BLOCK, NULL), LILIO_OK);
    assert_int_equal(fill(file, 2, BLOCK, 10 * BLOCK), LILIO_OK);
    assert_int_equal(file->ops->truncate(file, BLOCK, NULL), LILIO_OK);
    assert_int_equal(disk->ops->space(disk, &space, NULL), LILIO_OK);
    assert_int_equal(space.free_bytes, 10 * BLOCK);
    base_file_close(&file);
    base_disk_free(&disk);
}

static void test_flip(void **state)
{
    (void)state;
    struct base_disk *disk = new_disk(1);
    struct base_file *file = durable_file(disk, "f", 1);
    assert_true(crash_disk_flip(disk, "f", BLOCK + 3, 0x80));
    assert_false(crash_disk_flip(disk, "f", 4 * BLOCK, 0x80));
    assert_false(crash_disk_flip(disk, "g", 0, 0x80));
    crash(disk);
    base_file_close(&file);
    uint8_t data[4 * BLOCK];
    read_back(disk, "f", data, sizeof data);
    assert_int_equal(data[BLOCK + 3], 0x81);
    data[BLOCK + 3] = 1;
    assert_true(all(data, sizeof data, 1));
    base_disk_free(&disk);
}

static void test_misuse_is_counted(void **state)
{
    (void)state;
    struct base_disk *disk = new_disk(1);
    struct base_file *file = must_open(disk, "f", BASE_OPEN_CREATE | BASE_OPEN_DIRECT);
    static _Alignas(BLOCK) uint8_t data[2 * BLOCK];
    struct iovec good = {data, BLOCK}, bad = {data + SECTOR, BLOCK};
    assert_int_equal(file->ops->write(file, &good, 1, 0, NULL), LILIO_OK);
    assert_int_equal(crash_disk_misuse_count(disk), 0);
    assert_int_equal(file->ops->write(file, &bad, 1, 0, NULL), LILIO_E_INVALID);
    assert_int_equal(file->ops->write(file, &good, 1, SECTOR, NULL), LILIO_E_INVALID);
    assert_int_equal(crash_disk_misuse_count(disk), 2);
    base_file_close(&file);
    base_disk_free(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_synced_is_there),
        cmocka_unit_test(test_unsynced_is_old_new_torn_or_garbage),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_holes),
        cmocka_unit_test(test_failed_sync_loses_for_good),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_replaced_file),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_power_off),
        cmocka_unit_test(test_power_off_at),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_failed_write_does_some_of_it),
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_flip),
        cmocka_unit_test(test_misuse_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
