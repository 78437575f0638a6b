/* Time and faults around a crash disk, which knows what is durable.
 *
 * A handle of a dead process is never used again: its fibers do not run. What belongs to the disk
 * itself lives on in struct sim_disk; base_disk_posix_new() makes a handle on it, or on a folder of
 * it. */
#include "tests/sim/disk.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "tests/sim/disk_priv.h"
#include "tests/sim/fiber.h"
#include "tests/sim/nodes_priv.h"
#include "tests/support/crash_disk.h"

#include "base/banned.h"

enum { DISKS_MAX = SIM_NODES_MAX, NAME_ROOM = 408, STALL_FACTOR = 100 };
static const char root[] = "/sim/";

struct sim_disk {
    char path[64];
    struct sim_node *node;
    struct base_disk *inner;
    struct sim_disk_speed speed;
    struct sim_disk_faults faults;
    struct sim_disk_counts counts;
    struct sim_stream stream;
    uint32_t slow;
    unsigned replaced;
    bool dead;
    const struct handle *locked_by;
};

struct handle {
    struct base_disk head;
    struct sim_disk *disk;
    char folder[64]; /* "" or "pull/" */
};
struct file {
    struct base_file head;
    struct sim_disk *disk;
    struct base_file *inner;
    char name[NAME_ROOM];
};

static struct {
    struct sim_disk *list[DISKS_MAX];
    size_t count;
} disks;

static const struct base_disk_ops handle_ops;

/* ---- life ---- */

static void inner_new(struct sim_disk *disk)
{
    enum lilio_err err = crash_disk_new(sim_u64(&disk->stream), &disk->inner);
    SIM_ASSERT(!err);
}

struct sim_disk *sim_disk_new(const char *path, struct sim_node *node)
{
    struct sim_disk *disk = calloc(1, sizeof *disk);
    SIM_ASSERT(disk && disks.count < DISKS_MAX && strlen(path) < sizeof disk->path);
    memcpy(disk->path, path, strlen(path) + 1);
    disk->node = node;
    disk->stream = sim_stream_new(path);
    disk->slow = 1;
    disk->speed = (struct sim_disk_speed){.read_ns = 80 * SIM_US,
                                          .write_ns = 30 * SIM_US,
                                          .sync_ns = 300 * SIM_US,
                                          .meta_ns = 20 * SIM_US};
    inner_new(disk);
    disks.list[disks.count++] = disk;
    return disk;
}

/* What was open on the old disk belonged to a process that is dead; it is left alone. */
void sim_disk_replace(struct sim_disk *disk)
{
    SIM_ASSERT(sim_node_state(disk->node) != SIM_UP);
    sim_kv_disk_gone(disk);
    disk->dead = false;
    disk->replaced++;
    disk->locked_by = NULL;
    inner_new(disk);
    sim_event("disk: %s is replaced by an empty one", disk->path);
    LILIO_MARK("fault/disk_replaced");
}

void sim_disk_process_died(struct sim_disk *disk, bool power_lost)
{
    disk->locked_by = NULL;
    sim_kv_process_died(disk, power_lost);
    if (power_lost) {
        crash_disk_power_off(disk->inner);
        crash_disk_power_on(disk->inner);
    }
    crash_disk_power_off_at(disk->inner, 0);
}

void sim_disk_power_off_at(struct sim_disk *disk, uint64_t n)
{
    crash_disk_power_off_at(disk->inner, n);
}

struct sim_disk *sim_disk_of_path(const char *path, const char **ret_rest)
{
    for (size_t i = 0; i < disks.count; i++) {
        size_t size = strlen(disks.list[i]->path);
        if (strncmp(path, disks.list[i]->path, size) != 0 || (path[size] && path[size] != '/'))
            continue;
        *ret_rest = path[size] ? path + size + 1 : path + size;
        return disks.list[i];
    }
    return NULL;
}

bool sim_is_our_path(const char *path)
{
    return strncmp(path, root, sizeof root - 1) == 0;
}

struct base_disk *sim_disk_inner(struct sim_disk *disk)
{
    return disk->inner;
}

struct sim_node *sim_disk_node(struct sim_disk *disk)
{
    return disk->node;
}

struct sim_stream *sim_disk_stream(struct sim_disk *disk)
{
    return &disk->stream;
}

/* ---- what can be set ---- */

void sim_disk_speed_set(struct sim_disk *disk, const struct sim_disk_speed *speed)
{
    disk->speed = *speed;
}

