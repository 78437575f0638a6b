/* What serving, pulling and installing a state have in common. */
#ifndef COORDINATOR_SNAPSHOT_H
#define COORDINATOR_SNAPSHOT_H

#include "base/disk.h"

enum {
    COORD_SNAPSHOT_FILES_MAX = 8192,
    COORD_SNAPSHOT_NAME_MAX = 64,
    COORD_SNAPSHOT_CHUNK_MAX = 1 << 20,
};

/* Where a state stands. */
struct coord_position {
    uint64_t index, term; /* applied */
    uint64_t config_index;
};
/* Opens the maps at path, reads where they stand, and closes them. Errors: NOT_FOUND, CORRUPT, IO,
 * FORMAT, NOMEM. */
LILIO_MUST_USE enum lilio_err coord_position_read(const char *path, struct coord_position *ret,
                                                  struct lilio_errinfo *info);

struct coord_maps_check {
    /* Told of each row how many bytes it has; false: stop. */
    bool (*step)(void *context, size_t bytes);
    void *context;
};
/* The same, and reads every row of every column through: whatever does not match its checksum is
 * found. Memory is that of an open store. Errors: as above, CANCELLED. */
LILIO_MUST_USE enum lilio_err coord_maps_check(const char *path,
                                               const struct coord_maps_check *check,
                                               struct coord_position *ret,
                                               struct lilio_errinfo *info);

/* The names of the files in a folder, without an order. */
struct coord_names {
    char (*list)[COORD_SNAPSHOT_NAME_MAX + 1];
    size_t count, room;
    enum lilio_err err; /* of collecting */
};
/* Errors: NOT_FOUND, IO, NOMEM, TOO_BIG (too many, or a name that is too long). */
LILIO_MUST_USE enum lilio_err coord_names_collect(struct base_disk *disk, const char *folder,
                                                  struct coord_names *ret,
                                                  struct lilio_errinfo *info);
void coord_names_release(struct coord_names *names);
/* "folder/name"; false if that is no name for a file (too long, "..", '/'). */
bool coord_names_join(const char *folder, const char *name, char *ret_path, size_t room);
/* Removes a folder and what is in it, durably; OK if there is none. Errors: IO. */
LILIO_MUST_USE enum lilio_err coord_folder_remove(struct base_disk *disk, const char *folder,
                                                  struct lilio_errinfo *info);

#endif
