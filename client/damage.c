/* lilio_damage_get: which objects are at risk, by name.
 *
 * The histogram of the coordinators says at once when none is. Otherwise the runs are walked as of
 * one index, and each is judged by its row and the states of OSDs, as `explain' does it. The worst
 * are kept, the others counted, so memory is bounded by how many are listed.
 */
#include "client/client_priv.h"

#include <stdlib.h>

#include "client/damage_list.h"
#include "client/lane.h"
#include "client/scan.h"

#include "base/banned.h"

enum { LIMIT = 10000 };

struct damage {
    struct client_lane *lane;
    const struct lilio_damage_ask *ask;
    const struct lilio_progress *progress;
    struct proto_map_ref *map_ref;
    struct proto_trusts trusts;
    struct client_damage_list list;
    uint64_t objects, unreadable, lost; /* counted by name, with those that are not kept */
    uint64_t done_bytes, total_bytes;
    struct lilio_errinfo *info;
};

void lilio_damage_release(struct lilio_damage *damage)
{
    for (size_t i = 0; i < damage->count; i++) {
        free(damage->list[i].bucket);
        free(damage->list[i].key);
    }
    free(damage->list);
    *damage = (struct lilio_damage){0};
}

/* ---- judging ---- */

static enum lilio_err add_name(struct damage *damage, const struct proto_name *name, uint64_t more,
                               const struct client_judgement *judgement)
{
    damage->objects++;
    damage->unreadable += judgement->unreadable > 0;
    damage->lost += judgement->lost > 0;
    enum lilio_err err =
        client_damage_list_add(&damage->list, name->bucket, name->key, more, judgement);
    return err ? lilio_fail(damage->info, err, "no memory for the list of damaged objects") : err;
}

/* The names in the bucket that was asked for; or the first one, if none of those told is. */
static enum lilio_err add_names(struct damage *damage, const struct proto_scan_row *row,
                                const struct client_judgement *judgement)
{
    const char *bucket = damage->ask->bucket;
    size_t told = 0, last = 0;
    for (size_t i = 0; i < row->names_count; i++)
        if (!bucket || base_slice_equal(row->names[i].bucket, base_slice_str(bucket))) {
            told++;
            last = i;
        }
    enum lilio_err err = LILIO_OK;
    uint64_t others = row->name_count > row->names_count ? row->name_count - row->names_count : 0;
    for (size_t i = 0; i < row->names_count && !err; i++) {
        bool wanted = !bucket || base_slice_equal(row->names[i].bucket, base_slice_str(bucket));
        if (wanted || (told == 0 && i == 0))
            err = add_name(damage, &row->names[i], i == last || told == 0 ? others : 0, judgement);
    }
    return err;
}

static enum lilio_err judge_page(void *context, const struct proto_scan_page *page)
{
    struct damage *damage = context;
    const struct proto_cluster_map *map = proto_map_ref_get(damage->map_ref);
    enum lilio_err err = LILIO_OK;
    for (size_t i = 0; i < page->rows_count && !err; i++) {
        struct client_judgement judgement = {0};
        const struct proto_data_row *row = &page->rows[i].data;
        err = proto_row_check(row, damage->info);
        if (!err)
            err = client_judge_row(&damage->trusts, map, row, &judgement, damage->info);
        if (!err && judgement.hurt > 0)
            err = add_names(damage, &page->rows[i], &judgement);
        damage->done_bytes += row->stored_length;
    }
    if (damage->progress)
        damage->progress->report(damage->progress->context, damage->done_bytes,
                                 damage->total_bytes);
    return err;
}

/* ---- before and after ---- */

/* OSDs as the map has them, but those that are given up. */
static enum lilio_err trusts_load(struct damage *damage)
{
    const struct proto_cluster_map *map = proto_map_ref_get(damage->map_ref);
    for (size_t i = 0; i < map->osds_count; i++)
        proto_trusts_set(&damage->trusts, &map->osds[i]);
    for (size_t i = 0; i < damage->ask->if_lost_count; i++) {
        uint32_t osd = damage->ask->if_lost[i];
        if (!proto_map_osd(map, osd))
            return lilio_fail(damage->info, LILIO_E_NOT_FOUND, "the cluster has no osd.%u", osd);
        damage->trusts.by_id[osd] = PROTO_TRUST_GONE;
    }
    return LILIO_OK;
}

/* For progress alone; objects come and go. */
static void estimate_bytes(struct damage *damage)
{
    struct lilio_bucket *buckets = NULL;
    size_t count = 0;
    damage->total_bytes = UINT64_MAX;
    if (!damage->progress ||
        lilio_bucket_list(damage->lane->client, &buckets, &count, NULL) != LILIO_OK)
        return;
    damage->total_bytes = 0;
    for (size_t i = 0; i < count; i++)
        if (!damage->ask->bucket || strcmp(damage->ask->bucket, buckets[i].name) == 0)
            damage->total_bytes += buckets[i].object_bytes;
    free(buckets);
}

