#include "coordinator/worker.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/banned.h"

struct coord_worker {
    enum lilio_err (*run)(void *context, struct lilio_errinfo *info);
    void *context;
    int done_fd;
    pthread_t thread;
    bool has_thread;
    bool busy;            /* the owner's */
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    bool wanted, ending;
    enum lilio_err err;
    struct lilio_errinfo info;
};

static void *work(void *argument)
{
    struct coord_worker *worker = argument;
    const uint64_t one = 1;
    (void)pthread_mutex_lock(&worker->lock); /* a plain mutex, never destroyed while locked */
    for (;;) {
        while (!worker->wanted && !worker->ending)
            (void)pthread_cond_wait(&worker->wake, &worker->lock); /* cannot fail */
        if (!worker->wanted)
            break;
        worker->wanted = false;
        (void)pthread_mutex_unlock(&worker->lock); /* locked above */
        struct lilio_errinfo info = {0};
        enum lilio_err err = worker->run(worker->context, &info);
        (void)pthread_mutex_lock(&worker->lock); /* as above */
        worker->err = err;
        worker->info = info;
        (void)!write(worker->done_fd, &one, sizeof one); /* the counter is 0 before it */
    }
    (void)pthread_mutex_unlock(&worker->lock); /* locked above */
    return NULL;
}

enum lilio_err coord_worker_new(enum lilio_err (*run)(void *context, struct lilio_errinfo *info),
                                void *context, struct coord_worker **ret_worker,
                                struct lilio_errinfo *info)
{
    struct coord_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    worker->run = run;
    worker->context = context;
    (void)pthread_mutex_init(&worker->lock, NULL); /* default attributes: cannot fail */
    (void)pthread_cond_init(&worker->wake, NULL);  /* likewise */
    worker->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->done_fd >= 0)
        worker->has_thread = pthread_create(&worker->thread, NULL, work, worker) == 0;
    if (!worker->has_thread) {
        coord_worker_free(&worker);
        return lilio_fail(info, LILIO_E_IO, "no descriptor or thread for a worker");
    }
    *ret_worker = worker;
    return LILIO_OK;
}

void coord_worker_free(struct coord_worker **worker)
{
    struct coord_worker *mine = *worker;
    *worker = NULL;
    if (!mine)
        return;
    if (mine->has_thread) {
        (void)pthread_mutex_lock(&mine->lock); /* as in work */
        mine->ending = true;
        (void)pthread_cond_signal(&mine->wake);  /* cannot fail */
        (void)pthread_mutex_unlock(&mine->lock); /* locked above */
        (void)pthread_join(mine->thread, NULL);  /* it ends by itself */
    }
    if (mine->done_fd >= 0)
        (void)close(mine->done_fd);           /* nothing was written to a disk */
    (void)pthread_cond_destroy(&mine->wake);  /* nobody waits */
    (void)pthread_mutex_destroy(&mine->lock); /* nobody holds it */
    free(mine);
}

int coord_worker_fd(const struct coord_worker *worker)
{
    return worker->done_fd;
}

bool coord_worker_busy(const struct coord_worker *worker)
{
    return worker->busy;
}

void coord_worker_start(struct coord_worker *worker)
{
    LILIO_ASSERT(!worker->busy);
    worker->busy = true;
    (void)pthread_mutex_lock(&worker->lock); /* as in work */
    worker->wanted = true;
    (void)pthread_cond_signal(&worker->wake);  /* cannot fail */
    (void)pthread_mutex_unlock(&worker->lock); /* locked above */
}

bool coord_worker_take(struct coord_worker *worker, enum lilio_err *ret_err,
                       struct lilio_errinfo *info)
{
    uint64_t count;
    if (!worker->busy || read(worker->done_fd, &count, sizeof count) != sizeof count)
        return false;
    (void)pthread_mutex_lock(&worker->lock); /* as in work */
    *ret_err = worker->err;
    if (info)
        *info = worker->info;
    (void)pthread_mutex_unlock(&worker->lock); /* locked above */
    worker->busy = false;
    return true;
}
