/* Aim: the same entries make the same rows, on any store, from any prefix, applied once or twice,
 * alone or in batches, and across restarts; and at every moment all rows agree with each other and
 * with a model of the names. Method: seeded random workloads over every command; audits of all
 * rows; digests over all columns. */
#include "coord_audit.h"
#include "coord_workload.h"

#include "base/banned.h"

static void apply_recorded(struct fx *fx, const struct fx_entry *entry,
                           const struct base_slice *commands)
{
    if (entry->count > 0) {
        assert_int_equal(
            coord_state_apply(fx->state, entry->index, FX_TERM, commands, entry->count, NULL, NULL),
            LILIO_OK);
        return;
    }
    struct proto_raft_config config;
    assert_int_equal(
        proto_raft_config_unpack(base_buffer_slice(&entry->commands[0]), fx->arena, &config, NULL),
        LILIO_OK);
    assert_int_equal(coord_state_advance(fx->state, entry->index, FX_TERM, &config, NULL),
                     LILIO_OK);
}

/* Applies recorded entries [from, to) to another store. */
static void replay(struct fx *to_fx, const struct fx *from_fx, size_t from, size_t to,
                   size_t per_commit)
{
    for (size_t i = from; i < to; i++) {
        struct base_slice commands[8];
        const struct fx_entry *entry = &from_fx->history[i];
        for (size_t k = 0; k < entry->count; k++)
            commands[k] = base_buffer_slice(&entry->commands[k]);
        apply_recorded(to_fx, entry, commands);
        if ((i - from) % per_commit == per_commit - 1)
            assert_int_equal(coord_state_commit(to_fx->state, false, NULL), LILIO_OK);
    }
    assert_int_equal(coord_state_commit(to_fx->state, false, NULL), LILIO_OK);
}

static void rows_agree_after_every_step(bool rocksdb)
{
    for (uint64_t seed = 1; seed <= (rocksdb ? 1 : 6); seed++) {
        struct fx *fx = fx_cluster(rocksdb);
        struct workload workload;
        workload_start(&workload, fx, seed);
        for (int step = 0; step < 250; step++) {
            workload_step(&workload);
            coord_audit(fx);
            proto_arena_clear(fx->arena);
            if (step % 10 == 0)
                workload_check(&workload);
            if (rocksdb && step % 60 == 59)
                fx_reopen(fx);
        }
        assert_true(workload.refused > 10 && workload.granted > 50); /* both ways were gone */
        fx_free(fx);
    }
}
FX_BOTH(rows_agree_after_every_step)

static void two_stores_come_to_the_same_rows(void **unused)
{
    (void)unused;
    struct fx *memory = fx_cluster(false), *rocks = fx_new(true), *batched = fx_new(false);
    struct workload workload;
    workload_start(&workload, memory, 77);
    for (int step = 0; step < 400; step++)
        workload_step(&workload);
    replay(rocks, memory, 0, memory->history_count, 1);
    replay(batched, memory, 0, memory->history_count, 37);
    assert_int_equal(fx_digest(rocks), fx_digest(memory));
    assert_int_equal(fx_digest(batched), fx_digest(memory));
    fx_reopen(rocks);
    assert_int_equal(fx_digest(rocks), fx_digest(memory));
    fx_free(batched);
    fx_free(rocks);
    fx_free(memory);
}

/* An entry that is applied again, after any later one, changes nothing. */
static void replay_is_idempotent(void **unused)
{
    (void)unused;
    struct fx *original = fx_cluster(false);
    struct workload workload;
    workload_start(&workload, original, 5);
    for (int step = 0; step < 150; step++)
        workload_step(&workload);
    uint64_t wanted = fx_digest(original), seed = 9;
    for (int round = 0; round < 20; round++) {
        struct fx *fx = fx_new(false);
        for (size_t at = 0; at < original->history_count;) {
            size_t back = fx_random(&seed, at + 1), on = 1 + fx_random(&seed, 40);
            size_t to = at + on < original->history_count ? at + on : original->history_count;
            replay(fx, original, back, to, 1 + fx_random(&seed, 5));
            at = to;
        }
        assert_int_equal(fx_digest(fx), wanted);
        fx_free(fx);
    }
    fx_free(original);
}

/* The process ends between two batches, at any of them; the log has what came after. */
static void restart_at_any_batch(void **unused)
{
    (void)unused;
    struct fx *original = fx_cluster(false);
    struct workload workload;
    workload_start(&workload, original, 1234);
    for (int step = 0; step < 60; step++)
        workload_step(&workload);
    struct fx *fx = fx_new(true);
    uint64_t seed = 3;
    size_t done = 0;
    while (done < original->history_count) {
        size_t from = done > 3 && fx_random(&seed, 2) ? done - 3 : done; /* some entries again */
        size_t to = done + 1 + fx_random(&seed, 12);
        to = to < original->history_count ? to : original->history_count;
        replay(fx, original, from, to, 4);
        if (to < original->history_count) { /* applied, never committed: gone with the process */
            const struct fx_entry *next = &original->history[to];
            struct base_slice command = base_buffer_slice(&next->commands[0]);
            apply_recorded(fx, next, &command);
        }
        fx_reopen(fx);
        assert_int_equal(fx_row(fx)->applied_index, original->history[to - 1].index);
        coord_audit(fx);
        done = to;
    }
    assert_int_equal(fx_digest(fx), fx_digest(original));
    fx_free(fx);
    fx_free(original);
}

/* The digest is worth something: one byte of one row changes it. */
static void digest_sees_a_changed_row(void **unused)
{
    (void)unused;
    struct fx *fx = fx_cluster(false);
    uint64_t before = fx_digest(fx);
    struct coord_key key = coord_key_text(fx_text("x"));
    base_kv_batch_put(fx->state->batch, COORD_REPAIR, coord_key_slice(&key), fx_text("y"));
    assert_int_equal(base_kv_batch_commit(fx->state->batch, false, NULL), LILIO_OK);
    assert_int_not_equal(fx_digest(fx), before);
    fx_free(fx);
}

/* Cluster time never goes back and never leaps, whatever an entry says. */
static void cluster_time_is_capped(void **unused)
{
    (void)unused;
    struct fx *fx = fx_cluster(false);
    struct proto_tick tick = {0};
    fx->cluster_ms = 5000;
    assert_int_equal(fx_internal(fx, &proto_type_tick, &tick), LILIO_OK);
    assert_int_equal(fx_row(fx)->cluster_ms, 5000);
    fx->cluster_ms = 100;
    assert_int_equal(fx_internal(fx, &proto_type_tick, &tick), LILIO_OK);
    assert_int_equal(fx_row(fx)->cluster_ms, 5000);
    fx->cluster_ms = UINT64_MAX;
    assert_int_equal(fx_internal(fx, &proto_type_tick, &tick), LILIO_OK);
    assert_int_equal(fx_row(fx)->cluster_ms, 5000 + COORD_STEP_MS_MAX);
    fx_free(fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(rows_agree_after_every_step),
        cmocka_unit_test(two_stores_come_to_the_same_rows),
        cmocka_unit_test(replay_is_idempotent),
        cmocka_unit_test(restart_at_any_batch),
        cmocka_unit_test(digest_sees_a_changed_row),
        cmocka_unit_test(cluster_time_is_capped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
