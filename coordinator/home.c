/* How a directory becomes a member's, and what is compared before it may vote.
 *
 * Making one: maps (an empty store, or those of a version without quorum, flushed), then an empty
 * log behind them with the first configuration in it, then the vote, then the identity. A crash
 * before the last step leaves a directory without identity: all but the maps is made anew, unless
 * the cluster exists by then. Maps that have seen a configuration without an identity beside them
 * belonged to a member that may have voted: they are refused.
 */
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

#include "base/planted.h"
#include "coordinator/identity.h"
#include "coordinator/install.h"
#include "coordinator/raft/raft.h"
#include "coordinator/upgrade.h"

#include "base/banned.h"

enum { START_BYTES = 1 << 20, FIRST_TERM = 1, NAME_ROOM = 128 };

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

/* `up` leaves this mark in the folder of the cluster when its first leader serves. */
static bool cluster_exists(const struct proto_cluster_file *file)
{
    char path[PATH_MAX];
    return file->folder &&
           snprintf(path, sizeof path, "%s/initialised", file->folder) < (int)sizeof path &&
           access(path, F_OK) == 0;
}

/* Whether a new member of a new cluster may be made here. In a cluster that exists it would be one
 * that forgot its votes; two of them would lead, and know no object. */
static bool may_init(const struct coord_home_options *options)
{
    return options->init && !cluster_exists(options->file);
}

static enum lilio_err maps_gone(const struct coord_home_options *options,
                                struct lilio_errinfo *info)
{
    static const char *const missing = "the object maps are gone: no whole coordinator is in";
    if (options->file->coordinator_count > 1)
        return lilio_fail(info, LILIO_E_NOT_FOUND,
                          "%s %s. Put the folder back if it was moved, or have it made anew from "
                          "the others: `lilio-ec coordinator replace %u'%s",
                          missing, options->path, options->id,
                          cluster_exists(options->file) ? ""
                                                        : " (--init is for a new cluster only)");
    return lilio_fail(info, LILIO_E_NOT_FOUND, "%s %s. Put the folder back, or a copy of it%s",
                      missing, options->path,
                      cluster_exists(options->file) ? ": a new one would know no object"
                                                    : "; --init is for a new cluster only");
}

/* In the simulation, and where somebody else made it, it is there already. */
static enum lilio_err folder_open(const struct coord_home_options *options, struct coord_home *home,
                                  struct lilio_errinfo *info)
{
    enum lilio_err err = base_disk_posix_new(options->path, &home->disk, info);
    if (err == LILIO_E_NOT_FOUND && !may_init(options) && !options->join)
        return maps_gone(options, info);
    if (err == LILIO_E_NOT_FOUND) {
        err = folder_make(options->path, info);
        if (!err)
            err = base_disk_posix_new(options->path, &home->disk, info);
    }
    if (!err)
        err = home->disk->ops->lock(home->disk, info);
    return err ? err : room_check(home, options->path, info);
}

/* ---- maps ---- */

static enum lilio_err open_maps(struct coord_home *home, bool create, bool has_log,
                                struct lilio_errinfo *info)
{
    struct base_kv_options kv = coord_kv_options();
    kv.must_exist = !create;
    kv.log_is_truth = has_log;
    char *maps = NULL;
    if (asprintf(&maps, "%s/maps", home->path) < 0)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    enum lilio_err err = base_kv_open_rocksdb(maps, &kv, &home->kv, info);
    free(maps);
    if (err)
        return lilio_prefix(info, err, "the object maps cannot be opened");
    err = coord_upgrade(home->kv, info);
    return err ? err : coord_state_open(home->kv, &home->state, info);
}

void coord_home_maps_close(struct coord_home *home)
{
    coord_state_free(&home->state);
    base_kv_free(&home->kv);
}

static enum lilio_err check_cluster(const struct coord_home *home, struct base_uuid there,
                                    struct lilio_errinfo *info)
{
    if (base_uuid_equal(there, home->cluster_id))
        return LILIO_OK;
    char here[37], wanted[37];
    base_uuid_format(there, here);
    base_uuid_format(home->cluster_id, wanted);
    return lilio_fail(info, LILIO_E_FOREIGN,
                      "the object maps in %s belong to cluster %s, lilio.yaml is of cluster %s",
                      home->path, here, wanted);
}

enum lilio_err coord_home_maps_open(struct coord_home *home, struct lilio_errinfo *info)
{
    enum lilio_err err = open_maps(home, false /* must be there */, false, info);
    if (!err && coord_state_initialised(home->state))
        err = check_cluster(home, coord_state_cluster(home->state)->cluster_id, info);
    return err;
}

/* ---- making a member ---- */

