/* Every object under a name, page by page. */
#ifndef TOOLS_WALK_H
#define TOOLS_WALK_H

#include "tools/cmd.h"

/* Calls visit for each key that begins with prefix, in byte order, until it fails or the user
 * interrupts; entry is borrowed. *ret_count (may be NULL) counts the visits that succeeded. */
LILIO_MUST_USE enum lilio_err
tools_walk(struct tools_context *context, const char *bucket, const char *prefix,
           enum lilio_err (*visit)(struct tools_context *context, const char *bucket,
                                   const struct lilio_list_entry *entry, void *argument),
           void *argument, uint64_t *ret_count);

/* With -r a name means what a folder's name means: the object of that name and all objects whose
 * key goes on with a slash behind it; never its neighbours that begin alike ("a" is not "ab").
 * "" and names that end in a slash take every key that begins so. */
bool tools_walk_within(const char *folder, const char *key);

#endif
