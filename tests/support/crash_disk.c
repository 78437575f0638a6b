/* Handles, power and faults. Names are in crash_names.c, the content of files in crash_image.c. */
#include "tests/support/crash_disk.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "tests/support/crash_names.h"

#include "base/banned.h"

enum { FILE_BYTES_MAX_LOG2 = 34, BLOCK = 4096, SECTOR = 512 };

struct fault {
    uint64_t in; /* calls until it strikes; 0 = never */
    bool for_ever;
    enum lilio_err err;
};

struct crash_disk {
    struct base_disk head;
    pthread_mutex_t lock; /* guards everything below */
    struct crash_names names;
    struct base_random random;
    uint64_t random_state;
    bool off;
    uint64_t off_in;     /* changes until the power fails; 0 = never */
    uint64_t generation; /* of the power: handles of an older one are dead */
    struct fault faults[CRASH_CALL_COUNT];
    uint64_t calls[CRASH_CALL_COUNT];
    uint64_t capacity_blocks; /* 0 = no limit */
    uint64_t misuse_count;
};

struct crash_file {
    struct base_file head;
    struct crash_disk *disk;
    struct crash_inode *inode;
    uint64_t generation;
    unsigned flags;
    char name[CRASH_NAME_ROOM];
};

static const struct base_disk_ops crash_ops;

/* ---- power and faults ---- */

static struct crash_disk *disk_of(const struct base_disk *disk)
{
    LILIO_ASSERT(disk->ops == &crash_ops);
    return (struct crash_disk *)disk;
}

static bool strikes(struct fault *fault)
{
    if (fault->in == 0)
        return false;
    if (fault->in > 1) {
        fault->in--;
        return false;
    }
    fault->in = fault->for_ever ? 1 : 0;
    return true;
}

/* What a call answers before it does anything; *ret_cut says that the power fails during it. */
static enum lilio_err enter(struct crash_disk *disk, enum crash_call call, bool *ret_cut,
                            struct lilio_errinfo *info)
{
    *ret_cut = false;
    if (disk->off)
        return lilio_fail(info, LILIO_E_IO, "the power is off");
    disk->calls[call]++;
    if (call != CRASH_READ && disk->off_in > 0 && --disk->off_in == 0)
        *ret_cut = disk->off = true;
    if (!*ret_cut && strikes(&disk->faults[call]))
        return lilio_fail(info, disk->faults[call].err, "a fault was asked for");
    return LILIO_OK;
}

/* The same for a call on an open file. */
static enum lilio_err enter_file(struct crash_file *file, enum crash_call call, bool *ret_cut,
                                 struct lilio_errinfo *info)
{
    *ret_cut = false;
    if (file->generation != file->disk->generation)
        return lilio_fail(info, LILIO_E_IO, "%s: open since before the crash", file->name);
    if (call != CRASH_READ && file->flags & BASE_OPEN_READ_ONLY)
        return lilio_fail(info, LILIO_E_IO, "%s: open for reading only", file->name);
    return enter(file->disk, call, ret_cut, info);
}

static enum lilio_err leave(bool cut, struct lilio_errinfo *info)
{
    return cut ? lilio_fail(info, LILIO_E_IO, "the power failed") : LILIO_OK;
}

void crash_disk_power_off(struct base_disk *base)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    disk->off = true;
    pthread_mutex_unlock(&disk->lock);
}

void crash_disk_power_off_at(struct base_disk *base, uint64_t n)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    disk->off_in = n;
    pthread_mutex_unlock(&disk->lock);
}

bool crash_disk_powered(const struct base_disk *base)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    bool on = !disk->off;
    pthread_mutex_unlock(&disk->lock);
    return on;
}

void crash_disk_power_on(struct base_disk *base)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    uint64_t draw = base_random_u64(&disk->random) % 6;
    enum crash_fate fate = draw == 0   ? CRASH_FATE_KEPT
                           : draw == 1 ? CRASH_FATE_DROPPED
                                       : CRASH_FATE_MIXED;
    crash_names_crash(&disk->names, fate, &disk->random);
    disk->off = false;
    disk->off_in = 0;
    disk->generation++;
    pthread_mutex_unlock(&disk->lock);
}

