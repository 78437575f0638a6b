/* Clients put and get keys of their own: first without faults, when everything has to succeed, then
 * while OSDs and coordinators die and come back, when calls may fail, but what is read must be what
 * was put last or later. The "pace" scenario is the same without faults: for measuring. */
#include "tests/sim/smoke.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/lilio.h"
#include "tests/sim/disk.h"
#include "tests/sim/net.h"
#include "tests/sim/nodes.h"
#include "tests/sim/world.h"

#include "base/banned.h"

enum {
    COORDINATORS = 3,
    OSDS = 6,
    CLIENTS = 4,
    KEYS = 16,
    SIZE_MAX_BYTES = 40000,
    PAUSE_MS = 75, /* mean, between two calls: makes about fifty calls a second */
};

struct client {
    unsigned id;
    struct sim_stream stream;
    uint64_t next[KEYS], acked[KEYS]; /* numbers of puts: begun, and the last that is sure */
    uint64_t done, failed;
};

static struct {
    struct client clients[CLIENTS];
    bool faults_come, faults, over;
    uint64_t minutes;
    unsigned ready;
} smoke;

/* ---- content: number and key, then bytes that follow from them ---- */

struct content {
    uint64_t number, state;
    uint64_t size, done;
    bool wrong;
};

static uint8_t byte_at(uint64_t number, uint64_t i)
{
    return (uint8_t)((i < 8 ? number : number * 31 + (i >> 3)) >> (8 * (i & 7)));
}

static enum lilio_err content_read(void *context, void *buffer, size_t size, size_t *ret_size,
                                   struct lilio_errinfo *info)
{
    (void)info;
    struct content *content = context;
    uint8_t *bytes = buffer;
    size_t part =
        size < content->size - content->done ? size : (size_t)(content->size - content->done);
    for (size_t i = 0; i < part; i++)
        bytes[i] = byte_at(content->number, content->done + i);
    content->done += part;
    *ret_size = part;
    return LILIO_OK;
}

static enum lilio_err content_write(void *context, const void *data, size_t size,
                                    struct lilio_errinfo *info)
{
    (void)info;
    struct content *content = context;
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++, content->done++) {
        if (content->done < 8)
            content->number |= (uint64_t)bytes[i] << (8 * content->done);
        else if (bytes[i] != byte_at(content->number, content->done))
            content->wrong = true;
    }
    return LILIO_OK;
}

static enum lilio_err content_restart(void *context, struct lilio_errinfo *info)
{
    (void)info;
    *(struct content *)context = (struct content){0};
    return LILIO_OK;
}

/* ---- clients ---- */

static void failed(struct client *client, const char *what, const char *key, enum lilio_err err,
                   const struct lilio_errinfo *info)
{
    client->failed++;
    sim_event("smoke: %s %s: %s: %s", what, key, lilio_err_name(err), info->text);
    if (!smoke.faults)
        sim_fail(SIM_STUCK, "%s of %s failed without a fault: %s: %s", what, key,
                 lilio_err_name(err), info->text);
}

static void put(struct client *client, struct lilio_client *lilio, unsigned k, const char *key)
{
    struct lilio_errinfo info = {0};
    struct lilio_put_result result;
    struct content content = {.number = client->next[k]++,
                              .size = sim_between(&client->stream, 8, SIZE_MAX_BYTES)};
    struct lilio_source source = {content_read, &content, content.size};
    sim_event("smoke: put %s number %" PRIu64 " begins", key, content.number);
    enum lilio_err err = lilio_put(lilio, "b", key, &source, NULL, &result, &info);
    if (err) {
        failed(client, "put", key, err, &info);
        return;
    }
    sim_event("smoke: put %s number %" PRIu64 " is done", key, content.number);
    client->acked[k] = content.number + 1;
}

static void get(struct client *client, struct lilio_client *lilio, unsigned k, const char *key)
{
    struct lilio_errinfo info = {0};
    struct lilio_get_result result;
    struct content content = {0};
    struct lilio_sink sink = {content_write, content_restart, &content};
    enum lilio_err err = lilio_get(lilio, "b", key, &sink, NULL, &result, &info);
    if (err == LILIO_E_NO_KEY && client->acked[k] == 0)
        return;
    if (err == LILIO_E_NO_KEY || err == LILIO_E_LOST)
        sim_fail(SIM_WRONG, "get of %s: %s: %s", key, lilio_err_name(err), info.text);
    if (err)
        failed(client, "get", key, err, &info);
    else if (content.wrong || content.number + 1 < client->acked[k] ||
             content.number >= client->next[k])
        sim_fail(SIM_WRONG, "get of %s: %s, number %" PRIu64 ", acknowledged %" PRIu64, key,
                 content.wrong ? "wrong bytes" : "a wrong version", content.number,
                 client->acked[k] - 1);
}

