#include "tests/sim/linear.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/grow.h"

#include "base/banned.h"

#define SOMETHING UINT64_MAX /* a value that nobody ever saw */

/* What a configuration is: the value there, the slots whose operation has had its effect, and how
 * many of each counted class of unseen unknown operations were used (an array beside it). */
struct config {
    uint64_t value, done;
    size_t next; /* in the bucket's chain; SIZE_MAX = end */
    bool dropped;
};
struct configs {
    struct config *all;
    uint16_t *used; /* counted for each */
    size_t count, room, used_room;
    size_t *buckets, bucket_count;
};

/* Unknown operations that nobody saw, of one effect and one condition. One that expects a value
 * takes it away for good, so it needs no counter. */
struct class
{
    uint8_t kind;
    bool counted;
    uint64_t value, expect;
    uint16_t begun;
    size_t counter;
};

struct event {
    uint64_t order;
    size_t place; /* of the operation */
    bool ends;
};

struct search {
    const struct sim_history *history;
    struct event *events;
    size_t event_count, event_room;
    struct class *classes;
    size_t class_count, class_room, counted;
    uint32_t *class_of;              /* by place; 0 = none, else class + 1 */
    size_t slots[SIM_UNDER_WAY_MAX]; /* place of the operation, SIZE_MAX = free */
    uint64_t taken;                  /* a bit for each slot that is not free */
    struct configs now, next, seen;
    size_t *stack, stack_room;
    size_t peak;
};

/* ---- what an operation does ---- */

static bool same_value(uint64_t wanted, uint64_t there)
{
    return wanted == there ||
           (wanted == SIM_ANY_EMPTY && sim_value_is_empty(there) && there != SOMETHING);
}

/* It changes nothing: it only has to be true at some moment. */
static bool only_looks(const struct sim_op *op)
{
    return op->kind == SIM_GET || op->outcome == SIM_REFUSED;
}

static bool is_true(const struct sim_op *op, uint64_t there)
{
    switch (op->kind) {
    case SIM_GET: return same_value(op->value, there);
    case SIM_PUT_ABSENT: return there != SIM_NOTHING;
    case SIM_DELETE: return there == SIM_NOTHING;
    case SIM_PUT_VERSION:
    case SIM_DELETE_VERSION:
        /* An expected value that could not be told apart refutes nothing. */
        return op->expect == SIM_ANY_EMPTY || op->expect != there;
    default: return false;
    }
}

/* Whether a change may have its effect now, and what is there then. */
static bool change(uint8_t kind, uint64_t value, uint64_t expect, uint64_t there, uint64_t *ret)
{
    bool deletes = kind == SIM_DELETE || kind == SIM_DELETE_VERSION;
    if (kind == SIM_PUT_ABSENT && there != SIM_NOTHING)
        return false;
    if (kind == SIM_DELETE && there == SIM_NOTHING)
        return false;
    if ((kind == SIM_PUT_VERSION || kind == SIM_DELETE_VERSION) && !same_value(expect, there))
        return false;
    *ret = deletes ? SIM_NOTHING : value;
    return true;
}

/* ---- sets of configurations ---- */

static uint16_t *used_of(const struct search *s, const struct configs *set, size_t i)
{
    return set->used + i * s->counted;
}

static size_t bucket_of(const struct configs *set, const struct config *config)
{
    uint64_t h = (config->value ^ config->done * UINT64_C(0x9e3779b97f4a7c15)) *
                 UINT64_C(0xbf58476d1ce4e5b9);
    return (size_t)(h >> 32) & (set->bucket_count - 1);
}

static void set_clear(struct configs *set)
{
    set->count = 0;
    for (size_t i = 0; i < set->bucket_count; i++)
        set->buckets[i] = SIZE_MAX;
}

static void set_release(struct configs *set)
{
    free(set->all);
    free(set->used);
    free(set->buckets);
}

static void rehash(struct configs *set)
{
    size_t room = 0;
    set->bucket_count = set->bucket_count ? 4 * set->bucket_count : 64;
    free(set->buckets);
    set->buckets = sim_grow(NULL, &room, set->bucket_count, sizeof *set->buckets);
    for (size_t i = 0; i < set->bucket_count; i++)
        set->buckets[i] = SIZE_MAX;
    for (size_t i = 0; i < set->count; i++) {
        size_t *bucket = &set->buckets[bucket_of(set, &set->all[i])];
        set->all[i].next = *bucket;
        *bucket = i;
    }
}

