/* Collection: from gc rows to jobs for OSDs to gc_done.
 *
 *   gc row --due, nobody reads it--> job --every OSD confirmed--> gc_done: row and data row go
 *                                     |
 *                                     +--only OSDs that are away are left--> gc_done: parked under
 * the first of them parked row --its OSD is up again--> job ...
 *
 * A row is due when gc_grace of cluster time has passed and no lease names its version (design rule
 * 3); what its writer gave up is due at once. Jobs live in the leader's memory: at the next leader
 * rows become jobs again and OSDs are asked again, which is harmless, since deleting what is not
 * there is. Parking keeps rows that wait for a dead OSD from standing in the way of the others.
 */
#include "coordinator/service_priv.h"

#include <stdlib.h>

#include "base/mark.h"
#include "base/planted.h"

#include "base/banned.h"

enum {
    WALK_MS = 1000,       /* between two looks at the queue */
    ASK_AGAIN_MS = 30000, /* an OSD that did not confirm is asked again */
    READ_ROWS = 128,
    TIME_STEP_MS_MIN = 250,
    TIME_STEP_MS_MAX = 5000,
};

static const struct proto_gc_key queue_start = {.osd = COORD_GC_NOBODY};

static struct coord_table_key oid_key(struct base_oid oid)
{
    return (struct coord_table_key){oid.high, oid.low};
}

static bool bit_get(const uint64_t *words, size_t place)
{
    return words[place / 64] >> place % 64 & 1;
}

static void bit_set(uint64_t *words, size_t place)
{
    words[place / 64] |= UINT64_C(1) << place % 64;
}

static void bit_clear(uint64_t *words, size_t place)
{
    words[place / 64] &= ~(UINT64_C(1) << place % 64);
}

static bool is_empty(const uint64_t *words)
{
    uint64_t any = 0;
    for (size_t i = 0; i < OSD_WORDS; i++)
        any |= words[i];
    return any == 0;
}

enum lilio_err service_gc_init(struct coord_service *service)
{
    struct gc *gc = &service->gc;
    gc->places =
        (struct coord_table){.value_size = sizeof(uint32_t), .limit = COORD_COLLECTING_MAX};
    gc->jobs = calloc(COORD_COLLECTING_MAX, sizeof *gc->jobs);
    return gc->jobs ? LILIO_OK : LILIO_E_NOMEM;
}

/* Who reads says so again within its session's timeout, or has no session any more. */
void service_gc_lead(struct coord_service *service)
{
    struct gc *gc = &service->gc;
    service_gc_drop(service);
    gc->cursor = queue_start;
    gc->walk_ms = gc->parked_ms = 0;
    gc->hold_ms =
        service->options.fresh ? 0 : service->led_ms + service_sessions_silence_ms(service);
    gc->undue = gc->under_way = false;
}

void service_gc_drop(struct coord_service *service)
{
    struct gc *gc = &service->gc;
    coord_table_release(&gc->places);
    memset(gc->jobs, 0, COORD_COLLECTING_MAX * sizeof *gc->jobs);
    gc->count = gc->next_free = 0;
}

void service_gc_release(struct coord_service *service)
{
    coord_table_release(&service->gc.places);
    free(service->gc.jobs);
}

/* ---- jobs ---- */

static struct gc_job *job_find(struct gc *gc, struct base_oid oid)
{
    const uint32_t *place = coord_table_find(&gc->places, oid_key(oid));
    return place ? &gc->jobs[*place] : NULL;
}

static struct gc_job *job_new(struct gc *gc, const struct coord_gc_item *item)
{
    uint32_t *place = coord_table_add(&gc->places, oid_key(item->key.oid));
    if (!place)
        return NULL;
    while (gc->jobs[gc->next_free].used)
        gc->next_free = (gc->next_free + 1) % COORD_COLLECTING_MAX;
    *place = (uint32_t)gc->next_free;
    struct gc_job *job = &gc->jobs[gc->next_free];
    *job = (struct gc_job){.used = true, .key = item->key, .job = item->row.job};
    gc->count++;
    return job;
}

static void job_end(struct gc *gc, struct gc_job *job)
{
    coord_table_remove(&gc->places, oid_key(job->key.oid));
    job->used = false;
    gc->count--;
}

/* Every OSD that may hold a fragment of the run by its slots. One that never had a disk holds none.
 */
static void ask_slots(const struct coord_service *service, struct gc_job *job)
{
    const struct proto_placement *placement =
        coord_state_placement(service->state, job->job.placement);
    if (!placement)
        return;
    size_t members = 0, asked = 0;
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
        members += coord_state_osd_at(service->state, i)->incarnation > 0;
    for (uint32_t stripe = 0; stripe < job->job.stripe_count && asked < members; stripe++) {
        uint32_t partition = proto_partition(placement->partition_bits, job->job.oid, stripe);
        for (uint32_t index = 0; index < placement->width; index++) {
            size_t place =
                coord_state_osd_find(service->state, proto_slot_osd(placement, partition, index));
            if (place == SIZE_MAX || bit_get(job->waiting, place) ||
                coord_state_osd_at(service->state, place)->incarnation == 0)
                continue;
            bit_set(job->waiting, place);
            asked++;
        }
    }
}

