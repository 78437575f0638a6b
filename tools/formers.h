/* Fragments that an OSD has of slots other OSDs have now, and why they are kept. */
#ifndef TOOLS_FORMERS_H
#define TOOLS_FORMERS_H

#include "tools/out.h"

/* "osd.3 has 120 fragments, 7.8 MB, of slots that other OSDs have now: ..."; nothing if it has
 * none. title begins the line. */
void tools_formers_print(struct tools_out *out, const char *title,
                         const struct lilio_orphans *orphans);
/* Members of an OSD's object; nulls before the OSD has looked. */
void tools_formers_json(cJSON *object, const struct lilio_orphans *orphans);

#endif
