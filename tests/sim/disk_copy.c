/* A copy of a disk at rest, and the disk as it was then. Rows of stores (kv.c) are no part of it:
 * where there are none an OSD makes its index anew from the segments. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "tests/sim/disk_priv.h"
#include "tests/sim/fiber.h"
#include "tests/support/crash_disk.h"

#include "base/banned.h"

struct sim_disk_copy {
    size_t count, room;
    struct entry {
        char *name;
        bool folder;
        uint8_t *bytes;
        size_t size;
    } * entries;
};

void sim_disk_copy_free(struct sim_disk_copy **copy)
{
    for (size_t i = 0; *copy && i < (*copy)->count; i++) {
        free((*copy)->entries[i].name);
        free((*copy)->entries[i].bytes);
    }
    if (*copy)
        free((*copy)->entries);
    free(*copy);
    *copy = NULL;
}

/* A folder before what is in it. */
static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void file_read(struct base_disk *disk, struct entry *entry)
{
    struct base_file *file = NULL;
    uint64_t size = 0;
    size_t got = 0;
    enum lilio_err err = disk->ops->open(disk, entry->name, BASE_OPEN_READ_ONLY, &file, NULL);
    SIM_ASSERT(!err);
    err = disk->ops->size(file, &size, NULL);
    SIM_ASSERT(!err);
    entry->size = (size_t)size;
    entry->bytes = malloc(entry->size + 1);
    SIM_ASSERT(entry->bytes);
    err = disk->ops->read(file, entry->bytes, entry->size, 0, &got, NULL);
    SIM_ASSERT(!err && got == entry->size);
    disk->ops->close(file);
}

struct sim_disk_copy *sim_disk_copy_new(struct sim_disk *disk)
{
    struct base_disk *inner = sim_disk_inner(disk);
    struct sim_disk_copy *copy = calloc(1, sizeof *copy);
    const char *name;
    SIM_ASSERT(copy);
    while ((name = crash_disk_name(inner, copy->count))) {
        if (copy->count == copy->room) {
            copy->room = 2 * copy->room + 16;
            copy->entries = reallocarray(copy->entries, copy->room, sizeof *copy->entries);
            SIM_ASSERT(copy->entries);
        }
        struct entry *entry = &copy->entries[copy->count++];
        *entry = (struct entry){.name = strdup(name)};
        SIM_ASSERT(entry->name);
    }
    for (size_t i = 0; i < copy->count; i++) {
        copy->entries[i].folder = crash_disk_is_folder(inner, copy->entries[i].name);
        if (!copy->entries[i].folder)
            file_read(inner, &copy->entries[i]);
    }
    qsort(copy->entries, copy->count, sizeof *copy->entries, by_name);
    return copy;
}

static void file_write(struct base_disk *disk, const struct entry *entry)
{
    struct base_file *file = NULL;
    struct iovec vector = {entry->bytes, entry->size};
    enum lilio_err err = disk->ops->open(disk, entry->name, BASE_OPEN_CREATE, &file, NULL);
    SIM_ASSERT(!err);
    if (entry->size > 0)
        err = disk->ops->write(file, &vector, 1, 0, NULL);
    SIM_ASSERT(!err);
    err = disk->ops->sync(file, NULL);
    SIM_ASSERT(!err);
    disk->ops->close(file);
}

void sim_disk_put_back(struct sim_disk *disk, const struct sim_disk_copy *copy)
{
    sim_disk_replace(disk);
    struct base_disk *inner = sim_disk_inner(disk);
    for (size_t i = 0; i < copy->count; i++) {
        enum lilio_err err = LILIO_OK;
        if (copy->entries[i].folder)
            err = inner->ops->make_dir(inner, copy->entries[i].name, NULL);
        else
            file_write(inner, &copy->entries[i]);
        SIM_ASSERT(!err);
    }
    for (size_t i = 0; i < copy->count; i++)
        if (copy->entries[i].folder) {
            enum lilio_err err = inner->ops->sync_dir(inner, copy->entries[i].name, NULL);
            SIM_ASSERT(!err);
        }
    enum lilio_err err = inner->ops->sync_dir(inner, "", NULL);
    SIM_ASSERT(!err);
    sim_event("disk: an older copy of it is put back");
}
