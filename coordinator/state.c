/* The state machine's frame: open, apply, commit, rows in and out.
 *
 * How an entry becomes state: apply() takes the commands in their order. Each is unpacked, cluster
 * time goes on, a request of a session is admitted or answered from memory, its handler decides and
 * writes into the batch, its result is remembered in the same batch. Rows that nearly every command
 * changes (state_hot.c) and the state row, which holds the applied index and its term, join the
 * batch in commit(), which writes it as one.
 *
 * What a crash leaves: all of the batches up to some point that is not before the last flush, each
 * whole; entries after it are applied again by who holds the log. A batch may hold many entries.
 */
#include "coordinator/state.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/planted.h"
#include "coordinator/raft/raft.h"
#include "coordinator/state_priv.h"

#include "base/banned.h"

static struct coord_key meta_key(const char *name)
{
    return coord_key_text(base_slice_str(name));
}

/* ---- opening ---- */

static enum lilio_err load_row(struct coord_state *state, const char *name,
                               const struct proto_type *type, void *ret, struct lilio_errinfo *info)
{
    struct coord_view view = {.kv = state->kv, .arena = state->arena};
    struct coord_key key = meta_key(name);
    enum lilio_err err = coord_view_get(&view, COORD_META, &key, type, ret, info);
    return err == LILIO_E_NOT_FOUND ? err
           : err                    ? lilio_prefix(info, err, "row %s of the maps", name)
                                    : err;
}

/* An empty store is fine; a store with half of these rows is none of ours. */
static enum lilio_err load_state(struct coord_state *state, struct lilio_errinfo *info)
{
    enum lilio_err err = load_row(state, "cluster", &proto_type_cluster_row, &state->cluster, info);
    state->initialised = err == LILIO_OK;
    if (err && err != LILIO_E_NOT_FOUND)
        return err;
    if (state->initialised && state->cluster.format != COORD_FORMAT)
        return lilio_fail(info, LILIO_E_FORMAT,
                          "the object maps have format %u, this program knows %d",
                          state->cluster.format, COORD_FORMAT);
    err = load_row(state, "state", &proto_type_state_row, &state->row, info);
    if (err == LILIO_E_NOT_FOUND && state->initialised)
        return lilio_fail(info, LILIO_E_CORRUPT, "the object maps have no state row");
    if (err && err != LILIO_E_NOT_FOUND)
        return err;
    err = load_row(state, "verify", &proto_type_verify_mark, &state->verify, info);
    return err == LILIO_E_NOT_FOUND ? LILIO_OK : err;
}

/* ---- the quorum's configuration ---- */

/* Keeps a packed configuration, strings and all. */
static enum lilio_err config_keep(struct coord_state *state, struct base_slice packed,
                                  struct lilio_errinfo *info)
{
    struct coord_view view = {.kv = state->kv, .arena = state->config_arena};
    proto_arena_clear(state->config_arena);
    state->config = (struct proto_raft_config){0};
    return coord_view_unpack(&view, &proto_type_raft_config, packed, &state->config, info);
}

static enum lilio_err load_config(struct coord_state *state, struct lilio_errinfo *info)
{
    struct base_buffer packed = {0};
    struct coord_key key = meta_key("members");
    enum lilio_err err =
        base_kv_get(state->kv, NULL, COORD_META, coord_key_slice(&key), &packed, info);
    if (!err)
        err = config_keep(state, base_buffer_slice(&packed), info);
    base_buffer_release(&packed);
    if (err == LILIO_E_NOT_FOUND && state->row.config_index == 0)
        return LILIO_OK;
    return err == LILIO_E_NOT_FOUND
               ? lilio_fail(info, LILIO_E_CORRUPT, "the object maps have no members row")
               : err;
}

/* A planted bug: the state that is opened, after a restart or out of a snapshot, comes without the
 * results that were remembered. */
