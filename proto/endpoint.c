#include "proto/endpoint_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/banned.h"

enum { LISTEN_BACKLOG = 100 };

static const struct {
    const char *prefix;
    enum proto_endpoint_kind kind;
} kinds[] = {
    {"ipc://", PROTO_ENDPOINT_IPC},
    {"tcp://", PROTO_ENDPOINT_TCP},
    {"inproc://", PROTO_ENDPOINT_INPROC},
};

const char *proto_endpoint_rest(const char *endpoint)
{
    return strstr(endpoint, "://") + 3;
}

/* HOST:PORT, printable, the port a number or "*". Whether there is such a host is found out later.
 */
static bool tcp_valid(const char *rest)
{
    const char *colon = strrchr(rest, ':');
    if (!colon || colon == rest || !colon[1])
        return false;
    for (const char *p = rest; p < colon; p++)
        if (*p <= ' ' || *p > '~')
            return false;
    if (strcmp(colon, ":*") == 0)
        return true;
    unsigned port = 0;
    for (const char *p = colon + 1; *p; p++) {
        if (*p < '0' || *p > '9' || port > 65535)
            return false;
        port = port * 10 + (unsigned)(*p - '0');
    }
    return port <= 65535;
}

enum lilio_err proto_endpoint_parse(const char *endpoint, enum proto_endpoint_kind *ret_kind,
                                    struct lilio_errinfo *info)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strncmp(endpoint, kinds[i].prefix, strlen(kinds[i].prefix)) != 0)
            continue;
        const char *rest = proto_endpoint_rest(endpoint);
        if (rest[0] == '\0')
            return lilio_fail(info, LILIO_E_ADDRESS, "%.200s: nothing behind the scheme", endpoint);
        if (kinds[i].kind == PROTO_ENDPOINT_IPC && (rest[0] == '@' || rest[0] == '*'))
            return lilio_fail(info, LILIO_E_ADDRESS, "%.200s: want a path in the filesystem",
                              endpoint);
        size_t room = sizeof((struct sockaddr_un *)NULL)->sun_path - 1;
        if (kinds[i].kind == PROTO_ENDPOINT_IPC && strlen(rest) > room)
            return lilio_fail(info, LILIO_E_ADDRESS,
                              "%.200s: a socket's path has at most %zu bytes, this one %zu",
                              endpoint, room, strlen(rest));
        if (kinds[i].kind == PROTO_ENDPOINT_TCP && !tcp_valid(rest))
            return lilio_fail(info, LILIO_E_ADDRESS,
                              "%.200s: want HOST:PORT with a port up to 65535", endpoint);
        *ret_kind = kinds[i].kind;
        return LILIO_OK;
    }
    return lilio_fail(info, LILIO_E_ADDRESS,
                      "%.200s: want ipc://PATH, tcp://HOST:PORT or inproc://NAME", endpoint);
}

