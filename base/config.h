/* YAML in and out through libyaml (the only file that includes yaml.h): a small read-only tree for
 * reading, an emitter for writing lilio.yaml. Input is hostile: size, depth, node count and aliases
 * are bounded. */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include "base/bytes.h"
#include "base/err.h"

struct base_yaml;      /* a parsed document; owns its nodes */
struct base_yaml_node; /* borrowed from the document */

/* Limits: 1 MiB, depth 16, 65536 nodes, no aliases. Errors: NOT_FOUND, IO, CONFIG (with line and
 * column). */
LILIO_MUST_USE enum lilio_err base_yaml_load(const char *path, struct base_yaml **ret_yaml,
                                             struct lilio_errinfo *info);
LILIO_MUST_USE enum lilio_err base_yaml_parse(struct base_slice text, struct base_yaml **ret_yaml,
                                              struct lilio_errinfo *info);
void base_yaml_free(struct base_yaml **yaml);
const struct base_yaml_node *base_yaml_root(const struct base_yaml *yaml);
/* NULL if the node is no mapping or has no such key. */
const struct base_yaml_node *base_yaml_get(const struct base_yaml_node *node, const char *key);
/* Elements of a sequence (0 for anything else). */
size_t base_yaml_count(const struct base_yaml_node *node);
const struct base_yaml_node *base_yaml_at(const struct base_yaml_node *node, size_t i);
/* NUL-terminated scalar text, NULL if the node is NULL or no scalar. */
const char *base_yaml_text(const struct base_yaml_node *node);
/* Unsigned number; false if it is none or out of range. */
bool base_yaml_u64(const struct base_yaml_node *node, uint64_t *ret);
size_t base_yaml_line(const struct base_yaml_node *node); /* from 1 */

/* Emitter: calls nest begin/end; text is quoted as YAML needs it. Errors are kept and returned by
 * finish. */
struct base_yaml_writer;
LILIO_MUST_USE enum lilio_err base_yaml_writer_new(struct base_yaml_writer **ret_writer);
void base_yaml_writer_free(struct base_yaml_writer **writer);
void base_yaml_map_begin(struct base_yaml_writer *writer,
                         const char *key); /* key NULL inside a list or at the root */
void base_yaml_map_end(struct base_yaml_writer *writer);
void base_yaml_list_begin(struct base_yaml_writer *writer, const char *key);
void base_yaml_list_end(struct base_yaml_writer *writer);
void base_yaml_text_put(struct base_yaml_writer *writer, const char *key, const char *text);
void base_yaml_u64_put(struct base_yaml_writer *writer, const char *key, uint64_t value);
/* Appends the document to *ret_text. */
LILIO_MUST_USE enum lilio_err base_yaml_finish(struct base_yaml_writer *writer,
                                               struct base_buffer *ret_text);

/* Replaces path durably: temporary file, fsync, rename, fsync of the folder. mode as for open(2).
 */
LILIO_MUST_USE enum lilio_err base_file_replace(const char *path, struct base_slice content,
                                                unsigned mode, struct lilio_errinfo *info);

#endif
