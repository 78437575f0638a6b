/* Aim: the store on disk keeps what was committed, says clearly what is wrong with a folder, never
 * crashes on damaged files, and stays small. Method: stores are closed, killed (a child process
 * exits without closing), damaged byte by byte, locked, opened with other columns. */
#include "base/kv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

static const char *const columns[] = {"buckets", "versions", "data", "sessions", "osds",
                                      "slots",   "repair",   "gc",   "meta"};
enum { COLUMNS = 9 };

static struct base_kv_options options_of(size_t column_count)
{
    return (struct base_kv_options){.columns = columns, .column_count = column_count};
}

static enum lilio_err try_open(const char *path, struct base_kv **ret, struct lilio_errinfo *info)
{
    struct base_kv_options options = options_of(COLUMNS);
    *ret = NULL;
    return base_kv_open_rocksdb(path, &options, ret, info);
}

static struct base_kv *must_open(const char *path)
{
    struct base_kv *kv;
    struct lilio_errinfo info = {0};
    if (try_open(path, &kv, &info))
        fail_msg("%s", info.text);
    return kv;
}

/* Rows first .. first + count - 1 of column 2, each its own batch. */
static enum lilio_err put_rows(struct base_kv *kv, unsigned first, unsigned count, bool sync)
{
    struct base_kv_batch *batch = NULL;
    enum lilio_err err = base_kv_batch_new(kv, &batch);
    for (unsigned i = first; i < first + count && !err; i++) {
        uint8_t key[4], value[100];
        base_be32_put(key, i);
        memset(value, (int)i, sizeof value);
        base_kv_batch_put(batch, 2, base_slice(key, 4), base_slice(value, sizeof value));
        err = base_kv_batch_commit(batch, sync, NULL);
    }
    base_kv_batch_free(&batch);
    return err;
}

static enum lilio_err get_row(struct base_kv *kv, unsigned i)
{
    uint8_t key[4], value[100];
    struct base_buffer got = {0};
    base_be32_put(key, i);
    enum lilio_err err = base_kv_get(kv, NULL, 2, base_slice(key, 4), &got, NULL);
    if (!err) {
        memset(value, (int)i, sizeof value);
        assert_true(base_slice_equal(base_buffer_slice(&got), base_slice(value, sizeof value)));
    }
    base_buffer_release(&got);
    return err;
}

static int set_up(void **state)
{
    *state = temp_dir_new();
    return 0;
}

static int tear_down(void **state)
{
    temp_dir_free(*state);
    return 0;
}

static void test_reopen(void **state)
{
    char *path = strdup(temp_dir_path(*state, "kv"));
    for (unsigned round = 0; round < 4; round++) {
        struct base_kv *kv = must_open(path);
        for (unsigned i = 0; i < round * 100; i++)
            assert_int_equal(get_row(kv, i), LILIO_OK);
        assert_int_equal(get_row(kv, round * 100), LILIO_E_NOT_FOUND);
        assert_int_equal(put_rows(kv, round * 100, 100, round % 2), LILIO_OK);
        base_kv_free(&kv);
    }
    free(path);
}

