/* Slots of OSDs that were given up or drain go to others: the leader plans, an entry at a time,
 * until there is nothing left that could move. Then it waits for a map that says something new.
 * Slots that fill on an OSD that turns out to be full go on to others that have room.
 *
 * An OSD is given up by rule 9 (may_be_out), because it is out, or blank or failed for as long;
 * before its slots move everybody had the time to be heard by this leader, and one OSD, or at most
 * a third of them, is away. One that has nothing left counts for nothing any more: the next one
 * that goes is healed as the first one was.
 */
#include "coordinator/service_priv.h"

#include <stdio.h>

#include "base/mark.h"
#include "proto/moves.h"

#include "base/banned.h"

static const struct proto_osd *row_at(const struct coord_service *service, size_t place)
{
    return coord_state_osd_at(service->state, place);
}

/* All OSDs of the map with their room, one behind the other, in the arena. */
static struct proto_osd *osds_list(struct coord_service *service, size_t *ret_count)
{
    *ret_count = coord_state_osd_count(service->state);
    struct proto_osd *osds = proto_arena_take(service->arena, (*ret_count + 1) * sizeof *osds);
    for (size_t i = 0; osds && i < *ret_count; i++)
        osds[i] = service_osd_told(service, i);
    return osds;
}

/* Nothing moves to an OSD that is held back. True if there is one. */
static bool held_leave_out(const struct coord_service *service, struct proto_osd *osds,
                           size_t count)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        if (osds[i].state != PROTO_OSD_UP || service_osd_held_ms(service, i) == 0)
            continue;
        osds[i].state = PROTO_OSD_SUSPECT;
        any = true;
    }
    return any;
}

/* Whether it is there to fill its slots, and has room. */
static bool is_filling(const struct coord_service *service, uint32_t osd)
{
    size_t place = coord_state_osd_find(service->state, osd);
    return place != SIZE_MAX && row_at(service, place)->state == PROTO_OSD_UP &&
           !service_fill_full(service, place);
}

/* What of an OSD is in the slot tables: slots of its own; slots that fill from it, on OSDs that are
 * there to fill them and can. */
enum { OWNS = 1, FEEDS = 2 };

static void holdings_note(struct coord_service *service, const struct proto_placement *placement,
                          uint32_t partition)
{
    uint8_t *holdings = service->moves.holdings;
    uint64_t filling = proto_slots_filling(placement, partition);
    for (uint32_t slot = 0; slot < placement->width; slot++) {
        uint32_t owner = proto_slot_osd(placement, partition, slot);
        holdings[owner] |= OWNS;
        if (filling >> slot & 1 && is_filling(service, owner))
            holdings[proto_slot_previous(placement, partition, slot)] |= FEEDS;
    }
}

/* One walk over the tables for each map, and each time somebody is found full or is full no more:
 * with many OSDs away they are all asked about at each tick. */
static uint8_t holding_of(struct coord_service *service, uint32_t osd)
{
    struct moves *moves = &service->moves;
    uint64_t epoch = coord_state_row(service->state)->epoch;
    if (moves->holdings_epoch != epoch) {
        memset(moves->holdings, 0, sizeof moves->holdings);
        for (size_t p = 0; p < coord_state_placement_count(service->state); p++) {
            const struct proto_placement *placement = coord_state_placement_at(service->state, p);
            for (uint32_t i = 0; i < 1u << placement->partition_bits; i++)
                holdings_note(service, placement, i);
        }
        moves->holdings_epoch = epoch;
    }
    return osd < PROTO_OSD_NONE ? moves->holdings[osd] : 0;
}

bool service_moves_concern(struct coord_service *service, uint32_t osd)
{
    return holding_of(service, osd) != 0;
}

void service_moves_again(struct coord_service *service)
{
    service->moves.planned_epoch = service->moves.holdings_epoch = 0;
}

bool service_moves_under_way(struct coord_service *service, uint32_t osd)
{
    uint8_t holding = holding_of(service, osd);
    bool planned = service->moves.planned_epoch == coord_state_row(service->state)->epoch;
    return holding & FEEDS || (holding & OWNS && !planned);
}

