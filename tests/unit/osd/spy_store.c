#include "tests/unit/osd/spy_store.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/banned.h"

struct lie {
    struct base_oid oid;
    uint32_t index;
    enum spy_lie lie;
};

struct spy {
    struct osd_store store; /* first */
    struct osd_store *inner;
    pthread_mutex_t lock; /* guards what follows */
    struct lie lies[SPY_LIES_MAX];
    size_t lie_count;
    enum lilio_err failure;
    bool incomplete;
    unsigned batches, sizes[SPY_BATCHES_MAX];
    void (*on_put)(void *context);
    void *on_put_context;
    bool restless; /* by the owner loop only, as is what follows */
    enum lilio_err tick_err;
    unsigned ticks;
};

static struct spy *spy_of(struct osd_store *store)
{
    return (struct spy *)store;
}

static bool lied_about(struct spy *spy, const struct base_fragment_key *key, enum spy_lie *ret)
{
    bool found = false;
    pthread_mutex_lock(&spy->lock);
    for (size_t i = 0; i < spy->lie_count && !found; i++) {
        found = base_oid_equal(spy->lies[i].oid, key->oid) && spy->lies[i].index == key->index;
        *ret = spy->lies[i].lie;
    }
    pthread_mutex_unlock(&spy->lock);
    return found;
}

static enum lilio_err failure_of(struct spy *spy)
{
    pthread_mutex_lock(&spy->lock);
    enum lilio_err err = spy->failure;
    pthread_mutex_unlock(&spy->lock);
    return err;
}

static void spy_put(struct osd_store *store, struct osd_put *puts, size_t count)
{
    struct spy *spy = spy_of(store);
    enum lilio_err failure = failure_of(spy);
    if (spy->batches < SPY_BATCHES_MAX)
        spy->sizes[spy->batches] = (unsigned)count;
    spy->batches++;
    if (spy->on_put)
        spy->on_put(spy->on_put_context);
    for (size_t i = 0; i < count; i++) {
        enum spy_lie lie;
        if (failure)
            puts[i].ret_err = failure;
        else if (lied_about(spy, &puts[i].fragment.key, &lie) && lie == SPY_LOSES_PUTS)
            puts[i].ret_err = LILIO_OK;
        else
            spy->inner->ops->put(spy->inner, &puts[i], 1);
    }
}

static enum lilio_err spy_stat(struct osd_store *store, const struct base_fragment_key *key,
                               struct osd_fragment *ret, uint8_t *ret_key_room,
                               struct lilio_errinfo *info)
{
    struct spy *spy = spy_of(store);
    return spy->inner->ops->stat(spy->inner, key, ret, ret_key_room, info);
}

/* Changes what was read as the lie wants it. */
static enum lilio_err falsify(enum spy_lie lie, struct osd_fragment *fragment, uint8_t *payload,
                              uint32_t size, struct lilio_errinfo *info)
{
    switch (lie) {
    case SPY_MISSING: return lilio_fail(info, LILIO_E_MISSING, "a lie");
    case SPY_CORRUPT: return lilio_fail(info, LILIO_E_CORRUPT, "a lie");
    case SPY_FLIPPED: payload[size / 2] ^= 1; break;
    case SPY_OTHER_BYTES:
        payload[0] ^= 0xff;
        codec_block_checksums(payload, size, fragment->block_checksums);
        break;
    case SPY_LOSES_PUTS: break;
    }
    return LILIO_OK;
}

static enum lilio_err spy_look(struct osd_store *store, const struct base_fragment_key *key,
                               uint32_t *ret_length, uint32_t *ret_checksum,
                               struct lilio_errinfo *info)
{
    struct spy *spy = spy_of(store);
    enum spy_lie lie;
    if (lied_about(spy, key, &lie) && lie == SPY_MISSING)
        return lilio_fail(info, LILIO_E_MISSING, "a lie");
    return spy->inner->ops->look(spy->inner, key, ret_length, ret_checksum, info);
}

static enum lilio_err spy_get(struct osd_store *store, const struct base_fragment_key *key,
                              uint32_t first_block, uint32_t block_count, bool verify,
                              uint8_t *buffer, size_t room, struct osd_fragment *ret,
                              uint8_t *ret_key_room, uint8_t **ret_payload, uint32_t *ret_size,
                              struct lilio_errinfo *info)
{
    struct spy *spy = spy_of(store);
    enum spy_lie lie;
    bool lied = lied_about(spy, key, &lie);
    enum lilio_err err =
        spy->inner->ops->get(spy->inner, key, first_block, block_count, verify, buffer, room, ret,
                             ret_key_room, ret_payload, ret_size, info);
    return lied && !err ? falsify(lie, ret, *ret_payload, *ret_size, info) : err;
}

static enum lilio_err spy_remove(struct osd_store *store, const struct base_fragment_key *keys,
                                 size_t count, struct lilio_errinfo *info)
{
    struct spy *spy = spy_of(store);
    enum lilio_err failure = failure_of(spy);
    return failure ? lilio_fail(info, failure, "told to fail")
                   : spy->inner->ops->remove(spy->inner, keys, count, info);
}

