/* Aim: the checker accepts what a register could have answered and nothing else.
 * Method: small histories by hand, right and wrong; random ones compared with all permutations;
 * long ones made by a register, then one answer changed.
 */
#include "tests/support/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "tests/sim/linear.h"

#include "base/banned.h"

enum { KEY = 3 };

static struct sim_history history;

static int setup(void **unused)
{
    (void)unused;
    sim_history_release(&history);
    return 0;
}

static size_t begin(uint32_t client, enum sim_op_kind kind, uint64_t value)
{
    struct sim_op op = {.kind = (uint8_t)kind, .client = client, .key = KEY, .value = value};
    if (kind == SIM_PUT_VERSION || kind == SIM_DELETE_VERSION)
        op.expect = value >> 32, op.value = value & UINT32_MAX;
    return sim_history_begin(&history, op, 0);
}

static void finish(size_t place, enum sim_outcome outcome)
{
    sim_history_end(&history, place, outcome, 0);
}

static void did(enum sim_op_kind kind, uint64_t value, enum sim_outcome outcome)
{
    finish(begin(1, kind, value), outcome);
}

/* Expect and value of a conditional change in one number. */
static uint64_t instead(uint64_t expect, uint64_t value)
{
    return expect << 32 | value;
}

static void expect_verdict(enum sim_verdict verdict)
{
    struct sim_linear_report report;
    sim_linear_check(&history, KEY, &report);
    if (report.verdict != verdict)
        print_error("%s", report.text);
    assert_int_equal(report.verdict, verdict);
}

static void one_after_another(void **unused)
{
    (void)unused;
    did(SIM_GET, SIM_NOTHING, SIM_DONE);
    did(SIM_DELETE, 0, SIM_REFUSED);
    did(SIM_PUT, 10, SIM_DONE);
    did(SIM_GET, 10, SIM_DONE);
    did(SIM_PUT_ABSENT, 11, SIM_REFUSED);
    did(SIM_PUT_VERSION, instead(10, 12), SIM_DONE);
    did(SIM_PUT_VERSION, instead(10, 13), SIM_REFUSED);
    did(SIM_GET, 12, SIM_DONE);
    did(SIM_DELETE_VERSION, instead(10, 0), SIM_REFUSED);
    did(SIM_DELETE, 0, SIM_DONE);
    did(SIM_PUT_ABSENT, 14, SIM_DONE);
    did(SIM_DELETE_VERSION, instead(14, 0), SIM_DONE);
    did(SIM_GET, SIM_NOTHING, SIM_DONE);
    expect_verdict(SIM_LINEAR);
}

static void stale_read_is_refused(void **unused)
{
    (void)unused;
    did(SIM_PUT, 10, SIM_DONE);
    did(SIM_PUT, 11, SIM_DONE);
    did(SIM_GET, 10, SIM_DONE);
    expect_verdict(SIM_NOT_LINEAR);
}

static void reads_may_not_go_back(void **unused)
{
    (void)unused;
    did(SIM_PUT, 10, SIM_DONE);
    size_t put = begin(2, SIM_PUT, 11);
    did(SIM_GET, 11, SIM_DONE);
    size_t get = begin(3, SIM_GET, 10);
    finish(put, SIM_DONE);
    finish(get, SIM_DONE);
    expect_verdict(SIM_NOT_LINEAR);
}

static void lost_update_is_refused(void **unused)
{
    (void)unused;
    did(SIM_PUT, 10, SIM_DONE);
    size_t one = begin(1, SIM_PUT_VERSION, instead(10, 11));
    size_t two = begin(2, SIM_PUT_VERSION, instead(10, 12));
    finish(one, SIM_DONE);
    finish(two, SIM_DONE);
    expect_verdict(SIM_NOT_LINEAR);
}

static void acknowledged_put_is_not_lost(void **unused)
{
    (void)unused;
    did(SIM_PUT, 10, SIM_DONE);
    did(SIM_GET, SIM_NOTHING, SIM_DONE);
    expect_verdict(SIM_NOT_LINEAR);
}

static void unknown_put_may_come_late_or_never(void **unused)
{
    (void)unused;
    did(SIM_PUT, 10, SIM_DONE);
    did(SIM_PUT, 11, SIM_UNKNOWN);
    did(SIM_GET, 10, SIM_DONE);
    did(SIM_GET, 10, SIM_DONE);
    expect_verdict(SIM_LINEAR);
    did(SIM_GET, 11, SIM_DONE);
    expect_verdict(SIM_LINEAR);
    did(SIM_GET, 10, SIM_DONE);
    expect_verdict(SIM_NOT_LINEAR);
}

