/* Aim: every disk behaves as base/disk.h says. Method: one suite, run on a real folder and on the
 * crash disk, each once buffered and once direct; random operations against a plain array. */
#include "base/disk.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/crash_disk.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

enum { BLOCK = BASE_DISK_BLOCK };

struct fixture {
    struct base_disk *disk;
    char *dir; /* NULL: the crash disk */
    unsigned flags;
    uint8_t *room; /* BLOCK-aligned */
};
enum { ROOM_BLOCKS = 512 };

static void set_up(void **state, bool posix, unsigned flags)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->flags = flags;
    f->room = aligned_alloc(BLOCK, (size_t)ROOM_BLOCKS * BLOCK);
    assert_non_null(f->room);
    f->dir = posix ? temp_dir_new() : NULL;
    enum lilio_err err =
        posix ? base_disk_posix_new(f->dir, &f->disk, NULL) : crash_disk_new(1, &f->disk);
    assert_int_equal(err, LILIO_OK);
    *state = f;
}

static int set_up_posix(void **state)
{
    set_up(state, true, 0);
    return 0;
}
static int set_up_posix_direct(void **state)
{
    set_up(state, true, BASE_OPEN_DIRECT);
    return 0;
}
static int set_up_crash(void **state)
{
    set_up(state, false, 0);
    return 0;
}
static int set_up_crash_direct(void **state)
{
    set_up(state, false, BASE_OPEN_DIRECT);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    base_disk_free(&f->disk);
    assert_null(f->disk);
    base_disk_free(&f->disk);
    if (f->dir)
        temp_dir_free(f->dir);
    free(f->room);
    free(f);
    return 0;
}

/* ---- shorthands ---- */

static struct base_file *must_open(struct fixture *f, const char *name, unsigned flags)
{
    struct base_file *file = NULL;
    struct lilio_errinfo info = {0};
    if (f->disk->ops->open(f->disk, name, flags | f->flags, &file, &info))
        fail_msg("open %s: %s", name, info.text);
    return file;
}

static enum lilio_err try_open(struct fixture *f, const char *name, unsigned flags)
{
    struct base_file *file = NULL;
    struct lilio_errinfo info = {0};
    enum lilio_err err = f->disk->ops->open(f->disk, name, flags | f->flags, &file, &info);
    assert_int_equal(!err, file != NULL);
    if (err)
        assert_true(info.text[0] && info.err == err);
    base_file_close(&file);
    return err;
}

static void must_write(struct base_file *file, const void *data, size_t size, uint64_t offset)
{
    struct iovec vector = {(void *)(uintptr_t)data, size};
    assert_int_equal(file->ops->write(file, &vector, 1, offset, NULL), LILIO_OK);
}

static size_t must_read(struct base_file *file, void *buffer, size_t size, uint64_t offset)
{
    size_t got = 77;
    assert_int_equal(file->ops->read(file, buffer, size, offset, &got, NULL), LILIO_OK);
    assert_true(got <= size);
    return got;
}

static uint64_t size_of(struct base_file *file)
{
    uint64_t size = 77;
    assert_int_equal(file->ops->size(file, &size, NULL), LILIO_OK);
    return size;
}

static void count_name(void *context, const char *name)
{
    assert_true(strncmp(name, "f", 1) == 0);
    ++*(unsigned *)context;
}

static unsigned count_files(struct fixture *f, const char *folder)
{
    unsigned count = 0;
    assert_int_equal(f->disk->ops->list(f->disk, folder, count_name, &count, NULL), LILIO_OK);
    return count;
}

/* ---- names ---- */

static void test_open(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(try_open(f, "f", 0), LILIO_E_NOT_FOUND);
    assert_int_equal(try_open(f, "f", BASE_OPEN_READ_ONLY), LILIO_E_NOT_FOUND);
    assert_int_equal(try_open(f, "f", BASE_OPEN_CREATE | BASE_OPEN_EXCLUSIVE), LILIO_OK);
    assert_int_equal(try_open(f, "f", BASE_OPEN_CREATE | BASE_OPEN_EXCLUSIVE), LILIO_E_EXISTS);
    assert_int_equal(try_open(f, "f", BASE_OPEN_CREATE), LILIO_OK);
    assert_int_equal(try_open(f, "f", 0), LILIO_OK);
    assert_int_equal(try_open(f, "d/f", BASE_OPEN_CREATE), LILIO_E_NOT_FOUND);
}

