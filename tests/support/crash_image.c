#include "tests/support/crash_image.h"

#include <stdlib.h>

#include "base/banned.h"

enum { BLOCK = 4096, SECTOR = 512, SECTORS = BLOCK / SECTOR, ALL_SECTORS = 0xff };

struct block {
    uint8_t *now;   /* what the program sees; NULL reads as zeros */
    uint8_t *safe;  /* durable content while a sector is dirty; NULL reads as zeros */
    uint8_t dirty;  /* bit per sector: now differs from safe */
    uint8_t holes;  /* of the dirty ones: emptied, not written */
    uint8_t doomed; /* of the dirty ones: lost by a failed sync */
    bool reserved;
    bool listed; /* in the image's list of blocks that may be dirty */
};

struct crash_image {
    struct block *blocks;
    size_t block_count;
    size_t *dirty; /* places of the blocks that are listed */
    size_t dirty_count, dirty_room;
    uint64_t used; /* blocks that weigh */
    uint64_t size, safe_size;
};

/* ---- blocks ---- */

struct crash_image *crash_image_new(void)
{
    return calloc(1, sizeof(struct crash_image));
}

void crash_image_free(struct crash_image *image)
{
    for (size_t i = 0; i < image->block_count; i++) {
        free(image->blocks[i].now);
        free(image->blocks[i].safe);
    }
    free(image->blocks);
    free(image->dirty);
    free(image);
}

uint64_t crash_image_size(const struct crash_image *image)
{
    return image->size;
}

uint64_t crash_image_used(const struct crash_image *image)
{
    return image->used;
}

static bool weighs(const struct block *block)
{
    return block->now || block->reserved;
}

/* After a change of a block: counts it, and lists it when it is dirty now. */
static bool note_change(struct crash_image *image, size_t place, bool weighed)
{
    struct block *block = &image->blocks[place];
    image->used = image->used + weighs(block) - weighed;
    if (!block->dirty || block->listed)
        return true;
    if (image->dirty_count == image->dirty_room) {
        size_t room = image->dirty_room ? image->dirty_room * 2 : 16;
        size_t *dirty = realloc(image->dirty, room * sizeof *dirty);
        if (!dirty)
            return false;
        image->dirty = dirty;
        image->dirty_room = room;
    }
    block->listed = true;
    image->dirty[image->dirty_count++] = place;
    return true;
}

uint64_t crash_image_lacking(const struct crash_image *image, uint64_t offset, uint64_t size)
{
    uint64_t lacking = 0, end = (offset + size + BLOCK - 1) / BLOCK;
    for (uint64_t i = offset / BLOCK; i < end; i++)
        lacking += i >= image->block_count || !weighs(&image->blocks[i]);
    return lacking;
}

static bool grow(struct crash_image *image, uint64_t end)
{
    size_t count = (size_t)((end + BLOCK - 1) / BLOCK);
    if (count <= image->block_count)
        return true;
    count = count < image->block_count * 2 ? image->block_count * 2 : count;
    struct block *blocks = realloc(image->blocks, count * sizeof *blocks);
    if (!blocks)
        return false;
    memset(blocks + image->block_count, 0, (count - image->block_count) * sizeof *blocks);
    image->blocks = blocks;
    image->block_count = count;
    return true;
}

/* Makes the sectors dirty; the durable content is put aside with the first one. */
static bool touch(struct block *block, uint8_t sectors, bool hole)
{
    if (!block->dirty && block->now) {
        block->safe = malloc(BLOCK);
        if (!block->safe)
            return false;
        memcpy(block->safe, block->now, BLOCK);
    }
    block->dirty |= sectors;
    block->doomed &= (uint8_t)~sectors;
    block->holes = (uint8_t)(hole ? block->holes | sectors : block->holes & ~sectors);
    if (!block->now)
        block->now = calloc(1, BLOCK);
    return block->now;
}

static uint8_t sectors_of(size_t first_byte, size_t size)
{
    unsigned first = (unsigned)(first_byte / SECTOR);
    unsigned end = (unsigned)((first_byte + size + SECTOR - 1) / SECTOR);
    return (uint8_t)((ALL_SECTORS << first) & (ALL_SECTORS >> (SECTORS - end)));
}

