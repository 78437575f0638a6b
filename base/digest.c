#include "base/digest.h"

#include <openssl/evp.h>

#include "base/banned.h"

enum lilio_err base_sha256_text(struct base_slice bytes, char ret_text[BASE_SHA256_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[BASE_SHA256_BYTES];
    unsigned size = 0;
    if (EVP_Digest(bytes.data, bytes.size, digest, &size, EVP_sha256(), NULL) != 1 ||
        size != sizeof digest)
        return LILIO_E_NOMEM;
    for (size_t i = 0; i < sizeof digest; i++) {
        ret_text[2 * i] = digits[digest[i] >> 4];
        ret_text[2 * i + 1] = digits[digest[i] & 15];
    }
    ret_text[BASE_SHA256_TEXT - 1] = '\0';
    return LILIO_OK;
}
