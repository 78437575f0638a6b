/* Aim: a member whose disk went back to an older copy promises nothing any more, and one that only
 * was away does soon, whoever else is away (starts.c).
 * Method: groups in memory (raft_net.h), whose checker sees every promise that is made too early;
 * copies of disks are made and put back; messages are lost, repeated, late, forged.
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

/* The start of `member` that a node remembers on its disk, 0 = none. */
static uint64_t remembered(uint64_t id, uint64_t member)
{
    const struct raft_vote *saved = &net_node(&net, id)->saved;
    for (size_t i = 0; i < saved->known_count; i++)
        if (saved->known[i].member == member)
            return saved->known[i].start;
    return 0;
}

static uint64_t leader_not_3(void)
{
    if (net_elect(&net) == 3) {
        assert_int_equal(net_transfer(net_node(&net, 3), 1), LILIO_OK);
        net_run(&net, 100);
    }
    return net_elect(&net);
}

/* Node 3 is stopped, copied, goes on, makes promises, dies and goes back. */
static void age(uint64_t more)
{
    struct net_node *node = net_node(&net, 3);
    net_crash(node, 0);
    net_copy_make(node, &old);
    net_restart(node);
    net_run(&net, 50);
    assert_true(announced(3));
    for (uint64_t i = 0; i < more; i++)
        assert_int_equal(net_propose(net_node(&net, net_elect(&net))), LILIO_OK);
    net_run(&net, 200);
    net_crash(node, 0);
    net_copy_put_back(node, &old);
}

/* ---- those that only were away ---- */

static void a_start_is_announced_at_once(void **unused)
{
    (void)unused;
    net_start(&net, 3, 1);
    for (uint64_t id = 1; id <= 3; id++)
        assert_true(announced(id));
    uint64_t leader = net_elect(&net), other = leader % 3 + 1;
    net_restart(net_node(&net, other));
    assert_false(announced(other));
    net_step(&net, 1);
    assert_true(announced(other));
    assert_int_equal(net_node(&net, other)->saved.start, 2);
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(remembered(id, other), id == other ? 0 : 2);
    net_run(&net, 1000);
    assert_int_equal(net_leader(&net), leader);
    net_stop(&net);
    net_start(&net, 1, 1); /* there is nobody to tell */
    net_run(&net, 300);
    assert_true(announced(1));
}

static void all_start_at_once(void **unused)
{
    (void)unused;
    uint64_t total_ms = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        net_start(&net, 5, seed);
        assert_int_not_equal(net_elect(&net), 0);
        for (uint64_t id = 1; id <= 5; id++)
            net_crash(net_node(&net, id), 0);
        net_forget(&net);
        net.delay_ms = 5;
        /* One long before the others, which come one by one; or all have waited for each other. */
        for (uint64_t id = 1; id <= 3; id++) {
            net_isolate(&net, id, seed % 2);
            net_restart(net_node(&net, id));
            net_run(&net, id == 1 ? 3000 : 40);
        }
        net_run(&net, 1000 * (seed % 2));
        for (uint64_t id = 1; id <= 3; id++)
            net_isolate(&net, id, false);
        uint64_t before = net.now_ms;
        assert_int_not_equal(net_elect(&net), 0);
        total_ms += net.now_ms - before;
        assert_true(net.now_ms - before < 1200);
        if (seed < 100)
            stop(NULL);
    }
    assert_true(total_ms / 100 < 120); /* they do not get into each other's way */
}

