/* lilio_put: the beginning and the end of a put.
 *
 *   1. Bucket, map and session are looked up. A small object goes into COMMIT as it is
 *      (put_inline.c). Otherwise the conditions are tried, and whether enough OSDs are there; only
 *      then is the source read.
 *   2. A stripe is read straight into fragment buffers, encoded and checksummed (put_stripes.c),
 * and handed to the machine, which says what to send (put_writer.c); ZeroMQ sends from the same
 *      buffers. A window of stripes is under way.
 *   3. When a run is full (CLIENT_EXTENT_STRIPES_MAX, or its checksums are) and more bytes come, it
 *      is STAGEd and the next begins (put_runs.c).
 *   4. COMMIT names the runs, sizes, checksums, missing fragments and the lowest epoch
 * acknowledged: the object appears whole or not at all.
 *
 * A put that fails DISCARDs its runs; if that is lost, too, they are orphans of the session. If the
 * answer to COMMIT stays away the outcome is unknown and nothing is discarded.
 */
#include "client/put.h"

#include <stdlib.h>

#include "client/put_priv.h"

#include "base/banned.h"

enum { KIND_OBJECT = 1, ATTRIBUTES_MAX = 128 };
enum { ATTRIBUTE_NAME_MAX = 256, ATTRIBUTE_VALUE_MAX = 4096, ATTRIBUTE_BYTES_MAX = 8192 };
enum { CONDITION_NONE = 0, CONDITION_ABSENT = 1, CONDITION_VERSION = 2 };

/* ---- before anything is read ---- */

static enum lilio_err check_attribute(const struct lilio_put_options *options, size_t i,
                                      struct lilio_errinfo *info)
{
    const struct lilio_attribute *attribute = &options->attributes[i];
    struct base_slice name = base_slice_str(attribute->name);
    struct base_slice value = base_slice_str(attribute->value);
    if (name.size == 0 || name.size > ATTRIBUTE_NAME_MAX || !proto_utf8_valid(name))
        return lilio_fail(info, LILIO_E_INVALID,
                          "the name of an attribute is 1 to %d bytes of valid UTF-8",
                          ATTRIBUTE_NAME_MAX);
    if (value.size > ATTRIBUTE_VALUE_MAX)
        return lilio_fail(info, LILIO_E_TOO_BIG, "attribute %.60s: %zu bytes, at most %d are kept",
                          attribute->name, value.size, ATTRIBUTE_VALUE_MAX);
    if (!proto_utf8_valid(value))
        return lilio_fail(info, LILIO_E_INVALID, "attribute %.60s: its value is no valid UTF-8",
                          attribute->name);
    for (size_t k = 0; k < i; k++)
        if (strcmp(attribute->name, options->attributes[k].name) == 0)
            return lilio_fail(info, LILIO_E_INVALID, "attribute %.60s is given twice",
                              attribute->name);
    return LILIO_OK;
}

static enum lilio_err check_attributes(const struct lilio_put_options *options,
                                       struct lilio_errinfo *info)
{
    size_t bytes = 0;
    if (options->attribute_count > ATTRIBUTES_MAX)
        return lilio_fail(info, LILIO_E_TOO_BIG, "%zu attributes, at most %d are kept",
                          options->attribute_count, ATTRIBUTES_MAX);
    for (size_t i = 0; i < options->attribute_count; i++) {
        enum lilio_err err = check_attribute(options, i, info);
        if (err != LILIO_OK)
            return err;
        bytes += strlen(options->attributes[i].name) + strlen(options->attributes[i].value);
    }
    if (bytes > ATTRIBUTE_BYTES_MAX)
        return lilio_fail(info, LILIO_E_TOO_BIG,
                          "the attributes have %zu bytes together, at most %d are kept", bytes,
                          ATTRIBUTE_BYTES_MAX);
    return LILIO_OK;
}

/* The conditions of the put, tried early: COMMIT decides, but a source need not be read in vain. */
static enum lilio_err try_conditions(struct client_putter *put)
{
    const struct lilio_put_options *options = put->options;
    if (!options->if_absent && options->if_version.index == 0)
        return LILIO_OK;
    struct proto_lookup request = {.bucket = base_slice_str(put->bucket.name),
                                   .key = base_slice_str(put->key)};
    struct client_call call = {
        .type = &proto_type_lookup, .value = &request, .reply_type = &proto_type_object};
    struct proto_object object;
    struct client_answer answer = {0};
    struct lilio_errinfo info = {0};
    enum lilio_err err = client_control_call(&put->lane->control, &call, &object, &answer, &info);
    bool exists = err == LILIO_OK;
    bool same = exists && object.row.version.index == options->if_version.index &&
                object.row.version.ordinal == options->if_version.ordinal;
    client_answer_release(&answer);
    if (err != LILIO_OK && err != LILIO_E_NO_KEY) {
        if (put->info)
            *put->info = info;
        return err;
    }
    if (exists && options->if_absent)
        return lilio_fail(put->info, LILIO_E_EXISTS, "%s/%s exists already", put->bucket.name,
                          put->key);
    if (options->if_version.index != 0 && !same)
        return lilio_fail(put->info, LILIO_E_PRECONDITION, "%s/%s is not at that version",
                          put->bucket.name, put->key);
    return LILIO_OK;
}