static enum lilio_err spy_find(struct osd_store *store, uint32_t placement, uint32_t partition,
                               struct base_oid oid, uint32_t stripe, uint64_t *ret_mask,
                               struct lilio_errinfo *info)
{
    struct spy *spy = spy_of(store);
    return spy->inner->ops->find(spy->inner, placement, partition, oid, stripe, ret_mask, info);
}

static enum lilio_err spy_list(struct osd_store *store, const struct base_fragment_key *after,
                               struct base_fragment_key *ret_keys, size_t room, size_t *ret_count,
                               struct lilio_errinfo *info)
{
    struct spy *spy = spy_of(store);
    return spy->inner->ops->list(spy->inner, after, ret_keys, room, ret_count, info);
}

static enum lilio_err spy_tick(struct osd_store *store, bool *ret_more, struct lilio_errinfo *info)
{
    struct spy *spy = spy_of(store);
    spy->ticks++;
    if (!spy->restless)
        return spy->inner->ops->tick(spy->inner, ret_more, info);
    *ret_more = true;
    return spy->tick_err ? lilio_fail(info, spy->tick_err, "the spy's tick fails") : LILIO_OK;
}

static void spy_space(struct osd_store *store, struct osd_store_space *ret)
{
    spy_of(store)->inner->ops->space(spy_of(store)->inner, ret);
}

static void spy_stats(struct osd_store *store, struct osd_store_stats *ret)
{
    struct spy *spy = spy_of(store);
    spy->inner->ops->stats(spy->inner, ret);
    pthread_mutex_lock(&spy->lock);
    ret->incomplete = spy->incomplete;
    pthread_mutex_unlock(&spy->lock);
}

static enum lilio_err spy_set_complete(struct osd_store *store, struct lilio_errinfo *info)
{
    struct spy *spy = spy_of(store);
    pthread_mutex_lock(&spy->lock);
    spy->incomplete = false;
    pthread_mutex_unlock(&spy->lock);
    /* As a store that found no mark to remove: words of an error that is none. */
    (void)lilio_fail(info, LILIO_E_NOT_FOUND, "there was no mark");
    return spy->inner->ops->set_complete(spy->inner, info);
}

static enum lilio_err spy_health(struct osd_store *store)
{
    return failure_of(spy_of(store)) ? LILIO_E_READ_ONLY : LILIO_OK;
}

static void spy_free(struct osd_store *store)
{
    struct spy *spy = spy_of(store);
    osd_store_free(&spy->inner);
    pthread_mutex_destroy(&spy->lock);
    free(spy);
}

struct osd_store *spy_store_new(void)
{
    static const struct osd_store_ops ops = {
        .put = spy_put,
        .stat = spy_stat,
        .look = spy_look,
        .get = spy_get,
        .remove = spy_remove,
        .find = spy_find,
        .list = spy_list,
        .tick = spy_tick,
        .space = spy_space,
        .stats = spy_stats,
        .set_complete = spy_set_complete,
        .health = spy_health,
        .free = spy_free,
    };
    struct spy *spy = calloc(1, sizeof *spy);
    LILIO_ASSERT(spy);
    LILIO_ASSERT(osd_memory_store_new(&spy->inner) == LILIO_OK);
    pthread_mutex_init(&spy->lock, NULL);
    spy->store.ops = &ops;
    return &spy->store;
}

void spy_store_lie(struct osd_store *store, struct base_oid oid, uint32_t index, enum spy_lie lie)
{
    struct spy *spy = spy_of(store);
    pthread_mutex_lock(&spy->lock);
    LILIO_ASSERT(spy->lie_count < SPY_LIES_MAX);
    spy->lies[spy->lie_count++] = (struct lie){oid, index, lie};
    pthread_mutex_unlock(&spy->lock);
}

void spy_store_honest(struct osd_store *store)
{
    struct spy *spy = spy_of(store);
    pthread_mutex_lock(&spy->lock);
    spy->lie_count = 0;
    pthread_mutex_unlock(&spy->lock);
}

void spy_store_fail(struct osd_store *store, enum lilio_err err)
{
    struct spy *spy = spy_of(store);
    pthread_mutex_lock(&spy->lock);
    spy->failure = err;
    pthread_mutex_unlock(&spy->lock);
}

void spy_store_incomplete(struct osd_store *store)
{
    struct spy *spy = spy_of(store);
    pthread_mutex_lock(&spy->lock);
    spy->incomplete = true;
    pthread_mutex_unlock(&spy->lock);
}

unsigned spy_store_batches(struct osd_store *store, unsigned ret_sizes[SPY_BATCHES_MAX])
{
    memcpy(ret_sizes, spy_of(store)->sizes, sizeof spy_of(store)->sizes);
    return spy_of(store)->batches;
}

void spy_store_on_put(struct osd_store *store, void (*call)(void *context), void *context)
{
    spy_of(store)->on_put = call;
    spy_of(store)->on_put_context = context;
}

void spy_store_restless(struct osd_store *store, enum lilio_err err)
{
    spy_of(store)->restless = true;
    spy_of(store)->tick_err = err;
}

unsigned spy_store_ticks(struct osd_store *store)
{
    return spy_of(store)->ticks;
}
