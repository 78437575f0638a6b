/* Sessions: who may write, what was answered to each request, which runs are not committed yet.
 *
 * A request id is (session, sequence). The first time it is applied its result is written beside
 * its effects; later times are answered with that. Results below the client's answered_below are
 * dropped, and so are those more than COORD_SESSION_RESULTS_MAX sequences back; what is below that
 * floor is never executed. With the session everything goes: results, staged runs (collected at
 * once) and notes on discarded ones; its id never comes back.
 */
#include "base/mark.h"
#include "coordinator/state_priv.h"

#include "base/banned.h"

enum { POINT_DELETES_MAX = 16 };

static struct coord_key run_key(struct base_oid oid)
{
    return coord_key_pair(base_oid_session(oid), oid.low);
}

/* ---- opening ---- */

enum lilio_err coord_apply_session_open(struct coord_command *command)
{
    struct proto_session_open open;
    enum lilio_err err = coord_body(command, &proto_type_session_open, &open);
    if (err)
        return err;
    struct coord_state *state = command->state;
    if (state->row.session_count >= COORD_SESSIONS_MAX)
        return coord_refuse(command, LILIO_E_BUSY, "%d sessions are open", COORD_SESSIONS_MAX);
    uint32_t timeout = open.timeout_ms ? open.timeout_ms : COORD_SESSION_TIMEOUT_MS;
    timeout = timeout < COORD_SESSION_TIMEOUT_MS_MIN ? COORD_SESSION_TIMEOUT_MS_MIN : timeout;
    timeout = timeout > COORD_SESSION_TIMEOUT_MS_MAX ? COORD_SESSION_TIMEOUT_MS_MAX : timeout;
    struct proto_session_row row = {
        .id = state->row.next_session_id++, .label = open.label, .timeout_ms = timeout};
    struct coord_key key = coord_key_u64(row.id);
    coord_put(state, COORD_SESSIONS, &key, &proto_type_session_row, &row);
    state->row.session_count++;
    struct proto_session reply = {
        .id = row.id,
        .timeout_ms = timeout,
        .cluster_id = state->cluster.cluster_id,
        .epoch = state->row.epoch,
        .inline_max = coord_state_voters(state) >= COORD_INLINE_VOTERS_MIN ? COORD_INLINE_MAX : 0,
    };
    coord_reply(command, &proto_type_session, &reply);
    return LILIO_OK;
}

/* ---- requests ---- */

static enum lilio_err answer_again(struct coord_command *command, const struct proto_dedup_row *row)
{
    struct coord_result *result = command->result;
    base_buffer_clear(&result->reply);
    enum lilio_err err = base_buffer_append(&result->reply, row->reply.data, row->reply.size);
    if (err)
        return coord_failed(command->state, err, NULL);
    result->type = row->reply_type;
    result->err = row->err;
    return LILIO_OK;
}

enum lilio_err coord_session_admit(struct coord_command *command, bool *ret_again)
{
    const struct proto_entry *entry = &command->entry;
    enum lilio_err err = coord_hot_session(command, entry->session, &command->session);
    if (err == LILIO_E_NOT_FOUND)
        return coord_refuse(command, LILIO_E_SESSION_CLOSED, "session %llu is closed",
                            (unsigned long long)entry->session);
    if (err)
        return err;
    if (entry->sequence == 0)
        return coord_refuse(command, LILIO_E_INVALID, "a request of a session needs a sequence");
    if (entry->sequence < coord_hot_session_row(command->session)->answered_below) {
        LILIO_MARK("coordinator/outcome_forgotten");
        return coord_refuse(command, LILIO_E_OUTCOME_UNKNOWN,
                            "what request %llu was answered is not remembered any more",
                            (unsigned long long)entry->sequence);
    }
    struct proto_dedup_row row;
    err = coord_hot_result(command, command->session, entry->sequence, &row);
    *ret_again = err == LILIO_OK;
    if (err == LILIO_E_NOT_FOUND)
        return LILIO_OK;
    if (err)
        return err;
    LILIO_MARK("coordinator/retry_answered");
    return answer_again(command, &row);
}

/* ---- results ---- */

/* Forgets the stored results in [from, to): one by one when few can be there, else by looking. */
static void forget_results(struct coord_command *command, uint64_t session, uint64_t from,
                           uint64_t to)
{
    if (to - from <= POINT_DELETES_MAX) {
        for (uint64_t sequence = from; sequence < to; sequence++) {
            struct coord_key key = coord_key_pair(session, sequence);
            coord_delete(command->state, COORD_DEDUP, &key);
        }
        return;
    }
    struct coord_key first = coord_key_pair(session, from), end = coord_key_pair(session, to);
    coord_delete_range(command, COORD_DEDUP, &first, &end);
}

