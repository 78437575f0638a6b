/* Asks OSDs to read fragments from disk and check every block (no bytes travel), several OSDs in
 * parallel, and holds what they say against the data rows. */
#ifndef CLIENT_CHECK_H
#define CLIENT_CHECK_H

#include "client/judge.h"
#include "client/lane.h"
#include "client/object.h"

/* One stored run and what is known of its fragments. */
struct client_check_row {
    struct proto_data_row row; /* checked (proto_row_check); borrowed slices */
    struct client_check_stripe {
        uint64_t good;     /* verified just now */
        uint64_t missing;  /* its OSD says so, or has no disk */
        uint64_t corrupt;  /* fails its checks, or cannot be read from disk */
        uint64_t known;    /* the row calls it missing or corrupt, or its slot fills */
        uint64_t filling;  /* of those, the ones in slots that fill: missing is not said of them */
        uint64_t left_out; /* neither read nor said to be bad */
        uint32_t osds[CODEC_TOTAL_MAX];
        int16_t errs[CODEC_TOTAL_MAX]; /* enum lilio_err; UNAVAILABLE and the like: not read */
    } * stripes;
    uint32_t stripe_count, total_count;
};
/* Takes a checked row; places every fragment by the map. Errors: NOMEM, MALFORMED (no such
 * placement). */
LILIO_MUST_USE enum lilio_err client_check_row_init(struct client_check_row *row,
                                                    const struct proto_cluster_map *map,
                                                    const struct proto_data_row *data,
                                                    struct lilio_errinfo *info);
/* Leaves out what is not asked for (its index says nothing here). Returns how many fragments are
 * left; *ret_elsewhere: of those left out, the ones that others have now. */
uint64_t client_check_row_only(struct client_check_row *row, const struct proto_cluster_map *map,
                               const struct lilio_verify_osd_ask *ask, uint64_t *ret_elsewhere);
void client_check_row_release(struct client_check_row *row);

/* The runs of one object. */
struct client_check_object {
    struct client_check_row *rows;
    struct client_answer *answers; /* keep the memory of the rows */
    size_t count;
};
/* All extents, placed by the map. Errors: those of client_object_row and client_check_row_init. */
LILIO_MUST_USE enum lilio_err client_check_object_init(struct client_check_object *checked,
                                                       struct client_lane *lane,
                                                       const struct client_object *object,
                                                       const struct proto_cluster_map *map,
                                                       struct lilio_errinfo *info);
void client_check_object_release(struct client_check_object *checked);

/* Reads every fragment of the rows. *map_ref is exchanged for a newer map when an OSD knows one.
 * progress (may be NULL) is called with the bytes verified or given up. Errors: CANCELLED, NOMEM,
 * and those of the way to the coordinators; an OSD that does not answer is none: its fragments stay
 * unread. */
LILIO_MUST_USE enum lilio_err client_check_run(struct client_lane *lane,
                                               struct proto_map_ref **map_ref,
                                               struct client_check_row *rows, size_t row_count,
                                               void (*progress)(void *context, uint64_t bytes),
                                               void *context, struct lilio_errinfo *info);

/* What the masks of a row add up to. */
struct client_check_sum {
    uint64_t fragments, good, missing, corrupt, unread, good_bytes;
    struct client_judgement judgement; /* not read is kept, unless known as bad */
};
void client_check_sum_get(const struct client_check_row *row, struct client_check_sum *ret);

#endif
