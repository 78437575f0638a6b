/* Stored runs: COMMIT, STAGE and DISCARD, and collection.
 *
 * The life of a run's row in column data:
 *
 *   (nothing) --STAGE--> staged --COMMIT--> committed --last name goes--> committed, with a gc row
 * --gc_done--> (nothing) |                  | |                  +--DISCARD or end of the
 * session--> a gc row, collected at once
 *       +--COMMIT with the row--> committed
 *       +--DISCARD--> a gc row, and a note in the session that a late COMMIT of the oid is refused
 */
#include "base/mark.h"
#include "coordinator/state_priv.h"

#include "base/banned.h"

uint32_t coord_run_stripes(const struct proto_data_row *row)
{
    struct codec_profile profile = coord_codec_profile(&row->profile);
    return (uint32_t)codec_stripe_count(&profile, row->stored_length);
}

enum lilio_err coord_run_check(struct coord_command *command, const struct proto_data_row *row)
{
    enum lilio_err err = proto_row_check(row, &command->info);
    if (err)
        return err;
    uint64_t stripes = coord_run_stripes(row);
    if (stripes > COORD_STRIPES_MAX)
        return coord_refuse(command, LILIO_E_TOO_BIG, "a run has at most %d stripes",
                            COORD_STRIPES_MAX);
    uint64_t fragments = 0,
             most = stripes * (row->profile.data_count + (uint64_t)row->profile.parity_count);
    for (size_t i = 0; i < row->exceptions_count; i++) {
        if (row->exceptions[i].kind == 2)
            return coord_refuse(command, LILIO_E_UNSUPPORTED, "a new run lies where its slots say");
        fragments += row->exceptions[i].stripe_count;
    }
    if (fragments > most)
        return coord_refuse(command, LILIO_E_MALFORMED, "exceptions of a run overlap");
    return LILIO_OK;
}

/* ---- deciding about a run of a COMMIT or STAGE ---- */

struct run {
    struct proto_data_row row;
    struct coord_faults faults;
    bool staged; /* registered before: its row and its note in the session are there */
};

static enum lilio_err oid_check(struct coord_command *command, struct base_oid oid)
{
    if (base_oid_group(oid) == 0 && base_oid_session(oid) == command->entry.session)
        return LILIO_OK;
    return coord_refuse(command, LILIO_E_INVALID, "the oid is not one of this session");
}

static enum lilio_err bucket_check(struct coord_command *command, const struct proto_bucket *bucket,
                                   const struct proto_data_row *row)
{
    if (row->bucket_id == bucket->id && row->placement == bucket->placement &&
        coord_profile_equal(&row->profile, &bucket->profile))
        return LILIO_OK;
    return coord_refuse(command, LILIO_E_INVALID, "the run is not coded as its bucket says");
}

/* An oid names one run for ever: one that is known, or was given up, is not taken again. */
static enum lilio_err unused_check(struct coord_command *command, struct base_oid oid)
{
    struct proto_run_row run;
    enum lilio_err err = coord_run_get(command, oid, &run);
    if (err)
        return err;
    if (run.state == COORD_RUN_DISCARDED)
        return coord_refuse(command, LILIO_E_INVALID, "the run was discarded");
    struct coord_key key = coord_key_oid(oid);
    return coord_exists(command, COORD_DATA, &key)
               ? coord_refuse(command, LILIO_E_INVALID, "the oid names a run already")
               : command->state->failed;
}

/* Stripes that have fewer durable fragments than promised are named, so that they can be written
 * again. */
