/* Aim: holes in starts. Method: as test_starts.c. */
#include "raft_net.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

static struct net net;
#ifndef SEED
#define SEED 9
#endif
static struct net_copy old;

static int stop(void **unused)
{
    (void)unused;
    printf("violation: '%s'\n", net.violation);
    bool bad = net.violation[0];
    net_copy_free(&old);
    net_stop(&net);
    return bad;
}
static bool announced(uint64_t id)
{
    return raft_announced(net_node(&net, id)->raft);
}
static void change(enum raft_change how, uint64_t id)
{
    int err = LILIO_E_BUSY;
    for (int i = 0; i < 20 && err; i++) {
        err = net_change(net_node(&net, net_elect(&net)), how, id);
        net_run(&net, 300);
    }
    assert_int_equal(err, LILIO_OK);
}
static void leader_is_not(uint64_t id, uint64_t to)
{
    if (net_elect(&net) == id) {
        assert_int_equal(net_transfer(net_node(&net, id), to), LILIO_OK);
        net_run(&net, 500);
    }
    assert_int_not_equal(net_elect(&net), id);
}

/* A: 5 -> 3 while 1 is down; then 3 dies; 1 returns: {1,2} of {1,2,3}. */
static void shrunk_while_away(void **unused)
{
    (void)unused;
    net_start(&net, 5, 5);
    leader_is_not(1, 2);
    net_crash(net_node(&net, 1), 0);
    leader_is_not(4, 2);
    leader_is_not(5, 2);
    change(RAFT_REMOVE, 5);
    net_crash(net_node(&net, 5), 0);
    change(RAFT_REMOVE, 4);
    net_crash(net_node(&net, 4), 0);
    net_run(&net, 300);
    net_crash(net_node(&net, 3), 0);
    net_run(&net, 1000);
    net_restart(net_node(&net, 1));
    net_run(&net, 20000);
    printf("announced(1)=%d leader=%lu\n", announced(1), net_leader(&net));
    assert_int_not_equal(net_elect(&net), 0);
}

/* A': as A with 4 -> 3. */
static void shrunk_by_one(void **unused)
{
    (void)unused;
    net_start(&net, 4, 5);
    leader_is_not(1, 2);
    net_crash(net_node(&net, 1), 0);
    leader_is_not(4, 2);
    change(RAFT_REMOVE, 4);
    net_crash(net_node(&net, 4), 0);
    net_run(&net, 300);
    net_crash(net_node(&net, 3), 0);
    net_run(&net, 1000);
    net_restart(net_node(&net, 1));
    net_run(&net, 20000);
    printf("announced(1)=%d leader=%lu\n", announced(1), net_leader(&net));
    assert_int_not_equal(net_elect(&net), 0);
}

/* B: an old copy from the time when it was alone leads. */
static void copy_of_a_group_of_one(void **state)
{
    bool late = *state; /* it is heard after it led */
    net_start(&net, 1, 5);
    assert_int_equal(net_elect(&net), 1);
    assert_int_equal(net_propose(net_node(&net, 1)), LILIO_OK);
    net_run(&net, 100);
    net_flush(net_node(&net, 1));
    net_copy_make(net_node(&net, 1), &old);
    for (uint64_t id = 2; id <= 3; id++) {
        change(RAFT_ADD_LEARNER, id);
        net_start_blank(&net, id);
        net_run(&net, 300);
        change(RAFT_PROMOTE, id);
    }
    leader_is_not(1, 2);
    assert_int_equal(net_propose(net_node(&net, net_elect(&net))), LILIO_OK);
    net_run(&net, 300);
    for (int i = 0; i < 3; i++) {
        net_restart(net_node(&net, 1));
        net_run(&net, 300);
    }
    net_crash(net_node(&net, 1), 0);
    net_copy_put_back(net_node(&net, 1), &old);
    net_isolate(&net, 1, late);
    net_restart(net_node(&net, 1));
    net_run(&net, 1000);
    net_isolate(&net, 1, false);
    net_run(&net, 200000);
    printf("up=%d stopped=%d role=%d\n", net_node(&net, 1)->up, net_node(&net, 1)->stopped,
           net_node(&net, 1)->up ? (int)raft_role(net_node(&net, 1)->raft) : 0);
    assert_true(net_node(&net, 1)->stopped);
}

