/* What the fragment store costs over the bare disk: the same payloads in the same batches once as
 * plain direct writes with one sync a batch, once through osd_store_ops.put; alternating, so that
 * the disk's moods hit both. Not part of the tests.
 *
 *     bench_store DIR [FRAGMENT_KIB [BATCH [MIB [ROUNDS]]]]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/resource.h>

#include "osd/store.h"

#include "base/banned.h"

enum { ROUNDS_MAX = 31 };

struct bench {
    struct base_disk *disk;
    struct osd_store *store;
    size_t fragment, batch, batches;
    uint8_t *payload[OSD_BATCH_MAX];
    struct osd_put puts[OSD_BATCH_MAX];
    uint64_t counter;
};

static void must(enum lilio_err err, const char *what)
{
    if (!err)
        return;
    fprintf(stderr, "%s: %s\n", what, lilio_err_text(err));
    exit(1);
}

static double now_s(void)
{
    return (double)base_now_ns(base_clock_system()) / 1e9;
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void prepare(struct bench *bench)
{
    uint64_t seed = 1;
    struct base_random random = base_random_seeded(&seed);
    for (size_t i = 0; i < bench->batch; i++) {
        struct osd_fragment *fragment = &bench->puts[i].fragment;
        bench->payload[i] = aligned_alloc(BASE_DISK_BLOCK, bench->fragment);
        if (!bench->payload[i])
            must(LILIO_E_NOMEM, "payload");
        random.fill(random.context, bench->payload[i], bench->fragment);
        bench->puts[i].payload = bench->payload[i];
        fragment->profile = (struct codec_profile){4, 2, CODEC_FRAGMENT_MAX, CODEC_CAUCHY1};
        fragment->object_key = base_slice_str("bench/object");
        fragment->payload_length = (uint32_t)bench->fragment;
        fragment->block_count = codec_block_count((uint32_t)bench->fragment);
        codec_block_checksums(bench->payload[i], (uint32_t)bench->fragment,
                              fragment->block_checksums);
    }
}

static void run_plain(struct bench *bench)
{
    struct iovec vectors[OSD_BATCH_MAX];
    struct base_file *file;
    must(bench->disk->ops->open(bench->disk, "plain", BASE_OPEN_CREATE | BASE_OPEN_DIRECT, &file,
                                NULL),
         "open");
    for (size_t i = 0; i < bench->batch; i++)
        vectors[i] = (struct iovec){bench->payload[i], bench->fragment};
    for (size_t i = 0; i < bench->batches; i++) {
        must(file->ops->write(file, vectors, (int)bench->batch, i * bench->batch * bench->fragment,
                              NULL),
             "write");
        must(file->ops->sync(file, NULL), "sync");
    }
    base_file_close(&file);
    must(bench->disk->ops->unlink(bench->disk, "plain", NULL), "unlink");
}

static void run_store(struct bench *bench)
{
    for (size_t i = 0; i < bench->batches; i++) {
        for (size_t j = 0; j < bench->batch; j++)
            bench->puts[j].fragment.key.oid.low = ++bench->counter;
        bench->store->ops->put(bench->store, bench->puts, bench->batch);
        for (size_t j = 0; j < bench->batch; j++)
            must(bench->puts[j].ret_err, "put");
    }
}

/* Empties the store between rounds; not measured. */
static void empty_store(struct bench *bench)
{
    struct base_fragment_key keys[OSD_BATCH_MAX];
    size_t count;
    bool more = true;
    do {
        must(bench->store->ops->list(bench->store, NULL, keys, OSD_BATCH_MAX, &count, NULL),
             "list");
        must(bench->store->ops->remove(bench->store, keys, count, NULL), "remove");
    } while (count);
    while (more)
        must(bench->store->ops->tick(bench->store, &more, NULL), "tick");
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t number(char **argv, int argc, int at, size_t otherwise)
{
    return argc > at ? strtoull(argv[at], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    double ratios[ROUNDS_MAX];
    char index_path[4096];
    if (argc < 2) {
        fprintf(stderr, "usage: %s DIR [FRAGMENT_KIB [BATCH [MIB [ROUNDS]]]]\n", argv[0]);
        return 2;
    }
    bench.fragment = number(argv, argc, 2, 1024) * 1024;
    bench.batch = number(argv, argc, 3, 8);
    size_t bytes = number(argv, argc, 4, 512) << 20, rounds = number(argv, argc, 5, 5);
    if (bench.fragment == 0 || bench.fragment > CODEC_FRAGMENT_MAX ||
        bench.fragment % BASE_DISK_BLOCK || bench.batch == 0 || bench.batch > OSD_BATCH_MAX ||
        rounds == 0 || rounds > ROUNDS_MAX)
        must(LILIO_E_INVALID, "arguments");
    bench.batches = bytes / (bench.batch * bench.fragment);
    prepare(&bench);
    must(base_disk_posix_new(argv[1], &bench.disk, NULL), argv[1]);
    (void)snprintf(index_path, sizeof index_path, "%s/index", argv[1]);
    struct osd_store_options options = {
        .disk = bench.disk, .index_path = index_path, .cluster_id = {{1}}, .disk_uuid = {{2}}};
    must(osd_segment_store_open(&options, &bench.store, NULL), "open store");
    for (size_t i = 0; i < rounds; i++) {
        double size = (double)(bench.batches * bench.batch * bench.fragment);
        double start = now_s(), cpu = cpu_s();
        run_plain(&bench);
        double plain = now_s() - start, plain_cpu = cpu_s() - cpu;
        start = now_s(), cpu = cpu_s();
        run_store(&bench);
        double store = now_s() - start, store_cpu = cpu_s() - cpu;
        empty_store(&bench);
        ratios[i] = plain / store;
        printf("plain %7.1f MB/s %.3f CPU s/GB   store %7.1f MB/s %.3f CPU s/GB   ratio %.3f\n",
               size / plain / 1e6, plain_cpu / size * 1e9, size / store / 1e6,
               store_cpu / size * 1e9, ratios[i]);
    }
    qsort(ratios, rounds, sizeof *ratios, compare);
    printf("%zu KiB x %zu per batch: median ratio %.3f\n", bench.fragment / 1024, bench.batch,
           ratios[rounds / 2]);
    osd_store_free(&bench.store);
    base_disk_free(&bench.disk);
    for (size_t i = 0; i < bench.batch; i++)
        free(bench.payload[i]);
    return 0;
}
