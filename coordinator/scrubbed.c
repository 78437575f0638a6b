#include "coordinator/scrubbed.h"

#include "base/banned.h"

void coord_scrubbed_osd(struct coord_scrubbed *scrubbed, const struct proto_osd *row,
                        const struct proto_scrub_line *line)
{
    if (scrubbed->count == COORD_OSDS_MAX || row->id >= PROTO_OSD_NONE)
        return; /* more than a cluster has */
    struct coord_scrubbed_member *member = &scrubbed->members[scrubbed->count++];
    *member = (struct coord_scrubbed_member){.row = row, .told = line != NULL};
    if (line)
        member->line = *line;
    scrubbed->place_by_id[row->id] = (uint16_t)scrubbed->count;
}

void coord_scrubbed_placement(struct coord_scrubbed *scrubbed,
                              const struct proto_placement *placement)
{
    for (uint32_t partition = 0; partition >> placement->partition_bits == 0; partition++) {
        uint64_t filling = proto_slots_filling(placement, partition);
        for (uint32_t index = 0; index < placement->width; index++) {
            uint32_t osd = proto_slot_osd(placement, partition, index);
            size_t place = osd < PROTO_OSD_NONE ? scrubbed->place_by_id[osd] : 0;
            if (place == 0)
                continue;
            struct coord_scrubbed_member *member = &scrubbed->members[place - 1];
            uint64_t later = proto_slots_moved(placement, partition, member->line.last_epoch);
            member->has_slots = true;
            member->has_more |= (filling | later) >> index & 1;
        }
    }
}

/* Maps that were put back from an earlier time know nothing of a round that went on behind it, nor
 * of one in the time that is gone, when they are as far again. Those of one coordinator that goes
 * on alone are told by the epoch; for the others see osd_scrub_maps_are(). */
static bool is_of_these_maps(const struct proto_scrub_line *line,
                             const struct proto_state_row *state)
{
    return line->last_epoch <= state->epoch &&
           line->last_epoch / COORD_EPOCHS_LOST_MAX == state->epoch / COORD_EPOCHS_LOST_MAX &&
           line->last_index <= state->applied_index &&
           line->last_stripes_ever <= state->stripes_ever;
}

/* Whether its last complete round read all that it has. */
static bool is_read(const struct coord_scrubbed_member *member, const struct proto_state_row *state)
{
    const struct proto_scrub_line *line = &member->line;
    const struct proto_osd *row = member->row;
    return line->rounds > 0 && line->last_epoch > 0 && line->last_epoch >= row->since_epoch &&
           !member->has_more && row->complete && row->state != PROTO_OSD_BLANK &&
           is_of_these_maps(line, state);
}

bool coord_scrubbed_counts(const struct coord_scrubbed *scrubbed, uint32_t osd,
                           const struct proto_state_row *state)
{
    size_t place = osd < PROTO_OSD_NONE ? scrubbed->place_by_id[osd] : 0;
    const struct coord_scrubbed_member *member = place > 0 ? &scrubbed->members[place - 1] : NULL;
    return member && (!member->has_slots || is_read(member, state));
}

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Rounds of all of them: the oldest decides about the age, the first pinned one about the rest. */
static void member_add(const struct coord_scrubbed_member *member,
                       const struct proto_state_row *state, struct proto_scrubbed *sum,
                       uint64_t *stripes_ever, uint64_t *stripes_unread)
{
    const struct proto_scrub_line *line = &member->line;
    if (sum->osds == 0 || line->last_index < sum->index)
        sum->index = line->last_index;
    if (sum->osds == 0 || line->oldest_ms > sum->oldest_ms) {
        sum->oldest_ms = line->oldest_ms;
        sum->oldest_osd = member->row->id;
    }
    *stripes_ever = at_most(*stripes_ever, line->last_stripes_ever);
    sum->stripes_bad += at_most(line->last_stripes_bad, state->stripes);
    *stripes_unread += at_most(line->last_stripes_unread, state->stripes);
}

struct proto_scrubbed coord_scrubbed_sum(const struct coord_scrubbed *scrubbed,
                                         const struct proto_state_row *state)
{
    struct proto_scrubbed sum = {0};
    uint64_t stripes_ever = state->stripes_ever, stripes_unread = 0;
    for (size_t i = 0; i < scrubbed->count; i++) {
        const struct coord_scrubbed_member *member = &scrubbed->members[i];
        if (!member->has_slots)
            continue;
        if (!member->told)
            sum.not_told++;
        else if (!is_read(member, state))
            sum.not_read++;
        else
            member_add(member, state, &sum, &stripes_ever, &stripes_unread);
        sum.osds++;
    }
    if (sum.not_told > 0 || sum.not_read > 0)
        return (struct proto_scrubbed){
            .osds = sum.osds, .not_read = sum.not_read, .not_told = sum.not_told};
    sum.stripes_bad = at_most(sum.stripes_bad, state->stripes);
    sum.unverified = at_most(state->stripes_ever - stripes_ever, state->stripes);
    sum.unverified += sum.stripes_bad + at_most(stripes_unread, state->stripes);
    sum.unverified = at_most(sum.unverified, state->stripes);
    return sum;
}