static void unknown_put_has_one_effect(void **unused)
{
    (void)unused;
    did(SIM_PUT, 10, SIM_UNKNOWN);
    did(SIM_GET, 10, SIM_DONE);
    did(SIM_PUT, 11, SIM_DONE);
    did(SIM_GET, 11, SIM_DONE);
    expect_verdict(SIM_LINEAR);
    did(SIM_GET, 10, SIM_DONE);
    expect_verdict(SIM_NOT_LINEAR);
}

static void failed_put_has_none(void **unused)
{
    (void)unused;
    did(SIM_PUT, 10, SIM_FAILED);
    did(SIM_GET, SIM_NOTHING, SIM_DONE);
    expect_verdict(SIM_LINEAR);
    did(SIM_GET, 10, SIM_DONE);
    expect_verdict(SIM_NOT_LINEAR);
}

static void value_from_nowhere_is_refused(void **unused)
{
    (void)unused;
    did(SIM_PUT, 10, SIM_DONE);
    did(SIM_GET, 999, SIM_DONE);
    expect_verdict(SIM_NOT_LINEAR);
}

static void value_is_not_read_before_it_is_written(void **unused)
{
    (void)unused;
    did(SIM_GET, 10, SIM_DONE);
    did(SIM_PUT, 10, SIM_UNKNOWN);
    expect_verdict(SIM_NOT_LINEAR);
}

static void deleted_value_stays_deleted(void **unused)
{
    (void)unused;
    did(SIM_PUT, 10, SIM_DONE);
    did(SIM_DELETE, 0, SIM_DONE);
    did(SIM_GET, SIM_NOTHING, SIM_DONE);
    expect_verdict(SIM_LINEAR);
    did(SIM_GET, 10, SIM_DONE);
    expect_verdict(SIM_NOT_LINEAR);
}

static void two_cannot_both_be_first(void **unused)
{
    (void)unused;
    size_t one = begin(1, SIM_PUT_ABSENT, 10);
    size_t two = begin(2, SIM_PUT_ABSENT, 11);
    finish(one, SIM_DONE);
    finish(two, SIM_DONE);
    expect_verdict(SIM_NOT_LINEAR);
}

static void refusal_needs_a_reason(void **unused)
{
    (void)unused;
    did(SIM_PUT, 10, SIM_DONE);
    did(SIM_PUT_VERSION, instead(10, 11), SIM_REFUSED);
    expect_verdict(SIM_NOT_LINEAR);
    setup(NULL);
    did(SIM_PUT, 10, SIM_DONE);
    did(SIM_PUT, 12, SIM_UNKNOWN);
    did(SIM_PUT_VERSION, instead(10, 11), SIM_REFUSED); /* the unseen one explains it */
    did(SIM_PUT, 13, SIM_DONE);
    expect_verdict(SIM_LINEAR);
    did(SIM_PUT_VERSION, instead(13, 14), SIM_REFUSED); /* but only once */
    expect_verdict(SIM_NOT_LINEAR);
    setup(NULL);
    did(SIM_DELETE, 0, SIM_REFUSED);
    did(SIM_PUT, 10, SIM_DONE);
    did(SIM_DELETE, 0, SIM_REFUSED);
    expect_verdict(SIM_NOT_LINEAR);
}

static void empty_values_are_told_apart_by_version(void **unused)
{
    (void)unused;
    uint64_t one = sim_value_id(KEY, 1, 1, true), two = sim_value_id(KEY, 1, 2, true);
    size_t a = begin(1, SIM_PUT, one);
    history.ops[a].version = (struct sim_version){7, 0};
    finish(a, SIM_DONE);
    size_t b = begin(1, SIM_PUT, two);
    history.ops[b].version = (struct sim_version){8, 0};
    finish(b, SIM_DONE);
    size_t get = begin(2, SIM_GET, SIM_ANY_EMPTY);
    finish(get, SIM_DONE);
    expect_verdict(SIM_LINEAR);
    history.ops[get].version = (struct sim_version){7, 0};
    sim_history_resolve(&history);
    expect_verdict(SIM_NOT_LINEAR);
    did(SIM_PUT, 77, SIM_DONE);
    history.ops[get].value = two;
    did(SIM_GET, SIM_ANY_EMPTY, SIM_DONE);
    expect_verdict(SIM_NOT_LINEAR);
}