static void test_bad_names(void **state)
{
    struct fixture *f = *state;
    char longest[300];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    const char *const names[] = {"",     "/",   "/f",  "f/",   ".",     "..",     "../f",
                                 "f/..", "./f", "f/.", "a//b", "a/b/c", "a/../b", longest};
    const struct base_disk_ops *ops = f->disk->ops;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(try_open(f, names[i], BASE_OPEN_CREATE), LILIO_E_INVALID);
        assert_int_equal(ops->rename(f->disk, "f", names[i], NULL), LILIO_E_INVALID);
        assert_int_equal(ops->rename(f->disk, names[i], "f", NULL), LILIO_E_INVALID);
        assert_int_equal(ops->unlink(f->disk, names[i], NULL), LILIO_E_INVALID);
        assert_int_equal(ops->make_dir(f->disk, names[i], NULL), LILIO_E_INVALID);
        if (names[i][0]) {
            assert_int_equal(ops->sync_dir(f->disk, names[i], NULL), LILIO_E_INVALID);
            assert_int_equal(ops->list(f->disk, names[i], count_name, NULL, NULL), LILIO_E_INVALID);
        }
    }
    assert_int_equal(count_files(f, ""), 0);
}

static void test_folders(void **state)
{
    struct fixture *f = *state;
    const struct base_disk_ops *ops = f->disk->ops;
    assert_int_equal(ops->list(f->disk, "fd", count_name, NULL, NULL), LILIO_E_NOT_FOUND);
    assert_int_equal(ops->sync_dir(f->disk, "fd", NULL), LILIO_E_NOT_FOUND);
    assert_int_equal(ops->make_dir(f->disk, "fd", NULL), LILIO_OK);
    assert_int_equal(ops->make_dir(f->disk, "fd", NULL), LILIO_E_EXISTS);
    assert_int_equal(ops->make_dir(f->disk, "fd/e", NULL), LILIO_E_INVALID);
    assert_int_equal(try_open(f, "fd", 0), LILIO_E_IO);
    assert_int_equal(ops->unlink(f->disk, "fd", NULL), LILIO_E_IO);
    assert_int_equal(try_open(f, "fd/f1", BASE_OPEN_CREATE), LILIO_OK);
    assert_int_equal(try_open(f, "fd/f2", BASE_OPEN_CREATE), LILIO_OK);
    assert_int_equal(try_open(f, "f3", BASE_OPEN_CREATE), LILIO_OK);
    assert_int_equal(count_files(f, "fd"), 2);
    assert_int_equal(count_files(f, ""), 1); /* plain files only */
    assert_int_equal(ops->sync_dir(f->disk, "fd", NULL), LILIO_OK);
    assert_int_equal(ops->sync_dir(f->disk, "", NULL), LILIO_OK);
    assert_int_equal(ops->unlink(f->disk, "fd/f1", NULL), LILIO_OK);
    assert_int_equal(ops->unlink(f->disk, "fd/f1", NULL), LILIO_E_NOT_FOUND);
    assert_int_equal(count_files(f, "fd"), 1);
}

