#include "coordinator/snapshot_pull.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "codec/codec.h"
#include "coordinator/worker.h"

#include "base/banned.h"

#define FOLDER COORD_PULL_FOLDER
enum {
    FLIGHTS = 4, /* chunks under way */
    PATH_ROOM = 128,
    SILENT_MS = 30000,
    LOOK_MS = 100, /* how often a wait looks for a cancellation */
};

struct flight {
    uint64_t sequence; /* 0 = free */
    size_t file;
    uint64_t offset;
    uint32_t size;
    bool sent;
};

struct coord_pull {
    char *path, *endpoint;
    struct base_disk *disk;
    struct proto_context *context;
    struct base_uuid cluster_id;
    uint64_t member;
    uint64_t silent_ms;
    struct coord_worker *worker;
    atomic_bool cancelled;
    _Atomic uint64_t done_bytes, total_bytes, checked_bytes;
    struct coord_position position; /* the thread's until it is over */

    /* The thread's. */
    struct proto_channel *channel;
    struct proto_arena *arena;
    struct proto_snapshot snapshot; /* its names borrow from open_reply */
    struct proto_reply *open_reply;
    uint64_t sequence, heard_ms;
    struct flight flights[FLIGHTS];
    size_t next_file;
    uint64_t next_offset;
};

/* ---- waiting ---- */

static uint64_t now_ms(void)
{
    return base_now_ms(base_clock_system());
}

/* Waits a little for the channel; errors: CANCELLED, TIMEOUT. */
static enum lilio_err wait_a_little(struct coord_pull *pull, bool want_ready,
                                    struct lilio_errinfo *info)
{
    if (atomic_load(&pull->cancelled))
        return lilio_fail(info, LILIO_E_CANCELLED, "cancelled");
    if (now_ms() - pull->heard_ms >= pull->silent_ms)
        return lilio_fail(info, LILIO_E_TIMEOUT, "nothing came for %llu ms",
                          (unsigned long long)pull->silent_ms);
    struct proto_wait_item item = {.channel = pull->channel, .want_ready = want_ready};
    (void)proto_wait(&item, 1, LOOK_MS); /* whatever woke it, the callers look again */
    return LILIO_OK;
}

/* An error reply as our own error. */
static enum lilio_err refused(struct coord_pull *pull, const struct proto_reply *reply,
                              struct lilio_errinfo *info)
{
    struct proto_error error;
    if (reply->type != &proto_type_error)
        return lilio_fail(info, LILIO_E_MALFORMED, "an answer of type %s", reply->type->name);
    enum lilio_err err = proto_error_unpack(reply->body, pull->arena, &error, info);
    if (err)
        return err;
    bool known = error.code < 0 && strcmp(lilio_err_name(error.code), "UNKNOWN") != 0;
    return lilio_fail(info, known ? (enum lilio_err)error.code : LILIO_E_INTERNAL, "%.*s",
                      (int)error.text.size, (const char *)error.text.data);
}

/* ---- what there is ---- */

/* The other side is not trusted: names without folders, sizes that can be. */
static enum lilio_err check_files(struct coord_pull *pull, struct lilio_errinfo *info)
{
    const struct proto_snapshot *snapshot = &pull->snapshot;
    uint64_t total = 0;
    for (size_t i = 0; i < snapshot->files_count; i++) {
        const struct proto_snapshot_file *file = &snapshot->files[i];
        char name[COORD_SNAPSHOT_NAME_MAX + 1] = {0}, path[PATH_ROOM];
        bool fits = file->name.size > 0 && file->name.size <= COORD_SNAPSHOT_NAME_MAX;
        if (fits)
            memcpy(name, file->name.data, file->name.size);
        if (!fits || !coord_names_join(FOLDER, name, path, sizeof path))
            return lilio_fail(info, LILIO_E_MALFORMED, "file %zu has no name of a file", i);
        for (size_t j = 0; j < i; j++)
            if (base_slice_equal(snapshot->files[j].name, file->name))
                return lilio_fail(info, LILIO_E_MALFORMED, "file %s is there twice", name);
        if (file->size > INT64_MAX || __builtin_add_overflow(total, file->size, &total))
            return lilio_fail(info, LILIO_E_MALFORMED, "file %s is too large", name);
    }
    if (snapshot->files_count == 0)
        return lilio_fail(info, LILIO_E_MALFORMED, "there are no files");
    atomic_store(&pull->total_bytes, total);
    return LILIO_OK;
}