static void results_lose(struct coord_state *state)
{
    struct base_kv_iter *iter = NULL;
    if (base_kv_iter_new(state->kv, NULL, NULL, COORD_DEDUP, &iter))
        return;
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
         base_kv_iter_next(iter))
        base_kv_batch_delete(state->batch, COORD_DEDUP, base_kv_iter_key(iter));
    base_kv_iter_free(&iter);
    if (base_kv_batch_commit(state->batch, false, NULL))
        return; /* it is a bug anyway */
}

enum lilio_err coord_state_open(struct base_kv *kv, struct coord_state **ret_state,
                                struct lilio_errinfo *info)
{
    struct coord_state *state = calloc(1, sizeof *state);
    if (!state)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    state->kv = kv;
    enum lilio_err err = base_kv_batch_new(kv, &state->batch);
    if (!err)
        err = coord_hot_new(&state->hot);
    if (!err)
        err = coord_stripes_new(&state->stripes);
    if (!err)
        err = coord_inventory_new(&state->inventory);
    if (!err)
        err = proto_arena_new(&state->arena);
    if (!err)
        err = proto_arena_new(&state->config_arena);
    if (err)
        (void)lilio_fail(info, err, "out of memory"); /* err goes on below */
    if (!err)
        err = load_state(state, info);
    if (!err)
        err = load_config(state, info);
    if (!err)
        err = coord_map_load(state, info);
    if (!err)
        err = coord_repair_load(state, info);
    if (!err)
        err = coord_stripes_load(state, info);
    if (!err)
        err = coord_inventory_load(state, info);
    if (!err && LILIO_PLANTED("dedup_lost"))
        results_lose(state);
    if (err) {
        coord_state_free(&state);
        return err;
    }
    *ret_state = state;
    return LILIO_OK;
}

void coord_state_free(struct coord_state **state)
{
    if (!*state)
        return;
    coord_map_release(*state);
    coord_hot_free(&(*state)->hot);
    coord_stripes_free(&(*state)->stripes);
    coord_inventory_free(&(*state)->inventory);
    base_kv_batch_free(&(*state)->batch);
    proto_arena_free(&(*state)->arena);
    proto_arena_free(&(*state)->config_arena);
    base_buffer_release(&(*state)->packed);
    free(*state);
    *state = NULL;
}

/* ---- rows ---- */

enum lilio_err coord_failed(struct coord_state *state, enum lilio_err err,
                            const struct lilio_errinfo *info)
{
    if (!state->failed) {
        state->failed = err;
        if (info && info->text[0])
            state->failure = *info;
        else
            (void)lilio_fail(&state->failure, err, "%s",
                             lilio_err_text(err)); /* err goes on below */
    }
    return err;
}

enum lilio_err coord_broken(struct coord_command *command, const char *what)
{
    (void)lilio_fail(&command->info, LILIO_E_CORRUPT, "the object maps are damaged: %s",
                     what); /* returned below */
    return coord_failed(command->state, LILIO_E_CORRUPT, &command->info);
}

void *coord_take(struct coord_state *state, size_t size)
{
    void *memory = proto_arena_take(state->arena, size);
    if (!memory)
        (void)coord_failed(state, LILIO_E_NOMEM, NULL); /* the caller sees NULL */
    return memory;
}

enum lilio_err coord_view_unpack(const struct coord_view *view, const struct proto_type *type,
                                 struct base_slice bytes, void *ret, struct lilio_errinfo *info)
{
    uint8_t *copy = proto_arena_take(view->arena, bytes.size ? bytes.size : 1);
    if (!copy)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    if (bytes.size)
        memcpy(copy, bytes.data, bytes.size);
    return coord_view_unpack_here(view, type, base_slice(copy, bytes.size), ret, info);
}

enum lilio_err coord_view_unpack_here(const struct coord_view *view, const struct proto_type *type,
                                      struct base_slice bytes, void *ret,
                                      struct lilio_errinfo *info)
{
    enum lilio_err err = proto_unpack(type, bytes, view->arena, ret, info);
    if (!err || err == LILIO_E_NOMEM)
        return err;
    return lilio_prefix(info, err == LILIO_E_UNSUPPORTED ? LILIO_E_FORMAT : LILIO_E_CORRUPT,
                        "a %s row", type->name);
}

