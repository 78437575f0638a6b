/* lilio_copy: shared in the maps when both buckets code alike, else read and written again. Reading
 * runs in a thread of its own and fills a bounded pipe that the put empties. */
#include "client/client_priv.h"

#include <stdlib.h>

#include "client/lane.h"
#include "client/object.h"

#include "base/banned.h"

enum { CONDITION_NONE = 0, CONDITION_ABSENT = 1 };

/* ---- the pipe between a get and a put ---- */

struct pipe {
    struct lilio_client *client;
    const char *bucket, *key;
    struct lilio_version version; /* that shall be read */
    pthread_mutex_t lock;         /* guards everything below */
    pthread_cond_t changed;
    uint8_t *bytes; /* a ring */
    size_t start, used;
    bool ended;     /* the get is over, with err */
    bool abandoned; /* the put is over */
    enum lilio_err err;
    struct lilio_errinfo info;
};

static enum lilio_err pipe_write(void *context, const void *data, size_t size,
                                 struct lilio_errinfo *info)
{
    struct pipe *pipe = context;
    const uint8_t *from = data;
    pthread_mutex_lock(&pipe->lock);
    while (size > 0 && !pipe->abandoned) {
        size_t end = (pipe->start + pipe->used) % CLIENT_COPY_PIPE_BYTES;
        size_t room = CLIENT_COPY_PIPE_BYTES - pipe->used;
        if (room > CLIENT_COPY_PIPE_BYTES - end)
            room = CLIENT_COPY_PIPE_BYTES - end;
        if (room == 0) {
            pthread_cond_wait(&pipe->changed, &pipe->lock);
            continue;
        }
        size_t step = size < room ? size : room;
        memcpy(pipe->bytes + end, from, step);
        pipe->used += step;
        from += step;
        size -= step;
        pthread_cond_broadcast(&pipe->changed);
    }
    bool abandoned = pipe->abandoned;
    pthread_mutex_unlock(&pipe->lock);
    return abandoned ? lilio_fail(info, LILIO_E_CANCELLED, "the copy was given up") : LILIO_OK;
}

static enum lilio_err pipe_read(void *context, void *buffer, size_t size, size_t *ret_size,
                                struct lilio_errinfo *info)
{
    struct pipe *pipe = context;
    pthread_mutex_lock(&pipe->lock);
    while (pipe->used == 0 && !pipe->ended)
        pthread_cond_wait(&pipe->changed, &pipe->lock);
    enum lilio_err err = pipe->used == 0 ? pipe->err : LILIO_OK;
    size_t step = pipe->used < size ? pipe->used : size;
    if (step > CLIENT_COPY_PIPE_BYTES - pipe->start)
        step = CLIENT_COPY_PIPE_BYTES - pipe->start;
    memcpy(buffer, pipe->bytes + pipe->start, step);
    pipe->start = (pipe->start + step) % CLIENT_COPY_PIPE_BYTES;
    pipe->used -= step;
    if (err != LILIO_OK && info)
        *info = pipe->info;
    pthread_cond_broadcast(&pipe->changed);
    pthread_mutex_unlock(&pipe->lock);
    *ret_size = step;
    return err;
}

/* The thread that reads the source. */
static void *pipe_main(void *argument)
{
    struct pipe *pipe = argument;
    struct lilio_sink sink = {.write = pipe_write, .context = pipe};
    struct lilio_get_result result;
    struct lilio_errinfo info = {0};
    enum lilio_err err =
        lilio_get(pipe->client, pipe->bucket, pipe->key, &sink, NULL, &result, &info);
    if (err == LILIO_OK && (result.version.index != pipe->version.index ||
                            result.version.ordinal != pipe->version.ordinal))
        err = lilio_fail(&info, LILIO_E_VERSION_GONE, "%s/%s was replaced before it was copied",
                         pipe->bucket, pipe->key);
    pthread_mutex_lock(&pipe->lock);
    pipe->ended = true;
    pipe->err = err;
    pipe->info = info;
    pthread_cond_broadcast(&pipe->changed);
    pthread_mutex_unlock(&pipe->lock);
    return NULL;
}

/* ---- read and write again ---- */

/* Puts what the pipe delivers, under the source's attributes. */
static enum lilio_err put_from(struct pipe *pipe, const struct lilio_object *object,
                               const char *to_bucket, const char *to_key, bool if_absent,
                               struct lilio_put_result *ret_result, struct lilio_errinfo *info)
{
    struct lilio_attribute *attributes = calloc(object->attribute_count + 1, sizeof *attributes);
    if (!attributes)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for attributes");
    for (size_t i = 0; i < object->attribute_count; i++)
        attributes[i] =
            (struct lilio_attribute){object->attribute_names[i], object->attribute_values[i]};
    struct lilio_put_options options = {.if_absent = if_absent,
                                        .attributes = attributes,
                                        .attribute_count = object->attribute_count};
    struct lilio_source source = {.read = pipe_read, .context = pipe, .size = UINT64_MAX};
    enum lilio_err err =
        lilio_put(pipe->client, to_bucket, to_key, &source, &options, ret_result, info);
    free(attributes);
    return err;
}

