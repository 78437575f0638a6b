/* A round, on the worker's thread:
 *
 *   1. The slots of this OSD are listed from the map, by partition, as the index is sorted.
 *   2. The index is walked page by page (on the owner's thread, keys only). Behind a few slots the
 *      leader is asked about their sums. What differs is looked at again a little later.
 *   3. What differed at each look is walked: each run of the pinned maps, of its stripes those in
 *      such a slot, and the index is asked whether it has them. What it has not is reported.
 *
 * An error ends the round; it begins anew later. Nothing of it is kept over a restart.
 */
#include "osd/inventory.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "osd/thread.h"
#include "osd/walk.h"

#include "base/banned.h"

enum {
    PAGE = 512, /* keys looked at together */
    PAGE_PAUSE_MS = 2,
    BATCH = 128, /* slots asked about together */
    LOOKS = 4,
    LOOK_PAUSE_MS = 250, /* doubling */
    CHECKS = 128,        /* stripes looked for together */
    LAPSES_MAX = 3,
    RETRY_MS_MIN = 2000,
    RETRY_MS_MAX = 60000,
    REST_MS = 60000,
};

enum phase { PHASE_NONE, PHASE_WANTED, PHASE_SUMS, PHASE_WALK, PHASE_DONE };
enum verdict { SAME = 1, DIFFERS = 2, NOT_OURS = 3 };

/* A slot of this OSD. */
struct slot {
    uint32_t placement, partition;
    uint8_t index;
    bool settled; /* it was the same once, or is not ours any more */
    uint64_t sum;
};

/* A stripe of a run that has to be here. */
struct check {
    const struct proto_data_row *row;
    uint32_t stripe, partition;
    uint64_t wanted, found; /* masks of fragment indexes */
};

struct osd_inventory {
    struct osd_inventory_options options;
    struct osd_thread thread;

    pthread_mutex_t lock; /* guards what follows */
    struct proto_inventory_report shown;
    char reason[256];
    bool ordered;

    /* Worker only. */
    struct osd_worker worker;
    struct osd_walk walk;
    struct proto_map_ref *map; /* of the round */
    uint32_t incarnation;
    struct base_uuid disk_uuid;
    struct slot *slots;
    size_t slot_count;
    struct proto_inventory_report found;
    uint64_t retry_ms;
    struct base_fragment_key after, keys[PAGE];
    size_t key_count;
    struct check checks[CHECKS];
    size_t check_count;
};

static struct osd_node *node_of(const struct osd_inventory *inventory)
{
    return inventory->options.node;
}

static uint32_t self(const struct osd_inventory *inventory)
{
    return osd_node_id(node_of(inventory));
}

/* ---- on the owner's thread ---- */

/* The store of the disk the round began with. */
static enum lilio_err store_get(struct osd_inventory *inventory, struct osd_store **ret,
                                struct lilio_errinfo *info)
{
    struct osd_node_view view;
    osd_node_view(node_of(inventory), &view);
    *ret = osd_home_store(inventory->options.home);
    if (!*ret || view.state != OSD_NODE_SERVING ||
        !base_uuid_equal(view.disk_uuid, inventory->disk_uuid))
        return lilio_fail(info, LILIO_E_UNAVAILABLE, "this OSD does not serve");
    return LILIO_OK;
}

static enum lilio_err run_list(void *context, struct lilio_errinfo *info)
{
    struct osd_inventory *inventory = context;
    struct osd_store *store;
    enum lilio_err err = store_get(inventory, &store, info);
    return err ? err
               : store->ops->list(store, &inventory->after, inventory->keys, PAGE,
                                  &inventory->key_count, info);
}

static enum lilio_err run_find(void *context, struct lilio_errinfo *info)
{
    struct osd_inventory *inventory = context;
    struct osd_store *store;
    enum lilio_err err = store_get(inventory, &store, info);
    for (size_t i = 0; i < inventory->check_count && !err; i++) {
        struct check *check = &inventory->checks[i];
        err = store->ops->find(store, check->row->placement, check->partition, check->row->oid,
                               check->stripe, &check->found, info);
    }
    return err;
}

