/* What waits for repair, in the order in which it is to be done, and how much repair may take.
 *
 * `repair` has a row for each run with known missing or corrupt fragments, `repair_queue` the same
 * runs by (margin, since, oid): what the next loss would kill comes first, then what waits longest.
 * A run counts by the worst of its stripes that can be mended: one stripe that is lost must not
 * keep the others waiting. Runs without any come last: they wait for OSDs to come back. Both change
 * in the batch that changes the exceptions, and so do the counters by level.
 */
#include "coordinator/state_priv.h"

#include "base/banned.h"

static struct coord_key dial_key(void)
{
    return coord_key_text(base_slice_str("dial"));
}

size_t coord_repair_level(uint8_t margin)
{
    return margin < COORD_REPAIR_LEVELS - 1 ? margin : COORD_REPAIR_LEVELS - 1;
}

static struct coord_key queue_key(const struct proto_repair_row *row)
{
    return coord_key_repair(&(struct coord_repair_key){row->margin, row->since_ms, row->oid});
}

struct coord_bad coord_repair_bad(const struct proto_data_row *row)
{
    struct codec_profile profile = coord_codec_profile(&row->profile);
    uint64_t stripes = coord_run_stripes(row), length = row->stored_length;
    uint64_t size = codec_fragment_size(&profile, codec_stripe_length(&profile, length, 0));
    uint64_t last =
        codec_fragment_size(&profile, codec_stripe_length(&profile, length, stripes - 1));
    struct coord_bad bad = {0};
    for (size_t i = 0; i < row->exceptions_count; i++) {
        uint64_t count = row->exceptions[i].stripe_count;
        bad.fragments += count;
        bad.bytes += count * size;
        if (row->exceptions[i].first_stripe + count == stripes)
            bad.bytes -= size - last; /* all others are as long as the first */
    }
    return bad;
}

uint64_t coord_bad_work(struct coord_bad bad)
{
    return bad.bytes + bad.fragments * COORD_REPAIR_FRAGMENT_COST;
}

static void queue_take(struct coord_state *state, const struct proto_repair_row *row)
{
    struct coord_key key = queue_key(row);
    coord_delete(state, COORD_REPAIR_QUEUE, &key);
    state->repair_levels[coord_repair_level(row->margin)]--;
    state->row.repair_fragments -= row->fragments;
    state->row.repair_bytes -= row->bytes;
}

static void queue_add(struct coord_state *state, const struct proto_repair_row *row)
{
    struct coord_key key = queue_key(row);
    base_kv_batch_put(state->batch, COORD_REPAIR_QUEUE, coord_key_slice(&key), base_slice(NULL, 0));
    state->repair_levels[coord_repair_level(row->margin)]++;
    state->row.repair_fragments += row->fragments;
    state->row.repair_bytes += row->bytes;
}

/* What follows from a run's faults; its oid and age stay. */
static void row_fill(struct proto_repair_row *row, const struct proto_data_row *data,
                     const struct coord_faults *faults)
{
    struct coord_bad bad = coord_repair_bad(data);
    row->fragments = bad.fragments;
    row->bytes = bad.bytes;
    row->least_good = coord_faults_least_good(faults);
    row->margin = coord_faults_margin(faults, data->profile.data_count);
}

static bool same_rows(const struct proto_repair_row *a, const struct proto_repair_row *b)
{
    return a->fragments == b->fragments && a->bytes == b->bytes && a->least_good == b->least_good &&
           a->margin == b->margin && a->grown_index == b->grown_index;
}

void coord_repair_update(struct coord_command *command, const struct proto_data_row *data,
                         const struct coord_faults *before, const struct coord_faults *faults)
{
    struct coord_state *state = command->state;
    struct proto_repair_row row = {0};
    struct coord_key key = coord_key_oid(data->oid);
    struct coord_bad bad = faults ? coord_repair_bad(data) : (struct coord_bad){0};
    enum lilio_err err = coord_get(command, COORD_REPAIR, &key, &proto_type_repair_row, &row);
    if (err && err != LILIO_E_NOT_FOUND)
        return;
    bool there = err == LILIO_OK, wanted = bad.fragments > 0;
    struct proto_repair_row next = row;
    if (wanted)
        row_fill(&next, data, faults);
    if (wanted && coord_faults_grew(before, faults))
        next.grown_index = command->version.index;
    if (there == wanted && (!there || same_rows(&row, &next)))
        return;
    if (there) {
        queue_take(state, &row);
        state->mended.fragments +=
            faults && row.fragments > bad.fragments ? row.fragments - bad.fragments : 0;
        state->mended.bytes += faults && row.bytes > bad.bytes ? row.bytes - bad.bytes : 0;
    } else {
        next.oid = data->oid;
        next.since_ms = state->row.cluster_ms;
    }
    state->row.repair_count += wanted;
    state->row.repair_count -= there;
    if (!wanted && there)
        coord_delete(state, COORD_REPAIR, &key);
    if (!wanted)
        return;
    queue_add(state, &next);
    coord_put(state, COORD_REPAIR, &key, &proto_type_repair_row, &next);
}

