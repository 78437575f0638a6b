/* What a put or get machine knows of the OSDs it talks to. Part of the machines: no clock, no I/O.
 */
#ifndef CLIENT_PEERS_H
#define CLIENT_PEERS_H

#include "base/err.h"
#include "base/types.h"

struct client_peer {
    uint32_t osd;
    bool connected;
    bool slow;            /* put: missed a grace. get: was silent */
    bool reset;           /* to be handed out as an action */
    uint32_t outstanding; /* requests without an answer */
    uint64_t heard_ms;    /* last answer, or when the connection came */
    uint64_t lost_ms;     /* since when there is no connection */
};
/* Where a fragment belongs, as the map and the run's exceptions say. */
struct client_place {
    uint32_t osd;
    enum lilio_err err; /* OK, or why nothing can be written to or read from there */
    uint32_t rank;      /* get: 0 ask first, 1 doubtful (suspect, content not proven), 2 last resort
                           (down, known bad) */
    bool known_bad;     /* the maps say that it is missing or corrupt */
    bool filling;       /* get: the OSD may not have it yet; that is no news */
    bool has_other;     /* get: if it is not there, `other` may still have it */
    uint32_t other;
};
struct client_peers {
    struct client_peer *list; /* by OSD id */
    size_t count, capacity;
};
/* NULL if the OSD was never added. The pointer holds until the next add. */
struct client_peer *client_peers_find(const struct client_peers *peers, uint32_t osd);
/* Finds or adds. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_peers_add(struct client_peers *peers, uint32_t osd,
                                               uint64_t now_ms, struct client_peer **ret_peer);
void client_peers_release(struct client_peers *peers);

/* A pause before attempt number attempt (from 0): doubling, bounded, with jitter from *state. */
uint64_t client_backoff_ms(uint32_t attempt, uint64_t *state);

#endif
