/* How far from loss a stripe is, as the maps know it: one judgement for the histogram of the
 * coordinators, `damage' and `explain'. Pure code.
 *
 * A fragment is good when no exception of its row speaks against it and its OSD is there with
 * proven content. It is away when its OSD is not reached or unproven: it may come back. At an OSD
 * that failed, which only serves what it has, it can be read, but is no redundancy: it counts as
 * good where the stripe could not be read without it, and as away elsewhere. Otherwise it is gone.
 * What is good can be read; what is not gone is kept, at best. In a slot that
 * fills a fragment is away: it is at its OSD already, or still where it was before. Of a slot that
 * moved away from an empty disk nobody knows yet what its OSD has of it, made anew or stored since;
 * the fill names what it could not have.
 */
#ifndef PROTO_REDUNDANCY_H
#define PROTO_REDUNDANCY_H

#include "proto/placement.h"

enum proto_trust {
    PROTO_TRUST_GONE,
    PROTO_TRUST_BLANK, /* gone, too, but for what its slots' new OSDs may have */
    PROTO_TRUST_AWAY,
    PROTO_TRUST_FAILING,
    PROTO_TRUST_GOOD,
};
enum proto_trust proto_osd_trust(const struct proto_osd *osd);

/* Of every OSD, by id; ids that are no OSD's are gone. */
struct proto_trusts {
    uint8_t by_id[PROTO_OSD_NONE + 1];
};
/* An OSD that is not in the list leaves its entry alone: zero-initialise. */
void proto_trusts_set(struct proto_trusts *trusts, const struct proto_osd *osd);

struct proto_standing {
    uint64_t good, kept; /* masks of fragment indexes */
};
/* bad: the fragments that exceptions of the row call missing or corrupt. */
struct proto_standing proto_stripe_standing(const struct proto_trusts *trusts,
                                            const struct proto_placement *placement,
                                            uint32_t partition, uint8_t data_count, uint64_t bad);

/* A level for each margin, good fragments - data_count, and a last one for stripes with too few. */
enum { PROTO_LEVELS = 18, PROTO_LEVEL_BELOW = PROTO_LEVELS - 1 };
size_t proto_level(uint32_t good_count, uint8_t data_count);

#endif
