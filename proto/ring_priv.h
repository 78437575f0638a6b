/* The consistent-hash ring a placement is computed from. For proto/placement.c and its tests. */
#ifndef PROTO_RING_PRIV_H
#define PROTO_RING_PRIV_H

#include "proto/messages.h"

enum { PROTO_RING_POINTS_MAX = 1 << 20 };

struct proto_ring_point {
    uint64_t at;    /* position on the ring */
    uint32_t osd;   /* index into the array the ring was made from */
    uint32_t vnode; /* which of the OSD's virtual nodes */
};
struct proto_ring {
    struct proto_ring_point *points; /* by position, no two equal */
    size_t count;
};

/* PROTO_VNODES_PER_UNIT points per unit of weight, at least one for any weight above 0. osds must
 * be in ascending order of id. Errors: INVALID (weights that need more than PROTO_RING_POINTS_MAX
 * points), NOMEM. */
LILIO_MUST_USE enum lilio_err proto_ring_init(const struct proto_osd *const *osds, size_t osd_count,
                                              struct proto_ring *ret, struct lilio_errinfo *info);
void proto_ring_release(struct proto_ring *ring);
/* Index of the first point at or after position, going around the end. */
size_t proto_ring_find(const struct proto_ring *ring, uint64_t position);
/* Gives every point its position by hash(OSD id, virtual node, 0) and sorts them; points that
 * collide are hashed again with a higher attempt until none do. hash is XXH64 in use, something
 * that collides in tests. */
typedef uint64_t (*proto_ring_hash)(uint32_t osd_id, uint32_t vnode, uint32_t attempt);
void proto_ring_place(struct proto_ring *ring, const struct proto_osd *const *osds,
                      proto_ring_hash hash);

#endif
