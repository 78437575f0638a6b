/* A hash table with keys of two numbers and values of one size: what the service remembers about
 * sessions, leases and runs being collected. Not shared between threads. */
#ifndef COORDINATOR_TABLE_H
#define COORDINATOR_TABLE_H

#include "base/err.h"
#include "base/types.h"

struct coord_table_key {
    uint64_t a, b;
};
/* Zero-initialise, set value_size and limit. */
struct coord_table {
    size_t value_size, limit; /* limit: most entries it takes */
    size_t count, capacity;
    uint8_t *slots;
};

void coord_table_release(struct coord_table *table);
/* The value of a key, NULL if there is none. Borrowed until the table changes. */
void *coord_table_find(const struct coord_table *table, struct coord_table_key key);
/* The same, added zeroed if there is none; NULL when the table is full or memory runs out. */
void *coord_table_add(struct coord_table *table, struct coord_table_key key);
void coord_table_remove(struct coord_table *table, struct coord_table_key key);
/* Walks all entries: start with *cursor = 0, NULL at the end. An entry may be removed on the way if
 * *cursor is then set back by one; entries that moved over the end of the table may be met twice
 * or, until the next walk, not at all. */
void *coord_table_next(const struct coord_table *table, size_t *cursor,
                       struct coord_table_key *ret_key);

#endif
