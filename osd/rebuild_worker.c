/* The run of a rebuild, from a disk that holds anything or nothing to a proof.
 *
 *   1. Join, if the disk has no identity: superblock JOINING, store, osd_bind(rebuild), and the
 *      heartbeat is asked to introduce us again, which makes the disk a MEMBER. From here on new
 *      puts come here by themselves. A disk that has its identity is bound afresh: puts that are
 *      under way do not count on what it acknowledged before, because it may be gone and no walk
 *      shows them.
 *   2. Pin the maps at the coordinator's applied index. Everything committed up to it is what must
 *      be here; what is deleted meanwhile is taken off, what is newer is counted apart.
 *   3. First walk: count the fragments that belong here, and how endangered their stripes are.
 *   4. One walk for each level of danger, the worst first: each fragment is looked at on the disk,
 *      and decoded from others, written and read again if it is not what the maps say.
 *   5. A last walk at a newer index counts what was committed since, and mends what was missed by
 *      puts that were under way while the disk joined. What readers reported missing before it was
 *      rebuilt is looked at again, so that the maps know that it is here.
 *   6. expected = verified + gone: proven, and the coordinator is told that this incarnation is
 *      complete. It is told so, too, when the maps know of each other fragment that it is missing:
 *      then what they say of this OSD is true, and the run ends with names instead of a proof.
 *
 * A walk that lapses, at a change of the leader at the latest, is begun anew at a newer index: what
 * was mended by then is present.
 * A crash or a stop leaves a disk with fewer or more fragments; every one there is durable and
 * verified, and a rerun finds it. Nothing is ever deleted here.
 */
#include "osd/rebuild_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "base/planted.h"
#include "osd/limits.h"
#include "osd/walk.h"

#include "base/banned.h"

enum { WAIT_STEP_MS = 100, WELCOME_MS = 30000, PUBLISH_MS = 100, LAPSES_MAX = 3 };

/* A fragment that could not be had. */
struct failed {
    struct base_oid oid;
    uint32_t stripe, index;
};

struct run {
    struct osd_rebuild *rebuild;
    const struct osd_rebuild_options *options;
    struct proto_rebuild *state;
    struct osd_worker worker;
    struct proto_map_ref *map; /* pinned */
    struct osd_engine *engine;
    struct osd_walk walk;
    uint64_t published_ms;
    uint64_t levels[OSD_LEVELS]; /* fragments at each */
    struct base_buffer failed;   /* struct failed, as many as are kept by name */
    size_t failed_before;        /* so many are of walks before this one, in order */
    uint64_t bad_rows;           /* of state->failed, what nothing can be said about */
    uint64_t went_bad;           /* of state->failed, what was verified before */
    uint64_t mended;             /* since the run began, whatever was begun anew */
};

static struct osd_node *node_of(const struct run *run)
{
    return run->options->node;
}

static uint64_t now_ms(const struct run *run)
{
    return base_now_ms(osd_node_clock(node_of(run)));
}

/* ---- the coordinator ---- */

static enum lilio_err call(struct run *run, const struct proto_type *type, const void *value,
                           const struct proto_type *reply_type, struct proto_arena *arena,
                           void *ret_value, struct lilio_errinfo *info)
{
    return osd_worker_call(&run->worker, type, value, reply_type, arena, ret_value, info);
}

static void report_add(struct run *run, const struct osd_task *task, uint32_t index, uint8_t kind)
{
    osd_worker_report(&run->worker, proto_map_ref_get(run->map), &task->row->data, task->stripe,
                      index, kind);
}

/* ---- what the pipeline tells ---- */

static void publish(struct run *run, bool now)
{
    uint64_t at = now_ms(run);
    if (!now && at - run->published_ms < PUBLISH_MS)
        return;
    run->published_ms = at;
    osd_rebuild_publish(run->rebuild, run->state);
}

