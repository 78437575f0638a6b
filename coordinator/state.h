/* The state machine: the maps of a cluster in a key-value store, changed by nothing but entries.
 *
 * An entry is what one place of the log holds: up to COORD_ENTRY_COMMANDS_MAX commands, each a
 * packed proto_entry; the command's place in it is its ordinal. apply() decides and writes
 * everything from the rows and the entry alone (no clock, no randomness, no order of memory), so
 * every replica comes to the same rows; the applied index travels in the same batch as the effects,
 * so an entry that is applied again changes nothing. Raft decides what the entry at an index is. An
 * entry without commands (a leader's no-op, a configuration of the quorum) only advances the state.
 *
 * Threads: one owner. Views see all that was applied; who looks at the store itself (a
 * snapshot, a flush, a checkpoint) commits first.
 */
#ifndef COORDINATOR_STATE_H
#define COORDINATOR_STATE_H

#include "base/kv.h"
#include "coordinator/keys.h"
#include "proto/messages.h"
#include "proto/placement.h"

struct coord_state;

/* kv is borrowed, opened with coord_kv_options(). An empty store gives a state that only takes
 * cluster_init and coord_state_advance(). Errors: CORRUPT (rows that contradict each other), FORMAT
 * (written by a newer program), IO, NOMEM. */
LILIO_MUST_USE enum lilio_err coord_state_open(struct base_kv *kv, struct coord_state **ret_state,
                                               struct lilio_errinfo *info);
void coord_state_free(struct coord_state **state);

/* ---- changing ---- */

/* What a command came to: the packed reply (an error's is a proto_error). Zero-initialise; may be
 * used again. */
struct coord_result {
    enum lilio_err err;
    uint16_t type; /* message number of the reply */
    struct base_buffer reply;
};
void coord_result_release(struct coord_result *result);

/* Adds the effects of the entry at (index, term) to the batch under way; an index that was applied
 * changes nothing and leaves ret_results (count of them, or NULL) alone. A command that is refused
 * is a result, not an error. Errors: IO, CORRUPT, NOMEM: the state is unusable from then on, the
 * process has to end. */
LILIO_MUST_USE enum lilio_err coord_state_apply(struct coord_state *state, uint64_t index,
                                                uint64_t term, const struct base_slice *commands,
                                                size_t count, struct coord_result *ret_results,
                                                struct lilio_errinfo *info);
/* The same for an entry without commands: a no-op, or with config the members of the quorum from
 * this entry on, copied. Also before the cluster is initialised. Errors: as for apply. */
LILIO_MUST_USE enum lilio_err coord_state_advance(struct coord_state *state, uint64_t index,
                                                  uint64_t term,
                                                  const struct proto_raft_config *config,
                                                  struct lilio_errinfo *info);
/* Writes the batch, of however many entries: rows that change with each are written once. Where the
 * log is the truth it is not synced: entries behind the last flush are applied again. sync: durable
 * when it returns, for a store with a log of its own. Errors as for apply, and NO_SPACE. */
LILIO_MUST_USE enum lilio_err coord_state_commit(struct coord_state *state, bool sync,
                                                 struct lilio_errinfo *info);

/* What made the state unusable, also in a view; OK if nothing did. */
LILIO_MUST_USE enum lilio_err coord_state_failed(const struct coord_state *state,
                                                 struct lilio_errinfo *info);
/* Bytes of the commands that were applied since the last commit. */
size_t coord_state_pending(const struct coord_state *state);

/* ---- where it stands (after apply, also before commit) ---- */

bool coord_state_initialised(const struct coord_state *state);
const struct proto_cluster_row *coord_state_cluster(const struct coord_state *state);
/* Applied index and term, cluster time, epoch, counters. */
const struct proto_state_row *coord_state_row(const struct coord_state *state);
/* The newest applied configuration of the quorum and the entry it is from (0 and no members: there
 * was none). Borrowed until the next one is applied. */
const struct proto_raft_config *coord_state_config(const struct coord_state *state,
                                                   uint64_t *ret_index);