/* a used no more of anything than b. */
static bool used_less(const uint16_t *a, const uint16_t *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (a[i] > b[i])
            return false;
    return true;
}

/* Adds unless something at least as good is there; drops what it makes superfluous. used is not
 * part of this set. */
static bool set_add(const struct search *s, struct configs *set, struct config config,
                    const uint16_t *used)
{
    if (set->count >= set->bucket_count)
        rehash(set);
    size_t *bucket = &set->buckets[bucket_of(set, &config)];
    for (size_t i = *bucket; i != SIZE_MAX; i = set->all[i].next) {
        struct config *other = &set->all[i];
        if (other->dropped || other->value != config.value || other->done != config.done)
            continue;
        if (used_less(used_of(s, set, i), used, s->counted))
            return false;
        if (used_less(used, used_of(s, set, i), s->counted))
            other->dropped = true;
    }
    set->all = sim_grow(set->all, &set->room, set->count + 1, sizeof *set->all);
    set->used = sim_grow(set->used, &set->used_room, (set->count + 1) * (s->counted + 1),
                         sizeof *set->used);
    memcpy(used_of(s, set, set->count), used, s->counted * sizeof *used);
    config.next = *bucket;
    config.dropped = false;
    set->all[set->count] = config;
    *bucket = set->count++;
    return true;
}

/* ---- the sweep ---- */

/* Marks what only looks and is satisfied by the value that is there. */
static void look_around(const struct search *s, struct config *config)
{
    for (uint64_t left = s->taken & ~config->done; left; left &= left - 1) {
        const struct sim_op *op = &s->history->ops[s->slots[__builtin_ctzll(left)]];
        if (only_looks(op) && is_true(op, config->value))
            config->done |= left & -left;
    }
}

static bool begin(struct search *s, size_t place)
{
    if (s->class_of[place]) {
        s->classes[s->class_of[place] - 1].begun++;
        return true;
    }
    size_t slot = 0;
    while (slot < SIM_UNDER_WAY_MAX && s->slots[slot] != SIZE_MAX)
        slot++;
    if (slot == SIM_UNDER_WAY_MAX)
        return false;
    s->slots[slot] = place;
    s->taken |= UINT64_C(1) << slot;
    const struct sim_op *op = &s->history->ops[place];
    if (!only_looks(op))
        return true;
    set_clear(&s->next);
    for (size_t i = 0; i < s->now.count; i++) {
        if (s->now.all[i].dropped)
            continue;
        struct config config = s->now.all[i];
        if (is_true(op, config.value))
            config.done |= UINT64_C(1) << slot;
        set_add(s, &s->next, config, used_of(s, &s->now, i));
    }
    struct configs swap = s->now;
    s->now = s->next;
    s->next = swap;
    return true;
}

/* Keeps the configuration for after the end of slot's operation if that has had its effect, else
 * puts it on the stack to be extended. */
static void sort_in(struct search *s, struct config config, const uint16_t *used, size_t slot,
                    size_t *stack_count)
{
    if (config.done >> slot & 1) {
        config.done &= ~(UINT64_C(1) << slot);
        set_add(s, &s->next, config, used);
    } else if (set_add(s, &s->seen, config, used)) {
        s->stack = sim_grow(s->stack, &s->stack_room, *stack_count + 1, sizeof *s->stack);
        s->stack[(*stack_count)++] = s->seen.count - 1;
    }
}

static void extend(struct search *s, size_t from, size_t slot, uint16_t *scratch,
                   size_t *stack_count)
{
    struct config config = s->seen.all[from];
    uint64_t value;
    for (uint64_t left = s->taken & ~config.done; left; left &= left - 1) {
        const struct sim_op *op = &s->history->ops[s->slots[__builtin_ctzll(left)]];
        if (only_looks(op) || !change(op->kind, op->value, op->expect, config.value, &value))
            continue;
        struct config after = {.value = value, .done = config.done | (left & -left)};
        look_around(s, &after);
        memcpy(scratch, used_of(s, &s->seen, from), s->counted * sizeof *scratch);
        sort_in(s, after, scratch, slot, stack_count);
    }
    for (size_t i = 0; i < s->class_count; i++) {
        const struct class *class = &s->classes[i];
        const uint16_t *used = used_of(s, &s->seen, from);
        if (class->begun <= (class->counted ? used[class->counter] : 0) ||
            !change(class->kind, class->value, class->expect, config.value, &value))
            continue;
        memcpy(scratch, used, s->counted * sizeof *scratch);
        if (class->counted)
            scratch[class->counter]++;
        struct config after = {.value = value, .done = config.done};
        look_around(s, &after);
        sort_in(s, after, scratch, slot, stack_count);
    }
}

