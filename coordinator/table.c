/* Open addressing with linear probing; a removal moves the entries behind it up, so there are no
 * tombstones. */
#include "coordinator/table.h"

#include <stdlib.h>

#include "base/banned.h"

enum { CAPACITY_MIN = 64 };

struct head {
    struct coord_table_key key;
    uint64_t used;
};

static size_t slot_size(const struct coord_table *table)
{
    return sizeof(struct head) + ((table->value_size + 7) & ~(size_t)7);
}

static struct head *slot_at(const struct coord_table *table, size_t i)
{
    return (struct head *)(table->slots + i * slot_size(table));
}

static void *value_of(struct head *head)
{
    return head + 1;
}

static bool equal(struct coord_table_key a, struct coord_table_key b)
{
    return a.a == b.a && a.b == b.b;
}

/* Where a key belongs; the capacity is a power of two. */
static size_t home(const struct coord_table *table, struct coord_table_key key)
{
    uint64_t h = key.a * 0x9e3779b97f4a7c15u ^ (key.b + 0x632be59bd9b4e019u);
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    return (size_t)(h ^ h >> 32) & (table->capacity - 1);
}

/* The key's slot, or the free one where it would go; the table is never full. */
static size_t probe(const struct coord_table *table, struct coord_table_key key)
{
    size_t i = home(table, key);
    while (slot_at(table, i)->used && !equal(slot_at(table, i)->key, key))
        i = (i + 1) & (table->capacity - 1);
    return i;
}

static bool grow(struct coord_table *table)
{
    struct coord_table bigger = *table;
    bigger.capacity = table->capacity ? 2 * table->capacity : CAPACITY_MIN;
    bigger.slots = calloc(bigger.capacity, slot_size(table));
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < table->capacity; i++)
        if (slot_at(table, i)->used)
            memcpy(slot_at(&bigger, probe(&bigger, slot_at(table, i)->key)), slot_at(table, i),
                   slot_size(table));
    free(table->slots);
    *table = bigger;
    return true;
}

void coord_table_release(struct coord_table *table)
{
    free(table->slots);
    table->slots = NULL;
    table->count = table->capacity = 0;
}

void *coord_table_find(const struct coord_table *table, struct coord_table_key key)
{
    if (table->capacity == 0)
        return NULL;
    struct head *head = slot_at(table, probe(table, key));
    return head->used ? value_of(head) : NULL;
}

void *coord_table_add(struct coord_table *table, struct coord_table_key key)
{
    void *found = coord_table_find(table, key);
    if (found)
        return found;
    if (table->count >= table->limit)
        return NULL;
    if (2 * (table->count + 1) > table->capacity && !grow(table))
        return NULL;
    struct head *head = slot_at(table, probe(table, key));
    memset(head, 0, slot_size(table));
    *head = (struct head){.key = key, .used = 1};
    table->count++;
    return value_of(head);
}

/* True if an entry that belongs at `from` may stand at `to` when `gap` lies free before it. */
static bool may_fill(size_t gap, size_t from, size_t to)
{
    return gap <= to ? from <= gap || from > to : from <= gap && from > to;
}

void coord_table_remove(struct coord_table *table, struct coord_table_key key)
{
    if (!coord_table_find(table, key))
        return;
    size_t gap = probe(table, key), i = gap;
    for (;;) {
        i = (i + 1) & (table->capacity - 1);
        struct head *head = slot_at(table, i);
        if (!head->used)
            break;
        if (!may_fill(gap, home(table, head->key), i))
            continue;
        memcpy(slot_at(table, gap), head, slot_size(table));
        gap = i;
    }
    slot_at(table, gap)->used = 0;
    table->count--;
}

void *coord_table_next(const struct coord_table *table, size_t *cursor,
                       struct coord_table_key *ret_key)
{
    while (*cursor < table->capacity) {
        struct head *head = slot_at(table, (*cursor)++);
        if (!head->used)
            continue;
        *ret_key = head->key;
        return value_of(head);
    }
    return NULL;
}
