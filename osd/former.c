#include "osd/former.h"

#include <inttypes.h>

#include "base/mark.h"

#include "base/banned.h"

enum { PAUSE_MS = 2, MAY_GO = 3 };

static struct osd_node *node_of(const struct osd_former *former)
{
    return former->worker->node;
}

/* In a slot that moved away from here. */
static bool has_moved_away(const struct osd_former *former, const struct proto_placement *placement,
                           const struct base_fragment_key *key)
{
    uint32_t self = osd_node_id(node_of(former));
    return placement && key->index < placement->width &&
           key->partition >> placement->partition_bits == 0 &&
           proto_slots_moved(placement, key->partition, 0) >> key->index & 1 &&
           proto_slot_osd(placement, key->partition, key->index) != self;
}

/* In a slot that moved away from here, not later than at the epoch, and is filled. */
static bool is_former(const struct osd_former *former, const struct proto_cluster_map *map,
                      const struct base_fragment_key *key, uint64_t epoch)
{
    const struct proto_placement *placement = proto_map_placement(map, key->placement);
    return has_moved_away(former, placement, key) &&
           proto_slots_moved(placement, key->partition, epoch) == 0 &&
           proto_slots_filling(placement, key->partition) == 0;
}

/* Whether all OSDs of the partition are there: else nothing of it is granted, and asking about each
 * fragment would fill the log for as long as one of them is away. */
static bool is_well(const struct proto_cluster_map *map, const struct base_fragment_key *key)
{
    const struct proto_placement *placement = proto_map_placement(map, key->placement);
    for (uint32_t index = 0; placement && index < placement->width; index++) {
        const struct proto_osd *osd =
            proto_map_osd(map, proto_slot_osd(placement, key->partition, index));
        if (!osd || (osd->state != PROTO_OSD_UP && osd->state != PROTO_OSD_SUSPECT) ||
            !osd->complete)
            return false;
    }
    return placement != NULL;
}

/* ---- on the owner's thread ---- */

/* The store of the disk the round began with. */
static enum lilio_err store_get(struct osd_former *former, struct osd_store **ret,
                                struct lilio_errinfo *info)
{
    struct osd_node_view view;
    osd_node_view(node_of(former), &view);
    *ret = osd_home_store(former->home);
    if (!*ret || view.state != OSD_NODE_SERVING ||
        !base_uuid_equal(view.disk_uuid, former->disk_uuid))
        return lilio_fail(info, LILIO_E_UNAVAILABLE, "this OSD does not serve");
    return LILIO_OK;
}

static enum lilio_err run_list(void *context, struct lilio_errinfo *info)
{
    struct osd_former *former = context;
    struct base_fragment_key after;
    struct osd_store *store;
    enum lilio_err err = store_get(former, &store, info);
    bool go_on = former->page_count > 0;
    if (go_on)
        after = former->page[former->page_count - 1];
    if (!err)
        err =
            store->ops->list(store, go_on ? &after : NULL, former->page,
                             sizeof former->page / sizeof *former->page, &former->page_count, info);
    return err;
}

static uint64_t bytes_of(struct osd_store *store, const struct base_fragment_key *keys,
                         size_t count)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t length, checksum;
        if (!store->ops->look(store, &keys[i], &length, &checksum, NULL))
            bytes += length;
    }
    return bytes;
}

/* A fill of a slot that came back begins with the map that says so. */
static enum lilio_err run_remove(void *context, struct lilio_errinfo *info)
{
    struct osd_former *former = context;
    struct osd_store *store;
    enum lilio_err err = store_get(former, &store, info);
    struct proto_map_ref *map = osd_node_map_take(node_of(former));
    size_t count = 0;
    for (size_t i = 0; i < former->found_count && map; i++)
        if (is_former(former, proto_map_ref_get(map), &former->found[i], UINT64_MAX))
            former->found[count++] = former->found[i];
    proto_map_ref_drop(&map);
    uint64_t bytes = err ? 0 : bytes_of(store, former->found, count);
    if (!err && count > 0)
        err = store->ops->remove(store, former->found, count, info);
    former->swept += err ? 0 : count;
    former->swept_bytes += err ? 0 : bytes;
    return err;
}

/* ---- on the worker's ---- */

