/* What an OSD has of slots that are another OSD's now: it was a source while they were filled, and
 * may go when nobody needs it any more (design rule 4).
 *
 * A fragment may go when its stripe is full without it: the slot is another OSD's and filled,
 * nothing of the partition fills, nothing is known to be missing or corrupt of the stripe, and
 * every OSD of it is up with all it has to have. What no row names is not decided here
 * (state_orphans.c).
 *
 * It is a command, and writes no row, as the sweep of orphans. A late grant is not as true as an
 * early one: the slot may come back to the OSD. So that one looks at its map before it deletes.
 */
#include "coordinator/state_priv.h"

#include "base/banned.h"

static bool is_well(const struct coord_state *state, const struct proto_placement *placement,
                    uint32_t partition)
{
    for (uint32_t index = 0; index < placement->width; index++) {
        size_t place = coord_state_osd_find(state, proto_slot_osd(placement, partition, index));
        if (place == SIZE_MAX || state->osds[place].row.state != PROTO_OSD_UP ||
            !state->osds[place].row.complete)
            return false;
    }
    return true;
}

static bool may_go(struct coord_command *command, const struct proto_former *former, uint32_t osd)
{
    struct proto_data_row row;
    struct coord_key key = coord_key_oid(former->oid);
    if (coord_get(command, COORD_DATA, &key, &proto_type_data_row, &row) ||
        row.state != COORD_RUN_COMMITTED || former->stripe >= coord_run_stripes(&row))
        return false;
    const struct proto_placement *placement = coord_state_placement(command->state, row.placement);
    if (!placement || former->index >= placement->width)
        return false;
    uint32_t partition = proto_partition(placement->partition_bits, row.oid, former->stripe);
    return proto_slot_osd(placement, partition, former->index) != osd &&
           proto_slots_filling(placement, partition) == 0 &&
           proto_row_missing(&row, former->stripe) == 0 &&
           is_well(command->state, placement, partition);
}

enum lilio_err coord_apply_formers_sweep(struct coord_command *command)
{
    struct proto_formers_sweep sweep;
    enum lilio_err err = coord_body(command, &proto_type_formers_sweep, &sweep);
    if (err)
        return err;
    size_t place = coord_state_osd_find(command->state, sweep.osd);
    if (place == SIZE_MAX || command->state->osds[place].row.incarnation != sweep.incarnation)
        return coord_refuse(command, LILIO_E_INVALID, "osd.%u has no incarnation %u", sweep.osd,
                            sweep.incarnation);
    uint8_t *verdicts = coord_take(command->state, sweep.fragments_count + 1);
    for (size_t i = 0; verdicts && i < sweep.fragments_count; i++)
        verdicts[i] = may_go(command, &sweep.fragments[i], sweep.osd) ? COORD_FORMER_MAY_GO
                                                                      : COORD_FORMER_STAYS;
    if (command->state->failed)
        return command->state->failed;
    struct proto_formers_answer answer = {
        .index = command->version.index,
        .verdicts = base_slice(verdicts, sweep.fragments_count),
    };
    coord_reply(command, &proto_type_formers_answer, &answer);
    return LILIO_OK;
}
