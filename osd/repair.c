/* How a job becomes good fragments:
 *
 *   1. The heartbeat's thread puts it into a place: WAITING.
 *   2. The worker takes the most endangered one, fetches its row, and gives the engine a task for
 *      each fragment that is in our slots and that the row calls missing or corrupt: ACTIVE. The
 *      engine looks first: what turns out to be good is reported as such and touched no more.
 *   3. When its last task has ended it is SETTLED: what was found good waits to be reported.
 *   4. When the maps have the report it is DONE, and the next heartbeats say so until one is
 *      answered. Then the place is free.
 *
 * Many jobs are under way at a time, and one that waits for silent sources holds up none. While a
 * rebuild of this OSD runs, jobs wait: it mends the same fragments, the most endangered first.
 *
 * A crash forgets jobs; their leases run out and are given again. What was mended but not reported
 * is found good then.
 */
#include "osd/repair.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "base/planted.h"
#include "osd/fill.h"
#include "osd/rebuild_priv.h"
#include "osd/thread.h"
#include "osd/throttle.h"
#include "osd/worker.h"

#include "base/banned.h"

enum {
    WAIT_MS = 200,       /* between two looks at a rebuild that runs, or a map that is old */
    MAP_TRIES = 25,      /* of those looks */
    PACE_MS = 50,        /* at most so long without a look at the clients while held back */
    FILL_TURN = 64,      /* tasks of slots that fill between two looks at everything else */
    REPORT_AFTER_MS = 50 /* a job that is settled waits so long for others to report with */
};

enum state { STATE_FREE, STATE_WAITING, STATE_ACTIVE, STATE_SETTLED, STATE_DONE };

struct place {
    enum state state; /* lock held; WAITING becomes ACTIVE, SETTLED, DONE by the worker alone */
    struct proto_repair_job job;
    uint64_t order; /* of arrival */
    /* The worker's until DONE. */
    struct proto_repair_result result; /* without reason */
    char reason[256];
    size_t open; /* tasks under way */
};

struct osd_repair {
    struct osd_repair_options options;
    struct osd_thread thread;

    pthread_mutex_t lock; /* guards what follows */
    struct place places[OSD_REPAIR_JOBS];
    uint64_t orders; /* ever taken */
    uint32_t share;
    uint64_t bytes;
    bool clients;

    /* Worker only. */
    struct osd_worker worker;
    struct osd_engine *engine;
    struct osd_fill *fill;
    struct proto_map_ref *map; /* the engine's */
    struct osd_throttle throttle;
    uint64_t served_seen; /* the node's count of client requests */
    size_t active, settled;
    uint64_t settled_ms; /* when the first of those was */
};

static struct osd_node *node_of(const struct osd_repair *repair)
{
    return repair->options.node;
}

static uint64_t now_ns(const struct osd_repair *repair)
{
    return base_now_ns(osd_node_clock(node_of(repair)));
}

static uint64_t now_ms(const struct osd_repair *repair)
{
    return base_now_ms(osd_node_clock(node_of(repair)));
}

static bool is_serving(struct osd_repair *repair)
{
    struct osd_node_view view;
    osd_node_view(node_of(repair), &view);
    return view.state == OSD_NODE_SERVING;
}

/* ---- on the heartbeat's thread ---- */

/* Of that run, or a free one; NULL if there is none. Lock held. */
static struct place *place_for(struct osd_repair *repair, struct base_oid oid)
{
    struct place *free_place = NULL;
    for (size_t i = 0; i < OSD_REPAIR_JOBS; i++) {
        struct place *place = &repair->places[i];
        if (place->state == STATE_FREE)
            free_place = free_place ? free_place : place;
        else if (base_oid_equal(place->job.oid, oid))
            return place;
    }
    return free_place;
}

void osd_repair_orders(struct osd_repair *repair, const struct proto_osd_orders *orders)
{
    bool serving = is_serving(repair);
    pthread_mutex_lock(&repair->lock);
    repair->share = orders->repair_share;
    for (size_t i = 0; i < orders->repair_count && serving; i++) {
        struct place *place = place_for(repair, orders->repair[i].oid);
        if (!place)
            continue; /* the leader sees that it is not named */
        if (place->state != STATE_FREE)
            LILIO_MARK("osd/repair_new_lease");
        else
            *place = (struct place){
                .state = STATE_WAITING, .job = orders->repair[i], .order = repair->orders++};
        place->job.id = orders->repair[i].id;
    }
    pthread_mutex_unlock(&repair->lock);
    if (orders->fills_count > 0 && serving)
        osd_fill_order(repair->fill, &orders->fills[0]);
    if (orders->repair_count + orders->fills_count > 0)
        osd_thread_wake(&repair->thread);
}

