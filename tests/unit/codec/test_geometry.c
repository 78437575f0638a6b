/* Aim: every byte of an extent lies where the format says, and a range is walked exactly once, in
 * order, in the largest pieces, with the blocks that cover them. Method: a model that lays the
 * bytes one by one (stripe after stripe, fragment after fragment, fragment sizes found by counting
 * up) for lengths and ranges around every boundary; plain counting for all lengths; the far end of
 * 64 bits. */
#include "codec/codec.h"
#include "tests/unit/codec/cmocka_all.h"
#include "tests/unit/codec/reference.h"

#include <stdlib.h>

#include "base/banned.h"

struct place {
    uint32_t stripe, index, offset;
};
struct model {
    struct codec_profile profile;
    uint64_t length, stripe_count;
    struct place *byte;
};

static uint64_t width_of(const struct codec_profile *profile)
{
    return (uint64_t)profile->data_count * profile->fragment_size;
}

static struct model model_new(const struct codec_profile *profile, uint64_t length)
{
    struct model model = {.profile = *profile, .length = length};
    model.byte = calloc(length + 1, sizeof *model.byte);
    assert_non_null(model.byte);
    for (uint64_t at = 0; at < length; model.stripe_count++) {
        uint64_t rest = length - at, width = width_of(profile);
        uint32_t size = reference_fragment_size(profile->data_count, rest < width ? rest : width);
        struct place place = {.stripe = (uint32_t)model.stripe_count};
        for (uint64_t i = 0; i < width && at < length; i++) {
            model.byte[at++] = place;
            if (++place.offset == size)
                place.offset = 0, place.index++;
        }
    }
    return model;
}

static bool same_fragment(struct place a, struct place b)
{
    return a.stripe == b.stripe && a.index == b.index;
}

/* Consecutive bytes of one fragment have consecutive offsets in the model, so a piece is right if
 * both its ends are, and it is the largest possible if the next byte is elsewhere or not wanted. */
static void check_piece(const struct model *model, const struct codec_piece *piece, uint64_t first,
                        uint64_t wanted_end)
{
    uint64_t last = first + piece->length - 1;
    struct place start = model->byte[first], end = model->byte[last];
    assert_true(piece->length > 0 && last < wanted_end);
    assert_int_equal(piece->stripe, start.stripe);
    assert_int_equal(piece->index, start.index);
    assert_int_equal(piece->offset, start.offset);
    assert_true(same_fragment(start, end));
    assert_int_equal(piece->offset + piece->length - 1, end.offset);
    if (last + 1 < wanted_end)
        assert_false(same_fragment(end, model->byte[last + 1]));
    assert_int_equal(piece->first_block, start.offset / 65536);
    assert_int_equal(piece->first_block + piece->block_count - 1, end.offset / 65536);
    assert_true(piece->index < model->profile.data_count);
}

static void check_range(const struct model *model, uint64_t offset, uint64_t length)
{
    uint64_t exists = offset < model->length ? model->length - offset : 0;
    uint64_t wanted = length < exists ? length : exists;
    uint64_t cursor = 0, done = 0;
    struct codec_piece piece, untouched;
    while (codec_range_next(&model->profile, model->length, offset, length, &cursor, &piece)) {
        assert_int_equal(piece.position, done);
        check_piece(model, &piece, offset + done, offset + wanted);
        done += piece.length;
    }
    assert_int_equal(done, wanted);
    memset(&piece, 0x3c, sizeof piece);
    untouched = piece;
    assert_false(codec_range_next(&model->profile, model->length, offset, length, &cursor, &piece));
    assert_memory_equal(&piece, &untouched, sizeof piece);
}

static void check_stripes(const struct model *model)
{
    const struct codec_profile *profile = &model->profile;
    uint64_t total = 0;
    assert_int_equal(codec_stripe_count(profile, model->length), model->stripe_count);
    for (uint64_t stripe = 0; stripe < model->stripe_count; stripe++) {
        uint64_t length = codec_stripe_length(profile, model->length, stripe);
        bool is_last = stripe + 1 == model->stripe_count;
        assert_true(is_last ? length > 0 && length <= width_of(profile)
                            : length == width_of(profile));
        assert_int_equal(codec_fragment_size(profile, length),
                         reference_fragment_size(profile->data_count, length));
        total += length;
    }
    assert_int_equal(total, model->length);
    assert_int_equal(codec_stripe_length(profile, model->length, model->stripe_count), 0);
    assert_int_equal(codec_stripe_length(profile, model->length, UINT64_MAX), 0);
}

/* Lengths, and first bytes of ranges, at which something changes. Returns how many; those above
 * limit are left out. */
