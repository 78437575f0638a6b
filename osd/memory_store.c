/* The fragment store in memory, for tests and the simulation: the same answers, nothing survives.
 * Fragments lie in an array sorted by key. */
#include "osd/store_priv.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/banned.h"

enum { ROOM_FIRST = 64 };
#define MEMORY_TOTAL_BYTES (UINT64_C(1) << 40)

struct item {
    struct osd_fragment fragment; /* object_key points into bytes, behind the payload */
    uint8_t bytes[];
};

struct memory_store {
    struct osd_store head;
    struct item **items;
    size_t count, room;
    pthread_mutex_t
        lock; /* guards stats and used_bytes, which any thread may read; count for them */
    struct osd_store_stats stats;
    uint64_t used_bytes;
};

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* Index order is the field order. */
static int compare(const struct base_fragment_key *a, const struct base_fragment_key *b)
{
    int order = compare_u64(a->placement, b->placement);
    order = order ? order : compare_u64(a->partition, b->partition);
    order = order ? order : compare_u64(a->oid.high, b->oid.high);
    order = order ? order : compare_u64(a->oid.low, b->oid.low);
    order = order ? order : compare_u64(a->stripe, b->stripe);
    order = order ? order : compare_u64(a->index, b->index);
    return order ? order : compare_u64(a->generation, b->generation);
}