/* Voters in it. */
uint32_t coord_state_voters(const struct coord_state *state);
const struct proto_verify_mark *coord_state_verify_mark(const struct coord_state *state);
/* How much repair may take from clients. */
enum { COORD_PRIORITY_LOW = 1, COORD_PRIORITY_NORMAL, COORD_PRIORITY_HIGH, COORD_PRIORITY_MAX };
const struct proto_dial_row *coord_state_dial(const struct coord_state *state);
/* Missing or corrupt fragments of runs. */
struct coord_bad {
    uint64_t fragments, bytes;
};
/* Of a run, from its exceptions. */
struct coord_bad coord_repair_bad(const struct proto_data_row *row);
/* The work of mending them, in bytes: a small fragment takes time too. */
uint64_t coord_bad_work(struct coord_bad bad);
/* Those that were found good again since the state was opened. */
struct coord_bad coord_state_mended(const struct coord_state *state);
/* Margin of a run without a stripe that can be mended; the place of a margin in
 * state_row.repair_levels. */
enum { COORD_MARGIN_BELOW = UINT8_MAX };
size_t coord_repair_level(uint8_t margin);
/* Rows of the map, sorted by id, borrowed until the next apply. */
size_t coord_state_osd_count(const struct coord_state *state);
const struct proto_osd *coord_state_osd_at(const struct coord_state *state, size_t i);
/* Place of an OSD id; SIZE_MAX if the cluster has no such OSD. */
size_t coord_state_osd_find(const struct coord_state *state, uint32_t id);
size_t coord_state_placement_count(const struct coord_state *state);
const struct proto_placement *coord_state_placement_at(const struct coord_state *state, size_t i);
const struct proto_placement *coord_state_placement(const struct coord_state *state, uint32_t id);
/* Steps of a drain, as in the schema. */
enum { COORD_DRAIN_BEGIN = 1, COORD_DRAIN_END, COORD_DRAIN_STOP };
/* What an OSD that says hello may do; the reason is set for BLANK and REFUSED. */
enum coord_verdict {
    COORD_VERDICT_SERVE = 1,
    COORD_VERDICT_BLANK = 2,
    COORD_VERDICT_REFUSED = 3,
    COORD_VERDICT_FIRST = 4,
};
void coord_state_hello(const struct coord_state *state, const struct proto_osd_hello *hello,
                       uint8_t *ret_verdict, struct lilio_errinfo *ret_reason);
/* Whether an entry for this hello would change a row. */
bool coord_state_hello_changes(const struct coord_state *state,
                               const struct proto_osd_hello *hello);

/* A hash over all rows of all columns, for comparing replicas; commits first. */
LILIO_MUST_USE enum lilio_err coord_state_digest(struct coord_state *state, uint64_t *ret,
                                                 struct lilio_errinfo *info);

/* ---- reading (read.c) ---- */

/* Rows as of a snapshot, or the latest when snapshot is NULL. Values live in the arena. */
struct coord_view {
    struct base_kv *kv;
    const struct base_kv_snapshot *snapshot;
    struct base_kv_batch *batch; /* the state machine's own reads */
    struct proto_arena *arena;
    enum lilio_err failed; /* what every read is answered: the rows could not be written */
};
/* Commits first: the latest rows are those of all that was applied. */
struct coord_view coord_state_view(struct coord_state *state,
                                   const struct base_kv_snapshot *snapshot,
                                   struct proto_arena *arena);

