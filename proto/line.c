#include "proto/line.h"

#include <stdio.h>

#include "base/env.h"
#include "base/mark.h"

#include "base/banned.h"

/* ---- the coordinators ---- */

void proto_coordinators_init(struct proto_coordinators *coordinators, const char *const *endpoints,
                             size_t count)
{
    pthread_mutex_init(&coordinators->lock, NULL);
    proto_leader_init(&coordinators->leader, endpoints, count);
}

void proto_coordinators_release(struct proto_coordinators *coordinators)
{
    pthread_mutex_destroy(&coordinators->lock);
}

void proto_coordinators_learn(struct proto_coordinators *coordinators, struct base_slice endpoint)
{
    pthread_mutex_lock(&coordinators->lock);
    (void)proto_leader_learn(&coordinators->leader, endpoint); /* what is none is left out */
    pthread_mutex_unlock(&coordinators->lock);
}

bool proto_coordinators_several(struct proto_coordinators *coordinators)
{
    pthread_mutex_lock(&coordinators->lock);
    bool several = coordinators->leader.count > 1;
    pthread_mutex_unlock(&coordinators->lock);
    return several;
}

/* ---- the line ---- */

void proto_line_init(struct proto_line *line, const struct proto_line_options *options)
{
    *line = (struct proto_line){.options = *options};
}

void proto_line_release(struct proto_line *line)
{
    proto_channel_free(&line->channel);
}

static uint64_t now_ms(void)
{
    return base_now_ms(base_clock_system());
}

/* One request under way. */
struct request {
    struct proto_line *line;
    const struct proto_line_call *call;
    struct proto_header header;
    struct proto_ask ask;
    uint32_t open;               /* times it was sent and may have been taken */
    uint32_t silent;             /* times it was sent and nothing was answered */
    struct lilio_errinfo busy;   /* what the last one said, if it was BUSY */
    struct lilio_errinfo damage; /* what the last one said that cannot read its maps */
    size_t damaged;              /* how many said so */
};

static void failed(struct request *request, enum proto_ask_event event, struct base_slice named)
{
    struct proto_coordinators *coordinators = request->line->options.coordinators;
    pthread_mutex_lock(&coordinators->lock);
    proto_ask_failed(&request->ask, &coordinators->leader, event, named, now_ms());
    pthread_mutex_unlock(&coordinators->lock);
}

static void answered(struct request *request)
{
    struct proto_coordinators *coordinators = request->line->options.coordinators;
    pthread_mutex_lock(&coordinators->lock);
    proto_ask_answered(&request->ask, &coordinators->leader);
    pthread_mutex_unlock(&coordinators->lock);
}

/* Waits for the channel (NULL: for nothing) or a reason to stop. False: stop. */
static bool wait_or_stop(struct proto_line *line, bool with_channel, bool want_ready,
                         uint64_t timeout_ms)
{
    const struct proto_line_options *options = &line->options;
    struct proto_wait_item items[PROTO_LINE_STOP_FDS + 1];
    size_t count = 0;
    for (size_t i = 0; options->stop_fds && i < PROTO_LINE_STOP_FDS; i++)
        if (options->stop_fds[i] >= 0)
            items[count++] = (struct proto_wait_item){.fd = options->stop_fds[i]};
    size_t stop_count = count;
    if (with_channel)
        items[count++] =
            (struct proto_wait_item){.channel = line->channel, .fd = -1, .want_ready = want_ready};
    if (timeout_ms > PROTO_LINE_TICK_MS)
        timeout_ms = PROTO_LINE_TICK_MS;
    (void)proto_wait(items, count, (int)timeout_ms); /* what woke it is looked at below and after */
    for (size_t i = 0; i < stop_count; i++)
        if (items[i].ret_readable)
            return false;
    return !options->stopped || !options->stopped(options->stop_context);
}

static enum lilio_err cancelled(struct lilio_errinfo *info)
{
    return lilio_fail(info, LILIO_E_CANCELLED, "cancelled");
}

/* Waits until it is the turn of the next one, and connects to it. TIMEOUT: it cannot be reached. */
static enum lilio_err take_turn(struct request *request, struct lilio_errinfo *info)
{
    struct proto_line *line = request->line;
    const struct proto_ask *ask = &request->ask;
    uint64_t until_ms = ask->not_before_ms < ask->end_ms ? ask->not_before_ms : ask->end_ms;
    for (uint64_t now = now_ms(); now < until_ms; now = now_ms())
        if (!wait_or_stop(line, /* with_channel */ false, false, until_ms - now))
            return cancelled(info);
    if (line->channel && strcmp(line->endpoint, ask->endpoint) == 0)
        return LILIO_OK;
    proto_channel_free(&line->channel);
    memcpy(line->endpoint, ask->endpoint, sizeof line->endpoint);
    enum lilio_err err =
        proto_channel_new(line->options.context, line->endpoint, &line->channel, info);
    /* An address that leads nowhere is one more coordinator that cannot be reached. */
    return err == LILIO_E_ADDRESS && ask->several ? LILIO_E_TIMEOUT : err;
}

