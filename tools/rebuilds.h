/* The rebuilds under way, for `status` and `repair`: the OSDs run them, the coordinators only know
 * whose content is not proven. */
#ifndef TOOLS_REBUILDS_H
#define TOOLS_REBUILDS_H

#include "tools/cmd.h"

enum { TOOLS_REBUILDS_MAX = 16 }; /* more are not asked for */

struct tools_rebuilds {
    struct lilio_rebuild list[TOOLS_REBUILDS_MAX]; /* without failures */
    size_t count;
};

/* Asks each OSD that is up and not proven. One that does not answer counts as having none. */
void tools_rebuilds_get(struct tools_context *context, const struct lilio_status *status,
                        struct tools_rebuilds *ret);
/* A line each. */
void tools_rebuilds_print(struct tools_out *out, const struct tools_rebuilds *rebuilds);
/* "rebuilds": an entry each. */
void tools_rebuilds_json(cJSON *object, const struct tools_rebuilds *rebuilds);

#endif
