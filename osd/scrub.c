/* One thread, one page of the maps at a time:
 *
 *   rest --due or ordered--> page: pin, fetch, let go --> row by row: tasks --> look --> judge
 *     ^                                                                             │ bad
 *     ╰── settle: reports out, cursor on --<── last row ──<── counted ──<── is it so now? ─╯
 *
 * What a row's tasks found counts when they all have ended and what they found is in the maps: what
 * fails in between is taken back to the row before, and tried again after a while. The cursor goes
 * to the disk now and then, so a restart repeats at most a minute. A light round that is due goes
 * between two rows of a deep one.
 */
#include "osd/scrub.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "base/planted.h"
#include "osd/scrub_findings.h"
#include "osd/scrub_parity.h"
#include "osd/thread.h"
#include "osd/throttle.h"
#include "osd/walk.h"

#include "base/banned.h"

enum {
    TASKS = 64,           /* looked up in the index together */
    TASKS_PAUSE_MS = 1,   /* between two such lots */
    PACE_MS = 100,        /* at most so long without a look at the clients while held back */
    POLL_MS = 1000,       /* between two looks at what is due */
    FIRST_MS = 40000,     /* at most, 15 to 30 times, before the first rounds of a disk */
    BACKOFF_MS_MIN = 500, /* after a failure, doubled up to */
    BACKOFF_MS_MAX = 30000,
    SAVE_MS_MIN = 1000, /* between two saves of the cursor: the 10000th part of the period */
    SAVE_MS_MAX = 60000,
    SAVE_IDLE_MS = 600000,
    SAMPLE_MS = 10000, /* rates are those of the last one or two of these */
};

/* A fragment of ours. */
struct task {
    const struct proto_scan_row *row;
    struct base_fragment_key key;
    uint32_t length, checksum; /* in the row */
    /* What was found. */
    enum lilio_err err;
    uint32_t found_length, found_checksum;
};

struct sample {
    uint64_t ms, met, bytes;
};

struct osd_scrub {
    struct osd_scrub_options options;
    struct osd_thread thread;

    pthread_mutex_t lock; /* guards what follows */
    struct {
        bool wanted;
        uint64_t rate;
    } orders[OSD_SCRUB_KINDS];
    struct osd_scrub_state shown;
    struct sample from[OSD_SCRUB_KINDS], to[OSD_SCRUB_KINDS];
    char text[512];               /* why nothing goes on */
    bool light_waits;             /* it is due, and a run is read for a deep round first */
    uint64_t maps_index;          /* the highest one seen since the maps last went back */
    bool maps_back;               /* they did, and the disk does not say yet that rounds are void */
    uint64_t ran_ms, ran_from_ms; /* in all when the state was read, and when that was */
    struct osd_scrub_findings findings;

    /* Worker only. */
    struct osd_worker worker;
    struct osd_parity *parity;
    struct osd_scrub_state state, settled;
    uint64_t first_ms, saved_ms;
    bool save;
    struct osd_throttle throttle;
    uint64_t served_seen, next_ns;
    uint32_t backoff_ms;
    bool yields;              /* the page at hand ended for another round */
    enum osd_scrub_kind kind; /* of the page at hand */
    struct proto_map_ref *map;
    struct task tasks[TASKS];
    size_t task_count, task_at;
    uint8_t key_room[OSD_OBJECT_KEY_MAX];
    uint8_t *buffer, *payload; /* the fragment read last */
};

static const size_t buffer_room = CODEC_FRAGMENT_MAX + 2 * BASE_DISK_BLOCK;

static struct osd_node *node_of(const struct osd_scrub *scrub)
{
    return scrub->options.node;
}

static uint64_t now_ms(const struct osd_scrub *scrub)
{
    return base_now_ms(osd_node_clock(node_of(scrub)));
}

static uint64_t now_ns(const struct osd_scrub *scrub)
{
    return base_now_ns(osd_node_clock(node_of(scrub)));
}

static uint64_t wall_ms(const struct osd_scrub *scrub)
{
    const struct base_clock *clock = osd_node_clock(node_of(scrub));
    return clock->wall_ms(clock->context);
}

/* Lock held, or on the worker, the only one that writes it. */
static uint64_t ran_ms(const struct osd_scrub *scrub)
{
    return scrub->ran_ms + (now_ms(scrub) - scrub->ran_from_ms);
}

static struct osd_scrub_round *round_of(struct osd_scrub *scrub)
{
    return &scrub->state.rounds[scrub->kind];
}

static struct osd_scrub_counts *counts_of(struct osd_scrub *scrub)
{
    return &round_of(scrub)->counts;
}

static uint64_t period_of(const struct osd_scrub *scrub, enum osd_scrub_kind kind)
{
    return scrub->options.period_ms[kind];
}

static bool is_due(struct osd_scrub *scrub, enum osd_scrub_kind kind)
{
    const struct osd_scrub_round *round = &scrub->state.rounds[kind];
    uint64_t ran = ran_ms(scrub);
    return osd_scrub_round_due(round, period_of(scrub, kind), ran) &&
           (round->rounds > 0 || now_ms(scrub) >= scrub->first_ms);
}

/* ---- on the owner's thread ---- */

/* The store of the disk the state is of. */
static enum lilio_err store_get(struct osd_scrub *scrub, struct osd_store **ret,
                                struct lilio_errinfo *info)
{
    struct osd_node_view view;
    osd_node_view(node_of(scrub), &view);
    *ret = osd_home_store(scrub->options.home);
    if (!*ret || view.state != OSD_NODE_SERVING ||
        !base_uuid_equal(view.disk_uuid, scrub->state.disk_uuid))
        return lilio_fail(info, LILIO_E_UNAVAILABLE, "this OSD does not serve");
    return LILIO_OK;
}

