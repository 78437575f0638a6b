/* What OSDs have to have: for each partition the sum of the hashes of all stripes in it, and for
 * each of its slots the sum over those whose fragment in the slot is missing. The difference is
 * what the OSD of the slot finds in its own index if nothing was lost; it says so by one number per
 * slot (service_inventory.c). Sums do not depend on order, and groups of them add up.
 *
 * Counted are the stripes of committed runs from the COMMIT on until their collection: until all
 * OSDs have collected them, or those that are up have and the row is parked for the others. So what
 * is deleted and waits for its grace makes no difference; what was parked does, until the OSD it
 * was parked for has collected it, too.
 *
 * A row has the sums of a group of partitions, so that a COMMIT of many stripes would write a lot
 * to change a little. It writes what it changes, one row per entry; every FOLD entries these are
 * forgotten, and the groups are written that were changed since. When is a matter of the entries
 * alone, so that all members have the same rows. In memory the groups are always up to date.
 */
#include <stdlib.h>

#include "base/mark.h"
#include "base/planted.h"
#include "coordinator/state_priv.h"
#include "coordinator/table.h"

#include "base/banned.h"

enum {
    GROUPS_MAX = 1 << 15, /* 64 placements of 2^16 partitions need half of them */
    GROUPS_KEPT = 1 << 8, /* at most 100 KiB each */
    MISSING_ENTRY = 10,   /* bytes: partition, index, sum */
    FOLD = 64,
    CHANGE = 15,                /* bytes: placement, partition, 0 or 1 + index, what is added */
    CHANGES_MAX = 512 * CHANGE, /* of an entry; one with more of them is folded at once */
};

typedef uint64_t missing_sums[CODEC_TOTAL_MAX];

struct group {
    struct coord_inventory_key name;
    uint8_t sums[8 * COORD_INVENTORY_GROUP]; /* as in the row */
    missing_sums *missing; /* by partition; NULL: none is missing, or not loaded */
    bool missing_known;
    size_t width; /* no higher index is in it */
    bool changed, missing_changed;
    struct group *next_changed;
};

struct coord_inventory {
    struct coord_table groups; /* values are pointers */
    struct group *changed;     /* since they were written */
    size_t count;
    uint8_t changes[CHANGES_MAX]; /* of the entry under way */
    size_t changes_size;          /* beyond CHANGES_MAX: there were more */
};

enum lilio_err coord_inventory_new(struct coord_inventory **ret_inventory)
{
    struct coord_inventory *inventory = calloc(1, sizeof *inventory);
    if (!inventory)
        return LILIO_E_NOMEM;
    inventory->groups =
        (struct coord_table){.value_size = sizeof(struct group *), .limit = GROUPS_MAX};
    *ret_inventory = inventory;
    return LILIO_OK;
}

static void empty(struct coord_inventory *inventory)
{
    struct coord_table_key key;
    struct group **group;
    for (size_t i = 0; (group = coord_table_next(&inventory->groups, &i, &key));) {
        free((*group)->missing);
        free(*group);
    }
    coord_table_release(&inventory->groups);
    inventory->count = 0;
}

void coord_inventory_free(struct coord_inventory **inventory)
{
    if (!*inventory)
        return;
    empty(*inventory);
    free(*inventory);
    *inventory = NULL;
}

/* ---- rows in and out ---- */

static bool sums_unpack(struct base_slice bytes, uint8_t ret_sums[8 * COORD_INVENTORY_GROUP])
{
    if (bytes.size % 8 != 0 || bytes.size / 8 > COORD_INVENTORY_GROUP)
        return false;
    memset(ret_sums, 0, 8 * COORD_INVENTORY_GROUP);
    if (bytes.size > 0)
        memcpy(ret_sums, bytes.data, bytes.size);
    return true;
}

static struct base_slice sums_pack(const struct group *group)
{
    size_t count = COORD_INVENTORY_GROUP;
    while (count > 0 && base_le64_get(group->sums + 8 * (count - 1)) == 0)
        count--;
    return base_slice(group->sums, 8 * count);
}

