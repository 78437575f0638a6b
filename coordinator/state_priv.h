/* Inside the state machine. For coordinator/state*.c, read.c and their tests only.
 *
 * A command's handler first decides, reading what it needs, then writes. A refusal after the first
 * write would leave half a command in the batch; coord_state_apply() asserts that this never
 * happens. What goes wrong with the store itself is kept in state->failed and ends the process.
 */
#ifndef COORDINATOR_STATE_PRIV_H
#define COORDINATOR_STATE_PRIV_H

#include "codec/codec.h"
#include "coordinator/state.h"

/* A row of the map, with the bytes its slices point into. */
struct coord_osd {
    struct proto_osd row;
    struct base_buffer packed;
};
struct coord_placement {
    struct proto_placement row;
    struct base_buffer packed;
};

struct coord_state {
    struct base_kv *kv;
    struct base_kv_batch *batch;
    struct coord_hot *hot; /* rows that join the batch when it is committed */
    struct coord_stripes *stripes;
    struct coord_inventory *inventory;
    bool pending;              /* something was applied since the last commit */
    size_t pending_bytes;      /* of its commands */
    struct proto_arena *arena; /* of the command under way */
    struct base_buffer packed; /* scratch of coord_put */
    enum lilio_err failed;     /* what made the state unusable */
    struct lilio_errinfo failure;
    bool initialised;
    struct proto_cluster_row cluster;
    struct proto_state_row row;
    struct proto_verify_mark verify;
    struct proto_dial_row dial;
    uint64_t repair_levels[COORD_REPAIR_LEVELS]; /* row.repair_levels */
    struct coord_bad mended;                     /* since it was opened */
    struct proto_raft_config config;             /* of the quorum, in config_arena */
    struct proto_arena *config_arena;
    struct coord_osd *osds; /* by id */
    size_t osd_count;
    struct coord_placement *placements; /* by id */
    size_t placement_count;
};

/* The command under way. */
struct coord_command {
    struct coord_state *state;
    struct proto_version version; /* index and ordinal of this command */
    struct proto_entry entry;
    struct coord_hot_session *session; /* of a request of a session */
    struct coord_result *result;
    uint64_t stripes[1024]; /* of a NO_QUORUM refusal */
    size_t stripe_count;
    struct lilio_errinfo info;
};

/* ---- rows (state.c) ---- */

struct coord_view coord_command_view(const struct coord_command *command);
/* A row as it is stored, and an iterator over a column. Errors: NOT_FOUND, IO, CORRUPT, NOMEM. */
enum lilio_err coord_view_bytes(const struct coord_view *view, enum coord_column column,
                                struct base_slice key, struct base_buffer *ret_value,
                                struct lilio_errinfo *info);
enum lilio_err coord_view_iter(const struct coord_view *view, enum coord_column column,
                               struct base_kv_iter **ret_iter, struct lilio_errinfo *info);
/* One row into the view's arena. Errors: NOT_FOUND, IO, CORRUPT, NOMEM. */
enum lilio_err coord_view_get(const struct coord_view *view, enum coord_column column,
                              const struct coord_key *key, const struct proto_type *type, void *ret,
                              struct lilio_errinfo *info);
/* An unpacked copy of bytes in the view's arena; a row that does not unpack is CORRUPT. */
enum lilio_err coord_view_unpack(const struct coord_view *view, const struct proto_type *type,
                                 struct base_slice bytes, void *ret, struct lilio_errinfo *info);
/* The same without the copy: what it points to lives as long as bytes do. */
enum lilio_err coord_view_unpack_here(const struct coord_view *view, const struct proto_type *type,
                                      struct base_slice bytes, void *ret,
                                      struct lilio_errinfo *info);
/* The same inside a command: anything but OK and NOT_FOUND makes the state fail. */
enum lilio_err coord_get(struct coord_command *command, enum coord_column column,
                         const struct coord_key *key, const struct proto_type *type, void *ret);
