/* Processes: which fibers, clock, disk and addresses belong together, how they begin and end.
 *
 * base/daemon.c stands for the process among processes (pid file, signals, log file); here it is
 * replaced by a log that goes into the trace and a descriptor on which sim_node_terminate() posts.
 */
#include "tests/sim/nodes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/daemon.h"
#include "base/mark.h"
#include "osd/daemon.h"
#include "proto/cluster_file.h"
#include "tests/sim/coordinator.h"
#include "tests/sim/disk.h"
#include "tests/sim/fds.h"
#include "tests/sim/fiber.h"
#include "tests/sim/memory.h"
#include "tests/sim/nodes_priv.h"

#include "base/banned.h"

enum { PORT_FIRST = 7000, PATH_ROOM = 256, JOIN_ROOM = 64 };

struct sim_node {
    enum sim_kind kind;
    unsigned index, id, life;
    char name[24];
    enum sim_state state;
    bool paused;
    struct sim_clock clock;
    struct sim_disk *disk;
    int signal_fd;
    enum lilio_err result;
    struct lilio_errinfo info;
    struct sim_start start;
    char join[JOIN_ROOM];
    size_t running; /* fibers of a client that were started from outside */
};

static struct {
    struct sim_cluster_options options;
    struct sim_node list[SIM_NODES_MAX];
    unsigned count;
    char folder[PATH_ROOM], config[PATH_ROOM + 16];
    struct base_uuid cluster_id;
} nodes;

/* ---- the cluster ---- */

static struct sim_node *node_new(enum sim_kind kind, unsigned id)
{
    static const char *const names[] = {"driver", "coordinator", "osd", "client"};
    SIM_ASSERT(nodes.count < SIM_NODES_MAX);
    struct sim_node *node = &nodes.list[nodes.count];
    *node = (struct sim_node){.kind = kind, .index = nodes.count++, .id = id, .signal_fd = -1};
    if (kind == SIM_DRIVER)
        (void)snprintf(node->name, sizeof node->name, "%s", names[kind]);
    else
        (void)snprintf(node->name, sizeof node->name, "%s.%u", names[kind], id);
    sim_clock_init(&node->clock, node->name);
    if (kind == SIM_COORDINATOR || kind == SIM_OSD) {
        char path[PATH_ROOM];
        (void)snprintf(path, sizeof path, "/sim/%s", node->name);
        node->disk = sim_disk_new(path, node);
    }
    return node;
}

static char *address(unsigned port)
{
    char *text = NULL;
    int size = asprintf(&text, "tcp://127.0.0.1:%u", port);
    SIM_ASSERT(size > 0);
    return text;
}

static void fill_node(struct proto_cluster_node *node, unsigned id, const char *kind, unsigned port,
                      bool has_peer)
{
    char *dir = NULL;
    int size = asprintf(&dir, "/sim/%s.%u", kind, id);
    SIM_ASSERT(size > 0);
    *node = (struct proto_cluster_node){
        .id = id,
        .endpoint = address(port),
        .peer = has_peer ? address(port + SIM_NODES_MAX) : NULL,
        .dir = dir,
    };
}

/* All that is random in it is drawn: the cluster's id. */
static void config_write(void)
{
    const struct sim_cluster_options *options = &nodes.options;
    struct proto_cluster_file file = {
        .path = nodes.config,
        .folder = nodes.folder,
        .default_profile = {options->data_count, options->parity_count,
                            options->fragment_size ? options->fragment_size
                                                   : CODEC_FRAGMENT_DEFAULT,
                            options->data_count == 1 ? CODEC_COPY1 : CODEC_CAUCHY1},
        .gc_grace_ms = options->gc_grace_ms,
        .orphan_retention_ms =
            options->orphan_retention_ms ? options->orphan_retention_ms : 86400000,
        .scrub_light_ms = options->scrub_light_ms,
        .scrub_deep_ms = options->scrub_deep_ms,
        .run_dir = nodes.folder,
        .log_dir = nodes.folder,
        .coordinator_count = options->coordinator_count,
        .osd_count = options->osd_count,
    };
    file.cluster_id = nodes.cluster_id = base_uuid_new(base_random_system());
    file.coordinators = calloc(file.coordinator_count, sizeof *file.coordinators);
    file.osds = calloc(file.osd_count, sizeof *file.osds);
    SIM_ASSERT(file.coordinators && file.osds);
    unsigned port = PORT_FIRST + 1;
    for (unsigned i = 0; i < file.coordinator_count; i++)
        fill_node(&file.coordinators[i], i, "coordinator", port++, true);
    for (unsigned i = 0; i < file.osd_count; i++)
        fill_node(&file.osds[i], i, "osd", port++, false);
    struct lilio_errinfo info = {0};
    if (proto_cluster_file_save(&file, &info))
        sim_fail(SIM_USAGE, "%s", info.text);
}

