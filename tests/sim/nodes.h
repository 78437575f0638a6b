/* The nodes of the simulated cluster: coordinators, OSDs, clients, each a process with a machine,
 * an address and a clock of its own, and the driver, which is none of them.
 *
 * A process is a set of fibers. When it dies they are never resumed: their memory is lost on
 * purpose, their locks, descriptors and sockets vanish, their disk keeps what durability grants.
 * Functions here may be called from the driver, from timers and from clients, unless said
 * otherwise; they do not block.
 */
#ifndef TESTS_SIM_NODES_H
#define TESTS_SIM_NODES_H

#include "base/err.h"
#include "base/types.h"

struct sim_disk;
struct sim_node;

enum sim_kind { SIM_DRIVER, SIM_COORDINATOR, SIM_OSD, SIM_CLIENT };
enum sim_state {
    SIM_DOWN,   /* never started, or died by our hand */
    SIM_UP,     /* runs */
    SIM_EXITED, /* the daemon (or the client's function) returned by itself */
};
enum { SIM_NODES_MAX = 64 };

/* ---- the cluster ---- */

struct sim_cluster_options {
    unsigned coordinator_count, osd_count, client_count;
    unsigned data_count, parity_count;
    uint32_t fragment_size; /* 0: the default of 1 MiB (slow to simulate) */
    uint64_t gc_grace_ms;
    uint64_t orphan_retention_ms;           /* 0 = a day */
    uint64_t scrub_light_ms, scrub_deep_ms; /* 0 = never */
    uint64_t suspect_ms, down_ms, out_ms;   /* 0: the coordinator's defaults */
    uint64_t election_ms, heartbeat_ms;     /* 0: Raft's defaults */
    uint64_t log_segment_bytes, flush_ms;   /* 0: the coordinator's defaults */
    uint64_t log_cache_bytes;               /* likewise */
};
/* Makes nodes, disks and lilio.yaml (a file in a temporary folder, removed at the end); starts
 * nothing. Once per run, after sim_world_init. */
void sim_cluster_new(const struct sim_cluster_options *options);
const struct sim_cluster_options *sim_cluster_options(void);
/* Of lilio.yaml, for lilio_open(). */
const char *sim_cluster_config(void);
struct base_uuid sim_cluster_id(void);

enum { SIM_ENDPOINT_ROOM = 64 };
/* Where a coordinator or an OSD is reached; peer: a coordinator by other coordinators. */
void sim_node_endpoint(const struct sim_node *node, bool peer, char ret[SIM_ENDPOINT_ROOM]);

struct sim_node *sim_coordinator(unsigned i);
struct sim_node *sim_osd(unsigned i);
struct sim_node *sim_client(unsigned i);
struct sim_node *sim_node_driver(void);
/* All nodes, the driver first. */
unsigned sim_node_count(void);
struct sim_node *sim_node_at(unsigned i);

/* The node whose fiber runs now; the driver outside of fibers. */
struct sim_node *sim_node_self(void);
unsigned sim_node_index(const struct sim_node *node); /* its place among all nodes */
unsigned sim_node_id(const struct sim_node *node);    /* the i of sim_osd(i) etc. */
enum sim_kind sim_node_kind(const struct sim_node *node);
const char *sim_node_name(const struct sim_node *node); /* "osd.3" */
enum sim_state sim_node_state(const struct sim_node *node);
/* What the daemon returned; meaningful in SIM_EXITED. */
enum lilio_err sim_node_result(const struct sim_node *node, const char **ret_text);
/* Counts starts: what belongs to an older life is dead. */
unsigned sim_node_life(const struct sim_node *node);
/* NULL for clients and the driver. */
struct sim_disk *sim_node_disk(struct sim_node *node);

/* ---- life and death ---- */

struct sim_start {
    bool init;        /* the first start: a new cluster, an empty disk */
    const char *join; /* coordinators: --join MEMBER, NULL = none */
};
/* Starts the daemon of a node that is not up. start may be NULL (a plain restart). */
void sim_node_start(struct sim_node *node, const struct sim_start *start);
/* Starts a client's process, or one more fiber in it when it is up: fn runs there, and may call
 * lilio_open() and everything of client/lilio.h; its return ends the fiber, and the process with
 * its last fiber. */
void sim_client_start(struct sim_node *client, void (*fn)(void *context), void *context);
/* The driver's fiber: the plot of the run (phases, faults, checks at the end). Never dies. */
void sim_driver_start(void (*fn)(void *context), void *context);
/* SIGKILL: what was written stays, synced or not; peers are told by their kernel. */
void sim_node_kill(struct sim_node *node);
/* Power loss: what was not synced is kept, dropped or torn; peers notice only by silence. */
void sim_node_power_off(struct sim_node *node);
/* The power fails in the middle of the n-th change (write, sync, name change) of its disk from now;
 * 0 takes it back. */
void sim_node_power_off_at(struct sim_node *node, uint64_t n);
/* SIGTERM: the daemon ends by itself. */
void sim_node_terminate(struct sim_node *node);
/* SIGSTOP and SIGCONT. */
void sim_node_pause(struct sim_node *node);
void sim_node_resume(struct sim_node *node);
bool sim_node_paused(const struct sim_node *node);

/* ---- clocks ---- */

/* The wall clock jumps; the monotonic clock never does. */
void sim_node_wall_jump(struct sim_node *node, int64_t ms);
/* The monotonic clock runs this much too fast (or slow, negative), in millionths; |ppm| <= 100000.
 */
void sim_node_drift(struct sim_node *node, int32_t ppm);

/* ---- fibers ---- */

/* Blocks the fiber that calls. */
void sim_sleep(uint64_t ns);
/* Lets others run. */
void sim_yield(void);

#endif
