/* The content of one log entry of type RAFT_ENTRY_COMMANDS: up to COORD_ENTRY_COMMANDS_MAX
 * commands, each a packed proto_entry (layout: docs/formats/entry.md).
 *
 * Other coordinators' logs bring it, so unpacking trusts no length. Pure; any thread.
 */
#ifndef COORDINATOR_ENTRY_H
#define COORDINATOR_ENTRY_H

#include "base/bytes.h"
#include "coordinator/limits.h"

enum {
    COORD_ENTRY_FORMAT = 1,
    /* A round closes when it has reached COORD_ENTRY_BYTES_MAX, with a command that may be nearly
     * as large; the rest is heads. */
    COORD_ENTRY_CONTENT_MAX = 2 * COORD_ENTRY_BYTES_MAX + (64 << 10),
};

struct coord_entry {
    struct base_slice commands[COORD_ENTRY_COMMANDS_MAX];
    size_t count;
};

/* Replaces the content of out. Errors: INVALID (no command, too many), TOO_BIG, NOMEM. */
LILIO_MUST_USE enum lilio_err coord_entry_pack(const struct base_slice *commands, size_t count,
                                               struct base_buffer *out);
/* The commands point into the bytes. Errors: MALFORMED, UNSUPPORTED (another format). */
LILIO_MUST_USE enum lilio_err coord_entry_unpack(struct base_slice bytes, struct coord_entry *ret,
                                                 struct lilio_errinfo *info);

#endif
