/* A walk over all runs of the maps, pinned at one applied index, page by page. One thread: its
 * worker's.
 */
#ifndef OSD_WALK_H
#define OSD_WALK_H

#include "osd/rebuild_priv.h"
#include "osd/worker.h"

struct osd_walk {
    struct osd_worker *worker; /* borrowed */
    uint64_t id;               /* 0 = not open */
    uint64_t index, epoch;     /* pinned applied index, and of the map then */
    uint64_t stripes_ever;     /* committed up to that index */
    uint64_t rows, bytes;      /* about how many there are, and stored by them */
    uint64_t asked_ms;
    bool lapsed; /* or was another leader's: nothing of it comes any more */
};

LILIO_MUST_USE enum lilio_err osd_walk_open(struct osd_walk *walk, struct lilio_errinfo *info);
/* The coordinator lets go of a walk by itself; this only saves it the wait. */
void osd_walk_close(struct osd_walk *walk);
/* The runs behind an oid. Errors: NOT_FOUND (it lapsed), and what a call can come to. */
LILIO_MUST_USE enum lilio_err osd_walk_page(struct osd_walk *walk, struct base_oid after,
                                            struct osd_page **ret_page, struct lilio_errinfo *info);
/* A page that takes long to work off must not let the walk lapse. Errors as above. */
LILIO_MUST_USE enum lilio_err osd_walk_keep_alive(struct osd_walk *walk, struct base_oid last,
                                                  struct lilio_errinfo *info);
/* Waits until our own map is at least as new as the pinned rows, so that it knows their placements.
 * Errors: UNAVAILABLE, CANCELLED. */
LILIO_MUST_USE enum lilio_err osd_walk_map_wait(struct osd_walk *walk, struct lilio_errinfo *info);

#endif
