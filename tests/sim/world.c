/* Time, chance, trace, and the loop: timers that are due, else a fiber that is ready, else time
 * jumps to the next timer. */
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mark.h"
#include "base/planted.h"
#include "tests/sim/fiber.h"
#include "tests/sim/nodes.h"

#include "base/banned.h"

enum { STEP_NS = 1000, LINES_KEPT = 64, LINE_BYTES = 240, MARKS_MAX = 1024 };

struct mark {
    const char *name;
    uint64_t count;
};

static struct {
    struct sim_setup setup;
    uint64_t now, steps, hash, orders;
    struct sim_timer **heap; /* from 1; the earliest first */
    size_t heap_count, heap_room;
    struct sim_stream stream; /* who runs next */
    bool ended;
    char lines[LINES_KEPT][LINE_BYTES];
    uint64_t line_count;
    void (*watch)(void *context, struct sim_node *node);
    void *watch_context;
    struct mark marks[MARKS_MAX]; /* a hash table */
} world;

/* ---- chance ---- */

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

struct sim_stream sim_stream_new(const char *name)
{
    uint64_t state = mix(world.setup.seed + 0x9e3779b97f4a7c15u);
    while (*name)
        state = mix(state ^ (uint8_t)*name++) + 0x9e3779b97f4a7c15u;
    return (struct sim_stream){state};
}

uint64_t sim_u64(struct sim_stream *stream)
{
    return mix(stream->state += 0x9e3779b97f4a7c15u);
}

uint64_t sim_below(struct sim_stream *stream, uint64_t n)
{
    SIM_ASSERT(n > 0);
    return n >> 32 ? sim_u64(stream) % n : ((sim_u64(stream) >> 32) * n) >> 32;
}

uint64_t sim_between(struct sim_stream *stream, uint64_t least, uint64_t most)
{
    return least + sim_below(stream, most - least + 1);
}

bool sim_chance(struct sim_stream *stream, uint64_t millionths)
{
    return millionths && sim_below(stream, 1000000) < millionths;
}

/* -ln(u) in integers, so that it is the same with every compiler: u = 2^-k * (1 + f), and the
 * logarithm of 1 + f is close to a parabola. */
uint64_t sim_about(struct sim_stream *stream, uint64_t mean)
{
    uint64_t draw = sim_u64(stream) | 1;
    unsigned zeros = (unsigned)__builtin_clzll(draw);
    uint64_t f = (draw << zeros << 1) >> 48; /* 16 bits of fraction */
    uint64_t log2 = ((uint64_t)(zeros + 1) << 16) - f - ((f * (65536 - f)) >> 16) * 22 / 64;
    uint64_t factor = log2 * 45426 >> 16; /* times ln 2, still with 16 bits of fraction */
    if (factor > (uint64_t)20 << 16)
        factor = (uint64_t)20 << 16;
    return mean >> 32 ? (mean >> 16) * factor : mean * factor >> 16;
}

/* ---- timers: a heap ---- */