/* False when no configuration is left or there are too many. */
static bool end(struct search *s, size_t place)
{
    size_t slot = 0, stack_count = 0, room = 0;
    while (s->slots[slot] != place)
        slot++;
    uint16_t *scratch = sim_grow(NULL, &room, s->counted + 1, sizeof *scratch);
    set_clear(&s->next);
    set_clear(&s->seen);
    for (size_t i = 0; i < s->now.count; i++)
        if (!s->now.all[i].dropped)
            sort_in(s, s->now.all[i], used_of(s, &s->now, i), slot, &stack_count);
    while (stack_count && s->seen.count + s->next.count <= SIM_CONFIGS_MAX) {
        size_t from = s->stack[--stack_count];
        if (!s->seen.all[from].dropped)
            extend(s, from, slot, scratch, &stack_count);
    }
    free(scratch);
    size_t kept = s->seen.count + s->next.count;
    s->peak = kept > s->peak ? kept : s->peak;
    if (stack_count || s->next.count == 0)
        return false;
    struct configs swap = s->now;
    s->now = s->next;
    s->next = swap;
    s->slots[slot] = SIZE_MAX;
    s->taken &= ~(UINT64_C(1) << slot);
    return true;
}

/* ---- preparation ---- */

static bool matters(const struct sim_op *op)
{
    if (op->outcome == SIM_FAILED)
        return false;
    return op->kind != SIM_GET || op->outcome == SIM_DONE;
}

static bool unknown(const struct sim_op *op)
{
    return op->outcome == SIM_OPEN || op->outcome == SIM_UNKNOWN;
}

/* When somebody first had seen the value: the end of the first operation that needs it there. */
static uint64_t seen_at(const struct search *s, const struct sim_op *write)
{
    uint64_t first = UINT64_MAX;
    if (write->kind == SIM_DELETE || write->kind == SIM_DELETE_VERSION)
        return first;
    for (size_t i = 0; i < s->history->count; i++) {
        const struct sim_op *op = &s->history->ops[i];
        if (op->key != write->key || op->outcome != SIM_DONE || op->end >= first)
            continue;
        bool conditional = op->kind == SIM_PUT_VERSION || op->kind == SIM_DELETE_VERSION;
        if ((op->kind == SIM_GET && op->value == write->value) ||
            (conditional && op->expect == write->value))
            first = op->end;
    }
    return first;
}

static uint32_t class_for(struct search *s, const struct sim_op *op)
{
    bool deletes = op->kind == SIM_DELETE || op->kind == SIM_DELETE_VERSION;
    struct class wanted = {
        .kind = op->kind,
        .value = deletes                         ? SIM_NOTHING
                 : sim_value_is_empty(op->value) ? SIM_ANY_EMPTY
                                                 : SOMETHING,
        .expect = op->kind == SIM_PUT_VERSION || op->kind == SIM_DELETE_VERSION ? op->expect : 0,
    };
    for (size_t i = 0; i < s->class_count; i++)
        if (s->classes[i].kind == wanted.kind && s->classes[i].value == wanted.value &&
            s->classes[i].expect == wanted.expect)
            return (uint32_t)i + 1;
    wanted.counted = wanted.expect == SIM_NOTHING || wanted.expect == SIM_ANY_EMPTY;
    wanted.counter = wanted.counted ? s->counted++ : 0;
    s->classes = sim_grow(s->classes, &s->class_room, s->class_count + 1, sizeof *s->classes);
    s->classes[s->class_count++] = wanted;
    return (uint32_t)s->class_count;
}

static void add_event(struct search *s, uint64_t order, size_t place, bool ends)
{
    s->events = sim_grow(s->events, &s->event_room, s->event_count + 1, sizeof *s->events);
    s->events[s->event_count++] = (struct event){order, place, ends};
}

static int by_order(const void *left, const void *right)
{
    const struct event *a = left, *b = right;
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    if (a->ends != b->ends)
        return a->ends ? 1 : -1;
    return (a->place > b->place) - (a->place < b->place);
}