static uint64_t floor_after(const struct proto_session_row *session,
                            const struct proto_entry *entry)
{
    uint64_t floor =
        entry->answered_below < entry->sequence ? entry->answered_below : entry->sequence;
    if (entry->sequence > COORD_SESSION_RESULTS_MAX &&
        floor < entry->sequence - COORD_SESSION_RESULTS_MAX)
        floor = entry->sequence - COORD_SESSION_RESULTS_MAX;
    return floor > session->answered_below ? floor : session->answered_below;
}

void coord_session_remember(struct coord_command *command)
{
    const struct proto_entry *entry = &command->entry;
    const struct proto_session_row *row = coord_hot_session_row(command->session);
    uint64_t from = row->answered_below, floor = floor_after(row, entry);
    if (floor > from)
        forget_results(command, entry->session, from,
                       coord_hot_floor(command, command->session, floor));
    coord_hot_remember(command, command->session, entry->sequence, command->result);
}

/* ---- runs ---- */

enum lilio_err coord_run_get(struct coord_command *command, struct base_oid oid,
                             struct proto_run_row *ret)
{
    struct coord_key key = run_key(oid);
    enum lilio_err err = coord_get(command, COORD_SESSIONS, &key, &proto_type_run_row, ret);
    if (err == LILIO_E_NOT_FOUND)
        *ret = (struct proto_run_row){0};
    return err == LILIO_E_NOT_FOUND ? LILIO_OK : err;
}

void coord_run_put(struct coord_command *command, struct base_oid oid,
                   const struct proto_run_row *row, bool fresh)
{
    struct coord_key key = run_key(oid);
    coord_put(command->state, COORD_SESSIONS, &key, &proto_type_run_row, row);
    if (fresh)
        coord_hot_session_runs(command, command->session,
                               coord_hot_session_row(command->session)->run_count + 1);
}

void coord_run_forget(struct coord_command *command, struct base_oid oid)
{
    struct coord_key key = run_key(oid);
    coord_delete(command->state, COORD_SESSIONS, &key);
    uint32_t count = coord_hot_session_row(command->session)->run_count;
    if (count > 0)
        coord_hot_session_runs(command, command->session, count - 1);
}

/* ---- closing ---- */

/* A staged run that will never be committed: its row goes now, its fragments at once. */
static void drop_staged(struct coord_command *command, struct base_oid oid)
{
    struct proto_data_row row;
    struct coord_key key = coord_key_oid(oid);
    if (coord_get(command, COORD_DATA, &key, &proto_type_data_row, &row) ||
        row.state != COORD_RUN_STAGED)
        return;
    coord_run_unstage(command, &row);
}

static void close_runs(struct coord_command *command, uint64_t session)
{
    struct coord_key first = coord_key_pair(session, 0), end = coord_key_u64(session + 1);
    struct coord_rows rows;
    if (coord_rows_collect(command, COORD_SESSIONS, &first, &end, &rows))
        return;
    for (size_t i = 0; i < rows.count && !command->state->failed; i++) {
        struct proto_run_row run = {0};
        struct coord_view view = coord_command_view(command);
        enum lilio_err err = coord_view_unpack(&view, &proto_type_run_row, rows.items[i].value,
                                               &run, &command->info);
        if (err)
            (void)coord_failed(command->state, err, &command->info); /* apply looks at it */
        else if (run.state == COORD_RUN_STAGED)
            drop_staged(command,
                        base_oid_make(0, session, base_be64_get(rows.items[i].key.data + 8)));
        base_kv_batch_delete(command->state->batch, COORD_SESSIONS, rows.items[i].key);
    }
}

/* Closing what is closed is fine: an id never comes back, so there is nothing else it could mean.
 */
static void session_end(struct coord_command *command, uint64_t session)
{
    struct proto_session_row row;
    struct coord_key key = coord_key_u64(session);
    if (coord_get(command, COORD_SESSIONS, &key, &proto_type_session_row, &row))
        return;
    close_runs(command, session);
    struct coord_key first = coord_key_pair(session, 0), end = coord_key_u64(session + 1);
    coord_delete_range(command, COORD_DEDUP, &first, &end);
    coord_delete(command->state, COORD_SESSIONS, &key);
    command->state->row.session_count--;
}

enum lilio_err coord_apply_session_close(struct coord_command *command)
{
    session_end(command, command->entry.session);
    return coord_reply_ok(command);
}

enum lilio_err coord_apply_session_expire(struct coord_command *command)
{
    struct proto_session_expire expire;
    enum lilio_err err = coord_body(command, &proto_type_session_expire, &expire);
    if (err)
        return err;
    LILIO_MARK("coordinator/session_expired");
    for (size_t i = 0; i < expire.ids_count; i++)
        session_end(command, expire.ids[i]);
    return coord_reply_ok(command);
}