static void note_name(void *context, const char *file)
{
    if (strlen(file) < NAME_ROOM)
        memcpy(context, file, strlen(file) + 1);
}

/* What an earlier attempt left of log and vote. */
static enum lilio_err clear_log(struct base_disk *disk, struct lilio_errinfo *info)
{
    char name[NAME_ROOM], path[NAME_ROOM + 8];
    enum lilio_err err = disk->ops->unlink(disk, "vote", info);
    while (!err || err == LILIO_E_NOT_FOUND) {
        name[0] = '\0';
        err = disk->ops->list(disk, "log", note_name, name, info);
        if (err || name[0] == '\0')
            break;
        (void)snprintf(path, sizeof path, "log/%s", name);
        err = disk->ops->unlink(disk, path, info);
    }
    return err == LILIO_E_NOT_FOUND ? LILIO_OK : err;
}

static int by_id(const void *a, const void *b)
{
    const struct proto_raft_member *left = a, *right = b;
    return left->id < right->id ? -1 : left->id > right->id;
}

/* All coordinators of lilio.yaml vote; maps that were a single coordinator's stay a single one's.
 */
static enum lilio_err first_config(const struct coord_home_options *options, bool alone,
                                   struct base_buffer *ret, struct lilio_errinfo *info)
{
    struct proto_raft_member members[RAFT_MEMBERS_MAX];
    struct proto_raft_config config = {.members = members};
    const struct proto_cluster_file *file = options->file;
    for (size_t i = 0; i < file->coordinator_count; i++) {
        const struct proto_cluster_node *node = &file->coordinators[i];
        if (alone && node->id != options->id)
            continue;
        if (config.members_count == RAFT_MEMBERS_MAX)
            return lilio_fail(info, LILIO_E_CONFIG, "%s names more than %d coordinators",
                              file->path, RAFT_MEMBERS_MAX);
        if (!alone && file->coordinator_count > 1 && !node->peer)
            return lilio_fail(info, LILIO_E_CONFIG,
                              "%s names no peer address of coordinator %u: the others need it",
                              file->path, node->id);
        members[config.members_count++] = (struct proto_raft_member){
            .id = (uint64_t)1 << 32 | node->id,
            .kind = RAFT_VOTER,
            .address = base_slice_str(node->endpoint),
            .peer = base_slice_str(node->peer ? node->peer : ""),
        };
    }
    qsort(members, config.members_count, sizeof *members, by_id);
    enum lilio_err err = proto_raft_config_pack(&config, ret);
    return err ? lilio_fail(info, err, "the first configuration cannot be packed: %s",
                            lilio_err_text(err))
               : LILIO_OK;
}

/* A log that begins behind what the maps have, with a configuration unless others will tell it. */
static enum lilio_err make_log(const struct coord_home_options *options, struct coord_home *home,
                               struct lilio_errinfo *info)
{
    const struct raft_log_options log = {
        .disk = home->disk,
        .cluster_id = home->cluster_id,
        .member = home->member,
        .create = true,
        .segment_bytes = options->log_segment_bytes,
        .cache_bytes = options->log_cache_bytes,
    };
    struct raft_log_recovery recovery;
    uint64_t applied = coord_state_row(home->state)->applied_index;
    struct base_buffer content = {0};
    enum lilio_err err = raft_log_open(&log, &home->log, &recovery, info);
    if (!err && applied > 0)
        err = raft_log_reset(home->log, applied, coord_state_row(home->state)->applied_term, info);
    if (!err && !options->join) {
        err = first_config(options, applied > 0, &content, info);
        struct raft_entry entry = {
            .index = applied + 1,
            .term = FIRST_TERM,
            .type = RAFT_ENTRY_CONFIG,
            .data = base_buffer_slice(&content),
        };
        if (!err)
            err = raft_log_append(home->log, &entry, 1, info);
        if (!err)
            err = raft_log_write(home->log, info);
    }
    base_buffer_release(&content);
    raft_log_free(&home->log);
    return err;
}

static enum lilio_err make_vote(const struct coord_home_options *options, struct coord_home *home,
                                struct lilio_errinfo *info)
{
    struct raft_vote vote;
    enum lilio_err err =
        raft_vote_load(home->disk, home->cluster_id, home->member, true /* create */, &vote, info);
    vote = (struct raft_vote){.saves = vote.saves, .term = options->join ? 0 : FIRST_TERM};
    return err ? err : raft_vote_save(home->disk, home->cluster_id, home->member, &vote, info);
}

