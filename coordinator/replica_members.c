/* Who belongs to the quorum: requests to change it or to hand leadership over, and what a status
 * says about it.
 *
 * A request waits here until raft takes it (one change at a time, learners first catch up), at most
 * to its deadline, then until its entry is applied. When leadership is lost, one whose entry is in
 * the log may still succeed: it is answered by what is applied at its index, or at its deadline.
 *
 * A coordinator's next incarnation is never one that was used: the index of the configuration it
 * begins behind grows with each change.
 */
#include <stdio.h>

#include "base/mark.h"
#include "coordinator/replica_priv.h"

#include "base/banned.h"

enum {
    PATIENCE_MS = 10000, /* of a request that names none */
    PATIENCE_MS_MAX = 600000,
    CHANGE_ADD = 1,
    CHANGE_PROMOTE = 2,
    CHANGE_REMOVE = 3,
};
static const uint32_t anybody = UINT32_MAX;

/* ---- who is who ---- */

static const struct proto_raft_config *members(const struct coord_replica *replica)
{
    uint64_t index;
    bool committed;
    return raft_config(replica->raft, &index, &committed);
}

static const struct proto_raft_member *member_find(const struct coord_replica *replica,
                                                   uint64_t member)
{
    const struct proto_raft_config *config = members(replica);
    for (size_t i = 0; i < config->members_count; i++)
        if (config->members[i].id == member)
            return &config->members[i];
    return NULL;
}

/* The newest incarnation of a coordinator, of any kind if kind is 0. */
static const struct proto_raft_member *newest_find(const struct coord_replica *replica,
                                                   uint32_t number, uint8_t kind)
{
    const struct proto_raft_config *config = members(replica);
    const struct proto_raft_member *found = NULL;
    for (size_t i = 0; i < config->members_count; i++)
        if ((uint32_t)config->members[i].id == number &&
            (kind == 0 || config->members[i].kind == kind) &&
            (!found || config->members[i].id > found->id))
            found = &config->members[i];
    return found;
}

static void copy_text(struct base_slice text, char ret[256])
{
    size_t size = text.size < 255 ? text.size : 255;
    if (size > 0)
        memcpy(ret, text.data, size);
    ret[size] = '\0';
}

void replica_address(const struct coord_replica *replica, uint64_t member, char ret[256])
{
    const struct proto_raft_member *found = member_find(replica, member);
    const struct proto_cluster_node *node =
        proto_cluster_coordinator(replica->options.file, (uint32_t)member);
    ret[0] = '\0';
    if (found)
        copy_text(found->address, ret);
    else if (node)
        copy_text(base_slice_str(node->endpoint), ret);
}

/* ---- answers ---- */

static void reply(struct coord_replica *replica, struct replica_change *change,
                  const struct proto_type *type, const void *value)
{
    const struct coord_port *port = &replica->options.service.port;
    port->reply(port->context, change->request.token, type, value,
                coord_state_row(replica->home->state)->epoch);
    *change = (struct replica_change){0};
}

static void refuse(struct coord_replica *replica, struct replica_change *change, enum lilio_err err,
                   const char *text)
{
    char leader[256] = "";
    if (err == LILIO_E_NOT_LEADER && raft_leader(replica->raft))
        replica_address(replica, raft_leader(replica->raft), leader);
    struct proto_error error = {
        .code = err,
        .text = base_slice_str(text[0] ? text : lilio_err_text(err)),
        .epoch = coord_state_row(replica->home->state)->epoch,
        .leader = base_slice_str(leader),
    };
    reply(replica, change, &proto_type_error, &error);
}

static void reply_changed(struct coord_replica *replica, struct replica_change *change,
                          uint64_t index)
{
    struct proto_coordinator_changed changed = {.member = change->member, .index = index};
    reply(replica, change, &proto_type_coordinator_changed, &changed);
}

void coord_replica_quorum(struct coord_replica *replica, const struct coord_request *request)
{
    uint32_t patience = request->header.deadline_ms ? request->header.deadline_ms : PATIENCE_MS;
    struct replica_change change = {
        .used = true,
        .request = *request,
        .until_ms =
            base_now_ms(replica->clock) + (patience < PATIENCE_MS_MAX ? patience : PATIENCE_MS_MAX),
    };
    for (size_t i = 0; i < REPLICA_CHANGES_MAX; i++)
        if (!replica->changes[i].used) {
            replica->changes[i] = change;
            return;
        }
    refuse(replica, &change, LILIO_E_BUSY, "other changes of the coordinators wait");
}

