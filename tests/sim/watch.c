#include "tests/sim/watch.h"

#include <string.h>

#include "base/mark.h"
#include "coordinator/replays.h"
#include "coordinator/replica_priv.h"
#include "tests/sim/check_counts.h"
#include "tests/sim/check_raft.h"
#include "tests/sim/memory.h"
#include "tests/sim/nodes.h"
#include "tests/sim/world.h"

#include "base/banned.h"

#define MAPS_NS (5 * SIM_S) /* between two comparisons of maps */

/* What runs on a coordinator's node now. */
struct seat {
    uint64_t member;
    unsigned life;
    struct coord_replica *replica;
    struct coord_home *home;
    uint64_t maps_at;
    uint64_t counted;       /* commit index of the leader when it was looked at last */
    struct raft_vote saved; /* last, and in which life of the node */
    unsigned saved_life;
    bool damaged, older;
};
static struct seat seats[SIM_NODES_MAX];
static struct check_raft *check;
static struct {
    void (*fn)(void *context, struct sim_node *node, bool members);
    void *context;
} on_append;

static struct seat *seat_of(const struct sim_node *node)
{
    return &seats[sim_node_index(node)];
}

static struct seat *seat_self(void)
{
    return seat_of(sim_node_self());
}

static void demand(bool good)
{
    if (!good)
        sim_fail(SIM_WRONG, "%s", check_raft_text(check));
}

static bool serves(const struct sim_node *node)
{
    const struct seat *seat = seat_of(node);
    return seat->replica && seat->life == sim_node_life(node) && sim_node_state(node) == SIM_UP;
}

/* ---- looking ---- */

/* Of a term nobody knows before it is saved: the power may fail first. */
/* Of an earlier term: it was deposed and does not know yet. */
static bool other_leads(const struct seat *seat, uint64_t term)
{
    for (unsigned i = 0; i < sim_cluster_options()->coordinator_count; i++) {
        const struct sim_node *node = sim_coordinator(i);
        const struct seat *other = seat_of(node);
        if (other == seat || !serves(node))
            continue;
        const struct raft *raft = coord_replica_raft(other->replica);
        if (raft_role(raft) == RAFT_LEADER && raft_term(raft) < term)
            return true;
    }
    return false;
}

/* Voters of a leader, none while they are being changed. */
static size_t voters_of(const struct raft *raft, uint64_t ret_voters[RAFT_MEMBERS_MAX])
{
    uint64_t index;
    bool committed;
    size_t count = 0;
    const struct proto_raft_config *config = raft_config(raft, &index, &committed);
    for (size_t i = 0; i < config->members_count && committed; i++)
        if (config->members[i].kind == RAFT_VOTER)
            ret_voters[count++] = config->members[i].id;
    return count;
}

static void look(struct seat *seat)
{
    uint64_t voters[RAFT_MEMBERS_MAX];
    struct raft *raft = coord_replica_raft(seat->replica);
    if (raft_role(raft) == RAFT_LEADER && other_leads(seat, raft_term(raft)))
        LILIO_MARK("sim/two_leaders");
    if (raft_role(raft) == RAFT_LEADER && raft_commit(raft) != seat->counted) {
        seat->counted = raft_commit(raft);
        demand(check_raft_counted(check, seat->member, raft_term(raft), seat->counted, voters,
                                  voters_of(raft, voters)));
    }
    uint64_t saved = seat->home->vote.term;
    demand(check_raft_looked(check, seat->member, saved,
                             raft_role(raft) == RAFT_LEADER && raft_term(raft) == saved,
                             seat->replica->commit));
}

static void compare_maps(struct seat *seat)
{
    uint64_t digest;
    char text[256];
    struct lilio_errinfo info = {0};
    struct coord_state *state = seat->home->state;
    if (coord_state_digest(state, &digest, &info) != LILIO_OK)
        return; /* the disk fails it */
    demand(check_raft_maps(check, seat->member, coord_state_row(state)->applied_index, digest));
    if (!check_counts_agree(seat->home->kv, state, text))
        sim_fail(SIM_WRONG, "%s", text);
}

static void after_step(void *context, struct sim_node *node)
{
    (void)context;
    sim_memory_check(node);
    if (sim_node_kind(node) != SIM_COORDINATOR || !seat_of(node)->member)
        return;
    if (serves(node))
        look(seat_of(node));
    else if (sim_node_state(node) != SIM_UP)
        check_raft_stopped(check, seat_of(node)->member);
}

void sim_watch_start(void)
{
    check = check_raft_new();
    sim_watch(after_step, NULL);
}