static enum lilio_err quorum_check(struct coord_command *command, const struct proto_bucket *bucket,
                                   const struct run *run, uint8_t promised)
{
    uint8_t total = run->faults.total, data = run->row.profile.data_count;
    uint8_t quorum = bucket->quorum ? bucket->quorum : data < total ? (uint8_t)(data + 1) : total;
    if (promised > total)
        return coord_refuse(command, LILIO_E_INVALID, "a quorum of %u fragments is more than %u",
                            promised, total);
    quorum = promised > quorum ? promised : quorum;
    uint32_t below = 0;
    for (uint32_t stripe = 0; run->faults.missing && stripe < run->faults.stripe_count; stripe++) {
        /* What the maps say has to do to read it, whatever else is durable. */
        if (coord_faults_good(&run->faults, stripe) >= data &&
            coord_faults_durable(&run->faults, stripe) >= quorum)
            continue;
        below++;
        if (command->stripe_count < sizeof command->stripes / sizeof *command->stripes)
            command->stripes[command->stripe_count++] = stripe;
    }
    if (below == 0)
        return LILIO_OK;
    return coord_refuse(command, LILIO_E_NO_QUORUM,
                        "%u of %u stripes have fewer than %u durable fragments", below,
                        run->faults.stripe_count, quorum);
}

/* A run that comes with the command. */
static enum lilio_err run_take(struct coord_command *command, const struct proto_bucket *bucket,
                               const struct proto_data_row *row, uint64_t lowest_epoch,
                               uint8_t promised, struct run *ret)
{
    *ret = (struct run){.row = *row};
    if (lowest_epoch > command->state->row.epoch)
        return coord_refuse(command, LILIO_E_INVALID, "epoch %llu has not been reached",
                            (unsigned long long)lowest_epoch);
    enum lilio_err err = oid_check(command, row->oid);
    if (!err)
        err = coord_run_check(command, row);
    if (!err)
        err = bucket_check(command, bucket, row);
    if (!err)
        err = unused_check(command, row->oid);
    if (!err)
        err = coord_faults_load(command, row, &ret->faults);
    if (!err)
        err = coord_faults_rebound(command, row, lowest_epoch, &ret->faults);
    if (!err)
        err = quorum_check(command, bucket, ret, promised);
    return err;
}

/* A run staged before; what became of its OSDs since then counts, too. */
static enum lilio_err run_find(struct coord_command *command, const struct proto_bucket *bucket,
                               struct base_oid oid, uint8_t promised, struct run *ret)
{
    *ret = (struct run){.staged = true};
    struct proto_run_row note = {0};
    enum lilio_err err = oid_check(command, oid);
    if (!err)
        err = coord_run_get(command, oid, &note);
    if (err)
        return err;
    if (note.state != COORD_RUN_STAGED)
        return coord_refuse(command, LILIO_E_INVALID, "the run is not staged");
    struct coord_key key = coord_key_oid(oid);
    if (coord_get(command, COORD_DATA, &key, &proto_type_data_row, &ret->row))
        return coord_broken(command, "a staged run has no row");
    err = bucket_check(command, bucket, &ret->row);
    if (!err)
        err = coord_faults_load(command, &ret->row, &ret->faults);
    if (!err)
        err = coord_faults_rebound(command, &ret->row, note.epoch, &ret->faults);
    if (!err)
        err = quorum_check(command, bucket, ret, promised);
    return err;
}

static void run_put(struct coord_command *command, struct run *run, uint8_t state)
{
    run->row.state = state;
    if (coord_faults_store(command, &run->faults, &run->row))
        return;
    struct coord_key key = coord_key_oid(run->row.oid);
    coord_put(command->state, COORD_DATA, &key, &proto_type_data_row, &run->row);
    if (!run->staged)
        command->state->row.data_count++;
    if (state == COORD_RUN_COMMITTED && run->row.exceptions_count > 0)
        coord_repair_update(command, &run->row, NULL, &run->faults);
    if (state != COORD_RUN_COMMITTED)
        return;
    coord_stripes_add(command, &run->row, &run->faults);
    coord_inventory_add(command, &run->row, &run->faults);
}

/* ---- COMMIT ---- */

static enum lilio_err attributes_check(struct coord_command *command,
                                       const struct proto_version_row *row)
{
    size_t bytes = 0;
    for (size_t i = 0; i < row->attributes_count; i++)
        bytes += row->attributes[i].name.size + row->attributes[i].value.size;
    if (bytes <= COORD_ATTRIBUTE_BYTES_MAX)
        return LILIO_OK;
    return coord_refuse(command, LILIO_E_TOO_BIG, "attributes hold %zu bytes, at most %d are kept",
                        bytes, COORD_ATTRIBUTE_BYTES_MAX);
}

