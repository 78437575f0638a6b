/* What a coder holds; for plan.c and the tests. */
#ifndef CODEC_CODER_PRIV_H
#define CODEC_CODER_PRIV_H

#include "codec/codec.h"
#include "codec/isal_priv.h"

struct codec_coder {
    struct codec_profile profile;
    /* The generator matrix, row i = fragment i: total_count rows of data_count coefficients, the
     * identity first. */
    uint8_t rows[CODEC_TOTAL_MAX * CODEC_DATA_MAX];
    uint8_t parity_tables[CODEC_ISAL_TABLE * CODEC_DATA_MAX * CODEC_PARITY_MAX];
};

static inline const uint8_t *codec_coder_row(const struct codec_coder *coder, uint32_t index)
{
    return coder->rows + (size_t)index * coder->profile.data_count;
}

#endif
