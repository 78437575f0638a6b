/* lilio_explain_get: where each fragment of an object is, and what is known or found of it. */
#include "client/client_priv.h"

#include <stdlib.h>

#include "client/check.h"

#include "base/banned.h"

void lilio_explain_release(struct lilio_explain *explain)
{
    lilio_object_release(&explain->object);
    free(explain->fragments);
    *explain = (struct lilio_explain){0};
}

/* What the maps alone say about a fragment. */
static enum lilio_err known_state(const struct proto_cluster_map *map,
                                  const struct client_check_stripe *stripe, uint32_t index)
{
    if ((stripe->known & ~stripe->filling) >> index & 1)
        return LILIO_E_MISSING;
    const struct proto_osd *osd = proto_map_osd(map, stripe->osds[index]);
    if (stripe->filling >> index & 1)
        return osd && proto_osd_trust(osd) > PROTO_TRUST_BLANK ? LILIO_E_UNAVAILABLE
                                                               : LILIO_E_BLANK;
    switch (osd ? proto_osd_trust(osd) : PROTO_TRUST_GONE) {
    case PROTO_TRUST_GOOD:
    case PROTO_TRUST_FAILING: return LILIO_OK;
    case PROTO_TRUST_AWAY: return LILIO_E_UNAVAILABLE;
    case PROTO_TRUST_GONE:
    case PROTO_TRUST_BLANK: break;
    }
    return LILIO_E_BLANK;
}

/* Without reading: what the maps say stands in for what was found. */
static void believe_maps(const struct proto_cluster_map *map, struct client_check_row *row)
{
    for (uint32_t s = 0; s < row->stripe_count; s++)
        for (uint32_t i = 0; i < row->total_count; i++) {
            struct client_check_stripe *stripe = &row->stripes[s];
            enum lilio_err err = known_state(map, stripe, i);
            stripe->errs[i] = (int16_t)err;
            if (err == LILIO_OK)
                stripe->good |= UINT64_C(1) << i;
            else if (err == LILIO_E_MISSING || err == LILIO_E_BLANK)
                stripe->missing |= UINT64_C(1) << i;
        }
}

static enum lilio_err list_fragments(const struct client_check_object *checked,
                                     struct lilio_explain *explain, struct lilio_errinfo *info)
{
    struct client_judgement judgement = {0};
    size_t count = 0;
    for (size_t r = 0; r < checked->count; r++)
        count += (size_t)checked->rows[r].stripe_count * checked->rows[r].total_count;
    explain->fragments = calloc(count + 1, sizeof *explain->fragments);
    if (!explain->fragments)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for %zu fragments", count);
    for (size_t r = 0; r < checked->count; r++) {
        const struct client_check_row *row = &checked->rows[r];
        struct client_check_sum sum;
        client_check_sum_get(row, &sum);
        client_judgement_merge(&judgement, &sum.judgement);
        for (uint32_t s = 0; s < row->stripe_count; s++)
            for (uint32_t i = 0; i < row->total_count; i++)
                explain->fragments[explain->fragment_count++] = (struct lilio_fragment){
                    .stripe = explain->stripe_count + s,
                    .index = i,
                    .osd = row->stripes[s].osds[i],
                    .err = (enum lilio_err)row->stripes[s].errs[i],
                    .known_missing = row->stripes[s].known >> i & 1,
                    .filling = row->stripes[s].filling >> i & 1,
                };
        explain->stripe_count += row->stripe_count;
    }
    explain->survives = client_judgement_survives(&judgement);
    explain->lost = judgement.lost > 0;
    explain->readable_now = judgement.unreadable == 0;
    explain->worst_good = judgement.good;
    explain->worst_kept = judgement.kept;
    return LILIO_OK;
}

/* Who may have what is not where it belongs. */
static void tell_previous(const struct client_check_object *checked,
                          const struct proto_cluster_map *map, struct lilio_explain *explain)
{
    size_t at = 0;
    for (size_t r = 0; r < checked->count; r++)
        for (uint32_t s = 0; s < checked->rows[r].stripe_count; s++)
            for (uint32_t i = 0; i < checked->rows[r].total_count; i++) {
                struct lilio_fragment *fragment = &explain->fragments[at++];
                uint32_t osd = proto_fragment_previous(map, &checked->rows[r].row, s, i);
                fragment->has_previous = fragment->err != LILIO_OK && osd != PROTO_OSD_NONE;
                fragment->previous = fragment->has_previous ? osd : 0;
            }
}

enum lilio_err lilio_explain_get(struct lilio_client *client, const char *bucket, const char *key,
                                 bool verify, struct lilio_explain *ret_explain,
                                 struct lilio_errinfo *info)
{
    struct client_lane *lane;
    struct proto_map_ref *map_ref = NULL;
    struct client_object object;
    struct client_check_object checked = {0};
    struct lilio_explain made = {0};
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    err = client_object_lookup(&lane->control, bucket, key, &object, info);
    if (err != LILIO_OK) {
        client_lane_give(&lane);
        return err;
    }
    err = client_map_get(client, &lane->control, object.object.epoch, &map_ref, info);
    if (err == LILIO_OK)
        err = client_check_object_init(&checked, lane, &object, proto_map_ref_get(map_ref), info);
    if (err == LILIO_OK && verify)
        err = client_check_run(lane, &map_ref, checked.rows, checked.count, NULL, NULL, info);
    for (size_t r = 0; err == LILIO_OK && !verify && r < checked.count; r++)
        believe_maps(proto_map_ref_get(map_ref), &checked.rows[r]);
    if (err == LILIO_OK)
        err = client_object_public(&object, bucket, key, &made.object, info);
    if (err == LILIO_OK)
        err = list_fragments(&checked, &made, info);
    if (err == LILIO_OK)
        tell_previous(&checked, proto_map_ref_get(map_ref), &made);
    if (err == LILIO_OK)
        *ret_explain = made;
    else
        lilio_explain_release(&made);
    client_check_object_release(&checked);
    proto_map_ref_drop(&map_ref);
    client_object_release(&object);
    client_lane_give(&lane);
    return err;
}
