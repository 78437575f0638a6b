#include "store_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

enum { BUFFER_BYTES = CODEC_FRAGMENT_MAX + 2 * BASE_DISK_BLOCK };

uint64_t fixture_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t now_ns(void *context)
{
    return ((struct fixture *)context)->now_ns;
}

struct fixture *fixture_new(enum store_kind kind, uint64_t seed)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->kind = kind;
    fixture->random_state = seed;
    fixture->clock = (struct base_clock){.monotonic_ns = now_ns, .context = fixture};
    fixture->random = base_random_seeded(&fixture->random_state);
    fixture->payload = aligned_alloc(BASE_DISK_BLOCK, BUFFER_BYTES);
    fixture->buffer = aligned_alloc(BASE_DISK_BLOCK, BUFFER_BYTES);
    assert_non_null(fixture->payload);
    assert_non_null(fixture->buffer);
    if (kind == STORE_CRASH)
        assert_int_equal(crash_disk_new(seed, &fixture->disk), LILIO_OK);
    if (kind == STORE_POSIX) {
        fixture->dir = temp_dir_new();
        assert_int_equal(base_disk_posix_new(fixture->dir, &fixture->disk, NULL), LILIO_OK);
        fixture->index_path = strdup(temp_dir_path(fixture->dir, "index"));
    }
    fixture->options = (struct osd_store_options){
        .disk = fixture->disk,
        .index_path = fixture->index_path,
        .cluster_id = {{1, 2, 3}},
        .disk_uuid = {{4, 5, 6}},
        .reserve_bytes = 64 * 1024,
        .clock = &fixture->clock,
        .random = &fixture->random,
    };
    return fixture;
}

void fixture_free(struct fixture *fixture)
{
    fixture_close(fixture);
    if (fixture->kind == STORE_CRASH)
        assert_int_equal(crash_disk_misuse_count(fixture->disk), 0);
    base_disk_free(&fixture->disk);
    if (fixture->dir)
        temp_dir_free(fixture->dir);
    free(fixture->index_path);
    free(fixture->payload);
    free(fixture->buffer);
    free(fixture);
}

enum lilio_err fixture_try_open(struct fixture *fixture)
{
    if (fixture->kind == STORE_MEMORY)
        return osd_memory_store_new(&fixture->store);
    return osd_segment_store_open(&fixture->options, &fixture->store, NULL);
}

void fixture_open(struct fixture *fixture)
{
    struct lilio_errinfo info = {0};
    enum lilio_err err = fixture->kind == STORE_MEMORY
                             ? osd_memory_store_new(&fixture->store)
                             : osd_segment_store_open(&fixture->options, &fixture->store, &info);
    if (err)
        fail_msg("open: %s", info.text);
}

void fixture_close(struct fixture *fixture)
{
    osd_store_free(&fixture->store);
}

void fixture_reopen(struct fixture *fixture)
{
    fixture_close(fixture);
    fixture_open(fixture);
}

struct base_fragment_key fixture_key(uint32_t number)
{
    return (struct base_fragment_key){
        .placement = 1,
        .partition = number / 6 % 5,
        .oid = base_oid_make(0, 7, number / 24),
        .stripe = number / 6 % 4,
        .index = number % 6,
    };
}

static void fill(uint32_t number, uint32_t variant, uint8_t *ret, uint32_t length)
{
    uint64_t state = (uint64_t)number << 32 | variant;
    for (uint32_t at = 0; at < length; at += 8) {
        uint64_t word = fixture_random(&state);
        memcpy(ret + at, &word, 8);
    }
}

/* Keys of many lengths, so that headers have many lengths. */
static struct base_slice object_key(uint32_t number)
{
    enum { TEXTS = 256 };
    static char texts[TEXTS][OSD_OBJECT_KEY_MAX];
    char *text = texts[number % TEXTS];
    size_t size = number % 7 == 6 ? OSD_OBJECT_KEY_MAX : (size_t)(number * 13) % 90;
    memset(text, 'a' + (int)(number % TEXTS % 26), size);
    return base_slice(text, size);
}

