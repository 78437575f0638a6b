/* Repair: from rows of the queue to leases of OSDs to what became of them.
 *
 *   row of repair_queue --an OSD that is up owns a bad fragment--> lease --its heartbeat--> job
 *                                                                    |
 *            the OSD reported its fragments good, then says so ------+--> ended
 *            the OSD says why it could not ---------------------------+--> ended; the run waits
 *            the OSD is not up, or names it no more for 60 s ---------+--> ended
 *
 * A walk goes over the queue in its order, in steps. Each run is leased to every OSD that is up,
 * owns a missing or corrupt fragment of it and has room. Where an OSD had none, looking goes on
 * from there as soon as a lease ends, beside the walk, so that neither waits for the other. The
 * walk begins anew when a level before the place it is at has grown. A run that failed waits,
 * longer each time, so it never holds up the others; all begin anew when the state of an OSD
 * changes, and a run does when more of it becomes known to be bad. What was leased before such news
 * and fails behind it did not have them: it is tried again at once.
 *
 * All of this is the leader's alone. The rows say what is damaged; with the leader only the leases
 * are lost, and the next one gives them anew. An OSD takes a run it works on already under the new
 * lease.
 */
#include "coordinator/service_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"

#include "base/banned.h"

enum {
    STEP_MS = 50,     /* between two steps of a walk */
    WALK_MS = 1000,   /* between two walks while runs come and go */
    IDLE_MS = 30000,  /* while none do */
    BEAT_MS = 1000,   /* results come with heartbeats */
    SETTLE_MS = 2500, /* until all OSDs go at a new share */
    READ_KEYS = 64,
    SHIFT_MAX = 6,     /* doublings of the wait: COORD_REPAIR_WAIT_MS_MAX is less */
    FAILURES_TOLD = 64 /* in one answer, as in the schema */
};

static struct coord_table_key oid_key(struct base_oid oid)
{
    return (struct coord_table_key){oid.high, oid.low};
}

enum lilio_err service_repair_init(struct coord_service *service)
{
    struct repair *repair = &service->repair;
    repair->failures = (struct coord_table){.value_size = sizeof(struct repair_failure),
                                            .limit = COORD_REPAIR_FAILURES_MAX};
    repair->leased = (struct coord_table){.value_size = sizeof(uint32_t),
                                          .limit = COORD_OSDS_MAX * COORD_REPAIR_OPEN_MAX};
    repair->leases = calloc(COORD_OSDS_MAX, sizeof *repair->leases);
    return repair->leases ? LILIO_OK : LILIO_E_NOMEM;
}

void service_repair_drop(struct coord_service *service)
{
    struct repair *repair = &service->repair;
    coord_table_release(&repair->failures);
    coord_table_release(&repair->leased);
    repair->failed_work = 0;
    if (repair->leases)
        memset(repair->leases, 0, COORD_OSDS_MAX * sizeof *repair->leases);
    repair->lease_count = 0;
}

void service_repair_release(struct coord_service *service)
{
    service_repair_drop(service);
    free(service->repair.leases);
    service->repair.leases = NULL;
}

/* What the priority says, percent. */
static uint32_t share_of(const struct coord_service *service)
{
    static const uint32_t shares[] = {
        [COORD_PRIORITY_LOW] = 5,
        [COORD_PRIORITY_NORMAL] = 15,
        [COORD_PRIORITY_HIGH] = 50,
        [COORD_PRIORITY_MAX] = 100,
    };
    return shares[coord_state_dial(service->state)->priority];
}

/* Ids of leases differ from those of the leader before us, whose jobs OSDs may still name. */
void service_repair_lead(struct coord_service *service)
{
    struct repair *repair = &service->repair;
    const struct proto_state_row *row = coord_state_row(service->state);
    service_repair_drop(service);
    repair->next_id = row->applied_index << 20 | 1;
    repair->cursor = (struct coord_repair_key){0};
    repair->walk_ms = repair->step_ms = 0;
    repair->crowded = repair->freed = repair->moved = false;
    repair->stuck = repair->walk_stuck = 0;
    repair->epoch = row->epoch;
    repair->mended = repair->mended_bytes = repair->runs_done = 0;
    repair->failed_work = repair->stuck_work = repair->walk_stuck_work = 0;
    repair->eta = repair->rate = (struct base_eta){.least_ms = BEAT_MS};
    repair->dial = (struct coord_dial){.share = share_of(service)};
    repair->dial_ms = repair->clear_round = 0;
    memset(repair->levels, 0, sizeof repair->levels);
    repair->fragments = 0;
}

