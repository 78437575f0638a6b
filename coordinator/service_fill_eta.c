/* How far slots that fill are, and how long they take on.
 *
 * Work is counted in slots that fill, each as much as its placement has stripes in a partition. So
 * what is left is known from the map, at any time: between jobs, when one failed, and while OSDs
 * wait for their turn. What OSDs say of the jobs they have is taken off in parts of their walks,
 * and falls together with the slots when the map says that they are filled.
 *
 * The pace is the work that an OSD with a job does, on average. By it and by what an OSD has shown
 * itself, as far as OSDs differ by more than chance, the one that ends last is found. Where OSDs
 * hold back for clients each goes at its own pace, and the last one is the end; where they do not,
 * those that still have something share what the others leave, and the end lies between that and
 * everything at once.
 */
#include "coordinator/service_priv.h"

#include "base/banned.h"

enum {
    STRIPE = 1000,    /* work; a slot without any is 1 */
    AGAIN_MS = 60000, /* between two counts of stripes */
};

void service_fill_eta_lead(struct coord_service *service)
{
    service->weights = (struct fill_weights){0};
    service->paced = 0;
    service_fill_pace(service);
}

void service_fill_pace(struct coord_service *service)
{
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
        service->fills[i].eta = (struct base_eta){0};
    service->pace = (struct base_eta){0};
}

/* ---- how much there is ---- */

static size_t placement_find(const struct coord_service *service, uint32_t id)
{
    size_t place = 0;
    while (place < coord_state_placement_count(service->state) &&
           coord_state_placement_at(service->state, place)->id != id)
        place++;
    return place;
}

static uint64_t weight_of(const struct coord_service *service, uint32_t placement)
{
    size_t place = placement_find(service, placement);
    if (place >= coord_state_placement_count(service->state))
        return 0;
    return 1 + ((service->weights.stripes[place] * STRIPE) >>
                coord_state_placement_at(service->state, place)->partition_bits);
}

/* The next page of the counters. */
static void weights_read(struct coord_service *service)
{
    struct fill_weights *weights = &service->weights;
    struct coord_view view = service_view(service, NULL);
    struct coord_stripes_item *items =
        proto_arena_take(service->arena, COORD_STRIPES_PAGE * sizeof *items);
    size_t count = 0;
    if (!items || coord_read_stripes(&view, coord_key_slice(&weights->after), items,
                                     COORD_STRIPES_PAGE, &count, NULL))
        return; /* at the next tick */
    for (size_t i = 0; i < count; i++) {
        size_t place = placement_find(service, items[i].key.placement);
        for (size_t p = 0;
             p < COORD_STRIPES_GROUP && place < coord_state_placement_count(service->state); p++)
            weights->gathering[place] += items[i].counts[p];
    }
    if (count == COORD_STRIPES_PAGE) {
        weights->after = coord_key_stripes(&items[count - 1].key);
        return;
    }
    memcpy(weights->stripes, weights->gathering, sizeof weights->stripes);
    memset(weights->gathering, 0, sizeof weights->gathering);
    weights->after.size = 0;
    weights->due_ms = service_now_ms(service) + AGAIN_MS;
    weights->weighed++;
}

uint32_t service_fill_slot(const struct proto_placement *placement, uint32_t partition,
                           uint32_t osd)
{
    for (uint64_t left = proto_slots_filling(placement, partition); left; left &= left - 1) {
        uint32_t slot = (uint32_t)__builtin_ctzll(left);
        if (proto_slot_osd(placement, partition, slot) == osd)
            return slot;
    }
    return placement->width;
}

static void slots_count(struct coord_service *service, size_t place)
{
    struct fill *fill = &service->fills[place];
    uint32_t osd = coord_state_osd_at(service->state, place)->id;
    fill->slots = fill->work = 0;
    for (size_t p = 0; p < coord_state_placement_count(service->state); p++) {
        const struct proto_placement *placement = coord_state_placement_at(service->state, p);
        uint64_t slots = 0;
        for (uint32_t partition = 0;
             placement->filling.size > 0 && partition >> placement->partition_bits == 0;
             partition++)
            slots += service_fill_slot(placement, partition, osd) < placement->width;
        fill->slots += slots;
        fill->work += slots * weight_of(service, placement->id);
    }
    fill->epoch = coord_state_row(service->state)->epoch;
    fill->weighed = service->weights.weighed;
}

/* ---- how much is done ---- */

static bool has_begun(const struct fill *fill)
{
    return fill->id && fill->bytes > 0;
}

static double part_done(const struct fill *fill)
{
    return has_begun(fill) && fill->bytes_done < fill->bytes
               ? (double)fill->bytes_done / (double)fill->bytes
               : has_begun(fill);
}

