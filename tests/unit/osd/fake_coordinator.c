#include "tests/unit/osd/fake_coordinator.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"

#include "base/banned.h"

enum { HEARTBEAT_MS = 50, SCAN_ID = 77 };

static char endpoint[128];

static void endpoint_make(void)
{
    parts_endpoint("coordinator", 0, endpoint);
}

const char *const *fake_endpoints(void)
{
    static const char *const list[] = {endpoint};
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, endpoint_make);
    return list;
}

static void reply(struct fake *fake, struct proto_request **request, const struct proto_type *type,
                  const void *value)
{
    proto_server_reply(fake->server, request, type, value, NULL, 5);
}

static void refuse(struct fake *fake, struct proto_request **request, enum lilio_err err)
{
    proto_server_reply_error(fake->server, request, err, lilio_err_text(err), 5);
}

static void reply_ok(struct fake *fake, struct proto_request **request)
{
    struct proto_ok ok = {.index = 1};
    reply(fake, request, &proto_type_ok, &ok);
}

/* ---- members; lock held ---- */

static uint8_t verdict_of(const struct fake *fake, struct base_uuid uuid)
{
    if (fake->incarnation == 0 && !fake->had_disk)
        return 4;
    if (base_uuid_is_zero(uuid))
        return 2;
    return base_uuid_equal(uuid, fake->disk_uuid) ? 1 : 3;
}

static void on_hello(struct fake *fake, struct proto_request **request, struct proto_arena *arena)
{
    struct proto_osd_hello hello;
    assert_int_equal(proto_osd_hello_unpack((*request)->body, arena, &hello, NULL), LILIO_OK);
    fake->hellos++;
    fake->last_hello_uuid = hello.disk_uuid;
    struct proto_osd_welcome welcome = {
        .verdict = verdict_of(fake, hello.disk_uuid),
        .reason = base_slice_str("because"),
        .incarnation = fake->incarnation,
        .cluster_id = fake->cluster,
        .heartbeat_ms = HEARTBEAT_MS,
        .map = *proto_map_ref_get(fake->map),
    };
    reply(fake, request, &proto_type_osd_welcome, &welcome);
}

static void on_bind(struct fake *fake, struct proto_request **request, struct proto_arena *arena)
{
    struct proto_osd_bind bind;
    assert_int_equal(proto_osd_bind_unpack((*request)->body, arena, &bind, NULL), LILIO_OK);
    bool first = fake->incarnation == 0 && !fake->had_disk;
    fake->binds++;
    if (!base_uuid_equal(bind.disk_uuid, fake->disk_uuid)) {
        if (!first && !bind.rebuild) {
            refuse(fake, request, LILIO_E_FOREIGN);
            return;
        }
        fake->disk_uuid = bind.disk_uuid;
        fake->incarnation++;
    } else {
        fake->afresh += bind.afresh;
    }
    reply_ok(fake, request);
}

static bool is_named(const struct proto_osd_heartbeat *beat, uint64_t id)
{
    bool named = false;
    for (size_t i = 0; i < beat->repairing_count; i++)
        named |= beat->repairing[i] == id;
    return named;
}

static void repair_heard(struct fake_repair *repair, const struct proto_osd_heartbeat *beat)
{
    repair->named = is_named(beat, repair->job.id);
    for (size_t i = 0; i < beat->repaired_count; i++) {
        const struct proto_repair_result *result = &beat->repaired[i];
        if (result->id != repair->job.id)
            continue;
        assert_true(base_oid_equal(result->oid, repair->job.oid));
        assert_false(repair->named);
        repair->ended++;
        repair->result = *result;
        (void)snprintf(repair->reason, sizeof repair->reason, "%.*s", (int)result->reason.size,
                       (const char *)result->reason.data);
    }
}

/* Returns how many jobs it ordered. */
static size_t repairs_order(struct fake *fake, const struct proto_osd_heartbeat *beat,
                            struct proto_repair_job *ret)
{
    size_t count = 0;
    for (size_t i = 0; i < fake->repair_count; i++) {
        struct fake_repair *repair = &fake->repairs[i];
        repair_heard(repair, beat);
        if (!repair->named && !repair->ended)
            ret[count++] = repair->job;
    }
    fake->repair_orders += (unsigned)count;
    return count;
}

