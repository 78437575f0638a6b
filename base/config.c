/* YAML through libyaml, which is known here and nowhere else.
 *
 * Reading follows libyaml's events and stops at the first one that breaks a limit, so that memory
 * and time are bounded by the size of the text; aliases, which could multiply it, are refused.
 */
#include "base/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <yaml.h>

#include "base/env.h"

#include "base/banned.h"

enum {
    TEXT_MAX_BYTES = 1 << 20,
    DEPTH_MAX = 16,
    NODES_MAX = 65536,
    KEYS_MAX = 1024, /* of one mapping: looking for duplicates is quadratic */
};

enum kind { SCALAR, LIST, MAP };

struct base_yaml_node {
    enum kind kind;
    size_t line;
    char *key;  /* inside a mapping */
    char *text; /* of a scalar */
    struct base_yaml_node **items;
    size_t count, capacity;
};

struct base_yaml {
    struct base_yaml_node *root;
    size_t node_count;
};

/* ---- reading ---- */

struct reader {
    yaml_parser_t parser;
    struct base_yaml *yaml;
    struct lilio_errinfo *info;
};

static void node_free(struct base_yaml_node *node)
{
    if (!node)
        return;
    for (size_t i = 0; i < node->count; i++)
        node_free(node->items[i]);
    free(node->items);
    free(node->key);
    free(node->text);
    free(node);
}

static enum lilio_err fail_at(struct reader *reader, yaml_mark_t mark, const char *what)
{
    return lilio_fail(reader->info, LILIO_E_CONFIG, "line %zu, column %zu: %s", mark.line + 1,
                      mark.column + 1, what);
}

static enum lilio_err next_event(struct reader *reader, yaml_event_t *ret_event)
{
    if (yaml_parser_parse(&reader->parser, ret_event))
        return LILIO_OK;
    if (reader->parser.error == YAML_MEMORY_ERROR)
        return lilio_fail(reader->info, LILIO_E_NOMEM, "out of memory");
    const char *problem = reader->parser.problem;
    return fail_at(reader, reader->parser.problem_mark, problem ? problem : "not YAML");
}

/* A copy of a scalar's text, which may not hold a NUL: it would hide what comes after it. */
static enum lilio_err copy_text(struct reader *reader, const yaml_event_t *event, char **ret_text)
{
    const char *value = (const char *)event->data.scalar.value;
    size_t size = event->data.scalar.length;
    if (memchr(value, 0, size))
        return fail_at(reader, event->start_mark, "a NUL inside a text");
    char *text = malloc(size + 1);
    if (!text)
        return lilio_fail(reader->info, LILIO_E_NOMEM, "out of memory");
    memcpy(text, value, size);
    text[size] = '\0';
    *ret_text = text;
    return LILIO_OK;
}

static enum lilio_err add_item(struct reader *reader, struct base_yaml_node *node,
                               struct base_yaml_node *item)
{
    if (node->count == node->capacity) {
        size_t capacity = node->capacity ? node->capacity * 2 : 4;
        struct base_yaml_node **items = realloc(node->items, capacity * sizeof *items);
        if (!items)
            return lilio_fail(reader->info, LILIO_E_NOMEM, "out of memory");
        node->items = items;
        node->capacity = capacity;
    }
    node->items[node->count++] = item;
    return LILIO_OK;
}

static enum lilio_err read_node(struct reader *reader, const yaml_event_t *event, unsigned depth,
                                struct base_yaml_node **ret_node);

static enum lilio_err read_list(struct reader *reader, unsigned depth, struct base_yaml_node *node)
{
    enum lilio_err err = LILIO_OK;
    for (bool end = false; !end && !err;) {
        yaml_event_t event;
        struct base_yaml_node *item = NULL;
        err = next_event(reader, &event);
        if (err)
            break;
        end = event.type == YAML_SEQUENCE_END_EVENT;
        if (!end)
            err = read_node(reader, &event, depth + 1, &item);
        if (item && (err = add_item(reader, node, item)))
            node_free(item);
        yaml_event_delete(&event);
    }
    return err;
}

static enum lilio_err read_key(struct reader *reader, const yaml_event_t *event,
                               const struct base_yaml_node *map, char **ret_key)
{
    if (event->type != YAML_SCALAR_EVENT)
        return fail_at(reader, event->start_mark, "a key must be a plain text");
    if (map->count == KEYS_MAX)
        return fail_at(reader, event->start_mark, "too many keys");
    char *key;
    enum lilio_err err = copy_text(reader, event, &key);
    if (err)
        return err;
    if (base_yaml_get(map, key)) {
        free(key);
        return fail_at(reader, event->start_mark, "the key is there twice");
    }
    *ret_key = key;
    return LILIO_OK;
}