void sim_watch_on_append(void (*fn)(void *context, struct sim_node *node, bool members),
                         void *context)
{
    on_append.fn = fn;
    on_append.context = context;
}

int sim_watch_leader(void *unused)
{
    (void)unused;
    int leader = -1;
    uint64_t term = 0;
    for (unsigned i = 0; i < sim_cluster_options()->coordinator_count; i++) {
        if (!serves(sim_coordinator(i)))
            continue;
        const struct raft *raft = coord_replica_raft(seat_of(sim_coordinator(i))->replica);
        if (raft_role(raft) == RAFT_LEADER && raft_term(raft) >= term) {
            term = raft_term(raft);
            leader = (int)i;
        }
    }
    return leader;
}

bool sim_watch_converged(void)
{
    uint64_t applied = 0;
    if (sim_watch_leader(NULL) < 0)
        return false;
    for (unsigned i = 0; i < sim_cluster_options()->coordinator_count; i++) {
        struct sim_node *node = sim_coordinator(i);
        if (!serves(node))
            return false;
        uint64_t here = coord_replica_applied(seat_of(node)->replica);
        if (i && here != applied)
            return false;
        applied = here;
    }
    for (unsigned i = 0; i < sim_cluster_options()->coordinator_count; i++)
        compare_maps(seat_of(sim_coordinator(i)));
    return true;
}

uint64_t sim_watch_terms(void)
{
    return check_raft_leaders(check);
}

void sim_watch_damaged(unsigned coordinator)
{
    seat_of(sim_coordinator(coordinator))->damaged = true;
}

void sim_watch_older(unsigned coordinator)
{
    seat_of(sim_coordinator(coordinator))->older = true;
}

static bool remembers(const struct seat *seat, const struct seat *other)
{
    for (size_t i = 0; i < seat->saved.known_count; i++)
        if (seat->saved.known[i].member == other->member)
            return seat->saved.known[i].id == other->saved.start_id;
    return false;
}

bool sim_watch_start_remembered(unsigned coordinator, unsigned after_life, const bool *but)
{
    const struct seat *seat = seat_of(sim_coordinator(coordinator));
    bool all = seat->saved_life > after_life;
    for (unsigned i = 0; all && i < sim_cluster_options()->coordinator_count; i++)
        all = i == coordinator || but[i] || remembers(seat_of(sim_coordinator(i)), seat);
    return all;
}

/* ---- in between ---- */

void __real_coord_peers_send(struct coord_peers *peers, const struct raft_message *message);
void __wrap_coord_peers_send(struct coord_peers *peers, const struct raft_message *message);
void __wrap_coord_peers_send(struct coord_peers *peers, const struct raft_message *message)
{
    static const bool promise[] = {
        [RAFT_PRE_VOTE] = true,         [RAFT_PRE_VOTE_REPLY] = true, [RAFT_VOTE] = true,
        [RAFT_VOTE_REPLY] = true,       [RAFT_APPEND] = true,         [RAFT_APPEND_REPLY] = true,
        [RAFT_HELLO_REPLY + 1] = false,
    };
    bool no =
        (message->type == RAFT_PRE_VOTE_REPLY || message->type == RAFT_VOTE_REPLY) && !message->ok;
    if (check && seat_self()->older && promise[message->type] && !no && !message->uncounted)
        sim_fail(SIM_WRONG, "%s is an older copy and makes a promise: message %u to %llx",
                 sim_node_name(sim_node_self()), message->type, (unsigned long long)message->to);
    __real_coord_peers_send(peers, message);
}

/* Raft itself takes messages twice, whatever is in front of it. */
static bool replays_pass;

void sim_watch_replays_pass(bool pass)
{
    replays_pass = pass;
}

bool __real_coord_replays_enter(struct coord_replays *replays, uint64_t member, uint64_t run,
                                uint64_t number);
bool __wrap_coord_replays_enter(struct coord_replays *replays, uint64_t member, uint64_t run,
                                uint64_t number);
bool __wrap_coord_replays_enter(struct coord_replays *replays, uint64_t member, uint64_t run,
                                uint64_t number)
{
    bool came = __real_coord_replays_enter(replays, member, run, number);
    if (came)
        LILIO_MARK("sim/replay");
    return came && !replays_pass;
}

enum lilio_err __real_raft_log_open(const struct raft_log_options *options,
                                    struct raft_log **ret_log,
                                    struct raft_log_recovery *ret_recovery,
                                    struct lilio_errinfo *info);
enum lilio_err __wrap_raft_log_open(const struct raft_log_options *options,
                                    struct raft_log **ret_log,
                                    struct raft_log_recovery *ret_recovery,
                                    struct lilio_errinfo *info);