static enum lilio_err run_look(void *context, struct lilio_errinfo *info)
{
    struct osd_scrub *scrub = context;
    struct osd_store *store;
    enum lilio_err err = store_get(scrub, &store, info);
    for (size_t i = 0; i < scrub->task_count && !err; i++) {
        struct task *task = &scrub->tasks[i];
        task->err =
            store->ops->look(store, &task->key, &task->found_length, &task->found_checksum, NULL);
    }
    return err;
}

static enum lilio_err run_read(void *context, struct lilio_errinfo *info)
{
    struct osd_scrub *scrub = context;
    struct task *task = &scrub->tasks[scrub->task_at];
    struct osd_fragment fragment;
    struct osd_store *store;
    uint32_t size;
    enum lilio_err err = store_get(scrub, &store, info);
    if (err)
        return err;
    task->err =
        store->ops->get(store, &task->key, 0, CODEC_BLOCKS_MAX, /* verify */ true, scrub->buffer,
                        buffer_room, &fragment, scrub->key_room, &scrub->payload, &size, NULL);
    if (!task->err) {
        task->found_length = fragment.payload_length;
        task->found_checksum =
            codec_fragment_checksum(fragment.block_checksums, fragment.block_count);
    }
    return LILIO_OK;
}

static enum lilio_err run_load(void *context, struct lilio_errinfo *info)
{
    struct osd_scrub *scrub = context;
    struct osd_store *store;
    struct lilio_errinfo why = {0};
    enum lilio_err err = store_get(scrub, &store, info);
    if (err)
        return err;
    err = osd_scrub_load(&scrub->state, osd_home_disk(scrub->options.home), &why);
    if (err && err != LILIO_E_NOT_FOUND)
        base_log_write(osd_node_log(node_of(scrub)), BASE_LOG_WARN, "scrub", "state_not_read",
                       "reason=%s next=begun_anew", why.text);
    osd_scrub_void_hurt(&scrub->state);
    return err == LILIO_E_NOMEM ? lilio_fail(info, err, "no memory for the state") : LILIO_OK;
}

static enum lilio_err run_save(void *context, struct lilio_errinfo *info)
{
    struct osd_scrub *scrub = context;
    struct osd_store *store;
    enum lilio_err err = store_get(scrub, &store, info);
    if (!err && !osd_home_intact(scrub->options.home, /* full */ false))
        err = lilio_fail(info, LILIO_E_UNAVAILABLE, "the disk directory is gone");
    return err ? err : osd_scrub_save(&scrub->settled, osd_home_disk(scrub->options.home), info);
}

static enum lilio_err on_owner(struct osd_scrub *scrub, osd_node_fn fn, struct lilio_errinfo *info)
{
    return osd_node_call(node_of(scrub), fn, scrub, info);
}

/* ---- what is shown ---- */

/* Lock held, on the worker. Until that is on the disk it is done again: what was not settled may be
 * taken back. */
static void void_if_back(struct osd_scrub *scrub)
{
    if (!scrub->maps_back)
        return;
    osd_scrub_void_all(&scrub->state);
    osd_scrub_void_all(&scrub->settled);
}

static void publish(struct osd_scrub *scrub)
{
    const struct osd_scrub_round *round = round_of(scrub);
    struct sample now = {now_ms(scrub), osd_scrub_met(&round->counts), round->counts.bytes};
    pthread_mutex_lock(&scrub->lock);
    void_if_back(scrub);
    scrub->shown = scrub->state;
    if (now.ms - scrub->to[scrub->kind].ms >= SAMPLE_MS) {
        scrub->from[scrub->kind] = scrub->to[scrub->kind];
        scrub->to[scrub->kind] = now;
    }
    pthread_mutex_unlock(&scrub->lock);
}

/* Rates are counted from here on. */
static void samples_begin(struct osd_scrub *scrub)
{
    const struct osd_scrub_round *round = round_of(scrub);
    struct sample now = {now_ms(scrub), osd_scrub_met(&round->counts), round->counts.bytes};
    pthread_mutex_lock(&scrub->lock);
    scrub->from[scrub->kind] = scrub->to[scrub->kind] = now;
    pthread_mutex_unlock(&scrub->lock);
}

static void text_set(struct osd_scrub *scrub, const char *text)
{
    pthread_mutex_lock(&scrub->lock);
    (void)snprintf(scrub->text, sizeof scrub->text, "%s", text); /* cutting is fine */
    pthread_mutex_unlock(&scrub->lock);
}

/* ---- maps that went back ---- */

static enum lilio_err save(struct osd_scrub *scrub, struct lilio_errinfo *info)
{
    scrub->settled.ran_ms = ran_ms(scrub);
    enum lilio_err err = on_owner(scrub, run_save, info);
    scrub->save = err != LILIO_OK;
    scrub->saved_ms = now_ms(scrub);
    return err;
}

/* What the maps being put back took from the rounds is durable before anything else is done: one
 * that is forgotten would count again once the index is as high as before. */
static enum lilio_err maps_look(struct osd_scrub *scrub, struct lilio_errinfo *info)
{
    pthread_mutex_lock(&scrub->lock);
    bool back = scrub->maps_back;
    void_if_back(scrub);
    pthread_mutex_unlock(&scrub->lock);
    enum lilio_err err = back ? save(scrub, info) : LILIO_OK;
    if (!back || err)
        return err;
    pthread_mutex_lock(&scrub->lock);
    scrub->maps_back = false;
    pthread_mutex_unlock(&scrub->lock);
    LILIO_MARK("osd/scrub_maps_back");
    base_log_write(osd_node_log(node_of(scrub)), BASE_LOG_WARN, "scrub", "maps_back",
                   "reason=an_earlier_index next=rounds_do_not_count");
    return LILIO_OK;
}

