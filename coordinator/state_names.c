/* Names: which version a key has, which runs a version uses.
 *
 * A run lives as long as a name uses it: column refs has a row per (oid, bucket, key) with how
 * often that name does. Adding a version writes its references first and then drops the version
 * that was there, so a run that both use is never without one. A run whose last reference goes is
 * handed to collection in the same entry; its data row stays until it was collected, so that who is
 * reading it can go on.
 */
#include "coordinator/state_priv.h"

#include "base/banned.h"

enum lilio_err coord_key_check(struct lilio_errinfo *info, struct base_slice key)
{
    if (key.size >= 1 && key.size <= COORD_KEY_MAX && proto_utf8_valid(key))
        return LILIO_OK;
    return lilio_fail(info, LILIO_E_INVALID, "a key is 1 to %d bytes of UTF-8 without NUL",
                      COORD_KEY_MAX);
}

/* ---- the version that is there ---- */

enum lilio_err coord_current(const struct coord_view *view, uint64_t bucket_id,
                             struct base_slice name, struct proto_version_row *ret,
                             struct lilio_errinfo *info)
{
    struct coord_key key = coord_key_version(bucket_id, name);
    enum lilio_err err =
        coord_view_get(view, COORD_VERSIONS, &key, &proto_type_version_row, ret, info);
    return err == LILIO_E_NOT_FOUND ? lilio_fail(info, LILIO_E_NO_KEY, "no such key") : err;
}

enum lilio_err coord_current_get(struct coord_command *command, uint64_t bucket_id,
                                 struct base_slice name, struct proto_version_row *ret,
                                 bool *ret_found)
{
    struct coord_view view = coord_command_view(command);
    enum lilio_err err = coord_current(&view, bucket_id, name, ret, &command->info);
    *ret_found = err == LILIO_OK;
    if (err && err != LILIO_E_NO_KEY)
        return coord_failed(command->state, err, &command->info);
    return LILIO_OK;
}

/* ---- references ---- */

static void ref_add(struct coord_command *command, struct base_oid oid, uint64_t bucket_id,
                    struct base_slice name)
{
    struct proto_ref_row row = {0};
    struct coord_key key = coord_key_ref(oid, bucket_id, name);
    enum lilio_err err = coord_get(command, COORD_REFS, &key, &proto_type_ref_row, &row);
    if (err && err != LILIO_E_NOT_FOUND)
        return;
    row.count++;
    row.version = command->version;
    coord_put(command->state, COORD_REFS, &key, &proto_type_ref_row, &row);
}

/* True when this was the run's last reference. */
static bool ref_drop(struct coord_command *command, struct base_oid oid, uint64_t bucket_id,
                     struct base_slice name)
{
    struct proto_ref_row row = {0};
    struct coord_key key = coord_key_ref(oid, bucket_id, name);
    if (coord_get(command, COORD_REFS, &key, &proto_type_ref_row, &row))
        return false;
    if (row.count > 1) {
        row.count--;
        coord_put(command->state, COORD_REFS, &key, &proto_type_ref_row, &row);
        return false;
    }
    coord_delete(command->state, COORD_REFS, &key);
    struct coord_key first = coord_key_oid(oid), end = first;
    (void)coord_key_after_prefix(&end); /* no oid is all ones: session ids count up from 1 */
    return !coord_range_any(command, COORD_REFS, &first, &end);
}

static void run_release(struct coord_command *command, const struct proto_extent *extent,
                        struct proto_version version, uint8_t reason)
{
    struct proto_data_row row;
    struct coord_key key = coord_key_oid(extent->oid);
    if (coord_get(command, COORD_DATA, &key, &proto_type_data_row, &row)) {
        (void)coord_broken(command,
                           "a version names a run that is not there"); /* apply looks at it */
        return;
    }
    struct proto_collect_job job = {
        .oid = extent->oid,
        .placement = row.placement,
        .stripe_count = coord_run_stripes(&row),
    };
    coord_gc_add(command, &job, version, reason, row.stored_length);
    coord_repair_update(command, &row, NULL, NULL);
    struct coord_faults faults;
    if (!coord_faults_load(command, &row, &faults))
        coord_stripes_drop(command, &row, &faults);
}

/* ---- versions ---- */

/* All that goes with a version's row. */
static void version_release(struct coord_command *command, uint64_t bucket_id,
                            struct base_slice name, const struct proto_version_row *row,
                            uint8_t reason)
{
    for (size_t i = 0; i < row->extents_count && !command->state->failed; i++)
        if (ref_drop(command, row->extents[i].oid, bucket_id, name))
            run_release(command, &row->extents[i], row->version, reason);
    coord_bucket_adjust(command, bucket_id, -1, -(int64_t)row->logical_size);
}

void coord_version_drop(struct coord_command *command, uint64_t bucket_id, struct base_slice name,
                        const struct proto_version_row *row, uint8_t reason)
{
    struct coord_key key = coord_key_version(bucket_id, name);
    coord_delete(command->state, COORD_VERSIONS, &key);
    version_release(command, bucket_id, name, row, reason);
}

void coord_version_add(struct coord_command *command, uint64_t bucket_id, struct base_slice name,
                       const struct proto_version_row *row, const struct proto_version_row *old)
{
    struct coord_key key = coord_key_version(bucket_id, name);
    coord_put(command->state, COORD_VERSIONS, &key, &proto_type_version_row, row);
    for (size_t i = 0; i < row->extents_count && !command->state->failed; i++)
        ref_add(command, row->extents[i].oid, bucket_id, name);
    coord_bucket_adjust(command, bucket_id, 1, (int64_t)row->logical_size);
    if (old)
        version_release(command, bucket_id, name, old, COORD_GC_SUPERSEDED);
}