void crash_disk_fail(struct base_disk *base, enum crash_call call, uint64_t n, bool for_ever,
                     enum lilio_err err)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    disk->faults[call] = (struct fault){n, for_ever, err};
    pthread_mutex_unlock(&disk->lock);
}

uint64_t crash_disk_calls(const struct base_disk *base, enum crash_call call)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    uint64_t calls = disk->calls[call];
    pthread_mutex_unlock(&disk->lock);
    return calls;
}

void crash_disk_set_capacity(struct base_disk *base, uint64_t bytes)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    disk->capacity_blocks = bytes / BLOCK;
    pthread_mutex_unlock(&disk->lock);
}

bool crash_disk_flip(struct base_disk *base, const char *name, uint64_t offset, uint8_t mask)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    struct crash_inode *inode = crash_names_get(&disk->names, name);
    bool done = inode && inode->image && crash_image_flip(inode->image, offset, mask);
    pthread_mutex_unlock(&disk->lock);
    return done;
}

uint64_t crash_disk_misuse_count(const struct base_disk *base)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    uint64_t count = disk->misuse_count;
    pthread_mutex_unlock(&disk->lock);
    return count;
}

/* ---- space ---- */

/* Counts what names lead to; a file that is only open any more weighs nothing here. */
static uint64_t used_blocks(const struct crash_disk *disk)
{
    uint64_t used = 0;
    for (size_t i = 0; i < disk->names.seen.count; i++)
        if (disk->names.seen.list[i].inode->image)
            used += crash_image_used(disk->names.seen.list[i].inode->image);
    return used;
}

static enum lilio_err check_room(const struct crash_file *file, uint64_t offset, uint64_t size,
                                 struct lilio_errinfo *info)
{
    uint64_t end;
    if (__builtin_add_overflow(offset, size, &end) || end >> FILE_BYTES_MAX_LOG2)
        return lilio_fail(info, LILIO_E_IO, "%s: file too large", file->name);
    const struct crash_disk *disk = file->disk;
    if (disk->capacity_blocks == 0)
        return LILIO_OK;
    uint64_t lacking = crash_image_lacking(file->inode->image, offset, size);
    if (lacking > 0 && used_blocks(disk) + lacking > disk->capacity_blocks)
        return lilio_fail(info, LILIO_E_NO_SPACE, "%s: no space left", file->name);
    return LILIO_OK;
}

/* ---- files ---- */

static enum lilio_err check_name(const char *name, struct lilio_errinfo *info)
{
    if (base_disk_name_valid(name))
        return LILIO_OK;
    return lilio_fail(info, LILIO_E_INVALID, "\"%.64s\" is no file name", name);
}

/* The folder that a new name would be in must be there. */
static enum lilio_err check_parent(const struct crash_disk *disk, const char *name,
                                   struct lilio_errinfo *info)
{
    char folder[CRASH_NAME_ROOM];
    size_t size = crash_name_folder_size(name);
    memcpy(folder, name, size);
    folder[size] = '\0';
    const struct crash_inode *inode = size ? crash_names_get(&disk->names, folder) : NULL;
    if (size && (!inode || inode->image))
        return lilio_fail(info, LILIO_E_NOT_FOUND, "%s: no such folder", name);
    return LILIO_OK;
}

static enum lilio_err find_or_create(struct crash_disk *disk, const char *name, unsigned flags,
                                     struct crash_inode **ret_inode, struct lilio_errinfo *info)
{
    struct crash_inode *inode = crash_names_get(&disk->names, name);
    *ret_inode = inode;
    if (inode && flags & BASE_OPEN_CREATE && flags & BASE_OPEN_EXCLUSIVE)
        return lilio_fail(info, LILIO_E_EXISTS, "%s exists", name);
    if (inode)
        return inode->image ? LILIO_OK : lilio_fail(info, LILIO_E_IO, "%s is a folder", name);
    if (!(flags & BASE_OPEN_CREATE))
        return lilio_fail(info, LILIO_E_NOT_FOUND, "%s: no such file", name);
    bool cut;
    enum lilio_err err = check_parent(disk, name, info);
    err = err ? err : enter(disk, CRASH_META, &cut, info);
    if (err)
        return err;
    inode = crash_inode_new(false);
    crash_names_change(&disk->names, NULL, name, inode);
    crash_inode_unref(inode); /* the name holds it now */
    *ret_inode = inode;
    return leave(cut, info);
}

