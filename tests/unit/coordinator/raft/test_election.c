/* Aim: who leads, and who does not disturb (chapters 3.4, 3.6, 3.10, 4.2.3, 6.2, 9.6): votes,
 * pre-votes, check-quorum, transfer, one voter alone, a failed disk.
 * Method: groups in memory (raft_net.h), or one node among members that only the test plays.
 */
#include "raft_net.h"

#include "base/banned.h"

static struct net net;

static int stop(void **unused)
{
    (void)unused;
    assert_string_equal(net.violation, "");
    net_stop(&net);
    return 0;
}

/* Node 1 of three; the others are the test. Answers its pre-vote and its vote: it leads. */
static struct net_node *alone(void)
{
    net_start(&net, 3, 7);
    net_crash(net_node(&net, 2), 0);
    net_crash(net_node(&net, 3), 0);
    return net_node(&net, 1);
}

static void wait_for(enum raft_message_type type, struct raft_message *ret)
{
    for (int i = 0; i < 2000; i++) {
        if (net_take(&net, type, 1, 2, ret))
            return;
        net_step(&net, 1);
    }
    fail();
}

static void make_leader(struct net_node *node)
{
    struct raft_message m;
    net.hold = true;
    wait_for(RAFT_PRE_VOTE, &m);
    assert_true(net_receive(
        node,
        (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .from = 2, .term = m.term, .ok = true}));
    wait_for(RAFT_VOTE, &m);
    assert_true(net_receive(
        node,
        (struct raft_message){.type = RAFT_VOTE_REPLY, .from = 2, .term = m.term, .ok = true}));
    assert_int_equal(raft_role(node->raft), RAFT_LEADER);
}

static void one_voter_leads_at_once(void **unused)
{
    (void)unused;
    net_start(&net, 1, 1);
    net.lazy_disk = true;
    struct net_node *node = net_node(&net, 1);
    for (int i = 0; i < 700 && raft_role(node->raft) != RAFT_LEADER; i++)
        net_step(&net, 1);
    assert_int_equal(raft_role(node->raft), RAFT_LEADER);
    assert_int_equal(node->saved.term, 1);
    assert_int_equal(node->saved.vote, 1);
    assert_int_equal(raft_commit(node->raft), 0);
    assert_false(raft_ready(node->raft));
    size_t early = net_read(node);
    assert_int_equal(net.reads[early].answer, 0);
    net_persist(node, 1);
    assert_true(raft_ready(node->raft));
    assert_int_equal(node->state.applied, 1);
    assert_int_equal(net.reads[early].answer, 1);
    assert_int_equal(net_propose(node), LILIO_OK);
    assert_int_equal(raft_commit(node->raft), 1);
    net_persist(node, 1);
    assert_int_equal(raft_commit(node->raft), 2);
    size_t read = net_read(node);
    assert_int_equal(net.reads[read].answer, 1);
    assert_int_equal(net.reads[read].index, 2);
    assert_int_equal(net.message_count, 0);
}

static void three_agree_on_one(void **unused)
{
    (void)unused;
    net_start(&net, 3, 1);
    uint64_t leader = net_elect(&net);
    assert_int_not_equal(leader, 0);
    uint64_t term = raft_term(net_node(&net, leader)->raft);
    net_run(&net, 5000);
    assert_int_equal(net_leader(&net), leader);
    assert_int_equal(raft_term(net_node(&net, leader)->raft), term);
    assert_int_equal(net.elections, 1);
}

static void a_dead_leader_is_replaced_within_a_second(void **unused)
{
    (void)unused;
    net_start(&net, 3, 5);
    uint64_t old = net_elect(&net);
    net_crash(net_node(&net, old), 0);
    uint64_t since = net.now_ms, leader = net_elect(&net);
    assert_int_not_equal(leader, 0);
    assert_int_not_equal(leader, old);
    assert_true(net.now_ms - since <= 1000);
}

