/* Slots that move and are filled. The leader plans (service_moves.c), the OSDs that have the slots
 * fill them; what counts is decided here: a slot moves from the OSD that has it to one that is
 * allowed to, and is filled when the OSD that has it walked everything that was committed before
 * the slot became its own. An OSD that is draining loses its slots as one that is out does, and is
 * a source until they are filled.
 *
 * What is committed later is at the new OSD by itself, or was written by somebody with an older
 * map: then the commit enters it as missing (coord_faults_rebound).
 */
#include "base/mark.h"
#include "coordinator/state_priv.h"
#include "proto/moves.h"

#include "base/banned.h"

static size_t placement_find(const struct coord_state *state, uint32_t id)
{
    for (size_t i = 0; i < state->placement_count; i++)
        if (state->placements[i].row.id == id)
            return i;
    return SIZE_MAX;
}

/* Its tables in the command's arena. */
static bool placement_open(struct coord_command *command, size_t place, struct proto_placement *ret)
{
    struct coord_state *state = command->state;
    if (proto_placement_unfold(&state->placements[place].row, state->arena, ret))
        return true;
    (void)coord_failed(state, LILIO_E_NOMEM, NULL); /* apply looks at it */
    return false;
}

static void placement_close(struct coord_command *command, size_t place,
                            struct proto_placement *placement)
{
    proto_placement_fold(placement);
    if (coord_placement_put(command, place, placement) == LILIO_OK)
        command->state->row.epoch++;
}

/* ---- moving ---- */

/* All OSDs of the map, one behind the other. */
static struct proto_osd *osds_list(struct coord_state *state)
{
    struct proto_osd *osds = coord_take(state, (state->osd_count + 1) * sizeof *osds);
    for (size_t i = 0; osds && i < state->osd_count; i++)
        osds[i] = state->osds[i].row;
    return osds;
}

static bool step_make(const struct coord_state *state, const struct proto_osd *osds,
                      const struct proto_slot_step *step, struct proto_placement *placement)
{
    if (step->partition >> placement->partition_bits != 0 || step->slot >= placement->width ||
        proto_slot_osd(placement, step->partition, step->slot) != step->from ||
        !proto_move_allowed(osds, state->osd_count, placement, step->partition, step->slot,
                            step->to))
        return false;
    proto_placement_move(placement, step->partition, step->slot, step->to, state->row.epoch + 1);
    return true;
}

/* Steps that have no effect are none: the leader plans again from what is so now. */
enum lilio_err coord_apply_slots_move(struct coord_command *command)
{
    struct coord_state *state = command->state;
    struct proto_slots_move move;
    enum lilio_err err = coord_body(command, &proto_type_slots_move, &move);
    if (err)
        return err;
    struct proto_osd *osds = osds_list(state);
    for (size_t place = 0; place < state->placement_count && !state->failed; place++) {
        struct proto_placement placement;
        size_t made = 0, about = 0;
        for (size_t i = 0; i < move.steps_count && !state->failed; i++) {
            if (move.steps[i].placement != state->placements[place].row.id)
                continue;
            if (about++ == 0 && !placement_open(command, place, &placement))
                break;
            made += step_make(state, osds, &move.steps[i], &placement);
        }
        if (made > 0 && !state->failed)
            placement_close(command, place, &placement);
    }
    return coord_reply_ok(command);
}

/* ---- draining ---- */

/* Refuses when there are slots of it that nobody may have who is there now. */
static enum lilio_err stuck_check(struct coord_command *command, uint32_t osd)
{
    struct coord_state *state = command->state;
    struct proto_osd *osds = osds_list(state);
    size_t stuck = 0;
    for (size_t i = 0; osds && i < state->placement_count; i++) {
        struct proto_moves plan = {0};
        enum lilio_err err = proto_moves_plan(osds, state->osd_count, &state->placements[i].row,
                                              osd, &plan, &command->info);
        if (err == LILIO_E_NOMEM)
            return coord_failed(state, err, &command->info);
        if (err) /* a rule nobody can read */
            return err;
        stuck += plan.stuck_count;
    }
    if (stuck > 0)
        return coord_refuse(command, LILIO_E_PRECONDITION,
                            "%zu of the slots of osd.%u have nowhere to go: every stripe needs an "
                            "OSD of its own for each fragment, and among those that are up there "
                            "is none to spare",
                            stuck, osd);
    return state->failed;
}

static bool has_slots(const struct coord_state *state, uint32_t osd)
{
    for (size_t i = 0; i < state->placement_count; i++)
        if (proto_placement_has(&state->placements[i].row, osd))
            return true;
    return false;
}

/* Whether slots fill from the OSD. */
static bool feeds(const struct coord_state *state, uint32_t osd)
{
    for (size_t i = 0; i < state->placement_count; i++) {
        const struct proto_placement *placement = &state->placements[i].row;
        for (uint32_t partition = 0; partition >> placement->partition_bits == 0; partition++)
            for (uint64_t left = proto_slots_filling(placement, partition); left; left &= left - 1)
                if (proto_slot_previous(placement, partition, (uint32_t)__builtin_ctzll(left)) ==
                    osd)
                    return true;
    }
    return false;
}

/* What fills counts as hurt, so two at a time would look like too much of it. NULL: nobody drains,
 * or has nothing left. */
