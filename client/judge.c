#include "client/judge.h"

#include <stdlib.h>

#include "base/banned.h"

enum { EXCEPTION_MOVED = 2 };

/* ---- adding up ---- */

/* Orders by what matters: beyond help, out of reach, then by how many may still go. */
static int stripes_compare(const struct client_judgement *a, const struct client_judgement *b)
{
    bool a_lost = a->kept < a->data_count, b_lost = b->kept < b->data_count;
    if (a_lost != b_lost)
        return a_lost ? 1 : -1;
    int a_margin = (int)(a_lost ? a->kept : a->good) - a->data_count;
    int b_margin = (int)(b_lost ? b->kept : b->good) - b->data_count;
    return b_margin - a_margin;
}

static void worst_take(struct client_judgement *into, const struct client_judgement *from)
{
    if (into->stripes > 0 && stripes_compare(from, into) <= 0)
        return;
    into->data_count = from->data_count;
    into->total_count = from->total_count;
    into->good = from->good;
    into->kept = from->kept;
}

void client_judgement_merge(struct client_judgement *into, const struct client_judgement *from)
{
    if (from->stripes == 0)
        return;
    worst_take(into, from);
    into->stripes += from->stripes;
    into->hurt += from->hurt;
    into->unreadable += from->unreadable;
    into->lost += from->lost;
}

void client_judgement_add(struct client_judgement *judgement, uint8_t data_count,
                          uint8_t total_count, uint64_t good, uint64_t kept)
{
    struct client_judgement one = {
        .data_count = data_count,
        .total_count = total_count,
        .good = (uint32_t)__builtin_popcountll(good),
        .kept = (uint32_t)__builtin_popcountll(kept),
        .stripes = 1,
    };
    one.hurt = one.good < total_count;
    one.unreadable = one.good < data_count;
    one.lost = one.kept < data_count;
    client_judgement_merge(judgement, &one);
}

uint32_t client_judgement_survives(const struct client_judgement *judgement)
{
    return judgement->good > judgement->data_count ? judgement->good - judgement->data_count : 0;
}

int client_judgement_compare(const struct client_judgement *a, const struct client_judgement *b)
{
    int order = stripes_compare(a, b);
    if (order != 0)
        return order;
    return a->hurt > b->hurt ? 1 : a->hurt < b->hurt ? -1 : 0;
}

/* ---- by the maps ---- */

/* A mask of bad fragments per stripe; NULL in *ret when there is none. */
static enum lilio_err bad_masks(const struct proto_data_row *row, uint64_t stripes, uint64_t **ret,
                                struct lilio_errinfo *info)
{
    *ret = NULL;
    if (row->exceptions_count == 0)
        return LILIO_OK;
    uint64_t *masks = calloc((size_t)stripes, sizeof *masks);
    if (!masks)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a run of %llu stripes",
                          (unsigned long long)stripes);
    for (size_t i = 0; i < row->exceptions_count; i++) {
        const struct proto_exception *exception = &row->exceptions[i];
        for (uint32_t n = 0; n < exception->stripe_count && exception->kind != EXCEPTION_MOVED; n++)
            masks[exception->first_stripe + n] |= UINT64_C(1) << exception->index;
    }
    *ret = masks;
    return LILIO_OK;
}

enum lilio_err client_judge_row(const struct proto_trusts *trusts,
                                const struct proto_cluster_map *map,
                                const struct proto_data_row *row,
                                struct client_judgement *judgement, struct lilio_errinfo *info)
{
    struct codec_profile profile = client_profile_from_proto(&row->profile);
    const struct proto_placement *placement = proto_map_placement(map, row->placement);
    uint64_t stripes = codec_stripe_count(&profile, row->stored_length), *bad;
    uint8_t total = (uint8_t)codec_profile_total(&profile);
    if (!placement || placement->width != total)
        return lilio_fail(info, LILIO_E_MALFORMED, "the map has no placement %u of width %u",
                          row->placement, total);
    enum lilio_err err = bad_masks(row, stripes, &bad, info);
    for (uint64_t stripe = 0; !err && stripe < stripes; stripe++) {
        uint32_t partition = proto_partition(placement->partition_bits, row->oid, (uint32_t)stripe);
        struct proto_standing standing = proto_stripe_standing(
            trusts, placement, partition, row->profile.data_count, bad ? bad[stripe] : 0);
        client_judgement_add(judgement, row->profile.data_count, total, standing.good,
                             standing.kept);
    }
    free(bad);
    return err;
}