/* Lock held. */
static uint64_t maps_index(const struct osd_scrub *scrub)
{
    uint64_t shown = osd_scrub_index(&scrub->shown);
    return shown > scrub->maps_index ? shown : scrub->maps_index;
}

uint64_t osd_scrub_maps_index(struct osd_scrub *scrub)
{
    pthread_mutex_lock(&scrub->lock);
    uint64_t index = maps_index(scrub);
    pthread_mutex_unlock(&scrub->lock);
    return index;
}

void osd_scrub_maps_are(struct osd_scrub *scrub, uint64_t before, uint64_t index)
{
    bool back = index > 0 && index < before;
    pthread_mutex_lock(&scrub->lock);
    if (back) {
        scrub->maps_back = true;
        osd_scrub_void_all(&scrub->shown);
    }
    if (back || index > scrub->maps_index)
        scrub->maps_index = index;
    pthread_mutex_unlock(&scrub->lock);
    if (!back)
        return;
    osd_thread_wake(&scrub->thread);
    osd_node_member_wake(node_of(scrub), false);
}

/* ---- findings ---- */

static void findings_begin(struct osd_scrub *scrub)
{
    pthread_mutex_lock(&scrub->lock);
    osd_scrub_findings_begin(&scrub->findings, (uint8_t)(scrub->kind + 1));
    pthread_mutex_unlock(&scrub->lock);
}

static void findings_passed(struct osd_scrub *scrub, struct base_oid oid)
{
    pthread_mutex_lock(&scrub->lock);
    osd_scrub_findings_passed(&scrub->findings, (uint8_t)(scrub->kind + 1), oid);
    pthread_mutex_unlock(&scrub->lock);
}

/* Keeps it by name, as long as there is room. */
static void found(struct osd_scrub *scrub, const struct task *task, uint32_t index, uint8_t kind)
{
    struct proto_scrub_finding at = {
        .oid = task->key.oid,
        .stripe = task->key.stripe,
        .index = (uint8_t)index,
        .kind = kind,
        .scrub = (uint8_t)(scrub->kind + 1),
    };
    pthread_mutex_lock(&scrub->lock);
    bool news = osd_scrub_findings_keep(&scrub->findings, &at, task->row);
    pthread_mutex_unlock(&scrub->lock);
    if (news)
        base_log_write(osd_node_log(node_of(scrub)), BASE_LOG_WARN, "scrub", "found",
                       "oid=%016" PRIx64 "%016" PRIx64 " stripe=%u index=%u kind=%u", at.oid.high,
                       at.oid.low, at.stripe, at.index, at.kind);
}

/* ---- judging ---- */

/* What the maps say of it now: the page may be old. */
enum standing { STANDING_OURS, STANDING_GONE, STANDING_KNOWN };

static enum lilio_err standing_ask(struct osd_scrub *scrub, const struct task *task,
                                   enum standing *ret, struct lilio_errinfo *info)
{
    struct proto_data_get get = {.oid = task->key.oid};
    struct proto_data data;
    enum lilio_err err = osd_worker_call(&scrub->worker, &proto_type_data_get, &get,
                                         &proto_type_data, scrub->worker.arena, &data, info);
    if (err == LILIO_E_NOT_FOUND) {
        *ret = STANDING_GONE;
        return LILIO_OK;
    }
    if (!err)
        err = proto_row_check(&data.data, info);
    if (err)
        return err;
    struct proto_map_ref *map = osd_node_map_take(node_of(scrub));
    uint64_t known = proto_row_missing(&data.data, task->key.stripe) |
                     proto_row_filling(proto_map_ref_get(map), &data.data, task->key.stripe);
    bool ours = proto_fragment_osd(proto_map_ref_get(map), &data.data, task->key.stripe,
                                   task->key.index) == osd_node_id(node_of(scrub));
    *ret = ours && !(known >> task->key.index & 1) ? STANDING_OURS : STANDING_KNOWN;
    proto_map_ref_drop(&map);
    return LILIO_OK;
}

static enum lilio_err judge_bad(struct osd_scrub *scrub, const struct task *task,
                                struct lilio_errinfo *info)
{
    enum standing standing;
    enum lilio_err err = standing_ask(scrub, task, &standing, info);
    if (err)
        return err;
    if (standing == STANDING_GONE) {
        counts_of(scrub)->gone++;
        return LILIO_OK;
    }
    if (standing == STANDING_KNOWN) {
        counts_of(scrub)->unread++;
        return LILIO_OK;
    }
    bool missing = task->err == LILIO_E_MISSING;
    LILIO_MARK("osd/scrub_found");
    counts_of(scrub)->bad++;
    uint8_t kind = missing ? OSD_REPORT_MISSING : OSD_REPORT_CORRUPT;
    osd_worker_report(&scrub->worker, proto_map_ref_get(scrub->map), &task->row->data,
                      task->key.stripe, task->key.index, kind);
    found(scrub, task, task->key.index, kind);
    return LILIO_OK;
}

static bool as_in_row(const struct task *task)
{
    return !task->err && task->found_length == task->length &&
           task->found_checksum == task->checksum;
}

/* A fragment that cannot be read is as good as corrupt: another place may do. */
static bool is_verdict(enum lilio_err err)
{
    return !err || err == LILIO_E_MISSING || err == LILIO_E_CORRUPT || err == LILIO_E_IO ||
           err == LILIO_E_INVALID;
}

