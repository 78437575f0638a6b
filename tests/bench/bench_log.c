/* What the log of a coordinator costs over the bare disk: the same bytes in the same batches, once
 * as direct writes of whole blocks into a file that was zeroed before, one sync each (the log of a
 * commit without bookkeeping), once through raft_log_append and raft_log_write; alternating, so
 * that the disk's moods hit both. Each batch is one entry of 64 commands of 200 bytes, or as said.
 * Not part of the tests.
 *
 *     bench_log DIR [ENTRY_BYTES [SECONDS [ROUNDS]]]
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "coordinator/raft/log.h"

#include "base/banned.h"

enum { ENTRY_BYTES = 64 * 200, ZEROED = 256 << 20, STEP = 1 << 20, KEEP = 2000 };

struct bench {
    struct base_disk *disk;
    struct base_file *plain;
    uint64_t plain_at;
    struct raft_log *log;
    uint64_t index;
    uint8_t *entry; /* room for whole blocks */
    size_t size, blocks;
    double seconds;
};

static void must(enum lilio_err err, const struct lilio_errinfo *info)
{
    if (!err)
        return;
    (void)fprintf(stderr, "%s\n", info->text);
    exit(1);
}

static double now_s(void)
{
    return (double)base_now_ns(base_clock_system()) / 1e9;
}

static void open_plain(struct bench *bench)
{
    struct lilio_errinfo info = {0};
    uint8_t *zeros = aligned_alloc(BASE_DISK_BLOCK, STEP);
    if (!zeros)
        exit(1);
    memset(zeros, 0, STEP);
    must(bench->disk->ops->open(bench->disk, "plain", BASE_OPEN_CREATE | BASE_OPEN_DIRECT,
                                &bench->plain, &info),
         &info);
    for (uint64_t at = 0; at < ZEROED; at += STEP)
        must(bench->plain->ops->write(bench->plain, &(struct iovec){zeros, STEP}, 1, at, &info),
             &info);
    must(bench->plain->ops->sync(bench->plain, &info), &info);
    free(zeros);
}

static void write_plain(struct bench *bench)
{
    struct lilio_errinfo info = {0};
    if (bench->plain_at + bench->blocks > ZEROED)
        bench->plain_at = 0;
    must(bench->plain->ops->write(bench->plain, &(struct iovec){bench->entry, bench->blocks}, 1,
                                  bench->plain_at, &info),
         &info);
    must(bench->plain->ops->sync(bench->plain, &info), &info);
    bench->plain_at += bench->blocks;
}

static void write_log(struct bench *bench)
{
    struct lilio_errinfo info = {0};
    const struct raft_entry entry = {.index = ++bench->index,
                                     .term = 1,
                                     .type = RAFT_ENTRY_COMMANDS,
                                     .data = base_slice(bench->entry, bench->size)};
    must(raft_log_append(bench->log, &entry, 1, &info), &info);
    must(raft_log_write(bench->log, &info), &info);
    if (bench->index > KEEP && bench->index % 64 == 0)
        raft_log_cut(bench->log, bench->index - KEEP);
}

static double run(struct bench *bench, const char *name, void (*one)(struct bench *))
{
    double start = now_s(), took = 0, worst = 0, last = start;
    uint64_t count = 0;
    while (took < bench->seconds) {
        one(bench);
        double now = now_s();
        worst = now - last > worst ? now - last : worst;
        last = now;
        took = now - start;
        count++;
    }
    double rate = (double)count / took;
    printf("%s: %.0f syncs/s, %.1f MB/s, worst %.1f ms\n", name, rate,
           rate * (double)bench->size / 1e6, worst * 1e3);
    return rate;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_log DIR [ENTRY_BYTES [SECONDS [ROUNDS]]]\n");
        return 2;
    }
    struct lilio_errinfo info = {0};
    struct raft_log_recovery recovery;
    struct bench bench = {.size = argc > 2 ? strtoul(argv[2], NULL, 10) : ENTRY_BYTES,
                          .seconds = argc > 3 ? strtod(argv[3], NULL) : 2};
    unsigned long rounds = argc > 4 ? strtoul(argv[4], NULL, 10) : 3;
    bench.blocks = (bench.size + BASE_DISK_BLOCK) / BASE_DISK_BLOCK * BASE_DISK_BLOCK;
    bench.entry = aligned_alloc(BASE_DISK_BLOCK, bench.blocks);
    if (!bench.entry || bench.size == 0 || bench.size > 1 << 20)
        return 2;
    memset(bench.entry, 'v', bench.blocks);
    must(base_disk_posix_new(argv[1], &bench.disk, &info), &info);
    open_plain(&bench);
    const struct raft_log_options options = {
        .disk = bench.disk, .cluster_id = {{1}}, .member = 1, .create = true};
    double start = now_s();
    must(raft_log_open(&options, &bench.log, &recovery, &info), &info);
    printf("making the log took %.0f ms\n", (now_s() - start) * 1e3);
    for (unsigned long i = 0; i < rounds; i++) {
        double plain = run(&bench, "plain", write_plain), log = run(&bench, "log", write_log);
        printf("round %lu: ratio %.2f\n", i + 1, log / plain);
    }
    raft_log_free(&bench.log);
    base_file_close(&bench.plain);
    base_disk_free(&bench.disk);
    free(bench.entry);
    return 0;
}