/* The value of the key that was just read; takes the key. */
static enum lilio_err read_value(struct reader *reader, unsigned depth, struct base_yaml_node *map,
                                 char *key)
{
    yaml_event_t event;
    struct base_yaml_node *item = NULL;
    enum lilio_err err = next_event(reader, &event);
    if (!err) {
        err = read_node(reader, &event, depth + 1, &item);
        yaml_event_delete(&event);
    }
    if (err) {
        free(key);
        return err;
    }
    item->key = key;
    err = add_item(reader, map, item);
    if (err)
        node_free(item);
    return err;
}

static enum lilio_err read_map(struct reader *reader, unsigned depth, struct base_yaml_node *node)
{
    enum lilio_err err = LILIO_OK;
    for (bool end = false; !end && !err;) {
        yaml_event_t event;
        char *key = NULL;
        err = next_event(reader, &event);
        if (err)
            break;
        end = event.type == YAML_MAPPING_END_EVENT;
        if (!end)
            err = read_key(reader, &event, node, &key);
        yaml_event_delete(&event);
        if (key)
            err = read_value(reader, depth, node, key);
    }
    return err;
}

/* The node that starts with this event. */
static enum lilio_err read_node(struct reader *reader, const yaml_event_t *event, unsigned depth,
                                struct base_yaml_node **ret_node)
{
    if (event->type == YAML_ALIAS_EVENT)
        return fail_at(reader, event->start_mark, "aliases are not allowed");
    if (depth > DEPTH_MAX)
        return fail_at(reader, event->start_mark, "nested too deeply");
    if (++reader->yaml->node_count > NODES_MAX)
        return fail_at(reader, event->start_mark, "too many values");
    struct base_yaml_node *node = calloc(1, sizeof *node);
    if (!node)
        return lilio_fail(reader->info, LILIO_E_NOMEM, "out of memory");
    node->line = event->start_mark.line + 1;
    enum lilio_err err;
    if (event->type == YAML_SCALAR_EVENT) {
        node->kind = SCALAR;
        err = copy_text(reader, event, &node->text);
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        node->kind = LIST;
        err = read_list(reader, depth, node);
    } else {
        LILIO_ASSERT(event->type == YAML_MAPPING_START_EVENT); /* libyaml's grammar has no other */
        node->kind = MAP;
        err = read_map(reader, depth, node);
    }
    if (err)
        node_free(node);
    else
        *ret_node = node;
    return err;
}

/* Exactly one document, or none. */
static enum lilio_err read_stream(struct reader *reader)
{
    enum lilio_err err = LILIO_OK;
    for (bool end = false; !end && !err;) {
        yaml_event_t event;
        err = next_event(reader, &event);
        if (err)
            break;
        end = event.type == YAML_STREAM_END_EVENT;
        bool frame = end || event.type == YAML_STREAM_START_EVENT ||
                     event.type == YAML_DOCUMENT_START_EVENT ||
                     event.type == YAML_DOCUMENT_END_EVENT;
        if (!frame && reader->yaml->root)
            err = fail_at(reader, event.start_mark, "more than one document");
        else if (!frame)
            err = read_node(reader, &event, 1, &reader->yaml->root);
        yaml_event_delete(&event);
    }
    return err;
}

enum lilio_err base_yaml_parse(struct base_slice text, struct base_yaml **ret_yaml,
                               struct lilio_errinfo *info)
{
    if (text.size > TEXT_MAX_BYTES)
        return lilio_fail(info, LILIO_E_CONFIG, "larger than %d bytes", TEXT_MAX_BYTES);
    struct reader reader = {.yaml = calloc(1, sizeof *reader.yaml), .info = info};
    if (!reader.yaml)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    if (!yaml_parser_initialize(&reader.parser)) {
        base_yaml_free(&reader.yaml);
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    }
    yaml_parser_set_input_string(&reader.parser, text.size ? text.data : (const uint8_t *)"",
                                 text.size);
    enum lilio_err err = read_stream(&reader);
    yaml_parser_delete(&reader.parser);
    if (err)
        base_yaml_free(&reader.yaml);
    else
        *ret_yaml = reader.yaml;
    return err;
}

