#include "tools/out.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/pack.h"
#include "tools/exit_code.h"

#include "base/banned.h"

/* Running out of memory for a line of output has no better answer than to say so and stop: nothing
 * that was done is undone by it. */
static void *need(void *memory)
{
    if (!memory) {
        fputs("lilio-ec: out of memory\n", stderr);
        exit(TOOLS_EXIT_FAILURE);
    }
    return memory;
}

/* ---- names fit for a terminal ---- */

/* Length of the well-formed UTF-8 character at the start of text; 0 if there is none. */
static size_t character_size(const char *text)
{
    unsigned char first = (unsigned char)text[0];
    size_t size = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    return strnlen(text, size) == size && proto_utf8_valid(base_slice(text, size)) ? size : 0;
}

/* True for the control characters of ASCII and of Latin-1, which terminals obey. */
static bool is_control(const char *text)
{
    unsigned char first = (unsigned char)text[0], second = (unsigned char)text[1];
    return first < 0x20 || first == 0x7f || (first == 0xc2 && second < 0xa0);
}

/* Copies text with the bytes replaced that a terminal (JSON: a parser) must not meet; the caller
 * frees. Control characters stay in JSON, which has its own escapes for them. */
static char *sanitized(const char *text, bool for_json)
{
    static const char hex[] = "0123456789abcdef";
    char *copy = need(malloc(4 * strlen(text) + 1));
    size_t used = 0;
    while (*text) {
        size_t size = character_size(text);
        if (size > 0 && (for_json || !is_control(text))) {
            memcpy(copy + used, text, size);
            used += size;
            text += size;
        } else if (for_json) {
            memcpy(copy + used, "\xef\xbf\xbd", 3);
            used += 3;
            text++;
        } else {
            unsigned char byte = (unsigned char)*text++;
            memcpy(copy + used, (char[]){'\\', 'x', hex[byte >> 4], hex[byte & 15]}, 4);
            used += 4;
        }
    }
    copy[used] = '\0';
    return copy;
}

const char *tools_text_name(const char *name, unsigned slot)
{
    static __thread char *kept[4];
    free(kept[slot % 4]);
    kept[slot % 4] = sanitized(name, false);
    return kept[slot % 4];
}

/* ---- JSON values ---- */

cJSON *tools_json_new(void)
{
    return need(cJSON_CreateObject());
}

cJSON *tools_json_object(cJSON *object, const char *name)
{
    return need(cJSON_AddObjectToObject(object, name));
}

cJSON *tools_json_list(cJSON *object, const char *name)
{
    return need(cJSON_AddArrayToObject(object, name));
}

void tools_json_add(cJSON *list, cJSON *element)
{
    if (!cJSON_AddItemToArray(list, element))
        need(NULL);
}

void tools_json_u64(cJSON *object, const char *name, uint64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    need(cJSON_AddRawToObject(object, name, text));
}

void tools_json_text(cJSON *object, const char *name, const char *text)
{
    if (!text) {
        need(cJSON_AddNullToObject(object, name));
        return;
    }
    char *clean = sanitized(text, true);
    need(cJSON_AddStringToObject(object, name, clean));
    free(clean);
}

void tools_json_bool(cJSON *object, const char *name, bool value)
{
    need(cJSON_AddBoolToObject(object, name, value));
}

void tools_json_real(cJSON *object, const char *name, double value)
{
    char text[64];
    (void)snprintf(text, sizeof text, "%.3f", value);
    need(cJSON_AddRawToObject(object, name, text));
}

void tools_json_version(cJSON *object, const char *name, struct lilio_version version)
{
    char text[TOOLS_TEXT];
    (void)snprintf(text, sizeof text, "%llu.%u", (unsigned long long)version.index,
                   version.ordinal);
    tools_json_text(object, name, text);
}

void tools_json_profile(cJSON *object, const char *name, struct lilio_profile profile)
{
    char text[TOOLS_TEXT];
    (void)snprintf(text, sizeof text, "%u+%u", profile.data_count, profile.parity_count);
    tools_json_text(object, name, text);
}

