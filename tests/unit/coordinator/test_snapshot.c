/* Aim: a state is pulled whole or not at all, requests from strangers are refused, and an
 * installation that is cut short at any step is finished by the next start. Method: real maps in
 * RocksDB in a folder of the test's own, served over inproc by this thread and pulled by the
 * pull's; the installation is stopped after each step, also on a disk whose power fails. */
#include "coordinator/snapshot_pull.h"
#include "coordinator/snapshot_serve.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/install.h"
#include "coordinator/keys.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/crash_disk.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

enum { ROWS = 3000, INDEX = 4711, TERM = 17, CONFIG = 5 };
static const struct base_uuid cluster = {{9, 9}};
#define ENDPOINT "inproc://peer"

struct fixture {
    char *from, *to; /* folders of the two coordinators */
    struct base_disk *from_disk, *to_disk;
    struct base_kv *kv;
    struct proto_context *context;
    struct proto_server *server;
    struct coord_snapshots *snapshots;
    uint64_t clock_ms;
    unsigned spoil; /* the n-th chunk is answered wrongly; 0 = none */
    unsigned chunks;
};

static uint64_t fixture_ns(void *context)
{
    return ((struct fixture *)context)->clock_ms * 1000000;
}

static struct base_kv *open_maps(const char *dir, const char *name)
{
    char path[512];
    struct base_kv *kv = NULL;
    struct lilio_errinfo info = {0};
    struct base_kv_options options = coord_kv_options();
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (base_kv_open_rocksdb(path, &options, &kv, &info))
        fail_msg("%s", info.text);
    return kv;
}

static void put_state(struct base_kv *kv, uint64_t index, uint64_t term)
{
    const struct proto_state_row row = {
        .applied_index = index, .applied_term = term, .config_index = CONFIG};
    struct base_buffer value = {0};
    struct base_kv_batch *batch = NULL;
    struct coord_key key = coord_key_text(base_slice_str("state"));
    assert_int_equal(proto_pack(&proto_type_state_row, &row, &value), LILIO_OK);
    assert_int_equal(base_kv_batch_new(kv, &batch), LILIO_OK);
    base_kv_batch_put(batch, COORD_META, coord_key_slice(&key), base_buffer_slice(&value));
    assert_int_equal(base_kv_batch_commit(batch, false, NULL), LILIO_OK);
    base_kv_batch_free(&batch);
    base_buffer_release(&value);
}

static void put_rows(struct base_kv *kv)
{
    static uint8_t value[4096];
    struct base_kv_batch *batch = NULL;
    assert_int_equal(base_kv_batch_new(kv, &batch), LILIO_OK);
    for (uint32_t i = 0; i < ROWS; i++) {
        uint8_t key[4];
        base_be32_put(key, i);
        memset(value, (int)i, sizeof value);
        base_kv_batch_put(batch, i % 2 ? COORD_VERSIONS : COORD_DATA, base_slice(key, 4),
                          base_slice(value, sizeof value));
        assert_int_equal(base_kv_batch_commit(batch, false, NULL), LILIO_OK);
    }
    base_kv_batch_free(&batch);
}

