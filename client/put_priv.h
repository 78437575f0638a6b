/* One put under way, shared by the files that carry it out: put_inline.c (a small object in one
 * message), put_stripes.c (bytes into coded stripes), put_runs.c (runs and what the maps shall say
 * of them), put_writer.c (stripes onto OSDs), put.c (the beginning and the end). */
#ifndef CLIENT_PUT_PRIV_H
#define CLIENT_PUT_PRIV_H

#include "client/lane.h"
#include "client/put_machine.h"
#include "client/session.h"

enum { CLIENT_ROW_STAGED = 1, CLIENT_ROW_COMMITTED = 2 };

/* A stripe in memory. */
struct client_stripe {
    void *fragments[CODEC_TOTAL_MAX]; /* buffers of the lane's pool; NULL: none held */
    uint64_t length;                  /* user bytes */
    uint32_t fragment_size, partition;
    uint32_t *sums[CODEC_TOTAL_MAX]; /* block checksums */
};
struct client_putter {
    struct lilio_client *client;
    const char *key;
    const struct lilio_source *source;
    const struct lilio_put_options *options;
    struct client_lane *lane;
    struct proto_map_ref *map_ref;
    const struct proto_cluster_map *map;
    struct client_session *session;
    struct client_bucket bucket;
    const struct codec_coder *coder;
    uint32_t total_count, required, window, stripe_max;

    struct client_stripe *stripes; /* window + 1 of them: per slot, and the one being filled */
    uint32_t *sums;                /* of all of them */
    struct client_stripe **slots;  /* per slot of the machine; NULL = free */
    struct client_stripe *next;    /* read and encoded, not yet opened; NULL = none */

    struct client_put_machine *machine; /* of the run at hand */
    struct base_oid oid;
    uint64_t run_length;
    struct base_buffer row_sums; /* checksums of its data row */

    struct proto_extent extents[CLIENT_EXTENTS_MAX]; /* runs that are written */
    uint32_t stripe_counts[CLIENT_EXTENTS_MAX];
    uint32_t extent_count;
    uint64_t lowest_epoch;
    uint32_t durable_min;

    uint8_t *head; /* what was read to see whether the object is small; NULL = nothing */
    size_t head_size, head_at; /* head_at: what of it is in stripes by now */
    bool small;                /* head is the whole object and travels in COMMIT */

    uint64_t size, closed_bytes; /* read; in stripes that are durable */
    uint32_t crc;
    bool ended;        /* there is no more to read */
    bool dry;          /* nor in the source itself */
    bool starved;      /* no buffers for the next stripe: too many are still on their way */
    uint64_t moved_ms; /* when anything last went on */
    struct lilio_errinfo *info;
};

/* ---- put_inline.c ---- */

/* Reads an object that may be small as far as it takes to know; put->small tells. Errors: INVALID
 * (the source ended early), NOMEM, CANCELLED, and the source's. */
LILIO_MUST_USE enum lilio_err client_putter_look(struct client_putter *put);
/* The coordinators do not take it: it goes into fragments like any other. */
void client_putter_look_undo(struct client_putter *put);

/* ---- put_stripes.c ---- */

/* Window, fragment buffers (kept by the lane) and stripe descriptions. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_putter_reserve(struct client_putter *put);
/* Gives the buffers of a stripe back. */
void client_putter_drop(struct client_putter *put, struct client_stripe *stripe);
/* Up to size bytes of what comes next; fewer only at the end. */
LILIO_MUST_USE enum lilio_err client_putter_read(struct client_putter *put, void *buffer,
                                                 size_t size, size_t *ret_size);
/* Reads and encodes the next stripe into put->next; leaves it NULL at the end of the source, or
 * while there is no buffer. */
LILIO_MUST_USE enum lilio_err client_putter_fill(struct client_putter *put);

/* ---- put_runs.c ---- */

/* Notes a new run as an extent of the object, from which failure discards it. Errors: TOO_BIG,
 * NOMEM. */
LILIO_MUST_USE enum lilio_err client_putter_run_begin(struct client_putter *put);
/* The data row of the run at hand; ret_row->exceptions is freed with free(). Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_putter_run_describe(struct client_putter *put, uint8_t state,
                                                         struct proto_data_row *ret_row);
/* Registers a full run ahead of COMMIT. */
LILIO_MUST_USE enum lilio_err client_putter_run_stage(struct client_putter *put);

/* ---- put_writer.c ---- */

/* All stripes of the object, run by run. */
LILIO_MUST_USE enum lilio_err client_putter_write(struct client_putter *put);

/* ---- put.c ---- */

/* A request that belongs to the put's own session: its runs live and die with that. last_words:
 * sent although the caller cancelled, and not for long. */
LILIO_MUST_USE enum lilio_err client_putter_change(struct client_putter *put,
                                                   const struct proto_type *type, const void *value,
                                                   const struct proto_type *reply_type,
                                                   void *ret_value, bool last_words,
                                                   struct lilio_errinfo *info);

#endif
