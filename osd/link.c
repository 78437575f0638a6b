#include "osd/link.h"

#include <stdlib.h>

#include "base/env.h"

#include "base/banned.h"

struct osd_link {
    struct proto_coordinators coordinators;
    struct proto_line line;
    int stop_fds[PROTO_LINE_STOP_FDS];
    struct proto_reply *reply; /* of the last call */
    uint64_t sequence;
};

enum lilio_err osd_link_new(const struct osd_link_options *options, struct osd_link **ret_link)
{
    struct osd_link *link = calloc(1, sizeof *link);
    if (!link)
        return LILIO_E_NOMEM;
    memcpy(link->stop_fds, options->stop_fds, sizeof link->stop_fds);
    proto_coordinators_init(&link->coordinators, options->endpoints, options->endpoint_count);
    struct proto_line_options line = {
        .context = options->context,
        .coordinators = &link->coordinators,
        .seed = base_random_u64(base_random_system()),
        .stop_fds = link->stop_fds,
    };
    proto_line_init(&link->line, &line);
    *ret_link = link;
    return LILIO_OK;
}

void osd_link_free(struct osd_link **link)
{
    if (!*link)
        return;
    proto_reply_free(&(*link)->reply);
    proto_line_release(&(*link)->line);
    proto_coordinators_release(&(*link)->coordinators);
    free(*link);
    *link = NULL;
}

const char *osd_link_endpoint(const struct osd_link *link)
{
    return link->line.endpoint;
}

uint64_t osd_link_epoch(const struct osd_link *link)
{
    return link->line.seen_epoch;
}

struct proto_reply *osd_link_reply_take(struct osd_link *link)
{
    struct proto_reply *reply = link->reply;
    link->reply = NULL;
    return reply;
}

bool osd_link_sleep(struct osd_link *link, int wake_fd, uint32_t timeout_ms)
{
    struct proto_wait_item items[PROTO_LINE_STOP_FDS + 1];
    size_t count = 0;
    for (size_t i = 0; i < PROTO_LINE_STOP_FDS; i++)
        if (link->stop_fds[i] >= 0)
            items[count++] = (struct proto_wait_item){.fd = link->stop_fds[i]};
    size_t stop_count = count;
    if (wake_fd >= 0)
        items[count++] = (struct proto_wait_item){.fd = wake_fd};
    (void)proto_wait(items, count, (int)timeout_ms); /* what woke it is in the items */
    for (size_t i = 0; i < stop_count; i++)
        if (items[i].ret_readable)
            return false;
    return true;
}

enum lilio_err osd_link_call(struct osd_link *link, uint64_t epoch, const struct proto_type *type,
                             const void *value, const struct proto_type *reply_type,
                             struct proto_arena *arena, void *ret_value, uint32_t timeout_ms,
                             struct lilio_errinfo *info)
{
    struct proto_line_call request = {
        .header = {.epoch = epoch, .sequence = ++link->sequence},
        .type = type,
        .value = value,
        .reply_type = reply_type,
        .timeout_ms = timeout_ms,
    };
    struct proto_line_outcome outcome;
    proto_reply_free(&link->reply);
    enum lilio_err err = proto_line_ask(&link->line, &request, arena, ret_value, &outcome, info);
    link->reply = outcome.reply;
    if (err != LILIO_E_TIMEOUT || outcome.reply)
        return err;
    if (info)
        info->err = LILIO_E_UNAVAILABLE;
    return LILIO_E_UNAVAILABLE;
}
