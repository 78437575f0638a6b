/* Aim: a pid file names a living process or nobody, signals arrive as the daemon's loop expects
 * them, a second daemon is refused. Method: pid files of this process, of a dead child, of nobody
 * and with garbage; signals sent to oneself. */
#include "base/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/config.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

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

static void write_file(const char *path, const char *text)
{
    assert_int_equal(base_file_replace(path, base_slice_str(text), 0600, NULL), LILIO_OK);
}

static void test_life(void **state)
{
    const char *dir = *state;
    struct base_daemon_options options = {.node = "osd.7", .run_dir = dir, .log_dir = dir};
    struct base_daemon daemon, second;
    struct lilio_errinfo info = {0};
    int pid = 0;
    assert_int_equal(base_daemon_init(&options, &daemon, &info), LILIO_OK);
    const char *pid_path = temp_dir_path(dir, "osd.7.pid");
    assert_true(base_pid_file_alive(pid_path, &pid));
    assert_int_equal(pid, getpid());
    assert_int_equal(base_daemon_init(&options, &second, &info), LILIO_E_LOCKED);
    assert_non_null(strstr(info.text, "osd.7 runs already"));
    assert_true(base_pid_file_alive(pid_path, &pid)); /* the refused one removed nothing */

    struct pollfd poll_fd = {.fd = daemon.signal_fd, .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, 0), 0);
    assert_false(base_daemon_signal(&daemon));
    assert_int_equal(rename(temp_dir_path(dir, "osd.7.log"), temp_dir_path(dir, "old.log")), 0);
    assert_int_equal(raise(SIGHUP), 0);
    assert_int_equal(poll(&poll_fd, 1, 0), 1);
    assert_false(base_daemon_signal(&daemon));
    assert_int_equal(access(temp_dir_path(dir, "osd.7.log"), F_OK), 0); /* made anew */
    assert_int_equal(raise(SIGPIPE), 0);                                /* ignored */
    assert_int_equal(raise(SIGTERM), 0);
    assert_true(base_daemon_signal(&daemon));
    assert_int_equal(raise(SIGINT), 0);
    assert_true(base_daemon_signal(&daemon));
    base_daemon_release(&daemon);
    assert_false(base_pid_file_alive(pid_path, &pid));
    assert_int_equal(access(pid_path, F_OK), -1);
    base_daemon_release(&daemon);
}

static void test_pid_of_the_dead(void **state)
{
    const char *dir = *state;
    char path[4096];
    (void)snprintf(path, sizeof path, "%s", temp_dir_path(dir, "osd.1.pid"));
    pid_t child = fork();
    if (child == 0) {
        struct base_daemon_options options = {.node = "osd.1", .run_dir = dir};
        struct base_daemon daemon;
        _exit(base_daemon_init(&options, &daemon, NULL) == LILIO_OK ? 42 : 1); /* no release */
    }
    siginfo_t ended;
    int pid = 0, status = 0;
    assert_int_equal(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOWAIT), 0);
    assert_int_equal(access(path, F_OK), 0);
    assert_false(base_pid_file_alive(path, &pid)); /* a zombie */
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    assert_false(base_pid_file_alive(path, &pid)); /* gone */
    struct base_daemon_options options = {.node = "osd.1", .run_dir = dir};
    struct base_daemon daemon;
    assert_int_equal(base_daemon_init(&options, &daemon, NULL), LILIO_OK); /* replaces it */
    assert_true(base_pid_file_alive(path, &pid));
    base_daemon_release(&daemon);
}

/* Ends once the pipe's other end is closed. */
static void *linger(void *pipe_end)
{
    char byte;
    while (read(*(int *)pipe_end, &byte, 1) == 1)
        ;
    _exit(0);
}

/* The child: its first thread ends, another one lives until the pipe's write end is closed. */
static void linger_after_the_first_thread(const char *dir, int hold, int said)
{
    struct base_daemon_options options = {.node = "osd.1", .run_dir = dir};
    struct base_daemon daemon;
    static int read_end; /* outlives this thread's stack */
    pthread_t thread;
    read_end = hold;
    if (base_daemon_init(&options, &daemon, NULL) != LILIO_OK ||
        pthread_create(&thread, NULL, linger, &read_end) != 0 || write(said, "x", 1) != 1)
        _exit(1);
    pthread_exit(NULL);
}