struct coord_bad coord_state_mended(const struct coord_state *state)
{
    return state->mended;
}

/* ---- opening ---- */

/* One row of maps that had no queue. */
static enum lilio_err queue_make_row(struct coord_state *state, struct base_slice value,
                                     struct lilio_errinfo *info)
{
    struct proto_repair_row row;
    struct proto_data_row data;
    struct coord_faults faults;
    struct coord_command command = {.state = state};
    struct coord_view view = coord_state_view(state, NULL, state->arena);
    enum lilio_err err = coord_view_unpack(&view, &proto_type_repair_row, value, &row, info);
    struct coord_key key = coord_key_oid(row.oid);
    if (!err)
        err = coord_view_get(&view, COORD_DATA, &key, &proto_type_data_row, &data, info);
    if (!err)
        err = coord_faults_load(&command, &data, &faults);
    if (err)
        return err;
    row_fill(&row, &data, &faults);
    queue_add(state, &row);
    coord_put(state, COORD_REPAIR, &key, &proto_type_repair_row, &row);
    proto_arena_clear(state->arena);
    return state->failed;
}

/* Maps written before there was a queue get one. It is not synced: behind a crash it is made anew
 * from the same rows. */
static enum lilio_err queue_make(struct coord_state *state, struct lilio_errinfo *info)
{
    struct base_kv_iter *iter = NULL;
    enum lilio_err err = base_kv_iter_new(state->kv, NULL, NULL, COORD_REPAIR, &iter);
    if (err)
        return lilio_fail(info, err, "%s", lilio_err_text(err));
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter) && !err;
         base_kv_iter_next(iter))
        err = queue_make_row(state, base_kv_iter_value(iter), info);
    if (!err)
        err = base_kv_iter_error(iter, info);
    base_kv_iter_free(&iter);
    struct coord_key key = coord_key_text(base_slice_str("state"));
    if (!err)
        coord_put(state, COORD_META, &key, &proto_type_state_row, &state->row);
    if (!err)
        err = coord_state_commit(state, /* sync */ false, info);
    return err ? lilio_prefix(info, err, "making the repair queue") : LILIO_OK;
}

enum lilio_err coord_repair_load(struct coord_state *state, struct lilio_errinfo *info)
{
    struct coord_view view = coord_state_view(state, NULL, state->arena);
    struct coord_key key = dial_key();
    size_t count = state->row.repair_levels_count;
    for (size_t i = 0; i < count && i < COORD_REPAIR_LEVELS; i++)
        state->repair_levels[i] = state->row.repair_levels[i];
    state->row.repair_levels = state->repair_levels;
    state->row.repair_levels_count = COORD_REPAIR_LEVELS;
    enum lilio_err err =
        coord_view_get(&view, COORD_META, &key, &proto_type_dial_row, &state->dial, info);
    if (err == LILIO_E_NOT_FOUND)
        err = LILIO_OK;
    if (state->dial.priority < COORD_PRIORITY_LOW || state->dial.priority > COORD_PRIORITY_MAX)
        state->dial.priority = COORD_PRIORITY_NORMAL; /* never set, or by a newer program */
    if (count == 0)
        state->row.repair_fragments = state->row.repair_bytes = 0;
    if (!err && count == 0 && state->row.repair_count > 0)
        err = queue_make(state, info);
    return err;
}

/* ---- the dial ---- */

enum lilio_err coord_apply_repair_set(struct coord_command *command)
{
    struct proto_repair_set set;
    enum lilio_err err = coord_body(command, &proto_type_repair_set, &set);
    if (err)
        return err;
    if ((set.priority == 0 && !set.set_deadline) || set.priority > COORD_PRIORITY_MAX)
        return coord_refuse(command, LILIO_E_INVALID, "repair knows no priority %u", set.priority);
    if (set.deadline_ms > COORD_DEADLINE_MS_MAX)
        return coord_refuse(command, LILIO_E_INVALID, "a deadline is at most a year away");
    struct coord_key key = dial_key();
    struct proto_dial_row *dial = &command->state->dial;
    if (set.priority)
        dial->priority = set.priority;
    if (set.set_deadline && (set.deadline_was_ms == 0 || set.deadline_was_ms == dial->deadline_ms))
        dial->deadline_ms = set.deadline_ms ? command->state->row.cluster_ms + set.deadline_ms : 0;
    coord_put(command->state, COORD_META, &key, &proto_type_dial_row, dial);
    return coord_reply_ok(command);
}

const struct proto_dial_row *coord_state_dial(const struct coord_state *state)
{
    return &state->dial;
}
