#include "codec/codec.h"

#include "base/banned.h"

/* Reads a decimal number without sign, space or leading zero, and moves *text behind it. Numbers
 * above 9999 read as 9999: they are out of range anyway, and the caller can then say so. */
static bool read_count(const char **text, uint32_t *ret)
{
    const char *at = *text;
    uint32_t value = 0;
    if (*at < '0' || *at > '9' || (at[0] == '0' && at[1] >= '0' && at[1] <= '9'))
        return false;
    for (; *at >= '0' && *at <= '9'; at++) {
        value = value * 10 + (uint32_t)(*at - '0');
        if (value > 9999)
            value = 9999;
    }
    *text = at;
    *ret = value;
    return true;
}

enum lilio_err codec_profile_parse(const char *text, struct codec_profile *ret,
                                   struct lilio_errinfo *info)
{
    struct codec_profile profile = {.fragment_size = CODEC_FRAGMENT_DEFAULT};
    if (!read_count(&text, &profile.data_count) || *text++ != '+' ||
        !read_count(&text, &profile.parity_count) || *text != '\0')
        return lilio_fail(info, LILIO_E_INVALID,
                          "a profile is written DATA+PARITY, such as 4+2, with %d to %d data and "
                          "0 to %d parity fragments",
                          1, CODEC_DATA_MAX, CODEC_PARITY_MAX);
    profile.generator = profile.data_count == 1 ? CODEC_COPY1 : CODEC_CAUCHY1;
    enum lilio_err err = codec_profile_check(&profile, info);
    if (err == LILIO_OK)
        *ret = profile;
    return err;
}

enum lilio_err codec_profile_check(const struct codec_profile *profile, struct lilio_errinfo *info)
{
    uint32_t data_count = profile->data_count, parity_count = profile->parity_count;
    if (data_count < 1 || data_count > CODEC_DATA_MAX)
        return lilio_fail(info, LILIO_E_INVALID, "data count %u is not within 1 to %d", data_count,
                          CODEC_DATA_MAX);
    if (parity_count > CODEC_PARITY_MAX)
        return lilio_fail(info, LILIO_E_INVALID, "parity count %u is not within 0 to %d",
                          parity_count, CODEC_PARITY_MAX);
    if (profile->fragment_size < CODEC_FRAGMENT_MIN ||
        profile->fragment_size > CODEC_FRAGMENT_MAX ||
        profile->fragment_size % CODEC_FRAGMENT_MIN != 0)
        return lilio_fail(
            info, LILIO_E_INVALID, "fragment size %u is not a multiple of %d within %d to %d bytes",
            profile->fragment_size, CODEC_FRAGMENT_MIN, CODEC_FRAGMENT_MIN, CODEC_FRAGMENT_MAX);
    if (profile->generator != CODEC_COPY1 && profile->generator != CODEC_CAUCHY1)
        return lilio_fail(info, LILIO_E_UNSUPPORTED, "generator %u is unknown to this program",
                          profile->generator);
    if ((profile->generator == CODEC_COPY1) != (data_count == 1))
        return lilio_fail(info, LILIO_E_INVALID, "generator %u does not fit data count %u",
                          profile->generator, data_count);
    return LILIO_OK;
}
