#include "base/bytes.h"

#include <stdlib.h>

#include "base/banned.h"

enum { BUFFER_FIRST_BYTES = 64 };

enum lilio_err base_buffer_reserve(struct base_buffer *buffer, size_t more)
{
    size_t need;
    if (__builtin_add_overflow(buffer->size, more, &need))
        return LILIO_E_NOMEM;
    if (need <= buffer->capacity)
        return LILIO_OK;
    size_t capacity = buffer->capacity < BUFFER_FIRST_BYTES ? BUFFER_FIRST_BYTES : buffer->capacity;
    while (capacity < need)
        if (__builtin_mul_overflow(capacity, (size_t)2, &capacity))
            capacity = need;
    uint8_t *data = realloc(buffer->data, capacity);
    if (!data)
        return LILIO_E_NOMEM;
    buffer->data = data;
    buffer->capacity = capacity;
    return LILIO_OK;
}

enum lilio_err base_buffer_append(struct base_buffer *buffer, const void *data, size_t size)
{
    if (size == 0)
        return LILIO_OK;
    enum lilio_err err = base_buffer_reserve(buffer, size);
    if (err)
        return err;
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    return LILIO_OK;
}

void base_buffer_clear(struct base_buffer *buffer)
{
    buffer->size = 0;
}

void base_buffer_release(struct base_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct base_buffer){0};
}
