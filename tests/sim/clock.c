/* In place of the C library's functions by the linker's --wrap. */
#include "tests/sim/clock.h"

#include <stdio.h>
#include <time.h>

#include "tests/sim/fiber.h"
#include "tests/sim/nodes_priv.h"
#include "tests/sim/wrap.h"

#include "base/banned.h"

enum { MILLION = 1000000 };
static const uint64_t wall_start_ms = UINT64_C(1767225600000); /* the first of January 2026 */

void sim_clock_init(struct sim_clock *clock, const char *node)
{
    *clock = (struct sim_clock){.since_ns = sim_now()};
    struct sim_stream stream = sim_stream_new(node);
    clock->local_ns = sim_between(&stream, SIM_S, 1000000 * SIM_S);
    clock->wall_ms = (int64_t)sim_below(&stream, 200) - 100;
    clock->random = stream;
}

void sim_clock_life(struct sim_clock *clock, const char *node, unsigned life)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s life %u", node, life);
    clock->random = sim_stream_new(name);
}

static uint64_t local_now(const struct sim_clock *clock)
{
    int64_t gone = (int64_t)(sim_now() - clock->since_ns);
    return clock->local_ns +
           (uint64_t)(gone + gone / MILLION * clock->ppm + gone % MILLION * clock->ppm / MILLION);
}

void sim_clock_drift(struct sim_clock *clock, int32_t ppm)
{
    clock->local_ns = local_now(clock);
    clock->since_ns = sim_now();
    clock->ppm = ppm;
}

uint64_t sim_clock_true(const struct sim_clock *clock, uint64_t local_ns)
{
    uint64_t now = local_now(clock);
    if (local_ns <= now)
        return sim_now();
    uint64_t more = local_ns - now, rate = (uint64_t)(MILLION + clock->ppm);
    if (more > UINT64_MAX / MILLION / 2)
        return UINT64_MAX;
    return sim_now() + more / rate * MILLION + more % rate * MILLION / rate + 1;
}

uint64_t sim_clock_after_ms(uint64_t ms)
{
    const struct sim_clock *clock = sim_node_clock(sim_node_self());
    return sim_clock_true(clock, local_now(clock) + ms * SIM_MS);
}

/* ---- the C library's ---- */

static uint64_t wall_now_ms(const struct sim_clock *clock)
{
    return (uint64_t)((int64_t)(wall_start_ms + sim_now() / SIM_MS) + clock->wall_ms);
}

int __wrap_clock_gettime(clockid_t which, struct timespec *ret)
{
    const struct sim_clock *clock = sim_node_clock(sim_node_self());
    uint64_t ns = which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE
                      ? wall_now_ms(clock) * SIM_MS + sim_now() % SIM_MS
                      : local_now(clock);
    *ret = (struct timespec){(time_t)(ns / SIM_S), (long)(ns % SIM_S)};
    return 0;
}

time_t __wrap_time(time_t *ret)
{
    time_t now = (time_t)(wall_now_ms(sim_node_clock(sim_node_self())) / 1000);
    if (ret)
        *ret = now;
    return now;
}

static uint64_t as_ns(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * SIM_S + (uint64_t)time->tv_nsec;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *ret_left)
{
    (void)ret_left; /* nothing interrupts it */
    const struct sim_clock *clock = sim_node_clock(sim_node_self());
    uint64_t until = sim_clock_true(clock, local_now(clock) + as_ns(time));
    while (sim_now() < until)
        (void)sim_fiber_block_until(until); /* the time tells */
    return 0;
}

int __wrap_clock_nanosleep(clockid_t which, int flags, const struct timespec *time,
                           struct timespec *ret_left)
{
    SIM_ASSERT(which == CLOCK_MONOTONIC);
    if (!(flags & TIMER_ABSTIME))
        return __wrap_nanosleep(time, ret_left);
    uint64_t until = sim_clock_true(sim_node_clock(sim_node_self()), as_ns(time));
    while (sim_now() < until)
        (void)sim_fiber_block_until(until); /* the time tells */
    return 0;
}

int __wrap_usleep(useconds_t us)
{
    return __wrap_nanosleep(&(struct timespec){us / 1000000, (long)(us % 1000000) * 1000}, NULL);
}

ssize_t __wrap_getrandom(void *ret, size_t size, unsigned flags)
{
    (void)flags;
    struct sim_stream *stream = &sim_node_clock(sim_node_self())->random;
    uint8_t *at = ret;
    for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
        uint64_t v = sim_u64(stream);
        memcpy(at + i, &v, size - i < sizeof v ? size - i : sizeof v);
    }
    return (ssize_t)size;
}
