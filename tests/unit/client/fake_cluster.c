#include "tests/unit/client/fake_cluster.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "codec/codec.h"
#include "proto/cluster_file.h"
#include "proto/placement.h"
#include "proto/transport.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/temp_dir.h"

#include "base/banned.h"

enum {
    OBJECTS_MAX = 64,
    RUNS_MAX = 256,
    FRAGMENTS_MAX = 32768,
    CHAINS = 4096,
    RESULTS_MAX = 512,
    LATE_MAX = 64
};

struct object {
    uint64_t bucket_id;
    char key[128];
    struct base_buffer row; /* packed version_row */
};
struct run {
    struct base_oid oid;
    bool committed;
    struct base_buffer row; /* packed data_row */
};
struct fragment {
    struct proto_fragment_key key;
    uint32_t osd, size;
    uint8_t *bytes;
    struct fragment *next; /* of the same chain */
};
struct result {
    uint64_t session, sequence;
    uint16_t type;
    struct base_buffer body;
};
/* An answer that osd.0 holds back. */
struct late {
    uint64_t at_ms;
    struct proto_server *server;
    struct proto_request *request;
};
struct fake_state {
    struct fake_cluster *cluster;
    char *dir;
    struct proto_context *context;
    struct proto_server *coordinators[FAKE_COORDINATORS], *osds[FAKE_OSDS];
    char coordinator_endpoints[FAKE_COORDINATORS][200], osd_endpoints[FAKE_OSDS][200];
    struct base_uuid cluster_id;
    struct proto_arena *arena;
    pthread_t thread;
    _Atomic bool stop;
    uint64_t epoch, index, first_session, next_session;
    uint8_t *slots[2]; /* widths 6 and 3 */
    struct proto_bucket buckets[2];
    struct object objects[OBJECTS_MAX];
    size_t object_count;
    struct run runs[RUNS_MAX];
    size_t run_count;
    struct fragment fragments[FRAGMENTS_MAX], *chains[CHAINS];
    size_t fragment_count;
    struct result results[RESULTS_MAX];
    size_t result_count;
    struct late late[LATE_MAX];
    size_t late_count;
};

static bool count_down(_Atomic int *knob)
{
    int left = atomic_load(knob);
    return left > 0 && atomic_fetch_sub(knob, 1) == left;
}

/* ---- the map ---- */

static void fill_map(struct fake_state *state, struct proto_cluster_map *map,
                     struct proto_osd osds[FAKE_OSDS], struct proto_placement placements[2])
{
    for (uint32_t i = 0; i < FAKE_OSDS; i++)
        osds[i] = (struct proto_osd){.id = i,
                                     .incarnation = 1,
                                     .disk_uuid = {{(uint8_t)(i + 1)}},
                                     .state = PROTO_OSD_UP,
                                     .complete = true,
                                     .weight = 1000,
                                     .address = base_slice_str(state->osd_endpoints[i]),
                                     .since_epoch = 1};
    for (uint32_t p = 0; p < 2; p++) {
        uint8_t width = p == 0 ? 6 : 3;
        placements[p] = (struct proto_placement){
            .id = p + 1,
            .width = width,
            .rule = base_slice_str("osd:1"),
            .partition_bits = PROTO_PARTITION_BITS,
            .slots = base_slice(state->slots[p], (size_t)2 * width << PROTO_PARTITION_BITS),
        };
    }
    *map = (struct proto_cluster_map){
        .cluster_id = state->cluster_id,
        .epoch = state->epoch,
        .osds = osds,
        .osds_count = FAKE_OSDS,
        .placements = placements,
        .placements_count = 2,
        .default_profile = state->buckets[0].profile,
    };
}

static void make_map(struct fake_state *state)
{
    struct proto_osd osds[FAKE_OSDS];
    struct proto_placement placements[2];
    struct proto_cluster_map map;
    fill_map(state, &map, osds, placements);
    for (uint32_t p = 0; p < 2; p++) {
        uint8_t width = p == 0 ? 6 : 3;
        state->slots[p] = malloc((size_t)2 * width << PROTO_PARTITION_BITS);
        assert_non_null(state->slots[p]);
        assert_int_equal(proto_placement_compute(osds, FAKE_OSDS, width, base_slice_str("osd:1"),
                                                 PROTO_PARTITION_BITS, state->slots[p], NULL),
                         LILIO_OK);
        state->buckets[p] = (struct proto_bucket){
            .id = p + 1,
            .name = base_slice_str(p == 0 ? "wide" : "narrow"),
            .profile = {.data_count = p == 0 ? 4 : 2,
                        .parity_count = p == 0 ? 2 : 1,
                        .fragment_size = p == 0 ? 65536 : 4096,
                        .generator = CODEC_CAUCHY1},
            .placement = p + 1,
        };
    }
}

/* ---- coordinators ---- */

