/* Rows that nearly every command changes: sessions with the results they remember, and buckets.
 *
 * They are kept unpacked between commands and join the batch once, when it is committed: a row that
 * a hundred commands change is written once, and a result that is forgotten before then is never
 * written. What is here is newer than batch and store. A handler that looks at such rows as rows
 * (all of a session; a bucket that goes) has coord_hot_forget() put them where it looks.
 *
 * Of a session's results all above stored_to are here or were forgotten, so most requests are known
 * to be new without a look at the store; at or below it the store may hold some that are not here.
 */
#include <stdlib.h>

#include "coordinator/state_priv.h"
#include "coordinator/table.h"

#include "base/banned.h"

enum { ROWS_MAX = 1 << 20, RESULTS_MIN = 64 };

struct result {
    uint64_t sequence;
    bool written;
    int32_t err;
    uint16_t type;
    size_t size;
    uint8_t reply[];
};

/* results: of sequence s at s modulo room, a power of two beyond newest - answered_below. */
struct coord_hot_session {
    struct proto_session_row row;
    char label[128]; /* what row.label points to */
    bool changed;
    uint64_t stored_to;
    struct result **results;
    size_t room;
    uint64_t newest, unwritten; /* the highest sequence, and one no unwritten one is below */
    size_t unwritten_count;
    struct coord_hot_session *next_changed;
};

struct hot_bucket {
    struct proto_bucket row;
    char name[COORD_BUCKET_NAME_MAX]; /* what row.name points to */
    bool changed;
    struct hot_bucket *next_changed;
};

struct coord_hot {
    struct coord_table sessions, buckets; /* by id; values are pointers */
    struct coord_hot_session *changed_sessions;
    struct hot_bucket *changed_buckets;
    size_t bytes;
    uint64_t changes;
};

enum lilio_err coord_hot_new(struct coord_hot **ret_hot)
{
    struct coord_hot *hot = calloc(1, sizeof *hot);
    if (!hot)
        return LILIO_E_NOMEM;
    hot->sessions = hot->buckets =
        (struct coord_table){.value_size = sizeof(void *), .limit = ROWS_MAX};
    *ret_hot = hot;
    return LILIO_OK;
}

uint64_t coord_hot_changes(const struct coord_hot *hot)
{
    return hot->changes;
}

size_t coord_hot_bytes(const struct coord_hot *hot)
{
    return hot->bytes;
}

/* ---- forgetting ---- */

static void session_free(struct coord_hot_session *session)
{
    for (size_t i = 0; i < session->room; i++)
        free(session->results[i]);
    free(session->results);
    free(session);
}

static void empty(struct coord_hot *hot)
{
    struct coord_table_key key;
    void **value;
    for (size_t i = 0; (value = coord_table_next(&hot->sessions, &i, &key));)
        session_free(*value);
    for (size_t i = 0; (value = coord_table_next(&hot->buckets, &i, &key));)
        free(*value);
    coord_table_release(&hot->sessions);
    coord_table_release(&hot->buckets);
    hot->bytes = 0;
}

void coord_hot_free(struct coord_hot **hot)
{
    if (!*hot)
        return;
    empty(*hot);
    free(*hot);
    *hot = NULL;
}

void coord_hot_forget(struct coord_state *state)
{
    coord_hot_write(state);
    empty(state->hot);
}

/* ---- into the batch ---- */

static void result_write(struct coord_state *state, uint64_t session, const struct result *result)
{
    struct proto_dedup_row row = {
        .err = result->err,
        .reply_type = result->type,
        .reply = base_slice(result->reply, result->size),
    };
    struct coord_key key = coord_key_pair(session, result->sequence);
    coord_put(state, COORD_DEDUP, &key, &proto_type_dedup_row, &row);
}

static void session_write(struct coord_state *state, struct coord_hot_session *session)
{
    struct coord_key key = coord_key_u64(session->row.id);
    coord_put(state, COORD_SESSIONS, &key, &proto_type_session_row, &session->row);
    uint64_t floor = session->row.answered_below;
    for (uint64_t s = session->unwritten > floor ? session->unwritten : floor;
         session->unwritten_count > 0; s++) {
        struct result *result = session->results[s & (session->room - 1)];
        if (!result || result->sequence != s || result->written)
            continue;
        result_write(state, session->row.id, result);
        result->written = true;
        session->unwritten_count--;
    }
    session->changed = false;
}

void coord_hot_write(struct coord_state *state)
{
    struct coord_hot *hot = state->hot;
    for (struct coord_hot_session *s = hot->changed_sessions; s; s = s->next_changed)
        session_write(state, s);
    for (struct hot_bucket *bucket = hot->changed_buckets; bucket; bucket = bucket->next_changed) {
        struct coord_key key = coord_key_u64(bucket->row.id);
        coord_put(state, COORD_BUCKETS, &key, &proto_type_bucket, &bucket->row);
        bucket->changed = false;
    }
    hot->changed_sessions = NULL;
    hot->changed_buckets = NULL;
}