/* ---- delete ---- */

enum lilio_err coord_apply_delete(struct coord_command *command)
{
    struct proto_delete ask;
    enum lilio_err err = coord_body(command, &proto_type_delete, &ask);
    struct proto_bucket bucket;
    if (!err)
        err = coord_bucket_get(command, ask.bucket_id, &bucket);
    if (!err)
        err = coord_key_check(&command->info, ask.key);
    struct proto_version_row row;
    bool found = false;
    if (!err)
        err = coord_current_get(command, bucket.id, ask.key, &row, &found);
    if (err)
        return err;
    if (ask.condition != 0 && ask.condition != COORD_IF_VERSION)
        return coord_refuse(command, LILIO_E_INVALID, "delete knows no condition %u",
                            ask.condition);
    if (!found)
        return coord_refuse(command, LILIO_E_NO_KEY, "no such key");
    if (ask.condition == COORD_IF_VERSION && !coord_version_equal(ask.if_version, row.version))
        return coord_refuse(command, LILIO_E_PRECONDITION, "another version is there");
    coord_version_drop(command, bucket.id, ask.key, &row, COORD_GC_DELETED);
    struct proto_deleted reply = {.version = row.version};
    coord_reply(command, &proto_type_deleted, &reply);
    return LILIO_OK;
}

/* ---- copy and move ---- */

struct copy {
    struct proto_copy ask;
    struct proto_bucket from, to;
    struct proto_version_row source, target;
    bool target_found;
};

static enum lilio_err copy_find(struct coord_command *command, struct copy *copy)
{
    struct coord_view view = coord_command_view(command);
    enum lilio_err err = coord_read_bucket(&view, copy->ask.bucket, &copy->from, &command->info);
    if (err && err != LILIO_E_NO_BUCKET)
        return coord_failed(command->state, err, &command->info);
    if (!err)
        err = coord_bucket_get(command, copy->ask.to_bucket_id, &copy->to);
    if (!err)
        err = coord_key_check(&command->info, copy->ask.key);
    if (!err)
        err = coord_key_check(&command->info, copy->ask.to_key);
    bool found = false;
    if (!err)
        err = coord_current_get(command, copy->from.id, copy->ask.key, &copy->source, &found);
    if (!err && !found)
        err = coord_refuse(command, LILIO_E_NO_KEY, "no such key");
    if (!err)
        err = coord_current_get(command, copy->to.id, copy->ask.to_key, &copy->target,
                                &copy->target_found);
    return err;
}

/* The runs are shared as they are, so the target bucket has to code like them; content that lies in
 * the version itself is copied. */
static enum lilio_err copy_check(struct coord_command *command, const struct copy *copy)
{
    if (copy->ask.condition > COORD_IF_ABSENT)
        return coord_refuse(command, LILIO_E_INVALID, "copy knows no condition %u",
                            copy->ask.condition);
    if (copy->ask.condition == COORD_IF_ABSENT && copy->target_found)
        return coord_refuse(command, LILIO_E_EXISTS, "the key exists already");
    for (size_t i = 0; i < copy->source.extents_count; i++) {
        struct proto_data_row row;
        struct coord_key key = coord_key_oid(copy->source.extents[i].oid);
        if (coord_get(command, COORD_DATA, &key, &proto_type_data_row, &row))
            return coord_broken(command, "a version names a run that is not there");
        if (!coord_profile_equal(&row.profile, &copy->to.profile) ||
            row.placement != copy->to.placement)
            return coord_refuse(
                command, LILIO_E_INVALID,
                "the target bucket codes %u+%u with %u-byte fragments, the object is %u+%u with %u",
                copy->to.profile.data_count, copy->to.profile.parity_count,
                copy->to.profile.fragment_size, row.profile.data_count, row.profile.parity_count,
                row.profile.fragment_size);
    }
    return LILIO_OK;
}

static enum lilio_err copy_reply(struct coord_command *command, const struct copy *copy,
                                 const struct proto_version_row *row)
{
    coord_reply_committed(command, row,
                          (uint8_t)(copy->to.profile.data_count + copy->to.profile.parity_count));
    return LILIO_OK;
}

enum lilio_err coord_apply_copy(struct coord_command *command)
{
    struct copy copy = {0};
    enum lilio_err err = coord_body(command, &proto_type_copy, &copy.ask);
    if (!err)
        err = copy_find(command, &copy);
    if (!err)
        err = copy_check(command, &copy);
    if (err)
        return err;
    if (copy.from.id == copy.to.id && base_slice_equal(copy.ask.key, copy.ask.to_key))
        return copy_reply(command, &copy,
                          &copy.source); /* onto itself, move or not: it is there already */
    struct proto_version_row row = copy.source;
    row.version = command->version;
    row.modified_ms = coord_modified_ms(command, copy.target_found ? &copy.target : NULL);
    coord_version_add(command, copy.to.id, copy.ask.to_key, &row,
                      copy.target_found ? &copy.target : NULL);
    if (copy.ask.move)
        coord_version_drop(command, copy.from.id, copy.ask.key, &copy.source, COORD_GC_DELETED);
    return copy_reply(command, &copy, &row);
}
