/* Aim: what only a real folder can show: short and interrupted system calls, refused direct I/O,
 * error numbers, hostile things in the folder, the lock between processes, space really given back.
 * Method: the system calls are wrapped at link time and do what the test says. */
#include "base/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

enum { BLOCK = BASE_DISK_BLOCK, ROOM_BLOCKS = 16 };

/* What the next calls do: fail with an error number, be interrupted first, move no more than some
 * bytes. */
static int fail_write, fail_read, fail_sync, fail_fallocate;
static unsigned interruptions;
static size_t bytes_max;
static bool refuse_direct;

ssize_t __real_pwritev(int fd, const struct iovec *vectors, int count, off_t offset);
ssize_t __real_pwrite(int fd, const void *data, size_t size, off_t offset);
ssize_t __real_pread(int fd, void *data, size_t size, off_t offset);
int __real_fdatasync(int fd);
int __real_fallocate(int fd, int mode, off_t offset, off_t size);
ssize_t __wrap_pwritev(int fd, const struct iovec *vectors, int count, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *data, size_t size, off_t offset);
int __wrap_fdatasync(int fd);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size);

/* 0 if the call shall go on. */
static int disturb(int fd, int fail)
{
    int code = fail;
    if (interruptions > 0) {
        interruptions--;
        code = EINTR;
    } else if (refuse_direct && fcntl(fd, F_GETFL) & O_DIRECT) {
        code = EINVAL;
    }
    errno = code ? code : errno;
    return code;
}

ssize_t __wrap_pwritev(int fd, const struct iovec *vectors, int count, off_t offset)
{
    if (disturb(fd, fail_write))
        return -1;
    if (!bytes_max)
        return __real_pwritev(fd, vectors, count, offset);
    size_t left = bytes_max;
    ssize_t done = 0;
    for (int i = 0; i < count && left > 0; i++) {
        size_t part = vectors[i].iov_len < left ? vectors[i].iov_len : left;
        part = fcntl(fd, F_GETFL) & O_DIRECT ? part / 512 * 512 : part;
        ssize_t wrote = part ? __real_pwrite(fd, vectors[i].iov_base, part, offset + done) : 0;
        assert_true(wrote >= 0);
        done += wrote;
        left -= part ? part : left;
    }
    return done;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t offset)
{
    if (disturb(fd, fail_write))
        return -1;
    return __real_pwrite(fd, data, bytes_max && size > bytes_max ? bytes_max : size, offset);
}

ssize_t __wrap_pread(int fd, void *data, size_t size, off_t offset)
{
    if (disturb(fd, fail_read))
        return -1;
    return __real_pread(fd, data, bytes_max && size > bytes_max ? bytes_max : size, offset);
}

int __wrap_fdatasync(int fd)
{
    return disturb(fd, fail_sync) ? -1 : __real_fdatasync(fd);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t size)
{
    return disturb(fd, fail_fallocate) ? -1 : __real_fallocate(fd, mode, offset, size);
}

/* ---- fixture ---- */

struct fixture {
    char *dir;
    struct base_disk *disk;
    uint8_t *data, *back; /* ROOM_BLOCKS blocks each; data has a pattern */
};

static int set_up(void **state)
{
    fail_write = fail_read = fail_sync = fail_fallocate = 0;
    interruptions = 0;
    bytes_max = 0;
    refuse_direct = false;
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = temp_dir_new();
    assert_int_equal(base_disk_posix_new(f->dir, &f->disk, NULL), LILIO_OK);
    f->data = aligned_alloc(BLOCK, (size_t)ROOM_BLOCKS * BLOCK);
    f->back = aligned_alloc(BLOCK, (size_t)ROOM_BLOCKS * BLOCK);
    assert_true(f->data && f->back);
    for (unsigned i = 0; i < ROOM_BLOCKS * BLOCK; i++)
        f->data[i] = (uint8_t)(i * 131 + i / 509);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    base_disk_free(&f->disk);
    temp_dir_free(f->dir);
    free(f->data);
    free(f->back);
    free(f);
    return 0;
}

static struct base_file *must_open(struct fixture *f, const char *name, unsigned flags)
{
    struct base_file *file = NULL;
    struct lilio_errinfo info = {0};
    if (f->disk->ops->open(f->disk, name, flags | BASE_OPEN_CREATE, &file, &info))
        fail_msg("%s", info.text);
    return file;
}

/* Three vectors, one of them empty, over the whole room. */
static enum lilio_err write_room(struct fixture *f, struct base_file *file,
                                 struct lilio_errinfo *info)
{
    struct iovec vectors[] = {{f->data, 5 * BLOCK},
                              {f->data, 0},
                              {f->data + 5 * BLOCK, BLOCK},
                              {f->data + 6 * BLOCK, (size_t)(ROOM_BLOCKS - 6) * BLOCK}};
    return file->ops->write(file, vectors, 4, BLOCK, info);
}

