/* Names, handles, power and faults; the content of files is in crash_image.c.
 *
 * Names live twice: as the program sees them and as they are durable. Each change is made to the
 * first and noted in a journal; syncing a folder plays the notes that concern it onto the second, a
 * crash plays a drawn choice of the rest, and what is durable then becomes what the program sees.
 */
#include "tests/support/crash_disk.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "tests/support/crash_image.h"

#include "base/banned.h"

enum { NAME_ROOM = 408, FILE_BYTES_MAX_LOG2 = 34, BLOCK = 4096, SECTOR = 512 };

/* A file or folder; lives as long as a name, a handle or a note refers to it. */
struct inode {
    unsigned refs;
    struct crash_image *image; /* NULL: a folder */
};

struct name {
    char text[NAME_ROOM];
    struct inode *inode;
};

struct names {
    struct name *list;
    size_t count, capacity;
};

/* `from` loses its name (if there is one), `to` gets the inode (if there is one). */
struct note {
    char from[NAME_ROOM], to[NAME_ROOM];
    struct inode *inode;
};

struct fault {
    uint64_t in; /* calls until it strikes; 0 = never */
    bool for_ever;
    enum lilio_err err;
};

struct crash_disk {
    struct base_disk head;
    pthread_mutex_t lock; /* guards everything below */
    struct names seen, durable;
    struct note *notes;
    size_t note_count, note_capacity;
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
    struct inode *inode;
    uint64_t generation;
    unsigned flags;
    char name[NAME_ROOM];
};

static const struct base_disk_ops crash_ops;

/* ---- inodes and names ---- */

static struct inode *inode_ref(struct inode *inode)
{
    if (inode)
        inode->refs++;
    return inode;
}

static void inode_unref(struct inode *inode)
{
    if (!inode || --inode->refs > 0)
        return;
    if (inode->image)
        crash_image_free(inode->image);
    free(inode);
}

static struct inode *inode_new(bool folder)
{
    struct inode *inode = calloc(1, sizeof *inode);
    struct crash_image *image = folder ? NULL : crash_image_new();
    LILIO_ASSERT(inode && (folder || image)); /* a test without memory cannot go on */
    *inode = (struct inode){1, image};
    return inode;
}

/* Room for one more element; a test without memory cannot go on. */
static void *make_room(void *list, size_t count, size_t *capacity, size_t element_size)
{
    if (count < *capacity)
        return list;
    *capacity = *capacity ? *capacity * 2 : 16;
    list = realloc(list, *capacity * element_size);
    LILIO_ASSERT(list);
    return list;
}

static struct name *names_find(const struct names *names, const char *text)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->list[i].text, text) == 0)
            return &names->list[i];
    return NULL;
}

static struct inode *names_get(const struct names *names, const char *text)
{
    const struct name *name = names_find(names, text);
    return name ? name->inode : NULL;
}

static void names_remove(struct names *names, const char *text)
{
    struct name *name = names_find(names, text);
    if (!name)
        return;
    inode_unref(name->inode);
    *name = names->list[--names->count];
}

static void names_set(struct names *names, const char *text, struct inode *inode)
{
    inode_ref(inode);
    names_remove(names, text);
    names->list = make_room(names->list, names->count, &names->capacity, sizeof *names->list);
    struct name *name = &names->list[names->count++];
    (void)snprintf(name->text, sizeof name->text, "%s", text); /* names are checked to fit */
    name->inode = inode;
}

static void names_clear(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        inode_unref(names->list[i].inode);
    names->count = 0;
}

/* ---- the journal of name changes ---- */

static void play(struct names *names, const struct note *note)
{
    if (note->from[0])
        names_remove(names, note->from);
    if (note->to[0])
        names_set(names, note->to, note->inode);
}

static void change_names(struct crash_disk *disk, const char *from, const char *to,
                         struct inode *inode)
{
    disk->notes =
        make_room(disk->notes, disk->note_count, &disk->note_capacity, sizeof *disk->notes);
    struct note *note = &disk->notes[disk->note_count++];
    (void)snprintf(note->from, sizeof note->from, "%s", from ? from : "");
    (void)snprintf(note->to, sizeof note->to, "%s", to ? to : "");
    note->inode = inode_ref(inode);
    play(&disk->seen, note);
}

/* The folder a name is in: its length, 0 for the disk's own. */
static size_t folder_size(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash ? (size_t)(slash - name) : 0;
}

static bool in_folder(const char *name, const char *folder)
{
    size_t size = folder_size(name);
    return name[0] && size == strlen(folder) && memcmp(name, folder, size) == 0;
}

/* Plays the notes of the folder onto what is durable and forgets them; the others stay, in order.
 */
static void commit_folder(struct crash_disk *disk, const char *folder)
{
    size_t kept = 0;
    for (size_t i = 0; i < disk->note_count; i++) {
        struct note note = disk->notes[i];
        if (in_folder(note.from, folder) || in_folder(note.to, folder)) {
            play(&disk->durable, &note);
            inode_unref(note.inode);
        } else {
            disk->notes[kept++] = note;
        }
    }
    disk->note_count = kept;
}

