/* lilio_put: the machine of client/put_machine.h on a lane.
 *
 *   1. Bucket, map and session are looked up; the conditions are tried, and whether enough OSDs are
 * there. Only then is the source read.
 *   2. A stripe is read straight into fragment buffers, encoded and checksummed, and handed to the
 * machine, which says what to send; ZeroMQ sends from the same buffers. A window of stripes is
 * under way.
 *   3. When a run is full (CLIENT_EXTENT_STRIPES_MAX, or its checksums are) and more bytes come, it
 * is STAGEd and the next begins.
 *   4. COMMIT names the runs, sizes, checksums, missing fragments and the lowest epoch
 * acknowledged: the object appears whole or not at all.
 *
 * A put that fails DISCARDs its runs; if that is lost, too, they are orphans of the session. If the
 * answer to COMMIT stays away the outcome is unknown and nothing is discarded.
 */
#include "client/put.h"

#include <stdio.h>
#include <stdlib.h>

#include "client/lane.h"
#include "client/put_machine.h"
#include "client/session.h"

#include "base/banned.h"

enum { ROW_STAGED = 1, ROW_COMMITTED = 2, KIND_OBJECT = 1, EXCEPTION_MISSING = 1 };
enum { CONDITION_NONE = 0, CONDITION_ABSENT = 1, CONDITION_VERSION = 2 };

/* A stripe in memory. */
struct stripe {
    void *fragments[CODEC_TOTAL_MAX]; /* buffers of the lane's pool; NULL: none held */
    uint64_t length;                  /* user bytes */
    uint32_t fragment_size, partition;
    uint32_t *sums[CODEC_TOTAL_MAX]; /* block checksums */
};
struct put {
    struct lilio_client *client;
    const char *key;
    const struct lilio_source *source;
    const struct lilio_put_options *options;
    struct client_lane *lane;
    struct proto_map_ref *map_ref;
    const struct proto_cluster_map *map;
    struct client_session *session;
    struct client_bucket bucket;
    const struct codec_coder *coder;
    uint32_t total_count, required, window, stripe_max;

    struct stripe *stripes; /* window + 1 of them: per slot, and the one being filled */
    uint32_t *sums;         /* of all of them */
    struct stripe **slots;  /* per slot of the machine; NULL = free */
    struct stripe *next;    /* read and encoded, not yet opened; NULL = none */

    struct client_put_machine *machine; /* of the run at hand */
    struct base_oid oid;
    uint64_t run_length;
    struct base_buffer row_sums; /* checksums of its data row */

    struct proto_extent extents[CLIENT_EXTENTS_MAX]; /* runs that are written */
    uint32_t stripe_counts[CLIENT_EXTENTS_MAX];
    uint32_t extent_count;
    uint64_t lowest_epoch;
    uint32_t durable_min;

    uint64_t size, closed_bytes; /* read; in stripes that are durable */
    uint32_t crc;
    bool ended;        /* the source has no more */
    bool starved;      /* no buffers for the next stripe: too many are still on their way */
    uint64_t moved_ms; /* when anything last went on */
    struct lilio_errinfo *info;
};

/* ---- memory ---- */

static void drop_fragments(struct put *put, struct stripe *stripe)
{
    for (uint32_t i = 0; i < put->total_count; i++) {
        if (stripe->fragments[i])
            client_frags_drop(put->lane->frags, stripe->fragments[i]);
        stripe->fragments[i] = NULL;
    }
}

/* Buffers for all fragments of a stripe, or none while too many are on their way. */
static bool take_fragments(struct put *put, struct stripe *stripe)
{
    for (uint32_t i = 0; i < put->total_count; i++) {
        stripe->fragments[i] = client_frags_take(put->lane->frags);
        if (!stripe->fragments[i]) {
            drop_fragments(put, stripe);
            return false;
        }
    }
    return true;
}

