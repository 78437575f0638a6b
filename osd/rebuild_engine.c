/* The pipeline of a rebuild: many stripes under way on one thread, each as a small state machine.
 *
 *   look ──good──> PRESENT
 *     │ missing or bad
 *     v
 *   queued ──window──> read ──enough good──> decode, write ──durable──> check ──good──> REBUILT
 *                       │ ^ next source
 *                       │ ╰─ a source is bad or gone
 *                       ╰─ nobody left ──> retry later, GONE or FAILED
 *
 * Look and check are one question to our own daemon: read the fragment from the disk and verify
 * it. They travel in batches, and so do the writes, whose syncs the owner thread shares. Sources
 * are verified when they arrive; the decoded fragment must have the checksum that the object map
 * has held since the put.
 *
 * Bounds: OSD_REBUILD_JOBS tasks, OSD_REBUILD_WINDOW_BYTES of fragments in memory.
 */
#include "osd/rebuild_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "base/pool.h"
#include "osd/check.h"
#include "osd/limits.h"
#include "osd/rebuild_peers.h"

#include "base/banned.h"

enum { BATCHES = 8, WAIT_ITEMS = 1000, TIMER_MS = 50 };
/* What a sequence number stands for, besides the fragment index of a source. */
enum { WHAT_PUT = 0xf0, WHAT_VERIFY = 0xf1 };

enum step {
    STEP_FREE,
    STEP_LOOK, /* waits for a batch: is it there? */
    STEP_LOOKING,
    STEP_QUEUED, /* waits for room in the window */
    STEP_READING,
    STEP_RETRY, /* sources or our own store were busy: at due_ms again */
    STEP_WRITING,
    STEP_CHECK, /* waits for a batch: is it there now? */
    STEP_CHECKING,
};

struct job {
    enum step step;
    uint32_t serial; /* job_count * turns + place: names this use of the place */
    struct osd_task task;
    struct codec_profile profile;
    const struct codec_coder *coder;
    struct base_fragment_key key;
    uint32_t length, checksum; /* of the fragment, as the row has them */
    struct osd_mend mend;
    struct proto_reply *sources[CODEC_TOTAL_MAX];
    uint64_t asked_ms[CODEC_TOTAL_MAX];
    uint32_t asked_osd[CODEC_TOTAL_MAX];
    size_t charged;  /* bytes of the window */
    uint64_t due_ms; /* RETRY: when; WRITING: until when */
    unsigned busy;   /* how often our own store was */
    bool search;     /* every OSD is asked, for those that should have it have it not */
    uint16_t turns[CODEC_TOTAL_MAX]; /* which of the OSDs that may have it are asked */
};

/* A fragment_verify under way. */
struct batch {
    bool open;
    uint32_t serial;
    uint32_t jobs[OSD_VERIFY_KEYS_MAX]; /* serials */
    size_t count;
    uint64_t due_ms;
};

/* Places of jobs, first in first out; never more than there are jobs. */
struct ring {
    uint32_t serials[OSD_REBUILD_JOBS];
    size_t first, count;
};

struct osd_engine {
    struct osd_engine_options options;
    struct osd_peers *peers;
    struct proto_channel *own;
    struct job jobs[OSD_REBUILD_JOBS];
    size_t job_count;        /* in use */
    struct ring ask, queued; /* LOOK and CHECK; QUEUED */
    struct batch batches[BATCHES];
    size_t open_batches;
    size_t window_bytes;
    uint64_t now_ms, timer_ms;
    struct codec_coder **coders;
    size_t coder_count;
    struct codec_plan plan;
    struct proto_arena *arena;
    enum lilio_err fatal; /* our own store cannot go on */
    struct lilio_errinfo fatal_info;
};

/* ---- small parts ---- */

static void ring_push(struct ring *ring, uint32_t serial)
{
    LILIO_ASSERT(ring->count < OSD_REBUILD_JOBS);
    ring->serials[(ring->first + ring->count++) % OSD_REBUILD_JOBS] = serial;
}

static uint32_t ring_pop(struct ring *ring)
{
    uint32_t serial = ring->serials[ring->first];
    ring->first = (ring->first + 1) % OSD_REBUILD_JOBS;
    ring->count--;
    return serial;
}

static uint64_t sequence_of(uint32_t serial, uint32_t what)
{
    return (uint64_t)serial << 8 | what;
}

/* NULL if that use of the place is over. */
static struct job *job_of(struct osd_engine *engine, uint64_t serial)
{
    struct job *job = &engine->jobs[serial % OSD_REBUILD_JOBS];
    return job->step != STEP_FREE && job->serial == serial ? job : NULL;
}

