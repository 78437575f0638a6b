/* The vote: DIR/vote holds two copies, each in a block of its own.
 *
 * A save writes and syncs the first copy, then the second. So a crash leaves one whole copy at
 * least: the new one if the first sync succeeded, and one damaged block never takes a vote back
 * that was acknowledged, because both held it then. Of two copies that differ the one that was
 * saved later counts. Loading brings both copies to the same state before anybody relies on what
 * was read.
 */
#include "coordinator/raft/log_format.h"

#include "base/banned.h"

#define NAME "vote"

static enum lilio_err write_copies(struct base_file *file, const struct log_owner *owner,
                                   const struct raft_vote *vote, int first_copy,
                                   struct lilio_errinfo *info)
{
    uint8_t block[LOG_BLOCK];
    log_vote_encode(owner, vote, block);
    for (int i = 0; i < LOG_VOTE_COPIES; i++) {
        uint64_t at = (uint64_t)((first_copy + i) % LOG_VOTE_COPIES) * LOG_BLOCK;
        enum lilio_err err =
            file->ops->write(file, &(struct iovec){block, sizeof block}, 1, at, info);
        err = err ? err : file->ops->sync(file, info);
        if (err)
            return err;
    }
    return LILIO_OK;
}

/* Version 1 did not count its saves: a term only grows, and within a term a vote is only given,
 * never changed. */
static bool later(const struct raft_vote *a, const struct raft_vote *b)
{
    if (a->saves != b->saves)
        return a->saves > b->saves;
    return a->term != b->term ? a->term > b->term : a->vote != 0 && b->vote == 0;
}

/* The later of the copies that verify, and which one it is. */
static enum lilio_err read_copies(struct base_file *file, const struct log_owner *owner,
                                  struct raft_vote *ret, int *ret_copy, struct lilio_errinfo *info)
{
    bool found = false;
    for (int i = 0; i < LOG_VOTE_COPIES; i++) {
        uint8_t block[LOG_BLOCK] = {0};
        size_t size;
        struct log_owner writer;
        struct raft_vote vote;
        enum lilio_err err =
            file->ops->read(file, block, sizeof block, (uint64_t)i * LOG_BLOCK, &size, info);
        if (err)
            return err;
        err = log_vote_decode(block, &writer, &vote);
        if (err == LILIO_E_FORMAT)
            return lilio_fail(info, err, "written by a newer program");
        if (err)
            continue;
        if (!base_uuid_equal(writer.cluster_id, owner->cluster_id) ||
            writer.member != owner->member)
            return lilio_fail(info, LILIO_E_FOREIGN, "of another cluster or member");
        if (found && !later(&vote, ret))
            continue;
        *ret = vote;
        *ret_copy = i;
        found = true;
    }
    return found ? LILIO_OK : lilio_fail(info, LILIO_E_CORRUPT, "neither of its copies verifies");
}

enum lilio_err raft_vote_load(struct base_disk *disk, struct base_uuid cluster_id, uint64_t member,
                              bool create, struct raft_vote *ret, struct lilio_errinfo *info)
{
    const struct log_owner owner = {cluster_id, member};
    struct raft_vote vote = {0};
    struct base_file *file = NULL;
    int copy = 0;
    enum lilio_err err = disk->ops->open(disk, NAME, create ? BASE_OPEN_CREATE : 0, &file, info);
    if (err)
        goto out;
    err = read_copies(file, &owner, &vote, &copy, info);
    if (err == LILIO_E_CORRUPT && create)
        err = LILIO_OK; /* a crash while it was made: nothing was ever saved */
    /* The copy that was read stays as it is until the other one is durable. */
    err = err ? err : write_copies(file, &owner, &vote, copy ? 0 : 1, info);
    err = err ? err : disk->ops->sync_dir(disk, "", info);
    if (!err)
        *ret = vote;
out:
    base_file_close(&file);
    return err ? lilio_prefix(info, err, NAME) : LILIO_OK;
}

enum lilio_err raft_vote_save(struct base_disk *disk, struct base_uuid cluster_id, uint64_t member,
                              struct raft_vote *vote, struct lilio_errinfo *info)
{
    const struct log_owner owner = {cluster_id, member};
    struct base_file *file = NULL;
    enum lilio_err err = disk->ops->open(disk, NAME, 0, &file, info);
    vote->saves++;
    err = err ? err : write_copies(file, &owner, vote, 0, info);
    base_file_close(&file);
    return err ? lilio_prefix(info, err, NAME) : LILIO_OK;
}