void sim_disk_faults_set(struct sim_disk *disk, const struct sim_disk_faults *faults)
{
    disk->faults = *faults;
}

void sim_disk_slow(struct sim_disk *disk, uint32_t factor)
{
    disk->slow = factor;
    if (factor > 1)
        LILIO_MARK("fault/disk_slow");
}

void sim_disk_kill(struct sim_disk *disk)
{
    disk->dead = true;
    sim_event("disk: %s is dead", disk->path);
    LILIO_MARK("fault/disk_dead");
}

void sim_disk_capacity(struct sim_disk *disk, uint64_t bytes)
{
    crash_disk_set_capacity(disk->inner, bytes);
}

void sim_disk_full(struct sim_disk *disk, bool full)
{
    struct base_disk_space space = {0};
    crash_disk_set_capacity(disk->inner, 0);
    if (full && !disk->inner->ops->space(disk->inner, &space, NULL)) {
        uint64_t used = space.total_bytes - space.free_bytes;
        crash_disk_set_capacity(disk->inner, used > BASE_DISK_BLOCK ? used : BASE_DISK_BLOCK);
        LILIO_MARK("fault/disk_full");
    }
    sim_event("disk: %s %s", disk->path, full ? "is full" : "has room");
}

void sim_disk_heal(struct sim_disk *disk)
{
    disk->faults = (struct sim_disk_faults){0};
    disk->slow = 1;
    crash_disk_set_capacity(disk->inner, 0);
}

void sim_disk_counts(const struct sim_disk *disk, struct sim_disk_counts *ret)
{
    *ret = disk->counts;
}

/* Silent damage: the byte is wrong from now on, also after a power loss. */
static bool flip_at(struct sim_disk *disk, const char *name, uint64_t offset)
{
    uint8_t mask = (uint8_t)(1u << sim_below(&disk->stream, 8));
    if (!crash_disk_flip(disk->inner, name, offset, mask))
        return false;
    disk->counts.flips++;
    sim_event("disk: %s/%s: bit flipped at %llu", disk->path, name, (unsigned long long)offset);
    return true;
}

static bool is_candidate(struct sim_disk *disk, const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0 && !crash_disk_is_folder(disk->inner, name);
}

bool sim_disk_flip(struct sim_disk *disk, const char *prefix)
{
    enum { TRIES = 16 };
    const char *name;
    size_t count = 0;
    for (size_t i = 0; (name = crash_disk_name(disk->inner, i)); i++)
        count += is_candidate(disk, name, prefix);
    for (int try = 0; count > 0 && try < TRIES; try++) {
        size_t wanted = (size_t)sim_below(&disk->stream, count), i = 0;
        for (;; i++)
            if (is_candidate(disk, name = crash_disk_name(disk->inner, i), prefix) && wanted-- == 0)
                break;
        struct base_file *file;
        uint64_t size = 0;
        if (disk->inner->ops->open(disk->inner, name, BASE_OPEN_READ_ONLY, &file, NULL))
            continue;
        enum lilio_err err = file->ops->size(file, &size, NULL);
        file->ops->close(file);
        if (!err && size > 0 && flip_at(disk, name, sim_below(&disk->stream, size))) {
            LILIO_MARK("fault/disk_flip");
            return true;
        }
    }
    return false;
}

/* ---- every call ---- */

static void take_time(struct sim_disk *disk, uint64_t mean_ns, uint64_t bytes)
{
    uint64_t ns = sim_about(&disk->stream, mean_ns);
    if (disk->speed.bytes_per_s)
        ns += bytes * SIM_S / disk->speed.bytes_per_s;
    ns *= disk->slow;
    if (sim_chance(&disk->stream, disk->faults.stall_ppm)) {
        LILIO_MARK("fault/disk_stall");
        ns *= STALL_FACTOR;
    }
    if (ns > 0 && sim_fiber_self())
        sim_sleep(ns);
}

