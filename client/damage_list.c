#include "client/damage_list.h"

#include <stdlib.h>

#include "base/banned.h"

static int compare_names(const void *a, const void *b)
{
    const struct client_damage_item *x = a, *y = b;
    int order = strcmp(x->bucket, y->bucket);
    return order ? order : strcmp(x->key, y->key);
}

/* Below 0 if a is worse, so that qsort puts it first. */
static int compare(const void *a, const void *b)
{
    const struct client_damage_item *x = a, *y = b;
    int order = client_judgement_compare(&y->judgement, &x->judgement);
    return order ? order : compare_names(a, b);
}

static void item_free(struct client_damage_item *item)
{
    free(item->bucket);
    free(item->key);
}

static void swap(struct client_damage_item *a, struct client_damage_item *b)
{
    struct client_damage_item kept = *a;
    *a = *b;
    *b = kept;
}

/* ---- the heap ---- */

static void sift_up(struct client_damage_item *items, size_t at)
{
    for (; at > 0 && compare(&items[at], &items[(at - 1) / 2]) > 0; at = (at - 1) / 2)
        swap(&items[at], &items[(at - 1) / 2]);
}

static void sift_down(struct client_damage_item *items, size_t count)
{
    for (size_t at = 0, child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && compare(&items[child + 1], &items[child]) > 0)
            child++;
        if (compare(&items[child], &items[at]) <= 0)
            return;
        swap(&items[child], &items[at]);
    }
}

static bool grow(struct client_damage_list *list)
{
    size_t room = list->room ? 2 * list->room : 64;
    struct client_damage_item *items = reallocarray(list->items, room, sizeof *items);
    if (!items)
        return false;
    list->items = items;
    list->room = room;
    return true;
}

static void take(struct client_damage_list *list, struct client_damage_item *item)
{
    if (list->count < list->limit) {
        list->items[list->count++] = *item;
        sift_up(list->items, list->count - 1);
        return;
    }
    list->omitted++;
    if (list->count > 0 && compare(item, &list->items[0]) < 0) {
        swap(item, &list->items[0]);
        sift_down(list->items, list->count);
    }
    item_free(item);
}

enum lilio_err client_damage_list_add(struct client_damage_list *list, struct base_slice bucket,
                                      struct base_slice key, uint64_t more_names,
                                      const struct client_judgement *judgement)
{
    struct client_damage_item item = {
        .bucket = client_text(bucket),
        .key = client_text(key),
        .more_names = more_names,
        .judgement = *judgement,
    };
    bool room = list->count < list->room || list->count == list->limit || grow(list);
    if (!item.bucket || !item.key || !room) {
        item_free(&item);
        return LILIO_E_NOMEM;
    }
    take(list, &item);
    return LILIO_OK;
}

/* ---- the end ---- */

void client_damage_list_finish(struct client_damage_list *list)
{
    size_t kept = 0;
    if (list->count == 0)
        return;
    qsort(list->items, list->count, sizeof *list->items, compare_names);
    for (size_t i = 1; i < list->count; i++) {
        struct client_damage_item *last = &list->items[kept];
        if (compare_names(last, &list->items[i]) != 0) {
            list->items[++kept] = list->items[i];
            continue;
        }
        client_judgement_merge(&last->judgement, &list->items[i].judgement);
        last->more_names = last->more_names > list->items[i].more_names ? last->more_names
                                                                        : list->items[i].more_names;
        item_free(&list->items[i]);
    }
    list->count = kept + 1;
    qsort(list->items, list->count, sizeof *list->items, compare);
}

void client_damage_list_release(struct client_damage_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        item_free(&list->items[i]);
    free(list->items);
    *list = (struct client_damage_list){0};
}
