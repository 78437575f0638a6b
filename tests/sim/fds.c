/* In place of the C library's functions by the linker's --wrap. */
#include "tests/sim/fds.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/sim/clock.h"
#include "tests/sim/fiber.h"
#include "tests/sim/nodes.h"
#include "tests/sim/wrap.h"

#include "base/banned.h"

enum { FIRST = 1 << 20, POLLS_IN_A_ROW_MAX = 32 };

/* One fiber that waits in poll, on its stack. */
struct waiter {
    struct sim_fiber *fiber;
    struct waiter *next;
};
struct sim_fd {
    int number;
    const struct sim_node *node;
    bool readable, is_event;
    char *path;     /* of an opened folder */
    uint64_t count; /* of an eventfd */
    struct waiter *waiters;
};

static struct {
    struct sim_fd **list;
    size_t count, room;
    unsigned polls_in_a_row;
} fds;

static struct sim_fd *find(int number)
{
    if (number < FIRST || (size_t)(number - FIRST) >= fds.count)
        return NULL;
    return fds.list[number - FIRST];
}

static struct sim_fd *fd_new(const struct sim_node *node)
{
    struct sim_fd *fd = calloc(1, sizeof *fd);
    if (fds.count == fds.room) {
        fds.room = fds.room ? fds.room * 2 : 256;
        fds.list = realloc(fds.list, fds.room * sizeof(struct sim_fd *));
    }
    SIM_ASSERT(fd && fds.list);
    fd->node = node;
    fd->number = FIRST + (int)fds.count;
    fds.list[fds.count++] = fd;
    return fd;
}

struct sim_fd *sim_fd_new(void)
{
    return fd_new(sim_node_self());
}

int sim_fd_number(const struct sim_fd *fd)
{
    return fd->number;
}

void sim_fd_readable(struct sim_fd *fd, bool readable)
{
    if (readable && !fd->readable)
        for (struct waiter *waiter = fd->waiters; waiter; waiter = waiter->next)
            sim_fiber_wake(waiter->fiber);
    fd->readable = readable;
}

void sim_fd_close(struct sim_fd *fd)
{
    fds.list[fd->number - FIRST] = NULL;
    free(fd->path);
    free(fd);
}

void sim_fds_drop(const struct sim_node *node)
{
    for (size_t i = 0; i < fds.count; i++)
        if (fds.list[i] && fds.list[i]->node == node)
            sim_fd_close(fds.list[i]);
}

int sim_fd_event(struct sim_node *node)
{
    struct sim_fd *fd = fd_new(node);
    fd->is_event = true;
    return fd->number;
}

void sim_fd_post(int number)
{
    struct sim_fd *fd = find(number);
    if (!fd)
        return;
    fd->count++;
    sim_fd_readable(fd, true);
}

int sim_fd_folder(const char *path)
{
    struct sim_fd *fd = fd_new(sim_node_self());
    fd->path = strdup(path);
    SIM_ASSERT(fd->path);
    return fd->number;
}

const char *sim_fd_path(int number)
{
    const struct sim_fd *fd = find(number);
    return fd ? fd->path : NULL;
}

/* ---- the C library's ---- */

int __wrap_eventfd(unsigned count, int flags)
{
    SIM_ASSERT(flags & EFD_NONBLOCK);
    int number = sim_fd_event(sim_node_self());
    struct sim_fd *fd = find(number);
    fd->count = count;
    fd->readable = count > 0;
    return number;
}

int __wrap_close(int number)
{
    if (number < FIRST)
        return __real_close(number);
    struct sim_fd *fd = find(number);
    if (!fd) {
        sim_fail(SIM_CRASHED, "descriptor %d is closed twice", number);
    }
    sim_fd_close(fd);
    return 0;
}

ssize_t __wrap_read(int number, void *buffer, size_t size)
{
    if (number < FIRST)
        return __real_read(number, buffer, size);
    struct sim_fd *fd = find(number);
    if (!fd || !fd->is_event || size < sizeof fd->count) {
        errno = fd ? EINVAL : EBADF;
        return -1;
    }
    if (fd->count == 0) {
        errno = EAGAIN;
        return -1;
    }
    memcpy(buffer, &fd->count, sizeof fd->count);
    fd->count = 0;
    sim_fd_readable(fd, false);
    return (ssize_t)sizeof fd->count;
}

ssize_t __wrap_write(int number, const void *buffer, size_t size)
{
    if (number < FIRST)
        return __real_write(number, buffer, size);
    struct sim_fd *fd = find(number);
    uint64_t more;
    if (!fd || !fd->is_event || size != sizeof more) {
        errno = fd ? EINVAL : EBADF;
        return -1;
    }
    memcpy(&more, buffer, sizeof more);
    if (fd->count > UINT64_MAX - 1 - more) {
        errno = EAGAIN;
        return -1;
    }
    fd->count += more;
    sim_fd_readable(fd, fd->count > 0);
    return (ssize_t)size;
}

/* ---- poll ---- */

static int look(struct pollfd *items, nfds_t count)
{
    int set = 0;
    for (nfds_t i = 0; i < count; i++) {
        items[i].revents = 0;
        if (items[i].fd < 0)
            continue;
        const struct sim_fd *fd = find(items[i].fd);
        SIM_ASSERT(items[i].fd >= FIRST); /* nothing of the kernel's can be waited for here */
        if (!fd)
            items[i].revents = POLLNVAL;
        else if (fd->readable)
            items[i].revents = POLLIN & items[i].events;
        if (fd && fd->is_event)
            items[i].revents = (short)(items[i].revents | (POLLOUT & items[i].events));
        set += items[i].revents != 0;
    }
    return set;
}

static void waiters_add(const struct pollfd *items, nfds_t count, struct waiter *waiters)
{
    for (nfds_t i = 0; i < count; i++) {
        struct sim_fd *fd = find(items[i].fd);
        if (!fd)
            continue;
        waiters[i] = (struct waiter){sim_fiber_self(), fd->waiters};
        fd->waiters = &waiters[i];
    }
}

static void waiters_remove(const struct pollfd *items, nfds_t count, struct waiter *waiters)
{
    for (nfds_t i = 0; i < count; i++) {
        struct sim_fd *fd = find(items[i].fd);
        struct waiter **at = fd ? &fd->waiters : NULL;
        while (at && *at && *at != &waiters[i])
            at = &(*at)->next;
        if (at && *at)
            *at = waiters[i].next;
    }
}

int __wrap_poll(struct pollfd *items, nfds_t count, int timeout_ms)
{
    enum { ITEMS_MAX = 1024 };
    SIM_ASSERT(count <= ITEMS_MAX);
    int set = look(items, count);
    if (set > 0 || timeout_ms == 0) {
        /* Who only asks makes no time pass, so others get their turn now and then. */
        if (++fds.polls_in_a_row >= POLLS_IN_A_ROW_MAX)
            sim_fiber_yield();
        else
            sim_fiber_interrupt();
        return set;
    }
    fds.polls_in_a_row = 0;
    uint64_t until = timeout_ms < 0 ? UINT64_MAX : sim_clock_after_ms((uint64_t)timeout_ms);
    struct waiter waiters[ITEMS_MAX];
    while (set == 0 && sim_now() < until) {
        waiters_add(items, count, waiters);
        if (timeout_ms < 0)
            sim_fiber_block();
        else
            (void)sim_fiber_block_until(until); /* the time tells as well */
        waiters_remove(items, count, waiters);
        set = look(items, count);
    }
    return set;
}
