/* The names of the crash disk, twice: as the program sees them and as they are durable.
 *
 * Each change is made to the first and noted in a journal; syncing a folder plays the notes that
 * concern it onto the second; a crash plays a drawn choice of the rest, and what is durable then
 * becomes what the program sees. Used by crash_disk.c only.
 */
#ifndef TESTS_CRASH_NAMES_H
#define TESTS_CRASH_NAMES_H

#include "tests/support/crash_image.h"

enum { CRASH_NAME_ROOM = 408 };

/* A file or folder; lives as long as a name, a handle or a note refers to it. */
struct crash_inode {
    unsigned refs;
    uint64_t number;           /* its own on this disk, for ever; given with the first name */
    struct crash_image *image; /* NULL: a folder */
};

struct crash_name {
    char text[CRASH_NAME_ROOM];
    struct crash_inode *inode;
};
struct crash_name_list {
    struct crash_name *list;
    size_t count, capacity;
};
struct crash_note;

struct crash_names {
    struct crash_name_list seen, durable;
    struct crash_note *notes;
    size_t note_count, note_capacity;
    uint64_t last_number;
};

struct crash_inode *crash_inode_new(bool folder);
struct crash_inode *crash_inode_ref(struct crash_inode *inode);
void crash_inode_unref(struct crash_inode *inode); /* NULL is fine */

void crash_names_release(struct crash_names *names);
/* What the program sees under this name; NULL if there is nothing. */
struct crash_inode *crash_names_get(const struct crash_names *names, const char *text);
/* `from` loses its name, `to` gets the inode; either may be NULL. What is in a folder moves with
 * it. */
void crash_names_change(struct crash_names *names, const char *from, const char *to,
                        struct crash_inode *inode);
void crash_names_sync(struct crash_names *names, const char *folder);
/* Of names and of the content of all files. */
void crash_names_crash(struct crash_names *names, enum crash_fate fate,
                       const struct base_random *random);

/* The folder a name is in: its length, 0 for the disk's own. */
size_t crash_name_folder_size(const char *name);
bool crash_name_in_folder(const char *name, const char *folder);

#endif