void coord_put(struct coord_state *state, enum coord_column column, const struct coord_key *key,
               const struct proto_type *type, const void *value);
void coord_delete(struct coord_state *state, enum coord_column column, const struct coord_key *key);
/* The rows with keys in [from, to), those of this batch too, copied: a batch must not change under
 * an iterator. */
struct coord_rows {
    struct coord_row_copy {
        struct base_slice key, value;
    } * items;
    size_t count;
};
enum lilio_err coord_rows_collect(struct coord_command *command, enum coord_column column,
                                  const struct coord_key *from, const struct coord_key *to,
                                  struct coord_rows *ret);
void coord_delete_range(struct coord_command *command, enum coord_column column,
                        const struct coord_key *from, const struct coord_key *to);
bool coord_exists(struct coord_command *command, enum coord_column column,
                  const struct coord_key *key);
/* Whether any row's key lies in [from, to). */
bool coord_range_any(struct coord_command *command, enum coord_column column,
                     const struct coord_key *from, const struct coord_key *to);
/* Keeps the first failure; returns err. */
enum lilio_err coord_failed(struct coord_state *state, enum lilio_err err,
                            const struct lilio_errinfo *info);
/* Rows contradict each other: the maps are damaged. */
enum lilio_err coord_broken(struct coord_command *command, const char *what);
void *coord_take(struct coord_state *state,
                 size_t size); /* of the command's arena; NULL: the state failed */
/* The command's body as a message of its type. MALFORMED is a refusal. */
enum lilio_err coord_body(struct coord_command *command, const struct proto_type *type, void *ret);
/* Sets the reply. */
void coord_reply(struct coord_command *command, const struct proto_type *type, const void *value);
enum lilio_err coord_reply_ok(struct coord_command *command);
enum lilio_err coord_refuse(struct coord_command *command, enum lilio_err err, const char *format,
                            ...) LILIO_PRINTF(3, 4);

/* ---- rows that nearly every command changes (state_hot.c) ---- */

struct coord_hot;
struct coord_hot_session;
enum { COORD_HOT_BYTES_MAX = 8 << 20 }; /* kept from one commit to the next */

enum lilio_err coord_hot_new(struct coord_hot **ret_hot);
void coord_hot_free(struct coord_hot **hot);
/* How often any of them was changed. */
uint64_t coord_hot_changes(const struct coord_hot *hot);
size_t coord_hot_bytes(const struct coord_hot *hot);
/* Puts what was changed into the batch. */
void coord_hot_write(struct coord_state *state);
/* The same, and all are read again when they are needed: before their rows are looked at, or
 * changed, by other ways than these. */
void coord_hot_forget(struct coord_state *state);

/* Errors: NOT_FOUND; as coord_get. Borrowed until coord_hot_forget(). */
enum lilio_err coord_hot_session(struct coord_command *command, uint64_t id,
                                 struct coord_hot_session **ret);
const struct proto_session_row *coord_hot_session_row(const struct coord_hot_session *session);
void coord_hot_session_runs(struct coord_command *command, struct coord_hot_session *session,
                            uint32_t run_count);
/* What a request was answered, borrowed until the session changes. Errors as above. */
enum lilio_err coord_hot_result(struct coord_command *command,
                                const struct coord_hot_session *session, uint64_t sequence,
                                struct proto_dedup_row *ret);
void coord_hot_remember(struct coord_command *command, struct coord_hot_session *session,
                        uint64_t sequence, const struct coord_result *result);
/* Moves answered_below up and forgets the results below it, except those that are in the store
 * only: from the old answered_below to below the returned sequence. */
uint64_t coord_hot_floor(struct coord_command *command, struct coord_hot_session *session,
                         uint64_t floor);

/* Its name is borrowed until coord_hot_forget(). Errors as above. */
enum lilio_err coord_hot_bucket(struct coord_command *command, uint64_t id,
                                struct proto_bucket *ret);
