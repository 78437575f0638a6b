/* lilio_get: the machine of client/get_machine.h on a lane.
 *
 *   1. The version is looked up (linearizable) and the range resolved against it. A read longer
 * than a window holds a lease on the version from here on.
 *   2. Run by run: the machine says which blocks to ask from which OSD, verifies what comes, and
 * hands out the wanted bytes in order, straight from the receive buffers or decoded.
 *   3. Missing and corrupt fragments are reported to the coordinators, best effort.
 *
 * A get serves one version. If its fragments turn out to be gone, the object is looked up again:
 * another version, or none, means that it was collected under the reader, who starts over (restart)
 * or learns it (VERSION_GONE).
 */
#include "client/get_machine.h"

#include <stdlib.h>

#include "client/lane.h"
#include "client/object.h"
#include "client/session.h"

#include "base/banned.h"

struct get {
    struct lilio_client *client;
    const char *bucket, *key;
    const struct lilio_sink *sink;
    const struct lilio_get_options *options;
    struct client_lane *lane;
    struct proto_map_ref *map_ref;
    const struct proto_cluster_map *map;
    struct client_object object;
    struct lilio_version leased; /* index 0 = none */

    struct client_get_machine *machine; /* of the run at hand */
    struct proto_data_row row;
    uint64_t moved_ms;        /* when anything last went on */
    uint32_t missing_answers; /* OSDs that said MISSING, of this version */
    struct lilio_get_result result;
    uint64_t delivered;
    struct lilio_errinfo *info;
};

/* ---- the loop ---- */

/* Where the fragments of a stripe are, with a link to each of the OSDs and the machine told of it.
 */
static enum lilio_err find_places(struct get *get, uint32_t stripe, struct client_place *ret_places)
{
    uint32_t partition;
    uint32_t total_count = (uint32_t)get->row.profile.data_count + get->row.profile.parity_count;
    if (!client_places_read(get->map, &get->row, stripe, ret_places, &partition))
        return lilio_fail(get->info, LILIO_E_MALFORMED, "the map has no placement %u of width %u",
                          get->row.placement, total_count);
    for (uint32_t i = 0; i < total_count; i++) {
        struct client_place *place = &ret_places[i];
        struct client_link *link;
        if (place->err == LILIO_OK)
            place->err = client_lane_link(get->lane, get->map, place->osd, &link, NULL);
        if (place->has_other)
            place->has_other =
                client_lane_link(get->lane, get->map, place->other, &link, NULL) == LILIO_OK;
    }
    return LILIO_OK;
}

/* A link stands, or stands no more. */
static void report_link(struct get *get, const struct client_link *link)
{
    client_get_peer_set(get->machine, link->osd, link->ready, client_now_ms(get->client));
}

/* Makes an OSD known to the machine, and how its link stands: one that is away for long, as earlier
 * calls found it, is not waited for anew. */
static enum lilio_err tell_osd(struct get *get, uint32_t osd)
{
    const struct client_link *link = client_lane_find(get->lane, osd);
    uint64_t since_ms = link ? link->since_ms : client_now_ms(get->client);
    if (client_get_peer_add(get->machine, osd, since_ms) != LILIO_OK)
        return lilio_fail(get->info, LILIO_E_NOMEM, "no memory for a get");
    if (link)
        report_link(get, link); /* else it cannot be asked at all */
    return LILIO_OK;
}

static enum lilio_err tell_places(struct get *get, const struct client_place *places)
{
    uint32_t total_count = (uint32_t)get->row.profile.data_count + get->row.profile.parity_count;
    enum lilio_err err = LILIO_OK;
    for (uint32_t i = 0; err == LILIO_OK && i < total_count; i++) {
        if (places[i].err == LILIO_OK)
            err = tell_osd(get, places[i].osd);
        if (err == LILIO_OK && places[i].has_other)
            err = tell_osd(get, places[i].other);
    }
    return err;
}

static enum lilio_err open_stripes(struct get *get)
{
    uint32_t stripe;
    while (client_get_room(get->machine, &stripe)) {
        struct client_place places[CODEC_TOTAL_MAX];
        enum lilio_err err = find_places(get, stripe, places);
        if (err == LILIO_OK)
            err = tell_places(get, places);
        if (err != LILIO_OK)
            return err;
        client_get_open(get->machine, places, client_now_ms(get->client));
    }
    return LILIO_OK;
}

