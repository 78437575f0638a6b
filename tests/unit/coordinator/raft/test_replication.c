/* Aim: what is acknowledged, counted, sent again and bounded (chapters 3.5, 3.6.2, 10.2.1), and
 * what a snapshot replaces. B1 to B4 are defects that a library had.
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

static struct net_node *alone(void)
{
    net_start(&net, 3, 7);
    net_crash(net_node(&net, 2), 0);
    net_crash(net_node(&net, 3), 0);
    net.hold = true;
    return net_node(&net, 1);
}

/* An append of a leader 2 or 3: entries of the given terms behind (index, log_term). */
static bool append(struct net_node *node, struct raft_message m, const uint64_t *terms)
{
    struct raft_entry entries[16];
    m.type = RAFT_APPEND;
    m.entries = entries;
    for (size_t i = 0; i < m.count; i++)
        entries[i] = (struct raft_entry){m.index + 1 + i, terms[i], RAFT_ENTRY_COMMANDS,
                                         base_slice(&terms[i], sizeof terms[i])};
    return net_receive(node, m);
}

static struct raft_message reply(uint64_t to)
{
    struct raft_message m;
    assert_true(net_take(&net, RAFT_APPEND_REPLY, 1, to, &m));
    return m;
}

/* A deposed leader has an entry of its own that the new leader does not know. A heartbeat that
 * matches before it must not be answered with it (B1). */
static void a_stale_suffix_is_not_acknowledged(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    assert_true(append(node, (struct raft_message){.from = 2, .term = 1, .count = 3},
                       (uint64_t[]){1, 1, 1}));
    assert_int_equal(reply(2).index, 3);
    assert_true(
        append(node, (struct raft_message){.from = 3, .term = 2, .index = 1, .log_term = 1}, NULL));
    struct raft_message m = reply(3);
    assert_true(m.ok);
    assert_int_equal(m.index, 1);
    /* Nor is it taken as committed. */
    assert_true(append(
        node, (struct raft_message){.from = 3, .term = 2, .index = 1, .log_term = 1, .commit = 3},
        NULL));
    assert_int_equal(raft_commit(node->raft), 1);
}

/* Elected by members that forgot, it has something else where this one is committed. */
static void a_leader_that_contradicts_is_not_followed(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    assert_true(append(node, (struct raft_message){.from = 2, .term = 1, .count = 3, .commit = 3},
                       (uint64_t[]){1, 1, 1}));
    assert_int_equal(raft_commit(node->raft), 3);
    struct raft_message other = {.from = 3, .term = 2, .index = 1, .log_term = 1, .count = 2};
    assert_false(append(node, other, (uint64_t[]){1, 2}));
    other = (struct raft_message){.from = 3, .term = 2, .index = 3, .log_term = 2};
    assert_false(append(node, other, NULL));
    assert_int_equal(raft_leader(node->raft), 2);
    assert_int_equal(raft_term(node->raft), 1);
    other.log_term = 1;
    assert_true(append(node, other, NULL));
    assert_int_equal(raft_leader(node->raft), 3);
}

static void only_what_is_durable_is_acknowledged(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    struct raft_message m;
    net.lazy_disk = true;
    assert_true(append(node, (struct raft_message){.from = 2, .term = 1, .count = 3},
                       (uint64_t[]){1, 1, 1}));
    assert_false(net_take(&net, RAFT_APPEND_REPLY, 1, 2, &m));
    /* A heartbeat is answered with what is durable: nothing; a question of a read likewise. */
    assert_true(append(
        node, (struct raft_message){.from = 2, .term = 1, .index = 3, .log_term = 1, .sequence = 5},
        NULL));
    m = reply(2);
    assert_int_equal(m.index, 0);
    assert_int_equal(m.sequence, 5);
    net_persist(node, 2);
    assert_int_equal(reply(2).index, 2);
    net_persist(node, 1);
    assert_int_equal(reply(2).index, 3);
}

/* What is reported durable is not what the log holds any more. */
static void a_replaced_entry_is_not_persisted(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    net.lazy_disk = true;
    assert_true(
        append(node, (struct raft_message){.from = 2, .term = 1, .count = 2}, (uint64_t[]){1, 1}));
    assert_true(append(
        node, (struct raft_message){.from = 3, .term = 2, .index = 1, .log_term = 1, .count = 1},
        (uint64_t[]){2}));
    net_persist(node, 2); /* (1, 1) and the old (2, 1), which was on its way */
    struct raft_message m;
    while (net_take(&net, RAFT_APPEND_REPLY, 1, 3, &m))
        assert_true(m.index <= 1);
    net_persist(node, 1);
    assert_int_equal(reply(3).index, 2);
}