enum lilio_err coord_hot_bucket_adjust(struct coord_command *command, uint64_t id, int64_t objects,
                                       int64_t bytes);

/* ---- handlers: OK or a refusal; each has replied when it returns OK ---- */

enum lilio_err coord_apply_session_open(struct coord_command *command);
enum lilio_err coord_apply_session_close(struct coord_command *command);
enum lilio_err coord_apply_session_expire(struct coord_command *command);
enum lilio_err coord_apply_bucket_create(struct coord_command *command);
enum lilio_err coord_apply_bucket_delete(struct coord_command *command);
enum lilio_err coord_apply_commit(struct coord_command *command);
enum lilio_err coord_apply_stage(struct coord_command *command);
enum lilio_err coord_apply_discard(struct coord_command *command);
enum lilio_err coord_apply_delete(struct coord_command *command);
enum lilio_err coord_apply_copy(struct coord_command *command);
enum lilio_err coord_apply_report(struct coord_command *command);
enum lilio_err coord_apply_verified(struct coord_command *command);
enum lilio_err coord_apply_cluster_init(struct coord_command *command);
enum lilio_err coord_apply_osd_hello(struct coord_command *command);
enum lilio_err coord_apply_osd_bind(struct coord_command *command);
enum lilio_err coord_apply_osd_change(struct coord_command *command);
enum lilio_err coord_apply_osd_complete(struct coord_command *command);
enum lilio_err coord_apply_osd_drain(struct coord_command *command);
enum lilio_err coord_apply_gc_done(struct coord_command *command);
enum lilio_err coord_apply_tick(struct coord_command *command);
enum lilio_err coord_apply_repair_set(struct coord_command *command);
enum lilio_err coord_apply_slots_move(struct coord_command *command);
enum lilio_err coord_apply_slots_filled(struct coord_command *command);
enum lilio_err coord_apply_orphans_sweep(struct coord_command *command);
enum { COORD_FORMER_STAYS = 1, COORD_FORMER_MAY_GO = 3 };
enum lilio_err coord_apply_formers_sweep(struct coord_command *command);

/* ---- sessions (state_sessions.c) ---- */

/* Admits a request of a session: SESSION_CLOSED, INVALID, OUTCOME_UNKNOWN. *ret_again: it was
 * executed before and the result holds what it was answered. */
enum lilio_err coord_session_admit(struct coord_command *command, bool *ret_again);
/* Remembers the result and forgets those the client has. */
void coord_session_remember(struct coord_command *command);
/* What the session did with a run: 0 nothing, 1 staged, 2 discarded. */
enum lilio_err coord_run_get(struct coord_command *command, struct base_oid oid,
                             struct proto_run_row *ret);
void coord_run_put(struct coord_command *command, struct base_oid oid,
                   const struct proto_run_row *row, bool fresh);
void coord_run_forget(struct coord_command *command, struct base_oid oid);

/* ---- buckets and names (state_buckets.c, state_names.c) ---- */

/* Refuses with NO_BUCKET. */
enum lilio_err coord_bucket_get(struct coord_command *command, uint64_t id,
                                struct proto_bucket *ret);
void coord_bucket_adjust(struct coord_command *command, uint64_t id, int64_t objects,
                         int64_t bytes);
struct codec_profile coord_codec_profile(const struct proto_profile *profile);
bool coord_profile_equal(const struct proto_profile *a, const struct proto_profile *b);

enum { COORD_IF_ABSENT = 1, COORD_IF_VERSION = 2 }; /* conditions of COMMIT, DELETE and COPY */
static inline bool coord_version_equal(struct proto_version a, struct proto_version b)
{
    return a.index == b.index && a.ordinal == b.ordinal;
}
/* Last-modified of a new version: wall time, but never before that of the version it replaces. */
static inline uint64_t coord_modified_ms(const struct coord_command *command,
                                         const struct proto_version_row *old)
{
    return old && old->modified_ms > command->entry.wall_ms ? old->modified_ms
                                                            : command->entry.wall_ms;
}
/* Keys are 1..1024 bytes (UTF-8 without NUL is what STR takes); refuses with INVALID. */
enum lilio_err coord_key_check(struct lilio_errinfo *info, struct base_slice key);
/* The version of a name that is there now. Errors: NO_KEY. */
enum lilio_err coord_current(const struct coord_view *view, uint64_t bucket_id,
                             struct base_slice name, struct proto_version_row *ret,
                             struct lilio_errinfo *info);