/* Plays a drawn choice of all notes: one by one, or the first few of them (a journal in order). */
static void crash_names(struct crash_disk *disk, enum crash_fate fate)
{
    bool in_order = base_random_u64(&disk->random) % 2;
    uint64_t first_lost = base_random_u64(&disk->random) % (disk->note_count + 1);
    for (size_t i = 0; i < disk->note_count; i++) {
        bool kept = in_order ? i < first_lost : base_random_u64(&disk->random) % 2;
        if (fate == CRASH_FATE_KEPT || (fate == CRASH_FATE_MIXED && kept))
            play(&disk->durable, &disk->notes[i]);
        inode_unref(disk->notes[i].inode);
    }
    disk->note_count = 0;
}

/* Files whose folder did not survive are gone with it. */
static void drop_strays(struct names *names)
{
    for (size_t i = names->count; i-- > 0;) {
        char folder[NAME_ROOM];
        size_t size = folder_size(names->list[i].text);
        memcpy(folder, names->list[i].text, size);
        folder[size] = '\0';
        if (size && !names_get(names, folder)) {
            inode_unref(names->list[i].inode);
            names->list[i] = names->list[--names->count];
        }
    }
}

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
    crash_names(disk, fate);
    drop_strays(&disk->durable);
    names_clear(&disk->seen);
    for (size_t i = 0; i < disk->durable.count; i++) {
        struct name *name = &disk->durable.list[i];
        if (name->inode->image)
            crash_image_crash(name->inode->image, fate, &disk->random);
        names_set(&disk->seen, name->text, name->inode);
    }
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
    struct inode *inode = names_get(&disk->seen, name);
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
    for (size_t i = 0; i < disk->seen.count; i++)
        if (disk->seen.list[i].inode->image)
            used += crash_image_used(disk->seen.list[i].inode->image);
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
    char folder[NAME_ROOM];
    size_t size = folder_size(name);
    memcpy(folder, name, size);
    folder[size] = '\0';
    const struct inode *inode = size ? names_get(&disk->seen, folder) : NULL;
    if (size && (!inode || inode->image))
        return lilio_fail(info, LILIO_E_NOT_FOUND, "%s: no such folder", name);
    return LILIO_OK;
}

static enum lilio_err find_or_create(struct crash_disk *disk, const char *name, unsigned flags,
                                     struct inode **ret_inode, struct lilio_errinfo *info)
{
    struct inode *inode = names_get(&disk->seen, name);
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
    inode = inode_new(false);
    change_names(disk, NULL, name, inode);
    inode_unref(inode); /* the name holds it now */
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
    struct inode *inode = NULL;
    pthread_mutex_lock(&disk->lock);
    err = disk->off ? lilio_fail(info, LILIO_E_IO, "the power is off")
                    : find_or_create(disk, name, flags, &inode, info);
    if (!err) {
        struct crash_file *file = calloc(1, sizeof *file);
        LILIO_ASSERT(file);
        *file = (struct crash_file){.head = {&crash_ops},
                                    .disk = disk,
                                    .inode = inode_ref(inode),
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
    inode_unref(file->inode);
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

static enum lilio_err rename_locked(struct crash_disk *disk, const char *from, const char *to,
                                    struct lilio_errinfo *info)
{
    bool cut;
    enum lilio_err err = enter(disk, CRASH_META, &cut, info);
    err = err ? err : check_parent(disk, to, info);
    if (err)
        return err;
    struct inode *inode = names_get(&disk->seen, from);
    const struct inode *replaced = names_get(&disk->seen, to);
    if (!inode)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "%s: no such file", from);
    if (!inode->image || (replaced && !replaced->image))
        return lilio_fail(info, LILIO_E_IO, "%s: folders are not renamed", from);
    if (inode != replaced)
        change_names(disk, from, to, inode);
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
    const struct inode *inode = names_get(&disk->seen, name);
    if (!err && !inode)
        err = lilio_fail(info, LILIO_E_NOT_FOUND, "%s: no such file", name);
    else if (!err && !inode->image)
        err = lilio_fail(info, LILIO_E_IO, "%s is a folder", name);
    if (!err) {
        change_names(disk, name, NULL, NULL);
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
    if (!err && names_get(&disk->seen, name))
        err = lilio_fail(info, LILIO_E_EXISTS, "%s exists", name);
    if (!err) {
        struct inode *inode = inode_new(true);
        change_names(disk, NULL, name, inode);
        inode_unref(inode);
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
    const struct inode *inode = names_get(&disk->seen, name);
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
        commit_folder(disk, name);
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
    struct names copy = {0};
    pthread_mutex_lock(&disk->lock);
    enum lilio_err err = disk->off ? lilio_fail(info, LILIO_E_IO, "the power is off")
                                   : check_folder(disk, name, info);
    for (size_t i = 0; !err && i < disk->seen.count; i++)
        if (disk->seen.list[i].inode->image && in_folder(disk->seen.list[i].text, name))
            names_set(&copy, disk->seen.list[i].text, NULL);
    pthread_mutex_unlock(&disk->lock);
    for (size_t i = 0; i < copy.count; i++)
        each(context, copy.list[i].text + (name[0] ? strlen(name) + 1 : 0));
    free(copy.list);
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
    names_clear(&disk->seen);
    names_clear(&disk->durable);
    for (size_t i = 0; i < disk->note_count; i++)
        inode_unref(disk->notes[i].inode);
    free(disk->seen.list);
    free(disk->durable.list);
    free(disk->notes);
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
