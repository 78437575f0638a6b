/* The rebuild of this OSD: one worker thread that makes it hold everything the object map says, and
 * proves it. osd/rebuild.h has the decisions, osd/rebuild_worker.c the run.
 *
 * Threads: start, cancel and get from the owner thread; the worker is the only other one.
 */
#ifndef OSD_REBUILD_RUN_H
#define OSD_REBUILD_RUN_H

#include "osd/home.h"
#include "osd/node.h"
#include "proto/transport.h"

struct osd_rebuild;

struct osd_rebuild_options {
    struct osd_node *node; /* all borrowed for the life of the rebuild */
    struct osd_home *home; /* touched on the owner thread only */
    struct proto_context *context;
    const char *const *coordinators; /* endpoints */
    size_t coordinator_count;
    const char *own_endpoint; /* of this OSD's server; inproc is cheapest */
};

LILIO_MUST_USE enum lilio_err osd_rebuild_new(const struct osd_rebuild_options *options,
                                              struct osd_rebuild **ret_rebuild);
/* Stops a running worker first; osd_node_stop must have been called. */
void osd_rebuild_free(struct osd_rebuild **rebuild);
/* Joins one that runs. Errors: BUSY (one that was stopped is still ending), NOMEM (no thread). */
LILIO_MUST_USE enum lilio_err osd_rebuild_start(struct osd_rebuild *rebuild,
                                                struct lilio_errinfo *info);
/* Whether one runs now. Any thread. */
bool osd_rebuild_runs(struct osd_rebuild *rebuild);
/* Asks the worker to stop; what is verified stays. */
void osd_rebuild_cancel(struct osd_rebuild *rebuild);
/* The state and a page of failures; lists are in the arena. */
LILIO_MUST_USE enum lilio_err osd_rebuild_get(struct osd_rebuild *rebuild, uint32_t failures_from,
                                              struct proto_arena *arena, struct proto_rebuild *ret);

#endif
