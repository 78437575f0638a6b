/* Virtual time for the tests of the machines: events in the order of their time, equal times in the
 * order they were added (or at random, to shuffle answers). */
#ifndef TESTS_CLIENT_AGENDA_H
#define TESTS_CLIENT_AGENDA_H

#include <stdbool.h>
#include <stdint.h>

struct agenda_event {
    uint64_t at_ms, order;
    int kind;
    uint32_t stripe, index, osd, attempt, first_block, block_count;
    int err;
    uint64_t epoch;
};
struct agenda {
    struct agenda_event *events;
    uint32_t count, capacity;
    uint64_t added;
};
void agenda_add(struct agenda *agenda, struct agenda_event event);
/* The earliest event's time; UINT64_MAX if there is none. */
uint64_t agenda_time(const struct agenda *agenda);
bool agenda_take(struct agenda *agenda, uint64_t now_ms, struct agenda_event *ret_event);
/* Drops events of an OSD of one kind (what a broken connection loses). */
void agenda_drop(struct agenda *agenda, int kind, uint32_t osd);
void agenda_release(struct agenda *agenda);

/* splitmix64; *state is the seed at first. */
uint64_t agenda_random(uint64_t *state);

#endif