static void keep_failure(struct run *run, const struct osd_task *task, enum lilio_err err,
                         const char *reason)
{
    char clean[512];
    struct proto_rebuild_failure failure = {
        .names = task->row->names,
        .names_count = task->row->names_count,
        .oid = task->row->data.oid,
        .stripe = task->stripe,
        .index = (uint8_t)task->index,
        .err = err,
        .reason = base_slice(clean, proto_utf8_clean(reason, clean, sizeof clean)),
    };
    osd_rebuild_add_failure(run->rebuild, &failure);
}

static int failed_compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct failed));
}

static struct failed failed_of(const struct osd_task *task)
{
    return (struct failed){task->row->data.oid, task->stripe, task->index};
}

static bool failed_before(const struct run *run, const struct osd_task *task)
{
    struct failed failed = failed_of(task);
    return run->failed_before > 0 &&
           bsearch(&failed, run->failed.data, run->failed_before, sizeof failed, failed_compare);
}

static void failed_sort(struct run *run)
{
    run->failed_before = run->failed.size / sizeof(struct failed);
    if (run->failed_before > 0)
        qsort(run->failed.data, run->failed_before, sizeof(struct failed), failed_compare);
}

static void count_failure(struct run *run, const struct osd_task *task, enum lilio_err err,
                          const char *reason)
{
    struct failed failed = failed_of(task);
    run->state->failed++;
    keep_failure(run, task, err, reason);
    if (run->failed.size < OSD_REBUILD_FAILURES_MAX * sizeof failed &&
        base_buffer_append(&run->failed, &failed, sizeof failed))
        return; /* without memory the last walk may count it again */
}

/* Committed after the pinned index. */
static bool is_newer(const struct run *run, const struct osd_task *task)
{
    return task->row->commit_index > run->state->index;
}

static void on_done(void *context, const struct osd_task *task, enum osd_task_outcome outcome,
                    uint32_t bytes, enum lilio_err err, const char *reason)
{
    struct run *run = context;
    struct proto_rebuild *state = run->state;
    bool here = outcome == OSD_TASK_PRESENT || outcome == OSD_TASK_REBUILT;
    bool was_missing = proto_row_missing(&task->row->data, task->stripe) >> task->index & 1;
    if (here && was_missing)
        report_add(run, task, task->index, OSD_REPORT_GOOD);
    run->mended += outcome == OSD_TASK_REBUILT;
    if (outcome == OSD_TASK_FAILED) /* also if it was: readers may have found it good since */
        report_add(run, task, task->index, OSD_REPORT_MISSING);
    if (task->again) { /* counted already, or apart */
        if (outcome == OSD_TASK_FAILED && !is_newer(run, task) && !failed_before(run, task)) {
            run->went_bad++;
            count_failure(run, task, err, reason);
        }
        return;
    }
    state->done_bytes += bytes;
    state->verified += here;
    switch (outcome) {
    case OSD_TASK_PRESENT: state->present++; break;
    case OSD_TASK_REBUILT: state->rebuilt++, state->rebuilt_bytes += bytes; break;
    case OSD_TASK_GONE: state->gone++; break;
    case OSD_TASK_FAILED: count_failure(run, task, err, reason); break;
    }
}

/* The maps decide whether a run whose fragments are not to be had was deleted. */
static bool on_gone(void *context, const struct osd_task *task)
{
    struct run *run = context;
    return osd_worker_gone(&run->worker, task->row->data.oid);
}

static void on_bad_source(void *context, const struct osd_task *task, uint32_t index,
                          enum lilio_err err)
{
    struct run *run = context;
    run->state->bad_sources++;
    report_add(run, task, index, err == LILIO_E_MISSING ? OSD_REPORT_MISSING : OSD_REPORT_CORRUPT);
}

static void on_source_read(void *context, uint64_t bytes)
{
    struct run *run = context;
    run->state->source_bytes += bytes;
    publish(run, /* now */ false);
}

/* ---- joining ---- */

struct join_call {
    struct osd_home *home;
    struct base_uuid uuid;
};

static enum lilio_err run_join(void *context, struct lilio_errinfo *info)
{
    struct join_call *join = context;
    return osd_home_join(join->home, &join->uuid, info);
}

