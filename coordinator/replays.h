/* Messages of other coordinators that came before. Raft takes no harm from them, but whoever sends
 * one again should be seen.
 *
 * Each process of a sender draws a number for its run and counts what it sends. Here the newest
 * number of a run is known, and which of the COORD_REPLAY_WINDOW before it came: a network that
 * brings messages late or in another order loses none. What is older than that counts as a replay.
 * A run that is not known is taken as new, so nobody who restarts is locked out, whatever was sent
 * again before; the runs heard least recently are forgotten.
 */
#ifndef COORDINATOR_REPLAYS_H
#define COORDINATOR_REPLAYS_H

#include <stdbool.h>
#include <stdint.h>

enum { COORD_REPLAY_WINDOW = 1024, COORD_REPLAY_RUNS = 32 };

struct coord_replays {
    struct coord_replay_run {
        uint64_t member, run, newest, used; /* 0 = free */
        uint64_t came[COORD_REPLAY_WINDOW / 64];
    } runs[COORD_REPLAY_RUNS];
    uint64_t uses;
};

/* Enters a message; true when it came before. run 0: of a version that does not number, never. */
bool coord_replays_enter(struct coord_replays *replays, uint64_t member, uint64_t run,
                         uint64_t number);

#endif
