#include "coord_audit.h"

#include <stdlib.h>

#include "base/banned.h"

struct audit {
    struct fx *fx;
    struct coord_view view;
    uint64_t objects, bytes, data, gc, gc_bytes, sessions, repair, buckets;
    uint64_t levels[COORD_REPAIR_LEVELS];
    uint64_t repair_fragments, repair_bytes, stored_bytes;
    struct coord_stripes_item *stripes; /* counted by hand, by kind */
    size_t stripes_count, stripes_room;
    uint64_t stripes_sum;
    uint64_t *sums[64]; /* by placement, partition and index: what is there by hand */
};

/* ---- what OSDs have to have ---- */

static uint64_t *sums_of(struct audit *audit, const struct proto_placement *placement)
{
    assert_in_range(placement->id, 1, 63);
    uint64_t **sums = &audit->sums[placement->id];
    if (!*sums)
        *sums = calloc((size_t)placement->width << placement->partition_bits, sizeof **sums);
    assert_non_null(*sums);
    return *sums;
}

static bool is_missing(const struct proto_data_row *row, uint32_t stripe, uint32_t index)
{
    bool missing = false;
    for (size_t i = 0; i < row->exceptions_count; i++)
        missing |= row->exceptions[i].kind == 1 && row->exceptions[i].index == index &&
                   row->exceptions[i].first_stripe <= stripe &&
                   row->exceptions[i].first_stripe + row->exceptions[i].stripe_count > stripe;
    return missing;
}

static void sums_count(struct audit *audit, const struct proto_data_row *row, uint64_t by)
{
    const struct proto_placement *placement =
        coord_state_placement(audit->fx->state, row->placement);
    uint64_t *sums = sums_of(audit, placement);
    for (uint32_t stripe = 0; stripe < coord_run_stripes(row); stripe++) {
        uint32_t partition = proto_partition(placement->partition_bits, row->oid, stripe);
        for (uint32_t index = 0; index < placement->width; index++)
            if (!is_missing(row, stripe, index))
                sums[partition * placement->width + index] +=
                    by * proto_stripe_hash(row->oid, stripe);
    }
}

static void sums_check(struct audit *audit)
{
    struct coord_state *state = audit->fx->state;
    for (size_t i = 0; i < coord_state_placement_count(state); i++) {
        const struct proto_placement *placement = coord_state_placement_at(state, i);
        uint64_t *sums = sums_of(audit, placement);
        for (uint32_t at = 0; at < (uint32_t)placement->width << placement->partition_bits; at++) {
            uint64_t sum = 0;
            assert_int_equal(coord_inventory_sum(state, placement->id, at / placement->width,
                                                 at % placement->width, &sum, NULL),
                             LILIO_OK);
            assert_int_equal(sum, sums[at]);
        }
        free(sums);
    }
}

/* ---- rows ---- */

typedef void (*row_fn)(struct audit *audit, struct base_slice key, struct base_slice value);

static void each(struct audit *audit, enum coord_column column, row_fn fn)
{
    struct base_kv_iter *iter = NULL;
    assert_int_equal(base_kv_iter_new(audit->fx->kv, NULL, NULL, column, &iter), LILIO_OK);
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
         base_kv_iter_next(iter))
        fn(audit, base_kv_iter_key(iter), base_kv_iter_value(iter));
    base_kv_iter_free(&iter);
}

static void unpack(struct audit *audit, const struct proto_type *type, struct base_slice bytes,
                   void *ret)
{
    assert_int_equal(coord_view_unpack(&audit->view, type, bytes, ret, NULL), LILIO_OK);
}

static bool get(struct audit *audit, enum coord_column column, struct coord_key key,
                const struct proto_type *type, void *ret)
{
    return coord_view_get(&audit->view, column, &key, type, ret, NULL) == LILIO_OK;
}

static size_t rows_with(struct audit *audit, enum coord_column column, struct coord_key prefix)
{
    struct base_kv_iter *iter = NULL;
    size_t count = 0;
    assert_int_equal(base_kv_iter_new(audit->fx->kv, NULL, NULL, column, &iter), LILIO_OK);
    base_kv_iter_seek(iter, coord_key_slice(&prefix));
    for (; base_kv_iter_valid(iter) && coord_key_has_prefix(base_kv_iter_key(iter), &prefix);
         base_kv_iter_next(iter))
        count++;
    base_kv_iter_free(&iter);
    return count;
}