enum lilio_err coord_view_bytes(const struct coord_view *view, enum coord_column column,
                                struct base_slice key, struct base_buffer *ret_value,
                                struct lilio_errinfo *info)
{
    if (view->failed)
        return lilio_fail(info, view->failed, "the object maps cannot be written");
    return view->batch ? base_kv_batch_get(view->batch, column, key, ret_value, info)
                       : base_kv_get(view->kv, view->snapshot, column, key, ret_value, info);
}

enum lilio_err coord_view_iter(const struct coord_view *view, enum coord_column column,
                               struct base_kv_iter **ret_iter, struct lilio_errinfo *info)
{
    enum lilio_err err = view->failed;
    if (!err)
        err = base_kv_iter_new(view->kv, view->snapshot, view->batch, column, ret_iter);
    return err ? lilio_fail(info, err, "%s", lilio_err_text(err)) : LILIO_OK;
}

enum lilio_err coord_view_get(const struct coord_view *view, enum coord_column column,
                              const struct coord_key *key, const struct proto_type *type, void *ret,
                              struct lilio_errinfo *info)
{
    struct base_buffer value = {0};
    enum lilio_err err = coord_view_bytes(view, column, coord_key_slice(key), &value, info);
    if (!err)
        err = coord_view_unpack(view, type, base_buffer_slice(&value), ret, info);
    base_buffer_release(&value);
    return err;
}

struct coord_view coord_state_view(struct coord_state *state,
                                   const struct base_kv_snapshot *snapshot,
                                   struct proto_arena *arena)
{
    struct coord_view view = {.kv = state->kv, .snapshot = snapshot, .arena = arena};
    if (!snapshot)
        view.failed = coord_state_commit(state, false, NULL);
    return view;
}

struct coord_view coord_command_view(const struct coord_command *command)
{
    return (struct coord_view){
        .kv = command->state->kv, .batch = command->state->batch, .arena = command->state->arena};
}

enum lilio_err coord_get(struct coord_command *command, enum coord_column column,
                         const struct coord_key *key, const struct proto_type *type, void *ret)
{
    struct coord_view view = coord_command_view(command);
    enum lilio_err err = coord_view_get(&view, column, key, type, ret, &command->info);
    if (err && err != LILIO_E_NOT_FOUND)
        return coord_failed(command->state, err, &command->info);
    return err;
}

void coord_put(struct coord_state *state, enum coord_column column, const struct coord_key *key,
               const struct proto_type *type, const void *value)
{
    base_buffer_clear(&state->packed);
    enum lilio_err err = proto_pack(type, value, &state->packed);
    if (err) {
        struct lilio_errinfo info = {0};
        (void)lilio_fail(&info, err, "cannot pack a %s row: %s", type->name,
                         lilio_err_text(err)); /* kept below */
        (void)coord_failed(state, err, &info);
        return;
    }
    base_kv_batch_put(state->batch, column, coord_key_slice(key),
                      base_buffer_slice(&state->packed));
}

void coord_delete(struct coord_state *state, enum coord_column column, const struct coord_key *key)
{
    base_kv_batch_delete(state->batch, column, coord_key_slice(key));
}

static bool key_before(struct base_slice key, const struct coord_key *end)
{
    size_t least = key.size < end->size ? key.size : end->size;
    int order = memcmp(key.data, end->bytes, least);
    return order < 0 || (order == 0 && key.size < end->size);
}

static struct base_slice arena_copy(struct coord_state *state, struct base_slice bytes)
{
    uint8_t *copy = coord_take(state, bytes.size ? bytes.size : 1);
    if (copy && bytes.size)
        memcpy(copy, bytes.data, bytes.size);
    return base_slice(copy, copy ? bytes.size : 0);
}

/* Doubles the room; the arena keeps the old array until the command ends. */
static bool rows_grow(struct coord_state *state, struct coord_rows *rows, size_t *room)
{
    size_t more = *room ? 2 * *room : 64;
    struct coord_row_copy *items = coord_take(state, more * sizeof *items);
    if (!items)
        return false;
    if (rows->count)
        memcpy(items, rows->items, rows->count * sizeof *items);
    rows->items = items;
    *room = more;
    return true;
}