static void describe(struct osd_fragment *ret, uint32_t number, uint32_t length)
{
    *ret = (struct osd_fragment){
        .key = fixture_key(number),
        .bucket_id = 1000 + number,
        .object_key = object_key(number),
        .profile = {4, 2, CODEC_FRAGMENT_MAX, CODEC_CAUCHY1},
        .stripe_length = 4 * (uint64_t)length - 3,
        .payload_length = length,
        .block_count = codec_block_count(length),
    };
}

void fixture_put_make(struct osd_put *put, uint32_t number, uint32_t variant, uint32_t length,
                      uint8_t *payload)
{
    fill(number, variant, payload, length);
    *put = (struct osd_put){.payload = payload, .ret_err = LILIO_E_INTERNAL};
    describe(&put->fragment, number, length);
    codec_block_checksums(payload, length, put->fragment.block_checksums);
}

enum lilio_err fixture_put(struct fixture *fixture, uint32_t number, uint32_t variant,
                           uint32_t length)
{
    struct osd_put put;
    fixture_put_make(&put, number, variant, length, fixture->payload);
    fixture->store->ops->put(fixture->store, &put, 1);
    return put.ret_err;
}

enum lilio_err fixture_remove(struct fixture *fixture, uint32_t number)
{
    struct base_fragment_key key = fixture_key(number);
    return fixture->store->ops->remove(fixture->store, &key, 1, NULL);
}

static void check_description(const struct osd_fragment *found, uint32_t number, uint32_t length)
{
    struct osd_fragment want;
    describe(&want, number, length);
    assert_memory_equal(&found->key, &want.key, sizeof want.key);
    assert_int_equal(found->bucket_id, want.bucket_id);
    assert_true(base_slice_equal(found->object_key, want.object_key));
    assert_memory_equal(&found->profile, &want.profile, sizeof want.profile);
    assert_int_equal(found->stripe_length, want.stripe_length);
    assert_int_equal(found->payload_length, want.payload_length);
    assert_int_equal(found->block_count, want.block_count);
}

enum lilio_err fixture_get(struct fixture *fixture, uint32_t number, uint32_t variant,
                           uint32_t length, bool verify)
{
    struct base_fragment_key key = fixture_key(number);
    struct osd_fragment found;
    uint8_t key_room[OSD_OBJECT_KEY_MAX], *payload;
    uint32_t size, checksums[CODEC_BLOCKS_MAX];
    enum lilio_err err =
        fixture->store->ops->get(fixture->store, &key, 0, CODEC_BLOCKS_MAX, verify, fixture->buffer,
                                 BUFFER_BYTES, &found, key_room, &payload, &size, NULL);
    if (err) {
        assert_true(err == LILIO_E_MISSING || err == LILIO_E_CORRUPT || err == LILIO_E_IO);
        return err;
    }
    check_description(&found, number, length);
    assert_int_equal(size, length);
    fill(number, variant, fixture->payload, length);
    codec_block_checksums(fixture->payload, length, checksums);
    assert_memory_equal(found.block_checksums, checksums,
                        codec_block_count(length) * sizeof *checksums);
    /* Without verify the payload is the reader's to check, against the checksums that were just
     * found right. */
    if (memcmp(payload, fixture->payload, length) != 0) {
        assert_false(verify);
        return LILIO_E_CORRUPT;
    }
    return LILIO_OK;
}

void fixture_tick(struct fixture *fixture, unsigned seconds)
{
    bool more = true;
    fixture->now_ns += seconds * UINT64_C(1000000000);
    for (int i = 0; more; i++) {
        assert_true(i < 10000); /* it must come to an end */
        assert_int_equal(fixture->store->ops->tick(fixture->store, &more, NULL), LILIO_OK);
    }
}

struct osd_store_stats fixture_stats(struct fixture *fixture)
{
    struct osd_store_stats stats;
    fixture->store->ops->stats(fixture->store, &stats);
    return stats;
}

struct osd_store_space fixture_space(struct fixture *fixture)
{
    struct osd_store_space space;
    fixture->store->ops->space(fixture->store, &space);
    return space;
}
