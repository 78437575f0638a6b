/* What is known to be missing or corrupt: from exceptions to masks, from masks to exceptions, and
 * the reports that change them.
 *
 * A row keeps exceptions as runs of stripes; deciding is easier on two masks per stripe. A row
 * without exceptions, which is nearly every one, never builds them.
 */
#include "base/mark.h"
#include "base/planted.h"
#include "coordinator/state_priv.h"
#include "proto/redundancy.h"

#include "base/banned.h"

enum { KIND_GOOD = 0, KIND_MISSING = 1, KIND_CORRUPT = 3 };

static uint64_t bit(uint8_t index)
{
    return UINT64_C(1) << index;
}

static enum lilio_err masks_make(struct coord_command *command, struct coord_faults *faults)
{
    if (faults->missing)
        return LILIO_OK;
    uint64_t *masks = coord_take(command->state, 2 * (size_t)faults->stripe_count * sizeof *masks);
    if (!masks)
        return command->state->failed;
    faults->missing = masks;
    faults->corrupt = masks + faults->stripe_count;
    return LILIO_OK;
}

enum lilio_err coord_faults_load(struct coord_command *command, const struct proto_data_row *row,
                                 struct coord_faults *ret)
{
    *ret = (struct coord_faults){
        .stripe_count = coord_run_stripes(row),
        .total = (uint8_t)(row->profile.data_count + row->profile.parity_count),
    };
    if (row->exceptions_count == 0)
        return LILIO_OK;
    enum lilio_err err = masks_make(command, ret);
    for (size_t i = 0; i < row->exceptions_count && !err; i++) {
        const struct proto_exception *exception = &row->exceptions[i];
        uint64_t *masks = exception->kind == KIND_CORRUPT ? ret->corrupt : ret->missing;
        for (uint32_t n = 0; n < exception->stripe_count; n++)
            masks[exception->first_stripe + n] |= bit(exception->index);
    }
    return err;
}

/* OSDs bound, or whose rebuild began, after the epoch, as a bit per id; NULL when there is none. */
static uint8_t *young_osds(struct coord_state *state, uint64_t epoch)
{
    uint8_t *young = NULL;
    for (size_t i = 0; i < state->osd_count; i++) {
        const struct proto_osd *osd = &state->osds[i].row;
        if (osd->since_epoch <= epoch)
            continue;
        if (!young)
            young = coord_take(state, (COORD_OSD_ID_MAX + 1 + 7) / 8 + 1);
        if (!young)
            return NULL;
        young[osd->id / 8] = (uint8_t)(young[osd->id / 8] | 1u << osd->id % 8);
    }
    return young;
}

/* The fragments of a partition that were not written to where they belong now. */
static uint64_t misplaced(const struct proto_placement *placement, uint32_t partition,
                          uint64_t epoch, const uint8_t *young)
{
    uint64_t mask = proto_slots_moved(placement, partition, epoch);
    for (uint8_t index = 0; young && index < placement->width; index++) {
        uint32_t osd = proto_slot_osd(placement, partition, index);
        if (osd > COORD_OSD_ID_MAX || young[osd / 8] >> osd % 8 & 1)
            mask |= bit(index);
    }
    return mask;
}

/* Up, with proven content, and with the disk it had at the epoch. */
static bool is_steady(const struct coord_state *state, uint32_t osd, uint64_t epoch)
{
    size_t place = coord_state_osd_find(state, osd);
    return place != SIZE_MAX && state->osds[place].row.since_epoch <= epoch &&
           proto_osd_trust(&state->osds[place].row) == PROTO_TRUST_GOOD;
}

/* The fragments of a partition that are where their slot is or was, whatever its OSD went by. */
static uint64_t handed(const struct coord_state *state, const struct proto_placement *placement,
                       uint32_t partition, uint64_t epoch)
{
    uint64_t mask = proto_slots_handed(placement, partition, epoch);
    for (uint8_t index = 0; mask && index < placement->width; index++) {
        uint32_t previous = proto_slot_previous(placement, partition, index);
        if (!is_steady(state, proto_slot_osd(placement, partition, index), epoch) ||
            (previous != PROTO_OSD_NONE && !is_steady(state, previous, epoch)))
            mask &= ~bit(index);
    }
    return mask;
}

static enum lilio_err handed_note(struct coord_command *command, struct coord_faults *faults,
                                  uint32_t stripe, uint64_t mask)
{
    if (mask == 0)
        return LILIO_OK;
    if (!faults->handed)
        faults->handed =
            coord_take(command->state, (size_t)faults->stripe_count * sizeof *faults->handed);
    if (!faults->handed)
        return command->state->failed;
    LILIO_MARK("coordinator/commit_counts_handed");
    faults->handed[stripe] |= mask;
    return LILIO_OK;
}