/* A version's runs are there, committed, and know of the name. */
static void version(struct audit *audit, struct base_slice key, struct base_slice value)
{
    struct proto_version_row row;
    struct base_slice name;
    uint64_t bucket;
    assert_true(coord_key_version_parse(key, &bucket, &name));
    unpack(audit, &proto_type_version_row, value, &row);
    assert_int_equal(rows_with(audit, COORD_VERSIONS, coord_key_version(bucket, name)),
                     1); /* unversioned */
    if (row.inline_bytes.size > 0) {
        assert_int_equal(row.extents_count + row.durable_min, 0);
        assert_int_equal(row.inline_bytes.size, row.logical_size);
        assert_int_equal(codec_crc32c(0, row.inline_bytes.data, row.inline_bytes.size), row.crc32c);
    }
    for (size_t i = 0; i < row.extents_count; i++) {
        struct proto_data_row data;
        struct proto_ref_row ref;
        assert_true(
            get(audit, COORD_DATA, coord_key_oid(row.extents[i].oid), &proto_type_data_row, &data));
        assert_int_equal(data.state, 2);
        assert_true(get(audit, COORD_REFS, coord_key_ref(row.extents[i].oid, bucket, name),
                        &proto_type_ref_row, &ref));
        assert_int_equal(ref.count, 1);
    }
    audit->objects++;
    audit->bytes += row.logical_size;
}

/* A reference is from a version that names the run. */
static void ref(struct audit *audit, struct base_slice key, struct base_slice value)
{
    struct base_oid oid;
    struct base_slice name;
    uint64_t bucket;
    struct proto_version_row row;
    (void)value;
    assert_true(coord_key_ref_parse(key, &oid, &bucket, &name));
    assert_int_equal(coord_current(&audit->view, bucket, name, &row, NULL), LILIO_OK);
    bool found = false;
    for (size_t i = 0; i < row.extents_count; i++)
        found |= base_oid_equal(row.extents[i].oid, oid);
    assert_true(found);
}

static int kinds_compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct coord_stripes_key));
}

/* Adds the stripes of a named run to what is counted by hand. */
static void stripes_of(struct audit *audit, const struct proto_data_row *row)
{
    const struct proto_placement *placement =
        coord_state_placement(audit->fx->state, row->placement);
    for (uint32_t stripe = 0; stripe < coord_run_stripes(row); stripe++) {
        struct coord_stripes_key key;
        memset(&key, 0, sizeof key); /* its padding is compared */
        key.bucket_id = row->bucket_id;
        key.placement = row->placement;
        key.data_count = row->profile.data_count;
        uint32_t partition = proto_partition(placement->partition_bits, row->oid, stripe);
        key.partition = partition - partition % COORD_STRIPES_GROUP;
        key.bad = proto_row_missing(row, stripe);
        struct coord_stripes_item *item = audit->stripes;
        while (item < audit->stripes + audit->stripes_count && kinds_compare(&item->key, &key))
            item++;
        audit->stripes_sum++;
        if (item < audit->stripes + audit->stripes_count) {
            item->counts[partition % COORD_STRIPES_GROUP]++;
            continue;
        }
        if (audit->stripes_count == audit->stripes_room) {
            audit->stripes_room = 2 * audit->stripes_room + 64;
            audit->stripes =
                reallocarray(audit->stripes, audit->stripes_room, sizeof *audit->stripes);
            assert_non_null(audit->stripes);
        }
        item = &audit->stripes[audit->stripes_count++];
        memset(item, 0, sizeof *item);
        memcpy(&item->key, &key, sizeof key);
        item->counts[partition % COORD_STRIPES_GROUP] = 1;
    }
}

/* What is counted of each kind is what there is, and no kind is counted that there is not. */
static void stripes_check(struct audit *audit)
{
    assert_int_equal(fx_column_count(audit->fx, COORD_STRIPES), audit->stripes_count);
    for (size_t i = 0; i < audit->stripes_count; i++) {
        struct proto_stripes_row row;
        assert_true(get(audit, COORD_STRIPES, coord_key_stripes(&audit->stripes[i].key),
                        &proto_type_stripes_row, &row));
        assert_true(row.counts_count > 0 && row.counts[row.counts_count - 1] > 0);
        for (size_t k = 0; k < COORD_STRIPES_GROUP; k++)
            assert_int_equal(k < row.counts_count ? row.counts[k] : 0, audit->stripes[i].counts[k]);
    }
    free(audit->stripes);
}