static void expect_room(struct fixture *f, struct base_file *file)
{
    size_t got = 0;
    memset(f->back, 0, (size_t)ROOM_BLOCKS * BLOCK);
    assert_int_equal(file->ops->read(file, f->back, (size_t)ROOM_BLOCKS * BLOCK, BLOCK, &got, NULL),
                     LILIO_OK);
    assert_int_equal(got, ROOM_BLOCKS * BLOCK);
    assert_memory_equal(f->back, f->data, (size_t)ROOM_BLOCKS * BLOCK);
}

/* ---- tests ---- */

static void test_short_and_interrupted(void **state)
{
    struct fixture *f = *state;
    const size_t limits[] = {700, 512, 4096, 6000, 20000, 5 * BLOCK, 40000};
    for (unsigned direct = 0; direct < 2; direct++)
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
            struct base_file *file = must_open(f, "f", direct ? BASE_OPEN_DIRECT : 0);
            assert_int_equal(file->ops->truncate(file, 0, NULL), LILIO_OK);
            bytes_max = direct && limits[i] < BLOCK ? BLOCK + 512 : limits[i];
            interruptions = 3;
            assert_int_equal(write_room(f, file, NULL), LILIO_OK);
            bytes_max = direct ? 3 * BLOCK : limits[i];
            interruptions = 3;
            expect_room(f, file);
            bytes_max = 0;
            base_file_close(&file);
        }
}

static void test_write_that_stands_still(void **state)
{
    struct fixture *f = *state;
    struct base_file *file = must_open(f, "f", BASE_OPEN_DIRECT);
    bytes_max = 512; /* never a whole block: going on would never end */
    assert_int_equal(write_room(f, file, NULL), LILIO_E_IO);
    bytes_max = 0;
    base_file_close(&file);
}

static void test_direct_refused(void **state)
{
    struct fixture *f = *state;
    struct base_file *file = must_open(f, "f", BASE_OPEN_DIRECT);
    refuse_direct = true; /* as some filesystems do only now */
    assert_int_equal(write_room(f, file, NULL), LILIO_OK);
    expect_room(f, file);
    struct iovec vector = {f->data + 1, BLOCK};
    assert_int_equal(file->ops->write(file, &vector, 1, 0, NULL), LILIO_E_INVALID);
    base_file_close(&file);
    file = must_open(f, "f", BASE_OPEN_DIRECT);
    expect_room(f, file);
    base_file_close(&file);
}

static void test_error_numbers(void **state)
{
    struct fixture *f = *state;
    struct lilio_errinfo info = {0};
    struct base_file *file = must_open(f, "name-of-it", 0);
    size_t got;
    fail_write = ENOSPC;
    assert_int_equal(write_room(f, file, &info), LILIO_E_NO_SPACE);
    assert_string_equal(info.text, "write name-of-it: No space left on device");
    fail_write = EDQUOT;
    assert_int_equal(write_room(f, file, &info), LILIO_E_NO_SPACE);
    fail_write = EIO;
    assert_int_equal(write_room(f, file, &info), LILIO_E_IO);
    fail_write = 0, fail_read = EIO;
    assert_int_equal(file->ops->read(file, f->back, BLOCK, 0, &got, &info), LILIO_E_IO);
    fail_read = 0, fail_sync = EIO;
    assert_int_equal(file->ops->sync(file, &info), LILIO_E_IO);
    fail_sync = EROFS;
    assert_int_equal(file->ops->sync(file, &info), LILIO_E_READ_ONLY);
    fail_fallocate = ENOSPC;
    assert_int_equal(file->ops->allocate(file, 0, BLOCK, &info), LILIO_E_NO_SPACE);
    fail_fallocate = EOPNOTSUPP; /* best effort */
    assert_int_equal(file->ops->allocate(file, 0, BLOCK, &info), LILIO_OK);
    assert_int_equal(file->ops->punch(file, 0, BLOCK, &info), LILIO_OK);
    base_file_close(&file);
}

static void test_no_folder(void **state)
{
    struct fixture *f = *state;
    struct base_disk *disk = NULL;
    struct lilio_errinfo info = {0};
    assert_int_equal(base_disk_posix_new(temp_dir_path(f->dir, "no"), &disk, &info),
                     LILIO_E_NOT_FOUND);
    assert_non_null(strstr(info.text, "/no: No such file"));
    struct base_file *file = must_open(f, "plain", 0);
    base_file_close(&file);
    assert_int_equal(base_disk_posix_new(temp_dir_path(f->dir, "plain"), &disk, &info), LILIO_E_IO);
    assert_null(disk);
}