/* Remembers the answer to a change, so that a repetition gets the same, and sends it. */
static void answer_change(struct fake_state *state, struct proto_server *server,
                          struct proto_request **request, const struct proto_type *type,
                          const void *value)
{
    LILIO_ASSERT(state->result_count < RESULTS_MAX);
    struct result *result = &state->results[state->result_count++];
    *result = (struct result){.session = (*request)->header.session,
                              .sequence = (*request)->header.sequence,
                              .type = type->number};
    LILIO_ASSERT(proto_pack(type, value, &result->body) == LILIO_OK);
    if (count_down(&state->cluster->knobs.lose_answers)) {
        proto_request_drop(request);
        atomic_fetch_add(&state->cluster->knobs.busy,
                         atomic_load(&state->cluster->knobs.busy_when_lost));
    } else {
        proto_server_reply(server, request, type, value, NULL, state->epoch);
    }
}

static void refuse_change(struct fake_state *state, struct proto_server *server,
                          struct proto_request **request, enum lilio_err err)
{
    struct proto_error error = {.code = err, .text = base_slice_str(lilio_err_text(err))};
    answer_change(state, server, request, &proto_type_error, &error);
}

static struct object *find_object(struct fake_state *state, uint64_t bucket_id,
                                  struct base_slice key)
{
    for (size_t i = 0; i < state->object_count; i++)
        if (state->objects[i].bucket_id == bucket_id &&
            base_slice_equal(base_slice_str(state->objects[i].key), key))
            return &state->objects[i];
    return NULL;
}

static struct run *find_run(struct fake_state *state, struct base_oid oid)
{
    for (size_t i = 0; i < state->run_count; i++)
        if (base_oid_equal(state->runs[i].oid, oid))
            return &state->runs[i];
    return NULL;
}

static const struct proto_bucket *find_bucket(const struct fake_state *state,
                                              struct base_slice name)
{
    for (size_t b = 0; b < 2; b++)
        if (base_slice_equal(state->buckets[b].name, name))
            return &state->buckets[b];
    return NULL;
}

static void store_run(struct fake_state *state, const struct proto_data_row *row, bool committed)
{
    LILIO_ASSERT(state->run_count < RUNS_MAX);
    LILIO_ASSERT(proto_row_check(row, NULL) == LILIO_OK);
    struct run *run = &state->runs[state->run_count++];
    *run = (struct run){.oid = row->oid, .committed = committed};
    LILIO_ASSERT(proto_data_row_pack(row, &run->row) == LILIO_OK);
}

static void commit(struct fake_state *state, struct proto_server *server,
                   struct proto_request **request)
{
    struct proto_commit body;
    LILIO_ASSERT(proto_commit_unpack((*request)->body, state->arena, &body, NULL) == LILIO_OK);
    struct object *object = find_object(state, body.bucket_id, body.key);
    if (body.condition == 1 && object) {
        refuse_change(state, server, request, LILIO_E_EXISTS);
        return;
    }
    if (body.row.inline_bytes.size > 0 && atomic_load(&state->cluster->knobs.inline_refused)) {
        refuse_change(state, server, request, LILIO_E_INVALID);
        return;
    }
    for (size_t i = 0; i < body.data_count; i++)
        store_run(state, &body.data[i], true);
    for (size_t i = 0; i < body.row.extents_count; i++) {
        struct run *run = find_run(state, body.row.extents[i].oid);
        LILIO_ASSERT(run);
        run->committed = true;
    }
    if (!object) {
        LILIO_ASSERT(state->object_count < OBJECTS_MAX && body.key.size < sizeof object->key);
        object = &state->objects[state->object_count++];
        *object = (struct object){.bucket_id = body.bucket_id};
        memcpy(object->key, body.key.data, body.key.size);
    }
    body.row.version = (struct proto_version){.index = ++state->index};
    body.row.modified_ms = 1000 + state->index;
    base_buffer_clear(&object->row);
    LILIO_ASSERT(proto_version_row_pack(&body.row, &object->row) == LILIO_OK);
    atomic_fetch_add(&state->cluster->counters.commits, 1);
    struct proto_committed committed = {.version = body.row.version,
                                        .durable = body.row.durable_min,
                                        .total = body.bucket_id == 1 ? 6 : 3,
                                        .modified_ms = body.row.modified_ms};
    if (body.row.inline_bytes.size > 0) {
        LILIO_ASSERT(body.row.has_crc32c && body.row.extents_count == 0 && body.data_count == 0);
        atomic_fetch_add(&state->cluster->counters.inlines, 1);
        committed.durable = committed.total = 0;
        committed.coordinators = 2;
        committed.coordinators_total = 3;
    }
    answer_change(state, server, request, &proto_type_committed, &committed);
}

static void delete_object(struct fake_state *state, struct proto_server *server,
                          struct proto_request **request)
{
    struct proto_delete body;
    LILIO_ASSERT(proto_delete_unpack((*request)->body, state->arena, &body, NULL) == LILIO_OK);
    struct object *object = find_object(state, body.bucket_id, body.key);
    if (!object) {
        refuse_change(state, server, request, LILIO_E_NO_KEY);
        return;
    }
    base_buffer_release(&object->row);
    *object = state->objects[--state->object_count];
    struct proto_deleted deleted = {.version = {.index = ++state->index}};
    answer_change(state, server, request, &proto_type_deleted, &deleted);
}

/* The data rows of an object with one run; 0 when it has none or several. */
static size_t load_run(struct fake_state *state, const struct proto_version_row *row,
                       struct proto_data_row *ret)
{
    if (row->extents_count != 1)
        return 0;
    struct run *run = find_run(state, row->extents[0].oid);
    LILIO_ASSERT(run && proto_data_row_unpack(base_buffer_slice(&run->row), state->arena, ret,
                                              NULL) == LILIO_OK);
    return 1;
}