static void ask_parked(const struct coord_service *service, const struct proto_gc_row *row,
                       struct gc_job *job)
{
    for (size_t i = 0; i < row->waiting_count; i++) {
        size_t place = coord_state_osd_find(service->state, (uint32_t)row->waiting[i]);
        if (place != SIZE_MAX)
            bit_set(job->waiting, place);
    }
}

void service_gc_confirm(struct coord_service *service, size_t place, struct base_oid oid)
{
    struct gc_job *job = job_find(&service->gc, oid);
    if (job)
        bit_clear(job->waiting, place);
}

void service_gc_again(struct coord_service *service, size_t place)
{
    for (size_t i = 0; i < COORD_COLLECTING_MAX && service->gc.count > 0; i++)
        bit_clear(service->gc.jobs[i].handed, place);
    service->osds[place].asked_ms = service_now_ms(service);
}

/* Jobs the OSD was asked and has not confirmed. */
static size_t open_jobs(const struct gc *gc, size_t place)
{
    size_t count = 0;
    for (size_t i = 0; i < COORD_COLLECTING_MAX && gc->count > 0; i++)
        count += gc->jobs[i].used && bit_get(gc->jobs[i].waiting, place) &&
                 bit_get(gc->jobs[i].handed, place);
    return count;
}

size_t service_gc_hand(struct coord_service *service, size_t place, struct proto_collect_job *ret)
{
    struct gc *gc = &service->gc;
    if (gc->count > 0 && service_now_ms(service) - service->osds[place].asked_ms >= ASK_AGAIN_MS)
        service_gc_again(service, place);
    size_t count = 0, open = open_jobs(gc, place);
    size_t room = open < COORD_COLLECT_OPEN_MAX ? COORD_COLLECT_OPEN_MAX - open : 0;
    room = room < COORD_COLLECT_MAX ? room : COORD_COLLECT_MAX;
    for (size_t i = 0; i < COORD_COLLECTING_MAX && gc->count > 0 && count < room; i++) {
        struct gc_job *job = &gc->jobs[i];
        if (!job->used || !bit_get(job->waiting, place) || bit_get(job->handed, place))
            continue;
        bit_set(job->handed, place);
        ret[count++] = job->job;
    }
    return count;
}

/* ---- rows become jobs ---- */

static bool is_due(struct coord_service *service, const struct coord_gc_item *item)
{
    if (item->row.reason == COORD_GC_DISCARDED)
        return true;
    uint64_t age = coord_state_row(service->state)->cluster_ms - item->row.since_ms;
    if (age < service->options.gc_grace_ms) {
        service->gc.undue = true;
        return false;
    }
    if (LILIO_PLANTED("collect_under_lease"))
        return true;
    if (service_now_ms(service) < service->gc.hold_ms) {
        LILIO_MARK("coordinator/gc_held");
        return false;
    }
    if (service_leased(service, item->row.version)) {
        LILIO_MARK("coordinator/gc_leased");
        return false;
    }
    return true;
}

/* Reads up to READ_ROWS rows from *from on and moves it past them; false at the end of what waits
 * for its OSD. */
static bool rows_read(struct coord_service *service, struct proto_gc_key *from,
                      struct coord_gc_item *items, size_t *ret_count)
{
    struct lilio_errinfo info = {0};
    struct coord_view view = service_view(service, NULL);
    proto_arena_clear(service->arena);
    enum lilio_err err = coord_read_gc(&view, from, items, READ_ROWS, ret_count, &info);
    if (err) {
        base_log_write(service->options.log, BASE_LOG_ERROR, "gc", "rows_not_read",
                       "err=%s text=%s", lilio_err_name(err), info.text);
        *ret_count = 0;
        return false;
    }
    if (*ret_count < READ_ROWS)
        return false;
    *from = items[*ret_count - 1].key;
    if (++from->oid.low == 0)
        from->oid.high++;
    return true;
}

static void queue_walk(struct coord_service *service, uint64_t now)
{
    struct gc *gc = &service->gc;
    struct coord_gc_item items[READ_ROWS];
    size_t seen = 0, count = 0;
    if (now < gc->walk_ms)
        return;
    gc->undue = false;
    for (bool more = true; more && seen < COORD_COLLECT_WALK_MAX && !gc->undue; seen += count) {
        if (gc->count == COORD_COLLECTING_MAX)
            return; /* goes on from here when there is room */
        more = rows_read(service, &gc->cursor, items, &count);
        for (size_t i = 0; i < count && !gc->undue; i++) {
            if (job_find(gc, items[i].key.oid) || !is_due(service, &items[i]))
                continue;
            struct gc_job *job = job_new(gc, &items[i]);
            if (job)
                ask_slots(service, job);
        }
        if (!more || gc->undue) {
            gc->cursor = queue_start;
            gc->walk_ms = now + WALK_MS;
        }
    }
}