static struct stripe *free_stripe(struct put *put)
{
    for (uint32_t s = 0; s <= put->window; s++)
        if (!put->stripes[s].fragments[0])
            return &put->stripes[s];
    return NULL;
}

/* Window, fragment buffers (kept by the lane) and stripe descriptions. */
static enum lilio_err reserve(struct put *put)
{
    const struct codec_profile *profile = &put->bucket.profile;
    uint64_t stripe_bytes = (uint64_t)put->total_count * profile->fragment_size;
    uint64_t window = put->client->window_bytes / stripe_bytes;
    uint64_t stripe_count =
        put->source->size == UINT64_MAX ? window : codec_stripe_count(profile, put->source->size);
    window = stripe_count < window ? stripe_count : window;
    window = window > CLIENT_WINDOW_STRIPES_MAX ? CLIENT_WINDOW_STRIPES_MAX : window;
    put->window = window ? (uint32_t)window : 1;

    /* One stripe more is read at the end of a run; slow OSDs may owe a window of fragments each. */
    size_t buffer_count = (size_t)(put->window + 1) * put->total_count +
                          (size_t)put->window * (put->total_count - put->required);
    if (!client_frags_fit(put->lane->frags, profile->fragment_size, buffer_count)) {
        client_frags_free(&put->lane->frags);
        if (client_frags_new(profile->fragment_size, buffer_count, &put->lane->frags) != LILIO_OK)
            return lilio_fail(put->info, LILIO_E_NOMEM, "no memory for %zu fragments",
                              buffer_count);
    }
    uint32_t block_count = codec_block_count(profile->fragment_size);
    put->stripes = calloc(put->window + 1, sizeof *put->stripes);
    put->slots = calloc(put->window, sizeof *put->slots);
    put->sums =
        calloc((size_t)(put->window + 1) * put->total_count * block_count, sizeof *put->sums);
    if (!put->stripes || !put->slots || !put->sums)
        return lilio_fail(put->info, LILIO_E_NOMEM, "no memory for the window");
    for (uint32_t s = 0; s <= put->window; s++)
        for (uint32_t i = 0; i < put->total_count; i++)
            put->stripes[s].sums[i] = put->sums + ((size_t)s * put->total_count + i) * block_count;
    return LILIO_OK;
}

/* ---- before anything is read ---- */

/* The conditions of the put, tried early: COMMIT decides, but a source need not be read in vain. */
static enum lilio_err try_conditions(struct put *put)
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