/* Runs in a child process, which ends without closing anything: like one that is killed. */
static void in_child(const char *path, bool (*run)(struct base_kv *kv, unsigned round),
                     unsigned round)
{
    pid_t child = fork();
    if (child == 0) {
        struct base_kv *kv;
        _exit(!try_open(path, &kv, NULL) && run(kv, round) ? 42 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static bool put_fifty(struct base_kv *kv, unsigned round)
{
    return put_rows(kv, round * 50, 50, true) == LILIO_OK;
}

static bool rows_are_there(struct base_kv *kv, unsigned round)
{
    for (unsigned i = 0; i < round * 50; i++)
        if (get_row(kv, i))
            return false;
    return get_row(kv, round * 50) == LILIO_E_NOT_FOUND;
}

/* What was committed with sync is there. */
static void test_killed(void **state)
{
    char *path = strdup(temp_dir_path(*state, "kv"));
    for (unsigned round = 0; round < 3; round++) {
        in_child(path, put_fifty, round);
        in_child(path, rows_are_there, round + 1);
    }
    free(path);
}

/* ---- without a log ---- */

enum { KILLS = 12, BATCH_COLUMNS = 3 };

static struct base_kv *open_no_log(const char *path)
{
    struct base_kv_options options = options_of(COLUMNS);
    options.no_log = true;
    options.write_buffer_bytes = 1 << 20; /* so small that RocksDB flushes by itself, too */
    options.blob_columns = 1u << 1;
    options.blob_min_bytes = 512;
    struct base_kv *kv = NULL;
    struct lilio_errinfo info = {0};
    if (base_kv_open_rocksdb(path, &options, &kv, &info))
        fail_msg("%s", info.text);
    return kv;
}

/* Batch number i: one new row in each of three columns, the second one in a blob file. */
static bool put_batch(struct base_kv *kv, uint32_t i)
{
    struct base_kv_batch *batch = NULL;
    uint8_t key[4], value[700];
    if (base_kv_batch_new(kv, &batch))
        return false;
    base_be32_put(key, i);
    memset(value, (int)i, sizeof value);
    for (unsigned column = 0; column < BATCH_COLUMNS; column++)
        base_kv_batch_put(batch, column, base_slice(key, 4),
                          base_slice(value, column == 1 ? sizeof value : 100));
    enum lilio_err err = base_kv_batch_commit(batch, true, NULL);
    base_kv_batch_free(&batch);
    return err == LILIO_OK;
}

/* How many batches are there; they have to be the first ones, alike in all columns. */
static uint32_t count_batches(struct base_kv *kv)
{
    uint32_t counts[BATCH_COLUMNS] = {0};
    for (unsigned column = 0; column < BATCH_COLUMNS; column++) {
        struct base_kv_iter *iter = NULL;
        assert_int_equal(base_kv_iter_new(kv, NULL, NULL, column, &iter), LILIO_OK);
        for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
             base_kv_iter_next(iter)) {
            struct base_slice value = base_kv_iter_value(iter);
            assert_int_equal(base_be32_get(base_kv_iter_key(iter).data), counts[column]);
            assert_int_equal(value.size, column == 1 ? 700 : 100);
            assert_int_equal(value.data[value.size - 1], (uint8_t)counts[column]);
            counts[column]++;
        }
        assert_int_equal(base_kv_iter_error(iter, NULL), LILIO_OK);
        base_kv_iter_free(&iter);
    }
    assert_int_equal(counts[0], counts[1]);
    assert_int_equal(counts[0], counts[2]);
    return counts[0];
}

/* Commits for ever; says through the pipe now and then up to which batch a flush made it durable.
 */
static void commit_until_killed(const char *path, int to)
{
    struct base_kv *kv = open_no_log(path);
    uint32_t flushed = count_batches(kv);
    for (uint32_t i = flushed;; i++) {
        if (!put_batch(kv, i))
            _exit(1);
        if (i % 4000 == 3999) {
            if (base_kv_flush(kv, NULL))
                _exit(1);
            flushed = i + 1;
        }
        if (i % 1000 == 999 && write(to, &flushed, 4) != 4)
            _exit(1);
    }
}

/* A child is killed in the middle of commits and flushes: what it said to be flushed is there, and
 * behind it whole batches only, without a gap, over all columns. */
static void test_killed_without_log(void **state)
{
    char *path = strdup(temp_dir_path(*state, "kv"));
    uint32_t flushed = 0, seen = 0, unflushed_seen = 0;
    for (unsigned round = 0; round < KILLS; round++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        pid_t child = fork();
        if (child == 0)
            commit_until_killed(path, pipes[1]);
        close(pipes[1]);
        for (unsigned i = 0; i <= round % 5; i++)
            assert_int_equal(read(pipes[0], &flushed, 4), 4);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while (read(pipes[0], &flushed, 4) == 4)
            continue;
        close(pipes[0]);
        child = fork(); /* looked at by a child, too: this process must not have threads yet */
        if (child == 0) {
            struct base_kv *kv = open_no_log(path);
            seen = count_batches(kv);
            _exit(seen < flushed ? 1 : seen > flushed ? 3 : 2);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_true(WEXITSTATUS(status) == 2 || WEXITSTATUS(status) == 3);
        unflushed_seen += WEXITSTATUS(status) == 3;
    }
    print_message("%u of %d kills kept batches behind the last flush\n", unflushed_seen, KILLS);
    assert_true(unflushed_seen > 0); /* RocksDB flushed by itself, too */
    free(path);
}

/* A killed process that never flushed loses what it committed, wholly. */
static void test_nothing_without_flush(void **state)
{
    char *path = strdup(temp_dir_path(*state, "kv"));
    pid_t child = fork();
    if (child == 0) {
        struct base_kv *kv = open_no_log(path);
        bool done = put_batch(kv, 0) && !base_kv_flush(kv, NULL) && put_batch(kv, 1);
        _exit(done ? 42 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    child = fork();
    if (child == 0) {
        struct base_kv *kv = open_no_log(path);
        _exit(count_batches(kv) == 1 ? 42 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    free(path);
}

/* A checkpoint is what was there, also while more is committed; its files are flat. */
static void test_checkpoint(void **state)
{
    char *path = strdup(temp_dir_path(*state, "kv")), *copy = strdup(temp_dir_path(*state, "copy"));
    struct lilio_errinfo info = {0};
    struct base_kv *kv = open_no_log(path);
    for (uint32_t i = 0; i < 500; i++)
        assert_true(put_batch(kv, i));
    assert_int_equal(base_kv_checkpoint(kv, copy, &info), LILIO_OK);
    assert_int_equal(base_kv_checkpoint(kv, copy, &info), LILIO_E_EXISTS);
    assert_int_not_equal(base_kv_checkpoint(kv, temp_dir_path(*state, "no/copy"), &info), LILIO_OK);
    for (uint32_t i = 500; i < 600; i++)
        assert_true(put_batch(kv, i));
    struct base_kv *other = open_no_log(copy);
    assert_int_equal(count_batches(other), 500);
    assert_true(put_batch(other, 500)); /* a store of its own */
    base_kv_free(&other);
    assert_int_equal(count_batches(kv), 600);
    base_kv_free(&kv);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    unsigned blobs = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        assert_true(entry->d_type == DT_REG || entry->d_name[0] == '.');
        blobs += strstr(entry->d_name, ".blob") != NULL;
    }
    closedir(dir);
    assert_true(blobs > 0);
    assert_int_equal(base_kv_destroy_rocksdb(path, &info), LILIO_OK);
    assert_int_equal(access(path, F_OK), -1);
    free(path);
    free(copy);
}

/* A child holds the store open until it is killed. */
static void test_locked(void **state)
{
    char *path = strdup(temp_dir_path(*state, "kv"));
    struct base_kv *kv = NULL, *other = NULL;
    struct lilio_errinfo info = {0};
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        bool told = !try_open(path, &kv, NULL) && write(pipes[1], "x", 1) == 1;
        while (told)
            pause();
        _exit(1);
    }
    close(pipes[1]);
    char byte = 0;
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    assert_int_equal(try_open(path, &other, &info), LILIO_E_LOCKED); /* by another process */
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    kv = must_open(path);
    assert_int_equal(try_open(path, &other, &info), LILIO_E_LOCKED); /* by this one */
    assert_null(other);
    base_kv_free(&kv);
    close(pipes[0]);
    free(path);
}

static void test_presence(void **state)
{
    char *path = strdup(temp_dir_path(*state, "kv"));
    struct base_kv *kv = NULL;
    struct lilio_errinfo info = {0};
    struct base_kv_options options = options_of(COLUMNS);
    options.must_exist = true;
    assert_int_equal(base_kv_open_rocksdb(path, &options, &kv, &info), LILIO_E_NOT_FOUND);
    assert_int_equal(access(path, F_OK), -1); /* asking creates nothing */
    options.must_exist = false, options.must_not_exist = true;
    assert_int_equal(base_kv_open_rocksdb(path, &options, &kv, &info), LILIO_OK);
    base_kv_free(&kv);
    assert_int_equal(base_kv_open_rocksdb(path, &options, &kv, &info), LILIO_E_EXISTS);
    options.must_exist = true, options.must_not_exist = false;
    assert_int_equal(base_kv_open_rocksdb(path, &options, &kv, &info), LILIO_OK);
    base_kv_free(&kv);
    assert_int_equal(base_kv_destroy_rocksdb(path, &info), LILIO_OK);
    assert_int_equal(base_kv_destroy_rocksdb(path, &info), LILIO_OK);
    assert_int_equal(base_kv_open_rocksdb(path, &options, &kv, &info), LILIO_E_NOT_FOUND);
    assert_int_equal(try_open(temp_dir_path(*state, "no/such/kv"), &kv, &info), LILIO_E_NOT_FOUND);
    assert_null(kv);
    free(path);
}

static void test_not_a_folder(void **state)
{
    const char *path = temp_dir_path(*state, "kv");
    struct base_kv *kv = NULL;
    struct lilio_errinfo info = {0};
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(try_open(path, &kv, &info), LILIO_E_IO);
    assert_non_null(strstr(info.text, "/kv"));
}

static void test_columns(void **state)
{
    char *path = strdup(temp_dir_path(*state, "kv"));
    struct base_kv *kv = NULL;
    struct lilio_errinfo info = {0};
    struct base_kv_options few = options_of(COLUMNS - 1), all = options_of(COLUMNS);
    assert_int_equal(base_kv_open_rocksdb(path, &few, &kv, &info), LILIO_OK);
    assert_int_equal(put_rows(kv, 0, 10, true), LILIO_OK);
    base_kv_free(&kv);
    assert_int_equal(base_kv_open_rocksdb(path, &all, &kv, &info), LILIO_OK); /* grows */
    assert_int_equal(get_row(kv, 9), LILIO_OK);
    base_kv_free(&kv);
    assert_int_equal(base_kv_open_rocksdb(path, &few, &kv, &info), LILIO_E_FORMAT);
    assert_non_null(strstr(info.text, "meta"));
    assert_null(kv);
    free(path);
}

/* ---- size ---- */

static uint64_t folder_bytes(const char *path)
{
    uint64_t bytes = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat st;
        assert_int_equal(fstatat(dirfd(dir), entry->d_name, &st, 0), 0);
        bytes += (uint64_t)st.st_blocks * 512;
    }
    closedir(dir);
    return bytes;
}

static void test_small_when_empty(void **state)
{
    char *path = strdup(temp_dir_path(*state, "kv"));
    for (int round = 0; round < 6; round++) {
        struct base_kv *kv = must_open(path);
        assert_true(folder_bytes(path) < 1 << 20);
        assert_int_equal(put_rows(kv, 0, 100, true), LILIO_OK);
        assert_true(folder_bytes(path) < 1 << 20);
        base_kv_free(&kv);
        assert_true(folder_bytes(path) < 1 << 20);
    }
    free(path);
}

/* The same few rows written over and over do not grow the folder for ever. */
static void test_overwriting_does_not_grow(void **state)
{
    char *path = strdup(temp_dir_path(*state, "kv"));
    struct base_kv *kv = must_open(path);
    for (int round = 0; round < 400; round++) /* about 56 MB of log */
        assert_int_equal(put_rows(kv, 0, 1000, false), LILIO_OK);
    assert_true(folder_bytes(path) < 24 << 20);
    base_kv_free(&kv);
    free(path);
}

/* ---- damage ---- */

/* The file of the folder whose name ends so, NULL if there is none. */
static char *find_file(const char *path, const char *part)
{
    char *found = NULL;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; !found && (entry = readdir(dir));)
        if (strstr(entry->d_name, part) && asprintf(&found, "%s/%s", path, entry->d_name) < 0)
            found = NULL;
    closedir(dir);
    return found;
}

static void flip(const char *path, double where)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0);
    off_t at = (off_t)((double)(st.st_size - 1) * where);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x55;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* A store most of whose 50000 rows are in tables; its path. */
static char *store_with_tables(const char *dir, const char *name)
{
    char *path = strdup(temp_dir_path(dir, name));
    struct base_kv *kv = must_open(path);
    assert_int_equal(put_rows(kv, 0, 50000, false), LILIO_OK);
    base_kv_free(&kv);
    return path;
}

/* Every answer after damage is right, or says CORRUPT. */
static void expect_right_or_corrupt(const char *path, unsigned rows, unsigned *ret_corrupt)
{
    struct base_kv *kv = NULL;
    struct lilio_errinfo info = {0};
    enum lilio_err err = try_open(path, &kv, &info);
    if (err) {
        assert_int_equal(err, LILIO_E_CORRUPT);
        assert_true(info.text[0]);
        ++*ret_corrupt;
        return;
    }
    unsigned before = *ret_corrupt;
    for (unsigned i = 0; i < rows; i++) {
        err = get_row(kv, i); /* checks the value */
        assert_true(err == LILIO_OK || err == LILIO_E_CORRUPT);
        *ret_corrupt += err == LILIO_E_CORRUPT;
    }
    assert_int_equal(base_kv_damage(kv, &info), *ret_corrupt > before ? LILIO_E_CORRUPT : LILIO_OK);
    assert_true(*ret_corrupt == before || strstr(info.text, "column "));
    assert_true(*ret_corrupt == before || strstr(info.text, ".sst"));
    base_kv_free(&kv);
}

static void test_damaged_tables(void **state)
{
    unsigned corrupt = 0;
    const double places[] = {0.1, 0.5, 0.9, 0.995, 1};
    char *path = store_with_tables(*state, "kv");
    char *table = find_file(path, ".sst");
    assert_non_null(table);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        unsigned before = corrupt;
        flip(table, places[i]);
        expect_right_or_corrupt(path, 50000, &corrupt);
        if (places[i] < 0.95) /* further on a filter may be hit, which RocksDB can do without */
            assert_true(corrupt > before);
        flip(table, places[i]); /* and back */
    }
    assert_int_equal(unlink(table), 0);
    expect_right_or_corrupt(path, 50000, &corrupt);
    free(table);
    free(path);
}

static void test_damaged_manifest(void **state)
{
    const double places[] = {0, 0.2, 0.5, 0.8};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "kv%zu", i);
        char *path = strdup(temp_dir_path(*state, name));
        struct base_kv *kv = must_open(path);
        assert_int_equal(put_rows(kv, 0, 100, true), LILIO_OK);
        base_kv_free(&kv);
        char *manifest = find_file(path, "MANIFEST");
        flip(manifest, places[i]);
        unsigned corrupt = 0;
        expect_right_or_corrupt(path, 100, &corrupt);
        assert_true(corrupt > 0);
        assert_int_equal(unlink(manifest), 0);
        struct lilio_errinfo info = {0};
        assert_int_equal(try_open(path, &kv, &info), LILIO_E_CORRUPT);
        free(manifest);
        free(path);
    }
}