static enum lilio_err crash_open(struct base_disk *base, const char *name, unsigned flags,
                                 struct base_file **ret_file, struct lilio_errinfo *info)
{
    struct crash_disk *disk = disk_of(base);
    enum lilio_err err = check_name(name, info);
    if (err)
        return err;
    struct crash_inode *inode = NULL;
    pthread_mutex_lock(&disk->lock);
    err = disk->off ? lilio_fail(info, LILIO_E_IO, "the power is off")
                    : find_or_create(disk, name, flags, &inode, info);
    if (!err) {
        struct crash_file *file = calloc(1, sizeof *file);
        LILIO_ASSERT(file);
        *file = (struct crash_file){.head = {&crash_ops},
                                    .disk = disk,
                                    .inode = crash_inode_ref(inode),
                                    .generation = disk->generation,
                                    .flags = flags};
        (void)snprintf(file->name, sizeof file->name, "%s", name);
        *ret_file = &file->head;
    }
    pthread_mutex_unlock(&disk->lock);
    return err;
}

static void crash_close(struct base_file *base)
{
    struct crash_file *file = (struct crash_file *)base;
    struct crash_disk *disk = file->disk;
    pthread_mutex_lock(&disk->lock);
    crash_inode_unref(file->inode);
    pthread_mutex_unlock(&disk->lock);
    free(file);
}

static enum lilio_err check_aligned(struct crash_file *file, const struct iovec *vectors, int count,
                                    uint64_t offset, struct lilio_errinfo *info)
{
    if (!(file->flags & BASE_OPEN_DIRECT) || base_disk_io_aligned(vectors, count, offset))
        return LILIO_OK;
    file->disk->misuse_count++;
    return lilio_fail(info, LILIO_E_INVALID, "%s: not aligned", file->name);
}

static uint64_t total_size(const struct iovec *vectors, int count)
{
    uint64_t total = 0;
    for (int i = 0; i < count; i++)
        total += vectors[i].iov_len;
    return total;
}

/* Writes the first `limit` bytes of the vectors. */
static void write_part(struct crash_file *file, const struct iovec *vectors, int count,
                       uint64_t offset, uint64_t limit)
{
    for (int i = 0; i < count && limit > 0; i++) {
        size_t part = vectors[i].iov_len < limit ? vectors[i].iov_len : (size_t)limit;
        bool wrote = crash_image_write(file->inode->image, vectors[i].iov_base, part, offset);
        LILIO_ASSERT(wrote);
        offset += part;
        limit -= part;
    }
}

/* A write that fails, or during which the power fails, still does some of its work. */
static enum lilio_err write_locked(struct crash_file *file, const struct iovec *vectors, int count,
                                   uint64_t offset, struct lilio_errinfo *info)
{
    struct crash_disk *disk = file->disk;
    bool cut;
    enum lilio_err err = check_aligned(file, vectors, count, offset, info);
    if (err)
        return err;
    err = enter_file(file, CRASH_WRITE, &cut, info);
    if (disk->generation != file->generation || (disk->off && !cut))
        return err;
    enum lilio_err room = check_room(file, offset, total_size(vectors, count), err ? NULL : info);
    if (room)
        return err ? err : room;
    uint64_t limit = total_size(vectors, count);
    if (err)
        limit = base_random_u64(&disk->random) % (limit / SECTOR + 1) * SECTOR;
    if (!(file->flags & BASE_OPEN_READ_ONLY))
        write_part(file, vectors, count, offset, limit);
    return err ? err : leave(cut, info);
}

static enum lilio_err crash_write(struct base_file *base, const struct iovec *vectors, int count,
                                  uint64_t offset, struct lilio_errinfo *info)
{
    struct crash_file *file = (struct crash_file *)base;
    pthread_mutex_lock(&file->disk->lock);
    enum lilio_err err = write_locked(file, vectors, count, offset, info);
    pthread_mutex_unlock(&file->disk->lock);
    return err;
}

static enum lilio_err crash_read(struct base_file *base, void *buffer, size_t size, uint64_t offset,
                                 size_t *ret_size, struct lilio_errinfo *info)
{
    struct crash_file *file = (struct crash_file *)base;
    bool cut;
    pthread_mutex_lock(&file->disk->lock);
    enum lilio_err err = check_aligned(file, &(struct iovec){buffer, size}, 1, offset, info);
    err = err ? err : enter_file(file, CRASH_READ, &cut, info);
    if (!err)
        *ret_size = crash_image_read(file->inode->image, buffer, size, offset);
    pthread_mutex_unlock(&file->disk->lock);
    return err;
}

