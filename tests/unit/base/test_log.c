/* Aim: a line has the promised form, nothing from outside can end or forge one, lines of threads do
 * not mix, and rotation loses none. Method: a sink with a fixed clock; hostile values; threads
 * writing while the file is renamed and reopened. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

static uint64_t fixed_ms(void *context)
{
    return *(uint64_t *)context;
}

static uint64_t no_ns(void *context)
{
    (void)context;
    return 0;
}

static uint64_t now_ms = 1767323045678; /* 2026-01-02T03:04:05.678Z */
static const struct base_clock fixed_clock = {no_ns, fixed_ms, &now_ms};

static void keep_line(void *context, const char *line)
{
    (void)snprintf(context, 8192, "%s", line);
}

static struct base_log *sink_log(char *ret_line, enum base_log_level least)
{
    struct base_log *log = NULL;
    enum lilio_err err = base_log_new_sink(keep_line, ret_line, "osd.3", least, &fixed_clock, &log);
    assert_int_equal(err, LILIO_OK);
    return log;
}

static void test_form(void **state)
{
    (void)state;
    char line[8192] = "";
    struct base_log *log = sink_log(line, BASE_LOG_INFO);
    base_log_write(log, BASE_LOG_WARN, "store", "sync-failed", "segment=%d next=%s", 7,
                   "read-only");
    assert_string_equal(line, "2026-01-02T03:04:05.678Z warn osd.3 store sync-failed segment=7 "
                              "next=read-only");
    base_log_write(log, BASE_LOG_INFO, "store", "ready", "");
    assert_string_equal(line, "2026-01-02T03:04:05.678Z info osd.3 store ready");
    line[0] = '\0';
    base_log_write(log, BASE_LOG_DEBUG, "store", "ready", "");
    assert_string_equal(line, "");
    base_log_write(NULL, BASE_LOG_ERROR, "store", "ready", "");
    base_log_free(&log);
    assert_null(log);
    base_log_free(&log);
}

static void test_errno_is_kept(void **state)
{
    (void)state;
    struct base_log *log = NULL;
    assert_int_equal(base_log_new("/dev/full", "x", BASE_LOG_INFO, &fixed_clock, &log, NULL),
                     LILIO_OK);
    errno = EXDEV;
    base_log_write(log, BASE_LOG_INFO, "a", "b", "%s", "a full disk loses the line, nothing else");
    assert_int_equal(errno, EXDEV);
    base_log_free(&log);
}

static void test_nothing_ends_a_line(void **state)
{
    (void)state;
    char line[8192] = "", hostile[257];
    struct base_log *log = sink_log(line, BASE_LOG_INFO);
    for (unsigned i = 1; i < 256; i++)
        hostile[i - 1] = (char)i;
    hostile[255] = '\0';
    base_log_write(log, BASE_LOG_INFO, "a\nb", "c\r", "k=%s", hostile);
    for (const char *at = line; *at; at++)
        assert_true(*at >= 0x20 && *at < 0x7f);
    assert_non_null(strstr(line, " a\\nb c\\r k=\\x01"));
    assert_non_null(strstr(line, "\\x1b"));
    base_log_free(&log);
}

static void test_long_lines_are_cut(void **state)
{
    (void)state;
    char line[8192] = "", text[6000];
    struct base_log *log = sink_log(line, BASE_LOG_INFO);
    memset(text, '\n', sizeof text);
    text[sizeof text - 1] = '\0';
    base_log_write(log, BASE_LOG_INFO, text, "e", "k=%s", text); /* each byte becomes two */
    assert_in_range(strlen(line), 4000, 4095);
    memset(text, 1, sizeof text - 1);
    base_log_write(log, BASE_LOG_INFO, text, "e", "k=%s", text); /* each byte becomes four */
    assert_in_range(strlen(line), 4000, 4095);
    base_log_free(&log);
}

