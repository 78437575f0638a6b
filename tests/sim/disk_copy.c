/* Copies of disks: the files as they are, the stores by their snapshots. */
#include <stdlib.h>

#include "base/mark.h"
#include "tests/sim/disk_priv.h"
#include "tests/sim/grow.h"
#include "tests/sim/nodes.h"
#include "tests/support/crash_disk.h"

#include "base/banned.h"

struct item {
    char *name;
    uint8_t *bytes; /* NULL: a folder */
    size_t size;
};
struct sim_disk_copy {
    struct item *items;
    size_t count, room;
    struct sim_kv_copy *stores;
};

static void read_file(struct base_disk *inner, struct item *item)
{
    struct base_file *file;
    uint64_t size = 0;
    enum lilio_err err = inner->ops->open(inner, item->name, BASE_OPEN_READ_ONLY, &file, NULL);
    SIM_ASSERT(!err);
    err = file->ops->size(file, &size, NULL);
    item->bytes = malloc((size_t)size + 1);
    SIM_ASSERT(!err && item->bytes);
    err = file->ops->read(file, item->bytes, (size_t)size, 0, &item->size, NULL);
    SIM_ASSERT(!err && item->size == size);
    file->ops->close(file);
}

struct sim_disk_copy *sim_disk_copy_new(struct sim_disk *disk)
{
    struct base_disk *inner = sim_disk_inner(disk);
    struct sim_disk_copy *copy = calloc(1, sizeof *copy);
    const char *name;
    SIM_ASSERT(copy && sim_node_state(sim_disk_node(disk)) != SIM_UP);
    for (size_t i = 0; (name = crash_disk_name(inner, i)); i++) {
        copy->items = sim_grow(copy->items, &copy->room, copy->count + 1, sizeof *copy->items);
        struct item *item = &copy->items[copy->count++];
        *item = (struct item){.name = strdup(name)};
        SIM_ASSERT(item->name);
        if (!crash_disk_is_folder(inner, name))
            read_file(inner, item);
    }
    copy->stores = sim_kv_copy_new(disk);
    sim_event("disk: that of %s is copied", sim_node_name(sim_disk_node(disk)));
    LILIO_MARK("fault/disk_copied");
    return copy;
}

static void write_file(struct base_disk *inner, const struct item *item)
{
    struct base_file *file;
    struct iovec vector = {item->bytes, item->size};
    enum lilio_err err = inner->ops->open(inner, item->name, BASE_OPEN_CREATE, &file, NULL);
    SIM_ASSERT(!err);
    if (item->size > 0)
        err = file->ops->write(file, &vector, 1, 0, NULL);
    if (!err)
        err = file->ops->sync(file, NULL);
    SIM_ASSERT(!err);
    file->ops->close(file);
}

/* A folder is listed before what is in it, or behind. */
void sim_disk_put_back(struct sim_disk *disk, const struct sim_disk_copy *copy)
{
    sim_disk_replace(disk);
    struct base_disk *inner = sim_disk_inner(disk);
    for (size_t i = 0; i < copy->count; i++)
        if (!copy->items[i].bytes && inner->ops->make_dir(inner, copy->items[i].name, NULL))
            SIM_ASSERT(!"a folder that cannot be made");
    for (size_t i = 0; i < copy->count; i++)
        if (copy->items[i].bytes)
            write_file(inner, &copy->items[i]);
    for (size_t i = 0; i < copy->count; i++)
        if (!copy->items[i].bytes && inner->ops->sync_dir(inner, copy->items[i].name, NULL))
            SIM_ASSERT(!"a folder that cannot be synced");
    if (inner->ops->sync_dir(inner, "", NULL))
        SIM_ASSERT(!"a disk that cannot be synced");
    sim_kv_put_back(disk, copy->stores);
    sim_event("disk: that of %s is an older copy now", sim_node_name(sim_disk_node(disk)));
    LILIO_MARK("fault/disk_older");
}

void sim_disk_copy_free(struct sim_disk_copy **copy)
{
    struct sim_disk_copy *mine = *copy;
    *copy = NULL;
    if (!mine)
        return;
    for (size_t i = 0; i < mine->count; i++) {
        free(mine->items[i].name);
        free(mine->items[i].bytes);
    }
    sim_kv_copy_free(&mine->stores);
    free(mine->items);
    free(mine);
}