/* What the repair row says of the run's bad fragments, fragment by fragment. */
static void bad_of(const struct proto_data_row *row, const struct proto_repair_row *repair)
{
    struct codec_profile profile = coord_codec_profile(&row->profile);
    uint64_t fragments = 0, bytes = 0;
    for (uint32_t stripe = 0; stripe < coord_run_stripes(row); stripe++) {
        uint64_t count = (uint64_t)__builtin_popcountll(proto_row_missing(row, stripe));
        uint64_t length = codec_stripe_length(&profile, row->stored_length, stripe);
        fragments += count;
        bytes += count * codec_fragment_size(&profile, length);
    }
    assert_int_equal(repair->fragments, fragments);
    assert_int_equal(repair->bytes, bytes);
}

/* A run is staged by an open session, used by a name, or waits for collection: one of these. */
static void data(struct audit *audit, struct base_slice key, struct base_slice value)
{
    struct proto_data_row row;
    struct base_oid oid;
    unpack(audit, &proto_type_data_row, value, &row);
    assert_true(coord_key_oid_parse(key, &oid) && base_oid_equal(oid, row.oid));
    assert_int_equal(proto_row_check(&row, NULL), LILIO_OK);
    struct proto_run_row run;
    bool staged = get(audit, COORD_SESSIONS, coord_key_pair(base_oid_session(oid), oid.low),
                      &proto_type_run_row, &run);
    bool named = rows_with(audit, COORD_REFS, coord_key_oid(oid)) > 0;
    assert_int_equal(row.state, staged ? 1 : 2);
    assert_false(staged && named);
    struct proto_repair_row repair;
    bool queued = get(audit, COORD_REPAIR, coord_key_oid(oid), &proto_type_repair_row, &repair);
    assert_int_equal(queued, named && row.exceptions_count > 0);
    if (queued) {
        uint32_t data = row.profile.data_count, total = data + row.profile.parity_count;
        uint32_t least = total, margin = COORD_MARGIN_BELOW;
        for (uint32_t stripe = 0; stripe < coord_run_stripes(&row); stripe++) {
            uint32_t good = total - (uint32_t)__builtin_popcountll(proto_row_missing(&row, stripe));
            least = good < least ? good : least;
            if (good < total && good >= data && good - data < margin)
                margin = good - data;
        }
        assert_int_equal(repair.least_good, least);
        assert_int_equal(repair.margin, margin);
        struct coord_repair_key place = {repair.margin, repair.since_ms, oid};
        assert_int_equal(rows_with(audit, COORD_REPAIR_QUEUE, coord_key_repair(&place)), 1);
        audit->levels[coord_repair_level(repair.margin)]++;
        bad_of(&row, &repair);
        audit->repair_fragments += repair.fragments;
        audit->repair_bytes += repair.bytes;
    }
    if (named)
        stripes_of(audit, &row);
    audit->stored_bytes += named ? row.stored_length : 0;
    if (row.state == 2)
        sums_count(audit, &row, 1);
    audit->data++;
    audit->gc += !staged && !named; /* counted down by its gc row */
}

static void gc(struct audit *audit, struct base_slice key, struct base_slice value)
{
    struct proto_gc_key at;
    struct proto_gc_row row;
    struct proto_data_row run;
    assert_true(coord_key_gc_parse(key, &at));
    unpack(audit, &proto_type_gc_row, value, &row);
    assert_true(base_oid_equal(at.oid, row.job.oid));
    assert_int_equal(at.osd == UINT32_MAX, row.waiting_count == 0);
    assert_int_equal(rows_with(audit, COORD_REFS, coord_key_oid(at.oid)), 0);
    bool there = get(audit, COORD_DATA, coord_key_oid(at.oid), &proto_type_data_row, &run);
    assert_int_equal(there, row.reason != 3);
    if (there)
        audit->gc--;
    if (there && at.osd != UINT32_MAX) /* collected by those that are up */
        sums_count(audit, &run, UINT64_MAX);
    audit->gc_bytes += row.stored_length;
}