enum lilio_err coord_rows_collect(struct coord_command *command, enum coord_column column,
                                  const struct coord_key *from, const struct coord_key *to,
                                  struct coord_rows *ret)
{
    struct coord_state *state = command->state;
    struct base_kv_iter *iter = NULL;
    *ret = (struct coord_rows){0};
    size_t room = 0;
    enum lilio_err err = base_kv_iter_new(state->kv, NULL, state->batch, column, &iter);
    if (err)
        return coord_failed(state, err, NULL);
    for (base_kv_iter_seek(iter, coord_key_slice(from)); base_kv_iter_valid(iter);
         base_kv_iter_next(iter)) {
        if (!key_before(base_kv_iter_key(iter), to) ||
            (ret->count == room && !rows_grow(state, ret, &room)))
            break;
        ret->items[ret->count++] = (struct coord_row_copy){
            .key = arena_copy(state, base_kv_iter_key(iter)),
            .value = arena_copy(state, base_kv_iter_value(iter)),
        };
    }
    err = base_kv_iter_error(iter, &command->info);
    base_kv_iter_free(&iter);
    return err ? coord_failed(state, err, &command->info) : state->failed;
}

void coord_delete_range(struct coord_command *command, enum coord_column column,
                        const struct coord_key *from, const struct coord_key *to)
{
    struct coord_rows rows;
    if (coord_rows_collect(command, column, from, to, &rows))
        return;
    for (size_t i = 0; i < rows.count; i++)
        base_kv_batch_delete(command->state->batch, column, rows.items[i].key);
}

bool coord_exists(struct coord_command *command, enum coord_column column,
                  const struct coord_key *key)
{
    struct base_buffer value = {0};
    enum lilio_err err = base_kv_batch_get(command->state->batch, column, coord_key_slice(key),
                                           &value, &command->info);
    base_buffer_release(&value);
    if (err && err != LILIO_E_NOT_FOUND)
        (void)coord_failed(command->state, err, &command->info); /* apply looks at it */
    return err == LILIO_OK;
}

bool coord_range_any(struct coord_command *command, enum coord_column column,
                     const struct coord_key *from, const struct coord_key *to)
{
    struct coord_state *state = command->state;
    struct base_kv_iter *iter = NULL;
    enum lilio_err err = base_kv_iter_new(state->kv, NULL, state->batch, column, &iter);
    if (err) {
        (void)coord_failed(state, err, NULL); /* apply looks at it */
        return false;
    }
    base_kv_iter_seek(iter, coord_key_slice(from));
    bool any = base_kv_iter_valid(iter) && key_before(base_kv_iter_key(iter), to);
    err = base_kv_iter_error(iter, &command->info);
    base_kv_iter_free(&iter);
    if (err)
        (void)coord_failed(state, err, &command->info); /* apply looks at it */
    return any;
}

/* ---- replies ---- */

void coord_result_release(struct coord_result *result)
{
    base_buffer_release(&result->reply);
    *result = (struct coord_result){0};
}

enum lilio_err coord_body(struct coord_command *command, const struct proto_type *type, void *ret)
{
    enum lilio_err err =
        proto_unpack(type, command->entry.body, command->state->arena, ret, &command->info);
    return err == LILIO_E_NOMEM ? coord_failed(command->state, err, &command->info) : err;
}

void coord_reply(struct coord_command *command, const struct proto_type *type, const void *value)
{
    base_buffer_clear(&command->result->reply);
    enum lilio_err err = proto_pack(type, value, &command->result->reply);
    if (err)
        (void)coord_failed(command->state, err,
                           NULL); /* our own reply does not fit its schema, or no memory */
    command->result->type = type->number;
}

enum lilio_err coord_reply_ok(struct coord_command *command)
{
    struct proto_ok ok = {.index = command->version.index};
    coord_reply(command, &proto_type_ok, &ok);
    return LILIO_OK;
}

