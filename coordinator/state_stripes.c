/* How many stripes there are of each kind: of a bucket, coded so, in a partition, with the same
 * fragments missing or corrupt. Which of the rest are good the map of OSDs says, so that the
 * histogram of redundancy (histogram.c) is exact at every index and costs rows of this column, not
 * objects, and an OSD that comes or goes changes none of them.
 *
 * Counted are the stripes of runs that a name uses, in the bucket of the first owner, in the batch
 * that names the run, changes its exceptions or takes its last name. A row has the counters of a
 * group of partitions, and rows that change are kept unpacked from one commit to the next: a COMMIT
 * of many stripes changes memory, and writes a few rows once a batch.
 */
#include <stdlib.h>

#include "base/mark.h"
#include "base/planted.h"
#include "coordinator/state_priv.h"
#include "coordinator/table.h"

#include "base/banned.h"

enum { GROUPS_MAX = 1 << 20, ROWS_KEPT = 1 << 12 };

struct row {
    struct coord_stripes_key name;
    uint64_t counts[COORD_STRIPES_GROUP];
    bool stored, changed;
    struct row *next_alike; /* of the same partitions, other faults */
    struct row *next_changed;
};

struct coord_stripes {
    struct coord_table groups; /* values: a list of rows */
    struct row *changed;
    size_t row_count;
};

enum lilio_err coord_stripes_new(struct coord_stripes **ret_stripes)
{
    struct coord_stripes *stripes = calloc(1, sizeof *stripes);
    if (!stripes)
        return LILIO_E_NOMEM;
    stripes->groups = (struct coord_table){.value_size = sizeof(struct row *), .limit = GROUPS_MAX};
    *ret_stripes = stripes;
    return LILIO_OK;
}

static void empty(struct coord_stripes *stripes)
{
    struct coord_table_key key;
    struct row **rows;
    for (size_t i = 0; (rows = coord_table_next(&stripes->groups, &i, &key));)
        for (struct row *row = *rows, *next; row; row = next) {
            next = row->next_alike;
            free(row);
        }
    coord_table_release(&stripes->groups);
    stripes->row_count = 0;
}

void coord_stripes_free(struct coord_stripes **stripes)
{
    if (!*stripes)
        return;
    empty(*stripes);
    free(*stripes);
    *stripes = NULL;
}

/* ---- rows ---- */

/* data_count is at most 32, a partition has at most 16 bits. */
static struct coord_table_key group_key(const struct coord_stripes_key *name)
{
    return (struct coord_table_key){
        name->bucket_id,
        (uint64_t)name->placement << 32 | (uint64_t)name->data_count << 24 | name->partition,
    };
}

static struct row *row_load(struct coord_command *command, const struct coord_stripes_key *name)
{
    struct coord_stripes *stripes = command->state->stripes;
    struct proto_stripes_row stored = {0};
    struct coord_key key = coord_key_stripes(name);
    enum lilio_err err = coord_get(command, COORD_STRIPES, &key, &proto_type_stripes_row, &stored);
    if (err && err != LILIO_E_NOT_FOUND)
        return NULL;
    struct row *row = calloc(1, sizeof *row);
    struct row **rows = row ? coord_table_add(&stripes->groups, group_key(name)) : NULL;
    if (!rows) {
        free(row);
        (void)coord_failed(command->state, LILIO_E_NOMEM, NULL); /* the caller sees NULL */
        return NULL;
    }
    row->name = *name;
    row->stored = err == LILIO_OK;
    for (size_t i = 0; i < stored.counts_count; i++)
        row->counts[i] = stored.counts[i];
    row->next_alike = *rows;
    *rows = row;
    stripes->row_count++;
    return row;
}

/* The row of these stripes, to be changed; NULL: the state failed. */
static struct row *row_get(struct coord_command *command, const struct coord_stripes_key *name)
{
    struct coord_stripes *stripes = command->state->stripes;
    struct row **rows = coord_table_find(&stripes->groups, group_key(name));
    struct row *row = rows ? *rows : NULL;
    while (row && row->name.bad != name->bad)
        row = row->next_alike;
    if (!row)
        row = row_load(command, name);
    if (row && !row->changed) {
        row->changed = true;
        row->next_changed = stripes->changed;
        stripes->changed = row;
    }
    return row;
}

static void row_write(struct coord_state *state, struct row *row)
{
    struct proto_stripes_row packed = {.counts = row->counts, .counts_count = COORD_STRIPES_GROUP};
    struct coord_key key = coord_key_stripes(&row->name);
    while (packed.counts_count > 0 && row->counts[packed.counts_count - 1] == 0)
        packed.counts_count--;
    if (packed.counts_count > 0)
        coord_put(state, COORD_STRIPES, &key, &proto_type_stripes_row, &packed);
    else if (row->stored)
        coord_delete(state, COORD_STRIPES, &key);
    row->stored = packed.counts_count > 0;
    row->changed = false;
}

void coord_stripes_write(struct coord_state *state)
{
    struct coord_stripes *stripes = state->stripes;
    for (struct row *row = stripes->changed; row; row = row->next_changed)
        row_write(state, row);
    stripes->changed = NULL;
    if (stripes->row_count > ROWS_KEPT)
        empty(stripes);
}

/* ---- counting ---- */