/* ---- leases ---- */

static bool is_ready(const struct coord_service *service, size_t place)
{
    return service->osds[place].heard &&
           coord_state_osd_at(service->state, place)->state == PROTO_OSD_UP &&
           service_osd_held_ms(service, place) == 0;
}

static struct repair_lease *lease_find(struct repair *repair, size_t place, struct base_oid oid)
{
    for (size_t i = 0; i < COORD_REPAIR_OPEN_MAX; i++)
        if (repair->leases[place][i].id && base_oid_equal(repair->leases[place][i].oid, oid))
            return &repair->leases[place][i];
    return NULL;
}

static struct repair_lease *lease_room(struct repair *repair, size_t place)
{
    for (size_t i = 0; i < COORD_REPAIR_OPEN_MAX; i++)
        if (!repair->leases[place][i].id)
            return &repair->leases[place][i];
    return NULL;
}

/* False if the OSD has no room for it. */
static bool lease_give(struct coord_service *service, size_t place,
                       const struct coord_repair_key *key, uint64_t work)
{
    struct repair *repair = &service->repair;
    const struct proto_state_row *row = coord_state_row(service->state);
    struct repair_lease *lease = lease_room(repair, place);
    uint32_t *count = lease ? coord_table_add(&repair->leased, oid_key(key->oid)) : NULL;
    if (!count)
        return false;
    (*count)++;
    *lease = (struct repair_lease){
        .id = repair->next_id++,
        .oid = key->oid,
        .margin = key->margin,
        .work = work,
        .index = row->applied_index,
        .epoch = row->epoch,
        .heard_ms = service_now_ms(service),
    };
    repair->lease_count++;
    repair->moved = true;
    return true;
}

/* True if it was the last one of its run. */
static bool lease_end(struct repair *repair, struct repair_lease *lease)
{
    uint32_t *count = coord_table_find(&repair->leased, oid_key(lease->oid));
    bool last = count && --*count == 0;
    if (last)
        coord_table_remove(&repair->leased, oid_key(lease->oid));
    lease->id = 0;
    repair->lease_count--;
    repair->moved = repair->freed = true;
    return last;
}

void service_repair_forget(struct coord_service *service, size_t place)
{
    struct repair *repair = &service->repair;
    for (size_t i = 0; i < COORD_REPAIR_OPEN_MAX && repair->lease_count > 0; i++)
        if (repair->leases[place][i].id)
            (void)lease_end(repair, &repair->leases[place][i]); /* it will be leased again */
}

/* ---- runs that failed ---- */

/* Whether more of the run became known to be bad behind an index. */
static bool has_grown(struct coord_service *service, struct base_oid oid, uint64_t index)
{
    struct proto_repair_row row;
    struct coord_view view = service_view(service, NULL);
    struct coord_key key = coord_key_oid(oid);
    return !coord_view_get(&view, COORD_REPAIR, &key, &proto_type_repair_row, &row, NULL) &&
           row.grown_index > index;
}

static void failure_renew(struct repair_failure *failure)
{
    failure->due_ms = 0;
    failure->tries = 0;
}