static void expect_rows(const char *dir, const char *name)
{
    struct base_kv *kv = open_maps(dir, name);
    struct base_buffer got = {0};
    for (uint32_t i = 0; i < ROWS; i++) {
        uint8_t key[4];
        base_be32_put(key, i);
        unsigned column = i % 2 ? COORD_VERSIONS : COORD_DATA;
        assert_int_equal(base_kv_get(kv, NULL, column, base_slice(key, 4), &got, NULL), LILIO_OK);
        assert_int_equal(got.size, 4096);
        assert_int_equal(got.data[4095], (uint8_t)i);
    }
    base_buffer_release(&got);
    base_kv_free(&kv);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->from = temp_dir_new();
    f->to = temp_dir_new();
    f->clock_ms = 1000;
    assert_int_equal(base_disk_posix_new(f->from, &f->from_disk, NULL), LILIO_OK);
    assert_int_equal(base_disk_posix_new(f->to, &f->to_disk, NULL), LILIO_OK);
    f->kv = open_maps(f->from, "maps");
    put_rows(f->kv);
    put_state(f->kv, INDEX, TERM);
    assert_int_equal(proto_context_new(1, &f->context), LILIO_OK);
    const struct proto_server_options options = {.endpoint = ENDPOINT};
    assert_int_equal(proto_server_new(f->context, &options, &f->server, NULL), LILIO_OK);
    static struct base_clock clock = {.monotonic_ns = fixture_ns};
    clock.context = f;
    const struct coord_snapshots_options serving = {
        .path = f->from, .disk = f->from_disk, .cluster_id = cluster, .clock = &clock};
    assert_int_equal(coord_snapshots_new(&serving, &f->snapshots, NULL), LILIO_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    coord_snapshots_free(&f->snapshots);
    proto_server_free(&f->server);
    proto_context_free(&f->context);
    base_kv_free(&f->kv);
    base_disk_free(&f->from_disk);
    base_disk_free(&f->to_disk);
    temp_dir_free(f->from);
    temp_dir_free(f->to);
    free(f);
    return 0;
}

/* ---- serving ---- */

static void serve(struct fixture *f, int other_fd)
{
    struct proto_wait_item items[] = {
        {.server = f->server}, {.fd = coord_snapshots_fd(f->snapshots)}, {.fd = other_fd}};
    (void)proto_wait(items, other_fd >= 0 ? 3 : 2, 100);
    struct proto_request *request;
    while ((request = proto_server_receive(f->server))) {
        bool spoil = request->type == &proto_type_snapshot_read && ++f->chunks == f->spoil;
        if (spoil) {
            static uint8_t byte;
            const struct proto_snapshot_chunk chunk = {.crc32c = 1};
            const struct proto_payload payload = {.data = &byte, .size = 1};
            proto_server_reply(f->server, &request, &proto_type_snapshot_chunk, &chunk, &payload,
                               0);
        } else {
            assert_true(
                coord_snapshots_request(f->snapshots, f->server, &request, f->kv, INDEX - 1));
        }
    }
    coord_snapshots_step(f->snapshots);
}

static enum lilio_err pull(struct fixture *f, const char *endpoint, unsigned cancel_after,
                           struct coord_position *ret)
{
    const struct coord_pull_options options = {.path = f->to,
                                               .disk = f->to_disk,
                                               .context = f->context,
                                               .endpoint = endpoint,
                                               .cluster_id = cluster,
                                               .member = 3,
                                               .silent_ms = endpoint[9] == 'n' ? 300 : 0};
    struct coord_pull *pulling = NULL;
    struct lilio_errinfo info = {0};
    enum lilio_err err = LILIO_OK;
    assert_int_equal(coord_pull_new(&options, &pulling, &info), LILIO_OK);
    while (!coord_pull_take(pulling, &err, ret, &info)) {
        serve(f, coord_pull_fd(pulling));
        if (cancel_after && f->chunks >= cancel_after)
            coord_pull_cancel(pulling);
    }
    uint64_t bytes, total, checked;
    coord_pull_progress(pulling, &bytes, &total, &checked);
    assert_true(err || (bytes == total && total > ROWS * 4000u && checked > ROWS * 4096u));
    if (err)
        print_message("%s\n", info.text);
    coord_pull_free(&pulling);
    return err;
}

static void test_pull(void **state)
{
    struct fixture *f = *state;
    struct coord_position position = {0};
    assert_true(coord_snapshots_pinned(f->snapshots) == UINT64_MAX);
    assert_int_equal(pull(f, ENDPOINT, 0, &position), LILIO_OK);
    assert_int_equal(position.index, INDEX);
    assert_int_equal(position.term, TERM);
    assert_int_equal(position.config_index, CONFIG);
    expect_rows(f->to, COORD_PULL_FOLDER);
    while (coord_snapshots_pinned(f->snapshots) != UINT64_MAX)
        serve(f, -1); /* the pull closed it */
    coord_snapshots_stop(f->snapshots);
    assert_int_equal(access(temp_dir_path(f->from, "checkpoint"), F_OK), -1);
    assert_int_equal(pull(f, ENDPOINT, 0, &position), LILIO_OK); /* over what is there */
}

static void test_pull_that_fails(void **state)
{
    struct fixture *f = *state;
    struct coord_position position = {0};
    f->spoil = 3;
    assert_int_equal(pull(f, ENDPOINT, 0, &position), LILIO_E_CORRUPT);
    f->chunks = 0, f->spoil = 0;
    assert_int_equal(pull(f, ENDPOINT, 2, &position), LILIO_E_CANCELLED);
    assert_int_equal(pull(f, "inproc://nobody", 0, &position), LILIO_E_TIMEOUT);
    assert_int_equal(position.index, 0);
    assert_int_equal(pull(f, ENDPOINT, 0, &position), LILIO_OK);
    expect_rows(f->to, COORD_PULL_FOLDER);
}

/* Flips a byte of a file of the maps, a hard link of which is served. */
static void damage(const char *dir, const char *ending)
{
    char path[300], file[600] = "";
    struct stat st = {0};
    (void)snprintf(path, sizeof path, "%s/maps", dir);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) && st.st_size < 100000;)
        if (strstr(entry->d_name, ending)) {
            (void)snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
            assert_int_equal(stat(file, &st), 0);
        }
    closedir(folder);
    assert_true(st.st_size >= 100000);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, st.st_size / 3), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, st.st_size / 3), 1);
    close(fd);
}