static void client_main(void *context)
{
    struct client *client = context;
    struct lilio_options options = {.config_path = sim_cluster_config(), .label = "smoke"};
    struct lilio_client *lilio = NULL;
    struct lilio_errinfo info = {0};
    if (lilio_open(&options, &lilio, &info))
        sim_fail(SIM_USAGE, "%s", info.text);
    while (client->id == 0 && smoke.ready == 0) {
        enum lilio_err err = lilio_bucket_create(lilio, "b", NULL, 0, NULL, &info);
        if (!err)
            smoke.ready = 1;
        else
            sim_sleep(100 * SIM_MS);
    }
    while (smoke.ready == 0)
        sim_sleep(10 * SIM_MS);
    while (!smoke.over) {
        char key[32];
        unsigned k = (unsigned)sim_below(&client->stream, KEYS);
        (void)snprintf(key, sizeof key, "%u/%u", client->id, k);
        if (sim_below(&client->stream, 2))
            put(client, lilio, k, key);
        else
            get(client, lilio, k, key);
        client->done++;
        sim_sleep(sim_about(&client->stream, PAUSE_MS * SIM_MS));
    }
    lilio_close(&lilio);
}

/* ---- faults: one node at a time ---- */

static void one_fault(struct sim_stream *stream)
{
    struct sim_node *node =
        sim_below(stream, 4) ? sim_osd((unsigned)sim_below(stream, OSDS)) : sim_coordinator(0);
    uint64_t down_ns = sim_between(stream, 10 * SIM_MS, 3 * SIM_S);
    switch (sim_below(stream, 4)) {
    case 0: sim_node_kill(node); break;
    case 1: sim_node_power_off(node); break;
    case 2: sim_node_pause(node); break;
    case 3: sim_net_isolate(node, true); break;
    }
    sim_sleep(down_ns);
    sim_net_heal();
    sim_node_resume(node);
    if (sim_node_state(node) != SIM_UP)
        sim_node_start(node, NULL);
    sim_sleep(sim_between(stream, 2 * SIM_S, 6 * SIM_S));
}

static void driver_main(void *context)
{
    (void)context;
    struct sim_stream stream = sim_stream_new("smoke faults");
    const struct sim_start init = {.init = true};
    for (unsigned i = 0; i < COORDINATORS; i++)
        sim_node_start(sim_coordinator(i), &init);
    for (unsigned i = 0; i < OSDS; i++)
        sim_node_start(sim_osd(i), &init);
    sim_sleep(3 * SIM_S);
    for (unsigned i = 0; i < CLIENTS; i++)
        sim_client_start(sim_client(i), client_main, &smoke.clients[i]);
    sim_sleep(5 * SIM_S);
    smoke.faults = smoke.faults_come;
    uint64_t end = sim_now() + smoke.minutes * 60 * SIM_S;
    while (sim_now() < end && smoke.faults)
        one_fault(&stream);
    if (sim_now() < end)
        sim_sleep(end - sim_now());
    smoke.over = true;
    uint64_t done = 0, failures = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        for (int tries = 0; sim_node_state(sim_client(i)) == SIM_UP; tries++) {
            if (tries == 600)
                sim_fail(SIM_STUCK, "client %u does not end", i);
            sim_sleep(100 * SIM_MS);
        }
        done += smoke.clients[i].done;
        failures += smoke.clients[i].failed;
    }
    printf("%" PRIu64 " calls, %" PRIu64 " failed\n", done, failures);
    sim_end();
}

static void start(const struct sim_arguments *arguments, bool faults)
{
    const struct sim_cluster_options options = {
        .coordinator_count = COORDINATORS,
        .osd_count = OSDS,
        .client_count = CLIENTS,
        .data_count = 4,
        .parity_count = 2,
        .fragment_size = 4096,
        .gc_grace_ms = 10000,
    };
    smoke.faults_come = faults;
    smoke.minutes = arguments->minutes ? arguments->minutes : 1;
    if (faults)
        sim_preempt_set(20000);
    sim_cluster_new(&options);
    for (unsigned i = 0; i < CLIENTS; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "smoke client %u", i);
        smoke.clients[i] = (struct client){.id = i, .stream = sim_stream_new(name)};
    }
    sim_driver_start(driver_main, NULL);
}

void sim_smoke_start(const struct sim_arguments *arguments)
{
    start(arguments, true);
}

void sim_pace_start(const struct sim_arguments *arguments)
{
    start(arguments, false);
}
