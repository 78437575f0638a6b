#include "tools/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/cmd.h"

#include "base/banned.h"

/* Dirty pages are handed to the disk in pieces of this size, so that the last sync is short. */
enum { FLUSH_BYTES = 16 << 20 };

enum lilio_err tools_file_fail(struct lilio_errinfo *info, const char *what, const char *name)
{
    int number = errno;
    enum lilio_err err = LILIO_E_IO;
    if (number == ENOENT || number == ENOTDIR)
        err = LILIO_E_NOT_FOUND;
    else if (number == EACCES || number == EPERM || number == EROFS)
        err = LILIO_E_DENIED;
    else if (number == EISDIR || number == ENAMETOOLONG)
        err = LILIO_E_INVALID;
    else if (number == EEXIST)
        err = LILIO_E_EXISTS;
    return lilio_fail(info, err, "%s %s: %s", what, name, strerror(number));
}

enum lilio_err tools_folder_make(const char *path, struct lilio_errinfo *info)
{
    struct stat stat_buffer;
    if (mkdir(path, 0700) == 0)
        return LILIO_OK;
    if (errno == ENOENT) {
        char *copy = strdup(path);
        if (!copy)
            return tools_no_memory(info);
        enum lilio_err err = tools_folder_make(dirname(copy), info);
        free(copy);
        if (err)
            return err;
        if (mkdir(path, 0700) == 0)
            return LILIO_OK;
    }
    if (errno == EEXIST && stat(path, &stat_buffer) == 0) {
        if (S_ISDIR(stat_buffer.st_mode))
            return LILIO_OK;
        return lilio_fail(info, LILIO_E_INVALID, "%s is there and no folder", path);
    }
    return tools_file_fail(info, "cannot make folder", path);
}

/* ---- sources ---- */

enum lilio_err tools_source_open(const char *path, struct tools_source *ret,
                                 struct lilio_errinfo *info)
{
    if (strcmp(path, "-") == 0) {
        *ret = (struct tools_source){STDIN_FILENO, "standard input", UINT64_MAX};
    } else {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
            return tools_file_fail(info, "cannot read", path);
        *ret = (struct tools_source){fd, path, UINT64_MAX};
    }
    struct stat stat_buffer;
    if (fstat(ret->fd, &stat_buffer) != 0) {
        enum lilio_err err = tools_file_fail(info, "cannot read", ret->name);
        tools_source_close(ret);
        return err;
    }
    if (S_ISDIR(stat_buffer.st_mode)) {
        tools_source_close(ret);
        return lilio_fail(info, LILIO_E_INVALID, "%s is a folder: use -r", path);
    }
    if (S_ISREG(stat_buffer.st_mode)) {
        /* Standard input may have been read in part by somebody before us. */
        off_t at = lseek(ret->fd, 0, SEEK_CUR);
        off_t left = at >= 0 && at < stat_buffer.st_size ? stat_buffer.st_size - at : 0;
        ret->size = (uint64_t)left;
        (void)posix_fadvise(ret->fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* only a hint */
    }
    return LILIO_OK;
}

void tools_source_close(struct tools_source *source)
{
    if (source->fd > STDIN_FILENO)
        close(source->fd);
    source->fd = -1;
}

/* Waits until a descriptor that does not block is ready; false when interrupted for good. */
static bool ready_wait(int fd, short events)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    (void)poll(&poll_fd, 1, 1000);
    return !tools_cancelled();
}

static enum lilio_err source_read(void *context, void *buffer, size_t size, size_t *ret_size,
                                  struct lilio_errinfo *info)
{
    struct tools_source *source = context;
    size_t done = 0;
    while (done < size) {
        ssize_t got = read(source->fd, (char *)buffer + done, size - done);
        if (got == 0)
            break;
        if (got > 0) {
            done += (size_t)got;
            continue;
        }
        if (errno != EINTR && errno != EAGAIN)
            return lilio_fail(info, LILIO_E_IO, "cannot read %s: %s", source->name,
                              strerror(errno));
        if (tools_cancelled() || (errno == EAGAIN && !ready_wait(source->fd, POLLIN)))
            return lilio_fail(info, LILIO_E_CANCELLED, "interrupted");
    }
    *ret_size = done;
    return LILIO_OK;
}

struct lilio_source tools_source_callback(struct tools_source *source)
{
    return (struct lilio_source){.read = source_read, .context = source, .size = source->size};
}

/* ---- sinks ---- */

/* The mode of a file that is made anew. */
static mode_t default_mode(void)
{
    mode_t mask = umask(0);
    (void)umask(mask);
    return 0666 & ~mask;
}