/* Asks about what was found, and deletes what may go. */
static enum lilio_err sweep(struct osd_former *former, struct lilio_errinfo *info)
{
    struct proto_former fragments[OSD_FORMER_BATCH];
    struct proto_formers_answer answer;
    size_t count = 0;
    if (former->found_count == 0)
        return LILIO_OK;
    for (size_t i = 0; i < former->found_count; i++)
        fragments[i] = (struct proto_former){.oid = former->found[i].oid,
                                             .stripe = former->found[i].stripe,
                                             .index = (uint8_t)former->found[i].index};
    struct proto_formers_sweep command = {
        .osd = osd_node_id(node_of(former)),
        .incarnation = former->incarnation,
        .fragments = fragments,
        .fragments_count = former->found_count,
    };
    enum lilio_err err =
        osd_worker_call(former->worker, &proto_type_formers_sweep, &command,
                        &proto_type_formers_answer, former->worker->arena, &answer, info);
    if (!err && answer.verdicts.size != former->found_count)
        err = lilio_fail(info, LILIO_E_MALFORMED, "%zu verdicts about %zu fragments",
                         answer.verdicts.size, former->found_count);
    for (size_t i = 0; i < former->found_count && !err; i++)
        if (answer.verdicts.data[i] == MAY_GO)
            former->found[count++] = former->found[i];
    former->found_count = err ? 0 : count;
    if (!err && count > 0)
        err = osd_node_call(node_of(former), run_remove, former, info);
    former->found_count = 0;
    return err;
}

static enum lilio_err walk(struct osd_former *former, const struct proto_cluster_map *map,
                           uint64_t epoch, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    struct base_fragment_key last = {.partition = UINT32_MAX};
    bool well = false; /* the partition of the last one */
    former->page_count = former->found_count = 0;
    do {
        err = osd_node_call(node_of(former), run_list, former, info);
        for (size_t i = 0; i < former->page_count && !err; i++) {
            const struct base_fragment_key *key = &former->page[i];
            if (!is_former(former, map, key, epoch))
                continue;
            if (key->placement != last.placement || key->partition != last.partition)
                well = is_well(map, key);
            last = *key;
            if (!well)
                continue;
            former->found[former->found_count++] = *key;
            if (former->found_count == OSD_FORMER_BATCH)
                err = sweep(former, info);
        }
        if (!err && !osd_link_sleep(former->worker->link, -1, PAUSE_MS))
            err = lilio_fail(info, LILIO_E_CANCELLED, "this OSD is stopping");
    } while (!err && former->page_count == sizeof former->page / sizeof *former->page);
    return err ? err : sweep(former, info);
}

static bool has_moved(const struct proto_cluster_map *map)
{
    bool moved = false;
    for (size_t i = 0; i < map->placements_count; i++)
        moved |= map->placements[i].changed.size > 0;
    return moved;
}

static bool is_over(const struct osd_former *former, uint64_t now_ms)
{
    return former->epoch > 0 && now_ms - former->seen_ms >= former->retention_ms;
}

/* The epoch up to which moves are old enough; 0: none is. */
static uint64_t epoch_of(struct osd_former *former, const struct proto_cluster_map *map, bool now)
{
    uint64_t now_ms = base_now_ms(osd_node_clock(node_of(former)));
    uint64_t epoch = 0;
    bool over = is_over(former, now_ms);
    if (over)
        epoch = former->epoch;
    if (over || former->epoch == 0) {
        former->epoch = map->epoch;
        former->seen_ms = now_ms;
    }
    return now ? map->epoch : epoch;
}

enum lilio_err osd_former_round(struct osd_former *former, bool now, struct lilio_errinfo *info)
{
    struct osd_node_view view;
    struct proto_map_ref *ref = osd_node_map_take(node_of(former));
    const struct proto_cluster_map *map = ref ? proto_map_ref_get(ref) : NULL;
    osd_node_view(node_of(former), &view);
    former->disk_uuid = view.disk_uuid;
    former->incarnation = view.incarnation;
    uint64_t before = former->swept;
    uint64_t epoch = map && has_moved(map) ? epoch_of(former, map, now) : 0;
    enum lilio_err err = epoch > 0 ? walk(former, map, epoch, info) : LILIO_OK;
    proto_map_ref_drop(&ref);
    if (former->swept > before) {
        LILIO_MARK("osd/former_swept");
        base_log_write(osd_node_log(node_of(former)), BASE_LOG_INFO, "former", "swept",
                       "fragments=%" PRIu64, former->swept - before);
    }
    return err;
}

enum osd_former_why osd_former_why(const struct osd_former *former,
                                   const struct proto_cluster_map *map,
                                   const struct base_fragment_key *key)
{
    const struct proto_placement *placement = proto_map_placement(map, key->placement);
    uint64_t epoch =
        is_over(former, base_now_ms(osd_node_clock(node_of(former)))) ? former->epoch : 0;
    if (!has_moved_away(former, placement, key))
        return OSD_FORMER_NONE;
    if (proto_slots_filling(placement, key->partition) != 0)
        return OSD_FORMER_FILLS;
    if (!is_well(map, key))
        return OSD_FORMER_AWAY;
    return proto_slots_moved(placement, key->partition, epoch) ? OSD_FORMER_FRESH : OSD_FORMER_DUE;
}
