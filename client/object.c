#include "client/object.h"

#include <stdlib.h>

#include "client/lane.h"

#include "base/banned.h"

enum { KIND_OBJECT = 1, TRANSFORM_NONE = 0 };

static enum lilio_err check_row(const struct proto_version_row *row, struct lilio_errinfo *info)
{
    uint64_t sum = 0;
    if (row->kind != KIND_OBJECT)
        return lilio_fail(info, LILIO_E_UNSUPPORTED, "version row of kind %u", row->kind);
    for (size_t i = 0; i < row->extents_count; i++) {
        const struct proto_extent *extent = &row->extents[i];
        if (extent->transform != TRANSFORM_NONE)
            return lilio_fail(info, LILIO_E_UNSUPPORTED, "transform %u", extent->transform);
        if (extent->logical_length == 0 ||
            __builtin_add_overflow(sum, extent->logical_length, &sum))
            return lilio_fail(info, LILIO_E_MALFORMED, "extents of an impossible length");
    }
    if (row->extents_count == 0)
        sum = row->inline_bytes.size;
    if (sum != row->logical_size)
        return lilio_fail(info, LILIO_E_MALFORMED, "%llu bytes in the extents of %llu",
                          (unsigned long long)sum, (unsigned long long)row->logical_size);
    return LILIO_OK;
}

enum lilio_err client_object_lookup(struct client_control *control, const char *bucket,
                                    const char *key, struct client_object *ret_object,
                                    struct lilio_errinfo *info)
{
    enum lilio_err err = client_bucket_name_check(bucket, info);
    if (err == LILIO_OK)
        err = client_key_check(key, info);
    if (err != LILIO_OK)
        return err;
    struct proto_lookup request = {.bucket = base_slice_str(bucket), .key = base_slice_str(key)};
    struct client_call call = {
        .type = &proto_type_lookup, .value = &request, .reply_type = &proto_type_object};
    *ret_object = (struct client_object){0};
    err = client_control_call(control, &call, &ret_object->object, &ret_object->answer, info);
    if (err == LILIO_OK) {
        client_note_epoch(control->client, ret_object->object.epoch);
        err = check_row(&ret_object->object.row, info);
        if (err != LILIO_OK)
            err = lilio_prefix(info, err, "%s/%s", bucket, key);
    }
    if (err != LILIO_OK)
        client_object_release(ret_object);
    return err;
}

void client_object_release(struct client_object *object)
{
    client_answer_release(&object->answer);
    object->object = (struct proto_object){0};
}

static enum lilio_err check_data(const struct proto_extent *extent,
                                 const struct proto_data_row *data, struct lilio_errinfo *info)
{
    enum lilio_err err = proto_row_check(data, info);
    if (err != LILIO_OK)
        return err;
    if (!base_oid_equal(data->oid, extent->oid) || extent->offset > data->stored_length ||
        extent->logical_length > data->stored_length - extent->offset)
        return lilio_fail(info, LILIO_E_MALFORMED, "the data row is not that of the extent");
    return LILIO_OK;
}

enum lilio_err client_object_row(struct client_control *control, const struct client_object *object,
                                 size_t i, struct client_answer *answer,
                                 struct proto_data_row *ret_row, struct lilio_errinfo *info)
{
    const struct proto_extent *extent = &object->object.row.extents[i];
    if (object->object.row.extents_count == 1 && object->object.data_count == 1) {
        *ret_row = object->object.data[0];
        return check_data(extent, ret_row, info);
    }
    struct proto_data_get request = {.oid = extent->oid};
    struct client_call call = {
        .type = &proto_type_data_get, .value = &request, .reply_type = &proto_type_data};
    struct proto_data data;
    enum lilio_err err = client_control_call(control, &call, &data, answer, info);
    if (err != LILIO_OK)
        return err;
    *ret_row = data.data;
    return check_data(extent, ret_row, info);
}

/* ---- the public face ---- */

void lilio_object_release(struct lilio_object *object)
{
    for (size_t i = 0; i < object->attribute_count; i++) {
        free(object->attribute_names[i]);
        free(object->attribute_values[i]);
    }
    free(object->attribute_names);
    free(object->attribute_values);
    free(object->bucket);
    free(object->key);
    *object = (struct lilio_object){0};
}

static bool copy_attributes(const struct proto_version_row *row, struct lilio_object *object)
{
    object->attribute_names = calloc(row->attributes_count + 1, sizeof *object->attribute_names);
    object->attribute_values = calloc(row->attributes_count + 1, sizeof *object->attribute_values);
    if (!object->attribute_names || !object->attribute_values)
        return false;
    for (size_t i = 0; i < row->attributes_count; i++) {
        object->attribute_names[i] = client_text(row->attributes[i].name);
        object->attribute_values[i] = client_text(row->attributes[i].value);
        object->attribute_count = i + 1;
        if (!object->attribute_names[i] || !object->attribute_values[i])
            return false;
    }
    return true;
}

enum lilio_err client_object_public(const struct client_object *object, const char *bucket,
                                    const char *key, struct lilio_object *ret_object,
                                    struct lilio_errinfo *info)
{
    const struct proto_version_row *row = &object->object.row;
    struct client_bucket home;
    if (!client_bucket_from_proto(&object->object.bucket, &home))
        return lilio_fail(info, LILIO_E_MALFORMED, "bucket %s: its profile makes no sense", bucket);
    if (object->object.data_count == 1)
        home.profile = client_profile_from_proto(&object->object.data[0].profile);
    struct lilio_object made = {
        .bucket = client_text(base_slice_str(bucket)),
        .key = client_text(base_slice_str(key)),
        .version = client_version_public(row->version),
        .size = row->logical_size,
        .modified_ms = row->modified_ms,
        .crc32c = row->crc32c,
        .has_crc32c = row->has_crc32c,
        .is_inline = row->inline_bytes.size > 0,
        .profile = client_profile_public(&home.profile),
        .durable_at_commit = row->durable_min,
    };
    if (!made.bucket || !made.key || !copy_attributes(row, &made)) {
        lilio_object_release(&made);
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for an object's description");
    }
    *ret_object = made;
    return LILIO_OK;
}

enum lilio_err lilio_stat(struct lilio_client *client, const char *bucket, const char *key,
                          struct lilio_object *ret_object, struct lilio_errinfo *info)
{
    struct client_lane *lane;
    struct client_object object;
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    err = client_object_lookup(&lane->control, bucket, key, &object, info);
    if (err == LILIO_OK) {
        err = client_object_public(&object, bucket, key, ret_object, info);
        client_object_release(&object);
    }
    client_lane_give(&lane);
    return err;
}
