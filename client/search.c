#include "client/search.h"

#include <stdlib.h>

#include "base/banned.h"

enum { PAUSE_MS = 100 }; /* between two rounds */

enum lilio_err client_search_begin(struct client_search *search,
                                   const struct client_search_list *list)
{
    client_search_end(search);
    search->told = calloc(list->count / 64 + 1, sizeof *search->told);
    search->first = list->first;
    return search->told ? LILIO_OK : LILIO_E_NOMEM;
}

void client_search_end(struct client_search *search)
{
    free(search->told);
    *search = (struct client_search){0};
}

/* count if it is not in the list. */
static size_t place_of(const struct client_search_list *list, uint32_t osd)
{
    size_t place = 0;
    while (place < list->count && list->osds[place] != osd)
        place++;
    return place;
}

void client_search_tell(struct client_search *search, const struct client_search_list *list,
                        uint32_t osd)
{
    size_t place = place_of(list, osd);
    if (place < list->count)
        search->told[place / 64] |= UINT64_C(1) << place % 64;
}

void client_search_found(struct client_search_list *list, uint32_t osd)
{
    size_t place = place_of(list, osd);
    list->first = place < list->count ? place : 0;
}

bool client_search_told(const struct client_search *search, size_t place)
{
    return search->told[place / 64] >> place % 64 & 1;
}

bool client_search_all_told(const struct client_search *search,
                            const struct client_search_list *list)
{
    for (size_t place = 0; place < list->count; place++)
        if (!client_search_told(search, place))
            return false;
    return true;
}

/* Whether somebody who has not told may do so yet. */
static bool hopeful(const struct client_search *search, const struct client_search_list *list,
                    const struct client_peers *peers, uint64_t now_ms, uint64_t patience_ms)
{
    for (size_t place = 0; place < list->count; place++) {
        const struct client_peer *peer = client_peers_find(peers, list->osds[place]);
        if (!client_search_told(search, place) && peer &&
            (peer->connected || now_ms < peer->lost_ms + patience_ms))
            return true;
    }
    return false;
}

enum client_search_step client_search_next(struct client_search *search,
                                           const struct client_search_list *list,
                                           const struct client_peers *peers, uint64_t now_ms,
                                           uint64_t patience_ms, uint32_t *ret_osd,
                                           uint64_t *ret_at_ms)
{
    if (search->until_ms > 0 && now_ms >= search->until_ms)
        return CLIENT_SEARCH_OVER;
    while (search->passed < list->count) {
        size_t place = (search->first + search->passed++) % list->count;
        const struct client_peer *peer = client_peers_find(peers, list->osds[place]);
        if (client_search_told(search, place) || !peer || !peer->connected || peer->slow)
            continue; /* who was silent answers what it was asked, once it goes on */
        *ret_osd = peer->osd;
        return CLIENT_SEARCH_ASK;
    }
    if (!hopeful(search, list, peers, now_ms, patience_ms))
        return CLIENT_SEARCH_OVER;
    search->passed = 0;
    search->again = true;
    if (search->until_ms == 0)
        search->until_ms = now_ms + patience_ms;
    *ret_at_ms = now_ms + PAUSE_MS;
    return CLIENT_SEARCH_WAIT;
}
