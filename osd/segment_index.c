/* The index: rows in a key-value store that is derived from the segments and can be thrown away at
 * any time.
 *
 *   column      key                                                        value
 *   fragments   placement, partition, oid, stripe, index, generation (BE)  struct osd_entry
 *   segments    id (BE)                                                    mark and accounting
 *   meta        "store"                                                    whose index this is
 *
 * Batches are not synced: the store below keeps a prefix of them over a crash, each whole, and the
 * segment rows in the batch say how far the log was read, so a start replays exactly what is
 * missing. A commit that fails is final: what was written to the segments is found again by the
 * next start.
 */
#include "osd/segment_priv.h"

#include <inttypes.h>

#include "base/banned.h"

enum { COLUMN_FRAGMENTS, COLUMN_SEGMENTS, COLUMN_META, COLUMN_COUNT };
enum {
    VERSION = 1,
    KEY_SIZE = 36,
    ENTRY_SIZE = 45,
    ROW_SIZE = 82,
    META_SIZE = 33,
    STRIPE_PREFIX = 28
};
static const char *const column_names[COLUMN_COUNT] = {"fragments", "segments", "meta"};
#define META_KEY base_slice_str("store")

/* ---- rows as bytes ---- */

static struct base_slice key_encode(const struct base_fragment_key *key, uint8_t ret[KEY_SIZE])
{
    base_be32_put(ret, key->placement);
    base_be32_put(ret + 4, key->partition);
    base_be64_put(ret + 8, key->oid.high);
    base_be64_put(ret + 16, key->oid.low);
    base_be32_put(ret + 24, key->stripe);
    base_be32_put(ret + 28, key->index);
    base_be32_put(ret + 32, key->generation);
    return base_slice(ret, KEY_SIZE);
}

static struct base_fragment_key key_decode(const uint8_t *bytes)
{
    return (struct base_fragment_key){
        .placement = base_be32_get(bytes),
        .partition = base_be32_get(bytes + 4),
        .oid = {base_be64_get(bytes + 8), base_be64_get(bytes + 16)},
        .stripe = base_be32_get(bytes + 24),
        .index = base_be32_get(bytes + 28),
        .generation = base_be32_get(bytes + 32),
    };
}

static struct base_slice entry_encode(const struct osd_entry *entry, uint8_t ret[ENTRY_SIZE])
{
    ret[0] = VERSION;
    base_le64_put(ret + 1, entry->segment);
    base_le64_put(ret + 9, entry->offset);
    base_le64_put(ret + 17, entry->sequence);
    base_le64_put(ret + 25, entry->first_segment);
    base_le32_put(ret + 33, entry->header_length);
    base_le32_put(ret + 37, entry->payload_length);
    base_le32_put(ret + 41, entry->checksum);
    return base_slice(ret, ENTRY_SIZE);
}

/* The key-value store verified the bytes; the bounds are checked all the same, since lengths size
 * buffers. */
static bool entry_decode(struct base_slice bytes, struct osd_entry *ret)
{
    if (bytes.size < ENTRY_SIZE || bytes.data[0] != VERSION)
        return false;
    *ret = (struct osd_entry){
        .segment = base_le64_get(bytes.data + 1),
        .offset = base_le64_get(bytes.data + 9),
        .sequence = base_le64_get(bytes.data + 17),
        .first_segment = base_le64_get(bytes.data + 25),
        .header_length = base_le32_get(bytes.data + 33),
        .payload_length = base_le32_get(bytes.data + 37),
        .checksum = base_le32_get(bytes.data + 41),
    };
    return ret->offset >= OSD_SEGMENT_HEADER && ret->offset % OSD_RECORD_UNIT == 0 &&
           ret->offset < UINT64_MAX / 2 && ret->header_length >= OSD_RECORD_FIXED &&
           ret->header_length <= OSD_RECORD_HEADER_MAX && ret->payload_length > 0 &&
           ret->payload_length <= CODEC_FRAGMENT_MAX;
}

static struct base_slice row_encode(const struct osd_segment *segment, uint8_t ret[ROW_SIZE])
{
    ret[0] = VERSION;
    ret[1] =
        (uint8_t)((segment->dropped ? 1 : 0) | (segment->has_header ? 2 : 0) | segment->keep << 4);
    base_le64_put(ret + 2, segment->nonce);
    base_le64_put(ret + 10, segment->end);
    base_le64_put(ret + 18, segment->acked_end);
    base_le64_put(ret + 26, segment->live_bytes);
    base_le64_put(ret + 34, segment->live_count);
    base_le64_put(ret + 42, segment->punched_bytes);
    base_le64_put(ret + 50, segment->tombstone_bytes);
    base_le64_put(ret + 58, segment->tombstone_first);
    base_le64_put(ret + 66, segment->tombstone_last);
    base_le64_put(ret + 74, segment->last_sequence);
    return base_slice(ret, ROW_SIZE);
}

