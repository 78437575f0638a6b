/* Start-up and end of a daemon.
 *
 * The pid file holds the process id and its start time (clock ticks since boot, field 22 of
 * /proc/PID/stat): together they name one process of this boot, so a file left behind by a killed
 * daemon is never taken for a living one, even after its number was given to somebody else. It says
 * who runs; what keeps two daemons off one disk is the lock of the data directory. It is written
 * last and durably replaced, so a crash leaves the old file, the new one or none, each judged
 * correctly. Looking at it and replacing it happens under a lock of the folder: of two daemons of
 * one name that start at once, one writes the file and the other finds it; and none removes
 * another's.
 *
 * A killed process is a zombie as soon as its first thread has ended, while others may still be
 * torn down; until the last is gone they keep its sockets and locks. Who starts in its place waits
 * for that.
 */
#include "base/daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/config.h"

#include "base/banned.h"

enum { END_MS = 10000, END_POLL_MS = 10 };

static void stop_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

/* Reads a small file whole; 0 if it is not there or empty. */
static size_t small_file_read(const char *path, char *text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, text, room - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

struct process {
    int pid;
    unsigned long long start; /* 0: there is no such process */
    char state;               /* of its first thread: 'Z' and 'X' have ended */
};

static struct process process_look(int pid)
{
    char path[64], text[1024];
    struct process process = {.pid = pid};
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (small_file_read(path, text, sizeof text) == 0)
        return process;
    char *at = strrchr(text, ')'); /* the name before it may hold spaces and parentheses */
    if (!at || at[1] != ' ')
        return process;
    at += 2; /* field 3 */
    process.state = *at;
    for (int field = 3; field < 22; field++) {
        at = strchr(at, ' ');
        if (!at)
            return process;
        at++;
    }
    process.start = strtoull(at, NULL, 10);
    return process;
}

/* The process a pid file names, its state as it is now; start 0 if it names none. */
static struct process pid_file_look(const char *path)
{
    static const struct process none;
    char text[64];
    if (small_file_read(path, text, sizeof text) == 0)
        return none;
    char *end = text;
    long pid = strtol(text, &end, 10);
    if (pid <= 0 || pid > 0x7fffffff || *end != ' ')
        return none;
    char *start = end + 1;
    unsigned long long since = strtoull(start, &end, 10);
    if (end == start || *end != '\n' || since == 0)
        return none;
    struct process process = process_look((int)pid);
    return process.start == since ? process : none;
}

static bool has_ended(const struct process *process)
{
    return process->start == 0 || process->state == 'Z' || process->state == 'X';
}

bool base_pid_file_alive(const char *path, int *ret_pid)
{
    struct process process = pid_file_look(path);
    if (has_ended(&process))
        return false;
    *ret_pid = process.pid;
    return true;
}

/* Does a process whose first thread has ended still have others? */
static bool is_torn_down(int pid)
{
    char path[64];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *listing = opendir(path);
    for (struct dirent *entry; listing && (entry = readdir(listing));)
        count += entry->d_name[0] != '.';
    if (listing)
        closedir(listing);
    return count > 1;
}

/* Waits while the process that the pid file names is on its way out, for END_MS at most. */
static void end_wait(const char *path)
{
    static const struct timespec pause = {.tv_nsec = END_POLL_MS * 1000000L};
    for (int waited_ms = 0; waited_ms < END_MS; waited_ms += END_POLL_MS) {
        struct process process = pid_file_look(path);
        if (process.start == 0 || !has_ended(&process) || !is_torn_down(process.pid))
            return;
        (void)nanosleep(&pause, NULL);
    }
}

static char *path_join(const char *folder, const char *node, const char *ending)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s%s", folder, node, ending) < 0 ? NULL : path;
}

static enum lilio_err folder_make(const char *path, struct lilio_errinfo *info)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return LILIO_OK;
    return lilio_fail(info, errno == ENOSPC ? LILIO_E_NO_SPACE : LILIO_E_IO, "cannot make %s: %s",
                      path, strerror(errno));
}

