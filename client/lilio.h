/* liblilio: the client library of lilio-ec, an erasure-coded object store.
 *
 * A client finds the cluster, keeps a session and the cluster map, and moves object bytes straight
 * between the caller and the OSDs; a coordinator only sees names and checksums. All calls block
 * until they are done or failed; a client may be used from several threads at once (each call under
 * way has connections of its own). Memory is bounded by window_bytes per call, whatever the
 * object's size.
 *
 * Every function returns `enum lilio_err` (0 = LILIO_OK, see lilio/err.h); *info (may be NULL) gets
 * a sentence for humans. ret_ arguments are untouched on failure. Strings in results are owned by
 * the result and freed by its release function.
 */
#ifndef CLIENT_LILIO_H
#define CLIENT_LILIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "base/err.h"

struct lilio_client;

struct lilio_options {
    const char *config_path; /* lilio.yaml; NULL: $LILIO_CONFIG, then ./lilio.yaml */
    const char *label; /* who this is, for the coordinators' session list; NULL = program name */
    /* Longest silence before a call fails; 0 = 10000. A put waits so long for the coordinators
     * before it writes, and so long again for its commit. */
    uint32_t timeout_ms;
    uint64_t window_bytes; /* fragment bytes in flight per call; 0 = 32 MiB, at least one stripe */
    /* Asked now and then during a call; true makes it end with LILIO_E_CANCELLED, leaving nothing
     * behind. May be NULL. */
    bool (*cancelled)(void *context);
    void *cancelled_context;
};
/* Reads the configuration; contacts nobody yet. options may be NULL. Errors: CONFIG, NOT_FOUND,
 * NOMEM. */
LILIO_MUST_USE enum lilio_err lilio_open(const struct lilio_options *options,
                                         struct lilio_client **ret_client,
                                         struct lilio_errinfo *info);
/* Ends the session. No call may be under way. */
void lilio_close(struct lilio_client **client);

/* ---- buckets ---- */

struct lilio_profile {
    uint32_t data_count, parity_count;
    uint32_t fragment_size; /* bytes; 0 = default (1 MiB) */
};
struct lilio_bucket {
    char name[64];
    uint64_t id;
    struct lilio_profile profile;
    uint32_t quorum; /* 0 = default */
    uint64_t created_ms, object_count, object_bytes;
};
/* profile NULL = the cluster's default. Errors: EXISTS, INVALID (name, profile, more fragments than
 * OSDs, quorum). */
