/* disk_faults: a library for LD_PRELOAD that makes a real daemon's disk fail.
 *
 *     LD_PRELOAD=libdisk_faults.so LILIO_FAULT_SWITCH=FILE lilio-osd ...
 *
 * While FILE holds "KIND ONE-IN-N PREFIX", one in N calls on a file whose path begins with PREFIX
 * goes wrong; an empty or absent FILE is a good disk. Kinds:
 *
 *     read-eio     pread fails with EIO
 *     write-eio    pwrite and pwritev fail with EIO, nothing is written
 *     write-short  they write less than they were asked to, and say so
 *     write-torn   they write a part and fail with EIO
 *     sync-eio     fdatasync and fsync fail with EIO
 *
 * The file is looked at every 50 ms at most. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

enum { LOOK_MS = 50, BLOCK = 4096 };

static struct {
    pthread_mutex_t mutex;
    unsigned long long looked_ms;
    char kind[16], prefix[PATH_MAX];
    unsigned one_in, seed;
} faults = {.mutex = PTHREAD_MUTEX_INITIALIZER, .seed = 1};

/* The system's function behind ours. */
static void find(const char *name, void *ret_function)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    if (!symbol)
        abort();
    memcpy(ret_function, &symbol, sizeof symbol);
}

static void look(void)
{
    struct timespec now;
    char text[PATH_MAX + 64] = "";
    const char *path = getenv("LILIO_FAULT_SWITCH");
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    unsigned long long now_ms =
        (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000;
    if (now_ms - faults.looked_ms < LOOK_MS)
        return;
    faults.looked_ms = now_ms;
    faults.kind[0] = '\0';
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    ssize_t size = read(fd, text, sizeof text - 1);
    (void)close(fd); /* only read from */
    if (size <= 0 ||
        sscanf(text, "%15s %u %4095s", faults.kind, &faults.one_in, faults.prefix) != 3)
        faults.kind[0] = '\0';
}

static bool is_meant(int fd)
{
    char link[64], path[PATH_MAX];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return false;
    path[size] = '\0';
    return strncmp(path, faults.prefix, strlen(faults.prefix)) == 0;
}

/* Whether this call on this file goes wrong in this way. */
static bool strikes(const char *kind, int fd)
{
    int kept = errno;
    (void)pthread_mutex_lock(&faults.mutex); /* a plain mutex of ours */
    look();
    bool hit = strcmp(faults.kind, kind) == 0 && is_meant(fd) &&
               (unsigned)rand_r(&faults.seed) % (faults.one_in ? faults.one_in : 1) == 0;
    (void)pthread_mutex_unlock(&faults.mutex);
    errno = kept;
    return hit;
}

static ssize_t fail(void)
{
    errno = EIO;
    return -1;
}

/* ---- what the programs call ---- */

ssize_t pread64(int fd, void *buffer, size_t size, off64_t offset)
{
    static ssize_t (*real)(int, void *, size_t, off64_t);
    if (!real)
        find("pread64", &real);
    return strikes("read-eio", fd) ? fail() : real(fd, buffer, size, offset);
}

ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
    return pread64(fd, buffer, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    size_t part = size / 2 / BLOCK * BLOCK; /* what direct writes may be cut to */
    if (!real)
        find("pwrite64", &real);
    if (strikes("write-eio", fd))
        return fail();
    if (part && strikes("write-short", fd))
        return real(fd, data, part, offset);
    if (strikes("write-torn", fd)) {
        (void)real(fd, data, part, offset); /* a failure is what is wanted */
        return fail();
    }
    return real(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return pwrite64(fd, data, size, offset);
}

ssize_t pwritev64(int fd, const struct iovec *vectors, int count, off64_t offset)
{
    static ssize_t (*real)(int, const struct iovec *, int, off64_t);
    if (!real)
        find("pwritev64", &real);
    if (strikes("write-eio", fd))
        return fail();
    if (count > 1 && strikes("write-short", fd))
        return real(fd, vectors, count / 2, offset);
    if (strikes("write-torn", fd)) {
        (void)real(fd, vectors, count / 2, offset); /* a failure is what is wanted */
        return fail();
    }
    return real(fd, vectors, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *vectors, int count, off_t offset)
{
    return pwritev64(fd, vectors, count, offset);
}

int fdatasync(int fd)
{
    static int (*real)(int);
    if (!real)
        find("fdatasync", &real);
    return strikes("sync-eio", fd) ? (int)fail() : real(fd);
}

int fsync(int fd)
{
    static int (*real)(int);
    if (!real)
        find("fsync", &real);
    return strikes("sync-eio", fd) ? (int)fail() : real(fd);
}