static enum lilio_err crash_sync(struct base_file *base, struct lilio_errinfo *info)
{
    struct crash_file *file = (struct crash_file *)base;
    struct crash_disk *disk = file->disk;
    bool cut;
    pthread_mutex_lock(&disk->lock);
    enum lilio_err err = enter_file(file, CRASH_SYNC, &cut, info);
    if (err && !disk->off && file->generation == disk->generation)
        crash_image_sync_failed(file->inode->image, &disk->random);
    if (!err && !cut)
        crash_image_sync(file->inode->image);
    err = err ? err : leave(cut, info);
    pthread_mutex_unlock(&disk->lock);
    return err;
}

/* allocate, punch and truncate: the check for room is the caller's, the change is made even when
 * the power fails (it may be undone then). */
static enum lilio_err change_blocks(struct base_file *base, uint64_t offset, uint64_t size,
                                    bool needs_room,
                                    bool (*change)(struct crash_image *, uint64_t, uint64_t),
                                    struct lilio_errinfo *info)
{
    struct crash_file *file = (struct crash_file *)base;
    bool cut;
    pthread_mutex_lock(&file->disk->lock);
    enum lilio_err err = enter_file(file, CRASH_META, &cut, info);
    if (!err && needs_room)
        err = check_room(file, offset, size, info);
    if (!err) {
        bool done = change(file->inode->image, offset, size);
        LILIO_ASSERT(done);
        err = leave(cut, info);
    }
    pthread_mutex_unlock(&file->disk->lock);
    return err;
}

static enum lilio_err crash_allocate(struct base_file *file, uint64_t offset, uint64_t size,
                                     struct lilio_errinfo *info)
{
    return change_blocks(file, offset, size, true, crash_image_reserve, info);
}

static enum lilio_err crash_punch(struct base_file *file, uint64_t offset, uint64_t size,
                                  struct lilio_errinfo *info)
{
    return change_blocks(file, offset, size, false, crash_image_punch, info);
}

static bool cut_at(struct crash_image *image, uint64_t offset, uint64_t size)
{
    (void)offset;
    return crash_image_truncate(image, size);
}

static enum lilio_err crash_truncate(struct base_file *file, uint64_t size,
                                     struct lilio_errinfo *info)
{
    return change_blocks(file, 0, size, false, cut_at, info);
}

static enum lilio_err crash_size(struct base_file *base, uint64_t *ret_size,
                                 struct lilio_errinfo *info)
{
    struct crash_file *file = (struct crash_file *)base;
    enum lilio_err err = LILIO_OK;
    pthread_mutex_lock(&file->disk->lock);
    if (file->disk->off || file->generation != file->disk->generation)
        err = lilio_fail(info, LILIO_E_IO, "%s: open since before the crash", file->name);
    else
        *ret_size = crash_image_size(file->inode->image);
    pthread_mutex_unlock(&file->disk->lock);
    return err;
}

/* ---- names ---- */

/* True for files, too. */
static bool is_empty_folder(const struct crash_disk *disk, const char *name)
{
    for (size_t i = 0; i < disk->names.seen.count; i++)
        if (crash_name_in_folder(disk->names.seen.list[i].text, name))
            return false;
    return true;
}

static enum lilio_err rename_locked(struct crash_disk *disk, const char *from, const char *to,
                                    struct lilio_errinfo *info)
{
    bool cut;
    enum lilio_err err = enter(disk, CRASH_META, &cut, info);
    err = err ? err : check_parent(disk, to, info);
    if (err)
        return err;
    struct crash_inode *inode = crash_names_get(&disk->names, from);
    const struct crash_inode *replaced = crash_names_get(&disk->names, to);
    if (!inode)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "%s: no such file", from);
    if (replaced && !replaced->image != !inode->image)
        return lilio_fail(info, LILIO_E_IO, "%s: a file and a folder", from);
    if (replaced && inode != replaced && !is_empty_folder(disk, to))
        return lilio_fail(info, LILIO_E_IO, "%s is not empty", to);
    if (inode != replaced)
        crash_names_change(&disk->names, from, to, inode);
    return leave(cut, info);
}

