#include "osd/home.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

enum { DIRECTORY_MODE = 0750 };

/* Which file a name led to. */
struct identity {
    dev_t device;
    ino_t inode;
};

struct osd_home {
    struct osd_home_options options;
    char *path, *superblock_path, *index_path, *index_file; /* NULL on a test disk */
    struct base_disk *disk;
    struct osd_store *store;
    struct osd_superblock superblock;
    struct identity superblock_file;

    char broken[512];  /* the disk itself must not be used; "" if it may */
    char gone[256];    /* the directory is no longer what was opened */
    char refused[512]; /* what the coordinator said */
    char blank[512];   /* why it is blank, or "" */
    bool unbound;      /* JOINING with a uuid the coordinator does not know: as good as blank */
    bool welcomed;
    bool failed;     /* the store's failure was logged */
    bool incomplete; /* the coordinator was or will be told */
};

static struct base_log *home_log(const struct osd_home *home)
{
    return osd_node_log(home->options.node);
}

/* ---- the default disk and store ---- */

/* A directory whose own entry is not durable would take every acknowledged byte with it. */
static enum lilio_err parent_sync(const char *path, struct lilio_errinfo *info)
{
    char *parent = NULL;
    if (asprintf(&parent, "%s/..", path) < 0)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum lilio_err err = LILIO_OK;
    if (fd < 0 || fsync(fd) < 0)
        err = lilio_fail(info, LILIO_E_IO, "sync %s: %s", parent, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(parent);
    return err;
}

static enum lilio_err directory_open(struct osd_home *home, struct base_disk **ret_disk,
                                     struct lilio_errinfo *info)
{
    if (mkdir(home->path, DIRECTORY_MODE) < 0 && errno != EEXIST)
        return lilio_fail(info, errno == ENOENT ? LILIO_E_NOT_FOUND : LILIO_E_IO,
                          "make directory %s: %s", home->path, strerror(errno));
    struct base_disk *disk = NULL;
    enum lilio_err err = base_disk_posix_new(home->path, &disk, info);
    if (!err)
        err = disk->ops->lock(disk, info);
    if (err == LILIO_E_LOCKED)
        (void)lilio_fail(info, err, "%s is in use by another daemon", home->path);
    if (err)
        base_disk_free(&disk);
    else
        *ret_disk = disk;
    return err;
}

static enum lilio_err segments_open(struct osd_home *home, struct base_uuid disk_uuid,
                                    struct osd_store **ret_store, struct lilio_errinfo *info)
{
    struct osd_store_options options = {
        .disk = home->disk,
        .index_path = home->index_path,
        .cluster_id = osd_node_cluster(home->options.node),
        .disk_uuid = disk_uuid,
        .clock = osd_node_clock(home->options.node),
        .random = home->options.random,
        .log = home_log(home),
    };
    return osd_segment_store_open(&options, ret_store, info);
}

static enum lilio_err disk_open(struct osd_home *home, struct lilio_errinfo *info)
{
    if (home->options.open_disk)
        return home->options.open_disk(home->options.context, &home->disk, info);
    return directory_open(home, &home->disk, info);
}

static enum lilio_err store_open(struct osd_home *home, struct lilio_errinfo *info)
{
    struct base_uuid uuid = home->superblock.disk_uuid;
    if (home->options.open_store)
        return home->options.open_store(home->options.context, home->disk, uuid, &home->store,
                                        info);
    return segments_open(home, uuid, &home->store, info);
}

/* ---- what the disk says ---- */

static bool identity_get(const char *path, struct identity *ret)
{
    struct stat found;
    if (stat(path, &found) < 0)
        return false;
    *ret = (struct identity){found.st_dev, found.st_ino};
    return true;
}

static void superblock_remember(struct osd_home *home)
{
    if (home->superblock_path && !identity_get(home->superblock_path, &home->superblock_file))
        home->superblock_file = (struct identity){0, 0};
}

static void count_file(void *context, const char *file)
{
    (void)file;
    ++*(size_t *)context;
}

/* Segments without a superblock are somebody's data: not ours to write over. */
static bool has_segments(struct osd_home *home)
{
    size_t count = 0;
    enum lilio_err err = home->disk->ops->list(home->disk, "segments", count_file, &count, NULL);
    return (err && err != LILIO_E_NOT_FOUND) || count > 0;
}

static void uuid_text(struct base_uuid uuid, char ret[37])
{
    base_uuid_format(uuid, ret);
}

/* Writes into home->broken why this disk must not be used; leaves it empty if it may. */
static void superblock_judge(struct osd_home *home, enum lilio_err err,
                             const struct lilio_errinfo *info)
{
    const struct osd_superblock *found = &home->superblock;
    struct base_uuid cluster = osd_node_cluster(home->options.node);
    uint32_t id = osd_node_id(home->options.node);
    char there[37], here[37];
    if (err) {
        (void)snprintf(home->broken, sizeof home->broken, "%s", info->text);
    } else if (found->state == OSD_DISK_BLANK) {
        if (has_segments(home))
            (void)snprintf(home->broken, sizeof home->broken,
                           "there are segments but no superblock: move them away to rebuild this "
                           "OSD, or put the superblock back");
    } else if (!base_uuid_equal(found->cluster_id, cluster)) {
        uuid_text(found->cluster_id, there);
        uuid_text(cluster, here);
        (void)snprintf(home->broken, sizeof home->broken,
                       "foreign disk: it belongs to cluster %s, this is cluster %s", there, here);
    } else if (found->osd_id != id) {
        (void)snprintf(home->broken, sizeof home->broken,
                       "foreign disk: it belongs to osd.%u, this is osd.%u", found->osd_id, id);
    }
}

static void disk_read(struct osd_home *home)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = osd_superblock_read(home->disk, &home->superblock, &info);
    superblock_remember(home);
    superblock_judge(home, err, &info);
    if (!home->broken[0] && home->superblock.state != OSD_DISK_BLANK) {
        err = store_open(home, &info);
        if (err)
            (void)snprintf(home->broken, sizeof home->broken, "store: %s", info.text);
    }
    if (home->broken[0])
        base_log_write(home_log(home), BASE_LOG_ERROR, "disk", "refused", "reason=%s",
                       home->broken);
}