/* ---- the slots ---- */

static size_t own_slots(const struct osd_inventory *inventory,
                        const struct proto_placement *placement, uint32_t partition,
                        struct slot *ret)
{
    uint64_t filling = proto_slots_filling(placement, partition);
    size_t count = 0;
    for (uint32_t index = 0; index < placement->width; index++) {
        if (proto_slot_osd(placement, partition, index) != self(inventory) || filling >> index & 1)
            continue;
        if (ret)
            ret[count] = (struct slot){
                .placement = placement->id, .partition = partition, .index = (uint8_t)index};
        count++;
    }
    return count;
}

/* Lists them all (ret NULL: counts only); placements of a map are sorted, and so is the index. */
static size_t slots_list(const struct osd_inventory *inventory, const struct proto_cluster_map *map,
                         struct slot *ret)
{
    size_t count = 0;
    for (size_t p = 0; p < map->placements_count; p++) {
        const struct proto_placement *placement = &map->placements[p];
        for (uint32_t partition = 0; partition < 1u << placement->partition_bits; partition++)
            count += own_slots(inventory, placement, partition, ret ? ret + count : NULL);
    }
    return count;
}

static enum lilio_err begin(struct osd_inventory *inventory, struct lilio_errinfo *info)
{
    struct osd_node_view view;
    osd_node_view(node_of(inventory), &view);
    inventory->incarnation = view.incarnation;
    inventory->disk_uuid = view.disk_uuid;
    inventory->found = (struct proto_inventory_report){0};
    proto_map_ref_drop(&inventory->map);
    inventory->map = osd_node_map_take(node_of(inventory));
    if (view.state != OSD_NODE_SERVING || !inventory->map)
        return lilio_fail(info, LILIO_E_UNAVAILABLE, "this OSD does not serve");
    const struct proto_cluster_map *map = proto_map_ref_get(inventory->map);
    const struct proto_osd *osd = proto_map_osd(map, self(inventory));
    if (!osd || osd->incarnation != view.incarnation)
        return lilio_fail(info, LILIO_E_STALE_EPOCH, "the map does not know this disk yet");
    if (!osd->complete)
        return lilio_fail(info, LILIO_E_INVALID, "this OSD has to be rebuilt first");
    free(inventory->slots);
    inventory->slot_count = slots_list(inventory, map, NULL);
    inventory->slots = calloc(inventory->slot_count + 1, sizeof *inventory->slots);
    if (!inventory->slots)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for %zu slots", inventory->slot_count);
    inventory->found.slots = slots_list(inventory, map, inventory->slots);
    return LILIO_OK;
}

/* ---- sums ---- */

static int compare(const struct slot *slot, uint32_t placement, uint32_t partition)
{
    if (slot->placement != placement)
        return slot->placement < placement ? -1 : 1;
    return slot->partition < partition ? -1 : slot->partition > partition;
}

/* About slots [from, to), those that are not settled: at most BATCH of one placement. */
static enum lilio_err ask(struct osd_inventory *inventory, const size_t *places, size_t count,
                          struct lilio_errinfo *info)
{
    struct proto_inventory_item items[BATCH];
    struct proto_inventory_answer answer;
    for (size_t i = 0; i < count; i++) {
        const struct slot *slot = &inventory->slots[places[i]];
        items[i] = (struct proto_inventory_item){
            .partition = slot->partition, .slot = slot->index, .sum = slot->sum};
    }
    struct proto_inventory_ask question = {
        .osd = self(inventory),
        .incarnation = inventory->incarnation,
        .placement = count > 0 ? inventory->slots[places[0]].placement : 0,
        .items = items,
        .items_count = count,
    };
    enum lilio_err err =
        osd_worker_call(&inventory->worker, &proto_type_inventory_ask, &question,
                        &proto_type_inventory_answer, inventory->worker.arena, &answer, info);
    if (!err && answer.verdicts.size != count)
        err = lilio_fail(info, LILIO_E_MALFORMED, "%zu verdicts about %zu slots",
                         answer.verdicts.size, count);
    for (size_t i = 0; i < count && !err; i++)
        inventory->slots[places[i]].settled =
            answer.verdicts.data[i] == SAME || answer.verdicts.data[i] == NOT_OURS;
    if (!err)
        inventory->found.index = answer.index;
    return err;
}