static enum lilio_err list_public(struct damage *damage, struct lilio_damage *ret)
{
    struct client_damage_list *list = &damage->list;
    ret->objects = damage->objects;
    ret->unreadable = damage->unreadable;
    ret->lost = damage->lost;
    ret->omitted = list->omitted;
    client_damage_list_finish(list);
    ret->list = calloc(list->count + 1, sizeof *ret->list);
    if (!ret->list)
        return lilio_fail(damage->info, LILIO_E_NOMEM, "no memory for the damaged objects");
    if (list->omitted == 0) /* objects of several runs are one each */
        ret->objects = ret->unreadable = ret->lost = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct client_damage_item *item = &list->items[i];
        const struct client_judgement *judgement = &item->judgement;
        ret->list[ret->count++] = (struct lilio_damage_object){
            .bucket = item->bucket,
            .key = item->key,
            .more_names = item->more_names,
            .data_count = judgement->data_count,
            .total_count = judgement->total_count,
            .good = judgement->good,
            .kept = judgement->kept,
            .stripes = judgement->stripes,
            .hurt = judgement->hurt,
            .survives = client_judgement_survives(judgement),
            .readable = judgement->unreadable == 0,
            .lost = judgement->lost > 0,
        };
        item->bucket = item->key = NULL; /* ret has them */
        if (list->omitted > 0)
            continue;
        ret->objects++;
        ret->unreadable += judgement->unreadable > 0;
        ret->lost += judgement->lost > 0;
    }
    return LILIO_OK;
}

static enum lilio_err look(struct damage *damage, struct lilio_damage *ret)
{
    struct client_control *control = &damage->lane->control;
    struct lilio_client *client = damage->lane->client;
    struct client_bucket bucket = {0};
    struct client_scan scan = {0};
    enum lilio_err err = LILIO_OK;
    if (damage->ask->bucket)
        err = client_bucket_find(client, control, damage->ask->bucket, /* cached */ false, &bucket,
                                 damage->info);
    estimate_bytes(damage);
    if (err == LILIO_OK)
        err = client_scan_open(&scan, control, bucket.id, damage->info);
    if (err == LILIO_OK) {
        client_note_epoch(client, scan.opened.epoch);
        err = client_map_get(client, control, scan.opened.epoch, &damage->map_ref, damage->info);
    }
    if (err == LILIO_OK)
        err = trusts_load(damage);
    if (err == LILIO_OK)
        err = client_scan_walk(&scan, judge_page, damage, damage->info);
    if (err == LILIO_OK)
        err = list_public(damage, ret);
    ret->index = scan.opened.index;
    ret->walked = true;
    client_scan_close(&scan);
    return err;
}

/* Whether the coordinators know of no stripe that is not whole. */
static enum lilio_err all_whole(struct lilio_client *client, bool *ret_whole, uint64_t *ret_index,
                                struct lilio_errinfo *info)
{
    struct lilio_redundancy redundancy;
    enum lilio_err err = lilio_redundancy_get(client, &redundancy, info);
    if (err != LILIO_OK)
        return err;
    *ret_whole = redundancy.whole == redundancy.stripes;
    *ret_index = redundancy.index;
    lilio_redundancy_release(&redundancy);
    return LILIO_OK;
}

enum lilio_err lilio_damage_get(struct lilio_client *client, const struct lilio_damage_ask *ask,
                                const struct lilio_progress *progress,
                                struct lilio_damage *ret_damage, struct lilio_errinfo *info)
{
    struct lilio_damage made = {0};
    bool whole = false;
    enum lilio_err err = LILIO_OK;
    if (ask->if_lost_count == 0 && !ask->bucket)
        err = all_whole(client, &whole, &made.index, info);
    if (err != LILIO_OK || whole) {
        *ret_damage = made;
        return err;
    }
    struct damage *damage = calloc(1, sizeof *damage);
    if (!damage)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a walk");
    damage->ask = ask;
    damage->progress = progress && progress->report ? progress : NULL;
    damage->info = info;
    damage->list.limit = ask->limit ? ask->limit : LIMIT;
    err = client_lane_take(client, &damage->lane, info);
    if (err == LILIO_OK)
        err = look(damage, &made);
    if (err == LILIO_OK)
        *ret_damage = made;
    else
        lilio_damage_release(&made);
    client_damage_list_release(&damage->list);
    proto_map_ref_drop(&damage->map_ref);
    client_lane_give(&damage->lane);
    free(damage);
    return err;
}
