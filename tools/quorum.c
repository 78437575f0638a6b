#include "tools/quorum.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

enum { ASK_MS = 500 };

bool tools_quorum_leads(const struct lilio_coordinator *coordinator)
{
    return strcmp(coordinator->role, "leader") == 0;
}

bool tools_quorum_votes(const struct lilio_coordinator *coordinator)
{
    return strcmp(coordinator->kind, "voter") == 0;
}

bool tools_quorum_lives(const struct lilio_coordinator *coordinator)
{
    return tools_quorum_leads(coordinator) || coordinator->silent_ms < TOOLS_QUORUM_SILENT_MS;
}

bool tools_quorum_unheard(const struct lilio_coordinator *coordinator)
{
    return !tools_quorum_leads(coordinator) && coordinator->silent_ms == LILIO_COORDINATOR_UNHEARD;
}

const char *tools_quorum_role(const struct lilio_coordinator *coordinator)
{
    if (tools_quorum_leads(coordinator))
        return "leader";
    return tools_quorum_votes(coordinator) ? "follower" : "learner";
}

const struct lilio_coordinator *tools_quorum_leader(const struct lilio_status *status)
{
    for (size_t i = 0; i < status->coordinator_count; i++)
        if (tools_quorum_leads(&status->coordinators[i]))
            return &status->coordinators[i];
    return NULL;
}

static const struct lilio_coordinator *newest(const struct lilio_status *status, uint32_t id,
                                              bool votes)
{
    const struct lilio_coordinator *found = NULL;
    for (size_t i = 0; i < status->coordinator_count; i++) {
        const struct lilio_coordinator *at = &status->coordinators[i];
        if (at->id == id && tools_quorum_votes(at) == votes &&
            (!found || at->member > found->member))
            found = at;
    }
    return found;
}

const struct lilio_coordinator *tools_quorum_voter(const struct lilio_status *status, uint32_t id)
{
    return newest(status, id, true);
}

const struct lilio_coordinator *tools_quorum_learner(const struct lilio_status *status, uint32_t id)
{
    return newest(status, id, false);
}

bool tools_quorum_ask(struct lilio_client *client, struct lilio_coordinator *coordinator)
{
    struct lilio_status status;
    if (tools_quorum_leads(coordinator))
        return true; /* the answer at hand is its own */
    if (lilio_status_self(client, coordinator->address, ASK_MS, &status, NULL) != LILIO_OK)
        return false;
    bool found = false;
    for (size_t i = 0; i < status.coordinator_count; i++) {
        const struct lilio_coordinator *self = &status.coordinators[i];
        if (self->member != coordinator->member)
            continue; /* another incarnation has the address now */
        found = true;
        coordinator->term = self->term;
        coordinator->applied_index = self->applied_index;
        coordinator->commit_index = self->commit_index;
        coordinator->uptime_ms = self->uptime_ms;
        coordinator->log_bytes = self->log_bytes;
        coordinator->refused_messages = self->refused_messages;
        memcpy(coordinator->trouble, self->trouble, sizeof coordinator->trouble);
    }
    lilio_status_release(&status);
    return found;
}

struct tools_quorum tools_quorum_count(const struct lilio_status *status, uint32_t without)
{
    struct tools_quorum quorum = {0};
    for (size_t i = 0; i < status->coordinator_count; i++) {
        const struct lilio_coordinator *at = &status->coordinators[i];
        if (!tools_quorum_votes(at) || at->id == without)
            continue;
        quorum.voters++;
        quorum.living += tools_quorum_lives(at);
    }
    return quorum;
}

struct tools_quorum tools_quorum_count_asked(struct lilio_client *client,
                                             const struct lilio_status *status, uint32_t without,
                                             char ret_silent[TOOLS_QUORUM_NAMES])
{
    struct tools_quorum quorum = {0};
    size_t used = 0;
    ret_silent[0] = '\0';
    for (size_t i = 0; i < status->coordinator_count; i++) {
        struct lilio_coordinator at = status->coordinators[i];
        if (!tools_quorum_votes(&at) || at.id == without)
            continue;
        bool lives = tools_quorum_lives(&at) && tools_quorum_ask(client, &at);
        quorum.voters++;
        quorum.living += lives;
        if (!lives && used < TOOLS_QUORUM_NAMES)
            used += (size_t)snprintf(ret_silent + used, TOOLS_QUORUM_NAMES - used,
                                     "%scoordinator.%u", used ? ", " : "", at.id);
    }
    return quorum;
}

bool tools_quorum_decides(struct tools_quorum quorum)
{
    return quorum.living * 2 > quorum.voters;
}

void tools_quorum_warn(struct tools_out *out, const struct lilio_status *status)
{
    struct tools_quorum quorum = tools_quorum_count(status, UINT32_MAX);
    char time[TOOLS_TEXT];
    if (!tools_quorum_leader(status)) {
        tools_out_line(out, "WARNING: no coordinator leads; nothing can be changed now");
        return;
    }
    for (size_t i = 0; i < status->coordinator_count; i++) {
        const struct lilio_coordinator *at = &status->coordinators[i];
        if (tools_quorum_unheard(at))
            tools_out_line(out, "WARNING: coordinator.%u has not answered the new leader yet",
                           at->id);
        else if (!tools_quorum_lives(at))
            tools_out_line(out, "WARNING: coordinator.%u is silent for %s", at->id,
                           tools_text_duration(at->silent_ms, time));
    }
    struct tools_quorum after = {quorum.voters, quorum.living - 1};
    if (quorum.voters > 1 && quorum.living > 0 && !tools_quorum_decides(after))
        tools_out_line(
            out,
            "WARNING: %zu of %zu coordinators live, a bare majority: one more loss stops "
            "the cluster",
            quorum.living, quorum.voters);
}

cJSON *tools_quorum_json(const struct lilio_coordinator *coordinator)
{
    cJSON *object = tools_json_new();
    tools_json_u64(object, "id", coordinator->id);
    tools_json_text(object, "role", tools_quorum_role(coordinator));
    tools_json_u64(object, "member", coordinator->member);
    tools_json_text(object, "address", coordinator->address);
    tools_json_text(object, "peer", coordinator->peer);
    tools_json_bool(object, "alive", tools_quorum_lives(coordinator));
    tools_json_u64(object, "term", coordinator->term);
    tools_json_u64(object, "applied_index", coordinator->applied_index);
    tools_json_u64(object, "commit_index", coordinator->commit_index);
    tools_json_u64(object, "lag", coordinator->lag);
    if (tools_quorum_unheard(coordinator))
        tools_json_text(object, "silent_ms", NULL);
    else
        tools_json_u64(object, "silent_ms", coordinator->silent_ms);
    tools_json_u64(object, "uptime_ms", coordinator->uptime_ms);
    tools_json_u64(object, "log_bytes", coordinator->log_bytes);
    tools_json_u64(object, "refused_messages", coordinator->refused_messages);
    tools_json_text(object, "trouble", coordinator->trouble);
    return object;
}