static void test_quote(void **state)
{
    (void)state;
    static const struct {
        struct base_slice text;
        const char *quoted;
    } cases[] = {
        {{(const uint8_t *)"plain/key-1.txt", 15}, "plain/key-1.txt"},
        {{(const uint8_t *)"", 0}, "\"\""},
        {{NULL, 0}, "\"\""},
        {{(const uint8_t *)"a b", 3}, "\"a b\""},
        {{(const uint8_t *)"a=b", 3}, "\"a=b\""},
        {{(const uint8_t *)"a\"b\\", 4}, "\"a\\\"b\\\\\""},
        {{(const uint8_t *)"x\ny\0z", 5}, "\"x\\ny\\x00z\""},
        {{(const uint8_t *)"\xc3\xa4", 2}, "\"\\xc3\\xa4\""},
        {{(const uint8_t *)"ok\" level=error", 15}, "\"ok\\\" level=error\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char room[64];
        const char *quoted =
            base_log_quote(cases[i].text.data, cases[i].text.size, room, sizeof room);
        assert_ptr_equal(quoted, room);
        assert_string_equal(quoted, cases[i].quoted);
    }
}

/* Whatever the room: terminated, closed, and never an escape cut in half. */
static void test_quote_cuts(void **state)
{
    (void)state;
    const char *text = "abc def\n\x01ghi\"jkl";
    for (size_t room = BASE_LOG_QUOTE_ROOM_MIN; room < 40; room++) {
        char *ret = malloc(room);
        assert_non_null(ret);
        base_log_quote(text, strlen(text), ret, room);
        size_t size = strlen(ret);
        assert_true(size < room);
        assert_true(ret[0] == '"' && ret[size - 1] == '"');
        if (room < 27)
            assert_memory_equal(ret + size - 4, "...\"", 4);
        else
            assert_string_equal(ret, "\"abc def\\n\\x01ghi\\\"jkl\"");
        free(ret);
    }
    char ret[16];
    base_log_quote("aVeryLongPlainWordWithoutSpaces", 31, ret, sizeof ret);
    assert_string_equal(ret, "\"aVeryLongP...\"");
}

static void read_all(const char *path, struct base_buffer *ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (ssize_t got = 1; got > 0; ret->size += (size_t)(got > 0 ? got : 0)) {
        assert_int_equal(base_buffer_reserve(ret, 65536), LILIO_OK);
        got = read(fd, ret->data + ret->size, 65536);
        assert_true(got >= 0);
    }
    close(fd);
}

enum { THREADS = 4, LINES = 2000, ROTATIONS = 20 };

struct writer {
    struct base_log *log;
    unsigned number;
    atomic_uint *written;
};

static void *write_lines(void *context)
{
    struct writer *writer = context;
    char text[120];
    memset(text, (int)('a' + writer->number), sizeof text);
    for (unsigned i = 0; i < LINES; i++) {
        base_log_write(writer->log, BASE_LOG_INFO, "test", "line", "n=%u.%u text=%.*s end=1",
                       writer->number, i, (int)sizeof text, text);
        atomic_fetch_add(writer->written, 1);
    }
    return NULL;
}

/* Checks the lines of one file and marks them as seen. */
static void check_lines(struct base_buffer *file, bool seen[THREADS][LINES])
{
    for (size_t at = 0; at < file->size;) {
        char *line = (char *)file->data + at;
        char *end = memchr(line, '\n', file->size - at);
        assert_non_null(end);
        *end = '\0';
        unsigned number, i;
        char text[200];
        assert_int_equal(
            sscanf(strstr(line, " n="), " n=%u.%u text=%199s end=1", &number, &i, text), 3);
        assert_true(number < THREADS && i < LINES && !seen[number][i]);
        seen[number][i] = true;
        assert_int_equal(strlen(text), 120);
        for (const char *c = text; *c; c++)
            assert_int_equal(*c, 'a' + number);
        at = (size_t)(end - (char *)file->data) + 1;
    }
}

static void test_threads_and_rotation(void **state)
{
    (void)state;
    char *dir = temp_dir_new();
    char path[4096];
    (void)snprintf(path, sizeof path, "%s", temp_dir_path(dir, "osd.log"));
    struct base_log *log = NULL;
    assert_int_equal(base_log_new(path, "osd.1", BASE_LOG_INFO, base_clock_system(), &log, NULL),
                     LILIO_OK);
    atomic_uint written = 0;
    struct writer writers[THREADS];
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){log, i, &written};
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &writers[i]), 0);
    }
    for (unsigned r = 0; r < ROTATIONS; r++) {
        while (atomic_load(&written) < (r + 1) * THREADS * LINES / (ROTATIONS + 1))
            sched_yield();
        char name[32];
        (void)snprintf(name, sizeof name, "osd.log.%u", r);
        assert_int_equal(rename(path, temp_dir_path(dir, name)), 0);
        base_log_reopen(log);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    base_log_free(&log);
    static bool seen[THREADS][LINES];
    struct base_buffer file = {0};
    for (unsigned r = 0; r <= ROTATIONS; r++) {
        char name[32] = "osd.log";
        if (r < ROTATIONS)
            (void)snprintf(name, sizeof name, "osd.log.%u", r);
        base_buffer_clear(&file);
        read_all(temp_dir_path(dir, name), &file);
        check_lines(&file, seen);
    }
    for (unsigned i = 0; i < THREADS * LINES; i++)
        assert_true(seen[i / LINES][i % LINES]);
    base_buffer_release(&file);
    temp_dir_free(dir);
}