static void lookup(struct fake_state *state, struct proto_server *server,
                   struct proto_request **request)
{
    struct proto_lookup body;
    LILIO_ASSERT(proto_lookup_unpack((*request)->body, state->arena, &body, NULL) == LILIO_OK);
    const struct proto_bucket *bucket = find_bucket(state, body.bucket);
    struct object *object = bucket ? find_object(state, bucket->id, body.key) : NULL;
    if (!object) {
        proto_server_reply_error(server, request, bucket ? LILIO_E_NO_KEY : LILIO_E_NO_BUCKET,
                                 "not there", state->epoch);
        return;
    }
    struct proto_data_row data;
    struct proto_object reply = {.bucket = *bucket, .data = &data, .epoch = state->epoch};
    LILIO_ASSERT(proto_version_row_unpack(base_buffer_slice(&object->row), state->arena, &reply.row,
                                          NULL) == LILIO_OK);
    reply.data_count = load_run(state, &reply.row, &data);
    bool flips =
        reply.row.inline_bytes.size > 0 && atomic_load(&state->cluster->knobs.inline_flips);
    uint8_t *content = (uint8_t *)(uintptr_t)reply.row.inline_bytes.data;
    if (flips)
        content[0] ^= 1;
    proto_server_reply(server, request, &proto_type_object, &reply, NULL, state->epoch);
    if (flips)
        content[0] ^= 1;
}

static void data_get(struct fake_state *state, struct proto_server *server,
                     struct proto_request **request)
{
    struct proto_data_get body;
    struct proto_data reply = {0};
    LILIO_ASSERT(proto_data_get_unpack((*request)->body, state->arena, &body, NULL) == LILIO_OK);
    struct run *run = find_run(state, body.oid);
    if (!run) {
        proto_server_reply_error(server, request, LILIO_E_NOT_FOUND, "no such run", state->epoch);
        return;
    }
    LILIO_ASSERT(proto_data_row_unpack(base_buffer_slice(&run->row), state->arena, &reply.data,
                                       NULL) == LILIO_OK);
    proto_server_reply(server, request, &proto_type_data, &reply, NULL, state->epoch);
}

/* One page with every committed run that an object names. */
static void scan_next(struct fake_state *state, struct proto_server *server,
                      struct proto_request **request)
{
    static struct proto_scan_row rows[RUNS_MAX];
    static struct proto_name names[RUNS_MAX];
    struct proto_scan_page page = {.rows = rows};
    for (size_t i = 0; i < state->object_count; i++) {
        struct proto_version_row row;
        struct proto_data_row data;
        LILIO_ASSERT(proto_version_row_unpack(base_buffer_slice(&state->objects[i].row),
                                              state->arena, &row, NULL) == LILIO_OK);
        if (load_run(state, &row, &data) == 0)
            continue;
        size_t at = page.rows_count++; /* in the order of oids */
        for (; at > 0 && rows[at - 1].data.oid.low > data.oid.low; at--) {
            rows[at] = rows[at - 1];
            names[at] = names[at - 1];
        }
        names[at] =
            (struct proto_name){state->buckets[state->objects[i].bucket_id - 1].body_version,
                                state->buckets[state->objects[i].bucket_id - 1].name,
                                base_slice_str(state->objects[i].key)};
        rows[at] = (struct proto_scan_row){.data = data, .names_count = 1, .name_count = 1};
    }
    for (size_t r = 0; r < page.rows_count; r++)
        rows[r].names = &names[r];
    proto_server_reply(server, request, &proto_type_scan_page, &page, NULL, state->epoch);
}

static void take_report(struct fake_state *state, struct proto_server *server,
                        struct proto_request **request)
{
    struct proto_report body;
    struct proto_ok ok = {0};
    LILIO_ASSERT(proto_report_unpack((*request)->body, state->arena, &body, NULL) == LILIO_OK);
    for (size_t i = 0; i < body.items_count; i++)
        atomic_fetch_add(body.items[i].kind ? &state->cluster->counters.reports
                                            : &state->cluster->counters.good_again,
                         1);
    proto_server_reply(server, request, &proto_type_ok, &ok, NULL, state->epoch);
}

/* True if the request's session is closed, which was answered. */
static bool session_over(struct fake_state *state, struct proto_server *server,
                         struct proto_request **request)
{
    if (atomic_exchange(&state->cluster->knobs.end_sessions, false))
        state->first_session = state->next_session;
    if ((*request)->header.session >= state->first_session)
        return false;
    proto_server_reply_error(server, request, LILIO_E_SESSION_CLOSED, "closed", state->epoch);
    return true;
}

static bool is_change(uint16_t number)
{
    return number == PROTO_MSG_commit || number == PROTO_MSG_delete ||
           number == PROTO_MSG_discard || number == PROTO_MSG_stage;
}

/* A repeated change is answered as the first time. */
static bool repeated(struct fake_state *state, struct proto_server *server,
                     struct proto_request **request)
{
    for (size_t i = 0; i < state->result_count; i++)
        if (state->results[i].session == (*request)->header.session &&
            state->results[i].sequence == (*request)->header.sequence) {
            if (count_down(&state->cluster->knobs.lose_answers))
                proto_request_drop(request);
            else
                proto_server_reply_packed(server, request, state->results[i].type,
                                          base_buffer_slice(&state->results[i].body), state->epoch);
            return true;
        }
    return false;
}