static enum lilio_err open_snapshot(struct coord_pull *pull, struct lilio_errinfo *info)
{
    const struct proto_snapshot_open ask = {.cluster_id = pull->cluster_id, .member = pull->member};
    bool sent = false;
    enum lilio_err err = LILIO_OK;
    while (!err && !pull->open_reply) {
        bool ready = proto_channel_ready(pull->channel);
        struct proto_reply *reply = proto_channel_receive(pull->channel);
        if (reply && reply->header.sequence == pull->sequence && sent) {
            pull->open_reply = reply;
            break;
        }
        proto_reply_free(&reply);
        sent = sent && ready; /* asking again does not pin twice */
        if (ready && !sent) {
            const struct proto_header header = {.sequence = ++pull->sequence};
            sent =
                !proto_channel_send(pull->channel, &header, &proto_type_snapshot_open, &ask, NULL);
        }
        err = wait_a_little(pull, !sent, info);
    }
    if (err)
        return err;
    pull->heard_ms = now_ms();
    if (pull->open_reply->type != &proto_type_snapshot)
        return refused(pull, pull->open_reply, info);
    err = proto_snapshot_unpack(pull->open_reply->body, pull->arena, &pull->snapshot, info);
    return err ? err : check_files(pull, info);
}

/* ---- chunks ---- */

static void path_of(const struct coord_pull *pull, size_t file, char ret_path[PATH_ROOM])
{
    const struct base_slice name = pull->snapshot.files[file].name;
    (void)snprintf(ret_path, PATH_ROOM, FOLDER "/%.*s", (int)name.size,
                   (const char *)name.data); /* was checked */
}

/* Files without bytes have no chunks. */
static enum lilio_err create_file(struct coord_pull *pull, size_t at, struct lilio_errinfo *info)
{
    char path[PATH_ROOM];
    struct base_file *file = NULL;
    path_of(pull, at, path);
    enum lilio_err err = pull->disk->ops->open(pull->disk, path,
                                               BASE_OPEN_CREATE | BASE_OPEN_EXCLUSIVE, &file, info);
    base_file_close(&file);
    return err;
}

/* The next part of the next file into a free flight; false: everything is asked for. */
static bool next_chunk(struct coord_pull *pull, struct flight *flight)
{
    while (pull->next_file < pull->snapshot.files_count &&
           pull->next_offset == pull->snapshot.files[pull->next_file].size) {
        pull->next_file++;
        pull->next_offset = 0;
    }
    if (pull->next_file == pull->snapshot.files_count)
        return false;
    uint64_t left = pull->snapshot.files[pull->next_file].size - pull->next_offset;
    uint32_t size = left < COORD_SNAPSHOT_CHUNK_MAX ? (uint32_t)left : COORD_SNAPSHOT_CHUNK_MAX;
    *flight = (struct flight){++pull->sequence, pull->next_file, pull->next_offset, size, false};
    pull->next_offset += size;
    return true;
}

static void send_flight(struct coord_pull *pull, struct flight *flight)
{
    const struct proto_header header = {.sequence = flight->sequence};
    const struct proto_snapshot_read ask = {.id = pull->snapshot.id,
                                            .name = pull->snapshot.files[flight->file].name,
                                            .offset = flight->offset,
                                            .size = flight->size};
    flight->sent =
        !proto_channel_send(pull->channel, &header, &proto_type_snapshot_read, &ask, NULL);
}

static enum lilio_err write_chunk(struct coord_pull *pull, const struct flight *flight,
                                  struct base_slice bytes, struct lilio_errinfo *info)
{
    char path[PATH_ROOM];
    struct base_file *file = NULL;
    path_of(pull, flight->file, path);
    enum lilio_err err = pull->disk->ops->open(pull->disk, path, 0, &file, info);
    struct iovec vector = {(void *)(uintptr_t)bytes.data, bytes.size};
    err = err ? err : file->ops->write(file, &vector, 1, flight->offset, info);
    base_file_close(&file);
    return err;
}

