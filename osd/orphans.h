/* Orphans: fragments of puts that died, found and deleted in two phases (design rules 1 and 4).
 *
 *   walk over the index --> orphans_ask --> marked, durably (osd/quarantine.h)
 *   retention over --> orphans_sweep, a command --> what it calls an orphan still goes to the
 *   collector (osd/collect.h) --> forgotten
 *
 * A round is the one and then the other. It is void when anything of its first half goes wrong: the
 * store, a coordinator that does not answer, belongs to another cluster, or is behind what was
 * answered before. A void round marks nothing and deletes nothing. Runs whose session was never
 * handed out are counted and kept: the maps may be older than the disk.
 *
 * Rounds come by themselves, every 24th part of the retention, but at least 1 s and at most 1 h
 * apart, and when somebody asks.
 *
 * Threads: one of its own; the functions below are called by any.
 */
#ifndef OSD_ORPHANS_H
#define OSD_ORPHANS_H

#include "osd/collect.h"
#include "osd/home.h"
#include "proto/transport.h"

struct osd_orphans;

struct osd_orphans_options {
    struct osd_node *node; /* all borrowed */
    struct osd_home *home; /* touched on the owner thread only */
    struct osd_collector *collector;
    struct proto_context *context;
    const char *const *coordinators; /* endpoints */
    size_t coordinator_count;
    uint64_t retention_ms; /* of cluster time */
};
/* Errors: NOMEM (no thread, no descriptor). */
LILIO_MUST_USE enum lilio_err osd_orphans_start(const struct osd_orphans_options *options,
                                                struct osd_orphans **ret_orphans);
/* Waits for the thread; osd_node_stop must have been called. */
void osd_orphans_stop(struct osd_orphans **orphans);

/* A round now. dry: it changes nothing; now: it does not wait for the retention. */
void osd_orphans_order(struct osd_orphans *orphans, bool dry, bool now);
/* The slices live in the arena. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err osd_orphans_get(struct osd_orphans *orphans,
                                              struct proto_arena *arena, struct proto_orphans *ret);
/* Runs in quarantine. */
uint64_t osd_orphans_waiting(struct osd_orphans *orphans);

#endif
