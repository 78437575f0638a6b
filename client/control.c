#include "client/control.h"

#include <stdio.h>
#include <stdlib.h>

#include "client/peers.h"
#include "client/session.h"

#include "base/banned.h"

/* Sequences of reads never meet those of a session. */
#define READ_SEQUENCES ((uint64_t)1 << 63)

void client_control_init(struct client_control *control, struct lilio_client *client)
{
    *control = (struct client_control){.client = client, .sequence = READ_SEQUENCES};
    control->jitter = client->trace_base;
}

void client_control_init_daemon(struct client_control *control, struct lilio_client *client,
                                const char *who, const char *endpoint)
{
    client_control_init(control, client);
    snprintf(control->who, sizeof control->who, "%s", who);
    snprintf(control->endpoint, sizeof control->endpoint, "%s", endpoint);
}

void client_control_release(struct client_control *control)
{
    proto_channel_free(&control->channel);
}

void client_answer_release(struct client_answer *answer)
{
    proto_reply_free(&answer->reply);
    proto_arena_free(&answer->arena);
}

/* One call under way. */
struct attempt {
    struct client_control *control;
    const struct client_call *call;
    struct proto_header header;
    uint64_t end_ms; /* of the call's patience */
    bool ever_sent;
    uint32_t busy_count, redirect_count;
    struct lilio_errinfo last; /* what the last coordinator that answered said */
};

static void connect_to(struct client_control *control, const char *endpoint)
{
    proto_channel_free(&control->channel);
    snprintf(control->endpoint, sizeof control->endpoint, "%s", endpoint);
}

/* The next coordinator of the configuration. */
static void turn_to_next(struct client_control *control)
{
    const struct proto_cluster_file *file = &control->client->file;
    if (control->who[0])
        return;
    const char *next = file->coordinators[control->turn++ % file->coordinator_count].endpoint;
    if (strcmp(next, control->endpoint) != 0)
        connect_to(control, next);
}

static enum lilio_err send_once(struct attempt *attempt, uint64_t now_ms)
{
    attempt->header.deadline_ms = (uint32_t)(attempt->end_ms - now_ms);
    enum lilio_err err = proto_channel_send(attempt->control->channel, &attempt->header,
                                            attempt->call->type, attempt->call->value, NULL);
    attempt->ever_sent |= err == LILIO_OK;
    return err;
}

/* The reply to this call, if it has come. */
static struct proto_reply *take_reply(struct attempt *attempt)
{
    struct proto_reply *reply;
    while ((reply = proto_channel_receive(attempt->control->channel)) != NULL) {
        if (reply->header.sequence == attempt->header.sequence)
            return reply;
        proto_reply_free(&reply);
    }
    return NULL;
}

/* Asks the coordinator at hand until it answers, until_ms is over or the caller cancels. */
static enum lilio_err ask(struct attempt *attempt, uint64_t until_ms,
                          struct proto_reply **ret_reply, struct lilio_errinfo *info)
{
    struct client_control *control = attempt->control;
    struct lilio_client *client = control->client;
    bool under_way = false;
    if (!control->channel) {
        enum lilio_err err =
            proto_channel_new(client->context, control->endpoint, &control->channel, info);
        if (err != LILIO_OK)
            return err;
    }
    for (;;) {
        struct proto_reply *reply = under_way ? take_reply(attempt) : NULL;
        if (reply) {
            *ret_reply = reply;
            return LILIO_OK;
        }
        uint64_t now_ms = client_now_ms(client);
        if ((!attempt->call->ignore_cancel && client_cancelled(client)) ||
            (control->stop && atomic_load(control->stop)))
            return lilio_fail(info, LILIO_E_CANCELLED, "cancelled");
        if (now_ms >= until_ms)
            return LILIO_E_TIMEOUT;
        bool ready = proto_channel_ready(control->channel);
        under_way &= ready;
        if (ready && !under_way) {
            enum lilio_err err = send_once(attempt, now_ms);
            if (err != LILIO_OK && err != LILIO_E_UNAVAILABLE && err != LILIO_E_BUSY)
                return lilio_fail(info, err, "%s: %s", attempt->call->type->name,
                                  lilio_err_text(err));
            under_way = err == LILIO_OK;
        }
        uint64_t left_ms = until_ms - now_ms;
        struct proto_wait_item item = {.channel = control->channel, .want_ready = !under_way};
        (void)proto_wait(&item, 1, left_ms < CLIENT_TICK_MS ? (int)left_ms : CLIENT_TICK_MS);
    }
}

