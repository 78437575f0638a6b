/* Aim: small objects travel inside COMMIT where three voters hold them, and only there; their bytes
 * are checked, come back with lookups, are replaced, deleted and copied without leaving anything to
 * collect; a COMMIT that is asked again is answered, not executed, also by a state that was opened
 * since; a configuration is state like any other. Method: single cases on both stores. */
#include "coord_fixture.h"

#include "coordinator/raft/raft.h"

#include "base/banned.h"

/* A cluster of three coordinators. */
static struct fx *quorum(bool rocksdb, struct proto_bucket *ret_bucket)
{
    struct fx *fx = fx_cluster(rocksdb);
    fx_config(fx, 3);
    *ret_bucket = fx_bucket(fx, "b");
    return fx;
}

static void assert_bytes(struct fx *fx, const char *bucket, const char *key, uint32_t length,
                         uint8_t fill)
{
    struct proto_object object;
    assert_int_equal(fx_lookup(fx, bucket, key, &object), LILIO_OK);
    assert_int_equal(object.row.inline_bytes.size, length);
    assert_int_equal(object.row.logical_size, length);
    assert_int_equal(object.data_count + object.row.extents_count, 0);
    for (uint32_t i = 0; i < length; i++)
        assert_int_equal(object.row.inline_bytes.data[i], fill);
}

static void session_says_how_much(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    static const struct {
        uint32_t voters, inline_max;
    } cases[] = {{1, 0}, {2, 0}, {3, 16384}, {4, 16384}, {2, 0}};
    struct proto_session_open open = {0};
    struct proto_session session;
    assert_int_equal(fx_internal(fx, &proto_type_session_open, &open), LILIO_OK);
    fx_reply(fx, &proto_type_session, &session);
    assert_int_equal(session.inline_max, 0); /* no configuration: one that stands alone */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fx_config(fx, cases[i].voters);
        assert_int_equal(fx_internal(fx, &proto_type_session_open, &open), LILIO_OK);
        fx_reply(fx, &proto_type_session, &session);
        assert_int_equal(session.inline_max, cases[i].inline_max);
    }
    fx_free(fx);
}
FX_BOTH(session_says_how_much)

static void sizes_at_the_bounds(bool rocksdb)
{
    struct proto_bucket bucket;
    struct fx *fx = quorum(rocksdb, &bucket);
    static const uint32_t sizes[] = {1, 1023, 1024, 16384};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", sizes[i]);
        struct proto_commit commit = fx_commit_inline(fx, &bucket, key, sizes[i], (uint8_t)(i + 1));
        struct proto_committed committed;
        assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
        fx_reply(fx, &proto_type_committed, &committed);
        assert_int_equal(committed.coordinators, 2);
        assert_int_equal(committed.coordinators_total, 3);
        assert_int_equal(committed.durable + committed.total, 0);
        assert_int_equal(committed.version.index, fx_row(fx)->applied_index);
    }
    if (rocksdb)
        fx_reopen(fx);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", sizes[i]);
        assert_bytes(fx, "b", key, sizes[i], (uint8_t)(i + 1));
    }
    assert_int_equal(fx_row(fx)->data_count + fx_row(fx)->gc_count, 0);
    fx_free(fx);
}
FX_BOTH(sizes_at_the_bounds)

/* What contradicts itself, or comes where it would lie on one disk only, is refused and leaves
 * nothing. */