/* An answer to one of the flights; others (from before a break) are forgotten. */
static enum lilio_err take_chunk(struct coord_pull *pull, const struct proto_reply *reply,
                                 struct lilio_errinfo *info)
{
    struct flight *flight = NULL;
    struct proto_snapshot_chunk chunk;
    for (size_t i = 0; i < FLIGHTS; i++)
        if (pull->flights[i].sequence == reply->header.sequence && reply->header.sequence)
            flight = &pull->flights[i];
    if (!flight)
        return LILIO_OK;
    if (reply->type != &proto_type_snapshot_chunk)
        return refused(pull, reply, info);
    enum lilio_err err = proto_snapshot_chunk_unpack(reply->body, pull->arena, &chunk, info);
    if (err)
        return err;
    if (reply->payload.size != flight->size ||
        codec_crc32c(0, reply->payload.data, reply->payload.size) != chunk.crc32c)
        return lilio_fail(info, LILIO_E_CORRUPT, "a chunk does not match its checksum");
    err = write_chunk(pull, flight, reply->payload, info);
    if (err)
        return err;
    atomic_fetch_add(&pull->done_bytes, flight->size);
    pull->heard_ms = now_ms();
    *flight = (struct flight){0};
    return LILIO_OK;
}

static enum lilio_err take_chunks(struct coord_pull *pull, struct lilio_errinfo *info)
{
    struct proto_reply *reply;
    enum lilio_err err = LILIO_OK;
    while (!err && (reply = proto_channel_receive(pull->channel))) {
        err = take_chunk(pull, reply, info);
        proto_reply_free(&reply);
    }
    return err;
}

static enum lilio_err pull_files(struct coord_pull *pull, struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    for (size_t i = 0; i < pull->snapshot.files_count && !err; i++)
        err = create_file(pull, i, info);
    while (!err) {
        bool ready = proto_channel_ready(pull->channel), any = false, unsent = false;
        err = take_chunks(pull, info);
        for (size_t i = 0; i < FLIGHTS && !err; i++) {
            struct flight *flight = &pull->flights[i];
            if (!flight->sequence && !next_chunk(pull, flight))
                continue;
            flight->sent = flight->sent && ready; /* what was under way at a break is lost */
            if (ready && !flight->sent)
                send_flight(pull, flight);
            any = true;
            unsent |= !flight->sent;
        }
        if (!err && !any)
            break;
        err = err ? err : wait_a_little(pull, unsent, info);
    }
    return err;
}

/* ---- the whole ---- */

static enum lilio_err prepare_folder(struct coord_pull *pull, struct lilio_errinfo *info)
{
    struct base_disk *disk = pull->disk;
    enum lilio_err err = coord_folder_remove(disk, FOLDER, info);
    err = err ? err : disk->ops->make_dir(disk, FOLDER, info);
    return err ? err : disk->ops->sync_dir(disk, "", info);
}

static enum lilio_err sync_files(struct coord_pull *pull, struct lilio_errinfo *info)
{
    struct coord_names names;
    enum lilio_err err = coord_names_collect(pull->disk, FOLDER, &names, info);
    for (size_t i = 0; i < names.count && !err; i++) {
        char path[PATH_ROOM];
        struct base_file *file = NULL;
        if (!coord_names_join(FOLDER, names.list[i], path, sizeof path))
            continue;
        err = pull->disk->ops->open(pull->disk, path, 0, &file, info);
        err = err ? err : file->ops->sync(file, info);
        base_file_close(&file);
    }
    coord_names_release(&names);
    return err ? err : pull->disk->ops->sync_dir(pull->disk, FOLDER, info);
}

static bool count_checked(void *context, size_t bytes)
{
    struct coord_pull *pull = context;
    atomic_fetch_add(&pull->checked_bytes, bytes);
    return !atomic_load(&pull->cancelled);
}

/* What came is opened once, as it will be later, and has to stand where it was said to. It is read
 * through, too: a chunk may match its checksum and come out of a file that was damaged before. What
 * is damaged is thrown away. */
static enum lilio_err check_state(struct coord_pull *pull, struct lilio_errinfo *info)
{
    char path[PATH_MAX];
    const struct coord_maps_check check = {count_checked, pull};
    if (snprintf(path, sizeof path, "%s/" FOLDER, pull->path) >= (int)sizeof path)
        return lilio_fail(info, LILIO_E_INVALID, "path too long");
    enum lilio_err err = coord_maps_check(path, &check, &pull->position, info);
    if (err == LILIO_E_CORRUPT) {
        (void)!coord_folder_remove(pull->disk, FOLDER, NULL); /* the next pull does it again */
        return lilio_prefix(info, err, "what it sent is damaged, and nothing of it was installed");
    }
    if (!err && (pull->position.index != pull->snapshot.index ||
                 pull->position.term != pull->snapshot.term))
        err = lilio_fail(info, LILIO_E_CORRUPT, "the state does not stand where it was said to");
    return err ? err : sync_files(pull, info); /* opening wrote a little, too */
}

