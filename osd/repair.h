/* Mending what the maps call missing or corrupt in this OSD's slots, and filling slots that are new
 * to it (osd/fill.h): jobs come with the answers to heartbeats, results go with the next ones. One
 * worker thread feeds the engine of the rebuild; what is known to be missing goes first.
 *
 * Threads: start and stop from the owner thread, the rest from the heartbeat's.
 */
#ifndef OSD_REPAIR_H
#define OSD_REPAIR_H

#include "osd/rebuild_run.h"

struct osd_repair;

struct osd_repair_options {
    struct osd_node *node;       /* all borrowed */
    struct osd_rebuild *rebuild; /* while it runs, jobs wait; NULL: there is none */
    struct proto_context *context;
    const char *const *coordinators; /* endpoints */
    size_t coordinator_count;
    const char *own_endpoint; /* of this OSD's server */
};
/* Errors: NOMEM (no thread, no descriptor). */
LILIO_MUST_USE enum lilio_err osd_repair_start(const struct osd_repair_options *options,
                                               struct osd_repair **ret_repair);
/* Waits for the thread; osd_node_stop must have been called. */
void osd_repair_stop(struct osd_repair **repair);

enum { OSD_REPAIR_JOBS = 64 }; /* at a time, as in the schema; further ones are not taken */

/* What a heartbeat says. */
struct osd_repair_news {
    uint64_t repairing[OSD_REPAIR_JOBS]; /* leases */
    size_t repairing_count;
    struct proto_repair_result repaired[OSD_REPAIR_JOBS];
    char reasons[OSD_REPAIR_JOBS][256];
    size_t repaired_count;
    uint64_t bytes;
    bool clients;
    struct proto_fill_report fill; /* if there is one */
    char fill_reason[256];
    size_t fill_count;
};
void osd_repair_news(struct osd_repair *repair, struct osd_repair_news *ret);
/* The leader has heard it. */
void osd_repair_confirmed(struct osd_repair *repair, const struct osd_repair_news *news);
/* Jobs and share of an answer. A run that is worked on already goes on under its new lease. An OSD
 * that does not serve takes none. */
void osd_repair_orders(struct osd_repair *repair, const struct proto_osd_orders *orders);

#endif
