/* Opening and closing a client, and what it remembers between calls: the map and a few buckets. */
#include "client/client_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/control.h"
#include "client/lane.h"
#include "client/session.h"

#include "base/banned.h"

/* ---- life ---- */

static enum lilio_err load_config(const char *path, struct proto_cluster_file *ret_file,
                                  struct lilio_errinfo *info)
{
    if (!path)
        path = getenv("LILIO_CONFIG");
    if (!path || !*path)
        path = "lilio.yaml";
    enum lilio_err err = proto_cluster_file_load(path, ret_file, info);
    if (err != LILIO_OK)
        return err;
    if (ret_file->coordinator_count > 0)
        return LILIO_OK;
    err = lilio_fail(info, LILIO_E_CONFIG, "%s: names no coordinator", path);
    proto_cluster_file_release(ret_file);
    return err;
}

static void init_coordinators(struct lilio_client *client)
{
    const char *endpoints[PROTO_LEADER_COORDINATORS_MAX];
    size_t count = 0;
    for (; count < client->file.coordinator_count && count < PROTO_LEADER_COORDINATORS_MAX; count++)
        endpoints[count] = client->file.coordinators[count].endpoint;
    proto_coordinators_init(&client->coordinators, endpoints, count);
}

static void init_lock(struct lilio_client *client)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&client->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&client->lock, NULL);
}

enum lilio_err lilio_open(const struct lilio_options *options, struct lilio_client **ret_client,
                          struct lilio_errinfo *info)
{
    static const struct lilio_options defaults;
    if (!options)
        options = &defaults;
    struct lilio_client *client = calloc(1, sizeof *client);
    if (!client)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a client");
    enum lilio_err err = load_config(options->config_path, &client->file, info);
    if (err != LILIO_OK) {
        free(client);
        return err;
    }
    if (proto_context_new(/* io_threads */ 1, &client->context) != LILIO_OK) {
        proto_cluster_file_release(&client->file);
        free(client);
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for ZeroMQ");
    }
    client->clock = base_clock_system();
    client->timeout_ms = options->timeout_ms ? options->timeout_ms : CLIENT_TIMEOUT_MS;
    client->window_bytes = options->window_bytes ? options->window_bytes : CLIENT_WINDOW_BYTES;
    client->cancelled = options->cancelled;
    client->cancelled_context = options->cancelled_context;
    client->trace_base = base_random_u64(base_random_system());
    const char *label = options->label ? options->label : program_invocation_short_name;
    snprintf(client->label, sizeof client->label, "%s", label);
    init_coordinators(client);
    init_lock(client);
    *ret_client = client;
    return LILIO_OK;
}

void lilio_close(struct lilio_client **client)
{
    struct lilio_client *mine = *client;
    *client = NULL;
    if (!mine)
        return;
    client_session_end(mine);
    while (mine->idle_lanes) {
        struct client_lane *lane = mine->idle_lanes;
        mine->idle_lanes = lane->next;
        client_lane_free(&lane);
    }
    proto_map_ref_drop(&mine->map);
    proto_context_free(&mine->context);
    proto_coordinators_release(&mine->coordinators);
    proto_cluster_file_release(&mine->file);
    pthread_cond_destroy(&mine->changed);
    pthread_mutex_destroy(&mine->lock);
    free(mine);
}

/* ---- the map ---- */

void client_note_epoch(struct lilio_client *client, uint64_t epoch)
{
    uint64_t seen = atomic_load_explicit(&client->seen_epoch, memory_order_relaxed);
    while (epoch > seen && !atomic_compare_exchange_weak(&client->seen_epoch, &seen, epoch))
        ;
}

/* Makes a received map the client's, unless a newer one came meanwhile; returns the one that stays.
 */
static enum lilio_err adopt_map(struct lilio_client *client, const struct proto_cluster_map *map,
                                struct proto_map_ref **ret_map, struct lilio_errinfo *info)
{
    struct proto_map_ref *made;
    enum lilio_err err = proto_map_check(map, info);
    if (err != LILIO_OK)
        return err;
    if (!base_uuid_equal(map->cluster_id, client->file.cluster_id))
        return lilio_fail(info, LILIO_E_FOREIGN, "the coordinator serves another cluster");
    err = proto_map_ref_new(map, &made);
    if (err != LILIO_OK)
        return lilio_fail(info, err, "no memory for the cluster map");
    client_note_epoch(client, map->epoch);
    pthread_mutex_lock(&client->lock);
    if (client->map && proto_map_ref_get(client->map)->epoch >= map->epoch) {
        *ret_map = proto_map_ref_take(client->map);
    } else {
        proto_map_ref_drop(&client->map);
        client->map = proto_map_ref_take(made);
        *ret_map = proto_map_ref_take(made);
    }
    pthread_mutex_unlock(&client->lock);
    proto_map_ref_drop(&made);
    return LILIO_OK;
}

enum lilio_err client_map_get(struct lilio_client *client, struct client_control *control,
                              uint64_t min_epoch, struct proto_map_ref **ret_map,
                              struct lilio_errinfo *info)
{
    struct proto_map_ref *known = NULL;
    uint64_t seen = atomic_load(&client->seen_epoch);
    if (seen > min_epoch)
        min_epoch = seen;
    pthread_mutex_lock(&client->lock);
    if (client->map)
        known = proto_map_ref_take(client->map);
    pthread_mutex_unlock(&client->lock);
    uint64_t known_epoch = known ? proto_map_ref_get(known)->epoch : 0;
    if (known && known_epoch >= min_epoch) {
        *ret_map = known;
        return LILIO_OK;
    }
    struct proto_map_get request = {.known_epoch = known_epoch};
    struct client_call call = {
        .type = &proto_type_map_get, .value = &request, .reply_type = &proto_type_map};
    struct proto_map reply;
    struct client_answer answer = {0};
    enum lilio_err err = client_control_call(control, &call, &reply, &answer, info);
    if (err == LILIO_OK && reply.changed) {
        err = adopt_map(client, &reply.map, ret_map, info);
    } else if (err == LILIO_OK && known) {
        *ret_map = known;
        known = NULL;
    } else if (err == LILIO_OK) {
        err = lilio_fail(info, LILIO_E_MALFORMED, "the coordinator sent no cluster map");
    }
    proto_map_ref_drop(&known);
    client_answer_release(&answer);
    return err;
}

