/* Reading and checking the cluster map and data rows. */
#include "proto/placement.h"

#include "codec/codec.h"

#include "base/banned.h"

enum { EXCEPTION_MISSING = 1, EXCEPTION_MOVED = 2, EXCEPTION_CORRUPT = 3, PARTITION_BITS_MAX = 16 };

const struct proto_placement *proto_map_placement(const struct proto_cluster_map *map, uint32_t id)
{
    for (size_t i = 0; i < map->placements_count; i++)
        if (map->placements[i].id == id)
            return &map->placements[i];
    return NULL;
}

const struct proto_osd *proto_map_osd(const struct proto_cluster_map *map, uint32_t id)
{
    size_t low = 0, high = map->osds_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map->osds[middle].id == id)
            return &map->osds[middle];
        if (map->osds[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* ---- data rows ---- */

static bool covers(const struct proto_exception *exception, uint32_t stripe)
{
    return stripe >= exception->first_stripe &&
           stripe - exception->first_stripe < exception->stripe_count;
}

uint32_t proto_fragment_osd(const struct proto_cluster_map *map, const struct proto_data_row *row,
                            uint32_t stripe, uint32_t index)
{
    for (size_t i = 0; i < row->exceptions_count; i++) {
        const struct proto_exception *exception = &row->exceptions[i];
        if (exception->kind == EXCEPTION_MOVED && exception->index == index &&
            covers(exception, stripe))
            return exception->osd;
    }
    const struct proto_placement *placement = proto_map_placement(map, row->placement);
    if (!placement)
        return PROTO_OSD_NONE;
    return proto_slot_osd(placement, proto_partition(placement->partition_bits, row->oid, stripe),
                          index);
}

uint32_t proto_fragment_previous(const struct proto_cluster_map *map,
                                 const struct proto_data_row *row, uint32_t stripe, uint32_t index)
{
    const struct proto_placement *placement = proto_map_placement(map, row->placement);
    if (!placement || placement->previous.size == 0)
        return PROTO_OSD_NONE;
    return proto_slot_previous(placement,
                               proto_partition(placement->partition_bits, row->oid, stripe), index);
}

uint64_t proto_row_filling(const struct proto_cluster_map *map, const struct proto_data_row *row,
                           uint32_t stripe)
{
    const struct proto_placement *placement = proto_map_placement(map, row->placement);
    if (!placement || placement->filling.size == 0)
        return 0;
    return proto_slots_filling(placement,
                               proto_partition(placement->partition_bits, row->oid, stripe));
}

uint64_t proto_row_missing(const struct proto_data_row *row, uint32_t stripe)
{
    uint64_t mask = 0;
    for (size_t i = 0; i < row->exceptions_count; i++) {
        const struct proto_exception *exception = &row->exceptions[i];
        if (exception->kind != EXCEPTION_MOVED && exception->index < 64 &&
            covers(exception, stripe))
            mask |= UINT64_C(1) << exception->index;
    }
    return mask;
}

bool proto_row_checksum(const struct proto_data_row *row, uint32_t stripe, uint32_t index,
                        uint32_t *ret)
{
    uint32_t total_count = (uint32_t)row->profile.data_count + row->profile.parity_count;
    uint64_t at = ((uint64_t)stripe * total_count + index) * 4;
    if (index >= total_count || at + 4 > row->checksums.size)
        return false;
    *ret = base_le32_get(row->checksums.data + at);
    return true;
}

static struct codec_profile to_codec(const struct proto_profile *profile)
{
    return (struct codec_profile){
        .data_count = profile->data_count,
        .parity_count = profile->parity_count,
        .fragment_size = profile->fragment_size,
        .generator = profile->generator,
    };
}

static enum lilio_err check_profile(const struct codec_profile *profile, struct lilio_errinfo *info)
{
    struct lilio_errinfo why = {0};
    if (codec_profile_check(profile, &why))
        return lilio_fail(info, LILIO_E_MALFORMED, "profile: %.300s", why.text);
    return LILIO_OK;
}

enum lilio_err proto_row_check(const struct proto_data_row *row, struct lilio_errinfo *info)
{
    struct codec_profile profile = to_codec(&row->profile);
    enum lilio_err err = check_profile(&profile, info);
    if (err)
        return lilio_prefix(info, err, "data row");
    uint32_t total_count = codec_profile_total(&profile);
    uint64_t stripe_count = codec_stripe_count(&profile, row->stored_length);
    if (stripe_count == 0 || stripe_count > UINT32_MAX)
        return lilio_fail(info, LILIO_E_MALFORMED, "data row: stored length %llu is out of range",
                          (unsigned long long)row->stored_length);
    if (row->checksums.size != stripe_count * total_count * 4)
        return lilio_fail(info, LILIO_E_MALFORMED,
                          "data row: %zu bytes of checksums for %llu stripes of %u fragments",
                          row->checksums.size, (unsigned long long)stripe_count, total_count);
    for (size_t i = 0; i < row->exceptions_count; i++) {
        const struct proto_exception *exception = &row->exceptions[i];
        uint64_t end = (uint64_t)exception->first_stripe + exception->stripe_count;
        bool osd_valid = exception->kind != EXCEPTION_MOVED || exception->osd < PROTO_OSD_NONE;
        if (exception->kind < EXCEPTION_MISSING || exception->kind > EXCEPTION_CORRUPT ||
            exception->index >= total_count || exception->stripe_count == 0 || end > stripe_count ||
            !osd_valid)
            return lilio_fail(info, LILIO_E_MALFORMED, "data row: exception %zu is out of range",
                              i);
    }
    return LILIO_OK;
}

/* ---- the map ---- */

static enum lilio_err check_osds(const struct proto_cluster_map *map,
                                 const struct proto_placement *placement, struct base_slice table,
                                 struct lilio_errinfo *info)
{
    for (size_t at = 0; at + 2 <= table.size; at += 2) {
        uint32_t osd = base_le16_get(table.data + at);
        if (osd != PROTO_OSD_NONE && !proto_map_osd(map, osd))
            return lilio_fail(info, LILIO_E_MALFORMED,
                              "placement %u: slot %zu names osd.%u, which is not in the map",
                              placement->id, at / 2, osd);
    }
    return LILIO_OK;
}

bool proto_placement_sized(const struct proto_placement *placement)
{
    if (placement->width < 1 || placement->width > CODEC_TOTAL_MAX ||
        placement->partition_bits > PARTITION_BITS_MAX)
        return false;
    size_t slots = (size_t)placement->width << placement->partition_bits;
    size_t partitions = (size_t)1 << placement->partition_bits;
    const struct {
        size_t size, whole;
    } tables[] = {{placement->filling.size, (slots + 7) / 8},
                  {placement->previous.size, 2 * slots},
                  {placement->moved.size, (slots + 7) / 8},
                  {placement->changed.size, 8 * partitions},
                  {placement->changed_before.size, 8 * partitions},
                  {placement->moved_last.size, (slots + 7) / 8}};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (tables[i].size != 0 && tables[i].size != tables[i].whole)
            return false;
    return placement->slots.size == 2 * slots;
}

static enum lilio_err check_placement(const struct proto_cluster_map *map,
                                      const struct proto_placement *placement,
                                      struct lilio_errinfo *info)
{
    if (!proto_placement_sized(placement))
        return lilio_fail(info, LILIO_E_MALFORMED,
                          "placement %u: width, partition bits and %zu bytes of slots contradict "
                          "each other or its other tables",
                          placement->id, placement->slots.size);
    enum lilio_err err = check_osds(map, placement, placement->slots, info);
    return err ? err : check_osds(map, placement, placement->previous, info);
}

enum lilio_err proto_map_check(const struct proto_cluster_map *map, struct lilio_errinfo *info)
{
    for (size_t i = 0; i < map->osds_count; i++) {
        const struct proto_osd *osd = &map->osds[i];
        if (osd->id >= PROTO_OSD_NONE || (i > 0 && osd->id <= map->osds[i - 1].id))
            return lilio_fail(info, LILIO_E_MALFORMED,
                              "map: OSD ids are not in ascending order or out of range");
        if (osd->state < PROTO_OSD_UP || osd->state > PROTO_OSD_BLANK)
            return lilio_fail(info, LILIO_E_MALFORMED, "map: osd.%u has the unknown state %u",
                              osd->id, osd->state);
    }
    for (size_t i = 0; i < map->placements_count; i++) {
        if (i > 0 && map->placements[i].id <= map->placements[i - 1].id)
            return lilio_fail(info, LILIO_E_MALFORMED,
                              "map: placements are not in ascending order");
        enum lilio_err err = check_placement(map, &map->placements[i], info);
        if (err)
            return lilio_prefix(info, err, "map");
    }
    if (map->default_profile.data_count != 0) {
        struct codec_profile profile = to_codec(&map->default_profile);
        enum lilio_err err = check_profile(&profile, info);
        if (err)
            return lilio_prefix(info, err, "map: default");
    }
    return LILIO_OK;
}
