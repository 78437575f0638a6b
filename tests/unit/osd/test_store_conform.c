/* Aim: every fragment store gives the same answers. Method: one suite, run on the memory store, on
 * the segment store over the crash disk (index in memory) and on the segment store over a real
 * folder (index in RocksDB). */
#include "store_fixture.h"

#include <stdlib.h>

#include "base/banned.h"

static const uint32_t edge_sizes[] = {
    64,
    448,
    512,
    576,
    4032,
    4096,
    4160,
    16384,
    65472,
    65536,
    65600,
    98304,
    1 << 20,
    (1 << 20) - 64,
    (1 << 20) + 64,
    CODEC_FRAGMENT_MAX - 64,
    CODEC_FRAGMENT_MAX,
};
enum { EDGE_COUNT = sizeof edge_sizes / sizeof *edge_sizes };

static int setup_memory(void **state)
{
    *state = fixture_new(STORE_MEMORY, 1);
    fixture_open(*state);
    return 0;
}
static int setup_crash(void **state)
{
    *state = fixture_new(STORE_CRASH, 1);
    fixture_open(*state);
    return 0;
}
static int setup_posix(void **state)
{
    *state = fixture_new(STORE_POSIX, 1);
    fixture_open(*state);
    return 0;
}
static int teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

/* Whether a reopened store knows what was put before. */
static bool keeps(const struct fixture *fixture)
{
    return fixture->kind != STORE_MEMORY;
}

static void sizes_come_back(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t i = 0; i < EDGE_COUNT; i++)
        assert_int_equal(fixture_put(fixture, i, 0, edge_sizes[i]), LILIO_OK);
    for (uint32_t i = 0; i < EDGE_COUNT; i++)
        assert_int_equal(fixture_get(fixture, i, 0, edge_sizes[i], i % 2), LILIO_OK);
    assert_int_equal(fixture_space(fixture).fragment_count, EDGE_COUNT);
    if (!keeps(fixture))
        return;
    fixture_reopen(fixture);
    for (uint32_t i = 0; i < EDGE_COUNT; i++)
        assert_int_equal(fixture_get(fixture, i, 0, edge_sizes[i], true), LILIO_OK);
    assert_int_equal(fixture_space(fixture).fragment_count, EDGE_COUNT);
    assert_false(fixture_stats(fixture).incomplete);
}

/* All sizes in one batch, payloads at odd addresses and at page boundaries in turn. */
static void batch_of_all_sizes(void **state)
{
    struct fixture *fixture = *state;
    struct osd_put puts[EDGE_COUNT];
    uint8_t *memory[EDGE_COUNT];
    for (uint32_t i = 0; i < EDGE_COUNT; i++) {
        memory[i] = aligned_alloc(BASE_DISK_BLOCK, CODEC_FRAGMENT_MAX + BASE_DISK_BLOCK);
        assert_non_null(memory[i]);
        fixture_put_make(&puts[i], i, 3, edge_sizes[i], memory[i] + (i % 2 ? 8 : 0));
    }
    fixture->store->ops->put(fixture->store, puts, EDGE_COUNT);
    for (uint32_t i = 0; i < EDGE_COUNT; i++) {
        assert_int_equal(puts[i].ret_err, LILIO_OK);
        free(memory[i]);
    }
    if (keeps(fixture))
        fixture_reopen(fixture);
    for (uint32_t i = 0; i < EDGE_COUNT; i++)
        assert_int_equal(fixture_get(fixture, i, 3, edge_sizes[i], true), LILIO_OK);
}

static void ranges(void **state)
{
    struct fixture *fixture = *state;
    enum { LENGTH = 5 * CODEC_BLOCK + 640, ROOM = LENGTH + 3 * BASE_DISK_BLOCK };
    struct base_fragment_key key = fixture_key(0);
    struct osd_fragment found;
    uint8_t room[OSD_OBJECT_KEY_MAX], *payload;
    uint32_t size;
    assert_int_equal(fixture_put(fixture, 0, 0, LENGTH), LILIO_OK);
    const struct osd_store_ops *ops = fixture->store->ops;
    uint8_t *want = malloc(LENGTH);
    assert_non_null(want);
    memcpy(want, fixture->payload, LENGTH);
    for (uint32_t first = 0; first < 6; first++) {
        for (uint32_t count = 1; count < 8; count++) {
            uint32_t end =
                (first + count) * CODEC_BLOCK < LENGTH ? (first + count) * CODEC_BLOCK : LENGTH;
            assert_int_equal(ops->get(fixture->store, &key, first, count, count % 2,
                                      fixture->buffer, ROOM, &found, room, &payload, &size, NULL),
                             LILIO_OK);
            assert_int_equal(size, end - first * CODEC_BLOCK);
            assert_memory_equal(payload, want + first * CODEC_BLOCK, size);
        }
    }
    free(want);
    assert_int_equal(ops->get(fixture->store, &key, 6, 1, true, fixture->buffer, ROOM, &found, room,
                              &payload, &size, NULL),
                     LILIO_E_INVALID);
    assert_int_equal(ops->get(fixture->store, &key, 0, 0, true, fixture->buffer, ROOM, &found, room,
                              &payload, &size, NULL),
                     LILIO_E_INVALID);
    assert_int_equal(ops->get(fixture->store, &key, 0, 1, true, fixture->buffer, CODEC_BLOCK,
                              &found, room, &payload, &size, NULL),
                     LILIO_E_INVALID);
}

