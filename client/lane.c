#include "client/lane.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

/* A sequence: tag, stripe, index, attempt; what does not fit of the tag is cut. */
enum { STRIPE_BITS = 16, INDEX_BITS = 6, ATTEMPT_BITS = 11, TAG_BITS = 31 };
_Static_assert(CLIENT_ATTEMPT_END <= 1 << ATTEMPT_BITS, "attempts fit");
_Static_assert(TAG_BITS + STRIPE_BITS + INDEX_BITS + ATTEMPT_BITS == 64, "they fill it");

/* ---- life ---- */

static enum lilio_err lane_new(struct lilio_client *client, struct client_lane **ret_lane,
                               struct lilio_errinfo *info)
{
    struct client_lane *lane = calloc(1, sizeof *lane);
    if (!lane || proto_arena_new(&lane->arena) != LILIO_OK) {
        free(lane);
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a lane");
    }
    lane->client = client;
    client_control_init(&lane->control, client);
    *ret_lane = lane;
    return LILIO_OK;
}

enum lilio_err client_lane_take(struct lilio_client *client, struct client_lane **ret_lane,
                                struct lilio_errinfo *info)
{
    pthread_mutex_lock(&client->lock);
    struct client_lane *lane = client->idle_lanes;
    if (lane) {
        client->idle_lanes = lane->next;
        client->idle_lane_count--;
    }
    pthread_mutex_unlock(&client->lock);
    if (!lane) {
        enum lilio_err err = lane_new(client, &lane, info);
        if (err != LILIO_OK)
            return err;
    }
    lane->next = NULL;
    lane->tag++;
    *ret_lane = lane;
    return LILIO_OK;
}

static void close_link(struct client_lane *lane, struct client_link *link)
{
    proto_channel_free(&link->channel);
    link->ready = link->readable = false;
    link->under_way = 0;
    link->since_ms = client_now_ms(lane->client);
}

void client_lane_give(struct client_lane **lane)
{
    struct client_lane *mine = *lane;
    *lane = NULL;
    if (!mine)
        return;
    client_control_patience_end(&mine->control);
    for (size_t i = 0; i < mine->link_count; i++)
        if (mine->links[i].under_way > 0)
            close_link(mine, &mine->links[i]);
    struct lilio_client *client = mine->client;
    pthread_mutex_lock(&client->lock);
    if (client->idle_lane_count < CLIENT_LANES_IDLE_MAX) {
        mine->next = client->idle_lanes;
        client->idle_lanes = mine;
        client->idle_lane_count++;
        mine = NULL;
    }
    pthread_mutex_unlock(&client->lock);
    client_lane_free(&mine);
}

void client_lane_free(struct client_lane **lane)
{
    struct client_lane *mine = *lane;
    *lane = NULL;
    if (!mine)
        return;
    for (size_t i = 0; i < mine->link_count; i++)
        proto_channel_free(&mine->links[i].channel);
    client_control_release(&mine->control);
    client_frags_free(&mine->frags);
    client_plans_release(&mine->plans);
    codec_coder_free(&mine->coder);
    proto_arena_free(&mine->arena);
    free(mine->links);
    free(mine->items);
    free(mine);
}

enum lilio_err client_lane_coder(struct client_lane *lane, const struct codec_profile *profile,
                                 const struct codec_coder **ret_coder, struct lilio_errinfo *info)
{
    const struct codec_profile *known = lane->coder ? codec_coder_profile(lane->coder) : NULL;
    if (!known || known->data_count != profile->data_count ||
        known->parity_count != profile->parity_count ||
        known->fragment_size != profile->fragment_size || known->generator != profile->generator) {
        struct codec_coder *coder;
        enum lilio_err err = codec_coder_new(profile, &coder, info);
        if (err != LILIO_OK)
            return err;
        client_plans_release(&lane->plans);
        codec_coder_free(&lane->coder);
        lane->coder = coder;
    }
    *ret_coder = lane->coder;
    return LILIO_OK;
}

/* ---- links ---- */