static enum lilio_err ask_all(struct osd_inventory *inventory, size_t from, size_t to,
                              struct lilio_errinfo *info)
{
    size_t places[BATCH], count = 0;
    enum lilio_err err = LILIO_OK;
    for (size_t i = from; i < to && !err; i++) {
        const struct slot *slot = &inventory->slots[i];
        if (slot->settled)
            continue;
        if (count == BATCH ||
            (count > 0 && inventory->slots[places[0]].placement != slot->placement)) {
            err = ask(inventory, places, count, info);
            count = 0;
        }
        places[count++] = i;
    }
    return !err && count > 0 ? ask(inventory, places, count, info) : err;
}

/* Adds a page to the slots from `at' on; returns the first slot that may get more. */
static size_t page_add(struct osd_inventory *inventory, size_t at)
{
    for (size_t k = 0; k < inventory->key_count; k++) {
        const struct base_fragment_key *key = &inventory->keys[k];
        while (at < inventory->slot_count &&
               compare(&inventory->slots[at], key->placement, key->partition) < 0)
            at++;
        for (size_t i = at; i < inventory->slot_count &&
                            compare(&inventory->slots[i], key->placement, key->partition) == 0;
             i++)
            if (inventory->slots[i].index == key->index)
                inventory->slots[i].sum += proto_stripe_hash(key->oid, key->stripe);
    }
    return inventory->key_count < PAGE ? inventory->slot_count : at;
}

/* From a slot's partition on until enough slots are summed up, or the next one is settled. Asks
 * about them. *at moves on. */
static enum lilio_err stretch(struct osd_inventory *inventory, size_t *at,
                              struct lilio_errinfo *info)
{
    size_t from = *at, next = from;
    enum lilio_err err = LILIO_OK;
    inventory->after = (struct base_fragment_key){
        .placement = inventory->slots[from].placement,
        .partition = inventory->slots[from].partition, /* before its first oid: none is 0 */
    };
    for (size_t i = from; i < inventory->slot_count; i++)
        inventory->slots[i].sum = inventory->slots[i].settled ? inventory->slots[i].sum : 0;
    while (!err && next < inventory->slot_count && next - from < BATCH &&
           !inventory->slots[next].settled) {
        err = osd_node_call(node_of(inventory), run_list, inventory, info);
        if (err)
            break;
        next = page_add(inventory, next);
        if (inventory->key_count > 0)
            inventory->after = inventory->keys[inventory->key_count - 1];
        if (!osd_link_sleep(inventory->worker.link, -1, PAGE_PAUSE_MS))
            err = lilio_fail(info, LILIO_E_CANCELLED, "this OSD is stopping");
    }
    *at = next;
    return err ? err : ask_all(inventory, from, next, info);
}

static enum lilio_err look(struct osd_inventory *inventory, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    for (size_t at = 0; at < inventory->slot_count && !err;) {
        if (inventory->slots[at].settled)
            at++;
        else
            err = stretch(inventory, &at, info);
    }
    return err;
}

static size_t unsettled(const struct osd_inventory *inventory)
{
    size_t count = 0;
    for (size_t i = 0; i < inventory->slot_count; i++)
        count += !inventory->slots[i].settled;
    return count;
}