static enum lilio_err send_it(struct request *request, uint64_t now)
{
    const struct proto_line_call *call = request->call;
    request->header.deadline_ms = (uint32_t)(request->ask.end_ms - now);
    enum lilio_err err =
        proto_channel_send(request->line->channel, &request->header, call->type, call->value, NULL);
    request->open += err == LILIO_OK;
    request->silent += err == LILIO_OK;
    return err;
}

/* The answer, if it has come; older ones are dropped, also those that a connection left behind:
 * they would wake every wait. */
static struct proto_reply *take_reply(struct request *request)
{
    struct proto_reply *reply;
    while ((reply = proto_channel_receive(request->line->channel)) != NULL) {
        if (request->silent > 0 && reply->header.sequence == request->header.sequence) {
            request->silent--;
            return reply;
        }
        proto_reply_free(&reply);
    }
    return NULL;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Asks the one whose turn it is. TIMEOUT: it failed as *ret_event says. */
static enum lilio_err ask_once(struct request *request, struct proto_reply **ret_reply,
                               enum proto_ask_event *ret_event, struct lilio_errinfo *info)
{
    struct proto_line *line = request->line;
    const struct proto_ask *ask = &request->ask;
    uint64_t until_ms = earlier(ask->end_ms, now_ms() + ask->connect_ms);
    bool under_way = false;
    for (;;) {
        bool ready = proto_channel_ready(line->channel);
        if ((*ret_reply = take_reply(request)) != NULL)
            return LILIO_OK;
        if (under_way && !ready && (ask->several || request->call->once)) {
            *ret_event = PROTO_ASK_BROKEN;
            return LILIO_E_TIMEOUT;
        }
        under_way &= ready; /* alone it is sent again as soon as the connection stands */
        uint64_t now = now_ms();
        if (ready && !under_way && now < ask->end_ms) {
            enum lilio_err err = send_it(request, now);
            if (err != LILIO_OK && err != LILIO_E_UNAVAILABLE && err != LILIO_E_BUSY)
                return lilio_fail(info, err, "%s: %s", request->call->type->name,
                                  lilio_err_text(err));
            under_way = err == LILIO_OK;
            if (under_way)
                until_ms =
                    request->call->once ? ask->end_ms : earlier(ask->end_ms, now + ask->attempt_ms);
        }
        if (now >= until_ms) {
            *ret_event = under_way ? PROTO_ASK_SILENT : PROTO_ASK_UNREACHABLE;
            return LILIO_E_TIMEOUT;
        }
        if (!wait_or_stop(line, /* with_channel */ true, !under_way, until_ms - now))
            return cancelled(info);
    }
}

static size_t coordinator_count(const struct request *request)
{
    struct proto_coordinators *coordinators = request->line->options.coordinators;
    pthread_mutex_lock(&coordinators->lock);
    size_t count = coordinators->leader.count;
    pthread_mutex_unlock(&coordinators->lock);
    return count;
}

/* Errors that the maps themselves give, looked up by the request id first: an earlier sending was
 * not done, or was answered the same. All others come from before the maps were asked. */
static bool decides(enum lilio_err err)
{
    return err == LILIO_E_NO_QUORUM || err == LILIO_E_VERSION_GONE ||
           (lilio_err_class(err) == LILIO_CLASS_CALLER && err != LILIO_E_SESSION_CLOSED);
}

/* What an error reply says. *ret_again: the request goes on. */
static enum lilio_err take_error(struct request *request, const struct proto_error *error,
                                 bool *ret_again, struct lilio_errinfo *info)
{
    enum lilio_err err = error->code < 0 ? (enum lilio_err)error->code : LILIO_E_MALFORMED;
    const char *text = (const char *)error->text.data;
    if (error->text.size > 0)
        (void)lilio_fail(info, err, "%.*s", (int)error->text.size, text);
    else
        (void)lilio_fail(info, err, "%s", lilio_err_text(err));
    *ret_again = true;
    request->open -= !error->taken;
    request->busy = (struct lilio_errinfo){0};
    if (err == LILIO_E_NOT_LEADER) {
        failed(request, PROTO_ASK_NOT_LEADER, error->leader);
    } else if (err == LILIO_E_UNAVAILABLE && request->ask.several) {
        failed(request, PROTO_ASK_NOT_LEADER, (struct base_slice){0});
    } else if (err == LILIO_E_BUSY || err == LILIO_E_EXHAUSTED) {
        (void)lilio_fail(&request->busy, err, "%.*s", (int)error->text.size, text);
        failed(request, PROTO_ASK_BUSY, (struct base_slice){0});
    } else if ((err == LILIO_E_CORRUPT || err == LILIO_E_IO) &&
               ++request->damaged < coordinator_count(request)) {
        (void)lilio_fail(&request->damage, err, "%.*s", (int)error->text.size, text);
        failed(request, PROTO_ASK_DAMAGED, (struct base_slice){0});
    } else {
        *ret_again = false;
        answered(request);
        if (decides(err))
            request->open = 0;
    }
    return err;
}

static enum lilio_err take_answer(struct request *request, const struct proto_reply *reply,
                                  struct proto_arena *arena, void *ret_value, bool *ret_again,
                                  struct lilio_errinfo *info)
{
    const struct proto_line_call *call = request->call;
    *ret_again = false;
    if (reply->header.epoch > request->line->seen_epoch)
        request->line->seen_epoch = reply->header.epoch;
    if (reply->type == &proto_type_error) {
        struct proto_error error;
        enum lilio_err err = proto_error_unpack(reply->body, arena, &error, info);
        return err != LILIO_OK ? err : take_error(request, &error, ret_again, info);
    }
    answered(request);
    enum lilio_err err = LILIO_OK;
    if (call->reply_type && reply->type != call->reply_type)
        err = lilio_fail(info, LILIO_E_MALFORMED, "%s was answered with %s", call->type->name,
                         reply->type->name);
    else if (call->reply_type)
        err = proto_unpack(call->reply_type, reply->body, arena, ret_value, info);
    if (err == LILIO_OK)
        request->open = 0;
    return err;
}

/* The patience is over. */
static enum lilio_err give_up(const struct request *request, struct lilio_errinfo *info)
{
    uint64_t left_ms = request->ask.end_ms - earlier(request->ask.end_ms, now_ms());
    double patience_s = (double)(request->call->timeout_ms - left_ms) / 1e3;
    if (request->busy.err != LILIO_OK)
        return lilio_fail(info, request->busy.err, "%s, for %.1f s", request->busy.text,
                          patience_s);
    if (request->damage.err != LILIO_OK)
        return lilio_fail(info, request->damage.err, "%s", request->damage.text);
    char tried[400];
    proto_ask_describe(&request->ask, tried, sizeof tried);
    return lilio_fail(info, request->silent > 0 ? LILIO_E_TIMEOUT : LILIO_E_UNAVAILABLE,
                      "no coordinator answered within %.1f s (%s)", patience_s, tried);
}

static enum lilio_err go_round(struct request *request, struct proto_arena *arena, void *ret_value,
                               struct proto_reply **ret_reply, struct lilio_errinfo *info)
{
    for (;;) {
        enum proto_ask_event event = PROTO_ASK_UNREACHABLE;
        bool again = true;
        enum lilio_err err = take_turn(request, info);
        if (err == LILIO_OK)
            err = ask_once(request, ret_reply, &event, info);
        if (err == LILIO_E_TIMEOUT)
            failed(request, event, (struct base_slice){0});
        else if (err == LILIO_OK)
            err = take_answer(request, *ret_reply, arena, ret_value, &again, info);
        else
            return err;
        if (!again)
            return err;
        proto_reply_free(ret_reply);
        bool taken = request->call->once && request->silent > 0;
        if (taken || now_ms() >= request->ask.end_ms)
            return give_up(request, info);
    }
}

enum lilio_err proto_line_ask(struct proto_line *line, const struct proto_line_call *call,
                              struct proto_arena *arena, void *ret_value,
                              struct proto_line_outcome *ret_outcome, struct lilio_errinfo *info)
{
    struct proto_coordinators *coordinators = line->options.coordinators;
    struct request request = {
        .line = line, .call = call, .header = call->header, .open = call->sent_before};
    *ret_outcome = (struct proto_line_outcome){0};
    if (call->reply_type)
        memset(ret_value, 0, call->reply_type->size);
    pthread_mutex_lock(&coordinators->lock);
    proto_ask_begin(&request.ask, &coordinators->leader, call->timeout_ms,
                    line->options.seed + line->calls++, now_ms());
    pthread_mutex_unlock(&coordinators->lock);
    enum lilio_err err = go_round(&request, arena, ret_value, &ret_outcome->reply, info);
    ret_outcome->maybe_done = request.open > 0;
    return err;
}
