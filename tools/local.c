#include "tools/local.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/config.h"
#include "base/env.h"
#include "tools/cmd.h"
#include "tools/file_io.h"

#include "base/banned.h"

enum {
    SOCKET_PATH_MAX = 100, /* sun_path has 108 bytes; some are left for what libraries add */
    SOCKET_NAME_ROOM = 24, /* "/coordinator.1023.sock" */
    LOCK_POLL_MS = 20,
};

/* ---- the lock ---- */

enum lilio_err tools_local_lock(const char *dir, bool make, uint64_t timeout_ms, int *ret_fd,
                                bool *ret_made, struct lilio_errinfo *info)
{
    struct stat stat_buffer;
    bool made = make && stat(dir, &stat_buffer) != 0 && errno == ENOENT;
    if (make) {
        enum lilio_err err = tools_folder_make(dir, info);
        if (err)
            return err;
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return tools_file_fail(info, "cannot open", dir);
    uint64_t end_ms = base_now_ms(base_clock_system()) + timeout_ms;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        bool late = base_now_ms(base_clock_system()) >= end_ms;
        if (errno != EWOULDBLOCK || late || tools_cancelled()) {
            close(fd);
            return lilio_fail(info, tools_cancelled() ? LILIO_E_CANCELLED : LILIO_E_LOCKED,
                              "%s is being started or stopped by another lilio-ec", dir);
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_MS * 1000000L}, NULL);
    }
    *ret_fd = fd;
    *ret_made = made;
    return LILIO_OK;
}

/* ---- addresses ---- */

/* The host as a number, and whether it may be listened on. */
static enum lilio_err host_resolve(const struct tools_local_wish *wish, struct in_addr *ret,
                                   struct lilio_errinfo *info)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(wish->host, NULL, &hints, &found);
    if (code != 0)
        return lilio_fail(info, LILIO_E_INVALID, "--listen %s: %s", wish->host, gai_strerror(code));
    struct sockaddr_in address;
    memcpy(&address, found->ai_addr, sizeof address);
    freeaddrinfo(found);
    uint32_t number = ntohl(address.sin_addr.s_addr);
    if (number >> 24 != 127 && !wish->insecure)
        return lilio_fail(info, LILIO_E_INVALID,
                          "--listen %s is not loopback: there is no authentication yet, so anybody "
                          "who reaches it can read, write and delete. Say --insecure if that is "
                          "wanted",
                          wish->host);
    if (number == 0)
        return lilio_fail(info, LILIO_E_INVALID,
                          "--listen %s: name the address that clients shall use", wish->host);
    *ret = address.sin_addr;
    return LILIO_OK;
}

/* A socket bound to address:port (0 = any), or -1; *port becomes the real one. */
static int port_bind(struct in_addr address, uint32_t *port)
{
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_addr = address, .sin_port = htons((uint16_t)*port)};
    socklen_t size = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0)
        return -1;
    /* As libzmq does it: a port whose last user has gone is free, one that is listened on is not.
     */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&name, sizeof name) != 0 || listen(fd, 1) != 0 ||
        getsockname(fd, (struct sockaddr *)&name, &size) != 0) {
        int number = errno;
        close(fd);
        errno = number;
        return -1;
    }
    *port = ntohs(name.sin_port);
    return fd;
}

enum lilio_err tools_local_port_check(const char *endpoint, const char *node,
                                      struct lilio_errinfo *info)
{
    static const char prefix[] = "tcp://";
    if (strncmp(endpoint, prefix, sizeof prefix - 1) != 0)
        return LILIO_OK;
    char host[256];
    uint32_t port;
    struct in_addr address;
    enum lilio_err err = tools_parse_listen(endpoint + sizeof prefix - 1, host, &port, info);
    if (err || inet_pton(AF_INET, host, &address) != 1)
        return LILIO_OK; /* a name in a hand-written file: the daemon will see */
    int fd = port_bind(address, &port);
    if (fd < 0)
        return lilio_fail(info, LILIO_E_ADDRESS, "%s cannot listen on %s:%u: %s", node, host, port,
                          strerror(errno));
    close(fd);
    return LILIO_OK;
}

/* ---- a new lilio.yaml ---- */

