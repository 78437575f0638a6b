#include "tests/sim/packet.h"

#include <stdlib.h>

#include "base/pool.h"

#include "base/banned.h"

enum { PAYLOAD = 2, PAGE = 4096, CLASSES = 20 };

/* Payloads that were given back, by their number of pages: the C library is slow with pages. */
struct spare {
    struct spare *next;
};
static struct spare *spares[CLASSES];

static void *pages_take(size_t size)
{
    size_t pages = (size + PAGE - 1) / PAGE;
    if (pages >= CLASSES || !spares[pages])
        return base_frag_malloc_take(size);
    struct spare *spare = spares[pages];
    spares[pages] = spare->next;
    return spare;
}

static void pages_give(void *at, size_t size)
{
    size_t pages = (size + PAGE - 1) / PAGE;
    if (!at || LILIO_SANITIZED || pages >= CLASSES) {
        free(at);
        return;
    }
    struct spare *spare = at;
    spare->next = spares[pages];
    spares[pages] = spare;
}

struct sim_packet *sim_packet_new(const struct base_slice *frames, int count)
{
    size_t size = 0;
    bool has_payload = count == PAYLOAD + 1;
    for (int i = 0; i < count - has_payload; i++)
        size += frames[i].size;
    struct sim_packet *packet = malloc(sizeof *packet + size);
    void *apart = has_payload ? pages_take(frames[PAYLOAD].size) : NULL;
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
    if (packet->apart)
        pages_give(packet->apart, packet->frames[PAYLOAD].size);
    free(packet);
}