static const struct proto_cluster_map *map_of(const struct osd_engine *engine)
{
    return proto_map_ref_get(engine->options.map);
}

static const struct proto_data_row *row_of(const struct job *job)
{
    return &job->task.row->data;
}

static void fail_for_good(struct osd_engine *engine, enum lilio_err err, const char *text)
{
    if (!engine->fatal)
        engine->fatal = lilio_fail(&engine->fatal_info, err, "%s", text);
}

static struct proto_header header_of(struct osd_engine *engine, uint32_t serial, uint32_t what)
{
    return (struct proto_header){
        .sequence = sequence_of(serial, what),
        .epoch = osd_node_epoch(engine->options.node),
        .deadline_ms = OSD_REBUILD_SILENCE_MS,
    };
}

static bool same_profile(const struct codec_profile *a, const struct codec_profile *b)
{
    return a->data_count == b->data_count && a->parity_count == b->parity_count &&
           a->fragment_size == b->fragment_size && a->generator == b->generator;
}

/* Coders are made once for each profile met. NULL: the profile is impossible or memory is out. */
static const struct codec_coder *coder_get(struct osd_engine *engine,
                                           const struct codec_profile *profile)
{
    for (size_t i = 0; i < engine->coder_count; i++)
        if (same_profile(codec_coder_profile(engine->coders[i]), profile))
            return engine->coders[i];
    struct codec_coder **more =
        realloc(engine->coders, (engine->coder_count + 1) * sizeof *engine->coders);
    if (!more)
        return NULL;
    engine->coders = more;
    if (codec_coder_new(profile, &engine->coders[engine->coder_count], NULL))
        return NULL;
    return engine->coders[engine->coder_count++];
}

/* ---- pages ---- */

void osd_page_drop(struct osd_page **page)
{
    struct osd_page *mine = *page;
    *page = NULL;
    if (!mine || --mine->references > 0)
        return;
    proto_reply_free(&mine->reply);
    proto_arena_free(&mine->arena);
    free(mine);
}

/* ---- life of a job ---- */

static void sources_drop(struct osd_engine *engine, struct job *job)
{
    for (size_t i = 0; i < CODEC_TOTAL_MAX; i++)
        proto_reply_free(&job->sources[i]);
    engine->window_bytes -= job->charged;
    job->charged = 0;
}

static void job_end(struct osd_engine *engine, struct job *job, enum osd_task_outcome outcome,
                    enum lilio_err err, const char *reason)
{
    const struct osd_engine_events *events = &engine->options.events;
    sources_drop(engine, job);
    events->done(events->context, &job->task, outcome, job->length, err, reason);
    osd_page_drop(&job->task.page);
    job->step = STEP_FREE;
    engine->job_count--;
}

static void retry_later(struct osd_engine *engine, struct job *job, uint32_t wait_ms)
{
    job->step = STEP_RETRY;
    job->due_ms = engine->now_ms + wait_ms;
    if (engine->timer_ms > job->due_ms)
        engine->timer_ms = job->due_ms;
}

/* Fills what follows from the row. Errors: INVALID. */
static enum lilio_err job_describe(struct osd_engine *engine, struct job *job)
{
    const struct proto_data_row *row = row_of(job);
    const struct osd_task *task = &job->task;
    const struct proto_placement *placement = proto_map_placement(map_of(engine), row->placement);
    job->profile = osd_rebuild_profile(row);
    job->coder = coder_get(engine, &job->profile);
    if (!placement || !job->coder ||
        !proto_row_checksum(row, task->stripe, task->index, &job->checksum))
        return LILIO_E_INVALID;
    job->length = codec_fragment_size(
        &job->profile, codec_stripe_length(&job->profile, row->stored_length, task->stripe));
    job->key = (struct base_fragment_key){
        .placement = row->placement,
        .partition = proto_partition(placement->partition_bits, row->oid, task->stripe),
        .oid = row->oid,
        .stripe = task->stripe,
        .index = task->index,
    };
    return LILIO_OK;
}

static struct job *job_begin(struct osd_engine *engine, const struct osd_task *task)
{
    size_t place = 0;
    while (engine->jobs[place].step != STEP_FREE)
        place++;
    struct job *job = &engine->jobs[place];
    uint32_t serial = job->serial + OSD_REBUILD_JOBS;
    *job = (struct job){.step = STEP_LOOK, .serial = serial, .task = *task};
    job->task.page->references++;
    engine->job_count++;
    return job;
}

/* ---- is it here? ---- */

