/* OSDs as they are seen: heartbeats make them up, silence makes them suspect, down and out. What is
 * seen becomes a command; the map changes when that is applied. One that is blank or failed for as
 * long as it takes to be out is given up, too: it beats, so it is not out, but has to be replaced.
 *
 * Only the heartbeat of the disk that is bound keeps an OSD up. An empty disk that answers to its
 * id makes it blank, but not while the bound one is heard; a bind is refused while another disk is
 * heard, so two processes with one id cannot take turns.
 */
#include "base/mark.h"
#include "coordinator/scrubbed.h"
#include "coordinator/service_priv.h"

#include "base/banned.h"

static uint64_t since(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

static const struct proto_osd *row_at(const struct coord_service *service, size_t place)
{
    return coord_state_osd_at(service->state, place);
}

static bool is_heard(const struct coord_service *service, size_t place)
{
    const struct live_osd *live = &service->osds[place];
    return live->heard &&
           since(service_now_ms(service), live->heard_ms) < service->options.suspect_ms;
}

uint64_t service_osd_silent_ms(const struct coord_service *service, size_t place)
{
    const struct live_osd *live = &service->osds[place];
    bool blank = row_at(service, place)->state == PROTO_OSD_BLANK;
    return since(service_now_ms(service), blank ? live->blank_ms : live->heard_ms);
}

uint64_t service_osd_held_ms(const struct coord_service *service, size_t place)
{
    return coord_damping_held_ms(&service->osds[place].damping, service_now_ms(service));
}

/* ---- the map ---- */

struct proto_osd service_osd_told(const struct coord_service *service, size_t place)
{
    struct proto_osd osd = *row_at(service, place);
    const struct live_osd *live = &service->osds[place];
    osd.capacity_bytes = live->capacity_bytes;
    osd.free_bytes = live->free_bytes;
    osd.used_bytes = live->used_bytes;
    osd.fragment_count = live->fragment_count;
    return osd;
}

static struct proto_osd osd_as_seen(const struct coord_service *service, size_t place)
{
    if (!service->leads)
        return *row_at(service, place); /* only the leader hears it */
    struct proto_osd osd = service_osd_told(service, place);
    if (osd.state == PROTO_OSD_UP &&
        (service_osd_silent_ms(service, place) >= service->options.suspect_ms ||
         service_osd_held_ms(service, place) > 0))
        osd.state = PROTO_OSD_SUSPECT;
    return osd;
}

bool service_map(struct coord_service *service, bool with_slots, struct proto_cluster_map *ret)
{
    size_t osds = coord_state_osd_count(service->state),
           placements = coord_state_placement_count(service->state);
    uint64_t grace = service->options.gc_grace_ms;
    *ret = (struct proto_cluster_map){
        .cluster_id = coord_state_cluster(service->state)->cluster_id,
        .epoch = coord_state_row(service->state)->epoch,
        .osds = proto_arena_take(service->arena, (osds + 1) * sizeof *ret->osds),
        .osds_count = osds,
        .placements = proto_arena_take(service->arena, (placements + 1) * sizeof *ret->placements),
        .placements_count = placements,
        .gc_grace_ms = grace > UINT32_MAX ? UINT32_MAX : (uint32_t)grace,
        .default_profile = coord_state_cluster(service->state)->default_profile,
    };
    if (!ret->osds || !ret->placements)
        return false;
    for (size_t i = 0; i < osds; i++)
        ret->osds[i] = osd_as_seen(service, i);
    for (size_t i = 0; i < placements; i++) {
        ret->placements[i] = *coord_state_placement_at(service->state, i);
        if (!with_slots)
            ret->placements[i].slots = ret->placements[i].filling = ret->placements[i].previous =
                ret->placements[i].moved = ret->placements[i].changed =
                    ret->placements[i].changed_before = ret->placements[i].moved_last =
                        base_slice(NULL, 0);
    }
    return true;
}

/* ---- hello and bind ---- */

/* An empty disk that listens where the bound one did: that one is gone. */
static void note_blank(struct coord_service *service, const struct proto_osd_hello *hello)
{
    size_t place = coord_state_osd_find(service->state, hello->osd);
    if (place != SIZE_MAX && base_uuid_is_zero(hello->disk_uuid) &&
        base_slice_equal(hello->address, row_at(service, place)->address))
        service->osds[place].heard = false;
}

void service_hello(struct coord_service *service, const struct coord_request *request)
{
    struct proto_osd_hello hello;
    if (!service_body(service, request, &hello))
        return;
    note_blank(service, &hello);
    size_t place = coord_state_osd_find(service->state, hello.osd);
    bool other =
        place != SIZE_MAX && is_heard(service, place) && base_uuid_is_zero(hello.disk_uuid);
    if (place != SIZE_MAX) {
        service_gc_again(service, place);
        service_repair_forget(service, place);
        service_fill_forget(service, place);
        service->osds[place].has_inventory = false; /* it tells anew */
        service->osds[place].compares = true;
    }
    if (!other && coord_state_hello_changes(service->state, &hello))
        service_propose_request(service, request);
    else
        service_defer(service, request);
}

static void welcome(struct coord_service *service, const struct coord_request *request,
                    uint32_t osd, uint8_t verdict, const char *reason)
{
    size_t place = coord_state_osd_find(service->state, osd);
    struct proto_osd_welcome reply = {
        .verdict = verdict,
        .reason = base_slice_str(reason),
        .incarnation = place == SIZE_MAX ? 0 : row_at(service, place)->incarnation,
        .cluster_id = coord_state_cluster(service->state)->cluster_id,
        .heartbeat_ms = service->options.heartbeat_ms,
    };
    if (verdict == COORD_VERDICT_REFUSED)
        base_log_write(service->options.log, BASE_LOG_WARN, "osds", "refused", "osd=%u reason=%s",
                       osd, reason);
    if (verdict != COORD_VERDICT_REFUSED &&
        !service_map(service, true /* with slots */, &reply.map))
        service_refuse(service, request, LILIO_E_NOMEM, NULL);
    else
        service_reply(service, request, &proto_type_osd_welcome, &reply);
}

void service_welcome(struct coord_service *service, const struct coord_request *request)
{
    struct proto_osd_hello hello;
    uint8_t verdict;
    struct lilio_errinfo reason = {0};
    if (!service_body(service, request, &hello))
        return;
    coord_state_hello(service->state, &hello, &verdict, &reason);
    welcome(service, request, hello.osd, verdict, reason.text);
}

void service_bind(struct coord_service *service, const struct coord_request *request)
{
    struct proto_osd_bind bind;
    if (!service_body(service, request, &bind))
        return;
    size_t place = coord_state_osd_find(service->state, bind.osd);
    if (place != SIZE_MAX && is_heard(service, place) &&
        !base_uuid_equal(row_at(service, place)->disk_uuid, bind.disk_uuid)) {
        service_refuse(service, request, LILIO_E_BUSY, "the OSD is alive with the disk it has");
        return;
    }
    service_propose_request(service, request);
}

void service_bound(struct coord_service *service, const struct coord_request *request)
{
    struct proto_osd_bind bind;
    if (!service_body(service, request, &bind))
        return;
    size_t place = coord_state_osd_find(service->state, bind.osd);
    if (place != SIZE_MAX) {
        service->osds[place].heard = true;
        service->osds[place].heard_ms = service_now_ms(service);
        service->osds[place].damping = (struct coord_damping){0}; /* another disk's story */
        service->osds[place].scrub_count = 0;                     /* that was the disk before */
        service_gc_again(service, place);
    }
    base_log_write(service->options.log, BASE_LOG_INFO, "osds", "bound",
                   "osd=%u rebuild=%d afresh=%d", bind.osd, bind.rebuild, bind.afresh);
    welcome(service, request, bind.osd, COORD_VERDICT_SERVE, "");
}

/* ---- heartbeats ---- */

/* Whether an entry that is under way, or gathers, brings the OSD to this state. */
static bool is_proposed(const struct coord_service *service, size_t place, uint8_t state)
{
    const struct live_osd *live = &service->osds[place];
    return live->proposed_state == state && live->proposed_round > service->done_round;
}

static bool is_away(uint8_t state)
{
    return state == PROTO_OSD_DOWN || state == PROTO_OSD_OUT;
}

static void note_proposed(struct coord_service *service, size_t place, uint8_t state)
{
    struct live_osd *live = &service->osds[place];
    uint64_t now = service_now_ms(service), unit = service->options.down_ms;
    live->proposed_state = state;
    live->proposed_round = service->round;
    if (state == PROTO_OSD_DOWN)
        coord_damping_down(&live->damping, now, unit);
    if (state == PROTO_OSD_UP && is_away(row_at(service, place)->state))
        coord_damping_up(&live->damping, now, unit);
    if (service_osd_held_ms(service, place) > 0)
        LILIO_MARK("coordinator/osd_held");
}

static void change_state(struct coord_service *service, size_t place, uint8_t state)
{
    const struct proto_osd *row = row_at(service, place);
    if (row->state == state || is_proposed(service, place, state))
        return;
    struct proto_osd_step step = {.osd = row->id, .incarnation = row->incarnation, .state = state};
    struct proto_osd_change change = {.steps = &step, .steps_count = 1};
    if (!service_propose(service, &proto_type_osd_change, &change))
        return; /* the next heartbeat tries again */
    note_proposed(service, place, state);
    base_log_write(service->options.log, BASE_LOG_INFO, "osds", "state", "osd=%u from=%s to=%s",
                   row->id, proto_osd_state_name(row->state), proto_osd_state_name(state));
}

/* What a heartbeat is from. */
enum sender { SENDER_UNKNOWN, SENDER_BOUND, SENDER_BLANK };

static enum sender sender_of(const struct coord_service *service,
                             const struct proto_osd_heartbeat *beat, size_t place)
{
    if (place == SIZE_MAX)
        return SENDER_UNKNOWN;
    const struct proto_osd *row = row_at(service, place);
    if (row->incarnation == 0)
        return SENDER_UNKNOWN;
    if (beat->incarnation == row->incarnation && base_uuid_equal(beat->disk_uuid, row->disk_uuid) &&
        beat->state != PROTO_OSD_BLANK)
        return SENDER_BOUND;
    return beat->state == PROTO_OSD_BLANK ? SENDER_BLANK : SENDER_UNKNOWN;
}

static void note_use(struct live_osd *live, const struct proto_osd_heartbeat *beat)
{
    live->capacity_bytes = beat->capacity_bytes;
    live->free_bytes = beat->free_bytes;
    live->used_bytes = beat->used_bytes;
    live->fragment_count = beat->fragment_count;
}

static void note_bound(struct coord_service *service, const struct proto_osd_heartbeat *beat,
                       size_t place)
{
    struct live_osd *live = &service->osds[place];
    live->heard = true;
    live->heard_ms = service_now_ms(service);
    note_use(live, beat);
    live->orphans = beat->orphans;
    live->scrub_count = beat->scrubs_count;
    for (size_t i = 0; i < beat->scrubs_count; i++) {
        live->scrubs[i] = beat->scrubs[i];
        live->scrubs[i].osd = beat->osd;
    }
    for (size_t i = 0; i < beat->collected_count; i++)
        service_gc_confirm(service, place, beat->collected[i].oid);
    service_inventory_note(service, place, beat);
    service_repair_note(service, place, beat);
    service_fill_note(service, place, beat);
    change_state(service, place, beat->state == PROTO_OSD_FAILED ? PROTO_OSD_FAILED : PROTO_OSD_UP);
}

static void note_blank_beat(struct coord_service *service, const struct proto_osd_heartbeat *beat,
                            size_t place)
{
    service->osds[place].blank_ms = service_now_ms(service);
    if (is_heard(service, place))
        return;
    note_use(&service->osds[place], beat);
    change_state(service, place, PROTO_OSD_BLANK);
}

void service_heartbeat(struct coord_service *service, const struct coord_request *request)
{
    struct proto_osd_heartbeat beat;
    if (!service_body(service, request, &beat))
        return;
    size_t place = coord_state_osd_find(service->state, beat.osd);
    switch (sender_of(service, &beat, place)) {
    case SENDER_BOUND: note_bound(service, &beat, place); break;
    case SENDER_BLANK: note_blank_beat(service, &beat, place); break;
    case SENDER_UNKNOWN: break;
    }
    service_defer(service, request);
}

void service_orders(struct coord_service *service, const struct coord_request *request)
{
    struct proto_osd_heartbeat beat;
    if (!service_body(service, request, &beat))
        return;
    size_t place = coord_state_osd_find(service->state, beat.osd);
    enum sender sender = sender_of(service, &beat, place);
    struct proto_osd_orders orders = {
        .known = sender != SENDER_UNKNOWN,
        .index = coord_state_row(service->state)->applied_index,
        .changed = coord_state_row(service->state)->epoch > beat.known_epoch,
    };
    struct proto_collect_job jobs[COORD_COLLECT_MAX];
    struct proto_repair_job repairs[COORD_REPAIR_OPEN_MAX];
    struct proto_fill_job fill;
    if (sender == SENDER_BOUND && beat.state == PROTO_OSD_UP) {
        orders.collect = jobs;
        orders.collect_count = service_gc_hand(service, place, jobs);
        orders.repair_share = service_repair_share(service);
    }
    if (sender == SENDER_BOUND && beat.state == PROTO_OSD_UP &&
        service_osd_held_ms(service, place) == 0) {
        orders.repair = repairs;
        orders.repair_count = service_repair_hand(service, place, repairs);
        orders.fills = &fill;
        orders.fills_count = service_fill_hand(service, place, &fill);
    }
    if (orders.changed && !service_map(service, true /* with slots */, &orders.map))
        service_refuse(service, request, LILIO_E_NOMEM, NULL);
    else
        service_reply(service, request, &proto_type_osd_orders, &orders);
}

/* As its OSD told it, and older by now. */
static struct proto_scrub_line scrub_as_seen(const struct coord_service *service, size_t place,
                                             size_t at)
{
    struct proto_scrub_line line = service->osds[place].scrubs[at];
    uint64_t silent_ms = service_osd_silent_ms(service, place);
    line.round_ms += line.state != 0 ? silent_ms : 0;
    line.ended_ms += line.rounds > 0 ? silent_ms : 0;
    line.oldest_ms += line.rounds > 0 ? silent_ms : 0;
    return line;
}

/* NULL: no memory. */
static struct coord_scrubbed *scrubbed_gather(struct coord_service *service)
{
    struct coord_scrubbed *scrubbed = proto_arena_take(service->arena, sizeof *scrubbed);
    for (size_t i = 0; scrubbed && i < coord_state_osd_count(service->state); i++) {
        const struct live_osd *live = &service->osds[i];
        struct proto_scrub_line line, *deep = NULL;
        for (size_t k = 0; k < live->scrub_count && !deep; k++)
            if (live->scrubs[k].kind == COORD_SCRUB_DEEP) {
                line = scrub_as_seen(service, i, k);
                deep = &line;
            }
        coord_scrubbed_osd(scrubbed, row_at(service, i), deep);
    }
    for (size_t i = 0; scrubbed && i < coord_state_placement_count(service->state); i++)
        coord_scrubbed_placement(scrubbed, coord_state_placement_at(service->state, i));
    return scrubbed;
}

bool service_scrubs_status(struct coord_service *service, struct proto_status *ret)
{
    size_t count = coord_state_osd_count(service->state);
    const struct coord_scrubbed *scrubbed = scrubbed_gather(service);
    ret->scrubs =
        proto_arena_take(service->arena, (count * COORD_SCRUB_KINDS + 1) * sizeof *ret->scrubs);
    if (!scrubbed || !ret->scrubs)
        return false;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < service->osds[i].scrub_count; k++) {
            struct proto_scrub_line line = scrub_as_seen(service, i, k);
            line.counts =
                line.kind == COORD_SCRUB_DEEP &&
                coord_scrubbed_counts(scrubbed, line.osd, coord_state_row(service->state));
            ret->scrubs[ret->scrubs_count++] = line;
        }
    return true;
}