static void test_rename_and_unlink(void **state)
{
    struct fixture *f = *state;
    const struct base_disk_ops *ops = f->disk->ops;
    struct base_file *one = must_open(f, "f1", BASE_OPEN_CREATE);
    struct base_file *two = must_open(f, "f2", BASE_OPEN_CREATE);
    memset(f->room, 1, BLOCK);
    must_write(one, f->room, BLOCK, 0);
    memset(f->room, 2, BLOCK);
    must_write(two, f->room, BLOCK, 0);
    assert_int_equal(ops->rename(f->disk, "f1", "f2", NULL), LILIO_OK);
    assert_int_equal(ops->rename(f->disk, "f1", "f2", NULL), LILIO_E_NOT_FOUND);
    assert_int_equal(try_open(f, "f1", 0), LILIO_E_NOT_FOUND);
    struct base_file *now = must_open(f, "f2", BASE_OPEN_READ_ONLY);
    assert_int_equal(must_read(now, f->room, BLOCK, 0), BLOCK);
    assert_int_equal(f->room[0], 1);
    /* What is open stays readable without a name. */
    assert_int_equal(must_read(two, f->room, BLOCK, 0), BLOCK);
    assert_int_equal(f->room[0], 2);
    assert_int_equal(ops->unlink(f->disk, "f2", NULL), LILIO_OK);
    assert_int_equal(must_read(one, f->room, BLOCK, 0), BLOCK);
    assert_int_equal(f->room[0], 1);
    assert_int_equal(ops->make_dir(f->disk, "fd", NULL), LILIO_OK);
    assert_int_equal(try_open(f, "f4", BASE_OPEN_CREATE), LILIO_OK);
    assert_int_equal(ops->rename(f->disk, "f4", "fd/f5", NULL), LILIO_OK);
    assert_int_equal(count_files(f, "fd"), 1);
    assert_int_equal(ops->rename(f->disk, "fd/f5", "no/f", NULL), LILIO_E_NOT_FOUND);
    base_file_close(&one);
    base_file_close(&two);
    base_file_close(&now);
}

/* A folder moves with what is in it, and goes only when it is empty. */
static void test_folders_move_and_go(void **state)
{
    struct fixture *f = *state;
    const struct base_disk_ops *ops = f->disk->ops;
    assert_int_equal(ops->make_dir(f->disk, "from", NULL), LILIO_OK);
    assert_int_equal(try_open(f, "from/f1", BASE_OPEN_CREATE), LILIO_OK);
    assert_int_equal(ops->rename(f->disk, "from", "to", NULL), LILIO_OK);
    assert_int_equal(ops->rename(f->disk, "from", "to", NULL), LILIO_E_NOT_FOUND);
    assert_int_equal(try_open(f, "to/f1", 0), LILIO_OK);
    assert_int_equal(ops->list(f->disk, "from", count_name, NULL, NULL), LILIO_E_NOT_FOUND);
    assert_int_equal(ops->remove_dir(f->disk, "to", NULL), LILIO_E_EXISTS);
    assert_int_equal(ops->unlink(f->disk, "to/f1", NULL), LILIO_OK);
    assert_int_equal(ops->remove_dir(f->disk, "to", NULL), LILIO_OK);
    assert_int_equal(ops->remove_dir(f->disk, "to", NULL), LILIO_E_NOT_FOUND);
    assert_int_equal(ops->sync_dir(f->disk, "", NULL), LILIO_OK);
    assert_int_equal(ops->make_dir(f->disk, "from", NULL), LILIO_OK);
}

/* ---- content ---- */

static void test_vectors(void **state)
{
    struct fixture *f = *state;
    struct base_file *file = must_open(f, "f", BASE_OPEN_CREATE);
    struct iovec vectors[300];
    for (int i = 0; i < 300; i++) {
        memset(f->room + i * BLOCK, i, BLOCK);
        vectors[299 - i] = (struct iovec){f->room + i * BLOCK, BLOCK};
    }
    vectors[7].iov_len = 0;
    assert_int_equal(file->ops->write(file, vectors, 300, BLOCK, NULL), LILIO_OK);
    assert_int_equal(file->ops->write(file, vectors, 0, BLOCK, NULL), LILIO_OK);
    assert_int_equal(size_of(file), 300 * BLOCK);
    assert_int_equal(file->ops->sync(file, NULL), LILIO_OK);
    assert_int_equal(must_read(file, f->room, 301 * BLOCK, 0), 300 * BLOCK);
    for (int i = 0; i < 300; i++) {
        int byte = i == 0 ? 0 : i <= 7 ? 300 - i : 299 - i;
        assert_int_equal(f->room[i * BLOCK + 17], (uint8_t)byte);
    }
    base_file_close(&file);
}