enum lilio_err coord_refuse(struct coord_command *command, enum lilio_err err, const char *format,
                            ...)
{
    char text[sizeof command->info.text];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); /* cutting a long text is fine */
    va_end(args);
    return lilio_fail(&command->info, err, "%s", text);
}

static void reply_refusal(struct coord_command *command, enum lilio_err err)
{
    struct proto_error error = {
        .code = err,
        .text = base_slice_str(command->info.err == err ? command->info.text : lilio_err_text(err)),
        .epoch = command->state->row.epoch,
        .stripes = command->stripes,
        .stripes_count = command->stripe_count,
    };
    if (!proto_utf8_valid(error.text))
        error.text = base_slice_str(lilio_err_text(err));
    coord_reply(command, &proto_type_error, &error);
}

/* ---- apply ---- */

struct handler {
    uint16_t type;
    bool session; /* a request of a session: admitted and remembered */
    bool by_rows; /* looks at rows of sessions or buckets as such: none is kept out of the batch */
    enum lilio_err (*apply)(struct coord_command *command);
};

static const struct handler *handler_find(uint16_t type)
{
    static const struct handler handlers[] = {
        {PROTO_MSG_commit, true, false, coord_apply_commit},
        {PROTO_MSG_stage, true, false, coord_apply_stage},
        {PROTO_MSG_discard, true, false, coord_apply_discard},
        {PROTO_MSG_delete, true, false, coord_apply_delete},
        {PROTO_MSG_copy, true, false, coord_apply_copy},
        {PROTO_MSG_bucket_create, true, false, coord_apply_bucket_create},
        {PROTO_MSG_bucket_delete, true, true, coord_apply_bucket_delete},
        {PROTO_MSG_session_open, false, false, coord_apply_session_open},
        {PROTO_MSG_session_close, false, true, coord_apply_session_close},
        {PROTO_MSG_session_expire, false, true, coord_apply_session_expire},
        {PROTO_MSG_report, false, false, coord_apply_report},
        {PROTO_MSG_verified, false, false, coord_apply_verified},
        {PROTO_MSG_osd_hello, false, false, coord_apply_osd_hello},
        {PROTO_MSG_osd_bind, false, false, coord_apply_osd_bind},
        {PROTO_MSG_osd_change, false, false, coord_apply_osd_change},
        {PROTO_MSG_osd_complete, false, false, coord_apply_osd_complete},
        {PROTO_MSG_osd_drain, false, false, coord_apply_osd_drain},
        {PROTO_MSG_repair_set, false, false, coord_apply_repair_set},
        {PROTO_MSG_slots_move, false, false, coord_apply_slots_move},
        {PROTO_MSG_slots_filled, false, false, coord_apply_slots_filled},
        {PROTO_MSG_orphans_sweep, false, false, coord_apply_orphans_sweep},
        {PROTO_MSG_formers_sweep, false, false, coord_apply_formers_sweep},
        {PROTO_MSG_gc_done, false, false, coord_apply_gc_done},
        {PROTO_MSG_tick, false, false, coord_apply_tick},
        {PROTO_MSG_cluster_init, false, false, coord_apply_cluster_init},
    };
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
        if (handlers[i].type == type)
            return &handlers[i];
    return NULL;
}

enum lilio_err coord_apply_tick(struct coord_command *command)
{
    return coord_reply_ok(command); /* cluster time has gone on already */
}

/* Never back, and each step capped: a clock that jumps deletes nothing (design rule 5). */
static void time_advance(struct coord_state *state, uint64_t cluster_ms)
{
    if (LILIO_PLANTED("wall_clock_for_cluster_time")) {
        state->row.cluster_ms = cluster_ms;
        return;
    }
    uint64_t most = state->row.cluster_ms + COORD_STEP_MS_MAX;
    if (cluster_ms > most)
        cluster_ms = most;
    if (cluster_ms > state->row.cluster_ms)
        state->row.cluster_ms = cluster_ms;
}

/* A refusal comes before the first write, so that it leaves nothing behind. */
static enum lilio_err run(struct coord_command *command, const struct handler *handler)
{
    struct coord_state *state = command->state;
    uint64_t before = base_kv_batch_count(state->batch) + coord_hot_changes(state->hot);
    enum lilio_err err = handler->apply(command);
    LILIO_ASSERT(!err || state->failed ||
                 base_kv_batch_count(state->batch) + coord_hot_changes(state->hot) == before);
    return state->failed ? state->failed : err;
}