/* What was filed under an OSD that is up again; when nothing is left, it is not looked for any
 * more. */
static void parked_load(struct coord_service *service, size_t place)
{
    struct gc *gc = &service->gc;
    struct coord_gc_item items[READ_ROWS];
    struct proto_gc_key from = {.osd = coord_state_osd_at(service->state, place)->id};
    size_t count = 0, found = 0;
    bool more = true;
    while (more && gc->count < COORD_COLLECTING_MAX) {
        more = rows_read(service, &from, items, &count);
        found += count;
        for (size_t i = 0; i < count; i++) {
            struct gc_job *job = job_find(gc, items[i].key.oid) ? NULL : job_new(gc, &items[i]);
            if (job)
                ask_parked(service, &items[i].row, job);
        }
    }
    service->osds[place].parked = more || found > 0;
}

/* ---- jobs come to an end ---- */

static bool is_up(const struct coord_service *service, size_t place)
{
    return coord_state_osd_at(service->state, place)->state == PROTO_OSD_UP;
}

/* Lists the OSDs a job waits for; false if one of them can be asked now. */
static bool job_stands(struct coord_service *service, const struct gc_job *job,
                       struct proto_gc_step *step)
{
    *step = (struct proto_gc_step){.key = job->key};
    if (is_empty(job->waiting))
        return true;
    size_t count = coord_state_osd_count(service->state);
    for (size_t i = 0; i < count; i++)
        if (bit_get(job->waiting, i) && is_up(service, i))
            return false;
    step->waiting = proto_arena_take(service->arena, count * sizeof *step->waiting);
    for (size_t i = 0; i < count && step->waiting; i++)
        if (bit_get(job->waiting, i))
            step->waiting[step->waiting_count++] = coord_state_osd_at(service->state, i)->id;
    return step->waiting_count > 0;
}

/* Its row waits for this OSD already: it becomes a job again when the OSD is back. */
static bool is_filed(const struct proto_gc_step *step)
{
    return step->waiting_count > 0 && step->waiting[0] == step->key.osd;
}

static void note_parked(struct coord_service *service, uint32_t osd)
{
    size_t place = coord_state_osd_find(service->state, osd);
    if (place != SIZE_MAX)
        service->osds[place].parked = true;
}

static void finish(struct coord_service *service)
{
    struct gc *gc = &service->gc;
    struct proto_gc_done done = {
        .steps = proto_arena_take(service->arena, COORD_COLLECT_MAX * sizeof *done.steps)};
    for (size_t i = 0;
         i < COORD_COLLECTING_MAX && done.steps && done.steps_count < COORD_COLLECT_MAX; i++) {
        struct gc_job *job = &gc->jobs[i];
        struct proto_gc_step *step = &done.steps[done.steps_count];
        if (!job->used || !job_stands(service, job, step))
            continue;
        if (is_filed(step)) {
            note_parked(service, step->key.osd);
            job_end(gc, job);
            continue;
        }
        job->proposed = true;
        job->under = step->waiting_count > 0 ? (uint32_t)step->waiting[0] : COORD_GC_NOBODY;
        done.steps_count++;
    }
    gc->under_way = done.steps_count > 0 && service_propose(service, &proto_type_gc_done, &done);
    for (size_t i = 0; i < COORD_COLLECTING_MAX && !gc->under_way; i++)
        gc->jobs[i].proposed = false;
}

/* The row is filed as it was proposed, also when the OSD has confirmed meanwhile. */
void service_gc_applied(struct coord_service *service)
{
    struct gc *gc = &service->gc;
    for (size_t i = 0; i < COORD_COLLECTING_MAX; i++) {
        struct gc_job *job = &gc->jobs[i];
        if (!job->used || !job->proposed)
            continue;
        note_parked(service, job->under);
        job_end(gc, job);
    }
    gc->under_way = false;
}

/* ---- time ---- */

void service_time_go_on(struct coord_service *service, uint64_t span_ms)
{
    uint64_t step = span_ms / 4;
    step = step < TIME_STEP_MS_MIN ? TIME_STEP_MS_MIN : step;
    step = step > TIME_STEP_MS_MAX ? TIME_STEP_MS_MAX : step;
    struct proto_tick tick = {0};
    if (service_now_ms(service) - service->time_base_ms >= step && !service_gathers(service))
        (void)service_propose(service, &proto_type_tick, &tick); /* the next tick tries again */
}

void service_gc_tick(struct coord_service *service)
{
    uint64_t now = service_now_ms(service);
    struct gc *gc = &service->gc;
    if (gc->count > 0 && !gc->under_way) {
        proto_arena_clear(service->arena);
        finish(service);
    }
    if (coord_state_row(service->state)->gc_count == 0) {
        gc->undue = false;
        return;
    }
    queue_walk(service, now);
    if (now >= gc->parked_ms) {
        gc->parked_ms = now + WALK_MS;
        for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
            if (service->osds[i].parked && service->osds[i].heard && is_up(service, i))
                parked_load(service, i);
    }
    if (gc->undue)
        service_time_go_on(service, service->options.gc_grace_ms);
}
