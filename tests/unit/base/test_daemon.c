/* Aim: a pid file names a living process or nobody, signals arrive as the daemon's loop expects
 * them, a second daemon is refused. Method: pid files of this process, of a dead child, of nobody
 * and with garbage; signals sent to oneself. */
#include "base/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
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
        cmocka_unit_test_setup_teardown(test_bad_pid_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_folder, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