/* *ret_width: beyond the highest index. */
static bool missing_unpack(struct base_slice bytes, missing_sums *ret, size_t *ret_width)
{
    if (bytes.size % MISSING_ENTRY != 0)
        return false;
    for (size_t at = 0; at < bytes.size; at += MISSING_ENTRY) {
        size_t index = bytes.data[at + 1];
        if (index >= CODEC_TOTAL_MAX)
            return false;
        ret[bytes.data[at]][index] = base_le64_get(bytes.data + at + 2);
        *ret_width = index >= *ret_width ? index + 1 : *ret_width;
    }
    return true;
}

static size_t missing_pack(const struct group *group, uint8_t *ret)
{
    size_t size = 0;
    for (size_t partition = 0; partition < COORD_INVENTORY_GROUP; partition++)
        for (size_t index = 0; index < group->width; index++) {
            if (group->missing[partition][index] == 0)
                continue;
            ret[size] = (uint8_t)partition;
            ret[size + 1] = (uint8_t)index;
            base_le64_put(ret + size + 2, group->missing[partition][index]);
            size += MISSING_ENTRY;
        }
    return size;
}

static enum lilio_err row_get(struct coord_command *command, struct coord_inventory_key name,
                              bool missing, struct proto_inventory_row *ret)
{
    name.missing = missing;
    struct coord_key key = coord_key_inventory(&name);
    *ret = (struct proto_inventory_row){.sums = base_slice(NULL, 0)};
    enum lilio_err err = coord_get(command, COORD_INVENTORY, &key, &proto_type_inventory_row, ret);
    return err == LILIO_E_NOT_FOUND ? LILIO_OK : err;
}

static void row_put(struct coord_state *state, struct coord_inventory_key name, bool missing,
                    struct base_slice sums)
{
    struct proto_inventory_row row = {.sums = sums};
    name.missing = missing;
    struct coord_key key = coord_key_inventory(&name);
    if (sums.size > 0)
        coord_put(state, COORD_INVENTORY, &key, &proto_type_inventory_row, &row);
    else
        coord_delete(state, COORD_INVENTORY, &key);
}

static void group_write(struct coord_state *state, struct group *group)
{
    row_put(state, group->name, false, sums_pack(group));
    group->changed = false;
    if (!group->missing_changed)
        return;
    uint8_t *bytes = malloc(COORD_INVENTORY_GROUP * CODEC_TOTAL_MAX * MISSING_ENTRY);
    if (!bytes) {
        (void)coord_failed(state, LILIO_E_NOMEM, NULL); /* commit looks at it */
        return;
    }
    row_put(state, group->name, true, base_slice(bytes, missing_pack(group, bytes)));
    group->missing_changed = false;
    free(bytes);
}

static void fold(struct coord_state *state, uint64_t index)
{
    struct coord_inventory *inventory = state->inventory;
    for (struct group *group = inventory->changed; group; group = group->next_changed)
        group_write(state, group);
    inventory->changed = NULL;
    state->row.inventory_index = index;
    if (inventory->count > GROUPS_KEPT)
        empty(inventory);
}

/* The place of an entry's changes is taken again when they were folded. */
static struct coord_key changes_key(uint64_t index)
{
    uint8_t place = (uint8_t)(index % FOLD);
    return coord_key_text(base_slice(&place, 1));
}

void coord_inventory_entry_end(struct coord_state *state, uint64_t index)
{
    struct coord_inventory *inventory = state->inventory;
    size_t size = inventory->changes_size;
    inventory->changes_size = 0;
    if (size > CHANGES_MAX || index % FOLD == 0) {
        fold(state, index);
    } else if (size > 0) {
        struct proto_inventory_changes changes = {.index = index,
                                                  .changes = base_slice(inventory->changes, size)};
        struct coord_key key = changes_key(index);
        coord_put(state, COORD_INVENTORY, &key, &proto_type_inventory_changes, &changes);
    }
}

/* ---- groups ---- */