/* Without CURRENT RocksDB would begin an empty store over the old one. */
static void test_current_is_gone(void **state)
{
    char *path = strdup(temp_dir_path(*state, "kv"));
    struct base_kv *kv = must_open(path);
    assert_int_equal(put_rows(kv, 0, 10, true), LILIO_OK);
    base_kv_free(&kv);
    char *current = find_file(path, "CURRENT");
    struct lilio_errinfo info = {0};
    assert_int_equal(unlink(current), 0);
    assert_int_equal(try_open(path, &kv, &info), LILIO_E_CORRUPT);
    assert_non_null(strstr(info.text, "CURRENT"));
    int fd = open(current, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); /* there, but empty */
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(try_open(path, &kv, &info), LILIO_E_CORRUPT);
    free(current);
    free(path);
}

/* A torn end of the log costs the unsynced batches in it, not the store. */
static void test_torn_log(void **state)
{
    char *path = strdup(temp_dir_path(*state, "kv"));
    struct base_kv *kv = must_open(path);
    assert_int_equal(put_rows(kv, 0, 100, false), LILIO_OK);
    base_kv_free(&kv);
    char *log = find_file(path, ".log");
    struct stat st;
    assert_int_equal(stat(log, &st), 0);
    assert_true(st.st_size > 10000);
    assert_int_equal(truncate(log, st.st_size - 70), 0);
    kv = must_open(path);
    for (unsigned i = 0; i < 99; i++)
        assert_int_equal(get_row(kv, i), LILIO_OK);
    assert_int_equal(get_row(kv, 99), LILIO_E_NOT_FOUND);
    base_kv_free(&kv);
    free(log);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* These fork, so they come before RocksDB has threads here. */
        cmocka_unit_test_setup_teardown(test_killed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_without_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_without_flush, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_locked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_checkpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reopen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_presence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_a_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_columns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_small_when_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_overwriting_does_not_grow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_tables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_manifest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_current_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_torn_log, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
