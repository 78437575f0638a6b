/* Aim: members change one at a time, and a configuration that was never committed goes away as it
 * came, also after a restart and when its predecessor was cut off long ago (chapter 4; B5).
 * Method: groups in memory (raft_net.h); the fixture also compares each node's configuration with
 * its log after every event.
 */
#include "raft_net.h"

#include "base/banned.h"

static struct net net;
static struct net_node *leader;

static int stop(void **unused)
{
    (void)unused;
    assert_string_equal(net.violation, "");
    net_stop(&net);
    return 0;
}

static void start(size_t voters)
{
    net_start(&net, voters, 3);
    leader = net_node(&net, net_elect(&net));
    net_run(&net, 100);
}

static size_t members(const struct net_node *node, bool *ret_committed)
{
    return raft_config(node->raft, NULL, ret_committed)->members_count;
}

static void add_voter(uint64_t id)
{
    net_start_blank(&net, id);
    assert_int_equal(net_change(leader, RAFT_ADD_LEARNER, id), LILIO_OK);
    net_run(&net, 200);
    assert_int_equal(net_change(leader, RAFT_PROMOTE, id), LILIO_OK);
    net_run(&net, 200);
}

static void a_learner_catches_up_and_votes(void **unused)
{
    (void)unused;
    start(1);
    for (int i = 0; i < 700; i++)
        assert_int_equal(net_propose(leader), LILIO_OK);
    net_flush(leader);
    net_cut_log(leader, 500);
    assert_int_equal(net_change(leader, RAFT_PROMOTE, 2), LILIO_E_NOT_FOUND);
    assert_int_equal(net_change(leader, RAFT_ADD_LEARNER, 2), LILIO_OK);
    assert_int_equal(net_change(leader, RAFT_PROMOTE, 2), LILIO_E_INVALID);
    /* A learner is not counted: this commits without it. */
    assert_int_equal(net_propose(leader), LILIO_OK);
    assert_int_equal(raft_commit(leader->raft), net_log_last(&leader->log));
    net_start_blank(&net, 2);
    net_run(&net, 500);
    assert_int_equal(net.snapshots, 1);
    assert_int_equal(net_node(&net, 2)->state.applied, leader->state.applied);
    assert_int_equal(net_change(leader, RAFT_ADD_LEARNER, 2), LILIO_E_EXISTS);
    assert_int_equal(net_change(leader, RAFT_PROMOTE, 2), LILIO_OK);
    net_run(&net, 100);
    assert_int_equal(net_change(leader, RAFT_PROMOTE, 2), LILIO_E_EXISTS);
    /* Now it is counted. */
    net_crash(net_node(&net, 2), 0);
    assert_int_equal(net_propose(leader), LILIO_OK);
    assert_true(raft_commit(leader->raft) < net_log_last(&leader->log));
}

static void one_change_at_a_time(void **unused)
{
    (void)unused;
    start(3);
    net.hold = true;
    assert_int_equal(net_change(leader, RAFT_ADD_LEARNER, 4), LILIO_OK);
    assert_int_equal(net_change(leader, RAFT_ADD_LEARNER, 5), LILIO_E_BUSY);
    net.hold = false;
    net_run(&net, 5);
    assert_int_equal(net_change(leader, RAFT_REMOVE, 9), LILIO_E_NOT_FOUND);
    assert_int_equal(net_change(net_node(&net, leader->id % 3 + 1), RAFT_REMOVE, 4),
                     LILIO_E_NOT_LEADER);
    for (uint64_t id = 5; id <= RAFT_MEMBERS_MAX; id++) {
        assert_int_equal(net_change(leader, RAFT_ADD_LEARNER, id), LILIO_OK);
        net_run(&net, 5);
    }
    assert_int_equal(net_change(leader, RAFT_ADD_LEARNER, 10), LILIO_E_INVALID);
    assert_int_equal(members(leader, NULL), RAFT_MEMBERS_MAX);
}

/* Not before the no-op: the configuration before it may be undecided. */
static void a_new_leader_changes_nothing_yet(void **unused)
{
    (void)unused;
    start(3);
    struct net_node *next = net_node(&net, leader->id % 3 + 1);
    net.lazy_disk = true;
    assert_int_equal(net_transfer(leader, next->id), LILIO_OK);
    net_run(&net, 20);
    assert_int_equal(raft_role(next->raft), RAFT_LEADER);
    assert_int_equal(net_change(next, RAFT_ADD_LEARNER, 4), LILIO_E_BUSY);
    for (uint64_t id = 1; id <= 3; id++)
        net_persist(net_node(&net, id), SIZE_MAX);
    net_run(&net, 20);
    assert_int_equal(net_change(next, RAFT_ADD_LEARNER, 4), LILIO_OK);
}

