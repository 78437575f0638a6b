#include "osd/check.h"

#include <inttypes.h>

#include "base/bytes.h"
#include "osd/limits.h"

#include "base/banned.h"

struct base_fragment_key osd_check_key_of(const struct proto_fragment_key *key)
{
    return (struct base_fragment_key){
        .placement = key->placement,
        .partition = key->partition,
        .oid = key->oid,
        .stripe = key->stripe,
        .index = key->index,
        .generation = key->generation,
    };
}

/* A sender with a newer map may know what we do not: it is asked to come again. */
static enum lilio_err unless_newer(const struct osd_check *check, enum lilio_err err)
{
    return check->sender_epoch > check->map->epoch ? LILIO_E_BUSY : err;
}

enum lilio_err osd_check_key(const struct osd_check *check, const struct base_fragment_key *key,
                             struct lilio_errinfo *info)
{
    const struct proto_placement *placement = proto_map_placement(check->map, key->placement);
    if (!placement)
        return lilio_fail(info, unless_newer(check, LILIO_E_INVALID),
                          "no placement %u at epoch %" PRIu64, key->placement, check->map->epoch);
    if (key->index >= placement->width)
        return lilio_fail(info, LILIO_E_INVALID, "fragment index %u of placement %u with width %u",
                          key->index, key->placement, placement->width);
    if (key->stripe >= OSD_STRIPES_MAX)
        return lilio_fail(info, LILIO_E_INVALID, "stripe %u, a run has at most %d", key->stripe,
                          OSD_STRIPES_MAX);
    uint32_t partition = proto_partition(placement->partition_bits, key->oid, key->stripe);
    if (key->partition != partition)
        return lilio_fail(info, unless_newer(check, LILIO_E_INVALID),
                          "partition %u, but this stripe hashes to %u", key->partition, partition);
    return LILIO_OK;
}

enum lilio_err osd_check_slot(const struct osd_check *check, const struct base_fragment_key *key,
                              struct lilio_errinfo *info)
{
    const struct proto_placement *placement = proto_map_placement(check->map, key->placement);
    uint32_t owner =
        placement ? proto_slot_osd(placement, key->partition, key->index) : PROTO_OSD_NONE;
    if (owner == check->osd)
        return LILIO_OK;
    enum lilio_err err = check->sender_epoch < check->map->epoch   ? LILIO_E_STALE_EPOCH
                         : check->sender_epoch > check->map->epoch ? LILIO_E_BUSY
                                                                   : LILIO_E_WRONG_OSD;
    return lilio_fail(info, err, "slot %u of partition %u is not osd.%u's at epoch %" PRIu64,
                      key->index, key->partition, check->osd, check->map->epoch);
}

static enum lilio_err lengths_check(const struct proto_fragment_put *put,
                                    const struct codec_profile *profile, size_t payload_size,
                                    struct lilio_errinfo *info)
{
    uint64_t stripe_max = (uint64_t)profile->data_count * profile->fragment_size;
    if (put->stripe_length == 0 || put->stripe_length > stripe_max)
        return lilio_fail(info, LILIO_E_INVALID, "stripe of %" PRIu64 " bytes, at most %" PRIu64,
                          put->stripe_length, stripe_max);
    if (put->payload_length != codec_fragment_size(profile, put->stripe_length))
        return lilio_fail(info, LILIO_E_INVALID, "fragment of %u bytes, the stripe makes it %u",
                          put->payload_length, codec_fragment_size(profile, put->stripe_length));
    if (payload_size != put->payload_length)
        return lilio_fail(info, LILIO_E_INVALID, "%zu payload bytes, %u were announced",
                          payload_size, put->payload_length);
    if (put->block_checksums.size != 4 * (size_t)codec_block_count(put->payload_length))
        return lilio_fail(info, LILIO_E_INVALID, "%zu bytes of block checksums for %u blocks",
                          put->block_checksums.size, codec_block_count(put->payload_length));
    return LILIO_OK;
}

static enum lilio_err width_check(const struct osd_check *check,
                                  const struct proto_fragment_put *put,
                                  const struct codec_profile *profile, struct lilio_errinfo *info)
{
    const struct proto_placement *placement = proto_map_placement(check->map, put->key.placement);
    if (placement && placement->width != codec_profile_total(profile))
        return lilio_fail(info, LILIO_E_INVALID, "profile %u+%u in placement %u with width %u",
                          profile->data_count, profile->parity_count, put->key.placement,
                          placement->width);
    return LILIO_OK;
}

static void fragment_describe(const struct proto_fragment_put *put,
                              const struct codec_profile *profile, struct osd_fragment *ret)
{
    ret->key = osd_check_key_of(&put->key);
    ret->bucket_id = put->bucket_id;
    ret->object_key = put->object_key;
    ret->profile = *profile;
    ret->stripe_length = put->stripe_length;
    ret->payload_length = put->payload_length;
    ret->block_count = codec_block_count(put->payload_length);
    for (uint32_t i = 0; i < ret->block_count; i++)
        ret->block_checksums[i] = base_le32_get(put->block_checksums.data + 4 * (size_t)i);
}

enum lilio_err osd_check_put(const struct osd_check *check, const struct proto_fragment_put *put,
                             size_t payload_size, struct osd_fragment *ret,
                             struct lilio_errinfo *info)
{
    struct codec_profile profile = {
        .data_count = put->profile.data_count,
        .parity_count = put->profile.parity_count,
        .fragment_size = put->profile.fragment_size,
        .generator = put->profile.generator,
    };
    struct base_fragment_key key = osd_check_key_of(&put->key);
    enum lilio_err err = codec_profile_check(&profile, info);
    if (err)
        return lilio_prefix(info, LILIO_E_INVALID, "profile");
    err = lengths_check(put, &profile, payload_size, info);
    if (!err)
        err = width_check(check, put, &profile, info);
    if (!err)
        err = osd_check_key(check, &key, info);
    if (!err)
        err = osd_check_slot(check, &key, info);
    if (!err)
        fragment_describe(put, &profile, ret);
    return err;
}
