#include "osd/fill.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "base/planted.h"
#include "osd/walk.h"

#include "base/banned.h"

enum { LAPSES_MAX = 3, PARTITIONS_MAX = 1024, PARTITION_WORDS = 65536 / 64 };

enum state { STATE_IDLE, STATE_WAITING, STATE_RUNNING, STATE_DONE };

struct osd_fill {
    struct osd_worker *worker;

    pthread_mutex_t lock; /* guards what follows */
    enum state state;     /* WAITING becomes RUNNING and DONE by the worker alone */
    uint64_t id;
    struct proto_fill_report progress; /* without id and reason */
    char reason[256];

    /* The job's; the worker's alone from RUNNING to DONE. */
    uint32_t placement;
    uint32_t partitions[PARTITIONS_MAX];
    size_t count;

    /* Worker only. */
    struct osd_walk walk;
    uint64_t index, epoch; /* of the first walk: it proves what was committed up to there */
    uint32_t incarnation;
    uint64_t wanted[PARTITION_WORDS]; /* a bit for each of the partitions */
    struct osd_page *page;
    size_t row;           /* in it */
    uint64_t walked;      /* stored bytes of the rows before it */
    uint32_t stripe;      /* of that row */
    struct base_oid last; /* of the page before */
    bool more;            /* runs behind this page */
    unsigned lapses;      /* of walks since the last page */
    size_t open;          /* tasks under way */
};

enum lilio_err osd_fill_new(struct osd_worker *worker, struct osd_fill **ret_fill)
{
    struct osd_fill *fill = calloc(1, sizeof *fill);
    if (!fill)
        return LILIO_E_NOMEM;
    fill->worker = fill->walk.worker = worker;
    pthread_mutex_init(&fill->lock, NULL);
    *ret_fill = fill;
    return LILIO_OK;
}

void osd_fill_free(struct osd_fill **fill)
{
    struct osd_fill *mine = *fill;
    *fill = NULL;
    if (!mine)
        return;
    osd_page_drop(&mine->page);
    pthread_mutex_destroy(&mine->lock);
    free(mine);
}

/* ---- on the heartbeat's thread ---- */

static bool is_same(const struct osd_fill *fill, const struct proto_fill_job *job)
{
    if (fill->placement != job->placement || fill->count != job->partitions_count)
        return false;
    for (size_t i = 0; i < fill->count; i++)
        if (fill->partitions[i] != job->partitions[i])
            return false;
    return true;
}

void osd_fill_order(struct osd_fill *fill, const struct proto_fill_job *job)
{
    if (job->partitions_count > PARTITIONS_MAX)
        return; /* more than the schema has */
    pthread_mutex_lock(&fill->lock);
    if (fill->state == STATE_IDLE) {
        fill->state = STATE_WAITING;
        fill->id = job->id;
        fill->progress = (struct proto_fill_report){0};
        fill->reason[0] = '\0';
        fill->placement = job->placement;
        fill->count = job->partitions_count;
        for (size_t i = 0; i < fill->count; i++)
            fill->partitions[i] = (uint32_t)job->partitions[i];
    } else if (is_same(fill, job)) {
        LILIO_MARK("osd/fill_new_lease");
        fill->id = job->id;
    }
    pthread_mutex_unlock(&fill->lock);
}

bool osd_fill_news(struct osd_fill *fill, struct proto_fill_report *ret, char ret_reason[256])
{
    pthread_mutex_lock(&fill->lock);
    bool any = fill->state != STATE_IDLE;
    *ret = fill->progress;
    ret->id = fill->id;
    ret->ended = fill->state == STATE_DONE;
    ret->reason = base_slice(ret_reason, proto_utf8_clean(fill->reason, ret_reason, 256));
    pthread_mutex_unlock(&fill->lock);
    return any;
}

void osd_fill_confirmed(struct osd_fill *fill, const struct proto_fill_report *report)
{
    pthread_mutex_lock(&fill->lock);
    if (fill->state == STATE_DONE && report->ended && report->id == fill->id)
        fill->state = STATE_IDLE;
    pthread_mutex_unlock(&fill->lock);
}

