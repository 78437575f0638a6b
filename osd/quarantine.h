/* The orphans an OSD has marked: runs that no row names and whose session is over, each with the
 * index and the cluster time at which a coordinator said so. They stay readable until their time is
 * over and a command has found them to be orphans still.
 *
 * Kept in the file `orphans` of the OSD's directory, replaced as a whole (docs/formats/disk.md). A
 * file that is not there, damaged, or another disk's holds nothing: its runs are marked again, and
 * wait anew.
 *
 * The table and its bytes are pure. Threads: one at a time; load and save on the owner's.
 */
#ifndef OSD_QUARANTINE_H
#define OSD_QUARANTINE_H

#include "base/bytes.h"
#include "base/disk.h"
#include "osd/limits.h"

struct osd_orphan {
    struct base_oid oid;
    uint64_t index, cluster_ms; /* when it was marked */
    /* As the last round found it; not in the file. */
    uint32_t placement, stripe_count; /* up to the last stripe of which something is here */
    uint64_t fragments, bytes;
    bool fresh;   /* marked by the round under way */
    bool unknown; /* of a session that was never handed out: never in the file */
};
struct osd_quarantine {
    struct base_uuid cluster_id, disk_uuid;
    uint64_t index; /* highest index a coordinator ever answered at */
    struct osd_orphan *items;
    size_t count, room;
    uint32_t *places; /* by hash of the oid: 1 + place in items; 0 = free */
    size_t place_count;
};

void osd_quarantine_release(struct osd_quarantine *quarantine);
/* NULL if it is not there. Valid until the next add or sift. */
struct osd_orphan *osd_quarantine_find(const struct osd_quarantine *quarantine,
                                       struct base_oid oid);
/* A zeroed one for an oid that is not there. NULL: no memory, or OSD_ORPHANS_MAX are there. */
struct osd_orphan *osd_quarantine_add(struct osd_quarantine *quarantine, struct base_oid oid);
/* Forgets those it does not want to keep. */
void osd_quarantine_sift(struct osd_quarantine *quarantine,
                         bool (*keep)(const struct osd_orphan *orphan));

/* Replaces the content of ret. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err osd_quarantine_encode(const struct osd_quarantine *quarantine,
                                                    struct base_buffer *ret);
/* Adds to an empty quarantine. Errors: CORRUPT, FORMAT (newer), FOREIGN (of another disk), NOMEM.
 */
LILIO_MUST_USE enum lilio_err osd_quarantine_decode(struct osd_quarantine *quarantine,
                                                    struct base_slice bytes);

/* Empties it and reads what the disk has. What cannot be used is NOT_FOUND, or an error as above;
 * the quarantine is empty then. */
LILIO_MUST_USE enum lilio_err osd_quarantine_load(struct osd_quarantine *quarantine,
                                                  struct base_disk *disk,
                                                  struct lilio_errinfo *info);
/* Durable when it returns; a failure leaves the old file or the new one. */
LILIO_MUST_USE enum lilio_err osd_quarantine_save(const struct osd_quarantine *quarantine,
                                                  struct base_disk *disk,
                                                  struct lilio_errinfo *info);

#endif