/* C: an answer from before the crash comes late, after one that does not count. */
static void late_answer_makes_uncounted_count(void **unused)
{
    (void)unused;
    net_start(&net, 3, 10);
    uint64_t first = net_elect(&net);
    if (first == 3) {
        assert_int_equal(net_transfer(net_node(&net, 3), 1), LILIO_OK);
        net_run(&net, 100);
        first = net_elect(&net);
    }
    uint64_t second = 3 - first;
    struct net_node *leader = net_node(&net, first), *node = net_node(&net, 3);
    net_crash(node, 0);
    net_copy_make(node, &old);
    net_restart(node);
    net_run(&net, 100);
    /* An answer of 3 in this term stays in the network. */
    net.hold = true;
    net_step(&net, 1);
    for (int i = 0; i < 100; i++)
        net_step(&net, 1);
    struct raft_message m, late = {0}, heartbeat;
    assert_true(net_take(&net, RAFT_APPEND, first, 3, &heartbeat));
    heartbeat.sequence = 1u << 20; /* so that it is answered */
    net_forget(&net);
    assert_true(net_receive(node, heartbeat));
    assert_true(net_take(&net, RAFT_APPEND_REPLY, 3, first, &late));
    assert_false(late.uncounted);
    late.sequence = 0;
    net_forget(&net);
    net.hold = false;
    /* The leader is cut off and stands still; the others go on. */
    net_isolate(&net, first, true);
    leader->paused_until_ms = net.now_ms + 3000;
    net_run(&net, 2900);
    assert_int_equal(net_leader(&net), second);
    assert_int_equal(net_propose(net_node(&net, second)), LILIO_OK);
    net_run(&net, 60);
    net_crash(node, 0);
    net_copy_put_back(node, &old);
    net_isolate(&net, second, true);
    net_isolate(&net, first, false);
    net.cut[first][second] = net.cut[second][first] = true;
    /* The old copy follows the deposed leader, uncounted. */
    net_restart(node);
    leader->paused_until_ms = 0;
    uint64_t commit = raft_commit(leader->raft);
    (void)net_propose(leader);
    for (int i = 0; i < 30; i++) {
        while (net_take(&net, RAFT_HELLO, 3, 0, &m))
            ;
        net_step(&net, 1);
    }
    printf("leader %lu role %d commit %lu (%lu) 3 last %lu late index %lu\n", first,
           (int)raft_role(leader->raft), raft_commit(leader->raft), commit,
           net_log_last(&node->disk), late.index);
    assert_int_equal(raft_commit(leader->raft), commit);
    assert_true(net_receive(leader, late));
    printf("after: commit %lu\n", raft_commit(leader->raft));
    assert_int_equal(raft_commit(leader->raft), commit);
}

/* D: a blank disk of a voter comes back (made anew with --join): one that was away is enough. */
static void blank_disk_votes_again(void **unused)
{
    (void)unused;
    net_start(&net, 4, 5);
    leader_is_not(1, 2);
    change(RAFT_ADD_LEARNER, 5);
    net_run(&net, 300);
    net_copy_make(net_node(&net, 5), &old); /* never started */
    net_isolate(&net, 1, true);             /* 1 knows 5 as a learner, has never heard it */
    net_start_blank(&net, 5);
    net_run(&net, 300);
    change(RAFT_PROMOTE, 5);
    net_run(&net, 300);
    assert_int_equal(net_propose(net_node(&net, net_elect(&net))), LILIO_OK);
    net_run(&net, 300);
    net_crash(net_node(&net, 5), 0);
    net_copy_put_back(net_node(&net, 5), &old);
    net_isolate(&net, 1, false);
    /* of five, 5 reaches only 1; 2, 3 and 4 remember its start */
    for (uint64_t id = 2; id <= 4; id++)
        net.cut[5][id] = net.cut[id][5] = net.cut[1][id] = net.cut[id][1] = true;
    net_start_blank(&net, 5);
    net_run(&net, 2000);
    struct raft_message vote = {.type = RAFT_VOTE, .from = 1, .term = 50, .log_term = 50};
    net.hold = true;
    assert_true(net_receive(net_node(&net, 5), vote));
    printf("announced(5)=%d\n", announced(5));
    assert_false(announced(5));
}