/* A member that was cut off asks first, so it comes back without a higher term. */
static void who_was_cut_off_does_not_disturb(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    uint64_t leader = net_elect(&net), other = leader % 3 + 1;
    uint64_t term = raft_term(net_node(&net, leader)->raft);
    net_isolate(&net, other, true);
    net_run(&net, 5000);
    assert_int_equal(raft_role(net_node(&net, other)->raft), RAFT_CANDIDATE);
    assert_int_equal(raft_term(net_node(&net, other)->raft), term);
    net_isolate(&net, other, false);
    net_run(&net, 2000);
    assert_int_equal(net_leader(&net), leader);
    assert_int_equal(raft_term(net_node(&net, leader)->raft), term);
    assert_int_equal(raft_leader(net_node(&net, other)->raft), leader);
}

static void a_leader_without_quorum_steps_down(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    uint64_t leader = net_elect(&net);
    net_isolate(&net, leader, true);
    net_run(&net, 360);
    assert_int_not_equal(raft_role(net_node(&net, leader)->raft), RAFT_LEADER);
    assert_int_equal(raft_leader(net_node(&net, leader)->raft), 0);
}

/* It hears nobody, so it must not keep the others from electing another one. */
static void a_leader_that_only_sends_is_replaced(void **unused)
{
    (void)unused;
    net_start(&net, 3, 9);
    uint64_t old = net_elect(&net);
    for (uint64_t other = 1; other <= 3; other++)
        net.cut[other][old] = true;
    uint64_t leader = old;
    for (int i = 0; i < 3000 && (!leader || leader == old); i++) {
        net_step(&net, 1);
        leader = net_leader(&net);
    }
    assert_int_not_equal(leader, 0);
}

static void a_follower_of_a_leader_refuses_votes(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    net.hold = true;
    struct raft_message m, hello = {.type = RAFT_APPEND, .from = 2, .term = 3};
    assert_true(net_receive(node, hello));
    assert_int_equal(raft_leader(node->raft), 2);
    struct raft_message vote = {.type = RAFT_VOTE, .from = 3, .term = 9, .index = 5, .log_term = 3};
    assert_true(net_receive(node, vote));
    assert_int_equal(raft_term(node->raft), 3);
    assert_false(net_take(&net, RAFT_VOTE_REPLY, 1, 3, &m));
    vote.type = RAFT_PRE_VOTE;
    assert_true(net_receive(node, vote));
    assert_true(net_take(&net, RAFT_PRE_VOTE_REPLY, 1, 3, &m));
    assert_false(m.ok);
    /* Unless the leader itself wants it so. */
    vote.type = RAFT_VOTE;
    vote.transfer = true;
    assert_true(net_receive(node, vote));
    assert_true(net_take(&net, RAFT_VOTE_REPLY, 1, 3, &m));
    assert_true(m.ok);
    assert_int_equal(node->saved.term, 9);
    assert_int_equal(node->saved.vote, 3);
}

/* It may be a member of a configuration that is still to come, so it is heard without a leader. */
static void a_stranger_is_not_heard_beside_a_leader(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    net.hold = true;
    struct raft_entry entry[] = {{1, 9, RAFT_ENTRY_NOOP, {0}}};
    const struct raft_message hello = {.type = RAFT_APPEND, .from = 2, .term = 3};
    const struct raft_message strange[] = {
        {.type = RAFT_VOTE, .from = 8, .term = 9, .index = 5, .log_term = 8, .transfer = true},
        {.type = RAFT_APPEND, .from = 8, .term = 9, .entries = entry, .count = 1, .commit = 1},
        {.type = RAFT_SNAPSHOT, .from = 8, .term = 9, .index = 7, .log_term = 8},
        {.type = RAFT_PRE_VOTE, .from = 8, .term = 9, .index = 5, .log_term = 8},
    };
    const size_t count = sizeof strange / sizeof *strange;
    assert_true(net_receive(node, hello));
    for (size_t i = 0; i < count; i++)
        assert_false(net_receive(node, strange[i]));
    assert_int_equal(raft_term(node->raft), 3);
    assert_int_equal(raft_leader(node->raft), 2);
    assert_int_equal(raft_commit(node->raft), 0);
    net_step(&net, 300);
    assert_true(net_receive(node, strange[1]));
    assert_int_equal(raft_leader(node->raft), 8);
    assert_int_equal(raft_commit(node->raft), 1);
    assert_true(net_receive(node, strange[1])); /* now it is the one that is heard */
    /* A leader hears none either. */
    net_stop(&net);
    node = alone();
    make_leader(node);
    uint64_t term = raft_term(node->raft);
    for (size_t i = 0; i < count; i++)
        assert_false(net_receive(node, strange[i]));
    assert_int_equal(raft_role(node->raft), RAFT_LEADER);
    assert_int_equal(raft_term(node->raft), term);
}