static struct group *group_load(struct coord_command *command,
                                const struct coord_inventory_key *name)
{
    struct coord_inventory *inventory = command->state->inventory;
    struct coord_table_key at = {name->placement, name->partition};
    struct proto_inventory_row row;
    if (row_get(command, *name, false, &row))
        return NULL;
    struct group *group = calloc(1, sizeof *group);
    struct group **place = group ? coord_table_add(&inventory->groups, at) : NULL;
    if (!place) {
        free(group);
        (void)coord_failed(command->state, LILIO_E_NOMEM, NULL); /* the caller sees NULL */
        return NULL;
    }
    group->name = *name;
    *place = group;
    inventory->count++;
    if (!sums_unpack(row.sums, group->sums))
        (void)coord_broken(command, "an inventory row of no such length"); /* apply looks at it */
    return group;
}

/* The group of a partition; NULL: the state failed. */
static struct group *group_find(struct coord_command *command, uint32_t placement,
                                uint32_t partition)
{
    struct coord_inventory_key name = {.placement = placement,
                                       .partition = partition - partition % COORD_INVENTORY_GROUP};
    struct group **found =
        coord_table_find(&command->state->inventory->groups,
                         (struct coord_table_key){name.placement, name.partition});
    return found ? *found : group_load(command, &name);
}

/* The same, to be changed. */
static struct group *group_get(struct coord_command *command, uint32_t placement,
                               uint32_t partition)
{
    struct coord_inventory *inventory = command->state->inventory;
    struct group *group = group_find(command, placement, partition);
    if (group && !group->changed) {
        group->changed = true;
        group->next_changed = inventory->changed;
        inventory->changed = group;
    }
    return group;
}

/* Where nothing is missing, which is nearly everywhere, there is no room for it before it is
 * wanted.
 */
static bool missing_load(struct coord_command *command, struct group *group, bool wanted)
{
    struct proto_inventory_row row = {.sums = base_slice(NULL, 0)};
    if (group->missing || (group->missing_known && !wanted))
        return true;
    if (!group->missing_known && row_get(command, group->name, true, &row))
        return false;
    group->missing_known = true;
    if (row.sums.size == 0 && !wanted)
        return true;
    group->missing = calloc(COORD_INVENTORY_GROUP, sizeof *group->missing);
    if (!group->missing) {
        (void)coord_failed(command->state, LILIO_E_NOMEM, NULL); /* apply looks at it */
        return false;
    }
    if (!missing_unpack(row.sums, group->missing, &group->width))
        (void)coord_broken(command, "an inventory row with no such fragment"); /* likewise */
    return true;
}

/* ---- counting ---- */

static uint64_t missing_of(const struct coord_faults *faults, uint32_t stripe)
{
    return faults->missing ? faults->missing[stripe] : 0;
}

/* Adds to the sum of a slot's missing fragments, or of the partition: which = 1 + index, or 0. */
static void sum_change(struct coord_command *command, uint32_t placement, uint32_t partition,
                       size_t which, uint64_t value)
{
    struct group *group = command->state->failed ? NULL : group_get(command, placement, partition);
    uint32_t at = partition % COORD_INVENTORY_GROUP;
    if (!group || (which > 0 && !missing_load(command, group, true)))
        return;
    if (which == 0) {
        base_le64_put(group->sums + 8 * at, base_le64_get(group->sums + 8 * at) + value);
        return;
    }
    group->missing_changed = true;
    group->missing[at][which - 1] += value;
    group->width = which > group->width ? which : group->width;
}

static void change(struct coord_command *command, uint32_t placement, uint32_t partition,
                   size_t which, uint64_t value)
{
    struct coord_inventory *inventory = command->state->inventory;
    sum_change(command, placement, partition, which, value);
    if (inventory->changes_size + CHANGE <= CHANGES_MAX) {
        uint8_t *at = inventory->changes + inventory->changes_size;
        base_le32_put(at, placement);
        base_le16_put(at + 4, (uint16_t)partition);
        at[6] = (uint8_t)which;
        base_le64_put(at + 7, value);
        inventory->changes_size += CHANGE;
    } else {
        inventory->changes_size = CHANGES_MAX + 1;
    }
}