/* A request of a session: executed once, its result kept. */
static enum lilio_err run_once(struct coord_command *command, const struct handler *handler)
{
    bool again = false;
    enum lilio_err err = coord_session_admit(command, &again);
    if (err || again)
        return err;
    err = run(command, handler);
    if (command->state->failed)
        return command->state->failed;
    if (err)
        reply_refusal(command, err);
    command->result->err = err;
    coord_session_remember(command);
    return LILIO_OK;
}

static enum lilio_err decide(struct coord_command *command, struct base_slice bytes)
{
    struct coord_state *state = command->state;
    enum lilio_err err = proto_entry_unpack(bytes, state->arena, &command->entry, &command->info);
    if (err)
        return err == LILIO_E_NOMEM ? coord_failed(state, err, &command->info) : err;
    const struct handler *handler = handler_find(command->entry.type);
    if (!handler)
        return coord_refuse(command, LILIO_E_UNSUPPORTED, "no command has number %u",
                            command->entry.type);
    if (!state->initialised && command->entry.type != PROTO_MSG_cluster_init)
        return coord_refuse(command, LILIO_E_UNAVAILABLE, "the cluster is not initialised");
    time_advance(state, command->entry.cluster_ms);
    if (handler->by_rows)
        coord_hot_forget(state);
    return handler->session ? run_once(command, handler) : run(command, handler);
}

static enum lilio_err apply_command(struct coord_state *state, struct proto_version version,
                                    struct base_slice bytes, struct coord_result *result)
{
    proto_arena_clear(state->arena);
    state->pending_bytes += bytes.size;
    result->err = LILIO_OK;
    struct coord_command command = {.state = state, .version = version, .result = result};
    enum lilio_err err = decide(&command, bytes);
    if (err && !state->failed) {
        result->err = err;
        reply_refusal(&command, err);
    }
    return state->failed;
}

static enum lilio_err entry_end(struct coord_state *state, uint64_t index, uint64_t term,
                                struct lilio_errinfo *info)
{
    if (!state->failed) {
        coord_inventory_entry_end(state, index);
        state->row.applied_index = index;
        state->row.applied_term = term;
        state->pending = true;
    }
    return coord_state_failed(state, info);
}

static bool applied_before(const struct coord_state *state, uint64_t index)
{
    return index <= state->row.applied_index && !LILIO_PLANTED("apply_twice");
}

enum lilio_err coord_state_apply(struct coord_state *state, uint64_t index, uint64_t term,
                                 const struct base_slice *commands, size_t count,
                                 struct coord_result *ret_results, struct lilio_errinfo *info)
{
    LILIO_ASSERT(count <= COORD_ENTRY_COMMANDS_MAX);
    if (!state->failed && applied_before(state, index))
        return LILIO_OK;
    struct coord_result unseen = {0};
    for (size_t i = 0; i < count && !state->failed; i++)
        (void)apply_command(state, (struct proto_version){.index = index, .ordinal = (uint32_t)i},
                            commands[i],
                            ret_results ? &ret_results[i] : &unseen); /* failed says it */
    coord_result_release(&unseen);
    return entry_end(state, index, term, info);
}

enum lilio_err coord_state_advance(struct coord_state *state, uint64_t index, uint64_t term,
                                   const struct proto_raft_config *config,
                                   struct lilio_errinfo *info)
{
    if (!state->failed && applied_before(state, index))
        return LILIO_OK;
    if (config && !state->failed) {
        struct coord_key key = meta_key("members");
        struct lilio_errinfo failure = {0};
        coord_put(state, COORD_META, &key, &proto_type_raft_config, config);
        enum lilio_err err = state->failed;
        if (!err)
            err = config_keep(state, base_buffer_slice(&state->packed), &failure);
        if (err)
            (void)coord_failed(state, err, &failure); /* entry_end returns it */
        if (config->restored) {
            state->row.next_session_id += COORD_SESSIONS_LOST_MAX;
            state->row.epoch += COORD_EPOCHS_LOST_MAX; /* who runs may have a map from then */
        }
        state->row.config_index = index;
    }
    return entry_end(state, index, term, info);
}