/* lease: which has ended. */
static void failure_note(struct coord_service *service, size_t place,
                         const struct repair_lease *lease, const struct proto_repair_result *result)
{
    struct repair *repair = &service->repair;
    const struct proto_state_row *row = coord_state_row(service->state);
    struct repair_failure *failure = coord_table_add(&repair->failures, oid_key(result->oid));
    if (!failure)
        return; /* too many: it does not wait */
    LILIO_MARK("coordinator/repair_failed");
    repair->failed_work += lease->work - failure->work;
    failure->work = lease->work;
    failure->index = row->applied_index;
    uint64_t now = service_now_ms(service);
    if (lease->epoch != row->epoch || has_grown(service, result->oid, lease->index)) {
        LILIO_MARK("coordinator/repair_failed_before_news");
        failure_renew(failure);
    } else if (now >= failure->due_ms) { /* else another OSD failed at the same attempt */
        uint32_t shift = failure->tries < SHIFT_MAX ? failure->tries : SHIFT_MAX;
        uint64_t wait = (uint64_t)COORD_REPAIR_WAIT_MS_MIN << shift;
        wait = wait < COORD_REPAIR_WAIT_MS_MAX ? wait : COORD_REPAIR_WAIT_MS_MAX;
        failure->tries++;
        failure->due_ms = now + wait;
    }
    failure->osd = coord_state_osd_at(service->state, place)->id;
    failure->err = result->err;
    failure->walk = repair->walk;
    (void)lilio_text_fit((const char *)result->reason.data, result->reason.size, failure->reason,
                         sizeof failure->reason);
    base_log_write(service->options.log, BASE_LOG_WARN, "repair", "failed",
                   "osd=%u oid=%016llx%016llx tries=%u err=%s reason=%s", failure->osd,
                   (unsigned long long)result->oid.high, (unsigned long long)result->oid.low,
                   failure->tries, lilio_err_name(failure->err), failure->reason);
}

static void failure_remove(struct repair *repair, struct coord_table_key key,
                           const struct repair_failure *failure)
{
    repair->failed_work -= failure->work;
    coord_table_remove(&repair->failures, key);
}

static void failure_clear(struct coord_service *service, size_t place, struct base_oid oid)
{
    struct repair *repair = &service->repair;
    const struct repair_failure *failure = coord_table_find(&repair->failures, oid_key(oid));
    if (failure && failure->osd == coord_state_osd_at(service->state, place)->id)
        failure_remove(repair, oid_key(oid), failure);
}

/* What was out of reach may not be any more. */
static void failures_retry(struct repair *repair)
{
    struct coord_table_key key;
    struct repair_failure *failure;
    for (size_t cursor = 0; (failure = coord_table_next(&repair->failures, &cursor, &key));)
        failure_renew(failure);
}

/* After a walk over the whole queue: those it did not meet have no row any more. */
static void failures_sweep(struct repair *repair)
{
    struct coord_table_key key;
    const struct repair_failure *failure;
    for (size_t cursor = 0; (failure = coord_table_next(&repair->failures, &cursor, &key));) {
        if (failure->walk == repair->walk)
            continue;
        failure_remove(repair, key, failure);
        cursor--;
    }
}

/* ---- heartbeats ---- */

static void result_note(struct coord_service *service, size_t place,
                        const struct proto_repair_result *result)
{
    struct repair *repair = &service->repair;
    struct repair_lease *lease = lease_find(repair, place, result->oid);
    if (!lease || lease->id != result->id)
        return; /* of the leader before us, or it ran out */
    struct repair_lease ended = *lease;
    bool last = lease_end(repair, lease);
    repair->mended += result->mended;
    if (result->err) {
        failure_note(service, place, &ended, result);
        return;
    }
    failure_clear(service, place, result->oid);
    repair->runs_done += last;
}

static bool is_named(const struct proto_osd_heartbeat *beat, uint64_t id)
{
    for (size_t i = 0; i < beat->repairing_count; i++)
        if (beat->repairing[i] == id)
            return true;
    return false;
}

/* An OSD that counts from zero began anew. */
static void bytes_note(struct coord_service *service, size_t place,
                       const struct proto_osd_heartbeat *beat)
{
    struct live_osd *live = &service->osds[place];
    bool goes_on = live->repairs && beat->repair_bytes >= live->repair_bytes;
    if (live->repairs)
        service->repair.mended_bytes += beat->repair_bytes - (goes_on ? live->repair_bytes : 0);
    live->repairs = true;
    live->repair_bytes = beat->repair_bytes;
    live->clients = beat->clients;
}