static void a_minority_may_be_down(void **unused)
{
    (void)unused;
    net_start(&net, 3, 2);
    uint64_t leader = net_elect(&net), other = leader % 3 + 1, third = other % 3 + 1;
    net_crash(net_node(&net, third), 0);
    for (int i = 0; i < 5; i++) {
        net_restart(net_node(&net, other));
        net_run(&net, 20);
        assert_true(announced(other));
    }
    uint64_t commit = raft_commit(net_node(&net, leader)->raft);
    assert_int_equal(net_propose(net_node(&net, leader)), LILIO_OK);
    net_run(&net, 20);
    assert_true(raft_commit(net_node(&net, leader)->raft) > commit);
    /* Who comes later is told, too, and knows it before it counts itself. */
    net_restart(net_node(&net, third));
    net_run(&net, 20);
    assert_true(announced(third));
    assert_int_equal(remembered(third, other), 6);
    /* Alone it waits, however often it starts; and leads nobody. */
    net_crash(net_node(&net, leader), 0);
    net_crash(net_node(&net, third), 0);
    uint64_t start = net_node(&net, other)->saved.start;
    for (int i = 0; i < 5; i++) {
        net_restart(net_node(&net, other));
        net_run(&net, 2000);
        assert_false(announced(other));
        assert_int_equal(raft_role(net_node(&net, other)->raft), RAFT_FOLLOWER);
    }
    assert_int_equal(net_node(&net, other)->saved.start, start + 1);
    net_restart(net_node(&net, third));
    assert_int_not_equal(net_elect(&net), 0);
}

/* Its entries count as soon as its start does, although nothing new is acknowledged then. */
static void what_it_held_before_counts_then(void **unused)
{
    (void)unused;
    net_start(&net, 3, 2);
    uint64_t leader = net_elect(&net), other = leader % 3 + 1;
    struct net_node *node = net_node(&net, leader);
    net_crash(net_node(&net, other % 3 + 1), 0);
    uint64_t commit = raft_commit(node->raft);
    net_restart(net_node(&net, other));
    assert_int_equal(net_propose(node), LILIO_OK);
    net.delay_ms = 3;
    struct raft_message m;
    assert_int_equal(net_read(node), 0);
    for (int i = 0; i < 200; i++) {
        while (net_take(&net, RAFT_HELLO, other, 0, &m))
            ;
        net_step(&net, 1);
    }
    assert_int_equal(net_log_last(&net_node(&net, other)->disk), net_log_last(&node->log));
    assert_int_equal(raft_commit(node->raft), commit);
    assert_int_equal(net.reads[0].answer, 0);
    assert_int_equal(net_transfer(node, other), LILIO_E_PRECONDITION);
    net_run(&net, 100);
    assert_int_equal(raft_commit(node->raft), net_log_last(&node->log));
    assert_int_equal(net.reads[0].answer, 1);
}

static void answer(struct net_node *node, uint64_t from, uint64_t index)
{
    assert_true(net_receive(node, (struct raft_message){.type = RAFT_HELLO_REPLY,
                                                        .from = from,
                                                        .index = index,
                                                        .commit = 1,
                                                        .sequence = node->saved.start_id,
                                                        .ok = true}));
}

/* That nothing newer is known is not enough: it has to be remembered, by a majority of those that
 * count now. */
static void a_start_has_to_be_remembered(void **unused)
{
    (void)unused;
    net_start(&net, 5, 6);
    for (uint64_t id = 1; id <= 4; id++)
        net_crash(net_node(&net, id), 0);
    struct net_node *node = net_node(&net, 5);
    net_restart(node);
    net_step(&net, 1);
    for (uint64_t id = 1; id <= 3; id++)
        answer(node, id, 1);
    assert_true(node->saved.told);
    assert_false(announced(5));
    answer(node, 1, node->saved.start);
    net_run(&net, 200);
    assert_false(announced(5));
    /* Two are left of five, the one that remembers and this one. */
    struct proto_raft_member list[] = {{.id = 1, .kind = RAFT_VOTER},
                                       {.id = 5, .kind = RAFT_VOTER}};
    struct proto_raft_config config = {.members = list, .members_count = 2};
    struct base_buffer packed = {0};
    assert_int_equal(proto_raft_config_pack(&config, &packed), LILIO_OK);
    struct raft_entry entry = {1, 9, RAFT_ENTRY_CONFIG, base_buffer_slice(&packed)};
    assert_true(net_receive(
        node, (struct raft_message){
                  .type = RAFT_APPEND, .from = 1, .term = 9, .entries = &entry, .count = 1}));
    base_buffer_release(&packed);
    assert_true(announced(5));
}

