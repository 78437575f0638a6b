/* How a plan is made. For each slot that has to go, the OSDs that may have it are those the failure
 * domains of the partition leave room for, without those that are nearly full unless all are. Of
 * these the ones with the least load, slots per weight, are left; the first of them behind the
 * partition's position on the ring gets the slot. Load counts what was planned before, so that the
 * slots of one OSD spread over all others.
 */
#include "proto/moves.h"

#include <stdlib.h>

#include "base/disk.h"
#include "proto/ring_priv.h"
#include "proto/rule_priv.h"

#include "base/banned.h"

static const struct proto_osd *osd_find(const struct proto_osd *osds, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (osds[i].id == id)
            return &osds[i];
    return NULL;
}

/* ---- what is allowed ---- */

/* The OSDs of the partition's other slots; NULL where there is none. */
struct others {
    const struct proto_osd *osds[64];
    uint32_t count;
};

static struct others others_of(const struct proto_osd *osds, size_t osd_count,
                               const struct proto_placement *placement, uint32_t partition,
                               uint32_t slot)
{
    struct others others = {.count = placement->width < 64 ? placement->width : 64};
    for (uint32_t i = 0; i < others.count; i++)
        if (i != slot)
            others.osds[i] = osd_find(osds, osd_count, proto_slot_osd(placement, partition, i));
    return others;
}

static bool is_allowed(const struct proto_rule *rule, const struct others *others,
                       const struct proto_osd *to)
{
    unsigned there = 0;
    for (uint32_t i = 0; i < others->count; i++) {
        if (!others->osds[i])
            continue;
        if (others->osds[i]->id == to->id)
            return false;
        there += proto_rule_same_domain(rule, others->osds[i], to);
    }
    return there < rule->limit;
}

bool proto_move_allowed(const struct proto_osd *osds, size_t osd_count,
                        const struct proto_placement *placement, uint32_t partition, uint32_t slot,
                        uint32_t to)
{
    struct proto_rule rule;
    const struct proto_osd *osd = osd_find(osds, osd_count, to);
    if (!osd || osd->draining || partition >> placement->partition_bits != 0 ||
        slot >= placement->width || proto_slot_osd(placement, partition, slot) == to ||
        proto_rule_parse(placement->rule, &rule, NULL))
        return false;
    struct others others = others_of(osds, osd_count, placement, partition, slot);
    return is_allowed(&rule, &others, osd);
}

/* ---- room ---- */

uint64_t proto_osd_room(const struct proto_osd *osd)
{
    uint64_t reserve = base_disk_reserve_bytes(osd->capacity_bytes);
    if (osd->capacity_bytes == 0)
        return UINT64_MAX;
    return osd->free_bytes > reserve ? osd->free_bytes - reserve : 0;
}

bool proto_osd_nearly_full(const struct proto_osd *osd)
{
    return proto_osd_room(osd) < base_disk_reserve_bytes(osd->capacity_bytes);
}

/* ---- the plan ---- */

struct plan {
    const struct proto_osd *osds;
    size_t osd_count;
    struct proto_placement placement; /* as planned so far; its slots are our own */
    uint8_t *slots;
    struct proto_rule rule;
    const struct proto_osd **members; /* that may take slots, by id */
    uint64_t *loads;                  /* of the members */
    bool *eligible;                   /* in the slot at hand */
    size_t member_count;
    struct proto_ring ring;
};

static int by_id(const void *a, const void *b)
{
    const struct proto_osd *const *x = a, *const *y = b;
    return (*x)->id < (*y)->id ? -1 : (*x)->id > (*y)->id;
}

static void members_find(struct plan *plan, uint32_t from)
{
    for (size_t i = 0; i < plan->osd_count; i++) {
        const struct proto_osd *osd = &plan->osds[i];
        if (osd->state == PROTO_OSD_UP && osd->weight > 0 && osd->incarnation > 0 &&
            !osd->draining && osd->id != from && osd->id < PROTO_OSD_NONE)
            plan->members[plan->member_count++] = osd;
    }
    qsort(plan->members, plan->member_count, sizeof *plan->members, by_id);
}

static void loads_count(struct plan *plan)
{
    for (size_t at = 0; at + 2 <= plan->placement.slots.size; at += 2) {
        struct proto_osd wanted = {.id = base_le16_get(plan->slots + at)};
        const struct proto_osd *key = &wanted, **member;
        member = bsearch(&key, plan->members, plan->member_count, sizeof *plan->members, by_id);
        if (member)
            plan->loads[member - plan->members]++;
    }
}