static bool row_decode(struct base_slice bytes, struct osd_segment *segment)
{
    if (bytes.size < ROW_SIZE || bytes.data[0] != VERSION)
        return false;
    segment->dropped = bytes.data[1] & 1;
    segment->has_header = bytes.data[1] & 2;
    segment->keep = bytes.data[1] >> 4;
    segment->nonce = base_le64_get(bytes.data + 2);
    segment->end = base_le64_get(bytes.data + 10);
    segment->acked_end = base_le64_get(bytes.data + 18);
    segment->live_bytes = base_le64_get(bytes.data + 26);
    segment->live_count = base_le64_get(bytes.data + 34);
    segment->punched_bytes = base_le64_get(bytes.data + 42);
    segment->tombstone_bytes = base_le64_get(bytes.data + 50);
    segment->tombstone_first = base_le64_get(bytes.data + 58);
    segment->tombstone_last = base_le64_get(bytes.data + 66);
    segment->last_sequence = base_le64_get(bytes.data + 74);
    segment->in_index = true;
    return segment->end >= OSD_SEGMENT_HEADER;
}

/* ---- opening ---- */

static enum lilio_err open_kv(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    const struct base_kv_options options = {
        .columns = column_names,
        .column_count = COLUMN_COUNT,
        .cache_bytes = OSD_INDEX_CACHE_BYTES,
        .write_buffer_bytes = OSD_INDEX_WRITE_BYTES,
    };
    if (store->index_path)
        return base_kv_open_rocksdb(store->index_path, &options, &store->kv, info);
    return base_kv_open_memory(&options, &store->kv, info);
}

/* What no rebuilding would help against. */
static bool not_the_index(enum lilio_err err)
{
    return err == LILIO_E_LOCKED || err == LILIO_E_NOMEM || err == LILIO_E_NO_SPACE ||
           err == LILIO_E_READ_ONLY;
}

void osd_index_close(struct osd_segment_store *store)
{
    base_kv_batch_free(&store->batch);
    base_kv_free(&store->kv);
}

static void meta_encode(const struct osd_segment_store *store, uint8_t ret[META_SIZE])
{
    ret[0] = VERSION;
    memcpy(ret + 1, store->cluster_id.bytes, 16);
    memcpy(ret + 17, store->disk_uuid.bytes, 16);
}

/* Opens what is there. NOT_FOUND: it is empty; CORRUPT: it is another disk's or of another version.
 */
static enum lilio_err open_checked(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    uint8_t meta[META_SIZE];
    meta_encode(store, meta);
    enum lilio_err err = open_kv(store, info);
    if (!err)
        err = base_kv_batch_new(store->kv, &store->batch);
    if (!err)
        err = base_kv_get(store->kv, NULL, COLUMN_META, META_KEY, &store->value, info);
    if (!err && !base_slice_equal(base_buffer_slice(&store->value), base_slice(meta, META_SIZE)))
        err = lilio_fail(info, LILIO_E_CORRUPT, "the index belongs to another disk");
    if (err && err != LILIO_E_NOT_FOUND)
        osd_index_close(store);
    return err;
}

static enum lilio_err start_fresh(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    uint8_t meta[META_SIZE];
    meta_encode(store, meta);
    store->index_fresh = true;
    base_kv_batch_put(store->batch, COLUMN_META, META_KEY, base_slice(meta, META_SIZE));
    return base_kv_batch_commit(store->batch, true, info);
}

enum lilio_err osd_index_reset(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    osd_index_close(store);
    enum lilio_err err =
        store->index_path ? base_kv_destroy_rocksdb(store->index_path, info) : LILIO_OK;
    if (!err)
        err = open_kv(store, info);
    if (!err)
        err = base_kv_batch_new(store->kv, &store->batch);
    if (!err)
        err = start_fresh(store, info);
    if (err)
        osd_index_close(store);
    return err;
}

