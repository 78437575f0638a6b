#include "tests/sim/plot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/memory.h"
#include "tests/sim/plot_priv.h"
#include "tests/sim/watch.h"

#include "base/banned.h"

#define CALM_NS     (5 * SIM_S)  /* of work after the heal */
#define PATIENCE_NS (20 * SIM_S) /* before somebody rebuilds OSDs because puts fail */

/* What every seed has to show; what was missed under faults is made up for afterwards. */
#define COMMITS_LEAST          500
#define CALLS_PER_SECOND_LEAST 50
#define MAKE_UP_NS             (240 * SIM_S)

/* What processes may hold, of which the tables they are born with are 11 MiB in a coordinator
 * (OSDs, walks, jobs, rounds) and 17 MiB in an OSD (requests, what is collected, engine, scrub).
 * The rest is what production's bounds leave room for under so few clients, with objects this
 * small: in a coordinator a batch of the log that is written and one that is read back (2 MiB
 * each), and requests that wait, but for the log's cache, whose bound is a setting; in an OSD
 * stripes of a rebuild and a scrub; in a client the windows of its calls. The highest of some
 * hundred seeds were 14.9, 19.6 and 4.9 MiB. */
#define COORDINATOR_BYTES (18u << 20)
#define OSD_BYTES         (24u << 20)
#define CLIENT_BYTES      (16u << 20)
#define LOG_CACHE_BYTES   (16u << 20) /* where the swarm sets none */

struct plot plot;

static void make(void)
{
    const struct sim_start init = {.init = true};
    plot.stage = "the bucket";
    for (unsigned i = 0; i < plot.swarm.coordinators; i++)
        sim_node_start(sim_coordinator(i), &init);
    for (unsigned i = 0; i < plot.swarm.osds; i++)
        sim_node_start(sim_osd(i), &init);
    struct sim_faults_options options = {
        .swarm = &plot.swarm, .workload = plot.workload, .leader = sim_watch_leader};
    plot.faults = sim_faults_new(&options);
    sim_client_start(sim_client((unsigned)plot.swarm.clients), operator_main, NULL);
    for (uint64_t end = sim_now() + 120 * SIM_S; plot.phase == PLOT_MAKE;) {
        if (sim_now() >= end)
            sim_fail(SIM_STUCK, "a new cluster does not serve within two minutes");
        sim_sleep(100 * SIM_MS);
    }
}

static void suffer(void)
{
    for (unsigned i = 0; i < plot.swarm.clients; i++)
        sim_workload_start(plot.workload, i);
    sim_sleep(SIM_S);
    struct sim_workload_counts before, after;
    sim_workload_counts(plot.workload, &before);
    plot.faults_began = sim_now();
    if (plot.swarm.faults_s) {
        sim_faults_start(plot.faults);
        sim_sleep(plot.swarm.faults_s * SIM_S);
    }
    plot.faults_ended = sim_now();
    sim_workload_counts(plot.workload, &after);
    plot.calls_in_faults = after.calls - before.calls;
}

static bool worked_enough(const struct sim_workload_counts *counts)
{
    uint64_t work_s = (sim_now() - plot.faults_began) / SIM_S;
    return counts->commits >= COMMITS_LEAST && counts->calls >= CALLS_PER_SECOND_LEAST * work_s;
}

static void heal(void)
{
    plot.phase = PLOT_HEAL;
    plot.stage = "clients after the heal";
    sim_event("plot: heal");
    sim_faults_stop(plot.faults);
    sim_sleep(CALM_NS);
    struct sim_workload_counts before, after;
    sim_workload_counts(plot.workload, &before);
    uint64_t began = sim_now();
    for (;;) {
        sim_sleep(SIM_S);
        sim_workload_counts(plot.workload, &after);
        bool commits = after.commits >= before.commits + 10;
        if (commits && (worked_enough(&after) || sim_now() >= began + MAKE_UP_NS))
            break;
        if (!commits && sim_now() >= began + plot.swarm.heal_s * SIM_S)
            sim_fail(SIM_STUCK, "nothing is committed any more although all faults ended");
        plot.puts_wait = sim_now() >= plot.faults_ended + PATIENCE_NS;
    }
    plot.calls_of_work = after.calls;
    plot.work_ended = sim_now();
    sim_workload_stop(plot.workload);
    for (uint64_t end = sim_now() + 300 * SIM_S; !sim_workload_idle(plot.workload);) {
        if (sim_now() >= end)
            sim_fail(SIM_STUCK, "a client's call does not end");
        sim_sleep(100 * SIM_MS);
    }
}

