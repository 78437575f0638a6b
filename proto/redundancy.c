#include "proto/redundancy.h"

#include "base/banned.h"

enum proto_trust proto_osd_trust(const struct proto_osd *osd)
{
    if (osd->state == PROTO_OSD_NEW || osd->state == PROTO_OSD_BLANK)
        return PROTO_TRUST_BLANK;
    if (!osd->complete)
        return PROTO_TRUST_AWAY;
    bool up = osd->state == PROTO_OSD_UP || osd->state == PROTO_OSD_SUSPECT;
    return up                               ? PROTO_TRUST_GOOD
           : osd->state == PROTO_OSD_FAILED ? PROTO_TRUST_FAILING
                                            : PROTO_TRUST_AWAY;
}

void proto_trusts_set(struct proto_trusts *trusts, const struct proto_osd *osd)
{
    if (osd->id < PROTO_OSD_NONE)
        trusts->by_id[osd->id] = (uint8_t)proto_osd_trust(osd);
}

static uint8_t trust_of(const struct proto_trusts *trusts, uint32_t osd)
{
    return osd <= PROTO_OSD_NONE ? trusts->by_id[osd] : (uint8_t)PROTO_TRUST_GONE;
}

/* Of a slot that fills: what was there before it moved is kept where it was, if anywhere; what came
 * since is at its OSD. */
static uint8_t filling_trust(const struct proto_trusts *trusts,
                             const struct proto_placement *placement, uint32_t partition,
                             uint32_t index)
{
    uint32_t previous = proto_slot_previous(placement, partition, index);
    uint8_t now = trust_of(trusts, proto_slot_osd(placement, partition, index));
    uint8_t before = previous == PROTO_OSD_NONE ? now : trust_of(trusts, previous);
    return now <= PROTO_TRUST_BLANK || before == PROTO_TRUST_GONE ? PROTO_TRUST_GONE
                                                                  : PROTO_TRUST_AWAY;
}

struct proto_standing proto_stripe_standing(const struct proto_trusts *trusts,
                                            const struct proto_placement *placement,
                                            uint32_t partition, uint8_t data_count, uint64_t bad)
{
    struct proto_standing standing = {0};
    uint64_t failing = 0;
    uint64_t filling = proto_slots_filling(placement, partition);
    for (uint32_t index = 0; index < placement->width && index < 64; index++) {
        uint64_t bit = UINT64_C(1) << index & ~bad;
        uint8_t trust = filling >> index & 1
                            ? filling_trust(trusts, placement, partition, index)
                            : trust_of(trusts, proto_slot_osd(placement, partition, index));
        if (trust == PROTO_TRUST_GOOD)
            standing.good |= bit;
        if (trust == PROTO_TRUST_FAILING)
            failing |= bit;
        if (trust > PROTO_TRUST_BLANK)
            standing.kept |= bit;
    }
    for (; failing && __builtin_popcountll(standing.good) < data_count; failing &= failing - 1)
        standing.good |= failing & -failing;
    return standing;
}

size_t proto_level(uint32_t good_count, uint8_t data_count)
{
    if (good_count < data_count)
        return PROTO_LEVEL_BELOW;
    uint32_t margin = good_count - data_count;
    return margin < PROTO_LEVEL_BELOW ? margin : PROTO_LEVEL_BELOW - 1;
}
