/* What the files of the client share: the client itself and what it caches. */
#ifndef CLIENT_CLIENT_PRIV_H
#define CLIENT_CLIENT_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "client/lilio.h"
#include "base/env.h"
#include "client/limits.h"
#include "client/peers.h"
#include "codec/codec.h"
#include "proto/cluster_file.h"
#include "proto/line.h"
#include "proto/placement.h"
#include "proto/transport.h"

struct client_control;
struct client_lane;
struct client_session;

/* A bucket as the coordinators described it. */
struct client_bucket {
    char name[64];
    uint64_t id;
    struct codec_profile profile;
    uint32_t quorum, placement;
    uint64_t created_ms, object_count, object_bytes;
    uint64_t at_ms; /* when it was asked for */
};
/* A version that is being read and must not be collected. */
struct client_lease {
    struct lilio_version version;
    uint32_t count; /* gets that read it */
};

struct lilio_client {
    struct proto_context *context;
    struct proto_cluster_file file;
    struct proto_coordinators coordinators; /* and which of them leads; has a lock of its own */
    const struct base_clock *clock;
    char label[128];
    uint32_t timeout_ms;
    uint64_t window_bytes;
    bool (*cancelled)(void *context);
    void *cancelled_context;
    uint64_t trace_base;
    _Atomic uint64_t trace_count, seen_epoch; /* seen_epoch: the highest any answer named */

    pthread_mutex_t lock; /* guards everything below; never held over I/O */
    struct client_lane *idle_lanes;
    size_t idle_lane_count;
    struct proto_map_ref *map; /* NULL until first asked for */
    struct client_bucket buckets[CLIENT_BUCKET_CACHE_COUNT];

    struct client_session *session; /* NULL if none is open */
    bool session_opening;
    struct client_lease leases[CLIENT_LEASES_MAX];
    size_t lease_count;
    pthread_t keeper;                /* keeps the session alive (client/session.c) */
    bool keeper_runs, keeper_wanted; /* wanted: renew now */
    _Atomic bool keeper_stops;
    pthread_cond_t changed; /* of session_opening and the keeper's flags; on the monotonic clock */
};

static inline uint64_t client_now_ms(const struct lilio_client *client)
{
    return base_now_ms(client->clock);
}
static inline bool client_cancelled(const struct lilio_client *client)
{
    return client->cancelled && client->cancelled(client->cancelled_context);
}
/* Notes the epoch an answer named, so that the next call gets that map. Any thread. */
void client_note_epoch(struct lilio_client *client, uint64_t epoch);

/* The map, not older than any epoch seen so far or min_epoch; asks for it when need be. Drop the
 * reference. */
LILIO_MUST_USE enum lilio_err client_map_get(struct lilio_client *client,
                                             struct client_control *control, uint64_t min_epoch,
                                             struct proto_map_ref **ret_map,
                                             struct lilio_errinfo *info);
/* A bucket by name, from the cache when it is fresh. Errors: NO_BUCKET, and those of the way there.
 */
LILIO_MUST_USE enum lilio_err client_bucket_find(struct lilio_client *client,
                                                 struct client_control *control, const char *name,
                                                 bool cached, struct client_bucket *ret_bucket,
                                                 struct lilio_errinfo *info);
void client_bucket_forget(struct lilio_client *client, const char *name);
/* False (CORRUPT wire data) if the profile or the name is none. */
bool client_bucket_from_proto(const struct proto_bucket *bucket, struct client_bucket *ret);

/* Where the fragments of a stripe belong, for reading and writing (client/place.c). Returns false
 * if the map has no such placement or its width differs from total_count. */
bool client_places_write(const struct proto_cluster_map *map, uint32_t placement,
                         uint32_t total_count, struct base_oid oid, uint32_t stripe,
                         struct client_place *ret_places, uint32_t *ret_partition);
bool client_places_read(const struct proto_cluster_map *map, const struct proto_data_row *row,
                        uint32_t stripe, struct client_place *ret_places, uint32_t *ret_partition);
/* Whether an OSD of the map may hold fragments, be they its own or left behind by moves. */
bool client_place_searchable(const struct proto_osd *osd);

static inline struct codec_profile client_profile_from_proto(const struct proto_profile *profile)
{
    return (struct codec_profile){profile->data_count, profile->parity_count,
                                  profile->fragment_size, profile->generator};
}
static inline struct proto_profile client_profile_to_proto(const struct codec_profile *profile)
{
    return (struct proto_profile){.data_count = (uint8_t)profile->data_count,
                                  .parity_count = (uint8_t)profile->parity_count,
                                  .fragment_size = profile->fragment_size,
                                  .generator = (uint8_t)profile->generator};
}
static inline struct lilio_profile client_profile_public(const struct codec_profile *profile)
{
    return (struct lilio_profile){profile->data_count, profile->parity_count,
                                  profile->fragment_size};
}
static inline struct lilio_version client_version_public(struct proto_version version)
{
    return (struct lilio_version){version.index, version.ordinal};
}
static inline struct proto_version client_version_to_proto(struct lilio_version version)
{
    return (struct proto_version){.index = version.index, .ordinal = version.ordinal};
}

/* Copies into NUL-terminated memory; NULL when out of memory. */
char *client_text(struct base_slice text);
/* Into an array; cut at its end. */
void client_text_put(char *ret, size_t room, struct base_slice text);
/* Errors: INVALID, with the rule. */
LILIO_MUST_USE enum lilio_err client_key_check(const char *key, struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err client_bucket_name_check(const char *name,
                                                       struct lilio_errinfo *info);

/* Of an OSD, by kind; what is not among the lines stays unknown. */
void client_scrubs_put(struct lilio_scrub ret[LILIO_SCRUB_KINDS], uint32_t osd,
                       const struct proto_scrub_line *lines, size_t count);
/* "bucket/key, bucket/key"; NULL: no memory. The caller frees it. */
char *client_names_join(const struct proto_name *names, size_t count);

#endif