void osd_repair_news(struct osd_repair *repair, struct osd_repair_news *ret)
{
    pthread_mutex_lock(&repair->lock);
    ret->repairing_count = ret->repaired_count = 0;
    ret->bytes = repair->bytes;
    ret->clients = repair->clients;
    for (size_t i = 0; i < OSD_REPAIR_JOBS; i++) {
        const struct place *place = &repair->places[i];
        if (place->state == STATE_FREE)
            continue;
        if (place->state != STATE_DONE) {
            ret->repairing[ret->repairing_count++] = place->job.id;
            continue;
        }
        size_t at = ret->repaired_count++;
        size_t size = proto_utf8_clean(place->reason, ret->reasons[at], sizeof ret->reasons[at]);
        ret->repaired[at] = place->result;
        ret->repaired[at].id = place->job.id;
        ret->repaired[at].oid = place->job.oid;
        ret->repaired[at].reason = base_slice(ret->reasons[at], size);
    }
    pthread_mutex_unlock(&repair->lock);
    ret->fill_count = osd_fill_news(repair->fill, &ret->fill, ret->fill_reason);
}

void osd_repair_confirmed(struct osd_repair *repair, const struct osd_repair_news *news)
{
    pthread_mutex_lock(&repair->lock);
    for (size_t i = 0; i < news->repaired_count; i++)
        for (size_t p = 0; p < OSD_REPAIR_JOBS; p++)
            if (repair->places[p].state == STATE_DONE &&
                repair->places[p].job.id == news->repaired[i].id)
                repair->places[p].state = STATE_FREE;
    pthread_mutex_unlock(&repair->lock);
    if (news->fill_count > 0)
        osd_fill_confirmed(repair->fill, &news->fill);
}

/* ---- jobs, on the worker's thread ---- */

/* The worker's own view of a run; NULL if it is not under way. */
static struct place *active_of(struct osd_repair *repair, struct base_oid oid)
{
    struct place *found = NULL;
    pthread_mutex_lock(&repair->lock);
    for (size_t i = 0; i < OSD_REPAIR_JOBS && !found; i++)
        if (repair->places[i].state == STATE_ACTIVE &&
            base_oid_equal(repair->places[i].job.oid, oid))
            found = &repair->places[i];
    pthread_mutex_unlock(&repair->lock);
    return found;
}

static void fail(struct place *place, enum lilio_err err, const char *reason)
{
    if (place->result.err)
        return; /* the first one tells most */
    place->result.err = err;
    (void)lilio_text_fit(reason, strlen(reason), place->reason, sizeof place->reason);
}

static void settle(struct osd_repair *repair, struct place *place)
{
    if (repair->settled++ == 0)
        repair->settled_ms = now_ms(repair);
    repair->active--;
    pthread_mutex_lock(&repair->lock);
    place->state = STATE_SETTLED;
    pthread_mutex_unlock(&repair->lock);
}

static void task_end(struct osd_repair *repair, struct place *place)
{
    if (--place->open == 0)
        settle(repair, place);
}

/* Tells the maps, then the leader. Without the maps nothing is done: what was lost may have been of
 * a run that is under way still. */
static void settled_finish(struct osd_repair *repair)
{
    size_t left = 0, done = 0;
    if (repair->settled == 0)
        return;
    osd_worker_reports_send(&repair->worker);
    pthread_mutex_lock(&repair->lock);
    for (size_t i = 0; i < OSD_REPAIR_JOBS; i++) {
        struct place *place = &repair->places[i];
        if (repair->worker.reports_lost &&
            (place->state == STATE_ACTIVE || place->state == STATE_SETTLED))
            fail(place, LILIO_E_UNAVAILABLE, "what was found could not be reported");
        if (place->state == STATE_SETTLED)
            place->state = STATE_DONE;
        done += place->state == STATE_DONE;
        left += place->state == STATE_WAITING || place->state == STATE_ACTIVE;
    }
    pthread_mutex_unlock(&repair->lock);
    /* Some of them may have been about a slot that fills. */
    if (repair->worker.reports_lost && osd_fill_runs(repair->fill))
        osd_fill_fail(repair->fill, LILIO_E_UNAVAILABLE, "what was found could not be reported");
    repair->worker.reports_lost = false;
    repair->settled = 0;
    if (left <= done)
        osd_node_member_wake(node_of(repair), false); /* there is room for more */
}