/* It is not there, or has nothing. */
static bool is_away(uint8_t state)
{
    return state == PROTO_OSD_OUT || state == PROTO_OSD_BLANK || state == PROTO_OSD_DOWN;
}

/* What it has cannot be read, or nothing can be written to it, for good unless somebody comes. */
static bool is_useless(uint8_t state)
{
    return state == PROTO_OSD_OUT || state == PROTO_OSD_BLANK || state == PROTO_OSD_FAILED;
}

bool service_moves_few_away(struct coord_service *service, bool failed)
{
    size_t members = 0, away = 0;
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++) {
        const struct proto_osd *osd = row_at(service, i);
        bool counts = is_away(osd->state) || (failed && osd->state == PROTO_OSD_FAILED);
        if (osd->incarnation == 0 || (counts && !service_moves_concern(service, osd->id)))
            continue;
        members++;
        away += counts;
    }
    return away <= 1 || 3 * away <= members;
}

static bool may_move(struct coord_service *service)
{
    return service_now_ms(service) - service->led_ms >= service->options.down_ms &&
           service_moves_few_away(service, /* failed */ false);
}

/* Proposes moves of what the OSD has in the placement; unfilled: of slots that fill, to OSDs with
 * room. False if there are none. */
static bool moves_propose(struct coord_service *service, const struct proto_osd *osds, size_t count,
                          const struct proto_placement *placement, uint32_t from, bool unfilled)
{
    struct proto_move moves[COORD_MOVES_MAX];
    struct proto_slot_step steps[COORD_MOVES_MAX];
    struct proto_moves plan = {.unfilled = unfilled, .moves = moves, .room = COORD_MOVES_MAX};
    struct lilio_errinfo info = {0};
    if (proto_moves_plan(osds, count, placement, from, &plan, &info)) {
        base_log_write(service->options.log, BASE_LOG_ERROR, "moves", "no_plan", "text=%s",
                       info.text);
        return false;
    }
    if (plan.stuck_count > 0 && !unfilled)
        LILIO_MARK("coordinator/slot_stranded");
    for (size_t i = 0; i < plan.count; i++)
        steps[i] = (struct proto_slot_step){
            .placement = placement->id,
            .partition = moves[i].partition,
            .slot = (uint8_t)moves[i].slot,
            .from = from,
            .to = moves[i].to,
        };
    struct proto_slots_move entry = {.steps = steps, .steps_count = plan.count};
    if (plan.count == 0)
        return false;
    if (service_propose(service, &proto_type_slots_move, &entry)) {
        LILIO_MARK("coordinator/slots_move");
        service->moves.round = service->round;
        base_log_write(service->options.log, BASE_LOG_WARN, "moves", "slots",
                       "osd=%u placement=%u count=%zu stuck=%zu", from, placement->id, plan.count,
                       plan.stuck_count);
    }
    return true; /* or there was no room: at the next tick */
}

/* What one OSD could not fill does not go to another that could not either. */
static void no_room_leave_out(const struct coord_service *service, struct proto_osd *osds,
                              size_t count)
{
    for (size_t i = 0; osds && i < count; i++)
        if (service_fill_no_room(service, i))
            osds[i].state = PROTO_OSD_SUSPECT;
}

/* Likewise in all placements, one at a time. */
static bool osd_moves_propose(struct coord_service *service, const struct proto_osd *osds,
                              size_t count, size_t place, bool unfilled)
{
    for (size_t p = 0; p < coord_state_placement_count(service->state); p++)
        if (moves_propose(service, osds, count, coord_state_placement_at(service->state, p),
                          osds[place].id, unfilled))
            return true;
    return false;
}

/* Whether its slots are to go to others. */
static bool is_leaving(const struct coord_service *service, size_t place)
{
    const struct proto_osd *osd = row_at(service, place);
    return service_osd_given_up(service, place) || (osd->draining && osd->incarnation > 0);
}

