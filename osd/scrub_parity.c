#include "osd/scrub_parity.h"

#include <stdlib.h>

#include "osd/limits.h"
#include "osd/rebuild.h"
#include "osd/rebuild_peers.h"

#include "base/banned.h"

enum { WAIT_ITEMS = CODEC_TOTAL_MAX, BUSY_MS = 5 };

struct osd_parity {
    struct osd_node *node;
    struct osd_peers *peers;
    struct proto_arena *arena;
    struct codec_coder *coder; /* of the profile met last */
    struct codec_plan plan;
    uint8_t *blocks; /* CODEC_PARITY_MAX of CODEC_BLOCK bytes */
    uint64_t serial; /* of the stripe at hand */

    /* The stripe at hand. */
    const struct proto_cluster_map *map;
    const struct proto_data_row *row;
    uint32_t stripe, length;
    struct base_fragment_key key;
    uint64_t to_ask, asked; /* masks */
    struct proto_reply *replies[CODEC_TOTAL_MAX];
};

enum lilio_err osd_parity_new(struct osd_node *node, struct proto_context *context,
                              struct osd_parity **ret_parity)
{
    struct osd_parity *parity = calloc(1, sizeof *parity);
    if (!parity)
        return LILIO_E_NOMEM;
    parity->node = node;
    parity->blocks = aligned_alloc(CODEC_ALIGN, (size_t)CODEC_PARITY_MAX * CODEC_BLOCK);
    enum lilio_err err = parity->blocks ? LILIO_OK : LILIO_E_NOMEM;
    if (!err)
        err = osd_peers_new(node, context, &parity->peers);
    if (!err)
        err = proto_arena_new(&parity->arena);
    if (err)
        osd_parity_free(&parity);
    *ret_parity = parity;
    return err;
}

static void replies_drop(struct osd_parity *parity)
{
    for (size_t i = 0; i < CODEC_TOTAL_MAX; i++)
        proto_reply_free(&parity->replies[i]);
}

void osd_parity_free(struct osd_parity **parity)
{
    struct osd_parity *mine = *parity;
    *parity = NULL;
    if (!mine)
        return;
    replies_drop(mine);
    if (mine->peers)
        osd_peers_free(&mine->peers);
    proto_arena_free(&mine->arena);
    codec_coder_free(&mine->coder);
    free(mine->blocks);
    free(mine);
}

static uint64_t now_ms(const struct osd_parity *parity)
{
    return base_now_ms(osd_node_clock(parity->node));
}

/* ---- reading the data ---- */

static enum lilio_err ask(struct osd_parity *parity, uint32_t index)
{
    struct proto_fragment_get get = {
        .key = {.placement = parity->key.placement,
                .partition = parity->key.partition,
                .oid = parity->key.oid,
                .stripe = parity->stripe,
                .index = (uint8_t)index},
        .block_count = codec_block_count(parity->length),
        .repair = true,
    };
    struct proto_header header = {
        .sequence = parity->serial << 8 | index,
        .epoch = osd_node_epoch(parity->node),
        .deadline_ms = OSD_REBUILD_SILENCE_MS,
    };
    uint32_t osd = proto_fragment_osd(parity->map, parity->row, parity->stripe, index);
    return osd == PROTO_OSD_NONE
               ? LILIO_E_MISSING
               : osd_peers_ask(parity->peers, osd, &header, &proto_type_fragment_get, &get);
}

/* Those that are busy are asked again. */
static enum lilio_err ask_all(struct osd_parity *parity)
{
    for (uint64_t left = parity->to_ask; left; left &= left - 1) {
        uint32_t index = (uint32_t)__builtin_ctzll(left);
        enum lilio_err err = ask(parity, index);
        if (err == LILIO_E_BUSY)
            continue;
        if (err)
            return err == LILIO_E_NOMEM ? err : LILIO_E_MISSING;
        parity->to_ask &= ~(UINT64_C(1) << index);
        parity->asked |= UINT64_C(1) << index;
    }
    return LILIO_OK;
}