LILIO_MUST_USE enum lilio_err lilio_bucket_create(struct lilio_client *client, const char *name,
                                                  const struct lilio_profile *profile,
                                                  uint32_t quorum, struct lilio_bucket *ret_bucket,
                                                  struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err lilio_bucket_get(struct lilio_client *client, const char *name,
                                               struct lilio_bucket *ret_bucket,
                                               struct lilio_errinfo *info);
/* Errors: NO_BUCKET, NOT_EMPTY. */
LILIO_MUST_USE enum lilio_err lilio_bucket_delete(struct lilio_client *client, const char *name,
                                                  struct lilio_errinfo *info);
/* *ret_buckets is an array freed with free(). */
LILIO_MUST_USE enum lilio_err lilio_bucket_list(struct lilio_client *client,
                                                struct lilio_bucket **ret_buckets,
                                                size_t *ret_count, struct lilio_errinfo *info);

/* ---- objects ---- */

struct lilio_version {
    uint64_t index; /* 0 = none */
    uint32_t ordinal;
};
/* A key is 1..1024 bytes of UTF-8 without NUL; nothing in it has a meaning. */
struct lilio_attribute {
    const char *name;  /* "content-type", "meta:NAME": 1..256 bytes of UTF-8, each name once */
    const char *value; /* UTF-8 of at most 4096 bytes; all attributes together at most 8192 */
};
struct lilio_progress {
    void (*report)(void *context, uint64_t done_bytes,
                   uint64_t total_bytes /* UINT64_MAX = unknown */);
    void *context;
};

/* Where a put takes its bytes: fills buffer with up to size bytes; *ret_size 0 = end. Called on the
 * caller's thread. The buffer is the fragment that is sent: nothing is copied after it. */
struct lilio_source {
    enum lilio_err (*read)(void *context, void *buffer, size_t size, size_t *ret_size,
                           struct lilio_errinfo *info);
    void *context;
    uint64_t size; /* bytes to come, for progress and a check; UINT64_MAX = unknown */
};
struct lilio_put_options {
    bool if_absent;
    bool no_inline; /* into fragments, even if it is small enough for the coordinators to keep */
    struct lilio_version if_version; /* index 0 = no condition */
    const struct lilio_attribute *attributes;
    size_t attribute_count;
    struct lilio_progress progress;
};
struct lilio_put_result {
    struct lilio_version version;
    uint64_t size, modified_ms;
    uint32_t crc32c; /* of the whole content */
    uint32_t durable,
        total; /* "durable 6/6": fewest durable fragments of any stripe, of how many */
    /* Small objects are kept by the coordinators instead: at least how many have it durably, of how
     * many. total is 0 then; coordinators_total is 0 for all others. */
    uint32_t coordinators, coordinators_total;
};
/* The object is durable and visible when this returns OK. options may be NULL. Errors: NO_BUCKET,
 * INVALID (key), EXISTS (if_absent), PRECONDITION (if_version), NO_QUORUM (names the OSDs that are
 * gone; nothing was read from source if that was known before), NO_SPACE, UNAVAILABLE, TIMEOUT (not
 * done), OUTCOME_UNKNOWN, CANCELLED, and what source returned; attributes that break the rules are
 * INVALID or TOO_BIG, before anything is read. */
LILIO_MUST_USE enum lilio_err lilio_put(struct lilio_client *client, const char *bucket,
                                        const char *key, const struct lilio_source *source,
                                        const struct lilio_put_options *options,
                                        struct lilio_put_result *ret_result,
                                        struct lilio_errinfo *info);

/* Up to so many bytes the coordinators keep themselves; 0: everything goes into fragments. */
LILIO_MUST_USE enum lilio_err lilio_inline_max(struct lilio_client *client, uint32_t *ret_bytes,
                                               struct lilio_errinfo *info);

enum { LILIO_IN_FLIGHT_MAX = 256 };
/* An object in memory. key and data are borrowed until done() was called for it. */
struct lilio_small {
    const char *key;
    const void *data;
    size_t size;
    void *tag; /* the caller's */
};
struct lilio_put_stream {
    /* The next object; false: there are no more. Asked when fewer than in_flight are under way. */
    bool (*next)(void *context, struct lilio_small *ret_object);
    /* What became of one, in any order: as the answer of lilio_put. result is set when err is OK.
     */
    void (*done)(void *context, const struct lilio_small *object, enum lilio_err err,
                 const struct lilio_put_result *result, const struct lilio_errinfo *info);
    void *context;
    uint32_t in_flight; /* 1 .. LILIO_IN_FLIGHT_MAX */
};
/* Puts many small objects over one connection, several at a time, callbacks on the caller's thread;
 * each one is a put of its own. What is larger than lilio_inline_max is put alone while the others
 * wait. Returns when there are no more and done() was called for each that next() gave. Errors
 * (then, too): INVALID, CANCELLED, and why there is no bucket or session; what is wrong with single
 * objects is told to done(). */
LILIO_MUST_USE enum lilio_err lilio_put_many(struct lilio_client *client, const char *bucket,
                                             const struct lilio_put_stream *stream,
                                             struct lilio_errinfo *info);

struct lilio_object {
    char *bucket, *key;
    struct lilio_version version;
    uint64_t size, modified_ms;
    uint32_t crc32c;
    bool has_crc32c;
    bool is_inline; /* the coordinators keep its content; no OSD has anything of it */
    struct lilio_profile profile;
    uint32_t durable_at_commit;
    char **attribute_names, **attribute_values; /* attribute_count each */
    size_t attribute_count;
};
void lilio_object_release(struct lilio_object *object);
/* Errors: NO_BUCKET, NO_KEY, UNAVAILABLE, TIMEOUT. */
LILIO_MUST_USE enum lilio_err lilio_stat(struct lilio_client *client, const char *bucket,
                                         const char *key, struct lilio_object *ret_object,
                                         struct lilio_errinfo *info);

/* Where a get's bytes go: in order, each verified. restart (may be NULL) is called when the version
 * was collected under the reader and the get starts over with the current one: forget what was
 * written. */
struct lilio_sink {
    enum lilio_err (*write)(void *context, const void *data, size_t size,
                            struct lilio_errinfo *info);
    enum lilio_err (*restart)(void *context, struct lilio_errinfo *info);
    void *context;
};
enum lilio_range_kind { LILIO_RANGE_ALL, LILIO_RANGE_FROM_TO, LILIO_RANGE_FROM, LILIO_RANGE_LAST };
struct lilio_range {
    enum lilio_range_kind kind;
    uint64_t first, last; /* FROM_TO: inclusive; FROM: first; LAST: last = number of bytes */
};
struct lilio_get_result {
    struct lilio_version version;
    uint64_t size;             /* of the object */
    uint64_t first, length;    /* what was delivered */
    uint32_t degraded_stripes; /* had to be decoded */
    uint32_t bad_fragments;    /* missing or corrupt ones met, reported for repair */
    uint32_t slow_fragments;   /* replaced because their OSD was slow */
};
struct lilio_get_options {
    struct lilio_range range;
    struct lilio_progress progress;
};
/* Exactly the bytes of one version or an error. Errors: NO_BUCKET, NO_KEY, INVALID (range outside
 * the object), LOST (names fragments, OSDs and reasons), UNAVAILABLE, TIMEOUT, VERSION_GONE (no
 * restart callback), CANCELLED, and what sink returned. */
LILIO_MUST_USE enum lilio_err lilio_get(struct lilio_client *client, const char *bucket,
                                        const char *key, const struct lilio_sink *sink,
                                        const struct lilio_get_options *options,
                                        struct lilio_get_result *ret_result,
                                        struct lilio_errinfo *info);

/* if_version.index 0 = whatever is there. Errors: NO_BUCKET, NO_KEY, PRECONDITION. */
LILIO_MUST_USE enum lilio_err lilio_delete(struct lilio_client *client, const char *bucket,
                                           const char *key, struct lilio_version if_version,
                                           struct lilio_errinfo *info);
/* cp / mv. Within buckets of one profile the maps share the bytes; otherwise they are read and
 * written again (move then deletes the source, if it is still that version). Errors: as put and
 * get; EXISTS with if_absent. */
LILIO_MUST_USE enum lilio_err lilio_copy(struct lilio_client *client, const char *bucket,
                                         const char *key, const char *to_bucket, const char *to_key,
                                         bool if_absent, bool move,
                                         struct lilio_put_result *ret_result,
                                         struct lilio_errinfo *info);

struct lilio_list_entry {
    char *key; /* or common prefix */
    bool is_prefix;
    uint64_t size, modified_ms;
    struct lilio_version version;
    uint32_t crc32c;
    bool is_inline; /* the coordinators keep its content */
    char *content_type;
};
struct lilio_listing {
    struct lilio_list_entry *entries;
    size_t count;
    bool more;
    uint8_t *token; /* for the next page */
    size_t token_size;
};
void lilio_listing_release(struct lilio_listing *listing);
/* One page (up to limit <= 1000 entries). delimiter "" = none; token NULL = first page. */
LILIO_MUST_USE enum lilio_err lilio_list(struct lilio_client *client, const char *bucket,
                                         const char *prefix, const char *delimiter,
                                         const uint8_t *token, size_t token_size, uint32_t limit,
                                         struct lilio_listing *ret_listing,
                                         struct lilio_errinfo *info);

/* ---- knowing ---- */

/* Scrubs of one OSD. Light: its index against the maps. Deep: every byte of its fragments, and
 * parity coded anew. */
enum lilio_scrub_kind { LILIO_SCRUB_LIGHT = 1, LILIO_SCRUB_DEEP = 2 };
enum { LILIO_SCRUB_KINDS = 2 };
enum lilio_scrub_state {
    LILIO_SCRUB_RESTS,
    LILIO_SCRUB_RUNS,
    LILIO_SCRUB_STUCK, /* a round is under way, but cannot go on now */
    LILIO_SCRUB_WAITS, /* light: due, but the OSD reads a stored run for its deep round first */
};
struct lilio_scrub {
    enum lilio_scrub_kind kind;
    bool known;         /* the OSD told; false: the rest says nothing */
    uint64_t period_ms; /* a round by itself once in it; 0 = never */
    /* The round under way. */
    enum lilio_scrub_state state; /* RUNS or STUCK: there is one */
    bool ordered;                 /* somebody asked for it */
    uint64_t round_ms;            /* since it began */
    uint64_t expected;            /* fragments it will meet, about */
    uint64_t good, bad, unread;   /* it met; unread: known to be bad, or in slots that fill */
    uint64_t bytes, bytes_per_s, eta_ms;           /* eta 0 = not known */
    uint64_t stripes, stripes_bad, stripes_unread; /* deep: whose parity was coded anew */
    /* The last complete one. */
    uint64_t rounds;     /* complete ones; 0 = there was none yet */
    uint64_t ended_ms;   /* since it ended */
    uint64_t oldest_ms;  /* since it began: nothing was looked at longer ago */
    uint64_t last_index; /* it met all that was committed up to here and was there still */
    uint64_t last_good, last_bad, last_unread, last_stripes_bad, last_stripes_unread;
    bool counts; /* deep, of lilio_status_get: it read all the OSD has now */
};
struct lilio_osd {
    uint32_t id, incarnation;
    char state[16];       /* up, suspect, down, out, failed, new, blank */
    bool complete;        /* false: its content is not proven (rebuild it) */
    bool draining;        /* its slots go to others (lilio_drain) */
    bool drained;         /* and the drain has ended */
    uint64_t drain_epoch; /* of the map when it began; 0 = not known, or it does not drain */
    char disk_uuid[37];
    char address[256];
    uint64_t capacity_bytes, free_bytes, used_bytes, fragment_count, silent_ms;
    /* Slots that were moved here and are not filled yet; how far its job is, 1000 = done, how long
     * it takes on, 0 = not known; how often one failed, and why. */
    uint64_t filling;
    uint32_t fill_permille, fill_tries;
    uint64_t fill_eta_ms, fill_eta_low_ms, fill_eta_high_ms; /* and its band */
    bool fill_running;
    char fill_reason[256];
    uint64_t held_ms; /* it went down again and again, and is suspect for so long yet */
    /* It is down, and out when it was silent for so long yet; or blank or failed, and its slots go
     * to others when it was for so long yet. 0 = it was. out_waits: slots of out_behind, of another
     * failure domain, move first. As the leader knows. */
    bool goes_out, out_waits;
    uint64_t out_in_ms;
    uint32_t out_behind;
    /* Its comparison with the maps, at its start or when it came back: how far it is (none, wanted,
     * sums, walk, done), at which index the last one ended, how many slots it has, in how many of
     * them something differed, fragments that were not there, and why it could not be done. */
    char inventory[16];
    uint64_t inventory_index, inventory_slots, inventory_differed, inventory_missing;
    uint64_t inventory_rounds; /* since the OSD started */
    char inventory_reason[256];
    struct lilio_scrub scrubs[LILIO_SCRUB_KINDS]; /* light, deep; as the leader knows */
};
#define LILIO_COORDINATOR_UNHEARD UINT32_MAX
struct lilio_coordinator {
    uint32_t id;
    char address[256], peer[256]; /* peer: where other coordinators reach it */
    char role[16];                /* leader, follower */
    char kind[16];                /* voter, learner; empty: not a member */
    uint64_t member;              /* incarnation << 32 | id; 0 = not a member */
    uint64_t term, commit_index, applied_index, uptime_ms;
    uint64_t lag; /* entries of the leader it has not made durable */
    uint32_t
        silent_ms; /* since the leader heard it; LILIO_COORDINATOR_UNHEARD: not yet by this one */
    uint64_t log_bytes, refused_messages;
    char trouble[256]; /* what is wrong with it and what mends it; empty: nothing known */
};
struct lilio_status {
    char cluster_id[37];
    uint64_t epoch;
    struct lilio_profile default_profile;
    uint32_t gc_grace_ms;
    struct lilio_osd *osds;
    size_t osd_count;
    struct lilio_coordinator *coordinators;
    size_t coordinator_count;
    uint64_t bucket_count, object_count, object_bytes;
    uint64_t repair_rows; /* stored runs with known missing or corrupt fragments */
    /* Of those, leased to OSDs now, waiting after a failure; until the others are mended, 0 = not
     * known. Only the leader knows. */
    uint64_t repair_running, repair_failed, repair_eta_ms;
    uint64_t repair_eta_low_ms, repair_eta_high_ms; /* band of it */
    /* Until all slots are filled, likewise. */
    uint64_t fill_eta_ms, fill_eta_low_ms, fill_eta_high_ms;
    uint64_t gc_rows, gc_bytes, session_count, map_bytes;
    bool many_away; /* two or more, and over a third of the OSDs: none goes out, no slots move */
    uint64_t verify_index, verify_wall_ms, verify_fragments, verify_damaged,
        verify_lost; /* index 0: never */
};
void lilio_status_release(struct lilio_status *status);
/* As the leader sees it, who alone knows of all coordinators and OSDs; when none leads, what
 * another coordinator can say: no coordinator in it has the role of a leader then. */
LILIO_MUST_USE enum lilio_err lilio_status_get(struct lilio_client *client,
                                               struct lilio_status *ret_status,
                                               struct lilio_errinfo *info);
/* As this very coordinator sees it. Errors: UNAVAILABLE, TIMEOUT. */
LILIO_MUST_USE enum lilio_err lilio_status_from(struct lilio_client *client, const char *endpoint,
                                                uint32_t timeout_ms,
                                                struct lilio_status *ret_status,
                                                struct lilio_errinfo *info);
/* What this coordinator knows of itself, at once and also when none leads: only the coordinators
 * are filled in, one of them it. Errors: UNAVAILABLE, TIMEOUT. */
LILIO_MUST_USE enum lilio_err lilio_status_self(struct lilio_client *client, const char *endpoint,
                                                uint32_t timeout_ms,
                                                struct lilio_status *ret_status,
                                                struct lilio_errinfo *info);

/* ---- the coordinators themselves ---- */

enum lilio_coordinator_change_kind {
    LILIO_COORDINATOR_ADD = 1,     /* as a learner, with the next incarnation of its number */
    LILIO_COORDINATOR_PROMOTE = 2, /* a learner that has caught up becomes a voter */
    LILIO_COORDINATOR_REMOVE = 3,
};
#define LILIO_COORDINATOR_ANY UINT32_MAX

/* Changes who belongs to the quorum, one at a time; done when it is committed. member: which
 * incarnation (PROMOTE, REMOVE), 0 = the newest. address and peer: where it will serve (ADD), NULL
 * otherwise. Errors: what the leader says against it, UNAVAILABLE (no leader), OUTCOME_UNKNOWN
 * (look at the status; it is never sent twice). */
LILIO_MUST_USE enum lilio_err
lilio_coordinator_change(struct lilio_client *client, enum lilio_coordinator_change_kind change,
                         uint32_t id, uint64_t member, const char *address, const char *peer,
                         uint64_t *ret_member, struct lilio_errinfo *info);
/* The leader hands over to coordinator id, or to LILIO_COORDINATOR_ANY; done when another one
 * leads. Errors: as above. */
LILIO_MUST_USE enum lilio_err lilio_coordinator_transfer(struct lilio_client *client, uint32_t id,
                                                         struct lilio_errinfo *info);

/* One fragment as found by explain or verify. */
struct lilio_fragment {
    uint64_t stripe;
    uint32_t index, osd;
    enum lilio_err err; /* OK = read from disk just now and equal to the maps; MISSING, CORRUPT,
                           UNAVAILABLE, ... */
    bool known_missing; /* the maps already say so, or its slot fills */
    bool filling;       /* the slot was moved here, and not everything may be there yet */
    bool has_previous;  /* `previous' had the slot before, and may still have the fragment */
    uint32_t previous;
};
struct lilio_verify_object {
    char *bucket, *key;
    uint64_t stripe_count;
    uint64_t fragments, good; /* total expected, verified */
    struct lilio_fragment *bad;
    size_t bad_count;
    uint32_t survives; /* further fragment losses the worst stripe survives; no fragments: 0 */
    bool lost;         /* some stripe has fewer than data_count good fragments */
    bool unread;       /* something could not be read, so nothing is said about it */
};
struct lilio_verify_result {
    uint64_t index, objects, objects_damaged, objects_lost, objects_unread;
    /* Of the objects: without anything on OSDs, because the coordinators keep the content, or
     * because there is none. Counted by name after the fragments were read. */
    uint64_t objects_inline, objects_empty;
    uint64_t fragments, fragments_good, fragments_missing, fragments_corrupt, fragments_unread,
        bytes;
};
/* Reads every fragment of the chosen objects on their OSDs and checks every block. bucket NULL =
 * everything; key NULL = the bucket. each (may be NULL) is called per object that is not perfect
 * (all: for every one); object is borrowed. Reports what it finds to the coordinators. OK even when
 * damage was found: see the result. */
LILIO_MUST_USE enum lilio_err
lilio_verify(struct lilio_client *client, const char *bucket, const char *key, bool all,
             void (*each)(void *context, const struct lilio_verify_object *object), void *context,
             const struct lilio_progress *progress, struct lilio_verify_result *ret_result,
             struct lilio_errinfo *info);

/* Where each fragment of an object is. */
struct lilio_explain {
    struct lilio_object object;
    uint64_t stripe_count;
    struct lilio_fragment *fragments; /* stripe by stripe, index by index */
    size_t fragment_count;
    uint32_t survives; /* further losses that the worst stripe survives */
    bool lost;
    bool
        readable_now; /* every stripe has enough fragments that were, or are believed to be, good */
    /* Of the worst stripe: fragments that are good, and those that may be when what is out of
     * reach comes back. */
    uint32_t worst_good, worst_kept;
};
void lilio_explain_release(struct lilio_explain *explain);
/* verify: also read and check each one now; otherwise err says only what is known. */
LILIO_MUST_USE enum lilio_err lilio_explain_get(struct lilio_client *client, const char *bucket,
                                                const char *key, bool verify,
                                                struct lilio_explain *ret_explain,
                                                struct lilio_errinfo *info);

/* ---- redundancy ---- */

/* Levels: stripes with data_count + 0, 1, ... 16 good fragments; the last: with too few. A fragment
 * is good when nothing speaks against it and its OSD is there with proven content. */
enum { LILIO_LEVELS = 18, LILIO_LEVEL_BELOW = LILIO_LEVELS - 1 };
struct lilio_redundancy_line {
    uint64_t bucket_id;
    char bucket[64]; /* empty: it is gone, copies elsewhere use its stripes */
    uint32_t data_count, total_count;
    uint64_t levels[LILIO_LEVELS];
    uint64_t lost; /* of the last level, those that are short even if every OSD comes back */
};
struct lilio_redundancy_osd {
    uint32_t id;
    uint64_t levels[LILIO_LEVELS]; /* of the stripes it has a fragment of */
    uint64_t filling;              /* of those, stripes whose fragment is in a slot that fills */
    /* It is draining: stripes that are not, or may not be, whole without it, because it has a slot,
     * or what went to others, whoever had it, is not good where it is now. */
    uint64_t drain_left;
};
/* What the last complete deep scrubs of all OSDs that have slots come to. */
struct lilio_scrubbed {
    uint32_t osds; /* that have slots; 0: not known */
    /* Of those: no complete round is known that read all it has; it has told the leader nothing
     * yet. The rest is 0 unless both are. */
    uint32_t not_read, not_told;
    uint64_t index; /* what was committed up to it and is there still was read */
    /* Stripes, at most: committed since, or with parity that did not fit or could not be computed;
     * and those whose parity did not fit, which no verification looks at. */
    uint64_t unverified, stripes_bad;
    uint64_t oldest_ms;  /* since the oldest of the rounds began */
    uint32_t oldest_osd; /* whose that was */
};
struct lilio_redundancy {
    uint64_t index;            /* of the maps it was counted from */
    uint64_t stripes;          /* of all objects: the sum of the next four */
    uint64_t whole, hurt;      /* with all fragments good; with fewer, but enough */
    uint64_t unreadable, lost; /* with too few now; for good */
    /* Of the stripes, at most so many were verified neither by the last verification nor by deep
     * scrubs, whichever covers more; and at most so many came after the last verification. */
    uint64_t unverified, since_verify;
    struct lilio_scrubbed scrubbed;
    uint64_t stranded; /* those of an OSD that is out, blank or failed and has no replacement */
    uint64_t verify_index, verify_wall_ms; /* the last verification of everything; index 0: never */
    struct lilio_redundancy_line *lines;   /* by bucket and coding */
    size_t line_count;
    struct lilio_redundancy_osd *osds; /* by id */
    size_t osd_count;
};
void lilio_redundancy_release(struct lilio_redundancy *redundancy);
/* As the coordinators count it, at once. Errors: UNAVAILABLE (no leader), UNSUPPORTED (older
 * coordinators). */
LILIO_MUST_USE enum lilio_err lilio_redundancy_get(struct lilio_client *client,
                                                   struct lilio_redundancy *ret_redundancy,
                                                   struct lilio_errinfo *info);

struct lilio_damage_ask {
    const char *bucket;      /* NULL = all */
    const uint32_t *if_lost; /* as if these OSDs were lost on top */
    size_t if_lost_count;
    size_t
        limit; /* objects to list, the worst; 0 = 10000. Memory grows with it, not with objects */
};
struct lilio_damage_object {
    char *bucket, *key;
    uint64_t more_names; /* that share its bytes and are not listed */
    /* Of its worst stripe: data fragments, all fragments, good ones, those that may be good when
     * what is away comes back. */
    uint32_t data_count, total_count, good, kept;
    uint64_t stripes, hurt; /* hurt: with a fragment that is not good */
    uint32_t survives;      /* further losses; 0 also when it cannot be read */
    bool readable, lost;    /* as far as the maps know */
};
struct lilio_damage {
    uint64_t index;
    bool walked; /* false: the histogram said already that there is nothing */
    uint64_t objects, unreadable, lost; /* hurt ones; of these, cannot be read now; are lost */
    struct lilio_damage_object *list;   /* worst first */
    size_t count;
    uint64_t omitted; /* less bad than those listed */
};
void lilio_damage_release(struct lilio_damage *damage);
/* Names the objects at risk as the maps know it; nothing is read from OSDs. progress may be NULL.
 * Errors: NO_BUCKET, NOT_FOUND (no such OSD). */
LILIO_MUST_USE enum lilio_err lilio_damage_get(struct lilio_client *client,
                                               const struct lilio_damage_ask *ask,
                                               const struct lilio_progress *progress,
                                               struct lilio_damage *ret_damage,
                                               struct lilio_errinfo *info);

/* Slots of a placement, a bit for each: partition * width + slot, the lowest of a byte first. */
struct lilio_slots {
    uint32_t placement, partition_bits, width;
    uint8_t *bits; /* owned */
};
struct lilio_slot_set {
    struct lilio_slots *list;
    size_t count;
    /* Partitions that changed more than once since, so that nobody knows which of the slots that
     * moved it had. */
    uint64_t unsure;
};
void lilio_slot_set_release(struct lilio_slot_set *set);
/* How many bytes the bits are. */
size_t lilio_slots_size(const struct lilio_slots *slots);
/* The slots an OSD had at an epoch, as far as the map of now tells. Where it does not: none; with
 * maybe all that ever moved. */
LILIO_MUST_USE enum lilio_err lilio_slots_had(struct lilio_client *client, uint32_t osd,
                                              uint64_t epoch, bool maybe,
                                              struct lilio_slot_set *ret_set,
                                              struct lilio_errinfo *info);

struct lilio_verify_osd_ask {
    uint32_t osd;
    bool had;       /* not what it has, but what others have now of what it had */
    uint64_t index; /* what was committed up to it is meant */
    /* In these slots; NULL: in those it has now, or had last. Of those it has not (or not yet
     * again) the fragments are counted as elsewhere, unless `had' asks for them. */
    const struct lilio_slot_set *slots;
};
/* What an OSD holds, or others hold in slots it had, of all that was committed up to an index and
 * is still there. */
struct lilio_verify_osd_result {
    uint64_t index;    /* of the maps it was held against */
    uint64_t expected; /* fragments; the sum of the next four */
    uint64_t good, missing, corrupt, unread;
    uint64_t elsewhere; /* in slots that others have now: not looked at */
    uint64_t newer;     /* committed after the index: not looked at */
    uint64_t bytes;
};
/* Reads and checks them. What is missing or corrupt is reported, so that it is mended. each (may
 * be NULL) is told of every object with fragments there that are not good; it is borrowed. */
LILIO_MUST_USE enum lilio_err
lilio_verify_osd(struct lilio_client *client, const struct lilio_verify_osd_ask *ask,
                 void (*each)(void *context, const struct lilio_verify_object *object),
                 void *context, const struct lilio_progress *progress,
                 struct lilio_verify_osd_result *ret_result, struct lilio_errinfo *info);

/* ---- drain ---- */

enum lilio_drain_step {
    LILIO_DRAIN_BEGIN = 1, /* its slots go to others for good, and it gets none; it serves, and is
                              what they are filled from */
    LILIO_DRAIN_END,       /* puts under way do not count on it any more */
    LILIO_DRAIN_STOP,      /* what has not gone stays */
};
/* An OSD can be taken away when drain_left of its line of the redundancy is 0 after an END that
 * came when it was 0 before. Errors: UNAVAILABLE, NOT_FOUND (no such OSD), PRECONDITION (BEGIN:
 * some would have nowhere to go, or another one drains; END: it does not drain, or has some yet),
 * UNSUPPORTED (older coordinators). */
LILIO_MUST_USE enum lilio_err lilio_drain(struct lilio_client *client, uint32_t osd,
                                          enum lilio_drain_step step, struct lilio_errinfo *info);

/* ---- repair ---- */

enum lilio_repair_priority {
    LILIO_REPAIR_LOW = 1, /* share of the idle rate while clients are served: 5 % */
    LILIO_REPAIR_NORMAL,  /* 15 % */
    LILIO_REPAIR_HIGH,    /* 50 % */
    LILIO_REPAIR_MAX,     /* 100 % */
};
enum lilio_repair_deadline {
    LILIO_DEADLINE_NONE,
    LILIO_DEADLINE_OPEN,   /* not known yet whether it will be kept, or too close to call */
    LILIO_DEADLINE_KEPT,   /* it will be */
    LILIO_DEADLINE_RAISED, /* at a higher share, which is being found */
    LILIO_DEADLINE_FAILS,  /* it cannot be kept, even if nothing is held back */
    LILIO_DEADLINE_PASSED,
    LILIO_DEADLINE_MET, /* likewise, and nothing was left when it did */
};
/* How much repair may take from clients, and until when all shall be mended: where the priority's
 * share does not do, it is raised. */
struct lilio_repair_dial {
    enum lilio_repair_priority priority; /* 0: as it is */
    bool set_deadline;
    uint64_t deadline_ms; /* from now on; 0 = none */
};
/* A stored run whose last repair failed; it is tried again. */
struct lilio_repair_failure {
    char *names; /* "bucket/key, bucket/key, ..." */
    char *reason;
    uint32_t osd; /* that could not mend its fragment */
    enum lilio_err err;
    uint32_t tries;
    uint64_t wait_ms; /* until the next one */
};
enum { LILIO_REPAIR_LEVELS = 18 };
struct lilio_repair {
    uint64_t rows; /* stored runs with known missing or corrupt fragments */
    /* Of those, by how many more fragments may go before bytes are lost: 0, 1, ... 16; the last:
     * too few are known good. The worst stripe that can be mended counts, if there is one. */
    uint64_t levels[LILIO_REPAIR_LEVELS];
    uint64_t running, failed;              /* leased to OSDs now; waiting after a failure */
    uint64_t away;                         /* waiting for OSDs that are not up */
    struct lilio_repair_failure *failures; /* the first 64 */
    size_t failure_count;
    enum lilio_repair_priority priority;
    uint64_t fragments, bytes;        /* known missing or corrupt */
    uint64_t bytes_per_s, eta_ms;     /* of late; 0 = not known */
    uint64_t eta_low_ms, eta_high_ms; /* band of eta_ms */
    /* Since this coordinator leads: fragments, bytes written for these and for slots that fill. */
    uint64_t mended, written_bytes, runs_done;
    /* Slots that fill; of these, of OSDs that are away or wait after a failure; work of the others,
     * about 1000 for a fragment; until these are filled, 0 = not known, and its band. */
    uint64_t fill_slots, fill_waiting, fill_left;
    uint64_t fill_eta_ms, fill_eta_low_ms, fill_eta_high_ms;
    uint32_t held;        /* OSDs that hold back because they serve clients */
    uint32_t share;       /* percent of its idle rate that repair may take beside clients now */
    uint64_t deadline_ms; /* until the deadline; 0 = there is none, or it has passed */
    enum lilio_repair_deadline deadline;
    uint64_t deadline_ago_ms; /* since it came */
};
void lilio_repair_release(struct lilio_repair *repair);
LILIO_MUST_USE enum lilio_err lilio_repair_get(struct lilio_client *client,
                                               struct lilio_repair *ret_repair,
                                               struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err lilio_repair_set(struct lilio_client *client,
                                               const struct lilio_repair_dial *dial,
                                               struct lilio_errinfo *info);

/* ---- garbage ---- */

/* A run of fragments on an OSD that no object uses and whose writer's session is over. */
struct lilio_orphan {
    char oid[33];
    uint64_t fragments, bytes; /* on that OSD */
    uint64_t waited_ms;        /* cluster time since it was marked */
    bool unknown;              /* its session was never handed out: reported and kept */
};
enum lilio_orphans_phase { LILIO_ORPHANS_REST, LILIO_ORPHANS_LOOK, LILIO_ORPHANS_DELETE };
enum { LILIO_ORPHANS_FIRST = 16 };
struct lilio_orphans {
    uint32_t osd;
    uint64_t asked, ended; /* rounds that were asked for; all up to this one have ended */
    enum lilio_orphans_phase phase;
    enum lilio_err err; /* why the last round was void; it changed nothing then */
    char text[512];
    /* What the last round that was not void found. */
    uint64_t index;     /* of the maps it was held against; 0 = there was none yet */
    uint64_t fragments; /* it looked at */
    uint64_t open;      /* of those, of sessions that are open and not committed */
    uint64_t unknown_runs, unknown_fragments, unknown_bytes;
    uint64_t runs, run_fragments, run_bytes; /* orphans, in quarantine unless it was dry */
    uint64_t due;                            /* of the runs: their retention is over */
    uint64_t swept_runs, swept_fragments, swept_bytes; /* deleted since the OSD started */
    uint64_t former_swept;                             /* likewise: fragments of moved slots */
    /* Fragments in slots that other OSDs have now. They are kept while what they are of is not full
     * without them (fills), while an OSD it is on is not up with proven content (away), and for the
     * retention (fresh); each counts where it comes first. The others go with the next round,
     * unless another fragment of theirs is missing. */
    uint64_t former_fragments, former_bytes, former_fills, former_away, former_fresh;
    uint64_t retention_ms;
    struct lilio_orphan first[LILIO_ORPHANS_FIRST];
    size_t first_count;
};
/* Errors: UNAVAILABLE, NOT_FOUND (no such OSD). */
LILIO_MUST_USE enum lilio_err lilio_orphans_get(struct lilio_client *client, uint32_t osd,
                                                struct lilio_orphans *ret,
                                                struct lilio_errinfo *info);
/* Has the OSD look for orphans now: dry, it changes nothing; now, it deletes them without waiting
 * for the retention. It has ended when `ended` of a later answer reaches `asked` of this one; an
 * OSD that was restarted meanwhile has forgotten it (`asked` is less). Errors likewise. */
LILIO_MUST_USE enum lilio_err lilio_orphans_run(struct lilio_client *client, uint32_t osd, bool dry,
                                                bool now, struct lilio_orphans *ret,
                                                struct lilio_errinfo *info);

/* ---- scrub ---- */

struct lilio_scrub_finding {
    char *names; /* "bucket/key"; empty: no object uses it */
    char oid[33];
    uint64_t stripe;
    uint32_t index;
    enum lilio_scrub_kind scrub; /* that found it */
    enum { LILIO_SCRUB_MISSING = 1, LILIO_SCRUB_CORRUPT = 3, LILIO_SCRUB_PARITY = 4 } what;
};
struct lilio_scrub_report {
    struct lilio_scrub scrubs[LILIO_SCRUB_KINDS];
    char text[512]; /* why a round cannot go on now */
    /* Of the newest round of each kind; a restart of the OSD forgets them. What is missing or
     * corrupt was told to the maps and is mended. Parity that does not fit its data cannot be: all
     * fragments are what their writer said they were. A copy of the object is whole. */
    struct lilio_scrub_finding *findings;
    size_t finding_count;
    uint64_t findings_more; /* that were not kept */
};
void lilio_scrub_release(struct lilio_scrub_report *report);
/* Of the OSD itself. Errors: UNAVAILABLE, NOT_FOUND (no such OSD). */
LILIO_MUST_USE enum lilio_err lilio_scrub_get(struct lilio_client *client, uint32_t osd,
                                              struct lilio_scrub_report *ret,
                                              struct lilio_errinfo *info);
/* A round from its start; one that was asked for and runs goes on. It reads at most rate bytes a
 * second, 0 = as many as clients allow. Errors likewise. */
LILIO_MUST_USE enum lilio_err lilio_scrub_start(struct lilio_client *client, uint32_t osd,
                                                enum lilio_scrub_kind kind, uint64_t rate,
                                                struct lilio_scrub_report *ret,
                                                struct lilio_errinfo *info);

/* ---- rebuild ---- */

struct lilio_rebuild_failure {
    char *names; /* "bucket/key, bucket/key, ..." */
    char *reason;
    uint64_t stripe;
    uint32_t index;
    enum lilio_err err;
};
enum lilio_rebuild_phase {
    LILIO_REBUILD_NONE,
    LILIO_REBUILD_COUNTING,
    LILIO_REBUILD_RUNNING,
    LILIO_REBUILD_VERIFYING,
    LILIO_REBUILD_PROVEN,
    LILIO_REBUILD_FAILURES,
    LILIO_REBUILD_STOPPED,
    LILIO_REBUILD_ERROR,
};
struct lilio_rebuild {
    enum lilio_rebuild_phase phase;
    enum lilio_err err; /* of phase ERROR */
    char text[512];
    uint32_t osd, incarnation;
    char disk_uuid[37], cluster_id[37];
    uint64_t index, started_ms, elapsed_ms;
    uint64_t epoch; /* of the map by which slots were its own; 0 = not known (an older OSD) */
    uint64_t expected, expected_bytes, present, rebuilt, rebuilt_bytes, done_bytes, verified, gone,
        newer, failed;
    uint64_t source_bytes, bad_sources;
    struct lilio_rebuild_failure *failures; /* all of them */
    size_t failure_count;
};
void lilio_rebuild_release(struct lilio_rebuild *rebuild);
/* Starts the rebuild in the OSD's running daemon, or joins the one under way. Errors: UNAVAILABLE,
 * NOT_FOUND (no such OSD). */
LILIO_MUST_USE enum lilio_err lilio_rebuild_start(struct lilio_client *client, uint32_t osd,
                                                  struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err lilio_rebuild_get(struct lilio_client *client, uint32_t osd,
                                                struct lilio_rebuild *ret_rebuild,
                                                struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err lilio_rebuild_cancel(struct lilio_client *client, uint32_t osd,
                                                   struct lilio_errinfo *info);

/* Asks one daemon how it is; endpoint as in lilio.yaml. ret_state: "serving", "blank", "refused",
 * "failed". Errors: UNAVAILABLE, TIMEOUT. */
LILIO_MUST_USE enum lilio_err lilio_ping(struct lilio_client *client, const char *endpoint,
                                         uint32_t timeout_ms, char ret_node[64], char ret_state[32],
                                         char ret_detail[512], struct lilio_errinfo *info);

#ifdef __cplusplus
}
#endif

#endif
