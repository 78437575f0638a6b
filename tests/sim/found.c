#include "tests/sim/found.h"

#include <stdio.h>

#include "client/lilio.h"
#include "tests/sim/disk.h"
#include "tests/sim/nodes.h"
#include "tests/sim/world.h"

#include "base/banned.h"

enum { OSDS = 9, ROUNDS = 8, SIZE = 20000 };

static struct {
    struct lilio_client *lilio;
    unsigned puts, failed;
    bool over, twice;
} found;

/* ---- what clients do ---- */

static enum lilio_err give_zeros(void *context, void *buffer, size_t size, size_t *ret_size,
                                 struct lilio_errinfo *info)
{
    (void)info;
    uint64_t *left = context;
    if (size > *left)
        size = (size_t)*left;
    memset(buffer, 0, size);
    *left -= size;
    *ret_size = size;
    return LILIO_OK;
}

static void put(void)
{
    char key[16];
    uint64_t left = SIZE;
    struct lilio_source source = {give_zeros, &left, SIZE};
    struct lilio_put_result result;
    struct lilio_errinfo info = {0};
    (void)snprintf(key, sizeof key, "%u", found.puts);
    found.failed += lilio_put(found.lilio, "b", key, &source, NULL, &result, &info) != LILIO_OK;
    found.puts++;
}

/* Opens it, and makes the bucket. */
static void client_begin(void)
{
    struct lilio_errinfo info = {0};
    struct lilio_options options = {.config_path = sim_cluster_config(), .label = "found"};
    if (lilio_open(&options, &found.lilio, &info))
        sim_fail(SIM_USAGE, "%s", info.text);
    while (lilio_bucket_create(found.lilio, "b", NULL, 0, NULL, &info))
        sim_sleep(100 * SIM_MS);
}

/* ---- a put that waits ---- */

static void putting(void *context)
{
    (void)context;
    client_begin();
    while (!found.over)
        put();
    lilio_close(&found.lilio);
}

/* Waits until so many more puts were made. */
static void await_puts(unsigned count)
{
    uint64_t end = sim_now() + 60 * SIM_S;
    for (unsigned until = found.puts + count; found.puts < until; sim_sleep(10 * SIM_MS))
        if (sim_now() >= end)
            sim_fail(SIM_STUCK, "a put does not end");
}

/* All OSDs are gone for longer than a put waits for its last connections, then two come back: too
 * few for a quorum, and mostly at least one of them is not wanted. */
static void waiting_put(void *context)
{
    (void)context;
    const struct sim_start init = {.init = true};
    sim_node_start(sim_coordinator(0), &init);
    for (unsigned i = 0; i < OSDS; i++)
        sim_node_start(sim_osd(i), &init);
    sim_client_start(sim_client(0), putting, NULL);
    for (unsigned round = 0; round < ROUNDS; round++) {
        await_puts(4 * OSDS); /* connections to all */
        unsigned failed = found.failed;
        for (unsigned i = 0; i < OSDS; i++)
            sim_node_kill(sim_osd(i));
        sim_sleep(500 * SIM_MS);
        for (unsigned i = 0; i < 2; i++)
            sim_node_start(sim_osd((round + i) % OSDS), NULL);
        sim_sleep(4 * SIM_S);
        if (found.failed == failed)
            sim_fail(SIM_WRONG, "a put had its quorum of two OSDs that were up");
        for (unsigned i = 2; i < OSDS; i++)
            sim_node_start(sim_osd((round + i) % OSDS), NULL);
    }
    found.over = true;
    await_puts(1);
    printf("%u puts, %u failed\n", found.puts, found.failed);
    sim_end();
}

void sim_found_waiting_put_start(const struct sim_arguments *arguments)
{
    (void)arguments;
    const struct sim_cluster_options options = {
        .coordinator_count = 1,
        .osd_count = OSDS,
        .client_count = 1,
        .data_count = 2,
        .parity_count = 1,
        .fragment_size = 4096,
    };
    sim_cluster_new(&options);
    sim_driver_start(waiting_put, NULL);
}

/* ---- left behind ---- */

/* Pairs of OSDs: what only two have is lost with both, and there again when one comes back. */
enum { PAIRS_OSDS = 7, PAIRS_PUTS = 400, LEFT = 1, LOST = 0, HEIR = 2, OUT_MS = 3000 };

static enum lilio_err drop(void *context, const void *data, size_t size, struct lilio_errinfo *info)
{
    (void)context;
    (void)data;
    (void)size;
    (void)info;
    return LILIO_OK;
}

static enum lilio_err again(void *context, struct lilio_errinfo *info)
{
    (void)context;
    (void)info;
    return LILIO_OK;
}

static unsigned gets_failing(void)
{
    unsigned failing = 0;
    struct lilio_sink sink = {drop, again, NULL};
    for (unsigned i = 0; i < PAIRS_PUTS; i++) {
        char key[16];
        struct lilio_get_result result;
        struct lilio_errinfo info = {0};
        (void)snprintf(key, sizeof key, "%u", i);
        if (lilio_get(found.lilio, "b", key, &sink, NULL, &result, &info) == LILIO_OK)
            continue;
        failing++;
        sim_event("key %s: %s", key, info.text);
    }
    return failing;
}

