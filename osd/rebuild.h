/* What a rebuild decides, without I/O: which fragments must be here, how endangered a stripe is,
 * and which fragments of it to read. Pure; any thread.
 */
#ifndef OSD_REBUILD_H
#define OSD_REBUILD_H

#include "codec/codec.h"
#include "proto/placement.h"

/* A stripe's level: how many more of its other fragments may go before ours cannot be rebuilt.
 * Passes go from 0 upward; stripes that seem lost come last, for their OSDs may come back. */
enum { OSD_LEVEL_LOST = CODEC_PARITY_MAX + 1, OSD_LEVELS = CODEC_PARITY_MAX + 2 };

struct codec_profile osd_rebuild_profile(const struct proto_data_row *row);
/* Mask of the fragment indexes of the stripe that OSD self must hold. */
uint64_t osd_rebuild_own(const struct proto_cluster_map *map, const struct proto_data_row *row,
                         uint32_t stripe, uint32_t self);
/* own: the mask above; those are not counted as there. */
unsigned osd_rebuild_level(const struct proto_cluster_map *map, const struct proto_data_row *row,
                           uint32_t stripe, uint64_t own);

/* An OSD that answers, as far as the map knows. */
bool osd_rebuild_is_up(const struct proto_cluster_map *map, uint32_t id);

/* The mending of one fragment: asks for a copy, if there may be one, then for others until they can
 * be decoded. Data fragments of OSDs that are up come first, then parity, then what the maps call
 * missing, slots that fill, and OSDs that are not up. */
struct osd_mend {
    const struct codec_coder *coder;
    uint32_t data_count;
    uint64_t wanted;        /* bit of the fragment to make */
    uint64_t copy;          /* the same while a copy of it is to be asked for, before all else */
    uint64_t first, second; /* not asked yet: likely there, and last resort */
    uint64_t asked;         /* under way */
    uint64_t good;          /* here and verified */
    uint64_t failed;        /* refused, with errs */
    uint64_t passing;       /* of those, the ones that may do better later */
    uint64_t away;          /* and those that may, too, and were waited for before */
    bool searching;         /* everybody is asked, and what was told before stays told */
    uint32_t osds[CODEC_TOTAL_MAX]; /* of the failed ones: who refused; PROTO_OSD_NONE: nobody in
                                       particular */
    enum lilio_err errs[CODEC_TOTAL_MAX];
    unsigned rounds, busy_rounds; /* how often the passing ones were tried again */
};
enum osd_mend_state {
    OSD_MEND_READING, /* something is under way or to be asked */
    OSD_MEND_READY,   /* the good ones decode */
    OSD_MEND_STUCK,   /* they do not, and nobody is left to ask */
};

/* sources: mask of the indexes that may be asked at all; the wanted one itself is, if somebody may
 * have a copy of it. */
void osd_mend_init(struct osd_mend *mend, const struct codec_coder *coder,
                   const struct proto_cluster_map *map, const struct proto_data_row *row,
                   uint32_t stripe, uint32_t index, uint64_t sources);
/* The next fragment to ask for, or -1 when enough are under way or nobody is left. */
int osd_mend_next(struct osd_mend *mend);
/* Whether the copy is here. */
bool osd_mend_copied(const struct osd_mend *mend);
/* A stuck one looks again for everything it has not. */
void osd_mend_search(struct osd_mend *mend);

/* Where a fragment may be: turns 0 and 1 are its OSD and who had its slot before, the likelier one
 * first; the turns behind these are all others that are up. PROTO_OSD_NONE: nobody at this turn.
 * The wanted one is not at its own OSD, which wants it. */
enum { OSD_SOURCE_TURNS = 2 };
uint32_t osd_rebuild_source(const struct proto_cluster_map *map, const struct proto_data_row *row,
                            uint32_t stripe, uint32_t index, bool wanted, size_t turn);
/* How it went: OK, or why the fragment at that OSD is no source. */
void osd_mend_result(struct osd_mend *mend, uint32_t index, uint32_t osd, enum lilio_err err);
/* One that has just failed, by an OSD that others waited for in vain: it is no reason to wait anew,
 * and asked again when there is another one. */
void osd_mend_away(struct osd_mend *mend, uint32_t index);
enum osd_mend_state osd_mend_state(const struct osd_mend *mend);
/* A stuck one may ask those again that may do better later: sets *ret_wait_ms, how long to wait
 * before osd_mend_again. False: give up. */
bool osd_mend_may_again(const struct osd_mend *mend, uint32_t *ret_wait_ms);
void osd_mend_again(struct osd_mend *mend);
/* Writes which sources failed and why: "fragment 2 at osd.3: checksum mismatch; ...". */
void osd_mend_explain(const struct osd_mend *mend, char *ret_text, size_t room);

/* A fragment as it came from a peer, against what the row says it must be: length, block checksums
 * and their checksum. Errors: CORRUPT (says what). */
LILIO_MUST_USE enum lilio_err osd_source_check(const struct proto_fragment *fragment,
                                               struct base_slice payload, uint32_t length,
                                               uint32_t checksum, struct lilio_errinfo *info);

#endif
