/* The slots this OSD has since a while ago, and what was in them before: a job names partitions,
 * the maps name what is to be in them, the engine of the repair worker makes it so.
 *
 *   1. The heartbeat's thread takes the job: WAITING.
 *   2. The worker pins the maps, behind the moves, and walks them: each fragment of a filling slot
 * of ours in the job's partitions becomes a task. What the maps call missing already is left to
 *      repair.
 *   3. Fragments that cannot be had are reported missing: they are faults with names from then on,
 *      and do not keep their slots filling. When there are too many of them the job fails.
 *   4. When the last task has ended the maps are told that the slots are filled: DONE, and the next
 *      heartbeats say so until one is answered.
 *
 * A crash forgets the job; it is given again, and what is there is found good then.
 *
 * Threads: order, news and confirmed from the heartbeat's, the rest from the worker's.
 */
#ifndef OSD_FILL_H
#define OSD_FILL_H

#include "osd/rebuild_priv.h"
#include "osd/worker.h"

struct osd_fill;

LILIO_MUST_USE enum lilio_err osd_fill_new(struct osd_worker *worker, struct osd_fill **ret_fill);
void osd_fill_free(struct osd_fill **fill);

/* ---- the heartbeat's thread ---- */

/* The same partitions as those at hand go on under the new lease; others wait until the leader asks
 * again. */
void osd_fill_order(struct osd_fill *fill, const struct proto_fill_job *job);
/* What a heartbeat says: false if there is nothing to say. */
bool osd_fill_news(struct osd_fill *fill, struct proto_fill_report *ret, char ret_reason[256]);
/* The leader has heard it. */
void osd_fill_confirmed(struct osd_fill *fill, const struct proto_fill_report *report);

/* ---- the worker's thread ---- */

/* Whether there is something left to be walked over. */
bool osd_fill_wants(struct osd_fill *fill);
/* Pins the maps, unless they are. Our own map is as new then. */
LILIO_MUST_USE enum lilio_err osd_fill_begin(struct osd_fill *fill, struct lilio_errinfo *info);
/* The next task by this map; *ret_found false: not now, or none is left. */
LILIO_MUST_USE enum lilio_err osd_fill_next(struct osd_fill *fill,
                                            const struct proto_cluster_map *map,
                                            struct osd_task *ret_task, bool *ret_found,
                                            struct lilio_errinfo *info);
/* A task was handed to the engine; one has ended. */
void osd_fill_opened(struct osd_fill *fill);
void osd_fill_closed(struct osd_fill *fill, const struct proto_cluster_map *map,
                     const struct osd_task *task, enum osd_task_outcome outcome);
/* The job cannot go on; tasks under way are forgotten if the engine is. */
void osd_fill_fail(struct osd_fill *fill, enum lilio_err err, const char *reason);
void osd_fill_forget_tasks(struct osd_fill *fill);
/* It has begun and not ended. */
bool osd_fill_runs(struct osd_fill *fill);
/* Tells the maps, once nothing is left to be done. */
void osd_fill_look(struct osd_fill *fill, const struct proto_cluster_map *map);

#endif