void tools_json_time(cJSON *object, const char *name, uint64_t wall_ms)
{
    char text[TOOLS_TEXT];
    tools_json_text(object, name, wall_ms ? tools_text_time(wall_ms, text) : NULL);
}

/* ---- the one object ---- */

static void put(struct tools_out *out, const char *text)
{
    if (fputs(text, stdout) < 0)
        out->failed = true;
}

/* The members of object as text, without the braces around them; the caller frees. */
static char *members_text(cJSON *object)
{
    char *text = need(cJSON_PrintUnformatted(object));
    size_t size = strlen(text);
    memmove(text, text + 1, size - 2);
    text[size - 2] = '\0';
    return text;
}

void tools_out_object(struct tools_out *out, cJSON *object)
{
    if (out->json && out->list_open) {
        char *members = members_text(object);
        put(out, members[0] ? "]," : "]");
        put(out, members);
        put(out, "}\n");
        cJSON_free(members);
        out->list_open = false;
    } else if (out->json) {
        char *text = need(cJSON_PrintUnformatted(object));
        put(out, text);
        put(out, "\n");
        cJSON_free(text);
    }
    cJSON_Delete(object);
}

void tools_out_list_begin(struct tools_out *out, const char *name)
{
    if (!out->json)
        return;
    put(out, "{\"");
    put(out, name);
    put(out, "\":[");
    out->list_open = true;
    out->list_used = false;
}

void tools_out_list_add(struct tools_out *out, cJSON *element)
{
    if (out->json) {
        char *text = need(cJSON_PrintUnformatted(element));
        if (out->list_used)
            put(out, ",");
        put(out, text);
        cJSON_free(text);
        out->list_used = true;
    }
    cJSON_Delete(element);
}

void tools_out_line(struct tools_out *out, const char *format, ...)
{
    if (out->json)
        return;
    va_list args;
    va_start(args, format);
    if (vfprintf(stdout, format, args) < 0 || fputc('\n', stdout) < 0)
        out->failed = true;
    va_end(args);
}

void tools_out_error(struct tools_out *out, bool to_stderr, enum lilio_err err, const char *text)
{
    if (!out->json) {
        (void)fflush(stdout);
        (void)fprintf(stderr, "lilio-ec: %s\n", tools_text_name(text, 0));
        return;
    }
    cJSON *root = need(cJSON_CreateObject());
    cJSON *error = need(cJSON_AddObjectToObject(root, "error"));
    need(cJSON_AddNumberToObject(error, "code", err));
    tools_json_text(error, "name", lilio_err_name(err));
    tools_json_text(error, "message", text);
    need(cJSON_AddNumberToObject(error, "exit", tools_exit_code(err)));
    if (!to_stderr) {
        tools_out_object(out, root);
        return;
    }
    char *line = need(cJSON_PrintUnformatted(root));
    (void)fprintf(stderr, "%s\n", line);
    cJSON_free(line);
    cJSON_Delete(root);
}

bool tools_out_finish(struct tools_out *out)
{
    if (fflush(stdout) != 0)
        out->failed = true;
    if (out->failed && errno != EPIPE)
        (void)fprintf(stderr, "lilio-ec: standard output took not everything: %s\n",
                      strerror(errno));
    return !out->failed;
}

/* ---- tables ---- */

struct tools_table {
    const char *const *columns;
    size_t column_count;
    char **cells;
    size_t cell_count, cell_room;
};

struct tools_table *tools_table_new(const char *const *columns)
{
    struct tools_table *table = need(calloc(1, sizeof *table));
    table->columns = columns;
    while (columns[table->column_count])
        table->column_count++;
    return table;
}

void tools_table_add(struct tools_table *table, const char *format, ...)
{
    if (table->cell_count == table->cell_room) {
        table->cell_room = table->cell_room ? 2 * table->cell_room : 64;
        table->cells = need(reallocarray(table->cells, table->cell_room, sizeof *table->cells));
    }
    va_list args;
    char *cell = NULL;
    va_start(args, format);
    int size = vasprintf(&cell, format, args);
    va_end(args);
    table->cells[table->cell_count++] = size < 0 ? need(NULL) : cell;
}

