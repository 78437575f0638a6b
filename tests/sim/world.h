/* The world of a run: one seed, virtual time, the choice of what runs next, and the trace.
 *
 * Everything happens in one thread. Production code runs as fibers (fiber.h); events (timers) run
 * between them. Time passes only here: a little with every step of a fiber, and by jumps to the
 * next timer when nobody can run. All choices come from the seed, so the same seed gives the same
 * run, and the hash over its trace says whether it did.
 *
 *     sim_world_init(&setup);
 *     ... make a cluster (nodes.h), start a driver: sim_driver_start(fn, context) ...
 *     sim_run();                  returns after sim_end()
 *
 * A run ends by sim_end() (all well) or sim_fail() (prints why, and the line that repeats the run).
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "base/err.h"
#include "base/types.h"

/* Exit codes of lilio-sim. */
enum sim_exit {
    SIM_OK = 0,
    SIM_USAGE = 1,   /* bad arguments, or the simulation itself is broken */
    SIM_CRASHED = 2, /* an assertion, a signal, a sanitizer */
    SIM_WRONG = 3,   /* safety: a wrong result */
    SIM_STUCK = 4,   /* liveness: something that had to happen did not */
};

#define SIM_US UINT64_C(1000)
#define SIM_MS UINT64_C(1000000)
#define SIM_S  UINT64_C(1000000000)

struct sim_setup {
    uint64_t seed;
    uint64_t steps_max; /* fiber steps after which the run is SIM_STUCK; 0 = no limit */
    bool trace;         /* events go to standard output */
    const char *const
        *planted;       /* names of the bugs that are switched on, NULL at the end, or NULL */
    const char *repeat; /* the command line that repeats this run, for messages */
};
void sim_world_init(const struct sim_setup *setup);
/* Runs until sim_end() or sim_fail(). Nothing left to do without either is SIM_STUCK. */
void sim_run(void);
/* The run is over and all is well; sim_run returns soon. */
void sim_end(void);
bool sim_ended(void);
/* Prints the reason, time, seed, trace hash, the last events, and ends the process. */
_Noreturn void sim_fail(enum sim_exit code, const char *reason, ...) LILIO_PRINTF(2, 3);
#define SIM_ASSERT(condition) \
    ((condition) ? (void)0    \
                 : sim_fail(SIM_USAGE, "simulation: %s, %s:%d", #condition, __FILE__, __LINE__))

/* ---- time ---- */

/* True virtual time in nanoseconds since the start of the run; the nodes' clocks differ from it. */
uint64_t sim_now(void);

/* A timer: zero it before its first use; fn runs outside of any fiber and must not block. */
struct sim_timer {
    void (*fn)(struct sim_timer *timer);
    void *context;
    uint64_t at, order;
    size_t place; /* 0: not set */
};
/* Sets, or sets anew. */
void sim_timer_set(struct sim_timer *timer, uint64_t at_ns, void (*fn)(struct sim_timer *timer),
                   void *context);
void sim_timer_cancel(struct sim_timer *timer);

/* ---- chance ---- */

/* Streams: one for each concern, so that a draw more in one leaves the others as they were. */
struct sim_stream {
    uint64_t state;
};
/* Depends on the seed and the name alone. */
struct sim_stream sim_stream_new(const char *name);
uint64_t sim_u64(struct sim_stream *stream);
/* 0 .. n - 1; n > 0. */
uint64_t sim_below(struct sim_stream *stream, uint64_t n);
/* least .. most, both included. */
uint64_t sim_between(struct sim_stream *stream, uint64_t least, uint64_t most);
/* True `millionths` times in a million. */
bool sim_chance(struct sim_stream *stream, uint64_t millionths);
/* Exponentially distributed around a mean, at most 20 times the mean. */
uint64_t sim_about(struct sim_stream *stream, uint64_t mean);

/* ---- trace ---- */

/* Everything that decides feeds the hash: which fiber ran, messages delivered, disk syncs. */
void sim_hash(uint64_t value);
uint64_t sim_trace_hash(void);
/* A line for people: "time node what"; printed with --trace, the last few on failure. Not hashed.
 * The node is the one that runs. */
void sim_event(const char *format, ...) LILIO_PRINTF(1, 2);
bool sim_tracing(void);

/* ---- steps ---- */

/* Called after every step of a fiber, outside of any: checkers look at the nodes here. node is that
 * of the fiber that ran. It may call sim_fail. One watcher; NULL = none. */
struct sim_node;
void sim_watch(void (*fn)(void *context, struct sim_node *node), void *context);
uint64_t sim_steps(void);
/* How likely (in millionths) a fiber is interrupted where it takes a lock. */
void sim_preempt_set(uint64_t millionths);

/* ---- marks: lilio_mark_hit() counts here; faults of the simulation count as "fault/..." ---- */

void sim_marks_each(void (*each)(void *context, const char *name, uint64_t count), void *context);

#endif
