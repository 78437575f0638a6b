/* Blocking calls to the coordinators, for the heartbeat and the rebuild worker: a line
 * (proto/line.h) that finds the leader, repeats a call until its time is over, and returns at once
 * when asked to stop.
 *
 * Threads: one at a time. Everything an OSD asks is idempotent, so a call without an answer is
 * UNAVAILABLE and may simply be repeated.
 */
#ifndef OSD_LINK_H
#define OSD_LINK_H

#include "proto/line.h"

struct osd_link;

struct osd_link_options {
    struct proto_context *context;
    const char *const *endpoints; /* borrowed, at least one */
    size_t endpoint_count;
    int stop_fds[PROTO_LINE_STOP_FDS]; /* calls end with CANCELLED while one is readable; -1 = none
                                        */
};
LILIO_MUST_USE enum lilio_err osd_link_new(const struct osd_link_options *options,
                                           struct osd_link **ret_link);
void osd_link_free(struct osd_link **link);

/* Sends value and unpacks the answer; epoch goes into the header. Lists of *ret_value are in the
 * arena, slices in the answer, which the link keeps until the next call. reply_type NULL: any
 * answer that is no error will do. Errors: UNAVAILABLE (names whom it tried), CANCELLED, and what
 * was answered. */
LILIO_MUST_USE enum lilio_err osd_link_call(struct osd_link *link, uint64_t epoch,
                                            const struct proto_type *type, const void *value,
                                            const struct proto_type *reply_type,
                                            struct proto_arena *arena, void *ret_value,
                                            uint32_t timeout_ms, struct lilio_errinfo *info);
/* The answer of the last call, to be freed by the caller: keeps its slices alive. */
struct proto_reply *osd_link_reply_take(struct osd_link *link);
/* Sleeps until the timeout, or until a stop descriptor or wake_fd (-1 = none) is readable. False
 * when it is to stop. */
bool osd_link_sleep(struct osd_link *link, int wake_fd, uint32_t timeout_ms);
/* The coordinator spoken to, for log lines. */
const char *osd_link_endpoint(const struct osd_link *link);
/* The highest epoch any answer named. */
uint64_t osd_link_epoch(const struct osd_link *link);

#endif
