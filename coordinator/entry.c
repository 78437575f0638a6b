#include "coordinator/entry.h"

#include "base/banned.h"

enum { HEAD_BYTES = 4, SIZE_BYTES = 4 };

enum lilio_err coord_entry_pack(const struct base_slice *commands, size_t count,
                                struct base_buffer *out)
{
    size_t total = HEAD_BYTES + count * SIZE_BYTES;
    if (count == 0 || count > COORD_ENTRY_COMMANDS_MAX)
        return LILIO_E_INVALID;
    for (size_t i = 0; i < count; i++)
        if (commands[i].size > COORD_ENTRY_CONTENT_MAX - total)
            return LILIO_E_TOO_BIG;
        else
            total += commands[i].size;
    base_buffer_clear(out);
    enum lilio_err err = base_buffer_reserve(out, total);
    if (err)
        return err;
    uint8_t *at = out->data;
    at[0] = COORD_ENTRY_FORMAT;
    at[1] = 0;
    base_le16_put(at + 2, (uint16_t)count);
    at += HEAD_BYTES;
    for (size_t i = 0; i < count; i++, at += SIZE_BYTES)
        base_le32_put(at, (uint32_t)commands[i].size);
    for (size_t i = 0; i < count; i++) {
        if (commands[i].size > 0)
            memcpy(at, commands[i].data, commands[i].size);
        at += commands[i].size;
    }
    out->size = total;
    return LILIO_OK;
}

enum lilio_err coord_entry_unpack(struct base_slice bytes, struct coord_entry *ret,
                                  struct lilio_errinfo *info)
{
    if (bytes.size < HEAD_BYTES || bytes.size > COORD_ENTRY_CONTENT_MAX)
        return lilio_fail(info, LILIO_E_MALFORMED, "a log entry of %zu bytes", bytes.size);
    if (bytes.data[0] != COORD_ENTRY_FORMAT || bytes.data[1] != 0)
        return lilio_fail(info, LILIO_E_UNSUPPORTED, "a log entry of format %u", bytes.data[0]);
    size_t count = base_le16_get(bytes.data + 2);
    if (count == 0 || count > COORD_ENTRY_COMMANDS_MAX ||
        bytes.size - HEAD_BYTES < count * SIZE_BYTES)
        return lilio_fail(info, LILIO_E_MALFORMED, "a log entry of %zu commands in %zu bytes",
                          count, bytes.size);
    size_t at = HEAD_BYTES + count * SIZE_BYTES;
    for (size_t i = 0; i < count; i++) {
        size_t size = base_le32_get(bytes.data + HEAD_BYTES + i * SIZE_BYTES);
        if (size > bytes.size - at)
            return lilio_fail(info, LILIO_E_MALFORMED, "command %zu of a log entry ends behind it",
                              i);
        ret->commands[i] = base_slice(bytes.data + at, size);
        at += size;
    }
    if (at != bytes.size)
        return lilio_fail(info, LILIO_E_MALFORMED, "%zu bytes behind the last command",
                          bytes.size - at);
    ret->count = count;
    return LILIO_OK;
}