static void bad_ones_are_refused(bool rocksdb)
{
    struct proto_bucket bucket;
    struct fx *fx = quorum(rocksdb, &bucket);
    struct proto_commit good = fx_commit_inline(fx, &bucket, "k", 100, 9), bad = good;
    bad.row.crc32c ^= 1;
    assert_int_equal(fx_do(fx, &proto_type_commit, &bad), LILIO_E_INVALID);
    bad = good;
    bad.row.has_crc32c = false;
    assert_int_equal(fx_do(fx, &proto_type_commit, &bad), LILIO_E_INVALID);
    bad = good;
    bad.row.logical_size++;
    assert_int_equal(fx_do(fx, &proto_type_commit, &bad), LILIO_E_MALFORMED);
    bad = fx_commit(fx, &bucket, "k", 1, 100); /* with a run as well */
    bad.row.inline_bytes = good.row.inline_bytes;
    assert_int_equal(fx_do(fx, &proto_type_commit, &bad), LILIO_E_MALFORMED);
    bad.row.extents_count = 0; /* with a run that nothing names */
    assert_int_equal(fx_do(fx, &proto_type_commit, &bad), LILIO_E_INVALID);
    bad.row.crc32c = good.row.crc32c;
    assert_int_equal(fx_do(fx, &proto_type_commit, &bad), LILIO_E_MALFORMED);
    struct base_buffer body = {0};
    bad = fx_commit_inline(fx, &bucket, "k", 16385, 9);
    assert_int_not_equal(proto_commit_pack(&bad, &body), LILIO_OK); /* not even on the wire */
    base_buffer_release(&body);
    fx_config(fx, 2);
    assert_int_equal(fx_do(fx, &proto_type_commit, &good), LILIO_E_INVALID);
    struct proto_error error;
    fx_reply(fx, &proto_type_error, &error);
    assert_non_null(memmem(error.text.data, error.text.size, "3 coordinators or more", 22));
    struct proto_object object;
    assert_int_equal(fx_lookup(fx, "b", "k", &object), LILIO_E_NO_KEY);
    fx_config(fx, 3);
    assert_int_equal(fx_do(fx, &proto_type_commit, &good), LILIO_OK);
    fx_free(fx);
}
FX_BOTH(bad_ones_are_refused)

/* Inline over fragments and back; the run that was there is collected, the bytes just go. */
static void replaced_and_deleted(bool rocksdb)
{
    struct proto_bucket bucket;
    struct fx *fx = quorum(rocksdb, &bucket);
    (void)fx_put(fx, &bucket, "k", 1, 50000);
    struct proto_commit commit = fx_commit_inline(fx, &bucket, "k", 2000, 1);
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    assert_bytes(fx, "b", "k", 2000, 1);
    assert_int_equal(fx_row(fx)->gc_count, 1);
    commit = fx_commit_inline(fx, &bucket, "k", 300, 2);
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    assert_bytes(fx, "b", "k", 300, 2);
    assert_int_equal(fx_row(fx)->object_bytes, 300);
    (void)fx_put(fx, &bucket, "k", 2, 50000);
    assert_int_equal(fx_row(fx)->gc_count, 1);
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    assert_int_equal(fx_delete(fx, &bucket, "k"), LILIO_OK);
    assert_int_equal(fx_row(fx)->gc_count, 2);
    assert_int_equal(fx_row(fx)->object_bytes, 0);
    assert_int_equal(fx_column_count(fx, COORD_VERSIONS), 0);
    assert_int_equal(fx_column_count(fx, COORD_REFS), 0);
    fx_free(fx);
}
FX_BOTH(replaced_and_deleted)