/* Place of the first item with a key >= key. */
static size_t lower_bound(const struct memory_store *store, const struct base_fragment_key *key)
{
    size_t low = 0, high = store->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&store->items[middle]->fragment.key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct item *find_item(const struct memory_store *store, const struct base_fragment_key *key,
                              size_t *ret_at)
{
    *ret_at = lower_bound(store, key);
    if (*ret_at == store->count || compare(&store->items[*ret_at]->fragment.key, key) != 0)
        return NULL;
    return store->items[*ret_at];
}

/* ---- put ---- */

static struct item *item_new(const struct osd_put *put)
{
    const struct osd_fragment *fragment = &put->fragment;
    struct item *item = malloc(sizeof *item + fragment->payload_length + fragment->object_key.size);
    if (!item)
        return NULL;
    item->fragment = *fragment;
    memcpy(item->bytes, put->payload, fragment->payload_length);
    item->fragment.object_key.data = item->bytes + fragment->payload_length;
    if (fragment->object_key.size)
        memcpy(item->bytes + fragment->payload_length, fragment->object_key.data,
               fragment->object_key.size);
    return item;
}

static bool make_room(struct memory_store *store)
{
    if (store->count < store->room)
        return true;
    size_t room = store->room ? 2 * store->room : ROOM_FIRST;
    struct item **items = reallocarray(store->items, room, sizeof *items);
    if (!items)
        return false;
    store->items = items;
    store->room = room;
    return true;
}

static enum lilio_err put_one(struct memory_store *store, const struct osd_put *put)
{
    size_t at;
    enum lilio_err err = osd_put_check(put);
    if (err)
        return err;
    const struct osd_fragment *fragment = &put->fragment;
    const struct item *old = find_item(store, &fragment->key, &at);
    if (old) {
        bool same = old->fragment.payload_length == fragment->payload_length &&
                    memcmp(old->fragment.block_checksums, fragment->block_checksums,
                           fragment->block_count * sizeof *fragment->block_checksums) == 0;
        return same ? LILIO_OK : LILIO_E_CONFLICT;
    }
    struct item *item = make_room(store) ? item_new(put) : NULL;
    if (!item)
        return LILIO_E_NOMEM;
    pthread_mutex_lock(&store->lock);
    memmove(store->items + at + 1, store->items + at, (store->count - at) * sizeof *store->items);
    store->items[at] = item;
    store->count++;
    store->used_bytes += fragment->payload_length;
    store->stats.put_count++;
    pthread_mutex_unlock(&store->lock);
    return LILIO_OK;
}

static void memory_put(struct osd_store *head, struct osd_put *puts, size_t count)
{
    struct memory_store *store = (struct memory_store *)head;
    for (size_t i = 0; i < count; i++)
        puts[i].ret_err = count > OSD_BATCH_MAX ? LILIO_E_INVALID : put_one(store, &puts[i]);
}

/* ---- reading ---- */

/* The description, with the object key in the caller's room. */
static void describe(const struct item *item, struct osd_fragment *ret, uint8_t *ret_key_room)
{
    *ret = item->fragment;
    if (ret->object_key.size)
        memcpy(ret_key_room, ret->object_key.data, ret->object_key.size);
    ret->object_key.data = ret_key_room;
}

static enum lilio_err memory_stat(struct osd_store *head, const struct base_fragment_key *key,
                                  struct osd_fragment *ret, uint8_t *ret_key_room,
                                  struct lilio_errinfo *info)
{
    size_t at;
    const struct item *item = find_item((struct memory_store *)head, key, &at);
    if (!item)
        return lilio_fail(info, LILIO_E_MISSING, "no such fragment");
    describe(item, ret, ret_key_room);
    return LILIO_OK;
}

static enum lilio_err memory_look(struct osd_store *head, const struct base_fragment_key *key,
                                  uint32_t *ret_length, uint32_t *ret_checksum,
                                  struct lilio_errinfo *info)
{
    size_t at;
    const struct item *item = find_item((struct memory_store *)head, key, &at);
    if (!item)
        return lilio_fail(info, LILIO_E_MISSING, "no such fragment");
    *ret_length = item->fragment.payload_length;
    *ret_checksum =
        codec_fragment_checksum(item->fragment.block_checksums, item->fragment.block_count);
    return LILIO_OK;
}

static enum lilio_err memory_get(struct osd_store *head, const struct base_fragment_key *key,
                                 uint32_t first_block, uint32_t block_count, bool verify,
                                 uint8_t *buffer, size_t room, struct osd_fragment *ret,
                                 uint8_t *ret_key_room, uint8_t **ret_payload, uint32_t *ret_size,
                                 struct lilio_errinfo *info)
{
    size_t at;
    struct osd_range range;
    const struct item *item = find_item((struct memory_store *)head, key, &at);
    if (!item)
        return lilio_fail(info, LILIO_E_MISSING, "no such fragment");
    enum lilio_err err =
        osd_range_cut(item->fragment.payload_length, first_block, block_count, room, &range, info);
    if (err)
        return err;
    if (verify &&
        !osd_blocks_good(&item->fragment, first_block, item->bytes + range.offset, range.size))
        return lilio_fail(info, LILIO_E_CORRUPT, "the payload does not verify");
    memcpy(buffer, item->bytes + range.offset, range.size);
    describe(item, ret, ret_key_room);
    *ret_payload = buffer;
    *ret_size = range.size;
    return LILIO_OK;
}

static enum lilio_err memory_find(struct osd_store *head, uint32_t placement, uint32_t partition,
                                  struct base_oid oid, uint32_t stripe, uint64_t *ret_mask,
                                  struct lilio_errinfo *info)
{
    struct memory_store *store = (struct memory_store *)head;
    struct base_fragment_key key = {
        .placement = placement, .partition = partition, .oid = oid, .stripe = stripe};
    uint64_t mask = 0;
    (void)info; /* nothing can go wrong in memory */
    for (size_t at = lower_bound(store, &key); at < store->count; at++) {
        struct base_fragment_key found = store->items[at]->fragment.key;
        key.index = found.index;
        key.generation = found.generation;
        if (!osd_key_equal(&key, &found))
            break;
        mask |= UINT64_C(1) << found.index;
    }
    *ret_mask = mask;
    return LILIO_OK;
}

static enum lilio_err memory_list(struct osd_store *head, const struct base_fragment_key *after,
                                  struct base_fragment_key *ret_keys, size_t room,
                                  size_t *ret_count, struct lilio_errinfo *info)
{
    struct memory_store *store = (struct memory_store *)head;
    size_t at = after ? lower_bound(store, after) : 0, count = 0;
    (void)info; /* nothing can go wrong in memory */
    if (after && at < store->count && osd_key_equal(&store->items[at]->fragment.key, after))
        at++;
    while (count < room && at < store->count)
        ret_keys[count++] = store->items[at++]->fragment.key;
    *ret_count = count;
    return LILIO_OK;
}

/* ---- the rest ---- */

static enum lilio_err memory_remove(struct osd_store *head, const struct base_fragment_key *keys,
                                    size_t count, struct lilio_errinfo *info)
{
    struct memory_store *store = (struct memory_store *)head;
    if (count > OSD_BATCH_MAX)
        return lilio_fail(info, LILIO_E_INVALID, "%zu keys in a batch of at most %d", count,
                          OSD_BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        size_t at;
        struct item *item = find_item(store, &keys[i], &at);
        if (!item)
            continue;
        pthread_mutex_lock(&store->lock);
        store->count--;
        memmove(store->items + at, store->items + at + 1,
                (store->count - at) * sizeof *store->items);
        store->used_bytes -= item->fragment.payload_length;
        store->stats.delete_count++;
        pthread_mutex_unlock(&store->lock);
        free(item);
    }
    return LILIO_OK;
}

static enum lilio_err memory_tick(struct osd_store *store, bool *ret_more,
                                  struct lilio_errinfo *info)
{
    (void)store, (void)info; /* nothing to tidy */
    *ret_more = false;
    return LILIO_OK;
}

static void memory_space(struct osd_store *head, struct osd_store_space *ret)
{
    struct memory_store *store = (struct memory_store *)head;
    pthread_mutex_lock(&store->lock);
    *ret = (struct osd_store_space){
        .total_bytes = MEMORY_TOTAL_BYTES,
        .free_bytes = MEMORY_TOTAL_BYTES - store->used_bytes,
        .used_bytes = store->used_bytes,
        .fragment_count = store->count,
    };
    pthread_mutex_unlock(&store->lock);
}

static void memory_stats(struct osd_store *head, struct osd_store_stats *ret)
{
    struct memory_store *store = (struct memory_store *)head;
    pthread_mutex_lock(&store->lock);
    *ret = store->stats;
    pthread_mutex_unlock(&store->lock);
}

static enum lilio_err memory_set_complete(struct osd_store *store, struct lilio_errinfo *info)
{
    (void)store, (void)info; /* always complete */
    return LILIO_OK;
}

static enum lilio_err memory_health(struct osd_store *store)
{
    (void)store;
    return LILIO_OK;
}

static void memory_free(struct osd_store *head)
{
    struct memory_store *store = (struct memory_store *)head;
    for (size_t i = 0; i < store->count; i++)
        free(store->items[i]);
    free(store->items);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

static const struct osd_store_ops memory_ops = {
    .put = memory_put,
    .stat = memory_stat,
    .look = memory_look,
    .get = memory_get,
    .remove = memory_remove,
    .find = memory_find,
    .list = memory_list,
    .tick = memory_tick,
    .space = memory_space,
    .stats = memory_stats,
    .set_complete = memory_set_complete,
    .health = memory_health,
    .free = memory_free,
};

enum lilio_err osd_memory_store_new(struct osd_store **ret_store)
{
    struct memory_store *store = calloc(1, sizeof *store);
    if (!store)
        return LILIO_E_NOMEM;
    store->head.ops = &memory_ops;
    pthread_mutex_init(&store->lock, NULL);
    *ret_store = &store->head;
    return LILIO_OK;
}
