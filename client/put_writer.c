/* Stripes onto OSDs: the machine of client/put_machine.h on a lane. */
#include "client/put_priv.h"

#include <stdio.h>

#include "base/banned.h"

/* ---- where to ---- */

/* Where a stripe's fragments go, with a link to each of the OSDs. */
static enum lilio_err find_places(struct client_putter *put, uint32_t stripe,
                                  struct client_place *ret_places, uint32_t *ret_partition)
{
    if (!client_places_write(put->map, put->bucket.placement, put->total_count, put->oid, stripe,
                             ret_places, ret_partition))
        return lilio_fail(put->info, LILIO_E_MALFORMED, "the map has no placement %u of width %u",
                          put->bucket.placement, put->total_count);
    for (uint32_t i = 0; i < put->total_count; i++) {
        struct client_link *link;
        if (ret_places[i].err == LILIO_OK)
            ret_places[i].err =
                client_lane_link(put->lane, put->map, ret_places[i].osd, &link, NULL);
    }
    return LILIO_OK;
}

/* Says which OSDs of a stripe are not there. */
static enum lilio_err below_quorum(struct client_putter *put, const struct client_place *places)
{
    char text[400] = "";
    size_t used = 0;
    uint32_t there = 0;
    for (uint32_t i = 0; i < put->total_count; i++) {
        struct client_link *link = client_lane_find(put->lane, places[i].osd);
        const char *why = "no connection";
        if (places[i].err != LILIO_OK) {
            const struct proto_osd *osd = proto_map_osd(put->map, places[i].osd);
            why = osd ? proto_osd_state_name(osd->state) : "unknown";
        } else if (link && link->ready) {
            there++;
            continue;
        }
        int more = snprintf(text + used, sizeof text - used, "%sosd.%u: %s", used ? ", " : "",
                            places[i].osd, why);
        used = used + (size_t)more < sizeof text ? used + (size_t)more : sizeof text - 1;
    }
    return lilio_fail(put->info, LILIO_E_NO_QUORUM,
                      "%u of %u OSDs are there, %u are needed; nothing was read (%s)", there,
                      put->total_count, put->required, text);
}

/* Fails if a stripe of the first window cannot reach the quorum. Waits a little for connections. */
static enum lilio_err check_quorum(struct client_putter *put)
{
    uint64_t start_ms = client_now_ms(put->client);
    bool settled = false;
    for (uint32_t stripe = 0; stripe < put->window;) {
        struct client_place places[CODEC_TOTAL_MAX];
        uint32_t partition, possible = 0, there = 0;
        enum lilio_err err = find_places(put, stripe, places, &partition);
        if (err != LILIO_OK)
            return err;
        if (!settled) { /* once all links of the first stripe are made */
            client_lane_settle(put->lane);
            settled = true;
        }
        for (size_t i = 0; i < put->lane->link_count; i++) /* all, or waiting ends at once */
            (void)client_lane_look(put->lane, &put->lane->links[i]); /* nothing is under way yet */
        for (uint32_t i = 0; i < put->total_count; i++) {
            struct client_link *link = client_lane_find(put->lane, places[i].osd);
            possible += places[i].err == LILIO_OK;
            there += places[i].err == LILIO_OK && link->ready;
        }
        bool late = client_now_ms(put->client) - start_ms >= CLIENT_PATIENCE_MS;
        if (there >= put->required)
            stripe++;
        else if (possible < put->required || late)
            return below_quorum(put, places);
        else if (client_cancelled(put->client))
            return lilio_fail(put->info, LILIO_E_CANCELLED, "cancelled");
        else
            (void)client_lane_wait(put->lane, CLIENT_TICK_MS); /* all are looked at above */
    }
    return LILIO_OK;
}

/* ---- the loop ---- */

/* A link stands, or stands no more. */
static void report_link(struct client_putter *put, const struct client_link *link)
{
    client_put_peer_set(put->machine, link->osd, link->ready, client_now_ms(put->client));
}

static enum lilio_err tell_places(struct client_putter *put, struct client_place *places)
{
    uint64_t now_ms = client_now_ms(put->client);
    for (uint32_t i = 0; i < put->total_count; i++) {
        if (places[i].err != LILIO_OK)
            continue;
        if (client_put_peer_add(put->machine, places[i].osd, now_ms) != LILIO_OK)
            return lilio_fail(put->info, LILIO_E_NOMEM, "no memory for a put");
        report_link(put, client_lane_find(put->lane, places[i].osd));
    }
    return LILIO_OK;
}

static enum lilio_err add_row_sums(struct client_putter *put, const struct client_stripe *stripe)
{
    uint8_t bytes[CODEC_TOTAL_MAX * 4];
    uint32_t block_count = codec_block_count(stripe->fragment_size);
    for (uint32_t i = 0; i < put->total_count; i++)
        base_le32_put(bytes + i * 4, codec_fragment_checksum(stripe->sums[i], block_count));
    if (base_buffer_append(&put->row_sums, bytes, put->total_count * 4) != LILIO_OK)
        return lilio_fail(put->info, LILIO_E_NOMEM, "no memory for checksums");
    return LILIO_OK;
}

