#include "coord_workload.h"

#include "base/banned.h"

static uint64_t draw(struct workload *workload, uint64_t below)
{
    return fx_random(&workload->seed, below);
}

static const char *key_name(uint64_t key)
{
    static const char *const names[WORKLOAD_KEYS] = {"a",   "b", "c", "a/1", "a/2", "b/1",
                                                     "b/2", "x", "y", "z",   "zz",  "\xc3\xa9"};
    return names[key];
}

/* Another session takes the next turn; sometimes a request is sent twice. */
static enum lilio_err request(struct workload *workload, const struct proto_type *type,
                              const void *value)
{
    struct fx *fx = workload->fx;
    size_t s = 0;
    while (workload->sessions[s] != fx->session)
        s++;
    uint64_t sequence = ++workload->sequences[s], below = sequence > 5 ? sequence - 5 : 0;
    enum lilio_err err = fx_apply(fx, fx->session, sequence, below, type, value);
    if (draw(workload, 8) == 0)
        assert_int_equal(fx_apply(fx, fx->session, sequence, below, type, value), err);
    workload->granted += err == LILIO_OK;
    workload->refused += err != LILIO_OK;
    return err;
}

static void turn(struct workload *workload)
{
    workload->fx->session = workload->sessions[draw(workload, WORKLOAD_SESSIONS)];
    workload->fx->cluster_ms += draw(workload, 500);
    workload->fx->wall_ms += draw(workload, 1000) - 200;
}

void workload_start(struct workload *workload, struct fx *fx, uint64_t seed)
{
    static const char *const names[WORKLOAD_BUCKETS] = {"one", "two", "three"};
    *workload = (struct workload){.fx = fx, .seed = seed};
    for (size_t i = 0; i < WORKLOAD_SESSIONS; i++)
        workload->sessions[i] = i ? fx_session(fx) : fx->session;
    for (size_t i = 0; i < WORKLOAD_BUCKETS; i++)
        workload->buckets[i] = fx_bucket(fx, names[i]);
    workload->sequences[0] = fx->sequence;
}

/* Some fragments of a run are missing; two of a stripe are too many. */
static bool spoil(struct workload *workload, struct proto_data_row *row)
{
    uint32_t stripes = coord_run_stripes(row);
    row->exceptions_count = draw(workload, 3);
    row->exceptions = proto_arena_take(workload->fx->arena, 3 * sizeof *row->exceptions);
    uint64_t masks[64] = {0};
    for (size_t i = 0; i < row->exceptions_count; i++) {
        row->exceptions[i] =
            (struct proto_exception){.first_stripe = (uint32_t)draw(workload, stripes),
                                     .stripe_count = 1,
                                     .index = (uint8_t)draw(workload, 6),
                                     .kind = 1};
        masks[row->exceptions[i].first_stripe] |= UINT64_C(1) << row->exceptions[i].index;
    }
    bool enough = true;
    for (size_t i = 0; i < 64; i++)
        enough &= __builtin_popcountll(masks[i]) < 2;
    return enough;
}

static void step_put(struct workload *workload)
{
    struct fx *fx = workload->fx;
    uint64_t b = draw(workload, WORKLOAD_BUCKETS), k = draw(workload, WORKLOAD_KEYS);
    uint64_t length = draw(workload, 5) ? 1 + draw(workload, 200000) : 0;
    struct proto_commit commit =
        fx_commit(fx, &workload->buckets[b], key_name(k), ++workload->counter, length);
    bool enough = length == 0 || spoil(workload, &commit.data[0]);
    commit.condition = (uint8_t)draw(workload, 2);
    bool there = workload->names[b][k].low != 0;
    enum lilio_err err = request(workload, &proto_type_commit, &commit);
    enum lilio_err want = commit.condition == 1 && there ? LILIO_E_EXISTS
                          : !enough                      ? LILIO_E_NO_QUORUM
                                                         : LILIO_OK;
    assert_int_equal(err, want);
    if (err == LILIO_OK)
        workload->names[b][k] = (struct base_oid){fx->session, workload->counter};
}

/* Stands for a run in the model: no run has this group. */
static struct base_oid bytes_id(uint64_t counter)
{
    return (struct base_oid){UINT64_MAX, counter};
}

