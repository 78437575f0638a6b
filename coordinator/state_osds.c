/* The cluster map: OSDs, their incarnations and states, placements. Every change is an entry and
 * moves the epoch.
 *
 *                 bind                    heartbeat
 *   new ------------------------> up <---------------- down <--- silent --- up, failed, blank
 *   (incarnation 0)               |                      |
 *                                 +--- failed, blank     +--- long silent ---> out
 *
 * The service observes (coordinator/service_osds.c); what is in the rows is decided here: a step
 * about an incarnation that was replaced since has no effect.
 */
#include "coordinator/state_priv.h"

#include <stdlib.h>

#include "base/env.h"

#include "base/banned.h"

#define DEFAULT_RULE "osd:1"

/* ---- rows in memory ---- */

static struct coord_view load_view(struct coord_state *state)
{
    return (struct coord_view){.kv = state->kv, .arena = state->arena};
}

/* Keeps a packed row and its unpacked form, whose slices point into it. Neither struct has lists.
 */
static enum lilio_err row_keep(struct coord_state *state, const struct proto_type *type,
                               struct base_slice bytes, struct base_buffer *packed, void *row,
                               struct lilio_errinfo *info)
{
    struct base_buffer copy = {0};
    enum lilio_err err = base_buffer_append(&copy, bytes.data, bytes.size);
    if (err)
        return lilio_fail(info, err, "out of memory");
    err = proto_unpack(type, base_buffer_slice(&copy), state->arena, row, info);
    if (err) {
        base_buffer_release(&copy);
        return err == LILIO_E_NOMEM ? err
                                    : lilio_prefix(info, LILIO_E_CORRUPT, "a %s row", type->name);
    }
    base_buffer_release(packed);
    *packed = copy;
    return LILIO_OK;
}

static enum lilio_err osd_load(struct coord_state *state, struct base_slice value,
                               struct lilio_errinfo *info)
{
    if (state->osd_count == COORD_OSDS_MAX)
        return lilio_fail(info, LILIO_E_CORRUPT, "more than %d OSDs", COORD_OSDS_MAX);
    struct coord_osd *osd = &state->osds[state->osd_count];
    enum lilio_err err = row_keep(state, &proto_type_osd, value, &osd->packed, &osd->row, info);
    if (err)
        return err;
    state->osd_count++;
    if (osd->row.id > COORD_OSD_ID_MAX || osd->row.state < PROTO_OSD_UP ||
        osd->row.state > PROTO_OSD_BLANK || (state->osd_count > 1 && osd[-1].row.id >= osd->row.id))
        return lilio_fail(info, LILIO_E_CORRUPT, "the row of osd.%u contradicts the others",
                          osd->row.id);
    return LILIO_OK;
}

static enum lilio_err placement_load(struct coord_state *state, struct base_slice value,
                                     struct lilio_errinfo *info)
{
    if (state->placement_count == COORD_PLACEMENTS_MAX)
        return lilio_fail(info, LILIO_E_CORRUPT, "more than %d placements", COORD_PLACEMENTS_MAX);
    struct coord_placement *placement = &state->placements[state->placement_count];
    enum lilio_err err =
        row_keep(state, &proto_type_placement, value, &placement->packed, &placement->row, info);
    if (err)
        return err;
    state->placement_count++;
    if (!proto_placement_sized(&placement->row))
        return lilio_fail(info, LILIO_E_CORRUPT, "the slots of placement %u contradict its width",
                          placement->row.id);
    return LILIO_OK;
}

static enum lilio_err column_load(struct coord_state *state, enum coord_column column,
                                  enum lilio_err (*load)(struct coord_state *, struct base_slice,
                                                         struct lilio_errinfo *),
                                  struct lilio_errinfo *info)
{
    struct coord_view view = load_view(state);
    struct base_kv_iter *iter = NULL;
    enum lilio_err err = base_kv_iter_new(view.kv, NULL, NULL, column, &iter);
    if (err)
        return lilio_fail(info, err, "%s", lilio_err_text(err));
    base_kv_iter_seek(iter, base_slice(NULL, 0));
    for (; base_kv_iter_valid(iter) && !err; base_kv_iter_next(iter))
        err = load(state, base_kv_iter_value(iter), info);
    if (!err)
        err = base_kv_iter_error(iter, info);
    base_kv_iter_free(&iter);
    return err;
}