static void prepare(struct search *s, uint32_t key)
{
    for (size_t i = 0; i < s->history->count; i++) {
        const struct sim_op *op = &s->history->ops[i];
        if (op->key != key || !matters(op))
            continue;
        uint64_t last = op->end;
        if (unknown(op)) {
            last = seen_at(s, op);
            if (last == UINT64_MAX)
                s->class_of[i] = class_for(s, op);
            else if (last < op->begin)
                last = op->begin; /* seen before it began: the sweep refuses that answer */
        }
        add_event(s, op->begin, i, false);
        if (!s->class_of[i])
            add_event(s, last, i, true);
    }
    if (s->event_count)
        qsort(s->events, s->event_count, sizeof *s->events, by_order);
}

/* ---- the report ---- */

static void append(char *text, size_t size, const char *format, ...) LILIO_PRINTF(3, 4);
static void append(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, size - used, format, args);
    va_end(args);
}

static void describe(const struct search *s, size_t place, struct sim_linear_report *ret)
{
    char line[256];
    sim_op_format(s->history, place, line, sizeof line);
    append(ret->text, sizeof ret->text, "nothing explains %s\n", line);
    for (size_t i = 0, shown = 0; i < s->now.count && shown < 8; i++)
        if (!s->now.all[i].dropped) {
            append(ret->text, sizeof ret->text, "  possible before: value %llx\n",
                   (unsigned long long)s->now.all[i].value);
            shown++;
        }
    for (size_t i = 0; i < SIM_UNDER_WAY_MAX; i++)
        if (s->slots[i] != SIZE_MAX && s->slots[i] != place) {
            sim_op_format(s->history, s->slots[i], line, sizeof line);
            append(ret->text, sizeof ret->text, "  under way: %s\n", line);
        }
    size_t shown = 0;
    for (size_t i = place; i-- > 0 && shown < 12;) {
        const struct sim_op *op = &s->history->ops[i];
        if (op->key != s->history->ops[place].key || !matters(op))
            continue;
        sim_op_format(s->history, i, line, sizeof line);
        append(ret->text, sizeof ret->text, "  before: %s\n", line);
        shown++;
    }
}

void sim_linear_check(const struct sim_history *history, uint32_t key,
                      struct sim_linear_report *ret)
{
    *ret = (struct sim_linear_report){.verdict = SIM_LINEAR};
    struct search s = {.history = history};
    for (size_t i = 0; i < SIM_UNDER_WAY_MAX; i++)
        s.slots[i] = SIZE_MAX;
    size_t room = 0;
    s.class_of = sim_grow(NULL, &room, history->count + 1, sizeof *s.class_of);
    memset(s.class_of, 0, room * sizeof *s.class_of);
    prepare(&s, key);
    uint16_t *none = calloc(s.counted + 1, sizeof *none);
    if (!none)
        abort();
    set_add(&s, &s.now, (struct config){.value = SIM_NOTHING}, none);
    free(none);
    for (size_t i = 0; i < s.event_count; i++) {
        const struct event *event = &s.events[i];
        if (event->ends ? end(&s, event->place) : begin(&s, event->place))
            continue;
        bool refused = event->ends && s.next.count == 0 && s.seen.count <= SIM_CONFIGS_MAX;
        ret->verdict = refused ? SIM_NOT_LINEAR : SIM_UNDECIDED;
        ret->place = event->place;
        describe(&s, event->place, ret);
        break;
    }
    ret->configs_peak = s.peak;
    set_release(&s.now);
    set_release(&s.next);
    set_release(&s.seen);
    free(s.stack);
    free(s.classes);
    free(s.class_of);
    free(s.events);
}

void sim_linear_check_all(const struct sim_history *history, struct sim_linear_report *ret)
{
    struct sim_linear_report first = {.verdict = SIM_LINEAR};
    uint32_t last = 0;
    for (size_t i = 0; i < history->count; i++)
        last = history->ops[i].key > last ? history->ops[i].key : last;
    for (uint32_t key = 0; history->count && key <= last; key++) {
        struct sim_linear_report report;
        sim_linear_check(history, key, &report);
        size_t peak =
            report.configs_peak > first.configs_peak ? report.configs_peak : first.configs_peak;
        if (report.verdict == SIM_NOT_LINEAR) {
            *ret = report;
            return;
        }
        if (report.verdict == SIM_UNDECIDED && first.verdict == SIM_LINEAR)
            first = report;
        first.configs_peak = peak;
    }
    *ret = first;
}