/* The version row against itself; its runs are looked at later. */
static enum lilio_err row_check(struct coord_command *command, const struct proto_version_row *row)
{
    if (row->kind != 1 || row->hold || row->retain_until_ms != 0 || row->origin_site != 0)
        return coord_refuse(command, LILIO_E_UNSUPPORTED, "only plain objects can be committed");
    if ((row->crc64nvme.size != 0 && row->crc64nvme.size != 8) ||
        (row->md5.size != 0 && row->md5.size != 16))
        return coord_refuse(command, LILIO_E_MALFORMED,
                            "a checksum of the version has a wrong length");
    uint64_t bytes = row->inline_bytes.size;
    if (bytes > 0 && row->extents_count > 0)
        return coord_refuse(command, LILIO_E_MALFORMED,
                            "a version has inline bytes or extents, not both");
    for (size_t i = 0; i < row->extents_count; i++) {
        const struct proto_extent *extent = &row->extents[i];
        if (extent->transform != 0)
            return coord_refuse(command, LILIO_E_UNSUPPORTED, "transform %u is not known",
                                extent->transform);
        if (extent->stored_length == 0 || extent->stored_length != extent->logical_length ||
            __builtin_add_overflow(bytes, extent->logical_length, &bytes))
            return coord_refuse(command, LILIO_E_MALFORMED, "lengths of extent %zu do not fit", i);
        for (size_t k = 0; k < i; k++)
            if (base_oid_equal(extent->oid, row->extents[k].oid))
                return coord_refuse(command, LILIO_E_MALFORMED, "a version names a run twice");
    }
    if (bytes != row->logical_size)
        return coord_refuse(command, LILIO_E_MALFORMED,
                            "the version holds %llu bytes and says %llu", (unsigned long long)bytes,
                            (unsigned long long)row->logical_size);
    return attributes_check(command, row);
}

/* The content of a small object: only where a majority of several disks holds it. */
static enum lilio_err inline_check(struct coord_command *command,
                                   const struct proto_version_row *row)
{
    struct base_slice bytes = row->inline_bytes;
    if (bytes.size == 0)
        return LILIO_OK;
    uint32_t voters = coord_state_voters(command->state);
    if (voters < COORD_INLINE_VOTERS_MIN) {
        LILIO_MARK("coordinator/inline_refused");
        return coord_refuse(command, LILIO_E_INVALID,
                            "content travels in COMMIT with %d coordinators or more, here are %u",
                            COORD_INLINE_VOTERS_MIN, voters ? voters : 1);
    }
    if (!row->has_crc32c || codec_crc32c(0, bytes.data, bytes.size) != row->crc32c)
        return coord_refuse(command, LILIO_E_INVALID,
                            "the content does not have the checksum of its version");
    return LILIO_OK;
}

static enum lilio_err condition_check(struct coord_command *command,
                                      const struct proto_commit *commit,
                                      const struct proto_version_row *old)
{
    switch (commit->condition) {
    case 0: return LILIO_OK;
    case COORD_IF_ABSENT:
        return old ? coord_refuse(command, LILIO_E_EXISTS, "the key exists already") : LILIO_OK;
    case COORD_IF_VERSION:
        if (old && coord_version_equal(commit->if_version, old->version))
            return LILIO_OK;
        return coord_refuse(command, LILIO_E_PRECONDITION, "another version is there, or none");
    default:
        return coord_refuse(command, LILIO_E_INVALID, "commit knows no condition %u",
                            commit->condition);
    }
}

