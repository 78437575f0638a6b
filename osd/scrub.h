/* Scrub: this OSD holds what it has against the maps, so that damage is found before somebody needs
 * what is damaged. A light round asks the index whether each fragment of our slots is there with
 * its length and checksum; a deep one reads every byte of them, and as the OSD of fragment 0 codes
 * the stripe's parity again (osd/scrub_parity.h). What is bad is reported like anything a reader
 * meets; mending it is the business of the repair queue.
 *
 * Rounds come by themselves, once in a period, a deep one so slowly that it takes most of it, and
 * when somebody asks. They walk the maps by oid, page by page, each page as of now: nothing stays
 * pinned for days. How far they are outlasts restarts (osd/scrub_round.h).
 *
 * Threads: one of its own; the functions below are called by any.
 */
#ifndef OSD_SCRUB_H
#define OSD_SCRUB_H

#include "osd/home.h"
#include "osd/rebuild_run.h"
#include "osd/scrub_round.h"
#include "proto/transport.h"

struct osd_scrub;

struct osd_scrub_options {
    struct osd_node *node;       /* all borrowed */
    struct osd_home *home;       /* touched on the owner thread only */
    struct osd_rebuild *rebuild; /* while it runs, rounds wait; NULL: there is none */
    struct proto_context *context;
    const char *const *coordinators; /* endpoints */
    size_t coordinator_count;
    uint64_t period_ms[OSD_SCRUB_KINDS]; /* 0 = never by itself */
};
/* Errors: NOMEM (no thread, no descriptor). */
LILIO_MUST_USE enum lilio_err osd_scrub_start(const struct osd_scrub_options *options,
                                              struct osd_scrub **ret_scrub);
/* Waits for the thread; osd_node_stop must have been called. */
void osd_scrub_stop(struct osd_scrub **scrub);

/* A round from the start now; one that was ordered and runs goes on, at this rate. */
void osd_scrub_order(struct osd_scrub *scrub, enum osd_scrub_kind kind, uint64_t rate);
/* Whether the maps were put back from an earlier time. Within one history their index never goes
 * back: what is asked for behind a call of index() is at least at what that returned. If it is not,
 * no round proves anything any more, for the maps may name again what was deleted since. */
uint64_t osd_scrub_maps_index(struct osd_scrub *scrub);
/* The answer says this index; before: of osd_scrub_maps_index() before it was asked for. index 0:
 * it does not say. */
void osd_scrub_maps_are(struct osd_scrub *scrub, uint64_t before, uint64_t index);
/* What a heartbeat says: a line per kind, or 0 lines before the state of the disk was read. */
size_t osd_scrub_lines(struct osd_scrub *scrub, struct proto_scrub_line ret[OSD_SCRUB_KINDS]);
/* The lists live in the arena. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err osd_scrub_get(struct osd_scrub *scrub, struct proto_arena *arena,
                                            struct proto_scrub *ret);

#endif
