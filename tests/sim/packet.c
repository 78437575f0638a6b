#include "tests/sim/packet.h"

#include <stdlib.h>

#include "base/pool.h"

#include "base/banned.h"

enum { PAYLOAD = 2 };

struct sim_packet *sim_packet_new(const struct base_slice *frames, int count)
{
    size_t size = 0;
    bool has_payload = count == PAYLOAD + 1;
    for (int i = 0; i < count - has_payload; i++)
        size += frames[i].size;
    struct sim_packet *packet = malloc(sizeof *packet + size);
    void *apart = has_payload ? base_frag_malloc_take(frames[PAYLOAD].size) : NULL;
    if (!packet || (has_payload && !apart)) {
        free(packet);
        free(apart);
        return NULL;
    }
    *packet = (struct sim_packet){.refs = 1, .count = count, .apart = apart};
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        uint8_t *to = i == PAYLOAD && has_payload ? apart : packet->bytes + at;
        if (frames[i].size > 0)
            memcpy(to, frames[i].data, frames[i].size);
        if (to == packet->bytes + at)
            at += frames[i].size;
        packet->frames[i] = base_slice(to, frames[i].size);
        packet->total += frames[i].size;
    }
    return packet;
}

struct sim_packet *sim_packet_ref(struct sim_packet *packet)
{
    packet->refs++;
    return packet;
}

void sim_packet_unref(struct sim_packet *packet)
{
    if (!packet || --packet->refs > 0)
        return;
    free(packet->apart);
    free(packet);
}