/* ---- on the worker's thread ---- */

static enum state state_of(struct osd_fill *fill)
{
    pthread_mutex_lock(&fill->lock);
    enum state state = fill->state;
    pthread_mutex_unlock(&fill->lock);
    return state;
}

static void state_set(struct osd_fill *fill, enum state state)
{
    pthread_mutex_lock(&fill->lock);
    fill->state = state;
    pthread_mutex_unlock(&fill->lock);
}

bool osd_fill_wants(struct osd_fill *fill)
{
    enum state state = state_of(fill);
    return state == STATE_WAITING ||
           (state == STATE_RUNNING && !fill->progress.err && (fill->page || fill->more));
}

bool osd_fill_runs(struct osd_fill *fill)
{
    return state_of(fill) == STATE_RUNNING;
}

/* Everything as it is before the first page. */
static void job_begin(struct osd_fill *fill)
{
    struct osd_node_view view;
    osd_node_view(fill->worker->node, &view);
    fill->incarnation = view.incarnation;
    fill->index = fill->epoch = 0;
    fill->row = fill->stripe = 0;
    fill->walked = 0;
    fill->last = (struct base_oid){0, 0};
    fill->more = true;
    fill->lapses = 0;
    memset(fill->wanted, 0, sizeof fill->wanted);
    for (size_t i = 0; i < fill->count; i++)
        if (fill->partitions[i] / 64 < PARTITION_WORDS)
            fill->wanted[fill->partitions[i] / 64] |= UINT64_C(1) << fill->partitions[i] % 64;
    state_set(fill, STATE_RUNNING);
}

/* A walk that lapsed, or was another leader's, goes on in a new one: it shows at least what was
 * committed when the first one began. */
enum lilio_err osd_fill_begin(struct osd_fill *fill, struct lilio_errinfo *info)
{
    if (state_of(fill) == STATE_WAITING)
        job_begin(fill);
    if (fill->walk.id)
        return LILIO_OK;
    enum lilio_err err = osd_walk_open(&fill->walk, info);
    if (!err)
        err = osd_walk_map_wait(&fill->walk, info);
    if (!err && fill->index == 0) {
        fill->index = fill->walk.index;
        fill->epoch = fill->walk.epoch;
    }
    pthread_mutex_lock(&fill->lock);
    fill->progress.rows = fill->walk.rows;
    fill->progress.bytes = fill->walk.bytes;
    pthread_mutex_unlock(&fill->lock);
    return err;
}

static enum lilio_err page_fetch(struct osd_fill *fill, struct lilio_errinfo *info)
{
    enum lilio_err err = osd_walk_page(&fill->walk, fill->last, &fill->page, info);
    if (err == LILIO_E_NOT_FOUND && fill->lapses++ < LAPSES_MAX) {
        LILIO_MARK("osd/fill_walk_again");
        fill->walk.id = 0;
        return LILIO_OK; /* osd_fill_begin opens another one */
    }
    if (err)
        return err;
    fill->lapses = 0;
    size_t count = fill->page->page.rows_count;
    fill->row = fill->stripe = 0;
    fill->more = fill->page->page.more && count > 0;
    if (count > 0)
        fill->last = fill->page->page.rows[count - 1].data.oid;
    return LILIO_OK;
}

/* Our fragment of the stripe, if it is one to be filled. */
static bool is_task(struct osd_fill *fill, const struct proto_cluster_map *map,
                    const struct proto_data_row *row, uint32_t stripe, uint32_t *ret_index)
{
    const struct proto_placement *placement = proto_map_placement(map, row->placement);
    if (!placement)
        return false;
    uint32_t partition = proto_partition(placement->partition_bits, row->oid, stripe);
    if (!(fill->wanted[partition / 64] >> partition % 64 & 1))
        return false;
    uint64_t left = proto_slots_filling(placement, partition) & ~proto_row_missing(row, stripe);
    for (; left; left &= left - 1) {
        *ret_index = (uint32_t)__builtin_ctzll(left);
        if (proto_slot_osd(placement, partition, *ret_index) == osd_node_id(fill->worker->node))
            return true;
    }
    return false;
}

