/* Every OSD has a queue of fragments, in the order of the rows; each queue has up to
 * CLIENT_VERIFY_BATCHES requests of up to KEYS_MAX fragments under way. An OSD that is not
 * connected, or says nothing for the client's timeout, has its queue emptied as not read; later
 * calls on the same lane give it less time until it answers again. */
#include "client/check.h"

#include <stdlib.h>

#include "client/slots.h"

#include "base/banned.h"

enum {
    KEYS_MAX = 16,         /* fragments per request */
    MAP_RETRIES_MAX = 4,   /* answers "newer map" per OSD */
    SILENT_AGAIN_MS = 500, /* patience with an OSD that was silent before */
};

struct item {
    uint32_t row, stripe;
    uint8_t index;
};
struct batch {
    enum { EMPTY, FILLED, UNDER_WAY } state; /* FILLED: to be sent, for the first time or again */
    struct item items[KEYS_MAX];
    size_t count;
    uint32_t attempt;
    uint64_t sent_ms;
};
struct queue {
    uint32_t osd;
    struct item *items;
    size_t count, capacity, next; /* next: first that is in no batch yet */
    struct batch batches[CLIENT_VERIFY_BATCHES];
    uint64_t heard_ms, not_before_ms;
    uint32_t busy_count, map_count, attempt;
};
struct check {
    struct client_lane *lane;
    struct proto_map_ref **map_ref;
    struct client_check_row *rows;
    struct queue *queues; /* one per OSD */
    size_t queue_count;
    uint64_t bytes, jitter;
    bool want_map;
};

/* ---- rows ---- */

enum lilio_err client_check_row_init(struct client_check_row *row,
                                     const struct proto_cluster_map *map,
                                     const struct proto_data_row *data, struct lilio_errinfo *info)
{
    struct codec_profile profile = client_profile_from_proto(&data->profile);
    *row = (struct client_check_row){
        .row = *data,
        .stripe_count = (uint32_t)codec_stripe_count(&profile, data->stored_length),
        .total_count = codec_profile_total(&profile),
    };
    row->stripes = calloc(row->stripe_count, sizeof *row->stripes);
    if (!row->stripes)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a run of %u stripes",
                          row->stripe_count);
    for (uint32_t s = 0; s < row->stripe_count; s++) {
        struct client_check_stripe *stripe = &row->stripes[s];
        struct client_place places[CODEC_TOTAL_MAX];
        uint32_t partition;
        if (!client_places_read(map, data, s, places, &partition)) {
            client_check_row_release(row);
            return lilio_fail(info, LILIO_E_MALFORMED, "the map has no placement %u of width %u",
                              data->placement, codec_profile_total(&profile));
        }
        for (uint32_t i = 0; i < row->total_count; i++) {
            stripe->osds[i] = places[i].osd;
            stripe->errs[i] = (int16_t)(places[i].err ? places[i].err : LILIO_E_UNAVAILABLE);
            stripe->known |= (uint64_t)(places[i].known_bad || places[i].filling) << i;
            stripe->filling |= (uint64_t)(places[i].filling && !places[i].known_bad) << i;
            if (places[i].err == LILIO_E_BLANK)
                stripe->missing |= UINT64_C(1) << i;
        }
    }
    return LILIO_OK;
}

/* Whether the fragment is in a slot that is meant. */
static bool is_asked(const struct client_check_row *row, const struct proto_cluster_map *map,
                     const struct lilio_verify_osd_ask *ask, uint32_t stripe, uint32_t index)
{
    if (ask->slots)
        return client_slots_have(ask->slots, &row->row, stripe, index);
    return ask->osd == (ask->had ? proto_fragment_previous(map, &row->row, stripe, index)
                                 : row->stripes[stripe].osds[index]);
}