/* ---- changes ---- */

/* The member to be added: a new incarnation, or the one that is being added already when a request
 * is repeated. */
static bool added_already(const struct coord_replica *replica,
                          const struct proto_coordinator_change *ask, uint64_t *ret_member)
{
    const struct proto_raft_member *newest = newest_find(replica, ask->id, 0);
    *ret_member = newest ? newest->id : 0;
    return newest && newest->kind == RAFT_LEARNER &&
           base_slice_equal(newest->address, ask->address) &&
           base_slice_equal(newest->peer, ask->peer);
}

static uint64_t next_member(const struct coord_replica *replica, uint32_t number, uint64_t newest)
{
    uint64_t index;
    bool committed;
    (void)raft_config(replica->raft, &index, &committed); /* only its index */
    uint64_t incarnation = (newest >> 32) + 1;
    if ((uint32_t)(index + 1) > incarnation)
        incarnation = (uint32_t)(index + 1);
    return incarnation << 32 | number;
}

/* Which member of the configuration a request names; 0: none. */
static uint64_t named(const struct coord_replica *replica,
                      const struct proto_coordinator_change *ask)
{
    const struct proto_raft_member *member = ask->member
                                                 ? member_find(replica, ask->member)
                                                 : newest_find(replica, ask->id, 0 /* any */);
    return member && (uint32_t)member->id == ask->id ? member->id : 0;
}

static enum lilio_err propose(struct coord_replica *replica, struct replica_change *change,
                              const struct proto_coordinator_change *ask,
                              struct lilio_errinfo *info)
{
    struct proto_raft_member member = {.id = change->member};
    if (ask->change == CHANGE_ADD) {
        if (added_already(replica, ask, &change->member))
            return LILIO_E_EXISTS;
        member = (struct proto_raft_member){
            .id = next_member(replica, ask->id, change->member),
            .kind = RAFT_LEARNER,
            .address = ask->address,
            .peer = ask->peer,
        };
        change->member = member.id;
    }
    enum lilio_err err = raft_change(replica->raft,
                                     ask->change == CHANGE_ADD       ? RAFT_ADD_LEARNER
                                     : ask->change == CHANGE_PROMOTE ? RAFT_PROMOTE
                                                                     : RAFT_REMOVE,
                                     &member, &change->index, info);
    change->term = raft_term(replica->raft);
    return err;
}

static enum lilio_err check_change(const struct coord_replica *replica,
                                   const struct proto_coordinator_change *ask,
                                   struct replica_change *change, struct lilio_errinfo *info)
{
    if (ask->change < CHANGE_ADD || ask->change > CHANGE_REMOVE || ask->id == anybody)
        return lilio_fail(info, LILIO_E_INVALID, "no change has number %u", ask->change);
    if (ask->change == CHANGE_ADD)
        return ask->address.size && ask->peer.size
                   ? LILIO_OK
                   : lilio_fail(info, LILIO_E_INVALID,
                                "a coordinator needs an address and a peer address");
    change->member = named(replica, ask);
    if (!change->member)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "coordinator %u is no such member of the quorum",
                          ask->id);
    const struct proto_raft_member *before =
        ask->change == CHANGE_PROMOTE ? newest_find(replica, ask->id, RAFT_VOTER) : NULL;
    return !before || before->id == change->member
               ? LILIO_OK
               : lilio_fail(info, LILIO_E_PRECONDITION,
                            "coordinator %u votes as member %llx already: remove that one first",
                            ask->id, (unsigned long long)before->id);
}

/* A learner that lags is waited for: raft refuses it until it has caught up. */
static bool lags(const struct coord_replica *replica, uint64_t member, struct lilio_errinfo *info)
{
    struct raft_progress progress = {0};
    const struct proto_raft_member *found = member_find(replica, member);
    if (!found || found->kind != RAFT_LEARNER)
        return false;
    (void)raft_progress_get(replica->raft, member, &progress); /* zeros say as much */
    uint64_t commit = raft_commit(replica->raft);
    (void)lilio_fail(info, LILIO_E_BUSY,
                     "coordinator %u has not caught up: it has %llu of %llu entries%s, last heard "
                     "%u ms ago",
                     (unsigned)member, (unsigned long long)progress.match,
                     (unsigned long long)commit,
                     progress.snapshot ? " and is pulling the state" : "",
                     progress.silent_ms); /* the caller's to answer */
    return true;
}