/* All whom a lost report may have been about were told: what comes does not fail because of it. */
static void loss_forget(struct osd_repair *repair)
{
    if (repair->active == 0 && repair->settled == 0 && !osd_fill_runs(repair->fill))
        repair->worker.reports_lost = false;
}

static void settled_look(struct osd_repair *repair)
{
    if (repair->settled > 0 && (repair->active == 0 || repair->settled >= OSD_REPAIR_JOBS / 2 ||
                                now_ms(repair) - repair->settled_ms >= REPORT_AFTER_MS))
        settled_finish(repair);
}

/* ---- what the engine tells ---- */

static void rebuilt(struct osd_repair *repair, uint32_t bytes)
{
    osd_throttle_done(&repair->throttle, bytes, now_ns(repair));
    pthread_mutex_lock(&repair->lock);
    repair->bytes += bytes;
    pthread_mutex_unlock(&repair->lock);
}

static uint32_t task_bytes(const struct osd_task *task)
{
    const struct proto_data_row *row = &task->row->data;
    struct codec_profile profile = osd_rebuild_profile(row);
    return codec_fragment_size(&profile,
                               codec_stripe_length(&profile, row->stored_length, task->stripe));
}

static void on_done(void *context, const struct osd_task *task, enum osd_task_outcome outcome,
                    uint32_t bytes, enum lilio_err err, const char *reason)
{
    struct osd_repair *repair = context;
    const struct proto_cluster_map *map = proto_map_ref_get(repair->map);
    const struct proto_data_row *row = &task->row->data;
    if (outcome == OSD_TASK_REBUILT)
        rebuilt(repair, bytes);
    osd_throttle_end(&repair->throttle, task_bytes(task));
    if (task->fill) {
        osd_fill_closed(repair->fill, map, task, outcome);
        return;
    }
    struct place *place = active_of(repair, row->oid);
    if (outcome == OSD_TASK_PRESENT || outcome == OSD_TASK_REBUILT ||
        LILIO_PLANTED("repair_hides_failures"))
        osd_worker_report(&repair->worker, map, row, task->stripe, task->index, OSD_REPORT_GOOD);
    LILIO_ASSERT(place);
    struct proto_repair_result *result = &place->result;
    switch (outcome) {
    case OSD_TASK_PRESENT:
        LILIO_MARK("osd/repair_present");
        result->present++;
        break;
    case OSD_TASK_REBUILT: result->mended++, result->bytes += bytes; break;
    case OSD_TASK_GONE: break; /* so is its row */
    case OSD_TASK_FAILED: result->failed++, fail(place, err, reason); break;
    }
    task_end(repair, place);
}

static bool on_gone(void *context, const struct osd_task *task)
{
    struct osd_repair *repair = context;
    return osd_worker_gone(&repair->worker, task->row->data.oid);
}

static void on_bad_source(void *context, const struct osd_task *task, uint32_t index,
                          enum lilio_err err)
{
    struct osd_repair *repair = context;
    osd_worker_report(&repair->worker, proto_map_ref_get(repair->map), &task->row->data,
                      task->stripe, index,
                      err == LILIO_E_MISSING ? OSD_REPORT_MISSING : OSD_REPORT_CORRUPT);
}

static void on_source_read(void *context, uint64_t bytes)
{
    (void)context;
    (void)bytes;
}

/* ---- the engine ---- */

/* Our own store cannot go on: every job under way ends with that. */
static void engine_drop(struct osd_repair *repair, enum lilio_err err, const char *reason)
{
    osd_engine_free(&repair->engine);
    repair->throttle.open_bytes = 0;
    osd_fill_forget_tasks(repair->fill);
    osd_fill_fail(repair->fill, err, reason);
    for (size_t i = 0; i < OSD_REPAIR_JOBS; i++) {
        struct place *place = &repair->places[i];
        pthread_mutex_lock(&repair->lock);
        bool active = place->state == STATE_ACTIVE;
        pthread_mutex_unlock(&repair->lock);
        if (!active)
            continue;
        fail(place, err, reason);
        place->open = 0;
        settle(repair, place);
    }
}