/* ---- changes ---- */

enum lilio_err client_putter_change(struct client_putter *put, const struct proto_type *type,
                                    const void *value, const struct proto_type *reply_type,
                                    void *ret_value, bool last_words, struct lilio_errinfo *info)
{
    struct client_ticket ticket;
    if (client_session_ticket(put->session, &ticket) != LILIO_OK)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a request");
    struct client_call call = {.type = type,
                               .value = value,
                               .reply_type = reply_type,
                               .ticket = &ticket,
                               .ignore_cancel = last_words,
                               .timeout_ms = last_words ? CLIENT_CLOSE_MS : 0};
    struct client_answer answer = {0};
    enum lilio_err err = client_control_call(&put->lane->control, &call, ret_value, &answer, info);
    client_answer_release(&answer);
    client_session_ticket_done(put->session, &ticket);
    if (err == LILIO_E_SESSION_CLOSED) {
        client_session_closed(put->client, put->session);
        return lilio_fail(info, LILIO_E_UNAVAILABLE,
                          "the session expired during the put; nothing was stored");
    }
    return err;
}

/* ---- the end ---- */

/* Sends COMMIT. What has no runs belongs to no session in particular: a closed one is replaced. */
static enum lilio_err send_commit(struct client_putter *put, const struct proto_commit *request,
                                  struct proto_committed *ret_committed)
{
    if (put->extent_count > 0)
        return client_putter_change(put, &proto_type_commit, request, &proto_type_committed,
                                    ret_committed, /* last_words */ false, put->info);
    struct client_answer answer = {0};
    enum lilio_err err =
        client_control_change(&put->lane->control, &proto_type_commit, request,
                              &proto_type_committed, ret_committed, &answer, put->info);
    client_answer_release(&answer);
    return err;
}

static enum lilio_err commit(struct client_putter *put, struct lilio_put_result *ret_result)
{
    struct proto_data_row data = {0};
    enum lilio_err err = LILIO_OK;
    if (put->extent_count == 1)
        err = client_putter_run_describe(put, CLIENT_ROW_COMMITTED, &data);
    else if (put->extent_count > 1)
        err = client_putter_run_stage(put);
    if (err != LILIO_OK)
        return err;
    const struct lilio_put_options *options = put->options;
    struct proto_attribute *attributes = calloc(options->attribute_count + 1, sizeof *attributes);
    if (!attributes) {
        free(data.exceptions);
        return lilio_fail(put->info, LILIO_E_NOMEM, "no memory for attributes");
    }
    for (size_t i = 0; i < options->attribute_count; i++)
        attributes[i] =
            (struct proto_attribute){.name = base_slice_str(options->attributes[i].name),
                                     .value = base_slice_str(options->attributes[i].value)};
    struct proto_commit request = {
        .bucket_id = put->bucket.id,
        .key = base_slice_str(put->key),
        .condition = options->if_absent               ? CONDITION_ABSENT
                     : options->if_version.index != 0 ? CONDITION_VERSION
                                                      : CONDITION_NONE,
        .if_version = client_version_to_proto(options->if_version),
        .row = {.kind = KIND_OBJECT,
                .logical_size = put->size,
                .inline_bytes =
                    put->small ? base_slice(put->head, put->head_size) : (struct base_slice){0},
                .extents = put->extents,
                .extents_count = put->extent_count,
                .crc32c = put->crc,
                .has_crc32c = true,
                .attributes = attributes,
                .attributes_count = options->attribute_count,
                .durable_min = (uint8_t)put->durable_min},
        .data = &data,
        .data_count = put->extent_count == 1,
        .lowest_epoch = put->extent_count > 0 ? put->lowest_epoch : put->map->epoch,
        .quorum = (uint8_t)put->required,
    };
    struct proto_committed committed;
    err = send_commit(put, &request, &committed);
    if (err == LILIO_OK)
        *ret_result = (struct lilio_put_result){
            .version = client_version_public(committed.version),
            .size = put->size,
            .modified_ms = committed.modified_ms,
            .crc32c = put->crc,
            .durable = committed.durable,
            .total = committed.total,
            .coordinators = committed.coordinators,
            .coordinators_total = committed.coordinators_total,
        };
    else if (err == LILIO_E_NO_BUCKET)
        client_bucket_forget(put->client, put->bucket.name);
    free(attributes);
    free(data.exceptions);
    return err;
}

/* Tells the coordinators that the runs will not be committed, best effort. */
static void discard(struct client_putter *put)
{
    struct proto_collect_job jobs[CLIENT_EXTENTS_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < put->extent_count; i++)
        if (put->stripe_counts[i] > 0)
            jobs[count++] = (struct proto_collect_job){.oid = put->extents[i].oid,
                                                       .placement = put->bucket.placement,
                                                       .stripe_count = put->stripe_counts[i]};
    if (count == 0)
        return;
    struct proto_discard request = {.jobs = jobs, .jobs_count = count};
    struct proto_ok ok;
    enum lilio_err err = client_putter_change(put, &proto_type_discard, &request, &proto_type_ok,
                                              &ok, /* last_words */ true, NULL);
    (void)err; /* orphans of the session otherwise */
}

