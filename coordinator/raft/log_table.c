/* Which entries there are: terms as runs, places as one row per batch. Both are sorted by index,
 * grow at the end, shrink there when a suffix is replaced, and in front when segments go. */
#include "coordinator/raft/log_priv.h"

#include <stdlib.h>

#include "base/banned.h"

void log_table_release(struct log_table *table)
{
    free(table->runs);
    free(table->places);
    *table = (struct log_table){0};
}

void log_table_reset(struct log_table *table, uint64_t index, uint64_t term)
{
    table->base_index = table->last = index;
    table->base_term = term;
    table->run_count = table->place_count = 0;
}

static enum lilio_err grow(void **list, size_t *room, size_t need, size_t size)
{
    if (need <= *room)
        return LILIO_OK;
    size_t wanted = need < 2 * *room ? 2 * *room : need;
    void *grown = reallocarray(*list, wanted, size);
    if (!grown)
        return LILIO_E_NOMEM;
    *list = grown;
    *room = wanted;
    return LILIO_OK;
}

enum lilio_err log_table_reserve(struct log_table *table, size_t runs, size_t places)
{
    enum lilio_err err =
        grow((void **)&table->runs, &table->run_room, table->run_count + runs, sizeof *table->runs);
    return err ? err
               : grow((void **)&table->places, &table->place_room, table->place_count + places,
                      sizeof *table->places);
}

void log_table_add(struct log_table *table, uint64_t term)
{
    table->last++;
    if (table->run_count > 0 && table->runs[table->run_count - 1].term == term)
        return;
    LILIO_ASSERT(table->run_count < table->run_room);
    table->runs[table->run_count++] = (struct log_run){table->last, term};
}

void log_table_truncate(struct log_table *table, uint64_t index)
{
    LILIO_ASSERT(index > table->base_index);
    if (index > table->last)
        return;
    table->last = index - 1;
    while (table->run_count > 0 && table->runs[table->run_count - 1].index >= index)
        table->run_count--;
    while (table->place_count > 0 && table->places[table->place_count - 1].first >= index)
        table->place_count--;
    struct log_place *end = table->place_count ? &table->places[table->place_count - 1] : NULL;
    if (end && end->first + end->count > index)
        end->count = (uint32_t)(index - end->first);
}

void log_table_place(struct log_table *table, struct log_place place)
{
    LILIO_ASSERT(table->place_count < table->place_room);
    table->places[table->place_count++] = place;
}

uint64_t log_table_term(const struct log_table *table, uint64_t index)
{
    if (index == table->base_index)
        return table->base_term;
    LILIO_ASSERT(index > table->base_index && index <= table->last);
    size_t low = 0, high = table->run_count; /* the answer is the last run with an index <= index */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (table->runs[middle].index <= index)
            low = middle;
        else
            high = middle;
    }
    return table->runs[low].term;
}

const struct log_place *log_table_find(const struct log_table *table, uint64_t index)
{
    size_t low = 0, high = table->place_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct log_place *place = &table->places[middle];
        if (index >= place->first && index < place->first + place->count)
            return place;
        if (place->first < index)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

void log_table_cut(struct log_table *table, uint64_t sequence)
{
    size_t gone = 0;
    while (gone < table->place_count && table->places[gone].sequence <= sequence)
        gone++;
    if (gone == 0)
        return;
    const struct log_place *end = &table->places[gone - 1];
    uint64_t base = end->first + end->count - 1;
    table->base_term = log_table_term(table, base);
    table->base_index = base;
    table->place_count -= gone;
    memmove(table->places, table->places + gone, table->place_count * sizeof *table->places);
    size_t runs = 0;
    while (runs + 1 < table->run_count && table->runs[runs + 1].index <= base + 1)
        runs++;
    if (base == table->last)
        runs = table->run_count;
    table->run_count -= runs;
    memmove(table->runs, table->runs + runs, table->run_count * sizeof *table->runs);
}