static enum lilio_err judge(struct osd_scrub *scrub, const struct task *task,
                            struct lilio_errinfo *info)
{
    if (!is_verdict(task->err))
        return lilio_fail(info, task->err, "reading a fragment: %s", lilio_err_text(task->err));
    if (scrub->kind == OSD_SCRUB_DEEP)
        counts_of(scrub)->bytes += task->length;
    if (!as_in_row(task) && !LILIO_PLANTED("scrub_overlooks"))
        return judge_bad(scrub, task, info);
    counts_of(scrub)->good++;
    return LILIO_OK;
}

/* ---- pace of a deep round ---- */

static void clients_look(struct osd_scrub *scrub)
{
    uint64_t served = osd_node_served(node_of(scrub));
    if (served != scrub->served_seen)
        osd_throttle_served(&scrub->throttle, now_ns(scrub));
    scrub->served_seen = served;
}

/* A long run must not keep an order waiting: another rate holds at once; for another round what
 * was not settled is given up. A light round that is only due does wait: a run that takes longer
 * than the light period would never be read to its end. Errors: BUSY. */
static enum lilio_err orders_look(struct osd_scrub *scrub, struct lilio_errinfo *info)
{
    struct osd_scrub_round *round = round_of(scrub);
    bool light_waits = scrub->kind == OSD_SCRUB_DEEP && is_due(scrub, OSD_SCRUB_LIGHT);
    pthread_mutex_lock(&scrub->lock);
    scrub->light_waits = light_waits;
    bool wanted = scrub->orders[scrub->kind].wanted;
    bool joins = wanted && round->ordered && osd_scrub_round_counts(round);
    bool yields = (wanted && !joins) ||
                  (scrub->kind == OSD_SCRUB_DEEP && scrub->orders[OSD_SCRUB_LIGHT].wanted);
    if (joins) {
        round->rate = scrub->settled.rounds[scrub->kind].rate = scrub->orders[scrub->kind].rate;
        scrub->orders[scrub->kind].wanted = false;
        scrub->next_ns = 0;
    }
    pthread_mutex_unlock(&scrub->lock);
    scrub->yields = yields;
    return yields ? lilio_fail(info, LILIO_E_BUSY, "another round was asked for") : LILIO_OK;
}

static enum lilio_err pace_look(struct osd_scrub *scrub, struct lilio_errinfo *info)
{
    enum lilio_err err = maps_look(scrub, info);
    return err ? err : orders_look(scrub, info);
}

/* Waits until so many bytes may be read. Errors: CANCELLED, BUSY (another round comes first). */
static enum lilio_err pace(struct osd_scrub *scrub, uint64_t bytes, struct lilio_errinfo *info)
{
    const uint64_t second_ns = 1000000000;
    const struct osd_scrub_round *round = round_of(scrub);
    enum lilio_err err = pace_look(scrub, info);
    clients_look(scrub);
    for (uint64_t now; !err && (now = now_ns(scrub)) < scrub->next_ns; clients_look(scrub)) {
        uint64_t wait_ms = (scrub->next_ns - now) / 1000000 + 1;
        if (!osd_link_sleep(scrub->worker.link, -1,
                            wait_ms < PACE_MS ? (uint32_t)wait_ms : PACE_MS))
            return lilio_fail(info, LILIO_E_CANCELLED, "stopped");
        err = pace_look(scrub, info);
    }
    if (err)
        return err;
    uint64_t idle =
        scrub->throttle.idle_rate ? scrub->throttle.idle_rate : (uint64_t)OSD_THROTTLE_IDLE_DEFAULT;
    uint64_t needed = osd_scrub_needed(round, period_of(scrub, scrub->kind), ran_ms(scrub));
    bool clients = osd_throttle_clients(&scrub->throttle, now_ns(scrub));
    uint64_t limit = osd_scrub_limit(round, needed, clients, idle);
    if (limit && clients && round->ordered)
        LILIO_MARK("osd/scrub_held_back");
    scrub->next_ns = limit ? now_ns(scrub) + bytes * second_ns / limit : 0;
    if (limit)
        osd_throttle_dry(&scrub->throttle); /* what is held back measures no rate */
    return LILIO_OK;
}

/* ---- looking ---- */

/* A stripe that was deleted meanwhile is nobody's. */
static enum lilio_err parity_unread(struct osd_scrub *scrub, const struct task *task,
                                    struct lilio_errinfo *info)
{
    enum standing standing;
    enum lilio_err err = standing_ask(scrub, task, &standing, info);
    if (!err && standing != STANDING_GONE)
        counts_of(scrub)->stripes_unread++;
    return err;
}

static enum lilio_err parity_look(struct osd_scrub *scrub, const struct task *task,
                                  struct lilio_errinfo *info)
{
    uint64_t bad = 0;
    enum lilio_err err = osd_parity_check(scrub->parity, proto_map_ref_get(scrub->map),
                                          &task->row->data, task->key.stripe, scrub->payload, &bad);
    if (err == LILIO_E_CANCELLED || err == LILIO_E_NOMEM)
        return lilio_fail(info, err, "coding parity: %s", lilio_err_text(err));
    if (err)
        return parity_unread(scrub, task, info);
    counts_of(scrub)->stripes++;
    counts_of(scrub)->stripes_bad += bad != 0;
    for (; bad; bad &= bad - 1)
        found(scrub, task, (uint32_t)__builtin_ctzll(bad), OSD_SCRUB_FOUND_PARITY);
    return LILIO_OK;
}

static bool has_parity_to_check(const struct osd_scrub *scrub, const struct task *task)
{
    return scrub->kind == OSD_SCRUB_DEEP && task->key.index == 0 &&
           task->row->data.profile.parity_count > 0;
}

