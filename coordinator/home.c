#include "coordinator/home.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

enum { START_BYTES = 1 << 20 };

/* ---- the directory ---- */

/* Makes the directory and its entry in the parent durable. */
static enum lilio_err folder_make(const char *path, struct lilio_errinfo *info)
{
    char copy[PATH_MAX];
    if (mkdir(path, 0700) < 0)
        return errno == EEXIST
                   ? LILIO_OK
                   : lilio_fail(info, LILIO_E_IO, "cannot make %s: %s", path, strerror(errno));
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return lilio_fail(info, LILIO_E_INVALID, "the path is too long");
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : fsync(fd);
    if (fd >= 0)
        close(fd);
    return rc == 0 ? LILIO_OK
                   : lilio_fail(info, LILIO_E_IO, "cannot sync the folder of %s: %s", path,
                                strerror(errno));
}

/* RocksDB writes about 200 KiB when it opens, and does not survive a disk that has no room for it.
 */
static enum lilio_err room_check(const struct coord_home *home, const char *path,
                                 struct lilio_errinfo *info)
{
    struct base_disk_space space;
    enum lilio_err err = home->disk->ops->space(home->disk, &space, info);
    if (!err && space.free_bytes < START_BYTES)
        err = lilio_fail(info, LILIO_E_NO_SPACE, "%s: %llu KiB are free, a start takes %d", path,
                         (unsigned long long)space.free_bytes >> 10, START_BYTES >> 10);
    return err;
}

static enum lilio_err maps_gone(const char *path, struct lilio_errinfo *info)
{
    return lilio_fail(info, LILIO_E_NOT_FOUND,
                      "the object maps are gone: there are none in %s. Put the directory back if "
                      "it was moved; an empty one "
                      "is only taken with --init, for a new cluster",
                      path);
}

static enum lilio_err folder_open(const struct coord_home_options *options, struct coord_home *home,
                                  struct lilio_errinfo *info)
{
    enum lilio_err err = options->init ? folder_make(options->path, info) : LILIO_OK;
    if (!err)
        err = base_disk_posix_new(options->path, &home->disk, info);
    if (err == LILIO_E_NOT_FOUND)
        return maps_gone(options->path, info);
    if (!err)
        err = home->disk->ops->lock(home->disk, info);
    return err ? err : room_check(home, options->path, info);
}

static enum lilio_err maps_open(const struct coord_home_options *options, struct coord_home *home,
                                struct lilio_errinfo *info)
{
    struct base_kv_options kv = coord_kv_options();
    kv.must_exist = !options->init;
    kv.no_log = false; /* there is no other log to apply entries from */
    kv.log_is_truth = true;
    char *maps = NULL;
    if (asprintf(&maps, "%s/maps", options->path) < 0)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    enum lilio_err err = base_kv_open_rocksdb(maps, &kv, &home->kv, info);
    free(maps);
    if (err == LILIO_E_NOT_FOUND)
        return maps_gone(options->path, info);
    if (err)
        return lilio_prefix(info, err, "the object maps cannot be opened");
    return coord_state_open(home->kv, &home->state, info);
}

/* ---- the first entry ---- */

static enum lilio_err init_pack(const struct coord_home_options *options, struct base_buffer *ret)
{
    const struct proto_cluster_file *file = options->file;
    struct proto_osd *osds = calloc(file->osd_count + 1, sizeof *osds);
    if (!osds)
        return LILIO_E_NOMEM;
    for (size_t i = 0; i < file->osd_count; i++) {
        osds[i].id = file->osds[i].id;
        osds[i].address = base_slice_str(file->osds[i].endpoint);
    }
    struct proto_cluster_init init = {
        .cluster_id = file->cluster_id,
        .default_profile =
            {
                .data_count = (uint8_t)file->default_profile.data_count,
                .parity_count = (uint8_t)file->default_profile.parity_count,
                .fragment_size = file->default_profile.fragment_size,
                .generator = (uint8_t)file->default_profile.generator,
            },
        .osds = osds,
        .osds_count = file->osd_count,
    };
    struct base_buffer body = {0};
    enum lilio_err err = proto_cluster_init_pack(&init, &body);
    struct proto_entry entry = {
        .wall_ms = options->clock->wall_ms(options->clock->context),
        .type = PROTO_MSG_cluster_init,
        .body = base_buffer_slice(&body),
    };
    if (!err)
        err = proto_entry_pack(&entry, ret);
    base_buffer_release(&body);
    free(osds);
    return err;
}

static enum lilio_err initialise(const struct coord_home_options *options, struct coord_home *home,
                                 struct lilio_errinfo *info)
{
    struct base_buffer entry = {0};
    struct coord_result result = {0};
    enum lilio_err err = init_pack(options, &entry);
    if (err)
        (void)lilio_fail(info, err, "the first entry cannot be made: %s",
                         lilio_err_text(err)); /* err goes on */
    struct base_slice command = base_buffer_slice(&entry);
    uint64_t index = coord_state_row(home->state)->applied_index + 1;
    if (!err)
        err = coord_state_apply(home->state, index, 1 /* term */, &command, 1, &result, info);
    if (!err)
        err = coord_state_commit(home->state, true /* sync */, info);
    if (!err && result.err)
        err = lilio_fail(info, result.err, "the cluster of %s cannot be made: %s",
                         options->file->path, lilio_err_text(result.err));
    coord_result_release(&result);
    base_buffer_release(&entry);
    home->fresh = !err;
    return err;
}

static enum lilio_err check_identity(const struct coord_home_options *options,
                                     const struct coord_home *home, struct lilio_errinfo *info)
{
    struct base_uuid ours = coord_state_cluster(home->state)->cluster_id;
    if (base_uuid_equal(ours, options->file->cluster_id))
        return LILIO_OK;
    char here[37], there[37];
    base_uuid_format(ours, here);
    base_uuid_format(options->file->cluster_id, there);
    return lilio_fail(info, LILIO_E_FOREIGN,
                      "the object maps in %s belong to cluster %s, %s is of cluster %s",
                      options->path, here, options->file->path, there);
}

/* ---- life ---- */

enum lilio_err coord_home_open(const struct coord_home_options *options, struct coord_home *ret,
                               struct lilio_errinfo *info)
{
    struct coord_home home = {.path = strdup(options->path)};
    enum lilio_err err = home.path ? folder_open(options, &home, info)
                                   : lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    if (!err)
        err = maps_open(options, &home, info);
    if (!err && !coord_state_initialised(home.state))
        err = options->init ? initialise(options, &home, info) : maps_gone(options->path, info);
    if (!err)
        err = check_identity(options, &home, info);
    if (err)
        coord_home_release(&home);
    else
        *ret = home;
    return err;
}

void coord_home_release(struct coord_home *home)
{
    coord_state_free(&home->state);
    base_kv_free(&home->kv);
    base_disk_free(&home->disk);
    free(home->path);
    *home = (struct coord_home){0};
}

uint64_t coord_home_map_bytes(const struct coord_home *home)
{
    char path[PATH_MAX];
    uint64_t bytes = 0;
    if (snprintf(path, sizeof path, "%s/maps", home->path) >= (int)sizeof path)
        return 0;
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        struct stat st;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_blocks * 512;
    }
    if (dir)
        closedir(dir);
    return bytes;
}

bool coord_home_space(const struct coord_home *home, struct base_disk_space *ret)
{
    return home->disk->ops->space(home->disk, ret, NULL) == LILIO_OK;
}
