/* Aim: the planted bug of the log does what its name says, so that the simulation has something to
 * find. Method: a write fails; with the bug the same index is taken again in the same term. */
#include "coordinator/raft/log.h"

#include <stdlib.h>

#include "base/planted.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/crash_disk.h"

#include "base/banned.h"

static bool planted;

bool lilio_planted(const char *name)
{
    return planted && strcmp(name, "index_reused_after_failed_append") == 0;
}

static void index_reused(void **state)
{
    for (int with = 0; with < 2; with++) {
        struct raft_log_options options = {.member = 1, .create = true, .segment_bytes = 1 << 17};
        struct raft_log_recovery recovery;
        struct raft_log *log = NULL;
        const struct raft_entry entry = {.index = 1, .term = 1, .type = RAFT_ENTRY_NOOP};
        (void)state;
        planted = with;
        assert_int_equal(crash_disk_new(1, &options.disk), LILIO_OK);
        assert_int_equal(raft_log_open(&options, &log, &recovery, NULL), LILIO_OK);
        struct raft_log_view view = raft_log_view(log);
        assert_int_equal(raft_log_append(log, &entry, 1, NULL), LILIO_OK);
        crash_disk_fail(options.disk, CRASH_SYNC, 1, false, LILIO_E_IO);
        assert_int_equal(raft_log_write(log, NULL), with ? LILIO_OK : LILIO_E_IO);
        assert_int_equal(view.last(view.context), with ? 0 : 1);
        enum lilio_err err =
            raft_log_append(log, with ? &entry : &(struct raft_entry){.index = 2}, 1, NULL);
        assert_int_equal(err, with ? LILIO_OK : LILIO_E_IO);
        assert_int_equal(raft_log_write(log, NULL), with ? LILIO_OK : LILIO_E_IO);
        raft_log_free(&log);
        base_disk_free(&options.disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(index_reused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
