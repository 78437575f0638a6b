/* The histogram of redundancy: from counters of stripes that are alike (state_stripes.c) and the
 * states of OSDs to how many stripes have how many good fragments. Pure. */
#ifndef COORDINATOR_HISTOGRAM_H
#define COORDINATOR_HISTOGRAM_H

#include "coordinator/keys.h"
#include "proto/redundancy.h"

enum { COORD_HISTOGRAM_LINES = 1024 }; /* as in the schema */

struct coord_histogram {
    struct proto_trusts trusts;
    uint16_t place_by_id[PROTO_OSD_NONE]; /* in osds, + 1; 0: no such OSD */
    struct proto_redundancy_osd osds[COORD_OSDS_MAX];
    size_t osd_count;
    const struct proto_osd *draining[COORD_OSDS_MAX]; /* borrowed */
    size_t draining_count;
    struct proto_redundancy_line lines[COORD_HISTOGRAM_LINES];
    size_t line_count;
    uint64_t stranded;                                 /* stripes */
    uint64_t osd_levels[COORD_OSDS_MAX][PROTO_LEVELS]; /* what osds[].levels points to */
    uint64_t line_levels[COORD_HISTOGRAM_LINES][PROTO_LEVELS];
};

/* Zero-initialise, add the OSDs by id, then counters by key. */
void coord_histogram_osd(struct coord_histogram *histogram, const struct proto_osd *osd);
/* The counters of a row; stranded: a bit per partition with a slot that has nowhere to go, NULL:
 * none. False if there is no room for another line; nothing was added then.
 * Counters of a bucket coded alike that follow each other share a line. */
bool coord_histogram_add(struct coord_histogram *histogram, const struct coord_stripes_key *key,
                         const struct proto_placement *placement, const uint64_t *stranded,
                         const uint64_t counts[COORD_STRIPES_GROUP]);

#endif