/* The room the contract asks for is enough, and not a byte beyond it is touched. */
static void room_is_enough(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t i = 0; i < EDGE_COUNT; i++) {
        struct base_fragment_key key = fixture_key(i);
        struct osd_fragment found;
        uint8_t key_room[OSD_OBJECT_KEY_MAX], *payload;
        uint32_t size;
        size_t room = (edge_sizes[i] + BASE_DISK_BLOCK - 1) / BASE_DISK_BLOCK * BASE_DISK_BLOCK +
                      BASE_DISK_BLOCK;
        assert_int_equal(fixture_put(fixture, i, 0, edge_sizes[i]), LILIO_OK);
        uint8_t *buffer = aligned_alloc(BASE_DISK_BLOCK, room); /* the sanitizer watches its end */
        assert_non_null(buffer);
        assert_int_equal(fixture->store->ops->get(fixture->store, &key, 0, CODEC_BLOCKS_MAX, true,
                                                  buffer, room, &found, key_room, &payload, &size,
                                                  NULL),
                         LILIO_OK);
        assert_memory_equal(payload, fixture->payload, edge_sizes[i]);
        assert_true(payload >= buffer && payload + size <= buffer + room);
        free(buffer);
    }
}

static void same_bytes_again_and_conflict(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(fixture_put(fixture, 1, 0, 65536), LILIO_OK);
    uint64_t puts = fixture_stats(fixture).put_count;
    assert_int_equal(fixture_put(fixture, 1, 0, 65536), LILIO_OK);
    assert_int_equal(fixture_stats(fixture).put_count, puts);
    assert_int_equal(fixture_put(fixture, 1, 1, 65536), LILIO_E_CONFLICT);
    assert_int_equal(fixture_put(fixture, 1, 0, 65472), LILIO_E_CONFLICT);
    assert_int_equal(fixture_get(fixture, 1, 0, 65536, true), LILIO_OK);
    assert_int_equal(fixture_remove(fixture, 1), LILIO_OK);
    assert_int_equal(fixture_put(fixture, 1, 1, 4096), LILIO_OK);
    assert_int_equal(fixture_get(fixture, 1, 1, 4096, true), LILIO_OK);
}

/* One batch with every outcome; the bad ones do not touch the good ones. */
static void mixed_batch(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = 8 };
    struct osd_put puts[COUNT];
    uint8_t *memory = malloc(COUNT * 8192);
    assert_non_null(memory);
    assert_int_equal(fixture_put(fixture, 10, 0, 4096), LILIO_OK);
    static const uint32_t numbers[COUNT] = {10, 10, 11, 11, 11, 12, 13, 14},
                          variants[COUNT] = {0, 1, 0, 0, 1, 0, 0, 0};
    for (int i = 0; i < COUNT; i++) {
        fixture_put_make(&puts[i], numbers[i], variants[i], 4096, memory + i * 8192);
    }
    puts[5].fragment.block_checksums[0] ^= 1;
    puts[6].fragment.block_count = 2;
    fixture->store->ops->put(fixture->store, puts, COUNT);
    static const enum lilio_err want[COUNT] = {LILIO_OK,        LILIO_E_CONFLICT, LILIO_OK,
                                               LILIO_OK,        LILIO_E_CONFLICT, LILIO_E_CORRUPT,
                                               LILIO_E_INVALID, LILIO_OK};
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(puts[i].ret_err, want[i]);
    free(memory);
    assert_int_equal(fixture_space(fixture).fragment_count, 3);
    assert_int_equal(fixture_get(fixture, 10, 0, 4096, true), LILIO_OK);
    assert_int_equal(fixture_get(fixture, 12, 0, 4096, true), LILIO_E_MISSING);
    assert_int_equal(fixture_get(fixture, 13, 0, 4096, true), LILIO_E_MISSING);
}