/* E: a learner whose start is not announced is promoted. */
static void uncounted_learner_is_promoted(void **unused)
{
    (void)unused;
    net_start(&net, 1, 5);
    change(RAFT_ADD_LEARNER, 2);
    net_start_blank(&net, 2);
    struct raft_message m;
    net.delay_ms = 3;
    for (int i = 0; i < 300; i++) {
        while (net_take(&net, RAFT_HELLO, 2, 0, &m))
            ;
        net_step(&net, 1);
    }
    printf("announced(2)=%d\n", announced(2));
    int err = net_change(net_node(&net, 1), RAFT_PROMOTE, 2);
    printf("announced(2)=%d promote=%d\n", announced(2), err);
    assert_int_not_equal(err, LILIO_OK);
}

/* F: the configuration was made smaller before (larger copy now): old copy of {1,2,3} in a group of
 * five finds one that is ignorant enough. */
static void copy_of_a_smaller_group(void **unused)
{
    (void)unused;
    net_start(&net, 3, 5);
    leader_is_not(1, 2);
    net_copy_make(net_node(&net, 1), &old);
    net_isolate(&net, 1, false);
    net_crash(net_node(&net, 1), 0);
    for (uint64_t id = 4; id <= 5; id++) {
        change(RAFT_ADD_LEARNER, id);
        net_start_blank(&net, id);
        net_run(&net, 300);
        change(RAFT_PROMOTE, id);
    }
    leader_is_not(2, 3);
    net_isolate(&net, 2, true); /* 2 is away from now on; it knows the five */
    net_restart(net_node(&net, 1));
    net_run(&net, 1000);
    assert_true(announced(1)); /* 1, 3, 4, 5 know of this start */
    assert_int_equal(net_propose(net_node(&net, net_elect(&net))), LILIO_OK);
    net_run(&net, 100);
    net_crash(net_node(&net, 1), 0);
    net_copy_put_back(net_node(&net, 1), &old);
    net.cut[1][2] = net.cut[2][1] = false;
    for (uint64_t id = 3; id <= 5; id++)
        net.cut[1][id] = net.cut[id][1] = true;
    net_restart(net_node(&net, 1));
    net_run(&net, 1000);
    printf("announced(1)=%d\n", announced(1));
    assert_false(announced(1));
}

/* G: all disks are put back from backups, made some minutes one after the other. */
static void all_from_backups(void **unused)
{
    (void)unused;
    static struct net_copy copies[3];
    net_start(&net, 3, 5);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_not_equal(net_elect(&net), 0);
        net_run(&net, 130000);
        net_copy_make(net_node(&net, id), &copies[id - 1]);
    }
    for (uint64_t id = 1; id <= 3; id++) {
        net_crash(net_node(&net, id), 0);
        net_copy_put_back(net_node(&net, id), &copies[id - 1]);
        net_copy_free(&copies[id - 1]);
    }
    for (uint64_t id = 1; id <= 3; id++)
        net_restart(net_node(&net, id));
    net_run(&net, 10000);
    printf("stopped %d %d %d leader %lu\n", net_node(&net, 1)->stopped, net_node(&net, 2)->stopped,
           net_node(&net, 3)->stopped, net_leader(&net));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, stop)
    static bool yes = true;
    const struct CMUnitTest tests[] = {
        TEST(shrunk_while_away),
        TEST(shrunk_by_one),
        TEST(copy_of_a_group_of_one),
        {"copy_of_a_group_of_one_late", copy_of_a_group_of_one, NULL, stop, &yes},
        TEST(late_answer_makes_uncounted_count),
        TEST(blank_disk_votes_again),
        TEST(uncounted_learner_is_promoted),
        TEST(copy_of_a_smaller_group),
        TEST(all_from_backups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