static enum lilio_err reply_check(struct osd_parity *parity, uint32_t index,
                                  const struct proto_reply *reply)
{
    struct proto_fragment fragment;
    struct proto_error error;
    uint32_t checksum;
    proto_arena_clear(parity->arena);
    if (reply->type == &proto_type_error)
        return proto_error_unpack(reply->body, parity->arena, &error, NULL) == LILIO_OK &&
                       error.code == LILIO_E_BUSY
                   ? LILIO_E_BUSY
                   : LILIO_E_MISSING;
    if (reply->type != &proto_type_fragment ||
        proto_fragment_unpack(reply->body, parity->arena, &fragment, NULL) ||
        !proto_row_checksum(parity->row, parity->stripe, index, &checksum) ||
        osd_source_check(&fragment, reply->payload, parity->length, checksum, NULL))
        return LILIO_E_MISSING; /* its own OSD finds out what is wrong with it */
    return LILIO_OK;
}

/* Takes reply over. */
static enum lilio_err answered(struct osd_parity *parity, struct proto_reply *reply)
{
    uint32_t index = (uint32_t)(reply->header.sequence & 0xff);
    enum lilio_err err = LILIO_OK;
    if (reply->header.sequence >> 8 != parity->serial || index >= CODEC_TOTAL_MAX ||
        !(parity->asked >> index & 1)) {
        proto_reply_free(&reply); /* late */
        return LILIO_OK;
    }
    parity->asked &= ~(UINT64_C(1) << index);
    err = reply_check(parity, index, reply);
    if (!err) {
        parity->replies[index] = reply;
        return LILIO_OK;
    }
    proto_reply_free(&reply);
    if (err != LILIO_E_BUSY)
        return err;
    parity->to_ask |= UINT64_C(1) << index;
    return LILIO_OK;
}

static enum lilio_err take_all(struct osd_parity *parity)
{
    enum lilio_err err = LILIO_OK;
    struct proto_reply *reply;
    uint32_t osd;
    while (!err && (reply = osd_peers_receive(parity->peers, &osd)) != NULL)
        err = answered(parity, reply);
    while (osd_peers_broken(parity->peers, &osd))
        err = err ? err : LILIO_E_MISSING;
    return err;
}

/* False: it is to stop. */
static bool wait_some(struct osd_parity *parity)
{
    struct proto_wait_item items[1 + WAIT_ITEMS] = {{.fd = osd_node_stop_fd(parity->node)}};
    size_t count = 1 + osd_peers_items(parity->peers, items + 1, WAIT_ITEMS);
    (void)proto_wait(items, count, parity->to_ask ? BUSY_MS : OSD_REBUILD_SILENCE_MS / 8);
    return !items[0].ret_readable;
}

static enum lilio_err data_read(struct osd_parity *parity)
{
    uint64_t until = now_ms(parity) + OSD_REBUILD_SILENCE_MS;
    enum lilio_err err = LILIO_OK;
    osd_peers_refresh(parity->peers);
    while (!err && (parity->to_ask || parity->asked)) {
        err = ask_all(parity);
        if (!err && !wait_some(parity))
            err = LILIO_E_CANCELLED;
        if (!err)
            err = take_all(parity);
        if (!err && (parity->to_ask || parity->asked) && now_ms(parity) >= until)
            err = LILIO_E_MISSING;
    }
    for (uint64_t left = err == LILIO_E_MISSING ? parity->asked : 0; left; left &= left - 1)
        if (now_ms(parity) >= until)
            osd_peers_silent(parity->peers,
                             proto_fragment_osd(parity->map, parity->row, parity->stripe,
                                                (uint32_t)__builtin_ctzll(left)));
    return err;
}

/* ---- coding it again ---- */

