/* Buckets: create, describe, list, delete. */
#include "client/client_priv.h"

#include <stdlib.h>

#include "client/control.h"
#include "client/lane.h"

#include "base/banned.h"

enum { PAGE_COUNT = 1000 };

static struct lilio_bucket public_bucket(const struct client_bucket *bucket)
{
    struct lilio_bucket made = {
        .id = bucket->id,
        .profile = client_profile_public(&bucket->profile),
        .quorum = bucket->quorum,
        .created_ms = bucket->created_ms,
        .object_count = bucket->object_count,
        .object_bytes = bucket->object_bytes,
    };
    client_text_put(made.name, sizeof made.name, base_slice_str(bucket->name));
    return made;
}

/* The caller's profile on the wire; data_count 0 = the cluster's default. */
static enum lilio_err wire_profile(const struct lilio_profile *profile, uint32_t quorum,
                                   struct proto_profile *ret, struct lilio_errinfo *info)
{
    *ret = (struct proto_profile){0};
    if (quorum > CODEC_TOTAL_MAX)
        return lilio_fail(info, LILIO_E_INVALID, "a quorum of %u is more than any profile has",
                          quorum);
    if (!profile)
        return LILIO_OK;
    struct codec_profile wanted = {
        .data_count = profile->data_count,
        .parity_count = profile->parity_count,
        .fragment_size = profile->fragment_size ? profile->fragment_size : CODEC_FRAGMENT_DEFAULT,
        .generator = profile->data_count == 1 ? CODEC_COPY1 : CODEC_CAUCHY1,
    };
    enum lilio_err err = codec_profile_check(&wanted, info);
    if (err == LILIO_OK)
        *ret = client_profile_to_proto(&wanted);
    return err;
}

enum lilio_err lilio_bucket_create(struct lilio_client *client, const char *name,
                                   const struct lilio_profile *profile, uint32_t quorum,
                                   struct lilio_bucket *ret_bucket, struct lilio_errinfo *info)
{
    struct proto_bucket_create request = {.quorum = (uint8_t)quorum};
    enum lilio_err err = client_bucket_name_check(name, info);
    if (err == LILIO_OK)
        err = wire_profile(profile, quorum, &request.profile, info);
    if (err != LILIO_OK)
        return err;
    request.name = base_slice_str(name);
    struct client_lane *lane;
    err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    struct proto_bucket_reply reply;
    struct client_bucket bucket;
    struct client_answer answer = {0};
    client_bucket_forget(client, name);
    err = client_control_change(&lane->control, &proto_type_bucket_create, &request,
                                &proto_type_bucket_reply, &reply, &answer, info);
    if (err == LILIO_OK && !client_bucket_from_proto(&reply.bucket, &bucket))
        err = lilio_fail(info, LILIO_E_MALFORMED, "bucket %s: its profile makes no sense", name);
    if (err == LILIO_OK && ret_bucket)
        *ret_bucket = public_bucket(&bucket);
    client_answer_release(&answer);
    client_lane_give(&lane);
    return err;
}

enum lilio_err lilio_bucket_get(struct lilio_client *client, const char *name,
                                struct lilio_bucket *ret_bucket, struct lilio_errinfo *info)
{
    struct client_lane *lane;
    struct client_bucket bucket;
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    err = client_bucket_find(client, &lane->control, name, /* cached */ false, &bucket, info);
    if (err == LILIO_OK)
        *ret_bucket = public_bucket(&bucket);
    client_lane_give(&lane);
    return err;
}

enum lilio_err lilio_bucket_delete(struct lilio_client *client, const char *name,
                                   struct lilio_errinfo *info)
{
    struct client_lane *lane;
    enum lilio_err err = client_bucket_name_check(name, info);
    if (err == LILIO_OK)
        err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    struct proto_bucket_delete request = {.name = base_slice_str(name)};
    struct proto_ok ok;
    struct client_answer answer = {0};
    client_bucket_forget(client, name);
    err = client_control_change(&lane->control, &proto_type_bucket_delete, &request, &proto_type_ok,
                                &ok, &answer, info);
    client_answer_release(&answer);
    client_lane_give(&lane);
    return err;
}

/* Appends a page; *after becomes its last name. */
static enum lilio_err append_page(const struct proto_buckets *page, struct lilio_bucket **list,
                                  size_t *count, char after[64], struct lilio_errinfo *info)
{
    struct lilio_bucket *grown =
        reallocarray(*list, *count + page->buckets_count + 1, sizeof **list);
    if (!grown)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for the list of buckets");
    *list = grown;
    for (size_t i = 0; i < page->buckets_count; i++) {
        struct client_bucket bucket;
        if (!client_bucket_from_proto(&page->buckets[i], &bucket) ||
            strcmp(bucket.name, after) <= 0)
            return lilio_fail(info, LILIO_E_MALFORMED, "the list of buckets makes no sense");
        grown[(*count)++] = public_bucket(&bucket);
        client_text_put(after, 64, base_slice_str(bucket.name));
    }
    return LILIO_OK;
}

enum lilio_err lilio_bucket_list(struct lilio_client *client, struct lilio_bucket **ret_buckets,
                                 size_t *ret_count, struct lilio_errinfo *info)
{
    struct client_lane *lane;
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    struct lilio_bucket *list = NULL;
    size_t count = 0;
    char after[64] = "";
    for (bool more = true; err == LILIO_OK && more;) {
        struct proto_bucket_list request = {.after = base_slice_str(after), .limit = PAGE_COUNT};
        struct client_call call = {
            .type = &proto_type_bucket_list, .value = &request, .reply_type = &proto_type_buckets};
        struct proto_buckets page;
        struct client_answer answer = {0};
        err = client_control_call(&lane->control, &call, &page, &answer, info);
        if (err == LILIO_OK)
            err = append_page(&page, &list, &count, after, info);
        more = err == LILIO_OK && page.more && page.buckets_count > 0;
        client_answer_release(&answer);
    }
    client_lane_give(&lane);
    if (err != LILIO_OK) {
        free(list);
        return err;
    }
    *ret_buckets = list;
    *ret_count = count;
    return LILIO_OK;
}
