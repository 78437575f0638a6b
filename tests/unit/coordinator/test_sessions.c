/* Aim: requests of a session take effect once and are answered the same again, also after a
 * restart; what a session leaves behind goes with it; everything it may keep is bounded. Method:
 * the same entries again with the same and with other sequences, on both stores, reopening RocksDB
 * in between. */
#include "coord_fixture.h"

#include "coordinator/raft/raft.h"

#include "base/banned.h"

static void retry_executes_once(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket_create create = {.name = fx_text("photos")};
    assert_int_equal(fx_apply(fx, fx->session, 5, 0, &proto_type_bucket_create, &create), LILIO_OK);
    struct proto_bucket_reply first, again;
    fx_reply(fx, &proto_type_bucket_reply, &first);
    if (rocksdb)
        fx_reopen(fx);
    assert_int_equal(fx_apply(fx, fx->session, 5, 0, &proto_type_bucket_create, &create), LILIO_OK);
    fx_reply(fx, &proto_type_bucket_reply, &again);
    assert_int_equal(first.bucket.id, again.bucket.id);
    assert_int_equal(fx_row(fx)->bucket_count, 1);
    assert_int_equal(fx_apply(fx, fx->session, 6, 0, &proto_type_bucket_create, &create),
                     LILIO_E_EXISTS);
    fx_free(fx);
}
FX_BOTH(retry_executes_once)

/* The answer to a refusal is remembered, even when the request would be granted by now. */
static void refusal_is_remembered(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_delete gone = {.bucket_id = bucket.id, .key = fx_text("k")};
    assert_int_equal(fx_apply(fx, fx->session, 100, 0, &proto_type_delete, &gone), LILIO_E_NO_KEY);
    (void)fx_put(fx, &bucket, "k", 1, 100);
    assert_int_equal(fx_apply(fx, fx->session, 100, 0, &proto_type_delete, &gone), LILIO_E_NO_KEY);
    struct proto_error error;
    fx_reply(fx, &proto_type_error, &error);
    assert_int_equal(error.code, LILIO_E_NO_KEY);
    assert_int_equal(fx_row(fx)->object_count, 1);
    fx_free(fx);
}
FX_BOTH(refusal_is_remembered)

static void retry_in_the_same_entry_executes_once(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_commit commit = fx_commit(fx, &bucket, "k", 1, 100);
    struct base_buffer body = {0}, entry = {0};
    assert_int_equal(proto_commit_pack(&commit, &body), LILIO_OK);
    fx_pack_entry(fx, fx->session, 50, 0, PROTO_MSG_commit, base_buffer_slice(&body), &entry);
    struct base_slice commands[2] = {base_buffer_slice(&entry), base_buffer_slice(&entry)};
    struct coord_result results[2] = {0};
    assert_int_equal(
        coord_state_apply(fx->state, fx_row(fx)->applied_index + 1, 1, commands, 2, results, NULL),
        LILIO_OK);
    assert_int_equal(coord_state_commit(fx->state, true, NULL), LILIO_OK);
    assert_int_equal(results[0].err, LILIO_OK);
    assert_int_equal(results[1].err, LILIO_OK);
    assert_true(base_slice_equal(base_buffer_slice(&results[0].reply),
                                 base_buffer_slice(&results[1].reply)));
    assert_int_equal(fx_row(fx)->object_count, 1);
    coord_result_release(&results[0]);
    coord_result_release(&results[1]);
    base_buffer_release(&body);
    base_buffer_release(&entry);
    fx_free(fx);
}
FX_BOTH(retry_in_the_same_entry_executes_once)

static void answered_results_are_dropped_and_never_executed_again(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b"); /* sequence 1 */
    struct proto_delete ask = {.bucket_id = bucket.id, .key = fx_text("k")};
    for (uint64_t sequence = 2; sequence < 40; sequence++)
        assert_int_equal(fx_apply(fx, fx->session, sequence, 2, &proto_type_delete, &ask),
                         LILIO_E_NO_KEY);
    assert_int_equal(fx_column_count(fx, COORD_DEDUP), 38);
    assert_int_equal(fx_apply(fx, fx->session, 40, 30, &proto_type_delete, &ask), LILIO_E_NO_KEY);
    assert_int_equal(fx_column_count(fx, COORD_DEDUP), 11); /* 30 .. 40 */
    fx->sequence = 100;
    (void)fx_put(fx, &bucket, "k", 1, 10);
    assert_int_equal(fx_apply(fx, fx->session, 29, 0, &proto_type_delete, &ask),
                     LILIO_E_OUTCOME_UNKNOWN);
    assert_int_equal(fx_row(fx)->object_count, 1);
    fx_free(fx);
}
FX_BOTH(answered_results_are_dropped_and_never_executed_again)

