/* Aim: COMMIT, STAGE, DISCARD, DELETE and COPY do what they say, under each condition; a fragment
 * whose disk was replaced since it was acknowledged is missing (design rule 2); runs are collected
 * exactly when no name is left. Method: single cases with known outcome on both stores. */
#include "coord_fixture.h"

#include "base/banned.h"

static enum lilio_err commit_if(struct fx *fx, struct proto_commit *commit, uint8_t condition,
                                struct proto_version version)
{
    commit->condition = condition;
    commit->if_version = version;
    return fx_do(fx, &proto_type_commit, commit);
}

static bool has_data(struct fx *fx, uint64_t counter, struct proto_data_row *ret)
{
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    return coord_read_data(&view, base_oid_make(0, fx->session, counter), ret, NULL) == LILIO_OK;
}

static void object_appears_whole(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_commit commit = fx_commit(fx, &bucket, "a/../\xc3\xa4", 1, 40000);
    struct proto_attribute attributes[] = {
        {.name = fx_text("content-type"), .value = fx_text("text/plain")}};
    commit.row.attributes = attributes;
    commit.row.attributes_count = 1;
    struct proto_committed committed;
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    fx_reply(fx, &proto_type_committed, &committed);
    assert_int_equal(committed.durable, 6);
    assert_int_equal(committed.total, 6);
    assert_int_equal(committed.version.index, fx_row(fx)->applied_index);
    assert_int_equal(committed.modified_ms, fx->wall_ms);
    struct proto_object object;
    assert_int_equal(fx_lookup(fx, "b", "a/../\xc3\xa4", &object), LILIO_OK);
    assert_int_equal(object.row.logical_size, 40000);
    assert_int_equal(object.row.crc32c, 7);
    assert_int_equal(object.row.durable_min, 6);
    assert_int_equal(object.row.attributes_count, 1);
    assert_int_equal(object.data_count, 1);
    assert_int_equal(object.data[0].state, 2);
    assert_true(base_slice_equal(object.data[0].checksums, commit.data[0].checksums));
    assert_int_equal(fx_row(fx)->repair_count, 0);
    fx_free(fx);
}
FX_BOTH(object_appears_whole)

static void empty_object_has_no_run(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    (void)fx_put(fx, &bucket, "k", 1, 0);
    struct proto_object object;
    assert_int_equal(fx_lookup(fx, "b", "k", &object), LILIO_OK);
    assert_int_equal(object.row.extents_count, 0);
    assert_int_equal(object.data_count, 0);
    assert_int_equal(fx_row(fx)->data_count, 0);
    assert_int_equal(fx_delete(fx, &bucket, "k"), LILIO_OK);
    assert_int_equal(fx_row(fx)->gc_count, 0);
    fx_free(fx);
}
FX_BOTH(empty_object_has_no_run)

static void conditions_decide(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_version none = {0};
    struct proto_commit commit = fx_commit(fx, &bucket, "k", 1, 10);
    assert_int_equal(commit_if(fx, &commit, 2, (struct proto_version){.index = 5}),
                     LILIO_E_PRECONDITION);
    assert_int_equal(commit_if(fx, &commit, 1, none), LILIO_OK);
    struct proto_committed first;
    fx_reply(fx, &proto_type_committed, &first);
    commit = fx_commit(fx, &bucket, "k", 2, 10);
    assert_int_equal(commit_if(fx, &commit, 1, none), LILIO_E_EXISTS);
    assert_int_equal(commit_if(fx, &commit, 2, none), LILIO_E_PRECONDITION);
    assert_int_equal(commit_if(fx, &commit, 3, none), LILIO_E_INVALID);
    assert_int_equal(commit_if(fx, &commit, 2, first.version), LILIO_OK);
    struct proto_delete ask = {
        .bucket_id = bucket.id, .key = fx_text("k"), .condition = 2, .if_version = first.version};
    assert_int_equal(fx_do(fx, &proto_type_delete, &ask), LILIO_E_PRECONDITION);
    struct proto_object object;
    assert_int_equal(fx_lookup(fx, "b", "k", &object), LILIO_OK);
    ask.if_version = object.row.version;
    assert_int_equal(fx_do(fx, &proto_type_delete, &ask), LILIO_OK);
    assert_int_equal(fx_do(fx, &proto_type_delete, &ask), LILIO_E_NO_KEY);
    fx_free(fx);
}
FX_BOTH(conditions_decide)

