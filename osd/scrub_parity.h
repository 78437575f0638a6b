/* Whether the parity of a stripe is what its data makes: the data fragments are read from their
 * OSDs, verified against the row, coded again, and the checksums compared with those the row has
 * for the parity fragments. So a row whose parity never fitted its data is found, though each of
 * its fragments is good. One thread.
 */
#ifndef OSD_SCRUB_PARITY_H
#define OSD_SCRUB_PARITY_H

#include "osd/node.h"
#include "proto/transport.h"

struct osd_parity;

LILIO_MUST_USE enum lilio_err osd_parity_new(struct osd_node *node, struct proto_context *context,
                                             struct osd_parity **ret_parity);
void osd_parity_free(struct osd_parity **parity);

/* own: the bytes of data fragment 0, which were verified. *ret_bad is a mask of the parity
 * fragments that do not fit. Errors: MISSING (some data cannot be had now), CANCELLED, NOMEM. */
LILIO_MUST_USE enum lilio_err osd_parity_check(struct osd_parity *parity,
                                               const struct proto_cluster_map *map,
                                               const struct proto_data_row *row, uint32_t stripe,
                                               const uint8_t *own, uint64_t *ret_bad);

#endif
