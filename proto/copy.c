#include "proto/pack.h"

#include "base/banned.h"

static enum lilio_err copy_inside(const struct proto_type *type, struct proto_arena *arena,
                                  uint8_t *value);

static enum lilio_err copy_slice(struct proto_arena *arena, struct base_slice *slice)
{
    if (slice->size == 0) {
        *slice = (struct base_slice){0};
        return LILIO_OK;
    }
    void *bytes = proto_arena_take(arena, slice->size);
    if (!bytes)
        return LILIO_E_NOMEM;
    *slice = base_slice(memcpy(bytes, slice->data, slice->size), slice->size);
    return LILIO_OK;
}

static enum lilio_err copy_list(const struct proto_field *field, struct proto_arena *arena,
                                uint8_t *value)
{
    void **list = (void **)(value + field->offset);
    size_t count = *(size_t *)(value + field->count_offset);
    if (count == 0) {
        *list = NULL;
        return LILIO_OK;
    }
    size_t size = field->kind == PROTO_LIST ? field->type->size : sizeof(uint64_t);
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return LILIO_E_NOMEM;
    uint8_t *elements = proto_arena_take(arena, total);
    if (!elements)
        return LILIO_E_NOMEM;
    *list = memcpy(elements, *list, total);
    for (size_t i = 0; i < count && field->kind == PROTO_LIST; i++) {
        enum lilio_err err = copy_inside(field->type, arena, elements + i * size);
        if (err)
            return err;
    }
    return LILIO_OK;
}

/* value is a flat copy whose slices and lists still belong to the original: gives it its own. */
static enum lilio_err copy_inside(const struct proto_type *type, struct proto_arena *arena,
                                  uint8_t *value)
{
    for (size_t i = 0; i < type->field_count; i++) {
        const struct proto_field *field = &type->fields[i];
        enum lilio_err err = LILIO_OK;
        if (field->kind == PROTO_STR || field->kind == PROTO_BIN)
            err = copy_slice(arena, (struct base_slice *)(value + field->offset));
        else if (field->kind == PROTO_SUB)
            err = copy_inside(field->type, arena, value + field->offset);
        else if (field->kind == PROTO_LIST || field->kind == PROTO_U64S)
            err = copy_list(field, arena, value);
        if (err)
            return err;
    }
    return LILIO_OK;
}

enum lilio_err proto_copy(const struct proto_type *type, const void *value,
                          struct proto_arena *arena, void *ret)
{
    memcpy(ret, value, type->size);
    enum lilio_err err = copy_inside(type, arena, ret);
    if (err)
        memset(ret, 0, type->size);
    return err;
}