enum lilio_err coord_map_load(struct coord_state *state, struct lilio_errinfo *info)
{
    state->osds = calloc(COORD_OSDS_MAX, sizeof *state->osds);
    state->placements = calloc(COORD_PLACEMENTS_MAX, sizeof *state->placements);
    if (!state->osds || !state->placements)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    enum lilio_err err = column_load(state, COORD_OSDS, osd_load, info);
    if (!err)
        err = column_load(state, COORD_SLOTS, placement_load, info);
    return err;
}

void coord_map_release(struct coord_state *state)
{
    for (size_t i = 0; state->osds && i < state->osd_count; i++)
        base_buffer_release(&state->osds[i].packed);
    for (size_t i = 0; state->placements && i < state->placement_count; i++)
        base_buffer_release(&state->placements[i].packed);
    free(state->osds);
    free(state->placements);
}

void coord_osd_put(struct coord_command *command, struct coord_osd *osd,
                   const struct proto_osd *row)
{
    struct coord_state *state = command->state;
    struct coord_key key = coord_key_u32(row->id);
    coord_put(state, COORD_OSDS, &key, &proto_type_osd, row);
    if (!state->failed && row_keep(state, &proto_type_osd, base_buffer_slice(&state->packed),
                                   &osd->packed, &osd->row, &command->info))
        (void)coord_failed(state, command->info.err, &command->info); /* apply looks at it */
    state->row.epoch++;
}

/* ---- reading ---- */

size_t coord_state_osd_count(const struct coord_state *state)
{
    return state->osd_count;
}

const struct proto_osd *coord_state_osd_at(const struct coord_state *state, size_t i)
{
    return &state->osds[i].row;
}

