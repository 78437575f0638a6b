/* From the map and a run's exceptions to where the fragments of a stripe are written to and read
 * from. Pure. */
#include "client/client_priv.h"

#include "base/banned.h"

/* What the map says about an OSD as a place to write to. */
static enum lilio_err write_state(const struct proto_osd *osd)
{
    if (!osd)
        return LILIO_E_UNAVAILABLE;
    switch (osd->state) {
    case PROTO_OSD_UP:
    case PROTO_OSD_SUSPECT: return LILIO_OK;
    case PROTO_OSD_FAILED: return LILIO_E_READ_ONLY;
    case PROTO_OSD_NEW:
    case PROTO_OSD_BLANK: return LILIO_E_BLANK;
    default: return LILIO_E_UNAVAILABLE;
    }
}

bool client_places_write(const struct proto_cluster_map *map, uint32_t placement_id,
                         uint32_t total_count, struct base_oid oid, uint32_t stripe,
                         struct client_place *ret_places, uint32_t *ret_partition)
{
    const struct proto_placement *placement = proto_map_placement(map, placement_id);
    if (!placement || placement->width != total_count)
        return false;
    *ret_partition = proto_partition(placement->partition_bits, oid, stripe);
    for (uint32_t i = 0; i < total_count; i++) {
        uint32_t osd = proto_slot_osd(placement, *ret_partition, i);
        ret_places[i] = (struct client_place){
            .osd = osd,
            .err = write_state(proto_map_osd(map, osd)),
        };
    }
    return true;
}

/* How gladly an OSD is read from, and whether it can hold anything at all. */
static struct client_place read_state(const struct proto_osd *osd, uint32_t id)
{
    struct client_place place = {.osd = id};
    if (!osd) {
        place.err = LILIO_E_UNAVAILABLE;
        return place;
    }
    switch (osd->state) {
    case PROTO_OSD_UP:
    case PROTO_OSD_FAILED: place.rank = osd->complete ? 0 : 1; break;
    case PROTO_OSD_SUSPECT: place.rank = 1; break;
    case PROTO_OSD_NEW:
    case PROTO_OSD_BLANK: place.err = LILIO_E_BLANK; break;
    default: place.rank = 2;
    }
    return place;
}

bool client_place_searchable(const struct proto_osd *osd)
{
    return osd && read_state(osd, osd->id).err == LILIO_OK;
}

/* Who had the slot before may have the fragment still. */
static void other_find(const struct proto_cluster_map *map, uint32_t previous,
                       struct client_place *place)
{
    place->has_other = client_place_searchable(proto_map_osd(map, previous));
    place->other = previous;
}

bool client_places_read(const struct proto_cluster_map *map, const struct proto_data_row *row,
                        uint32_t stripe, struct client_place *ret_places, uint32_t *ret_partition)
{
    uint32_t total_count = (uint32_t)row->profile.data_count + row->profile.parity_count;
    const struct proto_placement *placement = proto_map_placement(map, row->placement);
    if (!placement || placement->width != total_count)
        return false;
    *ret_partition = proto_partition(placement->partition_bits, row->oid, stripe);
    uint64_t missing = proto_row_missing(row, stripe);
    uint64_t filling = proto_row_filling(map, row, stripe);
    for (uint32_t i = 0; i < total_count; i++) {
        uint32_t osd = proto_fragment_osd(map, row, stripe, i);
        ret_places[i] = read_state(proto_map_osd(map, osd), osd);
        if (filling >> i & 1) {
            ret_places[i].filling = true;
            ret_places[i].rank += ret_places[i].rank == 0;
        }
        if (missing >> i & 1) {
            ret_places[i].known_bad = true;
            ret_places[i].rank = 2;
        }
        if ((filling | missing) >> i & 1)
            other_find(map, proto_fragment_previous(map, row, stripe, i), &ret_places[i]);
    }
    return true;
}
