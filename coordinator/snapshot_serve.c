#include "coordinator/snapshot_serve.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/codec.h"
#include "coordinator/worker.h"

#include "base/banned.h"

#define FOLDER         "checkpoint"
#define FOLDER_STAGING "checkpoint.tmp" /* RocksDB's, while it makes one */
enum { PATH_ROOM = 128, ASKING_MAX = 16 };

enum stage { STAGE_NONE, STAGE_MAKING, STAGE_READY, STAGE_REMOVING };

struct asking { /* who waits for the checkpoint */
    struct proto_server *server;
    struct proto_request *request;
};

struct coord_snapshots {
    char *path;
    struct base_disk *disk;
    struct base_uuid cluster_id;
    const struct base_clock *clock;
    const struct base_random *random;
    struct coord_worker *worker;

    enum stage stage; /* the worker has what follows while MAKING and REMOVING */
    struct base_kv *kv;
    uint64_t id;
    struct coord_position position;
    struct coord_names names;
    struct proto_snapshot_file *files;

    /* The owner's. */
    uint64_t pinned; /* index; UINT64_MAX = none */
    uint64_t members[COORD_SNAPSHOT_PULLS_MAX];
    size_t member_count;
    uint64_t heard_ms; /* when anybody asked last */
    struct asking asking[ASKING_MAX];
    size_t asking_count;
};

/* ---- the worker's part ---- */

/* What a store writes for its own use; the rest is the state. */
static bool belongs(const char *name)
{
    return strncmp(name, "LOG", 3) != 0 && strcmp(name, "LOCK") != 0;
}

static enum lilio_err list_files(struct coord_snapshots *s, struct lilio_errinfo *info)
{
    enum lilio_err err = coord_names_collect(s->disk, FOLDER, &s->names, info);
    if (err)
        return err;
    s->files = calloc(s->names.count + 1, sizeof *s->files);
    if (!s->files)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    size_t kept = 0;
    for (size_t i = 0; i < s->names.count && !err; i++) {
        char path[PATH_ROOM];
        struct base_file *file = NULL;
        if (!belongs(s->names.list[i]))
            continue;
        if (!coord_names_join(FOLDER, s->names.list[i], path, sizeof path))
            return lilio_fail(info, LILIO_E_TOO_BIG, "%s: no name", s->names.list[i]);
        memmove(s->names.list[kept], s->names.list[i], sizeof *s->names.list);
        err = s->disk->ops->open(s->disk, path, BASE_OPEN_READ_ONLY, &file, info);
        err = err ? err : file->ops->size(file, &s->files[kept].size, info);
        base_file_close(&file);
        s->files[kept].name = base_slice_str(s->names.list[kept]);
        kept++;
    }
    s->names.count = kept;
    return err;
}

static enum lilio_err make(struct coord_snapshots *s, struct lilio_errinfo *info)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", s->path, FOLDER) >= (int)sizeof path)
        return lilio_fail(info, LILIO_E_INVALID, "path too long");
    enum lilio_err err = base_kv_checkpoint(s->kv, path, info);
    err = err ? err : coord_position_read(path, &s->position, info);
    return err ? err : list_files(s, info);
}

static void forget_files(struct coord_snapshots *s)
{
    coord_names_release(&s->names);
    free(s->files);
    s->files = NULL;
}

/* Also what a crash left. */
static enum lilio_err remove_files(struct base_disk *disk, struct lilio_errinfo *info)
{
    enum lilio_err err = coord_folder_remove(disk, FOLDER_STAGING, info);
    return err ? err : coord_folder_remove(disk, FOLDER, info);
}

static enum lilio_err work(void *context, struct lilio_errinfo *info)
{
    struct coord_snapshots *s = context;
    enum lilio_err err = LILIO_OK;
    if (s->stage == STAGE_MAKING) {
        err = make(s, info);
        if (!err)
            return LILIO_OK;
    }
    forget_files(s);
    enum lilio_err removed = remove_files(s->disk, err ? NULL : info);
    return err ? err : removed;
}

/* ---- life ---- */

enum lilio_err coord_snapshots_new(const struct coord_snapshots_options *options,
                                   struct coord_snapshots **ret_snapshots,
                                   struct lilio_errinfo *info)
{
    struct coord_snapshots *s = calloc(1, sizeof *s);
    if (!s)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    *s = (struct coord_snapshots){
        .path = strdup(options->path),
        .disk = options->disk,
        .cluster_id = options->cluster_id,
        .clock = options->clock,
        .random = options->random ? options->random : base_random_system(),
        .pinned = UINT64_MAX,
    };
    enum lilio_err err =
        s->path ? remove_files(s->disk, info) : lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    err = err ? err : coord_worker_new(work, s, &s->worker, info);
    if (err)
        coord_snapshots_free(&s);
    else
        *ret_snapshots = s;
    return err ? lilio_prefix(info, err, "snapshots") : LILIO_OK;
}