/* Adds a stripe times sum, and times missing where a fragment of the mask is. */
static void count(struct coord_command *command, const struct proto_data_row *row,
                  const struct proto_placement *placement, uint32_t stripe, uint64_t sum,
                  uint64_t mask, uint64_t missing)
{
    uint32_t partition = proto_partition(placement->partition_bits, row->oid, stripe);
    uint64_t hash = proto_stripe_hash(row->oid, stripe);
    if (sum)
        change(command, row->placement, partition, 0, sum * hash);
    if (mask)
        LILIO_MARK("coordinator/inventory_missing");
    for (; mask; mask &= mask - 1)
        change(command, row->placement, partition, 1 + (size_t)__builtin_ctzll(mask),
               missing * hash);
}

/* NULL: the maps are damaged, and the command knows. */
static const struct proto_placement *placement_of(struct coord_command *command,
                                                  const struct proto_data_row *row)
{
    const struct proto_placement *placement = coord_state_placement(command->state, row->placement);
    if (!placement)
        (void)coord_broken(command, "a run has no placement"); /* apply looks at it */
    return placement;
}

static void count_all(struct coord_command *command, const struct proto_data_row *row,
                      const struct coord_faults *faults, uint64_t by)
{
    const struct proto_placement *placement = placement_of(command, row);
    for (uint32_t stripe = 0; placement && stripe < faults->stripe_count; stripe++)
        count(command, row, placement, stripe, by, missing_of(faults, stripe), by);
}

void coord_inventory_add(struct coord_command *command, const struct proto_data_row *row,
                         const struct coord_faults *faults)
{
    count_all(command, row, faults, 1);
}

void coord_inventory_drop(struct coord_command *command, const struct proto_data_row *row)
{
    struct coord_faults faults;
    if (!coord_faults_load(command, row, &faults))
        count_all(command, row, &faults, UINT64_MAX /* minus one */);
}

void coord_inventory_move(struct coord_command *command, const struct proto_data_row *row,
                          const struct coord_faults *from, const struct coord_faults *to)
{
    const struct proto_placement *placement = placement_of(command, row);
    for (uint32_t stripe = 0; placement && stripe < to->stripe_count; stripe++) {
        uint64_t before = missing_of(from, stripe), after = missing_of(to, stripe);
        if (LILIO_PLANTED("inventory_not_moved"))
            return;
        if (after & ~before)
            count(command, row, placement, stripe, 0, after & ~before, 1);
        if (before & ~after)
            count(command, row, placement, stripe, 0, before & ~after, UINT64_MAX);
    }
}

/* ---- reading ---- */

enum lilio_err coord_inventory_sum(struct coord_state *state, uint32_t placement,
                                   uint32_t partition, uint32_t index, uint64_t *ret,
                                   struct lilio_errinfo *info)
{
    struct coord_command command = {.state = state};
    struct coord_inventory *inventory = state->inventory;
    uint32_t at = partition % COORD_INVENTORY_GROUP;
    if (!inventory->changed && inventory->count > GROUPS_KEPT)
        empty(inventory);
    struct group *group = state->failed ? NULL : group_find(&command, placement, partition);
    if (group && missing_load(&command, group, false))
        *ret =
            base_le64_get(group->sums + 8 * at) - (group->missing ? group->missing[at][index] : 0);
    return coord_state_failed(state, info);
}

/* ---- opening ---- */

typedef enum lilio_err (*row_fn)(struct coord_command *command, struct base_slice key,
                                 struct base_slice value);

