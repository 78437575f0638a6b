/* Aim: rows and commands that contradict themselves are refused and leave nothing behind.
 * Method: a valid COMMIT with one thing wrong at a time; the rows of the maps are compared before
 * and after. */
#include "coord_fixture.h"

#include "base/banned.h"

struct wrong {
    const char *name;
    enum lilio_err err;
    void (*spoil)(struct fx *fx, struct proto_commit *commit);
};

static struct proto_extent two[2];
static struct proto_exception exception;
static struct proto_exception many[20];
static struct proto_attribute big[3];
static uint8_t bytes[16384];

static void no_bucket(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->bucket_id = 99;
}
static void no_key(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->key = fx_text("");
}
static void kind(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->row.kind = 2;
}
static void hold(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->row.hold = true;
}
static void retain(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->row.retain_until_ms = 1;
}
static void size(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->row.logical_size++;
}
static void inline_too(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->row.inline_bytes = fx_text("x");
}
static void transform(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->row.extents[0].transform = 1;
}
static void lengths(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->row.extents[0].stored_length--;
}
static void no_length(struct fx *fx, struct proto_commit *c)
{
    (void)fx;
    c->row.extents[0].stored_length = c->row.extents[0].logical_length = c->row.logical_size = 0;
}
static void offset(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->row.extents[0].offset = 1;
}
static void huge_offset(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->row.extents[0].offset = UINT64_MAX;
}
static void longer_than_the_run(struct fx *fx, struct proto_commit *c)
{
    (void)fx;
    c->row.extents[0].stored_length = ++c->row.extents[0].logical_length;
    c->row.logical_size++;
}
static void overflow(struct fx *fx, struct proto_commit *c)
{
    (void)fx;
    two[0] = two[1] = c->row.extents[0];
    two[0].stored_length = two[0].logical_length = UINT64_MAX;
    two[1].oid.low++;
    c->row.extents = two;
    c->row.extents_count = 2;
    c->data_count = 0;
}
static void twice(struct fx *fx, struct proto_commit *c)
{
    (void)fx;
    two[0] = two[1] = c->row.extents[0];
    c->row.extents = two;
    c->row.extents_count = 2;
    c->row.logical_size *= 2;
    c->data_count = 0;
}
static void run_without_extent(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->row.extents_count = 0, c->row.logical_size = 0;
}
static void other_run(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->data[0].oid.low++;
}
static void not_staged(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->data_count = 0;
}
static void foreign_oid(struct fx *fx, struct proto_commit *c)
{
    c->data[0].oid = c->row.extents[0].oid = base_oid_make(0, fx->session + 1, 1);
}
static void other_group(struct fx *fx, struct proto_commit *c)
{
    c->data[0].oid = c->row.extents[0].oid = base_oid_make(1, fx->session, 1);
}
static void profile(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->data[0].profile.data_count = 0;
}
static void other_profile(struct fx *fx, struct proto_commit *c)
{
    (void)fx;
    c->data[0].profile.data_count = 3;
    c->data[0].profile.parity_count = 3;
    c->data[0].checksums = base_slice(bytes, 6 * 4 * 9); /* 100,000 bytes in stripes of 3 x 4096 */
}
static void placement(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->data[0].placement = 7;
}
static void other_bucket(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->data[0].bucket_id = 2;
}
static void few_checksums(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->data[0].checksums.size -= 4;
}
static void more_checksums(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->data[0].checksums = base_slice(bytes, c->data[0].checksums.size + 4);
}
static void endless(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->data[0].stored_length = UINT64_MAX;
}
static void with_exception(struct proto_commit *c, struct proto_exception one)
{
    exception = one;
    c->data[0].exceptions = &exception;
    c->data[0].exceptions_count = 1;
}
static void exception_index(struct fx *fx, struct proto_commit *c)
{
    (void)fx, with_exception(c, (struct proto_exception){.stripe_count = 1, .index = 6, .kind = 1});
}
static void exception_range(struct fx *fx, struct proto_commit *c)
{
    (void)fx, with_exception(c, (struct proto_exception){
                                    .first_stripe = 6, .stripe_count = 2, .index = 0, .kind = 1});
}
static void exception_wraps(struct fx *fx, struct proto_commit *c)
{
    (void)fx;
    with_exception(c, (struct proto_exception){
                          .first_stripe = 2, .stripe_count = UINT32_MAX, .index = 0, .kind = 1});
}
static void exception_kind(struct fx *fx, struct proto_commit *c)
{
    (void)fx, with_exception(c, (struct proto_exception){.stripe_count = 1, .index = 0, .kind = 4});
}
static void exception_elsewhere(struct fx *fx, struct proto_commit *c)
{
    (void)fx, with_exception(
                  c, (struct proto_exception){.stripe_count = 1, .index = 0, .kind = 2, .osd = 1});
}
static void exceptions_overlap(struct fx *fx, struct proto_commit *c)
{
    (void)fx;
    for (size_t i = 0; i < 20; i++)
        many[i] = (struct proto_exception){.stripe_count = 7, .index = 0, .kind = 1};
    c->data[0].exceptions = many;
    c->data[0].exceptions_count = 20;
}
static void future_epoch(struct fx *fx, struct proto_commit *c)
{
    c->lowest_epoch = fx_row(fx)->epoch + 1;
}
static void epoch_zero(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->lowest_epoch = 0;
}
static void attributes(struct fx *fx, struct proto_commit *c)
{
    (void)fx;
    for (size_t i = 0; i < 3; i++)
        big[i] = (struct proto_attribute){.name = fx_text("a"), .value = base_slice(bytes, 4096)};
    c->row.attributes = big;
    c->row.attributes_count = 3;
}
static void short_md5(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->row.md5 = fx_text("short");
}
static void short_crc(struct fx *fx, struct proto_commit *c)
{
    (void)fx, c->row.crc64nvme = fx_text("x");
}

