#include "tests/sim/history.h"

#include <stdio.h>
#include <string.h>

#include "tests/sim/grow.h"

#include "base/banned.h"

void sim_history_release(struct sim_history *history)
{
    free(history->ops);
    *history = (struct sim_history){0};
}

size_t sim_history_begin(struct sim_history *history, struct sim_op op, uint64_t now_ns)
{
    history->ops = sim_grow(history->ops, &history->room, history->count + 1, sizeof *history->ops);
    op.outcome = SIM_OPEN;
    op.begin = ++history->order;
    op.end = UINT64_MAX;
    op.begin_ns = now_ns;
    op.end_ns = UINT64_MAX;
    history->ops[history->count] = op;
    return history->count++;
}

struct sim_op *sim_history_end(struct sim_history *history, size_t place, enum sim_outcome outcome,
                               uint64_t now_ns)
{
    struct sim_op *op = &history->ops[place];
    op->outcome = (uint8_t)outcome;
    op->end = ++history->order;
    op->end_ns = now_ns;
    return op;
}

/* ---- versions ---- */

static bool reads(const struct sim_op *op)
{
    return op->kind == SIM_GET && op->outcome == SIM_DONE;
}

static bool writes(const struct sim_op *op)
{
    return (op->kind == SIM_PUT || op->kind == SIM_PUT_ABSENT || op->kind == SIM_PUT_VERSION) &&
           op->outcome == SIM_DONE;
}

static int compare_versions(struct sim_version a, struct sim_version b)
{
    if (a.index != b.index)
        return a.index < b.index ? -1 : 1;
    return a.ordinal == b.ordinal ? 0 : a.ordinal < b.ordinal ? -1 : 1;
}

/* An operation that showed a version and, if it could be told, the value it names. */
struct sighting {
    const struct sim_op *op;
    struct sim_version version;
    uint64_t value;
    size_t place;
};

static int by_version(const void *left, const void *right)
{
    const struct sighting *a = left, *b = right;
    if (a->op->key != b->op->key)
        return a->op->key < b->op->key ? -1 : 1;
    int order = compare_versions(a->version, b->version);
    /* Those that say which value it is come first. */
    bool vague_a = a->value == SIM_ANY_EMPTY, vague_b = b->value == SIM_ANY_EMPTY;
    return order                ? order
           : vague_a != vague_b ? (vague_a ? 1 : -1)
                                : (a->place > b->place) - (a->place < b->place);
}

static int by_value(const void *left, const void *right)
{
    const struct sighting *a = left, *b = right;
    if (a->value != b->value)
        return a->value < b->value ? -1 : 1;
    if (a->op->key != b->op->key) /* a copy of it */
        return a->op->key < b->op->key ? -1 : 1;
    return (a->place > b->place) - (a->place < b->place);
}

static struct sighting *sightings(const struct sim_history *history, size_t *ret_count)
{
    struct sighting *all = NULL;
    size_t count = 0, room = 0;
    for (size_t i = 0; i < history->count; i++) {
        const struct sim_op *op = &history->ops[i];
        if ((!reads(op) && !writes(op)) || op->version.index == 0)
            continue;
        all = sim_grow(all, &room, count + 1, sizeof *all);
        all[count++] = (struct sighting){op, op->version, op->value, i};
    }
    *ret_count = count;
    return all;
}

static uint64_t value_of(const struct sighting *all, size_t count, uint32_t key,
                         struct sim_version version)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct sighting *s = &all[middle];
        int order =
            s->op->key != key ? (s->op->key < key ? -1 : 1) : compare_versions(s->version, version);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && all[low].op->key == key &&
                   compare_versions(all[low].version, version) == 0
               ? all[low].value
               : SIM_ANY_EMPTY;
}

void sim_history_resolve(struct sim_history *history)
{
    size_t count;
    struct sighting *all = sightings(history, &count);
    if (count)
        qsort(all, count, sizeof *all, by_version);
    for (size_t i = 0; i < history->count; i++) {
        struct sim_op *op = &history->ops[i];
        if (op->value == SIM_ANY_EMPTY && op->version.index)
            op->value = value_of(all, count, op->key, op->version);
        if (op->expect == SIM_ANY_EMPTY)
            op->expect = value_of(all, count, op->key, op->expect_version);
    }
    free(all);
}

static bool complain(const struct sim_history *history, char ret_text[1024], const char *what,
                     size_t a, size_t b)
{
    char one[256], two[256];
    sim_op_format(history, a, one, sizeof one);
    sim_op_format(history, b, two, sizeof two);
    snprintf(ret_text, 1024, "%s: %s | %s", what, one, two);
    return false;
}