static void request(struct get *get, const struct client_get_action *action)
{
    struct client_link *link = client_lane_find(get->lane, action->osd);
    const struct proto_placement *placement = proto_map_placement(get->map, get->row.placement);
    struct proto_fragment_get message = {
        .key = {.placement = get->row.placement,
                .partition =
                    proto_partition(placement->partition_bits, get->row.oid, action->stripe),
                .oid = get->row.oid,
                .stripe = action->stripe,
                .index = (uint8_t)action->index},
        .first_block = action->first_block,
        .block_count = action->block_count,
        .elsewhere = action->elsewhere,
    };
    struct client_fragment_id id = {action->stripe, action->index, action->attempt};
    enum lilio_err err =
        !link->channel
            ? LILIO_E_UNAVAILABLE /* its new address is none */
            : client_lane_send(get->lane, link, id, get->map->epoch, get->client->timeout_ms,
                               &proto_type_fragment_get, &message, NULL);
    if (err == LILIO_E_UNAVAILABLE) {
        link->ready = false;
        link->under_way = 0;
        link->since_ms = client_now_ms(get->client);
        report_link(get, link);
    } else if (err != LILIO_OK) {
        client_get_refused(get->machine, action->stripe, action->index, action->osd,
                           action->attempt, err, client_now_ms(get->client));
    }
}

static enum lilio_err deliver(struct get *get, const struct client_get_action *action)
{
    enum lilio_err err =
        get->sink->write(get->sink->context, action->data, action->size, get->info);
    if (err != LILIO_OK)
        return err;
    get->delivered += action->size;
    const struct lilio_progress *progress = &get->options->progress;
    if (progress->report)
        progress->report(progress->context, get->delivered, get->result.length);
    return client_cancelled(get->client) ? lilio_fail(get->info, LILIO_E_CANCELLED, "cancelled")
                                         : LILIO_OK;
}

/* An OSD knew a newer map: gets it and tells the machine where the fragments are now. */
static enum lilio_err renew_map(struct get *get)
{
    proto_map_ref_drop(&get->map_ref);
    enum lilio_err err = client_map_get(get->client, &get->lane->control, /* min_epoch */ 0,
                                        &get->map_ref, get->info);
    if (err != LILIO_OK)
        return err;
    get->map = proto_map_ref_get(get->map_ref);
    uint32_t stripe, end;
    client_get_stripes(get->machine, &stripe, &end);
    for (; stripe < end; stripe++) {
        struct client_place places[CODEC_TOTAL_MAX];
        err = find_places(get, stripe, places);
        if (err == LILIO_OK)
            err = tell_places(get, places);
        if (err != LILIO_OK)
            return err;
        client_get_moved(get->machine, stripe, places, client_now_ms(get->client));
    }
    return LILIO_OK;
}

static enum lilio_err tell_list(struct get *get, const uint32_t *osds, size_t count)
{
    enum lilio_err err = LILIO_OK;
    for (size_t i = 0; err == LILIO_OK && i < count; i++)
        err = tell_osd(get, osds[i]);
    return err;
}

/* Every OSD of the newest map that may hold anything, linked and told to the machine. */
static enum lilio_err search(struct get *get)
{
    enum lilio_err err = renew_map(get);
    if (err != LILIO_OK)
        return err;
    const struct proto_cluster_map *map = get->map;
    uint32_t *osds = calloc(map->osds_count + 1, sizeof *osds);
    if (!osds)
        return lilio_fail(get->info, LILIO_E_NOMEM, "no memory for a search");
    size_t count = 0;
    for (size_t i = 0; i < map->osds_count; i++) {
        struct client_link *link;
        if (!client_place_searchable(&map->osds[i]))
            continue;
        osds[count++] = map->osds[i].id;
        /* One without a link is listed all the same: it was not heard. */
        (void)!client_lane_link(get->lane, map, map->osds[i].id, &link, NULL);
    }
    err = tell_list(get, osds, count); /* also of links that were made anew */
    client_lane_await(get->lane, /* everybody */ true);
    if (err == LILIO_OK)
        err = tell_list(get, osds, count);
    if (err == LILIO_OK &&
        client_get_search(get->machine, osds, count, client_now_ms(get->client)) != LILIO_OK)
        err = lilio_fail(get->info, LILIO_E_NOMEM, "no memory for a search");
    free(osds);
    return err;
}

static enum lilio_err perform(struct get *get, const struct client_get_action *action)
{
    switch (action->kind) {
    case CLIENT_GET_REQUEST: request(get, action); return LILIO_OK;
    case CLIENT_GET_DELIVER: return deliver(get, action);
    case CLIENT_GET_SEARCH: return search(get);
    case CLIENT_GET_MAP: return renew_map(get);
    }
    return LILIO_E_INTERNAL;
}

