/* How far the scrubs of a disk are: rounds of two kinds, what they found, and the file that
 * remembers it. Pure but for load and save; time comes in. What decides is how long this OSD ran
 * with this disk, a sum kept over restarts; the wall clock only labels.
 *
 * A round goes through the maps by oid. Fragments up to its cursor were met in it, those behind in
 * the round before; so no fragment met by the last complete round was looked at before that began.
 */
#ifndef OSD_SCRUB_ROUND_H
#define OSD_SCRUB_ROUND_H

#include "base/bytes.h"
#include "base/disk.h"
#include "proto/messages.h"

enum osd_scrub_kind { OSD_SCRUB_LIGHT = 0, OSD_SCRUB_DEEP = 1, OSD_SCRUB_KINDS = 2 };

/* Fragments of our slots that the maps named, unless said otherwise. */
struct osd_scrub_counts {
    uint64_t good, bad; /* looked at */
    uint64_t unread;    /* met and not looked at: the maps call them bad, or their slots fill */
    uint64_t gone;      /* deleted between the page of the maps and the look */
    uint64_t bytes;     /* of those looked at */
    uint64_t stripes, stripes_bad, stripes_unread; /* whose parity was to be computed */
};

struct osd_scrub_round {
    /* The one under way. */
    bool running, ordered;
    uint64_t rate; /* ordered: bytes a second at most, 0 = any */
    uint64_t started_ms, started_wall_ms;
    uint64_t index;                    /* of its first page: what was committed up to it is met */
    uint64_t epoch;                    /* of the map then; 0: void, see osd_scrub_round_void */
    uint64_t stripes_ever;             /* committed up to the index */
    struct base_oid cursor;            /* runs up to it are done */
    uint64_t expected, expected_bytes; /* the most that the disk had since it began */
    struct osd_scrub_counts counts;
    /* The last complete one. */
    uint64_t rounds; /* complete ones, 0 = none */
    uint64_t last_started_ms, last_started_wall_ms, last_ended_wall_ms, last_index;
    uint64_t last_epoch, last_stripes_ever; /* 0: not known, or void */
    struct osd_scrub_counts last;
};

struct osd_scrub_state {
    struct base_uuid cluster_id, disk_uuid;
    uint64_t ran_ms; /* in all; times above are of it */
    struct osd_scrub_round rounds[OSD_SCRUB_KINDS];
};

/* ---- rounds ---- */

void osd_scrub_round_begin(struct osd_scrub_round *round, uint64_t fragments, uint64_t bytes,
                           uint64_t ran_ms, uint64_t wall_ms);
/* What the disk holds now: what came since the round began is met by it, too. */
void osd_scrub_round_grow(struct osd_scrub_round *round, uint64_t fragments, uint64_t bytes);
/* Its first page is of these maps. */
void osd_scrub_round_pinned(struct osd_scrub_round *round, uint64_t index, uint64_t epoch,
                            uint64_t stripes_ever);
/* It met a fragment that nobody could look at, and that the maps may call good later though no
 * round read it: in a slot that fills, or of a row that makes no sense. So it proves nothing of all
 * that the OSD has. What the maps call bad is no such fragment: it is good only once it was written
 * anew. */
void osd_scrub_round_void(struct osd_scrub_round *round);
/* It did not begin yet, or may still prove something. */
bool osd_scrub_round_counts(const struct osd_scrub_round *round);
void osd_scrub_round_end(struct osd_scrub_round *round, uint64_t wall_ms);
/* The maps were put back from an earlier time: they may name what was deleted behind the rounds. */
void osd_scrub_void_all(struct osd_scrub_state *state);
/* This may be an older copy of the disk: what a round found bad, or did not read, and was mended
 * since the copy was made is as bad as then. */
void osd_scrub_void_hurt(struct osd_scrub_state *state);
/* The highest index of rounds that prove something; 0: none does. */
uint64_t osd_scrub_index(const struct osd_scrub_state *state);
/* Whether one has to begin by itself. period_ms 0: never. */
bool osd_scrub_round_due(const struct osd_scrub_round *round, uint64_t period_ms, uint64_t ran_ms);

/* ---- coverage ---- */

uint64_t osd_scrub_met(const struct osd_scrub_counts *counts);
/* What it will have met in the end, about; and more than what it met, while it runs. */
uint64_t osd_scrub_expected(const struct osd_scrub_round *round);
/* Fragments looked at per thousand of these; 1000 only if it is all of them. */
uint32_t osd_scrub_permille(uint64_t looked_at, uint64_t of);
/* Until the round ends, from what it did since a moment of it; 0 = no idea. */
uint64_t osd_scrub_eta_ms(const struct osd_scrub_round *round, uint64_t met_before,
                          uint64_t elapsed_ms);

/* ---- pace ---- */

enum { OSD_SCRUB_RATE_MIN = 1 << 20, OSD_SCRUB_SHARE = 5 /* percent of the idle rate */ };

/* Bytes a second with which the round ends in seven eighths of the period; 0 without a period. */
uint64_t osd_scrub_needed(const struct osd_scrub_round *round, uint64_t period_ms, uint64_t ran_ms);
/* How fast it may go: by itself as fast as needed, clients or not; ordered, as fast as ordered, but
 * while clients are served no faster than a share of the idle rate or, if that is more, what is
 * needed. 0 = any. */
uint64_t osd_scrub_limit(const struct osd_scrub_round *round, uint64_t needed, bool clients,
                         uint64_t idle_rate);

/* What reading a fragment counts for at this speed, in bytes: with the others of its stripe that
 * are read for the parity, but when the round goes by itself, whose speed is one of its own bytes.
 */
uint64_t osd_scrub_cost(const struct osd_scrub_round *round, uint64_t length, uint32_t others);

/* ---- the file ---- */

enum { OSD_SCRUB_FILE_BYTES = 8 + 4 + 4 + 16 + 16 + 8 + OSD_SCRUB_KINDS * 8 * 34 + 4 };

void osd_scrub_encode(const struct osd_scrub_state *state, uint8_t ret[OSD_SCRUB_FILE_BYTES]);
/* cluster_id and disk_uuid are set before. What version 1 did not have is 0. Errors: CORRUPT,
 * FORMAT (newer), FOREIGN (another disk's). The rounds are as they were then. */
LILIO_MUST_USE enum lilio_err osd_scrub_decode(struct osd_scrub_state *state,
                                               struct base_slice bytes);
/* Errors: those of decoding, NOT_FOUND, IO, NOMEM. The rounds are as before then. */
LILIO_MUST_USE enum lilio_err osd_scrub_load(struct osd_scrub_state *state, struct base_disk *disk,
                                             struct lilio_errinfo *info);
/* Durable when it returns. */
LILIO_MUST_USE enum lilio_err osd_scrub_save(const struct osd_scrub_state *state,
                                             struct base_disk *disk, struct lilio_errinfo *info);

/* What others are told: RUNS or RESTS, and nothing of periods, rates and times to go. */
enum { OSD_SCRUB_RESTS = 0, OSD_SCRUB_RUNS = 1, OSD_SCRUB_STUCK = 2, OSD_SCRUB_WAITS = 3 };
void osd_scrub_line(const struct osd_scrub_round *round, enum osd_scrub_kind kind, uint64_t wall_ms,
                    uint64_t ran_ms, struct proto_scrub_line *ret);

#endif