/* Errors: NO_BUCKET, and of all reads IO, CORRUPT, NOMEM. */
LILIO_MUST_USE enum lilio_err coord_read_bucket(const struct coord_view *view,
                                                struct base_slice name, struct proto_bucket *ret,
                                                struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err coord_read_buckets(const struct coord_view *view,
                                                 const struct proto_bucket_list *ask,
                                                 struct proto_buckets *ret,
                                                 struct lilio_errinfo *info);
/* Errors: NO_BUCKET, NO_KEY, INVALID (key), VERSION_GONE (another version, or none, is there now).
 */
LILIO_MUST_USE enum lilio_err coord_read_object(const struct coord_view *view,
                                                const struct proto_lookup *ask,
                                                struct proto_object *ret,
                                                struct lilio_errinfo *info);
/* Errors: NOT_FOUND. Runs that wait for collection are still there. */
LILIO_MUST_USE enum lilio_err coord_read_data(const struct coord_view *view, struct base_oid oid,
                                              struct proto_data_row *ret,
                                              struct lilio_errinfo *info);
/* Errors: NO_BUCKET, INVALID (prefix, delimiter, a token of another bucket). */
LILIO_MUST_USE enum lilio_err coord_read_listing(const struct coord_view *view,
                                                 const struct proto_list *ask,
                                                 struct proto_listing *ret,
                                                 struct lilio_errinfo *info);
/* Runs that are committed and named, strictly after an oid, up to a page. bucket_id 0 = all; a page
 * of a bucket may be empty and not the last: it goes on behind its `next'. */
LILIO_MUST_USE enum lilio_err coord_read_scan(const struct coord_view *view, uint64_t bucket_id,
                                              struct base_oid after, struct proto_scan_page *ret,
                                              struct lilio_errinfo *info);
/* Open sessions in id order, from the given id on; *ret_found false at the end. */
LILIO_MUST_USE enum lilio_err coord_read_session(const struct coord_view *view, uint64_t from_id,
                                                 struct proto_session_row *ret, bool *ret_found,
                                                 struct lilio_errinfo *info);
/* Up to room keys of the repair queue from one on. */
LILIO_MUST_USE enum lilio_err coord_read_repair(const struct coord_view *view,
                                                const struct coord_repair_key *from,
                                                struct coord_repair_key *ret_keys, size_t room,
                                                size_t *ret_count, struct lilio_errinfo *info);
/* Up to room rows of counters of stripes strictly behind a key (empty: all of them). */
struct coord_stripes_item {
    struct coord_stripes_key key;
    uint64_t counts[COORD_STRIPES_GROUP];
};
LILIO_MUST_USE enum lilio_err coord_read_stripes(const struct coord_view *view,
                                                 struct base_slice after,
                                                 struct coord_stripes_item *ret_items, size_t room,
                                                 size_t *ret_count, struct lilio_errinfo *info);
/* What the OSD of a slot has if it has everything that is not missing: the sum of
 * proto_stripe_hash() over it, at the applied index. */
LILIO_MUST_USE enum lilio_err coord_inventory_sum(struct coord_state *state, uint32_t placement,
                                                  uint32_t partition, uint32_t index, uint64_t *ret,
                                                  struct lilio_errinfo *info);
/* The first names that use the run; fewer than COORD_SCAN_NAMES, if there are no more. */
LILIO_MUST_USE enum lilio_err coord_read_names(const struct coord_view *view, struct base_oid oid,
                                               struct proto_name **ret_names, size_t *ret_count,
                                               struct lilio_errinfo *info);
/* What a run on an OSD is to the maps: named by a row (of data, references or collection); not yet,
 * its session is open; an orphan for ever; of a session that was never handed out by these maps. */
enum {
    COORD_ORPHAN_NAMED = 1,
    COORD_ORPHAN_OPEN = 2,
    COORD_ORPHAN_YES = 3,
    COORD_ORPHAN_UNKNOWN = 4,
};
LILIO_MUST_USE enum lilio_err coord_orphan_judge(const struct coord_view *view,
                                                 const struct proto_state_row *state,
                                                 struct base_oid oid, uint32_t osd,
                                                 uint8_t *ret_verdict, struct lilio_errinfo *info);
/* Up to room gc rows from a key on (all rows that wait for the key's OSD), with the key to go on
 * from. */
struct coord_gc_item {
    struct proto_gc_key key;
    struct proto_gc_row row;
};
LILIO_MUST_USE enum lilio_err coord_read_gc(const struct coord_view *view,
                                            const struct proto_gc_key *from,
                                            struct coord_gc_item *ret_items, size_t room,
                                            size_t *ret_count, struct lilio_errinfo *info);

#endif
