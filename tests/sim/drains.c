/* OSDs that are taken away: drained while faults go on, and when nothing needs one of them any more
 * its disk is emptied, which counts as no harm: whatever is lost by it was promised in vain. */
#include "tests/sim/plot_priv.h"

#include "base/mark.h"

#include "base/banned.h"

enum { TRIES = 20 };

static struct {
    bool any;
    unsigned osd;
} drain;

/* -1: nobody says. */
static int64_t left_of(unsigned osd)
{
    struct lilio_errinfo info = {0};
    struct lilio_redundancy redundancy = {0};
    int64_t left = -1;
    if (lilio_redundancy_get(plot.lilio, &redundancy, &info) != LILIO_OK)
        return left;
    for (size_t i = 0; i < redundancy.osd_count; i++)
        if (redundancy.osds[i].id == osd)
            left = (int64_t)redundancy.osds[i].drain_left;
    lilio_redundancy_release(&redundancy);
    return left;
}

static bool step(enum lilio_drain_step step)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = lilio_drain(plot.lilio, drain.osd, step, &info);
    sim_event("operator: drain of osd.%u, step %d: %s", drain.osd, (int)step,
              err ? info.text : "done");
    return err == LILIO_OK;
}

/* An empty disk in its place, which owns nothing and is soon full. */
static void take_away(void)
{
    LILIO_MARK("fault/drained_disk");
    sim_event("operator: osd.%u is drained, its disk goes", drain.osd);
    sim_faults_osd_empty(plot.faults, drain.osd);
    for (int i = 0; i < TRIES && !operator_rebuild(drain.osd); i++)
        sim_sleep(500 * SIM_MS);
}

static void go_on(void)
{
    if (left_of(drain.osd) != 0 || !step(LILIO_DRAIN_END) || left_of(drain.osd) != 0)
        return;
    if (!sim_faults_osd_hurt(plot.faults, drain.osd))
        take_away();
    operator_drain_stop();
}

void operator_drain_stop(void)
{
    while (drain.any && !step(LILIO_DRAIN_STOP))
        sim_sleep(500 * SIM_MS);
    drain.any = false;
}

void operator_drain(struct sim_stream *random)
{
    if (drain.any) {
        go_on();
    } else if (sim_below(random, 100) < plot.swarm.drain_percent) {
        drain.osd = (unsigned)sim_below(random, plot.swarm.osds);
        drain.any = step(LILIO_DRAIN_BEGIN);
    }
}