static void reply_map(struct fake_state *state, struct proto_server *server,
                      struct proto_request **request)
{
    struct proto_osd osds[FAKE_OSDS];
    struct proto_placement placements[2];
    struct proto_map reply = {.changed = true};
    fill_map(state, &reply.map, osds, placements);
    proto_server_reply(server, request, &proto_type_map, &reply, NULL, state->epoch);
}

static void reply_bucket(struct fake_state *state, struct proto_server *server,
                         struct proto_request **request)
{
    struct proto_bucket_get body;
    LILIO_ASSERT(proto_bucket_get_unpack((*request)->body, state->arena, &body, NULL) == LILIO_OK);
    const struct proto_bucket *bucket = find_bucket(state, body.name);
    if (!bucket) {
        proto_server_reply_error(server, request, LILIO_E_NO_BUCKET, "no such bucket",
                                 state->epoch);
        return;
    }
    struct proto_bucket_reply reply = {.bucket = *bucket};
    proto_server_reply(server, request, &proto_type_bucket_reply, &reply, NULL, state->epoch);
}

static void stage(struct fake_state *state, struct proto_server *server,
                  struct proto_request **request)
{
    struct proto_stage body;
    struct proto_ok ok = {.index = ++state->index};
    LILIO_ASSERT(proto_stage_unpack((*request)->body, state->arena, &body, NULL) == LILIO_OK);
    store_run(state, &body.data, false);
    atomic_fetch_add(&state->cluster->counters.stages, 1);
    answer_change(state, server, request, &proto_type_ok, &ok);
}

/* All of a bucket in one page. */
static void list(struct fake_state *state, struct proto_server *server,
                 struct proto_request **request)
{
    struct proto_list body;
    struct proto_list_entry entries[OBJECTS_MAX];
    struct proto_listing page = {.entries = entries};
    LILIO_ASSERT(proto_list_unpack((*request)->body, state->arena, &body, NULL) == LILIO_OK);
    const struct proto_bucket *bucket = find_bucket(state, body.bucket);
    for (size_t i = 0; i < state->object_count; i++) {
        struct proto_version_row row;
        if (!bucket || state->objects[i].bucket_id != bucket->id)
            continue;
        LILIO_ASSERT(proto_version_row_unpack(base_buffer_slice(&state->objects[i].row),
                                              state->arena, &row, NULL) == LILIO_OK);
        entries[page.entries_count++] =
            (struct proto_list_entry){.key = base_slice_str(state->objects[i].key),
                                      .size = row.logical_size,
                                      .version = row.version,
                                      .is_inline = row.inline_bytes.size > 0};
    }
    proto_server_reply(server, request, &proto_type_listing, &page, NULL, state->epoch);
}

static void reply_status(struct fake_state *state, struct proto_server *server,
                         struct proto_request **request)
{
    struct proto_coordinator coordinators[FAKE_COORDINATORS];
    struct proto_osd osds[] = {{.id = 4, .state = PROTO_OSD_OUT},
                               {.id = 5, .state = PROTO_OSD_UP},
                               {.id = 7, .state = PROTO_OSD_DOWN},
                               {.id = 9, .state = PROTO_OSD_DOWN}};
    struct proto_osd_leaving leaving[] = {{.osd = 9, .waits = true, .behind = 4},
                                          {.osd = 7, .in_ms = 300}};
    struct proto_status status = {.coordinators = coordinators,
                                  .coordinators_count = FAKE_COORDINATORS,
                                  .map = {.cluster_id = state->cluster_id,
                                          .epoch = state->epoch,
                                          .osds = osds,
                                          .osds_count = sizeof osds / sizeof *osds},
                                  .leaving = leaving,
                                  .leaving_count = sizeof leaving / sizeof *leaving,
                                  .many_away = true};
    for (uint32_t i = 0; i < FAKE_COORDINATORS; i++)
        coordinators[i] =
            (struct proto_coordinator){.id = i,
                                       .address = base_slice_str(state->coordinator_endpoints[i]),
                                       .role = base_slice_str(i == 1 ? "leader" : "follower"),
                                       .applied_index = 90 + i,
                                       .term = 7,
                                       .commit_index = 91,
                                       .member = (uint64_t)2 << 32 | i,
                                       .kind = (uint8_t)(i == 1 ? 1 : 2),
                                       .lag = 3,
                                       .silent_ms = 40,
                                       .peer = base_slice_str("ipc:///peer"),
                                       .log_bytes = 1000,
                                       .refused_messages = 5};
    proto_server_reply(server, request, &proto_type_status, &status, NULL, state->epoch);
}

static void change_coordinators(struct fake_state *state, struct proto_server *server,
                                struct proto_request **request)
{
    struct proto_coordinator_change body;
    LILIO_ASSERT(proto_coordinator_change_unpack((*request)->body, state->arena, &body, NULL) ==
                 LILIO_OK);
    struct proto_coordinator_changed reply = {.member = (uint64_t)3 << 32 | body.id, .index = 5};
    atomic_fetch_add(&state->cluster->counters.changes, 1);
    if (count_down(&state->cluster->knobs.lose_answers))
        proto_request_drop(request);
    else
        proto_server_reply(server, request, &proto_type_coordinator_changed, &reply, NULL,
                           state->epoch);
}

