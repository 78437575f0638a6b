/* What scrubs found, by name: the first ones of the newest round of each kind. Parity that does not
 * fit is told nowhere else, so what the round before found of it stays until this one comes by. No
 * lock of its own. */
#ifndef OSD_SCRUB_FINDINGS_H
#define OSD_SCRUB_FINDINGS_H

#include "osd/store.h"
#include "proto/messages.h"
#include "proto/pack.h"

enum { OSD_SCRUB_FINDINGS = 64 }; /* as in the schema; further ones are counted */

struct osd_scrub_finding {
    struct proto_scrub_finding at; /* without names */
    char bucket[64], key[OSD_OBJECT_KEY_MAX + 1];
    size_t bucket_size, key_size; /* 0: nobody uses it */
    bool old;                     /* of the round before */
};
struct osd_scrub_findings {
    struct osd_scrub_finding list[OSD_SCRUB_FINDINGS];
    size_t count;
    uint64_t more[2]; /* by kind of round */
};

enum { OSD_SCRUB_FOUND_PARITY = 4 }; /* beside the kinds of reports */

/* A round of this kind (as in the schema) begins. */
void osd_scrub_findings_begin(struct osd_scrub_findings *findings, uint8_t scrub);
/* It looked at everything up to this run. */
void osd_scrub_findings_passed(struct osd_scrub_findings *findings, uint8_t scrub,
                               struct base_oid oid);
/* False: it is there already, for what was taken back is found again. */
bool osd_scrub_findings_keep(struct osd_scrub_findings *findings,
                             const struct proto_scrub_finding *at,
                             const struct proto_scan_row *row);
/* Copies into the arena. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err osd_scrub_findings_list(const struct osd_scrub_findings *findings,
                                                      struct proto_arena *arena,
                                                      struct proto_scrub *ret);

#endif