static void sleep_a_little(struct attempt *attempt, uint64_t now_ms)
{
    uint64_t pause_ms = client_backoff_ms(attempt->busy_count++, &attempt->control->jitter);
    if (now_ms + pause_ms > attempt->end_ms)
        pause_ms = attempt->end_ms > now_ms ? attempt->end_ms - now_ms : 0;
    struct proto_wait_item item = {.channel = attempt->control->channel};
    (void)proto_wait(&item, 1, (int)pause_ms); /* an answer nobody waits for ends it early: fine */
    struct proto_reply *stale = proto_channel_receive(attempt->control->channel);
    proto_reply_free(&stale);
}

/* An error reply: true if the call shall be tried again. */
static bool try_again(struct attempt *attempt, const struct proto_error *error)
{
    uint64_t now_ms = client_now_ms(attempt->control->client);
    if (now_ms >= attempt->end_ms)
        return false;
    switch (error->code) {
    case LILIO_E_NOT_LEADER:
        if (error->leader.size > 0 && attempt->redirect_count++ < 4) {
            char leader[256];
            client_text_put(leader, sizeof leader, error->leader);
            connect_to(attempt->control, leader);
            return true;
        }
        attempt->redirect_count = 0;
        turn_to_next(attempt->control);
        if (attempt->control->channel)
            sleep_a_little(attempt, now_ms);
        return true;
    case LILIO_E_BUSY:
    case LILIO_E_EXHAUSTED: sleep_a_little(attempt, now_ms); return true;
    default: return false;
    }
}

static void note_error(const struct proto_error *error, struct lilio_errinfo *info)
{
    enum lilio_err err = error->code < 0 ? (enum lilio_err)error->code : LILIO_E_MALFORMED;
    if (error->text.size > 0)
        (void)lilio_fail(info, err, "%.*s", (int)error->text.size, (const char *)error->text.data);
    else
        (void)lilio_fail(info, err, "%s", lilio_err_text(err));
}

/* Unpacks a reply into *ret_value. *ret_again: the call is to be repeated. */
static enum lilio_err open_reply(struct attempt *attempt, struct client_answer *answer,
                                 void *ret_value, bool *ret_again, struct lilio_errinfo *info)
{
    const struct proto_type *type = answer->reply->type;
    *ret_again = false;
    client_note_epoch(attempt->control->client, answer->reply->header.epoch);
    if (type == attempt->call->reply_type)
        return proto_unpack(type, answer->reply->body, answer->arena, ret_value, info);
    if (type != &proto_type_error)
        return lilio_fail(info, LILIO_E_MALFORMED, "%s was answered with %s",
                          attempt->call->type->name, type->name);
    struct proto_error error;
    enum lilio_err err = proto_error_unpack(answer->reply->body, answer->arena, &error, info);
    if (err != LILIO_OK)
        return err;
    note_error(&error, &attempt->last);
    *ret_again = try_again(attempt, &error);
    if (info)
        *info = attempt->last;
    return attempt->last.err;
}

