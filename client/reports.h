/* What a look at fragments found and the maps do not know, told to the coordinators in batches. */
#ifndef CLIENT_REPORTS_H
#define CLIENT_REPORTS_H

#include "client/check.h"
#include "client/limits.h"

struct client_reports {
    struct client_control *control; /* borrowed */
    struct proto_fragment_report items[CLIENT_REPORTS_MAX];
    size_t count;
    bool untold; /* some were not taken: the maps do not know all that was found */
};
/* Tells of fragments that are bad although the maps do not know it, and of those that are good
 * again. */
void client_reports_row(struct client_reports *reports, const struct client_check_row *row);
/* Sends what has been collected, best effort: the next look finds it again. */
void client_reports_send(struct client_reports *reports);

#endif