/* Does what the machine asks for. A stripe that ends makes room for another at once. */
static enum lilio_err act(struct get *get)
{
    struct client_get_action action;
    uint32_t stripe;
    bool more = true;
    while (more) {
        enum lilio_err err = open_stripes(get);
        if (err != LILIO_OK)
            return err;
        more = client_get_next(get->machine, client_now_ms(get->client), &action);
        if (more) {
            err = perform(get, &action);
            if (err != LILIO_OK)
                return err;
            get->moved_ms = client_now_ms(get->client);
        }
        more |= client_get_room(get->machine, &stripe);
    }
    return client_get_error(get->machine, get->info);
}

static void release_reply(void *context, void *token)
{
    struct proto_reply *reply = token;
    (void)context;
    proto_reply_free(&reply);
}

static void receive(struct get *get, struct client_link *link)
{
    struct client_fragment_id id;
    struct proto_reply *reply;
    while ((reply = client_lane_receive(get->lane, link, &id)) != NULL) {
        uint64_t now_ms = client_now_ms(get->client);
        struct proto_fragment fragment;
        bool kept = false;
        enum lilio_err err = LILIO_E_MALFORMED;
        if (reply->type == &proto_type_error)
            err = client_reply_error(get->lane, reply);
        else if (reply->type == &proto_type_fragment)
            err = proto_fragment_unpack(reply->body, get->lane->arena, &fragment, NULL);
        if (err == LILIO_OK)
            kept = client_get_fragment(get->machine, id.stripe, id.index, link->osd, id.attempt,
                                       &fragment, reply->payload, reply, now_ms);
        else
            client_get_refused(get->machine, id.stripe, id.index, link->osd, id.attempt, err,
                               now_ms);
        get->moved_ms = now_ms;
        if (!kept)
            proto_reply_free(&reply);
    }
}

static enum lilio_err listen_once(struct get *get)
{
    uint64_t now_ms = client_now_ms(get->client);
    uint64_t until_ms = client_get_deadline(get->machine, now_ms);
    uint64_t left_ms = until_ms - now_ms;
    bool changed =
        client_lane_wait(get->lane, left_ms < CLIENT_TICK_MS ? (int)left_ms : CLIENT_TICK_MS);
    for (size_t i = 0; i < get->lane->link_count; i++)
        if (get->lane->links[i].readable)
            receive(get, &get->lane->links[i]);
    for (size_t i = 0; changed && i < get->lane->link_count; i++)
        if (client_lane_look(get->lane, &get->lane->links[i]))
            report_link(get, &get->lane->links[i]);
    now_ms = client_now_ms(get->client);
    client_get_tick(get->machine, now_ms);
    if (client_cancelled(get->client))
        return lilio_fail(get->info, LILIO_E_CANCELLED, "cancelled");
    if (now_ms > get->moved_ms + get->client->timeout_ms + CLIENT_PATIENCE_MS)
        return lilio_fail(get->info, LILIO_E_TIMEOUT, "nothing went on for %llu ms",
                          (unsigned long long)(now_ms - get->moved_ms));
    return client_get_error(get->machine, get->info);
}

/* ---- one run ---- */

static enum lilio_err begin_run(struct get *get, uint64_t offset, uint64_t length)
{
    struct codec_profile profile = client_profile_from_proto(&get->row.profile);
    const struct codec_coder *coder;
    enum lilio_err err = client_lane_coder(get->lane, &profile, &coder, get->info);
    if (err != LILIO_OK)
        return err;
    uint64_t width = (uint64_t)profile.data_count * profile.fragment_size;
    uint64_t stripe_count = (offset + length - 1) / width - offset / width + 1;
    uint64_t window = get->client->window_bytes / width;
    window = window < stripe_count ? window : stripe_count;
    window = window < CLIENT_WINDOW_STRIPES_MAX ? window : CLIENT_WINDOW_STRIPES_MAX;
    uint32_t timeout_ms = get->client->timeout_ms;
    struct client_get_config config = {
        .coder = coder,
        .plans = &get->lane->plans,
        .row = &get->row,
        .offset = offset,
        .length = length,
        .window = window ? (uint32_t)window : 1,
        .hedge_ms = CLIENT_HEDGE_MS,
        .silent_ms = timeout_ms < CLIENT_GET_SILENT_MS ? timeout_ms : CLIENT_GET_SILENT_MS,
        .patience_ms = timeout_ms < CLIENT_PATIENCE_MS ? timeout_ms : CLIENT_PATIENCE_MS,
        .busy_ms = timeout_ms,
        .seed = get->client->trace_base + get->lane->tag,
        .release = release_reply,
    };
    client_get_machine_free(&get->machine);
    if (client_get_machine_new(&config, &get->machine) != LILIO_OK)
        return lilio_fail(get->info, LILIO_E_NOMEM, "no memory for a get");
    for (uint32_t s = 0; s < config.window; s++) {
        struct client_place places[CODEC_TOTAL_MAX];
        err = find_places(get, (uint32_t)(offset / width) + s, places);
        if (err != LILIO_OK)
            return err;
    }
    client_lane_settle(get->lane);
    return LILIO_OK;
}