/* Node 5 was made a voter while one of four was away; then two are lost. Those who are left need
 * the one that returns, and it knows only one of them as a voter. */
static void a_learner_it_knows_may_be_a_voter(void **unused)
{
    (void)unused;
    net_start(&net, 4, 5);
    struct net_node *node = net_node(&net, net_elect(&net));
    uint64_t away = node->id % 4 + 1;
    assert_int_equal(net_change(node, RAFT_ADD_LEARNER, 5), LILIO_OK);
    net_start_blank(&net, 5);
    net_run(&net, 300);
    net_crash(net_node(&net, away), 0);
    assert_int_equal(net_change(node, RAFT_PROMOTE, 5), LILIO_OK);
    net_run(&net, 300);
    for (uint64_t id = 1; id <= 4; id++)
        net_crash(net_node(&net, id), 0);
    net_run(&net, 10);
    net_restart(net_node(&net, away));
    net_restart(node);
    assert_int_not_equal(net_elect(&net), 0);
}

/* It was made a voter while it was away, and one of the others is lost. */
static void a_learner_may_be_a_voter_itself(void **unused)
{
    (void)unused;
    net_start(&net, 2, 5);
    struct net_node *node = net_node(&net, net_elect(&net)), *other = net_node(&net, 3 - node->id);
    assert_int_equal(net_change(node, RAFT_ADD_LEARNER, 3), LILIO_OK);
    net_start_blank(&net, 3);
    net_run(&net, 300);
    net_crash(net_node(&net, 3), 0);
    assert_int_equal(net_change(node, RAFT_PROMOTE, 3), LILIO_OK);
    net_run(&net, 300);
    net_crash(other, 0);
    net_crash(node, 0);
    net_restart(node);
    net_restart(net_node(&net, 3));
    assert_int_not_equal(net_elect(&net), 0);
    net_run(&net, 300);
    assert_true(announced(3));
}

/* Two of five were replaced while one was away; then the other two are lost. Those who are left
 * need the one that returns, and it knows none of them. */
static void strangers_may_be_its_members(void **unused)
{
    (void)unused;
    net_start(&net, 5, 5);
    uint64_t leader = net_elect(&net), away = leader % 5 + 1, gone = away % 5 + 1;
    net_crash(net_node(&net, away), 0);
    for (uint64_t id = 6; id <= 7; id++, gone = gone % 5 + 1) {
        net_crash(net_node(&net, gone), 0);
        assert_int_equal(net_change(net_node(&net, leader), RAFT_ADD_LEARNER, id), LILIO_OK);
        net_start_blank(&net, id);
        net_run(&net, 300);
        assert_int_equal(net_change(net_node(&net, leader), RAFT_REMOVE, gone), LILIO_OK);
        net_run(&net, 300);
        assert_int_equal(net_change(net_node(&net, leader), RAFT_PROMOTE, id), LILIO_OK);
        net_run(&net, 300);
    }
    net_crash(net_node(&net, leader), 0);
    net_crash(net_node(&net, gone), 0);
    net_run(&net, 1000);
    assert_int_equal(net_leader(&net), 0);
    net_restart(net_node(&net, away));
    assert_int_not_equal(net_elect(&net), 0);
    net_run(&net, 1000);
    assert_true(announced(away));
}