static enum lilio_err task_read(struct osd_scrub *scrub, struct task *task,
                                struct lilio_errinfo *info)
{
    uint32_t others =
        has_parity_to_check(scrub, task) ? task->row->data.profile.data_count - 1u : 0;
    uint64_t gone = 0; /* before this one */
    enum lilio_err err = pace(scrub, osd_scrub_cost(round_of(scrub), task->length, others), info);
    if (!err)
        err = on_owner(scrub, run_read, info);
    if (!err) {
        osd_throttle_done(&scrub->throttle, task->length, now_ns(scrub));
        gone = counts_of(scrub)->gone;
        err = judge(scrub, task, info);
        publish(scrub);
    }
    if (err || !has_parity_to_check(scrub, task))
        return err;
    if (as_in_row(task))
        return parity_look(scrub, task, info);
    counts_of(scrub)->stripes_unread += counts_of(scrub)->gone == gone;
    return LILIO_OK;
}

/* Looks at the tasks that were gathered. */
static enum lilio_err tasks_look(struct osd_scrub *scrub, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    bool light = scrub->kind == OSD_SCRUB_LIGHT;
    if (scrub->task_count == 0)
        return LILIO_OK;
    if (light)
        err = on_owner(scrub, run_look, info);
    for (scrub->task_at = 0; scrub->task_at < scrub->task_count && !err; scrub->task_at++) {
        struct task *task = &scrub->tasks[scrub->task_at];
        err = light ? judge(scrub, task, info) : task_read(scrub, task, info);
    }
    scrub->task_count = 0;
    if (!err && light && !osd_link_sleep(scrub->worker.link, -1, TASKS_PAUSE_MS))
        err = lilio_fail(info, LILIO_E_CANCELLED, "stopped");
    publish(scrub);
    return err;
}

/* ---- rows ---- */

/* Our fragment of a stripe. */
static enum lilio_err fragment_add(struct osd_scrub *scrub, const struct proto_scan_row *scan,
                                   uint32_t stripe, uint32_t index, struct lilio_errinfo *info)
{
    const struct proto_data_row *row = &scan->data;
    const struct proto_placement *placement =
        proto_map_placement(proto_map_ref_get(scrub->map), row->placement);
    struct codec_profile profile = osd_rebuild_profile(row);
    uint64_t missing = proto_row_missing(row, stripe);
    uint64_t filling = proto_row_filling(proto_map_ref_get(scrub->map), row, stripe);
    struct task task = {
        .row = scan,
        .key = {.placement = row->placement,
                .partition = proto_partition(placement->partition_bits, row->oid, stripe),
                .oid = row->oid,
                .stripe = stripe,
                .index = index},
        .length = codec_fragment_size(&profile,
                                      codec_stripe_length(&profile, row->stored_length, stripe)),
    };
    bool known_bad = missing >> index & 1;
    if (known_bad || filling >> index & 1 ||
        !proto_row_checksum(row, stripe, index, &task.checksum)) {
        counts_of(scrub)->unread++;
        if (!known_bad)
            osd_scrub_round_void(round_of(scrub));
        counts_of(scrub)->stripes_unread += has_parity_to_check(scrub, &task);
        return LILIO_OK;
    }
    scrub->tasks[scrub->task_count++] = task;
    return scrub->task_count == TASKS ? tasks_look(scrub, info) : LILIO_OK;
}

static enum lilio_err row_run(struct osd_scrub *scrub, const struct proto_scan_row *scan,
                              struct lilio_errinfo *info)
{
    const struct proto_data_row *row = &scan->data;
    const struct proto_cluster_map *map = proto_map_ref_get(scrub->map);
    struct lilio_errinfo bad = {0};
    enum lilio_err err = LILIO_OK;
    enum lilio_err wrong = proto_row_check(row, &bad);
    if (!wrong && !proto_map_placement(map, row->placement))
        wrong = lilio_fail(&bad, LILIO_E_MALFORMED, "no placement %u", row->placement);
    if (wrong) {
        base_log_write(osd_node_log(node_of(scrub)), BASE_LOG_ERROR, "scrub", "bad_row",
                       "oid=%016" PRIx64 "%016" PRIx64 " reason=%s", row->oid.high, row->oid.low,
                       bad.text);
        counts_of(scrub)->unread++; /* nothing can be said about its fragments; verify names it */
        osd_scrub_round_void(round_of(scrub));
        return LILIO_OK;
    }
    struct codec_profile profile = osd_rebuild_profile(row);
    uint64_t stripes = codec_stripe_count(&profile, row->stored_length);
    for (uint32_t stripe = 0; stripe < stripes && !err; stripe++) {
        uint64_t own = osd_rebuild_own(map, row, stripe, osd_node_id(node_of(scrub)));
        for (; own && !err; own &= own - 1)
            err = fragment_add(scrub, scan, stripe, (uint32_t)__builtin_ctzll(own), info);
    }
    return err;
}

/* ---- settling ---- */

static uint64_t save_interval_ms(const struct osd_scrub *scrub)
{
    const struct osd_scrub_round *round = &scrub->state.rounds[scrub->kind];
    if (!round->running)
        return SAVE_IDLE_MS;
    uint64_t interval = round->ordered ? SAVE_MS_MIN : period_of(scrub, scrub->kind) / 10000;
    interval = interval < SAVE_MS_MIN ? SAVE_MS_MIN : interval;
    return interval > SAVE_MS_MAX ? SAVE_MS_MAX : interval;
}