static void step_put_inline(struct workload *workload)
{
    uint64_t b = draw(workload, WORKLOAD_BUCKETS), k = draw(workload, WORKLOAD_KEYS);
    uint64_t counter = ++workload->counter;
    struct proto_commit commit = fx_commit_inline(
        workload->fx, &workload->buckets[b], key_name(k),
        1 + (uint32_t)draw(workload, draw(workload, 4) ? 500 : COORD_INLINE_MAX), (uint8_t)counter);
    commit.condition = (uint8_t)draw(workload, 2);
    bool spoilt = draw(workload, 10) == 0, there = workload->names[b][k].low != 0;
    commit.row.crc32c ^= spoilt;
    enum lilio_err want = workload->voters < 3 || spoilt   ? LILIO_E_INVALID
                          : commit.condition == 1 && there ? LILIO_E_EXISTS
                                                           : LILIO_OK;
    assert_int_equal(request(workload, &proto_type_commit, &commit), want);
    if (want == LILIO_OK)
        workload->names[b][k] = bytes_id(counter);
}

static void step_config(struct workload *workload)
{
    workload->voters = 1 + (uint32_t)draw(workload, 4);
    fx_config(workload->fx, workload->voters);
}

static void step_put_staged(struct workload *workload)
{
    struct fx *fx = workload->fx;
    uint64_t b = draw(workload, WORKLOAD_BUCKETS), k = draw(workload, WORKLOAD_KEYS);
    struct proto_extent extents[3];
    size_t count = 1 + draw(workload, 3);
    struct proto_commit commit = {.bucket_id = workload->buckets[b].id,
                                  .key = fx_text(key_name(k))};
    commit.row = (struct proto_version_row){.kind = 1, .extents = extents, .extents_count = count};
    for (size_t i = 0; i < count; i++) {
        uint64_t length = 1 + draw(workload, 100000);
        struct proto_stage stage = {
            .data = fx_run(fx, &workload->buckets[b], ++workload->counter, length),
            .lowest_epoch = fx_row(fx)->epoch};
        assert_int_equal(request(workload, &proto_type_stage, &stage), LILIO_OK);
        extents[i] = (struct proto_extent){
            .oid = stage.data.oid, .stored_length = length, .logical_length = length};
        commit.row.logical_size += length;
    }
    if (draw(workload, 3) == 0)
        return; /* left for the end of the session */
    assert_int_equal(request(workload, &proto_type_commit, &commit), LILIO_OK);
    workload->names[b][k] = extents[0].oid;
}

static void step_delete(struct workload *workload)
{
    uint64_t b = draw(workload, WORKLOAD_BUCKETS), k = draw(workload, WORKLOAD_KEYS);
    struct proto_delete ask = {.bucket_id = workload->buckets[b].id, .key = fx_text(key_name(k))};
    bool there = workload->names[b][k].low != 0;
    assert_int_equal(request(workload, &proto_type_delete, &ask),
                     there ? LILIO_OK : LILIO_E_NO_KEY);
    workload->names[b][k] = (struct base_oid){0};
}

static void step_copy(struct workload *workload)
{
    uint64_t b = draw(workload, WORKLOAD_BUCKETS), k = draw(workload, WORKLOAD_KEYS);
    uint64_t to_b = draw(workload, WORKLOAD_BUCKETS), to_k = draw(workload, WORKLOAD_KEYS);
    struct proto_copy ask = {
        .bucket = workload->buckets[b].name,
        .key = fx_text(key_name(k)),
        .to_bucket_id = workload->buckets[to_b].id,
        .to_key = fx_text(key_name(to_k)),
        .condition = (uint8_t)draw(workload, 2),
        .move = draw(workload, 2),
    };
    bool there = workload->names[b][k].low != 0, target = workload->names[to_b][to_k].low != 0;
    enum lilio_err want = !there                         ? LILIO_E_NO_KEY
                          : target && ask.condition == 1 ? LILIO_E_EXISTS
                                                         : LILIO_OK;
    assert_int_equal(request(workload, &proto_type_copy, &ask), want);
    if (want != LILIO_OK || (b == to_b && k == to_k))
        return;
    workload->names[to_b][to_k] = workload->names[b][k];
    if (ask.move)
        workload->names[b][k] = (struct base_oid){0};
}

static void step_discard(struct workload *workload)
{
    struct proto_collect_job jobs[2] = {0};
    for (size_t i = 0; i < 2; i++) {
        jobs[i].oid =
            base_oid_make(0, workload->fx->session, 1 + draw(workload, workload->counter + 3));
        jobs[i].placement = workload->buckets[0].placement;
        jobs[i].stripe_count = 1 + (uint32_t)draw(workload, 3);
    }
    workload->counter += 3;
    struct proto_discard ask = {.jobs = jobs, .jobs_count = 2};
    assert_int_equal(request(workload, &proto_type_discard, &ask), LILIO_OK);
}

