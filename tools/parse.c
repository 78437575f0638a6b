#include "tools/parse.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "proto/pack.h"

#include "base/banned.h"

/* Digits only (no sign, no space), without overflow. *ret_end is the first byte behind them. */
static bool digits_read(const char *text, uint64_t *ret, const char **ret_end)
{
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            return false;
    }
    *ret = value;
    *ret_end = at;
    return at != text;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* number x unit, exactly one of the units; false if the text is anything else. */
static bool units_read(const char *text, const struct unit *units, size_t count, uint64_t *ret)
{
    const char *end;
    uint64_t value;
    if (!digits_read(text, &value, &end))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(end, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(value, units[i].factor, &value))
            return false;
        *ret = value;
        return true;
    }
    return false;
}

enum lilio_err tools_parse_size(const char *text, uint64_t *ret, struct lilio_errinfo *info)
{
    static const struct unit units[] = {
        {"", 1},
        {"B", 1},
        {"KiB", 1ull << 10},
        {"MiB", 1ull << 20},
        {"GiB", 1ull << 30},
        {"TiB", 1ull << 40},
        {"KB", 1000ull},
        {"kB", 1000ull},
        {"MB", 1000000ull},
        {"GB", 1000000000ull},
        {"TB", 1000000000000ull},
    };
    if (!units_read(text, units, sizeof units / sizeof units[0], ret))
        return lilio_fail(info, LILIO_E_INVALID,
                          "'%s' is not a size: bytes, or a number with KiB, MiB or GiB "
                          "(like 4MiB; MB is 1000000 bytes)",
                          text);
    return LILIO_OK;
}

enum lilio_err tools_parse_duration(const char *text, uint64_t *ret_ms, struct lilio_errinfo *info)
{
    static const struct unit units[] = {
        {"", 1000},     {"ms", 1},      {"s", 1000},        {"m", 60000},
        {"min", 60000}, {"h", 3600000}, {"d", 86400000ull},
    };
    if (!units_read(text, units, sizeof units / sizeof units[0], ret_ms))
        return lilio_fail(info, LILIO_E_INVALID,
                          "'%s' is not a duration: seconds, or a number with ms, s, m, h or d "
                          "(like 500ms or 1h)",
                          text);
    return LILIO_OK;
}

enum lilio_err tools_parse_range(const char *text, struct lilio_range *ret,
                                 struct lilio_errinfo *info)
{
    const char *end;
    struct lilio_range range = {.kind = LILIO_RANGE_LAST};
    if (text[0] == '-') {
        if (digits_read(text + 1, &range.last, &end) && *end == '\0' && range.last > 0) {
            *ret = range;
            return LILIO_OK;
        }
    } else if (digits_read(text, &range.first, &end) && *end == '-') {
        range.kind = end[1] == '\0' ? LILIO_RANGE_FROM : LILIO_RANGE_FROM_TO;
        if (range.kind == LILIO_RANGE_FROM || (digits_read(end + 1, &range.last, &end) &&
                                               *end == '\0' && range.last >= range.first)) {
            *ret = range;
            return LILIO_OK;
        }
    }
    return lilio_fail(info, LILIO_E_INVALID,
                      "'%s' is not a range: FIRST-LAST (both included, from 0), FIRST- or -COUNT",
                      text);
}

enum lilio_err tools_parse_version(const char *text, struct lilio_version *ret,
                                   struct lilio_errinfo *info)
{
    const char *end;
    uint64_t index, ordinal;
    if (!digits_read(text, &index, &end) || *end != '.' || index == 0 ||
        !digits_read(end + 1, &ordinal, &end) || *end != '\0' || ordinal > UINT32_MAX)
        return lilio_fail(info, LILIO_E_INVALID,
                          "'%s' is not a version: INDEX.ORDINAL, as `lilio-ec stat` prints it",
                          text);
    *ret = (struct lilio_version){.index = index, .ordinal = (uint32_t)ordinal};
    return LILIO_OK;
}

enum lilio_err tools_parse_number(const char *text, const char *what, uint64_t least, uint64_t most,
                                  uint64_t *ret, struct lilio_errinfo *info)
{
    const char *end;
    uint64_t value;
    if (!digits_read(text, &value, &end) || *end != '\0' || value < least || value > most)
        return lilio_fail(info, LILIO_E_INVALID, "'%s' is not %s: a number from %llu to %llu", text,
                          what, (unsigned long long)least, (unsigned long long)most);
    *ret = value;
    return LILIO_OK;
}

