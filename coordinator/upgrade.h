/* Maps of an earlier format become maps of this one when they are opened. */
#ifndef COORDINATOR_UPGRADE_H
#define COORDINATOR_UPGRADE_H

#include "base/kv.h"

/* Empty maps, and maps of this or of a later format, are left as they are. What was done is durable
 * after the next flush; after a crash it is done again. Errors: IO, NO_SPACE, CORRUPT, NOMEM. */
LILIO_MUST_USE enum lilio_err coord_upgrade(struct base_kv *kv, struct lilio_errinfo *info);

#endif
