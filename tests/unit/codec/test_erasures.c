/* Aim: of every shipped profile, every pattern of lost fragments that can be survived is survived,
 * data and parity, and every pattern with one more is refused. Method: stripes whose parity comes
 * from the reference; all masks are gone through and counted against the binomial sums. */
#include "codec/codec.h"
#include "tests/unit/codec/cmocka_all.h"
#include "tests/unit/codec/reference.h"

#include <stdlib.h>

#include "base/banned.h"

struct stripe {
    struct codec_profile profile;
    struct codec_coder *coder;
    struct reference_fragments good, rebuilt;
};

static struct stripe stripe_new(const char *text, uint32_t size, uint64_t seed)
{
    struct stripe stripe;
    assert_int_equal(codec_profile_parse(text, &stripe.profile, NULL), LILIO_OK);
    assert_int_equal(codec_coder_new(&stripe.profile, &stripe.coder, NULL), LILIO_OK);
    stripe.good = reference_fragments_new(codec_profile_total(&stripe.profile), size);
    stripe.rebuilt = reference_fragments_new(stripe.profile.parity_count, size);
    for (uint32_t i = 0; i < stripe.profile.data_count; i++)
        reference_random_fill(&seed, stripe.good.at[i], size);
    reference_encode(stripe.profile.data_count, stripe.profile.parity_count, size, stripe.good.at);
    return stripe;
}

static void stripe_free(struct stripe *stripe)
{
    reference_fragments_free(&stripe->good);
    reference_fragments_free(&stripe->rebuilt);
    codec_coder_free(&stripe->coder);
}

static uint64_t all_of(const struct stripe *stripe)
{
    return ((uint64_t)1 << codec_profile_total(&stripe->profile)) - 1;
}

/* Indexes ascending and drawn from mask, count of them. */
static void check_indexes(const uint8_t *index, uint32_t count, uint64_t mask)
{
    for (uint32_t i = 0; i < count; i++) {
        assert_true(mask >> index[i] & 1);
        assert_true(i == 0 || index[i - 1] < index[i]);
    }
}

static void check_rebuild(struct stripe *stripe, uint64_t have, uint64_t wanted,
                          struct codec_plan *plan)
{
    uint8_t *source[CODEC_TOTAL_MAX];
    uint32_t size = stripe->good.size;
    assert_int_equal(codec_plan_make(stripe->coder, have, wanted, plan, NULL), LILIO_OK);
    assert_int_equal(plan->source_count, stripe->profile.data_count);
    assert_int_equal(plan->target_count, __builtin_popcountll(wanted));
    check_indexes(plan->source, plan->source_count, have);
    check_indexes(plan->target, plan->target_count, wanted);
    for (uint32_t i = 0; i < plan->source_count; i++)
        source[i] = stripe->good.at[plan->source[i]];
    for (uint32_t i = 0; i < plan->target_count; i++)
        memset(stripe->rebuilt.at[i], 0xee, size);
    codec_plan_run(plan, size, source, stripe->rebuilt.at);
    for (uint32_t i = 0; i < plan->target_count; i++)
        assert_memory_equal(stripe->rebuilt.at[i], stripe->good.at[plan->target[i]], size);
    assert_true(reference_fragments_intact(&stripe->rebuilt));
    assert_true(reference_fragments_intact(&stripe->good));
}

static uint32_t survive_every_pattern(struct stripe *stripe, struct codec_plan *plan)
{
    uint64_t all = all_of(stripe);
    uint64_t data = ((uint64_t)1 << stripe->profile.data_count) - 1;
    uint32_t count = 0;
    for (uint64_t lost = 1; lost <= all; lost++) {
        if (__builtin_popcountll(lost) > (int)stripe->profile.parity_count)
            continue;
        assert_true(codec_can_decode(stripe->coder, all & ~lost));
        check_rebuild(stripe, all & ~lost, lost, plan);
        check_rebuild(stripe, all & ~lost, lost & data, plan);
        check_rebuild(stripe, all & ~lost, lost & ~data, plan);
        count++;
    }
    return count;
}

static void refuse_every_larger_pattern(struct stripe *stripe, struct codec_plan *plan)
{
    uint64_t all = all_of(stripe);
    struct codec_plan *before = malloc(sizeof *before);
    assert_non_null(before);
    memcpy(before, plan, sizeof *before);
    for (uint64_t lost = 1; lost <= all; lost++) {
        struct lilio_errinfo info = {0};
        if (__builtin_popcountll(lost) != (int)stripe->profile.parity_count + 1)
            continue;
        assert_false(codec_can_decode(stripe->coder, all & ~lost));
        assert_int_equal(codec_plan_make(stripe->coder, all & ~lost, lost, plan, &info),
                         LILIO_E_LOST);
        assert_non_null(strstr(info.text, "needed"));
        assert_memory_equal(plan, before, sizeof *plan);
    }
    free(before);
}

static void test_every_pattern_of_every_shipped_profile(void **state)
{
    (void)state;
    static const uint32_t pattern_count[REFERENCE_SHIPPED_COUNT] = {3,   15,  21,   129,
                                                                    231, 793, 1470, 2516};
    struct codec_plan *plan = calloc(1, sizeof *plan);
    assert_non_null(plan);
    for (size_t i = 0; i < REFERENCE_SHIPPED_COUNT; i++) {
        struct stripe stripe = stripe_new(reference_shipped[i], 64 * (uint32_t)(1 + i), 100 + i);
        assert_int_equal(survive_every_pattern(&stripe, plan), pattern_count[i]);
        refuse_every_larger_pattern(&stripe, plan);
        stripe_free(&stripe);
    }
    free(plan);
}

/* ISA-L has other inner loops for long buffers and for each remainder: the same for 4+2 at many
 * sizes. */
static void test_every_pattern_at_many_sizes(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {64,   128,  192,  256,  448,   512,
                                     1024, 4032, 4096, 4160, 65536, 131136};
    struct codec_plan *plan = calloc(1, sizeof *plan);
    assert_non_null(plan);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct stripe stripe = stripe_new("4+2", sizes[i], 200 + i);
        assert_int_equal(survive_every_pattern(&stripe, plan), 21);
        stripe_free(&stripe);
    }
    free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pattern_of_every_shipped_profile),
        cmocka_unit_test(test_every_pattern_at_many_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