/* Returns whether it is to be ordered. */
static bool fill_order(struct fake *fake, const struct proto_osd_heartbeat *beat)
{
    bool named = false;
    for (size_t i = 0; i < beat->fills_count; i++) {
        named |= beat->fills[i].id == fake->fill.id;
        if (beat->fills[i].id != fake->fill.id)
            continue;
        fake->filled_report = beat->fills[i];
        fake->fill_ended += beat->fills[i].ended;
    }
    return fake->fill.id && !named && fake->fill_ended == 0;
}

static void on_filled(struct fake *fake, struct proto_request **request, struct proto_arena *arena)
{
    assert_int_equal(proto_slots_filled_unpack((*request)->body, arena, &fake->filled, NULL),
                     LILIO_OK);
    assert_in_range(fake->filled.slots_count, 0, 1 << PARTS_BITS);
    for (size_t i = 0; i < fake->filled.slots_count; i++)
        fake->filled_slots[i] = fake->filled.slots[i];
    fake->fills++;
    reply_ok(fake, request);
}

static void on_heartbeat(struct fake *fake, struct proto_request **request,
                         struct proto_arena *arena)
{
    struct proto_osd_heartbeat beat;
    assert_int_equal(proto_osd_heartbeat_unpack((*request)->body, arena, &beat, NULL), LILIO_OK);
    const struct proto_cluster_map *map = proto_map_ref_get(fake->map);
    struct proto_repair_job repairs[FAKE_REPAIRS_MAX];
    struct proto_osd_orders orders = {
        .repair = repairs,
        .repair_count = repairs_order(fake, &beat, repairs),
        .repair_share = 15,
        .fills = &fake->fill,
        .fills_count = fill_order(fake, &beat),
        .known = !fake->forget,
        .index = fake->index,
        .changed = beat.known_epoch < map->epoch,
        .collect = fake->jobs,
        .collect_count = fake->job_count,
    };
    if (orders.changed)
        orders.map = *map;
    fake->beats++;
    fake->forget = false;
    fake->last_state = beat.state;
    fake->collected += beat.collected_count;
    if (beat.collected_count > 0)
        fake->job_count = orders.collect_count = 0;
    reply(fake, request, &proto_type_osd_orders, &orders);
}

/* ---- the walk; lock held ---- */

static struct proto_scan_row row_of(const struct fake_row *row, struct proto_name *name)
{
    *name =
        (struct proto_name){.bucket = base_slice_str("bucket"), .key = base_slice_str(row->key)};
    return (struct proto_scan_row){
        .data = {.oid = row->oid,
                 .bucket_id = 7,
                 .profile = {.data_count = PARTS_DATA,
                             .parity_count = PARTS_PARITY,
                             .fragment_size = PARTS_FRAGMENT,
                             .generator = CODEC_CAUCHY1},
                 .placement = PARTS_PLACEMENT,
                 .stored_length = row->stored_length,
                 .state = 2,
                 .checksums = base_slice(row->checksums, 4 * (size_t)PARTS_OSDS * row->stripes),
                 .exceptions = (struct proto_exception *)(uintptr_t)row->exceptions,
                 .exceptions_count = row->exception_count},
        .names = name,
        .names_count = 1,
        .name_count = 1,
        .commit_index = row->commit_index,
    };
}

static void on_scan_next(struct fake *fake, struct proto_request **request,
                         struct proto_arena *arena)
{
    struct proto_scan_next next;
    struct proto_scan_row rows[FAKE_ROWS_MAX];
    struct proto_name names[FAKE_ROWS_MAX];
    struct proto_scan_page page = {.rows = rows};
    assert_int_equal(proto_scan_next_unpack((*request)->body, arena, &next, NULL), LILIO_OK);
    fake->pages++;
    if (fake->later_index)
        fake->index = fake->later_index;
    bool lost = fake->lost_scans > 0;
    fake->lost_scans -= lost;
    lost |= fake->pages == fake->lost_page;
    if (fake->lose_scans || lost || next.id != SCAN_ID) {
        refuse(fake, request, LILIO_E_NOT_FOUND);
        return;
    }
    for (size_t i = 0; i < fake->row_count; i++) { /* they are in oid order */
        struct fake_row *row = &fake->rows[i];
        if (row->oid.low <= next.after.low)
            continue;
        if (page.rows_count == fake->page_rows) {
            page.more = true;
            break;
        }
        rows[page.rows_count] = row_of(row, &names[page.rows_count]);
        if (row->reported_later && fake->pinned != fake->later_index)
            rows[page.rows_count].data.exceptions_count = 0;
        page.rows_count++;
        row->deleted |= base_oid_equal(row->oid, fake->delete_after);
    }
    reply(fake, request, &proto_type_scan_page, &page);
}