static void replace_all(uint64_t leader_of_old)
{
    for (uint64_t id = 4; id <= 5; id++) {
        struct net_node *node = net_node(&net, net_elect(&net));
        assert_int_equal(net_change(node, RAFT_ADD_LEARNER, id), LILIO_OK);
        net_start_blank(&net, id);
        net_run(&net, 300);
        assert_int_equal(net_change(node, RAFT_PROMOTE, id), LILIO_OK);
        net_run(&net, 300);
    }
    for (uint64_t id = 1; id <= 2; id++) {
        uint64_t gone = id == 1 ? 3 - leader_of_old : leader_of_old;
        assert_int_equal(net_change(net_node(&net, net_elect(&net)), RAFT_REMOVE, gone), LILIO_OK);
        net_run(&net, 1000);
        net_crash(net_node(&net, gone), 0);
    }
}

/* It asks those that it remembers, who are gone; the leader of now teaches it the others. */
static void its_members_changed_while_it_was_away(void **state)
{
    bool cut = *state;
    net_start(&net, 3, 5);
    uint64_t leader = leader_not_3();
    net_crash(net_node(&net, 3), 0);
    replace_all(leader);
    if (cut) /* all it missed is cut off, so it pulls the state */
        for (uint64_t id = 4; id <= 5; id++) {
            net_flush(net_node(&net, id));
            net_cut_log(net_node(&net, id), net_node(&net, id)->state.applied);
        }
    net_restart(net_node(&net, 3));
    net_run(&net, 1000);
    assert_true(announced(3));
    assert_int_equal(net.snapshots > 0, cut);
    uint64_t now = net_elect(&net);
    net_crash(net_node(&net, now == 4 ? 5 : 4), 0);
    net_run(&net, 500);
    assert_int_equal(net_propose(net_node(&net, net_elect(&net))), LILIO_OK);
    net_run(&net, 500);
    assert_int_equal(raft_commit(net_node(&net, 3)->raft), net_log_last(&net_node(&net, 3)->log));
}

/* Whatever happens to the messages, and wherever in it the member dies. */
static void hellos_may_be_lost_repeated_and_late(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        net_start(&net, 3, seed);
        net.drop_percent = 30;
        net.dup_percent = 30;
        net.delay_ms = 120;
        for (unsigned i = 1; i < 40; i++) {
            struct net_node *node = net_node(&net, 1 + net_random(&net, 3));
            net_restart(node);
            node->crash_in = i % 2 ? i : 0;
            net_run(&net, net_random(&net, 200));
        }
        for (uint64_t id = 1; id <= 3; id++)
            net_restart(net_node(&net, id));
        net_run(&net, 5000);
        for (uint64_t id = 1; id <= 3; id++) {
            assert_true(announced(id));
            assert_int_equal(remembered(id % 3 + 1, id), net_node(&net, id)->saved.start);
        }
        assert_string_equal(net.violation, "");
        if (seed < 30)
            net_stop(&net);
    }
}

/* ---- older copies ---- */

static void an_older_copy_stops(void **unused)
{
    (void)unused;
    net_start(&net, 3, 4);
    assert_int_not_equal(net_elect(&net), 0);
    age(5);
    struct net_node *node = net_node(&net, 3);
    net_restart(node);
    net_run(&net, 2000);
    assert_true(node->stopped);
    assert_int_equal(node->saved.stale, 2);
    assert_false(node->up);
    assert_int_equal(net_propose(net_node(&net, net_elect(&net))), LILIO_OK);
}

/* A copy may be started very often before anybody hears it. */
static void an_older_copy_never_overtakes(void **unused)
{
    (void)unused;
    net_start(&net, 3, 4);
    assert_int_not_equal(net_elect(&net), 0);
    age(5);
    struct net_node *node = net_node(&net, 3);
    net_isolate(&net, 3, true);
    for (int i = 0; i < 20; i++) {
        net_restart(node);
        net_run(&net, 700);
        assert_false(node->stopped);
    }
    net_isolate(&net, 3, false);
    net_run(&net, 100);
    assert_true(node->stopped);
}

