/* The data directory of one OSD: its lock, its superblock, its store, and what they allow.
 *
 *   directory ──lock──> superblock ──BLANK───> blank: waits for a first disk or a rebuild
 *                           │    ╰──other──> broken: refused, named in the detail
 *                           ╰─JOINING/MEMBER─> store ──welcome──> serving ──failed sync──> failed
 *
 * State: owner of base_disk, superblock and osd_store. After every change the view of the node
 * (osd/node.h) is published, so the state is derived and never set by hand.
 *
 * Joining, and what a crash at each step leaves behind:
 *   1. superblock JOINING with a new uuid   crash: JOINING without a store; opened again empty
 *   2. store created                        crash: JOINING with an empty store
 *   3. osd_bind at the coordinator          crash before: bound again, same uuid; after: welcomed
 *   4. superblock MEMBER with incarnation   crash before: welcomed again, written again
 * Nothing is served before step 4, so nothing is acknowledged on a disk that is not bound.
 *
 * Threads: owner only. Errors are also told to the node's log, once.
 */
#ifndef OSD_HOME_H
#define OSD_HOME_H

#include "osd/node.h"
#include "osd/store.h"

struct osd_home;

struct osd_home_options {
    struct osd_node *node; /* borrowed */
    const char *path;      /* of the directory; made if it is not there (its parent must be) */
    const struct base_random *random;
    /* Tests put their own disk and store here. NULL: the directory at path and the segment store.
     */
    enum lilio_err (*open_disk)(void *context, struct base_disk **ret_disk,
                                struct lilio_errinfo *info);
    enum lilio_err (*open_store)(void *context, struct base_disk *disk, struct base_uuid disk_uuid,
                                 struct osd_store **ret_store, struct lilio_errinfo *info);
    void *context;
};

/* Opens and locks the directory. A disk that must not be used is no error: the OSD stays up and
 * says so. Errors: LOCKED, NOT_FOUND and IO (the directory itself), NOMEM. */
LILIO_MUST_USE enum lilio_err osd_home_open(const struct osd_home_options *options,
                                            struct osd_home **ret_home, struct lilio_errinfo *info);
void osd_home_free(struct osd_home **home);

/* NULL unless there is one that may be asked: blank, refused and waiting OSDs have none to show. */
struct osd_store *osd_home_store(struct osd_home *home);
/* The directory of that store; NULL without one. */
struct base_disk *osd_home_disk(struct osd_home *home);
uint32_t osd_home_incarnation(const struct osd_home *home);
/* Of the store of a disk in use; zero without one. */
void osd_home_stats(struct osd_home *home, struct osd_store_stats *ret);

/* Steps 1 and 2 of joining; a JOINING disk keeps its uuid. Without a disk in use, what is at the
 * path now is looked at first: the old one may have been taken away, or a bad one replaced. Errors:
 * EXISTS (a member already), FOREIGN (refused disk), NO_SPACE, IO. */
LILIO_MUST_USE enum lilio_err osd_home_join(struct osd_home *home, struct base_uuid *ret_uuid,
                                            struct lilio_errinfo *info);
/* The coordinator lets this disk serve as incarnation (step 4). Errors: IO, NO_SPACE: then it does
 * not serve. */
LILIO_MUST_USE enum lilio_err osd_home_welcome(struct osd_home *home, uint32_t incarnation,
                                               struct lilio_errinfo *info);
/* The coordinator does not let it serve. blank: it has no identity (or one that was never bound)
 * and waits for a rebuild; else it is refused. */
void osd_home_turn_away(struct osd_home *home, bool blank, const char *reason);
/* False when the directory, the superblock, a segment or the index is not what was opened: removed,
 * replaced, another one mounted over it. Then nothing may be acknowledged any more, and the OSD is
 * refused until it is restarted or rebuilt. The quick form looks at the superblock's name and at
 * the segment that puts go to, the full one reads the superblock and looks at all open segments. */
bool osd_home_intact(struct osd_home *home, bool full);
/* A rebuild proved that what the maps name is here: the store forgets what it may have lost.
 * Errors: BLANK (nothing to say it of), IO. */
LILIO_MUST_USE enum lilio_err osd_home_complete(struct osd_home *home, struct lilio_errinfo *info);
/* Publishes anew: after the store's health or space changed. */
void osd_home_publish(struct osd_home *home);

#endif