/* Everything up to this run is done, and what was found is in the maps. */
static enum lilio_err settle(struct osd_scrub *scrub, struct base_oid oid,
                             struct lilio_errinfo *info)
{
    struct osd_node_view view;
    osd_worker_reports_send(&scrub->worker);
    if (scrub->worker.reports_lost) {
        scrub->worker.reports_lost = false;
        return lilio_fail(info, LILIO_E_UNAVAILABLE, "what was found could not be reported");
    }
    round_of(scrub)->cursor = oid;
    osd_node_view(node_of(scrub), &view);
    if (round_of(scrub)->running)
        osd_scrub_round_grow(round_of(scrub), view.space.fragment_count, view.space.used_bytes);
    scrub->settled = scrub->state;
    findings_passed(scrub, oid);
    publish(scrub);
    if (scrub->save || now_ms(scrub) - scrub->saved_ms >= save_interval_ms(scrub))
        return save(scrub, info);
    return LILIO_OK;
}

/* ---- what is to be done ---- */

static bool is_ordered(struct osd_scrub *scrub, enum osd_scrub_kind kind)
{
    pthread_mutex_lock(&scrub->lock);
    bool wanted = scrub->orders[kind].wanted;
    pthread_mutex_unlock(&scrub->lock);
    return wanted;
}

/* Something may be done for a round of this kind. */
static bool is_wanted(struct osd_scrub *scrub, enum osd_scrub_kind kind)
{
    const struct osd_scrub_round *round = &scrub->state.rounds[kind];
    bool goes_on = round->running && (round->ordered || period_of(scrub, kind) > 0);
    return goes_on || is_ordered(scrub, kind) || is_due(scrub, kind);
}

static bool has_turn(struct osd_scrub *scrub, enum osd_scrub_kind *ret)
{
    *ret = is_wanted(scrub, OSD_SCRUB_LIGHT) ? OSD_SCRUB_LIGHT : OSD_SCRUB_DEEP;
    return *ret == OSD_SCRUB_LIGHT || is_wanted(scrub, OSD_SCRUB_DEEP);
}

/* Another round, or this one with another rate, has to begin first. */
static bool must_yield(struct osd_scrub *scrub)
{
    return is_ordered(scrub, scrub->kind) ||
           (scrub->kind == OSD_SCRUB_DEEP && is_wanted(scrub, OSD_SCRUB_LIGHT));
}

/* What was ordered, or is due, begins. */
static void round_ready(struct osd_scrub *scrub)
{
    struct osd_scrub_round *round = round_of(scrub);
    pthread_mutex_lock(&scrub->lock);
    bool ordered = scrub->orders[scrub->kind].wanted;
    uint64_t rate = scrub->orders[scrub->kind].rate;
    scrub->orders[scrub->kind].wanted = false;
    pthread_mutex_unlock(&scrub->lock);
    if (!ordered && round->running) {
        if (scrub->from[scrub->kind].ms == 0)
            samples_begin(scrub); /* goes on after a restart */
        return;
    }
    bool joined = ordered && round->running && round->ordered && osd_scrub_round_counts(round);
    if (!joined) {
        struct osd_node_view view;
        osd_node_view(node_of(scrub), &view);
        osd_scrub_round_begin(round, view.space.fragment_count, view.space.used_bytes,
                              ran_ms(scrub), wall_ms(scrub));
        findings_begin(scrub);
        samples_begin(scrub);
    }
    round->ordered = ordered;
    round->rate = rate;
    scrub->next_ns = 0;
    scrub->settled = scrub->state;
    scrub->save = true; /* with the first row */
    publish(scrub);
    osd_node_member_wake(node_of(scrub), false);
    base_log_write(osd_node_log(node_of(scrub)), BASE_LOG_INFO, "scrub",
                   joined ? "goes_on" : "begins", "kind=%u ordered=%d rate=%" PRIu64,
                   (unsigned)scrub->kind + 1, ordered, rate);
}

static enum lilio_err round_over(struct osd_scrub *scrub, struct lilio_errinfo *info)
{
    struct osd_scrub_round *round = round_of(scrub);
    osd_scrub_round_end(round, wall_ms(scrub));
    if (scrub->kind == OSD_SCRUB_LIGHT)
        LILIO_MARK("osd/scrub_light_round");
    else
        LILIO_MARK("osd/scrub_deep_round");
    base_log_write(osd_node_log(node_of(scrub)), BASE_LOG_INFO, "scrub", "ended",
                   "kind=%u good=%" PRIu64 " bad=%" PRIu64 " unread=%" PRIu64
                   " parity_bad=%" PRIu64,
                   (unsigned)scrub->kind + 1, round->last.good, round->last.bad, round->last.unread,
                   round->last.stripes_bad);
    scrub->save = true;
    findings_passed(scrub, (struct base_oid){UINT64_MAX, UINT64_MAX});
    enum lilio_err err = settle(scrub, round->cursor, info);
    osd_node_member_wake(node_of(scrub), false);
    return err;
}

/* ---- a page ---- */

static enum lilio_err page_fetch(struct osd_scrub *scrub, struct osd_page **ret_page,
                                 struct lilio_errinfo *info)
{
    struct osd_walk walk = {.worker = &scrub->worker};
    uint64_t before = osd_scrub_maps_index(scrub);
    enum lilio_err err = osd_walk_open(&walk, info);
    if (err)
        return err;
    osd_scrub_maps_are(scrub, before, walk.index);
    err = maps_look(scrub, info); /* a round whose first page this is counts yet */
    if (!err)
        err = osd_walk_map_wait(&walk, info);
    if (!err)
        err = osd_walk_page(&walk, round_of(scrub)->cursor, ret_page, info);
    osd_walk_close(&walk);
    if (err)
        return err;
    osd_scrub_round_pinned(round_of(scrub), walk.index, walk.epoch, walk.stripes_ever);
    proto_map_ref_drop(&scrub->map);
    scrub->map = osd_node_map_take(node_of(scrub));
    return LILIO_OK;
}