static enum lilio_err sums_compare(struct osd_inventory *inventory, struct lilio_errinfo *info)
{
    enum lilio_err err = look(inventory, info);
    for (int n = 1; n < LOOKS && !err && unsettled(inventory) > 0; n++) {
        if (!osd_link_sleep(inventory->worker.link, -1, (uint32_t)LOOK_PAUSE_MS << (n - 1)))
            return lilio_fail(info, LILIO_E_CANCELLED, "this OSD is stopping");
        err = look(inventory, info);
        if (!err && unsettled(inventory) == 0)
            LILIO_MARK("osd/inventory_same_later");
    }
    inventory->found.differed = unsettled(inventory);
    return err;
}

/* ---- one by one ---- */

/* Mask of the slots of a partition that differ. */
static uint64_t differing(const struct osd_inventory *inventory, uint32_t placement,
                          uint32_t partition)
{
    size_t low = 0, high = inventory->slot_count;
    uint64_t mask = 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&inventory->slots[middle], placement, partition) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (;
         low < inventory->slot_count && compare(&inventory->slots[low], placement, partition) == 0;
         low++)
        if (!inventory->slots[low].settled)
            mask |= UINT64_C(1) << inventory->slots[low].index;
    return mask;
}

/* Of the fragments that should be there those that are ours still: a slot may have moved. */
static void check_report(struct osd_inventory *inventory, const struct proto_cluster_map *map,
                         const struct check *check)
{
    uint64_t left = check->wanted & ~check->found &
                    osd_rebuild_own(map, check->row, check->stripe, self(inventory));
    for (; left; left &= left - 1) {
        LILIO_MARK("osd/inventory_missing");
        inventory->found.missing++;
        osd_worker_report(&inventory->worker, map, check->row, check->stripe,
                          (uint32_t)__builtin_ctzll(left), OSD_REPORT_MISSING);
    }
}

static enum lilio_err checks_end(struct osd_inventory *inventory, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    if (inventory->check_count > 0)
        err = osd_node_call(node_of(inventory), run_find, inventory, info);
    struct proto_map_ref *map = osd_node_map_take(node_of(inventory));
    for (size_t i = 0; i < inventory->check_count && !err && map; i++)
        check_report(inventory, proto_map_ref_get(map), &inventory->checks[i]);
    proto_map_ref_drop(&map);
    inventory->check_count = 0;
    return err;
}

static enum lilio_err row_check(struct osd_inventory *inventory, const struct proto_data_row *row,
                                struct lilio_errinfo *info)
{
    const struct proto_placement *placement =
        proto_map_placement(proto_map_ref_get(inventory->map), row->placement);
    if (!placement || proto_row_check(row, NULL))
        return LILIO_OK; /* younger than the map, or verify names it */
    struct codec_profile profile = osd_rebuild_profile(row);
    uint64_t stripes = codec_stripe_count(&profile, row->stored_length);
    enum lilio_err err = LILIO_OK;
    for (uint32_t stripe = 0; stripe < stripes && !err; stripe++) {
        uint32_t partition = proto_partition(placement->partition_bits, row->oid, stripe);
        uint64_t wanted = differing(inventory, row->placement, partition);
        wanted &= ~proto_row_missing(row, stripe); /* that is known */
        if (!wanted)
            continue;
        inventory->checks[inventory->check_count++] =
            (struct check){.row = row, .stripe = stripe, .partition = partition, .wanted = wanted};
        if (inventory->check_count == CHECKS)
            err = checks_end(inventory, info);
    }
    return err;
}

