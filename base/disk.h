/* The disk as the stores see it: one directory of flat files, positional I/O, explicit durability.
 *
 * Implementations: base/disk_posix.c (a real directory, direct I/O where the filesystem takes it)
 * and tests/support/crash_disk.c (memory; drops, tears or keeps unsynced writes at a crash, injects
 * errors).
 *
 * Durability contract every caller relies on and every implementation keeps:
 *  - bytes written are durable after a successful file sync; file size and existence too, once
 * sync_dir succeeded after the creation or rename;
 *  - after a failed write or sync nothing since the last good sync may be believed (design rule 6).
 * Names are relative ("segments/0000000000000001.seg"), at most one '/', no "..": folders do not
 * nest. Threads: a file may be used from several threads; each call is one system call.
 */
#ifndef BASE_DISK_H
#define BASE_DISK_H

#include <sys/uio.h>

#include "base/err.h"
#include "base/types.h"

struct base_disk;
struct base_file;

enum base_open_flags {
    BASE_OPEN_CREATE = 1,    /* create if absent */
    BASE_OPEN_EXCLUSIVE = 2, /* with CREATE: EXISTS if present */
    BASE_OPEN_DIRECT =
        4, /* direct I/O: buffers, sizes and offsets are multiples of BASE_DISK_BLOCK.
              Silently buffered where the filesystem refuses (tmpfs) */
    BASE_OPEN_READ_ONLY = 8,
};
enum { BASE_DISK_BLOCK = 4096 };

struct base_disk_space {
    uint64_t total_bytes, free_bytes; /* free = available to this process */
};

struct base_disk_ops {
    /* Errors of all: NOT_FOUND, EXISTS, NO_SPACE, IO, READ_ONLY (filesystem mounted read-only),
     * NOMEM, INVALID (a bad name, or a direct transfer that is not aligned). */
    enum lilio_err (*open)(struct base_disk *disk, const char *name, unsigned flags,
                           struct base_file **ret_file, struct lilio_errinfo *info);
    /* Writes all bytes of the vectors at offset or fails; count <= 1024. */
    enum lilio_err (*write)(struct base_file *file, const struct iovec *vectors, int count,
                            uint64_t offset, struct lilio_errinfo *info);
    /* Reads up to size bytes; *ret_size is short only at the end of the file. */
    enum lilio_err (*read)(struct base_file *file, void *buffer, size_t size, uint64_t offset,
                           size_t *ret_size, struct lilio_errinfo *info);
    enum lilio_err (*sync)(struct base_file *file, struct lilio_errinfo *info);
    /* Reserves blocks without changing the file's size (best effort: filesystems without it answer
     * OK). */
    enum lilio_err (*allocate)(struct base_file *file, uint64_t offset, uint64_t size,
                               struct lilio_errinfo *info);
    /* Gives the blocks of the range back; it reads as zeros afterwards. Best effort like allocate.
     */
    enum lilio_err (*punch)(struct base_file *file, uint64_t offset, uint64_t size,
                            struct lilio_errinfo *info);
    /* Sets the size; also drops reserved blocks beyond it. */
    enum lilio_err (*truncate)(struct base_file *file, uint64_t size, struct lilio_errinfo *info);
    enum lilio_err (*size)(struct base_file *file, uint64_t *ret_size, struct lilio_errinfo *info);
    /* NOT_FOUND when the name the file was opened by leads to it no longer: what is written then
     * is lost with the handle. NULL where nobody else can touch the directory. */
    enum lilio_err (*still_named)(struct base_file *file, struct lilio_errinfo *info);
    void (*close)(struct base_file *file);
    /* A file takes the place of one that is there; a folder moves with all that is in it, to a name
     * that is not there. */
    enum lilio_err (*rename)(struct base_disk *disk, const char *from, const char *to,
                             struct lilio_errinfo *info);
    enum lilio_err (*unlink)(struct base_disk *disk, const char *name, struct lilio_errinfo *info);
    enum lilio_err (*make_dir)(struct base_disk *disk, const char *name,
                               struct lilio_errinfo *info);
    /* An empty folder; EXISTS if there is something in it. */
    enum lilio_err (*remove_dir)(struct base_disk *disk, const char *name,
                                 struct lilio_errinfo *info);
    /* Makes creations, renames and removals in the folder durable; "" is the disk's own directory.
     */
    enum lilio_err (*sync_dir)(struct base_disk *disk, const char *name,
                               struct lilio_errinfo *info);
    /* Calls back once per plain file of the folder, in no particular order. */
    enum lilio_err (*list)(struct base_disk *disk, const char *name,
                           void (*each)(void *context, const char *file), void *context,
                           struct lilio_errinfo *info);
    enum lilio_err (*space)(struct base_disk *disk, struct base_disk_space *ret,
                            struct lilio_errinfo *info);
    /* Takes the directory's lock for the life of the disk object; LOCKED if another process holds
     * it. */
    enum lilio_err (*lock)(struct base_disk *disk, struct lilio_errinfo *info);
    void (*free)(struct base_disk *disk);
};

/* The head of every implementation's own struct. */
struct base_disk {
    const struct base_disk_ops *ops;
};
struct base_file {
    const struct base_disk_ops *ops;
};

/* Opens a directory that exists. Errors: NOT_FOUND, IO, NOMEM. path is copied. */
LILIO_MUST_USE enum lilio_err base_disk_posix_new(const char *path, struct base_disk **ret_disk,
                                                  struct lilio_errinfo *info);
void base_disk_free(struct base_disk **disk);
void base_file_close(struct base_file **file);

/* What is kept of a filesystem of so many bytes for what a full one still has to do (deletes, an
 * index): max(64 MiB, 1 %) from 512 MiB on, max(8 MiB, 1/8) of smaller ones. */
uint64_t base_disk_reserve_bytes(uint64_t total_bytes);

/* Names of numbered files: 16 hexadecimal digits and a suffix (".seg"). */
enum { BASE_NUMBER_DIGITS = 16 };
/* The number, if name is one of those and not 0 or 2^64-1. name: of a file, without its folder. */
bool base_disk_number_parse(const char *name, const char *suffix, uint64_t *ret_number);

/* For implementations. A name as described above; the folder argument of sync_dir and list may also
 * be "". */
bool base_disk_name_valid(const char *name);
/* Whether a direct transfer keeps the rule of BASE_OPEN_DIRECT; breaking it answers INVALID on
 * every filesystem. */
bool base_disk_io_aligned(const struct iovec *vectors, int count, uint64_t offset);

#endif
