/* Opening a log whose file holds anything: it may be refused, never crash, never read beyond what
 * is there; what is accepted can be read, appended to, and opened again.
 *
 * The file is a good one of a few batches, with pieces of the input laid over it: raw bytes at a
 * block, or a header, mark or batch whose fields are the input's under a checksum that holds.
 *   piece: kind 1, block 1, size 1 (times 16), bytes */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "codec/codec.h"
#include "coordinator/raft/log_format.h"
#include "tests/support/crash_disk.h"

#define CHECK(what)                               \
    do {                                          \
        if (!(what)) {                            \
            (void)fprintf(stderr, "%s\n", #what); \
            abort();                              \
        }                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NAME "log/0000000000000001.log"
enum { BLOCKS = 16, PIECES_MAX = 8, READ_MAX = 64, BODY_AT = 48 };

static const struct base_uuid cluster = {{1}};

static enum lilio_err open_log(struct base_disk *disk, bool create, struct raft_log **ret)
{
    static uint64_t state = 1;
    state = 1; /* the same nonce each time */
    const struct base_random random = base_random_seeded(&state);
    const struct raft_log_options options = {.disk = disk,
                                             .cluster_id = cluster,
                                             .member = 1,
                                             .create = create,
                                             .segment_bytes = 128 << 10,
                                             .cache_bytes = 1,
                                             .random = &random};
    struct raft_log_recovery recovery;
    return raft_log_open(&options, ret, &recovery, NULL);
}

static void use(struct raft_log *log)
{
    struct raft_log_view view = raft_log_view(log);
    uint64_t first = view.first(view.context), last = view.last(view.context), term;
    CHECK(first <= last + 1);
    CHECK(view.term(view.context, first - 1, &term) == LILIO_OK);
    for (uint64_t index = first; index <= last;) {
        struct raft_entry entries[READ_MAX];
        size_t count = 0, bytes = 0;
        CHECK(view.read(view.context, index, READ_MAX, 1 << 20, entries, &count) == LILIO_OK);
        CHECK(count > 0);
        for (size_t i = 0; i < count; i++, index++) {
            CHECK(entries[i].index == index);
            CHECK(view.term(view.context, index, &term) == LILIO_OK && term == entries[i].term);
            for (size_t j = 0; j < entries[i].data.size; j++)
                bytes += entries[i].data.data[j];
        }
        CHECK(bytes < SIZE_MAX);
    }
    if (last == UINT64_MAX - 1)
        return;
    const struct raft_entry next = {.index = last + 1, .term = 9, .type = 1};
    CHECK(raft_log_append(log, &next, 1, NULL) == LILIO_OK);
    enum lilio_err err = raft_log_write(log, NULL);
    CHECK(err == LILIO_OK || err == LILIO_E_TOO_BIG); /* the numbers of batches are used up */
}

static void make_good(struct base_disk *disk)
{
    struct raft_log *log = NULL;
    CHECK(open_log(disk, true, &log) == LILIO_OK);
    for (uint64_t i = 1; i <= 3; i++) {
        const struct raft_entry entry = {
            .index = i, .term = 1, .type = 2, .data = base_slice("content", 7)};
        CHECK(raft_log_append(log, &entry, 1, NULL) == LILIO_OK);
        CHECK(raft_log_write(log, NULL) == LILIO_OK);
    }
    raft_log_free(&log);
}

/* The fields of a piece; what is missing is 0. */
static uint64_t field(const uint8_t *bytes, size_t size, size_t at)
{
    uint8_t room[8] = {0};
    if (at < size)
        memcpy(room, bytes + at, size - at < 8 ? size - at : 8);
    return base_le64_get(room);
}

static size_t lay_batch(uint8_t *to, size_t room, uint64_t offset, uint64_t nonce,
                        const uint8_t *bytes, size_t size)
{
    size_t body = size > BODY_AT ? size - BODY_AT : 0;
    if (LOG_BATCH_HEADER + body > room)
        body = room - LOG_BATCH_HEADER;
    struct log_batch_header header = {
        .sequence = 1,
        .nonce = nonce,
        .number = field(bytes, size, 0),
        .first = field(bytes, size, 8),
        .previous_term = field(bytes, size, 16),
        .count = (uint32_t)field(bytes, size, 24),
        .length = bytes[0] & 0x80 ? (uint32_t)field(bytes, size, 32) : (uint32_t)body,
    };
    if (body)
        memcpy(to + LOG_BATCH_HEADER, bytes + BODY_AT, body);
    header.body_checksum = codec_crc32c(0, to + LOG_BATCH_HEADER, body);
    log_batch_encode(&header, offset, to);
    return LOG_BATCH_HEADER + body;
}

static void lay_piece(struct base_file *file, uint64_t nonce, const uint8_t *piece, size_t size)
{
    static uint8_t room[2 * LOG_BLOCK];
    uint64_t offset = (uint64_t)(piece[1] % BLOCKS) * LOG_BLOCK;
    const uint8_t *bytes = piece + 3;
    size_t used = size;
    memset(room, 0, sizeof room);
    if (piece[0] % 4 == 0 || size == 0) {
        memcpy(room, bytes, size);
    } else if (piece[0] % 4 == 1) {
        used = lay_batch(room, sizeof room, offset, nonce, bytes, size);
    } else if (piece[0] % 4 == 2) {
        const struct log_mark mark = {1, nonce, field(bytes, size, 0)};
        log_mark_encode(&mark, room);
        used = LOG_BLOCK;
    } else {
        const struct log_header header = {.owner = {cluster, 1},
                                          .sequence = 1,
                                          .nonce = nonce,
                                          .reset = bytes[0] & 1,
                                          .base_index = field(bytes, size, 0),
                                          .base_term = field(bytes, size, 8),
                                          .number = field(bytes, size, 16)};
        log_header_encode(&header, room);
        used = LOG_BLOCK;
    }
    CHECK(file->ops->write(file, &(struct iovec){room, used}, 1, offset, NULL) == LILIO_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct base_disk *disk = NULL;
    struct base_file *file = NULL;
    struct raft_log *log = NULL;
    uint64_t state = 1;
    const struct base_random random = base_random_seeded(&state);
    uint64_t nonce = base_random_u64(&random);
    CHECK(crash_disk_new(1, &disk) == LILIO_OK);
    make_good(disk);
    CHECK(disk->ops->open(disk, NAME, 0, &file, NULL) == LILIO_OK);
    for (int i = 0; i < PIECES_MAX && size >= 4; i++) {
        size_t part = (size_t)data[2] * 16 + 1;
        if (part > size - 3)
            part = size - 3;
        lay_piece(file, nonce, data, part);
        data += 3 + part;
        size -= 3 + part;
    }
    base_file_close(&file);
    for (int i = 0; i < 2; i++) {
        enum lilio_err err = open_log(disk, false, &log);
        CHECK(i == 0 || !err);
        if (err)
            break;
        use(log);
        raft_log_free(&log);
    }
    CHECK(crash_disk_misuse_count(disk) == 0);
    base_disk_free(&disk);
    return 0;
}