/* Who is no member may raise the term by little, and by nothing beside a leader. */
static void a_stranger_raises_terms_by_little(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    net.hold = true;
    net_step(&net, 300);
    struct raft_message vote = {
        .type = RAFT_VOTE, .from = 8, .term = raft_term(node->raft) + 65537};
    assert_false(net_receive(node, vote));
    assert_int_equal(raft_term(node->raft), vote.term - 65537);
    vote.term--;
    assert_true(net_receive(node, vote));
    assert_int_equal(raft_term(node->raft), vote.term);
}

/* However far forged messages took the terms of members apart, they elect somebody; and one that
 * knows of no term yet gets to theirs. */
static void members_find_together_from_any_terms(void **unused)
{
    (void)unused;
    const uint64_t far = (UINT64_C(1) << 32) - 50;
    const uint64_t terms[][3] = {{28, 2 * far, 5 * far}, {1, 1, 30 * far}, {9 * far, 0, 0}};
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++) {
        if (i > 0)
            net_stop(&net);
        net_start(&net, 3, 7 + i);
        net.far_terms = true;
        assert_int_not_equal(net_elect(&net), 0);
        for (uint64_t id = 1; id <= 3; id++) {
            net_crash(net_node(&net, id), 0);
            net_node(&net, id)->saved.term += terms[i][id - 1];
            net_node(&net, id)->saved.vote = 0;
        }
        for (uint64_t id = 1; id <= 3; id++)
            net_restart(net_node(&net, id));
        assert_int_not_equal(net_elect(&net), 0);
    }
}

static void a_vote_is_given_once_and_survives(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    net.hold = true;
    struct raft_message m, vote = {.type = RAFT_VOTE, .from = 2, .term = 4};
    assert_true(net_receive(node, vote));
    assert_true(net_take(&net, RAFT_VOTE_REPLY, 1, 2, &m));
    assert_true(m.ok);
    net_restart(node);
    net_announce(node);
    vote.from = 3;
    assert_true(net_receive(node, vote));
    assert_true(net_take(&net, RAFT_VOTE_REPLY, 1, 3, &m));
    assert_false(m.ok);
    vote.from = 2;
    assert_true(net_receive(node, vote));
    assert_true(net_take(&net, RAFT_VOTE_REPLY, 1, 2, &m));
    assert_true(m.ok);
}

static void an_older_log_gets_no_vote(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    net.hold = true;
    struct raft_entry entries[] = {{1, 1, RAFT_ENTRY_NOOP, {0}}, {2, 3, RAFT_ENTRY_NOOP, {0}}};
    struct raft_message m,
        append = {.type = RAFT_APPEND, .from = 2, .term = 3, .entries = entries, .count = 2};
    assert_true(net_receive(node, append));
    net_step(&net, 299);
    net_forget(&net);
    net_step(&net, 1);
    struct raft_message vote = {.type = RAFT_VOTE, .from = 3, .term = 4, .index = 9, .log_term = 2};
    assert_true(net_receive(node, vote));
    assert_true(net_take(&net, RAFT_VOTE_REPLY, 1, 3, &m));
    assert_false(m.ok);
    vote.index = 1;
    vote.log_term = 3;
    assert_true(net_receive(node, vote));
    assert_true(net_take(&net, RAFT_VOTE_REPLY, 1, 3, &m));
    assert_false(m.ok);
    vote.index = 2;
    assert_true(net_receive(node, vote));
    assert_true(net_take(&net, RAFT_VOTE_REPLY, 1, 3, &m));
    assert_true(m.ok);
}