static enum lilio_err rows_run(struct osd_scrub *scrub, const struct proto_scan_page *page,
                               struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    for (size_t i = 0; i < page->rows_count && !err; i++) {
        bool last = i + 1 == page->rows_count;
        bool yield = must_yield(scrub);
        err = row_run(scrub, &page->rows[i], info);
        if (err || (scrub->kind == OSD_SCRUB_LIGHT && !last && !yield))
            continue; /* the index is asked about many rows at once */
        err = tasks_look(scrub, info);
        if (!err)
            err = settle(scrub, page->rows[i].data.oid, info);
        if (yield)
            return err;
    }
    if (!err && (!page->more || page->rows_count == 0))
        err = round_over(scrub, info);
    return err;
}

static enum lilio_err page_run(struct osd_scrub *scrub, struct lilio_errinfo *info)
{
    struct osd_page *page = NULL;
    round_ready(scrub);
    enum lilio_err err = page_fetch(scrub, &page, info);
    if (!err)
        err = rows_run(scrub, &page->page, info);
    scrub->task_count = 0;
    osd_page_drop(&page);
    pthread_mutex_lock(&scrub->lock);
    scrub->light_waits = false;
    pthread_mutex_unlock(&scrub->lock);
    return err;
}

/* ---- the thread ---- */

/* The state of the disk at hand, read once. */
static enum lilio_err state_ready(struct osd_scrub *scrub, const struct osd_node_view *view,
                                  struct lilio_errinfo *info)
{
    if (base_uuid_equal(scrub->state.disk_uuid, view->disk_uuid))
        return LILIO_OK;
    scrub->state = (struct osd_scrub_state){.cluster_id = osd_node_cluster(node_of(scrub)),
                                            .disk_uuid = view->disk_uuid};
    enum lilio_err err = on_owner(scrub, run_load, info);
    if (err) {
        scrub->state.disk_uuid = (struct base_uuid){0};
        return err;
    }
    scrub->settled = scrub->state;
    scrub->saved_ms = now_ms(scrub);
    pthread_mutex_lock(&scrub->lock);
    scrub->ran_ms = scrub->state.ran_ms;
    scrub->ran_from_ms = scrub->saved_ms;
    /* What was heard since this process began was asked for behind the rounds of the file. */
    uint64_t heard = scrub->maps_index;
    pthread_mutex_unlock(&scrub->lock);
    osd_scrub_maps_are(scrub, osd_scrub_index(&scrub->state), heard);
    publish(scrub);
    return LILIO_OK;
}

/* A disk that is not proven to have what it should would be one large finding. */
static enum lilio_err may_run(struct osd_scrub *scrub, struct lilio_errinfo *info)
{
    struct osd_node_view view;
    osd_node_view(node_of(scrub), &view);
    if (view.state != OSD_NODE_SERVING)
        return lilio_fail(info, LILIO_E_UNAVAILABLE, "this OSD does not serve");
    enum lilio_err err = state_ready(scrub, &view, info);
    if (!err)
        err = maps_look(scrub, info);
    if (err)
        return err;
    struct proto_map_ref *map = osd_node_map_take(node_of(scrub));
    const struct proto_osd *self =
        map ? proto_map_osd(proto_map_ref_get(map), osd_node_id(node_of(scrub))) : NULL;
    bool complete = self && self->complete;
    proto_map_ref_drop(&map);
    if (!complete)
        return lilio_fail(info, LILIO_E_UNAVAILABLE, "no rebuild has proven this OSD's content");
    if (scrub->options.rebuild && osd_rebuild_runs(scrub->options.rebuild))
        return lilio_fail(info, LILIO_E_UNAVAILABLE, "a rebuild runs");
    return LILIO_OK;
}

/* What was not settled is taken back. */
static void failed(struct osd_scrub *scrub, enum lilio_err err, const char *text)
{
    if (err == LILIO_E_CANCELLED)
        return;
    if (scrub->yields) {
        scrub->state = scrub->settled;
        scrub->yields = false;
        return;
    }
    LILIO_MARK("osd/scrub_again");
    bool news = scrub->backoff_ms == 0;
    scrub->state = scrub->settled;
    scrub->backoff_ms = news ? BACKOFF_MS_MIN : 2 * scrub->backoff_ms;
    scrub->backoff_ms = scrub->backoff_ms < BACKOFF_MS_MAX ? scrub->backoff_ms : BACKOFF_MS_MAX;
    text_set(scrub, text);
    publish(scrub);
    if (news)
        base_log_write(osd_node_log(node_of(scrub)), BASE_LOG_WARN, "scrub", "waits", "reason=%s",
                       text);
}

static void step(struct osd_scrub *scrub)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = may_run(scrub, &info);
    if (err) { /* nothing went wrong */
        text_set(scrub, info.text);
        scrub->backoff_ms = 0;
        return;
    }
    if (has_turn(scrub, &scrub->kind))
        err = page_run(scrub, &info);
    else if (now_ms(scrub) - scrub->saved_ms >= SAVE_IDLE_MS)
        err = save(scrub, &info);
    if (err) {
        failed(scrub, err, info.text);
        return;
    }
    scrub->backoff_ms = 0;
    text_set(scrub, "");
}

/* Sleeps until something may be done; false when it is to stop. */
static bool rest(struct osd_scrub *scrub)
{
    enum osd_scrub_kind kind;
    bool held = scrub->text[0] != '\0'; /* written by this thread alone */
    bool begun = !base_uuid_is_zero(scrub->state.disk_uuid);
    uint32_t wait = scrub->backoff_ms                 ? scrub->backoff_ms
                    : !held && has_turn(scrub, &kind) ? 0
                    : begun                           ? POLL_MS
                                                      : POLL_MS / 16;
    return osd_thread_rest(&scrub->thread, scrub->worker.link, wait && !held, wait);
}