static void lookup_by_version(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_version old = fx_put(fx, &bucket, "k", 1, 10),
                         new = fx_put(fx, &bucket, "k", 2, 10);
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    struct proto_lookup ask = {.bucket = fx_text("b"), .key = fx_text("k"), .version = new};
    struct proto_object object;
    assert_int_equal(coord_read_object(&view, &ask, &object, NULL), LILIO_OK);
    ask.version = old;
    assert_int_equal(coord_read_object(&view, &ask, &object, NULL), LILIO_E_VERSION_GONE);
    ask.key = fx_text("other");
    assert_int_equal(coord_read_object(&view, &ask, &object, NULL), LILIO_E_VERSION_GONE);
    ask.version = (struct proto_version){0};
    assert_int_equal(coord_read_object(&view, &ask, &object, NULL), LILIO_E_NO_KEY);
    ask.bucket = fx_text("c");
    assert_int_equal(coord_read_object(&view, &ask, &object, NULL), LILIO_E_NO_BUCKET);
    fx_free(fx);
}
FX_BOTH(lookup_by_version)

/* Last-modified of a key never goes back, even when the wall clock does. */
static void modified_never_goes_back(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    uint64_t first = fx->wall_ms;
    (void)fx_put(fx, &bucket, "k", 1, 10);
    fx->wall_ms -= 1000000;
    (void)fx_put(fx, &bucket, "k", 2, 10);
    struct proto_object object;
    assert_int_equal(fx_lookup(fx, "b", "k", &object), LILIO_OK);
    assert_int_equal(object.row.modified_ms, first);
    fx_free(fx);
}
FX_BOTH(modified_never_goes_back)

/* ---- missing fragments ---- */

static void missing_fragments_enter_the_repair_queue(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_commit commit = fx_commit(fx, &bucket, "k", 1, 100000); /* 7 stripes */
    struct proto_exception exceptions[] = {
        {.first_stripe = 1, .stripe_count = 2, .index = 5, .kind = 1},
        {.first_stripe = 3, .stripe_count = 1, .index = 5, .kind = 1},
    };
    commit.data[0].exceptions = exceptions;
    commit.data[0].exceptions_count = 2;
    struct proto_committed committed;
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    fx_reply(fx, &proto_type_committed, &committed);
    assert_int_equal(committed.durable, 5);
    assert_int_equal(fx_row(fx)->repair_count, 1);
    assert_int_equal(fx_column_count(fx, COORD_REPAIR), 1);
    struct proto_data_row row;
    assert_true(has_data(fx, 1, &row));
    assert_int_equal(row.exceptions_count, 1); /* the two touch: one run of stripes */
    assert_int_equal(row.exceptions[0].first_stripe, 1);
    assert_int_equal(row.exceptions[0].stripe_count, 3);
    assert_int_equal(fx_delete(fx, &bucket, "k"), LILIO_OK);
    assert_int_equal(fx_row(fx)->repair_count, 0); /* nothing to repair any more */
    assert_int_equal(fx_column_count(fx, COORD_REPAIR), 0);
    fx_free(fx);
}
FX_BOTH(missing_fragments_enter_the_repair_queue)

