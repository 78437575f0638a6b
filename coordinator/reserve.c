#include "coordinator/reserve.h"

#include "base/banned.h"

static const char name[] = "reserve";

static uint64_t wanted_bytes(const struct base_disk_space *space)
{
    uint64_t bytes = space->total_bytes / 16;
    bytes = bytes < COORD_RESERVE_MIN_BYTES ? COORD_RESERVE_MIN_BYTES : bytes;
    return bytes > COORD_RESERVE_MAX_BYTES ? COORD_RESERVE_MAX_BYTES : bytes;
}

static void give_up(struct coord_reserve *reserve)
{
    if (reserve->disk->ops->unlink(reserve->disk, name, NULL))
        return; /* the next look tries again */
    reserve->kept = false;
    base_log_write(reserve->log, BASE_LOG_WARN, "reserve", "given_up", "");
}

static void set_aside(struct coord_reserve *reserve, uint64_t bytes)
{
    struct base_disk *disk = reserve->disk;
    struct base_file *file;
    if (disk->ops->open(disk, name, BASE_OPEN_CREATE, &file, NULL))
        return; /* the next look tries again */
    enum lilio_err err = file->ops->allocate(file, 0, bytes, NULL);
    base_file_close(&file);
    reserve->kept = true;
    if (err)
        give_up(reserve);
    else
        base_log_write(reserve->log, BASE_LOG_INFO, "reserve", "set_aside", "bytes=%llu",
                       (unsigned long long)bytes);
}

static bool is_low(const struct base_disk_space *space)
{
    return space->free_bytes < COORD_RESERVE_LOW_BYTES;
}

void coord_reserve_init(struct coord_reserve *reserve, struct base_disk *disk, struct base_log *log)
{
    struct base_disk_space space;
    struct base_file *file;
    *reserve = (struct coord_reserve){.disk = disk, .log = log};
    if (disk->ops->open(disk, name, 0, &file, NULL))
        return;
    base_file_close(&file);
    reserve->kept = true;
    if (!disk->ops->space(disk, &space, NULL) && is_low(&space))
        give_up(reserve);
}

void coord_reserve_look(struct coord_reserve *reserve)
{
    struct base_disk_space space;
    if (reserve->disk->ops->space(reserve->disk, &space, NULL))
        return;
    uint64_t bytes = wanted_bytes(&space);
    if (reserve->kept && is_low(&space))
        give_up(reserve);
    else if (!reserve->kept && space.free_bytes < COORD_RESERVE_NEAR_BYTES &&
             space.free_bytes / 4 >= bytes)
        set_aside(reserve, bytes);
}
