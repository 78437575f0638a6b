#include "coord_svc.h"

#include <stdlib.h>

#include "base/banned.h"

static uint64_t now_ns(void *context)
{
    return ((struct svc *)context)->now_ms * 1000000;
}

static uint64_t wall_ms(void *context)
{
    return 1700000000000 + ((struct svc *)context)->now_ms;
}

static void answered(struct svc *svc, uint16_t type, uint64_t epoch)
{
    svc->answers++;
    svc->type = type;
    svc->epoch = epoch;
}

static void call_answered(struct svc_call *call, uint16_t type, struct base_slice body)
{
    call->answers++;
    call->type = type;
    call->err = LILIO_OK;
    base_buffer_clear(&call->reply);
    assert_int_equal(base_buffer_append(&call->reply, body.data, body.size), LILIO_OK);
    if (type != PROTO_MSG_error)
        return;
    struct proto_arena *arena = NULL;
    struct proto_error error;
    assert_int_equal(proto_arena_new(&arena), LILIO_OK);
    assert_int_equal(proto_error_unpack(body, arena, &error, NULL), LILIO_OK);
    call->err = error.code;
    call->taken = error.taken;
    (void)snprintf(call->leader, sizeof call->leader, "%.*s", (int)error.leader.size,
                   (const char *)error.leader.data);
    proto_arena_free(&arena);
}

static void reply(void *context, void *token, const struct proto_type *type, const void *value,
                  uint64_t epoch)
{
    struct svc *svc = context;
    if (token != svc) {
        struct base_buffer body = {0};
        assert_int_equal(proto_pack(type, value, &body), LILIO_OK);
        call_answered(token, type->number, base_buffer_slice(&body));
        base_buffer_release(&body);
        return;
    }
    base_buffer_clear(&svc->reply);
    assert_int_equal(proto_pack(type, value, &svc->reply), LILIO_OK);
    answered(svc, type->number, epoch);
}

static void reply_packed(void *context, void *token, uint16_t type, struct base_slice body,
                         uint64_t epoch)
{
    struct svc *svc = context;
    if (token != svc) {
        call_answered(token, type, body);
        return;
    }
    base_buffer_clear(&svc->reply);
    assert_int_equal(base_buffer_append(&svc->reply, body.data, body.size), LILIO_OK);
    answered(svc, type, epoch);
}

static uint64_t map_bytes(void *context)
{
    (void)context;
    return 4242;
}

static bool space(void *context, struct base_disk_space *ret)
{
    *ret = ((struct svc *)context)->space;
    return true;
}

static void quorum(void *context, const struct coord_request *request)
{
    ((struct svc *)context)->quorum = request->token;
}

static void start(struct svc *svc)
{
    svc->options.state = svc->fx->state;
    svc->options.kv = svc->fx->kv;
    assert_int_equal(coord_service_new(&svc->options, &svc->service, NULL), LILIO_OK);
    assert_int_equal(coord_service_lead(svc->service, NULL), LILIO_OK);
}

struct svc *svc_new(bool rocksdb, uint64_t gc_grace_ms, bool fresh)
{
    struct svc *svc = calloc(1, sizeof *svc);
    assert_non_null(svc);
    svc->fx = fx_cluster(rocksdb);
    svc->now_ms = 1000000;
    svc->space = (struct base_disk_space){.total_bytes = 1 << 30, .free_bytes = 1 << 30};
    svc->clock = (struct base_clock){now_ns, wall_ms, svc};
    svc->random = base_random_seeded(&svc->random_state);
    svc->options = (struct coord_service_options){
        .port = {.reply = reply,
                 .reply_packed = reply_packed,
                 .map_bytes = map_bytes,
                 .space = space,
                 .quorum = quorum,
                 .context = svc},
        .clock = &svc->clock,
        .random = &svc->random,
        .address = "inproc://c",
        .software = "test",
        .gc_grace_ms = gc_grace_ms,
        .fresh = fresh,
    };
    start(svc);
    return svc;
}

void svc_free(struct svc *svc)
{
    coord_service_free(&svc->service);
    for (size_t i = 0; i < COORD_ENTRY_COMMANDS_MAX; i++)
        coord_result_release(&svc->results[i]);
    base_buffer_release(&svc->reply);
    fx_free(svc->fx);
    free(svc);
}

void svc_restart(struct svc *svc)
{
    coord_service_free(&svc->service);
    if (svc->fx->rocksdb)
        fx_reopen(svc->fx);
    svc->options.fresh = false;
    memset(svc->todo_count, 0, sizeof svc->todo_count);
    start(svc);
}

void svc_apply(struct svc *svc, const struct coord_round *round)
{
    svc_apply_only(svc, round->commands, round->count);
    coord_service_applied(svc->service, round->id, svc->results);
}

void svc_apply_only(struct svc *svc, const struct base_slice *commands, size_t count)
{
    assert_int_equal(coord_state_apply(svc->fx->state, fx_row(svc->fx)->applied_index + 1, FX_TERM,
                                       commands, count, svc->results, NULL),
                     LILIO_OK);
    assert_int_equal(coord_state_commit(svc->fx->state, false, NULL), LILIO_OK);
}