static void below_the_quorum_nothing_appears(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_commit commit = fx_commit(fx, &bucket, "k", 1, 100000);
    struct proto_exception exceptions[] = {
        {.first_stripe = 2, .stripe_count = 1, .index = 0, .kind = 1},
        {.first_stripe = 1, .stripe_count = 2, .index = 1, .kind = 1},
    };
    commit.data[0].exceptions = exceptions;
    commit.data[0].exceptions_count = 2;
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit),
                     LILIO_E_NO_QUORUM); /* stripe 2 has 4 of 5 */
    struct proto_error error;
    fx_reply(fx, &proto_type_error, &error);
    assert_int_equal(error.stripes_count, 1);
    assert_int_equal(error.stripes[0], 2);
    struct proto_object object;
    assert_int_equal(fx_lookup(fx, "b", "k", &object), LILIO_E_NO_KEY);
    commit.data[0].exceptions_count = 1;
    commit.quorum = 6; /* promises more than the bucket asks */
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_E_NO_QUORUM);
    commit.quorum = 7;
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_E_INVALID);
    commit.quorum = 5;
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    fx_free(fx);
}
FX_BOTH(below_the_quorum_nothing_appears)

/* The disk under one slot is replaced between the acknowledgement and the COMMIT: exactly its
 * fragments are missing. */
static void replaced_disk_is_missing(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_commit commit = fx_commit(fx, &bucket, "k", 1, 100000);
    fx_rebind(fx, 3);
    struct proto_committed committed;
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    fx_reply(fx, &proto_type_committed, &committed);
    assert_int_equal(committed.durable, 5);
    struct proto_data_row row;
    assert_true(has_data(fx, 1, &row));
    const struct proto_placement *placement = coord_state_placement(fx->state, bucket.placement);
    for (uint32_t stripe = 0; stripe < 7; stripe++) {
        uint32_t partition = proto_partition(placement->partition_bits, row.oid, stripe);
        uint64_t wanted = 0;
        for (uint32_t index = 0; index < 6; index++)
            if (proto_slot_osd(placement, partition, index) == 3)
                wanted |= UINT64_C(1) << index;
        assert_int_equal(__builtin_popcountll(wanted), 1);
        assert_int_equal(proto_row_missing(&row, stripe), wanted);
    }
    commit = fx_commit(fx, &bucket, "fresh", 2, 100000); /* acknowledged with the new disk */
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    assert_true(has_data(fx, 2, &row));
    assert_int_equal(row.exceptions_count, 0);
    commit = fx_commit(fx, &bucket, "two", 3, 100000);
    fx_rebind(fx, 0);
    fx_rebind(fx, 1);
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_E_NO_QUORUM);
    struct proto_error error;
    fx_reply(fx, &proto_type_error, &error);
    assert_int_equal(error.stripes_count, 7);
    fx_free(fx);
}
FX_BOTH(replaced_disk_is_missing)

/* An OSD came back with less than it had acknowledged, and was rebuilt before the COMMIT: the
 * rebuild did not see the run, so what was acknowledged before it began does not count. */
static void rebuilt_disk_counts_afresh(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_commit commit = fx_commit(fx, &bucket, "k", 1, 100000);
    struct proto_osd_bind bind = {.osd = 3, .disk_uuid = fx_uuid(3), .afresh = true};
    assert_int_equal(fx_internal(fx, &proto_type_osd_bind, &bind), LILIO_OK);
    commit.quorum = 6;
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_E_NO_QUORUM);
    commit.quorum = 5;
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    struct proto_committed committed;
    fx_reply(fx, &proto_type_committed, &committed);
    assert_int_equal(committed.durable, 5);
    assert_int_equal(fx_row(fx)->repair_count, 1); /* what is here after all is found by it */
    commit = fx_commit(fx, &bucket, "fresh", 2, 100000);
    commit.quorum = 6;
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    fx_free(fx);
}
FX_BOTH(rebuilt_disk_counts_afresh)

/* ---- staging ---- */

static struct proto_commit commit_of_two(struct fx *fx, const struct proto_bucket *bucket,
                                         struct proto_extent *extents)
{
    struct proto_commit commit = {
        .bucket_id = bucket->id, .key = fx_text("big"), .lowest_epoch = fx_row(fx)->epoch};
    for (uint64_t i = 0; i < 2; i++)
        extents[i] = (struct proto_extent){.oid = base_oid_make(0, fx->session, i + 1),
                                           .stored_length = 50000,
                                           .logical_length = 50000};
    commit.row = (struct proto_version_row){
        .kind = 1, .logical_size = 100000, .extents = extents, .extents_count = 2};
    return commit;
}

