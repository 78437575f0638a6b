/* Who belongs to the group: the configuration in the log and its changes, one at a time (Ongaro
 * chapter 4).
 *
 * A configuration counts from the moment it is in the log. Two are kept: the newest, and the one
 * before it, which comes back when the newest is truncated. That one is known to be committed,
 * because a leader appends a configuration only when the last one is; so it is never truncated
 * itself, and it does not matter whether its entry was cut off long ago (B5).
 */
#include "coordinator/raft/raft.h"

#include <stdio.h>

#include "base/mark.h"
#include "base/planted.h"
#include "coordinator/raft/raft_priv.h"

#include "base/banned.h"

/* ---- configurations ---- */

static bool valid(const struct proto_raft_config *config)
{
    size_t voters = 0;
    if (config->members_count > RAFT_MEMBERS_MAX)
        return false;
    for (size_t i = 0; i < config->members_count; i++) {
        const struct proto_raft_member *member = &config->members[i];
        if (!member->id || (member->kind != RAFT_VOTER && member->kind != RAFT_LEARNER) ||
            member->address.size > RAFT_ADDRESS_MAX || member->peer.size > RAFT_ADDRESS_MAX ||
            (i > 0 && member->id <= config->members[i - 1].id))
            return false;
        voters += member->kind == RAFT_VOTER;
    }
    return voters > 0;
}

static struct base_slice keep(uint8_t *room, struct base_slice text)
{
    if (text.size)
        memcpy(room, text.data, text.size);
    return base_slice(room, text.size);
}

bool raft_members_set(struct raft_members *members, const struct proto_raft_config *config,
                      uint64_t index)
{
    if (!valid(config))
        return false;
    for (size_t i = 0; i < config->members_count; i++) {
        members->list[i] = config->members[i];
        members->list[i].address = keep(members->text[i][0], config->members[i].address);
        members->list[i].peer = keep(members->text[i][1], config->members[i].peer);
    }
    members->config = (struct proto_raft_config){.members = members->list,
                                                 .members_count = config->members_count};
    members->index = index;
    return true;
}

/* Also the way back to no members at all, of one that was not told yet. */
static void copy(struct raft_members *to, const struct raft_members *from)
{
    if (!raft_members_set(to, &from->config, from->index))
        *to = (struct raft_members){0};
}

void raft_peers_rebuild(struct raft *raft)
{
    struct raft_peer old[RAFT_MEMBERS_MAX];
    size_t old_count = raft->peer_count;
    memcpy(old, raft->peers, sizeof old);
    raft->peer_count = raft->newest.config.members_count;
    for (size_t i = 0; i < raft->peer_count; i++) {
        const struct proto_raft_member *member = &raft->newest.list[i];
        struct raft_peer *peer = &raft->peers[i];
        size_t j = 0;
        while (j < old_count && old[j].id != member->id)
            j++;
        if (j < old_count) {
            *peer = old[j];
        } else {
            *peer = (struct raft_peer){.id = member->id};
            raft_peer_start(raft, peer);
        }
        peer->voter = member->kind == RAFT_VOTER;
    }
    struct raft_peer *target = raft_peer_find(raft, raft->transfer_to);
    if (!target || !target->voter)
        raft->transfer_to = 0;
    raft->learn_due = true;
    raft_strangers_forget(raft); /* some are known now */
    if (raft->start)
        raft_start_check(raft);
}

/* ---- configurations in the log ---- */

static bool unpack(struct raft *raft, const struct raft_entry *entry, struct proto_raft_config *ret)
{
    proto_arena_clear(raft->arena);
    return !proto_raft_config_unpack(entry->data, raft->arena, ret, NULL) && valid(ret);
}

bool raft_config_entry_valid(struct raft *raft, const struct raft_entry *entry)
{
    struct proto_raft_config config;
    return unpack(raft, entry, &config);
}

