/* The file, little-endian:
 *
 *     0  magic "LLORPHAN"      8  version (1)      12  count
 *    16  cluster id           32  disk uuid        48  index
 *    56  count times: oid high, oid low, index, cluster_ms (8 bytes each)
 *   end  CRC32C of all before
 *
 * A crash leaves the old file or the new one, each whole (osd/file.h).
 */
#include "osd/quarantine.h"

#include <stdlib.h>

#include "codec/codec.h"
#include "osd/file.h"

#include "base/banned.h"

#define NAME "orphans"

enum { VERSION = 1, HEAD_BYTES = 56, ITEM_BYTES = 32, SUM_BYTES = 4, ROOM_MIN = 64 };
static const uint8_t magic[8] = {'L', 'L', 'O', 'R', 'P', 'H', 'A', 'N'};

/* ---- the table ---- */

void osd_quarantine_release(struct osd_quarantine *quarantine)
{
    free(quarantine->items);
    free(quarantine->places);
    *quarantine = (struct osd_quarantine){0};
}

/* Of the oid, or the free one where it would be. At least half of the places are free. */
static uint32_t *place_of(const struct osd_quarantine *quarantine, struct base_oid oid)
{
    size_t at = (size_t)((oid.high * 0x9e3779b97f4a7c15u + oid.low * 0xc2b2ae3d27d4eb4fu) >> 20);
    for (;; at++) {
        uint32_t *place = &quarantine->places[at % quarantine->place_count];
        if (*place == 0 || base_oid_equal(quarantine->items[*place - 1].oid, oid))
            return place;
    }
}

struct osd_orphan *osd_quarantine_find(const struct osd_quarantine *quarantine, struct base_oid oid)
{
    uint32_t place = quarantine->place_count > 0 ? *place_of(quarantine, oid) : 0;
    return place ? &quarantine->items[place - 1] : NULL;
}

static void places_fill(struct osd_quarantine *quarantine)
{
    if (quarantine->place_count > 0)
        memset(quarantine->places, 0, quarantine->place_count * sizeof *quarantine->places);
    for (size_t i = 0; i < quarantine->count; i++)
        *place_of(quarantine, quarantine->items[i].oid) = (uint32_t)i + 1;
}

static bool grow(struct osd_quarantine *quarantine)
{
    size_t room = quarantine->room ? 2 * quarantine->room : ROOM_MIN;
    struct osd_orphan *items = reallocarray(quarantine->items, room, sizeof *items);
    if (!items)
        return false;
    quarantine->items = items;
    uint32_t *places = calloc(2 * room, sizeof *places);
    if (!places)
        return false;
    free(quarantine->places);
    quarantine->places = places;
    quarantine->place_count = 2 * room;
    quarantine->room = room;
    places_fill(quarantine);
    return true;
}

struct osd_orphan *osd_quarantine_add(struct osd_quarantine *quarantine, struct base_oid oid)
{
    if (quarantine->count == OSD_ORPHANS_MAX ||
        (quarantine->count == quarantine->room && !grow(quarantine)))
        return NULL;
    struct osd_orphan *orphan = &quarantine->items[quarantine->count++];
    *orphan = (struct osd_orphan){.oid = oid};
    *place_of(quarantine, oid) = (uint32_t)quarantine->count;
    return orphan;
}

void osd_quarantine_sift(struct osd_quarantine *quarantine,
                         bool (*keep)(const struct osd_orphan *orphan))
{
    size_t kept = 0;
    for (size_t i = 0; i < quarantine->count; i++)
        if (keep(&quarantine->items[i]))
            quarantine->items[kept++] = quarantine->items[i];
    quarantine->count = kept;
    places_fill(quarantine);
}

/* ---- its bytes ---- */

enum lilio_err osd_quarantine_encode(const struct osd_quarantine *quarantine,
                                     struct base_buffer *ret)
{
    size_t count = 0;
    for (size_t i = 0; i < quarantine->count; i++)
        count += !quarantine->items[i].unknown;
    size_t size = HEAD_BYTES + count * ITEM_BYTES + SUM_BYTES;
    base_buffer_clear(ret);
    enum lilio_err err = base_buffer_reserve(ret, size);
    if (err)
        return err;
    uint8_t *at = ret->data;
    memcpy(at, magic, sizeof magic);
    base_le32_put(at + 8, VERSION);
    base_le32_put(at + 12, (uint32_t)count);
    memcpy(at + 16, quarantine->cluster_id.bytes, 16);
    memcpy(at + 32, quarantine->disk_uuid.bytes, 16);
    base_le64_put(at + 48, quarantine->index);
    at += HEAD_BYTES;
    for (size_t i = 0; i < quarantine->count; i++) {
        const struct osd_orphan *orphan = &quarantine->items[i];
        if (orphan->unknown)
            continue;
        base_le64_put(at, orphan->oid.high);
        base_le64_put(at + 8, orphan->oid.low);
        base_le64_put(at + 16, orphan->index);
        base_le64_put(at + 24, orphan->cluster_ms);
        at += ITEM_BYTES;
    }
    base_le32_put(at, codec_crc32c(0, ret->data, size - SUM_BYTES));
    ret->size = size;
    return LILIO_OK;
}

