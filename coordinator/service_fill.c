/* Slots that fill: from bits of the map to jobs of the OSDs that have the slots.
 *
 * An OSD has one job at a time: all its filling slots of a placement in the partitions that are
 * most endangered, that is with the fewest good slots. It travels in the answers to heartbeats,
 * like leases of repair, and ends as they do: with what the OSD says of it, with the OSD, or after
 * a minute without mention. What was filled comes as an entry, made by the OSD itself. After a job
 * that failed the OSD waits, longer each time, and partitions that are less endangered have their
 * turn. One that had no room is tried again as soon as it has more, if its slots had nowhere else
 * to go.
 *
 * All of this is the leader's alone: the bits stay when it goes, and the next one hands out jobs
 * anew.
 */
#include "coordinator/service_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/disk.h"
#include "base/mark.h"
#include "proto/moves.h"

#include "base/banned.h"

enum { SHIFT_MAX = 6 };

enum lilio_err service_fill_init(struct coord_service *service)
{
    service->fills = calloc(COORD_OSDS_MAX, sizeof *service->fills);
    return service->fills ? LILIO_OK : LILIO_E_NOMEM;
}

void service_fill_release(struct coord_service *service)
{
    free(service->fills);
    service->fills = NULL;
}

/* Ids differ from those of the leader before us, whose jobs OSDs may still name. */
void service_fill_lead(struct coord_service *service)
{
    memset(service->fills, 0, COORD_OSDS_MAX * sizeof *service->fills);
    service_fill_eta_lead(service);
    service->fill_id = coord_state_row(service->state)->applied_index << 20 | 1;
}

static void job_end(struct fill *fill)
{
    fill->id = fill->job_slots = 0;
    fill->bytes = fill->bytes_done = 0;
    fill->handed = false;
}

void service_fill_forget(struct coord_service *service, size_t place)
{
    job_end(&service->fills[place]); /* it will be given anew */
}

/* ---- which slots ---- */

/* The job at hand: partitions of a placement that are endangered alike. */
struct choice {
    const struct proto_placement *placement;
    uint32_t good;        /* slots of each of them */
    uint64_t *partitions; /* COORD_FILL_MAX */
    size_t count;
};

static void placement_look(const struct coord_service *service, const struct proto_trusts *trusts,
                           const struct proto_placement *placement, size_t place,
                           struct choice *choice)
{
    uint32_t osd = coord_state_osd_at(service->state, place)->id;
    for (uint32_t partition = 0; partition >> placement->partition_bits == 0; partition++) {
        if (service_fill_slot(placement, partition, osd) == placement->width)
            continue;
        struct proto_standing standing = proto_stripe_standing(trusts, placement, partition, 0, 0);
        uint32_t good = (uint32_t)__builtin_popcountll(standing.good);
        if (good < service->fills[place].least_good || good > choice->good)
            continue;
        if (good < choice->good || choice->placement != placement) {
            if (good == choice->good && choice->count > 0)
                continue; /* of another placement, in its own job */
            *choice = (struct choice){placement, good, choice->partitions, 0};
        }
        if (choice->count < COORD_FILL_MAX)
            choice->partitions[choice->count++] = partition;
    }
}

static bool choose(struct coord_service *service, size_t place, struct choice *ret)
{
    struct proto_trusts *trusts = proto_arena_take(service->arena, sizeof *trusts);
    *ret = (struct choice){
        .good = UINT32_MAX,
        .partitions = proto_arena_take(service->arena, COORD_FILL_MAX * sizeof *ret->partitions)};
    if (!trusts || !ret->partitions)
        return false;
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
        proto_trusts_set(trusts, coord_state_osd_at(service->state, i));
    for (size_t p = 0; p < coord_state_placement_count(service->state); p++) {
        const struct proto_placement *placement = coord_state_placement_at(service->state, p);
        if (placement->filling.size > 0)
            placement_look(service, trusts, placement, place, ret);
    }
    return ret->count > 0;
}

/* ---- leases ---- */

static bool is_crowded(const struct coord_service *service)
{
    size_t count = 0;
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++)
        count += service->fills[i].id != 0;
    return count >= COORD_FILLS_MAX;
}

/* Its slots go to OSDs with room, as far as there are any; as long as they cannot be filled, what
 * they are filled from keeps nobody waiting. Others may have got room each time. */
static void full_note(struct coord_service *service, struct fill *fill, bool full)
{
    if (full)
        LILIO_MARK("coordinator/fill_full");
    if (full || fill->full)
        service_moves_again(service);
    fill->full = full;
}

/* What an OSD tells of its room need not be true of fragments: a quota, say. So more of it counts,
 * by a reserve, not how much there is; and not at once, for it may go up and down. */
static void room_look(struct coord_service *service, size_t place)
{
    struct fill *fill = &service->fills[place];
    struct proto_osd told = service_osd_told(service, place);
    uint64_t room = proto_osd_room(&told), reserve = base_disk_reserve_bytes(told.capacity_bytes);
    if (!fill->full || told.capacity_bytes == 0 || room < fill->full_room ||
        room - fill->full_room < reserve ||
        service_now_ms(service) - fill->no_room_ms < COORD_REPAIR_WAIT_MS_MIN)
        return;
    full_note(service, fill, false);
    fill->due_ms = fill->no_room_ms = 0;
}