static void copies_have_their_own_bytes(bool rocksdb)
{
    struct proto_bucket bucket;
    struct fx *fx = quorum(rocksdb, &bucket);
    struct proto_bucket_create create = {
        .name = fx_text("other"),
        .profile = {.data_count = 2, .parity_count = 1, .fragment_size = 4096, .generator = 2}};
    struct proto_bucket_reply other;
    assert_int_equal(fx_do(fx, &proto_type_bucket_create, &create), LILIO_OK);
    fx_reply(fx, &proto_type_bucket_reply, &other);
    struct proto_commit commit = fx_commit_inline(fx, &bucket, "k", 5000, 7);
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    struct proto_copy copy = {.bucket = fx_text("b"),
                              .key = fx_text("k"),
                              .to_bucket_id = other.bucket.id, /* however that one codes */
                              .to_key = fx_text("copy")};
    struct proto_committed committed;
    assert_int_equal(fx_do(fx, &proto_type_copy, &copy), LILIO_OK);
    fx_reply(fx, &proto_type_committed, &committed);
    assert_int_equal(committed.coordinators, 2);
    assert_int_equal(committed.coordinators_total, 3);
    assert_int_equal(fx_delete(fx, &bucket, "k"), LILIO_OK);
    assert_bytes(fx, "other", "copy", 5000, 7);
    struct proto_object object;
    assert_int_equal(fx_lookup(fx, "b", "k", &object), LILIO_E_NO_KEY);
    copy = (struct proto_copy){.bucket = fx_text("other"),
                               .key = fx_text("copy"),
                               .to_bucket_id = bucket.id,
                               .to_key = fx_text("back"),
                               .move = true};
    assert_int_equal(fx_do(fx, &proto_type_copy, &copy), LILIO_OK);
    assert_bytes(fx, "b", "back", 5000, 7);
    assert_int_equal(fx_lookup(fx, "other", "copy", &object), LILIO_E_NO_KEY);
    assert_int_equal(fx_row(fx)->object_count, 1);
    assert_int_equal(fx_row(fx)->gc_count, 0);
    fx_free(fx);
}
FX_BOTH(copies_have_their_own_bytes)

static void voters_shrink_and_bytes_stay(bool rocksdb)
{
    struct proto_bucket bucket;
    struct fx *fx = quorum(rocksdb, &bucket);
    struct proto_commit commit = fx_commit_inline(fx, &bucket, "k", 5000, 7);
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    fx_config(fx, 1);
    if (rocksdb)
        fx_reopen(fx);
    assert_bytes(fx, "b", "k", 5000, 7);
    struct proto_copy copy = {.bucket = fx_text("b"),
                              .key = fx_text("k"),
                              .to_bucket_id = bucket.id,
                              .to_key = fx_text("copy")};
    struct proto_committed committed;
    assert_int_equal(fx_do(fx, &proto_type_copy, &copy), LILIO_OK);
    fx_reply(fx, &proto_type_committed, &committed);
    assert_int_equal(committed.coordinators, 1);
    assert_int_equal(committed.coordinators_total, 1);
    assert_bytes(fx, "b", "copy", 5000, 7);
    assert_int_equal(fx_delete(fx, &bucket, "k"), LILIO_OK);
    fx_free(fx);
}
FX_BOTH(voters_shrink_and_bytes_stay)

/* A page of a thousand lines does not carry the bytes of a thousand objects. */
static void listing_has_no_bytes(bool rocksdb)
{
    struct proto_bucket bucket;
    struct fx *fx = quorum(rocksdb, &bucket);
    struct proto_attribute type = {.name = fx_text("content-type"), .value = fx_text("text/x")};
    for (int i = 0; i < 50; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%02d", i);
        struct proto_commit commit = fx_commit_inline(fx, &bucket, key, 16384, 3);
        commit.row.attributes = &type;
        commit.row.attributes_count = 1;
        assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
        proto_arena_clear(fx->arena);
    }
    struct proto_list ask = {.bucket = fx_text("b")};
    struct proto_listing page;
    struct base_buffer packed = {0};
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    assert_int_equal(coord_read_listing(&view, &ask, &page, NULL), LILIO_OK);
    assert_int_equal(page.entries_count, 50);
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(page.entries[i].size, 16384);
        assert_true(base_slice_equal(page.entries[i].content_type, fx_text("text/x")));
    }
    assert_int_equal(proto_listing_pack(&page, &packed), LILIO_OK);
    assert_true(packed.size < 50 * 100);
    base_buffer_release(&packed);
    fx_free(fx);
}
FX_BOTH(listing_has_no_bytes)

/* ---- exactly once ---- */

/* The leader that committed it is gone; the next one has the same rows, opened by another process.
 * Between the two asks somebody else replaces the object: executing again would take that back. */