static struct proto_fragment_key wire_key(const struct base_fragment_key *key)
{
    return (struct proto_fragment_key){
        .placement = key->placement,
        .partition = key->partition,
        .oid = key->oid,
        .stripe = key->stripe,
        .index = (uint8_t)key->index,
        .generation = key->generation,
    };
}

static struct batch *batch_free(struct osd_engine *engine)
{
    for (size_t i = 0; i < BATCHES; i++)
        if (!engine->batches[i].open)
            return &engine->batches[i];
    return NULL;
}

/* Asks about the first jobs of the ring. False if our own daemon takes no more now. */
static bool batch_send(struct osd_engine *engine, struct batch *batch)
{
    struct proto_fragment_key keys[OSD_VERIFY_KEYS_MAX];
    size_t count =
        engine->ask.count < OSD_VERIFY_KEYS_MAX ? engine->ask.count : OSD_VERIFY_KEYS_MAX;
    for (size_t i = 0; i < count; i++) {
        batch->jobs[i] = engine->ask.serials[(engine->ask.first + i) % OSD_REBUILD_JOBS];
        keys[i] = wire_key(&job_of(engine, batch->jobs[i])->key);
    }
    struct proto_fragment_verify verify = {.keys = keys, .keys_count = count};
    batch->serial += BATCHES;
    struct proto_header header = header_of(engine, batch->serial, WHAT_VERIFY);
    if (!proto_channel_ready(engine->own) ||
        proto_channel_send(engine->own, &header, &proto_type_fragment_verify, &verify, NULL))
        return false;
    for (size_t i = 0; i < count; i++) {
        struct job *job = job_of(engine, ring_pop(&engine->ask));
        job->step = job->step == STEP_LOOK ? STEP_LOOKING : STEP_CHECKING;
    }
    batch->count = count;
    batch->open = true;
    batch->due_ms = engine->now_ms + OSD_REBUILD_OWN_TIMEOUT_MS;
    engine->open_batches++;
    return true;
}

/* Full batches at once; a partial one only when nothing else is asked. */
static void batches_send(struct osd_engine *engine)
{
    while (engine->ask.count >= OSD_VERIFY_KEYS_MAX ||
           (engine->ask.count > 0 && engine->open_batches == 0)) {
        struct batch *batch = batch_free(engine);
        if (!batch || !batch_send(engine, batch))
            return;
    }
}

static bool as_in_row(const struct job *job, const struct proto_fragment_state *state)
{
    return state->err == LILIO_OK && state->checksum == job->checksum &&
           state->payload_length == job->length;
}

static void looked(struct osd_engine *engine, struct job *job,
                   const struct proto_fragment_state *state)
{
    if (as_in_row(job, state)) {
        job_end(engine, job, OSD_TASK_PRESENT, LILIO_OK, "");
        return;
    }
    job->step = STEP_QUEUED;
    ring_push(&engine->queued, job->serial);
}

static void checked(struct osd_engine *engine, struct job *job,
                    const struct proto_fragment_state *state)
{
    if (as_in_row(job, state)) {
        job_end(engine, job, OSD_TASK_REBUILT, LILIO_OK, "");
        return;
    }
    char reason[128];
    enum lilio_err err = state->err ? (enum lilio_err)state->err : LILIO_E_CORRUPT;
    (void)snprintf(reason, sizeof reason, "written, but not as it should be when read again: %s",
                   lilio_err_text(err));
    job_end(engine, job, OSD_TASK_FAILED, err, reason);
}

/* Puts the batch's jobs back, to be asked about again. */
static void batch_again(struct osd_engine *engine, struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct job *job = job_of(engine, batch->jobs[i]);
        if (!job)
            continue;
        job->step = job->step == STEP_LOOKING ? STEP_LOOK : STEP_CHECK;
        ring_push(&engine->ask, job->serial);
    }
}

static void batch_answered(struct osd_engine *engine, struct batch *batch,
                           const struct proto_reply *reply)
{
    struct proto_fragment_states states;
    struct lilio_errinfo info = {0};
    batch->open = false;
    engine->open_batches--;
    enum lilio_err err = LILIO_E_MALFORMED;
    if (reply->type == &proto_type_fragment_states)
        err = proto_fragment_states_unpack(reply->body, engine->arena, &states, &info);
    if (!err && states.states_count != batch->count)
        err = LILIO_E_MALFORMED;
    for (size_t i = 0; !err && i < batch->count; i++) {
        struct job *job = job_of(engine, batch->jobs[i]);
        if (job && job->step == STEP_LOOKING)
            looked(engine, job, &states.states[i]);
        else if (job && job->step == STEP_CHECKING)
            checked(engine, job, &states.states[i]);
    }
    if (err)
        fail_for_good(engine, err, "our own daemon's answer makes no sense");
}

