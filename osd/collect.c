#include "osd/collect.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/banned.h"

struct job {
    struct proto_collect_job job;
    bool done;
};

struct osd_collector {
    pthread_mutex_t lock; /* guards jobs, first come first served, and their count */
    struct job jobs[OSD_COLLECT_JOBS_MAX];
    size_t count;

    /* Owner thread only: the job under way, what is to be removed, and what was collected. */
    struct proto_collect_job current;
    bool busy;
    uint32_t next_stripe;
    struct base_fragment_key keys[OSD_BATCH_MAX];
    size_t key_count;
    struct base_oid memory[OSD_COLLECTED_MEMORY]; /* by hash; a later run replaces an earlier one */
};

enum lilio_err osd_collector_new(struct osd_collector **ret_collector)
{
    struct osd_collector *collector = calloc(1, sizeof *collector);
    if (!collector)
        return LILIO_E_NOMEM;
    pthread_mutex_init(&collector->lock, NULL);
    *ret_collector = collector;
    return LILIO_OK;
}

void osd_collector_free(struct osd_collector **collector)
{
    if (!*collector)
        return;
    pthread_mutex_destroy(&(*collector)->lock);
    free(*collector);
    *collector = NULL;
}

static bool same_job(const struct proto_collect_job *a, const struct proto_collect_job *b)
{
    return base_oid_equal(a->oid, b->oid) && a->placement == b->placement &&
           a->stripe_count == b->stripe_count;
}

/* SIZE_MAX if it is not known. Lock held. */
static size_t job_find(const struct osd_collector *collector, const struct proto_collect_job *job)
{
    for (size_t i = 0; i < collector->count; i++)
        if (same_job(&collector->jobs[i].job, job))
            return i;
    return SIZE_MAX;
}

bool osd_collector_add(struct osd_collector *collector, const struct proto_collect_job *job)
{
    pthread_mutex_lock(&collector->lock);
    bool known = job_find(collector, job) != SIZE_MAX;
    if (!known && collector->count < OSD_COLLECT_JOBS_MAX) {
        collector->jobs[collector->count] = (struct job){*job, false};
        collector->jobs[collector->count++].job.body_version = 0;
        known = true;
    }
    pthread_mutex_unlock(&collector->lock);
    return known;
}

bool osd_collector_pending(struct osd_collector *collector, const struct proto_collect_job *job)
{
    pthread_mutex_lock(&collector->lock);
    size_t at = job_find(collector, job);
    bool pending = at != SIZE_MAX && !collector->jobs[at].done;
    pthread_mutex_unlock(&collector->lock);
    return pending;
}

size_t osd_collector_done(struct osd_collector *collector,
                          struct proto_collect_job ret_jobs[OSD_COLLECT_REPORT_MAX])
{
    size_t count = 0;
    pthread_mutex_lock(&collector->lock);
    for (size_t i = 0; i < collector->count && count < OSD_COLLECT_REPORT_MAX; i++)
        if (collector->jobs[i].done)
            ret_jobs[count++] = collector->jobs[i].job;
    pthread_mutex_unlock(&collector->lock);
    return count;
}

void osd_collector_confirmed(struct osd_collector *collector, const struct proto_collect_job *jobs,
                             size_t count)
{
    pthread_mutex_lock(&collector->lock);
    for (size_t i = 0; i < count; i++) {
        size_t at = job_find(collector, &jobs[i]);
        if (at == SIZE_MAX || !collector->jobs[at].done)
            continue;
        collector->count--;
        memmove(&collector->jobs[at], &collector->jobs[at + 1],
                (collector->count - at) * sizeof collector->jobs[0]);
    }
    pthread_mutex_unlock(&collector->lock);
}

/* ---- owner thread ---- */

/* Runs of one session follow each other in their low half, so its last ones never collide. */
static size_t memory_slot(struct base_oid oid)
{
    return (size_t)((oid.high * 0x9e3779b97f4a7c15u + oid.low) % OSD_COLLECTED_MEMORY);
}

bool osd_collector_knows(const struct osd_collector *collector, struct base_oid oid)
{
    return base_oid_equal(collector->memory[memory_slot(oid)], oid);
}

