#include "tools/processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/cmd.h"

#include "base/banned.h"

enum { COMMAND_LINE_MAX = 16384 };

/* ---- words ---- */

/* The word behind this one, or NULL. */
static const char *word_after(const char *word, const char *end)
{
    const char *next = word + strlen(word) + 1;
    return next < end ? next : NULL;
}

static bool is_program(const char *word, const char *name)
{
    const char *slash = strrchr(word, '/');
    return strcmp(slash ? slash + 1 : word, name) == 0;
}

/* The value of option "--long" or "-s" if word is that option: in the word or behind it. */
static const char *value_of(const char *word, const char *end, const char *name, char letter)
{
    size_t size = strlen(name);
    if (strncmp(word, name, size) == 0 && word[size] == '=')
        return word + size + 1;
    if (strcmp(word, name) == 0)
        return word_after(word, end);
    if (word[0] == '-' && word[1] == letter)
        return word[2] ? word + 2 : word_after(word, end);
    return NULL;
}

bool tools_process_parse(const char *text, size_t size, struct tools_process *ret,
                         const char **ret_config)
{
    const char *end = text + size, *word = text, *config = NULL, *id = NULL;
    if (size == 0 || text[size - 1] != '\0')
        return false;
    bool coordinator = is_program(text, "lilio-coordinator");
    if (!coordinator && !is_program(text, "lilio-osd"))
        return false;
    while ((word = word_after(word, end)) != NULL) {
        const char *value = value_of(word, end, "--config", 'c');
        config = value ? value : config;
        value = value_of(word, end, "--id", 'i');
        id = value ? value : id;
    }
    uint64_t number;
    if (!config || !id || tools_parse_number(id, "an id", 0, 1023, &number, NULL) != LILIO_OK)
        return false;
    ret->is_coordinator = coordinator;
    ret->id = (uint32_t)number;
    *ret_config = config;
    return true;
}

/* ---- processes ---- */

/* Is this the same file? A relative path is relative to where the process stands. */
static bool is_config(int pid, const char *config, const char *config_path)
{
    struct stat theirs, ours;
    char folder[64];
    (void)snprintf(folder, sizeof folder, "/proc/%d/cwd", pid);
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool same = fstatat(fd >= 0 ? fd : AT_FDCWD, config, &theirs, 0) == 0 &&
                (fd >= 0 || config[0] == '/') && stat(config_path, &ours) == 0 &&
                theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
    if (fd >= 0)
        close(fd);
    return same;
}

bool tools_process_look(int pid, const char *config_path, struct tools_process *ret)
{
    char path[64], text[COMMAND_LINE_MAX];
    const char *config;
    (void)snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, text, sizeof text);
    close(fd);
    struct tools_process process = {.pid = pid};
    if (size <= 0 || !tools_process_parse(text, (size_t)size, &process, &config) ||
        !is_config(pid, config, config_path))
        return false;
    *ret = process;
    return true;
}

enum lilio_err tools_processes_list(const char *config_path, struct tools_process **ret,
                                    size_t *ret_count, struct lilio_errinfo *info)
{
    struct tools_process *list = NULL, found;
    size_t count = 0;
    DIR *listing = opendir("/proc");
    if (!listing)
        return lilio_fail(info, LILIO_E_IO, "cannot read /proc: %s", strerror(errno));
    for (struct dirent *entry; (entry = readdir(listing));) {
        int pid = (int)strtol(entry->d_name, NULL, 10); /* 0 for what is no process */
        if (pid <= 0 || !tools_process_look(pid, config_path, &found))
            continue;
        struct tools_process *larger = reallocarray(list, count + 1, sizeof *list);
        if (!larger) {
            free(list);
            closedir(listing);
            return tools_no_memory(info);
        }
        list = larger;
        list[count++] = found;
    }
    closedir(listing);
    *ret = list;
    *ret_count = count;
    return LILIO_OK;
}
