/* Aim: a file that is got appears whole or not at all and leaves nothing beside it; sources give
 * all bytes in whatever pieces. Method: real files in a folder of the test's own; the folder is
 * listed after each end. */
#include "tools/file_io.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

static char *folder;

static int setup(void **state)
{
    (void)state;
    folder = temp_dir_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temp_dir_free(folder);
    return 0;
}

static void file_write(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void file_is(const char *path, const char *content)
{
    char text[256];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    text[size] = '\0';
    assert_string_equal(text, content);
}

static int entry_count(void)
{
    int count = -2; /* . and .. */
    DIR *listing = opendir(folder);
    assert_non_null(listing);
    while (readdir(listing))
        count++;
    closedir(listing);
    return count;
}

static void put(struct tools_sink *sink, const char *content)
{
    struct lilio_sink callback = tools_sink_callback(sink);
    assert_int_equal(callback.write(callback.context, content, strlen(content), NULL), LILIO_OK);
}

static void test_commit_replaces_whole(void **state)
{
    (void)state;
    const char *path = temp_dir_path(folder, "target");
    struct tools_sink sink;
    file_write(path, "old");
    assert_int_equal(tools_sink_open(path, &sink, NULL), LILIO_OK);
    put(&sink, "new ");
    put(&sink, "bytes");
    file_is(path, "old");
    assert_int_equal(tools_sink_commit(&sink, NULL), LILIO_OK);
    tools_sink_close(&sink);
    tools_sink_close(&sink);
    file_is(path, "new bytes");
    assert_int_equal(entry_count(), 1);
}

static void test_a_replaced_file_keeps_its_mode(void **state)
{
    (void)state;
    const mode_t modes[] = {0600, 0640, 0755};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        const char *path = temp_dir_path(folder, "target");
        struct tools_sink sink;
        struct stat now;
        file_write(path, "old");
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_int_equal(tools_sink_open(path, &sink, NULL), LILIO_OK);
        put(&sink, "new");
        assert_int_equal(tools_sink_commit(&sink, NULL), LILIO_OK);
        tools_sink_close(&sink);
        assert_int_equal(stat(path, &now), 0);
        assert_int_equal(now.st_mode & 07777, modes[i]);
        file_is(path, "new");
    }
}

static void test_without_commit_nothing_stays(void **state)
{
    (void)state;
    const char *path = temp_dir_path(folder, "target");
    struct tools_sink sink;
    assert_int_equal(tools_sink_open(path, &sink, NULL), LILIO_OK);
    put(&sink, "half");
    assert_int_equal(entry_count(), 1);
    tools_sink_close(&sink);
    assert_int_equal(entry_count(), 0);
}

static void test_restart_forgets(void **state)
{
    (void)state;
    const char *path = temp_dir_path(folder, "target");
    struct tools_sink sink;
    assert_int_equal(tools_sink_open(path, &sink, NULL), LILIO_OK);
    struct lilio_sink callback = tools_sink_callback(&sink);
    put(&sink, "the longer first version");
    assert_int_equal(callback.restart(callback.context, NULL), LILIO_OK);
    put(&sink, "second");
    assert_int_equal(tools_sink_commit(&sink, NULL), LILIO_OK);
    tools_sink_close(&sink);
    file_is(path, "second");
}

static void test_a_pipe_cannot_restart(void **state)
{
    (void)state;
    const char *path = temp_dir_path(folder, "pipe");
    struct tools_sink sink;
    struct lilio_errinfo info = {0};
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    assert_int_equal(tools_sink_open(path, &sink, NULL), LILIO_OK);
    struct lilio_sink callback = tools_sink_callback(&sink);
    assert_int_equal(callback.restart(callback.context, &info), LILIO_OK);
    put(&sink, "gone");
    assert_int_equal(callback.restart(callback.context, &info), LILIO_E_VERSION_GONE);
    assert_int_equal(tools_sink_commit(&sink, NULL), LILIO_OK);
    tools_sink_close(&sink);
    close(reader);
    assert_int_equal(entry_count(), 1);
}

static void test_a_link_is_followed(void **state)
{
    (void)state;
    const char *real = temp_dir_path(folder, "real"), *link = temp_dir_path(folder, "link");
    struct tools_sink sink;
    struct stat stat_buffer;
    file_write(real, "old");
    assert_int_equal(symlink("real", link), 0);
    assert_int_equal(tools_sink_open(link, &sink, NULL), LILIO_OK);
    put(&sink, "new");
    assert_int_equal(tools_sink_commit(&sink, NULL), LILIO_OK);
    tools_sink_close(&sink);
    file_is(real, "new");
    assert_int_equal(lstat(link, &stat_buffer), 0);
    assert_true(S_ISLNK(stat_buffer.st_mode));
}

static void test_bad_targets(void **state)
{
    (void)state;
    struct tools_sink sink;
    struct lilio_errinfo info = {0};
    assert_int_equal(tools_sink_open(folder, &sink, &info), LILIO_E_INVALID);
    assert_non_null(strstr(info.text, folder));
    assert_int_equal(tools_sink_open(temp_dir_path(folder, "no/where"), &sink, &info),
                     LILIO_E_NOT_FOUND);
    assert_int_equal(entry_count(), 0);
}

static void test_sources(void **state)
{
    (void)state;
    const char *path = temp_dir_path(folder, "source");
    struct tools_source source;
    char buffer[8];
    size_t size = 77;
    file_write(path, "0123456789");
    assert_int_equal(tools_source_open(path, &source, NULL), LILIO_OK);
    assert_true(source.size == 10);
    struct lilio_source callback = tools_source_callback(&source);
    assert_int_equal(callback.read(callback.context, buffer, 8, &size, NULL), LILIO_OK);
    assert_int_equal(size, 8);
    assert_memory_equal(buffer, "01234567", 8);
    assert_int_equal(callback.read(callback.context, buffer, 8, &size, NULL), LILIO_OK);
    assert_int_equal(size, 2);
    assert_int_equal(callback.read(callback.context, buffer, 8, &size, NULL), LILIO_OK);
    assert_int_equal(size, 0);
    tools_source_close(&source);
    assert_int_equal(tools_source_open(folder, &source, NULL), LILIO_E_INVALID);
    assert_int_equal(tools_source_open(temp_dir_path(folder, "missing"), &source, NULL),
                     LILIO_E_NOT_FOUND);
}

static void test_folders(void **state)
{
    (void)state;
    const char *deep = temp_dir_path(folder, "a/b/c"), *file = temp_dir_path(folder, "file");
    assert_int_equal(tools_folder_make(deep, NULL), LILIO_OK);
    assert_int_equal(tools_folder_make(deep, NULL), LILIO_OK);
    assert_int_equal(access(deep, X_OK), 0);
    file_write(file, "x");
    assert_int_equal(tools_folder_make(file, NULL), LILIO_E_INVALID);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commit_replaces_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_replaced_file_keeps_its_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_commit_nothing_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart_forgets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_pipe_cannot_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_link_is_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_targets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sources, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folders, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