static const struct proto_osd *other_draining(const struct coord_state *state, uint32_t osd)
{
    for (size_t i = 0; i < state->osd_count; i++) {
        const struct proto_osd *row = &state->osds[i].row;
        if (row->draining && row->id != osd && (has_slots(state, row->id) || feeds(state, row->id)))
            return row;
    }
    return NULL;
}

static enum lilio_err drain_begin(struct coord_command *command, size_t place)
{
    struct proto_osd row = command->state->osds[place].row;
    if (row.draining)
        return coord_reply_ok(command);
    const struct proto_osd *other = other_draining(command->state, row.id);
    if (other)
        return coord_refuse(command, LILIO_E_PRECONDITION, "osd.%u drains: one after the other",
                            other->id);
    enum lilio_err err = stuck_check(command, row.id);
    if (err)
        return err;
    row.draining = true;
    row.drain_epoch = command->state->row.epoch;
    coord_osd_put(command, &command->state->osds[place], &row);
    return coord_reply_ok(command);
}

/* A put under way may have been acknowledged by it with an older map. From here on that does not
 * count, so that it can be taken away. */
static enum lilio_err drain_end(struct coord_command *command, size_t place)
{
    struct proto_osd row = command->state->osds[place].row;
    if (!row.draining || has_slots(command->state, row.id))
        return coord_refuse(command, LILIO_E_PRECONDITION, "osd.%u %s", row.id,
                            row.draining ? "has slots yet" : "does not drain");
    row.drained = true;
    row.since_epoch = command->state->row.epoch + 1;
    coord_osd_put(command, &command->state->osds[place], &row);
    return coord_reply_ok(command);
}

static enum lilio_err drain_stop(struct coord_command *command, size_t place)
{
    struct proto_osd row = command->state->osds[place].row;
    if (row.draining) {
        row.draining = row.drained = false;
        row.drain_epoch = 0;
        coord_osd_put(command, &command->state->osds[place], &row);
    }
    return coord_reply_ok(command);
}

enum lilio_err coord_apply_osd_drain(struct coord_command *command)
{
    struct coord_state *state = command->state;
    struct proto_osd_drain drain;
    enum lilio_err err = coord_body(command, &proto_type_osd_drain, &drain);
    if (err)
        return err;
    size_t place = coord_state_osd_find(state, drain.osd);
    if (place == SIZE_MAX)
        return coord_refuse(command, LILIO_E_NOT_FOUND, "osd.%u is not in this cluster", drain.osd);
    switch (drain.step) {
    case COORD_DRAIN_BEGIN: return drain_begin(command, place);
    case COORD_DRAIN_END: return drain_end(command, place);
    case COORD_DRAIN_STOP: return drain_stop(command, place);
    default: return coord_refuse(command, LILIO_E_INVALID, "a drain has no step %u", drain.step);
    }
}

/* ---- filled ---- */

/* Whether the OSD has the slot since an epoch it knew when it pinned the maps. */
static bool is_filled(const struct proto_slots_filled *filled, const struct proto_filled_slot *slot,
                      const struct proto_placement *placement)
{
    if (slot->partition >> placement->partition_bits != 0 || slot->slot >= placement->width ||
        proto_slot_osd(placement, slot->partition, slot->slot) != filled->osd ||
        !(proto_slots_filling(placement, slot->partition) >> slot->slot & 1))
        return false;
    if (proto_slots_moved(placement, slot->partition, filled->epoch) == 0)
        return true;
    LILIO_MARK("coordinator/filled_too_early");
    return false;
}

static enum lilio_err filled_check(struct coord_command *command,
                                   const struct proto_slots_filled *filled)
{
    struct coord_state *state = command->state;
    size_t osd = coord_state_osd_find(state, filled->osd);
    if (osd == SIZE_MAX)
        return coord_refuse(command, LILIO_E_NOT_FOUND, "osd.%u is not in this cluster",
                            filled->osd);
    if (state->osds[osd].row.incarnation != filled->incarnation)
        return coord_refuse(command, LILIO_E_FOREIGN,
                            "osd.%u is at incarnation %u, slots were filled by %u", filled->osd,
                            state->osds[osd].row.incarnation, filled->incarnation);
    if (filled->index > state->row.applied_index || filled->epoch > state->row.epoch)
        return coord_refuse(command, LILIO_E_INVALID, "no slots can have been filled at index %llu",
                            (unsigned long long)filled->index);
    return LILIO_OK;
}

enum lilio_err coord_apply_slots_filled(struct coord_command *command)
{
    struct coord_state *state = command->state;
    struct proto_slots_filled filled;
    struct proto_placement placement;
    enum lilio_err err = coord_body(command, &proto_type_slots_filled, &filled);
    if (!err)
        err = filled_check(command, &filled);
    if (err)
        return err;
    size_t place = placement_find(state, filled.placement), made = 0;
    if (place == SIZE_MAX || !placement_open(command, place, &placement))
        return state->failed ? state->failed : coord_reply_ok(command);
    for (size_t i = 0; i < filled.slots_count; i++) {
        const struct proto_filled_slot *slot = &filled.slots[i];
        if (!is_filled(&filled, slot, &placement))
            continue;
        proto_placement_filled(&placement, slot->partition, slot->slot);
        made++;
    }
    if (made > 0)
        placement_close(command, place, &placement);
    return coord_reply_ok(command);
}