size_t coord_state_osd_find(const struct coord_state *state, uint32_t id)
{
    size_t low = 0, high = state->osd_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (state->osds[middle].row.id == id)
            return middle;
        if (state->osds[middle].row.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return SIZE_MAX;
}

size_t coord_state_placement_count(const struct coord_state *state)
{
    return state->placement_count;
}

const struct proto_placement *coord_state_placement_at(const struct coord_state *state, size_t i)
{
    return &state->placements[i].row;
}

const struct proto_placement *coord_state_placement(const struct coord_state *state, uint32_t id)
{
    for (size_t i = 0; i < state->placement_count; i++)
        if (state->placements[i].row.id == id)
            return &state->placements[i].row;
    return NULL;
}

/* ---- the first entry ---- */

static enum lilio_err init_check(struct coord_command *command,
                                 const struct proto_cluster_init *init)
{
    struct codec_profile profile = coord_codec_profile(&init->default_profile);
    if (command->state->initialised)
        return coord_refuse(command, LILIO_E_EXISTS, "the cluster is initialised already");
    if (base_uuid_is_zero(init->cluster_id))
        return coord_refuse(command, LILIO_E_INVALID, "a cluster needs an id");
    for (size_t i = 0; i < init->osds_count; i++)
        if (init->osds[i].id > COORD_OSD_ID_MAX ||
            (i > 0 && init->osds[i - 1].id >= init->osds[i].id))
            return coord_refuse(command, LILIO_E_INVALID, "OSD ids ascend and are at most %d",
                                COORD_OSD_ID_MAX);
    return codec_profile_check(&profile, &command->info);
}

enum lilio_err coord_apply_cluster_init(struct coord_command *command)
{
    struct coord_state *state = command->state;
    struct proto_cluster_init init;
    enum lilio_err err = coord_body(command, &proto_type_cluster_init, &init);
    if (!err)
        err = init_check(command, &init);
    if (err)
        return err;
    state->initialised = true;
    state->cluster = (struct proto_cluster_row){
        .format = COORD_FORMAT,
        .cluster_id = init.cluster_id,
        .default_profile = init.default_profile,
        .created_ms = command->entry.wall_ms,
    };
    struct coord_key key = coord_key_text(base_slice_str("cluster"));
    coord_put(state, COORD_META, &key, &proto_type_cluster_row, &state->cluster);
    for (size_t i = 0; i < init.osds_count && !state->failed; i++) {
        struct proto_osd row = {
            .id = init.osds[i].id,
            .state = PROTO_OSD_NEW,
            .weight = init.osds[i].weight ? init.osds[i].weight : 1000,
            .address = init.osds[i].address,
            .domain = init.osds[i].domain,
        };
        coord_osd_put(command, &state->osds[state->osd_count++], &row);
    }
    state->row.epoch = 1;
    state->row.next_bucket_id = state->row.next_session_id = state->row.next_placement_id = 1;
    return coord_reply_ok(command);
}

/* ---- hello ---- */

static const char *uuid_text(struct base_uuid uuid, char text[37])
{
    base_uuid_format(uuid, text);
    return text;
}

void coord_state_hello(const struct coord_state *state, const struct proto_osd_hello *hello,
                       uint8_t *ret_verdict, struct lilio_errinfo *ret_reason)
{
    char theirs[37], ours[37];
    size_t place = coord_state_osd_find(state, hello->osd);
    const struct proto_osd *osd = place == SIZE_MAX ? NULL : &state->osds[place].row;
    bool blank = base_uuid_is_zero(hello->disk_uuid);
    *ret_verdict = COORD_VERDICT_REFUSED;
    if (!base_uuid_is_zero(hello->cluster_id) &&
        !base_uuid_equal(hello->cluster_id, state->cluster.cluster_id)) {
        (void)lilio_fail(
            ret_reason, LILIO_E_FOREIGN, "the disk belongs to cluster %s, this is cluster %s",
            uuid_text(hello->cluster_id, theirs), uuid_text(state->cluster.cluster_id, ours));
    } else if (!osd) {
        (void)lilio_fail(ret_reason, LILIO_E_NOT_FOUND, "osd.%u is not in this cluster",
                         hello->osd);
    } else if (osd->incarnation == 0) {
        *ret_verdict = COORD_VERDICT_FIRST;
    } else if (blank) {
        *ret_verdict = COORD_VERDICT_BLANK;
        (void)lilio_fail(
            ret_reason, LILIO_E_BLANK,
            "osd.%u had disk %s and comes with an empty one: `lilio-ec osd rebuild %u` fills it",
            hello->osd, uuid_text(osd->disk_uuid, ours), hello->osd);
    } else if (!base_uuid_equal(hello->disk_uuid, osd->disk_uuid)) {
        (void)lilio_fail(ret_reason, LILIO_E_FOREIGN,
                         "osd.%u has disk %s in this cluster, this is disk %s", hello->osd,
                         uuid_text(osd->disk_uuid, ours), uuid_text(hello->disk_uuid, theirs));
    } else {
        *ret_verdict = COORD_VERDICT_SERVE;
    }
}

/* The row as it is after this hello; false if nothing changes. */
static bool hello_row(const struct coord_state *state, const struct proto_osd_hello *hello,
                      struct proto_osd *ret)
{
    uint8_t verdict;
    struct lilio_errinfo reason;
    coord_state_hello(state, hello, &verdict, &reason);
    if (verdict == COORD_VERDICT_REFUSED)
        return false;
    const struct proto_osd *osd = &state->osds[coord_state_osd_find(state, hello->osd)].row;
    *ret = *osd;
    if (hello->address.size > 0)
        ret->address = hello->address;
    if (verdict == COORD_VERDICT_SERVE && hello->incomplete)
        ret->complete = false;
    return !base_slice_equal(ret->address, osd->address) || ret->complete != osd->complete;
}

bool coord_state_hello_changes(const struct coord_state *state, const struct proto_osd_hello *hello)
{
    struct proto_osd row;
    return hello_row(state, hello, &row);
}

enum lilio_err coord_apply_osd_hello(struct coord_command *command)
{
    struct coord_state *state = command->state;
    struct proto_osd_hello hello;
    struct proto_osd row;
    enum lilio_err err = coord_body(command, &proto_type_osd_hello, &hello);
    if (err)
        return err;
    if (hello_row(state, &hello, &row))
        coord_osd_put(command, &state->osds[coord_state_osd_find(state, hello.osd)], &row);
    return coord_reply_ok(command);
}

/* ---- bind, complete, change ---- */

static enum lilio_err osd_place(struct coord_command *command, uint32_t id, size_t *ret)
{
    *ret = coord_state_osd_find(command->state, id);
    return *ret == SIZE_MAX
               ? coord_refuse(command, LILIO_E_NOT_FOUND, "osd.%u is not in this cluster", id)
               : LILIO_OK;
}

static enum lilio_err bind_check(struct coord_command *command, const struct proto_osd_bind *bind,
                                 const struct proto_osd *osd)
{
    if (base_uuid_is_zero(bind->disk_uuid))
        return coord_refuse(command, LILIO_E_INVALID, "a disk needs a uuid");
    if (osd->incarnation > 0 && !bind->rebuild)
        return coord_refuse(command, LILIO_E_FOREIGN,
                            "osd.%u had a disk already: only a rebuild replaces it", osd->id);
    for (size_t i = 0; i < command->state->osd_count; i++)
        if (base_uuid_equal(command->state->osds[i].row.disk_uuid, bind->disk_uuid))
            return coord_refuse(command, LILIO_E_FOREIGN, "this disk is the one of osd.%u",
                                command->state->osds[i].row.id);
    return LILIO_OK;
}

/* The rebuild of a disk that is bound walks what is committed by now. What is committed later must
 * not count on what the disk acknowledged before: that may be what made the rebuild necessary. */
static void begin_afresh(struct coord_command *command, size_t place)
{
    struct coord_state *state = command->state;
    struct proto_osd row = state->osds[place].row;
    row.since_epoch = state->row.epoch + 1;
    coord_osd_put(command, &state->osds[place], &row);
}

/* The first disk of an id holds all it should while nothing is stored; any other has to prove it by
 * a rebuild. Binding what is bound already answers OK: the answer may have been lost. */
enum lilio_err coord_apply_osd_bind(struct coord_command *command)
{
    struct coord_state *state = command->state;
    struct proto_osd_bind bind;
    size_t place = 0;
    enum lilio_err err = coord_body(command, &proto_type_osd_bind, &bind);
    if (!err)
        err = osd_place(command, bind.osd, &place);
    if (err)
        return err;
    struct proto_osd row = state->osds[place].row;
    if (row.incarnation > 0 && base_uuid_equal(row.disk_uuid, bind.disk_uuid)) {
        if (bind.afresh)
            begin_afresh(command, place);
        return coord_reply_ok(command);
    }
    err = bind_check(command, &bind, &row);
    if (err)
        return err;
    row.complete = row.incarnation == 0 && state->row.data_count == 0;
    row.incarnation++;
    row.disk_uuid = bind.disk_uuid;
    row.state = PROTO_OSD_UP;
    row.since_epoch = state->row.epoch + 1;
    coord_osd_put(command, &state->osds[place], &row);
    return coord_reply_ok(command);
}

enum lilio_err coord_apply_osd_complete(struct coord_command *command)
{
    struct coord_state *state = command->state;
    struct proto_osd_complete complete;
    size_t place = 0;
    enum lilio_err err = coord_body(command, &proto_type_osd_complete, &complete);
    if (!err)
        err = osd_place(command, complete.osd, &place);
    if (err)
        return err;
    struct proto_osd row = state->osds[place].row;
    if (row.incarnation == 0 || row.incarnation != complete.incarnation)
        return coord_refuse(command, LILIO_E_FOREIGN,
                            "osd.%u is at incarnation %u, the proof is of %u", row.id,
                            row.incarnation, complete.incarnation);
    if (complete.index > state->row.applied_index)
        return coord_refuse(command, LILIO_E_INVALID, "no rebuild can have run at index %llu",
                            (unsigned long long)complete.index);
    if (!row.complete) {
        row.complete = true;
        coord_osd_put(command, &state->osds[place], &row);
    }
    return coord_reply_ok(command);
}

enum lilio_err coord_apply_osd_change(struct coord_command *command)
{
    struct coord_state *state = command->state;
    struct proto_osd_change change;
    enum lilio_err err = coord_body(command, &proto_type_osd_change, &change);
    for (size_t i = 0; i < change.steps_count && !err; i++)
        if (change.steps[i].state < PROTO_OSD_UP || change.steps[i].state > PROTO_OSD_BLANK)
            err = coord_refuse(command, LILIO_E_INVALID, "no OSD state %u", change.steps[i].state);
    if (err)
        return err;
    for (size_t i = 0; i < change.steps_count && !state->failed; i++) {
        const struct proto_osd_step *step = &change.steps[i];
        size_t place = coord_state_osd_find(state, step->osd);
        if (place == SIZE_MAX)
            continue;
        struct proto_osd row = state->osds[place].row;
        if (row.incarnation == 0 || row.incarnation != step->incarnation ||
            row.state == step->state)
            continue;
        row.state = step->state;
        coord_osd_put(command, &state->osds[place], &row);
    }
    return coord_reply_ok(command);
}

/* ---- placements ---- */

/* OSDs that ever had a disk and are to keep it. */
static size_t members(const struct coord_state *state, struct proto_osd *ret)
{
    size_t count = 0;
    for (size_t i = 0; i < state->osd_count; i++)
        if (state->osds[i].row.incarnation > 0 && !state->osds[i].row.draining)
            ret[count++] = state->osds[i].row;
    return count;
}

/* What the tables of a placement may come to, once slots were moved. */
static size_t table_bytes(const struct proto_placement *placement)
{
    size_t slots = (size_t)placement->width << placement->partition_bits;
    return 2 * slots + 2 * slots + 3 * (slots / 8 + 1) + ((size_t)16 << placement->partition_bits);
}

static size_t slot_bytes(const struct coord_state *state)
{
    size_t bytes = 0;
    for (size_t i = 0; i < state->placement_count; i++)
        bytes += table_bytes(&state->placements[i].row);
    return bytes;
}

static enum lilio_err placement_compute(struct coord_command *command,
                                        const struct proto_profile *profile,
                                        struct proto_placement *placement)
{
    struct coord_state *state = command->state;
    size_t size = (size_t)2 * placement->width << placement->partition_bits;
    if (state->placement_count == COORD_PLACEMENTS_MAX ||
        slot_bytes(state) + table_bytes(placement) > COORD_SLOT_BYTES_MAX)
        return coord_refuse(command, LILIO_E_TOO_BIG,
                            "the cluster map has no room for another stripe width");
    struct proto_osd *osds = coord_take(state, (state->osd_count + 1) * sizeof *osds);
    uint8_t *slots = osds ? coord_take(state, size) : NULL;
    if (!slots)
        return state->failed;
    size_t count = members(state, osds);
    if (count < placement->width)
        return coord_refuse(command, LILIO_E_INVALID, "%u+%u needs %u OSDs, the cluster has %zu",
                            profile->data_count, profile->parity_count, placement->width, count);
    enum lilio_err err = proto_placement_compute(osds, count, placement->width, placement->rule,
                                                 placement->partition_bits, slots, &command->info);
    placement->slots = base_slice(slots, size);
    return err == LILIO_E_NOMEM ? coord_failed(state, err, &command->info) : err;
}

enum lilio_err coord_placement_make(struct coord_command *command,
                                    const struct proto_profile *profile, uint32_t *ret_id)
{
    struct coord_state *state = command->state;
    struct proto_placement placement = {
        .id = state->row.next_placement_id,
        .width = (uint8_t)(profile->data_count + profile->parity_count),
        .rule = base_slice_str(DEFAULT_RULE),
        .partition_bits = PROTO_PARTITION_BITS,
    };
    for (size_t i = 0; i < state->placement_count; i++) {
        const struct proto_placement *known = &state->placements[i].row;
        if (known->width == placement.width && base_slice_equal(known->rule, placement.rule)) {
            *ret_id = known->id;
            return LILIO_OK;
        }
    }
    enum lilio_err err = placement_compute(command, profile, &placement);
    if (err)
        return err;
    err = coord_placement_put(command, state->placement_count, &placement);
    if (err)
        return err;
    state->placement_count++;
    state->row.next_placement_id++;
    state->row.epoch++;
    *ret_id = placement.id;
    return state->failed;
}

enum lilio_err coord_placement_put(struct coord_command *command, size_t place,
                                   const struct proto_placement *row)
{
    struct coord_state *state = command->state;
    struct coord_placement *kept = &state->placements[place];
    struct coord_key key = coord_key_u32(row->id);
    coord_put(state, COORD_SLOTS, &key, &proto_type_placement, row);
    if (!state->failed && row_keep(state, &proto_type_placement, base_buffer_slice(&state->packed),
                                   &kept->packed, &kept->row, &command->info))
        return coord_failed(state, command->info.err, &command->info);
    return state->failed;
}
