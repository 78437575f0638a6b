/* Time and randomness as interfaces: the daemons pass the system's, the tests and the simulation
 * their own. */
#ifndef BASE_ENV_H
#define BASE_ENV_H

#include "base/err.h"
#include "base/types.h"

struct base_clock {
    /* Monotonic time in nanoseconds; never goes back. */
    uint64_t (*monotonic_ns)(void *context);
    /* Wall time in milliseconds since 1970; labels only, never decides (design rule 5). */
    uint64_t (*wall_ms)(void *context);
    void *context;
};
struct base_random {
    void (*fill)(void *context, void *ret_bytes, size_t size);
    void *context;
};

/* Any thread; live for the whole process. The random source is the kernel's (getrandom). */
const struct base_clock *base_clock_system(void);
const struct base_random *base_random_system(void);
/* A seeded generator (splitmix64) for tests and reproducible data; *state is borrowed. */
struct base_random base_random_seeded(uint64_t *state);

static inline uint64_t base_now_ns(const struct base_clock *clock)
{
    return clock->monotonic_ns(clock->context);
}
static inline uint64_t base_now_ms(const struct base_clock *clock)
{
    return clock->monotonic_ns(clock->context) / 1000000u;
}
static inline uint64_t base_random_u64(const struct base_random *random)
{
    uint64_t v;
    random->fill(random->context, &v, sizeof v);
    return v;
}
struct base_uuid base_uuid_new(const struct base_random *random);
/* Text form "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx". ret_text has room for 37 bytes. */
void base_uuid_format(struct base_uuid uuid, char ret_text[37]);
bool base_uuid_parse(const char *text, struct base_uuid *ret);

#endif