uint64_t client_check_row_only(struct client_check_row *row, const struct proto_cluster_map *map,
                               const struct lilio_verify_osd_ask *ask, uint64_t *ret_elsewhere)
{
    uint64_t left = 0;
    *ret_elsewhere = 0;
    for (uint32_t s = 0; s < row->stripe_count; s++)
        for (uint32_t i = 0; i < row->total_count; i++) {
            struct client_check_stripe *stripe = &row->stripes[s];
            bool asked = is_asked(row, map, ask, s, i);
            /* A slot that came back to it and fills is another one's yet. */
            bool here = ask->had || !ask->slots ||
                        (stripe->osds[i] == ask->osd && !(stripe->filling >> i & 1));
            if (asked && here) {
                left++;
                continue;
            }
            *ret_elsewhere += asked;
            stripe->left_out |= UINT64_C(1) << i;
            stripe->errs[i] = LILIO_OK; /* nothing to be asked for */
            stripe->missing &= ~(UINT64_C(1) << i);
        }
    return left;
}

void client_check_row_release(struct client_check_row *row)
{
    free(row->stripes);
    *row = (struct client_check_row){0};
}

static uint32_t fragment_size(const struct client_check_row *row, uint32_t stripe)
{
    struct codec_profile profile = client_profile_from_proto(&row->row.profile);
    return codec_fragment_size(&profile,
                               codec_stripe_length(&profile, row->row.stored_length, stripe));
}

void client_check_sum_get(const struct client_check_row *row, struct client_check_sum *ret)
{
    struct client_check_sum sum = {0};
    uint64_t all = (UINT64_C(1) << row->total_count) - 1;
    for (uint32_t s = 0; s < row->stripe_count; s++) {
        const struct client_check_stripe *stripe = &row->stripes[s];
        uint64_t bad = stripe->missing | stripe->corrupt;
        uint32_t good = (uint32_t)__builtin_popcountll(stripe->good);
        sum.fragments += row->total_count;
        sum.good += good;
        sum.good_bytes += (uint64_t)good * fragment_size(row, s);
        sum.missing += (uint32_t)__builtin_popcountll(stripe->missing);
        sum.corrupt += (uint32_t)__builtin_popcountll(stripe->corrupt);
        sum.unread += (uint32_t)__builtin_popcountll(all & ~(stripe->good | bad));
        client_judgement_add(&sum.judgement, row->row.profile.data_count, (uint8_t)row->total_count,
                             stripe->good, stripe->good | (all & ~(bad | stripe->known)));
    }
    *ret = sum;
}

/* ---- objects ---- */

void client_check_object_release(struct client_check_object *checked)
{
    for (size_t r = 0; r < checked->count; r++) {
        client_check_row_release(&checked->rows[r]);
        client_answer_release(&checked->answers[r]);
    }
    free(checked->rows);
    free(checked->answers);
    *checked = (struct client_check_object){0};
}

enum lilio_err client_check_object_init(struct client_check_object *checked,
                                        struct client_lane *lane,
                                        const struct client_object *object,
                                        const struct proto_cluster_map *map,
                                        struct lilio_errinfo *info)
{
    size_t count = object->object.row.extents_count;
    struct client_check_object made = {.rows = calloc(count + 1, sizeof *made.rows),
                                       .answers = calloc(count + 1, sizeof *made.answers)};
    enum lilio_err err = made.rows && made.answers
                             ? LILIO_OK
                             : lilio_fail(info, LILIO_E_NOMEM, "no memory for %zu runs", count);
    while (err == LILIO_OK && made.count < count) {
        struct proto_data_row row;
        size_t r = made.count++;
        err = client_object_row(&lane->control, object, r, &made.answers[r], &row, info);
        if (err == LILIO_OK)
            err = client_check_row_init(&made.rows[r], map, &row, info);
    }
    if (err != LILIO_OK)
        client_check_object_release(&made);
    else
        *checked = made;
    return err;
}

/* ---- queues ---- */

static struct queue *queue_of(struct check *check, uint32_t osd)
{
    for (size_t i = 0; i < check->queue_count; i++)
        if (check->queues[i].osd == osd)
            return &check->queues[i];
    return NULL;
}