static void staged_runs_make_one_object(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_extent extents[2];
    struct proto_commit commit = commit_of_two(fx, &bucket, extents);
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit),
                     LILIO_E_INVALID); /* nothing is staged */
    for (uint64_t i = 1; i <= 2; i++) {
        struct proto_stage stage = {.data = fx_run(fx, &bucket, i, 50000),
                                    .lowest_epoch = fx_row(fx)->epoch};
        assert_int_equal(fx_do(fx, &proto_type_stage, &stage), LILIO_OK);
        assert_int_equal(fx_do(fx, &proto_type_stage, &stage),
                         LILIO_E_INVALID); /* the oid is taken */
    }
    if (rocksdb)
        fx_reopen(fx);
    fx_rebind(fx, 2); /* after staging: counts at COMMIT */
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    struct proto_committed committed;
    fx_reply(fx, &proto_type_committed, &committed);
    assert_int_equal(committed.durable, 5);
    assert_int_equal(fx_row(fx)->repair_count, 2);
    assert_int_equal(fx_row(fx)->data_count, 2);
    assert_int_equal(fx_column_count(fx, COORD_SESSIONS), 1); /* no notes are left */
    struct proto_object object;
    assert_int_equal(fx_lookup(fx, "b", "big", &object), LILIO_OK);
    assert_int_equal(object.row.extents_count, 2);
    assert_int_equal(object.data_count, 0); /* fetched by oid */
    commit.key = fx_text("thief");
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit),
                     LILIO_E_INVALID); /* they are committed already */
    fx_free(fx);
}
FX_BOTH(staged_runs_make_one_object)

static void other_sessions_runs_are_refused(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_stage stage = {.data = fx_run(fx, &bucket, 1, 50000),
                                .lowest_epoch = fx_row(fx)->epoch};
    struct proto_commit commit = fx_commit(fx, &bucket, "k", 9, 100);
    assert_int_equal(fx_do(fx, &proto_type_stage, &stage), LILIO_OK);
    struct proto_extent extents[2];
    struct proto_commit two = commit_of_two(fx, &bucket, extents);
    fx->session = fx_session(fx);
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_E_INVALID);
    assert_int_equal(fx_do(fx, &proto_type_commit, &two), LILIO_E_INVALID);
    struct proto_collect_job job = {
        .oid = stage.data.oid, .placement = bucket.placement, .stripe_count = 4};
    struct proto_discard discard = {.jobs = &job, .jobs_count = 1};
    assert_int_equal(fx_do(fx, &proto_type_discard, &discard), LILIO_E_INVALID);
    job.oid = base_oid_make(1, fx->session, 5); /* another group */
    assert_int_equal(fx_do(fx, &proto_type_discard, &discard), LILIO_E_INVALID);
    fx_free(fx);
}
FX_BOTH(other_sessions_runs_are_refused)

