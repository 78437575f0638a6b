/* Rounds: what gathers, what is under way, how each request of them is answered.
 *
 *   gathering --round()--> under way --applied()--> commands answered
 *                              |   \--confirmed()--> reads answered
 *                              +--follow()--> everything NOT_LEADER
 *
 * Commands are answered when their entry is applied: it is committed then, a majority has it
 * durably. Reads are answered when it is certain that nobody else led while they waited, so a
 * leader that was deposed and does not know it promises nothing. A request stands in exactly one
 * place, a batch or the queue of reads, and leaves it when it is answered.
 *
 * Cluster time of a command counts from the newest command of the round before it, applied or not,
 * so it never goes back while rounds are under way; each entry's step is capped.
 */
#include "coordinator/service.h"

#include <stdlib.h>

#include "base/mark.h"
#include "base/planted.h"
#include "coordinator/service_priv.h"

#include "base/banned.h"

enum {
    READS_MAX = 4096,
    HELD_BYTES_MAX = 8 << 20,
    BUFFER_KEPT_BYTES = 64 << 10,
    BATCHES = COORD_ROUNDS_MAX + 1,
};

static struct batch *gathering(struct coord_service *service)
{
    return &service->batches[service->gathering];
}

static struct batch *oldest(struct coord_service *service)
{
    return &service->batches[(service->gathering + BATCHES - service->under_way) % BATCHES];
}

enum lilio_err service_rounds_init(struct coord_service *service)
{
    service->round = 1;
    service->reads = calloc(READS_MAX, sizeof *service->reads);
    return service->reads ? LILIO_OK : LILIO_E_NOMEM;
}

void service_rounds_release(struct coord_service *service)
{
    for (size_t i = 0; i < BATCHES; i++)
        for (size_t k = 0; k < COORD_ENTRY_COMMANDS_MAX; k++)
            base_buffer_release(&service->batches[i].proposals[k].bytes);
    free(service->reads);
}

bool service_gathers(const struct coord_service *service)
{
    return service->batches[service->gathering].count > 0;
}

/* ---- gathering ---- */

/* Cluster time now: the clock's steps, each capped (design rule 5). */
uint64_t service_cluster_ms(const struct coord_service *service)
{
    const struct base_clock *clock = service->options.clock;
    if (LILIO_PLANTED("wall_clock_for_cluster_time"))
        return clock->wall_ms(clock->context);
    uint64_t step = service_now_ms(service) - service->time_base_ms;
    return service->cluster_ms + (step > COORD_STEP_MS_MAX ? COORD_STEP_MS_MAX : step);
}

static enum lilio_err propose(struct coord_service *service, const struct coord_request *request,
                              uint16_t type, struct base_slice body)
{
    struct batch *batch = gathering(service);
    LILIO_ASSERT(batch->count < COORD_ENTRY_COMMANDS_MAX); /* full() was asked before */
    struct proposal *proposal = &batch->proposals[batch->count];
    struct proto_entry entry = {
        .cluster_ms = service_cluster_ms(service),
        .wall_ms = service->options.clock->wall_ms(service->options.clock->context),
        .session = request ? request->header.session : 0,
        .sequence = request ? request->header.sequence : 0,
        .answered_below = request ? request->header.answered_below : 0,
        .type = type,
        .body = body,
    };
    base_buffer_clear(&proposal->bytes);
    enum lilio_err err = proto_entry_pack(&entry, &proposal->bytes);
    if (err)
        return err;
    proposal->request = request ? *request : (struct coord_request){0};
    proposal->type = type;
    batch->cluster_ms = entry.cluster_ms;
    batch->clock_ms = service_now_ms(service);
    batch->bytes += proposal->bytes.size;
    batch->count++;
    return LILIO_OK;
}

bool service_propose(struct coord_service *service, const struct proto_type *type,
                     const void *value)
{
    struct batch *batch = gathering(service);
    if (batch->count == COORD_ENTRY_COMMANDS_MAX || batch->bytes >= COORD_ENTRY_BYTES_MAX)
        return false;
    struct base_buffer body = {0};
    enum lilio_err err = proto_pack(type, value, &body);
    if (!err)
        err = propose(service, NULL, type->number, base_buffer_slice(&body));
    base_buffer_release(&body);
    if (err)
        base_log_write(service->options.log, BASE_LOG_WARN, "service", "command_not_made",
                       "type=%s err=%s", type->name, lilio_err_name(err));
    return !err;
}

void service_propose_request(struct coord_service *service, const struct coord_request *request)
{
    enum lilio_err err = propose(service, request, request->type->number, request->body);
    if (err)
        service_refuse(service, request, err, NULL);
    else
        service->held_bytes += request->body.size;
}

void service_defer(struct coord_service *service, const struct coord_request *request)
{
    LILIO_ASSERT(service->read_count < READS_MAX); /* full() was asked before */
    service->reads[(service->read_first + service->read_count) % READS_MAX] =
        (struct waiting_read){.round = service->round, .request = *request};
    service->read_count++;
    service->held_bytes += request->body.size;
}

bool coord_service_full(const struct coord_service *service)
{
    const struct batch *batch = &service->batches[service->gathering];
    return batch->count >= COORD_ENTRY_COMMANDS_MAX - PROPOSALS_KEPT ||
           batch->bytes >= COORD_ENTRY_BYTES_MAX || service->held_bytes >= HELD_BYTES_MAX ||
           service->read_count == READS_MAX;
}

/* ---- closing ---- */

static bool reads_gather(const struct coord_service *service)
{
    size_t newest = (service->read_first + service->read_count + READS_MAX - 1) % READS_MAX;
    return service->read_count > 0 && service->reads[newest].round == service->round;
}

