#include "codec/codec.h"
#include "codec/isal_priv.h"

#include "base/bytes.h"
#include "base/banned.h"

uint32_t codec_crc32c(uint32_t crc, const void *data, size_t size)
{
    return codec_isal_crc32c(crc, data, size);
}

void codec_block_checksums(const void *fragment, uint32_t size, uint32_t *ret_checksums)
{
    const uint8_t *at = fragment;
    while (size > 0) {
        uint32_t step = size < CODEC_BLOCK ? size : CODEC_BLOCK;
        *ret_checksums++ = codec_crc32c(0, at, step);
        at += step;
        size -= step;
    }
}

uint32_t codec_fragment_checksum(const uint32_t *block_checksums, uint32_t block_count)
{
    uint32_t crc = 0;
    for (uint32_t i = 0; i < block_count; i++) {
        uint8_t word[4];
        base_le32_put(word, block_checksums[i]);
        crc = codec_crc32c(crc, word, sizeof word);
    }
    return crc;
}

/* CRCs are polynomials over GF(2) modulo P, kept in reflected order: bit 31 stands for x^0, bit 0
 * for x^31. */
static const uint32_t CRC32C_REFLECTED = 0x82f63b78u, CRC32C_ONE = 0x80000000u;

static uint32_t multiply_by_x(uint32_t a)
{
    return a & 1 ? a >> 1 ^ CRC32C_REFLECTED : a >> 1;
}

static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = CRC32C_ONE; bit != 0; bit >>= 1, b = multiply_by_x(b))
        if (a & bit)
            product ^= b;
    return product;
}

/* Appending length_b bytes multiplies A's polynomial by x^(8 length_b); the ones at start and end
 * of the two CRCs cancel. The power is made by repeated squaring, beginning with x^8. */
uint32_t codec_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b)
{
    uint32_t power = CRC32C_ONE >> 8;
    for (; length_b != 0; length_b >>= 1, power = multiply(power, power))
        if (length_b & 1)
            crc_a = multiply(crc_a, power);
    return crc_a ^ crc_b;
}