static enum lilio_err bind(struct run *run, struct base_uuid disk_uuid, bool replaces,
                           struct lilio_errinfo *info)
{
    struct proto_osd_bind bind = {
        .osd = osd_node_id(node_of(run)),
        .disk_uuid = disk_uuid,
        .rebuild = replaces,
        .afresh = true,
    };
    enum lilio_err err =
        call(run, &proto_type_osd_bind, &bind, NULL, run->worker.arena, NULL, info);
    return err ? lilio_prefix(info, err, "binding the disk") : LILIO_OK;
}

static enum lilio_err join_disk(struct run *run, bool *ret_bound, struct lilio_errinfo *info)
{
    struct join_call join = {.home = run->options->home};
    enum lilio_err err = osd_node_call(node_of(run), run_join, &join, info);
    if (err == LILIO_E_EXISTS)
        return LILIO_OK; /* a member came back; it has only to be welcomed */
    if (!err)
        err = bind(run, join.uuid, /* replaces */ true, info);
    *ret_bound = !err;
    return err;
}

/* Waits until the heartbeat brought us a welcome. */
static enum lilio_err wait_serving(struct run *run, struct lilio_errinfo *info)
{
    uint64_t until = now_ms(run) + WELCOME_MS;
    osd_node_member_wake(node_of(run), /* again */ true);
    while (!osd_node_wait(node_of(run), 1u << OSD_NODE_SERVING, WAIT_STEP_MS)) {
        struct osd_node_view view;
        osd_node_view(node_of(run), &view);
        if (osd_rebuild_cancelled(run->rebuild))
            return lilio_fail(info, LILIO_E_CANCELLED, "stopped");
        if (now_ms(run) >= until)
            return lilio_fail(info, LILIO_E_UNAVAILABLE, "this OSD is %s: %s",
                              osd_node_state_name(view.state), view.detail);
    }
    return LILIO_OK;
}

/* What was taken away since the last look shows in the view afterwards. */
static enum lilio_err run_look(void *context, struct lilio_errinfo *info)
{
    (void)info;
    (void)osd_home_intact(context, /* full */ true);
    return LILIO_OK;
}

/* Ends with an OSD that serves, or says why it cannot. */
static enum lilio_err get_ready(struct run *run, struct lilio_errinfo *info)
{
    struct osd_node_view view;
    bool bound = false;
    enum lilio_err err = osd_node_call(node_of(run), run_look, run->options->home, info);
    if (err)
        return err;
    osd_node_view(node_of(run), &view);
    if (view.state == OSD_NODE_FAILED)
        return lilio_fail(info, LILIO_E_READ_ONLY, "%s", view.detail);
    if (view.state == OSD_NODE_REFUSED && !view.gone && !view.broken)
        return lilio_fail(info, LILIO_E_FOREIGN, "%s", view.detail);
    if (view.state != OSD_NODE_SERVING && view.disk != OSD_DISK_MEMBER)
        err = join_disk(run, &bound, info);
    else if (view.gone || view.broken)
        err = join_disk(run, &bound, info);
    if (!err && view.state != OSD_NODE_SERVING)
        err = wait_serving(run, info);
    if (err)
        return err;
    osd_node_view(node_of(run), &view);
    run->state->incarnation = view.incarnation;
    run->state->disk_uuid = view.disk_uuid;
    return bound ? LILIO_OK : bind(run, view.disk_uuid, /* replaces */ false, info);
}

/* ---- walks ---- */

/* Called for each fragment that must be here. */
typedef enum lilio_err (*each_fragment)(struct run *run, const struct osd_task *task,
                                        unsigned level, struct lilio_errinfo *info);
struct pass {
    each_fragment each;
    bool again;  /* it is the last one, at a newer index */
    bool counts; /* it is the one that counts what is expected */
};