/* ---- view ---- */

static enum osd_node_state state_of(const struct osd_home *home, const char **ret_detail)
{
    *ret_detail = "";
    if (home->broken[0]) {
        *ret_detail = home->broken;
        return OSD_NODE_REFUSED;
    }
    if (home->gone[0]) {
        *ret_detail = home->gone;
        return OSD_NODE_REFUSED;
    }
    if (home->refused[0]) {
        *ret_detail = home->refused;
        return OSD_NODE_REFUSED;
    }
    /* Blank is the coordinator's word; before it came, this may be a first disk. */
    if (home->blank[0] && (home->superblock.state == OSD_DISK_BLANK || home->unbound)) {
        *ret_detail = home->blank;
        return OSD_NODE_BLANK;
    }
    if (!home->welcomed) {
        *ret_detail = "waiting for a coordinator";
        return OSD_NODE_WAITING;
    }
    if (home->store->ops->health(home->store)) {
        *ret_detail = "read-only after a failed write; restart this OSD to try the disk again";
        return OSD_NODE_FAILED;
    }
    return OSD_NODE_SERVING;
}

void osd_home_publish(struct osd_home *home)
{
    struct osd_node_view view = {0};
    const char *detail;
    view.state = state_of(home, &detail);
    (void)snprintf(view.detail, sizeof view.detail, "%s", detail);
    view.gone = home->gone[0];
    view.broken = home->broken[0];
    if (!view.broken) {
        view.disk = (enum osd_disk_state)home->superblock.state;
        view.disk_uuid = home->superblock.disk_uuid;
        view.incarnation = home->superblock.incarnation;
    }
    if (home->store) {
        struct osd_store_stats stats;
        home->store->ops->stats(home->store, &stats);
        home->store->ops->space(home->store, &view.space);
        view.incomplete = stats.incomplete;
    }
    if (view.state == OSD_NODE_FAILED && !home->failed) {
        home->failed = true;
        base_log_write(home_log(home), BASE_LOG_ERROR, "disk", "failed", "detail=%s", view.detail);
    }
    osd_node_publish(home->options.node, &view);
    if (view.incomplete && !home->incomplete)
        osd_node_member_wake(home->options.node, /* again */ true);
    home->incomplete = view.incomplete;
}

struct osd_store *osd_home_store(struct osd_home *home)
{
    const char *detail;
    enum osd_node_state state = state_of(home, &detail);
    return state == OSD_NODE_SERVING || state == OSD_NODE_FAILED ? home->store : NULL;
}