static void step_report(struct workload *workload)
{
    struct proto_fragment_report items[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        static const uint8_t kinds[] = {0, 0, 1, 3};
        items[i].oid =
            workload->names[draw(workload, WORKLOAD_BUCKETS)][draw(workload, WORKLOAD_KEYS)];
        items[i].stripe = (uint32_t)draw(workload, 10);
        items[i].index = (uint8_t)draw(workload, 7);
        items[i].kind = kinds[draw(workload, 4)];
    }
    struct proto_report report = {.items = items, .items_count = 4};
    assert_int_equal(fx_internal(workload->fx, &proto_type_report, &report), LILIO_OK);
}

/* Collects, or parks and later collects, some of what waits. */
static void step_gc(struct workload *workload)
{
    struct fx *fx = workload->fx;
    struct coord_gc_item items[8];
    struct proto_gc_step steps[8];
    size_t count = 0;
    uint64_t osds[2] = {draw(workload, 3), 3 + draw(workload, 3)};
    struct proto_gc_key from = {.osd = draw(workload, 2) ? COORD_GC_NOBODY
                                                         : (uint32_t)draw(workload, 6)};
    struct coord_view view = coord_state_view(fx->state, NULL, fx->arena);
    assert_int_equal(coord_read_gc(&view, &from, items, 8, &count, NULL), LILIO_OK);
    for (size_t i = 0; i < count; i++) {
        steps[i] = (struct proto_gc_step){.key = items[i].key};
        if (draw(workload, 3) == 0) {
            steps[i].waiting = osds;
            steps[i].waiting_count = 1 + draw(workload, 2);
        }
    }
    struct proto_gc_done done = {.steps = steps, .steps_count = count};
    assert_int_equal(fx_internal(fx, &proto_type_gc_done, &done), LILIO_OK);
    if (draw(workload, 2))
        assert_int_equal(fx_internal(fx, &proto_type_gc_done, &done), LILIO_OK);
}

static void step_session(struct workload *workload)
{
    struct fx *fx = workload->fx;
    uint64_t s = draw(workload, WORKLOAD_SESSIONS), id = workload->sessions[s];
    struct proto_session_expire expire = {.ids = &id, .ids_count = 1};
    assert_int_equal(fx_internal(fx, &proto_type_session_expire, &expire), LILIO_OK);
    workload->sessions[s] = fx_session(fx);
    workload->sequences[s] = 0;
}

static void step_osd(struct workload *workload)
{
    struct fx *fx = workload->fx;
    uint32_t osd = (uint32_t)draw(workload, FX_OSDS);
    static const uint8_t states[] = {1, 3, 4, 5, 7};
    if (draw(workload, 4) == 0) {
        fx_rebind(fx, osd);
        return;
    }
    struct proto_osd_step step = {.osd = osd,
                                  .incarnation = 1 + (uint32_t)draw(workload, 3),
                                  .state = states[draw(workload, 5)]};
    struct proto_osd_change change = {.steps = &step, .steps_count = 1};
    assert_int_equal(fx_internal(fx, &proto_type_osd_change, &change), LILIO_OK);
}

void workload_step(struct workload *workload)
{
    static void (*const steps[])(struct workload *) = {
        step_put,        step_put,    step_put,  step_put,  step_put_inline, step_put_inline,
        step_put_staged, step_delete, step_copy, step_copy, step_copy,       step_discard,
        step_report,     step_gc,     step_gc,   step_osd,  step_config,
    };
    turn(workload);
    if (draw(workload, 40) == 0)
        step_session(workload);
    else
        steps[draw(workload, sizeof steps / sizeof *steps)](workload);
}

void workload_check(struct workload *workload)
{
    for (size_t b = 0; b < WORKLOAD_BUCKETS; b++)
        for (size_t k = 0; k < WORKLOAD_KEYS; k++) {
            struct proto_object object;
            char bucket[16];
            (void)snprintf(bucket, sizeof bucket, "%.*s", (int)workload->buckets[b].name.size,
                           (const char *)workload->buckets[b].name.data);
            enum lilio_err err = fx_lookup(workload->fx, bucket, key_name(k), &object);
            assert_int_equal(err, workload->names[b][k].low ? LILIO_OK : LILIO_E_NO_KEY);
            if (!err && object.row.extents_count > 0)
                assert_true(base_oid_equal(object.row.extents[0].oid, workload->names[b][k]));
            bool bytes = !err && object.row.inline_bytes.size > 0;
            assert_int_equal(bytes, workload->names[b][k].high == UINT64_MAX);
            for (size_t i = 0; bytes && i < object.row.inline_bytes.size; i++)
                assert_int_equal(object.row.inline_bytes.data[i],
                                 (uint8_t)workload->names[b][k].low);
        }
}