void service_moves_tick(struct coord_service *service)
{
    struct moves *moves = &service->moves;
    uint64_t epoch = coord_state_row(service->state)->epoch;
    if (moves->round > service->done_round || moves->planned_epoch == epoch || !may_move(service))
        return;
    size_t count;
    struct proto_osd *osds = osds_list(service, &count);
    bool held = osds && held_leave_out(service, osds, count);
    for (size_t i = 0; osds && i < count; i++)
        if (is_leaving(service, i) &&
            osd_moves_propose(service, osds, count, i, /* unfilled */ false))
            return;
    no_room_leave_out(service, osds, count);
    for (size_t i = 0; osds && i < count; i++)
        if (service_fill_waits_for_room(service, i) &&
            osd_moves_propose(service, osds, count, i, /* unfilled */ true))
            return;
    if (osds && !held)
        moves->planned_epoch = epoch;
}

void service_moves_lead(struct coord_service *service)
{
    memset(&service->moves, 0, sizeof service->moves);
}

uint64_t *service_moves_stranded(struct coord_service *service,
                                 const struct proto_placement *placement)
{
    size_t count, words = ((size_t)1 << placement->partition_bits) / 64 + 1;
    struct proto_osd *osds = osds_list(service, &count);
    uint64_t *stuck = proto_arena_take(service->arena, words * sizeof *stuck);
    for (size_t i = 0; osds && stuck && i < count; i++) {
        struct proto_moves plan = {.stuck = stuck};
        if (is_useless(osds[i].state) &&
            proto_moves_plan(osds, count, placement, osds[i].id, &plan, NULL))
            return NULL;
    }
    return osds ? stuck : NULL;
}

/* ---- draining ---- */

/* Whether it may have a slot of the OSD that is to go. */
static bool may_take(const struct coord_service *service, const struct proto_osd *osds,
                     size_t count, uint32_t from, const struct proto_osd *to)
{
    if (to->state != PROTO_OSD_UP || to->weight == 0)
        return false;
    for (size_t p = 0; p < coord_state_placement_count(service->state); p++) {
        const struct proto_placement *placement = coord_state_placement_at(service->state, p);
        for (uint32_t i = 0; i >> placement->partition_bits == 0; i++)
            for (uint32_t slot = 0; slot < placement->width; slot++)
                if (proto_slot_osd(placement, i, slot) == from &&
                    proto_move_allowed(osds, count, placement, i, slot, to->id))
                    return true;
    }
    return false;
}

/* Bytes that the OSD has and those that may take its slots have no room for, all together. 0 also
 * where nobody may, which the command says, and where one of them has not told its room yet. */
static uint64_t drain_lacks(struct coord_service *service, size_t place, uint64_t *ret_room)
{
    size_t count, takers = 0;
    const struct proto_osd *osds = osds_list(service, &count);
    *ret_room = 0;
    for (size_t i = 0; osds && i < count; i++) {
        if (!may_take(service, osds, count, osds[place].id, &osds[i]))
            continue;
        takers++;
        if (__builtin_add_overflow(*ret_room, proto_osd_room(&osds[i]), ret_room))
            return 0;
    }
    return takers > 0 && osds[place].used_bytes > *ret_room ? osds[place].used_bytes - *ret_room
                                                            : 0;
}

static unsigned long long mib(uint64_t bytes)
{
    return (bytes + (1 << 20) - 1) >> 20;
}

void service_drain(struct coord_service *service, const struct coord_request *request)
{
    struct proto_osd_drain drain;
    char text[256];
    uint64_t room = 0, lacks = 0;
    if (!service_body(service, request, &drain))
        return;
    size_t place = coord_state_osd_find(service->state, drain.osd);
    if (drain.step == COORD_DRAIN_BEGIN && place != SIZE_MAX && !row_at(service, place)->draining)
        lacks = drain_lacks(service, place, &room);
    if (lacks == 0) {
        service_propose_request(service, request);
        return;
    }
    (void)snprintf(text, sizeof text,
                   "osd.%u holds %llu MiB, and the OSDs that may take its slots have room for %llu "
                   "MiB: %llu MiB are missing",
                   drain.osd, mib(service->osds[place].used_bytes),
                   (unsigned long long)(room >> 20), mib(lacks));
    service_refuse(service, request, LILIO_E_PRECONDITION, text);
}
