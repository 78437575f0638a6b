/* The superblock file says who this disk is.
 *
 * Written as a whole: "superblock.new" is written and synced, renamed over "superblock", and the
 * directory synced. A crash leaves the old file or the new one, each whole; a left-over
 * "superblock.new" is written over by the next attempt. Two copies in two sectors survive a flip or
 * a lost sector.
 */
#include "osd/record.h"

#include "base/banned.h"

#define NAME     "superblock"
#define NAME_NEW "superblock.new"

enum lilio_err osd_superblock_read(struct base_disk *disk, struct osd_superblock *ret,
                                   struct lilio_errinfo *info)
{
    uint8_t bytes[OSD_SUPERBLOCK_BYTES];
    struct base_file *file = NULL;
    size_t size = 0;
    enum lilio_err err = disk->ops->open(disk, NAME, BASE_OPEN_READ_ONLY, &file, info);
    if (err == LILIO_E_NOT_FOUND) {
        *ret = (struct osd_superblock){.state = OSD_DISK_BLANK};
        return LILIO_OK;
    }
    if (err)
        return lilio_prefix(info, err, "superblock");
    err = disk->ops->read(file, bytes, sizeof bytes, 0, &size, info);
    base_file_close(&file);
    if (err)
        return lilio_prefix(info, err, "superblock");
    err = osd_superblock_decode(bytes, size, ret);
    if (err == LILIO_E_FORMAT)
        return lilio_fail(info, err, "superblock: written by a newer program");
    if (err)
        return lilio_fail(info, err, "superblock: neither of its two copies verifies");
    return LILIO_OK;
}

enum lilio_err osd_superblock_write(struct base_disk *disk, const struct osd_superblock *superblock,
                                    struct lilio_errinfo *info)
{
    uint8_t bytes[OSD_SUPERBLOCK_BYTES];
    struct base_file *file = NULL;
    if (superblock->state == OSD_DISK_BLANK || superblock->state > OSD_DISK_MEMBER)
        return lilio_fail(info, LILIO_E_INVALID, "superblock: state %u cannot be stored",
                          superblock->state);
    osd_superblock_encode(superblock, bytes);
    struct iovec vector = {bytes, sizeof bytes};
    enum lilio_err err = disk->ops->open(disk, NAME_NEW, BASE_OPEN_CREATE, &file, info);
    if (err)
        return lilio_prefix(info, err, "superblock");
    err = disk->ops->truncate(file, 0, info);
    if (!err)
        err = disk->ops->write(file, &vector, 1, 0, info);
    if (!err)
        err = disk->ops->sync(file, info);
    base_file_close(&file);
    if (!err)
        err = disk->ops->rename(disk, NAME_NEW, NAME, info);
    if (!err)
        err = disk->ops->sync_dir(disk, "", info);
    return err ? lilio_prefix(info, err, "superblock") : LILIO_OK;
}