void service_repair_note(struct coord_service *service, size_t place,
                         const struct proto_osd_heartbeat *beat)
{
    struct repair *repair = &service->repair;
    bytes_note(service, place, beat);
    if (repair->lease_count == 0)
        return;
    for (size_t i = 0; i < beat->repaired_count; i++)
        result_note(service, place, &beat->repaired[i]);
    for (size_t i = 0; i < COORD_REPAIR_OPEN_MAX; i++) {
        struct repair_lease *lease = &repair->leases[place][i];
        if (!lease->id || !lease->handed)
            continue;
        lease->handed = is_named(beat, lease->id); /* else our answer was lost, or it has no room */
        if (lease->handed)
            lease->heard_ms = service_now_ms(service);
        else
            LILIO_MARK("coordinator/repair_again");
    }
}

/* ---- the walk ---- */

/* The OSDs whose slots hold missing or corrupt fragments of the run, by place. */
static void owners_find(const struct coord_service *service, const struct proto_data_row *row,
                        uint64_t *ret_words)
{
    const struct proto_placement *placement = coord_state_placement(service->state, row->placement);
    memset(ret_words, 0, OSD_WORDS * sizeof *ret_words);
    for (size_t i = 0; i < row->exceptions_count && placement; i++) {
        const struct proto_exception *exception = &row->exceptions[i];
        for (uint32_t n = 0; n < exception->stripe_count; n++) {
            uint32_t partition =
                proto_partition(placement->partition_bits, row->oid, exception->first_stripe + n);
            size_t place = coord_state_osd_find(
                service->state, proto_slot_osd(placement, partition, exception->index));
            if (place != SIZE_MAX)
                ret_words[place / 64] |= UINT64_C(1) << place % 64;
        }
    }
}

static bool is_before(const struct coord_repair_key *a, const struct coord_repair_key *b)
{
    if (a->margin != b->margin)
        return a->margin < b->margin;
    if (a->since_ms != b->since_ms)
        return a->since_ms < b->since_ms;
    return a->oid.high != b->oid.high ? a->oid.high < b->oid.high : a->oid.low < b->oid.low;
}

static void note_crowded(struct repair *repair, const struct coord_repair_key *key)
{
    if (!repair->crowded || is_before(key, &repair->front))
        repair->front = *key;
    repair->crowded = true;
}

/* Leases the run to whoever can mend some of it now. */
static void run_lease(struct coord_service *service, const struct coord_repair_key *key,
                      const struct proto_data_row *row)
{
    struct repair *repair = &service->repair;
    uint64_t owners[OSD_WORDS], work = coord_bad_work(coord_repair_bad(row));
    bool ready = false;
    owners_find(service, row, owners);
    for (size_t word = 0; word < OSD_WORDS; word++) {
        for (uint64_t left = owners[word]; left; left &= left - 1) {
            size_t place = 64 * word + (size_t)__builtin_ctzll(left);
            if (!is_ready(service, place))
                continue;
            ready = true;
            if (!lease_find(repair, place, key->oid) && !lease_give(service, place, key, work))
                note_crowded(repair, key);
        }
    }
    repair->walk_stuck += !ready;
    repair->walk_stuck_work += ready ? 0 : work;
}

/* Bytes of rows that were read for it. */
static size_t key_look(struct coord_service *service, const struct coord_repair_key *key)
{
    struct repair *repair = &service->repair;
    struct repair_failure *failure = coord_table_find(&repair->failures, oid_key(key->oid));
    if (failure) {
        uint64_t now = service_now_ms(service);
        failure->walk = repair->walk;
        if (now < failure->due_ms && has_grown(service, key->oid, failure->index))
            failure_renew(failure);
        if (now < failure->due_ms)
            return 0;
    }
    struct proto_data_row row;
    struct lilio_errinfo info = {0};
    struct coord_view view = service_view(service, NULL);
    proto_arena_clear(service->arena);
    enum lilio_err err = coord_read_data(&view, key->oid, &row, &info);
    if (err) {
        base_log_write(service->options.log, BASE_LOG_ERROR, "repair", "row_not_read",
                       "err=%s text=%s", lilio_err_name(err), info.text);
        return 0;
    }
    run_lease(service, key, &row);
    return row.checksums.size;
}