static void renew_session(struct fake_state *state, struct proto_server *server,
                          struct proto_request **request)
{
    struct proto_session_renew body;
    struct proto_ok ok = {0};
    LILIO_ASSERT(proto_session_renew_unpack((*request)->body, state->arena, &body, NULL) ==
                 LILIO_OK);
    atomic_fetch_add(&state->cluster->counters.renewals, 1);
    atomic_fetch_add(&state->cluster->counters.leases, (int)body.reading_count);
    proto_server_reply(server, request, &proto_type_ok, &ok, NULL, state->epoch);
}

static void serve_coordinator(struct fake_state *state, uint32_t number,
                              struct proto_request *request)
{
    struct fake_knobs *knobs = &state->cluster->knobs;
    struct fake_counters *counters = &state->cluster->counters;
    struct proto_server *server = state->coordinators[number];
    struct proto_ok ok = {0};
    struct proto_pong pong = {.node = base_slice_str("coordinator"),
                              .state = base_slice_str("serving")};
    struct proto_session session = {.id = state->next_session,
                                    .timeout_ms = 300,
                                    .cluster_id = state->cluster_id,
                                    .epoch = state->epoch,
                                    .inline_max = atomic_load(&knobs->inline_max)};
    struct proto_bucket by_name[2] = {state->buckets[1], state->buckets[0]};
    struct proto_buckets buckets = {.buckets = by_name, .buckets_count = 2};
    struct proto_scan scan = {.id = 1, .index = state->index, .epoch = state->epoch};
    uint16_t type = request->type->number;
    proto_arena_clear(state->arena);
    if (atomic_load(&knobs->silent)) {
        proto_request_drop(&request);
        return;
    }
    if (number == 0 && atomic_load(&knobs->redirect)) {
        struct proto_error error = {
            .code = LILIO_E_NOT_LEADER,
            .leader = base_slice_str(state->coordinator_endpoints[1]),
        };
        proto_server_reply_error_full(server, &request, &error, state->epoch);
        return;
    }
    if (count_down(&knobs->busy)) {
        proto_server_reply_error(server, &request, LILIO_E_BUSY, "later", state->epoch);
        return;
    }
    if ((is_change(type) || type == PROTO_MSG_session_renew) &&
        session_over(state, server, &request))
        return;
    if (is_change(type) && repeated(state, server, &request))
        return;
    switch (type) {
    case PROTO_MSG_ping:
        proto_server_reply(server, &request, &proto_type_pong, &pong, NULL, state->epoch);
        break;
    case PROTO_MSG_map_get: reply_map(state, server, &request); break;
    case PROTO_MSG_session_open:
        state->next_session++;
        atomic_fetch_add(&counters->sessions, 1);
        proto_server_reply(server, &request, &proto_type_session, &session, NULL, state->epoch);
        break;
    case PROTO_MSG_session_renew: renew_session(state, server, &request); break;
    case PROTO_MSG_bucket_get: reply_bucket(state, server, &request); break;
    case PROTO_MSG_lookup: lookup(state, server, &request); break;
    case PROTO_MSG_data_get: data_get(state, server, &request); break;
    case PROTO_MSG_commit: commit(state, server, &request); break;
    case PROTO_MSG_stage: stage(state, server, &request); break;
    case PROTO_MSG_delete: delete_object(state, server, &request); break;
    case PROTO_MSG_discard:
        atomic_fetch_add(&counters->discards, 1);
        answer_change(state, server, &request, &proto_type_ok, &ok);
        break;
    case PROTO_MSG_list: list(state, server, &request); break;
    case PROTO_MSG_bucket_list:
        proto_server_reply(server, &request, &proto_type_buckets, &buckets, NULL, state->epoch);
        break;
    case PROTO_MSG_status_get: reply_status(state, server, &request); break;
    case PROTO_MSG_coordinator_change: change_coordinators(state, server, &request); break;
    case PROTO_MSG_report: take_report(state, server, &request); break;
    case PROTO_MSG_scan_open:
        proto_server_reply(server, &request, &proto_type_scan, &scan, NULL, state->epoch);
        break;
    case PROTO_MSG_scan_next:
        if (count_down(&knobs->lose_scans))
            proto_server_reply_error(server, &request, LILIO_E_NOT_FOUND, "no such walk",
                                     state->epoch);
        else
            scan_next(state, server, &request);
        break;
    case PROTO_MSG_verified:
        atomic_fetch_add(&counters->verified, 1);
        proto_server_reply(server, &request, &proto_type_ok, &ok, NULL, state->epoch);
        break;
    default: proto_server_reply(server, &request, &proto_type_ok, &ok, NULL, state->epoch);
    }
}

/* ---- OSDs ---- */

static struct fragment **chain_of(struct fake_state *state, const struct proto_fragment_key *key)
{
    return &state->chains[(key->oid.low * 1021 + key->stripe * 7 + key->index) % CHAINS];
}