/* A link, a pipe and a folder are not taken for files, and a pipe does not hang us. */
static void test_hostile_entries(void **state)
{
    struct fixture *f = *state;
    struct base_file *file = NULL;
    unsigned count = 0;
    assert_int_equal(symlink("/etc/passwd", temp_dir_path(f->dir, "link")), 0);
    assert_int_equal(mkfifo(temp_dir_path(f->dir, "pipe"), 0600), 0);
    assert_int_equal(mkdir(temp_dir_path(f->dir, "folder"), 0700), 0);
    const char *const names[] = {"link", "pipe", "folder"};
    for (int i = 0; i < 3; i++)
        for (unsigned flags = 0; flags < 2; flags++) {
            unsigned mode = flags ? BASE_OPEN_READ_ONLY : 0;
            assert_int_equal(f->disk->ops->open(f->disk, names[i], mode, &file, NULL), LILIO_E_IO);
        }
    assert_null(file);
    void (*each)(void *, const char *) = NULL; /* there is no plain file to call it for */
    assert_int_equal(f->disk->ops->list(f->disk, "", each, &count, NULL), LILIO_OK);
    assert_int_equal(symlink("/etc", temp_dir_path(f->dir, "etc")), 0);
    assert_int_equal(f->disk->ops->unlink(f->disk, "etc/x", NULL), LILIO_E_NOT_FOUND);
}

static void test_lock(void **state)
{
    struct fixture *f = *state;
    struct lilio_errinfo info = {0};
    struct base_disk *other = NULL;
    assert_int_equal(f->disk->ops->lock(f->disk, NULL), LILIO_OK);
    assert_int_equal(base_disk_posix_new(f->dir, &other, NULL), LILIO_OK);
    assert_int_equal(other->ops->lock(other, &info), LILIO_E_LOCKED);
    assert_non_null(strstr(info.text, "in use by another process"));
    assert_non_null(strstr(info.text, f->dir));
    base_disk_free(&f->disk);
    assert_int_equal(other->ops->lock(other, &info), LILIO_OK);
    base_disk_free(&other);
    assert_int_equal(base_disk_posix_new(f->dir, &f->disk, NULL), LILIO_OK);
}

/* The lock of a process that was killed is gone with it. */
static void test_lock_of_the_dead(void **state)
{
    struct fixture *f = *state;
    pid_t child = fork();
    if (child == 0) {
        struct base_disk *disk = NULL;
        bool got = !base_disk_posix_new(f->dir, &disk, NULL) && !disk->ops->lock(disk, NULL);
        _exit(got ? 42 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    assert_int_equal(f->disk->ops->lock(f->disk, NULL), LILIO_OK);
}

static uint64_t blocks_of(const struct fixture *f, const char *name)
{
    struct stat st;
    assert_int_equal(stat(temp_dir_path(f->dir, name), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void test_reserved_blocks_come_back(void **state)
{
    struct fixture *f = *state;
    struct base_file *file = must_open(f, "f", 0);
    assert_int_equal(write_room(f, file, NULL), LILIO_OK);
    assert_int_equal(file->ops->sync(file, NULL), LILIO_OK);
    uint64_t size = 0, before = blocks_of(f, "f");
    assert_int_equal(file->ops->size(file, &size, NULL), LILIO_OK);
    assert_int_equal(file->ops->allocate(file, 0, 4 << 20, NULL), LILIO_OK);
    if (blocks_of(f, "f") <= before)
        skip(); /* this filesystem reserves nothing */
    assert_int_equal(file->ops->truncate(file, size, NULL), LILIO_OK); /* the size it has */
    assert_true(blocks_of(f, "f") <= before + BLOCK);
    assert_int_equal(file->ops->punch(file, 2 * BLOCK, 10 * BLOCK, NULL), LILIO_OK);
    assert_true(blocks_of(f, "f") <= before - 9 * BLOCK);
    base_file_close(&file);
}

static void test_folder_moves(void **state)
{
    struct fixture *f = *state;
    struct base_file *file = must_open(f, "f", 0);
    char *moved = NULL;
    assert_true(asprintf(&moved, "%s.moved", f->dir) > 0);
    assert_int_equal(rename(f->dir, moved), 0);
    assert_int_equal(write_room(f, file, NULL), LILIO_OK);
    base_file_close(&file);
    file = must_open(f, "f", 0);
    expect_room(f, file);
    base_file_close(&file);
    assert_int_equal(rename(moved, f->dir), 0);
    free(moved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_short_and_interrupted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_write_that_stands_still, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_direct_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_error_numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hostile_entries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lock_of_the_dead, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reserved_blocks_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folder_moves, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