/* Applied is what is committed and durable here: the state is never ahead of its own log. */
static void nothing_is_applied_before_it_is_durable(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    net.lazy_disk = true;
    assert_true(append(node, (struct raft_message){.from = 2, .term = 1, .count = 2, .commit = 2},
                       (uint64_t[]){1, 1}));
    assert_int_equal(raft_commit(node->raft), 2);
    assert_int_equal(node->state.applied, 0);
    net_persist(node, 2);
    assert_int_equal(node->state.applied, 2);
}

static void repeated_and_reordered_appends_change_nothing(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    struct raft_message first = {.from = 2, .term = 1, .count = 2};
    struct raft_message second = {.from = 2, .term = 1, .index = 2, .log_term = 1, .count = 2};
    const uint64_t terms[] = {1, 1};
    assert_true(append(node, second, terms)); /* too early */
    struct raft_message m = reply(2);
    assert_false(m.ok);
    assert_int_equal(m.index, 0);
    assert_int_equal(m.commit, 2);
    assert_true(append(node, first, terms));
    assert_true(append(node, second, terms));
    assert_true(append(node, first, terms));
    assert_int_equal(net_log_last(&node->log), 4);
    assert_int_equal(node->appends, 2);
    while (net_take(&net, RAFT_APPEND_REPLY, 1, 2, &m))
        ;
    assert_int_equal(m.index, 4);
}

static void a_refusal_skips_a_whole_term(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    assert_true(append(node, (struct raft_message){.from = 2, .term = 4, .count = 7},
                       (uint64_t[]){1, 1, 4, 4, 4, 4, 4}));
    (void)reply(2);
    assert_true(
        append(node, (struct raft_message){.from = 3, .term = 5, .index = 6, .log_term = 3}, NULL));
    struct raft_message m = reply(3);
    assert_false(m.ok);
    assert_int_equal(m.index, 2);
    assert_int_equal(m.log_term, 1);
    assert_int_equal(m.commit, 6);
}

/* A leader whose log went on for hundreds of entries of its own is brought back in a few steps. */
static void a_long_divergence_is_found_quickly(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    struct net_node *old = net_node(&net, net_elect(&net));
    net_isolate(&net, old->id, true);
    for (int i = 0; i < 400; i++)
        assert_int_equal(net_propose(old), LILIO_OK);
    net_run(&net, 1500);
    struct net_node *node = net_node(&net, net_elect(&net));
    for (int i = 0; i < 600; i++) {
        assert_int_equal(net_propose(node), LILIO_OK);
        net_step(&net, 1);
    }
    net_run(&net, 100);
    net_isolate(&net, old->id, false);
    unsigned sends = old->sends;
    uint64_t since = net.now_ms;
    while (old->state.applied < raft_commit(node->raft) && net.now_ms < since + 2000)
        net_step(&net, 1);
    assert_true(net.now_ms - since <= 200);
    assert_true(old->sends - sends <= 40);
    assert_int_equal(net_log_last(&old->log), net_log_last(&node->log));
}

static void an_append_of_a_deposed_leader_teaches_it(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    uint64_t old = net_elect(&net);
    net_isolate(&net, old, true);
    net_node(&net, old)->paused_until_ms = net.now_ms + 3000;
    net_run(&net, 1500);
    uint64_t leader = net_elect(&net);
    assert_int_not_equal(leader, old);
    net_isolate(&net, old, false);
    net_run(&net, 2000);
    assert_int_equal(raft_leader(net_node(&net, old)->raft), net_leader(&net));
    assert_int_equal(net_log_last(&net_node(&net, old)->log),
                     net_log_last(&net_node(&net, leader)->log));
}

