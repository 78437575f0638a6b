/* What the clients do: random calls of client/lilio.h on one bucket, every one recorded, every byte
 * that comes back looked at.
 *
 * Each client is a process whose calls share one lilio_client. They begin when a schedule says so,
 * some ("workers") at a time at most; what could not begin in time is made up for in a burst. A
 * client may be killed at any time: its calls stay open in the history, and its next life is
 * another writer.
 *
 * Wrong bytes end the run at once (SIM_WRONG), and so do errors that no fault explains; everything
 * else is for the history's checkers. Objects are copied to keys of their own, from SIM_COPY_KEY
 * on; what was copied is known when the copy is read at the end.
 */
#ifndef TESTS_SIM_WORKLOAD_H
#define TESTS_SIM_WORKLOAD_H

#include "client/lilio.h"
#include "tests/sim/history.h"
#include "tests/sim/swarm.h"

enum { SIM_MANY_KEY = 1000, SIM_COPY_KEY = 1060, SIM_COPIES_MAX = 8000 };
#define SIM_BUCKET "bucket"

struct sim_workload;

/* The swarm is borrowed. */
struct sim_workload *sim_workload_new(const struct sim_swarm *swarm);
void sim_workload_free(struct sim_workload **workload);
/* Client i's process begins, or begins again. */
void sim_workload_start(struct sim_workload *workload, unsigned i);
/* Calls that are under way end as they may, no new ones begin. */
void sim_workload_stop(struct sim_workload *workload);
/* All processes have ended. */
bool sim_workload_idle(const struct sim_workload *workload);
/* An OSD that was hurt is as good as any now: another one may be hurt. */
void sim_workload_mended(struct sim_workload *workload);
struct sim_history *sim_workload_history(struct sim_workload *workload);

/* Reads a whole key as a recorded call of client `who`; for the checks at the end. */
enum lilio_err sim_workload_read(struct sim_workload *workload, struct lilio_client *client,
                                 uint32_t who, uint32_t key, struct lilio_errinfo *info);
/* One page of the bucket from a token on, recorded likewise. */
enum lilio_err sim_workload_list(struct sim_workload *workload, struct lilio_client *client,
                                 uint32_t who, struct lilio_errinfo *info);
/* Keys that were ever used: 0 .. below, and from SIM_MANY_KEY to the second number. */
void sim_workload_keys(const struct sim_workload *workload, uint32_t *ret_below,
                       uint32_t *ret_others_below);
/* After the copies were read: their values are entered where they were copied. */
void sim_workload_settle_copies(struct sim_workload *workload);

struct sim_workload_counts {
    uint64_t calls, commits, unknown, failed;
    uint64_t errors[64]; /* calls that failed, by -err */
};
void sim_workload_counts(const struct sim_workload *workload, struct sim_workload_counts *ret);

#endif
