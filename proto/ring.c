#include "proto/ring_priv.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "proto/placement.h"

#include "base/banned.h"

static uint64_t point_hash(uint32_t osd_id, uint32_t vnode, uint32_t attempt)
{
    uint8_t bytes[12];
    base_be32_put(bytes, osd_id);
    base_be32_put(bytes + 4, vnode);
    base_be32_put(bytes + 8, attempt);
    return XXH64(bytes, sizeof bytes, 0);
}

static uint64_t vnode_count(const struct proto_osd *osd)
{
    uint64_t count = ((uint64_t)osd->weight * PROTO_VNODES_PER_UNIT + 500) / 1000;
    return osd->weight > 0 && count == 0 ? 1 : count;
}

/* Order on the ring; points that still share a position are ordered by OSD and virtual node, so
 * that the result never depends on the order of the input. */
static int point_compare(const void *a, const void *b)
{
    const struct proto_ring_point *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    if (x->osd != y->osd)
        return x->osd < y->osd ? -1 : 1;
    return x->vnode < y->vnode ? -1 : x->vnode > y->vnode;
}

void proto_ring_place(struct proto_ring *ring, const struct proto_osd *const *osds,
                      proto_ring_hash hash)
{
    for (size_t i = 0; i < ring->count; i++)
        ring->points[i].at = hash(osds[ring->points[i].osd]->id, ring->points[i].vnode, 0);
    bool moved;
    uint32_t attempt = 0;
    do {
        moved = false;
        attempt++;
        qsort(ring->points, ring->count, sizeof ring->points[0], point_compare);
        for (size_t i = 1, kept = 0; i < ring->count; i++) {
            struct proto_ring_point *point = &ring->points[i];
            if (point->at != ring->points[kept].at) {
                kept = i;
                continue;
            }
            point->at = hash(osds[point->osd]->id, point->vnode, attempt);
            moved = true;
        }
    } while (moved);
}

enum lilio_err proto_ring_init(const struct proto_osd *const *osds, size_t osd_count,
                               struct proto_ring *ret, struct lilio_errinfo *info)
{
    *ret = (struct proto_ring){0};
    uint64_t total = 0;
    for (size_t i = 0; i < osd_count; i++)
        total += vnode_count(osds[i]);
    if (total > PROTO_RING_POINTS_MAX)
        return lilio_fail(info, LILIO_E_INVALID,
                          "weights need %llu points on the ring, at most %d are allowed",
                          (unsigned long long)total, PROTO_RING_POINTS_MAX);
    ret->points = calloc(total ? total : 1, sizeof ret->points[0]);
    if (!ret->points)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for the ring");
    for (size_t i = 0; i < osd_count; i++)
        for (uint32_t vnode = 0; vnode < vnode_count(osds[i]); vnode++)
            ret->points[ret->count++] =
                (struct proto_ring_point){.osd = (uint32_t)i, .vnode = vnode};
    proto_ring_place(ret, osds, point_hash);
    return LILIO_OK;
}

void proto_ring_release(struct proto_ring *ring)
{
    free(ring->points);
    *ring = (struct proto_ring){0};
}

size_t proto_ring_find(const struct proto_ring *ring, uint64_t position)
{
    size_t low = 0, high = ring->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ring->points[middle].at < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low == ring->count ? 0 : low;
}