static enum lilio_err runs_gather(struct coord_command *command, const struct proto_commit *commit,
                                  const struct proto_bucket *bucket, struct run *runs)
{
    const struct proto_version_row *row = &commit->row;
    if (commit->data_count > 0 &&
        (row->extents_count != 1 || !base_oid_equal(commit->data[0].oid, row->extents[0].oid)))
        return coord_refuse(command, LILIO_E_MALFORMED,
                            "the run of the command is not the one of the version");
    for (size_t i = 0; i < row->extents_count; i++) {
        const struct proto_extent *extent = &row->extents[i];
        enum lilio_err err = commit->data_count > 0
                                 ? run_take(command, bucket, &commit->data[0], commit->lowest_epoch,
                                            commit->quorum, &runs[i])
                                 : run_find(command, bucket, extent->oid, commit->quorum, &runs[i]);
        if (err)
            return err;
        uint64_t end;
        if (__builtin_add_overflow(extent->offset, extent->stored_length, &end) ||
            end > runs[i].row.stored_length)
            return coord_refuse(command, LILIO_E_MALFORMED, "extent %zu goes beyond its run", i);
    }
    return LILIO_OK;
}

static uint8_t runs_durable(const struct run *runs, size_t count, uint8_t total)
{
    uint8_t least = total;
    for (size_t i = 0; i < count; i++) {
        uint8_t durable = coord_faults_least_durable(&runs[i].faults);
        least = durable < least ? durable : least;
    }
    return least;
}

void coord_reply_committed(struct coord_command *command, const struct proto_version_row *row,
                           uint8_t total)
{
    struct proto_committed reply = {
        .version = row->version,
        .durable = row->durable_min,
        .total = total,
        .modified_ms = row->modified_ms,
    };
    uint32_t voters = coord_state_voters(command->state);
    if (row->inline_bytes.size > 0) {
        reply.total = 0;
        reply.coordinators_total = (uint8_t)(voters ? voters : 1);
        reply.coordinators = (uint8_t)(reply.coordinators_total / 2 + 1);
    }
    coord_reply(command, &proto_type_committed, &reply);
}

static void commit_write(struct coord_command *command, const struct proto_commit *commit,
                         const struct proto_bucket *bucket, struct run *runs,
                         const struct proto_version_row *old)
{
    struct proto_version_row row = commit->row;
    uint8_t total = (uint8_t)(bucket->profile.data_count + bucket->profile.parity_count);
    row.version = command->version;
    row.modified_ms = coord_modified_ms(command, old);
    row.durable_min = row.inline_bytes.size > 0 ? 0 : runs_durable(runs, row.extents_count, total);
    for (size_t i = 0; i < row.extents_count && !command->state->failed; i++) {
        run_put(command, &runs[i], COORD_RUN_COMMITTED);
        if (runs[i].staged)
            coord_run_forget(command, runs[i].row.oid);
    }
    coord_version_add(command, bucket->id, commit->key, &row, old);
    coord_reply_committed(command, &row, total);
}

enum lilio_err coord_apply_commit(struct coord_command *command)
{
    struct proto_commit commit;
    enum lilio_err err = coord_body(command, &proto_type_commit, &commit);
    struct proto_bucket bucket;
    if (!err)
        err = coord_bucket_get(command, commit.bucket_id, &bucket);
    if (!err)
        err = coord_key_check(&command->info, commit.key);
    if (!err)
        err = row_check(command, &commit.row);
    if (!err)
        err = inline_check(command, &commit.row);
    struct proto_version_row old;
    bool found = false;
    if (!err)
        err = coord_current_get(command, bucket.id, commit.key, &old, &found);
    if (!err)
        err = condition_check(command, &commit, found ? &old : NULL);
    if (err)
        return err;
    struct run *runs = coord_take(command->state, (commit.row.extents_count + 1) * sizeof *runs);
    if (!runs)
        return command->state->failed;
    err = runs_gather(command, &commit, &bucket, runs);
    if (!err)
        commit_write(command, &commit, &bucket, runs, found ? &old : NULL);
    return err;
}

/* ---- STAGE and DISCARD ---- */

