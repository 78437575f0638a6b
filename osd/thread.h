/* A thread of the daemon that works by itself and is woken when there is something new: what
 * repair, orphans, comparisons and scrubs share. Sleeps end when the node stops.
 */
#ifndef OSD_THREAD_H
#define OSD_THREAD_H

#include <pthread.h>

#include "osd/link.h"

struct osd_thread {
    pthread_t thread;
    bool runs;
    int wake_fd; /* -1 = none */
};

/* Before anybody wakes it. Errors: NOMEM (no descriptor). Release it with osd_thread_stop also
 * then. */
LILIO_MUST_USE enum lilio_err osd_thread_init(struct osd_thread *thread);
/* Errors: NOMEM (no thread). */
LILIO_MUST_USE enum lilio_err osd_thread_start(struct osd_thread *thread, void *(*run)(void *),
                                               void *context);
/* Any thread, from init to stop. */
void osd_thread_wake(struct osd_thread *thread);
/* On the thread itself: sleeps until the timeout, or until it is woken if it minds. False when it
 * is to stop. What woke it is forgotten either way. */
bool osd_thread_rest(struct osd_thread *thread, struct osd_link *link, bool minds,
                     uint32_t timeout_ms);
/* Waits for its end, if it was started. */
void osd_thread_stop(struct osd_thread *thread);

#endif