static size_t place_of(const struct client_lane *lane, uint32_t osd)
{
    size_t low = 0, high = lane->link_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (lane->links[middle].osd < osd)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct client_link *client_lane_find(struct client_lane *lane, uint32_t osd)
{
    size_t at = place_of(lane, osd);
    return at < lane->link_count && lane->links[at].osd == osd ? &lane->links[at] : NULL;
}

static enum lilio_err add_link(struct client_lane *lane, uint32_t osd,
                               struct client_link **ret_link)
{
    if (lane->link_count == lane->link_capacity) {
        size_t capacity = lane->link_capacity ? 2 * lane->link_capacity : 8;
        struct client_link *links = reallocarray(lane->links, capacity, sizeof *links);
        if (!links)
            return LILIO_E_NOMEM;
        lane->links = links;
        struct proto_wait_item *items = reallocarray(lane->items, capacity, sizeof *items);
        if (!items)
            return LILIO_E_NOMEM;
        lane->items = items;
        lane->link_capacity = capacity;
    }
    size_t at = place_of(lane, osd);
    memmove(&lane->links[at + 1], &lane->links[at], (lane->link_count - at) * sizeof *lane->links);
    lane->link_count++;
    lane->links[at] = (struct client_link){.osd = osd};
    *ret_link = &lane->links[at];
    return LILIO_OK;
}

enum lilio_err client_lane_link(struct client_lane *lane, const struct proto_cluster_map *map,
                                uint32_t osd, struct client_link **ret_link,
                                struct lilio_errinfo *info)
{
    const struct proto_osd *known = proto_map_osd(map, osd);
    if (!known)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "the cluster has no osd.%u", osd);
    struct client_link *link = client_lane_find(lane, osd);
    if (!link && add_link(lane, osd, &link) != LILIO_OK)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a connection");
    if (link->channel && !base_slice_equal(known->address, base_slice_str(link->endpoint)))
        close_link(lane, link);
    if (!link->channel) {
        client_text_put(link->endpoint, sizeof link->endpoint, known->address);
        enum lilio_err err =
            proto_channel_new(lane->client->context, link->endpoint, &link->channel, info);
        if (err != LILIO_OK)
            return lilio_prefix(info, err, "osd.%u", osd);
        link->since_ms = client_now_ms(lane->client);
    }
    link->expected = known->state == PROTO_OSD_UP || known->state == PROTO_OSD_SUSPECT ||
                     known->state == PROTO_OSD_FAILED;
    *ret_link = link;
    return LILIO_OK;
}

void client_lane_reset(struct client_lane *lane, struct client_link *link)
{
    close_link(lane, link);
    if (proto_channel_new(lane->client->context, link->endpoint, &link->channel, NULL) != LILIO_OK)
        link->channel = NULL; /* tried again when it is next needed */
}

/* They would wake every wait. */
static void drop_answers(struct client_link *link)
{
    struct proto_reply *reply;
    while ((reply = proto_channel_receive(link->channel)) != NULL)
        proto_reply_free(&reply);
}

void client_lane_forget(struct client_lane *lane)
{
    lane->tag++;
    for (size_t i = 0; i < lane->link_count; i++)
        lane->links[i].under_way = 0;
}

bool client_lane_look(struct client_lane *lane, struct client_link *link)
{
    bool ready = link->channel && proto_channel_ready(link->channel);
    if (link->channel && !ready)
        drop_answers(link);
    if (ready == link->ready)
        return false;
    link->ready = ready;
    link->since_ms = client_now_ms(lane->client);
    if (!ready)
        link->under_way = 0;
    return true;
}

