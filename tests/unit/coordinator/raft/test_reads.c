/* Aim: a read sees everything that was committed before it was asked (chapter 6.4), costs one
 * exchange for all that wait, and every one of them is answered.
 * Method: groups in memory (raft_net.h); each answer is also held against what was committed.
 */
#include "raft_net.h"

#include "base/banned.h"

static struct net net;
static struct net_node *leader, *one, *two;

static int stop(void **unused)
{
    (void)unused;
    assert_string_equal(net.violation, "");
    net_stop(&net);
    return 0;
}

static void start(void)
{
    net_start(&net, 3, 3);
    leader = net_node(&net, net_elect(&net));
    one = net_node(&net, leader->id % 3 + 1);
    two = net_node(&net, one->id % 3 + 1);
    net_run(&net, 100);
}

static void a_leader_asks_a_majority(void **unused)
{
    (void)unused;
    start();
    net.hold = true;
    size_t read = net_read(leader);
    assert_int_equal(net.reads[read].answer, 0);
    net.hold = false;
    net_run(&net, 1);
    assert_int_equal(net.reads[read].answer, 1);
    assert_int_equal(net.reads[read].index, raft_commit(leader->raft));
}

static void many_reads_cost_two_rounds(void **unused)
{
    (void)unused;
    start();
    net.hold = true;
    unsigned sends = leader->sends;
    for (int i = 0; i < 1000; i++)
        assert_int_not_equal(net_read(leader), SIZE_MAX);
    assert_int_equal(leader->sends - sends, 2);
    net.hold = false;
    net_run(&net, 2);
    for (size_t i = net.read_count - 1000; i < net.read_count; i++)
        assert_int_equal(net.reads[i].answer, 1);
    assert_true(leader->sends - sends <= 8);
}

static void what_waits_is_bounded(void **unused)
{
    (void)unused;
    start();
    net.hold = true;
    for (int i = 0; i < RAFT_PENDING_MAX; i++)
        assert_int_not_equal(net_read(leader), SIZE_MAX);
    assert_int_equal(net_read(leader), SIZE_MAX);
    net.hold = false;
    net_run(&net, 2);
    assert_int_not_equal(net_read(leader), SIZE_MAX);
}

/* The others elected another leader and went on; it does not know, and must not answer. */
static void a_deposed_leader_answers_nothing(void **unused)
{
    (void)unused;
    start();
    assert_int_equal(net_transfer(leader, one->id), LILIO_OK);
    net_isolate(&net, leader->id, true);
    for (int i = 0; i < 5; i++)
        net_step(&net, 1);
    assert_true(raft_ready(one->raft));
    assert_int_equal(net_propose(one), LILIO_OK);
    net_run(&net, 5);
    assert_int_equal(raft_role(leader->raft), RAFT_LEADER);
    assert_true(raft_commit(one->raft) > raft_commit(leader->raft));
    size_t read = net_read(leader);
    assert_int_equal(net.reads[read].answer, 0);
    net_run(&net, 400);
    assert_int_equal(net.reads[read].answer, 2);
    assert_int_equal(net_read(leader), SIZE_MAX);
}

/* Not even its own commit index is known to be new before its no-op is committed. */
static void a_new_leader_waits_for_its_noop(void **unused)
{
    (void)unused;
    start();
    assert_int_equal(net_propose(leader), LILIO_OK);
    net_run(&net, 1);
    assert_true(raft_commit(leader->raft) > raft_commit(one->raft));
    assert_int_equal(net_transfer(leader, one->id), LILIO_OK);
    for (int i = 0; i < 20 && raft_role(one->raft) != RAFT_LEADER; i++) {
        net.lazy_disk = true;
        net_step(&net, 1);
    }
    assert_int_equal(raft_role(one->raft), RAFT_LEADER);
    size_t read = net_read(one);
    net_run(&net, 100);
    assert_int_equal(net.reads[read].answer, 0);
    net.lazy_disk = false;
    net_persist(one, SIZE_MAX);
    net_persist(two, SIZE_MAX);
    net_run(&net, 100);
    assert_int_equal(net.reads[read].answer, 1);
    assert_int_equal(net.reads[read].index, raft_commit(one->raft));
}

static void a_follower_asks_the_leader(void **unused)
{
    (void)unused;
    start();
    assert_int_equal(net_propose(leader), LILIO_OK);
    net_run(&net, 1);
    uint64_t commit = raft_commit(leader->raft);
    assert_true(raft_commit(one->raft) < commit);
    size_t first = net_read(one), second = net_read(one);
    net_run(&net, 3);
    assert_int_equal(net.reads[first].answer, 1);
    assert_int_equal(net.reads[second].answer, 1);
    assert_int_equal(net.reads[first].index, commit);
    /* The answer brings the commit index along. */
    assert_int_equal(one->state.applied, commit);
}

static void a_lost_question_is_asked_again(void **unused)
{
    (void)unused;
    start();
    size_t read = net_read(one);
    net_forget(&net);
    net_run(&net, 40);
    assert_int_equal(net.reads[read].answer, 0);
    net_run(&net, 60);
    assert_int_equal(net.reads[read].answer, 1);
}

/* An answer that was on its way when the follower crashed does not fit a question of now. */
static void an_answer_from_before_a_restart_is_ignored(void **unused)
{
    (void)unused;
    start();
    (void)net_read(one);
    struct raft_message old = {0};
    for (int i = 0; i < 10 && !net_take(&net, RAFT_READ_REPLY, leader->id, one->id, &old); i++) {
        net.hold = false;
        net_step(&net, 1);
        net.hold = true;
    }
    net.hold = false;
    if (!old.type) /* it came at once: the same batch again */
        old = (struct raft_message){
            .type = RAFT_READ_REPLY, .from = leader->id, .sequence = 1, .ok = true};
    net_restart(one);
    net_run(&net, 100);
    assert_int_equal(net_propose(leader), LILIO_OK);
    net_run(&net, 1);
    net.hold = true;
    size_t read = net_read(one);
    old.term = raft_term(one->raft);
    old.to = one->id;
    assert_true(net_receive(one, old));
    assert_int_equal(net.reads[read].answer, 0);
    net.hold = false;
    net_run(&net, 100);
    assert_int_equal(net.reads[read].answer, 1);
}

static void a_follower_that_loses_its_leader_refuses(void **unused)
{
    (void)unused;
    start();
    net_isolate(&net, one->id, true);
    size_t read = net_read(one);
    net_run(&net, 700);
    assert_int_equal(net.reads[read].answer, 2);
    assert_int_equal(net_read(one), SIZE_MAX);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, stop)
    const struct CMUnitTest tests[] = {
        TEST(a_leader_asks_a_majority),
        TEST(many_reads_cost_two_rounds),
        TEST(what_waits_is_bounded),
        TEST(a_deposed_leader_answers_nothing),
        TEST(a_new_leader_waits_for_its_noop),
        TEST(a_follower_asks_the_leader),
        TEST(a_lost_question_is_asked_again),
        TEST(an_answer_from_before_a_restart_is_ignored),
        TEST(a_follower_that_loses_its_leader_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