static void config_remove(void)
{
    (void)unlink(nodes.config); /* a file that stays does no harm */
    (void)rmdir(nodes.folder);
}

static void folder_make(void)
{
    const char *parent = getenv("TMPDIR");
    (void)snprintf(nodes.folder, sizeof nodes.folder, "%s/lilio-sim-XXXXXX",
                   parent ? parent : "/tmp");
    if (!mkdtemp(nodes.folder))
        sim_fail(SIM_USAGE, "cannot make %s: %s", nodes.folder, strerror(errno));
    (void)snprintf(nodes.config, sizeof nodes.config, "%s/lilio.yaml", nodes.folder);
    (void)atexit(config_remove);
}

void sim_cluster_new(const struct sim_cluster_options *options)
{
    nodes.options = *options;
    nodes.count = 0;
    (void)node_new(SIM_DRIVER, 0);
    for (unsigned i = 0; i < options->coordinator_count; i++)
        (void)node_new(SIM_COORDINATOR, i);
    for (unsigned i = 0; i < options->osd_count; i++)
        (void)node_new(SIM_OSD, i);
    for (unsigned i = 0; i < options->client_count; i++)
        (void)node_new(SIM_CLIENT, i);
    sim_net_init();
    folder_make();
    config_write();
}

const struct sim_cluster_options *sim_cluster_options(void)
{
    return &nodes.options;
}

struct base_uuid sim_cluster_id(void)
{
    return nodes.cluster_id;
}

const char *sim_cluster_config(void)
{
    return nodes.config;
}

/* ---- looking at nodes ---- */

struct sim_node *sim_coordinator(unsigned i)
{
    SIM_ASSERT(i < nodes.options.coordinator_count);
    return &nodes.list[1 + i];
}

struct sim_node *sim_osd(unsigned i)
{
    SIM_ASSERT(i < nodes.options.osd_count);
    return &nodes.list[1 + nodes.options.coordinator_count + i];
}

struct sim_node *sim_client(unsigned i)
{
    SIM_ASSERT(i < nodes.options.client_count);
    return &nodes.list[1 + nodes.options.coordinator_count + nodes.options.osd_count + i];
}

struct sim_node *sim_node_driver(void)
{
    return &nodes.list[0];
}

unsigned sim_node_count(void)
{
    return nodes.count;
}

struct sim_node *sim_node_at(unsigned i)
{
    SIM_ASSERT(i < nodes.count);
    return &nodes.list[i];
}

struct sim_node *sim_node_self(void)
{
    const struct sim_fiber *fiber = sim_fiber_self();
    return fiber ? sim_fiber_node(fiber) : &nodes.list[0];
}

unsigned sim_node_index(const struct sim_node *node)
{
    return node->index;
}

unsigned sim_node_id(const struct sim_node *node)
{
    return node->id;
}

enum sim_kind sim_node_kind(const struct sim_node *node)
{
    return node->kind;
}

const char *sim_node_name(const struct sim_node *node)
{
    return node->name;
}

enum sim_state sim_node_state(const struct sim_node *node)
{
    return node->state;
}

enum lilio_err sim_node_result(const struct sim_node *node, const char **ret_text)
{
    *ret_text = node->info.text;
    return node->result;
}

unsigned sim_node_life(const struct sim_node *node)
{
    return node->life;
}

struct sim_disk *sim_node_disk(struct sim_node *node)
{
    return node->disk;
}

