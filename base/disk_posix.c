/* A real directory as a disk. Everything goes through openat() below one directory handle, so the
 * directory may be renamed while it is in use, and no name can lead out of it.
 *
 * Direct I/O: asked for at open and given up silently where the filesystem refuses it, at open or
 * at the first transfer; the alignment rule is checked in either case, so that a mistake shows on
 * every filesystem. A crash leaves what the kernel had written; what sync and sync_dir acknowledged
 * is there.
 */
#include "base/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/banned.h"

enum { FILE_MODE = 0600, DIR_MODE = 0700 };
#define LOCK_NAME "lock"

struct posix_disk {
    struct base_disk head;
    int dir_fd;
    int lock_fd; /* -1 until the lock is held */
    char *path;  /* for messages */
};

struct posix_file {
    struct base_file head;
    int fd;
    int dir_fd;  /* the disk's */
    bool direct; /* the caller asked for it: the alignment rule holds */
    char name[]; /* for messages */
};

static const struct base_disk_ops posix_ops;

static enum lilio_err fail_errno(struct lilio_errinfo *info, int code, const char *what,
                                 const char *name)
{
    char text[128];
    const char *reason = strerror_r(code, text, sizeof text);
    return lilio_fail(info, lilio_err_from_errno(code), "%s %s: %s", what, name, reason);
}

static enum lilio_err check_name(const char *name, struct lilio_errinfo *info)
{
    if (base_disk_name_valid(name))
        return LILIO_OK;
    return lilio_fail(info, LILIO_E_INVALID, "\"%.64s\" is no file name", name);
}