/* For connections and, if wanted, for answers. */
static bool wait_links(struct client_lane *lane, bool answers, int timeout_ms)
{
    size_t count = 0;
    for (size_t i = 0; i < lane->link_count; i++) {
        struct client_link *link = &lane->links[i];
        link->readable = false;
        if (link->channel && ((answers && link->under_way > 0) || !link->ready))
            lane->items[count++] =
                (struct proto_wait_item){.channel = link->channel, .want_ready = !link->ready};
    }
    bool changed = proto_wait(lane->items, count, timeout_ms) == 0;
    for (size_t i = 0, at = 0; at < count; i++)
        if (lane->links[i].channel == lane->items[at].channel) {
            lane->links[i].readable = lane->items[at].ret_readable;
            changed |= lane->items[at++].ret_ready;
        }
    uint64_t now_ms = client_now_ms(lane->client);
    changed |= now_ms >= lane->looked_ms + CLIENT_LOOK_MS;
    if (changed)
        lane->looked_ms = now_ms;
    return changed;
}

bool client_lane_wait(struct client_lane *lane, int timeout_ms)
{
    return wait_links(lane, /* answers */ true, timeout_ms);
}

void client_lane_await(struct client_lane *lane, bool everybody)
{
    for (;;) {
        uint64_t now_ms = client_now_ms(lane->client), until_ms = 0;
        for (size_t i = 0; i < lane->link_count; i++) {
            struct client_link *link = &lane->links[i];
            if (link->channel && !link->ready)
                (void)client_lane_look(lane, link); /* the machines are told later */
            if (link->channel && (everybody || link->expected) && !link->ready &&
                link->since_ms + CLIENT_CONNECT_MS > until_ms)
                until_ms = link->since_ms + CLIENT_CONNECT_MS;
        }
        if (now_ms >= until_ms || client_cancelled(lane->client))
            return;
        (void)wait_links(lane, /* answers */ false, (int)(until_ms - now_ms));
    }
}

void client_lane_settle(struct client_lane *lane)
{
    client_lane_forget(lane);
    client_lane_await(lane, /* everybody */ false);
}

/* ---- fragment requests ---- */

enum lilio_err client_lane_send(struct client_lane *lane, struct client_link *link,
                                struct client_fragment_id id, uint64_t epoch, uint32_t deadline_ms,
                                const struct proto_type *type, const void *value,
                                const struct proto_payload *payload)
{
    struct proto_header header = {
        .sequence = ((lane->tag << STRIPE_BITS | id.stripe) << INDEX_BITS | id.index)
                        << ATTEMPT_BITS |
                    id.attempt,
        .epoch = epoch,
        .deadline_ms = deadline_ms,
        .trace = lane->client->trace_base + lane->tag,
    };
    enum lilio_err err = proto_channel_send(link->channel, &header, type, value, payload);
    if (err == LILIO_OK)
        link->under_way++;
    return err;
}

struct proto_reply *client_lane_receive(struct client_lane *lane, struct client_link *link,
                                        struct client_fragment_id *ret_id)
{
    struct proto_reply *reply;
    while (link->channel && (reply = proto_channel_receive(link->channel)) != NULL) {
        uint64_t sequence = reply->header.sequence;
        client_note_epoch(lane->client, reply->header.epoch);
        uint64_t tag = lane->tag & ((UINT64_C(1) << TAG_BITS) - 1);
        if (sequence >> (STRIPE_BITS + INDEX_BITS + ATTEMPT_BITS) == tag) {
            if (link->under_way > 0)
                link->under_way--;
            *ret_id = (struct client_fragment_id){
                .stripe =
                    (uint32_t)(sequence >> (INDEX_BITS + ATTEMPT_BITS)) & ((1u << STRIPE_BITS) - 1),
                .index = (uint32_t)(sequence >> ATTEMPT_BITS) & ((1u << INDEX_BITS) - 1),
                .attempt = (uint32_t)sequence & ((1u << ATTEMPT_BITS) - 1),
            };
            return reply;
        }
        proto_reply_free(&reply);
    }
    return NULL;
}

enum lilio_err client_reply_error(struct client_lane *lane, const struct proto_reply *reply)
{
    struct proto_error error;
    proto_arena_clear(lane->arena);
    if (reply->type != &proto_type_error ||
        proto_error_unpack(reply->body, lane->arena, &error, NULL) != LILIO_OK || error.code >= 0)
        return LILIO_E_MALFORMED;
    return (enum lilio_err)error.code;
}
