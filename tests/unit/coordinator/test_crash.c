/* Aim: what was answered survives the death of the process at any moment, and is there once.
 * Method: a child commits objects in synced entries and tells each answer through a pipe; it is
 * killed after a seeded time; the parent opens the store, audits all rows, looks for every answered
 * object, and sends the last commits again. */
#include "coord_audit.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

enum { ROUNDS = 12, BATCH = 3 };

/* The store keeps a log of its own, so that a synced commit is durable by itself. */
static struct base_kv_options own_log(void)
{
    struct base_kv_options options = coord_kv_options();
    options.no_log = false;
    options.log_is_truth = true;
    return options;
}

/* Each entry holds three commits; the pipe gets the number of the last one when it is durable. */
static _Noreturn void child_run(struct fx *fx, const struct proto_bucket *bucket, uint64_t from,
                                int pipe_fd)
{
    for (uint64_t next = from;; next += BATCH) {
        struct base_slice commands[BATCH];
        struct base_buffer entries[BATCH] = {0};
        struct coord_result results[BATCH] = {0};
        for (uint64_t i = 0; i < BATCH; i++) {
            char key[32];
            struct base_buffer body = {0};
            (void)snprintf(key, sizeof key, "k%06llu", (unsigned long long)(next + i));
            struct proto_commit commit = fx_commit(fx, bucket, key, next + i, 30000);
            if (proto_commit_pack(&commit, &body))
                _exit(1);
            fx_pack_entry(fx, fx->session, 1000 + next + i, 0, PROTO_MSG_commit,
                          base_buffer_slice(&body), &entries[i]);
            commands[i] = base_buffer_slice(&entries[i]);
            base_buffer_release(&body);
        }
        if (coord_state_apply(fx->state, fx_row(fx)->applied_index + 1, 1, commands, BATCH, results,
                              NULL) ||
            coord_state_commit(fx->state, true, NULL) || results[BATCH - 1].err)
            _exit(1);
        uint64_t done = next + BATCH - 1;
        if (write(pipe_fd, &done, sizeof done) != sizeof done)
            _exit(1);
        proto_arena_clear(fx->arena);
    }
}

static uint64_t run_and_kill(struct fx *fx, const struct proto_bucket *bucket, uint64_t from,
                             int delay_us)
{
    int fds[2];
    uint64_t last = from - 1, done;
    assert_int_equal(pipe(fds), 0);
    coord_state_free(&fx->state);
    base_kv_free(&fx->kv);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        char maps[80];
        struct base_kv_options options = own_log();
        (void)snprintf(maps, sizeof maps, "%s/maps", fx->path);
        if (base_kv_open_rocksdb(maps, &options, &fx->kv, NULL) ||
            coord_state_open(fx->kv, &fx->state, NULL))
            _exit(1);
        child_run(fx, bucket, from, fds[1]);
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &done, sizeof done), sizeof done); /* at least one */
    last = done;
    struct pollfd nothing = {.fd = -1};
    (void)poll(&nothing, 1, delay_us / 1000);
    kill(pid, SIGKILL);
    while (read(fds[0], &done, sizeof done) == sizeof done)
        last = done;
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    return last;
}

static void answered_objects_survive(void **unused)
{
    (void)unused;
    struct fx *fx = fx_cluster(true);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    uint64_t seed = 11, last = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t from = fx_row(fx)->object_count + 1;
        last = run_and_kill(fx, &bucket, from, (int)fx_random(&seed, 30000));
        struct base_kv_options options = own_log();
        char maps[80];
        (void)snprintf(maps, sizeof maps, "%s/maps", fx->path);
        assert_int_equal(base_kv_open_rocksdb(maps, &options, &fx->kv, NULL), LILIO_OK);
        assert_int_equal(coord_state_open(fx->kv, &fx->state, NULL), LILIO_OK);
        coord_audit(fx);
        uint64_t there = fx_row(fx)->object_count;
        assert_true(there >= last);
        assert_int_equal(there % BATCH, 0); /* an entry is there whole or not at all */
        for (uint64_t i = 1; i <= last; i++) {
            char key[32];
            struct proto_object object;
            (void)snprintf(key, sizeof key, "k%06llu", (unsigned long long)i);
            assert_int_equal(fx_lookup(fx, "b", key, &object), LILIO_OK);
            assert_int_equal(object.data_count, 1);
            proto_arena_clear(fx->arena);
        }
        for (uint64_t i = last; i + 10 > last && i > 0;
             i--) { /* the client asks again: answered, not done again */
            char key[32];
            (void)snprintf(key, sizeof key, "k%06llu", (unsigned long long)i);
            struct proto_commit commit = fx_commit(fx, &bucket, key, i, 30000);
            assert_int_equal(fx_apply(fx, fx->session, 1000 + i, 0, &proto_type_commit, &commit),
                             LILIO_OK);
        }
        assert_int_equal(fx_row(fx)->object_count, there);
    }
    fx_free(fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answered_objects_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
