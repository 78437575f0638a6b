/* Stacks, switching, and who is ready.
 *
 * A switch saves the registers that a call must keep and changes the stack pointer; nothing of the
 * kernel's is involved, so it costs some nanoseconds. A fiber always switches to the loop of
 * world.c and is switched to from there.
 */
#include "tests/sim/fiber.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/sim/nodes.h"

#if LILIO_SANITIZED
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#include "base/banned.h"

enum { STACK_BYTES = (LILIO_SANITIZED ? 1024 : 256) << 10, GUARD_BYTES = 4096 };

/* A fiber that takes so many steps in so short a time does nothing but ask. */
enum { BUSY_STEPS = 20000 };
static const uint64_t busy_ns = 100 * SIM_MS;

enum state { READY, RUNNING, BLOCKED, ENDED };

struct stack {
    void *sp;
    uint8_t *bottom; /* above the guard page */
    size_t size;
    void *fake; /* what the address sanitizer keeps while it is switched away from */
};

struct sim_fiber {
    struct stack stack;
    struct sim_node *node;
    uint32_t number;
    enum state state;
    uint64_t busy_since, busy_steps;
    bool woken, detached, paused;
    size_t place; /* in the list of those that are ready, if it is in it */
    struct sim_timer timer;
    struct sim_fiber *joiner;
    void *(*fn)(void *argument);
    void *argument, *result;
    struct sim_fiber *before, *next; /* of all */
};

static struct {
    struct stack loop;
    struct sim_fiber *self, *all;
    struct sim_fiber **ready;
    size_t ready_count, ready_room;
    uint8_t **free_stacks;
    size_t free_count, free_room;
    uint32_t last_number;
    struct sim_stream stream; /* interruptions */
    uint64_t interrupt_ppm;
} fibers;

/* ---- switching ---- */

/* Pushes what the calling convention wants kept, leaves the stack pointer in *save, takes another
 * one and pops. */
void sim_switch(void **save, void *to);

#if defined __x86_64__
__asm__(".text\n.globl sim_switch\n.type sim_switch,@function\nsim_switch:\n"
        "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
        "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n"
        ".size sim_switch,.-sim_switch\n");
enum { ENTRY_WORD = 6, FRAME_WORDS = 8 };
#elif defined __aarch64__
__asm__(".text\n.globl sim_switch\n.type sim_switch,%function\nsim_switch:\n"
        "sub sp, sp, #160\n"
        "stp x19, x20, [sp]\n stp x21, x22, [sp, #16]\n stp x23, x24, [sp, #32]\n"
        "stp x25, x26, [sp, #48]\n stp x27, x28, [sp, #64]\n stp x29, x30, [sp, #80]\n"
        "stp d8, d9, [sp, #96]\n stp d10, d11, [sp, #112]\n stp d12, d13, [sp, #128]\n"
        "stp d14, d15, [sp, #144]\n"
        "mov x9, sp\n str x9, [x0]\n mov sp, x1\n"
        "ldp x19, x20, [sp]\n ldp x21, x22, [sp, #16]\n ldp x23, x24, [sp, #32]\n"
        "ldp x25, x26, [sp, #48]\n ldp x27, x28, [sp, #64]\n ldp x29, x30, [sp, #80]\n"
        "ldp d8, d9, [sp, #96]\n ldp d10, d11, [sp, #112]\n ldp d12, d13, [sp, #128]\n"
        "ldp d14, d15, [sp, #144]\n"
        "add sp, sp, #160\n ret\n"
        ".size sim_switch,.-sim_switch\n");
enum { ENTRY_WORD = 11, FRAME_WORDS = 20 };
#else
#error "write sim_switch for this processor"
#endif

static void before_switch(struct stack *from, const struct stack *to, bool for_ever)
{
#if LILIO_SANITIZED
    __sanitizer_start_switch_fiber(for_ever ? NULL : &from->fake, to->bottom, to->size);
#else
    (void)from, (void)to, (void)for_ever;
#endif
}

static void after_switch(struct stack *now, struct stack *from)
{
#if LILIO_SANITIZED
    const void *bottom = NULL;
    size_t size = 0;
    __sanitizer_finish_switch_fiber(now->fake, &bottom, &size);
    if (from && !from->bottom) { /* the main stack: known from its first switch */
        from->bottom = (uint8_t *)(uintptr_t)bottom;
        from->size = size;
    }
#else
    (void)now, (void)from;
#endif
}

static void switch_to_loop(struct sim_fiber *fiber, bool for_ever)
{
    before_switch(&fiber->stack, &fibers.loop, for_ever);
    sim_switch(&fiber->stack.sp, fibers.loop.sp);
    after_switch(&fiber->stack, &fibers.loop);
}