static void session(struct audit *audit, struct base_slice key, struct base_slice value)
{
    struct proto_session_row row;
    if (key.size != 8) {
        struct proto_run_row run;
        unpack(audit, &proto_type_run_row, value, &run);
        assert_true(get(audit, COORD_SESSIONS, coord_key_u64(base_be64_get(key.data)),
                        &proto_type_session_row, &row));
        return;
    }
    unpack(audit, &proto_type_session_row, value, &row);
    assert_int_equal(rows_with(audit, COORD_SESSIONS, coord_key_u64(row.id)), 1 + row.run_count);
    audit->sessions++;
}

static void dedup(struct audit *audit, struct base_slice key, struct base_slice value)
{
    struct proto_session_row row;
    (void)value;
    assert_true(get(audit, COORD_SESSIONS, coord_key_u64(base_be64_get(key.data)),
                    &proto_type_session_row, &row));
    assert_true(base_be64_get(key.data + 8) >= row.answered_below);
}

static void repair(struct audit *audit, struct base_slice key, struct base_slice value)
{
    (void)value;
    struct base_oid oid;
    assert_true(coord_key_oid_parse(key, &oid));
    assert_true(rows_with(audit, COORD_REFS, coord_key_oid(oid)) > 0);
    audit->repair++;
}

static void bucket(struct audit *audit, struct base_slice key, struct base_slice value)
{
    struct proto_bucket row, by_name;
    unpack(audit, &proto_type_bucket, value, &row);
    assert_int_equal(row.id, base_be64_get(key.data));
    assert_int_equal(coord_read_bucket(&audit->view, row.name, &by_name, NULL), LILIO_OK);
    assert_int_equal(by_name.id, row.id);
    assert_int_equal(row.object_count, rows_with(audit, COORD_VERSIONS, coord_key_u64(row.id)));
    audit->buckets++;
}

void coord_audit(struct fx *fx)
{
    struct audit audit = {.fx = fx};
    struct proto_arena *arena = NULL;
    assert_int_equal(proto_arena_new(&arena), LILIO_OK);
    audit.view = coord_state_view(fx->state, NULL, arena);
    each(&audit, COORD_VERSIONS, version);
    each(&audit, COORD_REFS, ref);
    each(&audit, COORD_DATA, data);
    each(&audit, COORD_GC, gc);
    each(&audit, COORD_SESSIONS, session);
    each(&audit, COORD_DEDUP, dedup);
    each(&audit, COORD_REPAIR, repair);
    each(&audit, COORD_BUCKETS, bucket);
    assert_int_equal(audit.gc, 0); /* every run without a name has its gc row */
    const struct proto_state_row *row = fx_row(fx);
    assert_int_equal(row->object_count, audit.objects);
    assert_int_equal(row->object_bytes, audit.bytes);
    assert_int_equal(row->data_count, audit.data);
    assert_int_equal(row->gc_count, fx_column_count(fx, COORD_GC));
    assert_int_equal(row->gc_bytes, audit.gc_bytes);
    assert_int_equal(row->session_count, audit.sessions);
    assert_int_equal(row->repair_count, audit.repair);
    assert_int_equal(fx_column_count(fx, COORD_REPAIR_QUEUE), audit.repair);
    assert_int_equal(row->repair_levels_count, COORD_REPAIR_LEVELS);
    assert_memory_equal(row->repair_levels, audit.levels, sizeof audit.levels);
    assert_int_equal(row->repair_fragments, audit.repair_fragments);
    assert_int_equal(row->repair_bytes, audit.repair_bytes);
    assert_int_equal(row->stripes, audit.stripes_sum);
    assert_int_equal(row->stored_bytes, audit.stored_bytes);
    assert_true(row->stripes_ever >= row->stripes);
    stripes_check(&audit);
    sums_check(&audit);
    assert_int_equal(row->bucket_count, audit.buckets);
    assert_int_equal(row->bucket_count, fx_column_count(fx, COORD_BUCKET_NAMES));
    assert_int_equal(coord_state_osd_count(fx->state), fx_column_count(fx, COORD_OSDS));
    assert_int_equal(coord_state_placement_count(fx->state), fx_column_count(fx, COORD_SLOTS));
    proto_arena_free(&arena);
}
