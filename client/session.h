/* The client's registration at the coordinators: opened with the first change, kept alive by a
 * thread, and with it the leases on versions that are being read. Any thread.
 *
 * A session is counted: a call holds the one it began with, even if it expired and another one was
 * opened meanwhile; its commit is then refused (SESSION_CLOSED), never done twice.
 */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H

#include "client/control.h"

struct client_session;

/* The open session, or a new one, asked for over control. Errors: those of the way to the
 * coordinators. */
LILIO_MUST_USE enum lilio_err client_session_take(struct lilio_client *client,
                                                  struct client_control *control,
                                                  struct client_session **ret_session,
                                                  struct lilio_errinfo *info);
void client_session_drop(struct client_session **session);
uint64_t client_session_id(const struct client_session *session);
/* Objects up to so many bytes may travel in COMMIT; 0 = none. */
uint32_t client_session_inline_max(const struct client_session *session);
/* The coordinators did not take one: no more in this session. */
void client_session_inline_refused(struct client_session *session);
/* An id that was never given out before. */
struct base_oid client_session_oid(struct client_session *session);
/* A coordinator said that this session is closed: the next change opens a new one. */
void client_session_closed(struct lilio_client *client, struct client_session *session);

/* A request id; done when its answer was read or nobody waits for it any more. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_session_ticket(struct client_session *session,
                                                    struct client_ticket *ret_ticket);
void client_session_ticket_done(struct client_session *session, const struct client_ticket *ticket);

/* Keeps a version from collection while it is read; told to the coordinators at once and with each
 * renewal. False if too many are held: the read goes on without. */
bool client_lease_take(struct lilio_client *client, struct lilio_version version);
void client_lease_drop(struct lilio_client *client, struct lilio_version version);

/* Stops the thread and closes the session at the coordinators (best effort). No call may be under
 * way. */
void client_session_end(struct lilio_client *client);

#endif