enum lilio_err coord_apply_stage(struct coord_command *command)
{
    struct proto_stage stage;
    enum lilio_err err = coord_body(command, &proto_type_stage, &stage);
    struct proto_bucket bucket;
    struct run run;
    if (!err)
        err = coord_bucket_get(command, stage.data.bucket_id, &bucket);
    if (!err && coord_hot_session_row(command->session)->run_count >= COORD_SESSION_RUNS_MAX)
        err = coord_refuse(command, LILIO_E_BUSY, "the session has %d runs that are not committed",
                           COORD_SESSION_RUNS_MAX);
    if (!err)
        err = run_take(command, &bucket, &stage.data, stage.lowest_epoch, stage.quorum, &run);
    if (!err) /* what became of its OSDs is entered by the COMMIT */
        err = coord_faults_load(command, &stage.data, &run.faults);
    if (err)
        return err;
    run_put(command, &run, COORD_RUN_STAGED);
    struct proto_run_row note = {.state = COORD_RUN_STAGED, .epoch = stage.lowest_epoch};
    coord_run_put(command, run.row.oid, &note, true /* fresh */);
    return coord_reply_ok(command);
}

void coord_run_unstage(struct coord_command *command, const struct proto_data_row *row)
{
    struct proto_collect_job job = {
        .oid = row->oid,
        .placement = row->placement,
        .stripe_count = coord_run_stripes(row),
    };
    struct coord_key key = coord_key_oid(row->oid);
    coord_delete(command->state, COORD_DATA, &key);
    command->state->row.data_count--;
    coord_gc_add(command, &job, (struct proto_version){0}, COORD_GC_DISCARDED, row->stored_length);
}

static enum lilio_err discard_check(struct coord_command *command,
                                    const struct proto_collect_job *job)
{
    enum lilio_err err = oid_check(command, job->oid);
    if (err)
        return err;
    if (job->stripe_count == 0 || job->stripe_count > COORD_STRIPES_MAX)
        return coord_refuse(command, LILIO_E_INVALID, "a run has 1 to %d stripes",
                            COORD_STRIPES_MAX);
    if (!coord_state_placement(command->state, job->placement))
        return coord_refuse(command, LILIO_E_INVALID, "no such placement");
    return LILIO_OK;
}

/* What an object uses stays: discarding it says nothing. */
static void discard_run(struct coord_command *command, const struct proto_collect_job *job)
{
    struct proto_run_row note;
    struct proto_data_row row;
    if (coord_run_get(command, job->oid, &note) || note.state == COORD_RUN_DISCARDED)
        return;
    struct coord_key key = coord_key_oid(job->oid);
    enum lilio_err err = coord_get(command, COORD_DATA, &key, &proto_type_data_row, &row);
    if (err == LILIO_OK && row.state == COORD_RUN_STAGED)
        coord_run_unstage(command, &row);
    else if (err == LILIO_E_NOT_FOUND)
        coord_gc_add(command, job, (struct proto_version){0}, COORD_GC_DISCARDED,
                     0 /* length unknown */);
    else
        return;
    struct proto_run_row discarded = {.state = COORD_RUN_DISCARDED};
    coord_run_put(command, job->oid, &discarded, note.state == 0 /* fresh */);
}

enum lilio_err coord_apply_discard(struct coord_command *command)
{
    struct proto_discard discard;
    enum lilio_err err = coord_body(command, &proto_type_discard, &discard);
    for (size_t i = 0; i < discard.jobs_count && !err; i++)
        err = discard_check(command, &discard.jobs[i]);
    if (!err && coord_hot_session_row(command->session)->run_count + discard.jobs_count >
                    COORD_SESSION_RUNS_MAX)
        err = coord_refuse(command, LILIO_E_BUSY, "the session gave up %d runs already",
                           COORD_SESSION_RUNS_MAX);
    if (err)
        return err;
    for (size_t i = 0; i < discard.jobs_count && !command->state->failed; i++)
        discard_run(command, &discard.jobs[i]);
    return coord_reply_ok(command);
}

/* ---- collection ---- */