enum lilio_err tools_parse_osd(const char *text, uint32_t *ret, struct lilio_errinfo *info)
{
    const char *digits = strncmp(text, "osd.", 4) == 0 ? text + 4 : text;
    const char *end;
    uint64_t id;
    if (!digits_read(digits, &id, &end) || *end != '\0' || id > UINT32_MAX)
        return lilio_fail(info, LILIO_E_INVALID, "'%s' is not an OSD: its number or osd.NUMBER",
                          text);
    *ret = (uint32_t)id;
    return LILIO_OK;
}

enum lilio_err tools_parse_coordinator(const char *text, uint32_t *ret, struct lilio_errinfo *info)
{
    static const char prefix[] = "coordinator.";
    size_t size = strlen(prefix);
    const char *digits = strncmp(text, prefix, size) == 0 ? text + size : text;
    const char *end;
    uint64_t id;
    if (!digits_read(digits, &id, &end) || *end != '\0' || id > 1023)
        return lilio_fail(info, LILIO_E_INVALID,
                          "'%s' is not a coordinator: its number or coordinator.NUMBER", text);
    *ret = (uint32_t)id;
    return LILIO_OK;
}

enum lilio_err tools_parse_profile(const char *text, struct lilio_profile *ret,
                                   struct lilio_errinfo *info)
{
    struct codec_profile profile;
    enum lilio_err err = codec_profile_parse(text, &profile, info);
    if (err)
        return err;
    *ret = (struct lilio_profile){.data_count = profile.data_count,
                                  .parity_count = profile.parity_count};
    return LILIO_OK;
}

enum lilio_err tools_parse_listen(const char *text, char ret_host[256], uint32_t *ret_port,
                                  struct lilio_errinfo *info)
{
    const char *colon = strrchr(text, ':'), *host = text;
    const char *end;
    uint64_t port;
    size_t host_size = colon ? (size_t)(colon - text) : 0;
    bool brackets = host_size > 2 && host[0] == '[' && host[host_size - 1] == ']';
    if (brackets) {
        host++;
        host_size -= 2;
    }
    if (host_size == 0 || host_size > 255 || (!brackets && memchr(host, ':', host_size)) ||
        memchr(host, '[', host_size) || !digits_read(colon + 1, &port, &end) || *end != '\0' ||
        port > 65535)
        return lilio_fail(info, LILIO_E_INVALID,
                          "'%s' is not HOST:PORT (like 127.0.0.1:7100 or [::1]:7100; port 0 takes "
                          "free ones)",
                          text);
    memcpy(ret_host, host, host_size);
    ret_host[host_size] = '\0';
    *ret_port = (uint32_t)port;
    return LILIO_OK;
}

static enum lilio_err bucket_take(const char *text, size_t size, struct tools_name *ret,
                                  struct lilio_errinfo *info)
{
    bool good = size >= 1 && size <= TOOLS_BUCKET_MAX;
    for (size_t i = 0; good && i < size; i++) {
        char c = text[i];
        good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
    }
    if (!good)
        return lilio_fail(info, LILIO_E_INVALID,
                          "a bucket's name is 1 to %d characters of a-z, 0-9, '.' and '-'",
                          TOOLS_BUCKET_MAX);
    memcpy(ret->bucket, text, size);
    ret->bucket[size] = '\0';
    ret->key = "";
    return LILIO_OK;
}

enum lilio_err tools_parse_bucket(const char *text, struct tools_name *ret,
                                  struct lilio_errinfo *info)
{
    size_t size = strlen(text);
    if (size > 0 && text[size - 1] == '/')
        size--;
    return bucket_take(text, size, ret, info);
}

enum lilio_err tools_parse_prefix(const char *text, struct tools_name *ret,
                                  struct lilio_errinfo *info)
{
    const char *slash = strchr(text, '/');
    enum lilio_err err =
        bucket_take(text, slash ? (size_t)(slash - text) : strlen(text), ret, info);
    if (err || !slash)
        return err;
    size_t key_size = strlen(slash + 1);
    if (key_size > TOOLS_KEY_MAX)
        return lilio_fail(info, LILIO_E_INVALID, "the key has %zu bytes, at most %d are allowed",
                          key_size, TOOLS_KEY_MAX);
    if (!proto_utf8_valid(base_slice(slash + 1, key_size)))
        return lilio_fail(info, LILIO_E_INVALID, "the key is not well-formed UTF-8");
    ret->key = slash + 1;
    return LILIO_OK;
}

enum lilio_err tools_parse_object(const char *text, struct tools_name *ret,
                                  struct lilio_errinfo *info)
{
    enum lilio_err err = tools_parse_prefix(text, ret, info);
    if (err)
        return err;
    if (ret->key[0] == '\0')
        return lilio_fail(info, LILIO_E_INVALID, "'%s' names no object: BUCKET/KEY is wanted",
                          text);
    return LILIO_OK;
}