/* Calls back for each block that the range touches. */
static bool for_range(struct crash_image *image, uint64_t offset, uint64_t size,
                      bool (*change)(struct block *block, size_t first_byte, size_t size,
                                     const uint8_t *data),
                      const uint8_t *data)
{
    for (uint64_t end = offset + size; offset < end;) {
        size_t first = (size_t)(offset % BLOCK);
        size_t part = BLOCK - first < end - offset ? BLOCK - first : (size_t)(end - offset);
        size_t place = (size_t)(offset / BLOCK);
        bool weighed = weighs(&image->blocks[place]);
        if (!change(&image->blocks[place], first, part, data) ||
            !note_change(image, place, weighed))
            return false;
        offset += part;
        data = data ? data + part : NULL;
    }
    return true;
}

static bool write_block(struct block *block, size_t first, size_t size, const uint8_t *data)
{
    if (!touch(block, sectors_of(first, size), false))
        return false;
    memcpy(block->now + first, data, size);
    return true;
}

static bool reserve_block(struct block *block, size_t first, size_t size, const uint8_t *data)
{
    (void)first, (void)size, (void)data;
    block->reserved = true;
    return true;
}

static bool empty_block(struct block *block, size_t first, size_t size, const uint8_t *data)
{
    (void)data;
    if (size == BLOCK)
        block->reserved = false;
    if (!block->now)
        return true;
    if (!touch(block, sectors_of(first, size), true))
        return false;
    memset(block->now + first, 0, size);
    if (size == BLOCK) {
        free(block->now);
        block->now = NULL;
    }
    return true;
}

/* ---- what the program does ---- */

bool crash_image_write(struct crash_image *image, const void *data, size_t size, uint64_t offset)
{
    if (size == 0)
        return true;
    if (!grow(image, offset + size) || !for_range(image, offset, size, write_block, data))
        return false;
    if (offset + size > image->size)
        image->size = offset + size;
    return true;
}

size_t crash_image_read(const struct crash_image *image, void *ret_data, size_t size,
                        uint64_t offset)
{
    if (offset >= image->size)
        return 0;
    if (size > image->size - offset)
        size = (size_t)(image->size - offset);
    for (size_t done = 0; done < size;) {
        uint64_t at = offset + done;
        size_t first = (size_t)(at % BLOCK);
        size_t part = BLOCK - first < size - done ? BLOCK - first : size - done;
        const struct block *block =
            at / BLOCK < image->block_count ? &image->blocks[at / BLOCK] : NULL;
        if (block && block->now)
            memcpy((uint8_t *)ret_data + done, block->now + first, part);
        else
            memset((uint8_t *)ret_data + done, 0, part);
        done += part;
    }
    return size;
}

bool crash_image_reserve(struct crash_image *image, uint64_t offset, uint64_t size)
{
    return grow(image, offset + size) && for_range(image, offset, size, reserve_block, NULL);
}

/* The part of a range that has blocks at all. */
static bool empty_range(struct crash_image *image, uint64_t offset, uint64_t end)
{
    uint64_t there = (uint64_t)image->block_count * BLOCK;
    end = end < there ? end : there;
    return offset >= end || for_range(image, offset, end - offset, empty_block, NULL);
}

bool crash_image_punch(struct crash_image *image, uint64_t offset, uint64_t size)
{
    return empty_range(image, offset, offset + size);
}

bool crash_image_truncate(struct crash_image *image, uint64_t size)
{
    bool done = empty_range(image, size, UINT64_MAX);
    image->size = size;
    return done;
}

void crash_image_sync(struct crash_image *image)
{
    size_t still_dirty = 0;
    image->safe_size = image->size;
    for (size_t i = 0; i < image->dirty_count; i++) {
        struct block *block = &image->blocks[image->dirty[i]];
        uint8_t reached = (uint8_t)(block->dirty & ~block->doomed);
        for (unsigned s = 0; block->doomed && s < SECTORS; s++)
            if (reached >> s & 1 && block->safe && block->now)
                memcpy(block->safe + s * SECTOR, block->now + s * SECTOR, SECTOR);
        block->dirty = block->doomed;
        block->holes &= block->dirty;
        if (block->dirty) {
            image->dirty[still_dirty++] = image->dirty[i];
        } else {
            free(block->safe);
            block->safe = NULL;
            block->listed = false;
        }
    }
    image->dirty_count = still_dirty;
}