static struct fragment *find_fragment(struct fake_state *state, uint32_t osd,
                                      const struct proto_fragment_key *key)
{
    struct fragment *fragment = *chain_of(state, key);
    while (fragment && (fragment->osd != osd || !base_oid_equal(fragment->key.oid, key->oid) ||
                        fragment->key.stripe != key->stripe || fragment->key.index != key->index ||
                        fragment->key.partition != key->partition))
        fragment = fragment->next;
    return fragment;
}

/* Answers what is sent to an OSD that does not have the slot (any more). */
static bool misplaced(struct fake_state *state, uint32_t osd, const struct proto_fragment_key *key,
                      struct proto_request **request)
{
    uint32_t p = key->placement - 1, width = p == 0 ? 6 : 3;
    const uint8_t *slot = state->slots[p] + 2 * ((size_t)key->partition * width + key->index);
    if ((uint32_t)(slot[0] | slot[1] << 8) == osd)
        return false;
    atomic_fetch_add(&state->cluster->counters.misplaced, 1);
    proto_server_reply_error(state->osds[osd], request,
                             (*request)->header.epoch < state->epoch ? LILIO_E_STALE_EPOCH
                                                                     : LILIO_E_WRONG_OSD,
                             "not mine", state->epoch);
    return true;
}

static void swap_slots(struct fake_state *state)
{
    for (size_t partition = 0; partition < (size_t)1 << PROTO_PARTITION_BITS; partition++) {
        uint8_t *slots = state->slots[0] + partition * 12, first[2];
        memcpy(first, slots, 2);
        memcpy(slots, slots + 2, 2);
        memcpy(slots + 2, first, 2);
    }
}

static void put_fragment(struct fake_state *state, uint32_t osd, struct proto_request **request)
{
    struct proto_fragment_put body;
    struct proto_fragment_stored stored = {.incarnation = 1, .epoch = state->epoch};
    LILIO_ASSERT(proto_fragment_put_unpack((*request)->body, state->arena, &body, NULL) ==
                 LILIO_OK);
    if (misplaced(state, osd, &body.key, request))
        return;
    atomic_fetch_add(&state->cluster->counters.fragments, 1);
    if (atomic_load(&state->cluster->knobs.osd_full[osd])) {
        proto_server_reply_error(state->osds[osd], request, LILIO_E_NO_SPACE, "full", state->epoch);
        return;
    }
    if (!find_fragment(state, osd, &body.key)) {
        LILIO_ASSERT(state->fragment_count < FRAGMENTS_MAX);
        struct fragment *fragment = &state->fragments[state->fragment_count++];
        struct fragment **chain = chain_of(state, &body.key);
        *fragment = (struct fragment){.key = body.key,
                                      .osd = osd,
                                      .size = (uint32_t)(*request)->payload.size,
                                      .next = *chain};
        *chain = fragment;
        fragment->bytes = malloc(fragment->size);
        LILIO_ASSERT(fragment->bytes);
        memcpy(fragment->bytes, (*request)->payload.data, fragment->size);
    }
    proto_server_reply(state->osds[osd], request, &proto_type_fragment_stored, &stored, NULL,
                       state->epoch);
}

static void free_payload(void *data, void *hint)
{
    (void)hint;
    free(data);
}

/* Another version takes the object's place and the old bytes are collected, as under a slow reader.
 */
static void collect_everything(struct fake_state *state)
{
    for (size_t i = 0; i < state->fragment_count; i++)
        free(state->fragments[i].bytes);
    state->fragment_count = 0;
    memset(state->chains, 0, sizeof state->chains);
    for (size_t i = 0; i < state->object_count; i++) {
        struct proto_version_row row = {.kind = 1,
                                        .version = {.index = ++state->index},
                                        .logical_size = 3,
                                        .inline_bytes = base_slice_str("new")};
        base_buffer_clear(&state->objects[i].row);
        LILIO_ASSERT(proto_version_row_pack(&row, &state->objects[i].row) == LILIO_OK);
    }
}

static void get_fragment(struct fake_state *state, uint32_t osd, struct proto_request **request)
{
    struct fake_knobs *knobs = &state->cluster->knobs;
    struct proto_fragment_get body;
    LILIO_ASSERT(proto_fragment_get_unpack((*request)->body, state->arena, &body, NULL) ==
                 LILIO_OK);
    if (atomic_load(&knobs->collect_on_get) > 0 && atomic_fetch_sub(&knobs->collect_on_get, 1) == 1)
        collect_everything(state);
    if (count_down(&knobs->osd_unready)) {
        proto_server_reply_error(state->osds[osd], request, LILIO_E_UNAVAILABLE, "not yet",
                                 state->epoch);
        return;
    }
    if (!body.elsewhere && misplaced(state, osd, &body.key, request))
        return;
    const struct fragment *fragment = find_fragment(state, osd, &body.key);
    if (!fragment || atomic_load(&knobs->osd_forgets[osd])) {
        proto_server_reply_error(state->osds[osd], request, LILIO_E_MISSING, "not here",
                                 state->epoch);
        return;
    }
    uint32_t sums[CODEC_BLOCKS_MAX], count = codec_block_count(fragment->size);
    uint8_t list[CODEC_BLOCKS_MAX * 4];
    codec_block_checksums(fragment->bytes, fragment->size, sums);
    for (uint32_t b = 0; b < count; b++)
        base_le32_put(list + b * 4, sums[b]);
    size_t start = (size_t)body.first_block * CODEC_BLOCK;
    size_t size = (size_t)body.block_count * CODEC_BLOCK;
    size = body.block_count == 0 || size > fragment->size - start ? fragment->size - start : size;
    struct proto_payload payload = {.data = malloc(size), .size = size, .release = free_payload};
    LILIO_ASSERT(payload.data);
    memcpy(payload.data, fragment->bytes + start, size);
    if (atomic_load(&knobs->osd_flips[osd]))
        ((uint8_t *)payload.data)[size / 2] ^= 4;
    struct proto_fragment reply = {.payload_length = fragment->size,
                                   .first_block = body.first_block,
                                   .block_checksums = base_slice(list, count * 4)};
    proto_server_reply(state->osds[osd], request, &proto_type_fragment, &reply, &payload,
                       state->epoch);
}

