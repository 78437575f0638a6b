/* Aim: the parts of the codec fit together: an object cut into stripes, encoded, robbed of
 * fragments and decoded gives back any range of its bytes. Method: what a put and a get do, in
 * memory, for lengths around every boundary and for each profile's worst losses drawn from a fixed
 * seed; ranges are compared with the object's own bytes and every fetched block with its checksum.
 */
#include "codec/codec.h"
#include "tests/unit/codec/cmocka_all.h"
#include "tests/unit/codec/reference.h"

#include <stdlib.h>

#include "base/banned.h"

enum { STRIPES_MAX = 4, BLOCKS_MAX = 4, FRAGMENT_SIZE = 3 * 65536 + 4096 };

struct object {
    struct codec_profile profile;
    struct codec_coder *coder;
    uint64_t length;
    uint8_t *bytes;
    struct reference_fragments stripe[STRIPES_MAX];
    uint32_t checksums[STRIPES_MAX][CODEC_TOTAL_MAX][BLOCKS_MAX];
};

/* Data fragment i holds the stripe's bytes from i x size on, and zeros behind the end. */
static void split(const uint8_t *bytes, uint64_t length, uint32_t data_count,
                  struct reference_fragments *ret)
{
    for (uint32_t i = 0; i < data_count; i++) {
        uint64_t start = (uint64_t)i * ret->size;
        uint64_t rest = start < length ? length - start : 0;
        size_t filled = rest < ret->size ? (size_t)rest : ret->size;
        memset(ret->at[i], 0, ret->size);
        if (filled > 0)
            memcpy(ret->at[i], bytes + start, filled);
    }
}

static void object_put(struct object *object, uint64_t length, uint64_t *random)
{
    const struct codec_profile *profile = &object->profile;
    uint64_t done = 0, stripe_count = codec_stripe_count(profile, length);
    assert_true(stripe_count <= STRIPES_MAX);
    object->length = length;
    object->bytes = malloc(length + 1);
    assert_non_null(object->bytes);
    reference_random_fill(random, object->bytes, length);
    for (uint64_t s = 0; s < stripe_count; s++) {
        uint64_t stripe_length = codec_stripe_length(profile, length, s);
        uint32_t size = codec_fragment_size(profile, stripe_length);
        struct reference_fragments *stripe = &object->stripe[s];
        uint32_t *checksum[CODEC_TOTAL_MAX];
        *stripe = reference_fragments_new(codec_profile_total(profile), size);
        split(object->bytes + done, stripe_length, profile->data_count, stripe);
        for (uint32_t i = 0; i < stripe->count; i++)
            checksum[i] = object->checksums[s][i];
        codec_encode_checksum(object->coder, size, stripe->at, stripe->at + profile->data_count,
                              checksum);
        assert_true(reference_fragments_intact(stripe));
        done += stripe_length;
    }
    assert_int_equal(done, length);
}

static void object_clear(struct object *object)
{
    for (uint32_t s = 0; s < STRIPES_MAX; s++)
        reference_fragments_free(&object->stripe[s]);
    free(object->bytes);
    object->bytes = NULL;
}

/* Takes parity_count fragments from a stripe, at random, and makes them again in their place. */
static void lose_and_rebuild(struct object *object, struct reference_fragments *stripe,
                             uint64_t *random, struct codec_plan *plan)
{
    uint8_t *source[CODEC_TOTAL_MAX], *target[CODEC_TOTAL_MAX];
    uint64_t all = ((uint64_t)1 << stripe->count) - 1, lost = 0;
    while (__builtin_popcountll(lost) < (int)object->profile.parity_count)
        lost |= (uint64_t)1 << reference_random(random) % stripe->count;
    assert_int_equal(codec_plan_make(object->coder, all & ~lost, lost, plan, NULL), LILIO_OK);
    for (uint32_t i = 0; i < plan->source_count; i++)
        source[i] = stripe->at[plan->source[i]];
    for (uint32_t i = 0; i < plan->target_count; i++) {
        target[i] = stripe->at[plan->target[i]];
        memset(target[i], 0xdd, stripe->size);
    }
    codec_plan_run(plan, stripe->size, source, target);
}

static void check_all_checksums(const struct object *object)
{
    for (uint32_t s = 0; s < STRIPES_MAX; s++)
        for (uint32_t i = 0; i < object->stripe[s].count; i++) {
            uint32_t got[BLOCKS_MAX], size = object->stripe[s].size;
            codec_block_checksums(object->stripe[s].at[i], size, got);
            assert_memory_equal(got, object->checksums[s][i], 4 * codec_block_count(size));
        }
}

static void check_range(const struct object *object, uint64_t offset, uint64_t length)
{
    struct codec_piece piece;
    uint64_t cursor = 0, got = 0;
    while (codec_range_next(&object->profile, object->length, offset, length, &cursor, &piece)) {
        const uint8_t *fragment = object->stripe[piece.stripe].at[piece.index];
        assert_int_equal(piece.position, got);
        assert_memory_equal(fragment + piece.offset, object->bytes + offset + got, piece.length);
        got += piece.length;
    }
    assert_int_equal(got, length);
}

static void check_object(struct object *object, uint64_t length, uint64_t *random,
                         struct codec_plan *plan)
{
    object_put(object, length, random);
    for (uint32_t s = 0; s < STRIPES_MAX; s++)
        if (object->stripe[s].count > 0)
            lose_and_rebuild(object, &object->stripe[s], random, plan);
    check_all_checksums(object);
    check_range(object, 0, length);
    for (int i = 0; i < 20 && length > 0; i++) {
        uint64_t offset = reference_random(random) % length;
        check_range(object, offset, 1 + reference_random(random) % (length - offset));
    }
    object_clear(object);
}

static void test_objects_come_back(void **state)
{
    (void)state;
    static const uint32_t profiles[][2] = {{1, 0}, {1, 2}, {2, 1}, {3, 2}, {4, 2}};
    uint64_t random = 77;
    struct codec_plan *plan = malloc(sizeof *plan);
    struct object *object = calloc(1, sizeof *object);
    assert_non_null(plan);
    assert_non_null(object);
    for (size_t p = 0; p < sizeof profiles / sizeof profiles[0]; p++) {
        object->profile = reference_profile(profiles[p][0], profiles[p][1], FRAGMENT_SIZE);
        assert_int_equal(codec_coder_new(&object->profile, &object->coder, NULL), LILIO_OK);
        uint64_t width = (uint64_t)profiles[p][0] * FRAGMENT_SIZE;
        const uint64_t edges[] = {0,        64, 65536, FRAGMENT_SIZE, width, width + FRAGMENT_SIZE,
                                  2 * width};
        for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
            for (int step = -1; step <= 1; step++)
                if (edges[i] > 0 || step >= 0)
                    check_object(object, edges[i] + (uint64_t)step, &random, plan);
        codec_coder_free(&object->coder);
    }
    free(object);
    free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