/* The OSDs that have slots to fill, as a mask. */
static uint64_t fillers(void)
{
    struct lilio_errinfo info = {0};
    struct lilio_redundancy redundancy = {0};
    uint64_t mask = 0;
    if (lilio_redundancy_get(found.lilio, &redundancy, &info) == LILIO_OK)
        for (size_t i = 0; i < redundancy.osd_count; i++)
            if (redundancy.osds[i].filling > 0)
                mask |= UINT64_C(1) << redundancy.osds[i].id;
    lilio_redundancy_release(&redundancy);
    return mask;
}

/* What the rebuild of the OSD could not have, once it ended. */
static uint64_t rebuild_misses(uint32_t osd)
{
    struct lilio_errinfo info = {0};
    for (;; sim_sleep(10 * SIM_MS)) {
        struct lilio_rebuild rebuild = {0};
        if (lilio_rebuild_get(found.lilio, osd, &rebuild, &info) != LILIO_OK)
            sim_fail(SIM_STUCK, "rebuild of osd.%u: %s", osd, info.text);
        enum lilio_rebuild_phase phase = rebuild.phase;
        uint64_t failed = rebuild.failed;
        lilio_rebuild_release(&rebuild);
        if (phase == LILIO_REBUILD_PROVEN || phase == LILIO_REBUILD_FAILURES)
            return failed;
        if (phase == LILIO_REBUILD_ERROR || phase == LILIO_REBUILD_STOPPED)
            sim_fail(SIM_STUCK, "rebuild of osd.%u: phase %d", osd, (int)phase);
    }
}

/* Once they begin to fill they are rebuilt: that names what neither can have now. */
static void all_named(void)
{
    uint64_t filling, missed = 0;
    struct lilio_errinfo info = {0};
    while ((filling = fillers()) == 0)
        sim_sleep(5 * SIM_MS);
    for (uint32_t osd = 0; osd < PAIRS_OSDS; osd++)
        if (filling >> osd & 1 && lilio_rebuild_start(found.lilio, osd, &info) != LILIO_OK)
            sim_fail(SIM_STUCK, "rebuild of osd.%u: %s", osd, info.text);
    for (uint32_t osd = 0; osd < PAIRS_OSDS; osd++)
        missed += filling >> osd & 1 ? rebuild_misses(osd) : 0;
    if (missed == 0)
        sim_fail(SIM_WRONG, "nothing was left behind: this shows nothing");
    while (fillers() != 0)
        sim_sleep(5 * SIM_MS);
    printf("%llu fragments were left behind\n", (unsigned long long)missed);
}

static void pairs_client(void *context)
{
    (void)context;
    client_begin();
    while (found.puts < PAIRS_PUTS)
        put();
    if (found.failed > 0)
        sim_fail(SIM_WRONG, "%u puts failed without a fault", found.failed);
    sim_node_kill(sim_osd(LEFT));
    sim_sleep((OUT_MS - 500) * SIM_MS);
    sim_node_kill(sim_osd(LOST));
    sim_disk_replace(sim_node_disk(sim_osd(LOST)));
    sim_node_start(sim_osd(LOST), NULL);
    all_named();
    if (found.twice) { /* some slots move once more: the maps know nothing of osd.1 then */
        sim_node_kill(sim_osd(HEIR));
        all_named();
    }
    sim_node_start(sim_osd(LEFT), NULL);
    for (struct lilio_status status = {0};;) {
        struct lilio_errinfo info = {0};
        bool up = lilio_status_get(found.lilio, &status, &info) == LILIO_OK &&
                  strcmp(status.osds[LEFT].state, "up") == 0;
        lilio_status_release(&status);
        if (up)
            break;
        sim_sleep(5 * SIM_MS);
    }
    unsigned failing = gets_failing();
    if (failing > 0)
        sim_fail(SIM_WRONG, "%u gets fail though osd.%d is up and has what they want", failing,
                 LEFT);
    sim_end();
}

static void left_behind(void *context)
{
    (void)context;
    const struct sim_start init = {.init = true};
    sim_node_start(sim_coordinator(0), &init);
    for (unsigned i = 0; i < PAIRS_OSDS; i++)
        sim_node_start(sim_osd(i), &init);
    sim_sleep(3 * SIM_S); /* the bucket's slots go to those that are there */
    sim_client_start(sim_client(0), pairs_client, NULL);
}

static void left_behind_start(bool twice)
{
    found.twice = twice;
    const struct sim_cluster_options options = {
        .coordinator_count = 1,
        .osd_count = PAIRS_OSDS,
        .client_count = 1,
        .data_count = 1,
        .parity_count = 1,
        .fragment_size = 4096,
        .suspect_ms = 500,
        .down_ms = 1000,
        .out_ms = OUT_MS,
    };
    sim_cluster_new(&options);
    sim_driver_start(left_behind, NULL);
}

void sim_found_left_behind_start(const struct sim_arguments *arguments)
{
    (void)arguments;
    left_behind_start(/* twice */ false);
}

void sim_found_left_behind_twice_start(const struct sim_arguments *arguments)
{
    (void)arguments;
    left_behind_start(/* twice */ true);
}