enum lilio_err sim_disk_enter(struct sim_disk *disk, enum sim_disk_call call, uint64_t bytes,
                              struct lilio_errinfo *info)
{
    static const char *const names[] = {"read", "write", "sync", "name change"};
    const struct sim_disk_speed *speed = &disk->speed;
    const struct sim_disk_faults *faults = &disk->faults;
    const uint64_t times[] = {speed->read_ns, speed->write_ns, speed->sync_ns, speed->meta_ns};
    const uint32_t chances[] = {faults->read_error_ppm, faults->write_error_ppm,
                                faults->sync_error_ppm, faults->meta_error_ppm};
    uint64_t *counts[] = {&disk->counts.reads, &disk->counts.writes, &disk->counts.syncs,
                          &disk->counts.metas};
    ++*counts[call];
    take_time(disk, times[call], bytes);
    if (!disk->dead && !sim_chance(&disk->stream, chances[call]))
        return LILIO_OK;
    disk->counts.errors++;
    sim_event("disk: %s: a %s fails", disk->path, names[call]);
    LILIO_MARK("fault/disk_error");
    return lilio_fail(info, LILIO_E_IO, "%s: a %s fails", disk->path, names[call]);
}

void sim_disk_leave(struct sim_disk *disk)
{
    if (crash_disk_powered(disk->inner))
        return;
    sim_event("disk: the power of %s fails in the middle of a change", disk->path);
    LILIO_MARK("fault/power_loss_in_change");
    sim_node_power_off(disk->node); /* does not return to a fiber of the node */
}

/* For calls that the crash disk lets fail itself, because they may do a part of their work. */
static void enter_inner(struct sim_disk *disk, enum sim_disk_call call, enum crash_call inner,
                        uint64_t bytes)
{
    bool fails = sim_disk_enter(disk, call, bytes, NULL) != LILIO_OK;
    if (fails)
        crash_disk_fail(disk->inner, inner, 1, false, LILIO_E_IO);
}

static void leave_inner(struct sim_disk *disk, enum crash_call inner)
{
    crash_disk_fail(disk->inner, inner, 0, false, LILIO_OK);
    sim_disk_leave(disk);
}

/* ---- files ---- */

static struct file *file_of(struct base_file *file)
{
    return (struct file *)file;
}

static uint64_t total_size(const struct iovec *vectors, int count)
{
    uint64_t size = 0;
    for (int i = 0; i < count; i++)
        size += vectors[i].iov_len;
    return size;
}

/* Where a write lands: sometimes elsewhere. */
static uint64_t where(struct file *file, uint64_t offset, uint64_t size)
{
    struct sim_disk *disk = file->disk;
    uint64_t end = 0;
    if (offset % BASE_DISK_BLOCK || size % BASE_DISK_BLOCK ||
        !sim_chance(&disk->stream, disk->faults.misdirect_ppm) ||
        file->inner->ops->size(file->inner, &end, NULL) || end < BASE_DISK_BLOCK)
        return offset;
    uint64_t other = sim_below(&disk->stream, end / BASE_DISK_BLOCK) * BASE_DISK_BLOCK;
    if (other == offset)
        return offset;
    disk->counts.misdirected++;
    sim_event("disk: %s/%s: a write to %llu goes to %llu", disk->path, file->name,
              (unsigned long long)offset, (unsigned long long)other);
    LILIO_MARK("fault/disk_misdirect");
    return other;
}

static enum lilio_err file_write(struct base_file *base, const struct iovec *vectors, int count,
                                 uint64_t offset, struct lilio_errinfo *info)
{
    struct file *file = file_of(base);
    struct sim_disk *disk = file->disk;
    uint64_t size = total_size(vectors, count);
    enter_inner(disk, SIM_WRITE, CRASH_WRITE, size);
    enum lilio_err err =
        file->inner->ops->write(file->inner, vectors, count, where(file, offset, size), info);
    leave_inner(disk, CRASH_WRITE);
    if (!err && size > 0 && sim_chance(&disk->stream, disk->faults.write_flip_ppm) &&
        flip_at(disk, file->name, offset + sim_below(&disk->stream, size)))
        LILIO_MARK("fault/disk_write_flip");
    return err;
}

static enum lilio_err file_read(struct base_file *base, void *buffer, size_t size, uint64_t offset,
                                size_t *ret_size, struct lilio_errinfo *info)
{
    struct file *file = file_of(base);
    struct sim_disk *disk = file->disk;
    enum lilio_err err = sim_disk_enter(disk, SIM_READ, size, info);
    if (!err)
        err = file->inner->ops->read(file->inner, buffer, size, offset, ret_size, info);
    if (!err && *ret_size > 0 && sim_chance(&disk->stream, disk->faults.read_flip_ppm)) {
        uint8_t *bytes = buffer;
        bytes[sim_below(&disk->stream, *ret_size)] ^= (uint8_t)(1u << sim_below(&disk->stream, 8));
        disk->counts.flips++;
        sim_event("disk: %s/%s: a bit is read wrongly", disk->path, file->name);
        LILIO_MARK("fault/disk_read_flip");
    }
    return err;
}

