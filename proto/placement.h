/* Where fragments live: partitions, the ring, slot tables and the cluster map. Pure code: no clock,
 * no I/O, no thread.
 *
 * partition = top p bits of XXH64(oid big-endian 16 bytes || stripe big-endian 4 bytes, seed 0), so
 * p can grow by splitting. A placement's slot table is made once from the ring (150 virtual nodes
 * per unit of weight, rehash on collision) and from then on is data: changes to it are planned
 * moves, never a recomputation.
 */
#ifndef PROTO_PLACEMENT_H
#define PROTO_PLACEMENT_H

#include "proto/messages.h"

enum { PROTO_PARTITION_BITS = 10, PROTO_OSD_NONE = 65535, PROTO_VNODES_PER_UNIT = 150 };
enum proto_osd_state {
    PROTO_OSD_UP = 1,
    PROTO_OSD_SUSPECT = 2,
    PROTO_OSD_DOWN = 3,
    PROTO_OSD_OUT = 4,
    PROTO_OSD_FAILED = 5,
    PROTO_OSD_NEW = 6,
    PROTO_OSD_BLANK = 7,
};
const char *proto_osd_state_name(uint8_t state);

uint32_t proto_partition(uint8_t partition_bits, struct base_oid oid, uint32_t stripe);
/* What a stripe adds to the sums by which OSDs and coordinators compare what they have: as random
 * as its partition, and independent of it. */
uint64_t proto_stripe_hash(struct base_oid oid, uint32_t stripe);

/* Fills width slots for each of 2^partition_bits partitions (little-endian u16 OSD ids). The same
 * input gives the same slots, whatever the order of osds. No OSD twice in a partition; with the
 * default rule no domain holds more than limit fragments (rule "osd:1": every slot on another OSD).
 * OSDs of weight 0 get nothing; which OSDs take part at all is the caller's choice.
 * Errors: INVALID (fewer domains than the rule needs: says how many there are and are needed). */
LILIO_MUST_USE enum lilio_err
proto_placement_compute(const struct proto_osd *osds, size_t osd_count, uint8_t width,
                        struct base_slice rule, uint8_t partition_bits,
                        uint8_t *ret_slots /* 2 * width << partition_bits */,
                        struct lilio_errinfo *info);

/* NULL / PROTO_OSD_NONE when there is none. */
const struct proto_placement *proto_map_placement(const struct proto_cluster_map *map, uint32_t id);
const struct proto_osd *proto_map_osd(const struct proto_cluster_map *map, uint32_t id);
uint32_t proto_slot_osd(const struct proto_placement *placement, uint32_t partition,
                        uint32_t index);
/* Who had the slot before it was moved, and may still have fragments that its OSD has not. */
uint32_t proto_slot_previous(const struct proto_placement *placement, uint32_t partition,
                             uint32_t index);
/* Masks of fragment indexes: the slots whose OSD may not have everything yet; the slots that were
 * moved after the epoch, or, where that is not known, all that ever were if any did after it. */
uint64_t proto_slots_filling(const struct proto_placement *placement, uint32_t partition);
uint64_t proto_slots_moved(const struct proto_placement *placement, uint32_t partition,
                           uint64_t epoch);
/* Of these, the slots that changed hands once: what was acknowledged for them with a map of this
 * epoch or later is at their OSD or at the one before. */
uint64_t proto_slots_handed(const struct proto_placement *placement, uint32_t partition,
                            uint64_t epoch);
/* OSD of fragment index of a stripe: slot, unless an exception of the row says otherwise. */
uint32_t proto_fragment_osd(const struct proto_cluster_map *map, const struct proto_data_row *row,
                            uint32_t stripe, uint32_t index);
/* Mask of fragment indexes of the stripe that the row's exceptions call missing or corrupt. */
uint64_t proto_row_missing(const struct proto_data_row *row, uint32_t stripe);
/* The same questions as of slots. */
uint32_t proto_fragment_previous(const struct proto_cluster_map *map,
                                 const struct proto_data_row *row, uint32_t stripe, uint32_t index);
uint64_t proto_row_filling(const struct proto_cluster_map *map, const struct proto_data_row *row,
                           uint32_t stripe);
/* The fragment's checksum in the row; false if the row is too short. */
bool proto_row_checksum(const struct proto_data_row *row, uint32_t stripe, uint32_t index,
                        uint32_t *ret);
/* Whether width and partition bits are in range, and every table is empty, if it may be, or as long
 * as they say. */
bool proto_placement_sized(const struct proto_placement *placement);
/* Validates a map from outside: slot tables as long as they say, ids in range, sorted. Errors:
 * MALFORMED. */
LILIO_MUST_USE enum lilio_err proto_map_check(const struct proto_cluster_map *map,
                                              struct lilio_errinfo *info);
/* Validates a data row from outside: profile, checksum count, exceptions in range. Errors:
 * MALFORMED. */
LILIO_MUST_USE enum lilio_err proto_row_check(const struct proto_data_row *row,
                                              struct lilio_errinfo *info);

/* A map that owns its memory; shared between threads by reference count, immutable. */
struct proto_map_ref;
LILIO_MUST_USE enum lilio_err proto_map_ref_new(const struct proto_cluster_map *map,
                                                struct proto_map_ref **ret_ref);
struct proto_map_ref *proto_map_ref_take(struct proto_map_ref *ref);
void proto_map_ref_drop(struct proto_map_ref **ref);
const struct proto_cluster_map *proto_map_ref_get(const struct proto_map_ref *ref);

#endif
