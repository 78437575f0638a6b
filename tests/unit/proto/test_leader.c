/* Aim: who is asked next, and when, for every way in which a coordinator fails to answer; what is
 * learnt stays within its bound, and what is no address is not learnt. Method: the pure policy of
 * proto/leader.h, stepped by hand through time that is a number. */
#include "proto/leader.h"

#include <stdio.h>

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

static const char *const three[] = {"ipc:///run/a", "ipc:///run/b", "ipc:///run/c"};

enum { A, B, C, START = 1000, PATIENCE = 10000 };

static const struct base_slice nobody;

static void begin(struct proto_ask *ask, struct proto_leader *leader, uint64_t now_ms)
{
    proto_ask_begin(ask, leader, PATIENCE, 7, now_ms);
}

static void test_the_known_leader_is_asked_first(void **state)
{
    struct proto_leader leader;
    struct proto_ask ask;
    (void)state;
    proto_leader_init(&leader, three, 3);
    begin(&ask, &leader, START);
    assert_int_equal(ask.at, A);
    assert_int_equal(ask.end_ms, START + PATIENCE);
    proto_ask_failed(&ask, &leader, PROTO_ASK_NOT_LEADER, base_slice_str(three[C]), START);
    assert_int_equal(ask.at, C);
    assert_string_equal(ask.endpoint, three[C]);
    assert_int_equal(ask.not_before_ms, START); /* at once */
    proto_ask_answered(&ask, &leader);
    begin(&ask, &leader, START + 1); /* another line, the same leader */
    assert_int_equal(ask.at, C);
}

static void test_an_election_is_waited_for_in_short_pauses(void **state)
{
    struct proto_leader leader;
    struct proto_ask ask;
    (void)state;
    proto_leader_init(&leader, three, 3);
    begin(&ask, &leader, START);
    uint64_t now = START, first_six = 0;
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(ask.at, i % 3);
        proto_ask_failed(&ask, &leader, PROTO_ASK_NOT_LEADER, nobody, now);
        uint64_t pause = ask.not_before_ms - now;
        assert_in_range(pause, 20, i < 2 ? 40 : 200);
        now += pause;
        first_six = i < 6 ? now - START : first_six;
    }
    assert_in_range(first_six, 140, 400); /* several looks within one election */
}

static void test_broken_ones_are_left_at_once_and_shunned(void **state)
{
    struct proto_leader leader;
    struct proto_ask ask;
    (void)state;
    proto_leader_init(&leader, three, 3);
    begin(&ask, &leader, START);
    proto_ask_failed(&ask, &leader, PROTO_ASK_BROKEN, nobody, START);
    assert_int_equal(ask.at, B);
    assert_int_equal(ask.not_before_ms, START);
    /* The follower has not noticed yet: it is not believed. */
    proto_ask_failed(&ask, &leader, PROTO_ASK_NOT_LEADER, base_slice_str(three[A]), START + 1);
    assert_int_equal(ask.at, C);
    assert_true(ask.not_before_ms > START + 1);
    proto_ask_failed(&ask, &leader, PROTO_ASK_NOT_LEADER, nobody, START + 50);
    assert_int_equal(ask.at, B); /* not A */
    struct proto_ask other;
    begin(&other, &leader, START + 60); /* and nobody else begins with A */
    assert_int_equal(other.at, B);
    /* Later it is believed again. */
    uint64_t later = START + PROTO_LEADER_SHUN_MS;
    proto_ask_failed(&ask, &leader, PROTO_ASK_NOT_LEADER, base_slice_str(three[A]), later);
    assert_int_equal(ask.at, A);
}

static void test_when_all_failed_the_oldest_failure_comes_first_after_a_pause(void **state)
{
    struct proto_leader leader;
    struct proto_ask ask;
    (void)state;
    proto_leader_init(&leader, three, 3);
    begin(&ask, &leader, START);
    proto_ask_failed(&ask, &leader, PROTO_ASK_BROKEN, nobody, START);
    proto_ask_failed(&ask, &leader, PROTO_ASK_BROKEN, nobody, START + 1);
    assert_int_equal(ask.not_before_ms, START + 1);
    proto_ask_failed(&ask, &leader, PROTO_ASK_BROKEN, nobody, START + 2);
    assert_int_equal(ask.at, A);
    assert_true(ask.not_before_ms > START + 2);
}

static void test_silence_makes_attempts_longer(void **state)
{
    struct proto_leader leader;
    struct proto_ask ask;
    (void)state;
    proto_leader_init(&leader, three, 3);
    begin(&ask, &leader, START);
    uint32_t attempt_ms = PROTO_LEADER_ATTEMPT_MS;
    assert_in_range(attempt_ms, 500, 1000);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(ask.attempt_ms, attempt_ms);
        assert_true(ask.connect_ms < ask.attempt_ms || i > 0);
        proto_ask_failed(&ask, &leader, PROTO_ASK_SILENT, nobody, START + 10000u * (unsigned)i);
        attempt_ms = attempt_ms < PROTO_LEADER_ATTEMPT_MS_MAX ? 2 * attempt_ms : attempt_ms;
    }
    begin(&ask, &leader, START + 200000);
    assert_int_equal(ask.attempt_ms, PROTO_LEADER_ATTEMPT_MS); /* each request anew */
}