static const struct wrong wrongs[] = {
    {"no such bucket", LILIO_E_NO_BUCKET, no_bucket},
    {"empty key", LILIO_E_INVALID, no_key},
    {"kind", LILIO_E_UNSUPPORTED, kind},
    {"hold", LILIO_E_UNSUPPORTED, hold},
    {"retention", LILIO_E_UNSUPPORTED, retain},
    {"size", LILIO_E_MALFORMED, size},
    {"inline and extents", LILIO_E_MALFORMED, inline_too},
    {"transform", LILIO_E_UNSUPPORTED, transform},
    {"lengths", LILIO_E_MALFORMED, lengths},
    {"no length", LILIO_E_MALFORMED, no_length},
    {"offset", LILIO_E_MALFORMED, offset},
    {"huge offset", LILIO_E_MALFORMED, huge_offset},
    {"longer than its run", LILIO_E_MALFORMED, longer_than_the_run},
    {"lengths overflow", LILIO_E_MALFORMED, overflow},
    {"a run twice", LILIO_E_MALFORMED, twice},
    {"a run without extent", LILIO_E_MALFORMED, run_without_extent},
    {"another run", LILIO_E_MALFORMED, other_run},
    {"not staged", LILIO_E_INVALID, not_staged},
    {"another session's oid", LILIO_E_INVALID, foreign_oid},
    {"another group's oid", LILIO_E_INVALID, other_group},
    {"impossible profile", LILIO_E_MALFORMED, profile},
    {"not the bucket's profile", LILIO_E_INVALID, other_profile},
    {"not the bucket's placement", LILIO_E_INVALID, placement},
    {"not the bucket", LILIO_E_INVALID, other_bucket},
    {"too few checksums", LILIO_E_MALFORMED, few_checksums},
    {"too many checksums", LILIO_E_MALFORMED, more_checksums},
    {"endless run", LILIO_E_MALFORMED, endless},
    {"exception of no fragment", LILIO_E_MALFORMED, exception_index},
    {"exception beyond the run", LILIO_E_MALFORMED, exception_range},
    {"exception that wraps", LILIO_E_MALFORMED, exception_wraps},
    {"exception of no kind", LILIO_E_MALFORMED, exception_kind},
    {"exception elsewhere", LILIO_E_UNSUPPORTED, exception_elsewhere},
    {"exceptions that overlap", LILIO_E_MALFORMED, exceptions_overlap},
    {"epoch of the future", LILIO_E_INVALID, future_epoch},
    {"acknowledged before any disk was bound", LILIO_E_NO_QUORUM, epoch_zero},
    {"attributes too big", LILIO_E_TOO_BIG, attributes},
    {"short MD5", LILIO_E_MALFORMED, short_md5},
    {"short CRC64", LILIO_E_MALFORMED, short_crc},
};

/* Rows an object would leave. */
static size_t object_rows(struct fx *fx)
{
    return fx_column_count(fx, COORD_VERSIONS) + fx_column_count(fx, COORD_DATA) +
           fx_column_count(fx, COORD_REFS) + fx_column_count(fx, COORD_REPAIR) +
           fx_column_count(fx, COORD_GC);
}

