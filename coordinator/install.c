#include "coordinator/install.h"

#include "base/bytes.h"
#include "codec/codec.h"
#include "coordinator/snapshot_pull.h"

#include "base/banned.h"

#define INTENT     "install"
#define INTENT_NEW "install.new"
#define MAPS       "maps"
#define MAPS_OLD   "maps.old"

/* 0 magic 8, 8 version 2, 10 zero 2, 12 checksum 4 (over all with itself as zeros), 16 index 8, 24
 * term 8, 32 configuration index 8. */
enum { INTENT_BYTES = 40, AT_CHECKSUM = 12, VERSION = 1 };
static const uint8_t INTENT_MAGIC[8] = "LILIOINS";

/* ---- the intent ---- */

static uint32_t checksum(const uint8_t *bytes)
{
    static const uint8_t zeros[4];
    uint32_t crc = codec_crc32c(0, bytes, AT_CHECKSUM);
    crc = codec_crc32c(crc, zeros, sizeof zeros);
    return codec_crc32c(crc, bytes + AT_CHECKSUM + 4, INTENT_BYTES - AT_CHECKSUM - 4);
}

static enum lilio_err write_intent(struct base_disk *disk, const struct coord_position *position,
                                   struct lilio_errinfo *info)
{
    uint8_t bytes[INTENT_BYTES] = {0};
    struct base_file *file = NULL;
    memcpy(bytes, INTENT_MAGIC, sizeof INTENT_MAGIC);
    base_le16_put(bytes + 8, VERSION);
    base_le64_put(bytes + 16, position->index);
    base_le64_put(bytes + 24, position->term);
    base_le64_put(bytes + 32, position->config_index);
    base_le32_put(bytes + AT_CHECKSUM, checksum(bytes));
    enum lilio_err err = disk->ops->open(disk, INTENT_NEW, BASE_OPEN_CREATE, &file, info);
    if (err)
        return err;
    err = file->ops->truncate(file, 0, info);
    err = err ? err : file->ops->write(file, &(struct iovec){bytes, sizeof bytes}, 1, 0, info);
    err = err ? err : file->ops->sync(file, info);
    base_file_close(&file);
    err = err ? err : disk->ops->rename(disk, INTENT_NEW, INTENT, info);
    return err ? err : disk->ops->sync_dir(disk, "", info);
}

static enum lilio_err read_intent(struct base_disk *disk, struct coord_position *ret,
                                  struct lilio_errinfo *info)
{
    uint8_t bytes[INTENT_BYTES] = {0};
    struct base_file *file = NULL;
    size_t size = 0;
    enum lilio_err err = disk->ops->open(disk, INTENT, BASE_OPEN_READ_ONLY, &file, info);
    if (err)
        return err;
    err = file->ops->read(file, bytes, sizeof bytes, 0, &size, info);
    base_file_close(&file);
    if (err)
        return err;
    if (size < sizeof bytes || memcmp(bytes, INTENT_MAGIC, sizeof INTENT_MAGIC) != 0 ||
        base_le32_get(bytes + AT_CHECKSUM) != checksum(bytes))
        return lilio_fail(info, LILIO_E_CORRUPT, "it does not verify");
    if (base_le16_get(bytes + 8) != VERSION)
        return lilio_fail(info, LILIO_E_FORMAT, "written by a newer program");
    *ret = (struct coord_position){base_le64_get(bytes + 16), base_le64_get(bytes + 24),
                                   base_le64_get(bytes + 32)};
    return LILIO_OK;
}

/* ---- the steps; each does nothing where it was done before ---- */

static enum lilio_err folder_there(struct base_disk *disk, const char *name, bool *ret_there,
                                   struct lilio_errinfo *info)
{
    struct coord_names names;
    enum lilio_err err = coord_names_collect(disk, name, &names, info);
    *ret_there = err == LILIO_OK;
    if (!err)
        coord_names_release(&names);
    return err == LILIO_E_NOT_FOUND ? LILIO_OK : err;
}

