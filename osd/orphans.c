/* A round, on the worker's thread:
 *
 *   1. The index is walked page by page (on the owner's thread, keys only). Runs that are neither
 * in quarantine nor remembered from this round are asked about, at most a page of them at once.
 *   2. Of orphans the fragments are measured, a few at a time: their record headers are read.
 *   3. After the last page the coordinator is asked once more, for index and cluster time. Only now
 *      what was marked counts: the quarantine is written.
 *   4. What is due is asked about by a command; what it grants goes to the collector, and is
 *      forgotten when its tombstones are durable.
 *
 * A crash before 3 marks nothing; one behind it repeats 4, which is harmless.
 */
#include "osd/orphans.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "osd/former.h"
#include "osd/quarantine.h"
#include "osd/thread.h"
#include "osd/worker.h"

#include "base/banned.h"

enum {
    PAGE = 1024, /* keys looked at together; as many runs as orphans_ask takes */
    PAGE_PAUSE_MS = 2,
    SWEEP = 256,    /* runs of one orphans_sweep */
    MEASURE = 16,   /* record headers read together */
    MEMORY = 16384, /* answers remembered within a round, by hash */
    FIRST = 16,     /* shown by name, as in the schema */
    POLL_MS = 20,   /* between two looks at the collector */
    COLLECT_MS = 60000,
    ROUNDS_IN_RETENTION = 24,
    INTERVAL_MS_MIN = 1000,
    INTERVAL_MS_MAX = 3600000,
};

/* What the coordinators say of a run, as in the schema. ASKED: a place of the page under way. */
enum verdict { ASKED = 0, NAMED = 1, OPEN = 2, ORPHAN = 3, UNKNOWN = 4 };
enum phase { PHASE_RESTS, PHASE_LOOKS, PHASE_DELETES };

struct answer {
    struct base_oid oid;
    uint16_t at; /* ASKED: which one */
    uint8_t verdict;
};

struct osd_orphans {
    struct osd_orphans_options options;
    struct osd_thread thread;

    pthread_mutex_t lock; /* guards what follows */
    struct proto_orphans shown;
    char text[512];
    struct proto_orphan first[FIRST];
    bool ordered, order_wet, order_now; /* a round; one that changes something; without waiting */
    uint64_t waiting;

    /* Worker only. */
    struct osd_worker worker;
    struct osd_quarantine quarantine;
    struct osd_former former;
    uint64_t next_ms;
    bool dry, now;              /* of the round under way */
    struct proto_orphans found; /* by it */
    uint64_t cluster_ms;        /* of the newest answer */
    uint32_t incarnation;
    struct base_fragment_key keys[PAGE];
    uint32_t sizes[PAGE], lengths[PAGE]; /* lengths: of those in slots of other OSDs */
    uint8_t formers[PAGE];               /* enum osd_former_why */
    uint16_t asked_at[PAGE];
    uint8_t verdicts[PAGE];
    size_t key_count, measure_from, measure_to;
    bool has_more;
    struct proto_orphan_run runs[PAGE];
    size_t run_count;
    struct answer memory[MEMORY];
    uint8_t key_room[OSD_OBJECT_KEY_MAX];
};

static struct osd_node *node_of(const struct osd_orphans *orphans)
{
    return orphans->options.node;
}

static uint64_t now_ms(const struct osd_orphans *orphans)
{
    return base_now_ms(osd_node_clock(node_of(orphans)));
}

static uint64_t interval_ms(const struct osd_orphans *orphans)
{
    uint64_t interval = orphans->options.retention_ms / ROUNDS_IN_RETENTION;
    interval = interval < INTERVAL_MS_MIN ? INTERVAL_MS_MIN : interval;
    return interval > INTERVAL_MS_MAX ? INTERVAL_MS_MAX : interval;
}

/* ---- on the owner's thread ---- */

/* The store of the disk the round began with. */
static enum lilio_err store_get(struct osd_orphans *orphans, struct osd_store **ret,
                                struct lilio_errinfo *info)
{
    struct osd_node_view view;
    osd_node_view(node_of(orphans), &view);
    *ret = osd_home_store(orphans->options.home);
    if (!*ret || view.state != OSD_NODE_SERVING ||
        !base_uuid_equal(view.disk_uuid, orphans->quarantine.disk_uuid))
        return lilio_fail(info, LILIO_E_UNAVAILABLE, "this OSD does not serve");
    return LILIO_OK;
}

