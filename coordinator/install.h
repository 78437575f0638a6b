/* Installing a pulled state: DIR/pull/ becomes DIR/maps/, and the log starts anew behind it.
 *
 * Each step can be done again, so a crash at any moment goes on from the intent:
 *  1. DIR/install says (durably) what is installed: index, term, index of the configuration;
 *  2. DIR/maps/ is renamed to DIR/maps.old/ (a folder of this name that is there is removed first);
 *  3. DIR/pull/ is renamed to DIR/maps/;
 *  4. the log is reset to (index, term);
 *  5. DIR/maps.old/ is removed;
 *  6. DIR/install is removed. From here on it is as if it had always been so.
 * The maps must be closed. Up to step 1 nothing has happened; from it on there is no way back.
 */
#ifndef COORDINATOR_INSTALL_H
#define COORDINATOR_INSTALL_H

#include "coordinator/raft/log.h"
#include "coordinator/snapshot.h"

enum { COORD_INSTALL_STEPS = 6 };

/* Installs what was pulled. Errors: IO, NO_SPACE, CORRUPT: final, the next start goes on. */
LILIO_MUST_USE enum lilio_err coord_install(struct base_disk *disk, struct raft_log *log,
                                            const struct coord_position *position,
                                            struct lilio_errinfo *info);
/* At start, before the maps are opened: goes on with an installation that a crash cut short.
 * *ret_found: there was one, and the maps stand at *ret_position now. Errors: as above; FORMAT. */
LILIO_MUST_USE enum lilio_err coord_install_resume(struct base_disk *disk, struct raft_log *log,
                                                   bool *ret_found,
                                                   struct coord_position *ret_position,
                                                   struct lilio_errinfo *info);

/* For tests: stops after step n as a crash would (0 = before the first), answering CANCELLED. */
LILIO_MUST_USE enum lilio_err coord_install_until(struct base_disk *disk, struct raft_log *log,
                                                  const struct coord_position *position,
                                                  unsigned steps, struct lilio_errinfo *info);

#endif
