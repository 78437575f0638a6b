/* Does this OSD have what the maps say? Asked at each start, and when it was out of touch for a
 * while: a disk may come back with less than it had (an older copy of it was put back, records were
 * lost), and nobody would know before somebody reads.
 *
 * For each of its slots the OSD sums up the hashes of the stripes its index has, and the leader
 * says whether that is the sum of what has to be there. Puts and deletes under way make a
 * difference for a moment, so it looks again; once the same is enough. Only what differs each time
 * is compared one by one with the maps, pinned; what is not there is reported as missing, and the
 * repair of the cluster brings back exactly that. Nothing is read but the index.
 *
 * One worker thread. An OSD that is not complete is not compared: it has to be rebuilt.
 */
#ifndef OSD_INVENTORY_H
#define OSD_INVENTORY_H

#include "osd/home.h"
#include "proto/messages.h"

struct osd_inventory;

struct osd_inventory_options {
    struct osd_node *node;
    struct osd_home *home;
    struct proto_context *context;
    const char *const *coordinators;
    size_t coordinator_count;
};
LILIO_MUST_USE enum lilio_err osd_inventory_start(const struct osd_inventory_options *options,
                                                  struct osd_inventory **ret_inventory);
/* After osd_node_stop(). */
void osd_inventory_stop(struct osd_inventory **inventory);

/* Compare, or again if it does already. */
void osd_inventory_order(struct osd_inventory *inventory);
/* How it is; the text goes into ret_reason. */
void osd_inventory_get(struct osd_inventory *inventory, struct proto_inventory_report *ret,
                       char ret_reason[256]);

#endif