void raft_config_appended(struct raft *raft, const struct raft_entry *entry)
{
    struct proto_raft_config config;
    bool ok = unpack(raft, entry, &config);
    if (!ok) {
        /* It was unpacked before: there is no memory any more. */
        raft_fail(raft);
        return;
    }
    copy(&raft->previous, &raft->newest);
    raft_members_set(&raft->newest, &config, entry->index);
    raft_peers_rebuild(raft);
}

void raft_config_truncated(struct raft *raft, uint64_t index)
{
    if (raft->newest.index < index || LILIO_PLANTED("config_kept_after_truncation"))
        return;
    LILIO_MARK("raft/config_rolled_back");
    copy(&raft->newest, &raft->previous);
    raft_peers_rebuild(raft);
}

/* After a start: what is behind the known configuration counts too, committed or not. */
enum lilio_err raft_config_scan(struct raft *raft)
{
    uint64_t index = raft->commit + 1;
    while (index <= raft->last) {
        size_t count = 0;
        enum lilio_err err = raft->log.read(raft->log.context, index, RAFT_SEND_ENTRIES_MAX,
                                            RAFT_SEND_BYTES_MAX, raft->scratch, &count);
        if (err)
            return err;
        for (size_t i = 0; i < count; i++) {
            if (raft->scratch[i].type != RAFT_ENTRY_CONFIG)
                continue;
            if (!raft_config_entry_valid(raft, &raft->scratch[i]))
                return LILIO_E_CORRUPT;
            LILIO_MARK("raft/config_found_in_log");
            raft_config_appended(raft, &raft->scratch[i]);
        }
        index += count;
    }
    return LILIO_OK;
}

/* ---- changes ---- */

static size_t find(const struct proto_raft_config *config, uint64_t id)
{
    size_t i = 0;
    while (i < config->members_count && config->members[i].id != id)
        i++;
    return i;
}

static enum lilio_err add_learner(struct proto_raft_config *config,
                                  const struct proto_raft_member *member,
                                  struct lilio_errinfo *info)
{
    if (find(config, member->id) < config->members_count)
        return lilio_fail(info, LILIO_E_EXISTS, "it is a member already");
    if (config->members_count == RAFT_MEMBERS_MAX)
        return lilio_fail(info, LILIO_E_INVALID, "there are %d members, no more fit",
                          RAFT_MEMBERS_MAX);
    size_t at = config->members_count++;
    for (; at > 0 && config->members[at - 1].id > member->id; at--)
        config->members[at] = config->members[at - 1];
    config->members[at] = *member;
    config->members[at].kind = RAFT_LEARNER;
    return LILIO_OK;
}

/* It was heard in this term, a moment ago, and what it promises counts. */
static bool answers(const struct raft *raft, const struct raft_peer *peer)
{
    return peer->id == raft->id ||
           (peer->heard && !peer->uncounted && raft->now_ms - peer->heard_ms < raft->election_ms);
}

/* A voter that lags, or may be an older copy, would make the group wait for it (4.2.1). */
static bool caught_up(struct raft *raft, uint64_t id)
{
    const struct raft_peer *peer = raft_peer_find(raft, id);
    return peer && peer->mode == RAFT_MODE_REPLICATE && answers(raft, peer) &&
           peer->match + RAFT_SEND_ENTRIES_MAX >= raft->commit;
}

static enum lilio_err promote(struct raft *raft, struct proto_raft_config *config, uint64_t id,
                              struct lilio_errinfo *info)
{
    size_t at = find(config, id);
    if (at == config->members_count)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "it is not a member");
    if (config->members[at].kind == RAFT_VOTER)
        return lilio_fail(info, LILIO_E_EXISTS, "it is a voter already");
    if (!caught_up(raft, id))
        return lilio_fail(info, LILIO_E_INVALID, "it has not caught up");
    config->members[at].kind = RAFT_VOTER;
    return LILIO_OK;
}