static enum lilio_err try_change(struct coord_replica *replica, struct replica_change *change,
                                 struct lilio_errinfo *info)
{
    struct proto_coordinator_change ask;
    struct lilio_errinfo why = {0};
    enum lilio_err err = proto_coordinator_change_unpack(change->request.body, NULL, &ask, &why);
    if (!err)
        err = check_change(replica, &ask, change, &why);
    if (!err)
        err = propose(replica, change, &ask, &why);
    if (!err)
        return replica_carry_out(replica, info);
    bool waits = err == LILIO_E_BUSY;
    if (err == LILIO_E_INVALID && ask.change == CHANGE_PROMOTE)
        waits = lags(replica, change->member, &why);
    if (err == LILIO_E_EXISTS) /* asked again after an answer that was lost */
        reply_changed(replica, change, raft_commit(replica->raft));
    else if (waits)
        change->why = why;
    else
        refuse(replica, change, err, why.text);
    return LILIO_OK;
}

void replica_members_applied(struct coord_replica *replica, uint64_t index, uint64_t term)
{
    for (size_t i = 0; i < REPLICA_CHANGES_MAX; i++) {
        struct replica_change *change = &replica->changes[i];
        if (change->used && change->index == index && change->term == term)
            reply_changed(replica, change, index);
    }
}

/* ---- handing over ---- */

static enum lilio_err try_transfer(struct coord_replica *replica, struct replica_change *change,
                                   struct lilio_errinfo *info)
{
    struct proto_coordinator_transfer ask;
    enum lilio_err err =
        proto_coordinator_transfer_unpack(change->request.body, NULL, &ask, &change->why);
    if (!err && ask.id != anybody) {
        const struct proto_raft_member *heir = newest_find(replica, ask.id, RAFT_VOTER);
        change->member = heir ? heir->id : 0;
        if (!heir)
            err = lilio_fail(&change->why, LILIO_E_NOT_FOUND, "coordinator %u is no voter", ask.id);
    }
    if (!err && change->member == replica->home->member) {
        struct proto_ok ok = {.index = replica->applied};
        reply(replica, change, &proto_type_ok, &ok);
        return LILIO_OK;
    }
    if (!err)
        err = raft_transfer(replica->raft, change->member);
    if (err == LILIO_E_NOT_FOUND && !change->why.text[0])
        (void)lilio_fail(&change->why, err, "there is no other voter"); /* err goes on */
    if (err == LILIO_E_PRECONDITION)
        (void)lilio_fail(&change->why, err, "who is to lead does not answer"); /* likewise */
    change->handing_over |=
        !err; /* BUSY: it is under way; given up after a while and tried again */
    if (err && err != LILIO_E_BUSY)
        refuse(replica, change, err, change->why.text);
    return replica_carry_out(replica, info);
}

/* The voter that is so many places behind this one in the newest configuration, or 0. */
static uint64_t voter_behind(const struct coord_replica *replica, size_t places)
{
    const struct proto_raft_config *config = members(replica);
    uint64_t voters[RAFT_MEMBERS_MAX];
    size_t count = 0, self = 0;
    for (size_t i = 0; i < config->members_count; i++) {
        if (config->members[i].kind != RAFT_VOTER)
            continue;
        if (config->members[i].id == replica->home->member)
            self = count;
        voters[count++] = config->members[i].id;
    }
    return places < count ? voters[(self + places) % count] : 0;
}

/* A leader whose disk is full takes deletes only; another one may have room. Each of the others is
 * tried once: if none has, somebody leads all the same. */