static void count(struct coord_command *command, struct coord_stripes_key name, int by)
{
    uint32_t at = name.partition % COORD_STRIPES_GROUP;
    name.partition -= at;
    struct row *row = command->state->failed ? NULL : row_get(command, &name);
    if (!row)
        return;
    if (by < 0 && row->counts[at] == 0) {
        (void)coord_broken(command, "more stripes go than were counted"); /* apply looks at it */
        return;
    }
    row->counts[at] += (uint64_t)(int64_t)by;
    if (name.bad)
        LILIO_MARK("coordinator/stripes_with_faults");
}

static uint64_t bad_of(const struct coord_faults *faults, uint32_t stripe)
{
    return faults->missing ? faults->missing[stripe] | faults->corrupt[stripe] : 0;
}

static struct coord_stripes_key name_of(const struct proto_data_row *row,
                                        const struct proto_placement *placement, uint32_t stripe,
                                        uint64_t bad)
{
    return (struct coord_stripes_key){
        .bucket_id = row->bucket_id,
        .placement = row->placement,
        .data_count = row->profile.data_count,
        .partition = proto_partition(placement->partition_bits, row->oid, stripe),
        .bad = bad,
    };
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
                      const struct coord_faults *faults, int by)
{
    const struct proto_placement *placement = placement_of(command, row);
    for (uint32_t stripe = 0; placement && stripe < faults->stripe_count; stripe++)
        count(command, name_of(row, placement, stripe, bad_of(faults, stripe)), by);
}

void coord_stripes_add(struct coord_command *command, const struct proto_data_row *row,
                       const struct coord_faults *faults)
{
    count_all(command, row, faults, 1);
    command->state->row.stripes += faults->stripe_count;
    command->state->row.stripes_ever += faults->stripe_count;
    command->state->row.stored_bytes += row->stored_length;
}

void coord_stripes_drop(struct coord_command *command, const struct proto_data_row *row,
                        const struct coord_faults *faults)
{
    count_all(command, row, faults, -1);
    command->state->row.stripes -= faults->stripe_count;
    command->state->row.stored_bytes -= row->stored_length;
}

void coord_stripes_move(struct coord_command *command, const struct proto_data_row *row,
                        const struct coord_faults *from, const struct coord_faults *to)
{
    const struct proto_placement *placement = placement_of(command, row);
    for (uint32_t stripe = 0; placement && stripe < to->stripe_count; stripe++) {
        uint64_t before = bad_of(from, stripe), after = bad_of(to, stripe);
        if (before == after || LILIO_PLANTED("stripes_not_moved"))
            continue;
        count(command, name_of(row, placement, stripe, before), -1);
        count(command, name_of(row, placement, stripe, after), 1);
    }
}

/* ---- opening ---- */

/* Rows of a count that a crash ended. */
static enum lilio_err rows_clear(struct coord_state *state, struct lilio_errinfo *info)
{
    struct base_kv_iter *iter = NULL;
    enum lilio_err err = base_kv_iter_new(state->kv, NULL, NULL, COORD_STRIPES, &iter);
    if (err)
        return lilio_fail(info, err, "%s", lilio_err_text(err));
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
         base_kv_iter_next(iter))
        base_kv_batch_delete(state->batch, COORD_STRIPES, base_kv_iter_key(iter));
    err = base_kv_iter_error(iter, info);
    base_kv_iter_free(&iter);
    return err ? err : coord_state_commit(state, /* sync */ false, info);
}

static enum lilio_err page_count(struct coord_state *state, struct base_oid *after, bool *ret_more,
                                 struct lilio_errinfo *info)
{
    struct proto_scan_page page;
    struct coord_command command = {.state = state};
    proto_arena_clear(state->arena);
    struct coord_view view = coord_state_view(state, NULL, state->arena);
    enum lilio_err err = coord_read_scan(&view, /* bucket_id */ 0, *after, &page, info);
    for (size_t i = 0; i < page.rows_count && !err; i++) {
        struct coord_faults faults;
        err = coord_faults_load(&command, &page.rows[i].data, &faults);
        if (!err)
            coord_stripes_add(&command, &page.rows[i].data, &faults);
        *after = page.rows[i].data.oid;
    }
    if (!err)
        coord_stripes_write(state);
    *ret_more = page.more && page.rows_count > 0;
    return err ? err : coord_state_commit(state, /* sync */ false, info);
}

/* Maps written before stripes were counted. Nothing is synced: behind a crash it is done anew. */
static enum lilio_err count_everything(struct coord_state *state, struct lilio_errinfo *info)
{
    struct base_oid after = {0};
    bool more = true;
    state->row.stripes = state->row.stripes_ever = state->row.stored_bytes = 0;
    enum lilio_err err = rows_clear(state, info);
    while (!err && more)
        err = page_count(state, &after, &more, info);
    struct coord_key key = coord_key_text(base_slice_str("state"));
    state->row.stripes_counted = true;
    if (!err)
        coord_put(state, COORD_META, &key, &proto_type_state_row, &state->row);
    if (!err)
        err = coord_state_commit(state, /* sync */ false, info);
    return err ? lilio_prefix(info, err, "counting stripes") : LILIO_OK;
}

enum lilio_err coord_stripes_load(struct coord_state *state, struct lilio_errinfo *info)
{
    if (!state->row.stripes_counted && state->row.data_count > 0)
        return count_everything(state, info);
    state->row.stripes_counted = true;
    return LILIO_OK;
}