/* The file's bytes, one more than the limit at most: that is enough to see that it is too large. */
static enum lilio_err read_file(const char *path, struct base_buffer *ret_text,
                                struct lilio_errinfo *info)
{
    enum lilio_err err = base_buffer_reserve(ret_text, TEXT_MAX_BYTES + 1);
    if (err)
        return lilio_fail(info, err, "%s: out of memory", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return lilio_fail(info, lilio_err_from_errno(errno), "%s: %s", path, strerror(errno));
    ssize_t got = 1;
    while (got != 0 && ret_text->size <= TEXT_MAX_BYTES && !err) {
        got = read(fd, ret_text->data + ret_text->size, TEXT_MAX_BYTES + 1 - ret_text->size);
        if (got > 0)
            ret_text->size += (size_t)got;
        else if (got < 0 && errno != EINTR)
            err = lilio_fail(info, lilio_err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    close(fd);
    return err;
}

enum lilio_err base_yaml_load(const char *path, struct base_yaml **ret_yaml,
                              struct lilio_errinfo *info)
{
    struct base_buffer text = {0};
    enum lilio_err err = read_file(path, &text, info);
    if (!err) {
        err = base_yaml_parse(base_buffer_slice(&text), ret_yaml, info);
        if (err)
            lilio_prefix(info, err, "%s", path);
    }
    base_buffer_release(&text);
    return err;
}

void base_yaml_free(struct base_yaml **yaml)
{
    if (!*yaml)
        return;
    node_free((*yaml)->root);
    free(*yaml);
    *yaml = NULL;
}

const struct base_yaml_node *base_yaml_root(const struct base_yaml *yaml)
{
    return yaml->root;
}

const struct base_yaml_node *base_yaml_get(const struct base_yaml_node *node, const char *key)
{
    for (size_t i = 0; node && node->kind == MAP && i < node->count; i++)
        if (strcmp(node->items[i]->key, key) == 0)
            return node->items[i];
    return NULL;
}

size_t base_yaml_count(const struct base_yaml_node *node)
{
    return node && node->kind == LIST ? node->count : 0;
}

const struct base_yaml_node *base_yaml_at(const struct base_yaml_node *node, size_t i)
{
    return i < base_yaml_count(node) ? node->items[i] : NULL;
}

const char *base_yaml_text(const struct base_yaml_node *node)
{
    return node ? node->text : NULL;
}

bool base_yaml_u64(const struct base_yaml_node *node, uint64_t *ret)
{
    const char *text = base_yaml_text(node);
    if (!text || !*text)
        return false;
    uint64_t value = 0;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
            return false;
    }
    *ret = value;
    return true;
}

size_t base_yaml_line(const struct base_yaml_node *node)
{
    return node ? node->line : 0;
}

/* ---- writing ---- */

struct base_yaml_writer {
    yaml_emitter_t emitter;
    struct base_buffer text;
    enum lilio_err err; /* the first failure; nothing is emitted after it */
    unsigned depth;
};

static int take_output(void *context, unsigned char *data, size_t size)
{
    struct base_yaml_writer *writer = context;
    return base_buffer_append(&writer->text, data, size) == LILIO_OK;
}

/* `made` is the result of the event's initialiser: it fails without memory or for text that is no
 * UTF-8. */
static void emit(struct base_yaml_writer *writer, yaml_event_t *event, int made)
{
    if (writer->err && made)
        yaml_event_delete(event);
    else if (!writer->err && !made)
        writer->err = LILIO_E_INVALID;
    else if (!writer->err && !yaml_emitter_emit(&writer->emitter, event))
        writer->err = LILIO_E_NOMEM;
}

enum lilio_err base_yaml_writer_new(struct base_yaml_writer **ret_writer)
{
    struct base_yaml_writer *writer = calloc(1, sizeof *writer);
    if (!writer || !yaml_emitter_initialize(&writer->emitter)) {
        free(writer);
        return LILIO_E_NOMEM;
    }
    yaml_emitter_set_output(&writer->emitter, take_output, writer);
    yaml_emitter_set_unicode(&writer->emitter, 1);
    yaml_emitter_set_width(&writer->emitter, -1);
    yaml_event_t event;
    emit(writer, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING));
    emit(writer, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1));
    *ret_writer = writer;
    return LILIO_OK;
}

void base_yaml_writer_free(struct base_yaml_writer **writer)
{
    if (!*writer)
        return;
    yaml_emitter_delete(&(*writer)->emitter);
    base_buffer_release(&(*writer)->text);
    free(*writer);
    *writer = NULL;
}

