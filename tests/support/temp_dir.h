/* A folder of one's own for a test that needs real files. Any thread. */
#ifndef TESTS_TEMP_DIR_H
#define TESTS_TEMP_DIR_H

/* Below $TMPDIR (or /tmp), under a fresh name; the caller owns the text. Never NULL: a test cannot
 * go on without. */
char *temp_dir_new(void);
/* Removes the folder with everything in it and frees the name. */
void temp_dir_free(char *path);
/* "path/name" in a buffer that lives until the fourth next call of the same thread. */
const char *temp_dir_path(const char *path, const char *name);

#endif
