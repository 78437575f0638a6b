#include "osd/link.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"

#include "base/banned.h"

enum { REDIRECTS_MAX = 4, ENDPOINT_BYTES_MAX = 256, STOP_FDS = 2 };

struct osd_link {
    struct osd_link_options options;
    size_t current;                    /* of the endpoints */
    char endpoint[ENDPOINT_BYTES_MAX]; /* spoken to: one of them or where the leader was said to be
                                        */
    struct proto_channel *channel;
    struct proto_reply *reply; /* of the last call */
    uint64_t sequence;
};

enum lilio_err osd_link_new(const struct osd_link_options *options, struct osd_link **ret_link)
{
    struct osd_link *link = calloc(1, sizeof *link);
    if (!link)
        return LILIO_E_NOMEM;
    link->options = *options;
    (void)snprintf(link->endpoint, sizeof link->endpoint, "%s", options->endpoints[0]);
    *ret_link = link;
    return LILIO_OK;
}

void osd_link_free(struct osd_link **link)
{
    if (!*link)
        return;
    proto_reply_free(&(*link)->reply);
    proto_channel_free(&(*link)->channel);
    free(*link);
    *link = NULL;
}

const char *osd_link_endpoint(const struct osd_link *link)
{
    return link->endpoint;
}

struct proto_reply *osd_link_reply_take(struct osd_link *link)
{
    struct proto_reply *reply = link->reply;
    link->reply = NULL;
    return reply;
}

static uint64_t now_ms(void)
{
    return base_now_ms(base_clock_system());
}

/* The next call goes to the next coordinator. */
static void move_on(struct osd_link *link)
{
    proto_channel_free(&link->channel);
    link->current = (link->current + 1) % link->options.endpoint_count;
    (void)snprintf(link->endpoint, sizeof link->endpoint, "%s",
                   link->options.endpoints[link->current]);
}

/* Waits for the channel (NULL: for nothing else), a stop descriptor or wake_fd. False: stop. */
static bool wait_or_stop(struct osd_link *link, struct proto_wait_item first, int timeout_ms)
{
    struct proto_wait_item items[STOP_FDS + 1];
    size_t count = 0;
    for (size_t i = 0; i < STOP_FDS; i++)
        if (link->options.stop_fds[i] >= 0)
            items[count++] = (struct proto_wait_item){.fd = link->options.stop_fds[i]};
    size_t stops = count;
    if (first.channel || first.fd >= 0)
        items[count++] = first;
    (void)proto_wait(items, count, timeout_ms); /* what woke it is in the items */
    for (size_t i = 0; i < stops; i++)
        if (items[i].ret_readable)
            return false;
    return true;
}

bool osd_link_sleep(struct osd_link *link, int wake_fd, uint32_t timeout_ms)
{
    return wait_or_stop(link, (struct proto_wait_item){.fd = wake_fd}, (int)timeout_ms);
}

/* One call on the present channel. The reply is kept in the link. */
struct attempt {
    struct proto_header header;
    const struct proto_type *type;
    const void *value;
    uint64_t end_ms;
};

static int left_ms(const struct attempt *attempt)
{
    uint64_t now = now_ms();
    return now >= attempt->end_ms ? 0 : (int)(attempt->end_ms - now);
}

static enum lilio_err unavailable(const struct osd_link *link, const char *what,
                                  struct lilio_errinfo *info)
{
    return lilio_fail(info, LILIO_E_UNAVAILABLE, "coordinator at %.200s: %s", link->endpoint, what);
}

static enum lilio_err stopped(struct lilio_errinfo *info)
{
    return lilio_fail(info, LILIO_E_CANCELLED, "stopped");
}

