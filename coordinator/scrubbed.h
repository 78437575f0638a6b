/* What counts as verified because deep scrubs read it. Pure.
 *
 * A complete deep round of an OSD met every fragment in its slots that was committed before the
 * round began, so what all OSDs that have slots met is what was committed before the first of these
 * rounds began, and nothing of it was looked at longer ago. Of what a round met
 *   good         was read;
 *   bad          is bad in the maps, so the histogram counts it as that until it was written anew;
 *   not read     because the maps call it bad: the same. In a slot that fills it would become good
 *                without having been read: such a round says nothing (osd_scrub_round_void).
 * A slot that came to the OSD after its round began was not met by it, whatever the OSD before
 * read; nor does a round say anything of what a later rebuild wrote. Parity that does not fit is in
 * no map: its stripes are not verified, nor are those whose parity could not be computed. What is
 * not known is never taken for verified.
 */
#ifndef COORDINATOR_SCRUBBED_H
#define COORDINATOR_SCRUBBED_H

#include "coordinator/limits.h"
#include "proto/placement.h"

enum { COORD_SCRUB_DEEP = 2 }; /* kind of a scrub_line */

struct coord_scrubbed {
    struct coord_scrubbed_member {
        const struct proto_osd *row;  /* borrowed */
        struct proto_scrub_line line; /* all zeros unless told */
        bool told, has_slots;
        bool has_more; /* a slot that the round did not meet, or that fills */
    } members[COORD_OSDS_MAX];
    size_t count;
    uint16_t place_by_id[PROTO_OSD_NONE]; /* in members, + 1; 0: no such OSD */
};

/* Zero-initialise, add the OSDs, then the placements. line: how its deep scrub is, as old as that
 * is now; NULL: it has told this leader nothing. */
void coord_scrubbed_osd(struct coord_scrubbed *scrubbed, const struct proto_osd *row,
                        const struct proto_scrub_line *line);
void coord_scrubbed_placement(struct coord_scrubbed *scrubbed,
                              const struct proto_placement *placement);
/* Whether what the OSD told is a round that read all it has, or it has no slots: then nobody waits
 * for it. */
bool coord_scrubbed_counts(const struct coord_scrubbed *scrubbed, uint32_t osd,
                           const struct proto_state_row *state);
struct proto_scrubbed coord_scrubbed_sum(const struct coord_scrubbed *scrubbed,
                                         const struct proto_state_row *state);

#endif
