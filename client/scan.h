/* A walk over the runs of the maps as of one applied index, page by page. */
#ifndef CLIENT_SCAN_H
#define CLIENT_SCAN_H

#include "client/control.h"

struct client_scan {
    struct client_control *control;
    uint64_t bucket_id; /* 0 = all */
    uint64_t id;
    struct proto_scan opened; /* as it was opened first */
};
LILIO_MUST_USE enum lilio_err client_scan_open(struct client_scan *scan,
                                               struct client_control *control, uint64_t bucket_id,
                                               struct lilio_errinfo *info);
/* The page behind a run. A walk is known to the leader that pinned it: behind another one it is
 * opened anew, and goes on where it was. Whatever was there at the first index and still is, is in
 * it. */
LILIO_MUST_USE enum lilio_err client_scan_page(struct client_scan *scan, struct base_oid after,
                                               struct proto_scan_page *ret_page,
                                               struct client_answer *answer,
                                               struct lilio_errinfo *info);
/* All pages; an error of `each' ends it. */
LILIO_MUST_USE enum lilio_err
client_scan_walk(struct client_scan *scan,
                 enum lilio_err (*each)(void *context, const struct proto_scan_page *page),
                 void *context, struct lilio_errinfo *info);
/* Best effort: it lapses otherwise. One that was never opened is fine. */
void client_scan_close(struct client_scan *scan);

#endif
