/* What comes out of other coordinators' logs and messages. First byte even: the rest is the content
 * of a log entry, which unpacks to commands inside of it that pack to the same bytes. Odd: the rest
 * is a raft message, two bytes of length first, then its payload; what is taken lies inside. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/entry.h"
#include "coordinator/peers.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool inside(struct base_slice part, struct base_slice whole)
{
    return part.size == 0 || (part.data >= whole.data && part.size <= whole.size &&
                              part.data + part.size <= whole.data + whole.size);
}

static void content(struct base_slice bytes)
{
    static struct coord_entry entry;
    struct base_buffer again = {0};
    if (coord_entry_unpack(bytes, &entry, NULL))
        return;
    must(entry.count >= 1 && entry.count <= COORD_ENTRY_COMMANDS_MAX);
    for (size_t i = 0; i < entry.count; i++)
        must(inside(entry.commands[i], bytes));
    must(coord_entry_pack(entry.commands, entry.count, &again) == LILIO_OK);
    must(base_slice_equal(base_buffer_slice(&again), bytes));
    base_buffer_release(&again);
}

static void message(struct base_slice bytes)
{
    static struct raft_entry entries[RAFT_SEND_ENTRIES_MAX];
    struct proto_arena *arena = NULL;
    struct proto_raft wire;
    struct raft_message message;
    if (bytes.size < 2)
        return;
    size_t body = base_le16_get(bytes.data), rest = bytes.size - 2;
    body = body < rest ? body : rest;
    struct base_slice payload = base_slice(bytes.data + 2 + body, rest - body);
    must(proto_arena_new(&arena) == LILIO_OK);
    if (!proto_raft_unpack(base_slice(bytes.data + 2, body), arena, &wire, NULL) &&
        !coord_peers_unpack(&wire, payload, entries, &message, NULL)) {
        must(message.count <= RAFT_SEND_ENTRIES_MAX);
        for (size_t i = 0; i < message.count; i++)
            must(inside(entries[i].data, payload) && entries[i].index == message.index + 1 + i);
    }
    proto_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0)
        content(base_slice(data + 1, size - 1));
    else
        message(base_slice(data + 1, size - 1));
    return 0;
}
