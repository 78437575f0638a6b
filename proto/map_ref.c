#include "proto/placement.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/banned.h"

struct proto_map_ref {
    atomic_size_t count; /* holders; the last one frees */
    struct proto_arena *arena;
    struct proto_cluster_map map;
};

enum lilio_err proto_map_ref_new(const struct proto_cluster_map *map,
                                 struct proto_map_ref **ret_ref)
{
    struct proto_map_ref *ref = calloc(1, sizeof *ref);
    if (!ref)
        return LILIO_E_NOMEM;
    atomic_init(&ref->count, 1);
    enum lilio_err err = proto_arena_new(&ref->arena);
    if (!err)
        err = proto_copy(&proto_type_cluster_map, map, ref->arena, &ref->map);
    if (err) {
        proto_map_ref_drop(&ref);
        return err;
    }
    *ret_ref = ref;
    return LILIO_OK;
}

struct proto_map_ref *proto_map_ref_take(struct proto_map_ref *ref)
{
    atomic_fetch_add_explicit(&ref->count, 1, memory_order_relaxed);
    return ref;
}

void proto_map_ref_drop(struct proto_map_ref **ref)
{
    struct proto_map_ref *mine = *ref;
    *ref = NULL;
    if (!mine || atomic_fetch_sub_explicit(&mine->count, 1, memory_order_acq_rel) != 1)
        return;
    proto_arena_free(&mine->arena);
    free(mine);
}

const struct proto_cluster_map *proto_map_ref_get(const struct proto_map_ref *ref)
{
    return &ref->map;
}