static void spoiled_commits_leave_nothing(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        struct proto_commit commit = fx_commit(fx, &bucket, "k", 1, 100000);
        wrongs[i].spoil(fx, &commit);
        enum lilio_err err = fx_do(fx, &proto_type_commit, &commit);
        if (err != wrongs[i].err)
            fail_msg("%s: %s instead of %s", wrongs[i].name, lilio_err_name(err),
                     lilio_err_name(wrongs[i].err));
        if (object_rows(fx) != 0)
            fail_msg("%s: rows were left", wrongs[i].name);
    }
    assert_int_equal(fx_row(fx)->object_count, 0);
    struct proto_commit commit = fx_commit(fx, &bucket, "k", 1, 100000);
    assert_int_equal(fx_do(fx, &proto_type_commit, &commit), LILIO_OK);
    fx_free(fx);
}
FX_BOTH(spoiled_commits_leave_nothing)

/* Bodies that are no messages, of every type there is, cut at every length. */
static void cut_bodies_are_refused(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_bucket bucket = fx_bucket(fx, "b");
    struct proto_commit commit = fx_commit(fx, &bucket, "k", 1, 10);
    struct base_buffer body = {0}, entry = {0};
    assert_int_equal(proto_commit_pack(&commit, &body), LILIO_OK);
    for (size_t cut = 0; cut < body.size; cut++) {
        base_buffer_clear(&entry);
        fx_pack_entry(fx, fx->session, 1000 + cut, 0, PROTO_MSG_commit, base_slice(body.data, cut),
                      &entry);
        struct base_slice command = base_buffer_slice(&entry);
        struct coord_result result = {0};
        assert_int_equal(coord_state_apply(fx->state, fx_row(fx)->applied_index + 1, 1, &command, 1,
                                           &result, NULL),
                         LILIO_OK);
        assert_int_not_equal(result.err, LILIO_OK);
        coord_result_release(&result);
    }
    assert_int_equal(coord_state_commit(fx->state, false, NULL), LILIO_OK);
    assert_int_equal(fx_row(fx)->object_count, 0);
    for (size_t cut = 0; cut < entry.size; cut++) {
        struct base_slice command = base_slice(entry.data, cut);
        assert_int_equal(
            coord_state_apply(fx->state, fx_row(fx)->applied_index + 1, 1, &command, 1, NULL, NULL),
            LILIO_OK);
    }
    base_buffer_release(&body);
    base_buffer_release(&entry);
    fx_free(fx);
}
FX_BOTH(cut_bodies_are_refused)

static void unknown_commands_are_refused(bool rocksdb)
{
    struct fx *fx = fx_cluster(rocksdb);
    struct proto_ping ping = {0};
    struct proto_lookup lookup = {.bucket = fx_text("b"), .key = fx_text("k")};
    assert_int_equal(fx_internal(fx, &proto_type_ping, &ping), LILIO_E_UNSUPPORTED);
    assert_int_equal(fx_internal(fx, &proto_type_lookup, &lookup), LILIO_E_UNSUPPORTED);
    fx_free(fx);
}
FX_BOTH(unknown_commands_are_refused)

static void nothing_before_the_first_entry(bool rocksdb)
{
    struct fx *fx = fx_new(rocksdb);
    struct proto_session_open open = {0};
    assert_int_equal(fx_internal(fx, &proto_type_session_open, &open), LILIO_E_UNAVAILABLE);
    assert_false(coord_state_initialised(fx->state));
    struct proto_osd osds[2] = {{.id = 1}, {.id = 1}};
    struct proto_cluster_init init = {.cluster_id = fx_uuid(1), .osds = osds, .osds_count = 2};
    assert_int_equal(fx_internal(fx, &proto_type_cluster_init, &init), LILIO_E_INVALID);
    osds[1].id = 65535;
    assert_int_equal(fx_internal(fx, &proto_type_cluster_init, &init), LILIO_E_INVALID);
    osds[1].id = 2;
    assert_int_equal(fx_internal(fx, &proto_type_cluster_init, &init),
                     LILIO_E_INVALID); /* no profile */
    init.default_profile.data_count = 1;
    init.default_profile.parity_count = 0;
    init.default_profile.fragment_size = 4096;
    init.default_profile.generator = 1;
    assert_int_equal(fx_internal(fx, &proto_type_cluster_init, &init), LILIO_OK);
    assert_int_equal(fx_internal(fx, &proto_type_cluster_init, &init), LILIO_E_EXISTS);
    fx_free(fx);
}
FX_BOTH(nothing_before_the_first_entry)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TESTS(spoiled_commits_leave_nothing),
        FX_TESTS(cut_bodies_are_refused),
        FX_TESTS(unknown_commands_are_refused),
        FX_TESTS(nothing_before_the_first_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