/* The next task of the row at hand, from the stripe at hand on. */
static bool row_next(struct osd_fill *fill, const struct proto_cluster_map *map,
                     struct osd_task *ret_task)
{
    const struct proto_scan_row *row = &fill->page->page.rows[fill->row];
    struct lilio_errinfo bad = {0};
    if (row->data.placement != fill->placement)
        return false;
    if (fill->stripe == 0 && proto_row_check(&row->data, &bad)) {
        base_log_write(osd_node_log(fill->worker->node), BASE_LOG_ERROR, "fill", "bad_row",
                       "oid=%016llx%016llx reason=%s", (unsigned long long)row->data.oid.high,
                       (unsigned long long)row->data.oid.low, bad.text);
        return false; /* nothing can be said about its fragments; verify names it */
    }
    struct codec_profile profile = osd_rebuild_profile(&row->data);
    uint64_t stripes = codec_stripe_count(&profile, row->data.stored_length);
    while (fill->stripe < stripes) {
        uint32_t stripe = fill->stripe++, index;
        if (!is_task(fill, map, &row->data, stripe, &index))
            continue;
        *ret_task = (struct osd_task){
            .page = fill->page, .row = row, .stripe = stripe, .index = index, .fill = true};
        return true;
    }
    return false;
}

/* How far the walk is: rows that are behind it, and the part of the one at hand. */
static void progress_note(struct osd_fill *fill, bool row_ended)
{
    const struct proto_data_row *row = &fill->page->page.rows[fill->row].data;
    struct codec_profile profile = osd_rebuild_profile(row);
    uint64_t stripes = codec_stripe_count(&profile, row->stored_length), part = 0;
    if (row_ended)
        fill->walked += row->stored_length;
    else if (fill->stripe < stripes)
        part = fill->stripe * codec_stripe_length(&profile, row->stored_length, 0);
    else
        part = row->stored_length;
    pthread_mutex_lock(&fill->lock);
    fill->progress.rows_done += row_ended;
    fill->progress.bytes_done = fill->walked + part;
    pthread_mutex_unlock(&fill->lock);
}

enum lilio_err osd_fill_next(struct osd_fill *fill, const struct proto_cluster_map *map,
                             struct osd_task *ret_task, bool *ret_found, struct lilio_errinfo *info)
{
    *ret_found = false;
    if (fill->walk.id == 0 || (!fill->page && !fill->more))
        return LILIO_OK;
    enum lilio_err err = LILIO_OK;
    if (!fill->page)
        err = page_fetch(fill, info);
    else if (osd_walk_keep_alive(&fill->walk, fill->last, info))
        fill->walk.id = 0; /* it lapsed all the same; the page is here */
    if (err || !fill->page)
        return err;
    for (; fill->row < fill->page->page.rows_count; fill->row++, fill->stripe = 0) {
        *ret_found = row_next(fill, map, ret_task);
        progress_note(fill, !*ret_found);
        if (*ret_found)
            return LILIO_OK;
    }
    osd_page_drop(&fill->page);
    return LILIO_OK;
}

void osd_fill_opened(struct osd_fill *fill)
{
    fill->open++;
}

void osd_fill_closed(struct osd_fill *fill, const struct proto_cluster_map *map,
                     const struct osd_task *task, enum osd_task_outcome outcome)
{
    fill->open--;
    pthread_mutex_lock(&fill->lock);
    fill->progress.fragments += outcome == OSD_TASK_PRESENT || outcome == OSD_TASK_REBUILT;
    fill->progress.failed += outcome == OSD_TASK_FAILED;
    bool too_many = fill->progress.failed >= OSD_FILL_FAILURES_MAX;
    pthread_mutex_unlock(&fill->lock);
    if (outcome != OSD_TASK_FAILED || LILIO_PLANTED("fill_hides_failures"))
        return;
    LILIO_MARK("osd/fill_missing");
    osd_worker_report(fill->worker, map, &task->row->data, task->stripe, task->index,
                      OSD_REPORT_MISSING);
    if (too_many) {
        LILIO_MARK("osd/fill_given_up");
        osd_fill_fail(fill, LILIO_E_UNAVAILABLE, "too many fragments cannot be had now");
    }
}