static enum lilio_err crash_rename(struct base_disk *base, const char *from, const char *to,
                                   struct lilio_errinfo *info)
{
    struct crash_disk *disk = disk_of(base);
    enum lilio_err err = check_name(from, info);
    err = err ? err : check_name(to, info);
    if (err)
        return err;
    pthread_mutex_lock(&disk->lock);
    err = rename_locked(disk, from, to, info);
    pthread_mutex_unlock(&disk->lock);
    return err;
}

static enum lilio_err crash_unlink(struct base_disk *base, const char *name,
                                   struct lilio_errinfo *info)
{
    struct crash_disk *disk = disk_of(base);
    enum lilio_err err = check_name(name, info);
    if (err)
        return err;
    bool cut;
    pthread_mutex_lock(&disk->lock);
    err = enter(disk, CRASH_META, &cut, info);
    const struct crash_inode *inode = crash_names_get(&disk->names, name);
    if (!err && !inode)
        err = lilio_fail(info, LILIO_E_NOT_FOUND, "%s: no such file", name);
    else if (!err && !inode->image)
        err = lilio_fail(info, LILIO_E_IO, "%s is a folder", name);
    if (!err) {
        crash_names_change(&disk->names, name, NULL, NULL);
        err = leave(cut, info);
    }
    pthread_mutex_unlock(&disk->lock);
    return err;
}

static enum lilio_err crash_make_dir(struct base_disk *base, const char *name,
                                     struct lilio_errinfo *info)
{
    struct crash_disk *disk = disk_of(base);
    enum lilio_err err = check_name(name, info);
    if (!err && strchr(name, '/'))
        err = lilio_fail(info, LILIO_E_INVALID, "make directory %s: folders do not nest", name);
    if (err)
        return err;
    bool cut;
    pthread_mutex_lock(&disk->lock);
    err = enter(disk, CRASH_META, &cut, info);
    if (!err && crash_names_get(&disk->names, name))
        err = lilio_fail(info, LILIO_E_EXISTS, "%s exists", name);
    if (!err) {
        struct crash_inode *inode = crash_inode_new(true);
        crash_names_change(&disk->names, NULL, name, inode);
        crash_inode_unref(inode);
        err = leave(cut, info);
    }
    pthread_mutex_unlock(&disk->lock);
    return err;
}

uint64_t crash_disk_number(struct base_disk *base, const char *name)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    const struct crash_inode *inode = crash_names_get(&disk->names, name);
    uint64_t number = inode ? inode->number : 0;
    pthread_mutex_unlock(&disk->lock);
    return number;
}

bool crash_disk_is_folder(struct base_disk *base, const char *name)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    const struct crash_inode *inode = crash_names_get(&disk->names, name);
    bool is_folder = inode && !inode->image;
    pthread_mutex_unlock(&disk->lock);
    return is_folder;
}

const char *crash_disk_name(struct base_disk *base, size_t index)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    const struct crash_name_list *seen = &disk->names.seen;
    const char *text = index < seen->count ? seen->list[index].text : NULL;
    pthread_mutex_unlock(&disk->lock);
    return text;
}

enum lilio_err crash_disk_remove_folder(struct base_disk *base, const char *name,
                                        struct lilio_errinfo *info)
{
    struct crash_disk *disk = disk_of(base);
    bool cut;
    pthread_mutex_lock(&disk->lock);
    enum lilio_err err = enter(disk, CRASH_META, &cut, info);
    const struct crash_inode *inode = crash_names_get(&disk->names, name);
    if (!err && (!inode || inode->image))
        err = lilio_fail(info, LILIO_E_NOT_FOUND, "%s: no such folder", name);
    else if (!err && !is_empty_folder(disk, name))
        err = lilio_fail(info, LILIO_E_EXISTS, "%s is not empty", name);
    if (!err) {
        crash_names_change(&disk->names, name, NULL, NULL);
        err = leave(cut, info);
    }
    pthread_mutex_unlock(&disk->lock);
    return err;
}

