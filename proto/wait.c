/* poll(2) on the sockets' descriptors rather than zmq_poll, which sleeps on when a connection
 * breaks. */
#include "proto/transport_priv.h"

#include <errno.h>
#include <poll.h>

#include "base/env.h"

#include "base/banned.h"

enum { WAIT_ITEMS_MAX = 1024 };

/* Nothing came to it since it was read until nothing was left: its descriptor will tell. */
static bool rests(const struct proto_wait_item *item)
{
    return item->server && !item->want_ready && proto_server_socket(item->server)->drained;
}

static int look_at_socket(struct proto_wait_item *item, bool *ret_broke, int *ret_nap_ms)
{
    unsigned events = item->channel ? proto_channel_events(item->channel, ret_broke, ret_nap_ms)
                                    : proto_socket_events(proto_server_socket(item->server));
    item->ret_readable = events & PROTO_READABLE;
    item->ret_ready = item->want_ready && (events & PROTO_WRITABLE);
    return item->ret_readable || item->ret_ready;
}

/* Reads the events of the sockets that may have some. Returns how many items are set; *ret_broke
 * when a connection broke under requests; *ret_nap_ms: how long a wait may sleep at most (-1 = for
 * ever). */
static int look_at_sockets(struct proto_wait_item *items, size_t count, bool *ret_broke,
                           int *ret_nap_ms)
{
    int set = 0;
    *ret_broke = false;
    *ret_nap_ms = -1;
    for (size_t i = 0; i < count; i++)
        if ((items[i].channel || items[i].server) && !rests(&items[i]))
            set += look_at_socket(&items[i], ret_broke, ret_nap_ms);
    return set;
}

/* What poll told: descriptors that are ready, and sockets that rested. */
static int look_at_descriptors(struct proto_wait_item *items, size_t count,
                               const struct pollfd *fds)
{
    int set = 0, nap_ms = -1;
    bool broke = false;
    for (size_t i = 0; i < count; i++) {
        if (items[i].server && fds[i].revents && rests(&items[i]))
            set += look_at_socket(&items[i], &broke, &nap_ms);
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
    bool channels_only = true;
    for (size_t i = 0; i < count; i++) {
        bool plain = !items[i].server && !items[i].channel;
        channels_only &= items[i].channel != NULL;
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
        int rc = nap == 0 && channels_only ? 0 : poll(fds, count, nap);
        if (rc > 0)
            set += look_at_descriptors(items, count, fds);
        if (set > 0 || broke || left == 0 || (rc < 0 && errno == EINTR))
            return set;
    }
}
