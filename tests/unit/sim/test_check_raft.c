/* Aim: each of Raft's properties, when broken, is noticed, and a right course of events is not.
 * Method: events by hand for three members.
 */
#include "tests/support/cmocka_all.h"

#include "tests/sim/check_raft.h"

#include "base/banned.h"

static struct check_raft *check;

static int setup(void **unused)
{
    (void)unused;
    check = check_raft_new();
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    check_raft_free(&check);
    return 0;
}

/* ---- a log to open ---- */

struct log {
    struct raft_entry entries[8];
    uint64_t count;
};

static uint64_t log_first(void *context)
{
    (void)context;
    return 1;
}

static uint64_t log_last(void *context)
{
    return ((struct log *)context)->count;
}

static enum lilio_err log_term(void *context, uint64_t index, uint64_t *ret)
{
    struct log *log = context;
    if (index > log->count)
        return LILIO_E_NOT_FOUND;
    *ret = index ? log->entries[index - 1].term : 0;
    return LILIO_OK;
}

static enum lilio_err log_read(void *context, uint64_t index, size_t count_max, size_t bytes_max,
                               struct raft_entry *ret, size_t *ret_count)
{
    (void)bytes_max;
    struct log *log = context;
    for (*ret_count = 0; *ret_count < count_max && index <= log->count; index++)
        ret[(*ret_count)++] = log->entries[index - 1];
    return LILIO_OK;
}

static struct raft_log_view view(struct log *log)
{
    return (struct raft_log_view){log_first, log_last, log_term, log_read, log};
}

static struct raft_entry entry(uint64_t index, uint64_t term, const char *text)
{
    return (struct raft_entry){index, term, RAFT_ENTRY_COMMANDS, base_slice_str(text)};
}

static bool append(uint64_t member, uint64_t index, uint64_t term, const char *text)
{
    struct raft_entry one = entry(index, term, text);
    return check_raft_appended(check, member, &one, 1);
}

/* Two entries of term 1 on all three, committed. */
static void begin(void)
{
    for (uint64_t member = 1; member <= 3; member++) {
        assert_true(append(member, 1, 1, "a"));
        assert_true(append(member, 2, 1, "b"));
        assert_true(check_raft_persisted(check, member, 2, 1));
    }
    assert_true(check_raft_looked(check, 1, 1, true, 2));
    assert_true(check_raft_looked(check, 2, 1, false, 2));
    assert_true(check_raft_applied(check, 1, 1, 1, 77));
    assert_true(check_raft_applied(check, 2, 1, 1, 77));
}

static void right_course_passes(void **unused)
{
    (void)unused;
    begin();
    assert_true(append(1, 3, 1, "lost")); /* reaches nobody */
    assert_true(append(2, 3, 2, "c"));
    assert_true(check_raft_looked(check, 2, 2, true, 2));
    assert_true(append(3, 3, 2, "c"));
    assert_true(check_raft_looked(check, 2, 2, true, 3));
    assert_true(check_raft_looked(check, 1, 2, false, 2));
    assert_true(append(1, 3, 2, "c"));
    assert_true(check_raft_looked(check, 1, 2, false, 3));
    assert_true(check_raft_maps(check, 1, 3, 5));
    assert_true(check_raft_maps(check, 2, 3, 5));
}

static void two_leaders_of_a_term(void **unused)
{
    (void)unused;
    begin();
    assert_false(check_raft_looked(check, 2, 1, true, 2));
}

static void leader_replaces(void **unused)
{
    (void)unused;
    begin();
    assert_false(append(1, 2, 2, "x"));
}

static void contents_differ(void **unused)
{
    (void)unused;
    begin();
    assert_true(append(1, 3, 1, "c"));
    assert_false(append(2, 3, 1, "d"));
}

static void predecessors_differ(void **unused)
{
    (void)unused;
    begin();
    assert_true(append(2, 3, 2, "c"));
    assert_true(append(2, 4, 3, "d"));
    assert_true(append(3, 3, 3, "e"));
    assert_false(append(3, 4, 3, "d"));
}