/* Takes up the oldest job that is not done. */
static bool job_begin(struct osd_collector *collector)
{
    pthread_mutex_lock(&collector->lock);
    for (size_t i = 0; i < collector->count && !collector->busy; i++) {
        if (collector->jobs[i].done)
            continue;
        collector->current = collector->jobs[i].job;
        collector->busy = true;
    }
    pthread_mutex_unlock(&collector->lock);
    if (!collector->busy)
        return false;
    collector->next_stripe = 0;
    collector->key_count = 0;
    collector->memory[memory_slot(collector->current.oid)] = collector->current.oid;
    return true;
}

static void job_end(struct osd_collector *collector)
{
    pthread_mutex_lock(&collector->lock);
    size_t at = job_find(collector, &collector->current);
    if (at != SIZE_MAX)
        collector->jobs[at].done = true;
    pthread_mutex_unlock(&collector->lock);
    collector->busy = false;
}

/* Behind the others, to be begun anew; what was removed stays removed. */
static void job_postpone(struct osd_collector *collector)
{
    pthread_mutex_lock(&collector->lock);
    size_t at = job_find(collector, &collector->current);
    if (at != SIZE_MAX) {
        struct job job = collector->jobs[at];
        memmove(&collector->jobs[at], &collector->jobs[at + 1],
                (collector->count - at - 1) * sizeof job);
        collector->jobs[collector->count - 1] = job;
    }
    pthread_mutex_unlock(&collector->lock);
    collector->busy = false;
}

static enum lilio_err keys_remove(struct osd_collector *collector, struct osd_store *store,
                                  struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    if (collector->key_count > 0)
        err = store->ops->remove(store, collector->keys, collector->key_count, info);
    if (!err)
        collector->key_count = 0;
    return err;
}

/* Adds the stored fragments of one stripe to the batch, which has room for them. */
static enum lilio_err stripe_find(struct osd_collector *collector, struct osd_store *store,
                                  const struct proto_placement *placement, uint32_t stripe,
                                  struct lilio_errinfo *info)
{
    const struct proto_collect_job *job = &collector->current;
    uint32_t partition = proto_partition(placement->partition_bits, job->oid, stripe);
    uint64_t mask = 0;
    enum lilio_err err =
        store->ops->find(store, job->placement, partition, job->oid, stripe, &mask, info);
    for (uint32_t index = 0; !err && index < CODEC_TOTAL_MAX; index++)
        if (mask >> index & 1)
            collector->keys[collector->key_count++] = (struct base_fragment_key){
                .placement = job->placement,
                .partition = partition,
                .oid = job->oid,
                .stripe = stripe,
                .index = index,
            };
    return err;
}

enum osd_collect_result osd_collector_step(struct osd_collector *collector, struct osd_store *store,
                                           const struct proto_cluster_map *map,
                                           struct lilio_errinfo *info)
{
    if (!collector->busy && !job_begin(collector))
        return OSD_COLLECT_IDLE;
    const struct proto_placement *placement =
        proto_map_placement(map, collector->current.placement);
    if (!placement) {
        job_postpone(collector); /* the map is behind */
        (void)lilio_fail(info, LILIO_E_STALE_EPOCH, "no placement %u in the map",
                         collector->current.placement);
        return OSD_COLLECT_FAILED;
    }
    enum lilio_err err = LILIO_OK;
    for (int i = 0; !err && i < OSD_COLLECT_STRIPES_STEP; i++) {
        if (collector->next_stripe >= collector->current.stripe_count)
            break;
        if (collector->key_count + CODEC_TOTAL_MAX > OSD_BATCH_MAX)
            err = keys_remove(collector, store, info);
        if (!err)
            err = stripe_find(collector, store, placement, collector->next_stripe, info);
        if (!err)
            collector->next_stripe++;
    }
    bool last = collector->next_stripe >= collector->current.stripe_count;
    if (!err && last)
        err = keys_remove(collector, store, info);
    if (err) {
        job_postpone(collector);
        return OSD_COLLECT_FAILED;
    }
    if (!last)
        return OSD_COLLECT_MORE;
    job_end(collector);
    return OSD_COLLECT_DONE;
}
