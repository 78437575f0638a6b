/* Fragments of slots that other OSDs have now: sources until those are filled, then collected.
 *
 * A round walks the index, and asks a command about what lies in slots that moved away, a retention
 * after they did (who reads with an older map has a newer one by then). What it grants is deleted,
 * unless the slot came back meanwhile: the map is looked at on the owner's thread, right before.
 */
#ifndef OSD_FORMER_H
#define OSD_FORMER_H

#include "osd/home.h"
#include "osd/worker.h"

enum { OSD_FORMER_BATCH = 64 }; /* fragments of one formers_sweep; what a store removes at once */

/* Why a fragment in a slot of another OSD is here yet. */
enum osd_former_why {
    OSD_FORMER_NONE,  /* it is in a slot of ours, or was never */
    OSD_FORMER_FILLS, /* its slot, or another of the partition, is not full */
    OSD_FORMER_AWAY,  /* an OSD of the partition is not up with proven content */
    OSD_FORMER_FRESH, /* the retention is not over */
    OSD_FORMER_DUE,   /* the next round asks whether it may go */
};

/* One thread, but for the removals on the owner's. Zero-initialise; node, home and worker are
 * borrowed. */
struct osd_former {
    struct osd_home *home;
    struct osd_worker *worker;
    uint64_t retention_ms;
    /* What moved at an epoch up to it is old enough once the retention is over. */
    uint64_t epoch, seen_ms;
    struct base_uuid disk_uuid; /* of the round */
    uint32_t incarnation;
    struct base_fragment_key page[512], found[OSD_FORMER_BATCH];
    size_t page_count, found_count;
    uint64_t swept, swept_bytes; /* since the start */
};

/* now: without waiting for the retention. An error ends the round, what was deleted stays so. */
LILIO_MUST_USE enum lilio_err osd_former_round(struct osd_former *former, bool now,
                                               struct lilio_errinfo *info);

/* What holds a fragment, if a round came now. On the rounds' thread, or while that one waits. */
enum osd_former_why osd_former_why(const struct osd_former *former,
                                   const struct proto_cluster_map *map,
                                   const struct base_fragment_key *key);

#endif