char *tools_local_socket_folder(const char *run_dir, const char *runtime_dir, unsigned user)
{
    char *folder = NULL;
    if (strlen(run_dir) + SOCKET_NAME_ROOM <= SOCKET_PATH_MAX)
        return strdup(run_dir);
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a: two clusters get two folders */
    for (const char *at = run_dir; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 0x100000001b3u;
    bool usable = runtime_dir && runtime_dir[0] == '/' &&
                  strlen(runtime_dir) + 32 + SOCKET_NAME_ROOM <= SOCKET_PATH_MAX;
    int size = usable ? asprintf(&folder, "%s/lilio-%016llx", runtime_dir, (unsigned long long)hash)
                      : asprintf(&folder, "/tmp/lilio-%u-%016llx", user, (unsigned long long)hash);
    return size < 0 ? NULL : folder;
}

/* The nodes' ids and folders; their endpoints come later. */
static bool nodes_make(const char *folder, const char *kind, size_t count,
                       struct proto_cluster_node **ret)
{
    *ret = calloc(count, sizeof **ret);
    for (size_t i = 0; *ret && i < count; i++) {
        (*ret)[i].id = (uint32_t)i;
        if (asprintf(&(*ret)[i].dir, "%s/%s.%zu", folder, kind, i) < 0) {
            (*ret)[i].dir = NULL;
            return false;
        }
    }
    return *ret != NULL;
}

static enum lilio_err ipc_assign(struct proto_cluster_file *file, struct lilio_errinfo *info)
{
    char *folder =
        tools_local_socket_folder(file->run_dir, getenv("XDG_RUNTIME_DIR"), (unsigned)geteuid());
    bool good = folder != NULL;
    for (size_t i = 0; good && i < file->coordinator_count; i++)
        good = asprintf(&file->coordinators[i].endpoint, "ipc://%s/coordinator.%zu.sock", folder,
                        i) >= 0;
    for (size_t i = 0; good && i < file->osd_count; i++)
        good = asprintf(&file->osds[i].endpoint, "ipc://%s/osd.%zu.sock", folder, i) >= 0;
    free(folder);
    return good ? LILIO_OK : tools_no_memory(info);
}

/* One daemon's port: the socket stays open until all have theirs, so that no two get the same. */
static enum lilio_err port_take(struct in_addr address, uint32_t port, const char *node,
                                char **ret_endpoint, int *ret_fd, struct lilio_errinfo *info)
{
    char host[INET_ADDRSTRLEN];
    (void)inet_ntop(AF_INET, &address, host, sizeof host); /* cannot fail with this room */
    *ret_fd = port_bind(address, &port);
    if (*ret_fd < 0)
        return lilio_fail(info, LILIO_E_ADDRESS, "%s cannot listen on %s:%u: %s", node, host, port,
                          strerror(errno));
    return asprintf(ret_endpoint, "tcp://%s:%u", host, port) < 0 ? tools_no_memory(info) : LILIO_OK;
}

static enum lilio_err tcp_assign(const struct tools_local_wish *wish,
                                 struct proto_cluster_file *file, struct lilio_errinfo *info)
{
    struct in_addr address;
    enum lilio_err err = host_resolve(wish, &address, info);
    if (err)
        return err;
    size_t count = file->coordinator_count + file->osd_count, taken = 0;
    if (wish->port && wish->port + TOOLS_LOCAL_OSD_PORT + file->osd_count > 65536)
        return lilio_fail(info, LILIO_E_INVALID, "--listen: port %u leaves no room for %zu OSDs",
                          wish->port, file->osd_count);
    int *fds = calloc(count, sizeof *fds);
    if (!fds)
        return tools_no_memory(info);
    for (size_t i = 0; !err && i < count; i++) {
        bool is_osd = i >= file->coordinator_count;
        size_t id = is_osd ? i - file->coordinator_count : i;
        char node[32];
        (void)snprintf(node, sizeof node, "%s.%zu", is_osd ? "osd" : "coordinator", id);
        uint32_t offset = (uint32_t)id + (is_osd ? TOOLS_LOCAL_OSD_PORT : 0);
        err = port_take(address, wish->port ? wish->port + offset : 0, node,
                        is_osd ? &file->osds[id].endpoint : &file->coordinators[id].endpoint,
                        &fds[i], info);
        taken += fds[i] >= 0;
    }
    for (size_t i = 0; i < taken; i++)
        close(fds[i]);
    free(fds);
    return err;
}

/* Empty, or a fresh filesystem: disks are mounted before the first up. What cannot be read is not.
 */
static bool folder_is_empty(const char *dir, const char *name)
{
    char *path = NULL;
    DIR *listing = asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : opendir(path);
    bool empty = listing != NULL;
    for (struct dirent *entry; empty && (entry = readdir(listing));)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                strcmp(entry->d_name, "lost+found") == 0;
    if (listing)
        closedir(listing);
    free(path);
    return empty;
}

/* Daemons' folders without a lilio.yaml are the rest of something: nothing is put on top of it. */
static enum lilio_err rest_check(const char *dir, struct lilio_errinfo *info)
{
    DIR *listing = opendir(dir);
    if (!listing)
        return tools_file_fail(info, "cannot read", dir);
    enum lilio_err err = LILIO_OK;
    for (struct dirent *entry; !err && (entry = readdir(listing));)
        if ((strncmp(entry->d_name, "coordinator.", 12) == 0 ||
             strncmp(entry->d_name, "osd.", 4) == 0 || strcmp(entry->d_name, "initialised") == 0) &&
            !folder_is_empty(dir, entry->d_name))
            err = lilio_fail(info, LILIO_E_FOREIGN,
                             "%s holds %s but no lilio.yaml: it was a cluster, and no new one is "
                             "started on top of it",
                             dir, entry->d_name);
    closedir(listing);
    return err;
}

static enum lilio_err file_make(const struct tools_local_wish *wish,
                                struct proto_cluster_file *file, struct lilio_errinfo *info)
{
    uint32_t osd_count = wish->osd_count ? wish->osd_count : TOOLS_LOCAL_OSDS_DEFAULT;
    struct codec_profile profile = wish->profile;
    enum lilio_err err = LILIO_OK;
    if (!wish->has_profile)
        err = codec_profile_parse("4+2", &profile, info);
    if (!err && codec_profile_total(&profile) > osd_count)
        err = lilio_fail(info, LILIO_E_INVALID,
                         "profile %u+%u needs %u OSDs, one for each fragment; there would be %u",
                         profile.data_count, profile.parity_count, codec_profile_total(&profile),
                         osd_count);
    if (!err)
        err = rest_check(wish->dir, info);
    if (err)
        return err;
    file->cluster_id = base_uuid_new(base_random_system());
    file->default_profile = profile;
    file->gc_grace_ms = wish->has_gc_grace ? wish->gc_grace_ms : 3600000;
    file->insecure = wish->insecure;
    file->coordinator_count = 1;
    file->osd_count = osd_count;
    file->folder = realpath(wish->dir, NULL);
    if (!file->folder || asprintf(&file->path, "%s/lilio.yaml", file->folder) < 0 ||
        asprintf(&file->run_dir, "%s/run", file->folder) < 0 ||
        asprintf(&file->log_dir, "%s/log", file->folder) < 0 ||
        !nodes_make(file->folder, "coordinator", file->coordinator_count, &file->coordinators) ||
        !nodes_make(file->folder, "osd", file->osd_count, &file->osds))
        return tools_no_memory(info);
    err = wish->has_listen ? tcp_assign(wish, file, info) : ipc_assign(file, info);
    return err ? err : proto_cluster_file_save(file, info);
}

/* ---- an existing one ---- */

static enum lilio_err listen_match(const struct tools_local_wish *wish,
                                   const struct proto_cluster_file *file,
                                   struct lilio_errinfo *info)
{
    const char *has = file->coordinators[0].endpoint;
    char want[300], host[INET_ADDRSTRLEN];
    struct in_addr address;
    enum lilio_err err = host_resolve(wish, &address, info);
    if (err)
        return err;
    (void)inet_ntop(AF_INET, &address, host, sizeof host); /* cannot fail with this room */
    int size = wish->port ? snprintf(want, sizeof want, "tcp://%s:%u", host, wish->port)
                          : snprintf(want, sizeof want, "tcp://%s:", host);
    /* With port 0 any port of that host is as asked. */
    if (wish->port ? strcmp(has, want) != 0 : strncmp(has, want, (size_t)size) != 0)
        return lilio_fail(info, LILIO_E_INVALID, "--listen: the coordinator of %s has %s",
                          file->folder, has);
    return LILIO_OK;
}

/* What was asked for must be what is there: a cluster is not changed by the way it is started. */
static enum lilio_err wish_match(const struct tools_local_wish *wish,
                                 const struct proto_cluster_file *file, struct lilio_errinfo *info)
{
    const struct codec_profile *has = &file->default_profile, *want = &wish->profile;
    if (wish->osd_count && wish->osd_count != file->osd_count)
        return lilio_fail(info, LILIO_E_INVALID, "--osds %u: %s has %zu", wish->osd_count,
                          file->folder, file->osd_count);
    if (wish->has_profile &&
        (want->data_count != has->data_count || want->parity_count != has->parity_count))
        return lilio_fail(info, LILIO_E_INVALID, "--profile %u+%u: %s has %u+%u", want->data_count,
                          want->parity_count, file->folder, has->data_count, has->parity_count);
    if (wish->has_gc_grace && wish->gc_grace_ms != file->gc_grace_ms)
        return lilio_fail(info, LILIO_E_INVALID,
                          "--gc-grace %llu ms: %s has %llu ms (gc_grace_ms in its lilio.yaml, read "
                          "when the coordinator starts)",
                          (unsigned long long)wish->gc_grace_ms, file->folder,
                          (unsigned long long)file->gc_grace_ms);
    return wish->has_listen ? listen_match(wish, file, info) : LILIO_OK;
}

enum lilio_err tools_local_open(const struct tools_local_wish *wish, struct proto_cluster_file *ret,
                                struct lilio_errinfo *info)
{
    char *path = NULL;
    *ret = (struct proto_cluster_file){0};
    if (asprintf(&path, "%s/lilio.yaml", wish->dir) < 0)
        return tools_no_memory(info);
    struct stat stat_buffer;
    enum lilio_err err;
    if (lstat(path, &stat_buffer) != 0 && errno == ENOENT) {
        err = file_make(wish, ret, info);
    } else {
        err = proto_cluster_file_load(path, ret, info);
        if (!err)
            err = wish_match(wish, ret, info);
    }
    free(path);
    if (err)
        proto_cluster_file_release(ret);
    return err;
}

/* ---- the mark that the coordinator was initialised ---- */

static char *mark_path(const struct proto_cluster_file *file)
{
    char *path = NULL;
    return asprintf(&path, "%s/initialised", file->folder) < 0 ? NULL : path;
}

enum lilio_err tools_local_initialised(const struct proto_cluster_file *file, bool *ret,
                                       struct lilio_errinfo *info)
{
    char *path = mark_path(file);
    char text[64] = "", want[37];
    if (!path)
        return tools_no_memory(info);
    enum lilio_err err = LILIO_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        err = tools_file_fail(info, "cannot read", path);
    if (fd >= 0) {
        ssize_t size = read(fd, text, sizeof text - 1);
        close(fd);
        base_uuid_format(file->cluster_id, want);
        if (size < 36 || strncmp(text, want, 36) != 0)
            err = lilio_fail(info, LILIO_E_FOREIGN, "%s belongs to another cluster than %s (%s)",
                             path, file->path, want);
    }
    free(path);
    if (!err)
        *ret = fd >= 0;
    return err;
}

enum lilio_err tools_local_initialised_set(const struct proto_cluster_file *file,
                                           struct lilio_errinfo *info)
{
    char *path = mark_path(file);
    char text[38];
    if (!path)
        return tools_no_memory(info);
    base_uuid_format(file->cluster_id, text);
    text[36] = '\n';
    enum lilio_err err = base_file_replace(path, base_slice(text, 37), 0644, info);
    free(path);
    return err;
}

/* ---- folders ---- */

/* A folder outside DIR that nobody else may have prepared: sockets in it are as good as ours. */
static enum lilio_err private_folder_make(const char *path, struct lilio_errinfo *info)
{
    struct stat stat_buffer;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return tools_file_fail(info, "cannot make folder", path);
    if (lstat(path, &stat_buffer) != 0)
        return tools_file_fail(info, "cannot read", path);
    if (!S_ISDIR(stat_buffer.st_mode) || stat_buffer.st_uid != geteuid() ||
        (stat_buffer.st_mode & 077) != 0)
        return lilio_fail(info, LILIO_E_DENIED, "%s is not a private folder of this user", path);
    return LILIO_OK;
}

static enum lilio_err socket_folder_make(const struct proto_cluster_file *file,
                                         const char *endpoint, struct lilio_errinfo *info)
{
    static const char prefix[] = "ipc://";
    if (strncmp(endpoint, prefix, sizeof prefix - 1) != 0)
        return LILIO_OK;
    const char *path = endpoint + sizeof prefix - 1;
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return LILIO_OK;
    char *folder = strndup(path, (size_t)(slash - path));
    if (!folder)
        return tools_no_memory(info);
    enum lilio_err err = LILIO_OK;
    if (strcmp(folder, file->run_dir) != 0)
        err = private_folder_make(folder, info);
    free(folder);
    return err;
}

enum lilio_err tools_local_folders_make(const struct proto_cluster_file *file,
                                        struct lilio_errinfo *info)
{
    enum lilio_err err = tools_folder_make(file->run_dir, info);
    if (!err)
        err = tools_folder_make(file->log_dir, info);
    for (size_t i = 0; !err && i < file->coordinator_count; i++)
        err = socket_folder_make(file, file->coordinators[i].endpoint, info);
    for (size_t i = 0; !err && i < file->osd_count; i++)
        err = socket_folder_make(file, file->osds[i].endpoint, info);
    return err;
}
