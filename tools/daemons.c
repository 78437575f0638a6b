#include "tools/daemons.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/daemon.h"
#include "tools/cmd.h"
#include "tools/processes.h"

#include "base/banned.h"

enum { STOP_MS = 10000, KILL_MS = 10000, PING_MS = 200, POLL_MS = 10 };

static void node_add(struct tools_daemons *daemons, const struct proto_cluster_node *node,
                     bool is_coordinator)
{
    if (!node->dir)
        return;
    struct tools_daemon *daemon = &daemons->list[daemons->count++];
    *daemon = (struct tools_daemon){.is_coordinator = is_coordinator,
                                    .id = node->id,
                                    .endpoint = node->endpoint,
                                    .peer = node->peer,
                                    .dir = node->dir,
                                    .pidfd = -1};
    (void)snprintf(daemon->name, sizeof daemon->name, "%s.%u",
                   is_coordinator ? "coordinator" : "osd", node->id);
}

enum lilio_err tools_daemons_init(const struct proto_cluster_file *file, struct tools_daemons *ret,
                                  struct lilio_errinfo *info)
{
    *ret = (struct tools_daemons){
        .list = calloc(file->coordinator_count + file->osd_count, sizeof *ret->list),
        .run_dir = strdup(file->run_dir),
        .log_dir = strdup(file->log_dir),
        .config_path = strdup(file->path),
    };
    if (!ret->list || !ret->run_dir || !ret->log_dir || !ret->config_path) {
        tools_daemons_release(ret);
        return tools_no_memory(info);
    }
    for (size_t i = 0; i < file->coordinator_count; i++)
        node_add(ret, &file->coordinators[i], true);
    for (size_t i = 0; i < file->osd_count; i++)
        node_add(ret, &file->osds[i], false);
    return LILIO_OK;
}

/* Holds process pid by a descriptor if it is that daemon. Looked at after the hold, so that the
 * number cannot have gone to somebody else meanwhile. */
static bool process_hold(const struct tools_daemons *daemons, struct tools_daemon *daemon, int pid)
{
    struct tools_process process;
    int fd = pidfd_open(pid, 0);
    if (fd < 0)
        return false;
    if (!tools_process_look(pid, daemons->config_path, &process) ||
        process.is_coordinator != daemon->is_coordinator || process.id != daemon->id) {
        close(fd);
        return false;
    }
    daemon->pid = pid;
    daemon->pidfd = fd;
    return true;
}