static enum lilio_err file_sync(struct base_file *base, struct lilio_errinfo *info)
{
    struct file *file = file_of(base);
    enter_inner(file->disk, SIM_SYNC, CRASH_SYNC, 0);
    enum lilio_err err = file->inner->ops->sync(file->inner, info);
    leave_inner(file->disk, CRASH_SYNC);
    sim_hash(file->disk->counts.syncs);
    return err;
}

static enum lilio_err file_allocate(struct base_file *base, uint64_t offset, uint64_t size,
                                    struct lilio_errinfo *info)
{
    struct file *file = file_of(base);
    enum lilio_err err = sim_disk_enter(file->disk, SIM_META, 0, info);
    if (!err)
        err = file->inner->ops->allocate(file->inner, offset, size, info);
    sim_disk_leave(file->disk);
    return err;
}

static enum lilio_err file_punch(struct base_file *base, uint64_t offset, uint64_t size,
                                 struct lilio_errinfo *info)
{
    struct file *file = file_of(base);
    enum lilio_err err = sim_disk_enter(file->disk, SIM_META, 0, info);
    if (!err)
        err = file->inner->ops->punch(file->inner, offset, size, info);
    sim_disk_leave(file->disk);
    return err;
}

static enum lilio_err file_truncate(struct base_file *base, uint64_t size,
                                    struct lilio_errinfo *info)
{
    struct file *file = file_of(base);
    enum lilio_err err = sim_disk_enter(file->disk, SIM_META, 0, info);
    if (!err)
        err = file->inner->ops->truncate(file->inner, size, info);
    sim_disk_leave(file->disk);
    return err;
}

static enum lilio_err file_size(struct base_file *base, uint64_t *ret_size,
                                struct lilio_errinfo *info)
{
    struct file *file = file_of(base);
    return file->inner->ops->size(file->inner, ret_size, info);
}

static void file_close(struct base_file *base)
{
    struct file *file = file_of(base);
    file->inner->ops->close(file->inner);
    free(file);
}

/* ---- names ---- */

static struct handle *handle_of(struct base_disk *disk)
{
    return (struct handle *)disk;
}

/* The name on the disk; for one that does not fit, one that is refused. */
static const char *full(const struct handle *handle, const char *name, char room[NAME_ROOM])
{
    if (!handle->folder[0])
        return name;
    if (!name[0])
        (void)snprintf(room, NAME_ROOM, "%.*s", (int)strlen(handle->folder) - 1, handle->folder);
    else if (snprintf(room, NAME_ROOM, "%s%s", handle->folder, name) >= NAME_ROOM)
        room[0] = '\0';
    return room;
}

static enum lilio_err handle_open(struct base_disk *base, const char *name, unsigned flags,
                                  struct base_file **ret_file, struct lilio_errinfo *info)
{
    struct handle *handle = handle_of(base);
    struct sim_disk *disk = handle->disk;
    char room[NAME_ROOM];
    name = full(handle, name, room);
    struct base_file *inner = NULL;
    enum lilio_err err = sim_disk_enter(disk, SIM_META, 0, info);
    if (!err)
        err = disk->inner->ops->open(disk->inner, name, flags, &inner, info);
    sim_disk_leave(disk);
    if (err)
        return err;
    struct file *file = calloc(1, sizeof *file);
    SIM_ASSERT(file);
    *file = (struct file){{&handle_ops}, disk, inner, {0}};
    (void)snprintf(file->name, sizeof file->name, "%s", name); /* it was taken, so it fits */
    *ret_file = &file->head;
    return LILIO_OK;
}

static enum lilio_err handle_rename(struct base_disk *base, const char *from, const char *to,
                                    struct lilio_errinfo *info)
{
    struct handle *handle = handle_of(base);
    struct sim_disk *disk = handle->disk;
    char from_room[NAME_ROOM], to_room[NAME_ROOM];
    enum lilio_err err = sim_disk_enter(disk, SIM_META, 0, info);
    if (!err)
        err = disk->inner->ops->rename(disk->inner, full(handle, from, from_room),
                                       full(handle, to, to_room), info);
    sim_disk_leave(disk);
    return err;
}