/* Whole, of this version, and of this disk. */
static enum lilio_err head_check(const struct osd_quarantine *quarantine, struct base_slice bytes)
{
    if (bytes.size < HEAD_BYTES + SUM_BYTES || memcmp(bytes.data, magic, sizeof magic) != 0)
        return LILIO_E_CORRUPT;
    size_t covered = bytes.size - SUM_BYTES;
    if (codec_crc32c(0, bytes.data, covered) != base_le32_get(bytes.data + covered))
        return LILIO_E_CORRUPT;
    if (base_le32_get(bytes.data + 8) != VERSION)
        return LILIO_E_FORMAT;
    size_t count = base_le32_get(bytes.data + 12);
    if (count > OSD_ORPHANS_MAX || covered != HEAD_BYTES + count * ITEM_BYTES)
        return LILIO_E_CORRUPT;
    if (memcmp(bytes.data + 16, quarantine->cluster_id.bytes, 16) != 0 ||
        memcmp(bytes.data + 32, quarantine->disk_uuid.bytes, 16) != 0)
        return LILIO_E_FOREIGN;
    return LILIO_OK;
}

enum lilio_err osd_quarantine_decode(struct osd_quarantine *quarantine, struct base_slice bytes)
{
    enum lilio_err err = head_check(quarantine, bytes);
    if (err)
        return err;
    quarantine->index = base_le64_get(bytes.data + 48);
    const uint8_t *end = bytes.data + bytes.size - SUM_BYTES;
    for (const uint8_t *at = bytes.data + HEAD_BYTES; at < end; at += ITEM_BYTES) {
        struct base_oid oid = {base_le64_get(at), base_le64_get(at + 8)};
        if (osd_quarantine_find(quarantine, oid))
            return LILIO_E_CORRUPT;
        struct osd_orphan *orphan = osd_quarantine_add(quarantine, oid);
        if (!orphan)
            return LILIO_E_NOMEM;
        orphan->index = base_le64_get(at + 16);
        orphan->cluster_ms = base_le64_get(at + 24);
    }
    return LILIO_OK;
}

/* ---- the file ---- */

enum lilio_err osd_quarantine_load(struct osd_quarantine *quarantine, struct base_disk *disk,
                                   struct lilio_errinfo *info)
{
    struct base_uuid cluster_id = quarantine->cluster_id, disk_uuid = quarantine->disk_uuid;
    struct base_buffer bytes = {0};
    osd_quarantine_release(quarantine);
    *quarantine = (struct osd_quarantine){.cluster_id = cluster_id, .disk_uuid = disk_uuid};
    enum lilio_err err = osd_file_load(
        disk, NAME, HEAD_BYTES + OSD_ORPHANS_MAX * ITEM_BYTES + SUM_BYTES, &bytes, info);
    if (!err && (err = osd_quarantine_decode(quarantine, base_buffer_slice(&bytes))))
        (void)lilio_fail(info, err, "%s: %s", NAME, lilio_err_text(err)); /* returned below */
    base_buffer_release(&bytes);
    if (err) {
        osd_quarantine_release(quarantine);
        *quarantine = (struct osd_quarantine){.cluster_id = cluster_id, .disk_uuid = disk_uuid};
    }
    return err;
}

enum lilio_err osd_quarantine_save(const struct osd_quarantine *quarantine, struct base_disk *disk,
                                   struct lilio_errinfo *info)
{
    struct base_buffer bytes = {0};
    enum lilio_err err = osd_quarantine_encode(quarantine, &bytes);
    if (err)
        (void)lilio_fail(info, err, "%s: out of memory", NAME); /* returned below */
    else
        err = osd_file_replace(disk, NAME, base_buffer_slice(&bytes), info);
    base_buffer_release(&bytes);
    return err;
}