static int daemon_order(const void *left, const void *right)
{
    const struct tools_daemon *a = left, *b = right;
    if (a->is_coordinator != b->is_coordinator)
        return a->is_coordinator ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

enum lilio_err tools_daemons_init_running(const char *run_dir, const char *config_path,
                                          struct tools_daemons *ret, struct lilio_errinfo *info)
{
    struct tools_process *processes = NULL;
    size_t count = 0;
    *ret = (struct tools_daemons){0};
    enum lilio_err err = tools_processes_list(config_path, &processes, &count, info);
    if (err)
        return err;
    ret->run_dir = strdup(run_dir);
    ret->config_path = strdup(config_path);
    ret->list = calloc(count + 1, sizeof *ret->list);
    if (!ret->run_dir || !ret->config_path || !ret->list)
        err = tools_no_memory(info);
    for (size_t i = 0; !err && i < count; i++) {
        struct tools_daemon *daemon = &ret->list[ret->count];
        *daemon = (struct tools_daemon){
            .is_coordinator = processes[i].is_coordinator, .id = processes[i].id, .pidfd = -1};
        (void)snprintf(daemon->name, sizeof daemon->name, "%s.%u",
                       daemon->is_coordinator ? "coordinator" : "osd", daemon->id);
        ret->count += process_hold(ret, daemon, processes[i].pid);
    }
    free(processes);
    if (err)
        tools_daemons_release(ret);
    else if (ret->count > 1)
        qsort(ret->list, ret->count, sizeof *ret->list, daemon_order);
    return err;
}

void tools_daemons_release(struct tools_daemons *daemons)
{
    for (size_t i = 0; i < daemons->count; i++)
        if (daemons->list[i].pidfd >= 0)
            close(daemons->list[i].pidfd);
    free(daemons->list);
    free(daemons->run_dir);
    free(daemons->log_dir);
    free(daemons->config_path);
    *daemons = (struct tools_daemons){0};
}

/* Its pid file says where it runs, if it is there and its own. */
static bool find_by_file(const struct tools_daemons *daemons, struct tools_daemon *daemon)
{
    char *path = NULL;
    int pid;
    if (asprintf(&path, "%s/%s.pid", daemons->run_dir, daemon->name) < 0)
        return false;
    bool alive = base_pid_file_alive(path, &pid);
    bool held = alive && process_hold(daemons, daemon, pid);
    if (alive && !held)
        (void)unlink(path); /* copied from another daemon: it would keep this one from starting */
    free(path);
    return held;
}

enum lilio_err tools_daemons_find(struct tools_daemons *daemons, struct lilio_errinfo *info)
{
    struct tools_process *processes = NULL;
    size_t count = 0, missing = 0;
    for (size_t i = 0; i < daemons->count; i++)
        missing += daemons->list[i].pidfd < 0 && !find_by_file(daemons, &daemons->list[i]);
    if (!missing)
        return LILIO_OK;
    enum lilio_err err = tools_processes_list(daemons->config_path, &processes, &count, info);
    for (size_t i = 0; !err && i < daemons->count; i++)
        for (size_t j = 0; daemons->list[i].pidfd < 0 && j < count; j++)
            if (daemons->list[i].id == processes[j].id &&
                daemons->list[i].is_coordinator == processes[j].is_coordinator)
                (void)process_hold(daemons, &daemons->list[i], processes[j].pid);
    free(processes);
    return err;
}

bool tools_daemon_find(const struct tools_daemons *daemons, struct tools_daemon *daemon)
{
    struct tools_daemons one = {.list = daemon,
                                .count = 1,
                                .run_dir = daemons->run_dir,
                                .config_path = daemons->config_path};
    return tools_daemons_find(&one, NULL) == LILIO_OK && daemon->pidfd >= 0;
}

/* ---- start ---- */

/* The program of that name in the folder of this one. */
static char *program_path(const char *name, struct lilio_errinfo *info)
{
    char self[4096];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    char *path = NULL;
    if (size > 0) {
        self[size] = '\0';
        *strrchr(self, '/') = '\0';
        if (asprintf(&path, "%s/%s", self, name) < 0)
            path = NULL;
    }
    if (!path || access(path, X_OK) != 0) {
        (void)lilio_fail(info, LILIO_E_IO, "%s is not beside lilio-ec: %s", name, strerror(errno));
        free(path);
        return NULL;
    }
    return path;
}

static char *last_words_path(const struct tools_daemons *daemons, const struct tools_daemon *daemon)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s.err", daemons->log_dir, daemon->name) < 0 ? NULL : path;
}

/* posix_spawn with a session, standard streams and signals of its own, and no other descriptor. */
static int spawn(const char *program, char *const *words, const char *output, int *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    pid_t pid = 0;
    sigemptyset(&none);
    sigfillset(&all);
    int code = posix_spawn_file_actions_init(&actions);
    if (code)
        return code;
    code = posix_spawnattr_init(&attributes);
    if (code)
        goto out_actions;
    int flags = O_WRONLY | O_CREAT | O_APPEND;
    (void)posix_spawnattr_setsigmask(&attributes, &none); /* these three only fill in fields */
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF);
    code = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!code)
        code = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, flags, 0600);
    if (!code)
        code = posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    if (!code)
        code = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    if (!code)
        code = posix_spawn(&pid, program, &actions, &attributes, words, environ);
    if (!code)
        *ret_pid = pid;
    (void)posix_spawnattr_destroy(&attributes);
out_actions:
    (void)posix_spawn_file_actions_destroy(&actions);
    return code;
}