static void converge(void)
{
    plot.phase = PLOT_CONVERGE;
    sim_event("plot: converge");
    for (uint64_t end = sim_now() + plot.swarm.heal_s * SIM_S; plot.phase != PLOT_OVER;) {
        if (sim_now() >= end)
            sim_fail(SIM_STUCK, "%s: not reached within %" PRIu64 " s", plot.stage,
                     plot.swarm.heal_s);
        sim_sleep(100 * SIM_MS);
    }
}

static void summary(void)
{
    struct sim_workload_counts counts;
    sim_workload_counts(plot.workload, &counts);
    double faults = (double)(plot.faults_ended - plot.faults_began) / 1e9;
    double work = (double)(plot.work_ended - plot.faults_began) / 1e9;
    printf("%" PRIu64 " calls (%.1f/s under faults), %" PRIu64 " commits, %" PRIu64
           " unknown, %" PRIu64 " failed; %" PRIu64 " rebuilds, %" PRIu64 " coordinators replaced, "
           "%" PRIu64 " terms; %.1f calls/s of work\n",
           plot.calls_of_work, faults > 0 ? (double)plot.calls_in_faults / faults : 0.0,
           counts.commits, counts.unknown, counts.failed, plot.rebuilds, plot.replaced,
           sim_watch_terms(), (double)plot.calls_of_work / work);
    printf("memory: at most %zu KiB in a coordinator, %zu in an OSD, %zu in a client\n",
           sim_memory_peak(SIM_COORDINATOR) >> 10, sim_memory_peak(SIM_OSD) >> 10,
           sim_memory_peak(SIM_CLIENT) >> 10);
    printf("errors:");
    for (int i = 0; i < 64; i++)
        if (counts.errors[i])
            printf(" %s %" PRIu64, lilio_err_name((enum lilio_err) - i), counts.errors[i]);
    printf("\n");
}

static void driver(void *unused)
{
    (void)unused;
    make();
    suffer();
    heal();
    converge();
    check_end_history();
    summary();
    sim_end();
}

/* Nothing runs yet that could be broken. */
static _Noreturn void refuse(const char *what, const char *reason)
{
    fprintf(stderr, "lilio-sim: %s%s\n", what, reason);
    exit(SIM_USAGE);
}

static void settle(const struct sim_arguments *arguments)
{
    char reason[128];
    sim_swarm_draw(&plot.swarm);
    if (arguments->minutes)
        plot.swarm.faults_s = 60 * arguments->minutes;
    for (size_t i = 0; i < arguments->setting_count; i++)
        if (!sim_swarm_set(&plot.swarm, arguments->settings[i]))
            refuse(arguments->settings[i],
                   ": --set knows no such name, or it is out of its bounds");
    if (!sim_swarm_valid(&plot.swarm, reason))
        refuse("what is set does not go together: ", reason);
    sim_swarm_print(&plot.swarm, stdout);
}

static void bound_memory(const struct sim_swarm *w)
{
    size_t cache = w->log_cache_kib ? (size_t)w->log_cache_kib << 10 : LOG_CACHE_BYTES;
    sim_memory_bound(SIM_COORDINATOR, COORDINATOR_BYTES + cache);
    sim_memory_bound(SIM_OSD, OSD_BYTES);
    sim_memory_bound(SIM_CLIENT, CLIENT_BYTES);
}

void sim_plot_start(const struct sim_arguments *arguments)
{
    settle(arguments);
    const struct sim_swarm *w = &plot.swarm;
    const struct sim_cluster_options cluster = {
        .coordinator_count = (unsigned)w->coordinators,
        .osd_count = (unsigned)w->osds,
        .client_count = (unsigned)w->clients + 1, /* the operator */
        .data_count = (unsigned)w->data,
        .parity_count = (unsigned)w->parity,
        .fragment_size = (uint32_t)w->fragment_bytes,
        .gc_grace_ms = w->gc_grace_ms,
        .orphan_retention_ms = w->orphan_ms,
        .scrub_light_ms = w->scrub_light_ms,
        .scrub_deep_ms = w->scrub_deep_ms,
        .suspect_ms = w->suspect_ms,
        .down_ms = w->down_ms,
        .log_segment_bytes = w->log_kib << 10,
        .log_cache_bytes = w->log_cache_kib << 10,
        .flush_ms = w->flush_ms,
        .out_ms = w->out_ms,
    };
    sim_cluster_new(&cluster);
    sim_watch_start();
    sim_watch_replays_pass(w->replays_pass);
    bound_memory(w);
    plot.workload = sim_workload_new(w);
    sim_driver_start(driver, NULL);
}