/* Which of the page are in slots of other OSDs, and how long they are, as the index says. */
static void formers_look(struct osd_orphans *orphans, struct osd_store *store)
{
    struct proto_map_ref *ref = osd_node_map_take(node_of(orphans));
    for (size_t i = 0; i < orphans->key_count; i++) {
        const struct base_fragment_key *key = &orphans->keys[i];
        uint32_t checksum;
        orphans->lengths[i] = 0;
        orphans->formers[i] =
            ref ? (uint8_t)osd_former_why(&orphans->former, proto_map_ref_get(ref), key)
                : OSD_FORMER_NONE;
        if (orphans->formers[i] != OSD_FORMER_NONE &&
            store->ops->look(store, key, &orphans->lengths[i], &checksum, NULL))
            orphans->lengths[i] = 0; /* it counts without its bytes */
    }
    proto_map_ref_drop(&ref);
}

static enum lilio_err run_list(void *context, struct lilio_errinfo *info)
{
    struct osd_orphans *orphans = context;
    struct base_fragment_key after;
    struct osd_store *store;
    enum lilio_err err = store_get(orphans, &store, info);
    bool go_on = orphans->key_count > 0;
    if (go_on)
        after = orphans->keys[orphans->key_count - 1];
    if (!err)
        err = store->ops->list(store, go_on ? &after : NULL, orphans->keys, PAGE,
                               &orphans->key_count, info);
    if (!err)
        formers_look(orphans, store);
    return err;
}

/* One whose header cannot be read has no size, and is deleted all the same. */
static enum lilio_err run_measure(void *context, struct lilio_errinfo *info)
{
    struct osd_orphans *orphans = context;
    struct osd_fragment fragment;
    struct osd_store *store;
    enum lilio_err err = store_get(orphans, &store, info);
    for (size_t i = orphans->measure_from; i < orphans->measure_to && !err; i++) {
        uint8_t verdict = orphans->verdicts[i];
        bool wanted = verdict == ORPHAN || verdict == UNKNOWN;
        if (wanted &&
            !store->ops->stat(store, &orphans->keys[i], &fragment, orphans->key_room, NULL))
            orphans->sizes[i] = fragment.payload_length;
    }
    return err;
}

static enum lilio_err run_load(void *context, struct lilio_errinfo *info)
{
    struct osd_orphans *orphans = context;
    struct osd_store *store;
    struct lilio_errinfo why = {0};
    enum lilio_err err = store_get(orphans, &store, info);
    if (err)
        return err;
    err = osd_quarantine_load(&orphans->quarantine, osd_home_disk(orphans->options.home), &why);
    if (err && err != LILIO_E_NOT_FOUND)
        base_log_write(osd_node_log(node_of(orphans)), BASE_LOG_WARN, "orphans",
                       "quarantine_not_read", "reason=%s next=marked_anew", why.text);
    return err == LILIO_E_NOMEM ? lilio_fail(info, err, "no memory for the quarantine") : LILIO_OK;
}

static enum lilio_err run_save(void *context, struct lilio_errinfo *info)
{
    struct osd_orphans *orphans = context;
    struct osd_store *store;
    enum lilio_err err = store_get(orphans, &store, info);
    if (!err && !osd_home_intact(orphans->options.home, /* full */ false))
        err = lilio_fail(info, LILIO_E_UNAVAILABLE, "the disk directory is gone");
    return err ? err
               : osd_quarantine_save(&orphans->quarantine, osd_home_disk(orphans->options.home),
                                     info);
}

static enum lilio_err on_owner(struct osd_orphans *orphans, osd_node_fn fn,
                               struct lilio_errinfo *info)
{
    return osd_node_call(node_of(orphans), fn, orphans, info);
}

/* ---- what the coordinators say ---- */