struct sim_clock *sim_node_clock(struct sim_node *node)
{
    return &node->clock;
}

void sim_node_endpoint(const struct sim_node *node, bool peer, char ret[SIM_ENDPOINT_ROOM])
{
    (void)snprintf(ret, SIM_ENDPOINT_ROOM, "tcp://127.0.0.1:%u",
                   PORT_FIRST + node->index + (peer ? SIM_NODES_MAX : 0));
}

struct sim_node *sim_node_of_endpoint(const char *endpoint)
{
    const char *colon = strrchr(endpoint, ':');
    unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;
    if (port > PORT_FIRST + SIM_NODES_MAX)
        port -= SIM_NODES_MAX; /* where a coordinator's peers connect */
    return port > PORT_FIRST && port - PORT_FIRST < nodes.count ? &nodes.list[port - PORT_FIRST]
                                                                : NULL;
}

/* ---- life ---- */

/* What the kernel does at the end of a process. */
static void process_ends(struct sim_node *node, enum sim_state state, bool power_lost)
{
    node->state = state;
    node->paused = false;
    node->signal_fd = -1;
    sim_net_process_died(node, power_lost);
    sim_fds_drop(node);
    if (node->disk)
        sim_disk_process_died(node->disk, power_lost);
    sim_memory_ended(node);
    sim_fibers_kill(node); /* last: it does not return to a fiber of the node */
}

static void *daemon_main(void *argument)
{
    struct sim_node *node = argument;
    struct lilio_errinfo info = {0};
    enum lilio_err err;
    if (node->kind == SIM_OSD) {
        struct osd_daemon_options options = {
            .config = nodes.config, .id = node->id, .init = node->start.init};
        err = osd_daemon_run(&options, &info);
    } else {
        struct sim_coordinator_options options = {
            .config = nodes.config,
            .id = node->id,
            .init = node->start.init,
            .join = node->start.join ? strtoull(node->start.join, NULL, 10) : 0,
            .suspect_ms = nodes.options.suspect_ms,
            .down_ms = nodes.options.down_ms,
            .log_segment_bytes = nodes.options.log_segment_bytes,
            .log_cache_bytes = nodes.options.log_cache_bytes,
            .flush_ms = nodes.options.flush_ms,
            .out_ms = nodes.options.out_ms,
            .election_ms = nodes.options.election_ms,
            .heartbeat_ms = nodes.options.heartbeat_ms,
        };
        err = sim_coordinator_run(&options, &info);
    }
    node->result = err;
    node->info = info;
    sim_event("process: ends with %s%s%s", lilio_err_name(err), info.text[0] ? ": " : "",
              info.text);
    process_ends(node, SIM_EXITED, false);
    return NULL;
}

static void life_begins(struct sim_node *node)
{
    SIM_ASSERT(node->state != SIM_UP);
    node->state = SIM_UP;
    node->life++;
    node->result = LILIO_OK;
    node->info.text[0] = '\0';
    sim_clock_life(&node->clock, node->name, node->life);
    sim_hash(node->index);
}

void sim_node_start(struct sim_node *node, const struct sim_start *start)
{
    SIM_ASSERT(node->kind == SIM_COORDINATOR || node->kind == SIM_OSD);
    life_begins(node);
    sim_event("process: %s starts", node->name);
    node->start = start ? *start : (struct sim_start){0};
    if (node->start.join) {
        (void)snprintf(node->join, sizeof node->join, "%s", node->start.join);
        node->start.join = node->join;
    }
    (void)sim_fiber_new(node, daemon_main, node);
}

struct client_run {
    struct sim_node *node;
    void (*fn)(void *context);
    void *context;
};

static void *client_main(void *argument)
{
    struct client_run *run = argument;
    struct sim_node *node = run->node;
    run->fn(run->context);
    free(run);
    if (--node->running == 0)
        process_ends(node, SIM_EXITED, false);
    return NULL;
}

static void *driver_main(void *argument)
{
    struct client_run *run = argument;
    run->fn(run->context);
    free(run);
    return NULL;
}

static struct client_run *run_new(struct sim_node *node, void (*fn)(void *context), void *context)
{
    struct client_run *run = malloc(sizeof *run);
    SIM_ASSERT(run);
    *run = (struct client_run){node, fn, context};
    return run;
}

