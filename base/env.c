#include "base/env.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "base/banned.h"

static uint64_t system_monotonic_ns(void *context)
{
    (void)context;
    struct timespec t;
    LILIO_ASSERT(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t system_wall_ms(void *context)
{
    (void)context;
    struct timespec t;
    LILIO_ASSERT(clock_gettime(CLOCK_REALTIME, &t) == 0);
    return t.tv_sec < 0 ? 0 : (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* getrandom fails only without kernel support; going on with predictable ids would lose data, so it
 * ends the process. */
static void system_fill(void *context, void *ret_bytes, size_t size)
{
    (void)context;
    uint8_t *at = ret_bytes;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        LILIO_ASSERT(got > 0);
        at += got;
        size -= (size_t)got;
    }
}

const struct base_clock *base_clock_system(void)
{
    static const struct base_clock clock = {system_monotonic_ns, system_wall_ms, NULL};
    return &clock;
}

const struct base_random *base_random_system(void)
{
    static const struct base_random random = {system_fill, NULL};
    return &random;
}

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* The same bytes on every machine: each number is taken low byte first. */
static void seeded_fill(void *context, void *ret_bytes, size_t size)
{
    uint8_t *at = ret_bytes;
    while (size > 0) {
        uint64_t v = splitmix64(context);
        size_t part = size < sizeof v ? size : sizeof v;
        for (size_t i = 0; i < part; i++)
            at[i] = (uint8_t)(v >> (8 * i));
        at += part;
        size -= part;
    }
}

struct base_random base_random_seeded(uint64_t *state)
{
    return (struct base_random){seeded_fill, state};
}

/* A random (version 4, variant 1) uuid. */
struct base_uuid base_uuid_new(const struct base_random *random)
{
    struct base_uuid uuid;
    random->fill(random->context, uuid.bytes, sizeof uuid.bytes);
    uuid.bytes[6] = (uint8_t)((uuid.bytes[6] & 0x0f) | 0x40);
    uuid.bytes[8] = (uint8_t)((uuid.bytes[8] & 0x3f) | 0x80);
    return uuid;
}

/* A dash stands before these bytes of the text form. */
static bool dash_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void base_uuid_format(struct base_uuid uuid, char ret_text[37])
{
    static const char digits[] = "0123456789abcdef";
    char *at = ret_text;
    for (size_t i = 0; i < sizeof uuid.bytes; i++) {
        if (dash_before(i))
            *at++ = '-';
        *at++ = digits[uuid.bytes[i] >> 4];
        *at++ = digits[uuid.bytes[i] & 15];
    }
    *at = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool base_uuid_parse(const char *text, struct base_uuid *ret)
{
    struct base_uuid uuid;
    for (size_t i = 0; i < sizeof uuid.bytes; i++) {
        if (dash_before(i) && *text++ != '-')
            return false;
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0)
            return false;
        uuid.bytes[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    if (*text != '\0')
        return false;
    *ret = uuid;
    return true;
}
