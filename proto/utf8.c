#include "proto/pack.h"

#include "base/banned.h"

/* Length of the well-formed sequence at p (Unicode 15, table 3-7), 0 if there is none. */
static size_t sequence_length(const uint8_t *p, size_t left)
{
    uint8_t low = 0x80,
            high = 0xbf; /* bounds of the second byte: no overlong forms, no surrogates */
    size_t length;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        length = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        length = 3;
        low = p[0] == 0xe0 ? 0xa0 : 0x80;
        high = p[0] == 0xed ? 0x9f : 0xbf;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        length = 4;
        low = p[0] == 0xf0 ? 0x90 : 0x80;
        high = p[0] == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (length > left || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

bool proto_utf8_valid(struct base_slice text)
{
    size_t i = 0;
    while (i < text.size) {
        if (text.data[i] >= 0x01 && text.data[i] <= 0x7f) {
            i++;
            continue;
        }
        size_t length = sequence_length(text.data + i, text.size - i);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}

size_t proto_utf8_clean(const char *text, char *ret, size_t room)
{
    size_t left = strlen(text), size = 0;
    const uint8_t *p = (const uint8_t *)text;
    while (left > 0) {
        size_t length = *p <= 0x7f ? 1 : sequence_length(p, left);
        size_t step = length ? length : 1;
        if (size + step > room)
            break;
        if (length)
            memcpy(ret + size, p, length);
        else
            ret[size] = '?';
        size += step;
        p += step;
        left -= step;
    }
    return size;
}