static void row_print(const struct tools_table *table, struct tools_out *out, char *const *cells,
                      const size_t *widths)
{
    for (size_t i = 0; i < table->column_count; i++) {
        const char *cell = cells ? cells[i] : table->columns[i];
        bool right = table->columns[i][0] == '>';
        if (!cells && right)
            cell++;
        bool last = i + 1 == table->column_count;
        int width = right ? (int)widths[i] : last ? 0 : -(int)widths[i];
        if (printf("%s%*s%s", i ? "  " : "", width, cell, last ? "\n" : "") < 0)
            out->failed = true;
    }
}

void tools_table_print(struct tools_table **table, struct tools_out *out)
{
    struct tools_table *t = *table;
    size_t columns = t->column_count;
    if (!out->json) {
        size_t *widths = need(calloc(columns, sizeof *widths));
        for (size_t i = 0; i < columns; i++)
            widths[i] = strlen(t->columns[i]) - (t->columns[i][0] == '>');
        for (size_t i = 0; i < t->cell_count; i++)
            if (strlen(t->cells[i]) > widths[i % columns])
                widths[i % columns] = strlen(t->cells[i]);
        row_print(t, out, NULL, widths);
        for (size_t i = 0; i + columns <= t->cell_count; i += columns)
            row_print(t, out, t->cells + i, widths);
        free(widths);
    }
    for (size_t i = 0; i < t->cell_count; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t);
    *table = NULL;
}

/* ---- text for people ---- */

char *tools_text_bytes(uint64_t bytes, char room[TOOLS_TEXT])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.95 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(room, TOOLS_TEXT, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return room;
}

char *tools_text_rate(uint64_t bytes, uint64_t elapsed_ms, char room[TOOLS_TEXT])
{
    double seconds = (double)(elapsed_ms ? elapsed_ms : 1) / 1000;
    double rate = (double)bytes / 1e6 / seconds;
    (void)snprintf(room, TOOLS_TEXT, rate < 10 ? "%.2f MB/s" : "%.0f MB/s", rate);
    return room;
}

char *tools_text_time(uint64_t wall_ms, char room[TOOLS_TEXT])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    if (!gmtime_r(&seconds, &parts) ||
        strftime(room, TOOLS_TEXT, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        (void)snprintf(room, TOOLS_TEXT, "%llu ms", (unsigned long long)wall_ms);
    return room;
}

char *tools_text_duration(uint64_t ms, char room[TOOLS_TEXT])
{
    unsigned long long seconds = ms / 1000;
    if (ms < 10000)
        (void)snprintf(room, TOOLS_TEXT, "%.1f s", (double)ms / 1000);
    else if (seconds < 60)
        (void)snprintf(room, TOOLS_TEXT, "%llu s", seconds);
    else if (seconds < 3600)
        (void)snprintf(room, TOOLS_TEXT, "%llu min %llu s", seconds / 60, seconds % 60);
    else if (seconds < 86400)
        (void)snprintf(room, TOOLS_TEXT, "%llu h %llu min", seconds / 3600, seconds / 60 % 60);
    else
        (void)snprintf(room, TOOLS_TEXT, "%llu d %llu h", seconds / 86400, seconds / 3600 % 24);
    return room;
}

char *tools_text_eta(uint64_t ms, uint64_t low_ms, uint64_t high_ms, char room[TOOLS_ETA])
{
    char is[TOOLS_TEXT], low[TOOLS_TEXT], high[TOOLS_TEXT];
    if (ms == 0)
        (void)snprintf(room, TOOLS_ETA, "not known yet");
    else
        (void)snprintf(room, TOOLS_ETA, "%s (%s to %s)", tools_text_duration(ms, is),
                       tools_text_duration(low_ms, low), tools_text_duration(high_ms, high));
    return room;
}