bool proto_endpoint_is_loopback(const char *endpoint)
{
    const char *host = proto_endpoint_rest(endpoint);
    const char *colon = strrchr(host, ':');
    char text[64];
    if (!colon || (size_t)(colon - host) >= sizeof text)
        return false;
    memcpy(text, host, (size_t)(colon - host));
    text[colon - host] = '\0';
    struct in_addr v4;
    if (inet_pton(AF_INET, text, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return strcmp(text, "localhost") == 0 || strcmp(text, "[::1]") == 0;
}

/* ---- sockets in the filesystem ---- */

/* Whoever may write to the folder may put a socket of his own in the place of ours. */
static enum lilio_err check_folder(const char *path, bool insecure, struct lilio_errinfo *info)
{
    char folder[sizeof((struct sockaddr_un *)NULL)->sun_path];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (length >= sizeof folder)
        return lilio_fail(info, LILIO_E_ADDRESS, "%.200s: path too long", path);
    memcpy(folder, path, length);
    folder[length] = '\0';
    const char *name = length > 0 ? folder : slash ? "/" : ".";
    struct stat st;
    if (stat(name, &st))
        return lilio_fail(info, LILIO_E_ADDRESS, "%s: %s", name, strerror(errno));
    bool open_to_others = (st.st_mode & (S_IWGRP | S_IWOTH)) && !(st.st_mode & S_ISVTX);
    if (!insecure && (open_to_others || (st.st_uid != geteuid() && st.st_uid != 0)))
        return lilio_fail(
            info, LILIO_E_DENIED,
            "%s: others may write to this folder, so they could pose as the server (chmod 700 it)",
            name);
    return LILIO_OK;
}

/* A socket file that a killed process left behind refuses connections; one that is listened on does
 * not. */
static enum lilio_err clear_stale(const struct sockaddr_un *address, struct lilio_errinfo *info)
{
    struct stat st;
    if (lstat(address->sun_path, &st))
        return errno == ENOENT ? LILIO_OK
                               : lilio_fail(info, LILIO_E_ADDRESS, "%s: %s", address->sun_path,
                                            strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return lilio_fail(info, LILIO_E_ADDRESS, "%s: exists and is no socket", address->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return lilio_fail(info, LILIO_E_NOMEM, "socket: %s", strerror(errno));
    int rc = connect(fd, (const struct sockaddr *)address, sizeof *address);
    int reason = errno;
    (void)close(fd); /* nothing was written to it */
    if (rc == 0 || reason == EAGAIN || reason == EINPROGRESS)
        return lilio_fail(info, LILIO_E_ADDRESS, "%s: in use by another process",
                          address->sun_path);
    if (reason != ECONNREFUSED && reason != ENOENT)
        return lilio_fail(info, LILIO_E_ADDRESS, "%s: %s", address->sun_path, strerror(reason));
    if (unlink(address->sun_path) && errno != ENOENT)
        return lilio_fail(info, LILIO_E_ADDRESS, "%s: cannot remove the stale socket: %s",
                          address->sun_path, strerror(errno));
    return LILIO_OK;
}

enum lilio_err proto_ipc_listen(const char *path, bool insecure, struct proto_ipc_listener *ret,
                                struct lilio_errinfo *info)
{
    *ret = (struct proto_ipc_listener){.fd = -1};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return lilio_fail(info, LILIO_E_ADDRESS, "%.200s: path too long", path);
    memcpy(address.sun_path, path, strlen(path));
    enum lilio_err err = check_folder(path, insecure, info);
    if (!err)
        err = clear_stale(&address, info);
    if (err)
        return err;
    struct stat st;
    bool bound = false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    char *copy = strdup(path);
    if (fd < 0 || !copy) {
        err = lilio_fail(info, LILIO_E_NOMEM, "%s: no memory or descriptor for a socket", path);
        goto out;
    }
    /* The mode set before bind is the mode of the file: connecting needs the right to write. */
    if (fchmod(fd, 0600) || bind(fd, (const struct sockaddr *)&address, sizeof address)) {
        err = lilio_fail(info, LILIO_E_ADDRESS, "%s: %s", path, strerror(errno));
        goto out;
    }
    bound = true;
    if (lstat(path, &st) || listen(fd, LISTEN_BACKLOG)) {
        err = lilio_fail(info, LILIO_E_ADDRESS, "%s: %s", path, strerror(errno));
        goto out;
    }
    *ret = (struct proto_ipc_listener){
        .fd = fd, .path = copy, .device = st.st_dev, .inode = st.st_ino};
    return LILIO_OK;
out:
    if (bound)
        (void)unlink(path); /* ours for an instant; what stays is stale and will be taken over */
    if (fd >= 0)
        (void)close(fd); /* nothing was written to it */
    free(copy);
    return err;
}

void proto_ipc_release(struct proto_ipc_listener *listener)
{
    struct stat st;
    if (listener->path && lstat(listener->path, &st) == 0 && st.st_dev == listener->device &&
        st.st_ino == listener->inode)
        (void)unlink(listener->path); /* what stays is stale and will be taken over */
    free(listener->path);
    *listener = (struct proto_ipc_listener){.fd = -1};
}
