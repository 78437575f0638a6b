#include "tests/unit/client/agenda.h"

#include <stdlib.h>

#include "base/banned.h"

void agenda_add(struct agenda *agenda, struct agenda_event event)
{
    if (agenda->count == agenda->capacity) {
        agenda->capacity = agenda->capacity ? 2 * agenda->capacity : 64;
        agenda->events = reallocarray(agenda->events, agenda->capacity, sizeof *agenda->events);
        if (!agenda->events)
            abort();
    }
    event.order = agenda->added++;
    agenda->events[agenda->count++] = event;
}

static uint32_t earliest(const struct agenda *agenda)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < agenda->count; i++) {
        const struct agenda_event *a = &agenda->events[i], *b = &agenda->events[best];
        if (a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order))
            best = i;
    }
    return best;
}

uint64_t agenda_time(const struct agenda *agenda)
{
    return agenda->count ? agenda->events[earliest(agenda)].at_ms : UINT64_MAX;
}

bool agenda_take(struct agenda *agenda, uint64_t now_ms, struct agenda_event *ret_event)
{
    if (agenda_time(agenda) > now_ms)
        return false;
    uint32_t i = earliest(agenda);
    *ret_event = agenda->events[i];
    agenda->events[i] = agenda->events[--agenda->count];
    return true;
}

void agenda_drop(struct agenda *agenda, int kind, uint32_t osd)
{
    for (uint32_t i = 0; i < agenda->count;)
        if (agenda->events[i].kind == kind && agenda->events[i].osd == osd)
            agenda->events[i] = agenda->events[--agenda->count];
        else
            i++;
}

void agenda_release(struct agenda *agenda)
{
    free(agenda->events);
    *agenda = (struct agenda){0};
}

uint64_t agenda_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
