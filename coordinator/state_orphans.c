/* Orphans: which runs that OSDs have fragments of are nobody's (design rules 1 and 4).
 *
 * A run is an orphan when no row names it and its session is over. A session ends once and its id
 * never comes back, its COMMITs are refused from then on, and oids are used once: so a run that is
 * an orphan stays one. Age says nothing, a put may take as long as its session is kept alive.
 *
 * Asked twice: when an OSD marks what it found, from the rows as they are (coord_orphan_judge() on
 * a view), and when its quarantine is over, by a command. That one changes no row: it is a command
 * so that it is decided at one place of the log, behind all that might have named the run.
 */
#include "base/planted.h"
#include "coordinator/state_priv.h"

#include "base/banned.h"

static enum lilio_err row_there(const struct coord_view *view, enum coord_column column,
                                const struct coord_key *key, bool *ret, struct lilio_errinfo *info)
{
    struct base_buffer value = {0};
    enum lilio_err err = coord_view_bytes(view, column, coord_key_slice(key), &value, info);
    base_buffer_release(&value);
    *ret = *ret || err == LILIO_OK;
    return err == LILIO_E_NOT_FOUND ? LILIO_OK : err;
}

/* A name that uses the run. Without a data row there is none, unless the maps are damaged. */
static enum lilio_err ref_there(const struct coord_view *view, struct base_oid oid, bool *ret,
                                struct lilio_errinfo *info)
{
    struct base_kv_iter *iter = NULL;
    struct coord_key prefix = coord_key_oid(oid);
    enum lilio_err err = coord_view_iter(view, COORD_REFS, &iter, info);
    if (err)
        return err;
    base_kv_iter_seek(iter, coord_key_slice(&prefix));
    *ret =
        *ret || (base_kv_iter_valid(iter) && coord_key_has_prefix(base_kv_iter_key(iter), &prefix));
    err = base_kv_iter_error(iter, info);
    base_kv_iter_free(&iter);
    return err;
}

/* Runs that were given up have a gc row and nothing else: as long as it waits for everybody, or for
 * this OSD first, its collection will come. */
static enum lilio_err gc_there(const struct coord_view *view, struct base_oid oid, uint32_t osd,
                               bool *ret, struct lilio_errinfo *info)
{
    struct proto_gc_key waits = {.osd = COORD_GC_NOBODY, .oid = oid};
    struct proto_gc_key parked = {.osd = osd, .oid = oid};
    struct coord_key keys[] = {coord_key_gc(&waits), coord_key_gc(&parked)};
    enum lilio_err err = row_there(view, COORD_GC, &keys[0], ret, info);
    return err ? err : row_there(view, COORD_GC, &keys[1], ret, info);
}

static enum lilio_err named(const struct coord_view *view, struct base_oid oid, uint32_t osd,
                            bool *ret, struct lilio_errinfo *info)
{
    struct coord_key key = coord_key_oid(oid);
    *ret = false;
    enum lilio_err err = row_there(view, COORD_DATA, &key, ret, info);
    if (!err && !*ret)
        err = ref_there(view, oid, ret, info);
    if (!err && !*ret)
        err = gc_there(view, oid, osd, ret, info);
    return err;
}

enum lilio_err coord_orphan_judge(const struct coord_view *view,
                                  const struct proto_state_row *state, struct base_oid oid,
                                  uint32_t osd, uint8_t *ret_verdict, struct lilio_errinfo *info)
{
    uint64_t session = base_oid_session(oid);
    bool is_named = false, is_open = false;
    enum lilio_err err = named(view, oid, osd, &is_named, info);
    *ret_verdict = COORD_ORPHAN_NAMED;
    if (err || is_named)
        return err;
    *ret_verdict = COORD_ORPHAN_UNKNOWN;
    if (base_oid_group(oid) != 0 || session == 0 || session >= state->next_session_id)
        return LILIO_OK;
    struct coord_key key = coord_key_u64(session);
    err = row_there(view, COORD_SESSIONS, &key, &is_open, info);
    *ret_verdict =
        is_open && !LILIO_PLANTED("orphan_sweep_by_age") ? COORD_ORPHAN_OPEN : COORD_ORPHAN_YES;
    return err;
}

static enum lilio_err sender_check(struct coord_command *command,
                                   const struct proto_orphans_sweep *sweep)
{
    size_t place = coord_state_osd_find(command->state, sweep->osd);
    if (place == SIZE_MAX ||
        coord_state_osd_at(command->state, place)->incarnation != sweep->incarnation)
        return coord_refuse(command, LILIO_E_INVALID, "osd.%u has no incarnation %u", sweep->osd,
                            sweep->incarnation);
    if (sweep->index >= command->version.index)
        return coord_refuse(command, LILIO_E_INVALID,
                            "osd.%u was answered at index %llu, these maps are behind it",
                            sweep->osd, (unsigned long long)sweep->index);
    return LILIO_OK;
}

enum lilio_err coord_apply_orphans_sweep(struct coord_command *command)
{
    struct proto_orphans_sweep sweep;
    enum lilio_err err = coord_body(command, &proto_type_orphans_sweep, &sweep);
    if (!err)
        err = sender_check(command, &sweep);
    if (err)
        return err;
    uint8_t *verdicts = coord_take(command->state, sweep.runs_count + 1);
    struct coord_view view = coord_command_view(command);
    for (size_t i = 0; verdicts && i < sweep.runs_count; i++) {
        err = coord_orphan_judge(&view, &command->state->row, sweep.runs[i].oid, sweep.osd,
                                 &verdicts[i], &command->info);
        if (err)
            return coord_failed(command->state, err, &command->info);
    }
    if (!verdicts)
        return command->state->failed;
    struct proto_orphans_answer answer = {
        .cluster_id = command->state->cluster.cluster_id,
        .index = command->version.index,
        .cluster_ms = command->state->row.cluster_ms,
        .verdicts = base_slice(verdicts, sweep.runs_count),
    };
    coord_reply(command, &proto_type_orphans_answer, &answer);
    return LILIO_OK;
}