static int open_retrying(int dir_fd, const char *name, int flags)
{
    int fd;
    do
        fd = openat(dir_fd, name, flags, FILE_MODE);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static enum lilio_err posix_open(struct base_disk *base, const char *name, unsigned flags,
                                 struct base_file **ret_file, struct lilio_errinfo *info)
{
    struct posix_disk *disk = (struct posix_disk *)base;
    enum lilio_err err = check_name(name, info);
    if (err)
        return err;
    int mode = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK; /* a FIFO in our place must not hang us */
    mode |= flags & BASE_OPEN_READ_ONLY ? O_RDONLY : O_RDWR;
    mode |= flags & BASE_OPEN_CREATE ? O_CREAT : 0;
    mode |= flags & BASE_OPEN_EXCLUSIVE ? O_EXCL : 0;
    struct posix_file *file = calloc(1, sizeof *file + strlen(name) + 1);
    if (!file)
        return lilio_fail(info, LILIO_E_NOMEM, "open %s: out of memory", name);
    *file = (struct posix_file){
        .head = {&posix_ops},
        .fd = -1,
        .dir_fd = disk->dir_fd,
        .direct = flags & BASE_OPEN_DIRECT,
    };
    memcpy(file->name, name, strlen(name) + 1);
    struct stat st;
    /* Opened plainly first: a refused O_DIRECT may have created the file, and O_EXCL would then
     * trip over it. */
    file->fd = open_retrying(disk->dir_fd, name, mode);
    if (file->fd < 0 || fstat(file->fd, &st) < 0) {
        err = fail_errno(info, errno, "open", name);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        err = lilio_fail(info, LILIO_E_IO, "open %s: not a plain file", name);
        goto out;
    }
    if (file->direct)
        (void)fcntl(file->fd, F_SETFL, O_DIRECT); /* refused: buffered, as the contract says */
    *ret_file = &file->head;
    return LILIO_OK;
out:
    if (file->fd >= 0)
        close(file->fd);
    free(file);
    return err;
}

/* True if the transfer failed because the filesystem takes no direct I/O after all; it is buffered
 * from now on. */
static bool gave_up_direct(const struct posix_file *file, int code)
{
    int flags = fcntl(file->fd, F_GETFL);
    return code == EINVAL && flags >= 0 && flags & O_DIRECT &&
           fcntl(file->fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

/* Writes what a short vector write left, from byte `done` of the whole. A direct write goes back to
 * a block boundary (bytes written twice are the same bytes). */
static enum lilio_err write_rest(const struct posix_file *file, const struct iovec *vectors,
                                 int count, uint64_t offset, size_t done,
                                 struct lilio_errinfo *info)
{
    if (file->direct)
        done -= done % BASE_DISK_BLOCK;
    size_t start = 0; /* of the vector within the whole */
    for (int i = 0; i < count; start += vectors[i].iov_len, i++) {
        while (done < start + vectors[i].iov_len) {
            size_t inside = done - start;
            ssize_t wrote = pwrite(file->fd, (const uint8_t *)vectors[i].iov_base + inside,
                                   vectors[i].iov_len - inside, (off_t)(offset + done));
            if (wrote < 0 && (errno == EINTR || gave_up_direct(file, errno)))
                continue;
            if (wrote < 0)
                return fail_errno(info, errno, "write", file->name);
            size_t kept = (size_t)wrote;
            if (file->direct)
                kept -= kept % BASE_DISK_BLOCK;
            if (kept == 0)
                return lilio_fail(info, LILIO_E_IO, "write %s: nothing was written", file->name);
            done += kept;
        }
    }
    return LILIO_OK;
}

static enum lilio_err posix_write(struct base_file *base, const struct iovec *vectors, int count,
                                  uint64_t offset, struct lilio_errinfo *info)
{
    struct posix_file *file = (struct posix_file *)base;
    if (file->direct && !base_disk_io_aligned(vectors, count, offset))
        return lilio_fail(info, LILIO_E_INVALID, "write %s: not aligned", file->name);
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += vectors[i].iov_len;
    if (total == 0)
        return LILIO_OK;
    ssize_t wrote;
    do
        wrote = pwritev(file->fd, vectors, count, (off_t)offset);
    while (wrote < 0 && (errno == EINTR || gave_up_direct(file, errno)));
    if (wrote < 0)
        return fail_errno(info, errno, "write", file->name);
    if ((size_t)wrote == total)
        return LILIO_OK;
    return write_rest(file, vectors, count, offset, (size_t)wrote, info);
}

static enum lilio_err posix_read(struct base_file *base, void *buffer, size_t size, uint64_t offset,
                                 size_t *ret_size, struct lilio_errinfo *info)
{
    struct posix_file *file = (struct posix_file *)base;
    if (file->direct && !base_disk_io_aligned(&(struct iovec){buffer, size}, 1, offset))
        return lilio_fail(info, LILIO_E_INVALID, "read %s: not aligned", file->name);
    size_t done = 0;
    while (done < size) {
        ssize_t got =
            pread(file->fd, (uint8_t *)buffer + done, size - done, (off_t)(offset + done));
        if (got < 0 && (errno == EINTR || gave_up_direct(file, errno)))
            continue;
        if (got < 0)
            return fail_errno(info, errno, "read", file->name);
        done += (size_t)got;
        /* A direct read ends inside a block only at the end of the file; going on from there is not
         * allowed. */
        if (got == 0 || (file->direct && done % BASE_DISK_BLOCK))
            break;
    }
    *ret_size = done;
    return LILIO_OK;
}

static enum lilio_err posix_sync(struct base_file *base, struct lilio_errinfo *info)
{
    struct posix_file *file = (struct posix_file *)base;
    if (fdatasync(file->fd) < 0)
        return fail_errno(info, errno, "sync", file->name);
    return LILIO_OK;
}

static enum lilio_err change_blocks(struct base_file *base, int mode, uint64_t offset,
                                    uint64_t size, const char *what, struct lilio_errinfo *info)
{
    struct posix_file *file = (struct posix_file *)base;
    int rc = 0;
    do
        rc = size ? fallocate(file->fd, mode, (off_t)offset, (off_t)size) : 0;
    while (rc < 0 && errno == EINTR);
    if (rc == 0 || errno == EOPNOTSUPP || errno == ENOSYS)
        return LILIO_OK;
    return fail_errno(info, errno, what, file->name);
}

static enum lilio_err posix_allocate(struct base_file *file, uint64_t offset, uint64_t size,
                                     struct lilio_errinfo *info)
{
    return change_blocks(file, FALLOC_FL_KEEP_SIZE, offset, size, "allocate", info);
}

static enum lilio_err posix_punch(struct base_file *file, uint64_t offset, uint64_t size,
                                  struct lilio_errinfo *info)
{
    return change_blocks(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size, "punch",
                         info);
}

/* ext4, xfs and btrfs drop reserved blocks beyond the end on every truncation, also one to the same
 * size. */
static enum lilio_err posix_truncate(struct base_file *base, uint64_t size,
                                     struct lilio_errinfo *info)
{
    struct posix_file *file = (struct posix_file *)base;
    int rc;
    do
        rc = ftruncate(file->fd, (off_t)size);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? fail_errno(info, errno, "truncate", file->name) : LILIO_OK;
}

static enum lilio_err posix_size(struct base_file *base, uint64_t *ret_size,
                                 struct lilio_errinfo *info)
{
    struct posix_file *file = (struct posix_file *)base;
    struct stat st;
    if (fstat(file->fd, &st) < 0)
        return fail_errno(info, errno, "stat", file->name);
    *ret_size = (uint64_t)st.st_size;
    return LILIO_OK;
}

static enum lilio_err posix_still_named(struct base_file *base, struct lilio_errinfo *info)
{
    struct posix_file *file = (struct posix_file *)base;
    struct stat held, named;
    if (fstat(file->fd, &held) < 0 ||
        fstatat(file->dir_fd, file->name, &named, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_errno(info, errno, "stat", file->name);
    if (held.st_dev != named.st_dev || held.st_ino != named.st_ino)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "%s was replaced", file->name);
    return LILIO_OK;
}

static void posix_close(struct base_file *base)
{
    struct posix_file *file = (struct posix_file *)base;
    close(file->fd);
    free(file);
}

static enum lilio_err posix_rename(struct base_disk *base, const char *from, const char *to,
                                   struct lilio_errinfo *info)
{
    struct posix_disk *disk = (struct posix_disk *)base;
    enum lilio_err err = check_name(from, info);
    err = err ? err : check_name(to, info);
    if (err)
        return err;
    if (renameat(disk->dir_fd, from, disk->dir_fd, to) < 0)
        return fail_errno(info, errno, "rename", from);
    return LILIO_OK;
}

static enum lilio_err posix_unlink(struct base_disk *base, const char *name,
                                   struct lilio_errinfo *info)
{
    struct posix_disk *disk = (struct posix_disk *)base;
    enum lilio_err err = check_name(name, info);
    if (!err && unlinkat(disk->dir_fd, name, 0) < 0)
        err = fail_errno(info, errno, "unlink", name);
    return err;
}

static enum lilio_err posix_make_dir(struct base_disk *base, const char *name,
                                     struct lilio_errinfo *info)
{
    struct posix_disk *disk = (struct posix_disk *)base;
    enum lilio_err err = check_name(name, info);
    if (!err && strchr(name, '/'))
        err = lilio_fail(info, LILIO_E_INVALID, "make directory %s: folders do not nest", name);
    if (!err && mkdirat(disk->dir_fd, name, DIR_MODE) < 0)
        err = fail_errno(info, errno, "make directory", name);
    return err;
}

static enum lilio_err posix_remove_dir(struct base_disk *base, const char *name,
                                       struct lilio_errinfo *info)
{
    struct posix_disk *disk = (struct posix_disk *)base;
    enum lilio_err err = check_name(name, info);
    if (err || unlinkat(disk->dir_fd, name, AT_REMOVEDIR) == 0)
        return err;
    return fail_errno(info, errno == ENOTEMPTY ? EEXIST : errno, "remove directory", name);
}

/* Opens a folder of the disk for fsync or reading; "" is the disk's own. */
static enum lilio_err open_dir(const struct posix_disk *disk, const char *name, int *ret_fd,
                               struct lilio_errinfo *info)
{
    enum lilio_err err = *name ? check_name(name, info) : LILIO_OK;
    if (err)
        return err;
    int fd = open_retrying(disk->dir_fd, *name ? name : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(info, errno, "open directory", *name ? name : disk->path);
    *ret_fd = fd;
    return LILIO_OK;
}

static enum lilio_err posix_sync_dir(struct base_disk *base, const char *name,
                                     struct lilio_errinfo *info)
{
    struct posix_disk *disk = (struct posix_disk *)base;
    int fd = -1;
    enum lilio_err err = open_dir(disk, name, &fd, info);
    if (err)
        return err;
    if (fsync(fd) < 0)
        err = fail_errno(info, errno, "sync directory", *name ? name : disk->path);
    close(fd);
    return err;
}

static bool is_plain_file(int dir_fd, const struct dirent *entry)
{
    struct stat st;
    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_REG;
    return fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

static enum lilio_err posix_list(struct base_disk *base, const char *name,
                                 void (*each)(void *context, const char *file), void *context,
                                 struct lilio_errinfo *info)
{
    struct posix_disk *disk = (struct posix_disk *)base;
    int fd = -1;
    enum lilio_err err = open_dir(disk, name, &fd, info);
    if (err)
        return err;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        err = fail_errno(info, errno, "list", *name ? name : disk->path);
        close(fd);
        return err;
    }
    struct dirent *entry;
    while (errno = 0, (entry = readdir(dir)))
        if (is_plain_file(fd, entry))
            each(context, entry->d_name);
    if (errno)
        err = fail_errno(info, errno, "list", *name ? name : disk->path);
    closedir(dir);
    return err;
}

static enum lilio_err posix_space(struct base_disk *base, struct base_disk_space *ret,
                                  struct lilio_errinfo *info)
{
    struct posix_disk *disk = (struct posix_disk *)base;
    struct statvfs st;
    if (fstatvfs(disk->dir_fd, &st) < 0)
        return fail_errno(info, errno, "stat filesystem of", disk->path);
    ret->total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
    ret->free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return LILIO_OK;
}

static enum lilio_err posix_lock(struct base_disk *base, struct lilio_errinfo *info)
{
    struct posix_disk *disk = (struct posix_disk *)base;
    if (disk->lock_fd >= 0)
        return LILIO_OK;
    int fd = open_retrying(disk->dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return fail_errno(info, errno, "lock", disk->path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int code = errno;
        close(fd);
        if (code != EWOULDBLOCK)
            return fail_errno(info, code, "lock", disk->path);
        return lilio_fail(info, LILIO_E_LOCKED,
                          "%s is in use by another process (its file \"%s\" "
                          "is locked)",
                          disk->path, LOCK_NAME);
    }
    disk->lock_fd = fd;
    return LILIO_OK;
}

static void posix_free(struct base_disk *base)
{
    struct posix_disk *disk = (struct posix_disk *)base;
    if (disk->lock_fd >= 0)
        close(disk->lock_fd);
    if (disk->dir_fd >= 0)
        close(disk->dir_fd);
    free(disk->path);
    free(disk);
}

static const struct base_disk_ops posix_ops = {
    .open = posix_open,
    .write = posix_write,
    .read = posix_read,
    .sync = posix_sync,
    .allocate = posix_allocate,
    .punch = posix_punch,
    .truncate = posix_truncate,
    .size = posix_size,
    .still_named = posix_still_named,
    .close = posix_close,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .make_dir = posix_make_dir,
    .remove_dir = posix_remove_dir,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
    .space = posix_space,
    .lock = posix_lock,
    .free = posix_free,
};

enum lilio_err base_disk_posix_new(const char *path, struct base_disk **ret_disk,
                                   struct lilio_errinfo *info)
{
    struct posix_disk *disk = calloc(1, sizeof *disk);
    if (!disk)
        return lilio_fail(info, LILIO_E_NOMEM, "open directory %s: out of memory", path);
    *disk = (struct posix_disk){{&posix_ops}, -1, -1, strdup(path)};
    enum lilio_err err = LILIO_OK;
    if (!disk->path)
        err = lilio_fail(info, LILIO_E_NOMEM, "open directory %s: out of memory", path);
    else if ((disk->dir_fd = open_retrying(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        err = fail_errno(info, errno, "open directory", path);
    if (err)
        posix_free(&disk->head);
    else
        *ret_disk = &disk->head;
    return err;
}
