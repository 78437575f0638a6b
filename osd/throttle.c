#include "osd/throttle.h"

#include "base/banned.h"

static const uint64_t second_ns = 1000000000, ms_ns = 1000000;

void osd_throttle_served(struct osd_throttle *throttle, uint64_t now_ns)
{
    throttle->served = true;
    throttle->served_ns = now_ns;
    throttle->measuring = false;
}

bool osd_throttle_clients(const struct osd_throttle *throttle, uint64_t now_ns)
{
    return throttle->served && now_ns - throttle->served_ns < OSD_THROTTLE_CLIENTS_MS * ms_ns;
}

static bool is_held(const struct osd_throttle *throttle, uint64_t now_ns)
{
    return throttle->share < 100 && osd_throttle_clients(throttle, now_ns);
}

uint64_t osd_throttle_wait_ns(const struct osd_throttle *throttle, uint64_t now_ns)
{
    return is_held(throttle, now_ns) && throttle->next_ns > now_ns ? throttle->next_ns - now_ns : 0;
}

bool osd_throttle_has_room(const struct osd_throttle *throttle, uint64_t bytes)
{
    return throttle->open_bytes == 0 || throttle->open_bytes + bytes <= OSD_THROTTLE_OPEN_BYTES;
}

void osd_throttle_end(struct osd_throttle *throttle, uint64_t bytes)
{
    throttle->open_bytes -= bytes;
    if (throttle->open_bytes == 0)
        osd_throttle_dry(throttle);
}

void osd_throttle_begin(struct osd_throttle *throttle, uint64_t bytes, uint64_t now_ns)
{
    throttle->open_bytes += bytes;
    uint64_t share = throttle->share ? throttle->share : OSD_THROTTLE_SHARE;
    uint64_t idle = throttle->idle_rate ? throttle->idle_rate : OSD_THROTTLE_IDLE_DEFAULT;
    if (!is_held(throttle, now_ns))
        return;
    uint64_t late = OSD_THROTTLE_CREDIT_MS * ms_ns;
    uint64_t from = throttle->next_ns + late > now_ns ? throttle->next_ns : now_ns;
    throttle->next_ns = from + bytes * second_ns / (idle * share / 100);
}

void osd_throttle_done(struct osd_throttle *throttle, uint64_t bytes, uint64_t now_ns)
{
    if (osd_throttle_clients(throttle, now_ns))
        return;
    if (!throttle->measuring) {
        throttle->measuring = true;
        throttle->window_ns = now_ns;
        throttle->window_bytes = 0;
        return;
    }
    throttle->window_bytes += bytes;
    uint64_t took_ns = now_ns - throttle->window_ns;
    if (took_ns < OSD_THROTTLE_WINDOW_MS * ms_ns)
        return;
    uint64_t rate = throttle->window_bytes * 1000 / (took_ns / ms_ns);
    rate = rate < OSD_THROTTLE_IDLE_MIN ? OSD_THROTTLE_IDLE_MIN : rate;
    if (!throttle->idle_rate)
        throttle->idle_rate = rate;
    else if (rate > throttle->idle_rate)
        throttle->idle_rate = (throttle->idle_rate + rate) / 2;
    else
        throttle->idle_rate = (3 * throttle->idle_rate + rate) / 4;
    throttle->window_ns = now_ns;
    throttle->window_bytes = 0;
}

void osd_throttle_dry(struct osd_throttle *throttle)
{
    throttle->measuring = false;
}
