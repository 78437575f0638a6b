/* What has to hold at the end of a run, when nothing is broken any more. */
#include <stdio.h>
#include <string.h>

#include "tests/sim/linear.h"
#include "tests/sim/plot_priv.h"
#include "tests/sim/watch.h"

#include "base/banned.h"

enum { TRIES = 20, MEND_S = 240 };

/* ---- everybody is there ---- */

static bool all_osds_up(const struct lilio_status *status)
{
    static char stage[64];
    unsigned up = 0;
    for (size_t i = 0; i < status->osd_count; i++) {
        const struct lilio_osd *osd = &status->osds[i];
        bool good = strcmp(osd->state, "up") == 0 || strcmp(osd->state, "blank") == 0;
        up += good;
        if (!good) {
            snprintf(stage, sizeof stage, "all OSDs are up (osd.%u is %s)", osd->id, osd->state);
            plot.stage = stage;
            operator_revive(osd->id);
        }
    }
    return up == plot.swarm.osds;
}

static bool get_status(struct lilio_status *ret)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = lilio_status_get(plot.lilio, ret, &info);
    if (err != LILIO_OK)
        sim_event("operator: no status: %s", info.text);
    return err == LILIO_OK;
}

void check_end_converged(void)
{
    for (unsigned i = 0; i < plot.swarm.coordinators; i++)
        while (!operator_replace(i)) {
            plot.stage = "every damaged coordinator is replaced";
            sim_sleep(500 * SIM_MS);
        }
    plot.stage = "all OSDs are up";
    for (bool up = false; !up; sim_sleep(200 * SIM_MS)) {
        struct lilio_status status = {0};
        if (!get_status(&status))
            continue;
        up = all_osds_up(&status);
        lilio_status_release(&status);
    }
    plot.stage = "all coordinators have applied the same";
    while (!sim_watch_converged())
        sim_sleep(50 * SIM_MS);
}

/* ---- what was acknowledged is readable ---- */

static void read_key(uint32_t key, const char *when)
{
    enum lilio_err err = LILIO_OK;
    struct lilio_errinfo info = {0};
    for (int i = 0; i < TRIES; i++) {
        err = sim_workload_read(plot.workload, plot.lilio, UINT32_MAX, key, &info);
        if (err == LILIO_OK || err == LILIO_E_NO_KEY)
            return;
        if (err == LILIO_E_LOST && sim_faults_beyond(plot.faults))
            return; /* said, not hidden */
        sim_event("operator: key %u cannot be read: %s", key, info.text);
        sim_sleep(300 * SIM_MS);
    }
    sim_fail(err == LILIO_E_LOST ? SIM_WRONG : SIM_STUCK, "key %u cannot be read %s: %s: %s", key,
             when, lilio_err_name(err), info.text);
}

void check_end_readable(const char *when)
{
    uint32_t below, others_below;
    struct lilio_errinfo info = {0};
    plot.stage = when;
    sim_workload_keys(plot.workload, &below, &others_below);
    for (uint32_t key = 0; key < below; key++)
        read_key(key, when);
    for (uint32_t key = SIM_MANY_KEY; key < others_below; key++)
        read_key(key, when);
    enum lilio_err err = sim_workload_list(plot.workload, plot.lilio, UINT32_MAX, &info);
    if (err != LILIO_OK)
        sim_fail(SIM_STUCK, "no listing %s: %s", when, info.text);
}

/* ---- the maps know what is missing ---- */

static void report_unknown(void *context, const struct lilio_verify_object *object)
{
    (void)context;
    for (size_t i = 0; i < object->bad_count; i++) {
        const struct lilio_fragment *bad = &object->bad[i];
        if ((bad->err == LILIO_E_MISSING || bad->err == LILIO_E_CORRUPT) && !bad->known_missing &&
            !sim_faults_osd_hurt(plot.faults, bad->osd))
            sim_fail(SIM_WRONG,
                     "%s/%s stripe %llu fragment %u is %s on osd.%u, which is whole, and the maps "
                     "do not know",
                     object->bucket, object->key, (unsigned long long)bad->stripe, bad->index,
                     lilio_err_name(bad->err), bad->osd);
    }
}