static enum lilio_err prepare(struct client_putter *put, const char *bucket)
{
    struct client_control *control = &put->lane->control;
    enum lilio_err err = client_bucket_find(put->client, control, bucket, /* cached */ true,
                                            &put->bucket, put->info);
    if (err == LILIO_OK)
        err = client_map_get(put->client, control, /* min_epoch */ 0, &put->map_ref, put->info);
    if (err == LILIO_OK)
        err = client_lane_coder(put->lane, &put->bucket.profile, &put->coder, put->info);
    if (err == LILIO_OK)
        err = client_session_take(put->client, control, &put->session, put->info);
    if (err != LILIO_OK)
        return err;
    const struct codec_profile *profile = &put->bucket.profile;
    put->map = proto_map_ref_get(put->map_ref);
    put->total_count = codec_profile_total(profile);
    put->required = client_quorum(profile, put->bucket.quorum);
    put->durable_min = put->total_count;
    put->lowest_epoch = UINT64_MAX;
    put->stripe_max = CLIENT_CHECKSUM_BYTES_MAX / (4 * put->total_count);
    if (put->stripe_max > CLIENT_EXTENT_STRIPES_MAX)
        put->stripe_max = CLIENT_EXTENT_STRIPES_MAX;
    uint64_t run_bytes = (uint64_t)put->stripe_max * profile->data_count * profile->fragment_size;
    if (put->source->size != UINT64_MAX && put->source->size > run_bytes * CLIENT_EXTENTS_MAX)
        return lilio_fail(put->info, LILIO_E_TOO_BIG,
                          "an object in this bucket has at most %llu bytes",
                          (unsigned long long)(run_bytes * CLIENT_EXTENTS_MAX));
    return LILIO_OK;
}

/* In one message, if the coordinators take it. put->small tells whether that was all. */
static enum lilio_err put_small(struct client_putter *put, struct lilio_put_result *ret_result)
{
    enum lilio_err err = client_putter_look(put);
    if (err != LILIO_OK || !put->small)
        return err;
    err = commit(put, ret_result);
    if (err == LILIO_E_INVALID && put->size > 0) {
        client_putter_look_undo(put);
        return LILIO_OK;
    }
    const struct lilio_progress *progress = &put->options->progress;
    if (err == LILIO_OK && progress->report)
        progress->report(progress->context, put->size, put->size);
    return err;
}

static enum lilio_err put_fragments(struct client_putter *put, struct lilio_put_result *ret_result)
{
    struct client_control *control = &put->lane->control;
    enum lilio_err err = try_conditions(put);
    client_control_patience_end(control); /* stripes go on for as long as they go on */
    if (err == LILIO_OK)
        err = client_putter_write(put);
    client_control_patience(control);
    if (err == LILIO_OK)
        err = commit(put, ret_result);
    return err;
}

uint32_t client_quorum(const struct codec_profile *profile, uint32_t bucket_quorum)
{
    if (bucket_quorum >= profile->data_count)
        return bucket_quorum;
    return profile->parity_count > 0 ? profile->data_count + 1 : profile->data_count;
}

enum lilio_err lilio_put(struct lilio_client *client, const char *bucket, const char *key,
                         const struct lilio_source *source, const struct lilio_put_options *options,
                         struct lilio_put_result *ret_result, struct lilio_errinfo *info)
{
    static const struct lilio_put_options defaults;
    if (!options)
        options = &defaults;
    enum lilio_err err = client_key_check(key, info);
    if (err == LILIO_OK)
        err = check_attributes(options, info);
    if (err != LILIO_OK)
        return err;
    struct client_putter *put = calloc(1, sizeof *put);
    if (!put)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a put");
    put->client = client;
    put->key = key;
    put->source = source;
    put->options = options;
    put->info = info;
    err = client_lane_take(client, &put->lane, info);
    if (err == LILIO_OK) {
        client_control_patience(&put->lane->control);
        err = prepare(put, bucket);
    }
    if (err == LILIO_OK)
        err = put_small(put, ret_result);
    if (err == LILIO_OK && !put->small)
        err = put_fragments(put, ret_result);
    for (uint32_t s = 0; put->stripes && s <= put->window; s++)
        client_putter_drop(put, &put->stripes[s]);
    if (err != LILIO_OK && err != LILIO_E_OUTCOME_UNKNOWN && put->session)
        discard(put);
    client_put_machine_free(&put->machine);
    client_session_drop(&put->session);
    proto_map_ref_drop(&put->map_ref);
    client_lane_give(&put->lane);
    base_buffer_release(&put->row_sums);
    free(put->head);
    free(put->stripes);
    free(put->slots);
    free(put->sums);
    free(put);
    return err;
}