static double job_work(const struct coord_service *service, const struct fill *fill)
{
    return (double)(fill->job_slots * weight_of(service, fill->job_placement));
}

static uint64_t left_of(const struct coord_service *service, const struct fill *fill)
{
    uint64_t done = (uint64_t)(job_work(service, fill) * part_done(fill));
    return fill->work > done ? fill->work - done : 0;
}

static uint64_t begun_count(const struct coord_service *service)
{
    uint64_t count = 0;
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
        count += has_begun(&service->fills[i]);
    return count;
}

/* What is left less than before was done, unless it is counted in another way now. */
static void left_note(struct coord_service *service, struct fill *fill, bool counts)
{
    uint64_t left = left_of(service, fill);
    if (counts && has_begun(fill) && left < fill->left)
        service->paced += (fill->left - left) / begun_count(service);
    fill->left = left;
}

void service_fill_look(struct coord_service *service, size_t place)
{
    struct fill *fill = &service->fills[place];
    bool same_weights = fill->weighed == service->weights.weighed;
    if (same_weights && fill->epoch == coord_state_row(service->state)->epoch)
        return;
    uint64_t had = fill->slots;
    slots_count(service, place);
    uint64_t gone = had > fill->slots ? had - fill->slots : 0;
    fill->job_slots -= gone < fill->job_slots ? gone : fill->job_slots;
    left_note(service, fill, same_weights);
}

void service_fill_progress(struct coord_service *service, size_t place,
                           const struct proto_fill_report *report)
{
    struct fill *fill = &service->fills[place];
    bool begins = fill->bytes == 0; /* or goes on from the leader before us */
    service_fill_look(service, place);
    fill->bytes = report->bytes;
    fill->bytes_done = report->bytes_done;
    left_note(service, fill, !begins);
    if (fill->heard_ms >= service->repair.dial_ms)
        base_eta_note(&fill->eta, fill->heard_ms, fill->bytes_done);
}

/* It is up and does not wait for another attempt. */
static bool goes_on(const struct coord_service *service, size_t place)
{
    const struct fill *fill = &service->fills[place];
    return coord_state_osd_at(service->state, place)->state == PROTO_OSD_UP &&
           service_osd_held_ms(service, place) == 0 &&
           (fill->id || service_now_ms(service) >= fill->due_ms);
}

static uint64_t slots_all(const struct coord_service *service)
{
    uint64_t slots = 0;
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
        slots += service->fills[i].slots;
    return slots;
}

/* Times in which nothing goes on say nothing about the pace. */
static void pace_note(struct coord_service *service)
{
    bool any = false;
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
        any |= service->fills[i].left > 0 && goes_on(service, i);
    if (!any || service_now_ms(service) < service->repair.dial_ms)
        service->pace = (struct base_eta){0};
    else
        base_eta_note(&service->pace, service_now_ms(service), service->paced);
}

void service_fill_eta_tick(struct coord_service *service)
{
    if (slots_all(service) > 0 && service_now_ms(service) >= service->weights.due_ms)
        weights_read(service);
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
        service_fill_look(service, i);
    pace_note(service);
}

/* ---- how long it takes on ---- */

struct pace {
    double all;   /* work in a second, of an OSD with a job, on average */
    double trust; /* in what an OSD has shown itself: 0 to 1 */
};

/* Work in a second that the OSD has shown, and its standard error; false: it has not begun. */
static bool has_shown(const struct coord_service *service, const struct fill *fill, double *ret,
                      double *ret_error)
{
    if (!has_begun(fill))
        return false;
    struct base_eta_told shown = base_eta_tell(&fill->eta, 0);
    double work = job_work(service, fill) / (double)fill->bytes;
    *ret = (double)shown.per_s * work;
    *ret_error = (double)shown.per_s_error * work;
    return shown.per_s > 0;
}

/* How much of the difference between OSDs is no chance, which counts twice: its ups and downs last
 * longer than an interval. Of those that differ by chance alone the slowest one so far will not be
 * the slowest one from now on. */
static struct pace pace_tell(const struct coord_service *service)
{
    struct pace pace = {.all = (double)base_eta_tell(&service->pace, UINT64_MAX).per_s};
    double differ = 0, chance = 0;
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++) {
        double own, error;
        if (!has_shown(service, &service->fills[i], &own, &error))
            continue;
        differ += (own - pace.all) * (own - pace.all);
        chance += error * error;
    }
    pace.trust = differ > 2 * chance ? 1 - 2 * chance / differ : 0;
    return pace;
}

static double pace_of(const struct coord_service *service, const struct fill *fill,
                      struct pace pace)
{
    double own, error;
    return has_shown(service, fill, &own, &error) ? pace.trust * own + (1 - pace.trust) * pace.all
                                                  : pace.all;
}

