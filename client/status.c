/* The cluster as the coordinators know it, and changes of who they are. */
#include "client/client_priv.h"

#include <stdlib.h>
#include <string.h>

#include "client/control.h"
#include "client/lane.h"

#include "base/banned.h"

enum { KIND_VOTER = 1, KIND_LEARNER = 2, LEADER_ASK_MS = 500 };

void lilio_status_release(struct lilio_status *status)
{
    free(status->osds);
    free(status->coordinators);
    *status = (struct lilio_status){0};
}

static struct lilio_osd public_osd(const struct proto_osd *osd)
{
    struct lilio_osd made = {
        .id = osd->id,
        .incarnation = osd->incarnation,
        .complete = osd->complete,
        .draining = osd->draining,
        .drained = osd->drained,
        .drain_epoch = osd->drain_epoch,
        .capacity_bytes = osd->capacity_bytes,
        .free_bytes = osd->free_bytes,
        .used_bytes = osd->used_bytes,
        .fragment_count = osd->fragment_count,
    };
    base_uuid_format(osd->disk_uuid, made.disk_uuid);
    client_text_put(made.state, sizeof made.state,
                    base_slice_str(proto_osd_state_name(osd->state)));
    client_text_put(made.address, sizeof made.address, osd->address);
    return made;
}

static struct lilio_coordinator public_coordinator(const struct proto_coordinator *coordinator)
{
    struct lilio_coordinator made = {
        .id = coordinator->id,
        .member = coordinator->member,
        .term = coordinator->term,
        .commit_index = coordinator->commit_index,
        .applied_index = coordinator->applied_index,
        .uptime_ms = coordinator->uptime_ms,
        .lag = coordinator->lag,
        .silent_ms = coordinator->silent_ms,
        .log_bytes = coordinator->log_bytes,
        .refused_messages = coordinator->refused_messages,
    };
    const char *kind = coordinator->kind == KIND_VOTER     ? "voter"
                       : coordinator->kind == KIND_LEARNER ? "learner"
                                                           : "";
    client_text_put(made.kind, sizeof made.kind, base_slice_str(kind));
    client_text_put(made.address, sizeof made.address, coordinator->address);
    client_text_put(made.peer, sizeof made.peer, coordinator->peer);
    client_text_put(made.role, sizeof made.role, coordinator->role);
    client_text_put(made.trouble, sizeof made.trouble, coordinator->trouble);
    return made;
}

static void fill_copy(struct lilio_osd *osd, const struct proto_fill_line *line)
{
    osd->filling = line->slots;
    osd->fill_running = line->running;
    osd->fill_permille = line->permille;
    osd->fill_eta_ms = line->eta_ms;
    osd->fill_eta_low_ms = line->eta_low_ms;
    osd->fill_eta_high_ms = line->eta_high_ms;
    osd->fill_tries = line->tries;
    client_text_put(osd->fill_reason, sizeof osd->fill_reason, line->reason);
}

static void inventory_copy(struct lilio_osd *osd, const struct proto_inventory_report *report)
{
    static const char *const phases[] = {"none", "wanted", "sums", "walk", "done"};
    size_t phase = report->phase < sizeof phases / sizeof *phases ? report->phase : 0;
    client_text_put(osd->inventory, sizeof osd->inventory, base_slice_str(phases[phase]));
    osd->inventory_index = report->index;
    osd->inventory_slots = report->slots;
    osd->inventory_differed = report->differed;
    osd->inventory_missing = report->missing;
    osd->inventory_rounds = report->rounds;
    client_text_put(osd->inventory_reason, sizeof osd->inventory_reason, report->reason);
}

static void leaving_copy(struct lilio_osd *osd, const struct proto_osd_leaving *leaving)
{
    osd->goes_out = true;
    osd->out_in_ms = leaving->in_ms;
    osd->out_waits = leaving->waits;
    osd->out_behind = leaving->behind;
}

