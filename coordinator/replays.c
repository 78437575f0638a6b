#include "coordinator/replays.h"

#include <string.h>

#include "base/banned.h"

static struct coord_replay_run *run_of(struct coord_replays *replays, uint64_t member, uint64_t run,
                                       uint64_t number)
{
    struct coord_replay_run *oldest = &replays->runs[0];
    for (struct coord_replay_run *at = oldest; at < replays->runs + COORD_REPLAY_RUNS; at++) {
        if (at->used != 0 && at->member == member && at->run == run)
            return at;
        if (at->used < oldest->used)
            oldest = at;
    }
    *oldest = (struct coord_replay_run){.member = member, .run = run, .newest = number};
    return oldest;
}

/* The place of a number in the ring of those that came. */
static uint64_t *word_of(struct coord_replay_run *run, uint64_t number, uint64_t *ret_bit)
{
    *ret_bit = UINT64_C(1) << number % 64;
    return &run->came[number % COORD_REPLAY_WINDOW / 64];
}

/* What is between the newest number and this one did not come yet. */
static void move_to(struct coord_replay_run *run, uint64_t number)
{
    uint64_t bit;
    if (number - run->newest >= COORD_REPLAY_WINDOW)
        memset(run->came, 0, sizeof run->came);
    else
        for (uint64_t n = run->newest + 1; n <= number; n++)
            *word_of(run, n, &bit) &= ~bit;
    run->newest = number;
}

bool coord_replays_enter(struct coord_replays *replays, uint64_t member, uint64_t run_id,
                         uint64_t number)
{
    if (run_id == 0)
        return false;
    struct coord_replay_run *run = run_of(replays, member, run_id, number);
    run->used = ++replays->uses;
    if (number > run->newest)
        move_to(run, number);
    else if (run->newest - number >= COORD_REPLAY_WINDOW)
        return true;
    uint64_t bit, *word = word_of(run, number, &bit);
    bool came = (*word & bit) != 0;
    *word |= bit;
    return came;
}