static void on_data_get(struct fake *fake, struct proto_request **request,
                        struct proto_arena *arena)
{
    struct proto_data_get get;
    assert_int_equal(proto_data_get_unpack((*request)->body, arena, &get, NULL), LILIO_OK);
    for (size_t i = 0; i < fake->row_count; i++) {
        struct proto_name name;
        struct proto_data data = {.data = row_of(&fake->rows[i], &name).data,
                                  .names = get.names ? &name : NULL,
                                  .names_count = get.names ? 1 : 0};
        if (!base_oid_equal(fake->rows[i].oid, get.oid) || fake->rows[i].deleted)
            continue;
        reply(fake, request, &proto_type_data, &data);
        return;
    }
    refuse(fake, request, LILIO_E_NOT_FOUND);
}

static void on_report(struct fake *fake, struct proto_request **request, struct proto_arena *arena)
{
    struct proto_report report;
    assert_int_equal(proto_report_unpack((*request)->body, arena, &report, NULL), LILIO_OK);
    if (fake->refuse_reports) {
        refuse(fake, request, LILIO_E_NO_SPACE);
        return;
    }
    for (size_t i = 0; i < report.items_count; i++) {
        assert_true(fake->report_count < FAKE_REPORTS_MAX);
        fake->reports[fake->report_count++] = report.items[i];
    }
    reply_ok(fake, request);
}

static bool is_excepted(const struct fake_row *row, uint32_t stripe, uint32_t index)
{
    bool found = false;
    for (size_t i = 0; i < row->exception_count; i++)
        found |= row->exceptions[i].index == index && row->exceptions[i].first_stripe <= stripe &&
                 row->exceptions[i].first_stripe + row->exceptions[i].stripe_count > stripe;
    return found;
}

static uint64_t slot_sum(const struct fake *fake, uint64_t partition, uint32_t index)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < fake->row_count; i++)
        for (uint32_t stripe = 0; stripe < fake->rows[i].stripes; stripe++)
            if (!fake->rows[i].deleted &&
                proto_partition(PARTS_BITS, fake->rows[i].oid, stripe) == partition &&
                !is_excepted(&fake->rows[i], stripe, index))
                sum += proto_stripe_hash(fake->rows[i].oid, stripe);
    return sum;
}

static void on_inventory(struct fake *fake, struct proto_request **request,
                         struct proto_arena *arena)
{
    struct proto_inventory_ask ask;
    uint8_t verdicts[1024];
    assert_int_equal(proto_inventory_ask_unpack((*request)->body, arena, &ask, NULL), LILIO_OK);
    assert_int_equal(ask.placement, PARTS_PLACEMENT);
    assert_int_equal(ask.incarnation, 1);
    bool differs = fake->inventory_asks++ < fake->inventory_differs;
    for (size_t i = 0; i < ask.items_count; i++) {
        bool same = ask.items[i].sum == slot_sum(fake, ask.items[i].partition, ask.items[i].slot);
        verdicts[i] = same && !differs ? 1 : 2;
    }
    struct proto_inventory_answer answer = {
        .index = fake->index,
        .verdicts = base_slice(verdicts, ask.items_count - fake->inventory_short),
    };
    reply(fake, request, &proto_type_inventory_answer, &answer);
}