/* Tells the coordinators what was found missing or corrupt. */
static void report(struct get *get)
{
    size_t count;
    const struct proto_fragment_report *items = client_get_reports(get->machine, &count);
    if (count == 0)
        return;
    struct proto_report message = {.items = (struct proto_fragment_report *)(uintptr_t)items,
                                   .items_count = count};
    struct client_call call = {.type = &proto_type_report,
                               .value = &message,
                               .reply_type = &proto_type_ok,
                               .timeout_ms = CLIENT_CLOSE_MS};
    client_control_tell(&get->lane->control, &call); /* others will find them, too */
}

static enum lilio_err read_run(struct get *get, uint64_t offset, uint64_t length)
{
    enum lilio_err err = begin_run(get, offset, length);
    get->moved_ms = client_now_ms(get->client);
    while (err == LILIO_OK) {
        err = act(get);
        if (err != LILIO_OK || client_get_done(get->machine))
            break;
        err = listen_once(get);
    }
    if (get->machine) {
        struct client_get_counts counts;
        client_get_counts_get(get->machine, &counts);
        get->result.degraded_stripes += counts.degraded_stripes;
        get->result.bad_fragments += counts.bad_fragments;
        get->result.slow_fragments += counts.slow_fragments;
        get->missing_answers += counts.missing_answers;
        if (err == LILIO_OK)
            report(get);
    }
    return err;
}

/* ---- one version ---- */

/* The bytes wanted of an object of size bytes. */
static enum lilio_err resolve_range(const struct lilio_range *range, uint64_t size,
                                    uint64_t *ret_first, uint64_t *ret_length,
                                    struct lilio_errinfo *info)
{
    uint64_t first = 0, length = size;
    bool valid = true;
    switch (range->kind) {
    case LILIO_RANGE_ALL: break;
    case LILIO_RANGE_FROM_TO:
        first = range->first;
        valid = range->first <= range->last && first < size;
        if (valid)
            length = (range->last < size ? range->last + 1 : size) - first;
        break;
    case LILIO_RANGE_FROM:
        first = range->first;
        valid = first < size;
        if (valid)
            length = size - first;
        break;
    case LILIO_RANGE_LAST:
        valid = range->last > 0 && size > 0;
        if (range->last < size)
            length = range->last;
        first = size - length;
        break;
    default: valid = false;
    }
    if (!valid)
        return lilio_fail(info, LILIO_E_INVALID, "the range lies outside the %llu bytes",
                          (unsigned long long)size);
    *ret_first = first;
    *ret_length = length;
    return LILIO_OK;
}

static enum lilio_err read_inline(struct get *get)
{
    const struct proto_version_row *row = &get->object.object.row;
    struct base_slice bytes = row->inline_bytes;
    if (row->has_crc32c && codec_crc32c(0, bytes.data, bytes.size) != row->crc32c)
        return lilio_fail(get->info, LILIO_E_CORRUPT,
                          "the inline bytes do not match their checksum");
    if (get->result.length == 0)
        return LILIO_OK;
    struct client_get_action action = {.data = bytes.data + get->result.first,
                                       .size = get->result.length};
    return deliver(get, &action);
}

/* The part of the range that lies in each extent, in order. */
static enum lilio_err read_extents(struct get *get)
{
    const struct proto_version_row *row = &get->object.object.row;
    uint64_t start = 0, first = get->result.first, end = first + get->result.length;
    for (size_t i = 0; i < row->extents_count && start < end; i++) {
        const struct proto_extent *extent = &row->extents[i];
        uint64_t next = start + extent->logical_length;
        if (next > first) {
            uint64_t from = first > start ? first : start, to = end < next ? end : next;
            struct client_answer answer = {0};
            enum lilio_err err = client_object_row(&get->lane->control, &get->object, i, &answer,
                                                   &get->row, get->info);
            if (err == LILIO_OK)
                err = read_run(get, extent->offset + (from - start), to - from);
            client_answer_release(&answer);
            if (err != LILIO_OK)
                return err;
        }
        start = next;
    }
    return LILIO_OK;
}

