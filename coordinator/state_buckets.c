/* Buckets: names, profiles, counters. An id is never used again, so rows of a deleted bucket can
 * never be taken for those of a new one with its name. */
#include "coordinator/state_priv.h"

#include "base/banned.h"

struct codec_profile coord_codec_profile(const struct proto_profile *profile)
{
    return (struct codec_profile){
        .data_count = profile->data_count,
        .parity_count = profile->parity_count,
        .fragment_size = profile->fragment_size,
        .generator = profile->generator,
    };
}

bool coord_profile_equal(const struct proto_profile *a, const struct proto_profile *b)
{
    return a->data_count == b->data_count && a->parity_count == b->parity_count &&
           a->fragment_size == b->fragment_size && a->generator == b->generator;
}

/* ---- rows ---- */

enum lilio_err coord_bucket_get(struct coord_command *command, uint64_t id,
                                struct proto_bucket *ret)
{
    enum lilio_err err = coord_hot_bucket(command, id, ret);
    return err == LILIO_E_NOT_FOUND ? coord_refuse(command, LILIO_E_NO_BUCKET, "no such bucket")
                                    : err;
}

void coord_bucket_adjust(struct coord_command *command, uint64_t id, int64_t objects, int64_t bytes)
{
    struct coord_state *state = command->state;
    if (coord_hot_bucket_adjust(command, id, objects, bytes)) {
        (void)coord_broken(command, "rows name a bucket that is not there"); /* apply looks at it */
        return;
    }
    state->row.object_count += (uint64_t)objects;
    state->row.object_bytes += (uint64_t)bytes;
}

/* ---- create ---- */

static enum lilio_err name_check(struct coord_command *command, struct base_slice name)
{
    if (name.size > 0 && name.data[0] == '.')
        return coord_refuse(command, LILIO_E_INVALID, "names that begin with a dot are reserved");
    bool valid = name.size >= 1 && name.size <= COORD_BUCKET_NAME_MAX;
    for (size_t i = 0; i < name.size && valid; i++) {
        uint8_t c = name.data[i];
        valid = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
    }
    return valid ? LILIO_OK
                 : coord_refuse(command, LILIO_E_INVALID, "a bucket name is 1 to 63 of [a-z0-9.-]");
}

/* Fills what was left open: the cluster's default profile, fragment size and the generator that
 * fits. */
static enum lilio_err profile_complete(struct coord_command *command, struct proto_profile *profile)
{
    if (profile->data_count == 0 && profile->parity_count == 0)
        *profile = command->state->cluster.default_profile;
    if (profile->fragment_size == 0)
        profile->fragment_size = CODEC_FRAGMENT_DEFAULT;
    if (profile->generator == 0)
        profile->generator = profile->data_count == 1 ? CODEC_COPY1 : CODEC_CAUCHY1;
    struct codec_profile check = coord_codec_profile(profile);
    return codec_profile_check(&check, &command->info);
}

static enum lilio_err quorum_check(struct coord_command *command,
                                   const struct proto_profile *profile, uint8_t quorum)
{
    unsigned total = (unsigned)profile->data_count + profile->parity_count;
    if (quorum == 0 || (quorum >= profile->data_count && quorum <= total))
        return LILIO_OK;
    return coord_refuse(command, LILIO_E_INVALID,
                        "a write quorum of %u+%u is between %u and %u, not %u", profile->data_count,
                        profile->parity_count, profile->data_count, total, quorum);
}

enum lilio_err coord_apply_bucket_create(struct coord_command *command)
{
    struct proto_bucket_create create;
    enum lilio_err err = coord_body(command, &proto_type_bucket_create, &create);
    if (!err)
        err = name_check(command, create.name);
    if (err)
        return err;
    struct coord_key key = coord_key_text(create.name);
    if (coord_exists(command, COORD_BUCKET_NAMES, &key))
        return coord_refuse(command, LILIO_E_EXISTS, "bucket %.*s exists already",
                            (int)create.name.size, (const char *)create.name.data);
    err = profile_complete(command, &create.profile);
    if (!err)
        err = quorum_check(command, &create.profile, create.quorum);
    struct proto_bucket bucket = {
        .name = create.name, .profile = create.profile, .quorum = create.quorum};
    if (!err)
        err = coord_placement_make(command, &bucket.profile, &bucket.placement);
    if (err)
        return err;
    bucket.id = command->state->row.next_bucket_id++;
    bucket.created_ms = command->entry.wall_ms;
    struct coord_key row_key = coord_key_u64(bucket.id);
    coord_put(command->state, COORD_BUCKETS, &row_key, &proto_type_bucket, &bucket);
    base_kv_batch_put(command->state->batch, COORD_BUCKET_NAMES, coord_key_slice(&key),
                      coord_key_slice(&row_key));
    command->state->row.bucket_count++;
    struct proto_bucket_reply reply = {.bucket = bucket};
    coord_reply(command, &proto_type_bucket_reply, &reply);
    return LILIO_OK;
}

/* ---- delete ---- */

enum lilio_err coord_apply_bucket_delete(struct coord_command *command)
{
    struct proto_bucket_delete ask;
    enum lilio_err err = coord_body(command, &proto_type_bucket_delete, &ask);
    if (err)
        return err;
    struct proto_bucket bucket;
    struct coord_view view = coord_command_view(command);
    err = coord_read_bucket(&view, ask.name, &bucket, &command->info);
    if (err == LILIO_E_NO_BUCKET)
        return err;
    if (err)
        return coord_failed(command->state, err, &command->info);
    if (bucket.object_count > 0)
        return coord_refuse(command, LILIO_E_NOT_EMPTY, "bucket %.*s holds %llu objects",
                            (int)ask.name.size, (const char *)ask.name.data,
                            (unsigned long long)bucket.object_count);
    struct coord_key id = coord_key_u64(bucket.id), name = coord_key_text(ask.name);
    coord_delete(command->state, COORD_BUCKETS, &id);
    coord_delete(command->state, COORD_BUCKET_NAMES, &name);
    command->state->row.bucket_count--;
    return coord_reply_ok(command);
}
