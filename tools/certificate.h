/* What a rebuild proved: as text for people, as JSON for the file that is kept. */
#ifndef TOOLS_CERTIFICATE_H
#define TOOLS_CERTIFICATE_H

#include "base/types.h"
#include "tools/out.h"

/* True only when every fragment that the maps expect at the pinned index was read back from the
 * disk after a sync and equals the maps. */
bool tools_certificate_proven(const struct lilio_rebuild *rebuild);
void tools_certificate_print(struct tools_out *out, const struct lilio_rebuild *rebuild);
cJSON *tools_certificate_json(const struct lilio_rebuild *rebuild);
/* Keeps it as FOLDER/certificates/osd.N-INDEX.json, durably; *ret_path is freed by the caller. */
LILIO_MUST_USE enum lilio_err tools_certificate_save(const char *folder,
                                                     const struct lilio_rebuild *rebuild,
                                                     char **ret_path, struct lilio_errinfo *info);

/* What a kept certificate says. */
struct tools_certificate {
    bool proven;
    uint32_t osd, incarnation;
    char cluster_id[37], disk_uuid[37];
    uint64_t index, expected;
};
/* From its text. Errors: CORRUPT (it is not what its digest is of), UNSUPPORTED (another kind, or a
 * newer format), NOMEM. */
LILIO_MUST_USE enum lilio_err tools_certificate_read(struct base_slice text,
                                                     struct tools_certificate *ret,
                                                     struct lilio_errinfo *info);
/* From its file. Errors: as above, and NOT_FOUND, IO, TOO_BIG. */
LILIO_MUST_USE enum lilio_err
tools_certificate_load(const char *path, struct tools_certificate *ret, struct lilio_errinfo *info);

#endif