struct base_disk *osd_home_disk(struct osd_home *home)
{
    return osd_home_store(home) ? home->disk : NULL;
}

uint32_t osd_home_incarnation(const struct osd_home *home)
{
    return home->superblock.incarnation;
}

void osd_home_stats(struct osd_home *home, struct osd_store_stats *ret)
{
    *ret = (struct osd_store_stats){0};
    if (home->store)
        home->store->ops->stats(home->store, ret);
}

/* ---- life ---- */

static bool paths_make(struct osd_home *home)
{
    const char *path = home->options.path;
    if (!path)
        return true;
    if (asprintf(&home->superblock_path, "%s/superblock", path) < 0)
        home->superblock_path = NULL;
    if (asprintf(&home->index_path, "%s/index", path) < 0)
        home->index_path = NULL;
    if (asprintf(&home->index_file, "%s/index/CURRENT", path) < 0)
        home->index_file = NULL;
    home->path = strdup(path);
    home->options.path = NULL; /* the caller's */
    return home->path && home->superblock_path && home->index_path && home->index_file;
}

enum lilio_err osd_home_open(const struct osd_home_options *options, struct osd_home **ret_home,
                             struct lilio_errinfo *info)
{
    struct osd_home *home = calloc(1, sizeof *home);
    if (!home)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    home->options = *options;
    enum lilio_err err = LILIO_OK;
    if (!paths_make(home))
        err = lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    if (!err)
        err = disk_open(home, info);
    if (err) {
        osd_home_free(&home);
        return err;
    }
    disk_read(home);
    osd_home_publish(home);
    *ret_home = home;
    return LILIO_OK;
}

void osd_home_free(struct osd_home **home)
{
    if (!*home)
        return;
    osd_store_free(&(*home)->store);
    base_disk_free(&(*home)->disk);
    free((*home)->path);
    free((*home)->superblock_path);
    free((*home)->index_path);
    free((*home)->index_file);
    free(*home);
    *home = NULL;
}

/* Lets go of a directory that was taken away or cannot be used, and opens what is at its path now.
 */
static enum lilio_err reopen(struct osd_home *home, struct lilio_errinfo *info)
{
    osd_store_free(&home->store);
    base_disk_free(&home->disk);
    home->superblock = (struct osd_superblock){.state = OSD_DISK_BLANK};
    home->welcomed = home->unbound = home->failed = home->incomplete = false;
    home->refused[0] = home->blank[0] = home->broken[0] = '\0';
    enum lilio_err err = disk_open(home, info);
    if (err)
        return err; /* still gone */
    home->gone[0] = '\0';
    disk_read(home);
    osd_home_publish(home);
    return LILIO_OK;
}

static enum lilio_err identity_choose(struct osd_home *home, struct lilio_errinfo *info)
{
    struct osd_superblock fresh = {
        .cluster_id = osd_node_cluster(home->options.node),
        .disk_uuid = base_uuid_new(home->options.random),
        .osd_id = osd_node_id(home->options.node),
        .state = OSD_DISK_JOINING,
    };
    enum lilio_err err = home->path ? parent_sync(home->path, info) : LILIO_OK;
    if (!err)
        err = osd_superblock_write(home->disk, &fresh, info);
    if (!err)
        home->superblock = fresh;
    superblock_remember(home);
    return err;
}

enum lilio_err osd_home_join(struct osd_home *home, struct base_uuid *ret_uuid,
                             struct lilio_errinfo *info)
{
    enum lilio_err err = LILIO_OK;
    if ((home->gone[0] || home->broken[0] || !home->store) && (err = reopen(home, info)))
        return err;
    if (home->broken[0])
        return lilio_fail(info, LILIO_E_FOREIGN, "%s", home->broken);
    if (home->superblock.state == OSD_DISK_MEMBER)
        return lilio_fail(info, LILIO_E_EXISTS, "this disk is a member already");
    if (home->superblock.state == OSD_DISK_BLANK)
        err = identity_choose(home, info);
    if (!err && !home->store)
        err = store_open(home, info);
    if (err) {
        osd_home_publish(home);
        return err;
    }
    home->unbound = false;
    home->refused[0] = home->blank[0] = '\0';
    osd_home_publish(home);
    *ret_uuid = home->superblock.disk_uuid;
    return LILIO_OK;
}