/* One request applied, not committed: of an object no name has. */
static enum lilio_err delete_uncommitted(struct fx *fx, uint64_t bucket_id, uint64_t sequence,
                                         uint64_t answered_below)
{
    struct proto_delete ask = {.bucket_id = bucket_id, .key = fx_text("none")};
    struct base_buffer body = {0}, entry = {0};
    struct coord_result result = {0};
    assert_int_equal(proto_delete_pack(&ask, &body), LILIO_OK);
    fx_pack_entry(fx, fx->session, sequence, answered_below, PROTO_MSG_delete,
                  base_buffer_slice(&body), &entry);
    struct base_slice command = base_buffer_slice(&entry);
    assert_int_equal(
        coord_state_apply(fx->state, fx_row(fx)->applied_index + 1, 1, &command, 1, &result, NULL),
        LILIO_OK);
    enum lilio_err err = result.err;
    coord_result_release(&result);
    base_buffer_release(&body);
    base_buffer_release(&entry);
    return err;
}

/* Of many entries in one batch only what is remembered at its end is written; what was written and
 * is forgotten later goes from the store; a view commits. */
static void one_batch_writes_what_is_left(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b"); /* sequence 1 */
    size_t before = fx_column_count(fx, COORD_DEDUP);
    for (uint64_t s = 2; s < 300; s++)
        assert_int_equal(delete_uncommitted(fx, bucket.id, s, s > 90 ? s - 90 : 0), LILIO_E_NO_KEY);
    assert_int_equal(delete_uncommitted(fx, bucket.id, 250, 0), LILIO_E_NO_KEY); /* again */
    assert_int_equal(delete_uncommitted(fx, bucket.id, 208, 0), LILIO_E_OUTCOME_UNKNOWN);
    assert_int_equal(fx_column_count(fx, COORD_DEDUP), before);
    assert_true(coord_state_pending(fx->state) > 0);
    assert_int_equal(coord_state_view(fx->state, NULL, fx->arena).failed, LILIO_OK);
    assert_int_equal(coord_state_pending(fx->state), 0);
    assert_int_equal(fx_column_count(fx, COORD_DEDUP), 91); /* 209 .. 299 */
    assert_int_equal(delete_uncommitted(fx, bucket.id, 300, 250), LILIO_E_NO_KEY);
    assert_int_equal(coord_state_commit(fx->state, false, NULL), LILIO_OK);
    assert_int_equal(fx_column_count(fx, COORD_DEDUP), 51); /* 250 .. 300 */
    fx_free(fx);
}
FX_BOTH(one_batch_writes_what_is_left)

/* Results that are in the store only: found, forgotten one by one and all at once. */
static void results_come_back_from_the_store(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b"); /* sequence 1 */
    for (uint64_t s = 2; s <= 100; s++)
        assert_int_equal(delete_uncommitted(fx, bucket.id, s, 2), LILIO_E_NO_KEY);
    coord_hot_forget(fx->state);
    assert_int_equal(coord_hot_bytes(fx->state->hot), 0);
    struct proto_commit commit = fx_commit(fx, &bucket, "none", 1, 10);
    assert_int_equal(fx_apply(fx, fx->session, 201, 2, &proto_type_commit, &commit), LILIO_OK);
    /* what was refused would be granted now */
    assert_int_equal(delete_uncommitted(fx, bucket.id, 50, 0), LILIO_E_NO_KEY);
    assert_int_equal(delete_uncommitted(fx, bucket.id, 100, 0), LILIO_E_NO_KEY);
    assert_int_equal(fx_row(fx)->object_count, 1);
    assert_int_equal(delete_uncommitted(fx, bucket.id, 202, 10), LILIO_OK);
    assert_int_equal(coord_state_commit(fx->state, false, NULL), LILIO_OK);
    assert_int_equal(fx_column_count(fx, COORD_DEDUP), 93); /* 10 .. 100, 201, 202 */
    assert_int_equal(delete_uncommitted(fx, bucket.id, 203, 99), LILIO_E_NO_KEY);
    assert_int_equal(coord_state_commit(fx->state, false, NULL), LILIO_OK);
    assert_int_equal(fx_column_count(fx, COORD_DEDUP), 5); /* 99, 100, 201 .. 203 */
    fx_free(fx);
}
FX_BOTH(results_come_back_from_the_store)

