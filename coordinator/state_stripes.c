/* How many stripes there are of each kind: of a bucket, coded so, in a partition, with the same
 * fragments missing or corrupt. Which of the rest are good the map of OSDs says, so that the
 * histogram of redundancy (histogram.c) is exact at every index and costs rows of this column, not
 * objects, and an OSD that comes or goes changes none of them.
 *
 * Counted are the stripes of runs that a name uses, in the bucket of the first owner, in the batch
 * that names the run, changes its exceptions or takes its last name. Counters of whole stripes,
 * which are nearly all, are kept unpacked from one commit to the next, so that a COMMIT of many
 * stripes changes memory only and a row is written once a batch.
 */
#include <stdlib.h>

#include "base/mark.h"
#include "coordinator/state_priv.h"
#include "coordinator/table.h"

#include "base/banned.h"

enum { KEPT_MAX = 1 << 16 }; /* counters kept beyond a commit */

struct counter {
    uint64_t count;
    bool stored, changed;
};

struct coord_stripes {
    struct coord_table whole; /* counters of stripes without known faults */
    struct coord_table_key *changed;
    size_t changed_count, changed_room;
};

enum lilio_err coord_stripes_new(struct coord_stripes **ret_stripes)
{
    struct coord_stripes *stripes = calloc(1, sizeof *stripes);
    if (!stripes)
        return LILIO_E_NOMEM;
    stripes->whole =
        (struct coord_table){.value_size = sizeof(struct counter), .limit = SIZE_MAX / 2};
    *ret_stripes = stripes;
    return LILIO_OK;
}

void coord_stripes_free(struct coord_stripes **stripes)
{
    if (!*stripes)
        return;
    coord_table_release(&(*stripes)->whole);
    free((*stripes)->changed);
    free(*stripes);
    *stripes = NULL;
}

/* ---- rows ---- */

static void row_read(struct coord_command *command, const struct coord_stripes_key *name,
                     struct counter *ret)
{
    struct proto_stripes_row row = {0};
    struct coord_key key = coord_key_stripes(name);
    enum lilio_err err = coord_get(command, COORD_STRIPES, &key, &proto_type_stripes_row, &row);
    *ret = (struct counter){.count = row.count, .stored = err == LILIO_OK};
}

static void row_write(struct coord_state *state, const struct coord_stripes_key *name,
                      const struct counter *counter)
{
    struct proto_stripes_row row = {.count = counter->count};
    struct coord_key key = coord_key_stripes(name);
    if (counter->count > 0)
        coord_put(state, COORD_STRIPES, &key, &proto_type_stripes_row, &row);
    else if (counter->stored)
        coord_delete(state, COORD_STRIPES, &key);
}

/* ---- whole stripes ---- */

/* data_count is at most 32, a partition has at most 16 bits. */
static struct coord_table_key pack_name(const struct coord_stripes_key *name)
{
    return (struct coord_table_key){
        name->bucket_id,
        (uint64_t)name->placement << 32 | (uint64_t)name->data_count << 24 | name->partition,
    };
}

static struct coord_stripes_key unpack_name(struct coord_table_key key)
{
    return (struct coord_stripes_key){
        .bucket_id = key.a,
        .placement = (uint32_t)(key.b >> 32),
        .data_count = (uint8_t)(key.b >> 24),
        .partition = key.b & 0xffffff,
    };
}

static bool note_changed(struct coord_stripes *stripes, struct coord_table_key key)
{
    if (stripes->changed_count == stripes->changed_room) {
        size_t room = stripes->changed_room ? 2 * stripes->changed_room : 1024;
        struct coord_table_key *grown = reallocarray(stripes->changed, room, sizeof *grown);
        if (!grown)
            return false;
        stripes->changed = grown;
        stripes->changed_room = room;
    }
    stripes->changed[stripes->changed_count++] = key;
    return true;
}

static struct counter *whole_get(struct coord_command *command,
                                 const struct coord_stripes_key *name)
{
    struct coord_stripes *stripes = command->state->stripes;
    struct coord_table_key key = pack_name(name);
    struct counter *counter = coord_table_find(&stripes->whole, key);
    if (!counter) {
        struct counter read;
        row_read(command, name, &read);
        counter = command->state->failed ? NULL : coord_table_add(&stripes->whole, key);
        if (counter)
            *counter = read;
    }
    if (counter && !counter->changed && !note_changed(stripes, key))
        counter = NULL;
    if (!counter)
        (void)coord_failed(command->state, LILIO_E_NOMEM, NULL); /* keeps the first failure */
    else
        counter->changed = true;
    return counter;
}

void coord_stripes_write(struct coord_state *state)
{
    struct coord_stripes *stripes = state->stripes;
    for (size_t i = 0; i < stripes->changed_count; i++) {
        struct counter *counter = coord_table_find(&stripes->whole, stripes->changed[i]);
        struct coord_stripes_key name = unpack_name(stripes->changed[i]);
        row_write(state, &name, counter);
        counter->stored = counter->count > 0;
        counter->changed = false;
    }
    stripes->changed_count = 0;
    if (stripes->whole.count > KEPT_MAX)
        coord_table_release(&stripes->whole);
}

/* ---- counting ---- */

static void count(struct coord_command *command, const struct coord_stripes_key *name, int by)
{
    struct counter here;
    struct counter *counter = &here;
    if (command->state->failed)
        return;
    if (name->bad == 0)
        counter = whole_get(command, name);
    else
        row_read(command, name, &here);
    if (command->state->failed)
        return;
    if (by < 0 && counter->count == 0) {
        (void)coord_broken(command, "more stripes go than were counted"); /* apply looks at it */
        return;
    }
    counter->count += (uint64_t)(int64_t)by;
    if (name->bad == 0)
        return;
    LILIO_MARK("coordinator/stripes_with_faults");
    row_write(command->state, name, counter);
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
    for (uint32_t stripe = 0; placement && stripe < faults->stripe_count; stripe++) {
        struct coord_stripes_key name = name_of(row, placement, stripe, bad_of(faults, stripe));
        count(command, &name, by);
    }
}

void coord_stripes_add(struct coord_command *command, const struct proto_data_row *row,
                       const struct coord_faults *faults)
{
    count_all(command, row, faults, 1);
    command->state->row.stripes += faults->stripe_count;
    command->state->row.stripes_ever += faults->stripe_count;
}

void coord_stripes_drop(struct coord_command *command, const struct proto_data_row *row,
                        const struct coord_faults *faults)
{
    count_all(command, row, faults, -1);
    command->state->row.stripes -= faults->stripe_count;
}

void coord_stripes_move(struct coord_command *command, const struct proto_data_row *row,
                        const struct coord_faults *from, const struct coord_faults *to)
{
    const struct proto_placement *placement = placement_of(command, row);
    for (uint32_t stripe = 0; placement && stripe < to->stripe_count; stripe++) {
        uint64_t before = bad_of(from, stripe), after = bad_of(to, stripe);
        if (before == after)
            continue;
        struct coord_stripes_key name = name_of(row, placement, stripe, before);
        count(command, &name, -1);
        name.bad = after;
        count(command, &name, 1);
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
    state->row.stripes = state->row.stripes_ever = 0;
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
