#include "coordinator/snapshot.h"

#include <stdio.h>
#include <stdlib.h>

#include "coordinator/keys.h"

#include "base/banned.h"

enum { PATH_ROOM = 128 };

/* Where the state row says the maps stand. */
static enum lilio_err read_position(struct base_kv *kv, struct coord_position *ret,
                                    struct lilio_errinfo *info)
{
    struct base_buffer value = {0};
    struct proto_arena *arena = NULL;
    struct proto_state_row row;
    struct coord_key key = coord_key_text(base_slice_str("state"));
    enum lilio_err err = proto_arena_new(&arena);
    if (!err)
        err = base_kv_get(kv, NULL, COORD_META, coord_key_slice(&key), &value, info);
    if (!err)
        err = proto_state_row_unpack(base_buffer_slice(&value), arena, &row, info);
    if (!err)
        *ret = (struct coord_position){row.applied_index, row.applied_term, row.config_index};
    proto_arena_free(&arena);
    base_buffer_release(&value);
    return err;
}

/* Opens the maps and reads where they stand. */
static enum lilio_err open_maps(const char *path, struct base_kv **ret_kv,
                                struct coord_position *ret, struct lilio_errinfo *info)
{
    struct base_kv_options options = coord_kv_options();
    options.must_exist = true;
    enum lilio_err err = base_kv_open_rocksdb(path, &options, ret_kv, info);
    if (!err)
        err = read_position(*ret_kv, ret, info);
    return err ? lilio_prefix(info, err, "where the maps stand") : LILIO_OK;
}

enum lilio_err coord_position_read(const char *path, struct coord_position *ret,
                                   struct lilio_errinfo *info)
{
    struct base_kv *kv = NULL;
    enum lilio_err err = open_maps(path, &kv, ret, info);
    base_kv_free(&kv);
    return err;
}

/* ---- checking ---- */

static enum lilio_err check_column(struct base_kv *kv, unsigned column,
                                   const struct coord_maps_check *check, struct lilio_errinfo *info)
{
    struct base_kv_iter *iter = NULL;
    enum lilio_err err = base_kv_iter_new(kv, NULL, NULL, column, &iter);
    if (err)
        return lilio_fail(info, err, "%s", lilio_err_text(err));
    for (base_kv_iter_seek(iter, base_slice(NULL, 0)); !err && base_kv_iter_valid(iter);
         base_kv_iter_next(iter))
        if (!check->step(check->context,
                         base_kv_iter_key(iter).size + base_kv_iter_value(iter).size))
            err = lilio_fail(info, LILIO_E_CANCELLED, "cancelled");
    err = err ? err : base_kv_iter_error(iter, info);
    base_kv_iter_free(&iter);
    return err;
}

enum lilio_err coord_maps_check(const char *path, const struct coord_maps_check *check,
                                struct coord_position *ret, struct lilio_errinfo *info)
{
    struct base_kv *kv = NULL;
    enum lilio_err err = open_maps(path, &kv, ret, info);
    for (unsigned column = 0; !err && column < COORD_COLUMN_COUNT; column++)
        err = check_column(kv, column, check, info);
    base_kv_free(&kv);
    return err;
}

/* ---- folders ---- */

static void collect_each(void *context, const char *file)
{
    struct coord_names *names = context;
    size_t size = strlen(file);
    if (names->err)
        return;
    if (size > COORD_SNAPSHOT_NAME_MAX || names->count == COORD_SNAPSHOT_FILES_MAX) {
        names->err = LILIO_E_TOO_BIG;
        return;
    }
    if (names->count == names->room) {
        size_t room = names->room ? 2 * names->room : 64;
        void *list = reallocarray(names->list, room, sizeof *names->list);
        if (!list) {
            names->err = LILIO_E_NOMEM;
            return;
        }
        names->list = list;
        names->room = room;
    }
    memcpy(names->list[names->count++], file, size + 1);
}

enum lilio_err coord_names_collect(struct base_disk *disk, const char *folder,
                                   struct coord_names *ret, struct lilio_errinfo *info)
{
    *ret = (struct coord_names){0};
    enum lilio_err err = disk->ops->list(disk, folder, collect_each, ret, info);
    if (!err && ret->err)
        err = lilio_fail(info, ret->err, "%s: too many files, or a name that is too long", folder);
    if (err)
        coord_names_release(ret);
    return err;
}

void coord_names_release(struct coord_names *names)
{
    free(names->list);
    *names = (struct coord_names){0};
}

bool coord_names_join(const char *folder, const char *name, char *ret_path, size_t room)
{
    int size = snprintf(ret_path, room, "%s/%s", folder, name);
    return size > 0 && (size_t)size < room && !strchr(name, '/') && base_disk_name_valid(ret_path);
}

enum lilio_err coord_folder_remove(struct base_disk *disk, const char *folder,
                                   struct lilio_errinfo *info)
{
    struct coord_names names = {0};
    enum lilio_err err = coord_names_collect(disk, folder, &names, info);
    if (err == LILIO_E_NOT_FOUND)
        return LILIO_OK;
    for (size_t i = 0; i < names.count && !err; i++) {
        char path[PATH_ROOM];
        if (coord_names_join(folder, names.list[i], path, sizeof path))
            err = disk->ops->unlink(disk, path, info);
    }
    coord_names_release(&names);
    err = err ? err : disk->ops->remove_dir(disk, folder, info);
    return err ? err : disk->ops->sync_dir(disk, "", info);
}
