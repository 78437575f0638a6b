/* How much repair may take from clients: what the priority says, or more when a deadline needs it.
 * Pure: what is seen comes in.
 *
 * The share that keeps the deadline is found by trying: when the work would take too long, the
 * share grows by as much as the time is short; when it would be done long before, it falls again,
 * never below the priority's. The caller measures anew after each change.
 */
#ifndef COORDINATOR_DIAL_H
#define COORDINATOR_DIAL_H

#include "base/eta.h"

/* As on the wire (repair.deadline). */
enum coord_deadline {
    COORD_DEADLINE_NONE,
    COORD_DEADLINE_OPEN,   /* nothing is known yet, or it is too close to call */
    COORD_DEADLINE_KEPT,   /* will be, or is: there is nothing to be done */
    COORD_DEADLINE_RAISED, /* a higher share is being tried */
    COORD_DEADLINE_FAILS,  /* even if nothing is held back */
    COORD_DEADLINE_PASSED,
    COORD_DEADLINE_MET, /* likewise, and nothing was left when it did */
};

struct coord_dial_seen {
    uint32_t least;           /* the priority's share, percent */
    bool has_deadline;        /* there is one */
    uint64_t left_ms;         /* until it; 0 = it has passed */
    bool work;                /* something is to be mended */
    bool held;                /* an OSD holds back because it serves clients */
    struct base_eta_told eta; /* at the share of now */
};

struct coord_dial {
    uint32_t share; /* percent of the idle rate; 100 = nothing is held back */
    enum coord_deadline deadline;
    bool idle; /* there was nothing to be mended */
};
/* The next share, and whether the deadline will be kept. */
struct coord_dial coord_dial_turn(struct coord_dial dial, const struct coord_dial_seen *seen);

#endif