struct waiter {
    struct base_daemon_options options;
    struct base_daemon daemon;
    enum lilio_err err;
    atomic_bool done;
};

static void *waiter_run(void *context)
{
    struct waiter *waiter = context;
    waiter->err = base_daemon_init(&waiter->options, &waiter->daemon, NULL);
    atomic_store(&waiter->done, true);
    return NULL;
}

static bool is_zombie(pid_t pid)
{
    char path[64], text[512] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY);
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    return got > 0 && strstr(text, ") Z ") != NULL;
}

static void test_a_process_that_is_torn_down(void **state)
{
    const char *dir = *state;
    int hold[2], said[2], pid = 0;
    char byte, path[4096];
    (void)snprintf(path, sizeof path, "%s", temp_dir_path(dir, "osd.1.pid"));
    assert_true(pipe(hold) == 0 && pipe(said) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(hold[1]);
        linger_after_the_first_thread(dir, hold[0], said[1]);
    }
    close(hold[0]);
    assert_int_equal(read(said[0], &byte, 1), 1);
    while (!is_zombie(child)) /* its first thread is about to end */
        sched_yield();
    assert_false(base_pid_file_alive(path, &pid)); /* not one to talk to any more */
    struct waiter waiter = {.options = {.node = "osd.1", .run_dir = dir}};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, waiter_run, &waiter), 0);
    /* However long it takes to start: it must not get past the living thread. */
    struct pollfd never = {.fd = said[0], .events = POLLIN};
    assert_int_equal(poll(&never, 1, 100), 0);
    assert_false(atomic_load(&waiter.done));
    close(hold[1]);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiter.err, LILIO_OK);
    assert_true(base_pid_file_alive(path, &pid) && pid == getpid());
    assert_int_equal(waitpid(child, NULL, 0), child);
    base_daemon_release(&waiter.daemon);
    close(said[0]);
    close(said[1]);
}

static void test_the_pid_file_of_another(void **state)
{
    const char *dir = *state;
    struct base_daemon_options options = {.node = "osd.2", .run_dir = dir};
    struct base_daemon daemon;
    char path[4096];
    (void)snprintf(path, sizeof path, "%s", temp_dir_path(dir, "osd.2.pid"));
    assert_int_equal(base_daemon_init(&options, &daemon, NULL), LILIO_OK);
    write_file(path, "1 1\n");
    base_daemon_release(&daemon);
    assert_int_equal(access(path, F_OK), 0);
}

static void test_bad_pid_files(void **state)
{
    const char *path = temp_dir_path(*state, "x.pid");
    char own[64];
    (void)snprintf(own, sizeof own, "%d 12345\n", (int)getpid()); /* our number, another's time */
    const char *const texts[] = {"",        "\n",      "x",      "1",     "1 ",
                                 "1 2",     "0 0\n",   "-1 5\n", "1 0\n", "99999999999999 1\n",
                                 "1 2 3\n", "\0001\n", "  \n",   own,     "4194305 1\n"};
    int pid = 77;
    assert_false(base_pid_file_alive(path, &pid)); /* there is none */
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_file(path, texts[i]);
        assert_false(base_pid_file_alive(path, &pid));
    }
    assert_int_equal(pid, 77);
}

static void test_no_folder(void **state)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s", temp_dir_path(*state, "no/such"));
    struct base_daemon_options options = {.node = "osd.1", .run_dir = path};
    struct base_daemon daemon;
    struct lilio_errinfo info = {0};
    assert_int_equal(base_daemon_init(&options, &daemon, &info), LILIO_E_IO);
    assert_non_null(strstr(info.text, "no/such"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pid_of_the_dead, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_process_that_is_torn_down, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_pid_file_of_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_pid_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_folder, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