static enum lilio_err walk_row(struct run *run, const struct pass *pass, struct osd_task *task,
                               struct lilio_errinfo *info)
{
    const struct proto_cluster_map *map = proto_map_ref_get(run->map);
    const struct proto_data_row *row = &task->row->data;
    struct codec_profile profile = osd_rebuild_profile(row);
    uint64_t stripes = codec_stripe_count(&profile, row->stored_length);
    enum lilio_err err = LILIO_OK;
    for (uint32_t stripe = 0; !err && stripe < stripes; stripe++) {
        uint64_t own = osd_rebuild_own(map, row, stripe, osd_node_id(node_of(run)));
        unsigned level = own ? osd_rebuild_level(map, row, stripe, own) : 0;
        for (; !err && own; own &= own - 1) {
            task->stripe = stripe;
            task->index = (uint32_t)__builtin_ctzll(own);
            err = pass->each(run, task, level, info);
        }
    }
    return err;
}

/* Nothing can be said about its fragments, so at least one is not proven. Counted by one walk. */
static void bad_row(struct run *run, const struct pass *pass, const struct osd_task *task,
                    const char *why)
{
    char reason[512 + 64];
    if (!pass->counts)
        return;
    (void)snprintf(reason, sizeof reason, "its row in the maps is unusable: %s", why);
    run->state->expected++;
    run->state->failed++;
    run->bad_rows++;
    keep_failure(run, task, LILIO_E_MALFORMED, reason);
}

static enum lilio_err walk_page(struct run *run, const struct pass *pass, struct osd_page *page,
                                struct base_oid last, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    for (size_t i = 0; !err && i < page->page.rows_count; i++) {
        struct osd_task task = {
            .page = page,
            .row = &page->page.rows[i],
            .again = pass->again,
        };
        struct lilio_errinfo bad = {0};
        if (proto_row_check(&task.row->data, &bad))
            bad_row(run, pass, &task, bad.text);
        else
            err = walk_row(run, pass, &task, info);
        if (!err)
            err = osd_walk_keep_alive(&run->walk, last, info);
        publish(run, /* now */ false);
    }
    return err;
}

static enum lilio_err walk_all(struct run *run, const struct pass *pass, struct lilio_errinfo *info)
{
    struct base_oid last = {0, 0};
    enum lilio_err err = LILIO_OK;
    bool more = true;
    while (!err && more) {
        struct osd_page *page;
        err = osd_walk_page(&run->walk, last, &page, info);
        if (err)
            return err;
        err = walk_page(run, pass, page, last, info);
        if (page->page.rows_count > 0)
            last = page->page.rows[page->page.rows_count - 1].data.oid;
        more = page->page.more && page->page.rows_count > 0;
        osd_page_drop(&page);
        if (!err && osd_rebuild_cancelled(run->rebuild))
            err = lilio_fail(info, LILIO_E_CANCELLED, "stopped");
    }
    return err;
}

static enum lilio_err each_count(struct run *run, const struct osd_task *task, unsigned level,
                                 struct lilio_errinfo *info)
{
    const struct proto_data_row *row = &task->row->data;
    struct codec_profile profile = osd_rebuild_profile(row);
    (void)info;
    run->levels[level]++;
    run->state->expected++;
    run->state->expected_bytes += codec_fragment_size(
        &profile, codec_stripe_length(&profile, row->stored_length, task->stripe));
    return LILIO_OK;
}

struct discard_call {
    struct osd_home *home;
    struct base_fragment_key key;
};

static enum lilio_err run_discard(void *context, struct lilio_errinfo *info)
{
    struct discard_call *discard = context;
    struct osd_store *store = osd_home_store(discard->home);
    return store ? store->ops->remove(store, &discard->key, 1, info) : LILIO_OK;
}

/* A planted bug: what is going to be written is made room for, whether it is good or not. */
static void discard(struct run *run, const struct osd_task *task)
{
    const struct proto_data_row *row = &task->row->data;
    const struct proto_placement *placement =
        proto_map_placement(proto_map_ref_get(run->map), row->placement);
    struct discard_call call = {
        .home = run->options->home,
        .key = {
            .placement = row->placement,
            .partition = proto_partition(placement->partition_bits, row->oid, task->stripe),
            .oid = row->oid,
            .stripe = task->stripe,
            .index = task->index,
        }};
    if (osd_node_call(node_of(run), run_discard, &call, NULL))
        return; /* it is a bug anyway */
}

