#include "coordinator/histogram.h"

#include "base/banned.h"

_Static_assert((int)PROTO_LEVELS == (int)COORD_REPAIR_LEVELS,
               "a level for each margin and one below");

void coord_histogram_osd(struct coord_histogram *histogram, const struct proto_osd *osd)
{
    size_t place = histogram->osd_count;
    if (place == COORD_OSDS_MAX || osd->id >= PROTO_OSD_NONE)
        return; /* more than a cluster has */
    proto_trusts_set(&histogram->trusts, osd);
    histogram->osds[place] = (struct proto_redundancy_osd){
        .osd = osd->id,
        .levels = histogram->osd_levels[place],
        .levels_count = PROTO_LEVELS,
    };
    if (osd->draining)
        histogram->draining[histogram->draining_count++] = osd;
    histogram->place_by_id[osd->id] = (uint16_t)++histogram->osd_count;
}

/* The line of stripes like these: the last one, or a new one. */
static struct proto_redundancy_line *line_of(struct coord_histogram *histogram,
                                             const struct coord_stripes_key *key, uint8_t total)
{
    size_t count = histogram->line_count;
    struct proto_redundancy_line *line = count > 0 ? &histogram->lines[count - 1] : NULL;
    if (line && line->bucket_id == key->bucket_id && line->data_count == key->data_count &&
        line->total_count == total)
        return line;
    if (count == COORD_HISTOGRAM_LINES)
        return NULL;
    histogram->lines[count] = (struct proto_redundancy_line){
        .bucket_id = key->bucket_id,
        .data_count = key->data_count,
        .total_count = total,
        .levels = histogram->line_levels[count],
        .levels_count = PROTO_LEVELS,
    };
    return &histogram->lines[histogram->line_count++];
}

/* Whether a stripe of the partition is not, or may not be, whole without the OSD: it has a slot, or
 * what was in a slot that ever moved is not good where it is now, so that the copy the OSD kept may
 * be wanted. Who had a slot is known of the last move only, so it is not asked whether that was
 * this one. */
static bool is_needed(const struct coord_histogram *histogram,
                      const struct proto_placement *placement, uint32_t partition, uint64_t bad,
                      uint32_t osd)
{
    uint64_t moved = proto_slots_moved(placement, partition, 0);
    if (moved & (bad | proto_slots_filling(placement, partition)))
        return true;
    for (uint32_t index = 0; index < placement->width; index++) {
        uint32_t owner = proto_slot_osd(placement, partition, index);
        if (owner == osd ||
            (moved >> index & 1 && histogram->trusts.by_id[owner] != PROTO_TRUST_GOOD))
            return true;
    }
    return false;
}

static void partition_add(struct coord_histogram *histogram, struct proto_redundancy_line *line,
                          const struct coord_stripes_key *key,
                          const struct proto_placement *placement, uint32_t partition,
                          uint64_t count)
{
    struct proto_standing standing =
        proto_stripe_standing(&histogram->trusts, placement, partition, key->data_count, key->bad);
    size_t level = proto_level((uint32_t)__builtin_popcountll(standing.good), key->data_count);
    line->levels[level] += count;
    if (__builtin_popcountll(standing.kept) < key->data_count)
        line->lost += count;
    uint64_t filling = proto_slots_filling(placement, partition);
    for (uint32_t index = 0; index < placement->width; index++) {
        uint32_t osd = proto_slot_osd(placement, partition, index);
        size_t place = osd < PROTO_OSD_NONE ? histogram->place_by_id[osd] : 0;
        if (place == 0)
            continue;
        histogram->osd_levels[place - 1][level] += count;
        if (filling >> index & 1)
            histogram->osds[place - 1].filling += count;
    }
    for (size_t i = 0; i < histogram->draining_count; i++) {
        uint32_t osd = histogram->draining[i]->id;
        if (is_needed(histogram, placement, partition, key->bad, osd))
            histogram->osds[histogram->place_by_id[osd] - 1].drain_left += count;
    }
}

bool coord_histogram_add(struct coord_histogram *histogram, const struct coord_stripes_key *key,
                         const struct proto_placement *placement, const uint64_t *stranded,
                         const uint64_t counts[COORD_STRIPES_GROUP])
{
    struct proto_redundancy_line *line = line_of(histogram, key, placement->width);
    if (!line)
        return false;
    for (uint32_t i = 0; i < COORD_STRIPES_GROUP; i++) {
        uint32_t partition = key->partition + i;
        if (counts[i] == 0)
            continue;
        partition_add(histogram, line, key, placement, partition, counts[i]);
        if (stranded && stranded[partition / 64] >> partition % 64 & 1)
            histogram->stranded += counts[i];
    }
    return true;
}