/* An answer of our cluster, not older than any before, about all that was asked. */
static enum lilio_err answer_check(struct osd_orphans *orphans,
                                   const struct proto_orphans_answer *answer, size_t asked,
                                   struct lilio_errinfo *info)
{
    if (!base_uuid_equal(answer->cluster_id, osd_node_cluster(node_of(orphans))))
        return lilio_fail(info, LILIO_E_FOREIGN, "the coordinator belongs to another cluster");
    if (answer->index < orphans->quarantine.index)
        return lilio_fail(info, LILIO_E_STALE_EPOCH,
                          "the coordinator answered at index %" PRIu64 ", %" PRIu64
                          " was reached before",
                          answer->index, orphans->quarantine.index);
    if (answer->verdicts.size != asked)
        return lilio_fail(info, LILIO_E_MALFORMED, "%zu verdicts about %zu runs",
                          answer->verdicts.size, asked);
    for (size_t i = 0; i < asked; i++)
        if (answer->verdicts.data[i] < NAMED || answer->verdicts.data[i] > UNKNOWN)
            return lilio_fail(info, LILIO_E_MALFORMED, "%u is no verdict",
                              answer->verdicts.data[i]);
    orphans->quarantine.index = answer->index;
    orphans->cluster_ms = answer->cluster_ms;
    return LILIO_OK;
}

/* About the runs that are gathered; the verdicts live in the worker's arena. */
static enum lilio_err ask(struct osd_orphans *orphans, bool sweep, const uint8_t **ret_verdicts,
                          struct lilio_errinfo *info)
{
    struct proto_orphans_ask look = {
        .osd = osd_node_id(node_of(orphans)),
        .incarnation = orphans->incarnation,
        .index = orphans->quarantine.index,
        .runs = orphans->runs,
        .runs_count = orphans->run_count,
    };
    struct proto_orphans_sweep command = {
        .osd = look.osd,
        .incarnation = look.incarnation,
        .index = look.index,
        .runs = look.runs,
        .runs_count = look.runs_count,
    };
    struct proto_orphans_answer answer;
    enum lilio_err err = osd_worker_call(
        &orphans->worker, sweep ? &proto_type_orphans_sweep : &proto_type_orphans_ask,
        sweep ? (const void *)&command : (const void *)&look, &proto_type_orphans_answer,
        orphans->worker.arena, &answer, info);
    if (!err)
        err = answer_check(orphans, &answer, orphans->run_count, info);
    if (!err)
        *ret_verdicts = answer.verdicts.data;
    return err;
}

/* ---- a page of the walk ---- */

static struct answer *memory_of(struct osd_orphans *orphans, struct base_oid oid)
{
    return &orphans->memory[(oid.high * 0x9e3779b97f4a7c15u + oid.low) % MEMORY];
}

static void memory_clear(struct osd_orphans *orphans)
{
    for (size_t i = 0; i < MEMORY; i++) /* no coordinator ever knows this one */
        orphans->memory[i] = (struct answer){.oid = {UINT64_MAX, UINT64_MAX}, .verdict = UNKNOWN};
}

/* Finds out which keys' runs are known, and gathers the others. */
static void page_gather(struct osd_orphans *orphans)
{
    orphans->run_count = 0;
    for (size_t i = 0; i < orphans->key_count; i++) {
        struct base_oid oid = orphans->keys[i].oid;
        struct answer *answer = memory_of(orphans, oid);
        const struct osd_orphan *orphan = osd_quarantine_find(&orphans->quarantine, oid);
        orphans->sizes[i] = 0;
        if (orphan) {
            orphans->verdicts[i] = orphan->unknown ? UNKNOWN : ORPHAN;
            continue;
        }
        if (!base_oid_equal(answer->oid, oid)) {
            *answer = (struct answer){.oid = oid, .at = (uint16_t)orphans->run_count};
            orphans->runs[orphans->run_count++] = (struct proto_orphan_run){.oid = oid};
        }
        orphans->verdicts[i] = answer->verdict;
        orphans->asked_at[i] = answer->at;
    }
}

/* A run that is nobody's: it is in the table from now on, where there is room. */
static void mark(struct osd_orphans *orphans, struct base_oid oid, bool unknown)
{
    if (osd_quarantine_find(&orphans->quarantine, oid))
        return;
    struct osd_orphan *orphan = osd_quarantine_add(&orphans->quarantine, oid);
    if (!orphan)
        return; /* a later round sees it again */
    orphan->index = orphans->quarantine.index;
    orphan->cluster_ms = orphans->cluster_ms;
    orphan->fresh = true;
    orphan->unknown = unknown;
}