/* ---- reading sources ---- */

static uint32_t source_at(struct osd_engine *engine, const struct job *job, uint32_t index,
                          size_t turn)
{
    return osd_rebuild_source(map_of(engine), row_of(job), job->task.stripe, index,
                              index == job->task.index, turn);
}

/* The OSD the fragment is asked of now. */
static uint32_t source_osd(struct osd_engine *engine, const struct job *job, uint32_t index)
{
    return source_at(engine, job, index, job->turns[index]);
}

/* Whether another OSD may have it: that one is next. */
static bool source_turn(struct osd_engine *engine, struct job *job, uint32_t index)
{
    size_t end = OSD_SOURCE_TURNS + (job->search ? map_of(engine)->osds_count : 0);
    for (size_t turn = job->turns[index] + 1u; turn < end; turn++)
        if (source_at(engine, job, index, turn) != PROTO_OSD_NONE) {
            job->turns[index] = (uint16_t)turn;
            return true;
        }
    return false;
}

static void source_ask(struct osd_engine *engine, struct job *job, uint32_t index);

static void source_failed(struct osd_engine *engine, struct job *job, uint32_t index,
                          enum lilio_err err)
{
    uint32_t osd = job->asked_osd[index];
    if (source_turn(engine, job, index)) {
        source_ask(engine, job, index);
        return;
    }
    osd_mend_result(&job->mend, index, osd, err);
    if (osd_peers_away(engine->peers, osd)) {
        LILIO_MARK("osd/rebuild_waits_for_none_away");
        osd_mend_away(&job->mend, index);
    }
}

static void source_ask(struct osd_engine *engine, struct job *job, uint32_t index)
{
    struct proto_fragment_get get = {
        .key = wire_key(&job->key),
        .block_count = codec_block_count(job->length),
        .repair = true,
    };
    get.key.index = (uint8_t)index;
    uint32_t osd = source_osd(engine, job, index);
    get.elsewhere = osd != proto_fragment_osd(map_of(engine), row_of(job), job->task.stripe, index);
    struct proto_header header = header_of(engine, job->serial, index);
    enum lilio_err err = osd == PROTO_OSD_NONE ? LILIO_E_MISSING
                                               : osd_peers_ask(engine->peers, osd, &header,
                                                               &proto_type_fragment_get, &get);
    job->asked_ms[index] = engine->now_ms;
    job->asked_osd[index] = osd;
    if (err)
        source_failed(engine, job, index, err);
}

static void mend_go_on(struct osd_engine *engine, struct job *job);

/* Slots that moved more than once leave fragments at OSDs the maps do not know any more. */
static void search_begin(struct osd_engine *engine, struct job *job)
{
    LILIO_MARK("osd/fragment_searched");
    job->search = true;
    for (size_t i = 0; i < CODEC_TOTAL_MAX; i++)
        job->turns[i] = OSD_SOURCE_TURNS - 1;
    osd_mend_search(&job->mend);
    for (uint64_t left = job->mend.first | job->mend.copy; left; left &= left - 1) {
        uint32_t index = (uint32_t)__builtin_ctzll(left);
        if (source_turn(engine, job, index))
            continue;
        job->mend.first &= ~(UINT64_C(1) << index); /* there is nobody else */
        job->mend.copy &= ~(UINT64_C(1) << index);
        job->mend.failed |= UINT64_C(1) << index;
    }
    mend_go_on(engine, job);
}

static void mend_stuck(struct osd_engine *engine, struct job *job)
{
    const struct osd_engine_events *events = &engine->options.events;
    uint32_t wait_ms;
    if (!job->search && osd_mend_may_again(&job->mend, &wait_ms)) {
        retry_later(engine, job, wait_ms);
        return;
    }
    if (events->gone(events->context, &job->task)) {
        job_end(engine, job, OSD_TASK_GONE, LILIO_OK, "");
        return;
    }
    if (!job->search) {
        search_begin(engine, job);
        return;
    }
    char reason[512];
    osd_mend_explain(&job->mend, reason, sizeof reason);
    job_end(engine, job, OSD_TASK_FAILED, LILIO_E_LOST, reason);
}

static void job_write(struct osd_engine *engine, struct job *job);

/* Asks for what is still needed, or goes on when enough is here. */
static void mend_go_on(struct osd_engine *engine, struct job *job)
{
    for (int index; (index = osd_mend_next(&job->mend)) >= 0;)
        source_ask(engine, job, (uint32_t)index);
    switch (osd_mend_state(&job->mend)) {
    case OSD_MEND_READING: break;
    case OSD_MEND_READY: job_write(engine, job); break;
    case OSD_MEND_STUCK: mend_stuck(engine, job); break;
    }
}