/* While there is a pulled folder, what is called maps is the old one. */
static enum lilio_err put_old_aside(struct base_disk *disk, struct lilio_errinfo *info)
{
    bool pulled, maps;
    enum lilio_err err = folder_there(disk, COORD_PULL_FOLDER, &pulled, info);
    err = err ? err : folder_there(disk, MAPS, &maps, info);
    if (err || !pulled || !maps)
        return err;
    err = coord_folder_remove(disk, MAPS_OLD, info);
    err = err ? err : disk->ops->rename(disk, MAPS, MAPS_OLD, info);
    return err ? err : disk->ops->sync_dir(disk, "", info);
}

static enum lilio_err put_new_in_place(struct base_disk *disk, struct lilio_errinfo *info)
{
    bool pulled, maps;
    enum lilio_err err = folder_there(disk, COORD_PULL_FOLDER, &pulled, info);
    err = err ? err : folder_there(disk, MAPS, &maps, info);
    if (err || !pulled)
        return err || maps ? err : lilio_fail(info, LILIO_E_CORRUPT, "neither pulled nor old maps");
    err = disk->ops->rename(disk, COORD_PULL_FOLDER, MAPS, info);
    return err ? err : disk->ops->sync_dir(disk, "", info);
}

static enum lilio_err remove_intent(struct base_disk *disk, struct lilio_errinfo *info)
{
    enum lilio_err err = disk->ops->unlink(disk, INTENT, info);
    if (err == LILIO_E_NOT_FOUND)
        err = LILIO_OK;
    return err ? err : disk->ops->sync_dir(disk, "", info);
}

static enum lilio_err do_step(struct base_disk *disk, struct raft_log *log,
                              const struct coord_position *position, unsigned step,
                              struct lilio_errinfo *info)
{
    switch (step) {
    case 1: return write_intent(disk, position, info);
    case 2: return put_old_aside(disk, info);
    case 3: return put_new_in_place(disk, info);
    case 4: return raft_log_reset(log, position->index, position->term, info);
    case 5: return coord_folder_remove(disk, MAPS_OLD, info);
    default: return remove_intent(disk, info);
    }
}

static enum lilio_err do_steps(struct base_disk *disk, struct raft_log *log,
                               const struct coord_position *position, unsigned first, unsigned last,
                               struct lilio_errinfo *info)
{
    for (unsigned step = first; step <= last; step++) {
        enum lilio_err err = do_step(disk, log, position, step, info);
        if (err)
            return lilio_prefix(info, err, "installing a pulled state, step %u", step);
    }
    return LILIO_OK;
}

/* ---- all of it ---- */

enum lilio_err coord_install(struct base_disk *disk, struct raft_log *log,
                             const struct coord_position *position, struct lilio_errinfo *info)
{
    return do_steps(disk, log, position, 1, COORD_INSTALL_STEPS, info);
}

enum lilio_err coord_install_until(struct base_disk *disk, struct raft_log *log,
                                   const struct coord_position *position, unsigned steps,
                                   struct lilio_errinfo *info)
{
    enum lilio_err err = do_steps(disk, log, position, 1, steps, info);
    return err ? err : lilio_fail(info, LILIO_E_CANCELLED, "stopped after step %u", steps);
}

enum lilio_err coord_install_resume(struct base_disk *disk, struct raft_log *log, bool *ret_found,
                                    struct coord_position *ret_position, struct lilio_errinfo *info)
{
    struct coord_position position = {0};
    enum lilio_err err = read_intent(disk, &position, info);
    if (err == LILIO_E_NOT_FOUND) {
        *ret_found = false;
        return LILIO_OK;
    }
    if (err)
        return lilio_prefix(info, err, INTENT);
    /* The name of the intent may have been seen before it was durable. */
    err = disk->ops->sync_dir(disk, "", info);
    err = err ? err : do_steps(disk, log, &position, 2, COORD_INSTALL_STEPS, info);
    if (err)
        return err;
    *ret_found = true;
    *ret_position = position;
    return LILIO_OK;
}