/* Replies of another role or an earlier term change nothing. */
static void late_replies_are_ignored(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    make_leader(node);
    uint64_t term = raft_term(node->raft);
    struct raft_message late = {.type = RAFT_VOTE_REPLY, .from = 3, .term = term, .ok = true};
    assert_true(net_receive(node, late));
    assert_true(
        net_receive(node, (struct raft_message){.type = RAFT_APPEND, .from = 2, .term = term + 1}));
    assert_int_equal(raft_role(node->raft), RAFT_FOLLOWER);
    assert_true(net_receive(
        node, (struct raft_message){
                  .type = RAFT_APPEND_REPLY, .from = 3, .term = term, .index = 1, .ok = true}));
    assert_true(net_receive(node, late));
    assert_int_equal(raft_role(node->raft), RAFT_FOLLOWER);
    assert_int_equal(raft_commit(node->raft), 0);
}

static void nonsense_is_refused(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    make_leader(node);
    uint64_t term = raft_term(node->raft);
    struct raft_entry gap[] = {{2, 1, RAFT_ENTRY_NOOP, {0}}, {4, 1, RAFT_ENTRY_NOOP, {0}}};
    struct raft_entry back[] = {{2, 5, RAFT_ENTRY_NOOP, {0}}, {3, 4, RAFT_ENTRY_NOOP, {0}}};
    struct raft_entry config[] = {{2, 5, RAFT_ENTRY_CONFIG, {(const uint8_t *)"?", 1}}};
    struct raft_entry type[] = {{2, 5, 99, {0}}};
    const struct raft_message bad[] = {
        {.type = 77, .from = 2, .term = 9},
        {.type = RAFT_APPEND, .from = 2, .to = 3, .term = 9},
        {.type = RAFT_APPEND, .from = 1, .term = 9},
        {.type = RAFT_APPEND, .from = 2, .term = UINT64_MAX},
        {.type = RAFT_APPEND, .from = 2, .term = 9, .index = UINT64_MAX},
        {.type = RAFT_APPEND, .from = 2, .term = term}, /* another leader of our term */
        {.type = RAFT_APPEND, .from = 2, .term = 9, .index = 1, .entries = gap, .count = 2},
        {.type = RAFT_APPEND, .from = 2, .term = 9, .index = 1, .entries = back, .count = 2},
        {.type = RAFT_APPEND, .from = 2, .term = 9, .index = 1, .entries = config, .count = 1},
        {.type = RAFT_APPEND, .from = 2, .term = 9, .index = 1, .entries = type, .count = 1},
        {.type = RAFT_APPEND, .from = 2, .term = 4, .index = 1, .entries = type, .count = 1},
        {.type = RAFT_VOTE, .from = 2, .term = 9, .entries = gap, .count = 2},
        {.type = RAFT_APPEND_REPLY, .from = 2, .term = term, .index = 99, .ok = true},
        {.type = RAFT_APPEND_REPLY, .from = 8, .term = 99},
        {.type = RAFT_VOTE_REPLY, .from = 8, .term = 99},
        {.type = RAFT_READ, .from = 8, .term = 99},
        {.type = RAFT_VOTE, .from = 2, .term = (uint64_t)1 << 61, .index = 99, .transfer = true},
        {.type = RAFT_APPEND, .from = 2, .term = (uint64_t)1 << 61},
        {.type = RAFT_APPEND_REPLY, .from = 2, .term = (uint64_t)1 << 61},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(net_receive(node, bad[i]));
    assert_int_equal(raft_term(node->raft), term);
    assert_int_equal(raft_role(node->raft), RAFT_LEADER);
    assert_int_equal(raft_commit(node->raft), 0);
}

static void leadership_is_handed_over(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    uint64_t leader = net_elect(&net), to = leader % 3 + 1;
    struct net_node *node = net_node(&net, leader);
    assert_int_equal(net_transfer(net_node(&net, to), to), LILIO_E_NOT_LEADER);
    assert_int_equal(net_transfer(node, 9), LILIO_E_NOT_FOUND);
    assert_int_equal(net_transfer(node, leader), LILIO_OK);
    assert_int_equal(net_propose(node), LILIO_OK);
    assert_int_equal(net_transfer(node, to), LILIO_OK);
    assert_int_equal(net_transfer(node, to), LILIO_E_BUSY);
    assert_int_equal(net_propose(node), LILIO_E_BUSY);
    net_run(&net, 20);
    assert_int_equal(net_leader(&net), to);
    assert_true(raft_ready(net_node(&net, to)->raft));
}

static void a_transfer_to_the_dead_is_given_up(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    uint64_t leader = net_elect(&net), to = leader % 3 + 1;
    struct net_node *node = net_node(&net, leader);
    net_crash(net_node(&net, to), 0);
    assert_int_equal(net_propose(node), LILIO_OK);
    assert_int_equal(net_transfer(node, to), LILIO_OK);
    net_run(&net, 250);
    assert_int_equal(net_propose(node), LILIO_E_BUSY);
    net_run(&net, 60);
    assert_int_equal(net_leader(&net), leader);
    assert_int_equal(net_propose(node), LILIO_OK);
    /* Asked once more, nothing waits for it any more; and it is nobody's heir by itself. */
    assert_int_equal(net_transfer(node, to), LILIO_E_PRECONDITION);
    assert_int_equal(net_propose(node), LILIO_OK);
    net_run(&net, 20);
    assert_int_equal(net_transfer(node, 0), LILIO_OK);
    net_run(&net, 20);
    assert_int_equal(net_leader(&net), to % 3 + 1);
}

static void the_dead_is_no_heir(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    uint64_t leader = net_elect(&net);
    for (uint64_t id = 1; id <= 3; id++) { /* both are as far as the leader */
        if (id == leader)
            continue;
        net_run(&net, 200);
        net_crash(net_node(&net, id), 0);
        net_run(&net, 310);
        assert_int_equal(net_transfer(net_node(&net, leader), 0), LILIO_OK);
        net_run(&net, 100);
        assert_int_equal(net_leader(&net), 6 - leader - id);
        net_restart(net_node(&net, id));
        net_run(&net, 200);
        assert_int_equal(net_transfer(net_node(&net, 6 - leader - id), leader), LILIO_OK);
        net_run(&net, 100);
        assert_int_equal(net_leader(&net), leader);
    }
}

static void a_failed_disk_ends_it(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    uint64_t leader = net_elect(&net);
    struct net_node *node = net_node(&net, leader);
    net.hold = true;
    size_t read = net_read(node);
    node->log_error = LILIO_E_IO;
    assert_int_equal(net_propose(node), LILIO_OK);
    assert_int_equal(raft_role(node->raft), RAFT_FOLLOWER);
    assert_int_equal(net.reads[read].answer, 2);
    unsigned sends = node->sends;
    assert_int_equal(net_propose(node), LILIO_E_NOT_LEADER);
    assert_int_equal(net_read(node), SIZE_MAX);
    assert_false(net_receive(
        node, (struct raft_message){.type = RAFT_VOTE, .from = leader % 3 + 1, .term = 99}));
    net.hold = false;
    net_run(&net, 2000);
    assert_int_equal(node->sends, sends);
    assert_int_not_equal(net_leader(&net), leader);
    assert_int_not_equal(net_leader(&net), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, stop)
    const struct CMUnitTest tests[] = {
        TEST(one_voter_leads_at_once),
        TEST(three_agree_on_one),
        TEST(a_dead_leader_is_replaced_within_a_second),
        TEST(who_was_cut_off_does_not_disturb),
        TEST(a_leader_without_quorum_steps_down),
        TEST(a_leader_that_only_sends_is_replaced),
        TEST(a_follower_of_a_leader_refuses_votes),
        TEST(a_stranger_is_not_heard_beside_a_leader),
        TEST(a_stranger_raises_terms_by_little),
        TEST(members_find_together_from_any_terms),
        TEST(a_vote_is_given_once_and_survives),
        TEST(an_older_log_gets_no_vote),
        TEST(late_replies_are_ignored),
        TEST(nonsense_is_refused),
        TEST(leadership_is_handed_over),
        TEST(a_transfer_to_the_dead_is_given_up),
        TEST(the_dead_is_no_heir),
        TEST(a_failed_disk_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