/* Indexes that are not at this OSD itself, which are those it is here to mend; the wanted one, if
 * somebody else may have a copy of it. */
static uint64_t elsewhere(struct osd_engine *engine, const struct job *job)
{
    uint64_t own = osd_rebuild_own(map_of(engine), row_of(job), job->task.stripe,
                                   osd_node_id(engine->options.node));
    uint64_t wanted = UINT64_C(1) << job->task.index;
    bool copy = source_osd(engine, job, job->task.index) != PROTO_OSD_NONE;
    return copy ? ~own | wanted : ~(own | wanted);
}

/* Takes queued jobs into the window; always at least one. */
static void queued_begin(struct osd_engine *engine)
{
    while (engine->queued.count > 0) {
        struct job *job = job_of(engine, engine->queued.serials[engine->queued.first]);
        size_t bytes = ((size_t)job->profile.data_count + 1) * job->length;
        if (engine->window_bytes > 0 && engine->window_bytes + bytes > OSD_REBUILD_WINDOW_BYTES)
            return;
        (void)ring_pop(&engine->queued);
        job->charged = bytes;
        engine->window_bytes += bytes;
        osd_mend_init(&job->mend, job->coder, map_of(engine), row_of(job), job->task.stripe,
                      job->task.index, elsewhere(engine, job));
        job->step = STEP_READING;
        mend_go_on(engine, job);
    }
}

/* The error an OSD answered, bounded to our own numbers. */
static enum lilio_err error_of(struct osd_engine *engine, const struct proto_reply *reply,
                               struct proto_error *ret)
{
    *ret = (struct proto_error){0};
    if (reply->type != &proto_type_error ||
        proto_error_unpack(reply->body, engine->arena, ret, NULL) || ret->code >= 0)
        return LILIO_E_MALFORMED;
    return ret->code;
}

static enum lilio_err source_take(struct osd_engine *engine, struct job *job, uint32_t index,
                                  struct proto_reply *reply)
{
    struct proto_fragment fragment;
    struct proto_error error;
    uint32_t checksum = 0;
    if (reply->type != &proto_type_fragment)
        return error_of(engine, reply, &error);
    enum lilio_err err = proto_fragment_unpack(reply->body, engine->arena, &fragment, NULL);
    if (err)
        return LILIO_E_MALFORMED;
    if (!proto_row_checksum(row_of(job), job->task.stripe, index, &checksum))
        return LILIO_E_MISSING;
    return osd_source_check(&fragment, reply->payload, job->length, checksum, NULL);
}

/* Whether the maps think the fragment is there, so that its absence is news. */
static bool is_news(const struct proto_cluster_map *map, const struct job *job, uint32_t index,
                    enum lilio_err err)
{
    return (err == LILIO_E_MISSING || err == LILIO_E_CORRUPT) &&
           !(proto_row_missing(row_of(job), job->task.stripe) >> index & 1) &&
           !(proto_row_filling(map, row_of(job), job->task.stripe) >> index & 1) &&
           index != job->task.index && !job->search;
}

static void source_answered(struct osd_engine *engine, struct proto_reply *reply)
{
    const struct osd_engine_events *events = &engine->options.events;
    uint32_t index = (uint32_t)(reply->header.sequence & 0xff);
    struct job *job = job_of(engine, reply->header.sequence >> 8);
    if (!job || job->step != STEP_READING || index >= CODEC_TOTAL_MAX ||
        !(job->mend.asked >> index & 1)) {
        proto_reply_free(&reply); /* late */
        return;
    }
    events->source_read(events->context, reply->payload.size);
    enum lilio_err err = source_take(engine, job, index, reply);
    if (is_news(map_of(engine), job, index, err))
        events->bad_source(events->context, &job->task, index, err);
    if (err)
        proto_reply_free(&reply);
    job->sources[index] = reply;
    if (err) {
        source_failed(engine, job, index, err);
    } else {
        if (job->search)
            LILIO_MARK("osd/fragment_found_elsewhere");
        osd_mend_result(&job->mend, index, job->asked_osd[index], LILIO_OK);
    }
    mend_go_on(engine, job);
}

/* ---- decode and write ---- */

static void buffer_release(void *data, void *hint)
{
    (void)hint;
    free(data);
}

