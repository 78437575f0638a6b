/* poll(2) on the sockets' descriptors rather than zmq_poll, which sleeps on when a connection
 * breaks. */
#include "proto/transport_priv.h"

#include <errno.h>
#include <poll.h>

#include "base/env.h"

#include "base/banned.h"

enum { WAIT_ITEMS_MAX = 1024 };

/* Reads the events of all sockets. Returns how many items are set; *ret_broke when a connection
 * broke under requests; *ret_nap_ms: how long a wait may sleep at most (-1 = for ever). */
static int look_at_sockets(struct proto_wait_item *items, size_t count, bool *ret_broke,
                           int *ret_nap_ms)
{
    int set = 0;
    *ret_broke = false;
    *ret_nap_ms = -1;
    for (size_t i = 0; i < count; i++) {
        struct proto_wait_item *item = &items[i];
        unsigned events = 0;
        if (item->channel)
            events = proto_channel_events(item->channel, ret_broke, ret_nap_ms);
        else if (item->server)
            events = proto_socket_events(proto_server_socket(item->server));
        else
            continue; /* a plain descriptor: poll tells */
        item->ret_readable = events & PROTO_READABLE;
        item->ret_ready = item->want_ready && (events & PROTO_WRITABLE);
        set += item->ret_readable || item->ret_ready;
    }
    return set;
}

static int look_at_descriptors(struct proto_wait_item *items, size_t count,
                               const struct pollfd *fds)
{
    int set = 0;
    for (size_t i = 0; i < count; i++) {
        if (items[i].server || items[i].channel)
            continue;
        items[i].ret_readable = fds[i].revents & (POLLIN | POLLHUP | POLLERR);
        items[i].ret_ready = fds[i].revents & POLLOUT;
        set += items[i].ret_readable || items[i].ret_ready;
    }
    return set;
}

static int left_ms(uint64_t start_ms, int timeout_ms)
{
    if (timeout_ms < 0)
        return -1;
    uint64_t gone = base_now_ms(base_clock_system()) - start_ms;
    return gone >= (uint64_t)timeout_ms ? 0 : timeout_ms - (int)gone;
}

static int item_fd(const struct proto_wait_item *item)
{
    if (item->server)
        return proto_server_socket(item->server)->fd;
    return item->channel ? proto_channel_socket(item->channel)->fd : item->fd;
}

int proto_wait(struct proto_wait_item *items, size_t count, int timeout_ms)
{
    LILIO_ASSERT(count <= WAIT_ITEMS_MAX);
    struct pollfd fds[WAIT_ITEMS_MAX];
    for (size_t i = 0; i < count; i++) {
        bool plain = !items[i].server && !items[i].channel;
        fds[i].fd = item_fd(&items[i]);
        fds[i].events = plain && items[i].want_ready ? POLLIN | POLLOUT : POLLIN;
        items[i].ret_readable = items[i].ret_ready = false;
    }
    uint64_t start_ms = base_now_ms(base_clock_system());
    while (true) {
        bool broke;
        int nap;
        int set = look_at_sockets(items, count, &broke, &nap);
        int left = left_ms(start_ms, timeout_ms);
        if (set > 0 || broke)
            nap = 0; /* only to see whether descriptors are ready, too */
        else if (nap < 0 || (left >= 0 && left < nap))
            nap = left;
        int rc = poll(fds, count, nap);
        if (rc > 0)
            set += look_at_descriptors(items, count, fds);
        if (set > 0 || broke || left == 0 || (rc < 0 && errno == EINTR))
            return set;
    }
}