static enum lilio_err page_ask(struct osd_orphans *orphans, struct lilio_errinfo *info)
{
    const uint8_t *verdicts = NULL;
    page_gather(orphans);
    if (orphans->run_count == 0)
        return LILIO_OK;
    enum lilio_err err = ask(orphans, false, &verdicts, info);
    if (err)
        return err;
    for (size_t i = 0; i < orphans->key_count; i++)
        if (orphans->verdicts[i] == ASKED)
            orphans->verdicts[i] = verdicts[orphans->asked_at[i]];
    for (size_t k = 0; k < orphans->run_count; k++) {
        struct base_oid oid = orphans->runs[k].oid;
        struct answer *answer = memory_of(orphans, oid);
        if (base_oid_equal(answer->oid, oid))
            answer->verdict = verdicts[k];
        if (verdicts[k] == ORPHAN || verdicts[k] == UNKNOWN)
            mark(orphans, oid, verdicts[k] == UNKNOWN);
    }
    return LILIO_OK;
}

static enum lilio_err page_measure(struct osd_orphans *orphans, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    for (size_t i = 0; i < orphans->key_count && !err;) {
        size_t wanted = 0;
        orphans->measure_from = i;
        for (; i < orphans->key_count && wanted < MEASURE; i++)
            wanted += orphans->verdicts[i] == ORPHAN || orphans->verdicts[i] == UNKNOWN;
        orphans->measure_to = i;
        if (wanted > 0)
            err = on_owner(orphans, run_measure, info);
    }
    return err;
}

/* What is named, but in a slot that another OSD has now. */
static void former_count(struct osd_orphans *orphans, size_t i)
{
    struct proto_orphans *found = &orphans->found;
    uint8_t why = orphans->formers[i];
    if (why == OSD_FORMER_NONE || orphans->verdicts[i] != NAMED)
        return;
    found->former_fragments++;
    found->former_bytes += orphans->lengths[i];
    found->former_fills += why == OSD_FORMER_FILLS;
    found->former_away += why == OSD_FORMER_AWAY;
    found->former_fresh += why == OSD_FORMER_FRESH;
}

static void page_count(struct osd_orphans *orphans)
{
    orphans->found.fragments += orphans->key_count;
    for (size_t i = 0; i < orphans->key_count; i++) {
        const struct base_fragment_key *key = &orphans->keys[i];
        orphans->found.open += orphans->verdicts[i] == OPEN;
        former_count(orphans, i);
        struct osd_orphan *orphan = osd_quarantine_find(&orphans->quarantine, key->oid);
        if (!orphan)
            continue;
        orphan->fragments++;
        orphan->bytes += orphans->sizes[i];
        orphan->placement = key->placement;
        if (key->stripe >= orphan->stripe_count && key->stripe < OSD_STRIPES_MAX)
            orphan->stripe_count = key->stripe + 1;
    }
}

/* ---- looking ---- */

static bool is_old(const struct osd_orphan *orphan)
{
    return !orphan->fresh && !orphan->unknown;
}

static bool is_here(const struct osd_orphan *orphan)
{
    return orphan->fragments > 0;
}

static bool is_due(const struct osd_orphans *orphans, const struct osd_orphan *orphan)
{
    return !orphan->unknown &&
           orphans->cluster_ms >= orphan->cluster_ms + orphans->options.retention_ms;
}

/* Reads the quarantine of the disk that serves now. */
static enum lilio_err begin(struct osd_orphans *orphans, struct lilio_errinfo *info)
{
    struct osd_node_view view;
    struct osd_quarantine *quarantine = &orphans->quarantine;
    osd_node_view(node_of(orphans), &view);
    if (view.state != OSD_NODE_SERVING)
        return lilio_fail(info, LILIO_E_UNAVAILABLE, "this OSD does not serve");
    bool known = base_uuid_equal(view.disk_uuid, quarantine->disk_uuid);
    orphans->incarnation = view.incarnation;
    quarantine->cluster_id = osd_node_cluster(node_of(orphans));
    quarantine->disk_uuid = view.disk_uuid;
    enum lilio_err err = known ? LILIO_OK : on_owner(orphans, run_load, info);
    if (err)
        quarantine->disk_uuid = (struct base_uuid){{0}}; /* read it next time */
    osd_quarantine_sift(quarantine, is_old);
    for (size_t i = 0; i < quarantine->count; i++)
        quarantine->items[i].fragments = quarantine->items[i].bytes =
            quarantine->items[i].stripe_count = 0;
    orphans->found = (struct proto_orphans){0};
    orphans->key_count = 0;
    memory_clear(orphans);
    return err;
}