/* The same inside a command; *ret_found false if there is none. */
enum lilio_err coord_current_get(struct coord_command *command, uint64_t bucket_id,
                                 struct base_slice name, struct proto_version_row *ret,
                                 bool *ret_found);
/* Writes a version row, its references and counters, in the place of the one that was there (NULL:
 * none). */
void coord_version_add(struct coord_command *command, uint64_t bucket_id, struct base_slice name,
                       const struct proto_version_row *row, const struct proto_version_row *old);
/* Removes a version row, its references and counters; runs that nothing names go to gc. */
void coord_version_drop(struct coord_command *command, uint64_t bucket_id, struct base_slice name,
                        const struct proto_version_row *row, uint8_t reason);

/* ---- runs (state_runs.c) ---- */

/* What a COMMIT or COPY of a version is answered. */
void coord_reply_committed(struct coord_command *command, const struct proto_version_row *row,
                           uint8_t total);

enum { COORD_RUN_STAGED = 1, COORD_RUN_COMMITTED = 2, COORD_RUN_DISCARDED = 2 };
enum { COORD_GC_SUPERSEDED = 1, COORD_GC_DELETED = 2, COORD_GC_DISCARDED = 3 };
enum { COORD_GC_NOBODY = UINT32_MAX }; /* osd of a gc key that is not parked */

uint32_t coord_run_stripes(const struct proto_data_row *row);
/* Refuses rows that contradict themselves or go beyond the bounds: MALFORMED, UNSUPPORTED. */
enum lilio_err coord_run_check(struct coord_command *command, const struct proto_data_row *row);
/* A staged row whose session gives it up or ends: the row goes, its fragments are collected at
 * once. */
void coord_run_unstage(struct coord_command *command, const struct proto_data_row *row);
void coord_gc_add(struct coord_command *command, const struct proto_collect_job *job,
                  struct proto_version version, uint8_t reason, uint64_t stored_length);

/* ---- faults (state_faults.c) ---- */

/* Missing and corrupt fragments of each stripe of a run; both arrays NULL when there is none. */
struct coord_faults {
    uint32_t stripe_count;
    uint8_t total;
    uint64_t *missing, *corrupt; /* a mask of fragment indexes per stripe */
    uint64_t *handed;            /* of the missing: durable, but where the slot was; NULL: none */
};
/* From the exceptions of a row that coord_run_check() let pass. */
enum lilio_err coord_faults_load(struct coord_command *command, const struct proto_data_row *row,
                                 struct coord_faults *ret);
/* Enters fragments whose OSD was bound, or whose slot was moved, after epoch, or that no OSD holds,
 * as missing (design rule 2). Those that are sure to be at the slot's OSD or at the one before,
 * both up with proven content since then, are handed. */
enum lilio_err coord_faults_rebound(struct coord_command *command, const struct proto_data_row *row,
                                    uint64_t epoch, struct coord_faults *faults);
/* Sets what is known about one fragment: 0 good, 1 missing, 3 corrupt. */
enum lilio_err coord_faults_set(struct coord_command *command, struct coord_faults *faults,
                                uint32_t stripe, uint8_t index, uint8_t kind);
/* Writes them into the row as exceptions, by index and stripe. */
enum lilio_err coord_faults_store(struct coord_command *command, const struct coord_faults *faults,
                                  struct proto_data_row *row);