static void leader_misses_committed(void **unused)
{
    (void)unused;
    begin();
    assert_true(append(1, 3, 1, "c"));
    assert_true(append(3, 3, 1, "c"));
    assert_true(check_raft_looked(check, 1, 1, true, 3));
    assert_false(check_raft_looked(check, 2, 2, true, 2));
}

static void commit_behind_a_new_leader(void **unused)
{
    (void)unused;
    begin();
    assert_true(append(1, 3, 1, "c"));
    assert_true(check_raft_looked(check, 2, 2, true, 2));
    assert_false(check_raft_looked(check, 1, 1, true, 3));
}

static void committed_twice(void **unused)
{
    (void)unused;
    begin();
    assert_true(append(1, 3, 1, "c"));
    assert_true(append(2, 3, 2, "d"));
    assert_true(check_raft_looked(check, 1, 1, true, 3));
    assert_false(check_raft_looked(check, 2, 2, false, 3));
}

static void committed_is_replaced(void **unused)
{
    (void)unused;
    begin();
    assert_false(append(2, 2, 2, "x"));
}

static void applied_differs(void **unused)
{
    (void)unused;
    begin();
    assert_false(check_raft_applied(check, 3, 1, 1, 78));
}

static void applied_before_committed(void **unused)
{
    (void)unused;
    begin();
    assert_true(append(1, 3, 1, "c"));
    assert_false(check_raft_applied(check, 1, 3, 1, 1));
}

static void goes_back(void **unused)
{
    (void)unused;
    begin();
    assert_false(check_raft_looked(check, 1, 1, true, 1));
    teardown(NULL);
    setup(NULL);
    begin();
    assert_true(check_raft_looked(check, 3, 5, false, 0));
    assert_false(check_raft_looked(check, 3, 4, false, 0));
}

static void maps_differ(void **unused)
{
    (void)unused;
    begin();
    assert_true(check_raft_maps(check, 1, 2, 5));
    assert_false(check_raft_maps(check, 2, 2, 6));
}

static void durable_is_forgotten(void **unused)
{
    (void)unused;
    begin();
    struct log log = {.entries = {entry(1, 1, "a"), entry(2, 1, "b")}, .count = 2};
    struct raft_log_view whole = view(&log);
    assert_true(append(2, 3, 1, "c")); /* not durable: may be lost */
    assert_true(check_raft_opened(check, 2, &whole, false));
    assert_true(append(2, 3, 2, "d"));
    log.count = 1;
    assert_false(check_raft_opened(check, 1, &whole, false));
    assert_true(check_raft_opened(check, 3, &whole, true)); /* its disk was damaged */
}

static void vote_is_kept(void **unused)
{
    (void)unused;
    assert_true(check_raft_saved(check, 1, 4, 2));
    assert_true(check_raft_started(check, 1, 4, 2, false));
    assert_true(check_raft_saved(check, 1, 5, 0));
    assert_true(check_raft_saved(check, 1, 5, 3));
    assert_true(check_raft_looked(check, 1, 6, false, 0)); /* not saved yet */
    assert_true(check_raft_started(check, 1, 5, 3, false));
    assert_true(check_raft_looked(check, 1, 5, false, 0));
    assert_false(check_raft_saved(check, 1, 5, 2));
    assert_false(check_raft_started(check, 1, 5, 0, false));
    assert_false(check_raft_started(check, 1, 4, 2, false));
    assert_true(check_raft_started(check, 1, 4, 0, true)); /* its disk was damaged */
}