static enum lilio_err walk(struct osd_orphans *orphans, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    const uint8_t *none = NULL;
    do {
        err = on_owner(orphans, run_list, info);
        if (!err)
            err = page_ask(orphans, info);
        if (!err)
            err = page_measure(orphans, info);
        if (!err)
            page_count(orphans);
        if (!err && !osd_link_sleep(orphans->worker.link, -1, PAGE_PAUSE_MS))
            err = lilio_fail(info, LILIO_E_CANCELLED, "this OSD is stopping");
    } while (!err && orphans->key_count == PAGE);
    orphans->run_count = 0;
    return err ? err : ask(orphans, false, &none, info);
}

/* What is in the table and on the disk, as the last walk found it. */
static void sum_up(struct osd_orphans *orphans)
{
    struct proto_orphans *found = &orphans->found;
    *found = (struct proto_orphans){
        .index = orphans->quarantine.index,
        .fragments = found->fragments,
        .open = found->open,
        .former_fragments = found->former_fragments,
        .former_bytes = found->former_bytes,
        .former_fills = found->former_fills,
        .former_away = found->former_away,
        .former_fresh = found->former_fresh,
    };
    for (size_t i = 0; i < orphans->quarantine.count; i++) {
        const struct osd_orphan *orphan = &orphans->quarantine.items[i];
        if (!is_here(orphan))
            continue;
        found->due += is_due(orphans, orphan);
        if (orphan->unknown) {
            found->unknown_runs++;
            found->unknown_fragments += orphan->fragments;
            found->unknown_bytes += orphan->bytes;
        } else {
            found->runs++;
            found->run_fragments += orphan->fragments;
            found->run_bytes += orphan->bytes;
        }
    }
}

/* What was marked counts from now on, what is not here any more is forgotten: both durably. */
static enum lilio_err keep(struct osd_orphans *orphans, struct lilio_errinfo *info)
{
    struct osd_quarantine *quarantine = &orphans->quarantine;
    size_t before = quarantine->count, fresh = 0;
    osd_quarantine_sift(quarantine, is_here);
    for (size_t i = 0; i < quarantine->count; i++)
        fresh += quarantine->items[i].fresh && !quarantine->items[i].unknown;
    if (fresh == 0 && quarantine->count == before)
        return LILIO_OK;
    enum lilio_err err = on_owner(orphans, run_save, info);
    if (err)
        return err;
    for (size_t i = 0; i < quarantine->count; i++)
        quarantine->items[i].fresh = false;
    if (fresh > 0) {
        LILIO_MARK("osd/orphans_marked");
        base_log_write(osd_node_log(node_of(orphans)), BASE_LOG_INFO, "orphans", "marked",
                       "runs=%zu quarantine=%zu index=%" PRIu64, fresh, quarantine->count,
                       quarantine->index);
    }
    return LILIO_OK;
}

/* ---- telling ---- */

static void show_first(struct osd_orphans *orphans)
{
    orphans->shown.first = orphans->first;
    orphans->shown.first_count = 0;
    for (size_t i = 0; i < orphans->quarantine.count && orphans->shown.first_count < FIRST; i++) {
        const struct osd_orphan *orphan = &orphans->quarantine.items[i];
        if (is_here(orphan))
            orphans->first[orphans->shown.first_count++] = (struct proto_orphan){
                .oid = orphan->oid,
                .fragments = orphan->fragments,
                .bytes = orphan->bytes,
                .waited_ms = orphans->cluster_ms > orphan->cluster_ms
                                 ? orphans->cluster_ms - orphan->cluster_ms
                                 : 0,
                .unknown = orphan->unknown,
            };
    }
}