uint8_t coord_faults_good(const struct coord_faults *faults, uint32_t stripe);
/* These, and those that are durable elsewhere. */
uint8_t coord_faults_durable(const struct coord_faults *faults, uint32_t stripe);
uint8_t coord_faults_least_good(const struct coord_faults *faults);
/* How many more fragments the worst stripe that can be mended may lose; COORD_MARGIN_BELOW: none
 * of those that lack some can be. */
uint8_t coord_faults_margin(const struct coord_faults *faults, uint8_t data_count);
/* Whether one is missing or corrupt that was neither before (NULL: none was). */
bool coord_faults_grew(const struct coord_faults *before, const struct coord_faults *faults);
uint8_t coord_faults_least_durable(const struct coord_faults *faults);

/* ---- repair (state_repair.c) ---- */

/* Makes the repair row and its place in the queue say what the data row and its faults do. before:
 * its faults until now; NULL: it had no repair row. faults NULL: the run goes, there is nothing to
 * repair. */
void coord_repair_update(struct coord_command *command, const struct proto_data_row *data,
                         const struct coord_faults *before, const struct coord_faults *faults);
/* Counters and dial of a state whose rows are loaded; maps that are older than the queue get one.
 */
enum lilio_err coord_repair_load(struct coord_state *state, struct lilio_errinfo *info);

/* ---- stripes by what is known of them (state_stripes.c) ---- */

struct coord_stripes;
enum lilio_err coord_stripes_new(struct coord_stripes **ret_stripes);
void coord_stripes_free(struct coord_stripes **stripes);
/* A run is named from now on, or no more: all its stripes are counted, or not counted any more. */
void coord_stripes_add(struct coord_command *command, const struct proto_data_row *row,
                       const struct coord_faults *faults);
void coord_stripes_drop(struct coord_command *command, const struct proto_data_row *row,
                        const struct coord_faults *faults);
/* What is known of a named run changes. */
void coord_stripes_move(struct coord_command *command, const struct proto_data_row *row,
                        const struct coord_faults *from, const struct coord_faults *to);
/* Puts what was changed into the batch. */
void coord_stripes_write(struct coord_state *state);
/* Counters of a state whose map is loaded; maps that are older than the counters get them. */
enum lilio_err coord_stripes_load(struct coord_state *state, struct lilio_errinfo *info);

/* ---- what OSDs have to have (state_inventory.c) ---- */

struct coord_inventory;
enum lilio_err coord_inventory_new(struct coord_inventory **ret_inventory);
void coord_inventory_free(struct coord_inventory **inventory);
/* A run is committed; it was collected by those that are up; what is known to be missing of it
 * changes. */
void coord_inventory_add(struct coord_command *command, const struct proto_data_row *row,
                         const struct coord_faults *faults);
void coord_inventory_drop(struct coord_command *command, const struct proto_data_row *row);
void coord_inventory_move(struct coord_command *command, const struct proto_data_row *row,
                          const struct coord_faults *from, const struct coord_faults *to);
/* Puts what the entry changed into the batch. */
void coord_inventory_entry_end(struct coord_state *state, uint64_t index);
/* Maps that are older than the sums get them. */
enum lilio_err coord_inventory_load(struct coord_state *state, struct lilio_errinfo *info);

/* ---- the cluster map (state_osds.c) ---- */

enum lilio_err coord_map_load(struct coord_state *state, struct lilio_errinfo *info);
void coord_map_release(struct coord_state *state);
/* Writes a changed row of an OSD and keeps it; the map has a new epoch. */
void coord_osd_put(struct coord_command *command, struct coord_osd *osd,
                   const struct proto_osd *row);
/* Writes a changed placement at its place and keeps it; the caller moves the epoch. */
enum lilio_err coord_placement_put(struct coord_command *command, size_t place,
                                   const struct proto_placement *row);
/* The placement of a width, made if there is none. Refuses with INVALID and how many OSDs it takes.
 */
enum lilio_err coord_placement_make(struct coord_command *command,
                                    const struct proto_profile *profile, uint32_t *ret_id);

#endif