static void commit_is_counted(void **unused)
{
    (void)unused;
    const uint64_t voters[] = {1, 2, 3};
    begin();
    assert_true(check_raft_counted(check, 1, 1, 2, voters, 3));
    assert_true(append(1, 3, 1, "c"));
    assert_true(append(2, 3, 1, "c"));
    assert_true(check_raft_persisted(check, 1, 3, 1));
    assert_true(check_raft_persisted(check, 2, 3, 1));
    assert_true(check_raft_counted(check, 1, 1, 3, voters, 3));
    assert_true(append(1, 4, 1, "d"));
    assert_true(append(2, 4, 1, "d"));
    assert_true(check_raft_persisted(check, 1, 4, 1));
    assert_true(check_raft_counted(check, 1, 1, 4, NULL, 0)); /* the members change */
    assert_true(append(1, 5, 1, "e"));
    assert_true(append(2, 5, 1, "e"));
    assert_true(check_raft_persisted(check, 1, 5, 1));
    assert_false(check_raft_counted(check, 1, 1, 5, voters, 3));
    /* Another entry of the same index does not count. */
    assert_true(append(3, 3, 2, "x"));
    assert_true(append(3, 4, 2, "x"));
    assert_true(append(3, 5, 2, "x"));
    assert_true(append(3, 6, 2, "x"));
    assert_true(append(1, 6, 1, "f"));
    assert_true(check_raft_persisted(check, 1, 6, 1));
    assert_true(check_raft_persisted(check, 3, 6, 2));
    assert_false(check_raft_counted(check, 1, 1, 6, voters, 3));
}

static void old_term_is_counted(void **unused)
{
    (void)unused;
    begin();
    assert_true(append(1, 3, 1, "c"));
    assert_true(append(1, 4, 2, "no-op"));
    assert_true(check_raft_counted(check, 1, 2, 2, NULL, 0));
    assert_false(check_raft_counted(check, 1, 2, 3, NULL, 0));
    assert_true(check_raft_counted(check, 1, 2, 4, NULL, 0));
}

static void members_of_a_lost_entry(void **unused)
{
    (void)unused;
    begin();
    struct raft_entry config = {3, 1, RAFT_ENTRY_CONFIG, base_slice_str("members")};
    assert_true(check_raft_appended(check, 2, &config, 1));
    assert_true(check_raft_configured(check, 2, 3));
    assert_false(check_raft_configured(check, 2, 2));
    assert_false(check_raft_configured(check, 3, 3));
    assert_true(append(2, 3, 2, "c"));
    assert_false(check_raft_configured(check, 2, 3));
}

static void reads_see_what_was_committed(void **unused)
{
    (void)unused;
    begin();
    check_raft_read_asked(check, 3, 7);
    check_raft_read_asked(check, 3, 8);
    check_raft_read_asked(check, 3, 9);
    assert_true(append(1, 3, 1, "c"));
    assert_true(check_raft_looked(check, 1, 1, true, 3));
    check_raft_read_asked(check, 3, 10);
    assert_true(check_raft_read_decided(check, 3, 7, 2, true));
    assert_true(check_raft_read_decided(check, 3, 8, 0, false));
    assert_false(check_raft_read_decided(check, 3, 9, 1, true));
    assert_false(check_raft_read_decided(check, 3, 10, 2, true));
}

static void state_of_another_past(void **unused)
{
    (void)unused;
    begin();
    assert_true(check_raft_reset(check, 4, 2, 1));
    assert_false(check_raft_reset(check, 5, 2, 2));
    assert_false(check_raft_reset(check, 1, 1, 1));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(right_course_passes),
        T(two_leaders_of_a_term),
        T(leader_replaces),
        T(contents_differ),
        T(predecessors_differ),
        T(leader_misses_committed),
        T(commit_behind_a_new_leader),
        T(committed_twice),
        T(committed_is_replaced),
        T(applied_differs),
        T(applied_before_committed),
        T(goes_back),
        T(maps_differ),
        T(durable_is_forgotten),
        T(state_of_another_past),
        T(vote_is_kept),
        T(commit_is_counted),
        T(old_term_is_counted),
        T(members_of_a_lost_entry),
        T(reads_see_what_was_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