static uint8_t orphan_verdict(const struct fake *fake, struct base_oid oid)
{
    for (size_t i = 0; i < fake->row_count; i++)
        if (base_oid_equal(fake->rows[i].oid, oid) && !fake->rows[i].deleted)
            return 1;
    uint64_t session = base_oid_session(oid);
    return session >= fake->next_session ? 4 : session == fake->open_session ? 2 : 3;
}

static void on_formers(struct fake *fake, struct proto_request **request, struct proto_arena *arena)
{
    struct proto_formers_sweep sweep;
    uint8_t verdicts[64];
    assert_int_equal(proto_formers_sweep_unpack((*request)->body, arena, &sweep, NULL), LILIO_OK);
    fake->formers_asked += (unsigned)sweep.fragments_count;
    for (size_t i = 0; i < sweep.fragments_count; i++)
        verdicts[i] = (fake->formers_keep && sweep.fragments[i].stripe == 0) ||
                              orphan_verdict(fake, sweep.fragments[i].oid) != 1
                          ? 1
                          : 3;
    if (fake->formers_hook)
        fake->formers_hook(fake->formers_context);
    struct proto_formers_answer answer = {.index = fake->index,
                                          .verdicts = base_slice(verdicts, sweep.fragments_count)};
    reply(fake, request, &proto_type_formers_answer, &answer);
}

static void on_orphans(struct fake *fake, struct proto_request **request, struct proto_arena *arena)
{
    bool sweeps = (*request)->type->number == PROTO_MSG_orphans_sweep;
    struct proto_orphans_ask ask; /* both have the same fields */
    struct proto_orphans_sweep sweep;
    uint8_t verdicts[1024];
    if (sweeps) {
        assert_int_equal(proto_orphans_sweep_unpack((*request)->body, arena, &sweep, NULL),
                         LILIO_OK);
        ask = (struct proto_orphans_ask){
            .index = sweep.index, .runs = sweep.runs, .runs_count = sweep.runs_count};
    } else {
        assert_int_equal(proto_orphans_ask_unpack((*request)->body, arena, &ask, NULL), LILIO_OK);
    }
    fake->orphan_sweeps += sweeps;
    fake->orphan_asks += !sweeps;
    fake->orphans_index_seen = ask.index;
    if (fake->orphans_fail && fake->orphan_asks >= fake->orphans_fail_at) {
        refuse(fake, request, fake->orphans_fail);
        return;
    }
    for (size_t i = 0; i < ask.runs_count; i++)
        verdicts[i] =
            fake->orphans_verdict ? fake->orphans_verdict : orphan_verdict(fake, ask.runs[i].oid);
    struct proto_orphans_answer answer = {
        .cluster_id = fake->orphans_foreign ? (struct base_uuid){{9}} : fake->cluster,
        .index = fake->index,
        .cluster_ms = fake->cluster_ms,
        .verdicts = base_slice(verdicts, ask.runs_count),
    };
    reply(fake, request, &proto_type_orphans_answer, &answer);
}

static void dispatch(struct fake *fake, struct proto_request *request, struct proto_arena *arena)
{
    struct proto_scan scan = {
        .id = SCAN_ID, .index = fake->index, .epoch = 5, .stripes_ever = fake->index / 2};
    switch (request->type->number) {
    case PROTO_MSG_osd_hello: on_hello(fake, &request, arena); break;
    case PROTO_MSG_osd_bind: on_bind(fake, &request, arena); break;
    case PROTO_MSG_osd_heartbeat: on_heartbeat(fake, &request, arena); break;
    case PROTO_MSG_scan_open:
        fake->pinned = fake->index;
        fake->pinned_afresh = fake->afresh;
        if (fake->busy_scans)
            refuse(fake, &request, LILIO_E_BUSY);
        else
            reply(fake, &request, &proto_type_scan, &scan);
        break;
    case PROTO_MSG_scan_next: on_scan_next(fake, &request, arena); break;
    case PROTO_MSG_scan_close: reply_ok(fake, &request); break;
    case PROTO_MSG_data_get: on_data_get(fake, &request, arena); break;
    case PROTO_MSG_orphans_ask:
    case PROTO_MSG_orphans_sweep: on_orphans(fake, &request, arena); break;
    case PROTO_MSG_inventory_ask: on_inventory(fake, &request, arena); break;
    case PROTO_MSG_formers_sweep: on_formers(fake, &request, arena); break;
    case PROTO_MSG_report: on_report(fake, &request, arena); break;
    case PROTO_MSG_slots_filled: on_filled(fake, &request, arena); break;
    case PROTO_MSG_osd_complete:
        fake->completes++;
        assert_int_equal(proto_osd_complete_unpack(request->body, arena, &fake->complete, NULL),
                         LILIO_OK);
        reply_ok(fake, &request);
        break;
    default: refuse(fake, &request, LILIO_E_UNSUPPORTED);
    }
}