void coord_snapshots_free(struct coord_snapshots **snapshots)
{
    struct coord_snapshots *s = *snapshots;
    *snapshots = NULL;
    if (!s)
        return;
    coord_worker_free(&s->worker);
    for (size_t i = 0; i < s->asking_count; i++)
        proto_request_drop(&s->asking[i].request);
    forget_files(s);
    free(s->path);
    free(s);
}

int coord_snapshots_fd(const struct coord_snapshots *snapshots)
{
    return coord_worker_fd(snapshots->worker);
}

uint64_t coord_snapshots_pinned(const struct coord_snapshots *snapshots)
{
    return snapshots->pinned;
}

/* ---- open ---- */

static void answer_open(struct coord_snapshots *s, struct asking *asking)
{
    const struct proto_snapshot reply = {.id = s->id,
                                         .index = s->position.index,
                                         .term = s->position.term,
                                         .files = s->files,
                                         .files_count = s->names.count};
    proto_server_reply(asking->server, &asking->request, &proto_type_snapshot, &reply, NULL, 0);
}

static void refuse_asking(struct coord_snapshots *s, enum lilio_err err, const char *text)
{
    for (size_t i = 0; i < s->asking_count; i++)
        proto_server_reply_error(s->asking[i].server, &s->asking[i].request, err, text, 0);
    s->asking_count = 0;
}

/* One pin per member, however often it asks. */
static bool add_member(struct coord_snapshots *s, uint64_t member)
{
    for (size_t i = 0; i < s->member_count; i++)
        if (s->members[i] == member)
            return true;
    if (s->member_count == COORD_SNAPSHOT_PULLS_MAX)
        return false;
    s->members[s->member_count++] = member;
    return true;
}

/* Starts a checkpoint for those who ask, once the worker is free. */
static void start_making(struct coord_snapshots *s)
{
    s->id = base_random_u64(s->random);
    s->stage = STAGE_MAKING;
    coord_worker_start(s->worker);
}

static enum lilio_err open_snapshot(struct coord_snapshots *s, struct proto_server *server,
                                    struct proto_request **request, struct base_kv *kv,
                                    uint64_t applied, struct lilio_errinfo *info)
{
    struct proto_snapshot_open ask;
    enum lilio_err err = proto_snapshot_open_unpack((*request)->body, NULL, &ask, info);
    if (err)
        return err;
    if (!base_uuid_equal(ask.cluster_id, s->cluster_id))
        return lilio_fail(info, LILIO_E_FOREIGN, "the state of another cluster is asked for");
    if (s->asking_count == ASKING_MAX || !add_member(s, ask.member))
        return lilio_fail(info, LILIO_E_BUSY, "too many pulls");
    struct asking asking = {server, *request};
    *request = NULL;
    if (s->stage == STAGE_READY) {
        answer_open(s, &asking);
        return LILIO_OK;
    }
    s->asking[s->asking_count++] = asking;
    if (s->pinned == UINT64_MAX) /* from now on: before the checkpoint is made */
        s->pinned = applied;
    s->kv = s->stage == STAGE_MAKING ? s->kv : kv;
    if (s->stage == STAGE_NONE)
        start_making(s);
    return LILIO_OK;
}

/* ---- read ---- */

static void release_chunk(void *data, void *hint)
{
    (void)hint;
    free(data);
}

static const struct proto_snapshot_file *find_file(const struct coord_snapshots *s,
                                                   struct base_slice name)
{
    for (size_t i = 0; i < s->names.count; i++)
        if (base_slice_equal(s->files[i].name, name))
            return &s->files[i];
    return NULL;
}

static enum lilio_err read_chunk(struct coord_snapshots *s, const char *path, uint64_t offset,
                                 uint8_t *to, size_t size, struct lilio_errinfo *info)
{
    struct base_file *file = NULL;
    size_t got = 0;
    enum lilio_err err = s->disk->ops->open(s->disk, path, BASE_OPEN_READ_ONLY, &file, info);
    err = err ? err : file->ops->read(file, to, size, offset, &got, info);
    base_file_close(&file);
    if (!err && got != size)
        err = lilio_fail(info, LILIO_E_CORRUPT, "%s: shorter than it was", path);
    return err;
}

static enum lilio_err check_read(const struct coord_snapshots *s,
                                 const struct proto_snapshot_read *ask, char *ret_path,
                                 struct lilio_errinfo *info)
{
    if (s->stage != STAGE_READY || ask->id != s->id)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "no such checkpoint");
    const struct proto_snapshot_file *file = find_file(s, ask->name);
    char name[COORD_SNAPSHOT_NAME_MAX + 1] = {0};
    if (!file)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "no such file");
    memcpy(name, file->name.data, file->name.size);
    if (!coord_names_join(FOLDER, name, ret_path, PATH_ROOM))
        return lilio_fail(info, LILIO_E_INVALID, "no name of a file");
    if (ask->size == 0 || ask->size > COORD_SNAPSHOT_CHUNK_MAX || ask->offset > file->size ||
        ask->size > file->size - ask->offset)
        return lilio_fail(info, LILIO_E_INVALID, "no such part of the file");
    return LILIO_OK;
}