static enum lilio_err stream(struct lilio_client *client, const struct lilio_object *object,
                             const char *to_bucket, const char *to_key, bool if_absent,
                             struct lilio_put_result *ret_result, struct lilio_errinfo *info)
{
    struct pipe pipe = {.client = client,
                        .bucket = object->bucket,
                        .key = object->key,
                        .version = object->version,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER,
                        .bytes = malloc(CLIENT_COPY_PIPE_BYTES)};
    pthread_t reader;
    if (!pipe.bytes || pthread_create(&reader, NULL, pipe_main, &pipe) != 0) {
        free(pipe.bytes);
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a copy");
    }
    enum lilio_err err = put_from(&pipe, object, to_bucket, to_key, if_absent, ret_result, info);
    pthread_mutex_lock(&pipe.lock);
    pipe.abandoned = true;
    pthread_cond_broadcast(&pipe.changed);
    pthread_mutex_unlock(&pipe.lock);
    pthread_join(reader, NULL);
    free(pipe.bytes);
    return err;
}

/* ---- both ways ---- */

static bool same_coding(const struct proto_bucket *from, const struct client_bucket *to)
{
    return from->profile.data_count == to->profile.data_count &&
           from->profile.parity_count == to->profile.parity_count &&
           from->profile.fragment_size == to->profile.fragment_size &&
           from->profile.generator == to->profile.generator && from->placement == to->placement;
}

/* One entry in the maps: both names share the bytes. */
static enum lilio_err share(struct client_lane *lane, const struct client_object *object,
                            const struct proto_copy *request, struct lilio_put_result *ret_result,
                            struct lilio_errinfo *info)
{
    struct proto_committed committed;
    struct client_answer answer = {0};
    enum lilio_err err = client_control_change(&lane->control, &proto_type_copy, request,
                                               &proto_type_committed, &committed, &answer, info);
    client_answer_release(&answer);
    if (err == LILIO_OK && ret_result)
        *ret_result = (struct lilio_put_result){
            .version = client_version_public(committed.version),
            .size = object->object.row.logical_size,
            .modified_ms = committed.modified_ms,
            .crc32c = object->object.row.crc32c,
            .durable = committed.durable,
            .total = committed.total,
            .coordinators = committed.coordinators,
            .coordinators_total = committed.coordinators_total,
        };
    return err;
}

/* Copies by way of the maps if both buckets code alike; *ret_object is filled otherwise, for
 * reading and writing. */
static enum lilio_err copy_in_maps(struct client_lane *lane, const char *bucket, const char *key,
                                   const struct proto_copy *request, const struct client_bucket *to,
                                   bool *ret_done, struct lilio_object *ret_object,
                                   struct lilio_put_result *ret_result, struct lilio_errinfo *info)
{
    struct client_object object;
    enum lilio_err err = client_object_lookup(&lane->control, bucket, key, &object, info);
    if (err != LILIO_OK)
        return err;
    *ret_done = same_coding(&object.object.bucket, to);
    if (*ret_done)
        err = share(lane, &object, request, ret_result, info);
    else
        err = client_object_public(&object, bucket, key, ret_object, info);
    client_object_release(&object);
    return err;
}

/* The second half of a move that had to read and write. */
static enum lilio_err delete_source(struct lilio_client *client, const struct lilio_object *object,
                                    struct lilio_errinfo *info)
{
    enum lilio_err err = lilio_delete(client, object->bucket, object->key, object->version, info);
    if (err == LILIO_E_PRECONDITION || err == LILIO_E_NO_KEY)
        return lilio_fail(info, LILIO_E_PRECONDITION,
                          "copied, but %s/%s was changed meanwhile and is kept", object->bucket,
                          object->key);
    return err;
}

enum lilio_err lilio_copy(struct lilio_client *client, const char *bucket, const char *key,
                          const char *to_bucket, const char *to_key, bool if_absent, bool move,
                          struct lilio_put_result *ret_result, struct lilio_errinfo *info)
{
    struct client_lane *lane;
    struct client_bucket to;
    struct lilio_object object = {0};
    struct lilio_put_result result;
    bool done = false;
    enum lilio_err err = client_key_check(to_key, info);
    if (err == LILIO_OK)
        err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    err = client_bucket_find(client, &lane->control, to_bucket, /* cached */ false, &to, info);
    if (err == LILIO_OK) {
        struct proto_copy request = {
            .bucket = base_slice_str(bucket),
            .key = base_slice_str(key),
            .to_bucket_id = to.id,
            .to_key = base_slice_str(to_key),
            .condition = if_absent ? CONDITION_ABSENT : CONDITION_NONE,
            .move = move,
        };
        err = copy_in_maps(lane, bucket, key, &request, &to, &done, &object, &result, info);
    }
    client_lane_give(&lane);
    if (err == LILIO_OK && !done) {
        err = stream(client, &object, to_bucket, to_key, if_absent, &result, info);
        if (err == LILIO_OK && move)
            err = delete_source(client, &object, info);
        lilio_object_release(&object);
    }
    if (err == LILIO_OK && ret_result)
        *ret_result = result;
    return err;
}