enum lilio_err coord_faults_rebound(struct coord_command *command, const struct proto_data_row *row,
                                    uint64_t epoch, struct coord_faults *faults)
{
    const struct proto_placement *placement = coord_state_placement(command->state, row->placement);
    const uint8_t *young = young_osds(command->state, epoch);
    if (!placement || placement->width != faults->total || command->state->failed ||
        (!young && placement->changed.size == 0))
        return command->state->failed;
    if (LILIO_PLANTED("commit_ignores_incarnation"))
        return LILIO_OK;
    if (young)
        LILIO_MARK("coordinator/commit_across_rebinding");
    for (uint32_t stripe = 0; stripe < faults->stripe_count; stripe++) {
        uint32_t partition = proto_partition(placement->partition_bits, row->oid, stripe);
        uint64_t mask = misplaced(placement, partition, epoch, young);
        if (mask == 0)
            continue;
        if (!young)
            LILIO_MARK("coordinator/commit_across_move");
        if (masks_make(command, faults))
            return command->state->failed;
        uint64_t known = faults->missing[stripe] | faults->corrupt[stripe];
        faults->missing[stripe] |= mask;
        if (handed_note(command, faults, stripe,
                        mask & ~known & handed(command->state, placement, partition, epoch)))
            return command->state->failed;
    }
    return LILIO_OK;
}

enum lilio_err coord_faults_set(struct coord_command *command, struct coord_faults *faults,
                                uint32_t stripe, uint8_t index, uint8_t kind)
{
    if (kind == KIND_GOOD && !faults->missing)
        return LILIO_OK;
    enum lilio_err err = masks_make(command, faults);
    if (err)
        return err;
    faults->missing[stripe] &= ~bit(index);
    faults->corrupt[stripe] &= ~bit(index);
    if (kind == KIND_MISSING)
        faults->missing[stripe] |= bit(index);
    if (kind == KIND_CORRUPT)
        faults->corrupt[stripe] |= bit(index);
    return LILIO_OK;
}

/* ---- back to exceptions ---- */

static uint8_t kind_at(const struct coord_faults *faults, uint32_t stripe, uint8_t index)
{
    if (faults->corrupt[stripe] & bit(index))
        return KIND_CORRUPT;
    return faults->missing[stripe] & bit(index) ? KIND_MISSING : KIND_GOOD;
}

/* Writes the exceptions to ret (NULL: counts only); returns how many there are. */
static size_t exceptions_list(const struct coord_faults *faults, struct proto_exception *ret)
{
    size_t count = 0;
    for (uint8_t index = 0; index < faults->total; index++) {
        uint8_t before = KIND_GOOD;
        for (uint32_t stripe = 0; stripe < faults->stripe_count; stripe++) {
            uint8_t kind = kind_at(faults, stripe, index);
            if (kind != KIND_GOOD && kind != before) {
                if (ret)
                    ret[count] = (struct proto_exception){
                        .first_stripe = stripe, .index = index, .kind = kind};
                count++;
            }
            if (kind != KIND_GOOD && ret)
                ret[count - 1].stripe_count++;
            before = kind;
        }
    }
    return count;
}

enum lilio_err coord_faults_store(struct coord_command *command, const struct coord_faults *faults,
                                  struct proto_data_row *row)
{
    row->exceptions = NULL;
    row->exceptions_count = 0;
    size_t count = faults->missing ? exceptions_list(faults, NULL) : 0;
    if (count == 0)
        return LILIO_OK;
    row->exceptions = coord_take(command->state, count * sizeof *row->exceptions);
    if (!row->exceptions)
        return command->state->failed;
    row->exceptions_count = exceptions_list(faults, row->exceptions);
    return LILIO_OK;
}

uint8_t coord_faults_good(const struct coord_faults *faults, uint32_t stripe)
{
    if (!faults->missing)
        return faults->total;
    return (uint8_t)(faults->total -
                     __builtin_popcountll(faults->missing[stripe] | faults->corrupt[stripe]));
}

uint8_t coord_faults_durable(const struct coord_faults *faults, uint32_t stripe)
{
    int elsewhere = faults->handed ? __builtin_popcountll(faults->handed[stripe]) : 0;
    return (uint8_t)(coord_faults_good(faults, stripe) + elsewhere);
}

static uint8_t least_of(const struct coord_faults *faults,
                        uint8_t (*count)(const struct coord_faults *faults, uint32_t stripe))
{
    uint8_t least = faults->total;
    for (uint32_t stripe = 0; faults->missing && stripe < faults->stripe_count; stripe++) {
        uint8_t here = count(faults, stripe);
        least = here < least ? here : least;
    }
    return least;
}

uint8_t coord_faults_least_good(const struct coord_faults *faults)
{
    return least_of(faults, coord_faults_good);
}

uint8_t coord_faults_margin(const struct coord_faults *faults, uint8_t data_count)
{
    uint8_t margin = COORD_MARGIN_BELOW;
    for (uint32_t stripe = 0; faults->missing && stripe < faults->stripe_count; stripe++) {
        uint8_t good = coord_faults_good(faults, stripe);
        if (good < faults->total && good >= data_count && good - data_count < margin)
            margin = (uint8_t)(good - data_count);
    }
    return margin;
}