/* Block by block, so that what was decoded is still in the cache when it is checksummed. */
static void decode(const struct codec_plan *plan, struct job *job, uint8_t *target,
                   uint32_t *ret_checksums)
{
    for (uint32_t at = 0; at < job->length; at += CODEC_BLOCK) {
        uint32_t part = job->length - at < CODEC_BLOCK ? job->length - at : CODEC_BLOCK;
        uint8_t *sources[CODEC_TOTAL_MAX];
        uint8_t *targets[1] = {target + at};
        for (uint32_t i = 0; i < plan->source_count; i++) {
            struct base_slice payload = job->sources[plan->source[i]]->payload;
            sources[i] = (uint8_t *)(uintptr_t)payload.data + at; /* read only */
        }
        codec_plan_run(plan, part, sources, targets);
        ret_checksums[at / CODEC_BLOCK] = codec_crc32c(0, target + at, part);
    }
}

static enum lilio_err put_send(struct osd_engine *engine, struct job *job, uint8_t *bytes,
                               const uint32_t *checksums)
{
    const struct proto_scan_row *scan = job->task.row;
    uint8_t packed[4 * CODEC_BLOCKS_MAX];
    uint32_t blocks = codec_block_count(job->length);
    for (uint32_t i = 0; i < blocks; i++)
        base_le32_put(packed + 4 * (size_t)i, checksums[i]);
    struct proto_fragment_put put = {
        .key = wire_key(&job->key),
        .bucket_id = scan->data.bucket_id,
        .object_key = scan->names_count ? scan->names[0].key : (struct base_slice){0},
        .profile = scan->data.profile,
        .stripe_length =
            codec_stripe_length(&job->profile, scan->data.stored_length, job->task.stripe),
        .payload_length = job->length,
        .block_checksums = base_slice(packed, 4 * (size_t)blocks),
    };
    struct proto_payload payload = {bytes, job->length, buffer_release, NULL};
    struct proto_header header = header_of(engine, job->serial, WHAT_PUT);
    header.deadline_ms = OSD_REBUILD_OWN_TIMEOUT_MS;
    return proto_channel_send(engine->own, &header, &proto_type_fragment_put, &put, &payload);
}

static void write_later(struct osd_engine *engine, struct job *job)
{
    if (++job->busy > OSD_REBUILD_BUSY_MAX) {
        fail_for_good(engine, LILIO_E_BUSY, "our own store stays busy");
        return;
    }
    retry_later(engine, job, OSD_REBUILD_BUSY_MS);
}

/* What the good sources make of it. Errors: NOMEM, CORRUPT, what no plan can be made of. */
static enum lilio_err job_decode(struct osd_engine *engine, struct job *job, uint8_t *target,
                                 uint32_t *ret_checksums)
{
    enum lilio_err err =
        codec_plan_make(job->coder, job->mend.good, job->mend.wanted, &engine->plan, NULL);
    if (err)
        return err;
    decode(&engine->plan, job, target, ret_checksums);
    return codec_fragment_checksum(ret_checksums, codec_block_count(job->length)) == job->checksum
               ? LILIO_OK
               : LILIO_E_CORRUPT;
}

/* A copy was verified when it came. */
static void job_copy(const struct job *job, uint8_t *target, uint32_t *ret_checksums)
{
    LILIO_MARK("osd/fragment_copied");
    memcpy(target, job->sources[job->task.index]->payload.data, job->length);
    codec_block_checksums(target, job->length, ret_checksums);
}

/* Makes the fragment of the good sources and sends it to our own store. */
static void job_write(struct osd_engine *engine, struct job *job)
{
    uint32_t checksums[CODEC_BLOCKS_MAX];
    uint8_t *target = base_frag_malloc_take(job->length);
    enum lilio_err err = target ? LILIO_OK : LILIO_E_NOMEM;
    if (!err && osd_mend_copied(&job->mend))
        job_copy(job, target, checksums);
    else if (!err)
        err = job_decode(engine, job, target, checksums);
    if (err) {
        free(target);
        job_end(engine, job, OSD_TASK_FAILED, err,
                err == LILIO_E_CORRUPT ? "decoded from verified sources, but not what the maps say"
                                       : lilio_err_text(err));
        return;
    }
    err = put_send(engine, job, target, checksums);
    if (err) {
        write_later(engine, job);
        return;
    }
    job->step = STEP_WRITING;
    job->due_ms = engine->now_ms + OSD_REBUILD_OWN_TIMEOUT_MS;
}