bool service_scrubbed(struct coord_service *service, struct proto_scrubbed *ret)
{
    const struct coord_scrubbed *scrubbed = scrubbed_gather(service);
    if (scrubbed)
        *ret = coord_scrubbed_sum(scrubbed, coord_state_row(service->state));
    return scrubbed != NULL;
}

/* ---- silence ---- */

static bool same_domain(const struct proto_osd *a, const struct proto_osd *b)
{
    return a->domain.size > 0 ? base_slice_equal(a->domain, b->domain) : a->id == b->id;
}

static bool is_hurt(uint8_t state)
{
    return state == PROTO_OSD_BLANK || state == PROTO_OSD_FAILED;
}

bool service_osd_given_up(const struct coord_service *service, size_t place)
{
    uint8_t state = row_at(service, place)->state;
    return state == PROTO_OSD_OUT || (is_hurt(state) && service->osds[place].given_up);
}

/* One that was given up in another failure domain, and whose slots move first; NULL: there is none.
 */
static const struct proto_osd *goes_first(struct coord_service *service, size_t place)
{
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++) {
        const struct proto_osd *other = row_at(service, i);
        if (service_osd_given_up(service, i) && !same_domain(row_at(service, place), other) &&
            service_moves_under_way(service, other->id))
            return other;
    }
    return NULL;
}

