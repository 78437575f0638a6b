/* Seeded values of any type of the schema, made and compared by descriptor; and packed bytes made
 * by hand. */
#ifndef TESTS_PROTO_SAMPLE_H
#define TESTS_PROTO_SAMPLE_H

#include "base/env.h"
#include "proto/messages.h"

/* Fills a value with random fields: extremes, empty and longish texts, short lists. Memory from the
 * arena. */
void sample_fill(const struct proto_type *type, const struct base_random *random,
                 struct proto_arena *arena, void *ret);
/* Whether two values are equal in every field, through all slices and lists; body_version is left
 * out. */
bool sample_equal(const struct proto_type *type, const void *a, const void *b);
/* Memory of type->size zero bytes from the arena. */
void *sample_take(const struct proto_type *type, struct proto_arena *arena);

/* msgpack by hand; each appends one object (of an array only its head). */
void sample_array(struct base_buffer *out, uint32_t count);
void sample_unsigned(struct base_buffer *out, uint64_t value);
void sample_signed(struct base_buffer *out, int64_t value);
void sample_string(struct base_buffer *out, const void *text, uint32_t size);
void sample_binary(struct base_buffer *out, const void *bytes, uint32_t size);
/* What a field holds when nothing was set. */
void sample_default(struct base_buffer *out, const struct proto_field *field);
/* The head of a value of the type, its version, and defaults of all fields before index; count
 * fields are promised. */
void sample_before(struct base_buffer *out, const struct proto_type *type, size_t index,
                   size_t count);
/* A copy of exactly the buffer's size, so that the sanitizers see a read beyond it. Free the data.
 */
struct base_slice sample_exact(const void *bytes, size_t size);

#endif
