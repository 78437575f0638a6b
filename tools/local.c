#include "tools/local.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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
#include "tools/ports.h"

#include "base/banned.h"

enum {
    SOCKET_PATH_MAX = 100, /* sun_path has 108 bytes; some are left for what libraries add */
    SOCKET_NAME_ROOM = 28, /* "/coordinator.1023.peer.sock" */
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

/* A coordinator's two sockets in a folder. */
static bool ipc_name(struct proto_cluster_node *node, const char *folder)
{
    if (asprintf(&node->endpoint, "ipc://%s/coordinator.%u.sock", folder, node->id) < 0)
        node->endpoint = NULL;
    if (asprintf(&node->peer, "ipc://%s/coordinator.%u.peer.sock", folder, node->id) < 0)
        node->peer = NULL;
    return node->endpoint && node->peer;
}

static enum lilio_err ipc_assign(struct proto_cluster_file *file, struct lilio_errinfo *info)
{
    char *folder =
        tools_local_socket_folder(file->run_dir, getenv("XDG_RUNTIME_DIR"), (unsigned)geteuid());
    bool good = folder != NULL;
    for (size_t i = 0; good && i < file->coordinator_count; i++)
        good = ipc_name(&file->coordinators[i], folder);
    for (size_t i = 0; good && i < file->osd_count; i++)
        good = asprintf(&file->osds[i].endpoint, "ipc://%s/osd.%zu.sock", folder, i) >= 0;
    free(folder);
    return good ? LILIO_OK : tools_no_memory(info);
}

/* Ports that are held until all have theirs, so that no two daemons get the same. */
struct ports {
    struct tools_address address;
    uint32_t base; /* 0: any */
    int *fds;
    size_t count;
};

static enum lilio_err port_assign(struct ports *ports, const char *kind, uint32_t id,
                                  uint32_t offset, char **ret_endpoint, struct lilio_errinfo *info)
{
    char node[32];
    (void)snprintf(node, sizeof node, "%s.%u", kind, id);
    enum lilio_err err =
        tools_port_take(&ports->address, ports->base ? ports->base + offset + id : 0, node,
                        ret_endpoint, &ports->fds[ports->count], info);
    ports->count += !err;
    return err;
}

static enum lilio_err tcp_assign(const struct tools_local_wish *wish,
                                 struct proto_cluster_file *file, struct lilio_errinfo *info)
{
    struct ports ports = {.base = wish->port};
    enum lilio_err err = tools_address_resolve(wish->host, wish->insecure, &ports.address, info);
    if (err)
        return err;
    if (wish->port && wish->port + TOOLS_LOCAL_OSD_PORT + file->osd_count > 65536)
        return lilio_fail(info, LILIO_E_INVALID, "--listen: port %u leaves no room for %zu OSDs",
                          wish->port, file->osd_count);
    ports.fds = calloc(2 * file->coordinator_count + file->osd_count, sizeof *ports.fds);
    if (!ports.fds)
        return tools_no_memory(info);
    for (size_t i = 0; !err && i < file->coordinator_count; i++) {
        struct proto_cluster_node *node = &file->coordinators[i];
        err = port_assign(&ports, "coordinator", node->id, 0, &node->endpoint, info);
        if (!err)
            err = port_assign(&ports, "coordinator", node->id, TOOLS_LOCAL_PEER_PORT, &node->peer,
                              info);
    }
    for (size_t i = 0; !err && i < file->osd_count; i++)
        err = port_assign(&ports, "osd", file->osds[i].id, TOOLS_LOCAL_OSD_PORT,
                          &file->osds[i].endpoint, info);
    for (size_t i = 0; i < ports.count; i++)
        close(ports.fds[i]);
    free(ports.fds);
    return err;
}

bool tools_local_folder_empty(const char *path)
{
    DIR *listing = opendir(path);
    if (!listing)
        return errno == ENOENT;
    bool empty = true;
    for (struct dirent *entry; empty && (entry = readdir(listing));)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                strcmp(entry->d_name, "lost+found") == 0;
    closedir(listing);
    return empty;
}

/* May this entry of a cluster's folder be there before the first up? */
static bool is_rest(const char *dir, const char *name)
{
    char *path = NULL;
    if (strncmp(name, "coordinator.", 12) != 0 && strncmp(name, "osd.", 4) != 0 &&
        strcmp(name, "initialised") != 0)
        return false;
    bool rest = asprintf(&path, "%s/%s", dir, name) < 0 || !tools_local_folder_empty(path);
    free(path);
    return rest;
}

/* Daemons' folders without a lilio.yaml are the rest of something: nothing is put on top of it. */
static enum lilio_err rest_check(const char *dir, struct lilio_errinfo *info)
{
    DIR *listing = opendir(dir);
    if (!listing)
        return tools_file_fail(info, "cannot read", dir);
    enum lilio_err err = LILIO_OK;
    for (struct dirent *entry; !err && (entry = readdir(listing));)
        if (is_rest(dir, entry->d_name))
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
    file->orphan_retention_ms =
        wish->has_orphan_retention ? wish->orphan_retention_ms : PROTO_ORPHAN_RETENTION_MS;
    file->scrub_light_ms = PROTO_SCRUB_LIGHT_MS;
    file->scrub_deep_ms = PROTO_SCRUB_DEEP_MS;
    file->insecure = wish->insecure;
    file->coordinator_count = wish->coordinator_count ? wish->coordinator_count : 1;
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
    char want[300];
    struct tools_address address;
    enum lilio_err err = tools_address_resolve(wish->host, wish->insecure, &address, info);
    if (err)
        return err;
    uint32_t port = wish->port + file->coordinators[0].id;
    int size = wish->port ? snprintf(want, sizeof want, "tcp://%s:%u", address.host, port)
                          : snprintf(want, sizeof want, "tcp://%s:", address.host);
    /* With port 0 any port of that host is as asked. */
    if (wish->port ? strcmp(has, want) != 0 : strncmp(has, want, (size_t)size) != 0)
        return lilio_fail(info, LILIO_E_INVALID, "--listen: coordinator.%u of %s has %s",
                          file->coordinators[0].id, file->folder, has);
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
    if (wish->coordinator_count && wish->coordinator_count != file->coordinator_count)
        return lilio_fail(info, LILIO_E_INVALID,
                          "--coordinators %u: %s has %zu; `lilio-ec coordinator add' and `rm' "
                          "change that",
                          wish->coordinator_count, file->folder, file->coordinator_count);
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
    if (wish->has_orphan_retention && wish->orphan_retention_ms != file->orphan_retention_ms)
        return lilio_fail(info, LILIO_E_INVALID,
                          "--orphan-retention %llu ms: %s has %llu ms (orphan_retention_ms in its "
                          "lilio.yaml, read when daemons start)",
                          (unsigned long long)wish->orphan_retention_ms, file->folder,
                          (unsigned long long)file->orphan_retention_ms);
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

/* ---- one more coordinator, or one less ---- */

static const char ipc_prefix[] = "ipc://";

/* Sockets beside those of the others. */
static enum lilio_err ipc_beside(const struct proto_cluster_node *other,
                                 struct proto_cluster_node *node, struct lilio_errinfo *info)
{
    const char *path = other->endpoint + strlen(ipc_prefix);
    char *folder = strndup(path, (size_t)(strrchr(path, '/') - path));
    bool good = folder && ipc_name(node, folder);
    free(folder);
    return good ? LILIO_OK : tools_no_memory(info);
}

/* The host of the others; the port that `up' would have given it, or a free one. */
static enum lilio_err tcp_beside(const struct proto_cluster_node *other,
                                 struct proto_cluster_node *node, struct lilio_errinfo *info)
{
    char host[256], name[32];
    uint32_t base;
    struct tools_address address;
    int fds[2] = {-1, -1};
    (void)snprintf(name, sizeof name, "coordinator.%u", node->id);
    enum lilio_err err = tools_parse_listen(other->endpoint + strlen("tcp://"), host, &base, info);
    if (!err)
        err = tools_address_resolve(host, true /* the others are there already */, &address, info);
    for (uint32_t i = 0; !err && i < 2; i++) {
        char **endpoint = i == 0 ? &node->endpoint : &node->peer;
        uint64_t port = (uint64_t)base - other->id + node->id + i * TOOLS_LOCAL_PEER_PORT;
        if (port == 0 || port > 65535 || node->id >= TOOLS_LOCAL_PEER_PORT ||
            tools_port_take(&address, (uint32_t)port, name, endpoint, &fds[i], NULL) != LILIO_OK)
            err = tools_port_take(&address, 0, name, endpoint, &fds[i], info);
    }
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return err;
}

static bool is_taken(const struct proto_cluster_node *nodes, size_t count, const char *endpoint)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(nodes[i].endpoint, endpoint) == 0 ||
            (nodes[i].peer && strcmp(nodes[i].peer, endpoint) == 0))
            return true;
    return false;
}