/* Out, one failure domain at a time, and nothing while over a third are away (design rule 9). Those
 * that failed serve what they have, so they keep nobody's slots from moving but their own. */
static bool may_be_out(struct coord_service *service, size_t place)
{
    bool failed = row_at(service, place)->state == PROTO_OSD_FAILED;
    return !goes_first(service, place) && service_moves_few_away(service, failed);
}

/* The state silence brings an OSD to; the one it has if there is nothing to change. */
static uint8_t silent_state(struct coord_service *service, size_t place)
{
    uint8_t state = row_at(service, place)->state;
    uint64_t silent = service_osd_silent_ms(service, place);
    if (state == PROTO_OSD_UP || state == PROTO_OSD_FAILED || state == PROTO_OSD_BLANK)
        return silent >= service->options.down_ms ? PROTO_OSD_DOWN : state;
    if (state == PROTO_OSD_DOWN && silent >= service->options.out_ms && may_be_out(service, place))
        return PROTO_OSD_OUT;
    return state;
}

/* Gives up one that is blank or failed as one is marked out: after the same time, by the same
 * rules. A rebuild binds a disk first, and then its OSD is up. One that was out stays given up. */
static void hurt_note(struct coord_service *service, size_t place)
{
    struct live_osd *live = &service->osds[place];
    const struct proto_osd *row = row_at(service, place);
    uint64_t now = service_now_ms(service);
    if (row->state == PROTO_OSD_DOWN)
        return; /* a bad disk that takes its daemon down now and then is not well between */
    if (!is_hurt(row->state)) {
        live->well_ms = now;
        live->given_up = row->state == PROTO_OSD_OUT;
        return;
    }
    if (live->given_up || since(now, live->well_ms) < service->options.out_ms ||
        !service_moves_concern(service, row->id) || !may_be_out(service, place))
        return;
    LILIO_MARK("coordinator/osd_given_up");
    live->given_up = true;
    service_moves_again(service);
    base_log_write(service->options.log, BASE_LOG_WARN, "osds", "given_up", "osd=%u state=%s",
                   row->id, proto_osd_state_name(row->state));
}