static void test_end_of_file(void **state)
{
    struct fixture *f = *state;
    struct base_file *file = must_open(f, "f", BASE_OPEN_CREATE);
    assert_int_equal(must_read(file, f->room, BLOCK, 0), 0);
    memset(f->room, 5, 3 * BLOCK);
    must_write(file, f->room, 2 * BLOCK, 0);
    assert_int_equal(file->ops->truncate(file, BLOCK + 100, NULL), LILIO_OK);
    assert_int_equal(size_of(file), BLOCK + 100);
    assert_int_equal(must_read(file, f->room, 3 * BLOCK, 0), BLOCK + 100);
    assert_int_equal(must_read(file, f->room, BLOCK, BLOCK), 100);
    assert_int_equal(must_read(file, f->room, BLOCK, 2 * BLOCK), 0);
    assert_int_equal(must_read(file, f->room, BLOCK, 100 * BLOCK), 0);
    /* Growing again shows zeros, not what was cut off. */
    assert_int_equal(file->ops->truncate(file, 2 * BLOCK, NULL), LILIO_OK);
    assert_int_equal(must_read(file, f->room, 3 * BLOCK, 0), 2 * BLOCK);
    assert_int_equal(f->room[BLOCK + 99], 5);
    for (int i = BLOCK + 100; i < 2 * BLOCK; i++)
        assert_int_equal(f->room[i], 0);
    base_file_close(&file);
}

static void test_allocate_and_punch(void **state)
{
    struct fixture *f = *state;
    struct base_file *file = must_open(f, "f", BASE_OPEN_CREATE);
    assert_int_equal(file->ops->allocate(file, 0, 64 * BLOCK, NULL), LILIO_OK);
    assert_int_equal(file->ops->allocate(file, 0, 0, NULL), LILIO_OK);
    assert_int_equal(size_of(file), 0);
    memset(f->room, 9, 8 * BLOCK);
    must_write(file, f->room, 8 * BLOCK, 0);
    assert_int_equal(file->ops->punch(file, 2 * BLOCK, 3 * BLOCK, NULL), LILIO_OK);
    assert_int_equal(file->ops->punch(file, 100 * BLOCK, BLOCK, NULL), LILIO_OK);
    assert_int_equal(file->ops->punch(file, 0, 0, NULL), LILIO_OK);
    assert_int_equal(size_of(file), 8 * BLOCK);
    assert_int_equal(must_read(file, f->room, 8 * BLOCK, 0), 8 * BLOCK);
    for (int i = 0; i < 8; i++)
        assert_int_equal(f->room[i * BLOCK + 5], i >= 2 && i < 5 ? 0 : 9);
    base_file_close(&file);
}

static void test_alignment_rule(void **state)
{
    struct fixture *f = *state;
    struct base_file *file = must_open(f, "f", BASE_OPEN_CREATE);
    enum lilio_err expected = f->flags & BASE_OPEN_DIRECT ? LILIO_E_INVALID : LILIO_OK;
    const struct {
        size_t shift, size;
        uint64_t offset;
    } cases[] = {{1, BLOCK, 0}, {0, 100, 0}, {0, BLOCK, 512}, {512, 512, 512}};
    memset(f->room, 3, 2 * BLOCK);
    must_write(file, f->room, 2 * BLOCK, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t got;
        struct iovec vector = {f->room + cases[i].shift, cases[i].size};
        assert_int_equal(file->ops->write(file, &vector, 1, cases[i].offset, NULL), expected);
        assert_int_equal(
            file->ops->read(file, vector.iov_base, vector.iov_len, cases[i].offset, &got, NULL),
            expected);
    }
    base_file_close(&file);
}

static void test_read_only(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(try_open(f, "f", BASE_OPEN_CREATE), LILIO_OK);
    struct base_file *file = must_open(f, "f", BASE_OPEN_READ_ONLY);
    struct iovec vector = {f->room, BLOCK};
    assert_int_equal(file->ops->write(file, &vector, 1, 0, NULL), LILIO_E_IO);
    assert_int_equal(must_read(file, f->room, BLOCK, 0), 0);
    base_file_close(&file);
    assert_null(file);
    base_file_close(&file);
}

