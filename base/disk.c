#include "base/disk.h"

#include "base/banned.h"

#define RESERVE_LEAST       (UINT64_C(64) << 20)
#define RESERVE_LEAST_SMALL (UINT64_C(8) << 20)
#define SMALL_FILESYSTEM    (UINT64_C(512) << 20)
enum { NAME_PART_MAX = 200 };

/* One path component: not empty, not "." or "..", of bounded length. */
static bool part_valid(const char *part, size_t size)
{
    bool dots = (size == 1 && part[0] == '.') || (size == 2 && part[0] == '.' && part[1] == '.');
    return size > 0 && size <= NAME_PART_MAX && !dots;
}

bool base_disk_name_valid(const char *name)
{
    const char *slash = strchr(name, '/');
    if (!slash)
        return part_valid(name, strlen(name));
    return part_valid(name, (size_t)(slash - name)) && !strchr(slash + 1, '/') &&
           part_valid(slash + 1, strlen(slash + 1));
}

bool base_disk_number_parse(const char *name, const char *suffix, uint64_t *ret_number)
{
    uint64_t number = 0;
    for (int i = 0; i < BASE_NUMBER_DIGITS; i++) {
        char c = name[i];
        bool digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= 'f';
        if (!digit && !letter)
            return false;
        number = number << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    *ret_number = number;
    return strcmp(name + BASE_NUMBER_DIGITS, suffix) == 0 && number > 0 && number < UINT64_MAX;
}

uint64_t base_disk_reserve_bytes(uint64_t total_bytes)
{
    bool small = total_bytes < SMALL_FILESYSTEM;
    uint64_t least = small ? RESERVE_LEAST_SMALL : RESERVE_LEAST;
    uint64_t share = small ? total_bytes / 8 : total_bytes / 100;
    return share > least ? share : least;
}

bool base_disk_io_aligned(const struct iovec *vectors, int count, uint64_t offset)
{
    if (offset % BASE_DISK_BLOCK)
        return false;
    for (int i = 0; i < count; i++)
        if ((uintptr_t)vectors[i].iov_base % BASE_DISK_BLOCK ||
            vectors[i].iov_len % BASE_DISK_BLOCK)
            return false;
    return true;
}

void base_disk_free(struct base_disk **disk)
{
    if (*disk)
        (*disk)->ops->free(*disk);
    *disk = NULL;
}

void base_file_close(struct base_file **file)
{
    if (*file)
        (*file)->ops->close(*file);
    *file = NULL;
}