static void discarded_runs_are_collected_at_once(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    (void)fx_put(fx, &bucket, "keep", 1, 50000);
    struct proto_stage stage = {.data = fx_run(fx, &bucket, 2, 50000),
                                .lowest_epoch = fx_row(fx)->epoch};
    assert_int_equal(fx_do(fx, &proto_type_stage, &stage), LILIO_OK);
    struct proto_collect_job jobs[3] = {
        {.oid = base_oid_make(0, fx->session, 1),
         .placement = bucket.placement,
         .stripe_count = 4}, /* committed: stays */
        {.oid = base_oid_make(0, fx->session, 2),
         .placement = bucket.placement,
         .stripe_count = 4}, /* staged */
        {.oid = base_oid_make(0, fx->session, 3),
         .placement = bucket.placement,
         .stripe_count = 9}, /* never heard of */
    };
    struct proto_discard discard = {.jobs = jobs, .jobs_count = 3};
    assert_int_equal(fx_do(fx, &proto_type_discard, &discard), LILIO_OK);
    assert_int_equal(fx_do(fx, &proto_type_discard, &discard), LILIO_OK);
    assert_int_equal(fx_row(fx)->gc_count, 2);
    assert_int_equal(fx_row(fx)->data_count, 1);
    struct coord_gc_item items[4];
    size_t count = 0;
    struct proto_gc_key from = {.osd = COORD_GC_NOBODY};
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    assert_int_equal(coord_read_gc(&view, &from, items, 4, &count, NULL), LILIO_OK);
    assert_int_equal(count, 2);
    assert_int_equal(items[0].key.order_ms, 0);
    assert_int_equal(items[0].row.reason, 3);
    assert_int_equal(items[1].row.job.stripe_count, 9);
    struct proto_commit late =
        fx_commit(fx, &bucket, "late", 3, 100); /* delayed behind the discard */
    assert_int_equal(fx_do(fx, &proto_type_commit, &late), LILIO_E_INVALID);
    struct proto_gc_step steps[2] = {{.key = items[0].key}, {.key = items[1].key}};
    struct proto_gc_done done = {.steps = steps, .steps_count = 2};
    assert_int_equal(fx_internal(fx, &proto_type_gc_done, &done), LILIO_OK);
    assert_int_equal(fx_row(fx)->gc_count, 0);
    assert_int_equal(fx_do(fx, &proto_type_commit, &late),
                     LILIO_E_INVALID); /* also after collection */
    jobs[0].stripe_count = 0;
    assert_int_equal(fx_do(fx, &proto_type_discard, &discard), LILIO_E_INVALID);
    fx_free(fx);
}
FX_BOTH(discarded_runs_are_collected_at_once)

/* A gc row that should not be there (damage, a bug elsewhere) takes nothing away (design rule 4).
 */
static void named_run_is_never_collected(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    (void)fx_put(fx, &bucket, "k", 1, 50000);
    struct proto_gc_key name = {.osd = COORD_GC_NOBODY, .oid = base_oid_make(0, fx->session, 1)};
    struct proto_gc_row row = {.job = {.oid = name.oid}, .reason = 1};
    struct coord_key key = coord_key_gc(&name);
    coord_put(fx->state, COORD_GC, &key, &proto_type_gc_row, &row);
    struct proto_gc_step step = {.key = name};
    struct proto_gc_done done = {.steps = &step, .steps_count = 1};
    assert_int_equal(fx_internal(fx, &proto_type_gc_done, &done), LILIO_OK);
    assert_int_equal(fx_column_count(fx, COORD_GC), 0);
    struct proto_object object;
    assert_int_equal(fx_lookup(fx, "b", "k", &object), LILIO_OK);
    assert_int_equal(object.data_count, 1);
    fx_free(fx);
}
FX_BOTH(named_run_is_never_collected)

/* ---- copy and move ---- */

static enum lilio_err copy(struct fx *fx, const char *key, const struct proto_bucket *to,
                           const char *to_key, bool move)
{
    struct proto_copy ask = {.bucket = fx_text("b"),
                             .key = fx_text(key),
                             .to_bucket_id = to->id,
                             .to_key = fx_text(to_key),
                             .move = move};
    return fx_do(fx, &proto_type_copy, &ask);
}

static void copies_share_their_run(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket b = fx_bucket(fx, "b"), c = fx_bucket(fx, "c");
    (void)fx_put(fx, &b, "k", 1, 50000);
    assert_int_equal(copy(fx, "k", &b, "k2", false), LILIO_OK);
    assert_int_equal(copy(fx, "k", &c, "k", false), LILIO_OK);
    assert_int_equal(fx_row(fx)->data_count, 1);
    assert_int_equal(fx_row(fx)->object_count, 3);
    assert_int_equal(fx_row(fx)->object_bytes, 150000);
    assert_int_equal(fx_delete(fx, &b, "k"), LILIO_OK);
    assert_int_equal(fx_delete(fx, &c, "k"), LILIO_OK);
    assert_int_equal(fx_row(fx)->gc_count, 0);
    struct proto_object object;
    assert_int_equal(fx_lookup(fx, "b", "k2", &object), LILIO_OK);
    assert_int_equal(object.data_count, 1);
    assert_int_equal(fx_delete(fx, &b, "k2"), LILIO_OK);
    assert_int_equal(fx_row(fx)->gc_count, 1);
    assert_int_equal(fx_row(fx)->object_bytes, 0);
    assert_int_equal(fx_column_count(fx, COORD_REFS), 0);
    fx_free(fx);
}
FX_BOTH(copies_share_their_run)