/* The level of the walk under way is the lowest whose fragments are not all handed in yet. */
static enum lilio_err each_mend(struct run *run, const struct osd_task *task, unsigned level,
                                struct lilio_errinfo *info)
{
    unsigned worst = 0;
    while (worst < OSD_LEVELS && run->levels[worst] == 0)
        worst++;
    if (level == worst && LILIO_PLANTED("rebuild_discards_good"))
        discard(run, task);
    return level == worst ? osd_engine_add(run->engine, task, info) : LILIO_OK;
}

static enum lilio_err each_newer(struct run *run, const struct osd_task *task, unsigned level,
                                 struct lilio_errinfo *info)
{
    (void)level;
    run->state->newer += is_newer(run, task);
    if (proto_row_missing(&task->row->data, task->stripe) >> task->index & 1)
        return osd_engine_add(run->engine, task, info);
    return LILIO_OK;
}

/* ---- the run ---- */

static enum lilio_err pin_map(struct run *run, struct lilio_errinfo *info)
{
    enum lilio_err err = osd_walk_map_wait(&run->walk, info);
    if (err)
        return err;
    osd_engine_free(&run->engine); /* it has borrowed the map */
    proto_map_ref_drop(&run->map);
    run->map = osd_node_map_take(node_of(run));
    return LILIO_OK;
}

static enum lilio_err engine_new(struct run *run, struct lilio_errinfo *info)
{
    struct osd_engine_options options = {
        .node = node_of(run),
        .context = run->options->context,
        .own_endpoint = run->options->own_endpoint,
        .map = run->map,
        .stop_fds = {osd_rebuild_cancel_fd(run->rebuild), osd_node_stop_fd(node_of(run))},
        .events = {run, on_done, on_gone, on_bad_source, on_source_read},
    };
    return osd_engine_new(&options, &run->engine, info);
}

static void phase(struct run *run, enum osd_rebuild_phase phase)
{
    run->state->phase = (uint8_t)phase;
    publish(run, /* now */ true);
}

/* Everything as it is before the first walk; what came from where, and the time, go on. */
static void begin(struct run *run)
{
    struct proto_rebuild *state = run->state;
    state->expected = state->expected_bytes = state->done_bytes = 0;
    state->present = state->rebuilt = state->rebuilt_bytes = state->verified = 0;
    state->gone = state->failed = 0;
    run->bad_rows = 0;
    memset(run->levels, 0, sizeof run->levels);
    base_buffer_clear(&run->failed);
    osd_rebuild_forget_failures(run->rebuild);
    phase(run, OSD_PHASE_COUNTING);
}

/* Pins the maps and counts. */
static enum lilio_err count(struct run *run, struct lilio_errinfo *info)
{
    struct pass pass = {.each = each_count, .counts = true};
    enum lilio_err err = osd_walk_open(&run->walk, info);
    run->state->index = run->walk.index;
    if (!err)
        err = pin_map(run, info);
    if (err)
        return err;
    run->state->epoch = proto_map_ref_get(run->map)->epoch;
    err = engine_new(run, info);
    if (!err)
        err = walk_all(run, &pass, info);
    return err;
}

static enum lilio_err mend(struct run *run, struct lilio_errinfo *info)
{
    struct pass pass = {.each = each_mend};
    begin(run);
    enum lilio_err err = count(run, info);
    if (!err)
        phase(run, OSD_PHASE_REBUILDING);
    for (unsigned level = 0; !err && level < OSD_LEVELS; level++) {
        if (run->levels[level] == 0)
            continue;
        err = walk_all(run, &pass, info);
        run->levels[level] = 0;
    }
    if (!err)
        err = osd_engine_drain(run->engine, info);
    osd_walk_close(&run->walk);
    return err;
}

static enum lilio_err look_at_newer(struct run *run, struct lilio_errinfo *info)
{
    struct pass pass = {.each = each_newer, .again = true};
    phase(run, OSD_PHASE_VERIFYING);
    failed_sort(run);
    run->state->newer = 0;
    enum lilio_err err = osd_walk_open(&run->walk, info);
    if (!err && run->walk.index > run->state->index) {
        err = pin_map(run, info);
        if (!err)
            err = engine_new(run, info);
        if (!err)
            err = walk_all(run, &pass, info);
        if (!err)
            err = osd_engine_drain(run->engine, info);
    }
    osd_walk_close(&run->walk);
    return err;
}

