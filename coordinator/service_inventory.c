/* What OSDs have, compared with what they have to have, as sums: theirs come with the question, the
 * maps' are rows (state_inventory.c). The answer holds for one applied index; an OSD that was told
 * once that a slot is the same had everything then. */
#include "base/mark.h"
#include "coordinator/service_priv.h"

#include "base/banned.h"

enum verdict { SAME = 1, DIFFERS = 2, NOT_YOURS = 3 };
enum phase { PHASE_WANTED = 1, PHASE_WALK = 3 }; /* of a report */

/* Whether the slot is this OSD's, and all of it. */
static bool is_own(const struct proto_inventory_ask *ask, const struct proto_inventory_item *item,
                   const struct proto_placement *placement)
{
    return placement && item->partition >> placement->partition_bits == 0 &&
           item->slot < placement->width &&
           proto_slot_osd(placement, item->partition, item->slot) == ask->osd &&
           !(proto_slots_filling(placement, item->partition) >> item->slot & 1);
}

static enum lilio_err verdicts_make(struct coord_service *service,
                                    const struct proto_inventory_ask *ask, uint8_t *ret_verdicts,
                                    struct lilio_errinfo *info)
{
    const struct proto_placement *placement = coord_state_placement(service->state, ask->placement);
    enum lilio_err err = LILIO_OK;
    for (size_t i = 0; i < ask->items_count && !err; i++) {
        const struct proto_inventory_item *item = &ask->items[i];
        uint64_t sum = 0;
        ret_verdicts[i] = NOT_YOURS;
        if (!is_own(ask, item, placement))
            continue;
        err = coord_inventory_sum(service->state, ask->placement, item->partition, item->slot, &sum,
                                  info);
        ret_verdicts[i] = sum == item->sum ? SAME : DIFFERS;
    }
    return err;
}

void service_inventory_read(struct coord_service *service, const struct coord_request *request)
{
    struct proto_inventory_ask ask;
    struct lilio_errinfo info = {0};
    if (!service_body(service, request, &ask))
        return;
    size_t place = coord_state_osd_find(service->state, ask.osd);
    if (place == SIZE_MAX ||
        coord_state_osd_at(service->state, place)->incarnation != ask.incarnation) {
        service_refuse(service, request, LILIO_E_INVALID,
                       "the cluster has no such incarnation of this OSD");
        return;
    }
    uint8_t *verdicts = proto_arena_take(service->arena, ask.items_count + 1);
    enum lilio_err err = verdicts ? verdicts_make(service, &ask, verdicts, &info) : LILIO_E_NOMEM;
    if (err) {
        service_refuse(service, request, err, info.text);
        return;
    }
    struct proto_inventory_answer answer = {
        .index = coord_state_row(service->state)->applied_index,
        .verdicts = base_slice(verdicts, ask.items_count),
    };
    service_reply(service, request, &proto_type_inventory_answer, &answer);
}

/* ---- what heartbeats tell of it ---- */

void service_inventory_note(struct coord_service *service, size_t place,
                            const struct proto_osd_heartbeat *beat)
{
    struct live_osd *live = &service->osds[place];
    live->has_inventory = beat->inventory_count > 0;
    live->compares = false;
    if (!live->has_inventory)
        return;
    uint8_t phase = beat->inventory[0].phase;
    live->compares = phase >= PHASE_WANTED && phase <= PHASE_WALK;
    live->inventory = beat->inventory[0];
    live->inventory.osd = beat->osd;
    size_t size = live->inventory.reason.size;
    size = size < sizeof live->inventory_reason ? size : sizeof live->inventory_reason;
    if (size > 0)
        memcpy(live->inventory_reason, live->inventory.reason.data, size);
    live->inventory.reason = base_slice(live->inventory_reason, size);
}

bool service_inventory_status(struct coord_service *service, struct proto_status *ret)
{
    size_t count = coord_state_osd_count(service->state);
    ret->inventories = proto_arena_take(service->arena, (count + 1) * sizeof *ret->inventories);
    ret->osd_held_ms = proto_arena_take(service->arena, (count + 1) * sizeof *ret->osd_held_ms);
    if (!ret->inventories || !ret->osd_held_ms)
        return false;
    for (size_t i = 0; i < count && service->leads; i++) {
        const struct live_osd *live = &service->osds[i];
        if (live->heard && live->has_inventory)
            ret->inventories[ret->inventories_count++] = live->inventory;
        ret->osd_held_ms[ret->osd_held_ms_count++] = service_osd_held_ms(service, i);
    }
    return true;
}

/* ---- what nobody needs any more ---- */

/* Whether everybody who is up is known to have what the maps say. An OSD that came back with an
 * older copy of its disk, or OSDs that went on while older maps were put back, have not what the
 * maps think of them before they have compared. */
static bool all_compared(const struct coord_service *service)
{
    if (service_now_ms(service) - service->led_ms < service->options.down_ms)
        return false; /* not all have told */
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
        if (coord_state_osd_at(service->state, i)->state == PROTO_OSD_UP &&
            service->osds[i].compares)
            return false;
    return true;
}

void service_formers(struct coord_service *service, const struct coord_request *request)
{
    struct proto_formers_sweep sweep;
    if (all_compared(service)) {
        service_propose_request(service, request);
        return;
    }
    if (!service_body(service, request, &sweep))
        return;
    uint8_t *verdicts = proto_arena_take(service->arena, sweep.fragments_count + 1);
    if (!verdicts) {
        service_refuse(service, request, LILIO_E_NOMEM, NULL);
        return;
    }
    memset(verdicts, COORD_FORMER_STAYS, sweep.fragments_count);
    struct proto_formers_answer answer = {
        .index = coord_state_row(service->state)->applied_index,
        .verdicts = base_slice(verdicts, sweep.fragments_count),
    };
    service_reply(service, request, &proto_type_formers_answer, &answer);
}