enum lilio_err replica_give_way(struct coord_replica *replica, struct lilio_errinfo *info)
{
    if (coord_service_space_left(replica->service)) {
        replica->ways_given = 0;
        return LILIO_OK;
    }
    uint64_t heir = replica->leads ? voter_behind(replica, replica->ways_given + 1) : 0;
    enum lilio_err err = heir ? raft_transfer(replica->raft, heir) : LILIO_E_BUSY;
    if (err == LILIO_E_BUSY)
        return LILIO_OK;
    replica->ways_given++;
    if (err)
        return LILIO_OK; /* it does not answer */
    LILIO_MARK("replica/gave_way");
    base_log_write(replica->log, BASE_LOG_WARN, "replica", "gives_way",
                   "to=coordinator.%u reason=\"the disk is full\"", (uint32_t)heir);
    return replica_carry_out(replica, info);
}

/* ---- a turn ---- */

static enum lilio_err change_step(struct coord_replica *replica, struct replica_change *change,
                                  struct lilio_errinfo *info)
{
    bool is_transfer = change->request.type == &proto_type_coordinator_transfer;
    uint64_t leader = raft_leader(replica->raft);
    if (change->handing_over && leader && leader != replica->home->member) {
        struct proto_ok ok = {.index = replica->applied};
        reply(replica, change, &proto_type_ok, &ok);
    } else if (replica->now_ms >= change->until_ms) {
        LILIO_MARK("replica/change_late");
        bool unknown = change->index != 0 && !is_transfer;
        refuse(replica, change, unknown ? LILIO_E_OUTCOME_UNKNOWN : LILIO_E_BUSY,
               change->why.text[0] ? change->why.text : "nothing came of it in time");
    } else if (change->index == 0) {
        if (!replica->leads && !change->handing_over)
            refuse(replica, change, LILIO_E_NOT_LEADER, "");
        else if (replica->leads)
            return is_transfer ? try_transfer(replica, change, info)
                               : try_change(replica, change, info);
    } else if (replica->applied >= change->index) {
        LILIO_MARK("replica/change_overwritten");
        refuse(replica, change, LILIO_E_NOT_LEADER, ""); /* another entry is there */
    }
    return LILIO_OK;
}

enum lilio_err replica_members_step(struct coord_replica *replica, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    for (size_t i = 0; !err && i < REPLICA_CHANGES_MAX; i++)
        if (replica->changes[i].used)
            err = change_step(replica, &replica->changes[i], info);
    return err;
}

/* ---- status ---- */

static void describe_self(const struct coord_replica *replica, struct proto_coordinator *ret)
{
    struct raft *raft = replica->raft;
    ret->applied_index = replica->applied;
    ret->commit_index = raft_commit(raft);
    ret->uptime_ms = base_now_ms(replica->clock) - replica->started_ms;
    ret->log_bytes = raft_log_bytes(replica->home->log);
    ret->refused_messages = coord_peers_refused(replica->peers);
    ret->trouble = base_slice_str(replica->trouble[0] ? replica->trouble
                                  : coord_service_space_left(replica->service)
                                      ? ""
                                      : "its disk is nearly full: make room before it ends");
}

static void describe_other(const struct coord_replica *replica, struct proto_coordinator *ret)
{
    struct raft_progress progress;
    if (!raft_progress_get(replica->raft, ret->member, &progress))
        return;
    uint64_t last = replica->view.last(replica->view.context);
    ret->lag = last > progress.match ? last - progress.match : 0;
    ret->silent_ms = progress.heard ? progress.silent_ms : UINT32_MAX;
}

size_t coord_replica_coordinators(struct coord_replica *replica, struct proto_coordinator *ret,
                                  size_t room)
{
    const struct proto_raft_config *config = members(replica);
    bool leads = raft_role(replica->raft) == RAFT_LEADER;
    size_t count = 0;
    for (size_t i = 0; i < config->members_count && count < room; i++) {
        const struct proto_raft_member *member = &config->members[i];
        bool self = member->id == replica->home->member;
        if (!self && !leads)
            continue; /* a follower answers for itself */
        copy_text(member->address, replica->addresses[count][0]);
        copy_text(member->peer, replica->addresses[count][1]);
        ret[count] = (struct proto_coordinator){
            .id = (uint32_t)member->id,
            .address = base_slice_str(replica->addresses[count][0]),
            .role = base_slice_str(self && leads ? "leader" : "follower"),
            .term = raft_term(replica->raft),
            .member = member->id,
            .kind = member->kind,
            .peer = base_slice_str(replica->addresses[count][1]),
        };
        if (self)
            describe_self(replica, &ret[count]);
        else
            describe_other(replica, &ret[count]);
        count++;
    }
    return count;
}
