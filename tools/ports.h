/* Addresses and TCP ports that the daemons of a local cluster listen on. One thread. */
#ifndef TOOLS_PORTS_H
#define TOOLS_PORTS_H

#include <sys/socket.h>

#include "base/err.h"
#include "base/types.h"

struct tools_address {
    struct sockaddr_storage name;
    socklen_t size;
    char host[64]; /* as in an endpoint: "127.0.0.1", "[::1]" */
};
/* The first address of a host (IPv4 before IPv6). Errors: INVALID: no such host; it is not
 * loopback, unless insecure; it is no one address ("0.0.0.0"). */
LILIO_MUST_USE enum lilio_err tools_address_resolve(const char *host, bool insecure,
                                                    struct tools_address *ret,
                                                    struct lilio_errinfo *info);
/* Takes address:port (0: a free one): *ret_fd listens there until it is closed, so that the port is
 * not given away meanwhile. Errors: ADDRESS, naming node; NOMEM. */
LILIO_MUST_USE enum lilio_err tools_port_take(const struct tools_address *address, uint32_t port,
                                              const char *node, char **ret_endpoint, int *ret_fd,
                                              struct lilio_errinfo *info);
/* Can this endpoint's port be listened on? OK for ipc. Errors: ADDRESS, naming node. */
LILIO_MUST_USE enum lilio_err tools_port_check(const char *endpoint, const char *node,
                                               struct lilio_errinfo *info);

#endif
