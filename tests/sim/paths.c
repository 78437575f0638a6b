/* Paths below /sim, in place of the C library's functions by the linker's --wrap: just what the
 * daemons do with paths, all else being done through base/disk.h. Other paths go to the kernel. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/sim/disk_priv.h"
#include "tests/sim/fds.h"
#include "tests/sim/wrap.h"
#include "tests/support/crash_disk.h"

#include "base/banned.h"

/* The error numbers that callers tell apart. */
static int answer(enum lilio_err err)
{
    switch (err) {
    case LILIO_OK: return 0;
    case LILIO_E_NOT_FOUND: errno = ENOENT; return -1;
    case LILIO_E_EXISTS: errno = EEXIST; return -1;
    case LILIO_E_NO_SPACE: errno = ENOSPC; return -1;
    default: errno = EIO; return -1;
    }
}

/* The disk; NULL with errno set if there is none. */
static struct sim_disk *find(const char *path, const char **ret_rest)
{
    struct sim_disk *disk = sim_disk_of_path(path, ret_rest);
    if (!disk)
        errno = ENOENT;
    return disk;
}

/* Whether a name leads to something; also files that only the real store has. */
static bool is_there(struct sim_disk *disk, const char *rest)
{
    if (!rest[0] || crash_disk_number(sim_disk_inner(disk), rest))
        return true;
    const char *slash = strchr(rest, '/');
    char folder[64];
    if (!slash || strcmp(slash, "/CURRENT") != 0 || (size_t)(slash - rest) >= sizeof folder)
        return false;
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - rest), rest);
    return sim_kv_is_at(disk, folder);
}

/* The folder of a disk's folder, where all disks are. */
static bool leads_up(const char *path)
{
    size_t size = strlen(path);
    return size > 3 && strcmp(path + size - 3, "/..") == 0;
}

/* Folders are opened to be synced. */
int __wrap_open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    int mode = va_arg(arguments, int);
    va_end(arguments);
    if (!sim_is_our_path(path) && strcmp(path, "/sim") != 0)
        return __real_open(path, flags, mode);
    if (leads_up(path))
        path = "/sim";
    const char *rest = "";
    struct sim_disk *disk = sim_disk_of_path(path, &rest);
    if (!(flags & O_DIRECTORY) || (disk && !is_there(disk, rest))) {
        errno = ENOENT;
        return -1;
    }
    return sim_fd_folder(path);
}

int __wrap_fsync(int number)
{
    const char *path = sim_fd_path(number), *rest = "";
    if (!path)
        return __real_fsync(number);
    struct sim_disk *disk = sim_disk_of_path(path, &rest);
    if (!disk)
        return 0; /* the folder of all disks */
    struct base_disk *inner = sim_disk_inner(disk);
    enum lilio_err err = sim_disk_enter(disk, SIM_SYNC, 0, NULL);
    if (!err)
        err = inner->ops->sync_dir(inner, rest, NULL);
    sim_disk_leave(disk);
    return answer(err);
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    if (!sim_is_our_path(path))
        return __real_mkdir(path, mode);
    const char *rest = "";
    struct sim_disk *disk = find(path, &rest);
    if (!disk)
        return -1;
    if (is_there(disk, rest))
        return answer(LILIO_E_EXISTS);
    struct base_disk *inner = sim_disk_inner(disk);
    enum lilio_err err = sim_disk_enter(disk, SIM_META, 0, NULL);
    if (!err)
        err = inner->ops->make_dir(inner, rest, NULL);
    sim_disk_leave(disk);
    return answer(err);
}

int __wrap_stat(const char *path, struct stat *ret)
{
    if (!sim_is_our_path(path))
        return __real_stat(path, ret);
    const char *rest = "";
    struct sim_disk *disk = find(path, &rest);
    if (!disk || !is_there(disk, rest))
        return answer(LILIO_E_NOT_FOUND);
    uint64_t number = crash_disk_number(sim_disk_inner(disk), rest);
    *ret = (struct stat){.st_dev = 1, .st_ino = number, .st_nlink = 1};
    ret->st_mode = crash_disk_is_folder(sim_disk_inner(disk), rest) || !rest[0] ? S_IFDIR : S_IFREG;
    return 0;
}

int __wrap_lstat(const char *path, struct stat *ret)
{
    return sim_is_our_path(path) ? __wrap_stat(path, ret) : __real_lstat(path, ret);
}

int __wrap_access(const char *path, int mode)
{
    if (!sim_is_our_path(path))
        return __real_access(path, mode);
    const char *rest = "";
    struct sim_disk *disk = find(path, &rest);
    return disk && is_there(disk, rest) ? 0 : answer(LILIO_E_NOT_FOUND);
}

int __wrap_rename(const char *from, const char *to)
{
    if (!sim_is_our_path(from))
        return __real_rename(from, to);
    const char *from_rest = "", *to_rest = "";
    struct sim_disk *disk = find(from, &from_rest);
    if (!disk || disk != sim_disk_of_path(to, &to_rest))
        return answer(LILIO_E_NOT_FOUND);
    struct base_disk *inner = sim_disk_inner(disk);
    enum lilio_err err = sim_disk_enter(disk, SIM_META, 0, NULL);
    if (!err)
        err = inner->ops->rename(inner, from_rest, to_rest, NULL);
    sim_disk_leave(disk);
    return answer(err);
}

static int remove_name(const char *path, bool folder)
{
    const char *rest = "";
    struct sim_disk *disk = find(path, &rest);
    if (!disk)
        return -1;
    struct base_disk *inner = sim_disk_inner(disk);
    enum lilio_err err = sim_disk_enter(disk, SIM_META, 0, NULL);
    if (!err)
        err = folder ? crash_disk_remove_folder(inner, rest, NULL)
                     : inner->ops->unlink(inner, rest, NULL);
    sim_disk_leave(disk);
    return answer(err);
}

int __wrap_rmdir(const char *path)
{
    return sim_is_our_path(path) ? remove_name(path, true) : __real_rmdir(path);
}

int __wrap_unlink(const char *path)
{
    return sim_is_our_path(path) ? remove_name(path, false) : __real_unlink(path);
}

/* Only to add up how large the maps are: nothing. */
DIR *__wrap_opendir(const char *path)
{
    if (!sim_is_our_path(path))
        return __real_opendir(path);
    errno = ENOENT;
    return NULL;
}
