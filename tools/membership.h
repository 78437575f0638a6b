/* Changing who belongs to the quorum of a cluster on this machine: lilio.yaml, the leader's
 * configuration and the daemon go through one sequence of steps, each of which can be done again.
 *
 * A coordinator that has lost its folder may have voted and acknowledged things it no longer knows,
 * so it comes back as another member (a new incarnation), never as itself. To make coordinator N a
 * voter, whatever was there before:
 *
 *   1. lilio.yaml names it, with the folder it shall have      (durable; before it is no member)
 *   2. a learner with N's next incarnation is in the quorum    (committed)
 *   3. its daemon runs in an empty folder, as that member
 *   4. it has caught up
 *   5. N's old incarnation, if there is one, is out of the quorum (committed)
 *   6. the learner is a voter                                  (committed)
 *
 * A crash between any two leaves a cluster that works; the same command run again finds out where
 * it was. The one thing it must find out from the folder: a learner (2) whose folder is empty has
 * either never run (3) or lost its disk again; either way it is removed and another one takes its
 * place. Folders are never deleted. One thread. */
#ifndef TOOLS_MEMBERSHIP_H
#define TOOLS_MEMBERSHIP_H

#include "proto/cluster_file.h"
#include "tools/cmd.h"
#include "tools/daemons.h"

struct tools_membership {
    struct tools_context *context;
    struct proto_cluster_file file;
    struct tools_daemons daemons;
    int lock;
    uint32_t id;
    char *aside; /* where a broken folder was put, if one was */
};
/* Opens the client, takes the cluster's lock, finds the daemons. Errors: INVALID (the cluster is
 * not of this machine), LOCKED, those of the client. */
LILIO_MUST_USE enum lilio_err tools_membership_open(struct tools_context *context,
                                                    struct tools_membership *ret);
void tools_membership_release(struct tools_membership *membership);
/* lilio.yaml as it is in memory becomes the one on disk, and the list of daemons follows. */
LILIO_MUST_USE enum lilio_err tools_membership_save(struct tools_membership *membership);

/* The daemon of coordinator `id`; NULL if lilio.yaml names none with a folder. */
struct tools_daemon *tools_membership_daemon(struct tools_membership *membership);
/* The leader's status. Errors: UNAVAILABLE (no leader), and those of the client. */
LILIO_MUST_USE enum lilio_err tools_membership_status(struct tools_membership *membership,
                                                      struct lilio_status *ret);
/* Steps 2 to 6. *ret_member: what it is now, or will be when this is done again; left alone if it
 * is no member yet. */
LILIO_MUST_USE enum lilio_err tools_membership_bring(struct tools_membership *membership,
                                                     uint64_t *ret_member);
/* Would a majority live without this coordinator, which is removed, or stopped and goes on being
 * counted? Waits a few seconds for a new leader to hear the others. Errors: PRECONDITION (who is
 * silent), CANCELLED, those of tools_membership_status. */
LILIO_MUST_USE enum lilio_err tools_membership_majority(struct tools_membership *membership,
                                                        bool removed);
/* Another one leads, if one can; for before the leader is stopped or removed. */
void tools_membership_hand_over(struct tools_membership *membership);
/* Takes all incarnations of `id` out of the quorum; OK when there is none. */
LILIO_MUST_USE enum lilio_err tools_membership_drop(struct tools_membership *membership);
/* Puts the folder of `id` beside itself under a name that says which incarnation it was, durably;
 * nothing if it is empty. */
LILIO_MUST_USE enum lilio_err tools_membership_aside(struct tools_membership *membership,
                                                     uint64_t member);

#endif