/* Made from the running member, which has not been started since. */
static void a_copy_of_a_running_member_gets_old(void **unused)
{
    (void)unused;
    net_start(&net, 3, 4);
    assert_int_not_equal(net_elect(&net), 0);
    struct net_node *node = net_node(&net, 3);
    net_copy_make(node, &old);
    net_run(&net, 61000);
    assert_int_equal(node->saved.start, 2);
    assert_int_equal(remembered(1, 3), 2);
    assert_int_equal(remembered(2, 3), 2);
    net_crash(node, 0);
    net_copy_put_back(node, &old);
    net_restart(node);
    net_run(&net, 100);
    assert_true(node->stopped);
}

/* It voted for 1 in this term, and forgot. */
static void an_older_copy_does_not_vote_twice(void **unused)
{
    (void)unused;
    net_start(&net, 3, 7);
    struct net_node *node = net_node(&net, 3);
    net_copy_make(node, &old);
    net_restart(node);
    net_step(&net, 1);
    net.hold = true;
    struct raft_message m, vote = {.type = RAFT_VOTE, .from = 1, .term = 4};
    assert_true(net_receive(node, vote));
    assert_true(net_take(&net, RAFT_VOTE_REPLY, 3, 1, &m));
    assert_true(m.ok);
    net_crash(node, 0);
    net_copy_put_back(node, &old);
    net_restart(node);
    const enum raft_message_type asked[] = {RAFT_VOTE, RAFT_PRE_VOTE};
    for (int i = 0; i < 2; i++) {
        vote.type = (uint8_t)asked[i];
        vote.from = 2;
        vote.transfer = true;
        assert_true(net_receive(node, vote));
    }
    assert_false(net_take(&net, RAFT_VOTE_REPLY, 3, 0, &m));
    assert_false(net_take(&net, RAFT_PRE_VOTE_REPLY, 3, 0, &m));
    assert_int_equal(node->saved.term, 0);
    net_run(&net, 1000); /* nor does it ask for votes itself, or as the heir of a leader */
    assert_true(
        net_receive(node, (struct raft_message){.type = RAFT_APPEND, .from = 2, .term = 2}));
    assert_true(
        net_receive(node, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .from = 2, .term = 2}));
    assert_int_equal(raft_role(node->raft), RAFT_FOLLOWER);
    net.hold = false;
    net_run(&net, 100);
    assert_true(node->stopped);
}

/* It acknowledged entries of the next leader, and forgot that it did. */
static void an_older_copy_acknowledges_no_deposed_leader(void **unused)
{
    (void)unused;
    net_start(&net, 3, 9);
    uint64_t first = leader_not_3();
    struct net_node *leader = net_node(&net, first), *node = net_node(&net, 3);
    net_crash(node, 0);
    net_copy_make(node, &old);
    net_restart(node);
    net_run(&net, 100);
    /* The leader is cut off and stands still; the others go on. */
    net_isolate(&net, first, true);
    leader->paused_until_ms = net.now_ms + 3000;
    net_run(&net, 2900);
    uint64_t next = net_leader(&net);
    assert_int_not_equal(next, first);
    assert_int_equal(net_propose(net_node(&net, next)), LILIO_OK);
    net_run(&net, 60);
    net_crash(node, 0);
    net_copy_put_back(node, &old);
    net_isolate(&net, first, false);
    net_isolate(&net, 3 - first, true);
    net_restart(node);
    leader->paused_until_ms = 0;
    uint64_t commit = raft_commit(leader->raft);
    net.delay_ms = 20; /* hellos are not first */
    (void)net_propose(leader);
    (void)net_read(leader);
    net_run(&net, 1000);
    assert_int_equal(raft_commit(leader->raft), commit);
    assert_int_not_equal(net.reads[0].answer, 1);
    assert_true(node->stopped);
}