/* Each chunk matches its checksum, and what it came out of is damaged. */
static void test_damage_is_not_handed_on(void **state)
{
    struct fixture *f = *state;
    struct coord_position position = {0};
    static const char *const endings[] = {".sst", ".blob"};
    assert_int_equal(base_kv_flush(f->kv, NULL), LILIO_OK);
    for (size_t i = 0; i < 2; i++) {
        damage(f->from, endings[i]);
        assert_int_equal(pull(f, ENDPOINT, 0, &position), LILIO_E_CORRUPT);
        assert_int_equal(position.index, 0);
        assert_int_equal(access(temp_dir_path(f->to, COORD_PULL_FOLDER), F_OK), -1);
        damage(f->from, endings[i]); /* and back */
    }
    assert_int_equal(pull(f, ENDPOINT, 0, &position), LILIO_OK);
}

/* A puller that went silent holds the log back for a minute, not for ever. */
static void test_silence(void **state)
{
    struct fixture *f = *state;
    struct coord_position position = {0};
    assert_int_equal(pull(f, ENDPOINT, 1, &position), LILIO_E_CANCELLED);
    while (coord_snapshots_pinned(f->snapshots) != UINT64_MAX)
        serve(f, -1);
    struct proto_channel *channel = NULL;
    assert_int_equal(proto_channel_new(f->context, ENDPOINT, &channel, NULL), LILIO_OK);
    const struct proto_snapshot_open ask = {.cluster_id = cluster, .member = 4};
    const struct proto_header header = {.sequence = 1};
    bool sent = false;
    struct proto_reply *reply = NULL;
    while (!reply) {
        if (!sent && proto_channel_ready(channel))
            sent = !proto_channel_send(channel, &header, &proto_type_snapshot_open, &ask, NULL);
        serve(f, -1);
        reply = proto_channel_receive(channel);
    }
    assert_ptr_equal(reply->type, &proto_type_snapshot);
    proto_reply_free(&reply);
    assert_int_equal(coord_snapshots_pinned(f->snapshots), INDEX - 1);
    f->clock_ms += COORD_SNAPSHOT_SILENT_MS - 1;
    serve(f, -1);
    assert_int_equal(coord_snapshots_pinned(f->snapshots), INDEX - 1);
    f->clock_ms += 1;
    serve(f, -1);
    assert_true(coord_snapshots_pinned(f->snapshots) == UINT64_MAX);
    proto_channel_free(&channel);
}