static bool same_profile(const struct codec_profile *a, const struct codec_profile *b)
{
    return a->data_count == b->data_count && a->parity_count == b->parity_count &&
           a->fragment_size == b->fragment_size && a->generator == b->generator;
}

/* What makes the parity of the data, unless it was made for the stripe before. */
static enum lilio_err plan_ready(struct osd_parity *parity, const struct codec_profile *profile)
{
    if (parity->coder && same_profile(codec_coder_profile(parity->coder), profile))
        return LILIO_OK;
    codec_coder_free(&parity->coder);
    enum lilio_err err = codec_coder_new(profile, &parity->coder, NULL);
    uint64_t data = (UINT64_C(1) << profile->data_count) - 1;
    uint64_t all = (UINT64_C(1) << codec_profile_total(profile)) - 1;
    if (!err)
        err = codec_plan_make(parity->coder, data, all & ~data, &parity->plan, NULL);
    if (err)
        codec_coder_free(&parity->coder);
    return err;
}

/* Block by block, as the checksums are. */
static uint64_t misfits(struct osd_parity *parity, const uint8_t *own)
{
    const struct codec_plan *plan = &parity->plan;
    uint32_t sums[CODEC_PARITY_MAX][CODEC_BLOCKS_MAX];
    uint8_t *sources[CODEC_TOTAL_MAX], *targets[CODEC_PARITY_MAX];
    for (uint32_t t = 0; t < plan->target_count; t++)
        targets[t] = parity->blocks + (size_t)t * CODEC_BLOCK;
    for (uint32_t at = 0; at < parity->length; at += CODEC_BLOCK) {
        uint32_t part = parity->length - at < CODEC_BLOCK ? parity->length - at : CODEC_BLOCK;
        for (uint32_t s = 0; s < plan->source_count; s++) {
            const struct proto_reply *reply = parity->replies[plan->source[s]];
            const uint8_t *bytes = plan->source[s] == 0 ? own : reply->payload.data;
            sources[s] = (uint8_t *)(uintptr_t)bytes + at; /* read only */
        }
        codec_plan_run(plan, part, sources, targets);
        for (uint32_t t = 0; t < plan->target_count; t++)
            sums[t][at / CODEC_BLOCK] = codec_crc32c(0, targets[t], part);
    }
    uint64_t bad = 0;
    for (uint32_t t = 0; t < plan->target_count; t++) {
        uint32_t checksum, blocks = codec_block_count(parity->length);
        if (!proto_row_checksum(parity->row, parity->stripe, plan->target[t], &checksum) ||
            codec_fragment_checksum(sums[t], blocks) != checksum)
            bad |= UINT64_C(1) << plan->target[t];
    }
    return bad;
}

enum lilio_err osd_parity_check(struct osd_parity *parity, const struct proto_cluster_map *map,
                                const struct proto_data_row *row, uint32_t stripe,
                                const uint8_t *own, uint64_t *ret_bad)
{
    const struct proto_placement *placement = proto_map_placement(map, row->placement);
    struct codec_profile profile = osd_rebuild_profile(row);
    uint64_t data = (UINT64_C(1) << profile.data_count) - 1;
    uint64_t doubtful = proto_row_missing(row, stripe) | proto_row_filling(map, row, stripe);
    if (!placement || doubtful & data)
        return LILIO_E_MISSING;
    parity->serial++;
    parity->map = map;
    parity->row = row;
    parity->stripe = stripe;
    parity->length =
        codec_fragment_size(&profile, codec_stripe_length(&profile, row->stored_length, stripe));
    parity->key = (struct base_fragment_key){
        .placement = row->placement,
        .partition = proto_partition(placement->partition_bits, row->oid, stripe),
        .oid = row->oid,
    };
    parity->to_ask = data & ~UINT64_C(1);
    parity->asked = 0;
    enum lilio_err err = plan_ready(parity, &profile);
    if (!err)
        err = data_read(parity);
    if (!err)
        *ret_bad = misfits(parity, own);
    replies_drop(parity);
    return err;
}
