#include "osd/file.h"

#include <stdio.h>

#include "base/banned.h"

enum { NAME_ROOM = 64 };

enum lilio_err osd_file_load(struct base_disk *disk, const char *name, uint64_t most,
                             struct base_buffer *ret, struct lilio_errinfo *info)
{
    struct base_file *file = NULL;
    uint64_t size = 0;
    size_t got = 0;
    enum lilio_err err = disk->ops->open(disk, name, BASE_OPEN_READ_ONLY, &file, info);
    if (err)
        return err;
    err = disk->ops->size(file, &size, info);
    if (!err && size > most)
        err = lilio_fail(info, LILIO_E_CORRUPT, "%s: too long", name);
    if (!err && size > 0)
        err = base_buffer_reserve(ret, (size_t)size);
    if (!err && size > 0)
        err = disk->ops->read(file, ret->data + ret->size, (size_t)size, 0, &got, info);
    ret->size += got;
    base_file_close(&file);
    return err;
}

enum lilio_err osd_file_replace(struct base_disk *disk, const char *name, struct base_slice bytes,
                                struct lilio_errinfo *info)
{
    struct base_file *file = NULL;
    char name_new[NAME_ROOM];
    struct iovec vector = {(void *)(uintptr_t)bytes.data, bytes.size}; /* written from */
    (void)snprintf(name_new, sizeof name_new, "%s.new", name);
    enum lilio_err err = disk->ops->open(disk, name_new, BASE_OPEN_CREATE, &file, info);
    if (!err)
        err = disk->ops->truncate(file, 0, info);
    if (!err)
        err = disk->ops->write(file, &vector, 1, 0, info);
    if (!err)
        err = disk->ops->sync(file, info);
    base_file_close(&file);
    if (!err)
        err = disk->ops->rename(disk, name_new, name, info);
    if (!err)
        err = disk->ops->sync_dir(disk, "", info);
    return err ? lilio_prefix(info, err, "%s", name) : LILIO_OK;
}
