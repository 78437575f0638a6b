#include "tests/support/temp_dir.h"

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"

#include "base/banned.h"

char *temp_dir_new(void)
{
    const char *parent = getenv("TMPDIR");
    char *path;
    int size = asprintf(&path, "%s/lilio-test-XXXXXX", parent && *parent ? parent : "/tmp");
    LILIO_ASSERT(size > 0);
    const char *made = mkdtemp(path);
    LILIO_ASSERT(made);
    return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void temp_dir_free(char *path)
{
    int rc = nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    LILIO_ASSERT(rc == 0);
    free(path);
}

const char *temp_dir_path(const char *path, const char *name)
{
    static _Thread_local char texts[4][PATH_MAX];
    static _Thread_local unsigned turn;
    char *text = texts[turn++ % 4];
    int size = snprintf(text, PATH_MAX, "%s/%s", path, name);
    LILIO_ASSERT(size > 0 && size < PATH_MAX);
    return text;
}