/* A long read keeps its version from collection. Without a session it does without. */
static void take_lease(struct get *get)
{
    struct client_session *session;
    if (get->result.length <= get->client->window_bytes ||
        client_session_take(get->client, &get->lane->control, &session, NULL) != LILIO_OK)
        return;
    client_session_drop(&session);
    struct lilio_version version = client_version_public(get->object.object.row.version);
    if (client_lease_take(get->client, version))
        get->leased = version;
}

static void drop_lease(struct get *get)
{
    if (get->leased.index != 0)
        client_lease_drop(get->client, get->leased);
    get->leased = (struct lilio_version){0};
}

static enum lilio_err read_version(struct get *get)
{
    const struct proto_version_row *row = &get->object.object.row;
    get->result = (struct lilio_get_result){.version = client_version_public(row->version),
                                            .size = row->logical_size};
    get->delivered = 0;
    get->missing_answers = 0;
    enum lilio_err err = resolve_range(&get->options->range, row->logical_size, &get->result.first,
                                       &get->result.length, get->info);
    if (err != LILIO_OK)
        return err;
    if (row->extents_count == 0)
        return read_inline(get);
    take_lease(get);
    proto_map_ref_drop(&get->map_ref);
    err = client_map_get(get->client, &get->lane->control, get->object.object.epoch, &get->map_ref,
                         get->info);
    if (err == LILIO_OK) {
        get->map = proto_map_ref_get(get->map_ref);
        err = read_extents(get);
    }
    drop_lease(get);
    return err;
}

/* After a failure: true if the version is no longer the object's, so that its bytes may have been
 * collected. */
static bool was_replaced(struct get *get, enum lilio_err err)
{
    bool may_be = err == LILIO_E_NOT_FOUND || err == LILIO_E_LOST ||
                  (err == LILIO_E_UNAVAILABLE && get->missing_answers > 0);
    if (!may_be)
        return false;
    struct client_object now;
    err = client_object_lookup(&get->lane->control, get->bucket, get->key, &now, NULL);
    if (err != LILIO_OK)
        return err == LILIO_E_NO_KEY || err == LILIO_E_NO_BUCKET;
    struct proto_version version = now.object.row.version;
    client_object_release(&now);
    return version.index != get->result.version.index ||
           version.ordinal != get->result.version.ordinal;
}

static enum lilio_err start_over(struct get *get)
{
    if (get->delivered == 0)
        return LILIO_OK; /* nobody has seen anything of it */
    if (!get->sink->restart)
        return lilio_fail(get->info, LILIO_E_VERSION_GONE,
                          "%s/%s was replaced or deleted while it was read", get->bucket, get->key);
    return get->sink->restart(get->sink->context, get->info);
}

static enum lilio_err read_object(struct get *get)
{
    for (int round = 0;; round++) {
        enum lilio_err err = client_object_lookup(&get->lane->control, get->bucket, get->key,
                                                  &get->object, get->info);
        if (err != LILIO_OK)
            return err;
        err = read_version(get);
        client_object_release(&get->object);
        if (err == LILIO_OK)
            return err;
        if (!was_replaced(get, err)) {
            if (get->machine && (err == LILIO_E_LOST || err == LILIO_E_UNAVAILABLE))
                report(get);
            return err;
        }
        if (round == CLIENT_RESTARTS_MAX)
            return lilio_fail(get->info, LILIO_E_VERSION_GONE,
                              "%s/%s is replaced faster than it can be read", get->bucket,
                              get->key);
        err = start_over(get);
        if (err != LILIO_OK)
            return err;
    }
}

enum lilio_err lilio_get(struct lilio_client *client, const char *bucket, const char *key,
                         const struct lilio_sink *sink, const struct lilio_get_options *options,
                         struct lilio_get_result *ret_result, struct lilio_errinfo *info)
{
    static const struct lilio_get_options defaults;
    struct get get = {.client = client,
                      .bucket = bucket,
                      .key = key,
                      .sink = sink,
                      .options = options ? options : &defaults,
                      .info = info};
    enum lilio_err err = client_lane_take(client, &get.lane, info);
    if (err != LILIO_OK)
        return err;
    err = read_object(&get);
    client_get_machine_free(&get.machine);
    proto_map_ref_drop(&get.map_ref);
    client_lane_give(&get.lane);
    if (err == LILIO_OK && ret_result)
        *ret_result = get.result;
    return err;
}