/* Where a stripe's fragments go, with a link to each of the OSDs. */
static enum lilio_err find_places(struct put *put, uint32_t stripe, struct client_place *ret_places,
                                  uint32_t *ret_partition)
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
static enum lilio_err below_quorum(struct put *put, const struct client_place *places)
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
static enum lilio_err check_quorum(struct put *put)
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
        for (uint32_t i = 0; i < put->total_count; i++) {
            struct client_link *link = client_lane_find(put->lane, places[i].osd);
            possible += places[i].err == LILIO_OK;
            if (places[i].err == LILIO_OK && link->channel)
                (void)client_lane_look(put->lane, link); /* nothing is under way yet */
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

/* ---- reading and encoding ---- */

static enum lilio_err read_some(struct put *put, void *buffer, size_t size, size_t *ret_size)
{
    *ret_size = 0;
    while (*ret_size < size && !put->ended) {
        if (client_cancelled(put->client))
            return lilio_fail(put->info, LILIO_E_CANCELLED, "cancelled");
        size_t got = 0;
        enum lilio_err err = put->source->read(put->source->context, (uint8_t *)buffer + *ret_size,
                                               size - *ret_size, &got, put->info);
        if (err != LILIO_OK)
            return err;
        if (got > size - *ret_size)
            return lilio_fail(put->info, LILIO_E_INVALID, "the source returned more than asked");
        put->ended = got == 0;
        *ret_size += got;
    }
    return LILIO_OK;
}

/* Fills data fragments of fragment_size each until want bytes were read or the source ended. */
static enum lilio_err read_fragments(struct put *put, struct stripe *stripe, uint64_t want)
{
    stripe->length = 0;
    for (uint32_t i = 0; stripe->length < want && !put->ended; i++) {
        uint64_t left = want - stripe->length;
        size_t size = left < stripe->fragment_size ? (size_t)left : stripe->fragment_size, got;
        enum lilio_err err = read_some(put, stripe->fragments[i], size, &got);
        if (err != LILIO_OK)
            return err;
        stripe->length += got;
    }
    return LILIO_OK;
}

/* A short last stripe that was read into full fragments is laid out again in smaller ones. From the
 * end, so that no byte is overwritten before it was moved. */
static void lay_out_again(struct stripe *stripe, uint32_t fragment_size)
{
    uint32_t full = stripe->fragment_size;
    for (uint64_t end = stripe->length; end > fragment_size;) {
        uint64_t last = end - 1, start = last - last % fragment_size;
        if (last - last % full > start)
            start = last - last % full;
        memmove((uint8_t *)stripe->fragments[start / fragment_size] + start % fragment_size,
                (uint8_t *)stripe->fragments[start / full] + start % full, end - start);
        end = start;
    }
    stripe->fragment_size = fragment_size;
}

static void pad(const struct put *put, struct stripe *stripe)
{
    for (uint32_t i = 0; i < put->bucket.profile.data_count; i++) {
        uint64_t start = (uint64_t)i * stripe->fragment_size;
        uint64_t used = stripe->length > start ? stripe->length - start : 0;
        if (used < stripe->fragment_size)
            memset((uint8_t *)stripe->fragments[i] + used, 0, stripe->fragment_size - used);
    }
}

/* The checksum of the content goes on by this stripe's user bytes, from the block checksums where
 * whole blocks are user bytes. */
static void add_to_crc(struct put *put, const struct stripe *stripe)
{
    for (uint64_t at = 0; at < stripe->length;) {
        uint32_t index = (uint32_t)(at / stripe->fragment_size);
        uint32_t offset = (uint32_t)(at % stripe->fragment_size);
        uint32_t room = stripe->fragment_size - offset;
        uint32_t block = room < CODEC_BLOCK ? room : CODEC_BLOCK;
        uint64_t left = stripe->length - at;
        if (left >= block) {
            uint32_t sum = stripe->sums[index][offset / CODEC_BLOCK];
            put->crc = codec_crc32c_combine(put->crc, sum, block);
        } else {
            block = (uint32_t)left;
            put->crc = codec_crc32c(put->crc, (uint8_t *)stripe->fragments[index] + offset, block);
        }
        at += block;
    }
}

static void encode(struct put *put, struct stripe *stripe)
{
    uint8_t *fragments[CODEC_TOTAL_MAX];
    for (uint32_t i = 0; i < put->total_count; i++)
        fragments[i] = stripe->fragments[i];
    codec_encode_checksum(put->coder, stripe->fragment_size, fragments,
                          fragments + put->bucket.profile.data_count, stripe->sums);
    add_to_crc(put, stripe);
    put->size += stripe->length;
}

/* Reads and encodes the next stripe into put->next; leaves it NULL at the end of the source, or
 * while there is no buffer. */
static enum lilio_err fill(struct put *put)
{
    const struct codec_profile *profile = &put->bucket.profile;
    struct stripe *stripe = free_stripe(put);
    put->starved = !stripe || !take_fragments(put, stripe);
    if (put->starved)
        return LILIO_OK;
    uint64_t want = (uint64_t)profile->data_count * profile->fragment_size;
    if (put->source->size != UINT64_MAX && put->source->size - put->size < want)
        want = put->source->size - put->size;
    stripe->fragment_size = codec_fragment_size(profile, want);
    enum lilio_err err = read_fragments(put, stripe, want);
    if (err == LILIO_OK && put->source->size != UINT64_MAX && stripe->length < want)
        err = lilio_fail(put->info, LILIO_E_INVALID, "the source ended after %llu of %llu bytes",
                         (unsigned long long)(put->size + stripe->length),
                         (unsigned long long)put->source->size);
    if (err != LILIO_OK || stripe->length == 0) {
        drop_fragments(put, stripe);
        return err;
    }
    uint32_t fragment_size = codec_fragment_size(profile, stripe->length);
    if (fragment_size != stripe->fragment_size)
        lay_out_again(stripe, fragment_size);
    pad(put, stripe);
    encode(put, stripe);
    put->next = stripe;
    put->ended |= put->size == put->source->size;
    put->moved_ms = client_now_ms(put->client);
    return LILIO_OK;
}

/* ---- runs ---- */

static enum lilio_err begin_run(struct put *put)
{
    struct client_put_config config = {
        .data_count = put->bucket.profile.data_count,
        .total_count = put->total_count,
        .required = put->required,
        .window = put->window,
        .stripe_max = put->stripe_max,
        .grace_ms = CLIENT_GRACE_MS,
        .patience_ms = CLIENT_PATIENCE_MS,
        .silent_ms = put->client->timeout_ms < CLIENT_PUT_SILENT_MS ? put->client->timeout_ms
                                                                    : CLIENT_PUT_SILENT_MS,
        .busy_ms = put->client->timeout_ms,
        .seed = put->client->trace_base + put->lane->tag,
    };
    client_put_machine_free(&put->machine);
    base_buffer_clear(&put->row_sums);
    put->run_length = 0;
    if (client_put_machine_new(&config, &put->machine) != LILIO_OK)
        return lilio_fail(put->info, LILIO_E_NOMEM, "no memory for a put");
    return LILIO_OK;
}

/* A list of the fragments of the run that are not durable, as runs of stripes. *ret_list is freed
 * with free(). */
static enum lilio_err list_missing(const struct put *put, struct proto_exception **ret_list,
                                   size_t *ret_count)
{
    uint32_t stripe_count = client_put_stripe_count(put->machine);
    uint64_t all = (UINT64_C(1) << put->total_count) - 1;
    struct proto_exception *list = NULL;
    size_t count = 0, capacity = 0;
    for (uint32_t i = 0; i < put->total_count; i++)
        for (uint32_t s = 0; s < stripe_count; s++) {
            if (!((all & ~client_put_durable(put->machine, s)) >> i & 1))
                continue;
            struct proto_exception *last = count > 0 ? &list[count - 1] : NULL;
            if (last && last->index == i && last->first_stripe + last->stripe_count == s) {
                last->stripe_count++;
                continue;
            }
            if (count == capacity) {
                capacity = capacity ? 2 * capacity : 16;
                struct proto_exception *grown = reallocarray(list, capacity, sizeof *list);
                if (!grown) {
                    free(list);
                    return LILIO_E_NOMEM;
                }
                list = grown;
            }
            list[count++] = (struct proto_exception){.first_stripe = s,
                                                     .stripe_count = 1,
                                                     .index = (uint8_t)i,
                                                     .kind = EXCEPTION_MISSING};
        }
    *ret_list = list;
    *ret_count = count;
    return LILIO_OK;
}

/* The data row of the run at hand; row->exceptions is freed with free(). */
static enum lilio_err describe_run(struct put *put, uint8_t state, struct proto_data_row *ret_row)
{
    *ret_row = (struct proto_data_row){
        .oid = put->oid,
        .bucket_id = put->bucket.id,
        .profile = client_profile_to_proto(&put->bucket.profile),
        .placement = put->bucket.placement,
        .stored_length = put->run_length,
        .state = state,
        .checksums = base_buffer_slice(&put->row_sums),
    };
    if (list_missing(put, &ret_row->exceptions, &ret_row->exceptions_count) != LILIO_OK)
        return lilio_fail(put->info, LILIO_E_NOMEM, "no memory for the list of missing fragments");
    uint64_t epoch = client_put_lowest_epoch(put->machine);
    uint32_t durable = client_put_durable_min(put->machine);
    put->lowest_epoch = epoch < put->lowest_epoch ? epoch : put->lowest_epoch;
    put->durable_min = durable < put->durable_min ? durable : put->durable_min;
    return LILIO_OK;
}

/* A request that belongs to the put's own session: its runs live and die with that. */
static enum lilio_err change(struct put *put, const struct proto_type *type, const void *value,
                             const struct proto_type *reply_type, void *ret_value, bool last_words,
                             struct lilio_errinfo *info)
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

/* Registers a full run ahead of COMMIT and begins the next one. */
static enum lilio_err stage_run(struct put *put)
{
    struct proto_stage stage = {.quorum = (uint8_t)put->required};
    enum lilio_err err = describe_run(put, ROW_STAGED, &stage.data);
    if (err != LILIO_OK)
        return err;
    stage.lowest_epoch = client_put_lowest_epoch(put->machine);
    struct proto_ok ok;
    err = change(put, &proto_type_stage, &stage, &proto_type_ok, &ok, false, put->info);
    free(stage.data.exceptions);
    return err;
}

/* Notes the run at hand as an extent of the object, from which failure discards it. */
static enum lilio_err add_extent(struct put *put)
{
    if (put->extent_count == CLIENT_EXTENTS_MAX)
        return lilio_fail(put->info, LILIO_E_TOO_BIG,
                          "an object has at most %d runs of %u stripes in this profile",
                          CLIENT_EXTENTS_MAX, put->stripe_max);
    put->oid = client_session_oid(put->session);
    put->extents[put->extent_count] = (struct proto_extent){.oid = put->oid};
    put->stripe_counts[put->extent_count++] = 0;
    return begin_run(put);
}

/* ---- the loop ---- */

/* A link stands, or stands no more. */
static void report_link(struct put *put, const struct client_link *link)
{
    client_put_peer_set(put->machine, link->osd, link->ready, client_now_ms(put->client));
}

static enum lilio_err tell_places(struct put *put, struct client_place *places)
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

static enum lilio_err add_row_sums(struct put *put, const struct stripe *stripe)
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
static enum lilio_err open_next(struct put *put)
{
    struct client_place places[CODEC_TOTAL_MAX];
    struct stripe *stripe = put->next;
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
static enum lilio_err feed(struct put *put)
{
    bool full = client_put_stripe_count(put->machine) == put->stripe_max;
    bool room = client_put_room(put->machine);
    if (!put->next && !put->ended && (room || full)) {
        enum lilio_err err = fill(put);
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

static void lose_link(struct put *put, struct client_link *link)
{
    link->ready = false;
    link->under_way = 0;
    link->since_ms = client_now_ms(put->client);
    report_link(put, link);
}

static void send_fragment(struct put *put, const struct client_put_action *action)
{
    const struct stripe *stripe = put->slots[action->slot];
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
static enum lilio_err renew_map(struct put *put)
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

static void close_stripe(struct put *put, uint32_t slot)
{
    put->closed_bytes += put->slots[slot]->length;
    drop_fragments(put, put->slots[slot]);
    put->slots[slot] = NULL;
    const struct lilio_progress *progress = &put->options->progress;
    if (progress->report)
        progress->report(progress->context, put->closed_bytes, put->source->size);
}

static enum lilio_err act(struct put *put)
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

static void receive(struct put *put, struct client_link *link)
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
            client_put_stored(put->machine, id.stripe, id.index, link->osd, reply->header.epoch,
                              now_ms);
        else
            client_put_refused(put->machine, id.stripe, id.index, link->osd, id.attempt, err,
                               now_ms);
        put->moved_ms = now_ms;
        proto_reply_free(&reply);
    }
}

/* Waits for whatever comes next and tells the machine. */
static enum lilio_err listen_once(struct put *put, bool at_once)
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
static enum lilio_err write_run(struct put *put)
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

/* ---- the end ---- */

static enum lilio_err commit(struct put *put, struct lilio_put_result *ret_result)
{
    struct proto_data_row data = {0};
    enum lilio_err err = LILIO_OK;
    if (put->extent_count == 1)
        err = describe_run(put, ROW_COMMITTED, &data);
    else if (put->extent_count > 1)
        err = stage_run(put);
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
    err = change(put, &proto_type_commit, &request, &proto_type_committed, &committed,
                 /* last_words */ false, put->info);
    if (err == LILIO_OK)
        *ret_result = (struct lilio_put_result){
            .version = client_version_public(committed.version),
            .size = put->size,
            .modified_ms = committed.modified_ms,
            .crc32c = put->crc,
            .durable = committed.durable,
            .total = committed.total,
        };
    else if (err == LILIO_E_NO_BUCKET)
        client_bucket_forget(put->client, put->bucket.name);
    free(attributes);
    free(data.exceptions);
    return err;
}

/* Tells the coordinators that the runs will not be committed, best effort. */
static void discard(struct put *put)
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
    (void)change(put, &proto_type_discard, &request, &proto_type_ok, &ok, /* last_words */ true,
                 NULL); /* orphans of the session otherwise */
}

static enum lilio_err prepare(struct put *put, const char *bucket)
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
    return try_conditions(put);
}

uint32_t client_quorum(const struct codec_profile *profile, uint32_t bucket_quorum)
{
    if (bucket_quorum >= profile->data_count)
        return bucket_quorum;
    return profile->parity_count > 0 ? profile->data_count + 1 : profile->data_count;
}

static enum lilio_err write_object(struct put *put)
{
    if (put->source->size == 0)
        return LILIO_OK;
    enum lilio_err err = reserve(put);
    if (err == LILIO_OK)
        err = add_extent(put);
    if (err == LILIO_OK)
        err = check_quorum(put);
    while (err == LILIO_OK) {
        err = write_run(put);
        if (err != LILIO_OK || !put->next)
            break;
        err = stage_run(put);
        if (err == LILIO_OK)
            err = add_extent(put);
    }
    if (err == LILIO_OK && put->size == 0)
        put->extent_count = 0; /* an empty source: no run */
    return err;
}

enum lilio_err lilio_put(struct lilio_client *client, const char *bucket, const char *key,
                         const struct lilio_source *source, const struct lilio_put_options *options,
                         struct lilio_put_result *ret_result, struct lilio_errinfo *info)
{
    static const struct lilio_put_options defaults;
    enum lilio_err err = client_key_check(key, info);
    if (err != LILIO_OK)
        return err;
    struct put *put = calloc(1, sizeof *put);
    if (!put)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a put");
    put->client = client;
    put->key = key;
    put->source = source;
    put->options = options ? options : &defaults;
    put->info = info;
    err = client_lane_take(client, &put->lane, info);
    if (err == LILIO_OK)
        err = prepare(put, bucket);
    if (err == LILIO_OK)
        err = write_object(put);
    if (err == LILIO_OK)
        err = commit(put, ret_result);
    for (uint32_t s = 0; put->stripes && s <= put->window; s++)
        drop_fragments(put, &put->stripes[s]);
    if (err != LILIO_OK && err != LILIO_E_OUTCOME_UNKNOWN && put->session)
        discard(put);
    client_put_machine_free(&put->machine);
    client_session_drop(&put->session);
    proto_map_ref_drop(&put->map_ref);
    client_lane_give(&put->lane);
    base_buffer_release(&put->row_sums);
    free(put->stripes);
    free(put->slots);
    free(put->sums);
    free(put);
    return err;
}
