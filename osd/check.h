/* What a fragment request must fulfil before the store sees it. Pure: a map and a request in, a
 * verdict out; every field is hostile. Any thread. */
#ifndef OSD_CHECK_H
#define OSD_CHECK_H

#include "osd/store.h"
#include "proto/placement.h"

struct osd_check {
    const struct proto_cluster_map *map; /* ours */
    uint32_t osd;                        /* who we are */
    uint64_t sender_epoch;               /* of the request's header */
};

struct base_fragment_key osd_check_key_of(const struct proto_fragment_key *key);

/* The key as such: known placement, its width, the partition that oid and stripe hash to.
 * Errors: INVALID; BUSY (the sender's map is newer than ours: fetch it). */
LILIO_MUST_USE enum lilio_err osd_check_key(const struct osd_check *check,
                                            const struct base_fragment_key *key,
                                            struct lilio_errinfo *info);
/* Whether this OSD holds the key's slot. Errors: STALE_EPOCH (the sender's map is older than ours:
 * the slot was lost meanwhile), WRONG_OSD, BUSY (the sender's map is newer). The key has passed
 * osd_check_key. */
LILIO_MUST_USE enum lilio_err osd_check_slot(const struct osd_check *check,
                                             const struct base_fragment_key *key,
                                             struct lilio_errinfo *info);
/* A whole put: profile, lengths, checksums, key, slot. On success *ret describes the fragment; its
 * object key points into put. Errors: INVALID and those above. */
LILIO_MUST_USE enum lilio_err osd_check_put(const struct osd_check *check,
                                            const struct proto_fragment_put *put,
                                            size_t payload_size, struct osd_fragment *ret,
                                            struct lilio_errinfo *info);

#endif
