/* What a rebuild or a drain proved: as text for people, as JSON for the file that is kept. */
#ifndef TOOLS_CERTIFICATE_H
#define TOOLS_CERTIFICATE_H

#include "base/types.h"
#include "tools/out.h"

/* True only when every fragment that the maps expect at the pinned index was read back from the
 * disk after a sync and equals the maps. */
bool tools_certificate_proven(const struct lilio_rebuild *rebuild);
void tools_certificate_print(struct tools_out *out, const struct lilio_rebuild *rebuild);
/* slots: those the OSD had at the pinned index; NULL: not known. */
cJSON *tools_certificate_json(const struct lilio_rebuild *rebuild,
                              const struct lilio_slot_set *slots);

/* What a drain came to. */
struct tools_drain {
    uint32_t osd, incarnation;
    char cluster_id[37], disk_uuid[37];
    uint64_t index;                      /* of the maps that needed it no more */
    uint64_t made_ms;                    /* since 1970 */
    uint64_t epoch;                      /* of the map when it began */
    struct lilio_slot_set slots;         /* that it had then */
    struct lilio_verify_osd_result held; /* by others, of what it had */
    uint64_t left;                       /* stripes that may need the OSD after that */
    cJSON *bad;                          /* objects of which something is not; owned */
};
void tools_drain_release(struct tools_drain *drain);
/* True only when every fragment it had was read where it is now, and equals the maps, and nothing
 * needed the OSD after that. */
bool tools_drain_proven(const struct tools_drain *drain);
void tools_drain_print(struct tools_out *out, const struct tools_drain *drain);
cJSON *tools_drain_json(const struct tools_drain *drain);

/* Keeps one as FOLDER/certificates/NAME.json, durably; *ret_path is freed by the caller. */
LILIO_MUST_USE enum lilio_err tools_certificate_save(const char *folder, const char *name,
                                                     const cJSON *certificate, char **ret_path,
                                                     struct lilio_errinfo *info);

/* What a kept certificate says. */
struct tools_certificate {
    bool drain; /* not of a rebuild: others have what the OSD had */
    bool proven;
    bool has_slots; /* false: an older one, which does not say which slots it is about */
    struct lilio_slot_set slots;
    uint32_t osd, incarnation;
    char cluster_id[37], disk_uuid[37];
    uint64_t index, expected;
};
void tools_certificate_release(struct tools_certificate *certificate);
/* From its text; to be released. Errors: CORRUPT (it is not what its digest is of), UNSUPPORTED
 * (another kind, or a newer format), NOMEM. */
LILIO_MUST_USE enum lilio_err tools_certificate_read(struct base_slice text,
                                                     struct tools_certificate *ret,
                                                     struct lilio_errinfo *info);
/* From its file. Errors: as above, and NOT_FOUND, IO, TOO_BIG. */
LILIO_MUST_USE enum lilio_err
tools_certificate_load(const char *path, struct tools_certificate *ret, struct lilio_errinfo *info);

#endif