static void bad_puts(void **state)
{
    struct fixture *fixture = *state;
    struct osd_put good, bad, many[OSD_BATCH_MAX + 1];
    fixture_put_make(&good, 0, 0, 4096, fixture->payload);
#define REFUSED(change)                                    \
    do {                                                   \
        bad = good;                                        \
        change;                                            \
        fixture->store->ops->put(fixture->store, &bad, 1); \
        assert_int_equal(bad.ret_err, LILIO_E_INVALID);    \
    } while (0)
    REFUSED(bad.fragment.payload_length = 0);
    REFUSED(bad.fragment.payload_length = 4095);
    REFUSED(bad.fragment.payload_length = CODEC_FRAGMENT_MAX + 64);
    REFUSED(bad.fragment.payload_length = UINT32_MAX - 63);
    REFUSED(bad.fragment.block_count = 0);
    REFUSED(bad.fragment.block_count = UINT32_MAX);
    REFUSED(bad.fragment.object_key.size = OSD_OBJECT_KEY_MAX + 1);
    REFUSED(bad.fragment.key.index = 6);
    REFUSED(bad.fragment.profile.data_count = 0);
    REFUSED(bad.fragment.profile.fragment_size = 1 << 30);
    REFUSED(bad.payload = NULL);
    for (int i = 0; i <= OSD_BATCH_MAX; i++)
        many[i] = good;
    fixture->store->ops->put(fixture->store, many, OSD_BATCH_MAX + 1);
    assert_int_equal(many[0].ret_err, LILIO_E_INVALID);
    struct base_fragment_key keys[OSD_BATCH_MAX + 1] = {0};
    assert_int_equal(fixture->store->ops->remove(fixture->store, keys, OSD_BATCH_MAX + 1, NULL),
                     LILIO_E_INVALID);
    assert_int_equal(fixture_space(fixture).fragment_count, 0);
}

/* Many more batches than fit one write call, and a full batch of small ones. */
static void full_batches(void **state)
{
    struct fixture *fixture = *state;
    struct osd_put puts[OSD_BATCH_MAX];
    uint8_t *memory = aligned_alloc(BASE_DISK_BLOCK, OSD_BATCH_MAX * 69632);
    assert_non_null(memory);
    for (uint32_t round = 0; round < 3; round++) {
        uint32_t length = round == 0 ? 192 : round == 1 ? 65536 : 32768 + 64;
        for (uint32_t i = 0; i < OSD_BATCH_MAX; i++) {
            fixture_put_make(&puts[i], round * OSD_BATCH_MAX + i, 0, length,
                             memory + i * 69632 + round % 2 * 64);
        }
        fixture->store->ops->put(fixture->store, puts, OSD_BATCH_MAX);
        for (uint32_t i = 0; i < OSD_BATCH_MAX; i++)
            assert_int_equal(puts[i].ret_err, LILIO_OK);
        for (uint32_t i = 0; i < OSD_BATCH_MAX; i++) {
            struct osd_fragment found;
            uint8_t room[OSD_OBJECT_KEY_MAX], *payload;
            uint32_t size;
            assert_int_equal(fixture->store->ops->get(fixture->store, &puts[i].fragment.key, 0, 1,
                                                      true, fixture->buffer, CODEC_FRAGMENT_MAX,
                                                      &found, room, &payload, &size, NULL),
                             LILIO_OK);
            assert_memory_equal(payload, puts[i].payload, size);
        }
    }
    free(memory);
}

