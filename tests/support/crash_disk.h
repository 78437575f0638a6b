/* A disk in memory whose power can fail (base/disk.h is the interface), for crash and fault tests.
 *
 * The life of a test: make a disk, run the code under test on it, let the power fail (at once, or
 * in the middle of the n-th change), free what the code under test holds, turn the power on, run
 * the recovery on the same disk object, check.
 *
 *     crash_disk_power_off_at(disk, n);   the n-th write, sync or name change from now is cut short
 *     ... run until calls fail ...
 *     crash_disk_power_on(disk);          draws what survived; files that were open answer IO for
 * ever
 *
 * What survives, drawn from the seed (a third of the crashes keep everything or drop everything):
 *  - bytes since the last good sync of the file: per 512-byte sector old, new, torn or garbage;
 * sizes old, new or in between; a hole or a cut survives whole or not at all;
 *  - creations, renames and removals since the last sync_dir of their folder: each may be undone, a
 * rename as a whole (synced with either folder), what is in an undone folder with it;
 *  - everything else is durable. A failed sync loses sectors for good: a later sync does not bring
 * them back.
 *
 * It checks its user too: a transfer that breaks the alignment rule of BASE_OPEN_DIRECT answers
 * INVALID and is counted. base_disk_lock always succeeds. Threads: any; one call at a time.
 */
#ifndef TESTS_CRASH_DISK_H
#define TESTS_CRASH_DISK_H

#include "base/disk.h"

enum crash_call {
    CRASH_READ,
    CRASH_WRITE,
    CRASH_SYNC, /* of a file or a folder */
    CRASH_META, /* creation, rename, unlink, make_dir, truncate, allocate, punch */
    CRASH_CALL_COUNT,
};

/* Empty, without a capacity. Freed with base_disk_free after all its files are closed. Errors:
 * NOMEM. */
LILIO_MUST_USE enum lilio_err crash_disk_new(uint64_t seed, struct base_disk **ret_disk);

/* ---- power ---- */

/* Every call fails with IO until the power is back. */
void crash_disk_power_off(struct base_disk *disk);
/* The n-th write, sync or meta call from now (1 = the next one) is the last: it may or may not have
 * its effect, answers IO, and the power is off. 0 takes it back. */
void crash_disk_power_off_at(struct base_disk *disk, uint64_t n);
void crash_disk_power_on(struct base_disk *disk);
bool crash_disk_powered(const struct base_disk *disk);

/* ---- faults ---- */

/* The n-th call of this kind from now (1 = the next one) fails with err; `for_ever` lets all later
 * ones fail, too. A failed write may have written its first sectors. n = 0 takes it back. */
void crash_disk_fail(struct base_disk *disk, enum crash_call call, uint64_t n, bool for_ever,
                     enum lilio_err err);
/* Calls of this kind so far, failed ones included: the bound for a loop over n. */
uint64_t crash_disk_calls(const struct base_disk *disk, enum crash_call call);
/* Writes and allocations beyond it answer NO_SPACE; 0 = no limit. In blocks of 4096 bytes, rounded
 * down. */
void crash_disk_set_capacity(struct base_disk *disk, uint64_t bytes);
/* Flips bits of one stored byte, behind the back of whoever has the file open. False if there is no
 * such byte. */
bool crash_disk_flip(struct base_disk *disk, const char *name, uint64_t offset, uint8_t mask);

/* ---- what the interface does not offer ---- */

/* Tells files and folders apart, whatever they are called: 0 if the name leads to nothing. */
uint64_t crash_disk_number(struct base_disk *disk, const char *name);
bool crash_disk_is_folder(struct base_disk *disk, const char *name);
/* As the program sees them; index from 0, NULL at the end. Borrowed until the next change. */
const char *crash_disk_name(struct base_disk *disk, size_t index);
/* Errors: NOT_FOUND, EXISTS (there is something in it), IO. */
LILIO_MUST_USE enum lilio_err crash_disk_remove_folder(struct base_disk *disk, const char *name,
                                                       struct lilio_errinfo *info);

/* Transfers that broke the alignment rule. A test ends with expecting 0. */
uint64_t crash_disk_misuse_count(const struct base_disk *disk);

#endif
