/* Aim: what is said about the quorum is true: who counts, who lives, what one more loss does.
 * Method: statuses made by hand. */
#include "tools/quorum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/banned.h"

enum { MEMBERS = 6 };
struct sample {
    struct lilio_coordinator list[MEMBERS];
    struct lilio_status status;
};

/* One letter per coordinator: L leader, F follower, S silent follower, U one that the leader has
 * not heard yet, l learner, s silent one. */
static void make(struct sample *sample, const char *letters)
{
    *sample = (struct sample){0};
    sample->status.coordinators = sample->list;
    sample->status.coordinator_count = strlen(letters);
    for (size_t i = 0; letters[i]; i++) {
        struct lilio_coordinator *at = &sample->list[i];
        bool learner = letters[i] == 'l' || letters[i] == 's';
        at->id = (uint32_t)i;
        at->member = 1ULL << 32 | i;
        at->silent_ms = letters[i] == 'S' || letters[i] == 's' ? TOOLS_QUORUM_SILENT_MS
                        : letters[i] == 'U'                    ? LILIO_COORDINATOR_UNHEARD
                                                               : letters[i] == 'F';
        (void)snprintf(at->role, sizeof at->role, "%s", letters[i] == 'L' ? "leader" : "follower");
        (void)snprintf(at->kind, sizeof at->kind, "%s", learner ? "learner" : "voter");
    }
}

static void test_counting(void **state)
{
    (void)state;
    static const struct {
        const char *letters;
        size_t voters, living;
        bool decides, without_last;
    } cases[] = {
        {"L", 1, 1, true, false},    {"LF", 2, 2, true, true},     {"LS", 2, 1, false, true},
        {"LFF", 3, 3, true, true},   {"LSF", 3, 2, true, false},   {"LFS", 3, 2, true, true},
        {"LSS", 3, 1, false, false}, {"LFFl", 3, 3, true, true},   {"LSFs", 3, 2, true, true},
        {"LFFSS", 5, 3, true, true}, {"LFSSF", 5, 3, true, false}, {"FFF", 3, 3, true, true},
        {"LUF", 3, 2, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sample sample;
        make(&sample, cases[i].letters);
        uint32_t last = (uint32_t)strlen(cases[i].letters) - 1;
        struct tools_quorum all = tools_quorum_count(&sample.status, UINT32_MAX);
        struct tools_quorum without = tools_quorum_count(&sample.status, last);
        if (all.voters != cases[i].voters || all.living != cases[i].living ||
            tools_quorum_decides(all) != cases[i].decides ||
            tools_quorum_decides(without) != cases[i].without_last)
            fail_msg("%s: %zu of %zu", cases[i].letters, all.living, all.voters);
    }
}

static void test_who_is_who(void **state)
{
    (void)state;
    struct sample sample;
    make(&sample, "FLl");
    assert_int_equal(tools_quorum_leader(&sample.status)->id, 1);
    assert_string_equal(tools_quorum_role(&sample.list[0]), "follower");
    assert_string_equal(tools_quorum_role(&sample.list[1]), "leader");
    assert_string_equal(tools_quorum_role(&sample.list[2]), "learner");
    make(&sample, "FFl");
    assert_null(tools_quorum_leader(&sample.status));
    /* A replacement under way: two incarnations of coordinator 1, and an older try. */
    make(&sample, "LSll");
    sample.list[2].id = sample.list[3].id = 1;
    sample.list[2].member = 7ULL << 32 | 1;
    sample.list[3].member = 5ULL << 32 | 1;
    assert_ptr_equal(tools_quorum_voter(&sample.status, 1), &sample.list[1]);
    assert_ptr_equal(tools_quorum_learner(&sample.status, 1), &sample.list[2]);
    assert_null(tools_quorum_learner(&sample.status, 0));
    assert_null(tools_quorum_voter(&sample.status, 9));
}

/* What tools_quorum_warn says. */
static void warn(const char *letters, char *ret, size_t room)
{
    struct sample sample;
    struct tools_out out = {0};
    char *text = NULL;
    size_t size = 0;
    FILE *real = stdout, *memory = open_memstream(&text, &size);
    make(&sample, letters);
    stdout = memory;
    tools_quorum_warn(&out, &sample.status);
    stdout = real;
    assert_int_equal(fclose(memory), 0);
    (void)snprintf(ret, room, "%s", text);
    free(text);
}

static void test_warnings(void **state)
{
    (void)state;
    char text[1000];
    static const char *const quiet[] = {"L", "LFF", "FLFFF", "LFFl"};
    for (size_t i = 0; i < sizeof quiet / sizeof quiet[0]; i++) {
        warn(quiet[i], text, sizeof text);
        assert_string_equal(text, "");
    }
    warn("LFS", text, sizeof text);
    assert_non_null(strstr(text, "coordinator.2 is silent for"));
    assert_non_null(strstr(text, "2 of 3 coordinators live"));
    assert_non_null(strstr(text, "one more loss stops the cluster"));
    warn("LFFFS", text, sizeof text);
    assert_non_null(strstr(text, "coordinator.4 is silent"));
    assert_null(strstr(text, "one more loss"));
    warn("LFFSS", text, sizeof text);
    assert_non_null(strstr(text, "one more loss"));
    warn("LFFs", text, sizeof text);
    assert_non_null(strstr(text, "coordinator.3 is silent"));
    assert_null(strstr(text, "one more loss"));
    warn("LF", text, sizeof text);
    assert_non_null(strstr(text, "one more loss"));
    warn("LUF", text, sizeof text);
    assert_non_null(strstr(text, "coordinator.1 has not answered the new leader yet"));
    assert_non_null(strstr(text, "one more loss"));
    warn("FFF", text, sizeof text);
    assert_non_null(strstr(text, "no coordinator leads"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counting),
        cmocka_unit_test(test_who_is_who),
        cmocka_unit_test(test_warnings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
