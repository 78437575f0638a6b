/* Aim: where the quorum's log is the truth the maps may lose what was not flushed when the process
 * dies, but never a part of an entry and nothing of a flush; applying the log from there comes to
 * the rows of a store that never died. Method: a child applies entries, flushes now and then and
 * tells both through a pipe; it is killed after a seeded time; the parent opens the store, audits
 * all rows, applies the entries behind it (and some before it) again, and compares digests with a
 * store in memory. */
#include "coord_audit.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

enum { ROUNDS = 12, BATCH = 3 };

struct told {
    uint64_t applied, flushed;
};

/* The entry the log has at this index: objects in fragments and inside COMMIT, over a few keys. */
static enum lilio_err entry_apply(struct fx *fx, const struct proto_bucket *bucket, uint64_t index)
{
    struct base_slice commands[BATCH];
    struct base_buffer entries[BATCH] = {0};
    enum lilio_err err = LILIO_OK;
    for (uint64_t i = 0; i < BATCH; i++) {
        char key[32];
        uint64_t number = index * BATCH + i;
        struct base_buffer body = {0};
        (void)snprintf(key, sizeof key, "k%llu", (unsigned long long)(number % 101));
        struct proto_commit commit =
            number % 2 ? fx_commit(fx, bucket, key, number, 30000)
                       : fx_commit_inline(fx, bucket, key, 1 + (uint32_t)(number * 37 % 4000),
                                          (uint8_t)number);
        assert_int_equal(proto_commit_pack(&commit, &body), LILIO_OK);
        fx_pack_entry(fx, fx->session, 1000 + number, 990 + number, PROTO_MSG_commit,
                      base_buffer_slice(&body), &entries[i]);
        commands[i] = base_buffer_slice(&entries[i]);
        base_buffer_release(&body);
    }
    err = coord_state_apply(fx->state, index, FX_TERM, commands, BATCH, NULL, NULL);
    if (!err)
        err = coord_state_commit(fx->state, false, NULL);
    for (size_t i = 0; i < BATCH; i++)
        base_buffer_release(&entries[i]);
    proto_arena_clear(fx->arena);
    return err;
}

static bool store_open(struct fx *fx)
{
    struct base_kv_options options = coord_kv_options();
    char maps[80];
    (void)snprintf(maps, sizeof maps, "%s/maps", fx->path);
    return !base_kv_open_rocksdb(maps, &options, &fx->kv, NULL) &&
           !coord_state_open(fx->kv, &fx->state, NULL);
}

/* A program of its own: threads of RocksDB do not survive a fork. */
static int child_run(const char *path, const char *session)
{
    struct proto_bucket bucket;
    struct fx fx = {.rocksdb = true, .wall_ms = FX_WALL_MS, .session = strtoull(session, NULL, 10)};
    (void)snprintf(fx.path, sizeof fx.path, "%s", path);
    if (proto_arena_new(&fx.arena) || !store_open(&fx))
        return 1;
    struct coord_view view = coord_state_view(fx.state, NULL, fx.arena);
    if (coord_read_bucket(&view, fx_text("b"), &bucket, NULL))
        return 1;
    struct told told = {.flushed = fx_row(&fx)->applied_index};
    for (uint64_t index = told.flushed + 1;; index++) {
        if (entry_apply(&fx, &bucket, index))
            return 1;
        told.applied = index;
        if (index % 16 == 0) {
            if (base_kv_flush(fx.kv, NULL))
                return 1;
            told.flushed = index;
        }
        if (write(STDOUT_FILENO, &told, sizeof told) != sizeof told)
            return 1;
    }
}

static struct told run_and_kill(struct fx *fx, int delay_ms)
{
    int fds[2];
    struct told last = {0}, told;
    assert_int_equal(pipe(fds), 0);
    coord_state_free(&fx->state);
    base_kv_free(&fx->kv);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char session[32];
        (void)snprintf(session, sizeof session, "%llu", (unsigned long long)fx->session);
        (void)dup2(fds[1], STDOUT_FILENO); /* execl's failure is seen by the parent's read */
        execl("/proc/self/exe", "test_crash", fx->path, session, (char *)NULL);
        _exit(1);
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &last, sizeof last), sizeof last); /* at least one */
    struct pollfd nothing = {.fd = -1};
    (void)poll(&nothing, 1, delay_ms);
    kill(pid, SIGKILL);
    while (read(fds[0], &told, sizeof told) == sizeof told)
        last = told;
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    return last;
}

static void log_makes_up_for_what_was_lost(void **unused)
{
    (void)unused;
    struct fx *fx = fx_cluster(true), *mirror = fx_cluster(false);
    fx_config(fx, 3);
    fx_config(mirror, 3);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    (void)fx_bucket(mirror, "b");
    uint64_t seed = 11, lost = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct told last = run_and_kill(fx, (int)fx_random(&seed, 30));
        assert_true(store_open(fx));
        coord_audit(fx);
        uint64_t there = fx_row(fx)->applied_index;
        assert_true(there >= last.flushed);
        lost += there < last.applied;
        uint64_t end = there > last.applied ? there : last.applied;
        for (uint64_t index = there > 5 ? there - 5 : 1; index <= end; index++)
            assert_int_equal(entry_apply(fx, &bucket, index), LILIO_OK);
        while (fx_row(mirror)->applied_index < end)
            assert_int_equal(entry_apply(mirror, &bucket, fx_row(mirror)->applied_index + 1),
                             LILIO_OK);
        assert_int_equal(fx_digest(fx), fx_digest(mirror));
    }
    assert_true(lost > 0);                           /* or nothing was tried */
    assert_int_equal(fx_row(fx)->object_count, 101); /* all were there */
    fx_free(mirror);
    fx_free(fx);
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return child_run(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_makes_up_for_what_was_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