static enum lilio_err plan_init(struct plan *plan, const struct proto_placement *placement,
                                uint32_t from, struct lilio_errinfo *info)
{
    size_t room = plan->osd_count + 1;
    plan->placement = *placement;
    plan->members = calloc(room, sizeof *plan->members);
    plan->loads = calloc(room, sizeof *plan->loads);
    plan->eligible = calloc(room, sizeof *plan->eligible);
    plan->slots = malloc(placement->slots.size + 1);
    if (!plan->members || !plan->loads || !plan->eligible || !plan->slots)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a plan");
    if (placement->slots.size > 0)
        memcpy(plan->slots, placement->slots.data, placement->slots.size);
    plan->placement.slots = base_slice(plan->slots, placement->slots.size);
    members_find(plan, from);
    loads_count(plan);
    enum lilio_err err = proto_rule_parse(placement->rule, &plan->rule, info);
    return err ? err : proto_ring_init(plan->members, plan->member_count, &plan->ring, info);
}

static void plan_release(struct plan *plan)
{
    proto_ring_release(&plan->ring);
    free(plan->members);
    free(plan->loads);
    free(plan->eligible);
    free(plan->slots);
}

/* Whether a has less load per weight than b. */
static bool is_lighter(const struct plan *plan, size_t a, size_t b)
{
    return plan->loads[a] * plan->members[b]->weight < plan->loads[b] * plan->members[a]->weight;
}

/* The members that may have the slot and have the least load; false if nobody may. */
static bool eligible_find(struct plan *plan, uint32_t partition, uint32_t slot, bool full_ones)
{
    struct others others =
        others_of(plan->osds, plan->osd_count, &plan->placement, partition, slot);
    size_t best = SIZE_MAX;
    for (size_t m = 0; m < plan->member_count; m++) {
        plan->eligible[m] = (full_ones || !proto_osd_nearly_full(plan->members[m])) &&
                            is_allowed(&plan->rule, &others, plan->members[m]);
        if (plan->eligible[m] && (best == SIZE_MAX || is_lighter(plan, m, best)))
            best = m;
    }
    for (size_t m = 0; m < plan->member_count && best != SIZE_MAX; m++)
        plan->eligible[m] = plan->eligible[m] && !is_lighter(plan, best, m);
    return best != SIZE_MAX;
}

/* The first eligible one on the ring; there is one. */
static size_t ring_choose(const struct plan *plan, uint32_t partition)
{
    uint8_t bits = plan->placement.partition_bits;
    uint64_t position = bits ? (uint64_t)partition << (64 - bits) : 0;
    size_t at = proto_ring_find(&plan->ring, position);
    while (!plan->eligible[plan->ring.points[at].osd])
        at = (at + 1) % plan->ring.count;
    return plan->ring.points[at].osd;
}

static void slot_plan(struct plan *plan, struct proto_move move, struct proto_moves *ret)
{
    if (!eligible_find(plan, move.partition, move.slot, /* full ones */ false) &&
        (ret->unfilled || !eligible_find(plan, move.partition, move.slot, /* full ones */ true))) {
        ret->stuck_count++;
        if (ret->stuck)
            ret->stuck[move.partition / 64] |= UINT64_C(1) << move.partition % 64;
        return;
    }
    size_t chosen = ring_choose(plan, move.partition);
    move.to = plan->members[chosen]->id;
    plan->loads[chosen]++;
    base_le16_put(plan->slots + 2 * ((size_t)move.partition * plan->placement.width + move.slot),
                  (uint16_t)move.to);
    if (ret->count < ret->room)
        ret->moves[ret->count++] = move;
}

static bool is_asked_for(const struct proto_placement *placement, uint32_t partition, uint32_t slot,
                         uint32_t from, bool unfilled)
{
    return proto_slot_osd(placement, partition, slot) == from &&
           (!unfilled || proto_slots_filling(placement, partition) >> slot & 1);
}

bool proto_placement_has(const struct proto_placement *placement, uint32_t osd)
{
    for (size_t at = 0; at + 2 <= placement->slots.size; at += 2)
        if (base_le16_get(placement->slots.data + at) == osd)
            return true;
    return false;
}

enum lilio_err proto_moves_plan(const struct proto_osd *osds, size_t osd_count,
                                const struct proto_placement *placement, uint32_t from,
                                struct proto_moves *ret, struct lilio_errinfo *info)
{
    struct plan plan = {.osds = osds, .osd_count = osd_count};
    ret->count = ret->stuck_count = 0;
    if (!proto_placement_has(placement, from))
        return LILIO_OK;
    enum lilio_err err = plan_init(&plan, placement, from, info);
    for (uint32_t partition = 0; !err && partition >> placement->partition_bits == 0; partition++)
        for (uint32_t slot = 0; slot < placement->width; slot++)
            if (is_asked_for(placement, partition, slot, from, ret->unfilled))
                slot_plan(&plan, (struct proto_move){partition, slot, from, PROTO_OSD_NONE}, ret);
    plan_release(&plan);
    return err;
}