/* Whether what is in the directory, which has no identity, may become a member's. */
static enum lilio_err check_unowned(const struct coord_home_options *options,
                                    const struct coord_home *home, struct lilio_errinfo *info)
{
    const struct proto_state_row *row = coord_state_row(home->state);
    uint64_t config_index;
    (void)coord_state_config(home->state, &config_index); /* the index says all */
    if (config_index != 0 || (options->join && row->applied_index > 0))
        return lilio_fail(info, LILIO_E_CORRUPT,
                          "%s holds object maps of a member of the quorum, and its identity is "
                          "gone: it may not vote any more and has to be replaced",
                          options->path);
    if (coord_state_initialised(home->state))
        return check_cluster(home, coord_state_cluster(home->state)->cluster_id, info);
    return may_init(options) || options->join ? LILIO_OK : maps_gone(options, info);
}

static enum lilio_err make_member(const struct coord_home_options *options, struct coord_home *home,
                                  struct lilio_errinfo *info)
{
    home->member = options->join ? options->join : (uint64_t)1 << 32 | options->id;
    enum lilio_err err =
        (uint32_t)home->member == options->id
            ? LILIO_OK
            : lilio_fail(info, LILIO_E_CONFIG, "member %llx is not coordinator %u's",
                         (unsigned long long)home->member, options->id);
    if (!err)
        err = open_maps(home, may_init(options) || options->join,
                        true /* it may have its own log */, info);
    if (err == LILIO_E_NOT_FOUND)
        err = maps_gone(options, info);
    if (!err)
        err = check_unowned(options, home, info);
    if (!err)
        err = base_kv_flush(home->kv, info);
    if (!err)
        err = clear_log(home->disk, info);
    if (!err)
        err = make_log(options, home, info);
    if (!err)
        err = make_vote(options, home, info);
    const struct coord_identity identity = {home->cluster_id, home->member};
    if (!err)
        err = coord_identity_save(home->disk, &identity, info);
    if (!err)
        base_log_write(options->log, BASE_LOG_INFO, "home", "member_made", "member=%llx joins=%d",
                       (unsigned long long)home->member, options->join != 0);
    return err;
}

static enum lilio_err check_identity(const struct coord_home_options *options,
                                     struct coord_home *home, const struct coord_identity *identity,
                                     struct lilio_errinfo *info)
{
    enum lilio_err err = check_cluster(home, identity->cluster_id, info);
    home->member = identity->member;
    if (!err && ((uint32_t)identity->member != options->id ||
                 (options->join && options->join != identity->member)))
        err = lilio_fail(info, LILIO_E_FOREIGN, "%s belongs to member %llx, not to %s %llx",
                         options->path, (unsigned long long)identity->member,
                         options->join ? "member" : "coordinator",
                         (unsigned long long)(options->join ? options->join : options->id));
    return err;
}

/* ---- opening a member ---- */

enum lilio_err coord_home_older_copy(const struct coord_home *home, struct lilio_errinfo *info)
{
    unsigned number = (unsigned)home->member;
    return lilio_fail(info, LILIO_E_FOREIGN,
                      "%s is an older copy of coordinator %u (start %llu here, the others know of "
                      "%sstart %llu): what it promised since is not in it. Replace it: lilio-ec "
                      "coordinator replace %u; when only older copies are "
                      "left, lilio-coordinator --alone goes on with one",
                      home->path, number, (unsigned long long)home->vote.start,
                      home->vote.start == home->vote.stale ? "another " : "",
                      (unsigned long long)home->vote.stale, number);
}

static enum lilio_err part_gone(const char *path, const char *part, struct lilio_errinfo *info)
{
    return lilio_fail(info, LILIO_E_CORRUPT,
                      "the %s of %s is gone: this coordinator has to be replaced", part, path);
}

static enum lilio_err open_log(const struct coord_home_options *options, struct coord_home *home,
                               struct lilio_errinfo *info)
{
    const struct raft_log_options log = {
        .disk = home->disk,
        .cluster_id = home->cluster_id,
        .member = home->member,
        .segment_bytes = options->log_segment_bytes,
        .cache_bytes = options->log_cache_bytes,
    };
    struct raft_log_recovery recovery = {0};
    enum lilio_err err = raft_vote_load(home->disk, home->cluster_id, home->member,
                                        false /* must be there */, &home->vote, info);
    if (err)
        return err == LILIO_E_NOT_FOUND ? part_gone(options->path, "vote", info)
                                        : lilio_prefix(info, err, "the vote of %s", options->path);
    if (home->vote.stale && !options->alone)
        return coord_home_older_copy(home, info);
    if (LILIO_PLANTED("vote_forgotten_on_restart"))
        home->vote.vote = 0;
    err = raft_log_open(&log, &home->log, &recovery, info);
    if (err)
        return err == LILIO_E_NOT_FOUND ? part_gone(options->path, "log", info)
                                        : lilio_prefix(info, err, "the log of %s", options->path);
    if (recovery.torn)
        base_log_write(options->log, BASE_LOG_WARN, "home", "log_end_cut", "bytes=%llu",
                       (unsigned long long)recovery.torn_bytes);
    return LILIO_OK;
}

