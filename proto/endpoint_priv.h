/* What an endpoint is, whether it may be listened on, and listening sockets in the filesystem. For
 * proto/transport.c and its tests. */
#ifndef PROTO_ENDPOINT_PRIV_H
#define PROTO_ENDPOINT_PRIV_H

#include <sys/types.h>

#include "base/err.h"
#include "base/types.h"

enum proto_endpoint_kind { PROTO_ENDPOINT_IPC, PROTO_ENDPOINT_TCP, PROTO_ENDPOINT_INPROC };

/* Errors: ADDRESS (another transport, no path, path too long for a socket, no port). */
LILIO_MUST_USE enum lilio_err proto_endpoint_parse(const char *endpoint,
                                                   enum proto_endpoint_kind *ret_kind,
                                                   struct lilio_errinfo *info);
/* What follows "ipc://", "tcp://" or "inproc://". */
const char *proto_endpoint_rest(const char *endpoint);
/* True when a tcp endpoint names this machine's loopback by number or as localhost. */
bool proto_endpoint_is_loopback(const char *endpoint);

/* A listening socket in the filesystem that only this user can connect to. */
struct proto_ipc_listener {
    int fd;
    char *path;
    dev_t device; /* device and inode: whether path is still ours */
    ino_t inode;
};
/* Takes over the path of a socket nobody listens on. Errors: ADDRESS (in use, not a socket, folder
 * missing), DENIED (others may write to the folder, unless insecure), NOMEM. */
LILIO_MUST_USE enum lilio_err proto_ipc_listen(const char *path, bool insecure,
                                               struct proto_ipc_listener *ret,
                                               struct lilio_errinfo *info);
/* Removes the socket file if it is still ours. The descriptor is left to its owner. */
void proto_ipc_release(struct proto_ipc_listener *listener);

#endif