/* ---- hostile requests ---- */

static enum lilio_err call(struct fixture *f, struct proto_channel *channel,
                           const struct proto_type *type, const void *value, uint64_t *ret_id)
{
    static uint64_t sequence;
    const struct proto_header header = {.sequence = ++sequence};
    struct proto_reply *reply = NULL;
    bool sent = false;
    while (!reply) {
        if (!sent && proto_channel_ready(channel))
            sent = !proto_channel_send(channel, &header, type, value, NULL);
        serve(f, -1);
        reply = proto_channel_receive(channel);
    }
    struct proto_arena *arena = NULL;
    struct proto_error error = {0};
    struct proto_snapshot snapshot;
    assert_int_equal(proto_arena_new(&arena), LILIO_OK);
    if (reply->type == &proto_type_error)
        assert_int_equal(proto_error_unpack(reply->body, arena, &error, NULL), LILIO_OK);
    if (reply->type == &proto_type_snapshot && ret_id) {
        assert_int_equal(proto_snapshot_unpack(reply->body, arena, &snapshot, NULL), LILIO_OK);
        *ret_id = snapshot.id;
    }
    proto_arena_free(&arena);
    proto_reply_free(&reply);
    return (enum lilio_err)error.code;
}

static enum lilio_err read_part(struct fixture *f, struct proto_channel *channel, uint64_t id,
                                const char *name, uint64_t offset, uint32_t size)
{
    const struct proto_snapshot_read ask = {
        .id = id, .name = base_slice_str(name), .offset = offset, .size = size};
    return call(f, channel, &proto_type_snapshot_read, &ask, NULL);
}