enum lilio_err osd_index_open(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    struct lilio_errinfo why = {0};
    enum lilio_err err = open_checked(store, &why);
    if (err == LILIO_E_NOT_FOUND)
        return start_fresh(store, info);
    if (!err)
        return LILIO_OK;
    if (not_the_index(err))
        return lilio_fail(info, err, "index: %s", why.text);
    base_log_write(store->log, BASE_LOG_WARN, "store", "index_unusable", "why=%s action=rebuild",
                   why.text);
    err = osd_index_reset(store, info);
    return err ? lilio_prefix(info, err, "index") : LILIO_OK;
}

/* ---- segment rows ---- */

/* One row into the table. A row without a file, or one that knows more than the file holds, does
 * not fit. */
static enum lilio_err load_row(struct osd_segment_store *store, uint64_t id,
                               struct base_slice value, bool *consistent,
                               struct lilio_errinfo *info)
{
    struct osd_segment row = {0};
    struct base_file *file;
    uint64_t size;
    if (!row_decode(value, &row))
        return lilio_fail(info, LILIO_E_CORRUPT,
                          "index: the row of segment %" PRIx64 " is malformed", id);
    struct osd_segment *segment = osd_segment_find(store, id);
    if (id >= store->next_id)
        store->next_id = id + 1;
    if (row.dropped) {
        osd_index_drop_row(store, id);
        return segment ? osd_segment_unlink(store, segment, info) : LILIO_OK;
    }
    if (!segment) {
        *consistent = false;
        return osd_segment_store_incomplete(store, info);
    }
    enum lilio_err err = osd_segment_file(store, segment, &file, info);
    if (!err)
        err = file->ops->size(file, &size, info);
    if (err)
        return err;
    (void)row_decode(value, segment);
    if (row.end <= size)
        return LILIO_OK;
    *consistent = false;
    return osd_segment_store_incomplete(store, info);
}

enum lilio_err osd_index_load(struct osd_segment_store *store, bool *ret_consistent,
                              struct lilio_errinfo *info)
{
    struct base_kv_iter *iter = NULL;
    uint64_t last_id = 0;
    *ret_consistent = true;
    enum lilio_err err = base_kv_iter_new(store->kv, NULL, NULL, COLUMN_SEGMENTS, &iter);
    if (err)
        return err;
    for (base_kv_iter_seek(iter, base_slice("", 0)); !err && base_kv_iter_valid(iter);
         base_kv_iter_next(iter)) {
        struct base_slice key = base_kv_iter_key(iter);
        if (key.size != 8) {
            err = lilio_fail(info, LILIO_E_CORRUPT, "index: a segment row has a malformed key");
            break;
        }
        last_id = base_be64_get(key.data);
        err = load_row(store, last_id, base_kv_iter_value(iter), ret_consistent, info);
    }
    if (!err)
        err = base_kv_iter_error(iter, info);
    base_kv_iter_free(&iter);
    /* Rows are made in the order of ids: a file without one is younger than all that have one. */
    for (size_t i = 0; i < store->segment_count; i++)
        *ret_consistent &= store->segments[i]->in_index || store->segments[i]->id > last_id;
    return err ? err : base_kv_batch_commit(store->batch, false, info);
}

void osd_index_touch(struct osd_segment_store *store, struct osd_segment *segment)
{
    if (segment->dirty)
        return;
    segment->dirty = true;
    segment->next_dirty = store->dirty;
    store->dirty = segment;
}

void osd_index_drop_row(struct osd_segment_store *store, uint64_t segment_id)
{
    uint8_t key[8];
    base_be64_put(key, segment_id);
    base_kv_batch_delete(store->batch, COLUMN_SEGMENTS, base_slice(key, sizeof key));
}

enum lilio_err osd_index_commit(struct osd_segment_store *store, bool sync,
                                struct lilio_errinfo *info)
{
    uint8_t key[8], row[ROW_SIZE];
    while (store->dirty) {
        struct osd_segment *segment = store->dirty;
        base_be64_put(key, segment->id);
        base_kv_batch_put(store->batch, COLUMN_SEGMENTS, base_slice(key, sizeof key),
                          row_encode(segment, row));
        segment->in_index = true;
        segment->dirty = false;
        store->dirty = segment->next_dirty;
    }
    enum lilio_err err = base_kv_batch_commit(store->batch, sync, info);
    return err ? osd_segment_store_fail(store, err, "write the index", info) : LILIO_OK;
}

/* ---- fragment rows ---- */

