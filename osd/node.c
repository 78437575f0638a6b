#include "osd/node.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

/* A call into the owner thread; lives on the caller's stack until done. */
struct call {
    osd_node_fn fn;
    void *context;
    struct lilio_errinfo *info;
    enum lilio_err err;
    bool done;
    struct call *next;
};

struct osd_node {
    uint32_t id;
    struct base_uuid cluster_id;
    const struct base_clock *clock;
    struct base_log *log;
    int owner_fd, member_fd, stop_fd;
    atomic_uint_fast64_t served;

    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t changed; /* a call ended or a view was published */
    struct osd_node_view view;
    struct proto_map_ref *map;
    struct call *first, **last;
    bool stopped, again;
};

const char *osd_node_state_name(enum osd_node_state state)
{
    switch (state) {
    case OSD_NODE_WAITING: return "waiting";
    case OSD_NODE_SERVING: return "serving";
    case OSD_NODE_FAILED: return "failed";
    case OSD_NODE_BLANK: return "blank";
    case OSD_NODE_REFUSED: return "refused";
    }
    return "unknown";
}

enum lilio_err osd_node_new(uint32_t id, struct base_uuid cluster_id,
                            const struct base_clock *clock, struct base_log *log,
                            struct osd_node **ret_node)
{
    struct osd_node *node = calloc(1, sizeof *node);
    if (!node)
        return LILIO_E_NOMEM;
    node->id = id;
    node->cluster_id = cluster_id;
    node->clock = clock;
    node->log = log;
    node->last = &node->first;
    pthread_mutex_init(&node->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&node->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    node->owner_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    node->member_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    node->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (node->owner_fd < 0 || node->member_fd < 0 || node->stop_fd < 0) {
        osd_node_free(&node);
        return LILIO_E_NOMEM;
    }
    *ret_node = node;
    return LILIO_OK;
}

void osd_node_free(struct osd_node **node)
{
    if (!*node)
        return;
    proto_map_ref_drop(&(*node)->map);
    int fds[] = {(*node)->owner_fd, (*node)->member_fd, (*node)->stop_fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_cond_destroy(&(*node)->changed);
    pthread_mutex_destroy(&(*node)->lock);
    free(*node);
    *node = NULL;
}

uint32_t osd_node_id(const struct osd_node *node)
{
    return node->id;
}

struct base_uuid osd_node_cluster(const struct osd_node *node)
{
    return node->cluster_id;
}

const struct base_clock *osd_node_clock(const struct osd_node *node)
{
    return node->clock;
}

struct base_log *osd_node_log(const struct osd_node *node)
{
    return node->log;
}

/* An eventfd that is full is readable, which is all that is wanted. */
static void ring(int fd)
{
    uint64_t one = 1;
    ssize_t wrote = write(fd, &one, sizeof one);
    (void)wrote;
}

static void silence(int fd)
{
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof count);
    (void)got; /* EAGAIN: it was silent */
}

void osd_node_publish(struct osd_node *node, const struct osd_node_view *view)
{
    pthread_mutex_lock(&node->lock);
    node->view = *view;
    pthread_cond_broadcast(&node->changed);
    pthread_mutex_unlock(&node->lock);
}

void osd_node_view(struct osd_node *node, struct osd_node_view *ret)
{
    pthread_mutex_lock(&node->lock);
    *ret = node->view;
    pthread_mutex_unlock(&node->lock);
}

void osd_node_map_set(struct osd_node *node, struct proto_map_ref *map)
{
    pthread_mutex_lock(&node->lock);
    struct proto_map_ref *old = node->map;
    if (!old || proto_map_ref_get(map)->epoch >= proto_map_ref_get(old)->epoch)
        node->map = map;
    else
        old = map;
    pthread_mutex_unlock(&node->lock);
    proto_map_ref_drop(&old);
}

struct proto_map_ref *osd_node_map_take(struct osd_node *node)
{
    pthread_mutex_lock(&node->lock);
    struct proto_map_ref *map = node->map ? proto_map_ref_take(node->map) : NULL;
    pthread_mutex_unlock(&node->lock);
    return map;
}

uint64_t osd_node_epoch(struct osd_node *node)
{
    pthread_mutex_lock(&node->lock);
    uint64_t epoch = node->map ? proto_map_ref_get(node->map)->epoch : 0;
    pthread_mutex_unlock(&node->lock);
    return epoch;
}

enum lilio_err osd_node_call(struct osd_node *node, osd_node_fn fn, void *context,
                             struct lilio_errinfo *info)
{
    struct call call = {.fn = fn, .context = context, .info = info, .err = LILIO_E_CANCELLED};
    pthread_mutex_lock(&node->lock);
    if (!node->stopped) {
        *node->last = &call;
        node->last = &call.next;
        ring(node->owner_fd);
        while (!call.done)
            pthread_cond_wait(&node->changed, &node->lock);
    }
    pthread_mutex_unlock(&node->lock);
    if (call.err == LILIO_E_CANCELLED)
        return lilio_fail(info, call.err, "this OSD is stopping");
    return call.err;
}

int osd_node_owner_fd(const struct osd_node *node)
{
    return node->owner_fd;
}

/* The next call, taken off the queue; NULL if none waits. */
static struct call *call_take(struct osd_node *node)
{
    pthread_mutex_lock(&node->lock);
    struct call *call = node->first;
    if (call) {
        node->first = call->next;
        if (!node->first)
            node->last = &node->first;
    }
    pthread_mutex_unlock(&node->lock);
    return call;
}

static void call_end(struct osd_node *node, struct call *call, enum lilio_err err)
{
    pthread_mutex_lock(&node->lock);
    call->err = err;
    call->done = true;
    pthread_cond_broadcast(&node->changed);
    pthread_mutex_unlock(&node->lock);
}

void osd_node_calls_run(struct osd_node *node)
{
    silence(node->owner_fd);
    for (struct call *call; (call = call_take(node)) != NULL;)
        call_end(node, call, call->fn(call->context, call->info));
}

void osd_node_owner_wake(struct osd_node *node)
{
    ring(node->owner_fd);
}

void osd_node_member_wake(struct osd_node *node, bool again)
{
    pthread_mutex_lock(&node->lock);
    node->again |= again;
    pthread_mutex_unlock(&node->lock);
    ring(node->member_fd);
}

int osd_node_member_fd(const struct osd_node *node)
{
    return node->member_fd;
}

void osd_node_member_woken(struct osd_node *node, bool *ret_again)
{
    silence(node->member_fd);
    pthread_mutex_lock(&node->lock);
    *ret_again = node->again;
    node->again = false;
    pthread_mutex_unlock(&node->lock);
}

bool osd_node_wait(struct osd_node *node, unsigned states, uint32_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000)
        until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_mutex_lock(&node->lock);
    int waited = 0;
    while (!(states & 1u << node->view.state) && !node->stopped && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&node->changed, &node->lock, &until);
    bool reached = states & 1u << node->view.state;
    pthread_mutex_unlock(&node->lock);
    return reached;
}

void osd_node_stop(struct osd_node *node)
{
    pthread_mutex_lock(&node->lock);
    node->stopped = true;
    while (node->first) {
        node->first->done = true; /* its err says CANCELLED already */
        node->first = node->first->next;
    }
    node->last = &node->first;
    pthread_cond_broadcast(&node->changed);
    pthread_mutex_unlock(&node->lock);
    ring(node->stop_fd);
}

int osd_node_stop_fd(const struct osd_node *node)
{
    return node->stop_fd;
}

void osd_node_note_served(struct osd_node *node)
{
    atomic_fetch_add_explicit(&node->served, 1, memory_order_relaxed);
}

uint64_t osd_node_served(struct osd_node *node)
{
    return atomic_load_explicit(&node->served, memory_order_relaxed);
}
