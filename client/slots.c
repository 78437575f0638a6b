#include "client/slots.h"

#include <stdlib.h>

#include "client/client_priv.h"
#include "client/lane.h"

#include "base/banned.h"

size_t lilio_slots_size(const struct lilio_slots *slots)
{
    return (((size_t)slots->width << slots->partition_bits) + 7) / 8;
}

void lilio_slot_set_release(struct lilio_slot_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        free(set->list[i].bits);
    free(set->list);
    *set = (struct lilio_slot_set){0};
}

bool client_slots_have(const struct lilio_slot_set *set, const struct proto_data_row *row,
                       uint32_t stripe, uint32_t index)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct lilio_slots *slots = &set->list[i];
        if (slots->placement != row->placement || index >= slots->width)
            continue;
        uint32_t partition = proto_partition((uint8_t)slots->partition_bits, row->oid, stripe);
        size_t at = (size_t)partition * slots->width + index;
        return slots->bits[at / 8] >> at % 8 & 1;
    }
    return false;
}

/* ---- what an OSD had ---- */

struct had {
    uint32_t osd;
    uint64_t epoch;
    bool maybe;
};

/* Mask of the slots of a partition. */
static uint64_t partition_had(const struct had *had, const struct proto_placement *placement,
                              uint32_t partition, uint64_t *unsure)
{
    uint64_t moved = proto_slots_moved(placement, partition, had->epoch), mask = 0;
    uint64_t handed = proto_slots_handed(placement, partition, had->epoch);
    if (moved != handed) {
        ++*unsure;
        return had->maybe ? proto_slots_moved(placement, partition, 0) : 0;
    }
    for (uint32_t index = 0; index < placement->width; index++) {
        uint32_t osd = moved >> index & 1 ? proto_slot_previous(placement, partition, index)
                                          : proto_slot_osd(placement, partition, index);
        mask |= (uint64_t)(osd == had->osd) << index;
    }
    return mask;
}

static bool placement_had(const struct had *had, const struct proto_placement *placement,
                          struct lilio_slots *ret, uint64_t *unsure)
{
    *ret = (struct lilio_slots){.placement = placement->id,
                                .partition_bits = placement->partition_bits,
                                .width = placement->width};
    ret->bits = calloc(lilio_slots_size(ret), 1);
    if (!ret->bits)
        return false;
    for (uint32_t partition = 0; partition >> placement->partition_bits == 0; partition++)
        for (uint64_t left = partition_had(had, placement, partition, unsure); left;
             left &= left - 1) {
            size_t at = (size_t)partition * placement->width + (size_t)__builtin_ctzll(left);
            ret->bits[at / 8] |= (uint8_t)(1u << at % 8);
        }
    return true;
}

static enum lilio_err map_had(const struct had *had, const struct proto_cluster_map *map,
                              struct lilio_slot_set *ret_set, struct lilio_errinfo *info)
{
    struct lilio_slot_set set = {.list = calloc(map->placements_count + 1, sizeof *set.list)};
    bool made = set.list;
    for (size_t i = 0; made && i < map->placements_count; i++) {
        made = placement_had(had, &map->placements[i], &set.list[i], &set.unsure);
        set.count += made;
    }
    if (!made) {
        lilio_slot_set_release(&set);
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for the slots of an OSD");
    }
    *ret_set = set;
    return LILIO_OK;
}

enum lilio_err lilio_slots_had(struct lilio_client *client, uint32_t osd, uint64_t epoch,
                               bool maybe, struct lilio_slot_set *ret_set,
                               struct lilio_errinfo *info)
{
    struct had had = {osd, epoch, maybe};
    struct client_lane *lane;
    struct proto_map_ref *map;
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    err = client_map_get(client, &lane->control, epoch, &map, info);
    client_lane_give(&lane);
    if (err != LILIO_OK)
        return err;
    err = map_had(&had, proto_map_ref_get(map), ret_set, info);
    proto_map_ref_drop(&map);
    return err;
}