/* Hands the stripe that was read to the machine. */
static enum lilio_err open_next(struct client_putter *put)
{
    struct client_place places[CODEC_TOTAL_MAX];
    struct client_stripe *stripe = put->next;
    uint32_t number = client_put_stripe_count(put->machine);
    enum lilio_err err = find_places(put, number, places, &stripe->partition);
    if (err == LILIO_OK)
        err = tell_places(put, places);
    if (err == LILIO_OK)
        err = add_row_sums(put, stripe);
    if (err != LILIO_OK)
        return err;
    put->next = NULL;
    put->run_length += stripe->length;
    uint32_t extent = put->extent_count - 1;
    put->extents[extent].stored_length = put->extents[extent].logical_length = put->run_length;
    put->stripe_counts[extent] = number + 1;
    uint32_t slot = client_put_open(put->machine, places, client_now_ms(put->client));
    LILIO_ASSERT(!put->slots[slot]);
    put->slots[slot] = stripe;
    return LILIO_OK;
}

/* Reads the next stripe if the window has room for it. */
static enum lilio_err feed(struct client_putter *put)
{
    bool full = client_put_stripe_count(put->machine) == put->stripe_max;
    bool room = client_put_room(put->machine);
    if (!put->next && !put->ended && (room || full)) {
        enum lilio_err err = client_putter_fill(put);
        if (err != LILIO_OK)
            return err;
    }
    if (put->next && room) {
        enum lilio_err err = open_next(put);
        if (err != LILIO_OK)
            return err;
    }
    if ((put->ended && !put->next) || (put->next && full))
        client_put_finish(put->machine, client_now_ms(put->client));
    return LILIO_OK;
}

static void lose_link(struct client_putter *put, struct client_link *link)
{
    link->ready = false;
    link->under_way = 0;
    link->since_ms = client_now_ms(put->client);
    report_link(put, link);
}

static void send_fragment(struct client_putter *put, const struct client_put_action *action)
{
    const struct client_stripe *stripe = put->slots[action->slot];
    struct client_link *link = client_lane_find(put->lane, action->osd);
    uint8_t sums[CODEC_BLOCKS_MAX * 4];
    uint32_t block_count = codec_block_count(stripe->fragment_size);
    for (uint32_t b = 0; b < block_count; b++)
        base_le32_put(sums + b * 4, stripe->sums[action->index][b]);
    struct proto_fragment_put request = {
        .key = {.placement = put->bucket.placement,
                .partition = stripe->partition,
                .oid = put->oid,
                .stripe = action->stripe,
                .index = (uint8_t)action->index},
        .bucket_id = put->bucket.id,
        .object_key = base_slice_str(put->key),
        .profile = client_profile_to_proto(&put->bucket.profile),
        .stripe_length = stripe->length,
        .payload_length = stripe->fragment_size,
        .block_checksums = base_slice(sums, block_count * 4),
    };
    void *data = stripe->fragments[action->index];
    struct proto_payload payload = {.data = data,
                                    .size = stripe->fragment_size,
                                    .release = client_frags_release,
                                    .hint = put->lane->frags};
    client_frags_share(put->lane->frags, data);
    struct client_fragment_id id = {action->stripe, action->index, action->attempt};
    enum lilio_err err =
        client_lane_send(put->lane, link, id, put->map->epoch, put->client->timeout_ms,
                         &proto_type_fragment_put, &request, &payload);
    if (err == LILIO_E_UNAVAILABLE)
        lose_link(put, link);
    else if (err != LILIO_OK)
        client_put_refused(put->machine, action->stripe, action->index, action->osd,
                           action->attempt, err, client_now_ms(put->client));
}

/* An OSD knew a newer map: gets it and tells the machine where the open stripes belong now. */
static enum lilio_err renew_map(struct client_putter *put)
{
    proto_map_ref_drop(&put->map_ref);
    enum lilio_err err = client_map_get(put->client, &put->lane->control, /* min_epoch */ 0,
                                        &put->map_ref, put->info);
    if (err != LILIO_OK)
        return err;
    put->map = proto_map_ref_get(put->map_ref);
    for (uint32_t slot = 0; slot < put->window; slot++) {
        struct client_place places[CODEC_TOTAL_MAX];
        uint32_t stripe, partition;
        if (!client_put_slot(put->machine, slot, &stripe))
            continue;
        err = find_places(put, stripe, places, &partition);
        if (err == LILIO_OK)
            err = tell_places(put, places);
        if (err != LILIO_OK)
            return err;
        client_put_moved(put->machine, slot, places, client_now_ms(put->client));
    }
    return LILIO_OK;
}