/* Looks at rows from a key on and moves it past them; false at the end of the queue. */
static bool rows_look(struct coord_service *service, struct coord_repair_key *from)
{
    struct coord_repair_key keys[READ_KEYS];
    size_t seen = 0, bytes = 0, count = READ_KEYS;
    struct lilio_errinfo info = {0};
    for (; count == READ_KEYS && seen < COORD_REPAIR_WALK_MAX && bytes < COORD_REPAIR_WALK_BYTES;
         seen += count) {
        struct coord_view view = service_view(service, NULL);
        proto_arena_clear(service->arena);
        if (coord_read_repair(&view, from, keys, READ_KEYS, &count, &info)) {
            base_log_write(service->options.log, BASE_LOG_ERROR, "repair", "queue_not_read",
                           "text=%s", info.text);
            count = 0;
        }
        for (size_t i = 0; i < count; i++)
            bytes += key_look(service, &keys[i]);
        if (count > 0)
            *from = keys[count - 1];
        if (count > 0 && ++from->oid.low == 0)
            from->oid.high++;
    }
    return count == READ_KEYS;
}

/* What had no room may have it now. */
static void front_step(struct coord_service *service)
{
    struct repair *repair = &service->repair;
    struct coord_repair_key from = repair->front;
    uint64_t stuck = repair->walk_stuck, work = repair->walk_stuck_work; /* the walk's own */
    LILIO_MARK("coordinator/repair_front");
    repair->crowded = repair->freed = false;
    if (rows_look(service, &from) && !repair->crowded)
        note_crowded(repair, &from); /* nobody is short of room so far: on from here */
    repair->walk_stuck = stuck;
    repair->walk_stuck_work = work;
}

static void walk_begin(struct repair *repair)
{
    repair->cursor = (struct coord_repair_key){0};
    repair->walk_stuck = repair->walk_stuck_work = 0;
}

static void walk_step(struct coord_service *service)
{
    struct repair *repair = &service->repair;
    if (rows_look(service, &repair->cursor))
        return;
    failures_sweep(repair);
    repair->stuck = repair->walk_stuck;
    repair->stuck_work = repair->walk_stuck_work;
    repair->walk_ms = service_now_ms(service) + (repair->moved ? WALK_MS : IDLE_MS);
    repair->moved = false;
    repair->walk++;
    walk_begin(repair);
}

/* Begins anew if something more urgent than what the walk is at came up, and wakes a walk that
 * sleeps if there is something new. */
static void walk_look(struct coord_service *service)
{
    struct repair *repair = &service->repair;
    const struct proto_state_row *row = coord_state_row(service->state);
    size_t at = coord_repair_level(repair->cursor.margin);
    bool before = false, more = row->repair_fragments > repair->fragments;
    repair->fragments = row->repair_fragments;
    for (size_t i = 0; i < COORD_REPAIR_LEVELS; i++) {
        bool grew = row->repair_levels[i] > repair->levels[i];
        more |= grew;
        before |= grew && i < at;
        repair->levels[i] = row->repair_levels[i];
    }
    if (repair->epoch != row->epoch) {
        repair->epoch = row->epoch;
        failures_retry(repair);
        before = more = true;
    }
    if (before)
        walk_begin(repair);
    repair->moved |= more; /* a walk may be past it, or its OSDs not heard yet: the next is soon */
    if (more)
        repair->walk_ms = 0;
    else if (repair->moved && repair->walk_ms > service_now_ms(service) + WALK_MS)
        repair->walk_ms = service_now_ms(service) + WALK_MS;
}