static bool queue_add(struct check *check, uint32_t osd, struct item item)
{
    struct queue *queue = queue_of(check, osd);
    if (!queue) {
        struct queue *queues =
            reallocarray(check->queues, check->queue_count + 1, sizeof *check->queues);
        if (!queues)
            return false;
        check->queues = queues;
        queue = &queues[check->queue_count++];
        *queue = (struct queue){.osd = osd, .heard_ms = client_now_ms(check->lane->client)};
    }
    if (queue->count == queue->capacity) {
        size_t capacity = queue->capacity ? 2 * queue->capacity : 64;
        struct item *items = reallocarray(queue->items, capacity, sizeof *items);
        if (!items)
            return false;
        queue->items = items;
        queue->capacity = capacity;
    }
    queue->items[queue->count++] = item;
    return true;
}

static enum lilio_err fill_queues(struct check *check, size_t row_count, struct lilio_errinfo *info)
{
    const struct proto_cluster_map *map = proto_map_ref_get(*check->map_ref);
    for (size_t r = 0; r < row_count; r++)
        for (uint32_t s = 0; s < check->rows[r].stripe_count; s++)
            for (uint32_t i = 0; i < check->rows[r].total_count; i++) {
                struct client_check_stripe *stripe = &check->rows[r].stripes[s];
                struct client_link *link;
                uint32_t osd = stripe->osds[i];
                if (stripe->errs[i] != LILIO_E_UNAVAILABLE || !proto_map_osd(map, osd))
                    continue;
                if (!queue_of(check, osd) &&
                    client_lane_link(check->lane, map, osd, &link, NULL) != LILIO_OK)
                    continue;
                if (!queue_add(check, osd, (struct item){(uint32_t)r, s, (uint8_t)i}))
                    return lilio_fail(info, LILIO_E_NOMEM, "no memory for a verification");
            }
    return LILIO_OK;
}

static bool queue_done(const struct queue *queue)
{
    bool done = queue->next == queue->count;
    for (size_t b = 0; b < CLIENT_VERIFY_BATCHES; b++)
        done &= queue->batches[b].state == EMPTY;
    return done;
}

/* ---- answers ---- */

static void note_item(struct check *check, const struct item *item, enum lilio_err err)
{
    struct client_check_stripe *stripe = &check->rows[item->row].stripes[item->stripe];
    uint64_t bit = UINT64_C(1) << item->index;
    stripe->errs[item->index] = (int16_t)err;
    if (err == LILIO_OK)
        stripe->good |= bit;
    else if ((err == LILIO_E_MISSING || err == LILIO_E_BLANK) && !(stripe->filling & bit))
        stripe->missing |= bit;
    else if (err == LILIO_E_CORRUPT || err == LILIO_E_IO)
        stripe->corrupt |= bit;
    check->bytes += fragment_size(&check->rows[item->row], item->stripe);
}

/* Holds what an OSD read against the row. */
static enum lilio_err judge(const struct client_check_row *row, const struct item *item,
                            const struct proto_fragment_state *state)
{
    uint32_t expected;
    if (state->err != LILIO_OK)
        return (enum lilio_err)state->err;
    if (!proto_row_checksum(&row->row, item->stripe, item->index, &expected) ||
        state->checksum != expected || state->payload_length != fragment_size(row, item->stripe))
        return LILIO_E_CORRUPT;
    return LILIO_OK;
}

/* A batch ends with err for all its fragments. */
static void fail_batch(struct check *check, struct batch *batch, enum lilio_err err)
{
    batch->state = EMPTY;
    for (size_t i = 0; i < batch->count; i++)
        note_item(check, &batch->items[i], err);
}

static void refuse_batch(struct check *check, struct queue *queue, struct batch *batch,
                         enum lilio_err err)
{
    uint64_t now_ms = client_now_ms(check->lane->client);
    switch (err) {
    case LILIO_E_BUSY:
    case LILIO_E_EXHAUSTED:
    case LILIO_E_NOMEM:
        queue->not_before_ms = now_ms + client_backoff_ms(queue->busy_count++, &check->jitter);
        batch->state = FILLED;
        break;
    case LILIO_E_STALE_EPOCH:
    case LILIO_E_WRONG_OSD:
        check->want_map = true;
        queue->not_before_ms = now_ms + client_backoff_ms(queue->map_count, &check->jitter);
        if (queue->map_count++ < MAP_RETRIES_MAX)
            batch->state = FILLED;
        else
            fail_batch(check, batch, err);
        break;
    default: fail_batch(check, batch, err);
    }
}

