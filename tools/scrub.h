/* How scrubs are told: one line per kind for `status`, tables and JSON for `scrub`. */
#ifndef TOOLS_SCRUB_H
#define TOOLS_SCRUB_H

#include "tools/out.h"

/* "light" or "deep". */
const char *tools_scrub_name(enum lilio_scrub_kind kind);
/* A round is under way. */
bool tools_scrub_runs(const struct lilio_scrub *scrub);
/* Fragments looked at in the round under way, per thousand of those it will meet; 1000 only if it
 * is all of them. */
uint32_t tools_scrub_permille(const struct lilio_scrub *scrub);
/* What the last round of each OSD, or the one under way, says of all of them together: how far, how
 * old, how much is bad. Two lines. */
void tools_scrub_summary(struct tools_out *out, const struct lilio_osd *osds, size_t count);
/* An entry per kind, under their names. */
/* of_leader: it knows which deep ones count. */
void tools_scrub_json(cJSON *object, const struct lilio_scrub scrubs[LILIO_SCRUB_KINDS],
                      bool of_leader);

#endif
