/* The state of a put: which fragment of which stripe was sent, is durable, or will be missing, and
 * when a stripe is done.
 *
 * Sans-I/O: events in (peer_set, open, stored, refused, tick), actions out (next). No clock,
 * socket, thread or log; bytes are not touched either: the driver (client/put.c, or the simulation)
 * holds the buffers of a slot until CLOSED and sends what SEND names.
 *
 *   open ──> | fragments QUEUED ──SEND──> SENT ──stored──> DURABLE |
 *            |     ^  ^─────busy, connection lost──┘  └──refused──> MISSING |
 *            stripe: below quorum ──> quorum ──all resolved, or the grace is over──> CLOSED
 *
 * A stripe closes when every fragment is resolved, or when `required` are durable and grace_ms
 * passed since; whose fragments were still on the way then is a slow OSD: later stripes do not wait
 * for it, and skip it while it has a window of fragments unanswered. An answer that comes after its
 * stripe closed still counts. A stripe that can no longer reach `required` fails the put.
 */
#ifndef CLIENT_PUT_MACHINE_H
#define CLIENT_PUT_MACHINE_H

#include "base/err.h"
#include "base/types.h"
#include "client/peers.h"

struct client_put_config {
    uint32_t data_count, total_count;
    uint32_t required;    /* durable fragments each stripe needs, 1..total_count */
    uint32_t window;      /* stripes open at once */
    uint32_t stripe_max;  /* stripes of the run */
    uint32_t grace_ms;    /* see above */
    uint32_t patience_ms; /* a fragment needed for quorum waits so long for its OSD's connection */
    uint32_t silent_ms;   /* an OSD that owes an answer and says nothing for so long is given up */
    uint32_t busy_ms;     /* a fragment is offered so long to a busy OSD */
    uint64_t seed;        /* of the jitter */
};
enum client_put_action_kind {
    CLIENT_PUT_SEND, /* send fragment index of the stripe in slot to osd; report stored, refused or
                        the lost peer */
    CLIENT_PUT_CLOSED, /* nothing of the slot will be sent any more: give its buffers back */
    CLIENT_PUT_RESET,  /* osd is silent: drop its connection and what is queued for it, then report
                          it lost */
    CLIENT_PUT_MAP,    /* an OSD knows a newer map: get it, then call client_put_moved for the open
                          slots */
};
struct client_put_action {
    enum client_put_action_kind kind;
    uint32_t slot, stripe, index, osd, attempt;
};
struct client_put_machine;

/* Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_put_machine_new(const struct client_put_config *config,
                                                     struct client_put_machine **ret_machine);
void client_put_machine_free(struct client_put_machine **machine);

/* Makes an OSD known, not yet connected; to be done before a stripe names it. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_put_peer_add(struct client_put_machine *machine, uint32_t osd,
                                                  uint64_t now_ms);
/* The connection to an OSD stands, or broke: what was under way is lost then. Unknown OSDs are
 * ignored. */
void client_put_peer_set(struct client_put_machine *machine, uint32_t osd, bool connected,
                         uint64_t now_ms);
/* True if another stripe may be opened now. */
bool client_put_room(const struct client_put_machine *machine);
/* Opens the next stripe (0, 1, 2, ...); places has total_count entries. Returns its slot, below
 * window. */
uint32_t client_put_open(struct client_put_machine *machine, const struct client_place *places,
                         uint64_t now_ms);
/* No further stripe will come. */
void client_put_finish(struct client_put_machine *machine, uint64_t now_ms);

/* An OSD acknowledged a fragment as durable under the map of epoch. */
void client_put_stored(struct client_put_machine *machine, uint32_t stripe, uint32_t index,
                       uint32_t osd, uint64_t epoch, uint64_t now_ms);
/* An OSD, or the way to it, refused a fragment. Attempts other than the latest are ignored. */
void client_put_refused(struct client_put_machine *machine, uint32_t stripe, uint32_t index,
                        uint32_t osd, uint32_t attempt, enum lilio_err err, uint64_t now_ms);
/* The newer map: where the fragments of the slot belong now. */
void client_put_moved(struct client_put_machine *machine, uint32_t slot,
                      const struct client_place *places, uint64_t now_ms);
/* Stripe in an open slot; false if the slot is free. */
bool client_put_slot(const struct client_put_machine *machine, uint32_t slot, uint32_t *ret_stripe);
void client_put_tick(struct client_put_machine *machine, uint64_t now_ms);
/* Time of the next tick that may change something; UINT64_MAX if only an event can. */
uint64_t client_put_deadline(const struct client_put_machine *machine);

/* The next thing to do; false when there is nothing now. Taking SEND counts as sent at now_ms. */
bool client_put_next(struct client_put_machine *machine, uint64_t now_ms,
                     struct client_put_action *ret_action);

/* OK, or what the put failed with; *info names stripe, OSDs and reasons. */
enum lilio_err client_put_error(const struct client_put_machine *machine,
                                struct lilio_errinfo *info);
/* True when all stripes are closed after finish, and stragglers answered or had their grace. */
bool client_put_done(const struct client_put_machine *machine, uint64_t now_ms);
/* Results: mask of durable fragments of a closed stripe; fewest of all; lowest epoch of an
 * acknowledgement. */
uint64_t client_put_durable(const struct client_put_machine *machine, uint32_t stripe);
uint32_t client_put_durable_min(const struct client_put_machine *machine);
uint64_t client_put_lowest_epoch(const struct client_put_machine *machine);
uint32_t client_put_stripe_count(const struct client_put_machine *machine);

#endif
