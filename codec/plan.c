/* From "these fragments are there" to the coefficients that make the others.
 *
 *   1. Walk the fragments that are there in ascending order (so data first) and keep each one whose
 * generator row is independent of those kept so far, until data_count are kept. Fewer: the stripe
 * is lost. With cauchy1 and copy1 any data_count rows are independent; the walk does not rely on
 * it, so generators with local parity fit in.
 *   2. Invert the matrix S of the kept rows: data = S^-1 * sources. The inverse is multiplied back
 * and must give the identity, since a wrong one would turn into wrong bytes without any other sign.
 *   3. Fragment t is generator row t times data, so its coefficients over the sources are row t *
 * S^-1. For a data fragment that is a row of the inverse, for parity it saves making the data
 * first.
 */
#include "codec/codec.h"
#include "codec/coder_priv.h"

#include "base/banned.h"

/* Rows in echelon form: echelon[c] has its first non-zero coefficient, a 1, in column c. */
struct row_space {
    uint32_t width, rank;
    bool taken[CODEC_DATA_MAX];
    uint8_t echelon[CODEC_DATA_MAX][CODEC_DATA_MAX];
};

/* row += factor * other, in the columns from first on */
static void add_multiple(uint8_t *row, uint8_t factor, const uint8_t *other, uint32_t first,
                         uint32_t width)
{
    for (uint32_t j = first; j < width; j++)
        row[j] ^= codec_isal_multiply(factor, other[j]);
}

/* True if the row is independent of those added before, which it joins. */
static bool row_space_add(struct row_space *space, const uint8_t *row)
{
    uint8_t rest[CODEC_DATA_MAX];
    memcpy(rest, row, space->width);
    for (uint32_t c = 0; c < space->width; c++) {
        if (rest[c] == 0)
            continue;
        if (space->taken[c]) {
            add_multiple(rest, rest[c], space->echelon[c], c, space->width);
            continue;
        }
        space->taken[c] = true;
        memset(space->echelon[c], 0, space->width);
        add_multiple(space->echelon[c], codec_isal_inverse(rest[c]), rest, c, space->width);
        space->rank++;
        return true;
    }
    return false;
}

/* Independent fragments out of have, at most data_count of them, ascending; returns how many. */
static uint32_t choose_sources(const struct codec_coder *coder, uint64_t have, uint8_t *ret_source)
{
    struct row_space space = {.width = coder->profile.data_count};
    uint32_t total_count = codec_profile_total(&coder->profile);
    for (uint32_t i = 0; i < total_count && space.rank < space.width; i++)
        if ((have >> i & 1) && row_space_add(&space, codec_coder_row(coder, i)))
            ret_source[space.rank - 1] = (uint8_t)i;
    return space.rank;
}

bool codec_can_decode(const struct codec_coder *coder, uint64_t have)
{
    uint8_t source[CODEC_DATA_MAX];
    return choose_sources(coder, have, source) == coder->profile.data_count;
}

/* ret_row = row * matrix, where matrix is width x width */
static void multiply_row(uint32_t width, const uint8_t *row, const uint8_t *matrix,
                         uint8_t *ret_row)
{
    memset(ret_row, 0, width);
    for (uint32_t i = 0; i < width; i++)
        if (row[i] != 0)
            add_multiple(ret_row, row[i], matrix + (size_t)i * width, 0, width);
}

/* The inverse of the matrix of the sources' rows; false if there is none or it does not prove
 * right. */
static bool invert_sources(const struct codec_coder *coder, const uint8_t *source,
                           uint8_t *ret_inverse)
{
    uint32_t width = coder->profile.data_count;
    uint8_t matrix[CODEC_DATA_MAX * CODEC_DATA_MAX];
    for (uint32_t i = 0; i < width; i++)
        memcpy(matrix + (size_t)i * width, codec_coder_row(coder, source[i]), width);
    if (!codec_isal_invert(width, matrix, ret_inverse))
        return false;
    for (uint32_t i = 0; i < width; i++) {
        uint8_t product[CODEC_DATA_MAX];
        multiply_row(width, codec_coder_row(coder, source[i]), ret_inverse, product);
        for (uint32_t j = 0; j < width; j++)
            if (product[j] != (i == j))
                return false;
    }
    return true;
}

static enum lilio_err check_masks(const struct codec_coder *coder, uint64_t have, uint64_t wanted,
                                  struct lilio_errinfo *info)
{
    uint64_t all = ((uint64_t)1 << codec_profile_total(&coder->profile)) - 1;
    if (((have | wanted) & ~all) != 0)
        return lilio_fail(info, LILIO_E_INVALID, "the profile has no fragment above index %u",
                          codec_profile_total(&coder->profile) - 1);
    if ((have & wanted) != 0)
        return lilio_fail(info, LILIO_E_INVALID, "a fragment is both there and wanted");
    return LILIO_OK;
}

enum lilio_err codec_plan_make(const struct codec_coder *coder, uint64_t have, uint64_t wanted,
                               struct codec_plan *ret_plan, struct lilio_errinfo *info)
{
    uint32_t width = coder->profile.data_count;
    uint32_t total_count = codec_profile_total(&coder->profile);
    uint8_t source[CODEC_DATA_MAX];
    uint8_t inverse[CODEC_DATA_MAX * CODEC_DATA_MAX];
    uint8_t coefficients[CODEC_PARITY_MAX * CODEC_DATA_MAX];

    enum lilio_err err = check_masks(coder, have, wanted, info);
    if (err != LILIO_OK)
        return err;
    uint32_t rank = choose_sources(coder, have, source);
    if (rank < width)
        return lilio_fail(info, LILIO_E_LOST, "%d fragments are there, %u independent, %u needed",
                          __builtin_popcountll(have), rank, width);
    if (!invert_sources(coder, source, inverse))
        return lilio_fail(info, LILIO_E_SINGULAR, "the decoding matrix of %u+%u was not inverted",
                          width, coder->profile.parity_count);

    /* have holds data_count fragments or more and wanted none of them, so the targets are
     * parity_count at most. */
    ret_plan->source_count = width;
    memcpy(ret_plan->source, source, width);
    ret_plan->target_count = 0;
    for (uint32_t i = 0; i < total_count; i++) {
        if ((wanted >> i & 1) == 0)
            continue;
        multiply_row(width, codec_coder_row(coder, i), inverse,
                     coefficients + (size_t)ret_plan->target_count * width);
        ret_plan->target[ret_plan->target_count++] = (uint8_t)i;
    }
    codec_isal_tables(width, ret_plan->target_count, coefficients, ret_plan->tables);
    return LILIO_OK;
}

void codec_plan_run(const struct codec_plan *plan, uint32_t size, uint8_t *const *source,
                    uint8_t *const *target)
{
    LILIO_ASSERT(size % CODEC_ALIGN == 0);
    codec_isal_run(size, plan->source_count, plan->target_count, plan->tables, source, target);
}