/* ---- sessions ---- */

static void session_changed(struct coord_hot *hot, struct coord_hot_session *session)
{
    hot->changes++;
    if (session->changed)
        return;
    session->changed = true;
    session->next_changed = hot->changed_sessions;
    hot->changed_sessions = session;
}

/* The highest sequence whose result is stored; 0 if none is. */
static enum lilio_err stored_to(struct coord_command *command, uint64_t session, uint64_t *ret)
{
    struct coord_state *state = command->state;
    struct coord_key last = coord_key_pair(session, UINT64_MAX), prefix = coord_key_u64(session);
    struct base_kv_iter *iter = NULL;
    enum lilio_err err = base_kv_iter_new(state->kv, NULL, state->batch, COORD_DEDUP, &iter);
    if (err)
        return coord_failed(state, err, NULL);
    *ret = 0;
    base_kv_iter_seek_last(iter, coord_key_slice(&last));
    if (base_kv_iter_valid(iter) && base_kv_iter_key(iter).size == last.size &&
        coord_key_has_prefix(base_kv_iter_key(iter), &prefix))
        *ret = base_be64_get(base_kv_iter_key(iter).data + prefix.size);
    err = base_kv_iter_error(iter, &command->info);
    base_kv_iter_free(&iter);
    return err ? coord_failed(state, err, &command->info) : LILIO_OK;
}

static enum lilio_err session_load(struct coord_command *command, uint64_t id,
                                   struct coord_hot_session **ret)
{
    struct coord_hot *hot = command->state->hot;
    struct proto_session_row row;
    struct coord_key key = coord_key_u64(id);
    enum lilio_err err = coord_get(command, COORD_SESSIONS, &key, &proto_type_session_row, &row);
    uint64_t stored = 0;
    if (!err)
        err = stored_to(command, id, &stored);
    if (err)
        return err;
    struct coord_hot_session *session = calloc(1, sizeof *session);
    struct coord_hot_session **place =
        session ? coord_table_add(&hot->sessions, (struct coord_table_key){.a = id}) : NULL;
    if (!place) {
        free(session);
        return coord_failed(command->state, LILIO_E_NOMEM, NULL);
    }
    session->row = row;
    session->stored_to = stored;
    LILIO_ASSERT(row.label.size <= sizeof session->label); /* as the schema says */
    if (row.label.size > 0)
        memcpy(session->label, row.label.data, row.label.size);
    session->row.label = base_slice(session->label, row.label.size);
    hot->bytes += sizeof *session;
    *ret = *place = session;
    return LILIO_OK;
}

enum lilio_err coord_hot_session(struct coord_command *command, uint64_t id,
                                 struct coord_hot_session **ret)
{
    struct coord_hot_session **found =
        coord_table_find(&command->state->hot->sessions, (struct coord_table_key){.a = id});
    if (!found)
        return session_load(command, id, ret);
    *ret = *found;
    return LILIO_OK;
}

const struct proto_session_row *coord_hot_session_row(const struct coord_hot_session *session)
{
    return &session->row;
}

void coord_hot_session_runs(struct coord_command *command, struct coord_hot_session *session,
                            uint32_t run_count)
{
    session->row.run_count = run_count;
    session_changed(command->state->hot, session);
}

/* ---- results ---- */

static struct result *result_at(const struct coord_hot_session *session, uint64_t sequence)
{
    struct result *result = session->room ? session->results[sequence & (session->room - 1)] : NULL;
    return result && result->sequence == sequence ? result : NULL;
}

enum lilio_err coord_hot_result(struct coord_command *command,
                                const struct coord_hot_session *session, uint64_t sequence,
                                struct proto_dedup_row *ret)
{
    const struct result *result = result_at(session, sequence);
    if (!result && sequence > session->stored_to)
        return LILIO_E_NOT_FOUND;
    if (!result) {
        struct coord_key key = coord_key_pair(session->row.id, sequence);
        return coord_get(command, COORD_DEDUP, &key, &proto_type_dedup_row, ret);
    }
    *ret = (struct proto_dedup_row){
        .err = result->err,
        .reply_type = result->type,
        .reply = base_slice(result->reply, result->size),
    };
    return LILIO_OK;
}

/* Makes room for all sequences from the floor to this one. */
static bool results_grow(struct coord_hot *hot, struct coord_hot_session *session, uint64_t to)
{
    size_t room = session->room ? session->room : RESULTS_MIN;
    while (to - session->row.answered_below >= room)
        room *= 2;
    if (room == session->room)
        return true;
    struct result **results = calloc(room, sizeof *results);
    if (!results)
        return false;
    for (size_t i = 0; i < session->room; i++)
        if (session->results[i])
            results[session->results[i]->sequence & (room - 1)] = session->results[i];
    free(session->results);
    hot->bytes += (room - session->room) * sizeof *results;
    session->results = results;
    session->room = room;
    return true;
}

