#include "coordinator/keys.h"

#include "base/banned.h"

enum {
    CACHE_BYTES = 16 << 20,
    WRITE_BUFFER_BYTES = 16 << 20,
    BLOB_MIN_BYTES = 1 << 10, /* small objects: compaction leaves their bytes where they are */
};

struct base_kv_options coord_kv_options(void)
{
    static const char *const columns[COORD_COLUMN_COUNT] = {
        "meta",   "buckets",  "bucket_names", "versions", "data",
        "refs",   "sessions", "dedup",        "osds",     "slots",
        "repair", "gc",       "repair_queue", "stripes",  "inventory",
    };
    return (struct base_kv_options){
        .columns = columns,
        .column_count = COORD_COLUMN_COUNT,
        .cache_bytes = CACHE_BYTES,
        .write_buffer_bytes = WRITE_BUFFER_BYTES,
        .no_log = true,
        .blob_columns = 1u << COORD_VERSIONS,
        .blob_min_bytes = BLOB_MIN_BYTES,
    };
}

/* ---- building ---- */

static void add_bytes(struct coord_key *key, const void *bytes, size_t size)
{
    LILIO_ASSERT(key->size + size <= sizeof key->bytes);
    if (size)
        memcpy(key->bytes + key->size, bytes, size);
    key->size += size;
}

static void add_u32(struct coord_key *key, uint32_t value)
{
    uint8_t bytes[4];
    base_be32_put(bytes, value);
    add_bytes(key, bytes, sizeof bytes);
}

static void add_u64(struct coord_key *key, uint64_t value)
{
    uint8_t bytes[8];
    base_be64_put(bytes, value);
    add_bytes(key, bytes, sizeof bytes);
}

static void add_oid(struct coord_key *key, struct base_oid oid)
{
    add_u64(key, oid.high);
    add_u64(key, oid.low);
}

/* Only the used part is ever read, so the array is left as it is. */
#define NEW_KEY(key)      \
    struct coord_key key; \
    key.size = 0

struct coord_key coord_key_u32(uint32_t id)
{
    NEW_KEY(key);
    add_u32(&key, id);
    return key;
}

struct coord_key coord_key_u64(uint64_t id)
{
    NEW_KEY(key);
    add_u64(&key, id);
    return key;
}

struct coord_key coord_key_oid(struct base_oid oid)
{
    NEW_KEY(key);
    add_oid(&key, oid);
    return key;
}

struct coord_key coord_key_text(struct base_slice text)
{
    NEW_KEY(key);
    add_bytes(&key, text.data, text.size);
    return key;
}

struct coord_key coord_key_names(uint64_t bucket_id, struct base_slice text)
{
    NEW_KEY(key);
    add_u64(&key, bucket_id);
    add_bytes(&key, text.data, text.size);
    return key;
}

/* The NUL that ends a name sorts before every byte a longer name may go on with. The version's id
 * is in the row only, so that the version that is there now is found by its name alone. */
struct coord_key coord_key_version(uint64_t bucket_id, struct base_slice name)
{
    struct coord_key key = coord_key_names(bucket_id, name);
    add_bytes(&key, "", 1);
    return key;
}

struct coord_key coord_key_ref(struct base_oid oid, uint64_t bucket_id, struct base_slice name)
{
    NEW_KEY(key);
    add_oid(&key, oid);
    add_u64(&key, bucket_id);
    add_bytes(&key, name.data, name.size);
    return key;
}

struct coord_key coord_key_pair(uint64_t session, uint64_t number)
{
    NEW_KEY(key);
    add_u64(&key, session);
    add_u64(&key, number);
    return key;
}

struct coord_key coord_key_gc(const struct proto_gc_key *gc)
{
    NEW_KEY(key);
    add_u32(&key, gc->osd);
    add_u64(&key, gc->order_ms);
    add_oid(&key, gc->oid);
    return key;
}

struct coord_key coord_key_repair(const struct coord_repair_key *repair)
{
    NEW_KEY(key);
    add_bytes(&key, &repair->margin, 1);
    add_u64(&key, repair->since_ms);
    add_oid(&key, repair->oid);
    return key;
}

struct coord_key coord_key_stripes(const struct coord_stripes_key *stripes)
{
    NEW_KEY(key);
    add_u64(&key, stripes->bucket_id);
    add_u32(&key, stripes->placement);
    add_bytes(&key, &stripes->data_count, 1);
    add_u32(&key, stripes->partition);
    add_u64(&key, stripes->bad);
    return key;
}

struct coord_key coord_key_inventory(const struct coord_inventory_key *inventory)
{
    NEW_KEY(key);
    add_u32(&key, inventory->placement);
    add_u32(&key, inventory->partition);
    add_bytes(&key, inventory->missing ? "\1" : "\0", 1);
    return key;
}

bool coord_key_after_prefix(struct coord_key *key)
{
    while (key->size > 0 && key->bytes[key->size - 1] == 0xff)
        key->size--;
    if (key->size == 0)
        return false;
    key->bytes[key->size - 1]++;
    return true;
}

bool coord_key_has_prefix(struct base_slice key, const struct coord_key *prefix)
{
    return key.size >= prefix->size && memcmp(key.data, prefix->bytes, prefix->size) == 0;
}

/* ---- taking apart ---- */

static struct base_oid oid_at(const uint8_t *bytes)
{
    return (struct base_oid){base_be64_get(bytes), base_be64_get(bytes + 8)};
}

bool coord_key_version_parse(struct base_slice key, uint64_t *ret_bucket_id,
                             struct base_slice *ret_name)
{
    if (key.size < 8 + 1 || memchr(key.data + 8, 0, key.size - 8) != key.data + key.size - 1)
        return false;
    *ret_bucket_id = base_be64_get(key.data);
    *ret_name = base_slice(key.data + 8, key.size - 8 - 1);
    return true;
}

bool coord_key_ref_parse(struct base_slice key, struct base_oid *ret_oid, uint64_t *ret_bucket_id,
                         struct base_slice *ret_name)
{
    if (key.size < 24)
        return false;
    *ret_oid = oid_at(key.data);
    *ret_bucket_id = base_be64_get(key.data + 16);
    *ret_name = base_slice(key.data + 24, key.size - 24);
    return true;
}

bool coord_key_oid_parse(struct base_slice key, struct base_oid *ret_oid)
{
    if (key.size != 16)
        return false;
    *ret_oid = oid_at(key.data);
    return true;
}

bool coord_key_gc_parse(struct base_slice key, struct proto_gc_key *ret)
{
    if (key.size != 28)
        return false;
    *ret = (struct proto_gc_key){
        .osd = base_be32_get(key.data),
        .order_ms = base_be64_get(key.data + 4),
        .oid = oid_at(key.data + 12),
    };
    return true;
}

bool coord_key_repair_parse(struct base_slice key, struct coord_repair_key *ret)
{
    if (key.size != 25)
        return false;
    *ret = (struct coord_repair_key){
        .margin = key.data[0],
        .since_ms = base_be64_get(key.data + 1),
        .oid = oid_at(key.data + 9),
    };
    return true;
}

bool coord_key_stripes_parse(struct base_slice key, struct coord_stripes_key *ret)
{
    if (key.size != 25)
        return false;
    *ret = (struct coord_stripes_key){
        .bucket_id = base_be64_get(key.data),
        .placement = base_be32_get(key.data + 8),
        .data_count = key.data[12],
        .partition = base_be32_get(key.data + 13),
        .bad = base_be64_get(key.data + 17),
    };
    return true;
}
