/* pthreads as fibers, in place of the C library's by the linker's --wrap.
 *
 * The state of a mutex or a condition lies in the caller's pthread_mutex_t or pthread_cond_t; all
 * zeros is free, as in PTHREAD_MUTEX_INITIALIZER. Who waits is in a list of entries on the waiters'
 * stacks; the next owner is drawn by the order of waking alone: an unlocked mutex is taken by
 * whoever runs first. Wrong use ends the run. */
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "tests/sim/clock.h"
#include "tests/sim/fiber.h"
#include "tests/sim/nodes_priv.h"
#include "tests/sim/wrap.h"

#include "base/banned.h"

struct waiter {
    struct sim_fiber *fiber;
    struct waiter *next;
    bool signalled;
};
struct lock {
    struct sim_fiber *owner;
    struct waiter *waiters;
};
struct condition {
    struct waiter *first;
};
_Static_assert(sizeof(struct lock) <= sizeof(pthread_mutex_t), "a mutex has room for ours");
_Static_assert(sizeof(struct condition) <= sizeof(pthread_cond_t), "a condition has room for ours");

/* Outside of fibers (tests, timers, the end) nothing can be contended. */
static struct sim_fiber *owner_now(void)
{
    static char outside;
    struct sim_fiber *self = sim_fiber_self();
    return self ? self : (struct sim_fiber *)(void *)&outside;
}

static struct lock *lock_of(pthread_mutex_t *mutex)
{
    return (struct lock *)(void *)mutex;
}

static struct condition *condition_of(pthread_cond_t *cond)
{
    return (struct condition *)(void *)cond;
}

static void append(struct waiter **list, struct waiter *waiter)
{
    while (*list)
        list = &(*list)->next;
    waiter->next = NULL;
    *list = waiter;
}

static void take_out(struct waiter **list, const struct waiter *waiter)
{
    while (*list && *list != waiter)
        list = &(*list)->next;
    if (*list)
        *list = waiter->next;
}

/* ---- threads ---- */

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attributes, void *(*fn)(void *),
                          void *argument)
{
    (void)attributes;
    struct sim_fiber *fiber = sim_fiber_new(sim_node_self(), fn, argument);
    *ret = sim_fiber_number(fiber);
    sim_fiber_interrupt();
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **ret_result)
{
    struct sim_fiber *fiber = sim_fiber_find((uint32_t)thread);
    if (!fiber || !sim_fiber_join(fiber, ret_result))
        sim_fail(SIM_CRASHED, "thread %u is joined twice", (unsigned)thread);
    return 0;
}

int __wrap_pthread_detach(pthread_t thread)
{
    struct sim_fiber *fiber = sim_fiber_find((uint32_t)thread);
    if (!fiber)
        sim_fail(SIM_CRASHED, "thread %u is detached after its end", (unsigned)thread);
    sim_fiber_let_go(fiber);
    return 0;
}

pthread_t __wrap_pthread_self(void)
{
    const struct sim_fiber *self = sim_fiber_self();
    return self ? sim_fiber_number(self) : 0;
}

/* ---- mutexes ---- */

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    (void)attributes;
    *lock_of(mutex) = (struct lock){0};
    return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex)
{
    if (lock_of(mutex)->owner)
        sim_fail(SIM_CRASHED, "a locked mutex is destroyed");
    return 0;
}

static void lock(struct lock *lock)
{
    if (lock->owner == owner_now())
        sim_fail(SIM_CRASHED, "a mutex is locked twice by one thread");
    while (lock->owner) {
        struct waiter waiter = {.fiber = sim_fiber_self()};
        append(&lock->waiters, &waiter);
        sim_fiber_block();
        take_out(&lock->waiters, &waiter);
    }
    lock->owner = owner_now();
}

static void unlock(struct lock *lock)
{
    if (lock->owner != owner_now())
        sim_fail(SIM_CRASHED, "a mutex is unlocked by a thread that does not hold it");
    lock->owner = NULL;
    if (lock->waiters)
        sim_fiber_wake(lock->waiters->fiber);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    sim_fiber_interrupt();
    lock(lock_of(mutex));
    return 0;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    if (lock_of(mutex)->owner)
        return EBUSY;
    lock_of(mutex)->owner = owner_now();
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    unlock(lock_of(mutex));
    return 0;
}

/* ---- conditions ---- */

int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes)
{
    (void)attributes; /* all of ours use the monotonic clock */
    *condition_of(cond) = (struct condition){0};
    return 0;
}

int __wrap_pthread_cond_destroy(pthread_cond_t *cond)
{
    if (condition_of(cond)->first)
        sim_fail(SIM_CRASHED, "a condition is destroyed while a thread waits for it");
    return 0;
}

/* until_ns UINT64_MAX: for ever. */
static int wait_for(struct condition *condition, struct lock *mutex, uint64_t until_ns)
{
    struct waiter waiter = {.fiber = sim_fiber_self()};
    append(&condition->first, &waiter);
    unlock(mutex);
    while (!waiter.signalled && sim_now() < until_ns) {
        if (until_ns == UINT64_MAX)
            sim_fiber_block();
        else
            (void)sim_fiber_block_until(until_ns); /* the time tells */
    }
    if (!waiter.signalled)
        take_out(&condition->first, &waiter);
    lock(mutex);
    return waiter.signalled ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    return wait_for(condition_of(cond), lock_of(mutex), UINT64_MAX);
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until)
{
    uint64_t local = (uint64_t)until->tv_sec * SIM_S + (uint64_t)until->tv_nsec;
    return wait_for(condition_of(cond), lock_of(mutex),
                    sim_clock_true(sim_node_clock(sim_node_self()), local));
}

static bool signal_first(struct condition *condition)
{
    struct waiter *waiter = condition->first;
    if (!waiter)
        return false;
    condition->first = waiter->next;
    waiter->signalled = true;
    sim_fiber_wake(waiter->fiber);
    return true;
}

int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
    (void)signal_first(condition_of(cond)); /* nobody waits: nothing happens */
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *cond)
{
    while (signal_first(condition_of(cond)))
        ;
    return 0;
}
