/* Shared by plot.c (phases), operator.c (who mends things) and check_end.c (what has to hold). */
#ifndef TESTS_SIM_PLOT_PRIV_H
#define TESTS_SIM_PLOT_PRIV_H

#include "tests/sim/faults.h"
#include "tests/sim/nodes.h"
#include "tests/sim/workload.h"

enum plot_phase { PLOT_MAKE, PLOT_FAULTS, PLOT_HEAL, PLOT_CONVERGE, PLOT_OVER };

struct plot {
    struct sim_swarm swarm;
    struct sim_workload *workload;
    struct sim_faults *faults;
    enum plot_phase phase;
    const char *stage; /* what is being waited for */
    bool puts_wait;    /* faults ended long ago, and still too few OSDs are there for a quorum */
    uint64_t faults_began, faults_ended, work_ended;
    uint64_t calls_in_faults, calls_of_work; /* the latter from the first one to the calm's end */
    struct lilio_client *lilio;              /* the operator's */
    uint64_t rebuilds, replaced, transferred;
};
extern struct plot plot;

enum { PLOT_GRACE_MS = 60000 }; /* what is deleted and stays longer is not waited for */

/* ---- operator.c ---- */

/* The operator's process: a client that is never hurt. */
void operator_main(void *unused);
/* Rebuilds an OSD; true when it was proven whole. Answers false at once when it cannot begin. */
bool operator_rebuild(unsigned osd);
/* What is done about an OSD that runs and does not serve: one whose disk was harmed so that it is
 * refused gets an empty one. */
void operator_revive(unsigned osd);
/* Puts a new member in the place of a coordinator that is hurt; true when none is, or it votes. */
bool operator_replace(unsigned coordinator);

/* ---- drains.c ---- */

/* Now and then an OSD is drained, emptied, and filled anew. */
void operator_drain(struct sim_stream *random);
/* None drains any more. */
void operator_drain_stop(void);

/* ---- check_end.c: run by the operator ---- */

void check_end_converged(void);
void check_end_readable(const char *when);
void check_end_known(void);
void check_end_redundant(void);
/* In check_lease.c. */
void check_end_leased(void);
void check_end_collected(void);
/* In check_orphans.c. */
void check_end_orphans(void);
/* In check_scrub.c. */
void operator_scrub(struct sim_stream *random);
void check_end_scrubbed(void);
/* Outside of the cluster: what the history proves. */
void check_end_history(void);

#endif