static enum lilio_err attempt_send(struct osd_link *link, struct attempt *attempt,
                                   struct lilio_errinfo *info)
{
    while (true) {
        enum lilio_err err = LILIO_E_UNAVAILABLE;
        int left = left_ms(attempt);
        attempt->header.deadline_ms = (uint32_t)left;
        if (proto_channel_ready(link->channel))
            err = proto_channel_send(link->channel, &attempt->header, attempt->type, attempt->value,
                                     NULL);
        if (err != LILIO_E_UNAVAILABLE && err != LILIO_E_BUSY)
            return err ? lilio_fail(info, err, "%s cannot be sent", attempt->type->name) : LILIO_OK;
        if (left == 0)
            return unavailable(link, "no connection", info);
        struct proto_wait_item item = {.channel = link->channel, .fd = -1, .want_ready = true};
        if (!wait_or_stop(link, item, left))
            return stopped(info);
        struct proto_reply *stale = proto_channel_receive(link->channel);
        proto_reply_free(&stale);
    }
}

static enum lilio_err attempt_receive(struct osd_link *link, struct attempt *attempt,
                                      struct lilio_errinfo *info)
{
    while (true) {
        bool stands = proto_channel_ready(link->channel);
        while ((link->reply = proto_channel_receive(link->channel)) != NULL) {
            if (link->reply->header.sequence == attempt->header.sequence)
                return LILIO_OK;
            proto_reply_free(&link->reply);
        }
        int left = left_ms(attempt);
        if (!stands || left == 0)
            return unavailable(link, stands ? "no answer in time" : "the connection broke", info);
        if (!wait_or_stop(link, (struct proto_wait_item){.channel = link->channel, .fd = -1}, left))
            return stopped(info);
    }
}

/* What an error reply says. *ret_again: the leader is elsewhere, ask there. */
static enum lilio_err refusal(struct osd_link *link, struct proto_arena *arena, bool *ret_again,
                              struct lilio_errinfo *info)
{
    struct proto_error error;
    enum lilio_err err = proto_error_unpack(link->reply->body, arena, &error, info);
    if (err)
        return err;
    if (error.code == LILIO_E_NOT_LEADER && error.leader.size > 0 &&
        error.leader.size < sizeof link->endpoint) {
        (void)snprintf(link->endpoint, sizeof link->endpoint, "%.*s", (int)error.leader.size,
                       (const char *)error.leader.data);
        proto_channel_free(&link->channel);
        *ret_again = true;
    }
    if (error.code >= 0)
        return lilio_fail(info, LILIO_E_MALFORMED, "an error that is none (%d)", error.code);
    return lilio_fail(info, error.code, "%.*s", (int)error.text.size,
                      (const char *)error.text.data);
}

static enum lilio_err attempt_make(struct osd_link *link, struct attempt *attempt,
                                   struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    attempt->header.sequence = ++link->sequence;
    if (!link->channel)
        err = proto_channel_new(link->options.context, link->endpoint, &link->channel, info);
    if (!err)
        err = attempt_send(link, attempt, info);
    if (!err)
        err = attempt_receive(link, attempt, info);
    if (err && err != LILIO_E_CANCELLED)
        move_on(link);
    return err;
}

enum lilio_err osd_link_call(struct osd_link *link, uint64_t epoch, const struct proto_type *type,
                             const void *value, const struct proto_type *reply_type,
                             struct proto_arena *arena, void *ret_value, uint32_t timeout_ms,
                             struct lilio_errinfo *info)
{
    struct attempt attempt = {
        .header = {.epoch = epoch},
        .type = type,
        .value = value,
        .end_ms = now_ms() + timeout_ms,
    };
    for (int redirects = 0;; redirects++) {
        bool again = false;
        proto_reply_free(&link->reply);
        enum lilio_err err = attempt_make(link, &attempt, info);
        if (err)
            return err;
        if (link->reply->type == &proto_type_error)
            err = refusal(link, arena, &again, info);
        else if (reply_type && link->reply->type != reply_type)
            err = lilio_fail(info, LILIO_E_MALFORMED, "%s was answered with %s", type->name,
                             link->reply->type->name);
        else if (reply_type)
            err = proto_unpack(reply_type, link->reply->body, arena, ret_value, info);
        if (!again || redirects == REDIRECTS_MAX)
            return err;
    }
}