/* No answer within the patience: what that means depends on whether anything may have happened. */
static enum lilio_err silence(const struct attempt *attempt, uint32_t timeout_ms,
                              struct lilio_errinfo *info)
{
    const char *name = attempt->call->type->name;
    const char *where = attempt->control->endpoint;
    const char *who = attempt->control->who;
    bool one = attempt->control->client->file.coordinator_count == 1;
    if (attempt->last.err != LILIO_OK)
        return lilio_fail(info, attempt->last.err, "%s, for %.1f s", attempt->last.text,
                          timeout_ms / 1e3);
    if (who[0])
        return lilio_fail(info, attempt->ever_sent ? LILIO_E_TIMEOUT : LILIO_E_UNAVAILABLE,
                          "%s did not answer at %s within %.1f s", who, where, timeout_ms / 1e3);
    if (attempt->ever_sent && attempt->call->ticket)
        return lilio_fail(info, LILIO_E_OUTCOME_UNKNOWN,
                          "the coordinator at %s did not answer %s within %.1f s: it may have been "
                          "done or not",
                          where, name, timeout_ms / 1e3);
    return lilio_fail(info, attempt->ever_sent ? LILIO_E_TIMEOUT : LILIO_E_UNAVAILABLE,
                      "no coordinator answered at %s%s within %.1f s", where,
                      one ? "" : " and the others", timeout_ms / 1e3);
}

static struct proto_header make_header(struct client_control *control,
                                       const struct client_call *call)
{
    struct lilio_client *client = control->client;
    struct proto_header header = {
        .epoch = atomic_load(&client->seen_epoch),
        .trace = client->trace_base + atomic_fetch_add(&client->trace_count, 1),
    };
    if (call->ticket) {
        header.session = call->ticket->session;
        header.sequence = call->ticket->sequence;
        header.answered_below = call->ticket->answered_below;
    } else {
        header.sequence = ++control->sequence;
    }
    return header;
}

enum lilio_err client_control_call(struct client_control *control, const struct client_call *call,
                                   void *ret_value, struct client_answer *answer,
                                   struct lilio_errinfo *info)
{
    struct lilio_client *client = control->client;
    uint32_t timeout_ms = call->timeout_ms ? call->timeout_ms : client->timeout_ms;
    struct attempt attempt = {
        .control = control,
        .call = call,
        .header = make_header(control, call),
        .end_ms = client_now_ms(client) + timeout_ms,
    };
    bool several = client->file.coordinator_count > 1;
    if (!control->endpoint[0])
        turn_to_next(control);
    for (;;) {
        client_answer_release(answer);
        uint64_t until_ms = client_now_ms(client) + CLIENT_ATTEMPT_CONTROL_MS;
        if (!several || until_ms > attempt.end_ms)
            until_ms = attempt.end_ms;
        enum lilio_err err = proto_arena_new(&answer->arena);
        if (err != LILIO_OK)
            return lilio_fail(info, err, "no memory for an answer");
        err = ask(&attempt, until_ms, &answer->reply, info);
        if (err == LILIO_E_TIMEOUT && client_now_ms(client) >= attempt.end_ms) {
            err = silence(&attempt, timeout_ms, info);
            turn_to_next(control);
            return err;
        }
        if (err == LILIO_E_TIMEOUT) {
            turn_to_next(control);
            continue;
        }
        if (err != LILIO_OK)
            return err == LILIO_E_CANCELLED && attempt.ever_sent && call->ticket
                       ? lilio_fail(info, LILIO_E_OUTCOME_UNKNOWN,
                                    "cancelled while %s was under way: it may have been done or "
                                    "not",
                                    call->type->name)
                       : err;
        bool again;
        err = open_reply(&attempt, answer, ret_value, &again, info);
        if (!again)
            return err;
    }
}

void client_control_tell(struct client_control *control, const struct client_call *call)
{
    struct client_answer answer = {0};
    void *value = calloc(1, call->reply_type->size);
    enum lilio_err err =
        value ? client_control_call(control, call, value, &answer, NULL) : LILIO_E_NOMEM;
    (void)err; /* that is the point of this function */
    free(value);
    client_answer_release(&answer);
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
