/* Slots that go to other OSDs: which ones may, where to, and what the tables say afterwards. Pure
 * code: no clock, no I/O, no thread.
 *
 * A slot that moved fills: its new OSD may not have everything yet, and who had it before is a
 * source. That one stays known until the slot moves again: what is called missing of a stripe may
 * be there, brought back after the slot was filled without it, or put there with an older map.
 */
#ifndef PROTO_MOVES_H
#define PROTO_MOVES_H

#include "proto/placement.h"

struct proto_move {
    uint32_t partition, slot, from, to;
};

/* Whether the OSD may have the slot: it is not draining, not in the partition yet, and with it its
 * failure domain does not hold more than the rule allows. */
bool proto_move_allowed(const struct proto_osd *osds, size_t osd_count,
                        const struct proto_placement *placement, uint32_t partition, uint32_t slot,
                        uint32_t to);

/* Bytes that fragments may yet take on its disk, as it told: what is free beyond the reserve that
 * an OSD keeps. UINT64_MAX: it has told nothing. */
uint64_t proto_osd_room(const struct proto_osd *osd);
/* There is less room than a second reserve. */
bool proto_osd_nearly_full(const struct proto_osd *osd);

struct proto_moves {
    bool unfilled;            /* in: only slots that fill, and only to OSDs with room */
    struct proto_move *moves; /* the caller's */
    size_t room, count;
    uint64_t *stuck; /* the caller's, zeroed: a bit per partition with a slot that has nowhere to
                        go; NULL: nobody asks */
    size_t stuck_count;
};
/* Where each slot of the placement that OSD `from` has is to go: to the OSD that is up, has a
 * weight, is not draining and is allowed to, with the fewest slots per weight; the ring breaks
 * ties. To one that is nearly full only where nobody else may have it. Planned as if the moves
 * before were made; those without room are not told. The same input gives the same plan. Errors:
 * NOMEM, INVALID (a rule nobody can read). */
LILIO_MUST_USE enum lilio_err proto_moves_plan(const struct proto_osd *osds, size_t osd_count,
                                               const struct proto_placement *placement,
                                               uint32_t from, struct proto_moves *ret,
                                               struct lilio_errinfo *info);

/* Whether the OSD has a slot. */
bool proto_placement_has(const struct proto_placement *placement, uint32_t osd);
/* A placement with all of its tables in the arena, to be changed. False: no memory. */
bool proto_placement_unfold(const struct proto_placement *placement, struct proto_arena *arena,
                            struct proto_placement *ret);
/* The slot is the OSD's from this epoch on, and fills. */
void proto_placement_move(struct proto_placement *placement, uint32_t partition, uint32_t slot,
                          uint32_t to, uint64_t epoch);
/* It fills no more. */
void proto_placement_filled(struct proto_placement *placement, uint32_t partition, uint32_t slot);
/* Tables that say nothing become empty. */
void proto_placement_fold(struct proto_placement *placement);

#endif