static enum lilio_err page_walk(struct osd_inventory *inventory, struct base_oid *after,
                                bool *ret_more, struct lilio_errinfo *info)
{
    struct osd_page *page = NULL;
    enum lilio_err err = osd_walk_page(&inventory->walk, *after, &page, info);
    if (err)
        return err;
    size_t count = page->page.rows_count;
    for (size_t i = 0; i < count && !err; i++)
        err = row_check(inventory, &page->page.rows[i].data, info);
    if (!err)
        err = checks_end(inventory, info);
    inventory->check_count = 0;
    *ret_more = page->page.more && count > 0;
    if (count > 0)
        *after = page->page.rows[count - 1].data.oid;
    osd_page_drop(&page);
    if (!err && !osd_link_sleep(inventory->worker.link, -1, PAGE_PAUSE_MS))
        err = lilio_fail(info, LILIO_E_CANCELLED, "this OSD is stopping");
    return err;
}

/* A walk that lapsed goes on in a new one: what was committed since the sums differed is here, or
 * known to be missing. */
static enum lilio_err walk(struct osd_inventory *inventory, struct lilio_errinfo *info)
{
    struct base_oid after = {0, 0};
    bool more = true;
    int lapses = 0;
    enum lilio_err err = osd_walk_open(&inventory->walk, info);
    while (!err && more) {
        err = page_walk(inventory, &after, &more, info);
        if (err == LILIO_E_NOT_FOUND && lapses++ < LAPSES_MAX)
            err = osd_walk_open(&inventory->walk, info);
    }
    osd_walk_close(&inventory->walk);
    inventory->worker.reports_lost = false;
    osd_worker_reports_send(&inventory->worker);
    if (!err && inventory->worker.reports_lost)
        err = lilio_fail(info, LILIO_E_UNAVAILABLE, "what was found could not be reported");
    return err;
}

/* ---- rounds ---- */

static void show(struct osd_inventory *inventory, enum phase phase, enum lilio_err err,
                 const char *reason)
{
    pthread_mutex_lock(&inventory->lock);
    uint64_t rounds = inventory->shown.rounds;
    if (phase == PHASE_DONE) {
        inventory->shown = inventory->found;
        inventory->shown.osd = self(inventory);
        inventory->shown.rounds = rounds + 1;
    }
    if (phase == PHASE_DONE && inventory->ordered)
        phase = PHASE_WANTED;
    inventory->shown.phase = (uint8_t)phase;
    inventory->shown.err = err;
    (void)lilio_text_fit(reason, strlen(reason), inventory->reason, sizeof inventory->reason);
    pthread_mutex_unlock(&inventory->lock);
}

static enum lilio_err run_round(struct osd_inventory *inventory, struct lilio_errinfo *info)
{
    enum lilio_err err = begin(inventory, info);
    if (err)
        return err;
    show(inventory, PHASE_SUMS, LILIO_OK, "");
    err = sums_compare(inventory, info);
    if (!err && inventory->found.differed > 0) {
        LILIO_MARK("osd/inventory_differs");
        show(inventory, PHASE_WALK, LILIO_OK, "");
        err = walk(inventory, info);
    }
    return err;
}

static void tell(const struct osd_inventory *inventory, enum lilio_err err, const char *text)
{
    const struct proto_inventory_report *found = &inventory->found;
    if (err)
        base_log_write(osd_node_log(node_of(inventory)), BASE_LOG_WARN, "inventory", "not_compared",
                       "err=%s reason=%s", lilio_err_name(err), text);
    else
        base_log_write(osd_node_log(node_of(inventory)),
                       found->missing > 0 ? BASE_LOG_WARN : BASE_LOG_INFO, "inventory", "compared",
                       "slots=%llu differed=%llu missing=%llu index=%llu",
                       (unsigned long long)found->slots, (unsigned long long)found->differed,
                       (unsigned long long)found->missing, (unsigned long long)found->index);
}

static bool take_order(struct osd_inventory *inventory)
{
    pthread_mutex_lock(&inventory->lock);
    bool ordered = inventory->ordered;
    inventory->ordered = false;
    pthread_mutex_unlock(&inventory->lock);
    return ordered;
}