static enum lilio_err read_snapshot(struct coord_snapshots *s, struct proto_server *server,
                                    struct proto_request **request, struct lilio_errinfo *info)
{
    struct proto_snapshot_read ask;
    char path[PATH_ROOM];
    enum lilio_err err = proto_snapshot_read_unpack((*request)->body, NULL, &ask, info);
    err = err ? err : check_read(s, &ask, path, info);
    if (err)
        return err;
    uint8_t *bytes = malloc(ask.size);
    if (!bytes)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    err = read_chunk(s, path, ask.offset, bytes, ask.size, info);
    if (err) {
        free(bytes);
        return err;
    }
    const struct proto_snapshot_chunk reply = {.crc32c = codec_crc32c(0, bytes, ask.size)};
    const struct proto_payload payload = {bytes, ask.size, release_chunk, NULL};
    proto_server_reply(server, request, &proto_type_snapshot_chunk, &reply, &payload, 0);
    return LILIO_OK;
}

/* ---- close ---- */

static void start_removing(struct coord_snapshots *s)
{
    s->member_count = 0;
    s->pinned = UINT64_MAX;
    s->stage = STAGE_REMOVING;
    coord_worker_start(s->worker);
}

/* Whose pin it was is not said; with several the last one counts. */
static enum lilio_err close_snapshot(struct coord_snapshots *s, struct proto_server *server,
                                     struct proto_request **request, struct lilio_errinfo *info)
{
    struct proto_snapshot_close ask;
    enum lilio_err err = proto_snapshot_close_unpack((*request)->body, NULL, &ask, info);
    if (err)
        return err;
    if (s->stage == STAGE_READY && ask.id == s->id && --s->member_count == 0)
        start_removing(s);
    const struct proto_ok ok = {0};
    proto_server_reply(server, request, &proto_type_ok, &ok, NULL, 0);
    return LILIO_OK;
}

/* ---- requests and steps ---- */

bool coord_snapshots_request(struct coord_snapshots *s, struct proto_server *server,
                             struct proto_request **request, struct base_kv *kv, uint64_t applied)
{
    struct lilio_errinfo info = {0};
    const struct proto_type *type = (*request)->type;
    enum lilio_err err;
    if (type == &proto_type_snapshot_open)
        err = open_snapshot(s, server, request, kv, applied, &info);
    else if (type == &proto_type_snapshot_read)
        err = read_snapshot(s, server, request, &info);
    else if (type == &proto_type_snapshot_close)
        err = close_snapshot(s, server, request, &info);
    else
        return false;
    if (err)
        proto_server_reply_error(server, request, err, info.text, 0);
    else
        s->heard_ms = base_now_ms(s->clock);
    return true;
}

static void finish_making(struct coord_snapshots *s, enum lilio_err err, const char *text)
{
    s->stage = err ? STAGE_NONE : STAGE_READY;
    if (err) {
        s->member_count = 0;
        s->pinned = UINT64_MAX;
        refuse_asking(s, err, text);
        return;
    }
    for (size_t i = 0; i < s->asking_count; i++)
        answer_open(s, &s->asking[i]);
    s->asking_count = 0;
}

/* Whoever asked meanwhile gets a checkpoint of its own. */
static void finish_removing(struct coord_snapshots *s, enum lilio_err err, const char *text)
{
    s->stage = STAGE_NONE;
    if (err) {
        s->member_count = 0;
        s->pinned = UINT64_MAX;
        refuse_asking(s, err, text);
    } else if (s->asking_count > 0) {
        start_making(s);
    }
}

void coord_snapshots_step(struct coord_snapshots *s)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = LILIO_OK;
    if (coord_worker_take(s->worker, &err, &info)) {
        s->heard_ms = base_now_ms(s->clock);
        if (s->stage == STAGE_MAKING)
            finish_making(s, err, info.text);
        else
            finish_removing(s, err, info.text);
    }
    if (s->stage == STAGE_READY && base_now_ms(s->clock) - s->heard_ms >= COORD_SNAPSHOT_SILENT_MS)
        start_removing(s);
}

static void wait_for_worker(struct coord_snapshots *s)
{
    while (coord_worker_busy(s->worker)) {
        struct proto_wait_item item = {.fd = coord_worker_fd(s->worker)};
        (void)proto_wait(&item, 1, -1); /* whatever woke it, the loop looks again */
        coord_snapshots_step(s);
    }
}

void coord_snapshots_stop(struct coord_snapshots *s)
{
    refuse_asking(s, LILIO_E_UNAVAILABLE, "the state is being replaced");
    s->member_count = 0;
    s->pinned = UINT64_MAX;
    wait_for_worker(s);
    if (s->stage == STAGE_READY)
        start_removing(s);
    wait_for_worker(s);
}