static enum lilio_err engine_step(struct osd_repair *repair)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = osd_engine_step(repair->engine, &info);
    if (err)
        engine_drop(repair, err, info.text);
    return err;
}

/* An engine on the newest map; what is under way on an older one is brought to its end first. */
static enum lilio_err engine_ready(struct osd_repair *repair, struct lilio_errinfo *info)
{
    uint64_t epoch = repair->map ? proto_map_ref_get(repair->map)->epoch : 0;
    if (repair->engine && epoch == osd_node_epoch(node_of(repair)))
        return LILIO_OK;
    enum lilio_err err = LILIO_OK;
    if (repair->engine)
        LILIO_MARK("osd/repair_new_map");
    while (repair->engine && osd_engine_busy(repair->engine) && !err)
        err = engine_step(repair);
    if (err)
        return lilio_fail(info, err, "the jobs under way could not be ended");
    osd_engine_free(&repair->engine);
    proto_map_ref_drop(&repair->map);
    repair->map = osd_node_map_take(node_of(repair));
    if (!repair->map)
        return lilio_fail(info, LILIO_E_UNAVAILABLE, "there is no cluster map yet");
    struct osd_engine_options options = {
        .node = node_of(repair),
        .context = repair->options.context,
        .own_endpoint = repair->options.own_endpoint,
        .map = repair->map,
        .stop_fds = {-1, osd_node_stop_fd(node_of(repair))},
        .events = {repair, on_done, on_gone, on_bad_source, on_source_read},
    };
    return osd_engine_new(&options, &repair->engine, info);
}

/* ---- pace ---- */

static void clients_look(struct osd_repair *repair)
{
    uint64_t served = osd_node_served(node_of(repair)), now = now_ns(repair);
    if (served != repair->served_seen)
        osd_throttle_served(&repair->throttle, now);
    repair->served_seen = served;
    pthread_mutex_lock(&repair->lock);
    repair->throttle.share = repair->share;
    repair->clients = osd_throttle_clients(&repair->throttle, now);
    pthread_mutex_unlock(&repair->lock);
}

/* Works on what is under way, or sleeps, until the next task may begin. False: it is to stop. */
static bool pace(struct osd_repair *repair)
{
    uint64_t wait_ns;
    for (clients_look(repair);
         (wait_ns = osd_throttle_wait_ns(&repair->throttle, now_ns(repair))) > 0;
         clients_look(repair)) {
        uint64_t wait_ms = wait_ns / 1000000 + 1;
        if (osd_engine_busy(repair->engine)) {
            if (engine_step(repair))
                return false;
        } else if (!osd_link_sleep(repair->worker.link, -1,
                                   wait_ms < PACE_MS ? (uint32_t)wait_ms : PACE_MS)) {
            return false;
        }
        settled_look(repair);
    }
    return true;
}

static bool room_make(struct osd_repair *repair, uint32_t bytes)
{
    while (!osd_throttle_has_room(&repair->throttle, bytes)) {
        if (engine_step(repair))
            return false;
        settled_look(repair);
    }
    return true;
}

/* ---- a job begins ---- */

static struct place *waiting_take(struct osd_repair *repair)
{
    struct place *best = NULL;
    pthread_mutex_lock(&repair->lock);
    for (size_t i = 0; i < OSD_REPAIR_JOBS; i++) {
        struct place *place = &repair->places[i];
        if (place->state == STATE_WAITING &&
            (!best || place->job.margin < best->job.margin ||
             (place->job.margin == best->job.margin && place->order < best->order)))
            best = place;
    }
    if (best)
        best->state = STATE_ACTIVE;
    pthread_mutex_unlock(&repair->lock);
    repair->active += best != NULL;
    return best;
}

static bool has_waiting(struct osd_repair *repair)
{
    bool found = false;
    pthread_mutex_lock(&repair->lock);
    for (size_t i = 0; i < OSD_REPAIR_JOBS; i++)
        found |= repair->places[i].state == STATE_WAITING;
    pthread_mutex_unlock(&repair->lock);
    return found;
}

