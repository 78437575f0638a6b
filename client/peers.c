#include "client/peers.h"

#include <stdlib.h>

#include "client/limits.h"

#include "base/banned.h"

/* Index of the first peer whose id is not below osd. */
static size_t place_of(const struct client_peers *peers, uint32_t osd)
{
    size_t low = 0, high = peers->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (peers->list[middle].osd < osd)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct client_peer *client_peers_find(const struct client_peers *peers, uint32_t osd)
{
    size_t at = place_of(peers, osd);
    return at < peers->count && peers->list[at].osd == osd ? &peers->list[at] : NULL;
}

enum lilio_err client_peers_add(struct client_peers *peers, uint32_t osd, uint64_t now_ms,
                                struct client_peer **ret_peer)
{
    size_t at = place_of(peers, osd);
    if (at < peers->count && peers->list[at].osd == osd) {
        *ret_peer = &peers->list[at];
        return LILIO_OK;
    }
    if (peers->count == peers->capacity) {
        size_t capacity = peers->capacity ? 2 * peers->capacity : 16;
        struct client_peer *list = reallocarray(peers->list, capacity, sizeof *list);
        if (!list)
            return LILIO_E_NOMEM;
        peers->list = list;
        peers->capacity = capacity;
    }
    memmove(&peers->list[at + 1], &peers->list[at], (peers->count - at) * sizeof *peers->list);
    peers->count++;
    peers->list[at] = (struct client_peer){.osd = osd, .heard_ms = now_ms, .lost_ms = now_ms};
    *ret_peer = &peers->list[at];
    return LILIO_OK;
}

void client_peers_release(struct client_peers *peers)
{
    free(peers->list);
    *peers = (struct client_peers){0};
}

uint64_t client_backoff_ms(uint32_t attempt, uint64_t *state)
{
    uint64_t pause = CLIENT_BACKOFF_MS;
    for (uint32_t i = 0; i < attempt && pause < CLIENT_BACKOFF_MS_MAX; i++)
        pause *= 2;
    if (pause > CLIENT_BACKOFF_MS_MAX)
        pause = CLIENT_BACKOFF_MS_MAX;
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return pause / 2 + (*state >> 33) % (pause / 2 + 1);
}
