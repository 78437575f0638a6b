#include "tests/sim/workload.h"

#include <stdlib.h>

#include "tests/sim/workload_priv.h"

#include "base/banned.h"

#define BACKLOG_NS (60 * SIM_S) /* how far a client may be behind its schedule */
#define POLL_NS    (100 * SIM_MS)
#define FULL_NS    (10 * SIM_MS) /* between looks for a worker that is free */

struct sim_workload *sim_workload_new(const struct sim_swarm *swarm)
{
    struct sim_workload *workload = calloc(1, sizeof *workload);
    SIM_ASSERT(workload != NULL);
    workload->swarm = swarm;
    workload->random = sim_stream_new("workload");
    workload->copy_key = SIM_COPY_KEY;
    return workload;
}

void sim_workload_free(struct sim_workload **workload)
{
    if (!*workload)
        return;
    sim_history_release(&(*workload)->history);
    free((*workload)->values);
    free((*workload)->copies);
    free(*workload);
    *workload = NULL;
}

struct sim_history *sim_workload_history(struct sim_workload *workload)
{
    return &workload->history;
}

void sim_workload_counts(const struct sim_workload *workload, struct sim_workload_counts *ret)
{
    *ret = workload->counts;
}

void sim_workload_keys(const struct sim_workload *workload, uint32_t *ret_below,
                       uint32_t *ret_others_below)
{
    *ret_below = (uint32_t)workload->swarm->keys;
    *ret_others_below = workload->copy_key;
}

static void call(void *context)
{
    struct workload_life *life = context;
    workload_call(life);
    life->under_way--;
}

/* Begins calls when they are due. What cannot be begun, because all workers wait, is made up for:
 * the rate holds over outages. */
static void schedule(struct workload_life *life)
{
    struct sim_workload *workload = life->workload;
    const struct sim_swarm *swarm = workload->swarm;
    uint64_t mean_ns = SIM_S * swarm->clients / swarm->rate;
    uint64_t at = sim_now() + sim_about(&life->random, mean_ns);
    while (!workload->stopped) {
        uint64_t now = sim_now();
        if (at > now) {
            sim_sleep(at - now < POLL_NS ? at - now : POLL_NS);
        } else if (life->under_way == swarm->workers) {
            sim_sleep(FULL_NS);
        } else {
            life->under_way++;
            sim_client_start(sim_client(life->client), call, life);
            at += sim_about(&life->random, mean_ns);
            if (at + BACKLOG_NS < now)
                at = now - BACKLOG_NS;
        }
    }
    while (life->under_way > 0)
        sim_sleep(POLL_NS);
}

static void process(void *context)
{
    struct workload_life *life = context;
    struct lilio_options options = {
        .config_path = sim_cluster_config(),
        .label = sim_node_name(sim_client(life->client)),
        .timeout_ms = (uint32_t)life->workload->swarm->timeout_ms,
    };
    struct lilio_errinfo info = {0};
    if (lilio_open(&options, &life->lilio, &info) != LILIO_OK)
        sim_fail(SIM_WRONG, "a client cannot open: %s", info.text);
    schedule(life);
    lilio_close(&life->lilio);
    free(life);
}

void sim_workload_start(struct sim_workload *workload, unsigned i)
{
    if (workload->stopped || sim_node_state(sim_client(i)) == SIM_UP)
        return;
    struct workload_life *life = calloc(1, sizeof *life);
    SIM_ASSERT(life != NULL);
    life->workload = workload;
    life->client = i;
    life->writer = ++workload->writers;
    life->random.state = sim_u64(&workload->random);
    sim_client_start(sim_client(i), process, life);
}

void sim_workload_stop(struct sim_workload *workload)
{
    workload->stopped = true;
}

void sim_workload_mended(struct sim_workload *workload)
{
    workload->mended_ns = sim_now();
}

bool sim_workload_idle(const struct sim_workload *workload)
{
    for (unsigned i = 0; i < workload->swarm->clients; i++)
        if (sim_node_state(sim_client(i)) == SIM_UP)
            return false;
    return true;
}
