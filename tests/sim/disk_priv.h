/* What disk.c offers to kv.c and paths.c. */
#ifndef TESTS_SIM_DISK_PRIV_H
#define TESTS_SIM_DISK_PRIV_H

#include "tests/sim/disk.h"
#include "tests/sim/world.h"

enum sim_disk_call { SIM_READ, SIM_WRITE, SIM_SYNC, SIM_META };

/* The disk a path ("/sim/osd.3/maps/x") is on, NULL if it is none of ours; *ret_rest: the name on
 * it ("maps/x"), "" for the disk itself. */
struct sim_disk *sim_disk_of_path(const char *path, const char **ret_rest);
/* True for paths below /sim, whether there is such a disk or not. */
bool sim_is_our_path(const char *path);
/* The disk that survives crashes (tests/support/crash_disk.h). */
struct base_disk *sim_disk_inner(struct sim_disk *disk);
struct sim_node *sim_disk_node(struct sim_disk *disk);
struct sim_stream *sim_disk_stream(struct sim_disk *disk);

/* Every call: blocks for the time it takes, counts, and draws whether it is to fail. */
LILIO_MUST_USE enum lilio_err sim_disk_enter(struct sim_disk *disk, enum sim_disk_call call,
                                             uint64_t bytes, struct lilio_errinfo *info);
/* After a change: if the power failed during it, the process ends here. */
void sim_disk_leave(struct sim_disk *disk);

/* kv_files.c: the rows of a store as the files of a folder of its disk. save makes the folder, and
 * everything durable. Errors: EXISTS, IO, NO_SPACE; load: NOT_FOUND (no such files), CORRUPT, IO.
 */
struct base_kv;
struct base_kv_snapshot;
LILIO_MUST_USE enum lilio_err sim_kv_save(struct base_kv *kv,
                                          const struct base_kv_snapshot *snapshot,
                                          struct sim_disk *disk, const char *folder,
                                          struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err sim_kv_load(struct base_kv *kv, struct sim_disk *disk,
                                          const char *folder, struct lilio_errinfo *info);

/* kv.c */
void sim_kv_process_died(struct sim_disk *disk, bool power_lost);
void sim_kv_disk_gone(struct sim_disk *disk);
/* The content of the stores in the folders of a disk; the folders themselves are the disk's. */
struct sim_kv_copy;
struct sim_kv_copy *sim_kv_copy_new(struct sim_disk *disk);
void sim_kv_put_back(struct sim_disk *disk, const struct sim_kv_copy *copy);
void sim_kv_copy_free(struct sim_kv_copy **copy);
bool sim_kv_is_at(struct sim_disk *disk, const char *folder);

#endif
