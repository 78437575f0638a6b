#include "codec/isal_priv.h"

#include <isa-l/crc.h>
#include <isa-l/erasure_code.h>

#include "base/banned.h"

/* In this file, and only here, the letters are ISA-L's: k data fragments, m = k + parity of them in
 * all, n x n matrices. Its functions take pointers to plain bytes where they only read, hence the
 * casts that drop const. */

uint8_t codec_isal_multiply(uint8_t a, uint8_t b)
{
    return gf_mul(a, b);
}

uint8_t codec_isal_inverse(uint8_t a)
{
    return gf_inv(a);
}

void codec_isal_cauchy1(uint32_t data_count, uint32_t total_count, uint8_t *ret_rows)
{
    int k = (int)data_count, m = (int)total_count;
    gf_gen_cauchy1_matrix(ret_rows, m, k);
}

bool codec_isal_invert(uint32_t size, uint8_t *matrix, uint8_t *ret_inverse)
{
    int n = (int)size;
    return gf_invert_matrix(matrix, ret_inverse, n) == 0;
}

void codec_isal_tables(uint32_t source_count, uint32_t target_count, const uint8_t *coefficients,
                       uint8_t *ret_tables)
{
    int k = (int)source_count, rows = (int)target_count;
    if (rows > 0)
        ec_init_tables(k, rows, (uint8_t *)coefficients, ret_tables);
}

void codec_isal_run(uint32_t size, uint32_t source_count, uint32_t target_count,
                    const uint8_t *tables, uint8_t *const *source, uint8_t *const *target)
{
    int k = (int)source_count, rows = (int)target_count;
    if (size > 0 && rows > 0)
        ec_encode_data((int)size, k, rows, (uint8_t *)tables, (uint8_t **)source,
                       (uint8_t **)target);
}

/* crc32_iscsi neither sets the register to ones at the start nor complements it at the end, and
 * counts in int. */
uint32_t codec_isal_crc32c(uint32_t crc, const uint8_t *data, size_t size)
{
    const size_t step_max = (size_t)1 << 30;
    uint32_t state = ~crc;
    while (size > 0) {
        size_t step = size < step_max ? size : step_max;
        state = crc32_iscsi((uint8_t *)data, (int)step, state);
        data += step;
        size -= step;
    }
    return ~state;
}