/* A call on one name: op is the disk below's. */
static enum lilio_err on_name(struct base_disk *base, const char *name, enum sim_disk_call call,
                              enum lilio_err (*op)(struct base_disk *disk, const char *name,
                                                   struct lilio_errinfo *info),
                              struct lilio_errinfo *info)
{
    struct handle *handle = handle_of(base);
    char room[NAME_ROOM];
    enum lilio_err err = sim_disk_enter(handle->disk, call, 0, info);
    if (!err)
        err = op(handle->disk->inner, full(handle, name, room), info);
    sim_disk_leave(handle->disk);
    return err;
}

static enum lilio_err handle_unlink(struct base_disk *base, const char *name,
                                    struct lilio_errinfo *info)
{
    return on_name(base, name, SIM_META, handle_of(base)->disk->inner->ops->unlink, info);
}

static enum lilio_err handle_make_dir(struct base_disk *base, const char *name,
                                      struct lilio_errinfo *info)
{
    return on_name(base, name, SIM_META, handle_of(base)->disk->inner->ops->make_dir, info);
}

static enum lilio_err handle_remove_dir(struct base_disk *base, const char *name,
                                        struct lilio_errinfo *info)
{
    return on_name(base, name, SIM_META, handle_of(base)->disk->inner->ops->remove_dir, info);
}

static enum lilio_err handle_sync_dir(struct base_disk *base, const char *name,
                                      struct lilio_errinfo *info)
{
    enum lilio_err err =
        on_name(base, name, SIM_SYNC, handle_of(base)->disk->inner->ops->sync_dir, info);
    sim_hash(handle_of(base)->disk->counts.syncs);
    return err;
}

static enum lilio_err handle_list(struct base_disk *base, const char *name,
                                  void (*each)(void *context, const char *file), void *context,
                                  struct lilio_errinfo *info)
{
    struct handle *handle = handle_of(base);
    struct sim_disk *disk = handle->disk;
    char room[NAME_ROOM];
    enum lilio_err err = sim_disk_enter(disk, SIM_META, 0, info);
    return err ? err
               : disk->inner->ops->list(disk->inner, full(handle, name, room), each, context, info);
}

static enum lilio_err handle_space(struct base_disk *base, struct base_disk_space *ret,
                                   struct lilio_errinfo *info)
{
    struct sim_disk *disk = handle_of(base)->disk;
    return disk->inner->ops->space(disk->inner, ret, info);
}

static enum lilio_err handle_lock(struct base_disk *base, struct lilio_errinfo *info)
{
    struct handle *handle = handle_of(base);
    if (handle->disk->locked_by && handle->disk->locked_by != handle)
        return lilio_fail(info, LILIO_E_LOCKED, "%s is locked", handle->disk->path);
    handle->disk->locked_by = handle;
    return LILIO_OK;
}

static void handle_free(struct base_disk *base)
{
    struct handle *handle = handle_of(base);
    if (handle->disk->locked_by == handle)
        handle->disk->locked_by = NULL;
    free(handle);
}

static const struct base_disk_ops handle_ops = {
    .open = handle_open,
    .write = file_write,
    .read = file_read,
    .sync = file_sync,
    .allocate = file_allocate,
    .punch = file_punch,
    .truncate = file_truncate,
    .size = file_size,
    .close = file_close,
    .rename = handle_rename,
    .unlink = handle_unlink,
    .make_dir = handle_make_dir,
    .remove_dir = handle_remove_dir,
    .sync_dir = handle_sync_dir,
    .list = handle_list,
    .space = handle_space,
    .lock = handle_lock,
    .free = handle_free,
};

enum lilio_err base_disk_posix_new(const char *path, struct base_disk **ret_disk,
                                   struct lilio_errinfo *info)
{
    const char *rest = "";
    struct sim_disk *disk = sim_disk_of_path(path, &rest);
    if (!disk || (rest[0] && !crash_disk_is_folder(disk->inner, rest)))
        return lilio_fail(info, LILIO_E_NOT_FOUND, "%s: no such directory", path);
    struct handle *handle = calloc(1, sizeof *handle);
    SIM_ASSERT(handle && strlen(rest) + 2 < sizeof handle->folder);
    *handle = (struct handle){{&handle_ops}, disk, {0}};
    if (rest[0])
        (void)snprintf(handle->folder, sizeof handle->folder, "%s/", rest);
    *ret_disk = &handle->head;
    return LILIO_OK;
}