/* ---- against all permutations ---- */

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    struct base_random random = base_random_seeded(&seed);
    return base_random_u64(&random) % below;
}

static bool apply(const struct sim_op *op, uint64_t *there)
{
    bool refused = op->outcome == SIM_REFUSED;
    bool holds =
        op->kind == SIM_PUT || (op->kind == SIM_PUT_ABSENT && *there == SIM_NOTHING) ||
        (op->kind == SIM_DELETE && *there != SIM_NOTHING) ||
        ((op->kind == SIM_PUT_VERSION || op->kind == SIM_DELETE_VERSION) && *there == op->expect);
    if (op->kind == SIM_GET)
        return op->value == *there;
    if (refused || !holds)
        return refused == !holds;
    *there = op->kind == SIM_DELETE || op->kind == SIM_DELETE_VERSION ? SIM_NOTHING : op->value;
    return true;
}

/* Tries every order; unknown ones may be left out. */
static bool explainable(unsigned left, uint64_t there)
{
    bool open = false;
    for (size_t i = 0; i < history.count; i++)
        open |= (left >> i & 1) && history.ops[i].outcome != SIM_UNKNOWN;
    if (!open)
        return true;
    for (size_t i = 0; i < history.count; i++) {
        bool first = left >> i & 1;
        for (size_t j = 0; j < history.count && first; j++)
            first = !(left >> j & 1) || history.ops[j].outcome == SIM_UNKNOWN ||
                    history.ops[j].end > history.ops[i].begin;
        uint64_t then = there;
        if (first && apply(&history.ops[i], &then) && explainable(left & ~(1u << i), then))
            return true;
    }
    return false;
}

static void make_random(size_t count)
{
    size_t open[8], open_count = 0;
    sim_history_release(&history);
    for (size_t i = 0; i < count || open_count;) {
        if (i < count && open_count < 4 && draw(2)) {
            enum sim_op_kind kind = (enum sim_op_kind)(1 + draw(6));
            open[open_count++] = begin((uint32_t)i, kind, 0);
            struct sim_op *op = &history.ops[history.count - 1];
            op->value = kind == SIM_GET ? draw(count + 1) : history.count;
            op->expect = 1 + draw(count);
            i++;
        } else if (open_count) {
            size_t which = draw(open_count);
            struct sim_op *op = &history.ops[open[which]];
            enum sim_outcome outcome = op->kind == SIM_GET   ? SIM_DONE
                                       : draw(4) == 0        ? SIM_UNKNOWN
                                       : op->kind == SIM_PUT ? SIM_DONE
                                       : draw(2)             ? SIM_DONE
                                                             : SIM_REFUSED;
            finish(open[which], outcome);
            open[which] = open[--open_count];
        }
    }
}

/* A conditional change can only expect what somebody was told of. */
static bool expectations_are_known(void)
{
    for (size_t i = 0; i < history.count; i++) {
        const struct sim_op *op = &history.ops[i];
        bool known = op->kind != SIM_PUT_VERSION && op->kind != SIM_DELETE_VERSION;
        for (size_t j = 0; j < history.count && !known; j++) {
            const struct sim_op *other = &history.ops[j];
            known = other->outcome == SIM_DONE && other->value == op->expect &&
                    (other->kind <= SIM_GET);
        }
        if (!known)
            return false;
    }
    return true;
}

static void agrees_with_all_permutations(void **unused)
{
    (void)unused;
    size_t good = 0, bad = 0;
    seed = 4711;
    for (int round = 0; round < 300000 && (good < 6000 || bad < 6000); round++) {
        make_random(3 + draw(5));
        if (!expectations_are_known())
            continue;
        bool expected = explainable((1u << history.count) - 1, SIM_NOTHING);
        good += expected;
        bad += !expected;
        struct sim_linear_report report;
        sim_linear_check(&history, KEY, &report);
        if ((report.verdict == SIM_LINEAR) != expected) {
            char line[256];
            for (size_t i = 0; i < history.count; i++) {
                sim_op_format(&history, i, line, sizeof line);
                print_error("%s\n", line);
            }
            fail_msg("round %d: expected %s", round, expected ? "linear" : "not linear");
        }
    }
    assert_true(good >= 2000);
    assert_true(bad >= 2000);
}