bool service_fill_full(const struct coord_service *service, size_t place)
{
    return service->fills[place].full;
}

bool service_fill_waits_for_room(const struct coord_service *service, size_t place)
{
    return service->fills[place].full && service->fills[place].id == 0;
}

bool service_fill_no_room(const struct coord_service *service, size_t place)
{
    uint64_t at = service->fills[place].no_room_ms;
    return at > 0 && service_now_ms(service) - at < COORD_REPAIR_WAIT_MS_MAX;
}

size_t service_fill_hand(struct coord_service *service, size_t place, struct proto_fill_job *ret)
{
    struct fill *fill = &service->fills[place];
    uint64_t now = service_now_ms(service);
    struct choice choice;
    service_fill_look(service, place);
    if (fill->slots == 0) {
        *fill = (struct fill){
            .epoch = fill->epoch, .weighed = fill->weighed, .no_room_ms = fill->no_room_ms};
        return 0;
    }
    room_look(service, place);
    if (fill->handed || now < fill->due_ms || (!fill->id && is_crowded(service)))
        return 0;
    if (!choose(service, place, &choice)) {
        fill->least_good = 0; /* from the most endangered ones again */
        return 0;
    }
    if (!fill->id) {
        fill->id = service->fill_id++;
        fill->heard_ms = now;
        fill->eta = (struct base_eta){0};
    }
    fill->good = choice.good;
    fill->job_slots = choice.count;
    fill->job_placement = choice.placement->id;
    fill->handed = true;
    *ret = (struct proto_fill_job){
        .id = fill->id,
        .placement = choice.placement->id,
        .partitions = choice.partitions,
        .partitions_count = choice.count,
        .lease_ms = COORD_REPAIR_LEASE_MS,
    };
    return 1;
}

static void job_ended(struct coord_service *service, size_t place,
                      const struct proto_fill_report *report)
{
    struct fill *fill = &service->fills[place];
    job_end(fill);
    full_note(service, fill, report->err == LILIO_E_NO_SPACE);
    if (fill->full) {
        struct proto_osd told = service_osd_told(service, place);
        fill->full_room = proto_osd_room(&told);
        fill->no_room_ms = service_now_ms(service);
    }
    if (!report->err) {
        fill->tries = 0;
        fill->reason[0] = '\0';
        return;
    }
    LILIO_MARK("coordinator/fill_failed");
    uint32_t shift = fill->tries < SHIFT_MAX ? fill->tries : SHIFT_MAX;
    uint64_t wait = (uint64_t)COORD_REPAIR_WAIT_MS_MIN << shift;
    fill->due_ms = service_now_ms(service) +
                   (wait < COORD_REPAIR_WAIT_MS_MAX ? wait : COORD_REPAIR_WAIT_MS_MAX);
    fill->tries++;
    fill->least_good = fill->good + 1;
    (void)lilio_text_fit((const char *)report->reason.data, report->reason.size, fill->reason,
                         sizeof fill->reason);
    base_log_write(service->options.log, BASE_LOG_WARN, "fill", "failed",
                   "osd=%u tries=%u err=%s reason=%s",
                   coord_state_osd_at(service->state, place)->id, fill->tries,
                   lilio_err_name(report->err), fill->reason);
}

void service_fill_note(struct coord_service *service, size_t place,
                       const struct proto_osd_heartbeat *beat)
{
    struct fill *fill = &service->fills[place];
    bool named = false;
    for (size_t i = 0; i < beat->fills_count && fill->id; i++) {
        const struct proto_fill_report *report = &beat->fills[i];
        if (report->id != fill->id)
            continue; /* of the leader before us, or it ran out */
        named = true;
        fill->heard_ms = service_now_ms(service);
        service_fill_progress(service, place, report);
        if (report->ended)
            job_ended(service, place, report);
    }
    if (fill->id && !named)
        fill->handed = false; /* our answer was lost, or it has another one to end first */
}

/* ---- time ---- */

/* What was out of reach when a job failed may not be any more. */
static void retry(struct coord_service *service)
{
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++) {
        service->fills[i].due_ms = 0;
        service->fills[i].least_good = 0;
    }
}

void service_fill_tick(struct coord_service *service)
{
    uint64_t now = service_now_ms(service);
    uint64_t states = 0;
    for (size_t i = 0; i < coord_state_osd_count(service->state); i++) {
        struct fill *fill = &service->fills[i];
        uint8_t state = coord_state_osd_at(service->state, i)->state;
        states = states * 31 + state;
        if (fill->id && (state != PROTO_OSD_UP || now - fill->heard_ms >= COORD_REPAIR_LEASE_MS))
            job_end(fill);
    }
    if (states != service->fill_states)
        retry(service);
    service->fill_states = states;
    service_fill_eta_tick(service);
}