enum lilio_err tools_daemon_start(const struct tools_daemons *daemons, struct tools_daemon *daemon,
                                  struct tools_daemon_start how, struct lilio_errinfo *info)
{
    char id[16], member[32];
    (void)snprintf(id, sizeof id, "%u", daemon->id);
    (void)snprintf(member, sizeof member, "%llu", (unsigned long long)how.join);
    char *program = program_path(daemon->is_coordinator ? "lilio-coordinator" : "lilio-osd", info);
    char *output = last_words_path(daemons, daemon);
    char *words[] = {program,
                     (char[]){"--config"},
                     daemons->config_path,
                     (char[]){"--id"},
                     id,
                     how.init   ? (char[]){"--init"}
                     : how.join ? (char[]){"--join"}
                                : NULL,
                     how.join && !how.init ? member : NULL,
                     NULL};
    enum lilio_err err = program ? LILIO_OK : LILIO_E_IO;
    if (!err && !output)
        err = tools_no_memory(info);
    struct stat stat_buffer;
    if (!err) /* what earlier runs said stays, it may be evidence */
        daemon->words_start = stat(output, &stat_buffer) == 0 ? (long)stat_buffer.st_size : 0;
    int code = err ? 0 : spawn(program, words, output, &daemon->pid);
    if (code)
        err = lilio_fail(info, LILIO_E_IO, "cannot start %s: %s", daemon->name, strerror(code));
    if (!err) {
        daemon->started = true;
        daemon->pidfd = pidfd_open(daemon->pid, 0);
    }
    if (!err && daemon->pidfd < 0) { /* our own child: its number stays its own until we reap it */
        err = lilio_fail(info, LILIO_E_IO, "cannot watch %s: %s", daemon->name, strerror(errno));
        (void)kill(daemon->pid, SIGKILL);
        (void)waitpid(daemon->pid, NULL, 0);
    }
    free(output);
    free(program);
    return err;
}

/* ---- wait ---- */

static bool pidfd_ended(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, timeout_ms) == 1;
}

/* The last line of what a daemon wrote before it had a log. */
static void last_words_read(const struct tools_daemons *daemons, struct tools_daemon *daemon)
{
    char text[4096], *path = last_words_path(daemons, daemon);
    FILE *file = path ? fopen(path, "re") : NULL;
    size_t size = 0;
    if (file) {
        if (fseek(file, daemon->words_start, SEEK_SET) == 0)
            size = fread(text, 1, sizeof text - 1, file);
        (void)fclose(file); /* only read from */
    }
    free(path);
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\0'))
        size--;
    text[size] = '\0';
    const char *line = strrchr(text, '\n');
    (void)snprintf(daemon->detail, sizeof daemon->detail, "%s", line ? line + 1 : text);
}

bool tools_daemon_ended(const struct tools_daemons *daemons, struct tools_daemon *daemon)
{
    if (daemon->pidfd < 0)
        return true;
    if (!pidfd_ended(daemon->pidfd, 0))
        return false;
    int status = 0;
    close(daemon->pidfd);
    daemon->pidfd = -1;
    (void)snprintf(daemon->state, sizeof daemon->state, "ended");
    daemon->detail[0] = '\0';
    if (daemon->started && waitpid(daemon->pid, &status, 0) == daemon->pid) {
        last_words_read(daemons, daemon);
        if (!daemon->detail[0] && WIFSIGNALED(status))
            (void)snprintf(daemon->detail, sizeof daemon->detail, "killed by signal %d",
                           WTERMSIG(status));
        else if (!daemon->detail[0])
            (void)snprintf(daemon->detail, sizeof daemon->detail, "ended with exit code %d",
                           WEXITSTATUS(status));
    }
    return true;
}

static bool state_is_final(const char *state)
{
    static const char *const finals[] = {"serving", "blank", "refused", "failed"};
    for (size_t i = 0; i < sizeof finals / sizeof finals[0]; i++)
        if (strcmp(state, finals[i]) == 0)
            return true;
    return false;
}