enum lilio_err osd_index_get(struct osd_segment_store *store, const struct base_fragment_key *key,
                             struct osd_entry *ret, struct lilio_errinfo *info)
{
    uint8_t bytes[KEY_SIZE];
    if (!store->kv)
        return lilio_fail(info, LILIO_E_IO, "the index is lost until the next start");
    enum lilio_err err = base_kv_batch_get(store->batch, COLUMN_FRAGMENTS, key_encode(key, bytes),
                                           &store->value, info);
    if (err == LILIO_E_NOT_FOUND)
        return lilio_fail(info, LILIO_E_MISSING, "no such fragment");
    if (!err && !entry_decode(base_buffer_slice(&store->value), ret))
        err = lilio_fail(info, LILIO_E_CORRUPT, "index: a fragment row is malformed");
    return err;
}

void osd_index_put(struct osd_segment_store *store, const struct base_fragment_key *key,
                   const struct osd_entry *entry)
{
    uint8_t bytes[KEY_SIZE], value[ENTRY_SIZE];
    base_kv_batch_put(store->batch, COLUMN_FRAGMENTS, key_encode(key, bytes),
                      entry_encode(entry, value));
}

void osd_index_delete(struct osd_segment_store *store, const struct base_fragment_key *key)
{
    uint8_t bytes[KEY_SIZE];
    base_kv_batch_delete(store->batch, COLUMN_FRAGMENTS, key_encode(key, bytes));
}

/* Calls back for each key from start on while it says true. */
static enum lilio_err walk(struct osd_segment_store *store, struct base_slice start,
                           bool (*each)(void *context, struct base_slice key), void *context,
                           struct lilio_errinfo *info)
{
    struct base_kv_iter *iter = NULL;
    if (!store->kv)
        return lilio_fail(info, LILIO_E_IO, "the index is lost until the next start");
    enum lilio_err err = base_kv_iter_new(store->kv, NULL, NULL, COLUMN_FRAGMENTS, &iter);
    if (err)
        return lilio_fail(info, err, "index: out of memory");
    bool more = true;
    for (base_kv_iter_seek(iter, start); more && base_kv_iter_valid(iter);
         base_kv_iter_next(iter)) {
        struct base_slice key = base_kv_iter_key(iter);
        if (key.size != KEY_SIZE)
            break;
        more = each(context, key);
    }
    err = base_kv_iter_error(iter, info);
    if (!err && more && base_kv_iter_valid(iter))
        err = lilio_fail(info, LILIO_E_CORRUPT, "index: a fragment row has a malformed key");
    base_kv_iter_free(&iter);
    return err;
}

struct finding {
    uint8_t prefix[KEY_SIZE];
    uint64_t mask;
};

static bool find_each(void *context, struct base_slice key)
{
    struct finding *finding = context;
    if (memcmp(key.data, finding->prefix, STRIPE_PREFIX) != 0)
        return false;
    uint32_t index = key_decode(key.data).index;
    if (index < 64)
        finding->mask |= UINT64_C(1) << index;
    return true;
}

enum lilio_err osd_index_find(struct osd_segment_store *store, uint32_t placement,
                              uint32_t partition, struct base_oid oid, uint32_t stripe,
                              uint64_t *ret_mask, struct lilio_errinfo *info)
{
    struct finding finding = {0};
    struct base_fragment_key key = {
        .placement = placement, .partition = partition, .oid = oid, .stripe = stripe};
    enum lilio_err err = walk(store, key_encode(&key, finding.prefix), find_each, &finding, info);
    if (!err)
        *ret_mask = finding.mask;
    return err;
}

struct page {
    const struct base_fragment_key *after;
    uint8_t after_bytes[KEY_SIZE];
    struct base_fragment_key *keys;
    size_t room, count;
};

static bool list_each(void *context, struct base_slice key)
{
    struct page *page = context;
    if (page->after && memcmp(key.data, page->after_bytes, KEY_SIZE) == 0)
        return true;
    page->keys[page->count++] = key_decode(key.data);
    return page->count < page->room;
}

enum lilio_err osd_index_list(struct osd_segment_store *store,
                              const struct base_fragment_key *after,
                              struct base_fragment_key *ret_keys, size_t room, size_t *ret_count,
                              struct lilio_errinfo *info)
{
    struct page page = {.after = after, .keys = ret_keys, .room = room};
    struct base_slice start = after ? key_encode(after, page.after_bytes) : base_slice("", 0);
    enum lilio_err err = room ? walk(store, start, list_each, &page, info) : LILIO_OK;
    if (!err)
        *ret_count = page.count;
    return err;
}
