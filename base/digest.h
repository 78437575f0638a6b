/* Cryptographic digests through OpenSSL (base/digest.c is the only file that includes its headers).
 * Any thread. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/err.h"
#include "base/types.h"

enum { BASE_SHA256_BYTES = 32, BASE_SHA256_TEXT = 2 * BASE_SHA256_BYTES + 1 };

/* SHA-256 as lower-case hex with a NUL. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err base_sha256_text(struct base_slice bytes,
                                               char ret_text[BASE_SHA256_TEXT]);

#endif