static enum lilio_err wait_for(const struct tools_daemons *daemons, struct tools_daemon *daemon,
                               struct lilio_client *client, uint64_t end_ms, bool leaderless,
                               struct lilio_errinfo *info)
{
    for (;;) {
        char node[64];
        if (tools_daemon_ended(daemons, daemon)) {
            /* It may have met one of its name that was just starting: then that one is it. */
            if (!tools_daemon_find(daemons, daemon))
                return LILIO_OK;
            daemon->started = false;
        }
        if (tools_cancelled())
            return lilio_fail(info, LILIO_E_CANCELLED, "interrupted");
        uint64_t began_ms = base_now_ms(base_clock_system());
        enum lilio_err err = lilio_ping(client, daemon->endpoint, PING_MS, node, daemon->state,
                                        daemon->detail, NULL);
        if (!err && (state_is_final(daemon->state) ||
                     (leaderless && strcmp(daemon->state, "no leader") == 0)))
            return LILIO_OK;
        uint64_t now_ms = base_now_ms(base_clock_system());
        if (now_ms >= end_ms)
            return lilio_fail(info, LILIO_E_TIMEOUT, "%s does not serve yet (%s)", daemon->name,
                              err ? "no answer" : daemon->state);
        if (now_ms - began_ms < POLL_MS)
            (void)pidfd_ended(daemon->pidfd, POLL_MS);
    }
}

enum lilio_err tools_daemon_wait(const struct tools_daemons *daemons, struct tools_daemon *daemon,
                                 struct lilio_client *client, uint64_t end_ms,
                                 struct lilio_errinfo *info)
{
    return wait_for(daemons, daemon, client, end_ms, /* leaderless */ false, info);
}

enum lilio_err tools_daemon_wait_leaderless(const struct tools_daemons *daemons,
                                            struct tools_daemon *daemon,
                                            struct lilio_client *client, uint64_t end_ms,
                                            struct lilio_errinfo *info)
{
    return wait_for(daemons, daemon, client, end_ms, /* leaderless */ true, info);
}

/* ---- stop ---- */

/* Waits until all have ended, or for timeout_ms; how many have not. */
static size_t end_wait(struct tools_daemon *const *list, size_t count, uint64_t timeout_ms)
{
    uint64_t end_ms = base_now_ms(base_clock_system()) + timeout_ms;
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        struct tools_daemon *daemon = list[i];
        if (daemon->pidfd < 0)
            continue;
        uint64_t now_ms = base_now_ms(base_clock_system());
        bool ended = pidfd_ended(daemon->pidfd, 0);
        while (!ended && now_ms < end_ms) { /* signals cut a wait short */
            ended = pidfd_ended(daemon->pidfd, (int)(end_ms - now_ms));
            now_ms = base_now_ms(base_clock_system());
        }
        if (!ended) {
            left++;
            continue;
        }
        if (daemon->started)
            (void)waitpid(daemon->pid, NULL, 0); /* how it ended does not matter any more */
        close(daemon->pidfd);
        daemon->pidfd = -1;
    }
    return left;
}

static void signal_all(struct tools_daemon *const *list, size_t count, int number)
{
    for (size_t i = 0; i < count; i++)
        if (list[i]->pidfd >= 0)
            (void)pidfd_send_signal(list[i]->pidfd, number, NULL, 0); /* it may be gone */
}

/* How many had to be killed. */
static size_t stop(struct tools_daemon *const *list, size_t count)
{
    signal_all(list, count, SIGTERM);
    size_t left = end_wait(list, count, STOP_MS);
    if (left > 0) {
        signal_all(list, count, SIGKILL);
        (void)end_wait(list, count, KILL_MS); /* one in the kernel's hands stays */
    }
    return left;
}

void tools_daemon_stop(struct tools_daemon *daemon)
{
    (void)stop(&daemon, 1); /* killed or not, it has ended */
}

void tools_daemons_stop(struct tools_daemons *daemons, bool only_started, size_t *ret_killed)
{
    struct tools_daemon **list = calloc(daemons->count + 1, sizeof(struct tools_daemon *));
    size_t killed = 0;
    /* The OSDs first: their last words are for a coordinator. */
    for (int coordinators = 0; list && coordinators < 2; coordinators++) {
        size_t count = 0;
        for (size_t i = 0; i < daemons->count; i++) {
            struct tools_daemon *daemon = &daemons->list[i];
            if (daemon->is_coordinator == (coordinators == 1) && daemon->pidfd >= 0 &&
                (daemon->started || !only_started))
                list[count++] = daemon;
        }
        killed += stop(list, count);
    }
    free(list);
    if (ret_killed)
        *ret_killed = killed;
}
