/* The state of a get: which fragment of which stripe was asked for, came and verified, and what is
 * still needed to deliver the wanted bytes of one stored run in order.
 *
 * Sans-I/O: events in (peer_set, open, fragment, refused, tick), actions out (next). No clock,
 * socket, thread or log.
 *
 *   fragment: IDLE ──REQUEST──> PENDING ──verified──> GOOD
 *               ^ ^──busy, lost, silent──┘ └──missing, corrupt, refused──> BAD
 *
 * A stripe starts direct: each wanted data fragment is asked for the blocks that hold wanted bytes.
 * As soon as one of them is bad, away, doubtful by the map or late, the stripe turns to decoding:
 * the blocks that any wanted byte needs are asked from as many fragments as it takes, the best OSDs
 * first; what is good first wins. A fragment is GOOD only when its block list matches the checksum
 * in the data row and every received block matches the list; only good blocks are delivered or
 * decoded from.
 *
 * A stripe that cannot be completed from the OSDs that the maps name is searched for
 * (client/search.h): each of its fragments that is bad, or whose OSD cannot be reached, is asked of
 * every OSD of the newest map, for slots that moved more than once leave fragments behind. Only
 * then it fails the get, and as LOST only if everybody said that too few are left.
 *
 * Late: older than max(hedge_ms, 3 x the median of recent answers). Silent: no word from the OSD
 * for silent_ms.
 */
#ifndef CLIENT_GET_MACHINE_H
#define CLIENT_GET_MACHINE_H

#include "base/err.h"
#include "base/types.h"
#include "client/peers.h"
#include "client/plans.h"
#include "proto/messages.h"

struct client_get_config {
    const struct codec_coder *coder; /* of the row's profile; borrowed, as are plans and row */
    struct client_plans *plans;
    const struct proto_data_row *row; /* checked (proto_row_check) */
    uint64_t offset, length;          /* bytes of the run; length > 0, within stored_length */
    uint32_t window;                  /* stripes open at once */
    uint32_t hedge_ms, silent_ms;     /* see above */
    uint32_t patience_ms; /* a stripe waits so long for connections it cannot do without */
    uint32_t busy_ms;     /* a busy OSD is asked so long for a fragment */
    uint64_t seed;        /* of the jitter */
    /* Gives the memory of a received payload back. */
    void (*release)(void *context, void *token);
    void *release_context;
};
enum client_get_action_kind {
    CLIENT_GET_REQUEST, /* ask osd for the blocks of a fragment; report fragment, refused or the
                           lost peer */
    CLIENT_GET_DELIVER, /* the next wanted bytes, borrowed until the next call of the machine */
    CLIENT_GET_SEARCH, /* get the newest map, add every OSD that can hold anything as a peer, report
                          those that are connected, then call client_get_search */
    CLIENT_GET_MAP,    /* an OSD knows a newer map: get it, then call client_get_moved for the open
                          stripes */
};
struct client_get_action {
    enum client_get_action_kind kind;
    uint32_t stripe, index, osd, attempt, first_block, block_count;
    bool elsewhere; /* the map does not name the OSD for this fragment */
    const uint8_t *data;
    size_t size;
};
struct client_get_counts {
    uint32_t degraded_stripes, bad_fragments, slow_fragments;
    uint32_t missing_answers; /* OSDs that said MISSING */
};
struct client_get_machine;

/* Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_get_machine_new(const struct client_get_config *config,
                                                     struct client_get_machine **ret_machine);
/* Releases every token it holds. */
void client_get_machine_free(struct client_get_machine **machine);

/* Makes an OSD known, not connected since then; to be done before a stripe names it. One that is
 * known is left alone. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_get_peer_add(struct client_get_machine *machine, uint32_t osd,
                                                  uint64_t since_ms);
/* The connection to an OSD stands, or broke: what was under way is lost then. Unknown OSDs are
 * ignored. */
void client_get_peer_set(struct client_get_machine *machine, uint32_t osd, bool connected,
                         uint64_t now_ms);
/* True if another stripe is to be opened now, and which. */
bool client_get_room(const struct client_get_machine *machine, uint32_t *ret_stripe);
/* Opens that stripe; places has an entry per fragment. */
void client_get_open(struct client_get_machine *machine, const struct client_place *places,
                     uint64_t now_ms);

/* An OSD sent blocks. True: the machine keeps payload and token until it releases the token; false:
 * they are not wanted. */
bool client_get_fragment(struct client_get_machine *machine, uint32_t stripe, uint32_t index,
                         uint32_t osd, uint32_t attempt, const struct proto_fragment *fragment,
                         struct base_slice payload, void *token, uint64_t now_ms);
/* An OSD, or the way to it, refused. */
void client_get_refused(struct client_get_machine *machine, uint32_t stripe, uint32_t index,
                        uint32_t osd, uint32_t attempt, enum lilio_err err, uint64_t now_ms);
/* Open stripes are [first, end). */
void client_get_stripes(const struct client_get_machine *machine, uint32_t *ret_first,
                        uint32_t *ret_end);
/* The newer map: where the fragments of an open stripe are now. */
void client_get_moved(struct client_get_machine *machine, uint32_t stripe,
                      const struct client_place *places, uint64_t now_ms);
/* Every OSD that may hold fragments, ids in order; each was added. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_get_search(struct client_get_machine *machine,
                                                const uint32_t *osds, size_t count,
                                                uint64_t now_ms);
void client_get_tick(struct client_get_machine *machine, uint64_t now_ms);
/* Time of the next tick after now_ms that may change something; UINT64_MAX if only an event can. */
uint64_t client_get_deadline(const struct client_get_machine *machine, uint64_t now_ms);

/* The next thing to do; false when there is nothing now, but then there may be room for another
 * stripe. */
bool client_get_next(struct client_get_machine *machine, uint64_t now_ms,
                     struct client_get_action *ret_action);

/* OK, or what the get failed with: LOST when too many fragments are missing, corrupt or on blank
 * disks, and every OSD said that it has none of them; UNAVAILABLE when some might still be good,
 * CORRUPT when decoded bytes do not match the row, NOMEM. *info names stripe, fragments, OSDs and
 * reasons. */
enum lilio_err client_get_error(const struct client_get_machine *machine,
                                struct lilio_errinfo *info);
/* Every wanted byte was handed out. */
bool client_get_done(const struct client_get_machine *machine);
void client_get_counts_get(const struct client_get_machine *machine, struct client_get_counts *ret);
/* What shall be reported for repair; borrowed. */
const struct proto_fragment_report *client_get_reports(const struct client_get_machine *machine,
                                                       size_t *ret_count);

#endif
