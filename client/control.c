#include "client/control.h"

#include <stdio.h>
#include <stdlib.h>

#include "client/session.h"

#include "base/banned.h"

/* Sequences of reads never meet those of a session. */
#define READ_SEQUENCES ((uint64_t)1 << 63)

static bool stopped(void *context)
{
    const struct client_control *control = context;
    return (!control->ignore_cancel && client_cancelled(control->client)) ||
           (control->stop && atomic_load(control->stop));
}

static void open_line(struct client_control *control, struct proto_coordinators *coordinators)
{
    struct proto_line_options options = {
        .context = control->client->context,
        .coordinators = coordinators,
        .seed = control->client->trace_base +
                atomic_fetch_add(&control->client->trace_count, 1), /* another one for each */
        .stopped = stopped,
        .stop_context = control,
    };
    proto_line_init(&control->line, &options);
}

void client_control_init(struct client_control *control, struct lilio_client *client)
{
    *control = (struct client_control){.client = client, .sequence = READ_SEQUENCES};
    open_line(control, &client->coordinators);
}

void client_control_init_daemon(struct client_control *control, struct lilio_client *client,
                                const char *who, const char *endpoint)
{
    *control = (struct client_control){.client = client, .sequence = READ_SEQUENCES};
    snprintf(control->who, sizeof control->who, "%s", who);
    proto_coordinators_init(&control->daemon, &endpoint, 1);
    open_line(control, &control->daemon);
}

void client_control_release(struct client_control *control)
{
    proto_line_release(&control->line);
    if (control->who[0])
        proto_coordinators_release(&control->daemon);
}

void client_control_patience(struct client_control *control)
{
    control->until_ms = client_now_ms(control->client) + control->client->timeout_ms;
}

void client_control_patience_end(struct client_control *control)
{
    control->until_ms = 0;
}

uint32_t client_control_left_ms(const struct client_control *control)
{
    uint64_t now_ms = client_now_ms(control->client);
    if (control->until_ms == 0)
        return control->client->timeout_ms;
    return now_ms < control->until_ms ? (uint32_t)(control->until_ms - now_ms) : 0;
}

void client_answer_release(struct client_answer *answer)
{
    proto_reply_free(&answer->reply);
    proto_arena_free(&answer->arena);
}

/* A change that may have been done: whatever else was met, the caller has to know that. */
static enum lilio_err outcome_unknown(const struct client_control *control,
                                      const struct client_call *call, enum lilio_err err,
                                      uint32_t timeout_ms, struct lilio_errinfo *info)
{
    const char *name = call->type->name;
    bool several = proto_coordinators_several(control->line.options.coordinators);
    if (err == LILIO_E_CANCELLED)
        return lilio_fail(info, LILIO_E_OUTCOME_UNKNOWN,
                          "cancelled while %s was under way: it may have been done or not; look "
                          "before repeating it",
                          name);
    if (!several && (err == LILIO_E_TIMEOUT || err == LILIO_E_UNAVAILABLE))
        return lilio_fail(info, LILIO_E_OUTCOME_UNKNOWN,
                          "the coordinator at %s did not answer %s within %.1f s: it may have been "
                          "done or not; look before repeating it",
                          control->line.endpoint, name, timeout_ms / 1e3);
    info->err = LILIO_E_OUTCOME_UNKNOWN;
    return lilio_prefix(info, LILIO_E_OUTCOME_UNKNOWN,
                        "%s may have been done or not; look before repeating it", name);
}

/* Nobody answered. */
static enum lilio_err silence(const struct client_control *control, enum lilio_err err,
                              uint32_t timeout_ms, struct lilio_errinfo *info)
{
    const char *where = control->line.endpoint;
    bool several = proto_coordinators_several(control->line.options.coordinators);
    if ((err != LILIO_E_TIMEOUT && err != LILIO_E_UNAVAILABLE) || (several && !control->who[0]))
        return err;
    if (control->who[0])
        return lilio_fail(info, err, "%s did not answer at %s within %.1f s", control->who, where,
                          timeout_ms / 1e3);
    return lilio_fail(info, err, "no coordinator answered at %s within %.1f s", where,
                      timeout_ms / 1e3);
}

struct proto_header client_control_header(struct client_control *control,
                                          const struct client_ticket *ticket)
{
    struct lilio_client *client = control->client;
    struct proto_header header = {
        .epoch = atomic_load(&client->seen_epoch),
        .trace = client->trace_base + atomic_fetch_add(&client->trace_count, 1),
    };
    if (ticket) {
        header.session = ticket->session;
        header.sequence = ticket->sequence;
        header.answered_below = ticket->answered_below;
    } else {
        header.sequence = ++control->sequence;
    }
    return header;
}

enum lilio_err client_control_call(struct client_control *control, const struct client_call *call,
                                   void *ret_value, struct client_answer *answer,
                                   struct lilio_errinfo *info)
{
    uint32_t timeout_ms = call->timeout_ms ? call->timeout_ms : client_control_left_ms(control);
    struct proto_line_call request = {
        .header = client_control_header(control, call->ticket),
        .type = call->type,
        .value = call->value,
        .reply_type = call->reply_type,
        .timeout_ms = timeout_ms,
        .sent_before = call->sent_before,
        .once = call->once,
    };
    struct proto_line_outcome outcome;
    struct lilio_errinfo mine = {0};
    client_answer_release(answer);
    enum lilio_err err = proto_arena_new(&answer->arena);
    if (err != LILIO_OK)
        return lilio_fail(info, err, "no memory for an answer");
    control->ignore_cancel = call->ignore_cancel;
    err = proto_line_ask(&control->line, &request, answer->arena, ret_value, &outcome, &mine);
    answer->reply = outcome.reply;
    client_note_epoch(control->client, control->line.seen_epoch);
    if (err != LILIO_OK && (call->ticket || call->once) && outcome.maybe_done)
        err = outcome_unknown(control, call, err, timeout_ms, &mine);
    else if (err != LILIO_OK && !outcome.reply)
        err = silence(control, err, timeout_ms, &mine);
    if (err != LILIO_OK && info)
        *info = mine;
    return err;
}

bool client_control_tell(struct client_control *control, const struct client_call *call)
{
    struct client_answer answer = {0};
    void *value = calloc(1, call->reply_type->size);
    enum lilio_err err =
        value ? client_control_call(control, call, value, &answer, NULL) : LILIO_E_NOMEM;
    free(value);
    client_answer_release(&answer);
    return err == LILIO_OK;
}

enum lilio_err client_control_change(struct client_control *control, const struct proto_type *type,
                                     const void *value, const struct proto_type *reply_type,
                                     void *ret_value, struct client_answer *answer,
                                     struct lilio_errinfo *info)
{
    for (int round = 0;; round++) {
        struct client_session *session;
        enum lilio_err err = client_session_take(control->client, control, &session, info);
        if (err != LILIO_OK)
            return err;
        struct client_ticket ticket;
        err = client_session_ticket(session, &ticket);
        if (err == LILIO_OK) {
            struct client_call call = {
                .type = type, .value = value, .reply_type = reply_type, .ticket = &ticket};
            err = client_control_call(control, &call, ret_value, answer, info);
            client_session_ticket_done(session, &ticket);
        }
        if (err == LILIO_E_SESSION_CLOSED)
            client_session_closed(control->client, session);
        client_session_drop(&session);
        if (err != LILIO_E_SESSION_CLOSED || round > 0)
            return err;
    }
}
