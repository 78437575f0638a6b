/* Deleting what the coordinators decided to delete: jobs come in with heartbeats, are worked off by
 * the owner thread in small steps, and are confirmed with a later heartbeat.
 *
 * Invariants: a job is confirmed only after its tombstones are durable; a run is remembered as
 * collected before its first fragment is looked for, so that a put under way cannot bring back a
 * fragment that nobody would ever delete again (oids are never reused).
 */
#ifndef OSD_COLLECT_H
#define OSD_COLLECT_H

#include "osd/limits.h"
#include "osd/node.h"
#include "osd/store.h"

struct osd_collector;

LILIO_MUST_USE enum lilio_err osd_collector_new(struct osd_collector **ret_collector);
void osd_collector_free(struct osd_collector **collector);

/* ---- heartbeat thread, and whoever sweeps orphans ---- */

/* A job that is known already is ignored, so is one beyond OSD_COLLECT_JOBS_MAX (false): the
 * coordinator repeats what was not confirmed. */
bool osd_collector_add(struct osd_collector *collector, const struct proto_collect_job *job);
/* It is known and not done. */
bool osd_collector_pending(struct osd_collector *collector, const struct proto_collect_job *job);
/* Up to OSD_COLLECT_REPORT_MAX jobs that are done. Returns their count. */
size_t osd_collector_done(struct osd_collector *collector,
                          struct proto_collect_job ret_jobs[OSD_COLLECT_REPORT_MAX]);
/* The coordinator has heard of these: they are forgotten. */
void osd_collector_confirmed(struct osd_collector *collector, const struct proto_collect_job *jobs,
                             size_t count);

/* ---- owner thread ---- */

enum osd_collect_result {
    OSD_COLLECT_IDLE,   /* nothing to do now */
    OSD_COLLECT_MORE,   /* call again soon */
    OSD_COLLECT_DONE,   /* a job was finished: worth a heartbeat */
    OSD_COLLECT_FAILED, /* the store refused; *info says why. Call again later */
};
/* A few stripes of the oldest job. */
enum osd_collect_result osd_collector_step(struct osd_collector *collector, struct osd_store *store,
                                           const struct proto_cluster_map *map,
                                           struct lilio_errinfo *info);
/* True if the run was collected here not long ago. */
bool osd_collector_knows(const struct osd_collector *collector, struct base_oid oid);

#endif
