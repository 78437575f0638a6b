/* The worst so many objects of a walk, in bounded memory. Pure. */
#ifndef CLIENT_DAMAGE_LIST_H
#define CLIENT_DAMAGE_LIST_H

#include "client/judge.h"

struct client_damage_item {
    char *bucket, *key;
    uint64_t more_names;
    struct client_judgement judgement;
};
/* Zero-initialise, set limit. Until it is finished it is a heap with the least bad item on top. */
struct client_damage_list {
    struct client_damage_item *items;
    size_t count, room, limit;
    uint64_t omitted;
};
/* Copies the names. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_damage_list_add(struct client_damage_list *list,
                                                     struct base_slice bucket,
                                                     struct base_slice key, uint64_t more_names,
                                                     const struct client_judgement *judgement);
/* Runs of the same object become one item; then worst first, by name where equally bad. */
void client_damage_list_finish(struct client_damage_list *list);
void client_damage_list_release(struct client_damage_list *list);

#endif
