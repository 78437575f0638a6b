#include "tests/support/crash_names.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/banned.h"

struct crash_note {
    char from[CRASH_NAME_ROOM], to[CRASH_NAME_ROOM]; /* empty: none */
    struct crash_inode *inode;
};

/* ---- inodes and lists ---- */
struct crash_inode *crash_inode_ref(struct crash_inode *inode)
{
    if (inode)
        inode->refs++;
    return inode;
}

void crash_inode_unref(struct crash_inode *inode)
{
    if (!inode || --inode->refs > 0)
        return;
    if (inode->image)
        crash_image_free(inode->image);
    free(inode);
}

struct crash_inode *crash_inode_new(bool folder)
{
    struct crash_inode *inode = calloc(1, sizeof *inode);
    struct crash_image *image = folder ? NULL : crash_image_new();
    LILIO_ASSERT(inode && (folder || image)); /* a test without memory cannot go on */
    *inode = (struct crash_inode){.refs = 1, .image = image};
    return inode;
}

/* Room for one more element; a test without memory cannot go on. */
static void *make_room(void *list, size_t count, size_t *capacity, size_t element_size)
{
    if (count < *capacity)
        return list;
    *capacity = *capacity ? *capacity * 2 : 16;
    list = realloc(list, *capacity * element_size);
    LILIO_ASSERT(list);
    return list;
}

static struct crash_name *list_find(const struct crash_name_list *names, const char *text)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->list[i].text, text) == 0)
            return &names->list[i];
    return NULL;
}

static struct crash_inode *list_get(const struct crash_name_list *names, const char *text)
{
    const struct crash_name *name = list_find(names, text);
    return name ? name->inode : NULL;
}

static void list_remove(struct crash_name_list *names, const char *text)
{
    struct crash_name *name = list_find(names, text);
    if (!name)
        return;
    crash_inode_unref(name->inode);
    *name = names->list[--names->count];
}

static void list_set(struct crash_name_list *names, const char *text, struct crash_inode *inode)
{
    crash_inode_ref(inode);
    list_remove(names, text);
    names->list = make_room(names->list, names->count, &names->capacity, sizeof *names->list);
    struct crash_name *name = &names->list[names->count++];
    (void)snprintf(name->text, sizeof name->text, "%s", text); /* names are checked to fit */
    name->inode = inode;
}

static void list_clear(struct crash_name_list *names)
{
    for (size_t i = 0; i < names->count; i++)
        crash_inode_unref(names->list[i].inode);
    names->count = 0;
}

/* ---- the journal ---- */

/* What is in a folder that was renamed: "from/x" becomes "to/x". Without `to` it is gone. */
static void move_content(struct crash_name_list *names, const char *from, const char *to)
{
    for (size_t i = names->count; i-- > 0;) {
        struct crash_name *name = &names->list[i];
        if (!crash_name_in_folder(name->text, from))
            continue;
        char rest[CRASH_NAME_ROOM];
        (void)snprintf(rest, sizeof rest, "%s", name->text + strlen(from));
        if (!to[0]) {
            crash_inode_unref(name->inode);
            *name = names->list[--names->count];
            continue;
        }
        int size = snprintf(name->text, sizeof name->text, "%s%s", to, rest);
        LILIO_ASSERT(size < CRASH_NAME_ROOM);
    }
}

static void play(struct crash_name_list *names, const struct crash_note *note)
{
    const struct crash_inode *moved = note->from[0] ? list_get(names, note->from) : NULL;
    bool is_folder = moved && !moved->image;
    if (note->from[0])
        list_remove(names, note->from);
    if (is_folder)
        move_content(names, note->from, note->to);
    if (note->to[0])
        list_set(names, note->to, note->inode);
}

void crash_names_change(struct crash_names *names, const char *from, const char *to,
                        struct crash_inode *inode)
{
    names->notes =
        make_room(names->notes, names->note_count, &names->note_capacity, sizeof *names->notes);
    struct crash_note *note = &names->notes[names->note_count++];
    (void)snprintf(note->from, sizeof note->from, "%s", from ? from : "");
    (void)snprintf(note->to, sizeof note->to, "%s", to ? to : "");
    note->inode = crash_inode_ref(inode);
    if (inode && !inode->number)
        inode->number = ++names->last_number;
    play(&names->seen, note);
}

/* The folder a name is in: its length, 0 for the disk's own. */
size_t crash_name_folder_size(const char *name)
{
    const char *slash = strchr(name, '/');
    return slash ? (size_t)(slash - name) : 0;
}

bool crash_name_in_folder(const char *name, const char *folder)
{
    size_t size = crash_name_folder_size(name);
    return name[0] && size == strlen(folder) && memcmp(name, folder, size) == 0;
}

/* Plays the notes of the folder onto what is durable and forgets them; the others stay, in order.
 */
void crash_names_sync(struct crash_names *names, const char *folder)
{
    size_t kept = 0;
    for (size_t i = 0; i < names->note_count; i++) {
        struct crash_note note = names->notes[i];
        if (crash_name_in_folder(note.from, folder) || crash_name_in_folder(note.to, folder)) {
            play(&names->durable, &note);
            crash_inode_unref(note.inode);
        } else {
            names->notes[kept++] = note;
        }
    }
    names->note_count = kept;
}

/* Plays a drawn choice of all notes: one by one, or the first few of them (a journal in order). */
static void play_some(struct crash_names *names, enum crash_fate fate,
                      const struct base_random *random)
{
    bool in_order = base_random_u64(random) % 2;
    uint64_t first_lost = base_random_u64(random) % (names->note_count + 1);
    for (size_t i = 0; i < names->note_count; i++) {
        bool kept = in_order ? i < first_lost : base_random_u64(random) % 2;
        if (fate == CRASH_FATE_KEPT || (fate == CRASH_FATE_MIXED && kept))
            play(&names->durable, &names->notes[i]);
        crash_inode_unref(names->notes[i].inode);
    }
    names->note_count = 0;
}

/* Files whose folder did not survive are gone with it. */
static void drop_strays(struct crash_name_list *names)
{
    for (size_t i = names->count; i-- > 0;) {
        char folder[CRASH_NAME_ROOM];
        size_t size = crash_name_folder_size(names->list[i].text);
        memcpy(folder, names->list[i].text, size);
        folder[size] = '\0';
        if (size && !list_get(names, folder)) {
            crash_inode_unref(names->list[i].inode);
            names->list[i] = names->list[--names->count];
        }
    }
}

void crash_names_crash(struct crash_names *names, enum crash_fate fate,
                       const struct base_random *random)
{
    play_some(names, fate, random);
    drop_strays(&names->durable);
    list_clear(&names->seen);
    for (size_t i = 0; i < names->durable.count; i++) {
        struct crash_name *name = &names->durable.list[i];
        if (name->inode->image)
            crash_image_crash(name->inode->image, fate, random);
        list_set(&names->seen, name->text, name->inode);
    }
}

struct crash_inode *crash_names_get(const struct crash_names *names, const char *text)
{
    return list_get(&names->seen, text);
}

void crash_names_release(struct crash_names *names)
{
    list_clear(&names->seen);
    list_clear(&names->durable);
    for (size_t i = 0; i < names->note_count; i++)
        crash_inode_unref(names->notes[i].inode);
    free(names->seen.list);
    free(names->durable.list);
    free(names->notes);
}
