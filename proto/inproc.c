#include "proto/inproc_priv.h"

#include <stdlib.h>

#include "base/banned.h"

struct proto_inproc_name {
    struct proto_inproc_name *next;
    uint64_t generation; /* differs between two servers of the same name */
    char endpoint[];
};

void proto_inproc_init(struct proto_inproc *table)
{
    *table = (struct proto_inproc){0};
    (void)pthread_mutex_init(&table->lock, NULL); /* cannot fail with default attributes */
}

void proto_inproc_release(struct proto_inproc *table)
{
    while (table->names) {
        struct proto_inproc_name *name = table->names;
        table->names = name->next;
        free(name);
    }
    (void)pthread_mutex_destroy(&table->lock); /* nobody holds it */
}

enum lilio_err proto_inproc_add(struct proto_inproc *table, const char *endpoint)
{
    size_t size = strlen(endpoint) + 1;
    struct proto_inproc_name *name = malloc(sizeof *name + size);
    if (!name)
        return LILIO_E_NOMEM;
    name->next = table->names;
    name->generation = ++table->last_generation;
    memcpy(name->endpoint, endpoint, size);
    table->names = name;
    return LILIO_OK;
}

void proto_inproc_remove(struct proto_inproc *table, const char *endpoint)
{
    for (struct proto_inproc_name **at = &table->names; *at; at = &(*at)->next)
        if (strcmp((*at)->endpoint, endpoint) == 0) {
            struct proto_inproc_name *name = *at;
            *at = name->next;
            free(name);
            return;
        }
}

uint64_t proto_inproc_find(const struct proto_inproc *table, const char *endpoint)
{
    for (const struct proto_inproc_name *name = table->names; name; name = name->next)
        if (strcmp(name->endpoint, endpoint) == 0)
            return name->generation;
    return 0;
}