static size_t boundaries(const struct codec_profile *profile, uint64_t limit, uint64_t ret[64])
{
    const uint64_t size = profile->fragment_size, width = width_of(profile);
    const uint64_t edges[] = {0,
                              64,
                              64 * (uint64_t)profile->data_count,
                              65536,
                              131072,
                              size,
                              2 * size,
                              width - size,
                              width,
                              width + 64,
                              width + size,
                              width + 65536,
                              2 * width,
                              2 * width + 64 * (uint64_t)profile->data_count};
    size_t count = 0;
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
        for (int step = -1; step <= 1; step++) {
            if ((edges[i] == 0 && step < 0) || edges[i] + (uint64_t)step > limit)
                continue;
            ret[count++] = edges[i] + (uint64_t)step;
        }
    return count;
}

static void test_model_at_the_boundaries(void **state)
{
    (void)state;
    static const uint32_t profiles[][2] = {{1, 4096},  {2, 4096},  {3, 8192},   {4, 4096},
                                           {12, 4096}, {32, 4096}, {2, 262144}, {3, 131072}};
    for (size_t p = 0; p < sizeof profiles / sizeof profiles[0]; p++) {
        struct codec_profile profile = reference_profile(profiles[p][0], 2, profiles[p][1]);
        uint64_t lengths[64], points[64];
        size_t length_count = boundaries(&profile, UINT64_MAX, lengths);
        assert_true(length_count > 30);
        for (size_t i = 0; i < length_count; i++) {
            struct model model = model_new(&profile, lengths[i]);
            size_t point_count = boundaries(&profile, lengths[i] + 1, points);
            check_stripes(&model);
            for (size_t a = 0; a < point_count; a++)
                for (size_t b = 0; b < point_count; b++) {
                    check_range(&model, points[a], points[b]);
                    if (points[a] <= lengths[i] && points[b] <= lengths[i] - points[a])
                        check_range(&model, lengths[i] - points[a] - points[b], points[b]);
                }
            check_range(&model, 0, UINT64_MAX);
            check_range(&model, lengths[i] / 2, UINT64_MAX);
            check_range(&model, UINT64_MAX, UINT64_MAX);
            free(model.byte);
        }
    }
}

static void test_every_length_of_two_stripes(void **state)
{
    (void)state;
    static const uint32_t data_counts[] = {1, 2, 3, 4, 5};
    for (size_t p = 0; p < sizeof data_counts / sizeof data_counts[0]; p++) {
        struct codec_profile profile = reference_profile(data_counts[p], 1, 4096);
        uint64_t width = width_of(&profile);
        for (uint64_t length = 1; length <= 2 * width + 1; length++) {
            uint64_t last = length;
            uint64_t count = 1;
            while (last > width)
                last -= width, count++;
            assert_int_equal(codec_stripe_count(&profile, length), count);
            assert_int_equal(codec_stripe_length(&profile, length, count - 1), last);
            assert_int_equal(codec_fragment_size(&profile, last),
                             reference_fragment_size(data_counts[p], last));
        }
    }
}

static void test_every_range_of_a_short_extent(void **state)
{
    (void)state;
    struct codec_profile profile = reference_profile(3, 2, 4096);
    struct model model = model_new(&profile, 3 * 64 + 7);
    for (uint64_t offset = 0; offset <= model.length; offset++)
        for (uint64_t length = 0; length <= model.length + 1; length++)
            check_range(&model, offset, length);
    free(model.byte);
}

static void test_the_far_end_of_64_bits(void **state)
{
    (void)state;
    struct codec_profile profile = reference_profile(32, 16, CODEC_FRAGMENT_MAX);
    uint64_t width = width_of(&profile), cursor = 0;
    struct codec_piece piece;
    assert_int_equal(codec_stripe_count(&profile, UINT64_MAX), UINT64_MAX / width + 1);
    assert_int_equal(codec_stripe_length(&profile, UINT64_MAX, UINT64_MAX / width), width - 1);
    assert_int_equal(codec_fragment_size(&profile, UINT64_MAX), CODEC_FRAGMENT_MAX);
    assert_int_equal(codec_fragment_size(&profile, 0), 0);
    assert_true(
        codec_range_next(&profile, UINT64_MAX, UINT64_MAX - 1, UINT64_MAX, &cursor, &piece));
    assert_int_equal(piece.stripe, UINT64_MAX / width);
    assert_int_equal(piece.index, 31);
    assert_int_equal(piece.offset, CODEC_FRAGMENT_MAX - 2);
    assert_int_equal(piece.length, 1);
    assert_int_equal(piece.first_block, CODEC_BLOCKS_MAX - 1);
    assert_int_equal(piece.block_count, 1);
    assert_false(
        codec_range_next(&profile, UINT64_MAX, UINT64_MAX - 1, UINT64_MAX, &cursor, &piece));
    cursor = UINT64_MAX;
    assert_false(codec_range_next(&profile, UINT64_MAX, 0, UINT64_MAX, &cursor, &piece));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_at_the_boundaries),
        cmocka_unit_test(test_every_length_of_two_stripes),
        cmocka_unit_test(test_every_range_of_a_short_extent),
        cmocka_unit_test(test_the_far_end_of_64_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