static void say_goodbye(struct coord_pull *pull)
{
    const struct proto_header header = {.sequence = ++pull->sequence};
    const struct proto_snapshot_close ask = {.id = pull->snapshot.id};
    if (pull->open_reply && proto_channel_ready(pull->channel)) /* else it notices the silence */
        (void)!proto_channel_send(pull->channel, &header, &proto_type_snapshot_close, &ask, NULL);
    for (uint64_t start = now_ms(); now_ms() - start < LOOK_MS;) {
        struct proto_reply *reply = proto_channel_receive(pull->channel);
        bool answered = reply && reply->header.sequence == pull->sequence;
        proto_reply_free(&reply);
        struct proto_wait_item item = {.channel = pull->channel};
        if (answered || proto_wait(&item, 1, LOOK_MS) == 0)
            break;
    }
}

static enum lilio_err work(void *context, struct lilio_errinfo *info)
{
    struct coord_pull *pull = context;
    enum lilio_err err = proto_arena_new(&pull->arena);
    if (err)
        return lilio_fail(info, err, "out of memory");
    pull->heard_ms = now_ms();
    err = proto_channel_new(pull->context, pull->endpoint, &pull->channel, info);
    err = err ? err : prepare_folder(pull, info);
    err = err ? err : open_snapshot(pull, info);
    err = err ? err : pull_files(pull, info);
    err = err ? err : sync_files(pull, info);
    err = err ? err : check_state(pull, info);
    if (pull->open_reply)
        say_goodbye(pull);
    proto_channel_free(&pull->channel);
    proto_reply_free(&pull->open_reply);
    proto_arena_free(&pull->arena);
    return err ? lilio_prefix(info, err, "pulling the state from %s", pull->endpoint) : LILIO_OK;
}

enum lilio_err coord_pull_new(const struct coord_pull_options *options,
                              struct coord_pull **ret_pull, struct lilio_errinfo *info)
{
    struct coord_pull *pull = calloc(1, sizeof *pull);
    if (!pull)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    pull->path = strdup(options->path);
    pull->endpoint = strdup(options->endpoint);
    pull->disk = options->disk;
    pull->context = options->context;
    pull->cluster_id = options->cluster_id;
    pull->member = options->member;
    pull->silent_ms = options->silent_ms ? options->silent_ms : SILENT_MS;
    enum lilio_err err = pull->path && pull->endpoint
                             ? coord_worker_new(work, pull, &pull->worker, info)
                             : lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    if (err) {
        coord_pull_free(&pull);
        return err;
    }
    coord_worker_start(pull->worker);
    *ret_pull = pull;
    return LILIO_OK;
}

int coord_pull_fd(const struct coord_pull *pull)
{
    return coord_worker_fd(pull->worker);
}

bool coord_pull_take(struct coord_pull *pull, enum lilio_err *ret_err,
                     struct coord_position *ret_position, struct lilio_errinfo *info)
{
    enum lilio_err err;
    if (!coord_worker_take(pull->worker, &err, info))
        return false;
    if (!err)
        *ret_position = pull->position;
    *ret_err = err;
    return true;
}

void coord_pull_progress(const struct coord_pull *pull, uint64_t *ret_bytes, uint64_t *ret_total,
                         uint64_t *ret_checked)
{
    *ret_checked = atomic_load(&pull->checked_bytes);
    *ret_bytes = atomic_load(&pull->done_bytes);
    *ret_total = atomic_load(&pull->total_bytes);
}

void coord_pull_cancel(struct coord_pull *pull)
{
    atomic_store(&pull->cancelled, true);
}

void coord_pull_free(struct coord_pull **pull_)
{
    struct coord_pull *pull = *pull_;
    *pull_ = NULL;
    if (!pull)
        return;
    atomic_store(&pull->cancelled, true);
    coord_worker_free(&pull->worker);
    free(pull->path);
    free(pull->endpoint);
    free(pull);
}