static void move_is_one_step(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket b = fx_bucket(fx, "b"), c = fx_bucket(fx, "c");
    (void)fx_put(fx, &b, "k", 1, 50000);
    (void)fx_put(fx, &c, "k", 2, 600);
    assert_int_equal(copy(fx, "k", &c, "k", true), LILIO_OK);
    assert_int_equal(fx_row(fx)->gc_count, 1); /* what was there before */
    assert_int_equal(fx_row(fx)->gc_bytes, 600);
    struct proto_object object;
    assert_int_equal(fx_lookup(fx, "b", "k", &object), LILIO_E_NO_KEY);
    assert_int_equal(fx_lookup(fx, "c", "k", &object), LILIO_OK);
    assert_int_equal(object.row.logical_size, 50000);
    fx_free(fx);
}
FX_BOTH(move_is_one_step)

static void onto_itself_changes_nothing(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket b = fx_bucket(fx, "b");
    struct proto_version version = fx_put(fx, &b, "k", 1, 50000);
    for (int move = 0; move < 2; move++) {
        struct proto_committed committed;
        assert_int_equal(copy(fx, "k", &b, "k", move), LILIO_OK);
        fx_reply(fx, &proto_type_committed, &committed);
        assert_true(coord_version_equal(committed.version, version));
    }
    /* and over a copy of itself the run stays, too */
    assert_int_equal(copy(fx, "k", &b, "k2", false), LILIO_OK);
    assert_int_equal(copy(fx, "k", &b, "k2", false), LILIO_OK);
    assert_int_equal(fx_delete(fx, &b, "k"), LILIO_OK);
    assert_int_equal(fx_row(fx)->gc_count, 0);
    assert_int_equal(fx_row(fx)->object_count, 1);
    fx_free(fx);
}
FX_BOTH(onto_itself_changes_nothing)

static void copies_are_refused(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket b = fx_bucket(fx, "b"), other;
    struct proto_bucket_create create = {.name = fx_text("o"),
                                         .profile = {.data_count = 3, .parity_count = 3}};
    struct proto_bucket_reply reply;
    assert_int_equal(fx_do(fx, &proto_type_bucket_create, &create), LILIO_OK);
    fx_reply(fx, &proto_type_bucket_reply, &reply);
    other = reply.bucket;
    (void)fx_put(fx, &b, "k", 1, 50000);
    (void)fx_put(fx, &b, "there", 2, 50000);
    assert_int_equal(copy(fx, "k", &other, "k", false), LILIO_E_INVALID);
    assert_int_equal(copy(fx, "none", &b, "x", false), LILIO_E_NO_KEY);
    assert_int_equal(copy(fx, "k", &(struct proto_bucket){.id = 99}, "x", false),
                     LILIO_E_NO_BUCKET);
    assert_int_equal(copy(fx, "k", &b, "", false), LILIO_E_INVALID);
    struct proto_copy ask = {.bucket = fx_text("b"),
                             .key = fx_text("k"),
                             .to_bucket_id = b.id,
                             .to_key = fx_text("there"),
                             .condition = 1};
    assert_int_equal(fx_do(fx, &proto_type_copy, &ask), LILIO_E_EXISTS);
    ask.to_key = fx_text("k");
    assert_int_equal(fx_do(fx, &proto_type_copy, &ask), LILIO_E_EXISTS);
    ask.bucket = fx_text("none");
    assert_int_equal(fx_do(fx, &proto_type_copy, &ask), LILIO_E_NO_BUCKET);
    assert_int_equal(fx_row(fx)->object_count, 2);
    fx_free(fx);
}
FX_BOTH(copies_are_refused)

/* ---- reports ---- */