/* What was looked at as a whole. */
static void show_found(struct osd_orphans *orphans)
{
    pthread_mutex_lock(&orphans->lock);
    struct proto_orphans was = orphans->shown;
    orphans->shown = orphans->found;
    orphans->shown.osd = was.osd;
    orphans->shown.asked = was.asked;
    orphans->shown.ended = was.ended;
    orphans->shown.phase = was.phase;
    orphans->shown.retention_ms = was.retention_ms;
    orphans->shown.swept_runs = was.swept_runs;
    orphans->shown.swept_fragments = was.swept_fragments;
    orphans->shown.swept_bytes = was.swept_bytes;
    orphans->shown.formers = was.formers;
    show_first(orphans);
    pthread_mutex_unlock(&orphans->lock);
}

static void show_phase(struct osd_orphans *orphans, enum phase phase)
{
    pthread_mutex_lock(&orphans->lock);
    orphans->shown.phase = (uint8_t)phase;
    pthread_mutex_unlock(&orphans->lock);
}

/* Says once why rounds are void. */
static void tell_void(struct osd_orphans *orphans, enum lilio_err err, const char *text)
{
    if (err && err != LILIO_E_CANCELLED && strcmp(orphans->text, text) != 0)
        base_log_write(osd_node_log(node_of(orphans)), BASE_LOG_WARN, "orphans", "round_void",
                       "err=%s reason=%s", lilio_err_name(err), text);
    pthread_mutex_lock(&orphans->lock);
    orphans->shown.err = err;
    (void)snprintf(orphans->text, sizeof orphans->text, "%s", err ? text : ""); /* may be cut */
    pthread_mutex_unlock(&orphans->lock);
}

/* ---- deleting ---- */

static struct proto_collect_job job_of(const struct osd_orphan *orphan)
{
    return (struct proto_collect_job){
        .oid = orphan->oid, .placement = orphan->placement, .stripe_count = orphan->stripe_count};
}

/* Waits until the tombstones of a run are durable. */
static enum lilio_err collect(struct osd_orphans *orphans, const struct osd_orphan *orphan,
                              uint64_t until_ms, struct lilio_errinfo *info)
{
    struct proto_collect_job job = job_of(orphan);
    while (osd_collector_pending(orphans->options.collector, &job)) {
        if (now_ms(orphans) >= until_ms)
            return lilio_fail(info, LILIO_E_TIMEOUT, "orphans were not deleted in time");
        osd_node_owner_wake(node_of(orphans));
        if (!osd_link_sleep(orphans->worker.link, -1, POLL_MS))
            return lilio_fail(info, LILIO_E_CANCELLED, "this OSD is stopping");
    }
    return LILIO_OK;
}

/* From one place of the quarantine on: what is due, up to a message of it. Returns the next place.
 */
static size_t sweep_gather(struct osd_orphans *orphans, size_t from)
{
    orphans->run_count = 0;
    for (; from < orphans->quarantine.count && orphans->run_count < SWEEP; from++) {
        const struct osd_orphan *orphan = &orphans->quarantine.items[from];
        if (!orphan->unknown && (orphans->now || is_due(orphans, orphan)))
            orphans->runs[orphans->run_count++] = (struct proto_orphan_run){.oid = orphan->oid};
    }
    return from;
}

static void count_swept(struct osd_orphans *orphans, const struct osd_orphan *orphan)
{
    pthread_mutex_lock(&orphans->lock);
    orphans->shown.swept_runs++;
    orphans->shown.swept_fragments += orphan->fragments;
    orphans->shown.swept_bytes += orphan->bytes;
    pthread_mutex_unlock(&orphans->lock);
}

/* What the command granted goes; what it did not is no orphan, and leaves the quarantine. */
static enum lilio_err sweep_batch(struct osd_orphans *orphans, struct lilio_errinfo *info)
{
    const uint8_t *answered = NULL;
    uint8_t verdicts[SWEEP];
    enum lilio_err err = ask(orphans, true, &answered, info);
    uint64_t until_ms = now_ms(orphans) + COLLECT_MS;
    if (err)
        return err;
    memcpy(verdicts, answered, orphans->run_count);
    for (size_t i = 0; i < orphans->run_count; i++) {
        struct proto_collect_job job =
            job_of(osd_quarantine_find(&orphans->quarantine, orphans->runs[i].oid));
        while (verdicts[i] == ORPHAN && !err &&
               !osd_collector_add(orphans->options.collector, &job)) { /* it has enough to do */
            if (now_ms(orphans) >= until_ms)
                err = lilio_fail(info, LILIO_E_TIMEOUT, "orphans were not deleted in time");
            else if (!osd_link_sleep(orphans->worker.link, -1, POLL_MS))
                err = lilio_fail(info, LILIO_E_CANCELLED, "this OSD is stopping");
        }
    }
    osd_node_owner_wake(node_of(orphans));
    for (size_t i = 0; i < orphans->run_count && !err; i++) {
        struct osd_orphan *orphan = osd_quarantine_find(&orphans->quarantine, orphans->runs[i].oid);
        if (verdicts[i] == ORPHAN && !(err = collect(orphans, orphan, until_ms, info)))
            count_swept(orphans, orphan);
        if (!err)
            orphan->fragments = 0; /* keep() forgets it */
    }
    return err;
}

