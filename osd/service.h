/* The owner thread's loop: requests in, one sync for many puts, answers out.
 *
 * A round takes in all that waits, runs what other threads asked for, stores one batch of puts,
 * then reads some fragments and verifies a few, so that no kind of request holds up the others for
 * long. Nothing is acknowledged before the batch's sync returned and the directory was seen to be
 * still there.
 *
 * Bounds (osd/limits.h): requests and their bytes taken in; beyond them BUSY at once, so memory
 * does not grow with the number of peers. A get waits a while for a reply buffer, then BUSY.
 *
 * Threads: owner only.
 */
#ifndef OSD_SERVICE_H
#define OSD_SERVICE_H

#include "osd/buffers.h"
#include "osd/collect.h"
#include "osd/home.h"
#include "osd/node.h"
#include "proto/transport.h"

struct osd_orphans;
struct osd_scrub;
struct osd_rebuild;
struct osd_service;

enum { OSD_SERVERS_MAX = 2 };

struct osd_service_options {
    struct osd_node *node; /* all borrowed */
    struct osd_home *home;
    struct osd_collector *collector;
    struct osd_buffers *buffers;
    struct osd_rebuild *rebuild; /* NULL: rebuild requests are refused */
    struct osd_orphans *orphans; /* NULL: so are those about orphans */
    struct osd_scrub *scrub;     /* NULL: so are those about scrubs */
    struct proto_server *servers[OSD_SERVERS_MAX];
    size_t server_count;
    int signal_fd; /* a round ends when it is readable; -1 = none */
};
struct osd_service_counters {
    uint64_t put_count, get_count, busy_count;
};

LILIO_MUST_USE enum lilio_err osd_service_new(const struct osd_service_options *options,
                                              struct osd_service **ret_service);
/* Requests that were not answered are dropped. */
void osd_service_free(struct osd_service **service);
/* One round; waits at most timeout_ms for something to do. */
void osd_service_round(struct osd_service *service, int timeout_ms);
void osd_service_counters_get(const struct osd_service *service, struct osd_service_counters *ret);

#endif