static void *run(void *context)
{
    struct osd_scrub *scrub = context;
    while (rest(scrub))
        step(scrub);
    proto_map_ref_drop(&scrub->map);
    osd_parity_free(&scrub->parity);
    osd_worker_release(&scrub->worker);
    return NULL;
}

/* ---- for others ---- */

void osd_scrub_order(struct osd_scrub *scrub, enum osd_scrub_kind kind, uint64_t rate)
{
    pthread_mutex_lock(&scrub->lock);
    scrub->orders[kind].wanted = true;
    scrub->orders[kind].rate = rate;
    pthread_mutex_unlock(&scrub->lock);
    osd_thread_wake(&scrub->thread);
}

/* Lock held. */
static void line_fill(struct osd_scrub *scrub, enum osd_scrub_kind kind,
                      struct proto_scrub_line *ret)
{
    struct osd_scrub_round round = scrub->shown.rounds[kind];
    const struct sample *from = &scrub->from[kind];
    uint64_t elapsed = from->ms ? now_ms(scrub) - from->ms : 0;
    if (scrub->orders[kind].wanted && !(round.running && round.ordered)) {
        osd_scrub_round_begin(&round, 0, 0, 0, wall_ms(scrub)); /* it is about to */
        round.ordered = true;
        elapsed = 0;
    }
    osd_scrub_line(&round, kind, wall_ms(scrub), ran_ms(scrub), ret);
    ret->osd = osd_node_id(node_of(scrub));
    ret->period_ms = period_of(scrub, kind);
    if (!round.running && kind == OSD_SCRUB_LIGHT && scrub->light_waits)
        ret->state = OSD_SCRUB_WAITS;
    if (!round.running)
        return;
    if (scrub->text[0])
        ret->state = OSD_SCRUB_STUCK;
    else if (elapsed > 0 && round.counts.bytes >= from->bytes)
        ret->bytes_per_s = (round.counts.bytes - from->bytes) * 1000 / elapsed;
    ret->eta_ms = scrub->text[0] ? 0 : osd_scrub_eta_ms(&round, from->met, elapsed);
}

size_t osd_scrub_lines(struct osd_scrub *scrub, struct proto_scrub_line ret[OSD_SCRUB_KINDS])
{
    pthread_mutex_lock(&scrub->lock);
    bool known = !base_uuid_is_zero(scrub->shown.disk_uuid);
    for (int kind = 0; kind < OSD_SCRUB_KINDS; kind++) {
        known |= scrub->orders[kind].wanted;
        line_fill(scrub, (enum osd_scrub_kind)kind, &ret[kind]);
    }
    pthread_mutex_unlock(&scrub->lock);
    return known ? OSD_SCRUB_KINDS : 0;
}

enum lilio_err osd_scrub_get(struct osd_scrub *scrub, struct proto_arena *arena,
                             struct proto_scrub *ret)
{
    struct proto_scrub_line *lines = proto_arena_take(arena, OSD_SCRUB_KINDS * sizeof *lines);
    char *text = proto_arena_take(arena, sizeof scrub->text);
    if (!lines || !text)
        return LILIO_E_NOMEM;
    *ret = (struct proto_scrub){.lines = lines, .lines_count = osd_scrub_lines(scrub, lines)};
    pthread_mutex_lock(&scrub->lock);
    enum lilio_err err = osd_scrub_findings_list(&scrub->findings, arena, ret);
    ret->text = base_slice(text, proto_utf8_clean(scrub->text, text, sizeof scrub->text));
    pthread_mutex_unlock(&scrub->lock);
    return err;
}

/* ---- life ---- */

/* Not all OSDs of a cluster that was started look at the maps at once, and none of one that is gone
 * in some minutes. */
static uint64_t first_after_ms(const struct osd_scrub_options *options)
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < OSD_SCRUB_KINDS; i++)
        if (options->period_ms[i] > 0 && options->period_ms[i] < least)
            least = options->period_ms[i];
    least /= 64;
    return (least < FIRST_MS ? least : FIRST_MS) * (15 + osd_node_id(options->node) % 16);
}

enum lilio_err osd_scrub_start(const struct osd_scrub_options *options,
                               struct osd_scrub **ret_scrub)
{
    struct osd_scrub *scrub = calloc(1, sizeof *scrub);
    if (!scrub)
        return LILIO_E_NOMEM;
    scrub->options = *options;
    scrub->first_ms = now_ms(scrub) + first_after_ms(options);
    pthread_mutex_init(&scrub->lock, NULL);
    scrub->buffer = aligned_alloc(BASE_DISK_BLOCK, buffer_room);
    struct osd_link_options link = {
        .context = options->context,
        .endpoints = options->coordinators,
        .endpoint_count = options->coordinator_count,
        .stop_fds = {osd_node_stop_fd(options->node), -1},
    };
    enum lilio_err err = osd_thread_init(&scrub->thread);
    if (!err && !scrub->buffer)
        err = LILIO_E_NOMEM;
    if (!err)
        err = osd_parity_new(options->node, options->context, &scrub->parity);
    if (!err)
        err = osd_worker_init(&scrub->worker, options->node, "scrub", &link);
    if (!err)
        err = osd_thread_start(&scrub->thread, run, scrub);
    if (err) {
        osd_worker_release(&scrub->worker);
        osd_parity_free(&scrub->parity);
        osd_scrub_stop(&scrub);
        return err;
    }
    *ret_scrub = scrub;
    return LILIO_OK;
}

void osd_scrub_stop(struct osd_scrub **scrub)
{
    struct osd_scrub *mine = *scrub;
    *scrub = NULL;
    if (!mine)
        return;
    osd_thread_stop(&mine->thread);
    pthread_mutex_destroy(&mine->lock);
    free(mine->buffer);
    free(mine);
}
