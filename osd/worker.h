/* What the threads that mend share: calls to the coordinators that outlast a restart of theirs, and
 * findings told to the maps in batches. One thread.
 */
#ifndef OSD_WORKER_H
#define OSD_WORKER_H

#include "osd/limits.h"
#include "osd/link.h"
#include "osd/node.h"

enum { OSD_REPORT_GOOD = 0, OSD_REPORT_MISSING = 1, OSD_REPORT_CORRUPT = 3 };

struct osd_worker {
    struct osd_node *node;
    const char *name; /* in log lines */
    struct osd_link *link;
    struct proto_arena *arena; /* of answers nobody keeps */
    struct proto_fragment_report reports[OSD_REBUILD_REPORTS];
    size_t report_count;
    bool reports_lost;         /* some could not be told */
    struct base_oid asked_oid; /* the run last asked about, and whether it is gone */
    bool asked_gone;
};

/* Zero-initialise before; node, name and link's options are borrowed. */
LILIO_MUST_USE enum lilio_err osd_worker_init(struct osd_worker *worker, struct osd_node *node,
                                              const char *name,
                                              const struct osd_link_options *link);
void osd_worker_release(struct osd_worker *worker);

/* osd_link_call, again for OSD_REBUILD_COORDINATOR_MS while nobody answers. The worker's own arena
 * is cleared before. */
LILIO_MUST_USE enum lilio_err osd_worker_call(struct osd_worker *worker,
                                              const struct proto_type *type, const void *value,
                                              const struct proto_type *reply_type,
                                              struct proto_arena *arena, void *ret_value,
                                              struct lilio_errinfo *info);
/* Something the maps should know about a fragment of a run; map says whose it is. Tells when there
 * are enough. */
void osd_worker_report(struct osd_worker *worker, const struct proto_cluster_map *map,
                       const struct proto_data_row *row, uint32_t stripe, uint32_t index,
                       uint8_t kind);
/* Tells what was found. A failure is logged and remembered in reports_lost: the next verification
 * finds the same. */
void osd_worker_reports_send(struct osd_worker *worker);
/* Whether the maps say that the run is gone; false also when nobody knows. */
bool osd_worker_gone(struct osd_worker *worker, struct base_oid oid);

#endif