static void the_last_voter_stays(void **unused)
{
    (void)unused;
    start(1);
    assert_int_equal(net_change(leader, RAFT_REMOVE, 1), LILIO_E_INVALID);
    assert_int_equal(net_change(leader, RAFT_ADD_LEARNER, 2), LILIO_OK);
    assert_int_equal(net_change(leader, RAFT_REMOVE, 1), LILIO_E_INVALID);
}

/* It would count at once, and could be neither committed nor taken back. */
static void no_change_takes_the_majority_away(void **unused)
{
    (void)unused;
    start(3);
    uint64_t dead = leader->id % 3 + 1, other = dead % 3 + 1;
    net_crash(net_node(&net, dead), 0);
    net_run(&net, 1000);
    assert_int_equal(net_change(leader, RAFT_REMOVE, other), LILIO_E_PRECONDITION);
    assert_int_equal(net_change(leader, RAFT_REMOVE, leader->id), LILIO_E_PRECONDITION);
    assert_int_equal(members(leader, NULL), 3);
    /* A new leader has heard nobody but those who made it ready; it waits before it says no. */
    struct net_node *old = leader;
    assert_int_equal(net_transfer(old, other), LILIO_OK);
    for (int i = 0; i < 1000 && !raft_ready(net_node(&net, other)->raft); i++)
        net_step(&net, 1);
    leader = net_node(&net, other);
    struct raft_progress progress;
    assert_true(raft_progress_get(leader->raft, dead, &progress));
    assert_false(progress.heard);
    assert_int_equal(net_change(leader, RAFT_REMOVE, old->id), LILIO_E_BUSY);
    net_run(&net, 1000);
    assert_int_equal(net_change(leader, RAFT_REMOVE, old->id), LILIO_E_PRECONDITION);
    assert_int_equal(net_change(leader, RAFT_REMOVE, dead), LILIO_OK);
    net_run(&net, 100);
    assert_int_equal(net_propose(leader), LILIO_OK);
    net_run(&net, 100);
    assert_int_equal(raft_commit(leader->raft), net_log_last(&leader->log));
}

/* One whose start is not announced promises nothing yet. */
static void who_does_not_count_makes_no_majority(void **unused)
{
    (void)unused;
    start(3);
    uint64_t back = leader->id % 3 + 1, other = back % 3 + 1;
    net_crash(net_node(&net, back), 0);
    net_restart(net_node(&net, back));
    struct raft_message reply = {.type = RAFT_APPEND_REPLY,
                                 .from = back,
                                 .term = raft_term(leader->raft),
                                 .uncounted = true};
    assert_true(net_receive(leader, reply));
    assert_int_equal(net_change(leader, RAFT_REMOVE, other), LILIO_E_PRECONDITION);
}

static void a_group_grows_and_moves(void **unused)
{
    (void)unused;
    start(1);
    add_voter(2);
    add_voter(3);
    for (int i = 0; i < 20; i++)
        assert_int_equal(net_propose(leader), LILIO_OK);
    net_crash(net_node(&net, 2), 0);
    assert_int_equal(net_propose(leader), LILIO_OK);
    net_run(&net, 100);
    assert_int_equal(raft_commit(leader->raft), net_log_last(&leader->log));
    net_restart(net_node(&net, 2));
    net_run(&net, 200);
    assert_int_equal(net_node(&net, 2)->state.applied, leader->state.applied);
}

/* It leads until its removal is committed, does not count itself, and hands over. */
static void a_leader_removes_itself(void **unused)
{
    (void)unused;
    start(3);
    struct net_node *old = leader;
    net.hold = true;
    assert_int_equal(net_change(old, RAFT_REMOVE, old->id), LILIO_OK);
    assert_int_equal(raft_role(old->raft), RAFT_LEADER);
    assert_int_equal(net_propose(old), LILIO_OK);
    net.hold = false;
    net_run(&net, 50);
    leader = net_node(&net, net_elect(&net));
    assert_int_not_equal(leader->id, old->id);
    assert_int_equal(members(leader, NULL), 2);
    /* It does not come back, and does not disturb. */
    uint64_t term = raft_term(leader->raft);
    net_run(&net, 3000);
    assert_int_equal(raft_term(leader->raft), term);
    assert_int_equal(raft_role(old->raft), RAFT_FOLLOWER);
}

/* It was not told that it was removed, so it asks and asks. */
static void a_removed_member_does_not_disturb(void **unused)
{
    (void)unused;
    start(3);
    struct net_node *gone = net_node(&net, leader->id % 3 + 1);
    net_isolate(&net, gone->id, true);
    assert_int_equal(net_change(leader, RAFT_REMOVE, gone->id), LILIO_OK);
    net_run(&net, 100);
    net_isolate(&net, gone->id, false);
    uint64_t term = raft_term(leader->raft);
    net_run(&net, 5000);
    assert_int_equal(net_leader(&net), leader->id);
    assert_int_equal(raft_term(leader->raft), term);
    assert_int_equal(raft_role(gone->raft), RAFT_CANDIDATE);
}