/* Sleeps until a round is ordered, or is to be tried again. False: it is to stop. */
static bool rest(struct osd_inventory *inventory)
{
    uint32_t wait = inventory->retry_ms ? (uint32_t)inventory->retry_ms : REST_MS;
    return osd_thread_rest(&inventory->thread, inventory->worker.link, true, wait);
}

/* A round that failed is tried again, but for an OSD that has to be rebuilt: when that is done it
 * has been compared better. */
static void try_round(struct osd_inventory *inventory)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = run_round(inventory, &info);
    bool again = err && err != LILIO_E_INVALID;
    uint64_t wait = inventory->retry_ms ? 2 * inventory->retry_ms : RETRY_MS_MIN;
    inventory->retry_ms = !again ? 0 : wait < RETRY_MS_MAX ? wait : RETRY_MS_MAX;
    if (err && err != LILIO_E_CANCELLED)
        LILIO_MARK("osd/inventory_failed");
    if (!err)
        show(inventory, PHASE_DONE, LILIO_OK, ""); /* info may tell of an attempt before */
    else if (again)
        show(inventory, PHASE_WANTED, err, info.text);
    else
        show(inventory, PHASE_NONE, LILIO_OK, ""); /* nobody would take it back after the rebuild */
    if (err != LILIO_E_CANCELLED)
        tell(inventory, err, info.text);
}

static void *run(void *context)
{
    struct osd_inventory *inventory = context;
    while (rest(inventory))
        if (take_order(inventory) || inventory->retry_ms)
            try_round(inventory);
    free(inventory->slots);
    proto_map_ref_drop(&inventory->map);
    osd_worker_release(&inventory->worker);
    return NULL;
}

/* ---- for others ---- */

void osd_inventory_order(struct osd_inventory *inventory)
{
    pthread_mutex_lock(&inventory->lock);
    inventory->ordered = true;
    if (inventory->shown.phase == PHASE_NONE || inventory->shown.phase == PHASE_DONE)
        inventory->shown.phase = PHASE_WANTED;
    pthread_mutex_unlock(&inventory->lock);
    osd_thread_wake(&inventory->thread);
}

void osd_inventory_get(struct osd_inventory *inventory, struct proto_inventory_report *ret,
                       char ret_reason[256])
{
    pthread_mutex_lock(&inventory->lock);
    *ret = inventory->shown;
    ret->reason = base_slice(ret_reason, proto_utf8_clean(inventory->reason, ret_reason, 256));
    pthread_mutex_unlock(&inventory->lock);
}

enum lilio_err osd_inventory_start(const struct osd_inventory_options *options,
                                   struct osd_inventory **ret_inventory)
{
    struct osd_inventory *inventory = calloc(1, sizeof *inventory);
    if (!inventory)
        return LILIO_E_NOMEM;
    inventory->options = *options;
    inventory->walk.worker = &inventory->worker;
    inventory->shown.osd = self(inventory);
    pthread_mutex_init(&inventory->lock, NULL);
    struct osd_link_options link = {
        .context = options->context,
        .endpoints = options->coordinators,
        .endpoint_count = options->coordinator_count,
        .stop_fds = {osd_node_stop_fd(options->node), -1},
    };
    enum lilio_err err = osd_thread_init(&inventory->thread);
    if (!err)
        err = osd_worker_init(&inventory->worker, options->node, "inventory", &link);
    if (!err)
        err = osd_thread_start(&inventory->thread, run, inventory);
    if (err) {
        osd_worker_release(&inventory->worker);
        osd_inventory_stop(&inventory);
        return err;
    }
    *ret_inventory = inventory;
    return LILIO_OK;
}

void osd_inventory_stop(struct osd_inventory **inventory)
{
    struct osd_inventory *mine = *inventory;
    *inventory = NULL;
    if (!mine)
        return;
    osd_thread_stop(&mine->thread);
    pthread_mutex_destroy(&mine->lock);
    free(mine);
}