static void walk_go_on(struct coord_service *service)
{
    struct repair *repair = &service->repair;
    uint64_t now = service_now_ms(service);
    if (coord_state_row(service->state)->repair_count == 0) {
        repair->stuck = repair->stuck_work = repair->failed_work = 0;
        coord_table_release(&repair->failures);
        return;
    }
    if (now < repair->step_ms)
        return;
    repair->step_ms = now + STEP_MS;
    walk_look(service);
    if (repair->crowded && repair->freed)
        front_step(service);
    if (now >= repair->walk_ms)
        walk_step(service);
}

size_t service_repair_hand(struct coord_service *service, size_t place,
                           struct proto_repair_job *ret)
{
    struct repair *repair = &service->repair;
    size_t count = 0;
    walk_go_on(service);
    for (size_t i = 0; i < COORD_REPAIR_OPEN_MAX && repair->lease_count > 0; i++) {
        struct repair_lease *lease = &repair->leases[place][i];
        if (!lease->id || lease->handed)
            continue;
        lease->handed = true;
        ret[count++] = (struct proto_repair_job){
            .id = lease->id,
            .oid = lease->oid,
            .margin = lease->margin,
            .lease_ms = COORD_REPAIR_LEASE_MS,
        };
    }
    return count;
}

/* Since the deadline came; 0 while there is none, or it lies ahead. */
static uint64_t deadline_ago(const struct coord_service *service)
{
    uint64_t at = coord_state_dial(service->state)->deadline_ms, now = service_cluster_ms(service);
    return at > 0 && now > at ? now - at : 0;
}

static uint64_t deadline_left(const struct coord_service *service)
{
    uint64_t at = coord_state_dial(service->state)->deadline_ms, now = service_cluster_ms(service);
    return at > now ? at - now : 0;
}

/* A priority counts at once, a share that was raised for a deadline only until that is over. */
uint32_t service_repair_share(const struct coord_service *service)
{
    uint32_t least = share_of(service), share = service->repair.dial.share;
    return deadline_left(service) > 0 && share > least ? share : least;
}

/* ---- time ---- */

static void leases_expire(struct coord_service *service, size_t place)
{
    struct repair *repair = &service->repair;
    uint64_t now = service_now_ms(service);
    bool ready = is_ready(service, place);
    for (size_t i = 0; i < COORD_REPAIR_OPEN_MAX; i++) {
        struct repair_lease *lease = &repair->leases[place][i];
        if (!lease->id || (ready && now - lease->heard_ms < COORD_REPAIR_LEASE_MS))
            continue;
        LILIO_MARK("coordinator/repair_lease_ended");
        (void)lease_end(repair, lease); /* the run keeps its row */
    }
}

/* Work that waits for nothing but its turn. */
static uint64_t work_left(const struct coord_service *service)
{
    const struct repair *repair = &service->repair;
    const struct proto_state_row *row = coord_state_row(service->state);
    uint64_t work = coord_bad_work((struct coord_bad){row->repair_fragments, row->repair_bytes});
    uint64_t waiting = repair->failed_work + repair->stuck_work;
    uint64_t rows = repair->failures.count + repair->stuck;
    return rows < row->repair_count && work > waiting ? work - waiting : 0;
}

/* Times in which there is nothing to do say nothing about the rate. */
static void progress_note(struct coord_service *service)
{
    struct repair *repair = &service->repair;
    uint64_t now = service_now_ms(service);
    bool faults = work_left(service) > 0 || repair->lease_count > 0;
    if (now < repair->dial_ms || !faults)
        repair->eta = (struct base_eta){.least_ms = BEAT_MS};
    else
        base_eta_note(&repair->eta, now, coord_bad_work(coord_state_mended(service->state)));
    if (now < repair->dial_ms || !(faults || service_fills_tell(service).left > 0))
        repair->rate = (struct base_eta){.least_ms = BEAT_MS};
    else
        base_eta_note(&repair->rate, now, repair->mended_bytes);
}

void service_repair_tick(struct coord_service *service)
{
    progress_note(service);
    for (size_t i = 0; i < coord_state_osd_count(service->state) && service->repair.lease_count > 0;
         i++)
        leases_expire(service, i);
}

/* ---- the dial ---- */

uint32_t service_repair_held(const struct coord_service *service)
{
    uint32_t held = 0;
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
        held += is_ready(service, i) && service->osds[i].clients;
    return held;
}