void check_end_known(void)
{
    struct lilio_verify_result result = {0};
    struct lilio_errinfo info = {0};
    plot.stage = "the maps know what is missing";
    if (sim_faults_beyond(plot.faults))
        return;
    for (int i = 0; i < TRIES; i++, sim_sleep(500 * SIM_MS))
        if (lilio_verify(plot.lilio, NULL, NULL, false, report_unknown, NULL, NULL, &result,
                         &info) == LILIO_OK)
            return;
    sim_fail(SIM_STUCK, "no verification before the rebuilds: %s", info.text);
}

/* ---- all redundancy is back ---- */

static void rebuild(unsigned osd)
{
    uint64_t mark;
    for (int i = 0; i < TRIES; i++) {
        (void)sim_faults_osd_mendable(plot.faults, osd, &mark);
        if (operator_rebuild(osd)) {
            sim_faults_osd_mended(plot.faults, osd, mark);
            return;
        }
        if (sim_faults_beyond(plot.faults))
            return;
        sim_sleep(500 * SIM_MS);
    }
    sim_fail(SIM_WRONG, "the rebuild of osd.%u cannot be proven", osd);
}

static bool needs_rebuild(const struct lilio_status *status, unsigned osd)
{
    bool complete = true;
    for (size_t i = 0; i < status->osd_count; i++)
        if (status->osds[i].id == osd)
            complete = status->osds[i].complete && strcmp(status->osds[i].state, "up") == 0;
    return !complete || status->repair_rows > 0 || sim_faults_osd_hurt(plot.faults, osd);
}

static void report_bad(void *context, const struct lilio_verify_object *object)
{
    (void)context;
    for (size_t i = 0; i < object->bad_count; i++)
        sim_event("operator: %s/%s stripe %llu fragment %u on osd.%u: %s", object->bucket,
                  object->key, (unsigned long long)object->bad[i].stripe, object->bad[i].index,
                  object->bad[i].osd, lilio_err_name(object->bad[i].err));
}

static bool verify(struct lilio_verify_result *ret)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err =
        lilio_verify(plot.lilio, NULL, NULL, false, report_bad, NULL, NULL, ret, &info);
    if (err != LILIO_OK)
        sim_event("operator: verify: %s", info.text);
    return err == LILIO_OK;
}

static bool all_osds_complete(const struct lilio_status *status)
{
    for (size_t i = 0; i < status->osd_count; i++)
        if (!status->osds[i].complete || strcmp(status->osds[i].state, "up") != 0)
            return false;
    return true;
}

static uint64_t filling_slots(const struct lilio_status *status)
{
    uint64_t slots = 0;
    for (size_t i = 0; i < status->osd_count; i++)
        slots += status->osds[i].filling;
    return slots;
}

/* What is known to be bad mends itself, and what moved fills itself, where every disk is a
 * member's.
 */
static void faults_mend(void)
{
    plot.stage = "faults mend themselves";
    for (uint64_t end = sim_now() + MEND_S * SIM_S;; sim_sleep(500 * SIM_MS)) {
        struct lilio_status status = {0};
        if (sim_faults_beyond(plot.faults))
            return;
        if (!get_status(&status))
            continue;
        uint64_t rows = status.repair_rows, failed = status.repair_failed;
        uint64_t slots = filling_slots(&status);
        bool complete = all_osds_complete(&status);
        lilio_status_release(&status);
        if ((rows == 0 && slots == 0) || !complete)
            return;
        if (sim_now() >= end)
            sim_fail(SIM_WRONG,
                     "%llu runs did not mend themselves within %d s, %llu failed; %llu slots fill",
                     (unsigned long long)rows, MEND_S, (unsigned long long)failed,
                     (unsigned long long)slots);
    }
}

/* Everything was read and is good: the histogram counts just these fragments, all of them good, and
 * nobody is named. */
