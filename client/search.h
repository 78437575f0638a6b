/* The search for a fragment that is not where the maps say: who of all OSDs said that they do not
 * have it, and who is asked next. Part of the get machine: no clock, no I/O.
 *
 * One OSD after the other is asked, beginning where something was found last, of those that are
 * connected and not silent. In the first round nobody is waited for long. Then again whoever has
 * not told, until all did, cannot be hoped for any more, or the patience is over.
 */
#ifndef CLIENT_SEARCH_H
#define CLIENT_SEARCH_H

#include "base/err.h"
#include "base/types.h"
#include "client/peers.h"

/* Every OSD that may hold anything; ids in order. Owned by the get machine. */
struct client_search_list {
    uint32_t *osds;
    size_t count;
    size_t first; /* where searches that begin now begin */
};
struct client_search {
    size_t first;      /* place of the OSD to begin with */
    uint64_t *told;    /* a bit per place: has it not. NULL: not begun */
    size_t passed;     /* places of this round that had their turn */
    bool again;        /* not the first round any more */
    uint64_t until_ms; /* end of all rounds; 0 while the first one is under way */
};
enum client_search_step { CLIENT_SEARCH_ASK, CLIENT_SEARCH_WAIT, CLIENT_SEARCH_OVER };

/* Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_search_begin(struct client_search *search,
                                                  const struct client_search_list *list);
void client_search_end(struct client_search *search);
/* The OSD said that it does not have the fragment. */
void client_search_tell(struct client_search *search, const struct client_search_list *list,
                        uint32_t osd);
/* ASK: *ret_osd is next. WAIT: until *ret_at_ms. OVER: nobody is left to be asked. */
enum client_search_step client_search_next(struct client_search *search,
                                           const struct client_search_list *list,
                                           const struct client_peers *peers, uint64_t now_ms,
                                           uint64_t patience_ms, uint32_t *ret_osd,
                                           uint64_t *ret_at_ms);
/* The OSD had one: it may have others of the same kind. */
void client_search_found(struct client_search_list *list, uint32_t osd);
/* Whether the OSD at a place of the list has told. */
bool client_search_told(const struct client_search *search, size_t place);
/* Whether all have. */
bool client_search_all_told(const struct client_search *search,
                            const struct client_search_list *list);

#endif
