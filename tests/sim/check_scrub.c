/* At the end scrubs find what nobody reads, and nothing else.
 *
 * Everything is good: bits are flipped on the disk of one OSD, and all OSDs hold what they have
 * against the maps. Only that one may find anything. What it found mends itself; that it found all
 * of it is proven by the verification that comes next, which has to find every fragment good.
 */
#include <string.h>

#include "base/mark.h"
#include "tests/sim/disk.h"
#include "tests/sim/plot_priv.h"

#include "base/banned.h"

enum { ROUND_S = 240, FLIPS = 8, TRIES = 20, KINDS = LILIO_SCRUB_KINDS };

/* Before the faults end, whatever goes on; what it finds is mended. */
void operator_scrub(struct sim_stream *random)
{
    struct lilio_scrub_report report = {0};
    struct lilio_errinfo info = {0};
    if (sim_below(random, 100) >= plot.swarm.scrub_percent)
        return;
    uint32_t osd = (uint32_t)sim_below(random, plot.swarm.osds);
    enum lilio_scrub_kind kind = sim_below(random, 2) ? LILIO_SCRUB_DEEP : LILIO_SCRUB_LIGHT;
    if (lilio_scrub_start(plot.lilio, osd, kind, 0, &report, &info) != LILIO_OK)
        sim_event("operator: scrub of osd.%u: %s", osd, info.text);
    lilio_scrub_release(&report);
}

/* Bits of the OSDs that have something and can prove it. */
static uint64_t members(void)
{
    uint64_t mask = 0;
    struct lilio_status status = {0};
    struct lilio_errinfo info = {0};
    while (lilio_status_get(plot.lilio, &status, &info) != LILIO_OK)
        sim_sleep(200 * SIM_MS);
    for (size_t i = 0; i < status.osd_count; i++)
        if (strcmp(status.osds[i].state, "up") == 0 && status.osds[i].complete)
            mask |= UINT64_C(1) << status.osds[i].id;
    lilio_status_release(&status);
    return mask;
}

/* False: it does not answer. */
static bool scrub_get(uint32_t osd, struct lilio_scrub ret[KINDS])
{
    struct lilio_scrub_report report = {0};
    struct lilio_errinfo info = {0};
    bool told = lilio_scrub_get(plot.lilio, osd, &report, &info) == LILIO_OK;
    memcpy(ret, report.scrubs, sizeof report.scrubs);
    lilio_scrub_release(&report);
    return told;
}

static bool order(uint32_t osd, enum lilio_scrub_kind kind)
{
    struct lilio_scrub_report report = {0};
    struct lilio_errinfo info = {0};
    enum lilio_err err = LILIO_E_TIMEOUT;
    for (int i = 0; i < TRIES && err != LILIO_OK; i++, sim_sleep(100 * SIM_MS))
        err = lilio_scrub_start(plot.lilio, osd, kind, 0, &report, &info);
    lilio_scrub_release(&report);
    return err == LILIO_OK;
}

/* A round of this OSD from an order after now to its end; how many fragments it found bad. One that
 * runs already may have passed what is wrong: it is waited for first. */
static uint64_t round_of(uint32_t osd, enum lilio_scrub_kind kind)
{
    struct lilio_scrub scrubs[KINDS] = {0};
    const struct lilio_scrub *scrub = &scrubs[kind - 1];
    uint64_t end = sim_now() + ROUND_S * SIM_S;
    while (!scrub_get(osd, scrubs) || (scrub->ordered && scrub->state != LILIO_SCRUB_RESTS)) {
        if (sim_now() >= end)
            sim_fail(SIM_STUCK, "osd.%u: a round of scrub %d does not end", osd, (int)kind);
        sim_sleep(200 * SIM_MS);
    }
    uint64_t rounds = scrub->rounds;
    if (!order(osd, kind))
        sim_fail(SIM_STUCK, "osd.%u takes no order for a scrub", osd);
    while (!scrub_get(osd, scrubs) || scrub->rounds <= rounds) {
        if (sim_now() >= end)
            sim_fail(SIM_STUCK, "osd.%u: scrub %d is in state %d with %llu of %llu", osd, (int)kind,
                     (int)scrub->state, (unsigned long long)scrub->good,
                     (unsigned long long)scrub->expected);
        sim_sleep(200 * SIM_MS);
    }
    return scrub->last_bad;
}

static void hurt_some(struct sim_stream *random, uint64_t mask, uint32_t *ret_osd)
{
    uint64_t skip = sim_below(random, (uint64_t)__builtin_popcountll(mask));
    for (; skip > 0; skip--)
        mask &= mask - 1;
    *ret_osd = (uint32_t)__builtin_ctzll(mask);
    sim_event("operator: bits of osd.%u flip", *ret_osd);
    for (int i = 0; i < FLIPS; i++)
        (void)sim_disk_flip(sim_node_disk(sim_osd(*ret_osd)), "segments/");
}

void check_end_scrubbed(void)
{
    struct sim_stream random = sim_stream_new("check/scrub");
    uint64_t mask = members();
    uint32_t hurt;
    if (sim_faults_beyond(plot.faults) || plot.swarm.parity == 0 || mask == 0)
        return;
    plot.stage = "scrubs find what nobody reads";
    hurt_some(&random, mask, &hurt);
    for (uint64_t left = mask; left; left &= left - 1) {
        uint32_t osd = (uint32_t)__builtin_ctzll(left);
        uint64_t missing = round_of(osd, LILIO_SCRUB_LIGHT);
        uint64_t bad = round_of(osd, LILIO_SCRUB_DEEP);
        if (missing + bad > 0 && osd != hurt)
            sim_fail(SIM_WRONG, "scrubs of osd.%u, which is whole, find %llu and %llu bad", osd,
                     (unsigned long long)missing, (unsigned long long)bad);
        if (bad > 0)
            LILIO_MARK("fault/flip_scrubbed");
    }
}