static void expect_file(const char *path, const char *content)
{
    struct base_buffer file = {0};
    read_all(path, &file);
    assert_int_equal(file.size, strlen(content));
    assert_memory_equal(file.data, content, file.size);
    base_buffer_release(&file);
}

static void test_rotation(void **state)
{
    (void)state;
    char *dir = temp_dir_new();
    const char *path = temp_dir_path(dir, "x.log");
    struct base_log *log = NULL;
    assert_int_equal(base_log_new(path, "x", BASE_LOG_INFO, &fixed_clock, &log, NULL), LILIO_OK);
    base_log_write(log, BASE_LOG_INFO, "a", "one", "");
    assert_int_equal(rename(path, temp_dir_path(dir, "old")), 0);
    base_log_write(log, BASE_LOG_INFO, "a", "two", ""); /* not told yet */
    base_log_reopen(log);
    base_log_write(log, BASE_LOG_INFO, "a", "three", "");
    base_log_free(&log);
    assert_int_equal(base_log_new(path, "x", BASE_LOG_INFO, &fixed_clock, &log, NULL), LILIO_OK);
    base_log_write(log, BASE_LOG_INFO, "a", "four", ""); /* appended */
    base_log_free(&log);
    expect_file(temp_dir_path(dir, "old"), "2026-01-02T03:04:05.678Z info x a one\n"
                                           "2026-01-02T03:04:05.678Z info x a two\n");
    expect_file(path, "2026-01-02T03:04:05.678Z info x a three\n"
                      "2026-01-02T03:04:05.678Z info x a four\n");
    temp_dir_free(dir);
}

/* When the new file cannot be made the old one goes on and says so. */
static void test_reopen_fails(void **state)
{
    (void)state;
    char *dir = temp_dir_new();
    char folder[4096], path[4096 + 8];
    (void)snprintf(folder, sizeof folder, "%s", temp_dir_path(dir, "log"));
    (void)snprintf(path, sizeof path, "%s/x.log", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    struct base_log *log = NULL;
    assert_int_equal(base_log_new(path, "x", BASE_LOG_INFO, &fixed_clock, &log, NULL), LILIO_OK);
    assert_int_equal(rename(folder, temp_dir_path(dir, "moved")), 0);
    base_log_reopen(log);
    base_log_write(log, BASE_LOG_INFO, "still", "here", "");
    base_log_free(&log);
    struct base_buffer file = {0};
    read_all(temp_dir_path(dir, "moved/x.log"), &file);
    assert_int_equal(base_buffer_append(&file, "", 1), LILIO_OK);
    assert_non_null(strstr((char *)file.data, " log reopen-failed reason="));
    assert_non_null(strstr((char *)file.data, " still here\n"));
    base_buffer_release(&file);
    temp_dir_free(dir);
}

static void test_cannot_open(void **state)
{
    (void)state;
    struct lilio_errinfo info = {0};
    struct base_log *log = NULL;
    enum lilio_err err =
        base_log_new("/nonexistent/x.log", "x", BASE_LOG_INFO, &fixed_clock, &log, &info);
    assert_int_equal(err, LILIO_E_IO);
    assert_null(log);
    assert_non_null(strstr(info.text, "/nonexistent/x.log"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_errno_is_kept),
        cmocka_unit_test(test_nothing_ends_a_line),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_quote),
        cmocka_unit_test(test_quote_cuts),
        cmocka_unit_test(test_threads_and_rotation),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_reopen_fails),
        cmocka_unit_test(test_cannot_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