static void batch_close(struct coord_service *service, struct coord_round *round)
{
    struct batch *batch = gathering(service);
    for (size_t i = 0; i < batch->count; i++)
        batch->commands[i] = base_buffer_slice(&batch->proposals[i].bytes);
    batch->round = service->round;
    round->commands = batch->commands;
    round->count = batch->count;
    service->cluster_ms = batch->cluster_ms;
    service->time_base_ms = batch->clock_ms;
    service->gathering = (service->gathering + 1) % BATCHES;
    service->under_way++;
    if (service->under_way == COORD_ROUNDS_MAX)
        LILIO_MARK("coordinator/rounds_all_under_way");
}

/* A second round is begun when it is as large as the one that is under way, or that is done: many
 * small ones would cost more than they bring. */
static bool worth_a_round(struct coord_service *service)
{
    size_t count = gathering(service)->count;
    if (service->under_way == 0)
        return count > 0;
    return service->under_way < COORD_ROUNDS_MAX && count >= oldest(service)->count;
}

bool coord_service_round(struct coord_service *service, struct coord_round *ret)
{
    bool commands = worth_a_round(service);
    bool reads = reads_gather(service);
    if (!commands && !reads)
        return false;
    *ret = (struct coord_round){.id = service->round, .reads = reads};
    if (commands)
        batch_close(service, ret);
    service->round++;
    return true;
}

/* ---- answering ---- */

static void let_go(struct coord_service *service, const struct coord_request *request)
{
    service->held_bytes -= request->body.size;
}

static void shrink(struct base_buffer *buffer)
{
    if (buffer->capacity > BUFFER_KEPT_BYTES)
        base_buffer_release(buffer);
}

static void batch_clear(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        shrink(&batch->proposals[i].bytes);
    batch->count = batch->bytes = 0;
}

/* What the service itself has to know of an applied command. */
static void learn(struct coord_service *service, const struct proposal *proposal,
                  const struct coord_result *result)
{
    struct proto_entry entry;
    proto_arena_clear(service->arena);
    switch (proposal->type) {
    case PROTO_MSG_session_open: service_session_opened(service, result); break;
    case PROTO_MSG_session_close:
        service_session_closed(service, proposal->request.header.session);
        break;
    case PROTO_MSG_session_expire:
        if (!proto_entry_unpack(base_buffer_slice(&proposal->bytes), service->arena, &entry, NULL))
            service_sessions_expired(service, &entry);
        break;
    case PROTO_MSG_gc_done: service_gc_applied(service); break;
    default: break;
    }
}

static void answer(struct coord_service *service, const struct proposal *proposal,
                   const struct coord_result *result)
{
    const struct coord_port *port = &service->options.port;
    const struct coord_request *request = &proposal->request;
    if (!request->type)
        return;
    proto_arena_clear(service->arena);
    let_go(service, request);
    if (proposal->type == PROTO_MSG_osd_hello && !result->err)
        service_welcome(service, request);
    else if (proposal->type == PROTO_MSG_osd_bind && !result->err)
        service_bound(service, request);
    else
        port->reply_packed(port->context, request->token, result->type,
                           base_buffer_slice(&result->reply),
                           coord_state_row(service->state)->epoch);
}

void coord_service_applied(struct coord_service *service, uint64_t round,
                           const struct coord_result *results)
{
    struct batch *batch = oldest(service);
    if (service->under_way == 0 || round < batch->round)
        return; /* answered by follow() */
    LILIO_ASSERT(round == batch->round);
    service_clock_read(service);
    service->done_round = round;
    for (size_t i = 0; i < batch->count; i++)
        learn(service, &batch->proposals[i], &results[i]);
    for (size_t i = 0; i < batch->count; i++)
        answer(service, &batch->proposals[i], &results[i]);
    batch_clear(batch);
    service->under_way--;
}

static void read_answer(struct coord_service *service, const struct coord_request *request)
{
    proto_arena_clear(service->arena);
    switch (request->type->number) {
    case PROTO_MSG_session_renew: service_renew(service, request); break;
    case PROTO_MSG_osd_hello: service_welcome(service, request); break;
    case PROTO_MSG_osd_heartbeat: service_orders(service, request); break;
    default: service_read(service, request); break;
    }
}

static struct coord_request read_pop(struct coord_service *service)
{
    struct coord_request request = service->reads[service->read_first].request;
    service->read_first = (service->read_first + 1) % READS_MAX;
    service->read_count--;
    let_go(service, &request);
    return request;
}

void coord_service_confirmed(struct coord_service *service, uint64_t round)
{
    service_clock_read(service);
    while (service->read_count > 0 && service->reads[service->read_first].round <= round) {
        struct coord_request request = read_pop(service);
        read_answer(service, &request);
    }
}

/* ---- roles ---- */

void service_rounds_lead(struct coord_service *service)
{
    service->cluster_ms = coord_state_row(service->state)->cluster_ms;
    service->time_base_ms = service_now_ms(service);
    for (size_t i = 0; i < service->read_count; i++)
        service->reads[(service->read_first + i) % READS_MAX].round = service->round;
}

static void batch_redirect(struct coord_service *service, struct batch *batch, bool taken)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct coord_request *request = &batch->proposals[i].request;
        if (!request->type)
            continue;
        LILIO_MARK("coordinator/change_redirected");
        let_go(service, request);
        service_redirect(service, request, taken);
    }
    batch_clear(batch);
}

void service_rounds_redirect(struct coord_service *service)
{
    for (; service->under_way > 0; service->under_way--)
        batch_redirect(service, oldest(service), /* taken */ true);
    batch_redirect(service, gathering(service), /* taken */ false);
    while (service->read_count > 0) {
        LILIO_MARK("coordinator/read_redirected");
        struct coord_request request = read_pop(service);
        service_redirect(service, &request, /* taken */ false);
    }
}
