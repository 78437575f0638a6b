/* The content of one file of the crash disk: what the running program sees and, beside it, what is
 * durable.
 *
 * Content is kept in blocks of 4096 bytes of eight sectors each. A sector changed since the last
 * good sync is dirty; a crash decides about each one: the durable bytes, the new ones, the first
 * part of the new ones, or garbage. Holes and sizes belong to the filesystem's journal and survive
 * whole or not at all. Used by crash_disk.c only.
 */
#ifndef TESTS_CRASH_IMAGE_H
#define TESTS_CRASH_IMAGE_H

#include "base/env.h"
#include "base/types.h"

struct crash_image;

/* How a crash treats what was not synced. */
enum crash_fate {
    CRASH_FATE_MIXED,   /* decided anew for every sector */
    CRASH_FATE_KEPT,    /* everything reached the disk in time */
    CRASH_FATE_DROPPED, /* nothing did */
};

struct crash_image *crash_image_new(void); /* NULL without memory */
void crash_image_free(struct crash_image *image);
uint64_t crash_image_size(const struct crash_image *image);
/* Blocks that hold or reserve space. */
uint64_t crash_image_used(const struct crash_image *image);
/* Blocks that a change of this range would add. */
uint64_t crash_image_lacking(const struct crash_image *image, uint64_t offset, uint64_t size);

/* False without memory. */
bool crash_image_write(struct crash_image *image, const void *data, size_t size, uint64_t offset);
size_t crash_image_read(const struct crash_image *image, void *ret_data, size_t size,
                        uint64_t offset);
bool crash_image_reserve(struct crash_image *image, uint64_t offset, uint64_t size);
bool crash_image_punch(struct crash_image *image, uint64_t offset, uint64_t size);
bool crash_image_truncate(struct crash_image *image, uint64_t size);
void crash_image_sync(struct crash_image *image);
/* A sync that failed: about half of the dirty sectors will never get to the disk, however often it
 * is synced, unless they are written again. That is what Linux does with pages whose write-back
 * failed. */
void crash_image_sync_failed(struct crash_image *image, const struct base_random *random);
/* Afterwards everything that is there is durable. */
void crash_image_crash(struct crash_image *image, enum crash_fate fate,
                       const struct base_random *random);
/* Flips bits of a byte behind the program's back; false if there is no such byte. */
bool crash_image_flip(struct crash_image *image, uint64_t offset, uint8_t mask);

#endif