void osd_fill_fail(struct osd_fill *fill, enum lilio_err err, const char *reason)
{
    pthread_mutex_lock(&fill->lock);
    if (fill->state == STATE_WAITING)
        fill->state = STATE_RUNNING;
    if (fill->state == STATE_RUNNING && !fill->progress.err) { /* the first one tells most */
        fill->progress.err = err;
        (void)lilio_text_fit(reason, strlen(reason), fill->reason, sizeof fill->reason);
    }
    pthread_mutex_unlock(&fill->lock);
}

void osd_fill_forget_tasks(struct osd_fill *fill)
{
    fill->open = 0;
}

/* ---- the end ---- */

/* The slots of the job that are still ours and fill. */
static size_t slots_list(const struct osd_fill *fill, const struct proto_placement *placement,
                         struct proto_filled_slot *ret)
{
    size_t count = 0;
    for (size_t i = 0; i < fill->count; i++)
        for (uint64_t left = proto_slots_filling(placement, fill->partitions[i]); left;
             left &= left - 1) {
            uint32_t slot = (uint32_t)__builtin_ctzll(left);
            if (proto_slot_osd(placement, fill->partitions[i], slot) ==
                    osd_node_id(fill->worker->node) &&
                count < PARTITIONS_MAX)
                ret[count++] = (struct proto_filled_slot){
                    .partition = fill->partitions[i],
                    .slot = (uint8_t)slot,
                };
        }
    return count;
}

static enum lilio_err filled_tell(struct osd_fill *fill, const struct proto_cluster_map *map,
                                  struct lilio_errinfo *info)
{
    struct proto_filled_slot slots[PARTITIONS_MAX];
    const struct proto_placement *placement = proto_map_placement(map, fill->placement);
    struct proto_slots_filled filled = {
        .osd = osd_node_id(fill->worker->node),
        .incarnation = fill->incarnation,
        .placement = fill->placement,
        .slots = slots,
        .slots_count = placement ? slots_list(fill, placement, slots) : 0,
        .index = fill->index,
        .epoch = fill->epoch,
        .fragments = fill->progress.fragments,
    };
    return osd_worker_call(fill->worker, &proto_type_slots_filled, &filled, NULL,
                           fill->worker->arena, NULL, info);
}

void osd_fill_look(struct osd_fill *fill, const struct proto_cluster_map *map)
{
    if (state_of(fill) != STATE_RUNNING || osd_fill_wants(fill) || fill->open > 0)
        return;
    struct lilio_errinfo info = {0};
    osd_page_drop(&fill->page);
    osd_worker_reports_send(fill->worker);
    if (fill->worker->reports_lost)
        osd_fill_fail(fill, LILIO_E_UNAVAILABLE, "what was found could not be reported");
    enum lilio_err err = fill->progress.err || !map ? LILIO_OK : filled_tell(fill, map, &info);
    if (err)
        osd_fill_fail(fill, err, info.text);
    osd_walk_close(&fill->walk);
    base_log_write(osd_node_log(fill->worker->node), BASE_LOG_INFO, "fill", "ended",
                   "placement=%u partitions=%zu good=%llu failed=%llu err=%s reason=%s",
                   fill->placement, fill->count, (unsigned long long)fill->progress.fragments,
                   (unsigned long long)fill->progress.failed,
                   lilio_err_name((enum lilio_err)fill->progress.err), fill->reason);
    state_set(fill, STATE_DONE);
    osd_node_member_wake(fill->worker->node, false); /* for the next one */
}