/* Raft's figure 8: an entry of an old term is on a majority, and is not committed by that (B2). */
static void an_old_term_is_not_counted(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    struct raft_message m = {0};
    assert_true(
        append(node, (struct raft_message){.from = 2, .term = 2, .count = 2}, (uint64_t[]){1, 2}));
    net_forget(&net);
    for (int i = 0; i < 2000 && !net_take(&net, RAFT_PRE_VOTE, 1, 2, &m); i++)
        net_step(&net, 1);
    net_receive(node, (struct raft_message){
                          .type = RAFT_PRE_VOTE_REPLY, .from = 2, .term = m.term, .ok = true});
    net_receive(node, (struct raft_message){
                          .type = RAFT_VOTE_REPLY, .from = 2, .term = m.term, .ok = true});
    assert_int_equal(raft_role(node->raft), RAFT_LEADER);
    struct raft_message ack = {.type = RAFT_APPEND_REPLY, .term = m.term, .index = 2, .ok = true};
    for (ack.from = 2; ack.from <= 3; ack.from++)
        assert_true(net_receive(node, ack));
    assert_int_equal(raft_commit(node->raft), 0);
    assert_false(raft_ready(node->raft));
    ack.from = 3;
    ack.index = 3; /* the no-op */
    assert_true(net_receive(node, ack));
    assert_int_equal(raft_commit(node->raft), 3);
    assert_true(raft_ready(node->raft));
    /* The members that answered exist only in this test. */
    assert_non_null(strstr(net.violation, "durable on 1 of 3"));
    net.violation[0] = 0;
}

/* A leader that is fed all the time commits all the time (B3). */
static void a_fed_leader_commits(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    struct net_node *node = net_node(&net, net_elect(&net));
    net.lazy_disk = true;
    net.delay_ms = 3;
    uint64_t before = raft_commit(node->raft);
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(net_propose(node), LILIO_OK);
        net_step(&net, 1);
        for (uint64_t id = 1; id <= 3; id++) /* never all of what waits */
            if (net_node(&net, id)->waiting.count > 1)
                net_persist(net_node(&net, id), net_node(&net, id)->waiting.count - 1);
    }
    assert_true(raft_commit(node->raft) >= before + 1950);
}

/* It sends before its own disk is done, and counts itself only after (10.2.1). */
static void the_leader_counts_itself_when_durable(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    struct net_node *node = net_node(&net, net_elect(&net));
    net_crash(net_node(&net, node->id % 3 + 1), 0);
    net.lazy_disk = true;
    uint64_t before = raft_commit(node->raft);
    assert_int_equal(net_propose(node), LILIO_OK);
    net_run(&net, 5);
    struct net_node *other = net_node(&net, (node->id + 1) % 3 + 1);
    assert_int_equal(net_log_last(&other->log), before + 1);
    net_persist(other, SIZE_MAX);
    net_run(&net, 5);
    assert_int_equal(raft_commit(node->raft), before);
    net_persist(node, SIZE_MAX);
    assert_int_equal(raft_commit(node->raft), before + 1);
}

static void what_is_under_way_is_bounded(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    struct net_node *node = net_node(&net, net_elect(&net));
    uint64_t other = node->id % 3 + 1;
    net_run(&net, 200);
    net.hold = true;
    net_forget(&net);
    for (int i = 0; i < 100; i++)
        assert_int_equal(net_propose(node), LILIO_OK);
    size_t messages = 0;
    for (const struct net_message *m = net.messages; m; m = m->next)
        messages += m->m.to == other;
    assert_int_equal(messages, RAFT_FLIGHT_MESSAGES_MAX);
    /* A dead member costs heartbeats, nothing else. */
    net_forget(&net);
    for (int i = 0; i < 250; i++)
        net_step(&net, 1);
    size_t entries = 0;
    messages = 0;
    for (const struct net_message *m = net.messages; m; m = m->next)
        if (m->m.to == other && m->m.type == RAFT_APPEND) {
            messages++;
            entries += m->m.count;
        }
    assert_true(messages <= 6);
    assert_int_equal(entries, 0);
}

static void one_message_is_bounded(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    struct net_node *node = net_node(&net, net_elect(&net));
    uint64_t other = node->id % 3 + 1;
    net_crash(net_node(&net, other), 0);
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(net_propose(node), LILIO_OK);
        net_step(&net, 0);
    }
    /* A new leader does not know how far anybody is. */
    assert_int_equal(net_transfer(node, 0), LILIO_OK);
    node = net_node(&net, net_elect(&net));
    unsigned sends = net_node(&net, other)->sends;
    net_restart(net_node(&net, other));
    net_run(&net, 500);
    assert_int_equal(net.entries_most, RAFT_SEND_ENTRIES_MAX);
    /* One refusal said how far it is behind. */
    assert_true(net_node(&net, other)->sends - sends <= 30);
    assert_int_equal(net_log_last(&net_node(&net, other)->log), net_log_last(&node->log));
}