/* What it acknowledged before it went back comes late to a leader that it follows uncounted now. */
static void a_late_answer_makes_no_older_copy_count(void **unused)
{
    (void)unused;
    net_start(&net, 3, 10);
    uint64_t first = leader_not_3(), second = 3 - first;
    struct net_node *leader = net_node(&net, first), *node = net_node(&net, 3);
    net_crash(node, 0);
    net_copy_make(node, &old);
    net_restart(node);
    net_run(&net, 100);
    net.hold = true;
    net_run(&net, 100);
    struct raft_message hello, heartbeat, late;
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
    net.cut[first][3] = net.cut[3][first] = false;
    net_restart(node);
    leader->paused_until_ms = 0;
    uint64_t commit = raft_commit(leader->raft);
    (void)net_propose(leader);
    for (int i = 0; i < 30; i++) {
        while (net_take(&net, RAFT_HELLO, 3, 0, &hello))
            ;
        net_step(&net, 1);
    }
    assert_int_equal(raft_role(leader->raft), RAFT_LEADER);
    assert_int_equal(net_log_last(&node->disk), net_log_last(&leader->log));
    assert_true(net_receive(leader, late));
    assert_int_equal(raft_commit(leader->raft), commit);
}

/* All disks go back to copies: of one moment they go on, of different ones nobody is left who could
 * lead. */
static void all_go_back_to_copies(void **state)
{
    bool apart = *state;
    static struct net_copy copies[3];
    net_start(&net, 3, 5);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_not_equal(net_elect(&net), 0);
        net_run(&net, apart ? 130000 : 0);
        net_copy_make(net_node(&net, id), &copies[id - 1]);
    }
    net_run(&net, 130000);
    for (uint64_t id = 1; id <= 3; id++) {
        net_crash(net_node(&net, id), 0);
        net_copy_put_back(net_node(&net, id), &copies[id - 1]);
        net_copy_free(&copies[id - 1]);
        net_node(&net, id)->older = apart;
    }
    net_forget(&net);
    for (uint64_t id = 1; id <= 3; id++)
        net_restart(net_node(&net, id));
    net_run(&net, 10000);
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(net_node(&net, id)->stopped, apart && id < 3);
    assert_int_equal(net_leader(&net) != 0, !apart);
}

/* ---- who remembers ---- */

static void what_is_remembered_survives(void **unused)
{
    (void)unused;
    net_start(&net, 3, 4);
    assert_int_not_equal(net_elect(&net), 0);
    age(1);
    for (uint64_t id = 1; id <= 2; id++)
        net_restart(net_node(&net, id));
    net_restart(net_node(&net, 3));
    net_run(&net, 1000);
    assert_true(net_node(&net, 3)->stopped);
}

/* A new member is told what the others know before it counts. */
static void newcomers_learn_what_is_remembered(void **unused)
{
    (void)unused;
    net_start(&net, 3, 4);
    assert_int_not_equal(net_elect(&net), 0);
    age(1);
    assert_int_equal(net_change(net_node(&net, net_elect(&net)), RAFT_ADD_LEARNER, 4), LILIO_OK);
    net_start_blank(&net, 4);
    net_run(&net, 300);
    assert_true(announced(4));
    assert_int_equal(remembered(4, 3), 2);
}