static void test_hostile(void **state)
{
    struct fixture *f = *state;
    struct proto_channel *channel = NULL;
    uint64_t id = 0;
    assert_int_equal(proto_channel_new(f->context, ENDPOINT, &channel, NULL), LILIO_OK);
    assert_int_equal(read_part(f, channel, 0, "CURRENT", 0, 1), LILIO_E_NOT_FOUND);
    struct proto_snapshot_open ask = {.cluster_id = {{1}}, .member = 4};
    assert_int_equal(call(f, channel, &proto_type_snapshot_open, &ask, NULL), LILIO_E_FOREIGN);
    ask.cluster_id = cluster;
    for (uint64_t member = 0; member < COORD_SNAPSHOT_PULLS_MAX; member++) {
        ask.member = member;
        assert_int_equal(call(f, channel, &proto_type_snapshot_open, &ask, &id), LILIO_OK);
    }
    ask.member = 100;
    assert_int_equal(call(f, channel, &proto_type_snapshot_open, &ask, NULL), LILIO_E_BUSY);
    ask.member = 3; /* again */
    assert_int_equal(call(f, channel, &proto_type_snapshot_open, &ask, &id), LILIO_OK);
    assert_int_equal(read_part(f, channel, id, "CURRENT", 0, 1), LILIO_OK);
    assert_int_equal(read_part(f, channel, id + 1, "CURRENT", 0, 1), LILIO_E_NOT_FOUND);
    static const char *const names[] = {"",        "..",   "../maps/CURRENT", "/etc/passwd",
                                        "current", "LOCK", "CURRENT/..",      "./CURRENT"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(read_part(f, channel, id, names[i], 0, 1), LILIO_E_NOT_FOUND);
    assert_int_equal(read_part(f, channel, id, "CURRENT", 0, 0), LILIO_E_INVALID);
    assert_int_equal(read_part(f, channel, id, "CURRENT", 0, 1000), LILIO_E_INVALID);
    assert_int_equal(read_part(f, channel, id, "CURRENT", 0, UINT32_MAX), LILIO_E_INVALID);
    assert_int_equal(read_part(f, channel, id, "CURRENT", UINT64_MAX, 1), LILIO_E_INVALID);
    const struct proto_snapshot_close stranger = {.id = id + 1}, close_it = {.id = id};
    assert_int_equal(call(f, channel, &proto_type_snapshot_close, &stranger, NULL), LILIO_OK);
    for (size_t i = 0; i < COORD_SNAPSHOT_PULLS_MAX; i++) {
        assert_int_equal(coord_snapshots_pinned(f->snapshots), INDEX - 1);
        assert_int_equal(call(f, channel, &proto_type_snapshot_close, &close_it, NULL), LILIO_OK);
    }
    assert_true(coord_snapshots_pinned(f->snapshots) == UINT64_MAX);
    proto_channel_free(&channel);
}

/* What a crash left is gone after the next start. */
static void test_left_over(void **state)
{
    struct fixture *f = *state;
    coord_snapshots_free(&f->snapshots);
    assert_int_equal(mkdir(temp_dir_path(f->from, "checkpoint"), 0700), 0);
    FILE *file = fopen(temp_dir_path(f->from, "checkpoint/000012.sst"), "w");
    assert_non_null(file);
    fclose(file);
    static struct base_clock clock = {.monotonic_ns = fixture_ns};
    clock.context = f;
    const struct coord_snapshots_options serving = {
        .path = f->from, .disk = f->from_disk, .cluster_id = cluster, .clock = &clock};
    assert_int_equal(coord_snapshots_new(&serving, &f->snapshots, NULL), LILIO_OK);
    assert_int_equal(access(temp_dir_path(f->from, "checkpoint"), F_OK), -1);
}

/* ---- installing ---- */

static struct raft_log *open_log(struct base_disk *disk, bool create)
{
    const struct raft_log_options options = {.disk = disk,
                                             .cluster_id = cluster,
                                             .member = 3,
                                             .create = create,
                                             .segment_bytes = 128 << 10};
    struct raft_log *log = NULL;
    struct raft_log_recovery recovery;
    struct lilio_errinfo info = {0};
    enum lilio_err err = raft_log_open(&options, &log, &recovery, &info);
    if (err)
        fail_msg("%s", info.text);
    return log;
}

static void make_file(struct base_disk *disk, const char *name, char content)
{
    struct base_file *file = NULL;
    assert_int_equal(disk->ops->open(disk, name, BASE_OPEN_CREATE, &file, NULL), LILIO_OK);
    assert_int_equal(file->ops->write(file, &(struct iovec){&content, 1}, 1, 0, NULL), LILIO_OK);
    assert_int_equal(file->ops->sync(file, NULL), LILIO_OK);
    base_file_close(&file);
}

static char content_of(struct base_disk *disk, const char *name)
{
    struct base_file *file = NULL;
    char content = 0;
    size_t size;
    if (disk->ops->open(disk, name, BASE_OPEN_READ_ONLY, &file, NULL))
        return 0;
    assert_int_equal(file->ops->read(file, &content, 1, 0, &size, NULL), LILIO_OK);
    base_file_close(&file);
    return content;
}

/* Old maps, a log with entries, and a pulled folder, all durable. */
static struct raft_log *before_install(struct base_disk *disk)
{
    const struct raft_entry entry = {.index = 1, .term = 1, .type = RAFT_ENTRY_NOOP};
    assert_int_equal(disk->ops->make_dir(disk, "maps", NULL), LILIO_OK);
    assert_int_equal(disk->ops->make_dir(disk, "pull", NULL), LILIO_OK);
    make_file(disk, "maps/CURRENT", 'o');
    make_file(disk, "maps/old", 'o');
    make_file(disk, "pull/CURRENT", 'n');
    assert_int_equal(disk->ops->sync_dir(disk, "maps", NULL), LILIO_OK);
    assert_int_equal(disk->ops->sync_dir(disk, "pull", NULL), LILIO_OK);
    assert_int_equal(disk->ops->sync_dir(disk, "", NULL), LILIO_OK);
    struct raft_log *log = open_log(disk, true);
    assert_int_equal(raft_log_append(log, &entry, 1, NULL), LILIO_OK);
    assert_int_equal(raft_log_write(log, NULL), LILIO_OK);
    return log;
}

static void expect_installed(struct base_disk *disk, struct raft_log *log)
{
    struct raft_log_view view = raft_log_view(log);
    uint64_t term;
    assert_int_equal(content_of(disk, "maps/CURRENT"), 'n');
    assert_int_equal(content_of(disk, "maps/old"), 0);
    assert_int_equal(content_of(disk, "maps.old/CURRENT"), 0);
    assert_int_equal(content_of(disk, "install"), 0);
    assert_int_equal(view.last(view.context), INDEX);
    assert_int_equal(view.term(view.context, INDEX, &term), LILIO_OK);
    assert_int_equal(term, TERM);
}

static const struct coord_position wanted = {INDEX, TERM, CONFIG};

static void test_install_stopped_at_each_step(void **state)
{
    (void)state;
    for (unsigned step = 0; step <= COORD_INSTALL_STEPS; step++) {
        struct base_disk *disk = NULL;
        struct coord_position position = {0};
        bool found = false;
        assert_int_equal(crash_disk_new(step, &disk), LILIO_OK);
        struct raft_log *log = before_install(disk);
        assert_int_equal(coord_install_until(disk, log, &wanted, step, NULL), LILIO_E_CANCELLED);
        raft_log_free(&log);
        crash_disk_power_off(disk);
        crash_disk_power_on(disk);
        log = open_log(disk, false);
        assert_int_equal(coord_install_resume(disk, log, &found, &position, NULL), LILIO_OK);
        assert_int_equal(found, step >= 1 && step < COORD_INSTALL_STEPS);
        if (step == 0) {
            assert_int_equal(content_of(disk, "maps/CURRENT"), 'o');
            assert_int_equal(coord_install(disk, log, &wanted, NULL), LILIO_OK);
        } else if (found) {
            assert_memory_equal(&position, &wanted, sizeof wanted);
        }
        expect_installed(disk, log);
        raft_log_free(&log);
        log = open_log(disk, false);
        assert_int_equal(coord_install_resume(disk, log, &found, &position, NULL), LILIO_OK);
        assert_false(found);
        expect_installed(disk, log);
        raft_log_free(&log);
        base_disk_free(&disk);
    }
}

/* The power fails in the middle of every change, and again while it goes on. */
static void test_install_power_fails(void **state)
{
    (void)state;
    unsigned untouched = 0, finished = 0;
    for (uint64_t point = 1; point < 45; point++) {
        for (uint64_t seed = 0; seed < 6; seed++) {
            struct base_disk *disk = NULL;
            struct coord_position position = {0};
            bool found = false;
            assert_int_equal(crash_disk_new(seed, &disk), LILIO_OK);
            struct raft_log *log = before_install(disk);
            crash_disk_power_off_at(disk, point);
            bool done = coord_install(disk, log, &wanted, NULL) == LILIO_OK;
            for (int life = 0; life < 2; life++) {
                raft_log_free(&log);
                crash_disk_power_off(disk);
                crash_disk_power_on(disk);
                log = open_log(disk, false);
                if (life == 0)
                    crash_disk_power_off_at(disk, 1 + (point * 7 + seed) % 25);
                (void)!coord_install_resume(disk, log, &found, &position, NULL);
            }
            assert_true(crash_disk_powered(disk));
            if (content_of(disk, "maps/CURRENT") == 'o') {
                struct raft_log_view view = raft_log_view(log);
                assert_false(done);
                assert_int_equal(content_of(disk, "install"), 0);
                assert_int_equal(view.last(view.context), 1);
                untouched++;
            } else {
                expect_installed(disk, log);
                finished++;
            }
            raft_log_free(&log);
            base_disk_free(&disk);
        }
    }
    assert_true(untouched > 5 && finished > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pull, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pull_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage_is_not_handed_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_silence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hostile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_left_over, set_up, tear_down),
        cmocka_unit_test(test_install_stopped_at_each_step),
        cmocka_unit_test(test_install_power_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