static enum lilio_err log_start(const struct base_daemon_options *options,
                                struct base_daemon *daemon, struct lilio_errinfo *info)
{
    char *path = NULL;
    enum lilio_err err = LILIO_OK;
    if (options->log_dir) {
        err = folder_make(options->log_dir, info);
        if (err)
            return err;
        path = path_join(options->log_dir, options->node, ".log");
        if (!path)
            return lilio_fail(info, LILIO_E_NOMEM, "%s", lilio_err_text(LILIO_E_NOMEM));
    }
    err = base_log_new(path, options->node, BASE_LOG_INFO, base_clock_system(), &daemon->log, info);
    free(path);
    return err;
}

static enum lilio_err signals_start(struct base_daemon *daemon, struct lilio_errinfo *info)
{
    sigset_t set;
    stop_signals(&set);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGPIPE, &ignore, NULL) || sigprocmask(SIG_BLOCK, &set, NULL))
        return lilio_fail(info, LILIO_E_INTERNAL, "cannot set up signals: %s", strerror(errno));
    daemon->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (daemon->signal_fd < 0)
        return lilio_fail(info, LILIO_E_INTERNAL, "cannot wait for signals: %s", strerror(errno));
    return LILIO_OK;
}

/* -1 with errno; the lock goes with the descriptor. */
static int folder_lock(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX)) {
        int number = errno;
        close(fd);
        errno = number;
        return -1;
    }
    return fd;
}

static enum lilio_err pid_file_write(const struct base_daemon_options *options,
                                     struct base_daemon *daemon, struct lilio_errinfo *info)
{
    const struct process self = process_look((int)getpid());
    enum lilio_err err = folder_make(options->run_dir, info);
    if (err)
        return err;
    char *path = path_join(options->run_dir, options->node, ".pid");
    if (!path)
        return lilio_fail(info, LILIO_E_NOMEM, "%s", lilio_err_text(LILIO_E_NOMEM));
    int other = 0;
    end_wait(path); /* before the lock, which others want, too */
    int folder = folder_lock(options->run_dir);
    if (folder < 0) {
        err = lilio_fail(info, LILIO_E_IO, "cannot lock %s: %s", options->run_dir, strerror(errno));
        goto out;
    }
    if (base_pid_file_alive(path, &other)) {
        err = lilio_fail(info, LILIO_E_LOCKED, "%s runs already as process %d (%s)", options->node,
                         other, path);
        goto out;
    }
    char text[64];
    int size = snprintf(text, sizeof text, "%d %llu\n", self.pid, self.start);
    err = base_file_replace(path, base_slice(text, (size_t)size), 0644, info);
    if (err)
        goto out;
    daemon->pid_path = path;
    path = NULL;
out:
    if (folder >= 0)
        close(folder); /* the lock goes with it */
    free(path);
    return err;
}

enum lilio_err base_daemon_init(const struct base_daemon_options *options, struct base_daemon *ret,
                                struct lilio_errinfo *info)
{
    struct base_daemon daemon = {.signal_fd = -1};
    enum lilio_err err = signals_start(&daemon, info);
    if (!err)
        err = log_start(options, &daemon, info);
    if (!err && options->run_dir)
        err = pid_file_write(options, &daemon, info);
    if (err) {
        base_daemon_release(&daemon);
        return err;
    }
    *ret = daemon;
    return LILIO_OK;
}

bool base_daemon_signal(struct base_daemon *daemon)
{
    bool stop = false;
    struct signalfd_siginfo signal;
    while (read(daemon->signal_fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        if (signal.ssi_signo == SIGHUP)
            base_log_reopen(daemon->log);
        else
            stop = true;
    }
    return stop;
}

/* Only if it is still ours. One that stays is recognised as stale. */
static void pid_file_remove(const char *path)
{
    int pid = 0, folder = -1;
    char *parent = strndup(path, (size_t)(strrchr(path, '/') - path));
    if (parent)
        folder = folder_lock(parent);
    if (folder >= 0 && base_pid_file_alive(path, &pid) && pid == (int)getpid())
        (void)unlink(path);
    if (folder >= 0)
        close(folder);
    free(parent);
}

void base_daemon_release(struct base_daemon *daemon)
{
    if (daemon->pid_path)
        pid_file_remove(daemon->pid_path);
    free(daemon->pid_path);
    if (daemon->signal_fd >= 0)
        close(daemon->signal_fd);
    base_log_free(&daemon->log);
    *daemon = (struct base_daemon){.signal_fd = -1};
}
