#include "coordinator/dial.h"

#include "base/banned.h"

enum {
    ROOM = 115,   /* percent of the time that is expected: less until the deadline is too little */
    AIM = 130,    /* what a new share aims at */
    STEP_MAX = 4, /* times the share, at once */
    FULL = 100,
};

static uint32_t between(uint32_t least, uint64_t share)
{
    return share < least ? least : share > FULL ? FULL : (uint32_t)share;
}

/* So that the work would take left_ms / AIM. Rounded up. */
static uint64_t share_for(uint32_t share, uint64_t ms, uint64_t left_ms)
{
    double wanted = (double)share * (double)ms * AIM / FULL / (double)left_ms;
    double most = (double)share * STEP_MAX;
    return (uint64_t)(wanted < most ? wanted : most) + 1;
}

struct coord_dial coord_dial_turn(struct coord_dial dial, const struct coord_dial_seen *seen)
{
    const struct base_eta_told *eta = &seen->eta;
    bool met =
        dial.deadline == COORD_DEADLINE_MET || (dial.deadline == COORD_DEADLINE_KEPT && dial.idle);
    dial.idle = !seen->work;
    if (!seen->has_deadline)
        return (struct coord_dial){seen->least, COORD_DEADLINE_NONE, dial.idle};
    if (seen->left_ms == 0)
        return (struct coord_dial){seen->least, met ? COORD_DEADLINE_MET : COORD_DEADLINE_PASSED,
                                   dial.idle};
    if (!seen->work)
        return (struct coord_dial){seen->least, COORD_DEADLINE_KEPT, dial.idle};
    dial.share = between(seen->least, dial.share);
    if (!eta->known) {
        bool raised = dial.share > seen->least && dial.share < FULL;
        dial.deadline = raised ? COORD_DEADLINE_RAISED : COORD_DEADLINE_OPEN;
        return dial;
    }
    bool late = (double)eta->ms * ROOM / FULL > (double)seen->left_ms;
    if (late && !seen->held)
        dial.share = FULL; /* it goes as fast as it can: no client may slow it down */
    if (late && dial.share < FULL) {
        dial.share = between(seen->least, share_for(dial.share, eta->ms, seen->left_ms));
        dial.deadline = COORD_DEADLINE_RAISED;
        return dial;
    }
    dial.deadline = eta->high_ms <= seen->left_ms ? COORD_DEADLINE_KEPT
                    : eta->ms > seen->left_ms     ? COORD_DEADLINE_FAILS
                                                  : COORD_DEADLINE_OPEN;
    if (eta->high_ms < seen->left_ms / 2 && dial.share > seen->least) {
        uint64_t share = share_for(dial.share, eta->high_ms, seen->left_ms);
        dial.share = between(seen->least, share < dial.share ? share : dial.share);
    }
    return dial;
}
