#include "osd/rebuild_run.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "osd/limits.h"
#include "osd/rebuild_priv.h"

#include "base/banned.h"

enum { PAGE_FAILURES = 64 }; /* of one answer, as in the schema */

struct osd_rebuild {
    struct osd_rebuild_options options;
    int cancel_fd;

    /* Owner thread only. */
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock; /* guards what follows */
    bool running;
    struct proto_rebuild state; /* without text and failures */
    char text[512];
    uint64_t started_ns, ended_ns;
    struct base_buffer failures; /* packed, one behind the other */
    struct base_buffer places;   /* u64: where each begins */
};

static const struct base_clock *clock_of(const struct osd_rebuild *rebuild)
{
    return osd_node_clock(rebuild->options.node);
}

enum lilio_err osd_rebuild_new(const struct osd_rebuild_options *options,
                               struct osd_rebuild **ret_rebuild)
{
    struct osd_rebuild *rebuild = calloc(1, sizeof *rebuild);
    if (!rebuild)
        return LILIO_E_NOMEM;
    rebuild->options = *options;
    rebuild->state.osd = osd_node_id(options->node);
    rebuild->state.cluster_id = osd_node_cluster(options->node);
    pthread_mutex_init(&rebuild->lock, NULL);
    rebuild->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (rebuild->cancel_fd < 0) {
        osd_rebuild_free(&rebuild);
        return LILIO_E_NOMEM;
    }
    *ret_rebuild = rebuild;
    return LILIO_OK;
}

static void thread_join(struct osd_rebuild *rebuild)
{
    if (rebuild->has_thread)
        pthread_join(rebuild->thread, NULL);
    rebuild->has_thread = false;
}

void osd_rebuild_free(struct osd_rebuild **rebuild)
{
    if (!*rebuild)
        return;
    osd_rebuild_cancel(*rebuild);
    thread_join(*rebuild);
    if ((*rebuild)->cancel_fd >= 0)
        close((*rebuild)->cancel_fd);
    base_buffer_release(&(*rebuild)->failures);
    base_buffer_release(&(*rebuild)->places);
    pthread_mutex_destroy(&(*rebuild)->lock);
    free(*rebuild);
    *rebuild = NULL;
}

static void ring_cancel(struct osd_rebuild *rebuild)
{
    uint64_t one = 1;
    ssize_t wrote = write(rebuild->cancel_fd, &one, sizeof one);
    (void)wrote; /* full means readable, which is all that is wanted */
}

static void clear_cancel(struct osd_rebuild *rebuild)
{
    uint64_t count;
    ssize_t got = read(rebuild->cancel_fd, &count, sizeof count);
    (void)got; /* EAGAIN: nothing to clear */
}

/* ---- the worker thread ---- */

static void tell_end(struct osd_rebuild *rebuild, const struct proto_rebuild *state,
                     const struct lilio_errinfo *info)
{
    enum base_log_level level =
        state->phase == OSD_PHASE_PROVEN || state->phase == OSD_PHASE_STOPPED ? BASE_LOG_INFO
                                                                              : BASE_LOG_ERROR;
    base_log_write(osd_node_log(rebuild->options.node), level, "rebuild", "ended",
                   "phase=%u index=%llu expected=%llu present=%llu rebuilt=%llu verified=%llu "
                   "gone=%llu failed=%llu newer=%llu reason=%s",
                   state->phase, (unsigned long long)state->index,
                   (unsigned long long)state->expected, (unsigned long long)state->present,
                   (unsigned long long)state->rebuilt, (unsigned long long)state->verified,
                   (unsigned long long)state->gone, (unsigned long long)state->failed,
                   (unsigned long long)state->newer, state->err ? info->text : "none");
}

static void *run(void *context)
{
    struct osd_rebuild *rebuild = context;
    struct proto_rebuild state = rebuild->state; /* as start left it; nobody else writes now */
    struct lilio_errinfo info = {0};
    osd_rebuild_worker(rebuild, &state, &info);
    tell_end(rebuild, &state, &info);
    pthread_mutex_lock(&rebuild->lock);
    rebuild->state = state;
    (void)snprintf(rebuild->text, sizeof rebuild->text, "%s",
                   state.err || state.phase == OSD_PHASE_STOPPED ? info.text : "");
    rebuild->ended_ns = base_now_ns(clock_of(rebuild));
    rebuild->running = false;
    pthread_mutex_unlock(&rebuild->lock);
    return NULL;
}

const struct osd_rebuild_options *osd_rebuild_options(const struct osd_rebuild *rebuild)
{
    return &rebuild->options;
}

int osd_rebuild_cancel_fd(const struct osd_rebuild *rebuild)
{
    return rebuild->cancel_fd;
}

bool osd_rebuild_cancelled(const struct osd_rebuild *rebuild)
{
    struct proto_wait_item items[] = {
        {.fd = rebuild->cancel_fd},
        {.fd = osd_node_stop_fd(rebuild->options.node)},
    };
    return proto_wait(items, 2, 0) > 0;
}

void osd_rebuild_publish(struct osd_rebuild *rebuild, const struct proto_rebuild *state)
{
    pthread_mutex_lock(&rebuild->lock);
    rebuild->state = *state;
    pthread_mutex_unlock(&rebuild->lock);
}

