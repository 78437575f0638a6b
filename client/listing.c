/* Listing and deleting objects. */
#include "client/client_priv.h"

#include <stdlib.h>

#include "client/control.h"
#include "client/lane.h"

#include "base/banned.h"

enum { LIMIT_MAX = 1000, CONDITION_NONE = 0, CONDITION_VERSION = 2 };

void lilio_listing_release(struct lilio_listing *listing)
{
    for (size_t i = 0; i < listing->count; i++) {
        free(listing->entries[i].key);
        free(listing->entries[i].content_type);
    }
    free(listing->entries);
    free(listing->token);
    *listing = (struct lilio_listing){0};
}

static enum lilio_err copy_listing(const struct proto_listing *page,
                                   struct lilio_listing *ret_listing, struct lilio_errinfo *info)
{
    struct lilio_listing made = {.more = page->more, .token_size = page->token.size};
    made.entries = calloc(page->entries_count + 1, sizeof *made.entries);
    made.token = malloc(page->token.size + 1);
    bool complete = made.entries && made.token;
    if (made.token && page->token.size > 0)
        memcpy(made.token, page->token.data, page->token.size);
    for (size_t i = 0; complete && i < page->entries_count; i++) {
        const struct proto_list_entry *entry = &page->entries[i];
        made.entries[i] = (struct lilio_list_entry){
            .key = client_text(entry->key),
            .is_prefix = entry->is_prefix,
            .size = entry->size,
            .modified_ms = entry->modified_ms,
            .version = client_version_public(entry->version),
            .crc32c = entry->crc32c,
            .is_inline = entry->is_inline,
            .content_type = client_text(entry->content_type),
        };
        made.count = i + 1;
        complete = made.entries[i].key && made.entries[i].content_type;
    }
    if (!complete) {
        lilio_listing_release(&made);
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a listing");
    }
    *ret_listing = made;
    return LILIO_OK;
}

enum lilio_err lilio_list(struct lilio_client *client, const char *bucket, const char *prefix,
                          const char *delimiter, const uint8_t *token, size_t token_size,
                          uint32_t limit, struct lilio_listing *ret_listing,
                          struct lilio_errinfo *info)
{
    struct client_lane *lane;
    enum lilio_err err = client_bucket_name_check(bucket, info);
    if (err == LILIO_OK)
        err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    struct proto_list request = {
        .bucket = base_slice_str(bucket),
        .prefix = base_slice_str(prefix ? prefix : ""),
        .delimiter = base_slice_str(delimiter ? delimiter : ""),
        .token = base_slice(token, token ? token_size : 0),
        .limit = limit > 0 && limit < LIMIT_MAX ? limit : LIMIT_MAX,
    };
    struct client_call call = {
        .type = &proto_type_list, .value = &request, .reply_type = &proto_type_listing};
    struct proto_listing page;
    struct client_answer answer = {0};
    err = client_control_call(&lane->control, &call, &page, &answer, info);
    if (err == LILIO_OK)
        err = copy_listing(&page, ret_listing, info);
    client_answer_release(&answer);
    client_lane_give(&lane);
    return err;
}

enum lilio_err lilio_delete(struct lilio_client *client, const char *bucket, const char *key,
                            struct lilio_version if_version, struct lilio_errinfo *info)
{
    struct client_lane *lane;
    enum lilio_err err = client_key_check(key, info);
    if (err == LILIO_OK)
        err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    for (bool cached = true;; cached = false) {
        struct client_bucket found;
        err = client_bucket_find(client, &lane->control, bucket, cached, &found, info);
        if (err != LILIO_OK)
            break;
        struct proto_delete request = {
            .bucket_id = found.id,
            .key = base_slice_str(key),
            .condition = if_version.index ? CONDITION_VERSION : CONDITION_NONE,
            .if_version = client_version_to_proto(if_version),
        };
        struct proto_deleted deleted;
        struct client_answer answer = {0};
        err = client_control_change(&lane->control, &proto_type_delete, &request,
                                    &proto_type_deleted, &deleted, &answer, info);
        client_answer_release(&answer);
        if (err != LILIO_E_NO_BUCKET || !cached)
            break;
        client_bucket_forget(client, bucket); /* made anew since it was cached */
    }
    client_lane_give(&lane);
    return err;
}
