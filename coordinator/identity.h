/* DIR/identity: whose directory a coordinator's is (docs/formats/identity.md). */
#ifndef COORDINATOR_IDENTITY_H
#define COORDINATOR_IDENTITY_H

#include "base/disk.h"

struct coord_identity {
    struct base_uuid cluster_id;
    uint64_t member;
};
/* Errors: NOT_FOUND, CORRUPT, FORMAT, IO, NOMEM. */
LILIO_MUST_USE enum lilio_err
coord_identity_load(struct base_disk *disk, struct coord_identity *ret, struct lilio_errinfo *info);
/* Durable when it returns, and with it everything that was made in the directory before. */
LILIO_MUST_USE enum lilio_err coord_identity_save(struct base_disk *disk,
                                                  const struct coord_identity *identity,
                                                  struct lilio_errinfo *info);

#endif