/* ---- buckets ---- */

bool client_bucket_from_proto(const struct proto_bucket *bucket, struct client_bucket *ret)
{
    *ret = (struct client_bucket){
        .id = bucket->id,
        .profile = client_profile_from_proto(&bucket->profile),
        .quorum = bucket->quorum,
        .placement = bucket->placement,
        .created_ms = bucket->created_ms,
        .object_count = bucket->object_count,
        .object_bytes = bucket->object_bytes,
    };
    client_text_put(ret->name, sizeof ret->name, bucket->name);
    return codec_profile_check(&ret->profile, NULL) == LILIO_OK &&
           ret->quorum <= codec_profile_total(&ret->profile);
}

static bool cache_find(struct lilio_client *client, const char *name,
                       struct client_bucket *ret_bucket)
{
    uint64_t now_ms = client_now_ms(client);
    bool found = false;
    pthread_mutex_lock(&client->lock);
    for (size_t i = 0; !found && i < CLIENT_BUCKET_CACHE_COUNT; i++) {
        const struct client_bucket *bucket = &client->buckets[i];
        found = bucket->id != 0 && strcmp(bucket->name, name) == 0 &&
                now_ms < bucket->at_ms + CLIENT_BUCKET_CACHE_MS;
        if (found)
            *ret_bucket = *bucket;
    }
    pthread_mutex_unlock(&client->lock);
    return found;
}

void client_bucket_forget(struct lilio_client *client, const char *name)
{
    pthread_mutex_lock(&client->lock);
    for (size_t i = 0; i < CLIENT_BUCKET_CACHE_COUNT; i++)
        if (strcmp(client->buckets[i].name, name) == 0)
            client->buckets[i] = (struct client_bucket){0};
    pthread_mutex_unlock(&client->lock);
}

/* Takes the place of the same name, or else of the oldest. */
static void cache_put(struct lilio_client *client, const struct client_bucket *bucket)
{
    client_bucket_forget(client, bucket->name);
    pthread_mutex_lock(&client->lock);
    struct client_bucket *oldest = &client->buckets[0];
    for (size_t i = 1; i < CLIENT_BUCKET_CACHE_COUNT; i++)
        if (client->buckets[i].at_ms < oldest->at_ms)
            oldest = &client->buckets[i];
    *oldest = *bucket;
    pthread_mutex_unlock(&client->lock);
}

enum lilio_err client_bucket_find(struct lilio_client *client, struct client_control *control,
                                  const char *name, bool cached, struct client_bucket *ret_bucket,
                                  struct lilio_errinfo *info)
{
    enum lilio_err err = client_bucket_name_check(name, info);
    if (err != LILIO_OK)
        return err;
    if (cached && cache_find(client, name, ret_bucket))
        return LILIO_OK;
    uint64_t at_ms = client_now_ms(client);
    struct proto_bucket_get request = {.name = base_slice_str(name)};
    struct client_call call = {
        .type = &proto_type_bucket_get, .value = &request, .reply_type = &proto_type_bucket_reply};
    struct proto_bucket_reply reply;
    struct client_answer answer = {0};
    err = client_control_call(control, &call, &reply, &answer, info);
    if (err == LILIO_OK && !client_bucket_from_proto(&reply.bucket, ret_bucket))
        err = lilio_fail(info, LILIO_E_MALFORMED, "bucket %s: its profile makes no sense", name);
    client_answer_release(&answer);
    if (err == LILIO_OK) {
        ret_bucket->at_ms = at_ms;
        cache_put(client, ret_bucket);
    }
    return err;
}

/* ---- text ---- */

char *client_text(struct base_slice text)
{
    char *copy = malloc(text.size + 1);
    if (!copy)
        return NULL;
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    return copy;
}

void client_text_put(char *ret, size_t room, struct base_slice text)
{
    size_t size = text.size < room ? text.size : room - 1;
    if (size > 0)
        memcpy(ret, text.data, size);
    ret[size] = 0;
}

enum lilio_err client_key_check(const char *key, struct lilio_errinfo *info)
{
    size_t size = key ? strnlen(key, CLIENT_KEY_BYTES_MAX + 1) : 0;
    if (size == 0)
        return lilio_fail(info, LILIO_E_INVALID, "a key has at least one byte");
    if (size > CLIENT_KEY_BYTES_MAX)
        return lilio_fail(info, LILIO_E_INVALID, "a key has at most %d bytes",
                          CLIENT_KEY_BYTES_MAX);
    if (!proto_utf8_valid(base_slice(key, size)))
        return lilio_fail(info, LILIO_E_INVALID, "a key is valid UTF-8");
    return LILIO_OK;
}

enum lilio_err client_bucket_name_check(const char *name, struct lilio_errinfo *info)
{
    size_t size = name ? strnlen(name, 64) : 0;
    bool valid = size >= 1 && size <= 63;
    for (size_t i = 0; valid && i < size; i++)
        valid = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') ||
                name[i] == '.' || name[i] == '-';
    if (!valid)
        return lilio_fail(info, LILIO_E_INVALID, "a bucket has 1 to 63 of a-z, 0-9, '.' and '-'");
    return LILIO_OK;
}