enum lilio_err __wrap_raft_log_open(const struct raft_log_options *options,
                                    struct raft_log **ret_log,
                                    struct raft_log_recovery *ret_recovery,
                                    struct lilio_errinfo *info)
{
    struct seat *seat = seat_self();
    enum lilio_err err = __real_raft_log_open(options, ret_log, ret_recovery, info);
    if (err != LILIO_OK || !check)
        return err;
    if (seat->member != options->member)
        seat->damaged = seat->older = false;
    seat->member = options->member;
    seat->replica = NULL;
    struct raft_log_view view = raft_log_view(*ret_log);
    if (!options->create)
        demand(check_raft_opened(check, seat->member, &view, seat->damaged));
    return err;
}

enum lilio_err __real_raft_log_append(struct raft_log *log, const struct raft_entry *entries,
                                      size_t count, struct lilio_errinfo *info);
enum lilio_err __wrap_raft_log_append(struct raft_log *log, const struct raft_entry *entries,
                                      size_t count, struct lilio_errinfo *info);
enum lilio_err __wrap_raft_log_append(struct raft_log *log, const struct raft_entry *entries,
                                      size_t count, struct lilio_errinfo *info)
{
    enum lilio_err err = __real_raft_log_append(log, entries, count, info);
    if (err != LILIO_OK || !check)
        return err;
    const struct seat *seat = seat_self();
    demand(check_raft_appended(check, seat->member, entries, count));
    if (on_append.fn && seat->replica &&
        raft_role(coord_replica_raft(seat->replica)) == RAFT_LEADER)
        on_append.fn(on_append.context, sim_node_self(), entries[0].type == RAFT_ENTRY_CONFIG);
    return err;
}

enum lilio_err __real_raft_log_reset(struct raft_log *log, uint64_t index, uint64_t term,
                                     struct lilio_errinfo *info);
enum lilio_err __wrap_raft_log_reset(struct raft_log *log, uint64_t index, uint64_t term,
                                     struct lilio_errinfo *info);
enum lilio_err __wrap_raft_log_reset(struct raft_log *log, uint64_t index, uint64_t term,
                                     struct lilio_errinfo *info)
{
    enum lilio_err err = __real_raft_log_reset(log, index, term, info);
    if (err == LILIO_OK && check)
        demand(check_raft_reset(check, seat_self()->member, index, term));
    return err;
}

enum lilio_err __real_raft_read(struct raft *raft, uint64_t token);
enum lilio_err __wrap_raft_read(struct raft *raft, uint64_t token);
enum lilio_err __wrap_raft_read(struct raft *raft, uint64_t token)
{
    enum lilio_err err = __real_raft_read(raft, token);
    if (err == LILIO_OK && check)
        check_raft_read_asked(check, raft_id(raft), token);
    return err;
}

void __real_replica_read_decided(struct coord_replica *replica, uint64_t token, uint64_t index,
                                 bool ok);
void __wrap_replica_read_decided(struct coord_replica *replica, uint64_t token, uint64_t index,
                                 bool ok);
void __wrap_replica_read_decided(struct coord_replica *replica, uint64_t token, uint64_t index,
                                 bool ok)
{
    if (check)
        demand(check_raft_read_decided(check, raft_id(replica->raft), token, index, ok));
    __real_replica_read_decided(replica, token, index, ok);
}

enum lilio_err __real_raft_vote_save(struct base_disk *disk, struct base_uuid cluster_id,
                                     uint64_t member, struct raft_vote *vote,
                                     struct lilio_errinfo *info);
enum lilio_err __wrap_raft_vote_save(struct base_disk *disk, struct base_uuid cluster_id,
                                     uint64_t member, struct raft_vote *vote,
                                     struct lilio_errinfo *info);
enum lilio_err __wrap_raft_vote_save(struct base_disk *disk, struct base_uuid cluster_id,
                                     uint64_t member, struct raft_vote *vote,
                                     struct lilio_errinfo *info)
{
    enum lilio_err err = __real_raft_vote_save(disk, cluster_id, member, vote, info);
    if (err == LILIO_OK) {
        seat_self()->saved = *vote;
        seat_self()->saved_life = sim_node_life(sim_node_self());
    }
    if (err == LILIO_OK && check)
        demand(check_raft_saved(check, member, vote->term, vote->vote));
    return err;
}

void __real_raft_persisted(struct raft *raft, uint64_t index, uint64_t term);
void __wrap_raft_persisted(struct raft *raft, uint64_t index, uint64_t term);
void __wrap_raft_persisted(struct raft *raft, uint64_t index, uint64_t term)
{
    uint64_t config_index;
    bool committed;
    if (check) {
        demand(check_raft_persisted(check, raft_id(raft), index, term));
        (void)raft_config(raft, &config_index, &committed);
        demand(check_raft_configured(check, raft_id(raft), config_index));
    }
    __real_raft_persisted(raft, index, term);
}

