/* One caller's line to the coordinators (proto/line.h): the leader that one line found is asked
 * first by all of this client. Belongs to one thread at a time. The same line to one certain daemon
 * serves ping and rebuild.
 *
 * Reads may be repeated freely; a change carries a ticket (session, sequence) by which the
 * coordinators answer a repetition with the first one's result.
 */
#ifndef CLIENT_CONTROL_H
#define CLIENT_CONTROL_H

#include "client/client_priv.h"

struct client_control {
    struct lilio_client *client;
    struct proto_line line;
    char who[32];                     /* the daemon that is asked; empty: the coordinators */
    struct proto_coordinators daemon; /* that one */
    uint64_t sequence;
    uint64_t until_ms;  /* calls without a timeout of their own end by then; 0 = each has one */
    bool ignore_cancel; /* of the call at hand */
    const _Atomic bool *stop; /* may be NULL; true ends a call under way with CANCELLED */
};
/* The control stays where it is until released. */
void client_control_init(struct client_control *control, struct lilio_client *client);
/* A line to one daemon ("osd.3") at its endpoint. */
void client_control_init_daemon(struct client_control *control, struct lilio_client *client,
                                const char *who, const char *endpoint);
/* The same to an OSD, at the address the map has or else the configuration. Errors: NOT_FOUND, and
 * those of reading the map. */
LILIO_MUST_USE enum lilio_err client_control_osd(struct lilio_client *client, uint32_t osd,
                                                 struct client_control *ret_control,
                                                 struct lilio_errinfo *info);
void client_control_release(struct client_control *control);

/* From now on calls share one timeout of the client's, until it is ended: steps of one thing that
 * the caller waits for. */
void client_control_patience(struct client_control *control);
void client_control_patience_end(struct client_control *control);
/* What is left for the next call. */
uint32_t client_control_left_ms(const struct client_control *control);

/* Holds the memory of an unpacked answer. Zero-initialise. */
struct client_answer {
    struct proto_reply *reply;
    struct proto_arena *arena;
};
void client_answer_release(struct client_answer *answer);

/* Identity of a change; made by client_session_ticket. */
struct client_ticket {
    uint64_t session, sequence, answered_below;
};
/* The header of the next request; without a ticket it is a read. */
struct proto_header client_control_header(struct client_control *control,
                                          const struct client_ticket *ticket);
struct client_call {
    const struct proto_type *type;
    const void *value;
    const struct proto_type *reply_type;
    const struct client_ticket *ticket; /* NULL: a read */
    uint32_t timeout_ms;                /* 0 = the client's */
    bool sent_before;                   /* over another connection, without an answer so far */
    bool once;          /* never sent again where it may have been taken: then OUTCOME_UNKNOWN */
    bool ignore_cancel; /* clean-up goes on although the caller cancelled */
};
/* Fills *ret_value (a struct of reply_type), whose slices and lists live until *answer is released.
 * Errors: UNAVAILABLE (no connection, or no leader), TIMEOUT (a read without answer),
 * OUTCOME_UNKNOWN (a change that may have been done, whatever was met afterwards, unless an answer
 * to its request id decides), CANCELLED, and what the coordinator answered. */
LILIO_MUST_USE enum lilio_err client_control_call(struct client_control *control,
                                                  const struct client_call *call, void *ret_value,
                                                  struct client_answer *answer,
                                                  struct lilio_errinfo *info);
/* A request whose answer changes nothing for the caller: best effort, its failure has been thought
 * of. Whether it was taken. */
bool client_control_tell(struct client_control *control, const struct client_call *call);
/* A change in the client's session, opening one if need be; answers whose reply has slices need
 * client_control_call. If the session turns out to be closed, nothing was done: one more try with a
 * new one. */
LILIO_MUST_USE enum lilio_err
client_control_change(struct client_control *control, const struct proto_type *type,
                      const void *value, const struct proto_type *reply_type, void *ret_value,
                      struct client_answer *answer, struct lilio_errinfo *info);

#endif