/* A part of the run, again when its walk lapsed: for ever while each time something was mended. */
static enum lilio_err patiently(struct run *run,
                                enum lilio_err (*part)(struct run *run, struct lilio_errinfo *info),
                                struct lilio_errinfo *info)
{
    for (unsigned lapses = 0;;) {
        uint64_t mended = run->mended;
        enum lilio_err err = part(run, info);
        lapses = run->mended > mended ? 0 : lapses;
        if (!err || !run->walk.lapsed || lapses++ == LAPSES_MAX)
            return err;
        LILIO_MARK("osd/rebuild_walk_again");
    }
}

static enum lilio_err run_complete(void *context, struct lilio_errinfo *info)
{
    return osd_home_complete(context, info);
}

/* Whether the maps know of all that is not here that it is missing. */
static bool told_all(const struct run *run)
{
    const struct proto_rebuild *state = run->state;
    uint64_t failed = state->failed - run->went_bad;
    return run->bad_rows == 0 && !run->worker.reports_lost &&
           state->expected == state->verified + state->gone + failed;
}

/* First the disk, then the coordinator: while one of them is missing, the other still says that a
 * proof is wanted. */
static enum lilio_err prove(struct run *run, struct lilio_errinfo *info)
{
    const struct proto_rebuild *state = run->state;
    struct proto_osd_complete complete = {
        .osd = state->osd,
        .incarnation = state->incarnation,
        .index = state->index,
        .fragments = state->verified,
    };
    enum lilio_err err = osd_node_call(node_of(run), run_complete, run->options->home, info);
    if (!err)
        err = call(run, &proto_type_osd_complete, &complete, NULL, run->worker.arena, NULL, info);
    return err ? lilio_prefix(info, err, "reporting the proof") : LILIO_OK;
}

static enum lilio_err work(struct run *run, struct lilio_errinfo *info)
{
    struct proto_rebuild *state = run->state;
    enum lilio_err err = get_ready(run, info);
    if (!err)
        err = patiently(run, mend, info);
    if (!err)
        err = patiently(run, look_at_newer, info);
    if (err)
        return err;
    osd_worker_reports_send(&run->worker);
    bool proven = state->failed == 0 && state->expected == state->verified + state->gone;
    if (proven || told_all(run))
        err = prove(run, info);
    if (!err)
        state->phase = proven ? OSD_PHASE_PROVEN : OSD_PHASE_FAILURES;
    return err;
}

static enum lilio_err run_new(struct run *run, struct lilio_errinfo *info)
{
    struct osd_link_options link = {
        .context = run->options->context,
        .endpoints = run->options->coordinators,
        .endpoint_count = run->options->coordinator_count,
        .stop_fds = {osd_rebuild_cancel_fd(run->rebuild), osd_node_stop_fd(node_of(run))},
    };
    enum lilio_err err = osd_worker_init(&run->worker, node_of(run), "rebuild", &link);
    return err ? lilio_fail(info, err, "no memory for a rebuild") : LILIO_OK;
}

void osd_rebuild_worker(struct osd_rebuild *rebuild, struct proto_rebuild *state,
                        struct lilio_errinfo *ret_info)
{
    struct run run = {
        .rebuild = rebuild,
        .options = osd_rebuild_options(rebuild),
        .state = state,
        .walk.worker = &run.worker,
    };
    enum lilio_err err = run_new(&run, ret_info);
    if (!err)
        err = work(&run, ret_info);
    if (err == LILIO_E_CANCELLED) {
        state->phase = OSD_PHASE_STOPPED;
    } else if (err) {
        state->phase = OSD_PHASE_ERROR;
        state->err = err;
    }
    osd_engine_free(&run.engine);
    if (run.worker.link)
        osd_walk_close(&run.walk);
    base_buffer_release(&run.failed);
    osd_worker_release(&run.worker);
    proto_map_ref_drop(&run.map);
}
