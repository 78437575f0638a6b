#include "base/eta.h"

#include <math.h>

#include "base/banned.h"

static const double chance = 5.0;      /* standard errors that are no chance any more */
static const double change = 0.2;      /* a rate that differs less is the same rate */
static const double floor_error = 0.1; /* what the past never tells about the future */
static const double worth = 0.75;      /* a greater relative error is no answer yet */
static const double tenth = 1.0 / 9;   /* of all: done, of what is left */

struct sum {
    size_t count;
    double ms, work;
    double variance; /* of the work of a millisecond */
};

static struct sum sum_of(const struct base_eta *eta, size_t from, size_t to)
{
    struct sum sum = {.count = to - from};
    for (size_t i = from; i < to; i++) {
        sum.ms += (double)eta->intervals[i].ms;
        sum.work += eta->intervals[i].work;
    }
    double rate = sum.ms > 0 ? sum.work / sum.ms : 0;
    for (size_t i = from; i < to; i++) {
        double off = eta->intervals[i].work - rate * (double)eta->intervals[i].ms;
        sum.variance += off * off / (double)eta->intervals[i].ms;
    }
    sum.variance /= sum.count > 1 ? (double)(sum.count - 1) : 1;
    return sum;
}

static void forget(struct base_eta *eta, size_t count)
{
    for (size_t i = count; i < eta->count; i++)
        eta->intervals[i - count] = eta->intervals[i];
    eta->count -= count;
}

/* How many standard errors the intervals from `at` on are off those before. 0: not worth it. */
static double step_at(const struct base_eta *eta, size_t at)
{
    struct sum before = sum_of(eta, 0, at), after = sum_of(eta, at, eta->count);
    double was = before.work / before.ms, is = after.work / after.ms;
    double more = was > is ? was : is, off = fabs(was - is);
    if (off <= change * more)
        return 0;
    double variance = (before.variance * (double)(before.count - 1) +
                       after.variance * (double)(after.count - 1)) /
                      (double)(before.count + after.count - 2);
    double error = sqrt(variance * (1 / before.ms + 1 / after.ms));
    return error > off / 1000 ? off / error : 1000;
}

/* Forgets what was before the clearest change of rate, if there is one. */
static void steps_look(struct base_eta *eta)
{
    size_t best = 0;
    double clearest = chance;
    for (size_t at = 1; at + BASE_ETA_LEAST <= eta->count; at++) {
        double step = step_at(eta, at);
        if (step > clearest) {
            clearest = step;
            best = at;
        }
    }
    forget(eta, best);
}

static void join(struct base_eta *eta)
{
    for (size_t i = 0; i < BASE_ETA_INTERVALS / 2; i++) {
        const struct base_eta_interval *pair = &eta->intervals[2 * i];
        eta->intervals[i] =
            (struct base_eta_interval){pair[0].ms + pair[1].ms, pair[0].work + pair[1].work};
    }
    eta->count = BASE_ETA_INTERVALS / 2;
    eta->span_ms *= 2;
}

void base_eta_note(struct base_eta *eta, uint64_t now_ms, uint64_t done)
{
    if (!eta->seen || done < eta->done || now_ms < eta->ms) {
        *eta = (struct base_eta){
            .least_ms = eta->least_ms,
            .seen = true,
            .ms = now_ms,
            .done = done,
            .first = done,
            .span_ms = eta->least_ms ? eta->least_ms : BASE_ETA_SPAN_MS,
        };
        return;
    }
    if (!eta->begun) {
        eta->begun = done > eta->done;
        eta->ms = now_ms;
        eta->done = eta->first = done;
        return;
    }
    if (now_ms - eta->ms < eta->span_ms)
        return;
    if (eta->count == BASE_ETA_INTERVALS)
        join(eta);
    eta->intervals[eta->count++] =
        (struct base_eta_interval){now_ms - eta->ms, (double)(done - eta->done)};
    eta->ms = now_ms;
    eta->done = done;
    steps_look(eta);
}

static uint64_t whole(double value)
{
    return value < 1e15 ? (uint64_t)(value + 0.5) : UINT64_MAX;
}

struct base_eta_told base_eta_tell(const struct base_eta *eta, uint64_t left)
{
    struct sum sum = sum_of(eta, 0, eta->count);
    struct base_eta_told told = {.known = left == 0};
    if (sum.work <= 0)
        return told;
    told.per_s = told.per_s_error = whole(sum.work / sum.ms * 1000);
    if (sum.count < BASE_ETA_LEAST || sum.ms < BASE_ETA_SEEN_MS)
        return told;
    told.per_s_error = whole(sqrt(sum.variance / sum.ms) * 1000);
    if (left == 0)
        return told;
    /* Two standard errors of what was measured and of what is to come. */
    double ms = (double)left * sum.ms / sum.work;
    double error = 2 * sqrt(sum.variance * ms * (1 + ms / sum.ms)) / (double)left + floor_error;
    if (error > worth && (double)(eta->done - eta->first) < tenth * (double)left)
        return told;
    told.known = true;
    told.ms = whole(ms);
    told.low_ms = whole(ms / (1 + error));
    told.high_ms = whole(ms / (1 - (error < worth ? error : worth)));
    return told;
}