/* Text that another reader of YAML could take for a number, a truth value or nothing is quoted. */
static bool looks_like_word(const char *text)
{
    static const char *const taken[] = {"true", "false", "yes", "no", "on",
                                        "off",  "null",  "y",   "n",  NULL};
    for (size_t i = 0; taken[i]; i++)
        if (strcasecmp(text, taken[i]) == 0)
            return false;
    char first = text[0];
    return (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') || first == '/';
}

static void emit_scalar(struct base_yaml_writer *writer, const char *text, bool quoted)
{
    yaml_event_t event;
    yaml_scalar_style_t style = quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE;
    int made = yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
                                            (int)strlen(text), 1, 1, style);
    emit(writer, &event, made);
}

static void emit_text(struct base_yaml_writer *writer, const char *text)
{
    if (text)
        emit_scalar(writer, text, !looks_like_word(text));
}

void base_yaml_map_begin(struct base_yaml_writer *writer, const char *key)
{
    yaml_event_t event;
    emit_text(writer, key);
    int made = yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE);
    emit(writer, &event, made);
    writer->depth++;
}

void base_yaml_map_end(struct base_yaml_writer *writer)
{
    yaml_event_t event;
    LILIO_ASSERT(writer->depth > 0);
    emit(writer, &event, yaml_mapping_end_event_initialize(&event));
    writer->depth--;
}

void base_yaml_list_begin(struct base_yaml_writer *writer, const char *key)
{
    yaml_event_t event;
    emit_text(writer, key);
    int made =
        yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE);
    emit(writer, &event, made);
    writer->depth++;
}

void base_yaml_list_end(struct base_yaml_writer *writer)
{
    yaml_event_t event;
    LILIO_ASSERT(writer->depth > 0);
    emit(writer, &event, yaml_sequence_end_event_initialize(&event));
    writer->depth--;
}

void base_yaml_text_put(struct base_yaml_writer *writer, const char *key, const char *text)
{
    emit_text(writer, key);
    emit_text(writer, text);
}

void base_yaml_u64_put(struct base_yaml_writer *writer, const char *key, uint64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value); /* 20 digits at most */
    emit_text(writer, key);
    emit_scalar(writer, text, false);
}

enum lilio_err base_yaml_finish(struct base_yaml_writer *writer, struct base_buffer *ret_text)
{
    yaml_event_t event;
    LILIO_ASSERT(writer->depth == 0);
    emit(writer, &event, yaml_document_end_event_initialize(&event, 1));
    emit(writer, &event, yaml_stream_end_event_initialize(&event));
    if (writer->err)
        return writer->err;
    return base_buffer_append(ret_text, writer->text.data, writer->text.size);
}

/* ---- replacing a file ---- */

static enum lilio_err fail_path(struct lilio_errinfo *info, const char *what, const char *path)
{
    int code = errno;
    return lilio_fail(info, lilio_err_from_errno(code), "%s %s: %s", what, path, strerror(code));
}

static enum lilio_err write_all(int fd, struct base_slice content, const char *path,
                                struct lilio_errinfo *info)
{
    while (content.size > 0) {
        ssize_t wrote = write(fd, content.data, content.size);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return fail_path(info, "write", path);
        content = base_slice(content.data + wrote, content.size - (size_t)wrote);
    }
    return LILIO_OK;
}

static enum lilio_err write_temporary(const char *path, struct base_slice content, unsigned mode,
                                      struct lilio_errinfo *info)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, (mode_t)mode);
    if (fd < 0)
        return fail_path(info, "create", path);
    enum lilio_err err = write_all(fd, content, path, info);
    if (!err && fsync(fd) < 0)
        err = fail_path(info, "sync", path);
    if (close(fd) < 0 && !err)
        err = fail_path(info, "close", path);
    return err;
}

static enum lilio_err sync_folder_of(const char *path, struct lilio_errinfo *info)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!folder)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    enum lilio_err err = LILIO_OK;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        err = fail_path(info, "sync", folder);
    if (fd >= 0)
        close(fd);
    free(folder);
    return err;
}

enum lilio_err base_file_replace(const char *path, struct base_slice content, unsigned mode,
                                 struct lilio_errinfo *info)
{
    char *temporary;
    uint64_t salt = base_random_u64(base_random_system());
    if (asprintf(&temporary, "%s.%016llx.tmp", path, (unsigned long long)salt) < 0)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    enum lilio_err err = write_temporary(temporary, content, mode, info);
    if (!err && rename(temporary, path) < 0)
        err = fail_path(info, "replace", path);
    if (err)
        (void)unlink(temporary); /* the first failure is the one to report */
    else
        err = sync_folder_of(path, info);
    free(temporary);
    return err;
}
