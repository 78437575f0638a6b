/* Aim: the path holds the old content or the new, durably, and nothing is left over when it fails.
 * Method: the system calls are wrapped at link time; each in turn fails or is cut short. */
#include "base/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

static int fail_write, fail_fsync, fail_rename; /* error number, 0 = works */
static unsigned fsyncs_before_failure, fsync_count, fsync_count_at_rename, eintr_count;
static size_t write_max;

ssize_t __real_write(int fd, const void *data, size_t size);
int __real_fsync(int fd);
int __real_rename(const char *from, const char *to);
ssize_t __wrap_write(int fd, const void *data, size_t size);
int __wrap_fsync(int fd);
int __wrap_rename(const char *from, const char *to);

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    if (eintr_count > 0) {
        eintr_count--;
        errno = EINTR;
        return -1;
    }
    if (fail_write) {
        errno = fail_write;
        return -1;
    }
    return __real_write(fd, data, write_max && size > write_max ? write_max : size);
}

int __wrap_fsync(int fd)
{
    if (fail_fsync && fsync_count >= fsyncs_before_failure) {
        errno = fail_fsync;
        return -1;
    }
    fsync_count++;
    return __real_fsync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
    fsync_count_at_rename = fsync_count;
    if (fail_rename) {
        errno = fail_rename;
        return -1;
    }
    return __real_rename(from, to);
}

static unsigned count_files(const char *path)
{
    unsigned count = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}

static void expect_content(const char *path, const char *content)
{
    char text[4096] = "";
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    assert_int_equal(got, strlen(content));
    assert_string_equal(text, content);
}

static int set_up(void **state)
{
    fail_write = fail_fsync = fail_rename = 0;
    fsyncs_before_failure = fsync_count = eintr_count = 0;
    write_max = 0;
    *state = temp_dir_new();
    return 0;
}

static int tear_down(void **state)
{
    temp_dir_free(*state);
    return 0;
}

static void test_replaces(void **state)
{
    const char *path = temp_dir_path(*state, "file");
    struct stat st;
    assert_int_equal(base_file_replace(path, base_slice_str("one"), 0640, NULL), LILIO_OK);
    expect_content(path, "one");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(base_file_replace(path, base_slice(NULL, 0), 0600, NULL), LILIO_OK);
    expect_content(path, "");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(count_files(*state), 1);
}

/* The content is synced before the rename, the folder after it. */
static void test_order_of_syncs(void **state)
{
    const char *path = temp_dir_path(*state, "file");
    assert_int_equal(base_file_replace(path, base_slice_str("one"), 0600, NULL), LILIO_OK);
    assert_int_equal(fsync_count_at_rename, 1);
    assert_int_equal(fsync_count, 2);
}

static void test_short_writes(void **state)
{
    const char *path = temp_dir_path(*state, "file");
    write_max = 3;
    eintr_count = 2;
    assert_int_equal(base_file_replace(path, base_slice_str("0123456789"), 0600, NULL), LILIO_OK);
    expect_content(path, "0123456789");
}

static void expect_failure(const char *dir, enum lilio_err expected)
{
    const char *path = temp_dir_path(dir, "file");
    struct lilio_errinfo info = {0};
    assert_int_equal(base_file_replace(path, base_slice_str("new"), 0600, &info), expected);
    assert_true(info.text[0]);
    expect_content(path, "old");
    assert_int_equal(count_files(dir), 1);
}

static void test_failures_leave_the_old_file(void **state)
{
    const char *path = temp_dir_path(*state, "file");
    assert_int_equal(base_file_replace(path, base_slice_str("old"), 0600, NULL), LILIO_OK);
    fail_write = ENOSPC;
    expect_failure(*state, LILIO_E_NO_SPACE);
    fail_write = 0, fail_fsync = EIO, fsync_count = 0;
    expect_failure(*state, LILIO_E_IO);
    fail_fsync = 0, fail_rename = EROFS;
    expect_failure(*state, LILIO_E_READ_ONLY);
}

/* The new file is in place but the folder did not sync: not durable, so not OK. */
static void test_folder_sync_fails(void **state)
{
    const char *path = temp_dir_path(*state, "file");
    fail_fsync = EIO;
    fsyncs_before_failure = 1;
    assert_int_equal(base_file_replace(path, base_slice_str("new"), 0600, NULL), LILIO_E_IO);
    assert_int_equal(count_files(*state), 1);
}

static void test_bad_places(void **state)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err =
        base_file_replace(temp_dir_path(*state, "no/file"), base_slice_str("x"), 0600, &info);
    assert_int_equal(err, LILIO_E_NOT_FOUND);
    assert_int_equal(base_file_replace(*state, base_slice_str("x"), 0600, &info), LILIO_E_IO);
    assert_int_equal(count_files(*state), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_replaces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order_of_syncs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_short_writes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failures_leave_the_old_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folder_sync_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_places, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