static void put_answered(struct osd_engine *engine, struct job *job,
                         const struct proto_reply *reply)
{
    if (reply->type == &proto_type_fragment_stored) {
        sources_drop(engine, job);
        job->step = STEP_CHECK;
        ring_push(&engine->ask, job->serial);
        return;
    }
    struct proto_error error;
    enum lilio_err err = error_of(engine, reply, &error);
    char text[512];
    (void)snprintf(text, sizeof text, "%.*s", (int)error.text.size, (const char *)error.text.data);
    switch (err) {
    case LILIO_E_BUSY:
    case LILIO_E_NOMEM: write_later(engine, job); break;
    case LILIO_E_VERSION_GONE: job_end(engine, job, OSD_TASK_GONE, LILIO_OK, ""); break;
    case LILIO_E_NO_SPACE:
    case LILIO_E_READ_ONLY:
    case LILIO_E_IO:
    case LILIO_E_UNAVAILABLE:
    case LILIO_E_BLANK: fail_for_good(engine, err, text); break;
    default: job_end(engine, job, OSD_TASK_FAILED, err, text);
    }
}

/* An answer of our own daemon. */
static void own_answered(struct osd_engine *engine, struct proto_reply *reply)
{
    uint64_t serial = reply->header.sequence >> 8;
    if ((reply->header.sequence & 0xff) == WHAT_PUT) {
        struct job *job = job_of(engine, serial);
        if (job && job->step == STEP_WRITING)
            put_answered(engine, job, reply);
        return;
    }
    struct batch *batch = &engine->batches[serial % BATCHES];
    struct proto_error error;
    if (!batch->open || batch->serial != serial)
        return;
    if (reply->type != &proto_type_error) {
        batch_answered(engine, batch, reply);
        return;
    }
    enum lilio_err err = error_of(engine, reply, &error);
    batch->open = false;
    engine->open_batches--;
    if (err == LILIO_E_BUSY || err == LILIO_E_NOMEM)
        batch_again(engine, batch);
    else
        fail_for_good(engine, err, lilio_err_text(err));
}

/* ---- time ---- */

/* Sources that said nothing are taken for silent. */
static void sources_expire(struct osd_engine *engine, struct job *job)
{
    bool expired = false;
    for (uint32_t i = 0; i < CODEC_TOTAL_MAX; i++) {
        if (!(job->mend.asked >> i & 1) ||
            engine->now_ms - job->asked_ms[i] < OSD_REBUILD_SILENCE_MS)
            continue;
        osd_peers_silent(engine->peers, source_osd(engine, job, i));
        source_failed(engine, job, i, LILIO_E_TIMEOUT);
        expired = true;
    }
    if (expired)
        mend_go_on(engine, job);
}

/* What an OSD was asked is lost with its connection. */
static void sources_lost(struct osd_engine *engine, uint32_t osd)
{
    for (size_t place = 0; place < OSD_REBUILD_JOBS; place++) {
        struct job *job = &engine->jobs[place];
        bool lost = false;
        for (uint32_t i = 0; job->step == STEP_READING && i < CODEC_TOTAL_MAX; i++) {
            if (!(job->mend.asked >> i & 1) || source_osd(engine, job, i) != osd)
                continue;
            source_failed(engine, job, i, LILIO_E_UNAVAILABLE);
            lost = true;
        }
        if (lost)
            mend_go_on(engine, job);
    }
}

static void retry(struct osd_engine *engine, struct job *job)
{
    job->step = STEP_READING;
    memset(job->turns, 0, sizeof job->turns);
    if (osd_mend_state(&job->mend) == OSD_MEND_STUCK)
        osd_mend_again(&job->mend);
    mend_go_on(engine, job);
}

/* Sets when it is to be called next. */
static void timers_run(struct osd_engine *engine)
{
    engine->timer_ms = engine->now_ms + TIMER_MS;
    for (size_t place = 0; place < OSD_REBUILD_JOBS; place++) {
        struct job *job = &engine->jobs[place];
        if (job->step == STEP_RETRY && engine->now_ms >= job->due_ms)
            retry(engine, job);
        else if (job->step == STEP_READING)
            sources_expire(engine, job);
        else if (job->step == STEP_WRITING && engine->now_ms >= job->due_ms)
            fail_for_good(engine, LILIO_E_TIMEOUT, "our own store does not answer");
        if (job->step == STEP_RETRY && job->due_ms < engine->timer_ms)
            engine->timer_ms = job->due_ms;
    }
    for (size_t i = 0; i < BATCHES; i++)
        if (engine->batches[i].open && engine->now_ms >= engine->batches[i].due_ms)
            fail_for_good(engine, LILIO_E_TIMEOUT, "our own store does not answer");
}

/* ---- the loop ---- */