/* A client that never says what it has seen is not remembered for ever. */
static void results_are_bounded(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_delete ask = {.bucket_id = bucket.id, .key = fx_text("k")};
    for (uint64_t sequence = 2; sequence < COORD_SESSION_RESULTS_MAX + 500; sequence++)
        assert_int_equal(fx_apply(fx, fx->session, sequence, 0, &proto_type_delete, &ask),
                         LILIO_E_NO_KEY);
    assert_in_range(fx_column_count(fx, COORD_DEDUP), COORD_SESSION_RESULTS_MAX,
                    COORD_SESSION_RESULTS_MAX + 1);
    uint64_t far = UINT64_MAX; /* a jump drops them all, its own stays */
    assert_int_equal(fx_apply(fx, fx->session, far, far, &proto_type_delete, &ask), LILIO_E_NO_KEY);
    assert_int_equal(fx_column_count(fx, COORD_DEDUP), 1);
    assert_int_equal(fx_apply(fx, fx->session, far, far, &proto_type_delete, &ask), LILIO_E_NO_KEY);
    fx_free(fx);
}
FX_BOTH(results_are_bounded)

static void closed_session_is_refused(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_session_close end = {0};
    struct proto_commit commit = fx_commit(fx, &bucket, "k", 1, 10);
    assert_int_equal(fx_apply(fx, fx->session, 0, 0, &proto_type_session_close, &end), LILIO_OK);
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_E_SESSION_CLOSED);
    assert_int_equal(fx_apply(fx, fx->session, 0, 0, &proto_type_session_close, &end), LILIO_OK);
    assert_int_equal(fx_apply(fx, 0, 1, 0, &proto_type_commit, &commit), LILIO_E_SESSION_CLOSED);
    assert_int_equal(fx_apply(fx, 999, 1, 0, &proto_type_commit, &commit), LILIO_E_SESSION_CLOSED);
    assert_int_equal(fx_row(fx)->session_count, 0);
    assert_int_equal(fx_column_count(fx, COORD_SESSIONS), 0);
    assert_int_equal(fx_column_count(fx, COORD_DEDUP), 0);
    uint64_t before = fx->session;
    assert_int_not_equal(fx_session(fx), before); /* ids are never reused */
    fx_free(fx);
}
FX_BOTH(closed_session_is_refused)

/* A folder that was put back does not know which ids were given since, nor which maps are still in
 * use (alone.h). */
static void ids_of_lost_sessions_are_left_out(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_raft_member member = {.id = UINT64_C(1) << 32, .kind = RAFT_VOTER};
    const struct proto_raft_config config = {
        .members = &member, .members_count = 1, .restored = true};
    uint64_t next = fx_row(fx)->next_session_id, index = fx_row(fx)->applied_index + 1;
    uint64_t epoch = fx_row(fx)->epoch;
    for (int again = 0; again < 2; again++) /* an entry that was applied changes nothing */
        assert_int_equal(coord_state_advance(fx->state, index, FX_TERM, &config, NULL), LILIO_OK);
    assert_int_equal(coord_state_commit(fx->state, false, NULL), LILIO_OK);
    if (rocksdb)
        fx_reopen(fx);
    assert_int_equal(fx_row(fx)->next_session_id, next + COORD_SESSIONS_LOST_MAX);
    assert_int_equal(fx_row(fx)->epoch, epoch + COORD_EPOCHS_LOST_MAX);
    assert_int_equal(fx_session(fx), next + COORD_SESSIONS_LOST_MAX);
    fx_free(fx);
}
FX_BOTH(ids_of_lost_sessions_are_left_out)

static void sequence_zero_is_refused(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket_create create = {.name = fx_text("b")};
    assert_int_equal(fx_apply(fx, fx->session, 0, 0, &proto_type_bucket_create, &create),
                     LILIO_E_INVALID);
    assert_int_equal(fx_row(fx)->bucket_count, 0);
    fx_free(fx);
}
FX_BOTH(sequence_zero_is_refused)

