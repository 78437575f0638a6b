/* Cluster maps and data rows from outside: whatever passes the checks can be used for placing and
 * finding fragments without a read beyond a table. The first two bytes (little endian) are the
 * length of a packed map, a packed row follows it. */
#include <stdlib.h>

#include "codec/codec.h"
#include "proto/placement.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COMPUTE_OSDS_MAX = 32, COMPUTE_WEIGHT_MAX = 20000, COMPUTE_BITS = 4 };

/* A table computed from the map's OSDs keeps its promise or is refused. */
static void compute(const struct proto_cluster_map *map, const struct proto_placement *placement)
{
    if (map->osds_count > COMPUTE_OSDS_MAX)
        return;
    for (size_t i = 0; i < map->osds_count; i++)
        if (map->osds[i].weight > COMPUTE_WEIGHT_MAX)
            return;
    uint8_t *slots = malloc((size_t)2 * placement->width << COMPUTE_BITS);
    LILIO_ASSERT(slots);
    struct lilio_errinfo info;
    if (proto_placement_compute(map->osds, map->osds_count, placement->width, placement->rule,
                                COMPUTE_BITS, slots, &info) == LILIO_OK)
        for (uint32_t partition = 0; partition < 1u << COMPUTE_BITS; partition++)
            for (uint32_t i = 0; i < placement->width; i++) {
                const uint8_t *row = slots + (size_t)2 * partition * placement->width;
                LILIO_ASSERT(proto_map_osd(map, base_le16_get(row + 2 * i)));
                for (uint32_t j = 0; j < i; j++)
                    LILIO_ASSERT(base_le16_get(row + 2 * i) != base_le16_get(row + 2 * j));
            }
    free(slots);
}

static void find_fragments(const struct proto_cluster_map *map, const struct proto_data_row *row)
{
    static const uint32_t stripes[] = {0, 1, 2, 1000, UINT32_MAX};
    for (size_t i = 0; i < sizeof stripes / sizeof stripes[0]; i++) {
        (void)proto_row_missing(row, stripes[i]);
        for (uint32_t index = 0; index < CODEC_TOTAL_MAX + 2; index++) {
            uint32_t checksum;
            (void)proto_row_checksum(row, stripes[i], index, &checksum);
            LILIO_ASSERT(proto_fragment_osd(map, row, stripes[i], index) <= PROTO_OSD_NONE);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t map_size = base_le16_get(data);
    if (map_size > size - 2)
        map_size = size - 2;
    struct proto_arena *arena;
    struct proto_cluster_map map;
    struct proto_data_row row;
    struct lilio_errinfo info;
    LILIO_ASSERT(proto_arena_new(&arena) == LILIO_OK);
    bool has_map =
        proto_cluster_map_unpack(base_slice(data + 2, map_size), arena, &map, &info) == LILIO_OK;
    bool has_row = proto_data_row_unpack(base_slice(data + 2 + map_size, size - 2 - map_size),
                                         arena, &row, &info) == LILIO_OK;
    if (has_map && proto_map_check(&map, &info) == LILIO_OK) {
        for (size_t i = 0; i < map.placements_count; i++)
            compute(&map, &map.placements[i]);
        if (has_row && proto_row_check(&row, &info) == LILIO_OK)
            find_fragments(&map, &row);
    }
    proto_arena_free(&arena);
    return 0;
}