static bool wait_for_answers(struct osd_engine *engine, uint32_t timeout_ms)
{
    struct proto_wait_item items[WAIT_ITEMS + 3];
    size_t count = 0, stops = 0;
    for (size_t i = 0; i < 2; i++)
        if (engine->options.stop_fds[i] >= 0)
            items[count++] = (struct proto_wait_item){.fd = engine->options.stop_fds[i]};
    stops = count;
    items[count++] = (struct proto_wait_item){.channel = engine->own};
    count += osd_peers_items(engine->peers, items + count, WAIT_ITEMS);
    (void)proto_wait(items, count, (int)timeout_ms); /* all channels are looked at */
    for (size_t i = 0; i < stops; i++)
        if (items[i].ret_readable)
            return false;
    return true;
}

static void answers_take(struct osd_engine *engine)
{
    struct proto_reply *reply;
    uint32_t osd;
    proto_arena_clear(engine->arena);
    while ((reply = proto_channel_receive(engine->own)) != NULL) {
        own_answered(engine, reply);
        proto_reply_free(&reply);
    }
    while ((reply = osd_peers_receive(engine->peers, &osd)) != NULL)
        source_answered(engine, reply);
    while (osd_peers_broken(engine->peers, &osd))
        sources_lost(engine, osd);
}

/* One turn: everything that can go on does, then waits for an answer. Answers come before timers: a
 * call to the coordinator may have held us up for longer than anybody here was silent. */
static enum lilio_err pump(struct osd_engine *engine, struct lilio_errinfo *info)
{
    osd_peers_refresh(engine->peers);
    engine->now_ms = base_now_ms(osd_node_clock(engine->options.node));
    answers_take(engine);
    if (engine->now_ms >= engine->timer_ms)
        timers_run(engine);
    queued_begin(engine);
    batches_send(engine);
    if (engine->fatal) {
        if (info)
            *info = engine->fatal_info;
        return engine->fatal;
    }
    uint32_t wait_ms = engine->timer_ms > engine->now_ms && engine->job_count > 0
                           ? (uint32_t)(engine->timer_ms - engine->now_ms)
                           : 0;
    return wait_for_answers(engine, wait_ms) ? LILIO_OK
                                             : lilio_fail(info, LILIO_E_CANCELLED, "stopped");
}

enum lilio_err osd_engine_add(struct osd_engine *engine, const struct osd_task *task,
                              struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    while (!err && engine->job_count == OSD_REBUILD_JOBS)
        err = pump(engine, info);
    if (err)
        return err;
    struct job *job = job_begin(engine, task);
    if (job_describe(engine, job)) {
        job_end(engine, job, OSD_TASK_FAILED, LILIO_E_INVALID,
                "the row in the maps makes no sense");
        return LILIO_OK;
    }
    ring_push(&engine->ask, job->serial);
    return LILIO_OK;
}

enum lilio_err osd_engine_step(struct osd_engine *engine, struct lilio_errinfo *info)
{
    return pump(engine, info);
}

bool osd_engine_busy(const struct osd_engine *engine)
{
    return engine->job_count > 0;
}

enum lilio_err osd_engine_drain(struct osd_engine *engine, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    while (!err && engine->job_count > 0)
        err = pump(engine, info);
    return err;
}

/* ---- life ---- */

enum lilio_err osd_engine_new(const struct osd_engine_options *options,
                              struct osd_engine **ret_engine, struct lilio_errinfo *info)
{
    struct osd_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for a rebuild");
    engine->options = *options;
    for (uint32_t i = 0; i < OSD_REBUILD_JOBS; i++)
        engine->jobs[i].serial = i;
    for (uint32_t i = 0; i < BATCHES; i++)
        engine->batches[i].serial = i;
    enum lilio_err err = osd_peers_new(options->node, options->context, &engine->peers);
    if (!err)
        err = proto_arena_new(&engine->arena);
    if (!err)
        err = proto_channel_new(options->context, options->own_endpoint, &engine->own, info);
    if (err) {
        osd_engine_free(&engine);
        return lilio_prefix(info, err, "rebuild");
    }
    *ret_engine = engine;
    return LILIO_OK;
}

void osd_engine_free(struct osd_engine **engine)
{
    struct osd_engine *mine = *engine;
    *engine = NULL;
    if (!mine)
        return;
    for (size_t place = 0; place < OSD_REBUILD_JOBS; place++) {
        if (mine->jobs[place].step == STEP_FREE)
            continue;
        sources_drop(mine, &mine->jobs[place]);
        osd_page_drop(&mine->jobs[place].task.page);
    }
    osd_peers_free(&mine->peers);
    proto_channel_free(&mine->own);
    proto_arena_free(&mine->arena);
    for (size_t i = 0; i < mine->coder_count; i++)
        codec_coder_free(&mine->coders[i]);
    free(mine->coders);
    free(mine);
}
