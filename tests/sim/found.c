#include "tests/sim/found.h"

#include <stdio.h>

#include "client/lilio.h"
#include "tests/sim/nodes.h"
#include "tests/sim/world.h"

#include "base/banned.h"

enum { OSDS = 9, ROUNDS = 8, SIZE = 20000 };

/* ---- a put that waits ---- */

static struct {
    struct lilio_client *lilio;
    unsigned puts, failed;
    bool over;
} found;

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

static void putting(void *context)
{
    (void)context;
    struct lilio_errinfo info = {0};
    struct lilio_options options = {.config_path = sim_cluster_config(), .label = "found"};
    if (lilio_open(&options, &found.lilio, &info))
        sim_fail(SIM_USAGE, "%s", info.text);
    while (lilio_bucket_create(found.lilio, "b", NULL, 0, NULL, &info))
        sim_sleep(100 * SIM_MS);
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