static void forged_starts_are_harmless(void **unused)
{
    (void)unused;
    net_start(&net, 3, 6);
    struct net_node *node = net_node(&net, 1);
    struct raft_message m;
    uint64_t known = remembered(1, 2);
    net.hold = true;
    /* Whoever does not receive where member 2 does has nothing remembered in its name. */
    struct raft_message hello = {.type = RAFT_HELLO, .from = 2, .index = known + 5, .sequence = 77};
    for (uint64_t cookie = 0; cookie < 3; cookie++) {
        hello.commit = cookie;
        assert_true(net_receive(node, hello));
        assert_true(net_take(&net, RAFT_HELLO_REPLY, 1, 2, &m));
        assert_true(m.ok);
        assert_int_equal(m.index, known);
    }
    assert_int_equal(remembered(1, 2), known);
    const uint64_t absurd[] = {0, ((uint64_t)1 << 32) + known + 1, (uint64_t)1 << 62, UINT64_MAX};
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        hello.index = absurd[i];
        hello.commit = m.commit;
        assert_false(net_receive(node, hello));
    }
    assert_int_equal(remembered(1, 2), known);
    /* With the cookie it is: the cookie was sent to member 2, so only who reads what it is sent
     * has it. Such a one can lock the member out: it has to be replaced then. */
    hello.index = known + 5;
    assert_true(net_receive(node, hello));
    assert_int_equal(remembered(1, 2), known + 5);
    /* A member stops only for an answer to just this start. */
    struct raft_message no = {.type = RAFT_HELLO_REPLY, .from = 3, .index = 9, .sequence = 1};
    assert_true(net_receive(node, no));
    no.sequence = node->saved.start_id;
    no.index = 0;
    assert_false(net_receive(node, no));
    no.index = UINT64_MAX;
    assert_false(net_receive(node, no));
    no.index = (uint64_t)1 << 40;
    assert_false(net_receive(node, no));
    no.index = 9;
    no.from = 8;
    assert_false(net_receive(node, no));
    assert_false(node->stopped);
    /* Strangers do not push members out of what is remembered. */
    struct proto_raft_start strangers[RAFT_KNOWN_MAX + 1] = {{0}};
    for (uint64_t i = 0; i < 100; i++) {
        for (uint64_t j = 0; j < RAFT_KNOWN_MAX; j++)
            strangers[j] = (struct proto_raft_start){.member = 100 + RAFT_KNOWN_MAX * i + j,
                                                     .start = 1 + (j == 5) * UINT64_MAX / 2};
        assert_true(net_receive(node, (struct raft_message){.type = RAFT_HELLO_REPLY,
                                                            .from = 3,
                                                            .ok = true,
                                                            .commit = 1,
                                                            .sequence = node->saved.start_id,
                                                            .starts = strangers,
                                                            .start_count = RAFT_KNOWN_MAX}));
    }
    for (size_t i = 0; i < node->saved.known_count; i++)
        assert_true(node->saved.known[i].start < 100); /* absurd ones are not believed */
    assert_false(net_receive(node, (struct raft_message){.type = RAFT_HELLO_REPLY,
                                                         .from = 3,
                                                         .ok = true,
                                                         .sequence = node->saved.start_id,
                                                         .starts = strangers,
                                                         .start_count = RAFT_KNOWN_MAX + 1}));
    assert_int_equal(node->saved.known_count, RAFT_KNOWN_MAX);
    assert_int_equal(remembered(1, 2), known + 5);
    assert_int_equal(remembered(1, 3), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, stop)
    static bool yes = true;
    const struct CMUnitTest tests[] = {
        TEST(a_start_is_announced_at_once),
        TEST(all_start_at_once),
        TEST(a_minority_may_be_down),
        TEST(a_start_has_to_be_remembered),
        TEST(a_learner_it_knows_may_be_a_voter),
        TEST(a_learner_may_be_a_voter_itself),
        TEST(strangers_may_be_its_members),
        TEST(what_it_held_before_counts_then),
        TEST(its_members_changed_while_it_was_away),
        {"its_members_changed_and_the_log_is_cut", its_members_changed_while_it_was_away, NULL,
         stop, &yes},
        TEST(hellos_may_be_lost_repeated_and_late),
        TEST(an_older_copy_stops),
        TEST(an_older_copy_never_overtakes),
        TEST(a_copy_of_a_running_member_gets_old),
        TEST(an_older_copy_does_not_vote_twice),
        TEST(an_older_copy_acknowledges_no_deposed_leader),
        TEST(a_late_answer_makes_no_older_copy_count),
        TEST(all_go_back_to_copies),
        {"all_go_back_to_copies_of_different_moments", all_go_back_to_copies, NULL, stop, &yes},
        TEST(what_is_remembered_survives),
        TEST(newcomers_learn_what_is_remembered),
        TEST(forged_starts_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