/* Staged runs of a session that ends go to collection at once; its neighbours keep theirs. */
static void staged_runs_end_with_the_session(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    for (uint64_t i = 1; i <= 3; i++) {
        struct proto_stage stage = {.data = fx_run(fx, &bucket, i, 100),
                                    .lowest_epoch = fx_row(fx)->epoch};
        assert_int_equal(fx_do(fx, &proto_type_stage, &stage), LILIO_OK);
    }
    uint64_t first = fx->session;
    fx->session = fx_session(fx);
    struct proto_stage other = {.data = fx_run(fx, &bucket, 1, 100),
                                .lowest_epoch = fx_row(fx)->epoch};
    assert_int_equal(fx_do(fx, &proto_type_stage, &other), LILIO_OK);
    uint64_t ids[] = {first, 12345};
    struct proto_session_expire expire = {.ids = ids, .ids_count = 2};
    assert_int_equal(fx_internal(fx, &proto_type_session_expire, &expire), LILIO_OK);
    assert_int_equal(fx_row(fx)->session_count, 1);
    assert_int_equal(fx_row(fx)->gc_count, 3);
    assert_int_equal(fx_row(fx)->data_count, 1);
    assert_int_equal(fx_column_count(fx, COORD_DATA), 1);
    assert_int_equal(fx_column_count(fx, COORD_GC), 3);
    assert_int_equal(fx_column_count(fx, COORD_SESSIONS), 2); /* the other session and its run */
    fx_free(fx);
}
FX_BOTH(staged_runs_end_with_the_session)

/* Rows written by an earlier command of the same entry go, too. */
static void close_in_the_same_entry_takes_all(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_stage stage = {.data = fx_run(fx, &bucket, 1, 100),
                                .lowest_epoch = fx_row(fx)->epoch};
    struct proto_session_close end = {0};
    struct base_buffer body[2] = {0}, entry[2] = {0};
    assert_int_equal(proto_stage_pack(&stage, &body[0]), LILIO_OK);
    assert_int_equal(proto_session_close_pack(&end, &body[1]), LILIO_OK);
    fx_pack_entry(fx, fx->session, 50, 0, PROTO_MSG_stage, base_buffer_slice(&body[0]), &entry[0]);
    fx_pack_entry(fx, fx->session, 0, 0, PROTO_MSG_session_close, base_buffer_slice(&body[1]),
                  &entry[1]);
    struct base_slice commands[2] = {base_buffer_slice(&entry[0]), base_buffer_slice(&entry[1])};
    assert_int_equal(
        coord_state_apply(fx->state, fx_row(fx)->applied_index + 1, 1, commands, 2, NULL, NULL),
        LILIO_OK);
    assert_int_equal(coord_state_commit(fx->state, true, NULL), LILIO_OK);
    assert_int_equal(fx_column_count(fx, COORD_SESSIONS), 0);
    assert_int_equal(fx_column_count(fx, COORD_DEDUP), 0);
    assert_int_equal(fx_column_count(fx, COORD_DATA), 0);
    assert_int_equal(fx_column_count(fx, COORD_GC), 1);
    for (int i = 0; i < 2; i++) {
        base_buffer_release(&body[i]);
        base_buffer_release(&entry[i]);
    }
    fx_free(fx);
}
FX_BOTH(close_in_the_same_entry_takes_all)

static void timeouts_are_bounded(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    static const struct {
        uint32_t asked, given;
    } cases[] = {{0, COORD_SESSION_TIMEOUT_MS},
                 {1, COORD_SESSION_TIMEOUT_MS_MIN},
                 {5000, 5000},
                 {UINT32_MAX, COORD_SESSION_TIMEOUT_MS_MAX}};
    for (size_t i = 0; i < 4; i++) {
        struct proto_session_open open = {.timeout_ms = cases[i].asked};
        struct proto_session session;
        assert_int_equal(fx_internal(fx, &proto_type_session_open, &open), LILIO_OK);
        fx_reply(fx, &proto_type_session, &session);
        assert_int_equal(session.timeout_ms, cases[i].given);
    }
    fx_free(fx);
}
FX_BOTH(timeouts_are_bounded)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(retry_executes_once),
        FX_TESTS(refusal_is_remembered),
        FX_TESTS(retry_in_the_same_entry_executes_once),
        FX_TESTS(answered_results_are_dropped_and_never_executed_again),
        FX_TESTS(one_batch_writes_what_is_left),
        FX_TESTS(results_come_back_from_the_store),
        FX_TESTS(results_are_bounded),
        FX_TESTS(closed_session_is_refused),
        FX_TESTS(ids_of_lost_sessions_are_left_out),
        FX_TESTS(sequence_zero_is_refused),
        FX_TESTS(staged_runs_end_with_the_session),
        FX_TESTS(close_in_the_same_entry_takes_all),
        FX_TESTS(timeouts_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