static void take_states(struct check *check, struct queue *queue, struct batch *batch,
                        const struct proto_reply *reply)
{
    struct proto_fragment_states states;
    proto_arena_clear(check->lane->arena);
    if (reply->type != &proto_type_fragment_states ||
        proto_fragment_states_unpack(reply->body, check->lane->arena, &states, NULL) != LILIO_OK ||
        states.states_count != batch->count) {
        refuse_batch(check, queue, batch, client_reply_error(check->lane, reply));
        return;
    }
    batch->state = EMPTY;
    queue->busy_count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct item *item = &batch->items[i];
        note_item(check, item, judge(&check->rows[item->row], item, &states.states[i]));
    }
}

static void receive(struct check *check, struct client_link *link)
{
    struct queue *queue = queue_of(check, link->osd);
    struct client_fragment_id id;
    struct proto_reply *reply;
    while ((reply = client_lane_receive(check->lane, link, &id)) != NULL) {
        link->silent = false;
        if (queue) {
            queue->heard_ms = client_now_ms(check->lane->client);
            for (size_t b = 0; b < CLIENT_VERIFY_BATCHES; b++)
                if (id.index == b && queue->batches[b].state == UNDER_WAY &&
                    queue->batches[b].attempt == id.attempt)
                    take_states(check, queue, &queue->batches[b], reply);
        }
        proto_reply_free(&reply);
    }
}

/* ---- requests ---- */

/* The next fragments of the queue. */
static void fill_batch(struct queue *queue, struct batch *batch)
{
    size_t left = queue->count - queue->next;
    batch->count = left < KEYS_MAX ? left : KEYS_MAX;
    memcpy(batch->items, queue->items + queue->next, batch->count * sizeof *batch->items);
    queue->next += batch->count;
    batch->state = batch->count > 0 ? FILLED : EMPTY;
}

static void send_batch(struct check *check, struct queue *queue, uint32_t number,
                       struct client_link *link)
{
    const struct proto_cluster_map *map = proto_map_ref_get(*check->map_ref);
    struct proto_fragment_key keys[KEYS_MAX];
    struct batch *batch = &queue->batches[number];
    for (size_t i = 0; i < batch->count; i++) {
        const struct item *item = &batch->items[i];
        const struct proto_data_row *row = &check->rows[item->row].row;
        const struct proto_placement *placement = proto_map_placement(map, row->placement);
        uint8_t bits = placement ? placement->partition_bits : PROTO_PARTITION_BITS;
        keys[i] = (struct proto_fragment_key){
            .placement = row->placement,
            .partition = proto_partition(bits, row->oid, item->stripe),
            .oid = row->oid,
            .stripe = item->stripe,
            .index = item->index,
        };
    }
    batch->state = UNDER_WAY;
    batch->attempt = ++queue->attempt & 0xff;
    batch->sent_ms = client_now_ms(check->lane->client);
    struct proto_fragment_verify request = {.keys = keys, .keys_count = batch->count};
    struct client_fragment_id id = {.index = number, .attempt = batch->attempt};
    enum lilio_err err =
        client_lane_send(check->lane, link, id, map->epoch, check->lane->client->timeout_ms,
                         &proto_type_fragment_verify, &request, NULL);
    if (err == LILIO_E_UNAVAILABLE)
        batch->state = FILLED; /* the look at the link after this round tells */
    else if (err != LILIO_OK)
        refuse_batch(check, queue, batch, err);
}

/* Gives up what is left for an OSD that is not there, or is silent. */
static void give_up(struct check *check, struct queue *queue, enum lilio_err err)
{
    for (size_t b = 0; b < CLIENT_VERIFY_BATCHES; b++)
        if (queue->batches[b].state != EMPTY)
            fail_batch(check, &queue->batches[b], err);
    for (; queue->next < queue->count; queue->next++)
        note_item(check, &queue->items[queue->next], err);
}