static void remove_and_find(void **state)
{
    struct fixture *fixture = *state;
    uint64_t mask;
    struct base_fragment_key key = fixture_key(0);
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(fixture_put(fixture, i, 0, 4096), LILIO_OK);
    const struct osd_store_ops *ops = fixture->store->ops;
    assert_int_equal(
        ops->find(fixture->store, key.placement, key.partition, key.oid, key.stripe, &mask, NULL),
        LILIO_OK);
    assert_int_equal(mask, 0x3f);
    struct base_fragment_key gone[4] = {fixture_key(2), fixture_key(4), fixture_key(2),
                                        fixture_key(500)};
    assert_int_equal(ops->remove(fixture->store, gone, 4, NULL), LILIO_OK);
    assert_int_equal(fixture_stats(fixture).delete_count, 2);
    assert_int_equal(
        ops->find(fixture->store, key.placement, key.partition, key.oid, key.stripe, &mask, NULL),
        LILIO_OK);
    assert_int_equal(mask, 0x2b);
    assert_int_equal(ops->find(fixture->store, 9, 9, key.oid, key.stripe, &mask, NULL), LILIO_OK);
    assert_int_equal(mask, 0);
    assert_int_equal(fixture_get(fixture, 2, 0, 4096, true), LILIO_E_MISSING);
    assert_int_equal(ops->remove(fixture->store, gone, 4, NULL), LILIO_OK);
    if (keeps(fixture)) {
        fixture_reopen(fixture);
        assert_int_equal(fixture_get(fixture, 2, 0, 4096, true), LILIO_E_MISSING);
        assert_int_equal(fixture_get(fixture, 3, 0, 4096, true), LILIO_OK);
    }
    assert_int_equal(fixture_space(fixture).fragment_count, 10);
}

static int order(const struct base_fragment_key *a, const struct base_fragment_key *b)
{
    const uint64_t x[] = {a->placement, a->partition, a->oid.high,  a->oid.low,
                          a->stripe,    a->index,     a->generation};
    const uint64_t y[] = {b->placement, b->partition, b->oid.high,  b->oid.low,
                          b->stripe,    b->index,     b->generation};
    for (int i = 0; i < 7; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

static void list_in_order(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = 100 };
    struct base_fragment_key page[7], last = {0};
    size_t count, seen = 0;
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(fixture_put(fixture, i * 37 % COUNT, 0, 64), LILIO_OK);
    const struct osd_store_ops *ops = fixture->store->ops;
    do {
        assert_int_equal(ops->list(fixture->store, seen ? &last : NULL, page, 7, &count, NULL),
                         LILIO_OK);
        for (size_t i = 0; i < count; i++, seen++) {
            assert_true(seen == 0 || order(&last, &page[i]) < 0);
            last = page[i];
        }
    } while (count == 7);
    assert_int_equal(seen, COUNT);
    assert_int_equal(ops->list(fixture->store, &last, page, 7, &count, NULL), LILIO_OK);
    assert_int_equal(count, 0);
    assert_int_equal(ops->list(fixture->store, NULL, page, 0, &count, NULL), LILIO_OK);
    assert_int_equal(count, 0);
}

static void stat_describes(void **state)
{
    struct fixture *fixture = *state;
    struct base_fragment_key key = fixture_key(6);
    struct osd_fragment found;
    uint8_t room[OSD_OBJECT_KEY_MAX];
    assert_int_equal(fixture_put(fixture, 6, 0, 131072), LILIO_OK);
    assert_int_equal(fixture->store->ops->stat(fixture->store, &key, &found, room, NULL), LILIO_OK);
    assert_int_equal(found.object_key.size, OSD_OBJECT_KEY_MAX);
    assert_ptr_equal(found.object_key.data, room);
    assert_int_equal(room[OSD_OBJECT_KEY_MAX - 1], 'g');
    assert_int_equal(found.block_count, 2);
    uint32_t length = 0, checksum = 0;
    assert_int_equal(fixture->store->ops->look(fixture->store, &key, &length, &checksum, NULL),
                     LILIO_OK);
    assert_int_equal(length, 131072);
    assert_int_equal(checksum, codec_fragment_checksum(found.block_checksums, found.block_count));
    key.generation = 1;
    assert_int_equal(fixture->store->ops->look(fixture->store, &key, &length, &checksum, NULL),
                     LILIO_E_MISSING);
    assert_int_equal(fixture->store->ops->stat(fixture->store, &key, &found, room, NULL),
                     LILIO_E_MISSING);
    assert_int_equal(fixture->store->ops->health(fixture->store), LILIO_OK);
    assert_int_equal(fixture->store->ops->set_complete(fixture->store, NULL), LILIO_OK);
}

#define ON(setup, test)                                    \
    {                                                      \
#test " (" #setup ")", test, setup, teardown, NULL \
    }
#define ON_ALL(test) ON(setup_memory, test), ON(setup_crash, test), ON(setup_posix, test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(sizes_come_back), ON_ALL(batch_of_all_sizes), ON_ALL(ranges),
        ON_ALL(room_is_enough),  ON_ALL(mixed_batch),        ON_ALL(same_bytes_again_and_conflict),
        ON_ALL(bad_puts),        ON_ALL(full_batches),       ON_ALL(remove_and_find),
        ON_ALL(list_in_order),   ON_ALL(stat_describes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