/* "" or the name of a folder that is there. */
static enum lilio_err check_folder(const struct crash_disk *disk, const char *name,
                                   struct lilio_errinfo *info)
{
    enum lilio_err err = name[0] ? check_name(name, info) : LILIO_OK;
    if (err || !name[0])
        return err;
    const struct crash_inode *inode = crash_names_get(&disk->names, name);
    if (!inode)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "%s: no such folder", name);
    return inode->image ? lilio_fail(info, LILIO_E_IO, "%s is no folder", name) : LILIO_OK;
}

static enum lilio_err crash_sync_dir(struct base_disk *base, const char *name,
                                     struct lilio_errinfo *info)
{
    struct crash_disk *disk = disk_of(base);
    bool cut;
    pthread_mutex_lock(&disk->lock);
    enum lilio_err err = enter(disk, CRASH_SYNC, &cut, info);
    err = err ? err : check_folder(disk, name, info);
    if (!err && !cut)
        crash_names_sync(&disk->names, name);
    err = err ? err : leave(cut, info);
    pthread_mutex_unlock(&disk->lock);
    return err;
}

/* The callback may call the disk again, so the names are copied first. */
static enum lilio_err crash_list(struct base_disk *base, const char *name,
                                 void (*each)(void *context, const char *file), void *context,
                                 struct lilio_errinfo *info)
{
    struct crash_disk *disk = disk_of(base);
    pthread_mutex_lock(&disk->lock);
    enum lilio_err err = disk->off ? lilio_fail(info, LILIO_E_IO, "the power is off")
                                   : check_folder(disk, name, info);
    const struct crash_name_list *seen = &disk->names.seen;
    char(*copy)[CRASH_NAME_ROOM] = calloc(seen->count + 1, sizeof *copy);
    LILIO_ASSERT(copy);
    size_t count = 0;
    for (size_t i = 0; !err && i < seen->count; i++)
        if (seen->list[i].inode->image && crash_name_in_folder(seen->list[i].text, name))
            memcpy(copy[count++], seen->list[i].text, CRASH_NAME_ROOM);
    pthread_mutex_unlock(&disk->lock);
    for (size_t i = 0; i < count; i++)
        each(context, copy[i] + (name[0] ? strlen(name) + 1 : 0));
    free(copy);
    return err;
}

static enum lilio_err crash_space(struct base_disk *base, struct base_disk_space *ret,
                                  struct lilio_errinfo *info)
{
    struct crash_disk *disk = disk_of(base);
    enum lilio_err err = LILIO_OK;
    pthread_mutex_lock(&disk->lock);
    if (disk->off)
        err = lilio_fail(info, LILIO_E_IO, "the power is off");
    uint64_t used = used_blocks(disk) * BLOCK;
    uint64_t total =
        disk->capacity_blocks ? disk->capacity_blocks * BLOCK : (uint64_t)1 << FILE_BYTES_MAX_LOG2;
    if (!err)
        *ret = (struct base_disk_space){total, used < total ? total - used : 0};
    pthread_mutex_unlock(&disk->lock);
    return err;
}

static enum lilio_err crash_lock(struct base_disk *base, struct lilio_errinfo *info)
{
    (void)base, (void)info; /* there is no other process */
    return LILIO_OK;
}

static void crash_free(struct base_disk *base)
{
    struct crash_disk *disk = disk_of(base);
    crash_names_release(&disk->names);
    pthread_mutex_destroy(&disk->lock);
    free(disk);
}

static const struct base_disk_ops crash_ops = {
    .open = crash_open,
    .write = crash_write,
    .read = crash_read,
    .sync = crash_sync,
    .allocate = crash_allocate,
    .punch = crash_punch,
    .truncate = crash_truncate,
    .size = crash_size,
    .close = crash_close,
    .rename = crash_rename,
    .unlink = crash_unlink,
    .make_dir = crash_make_dir,
    .remove_dir = crash_disk_remove_folder,
    .sync_dir = crash_sync_dir,
    .list = crash_list,
    .space = crash_space,
    .lock = crash_lock,
    .free = crash_free,
};

enum lilio_err crash_disk_new(uint64_t seed, struct base_disk **ret_disk)
{
    struct crash_disk *disk = calloc(1, sizeof *disk);
    if (!disk)
        return LILIO_E_NOMEM;
    disk->head.ops = &crash_ops;
    disk->random_state = seed;
    disk->random = base_random_seeded(&disk->random_state);
    pthread_mutex_init(&disk->lock, NULL);
    *ret_disk = &disk->head;
    return LILIO_OK;
}