static void reports_set_and_clear(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    (void)fx_put(fx, &bucket, "k", 1, 100000);
    struct base_oid oid = base_oid_make(0, fx->session, 1);
    struct proto_fragment_report items[] = {
        {.oid = oid, .stripe = 2, .index = 4, .kind = 1},
        {.oid = oid, .stripe = 2, .index = 0, .kind = 3},
        {.oid = oid, .stripe = 7, .index = 0, .kind = 3}, /* no such stripe */
        {.oid = oid, .stripe = 0, .index = 6, .kind = 3}, /* no such fragment */
        {.oid = base_oid_make(0, fx->session, 77),
         .stripe = 0,
         .index = 0,
         .kind = 1}, /* no such run */
    };
    struct proto_report report = {.items = items, .items_count = 5};
    assert_int_equal(fx_internal(fx, &proto_type_report, &report), LILIO_OK);
    struct proto_data_row row;
    assert_true(has_data(fx, 1, &row));
    assert_int_equal(row.exceptions_count, 2);
    assert_int_equal(proto_row_missing(&row, 2), 1 | 1 << 4);
    assert_int_equal(fx_row(fx)->repair_count, 1);
    items[0].kind = items[1].kind = 0;
    report.items_count = 1;
    assert_int_equal(fx_internal(fx, &proto_type_report, &report), LILIO_OK);
    assert_true(has_data(fx, 1, &row));
    assert_int_equal(proto_row_missing(&row, 2), 1);
    assert_int_equal(fx_row(fx)->repair_count, 1);
    report.items_count = 2;
    assert_int_equal(fx_internal(fx, &proto_type_report, &report), LILIO_OK);
    assert_true(has_data(fx, 1, &row));
    assert_int_equal(row.exceptions_count, 0);
    assert_int_equal(fx_row(fx)->repair_count, 0);
    items[0].kind = 2;
    assert_int_equal(fx_internal(fx, &proto_type_report, &report), LILIO_E_INVALID);
    assert_int_equal(fx_delete(fx, &bucket, "k"), LILIO_OK);
    items[0].kind = 1; /* about a run that waits for collection: nothing to repair */
    assert_int_equal(fx_internal(fx, &proto_type_report, &report), LILIO_OK);
    assert_int_equal(fx_row(fx)->repair_count, 0);
    fx_free(fx);
}
FX_BOTH(reports_set_and_clear)

static void verified_is_kept(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_verified verified = {.index = 3, .fragments = 10, .damaged = 1};
    assert_int_equal(fx_internal(fx, &proto_type_verified, &verified), LILIO_OK);
    verified.index = 2; /* an older one that ends later */
    assert_int_equal(fx_internal(fx, &proto_type_verified, &verified), LILIO_OK);
    verified.index = 1000000;
    assert_int_equal(fx_internal(fx, &proto_type_verified, &verified), LILIO_E_INVALID);
    if (rocksdb)
        fx_reopen(fx);
    assert_int_equal(coord_state_verify_mark(fx->state)->index, 3);
    assert_int_equal(coord_state_verify_mark(fx->state)->damaged, 1);
    fx_free(fx);
}
FX_BOTH(verified_is_kept)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(object_appears_whole),
        FX_TESTS(empty_object_has_no_run),
        FX_TESTS(conditions_decide),
        FX_TESTS(lookup_by_version),
        FX_TESTS(modified_never_goes_back),
        FX_TESTS(missing_fragments_enter_the_repair_queue),
        FX_TESTS(below_the_quorum_nothing_appears),
        FX_TESTS(replaced_disk_is_missing),
        FX_TESTS(rebuilt_disk_counts_afresh),
        FX_TESTS(staged_runs_make_one_object),
        FX_TESTS(other_sessions_runs_are_refused),
        FX_TESTS(discarded_runs_are_collected_at_once),
        FX_TESTS(named_run_is_never_collected),
        FX_TESTS(copies_share_their_run),
        FX_TESTS(move_is_one_step),
        FX_TESTS(onto_itself_changes_nothing),
        FX_TESTS(copies_are_refused),
        FX_TESTS(reports_set_and_clear),
        FX_TESTS(verified_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
