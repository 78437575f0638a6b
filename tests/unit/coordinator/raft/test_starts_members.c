/* Aim: starts are announced, and older copies found out, also when who belongs to the group has
 * changed since (starts.c): nobody who is needed waits for ever, nobody who forgot is believed.
 * Method: groups in memory (raft_net.h), whose checker sees every promise that is made too early.
 * Members come and go while others are away; at last hundreds of groups change at random, and any
 * majority of the newest committed configuration, started anew, has to elect a leader.
 */
#include "raft_net.h"

#include "base/banned.h"

static struct net net;
static struct net_copy old;

static int stop(void **unused)
{
    (void)unused;
    assert_string_equal(net.violation, "");
    net_copy_free(&old);
    net_stop(&net);
    return 0;
}

static bool announced(uint64_t id)
{
    return raft_announced(net_node(&net, id)->raft);
}

/* Asked again while another change is under way, or the member catches up. */
static void change(enum raft_change how, uint64_t id)
{
    enum lilio_err err = LILIO_E_BUSY;
    for (int i = 0; i < 20 && err; i++) {
        err = net_change(net_node(&net, net_elect(&net)), how, id);
        net_run(&net, 300);
    }
    assert_int_equal(err, LILIO_OK);
}

static void add(uint64_t id)
{
    change(RAFT_ADD_LEARNER, id);
    net_start_blank(&net, id);
    net_run(&net, 300);
    change(RAFT_PROMOTE, id);
}

static void leader_is_not(uint64_t id, uint64_t to)
{
    if (net_elect(&net) == id) {
        assert_int_equal(net_transfer(net_node(&net, id), to), LILIO_OK);
        net_run(&net, 500);
    }
    assert_int_not_equal(net_elect(&net), id);
}

static void propose(void)
{
    assert_int_equal(net_propose(net_node(&net, net_elect(&net))), LILIO_OK);
    net_run(&net, 300);
}

/* ---- who was away is needed ---- */

/* The group shrank to {1, 2, 3} while 1 was away; then 3 is lost, and 1 knows of more members than
 * there are left to ask. */
static void shrink_to_three(uint64_t from)
{
    net_start(&net, from, 5);
    leader_is_not(1, 2);
    net_crash(net_node(&net, 1), 0);
    for (uint64_t id = from; id > 3; id--) {
        leader_is_not(id, 2);
        change(RAFT_REMOVE, id);
        net_crash(net_node(&net, id), 0);
    }
    net_crash(net_node(&net, 3), 0);
    net_run(&net, 1000);
    net_restart(net_node(&net, 1));
    assert_int_not_equal(net_elect(&net), 0);
    net_run(&net, 300);
    assert_true(announced(1));
}

static void the_group_shrank_from_five(void **unused)
{
    (void)unused;
    shrink_to_three(5);
}

static void the_group_shrank_from_four(void **unused)
{
    (void)unused;
    shrink_to_three(4);
}

/* ---- older copies ---- */

/* From the time when it was alone: it may ask nobody, but waits to be heard before it leads. */
static void a_copy_from_a_group_of_one_is_found_out(void **unused)
{
    (void)unused;
    net_start(&net, 1, 5);
    assert_int_equal(net_elect(&net), 1);
    propose();
    net_flush(net_node(&net, 1));
    net_copy_make(net_node(&net, 1), &old);
    add(2);
    add(3);
    leader_is_not(1, 2);
    net_restart(net_node(&net, 1));
    propose();
    net_crash(net_node(&net, 1), 0);
    net_copy_put_back(net_node(&net, 1), &old);
    net_restart(net_node(&net, 1));
    net_run(&net, 1000);
    assert_true(net_node(&net, 1)->stopped);
}

/* From the time when the group was smaller: of three it needs one that does not remember, of the
 * five that there are more. */
static void a_copy_from_a_smaller_group_is_not_believed(void **unused)
{
    (void)unused;
    net_start(&net, 3, 5);
    leader_is_not(1, 2);
    net_copy_make(net_node(&net, 1), &old);
    net_crash(net_node(&net, 1), 0);
    add(4);
    add(5);
    leader_is_not(2, 3);
    net_isolate(&net, 2, true); /* it knows the five, but not of the next start */
    net_restart(net_node(&net, 1));
    net_run(&net, 1000);
    assert_true(announced(1));
    propose();
    net_crash(net_node(&net, 1), 0);
    net_copy_put_back(net_node(&net, 1), &old);
    net.cut[1][2] = net.cut[2][1] = false;
    for (uint64_t id = 3; id <= 5; id++)
        net.cut[1][id] = net.cut[id][1] = true;
    net_restart(net_node(&net, 1));
    net_run(&net, 1000);
    assert_false(announced(1));
}