static void close_stripe(struct client_putter *put, uint32_t slot)
{
    put->closed_bytes += put->slots[slot]->length;
    client_putter_drop(put, put->slots[slot]);
    put->slots[slot] = NULL;
    const struct lilio_progress *progress = &put->options->progress;
    if (progress->report)
        progress->report(progress->context, put->closed_bytes, put->source->size);
}

static enum lilio_err act(struct client_putter *put)
{
    struct client_put_action action;
    while (client_put_next(put->machine, client_now_ms(put->client), &action)) {
        enum lilio_err err = LILIO_OK;
        put->moved_ms = client_now_ms(put->client);
        switch (action.kind) {
        case CLIENT_PUT_SEND: send_fragment(put, &action); break;
        case CLIENT_PUT_CLOSED: close_stripe(put, action.slot); break;
        case CLIENT_PUT_MAP: err = renew_map(put); break;
        case CLIENT_PUT_RESET: {
            struct client_link *link = client_lane_find(put->lane, action.osd);
            client_lane_reset(put->lane, link);
            report_link(put, link);
            break;
        }
        }
        if (err != LILIO_OK)
            return err;
    }
    return client_put_error(put->machine, put->info);
}

static void receive(struct client_putter *put, struct client_link *link)
{
    struct client_fragment_id id;
    struct proto_reply *reply;
    while ((reply = client_lane_receive(put->lane, link, &id)) != NULL) {
        uint64_t now_ms = client_now_ms(put->client);
        struct proto_fragment_stored stored;
        enum lilio_err err = LILIO_E_MALFORMED;
        if (reply->type == &proto_type_error)
            err = client_reply_error(put->lane, reply);
        else if (reply->type == &proto_type_fragment_stored)
            err = proto_fragment_stored_unpack(reply->body, put->lane->arena, &stored, NULL);
        if (err == LILIO_OK)
            client_put_stored(put->machine, id.stripe, id.index, link->osd, stored.epoch, now_ms);
        else
            client_put_refused(put->machine, id.stripe, id.index, link->osd, id.attempt, err,
                               now_ms);
        put->moved_ms = now_ms;
        proto_reply_free(&reply);
    }
}

/* Waits for whatever comes next and tells the machine. */
static enum lilio_err listen_once(struct client_putter *put, bool at_once)
{
    uint64_t now_ms = client_now_ms(put->client), until_ms = client_put_deadline(put->machine);
    uint64_t left_ms = until_ms > now_ms ? until_ms - now_ms : 1;
    int wait_ms = at_once ? 0 : left_ms < CLIENT_TICK_MS ? (int)left_ms : CLIENT_TICK_MS;
    bool changed = client_lane_wait(put->lane, wait_ms);
    for (size_t i = 0; i < put->lane->link_count; i++)
        if (put->lane->links[i].readable)
            receive(put, &put->lane->links[i]);
    for (size_t i = 0; changed && i < put->lane->link_count; i++)
        if (client_lane_look(put->lane, &put->lane->links[i]))
            report_link(put, &put->lane->links[i]);
    now_ms = client_now_ms(put->client);
    client_put_tick(put->machine, now_ms);
    if (client_cancelled(put->client))
        return lilio_fail(put->info, LILIO_E_CANCELLED, "cancelled");
    if (now_ms > put->moved_ms + put->client->timeout_ms + CLIENT_PATIENCE_MS)
        return lilio_fail(put->info, LILIO_E_TIMEOUT, "nothing went on for %llu ms",
                          (unsigned long long)(now_ms - put->moved_ms));
    return client_put_error(put->machine, put->info);
}

/* Writes one run: until it is full and another stripe waits, or the source has ended. */
static enum lilio_err write_run(struct client_putter *put)
{
    put->moved_ms = client_now_ms(put->client);
    for (;;) {
        enum lilio_err err = feed(put);
        if (err == LILIO_OK)
            err = act(put);
        if (err != LILIO_OK)
            return err;
        if (client_put_done(put->machine, client_now_ms(put->client)))
            return LILIO_OK;
        bool at_once = !put->starved && !put->ended && client_put_room(put->machine);
        err = listen_once(put, at_once);
        if (err != LILIO_OK)
            return err;
    }
}

/* ---- the whole object ---- */

enum lilio_err client_putter_write(struct client_putter *put)
{
    if (put->source->size == 0)
        return LILIO_OK;
    enum lilio_err err = client_putter_reserve(put);
    if (err == LILIO_OK)
        err = client_putter_run_begin(put);
    if (err == LILIO_OK)
        err = check_quorum(put);
    while (err == LILIO_OK) {
        err = write_run(put);
        if (err != LILIO_OK || !put->next)
            break;
        err = client_putter_run_stage(put);
        if (err == LILIO_OK)
            err = client_putter_run_begin(put);
    }
    if (err == LILIO_OK && put->size == 0)
        put->extent_count = 0; /* an empty source: no run */
    return err;
}