/* A round of reads that only the removed voter had not answered is complete without it. */
static void reads_do_not_wait_for_who_was_removed(void **unused)
{
    (void)unused;
    start(4);
    uint64_t gone[2] = {leader->id % 4 + 1, (leader->id + 1) % 4 + 1};
    net_isolate(&net, gone[0], true);
    net_isolate(&net, gone[1], true);
    size_t read = net_read(leader);
    net_run(&net, 100);
    assert_int_equal(net.reads[read].answer, 0);
    assert_int_equal(net_change(leader, RAFT_REMOVE, gone[0]), LILIO_OK);
    assert_int_equal(net.reads[read].answer, 1);
    size_t later = net_read(leader);
    net_run(&net, 100);
    assert_int_equal(net.reads[later].answer, 1);
}

/* A leader is cut off with a configuration of its own; another one replaces that entry (B5). */
static void roll_back(bool restart, bool compacted)
{
    start(3);
    struct net_node *old = leader;
    assert_int_equal(net_propose(old), LILIO_OK);
    net_run(&net, 100);
    net_isolate(&net, old->id, true);
    net_forget(&net);
    assert_int_equal(net_change(old, RAFT_ADD_LEARNER, 4), LILIO_OK);
    bool committed = true;
    assert_int_equal(members(old, &committed), 4);
    assert_false(committed);
    if (compacted) {
        net_flush(old);
        net_cut_log(old, old->state.applied);
        assert_int_equal(old->log.count, 1);
    }
    if (restart) {
        net_restart(old);
        assert_int_equal(members(old, &committed), 4);
        assert_false(committed);
    }
    net_run(&net, 1500);
    leader = net_node(&net, net_elect(&net));
    assert_int_not_equal(leader->id, old->id);
    net_isolate(&net, old->id, false);
    unsigned learns = old->learns;
    net_run(&net, 1500);
    assert_int_equal(members(old, &committed), 3);
    assert_true(committed);
    assert_true(old->learns > learns);
    assert_int_equal(old->state.applied, leader->state.applied);
    assert_true(net.truncations >= 1);
}

static void a_configuration_is_rolled_back(void **unused)
{
    (void)unused;
    roll_back(false, false);
}

static void a_configuration_is_rolled_back_after_a_restart(void **unused)
{
    (void)unused;
    roll_back(true, false);
}

static void a_configuration_is_rolled_back_below_a_cut_log(void **unused)
{
    (void)unused;
    roll_back(true, true);
}

/* The configuration is in the log of all, none was told that it is committed, all restart. */
static void a_configuration_is_found_again(void **unused)
{
    (void)unused;
    start(3);
    assert_int_equal(net_change(leader, RAFT_ADD_LEARNER, 4), LILIO_OK);
    net_step(&net, 1);
    for (uint64_t id = 1; id <= 3; id++)
        net_restart(net_node(&net, id));
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(members(net_node(&net, id), NULL), 4);
    leader = net_node(&net, net_elect(&net));
    bool committed = false;
    assert_int_equal(members(leader, &committed), 4);
    assert_true(committed);
}

/* A state brings the configuration of its index along, not the leader's newest. */
static void a_state_brings_its_configuration(void **unused)
{
    (void)unused;
    start(3);
    struct net_node *late = net_node(&net, leader->id % 3 + 1);
    net_crash(late, 0);
    assert_int_equal(net_change(leader, RAFT_ADD_LEARNER, 4), LILIO_OK);
    net_run(&net, 100);
    net_flush(leader);
    net_cut_log(leader, leader->state.applied);
    net_restart(late);
    assert_int_equal(members(late, NULL), 3);
    for (int i = 0; i < 2000 && !net.snapshots; i++)
        net_step(&net, 1);
    assert_int_equal(net.snapshots, 1);
    assert_int_equal(members(late, NULL), 4);
    net_restart(late);
    assert_int_equal(members(late, NULL), 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, stop)
    const struct CMUnitTest tests[] = {
        TEST(a_learner_catches_up_and_votes),
        TEST(one_change_at_a_time),
        TEST(a_new_leader_changes_nothing_yet),
        TEST(the_last_voter_stays),
        TEST(no_change_takes_the_majority_away),
        TEST(who_does_not_count_makes_no_majority),
        TEST(a_group_grows_and_moves),
        TEST(a_leader_removes_itself),
        TEST(a_removed_member_does_not_disturb),
        TEST(reads_do_not_wait_for_who_was_removed),
        TEST(a_configuration_is_rolled_back),
        TEST(a_configuration_is_rolled_back_after_a_restart),
        TEST(a_configuration_is_rolled_back_below_a_cut_log),
        TEST(a_configuration_is_found_again),
        TEST(a_state_brings_its_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
