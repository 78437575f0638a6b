/* OSDs that go down again and again are not trusted at once when they are back: they serve, but get
 * no work for a while, longer each time. Pure; the leader keeps one for each OSD, and a new leader
 * begins with none.
 */
#ifndef COORDINATOR_DAMPING_H
#define COORDINATOR_DAMPING_H

#include <stdint.h>

enum {
    COORD_DAMPING_WINDOW = 60,   /* units: downs that are closer than this belong together */
    COORD_DAMPING_HOLD_MAX = 12, /* units */
};

struct coord_damping {
    uint32_t downs;    /* one close behind the other */
    uint64_t down_ms;  /* when it went down last */
    uint64_t until_ms; /* it is held until then */
};

/* Times are those of one clock; the unit is the silence that makes an OSD down. */
void coord_damping_down(struct coord_damping *damping, uint64_t now_ms, uint64_t unit_ms);
/* It is back: from its second down on it is held for a unit, doubling with each one more. */
void coord_damping_up(struct coord_damping *damping, uint64_t now_ms, uint64_t unit_ms);
/* For how long it is held yet; 0: it is not. */
uint64_t coord_damping_held_ms(const struct coord_damping *damping, uint64_t now_ms);

#endif