static void serve_queue(struct check *check, struct queue *queue)
{
    struct client_lane *lane = check->lane;
    struct client_link *link = client_lane_find(lane, queue->osd);
    uint64_t now_ms = client_now_ms(lane->client);
    if (!link || !link->channel) {
        give_up(check, queue, LILIO_E_UNAVAILABLE);
        return;
    }
    if (!link->ready) {
        for (size_t b = 0; b < CLIENT_VERIFY_BATCHES; b++)
            if (queue->batches[b].state == UNDER_WAY)
                queue->batches[b].state = FILLED;
        if (now_ms >= link->since_ms + CLIENT_PATIENCE_MS || !link->expected)
            give_up(check, queue, LILIO_E_UNAVAILABLE);
        return;
    }
    uint64_t patience_ms = link->silent ? SILENT_AGAIN_MS : lane->client->timeout_ms;
    for (uint32_t b = 0; b < CLIENT_VERIFY_BATCHES; b++) {
        struct batch *batch = &queue->batches[b];
        uint64_t since_ms = batch->sent_ms > queue->heard_ms ? batch->sent_ms : queue->heard_ms;
        if (batch->state == UNDER_WAY && now_ms >= since_ms + patience_ms) {
            link->silent = true;
            give_up(check, queue, LILIO_E_TIMEOUT);
            return;
        }
        if (batch->state == EMPTY)
            fill_batch(queue, batch);
        if (batch->state == FILLED && now_ms >= queue->not_before_ms)
            send_batch(check, queue, b, link);
    }
}

static enum lilio_err renew_map(struct check *check, struct lilio_errinfo *info)
{
    struct proto_map_ref *map;
    enum lilio_err err = client_map_get(check->lane->client, &check->lane->control,
                                        /* min_epoch */ 0, &map, info);
    if (err != LILIO_OK)
        return err;
    proto_map_ref_drop(check->map_ref);
    *check->map_ref = map;
    check->want_map = false;
    return LILIO_OK;
}

static enum lilio_err work(struct check *check, void (*progress)(void *context, uint64_t bytes),
                           void *context, struct lilio_errinfo *info)
{
    struct client_lane *lane = check->lane;
    client_lane_settle(lane);
    for (;;) {
        bool done = true;
        for (size_t i = 0; i < check->queue_count; i++) {
            serve_queue(check, &check->queues[i]);
            done &= queue_done(&check->queues[i]);
        }
        if (progress && check->bytes > 0)
            progress(context, check->bytes);
        check->bytes = 0;
        if (done)
            return LILIO_OK;
        if (client_cancelled(lane->client))
            return lilio_fail(info, LILIO_E_CANCELLED, "cancelled");
        bool changed = client_lane_wait(lane, CLIENT_TICK_MS);
        for (size_t i = 0; i < lane->link_count; i++)
            if (lane->links[i].readable)
                receive(check, &lane->links[i]);
        for (size_t i = 0; changed && i < lane->link_count; i++)
            (void)client_lane_look(lane, &lane->links[i]); /* serve_queue sees it */
        if (check->want_map) {
            enum lilio_err err = renew_map(check, info);
            if (err != LILIO_OK)
                return err;
        }
    }
}

enum lilio_err client_check_run(struct client_lane *lane, struct proto_map_ref **map_ref,
                                struct client_check_row *rows, size_t row_count,
                                void (*progress)(void *context, uint64_t bytes), void *context,
                                struct lilio_errinfo *info)
{
    struct check check = {
        .lane = lane, .map_ref = map_ref, .rows = rows, .jitter = lane->client->trace_base};
    enum lilio_err err = fill_queues(&check, row_count, info);
    if (err == LILIO_OK)
        err = work(&check, progress, context, info);
    for (size_t i = 0; i < check.queue_count; i++)
        free(check.queues[i].items);
    free(check.queues);
    return err;
}
