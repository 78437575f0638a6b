/* The heartbeat: introduces this OSD to the coordinators, reports its state, fetches the map and
 * what is to be deleted.
 *
 *   hello ──welcome──> serve ─────────╮
 *     ^      │──stay blank────────────┤──> heartbeat each welcome.heartbeat_ms ──known=false──>
 * hello │      │──first disk: join, bind, hello again │      ╰──refused ──wait──> hello ╰──
 * coordinator gone: keep serving with the last map, try again with backoff
 *
 * Threads: one of its own. What concerns the disk runs on the owner thread (osd_node_call).
 * Does not guarantee: that the coordinator knows the latest numbers. The owner publishes them every
 * one or two seconds, and when it has collected something; then they wait for a heartbeat.
 */
#ifndef OSD_MEMBER_H
#define OSD_MEMBER_H

#include "osd/collect.h"
#include "osd/home.h"
#include "osd/node.h"
#include "proto/transport.h"

struct osd_member;

struct osd_member_options {
    struct osd_node *node; /* all borrowed */
    struct osd_home *home; /* touched on the owner thread only */
    struct osd_collector *collector;
    struct osd_repair *repair;       /* NULL: takes no jobs */
    struct osd_orphans *orphans;     /* NULL: there is no quarantine */
    struct osd_inventory *inventory; /* NULL: nothing is compared with the maps */
    struct osd_scrub *scrub;         /* NULL: there are no scrubs */
    struct proto_context *context;
    const char *const *coordinators; /* endpoints */
    size_t coordinator_count;
    const char *address; /* where this OSD listens */
    bool init;           /* a first disk may be initialised */
};
/* Errors: NOMEM (no thread). */
LILIO_MUST_USE enum lilio_err osd_member_start(const struct osd_member_options *options,
                                               struct osd_member **ret_member);
/* Waits for the thread; osd_node_stop must have been called. */
void osd_member_stop(struct osd_member **member);

/* What an answer to osd_hello means. Pure. */
enum osd_member_action {
    OSD_MEMBER_SERVE,
    OSD_MEMBER_STAY_BLANK,
    OSD_MEMBER_REFUSE,
    OSD_MEMBER_BIND,           /* join the disk, then osd_bind, then hello again */
    OSD_MEMBER_ANNOUNCE_BLANK, /* hello again without the uuid: it was never bound */
};
struct osd_member_case {
    enum osd_disk_state disk; /* of the view */
    bool announced_blank;     /* the hello had no uuid */
    bool init;
    bool same_cluster; /* the welcome names our cluster */
    uint8_t verdict;
};
/* *ret_reason: why, where the coordinator did not say; NULL otherwise. */
enum osd_member_action osd_member_decide(const struct osd_member_case *facts,
                                         const char **ret_reason);

#endif