/* What the file's reader would refuse must not get into it. */
static enum lilio_err endpoint_check(const struct proto_cluster_file *file, const char *endpoint,
                                     struct lilio_errinfo *info)
{
    enum { SUN_PATH_MAX = 107 };
    if (is_taken(file->coordinators, file->coordinator_count, endpoint) ||
        is_taken(file->osds, file->osd_count, endpoint))
        return lilio_fail(info, LILIO_E_ADDRESS, "%s is in %s already", endpoint, file->path);
    if (strncmp(endpoint, ipc_prefix, strlen(ipc_prefix)) == 0 &&
        strlen(endpoint) - strlen(ipc_prefix) > SUN_PATH_MAX)
        return lilio_fail(info, LILIO_E_ADDRESS, "%s is too long for a socket", endpoint);
    return LILIO_OK;
}

enum lilio_err tools_local_coordinator_add(struct proto_cluster_file *file, uint32_t id,
                                           const char *dir, struct lilio_errinfo *info)
{
    const struct proto_cluster_node *other = &file->coordinators[0];
    struct proto_cluster_node node = {.id = id};
    struct proto_cluster_node *list =
        reallocarray(file->coordinators, file->coordinator_count + 1, sizeof *list);
    if (!list)
        return tools_no_memory(info);
    file->coordinators = list;
    other = &list[0];
    if (dir)
        node.dir = realpath(dir, NULL);
    else if (asprintf(&node.dir, "%s/coordinator.%u", file->folder, id) < 0)
        node.dir = NULL;
    enum lilio_err err = LILIO_OK;
    if (!node.dir)
        err = dir ? tools_file_fail(info, "cannot resolve", dir) : tools_no_memory(info);
    else if (strncmp(other->endpoint, ipc_prefix, strlen(ipc_prefix)) == 0)
        err = ipc_beside(other, &node, info);
    else
        err = tcp_beside(other, &node, info);
    if (!err)
        err = endpoint_check(file, node.endpoint, info);
    if (!err)
        err = endpoint_check(file, node.peer, info);
    list[file->coordinator_count++] = node; /* released with the file, whatever came of it */
    return err;
}

void tools_local_coordinator_remove(struct proto_cluster_file *file, uint32_t id)
{
    struct proto_cluster_node *list = file->coordinators;
    for (size_t i = 0; i < file->coordinator_count; i++) {
        if (list[i].id != id)
            continue;
        free(list[i].endpoint);
        free(list[i].peer);
        free(list[i].dir);
        memmove(&list[i], &list[i + 1], (file->coordinator_count - i - 1) * sizeof *list);
        file->coordinator_count--;
        return;
    }
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
    for (size_t i = 0; !err && i < file->coordinator_count; i++)
        if (file->coordinators[i].peer)
            err = socket_folder_make(file, file->coordinators[i].peer, info);
    for (size_t i = 0; !err && i < file->osd_count; i++)
        err = socket_folder_make(file, file->osds[i].endpoint, info);
    return err;
}