static void switch_from_loop(struct sim_fiber *fiber)
{
    fibers.self = fiber;
    before_switch(&fibers.loop, &fiber->stack, false);
    sim_switch(&fibers.loop.sp, fiber->stack.sp);
    after_switch(&fibers.loop, NULL);
    fibers.self = NULL;
}

static _Noreturn void enter(void)
{
    struct sim_fiber *fiber = fibers.self;
    after_switch(&fiber->stack, &fibers.loop);
    sim_fiber_exit(fiber->fn(fiber->argument));
}

static void stack_take(struct stack *stack)
{
    if (fibers.free_count > 0) {
        stack->bottom = fibers.free_stacks[--fibers.free_count];
    } else {
        uint8_t *at = mmap(NULL, STACK_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        SIM_ASSERT(at != MAP_FAILED && mprotect(at, GUARD_BYTES, PROT_NONE) == 0);
        stack->bottom = at + GUARD_BYTES;
    }
    stack->size = STACK_BYTES;
    void **frame = (void **)(void *)(stack->bottom + STACK_BYTES) - FRAME_WORDS;
    memset(frame, 0, FRAME_WORDS * sizeof *frame);
    void (*entry)(void) = enter;
    memcpy(&frame[ENTRY_WORD], &entry, sizeof entry);
    stack->sp = frame;
}

static void stack_give(struct stack *stack)
{
#if LILIO_SANITIZED
    __asan_unpoison_memory_region(stack->bottom, stack->size);
#endif
    if (fibers.free_count == fibers.free_room) {
        fibers.free_room = fibers.free_room ? fibers.free_room * 2 : 64;
        fibers.free_stacks =
            realloc(fibers.free_stacks, fibers.free_room * sizeof *fibers.free_stacks);
        SIM_ASSERT(fibers.free_stacks);
    }
    fibers.free_stacks[fibers.free_count++] = stack->bottom;
    stack->bottom = NULL;
}

/* ---- who is ready ---- */

static void make_ready(struct sim_fiber *fiber)
{
    fiber->state = READY;
    if (fiber->paused)
        return; /* put into the list when it goes on */
    if (fibers.ready_count == fibers.ready_room) {
        fibers.ready_room = fibers.ready_room ? fibers.ready_room * 2 : 64;
        fibers.ready = realloc(fibers.ready, fibers.ready_room * sizeof *fibers.ready);
        SIM_ASSERT(fibers.ready);
    }
    fiber->place = fibers.ready_count;
    fibers.ready[fibers.ready_count++] = fiber;
}

static void unready(struct sim_fiber *fiber)
{
    struct sim_fiber *last = fibers.ready[--fibers.ready_count];
    fibers.ready[fiber->place] = last;
    last->place = fiber->place;
}

/* Forgets a fiber that has ended. Its stack goes back when nobody stands on it. */
static void fiber_free(struct sim_fiber *fiber)
{
    *(fiber->before ? &fiber->before->next : &fibers.all) = fiber->next;
    if (fiber->next)
        fiber->next->before = fiber->before;
    free(fiber);
}

/* A loop that does not wait would burn a core of a user's. */
static void note_busy(struct sim_fiber *fiber)
{
    if (sim_now() - fiber->busy_since > busy_ns) {
        fiber->busy_since = sim_now();
        fiber->busy_steps = 0;
    }
    if (++fiber->busy_steps == BUSY_STEPS)
        sim_fail(SIM_STUCK, "fiber %u of %s does not wait", fiber->number,
                 sim_node_name(fiber->node));
}

bool sim_fibers_step(struct sim_stream *stream, struct sim_node **ret_node)
{
    if (fibers.ready_count == 0)
        return false;
    struct sim_fiber *fiber =
        fibers.ready[fibers.ready_count == 1 ? 0 : sim_below(stream, fibers.ready_count)];
    unready(fiber);
    *ret_node = fiber->node;
    fiber->state = RUNNING;
    note_busy(fiber);
    sim_hash(fiber->number);
    switch_from_loop(fiber);
    if (fiber->state == ENDED && fiber->stack.bottom)
        stack_give(&fiber->stack);
    if (fiber->state == ENDED && fiber->detached)
        fiber_free(fiber);
    return true;
}

/* ---- life ---- */

void sim_fibers_init(void)
{
    fibers.stream = sim_stream_new("interrupt");
}

void sim_preempt_set(uint64_t millionths)
{
    fibers.interrupt_ppm = millionths;
}

struct sim_fiber *sim_fiber_new(struct sim_node *node, void *(*fn)(void *argument), void *argument)
{
    struct sim_fiber *fiber = calloc(1, sizeof *fiber);
    SIM_ASSERT(fiber);
    fiber->node = node;
    fiber->number = ++fibers.last_number;
    fiber->fn = fn;
    fiber->argument = argument;
    fiber->next = fibers.all;
    if (fibers.all)
        fibers.all->before = fiber;
    fiber->paused = sim_node_paused(node);
    fibers.all = fiber;
    stack_take(&fiber->stack);
    make_ready(fiber);
    return fiber;
}

struct sim_fiber *sim_fiber_self(void)
{
    return fibers.self;
}

struct sim_node *sim_fiber_node(const struct sim_fiber *fiber)
{
    return fiber->node;
}

uint32_t sim_fiber_number(const struct sim_fiber *fiber)
{
    return fiber->number;
}

struct sim_fiber *sim_fiber_find(uint32_t number)
{
    struct sim_fiber *fiber = fibers.all;
    while (fiber && fiber->number != number)
        fiber = fiber->next;
    return fiber;
}

void sim_fiber_exit(void *result)
{
    struct sim_fiber *fiber = fibers.self;
    fiber->result = result;
    fiber->state = ENDED;
    if (fiber->joiner)
        sim_fiber_wake(fiber->joiner);
    switch_to_loop(fiber, true);
    __builtin_unreachable();
}

bool sim_fiber_join(struct sim_fiber *fiber, void **ret_result)
{
    if (fiber->joiner || fiber->detached)
        return false;
    fiber->joiner = fibers.self;
    while (fiber->state != ENDED)
        sim_fiber_block();
    if (ret_result)
        *ret_result = fiber->result;
    if (fiber->stack.bottom)
        stack_give(&fiber->stack);
    fiber_free(fiber);
    return true;
}

void sim_fiber_let_go(struct sim_fiber *fiber)
{
    fiber->detached = true;
}

void sim_fibers_kill(struct sim_node *node)
{
    bool self = false;
    for (struct sim_fiber *fiber = fibers.all, *next; fiber; fiber = next) {
        next = fiber->next;
        if (fiber->node != node)
            continue;
        sim_timer_cancel(&fiber->timer);
        if (fiber == fibers.self) {
            self = true;
            fiber->state = ENDED;
            continue;
        }
        if (fiber->state == READY && !fiber->paused)
            unready(fiber);
        if (fiber->stack.bottom)
            stack_give(&fiber->stack);
        fiber_free(fiber);
    }
    if (self)
        switch_to_loop(fibers.self, true);
}

void sim_fibers_pause(struct sim_node *node, bool paused)
{
    for (struct sim_fiber *fiber = fibers.all; fiber; fiber = fiber->next) {
        if (fiber->node != node || fiber->paused == paused)
            continue;
        if (paused && fiber->state == READY)
            unready(fiber);
        fiber->paused = paused;
        if (!paused && fiber->state == READY)
            make_ready(fiber);
    }
}

size_t sim_fibers_count(const struct sim_node *node)
{
    size_t count = 0;
    for (const struct sim_fiber *fiber = fibers.all; fiber; fiber = fiber->next)
        count += fiber->node == node && fiber->state != ENDED;
    return count;
}

/* ---- blocking ---- */

void sim_fiber_block(void)
{
    struct sim_fiber *fiber = fibers.self;
    SIM_ASSERT(fiber); /* timers must not block */
    fiber->state = BLOCKED;
    fiber->woken = false;
    switch_to_loop(fiber, false);
}

static void time_is_up(struct sim_timer *timer)
{
    struct sim_fiber *fiber = timer->context;
    make_ready(fiber);
}

bool sim_fiber_block_until(uint64_t at_ns)
{
    struct sim_fiber *fiber = fibers.self;
    SIM_ASSERT(fiber);
    sim_timer_set(&fiber->timer, at_ns, time_is_up, fiber);
    sim_fiber_block();
    return fiber->woken;
}

void sim_fiber_wake(struct sim_fiber *fiber)
{
    if (fiber->state != BLOCKED)
        return;
    fiber->woken = true;
    sim_timer_cancel(&fiber->timer);
    make_ready(fiber);
}

void sim_fiber_yield(void)
{
    struct sim_fiber *fiber = fibers.self;
    if (!fiber)
        return;
    make_ready(fiber);
    switch_to_loop(fiber, false);
}

void sim_fiber_interrupt(void)
{
    if (fibers.self && fibers.interrupt_ppm && sim_chance(&fibers.stream, fibers.interrupt_ppm))
        sim_fiber_yield();
}

void sim_fibers_print(void)
{
    static const char *const names[] = {"ready", "running", "blocked", "ended"};
    for (const struct sim_fiber *fiber = fibers.all; fiber; fiber = fiber->next)
        if (fiber->state != ENDED)
            fprintf(stderr, "  fiber %u of %s: %s%s\n", fiber->number, sim_node_name(fiber->node),
                    names[fiber->state], fiber->paused ? ", paused" : "");
}
