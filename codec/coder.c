#include "codec/codec.h"
#include "codec/coder_priv.h"

#include <stdlib.h>

#include "base/banned.h"

static void make_rows(const struct codec_profile *profile, uint8_t *ret_rows)
{
    uint32_t total_count = codec_profile_total(profile);
    if (profile->generator == CODEC_COPY1)
        memset(ret_rows, 1, total_count);
    else
        codec_isal_cauchy1(profile->data_count, total_count, ret_rows);
}

/* What docs/formats/codec.md fixes for row i, column j: the identity above, then 1 for copy1 and 1
 * / (i xor j) for cauchy1. */
static bool coefficient_is_right(uint32_t generator, uint32_t data_count, uint32_t i, uint32_t j,
                                 uint8_t value)
{
    if (i < data_count)
        return value == (i == j);
    if (generator == CODEC_COPY1)
        return value == 1;
    return codec_isal_multiply(value, (uint8_t)(i ^ j)) == 1;
}

/* A library that makes another matrix than the one our fragments were stored with must not encode a
 * single byte. */
static bool rows_are_right(const struct codec_coder *coder)
{
    const struct codec_profile *profile = &coder->profile;
    for (uint32_t i = 0; i < codec_profile_total(profile); i++)
        for (uint32_t j = 0; j < profile->data_count; j++)
            if (!coefficient_is_right(profile->generator, profile->data_count, i, j,
                                      codec_coder_row(coder, i)[j]))
                return false;
    return true;
}

enum lilio_err codec_coder_new(const struct codec_profile *profile, struct codec_coder **ret_coder,
                               struct lilio_errinfo *info)
{
    enum lilio_err err = codec_profile_check(profile, info);
    if (err != LILIO_OK)
        return err;
    struct codec_coder *coder = calloc(1, sizeof *coder);
    if (coder == NULL)
        return lilio_fail(info, LILIO_E_NOMEM, "no memory for the coding tables");
    coder->profile = *profile;
    make_rows(profile, coder->rows);
    if (!rows_are_right(coder)) {
        free(coder);
        return lilio_fail(info, LILIO_E_SINGULAR,
                          "the coding library makes another generator than the format says");
    }
    codec_isal_tables(profile->data_count, profile->parity_count,
                      codec_coder_row(coder, profile->data_count), coder->parity_tables);
    *ret_coder = coder;
    return LILIO_OK;
}

void codec_coder_free(struct codec_coder **coder)
{
    free(*coder);
    *coder = NULL;
}

const struct codec_profile *codec_coder_profile(const struct codec_coder *coder)
{
    return &coder->profile;
}

void codec_encode(const struct codec_coder *coder, uint32_t size, uint8_t *const *data,
                  uint8_t *const *parity)
{
    LILIO_ASSERT(size % CODEC_ALIGN == 0);
    codec_isal_run(size, coder->profile.data_count, coder->profile.parity_count,
                   coder->parity_tables, data, parity);
}

void codec_encode_checksum(const struct codec_coder *coder, uint32_t size, uint8_t *const *data,
                           uint8_t *const *parity, uint32_t *const *ret_checksums)
{
    const struct codec_profile *profile = &coder->profile;
    uint32_t data_count = profile->data_count, total_count = codec_profile_total(profile);
    for (uint32_t offset = 0, block = 0; offset < size; offset += CODEC_BLOCK, block++) {
        uint32_t step = size - offset < CODEC_BLOCK ? size - offset : CODEC_BLOCK;
        uint8_t *at[CODEC_TOTAL_MAX];
        for (uint32_t i = 0; i < total_count; i++)
            at[i] = (i < data_count ? data[i] : parity[i - data_count]) + offset;
        codec_encode(coder, step, at, at + data_count);
        for (uint32_t i = 0; i < total_count; i++)
            ret_checksums[i][block] = codec_crc32c(0, at[i], step);
    }
}