/* The vote is the oldest of the three, then the log, then the maps. */
static enum lilio_err compare(const struct coord_home *home, struct lilio_errinfo *info)
{
    const struct proto_state_row *row = coord_state_row(home->state);
    const unsigned long long applied = row->applied_index;
    struct raft_log_view log = raft_log_view(home->log);
    unsigned long long first = log.first(log.context), last = log.last(log.context);
    if (applied > last)
        return lilio_fail(info, LILIO_E_CORRUPT,
                          "the log lost entries that were applied: it ends at %llu, the maps of %s "
                          "are at %llu. This coordinator has to be replaced",
                          last, home->path, applied);
    if (applied + 1 < first)
        return lilio_fail(info, LILIO_E_CORRUPT,
                          "entries are missing between the maps of %s, which are at %llu, and the "
                          "log, which begins at %llu. This coordinator has to be replaced",
                          home->path, applied, first);
    uint64_t term = 0, last_term = 0;
    enum lilio_err err =
        applied + 1 == first && applied == 0 ? LILIO_OK : log.term(log.context, applied, &term);
    if (!err && last > 0)
        err = log.term(log.context, last, &last_term);
    if (err)
        return lilio_fail(info, err, "the log of %s: %s", home->path, lilio_err_text(err));
    if (applied > 0 && term != row->applied_term)
        return lilio_fail(info, LILIO_E_CORRUPT,
                          "the maps of %s applied entry %llu of term %llu, the log has one of term "
                          "%llu there. This coordinator has to be replaced",
                          home->path, applied, (unsigned long long)row->applied_term,
                          (unsigned long long)term);
    if (home->vote.term < last_term)
        return lilio_fail(info, LILIO_E_CORRUPT,
                          "the vote of %s is older than its log: this coordinator has to be "
                          "replaced",
                          home->path);
    return LILIO_OK;
}

/* A crash cut the installation of a pulled state short: it goes on. */
static enum lilio_err resume_install(const struct coord_home_options *options,
                                     struct coord_home *home, struct lilio_errinfo *info)
{
    bool found = false;
    struct coord_position position;
    enum lilio_err err = coord_install_resume(home->disk, home->log, &found, &position, info);
    if (found)
        base_log_write(options->log, BASE_LOG_INFO, "home", "install_resumed", "index=%llu",
                       (unsigned long long)position.index);
    return err;
}

static enum lilio_err open_parts(const struct coord_home_options *options, struct coord_home *home,
                                 struct lilio_errinfo *info)
{
    struct coord_identity identity;
    enum lilio_err err = folder_open(options, home, info);
    if (!err)
        err = coord_identity_load(home->disk, &identity, info);
    if (!err)
        err = check_identity(options, home, &identity, info);
    else if (err == LILIO_E_NOT_FOUND && home->disk)
        err = make_member(options, home, info);
    if (!err)
        err = open_log(options, home, info);
    if (!err && !home->kv)
        err = resume_install(options, home, info);
    if (!err && !home->kv) /* else it was just made */
        err = coord_home_maps_open(home, info);
    if (err == LILIO_E_NOT_FOUND)
        err = maps_gone(options, info);
    if (!err)
        err = compare(home, info);
    home->fresh = !err && !coord_state_initialised(home->state);
    return err;
}

/* ---- life ---- */

enum lilio_err coord_home_open(const struct coord_home_options *options, struct coord_home *ret,
                               struct lilio_errinfo *info)
{
    struct coord_home home = {.path = strdup(options->path),
                              .cluster_id = options->file->cluster_id};
    enum lilio_err err = home.path ? open_parts(options, &home, info)
                                   : lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    if (err)
        coord_home_release(&home);
    else
        *ret = home;
    return err;
}

void coord_home_release(struct coord_home *home)
{
    coord_home_maps_close(home);
    raft_log_free(&home->log);
    base_disk_free(&home->disk);
    free(home->path);
    *home = (struct coord_home){0};
}

/* ---- the first command ---- */

enum lilio_err coord_home_first_command(const struct proto_cluster_file *file,
                                        const struct base_clock *clock, struct base_buffer *ret)
{
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
        .wall_ms = clock->wall_ms(clock->context),
        .type = PROTO_MSG_cluster_init,
        .body = base_buffer_slice(&body),
    };
    if (!err)
        err = proto_entry_pack(&entry, ret);
    base_buffer_release(&body);
    free(osds);
    return err;
}

/* ---- the disk ---- */

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