/* Writes, cuts, holes and reads of random places against an array that gets the same. */
static void test_random_operations(void **state)
{
    struct fixture *f = *state;
    enum { BLOCKS = 100 };
    uint64_t seed = 7;
    struct base_random random = base_random_seeded(&seed);
    struct base_file *file = must_open(f, "f", BASE_OPEN_CREATE);
    uint8_t *model = calloc(BLOCKS, BLOCK);
    assert_non_null(model);
    uint64_t size = 0;
    for (int round = 0; round < 600; round++) {
        uint64_t first = base_random_u64(&random) % BLOCKS;
        uint64_t count = 1 + base_random_u64(&random) % (BLOCKS - first);
        uint64_t at = first * BLOCK, bytes = count * BLOCK;
        switch (base_random_u64(&random) % 5) {
        case 0:
        case 1:
            random.fill(random.context, f->room, bytes);
            must_write(file, f->room, bytes, at);
            memcpy(model + at, f->room, bytes);
            size = at + bytes > size ? at + bytes : size;
            break;
        case 2:
            assert_int_equal(file->ops->punch(file, at, bytes, NULL), LILIO_OK);
            memset(model + at, 0, bytes);
            break;
        case 3:
            assert_int_equal(file->ops->truncate(file, at, NULL), LILIO_OK);
            memset(model + at, 0, (size_t)BLOCKS * BLOCK - at);
            size = at;
            break;
        default: assert_int_equal(file->ops->sync(file, NULL), LILIO_OK);
        }
        assert_int_equal(size_of(file), size);
        uint64_t expected = at >= size ? 0 : size - at < bytes ? size - at : bytes;
        assert_int_equal(must_read(file, f->room, bytes, at), expected);
        assert_memory_equal(f->room, model + at, expected);
    }
    free(model);
    base_file_close(&file);
}

static void test_numbers(void **unused)
{
    (void)unused;
    static const char *const wrong[] = {
        "",
        "1.seg",
        "0000000000000001",
        "0000000000000001.log",
        "0000000000000001.seg.tmp",
        "000000000000000A.seg",
        "00000000000000g1.seg",
        "00000000000000001.seg",
        "0000000000000000.seg", /* first and last number name no file */
        "ffffffffffffffff.seg",
    };
    uint64_t number;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(base_disk_number_parse(wrong[i], ".seg", &number));
    assert_true(base_disk_number_parse("0123456789abcdef.seg", ".seg", &number));
    assert_int_equal(number, 0x0123456789abcdef);
    assert_true(base_disk_number_parse("fffffffffffffffe.log", ".log", &number));
    assert_int_equal(number, UINT64_MAX - 1);
}

static void test_space(void **state)
{
    struct fixture *f = *state;
    struct base_disk_space space = {0};
    assert_int_equal(f->disk->ops->space(f->disk, &space, NULL), LILIO_OK);
    assert_true(space.total_bytes > 0 && space.free_bytes <= space.total_bytes);
    assert_int_equal(f->disk->ops->lock(f->disk, NULL), LILIO_OK);
    assert_int_equal(f->disk->ops->lock(f->disk, NULL), LILIO_OK); /* it is ours already */
}

#define SUITE(set)                                                                 \
    cmocka_unit_test_setup_teardown(test_open, set, tear_down),                    \
        cmocka_unit_test_setup_teardown(test_bad_names, set, tear_down),           \
        cmocka_unit_test_setup_teardown(test_folders, set, tear_down),             \
        cmocka_unit_test_setup_teardown(test_rename_and_unlink, set, tear_down),   \
        cmocka_unit_test_setup_teardown(test_folders_move_and_go, set, tear_down), \
        cmocka_unit_test_setup_teardown(test_vectors, set, tear_down),             \
        cmocka_unit_test_setup_teardown(test_end_of_file, set, tear_down),         \
        cmocka_unit_test_setup_teardown(test_allocate_and_punch, set, tear_down),  \
        cmocka_unit_test_setup_teardown(test_alignment_rule, set, tear_down),      \
        cmocka_unit_test_setup_teardown(test_read_only, set, tear_down),           \
        cmocka_unit_test_setup_teardown(test_random_operations, set, tear_down),   \
        cmocka_unit_test_setup_teardown(test_space, set, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SUITE(set_up_posix),        SUITE(set_up_posix_direct),     SUITE(set_up_crash),
        SUITE(set_up_crash_direct), cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