static enum lilio_err each(struct coord_state *state, enum coord_column column, row_fn fn,
                           struct lilio_errinfo *info)
{
    struct base_kv_iter *iter = NULL;
    struct coord_command command = {.state = state};
    enum lilio_err err = base_kv_iter_new(state->kv, NULL, NULL, column, &iter);
    if (err)
        return lilio_fail(info, err, "%s", lilio_err_text(err));
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter) && !err;
         base_kv_iter_next(iter)) {
        proto_arena_clear(state->arena);
        err = fn(&command, base_kv_iter_key(iter), base_kv_iter_value(iter));
        if (err)
            *info = command.info;
    }
    if (!err)
        err = base_kv_iter_error(iter, info);
    base_kv_iter_free(&iter);
    return err ? err : coord_state_failed(state, info);
}

static enum lilio_err committed_add(struct coord_command *command, struct base_slice key,
                                    struct base_slice value)
{
    struct proto_data_row row;
    struct coord_faults faults;
    struct coord_view view = coord_command_view(command);
    (void)key;
    enum lilio_err err =
        coord_view_unpack(&view, &proto_type_data_row, value, &row, &command->info);
    if (err || row.state != COORD_RUN_COMMITTED)
        return err;
    err = coord_faults_load(command, &row, &faults);
    if (!err)
        coord_inventory_add(command, &row, &faults);
    return err;
}

static enum lilio_err parked_drop(struct coord_command *command, struct base_slice key,
                                  struct base_slice value)
{
    struct proto_gc_key name;
    struct proto_data_row row;
    (void)value;
    if (!coord_key_gc_parse(key, &name) || name.osd == COORD_GC_NOBODY)
        return LILIO_OK;
    struct coord_key oid = coord_key_oid(name.oid);
    enum lilio_err err = coord_get(command, COORD_DATA, &oid, &proto_type_data_row, &row);
    if (!err)
        coord_inventory_drop(command, &row);
    return err == LILIO_E_NOT_FOUND ? LILIO_OK : err;
}

/* Maps written before there were such rows. All of it is one batch. */
static enum lilio_err count_everything(struct coord_state *state, struct lilio_errinfo *info)
{
    enum lilio_err err = each(state, COORD_DATA, committed_add, info);
    if (!err)
        err = each(state, COORD_GC, parked_drop, info);
    if (err)
        return lilio_prefix(info, err, "summing up what OSDs have to have");
    struct coord_key key = coord_key_text(base_slice_str("state"));
    state->row.inventory_counted = true;
    state->inventory->changes_size = 0;
    fold(state, state->row.applied_index);
    coord_put(state, COORD_META, &key, &proto_type_state_row, &state->row);
    return coord_state_commit(state, /* sync */ false, info);
}

/* What entries changed since the groups were written. */
static enum lilio_err changes_load(struct coord_state *state, uint64_t index,
                                   struct lilio_errinfo *info)
{
    struct coord_command command = {.state = state};
    struct proto_inventory_changes row;
    struct coord_key key = changes_key(index);
    proto_arena_clear(state->arena);
    enum lilio_err err =
        coord_get(&command, COORD_INVENTORY, &key, &proto_type_inventory_changes, &row);
    if (err == LILIO_E_NOT_FOUND || (!err && row.index != index))
        return LILIO_OK; /* it changed nothing */
    if (err)
        return coord_state_failed(state, info);
    for (size_t at = 0; at + CHANGE <= row.changes.size; at += CHANGE) {
        const uint8_t *bytes = row.changes.data + at;
        if (bytes[6] > CODEC_TOTAL_MAX)
            return lilio_fail(info, LILIO_E_CORRUPT, "an inventory row with no such fragment");
        sum_change(&command, base_le32_get(bytes), base_le16_get(bytes + 4), bytes[6],
                   base_le64_get(bytes + 7));
    }
    return coord_state_failed(state, info);
}

enum lilio_err coord_inventory_load(struct coord_state *state, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    if (!state->row.inventory_counted && state->row.data_count > 0)
        return count_everything(state, info);
    state->row.inventory_counted = true;
    uint64_t to = state->row.applied_index, from = state->row.inventory_index + 1;
    from = to >= FOLD && from <= to - FOLD ? to - FOLD + 1 : from;
    for (uint64_t index = from; index <= to && !err; index++)
        err = changes_load(state, index, info);
    return err;
}