/* A page with the one row. */
static enum lilio_err row_fetch(struct osd_repair *repair, struct base_oid oid,
                                struct osd_page **ret_page, struct lilio_errinfo *info)
{
    struct proto_data_get get = {.oid = oid, .names = true};
    struct proto_data data;
    struct osd_page *page = calloc(1, sizeof *page);
    enum lilio_err err = page ? proto_arena_new(&page->arena) : LILIO_E_NOMEM;
    if (err) {
        free(page);
        return lilio_fail(info, err, "no memory for a row");
    }
    page->references = 1;
    err = osd_worker_call(&repair->worker, &proto_type_data_get, &get, &proto_type_data,
                          page->arena, &data, info);
    if (!err) {
        page->reply = osd_link_reply_take(repair->worker.link);
        page->page.rows = proto_arena_take(page->arena, sizeof *page->page.rows);
        err = page->page.rows ? proto_row_check(&data.data, info)
                              : lilio_fail(info, LILIO_E_NOMEM, "no memory for a row");
    }
    if (err) {
        osd_page_drop(&page);
        return err;
    }
    page->page.rows_count = 1;
    page->page.rows[0] = (struct proto_scan_row){
        .data = data.data, .names = data.names, .names_count = data.names_count};
    *ret_page = page;
    return LILIO_OK;
}

/* Waits for a map as new as the answer that held the row, so that it knows its placement. */
static void map_catch_up(struct osd_repair *repair)
{
    for (int i = 0;
         i < MAP_TRIES && osd_node_epoch(node_of(repair)) < osd_link_epoch(repair->worker.link);
         i++) {
        osd_node_member_wake(node_of(repair), false);
        if (!osd_link_sleep(repair->worker.link, -1, WAIT_MS))
            return;
    }
}

/* place: of the job it is of; NULL: of a slot that fills. */
static enum lilio_err task_add(struct osd_repair *repair, struct place *place,
                               const struct osd_task *task)
{
    uint32_t bytes = task_bytes(task);
    struct lilio_errinfo info = {0};
    settled_look(repair); /* a long run must not keep the others' results */
    if (!room_make(repair, bytes) || !pace(repair))
        return LILIO_E_CANCELLED;
    osd_throttle_begin(&repair->throttle, bytes, now_ns(repair));
    if (place)
        place->open++;
    else
        osd_fill_opened(repair->fill);
    enum lilio_err err = osd_engine_add(repair->engine, task, &info);
    if (err)
        engine_drop(repair, err, info.text);
    return err;
}

/* A task for each bad fragment of it that is ours. An error has ended the job already. */
static enum lilio_err tasks_add(struct osd_repair *repair, struct place *place,
                                struct osd_page *page)
{
    const struct proto_data_row *row = &page->page.rows[0].data;
    struct codec_profile profile = osd_rebuild_profile(row);
    struct osd_task task = {.page = page, .row = &page->page.rows[0]};
    uint64_t stripes = codec_stripe_count(&profile, row->stored_length);
    for (uint32_t stripe = 0; stripe < stripes; stripe++) {
        uint64_t bad = proto_row_missing(row, stripe);
        if (bad)
            bad &= osd_rebuild_own(proto_map_ref_get(repair->map), row, stripe,
                                   osd_node_id(node_of(repair)));
        for (; bad; bad &= bad - 1) {
            task.stripe = stripe;
            task.index = (uint32_t)__builtin_ctzll(bad);
            enum lilio_err err = task_add(repair, place, &task);
            if (err)
                return err;
        }
    }
    return LILIO_OK;
}

static void job_begin(struct osd_repair *repair, struct place *place)
{
    struct osd_page *page = NULL;
    struct lilio_errinfo info = {0};
    place->result = (struct proto_repair_result){0};
    place->reason[0] = '\0';
    place->open = 1; /* until its tasks are in */
    enum lilio_err err = row_fetch(repair, place->job.oid, &page, &info);
    if (err == LILIO_E_NOT_FOUND) { /* deleted: there is nothing to mend */
        task_end(repair, place);
        return;
    }
    if (!err) {
        map_catch_up(repair);
        err = engine_ready(repair, &info);
    }
    if (!err)
        err = tasks_add(repair, place, page);
    if (place->open > 0) { /* else it ended with the engine */
        if (err)
            fail(place, err, info.text);
        task_end(repair, place);
    }
    osd_page_drop(&page);
}

/* ---- the thread ---- */

/* What waits is given up when nothing may be stored; its leases run out. */
static void waiting_drop(struct osd_repair *repair)
{
    pthread_mutex_lock(&repair->lock);
    for (size_t i = 0; i < OSD_REPAIR_JOBS; i++)
        if (repair->places[i].state == STATE_WAITING)
            repair->places[i].state = STATE_FREE;
    pthread_mutex_unlock(&repair->lock);
}