void crash_image_sync_failed(struct crash_image *image, const struct base_random *random)
{
    for (size_t i = 0; i < image->dirty_count; i++) {
        struct block *block = &image->blocks[image->dirty[i]];
        bool weighed = weighs(block);
        if (!block->dirty)
            continue;
        if (!block->safe)
            block->safe = calloc(1, BLOCK); /* a later sync may have to keep some sectors */
        if (!block->now)
            block->now = calloc(1, BLOCK);
        LILIO_ASSERT(block->safe && block->now);
        block->doomed |= (uint8_t)(block->dirty & base_random_u64(random));
        image->used = image->used + weighs(block) - weighed;
    }
}

/* ---- what a crash leaves ---- */

/* The content of one dirty sector afterwards, into now. */
static void decide_sector(struct block *block, unsigned sector, bool holes_kept,
                          enum crash_fate fate, const struct base_random *random)
{
    static const uint8_t zeros[SECTOR];
    uint8_t *now = block->now + sector * SECTOR;
    const uint8_t *safe = block->safe ? block->safe + sector * SECTOR : zeros;
    bool hole = block->holes >> sector & 1, doomed = block->doomed >> sector & 1;
    uint64_t draw = base_random_u64(random);
    unsigned chance = (unsigned)(draw % 16);
    if (fate == CRASH_FATE_DROPPED || doomed || (hole && !holes_kept))
        memcpy(now, safe, SECTOR);
    else if (fate == CRASH_FATE_KEPT || hole || chance < 7)
        return;
    else if (chance < 13)
        memcpy(now, safe, SECTOR);
    else if (chance < 15) {
        size_t torn = (size_t)(draw >> 32) % SECTOR;
        memcpy(now + torn, safe + torn, SECTOR - torn);
    } else
        random->fill(random->context, now, SECTOR);
}

static void crash_block(struct block *block, bool holes_kept, enum crash_fate fate,
                        const struct base_random *random)
{
    if (!block->dirty)
        return;
    if (!block->now)
        block->now = calloc(1, BLOCK);
    LILIO_ASSERT(block->now);
    for (unsigned s = 0; s < SECTORS; s++)
        if (block->dirty >> s & 1)
            decide_sector(block, s, holes_kept, fate, random);
    free(block->safe);
    block->safe = NULL;
    block->dirty = block->holes = block->doomed = 0;
}

/* A file that grew may have any size in between; one that shrank has the old or the new size. */
static uint64_t decide_size(const struct crash_image *image, bool cut_kept, enum crash_fate fate,
                            const struct base_random *random)
{
    uint64_t now = image->size, safe = image->safe_size;
    if (fate == CRASH_FATE_KEPT || now == safe)
        return now;
    if (fate == CRASH_FATE_DROPPED)
        return safe;
    if (now < safe)
        return cut_kept ? now : safe;
    uint64_t draw = base_random_u64(random), chance = draw % 4;
    if (chance == 0)
        return safe + (draw >> 8) % (now - safe + 1);
    return chance == 1 ? safe : now;
}

void crash_image_crash(struct crash_image *image, enum crash_fate fate,
                       const struct base_random *random)
{
    bool journal_kept =
        fate == CRASH_FATE_KEPT || (fate == CRASH_FATE_MIXED && base_random_u64(random) % 2);
    uint64_t size = decide_size(image, journal_kept, fate, random);
    for (size_t i = 0; i < image->dirty_count; i++) {
        struct block *block = &image->blocks[image->dirty[i]];
        bool weighed = weighs(block);
        crash_block(block, journal_kept, fate, random);
        image->used = image->used + weighs(block) - weighed;
    }
    bool cut = crash_image_truncate(image, size);
    LILIO_ASSERT(cut);
    crash_image_sync(image);
}

bool crash_image_flip(struct crash_image *image, uint64_t offset, uint8_t mask)
{
    struct block *block = offset < image->size && offset / BLOCK < image->block_count
                              ? &image->blocks[offset / BLOCK]
                              : NULL;
    if (!block || !block->now)
        return false;
    block->now[offset % BLOCK] ^= mask;
    if (block->safe)
        block->safe[offset % BLOCK] ^= mask;
    return true;
}