static void verify_fragments(struct fake_state *state, uint32_t osd, struct proto_request **request)
{
    struct fake_knobs *knobs = &state->cluster->knobs;
    struct proto_fragment_verify body;
    struct proto_fragment_state states[16];
    LILIO_ASSERT(proto_fragment_verify_unpack((*request)->body, state->arena, &body, NULL) ==
                 LILIO_OK);
    for (size_t k = 0; k < body.keys_count; k++) {
        const struct fragment *fragment = find_fragment(state, osd, &body.keys[k]);
        uint32_t sums[CODEC_BLOCKS_MAX];
        states[k] = (struct proto_fragment_state){.err = LILIO_E_MISSING};
        if (!fragment || atomic_load(&knobs->osd_forgets[osd]))
            continue;
        codec_block_checksums(fragment->bytes, fragment->size, sums);
        sums[0] ^= atomic_load(&knobs->osd_flips[osd]);
        states[k] = (struct proto_fragment_state){
            .checksum = codec_fragment_checksum(sums, codec_block_count(fragment->size)),
            .payload_length = fragment->size};
    }
    struct proto_fragment_states reply = {.states = states, .states_count = body.keys_count};
    proto_server_reply(state->osds[osd], request, &proto_type_fragment_states, &reply, NULL,
                       state->epoch);
}

static void serve_osd(struct fake_state *state, uint32_t osd, struct proto_request *request)
{
    struct fake_knobs *knobs = &state->cluster->knobs;
    proto_arena_clear(state->arena);
    if (atomic_load(&knobs->osd_silent[osd])) {
        proto_request_drop(&request);
        return;
    }
    if (count_down(&knobs->osd_busy)) {
        proto_server_reply_error(state->osds[osd], &request, LILIO_E_BUSY, "later", state->epoch);
        return;
    }
    if (count_down(&knobs->osd_stale)) {
        state->epoch++;
        if (atomic_exchange(&knobs->swap_slots, false))
            swap_slots(state);
        proto_server_reply_error(state->osds[osd], &request, LILIO_E_STALE_EPOCH, "newer",
                                 state->epoch);
        return;
    }
    switch (request->type->number) {
    case PROTO_MSG_fragment_put: put_fragment(state, osd, &request); break;
    case PROTO_MSG_fragment_get: get_fragment(state, osd, &request); break;
    case PROTO_MSG_fragment_verify: verify_fragments(state, osd, &request); break;
    default:
        proto_server_reply_error(state->osds[osd], &request, LILIO_E_UNSUPPORTED, "no",
                                 state->epoch);
    }
}

/* ---- the thread ---- */

static uint64_t now_ms(void)
{
    return base_now_ms(base_clock_system());
}

static void serve_late(struct fake_state *state)
{
    for (size_t i = 0; i < state->late_count;)
        if (state->late[i].at_ms <= now_ms()) {
            struct proto_request *request = state->late[i].request;
            state->late[i] = state->late[--state->late_count];
            serve_osd(state, 0, request);
        } else {
            i++;
        }
}

/* A dead coordinator's socket is gone; it comes back with the knob. */
static void live(struct fake_state *state, uint32_t number)
{
    bool dead = atomic_load(&state->cluster->knobs.dead[number]);
    struct proto_server_options options = {.endpoint = state->coordinator_endpoints[number],
                                           .peer_messages = 256};
    if (dead && state->coordinators[number])
        proto_server_free(&state->coordinators[number]);
    if (!dead && !state->coordinators[number])
        LILIO_ASSERT(proto_server_new(state->context, &options, &state->coordinators[number],
                                      NULL) == LILIO_OK);
}