static enum lilio_err take_out(struct proto_raft_config *config, uint64_t id,
                               struct lilio_errinfo *info)
{
    size_t at = find(config, id);
    if (at == config->members_count)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "it is not a member");
    for (config->members_count--; at < config->members_count; at++)
        config->members[at] = config->members[at + 1];
    for (size_t i = 0; i < config->members_count; i++)
        if (config->members[i].kind == RAFT_VOTER)
            return LILIO_OK;
    return lilio_fail(info, LILIO_E_INVALID, "it is the last voter");
}

/* A configuration counts from the moment it is in the log, so one whose majority is gone would be
 * the last: it could be neither committed nor taken back. Who was just elected is told to wait
 * until the others had the time to answer. */
static enum lilio_err majority_check(struct raft *raft, const struct proto_raft_config *config,
                                     struct lilio_errinfo *info)
{
    char silent[RAFT_MEMBERS_MAX * 32] = "";
    size_t voters = 0, answering = 0, expected = 0, used = 0;
    for (size_t i = 0; i < config->members_count; i++) {
        if (config->members[i].kind != RAFT_VOTER)
            continue;
        const struct raft_peer *peer = raft_peer_find(raft, config->members[i].id);
        voters++;
        if (answers(raft, peer)) {
            answering++;
            continue;
        }
        expected += !peer->heard && raft->now_ms - peer->heard_ms < raft->election_ms;
        used += (size_t)snprintf(silent + used, sizeof silent - used, "%scoordinator.%u",
                                 used ? ", " : "", (uint32_t)peer->id); /* fits */
    }
    if (answering * 2 > voters)
        return LILIO_OK;
    LILIO_MARK("raft/change_without_majority");
    return lilio_fail(info,
                      (answering + expected) * 2 > voters ? LILIO_E_BUSY : LILIO_E_PRECONDITION,
                      "of the %zu that would vote then only %zu answer, which is no majority; not "
                      "heard: %s",
                      voters, answering, silent);
}

enum lilio_err raft_change(struct raft *raft, enum raft_change change,
                           const struct proto_raft_member *member, uint64_t *ret_index,
                           struct lilio_errinfo *info)
{
    if (raft->role != RAFT_LEADER)
        return lilio_fail(info, LILIO_E_NOT_LEADER, "not the leader");
    if (!raft_ready(raft) || raft->transfer_to || raft->newest.index > raft->commit)
        return lilio_fail(info, LILIO_E_BUSY, "another change is under way");
    struct proto_raft_member list[RAFT_MEMBERS_MAX];
    struct proto_raft_config config = {.members = list,
                                       .members_count = raft->newest.config.members_count};
    memcpy(list, raft->newest.list, sizeof list);
    enum lilio_err err = LILIO_E_INVALID;
    switch (change) {
    case RAFT_ADD_LEARNER: err = add_learner(&config, member, info); break;
    case RAFT_PROMOTE: err = promote(raft, &config, member->id, info); break;
    case RAFT_REMOVE: err = take_out(&config, member->id, info); break;
    }
    if (!err)
        err = majority_check(raft, &config, info);
    if (err)
        return err;
    base_buffer_clear(&raft->packed);
    err = valid(&config) ? proto_raft_config_pack(&config, &raft->packed) : LILIO_E_INVALID;
    if (err)
        return lilio_fail(info, err, "the configuration cannot be packed");
    raft_stage_own(raft, RAFT_ENTRY_CONFIG, base_buffer_slice(&raft->packed));
    raft_config_appended(raft, &raft->own);
    /* Who was waited for may not count any more. */
    raft_reads_confirm(raft);
    *ret_index = raft->last;
    return LILIO_OK;
}

void raft_removed_check(struct raft *raft)
{
    if (raft->newest.index > raft->commit || raft_is_voter(raft))
        return;
    LILIO_MARK("raft/leader_removed");
    const struct raft_peer *heir = raft_furthest(raft);
    if (heir)
        raft_push(raft, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .to = heir->id});
    raft_follow(raft, raft->term, 0 /* leader */);
}