static void retry_is_answered_by_the_next_leader(void **unused)
{
    (void)unused;
    struct proto_bucket bucket;
    struct fx *fx = quorum(true, &bucket);
    struct proto_commit commit = fx_commit_inline(fx, &bucket, "k", 100, 1),
                        newer = fx_commit_inline(fx, &bucket, "k", 100, 2);
    struct proto_committed first, again;
    assert_int_equal(fx_apply(fx, fx->session, 500, 0, &proto_type_commit, &commit), LILIO_OK);
    fx_reply(fx, &proto_type_committed, &first);
    uint64_t other = fx_session(fx);
    assert_int_equal(fx_apply(fx, other, 1, 0, &proto_type_commit, &newer), LILIO_OK);
    for (int i = 0; i < 2; i++) {
        fx_reopen(fx);
        fx_config(fx, i ? 1 : 5 - 1); /* who votes now does not matter: it was decided */
        assert_int_equal(fx_apply(fx, fx->session, 500, 0, &proto_type_commit, &commit), LILIO_OK);
        fx_reply(fx, &proto_type_committed, &again);
        assert_true(coord_version_equal(first.version, again.version));
        assert_int_equal(again.coordinators_total, 3);
        assert_bytes(fx, "b", "k", 100, 2);
    }
    fx_free(fx);
}

/* ---- no-ops and configurations ---- */

static void configuration_is_state(bool rocksdb)
{
    struct fx *fx = fx_new(rocksdb); /* not even a cluster yet */
    uint64_t index;
    assert_int_equal(coord_state_config(fx->state, &index)->members_count, 0);
    assert_int_equal(index, 0);
    fx_config(fx, 3);
    assert_int_equal(coord_state_advance(fx->state, 2, 9, NULL, NULL), LILIO_OK);
    assert_int_equal(coord_state_commit(fx->state, false, NULL), LILIO_OK);
    for (int i = 0; i < 2; i++) {
        const struct proto_raft_config *config = coord_state_config(fx->state, &index);
        assert_int_equal(index, 1);
        assert_int_equal(config->members_count, 4);
        assert_int_equal(config->members[3].kind, RAFT_LEARNER);
        assert_true(base_slice_equal(config->members[2].address, fx_text("inproc://c2")));
        assert_int_equal(coord_state_voters(fx->state), 3);
        assert_int_equal(fx_row(fx)->applied_index, 2);
        assert_int_equal(fx_row(fx)->applied_term, 9);
        assert_false(coord_state_initialised(fx->state));
        if (rocksdb)
            fx_reopen(fx);
    }
    assert_int_equal(coord_state_advance(fx->state, 1, 1, NULL, NULL), LILIO_OK); /* again */
    assert_int_equal(fx_row(fx)->applied_term, 9);
    fx_free(fx);
}
FX_BOTH(configuration_is_state)

/* A state row that tells of a configuration that is not there. */
static void lost_configuration_is_noticed(void **unused)
{
    (void)unused;
    struct fx *fx = fx_cluster(false);
    struct coord_state *state = NULL;
    struct coord_key key = coord_key_text(fx_text("members"));
    fx_config(fx, 3);
    base_kv_batch_delete(fx->state->batch, COORD_META, coord_key_slice(&key));
    assert_int_equal(base_kv_batch_commit(fx->state->batch, false, NULL), LILIO_OK);
    assert_int_equal(coord_state_open(fx->kv, &state, NULL), LILIO_E_CORRUPT);
    base_kv_batch_put(fx->state->batch, COORD_META, coord_key_slice(&key), fx_text("\xc1"));
    assert_int_equal(base_kv_batch_commit(fx->state->batch, false, NULL), LILIO_OK);
    assert_int_equal(coord_state_open(fx->kv, &state, NULL), LILIO_E_CORRUPT);
    fx_free(fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(session_says_how_much),
        FX_TESTS(sizes_at_the_bounds),
        FX_TESTS(bad_ones_are_refused),
        FX_TESTS(replaced_and_deleted),
        FX_TESTS(copies_have_their_own_bytes),
        FX_TESTS(voters_shrink_and_bytes_stay),
        FX_TESTS(listing_has_no_bytes),
        cmocka_unit_test(retry_is_answered_by_the_next_leader),
        FX_TESTS(configuration_is_state),
        cmocka_unit_test(lost_configuration_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