void coord_gc_add(struct coord_command *command, const struct proto_collect_job *job,
                  struct proto_version version, uint8_t reason, uint64_t stored_length)
{
    struct coord_state *state = command->state;
    uint64_t since = state->row.cluster_ms;
    struct proto_gc_row row = {
        .job = *job,
        .since_ms = since,
        .version = version,
        .reason = reason,
        .stored_length = stored_length,
    };
    struct proto_gc_key name = {
        .osd = COORD_GC_NOBODY,
        .order_ms = reason == COORD_GC_DISCARDED ? 0 : since + 1, /* 0 is due at once */
        .oid = job->oid,
    };
    struct coord_key key = coord_key_gc(&name);
    if (coord_exists(command, COORD_GC, &key))
        return;
    coord_put(state, COORD_GC, &key, &proto_type_gc_row, &row);
    state->row.gc_count++;
    state->row.gc_bytes += stored_length;
}

/* The row of a run that no name uses. A run that one does is never taken away (design rule 4). */
static bool unnamed_get(struct coord_command *command, struct base_oid oid,
                        struct proto_data_row *ret)
{
    struct coord_key key = coord_key_oid(oid), end = key;
    (void)coord_key_after_prefix(&end); /* no oid is all ones */
    return !coord_get(command, COORD_DATA, &key, &proto_type_data_row, ret) &&
           !coord_range_any(command, COORD_REFS, &key, &end);
}

/* All OSDs that are up have collected it; what is parked already was. */
static void gc_collected(struct coord_command *command, const struct proto_gc_key *name,
                         const struct proto_data_row *row)
{
    if (name->osd == COORD_GC_NOBODY)
        coord_inventory_drop(command, row);
}

/* Every OSD has confirmed: the run is gone for good. */
static void gc_finish(struct coord_command *command, const struct proto_gc_key *name,
                      const struct proto_gc_row *row)
{
    struct coord_state *state = command->state;
    struct proto_data_row run;
    state->row.gc_count--;
    state->row.gc_bytes -= row->stored_length;
    if (!unnamed_get(command, row->job.oid, &run))
        return;
    gc_collected(command, name, &run);
    struct coord_key key = coord_key_oid(row->job.oid);
    coord_delete(state, COORD_DATA, &key);
    state->row.data_count--;
}

/* OSDs that are away keep their part: the row is filed under the first of them until it is back. */
static void gc_park(struct coord_command *command, const struct proto_gc_step *step,
                    struct proto_gc_row *row)
{
    struct proto_gc_key name = step->key;
    struct proto_data_row run;
    if (unnamed_get(command, row->job.oid, &run))
        gc_collected(command, &step->key, &run);
    name.osd = (uint32_t)step->waiting[0];
    row->waiting = step->waiting;
    row->waiting_count = step->waiting_count;
    struct coord_key key = coord_key_gc(&name);
    coord_put(command->state, COORD_GC, &key, &proto_type_gc_row, row);
}

enum lilio_err coord_apply_gc_done(struct coord_command *command)
{
    struct proto_gc_done done;
    enum lilio_err err = coord_body(command, &proto_type_gc_done, &done);
    for (size_t i = 0; i < done.steps_count && !err; i++)
        for (size_t k = 0; k < done.steps[i].waiting_count && !err; k++)
            if (done.steps[i].waiting[k] > COORD_OSD_ID_MAX)
                err = coord_refuse(command, LILIO_E_INVALID, "no such OSD");
    if (err)
        return err;
    for (size_t i = 0; i < done.steps_count && !command->state->failed; i++) {
        struct proto_gc_row row;
        struct coord_key key = coord_key_gc(&done.steps[i].key);
        if (coord_get(command, COORD_GC, &key, &proto_type_gc_row, &row))
            continue; /* confirmed before */
        coord_delete(command->state, COORD_GC, &key);
        if (done.steps[i].waiting_count > 0)
            gc_park(command, &done.steps[i], &row);
        else
            gc_finish(command, &done.steps[i].key, &row);
    }
    return coord_reply_ok(command);
}
