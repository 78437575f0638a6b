#include "kill_disk.h"

#include <stdlib.h>

#include "base/banned.h"

struct kill_disk {
    struct base_disk head;
    struct base_disk *inner;
    unsigned long left; /* changes until the end; 0 = for ever */
    bool dead;
};
struct kill_file {
    struct base_file head;
    struct kill_disk *disk;
    struct base_file *inner;
};

#define DISK(base)  ((struct kill_disk *)(base))
#define FILE_(base) ((struct kill_file *)(base))
/* A call that changes nothing. */
#define READ(disk, call) ((disk)->dead ? LILIO_E_IO : (call))
/* A call that counts. */
#define CHANGE(disk, call) ((disk)->dead ? LILIO_E_IO : answer(disk, call))

static enum lilio_err answer(struct kill_disk *disk, enum lilio_err err)
{
    if (disk->left && --disk->left == 0)
        disk->dead = true;
    return disk->dead ? LILIO_E_IO : err;
}

static const struct base_disk_ops kill_ops;

static enum lilio_err kill_open(struct base_disk *base, const char *name, unsigned flags,
                                struct base_file **ret_file, struct lilio_errinfo *info)
{
    struct kill_disk *disk = DISK(base);
    struct kill_file *file = calloc(1, sizeof *file);
    LILIO_ASSERT(file);
    *file = (struct kill_file){{&kill_ops}, disk, NULL};
    enum lilio_err err =
        READ(disk, disk->inner->ops->open(disk->inner, name, flags, &file->inner, info));
    if (err)
        free(file);
    else
        *ret_file = &file->head;
    return err;
}

static void kill_close(struct base_file *base)
{
    base_file_close(&FILE_(base)->inner);
    free(base);
}

static enum lilio_err kill_write(struct base_file *base, const struct iovec *vectors, int count,
                                 uint64_t offset, struct lilio_errinfo *info)
{
    struct base_file *inner = FILE_(base)->inner;
    return CHANGE(FILE_(base)->disk, inner->ops->write(inner, vectors, count, offset, info));
}

static enum lilio_err kill_read(struct base_file *base, void *buffer, size_t size, uint64_t offset,
                                size_t *ret_size, struct lilio_errinfo *info)
{
    struct base_file *inner = FILE_(base)->inner;
    return READ(FILE_(base)->disk, inner->ops->read(inner, buffer, size, offset, ret_size, info));
}

/* Whoever is killed on the way into a sync has not synced. */
static enum lilio_err kill_sync(struct base_file *base, struct lilio_errinfo *info)
{
    struct kill_disk *disk = FILE_(base)->disk;
    struct base_file *inner = FILE_(base)->inner;
    enum lilio_err err = CHANGE(disk, LILIO_OK);
    return err ? err : inner->ops->sync(inner, info);
}

static enum lilio_err kill_allocate(struct base_file *base, uint64_t offset, uint64_t size,
                                    struct lilio_errinfo *info)
{
    struct base_file *inner = FILE_(base)->inner;
    return CHANGE(FILE_(base)->disk, inner->ops->allocate(inner, offset, size, info));
}

static enum lilio_err kill_punch(struct base_file *base, uint64_t offset, uint64_t size,
                                 struct lilio_errinfo *info)
{
    struct base_file *inner = FILE_(base)->inner;
    return CHANGE(FILE_(base)->disk, inner->ops->punch(inner, offset, size, info));
}

static enum lilio_err kill_truncate(struct base_file *base, uint64_t size,
                                    struct lilio_errinfo *info)
{
    struct base_file *inner = FILE_(base)->inner;
    return CHANGE(FILE_(base)->disk, inner->ops->truncate(inner, size, info));
}

static enum lilio_err kill_size(struct base_file *base, uint64_t *ret_size,
                                struct lilio_errinfo *info)
{
    struct base_file *inner = FILE_(base)->inner;
    return READ(FILE_(base)->disk, inner->ops->size(inner, ret_size, info));
}

static enum lilio_err kill_rename(struct base_disk *base, const char *from, const char *to,
                                  struct lilio_errinfo *info)
{
    struct base_disk *inner = DISK(base)->inner;
    return CHANGE(DISK(base), inner->ops->rename(inner, from, to, info));
}

static enum lilio_err kill_unlink(struct base_disk *base, const char *name,
                                  struct lilio_errinfo *info)
{
    struct base_disk *inner = DISK(base)->inner;
    return CHANGE(DISK(base), inner->ops->unlink(inner, name, info));
}

static enum lilio_err kill_make_dir(struct base_disk *base, const char *name,
                                    struct lilio_errinfo *info)
{
    struct base_disk *inner = DISK(base)->inner;
    return CHANGE(DISK(base), inner->ops->make_dir(inner, name, info));
}

static enum lilio_err kill_remove_dir(struct base_disk *base, const char *name,
                                      struct lilio_errinfo *info)
{
    struct base_disk *inner = DISK(base)->inner;
    return CHANGE(DISK(base), inner->ops->remove_dir(inner, name, info));
}

static enum lilio_err kill_sync_dir(struct base_disk *base, const char *name,
                                    struct lilio_errinfo *info)
{
    struct base_disk *inner = DISK(base)->inner;
    enum lilio_err err = CHANGE(DISK(base), LILIO_OK);
    return err ? err : inner->ops->sync_dir(inner, name, info);
}

static enum lilio_err kill_list(struct base_disk *base, const char *name,
                                void (*each)(void *, const char *), void *context,
                                struct lilio_errinfo *info)
{
    struct base_disk *inner = DISK(base)->inner;
    return READ(DISK(base), inner->ops->list(inner, name, each, context, info));
}

static enum lilio_err kill_space(struct base_disk *base, struct base_disk_space *ret,
                                 struct lilio_errinfo *info)
{
    struct base_disk *inner = DISK(base)->inner;
    return READ(DISK(base), inner->ops->space(inner, ret, info));
}

static enum lilio_err kill_lock(struct base_disk *base, struct lilio_errinfo *info)
{
    return READ(DISK(base), DISK(base)->inner->ops->lock(DISK(base)->inner, info));
}

static void kill_free(struct base_disk *base)
{
    free(base);
}

static const struct base_disk_ops kill_ops = {
    .open = kill_open,
    .write = kill_write,
    .read = kill_read,
    .sync = kill_sync,
    .allocate = kill_allocate,
    .punch = kill_punch,
    .truncate = kill_truncate,
    .size = kill_size,
    .close = kill_close,
    .rename = kill_rename,
    .unlink = kill_unlink,
    .make_dir = kill_make_dir,
    .remove_dir = kill_remove_dir,
    .sync_dir = kill_sync_dir,
    .list = kill_list,
    .space = kill_space,
    .lock = kill_lock,
    .free = kill_free,
};

struct base_disk *kill_disk_new(struct base_disk *inner)
{
    struct kill_disk *disk = calloc(1, sizeof *disk);
    LILIO_ASSERT(disk);
    *disk = (struct kill_disk){{&kill_ops}, inner, 0, false};
    return &disk->head;
}

void kill_disk_at(struct base_disk *disk, unsigned long n)
{
    DISK(disk)->left = n;
}