static bool names_are_unique(const struct sim_history *history, struct sighting *all, size_t count,
                             char ret_text[1024])
{
    if (count)
        qsort(all, count, sizeof *all, by_version);
    for (size_t i = 1; i < count; i++)
        if (all[i].op->key == all[i - 1].op->key &&
            compare_versions(all[i].version, all[i - 1].version) == 0 &&
            all[i].value != all[i - 1].value && all[i].value != SIM_ANY_EMPTY)
            return complain(history, ret_text, "one version, two values", all[i - 1].place,
                            all[i].place);
    if (count)
        qsort(all, count, sizeof *all, by_value);
    for (size_t i = 1; i < count; i++)
        if (all[i].value == all[i - 1].value && all[i].op->key == all[i - 1].op->key &&
            all[i].value != SIM_ANY_EMPTY &&
            compare_versions(all[i].version, all[i - 1].version) != 0)
            return complain(history, ret_text, "one value, two versions: written twice",
                            all[i - 1].place, all[i].place);
    return true;
}

/* An end of an operation that showed a version, or the beginning of one. */
struct moment {
    uint64_t order;
    uint32_t key;
    bool ends;
    size_t place;
};

static int by_key_and_order(const void *left, const void *right)
{
    const struct moment *a = left, *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

/* Sweeps the events of each key: `newest` is the latest version anybody had seen when an operation
 * began; a version it shows must not be older, a new one must be later. */
static bool order_is_kept(const struct sim_history *history, char ret_text[1024])
{
    size_t count = 0, room = 0, *seen = calloc(history->count + 1, sizeof *seen);
    struct moment *moments = NULL;
    for (size_t i = 0; i < history->count && seen; i++) {
        const struct sim_op *op = &history->ops[i];
        if ((!reads(op) && !writes(op)) || op->version.index == 0)
            continue;
        moments = sim_grow(moments, &room, count + 2, sizeof *moments);
        moments[count++] = (struct moment){op->begin, op->key, false, i};
        moments[count++] = (struct moment){op->end, op->key, true, i};
    }
    if (count)
        qsort(moments, count, sizeof *moments, by_key_and_order);
    bool good = seen != NULL;
    size_t newest = SIZE_MAX;
    for (size_t i = 0; i < count && good; i++) {
        const struct moment *m = &moments[i];
        if (i == 0 || m->key != moments[i - 1].key)
            newest = SIZE_MAX;
        const struct sim_op *op = &history->ops[m->place];
        if (!m->ends) {
            seen[m->place] = newest;
            continue;
        }
        size_t before = seen[m->place];
        if (before != SIZE_MAX) {
            int order = compare_versions(op->version, history->ops[before].version);
            if (order < 0 || (order == 0 && writes(op)))
                good = complain(history, ret_text,
                                writes(op) ? "a later write has the older version"
                                           : "a read found an older version than was known",
                                before, m->place);
        }
        if (newest == SIZE_MAX || compare_versions(op->version, history->ops[newest].version) > 0)
            newest = m->place;
    }
    free(moments);
    free(seen);
    return good;
}

bool sim_history_versions_good(const struct sim_history *history, char ret_text[1024])
{
    size_t count;
    struct sighting *all = sightings(history, &count);
    bool good = names_are_unique(history, all, count, ret_text) && order_is_kept(history, ret_text);
    free(all);
    return good;
}

/* ---- text ---- */

void sim_op_format(const struct sim_history *history, size_t place, char *ret_text, size_t size)
{
    static const char *const kinds[] = {"?",   "put",    "put-if-absent", "put-if-version",
                                        "get", "delete", "delete-version"};
    static const char *const outcomes[] = {"open", "ok", "refused", "failed", "unknown"};
    const struct sim_op *op = &history->ops[place];
    char version[40] = "", expect[40] = "", end[48] = "";
    if (op->version.index)
        snprintf(version, sizeof version, " version %llu.%u", (unsigned long long)op->version.index,
                 op->version.ordinal);
    if (op->kind == SIM_PUT_VERSION || op->kind == SIM_DELETE_VERSION)
        snprintf(expect, sizeof expect, " expect %llx", (unsigned long long)op->expect);
    if (op->end != UINT64_MAX)
        snprintf(end, sizeof end, "%llu] %.6f", (unsigned long long)op->end,
                 (double)op->end_ns / 1e9);
    snprintf(ret_text, size, "#%zu client %u %s key %u value %llx%s %s%s%s%s [%llu..%s s", place,
             op->client, kinds[op->kind < 7 ? op->kind : 0], op->key, (unsigned long long)op->value,
             expect, outcomes[op->outcome < 5 ? op->outcome : 0], op->err ? " " : "",
             op->err ? lilio_err_name(op->err) : "", version, (unsigned long long)op->begin, end);
}
