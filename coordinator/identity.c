#include "coordinator/identity.h"

#include "base/bytes.h"
#include "codec/codec.h"

#include "base/banned.h"

enum { IDENTITY_BYTES = 40, IDENTITY_FORMAT = 1 };

static const char magic[8] = {'L', 'I', 'L', 'I', 'O', 'C', 'I', 'D'};

enum lilio_err coord_identity_load(struct base_disk *disk, struct coord_identity *ret,
                                   struct lilio_errinfo *info)
{
    uint8_t bytes[IDENTITY_BYTES + 1];
    struct base_file *file = NULL;
    size_t size = 0;
    enum lilio_err err = disk->ops->open(disk, "identity", BASE_OPEN_READ_ONLY, &file, info);
    if (err)
        return err;
    err = disk->ops->read(file, bytes, sizeof bytes, 0, &size, info);
    base_file_close(&file);
    if (err)
        return err;
    if (size != IDENTITY_BYTES || memcmp(bytes, magic, sizeof magic) != 0 ||
        codec_crc32c(codec_crc32c(0, bytes, 12), bytes + 16, IDENTITY_BYTES - 16) !=
            base_le32_get(bytes + 12))
        return lilio_fail(info, LILIO_E_CORRUPT, "the coordinator's identity is damaged");
    if (base_le32_get(bytes + 8) != IDENTITY_FORMAT)
        return lilio_fail(info, LILIO_E_FORMAT, "the coordinator's identity has format %u",
                          base_le32_get(bytes + 8));
    memcpy(ret->cluster_id.bytes, bytes + 16, sizeof ret->cluster_id.bytes);
    ret->member = base_le64_get(bytes + 32);
    return LILIO_OK;
}

enum lilio_err coord_identity_save(struct base_disk *disk, const struct coord_identity *identity,
                                   struct lilio_errinfo *info)
{
    uint8_t bytes[IDENTITY_BYTES];
    memcpy(bytes, magic, sizeof magic);
    base_le32_put(bytes + 8, IDENTITY_FORMAT);
    memcpy(bytes + 16, identity->cluster_id.bytes, sizeof identity->cluster_id.bytes);
    base_le64_put(bytes + 32, identity->member);
    base_le32_put(bytes + 12,
                  codec_crc32c(codec_crc32c(0, bytes, 12), bytes + 16, IDENTITY_BYTES - 16));
    struct base_file *file = NULL;
    struct iovec vector = {bytes, sizeof bytes};
    enum lilio_err err = disk->ops->open(disk, "identity.new", BASE_OPEN_CREATE, &file, info);
    if (!err)
        err = disk->ops->write(file, &vector, 1, 0, info);
    if (!err)
        err = disk->ops->truncate(file, IDENTITY_BYTES, info);
    if (!err)
        err = disk->ops->sync(file, info);
    base_file_close(&file);
    if (!err)
        err = disk->ops->sync_dir(disk, "", info); /* all else is there before the name is */
    if (!err)
        err = disk->ops->rename(disk, "identity.new", "identity", info);
    return err ? err : disk->ops->sync_dir(disk, "", info);
}