static enum lilio_err copy_status(const struct proto_status *status,
                                  struct lilio_status *ret_status, struct lilio_errinfo *info)
{
    const struct proto_cluster_map *map = &status->map;
    struct codec_profile profile = client_profile_from_proto(&map->default_profile);
    struct lilio_status made = {
        .epoch = map->epoch,
        .default_profile = client_profile_public(&profile),
        .gc_grace_ms = map->gc_grace_ms,
        .osds = calloc(map->osds_count + 1, sizeof *made.osds),
        .osd_count = map->osds_count,
        .coordinators = calloc(status->coordinators_count + 1, sizeof *made.coordinators),
        .coordinator_count = status->coordinators_count,
        .bucket_count = status->bucket_count,
        .object_count = status->object_count,
        .object_bytes = status->object_bytes,
        .repair_rows = status->repair_rows,
        .repair_running = status->repair_running,
        .repair_failed = status->repair_failed,
        .repair_eta_ms = status->repair_eta_ms,
        .repair_eta_low_ms = status->repair_eta_low_ms,
        .repair_eta_high_ms = status->repair_eta_high_ms,
        .fill_eta_ms = status->fill_eta_ms,
        .fill_eta_low_ms = status->fill_eta_low_ms,
        .fill_eta_high_ms = status->fill_eta_high_ms,
        .gc_rows = status->gc_rows,
        .gc_bytes = status->gc_bytes,
        .many_away = status->many_away,
        .session_count = status->session_count,
        .map_bytes = status->map_bytes,
        .verify_index = status->last_verify.index,
        .verify_wall_ms = status->last_verify.wall_ms,
        .verify_fragments = status->last_verify.fragments,
        .verify_damaged = status->last_verify.damaged,
        .verify_lost = status->last_verify.lost,
    };
    if (!made.osds || !made.coordinators) {
        lilio_status_release(&made);
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for the status");
    }
    base_uuid_format(map->cluster_id, made.cluster_id);
    for (size_t i = 0; i < map->osds_count; i++) {
        made.osds[i] = public_osd(&map->osds[i]);
        if (i < status->osd_silent_ms_count)
            made.osds[i].silent_ms = status->osd_silent_ms[i];
        if (i < status->osd_held_ms_count)
            made.osds[i].held_ms = status->osd_held_ms[i];
        for (size_t k = 0; k < status->inventories_count; k++)
            if (status->inventories[k].osd == map->osds[i].id)
                inventory_copy(&made.osds[i], &status->inventories[k]);
        for (size_t f = 0; f < status->fills_count; f++)
            if (status->fills[f].osd == map->osds[i].id)
                fill_copy(&made.osds[i], &status->fills[f]);
        for (size_t k = 0; k < status->leaving_count; k++)
            if (status->leaving[k].osd == map->osds[i].id)
                leaving_copy(&made.osds[i], &status->leaving[k]);
        client_scrubs_put(made.osds[i].scrubs, map->osds[i].id, status->scrubs,
                          status->scrubs_count);
    }
    for (size_t i = 0; i < status->coordinators_count; i++)
        made.coordinators[i] = public_coordinator(&status->coordinators[i]);
    *ret_status = made;
    return LILIO_OK;
}

static enum lilio_err ask(struct lilio_client *client, struct client_control *control,
                          uint32_t timeout_ms, bool self, struct lilio_status *ret_status,
                          struct lilio_errinfo *info)
{
    struct proto_status_get request = {.self = self};
    struct client_call call = {.type = &proto_type_status_get,
                               .value = &request,
                               .reply_type = &proto_type_status,
                               .timeout_ms = timeout_ms};
    struct proto_status status;
    struct client_answer answer = {0};
    enum lilio_err err = client_control_call(control, &call, &status, &answer, info);
    for (size_t i = 0; err == LILIO_OK && i < status.coordinators_count; i++)
        proto_coordinators_learn(&client->coordinators, status.coordinators[i].address);
    if (err == LILIO_OK)
        err = copy_status(&status, ret_status, info);
    client_answer_release(&answer);
    return err;
}

static enum lilio_err ask_one(struct lilio_client *client, const char *endpoint,
                              uint32_t timeout_ms, bool self, struct lilio_status *ret_status,
                              struct lilio_errinfo *info)
{
    struct client_control control;
    client_control_init_daemon(&control, client, "the coordinator", endpoint);
    enum lilio_err err = ask(client, &control, timeout_ms, self, ret_status, info);
    client_control_release(&control);
    return err;
}