void svc_pump(struct svc *svc)
{
    struct coord_round round;
    coord_service_tick(svc->service);
    while (coord_service_round(svc->service, &round)) {
        if (round.count > 0)
            svc_apply(svc, &round);
        coord_service_confirmed(svc->service, round.id);
    }
}

void svc_send(struct svc *svc, struct svc_call *call, uint64_t session, uint64_t sequence,
              const struct proto_type *type, const void *value)
{
    svc_call_clear(call);
    assert_int_equal(proto_pack(type, value, &call->body), LILIO_OK);
    struct coord_request request = {
        .token = call,
        .header = {.type = type->number, .session = session, .sequence = sequence},
        .type = type,
        .body = base_buffer_slice(&call->body),
    };
    coord_service_receive(svc->service, &request);
}

void svc_call_clear(struct svc_call *call)
{
    base_buffer_release(&call->body);
    base_buffer_release(&call->reply);
    *call = (struct svc_call){0};
}

void svc_call_reply(struct svc *svc, const struct svc_call *call, const struct proto_type *type,
                    void *ret)
{
    assert_int_equal(call->answers, 1);
    assert_int_equal(call->type, type->number);
    assert_int_equal(proto_unpack(type, base_buffer_slice(&call->reply), svc->fx->arena, ret, NULL),
                     LILIO_OK);
}

enum lilio_err svc_call(struct svc *svc, uint64_t session, uint64_t sequence,
                        const struct proto_type *type, const void *value)
{
    struct base_buffer body = {0};
    assert_int_equal(proto_pack(type, value, &body), LILIO_OK);
    struct coord_request request = {
        .token = svc,
        .header = {.type = type->number, .session = session, .sequence = sequence},
        .type = type,
        .body = base_buffer_slice(&body),
    };
    uint64_t before = svc->answers;
    coord_service_receive(svc->service, &request);
    svc_pump(svc);
    assert_int_equal(svc->answers, before + 1); /* exactly once */
    base_buffer_release(&body);
    if (svc->type != PROTO_MSG_error)
        return LILIO_OK;
    struct proto_error error;
    svc_reply(svc, &proto_type_error, &error);
    return error.code;
}

void svc_reply(struct svc *svc, const struct proto_type *type, void *ret)
{
    assert_int_equal(svc->type, type->number);
    assert_int_equal(proto_unpack(type, base_buffer_slice(&svc->reply), svc->fx->arena, ret, NULL),
                     LILIO_OK);
}

static const struct proto_osd *row_of(struct svc *svc, uint32_t osd)
{
    return coord_state_osd_at(svc->fx->state, coord_state_osd_find(svc->fx->state, osd));
}

struct proto_osd_orders svc_beat(struct svc *svc, uint32_t osd, uint8_t state)
{
    struct proto_osd_orders orders;
    struct proto_osd_heartbeat beat = {
        .osd = osd,
        .state = state,
        .capacity_bytes = UINT64_C(1) << 40,
        .free_bytes = svc->free_bytes[osd] ? svc->free_bytes[osd] : UINT64_C(1) << 39,
        .used_bytes = svc->used_bytes[osd] ? svc->used_bytes[osd] : osd,
    };
    if (state != PROTO_OSD_BLANK) {
        beat.incarnation = row_of(svc, osd)->incarnation;
        beat.disk_uuid = row_of(svc, osd)->disk_uuid;
        beat.collected = svc->todo[osd];
        beat.collected_count = svc->collects[osd] ? svc->todo_count[osd] : 0;
    }
    beat.known_epoch = fx_row(svc->fx)->epoch;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_osd_heartbeat, &beat), LILIO_OK);
    svc_reply(svc, &proto_type_osd_orders, &orders);
    if (beat.collected_count > 0)
        svc->todo_count[osd] = 0;
    for (size_t i = 0; i < orders.collect_count && svc->todo_count[osd] < 256; i++)
        svc->todo[osd][svc->todo_count[osd]++] = orders.collect[i];
    svc->collected[osd] += orders.collect_count;
    return orders;
}

void svc_pass(struct svc *svc, uint64_t ms)
{
    for (uint64_t end = svc->now_ms + ms; svc->now_ms < end;) {
        svc->now_ms += 250;
        svc_pump(svc);
        for (uint32_t osd = 0; osd < FX_OSDS && svc->now_ms % 1000 == 0; osd++)
            if (svc->alive[osd])
                (void)svc_beat(svc, osd, svc->says[osd] ? svc->says[osd] : PROTO_OSD_UP);
        proto_arena_clear(svc->fx->arena);
    }
}

uint8_t svc_row(struct svc *svc, uint32_t osd)
{
    return row_of(svc, osd)->state;
}

uint8_t svc_state(struct svc *svc, uint32_t osd)
{
    struct proto_map_get ask = {0};
    struct proto_map map;
    assert_int_equal(svc_call(svc, 0, 0, &proto_type_map_get, &ask), LILIO_OK);
    svc_reply(svc, &proto_type_map, &map);
    assert_true(map.changed);
    assert_int_equal(proto_map_check(&map.map, NULL), LILIO_OK);
    return proto_map_osd(&map.map, osd)->state;
}