static void counts_agree(const struct lilio_verify_result *read)
{
    struct lilio_redundancy counted = {0};
    struct lilio_damage damage = {0};
    struct lilio_damage_ask ask = {0};
    struct lilio_errinfo info = {0};
    plot.stage = "the histogram agrees with what was read";
    while (lilio_redundancy_get(plot.lilio, &counted, &info) != LILIO_OK ||
           lilio_damage_get(plot.lilio, &ask, NULL, &damage, &info) != LILIO_OK) {
        lilio_redundancy_release(&counted);
        sim_event("operator: no histogram: %s", info.text);
        sim_sleep(500 * SIM_MS);
    }
    uint64_t fragments = 0;
    for (size_t i = 0; i < counted.line_count; i++)
        for (size_t level = 0; level < LILIO_LEVELS; level++)
            fragments += counted.lines[i].levels[level] * counted.lines[i].total_count;
    if (fragments != read->fragments || counted.whole != counted.stripes || damage.objects > 0)
        sim_fail(SIM_WRONG,
                 "%llu fragments are good, the histogram counts %llu, %llu of %llu stripes whole; "
                 "%llu objects are damaged",
                 (unsigned long long)read->fragments, (unsigned long long)fragments,
                 (unsigned long long)counted.whole, (unsigned long long)counted.stripes,
                 (unsigned long long)damage.objects);
    lilio_redundancy_release(&counted);
    lilio_damage_release(&damage);
}

void check_end_redundant(void)
{
    struct lilio_status status = {0};
    faults_mend();
    plot.stage = "redundancy is full";
    for (unsigned osd = 0; osd < plot.swarm.osds; osd++) {
        while (!get_status(&status))
            sim_sleep(200 * SIM_MS);
        bool needed = needs_rebuild(&status, osd);
        lilio_status_release(&status);
        if (needed)
            rebuild(osd);
    }
    faults_mend(); /* what waited for one that was rebuilt */
    struct lilio_verify_result result = {0};
    for (int i = 0; i < TRIES; i++) {
        if (verify(&result) && result.fragments_good == result.fragments) {
            counts_agree(&result);
            return;
        }
        if (sim_faults_beyond(plot.faults) && result.objects_lost)
            return;
        if (!sim_faults_beyond(plot.faults) &&
            result.fragments_missing + result.fragments_corrupt > 0)
            break; /* now that they are reported they mend themselves: the next look proves nothing
                    */
        sim_sleep(500 * SIM_MS);
    }
    sim_fail(SIM_WRONG,
             "after all rebuilds verify finds %llu of %llu fragments good, %llu missing, %llu "
             "corrupt, %llu not read",
             (unsigned long long)result.fragments_good, (unsigned long long)result.fragments,
             (unsigned long long)result.fragments_missing,
             (unsigned long long)result.fragments_corrupt,
             (unsigned long long)result.fragments_unread);
}

/* ---- what nobody needs is gone ---- */

void check_end_collected(void)
{
    if (plot.swarm.gc_grace_ms > PLOT_GRACE_MS || sim_faults_beyond(plot.faults))
        return;
    plot.stage = "what was deleted is collected";
    for (uint64_t end = sim_now() + 240 * SIM_S; sim_now() < end; sim_sleep(SIM_S)) {
        struct lilio_status status = {0};
        if (!get_status(&status))
            continue;
        uint64_t rows = status.gc_rows;
        lilio_status_release(&status);
        if (rows == 0)
            return;
    }
    sim_fail(SIM_STUCK, "deleted runs still wait for collection after four minutes");
}

/* ---- what the history proves ---- */

void check_end_history(void)
{
    struct sim_history *history = sim_workload_history(plot.workload);
    sim_workload_settle_copies(plot.workload);
    sim_history_resolve(history);
    char text[1024];
    if (!sim_history_versions_good(history, text))
        sim_fail(SIM_WRONG, "%s", text);
    struct sim_linear_report report;
    sim_linear_check_all(history, &report);
    if (report.verdict == SIM_NOT_LINEAR)
        sim_fail(SIM_WRONG, "not linearizable: %s", report.text);
    if (report.verdict == SIM_UNDECIDED)
        printf("linearizability of one key was not decided: %zu configurations\n",
               report.configs_peak);
}