static void test_busy_ones_are_asked_again_later(void **state)
{
    struct proto_leader leader;
    struct proto_ask ask;
    (void)state;
    proto_leader_init(&leader, three, 3);
    begin(&ask, &leader, START);
    for (int i = 0; i < 20; i++) {
        proto_ask_failed(&ask, &leader, PROTO_ASK_BUSY, nobody, START);
        assert_int_equal(ask.at, A);
        assert_in_range(ask.not_before_ms, START + 5, START + PROTO_LEADER_BUSY_MS_MAX);
    }
    assert_true(ask.not_before_ms >= START + PROTO_LEADER_BUSY_MS_MAX / 2);
}

static void test_two_that_name_each_other_cost_pauses(void **state)
{
    struct proto_leader leader;
    struct proto_ask ask;
    (void)state;
    proto_leader_init(&leader, three, 2);
    begin(&ask, &leader, START);
    uint64_t now = START;
    for (int i = 0; i < 40; i++) {
        proto_ask_failed(&ask, &leader, PROTO_ASK_NOT_LEADER, base_slice_str(three[1 - ask.at]),
                         now);
        assert_true(i < PROTO_LEADER_REDIRECTS_MAX || ask.not_before_ms > now);
        now = ask.not_before_ms;
    }
    assert_true(now > START + 1000);
}

static void test_one_alone_is_waited_for(void **state)
{
    struct proto_leader leader;
    struct proto_ask ask;
    (void)state;
    proto_leader_init(&leader, three, 1);
    begin(&ask, &leader, START);
    assert_int_equal(ask.attempt_ms, UINT32_MAX);
    assert_int_equal(ask.connect_ms, UINT32_MAX);
    assert_false(ask.several);
    proto_ask_failed(&ask, &leader, PROTO_ASK_NOT_LEADER, base_slice_str(three[A]), START);
    assert_int_equal(ask.at, A);
    assert_true(ask.not_before_ms > START);
    proto_ask_failed(&ask, &leader, PROTO_ASK_NOT_LEADER, base_slice_str(three[B]), START);
    assert_int_equal(ask.at, B);
    assert_true(ask.several); /* it named another one */
}

static void test_what_is_learnt_is_bounded_and_checked(void **state)
{
    struct proto_leader leader;
    char text[300];
    (void)state;
    proto_leader_init(&leader, three, 3);
    assert_int_equal(proto_leader_learn(&leader, base_slice_str(three[B])), B);
    const char *const bad[] = {"", "b", "http://x", "tcp://host", "ipc://", "tcp://h:99999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_true(proto_leader_learn(&leader, base_slice_str(bad[i])) == SIZE_MAX);
    assert_true(proto_leader_learn(&leader, base_slice("ipc:///a\0b", 10)) == SIZE_MAX);
    memset(text, 'x', sizeof text);
    memcpy(text, "inproc://", 9);
    assert_true(proto_leader_learn(&leader, base_slice(text, sizeof text)) == SIZE_MAX);
    for (int i = 0; i < 100; i++) {
        int size = snprintf(text, sizeof text, "tcp://127.0.0.1:%d", 2000 + i);
        size_t at = proto_leader_learn(&leader, base_slice(text, (size_t)size));
        assert_in_range(at, 3, PROTO_LEADER_COORDINATORS_MAX - 1);
        assert_string_equal(leader.endpoints[at], text);
    }
    assert_int_equal(leader.count, PROTO_LEADER_COORDINATORS_MAX);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(leader.endpoints[i], three[i]);
}

static void test_humans_are_told_who_was_tried(void **state)
{
    struct proto_leader leader;
    struct proto_ask ask;
    char text[400], little[20];
    (void)state;
    proto_leader_init(&leader, three, 3);
    begin(&ask, &leader, START);
    proto_ask_failed(&ask, &leader, PROTO_ASK_BROKEN, nobody, START);
    proto_ask_failed(&ask, &leader, PROTO_ASK_NOT_LEADER, nobody, START);
    proto_ask_failed(&ask, &leader, PROTO_ASK_SILENT, nobody, START);
    proto_ask_failed(&ask, &leader, PROTO_ASK_UNREACHABLE, nobody, START);
    proto_ask_describe(&ask, text, sizeof text);
    assert_non_null(strstr(text, "ipc:///run/c: no answer"));
    assert_non_null(strstr(text, "ipc:///run/b: "));
    proto_ask_describe(&ask, little, sizeof little);
    assert_int_equal(strlen(little), sizeof little - 1);
    for (int i = 0; i < 50; i++) {
        proto_ask_failed(&ask, &leader, (enum proto_ask_event)(i % PROTO_ASK_EVENTS), nobody,
                         START + 100u * (unsigned)i);
        assert_in_range(ask.tried_count, 1, 3); /* each once */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_known_leader_is_asked_first),
        cmocka_unit_test(test_an_election_is_waited_for_in_short_pauses),
        cmocka_unit_test(test_broken_ones_are_left_at_once_and_shunned),
        cmocka_unit_test(test_when_all_failed_the_oldest_failure_comes_first_after_a_pause),
        cmocka_unit_test(test_silence_makes_attempts_longer),
        cmocka_unit_test(test_busy_ones_are_asked_again_later),
        cmocka_unit_test(test_two_that_name_each_other_cost_pauses),
        cmocka_unit_test(test_one_alone_is_waited_for),
        cmocka_unit_test(test_what_is_learnt_is_bounded_and_checked),
        cmocka_unit_test(test_humans_are_told_who_was_tried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