struct lanes {
    double ms[COORD_FILLS_MAX]; /* until each of the OSDs that have their turn is ready */
    size_t count;
};

/* Gives it the lane that is free first. */
static void lane_take(struct lanes *lanes, double ms)
{
    size_t first = 0;
    if (lanes->count < COORD_FILLS_MAX) {
        lanes->ms[lanes->count++] = ms;
        return;
    }
    for (size_t i = 1; i < COORD_FILLS_MAX; i++)
        if (lanes->ms[i] < lanes->ms[first])
            first = i;
    lanes->ms[first] += ms;
}

/* Those that have a job, then the others. */
static struct lanes lanes_plan(const struct coord_service *service, struct pace pace)
{
    struct lanes lanes = {0};
    for (int has_job = 1; has_job >= 0; has_job--)
        for (size_t i = 0; i < coord_state_osd_count(service->state); i++) {
            const struct fill *fill = &service->fills[i];
            if (fill->left > 0 && goes_on(service, i) && (fill->id != 0) == has_job)
                lane_take(&lanes, (double)fill->left * 1000 / pace_of(service, fill, pace));
        }
    return lanes;
}

static uint64_t whole(double ms)
{
    return ms < 1e15 ? (uint64_t)ms : UINT64_MAX;
}

/* The pace is known: from everything at once to the last one. */
static struct base_eta_told last_told(const struct coord_service *service,
                                      const struct lanes *lanes, struct base_eta_told told)
{
    told.ms += told.ms == 0; /* which would say that it is not known */
    told.high_ms += told.high_ms == 0;
    double last = 0, all = (double)told.ms;
    for (size_t i = 0; i < lanes->count; i++)
        last = lanes->ms[i] > last ? lanes->ms[i] : last;
    if (last <= all)
        return told;
    told.high_ms = whole((double)told.high_ms * last / all);
    told.ms = whole(service_repair_held(service) ? last : (all + last) / 2);
    return told;
}

struct fills_told service_fills_tell(const struct coord_service *service)
{
    struct fills_told told = {.slots = slots_all(service)};
    for (size_t i = 0; i < coord_state_osd_count(service->state) && service->leads; i++) {
        bool waits = !goes_on(service, i);
        told.waiting += waits ? service->fills[i].slots : 0;
        told.left += waits ? 0 : service->fills[i].left;
    }
    struct pace pace = pace_tell(service);
    if (told.left == 0 || pace.all <= 0 || service->weights.weighed == 0)
        return told;
    struct lanes lanes = lanes_plan(service, pace);
    told.eta = base_eta_tell(&service->pace, told.left / lanes.count + 1);
    if (told.eta.known)
        told.eta = last_told(service, &lanes, told.eta);
    return told;
}

/* Of the job; nothing is known before the walk has begun. */
static struct base_eta_told job_eta(const struct fill *fill)
{
    uint64_t left = fill->bytes > fill->bytes_done ? fill->bytes - fill->bytes_done : 0;
    return has_begun(fill) ? base_eta_tell(&fill->eta, left) : (struct base_eta_told){0};
}

static void line_tell(const struct fill *fill, struct proto_fill_line *line)
{
    struct base_eta_told eta = job_eta(fill);
    line->running = fill->id != 0;
    line->tries = fill->tries;
    line->reason = base_slice_str(
        proto_utf8_valid(base_slice_str(fill->reason)) ? fill->reason : "a reason that is no text");
    line->permille = (uint32_t)(1000 * part_done(fill));
    line->eta_ms = eta.known ? eta.ms : 0;
    line->eta_low_ms = eta.low_ms;
    line->eta_high_ms = eta.high_ms;
}

bool service_fill_status(struct coord_service *service, struct proto_status *ret)
{
    size_t count = coord_state_osd_count(service->state);
    ret->fills = proto_arena_take(service->arena, (count + 1) * sizeof *ret->fills);
    for (size_t i = 0; ret->fills && i < count; i++) {
        const struct fill *fill = &service->fills[i];
        service_fill_look(service, i);
        if (fill->slots == 0)
            continue;
        struct proto_fill_line *line = &ret->fills[ret->fills_count++];
        *line = (struct proto_fill_line){.osd = coord_state_osd_at(service->state, i)->id,
                                         .slots = fill->slots};
        if (service->leads)
            line_tell(fill, line);
    }
    struct fills_told told = service_fills_tell(service);
    ret->fill_eta_ms = told.eta.known ? told.eta.ms : 0;
    ret->fill_eta_low_ms = told.eta.low_ms;
    ret->fill_eta_high_ms = told.eta.high_ms;
    return ret->fills != NULL;
}