/* Faults and slots that fill are mended side by side: both have to be done. */
static struct base_eta_told eta_of_all(struct coord_service *service, bool *ret_work)
{
    bool faults = work_left(service) > 0;
    struct base_eta_told eta = base_eta_tell(&service->repair.eta, work_left(service));
    struct fills_told fills = service_fills_tell(service);
    *ret_work = coord_state_row(service->state)->repair_count > 0 || fills.slots > 0;
    eta.known &= faults; /* else it waits, and nobody knows how long */
    if (fills.left == 0)
        return eta;
    if (!faults)
        return fills.eta;
    struct base_eta_told later = eta.ms > fills.eta.ms ? eta : fills.eta;
    later.known = eta.known && fills.eta.known;
    return later;
}

/* One that has come says nothing any more an hour after that, once all is mended, and when other
 * work begins: that was not meant. */
static void deadline_clear(struct coord_service *service, bool was_idle)
{
    struct repair *repair = &service->repair;
    uint64_t ago = deadline_ago(service);
    bool other = was_idle && !repair->dial.idle;
    if (ago == 0 || repair->clear_round > service->done_round || !(was_idle || repair->dial.idle))
        return;
    if (!other && ago < COORD_DEADLINE_TOLD_MS) {
        service_time_go_on(service, COORD_DEADLINE_TOLD_MS - ago);
        return;
    }
    struct proto_repair_set set = {
        .set_deadline = true,
        .deadline_was_ms = coord_state_dial(service->state)->deadline_ms,
    };
    if (service_propose(service, &proto_type_repair_set, &set))
        repair->clear_round = service->round;
}

void service_repair_dial(struct coord_service *service)
{
    struct repair *repair = &service->repair;
    bool was_idle = repair->dial.idle;
    struct coord_dial_seen seen = {
        .least = share_of(service),
        .has_deadline = coord_state_dial(service->state)->deadline_ms > 0,
        .left_ms = deadline_left(service),
        .held = service_repair_held(service) > 0,
    };
    if (seen.has_deadline && seen.left_ms > 0)
        service_time_go_on(service, seen.left_ms);
    if (seen.has_deadline)
        seen.eta = eta_of_all(service, &seen.work);
    uint32_t before = repair->dial.share;
    repair->dial = coord_dial_turn(repair->dial, &seen);
    deadline_clear(service, was_idle);
    if (repair->dial.share == before)
        return;
    base_log_write(service->options.log, BASE_LOG_INFO, "repair", "share",
                   "percent=%u before=%u deadline_in_ms=%llu eta_ms=%llu", repair->dial.share,
                   before, (unsigned long long)seen.left_ms, (unsigned long long)seen.eta.ms);
    repair->dial_ms = service_now_ms(service) + SETTLE_MS;
    service_fill_pace(service);
}

/* ---- what is told ---- */

/* A deadline that was set or taken back since the last turn counts already. */
static uint8_t deadline_told(const struct coord_service *service)
{
    enum coord_deadline deadline = service->repair.dial.deadline;
    if (coord_state_dial(service->state)->deadline_ms == 0)
        return COORD_DEADLINE_NONE;
    if (deadline_left(service) == 0)
        return deadline == COORD_DEADLINE_MET ? COORD_DEADLINE_MET : COORD_DEADLINE_PASSED;
    bool is_new = deadline == COORD_DEADLINE_NONE || deadline >= COORD_DEADLINE_PASSED;
    return (uint8_t)(is_new ? COORD_DEADLINE_OPEN : deadline);
}

static bool is_leased(const struct repair *repair, struct coord_table_key key)
{
    return coord_table_find(&repair->leased, key) != NULL;
}

/* Those that are tried again now, or with the next walk, do not wait. */
static bool is_waiting(const struct repair *repair, struct coord_table_key key,
                       const struct repair_failure *failure)
{
    return failure->tries > 0 && !is_leased(repair, key);
}

