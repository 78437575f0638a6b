#include "osd/thread.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/banned.h"

enum lilio_err osd_thread_init(struct osd_thread *thread)
{
    *thread = (struct osd_thread){.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    return thread->wake_fd < 0 ? LILIO_E_NOMEM : LILIO_OK;
}

enum lilio_err osd_thread_start(struct osd_thread *thread, void *(*run)(void *), void *context)
{
    thread->runs = pthread_create(&thread->thread, NULL, run, context) == 0;
    return thread->runs ? LILIO_OK : LILIO_E_NOMEM;
}

void osd_thread_wake(struct osd_thread *thread)
{
    uint64_t one = 1;
    ssize_t wrote = write(thread->wake_fd, &one, sizeof one);
    (void)wrote; /* full means readable, which is all that is wanted */
}

bool osd_thread_rest(struct osd_thread *thread, struct osd_link *link, bool minds,
                     uint32_t timeout_ms)
{
    uint64_t count;
    if (!osd_link_sleep(link, minds ? thread->wake_fd : -1, timeout_ms))
        return false;
    ssize_t got = read(thread->wake_fd, &count, sizeof count);
    (void)got; /* EAGAIN: nothing to clear */
    return true;
}

void osd_thread_stop(struct osd_thread *thread)
{
    if (thread->runs)
        pthread_join(thread->thread, NULL);
    if (thread->wake_fd >= 0)
        close(thread->wake_fd);
    *thread = (struct osd_thread){.wake_fd = -1};
}
