/* What the codec takes from ISA-L. codec/isal.c is the only file that includes its headers;
 * elsewhere the counts have their names, since ISA-L's m is the total and not the parity.
 *
 * All functions are pure and may run on any thread. */
#ifndef CODEC_ISAL_PRIV_H
#define CODEC_ISAL_PRIV_H

#include "base/err.h"
#include "base/types.h"

enum { CODEC_ISAL_TABLE = 32 }; /* bytes of one coefficient's table */

/* Arithmetic in GF(2^8) with the field polynomial 0x11d; addition is xor. inverse(0) is 0. */
uint8_t codec_isal_multiply(uint8_t a, uint8_t b);
uint8_t codec_isal_inverse(uint8_t a);

/* ret_rows: total_count rows of data_count bytes, the first data_count of them the identity. */
void codec_isal_cauchy1(uint32_t data_count, uint32_t total_count, uint8_t *ret_rows);
/* Inverts a size x size matrix, which is destroyed; false if ISA-L finds it singular (ret_inverse
 * is then undefined). */
LILIO_MUST_USE bool codec_isal_invert(uint32_t size, uint8_t *matrix, uint8_t *ret_inverse);

/* coefficients: target_count rows of source_count bytes; ret_tables: CODEC_ISAL_TABLE bytes for
 * each of them. */
void codec_isal_tables(uint32_t source_count, uint32_t target_count, const uint8_t *coefficients,
                       uint8_t *ret_tables);
/* target = coefficients * source, byte by byte. Nothing happens for size 0 or without targets. */
void codec_isal_run(uint32_t size, uint32_t source_count, uint32_t target_count,
                    const uint8_t *tables, uint8_t *const *source, uint8_t *const *target);

/* Standard CRC32C; crc is the previous result or 0. */
uint32_t codec_isal_crc32c(uint32_t crc, const uint8_t *data, size_t size);

#endif