/* The disk of a voter as it was when it joined, and it reaches only one that was away since. */
static void a_blank_disk_does_not_vote_again(void **unused)
{
    (void)unused;
    net_start(&net, 4, 5);
    leader_is_not(1, 2);
    change(RAFT_ADD_LEARNER, 5);
    net_copy_make(net_node(&net, 5), &old);
    net_isolate(&net, 1, true);
    net_start_blank(&net, 5);
    net_run(&net, 300);
    change(RAFT_PROMOTE, 5);
    propose();
    net_crash(net_node(&net, 5), 0);
    net_copy_put_back(net_node(&net, 5), &old);
    net_isolate(&net, 1, false);
    for (uint64_t id = 2; id <= 4; id++)
        net.cut[5][id] = net.cut[id][5] = net.cut[1][id] = net.cut[id][1] = true;
    net_start_blank(&net, 5);
    net_run(&net, 2000);
    assert_false(announced(5));
    net.hold = true;
    struct raft_message reply, vote = {.type = RAFT_VOTE, .from = 1, .term = 50, .log_term = 50};
    assert_true(net_receive(net_node(&net, 5), vote));
    assert_false(net_take(&net, RAFT_VOTE_REPLY, 5, 0, &reply));
}

static void who_is_not_announced_is_not_promoted(void **unused)
{
    (void)unused;
    net_start(&net, 1, 5);
    change(RAFT_ADD_LEARNER, 2);
    net_start_blank(&net, 2);
    struct raft_message hello;
    net.delay_ms = 3;
    for (int i = 0; i < 300; i++) {
        while (net_take(&net, RAFT_HELLO, 2, 0, &hello))
            ;
        net_step(&net, 1);
    }
    assert_false(announced(2));
    assert_int_equal(net_change(net_node(&net, 1), RAFT_PROMOTE, 2), LILIO_E_INVALID);
    net_run(&net, 300);
    assert_true(announced(2));
    change(RAFT_PROMOTE, 2);
}

/* ---- at random ---- */

/* The voters of the newest configuration, and how many of them are up. */
static size_t voters(uint64_t leader, uint64_t *ret_list, size_t *ret_up)
{
    const struct proto_raft_config *config = raft_config(net_node(&net, leader)->raft, NULL, NULL);
    size_t count = 0;
    *ret_up = 0;
    for (size_t i = 0; i < config->members_count; i++)
        if (config->members[i].kind == RAFT_VOTER) {
            *ret_up += net_node(&net, config->members[i].id)->up;
            ret_list[count++] = config->members[i].id;
        }
    return count;
}

/* Somebody goes, returns, is added, promoted or removed; a majority of the voters stays up. */
static void disturb(uint64_t leader, uint64_t *next)
{
    uint64_t list[NET_NODES_MAX];
    size_t up, count = voters(leader, list, &up);
    const struct proto_raft_config *config = raft_config(net_node(&net, leader)->raft, NULL, NULL);
    struct net_node *node =
        net_node(&net, config->members[net_random(&net, config->members_count)].id);
    switch (net_random(&net, 7)) {
    case 0:
    case 1:
        if (node->up && 2 * (up - 1) > count)
            net_crash(node, 0);
        break;
    case 2: net_restart(node); break;
    case 3:
        if (*next <= NET_NODES_MAX &&
            net_change(net_node(&net, leader), RAFT_ADD_LEARNER, *next) == LILIO_OK)
            net_start_blank(&net, (*next)++);
        break;
    case 4:
    case 5: (void)net_change(net_node(&net, leader), RAFT_PROMOTE, node->id); break;
    default:
        if (node->id == leader || count <= 2 || (node->up && up <= count / 2 + 1))
            break;
        (void)net_change(net_node(&net, leader), RAFT_REMOVE, node->id);
        net_run(&net, 200);
        net_crash(node, 0);
    }
    net_run(&net, 50 + net_random(&net, 300));
    if (net_random(&net, 2) && net_leader(&net))
        net_flush(net_node(&net, net_leader(&net)));
}

/* Only just a majority of the voters is started anew, drawn at random. */
static void restart_majority(uint64_t leader)
{
    uint64_t list[NET_NODES_MAX];
    size_t up, count = voters(leader, list, &up);
    for (uint64_t id = 1; id <= NET_NODES_MAX; id++)
        net_crash(net_node(&net, id), 0);
    net_run(&net, 1000);
    for (size_t i = 0; i <= count / 2; i++) {
        size_t j = i + net_random(&net, count - i);
        uint64_t id = list[j];
        list[j] = list[i];
        net_restart(net_node(&net, id));
    }
}

static void any_majority_elects_a_leader(void **unused)
{
    (void)unused;
    size_t tried = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        net_start(&net, 1 + seed % 5, seed);
        net.delay_ms = 3;
        uint64_t next = 2 + seed % 5, leader = net_elect(&net);
        for (int i = 0; i < 25 && leader; i++) {
            disturb(leader, &next);
            leader = net_elect(&net);
        }
        net_run(&net, 500);
        bool committed = false;
        if (leader && net_leader(&net) == leader)
            (void)raft_config(net_node(&net, leader)->raft, NULL, &committed);
        if (committed) {
            tried++;
            restart_majority(leader);
            if (!net_elect(&net))
                fail_msg("seed %llu: no leader", (unsigned long long)seed);
        }
        if (seed < 300)
            stop(NULL);
    }
    assert_true(tried > 200);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, stop)
    const struct CMUnitTest tests[] = {
        TEST(the_group_shrank_from_five),
        TEST(the_group_shrank_from_four),
        TEST(a_copy_from_a_group_of_one_is_found_out),
        TEST(a_copy_from_a_smaller_group_is_not_believed),
        TEST(a_blank_disk_does_not_vote_again),
        TEST(who_is_not_announced_is_not_promoted),
        TEST(any_majority_elects_a_leader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