static enum lilio_err sweep(struct osd_orphans *orphans, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    uint64_t before = orphans->shown.swept_runs; /* written by this thread alone */
    bool any = false;
    for (size_t at = 0; at < orphans->quarantine.count && !err;) {
        at = sweep_gather(orphans, at);
        if (orphans->run_count == 0)
            continue;
        show_phase(orphans, PHASE_DELETES);
        err = sweep_batch(orphans, info);
        any = true;
    }
    if (!any)
        return err;
    enum lilio_err failed = keep(orphans, err ? NULL : info);
    if (orphans->shown.swept_runs > before) {
        LILIO_MARK("osd/orphans_swept");
        base_log_write(osd_node_log(node_of(orphans)), BASE_LOG_INFO, "orphans", "swept",
                       "runs=%" PRIu64 " quarantine=%zu", orphans->shown.swept_runs - before,
                       orphans->quarantine.count);
    }
    sum_up(orphans);
    return err ? err : failed;
}

/* ---- rounds ---- */

static uint64_t less(uint64_t from, uint64_t part)
{
    return from > part ? from - part : 0;
}

/* What the walk counted and is deleted now: due, or with `now' not even that. */
static void formers_gone(struct proto_orphans *shown, uint64_t fragments, uint64_t bytes)
{
    shown->former_fragments = less(shown->former_fragments, fragments);
    shown->former_bytes = less(shown->former_bytes, bytes);
    uint64_t held = shown->former_fills + shown->former_away;
    uint64_t most = less(shown->former_fragments, held);
    shown->former_fresh = shown->former_fresh < most ? shown->former_fresh : most;
}

/* What is named, but in a slot that another OSD has now. */
static enum lilio_err formers(struct osd_orphans *orphans, struct lilio_errinfo *info)
{
    struct osd_former *former = &orphans->former;
    uint64_t swept = former->swept, bytes = former->swept_bytes;
    enum lilio_err err = osd_former_round(former, orphans->now, info);
    pthread_mutex_lock(&orphans->lock);
    orphans->shown.formers = former->swept;
    formers_gone(&orphans->shown, former->swept - swept, former->swept_bytes - bytes);
    pthread_mutex_unlock(&orphans->lock);
    return err;
}

static enum lilio_err look(struct osd_orphans *orphans, struct lilio_errinfo *info)
{
    show_phase(orphans, PHASE_LOOKS);
    enum lilio_err err = begin(orphans, info);
    if (!err)
        err = walk(orphans, info);
    if (!err)
        sum_up(orphans);
    return err;
}

static void run_round(struct osd_orphans *orphans)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = look(orphans, &info);
    if (!err)
        show_found(orphans);
    if (!err && !orphans->dry)
        err = keep(orphans, &info);
    if (!err && !orphans->dry) {
        err = sweep(orphans, &info);
        if (!err)
            show_found(orphans);
    }
    if (!err && !orphans->dry)
        err = formers(orphans, &info);
    if (err && err != LILIO_E_CANCELLED)
        LILIO_MARK("osd/orphan_round_void");
    osd_quarantine_sift(&orphans->quarantine, is_old);
    tell_void(orphans, err, info.text);
}

/* Sleeps until a round is due or ordered; *ret_asked is which one that was. False: it is to stop.
 */
