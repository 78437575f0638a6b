/* Segment files: the table of them, their open handles, birth and death.
 *
 * Birth: the header block is written and synced and the folder synced before the first record is
 * appended, so a file without a valid header never held an acknowledged record unless its header
 * was damaged later.
 *
 * Death: (1) the index is made durable, with a row that says "dropped"; (2) the file is unlinked
 * and the folder synced; (3) the row is deleted. A crash after (1) is finished by the next start.
 * Without (1) an older state of the index could name records that are gone; with the row deleted
 * first, the file would be replayed as if it were new.
 */
#include "osd/segment_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

#define FOLDER "segments"
enum { TABLE_FIRST = 16 };

static const char *file_name(uint64_t id, char ret_name[OSD_FOLDER_NAME_MAX])
{
    (void)snprintf(ret_name, OSD_FOLDER_NAME_MAX, FOLDER "/%016" PRIx64 ".seg", id); /* fits */
    return ret_name;
}

/* ---- the table ---- */

/* Place of the first segment with an id >= id. */
static size_t lower_bound(const struct osd_segment_store *store, uint64_t id)
{
    size_t low = 0, high = store->segment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (store->segments[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct osd_segment *osd_segment_find(const struct osd_segment_store *store, uint64_t id)
{
    size_t at = lower_bound(store, id);
    return at < store->segment_count && store->segments[at]->id == id ? store->segments[at] : NULL;
}

bool osd_segment_any(const struct osd_segment_store *store, uint64_t first, uint64_t last,
                     uint64_t except)
{
    size_t at = lower_bound(store, first);
    if (at < store->segment_count && store->segments[at]->id == except)
        at++;
    return at < store->segment_count && store->segments[at]->id <= last;
}

struct osd_segment *osd_segment_before(const struct osd_segment_store *store,
                                       const struct osd_segment *segment)
{
    size_t at = lower_bound(store, segment->id);
    return at ? store->segments[at - 1] : NULL;
}

uint64_t osd_segment_least(const struct osd_segment_store *store, uint64_t first,
                           uint64_t otherwise)
{
    size_t at = lower_bound(store, first);
    return at < store->segment_count && store->segments[at]->id < otherwise
               ? store->segments[at]->id
               : otherwise;
}

static void set_count(struct osd_segment_store *store, size_t count)
{
    store->segment_count = count;
    pthread_mutex_lock(&store->lock);
    store->stats.segment_count = count;
    pthread_mutex_unlock(&store->lock);
}

enum lilio_err osd_segment_add(struct osd_segment_store *store, uint64_t id,
                               struct osd_segment **ret_segment)
{
    if (store->segment_count == store->segment_room) {
        size_t room = store->segment_room ? 2 * store->segment_room : TABLE_FIRST;
        struct osd_segment **segments = reallocarray(store->segments, room, sizeof *segments);
        if (!segments)
            return LILIO_E_NOMEM;
        store->segments = segments;
        store->segment_room = room;
    }
    struct osd_segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return LILIO_E_NOMEM;
    *segment =
        (struct osd_segment){.id = id, .end = OSD_SEGMENT_HEADER, .acked_end = OSD_SEGMENT_HEADER};
    size_t at = lower_bound(store, id);
    memmove(store->segments + at + 1, store->segments + at,
            (store->segment_count - at) * sizeof *store->segments);
    store->segments[at] = segment;
    set_count(store, store->segment_count + 1);
    if (id >= store->next_id)
        store->next_id = id + 1;
    *ret_segment = segment;
    return LILIO_OK;
}

static void close_file(struct osd_segment_store *store, struct osd_segment *segment)
{
    store->open_files -= segment->file != NULL;
    base_file_close(&segment->file);
}

void osd_segment_forget(struct osd_segment_store *store, struct osd_segment *segment)
{
    size_t at = lower_bound(store, segment->id);
    LILIO_ASSERT(store->segments[at] == segment && !segment->dirty && segment != store->active);
    close_file(store, segment);
    set_count(store, store->segment_count - 1);
    memmove(store->segments + at, store->segments + at + 1,
            (store->segment_count - at) * sizeof *store->segments);
    free(segment);
}

struct listing {
    struct osd_segment_store *store;
    enum lilio_err err;
};

static void list_each(void *context, const char *name)
{
    struct listing *listing = context;
    struct osd_segment *segment;
    uint64_t id;
    if (!listing->err && base_disk_number_parse(name, ".seg", &id))
        listing->err = osd_segment_add(listing->store, id, &segment);
}

enum lilio_err osd_segment_list(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    struct base_disk *disk = store->disk;
    struct listing listing = {.store = store};
    enum lilio_err made = disk->ops->make_dir(disk, FOLDER, info);
    enum lilio_err err = made;
    if (made == LILIO_E_EXISTS || made == LILIO_E_READ_ONLY)
        err = LILIO_OK;
    else if (!err)
        err = disk->ops->sync_dir(disk, "", info);
    if (!err) /* a file that an earlier process was killed over is not durable because it is seen */
        err = disk->ops->sync_dir(disk, FOLDER, info);
    if (!err)
        err = disk->ops->list(disk, FOLDER, list_each, &listing, info);
    if (!err && listing.err)
        err = lilio_fail(info, listing.err, "list of segments: out of memory");
    if (err == LILIO_E_NOT_FOUND && made == LILIO_E_READ_ONLY)
        err = lilio_fail(info, made, "the filesystem is read-only");
    return err;
}

/* ---- open files ---- */

/* Room for one more open file: the one that was idle longest is closed. */
static void make_room(struct osd_segment_store *store)
{
    struct osd_segment *oldest = NULL;
    for (size_t i = 0; i < store->segment_count && store->open_files >= OSD_OPEN_FILES_MAX; i++) {
        struct osd_segment *segment = store->segments[i];
        if (segment->file && segment != store->active &&
            (!oldest || segment->used_at < oldest->used_at))
            oldest = segment;
    }
    if (oldest)
        close_file(store, oldest);
}

enum lilio_err osd_segment_file(struct osd_segment_store *store, struct osd_segment *segment,
                                struct base_file **ret_file, struct lilio_errinfo *info)
{
    char name[OSD_FOLDER_NAME_MAX];
    segment->used_at = ++store->use_counter;
    if (!segment->file) {
        make_room(store);
        enum lilio_err err = store->disk->ops->open(store->disk, file_name(segment->id, name),
                                                    BASE_OPEN_DIRECT, &segment->file, info);
        if (err)
            return err;
        store->open_files++;
    }
    *ret_file = segment->file;
    return LILIO_OK;
}

enum lilio_err osd_segment_read(struct osd_segment_store *store, struct osd_segment *segment,
                                void *buffer, size_t size, uint64_t offset,
                                struct lilio_errinfo *info)
{
    struct base_file *file;
    size_t got = 0;
    enum lilio_err err = osd_segment_file(store, segment, &file, info);
    if (!err)
        err =
            file->ops->read(file, buffer, osd_round_up(size, BASE_DISK_BLOCK), offset, &got, info);
    if (!err && got < size)
        err = lilio_fail(info, LILIO_E_CORRUPT,
                         "segment %" PRIx64 " ends at %" PRIu64 ", before the record at %" PRIu64,
                         segment->id, offset + got, offset);
    return err;
}

/* ---- birth ---- */

/* A header block that is gone can be replaced by what else knows the nonce: the index, or the first
 * record. */
static bool find_nonce(struct osd_segment_store *store, struct osd_segment *segment)
{
    struct osd_record record;
    if (segment->in_index)
        return segment->has_header;
    if (osd_segment_read(store, segment, store->scratch, OSD_RECORD_UNIT, OSD_SEGMENT_HEADER,
                         NULL) != LILIO_OK)
        return false;
    uint64_t nonce = osd_record_claimed_nonce(store->scratch);
    if (osd_record_decode(store->scratch, OSD_RECORD_UNIT, nonce, OSD_SEGMENT_HEADER, &record) !=
            LILIO_OK ||
        !base_uuid_equal(record.cluster_id, store->cluster_id))
        return false;
    segment->nonce = nonce;
    return true;
}

enum lilio_err osd_segment_load(struct osd_segment_store *store, struct osd_segment *segment,
                                struct osd_segment_header *ret, struct lilio_errinfo *info)
{
    struct osd_segment_header header = {0};
    enum lilio_err err =
        osd_segment_read(store, segment, store->scratch, OSD_SEGMENT_HEADER, 0, info);
    if (!err)
        err = osd_segment_header_decode(store->scratch, OSD_SEGMENT_HEADER, &header);
    if (!err && header.id != segment->id)
        err = LILIO_E_CORRUPT; /* a file under another one's name */
    if (err == LILIO_E_CORRUPT) {
        segment->has_header = find_nonce(store, segment);
        *ret = (struct osd_segment_header){0};
        return LILIO_OK;
    }
    if (err == LILIO_E_FORMAT)
        return lilio_fail(info, err, "segment %" PRIx64 " was written by a newer program",
                          segment->id);
    if (err)
        return err;
    if (!base_uuid_equal(header.cluster_id, store->cluster_id) ||
        !base_uuid_equal(header.disk_uuid, store->disk_uuid))
        return lilio_fail(info, LILIO_E_FOREIGN,
                          "segment %" PRIx64 " belongs to another disk or cluster", segment->id);
    segment->nonce = header.nonce;
    segment->has_header = true;
    *ret = header;
    return LILIO_OK;
}

static enum lilio_err write_header(struct osd_segment_store *store, struct base_file *file,
                                   uint64_t id, uint64_t nonce, struct lilio_errinfo *info)
{
    struct osd_segment_header header = {
        .cluster_id = store->cluster_id, .disk_uuid = store->disk_uuid, .id = id, .nonce = nonce};
    if (store->segment_count) {
        const struct osd_segment *previous = store->segments[store->segment_count - 1];
        header.previous_id = previous->id;
        header.previous_end = previous->acked_end;
    }
    uint8_t *block = store->writer.staging; /* idle between batches */
    osd_segment_header_encode(&header, block);
    struct iovec vector = {block, OSD_SEGMENT_HEADER};
    enum lilio_err err = file->ops->write(file, &vector, 1, 0, info);
    if (!err)
        err = file->ops->sync(file, info);
    if (!err)
        err = store->disk->ops->sync_dir(store->disk, FOLDER, info);
    return err;
}

enum lilio_err osd_segment_create(struct osd_segment_store *store, struct lilio_errinfo *info)
{
    char name[OSD_FOLDER_NAME_MAX];
    struct base_file *file = NULL;
    struct osd_segment *segment;
    uint64_t id = store->next_id++;
    uint64_t nonce = base_random_u64(store->random);
    make_room(store);
    enum lilio_err err = store->disk->ops->open(
        store->disk, file_name(id, name), BASE_OPEN_CREATE | BASE_OPEN_EXCLUSIVE | BASE_OPEN_DIRECT,
        &file, info);
    if (err)
        goto out;
    err = write_header(store, file, id, nonce, info);
    if (!err)
        err = osd_segment_add(store, id, &segment);
    if (err) {
        base_file_close(&file);
        (void)store->disk->ops->unlink(store->disk, name,
                                       NULL); /* nothing is in it; the next start tidies up */
        goto out;
    }
    segment->nonce = nonce;
    segment->has_header = true;
    segment->file = file;
    segment->allocated = OSD_SEGMENT_HEADER;
    store->open_files++;
    osd_segment_close_active(store);
    if (store->segment_count > 1)
        store->segments[store->segment_count - 2]->end_known = true; /* the header says it */
    store->active = segment;
    osd_index_touch(store, segment);
    return LILIO_OK;
out:
    return err == LILIO_E_NO_SPACE ? err
                                   : osd_segment_store_fail(store, err, "create segment", info);
}

void osd_segment_trim(struct osd_segment_store *store)
{
    struct osd_segment *segment = store->active;
    if (segment->allocated <= segment->end)
        return;
    /* Reserved blocks hold nothing; if they cannot be given back they stay reserved. */
    if (segment->file->ops->truncate(segment->file, segment->end, NULL) == LILIO_OK)
        segment->allocated = segment->end;
}

void osd_segment_close_active(struct osd_segment_store *store)
{
    if (!store->active)
        return;
    if (!store->failed) /* after a failed write the file is left as it is for the scan */
        osd_segment_trim(store);
    store->active = NULL;
}

/* ---- death ---- */

enum lilio_err osd_segment_unlink(struct osd_segment_store *store, struct osd_segment *segment,
                                  struct lilio_errinfo *info)
{
    char name[OSD_FOLDER_NAME_MAX];
    close_file(store, segment);
    enum lilio_err err = store->disk->ops->unlink(store->disk, file_name(segment->id, name), info);
    if (err == LILIO_E_NOT_FOUND)
        err = LILIO_OK;
    if (!err)
        err = store->disk->ops->sync_dir(store->disk, FOLDER, info);
    if (!err)
        osd_segment_forget(store, segment);
    return err;
}

enum lilio_err osd_segment_drop(struct osd_segment_store *store, struct osd_segment *segment,
                                struct lilio_errinfo *info)
{
    uint64_t id = segment->id;
    segment->dropped = true;
    osd_index_touch(store, segment);
    enum lilio_err err = osd_index_commit(store, true, info);
    if (err)
        return err;
    err = osd_segment_unlink(store, segment, info);
    if (err)
        return osd_segment_store_fail(store, err, "remove segment", info);
    osd_index_drop_row(store, id);
    return osd_index_commit(store, false, info);
}
