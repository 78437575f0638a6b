/* A checkpoint: FOLDER/rows holds all rows, FOLDER/CURRENT the size and a hash of it. As RocksDB's,
 * it is a few flat files that can be copied elsewhere and opened there. */
#include <stdlib.h>
#include <stdio.h>
#include <xxhash.h>

#include "base/kv_priv.h"
#include "tests/sim/disk_priv.h"

#include "base/banned.h"

enum { PIECE = 1 << 16, NAME_ROOM = 128, HEAD_BYTES = 12 };

struct head {
    uint64_t size, hash;
};

static enum lilio_err pack_rows(struct base_kv *kv, const struct base_kv_snapshot *snapshot,
                                struct base_buffer *ret)
{
    for (unsigned column = 0; column < kv->column_count; column++) {
        struct base_kv_iter *iter;
        if (base_kv_iter_new(kv, snapshot, NULL, column, &iter))
            return LILIO_E_NOMEM;
        for (base_kv_iter_seek(iter, base_slice(NULL, 0)); base_kv_iter_valid(iter);
             base_kv_iter_next(iter)) {
            struct base_slice key = base_kv_iter_key(iter), value = base_kv_iter_value(iter);
            uint32_t sizes[] = {column, (uint32_t)key.size, (uint32_t)value.size};
            if (base_buffer_append(ret, sizes, sizeof sizes) ||
                base_buffer_append(ret, key.data, key.size) ||
                base_buffer_append(ret, value.data, value.size))
                return LILIO_E_NOMEM;
        }
        base_kv_iter_free(&iter);
    }
    return LILIO_OK;
}

static enum lilio_err write_file(struct sim_disk *disk, const char *folder, const char *name,
                                 struct base_slice bytes, struct lilio_errinfo *info)
{
    struct base_disk *inner = sim_disk_inner(disk);
    struct base_file *file = NULL;
    char path[NAME_ROOM];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return LILIO_E_INVALID;
    enum lilio_err err =
        inner->ops->open(inner, path, BASE_OPEN_CREATE | BASE_OPEN_EXCLUSIVE, &file, info);
    for (size_t at = 0; !err && at < bytes.size; at += PIECE) {
        size_t part = bytes.size - at < PIECE ? bytes.size - at : PIECE;
        struct iovec vector = {(uint8_t *)(uintptr_t)bytes.data + at, part};
        err = sim_disk_enter(disk, SIM_WRITE, part, info);
        if (!err)
            err = file->ops->write(file, &vector, 1, at, info);
        sim_disk_leave(disk);
    }
    if (!err)
        err = sim_disk_enter(disk, SIM_SYNC, 0, info);
    if (!err)
        err = file->ops->sync(file, info);
    sim_disk_leave(disk);
    base_file_close(&file);
    return err;
}

enum lilio_err sim_kv_save(struct base_kv *kv, const struct base_kv_snapshot *snapshot,
                           struct sim_disk *disk, const char *folder, struct lilio_errinfo *info)
{
    struct base_disk *inner = sim_disk_inner(disk);
    struct base_buffer rows = {0};
    enum lilio_err err = pack_rows(kv, snapshot, &rows);
    if (!err)
        err = inner->ops->make_dir(inner, folder, info);
    if (!err)
        err = write_file(disk, folder, "rows", base_buffer_slice(&rows), info);
    struct base_slice all = base_buffer_slice(&rows);
    struct head head = {all.size, XXH3_64bits(all.data, all.size)};
    if (!err)
        err = write_file(disk, folder, "CURRENT", base_slice(&head, sizeof head), info);
    if (!err)
        err = inner->ops->sync_dir(inner, folder, info);
    if (!err)
        err = inner->ops->sync_dir(inner, "", info);
    sim_disk_leave(disk);
    base_buffer_release(&rows);
    return err;
}

static enum lilio_err read_file(struct sim_disk *disk, const char *folder, const char *name,
                                uint8_t **ret_bytes, size_t *ret_size, struct lilio_errinfo *info)
{
    struct base_disk *inner = sim_disk_inner(disk);
    struct base_file *file = NULL;
    char path[NAME_ROOM];
    uint64_t size = 0;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name); /* it fitted when it was written */
    enum lilio_err err = inner->ops->open(inner, path, BASE_OPEN_READ_ONLY, &file, info);
    if (!err)
        err = file->ops->size(file, &size, info);
    uint8_t *bytes = malloc((size_t)size + 1);
    SIM_ASSERT(bytes);
    if (!err)
        err = sim_disk_enter(disk, SIM_READ, size, info);
    if (!err)
        err = file->ops->read(file, bytes, (size_t)size, 0, ret_size, info);
    base_file_close(&file);
    *ret_bytes = bytes;
    return err;
}

static enum lilio_err corrupt(const char *folder, struct lilio_errinfo *info)
{
    return lilio_fail(info, LILIO_E_CORRUPT, "%s: the rows do not verify", folder);
}

static enum lilio_err unpack_rows(struct base_kv *kv, const uint8_t *bytes, size_t size,
                                  struct lilio_errinfo *info)
{
    struct base_kv_batch *batch = NULL;
    enum lilio_err err = base_kv_batch_new(kv, &batch);
    for (size_t at = 0; !err && at + HEAD_BYTES <= size;) {
        uint32_t sizes[3];
        memcpy(sizes, bytes + at, sizeof sizes);
        const uint8_t *key = bytes + at + HEAD_BYTES;
        base_kv_batch_put(batch, sizes[0], base_slice(key, sizes[1]),
                          base_slice(key + sizes[1], sizes[2]));
        at += HEAD_BYTES + sizes[1] + sizes[2];
    }
    if (!err)
        err = base_kv_batch_commit(batch, true, info);
    base_kv_batch_free(&batch);
    return err;
}

enum lilio_err sim_kv_load(struct base_kv *kv, struct sim_disk *disk, const char *folder,
                           struct lilio_errinfo *info)
{
    uint8_t *current = NULL, *rows = NULL;
    size_t current_size = 0, size = 0;
    struct head head;
    enum lilio_err err = read_file(disk, folder, "CURRENT", &current, &current_size, info);
    if (!err)
        err = read_file(disk, folder, "rows", &rows, &size, info);
    if (!err && current_size != sizeof head)
        err = corrupt(folder, info);
    if (!err) {
        memcpy(&head, current, sizeof head);
        err = head.size == size && head.hash == XXH3_64bits(rows, size)
                  ? unpack_rows(kv, rows, size, info)
                  : corrupt(folder, info);
    }
    free(current);
    free(rows);
    return err;
}
