/* Aim: what is packed comes back, and no content of a log entry, whatever its lengths say, is read
 * beyond its end. Method: round trips at the bounds; every cut and every single changed byte of a
 * good content, in memory of exactly its size so that the sanitizer sees a step outside. */
#include "coord_fixture.h"

#include <stdlib.h>

#include "coordinator/entry.h"

#include "base/banned.h"

static void what_is_packed_comes_back(void **unused)
{
    (void)unused;
    static const size_t counts[] = {1, 2, COORD_ENTRY_COMMANDS_MAX};
    for (size_t n = 0; n < 3; n++) {
        struct base_slice commands[COORD_ENTRY_COMMANDS_MAX];
        uint8_t bytes[COORD_ENTRY_COMMANDS_MAX];
        struct base_buffer packed = {0};
        static struct coord_entry entry;
        memset(bytes, (int)n + 1, sizeof bytes);
        for (size_t i = 0; i < counts[n]; i++)
            commands[i] = base_slice(bytes, i); /* the first one is empty */
        assert_int_equal(coord_entry_pack(commands, counts[n], &packed), LILIO_OK);
        assert_int_equal(coord_entry_unpack(base_buffer_slice(&packed), &entry, NULL), LILIO_OK);
        assert_int_equal(entry.count, counts[n]);
        for (size_t i = 0; i < counts[n]; i++)
            assert_true(base_slice_equal(entry.commands[i], commands[i]));
        base_buffer_release(&packed);
    }
}

static void bounds_of_packing(void **unused)
{
    (void)unused;
    static struct base_slice commands[COORD_ENTRY_COMMANDS_MAX + 1];
    struct base_buffer packed = {0};
    uint8_t *large = calloc(1, COORD_ENTRY_CONTENT_MAX);
    assert_non_null(large);
    assert_int_equal(coord_entry_pack(commands, 0, &packed), LILIO_E_INVALID);
    assert_int_equal(coord_entry_pack(commands, COORD_ENTRY_COMMANDS_MAX + 1, &packed),
                     LILIO_E_INVALID);
    commands[0] = base_slice(large, COORD_ENTRY_CONTENT_MAX - 8);
    assert_int_equal(coord_entry_pack(commands, 1, &packed), LILIO_OK);
    assert_int_equal(packed.size, COORD_ENTRY_CONTENT_MAX);
    commands[0].size++;
    assert_int_equal(coord_entry_pack(commands, 1, &packed), LILIO_E_TOO_BIG);
    free(large);
    base_buffer_release(&packed);
}

/* In memory of its own size. */
static enum lilio_err unpack_alone(struct base_slice bytes, size_t size)
{
    static struct coord_entry entry;
    uint8_t *alone = malloc(size ? size : 1);
    assert_non_null(alone);
    memcpy(alone, bytes.data, size);
    enum lilio_err err = coord_entry_unpack(base_slice(alone, size), &entry, NULL);
    size_t total = 0;
    for (size_t i = 0; !err && i < entry.count; i++) {
        assert_true(entry.commands[i].data >= alone);
        assert_true(entry.commands[i].data + entry.commands[i].size <= alone + size);
        total += entry.commands[i].size;
    }
    if (!err)
        assert_int_equal(total + 4 + 4 * entry.count, size);
    free(alone);
    return err;
}

static void cut_or_changed_is_refused_or_whole(void **unused)
{
    (void)unused;
    struct base_slice commands[3] = {fx_text("first"), fx_text(""), fx_text("and a third one")};
    struct base_buffer packed = {0};
    assert_int_equal(coord_entry_pack(commands, 3, &packed), LILIO_OK);
    struct base_slice bytes = base_buffer_slice(&packed);
    for (size_t size = 0; size < bytes.size; size++)
        assert_int_not_equal(unpack_alone(bytes, size), LILIO_OK);
    for (size_t at = 0; at < bytes.size; at++)
        for (unsigned value = 0; value < 256; value++) {
            uint8_t was = packed.data[at];
            packed.data[at] = (uint8_t)value;
            enum lilio_err err = unpack_alone(bytes, bytes.size);
            if (at < 16 && value != was) /* heads: any change is seen */
                assert_int_not_equal(err, LILIO_OK);
            packed.data[at] = was;
        }
    assert_int_equal(unpack_alone(bytes, bytes.size), LILIO_OK);
    base_buffer_release(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_comes_back),
        cmocka_unit_test(bounds_of_packing),
        cmocka_unit_test(cut_or_changed_is_refused_or_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