/* Entries that were lost on the way are found at the next heartbeat, in one exchange. */
static void lost_entries_are_sent_again(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    struct net_node *node = net_node(&net, net_elect(&net));
    net_run(&net, 200);
    for (int i = 0; i < 5; i++)
        assert_int_equal(net_propose(node), LILIO_OK);
    net_forget(&net);
    net_run(&net, 60);
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(net_log_last(&net_node(&net, id)->log), net_log_last(&node->log));
    assert_int_equal(raft_commit(node->raft), net_log_last(&node->log));
}

/* A follower comes back with an older copy of its disk: the leader that counted what is gone sees
 * it, counts it no more, and sends it again. */
static void what_a_member_forgot_is_sent_again(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    struct net_node *node = net_node(&net, net_elect(&net));
    struct net_node *other = net_node(&net, node->id % 3 + 1);
    uint64_t term = raft_term(node->raft);
    for (int i = 0; i < 20; i++)
        assert_int_equal(net_propose(node), LILIO_OK);
    net_run(&net, 200);
    net_crash(other, 0);
    other->disk.count -= 15;
    net_restart(other);
    assert_int_equal(net_propose(node), LILIO_OK);
    net_run(&net, 400);
    assert_int_equal(raft_term(node->raft), term);
    assert_int_equal(net_log_last(&other->log), net_log_last(&node->log));
    struct raft_progress progress;
    assert_true(raft_progress_get(node->raft, other->id, &progress));
    assert_int_equal(progress.match, net_log_last(&node->log));
    /* Again, and nothing new is written since; now it is not counted until it has it. */
    net_crash(other, 0);
    other->disk.count -= 15;
    net_crash(net_node(&net, other->id % 3 + 1), 0);
    net_restart(other);
    net_run(&net, 150);
    assert_int_equal(net_log_last(&other->log), net_log_last(&node->log));
    assert_int_equal(raft_term(node->raft), term);
}

/* A leader loses what was not durable: its followers have it, and nobody writes that index again
 * in that term (B4). */
static void a_leader_that_crashes_does_not_reuse_an_index(void **unused)
{
    (void)unused;
    net_start(&net, 3, 11);
    uint64_t old = net_elect(&net);
    struct net_node *node = net_node(&net, old);
    net.lazy_disk = true;
    uint64_t before = net_log_last(&node->log);
    for (int i = 0; i < 3; i++)
        assert_int_equal(net_propose(node), LILIO_OK);
    net_run(&net, 3);
    for (uint64_t id = 1; id <= 3; id++)
        if (id != old)
            net_persist(net_node(&net, id), SIZE_MAX);
    net_crash(node, 0);
    net.lazy_disk = false;
    net_restart(node);
    assert_int_equal(net_log_last(&node->log), before);
    uint64_t term = node->saved.term, leader = net_elect(&net);
    assert_true(raft_term(net_node(&net, leader)->raft) > term);
    assert_int_not_equal(leader, old);
    net_run(&net, 500);
    assert_true(net_log_last(&node->log) >= before + 4);
}

/* ---- snapshots ---- */

static void compact(struct net_node *node)
{
    net_flush(node);
    net_cut_log(node, node->state.applied);
}

static void what_is_cut_off_comes_as_a_state(void **unused)
{
    (void)unused;
    net_start(&net, 3, 3);
    struct net_node *node = net_node(&net, net_elect(&net));
    struct net_node *late = net_node(&net, node->id % 3 + 1);
    net_crash(late, 0);
    for (int i = 0; i < 50; i++)
        assert_int_equal(net_propose(node), LILIO_OK);
    net_run(&net, 100);
    compact(node);
    for (int i = 0; i < 5; i++)
        assert_int_equal(net_propose(node), LILIO_OK);
    net_restart(late);
    struct raft_progress progress = {0};
    for (int i = 0; i < 1000 && !progress.snapshot; i++) {
        net_step(&net, 1);
        assert_true(raft_progress_get(node->raft, late->id, &progress));
    }
    assert_true(progress.snapshot);
    net_run(&net, 1000);
    assert_int_equal(net.snapshots, 1);
    assert_int_equal(late->state.applied, node->state.applied);
    assert_true(raft_progress_get(node->raft, late->id, &progress));
    assert_false(progress.snapshot);
    assert_int_equal(progress.match, net_log_last(&node->log));
}

