#include "proto/transport.h"

#include "base/env.h"

#include "base/banned.h"

struct call {
    struct proto_channel *channel;
    uint64_t sequence;
    uint64_t end_ms; /* UINT64_MAX = never */
};

static uint64_t now_ms(void)
{
    return base_now_ms(base_clock_system());
}

static int left_ms(const struct call *call)
{
    uint64_t now = now_ms();
    if (call->end_ms == UINT64_MAX)
        return -1;
    return now >= call->end_ms ? 0 : (int)(call->end_ms - now);
}

/* Sends once the connection stands. */
static enum lilio_err send_request(const struct call *call, const struct proto_header *header,
                                   const struct proto_type *type, const void *value,
                                   struct lilio_errinfo *info)
{
    while (true) {
        struct proto_header full = *header;
        int left = left_ms(call);
        if (full.deadline_ms == 0 && left > 0)
            full.deadline_ms = (uint32_t)left;
        enum lilio_err err = LILIO_E_UNAVAILABLE;
        if (proto_channel_ready(call->channel))
            err = proto_channel_send(call->channel, &full, type, value, NULL);
        if (err != LILIO_E_UNAVAILABLE && err != LILIO_E_BUSY)
            return err ? lilio_fail(info, err, "%s: %s", type->name, lilio_err_text(err))
                       : LILIO_OK;
        if (left == 0)
            return lilio_fail(info, LILIO_E_UNAVAILABLE, "%s: no connection", type->name);
        struct proto_wait_item item = {.channel = call->channel, .want_ready = true};
        (void)proto_wait(&item, 1, left); /* whatever woke it, the loop looks again */
        struct proto_reply *stale = proto_channel_receive(call->channel);
        proto_reply_free(&stale);
    }
}

static enum lilio_err receive_reply(const struct call *call, const char *name,
                                    struct proto_reply **ret_reply, struct lilio_errinfo *info)
{
    while (true) {
        bool stands = proto_channel_ready(call->channel);
        struct proto_reply *reply;
        while ((reply = proto_channel_receive(call->channel)) != NULL) {
            if (reply->header.sequence == call->sequence) {
                *ret_reply = reply;
                return LILIO_OK;
            }
            proto_reply_free(&reply);
        }
        int left = left_ms(call);
        if (!stands)
            return lilio_fail(info, LILIO_E_OUTCOME_UNKNOWN,
                              "%s: the connection broke before the answer came", name);
        if (left == 0)
            return lilio_fail(info, LILIO_E_OUTCOME_UNKNOWN, "%s: sent, but no answer in time",
                              name);
        struct proto_wait_item item = {.channel = call->channel};
        (void)proto_wait(&item, 1, left); /* whatever woke it, the loop looks again */
    }
}

/* An error reply as our own error. A code that is none of ours is a fault of the peer. */
static enum lilio_err refused(const struct proto_reply *reply, struct proto_arena *arena,
                              struct lilio_errinfo *info)
{
    struct proto_error error;
    enum lilio_err err = proto_error_unpack(reply->body, arena, &error, info);
    if (err)
        return err;
    if (error.code >= 0 || strcmp(lilio_err_name(error.code), "UNKNOWN") == 0)
        return lilio_fail(info, LILIO_E_INTERNAL, "error %d: %.*s", error.code,
                          (int)error.text.size, (const char *)error.text.data);
    if (error.text.size == 0)
        return lilio_fail(info, error.code, "%s", lilio_err_text(error.code));
    return lilio_fail(info, error.code, "%.*s", (int)error.text.size,
                      (const char *)error.text.data);
}

enum lilio_err proto_call(struct proto_channel *channel, const struct proto_header *header,
                          const struct proto_type *type, const void *value,
                          const struct proto_type *reply_type, struct proto_arena *arena,
                          void *ret_value, struct proto_reply **ret_reply, int timeout_ms,
                          struct lilio_errinfo *info)
{
    struct call call = {.channel = channel,
                        .sequence = header->sequence,
                        .end_ms = timeout_ms < 0 ? UINT64_MAX : now_ms() + (uint64_t)timeout_ms};
    struct proto_reply *reply = NULL;
    *ret_reply = NULL;
    memset(ret_value, 0, reply_type->size);
    enum lilio_err err = send_request(&call, header, type, value, info);
    if (!err)
        err = receive_reply(&call, type->name, &reply, info);
    if (err)
        return err;
    if (reply->type == &proto_type_error)
        err = refused(reply, arena, info);
    else if (reply->type != reply_type)
        err = lilio_fail(info, LILIO_E_MALFORMED, "%s was answered with %s", type->name,
                         reply->type->name);
    else
        err = proto_unpack(reply_type, reply->body, arena, ret_value, info);
    if (err)
        proto_reply_free(&reply);
    else
        *ret_reply = reply;
    return err;
}