/* Makes the temporary file beside sink->path. */
static enum lilio_err temporary_make(struct tools_sink *sink, mode_t mode,
                                     struct lilio_errinfo *info)
{
    const char *slash = strrchr(sink->path, '/');
    int folder_size = slash ? (int)(slash - sink->path + 1) : 0;
    if (asprintf(&sink->temporary, "%.*s.lilio-get-XXXXXX", folder_size, sink->path) < 0) {
        sink->temporary = NULL;
        return tools_no_memory(info);
    }
    sink->fd = mkostemp(sink->temporary, O_CLOEXEC);
    if (sink->fd < 0) {
        enum lilio_err err = tools_file_fail(info, "cannot write beside", sink->path);
        free(sink->temporary);
        sink->temporary = NULL;
        return err;
    }
    (void)fchmod(sink->fd, mode); /* a file that stays private is no failure */
    return LILIO_OK;
}

enum lilio_err tools_sink_open(const char *path, struct tools_sink *ret, struct lilio_errinfo *info)
{
    struct stat stat_buffer;
    *ret = (struct tools_sink){.fd = -1, .name = path};
    if (strcmp(path, "-") == 0) {
        ret->fd = STDOUT_FILENO;
        ret->name = "standard output";
        return LILIO_OK;
    }
    bool there = stat(path, &stat_buffer) == 0;
    if (there && S_ISDIR(stat_buffer.st_mode))
        return lilio_fail(info, LILIO_E_INVALID, "%s is a folder: name a file in it, or use -r",
                          path);
    if (there && !S_ISREG(stat_buffer.st_mode)) {
        ret->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        return ret->fd < 0 ? tools_file_fail(info, "cannot write", path) : LILIO_OK;
    }
    /* What a symbolic link points to is replaced, not the link. */
    ret->path = there ? realpath(path, NULL) : strdup(path);
    if (!ret->path)
        return lilio_fail(info, LILIO_E_NOMEM, "cannot resolve %s: %s", path, strerror(errno));
    /* A file that is replaced keeps its mode, except for what makes it a program of its owner's. */
    mode_t mode = there ? stat_buffer.st_mode & 0777 : default_mode();
    enum lilio_err err = temporary_make(ret, mode, info);
    if (err)
        tools_sink_close(ret);
    return err;
}

static enum lilio_err sink_write(void *context, const void *data, size_t size,
                                 struct lilio_errinfo *info)
{
    struct tools_sink *sink = context;
    size_t done = 0;
    while (done < size) {
        ssize_t put = write(sink->fd, (const char *)data + done, size - done);
        if (put >= 0) {
            done += (size_t)put;
            continue;
        }
        if (errno != EINTR && errno != EAGAIN)
            return lilio_fail(info, LILIO_E_IO, "cannot write %s: %s", sink->name, strerror(errno));
        if (tools_cancelled() || (errno == EAGAIN && !ready_wait(sink->fd, POLLOUT)))
            return lilio_fail(info, LILIO_E_CANCELLED, "interrupted");
    }
    sink->written += size;
    if (sink->temporary && sink->written - sink->flushed >= FLUSH_BYTES) {
        /* Only starts the writing; what counts is the sync at the end. */
        (void)sync_file_range(sink->fd, (off_t)sink->flushed,
                              (off_t)(sink->written - sink->flushed), SYNC_FILE_RANGE_WRITE);
        sink->flushed = sink->written;
    }
    return LILIO_OK;
}

static enum lilio_err sink_restart(void *context, struct lilio_errinfo *info)
{
    struct tools_sink *sink = context;
    if (sink->written == 0)
        return LILIO_OK;
    if (!sink->temporary)
        return lilio_fail(info, LILIO_E_VERSION_GONE,
                          "the object was replaced or deleted while it was being written to %s",
                          sink->name);
    if (ftruncate(sink->fd, 0) != 0 || lseek(sink->fd, 0, SEEK_SET) != 0)
        return lilio_fail(info, LILIO_E_IO, "cannot rewrite %s: %s", sink->name, strerror(errno));
    sink->written = sink->flushed = 0;
    return LILIO_OK;
}

struct lilio_sink tools_sink_callback(struct tools_sink *sink)
{
    return (struct lilio_sink){.write = sink_write, .restart = sink_restart, .context = sink};
}

/* Makes a rename in the folder of path durable. */
static int folder_sync(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return -1;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    if (fd < 0)
        return -1;
    int failed = fsync(fd);
    close(fd);
    return failed;
}

enum lilio_err tools_sink_commit(struct tools_sink *sink, struct lilio_errinfo *info)
{
    if (!sink->temporary)
        return LILIO_OK;
    if (fsync(sink->fd) != 0 || rename(sink->temporary, sink->path) != 0) {
        (void)tools_file_fail(info, "cannot write", sink->name);
        return LILIO_E_IO;
    }
    free(sink->temporary);
    sink->temporary = NULL;
    if (folder_sync(sink->path) != 0)
        return lilio_fail(info, LILIO_E_IO, "cannot sync the folder of %s: %s", sink->name,
                          strerror(errno));
    return LILIO_OK;
}

void tools_sink_close(struct tools_sink *sink)
{
    if (sink->fd > STDERR_FILENO)
        close(sink->fd);
    sink->fd = -1;
    if (sink->temporary)
        (void)unlink(sink->temporary);
    free(sink->temporary);
    free(sink->path);
    sink->temporary = sink->path = NULL;
}