enum lilio_err osd_home_welcome(struct osd_home *home, uint32_t incarnation,
                                struct lilio_errinfo *info)
{
    if (!home->store || home->broken[0] || home->gone[0])
        return lilio_fail(info, LILIO_E_BLANK, "there is no disk to serve from");
    struct osd_superblock member = home->superblock;
    member.state = OSD_DISK_MEMBER;
    member.incarnation = incarnation;
    if (home->superblock.state != OSD_DISK_MEMBER || home->superblock.incarnation != incarnation) {
        enum lilio_err err = osd_superblock_write(home->disk, &member, info);
        superblock_remember(home);
        if (err)
            return err;
        home->superblock = member;
    }
    if (!home->welcomed)
        base_log_write(home_log(home), BASE_LOG_INFO, "osd", "serving", "incarnation=%u",
                       incarnation);
    home->welcomed = true;
    home->unbound = false;
    home->refused[0] = home->blank[0] = '\0';
    osd_home_publish(home);
    return LILIO_OK;
}

void osd_home_turn_away(struct osd_home *home, bool blank, const char *reason)
{
    char *text = blank ? home->blank : home->refused;
    if (strcmp(text, reason) != 0 || home->welcomed)
        base_log_write(home_log(home), blank ? BASE_LOG_INFO : BASE_LOG_ERROR, "osd",
                       blank ? "blank" : "refused", "reason=%s", reason);
    home->welcomed = false;
    home->unbound = blank && home->superblock.state == OSD_DISK_JOINING;
    home->refused[0] = home->blank[0] = '\0';
    (void)snprintf(text, sizeof home->blank, "%s", reason);
    osd_home_publish(home);
}

enum lilio_err osd_home_complete(struct osd_home *home, struct lilio_errinfo *info)
{
    struct osd_store *store = osd_home_store(home);
    if (!store)
        return lilio_fail(info, LILIO_E_BLANK, "there is no disk in use");
    if (!osd_home_intact(home, /* full */ true))
        return lilio_fail(info, LILIO_E_BLANK, "%s", home->gone);
    enum lilio_err err = store->ops->set_complete(store, info);
    osd_home_publish(home);
    return err;
}

/* ---- is it still there? ---- */

static bool same_superblock(const struct osd_superblock *a, const struct osd_superblock *b)
{
    return base_uuid_equal(a->cluster_id, b->cluster_id) &&
           base_uuid_equal(a->disk_uuid, b->disk_uuid) && a->osd_id == b->osd_id &&
           a->incarnation == b->incarnation && a->state == b->state;
}

static bool same_directory(struct osd_home *home, bool full)
{
    if (home->superblock_path) {
        struct identity now;
        if (!identity_get(home->superblock_path, &now) ||
            now.device != home->superblock_file.device || now.inode != home->superblock_file.inode)
            return false;
    }
    struct osd_superblock now;
    return !full || (osd_superblock_read(home->disk, &now, NULL) == LILIO_OK &&
                     same_superblock(&now, &home->superblock));
}

/* The open handles go on working when segments or index are removed below an intact superblock. */
static enum lilio_err same_files(struct osd_home *home, bool full, struct lilio_errinfo *info)
{
    struct osd_store *store = home->store;
    if (!store)
        return LILIO_OK;
    if (full && home->index_file && !home->options.open_store && access(home->index_file, F_OK) < 0)
        return lilio_fail(info, LILIO_E_NOT_FOUND, "index/CURRENT: %s", strerror(errno));
    return store->ops->still_there ? store->ops->still_there(store, full, info) : LILIO_OK;
}

bool osd_home_intact(struct osd_home *home, bool full)
{
    if (home->broken[0] || home->superblock.state == OSD_DISK_BLANK)
        return true; /* nothing to lose */
    if (home->gone[0])
        return false;
    struct lilio_errinfo info = {0};
    bool same = same_directory(home, full);
    if (same && same_files(home, full, &info) == LILIO_OK)
        return true;
    if (!same)
        (void)snprintf(home->gone, sizeof home->gone,
                       "the disk directory is gone or was replaced; restart or rebuild this OSD");
    else
        (void)snprintf(home->gone, sizeof home->gone,
                       "the disk directory was changed under the running daemon (%.120s); restart "
                       "or rebuild this OSD",
                       info.text);
    home->welcomed = false;
    base_log_write(home_log(home), BASE_LOG_ERROR, "disk", "gone", "path=%s reason=%s",
                   home->path ? home->path : "-", home->gone);
    osd_home_publish(home);
    return false;
}
