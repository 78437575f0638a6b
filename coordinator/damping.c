#include "coordinator/damping.h"

#include "base/banned.h"

void coord_damping_down(struct coord_damping *damping, uint64_t now_ms, uint64_t unit_ms)
{
    if (damping->downs > 0 && now_ms - damping->down_ms >= COORD_DAMPING_WINDOW * unit_ms)
        damping->downs = 0;
    if (damping->downs < UINT32_MAX)
        damping->downs++;
    damping->down_ms = now_ms;
}

void coord_damping_up(struct coord_damping *damping, uint64_t now_ms, uint64_t unit_ms)
{
    uint64_t units = 0;
    for (uint32_t n = 2; n <= damping->downs && units < COORD_DAMPING_HOLD_MAX; n++)
        units = units ? 2 * units : 1;
    units = units < COORD_DAMPING_HOLD_MAX ? units : COORD_DAMPING_HOLD_MAX;
    damping->until_ms = now_ms + units * unit_ms;
}

uint64_t coord_damping_held_ms(const struct coord_damping *damping, uint64_t now_ms)
{
    return damping->until_ms > now_ms ? damping->until_ms - now_ms : 0;
}