/* ---- long ones ---- */

struct actor {
    size_t place;
    bool busy, acted;
};

/* A register serves actors one at a time between the begin and the end of what they ask for. */
static void make_long(size_t count, uint32_t actors, unsigned unknown_percent)
{
    struct actor all[32] = {{0}};
    uint64_t there = SIM_NOTHING, known = SIM_NOTHING;
    sim_history_release(&history);
    while (history.count < count) {
        struct actor *actor = &all[draw(actors)];
        if (!actor->busy) {
            enum sim_op_kind kind = (enum sim_op_kind)(1 + draw(6));
            actor->place = begin((uint32_t)(actor - all), kind, 0);
            struct sim_op *op = &history.ops[actor->place];
            op->value = kind == SIM_GET ? 0 : history.count;
            op->expect = known ? known : 1;
            actor->busy = true;
            actor->acted = false;
            continue;
        }
        struct sim_op *op = &history.ops[actor->place];
        bool vague = draw(100) < unknown_percent && op->kind != SIM_GET;
        if (!actor->acted && !(vague && draw(2))) {
            if (op->kind == SIM_GET)
                op->value = there;
            op->outcome = SIM_DONE;
            if (!apply(op, &there))
                op->outcome = SIM_REFUSED;
            if (op->kind == SIM_GET)
                known = there;
            actor->acted = true;
            if (!vague)
                continue;
        }
        finish(actor->place, vague || !actor->acted ? SIM_UNKNOWN : (enum sim_outcome)op->outcome);
        actor->busy = false;
    }
}

static void long_histories_are_cheap(void **unused)
{
    (void)unused;
    for (seed = 1; seed <= 40; seed++) {
        uint64_t keep = seed;
        make_long(5000, 2 + (uint32_t)(seed % 9), (unsigned)(seed % 4) * 5);
        struct sim_linear_report report;
        sim_linear_check_all(&history, &report);
        if (report.verdict != SIM_LINEAR)
            print_error("%s", report.text);
        assert_int_equal(report.verdict, SIM_LINEAR);
        assert_true(report.configs_peak < 20000);
        seed = keep;
    }
}

static void one_wrong_answer_is_found(void **unused)
{
    (void)unused;
    size_t found = 0, tried = 0;
    for (seed = 1; seed <= 40; seed++) {
        uint64_t keep = seed;
        make_long(2000, 4, 2);
        size_t i = 200 + draw(1700);
        while (i < history.count &&
               (history.ops[i].kind != SIM_GET || history.ops[i].outcome != SIM_DONE))
            i++;
        uint64_t old = SIM_NOTHING;
        for (size_t j = 0; j + 100 < i; j++)
            if (history.ops[j].kind == SIM_GET && history.ops[j].value)
                old = history.ops[j].value;
        if (i < history.count && old != history.ops[i].value && old) {
            history.ops[i].value = old;
            struct sim_linear_report report;
            sim_linear_check(&history, KEY, &report);
            found += report.verdict == SIM_NOT_LINEAR;
            tried++;
        }
        seed = keep;
    }
    assert_true(tried > 20);
    assert_int_equal(found, tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(one_after_another, setup),
        cmocka_unit_test_setup(stale_read_is_refused, setup),
        cmocka_unit_test_setup(reads_may_not_go_back, setup),
        cmocka_unit_test_setup(lost_update_is_refused, setup),
        cmocka_unit_test_setup(acknowledged_put_is_not_lost, setup),
        cmocka_unit_test_setup(unknown_put_may_come_late_or_never, setup),
        cmocka_unit_test_setup(unknown_put_has_one_effect, setup),
        cmocka_unit_test_setup(failed_put_has_none, setup),
        cmocka_unit_test_setup(value_from_nowhere_is_refused, setup),
        cmocka_unit_test_setup(value_is_not_read_before_it_is_written, setup),
        cmocka_unit_test_setup(deleted_value_stays_deleted, setup),
        cmocka_unit_test_setup(two_cannot_both_be_first, setup),
        cmocka_unit_test_setup(refusal_needs_a_reason, setup),
        cmocka_unit_test_setup(empty_values_are_told_apart_by_version, setup),
        cmocka_unit_test_setup(agrees_with_all_permutations, setup),
        cmocka_unit_test_setup(long_histories_are_cheap, setup),
        cmocka_unit_test_setup(one_wrong_answer_is_found, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sim_history_release(&history);
    return failed;
}