/* An offer that came too late is not taken, and a state that was overtaken is not wanted. */
static void an_overtaken_state_is_not_installed(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    struct raft_message offer = {
        .type = RAFT_SNAPSHOT, .from = 2, .term = 1, .index = 3, .log_term = 1, .commit = 3};
    assert_true(net_receive(node, offer));
    assert_true(node->pull.under_way);
    assert_true(raft_install_wanted(node->raft, 3, 1));
    assert_true(append(node, (struct raft_message){.from = 3, .term = 2, .count = 4},
                       (uint64_t[]){1, 1, 1, 2}));
    assert_int_equal(reply(3).index, 4);
    assert_false(raft_install_wanted(node->raft, 3, 1));
    assert_true(raft_install_wanted(node->raft, 4, 1));
    raft_not_installed(node->raft);
    node->pull.under_way = false;
    offer.term = 2;
    offer.from = 3;
    assert_true(net_receive(node, offer));
    assert_false(node->pull.under_way);
    struct raft_message m = reply(3);
    assert_true(m.ok);
    assert_int_equal(m.index, 4);
}

static void it_is_offered_again_when_the_pull_fails(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    struct raft_message offer = {
        .type = RAFT_SNAPSHOT, .from = 2, .term = 1, .index = 3, .log_term = 1};
    assert_true(net_receive(node, offer));
    assert_true(node->pull.under_way);
    node->pull.under_way = false;
    assert_true(net_receive(node, offer));
    assert_false(node->pull.under_way); /* still pulling, as far as it knows */
    raft_not_installed(node->raft);
    assert_true(net_receive(node, offer));
    assert_true(node->pull.under_way);
}

/* While it pulls it votes and hears a new leader like everybody (the log is intact until then). */
static void who_pulls_takes_part(void **unused)
{
    (void)unused;
    struct net_node *node = alone();
    struct raft_message m,
        offer = {.type = RAFT_SNAPSHOT, .from = 2, .term = 1, .index = 30, .log_term = 1};
    assert_true(net_receive(node, offer));
    net_step(&net, 310);
    net_forget(&net);
    node->pull.at_ms = net.now_ms + 100000;
    assert_true(net_receive(
        node, (struct raft_message){
                  .type = RAFT_VOTE, .from = 3, .term = 5, .index = 40, .log_term = 2}));
    assert_true(net_take(&net, RAFT_VOTE_REPLY, 1, 3, &m));
    assert_true(m.ok);
    offer.from = 3;
    offer.term = 5;
    assert_true(net_receive(node, offer));
    assert_int_equal(raft_leader(node->raft), 3);
}

static void a_log_that_lost_entries_is_refused(void **unused)
{
    (void)unused;
    net_start(&net, 1, 3);
    struct net_node *node = net_node(&net, net_elect(&net));
    for (int i = 0; i < 5; i++)
        assert_int_equal(net_propose(node), LILIO_OK);
    net_flush(node);
    net_crash(node, 0);
    node->disk.count -= 2;
    net_restart(node);
    assert_false(node->up);
    assert_non_null(strstr(net.violation, "was committed"));
    net.violation[0] = 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, stop)
    const struct CMUnitTest tests[] = {
        TEST(a_stale_suffix_is_not_acknowledged),
        TEST(a_leader_that_contradicts_is_not_followed),
        TEST(only_what_is_durable_is_acknowledged),
        TEST(a_replaced_entry_is_not_persisted),
        TEST(nothing_is_applied_before_it_is_durable),
        TEST(repeated_and_reordered_appends_change_nothing),
        TEST(a_refusal_skips_a_whole_term),
        TEST(a_long_divergence_is_found_quickly),
        TEST(an_append_of_a_deposed_leader_teaches_it),
        TEST(an_old_term_is_not_counted),
        TEST(a_fed_leader_commits),
        TEST(the_leader_counts_itself_when_durable),
        TEST(what_is_under_way_is_bounded),
        TEST(one_message_is_bounded),
        TEST(lost_entries_are_sent_again),
        TEST(what_a_member_forgot_is_sent_again),
        TEST(a_leader_that_crashes_does_not_reuse_an_index),
        TEST(what_is_cut_off_comes_as_a_state),
        TEST(an_overtaken_state_is_not_installed),
        TEST(it_is_offered_again_when_the_pull_fails),
        TEST(who_pulls_takes_part),
        TEST(a_log_that_lost_entries_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