/* One command for all that went silent together; of those that would be out, one domain's first. */
void service_osds_tick(struct coord_service *service)
{
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
        hurt_note(service, i);
    size_t count = coord_state_osd_count(service->state);
    struct proto_osd_change change = {
        .steps = proto_arena_take(service->arena, (count + 1) * sizeof *change.steps)};
    const struct proto_osd *out = NULL;
    for (size_t i = 0; i < count && change.steps; i++) {
        const struct proto_osd *row = row_at(service, i);
        uint8_t state = silent_state(service, i);
        if (state == row->state || is_proposed(service, i, state) ||
            (state == PROTO_OSD_OUT && out && !same_domain(out, row)))
            continue;
        out = state == PROTO_OSD_OUT ? row : out;
        change.steps[change.steps_count++] = (struct proto_osd_step){
            .osd = row->id, .incarnation = row->incarnation, .state = state};
    }
    if (change.steps_count == 0 || !service_propose(service, &proto_type_osd_change, &change))
        return;
    for (size_t i = 0; i < change.steps_count; i++) {
        note_proposed(service, coord_state_osd_find(service->state, change.steps[i].osd),
                      change.steps[i].state);
        base_log_write(service->options.log, BASE_LOG_WARN, "osds", "state", "osd=%u to=%s",
                       change.steps[i].osd, proto_osd_state_name(change.steps[i].state));
    }
}