static bool is_before(const struct sim_timer *a, const struct sim_timer *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void put_at(size_t place, struct sim_timer *timer)
{
    world.heap[place] = timer;
    timer->place = place;
}

static void sift(size_t place, struct sim_timer *timer)
{
    for (; place > 1 && is_before(timer, world.heap[place / 2]); place /= 2)
        put_at(place, world.heap[place / 2]);
    for (size_t child; (child = place * 2) <= world.heap_count; place = child) {
        if (child < world.heap_count && is_before(world.heap[child + 1], world.heap[child]))
            child++;
        if (!is_before(world.heap[child], timer))
            break;
        put_at(place, world.heap[child]);
    }
    put_at(place, timer);
}

void sim_timer_cancel(struct sim_timer *timer)
{
    size_t place = timer->place;
    if (place == 0)
        return;
    timer->place = 0;
    struct sim_timer *last = world.heap[world.heap_count--];
    if (last != timer)
        sift(place, last);
}

void sim_timer_set(struct sim_timer *timer, uint64_t at_ns, void (*fn)(struct sim_timer *timer),
                   void *context)
{
    sim_timer_cancel(timer);
    *timer = (struct sim_timer){fn, context, at_ns, ++world.orders, 0};
    if (world.heap_count + 1 >= world.heap_room) {
        world.heap_room = world.heap_room ? world.heap_room * 2 : 256;
        world.heap = realloc(world.heap, world.heap_room * sizeof(struct sim_timer *));
        SIM_ASSERT(world.heap);
    }
    sift(++world.heap_count, timer);
}

uint64_t sim_now(void)
{
    return world.now;
}

/* ---- the loop ---- */

static bool run_timers(void)
{
    bool any = false;
    while (world.heap_count > 0 && world.heap[1]->at <= world.now && !world.ended) {
        struct sim_timer *timer = world.heap[1];
        sim_timer_cancel(timer);
        timer->fn(timer);
        any = true;
    }
    return any;
}

static void check_steps(void)
{
    if (world.setup.steps_max && world.steps >= world.setup.steps_max)
        sim_fail(SIM_STUCK, "not done after %" PRIu64 " steps", world.steps);
}

void sim_run(void)
{
    struct sim_node *node;
    while (!world.ended) {
        if (sim_fibers_step(&world.stream, &node)) {
            world.steps++;
            world.now += STEP_NS;
            sim_hash(world.now);
            if (world.watch)
                world.watch(world.watch_context, node);
            check_steps();
        } else if (world.heap_count > 0) {
            world.now = world.heap[1]->at > world.now ? world.heap[1]->at : world.now;
        } else {
            sim_fibers_print();
            sim_fail(SIM_STUCK, "everybody waits for somebody");
        }
        (void)run_timers();
    }
}

void sim_end(void)
{
    world.ended = true;
}

bool sim_ended(void)
{
    return world.ended;
}

void sim_watch(void (*fn)(void *context, struct sim_node *node), void *context)
{
    world.watch = fn;
    world.watch_context = context;
}

uint64_t sim_steps(void)
{
    return world.steps;
}

void sim_world_init(const struct sim_setup *setup)
{
    memset(&world, 0, sizeof world);
    world.setup = *setup;
    world.stream = sim_stream_new("schedule");
    world.now = SIM_S;
    sim_fibers_init();
}

/* ---- trace ---- */

void sim_hash(uint64_t value)
{
    world.hash = (world.hash ^ value) * 0x9e3779b97f4a7c15u;
    world.hash ^= world.hash >> 29;
}

uint64_t sim_trace_hash(void)
{
    return world.hash;
}

bool sim_tracing(void)
{
    return world.setup.trace;
}

void sim_event(const char *format, ...)
{
    char *line = world.lines[world.line_count++ % LINES_KEPT];
    struct sim_node *self = sim_node_self();
    int head = snprintf(line, LINE_BYTES, "%" PRIu64 ".%06" PRIu64 " %-13s ", world.now / SIM_S,
                        world.now % SIM_S / SIM_US, self ? sim_node_name(self) : "-");
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line + head, (size_t)(LINE_BYTES - head), format, arguments);
    va_end(arguments);
    if (world.setup.trace)
        puts(line);
}

static const char *exit_name(enum sim_exit code)
{
    switch (code) {
    case SIM_OK: return "well";
    case SIM_USAGE: return "the simulation is broken";
    case SIM_CRASHED: return "crash";
    case SIM_WRONG: return "wrong result";
    case SIM_STUCK: return "stuck";
    }
    return "?";
}

/* No clean-up: the process may be in the middle of anything. */
void sim_fail(enum sim_exit code, const char *reason, ...)
{
    if (!world.setup.trace) {
        uint64_t first = world.line_count > LINES_KEPT ? world.line_count - LINES_KEPT : 0;
        for (uint64_t i = first; i < world.line_count; i++)
            fprintf(stderr, "%s\n", world.lines[i % LINES_KEPT]);
    }
    va_list arguments;
    va_start(arguments, reason);
    fprintf(stderr, "FAILED (%s): ", exit_name(code));
    vfprintf(stderr, reason, arguments);
    va_end(arguments);
    fprintf(stderr, "\n  at %" PRIu64 ".%06" PRIu64 " s, step %" PRIu64 ", trace %016" PRIx64 "\n",
            world.now / SIM_S, world.now % SIM_S / SIM_US, world.steps, world.hash);
    fprintf(stderr, "  again: %s\n", world.setup.repeat ? world.setup.repeat : "?");
    fflush(NULL);
    _exit((int)code);
}

/* ---- marks and planted bugs ---- */

void lilio_mark_hit(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *at = name; *at; at++)
        hash = (hash ^ (uint8_t)*at) * 0x100000001b3u;
    for (size_t i = 0; i < MARKS_MAX; i++) {
        struct mark *mark = &world.marks[(hash + i) % MARKS_MAX];
        if (!mark->name)
            mark->name = name;
        if (strcmp(mark->name, name) != 0)
            continue;
        mark->count++;
        return;
    }
    SIM_ASSERT(!"more marks than there is room for");
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct mark *const *)a)->name, (*(const struct mark *const *)b)->name);
}

void sim_marks_each(void (*each)(void *context, const char *name, uint64_t count), void *context)
{
    const struct mark *sorted[MARKS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < MARKS_MAX; i++)
        if (world.marks[i].name)
            sorted[count++] = &world.marks[i];
    qsort(sorted, count, sizeof(const struct mark *), by_name);
    for (size_t i = 0; i < count; i++)
        each(context, sorted[i]->name, sorted[i]->count);
}

bool lilio_planted(const char *name)
{
    for (const char *const *at = world.setup.planted; at && *at; at++)
        if (strcmp(*at, name) == 0)
            return true;
    return false;
}