/* What entries change again and again is written once: the hot rows, the counters and, last, the
 * state row. */
static void commit_rows(struct coord_state *state)
{
    struct coord_key key = meta_key("state");
    coord_hot_write(state);
    coord_stripes_write(state);
    coord_put(state, COORD_META, &key, &proto_type_state_row, &state->row);
    if (coord_hot_bytes(state->hot) > COORD_HOT_BYTES_MAX)
        coord_hot_forget(state);
    state->pending = false;
    state->pending_bytes = 0;
}

enum lilio_err coord_state_commit(struct coord_state *state, bool sync, struct lilio_errinfo *info)
{
    if (!state->failed && state->pending)
        commit_rows(state);
    if (!state->failed && (sync || base_kv_batch_count(state->batch) > 0)) {
        struct lilio_errinfo failure = {0};
        enum lilio_err err = base_kv_batch_commit(state->batch, sync, &failure);
        if (err)
            (void)coord_failed(state, err, &failure); /* returned below */
    }
    return coord_state_failed(state, info);
}

enum lilio_err coord_state_failed(const struct coord_state *state, struct lilio_errinfo *info)
{
    if (state->failed && info)
        *info = state->failure;
    return state->failed;
}

size_t coord_state_pending(const struct coord_state *state)
{
    return state->pending_bytes;
}

/* ---- where it stands ---- */

bool coord_state_initialised(const struct coord_state *state)
{
    return state->initialised;
}

const struct proto_cluster_row *coord_state_cluster(const struct coord_state *state)
{
    return &state->cluster;
}

const struct proto_state_row *coord_state_row(const struct coord_state *state)
{
    return &state->row;
}

const struct proto_raft_config *coord_state_config(const struct coord_state *state,
                                                   uint64_t *ret_index)
{
    *ret_index = state->row.config_index;
    return &state->config;
}

uint32_t coord_state_voters(const struct coord_state *state)
{
    uint32_t voters = 0;
    for (size_t i = 0; i < state->config.members_count; i++)
        voters += state->config.members[i].kind == RAFT_VOTER;
    return voters;
}

const struct proto_verify_mark *coord_state_verify_mark(const struct coord_state *state)
{
    return &state->verify;
}

/* FNV-1a; every length is hashed too, so that bytes cannot move from one row to the next. */
static uint64_t hash_bytes(uint64_t hash, struct base_slice bytes)
{
    uint8_t size[8];
    base_le64_put(size, bytes.size);
    for (size_t i = 0; i < sizeof size; i++)
        hash = (hash ^ size[i]) * 0x100000001b3u;
    for (size_t i = 0; i < bytes.size; i++)
        hash = (hash ^ bytes.data[i]) * 0x100000001b3u;
    return hash;
}

enum lilio_err coord_state_digest(struct coord_state *state, uint64_t *ret,
                                  struct lilio_errinfo *info)
{
    uint64_t hash = 0xcbf29ce484222325u;
    enum lilio_err failed = coord_state_commit(state, false, info);
    if (failed)
        return failed;
    for (unsigned column = 0; column < COORD_COLUMN_COUNT; column++) {
        struct base_kv_iter *iter = NULL;
        enum lilio_err err = base_kv_iter_new(state->kv, NULL, NULL, column, &iter);
        if (err)
            return lilio_fail(info, err, "%s", lilio_err_text(err));
        for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
             base_kv_iter_next(iter))
            hash = hash_bytes(hash_bytes(hash, base_kv_iter_key(iter)), base_kv_iter_value(iter));
        hash = hash_bytes(hash, base_slice(NULL, 0)); /* end of the column */
        err = base_kv_iter_error(iter, info);
        base_kv_iter_free(&iter);
        if (err)
            return err;
    }
    *ret = hash;
    return LILIO_OK;
}
