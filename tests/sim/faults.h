/* Faults while the clients work, drawn from the swarm, within a budget.
 *
 * What only stops or delays (network, crashes, pauses, full or failing disks) may hit anything,
 * also several at once. What harms stored data (rot, writes that go astray, a lost disk) makes an
 * OSD "hurt" until a rebuild proved it whole; not more OSDs are hurt at a time than a stripe
 * written with its quorum survives, and not more coordinators than a minority, those counted that
 * were taken out of the quorum. With swarm.beyond
 * twice as many are hurt: then losses have to be reported, and wrong bytes are still wrong.
 *
 * It is the supervisor, too: daemons that ended, by a fault or by themselves, are started again.
 */
#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

#include "tests/sim/nodes.h"
#include "tests/sim/swarm.h"
#include "tests/sim/workload.h"

struct sim_faults;

struct sim_faults_options {
    const struct sim_swarm *swarm;
    struct sim_workload *workload;
    /* Number of the coordinator that leads, -1 = none known. May be NULL. */
    int (*leader)(void *context);
    void *context;
};
/* Sets links, disks and clocks as the swarm says; no fault yet. From now on whatever ended is
 * started again. */
struct sim_faults *sim_faults_new(const struct sim_faults_options *options);
void sim_faults_free(struct sim_faults **faults);
void sim_faults_start(struct sim_faults *faults);
/* No new faults; those that last end: the network is whole, disks are well (what they hold may be
 * not), everything that is down is started. */
void sim_faults_stop(struct sim_faults *faults);

/* ---- who is hurt ---- */

/* An OSD's data may be damaged or gone. */
bool sim_faults_osd_hurt(const struct sim_faults *faults, unsigned osd);
/* And nothing harms it any more, so that a rebuild would prove it whole. Its mark changes with
 * every new harm. */
bool sim_faults_osd_mendable(const struct sim_faults *faults, unsigned osd, uint64_t *ret_mark);
/* A rebuild that began at this mark proved that everything is there. */
void sim_faults_osd_mended(struct sim_faults *faults, unsigned osd, uint64_t mark);
/* An empty disk in the place of one that is so damaged that it is refused. */
void sim_faults_osd_empty(struct sim_faults *faults, unsigned osd);
/* A coordinator whose disk was lost or damaged: it has to be replaced by a new member. */
bool sim_faults_coordinator_hurt(const struct sim_faults *faults, unsigned i, uint64_t *ret_mark);
void sim_faults_coordinator_mended(struct sim_faults *faults, unsigned i, uint64_t mark);
/* It is to be taken out of the quorum first, and was: its process ends. */
bool sim_faults_coordinator_leaves(const struct sim_faults *faults, unsigned i);
void sim_faults_coordinator_left(struct sim_faults *faults, unsigned i);
/* Puts an empty disk in its place and starts a new member there, which is looked after from now on.
 */
void sim_faults_coordinator_join(struct sim_faults *faults, unsigned i, uint64_t member);
/* Whether more was hurt at any time than the budget allows: losses are possible. */
bool sim_faults_beyond(const struct sim_faults *faults);

/* What only the operator (plot.h) can do, one at a time. */
enum sim_wish { SIM_WISH_NONE, SIM_WISH_TRANSFER };
enum sim_wish sim_faults_wish(struct sim_faults *faults, unsigned *ret_coordinator);

#endif