static struct proto_osd_leaving leaving_of(struct coord_service *service, size_t place)
{
    const struct proto_osd *row = row_at(service, place), *first = goes_first(service, place);
    uint64_t needed = service->options.out_ms;
    uint64_t lasts = is_hurt(row->state)
                         ? since(service_now_ms(service), service->osds[place].well_ms)
                         : service_osd_silent_ms(service, place);
    return (struct proto_osd_leaving){
        .osd = row->id,
        .in_ms = lasts < needed ? needed - lasts : 0,
        .waits = first != NULL,
        .behind = first ? first->id : 0,
    };
}

static bool is_leaving(struct coord_service *service, size_t place)
{
    const struct proto_osd *row = row_at(service, place);
    return row->state == PROTO_OSD_DOWN ||
           (is_hurt(row->state) && !service_osd_given_up(service, place) &&
            service_moves_concern(service, row->id));
}

bool service_leaving_status(struct coord_service *service, struct proto_status *ret)
{
    size_t count = coord_state_osd_count(service->state);
    ret->leaving = proto_arena_take(service->arena, (count + 1) * sizeof *ret->leaving);
    for (size_t i = 0; ret->leaving && i < count && service->leads; i++)
        if (is_leaving(service, i))
            ret->leaving[ret->leaving_count++] = leaving_of(service, i);
    ret->many_away = service->leads && !service_moves_few_away(service, /* failed */ false);
    return ret->leaving != NULL;
}

void service_osds_lead(struct coord_service *service)
{
    for (size_t i = 0; i < COORD_OSDS_MAX; i++)
        service->osds[i] = (struct live_osd){
            .heard_ms = service->led_ms,
            .blank_ms = service->led_ms,
            .well_ms = service->led_ms,
            .parked = true,
        };
}
