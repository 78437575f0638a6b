/* The other OSDs as a rebuild sees them: one channel each, made when first needed, remade when the
 * map gives the OSD another address.
 *
 * An OSD that cannot be reached, or took a question and said nothing, is asked again only now and
 * then, so that it does not cost every stripe its time-out. One that is not up, by the newest map,
 * and was waited for in vain is away: it is asked as soon as it can be, but no stripe waits for it.
 * One thread.
 */
#ifndef OSD_REBUILD_PEERS_H
#define OSD_REBUILD_PEERS_H

#include "osd/node.h"
#include "proto/transport.h"

struct osd_peers;

LILIO_MUST_USE enum lilio_err osd_peers_new(struct osd_node *node, struct proto_context *context,
                                            struct osd_peers **ret_peers);
void osd_peers_free(struct osd_peers **peers);

/* Sends. Errors: BUSY (connecting, or its queue is full: soon again), UNAVAILABLE, NOMEM. */
LILIO_MUST_USE enum lilio_err osd_peers_ask(struct osd_peers *peers, uint32_t osd,
                                            const struct proto_header *header,
                                            const struct proto_type *type, const void *value);
/* The OSD took a question and did not answer in time. */
void osd_peers_silent(struct osd_peers *peers, uint32_t osd);

/* Whether it makes no sense to wait for it now. */
bool osd_peers_away(struct osd_peers *peers, uint32_t osd);

/* For proto_wait: up to room items, one per channel. Returns how many. */
size_t osd_peers_items(struct osd_peers *peers, struct proto_wait_item *ret_items, size_t room);
/* The next answer of any peer, or NULL; *ret_osd says whose. */
struct proto_reply *osd_peers_receive(struct osd_peers *peers, uint32_t *ret_osd);
/* An OSD whose connection broke with questions under way: they are lost. False if there is none. */
bool osd_peers_broken(struct osd_peers *peers, uint32_t *ret_osd);
/* Looks at the node's newest map. */
void osd_peers_refresh(struct osd_peers *peers);

#endif