void sim_client_start(struct sim_node *client, void (*fn)(void *context), void *context)
{
    SIM_ASSERT(client->kind == SIM_CLIENT);
    if (client->state != SIM_UP) {
        life_begins(client);
        client->running = 0;
    }
    client->running++;
    sim_fiber_let_go(sim_fiber_new(client, client_main, run_new(client, fn, context)));
}

void sim_driver_start(void (*fn)(void *context), void *context)
{
    struct sim_node *driver = sim_node_driver();
    sim_fiber_let_go(sim_fiber_new(driver, driver_main, run_new(driver, fn, context)));
}

void sim_node_kill(struct sim_node *node)
{
    if (node->state != SIM_UP)
        return;
    sim_event("process: %s is killed", node->name);
    LILIO_MARK("fault/kill");
    process_ends(node, SIM_DOWN, false);
}

void sim_node_power_off(struct sim_node *node)
{
    sim_event("process: %s loses power", node->name);
    LILIO_MARK("fault/power_loss");
    process_ends(node, SIM_DOWN, true);
}

void sim_node_power_off_at(struct sim_node *node, uint64_t n)
{
    sim_disk_power_off_at(node->disk, n);
}

void sim_node_terminate(struct sim_node *node)
{
    sim_event("process: %s is asked to end", node->name);
    if (node->signal_fd >= 0)
        sim_fd_post(node->signal_fd);
}

void sim_node_pause(struct sim_node *node)
{
    if (node->state != SIM_UP || node->paused)
        return;
    sim_event("process: %s is paused", node->name);
    LILIO_MARK("fault/pause");
    node->paused = true;
    sim_fibers_pause(node, true);
}

void sim_node_resume(struct sim_node *node)
{
    if (!node->paused)
        return;
    sim_event("process: %s goes on", node->name);
    node->paused = false;
    sim_fibers_pause(node, false);
}

bool sim_node_paused(const struct sim_node *node)
{
    return node->paused;
}

/* ---- clocks ---- */

void sim_node_wall_jump(struct sim_node *node, int64_t ms)
{
    sim_event("clock: the wall clock of %s jumps by %lld ms", node->name, (long long)ms);
    LILIO_MARK("fault/clock_jump");
    node->clock.wall_ms += ms;
}

void sim_node_drift(struct sim_node *node, int32_t ppm)
{
    LILIO_MARK("fault/clock_drift");
    sim_clock_drift(&node->clock, ppm);
}

void sim_sleep(uint64_t ns)
{
    uint64_t until = sim_now() + ns;
    while (sim_now() < until)
        (void)sim_fiber_block_until(until); /* the time tells */
}

void sim_yield(void)
{
    sim_fiber_yield();
}

/* ---- in place of base/daemon.c ---- */

static void log_line(void *context, const char *line)
{
    (void)context;
    const char *rest = line;
    for (int words = 0; words < 3 && rest; words++)
        rest = strchr(rest + 1, ' ');
    sim_event("log: %s", rest ? rest + 1 : line); /* time and node are there already */
}

enum lilio_err base_daemon_init(const struct base_daemon_options *options, struct base_daemon *ret,
                                struct lilio_errinfo *info)
{
    struct sim_node *node = sim_node_self();
    *ret = (struct base_daemon){.signal_fd = sim_fd_event(node)};
    node->signal_fd = ret->signal_fd;
    enum lilio_err err = base_log_new_sink(log_line, NULL, options->node, BASE_LOG_INFO,
                                           base_clock_system(), &ret->log);
    return err ? lilio_fail(info, err, "out of memory") : LILIO_OK;
}

bool base_daemon_signal(struct base_daemon *daemon)
{
    uint64_t count;
    return read(daemon->signal_fd, &count, sizeof count) == (ssize_t)sizeof count;
}

void base_daemon_release(struct base_daemon *daemon)
{
    if (daemon->signal_fd >= 0)
        (void)close(daemon->signal_fd);
    base_log_free(&daemon->log);
    *daemon = (struct base_daemon){.signal_fd = -1};
}