static bool rest(struct osd_orphans *orphans, uint64_t *ret_asked)
{
    uint64_t now = now_ms(orphans);
    uint64_t wait = orphans->next_ms > now ? orphans->next_ms - now : 0;
    if (!osd_thread_rest(&orphans->thread, orphans->worker.link, true, (uint32_t)wait))
        return false;
    pthread_mutex_lock(&orphans->lock);
    *ret_asked = orphans->shown.asked;
    orphans->dry = orphans->ordered && !orphans->order_wet;
    orphans->now = orphans->order_now;
    orphans->ordered = orphans->order_wet = orphans->order_now = false;
    pthread_mutex_unlock(&orphans->lock);
    return true;
}

static void *run(void *context)
{
    struct osd_orphans *orphans = context;
    uint64_t asked = 0;
    while (rest(orphans, &asked)) {
        run_round(orphans);
        if (!orphans->dry)
            orphans->next_ms = now_ms(orphans) + interval_ms(orphans);
        pthread_mutex_lock(&orphans->lock);
        orphans->shown.ended = asked;
        orphans->shown.phase = PHASE_RESTS;
        orphans->waiting = orphans->quarantine.count;
        pthread_mutex_unlock(&orphans->lock);
    }
    osd_quarantine_release(&orphans->quarantine);
    osd_worker_release(&orphans->worker);
    return NULL;
}

/* ---- for others ---- */

void osd_orphans_order(struct osd_orphans *orphans, bool dry, bool now)
{
    pthread_mutex_lock(&orphans->lock);
    orphans->ordered = true;
    orphans->order_wet |= !dry;
    orphans->order_now |= now && !dry;
    orphans->shown.asked++;
    pthread_mutex_unlock(&orphans->lock);
    osd_thread_wake(&orphans->thread);
}

enum lilio_err osd_orphans_get(struct osd_orphans *orphans, struct proto_arena *arena,
                               struct proto_orphans *ret)
{
    struct proto_orphan *first = proto_arena_take(arena, FIRST * sizeof *first);
    char *text = proto_arena_take(arena, sizeof orphans->text);
    if (!first || !text)
        return LILIO_E_NOMEM;
    pthread_mutex_lock(&orphans->lock);
    *ret = orphans->shown;
    memcpy(first, orphans->first, sizeof orphans->first);
    ret->first = first;
    ret->text = base_slice(text, proto_utf8_clean(orphans->text, text, sizeof orphans->text));
    pthread_mutex_unlock(&orphans->lock);
    return LILIO_OK;
}

uint64_t osd_orphans_waiting(struct osd_orphans *orphans)
{
    pthread_mutex_lock(&orphans->lock);
    uint64_t waiting = orphans->waiting;
    pthread_mutex_unlock(&orphans->lock);
    return waiting;
}

enum lilio_err osd_orphans_start(const struct osd_orphans_options *options,
                                 struct osd_orphans **ret_orphans)
{
    struct osd_orphans *orphans = calloc(1, sizeof *orphans);
    if (!orphans)
        return LILIO_E_NOMEM;
    orphans->options = *options;
    orphans->shown.osd = osd_node_id(options->node);
    orphans->shown.retention_ms = options->retention_ms;
    orphans->former = (struct osd_former){
        .home = options->home, .worker = &orphans->worker, .retention_ms = options->retention_ms};
    /* Not all OSDs of a cluster that was started ask at once. */
    orphans->next_ms = now_ms(orphans) + interval_ms(orphans) / 2 +
                       interval_ms(orphans) / 16 * (osd_node_id(options->node) % 8);
    pthread_mutex_init(&orphans->lock, NULL);
    struct osd_link_options link = {
        .context = options->context,
        .endpoints = options->coordinators,
        .endpoint_count = options->coordinator_count,
        .stop_fds = {osd_node_stop_fd(options->node), -1},
    };
    enum lilio_err err = osd_thread_init(&orphans->thread);
    if (!err)
        err = osd_worker_init(&orphans->worker, options->node, "orphans", &link);
    if (!err)
        err = osd_thread_start(&orphans->thread, run, orphans);
    if (err) {
        osd_worker_release(&orphans->worker);
        osd_orphans_stop(&orphans);
        return err;
    }
    *ret_orphans = orphans;
    return LILIO_OK;
}

void osd_orphans_stop(struct osd_orphans **orphans)
{
    struct osd_orphans *mine = *orphans;
    *orphans = NULL;
    if (!mine)
        return;
    osd_thread_stop(&mine->thread);
    pthread_mutex_destroy(&mine->lock);
    free(mine);
}