/* ---- changing the tables ---- */

/* A copy as long as it has to be; what there was not is full of `fill`. */
static bool table_unfold(struct proto_arena *arena, struct base_slice *table, size_t size,
                         uint8_t fill)
{
    uint8_t *copy = proto_arena_take(arena, size);
    if (!copy)
        return false;
    if (table->size == size)
        memcpy(copy, table->data, size);
    else
        memset(copy, fill, size);
    *table = base_slice(copy, size);
    return true;
}

bool proto_placement_unfold(const struct proto_placement *placement, struct proto_arena *arena,
                            struct proto_placement *ret)
{
    size_t slots = (size_t)placement->width << placement->partition_bits;
    size_t epochs = (size_t)8 << placement->partition_bits;
    bool known = placement->changed.size == 0; /* nothing moved before this table was kept */
    *ret = *placement;
    return table_unfold(arena, &ret->slots, 2 * slots, 0xff) &&
           table_unfold(arena, &ret->filling, (slots + 7) / 8, 0) &&
           table_unfold(arena, &ret->previous, 2 * slots, 0xff) &&
           table_unfold(arena, &ret->moved, (slots + 7) / 8, 0) &&
           table_unfold(arena, &ret->changed, epochs, 0) &&
           table_unfold(arena, &ret->changed_before, epochs, known ? 0 : 0xff) &&
           table_unfold(arena, &ret->moved_last, (slots + 7) / 8, 0);
}

/* Unfolded tables are our own. */
static uint8_t *bytes_of(struct base_slice table)
{
    return (uint8_t *)(uintptr_t)table.data;
}

static void bit_put(struct base_slice table, size_t at, bool value)
{
    uint8_t *byte = bytes_of(table) + at / 8, bit = (uint8_t)(1u << at % 8);
    *byte = (uint8_t)(value ? *byte | bit : *byte & ~bit);
}

/* again: the slot has another one before that, whose fragments it may lack. */
static void change_note(struct proto_placement *placement, uint32_t partition, uint64_t epoch,
                        bool again)
{
    uint8_t *changed = bytes_of(placement->changed) + 8 * (size_t)partition;
    uint8_t *before = bytes_of(placement->changed_before) + 8 * (size_t)partition;
    uint64_t last = base_le64_get(changed);
    size_t first = (size_t)partition * placement->width;
    for (uint32_t i = 0; last != epoch && i < placement->width; i++)
        bit_put(placement->moved_last, first + i, false);
    if (again)
        base_le64_put(before, epoch);
    else if (last != epoch)
        base_le64_put(before, last);
    base_le64_put(changed, epoch);
}

void proto_placement_move(struct proto_placement *placement, uint32_t partition, uint32_t slot,
                          uint32_t to, uint64_t epoch)
{
    size_t at = (size_t)partition * placement->width + slot;
    uint32_t from = proto_slot_osd(placement, partition, slot);
    uint32_t previous = proto_slot_previous(placement, partition, slot);
    bool fills = proto_slots_filling(placement, partition) >> slot & 1;
    if (!fills || previous == PROTO_OSD_NONE)
        previous = from; /* else that one has more */
    if (previous == to)
        previous = PROTO_OSD_NONE;
    base_le16_put(bytes_of(placement->slots) + 2 * at, (uint16_t)to);
    base_le16_put(bytes_of(placement->previous) + 2 * at, (uint16_t)previous);
    change_note(placement, partition, epoch, previous != from);
    bit_put(placement->filling, at, true);
    bit_put(placement->moved, at, true);
    bit_put(placement->moved_last, at, true);
}

void proto_placement_filled(struct proto_placement *placement, uint32_t partition, uint32_t slot)
{
    bit_put(placement->filling, (size_t)partition * placement->width + slot, false);
}

static void table_fold(struct base_slice *table, uint8_t fill)
{
    for (size_t i = 0; i < table->size; i++)
        if (table->data[i] != fill)
            return;
    *table = base_slice(NULL, 0);
}

void proto_placement_fold(struct proto_placement *placement)
{
    table_fold(&placement->filling, 0);
    table_fold(&placement->previous, 0xff);
    table_fold(&placement->moved, 0);
    table_fold(&placement->changed, 0);
    if (placement->changed.size == 0)
        placement->changed_before = placement->moved_last = base_slice(NULL, 0);
}