enum lilio_err lilio_status_from(struct lilio_client *client, const char *endpoint,
                                 uint32_t timeout_ms, struct lilio_status *ret_status,
                                 struct lilio_errinfo *info)
{
    return ask_one(client, endpoint, timeout_ms, /* self */ false, ret_status, info);
}

enum lilio_err lilio_status_self(struct lilio_client *client, const char *endpoint,
                                 uint32_t timeout_ms, struct lilio_status *ret_status,
                                 struct lilio_errinfo *info)
{
    return ask_one(client, endpoint, timeout_ms, /* self */ true, ret_status, info);
}

static bool is_leaders(const struct lilio_status *status)
{
    for (size_t i = 0; i < status->coordinator_count; i++)
        if (strcmp(status->coordinators[i].role, "leader") == 0)
            return true;
    return false;
}

/* Any coordinator answers at once, without knowing whether another one leads: ask around. */
static void leader_ask(struct lilio_client *client, struct lilio_status *status)
{
    bool several = client->file.coordinator_count > 1;
    for (size_t i = 0; several && i < client->file.coordinator_count && !is_leaders(status); i++) {
        struct lilio_status other;
        if (lilio_status_from(client, client->file.coordinators[i].endpoint, LEADER_ASK_MS, &other,
                              NULL) != LILIO_OK)
            continue;
        if (is_leaders(&other)) {
            lilio_status_release(status);
            *status = other;
        } else {
            lilio_status_release(&other);
        }
    }
}

enum lilio_err lilio_status_get(struct lilio_client *client, struct lilio_status *ret_status,
                                struct lilio_errinfo *info)
{
    struct client_lane *lane;
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    err = ask(client, &lane->control, 0 /* the client's timeout */, /* self */ false, ret_status,
              info);
    client_lane_give(&lane);
    if (err == LILIO_OK)
        leader_ask(client, ret_status);
    return err;
}

/* ---- who belongs to the quorum ---- */

/* A change without a session: it is not repeated where it may have been taken. */
static enum lilio_err ask_once(struct lilio_client *client, const struct proto_type *type,
                               const void *value, const struct proto_type *reply_type,
                               void *ret_value, struct lilio_errinfo *info)
{
    struct client_lane *lane;
    enum lilio_err err = client_lane_take(client, &lane, info);
    if (err != LILIO_OK)
        return err;
    struct client_call call = {
        .type = type, .value = value, .reply_type = reply_type, .once = true};
    struct client_answer answer = {0};
    err = client_control_call(&lane->control, &call, ret_value, &answer, info);
    client_answer_release(&answer);
    client_lane_give(&lane);
    return err;
}

enum lilio_err lilio_coordinator_change(struct lilio_client *client,
                                        enum lilio_coordinator_change_kind change, uint32_t id,
                                        uint64_t member, const char *address, const char *peer,
                                        uint64_t *ret_member, struct lilio_errinfo *info)
{
    struct proto_coordinator_change request = {
        .change = (uint8_t)change,
        .id = id,
        .member = member,
        .address = base_slice_str(address ? address : ""),
        .peer = base_slice_str(peer ? peer : ""),
    };
    struct proto_coordinator_changed changed;
    if (change == LILIO_COORDINATOR_ADD && (!address || !peer))
        return lilio_fail(info, LILIO_E_INVALID, "a new coordinator needs an address and a peer");
    enum lilio_err err = ask_once(client, &proto_type_coordinator_change, &request,
                                  &proto_type_coordinator_changed, &changed, info);
    if (err == LILIO_OK && ret_member)
        *ret_member = changed.member;
    if (err == LILIO_OK && address)
        proto_coordinators_learn(&client->coordinators, request.address);
    return err;
}

enum lilio_err lilio_coordinator_transfer(struct lilio_client *client, uint32_t id,
                                          struct lilio_errinfo *info)
{
    struct proto_coordinator_transfer request = {.id = id};
    struct proto_ok ok;
    return ask_once(client, &proto_type_coordinator_transfer, &request, &proto_type_ok, &ok, info);
}
