#include "tools/ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/cmd.h"

#include "base/banned.h"

/* Fills host from name. */
static void host_write(struct tools_address *address)
{
    char text[INET6_ADDRSTRLEN] = "";
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (address->name.ss_family == AF_INET) {
        memcpy(&v4, &address->name, sizeof v4);
        (void)inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text); /* there is room */
        (void)snprintf(address->host, sizeof address->host, "%s", text);
    } else {
        memcpy(&v6, &address->name, sizeof v6);
        (void)inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text); /* there is room */
        (void)snprintf(address->host, sizeof address->host, "[%s]", text);
    }
}

static bool is_loopback(const struct tools_address *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memcpy(&v4, &address->name, sizeof v4);
    memcpy(&v6, &address->name, sizeof v6);
    if (address->name.ss_family == AF_INET)
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

/* "0.0.0.0" or "[::]": everywhere, which is nowhere to connect to. */
static bool is_any(const struct tools_address *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memcpy(&v4, &address->name, sizeof v4);
    memcpy(&v6, &address->name, sizeof v6);
    if (address->name.ss_family == AF_INET)
        return v4.sin_addr.s_addr == 0;
    return IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr);
}

enum lilio_err tools_address_resolve(const char *host, bool insecure, struct tools_address *ret,
                                     struct lilio_errinfo *info)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(host, NULL, &hints, &found);
    if (code != 0) {
        hints.ai_family = AF_INET6;
        code = getaddrinfo(host, NULL, &hints, &found);
    }
    if (code != 0)
        return lilio_fail(info, LILIO_E_INVALID, "--listen %s: %s", host, gai_strerror(code));
    struct tools_address address = {.size = found->ai_addrlen};
    memcpy(&address.name, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (!is_loopback(&address) && !insecure)
        return lilio_fail(info, LILIO_E_INVALID,
                          "--listen %s is not loopback: there is no authentication yet, so anybody "
                          "who reaches it can read, write and delete. Say --insecure if that is "
                          "wanted",
                          host);
    if (is_any(&address))
        return lilio_fail(info, LILIO_E_INVALID,
                          "--listen %s: name the address that clients shall use", host);
    host_write(&address);
    *ret = address;
    return LILIO_OK;
}

static void port_set(struct tools_address *address, uint32_t port)
{
    /* The port lies at the same place in both kinds. */
    struct sockaddr_in name;
    memcpy(&name, &address->name, sizeof name);
    name.sin_port = htons((uint16_t)port);
    memcpy(&address->name, &name, sizeof name);
}

/* A socket that listens there, or -1 with errno; *port becomes the real one. */
static int port_bind(const struct tools_address *address, uint32_t *port)
{
    struct tools_address at = *address;
    struct sockaddr_in name;
    int fd = socket(at.name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0)
        return -1;
    port_set(&at, *port);
    /* As libzmq does it: a port whose last user has gone is free, one listened on is not. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at.name, at.size) != 0 || listen(fd, 1) != 0 ||
        getsockname(fd, (struct sockaddr *)&at.name, &at.size) != 0) {
        int number = errno;
        close(fd);
        errno = number;
        return -1;
    }
    memcpy(&name, &at.name, sizeof name);
    *port = ntohs(name.sin_port);
    return fd;
}

static enum lilio_err port_fail(const struct tools_address *address, uint32_t port,
                                const char *node, struct lilio_errinfo *info)
{
    return lilio_fail(info, LILIO_E_ADDRESS, "%s cannot listen on %s:%u: %s", node, address->host,
                      port, strerror(errno));
}

enum lilio_err tools_port_take(const struct tools_address *address, uint32_t port, const char *node,
                               char **ret_endpoint, int *ret_fd, struct lilio_errinfo *info)
{
    int fd = port_bind(address, &port);
    if (fd < 0)
        return port_fail(address, port, node, info);
    char *endpoint = NULL;
    if (asprintf(&endpoint, "tcp://%s:%u", address->host, port) < 0) {
        close(fd);
        return tools_no_memory(info);
    }
    *ret_endpoint = endpoint;
    *ret_fd = fd;
    return LILIO_OK;
}

enum lilio_err tools_port_check(const char *endpoint, const char *node, struct lilio_errinfo *info)
{
    static const char prefix[] = "tcp://";
    char host[256];
    uint32_t port;
    struct tools_address address;
    if (strncmp(endpoint, prefix, sizeof prefix - 1) != 0)
        return LILIO_OK;
    /* A name in a hand-written file: the daemon will see. */
    if (tools_parse_listen(endpoint + sizeof prefix - 1, host, &port, NULL) != LILIO_OK ||
        tools_address_resolve(host, true /* the file was allowed it */, &address, NULL) != LILIO_OK)
        return LILIO_OK;
    int fd = port_bind(&address, &port);
    if (fd < 0)
        return port_fail(&address, port, node, info);
    close(fd);
    return LILIO_OK;
}
