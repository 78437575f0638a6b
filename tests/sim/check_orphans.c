/* At the end no OSD has fragments that nobody will ever name.
 *
 * Sessions of clients that died end; then each OSD rids itself of their puts, by itself where the
 * retention is short, else because it is asked to. What is left on all disks together has to be
 * what the maps name, counted by a verification, and what sessions have that are open still.
 */
#include "tests/sim/plot_priv.h"

#include <string.h>

#include "base/banned.h"

enum { SESSIONS_S = 200, SWEEP_S = 240, TRIES = 40, SHORT_MS = 10000, STAY_MS = 600000 };

/* An OSD counts what it has every one or two seconds, since its owner may sleep for one, and tells
 * it every second: what it told may be three seconds old (osd/member.h), and be on its way. */
enum { TOLD_S = 4 };

static bool status_get(struct lilio_status *ret)
{
    struct lilio_errinfo info = {0};
    return lilio_status_get(plot.lilio, ret, &info) == LILIO_OK;
}

/* All but the operator's. */
static void await_sessions(void)
{
    plot.stage = "sessions of dead clients end";
    for (uint64_t end = sim_now() + SESSIONS_S * SIM_S;; sim_sleep(SIM_S)) {
        struct lilio_status status = {0};
        if (!status_get(&status))
            continue;
        uint64_t sessions = status.session_count;
        lilio_status_release(&status);
        if (sessions <= 1)
            return;
        if (sim_now() >= end)
            sim_fail(SIM_STUCK, "%llu sessions are open, one client is left",
                     (unsigned long long)sessions);
    }
}

static bool is_member(unsigned osd)
{
    struct lilio_status status = {0};
    while (!status_get(&status))
        sim_sleep(200 * SIM_MS);
    bool found = false;
    for (size_t i = 0; i < status.osd_count; i++)
        found |= status.osds[i].id == osd && strcmp(status.osds[i].state, "up") == 0;
    lilio_status_release(&status);
    return found;
}

/* A round that was begun now has ended; false when it was void, or the OSD did not answer. */
static bool round_over(unsigned osd, bool dry, struct lilio_orphans *ret)
{
    struct lilio_errinfo info = {0};
    bool now = plot.swarm.orphan_ms > SHORT_MS;
    if (lilio_orphans_run(plot.lilio, osd, dry, now, ret, &info) != LILIO_OK)
        return false;
    for (uint64_t asked = ret->asked, i = 0; i < TRIES; i++, sim_sleep(250 * SIM_MS)) {
        if (lilio_orphans_get(plot.lilio, osd, ret, &info) != LILIO_OK || ret->asked < asked)
            return false;
        if (ret->ended >= asked)
            return ret->err == LILIO_OK;
    }
    return false;
}

static void osd_sweep(unsigned osd)
{
    struct lilio_orphans orphans = {0};
    for (uint64_t end = sim_now() + SWEEP_S * SIM_S; sim_now() < end; sim_sleep(500 * SIM_MS)) {
        if (!round_over(osd, false, &orphans))
            continue;
        if (orphans.unknown_runs > 0)
            sim_fail(SIM_WRONG, "osd.%u has fragments of a session that was never opened", osd);
        if (orphans.runs == 0)
            return;
    }
    sim_fail(SIM_WRONG, "osd.%u has %llu orphans for four minutes, %llu of them due: %s", osd,
             (unsigned long long)orphans.runs, (unsigned long long)orphans.due, orphans.text);
}

/* Fragments on all disks, by what their OSDs told last; false while something still changes, or
 * nobody answers. */
static bool fragments_stored(uint64_t *ret)
{
    struct lilio_status status = {0};
    bool known = status_get(&status) && status.gc_rows == 0;
    *ret = 0;
    for (size_t i = 0; i < status.osd_count; i++)
        *ret += status.osds[i].fragment_count;
    lilio_status_release(&status);
    return known;
}

/* Fragments that the maps name. */
static bool fragments_named(uint64_t *ret)
{
    struct lilio_verify_result named = {0};
    struct lilio_errinfo info = {0};
    enum lilio_err err =
        lilio_verify(plot.lilio, NULL, NULL, false, NULL, NULL, NULL, &named, &info);
    *ret = named.fragments;
    return err == LILIO_OK;
}

static void none_too_many(uint64_t open)
{
    uint64_t stored, named;
    plot.stage = "what is stored is compared with what is named";
    for (uint64_t end = sim_now() + SESSIONS_S * SIM_S; sim_now() < end; sim_sleep(SIM_S)) {
        if (!fragments_stored(&stored) || !fragments_named(&named))
            continue;
        if (stored != named + open)
            sim_fail(SIM_WRONG, "%llu fragments are stored, %llu are named and %llu may be",
                     (unsigned long long)stored, (unsigned long long)named,
                     (unsigned long long)open);
        return;
    }
    sim_fail(SIM_STUCK, "it never came to rest");
}

void check_end_orphans(void)
{
    if (sim_faults_beyond(plot.faults))
        return;
    await_sessions();
    plot.stage = "orphans are deleted";
    uint64_t open = 0;
    for (unsigned osd = 0; osd < plot.swarm.osds; osd++) {
        struct lilio_orphans orphans = {0};
        if (!is_member(osd))
            continue;
        osd_sweep(osd);
        for (int i = 0; i < TRIES && !round_over(osd, true, &orphans); i++)
            sim_sleep(200 * SIM_MS);
        open += orphans.open;
    }
    if (plot.swarm.out_ms < STAY_MS || plot.swarm.drain_percent > 0 ||
        plot.swarm.gc_grace_ms > PLOT_GRACE_MS)
        return; /* former owners of slots keep what is named, and what is deleted stays */
    sim_sleep(TOLD_S * SIM_S);
    none_too_many(open);
}