/* A rebuild mends the same fragments, the most endangered first. */
static bool is_behind_rebuild(const struct osd_repair *repair)
{
    bool behind = repair->options.rebuild && osd_rebuild_runs(repair->options.rebuild);
    if (behind)
        LILIO_MARK("osd/repair_behind_rebuild");
    return behind;
}

/* Begins a job if one may begin now. */
static bool begin_next(struct osd_repair *repair)
{
    if (!has_waiting(repair))
        return false;
    if (!is_serving(repair)) {
        waiting_drop(repair);
        return false;
    }
    if (is_behind_rebuild(repair))
        return false;
    struct place *place = waiting_take(repair);
    if (place)
        job_begin(repair, place);
    return place != NULL;
}

/* Hands the engine what it can take of the slots that fill, unless a job waits. False if there is
 * nothing to be done for them now. */
static bool fill_next(struct osd_repair *repair)
{
    struct lilio_errinfo info = {0};
    if (!osd_fill_wants(repair->fill))
        return false;
    if (!is_serving(repair)) {
        osd_fill_fail(repair->fill, LILIO_E_UNAVAILABLE, "this OSD does not serve");
        return false;
    }
    if (is_behind_rebuild(repair))
        return false;
    enum lilio_err err = osd_fill_begin(repair->fill, &info);
    if (!err)
        err = engine_ready(repair, &info);
    bool found = true;
    for (size_t i = 0; i < FILL_TURN && !err && found && !has_waiting(repair); i++) {
        struct osd_task task;
        err = osd_fill_next(repair->fill, proto_map_ref_get(repair->map), &task, &found, &info);
        if (!err && found)
            err = task_add(repair, NULL, &task);
    }
    if (err)
        osd_fill_fail(repair->fill, err, info.text);
    return true;
}

/* Sleeps until a job comes; false when it is to stop. */
static bool rest(struct osd_repair *repair)
{
    bool waits = has_waiting(repair); /* for a rebuild to end */
    osd_throttle_dry(&repair->throttle);
    clients_look(repair);
    return osd_thread_rest(&repair->thread, repair->worker.link, !waits, waits ? WAIT_MS : 1000);
}

static void *run(void *context)
{
    struct osd_repair *repair = context;
    bool go_on = true;
    while (go_on) {
        bool begun = begin_next(repair) || fill_next(repair);
        if (repair->engine && osd_engine_busy(repair->engine))
            go_on = engine_step(repair) != LILIO_E_CANCELLED;
        settled_look(repair);
        osd_fill_look(repair->fill, repair->map ? proto_map_ref_get(repair->map) : NULL);
        loss_forget(repair);
        if (!begun && repair->active == 0 && !(repair->engine && osd_engine_busy(repair->engine)))
            go_on = go_on && rest(repair);
        else if (begun)
            go_on = go_on && osd_link_sleep(repair->worker.link, -1, 0);
    }
    osd_engine_free(&repair->engine);
    proto_map_ref_drop(&repair->map);
    osd_worker_release(&repair->worker);
    return NULL; /* the fill goes when nobody tells of it any more */
}

enum lilio_err osd_repair_start(const struct osd_repair_options *options,
                                struct osd_repair **ret_repair)
{
    struct osd_repair *repair = calloc(1, sizeof *repair);
    if (!repair)
        return LILIO_E_NOMEM;
    repair->options = *options;
    pthread_mutex_init(&repair->lock, NULL);
    struct osd_link_options link = {
        .context = options->context,
        .endpoints = options->coordinators,
        .endpoint_count = options->coordinator_count,
        .stop_fds = {osd_node_stop_fd(options->node), -1},
    };
    enum lilio_err err = osd_thread_init(&repair->thread);
    if (!err)
        err = osd_worker_init(&repair->worker, options->node, "repair", &link);
    if (!err)
        err = osd_fill_new(&repair->worker, &repair->fill);
    if (!err)
        err = osd_thread_start(&repair->thread, run, repair);
    if (err) {
        osd_worker_release(&repair->worker);
        osd_repair_stop(&repair);
        return err;
    }
    *ret_repair = repair;
    return LILIO_OK;
}

void osd_repair_stop(struct osd_repair **repair)
{
    struct osd_repair *mine = *repair;
    *repair = NULL;
    if (!mine)
        return;
    osd_thread_stop(&mine->thread);
    osd_fill_free(&mine->fill);
    pthread_mutex_destroy(&mine->lock);
    free(mine);
}
