/* Columns of the maps and the keys of their rows. Keys compare by memcmp, numbers are big endian;
 * docs/formats/maps.md has the layouts. */
#ifndef COORDINATOR_KEYS_H
#define COORDINATOR_KEYS_H

#include "base/kv.h"
#include "coordinator/limits.h"
#include "proto/messages.h"

enum coord_column {
    COORD_META,
    COORD_BUCKETS,
    COORD_BUCKET_NAMES,
    COORD_VERSIONS,
    COORD_DATA,
    COORD_REFS,
    COORD_SESSIONS,
    COORD_DEDUP,
    COORD_OSDS,
    COORD_SLOTS,
    COORD_REPAIR,
    COORD_GC,
    COORD_REPAIR_QUEUE,
    COORD_STRIPES,
    COORD_INVENTORY,
    COORD_COLUMN_COUNT,
};
/* Columns and memory budget for opening the key-value store, without a log of its own: entries
 * behind the last flush are applied again from the log of the quorum. The caller sets must_exist
 * and the like. */
struct base_kv_options coord_kv_options(void);

struct coord_key {
    size_t size;
    uint8_t bytes[16 + 8 + COORD_KEY_MAX + 16];
};
static inline struct base_slice coord_key_slice(const struct coord_key *key)
{
    return base_slice(key->bytes, key->size);
}

/* name <= 1024 bytes without NUL (checked by the caller before any key is made). */
struct coord_key coord_key_u32(uint32_t id);
struct coord_key coord_key_u64(uint64_t id);
struct coord_key coord_key_oid(struct base_oid oid);
struct coord_key coord_key_text(struct base_slice text);
/* Of the version of a name that is there now. */
struct coord_key coord_key_version(uint64_t bucket_id, struct base_slice name);
/* Keys of a bucket that begin with text start with this. */
struct coord_key coord_key_names(uint64_t bucket_id, struct base_slice text);
struct coord_key coord_key_ref(struct base_oid oid, uint64_t bucket_id, struct base_slice name);
struct coord_key coord_key_pair(uint64_t session, uint64_t number); /* dedup, runs of a session */
struct coord_key coord_key_gc(const struct proto_gc_key *key);
/* A place in the repair queue. */
struct coord_repair_key {
    uint8_t margin;
    uint64_t since_ms;
    struct base_oid oid;
};
struct coord_key coord_key_repair(const struct coord_repair_key *key);
/* Stripes that are alike: coded so, in these partitions, with these fragments missing or corrupt.
 */
enum { COORD_STRIPES_GROUP = 256 }; /* partitions counted in one row */
struct coord_stripes_key {
    uint64_t bucket_id; /* of the first owner */
    uint32_t placement;
    uint8_t data_count;
    uint32_t partition; /* the first of a group */
    uint64_t bad;       /* a mask of fragment indexes */
};
struct coord_key coord_key_stripes(const struct coord_stripes_key *key);
/* What OSDs have to have in a group of partitions: sums over all stripes, or over those whose
 * fragment is missing, by its index. */
enum { COORD_INVENTORY_GROUP = 256 };
struct coord_inventory_key {
    uint32_t placement;
    uint32_t partition; /* the first of a group */
    bool missing;
};
struct coord_key coord_key_inventory(const struct coord_inventory_key *key);

/* Turns a key into the least one that is greater than all that begin with it; false if there is
 * none. */
bool coord_key_after_prefix(struct coord_key *key);
bool coord_key_has_prefix(struct base_slice key, const struct coord_key *prefix);

/* Take a key apart; the name is borrowed from it. False if it is no such key. */
bool coord_key_version_parse(struct base_slice key, uint64_t *ret_bucket_id,
                             struct base_slice *ret_name);
bool coord_key_ref_parse(struct base_slice key, struct base_oid *ret_oid, uint64_t *ret_bucket_id,
                         struct base_slice *ret_name);
bool coord_key_oid_parse(struct base_slice key, struct base_oid *ret_oid);
bool coord_key_gc_parse(struct base_slice key, struct proto_gc_key *ret);
bool coord_key_repair_parse(struct base_slice key, struct coord_repair_key *ret);
bool coord_key_stripes_parse(struct base_slice key, struct coord_stripes_key *ret);

#endif
