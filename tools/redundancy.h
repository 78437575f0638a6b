/* The histogram of redundancy in words: what `status' says of it, and decides by. */
#ifndef TOOLS_REDUNDANCY_H
#define TOOLS_REDUNDANCY_H

#include "tools/out.h"

/* What the histogram and the OSDs come to, in one word. NULL: it could not be had.
 *   lost        bytes are gone: a stripe has too few fragments even if all OSDs come back
 *   unreadable  a stripe has too few fragments now; OSDs that are away may have more
 *   degraded    a stripe has fewer than all, or an OSD that is needed is not up with proven content
 *   verified    none of that, and everything there is was read, by `verify' or by deep scrubs
 *   unverified  none of that is known, which is not the same
 *   unknown     nobody could say */
const char *tools_redundancy_verdict(const struct lilio_redundancy *redundancy,
                                     const struct lilio_status *status);
/* What says best when everything was read: what leaves fewer stripes unverified, of two that leave
 * the same the younger one. */
enum tools_proof { TOOLS_PROOF_NONE, TOOLS_PROOF_VERIFY, TOOLS_PROOF_SCRUBS };
enum tools_proof tools_redundancy_proof(const struct lilio_redundancy *redundancy,
                                        uint64_t now_wall_ms);
/* Deep scrubs read all there was at scrubbed.index. */
bool tools_redundancy_scrubbed(const struct lilio_redundancy *redundancy);
/* A line: what deep scrubs verified, or which OSDs they have to read yet. */
void tools_redundancy_scrubbed_print(struct tools_out *out,
                                     const struct lilio_redundancy *redundancy);
/* The last line of a status in which nothing is bad: when everything was verified, and by what, or
 * what was not. */
void tools_redundancy_proof_print(struct tools_out *out, const struct lilio_redundancy *redundancy,
                                  const struct lilio_status *status);
/* Stripes that are not, or may not be, whole without an OSD that is draining. */
uint64_t tools_redundancy_drain_left(const struct lilio_redundancy *redundancy, uint32_t osd);
/* Whether its drain has ended, and nothing needs it: then it may be away. redundancy NULL: not
 * known. */
bool tools_redundancy_drained(const struct lilio_redundancy *redundancy,
                              const struct lilio_osd *osd);
/* Stripes with fewer than all of their fragments, for whatever reason. */
uint64_t tools_redundancy_short(const struct lilio_redundancy *redundancy);
/* "stripes  40 with 6/6, 2 with 5/6, 0 lost; ...": a line per coding. */
void tools_redundancy_print(struct tools_out *out, const struct lilio_redundancy *redundancy);
void tools_redundancy_json(cJSON *object, const struct lilio_redundancy *redundancy);

#endif