void coord_hot_remember(struct coord_command *command, struct coord_hot_session *session,
                        uint64_t sequence, const struct coord_result *result)
{
    struct coord_hot *hot = command->state->hot;
    uint64_t newest = sequence > session->newest ? sequence : session->newest;
    LILIO_ASSERT(sequence >= session->row.answered_below &&
                 newest - session->row.answered_below <= COORD_SESSION_RESULTS_MAX);
    size_t size = result->reply.size;
    struct result *kept = malloc(sizeof *kept + size);
    if (!kept || !results_grow(hot, session, newest)) {
        free(kept);
        (void)coord_failed(command->state, LILIO_E_NOMEM, NULL); /* apply looks at it */
        return;
    }
    *kept = (struct result){
        .sequence = sequence, .err = result->err, .type = result->type, .size = size};
    if (size > 0)
        memcpy(kept->reply, result->reply.data, size);
    session->results[sequence & (session->room - 1)] = kept;
    session->newest = newest;
    if (session->unwritten_count++ == 0 || sequence < session->unwritten)
        session->unwritten = sequence;
    hot->bytes += sizeof *kept + size;
    session_changed(hot, session);
}

static void result_drop(struct coord_state *state, struct coord_hot_session *session,
                        struct result *result)
{
    if (result->written) {
        struct coord_key key = coord_key_pair(session->row.id, result->sequence);
        coord_delete(state, COORD_DEDUP, &key);
    } else {
        session->unwritten_count--;
    }
    session->results[result->sequence & (session->room - 1)] = NULL;
    state->hot->bytes -= sizeof *result + result->size;
    free(result);
}

uint64_t coord_hot_floor(struct coord_command *command, struct coord_hot_session *session,
                         uint64_t floor)
{
    uint64_t from = session->row.answered_below;
    if (floor - from < session->room) {
        for (uint64_t s = from; s < floor; s++) {
            struct result *result = result_at(session, s);
            if (result)
                result_drop(command->state, session, result);
        }
    } else {
        for (size_t i = 0; i < session->room; i++)
            if (session->results[i] && session->results[i]->sequence < floor)
                result_drop(command->state, session, session->results[i]);
    }
    session->row.answered_below = floor;
    session_changed(command->state->hot, session);
    uint64_t end = session->stored_to < floor ? session->stored_to + 1 : floor;
    return end > from ? end : from;
}

/* ---- buckets ---- */

static enum lilio_err bucket_load(struct coord_command *command, uint64_t id,
                                  struct hot_bucket **ret)
{
    struct coord_hot *hot = command->state->hot;
    struct proto_bucket row;
    struct coord_key key = coord_key_u64(id);
    enum lilio_err err = coord_get(command, COORD_BUCKETS, &key, &proto_type_bucket, &row);
    if (err)
        return err;
    struct hot_bucket *bucket = calloc(1, sizeof *bucket);
    struct hot_bucket **place =
        bucket ? coord_table_add(&hot->buckets, (struct coord_table_key){.a = id}) : NULL;
    if (!place) {
        free(bucket);
        return coord_failed(command->state, LILIO_E_NOMEM, NULL);
    }
    bucket->row = row;
    LILIO_ASSERT(row.name.size <= sizeof bucket->name); /* as the schema says */
    if (row.name.size > 0)
        memcpy(bucket->name, row.name.data, row.name.size);
    bucket->row.name = base_slice(bucket->name, row.name.size);
    hot->bytes += sizeof *bucket;
    *ret = *place = bucket;
    return LILIO_OK;
}

static enum lilio_err bucket_find(struct coord_command *command, uint64_t id,
                                  struct hot_bucket **ret)
{
    struct hot_bucket **found =
        coord_table_find(&command->state->hot->buckets, (struct coord_table_key){.a = id});
    if (!found)
        return bucket_load(command, id, ret);
    *ret = *found;
    return LILIO_OK;
}

enum lilio_err coord_hot_bucket(struct coord_command *command, uint64_t id,
                                struct proto_bucket *ret)
{
    struct hot_bucket *bucket = NULL;
    enum lilio_err err = bucket_find(command, id, &bucket);
    if (!err)
        *ret = bucket->row;
    return err;
}

enum lilio_err coord_hot_bucket_adjust(struct coord_command *command, uint64_t id, int64_t objects,
                                       int64_t bytes)
{
    struct coord_hot *hot = command->state->hot;
    struct hot_bucket *bucket = NULL;
    enum lilio_err err = bucket_find(command, id, &bucket);
    if (err)
        return err;
    bucket->row.object_count += (uint64_t)objects;
    bucket->row.object_bytes += (uint64_t)bytes;
    hot->changes++;
    if (!bucket->changed) {
        bucket->changed = true;
        bucket->next_changed = hot->changed_buckets;
        hot->changed_buckets = bucket;
    }
    return LILIO_OK;
}