static void *serve(void *context)
{
    struct fake *fake = context;
    struct proto_arena *arena;
    LILIO_ASSERT(proto_arena_new(&arena) == LILIO_OK);
    while (!atomic_load(&fake->stop)) {
        struct proto_wait_item item = {.server = fake->server};
        struct proto_request *request;
        (void)proto_wait(&item, 1, 10);
        while ((request = proto_server_receive(fake->server)) != NULL) {
            proto_arena_clear(arena);
            pthread_mutex_lock(&fake->lock);
            dispatch(fake, request, arena);
            pthread_mutex_unlock(&fake->lock);
        }
    }
    proto_arena_free(&arena);
    return NULL;
}

void fake_serve(struct fake *fake)
{
    struct proto_server_options options = {.endpoint = fake_endpoints()[0]};
    assert_int_equal(proto_server_new(fake->context, &options, &fake->server, NULL), LILIO_OK);
    atomic_store(&fake->stop, false);
    assert_int_equal(pthread_create(&fake->thread, NULL, serve, fake), 0);
}

void fake_silence(struct fake *fake)
{
    atomic_store(&fake->stop, true);
    pthread_join(fake->thread, NULL);
    proto_server_free(&fake->server);
}

void fake_start(struct fake *fake, struct proto_context *context)
{
    memset(fake, 0, sizeof *fake);
    fake->context = context;
    fake->cluster = parts_cluster();
    fake->map = parts_map(5);
    fake->index = 100;
    fake->page_rows = 2;
    pthread_mutex_init(&fake->lock, NULL);
    fake_serve(fake);
}

void fake_stop(struct fake *fake)
{
    fake_silence(fake);
    pthread_mutex_destroy(&fake->lock);
    proto_map_ref_drop(&fake->map);
}

struct fake_row *fake_row_add(struct fake *fake, uint64_t counter, uint32_t stripes,
                              void (*put)(void *context, const struct parts_stripe *stripe),
                              void *put_context)
{
    LILIO_ASSERT(fake->row_count < FAKE_ROWS_MAX && stripes <= 64);
    struct fake_row *row = &fake->rows[fake->row_count++];
    uint64_t full = (uint64_t)PARTS_DATA * PARTS_FRAGMENT;
    *row = (struct fake_row){
        .oid = base_oid_make(0, 7, counter),
        .stored_length = full * stripes - 1000, /* the last one is short */
        .commit_index = 50,
        .stripes = stripes,
    };
    (void)snprintf(row->key, sizeof row->key, "object %llu", (unsigned long long)counter);
    for (uint32_t i = 0; i < stripes; i++) {
        struct parts_stripe stripe;
        parts_stripe_make(&stripe, row->oid, i, i + 1 < stripes ? full : full - 1000);
        for (uint32_t index = 0; index < PARTS_OSDS; index++)
            base_le32_put(row->checksums + 4 * ((size_t)i * PARTS_OSDS + index),
                          stripe.checksums[index]);
        put(put_context, &stripe);
        parts_stripe_release(&stripe);
    }
    return row;
}

size_t fake_reports(struct fake *fake, struct base_oid oid, uint32_t stripe, uint32_t index,
                    uint8_t kind)
{
    size_t count = 0;
    pthread_mutex_lock(&fake->lock);
    for (size_t i = 0; i < fake->report_count; i++) {
        const struct proto_fragment_report *report = &fake->reports[i];
        count += base_oid_equal(report->oid, oid) && report->stripe == stripe &&
                 report->index == index && report->kind == kind;
    }
    pthread_mutex_unlock(&fake->lock);
    return count;
}
