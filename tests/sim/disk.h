/* The simulated disks: one directory ("/sim/osd.3") each, on which base_disk_posix_new() and the
 * stores of base_kv_open_rocksdb() below it work as on a real one. What a power loss leaves is
 * tests/support/crash_disk.h; time, faults and replacement are here.
 *
 * Calls take virtual time and block the fiber that makes them. A fault is drawn per call; it is
 * answered with an error, or it is silent (flip, misdirect).
 */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include "base/disk.h"

struct sim_disk;
struct sim_node;

struct sim_disk_speed {
    uint64_t read_ns, write_ns, sync_ns, meta_ns; /* mean of what a call takes (exponential) */
    uint64_t bytes_per_s;                         /* 0: no limit */
};
struct sim_disk_faults { /* millionths, per call */
    uint32_t read_error_ppm, write_error_ppm, sync_error_ppm, meta_error_ppm;
    uint32_t read_flip_ppm;  /* one bit of what is read is wrong, this once */
    uint32_t write_flip_ppm; /* one bit of what is written is wrong from then on */
    uint32_t misdirect_ppm;  /* a write of whole blocks lands elsewhere in the file, and not where
                                it should */
    uint32_t stall_ppm;      /* the call takes a hundred times as long */
};
void sim_disk_speed_set(struct sim_disk *disk, const struct sim_disk_speed *speed);
void sim_disk_faults_set(struct sim_disk *disk, const struct sim_disk_faults *faults);
/* No faults, room, full speed. What is damaged stays damaged. */
void sim_disk_heal(struct sim_disk *disk);
/* Full: writes that need room answer NO_SPACE; false gives it room again. */
void sim_disk_full(struct sim_disk *disk, bool full);
/* Bytes of its files; 0 = no limit. */
void sim_disk_capacity(struct sim_disk *disk, uint64_t bytes);
/* All calls take this many times as long; 1 = as it was. */
void sim_disk_slow(struct sim_disk *disk, uint32_t factor);
/* Dead: every call answers IO until the disk is replaced. */
void sim_disk_kill(struct sim_disk *disk);
/* Another, empty disk in its place. The node must not be up. */
void sim_disk_replace(struct sim_disk *disk);
/* What is on it, and the same again later, in place of what is on it then: an older copy that was
 * put back. The node must not be up. */
struct sim_disk_copy;
struct sim_disk_copy *sim_disk_copy_new(struct sim_disk *disk);
void sim_disk_copy_free(struct sim_disk_copy **copy);
void sim_disk_put_back(struct sim_disk *disk, const struct sim_disk_copy *copy);
/* Flips a bit of a stored byte of some file whose name starts with prefix ("segments/", ""),
 * durably. Returns false if there is nothing stored. The name and offset are in the trace. */
bool sim_disk_flip(struct sim_disk *disk, const char *prefix);
struct sim_disk_counts {
    uint64_t reads, writes, syncs, metas, errors, flips, misdirected;
};
void sim_disk_counts(const struct sim_disk *disk, struct sim_disk_counts *ret);

/* For nodes.c. */
struct sim_disk *sim_disk_new(const char *path, struct sim_node *node);
void sim_disk_process_died(struct sim_disk *disk, bool power_lost);
void sim_disk_power_off_at(struct sim_disk *disk, uint64_t n);

#endif
