/* Unpacking of every type: the first byte chooses the type, the rest is the value. What unpacks
 * must pack again, and then unpack to the same: so nothing that is accepted lies outside what we
 * would send ourselves. */
#include "tests/unit/proto/sample.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t type_count(void)
{
    size_t count = 0;
    while (proto_types[count])
        count++;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct proto_type *type = proto_types[data[0] % type_count()];
    struct proto_arena *arena;
    struct base_buffer packed = {0};
    struct lilio_errinfo info;
    LILIO_ASSERT(proto_arena_new(&arena) == LILIO_OK);
    void *value = sample_take(type, arena), *copy = sample_take(type, arena),
         *again = sample_take(type, arena);
    if (proto_unpack(type, base_slice(data + 1, size - 1), arena, value, &info) == LILIO_OK) {
        LILIO_ASSERT(proto_copy(type, value, arena, copy) == LILIO_OK);
        enum lilio_err err = proto_pack(type, copy, &packed);
        /* Missing fields come back as defaults, which may make the whole longer than it may be. */
        LILIO_ASSERT(err == LILIO_OK || err == LILIO_E_TOO_BIG);
        if (err == LILIO_OK) {
            LILIO_ASSERT(proto_unpack(type, base_buffer_slice(&packed), arena, again, &info) ==
                         LILIO_OK);
            LILIO_ASSERT(sample_equal(type, value, again));
        }
    }
    base_buffer_release(&packed);
    proto_arena_free(&arena);
    return 0;
}
