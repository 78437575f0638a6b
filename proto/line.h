/* A caller's line to the coordinators: asks whom proto/leader.h says until an answer came, the
 * patience is over or the caller wants to stop. A request is repeated as it is, with the same
 * request id; whether that is safe is the caller's matter (reads; changes with a session's
 * sequence; what is idempotent).
 *
 * Threads: a line belongs to one thread at a time; what is known of the coordinators is shared by
 * all lines that were made with it. The lock of proto_coordinators guards its leader, never over
 * I/O.
 */
#ifndef PROTO_LINE_H
#define PROTO_LINE_H

#include <pthread.h>

#include "proto/leader.h"
#include "proto/transport.h"

struct proto_coordinators {
    pthread_mutex_t lock;
    struct proto_leader leader;
};
void proto_coordinators_init(struct proto_coordinators *coordinators, const char *const *endpoints,
                             size_t count);
void proto_coordinators_release(struct proto_coordinators *coordinators);
/* The cluster named one. */
void proto_coordinators_learn(struct proto_coordinators *coordinators, struct base_slice endpoint);
bool proto_coordinators_several(struct proto_coordinators *coordinators);

enum { PROTO_LINE_STOP_FDS = 2, PROTO_LINE_TICK_MS = 100 };

struct proto_line_options {
    struct proto_context *context;
    struct proto_coordinators *coordinators; /* borrowed */
    uint64_t seed;
    /* Asked each PROTO_LINE_TICK_MS at least; may be NULL. */
    bool (*stopped)(void *stop_context);
    void *stop_context;
    const int *stop_fds; /* PROTO_LINE_STOP_FDS of them, -1 = none; readable: stop. May be NULL */
};
struct proto_line {
    struct proto_line_options options;
    struct proto_channel *channel;              /* NULL: none yet */
    char endpoint[PROTO_LEADER_ENDPOINT_BYTES]; /* of the channel, or of the last one */
    uint64_t calls;
    uint64_t seen_epoch; /* the highest any answer named */
};
void proto_line_init(struct proto_line *line, const struct proto_line_options *options);
void proto_line_release(struct proto_line *line);

struct proto_line_call {
    struct proto_header header; /* deadline_ms and type are set by the line */
    const struct proto_type *type;
    const void *value;
    const struct proto_type *reply_type; /* NULL: any answer that is no error */
    uint32_t timeout_ms;
    bool sent_before; /* over another connection, and not answered there */
    bool once; /* not sent again where it may have been taken: that ends the call with TIMEOUT */
};
struct proto_line_outcome {
    struct proto_reply
        *reply;      /* keeps the slices of the value; the caller frees it. NULL: none came */
    bool maybe_done; /* a coordinator may have taken the request, and no answer says what came of
                        it; an error reply may leave that open, too */
};
/* Fills *ret_value (a struct of reply_type), lists in arena. *ret_outcome is set in every case.
 * Errors: UNAVAILABLE (nobody was reached), TIMEOUT (somebody was, but no answer came; *info names
 * who was tried), NOT_LEADER and BUSY (nothing else was heard until the patience was over),
 * CANCELLED (stopped), ADDRESS, NOMEM, MALFORMED, and what was answered. */
LILIO_MUST_USE enum lilio_err proto_line_ask(struct proto_line *line,
                                             const struct proto_line_call *call,
                                             struct proto_arena *arena, void *ret_value,
                                             struct proto_line_outcome *ret_outcome,
                                             struct lilio_errinfo *info);

#endif