void osd_rebuild_add_failure(struct osd_rebuild *rebuild,
                             const struct proto_rebuild_failure *failure)
{
    pthread_mutex_lock(&rebuild->lock);
    uint64_t place = rebuild->failures.size;
    if (rebuild->places.size / sizeof place < OSD_REBUILD_FAILURES_MAX &&
        place < OSD_REBUILD_FAILURE_BYTES_MAX &&
        proto_rebuild_failure_pack(failure, &rebuild->failures) == LILIO_OK &&
        base_buffer_append(&rebuild->places, &place, sizeof place) != LILIO_OK)
        rebuild->failures.size = (size_t)place; /* no memory: counted, not named */
    pthread_mutex_unlock(&rebuild->lock);
}

void osd_rebuild_forget_failures(struct osd_rebuild *rebuild)
{
    pthread_mutex_lock(&rebuild->lock);
    base_buffer_clear(&rebuild->failures);
    base_buffer_clear(&rebuild->places);
    pthread_mutex_unlock(&rebuild->lock);
}

/* ---- the owner thread ---- */

bool osd_rebuild_runs(struct osd_rebuild *rebuild)
{
    pthread_mutex_lock(&rebuild->lock);
    bool running = rebuild->running;
    pthread_mutex_unlock(&rebuild->lock);
    return running;
}

enum lilio_err osd_rebuild_start(struct osd_rebuild *rebuild, struct lilio_errinfo *info)
{
    bool running = osd_rebuild_runs(rebuild);
    if (running && osd_rebuild_cancelled(rebuild)) /* to join it would be to end with it */
        return lilio_fail(info, LILIO_E_BUSY, "the rebuild that was stopped is still ending");
    if (running)
        return LILIO_OK;
    thread_join(rebuild);
    clear_cancel(rebuild);
    osd_rebuild_forget_failures(rebuild);
    rebuild->text[0] = '\0';
    rebuild->started_ns = base_now_ns(clock_of(rebuild));
    rebuild->state = (struct proto_rebuild){
        .phase = OSD_PHASE_COUNTING,
        .osd = osd_node_id(rebuild->options.node),
        .cluster_id = osd_node_cluster(rebuild->options.node),
        .started_ms = clock_of(rebuild)->wall_ms(clock_of(rebuild)->context),
    };
    rebuild->running = true;
    base_log_write(osd_node_log(rebuild->options.node), BASE_LOG_INFO, "rebuild", "started", "%s",
                   "");
    if (pthread_create(&rebuild->thread, NULL, run, rebuild) != 0) {
        rebuild->running = false;
        rebuild->state.phase = OSD_PHASE_NONE;
        return lilio_fail(info, LILIO_E_NOMEM, "no thread for the rebuild");
    }
    rebuild->has_thread = true;
    return LILIO_OK;
}

void osd_rebuild_cancel(struct osd_rebuild *rebuild)
{
    ring_cancel(rebuild);
}

/* Lock held. */
static enum lilio_err failures_page(struct osd_rebuild *rebuild, uint32_t from,
                                    struct proto_arena *arena, struct proto_rebuild *ret)
{
    size_t count = rebuild->places.size / sizeof(uint64_t);
    size_t page = from >= count ? 0 : count - from < PAGE_FAILURES ? count - from : PAGE_FAILURES;
    struct proto_rebuild_failure *list = page ? proto_arena_take(arena, page * sizeof *list) : NULL;
    if (page && !list)
        return LILIO_E_NOMEM;
    for (size_t i = 0; i < page; i++) {
        const uint64_t *places = (const uint64_t *)(const void *)rebuild->places.data;
        uint64_t start = places[from + i];
        uint64_t end = from + i + 1 < count ? places[from + i + 1] : rebuild->failures.size;
        struct base_slice bytes = base_slice(rebuild->failures.data + start, (size_t)(end - start));
        struct proto_rebuild_failure found;
        enum lilio_err err = proto_rebuild_failure_unpack(bytes, arena, &found, NULL);
        if (!err) /* the worker may append, and move the bytes, before this is answered */
            err = proto_copy(&proto_type_rebuild_failure, &found, arena, &list[i]);
        if (err)
            return err;
    }
    ret->failures_from = from;
    ret->failures = list;
    ret->failures_count = page;
    return LILIO_OK;
}

enum lilio_err osd_rebuild_get(struct osd_rebuild *rebuild, uint32_t failures_from,
                               struct proto_arena *arena, struct proto_rebuild *ret)
{
    pthread_mutex_lock(&rebuild->lock);
    *ret = rebuild->state;
    uint64_t now = rebuild->running ? base_now_ns(clock_of(rebuild)) : rebuild->ended_ns;
    ret->elapsed_ms = rebuild->started_ns ? (now - rebuild->started_ns) / 1000000u : 0;
    char *text = proto_arena_take(arena, sizeof rebuild->text);
    enum lilio_err err = text ? failures_page(rebuild, failures_from, arena, ret) : LILIO_E_NOMEM;
    if (!err)
        ret->text = base_slice(text, proto_utf8_clean(rebuild->text, text, sizeof rebuild->text));
    pthread_mutex_unlock(&rebuild->lock);
    return err;
}