static void *thread_main(void *argument)
{
    struct fake_state *state = argument;
    struct fake_knobs *knobs = &state->cluster->knobs;
    while (!atomic_load(&state->stop)) {
        struct proto_wait_item items[FAKE_COORDINATORS + FAKE_OSDS] = {{0}};
        size_t count = 0;
        for (uint32_t i = 0; i < FAKE_COORDINATORS; i++) {
            live(state, i);
            if (state->coordinators[i])
                items[count++].server = state->coordinators[i];
        }
        for (uint32_t i = 0; i < FAKE_OSDS; i++)
            items[count++].server = state->osds[i];
        (void)proto_wait(items, count, 5);
        serve_late(state);
        struct proto_request *request;
        for (uint32_t i = 0; i < FAKE_COORDINATORS; i++)
            while (state->coordinators[i] &&
                   (request = proto_server_receive(state->coordinators[i])) != NULL)
                serve_coordinator(state, i, request);
        for (uint32_t i = 0; i < FAKE_OSDS; i++)
            while ((request = proto_server_receive(state->osds[i])) != NULL)
                if (i == 0 && atomic_load(&knobs->slow_osd_ms) > 0 && state->late_count < LATE_MAX)
                    state->late[state->late_count++] = (struct late){
                        .at_ms = now_ms() + (uint64_t)atomic_load(&knobs->slow_osd_ms),
                        .request = request};
                else
                    serve_osd(state, i, request);
    }
    return NULL;
}

static struct proto_server *listen_at(struct fake_state *state, const char *name, uint32_t number,
                                      char ret_endpoint[200])
{
    struct proto_server *server;
    snprintf(ret_endpoint, 200, "ipc://%s/%s.%u", state->dir, name, number);
    struct proto_server_options options = {.endpoint = ret_endpoint, .peer_messages = 256};
    struct lilio_errinfo info = {0};
    if (proto_server_new(state->context, &options, &server, &info) != LILIO_OK)
        fail_msg("%s", info.text);
    return server;
}

static void write_config(struct fake_state *state)
{
    char text[37], folder[4096];
    snprintf(folder, sizeof folder, "%s/lilio.yaml", state->dir);
    state->cluster->config_path = strdup(folder);
    FILE *file = fopen(folder, "w");
    assert_non_null(file);
    base_uuid_format(state->cluster_id, text);
    fprintf(file, "format: 1\ncluster_id: %s\ndefault_profile: 4+2\ngc_grace_ms: 3600000\n", text);
    fprintf(file, "run_dir: run\nlog_dir: log\ncoordinators:\n");
    for (uint32_t i = 0; i < FAKE_COORDINATORS; i++)
        fprintf(file, "  - {id: %u, address: \"%s\"}\n", i, state->coordinator_endpoints[i]);
    fprintf(file, "osds:\n");
    for (uint32_t i = 0; i < FAKE_OSDS; i++)
        fprintf(file, "  - {id: %u, address: \"%s\"}\n", i, state->osd_endpoints[i]);
    assert_int_equal(fclose(file), 0);
}

struct fake_cluster *fake_cluster_new(void)
{
    struct fake_cluster *cluster = calloc(1, sizeof *cluster);
    struct fake_state *state = calloc(1, sizeof *state);
    assert_true(cluster && state);
    cluster->state = state;
    state->cluster = cluster;
    state->dir = temp_dir_new();
    state->epoch = 3;
    state->first_session = state->next_session = 1;
    state->cluster_id = base_uuid_new(base_random_system());
    assert_int_equal(proto_arena_new(&state->arena), LILIO_OK);
    assert_int_equal(proto_context_new(1, &state->context), LILIO_OK);
    for (uint32_t i = 0; i < FAKE_COORDINATORS; i++)
        state->coordinators[i] =
            listen_at(state, "coordinator", i, state->coordinator_endpoints[i]);
    for (uint32_t i = 0; i < FAKE_OSDS; i++)
        state->osds[i] = listen_at(state, "osd", i, state->osd_endpoints[i]);
    make_map(state);
    write_config(state);
    assert_int_equal(pthread_create(&state->thread, NULL, thread_main, state), 0);
    return cluster;
}

void fake_cluster_free(struct fake_cluster **cluster)
{
    struct fake_state *state = (*cluster)->state;
    atomic_store(&state->stop, true);
    pthread_join(state->thread, NULL);
    for (size_t i = 0; i < state->late_count; i++)
        proto_request_drop(&state->late[i].request);
    for (uint32_t i = 0; i < FAKE_COORDINATORS; i++)
        proto_server_free(&state->coordinators[i]);
    for (uint32_t i = 0; i < FAKE_OSDS; i++)
        proto_server_free(&state->osds[i]);
    proto_context_free(&state->context);
    proto_arena_free(&state->arena);
    for (size_t i = 0; i < state->object_count; i++)
        base_buffer_release(&state->objects[i].row);
    for (size_t i = 0; i < state->run_count; i++)
        base_buffer_release(&state->runs[i].row);
    for (size_t i = 0; i < state->result_count; i++)
        base_buffer_release(&state->results[i].body);
    for (size_t i = 0; i < state->fragment_count; i++)
        free(state->fragments[i].bytes);
    free(state->slots[0]);
    free(state->slots[1]);
    temp_dir_free(state->dir);
    free(state);
    free((*cluster)->config_path);
    free(*cluster);
    *cluster = NULL;
}

struct lilio_client *fake_cluster_open(const struct fake_cluster *cluster, uint32_t timeout_ms,
                                       uint64_t window_bytes)
{
    struct lilio_client *client;
    struct lilio_errinfo info = {0};
    struct lilio_options options = {.config_path = cluster->config_path,
                                    .label = "test",
                                    .timeout_ms = timeout_ms,
                                    .window_bytes = window_bytes};
    if (lilio_open(&options, &client, &info) != LILIO_OK)
        fail_msg("%s", info.text);
    return client;
}
