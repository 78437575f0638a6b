/* Runs a fuzz target without libFuzzer: every file of the corpus folder, then seeded mutations of
 * them (bytes flipped, cut, doubled), then random bytes. The same inputs each time. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20, MUTATIONS = 200, RANDOM_INPUTS = 500 };

static uint64_t state = 1;

static uint64_t next(void)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* An exact-size copy, so that a read beyond the end is seen by the sanitizers. */
static void feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        exit(1);
    memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void mutate(const uint8_t *data, size_t size)
{
    static uint8_t copy[INPUT_MAX];
    memcpy(copy, data, size);
    for (uint64_t i = next() % 4 + 1; i > 0 && size > 0; i--) {
        switch (next() % 4) {
        case 0: copy[next() % size] ^= (uint8_t)(1u << next() % 8); break;
        case 1: copy[next() % size] = (uint8_t)next(); break;
        case 2: size = next() % (size + 1); break;
        default: {
            size_t from = next() % size, length = next() % (size - from) + 1;
            if (size + length <= INPUT_MAX) {
                memmove(copy + from + length, copy + from, size - from);
                size += length;
            }
        }
        }
    }
    feed(copy, size);
}

int main(int argc, char **argv)
{
    static uint8_t data[INPUT_MAX];
    size_t inputs = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
        return 2;
    }
    DIR *folder = opendir(argv[1]);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[4096];
        (void)snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!file)
            continue;
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        feed(data, size);
        for (int i = 0; i < MUTATIONS; i++)
            mutate(data, size);
        inputs += MUTATIONS + 1;
    }
    if (folder)
        closedir(folder);
    if (inputs == 0) {
        fprintf(stderr, "%s: no corpus\n", argv[1]);
        return 1;
    }
    for (int i = 0; i < RANDOM_INPUTS; i++) {
        size_t size = next() % 512;
        for (size_t j = 0; j < size; j++)
            data[j] = (uint8_t)next();
        feed(data, size);
    }
    printf("%zu inputs\n", inputs + RANDOM_INPUTS);
    return 0;
}
