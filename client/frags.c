#include "client/frags.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/pool.h"

#include "base/banned.h"

/* Behind the bytes of each buffer. */
struct tail {
    _Atomic uint32_t count;
};
struct client_frags {
    struct base_pool *pool;
    size_t bytes, count;
    _Atomic size_t references; /* buffers that are out, and one for the owner */
};

enum lilio_err client_frags_new(size_t bytes, size_t count, struct client_frags **ret_frags)
{
    struct client_frags *frags = calloc(1, sizeof *frags);
    if (!frags)
        return LILIO_E_NOMEM;
    frags->bytes = bytes;
    frags->count = count;
    frags->references = 1;
    enum lilio_err err = base_pool_new(bytes + sizeof(struct tail), count, &frags->pool);
    if (err != LILIO_OK)
        free(frags);
    else
        *ret_frags = frags;
    return err;
}

static void drop_reference(struct client_frags *frags)
{
    if (atomic_fetch_sub(&frags->references, 1) > 1)
        return;
    base_pool_free(&frags->pool);
    free(frags);
}

void client_frags_free(struct client_frags **frags)
{
    struct client_frags *mine = *frags;
    *frags = NULL;
    if (mine)
        drop_reference(mine);
}

bool client_frags_fit(const struct client_frags *frags, size_t bytes, size_t count)
{
    return frags && frags->bytes >= bytes && frags->count >= count;
}

static struct tail *tail_of(const struct client_frags *frags, void *data)
{
    return (struct tail *)(void *)((uint8_t *)data + frags->bytes);
}

void *client_frags_take(struct client_frags *frags)
{
    void *data = base_pool_take(frags->pool);
    if (!data)
        return NULL;
    atomic_fetch_add(&frags->references, 1);
    atomic_store(&tail_of(frags, data)->count, 1);
    return data;
}

void client_frags_share(struct client_frags *frags, void *data)
{
    atomic_fetch_add(&tail_of(frags, data)->count, 1);
}

void client_frags_drop(struct client_frags *frags, void *data)
{
    if (atomic_fetch_sub(&tail_of(frags, data)->count, 1) > 1)
        return;
    base_pool_give(frags->pool, data);
    drop_reference(frags);
}

void client_frags_release(void *data, void *hint)
{
    client_frags_drop(hint, data);
}