static uint64_t bad_at(const struct coord_faults *faults, uint32_t stripe)
{
    return faults && faults->missing ? faults->missing[stripe] | faults->corrupt[stripe] : 0;
}

bool coord_faults_grew(const struct coord_faults *before, const struct coord_faults *faults)
{
    for (uint32_t stripe = 0; stripe < faults->stripe_count; stripe++)
        if (bad_at(faults, stripe) & ~bad_at(before, stripe))
            return true;
    return false;
}

uint8_t coord_faults_least_durable(const struct coord_faults *faults)
{
    return least_of(faults, coord_faults_durable);
}

/* ---- reports ---- */

/* The run of a report, if it is one that somebody's object uses. */
static bool report_run(struct coord_command *command, struct base_oid oid,
                       struct proto_data_row *ret)
{
    struct coord_key key = coord_key_oid(oid), end = key;
    if (coord_get(command, COORD_DATA, &key, &proto_type_data_row, ret) ||
        ret->state != COORD_RUN_COMMITTED)
        return false;
    (void)coord_key_after_prefix(&end); /* no oid is all ones */
    return coord_range_any(command, COORD_REFS, &key, &end);
}

/* Found at an OSD that has the slot no more: it says nothing about the one that has. */
static bool is_outdated(const struct coord_command *command, const struct proto_data_row *row,
                        const struct proto_fragment_report *item)
{
    const struct proto_placement *placement = coord_state_placement(command->state, row->placement);
    if (!placement)
        return false;
    uint32_t partition = proto_partition(placement->partition_bits, row->oid, item->stripe);
    return proto_slots_moved(placement, partition, 0) >> item->index & 1 &&
           proto_slot_osd(placement, partition, item->index) != item->osd;
}

/* The items are about one run. Those that name no fragment of it say nothing. */
static void report_apply(struct coord_command *command, const struct proto_fragment_report *items,
                         size_t count)
{
    struct proto_data_row row;
    struct coord_faults faults, before;
    if (!report_run(command, items[0].oid, &row) || coord_faults_load(command, &row, &before) ||
        coord_faults_load(command, &row, &faults))
        return;
    for (size_t i = 0; i < count; i++)
        if (items[i].stripe < faults.stripe_count && items[i].index < faults.total &&
            !is_outdated(command, &row, &items[i]) &&
            coord_faults_set(command, &faults, items[i].stripe, items[i].index, items[i].kind))
            return;
    if (!faults.missing || coord_faults_store(command, &faults, &row))
        return;
    struct coord_key key = coord_key_oid(row.oid);
    coord_put(command->state, COORD_DATA, &key, &proto_type_data_row, &row);
    coord_repair_update(command, &row, &before, &faults);
    coord_stripes_move(command, &row, &before, &faults);
    coord_inventory_move(command, &row, &before, &faults);
}

enum lilio_err coord_apply_report(struct coord_command *command)
{
    struct proto_report report;
    enum lilio_err err = coord_body(command, &proto_type_report, &report);
    for (size_t i = 0; i < report.items_count && !err; i++) {
        uint8_t kind = report.items[i].kind;
        if (kind != KIND_GOOD && kind != KIND_MISSING && kind != KIND_CORRUPT)
            err = coord_refuse(command, LILIO_E_INVALID, "a report knows no kind %u", kind);
    }
    if (err)
        return err;
    for (size_t i = 0, n; i < report.items_count && !command->state->failed; i += n) {
        for (n = 1; i + n < report.items_count &&
                    base_oid_equal(report.items[i].oid, report.items[i + n].oid);)
            n++;
        report_apply(command, report.items + i, n);
    }
    return coord_reply_ok(command);
}

enum lilio_err coord_apply_verified(struct coord_command *command)
{
    struct proto_verified verified;
    enum lilio_err err = coord_body(command, &proto_type_verified, &verified);
    if (err)
        return err;
    struct coord_state *state = command->state;
    if (verified.index == 0 || verified.index > state->row.applied_index)
        return coord_refuse(command, LILIO_E_INVALID, "no verification can have run at index %llu",
                            (unsigned long long)verified.index);
    if (verified.stripes_ever > state->row.stripes_ever)
        return coord_refuse(command, LILIO_E_INVALID, "not so many stripes were ever committed");
    if (verified.index >= state->verify.index) {
        state->verify = (struct proto_verify_mark){
            .index = verified.index,
            .wall_ms = command->entry.wall_ms,
            .fragments = verified.fragments,
            .damaged = verified.damaged,
            .lost = verified.lost,
            .stripes_ever = verified.stripes_ever,
        };
        struct coord_key key = coord_key_text(base_slice_str("verify"));
        coord_put(state, COORD_META, &key, &proto_type_verify_mark, &state->verify);
    }
    return coord_reply_ok(command);
}