static uint64_t failed_count(const struct repair *repair)
{
    struct coord_table_key key;
    const struct repair_failure *failure;
    uint64_t count = 0;
    for (size_t cursor = 0; (failure = coord_table_next(&repair->failures, &cursor, &key));)
        count += is_waiting(repair, key, failure);
    return count;
}

void service_repair_status(const struct coord_service *service, struct proto_status *ret)
{
    const struct repair *repair = &service->repair;
    if (!service->leads)
        return;
    struct base_eta_told eta = base_eta_tell(&repair->eta, work_left(service));
    ret->repair_running = repair->leased.count;
    ret->repair_failed = failed_count(repair);
    ret->repair_eta_ms = eta.known ? eta.ms : 0;
    ret->repair_eta_low_ms = eta.low_ms;
    ret->repair_eta_high_ms = eta.high_ms;
}

static bool failures_list(struct coord_service *service, struct proto_repair *ret)
{
    struct repair *repair = &service->repair;
    struct coord_view view = service_view(service, NULL);
    struct coord_table_key key;
    const struct repair_failure *failure;
    uint64_t now = service_now_ms(service);
    ret->failures = proto_arena_take(service->arena, FAILURES_TOLD * sizeof *ret->failures);
    for (size_t cursor = 0; ret->failures && ret->failures_count < FAILURES_TOLD &&
                            (failure = coord_table_next(&repair->failures, &cursor, &key));) {
        if (!is_waiting(repair, key, failure))
            continue;
        struct proto_repair_failure *told = &ret->failures[ret->failures_count++];
        *told = (struct proto_repair_failure){
            .oid = {key.a, key.b},
            .osd = failure->osd,
            .err = failure->err,
            .reason = base_slice_str(failure->reason),
            .tries = failure->tries,
            .wait_ms = failure->due_ms > now ? failure->due_ms - now : 0,
        };
        enum lilio_err err =
            coord_read_names(&view, told->oid, &told->names, &told->names_count, NULL);
        if (!err && told->names_count == 0) {
            ret->failures_count--; /* deleted since the last walk */
            ret->failed--;
            continue;
        }
        if (!proto_utf8_valid(told->reason))
            told->reason = base_slice_str(lilio_err_text(failure->err));
    }
    return ret->failures != NULL;
}

void service_repair_read(struct coord_service *service, const struct coord_request *request)
{
    struct repair *repair = &service->repair;
    const struct proto_state_row *row = coord_state_row(service->state);
    struct base_eta_told eta = base_eta_tell(&repair->eta, work_left(service));
    struct fills_told fills = service_fills_tell(service);
    struct proto_repair reply = {
        .rows = row->repair_count,
        .levels = row->repair_levels,
        .levels_count = row->repair_levels_count,
        .running = repair->leased.count,
        .failed = failed_count(repair),
        .away = repair->stuck < row->repair_count ? repair->stuck : row->repair_count,
        .priority = coord_state_dial(service->state)->priority,
        .mended = repair->mended,
        .mended_bytes = repair->mended_bytes,
        .runs_done = repair->runs_done,
        .bytes_per_s = base_eta_tell(&repair->rate, UINT64_MAX).per_s,
        .eta_ms = eta.known ? eta.ms : 0,
        .eta_low_ms = eta.low_ms,
        .eta_high_ms = eta.high_ms,
        .fragments = row->repair_fragments,
        .bytes = row->repair_bytes,
        .held = service_repair_held(service),
        .share = service_repair_share(service),
        .deadline_ms = deadline_left(service),
        .deadline = deadline_told(service),
        .deadline_ago_ms = deadline_ago(service),
        .fill_slots = fills.slots,
        .fill_waiting = fills.waiting,
        .fill_left = fills.left,
        .fill_eta_ms = fills.eta.known ? fills.eta.ms : 0,
        .fill_eta_low_ms = fills.eta.low_ms,
        .fill_eta_high_ms = fills.eta.high_ms,
    };
    if (failures_list(service, &reply))
        service_reply(service, request, &proto_type_repair, &reply);
    else
        service_refuse(service, request, LILIO_E_NOMEM, NULL);
}
