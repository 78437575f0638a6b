/* How it works: one pass over the bytes with a small stack of open arrays. An object says with its
 * first byte how many bytes of length and content follow; `owed` counts the objects that open
 * arrays still promise. Each of them takes at least one byte, so an array that promises more
 * objects than bytes are left is refused before anything is allocated. */
#include "proto/scan_priv.h"

#include "proto/pack.h"

#include "base/banned.h"

struct scanner {
    const uint8_t *at, *end;
    const uint8_t *start;
    uint32_t open[PROTO_DEPTH_MAX]; /* objects each open array still promises */
    unsigned depth;
    uint64_t owed;
    uint32_t object_count;
};

static enum lilio_err refuse(const struct scanner *s, const char *what, struct lilio_errinfo *info)
{
    return lilio_fail(info, LILIO_E_MALFORMED, "%s at byte %zu", what, (size_t)(s->at - s->start));
}

/* Reads a big-endian number of width bytes behind the first byte; false if they are not there. */
static bool read_length(struct scanner *s, unsigned width, uint32_t *ret)
{
    if ((size_t)(s->end - s->at) < width)
        return false;
    uint32_t v = 0;
    for (unsigned i = 0; i < width; i++)
        v = v << 8 | *s->at++;
    *ret = v;
    return true;
}

static enum lilio_err skip(struct scanner *s, uint32_t size, struct lilio_errinfo *info)
{
    if ((size_t)(s->end - s->at) < size)
        return refuse(s, "value ends beyond the message", info);
    s->at += size;
    return LILIO_OK;
}

static enum lilio_err open_array(struct scanner *s, uint32_t count, struct lilio_errinfo *info)
{
    if (s->depth == PROTO_DEPTH_MAX)
        return refuse(s, "nested too deeply", info);
    s->owed += count;
    if (s->owed > (uint64_t)(s->end - s->at))
        return refuse(s, "array promises more than there is", info);
    s->open[s->depth++] = count;
    return LILIO_OK;
}

/* One object; of an array only its head. Nil, floats, maps and extensions occur in no schema. */
static enum lilio_err scan_object(struct scanner *s, struct lilio_errinfo *info)
{
    uint8_t first = *s->at++;
    uint32_t length;
    if (first <= 0x7f || first >= 0xe0) /* small number */
        return LILIO_OK;
    if (first >= 0x90 && first <= 0x9f)
        return open_array(s, first & 0x0fu, info);
    if (first >= 0xa0 && first <= 0xbf) /* short str */
        return skip(s, first & 0x1fu, info);
    switch (first) {
    case 0xc2: /* false */
    case 0xc3: /* true */ return LILIO_OK;
    case 0xcc: /* unsigned of 1, 2, 4, 8 bytes */
    case 0xcd:
    case 0xce:
    case 0xcf: return skip(s, 1u << (first - 0xcc), info);
    case 0xd0: /* signed of 1, 2, 4, 8 bytes */
    case 0xd1:
    case 0xd2:
    case 0xd3: return skip(s, 1u << (first - 0xd0), info);
    case 0xc4: /* bin with a length of 1, 2, 4 bytes */
    case 0xc5:
    case 0xc6:
        if (!read_length(s, 1u << (first - 0xc4), &length))
            return refuse(s, "length is cut off", info);
        return skip(s, length, info);
    case 0xd9: /* str with a length of 1, 2, 4 bytes */
    case 0xda:
    case 0xdb:
        if (!read_length(s, 1u << (first - 0xd9), &length))
            return refuse(s, "length is cut off", info);
        return skip(s, length, info);
    case 0xdc: /* array with a count of 2, 4 bytes */
    case 0xdd:
        if (!read_length(s, 2u << (first - 0xdc), &length))
            return refuse(s, "length is cut off", info);
        return open_array(s, length, info);
    default: s->at--; return refuse(s, "kind of value that no field has", info);
    }
}

enum lilio_err proto_scan(struct base_slice bytes, struct lilio_errinfo *info)
{
    struct scanner s = {.at = bytes.data, .end = bytes.data + bytes.size, .start = bytes.data};
    s.owed = 1;
    do {
        if (s.at == s.end)
            return refuse(&s, "cut off", info);
        if (++s.object_count > PROTO_ELEMENTS_MAX)
            return lilio_fail(info, LILIO_E_TOO_BIG, "more than %d values", PROTO_ELEMENTS_MAX);
        s.owed--;
        if (s.depth > 0)
            s.open[s.depth - 1]--;
        enum lilio_err err = scan_object(&s, info);
        if (err)
            return err;
        while (s.depth > 0 && s.open[s.depth - 1] == 0)
            s.depth--;
    } while (s.owed > 0);
    if (s.at != s.end)
        return refuse(&s, "surplus bytes", info);
    return LILIO_OK;
}