enum lilio_err __real_coord_replica_new(const struct coord_replica_options *options,
                                        struct coord_replica **ret_replica,
                                        struct lilio_errinfo *info);
enum lilio_err __wrap_coord_replica_new(const struct coord_replica_options *options,
                                        struct coord_replica **ret_replica,
                                        struct lilio_errinfo *info);
enum lilio_err __wrap_coord_replica_new(const struct coord_replica_options *options,
                                        struct coord_replica **ret_replica,
                                        struct lilio_errinfo *info)
{
    enum lilio_err err = __real_coord_replica_new(options, ret_replica, info);
    if (err != LILIO_OK || !check)
        return err;
    struct seat *seat = seat_self();
    demand(check_raft_started(check, seat->member, options->home->vote.term,
                              options->home->vote.vote, seat->damaged));
    seat->replica = *ret_replica;
    seat->home = options->home;
    seat->counted = 0;
    seat->life = sim_node_life(sim_node_self());
    return err;
}

void __real_coord_replica_free(struct coord_replica **replica);
void __wrap_coord_replica_free(struct coord_replica **replica);
void __wrap_coord_replica_free(struct coord_replica **replica)
{
    if (*replica && check)
        seat_self()->replica = NULL;
    __real_coord_replica_free(replica);
}

/* Cluster time never goes back, and never runs ahead of true time by more than the clocks drift. */
static void check_time(uint64_t before_ms, uint64_t after_ms)
{
    enum { DRIFT_PERCENT = 6, SLACK_MS = 1000 };
    static uint64_t first_ms, first_ns;
    if (first_ns == 0) {
        first_ms = after_ms;
        first_ns = sim_now();
    }
    uint64_t true_ms = (sim_now() - first_ns) / SIM_MS;
    if (after_ms < before_ms)
        sim_fail(SIM_WRONG, "cluster time goes back from %llu ms to %llu",
                 (unsigned long long)before_ms, (unsigned long long)after_ms);
    if (after_ms > first_ms + true_ms + true_ms * DRIFT_PERCENT / 100 + SLACK_MS)
        sim_fail(SIM_WRONG, "cluster time went on by %llu ms, true time by %llu",
                 (unsigned long long)(after_ms - first_ms), (unsigned long long)true_ms);
}

static uint64_t digest_of(const struct base_slice *commands, size_t count)
{
    uint64_t h = count;
    for (size_t i = 0; i < count; i++) {
        h = (h ^ commands[i].size) * UINT64_C(0x9e3779b97f4a7c15);
        for (size_t at = 0; at < commands[i].size; at += 8) {
            uint64_t word = 0;
            size_t n = commands[i].size - at < 8 ? commands[i].size - at : 8;
            memcpy(&word, commands[i].data + at, n);
            h = (h ^ word) * UINT64_C(0xbf58476d1ce4e5b9);
            h ^= h >> 29;
        }
    }
    return h;
}

static void applied(uint64_t index, uint64_t term, uint64_t digest)
{
    struct seat *seat = seat_self();
    if (!check || !seat->replica)
        return;
    look(seat);
    demand(check_raft_applied(check, seat->member, index, term, digest));
    if (sim_now() < seat->maps_at)
        return;
    seat->maps_at = sim_now() + MAPS_NS;
    compare_maps(seat);
}

enum lilio_err __real_coord_state_apply(struct coord_state *state, uint64_t index, uint64_t term,
                                        const struct base_slice *commands, size_t count,
                                        struct coord_result *ret_results,
                                        struct lilio_errinfo *info);
enum lilio_err __wrap_coord_state_apply(struct coord_state *state, uint64_t index, uint64_t term,
                                        const struct base_slice *commands, size_t count,
                                        struct coord_result *ret_results,
                                        struct lilio_errinfo *info);
enum lilio_err __wrap_coord_state_apply(struct coord_state *state, uint64_t index, uint64_t term,
                                        const struct base_slice *commands, size_t count,
                                        struct coord_result *ret_results,
                                        struct lilio_errinfo *info)
{
    applied(index, term, digest_of(commands, count));
    uint64_t before_ms = coord_state_row(state)->cluster_ms;
    enum lilio_err err =
        __real_coord_state_apply(state, index, term, commands, count, ret_results, info);
    if (err == LILIO_OK && check)
        check_time(before_ms, coord_state_row(state)->cluster_ms);
    return err;
}
